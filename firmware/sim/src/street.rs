//! The whole street: the box, its house, its provider, and what befalls them.

use embassy_time::{Duration, Instant};
use lintel_ipc::call::{Call, Caller, Origin};
use lintel_model::RoleName;
use lintel_wire::dhcpv4::MessageType;
use lintel_wire::frame::EthernetAddress;
use serde_json::json;

use crate::attack;
use crate::dice::Dice;
use crate::host::Host;
use crate::isp::{Isp, Mood, TEMPERS, Temper};
use crate::net::{Weather, Wire};
use crate::plant::Plant;
use crate::properties::{Property, Violation};
use crate::router::{ROLES, Router, Wall};
use crate::scenario::{Fault, Params, Scenario, weather};
use crate::timeservers::TimeServers;
use crate::trace::{Mode, Trace};
use crate::wishes;
use crate::world::{Event, Outside, Who};

/// 14 November 2023.
const UNIX_S: u64 = 1_700_000_000;
/// Between two looks whether all is well.
const JUDGE_EVERY: Duration = Duration::from_secs(5);
/// Peace after which a second look must have found nothing.
const PEACE: Duration = Duration::from_secs(70);
/// As many looks as would fit into it.
const LOOKS_IN_PEACE: u32 = 14;
/// Longest back-off of a client, its pause after a DECLINE, an offer kept for another.
const PATIENCE_S: u64 = 72 + 10 + 30 + 10;
/// How wrong the clock of a box may be whose servers can be reached: the wires of the street
/// delay by half a millisecond, the liar by a second at least.
const CLOCK_ERROR_MAX: Duration = Duration::from_millis(100);
/// How long an address stays out of use after a conflict.
const QUARANTINE_S: u64 = 600;

/// One run.
pub struct Street {
    /// What everybody shares.
    pub out: Outside,
    /// The box.
    pub router: Router,
    hosts: Vec<Host>,
    isp: Isp,
    time_servers: TimeServers,
    params: Params,
    /// The text in force, as the householder thinks.
    calls: u64,
    strikes: u32,
    calm: bool,
    /// Plans sent when all was well.
    plans_then: Option<(u64, u64)>,
    well_after: Option<Duration>,
    calm_at: Instant,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What broke.
    pub broken: Option<Violation>,
    /// What tells two runs apart.
    pub fingerprint: u64,
    /// Events.
    pub events: u64,
    /// Virtual time, seconds.
    pub seconds: u64,
    /// From calm to all being well, seconds.
    pub well_after_s: u64,
    /// The last lines of the trace, when it was kept.
    pub lines: Vec<String>,
}

/// Runs a seed to its end or to the first thing that breaks.
pub fn run(scenario: Scenario, seed: u64, plant: Option<Plant>, mode: Mode) -> Outcome {
    let mut street = Street::new(scenario, seed, plant, mode);
    while street.out.broken.is_none() {
        let Some(event) = street.out.next_event() else {
            break;
        };
        match event {
            Event::End { left } => {
                if street.ends(left) {
                    break;
                }
            }
            event => street.happens(event),
        }
    }
    let out = &street.out;
    Outcome {
        broken: out.broken.clone(),
        fingerprint: out.fingerprint,
        events: out.events,
        seconds: out.now.as_secs(),
        well_after_s: street.well_after.map_or(0, |wait| wait.as_secs()),
        lines: out.trace.kept().map(str::to_owned).collect(),
    }
}

impl Street {
    fn new(scenario: Scenario, seed: u64, plant: Option<Plant>, mode: Mode) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed_0000_0000_0000);
        let params = Params::new(scenario, &mut dice);
        let mut out = Outside::new(
            seed,
            Trace::new(mode),
            plant,
            Wire::new(params.lan),
            Wire::new(params.wan),
        );
        out.hosts = params.hosts;
        out.addresses = vec![None; params.hosts];
        out.now = Instant::from_secs(100);
        let drift_ppm = out.dice.range(0, 160) as f64 - 80.0;
        let wall = Wall::new(UNIX_S, drift_ppm);
        let mut hosts: Vec<Host> = (0..params.hosts)
            .map(|number| Host::new(&mut out, number))
            .collect();
        if params.twins {
            for host in hosts.iter_mut().take(2) {
                host.client_id = Some(b"twin".to_vec());
            }
        }
        let lies = [1, -7, 600, -86_400, 400_000_000];
        let lie_s = out.dice.one(&lies).unwrap_or(1);
        let time_servers = TimeServers::new(lie_s, params.forged);
        let isp = Isp::new(params.isp_lease_s, params.forged);
        let router = Router::new(wall, params.labelled, params.config());
        out.note("seed", || format!("{params:?}"));
        let mut street = Self {
            out,
            router,
            hosts,
            isp,
            time_servers,
            params,
            calls: 0,
            strikes: 0,
            calm: false,
            plans_then: None,
            well_after: None,
            calm_at: Instant::from_secs(0),
        };
        street.isp.resolvers.forged = street.params.forged;
        street.begins();
        street
    }

    fn begins(&mut self) {
        let params = self.params.clone();
        let out = &mut self.out;
        out.after(Duration::from_millis(1), Event::PowerOn);
        out.after(Duration::from_secs(2), Event::Deed);
        if params.fault_every_ms > 0 && !params.faults.is_empty() {
            let wait = out.within_ms(100, 20_000);
            out.after(wait, Event::Fault);
        }
        if params.wish_every_ms > 0 {
            out.after(Duration::from_secs(15), Event::Wish);
        }
        if params.attacker {
            out.after(Duration::from_secs(12), Event::Attack);
        }
        out.after(Duration::from_secs(params.chaos_s), Event::Calm);
        for host in &mut self.hosts {
            let plugged = out.dice.per_mille(700);
            host.plug(out, plugged);
        }
        if params.squatter
            && let Some(host) = self.hosts.last_mut()
        {
            let last = 100 + out.dice.range(0, u64::from(params.pool) - 1) as u8;
            host.squats = Some([192, 168, 1, last].into());
        }
    }

    fn happens(&mut self, event: Event) {
        let (out, router) = (&mut self.out, &mut self.router);
        match event {
            Event::Lan { to: None, frame } => router.on_lan(out, &frame),
            Event::Lan {
                to: Some(host),
                frame,
            } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.on_frame(out, &frame);
                }
            }
            Event::ToIsp { frame, packet } => self.isp.on_frame(out, &frame, packet),
            Event::FromIsp { frame, answers } => {
                router.wand_frame(out, crate::router::WAN_PORT, &frame, answers);
            }
            Event::ToResolver(question) => self.isp.resolvers.on_question(out, question),
            Event::ToTimeServer(request) => {
                let wall = router.wall;
                self.time_servers.on_request(out, wall, request);
            }
            Event::FromTimeServer(reply) => router.timed_hears(out, reply),
            Event::FromResolver(answer) => router.dnsd_hears(out, answer),
            Event::Wake(Who::Host(host)) => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.wakes(out);
                }
            }
            Event::Wake(Who::Role(role)) => match role {
                _ if !router.alive(role) => {}
                RoleName::Controld => router.controld_wakes(out),
                RoleName::Dhcpd => router.dhcpd_wakes(out),
                RoleName::Wand => router.wand_wakes(out),
                RoleName::Dnsd => router.dnsd_wakes(out),
                RoleName::Timed => router.timed_wakes(out),
                RoleName::Netd | RoleName::Init | RoleName::Webd => {}
            },
            Event::Ipc {
                role,
                session,
                said,
            } => router.said(out, role, session, said),
            Event::HandOver { role, life, what } => router.handed(out, role, life, what),
            Event::NetdStep { life } => {
                router.netd_steps(out, life);
                router.check_kernel(out);
            }
            Event::NetdLook { life, regular } => router.netd_look_due(out, life, regular),
            Event::Flushed { life } => router.flushed(out, life),
            Event::Start { role, boot } => {
                router.start(out, role, boot);
                router.check_kernel(out);
            }
            Event::PowerOn => router.power_on(out),
            Event::Call(call) => router.call(out, *call),
            Event::Fault => self.fault(),
            Event::Deed => self.deed(),
            Event::Wish => self.wish(),
            Event::Attack => self.attack(),
            Event::Calm => self.calms(),
            Event::Judge { left } => self.judge(left),
            Event::End { .. } => {}
        }
        if self.out.events.is_multiple_of(256) {
            let broken = crate::bounds::check(&self.router);
            self.out.breaks(broken);
        }
    }

    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let (out, router) = (&mut self.out, &mut self.router);
        let every = self.params.fault_every_ms;
        let wait = out.within_ms(every / 4, every * 2);
        out.after(wait, Event::Fault);
        let Some(fault) = out.dice.one(&self.params.faults) else {
            return;
        };
        match fault {
            Fault::Kill => {
                if let Some(role) = out.dice.one(&ROLES) {
                    router.kill(out, role);
                }
            }
            Fault::PowerCut => {
                let away = Duration::from_millis(out.dice.range(500, 40_000));
                router.power_off(out, away);
            }
            Fault::LanFlap => {
                out.lan.carrier = !out.lan.carrier;
                router.carriers(out);
            }
            Fault::WanFlap => {
                out.wan.carrier = !out.wan.carrier;
                router.carriers(out);
            }
            Fault::ClockJump => {
                let year = 366 * 86_400;
                let by = out.dice.range(1, 30 * year) as i64;
                let by = if out.dice.per_mille(500) { by } else { -by };
                router.step_clock(out, by * 1_000_000_000);
                out.note("clock", || format!("is set by {by} s"));
            }
            Fault::Refusal => {
                let steps = out.dice.range(0, 12);
                router.kernel.fail_after = Some(steps);
            }
            Fault::Foreign => router.foreign_change(out),
            Fault::IspMood => {
                let moods = [Mood::Well, Mood::Well, Mood::Silent, Mood::Refuses];
                self.isp.mood = out.dice.one(&moods).unwrap_or(Mood::Well);
                match out.dice.range(0, 3) {
                    0 => self.isp.restart(),
                    1 => self.isp.network = out.dice.range(1, 3) as u8,
                    2 => {
                        self.isp.lease_s = out.dice.one(&[20, 60, 600]).unwrap_or(60);
                    }
                    _ => {}
                }
                let mood = self.isp.mood;
                out.note("isp", || format!("is {mood:?}"));
            }
            Fault::ResolverTemper => {
                let which = out.dice.index(2);
                let temper = out.dice.one(&TEMPERS).unwrap_or(Temper::Well);
                if let Some(place) = self.isp.resolvers.tempers.get_mut(which) {
                    *place = temper;
                }
                out.note("resolver", || format!("{which} is {temper:?}"));
            }
            Fault::Weather => {
                let (lan, wan) = (weather(&mut out.dice), weather(&mut out.dice));
                (out.lan.weather, out.wan.weather) = (lan, wan);
                out.note("weather", || format!("LAN {lan:?}, WAN {wan:?}"));
            }
        }
    }

    fn deed(&mut self) {
        let out = &mut self.out;
        let every = self.params.deed_every_ms;
        let usual = if self.calm { 2_000 } else { every };
        let wait = out.within_ms(usual / 4, usual * 2);
        out.after(wait, Event::Deed);
        let count = self.hosts.len();
        let Some(host) = self.hosts.get_mut(out.dice.index(count)) else {
            return;
        };
        let about = out.dice.range(0, 60_000);
        if self.calm {
            host.ask_time(out);
            return host.ask(out, about);
        }
        match out.dice.range(0, 22) {
            0 => host.plug(out, false),
            1..=4 => host.plug(out, true),
            5 => host.release(out),
            6 if out.dice.per_mille(300) => host.reset(out),
            7 | 8 => host.ask_time(out),
            // Something is on that everybody wants to see, and programs ask twice.
            9 => {
                for host in &mut self.hosts {
                    for _ in 0..3 {
                        host.ask(out, about);
                    }
                }
            }
            _ => host.ask(out, about),
        }
    }

    fn wish(&mut self) {
        if self.calm {
            return;
        }
        let out = &mut self.out;
        let every = self.params.wish_every_ms;
        let wait = out.within_ms(every / 4, every * 2);
        out.after(wait, Event::Wish);
        let (method, params) = wishes::next(&self.params, out);
        self.calls += 1;
        let call = Call {
            id: self.calls,
            method: method.to_owned(),
            params,
            caller: Caller {
                origin: Origin::Local,
                ..Caller::default()
            },
        };
        out.note("user", || {
            format!("call {}: {method} {}", call.id, call.params)
        });
        self.router.call(out, call);
    }

    fn attack(&mut self) {
        if self.calm {
            return;
        }
        let out = &mut self.out;
        if self.strikes < self.params.attacks {
            for _ in 0..20 {
                self.strikes += 1;
                attack::strike(out, self.strikes);
            }
            return out.after(Duration::from_millis(8), Event::Attack);
        }
        let victim = out.dice.index(self.params.hosts);
        match out.dice.range(0, 3) {
            0 => attack::speak_for(out, victim, MessageType::Release),
            1 => attack::speak_for(out, victim, MessageType::Decline),
            _ => attack::nonsense(out, EthernetAddress([2, 0x40, 0, 0, 0, 1])),
        }
        let wait = out.within_ms(500, 20_000);
        out.after(wait, Event::Attack);
    }

    /// From now on all is well, and everybody wants to be served.
    fn calms(&mut self) {
        self.calm = true;
        let (out, router) = (&mut self.out, &mut self.router);
        out.note("street", || "calms down".to_owned());
        self.calm_at = out.now;
        (out.lan.weather, out.wan.weather) = (Weather::CLEAR, Weather::CLEAR);
        (out.lan.carrier, out.wan.carrier) = (true, true);
        router.kernel.fail_after = None;
        router.carriers(out);
        self.isp.mood = Mood::Well;
        self.isp.forged = 0;
        self.time_servers.forged = 0;
        self.isp.resolvers.forged = 0;
        self.isp.resolvers.tempers = [Temper::Well; 2];
        for host in &mut self.hosts {
            host.plug(out, true);
        }
        let call = Call {
            id: u64::MAX,
            method: "config.apply".to_owned(),
            params: json!({"toml": self.params.config()}),
            caller: Caller {
                origin: Origin::Local,
                ..Caller::default()
            },
        };
        // The household wants its network back, whatever was wished before.
        let wait = Duration::from_secs(50);
        out.after(wait, Event::Call(Box::new(call)));
        // A network that was left is served until the disk's word of its leases ends.
        let patience = 50 + 70 + PATIENCE_S + QUARANTINE_S + 2 * self.params.lease_s_max();
        let left = (patience / JUDGE_EVERY.as_secs()) as u32;
        out.after(wait + JUDGE_EVERY, Event::Judge { left });
    }

    /// Looks whether all is well.
    fn judge(&mut self, left: u32) {
        let missing = self.missing();
        if let Some(missing) = missing {
            // It was well, and is not any more: the look of a minute later found something.
            if left == 0 {
                self.out.breaks(missing);
            } else {
                self.plans_then = None;
                self.out.after(JUDGE_EVERY, Event::Judge { left: left - 1 });
            }
            return;
        }
        self.well_after = Some(self.out.now - self.calm_at);
        self.plans_then = Some((self.router.plans, self.router.wand.changes));
        for host in &mut self.hosts {
            (host.answered, host.timed) = (0, 0);
        }
        self.out.note("street", || "all is well".to_owned());
        self.out.after(PEACE, Event::End { left });
    }

    /// What is not as it should be yet.
    fn missing(&self) -> Option<Violation> {
        let served = |text: String| {
            Some(Violation {
                property: Property::Served,
                text,
            })
        };
        if let Some(text) = self.router.unsettled() {
            let property = Property::Converges;
            return Some(Violation { property, text });
        }
        if self.router.wand.leased().is_none() {
            return served("the box has no lease of its provider".to_owned());
        }
        let error = self.router.clock_error(self.out.now);
        if !self.router.timed.is_synchronised() || error > CLOCK_ERROR_MAX {
            let text = format!("the clock is {} ms off", error.as_millis());
            let property = Property::Timely;
            return Some(Violation { property, text });
        }
        for host in &self.hosts {
            // Two hosts with one id take the address from each other for ever.
            if host.client.lease().is_none() && host.client_id.is_none() {
                let state = host.client.state().as_str();
                let number = host.number;
                return served(format!("host {number} has no lease: it is {state}"));
            }
        }
        None
    }

    /// Whether it is over: what went wrong earlier may show late, when a lease is renewed.
    fn ends(&mut self, left: u32) -> bool {
        if self.missing().is_some() && left > 0 {
            let left = left.saturating_sub(LOOKS_IN_PEACE);
            self.out.after(JUDGE_EVERY, Event::Judge { left });
            return false;
        }
        let missing = self.missing();
        self.out.breaks(missing);
        // A provider that takes its address back is reason enough for a change.
        let (plans, changes) = (self.router.plans, self.router.wand.changes);
        if let Some((plans_then, changes_then)) = self.plans_then
            && changes == changes_then
            && plans != plans_then
        {
            self.out.breaks(Violation {
                property: Property::Converges,
                text: format!(
                    "after all was well the kernel was changed again: {plans_then} plans, \
                     then {plans}"
                ),
            });
        }
        let asked = self.hosts.iter().map(|host| host.answered).sum::<u64>();
        if asked == 0 {
            self.out.breaks(Violation {
                property: Property::Served,
                text: "no question to DNS was answered".to_owned(),
            });
        }
        if self.hosts.iter().all(|host| host.timed == 0) {
            self.out.breaks(Violation {
                property: Property::Served,
                text: "nobody was told the time".to_owned(),
            });
        }
        let broken = crate::bounds::check(&self.router);
        self.out.breaks(broken);
        let broken = crate::bounds::check_database(&self.router);
        self.out.breaks(broken);
        true
    }
}
