//! The loop: what comes from init, controld, the LAN and outside, and what the machine wants.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::ChannelKind;
use lintel_ipc::timed::{ClockSet, FromTimed, ToTimed};
use lintel_model::RoleName;
use lintel_model::config::TimeServer;
use lintel_model::services::NtpSpec;
use lintel_proto::ntp::client::{
    Client, ClientConfig, Event, Input, Output, SetRefusal, SourceId, State,
};
use lintel_proto::ntp::{Now, ScaledPpm, UnixNs};
use lintel_rt::channel::Channel;
use lintel_rt::datagrams::BATCH_MAX;
use lintel_rt::poller::{self, Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_rt::wall::WallClock;
use ring::rand::SystemRandom;

use super::lan::Lan;
use super::names::Names;
use super::outside::{Departure, Outside};
use super::sources::Sources;
use super::{clock, report};
use crate::dnsd::KernelRng;

const LAN_TOKEN: Token = 1;
const OUT_TOKEN: Token = 2;
const SESSION_TOKEN: Token = 3;

/// Batches taken from a socket before others have their turn.
pub(super) const BATCHES_PER_TURN_MAX: usize = 8;
/// Stamps of departure taken in one turn: the machine sends fewer at a time.
const DEPARTURES_PER_TURN_MAX: usize = 64;
/// Between two reports although nothing of weight happened, and between any two at all.
const REPORT_EVERY: Duration = Duration::from_secs(64);
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Precision of Linux' clock, log2 seconds: a system call takes less than 2^-24 s.
const PRECISION: i8 = -24;
/// A clock that shows this much else than it was just set to did not obey.
const SET_ERROR_NS_MAX: u64 = 1_000_000_000;

/// The role's state.
pub(super) struct Timed {
    ctx: RoleContext,
    wall: Box<dyn WallClock>,
    rng: KernelRng,
    lan: Lan,
    outside: Outside,
    /// What asks outside; made by the first snapshot, which knows the frequency.
    client: Option<Client>,
    machine_due: Option<Instant>,
    sources: Sources,
    names: Names,
    resolver: Option<SocketAddr>,
    online: bool,
    session: Option<Channel<FromTimed, ToTimed>>,
    /// More than one source vouched for the clock as it runs.
    agreed: bool,
    /// Something of weight happened since the last report.
    news: bool,
    reported_at: Option<Instant>,
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

impl Timed {
    pub(super) fn new(
        ctx: RoleContext,
        lan: OwnedFd,
        out: OwnedFd,
        wall: Box<dyn WallClock>,
    ) -> Result<Self, RoleError> {
        ctx.poller
            .add(&lan, LAN_TOKEN, Interest::READ)
            .and_then(|()| ctx.poller.add(&out, OUT_TOKEN, Interest::READ))
            .map_err(RoleError::io("watching the sockets of NTP"))?;
        let mut rng = KernelRng(SystemRandom::new());
        Ok(Self {
            lan: Lan::new(lan, ctx.clock.now(), &mut rng),
            outside: Outside::new(out),
            client: None,
            machine_due: None,
            sources: Sources::default(),
            names: Names::default(),
            resolver: None,
            online: false,
            session: None,
            agreed: false,
            news: true,
            reported_at: None,
            wall,
            rng,
            ctx,
        })
    }

    pub(super) fn run(&mut self) -> Result<(), RoleError> {
        self.ctx.ready()?;
        let mut events = Vec::new();
        let mut deadline = None;
        loop {
            self.ctx
                .poller
                .wait(deadline, &mut events)
                .map_err(RoleError::io("waiting for events"))?;
            for event in events.drain(..) {
                if self.on_event(event)? == Flow::Stop {
                    return Ok(());
                }
            }
            self.look();
            let names = self.ask_names();
            let report = self.report();
            deadline = [self.machine_due, names, report]
                .into_iter()
                .flatten()
                .min();
        }
    }

    fn now(&self) -> Now {
        clock::now(self.ctx.clock, &*self.wall)
    }

    /// Does what is due, and notices a clock that was moved.
    fn look(&mut self) {
        let now = self.now();
        if let Some(client) = &mut self.client {
            client.handle_timeout(now, &mut self.rng);
        }
        self.drain();
    }

    fn on_event(&mut self, event: poller::Event) -> Result<Flow, RoleError> {
        match event.token {
            INIT_TOKEN => {
                while let Some(event) = self.ctx.on_init()? {
                    if self.on_init(event)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
            }
            LAN_TOKEN => {
                // A clock that somebody moved meanwhile is told to nobody.
                self.look();
                self.lan.serve(self.ctx.clock, &*self.wall);
            }
            OUT_TOKEN => {
                // When a request left counts only as long as its reply is not in.
                self.take_departures();
                self.hear();
            }
            _ => self.on_session(),
        }
        Ok(Flow::Go)
    }

    fn on_init(&mut self, event: InitEvent) -> Result<Flow, RoleError> {
        match event {
            InitEvent::Stop => return Ok(Flow::Stop),
            InitEvent::Channel {
                with: RoleName::Controld,
                kind: ChannelKind::Session,
                fd,
            } => {
                let session =
                    Channel::new(fd).map_err(RoleError::io("taking controld's channel"))?;
                self.ctx
                    .poller
                    .add(&session, SESSION_TOKEN, Interest::READ)
                    .map_err(RoleError::io("watching controld's channel"))?;
                self.session = Some(session);
                self.news = true;
                self.reported_at = None;
            }
            _ => {}
        }
        Ok(Flow::Go)
    }

    fn on_session(&mut self) {
        while let Some(session) = &mut self.session {
            let message = session.flush().and_then(|()| session.recv());
            match message {
                Ok(Some((ToTimed::Spec { spec, drift }, _))) => self.configure(&spec, drift),
                Ok(Some((ToTimed::Set { id, to_unix_ms }, _))) => {
                    let outcome = self.set_by_hand(to_unix_ms);
                    // Whoever asked sees the clock as it is now.
                    self.reported_at = None;
                    self.report();
                    self.tell(&FromTimed::Set { id, outcome });
                }
                Ok(None) => return self.watch_session(),
                Err(error) => {
                    log::warn!(
                        "the session with controld is over, the last snapshot stays: {error}"
                    );
                    self.session = None;
                }
            }
        }
    }

    /// A snapshot.
    fn configure(&mut self, spec: &NtpSpec, drift: Option<i64>) {
        let now = self.now();
        let links = spec.links.iter().map(|link| link.index);
        self.lan.set_links(links.collect());
        self.resolver = spec.resolver;
        self.sources.set(spec);
        let configs = self.sources.configs();
        match self.client {
            Some(_) => self.input(Input::Sources(&configs)),
            None => {
                let config = ClientConfig {
                    sources: configs,
                    floor: floor(),
                    drift: drift.map(ScaledPpm),
                    precision: PRECISION,
                    agreeing_min: 0,
                };
                self.client = Some(Client::new(now, config));
                self.input(Input::Online(false));
                self.online = false;
            }
        }
        if spec.online != self.online {
            self.online = spec.online;
            self.input(Input::Online(spec.online));
            if spec.online {
                self.names.hurry(now.mono);
            }
        }
        self.names.retain(|id| self.sources.get(id).is_some());
        let ids: Vec<SourceId> = self.sources.iter().map(|source| source.id).collect();
        for id in ids {
            self.resolve(now.mono, id, false);
        }
        self.news = true;
    }

    /// Sets the clock because somebody says so.
    fn set_by_hand(&mut self, to_unix_ms: u64) -> ClockSet {
        let to_ms = i64::try_from(to_unix_ms).unwrap_or(i64::MAX);
        let to = UnixNs(to_ms.saturating_mul(1_000_000));
        let now = self.now();
        let Some(client) = &mut self.client else {
            return ClockSet::Failed;
        };
        let done = client.set_by_hand(now, to);
        self.drain();
        let unix_s = |at: UnixNs| u64::try_from(at.0 / 1_000_000_000).unwrap_or(0);
        match done {
            Ok(()) if self.now().wall.0.abs_diff(to.0) > SET_ERROR_NS_MAX => ClockSet::Failed,
            Ok(()) => {
                log::info!("the clock was set by hand");
                // Whoever vouched for it did so for another one.
                self.agreed = false;
                ClockSet::Done
            }
            Err(SetRefusal::Synchronised { agreeing }) => ClockSet::Synchronised { agreeing },
            Err(SetRefusal::BeforeFloor { floor }) => ClockSet::TooEarly {
                min_unix_s: unix_s(floor),
            },
            Err(SetRefusal::TooLate { max }) => ClockSet::TooLate {
                max_unix_s: unix_s(max),
            },
        }
    }

    /// Finds the addresses of a source: at once where it is written as one. `again`: those known
    /// are of no use any more.
    fn resolve(&mut self, now: Instant, id: SourceId, again: bool) {
        let Some(source) = self.sources.get(id) else {
            return;
        };
        match source.server.clone() {
            TimeServer::Address(address) => self.input(Input::Addresses {
                source: id,
                addresses: &[address],
            }),
            TimeServer::Name(name, port) if again || !self.names.knows(id) => {
                self.names.ask(now, id, &name, port);
            }
            TimeServer::Name(..) => {}
        }
    }

    /// Tells the machine, and does at once what it wants: the clock that it knows of must be the
    /// clock that it hears of next.
    fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        if let Some(client) = &mut self.client {
            client.handle_input(now, input, &mut self.rng);
        }
        self.drain();
    }

    /// Hands what came from outside to whom it is for.
    fn hear(&mut self) {
        for _ in 0..BATCHES_PER_TURN_MAX {
            let received = self.outside.receive();
            for at in 0..received {
                self.hear_one(at);
            }
            if received < BATCH_MAX {
                return;
            }
        }
    }

    fn hear_one(&mut self, at: usize) {
        let Some((from, bytes)) = self.outside.datagram(at) else {
            return;
        };
        if Some(from) == self.resolver {
            if let Some((source, addresses)) = self.names.reply(bytes) {
                let addresses = &addresses[..];
                self.input(Input::Addresses { source, addresses });
            }
            return;
        }
        if let Some(heard) = self.outside.heard(at, &*self.wall) {
            self.news = true;
            self.input(heard.as_input());
        }
    }

    /// Tells the machine when its requests left.
    fn take_departures(&mut self) {
        for _ in 0..DEPARTURES_PER_TURN_MAX {
            match self.outside.departure(&*self.wall) {
                Departure::None => return,
                Departure::Other => {}
                Departure::Request { association, at } => {
                    self.input(Input::Sent { association, at });
                }
            }
        }
    }

    /// Does what the machine wants done.
    fn drain(&mut self) {
        while let Some(client) = &mut self.client {
            match client.poll_output() {
                Output::Transmit {
                    association,
                    to,
                    octets,
                } => self.outside.ask(association, to, octets),
                Output::Event(event) => self.on_machine_event(&event),
                Output::Timeout(at) => {
                    self.machine_due = at;
                    return;
                }
            }
        }
    }

    fn on_machine_event(&mut self, event: &Event) {
        clock::turn(&mut *self.wall, event);
        match event {
            Event::Step { by_ns } => {
                self.lan.discard();
                let by_ms = by_ns / 1_000_000;
                self.tell(&FromTimed::Stepped { by_ms });
            }
            Event::SetRate { .. } | Event::SetStatus { .. } => return,
            Event::KeepDrift(drift) => self.tell(&FromTimed::Drift(drift.0)),
            Event::State(state) => match state {
                State::Synchronised { agreeing } => {
                    log::info!("the clock is synchronised: {agreeing} sources agree");
                }
                State::NotSynchronised { agreeing } => {
                    log::warn!("the clock is not synchronised: {agreeing} sources agree");
                }
            },
            Event::System(system) => self.lan.set_system(*system),
            Event::Opened { to, .. } => log::debug!("{to} is asked"),
            Event::Closed {
                association,
                reason,
                ..
            } => {
                if let Some(to) = self.outside.forget(*association) {
                    log::debug!("{to} is asked no more: {reason:?}");
                }
            }
            Event::ResolveAgain { source } => {
                let now = self.ctx.clock.now();
                self.resolve(now, *source, true);
            }
            Event::Jumped { by_ns } => {
                log::warn!("somebody moved the clock by {} ms", by_ns / 1_000_000);
                self.agreed = false;
            }
            Event::Panic { offset_ns } => {
                log::error!(
                    "the sources are {} s away from a clock that they had set: beginning anew",
                    offset_ns / 1_000_000_000
                );
                self.agreed = false;
            }
            Event::SystemPeer(_) => {}
        }
        if let Some(client) = &self.client {
            self.agreed |= report::has_agreed(client);
        }
        self.news = true;
    }

    /// Asks for names that are due; returns when the next one is.
    fn ask_names(&mut self) -> Option<Instant> {
        let resolver = self.resolver.filter(|_| self.online)?;
        let now = self.ctx.clock.now();
        while let Some(mut question) = self.names.poll(now, &mut self.rng) {
            self.outside.send(resolver, &mut question);
        }
        self.names.deadline()
    }

    /// Reports when there is something to tell and it is time; returns when it will be.
    fn report(&mut self) -> Option<Instant> {
        self.session.as_ref()?;
        let now = self.now();
        let after = |pause| self.reported_at.map(|at| at + pause);
        let due = after(if self.news {
            REPORT_PAUSE
        } else {
            REPORT_EVERY
        });
        if due.is_some_and(|due| due > now.mono) {
            return due;
        }
        let client = self.client.as_ref()?;
        let report = report::report(now, client, &self.lan, &self.sources, self.agreed);
        self.reported_at = Some(now.mono);
        self.news = false;
        self.tell(&FromTimed::Report(Box::new(report)));
        Some(now.mono + REPORT_EVERY)
    }

    fn tell(&mut self, message: &FromTimed) {
        let Some(session) = &mut self.session else {
            return;
        };
        if let Err(error) = session.send(message) {
            log::warn!("the session with controld is over, the last snapshot stays: {error}");
            self.session = None;
        }
        self.watch_session();
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session {
            // A descriptor that cannot be watched is one whose end will be noticed on sending.
            let _ = session.watch(&self.ctx.poller, SESSION_TOKEN);
        }
    }
}

/// No source is believed that says a time before this source was written.
fn floor() -> UnixNs {
    let source: i64 = option_env!("LINTEL_SOURCE_TIME")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    UnixNs::from_secs(source)
}
