//! The loop around [`Supervisor`]: processes, channels, pipes, signals, logs.
//!
//! Nothing in here may end PID 1: what fails is logged, and the loop goes on.

mod lines;
mod requests;
mod spawning;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::{ChannelKind, FromInit, ServiceState, SocketName, Start, ToInit};
use lintel_model::RoleName;
use lintel_model::facts::DataState;
use lintel_model::reset::{Reset, ResetBy, ResetKind};
use lintel_rt::channel::{self, Channel, ChannelError};
use lintel_rt::clock::Clock;
use lintel_rt::poller::{Event, Interest, Poller, Token};
use lintel_rt::sockets::{self, Addresses};
use lintel_rt::spawn::{self, Isolation};
use lintel_rt::table::policy;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::button::{Button, Press};
use super::chores::Chores;
use super::groups::Groups;
use super::log_files::{CRASH_LINES, LogFiles};
use super::logs::{Lines, Logs};
use super::supervise::{Input, Life, Output, Supervisor};

/// Messages taken from one role before the others have their turn.
const MESSAGES_A_TURN: usize = 64;
/// Nobody waits for a page or for the time before there is a lease.
const NO_FIRST_LEASE: [RoleName; 2] = [RoleName::Timed, RoleName::Webd];
/// How long a change of a role waits for others.
const TELL_AFTER: Duration = Duration::from_millis(100);
/// The wait when the kernel refuses to wait, so that the loop does not spin.
const POLL_FAILED_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

const SIGNALS: Token = 0;
const CHANNEL: Token = 0x100;
const PIPE: Token = 0x200;
const BUTTON: Token = 0x300;

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A signal asked for it.
    Stop,
    /// Start the box again.
    Reboot,
    /// Switch it off.
    PowerOff,
    /// Make /data anew, then start again.
    ResetData,
    /// The same by the box's button, of which the next boot tells.
    ButtonReset,
}

/// What differs between a box and `lintel run`.
#[derive(Debug)]
pub struct Setup {
    /// The binary to execute.
    pub exe: PathBuf,
    /// The roles to start.
    pub roles: Vec<RoleName>,
    /// How far roles are kept apart.
    pub isolation: Isolation,
    /// What each role is told; its name and sockets are filled in.
    pub start: Start,
    /// Where wildcard sockets are bound.
    pub addresses: Addresses,
    /// Files for logs, when there is a disk for them.
    pub files: Option<LogFiles>,
    /// Ask each role once to try its sandbox; only where `start.test` holds too.
    pub escape_test: bool,
    /// Bounds of the roles' memory; `None` where init has no control groups.
    pub groups: Option<Groups>,
    /// The box's button, where there is a box.
    pub button: Option<Button>,
    /// What a box does beside its roles.
    pub chores: Chores,
}

/// init's loop.
#[derive(Debug)]
pub struct Shell {
    setup: Setup,
    clock: Clock,
    poller: Poller,
    signals: SignalFd,
    supervisor: Supervisor,
    seats: Vec<Seat>,
    sockets: BTreeMap<SocketName, OwnedFd>,
    logs: Logs,
    crashes: u32,
    /// What controld was told of the roles.
    told: Vec<Told>,
    /// When it is told again, while it may differ.
    tell_at: Option<Instant>,
    end: Option<End>,
    ended: bool,
}

/// What makes a role another one for who watches: its state, process and restarts.
type Told = (RoleName, ServiceState, Option<u32>, u32);

/// What init holds of one role.
#[derive(Debug)]
struct Seat {
    role: RoleName,
    channel: Option<Channel<FromInit, ToInit>>,
    /// The channel is watched for writing too.
    watched_for_write: bool,
    pipe: Option<std::fs::File>,
    lines: Lines,
    /// Requests of a role that may not ask.
    refused_requests: u64,
    /// It was asked to try its sandbox.
    probed: bool,
}

/// Blocks the signals that the loop reads, for this process alone: a child starts with none
/// blocked. To be called before anything is spawned.
fn signals(test: bool) -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPWR,
    ] {
        set.add(signal);
    }
    if test {
        set.add(Signal::SIGUSR1);
    }
    set.thread_block()?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    Ok(SignalFd::with_flags(&set, flags)?)
}

impl Shell {
    /// A shell whose roles start with the first turn of the loop.
    pub fn new(setup: Setup) -> io::Result<Self> {
        spawn::reserve_init_fd()?;
        let signals = signals(setup.start.test)?;
        let poller = Poller::new()?;
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let clock = Clock;
        let seats = setup.roles.iter().map(|&role| Seat::new(role)).collect();
        Ok(Self {
            supervisor: Supervisor::new(clock.now(), &setup.roles),
            setup,
            clock,
            poller,
            signals,
            seats,
            sockets: BTreeMap::new(),
            logs: Logs::default(),
            crashes: 0,
            told: Vec::new(),
            tell_at: None,
            end: None,
            ended: false,
        })
    }

    /// Opens the sockets of the roles that are not open yet, and names those that cannot be.
    pub fn open_sockets(&mut self) -> Vec<sockets::SocketError> {
        let mut errors = Vec::new();
        for role in self.setup.roles.clone() {
            for &name in policy(role).map_or(&[][..], |policy| policy.sockets) {
                if let Err(error) = self.open_socket(name) {
                    errors.push(error);
                }
            }
        }
        errors
    }

    /// Starts the roles on the way to a client's first lease. controld begins with /data, which is
    /// still to be opened: the time that a disk takes is the others' to start in.
    pub fn begin(&mut self) {
        let now = self.clock.now();
        self.supervisor.hold(RoleName::Controld);
        for role in NO_FIRST_LEASE {
            self.supervisor.hold(role);
        }
        self.supervisor.handle_timeout(now);
        self.do_outputs();
    }

    /// Starts controld: /data was opened, or will not be. The others follow it.
    pub fn data_opened(&mut self, state: DataState, files: Option<LogFiles>, dir: Option<PathBuf>) {
        self.setup.start.data = state.clone();
        self.setup.files = files;
        self.setup.chores.data_dir = dir;
        for role in self.setup.roles.clone() {
            self.send(role, &FromInit::Data(state.clone()), Vec::new());
        }
        self.supervisor
            .release(self.clock.now(), RoleName::Controld);
    }

    /// controld is up, or fell at its first steps: nobody waits for it any longer.
    fn after_controld(&mut self) {
        let now = self.clock.now();
        for role in self.setup.roles.clone() {
            self.supervisor.release(now, role);
        }
    }

    /// Runs until a signal or controld ends it.
    pub fn run(&mut self) -> End {
        let mut events = Vec::new();
        while !self.ended {
            let deadline = [
                self.supervisor.timeout(),
                self.setup.files.as_ref().and_then(LogFiles::timeout),
                self.setup.chores.timeout(),
                self.setup.button.as_ref().and_then(Button::timeout),
                self.tell_at,
            ]
            .into_iter()
            .flatten()
            .min();
            if let Err(error) = self.poller.wait(deadline, &mut events) {
                log::error!("waiting for events failed: {error}");
                std::thread::sleep(POLL_FAILED_PAUSE);
            }
            // What the roles have said comes before what they are late with: whatever held us up
            // until here, such as a slow disk, is no fault of theirs.
            for event in &events {
                self.on_event(*event);
            }
            let now = self.clock.now();
            self.supervisor.handle_timeout(now);
            self.do_outputs();
            self.tell_services(now);
            self.do_chores(now);
            self.look_after_button(now);
            self.take_own_lines();
        }
        self.take_own_lines();
        self.flush_files();
        self.end.unwrap_or(End::Stop)
    }

    /// Tells controld when some role is elsewhere in its life; what changes together, at a start
    /// all of them, is told together.
    fn tell_services(&mut self, now: Instant) {
        let lives = self.supervisor.lives().iter();
        let controld = |life: &Life| life.role == RoleName::Controld;
        let listens = |life: &Life| life.service_state() == ServiceState::Ready;
        if !lives.clone().any(|life| controld(life) && listens(life)) {
            // The next one knows nothing yet.
            self.told.clear();
            self.tell_at = None;
            return;
        }
        let told = |life: &Life| (life.role, life.service_state(), life.pid(), life.restarts());
        if lives.clone().map(told).eq(self.told.iter().copied()) {
            self.tell_at = None;
            return;
        }
        let at = *self.tell_at.get_or_insert(now + TELL_AFTER);
        if at <= now {
            self.told = lives.map(told).collect();
            self.tell_at = None;
            let services = self.services(false);
            self.send(
                RoleName::Controld,
                &FromInit::Services(services),
                Vec::new(),
            );
        }
    }

    /// The armed watchdog, for the time between the loop and reboot(2).
    pub fn into_watchdog(self) -> Option<lintel_rt::device::Watchdog> {
        self.setup.chores.watchdog
    }

    fn do_chores(&mut self, now: Instant) {
        let due = self.setup.files.as_ref().and_then(LogFiles::timeout);
        if due.is_some_and(|at| at <= now) {
            self.flush_files();
        }
        if let Some(state) = self.setup.chores.run(now) {
            log::error!("/data changed its state: {state:?}");
            self.setup.start.data = state.clone();
            for role in self.setup.roles.clone() {
                self.send(role, &FromInit::Data(state.clone()), Vec::new());
            }
        }
    }

    fn look_after_button(&mut self, now: Instant) {
        let Some(button) = &mut self.setup.button else {
            return;
        };
        for device in button.look(now) {
            if let Err(error) = self.poller.add(device, BUTTON, Interest::READ) {
                log::warn!("the button is not watched: {error}");
            }
        }
        if let Some(Press::Say(text)) = button.handle_timeout(now) {
            log::warn!("{text}");
        }
    }

    /// Somebody holds the button, or let it go.
    fn on_button(&mut self) {
        let now = self.clock.now();
        let button = self.setup.button.as_mut();
        for press in button.map(|button| button.read(now)).unwrap_or_default() {
            match press {
                Press::Say(text) => log::warn!("{text}"),
                Press::Reset(ResetKind::Password) => {
                    log::warn!("the button takes the password away");
                    let reset = Reset {
                        kind: ResetKind::Password,
                        by: ResetBy::Button,
                    };
                    self.send(RoleName::Controld, &FromInit::Reset(reset), Vec::new());
                }
                Press::Reset(ResetKind::Factory) => {
                    log::warn!("the button removes everything that is stored");
                    self.finish(End::ButtonReset);
                }
            }
        }
    }

    /// What controld shall know of resets when it starts.
    pub fn reset(&mut self, reset: Option<Reset>) {
        self.setup.start.reset = reset;
    }

    fn on_event(&mut self, event: Event) {
        let seat = |base: Token| usize::try_from(event.token.wrapping_sub(base)).unwrap_or(0);
        match event.token {
            SIGNALS => self.on_signals(),
            CHANNEL..PIPE => self.on_channel(seat(CHANNEL), event),
            PIPE..BUTTON => self.on_pipe(seat(PIPE)),
            _ => self.on_button(),
        }
    }

    fn on_signals(&mut self) {
        loop {
            match self.signals.read_signal() {
                Ok(Some(info)) => match Signal::try_from(info.ssi_signo as i32) {
                    Ok(Signal::SIGCHLD) => {}
                    Ok(Signal::SIGUSR1) => self.fault(),
                    // busybox' and the kernel's words for PID 1: Ctrl-Alt-Del, power failing.
                    Ok(Signal::SIGPWR) => self.finish(End::PowerOff),
                    Ok(Signal::SIGINT) if self.setup.isolation == Isolation::Boot => {
                        self.finish(End::Reboot);
                    }
                    _ => self.finish(End::Stop),
                },
                Ok(None) => break,
                Err(error) => {
                    log::error!("reading signals failed: {error}");
                    break;
                }
            }
        }
        // Signals of the same number merge, so every child is asked about each time.
        self.reap();
    }

    /// Takes every dead child, orphans of others included.
    fn reap(&mut self) {
        loop {
            let (pid, mut how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, exit_words(status)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("killed by {signal}")),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) => continue,
                Err(errno) => {
                    log::error!("waiting for children failed: {errno}");
                    break;
                }
            };
            let pid = pid.as_raw().unsigned_abs();
            if self.setup.chores.on_exit(pid, self.clock.now()) {
                continue;
            }
            let role = self
                .seats
                .iter()
                .position(|seat| self.supervisor.pid(seat.role) == Some(pid));
            if let Some(at) = role {
                // Its last words are still in the pipe.
                while self.read_pipe(at) {}
                self.clear_seat(at);
                if let Some(bytes_max) = self.reached_bound(at) {
                    how.push_str(&format!(
                        ", for it reached its bound of {} MiB of memory",
                        bytes_max >> 20
                    ));
                }
            }
            let now = self.clock.now();
            self.supervisor
                .handle_input(now, Input::Exited { pid, how });
        }
        self.do_outputs();
    }

    /// The bound of its memory that the role in this seat died of.
    fn reached_bound(&self, at: usize) -> Option<u64> {
        let policy = policy(self.seats.get(at)?.role)?;
        self.setup.groups.as_ref()?.reached(policy)
    }

    fn clear_seat(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let role = seat.role;
        let rest = seat.lines.finish();
        seat.channel = None;
        seat.pipe = None;
        if let Some((level, text)) = rest {
            self.add_line(role, level, text);
        }
    }

    fn do_outputs(&mut self) {
        while let Some(output) = self.supervisor.poll_output() {
            match output {
                Output::Spawn(role) => self.spawn(role),
                Output::Connect { one, other, kind } => self.connect(one, other, kind),
                Output::Ping { role, n } => self.send(role, &FromInit::Ping { n }, Vec::new()),
                Output::Stop(role) => self.send(role, &FromInit::Stop, Vec::new()),
                Output::Kill { role, pid, why } => {
                    log::warn!("{role} is killed: {why}");
                    let pid = Pid::from_raw(pid.try_into().unwrap_or(0));
                    // 0 would be our own group; a pid of ours is never that.
                    if pid.as_raw() > 0
                        && let Err(errno) = kill(pid, Signal::SIGKILL)
                    {
                        log::error!("killing {role} failed: {errno}");
                    }
                }
                Output::Crashed {
                    role,
                    pid,
                    how,
                    pause,
                } => self.on_crash(role, pid, &how, pause),
                Output::AllReady => self.on_all_ready(),
                Output::AllStopped => self.ended = true,
            }
        }
    }

    fn on_all_ready(&mut self) {
        log::info!("ready");
    }

    fn on_crash(&mut self, role: RoleName, pid: u32, how: &str, pause: Duration) {
        log::error!(
            "{role} (process {pid}) ended: {how}; it starts again in {} ms",
            pause.as_millis()
        );
        if role == RoleName::Controld {
            self.after_controld();
        }
        self.take_own_lines();
        let last = self.logs.newest(Some(role), CRASH_LINES);
        self.crashes += 1;
        let name = format!(
            "{}-{:03}-{role}.txt",
            self.setup.start.boot_id.get(..8).unwrap_or("boot"),
            self.crashes
        );
        let now = self.clock.now();
        if let Some(files) = &mut self.setup.files
            && let Err(error) = files.crash(now, role, &name, how, &last)
        {
            log::warn!("the crash record could not be kept: {error}");
        }
    }

    fn connect(&mut self, one: RoleName, other: RoleName, kind: ChannelKind) {
        let (first, second) = match channel::pair() {
            Ok(ends) => ends,
            Err(error) => {
                log::error!("no pair for {one} and {other}: {error}");
                return;
            }
        };
        let message = |with| FromInit::Channel { with, kind };
        self.send(one, &message(other), vec![first]);
        self.send(other, &message(one), vec![second]);
    }

    /// Never blocks: a role that lets its queue fill is killed, and starts again in order.
    fn send(&mut self, role: RoleName, message: &FromInit, fds: Vec<OwnedFd>) {
        let Some(at) = self.seats.iter().position(|seat| seat.role == role) else {
            return;
        };
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let Some(channel) = &mut seat.channel else {
            return;
        };
        match channel.send_with(message, fds) {
            Ok(()) => self.watch(at),
            Err(error) => self.on_channel_error(at, &error),
        }
    }

    /// Watches a channel for writing exactly while something waits in it.
    fn watch(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let Some(channel) = &seat.channel else { return };
        let write = channel.wants_write();
        if write != seat.watched_for_write {
            seat.watched_for_write = write;
            let interest = Interest { read: true, write };
            let token = CHANNEL + at as Token;
            if let Err(error) = self.poller.modify(channel, token, interest) {
                log::error!("watching {} failed: {error}", seat.role);
            }
        }
    }

    fn on_channel(&mut self, at: usize, event: Event) {
        if event.writable
            && let Some(channel) = self.seats.get_mut(at).and_then(|s| s.channel.as_mut())
        {
            match channel.flush() {
                Ok(()) => self.watch(at),
                Err(error) => self.on_channel_error(at, &error),
            }
        }
        for _ in 0..MESSAGES_A_TURN {
            let Some(seat) = self.seats.get_mut(at) else {
                return;
            };
            let role = seat.role;
            let Some(channel) = &mut seat.channel else {
                return;
            };
            match channel.recv() {
                // Descriptors that come along are closed: no message of a role carries any.
                Ok(Some((message, _))) => self.on_message(at, role, message),
                Ok(None) => return,
                Err(error) => return self.on_channel_error(at, &error),
            }
        }
    }

    fn on_channel_error(&mut self, at: usize, error: &ChannelError) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let role = seat.role;
        seat.channel = None;
        let now = self.clock.now();
        let input = match error {
            ChannelError::Closed => Input::HungUp(role),
            error => Input::Unreachable {
                role,
                why: format!("its channel failed: {}", chain(error)),
            },
        };
        self.supervisor.handle_input(now, input);
    }
}

impl Seat {
    fn new(role: RoleName) -> Self {
        Self {
            role,
            channel: None,
            watched_for_write: false,
            pipe: None,
            lines: Lines::default(),
            refused_requests: 0,
            probed: false,
        }
    }
}

fn exit_words(status: i32) -> String {
    if status == lintel_rt::sandbox::REFUSED_CALL_EXIT {
        "it made a system call that its sandbox refuses".to_owned()
    } else {
        format!("exit status {status}")
    }
}

/// An error with its sources, for one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
