//! The NTP server: clients, floods and a clock that comes and goes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_proto::ntp::server::{DropReason, RateLimit, Server, Verdict};
use lintel_proto::ntp::{Leap, System, UnixNs};
use lintel_proto::rng::SeededRng;
use lintel_wire::ntp::{Mode, NtpTimestamp, Packet};

use super::ntp::packet_octets;
use crate::Tally;
use crate::entropy::{any, below, once_in, pick};

const LIMIT: RateLimit = RateLimit {
    interval: Duration::from_secs(1),
    burst: 4,
};

/// An unsynchronised clock is not given away; only clients are answered, with their own number
/// and not more than they sent; no address gets more than its share, nor more than a kiss a
/// minute.
pub fn ntp_server(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let start = Instant::from_secs(1_000);
    let mut now = start;
    let mut server = Server::new(now, Some(LIMIT), &mut SeededRng::new(any(&mut u)));
    let mut synchronised = false;
    // Answers and kisses of each address.
    let mut served: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    while !u.is_empty() {
        tally.inputs += 1;
        match below(&mut u, 16) {
            0 => {
                let system = System {
                    leap: pick(&mut u, &[Leap::None, Leap::Delete, Leap::Unsynchronised]),
                    stratum: pick(&mut u, &[1, 2, 15, 16, 255]),
                    root_delay_ns: any(&mut u),
                    root_dispersion_ns: any(&mut u),
                    ..System::unsynchronised(now, any(&mut u))
                };
                synchronised = system.leap != Leap::Unsynchronised && system.stratum < 16;
                server.set_system(system);
                continue;
            }
            1 => {
                now += Duration::from_millis(pick(&mut u, &[1, 900, 5_000, 70_000]));
                continue;
            }
            _ => {}
        }
        let octets = if once_in(&mut u, 3) {
            packet_octets(&mut u)
        } else {
            Packet::request(NtpTimestamp(any(&mut u))).emit().to_vec()
        };
        let from = IpAddr::V4(Ipv4Addr::new(192, 168, 1, any::<u8>(&mut u) % 6));
        let received = UnixNs(any(&mut u));
        let request = Packet::parse(&octets).ok();
        match server.handle_request(now, from, &octets, received) {
            Verdict::Reply(reply) => {
                tally.accepted += 1;
                assert!(synchronised, "gives an unsynchronised clock away");
                let request = request.expect("only what was read is answered");
                assert_eq!(request.mode, Mode::Client);
                let octets_out = reply.stamped(received);
                assert!(octets_out.len() <= octets.len());
                let answer = Packet::parse(&octets_out).expect("we write what can be read");
                assert_eq!(answer.mode, Mode::Server);
                assert_eq!(answer.version, request.version);
                assert_eq!(answer.origin, request.transmit);
                let (answers, kisses) = served.entry(from).or_default();
                let passed_s = (now - start).as_secs();
                if answer.kiss().is_some() {
                    *kisses += 1;
                    assert!(*kisses <= 1 + passed_s / 64);
                } else {
                    *answers += 1;
                    assert!(*answers <= u64::from(LIMIT.burst) + passed_s);
                }
            }
            Verdict::Silence(DropReason::Unsynchronised) => assert!(!synchronised),
            Verdict::Silence(_) => {}
        }
    }
    tally
}
