//! The machine.
//!
//! ```text
//!   Observed ──► facts ─┐
//!   Lease ─────► facts ─┼─► resolve ─► specs ──► wand, dhcpd, dnsd, timed, webd (changed)
//!   config ─────────────┘          └─► desired ─► converge ─► plan ─► netd ─► Applied, Observed
//!   Bind ──────► store ─► Durable
//!   Call ──────► reply, at once or when init or the kernel has answered
//! ```
//!
//! Call [`Core::handle`] with each input, then drain [`Core::poll`], then sleep until
//! [`Core::deadline`] and call [`Core::handle_timeout`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_api::types::{ConfigApplied, Memory};
use lintel_ipc::call::{Call, Reply};
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::{DnsStatistics, FromDnsd, ToDnsd};
use lintel_ipc::init::{InitReply, InitRequest, ServiceStatus, Start};
use lintel_ipc::netd::{FromNetd, ToNetd};
use lintel_ipc::timed::{FromTimed, ToTimed};
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_ipc::webd::ToWebd;
use lintel_model::RoleName;
use lintel_model::facts::{DataState, Facts, Notice, NoticeCode, Severity};
use lintel_model::lease::Binding;
use lintel_model::observed::ObservedState;
use lintel_model::services::{DnsSpec, Resolved, WanSpec};
use lintel_plan::converge::{ApplyError, Converge, Event};
use lintel_proto::rng::Rng;
use lintel_store::{RevisionState, Store, StoreError, TlsRow};

use super::auth::Auth;
use super::commits::PendingPreview;
use super::confirm::Window;
use super::startup::{self, Active};

/// How long the search for a WAN port keeps ports out of the LAN. ISC's and dnsmasq's servers
/// wait up to 3 s for an echo before they offer.
const DETECTION: Duration = Duration::from_secs(8);
/// netd's first look of a session may have come before it knew which sysctls to read; this is
/// how long a look with them is awaited.
const SYSCTL_WAIT: Duration = Duration::from_millis(500);
/// How long a call waits for init.
pub(super) const INIT_WAIT: Duration = Duration::from_secs(3);
/// How long `config.apply` waits for the kernel; webd gives up after 10 s.
pub(super) const APPLY_WAIT: Duration = Duration::from_secs(7);
/// Most questions to init on their way; a caller beyond that is told to come again.
pub(super) const INIT_REQUESTS_MAX: usize = 32;
/// Between two looks at the roles while pages are open.
const SERVICES_EVERY: Duration = Duration::from_secs(5);
/// Between two runs of names to dnsd, and two events of a kind to webd: a thousand devices that
/// come at once after a power cut are a few messages, not a thousand.
const CHANGES_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at whether the certificate fits the time.
const TIME_EVERY: Duration = Duration::from_secs(3600);
/// Between two notes of what nobody waits for. Each costs the flash some forty kilobytes with
/// all that the file system writes around it; init keeps the clock's floor more often.
const NOTE_EVERY: Duration = Duration::from_secs(4 * 3600);
/// Between two tries to write while the storage takes nothing. What serves meanwhile may need no
/// write for hours, so nothing else would find out that there is room again.
const WRITE_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// Longest list of drop reasons believed of a role.
const DROP_REASONS_MAX: usize = 32;

/// The time of an input: monotonic, and the wall clock's.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since boot.
    pub mono: Instant,
    /// Unix seconds.
    pub unix_s: u64,
}

/// By which way a call came, and where its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// webd's session.
    Web,
    /// A connection of the control socket.
    Control(u64),
}

/// What the machine hears.
#[derive(Debug)]
pub enum Input {
    /// A new session with a role.
    Session(RoleName),
    /// The session ended.
    SessionEnded(RoleName),
    /// From netd.
    Netd(FromNetd),
    /// From wand.
    Wand(FromWand),
    /// Everything that dhcpd had said when the loop looked: made durable together.
    Dhcpd(Vec<FromDhcpd>),
    /// From dnsd.
    Dnsd(FromDnsd),
    /// From timed.
    Timed(FromTimed),
    /// A call, with the memory's figures of that moment.
    Call {
        /// By which way.
        via: Via,
        /// The call.
        call: Call,
        /// For `status`.
        memory: Option<Memory>,
    },
    /// init's answer.
    Init {
        /// The request's number.
        id: u64,
        /// The answer.
        reply: InitReply,
    },
    /// /data changed its state.
    Data(DataState),
    /// The role shall end.
    Stop,
}

/// What the machine says.
#[derive(Debug)]
pub enum Output {
    /// To netd.
    Netd(ToNetd),
    /// To wand.
    Wand(ToWand),
    /// To dhcpd.
    Dhcpd(ToDhcpd),
    /// To dnsd.
    Dnsd(ToDnsd),
    /// To timed.
    Timed(ToTimed),
    /// To webd.
    Webd(ToWebd),
    /// To init.
    Init {
        /// Repeated in the answer.
        id: u64,
        /// What is wanted.
        request: InitRequest,
    },
    /// To a connection of the control socket.
    Control {
        /// Which.
        connection: u64,
        /// The reply.
        reply: Box<Reply>,
    },
    /// The data directory is good again, or the database shows damage: end, so that a new
    /// process opens and checks it.
    Restart,
}

/// Somebody who waits for a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) via: Via,
    pub(super) id: u64,
}

/// What an answer of init is for.
#[derive(Debug)]
pub(super) enum InitUse {
    /// The regular look.
    Poll,
    /// `services.status`.
    Services(Waiter),
    /// `status`.
    Status(Waiter, Option<Memory>),
    /// `logs.services`.
    Logs(Waiter),
    /// Something done; the sentence is for the problem when it is not.
    Act(Waiter),
}

/// A `config.apply` that waits for the kernel.
#[derive(Debug)]
pub(super) struct PendingApply {
    pub(super) waiter: Waiter,
    pub(super) deadline: Instant,
    pub(super) answer: ConfigApplied,
    /// In force before; taken again when the kernel refuses.
    pub(super) replied: bool,
    pub(super) previous: Active,
}

/// The machine's state. Its parts are used by the modules beside this one.
pub struct Core {
    pub(super) start: Start,
    pub(super) rng: Box<dyn Rng>,
    pub(super) store: Store,
    pub(super) auth: Auth,
    pub(super) audit: super::audit::Audit,
    pub(super) once: super::once::Once,
    pub(super) active: Active,
    pub(super) facts: Facts,
    pub(super) resolved: Resolved,
    pub(super) observed: Option<ObservedState>,
    /// Until then a look may be older than the list of sysctls that was asked for last.
    held_until: Option<Instant>,
    /// Such a look came and waits for a better one.
    held_back: bool,
    pub(super) converge: Converge,
    /// When to drive it although nothing happened. A deadline of its that has passed and led to
    /// nothing waits for a look at the kernel, not for time.
    converge_at: Option<Instant>,
    plan_id: u64,
    pub(super) kernel_writes: u64,
    pub(super) step_error: Option<String>,
    pub(super) pending_apply: Option<PendingApply>,
    /// Plans that wait for what netd says of them, by number.
    pub(super) previews: BTreeMap<u64, PendingPreview>,
    pub(super) preview_id: u64,
    /// A revision that waits to be confirmed.
    pub(super) window: Option<Window>,
    /// When a network that was left may be let go.
    pub(super) leaving_due: Option<Instant>,
    sysctls_asked: Vec<String>,
    detection_until: Option<Instant>,
    pub(super) up: BTreeSet<RoleName>,
    /// Whose session has begun with its snapshot. Before netd's first look nobody gets one: it
    /// would name no links, and a role that served through our own restart would stop for it.
    pub(super) told: BTreeSet<RoleName>,
    /// netd has told of the links since this process began.
    looked: bool,
    pub(super) bindings: BTreeMap<Ipv4Addr, Binding>,
    pub(super) stored_lease: Option<lintel_model::lease::WanLease>,
    /// Until when, Unix seconds, each binding that this process wrote is held on disk.
    pub(super) held: BTreeMap<Ipv4Addr, u64>,
    pub(super) wan_state: Option<(lintel_model::LinkName, String, String)>,
    pub(super) wan_dropped: Vec<(String, u64)>,
    pub(super) dhcp_dropped: Vec<(String, u64)>,
    pub(super) dns_statistics: DnsStatistics,
    pub(super) clock: super::clock::Clock,
    dns_sent: Option<DnsSpec>,
    dns_due: Option<Instant>,
    dns_last: Option<Instant>,
    pub(super) services: Option<(Instant, Vec<ServiceStatus>)>,
    services_at: Option<Instant>,
    pub(super) init_uses: HashMap<u64, (InitUse, Instant)>,
    init_id: u64,
    /// Notices that are not the planner's: code, and where it can come more than once, a mark.
    pub(super) own_notices: BTreeMap<NoticeCode, Notice>,
    events_dirty: BTreeSet<&'static str>,
    events_due: Option<Instant>,
    event_id: u64,
    time_at: Instant,
    note_at: Instant,
    /// When to try a write, while the notice says that none is possible.
    write_again_at: Option<Instant>,
    /// When the next snapshot of the database is due.
    pub(super) snapshot_at: Option<Instant>,
    pub(super) snapshot_last: Option<Instant>,
    /// The disk gave an error: before the next promise the store's log is begun anew.
    pub(super) log_doubtful: bool,
    /// The database has shown damage: it is given up.
    pub(super) giving_up: bool,
    /// `None` when none could be made: there is HTTP alone then.
    pub(super) tls: Option<TlsRow>,
    out: VecDeque<Output>,
}

impl Core {
    /// The machine at its start: opens nothing itself, reads what `store` has. A store that did
    /// not open puts the box into its fail-secure state.
    pub fn new(
        now: Now,
        start: Start,
        store: Result<Store, StoreError>,
        rng: Box<dyn Rng>,
    ) -> Result<Self, StoreError> {
        let mut own_notices = BTreeMap::new();
        let (mut store, mut data) = match (store, start.data.clone()) {
            (Ok(store), DataState::Good) => (store, DataState::Good),
            (Err(error), DataState::Good) => {
                let reason = startup::sentence(&error);
                log::error!("the state cannot be opened: {reason}");
                (Store::memory()?, DataState::Failed { reason })
            }
            (_, failed) => (Store::memory()?, failed),
        };
        let loaded = startup::load(&mut store, &start, now.unix_s, &data).and_then(|loaded| {
            let kept = startup::Kept::read(&store)?;
            Ok((loaded, kept))
        });
        let (loaded, kept) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                // It opened and does not read: nothing of it is to be trusted.
                data = DataState::Failed {
                    reason: startup::sentence(&error),
                };
                store = Store::memory()?;
                let loaded = startup::load(&mut store, &start, now.unix_s, &data)?;
                (loaded, startup::Kept::default())
            }
        };
        for notice in loaded.notices {
            own_notices.insert(notice.code, notice);
        }
        let wan_lease = kept
            .wan_lease
            .filter(|lease| super::leases::is_running(lease, now.unix_s));
        let facts = Facts {
            links: Vec::new(),
            board: start.board.clone(),
            detection_over: false,
            detected_wan: kept.detected_wan,
            wan_lease: wan_lease.clone(),
            leaving: kept.leaving,
            data,
            run: start.run.is_some(),
        };
        let mut core = Self {
            auth: Auth::new(kept.password, kept.sessions, kept.tokens, now),
            audit: super::audit::Audit::default(),
            once: super::once::Once::default(),
            resolved: lintel_plan::resolve(&loaded.active.config, &facts),
            active: loaded.active,
            start,
            rng,
            store,
            facts,
            observed: None,
            held_until: None,
            held_back: false,
            converge: Converge::new(),
            converge_at: None,
            plan_id: 0,
            kernel_writes: 0,
            step_error: None,
            pending_apply: None,
            previews: BTreeMap::new(),
            preview_id: 0,
            window: None,
            leaving_due: Some(now.mono),
            sysctls_asked: Vec::new(),
            detection_until: None,
            up: BTreeSet::new(),
            told: BTreeSet::new(),
            looked: false,
            held: BTreeMap::new(),
            bindings: kept.bindings.into_iter().map(|b| (b.address, b)).collect(),
            stored_lease: wan_lease,
            wan_state: None,
            wan_dropped: Vec::new(),
            dhcp_dropped: Vec::new(),
            dns_statistics: DnsStatistics::default(),
            clock: super::clock::Clock::new(kept.drift),
            dns_sent: None,
            dns_due: None,
            dns_last: None,
            services: None,
            services_at: None,
            init_uses: HashMap::new(),
            init_id: 0,
            own_notices,
            events_dirty: BTreeSet::new(),
            events_due: None,
            event_id: 0,
            time_at: now.mono,
            note_at: now.mono,
            write_again_at: None,
            snapshot_at: None,
            snapshot_last: None,
            log_doubtful: false,
            giving_up: false,
            tls: None,
            out: VecDeque::new(),
        };
        core.tls = core.store.tls().unwrap_or_else(|error| {
            log::error!(
                "the stored key cannot be used: {}",
                startup::sentence(&error)
            );
            None
        });
        core.certify(now);
        core.resolved.dns.hosts = core.hosts(now);
        core.begin_snapshots(now);
        Ok(core)
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.follow_clock(now);
        match input {
            Input::Session(role) => self.session(now, role),
            Input::SessionEnded(role) => self.session_ended(now, role),
            Input::Netd(message) => self.netd(now, message),
            Input::Wand(message) => self.wand(now, message),
            Input::Dhcpd(messages) => self.dhcpd(now, messages),
            Input::Dnsd(FromDnsd::Statistics(statistics)) => {
                self.dns_statistics = bounded_statistics(statistics);
            }
            Input::Timed(message) => self.timed(now, message),
            Input::Call { via, call, memory } => self.call(now, via, call, memory),
            Input::Init { id, reply } => self.init(now, id, reply),
            Input::Data(state) => self.data(now, state),
            Input::Stop => self.stop(now),
        }
        self.drive(now);
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.follow_clock(now);
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        if due(self.held_until) {
            self.held_until = None;
            if let Some(observed) = self.observed.clone().filter(|_| self.held_back) {
                self.held_back = false;
                self.converge.handle_observed(now.mono, observed);
                self.drive(now);
            }
        }
        if due(self.detection_until) {
            self.detection_until = None;
            log::info!("no provider has answered on any port so far");
            self.facts.detection_over = true;
            self.refresh(now);
            self.drive(now);
        }
        if due(self.converge_at) {
            self.drive(now);
        }
        if due(self.dns_due) {
            self.send_dns(now);
        }
        if due(self.events_due) {
            self.send_events(now);
        }
        if due(self.services_at) {
            self.services_at = Some(now.mono + SERVICES_EVERY);
            if !self
                .init_uses
                .values()
                .any(|(u, _)| matches!(u, InitUse::Poll))
            {
                self.ask_init(now, InitRequest::Services, InitUse::Poll);
            }
        }
        if self.time_at <= now.mono {
            self.time_at = now.mono + TIME_EVERY;
            self.certify(now);
        }
        if self.note_at <= now.mono {
            self.note_at = now.mono + NOTE_EVERY;
            self.note(now);
        }
        if due(self.snapshot_at) {
            self.take_snapshot(now);
        }
        self.write_again(now);
        if due(self.window.as_ref().map(|window| window.until)) {
            self.window_over(now);
        }
        if due(self.leaving_due) {
            self.let_go(now);
        }
        self.end_previews(now.mono);
        self.expire_init_uses(now);
        if let Some(pending) = &mut self.pending_apply
            && !pending.replied
            && pending.deadline <= now.mono
        {
            pending.replied = true;
            let (waiter, answer) = (pending.waiter, pending.answer.clone());
            self.reply_value(waiter, &answer);
        }
    }

    /// What is to be said next.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let init = self.init_uses.values().map(|(_, until)| *until).min();
        let preview = self.previews.values().map(|waiting| waiting.until).min();
        let apply = self.pending_apply.as_ref().filter(|p| !p.replied);
        [
            self.held_until,
            self.detection_until,
            self.converge_at,
            self.dns_due,
            self.events_due,
            self.services_at,
            Some(self.time_at),
            Some(self.note_at),
            self.write_again_at,
            self.snapshot_at,
            self.window.as_ref().map(|window| window.until),
            self.leaving_due,
            preview,
            init,
            apply.map(|pending| pending.deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn say(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// A new session begins with a whole snapshot, as soon as there is one to give.
    fn session(&mut self, now: Now, role: RoleName) {
        self.up.insert(role);
        self.told.remove(&role);
        // It is another process than init last told of.
        self.services = None;
        match role {
            RoleName::Netd => {
                self.converge.handle_lost();
                self.observed = None;
                // The look with which netd begins tells which links there are, and so which
                // values to ask for.
                if self.looked {
                    self.ask_sysctls(now, self.sysctl_paths());
                }
            }
            RoleName::Webd => {
                self.services_at = Some(now.mono + SERVICES_EVERY);
            }
            _ => {}
        }
        if self.looked {
            self.snapshot(now, role);
        }
    }

    fn snapshot(&mut self, now: Now, role: RoleName) {
        self.told.insert(role);
        match role {
            RoleName::Wand => {
                self.send_wan();
                self.begin_detection(now);
            }
            RoleName::Dhcpd => {
                let spec = self.resolved.dhcp.clone();
                let bindings = self.bindings.values().cloned().collect();
                self.say(Output::Dhcpd(ToDhcpd::Snapshot { spec, bindings }));
            }
            RoleName::Dnsd => {
                self.dns_sent = None;
                self.send_dns(now);
            }
            RoleName::Timed => self.send_ntp(),
            RoleName::Webd => {
                let spec = self.resolved.web.clone();
                self.say(Output::Webd(ToWebd::Spec(spec)));
                self.send_identity();
            }
            RoleName::Init | RoleName::Controld | RoleName::Netd => {}
        }
    }

    fn session_ended(&mut self, now: Now, role: RoleName) {
        self.up.remove(&role);
        self.told.remove(&role);
        self.services = None;
        match role {
            RoleName::Netd => {
                self.converge.handle_lost();
                self.end_previews(Instant::MAX);
                self.held_until = None;
                self.held_back = false;
            }
            RoleName::Webd => self.services_at = None,
            RoleName::Timed => self.clock_lost(now),
            _ => {}
        }
    }

    fn netd(&mut self, now: Now, message: FromNetd) {
        match message {
            FromNetd::Observed(observed) => {
                self.facts.links.clone_from(&observed.links);
                self.observed = Some((*observed).clone());
                self.refresh(now);
                if !std::mem::replace(&mut self.looked, true) {
                    for role in self.up.clone() {
                        self.snapshot(now, role);
                    }
                }
                // A look that is older than the list of sysctls lacks some. Planning on it would
                // write values that may stand there already. One that still lacks them later
                // cannot have them.
                if self.held_until.is_some() && self.lacks_sysctls(&observed) {
                    self.held_back = true;
                    return;
                }
                self.held_until = None;
                self.held_back = false;
                self.converge.handle_observed(now.mono, *observed);
            }
            FromNetd::Previewed { id, preview } => self.previewed(id, preview),
            FromNetd::Applied {
                id,
                done,
                error,
                kernel_writes,
            } => {
                self.kernel_writes = self.kernel_writes.saturating_add(kernel_writes);
                if id != self.plan_id {
                    return;
                }
                log::info!("plan {id}: {done} steps done, {kernel_writes} messages to the kernel");
                let result = match error {
                    None => Ok(()),
                    Some(error) => Err(ApplyError::Step {
                        index: usize::try_from(error.step).unwrap_or(usize::MAX),
                        text: error.text,
                    }),
                };
                self.converge.handle_applied(now.mono, result);
            }
        }
    }

    fn data(&mut self, now: Now, state: DataState) {
        if state == self.facts.data {
            return;
        }
        match &state {
            DataState::Failed { reason } => {
                log::error!("storage failed: {reason}");
                match Store::memory() {
                    Ok(memory) => self.store = memory,
                    Err(error) => log::error!("no store in memory: {}", startup::sentence(&error)),
                }
                self.auth = Auth::new(None, Vec::new(), Vec::new(), now);
                self.held.clear();
                self.log_doubtful = false;
                self.facts.data = state;
                self.refresh(now);
                self.dirty("status", now);
            }
            DataState::Good => self.say(Output::Restart),
        }
    }

    fn stop(&mut self, now: Now) {
        self.note(now);
    }

    /// Facts or configuration may have changed: resolves anew and tells whom it concerns.
    pub(super) fn refresh(&mut self, now: Now) {
        let old = std::mem::replace(
            &mut self.resolved,
            lintel_plan::resolve(&self.active.config, &self.facts),
        );
        self.resolved.dns.hosts = self.hosts(now);
        if self.observed.is_some() {
            self.converge
                .set_desired(now.mono, self.resolved.kernel.clone());
            let sysctls = self.sysctl_paths();
            if self.up.contains(&RoleName::Netd) && sysctls != self.sysctls_asked {
                self.ask_sysctls(now, sysctls);
            }
        }
        if old.wan != self.resolved.wan {
            self.send_wan();
            self.begin_detection(now);
            self.dirty("wan", now);
        }
        if old.dhcp != self.resolved.dhcp && self.told.contains(&RoleName::Dhcpd) {
            self.snapshot(now, RoleName::Dhcpd);
        }
        if self.dns_sent.as_ref() != Some(&self.resolved.dns) {
            self.dns_changed(now);
        }
        if old.ntp != self.resolved.ntp && self.told.contains(&RoleName::Timed) {
            self.send_ntp();
        }
        if old.web != self.resolved.web && self.told.contains(&RoleName::Webd) {
            let spec = self.resolved.web.clone();
            self.say(Output::Webd(ToWebd::Spec(spec)));
        }
        self.certify(now);
        if old.notices != self.resolved.notices {
            for notice in &self.resolved.notices {
                if !old.notices.contains(notice) {
                    log::info!("notice: {}", notice.text);
                }
            }
            self.dirty("status", now);
        }
    }

    /// Sends a plan when one is due, and hears what became of the last.
    pub(super) fn drive(&mut self, now: Now) {
        // Going back to the revision before is another wish, once.
        if self.drive_once(now) {
            self.drive_once(now);
        }
        let next = self.converge.next_deadline();
        self.converge_at = next.filter(|at| *at > now.mono);
    }

    /// True when the wish changed on the way.
    fn drive_once(&mut self, now: Now) -> bool {
        let mut rolled_back = false;
        if self.up.contains(&RoleName::Netd)
            && let Some(plan) = self.converge.poll(now.mono)
        {
            self.plan_id += 1;
            log::info!("plan {}: {} steps", self.plan_id, plan.steps.len());
            for step in &plan.steps {
                log::debug!("plan {}: {}", self.plan_id, step.reason);
            }
            let id = self.plan_id;
            self.say(Output::Netd(ToNetd::Apply { id, plan }));
        }
        while let Some(event) = self.converge.poll_event() {
            self.dirty("status", now);
            match event {
                Event::Settled => self.settled(now),
                Event::Failed {
                    step,
                    error,
                    failures,
                } => {
                    let step = step.map_or_else(String::new, |step| format!("{} ", step.reason));
                    let text = format!("{step}failed: {error}");
                    log::warn!("try {failures}: {text}");
                    self.own_notices.insert(
                        NoticeCode::StepFailed,
                        Notice {
                            code: NoticeCode::StepFailed,
                            severity: Severity::Warning,
                            text: format!("A change of the network is tried again: {text}"),
                            link: None,
                        },
                    );
                    self.step_error = Some(text);
                }
                Event::RolledBack => {
                    rolled_back = true;
                    self.rolled_back(now);
                }
            }
        }
        rolled_back
    }

    /// The kernel holds what is desired.
    fn settled(&mut self, now: Now) {
        if self.converge.is_settled() {
            self.step_error = None;
            self.own_notices.remove(&NoticeCode::StepFailed);
            self.note_applied();
            if let Some(mut pending) = self.pending_apply.take()
                && !pending.replied
            {
                pending.answer.outcome = "applied".to_owned();
                self.reply_value(pending.waiter, &pending.answer);
            }
            self.dirty("config", now);
            self.leaving_due.get_or_insert(now.mono);
        }
    }

    /// The kernel refused the wish. When a new revision is to blame, the one before is taken.
    fn rolled_back(&mut self, now: Now) {
        let Some(pending) = self.pending_apply.take() else {
            log::error!("the kernel refuses what is desired; the last good state stays");
            return;
        };
        log::error!("the kernel refuses the new revision; the one before is in force again");
        if let Some(number) = self.active.revision {
            self.stored("noting that the revision failed", |store| {
                store.mark_revision(number, RevisionState::Failed)
            });
        }
        self.window = None;
        self.keep_leaving(now, &pending.previous.config.clone());
        self.active = pending.previous.clone();
        self.pending_apply = Some(pending);
        self.end_apply_as_reverted();
        self.refresh(now);
        self.dirty("config", now);
    }

    fn send_wan(&mut self) {
        if !self.told.contains(&RoleName::Wand) {
            return;
        }
        let lease = self.facts.wan_lease.clone();
        let lease = match &self.resolved.wan {
            WanSpec::Dhcp { link, .. } => lease.filter(|lease| lease.link == link.name),
            WanSpec::Off | WanSpec::Detect { .. } => None,
        };
        let spec = self.resolved.wan.clone();
        self.say(Output::Wand(ToWand::Spec { spec, lease }));
    }

    fn begin_detection(&mut self, now: Now) {
        let searching = matches!(self.resolved.wan, WanSpec::Detect { .. });
        if !searching {
            self.detection_until = None;
        } else if !self.facts.detection_over
            && self.detection_until.is_none()
            && self.told.contains(&RoleName::Wand)
        {
            self.detection_until = Some(now.mono + DETECTION);
        }
    }

    /// Names or records changed: dnsd hears of it, now or with the next run.
    pub(super) fn dns_changed(&mut self, now: Now) {
        match self.dns_last {
            Some(last) if last + CHANGES_EVERY > now.mono => {
                self.dns_due = Some(last + CHANGES_EVERY);
            }
            _ => self.send_dns(now),
        }
    }

    fn send_dns(&mut self, now: Now) {
        self.dns_due = self.next_name_end(now);
        self.resolved.dns.hosts = self.hosts(now);
        if self.told.contains(&RoleName::Dnsd) && self.dns_sent.as_ref() != Some(&self.resolved.dns)
        {
            self.dns_last = Some(now.mono);
            self.dns_sent = Some(self.resolved.dns.clone());
            self.say(Output::Dnsd(ToDnsd::Spec(self.resolved.dns.clone())));
        }
    }

    /// Something that pages show has changed.
    pub(super) fn dirty(&mut self, kind: &'static str, now: Now) {
        if self.up.contains(&RoleName::Webd) {
            self.events_dirty.insert(kind);
            self.events_due.get_or_insert(now.mono + CHANGES_EVERY);
        }
    }

    fn send_events(&mut self, now: Now) {
        self.events_due = None;
        for kind in std::mem::take(&mut self.events_dirty) {
            if !self.up.contains(&RoleName::Webd) {
                continue;
            }
            self.event_id += 1;
            let data = self.event_data(now, kind);
            self.say(Output::Webd(ToWebd::Event {
                id: self.event_id,
                kind: kind.to_owned(),
                data,
            }));
        }
    }

    /// Asks init; false when too much is on its way.
    pub(super) fn ask_init(&mut self, now: Now, request: InitRequest, used: InitUse) -> bool {
        if self.init_uses.len() >= INIT_REQUESTS_MAX {
            return false;
        }
        self.init_id += 1;
        let id = self.init_id;
        self.init_uses.insert(id, (used, now.mono + INIT_WAIT));
        self.say(Output::Init { id, request });
        true
    }

    pub(super) fn services_heard(&mut self, now: Now, services: Vec<ServiceStatus>) {
        let lives = |list: &[ServiceStatus]| -> Vec<_> {
            list.iter()
                .map(|s| (s.name, s.state, s.pid, s.restarts))
                .collect()
        };
        let changed = self
            .services
            .as_ref()
            .is_none_or(|(_, old)| lives(old) != lives(&services));
        self.services = Some((now.mono, services));
        if changed {
            self.dirty("services", now);
        }
    }

    /// Runs a write whose failure is told and survived.
    pub(super) fn stored<T>(
        &mut self,
        what: &str,
        write: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Option<T> {
        let writes = self.store.writes();
        let ready = match self.log_doubtful {
            true => self.store.renew_log(),
            false => Ok(()),
        };
        if ready.is_ok() {
            self.log_doubtful = false;
        }
        match ready.and_then(|()| write(&mut self.store)) {
            Ok(value) => {
                // Only a write that took place shows that there is room again.
                if self.facts.data == DataState::Good && self.store.writes() != writes {
                    self.own_notices.remove(&NoticeCode::DataFailed);
                }
                Some(value)
            }
            Err(error) => {
                self.store_failed(what, &error);
                None
            }
        }
    }

    /// While the notice stands that nothing can be written, tries it now and then: with what is
    /// noted anyway, and with what could not be stored then.
    fn write_again(&mut self, now: Now) {
        let failed = |core: &Self| {
            core.facts.data == DataState::Good
                && core.own_notices.contains_key(&NoticeCode::DataFailed)
        };
        if failed(self) && self.write_again_at.is_some_and(|at| at <= now.mono) {
            self.write_again_at = None;
            self.note(now);
            if !failed(self) {
                self.store_wan_lease();
                self.want_snapshot(now);
                self.dirty("status", now);
            }
        }
        if failed(self) {
            self.write_again_at
                .get_or_insert(now.mono + WRITE_AGAIN_EVERY);
        } else {
            self.write_again_at = None;
        }
    }

    pub(super) fn store_failed(&mut self, what: &str, error: &StoreError) {
        let reason = startup::sentence(error);
        log::error!("{what}: {reason}");
        self.log_doubtful |= error.is_of_disk();
        if error.is_fatal() && self.facts.data == DataState::Good && !self.giving_up {
            // The next process checks it, and takes a snapshot in its place.
            self.giving_up = true;
            self.say(Output::Restart);
        }
        self.own_notices.insert(
            NoticeCode::DataFailed,
            Notice {
                code: NoticeCode::DataFailed,
                severity: Severity::Error,
                text: format!("The box cannot write to its storage ({reason}). What runs goes on; changes and new devices are refused until there is room."),
                link: None,
            },
        );
    }

    /// From now on each look shall hold these.
    fn ask_sysctls(&mut self, now: Now, sysctls: Vec<String>) {
        self.held_until = Some(now.mono + SYSCTL_WAIT);
        self.held_back = false;
        self.sysctls_asked.clone_from(&sysctls);
        self.say(Output::Netd(ToNetd::Observe { sysctls }));
    }

    /// Whether a sysctl that was asked for is not in the look and could be: those of a link that
    /// is yet to be made come with it.
    fn lacks_sysctls(&self, observed: &ObservedState) -> bool {
        let can_be = |path: &str| {
            let mut parts = path.split('/').skip_while(|part| *part != "conf").skip(1);
            parts.next().is_none_or(|conf| {
                matches!(conf, "all" | "default")
                    || observed.links.iter().any(|link| link.name.as_str() == conf)
            })
        };
        self.sysctls_asked
            .iter()
            .any(|path| can_be(path) && !observed.sysctls.iter().any(|sysctl| sysctl.path == *path))
    }

    fn sysctl_paths(&self) -> Vec<String> {
        let sysctls = self.resolved.kernel.sysctls.iter();
        sysctls.map(|sysctl| sysctl.path.clone()).collect()
    }
}

pub(super) fn bounded_drops(mut dropped: Vec<(String, u64)>) -> Vec<(String, u64)> {
    dropped.truncate(DROP_REASONS_MAX);
    for (reason, _) in &mut dropped {
        *reason = reason
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect();
    }
    dropped
}

fn bounded_statistics(mut statistics: DnsStatistics) -> DnsStatistics {
    statistics.dropped = bounded_drops(statistics.dropped);
    statistics.upstreams.truncate(DROP_REASONS_MAX);
    statistics
}
