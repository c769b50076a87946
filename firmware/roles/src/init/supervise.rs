//! Who runs, who is asked to end, who comes back and when: pure, time is an argument.
//!
//! ```text
//!             spawned            ready
//!  BackingOff ───────► Starting ───────► Ready
//!      ▲  ▲               │ late           │ silent, asked to restart, or all stop
//!      │  │ not spawned   │ kill           ▼
//!      │  └───────────────┤             Stopping ── late: kill
//!      │        ended     │                │
//!      └──────────────────┴────────────────┴──► (all stop) Stopped
//! ```
//! `ended` is the only way out of a running state: a kill is a request to the kernel, and the
//! role counts as running until it was reaped. After a spawn every pair of descriptors with a
//! running partner is made anew, which makes a crash, a restart and a first start one path.

use std::collections::VecDeque;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::{ChannelKind, ServiceState};
use lintel_model::RoleName;
use lintel_rt::table::LINKS;

/// Pause after the second death in a row, after which it doubles. The first death of a role that
/// had recovered costs no pause at all: whoever waits for its service should not notice.
pub const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a role that dies at every start costs two spawns a minute.
pub const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A role that served this long has recovered, and its next death counts as the first.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(60);
/// From spawn to `Ready`. The slowest is controld with a database to recover on an SD card.
pub const READY_MAX: Duration = Duration::from_secs(30);
/// Between two pings of a role that answers.
pub const PING_EVERY: Duration = Duration::from_secs(5);
/// A role that answers no ping for this long hangs. A durable write to a bad SD card may take
/// seconds, so this is generous: a hang is rare, and a needless kill costs sessions.
pub const PONG_MAX: Duration = Duration::from_secs(20);
/// From `Stop` to the kill; the role promises two seconds.
pub const STOP_MAX: Duration = Duration::from_secs(3);

/// From the closing of a channel to the kill: the kernel closes descriptors before it tells of
/// the death, and how the role really ended is worth more than our signal.
pub const HANG_UP_MAX: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The role's process exists.
    Spawned {
        /// Which.
        role: RoleName,
        /// Its process number.
        pid: u32,
    },
    /// The role's process could not be made.
    NotSpawned {
        /// Which.
        role: RoleName,
        /// Why, in words.
        why: String,
    },
    /// The role said that it serves.
    Ready(RoleName),
    /// The role answered a ping.
    Pong {
        /// Which.
        role: RoleName,
        /// From the ping.
        n: u64,
    },
    /// The role closed its channel: it is ending, or will be ended.
    HungUp(RoleName),
    /// The role's channel broke or its queue is full: it cannot be talked to.
    Unreachable {
        /// Which.
        role: RoleName,
        /// Why, in words.
        why: String,
    },
    /// A process was reaped.
    Exited {
        /// Its number.
        pid: u32,
        /// How it ended, in words.
        how: String,
    },
    /// Somebody wants the role to start anew, or to start, if it is halted.
    Restart(RoleName),
    /// Somebody wants the role to end, and not to start before somebody wants that too.
    Halt(RoleName),
    /// Everything shall end.
    StopAll,
}

/// What the shell shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Start the role's process and say `Spawned` or `NotSpawned`.
    Spawn(RoleName),
    /// Make a pair and give each its end.
    Connect {
        /// One end; the speaker of a one-way pair.
        one: RoleName,
        /// The other end.
        other: RoleName,
        /// What for.
        kind: ChannelKind,
    },
    /// Send `Ping`.
    Ping {
        /// To whom.
        role: RoleName,
        /// Number to be repeated.
        n: u64,
    },
    /// Send `Stop`.
    Stop(RoleName),
    /// Send SIGKILL.
    Kill {
        /// To whom.
        role: RoleName,
        /// Its process number.
        pid: u32,
        /// Why, in words.
        why: String,
    },
    /// The role ended though nobody asked it to: keep a record.
    Crashed {
        /// Which.
        role: RoleName,
        /// Its process number.
        pid: u32,
        /// How, in words.
        how: String,
        /// Until the next start.
        pause: Duration,
    },
    /// Every role serves, for the first time.
    AllReady,
    /// Every role ended after `StopAll`.
    AllStopped,
}

/// A role as the supervisor sees it.
#[derive(Debug, Clone)]
pub struct Life {
    /// Which.
    pub role: RoleName,
    state: State,
    /// Spawns since boot.
    spawns: u32,
    /// Deaths in a row, each before the role had recovered.
    deaths: u32,
    /// How it last ended, in words.
    pub last_exit: Option<String>,
    /// Why we killed it, until it is reaped.
    killed_for: Option<String>,
    /// It closed its channel, and is killed at this time if it still lives.
    hung_up: Option<Instant>,
    /// It is not to run.
    halted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for what it cannot start without.
    Held,
    /// Not running; to be spawned at `until`.
    BackingOff {
        until: Instant,
    },
    /// `Spawn` was put out, the answer is awaited.
    Spawning,
    Starting {
        pid: u32,
        since: Instant,
        killed: bool,
    },
    Ready {
        pid: u32,
        since: Instant,
        /// When the oldest ping left that nothing was heard after. The time counts from there and
        /// not from the last answer: that we did not ask, for we were held up, is not its hang.
        asked: Option<Instant>,
        /// When the next ping leaves.
        ping_at: Instant,
        killed: bool,
    },
    Stopping {
        pid: u32,
        since: Instant,
        killed: bool,
    },
    Stopped,
}

/// The machine.
#[derive(Debug)]
pub struct Supervisor {
    lives: Vec<Life>,
    out: VecDeque<Output>,
    pings: u64,
    stopping: bool,
    all_ready_told: bool,
    all_stopped_told: bool,
}

impl Supervisor {
    /// A supervisor that starts `roles` at its first timeout, in that order.
    pub fn new(now: Instant, roles: &[RoleName]) -> Self {
        let lives = roles
            .iter()
            .map(|&role| Life {
                role,
                state: State::BackingOff { until: now },
                spawns: 0,
                deaths: 0,
                last_exit: None,
                killed_for: None,
                hung_up: None,
                halted: false,
            })
            .collect();
        Self {
            lives,
            out: VecDeque::new(),
            pings: 0,
            stopping: false,
            all_ready_told: false,
            all_stopped_told: false,
        }
    }

    /// Keeps a role from its first start until [`Self::release`].
    pub fn hold(&mut self, role: RoleName) {
        if let Some(life) = self.life_mut(role)
            && matches!(life.state, State::BackingOff { .. })
        {
            life.state = State::Held;
        }
    }

    /// Lets a role start with the next timeout, if it is held.
    pub fn release(&mut self, now: Instant, role: RoleName) {
        if let Some(life) = self.life_mut(role)
            && life.state == State::Held
        {
            life.state = State::BackingOff { until: now };
        }
    }

    /// Whether this is the first start of a role.
    pub fn is_first(&self, role: RoleName) -> bool {
        let life = self.lives.iter().find(|life| life.role == role);
        life.is_some_and(|life| life.spawns == 1)
    }

    /// Whether a role is away that served until a moment ago. One that falls again and again is
    /// not: its starts are no gain for anybody.
    pub fn is_missed(&self, role: RoleName) -> bool {
        let life = self.lives.iter().find(|life| life.role == role);
        life.is_some_and(|life| life.spawns > 1 && life.deaths <= 1)
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Spawned { role, pid } => self.on_spawned(now, role, pid),
            Input::NotSpawned { role, why } => {
                let stopping = self.stopping;
                if let Some(life) = self.life_mut(role) {
                    life.last_exit = Some(why);
                    if stopping || life.halted {
                        life.state = State::Stopped;
                    } else {
                        life.back_off(now);
                    }
                }
                self.tell_all_stopped();
            }
            Input::Ready(role) => self.on_ready(now, role),
            Input::Pong { role, n } => {
                // An answer to an older ping is a sign of life too, an invented one is not.
                let known = n <= self.pings;
                if let Some(life) = self.life_mut(role)
                    && let State::Ready { asked, .. } = &mut life.state
                    && known
                {
                    *asked = None;
                }
            }
            Input::HungUp(role) => {
                if let Some(life) = self.life_mut(role)
                    && life.pid().is_some()
                {
                    life.hung_up = Some(now + HANG_UP_MAX);
                }
            }
            Input::Unreachable { role, why } => self.kill(role, why),
            Input::Exited { pid, how } => self.on_exited(now, pid, how),
            Input::Restart(role) => {
                if let Some(life) = self.life_mut(role) {
                    life.halted = false;
                }
                self.stop(now, role);
            }
            Input::Halt(role) => {
                if let Some(life) = self.life_mut(role) {
                    life.halted = true;
                }
                self.stop(now, role);
            }
            Input::StopAll => {
                self.stopping = true;
                let roles: Vec<RoleName> = self.lives.iter().map(|life| life.role).collect();
                for role in roles {
                    self.stop(now, role);
                }
                self.tell_all_stopped();
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut kills = Vec::new();
        for life in &mut self.lives {
            if life.hung_up.is_some_and(|at| at <= now) {
                life.hung_up = None;
                kills.push((life.role, "it closed its channel and went on".to_owned()));
            }
            match &mut life.state {
                State::BackingOff { until } if *until <= now => {
                    life.state = State::Spawning;
                    life.spawns = life.spawns.saturating_add(1);
                    self.out.push_back(Output::Spawn(life.role));
                }
                State::Starting { since, killed, .. } if !*killed && now >= *since + READY_MAX => {
                    kills.push((life.role, "it did not become ready in time".to_owned()));
                }
                State::Ready {
                    asked,
                    ping_at,
                    killed,
                    ..
                } if !*killed => {
                    if asked.is_some_and(|asked| now >= asked + PONG_MAX) {
                        kills.push((life.role, "it hangs: no answer to our pings".to_owned()));
                    } else if now >= *ping_at {
                        asked.get_or_insert(now);
                        *ping_at = now + PING_EVERY;
                        self.pings += 1;
                        self.out.push_back(Output::Ping {
                            role: life.role,
                            n: self.pings,
                        });
                    }
                }
                State::Stopping { since, killed, .. } if !*killed && now >= *since + STOP_MAX => {
                    kills.push((life.role, "it did not stop in time".to_owned()));
                }
                _ => {}
            }
        }
        for (role, why) in kills {
            self.kill(role, why);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn timeout(&self) -> Option<Instant> {
        self.lives.iter().filter_map(Life::timeout).min()
    }

    /// The roles, in the table's order.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// Process number of a role that runs.
    pub fn pid(&self, role: RoleName) -> Option<u32> {
        self.lives.iter().find(|life| life.role == role)?.pid()
    }

    fn life_mut(&mut self, role: RoleName) -> Option<&mut Life> {
        self.lives.iter_mut().find(|life| life.role == role)
    }

    fn on_spawned(&mut self, now: Instant, role: RoleName, pid: u32) {
        let stopping = self.stopping;
        let Some(life) = self.life_mut(role) else {
            return;
        };
        life.state = State::Starting {
            pid,
            since: now,
            killed: false,
        };
        if stopping || life.halted {
            self.stop(now, role);
            return;
        }
        for (one, other, kind) in LINKS {
            let partner = if one == role {
                other
            } else if other == role {
                one
            } else {
                continue;
            };
            if self.pid(partner).is_some() {
                self.out.push_back(Output::Connect { one, other, kind });
            }
        }
    }

    fn on_ready(&mut self, now: Instant, role: RoleName) {
        if let Some(life) = self.life_mut(role)
            && let State::Starting {
                pid, killed: false, ..
            } = life.state
        {
            life.state = State::Ready {
                pid,
                since: now,
                asked: None,
                ping_at: now + PING_EVERY,
                killed: false,
            };
        }
        let ready = |life: &Life| matches!(life.state, State::Ready { .. });
        if !self.all_ready_told && self.lives.iter().all(ready) {
            self.all_ready_told = true;
            self.out.push_back(Output::AllReady);
        }
    }

    fn on_exited(&mut self, now: Instant, pid: u32, how: String) {
        let stopping = self.stopping;
        let Some(life) = self.lives.iter_mut().find(|life| life.pid() == Some(pid)) else {
            return; // an orphan
        };
        let asked = matches!(life.state, State::Stopping { .. });
        if let State::Ready { since, .. } = life.state
            && now >= since + RECOVERED_AFTER
        {
            life.deaths = 0;
        }
        life.hung_up = None;
        let how = match life.killed_for.take() {
            Some(why) => format!("{how}: {why}"),
            None => how,
        };
        life.last_exit = Some(how.clone());
        if stopping || (life.halted && asked) {
            life.state = State::Stopped;
        } else if asked {
            life.state = State::BackingOff { until: now };
        } else {
            let pause = life.back_off(now);
            let role = life.role;
            self.out.push_back(Output::Crashed {
                role,
                pid,
                how,
                pause,
            });
        }
        self.tell_all_stopped();
    }

    fn stop(&mut self, now: Instant, role: RoleName) {
        let stopping = self.stopping;
        let Some(life) = self.life_mut(role) else {
            return;
        };
        match life.state {
            State::Starting { pid, killed, .. } | State::Ready { pid, killed, .. } => {
                life.state = State::Stopping {
                    pid,
                    since: now,
                    killed,
                };
                self.out.push_back(Output::Stop(role));
            }
            State::Held | State::BackingOff { .. } if stopping || life.halted => {
                life.state = State::Stopped;
            }
            State::BackingOff { .. } => life.state = State::BackingOff { until: now },
            State::Stopped if !stopping && !life.halted => {
                life.deaths = 0;
                life.state = State::BackingOff { until: now };
            }
            State::Held | State::Spawning | State::Stopping { .. } | State::Stopped => {}
        }
    }

    fn kill(&mut self, role: RoleName, why: String) {
        let Some(life) = self.life_mut(role) else {
            return;
        };
        let Some(pid) = life.pid() else { return };
        match &mut life.state {
            State::Starting { killed, .. }
            | State::Ready { killed, .. }
            | State::Stopping { killed, .. }
                if !*killed =>
            {
                *killed = true;
                life.killed_for = Some(why.clone());
                self.out.push_back(Output::Kill { role, pid, why });
            }
            _ => {}
        }
    }

    fn tell_all_stopped(&mut self) {
        let stopped = |life: &Life| life.state == State::Stopped;
        if self.stopping && !self.all_stopped_told && self.lives.iter().all(stopped) {
            self.all_stopped_told = true;
            self.out.push_back(Output::AllStopped);
        }
    }
}

impl Life {
    /// Process number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Starting { pid, .. }
            | State::Ready { pid, .. }
            | State::Stopping { pid, .. } => Some(pid),
            State::Held | State::BackingOff { .. } | State::Spawning | State::Stopped => None,
        }
    }

    /// When it became ready.
    pub fn ready_since(&self) -> Option<Instant> {
        match self.state {
            State::Ready { since, .. } => Some(since),
            _ => None,
        }
    }

    /// The state, as it is told to others.
    pub fn service_state(&self) -> ServiceState {
        match self.state {
            State::BackingOff { .. } => ServiceState::BackingOff,
            State::Held | State::Spawning | State::Starting { .. } => ServiceState::Starting,
            State::Ready { .. } => ServiceState::Ready,
            State::Stopping { .. } => ServiceState::Stopping,
            State::Stopped => ServiceState::Stopped,
        }
    }

    /// Spawns since boot, less the first.
    pub fn restarts(&self) -> u32 {
        self.spawns.saturating_sub(1)
    }

    fn timeout(&self) -> Option<Instant> {
        let state = self.state_timeout();
        self.hung_up.into_iter().chain(state).min()
    }

    fn state_timeout(&self) -> Option<Instant> {
        match self.state {
            State::BackingOff { until } => Some(until),
            State::Starting {
                since,
                killed: false,
                ..
            } => Some(since + READY_MAX),
            State::Ready {
                ping_at,
                asked,
                killed: false,
                ..
            } => Some(asked.map_or(ping_at, |asked| ping_at.min(asked + PONG_MAX))),
            State::Stopping {
                since,
                killed: false,
                ..
            } => Some(since + STOP_MAX),
            _ => None,
        }
    }

    /// None after the first death, then a pause that doubles with each death in a row.
    fn back_off(&mut self, now: Instant) -> Duration {
        let pause = match self.deaths.checked_sub(1) {
            None => Duration::MIN,
            Some(doublings) => {
                (RESTART_PAUSE_MIN * (1 << doublings.min(16))).min(RESTART_PAUSE_MAX)
            }
        };
        self.deaths = self.deaths.saturating_add(1);
        self.state = State::BackingOff { until: now + pause };
        pause
    }
}

#[cfg(test)]
mod tests;
