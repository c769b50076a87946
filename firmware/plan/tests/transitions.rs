//! From one configuration to another: the same kernel as on a fresh box, and whatever fails on the
//! way, exactly the one or exactly the other in the end.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod worlds;

use embassy_time::{Duration, Instant};
use lintel_model::desired::DesiredState;
use lintel_model::observed::ObservedState;
use lintel_model::step::{Action, Plan};
use lintel_plan::converge::{ApplyError, Converge, Event};
use lintel_plan::diff;
use lintel_plan::fake::FakeKernel;
use proptest::prelude::*;
use worlds::{bare, wish, world};

/// What of a kernel's state a configuration decides, without what counts and what comes and goes.
fn decided(state: &ObservedState) -> ObservedState {
    let mut state = state.clone();
    for link in &mut state.links {
        // Given in the order of making.
        if link.kind == "bridge" {
            link.index = 0;
        }
        (link.rx_bytes, link.tx_bytes) = (0, 0);
    }
    state.links.sort_by(|a, b| a.name.cmp(&b.name));
    state.addresses.sort();
    state.routes.sort();
    state.sockets.sort();
    // Values stay as they were set for a link that has no work any more; they say nothing then.
    state.sysctls.clear();
    state
}

fn fresh(desired: &DesiredState) -> FakeKernel {
    let mut kernel = bare(3);
    kernel.apply(&diff(desired, &kernel.state)).unwrap();
    kernel
}

/// The machine that keeps at it, with a kernel that refuses one action for good.
struct House {
    machine: Converge,
    kernel: FakeKernel,
    now: Instant,
    refuses: Option<Action>,
    rolled_back: bool,
}

impl House {
    fn settled(desired: &DesiredState) -> Self {
        let mut one = Self {
            machine: Converge::new(),
            kernel: bare(3),
            now: Instant::from_secs(1),
            refuses: None,
            rolled_back: false,
        };
        one.take(desired);
        assert!(one.machine.is_settled());
        one
    }

    fn take(&mut self, desired: &DesiredState) {
        self.machine.set_desired(self.now, desired.clone());
        self.look();
        self.go_on(Duration::from_secs(50));
    }

    fn look(&mut self) {
        let seen = self.kernel.state.clone();
        self.machine.handle_observed(self.now, seen);
    }

    /// Answers plans until time is over.
    fn go_on(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 200, "no end");
            while let Some(plan) = self.machine.poll(self.now) {
                let result = self.apply(&plan);
                self.machine.handle_applied(self.now, result);
                self.look();
            }
            while let Some(event) = self.machine.poll_event() {
                self.rolled_back |= matches!(event, Event::RolledBack);
            }
            match self.machine.next_deadline() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return,
            }
            self.look();
        }
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        for (index, step) in plan.steps.iter().enumerate() {
            let refused = self.refuses.as_ref() == Some(&step.action);
            let done = if refused {
                Err("refused for good".to_owned())
            } else {
                self.kernel.step(step).map_err(|error| error.to_string())
            };
            done.map_err(|text| ApplyError::Step { index, text })?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn one_after_the_other_is_the_other_on_a_fresh_box(a in world(), b in world()) {
        let bare = bare(3);
        let (a, b) = (wish(&a, &bare), wish(&b, &bare));
        let mut kernel = fresh(&a);
        let plan = diff(&b, &kernel.state);
        prop_assert_eq!(kernel.apply(&plan), Ok(()));
        prop_assert_eq!(decided(&kernel.state), decided(&fresh(&b).state), "{}", plan.to_text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_step_that_is_refused_for_good_ends_in_exactly_the_old_or_the_new(
        a in world(),
        b in world(),
    ) {
        let bare = bare(3);
        let (a, b) = (wish(&a, &bare), wish(&b, &bare));
        let plan = diff(&b, &fresh(&a).state);
        for step in &plan.steps {
            let mut one = House::settled(&a);
            one.refuses = Some(step.action.clone());
            one.take(&b);
            let wanted = if one.rolled_back { &a } else { &b };
            prop_assert_eq!(
                decided(&one.kernel.state),
                decided(&fresh(wanted).state),
                "{} refused in:\n{}",
                &step.reason,
                plan.to_text()
            );
        }
    }

    #[test]
    fn a_write_that_fails_once_is_made_good(a in world(), b in world()) {
        let bare = bare(3);
        let (a, b) = (wish(&a, &bare), wish(&b, &bare));
        let mut one = House::settled(&a);
        let before = one.kernel.writes;
        one.take(&b);
        let writes = one.kernel.writes - before;
        for fail in 0..writes {
            let mut one = House::settled(&a);
            one.kernel.fail_after = Some(fail);
            one.machine.set_desired(one.now, b.clone());
            one.look();
            let plan = one.machine.poll(one.now).unwrap();
            let result = one.apply(&plan);
            one.kernel.fail_after = None;
            one.machine.handle_applied(one.now, result);
            one.look();
            one.go_on(Duration::from_secs(50));
            prop_assert_eq!(decided(&one.kernel.state), decided(&fresh(&b).state));
        }
    }
}
