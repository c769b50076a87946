//! An NTP client of several servers and pools that disciplines the clock.
//!
//! ```text
//!                     majority agrees, offset > 128 ms: Step
//!                    ┌──────────────┐
//!   new ──▶ NOT SYNCHRONISED ◀──────┘
//!              │  ▲      ▲
//!   majority   │  │      │ clock jumped, offset > 1000 s for five minutes (panic),
//!   agrees,    │  │      │ or nobody agreed for so long that the error may be 1 s
//!   offset     │  │      │
//!   small      ▼  │      │
//!          SYNCHRONISED ─┴── offset > 128 ms for five minutes (stepout): Step
//!              └─▶ else: slew and tune the frequency, each time a survivor answers
//! ```
//!
//! While nobody is followed the clock can be set by hand ([`Client::set_by_hand`]), which begins anew.
//!
//! An association per server (RFC 5905 section 9) polls it:
//!
//! ```text
//!   opened ──▶ BURST (4 replies, 2 s apart) ──▶ after 8, 16, 32 s ──▶ POLLING every 2^poll s
//!                 │                                 │                  │    ▲        │
//!                 └──────────── RATE ───────────────┴──────────────────┴────┘ RATE:  │
//!                                                                         poll + 1   ▼
//!              the next address takes its place, or ResolveAgain ◀── silent for 8 polls
//!                 DENY, RSTR: closed, its address is not used again; ResolveAgain
//! ```
//!
//! What a reply has to pass is in [`DropReason`]. Requests carry a random number instead of our
//! time, so that nobody off the path can answer for a server (RFC 5905 section 8, TEST2) and
//! nobody on it learns our clock.
//!
//! From replies to the clock: the clock filter of eight stages (section 10), the intersection
//! that needs a majority (section 11.2.1), clustering (11.2.2), combining (11.2.3).
//!
//! Nothing panics on any bytes. Sources, addresses, associations and samples are bounded
//! ([`SOURCES_MAX`], [`ADDRESSES_MAX`], [`ASSOCIATIONS_MAX`]); one input makes a bounded number of
//! outputs, which the caller drains at once.

mod association;
mod by_hand;
mod config;
mod discipline;
mod drops;
mod io;
mod leap;
mod samples;
mod select;
mod sources;
#[cfg(test)]
mod tests;
mod update;

use std::collections::VecDeque;
use std::net::SocketAddr;

use embassy_time::{Duration, Instant};

pub use by_hand::SetRefusal;
pub use config::{AssociationId, ClientConfig, SourceConfig, SourceId, SourceKind};
pub use drops::{DropReason, Drops};
pub use io::{AssociationStatus, ClosedReason, Event, Input, Output, Standing, State};

use super::{Leap, Now, ScaledPpm, System, UnixNs};
use crate::rng::Rng;
use association::{Arrival, Association};
use discipline::Discipline;
use sources::Source;

/// Most sources in a configuration: more than ten add nothing, and option 42 brings a few.
pub const SOURCES_MAX: usize = 16;
/// Most addresses remembered for one source; pools answer with four at a time.
pub const ADDRESSES_MAX: usize = 16;
/// Most servers asked at a time, over all sources.
pub const ASSOCIATIONS_MAX: usize = 16;
/// Servers asked of one pool.
pub const POOL_ASSOCIATIONS_MAX: usize = 4;
/// Longest interval between requests, log2 seconds (RFC 5905's MAXPOLL): 36 hours.
pub const POLL_MAX: u8 = 17;

/// An offset above this is stepped, where a step is allowed; also what counts as a jump of the
/// clock by somebody else (RFC 5905's STEPT).
const STEP_NS: i64 = 128_000_000;
/// A clock that may be wrong by this is synchronised no more, nanoseconds. Without a source, the
/// tolerance alone leads there in 18 hours.
const HOLDOVER_DISTANCE_NS: i64 = 1_000_000_000;

/// The client.
#[derive(Debug)]
pub struct Client {
    floor: UnixNs,
    agreeing_min: usize,
    /// Of the wall clock, seconds.
    precision: f64,
    sources: Vec<Source>,
    associations: Vec<Association>,
    next_id: u64,
    denied: VecDeque<SocketAddr>,
    online: bool,
    discipline: Discipline,
    system: System,
    state: State,
    peer: Option<AssociationId>,
    /// Since when all servers are being asked with nothing believed yet.
    since: Instant,
    /// Since when the majority says that the clock is far off.
    far_since: Option<Instant>,
    /// The interval that the clock can do with, log2 seconds, and what speaks for another.
    poll: u8,
    poll_counter: i32,
    /// The frequency that was handed out to be kept, and when.
    kept: Option<(Instant, ScaledPpm)>,
    /// Both clocks at the last call, to notice jumps.
    last: Now,
    drops: Drops,
    outputs: VecDeque<Output>,
}

impl Client {
    /// A client that knows no addresses yet. The first drain sets the kept frequency.
    pub fn new(now: Now, config: ClientConfig) -> Self {
        let mut client = Self {
            floor: config.floor,
            agreeing_min: config.agreeing_min,
            precision: f64::from(config.precision.clamp(-30, 0)).exp2(),
            sources: Vec::new(),
            associations: Vec::new(),
            next_id: 0,
            denied: VecDeque::new(),
            online: true,
            discipline: Discipline::new(now.mono, config.drift),
            system: System::unsynchronised(now.mono, config.precision),
            state: State::NotSynchronised { agreeing: 0 },
            peer: None,
            since: now.mono,
            far_since: None,
            poll: 0,
            poll_counter: 0,
            kept: None,
            last: now,
            drops: Drops::default(),
            outputs: VecDeque::new(),
        };
        client.set_rate(0.0);
        client.set_sources(now.mono, &config.sources);
        client
    }

    /// Whether the clock is worth anything.
    pub fn state(&self) -> State {
        self.state
    }

    /// How good the clock is: for the server and for status.
    pub fn system(&self) -> System {
        self.system
    }

    /// The frequency correction without what is being slewed.
    pub fn drift(&self) -> ScaledPpm {
        self.discipline.frequency()
    }

    /// The best guess of the remaining error of the wall clock, nanoseconds: positive means that
    /// the clock is behind.
    pub fn offset_ns(&self, now: Now) -> i64 {
        (self.discipline.remaining(now.mono) * 1e9) as i64
    }

    /// Every server that is being asked.
    pub fn associations(&self) -> impl Iterator<Item = AssociationStatus> + '_ {
        let now = self.last.mono;
        let slewing = self.discipline.remaining(now);
        self.associations
            .iter()
            .map(move |one| one.status(now, slewing, self.precision))
    }

    /// Replies not believed, by reason.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Takes in what happened; drain [`Client::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>, rng: &mut dyn Rng) {
        self.watch_clock(now);
        match input {
            Input::Sources(configs) => self.set_sources(now.mono, configs),
            Input::Addresses { source, addresses } => {
                self.set_addresses(now.mono, source, addresses);
            }
            Input::Sent { association, at } => {
                if let Some(one) = self.association_mut(association) {
                    one.left(at);
                }
            }
            Input::Datagram {
                association,
                from,
                local,
                octets,
                received,
            } => {
                let arrival = Arrival {
                    from,
                    local,
                    octets,
                    received,
                    floor: self.floor,
                };
                self.on_datagram(now, association, arrival);
            }
            Input::Online(online) => self.set_online(now.mono, online),
        }
        self.run(now, rng);
    }

    /// To be called at the time of the last [`Output::Timeout`]; earlier does no harm, and late
    /// by more than a millisecond costs precision.
    pub fn handle_timeout(&mut self, now: Now, rng: &mut dyn Rng) {
        self.watch_clock(now);
        self.run(now, rng);
    }

    /// The next thing to do. [`Output::Timeout`] is the last one.
    pub fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.next_deadline()))
    }

    /// Does what is due.
    fn run(&mut self, now: Now, rng: &mut dyn Rng) {
        if self.discipline.is_slewed(now.mono) {
            self.set_rate(0.0);
        }
        self.replace_silent(now.mono);
        self.ask_those_due(now, rng);
        self.end_holdover(now.mono);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let polls = self.associations.iter().map(|one| one.next);
        let poll = polls.min().filter(|_| self.online);
        [
            poll,
            self.discipline.deadline(),
            self.resolve_deadline(),
            self.holdover_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn ask_those_due(&mut self, now: Now, rng: &mut dyn Rng) {
        if !self.online {
            return;
        }
        for one in &mut self.associations {
            if one.next <= now.mono {
                let octets = one.ask(now, self.poll, rng).emit();
                self.outputs.push_back(Output::Transmit {
                    association: one.id,
                    to: one.to,
                    octets,
                });
            }
        }
    }

    fn set_online(&mut self, now: Instant, online: bool) {
        if online == self.online {
            return;
        }
        self.online = online;
        if online {
            self.ask_all(now);
        } else {
            self.associations.iter_mut().for_each(Association::miss);
        }
    }

    /// Begins anew with everybody.
    fn ask_all(&mut self, now: Instant) {
        self.since = now;
        for one in &mut self.associations {
            one.begin(now);
        }
    }

    fn on_datagram(&mut self, now: Now, id: AssociationId, arrival: Arrival<'_>) {
        let Some(one) = self.associations.iter_mut().find(|one| one.id == id) else {
            self.drops.count(DropReason::Stranger);
            return;
        };
        let source = one.source;
        match one.hear(now, arrival) {
            Ok(exchange) => {
                // Half-way between sending and receiving is what the offset is measured at.
                let ago_ns = now.wall.ns_since(exchange.received);
                let ago_ns = ago_ns.saturating_add(exchange.took_ns / 2);
                let ago_us = u64::try_from(ago_ns / 1_000).unwrap_or(0);
                let ago = Duration::from_micros(ago_us.min(now.mono.as_micros()));
                let slewing = self.discipline.remaining(now.mono - ago);
                one.take(now.mono, &exchange, slewing, self.precision);
                self.source_is_well(now.mono, source);
                self.update(now, id);
            }
            Err(reason) => {
                one.dropped += 1;
                self.drops.count(reason);
                if reason == DropReason::KissDeny {
                    self.close(id, ClosedReason::Denied);
                    self.fill(now.mono, source);
                }
            }
        }
    }

    /// Compares the two clocks with the last call: a step that was not ours makes every sample
    /// void. Leap seconds are steps too, but the servers make them as well.
    fn watch_clock(&mut self, now: Now) {
        let passed = now.mono.saturating_duration_since(self.last.mono);
        let passed_us = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let expected = self.last.wall.plus_ns(passed_us.saturating_mul(1_000));
        let by_ns = now.wall.ns_since(expected);
        let leap_ns = match leap::due(self.system.leap, self.last.wall) {
            Leap::Insert => -1_000_000_000,
            Leap::Delete => 1_000_000_000,
            _ => 0,
        };
        self.last = now;
        // A wall clock that is not the kernel's does not take the monotonic one along.
        let rate_ppm = self.discipline.rate().ppm().abs() as i64 + 1;
        let rate_ns = passed_us.saturating_mul(rate_ppm) / 1_000;
        let allowed_ns = STEP_NS.saturating_add(rate_ns);
        let is_leap = leap_ns != 0
            && by_ns.saturating_sub(leap_ns).unsigned_abs() < allowed_ns.unsigned_abs();
        if by_ns.unsigned_abs() > allowed_ns.unsigned_abs() && !is_leap {
            self.push(Event::Jumped { by_ns });
            self.begin_anew(now.mono);
        }
    }

    /// What was known about offsets is void; the frequency is not.
    fn begin_anew(&mut self, now: Instant) {
        for one in &mut self.associations {
            one.forget();
        }
        self.discipline.stop(now);
        self.set_rate(0.0);
        self.far_since = None;
        self.poll = 0;
        self.poll_counter = 0;
        self.desynchronise(now);
        self.ask_all(now);
    }

    fn set_rate(&mut self, slewing: f64) {
        let event = Event::SetRate {
            rate: self.discipline.rate(),
            slewing_ns: (slewing * 1e9) as i64,
        };
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn association_mut(&mut self, id: AssociationId) -> Option<&mut Association> {
        self.associations.iter_mut().find(|one| one.id == id)
    }
}
