//! Tests of the network: what is said about an echo request, and the machines that hear it.

use std::net::{Ipv4Addr, SocketAddrV4};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_model::probe::{HOPS_MAX, PING_PACKETS_MAX, ProbeReport};
use lintel_proto::probe::{echo, resolve};
use lintel_proto::rng::SeededRng;
use lintel_wire::dns::RrType;
use lintel_wire::icmp::{Heard, Says, echo_request};

use super::dns::message_octets;
use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick};

const TO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ID: u16 = 7;
/// Packets of the longest test: three for each router, or a search by halves that is lied to.
const PACKETS_MAX: usize = 120;

/// What is heard quotes a request, or is an answer to one; a request of our own is no answer.
pub fn icmp(data: &[u8]) -> Tally {
    match Heard::parse(data) {
        Some(heard) => {
            assert!(data.len() >= 28, "shorter than its headers");
            assert!(heard.says != Says::Reply || heard.from == heard.to);
            assert!(heard.says != Says::TooLong { mtu: Some(0) });
            Tally::ACCEPTED
        }
        None => Tally::REFUSED,
    }
}

/// An IPv4 packet with an answer or an error, more or less.
pub fn icmp_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut request = echo_request(any(u), any(u), below(u, 64));
    let mut payload = if once_in(u, 3) {
        request[0] = 0;
        request
    } else {
        let mut error = vec![
            pick(u, &[3, 3, 11, 12, 5]),
            pick(u, &[0, 1, 3, 4, 13]),
            0,
            0,
        ];
        error.extend(any::<u32>(u).to_be_bytes());
        error.extend(ipv4(u, &request));
        error
    };
    payload[2..4].fill(0);
    let sum = !ones_sum(&payload);
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ipv4(u, &payload);
    if once_in(u, 4) {
        packet.truncate(below(u, 80));
    }
    packet
}

fn ipv4(u: &mut Unstructured<'_>, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, any(u), 1, 0, 0];
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet.extend(octets(u, 8));
    packet.resize(20, 9);
    packet.extend(payload);
    packet
}

/// RFC 1071.
fn ones_sum(data: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    let mut sum: u32 = data.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whatever routers say: a test ends, sends no more than it may, and tells of no answer that did not
/// come.
pub fn echoes(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let mut now = Instant::from_secs(1_000);
    let purpose = match below(&mut u, 3) {
        0 => echo::Purpose::Ping {
            count: any(&mut u),
            size: any(&mut u),
        },
        1 => echo::Purpose::Traceroute { hops: any(&mut u) },
        _ => echo::Purpose::PathMtu,
    };
    let mut test = echo::Echoes::new(now, TO, ID, purpose);
    let (mut sent, mut replies) = (Vec::new(), 0_u64);
    // What nobody answers ends by its deadlines.
    for _ in 0..20_000 {
        let deadline = loop {
            match test.poll_output() {
                echo::Output::Transmit { seq, ttl, .. } => {
                    assert!(ttl > 0);
                    sent.push(seq);
                }
                echo::Output::Timeout(at) => break at,
            }
        };
        assert!(sent.len() <= PACKETS_MAX, "{purpose:?}");
        assert_eq!(deadline.is_none(), test.is_over());
        let Some(deadline) = deadline else { break };
        let newest = sent.last().copied().unwrap_or_default();
        match below(&mut u, 6) {
            _ if u.is_empty() => {
                now = now.max(deadline);
                test.handle_timeout(now);
            }
            0 => {
                now = now.max(deadline);
                test.handle_timeout(now);
            }
            1 => {
                let why = pick(&mut u, &[echo::Unsent::TooLong, echo::Unsent::NoWay]);
                test.handle_unsent(now, newest, why);
            }
            _ => {
                tally.inputs += 1;
                now += Duration::from_millis(below(&mut u, 400) as u64);
                let seq = match once_in(&mut u, 3) {
                    true => any(&mut u),
                    false => newest,
                };
                let says = match below(&mut u, 4) {
                    0 => Says::Reply,
                    1 => Says::TimeExceeded,
                    2 => Says::TooLong {
                        mtu: once_in(&mut u, 2).then(|| any::<u16>(&mut u).max(1)),
                    },
                    _ => Says::Unreachable { code: any(&mut u) },
                };
                replies += u64::from(says == Says::Reply);
                let to = if once_in(&mut u, 8) {
                    Ipv4Addr::LOCALHOST
                } else {
                    TO
                };
                let from = Ipv4Addr::from(any::<u32>(&mut u));
                let heard = Heard {
                    from,
                    ttl: any(&mut u),
                    to,
                    id: ID,
                    seq,
                    says,
                };
                test.handle_heard(now, &heard);
                tally.accepted += 1;
            }
        }
    }
    assert!(test.is_over(), "it does not end: {test:?}");
    let (done, of) = test.progress();
    assert!(done <= of, "{done} of {of}");
    match test.report() {
        ProbeReport::Ping(ping) => {
            assert!(ping.packets.len() <= PING_PACKETS_MAX as usize);
            assert!(u64::from(ping.received) <= replies && ping.received <= ping.sent);
        }
        ProbeReport::Traceroute(trace) => {
            assert!(trace.hops.len() <= HOPS_MAX as usize);
            assert!(!trace.reached || replies > 0);
        }
        ProbeReport::PathMtu(path) => {
            let bounds = 28..=1500;
            assert!(path.mtu.is_none_or(|mtu| bounds.contains(&mtu)), "{path:?}");
            assert!(path.mtu.is_none() || replies > 0);
        }
        other => panic!("{other:?}"),
    }
    tally
}

/// A question ends, whatever comes, and only an answer to it counts.
pub fn resolve_question(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut tally = Tally::default();
    let mut now = Instant::from_secs(1_000);
    let server = SocketAddrV4::new(TO, 53);
    let name = "www.example.net".parse().expect("a name");
    let mut rng = SeededRng::new(any(&mut u));
    let mut question = resolve::Question::new(now, server, name, RrType::A, &mut rng);
    let mut sent = 0;
    loop {
        let deadline = loop {
            match question.poll_output() {
                resolve::Output::Transmit(query) => {
                    sent += 1;
                    // Our own question with the mark of an answer is an answer.
                    if once_in(&mut u, 4) {
                        let mut answer = query;
                        answer[2] |= 0x80;
                        if once_in(&mut u, 2) {
                            answer[3] = answer[3] & 0xf0 | any::<u8>(&mut u) & 0x0f;
                        }
                        question.handle_datagram(now, &answer);
                        tally.accepted += 1;
                    }
                }
                resolve::Output::Timeout(at) => break at,
            }
        };
        assert!(sent <= 6, "asks for ever");
        let Some(deadline) = deadline else { break };
        tally.inputs += 1;
        if !u.is_empty() && !once_in(&mut u, 3) {
            question.handle_datagram(now, &message_octets(&mut u));
        } else {
            now = now.max(deadline);
            question.handle_timeout(now);
        }
    }
    assert!(question.is_over());
    assert!(matches!(question.report(), ProbeReport::Resolve(_)));
    tally
}
