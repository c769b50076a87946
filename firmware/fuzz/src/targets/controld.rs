//! controld's machine between roles that lie, callers that ask for anything, a kernel that others
//! change, a disk that fills and clocks that leap.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_api::{METHODS, Method, MethodId, ParamKind, by_id};
use lintel_ipc::call::{Call, Caller, Origin, Reply};
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::FromDnsd;
use lintel_ipc::init::{InitReply, InitRequest, Start};
use lintel_ipc::netd::{FromNetd, StepError, ToNetd};
use lintel_ipc::timed::{ClockSet, FromTimed};
use lintel_ipc::wand::FromWand;
use lintel_ipc::webd::ToWebd;
use lintel_model::board::BoardSpec;
use lintel_model::clock::ClockReport;
use lintel_model::facts::DataState;
use lintel_model::lease::{Binding, BindingState};
use lintel_model::resolver::DnsCounters;
use lintel_model::{MacAddr, RoleName};
use lintel_plan::fake::FakeKernel;
use lintel_proto::rng::SeededRng;
use lintel_roles::controld::core::{Core, Figures, Input, Now, Output, Via};
use lintel_store::Store;
use serde_json::{Map, Value, json};

use super::plan::{World, disturb, lease};
use crate::Tally;
use crate::entropy::{any, below, ipv4, number, octets, once_in, pick, text};

/// The methods that lead somewhere together.
const CHANGES: [MethodId; 5] = [
    MethodId::ConfigCommit,
    MethodId::ConfigConfirm,
    MethodId::ConfigPlan,
    MethodId::ConfigRollback,
    MethodId::DhcpLeasesDelete,
];

/// Outputs of one input at most: six snapshots, a plan and its look, replies and events.
const OUTPUTS_MAX: usize = 100;

/// Each binding is answered once while its session lasts, and each call once at most, and once in
/// the end; no input is answered without end.
pub fn controld(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut house = House::new(&mut u);
    while !u.is_empty() {
        house.tally.inputs += 1;
        house.step(&mut u);
    }
    house.end();
    house.tally
}

struct House {
    core: Core,
    kernel: FakeKernel,
    mono: Instant,
    unix_s: u64,
    up: BTreeSet<RoleName>,
    /// Plans and questions on their way to netd and init.
    plans: Vec<(u64, lintel_model::step::Plan)>,
    questions: Vec<(u64, InitRequest)>,
    token: u64,
    durable: Vec<u64>,
    calls: u64,
    replies: BTreeMap<u64, usize>,
    /// Calls by the control socket, which stays.
    asked: Vec<u64>,
    tally: Tally,
}

impl House {
    fn new(u: &mut Unstructured<'_>) -> Self {
        let (_, kernel) = World::with_kernel(u);
        let mono = Instant::from_secs(10);
        let unix_s = pick(u, &[0, 1_700_000_000, 1 << 40]);
        let start = Start {
            data_dir: "/data".into(),
            run_dir: "/run".into(),
            data: data_state(u),
            board: BoardSpec {
                wan_path: any::<bool>(u).then(|| "pci-0000:00:03.0".to_owned()),
                ..BoardSpec::default()
            },
            factory_config: config_text(u),
            version: "0".to_owned(),
            boot_id: "0".to_owned(),
            ..Start::of(RoleName::Controld)
        };
        let rng = Box::new(SeededRng::new(any(u)));
        let store = Store::memory().expect("memory");
        let core = Core::new(Now { mono, unix_s }, start, Ok(store), rng);
        Self {
            core: core.expect("memory"),
            kernel,
            mono,
            unix_s,
            up: BTreeSet::new(),
            plans: Vec::new(),
            questions: Vec::new(),
            token: 0,
            durable: Vec::new(),
            calls: 0,
            replies: BTreeMap::new(),
            asked: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        match below(u, 24) {
            0..=2 => {
                let role = pick(u, &RoleName::PEERS_OF_CONTROLD);
                self.up.insert(role);
                self.hand(Input::Session(role));
            }
            3 => {
                let role = pick(u, &RoleName::PEERS_OF_CONTROLD);
                self.up.remove(&role);
                self.hand(Input::SessionEnded(role));
            }
            4 => {
                let mut state = self.kernel.state.clone();
                disturb(u, &mut state);
                self.kernel = FakeKernel::new(state);
            }
            5 | 6 => self.look(),
            7 | 8 => self.apply(u),
            9 => {
                let port = below(u, 4) as u8;
                let message = match below(u, 5) {
                    0 => FromWand::Lost {
                        link: link(port),
                        reason: text(u, b"ab", 4),
                    },
                    1 => FromWand::State {
                        link: link(port),
                        state: text(u, b"ab", 4),
                        text: text(u, b"ab", 4),
                    },
                    2 => FromWand::ServerSeen { link: link(port) },
                    3 => FromWand::Dropped(counts(u)),
                    _ => FromWand::Lease(lease(u, port)),
                };
                self.hand(Input::Wand(message));
            }
            10..=12 => self.bind(u),
            13 => {
                let statistics = DnsCounters {
                    queries: any(u),
                    dropped: counts(u),
                    ..DnsCounters::default()
                };
                self.hand(Input::Dnsd(FromDnsd::Statistics(statistics)));
            }
            14 => {
                let message = match below(u, 4) {
                    0 => FromTimed::Drift(any(u)),
                    1 => FromTimed::Report(Box::new(ClockReport {
                        synchronised: any(u),
                        agreed: any(u),
                        offset_ns: any(u),
                        updated_unix_s: any(u),
                        dropped: counts(u),
                        ..ClockReport::default()
                    })),
                    2 => FromTimed::Set {
                        id: below(u, 3) as u64,
                        outcome: ClockSet::TooEarly { min_unix_s: any(u) },
                    },
                    _ => FromTimed::Stepped { by_ms: any(u) },
                };
                self.hand(Input::Timed(message));
            }
            15..=17 => self.call(u),
            18 => self.answer_init(u),
            19 if once_in(u, 8) => self.hand(Input::Data(data_state(u))),
            // An answer to nothing.
            20 => self.hand(Input::Init {
                id: any(u),
                reply: InitReply::Done,
            }),
            21 => self.unix_s = pick(u, &[0, 1_700_000_000, 4_000_000_000, 1 << 40]),
            22 => {
                if let Some(deadline) = self.core.deadline() {
                    self.pass(deadline);
                }
            }
            _ => {
                let ms = pick(u, &[1, 300, 9_000, 400_000, 90_000_000]);
                self.pass(self.mono + Duration::from_millis(ms));
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.mono,
            unix_s: self.unix_s,
        }
    }

    fn pass(&mut self, to: Instant) {
        let to = to.max(self.mono);
        self.unix_s = self.unix_s.saturating_add((to - self.mono).as_secs());
        self.mono = to;
        self.core.handle_timeout(self.now());
        self.drain();
    }

    fn hand(&mut self, input: Input) {
        self.core.handle(self.now(), input);
        self.drain();
    }

    fn look(&mut self) {
        if self.up.contains(&RoleName::Netd) {
            let state = Box::new(self.kernel.state.clone());
            self.hand(Input::Netd(FromNetd::Observed(state)));
        }
    }

    /// netd does a plan, or fails on the way; a liar answers what nobody asked.
    fn apply(&mut self, u: &mut Unstructured<'_>) {
        let Some((id, plan)) = self.plans.pop() else {
            let error = any::<bool>(u).then(|| StepError {
                step: any(u),
                errno: any(u),
                text: text(u, b"ab", 4),
            });
            let applied = FromNetd::Applied {
                id: any(u),
                done: any(u),
                error,
                kernel_writes: 1,
            };
            return self.hand(Input::Netd(applied));
        };
        self.tally.accepted += 1;
        self.kernel.fail_after = once_in(u, 4).then(|| below(u, 20) as u64);
        let result = self.kernel.apply(&plan);
        self.kernel.fail_after = None;
        // Made for a kernel that may have changed since; what that leads to the planner's own
        // targets judge.
        let step = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (done, error) = match result {
            Ok(()) => (step(plan.steps.len()), None),
            Err((at, refusal)) => {
                let error = StepError {
                    step: step(at),
                    errno: 1,
                    text: refusal.to_string(),
                };
                (step(at), Some(error))
            }
        };
        self.hand(Input::Netd(FromNetd::Applied {
            id,
            done,
            error,
            kernel_writes: 1,
        }));
        self.look();
    }

    fn bind(&mut self, u: &mut Unstructured<'_>) {
        let mut messages = Vec::new();
        let before = self.token;
        for _ in 0..=below(u, 3) {
            if once_in(u, 6) {
                messages.push(FromDhcpd::Dropped(counts(u)));
                continue;
            }
            self.token += 1;
            let last = any::<u8>(u);
            messages.push(FromDhcpd::Bind {
                // Its clock, or that of before a leap.
                start_unix_s: match once_in(u, 6) {
                    true => any(u),
                    false => self.unix_s as i64 - self.mono.as_secs() as i64,
                },
                token: self.token,
                binding: Binding {
                    address: if once_in(u, 6) {
                        ipv4(u)
                    } else {
                        Ipv4Addr::new(192, 168, 1, last)
                    },
                    mac: MacAddr([2, 0, 0, 0, 0, last]),
                    client_id: octets(u, 8),
                    host_name: any::<bool>(u).then(|| text(u, b"ab-. \x07", 6)),
                    bound_unix_s: self.unix_s,
                    expires_unix_s: if once_in(u, 6) {
                        any(u)
                    } else {
                        self.unix_s.saturating_add(600)
                    },
                    state: pick(
                        u,
                        &[
                            BindingState::Bound,
                            BindingState::Released,
                            BindingState::Declined,
                        ],
                    ),
                },
            });
        }
        self.durable.clear();
        self.hand(Input::Dhcpd(messages));
        self.durable.sort_unstable();
        let want: Vec<u64> = (before + 1..=self.token).collect();
        assert_eq!(self.durable, want, "each binding is answered once");
        self.tally.accepted += want.len() as u64;
    }

    fn call(&mut self, u: &mut Unstructured<'_>) {
        // What changes the configuration, mostly.
        let row = match any(u) {
            true => &METHODS[below(u, METHODS.len())],
            false => by_id(pick(u, &CHANGES)),
        };
        let method = row.name;
        // A password costs a hundredth of a second, by design.
        if matches!(method, "auth.setup" | "auth.login") {
            return;
        }
        self.calls += 1;
        let via = if any(u) { Via::Web } else { Via::Control(1) };
        if via == Via::Web && !self.up.contains(&RoleName::Webd) {
            return;
        }
        if via != Via::Web {
            self.asked.push(self.calls);
        }
        let call = Call {
            id: self.calls,
            method: if once_in(u, 16) {
                text(u, b"ab.", 9)
            } else {
                method.to_owned()
            },
            params: params(u, row),
            caller: Caller {
                origin: if via == Via::Web {
                    Origin::Web
                } else {
                    Origin::Local
                },
                address: Some(ipv4(u).into()),
                link_index: any(u),
                token: any::<bool>(u).then(|| text(u, b"0af", 40)),
            },
        };
        self.hand(Input::Call {
            via,
            call,
            memory: None,
        });
    }

    fn answer_init(&mut self, u: &mut Unstructured<'_>) {
        let Some((id, request)) = self.questions.pop() else {
            return;
        };
        let reply = match (below(u, 8), request) {
            (0, _) => InitReply::Failed("no".to_owned()),
            (1, _) => InitReply::Services(Vec::new()),
            (_, request) => well(&request),
        };
        self.hand(Input::Init { id, reply });
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.core.poll() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "speaks without end: {output:?}");
            match output {
                Output::Netd(ToNetd::Apply { id, plan }) => {
                    assert!(!plan.is_empty());
                    self.plans.clear();
                    self.plans.push((id, plan));
                }
                Output::Dhcpd(ToDhcpd::Durable { token } | ToDhcpd::NotDurable { token }) => {
                    self.durable.push(token);
                }
                Output::Webd(ToWebd::Reply(reply)) => self.replied(&reply),
                Output::Control { reply, .. } => self.replied(&reply),
                Output::Measure(measure) => {
                    let figures = Figures::default();
                    self.hand(Input::Measured { measure, figures });
                }
                Output::Init { id, request } => {
                    self.questions.push((id, request));
                    // Lost on the way: controld waits a bounded time.
                    if self.questions.len() > 64 {
                        self.questions.remove(0);
                    }
                }
                _ => {}
            }
        }
    }

    fn replied(&mut self, reply: &Reply) {
        assert!(reply.id <= self.calls, "answers what nobody asked");
        let times = self.replies.entry(reply.id).or_default();
        *times += 1;
        assert_eq!(*times, 1, "answers twice: {reply:?}");
    }

    /// Everybody is there, and time passes: whoever asked has an answer.
    fn end(&mut self) {
        for role in RoleName::PEERS_OF_CONTROLD {
            self.up.insert(role);
            self.hand(Input::Session(role));
        }
        for _ in 0..6 {
            self.look();
            while let Some((id, plan)) = self.plans.pop() {
                let _ = self.kernel.apply(&plan);
                let done = plan.steps.len() as u32;
                self.hand(Input::Netd(FromNetd::Applied {
                    id,
                    done,
                    error: None,
                    kernel_writes: 1,
                }));
                self.look();
            }
            while let Some((id, request)) = self.questions.pop() {
                self.hand(Input::Init {
                    id,
                    reply: well(&request),
                });
            }
            self.pass(self.mono + Duration::from_secs(2));
        }
        for id in &self.asked {
            assert!(self.replies.contains_key(id), "call {id} has no answer");
        }
    }
}

fn well(request: &InitRequest) -> InitReply {
    match request {
        InitRequest::Services => InitReply::Services(Vec::new()),
        InitRequest::Logs { .. } => InitReply::Logs(Vec::new()),
        _ => InitReply::Done,
    }
}

fn data_state(u: &mut Unstructured<'_>) -> DataState {
    if once_in(u, 6) {
        DataState::Failed {
            reason: "the disk is gone".to_owned(),
        }
    } else {
        DataState::Good
    }
}

fn link(port: u8) -> lintel_model::LinkName {
    format!("eth{port}").parse().expect("a name")
}

fn counts(u: &mut Unstructured<'_>) -> Vec<(String, u64)> {
    (0..below(u, 40))
        .map(|n| (format!("reason {n}"), any(u)))
        .collect()
}

fn config_text(u: &mut Unstructured<'_>) -> String {
    pick(
        u,
        &[
            "",
            "[lan]\naddress = \"10.1.1.1/24\"\n",
            "[wan]\nkind = \"none\"\n",
            "[dhcp]\nenabled = false\n",
            "[nonsense]\n",
            "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.9\"\n",
        ],
    )
    .to_owned()
}

/// Parameters as the table has them, now and then of another kind.
fn params(u: &mut Unstructured<'_>, method: &Method) -> Value {
    if once_in(u, 16) {
        return pick_value(u);
    }
    let mut object = Map::new();
    for param in method.params {
        let value = match (param.name, param.kind) {
            _ if once_in(u, 6) && !param.required => continue,
            _ if once_in(u, 24) => pick_value(u),
            ("toml", _) => config_text(u).into(),
            // Which revision there is, and which one is waited for.
            (_, ParamKind::Number) if any(u) => json!(below(u, 6)),
            (_, ParamKind::Number) => json!(number(u)),
            (_, ParamKind::Count(most)) => json!(1 + number(u) % most),
            (_, ParamKind::OneOf(words)) => pick(u, words).into(),
            (_, ParamKind::Flag) => any::<bool>(u).into(),
            (_, ParamKind::Ipv4) => ipv4(u).to_string().into(),
            (_, ParamKind::Object) => pick(u, &OBJECTS).parse().unwrap_or_default(),
            (_, ParamKind::Text) => text(u, b"dnsW/1\"-", 6).into(),
        };
        object.insert(param.name.to_owned(), value);
    }
    object.into()
}

/// Configurations and patches as JSON.
const OBJECTS: [&str; 5] = [
    r#"{"lan":{"address":"10.9.8.1/24"}}"#,
    r#"{"dhcp":{"pool":null}}"#,
    r#"{"wan":{"kind":"none"},"system":{"hostname":"box"}}"#,
    r#"{"lan":{"address":7}}"#,
    "{}",
];

fn pick_value(u: &mut Unstructured<'_>) -> Value {
    match below(u, 4) {
        0 => Value::Null,
        1 => json!([1, "x", null]),
        2 => json!({ "limit": -1, "toml": 7, "ip": "x" }),
        _ => json!(number(u)),
    }
}
