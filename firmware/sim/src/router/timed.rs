//! timed: the real NTP client against four servers of which one lies, and the clock that it sets.

use std::net::SocketAddr;

use embassy_time::{Duration, Instant};
use lintel_ipc::timed::FromTimed;
use lintel_model::RoleName;
use lintel_proto::ntp::client::{
    AssociationId, Client, ClientConfig, Event, Input, Output, SourceConfig, SourceId, SourceKind,
    State,
};
use lintel_proto::ntp::{Now, ScaledPpm, UnixNs};
use lintel_proto::rng::SeededRng;
use lintel_roles::controld::core::Input as CoreInput;
use std::collections::BTreeMap;

use super::Router;
use crate::plant::RoleRng;
use crate::properties::{Property, Violation};
use crate::timeservers::{Reply, Request, SERVERS};
use crate::world::{Alarm, Event as Happening, Outside, Who};

/// No server is believed that tells an earlier time: some months before the street's.
const FLOOR_S: i64 = 1_690_000_000;
/// Longest poll interval, log2 seconds: minutes pass quickly here.
const POLL_MAX: u8 = 6;

/// The role.
pub struct Timed {
    lives: u64,
    client: Option<Client>,
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
        let now = self.ntp_now(out);
        if let Some(client) = &mut self.timed.client {
            client.handle_timeout(now, &mut self.timed.rng);
        }
        self.timed_drains(out);
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
        let seen = self.on && self.controld.core.is_some();
        out.ledger
            .clock_stepped(out.now, seen.then_some(self.boot_at));
        self.clock_noticed = false;
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
