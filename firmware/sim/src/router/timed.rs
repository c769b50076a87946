//! timed: the real NTP client against four servers of which one lies, the clock that it sets, and
//! the real server that tells the house.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use embassy_time::{Duration, Instant};
use lintel_ipc::timed::FromTimed;
use lintel_model::RoleName;
use lintel_proto::ntp::client::{
    AssociationId, Client, ClientConfig, Event, Input, Output, SourceConfig, SourceId, SourceKind,
    State,
};
use lintel_proto::ntp::server::{RateLimit, Server, Verdict};
use lintel_proto::ntp::{Now, ScaledPpm, UnixNs};
use lintel_proto::rng::SeededRng;
use lintel_roles::controld::core::Input as CoreInput;
use lintel_wire::frame::{self, EthernetAddress};
use lintel_wire::ntp::PORT;

use super::Router;
use crate::plant::RoleRng;
use crate::properties::{Property, Violation};
use crate::timeservers::{Reply, Request, SERVERS};
use crate::world::{Alarm, Event as Happening, Outside, Who, host_mac};

/// No server is believed that tells an earlier time: some months before the street's.
const FLOOR_S: i64 = 1_690_000_000;
/// Longest poll interval, log2 seconds: minutes pass quickly here.
const POLL_MAX: u8 = 6;
/// What may be told beyond the error that is owned to, nanoseconds: a crystal may be wrong by more
/// than RFC 5905 takes for granted until its frequency is known.
const UNOWNED_NS_MAX: u64 = 100_000_000;

/// The role.
pub struct Timed {
    lives: u64,
    client: Option<Client>,
    server: Option<Server>,
    /// The number of the last request of each association.
    asked: BTreeMap<AssociationId, u64>,
    requests: u64,
    /// What controld keeps of it.
    drift: Option<ScaledPpm>,
    rng: RoleRng,
    alarm: Alarm,
}

impl Default for Timed {
    fn default() -> Self {
        Self {
            lives: 0,
            client: None,
            server: None,
            asked: BTreeMap::new(),
            requests: 0,
            drift: None,
            rng: RoleRng::new(SeededRng::new(0), None),
            alarm: Alarm::default(),
        }
    }
}

impl Timed {
    /// Its life, when it runs.
    pub fn life(&self) -> Option<u64> {
        self.client.is_some().then_some(self.lives)
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            lives: self.lives,
            drift: self.drift,
            requests: self.requests,
            ..Self::default()
        };
    }

    /// Servers that it asks.
    pub fn associations(&self) -> usize {
        self.client
            .as_ref()
            .map_or(0, |client| client.associations().count())
    }

    /// Whether it says that the clock is right.
    pub fn is_synchronised(&self) -> bool {
        let state = self.client.as_ref().map(Client::state);
        matches!(state, Some(State::Synchronised { .. }))
    }
}

impl Router {
    pub(super) fn timed_starts(&mut self, out: &mut Outside) {
        let now = self.ntp_now(out);
        self.timed.lives += 1;
        self.timed.rng = RoleRng::new(out.dice.rng(), out.plant);
        let limit = Some(RateLimit::LAN);
        self.timed.server = Some(Server::new(now.mono, limit, &mut self.timed.rng));
        let source = |id: u32| SourceConfig {
            id: SourceId(id),
            kind: SourceKind::Server,
            poll_min: POLL_MAX,
            poll_max: POLL_MAX,
            burst: true,
        };
        let config = ClientConfig {
            sources: (0..SERVERS.len() as u32).map(source).collect(),
            floor: UnixNs::from_secs(FLOOR_S),
            drift: self.timed.drift,
            precision: -24,
            agreeing_min: 0,
        };
        let mut client = Client::new(now, config);
        for (id, address) in SERVERS.into_iter().enumerate() {
            let addresses = [SocketAddr::from((address, 123))];
            let input = Input::Addresses {
                source: SourceId(id as u32),
                addresses: &addresses,
            };
            client.handle_input(now, input, &mut self.timed.rng);
        }
        self.timed.client = Some(client);
        self.timed_drains(out);
    }

    /// Its deadline has come.
    pub fn timed_wakes(&mut self, out: &mut Outside) {
        self.timed.alarm.rang(out.now);
        self.timed_looks(out);
    }

    fn timed_looks(&mut self, out: &mut Outside) {
        let now = self.ntp_now(out);
        if let Some(client) = &mut self.timed.client {
            client.handle_timeout(now, &mut self.timed.rng);
        }
        self.timed_drains(out);
    }

    /// Somebody in the house asks for the time.
    pub(super) fn timed_asked(
        &mut self,
        out: &mut Outside,
        peer: SocketAddrV4,
        local: Ipv4Addr,
        octets: &[u8],
    ) {
        if !self.is_open() || self.timed.client.is_none() {
            return;
        }
        // The clock is looked at before anybody is told of it, as the shell does.
        self.timed_looks(out);
        let now = self.ntp_now(out);
        let (Some(client), Some(server)) = (&self.timed.client, &mut self.timed.server) else {
            return;
        };
        let from = IpAddr::V4(*peer.ip());
        let verdict = server.handle_request(now.mono, from, octets, now.wall);
        let Verdict::Reply(reply) = verdict else {
            return;
        };
        let owned = client.system().root_distance_ns_at(now.mono).unsigned_abs();
        let wrong = self.wall.truth_ns(out.now).abs_diff(now.wall.0);
        if wrong > owned.saturating_add(UNOWNED_NS_MAX) {
            out.breaks(Violation {
                property: Property::Timely,
                text: format!(
                    "the house is told a time that is {} ms wrong, and at most {} ms are owned to",
                    wrong / 1_000_000,
                    owned / 1_000_000
                ),
            });
        }
        let (Some(own), Some(host)) = (self.lan_mac(), out.neighbour(*peer.ip())) else {
            return;
        };
        let octets = frame::udp(
            (own, SocketAddrV4::new(local, PORT)),
            (EthernetAddress(host_mac(host)), peer),
            &reply.stamped(now.wall),
        );
        out.send_lan(None, &octets);
    }

    /// A reply comes in.
    pub fn timed_hears(&mut self, out: &mut Outside, reply: Reply) {
        let now = self.ntp_now(out);
        let Some(client) = &mut self.timed.client else {
            return;
        };
        let last = self.timed.asked.get(&reply.association).copied();
        let dropped = client.drops().total();
        let known = client
            .associations()
            .any(|one| one.association == reply.association);
        let input = Input::Datagram {
            association: reply.association,
            from: reply.from,
            local: None,
            octets: &reply.octets,
            received: now.wall,
        };
        client.handle_input(now, input, &mut self.timed.rng);
        let believed = known && client.drops().total() == dropped;
        if believed && (reply.answers.is_none() || reply.answers != last) {
            out.breaks(Violation {
                property: Property::Genuine,
                text: format!(
                    "timed believes a reply to request {:?}, its last was {last:?}",
                    reply.answers
                ),
            });
        }
        self.timed_drains(out);
    }

    fn timed_drains(&mut self, out: &mut Outside) {
        let clocks = self.clocks(out.now);
        while let Some(client) = &mut self.timed.client {
            match client.poll_output() {
                Output::Transmit {
                    association,
                    to,
                    octets,
                } => self.timed_asks(out, association, to, octets),
                Output::Event(event) => self.timed_event(out, event),
                Output::Timeout(at) => {
                    let at = clocks.true_time(at);
                    self.timed.alarm.set(out, Who::Role(RoleName::Timed), at);
                    return;
                }
            }
        }
    }

    fn timed_asks(
        &mut self,
        out: &mut Outside,
        association: AssociationId,
        to: SocketAddr,
        octets: [u8; 48],
    ) {
        self.timed.requests += 1;
        let number = self.timed.requests;
        self.timed.asked.insert(association, number);
        if !self.routed() {
            return;
        }
        for delay in out.wan.deliveries(&mut out.dice) {
            let request = Request {
                association,
                number,
                to,
                octets,
            };
            out.after(delay, Happening::ToTimeServer(request));
        }
    }

    fn timed_event(&mut self, out: &mut Outside, event: Event) {
        match event {
            Event::Step { by_ns } => {
                out.note("timed", || format!("sets the clock by {by_ns} ns"));
                self.step_clock(out, by_ns);
                let by_ms = by_ns / 1_000_000;
                let stepped = CoreInput::Timed(FromTimed::Stepped { by_ms });
                self.controld_hears(out, stepped);
            }
            Event::System(system) => {
                if let Some(server) = &mut self.timed.server {
                    server.set_system(system);
                }
            }
            Event::SetRate { rate, .. } => self.wall.set_rate(out.now, rate.ppm()),
            Event::KeepDrift(drift) => self.timed.drift = Some(drift),
            Event::State(_) | Event::Jumped { .. } | Event::Panic { .. } => {
                out.note("timed", || format!("{event:?}"));
            }
            _ => {}
        }
    }

    /// Somebody sets the wall clock.
    pub fn step_clock(&mut self, out: &mut Outside, by_ns: i64) {
        self.wall.step(out.now, by_ns);
        let seen = self.on;
        out.ledger.clock_stepped(seen.then_some(self.boot_at));
        self.clock_noticed = false;
        self.clock_on_disk = false;
    }

    /// How far the wall clock is from the truth.
    pub fn clock_error(&self, now: Instant) -> Duration {
        let truth = self.wall.truth_ns(now);
        Duration::from_micros(self.wall.ns(now).abs_diff(truth) / 1000)
    }

    pub(super) fn ntp_now(&self, out: &Outside) -> Now {
        Now {
            mono: self.clocks(out.now).mono,
            wall: UnixNs(self.wall.ns(out.now)),
        }
    }

    /// Whether there is a way to the provider's street.
    pub(super) fn routed(&self) -> bool {
        let mut routes = self.kernel.state.routes.iter();
        routes.any(|route| route.link.as_str() == super::WAN_PORT && route.gateway.is_some())
    }
}
