//! Keeps at it until the kernel holds what is desired.
//!
//! ```text
//!            set_desired / handle_observed            poll: a plan is due
//!   ┌─────────┐ ───────────────────────► ┌───────┐ ─────────────────────► ┌──────────┐
//!   │ waiting │                          │ ready │                        │ applying │
//!   └─────────┘ ◄─ handle_lost ───────── └───────┘ ◄── handle_observed ── └──────────┘
//!        ▲                                 │   ▲      (after handle_applied)    │
//!        │ no look at the kernel yet       │   │ back-off over                  │ step failed,
//!        │                                 ▼   │                                │ no answer,
//!        │                               settled                                │ same plan again
//!        │                                   ┌──────────┐                       │
//!        └───────────────────────────────────│ back-off │◄──────────────────────┘
//!                                            └──────────┘
//! ```
//!
//! After [`FAILURES_MAX`] failures in a row the machine goes back to the last state that the
//! kernel took (`RolledBack`): it diffs a fresh look against that one, the same way as any other
//! change. The refused state is tried again after [`REFUSED_RETRY`], unless another is set.
//!
//! How to drive it: call a `handle_*` or [`Converge::set_desired`], then drain
//! [`Converge::poll`] and [`Converge::poll_event`], then sleep until
//! [`Converge::next_deadline`]. One plan is on its way at a time. netd looks at the kernel after
//! each plan, failed or not; the machine decides by that look and never by what it believes to
//! have done. After [`ApplyError::Silence`] no look is on its way: ask netd for one.

use std::collections::VecDeque;

use embassy_time::{Duration, Instant};
use lintel_model::desired::DesiredState;
use lintel_model::observed::ObservedState;
use lintel_model::step::{Plan, Step};

use crate::diff::diff;

/// Failures in a row after which the last good state is taken again.
pub const FAILURES_MAX: u32 = 5;
/// Wait after the first failure; it doubles with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait between two tries.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Time after which a plan without an answer counts as failed. A bridge with ports takes 50 ms
/// to remove; a plan has tens of steps.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Wait until a refused state is tried again.
pub const REFUSED_RETRY: Duration = Duration::from_secs(60);
/// Plans for one desired state that changed something and still did not settle it. The kernel
/// takes a wish in two looks; what needs more flaps between two values.
pub const ROUNDS_MAX: u32 = 4;
/// Events kept until they are drained; the oldest go first.
const EVENTS_MAX: usize = 64;

/// Why a plan was not done to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused a step.
    #[error("step {} was refused: {text}", index + 1)]
    Step {
        /// Its index in the plan.
        index: usize,
        /// What the kernel said.
        text: String,
    },
    /// netd did not answer in time.
    #[error("no answer came within {} s", ANSWER_MAX.as_secs())]
    Silence,
    /// Every step was done, and the kernel still holds something else.
    #[error("the kernel does not keep what was set")]
    NotKept,
}

/// What the machine tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The kernel holds the desired state.
    Settled,
    /// A plan failed; it is tried again.
    Failed {
        /// The step it was, when one is to blame.
        step: Option<Box<Step>>,
        /// Why.
        error: ApplyError,
        /// Failures in a row, this one included.
        failures: u32,
    },
    /// The desired state was given up for now; the last good one is taken again.
    RolledBack,
}

/// The machine. See the module for its states.
#[derive(Debug, Default)]
pub struct Converge {
    /// What is wished for.
    wanted: Option<DesiredState>,
    /// The last state that the kernel took.
    good: Option<DesiredState>,
    /// Until when `good` is applied instead of `wanted`.
    refused_until: Option<Instant>,
    /// The last look, when no plan was sent since.
    observed: Option<ObservedState>,
    in_flight: Option<InFlight>,
    failures: u32,
    rounds: u32,
    retry_at: Option<Instant>,
    settled: bool,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct InFlight {
    plan: Plan,
    /// When silence becomes failure.
    until: Instant,
    /// `handle_applied` came; the look after it is awaited.
    applied: bool,
}

impl Converge {
    /// A machine that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another state is desired. The same one again changes nothing, also when it was refused.
    pub fn set_desired(&mut self, _now: Instant, desired: DesiredState) {
        if self.wanted.as_ref() == Some(&desired) {
            return;
        }
        self.wanted = Some(desired);
        self.refused_until = None;
        self.retry_at = None;
        self.failures = 0;
        self.rounds = 0;
        self.settled = false;
    }

    /// A whole look at the kernel. While a plan is on its way a look may be older than the
    /// plan's end, so it is not used before the answer came.
    pub fn handle_observed(&mut self, _now: Instant, observed: ObservedState) {
        match &self.in_flight {
            Some(plan) if !plan.applied => {}
            _ => {
                self.in_flight = None;
                self.observed = Some(observed);
            }
        }
    }

    /// The plan on its way has ended.
    pub fn handle_applied(&mut self, now: Instant, result: Result<(), ApplyError>) {
        let Some(mut flight) = self.in_flight.take() else {
            return;
        };
        if let Err(error) = result {
            self.fail(now, Some(&flight.plan), error);
        }
        flight.applied = true;
        flight.until = now + ANSWER_MAX;
        self.in_flight = Some(flight);
    }

    /// The session with netd ended: nothing is on its way, and nothing is known of the kernel.
    pub fn handle_lost(&mut self) {
        self.in_flight = None;
        self.observed = None;
    }

    /// The plan to send now, if any. It is then on its way until [`Self::handle_applied`] and
    /// the look after it.
    pub fn poll(&mut self, now: Instant) -> Option<Plan> {
        if let Some(flight) = self.in_flight.take_if(|flight| flight.until <= now) {
            self.fail(now, Some(&flight.plan), ApplyError::Silence);
        }
        if self.refused_until.is_some_and(|until| until <= now) {
            self.refused_until = None;
            self.failures = 0;
            self.settled = false;
        }
        // Met even when no look at the kernel is there to go on with: a deadline that stayed in
        // the past would wake the caller for ever.
        self.retry_at = self.retry_at.filter(|at| *at > now);
        if self.in_flight.is_some() || self.retry_at.is_some() {
            return None;
        }
        let target = self.target()?;
        let plan = diff(target, self.observed.as_ref()?);
        if plan.is_empty() {
            self.settle();
            return None;
        }
        if self.rounds >= ROUNDS_MAX {
            self.rounds = 0;
            self.fail(now, Some(&plan), ApplyError::NotKept);
            return None;
        }
        self.rounds += 1;
        self.settled = false;
        self.observed = None;
        self.in_flight = Some(InFlight {
            plan: plan.clone(),
            until: now + ANSWER_MAX,
            applied: false,
        });
        Some(plan)
    }

    /// The next thing that happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::poll`] again although nothing happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        let answer = self.in_flight.as_ref().map(|flight| flight.until);
        [answer, self.retry_at, self.refused_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the kernel held the wished-for state when last looked at.
    pub fn is_settled(&self) -> bool {
        self.settled && self.refused_until.is_none()
    }

    /// What is worked towards: the wish, or the last good state while the wish is refused.
    pub fn target(&self) -> Option<&DesiredState> {
        match self.refused_until {
            Some(_) => self.good.as_ref(),
            None => self.wanted.as_ref(),
        }
    }

    fn settle(&mut self) {
        self.failures = 0;
        self.rounds = 0;
        self.retry_at = None;
        if self.refused_until.is_none() && self.good != self.wanted {
            self.good.clone_from(&self.wanted);
        }
        if !self.settled {
            self.settled = true;
            self.tell(Event::Settled);
        }
    }

    fn fail(&mut self, now: Instant, plan: Option<&Plan>, error: ApplyError) {
        self.failures += 1;
        let step = match (&error, plan) {
            (ApplyError::Step { index, .. }, Some(plan)) => plan.steps.get(*index),
            (ApplyError::NotKept, Some(plan)) => plan.steps.first(),
            _ => None,
        };
        self.tell(Event::Failed {
            step: step.cloned().map(Box::new),
            error,
            failures: self.failures,
        });
        self.settled = false;
        self.rounds = 0;
        let doublings = self.failures.saturating_sub(1).min(16);
        let wait = BACKOFF_MIN
            .checked_mul(1 << doublings)
            .map_or(BACKOFF_MAX, |wait| wait.min(BACKOFF_MAX));
        self.retry_at = Some(now + wait);
        let fallback =
            self.refused_until.is_none() && self.good.is_some() && self.good != self.wanted;
        if self.failures >= FAILURES_MAX && fallback {
            self.failures = 0;
            self.retry_at = None;
            self.refused_until = Some(now + REFUSED_RETRY);
            self.tell(Event::RolledBack);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
