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
use lintel_api::types::{ConfigApplied, Event, Memory};
use lintel_ipc::call::{Call, Reply};
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::{InitReply, InitRequest, ServiceState, ServiceStatus, Start};
use lintel_ipc::netd::{FromNetd, ToNetd};
use lintel_ipc::timed::{FromTimed, ToTimed};
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_ipc::webd::{Happened, ToWebd};
use lintel_model::RoleName;
use lintel_model::facts::{DataState, Facts, Notice, NoticeCode};
use lintel_model::lease::Binding;
use lintel_model::observed::ObservedState;
use lintel_model::reset::Reset;
use lintel_model::resolver::DnsCounters;
use lintel_model::services::{DnsSpec, Resolved};
use lintel_plan::converge::Converge;
use lintel_proto::rng::Rng;
use lintel_store::{Store, StoreError, TlsRow};

pub use crate::now::Now;

use super::auth::Auth;
use super::commits::PendingPreview;
use super::confirm::Window;
use super::log_calls::LogSearch;
pub use super::machine::Figures;
use super::sealing::{Late, SealDone, SealJob, Sealing};
use super::startup::{self, Active};
pub use super::stats::Measure;

/// How long a call waits for init.
pub(super) const INIT_WAIT: Duration = Duration::from_secs(3);
/// How long `config.apply` waits for the kernel; webd gives up after 10 s.
pub(super) const APPLY_WAIT: Duration = Duration::from_secs(7);
/// Most questions to init on their way; a caller beyond that is told to come again.
pub(super) const INIT_REQUESTS_MAX: usize = 32;
/// Between two looks at whether the certificate fits the time.
const TIME_EVERY: Duration = Duration::from_secs(3600);
/// Between two notes of what nobody waits for. Each costs the flash some forty kilobytes with
/// all that the file system writes around it; init keeps the clock's floor more often.
const NOTE_EVERY: Duration = Duration::from_secs(4 * 3600);
/// Longest list of drop reasons believed of a role.
const DROP_REASONS_MAX: usize = 32;

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
    /// Somebody at the box wants this, says init.
    Reset(Reset),
    /// init tells of the roles, since one of them changed.
    Services(Vec<ServiceStatus>),
    /// A connection of the control socket listens to events from now on.
    Watch {
        /// Which.
        connection: u64,
        /// Of its call, repeated in the answer.
        id: u64,
        /// The event that it saw last.
        last: Option<u64>,
    },
    /// It is gone.
    Unwatch {
        /// Which.
        connection: u64,
    },
    /// What the kernel says of the machine.
    Measured {
        /// What for.
        measure: Measure,
        /// The figures.
        figures: Figures,
    },
    /// So many streams of events are open at webd.
    Streams(u32),
    /// The passphrase's work is done.
    Sealed(SealDone),
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
    /// Measure the machine and say [`Input::Measured`].
    Measure(Measure),
    /// To every connection of the control socket that listens.
    Events(Vec<Happened>),
    /// To a thread that does it and answers with [`Input::Sealed`].
    Seal(Box<SealJob>),
    /// The data directory is good again, or the database shows damage: end, so that a new
    /// process opens and checks it.
    Restart,
}

/// Somebody who waits for a reply.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    pub(super) via: Via,
    pub(super) id: u64,
}

/// What an answer of init is for.
#[derive(Debug)]
pub(super) enum InitUse {
    /// `services.status`.
    Services(Waiter),
    /// `status`.
    Status(Waiter, Option<Memory>),
    /// `logs.services`.
    Logs(Waiter),
    /// `system.stats` and `metrics`: the machine is measured next.
    Measure(Measure),
    /// `logs.search`.
    Search(Waiter, LogSearch),
    /// `logs.statistics`.
    LogStatistics(Waiter),
    /// A step of a task.
    Task(u64),
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
    pub(super) held_until: Option<Instant>,
    /// Such a look came and waits for a better one.
    pub(super) held_back: bool,
    pub(super) converge: Converge,
    /// When to drive it although nothing happened. A deadline of its that has passed and led to
    /// nothing waits for a look at the kernel, not for time.
    pub(super) converge_at: Option<Instant>,
    pub(super) plan_id: u64,
    pub(super) kernel_writes: u64,
    pub(super) step_error: Option<String>,
    /// What the kernel lacks, once a step failed and netd looked why.
    pub(super) lacks: Option<Vec<lintel_model::features::Lack>>,
    pub(super) pending_apply: Option<PendingApply>,
    /// Plans that wait for what netd says of them, by number.
    pub(super) previews: BTreeMap<u64, PendingPreview>,
    pub(super) preview_id: u64,
    /// A revision that waits to be confirmed.
    pub(super) window: Option<Window>,
    /// When a network that was left may be let go.
    pub(super) leaving_due: Option<Instant>,
    /// Since when the LAN's address is in force, as far as this process knows.
    pub(super) lan_since_unix_s: u64,
    pub(super) sysctls_asked: Vec<String>,
    pub(super) detection_until: Option<Instant>,
    pub(super) up: BTreeSet<RoleName>,
    /// Whose session has begun with its snapshot. Before netd's first look nobody gets one: it
    /// would name no links, and a role that served through our own restart would stop for it.
    pub(super) told: BTreeSet<RoleName>,
    /// netd has told of the links since this process began.
    pub(super) looked: bool,
    pub(super) bindings: BTreeMap<Ipv4Addr, Binding>,
    pub(super) stored_lease: Option<lintel_model::lease::WanLease>,
    /// Until when, Unix seconds, each binding that this process wrote is held on disk.
    pub(super) held: BTreeMap<Ipv4Addr, u64>,
    /// When the next lease ends, to tell of it.
    pub(super) lease_end_at: Option<Instant>,
    /// Ends up to then were told, Unix seconds.
    pub(super) leases_told_until: u64,
    pub(super) wan_state: Option<(lintel_model::LinkName, String, String)>,
    pub(super) wan_dropped: Vec<(String, u64)>,
    pub(super) dhcp_dropped: Vec<(String, u64)>,
    pub(super) dns_statistics: DnsCounters,
    pub(super) clock: super::clock::Clock,
    pub(super) dns_sent: Option<DnsSpec>,
    pub(super) dns_due: Option<Instant>,
    pub(super) dns_last: Option<Instant>,
    pub(super) services: Option<(Instant, Vec<ServiceStatus>)>,
    /// The processor when it was last measured.
    pub(super) cpu_before: Option<lintel_api::types::CpuStats>,
    /// Of each role as it was told: its state, and how often it started anew.
    pub(super) lives: Vec<(RoleName, ServiceState, u32)>,
    pub(super) init_uses: HashMap<u64, (InitUse, Instant)>,
    pub(super) init_id: u64,
    /// Notices that are not the planner's: code, and where it can come more than once, a mark.
    pub(super) own_notices: BTreeMap<NoticeCode, Notice>,
    pub(super) bus: super::bus::Bus,
    pub(super) tasks: super::tasks::Tasks,
    /// How many tests of the network were begun.
    pub(super) network_tests: u64,
    pub(super) time_at: Instant,
    pub(super) note_at: Instant,
    /// When to look whether something changed since the newest backup.
    pub(super) backup_at: Instant,
    /// A file that is being sealed or opened.
    pub(super) sealing: Option<Sealing>,
    pub(super) late_seal: Option<Late>,
    /// When to try a write, while the notice says that none is possible.
    pub(super) write_again_at: Option<Instant>,
    /// When the next snapshot of the database is due.
    pub(super) snapshot_at: Option<Instant>,
    pub(super) snapshot_last: Option<Instant>,
    /// The disk gave an error: before the next promise the store's log is begun anew.
    pub(super) log_doubtful: bool,
    /// The database has shown damage: it is given up.
    pub(super) giving_up: bool,
    /// `None` when none could be made: there is HTTP alone then.
    pub(super) tls: Option<TlsRow>,
    pub(super) out: VecDeque<Output>,
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
        // The first input tells by how much the clock was set since, and moves what is kept.
        let counted = super::clock::counted_by(kept.clock, &mut store, &start, now);
        let wan_lease = kept
            .wan_lease
            .filter(|lease| super::leases::is_running(lease, counted.unix_s));
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
            auth: Auth::new(kept.password, kept.sessions, kept.tokens, counted)
                .with_totp(kept.totp),
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
            lacks: None,
            pending_apply: None,
            previews: BTreeMap::new(),
            preview_id: 0,
            window: None,
            leaving_due: Some(now.mono),
            lan_since_unix_s: counted.unix_s,
            sysctls_asked: Vec::new(),
            detection_until: None,
            up: BTreeSet::new(),
            told: BTreeSet::new(),
            looked: false,
            held: BTreeMap::new(),
            bindings: super::leases::from_disk(kept.bindings, counted),
            stored_lease: wan_lease,
            wan_state: None,
            wan_dropped: Vec::new(),
            dhcp_dropped: Vec::new(),
            dns_statistics: DnsCounters::default(),
            clock: super::clock::Clock::new(kept.drift, counted),
            dns_sent: None,
            dns_due: None,
            dns_last: None,
            services: None,
            cpu_before: None,
            lives: Vec::new(),
            lease_end_at: Some(now.mono),
            leases_told_until: counted.unix_s,
            init_uses: HashMap::new(),
            init_id: 0,
            own_notices,
            bus: super::bus::Bus::default(),
            tasks: super::tasks::Tasks::default(),
            network_tests: 0,
            time_at: now.mono,
            note_at: now.mono,
            backup_at: now.mono + super::backups::BACKUP_AFTER,
            sealing: None,
            late_seal: None,
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
        core.presence(now);
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
            Input::Reset(reset) => self.reset(now, reset),
            Input::Services(list) => self.services_told(now, list),
            Input::Watch {
                connection,
                id,
                last,
            } => self.watch(connection, id, last),
            Input::Unwatch { connection } => self.unwatch(connection),
            Input::Measured { measure, figures } => self.measured(now, measure, figures),
            Input::Streams(streams) => self.streams(streams),
            Input::Sealed(done) => self.sealed(now, done),
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
        if self.time_at <= now.mono {
            self.time_at = now.mono + TIME_EVERY;
            self.certify(now);
        }
        if self.note_at <= now.mono {
            self.note_at = now.mono + NOTE_EVERY;
            self.note(now);
        }
        if self.backup_at <= now.mono {
            self.back_up_by_schedule(now);
        }
        self.end_seal_wait(now);
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
        if due(self.tasks.deadline()) {
            self.run_tasks(now);
        }
        if due(self.clock.setting.as_ref().map(|setting| setting.until)) {
            self.end_setting();
        }
        self.end_leases(now);
        self.announce_notices(now);
        // Last: what was done above is told with it.
        if due(self.bus.deadline()) {
            self.send_events(now);
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
            self.bus.deadline(),
            self.tasks.deadline(),
            self.clock.setting.as_ref().map(|setting| setting.until),
            self.lease_end_at,
            Some(self.time_at),
            Some(self.note_at),
            Some(self.backup_at),
            self.seal_deadline(),
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

    fn data(&mut self, now: Now, state: DataState) {
        if state == self.facts.data {
            return;
        }
        match state.clone() {
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
                self.tell(now, Event::StorageFailed { reason });
            }
            DataState::Good => self.say(Output::Restart),
        }
    }

    fn stop(&mut self, now: Now) {
        self.note(now);
    }

    /// Secrets that this process holds as they are, for what must not have them in it.
    pub(super) fn known_secrets(&self) -> Vec<String> {
        let mut secrets = self.auth.known_secrets();
        if let Some(tls) = &self.tls {
            secrets.push(data_encoding::BASE64.encode(&tls.key_der));
            secrets.push(data_encoding::HEXLOWER.encode(&tls.key_der));
        }
        secrets
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

    /// init told by itself, without the memory that each takes: that stays as it was last asked
    /// for, and its time with it.
    fn services_told(&mut self, now: Now, mut services: Vec<ServiceStatus>) {
        let never = (Instant::MIN, Vec::new());
        let (asked, old) = self.services.take().unwrap_or(never);
        for service in &mut services {
            let same = old
                .iter()
                .find(|o| o.name == service.name && o.pid == service.pid);
            service.pss_kib = same.and_then(|old| old.pss_kib);
        }
        self.services_heard(now, services);
        if let Some((at, _)) = &mut self.services {
            *at = asked;
        }
    }

    pub(super) fn services_heard(&mut self, now: Now, services: Vec<ServiceStatus>) {
        let old = std::mem::take(&mut self.lives);
        let first = old.is_empty();
        for service in &services {
            let before = old.iter().find(|(name, ..)| *name == service.name);
            let (name, restarts) = (service.name, service.restarts);
            // What this process began with is no news, but for what it began after.
            let own = first && name == RoleName::Controld && restarts > 0;
            let died = own || before.is_some_and(|(_, _, before)| *before < restarts);
            let asked = service.last_exit.as_deref() == Some("exit status 0");
            if died
                && !asked
                && let Some(how) = service.last_exit.clone()
            {
                let how = how.chars().filter(|c| !c.is_control()).take(300).collect();
                self.tell(
                    now,
                    Event::ServiceDied {
                        name,
                        how,
                        restarts,
                    },
                );
            }
            if before.is_some_and(|(_, state, _)| *state != service.state) || died {
                let state = super::views::state_word(service.state).to_owned();
                self.tell(
                    now,
                    Event::ServiceState {
                        name,
                        state,
                        restarts,
                    },
                );
            }
        }
        let life = |service: &ServiceStatus| (service.name, service.state, service.restarts);
        self.lives = services.iter().map(life).collect();
        self.services = Some((now.mono, services));
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

fn bounded_statistics(mut statistics: DnsCounters) -> DnsCounters {
    statistics.dropped = bounded_drops(statistics.dropped);
    statistics.upstreams.truncate(DROP_REASONS_MAX);
    statistics
}
