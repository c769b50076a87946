//! NTP packets and times.

use arbitrary::Unstructured;
use lintel_wire::ntp::{
    DATAGRAM_LEN_MAX, HEADER_LEN, NtpShort, NtpTimestamp, Packet, UnixNs, stamp,
};

use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick};

/// A header is written as it was read, octet for octet; kisses come from servers alone; every time
/// is some time near its pivot.
pub fn ntp(data: &[u8]) -> Tally {
    let Ok(packet) = Packet::parse(data) else {
        return Tally::REFUSED;
    };
    assert!((HEADER_LEN..=DATAGRAM_LEN_MAX).contains(&data.len()) && data.len().is_multiple_of(4));
    let mut written = packet.emit();
    assert_eq!(written, data[..HEADER_LEN]);
    stamp(&mut written, packet.receive);
    let stamped = Packet::parse(&written).expect("only a time changed");
    let expected = Packet {
        transmit: packet.receive,
        ..packet
    };
    assert_eq!(stamped, expected);
    assert!(packet.kiss().is_none() || packet.stratum == 0);
    let pivot = UnixNs(packet.reference.0.cast_signed());
    for time in [packet.origin, packet.receive, packet.transmit] {
        let read = time.to_unix(pivot);
        let saturated = read.0 == i64::MAX || read.0 == i64::MIN;
        assert!(
            saturated || NtpTimestamp::from_unix(read).0.abs_diff(time.0) <= 8,
            "{time:?} {read:?}"
        );
    }
    for short in [packet.root_delay, packet.root_dispersion] {
        assert!(NtpShort::from_ns(short.to_ns()).0.abs_diff(short.0) <= 1);
    }
    Tally::ACCEPTED
}

/// A packet of any kind that is read, sometimes with whole words behind it.
pub fn packet_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..HEADER_LEN).map(|_| any(u)).collect();
    packet[0] = pick(u, &[0, 0x40, 0xc0]) | pick(u, &[3, 4]) << 3 | (1 + below(u, 5) as u8);
    packet[1] = pick(u, &[0, 1, 2, 15, 16, 17, 255]);
    if packet[1] == 0 {
        packet[12..16].copy_from_slice(pick(u, &[b"RATE", b"DENY", b"RSTR", b"INIT"]));
    }
    if once_in(u, 4) {
        let words = octets(u, 8);
        packet.extend(words.iter().flat_map(|word| [*word; 4]));
    }
    packet
}
