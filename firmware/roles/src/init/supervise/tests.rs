//! Transitions, with a shell that spawns at once.

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
fn a_first_crash_comes_back_at_once_with_new_sessions() {
    let mut bench = Bench::serving();
    bench.die(RoleName::Wand);
    assert_eq!(bench.state(RoleName::Wand), ServiceState::BackingOff);
    assert!(matches!(bench.seen.as_slice(), [Output::Crashed { .. }]));
    bench.seen.clear();
    bench.pass(Duration::MIN);
    assert_eq!(bench.spawns_of(RoleName::Wand), 1);
    assert_eq!(bench.connects().len(), 2);
    assert!(!bench.seen.contains(&Output::AllReady));
    bench.die(RoleName::Wand);
    bench.pass(RESTART_PAUSE_MIN - Duration::from_ticks(1));
    assert_eq!(bench.spawns_of(RoleName::Wand), 1);
    bench.pass(Duration::from_ticks(1));
    assert_eq!(bench.spawns_of(RoleName::Wand), 2);
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
    // One at once, ten doublings to the longest pause, then two spawns a minute.
    assert!(bench.spawns_of(RoleName::Wand) <= 11 + 2 * 1_000 / 60 + 1);
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
        Output::Crashed { pause, .. } if *pause == Duration::MIN
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

#[test]
fn a_held_role_starts_when_it_is_released() {
    let now = Instant::from_secs(1);
    let mut machine = Supervisor::new(now, &ROLES);
    machine.hold(RoleName::Controld);
    machine.handle_timeout(now);
    let outputs =
        |machine: &mut Supervisor| std::iter::from_fn(|| machine.poll_output()).collect::<Vec<_>>();
    let others = [RoleName::Netd, RoleName::Wand].map(Output::Spawn);
    assert_eq!(outputs(&mut machine), others);
    machine.handle_timeout(now + RESTART_PAUSE_MAX);
    assert!(outputs(&mut machine).is_empty());
    machine.release(now, RoleName::Netd);
    machine.release(now, RoleName::Controld);
    machine.handle_timeout(now);
    assert_eq!(outputs(&mut machine), [Output::Spawn(RoleName::Controld)]);
}

#[test]
fn that_we_were_held_up_is_nobodys_hang() {
    let mut bench = Bench::serving();
    bench.pass_answering(PING_EVERY * 2, None);
    bench.now += PONG_MAX * 3;
    bench.machine.handle_timeout(bench.now);
    bench.drain();
    assert!(bench.seen.iter().all(|o| matches!(o, Output::Ping { .. })));
    bench.pass_answering(PONG_MAX * 3, None);
    assert!(ROLES.iter().all(|&r| bench.state(r) == ServiceState::Ready));
    assert!(bench.seen.is_empty(), "{:?}", bench.seen);
}

#[test]
fn a_role_is_missed_until_it_falls_again_and_again() {
    let mut bench = Bench::serving();
    assert!(!bench.machine.is_missed(RoleName::Wand));
    bench.die(RoleName::Wand);
    bench.pass(Duration::MIN);
    assert!(bench.machine.is_missed(RoleName::Wand));
    bench.die(RoleName::Wand);
    bench.pass(RESTART_PAUSE_MIN);
    assert!(!bench.machine.is_missed(RoleName::Wand));
}

#[test]
fn a_spawn_that_fails_while_all_stop_is_the_end_of_its_role() {
    let now = Instant::from_secs(1);
    let mut machine = Supervisor::new(now, &[RoleName::Netd]);
    machine.handle_timeout(now);
    assert_eq!(machine.poll_output(), Some(Output::Spawn(RoleName::Netd)));
    machine.handle_input(now, Input::StopAll);
    let why = "no memory".to_owned();
    let role = RoleName::Netd;
    machine.handle_input(now, Input::NotSpawned { role, why });
    machine.handle_input(now, Input::Restart(role));
    assert_eq!(machine.poll_output(), Some(Output::AllStopped));
    machine.handle_timeout(now + RESTART_PAUSE_MAX);
    assert_eq!(machine.poll_output(), None);
}

#[test]
fn a_halted_role_stays_away_until_it_is_wanted_again() {
    let mut bench = Bench::serving();
    bench.input(Input::Halt(RoleName::Wand));
    assert_eq!(bench.seen, [Output::Stop(RoleName::Wand)]);
    let pid = bench.machine.pid(RoleName::Wand).unwrap();
    let how = "exit status 0".to_owned();
    bench.input(Input::Exited { pid, how });
    bench.seen.clear();
    bench.pass(Duration::from_secs(2));
    assert!(!bench.seen.contains(&Output::Spawn(RoleName::Wand)));
    let state = |bench: &Bench| bench.machine.lives()[2].service_state();
    assert_eq!(state(&bench), ServiceState::Stopped);
    bench.input(Input::Halt(RoleName::Wand));
    bench.input(Input::Restart(RoleName::Wand));
    bench.pass(Duration::from_millis(10));
    assert!(bench.seen.contains(&Output::Spawn(RoleName::Wand)));
    // Who changes their mind before it ended gets a start.
    bench.input(Input::Ready(RoleName::Wand));
    bench.input(Input::Halt(RoleName::Wand));
    bench.input(Input::Restart(RoleName::Wand));
    let pid = bench.machine.pid(RoleName::Wand).unwrap();
    let how = "exit status 0".to_owned();
    bench.input(Input::Exited { pid, how });
    bench.pass(Duration::from_millis(10));
    assert_eq!(state(&bench), ServiceState::Starting);
    // One that falls again and again is halted in its pause.
    for _ in 0..3 {
        let pid = bench.machine.pid(RoleName::Wand).unwrap();
        let how = "killed".to_owned();
        bench.input(Input::Exited { pid, how });
        bench.pass(Duration::from_millis(60));
    }
    bench.input(Input::Halt(RoleName::Wand));
    if let Some(pid) = bench.machine.pid(RoleName::Wand) {
        let how = "exit status 0".to_owned();
        bench.input(Input::Exited { pid, how });
    }
    assert_eq!(state(&bench), ServiceState::Stopped);
    // And everything can end.
    bench.input(Input::StopAll);
    for role in [RoleName::Netd, RoleName::Controld] {
        let pid = bench.machine.pid(role).unwrap();
        let how = "exit status 0".to_owned();
        bench.input(Input::Exited { pid, how });
    }
    assert!(bench.seen.contains(&Output::AllStopped));
}
