//! The NTP client: servers, liars, forgers, both clocks and the configuration in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_proto::ntp::client::{
    ASSOCIATIONS_MAX, AssociationId, Client, ClientConfig, Event, Input, Output, SourceConfig,
    SourceId, SourceKind, State,
};
use lintel_proto::ntp::{Leap, Now, UnixNs};
use lintel_proto::rng::SeededRng;
use lintel_wire::ntp::{Mode, NtpShort, NtpTimestamp, Packet, ReferenceId};

use super::ntp::packet_octets;
use crate::Tally;
use crate::entropy::{any, below, number, once_in, pick};

/// In June 2026.
const START: UnixNs = UnixNs::from_secs(1_782_000_000);
/// Outputs of one input at most: sixteen servers closed, as many opened, asked, and a few words
/// about the clock.
const OUTPUTS_MAX: usize = 80;
/// The fastest clock we ask for: 500 ppm of the crystal and 5000 of a slew.
const RATE_PPM_MAX: f64 = 5_500.01;

/// Only an answer to the last request of a server counts, once; nothing is sent while offline, no
/// number twice and nothing of ours but the number; nobody is asked twice over; small offsets are
/// not stepped and no rate is wild; the state and what the server is told agree; deadlines lie
/// ahead.
pub fn ntp_client(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut street = Street::new(&mut u);
    while !u.is_empty() {
        street.step(&mut u);
        street.check();
    }
    street.tally
}

struct Street {
    client: Client,
    now: Now,
    rng: SeededRng,
    online: bool,
    /// The request under way of each server, and all numbers so far.
    asked: BTreeMap<AssociationId, (SocketAddr, Packet)>,
    nonces: BTreeSet<u64>,
    /// True answers, each fed for the first time.
    answers: u64,
    synchronised: bool,
    tally: Tally,
}

impl Street {
    fn new(u: &mut Unstructured<'_>) -> Self {
        let now = Now {
            mono: Instant::from_secs(1_000),
            wall: START,
        };
        let config = ClientConfig {
            sources: sources(u),
            floor: START.plus_ns(-1_000_000_000_000),
            drift: None,
            precision: any(u),
            agreeing_min: below(u, 3),
        };
        let mut street = Self {
            client: Client::new(now, config),
            now,
            rng: SeededRng::new(any(u)),
            online: true,
            asked: BTreeMap::new(),
            nonces: BTreeSet::new(),
            answers: 0,
            synchronised: false,
            tally: Tally::default(),
        };
        street.drain();
        for n in 0..4 {
            street.resolve(u, n);
        }
        street
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        self.tally.inputs += 1;
        match below(u, 16) {
            0 => {
                let source = below(u, 4) as u32;
                self.resolve(u, source);
            }
            1 if once_in(u, 4) => {
                let sources = sources(u);
                self.input(Input::Sources(&sources));
            }
            2 if once_in(u, 2) => {
                self.online = any(u);
                self.input(Input::Online(self.online));
            }
            3 if once_in(u, 3) => {
                let wall = self.now.wall;
                self.now.wall = match below(u, 3) {
                    0 => UnixNs(any(u)),
                    1 => wall.plus_ns(i64::from(number(u)) - i64::from(number(u))),
                    _ => START,
                };
            }
            4 => {
                let (association, _, _) = self.somebody(u);
                let at = self.now.wall.plus_ns(i64::from(number(u)));
                self.input(Input::Sent { association, at });
            }
            5 => {
                let octets = packet_octets(u);
                let (association, from, _) = self.somebody(u);
                self.datagram(association, from, &octets);
            }
            6..=11 => self.answer(u),
            _ => {
                let ms = [0, 10, 2_000, 64_000, 600_000, 86_400_000];
                match self.client.poll_output() {
                    Output::Timeout(Some(at)) if !once_in(u, 4) && at > self.now.mono => {
                        self.pass(at - self.now.mono);
                    }
                    _ => self.pass(Duration::from_millis(pick(u, &ms))),
                }
                // What is asked now may be found silent by the next call.
                for _ in 0..3 {
                    self.client.handle_timeout(self.now, &mut self.rng);
                    self.drain();
                }
                if let Output::Timeout(Some(at)) = self.client.poll_output() {
                    assert!(at > self.now.mono, "{at:?} has passed");
                }
            }
        }
    }

    fn resolve(&mut self, u: &mut Unstructured<'_>, source: u32) {
        let addresses: Vec<SocketAddr> = (0..below(u, 20))
            .map(|_| SocketAddr::from((Ipv4Addr::new(192, 0, 2, any::<u8>(u) % 24), 123)))
            .collect();
        self.input(Input::Addresses {
            source: SourceId(source),
            addresses: &addresses,
        });
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        let ns = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.now.wall = self.now.wall.plus_ns(ns.saturating_mul(1_000));
    }

    fn somebody(&self, u: &mut Unstructured<'_>) -> (AssociationId, SocketAddr, Packet) {
        let nobody = (
            AssociationId(any(u)),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 123)),
            Packet::request(NtpTimestamp(any(u))),
        );
        let n = below(u, self.asked.len().max(1));
        self.asked
            .iter()
            .nth(n)
            .map_or(nobody, |(id, (to, request))| (*id, *to, *request))
    }

    /// A server's answer: true, false in some field, or from a forger.
    fn answer(&mut self, u: &mut Unstructured<'_>) {
        let (association, mut from, request) = self.somebody(u);
        self.pass(Duration::from_millis(pick(u, &[0, 10, 10, 10, 300, 5_000])));
        let lie_ns = match below(u, 4) {
            0 => i64::from(number(u)) - i64::from(number(u)),
            _ => 0,
        };
        let time = self.now.wall.plus_ns(lie_ns - 5_000_000);
        let mut reply = Packet {
            leap: pick(
                u,
                &[Leap::None, Leap::None, Leap::Insert, Leap::Unsynchronised],
            ),
            mode: Mode::Server,
            stratum: pick(u, &[1, 1, 2, 3, 0, 16]),
            root_delay: NtpShort(if once_in(u, 8) { number(u) } else { 100 }),
            root_dispersion: NtpShort(if once_in(u, 8) { number(u) } else { 100 }),
            reference_id: ReferenceId(*pick(u, &[b"PPS\0", b"RATE", b"RATE", b"DENY"])),
            reference: NtpTimestamp::from_unix(time.plus_ns(-1_000_000_000)),
            origin: request.transmit,
            receive: NtpTimestamp::from_unix(time),
            transmit: NtpTimestamp::from_unix(time.plus_ns(10_000)),
            ..request
        };
        if once_in(u, 6) {
            reply.receive.0 ^= 1 << below(u, 64);
        }
        match below(u, 6) {
            0 => reply.origin.0 ^= 1 << below(u, 64),
            1 => from.set_port(from.port() ^ 1),
            2 => reply.mode = pick(u, &[Mode::Client, Mode::Broadcast, Mode::SymmetricPassive]),
            _ => {
                self.answers += u64::from(self.asked.contains_key(&association));
                self.datagram(association, from, &reply.emit());
                if !once_in(u, 8) {
                    return;
                }
            }
        }
        self.datagram(association, from, &reply.emit());
    }

    fn datagram(&mut self, association: AssociationId, from: SocketAddr, octets: &[u8]) {
        let before = self.received();
        self.input(Input::Datagram {
            association,
            from,
            local: Some(Ipv4Addr::new(198, 51, 100, 1).into()),
            octets,
            received: self.now.wall,
        });
        let after = self.received();
        assert!(after <= before + 1);
        self.tally.accepted += u64::from(after > before);
    }

    /// Replies believed, by those who are still asked.
    fn received(&self) -> u64 {
        self.client.associations().map(|one| one.received).sum()
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.client.poll_output() {
                Output::Transmit {
                    association,
                    to,
                    octets,
                } => {
                    assert!(self.online, "asks while offline");
                    let request = Packet::parse(&octets).expect("we write what can be read");
                    assert_eq!(request, Packet::request(request.transmit));
                    assert!(self.nonces.insert(request.transmit.0), "a number twice");
                    self.asked.insert(association, (to, request));
                }
                Output::Event(event) => self.on_event(&event),
                Output::Timeout(_) => return,
            }
        }
        panic!("outputs without end");
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Step { by_ns } => {
                assert!(by_ns.unsigned_abs() > 128_000_000, "{by_ns}");
                self.now.wall = self.now.wall.plus_ns(*by_ns);
            }
            Event::SetRate { rate, .. } => assert!(rate.ppm().abs() <= RATE_PPM_MAX, "{rate:?}"),
            Event::SetStatus { synchronised, .. } => self.synchronised = *synchronised,
            Event::Closed { association, .. } => {
                self.asked.remove(association);
            }
            _ => {}
        }
    }

    fn check(&self) {
        let state = matches!(self.client.state(), State::Synchronised { .. });
        assert_eq!(state, self.client.system().is_synchronised());
        assert_eq!(state, self.synchronised);
        let addresses: Vec<SocketAddr> = self.client.associations().map(|one| one.to).collect();
        let distinct: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        assert_eq!(distinct.len(), addresses.len());
        assert!(addresses.len() <= ASSOCIATIONS_MAX);
        assert!(self.received() <= self.answers, "a forger was believed");
    }
}

fn sources(u: &mut Unstructured<'_>) -> Vec<SourceConfig> {
    (0..=below(u, 4))
        .map(|n| SourceConfig {
            id: SourceId(n as u32),
            kind: pick(u, &[SourceKind::Server, SourceKind::Pool]),
            poll_min: pick(u, &[4, 6, 0, 255]),
            poll_max: pick(u, &[6, 10, 0, 255]),
            burst: !once_in(u, 4),
        })
        .collect()
}
