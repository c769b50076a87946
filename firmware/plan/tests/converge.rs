//! The machine that keeps at a plan, against the fake kernel with virtual time.

use embassy_time::{Duration, Instant};
use lintel_model::config::Config;
use lintel_model::desired::DesiredState;
use lintel_model::facts::Facts;
use lintel_model::observed::ObservedState;
use lintel_plan::converge::{
    ANSWER_MAX, ApplyError, BACKOFF_MIN, Converge, Event, FAILURES_MAX, REFUSED_RETRY,
};
use lintel_plan::fake::{FakeKernel, port};
use lintel_plan::resolve;

/// netd, the kernel and a clock.
struct Bench {
    machine: Converge,
    kernel: FakeKernel,
    now: Instant,
    /// Refuse every plan that touches this link's MTU.
    refuse_mtu: Option<u32>,
    plans: usize,
}

impl Bench {
    fn new() -> Self {
        let links = (0..2).filter_map(|n| Some(port(format!("eth{n}").parse().ok()?, n + 2)));
        let state = ObservedState {
            links: links.collect(),
            ..ObservedState::default()
        };
        Self {
            machine: Converge::new(),
            kernel: FakeKernel::new(state),
            now: Instant::from_secs(1),
            refuse_mtu: None,
            plans: 0,
        }
    }

    fn wish(&self, mtu: u32) -> DesiredState {
        let facts = Facts {
            links: self.kernel.state.links.clone(),
            detected_wan: "eth0".parse().ok(),
            ..Facts::default()
        };
        let mut desired = resolve(&Config::default(), &facts).kernel;
        for link in &mut desired.links {
            link.mtu = link.mtu.map(|_| mtu);
        }
        desired
    }

    fn look(&mut self) {
        self.machine
            .handle_observed(self.now, self.kernel.state.clone());
    }

    /// Answers plans until the machine sends none; returns what it told.
    fn drain(&mut self) -> Vec<Event> {
        while let Some(plan) = self.machine.poll(self.now) {
            self.plans += 1;
            assert!(self.plans < 1000, "no end");
            let mtu = self.refuse_mtu;
            let refused = plan.steps.iter().position(|step| {
                mtu.is_some()
                    && step
                        .action
                        .to_string()
                        .contains(&format!("MTU {}", mtu.unwrap_or_default()))
            });
            let mut part = plan.clone();
            part.steps.truncate(refused.unwrap_or(plan.steps.len()));
            let done = self
                .kernel
                .apply(&part)
                .map_err(|(index, refusal)| ApplyError::Step {
                    index,
                    text: refusal.to_string(),
                });
            let result = match refused {
                Some(index) => done.and(Err(ApplyError::Step {
                    index,
                    text: "EINVAL".to_owned(),
                })),
                None => done,
            };
            self.machine.handle_applied(self.now, result);
            self.look();
        }
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    fn sleep(&mut self) {
        let deadline = self.machine.next_deadline();
        self.now = deadline.map_or(self.now, |at| at.max(self.now));
    }
}

#[test]
fn it_settles_and_then_keeps_quiet() {
    let mut bench = Bench::new();
    assert_eq!(bench.machine.poll(bench.now), None);
    bench.machine.set_desired(bench.now, bench.wish(1500));
    assert_eq!(
        bench.machine.poll(bench.now),
        None,
        "nothing is known of the kernel yet"
    );
    bench.look();
    assert_eq!(bench.drain(), [Event::Settled]);
    assert_eq!(bench.plans, 1);
    assert!(bench.machine.is_settled());
    let writes = bench.kernel.writes;
    bench.machine.set_desired(bench.now, bench.wish(1500));
    bench.look();
    assert_eq!(bench.drain(), []);
    assert_eq!(bench.kernel.writes, writes);
    assert_eq!(bench.machine.next_deadline(), None);
}

#[test]
fn what_others_change_is_made_good() {
    let mut bench = Bench::new();
    bench.machine.set_desired(bench.now, bench.wish(1500));
    bench.look();
    bench.drain();
    bench.kernel.state.nft = None;
    bench.look();
    assert_eq!(bench.drain(), [Event::Settled]);
    assert!(bench.kernel.state.nft.is_some());
}

#[test]
fn a_failed_step_is_tried_again_later() {
    let mut bench = Bench::new();
    bench.kernel.fail_after = Some(14);
    bench.machine.set_desired(bench.now, bench.wish(1500));
    bench.look();
    let events = bench.drain();
    let [
        Event::Failed {
            step, failures: 1, ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(step.is_some());
    assert_eq!(bench.machine.next_deadline(), Some(bench.now + BACKOFF_MIN));
    bench.sleep();
    assert_eq!(bench.drain(), [Event::Settled]);
}

/// Found by fuzzing: netd was away when the back-off ended.
#[test]
fn a_deadline_that_was_met_is_not_named_again() {
    let mut bench = Bench::new();
    bench.kernel.fail_after = Some(14);
    bench.machine.set_desired(bench.now, bench.wish(1500));
    bench.look();
    bench.drain();
    bench.machine.handle_lost();
    bench.sleep();
    assert_eq!(bench.machine.poll(bench.now), None);
    assert_eq!(bench.machine.next_deadline(), None);
    bench.look();
    assert_eq!(bench.drain(), [Event::Settled]);
}

#[test]
fn what_is_refused_again_and_again_is_rolled_back() {
    let mut bench = Bench::new();
    let good = bench.wish(1500);
    bench.machine.set_desired(bench.now, good.clone());
    bench.look();
    bench.drain();
    bench.refuse_mtu = Some(1492);
    let refused = bench.wish(1492);
    bench.machine.set_desired(bench.now, refused.clone());
    let mut events = bench.drain();
    for _ in 1..FAILURES_MAX {
        bench.sleep();
        events.extend(bench.drain());
    }
    let failed = events
        .iter()
        .filter(|e| matches!(e, Event::Failed { .. }))
        .count();
    assert_eq!(failed, usize::try_from(FAILURES_MAX).unwrap());
    assert_eq!(events[failed..], [Event::RolledBack, Event::Settled]);
    assert_eq!(bench.machine.target(), Some(&good));
    assert!(!bench.machine.is_settled());
    // The same wish changes nothing; after a while the machine tries it by itself.
    bench.machine.set_desired(bench.now, refused.clone());
    assert_eq!(bench.drain(), []);
    bench.refuse_mtu = None;
    assert_eq!(
        bench.machine.next_deadline(),
        Some(bench.now + REFUSED_RETRY)
    );
    bench.sleep();
    assert_eq!(bench.drain(), [Event::Settled]);
    assert_eq!(bench.machine.target(), Some(&refused));
    assert!(bench.machine.is_settled());
}

#[test]
fn silence_is_a_failure_and_a_lost_session_is_not() {
    let mut bench = Bench::new();
    bench.machine.set_desired(bench.now, bench.wish(1500));
    bench.look();
    assert!(bench.machine.poll(bench.now).is_some());
    assert_eq!(bench.machine.poll(bench.now), None, "one plan at a time");
    bench.now += ANSWER_MAX + Duration::from_millis(1);
    assert_eq!(bench.machine.poll(bench.now), None);
    assert!(matches!(
        bench.machine.poll_event(),
        Some(Event::Failed {
            error: ApplyError::Silence,
            ..
        })
    ));
    bench.machine.handle_lost();
    bench.look();
    bench.sleep();
    assert_eq!(bench.drain(), [Event::Settled]);
}

#[test]
fn a_kernel_that_does_not_keep_what_is_set_is_not_asked_for_ever() {
    let mut bench = Bench::new();
    bench.machine.set_desired(bench.now, bench.wish(1500));
    let stubborn = bench.kernel.state.clone();
    bench.look();
    let mut sent = 0;
    while let Some(_plan) = bench.machine.poll(bench.now) {
        sent += 1;
        assert!(sent < 100);
        bench.machine.handle_applied(bench.now, Ok(()));
        bench.machine.handle_observed(bench.now, stubborn.clone());
    }
    assert!(matches!(
        bench.machine.poll_event(),
        Some(Event::Failed {
            error: ApplyError::NotKept,
            step: Some(_),
            ..
        })
    ));
    assert!(bench.machine.next_deadline().is_some());
}
