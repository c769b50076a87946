//! What roles say to init, and what controld asks of it.

use lintel_ipc::init::{FromInit, InitReply, InitRequest, ServiceStatus, ToInit};
use lintel_model::RoleName;
use lintel_rt::proc_text;
use lintel_rt::spawn::{self, Isolation};
use lintel_rt::table::policy;

use super::{End, Shell};
use crate::init::faults;
use crate::init::log_files::Rotated;
use crate::init::logs::LINES_MAX;
use crate::init::supervise::Input;

/// Log lines handed to controld at once: all that are held, which is a megabyte at most and far
/// below a message's bound.
const REPLY_LINES_MAX: usize = LINES_MAX;

/// Without the others nobody could say that they are wanted again.
const CAN_HALT: [RoleName; 4] = [
    RoleName::Wand,
    RoleName::Dhcpd,
    RoleName::Dnsd,
    RoleName::Timed,
];

impl Shell {
    pub(super) fn on_message(&mut self, at: usize, role: RoleName, message: ToInit) {
        let now = self.clock.now();
        match message {
            ToInit::Ready => {
                log::info!("{role} is ready");
                self.settle(role);
                self.supervisor.handle_input(now, Input::Ready(role));
                if role == RoleName::Controld {
                    self.after_controld();
                }
                self.do_outputs();
                self.probe(at);
            }
            ToInit::Pong { n } => self.supervisor.handle_input(now, Input::Pong { role, n }),
            ToInit::Probed { probe, allowed } if self.setup.start.test => {
                let word = if allowed { "ALLOWED" } else { "refused" };
                let by_design = policy(role)
                    .is_some_and(|policy| policy.escapes_allowed.contains(&probe.as_str()));
                let note = if by_design { " by design" } else { "" };
                log::info!("escape {role} {probe} {word}{note}");
            }
            ToInit::Request { id, request } if role == RoleName::Controld => {
                let reply = self.on_request(request);
                self.send(role, &FromInit::Reply { id, reply }, Vec::new());
            }
            ToInit::Probed { .. } | ToInit::Request { .. } => {
                if let Some(seat) = self.seats.get_mut(at) {
                    seat.refused_requests += 1;
                    if seat.refused_requests.is_power_of_two() {
                        log::warn!("{role} sent what only another may send");
                    }
                }
            }
        }
    }

    fn on_request(&mut self, request: InitRequest) -> InitReply {
        match request {
            InitRequest::Services => InitReply::Services(self.services(true)),
            InitRequest::Logs { role, lines_max } => {
                self.take_own_lines();
                let lines_max = usize::try_from(lines_max).unwrap_or(REPLY_LINES_MAX);
                InitReply::Logs(self.logs.newest(role, lines_max.min(REPLY_LINES_MAX)))
            }
            InitRequest::LogStatistics => {
                self.take_own_lines();
                let mut statistics = self.logs.statistics();
                if let Some(files) = &self.setup.files {
                    files.add_statistics(&mut statistics);
                }
                InitReply::LogStatistics(statistics)
            }
            InitRequest::LogFile { name, offset } => {
                let files = self.setup.files.as_ref();
                match files.map(|files| files.read(&name, offset)) {
                    Some(Ok((text, next))) => InitReply::LogFile { text, next },
                    Some(Err(error)) => InitReply::Failed(format!("no such file: {error}")),
                    None => InitReply::Failed("there is no storage for it".to_owned()),
                }
            }
            InitRequest::RotateLogs => {
                self.take_own_lines();
                let now = self.clock.now();
                match self.setup.files.as_mut().map(|files| files.rotate(now)) {
                    Some(Ok(Rotated::Done)) => InitReply::Done,
                    Some(Ok(Rotated::TooSoon { wait_s })) => InitReply::TooSoon { wait_s },
                    Some(Err(error)) => InitReply::Failed(error.to_string()),
                    None => InitReply::Failed("there is no storage for it".to_owned()),
                }
            }
            InitRequest::Restart { role } if self.setup.roles.contains(&role) => {
                log::info!("{role} is restarted on request");
                let now = self.clock.now();
                self.supervisor.handle_input(now, Input::Restart(role));
                InitReply::Done
            }
            InitRequest::Halt { role } if !CAN_HALT.contains(&role) => {
                InitReply::Failed(format!("the box is not one without {role}"))
            }
            InitRequest::Halt { role } if self.setup.roles.contains(&role) => {
                log::warn!("{role} is stopped on request");
                let now = self.clock.now();
                self.supervisor.handle_input(now, Input::Halt(role));
                InitReply::Done
            }
            InitRequest::Restart { role } | InitRequest::Halt { role } => {
                InitReply::Failed(format!("{role} does not run here"))
            }
            InitRequest::Reboot => self.on_end(End::Reboot),
            InitRequest::PowerOff => self.on_end(End::PowerOff),
            InitRequest::ResetData => self.on_end(End::ResetData),
        }
    }

    fn on_end(&mut self, end: End) -> InitReply {
        if self.setup.isolation != Isolation::Boot {
            return InitReply::Failed("This is no box: end `lintel run` instead.".to_owned());
        }
        self.finish(end);
        InitReply::Done
    }

    /// Begins the orderly end; the loop ends when every role has.
    pub(super) fn finish(&mut self, end: End) {
        if self.end.is_none() {
            log::info!("stopping every role: {end:?}");
            self.end = Some(end);
            let now = self.clock.now();
            self.supervisor.handle_input(now, Input::StopAll);
        }
    }

    /// Every role; what it takes is a look into /proc for each.
    pub(super) fn services(&self, memory: bool) -> Vec<ServiceStatus> {
        let now = self.clock.now();
        self.supervisor
            .lives()
            .iter()
            .map(|life| ServiceStatus {
                name: life.role,
                state: life.service_state(),
                pid: life.pid(),
                ready_ms: life
                    .ready_since()
                    .and_then(|since| now.checked_duration_since(since))
                    .map(|time| time.as_millis()),
                restarts: life.restarts(),
                pss_kib: life.pid().filter(|_| memory).and_then(pss_kib),
                cpu_ms: life.pid().filter(|_| memory).and_then(cpu_ms),
                last_exit: life.last_exit.clone(),
            })
            .collect()
    }

    /// It serves: it hurries no longer.
    fn settle(&self, role: RoleName) {
        if let (Isolation::Boot, Some(policy), Some(pid)) = (
            self.setup.isolation,
            policy(role),
            self.supervisor.pid(role),
        ) && let Err(error) = spawn::settle(policy, pid)
        {
            log::warn!("{role} goes before the others: {error}");
        }
    }

    /// A fault on purpose, from the console of a test boot.
    pub(super) fn fault(&mut self) {
        let path = self.setup.start.run_dir.join(faults::FILE);
        let words = std::fs::read_to_string(path).unwrap_or_default();
        if !self.setup.start.test {
            return;
        }
        match words.split_whitespace().collect::<Vec<_>>()[..] {
            ["hang"] => {
                log::warn!("test: init hangs");
                self.take_own_lines();
                loop {
                    std::thread::park();
                }
            }
            ["leak", role] => {
                if let Ok(role) = role.parse() {
                    log::warn!("test: {role} leaks");
                    self.send(role, &FromInit::Leak, Vec::new());
                }
            }
            _ => log::warn!("test: {words} means nothing"),
        }
    }

    /// The escape test, where the command line of the kernel asks for it, once for each role.
    fn probe(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        if self.setup.start.test && self.setup.escape_test && !seat.probed {
            seat.probed = true;
            let role = seat.role;
            self.send(role, &FromInit::Probe, Vec::new());
        }
    }
}

/// /proc/PID/stat, `utime` and `stime`.
fn cpu_ms(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    proc_text::cpu_ms(&text)
}

/// Proportional set size: /proc/PID/smaps_rollup, `Pss:` in kibibytes.
fn pss_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    proc_text::number(&text, "Pss:")
}
