//! A box with a bad crystal, and servers behind a bad network, in virtual time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use lintel_wire::ntp::{Mode, NtpShort, NtpTimestamp, Packet, ReferenceId, Version};

use super::super::*;
use crate::rng::SeededRng;

/// In June 2026.
pub(super) const START: UnixNs = UnixNs::from_secs(1_782_000_000);
pub(super) const MS: i64 = 1_000_000;
/// The crystal changes this often, and errors are looked at.
const STRIDE_NS: f64 = 16e9;

/// How a server behaves.
#[derive(Debug, Clone)]
pub(super) struct ServerModel {
    /// Its time minus true time.
    pub(super) error_ns: i64,
    /// Each way, at least.
    pub(super) delay_ns: i64,
    /// Each way, on average on top of that.
    pub(super) jitter_ns: i64,
    /// One way in four waits up to so much longer still, as for a machine that is busy.
    pub(super) wait_ns: i64,
    /// Of a hundred requests.
    pub(super) lost_percent: u32,
    pub(super) silent: bool,
    /// Changes the reply before it leaves.
    pub(super) speaks: fn(&mut Packet),
}

impl Default for ServerModel {
    fn default() -> Self {
        Self {
            error_ns: 0,
            delay_ns: 8 * MS,
            jitter_ns: MS / 2,
            wait_ns: 0,
            lost_percent: 2,
            silent: false,
            speaks: |_| (),
        }
    }
}

pub(super) struct World {
    pub(super) client: Client,
    pub(super) servers: Vec<ServerModel>,
    pub(super) rng: SeededRng,
    /// Since the start, true nanoseconds.
    pub(super) truth: f64,
    mono: f64,
    /// Wall clock minus start.
    pub(super) wall: f64,
    /// Frequency error of the crystal, a fraction, and how it wanders.
    pub(super) drift: f64,
    pub(super) wander: f64,
    rate: ScaledPpm,
    /// Replies under way: true time of arrival, and a number against ties.
    network: BTreeMap<(u64, u64), (AssociationId, SocketAddr, Vec<u8>)>,
    sent: u64,
    pub(super) events: Vec<Event>,
    pub(super) transmitted: Vec<(f64, SocketAddr)>,
    /// The last request as it left, for forgers.
    pub(super) last_request: Option<(AssociationId, SocketAddr, Packet)>,
    /// A shell without the privilege.
    pub(super) cannot_step: bool,
}

pub(super) fn address(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0xc612_0000 + n as u32), 123))
}

pub(super) fn server_config(n: usize) -> SourceConfig {
    SourceConfig {
        id: SourceId(n as u32),
        kind: SourceKind::Server,
        poll_min: 4,
        poll_max: 8,
        burst: true,
    }
}

impl World {
    /// Each server is a source of its own.
    pub(super) fn new(
        seed: u64,
        wall_error_ns: i64,
        drift_ppm: f64,
        models: &[ServerModel],
    ) -> Self {
        let sources = (0..models.len()).map(server_config).collect();
        let mut world = Self::with_sources(seed, wall_error_ns, drift_ppm, models, sources);
        for n in 0..models.len() {
            world.resolve(SourceId(n as u32), &[address(n)]);
        }
        world
    }

    pub(super) fn with_sources(
        seed: u64,
        wall_error_ns: i64,
        drift_ppm: f64,
        models: &[ServerModel],
        sources: Vec<SourceConfig>,
    ) -> Self {
        let mono = 1e9;
        let config = ClientConfig {
            sources,
            floor: START.plus_ns(-1_000_000_000_000),
            drift: None,
            precision: -24,
            agreeing_min: 0,
        };
        let now = Now {
            mono: Instant::from_micros((mono / 1e3) as u64),
            wall: START.plus_ns(wall_error_ns),
        };
        let mut world = Self {
            client: Client::new(now, config),
            servers: models.to_vec(),
            rng: SeededRng::new(seed),
            truth: 0.0,
            mono,
            wall: wall_error_ns as f64,
            drift: drift_ppm * 1e-6,
            wander: 0.0,
            rate: ScaledPpm(0),
            network: BTreeMap::new(),
            sent: 0,
            events: Vec::new(),
            transmitted: Vec::new(),
            last_request: None,
            cannot_step: false,
        };
        world.drain();
        world
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: Instant::from_micros((self.mono / 1e3) as u64),
            wall: START.plus_ns(self.wall.round() as i64),
        }
    }

    /// Wall clock minus true time, nanoseconds.
    pub(super) fn error_ns(&self) -> f64 {
        self.wall - self.truth
    }

    pub(super) fn resolve(&mut self, source: SourceId, addresses: &[SocketAddr]) {
        self.input(Input::Addresses { source, addresses });
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        self.client.handle_input(now, input, &mut self.rng);
        self.drain();
    }

    /// Runs for `secs` true seconds and gives the largest error of the second half, nanoseconds.
    pub(super) fn run(&mut self, secs: f64) -> f64 {
        let (from, end) = (self.truth, self.truth + secs * 1e9);
        let mut worst: f64 = 0.0;
        let mut next_wander = self.truth;
        while self.truth < end {
            let arrival = self.network.keys().next().map(|(at, _)| *at as f64);
            let deadline = self.deadline();
            let mut until = end.min(self.truth + STRIDE_NS);
            for at in [arrival, deadline].into_iter().flatten() {
                until = until.min(at.max(self.truth));
            }
            self.pass(until - self.truth);
            if self.truth >= next_wander {
                next_wander = self.truth + STRIDE_NS;
                let step = f64::from(self.rng.below(2_001)) / 1_000.0 - 1.0;
                self.drift += step * self.wander;
            }
            if self.truth - from > (end - from) / 2.0 {
                worst = worst.max(self.error_ns().abs());
            }
            if arrival.is_some_and(|at| at <= self.truth) {
                self.deliver();
            }
            if deadline.is_some_and(|at| at <= self.truth + 1e3) {
                self.timeout();
            }
        }
        worst
    }

    pub(super) fn timeout(&mut self) {
        let now = self.now();
        self.client.handle_timeout(now, &mut self.rng);
        self.drain();
    }

    /// Somebody sets the clock.
    pub(super) fn jump(&mut self, by_ns: i64) {
        self.wall += by_ns as f64;
    }

    /// Somebody sets the clock through the machine.
    pub(super) fn set_by_hand(&mut self, to: UnixNs) -> Result<(), SetRefusal> {
        let now = self.now();
        let done = self.client.set_by_hand(now, to);
        self.drain();
        done
    }

    pub(super) fn set_wall(&mut self, to: UnixNs) {
        self.wall = to.ns_since(START) as f64;
    }

    pub(super) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }

    pub(super) fn is_synchronised(&self) -> bool {
        matches!(self.client.state(), State::Synchronised { .. })
    }

    pub(super) fn standing(&self, n: usize) -> Option<Standing> {
        self.client
            .associations()
            .find(|one| one.to == address(n))
            .map(|one| one.standing)
    }

    fn speed(&self) -> f64 {
        (1.0 + self.drift) * (1.0 + self.rate.ppm() * 1e-6)
    }

    fn pass(&mut self, ns: f64) {
        let local = ns * self.speed();
        self.truth += ns;
        self.mono += local;
        self.wall += local;
    }

    /// In true time; a microsecond late, as the clock of deadlines is that coarse.
    fn deadline(&mut self) -> Option<f64> {
        match self.client.poll_output() {
            Output::Timeout(at) => at.map(|at| {
                let left = (at.as_micros() + 1) as f64 * 1e3 - self.mono;
                self.truth + left.max(0.0) / self.speed()
            }),
            other => panic!("not drained: {other:?}"),
        }
    }

    fn deliver(&mut self) {
        let Some((_, (association, from, octets))) = self.network.pop_first() else {
            return;
        };
        let received = self.now().wall;
        self.input(Input::Datagram {
            association,
            from,
            local: None,
            octets: &octets,
            received,
        });
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Transmit {
                    association,
                    to,
                    octets,
                } => {
                    self.transmitted.push((self.truth, to));
                    self.transmit(association, to, &octets);
                }
                Output::Event(event) => {
                    match event {
                        Event::Step { by_ns } if !self.cannot_step => self.wall += by_ns as f64,
                        Event::SetRate { rate, .. } => self.rate = rate,
                        _ => {}
                    }
                    self.events.push(event);
                }
                Output::Timeout(_) => return,
            }
        }
    }

    fn transmit(&mut self, association: AssociationId, to: SocketAddr, octets: &[u8]) {
        let request = Packet::parse(octets).unwrap();
        assert_eq!((request.mode, request.version), (Mode::Client, Version::V4));
        self.last_request = Some((association, to, request));
        let Some(n) = (0..self.servers.len()).find(|n| address(*n) == to) else {
            return;
        };
        let model = self.servers[n].clone();
        if model.silent || self.rng.below(100) < model.lost_percent {
            return;
        }
        let there = self.trip(&model);
        let back = self.trip(&model);
        let inside = 20e3;
        let receive = self.truth + there + model.error_ns as f64;
        let mut reply = reply_to(&request, START.plus_ns(receive as i64), inside as i64);
        (model.speaks)(&mut reply);
        let at = self.truth + there + inside + back;
        self.sent += 1;
        self.network.insert(
            (at as u64, self.sent),
            (association, to, reply.emit().to_vec()),
        );
    }

    /// Most packets are near the least delay, and some wait long.
    fn trip(&mut self, model: &ServerModel) -> f64 {
        let luck = f64::from(self.rng.below(1_000_000) + 1) / 1e6;
        let waits = model.wait_ns > 0 && self.rng.below(4) == 0;
        let wait = if waits {
            f64::from(self.rng.below(1_000_000)) / 1e6 * model.wait_ns as f64
        } else {
            0.0
        };
        model.delay_ns as f64 - luck.ln() * model.jitter_ns as f64 + wait
    }
}

/// What an honest stratum 1 server replies.
pub(super) fn reply_to(request: &Packet, receive: UnixNs, inside_ns: i64) -> Packet {
    Packet {
        leap: Leap::None,
        mode: Mode::Server,
        stratum: 1,
        precision: -24,
        root_delay: NtpShort::ZERO,
        root_dispersion: NtpShort::from_ns(100_000),
        reference_id: ReferenceId(*b"PPS\0"),
        reference: NtpTimestamp::from_unix(receive.plus_ns(-1_000_000_000)),
        origin: request.transmit,
        receive: NtpTimestamp::from_unix(receive),
        transmit: NtpTimestamp::from_unix(receive.plus_ns(inside_ns)),
        ..*request
    }
}
