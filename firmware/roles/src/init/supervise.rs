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

/// First pause after a death: long enough not to spin, too short for a householder to notice.
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
    /// Somebody wants the role to start anew.
    Restart(RoleName),
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
        /// When the last answer came, or the role became ready.
        heard: Instant,
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

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Spawned { role, pid } => self.on_spawned(now, role, pid),
            Input::NotSpawned { role, why } => {
                if let Some(life) = self.life_mut(role) {
                    life.last_exit = Some(why);
                    life.back_off(now);
                }
            }
            Input::Ready(role) => self.on_ready(now, role),
            Input::Pong { role, n } => {
                // An answer to an older ping is a sign of life too, an invented one is not.
                let known = n <= self.pings;
                if let Some(life) = self.life_mut(role)
                    && let State::Ready { heard, .. } = &mut life.state
                    && known
                {
                    *heard = now;
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
            Input::Restart(role) => self.stop(now, role),
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
                    heard,
                    ping_at,
                    killed,
                    ..
                } if !*killed => {
                    if now >= *heard + PONG_MAX + PING_EVERY {
                        kills.push((life.role, "it hangs: no answer to our pings".to_owned()));
                    } else if now >= *ping_at {
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
        if stopping {
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
                heard: now,
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
        if stopping {
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
            State::BackingOff { .. } if stopping => life.state = State::Stopped,
            State::BackingOff { .. } => life.state = State::BackingOff { until: now },
            State::Spawning | State::Stopping { .. } | State::Stopped => {}
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
            State::BackingOff { .. } | State::Spawning | State::Stopped => None,
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
            State::Spawning | State::Starting { .. } => ServiceState::Starting,
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
                heard,
                killed: false,
                ..
            } => Some(ping_at.min(heard + PONG_MAX + PING_EVERY)),
            State::Stopping {
                since,
                killed: false,
                ..
            } => Some(since + STOP_MAX),
            _ => None,
        }
    }

    /// The pause doubles with each death in a row.
    fn back_off(&mut self, now: Instant) -> Duration {
        let doublings = self.deaths.min(16);
        self.deaths = self.deaths.saturating_add(1);
        let pause = (RESTART_PAUSE_MIN * (1 << doublings)).min(RESTART_PAUSE_MAX);
        self.state = State::BackingOff { until: now + pause };
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [RoleName; 3] = [RoleName::Netd, RoleName::Controld, RoleName::Wand];

    /// A supervisor and its shell, which spawns at once and numbers processes from 100.
    struct Bench {
        now: Instant,
        machine: Supervisor,
        next_pid: u32,
        seen: Vec<Output>,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::from_secs(1);
            let machine = Supervisor::new(now, &ROLES);
            let mut bench = Self {
                now,
                machine,
                next_pid: 100,
                seen: Vec::new(),
            };
            bench.pass(Duration::MIN);
            bench
        }

        fn serving() -> Self {
            let mut bench = Self::new();
            for role in ROLES {
                bench.input(Input::Ready(role));
            }
            bench.seen.clear();
            bench
        }

        fn input(&mut self, input: Input) {
            self.machine.handle_input(self.now, input);
            self.drain();
        }

        fn drain(&mut self) {
            while let Some(output) = self.machine.poll_output() {
                if let Output::Spawn(role) = output {
                    let pid = self.next_pid;
                    self.next_pid += 1;
                    self.machine
                        .handle_input(self.now, Input::Spawned { role, pid });
                }
                self.seen.push(output);
            }
        }

        /// Time passes, deadline by deadline, and nobody says anything.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.machine.timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.machine.handle_timeout(self.now);
                self.drain();
            }
            self.now = end;
        }

        /// Time passes and every ping is answered but those of `silent`.
        fn pass_answering(&mut self, time: Duration, silent: Option<RoleName>) {
            let end = self.now + time;
            while self.now < end {
                self.pass(Duration::from_millis(500));
                let pings: Vec<(RoleName, u64)> = self
                    .seen
                    .iter()
                    .filter_map(|output| match output {
                        Output::Ping { role, n } if Some(*role) != silent => Some((*role, *n)),
                        _ => None,
                    })
                    .collect();
                self.seen.retain(|o| !matches!(o, Output::Ping { .. }));
                for (role, n) in pings {
                    self.input(Input::Pong { role, n });
                }
            }
        }

        fn die(&mut self, role: RoleName) {
            let pid = self.machine.pid(role).unwrap();
            self.input(Input::Exited {
                pid,
                how: "exit status 1".to_owned(),
            });
        }

        fn state(&self, role: RoleName) -> ServiceState {
            let life = self.machine.lives().iter().find(|l| l.role == role);
            life.unwrap().service_state()
        }

        fn spawns_of(&self, role: RoleName) -> usize {
            let spawn = |output: &&Output| **output == Output::Spawn(role);
            self.seen.iter().filter(spawn).count()
        }

        fn connects(&self) -> Vec<(RoleName, RoleName)> {
            self.seen
                .iter()
                .filter_map(|output| match output {
                    Output::Connect { one, other, .. } => Some((*one, *other)),
                    _ => None,
                })
                .collect()
        }
    }

    #[test]
    fn a_start_spawns_all_joins_each_pair_once_and_tells_when_all_serve() {
        let mut bench = Bench::new();
        assert!(ROLES.iter().all(|&role| bench.spawns_of(role) == 1));
        let mut connects = bench.connects();
        connects.sort();
        assert_eq!(
            connects,
            [
                (RoleName::Netd, RoleName::Wand),
                (RoleName::Controld, RoleName::Netd),
                (RoleName::Controld, RoleName::Wand),
            ]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
        for role in ROLES {
            assert!(!bench.seen.contains(&Output::AllReady));
            bench.input(Input::Ready(role));
        }
        assert!(bench.seen.contains(&Output::AllReady));
    }

    #[test]
    fn a_crash_comes_back_after_the_pause_with_new_sessions() {
        let mut bench = Bench::serving();
        bench.die(RoleName::Wand);
        assert_eq!(bench.state(RoleName::Wand), ServiceState::BackingOff);
        assert!(matches!(bench.seen.as_slice(), [Output::Crashed { .. }]));
        bench.seen.clear();
        bench.pass(RESTART_PAUSE_MIN);
        assert_eq!(bench.spawns_of(RoleName::Wand), 1);
        assert_eq!(bench.connects().len(), 2);
        assert!(!bench.seen.contains(&Output::AllReady));
    }

    #[test]
    fn a_storm_of_restarts_is_bounded() {
        let mut bench = Bench::serving();
        for _ in 0..1_000 {
            if bench.machine.pid(RoleName::Wand).is_some() {
                bench.die(RoleName::Wand);
            }
            bench.pass_answering(Duration::from_secs(1), None);
        }
        // Ten doublings reach the longest pause; then two spawns a minute.
        assert!(bench.spawns_of(RoleName::Wand) <= 10 + 2 * 1_000 / 60 + 1);
    }

    #[test]
    fn a_role_that_recovered_is_forgiven() {
        let mut bench = Bench::serving();
        for _ in 0..8 {
            bench.die(RoleName::Wand);
            bench.pass_answering(RESTART_PAUSE_MAX, None);
        }
        bench.input(Input::Ready(RoleName::Wand));
        bench.pass_answering(RECOVERED_AFTER, None);
        bench.seen.clear();
        bench.die(RoleName::Wand);
        assert!(bench.seen.iter().any(|output| matches!(
            output,
            Output::Crashed { pause, .. } if *pause == RESTART_PAUSE_MIN
        )));
    }

    #[test]
    fn a_role_that_never_becomes_ready_is_killed_once() {
        let mut bench = Bench::new();
        bench.input(Input::Ready(RoleName::Netd));
        bench.input(Input::Ready(RoleName::Controld));
        bench.pass_answering(READY_MAX * 2, None);
        let kills = bench
            .seen
            .iter()
            .filter(|output| matches!(output, Output::Kill { .. }));
        assert_eq!(kills.count(), 1);
        assert_eq!(bench.state(RoleName::Wand), ServiceState::Starting);
        bench.die(RoleName::Wand);
        assert_eq!(bench.state(RoleName::Wand), ServiceState::BackingOff);
    }

    #[test]
    fn a_role_that_hangs_is_killed_and_one_that_answers_is_not() {
        let mut bench = Bench::serving();
        bench.pass_answering(PONG_MAX * 3, Some(RoleName::Netd));
        let killed: Vec<RoleName> = bench
            .seen
            .iter()
            .filter_map(|output| match output {
                Output::Kill { role, .. } => Some(*role),
                _ => None,
            })
            .collect();
        assert_eq!(killed, [RoleName::Netd]);
    }

    #[test]
    fn a_role_that_hangs_up_has_a_moment_to_end_by_itself() {
        let mut bench = Bench::serving();
        let killed = |bench: &Bench| {
            let kill = |output: &Output| matches!(output, Output::Kill { .. });
            bench.seen.iter().any(kill)
        };
        bench.input(Input::HungUp(RoleName::Wand));
        bench.die(RoleName::Wand);
        bench.pass(HANG_UP_MAX);
        assert!(!killed(&bench));
        bench.input(Input::HungUp(RoleName::Netd));
        bench.pass(HANG_UP_MAX);
        assert!(killed(&bench));
    }

    #[test]
    fn an_invented_pong_is_no_sign_of_life() {
        let mut bench = Bench::serving();
        let end = bench.now + PONG_MAX * 3;
        while bench.now < end {
            bench.input(Input::Pong {
                role: RoleName::Netd,
                n: u64::MAX,
            });
            bench.pass(Duration::from_secs(1));
        }
        assert!(bench.seen.iter().any(|output| matches!(
            output,
            Output::Kill {
                role: RoleName::Netd,
                ..
            }
        )));
    }

    #[test]
    fn an_asked_restart_is_no_crash_and_waits_for_no_pause() {
        let mut bench = Bench::serving();
        bench.input(Input::Restart(RoleName::Netd));
        assert_eq!(bench.seen, [Output::Stop(RoleName::Netd)]);
        assert_eq!(bench.state(RoleName::Netd), ServiceState::Stopping);
        bench.die(RoleName::Netd);
        bench.pass(Duration::MIN);
        assert_eq!(bench.spawns_of(RoleName::Netd), 1);
        let crashed = |output: &Output| matches!(output, Output::Crashed { .. });
        assert!(!bench.seen.iter().any(crashed));
    }

    #[test]
    fn a_stop_that_is_not_heard_becomes_a_kill() {
        let mut bench = Bench::serving();
        bench.input(Input::StopAll);
        bench.die(RoleName::Netd);
        bench.die(RoleName::Wand);
        assert!(!bench.seen.contains(&Output::AllStopped));
        bench.pass(STOP_MAX);
        assert!(bench.seen.iter().any(|output| matches!(
            output,
            Output::Kill {
                role: RoleName::Controld,
                ..
            }
        )));
        bench.die(RoleName::Controld);
        assert_eq!(bench.seen.last(), Some(&Output::AllStopped));
        bench.pass(RESTART_PAUSE_MAX * 4);
        assert!(
            bench
                .machine
                .lives()
                .iter()
                .all(|life| life.pid().is_none())
        );
    }

    #[test]
    fn orphans_are_nobodys_death() {
        let mut bench = Bench::serving();
        bench.input(Input::Exited {
            pid: 7,
            how: String::new(),
        });
        assert!(bench.seen.is_empty());
    }
}
