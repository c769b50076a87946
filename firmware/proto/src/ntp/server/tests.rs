use std::net::{Ipv4Addr, Ipv6Addr};

use lintel_wire::ntp::Version;
use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 9));
/// In June 2026.
const WALL: UnixNs = UnixNs::from_secs(1_782_000_000);

fn synchronised() -> System {
    System {
        leap: Leap::Insert,
        stratum: 3,
        reference_id: ReferenceId([192, 0, 2, 1]),
        reference: WALL.plus_ns(-5_000_000_000),
        root_delay_ns: 12_000_000,
        root_dispersion_ns: 1_000_000,
        as_of: at(0),
        precision: -24,
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

fn server(limit: Option<RateLimit>) -> Server {
    let mut server = Server::new(at(0), limit, &mut SeededRng::new(1));
    server.set_system(synchronised());
    server
}

fn request() -> Packet {
    Packet {
        poll: 6,
        ..Packet::request(NtpTimestamp(0xdead_beef_0bad_cafe))
    }
}

fn replied(verdict: Verdict, transmit: UnixNs) -> Packet {
    match verdict {
        Verdict::Reply(reply) => Packet::parse(&reply.stamped(transmit)).unwrap(),
        Verdict::Silence(reason) => panic!("silence: {reason:?}"),
    }
}

#[test]
fn a_reply_says_what_the_clock_is_worth() {
    let mut server = server(None);
    for version in [Version::V3, Version::V4] {
        let request = Packet {
            version,
            ..request()
        };
        let received = WALL.plus_ns(123_456_789);
        let sent = received.plus_ns(20_000);
        let verdict = server.handle_request(at(100_000), PEER, &request.emit(), received);
        let reply = replied(verdict, sent);
        assert_eq!((reply.version, reply.mode), (version, Mode::Server));
        assert_eq!((reply.leap, reply.stratum), (Leap::Insert, 3));
        assert_eq!((reply.poll, reply.precision), (6, -24));
        assert_eq!(reply.origin, request.transmit);
        assert_eq!(reply.receive, NtpTimestamp::from_unix(received));
        assert_eq!(reply.transmit, NtpTimestamp::from_unix(sent));
        assert_eq!(reply.reference_id, ReferenceId([192, 0, 2, 1]));
        assert_eq!(reply.root_delay, NtpShort::from_ns(12_000_000));
        // A hundred seconds at 15 ppm.
        assert_eq!(reply.root_dispersion, NtpShort::from_ns(2_500_000));
    }
}

#[test]
fn an_unsynchronised_clock_is_not_given_away() {
    let mut server = server(None);
    let unfit = [
        System::unsynchronised(at(0), -20),
        System {
            leap: Leap::Unsynchronised,
            ..synchronised()
        },
        System {
            stratum: 16,
            ..synchronised()
        },
    ];
    for system in unfit {
        server.set_system(system);
        let verdict = server.handle_request(at(0), PEER, &request().emit(), WALL);
        assert_eq!(verdict, Verdict::Silence(DropReason::Unsynchronised));
    }
    assert_eq!(server.counters().unsynchronised, 3);
}

#[test]
fn only_clients_are_answered() {
    let mut server = server(None);
    for mode in [
        Mode::SymmetricActive,
        Mode::SymmetricPassive,
        Mode::Server,
        Mode::Broadcast,
    ] {
        let packet = Packet { mode, ..request() };
        let verdict = server.handle_request(at(0), PEER, &packet.emit(), WALL);
        assert_eq!(verdict, Verdict::Silence(DropReason::NotClient));
    }
    for mode in [0, 6, 7] {
        let mut octets = request().emit();
        octets[0] = 4 << 3 | mode;
        let verdict = server.handle_request(at(0), PEER, &octets, WALL);
        assert_eq!(verdict, Verdict::Silence(DropReason::Malformed));
    }
    assert_eq!(server.counters().not_client, 4);
    assert_eq!(server.counters().malformed, 3);
}

#[test]
fn who_asks_too_often_is_told_once_and_gets_its_share() {
    let limit = RateLimit {
        interval: Duration::from_secs(1),
        burst: 4,
    };
    let mut server = server(Some(limit));
    let mut ask = |ms, from| server.handle_request(at(ms), from, &request().emit(), WALL);
    for _ in 0..4 {
        assert_eq!(replied(ask(0, PEER), WALL).kiss(), None);
    }
    let kiss = replied(ask(1, PEER), WALL);
    assert_eq!(kiss.kiss(), Some(Kiss::Rate));
    assert_eq!(kiss.leap, Leap::Unsynchronised);
    assert_eq!(kiss.origin, request().transmit);
    assert_eq!(ask(2, PEER), Verdict::Silence(DropReason::Rate));
    // Others are not touched by it.
    let other = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));
    assert_eq!(replied(ask(3, other), WALL).kiss(), None);
    // Asked for ten more seconds without a pause, it gets one answer a second.
    let answers = (0..1_000)
        .filter(|n| matches!(ask(3 + n * 10, PEER), Verdict::Reply(_)))
        .count();
    assert_eq!(answers, 9);
    // A minute later it is told again, once.
    let kisses = (0..1_000)
        .map(|n| ask(65_000 + n, PEER))
        .filter(|verdict| {
            matches!(verdict, Verdict::Reply(_)) && replied(*verdict, WALL).kiss().is_some()
        })
        .count();
    assert_eq!(kisses, 1);
}

#[test]
fn a_household_in_a_hurry_is_below_the_limit() {
    let mut server = server(Some(RateLimit::LAN));
    for n in 0..100u8 {
        let from = IpAddr::V4(Ipv4Addr::new(192, 168, 1, n));
        for start in 0..10 {
            for ask in 0..8 {
                let ms = start * 60_000 + ask * 2_000;
                let verdict = server.handle_request(at(ms), from, &request().emit(), WALL);
                assert!(matches!(verdict, Verdict::Reply(_)), "{n} {ms}");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_addresses_leave_the_house_served() {
    let mut server = server(Some(RateLimit::LAN));
    for n in 0..100_000u32 {
        let from = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let octets = request().emit();
        server.handle_request(at(u64::from(n)), from, &octets, WALL);
        if n % 1_000 == 0 {
            let verdict = server.handle_request(at(u64::from(n)), PEER, &octets, WALL);
            assert!(matches!(verdict, Verdict::Reply(_)));
        }
    }
}

#[test]
fn a_host_has_one_bucket_for_its_64() {
    let limit = RateLimit {
        interval: Duration::from_secs(1),
        burst: 1,
    };
    let mut server = server(Some(limit));
    let mut ask = |low: u16| {
        let from = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low));
        server.handle_request(at(0), from, &request().emit(), WALL)
    };
    assert_eq!(replied(ask(1), WALL).kiss(), None);
    assert_eq!(replied(ask(2), WALL).kiss(), Some(Kiss::Rate));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_reply_is_longer(
        octets in proptest::collection::vec(any::<u8>(), 0..100),
        from in any::<u32>(),
        ms in 0u64..10_000_000,
        wall in any::<i64>(),
    ) {
        let mut server = server(Some(RateLimit::LAN));
        let from = IpAddr::V4(Ipv4Addr::from_bits(from));
        let verdict = server.handle_request(at(ms), from, &octets, UnixNs(wall));
        if let Verdict::Reply(reply) = verdict {
            let request = Packet::parse(&octets).unwrap();
            prop_assert_eq!(request.mode, Mode::Client);
            let octets_out = reply.stamped(UnixNs(wall));
            prop_assert!(octets_out.len() <= octets.len());
            let packet = Packet::parse(&octets_out).unwrap();
            prop_assert_eq!(packet.origin, request.transmit);
        }
    }
}
