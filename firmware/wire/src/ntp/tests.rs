use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use proptest::prelude::*;

/// Chosen to touch each field: version 4, server, stratum 2, leap insert.
const REPLY: [u8; HEADER_LEN] = [
    0x64, 0x02, 0x06, 0xe7, // leap 1, version 4, mode 4; stratum, poll 64 s, precision 2^-25
    0x00, 0x00, 0x08, 0x00, // root delay 31.25 ms
    0x00, 0x01, 0x00, 0x00, // root dispersion 1 s
    0xc0, 0x00, 0x02, 0x01, // 192.0.2.1
    0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // reference
    0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, // origin
    0xe8, 0x00, 0x00, 0x01, 0x80, 0x00, 0x00, 0x00, // receive
    0xe8, 0x00, 0x00, 0x01, 0x80, 0x00, 0x10, 0x00, // transmit
];

#[test]
fn a_reply_reads_as_the_rfc_says() {
    let packet = Packet::parse(&REPLY).unwrap();
    assert_eq!(packet.leap, Leap::Insert);
    assert_eq!((packet.version, packet.mode), (Version::V4, Mode::Server));
    assert_eq!((packet.stratum, packet.poll, packet.precision), (2, 6, -25));
    assert_eq!(packet.root_delay.to_ns(), 31_250_000);
    assert_eq!(packet.root_dispersion.to_ns(), 1_000_000_000);
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(packet.reference_id, ReferenceId::of(address));
    assert_eq!(packet.origin, NtpTimestamp(0x1234_5678_9abc_def0));
    assert_eq!(packet.kiss(), None);
    assert_eq!(packet.emit(), REPLY);
}

#[test]
fn modes_and_versions_we_do_not_speak_are_refused() {
    let with_flags = |flags: u8| {
        let mut octets = REPLY;
        octets[0] = flags;
        Packet::parse(&octets)
    };
    for mode in [0, 6, 7] {
        assert_eq!(with_flags(4 << 3 | mode), Err(ParseError::Mode(mode)));
    }
    for version in [0, 1, 2, 5, 6, 7] {
        assert_eq!(
            with_flags(version << 3 | 3),
            Err(ParseError::Version(version))
        );
    }
    assert!(with_flags(3 << 3 | 3).is_ok());
}

#[test]
fn what_follows_the_header_is_tolerated_in_whole_words() {
    let with_trailer = |len: usize| {
        let mut octets = REPLY.to_vec();
        octets.resize(HEADER_LEN + len, 0xff);
        Packet::parse(&octets)
    };
    for len in [4, 20, 24, 28, 1_424] {
        assert_eq!(with_trailer(len), Packet::parse(&REPLY));
    }
    assert_eq!(with_trailer(3), Err(ParseError::OddLength { len: 51 }));
    assert_eq!(with_trailer(1_428), Err(ParseError::TooLong { len: 1_476 }));
    assert_eq!(
        Packet::parse(&REPLY[..47]),
        Err(ParseError::Truncated { len: 47 })
    );
}

#[test]
fn a_kiss_is_a_reply_of_stratum_zero() {
    let mut packet = Packet::parse(&REPLY).unwrap();
    packet.stratum = 0;
    for (id, kiss) in [
        (b"DENY", Kiss::Deny),
        (b"RSTR", Kiss::Restrict),
        (b"RATE", Kiss::Rate),
        (b"INIT", Kiss::Other(ReferenceId(*b"INIT"))),
    ] {
        packet.reference_id = ReferenceId(*id);
        assert_eq!(packet.kiss(), Some(kiss));
        assert_eq!(ReferenceId::from(kiss), packet.reference_id);
    }
    packet.mode = Mode::Client;
    assert_eq!(packet.kiss(), None);
}

#[test]
fn the_dates_of_figure_4_of_the_rfc() {
    // Date, and what the 32 bits of seconds say (RFC 5905 figure 4).
    for (unix_s, era_s) in [
        (-2_208_988_800, 0u64),           // 1 January 1900
        (0, 2_208_988_800),               // 1 January 1970
        (63_072_000, 2_272_060_800),      // 1 January 1972
        (946_598_400, 3_155_587_200),     // 31 December 1999
        (2_085_978_496, 0),               // 7 February 2036, 06:28:16: era 1
        (2_085_978_496 + 54_704, 54_704), // 7 February 2036, 21:40:00
    ] {
        let time = UnixNs::from_secs(unix_s);
        let stamp = NtpTimestamp::from_unix(time);
        assert_eq!(stamp.0 >> 32, era_s, "{unix_s}");
        let read = stamp.to_unix(time);
        assert!((read.0 - time.0).abs() <= 1, "{unix_s}: {read:?}");
    }
}

#[test]
fn the_first_instant_of_an_era_is_not_unknown() {
    assert!(!NtpTimestamp::from_unix(UnixNs::from_secs(2_085_978_496)).is_zero());
}

#[test]
fn shorts_round_up_and_stay_at_the_edge() {
    assert_eq!(NtpShort::from_ns(-5), NtpShort::ZERO);
    assert_eq!(NtpShort::from_ns(1), NtpShort(1));
    assert_eq!(NtpShort::from_ns(1_000_000_000), NtpShort(0x1_0000));
    assert_eq!(NtpShort::from_ns(i64::MAX), NtpShort(u32::MAX));
}

#[test]
fn an_ipv6_reference_is_the_digests_first_word() {
    // MD5 of sixteen octets, the last of them one; from `md5sum`.
    let id = ReferenceId::of(IpAddr::V6(Ipv6Addr::LOCALHOST));
    assert_eq!(id, ReferenceId(MD5_OF_LOOPBACK));
}

const MD5_OF_LOOPBACK: [u8; 4] = [0xcf, 0x40, 0x4d, 0xc8];

fn any_packet() -> impl Strategy<Value = Packet> {
    any::<[u8; HEADER_LEN]>().prop_filter_map("a header", |octets| Packet::parse(&octets).ok())
}

proptest! {
    #[test]
    fn parse_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..1_600)) {
        let _ = Packet::parse(&octets);
    }

    #[test]
    fn a_packet_survives_the_wire(packet in any_packet()) {
        prop_assert_eq!(Packet::parse(&packet.emit()), Ok(packet));
    }

    #[test]
    fn a_time_survives_within_68_years(
        pivot_s in -9_000_000_000i64..9_000_000_000,
        ahead_ns in -2_147_483_640_000_000_000i64..2_147_483_640_000_000_000,
    ) {
        let pivot = UnixNs::from_secs(pivot_s);
        let time = pivot.plus_ns(ahead_ns);
        prop_assume!(time.0 > i64::MIN + 1 && time.0 < i64::MAX);
        let read = NtpTimestamp::from_unix(time).to_unix(pivot);
        prop_assert!(read.ns_since(time).abs() <= 1, "{:?} {:?}", time, read);
    }

    #[test]
    fn any_bits_are_some_time(bits in any::<u64>(), pivot in any::<i64>()) {
        let _ = NtpTimestamp(bits).to_unix(UnixNs(pivot));
        let _ = NtpTimestamp::from_unix(UnixNs(pivot));
        let short = NtpShort(bits as u32);
        prop_assert!(NtpShort::from_ns(short.to_ns()).0.abs_diff(short.0) <= 1);
    }
}
