//! The machine with fakes around it: a kernel, an init, and whoever calls.

mod backups;
mod bus;
mod calls;
mod clock;
mod confirm;
mod entries;
mod kernel;
mod leases;
mod once;
mod people;
mod presence;
mod random;
mod snapshots;
mod stats;
mod tasks;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use embassy_time::Instant;
use lintel_api::types::{ConfigApplied, Status};
use lintel_ipc::call::{Call, Caller, Origin, Problem, Reply};
use lintel_ipc::dhcpd::ToDhcpd;
use lintel_ipc::dnsd::ToDnsd;
use lintel_ipc::init::{InitReply, InitRequest, Start};
use lintel_ipc::netd::{FromNetd, StepError, ToNetd};
use lintel_ipc::timed::ToTimed;
use lintel_ipc::wand::ToWand;
use lintel_ipc::webd::{Happened, ToWebd};
use lintel_model::board::BoardSpec;
use lintel_model::facts::DataState;
use lintel_model::features::Lack;
use lintel_model::observed::ObservedState;
use lintel_model::preview::{FlowsCut, Preview, StepPreview};
use lintel_model::{MacAddr, RoleName};
use lintel_plan::fake::{FakeKernel, port};
use lintel_proto::rng::Rng;
use lintel_store::Store;
use serde_json::Value;

use super::core::{Core, Figures, Input, Now, Output, Via};
use super::sealing::SealJob;

const UNIX_S: u64 = 1_700_000_000;
/// When the box started, by that clock.
const START_UNIX_S: i64 = 1_700_000_000 - 10;

/// Not random at all, but never the same eight octets twice.
#[derive(Debug, Default)]
pub(super) struct CountingRng(u64);

impl Rng for CountingRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            self.0 += 1;
            part.copy_from_slice(&self.0.to_le_bytes()[..part.len()]);
        }
    }
}

fn start() -> Start {
    Start {
        board: BoardSpec {
            name: "test".to_owned(),
            title: "Test".to_owned(),
            // The second port of the kernel below.
            wan_path: Some("pci-0000:00:03.0".to_owned()),
        },
        version: "0".to_owned(),
        boot_id: "0".to_owned(),
        ..Start::of(RoleName::Controld)
    }
}

/// The same box, started again.
fn next_boot() -> Start {
    Start {
        boot_id: "1".to_owned(),
        ..start()
    }
}

/// Two ports, nothing set.
fn bare_kernel() -> FakeKernel {
    FakeKernel::new(ObservedState {
        links: vec![
            port("eth0".parse().unwrap(), 2),
            port("eth1".parse().unwrap(), 3),
        ],
        ..ObservedState::default()
    })
}

/// The machine and everything around it.
struct Bench {
    core: Core,
    kernel: FakeKernel,
    ms: u64,
    /// By how much the wall clock has leapt.
    leap_s: i64,
    /// netd refuses every plan.
    refuse: bool,
    /// What netd finds that the kernel lacks.
    lacks: Vec<Lack>,
    /// init answers.
    init: bool,
    plans: usize,
    /// Values under /proc/sys that each look holds.
    sysctls: Vec<String>,
    replies: BTreeMap<u64, Vec<Reply>>,
    dhcp: Vec<ToDhcpd>,
    dns: Vec<ToDnsd>,
    ntp: Vec<ToTimed>,
    wan: Vec<ToWand>,
    events: Vec<Happened>,
    /// What watchers at the control socket were told.
    watched: Vec<Happened>,
    /// What the kernel says of the machine.
    figures: Figures,
    /// With what webd began.
    history: Vec<Happened>,
    asked: Vec<InitRequest>,
    /// Requests that init has not answered.
    unanswered: Vec<(u64, InitRequest)>,
    restart: bool,
    /// Work of passphrases, until somebody does it.
    jobs: Vec<SealJob>,
    next_call: u64,
}

fn now(ms: u64, leap_s: i64) -> Now {
    Now {
        mono: Instant::from_millis(ms),
        unix_s: (UNIX_S + (ms - 10_000) / 1000).saturating_add_signed(leap_s),
    }
}

impl Bench {
    fn new(start: Start, store: Store) -> Self {
        Self::at(10_000, 0, start, store)
    }

    /// A controld that starts this long after the box, by a clock that is wrong by `leap_s`.
    fn at(ms: u64, leap_s: i64, start: Start, store: Store) -> Self {
        let rng = Box::new(CountingRng::default());
        Self {
            core: Core::new(now(ms, leap_s), start, Ok(store), rng).unwrap(),
            kernel: bare_kernel(),
            ms,
            leap_s,
            refuse: false,
            lacks: Vec::new(),
            init: true,
            plans: 0,
            sysctls: Vec::new(),
            replies: BTreeMap::new(),
            dhcp: Vec::new(),
            dns: Vec::new(),
            ntp: Vec::new(),
            wan: Vec::new(),
            events: Vec::new(),
            watched: Vec::new(),
            history: Vec::new(),
            figures: Figures::default(),
            asked: Vec::new(),
            unanswered: Vec::new(),
            restart: false,
            jobs: Vec::new(),
            next_call: 0,
        }
    }

    /// A box with every role joined and the kernel as planned.
    fn settled() -> Self {
        let mut bench = Self::new(start(), Store::memory().unwrap());
        bench.join_all();
        assert!(bench.core.converge.is_settled());
        bench
    }

    fn join_all(&mut self) {
        for role in RoleName::PEERS_OF_CONTROLD {
            self.input(Input::Session(role));
        }
    }

    fn now(&self) -> Now {
        now(self.ms, self.leap_s)
    }

    fn input(&mut self, input: Input) {
        let netd_begins = matches!(input, Input::Session(RoleName::Netd));
        self.core.handle(self.now(), input);
        if netd_begins {
            let look = Input::Netd(FromNetd::Observed(self.look()));
            self.core.handle(self.now(), look);
        }
        self.drain();
    }

    /// Lets time pass, with every deadline met on its way.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(at) = self.core.deadline().map(|at| at.as_micros().div_ceil(1000)) {
            if at > end {
                break;
            }
            self.ms = self.ms.max(at);
            self.core.handle_timeout(self.now());
            self.drain();
        }
        self.ms = end;
        self.core.handle_timeout(self.now());
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll() {
            let now = self.now();
            match output {
                Output::Netd(ToNetd::Observe { sysctls }) => {
                    self.sysctls = sysctls;
                    let look = self.look();
                    self.core.handle(now, Input::Netd(FromNetd::Observed(look)));
                }
                Output::Netd(ToNetd::Apply { id, plan }) => {
                    self.plans += 1;
                    let result = if self.refuse {
                        Err((0, "EPERM: the test".to_owned()))
                    } else {
                        let result = self.kernel.apply(&plan);
                        result.map_err(|(at, refusal)| (at, refusal.to_string()))
                    };
                    let (done, error) = match result {
                        Ok(()) => (plan.steps.len(), None),
                        Err((at, text)) => {
                            let step = u32::try_from(at).unwrap();
                            (
                                at,
                                Some(StepError {
                                    step,
                                    errno: 1,
                                    text,
                                }),
                            )
                        }
                    };
                    let applied = FromNetd::Applied {
                        id,
                        done: u32::try_from(done).unwrap(),
                        error,
                        kernel_writes: done as u64,
                    };
                    self.core.handle(now, Input::Netd(applied));
                    let look = self.look();
                    self.core.handle(now, Input::Netd(FromNetd::Observed(look)));
                }
                Output::Netd(ToNetd::Probe { .. }) => {
                    let lacks = FromNetd::Lacks(self.lacks.clone());
                    self.core.handle(now, Input::Netd(lacks));
                }
                Output::Netd(ToNetd::Preview { id, plan }) => {
                    let steps = plan.steps.iter().map(|_| StepPreview::default());
                    let preview = Preview {
                        steps: steps.collect(),
                        flows: Some(FlowsCut::default()),
                    };
                    let previewed = FromNetd::Previewed { id, preview };
                    self.core.handle(now, Input::Netd(previewed));
                }
                Output::Wand(message) => self.wan.push(message),
                Output::Dhcpd(message) => self.dhcp.push(message),
                Output::Dnsd(message) => self.dns.push(message),
                Output::Timed(message) => self.ntp.push(message),
                Output::Webd(ToWebd::Reply(reply)) => self.replied(reply),
                Output::Webd(ToWebd::Events(events)) => self.events.extend(events),
                Output::Events(events) => self.watched.extend(events),
                Output::Webd(ToWebd::History(events)) => self.history = events,
                // Snapshots: the front's own tests read them.
                Output::Webd(_) => {}
                Output::Control { reply, .. } => self.replied(*reply),
                Output::Init { id, request } => {
                    self.asked.push(request.clone());
                    if self.init {
                        let reply = match &request {
                            InitRequest::Services => InitReply::Services(Vec::new()),
                            InitRequest::Logs { .. } => InitReply::Logs(Vec::new()),
                            _ => InitReply::Done,
                        };
                        self.core.handle(now, Input::Init { id, reply });
                    } else {
                        self.unanswered.push((id, request));
                    }
                }
                Output::Measure(measure) => {
                    let figures = self.figures.clone();
                    let measured = Input::Measured { measure, figures };
                    self.core.handle(now, measured);
                }
                Output::Restart => self.restart = true,
                Output::Seal(job) => self.jobs.push(*job),
            }
        }
    }

    fn look(&self) -> Box<ObservedState> {
        Box::new(self.kernel.looked_at(&self.sysctls))
    }

    fn replied(&mut self, reply: Reply) {
        self.replies.entry(reply.id).or_default().push(reply);
    }

    fn send(&mut self, via: Via, method: &str, params: Value, caller: Caller) -> u64 {
        self.next_call += 1;
        let call = Call {
            id: self.next_call,
            method: method.to_owned(),
            params,
            caller,
        };
        self.input(Input::Call {
            via,
            call,
            memory: None,
        });
        self.next_call
    }

    fn reply(&self, id: u64) -> &Reply {
        match self.replies.get(&id).map(Vec::as_slice) {
            Some([reply]) => reply,
            other => panic!("call {id}: {other:?}"),
        }
    }

    /// As root at the box.
    fn local(&mut self, method: &str, params: Value) -> Result<Value, Problem> {
        let id = self.send(Via::Control(1), method, params, Caller::default());
        self.reply(id).result.clone()
    }

    /// From a browser on the LAN.
    fn web(&mut self, method: &str, params: Value, token: Option<&str>) -> Reply {
        let caller = Caller {
            // A lie: the way by which it came counts.
            origin: Origin::Local,
            address: Some(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 50))),
            link_index: Some(self.lan_index()),
            token: token.map(str::to_owned),
        };
        let id = self.send(Via::Web, method, params, caller);
        self.reply(id).clone()
    }

    fn lan_index(&self) -> u32 {
        let mut links = self.kernel.state.links.iter();
        links
            .find(|link| link.name.as_str() == "br-lan")
            .map_or(99, |link| link.index)
    }

    fn status(&mut self) -> Status {
        serde_json::from_value(self.local("status", Value::Null).unwrap()).unwrap()
    }

    fn apply(&mut self, toml: &str) -> Result<ConfigApplied, Problem> {
        let answer = self.local("config.apply", serde_json::json!({"toml": toml}))?;
        Ok(serde_json::from_value(answer).unwrap())
    }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}
