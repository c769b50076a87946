//! The way to the kernel: what netd sees, the plan that follows from it, and what became of that.

use embassy_time::Duration;
use lintel_api::types::Event;
use lintel_ipc::call::Problem;
use lintel_ipc::netd::{FromNetd, ToNetd};
use lintel_model::config::Config;
use lintel_model::facts::{Notice, NoticeCode, Severity};
use lintel_model::features::Lack;
use lintel_model::observed::{LinkStatus, ObservedState};
use lintel_model::{LinkName, RoleName};
use lintel_plan::converge::{ApplyError, Event as Outcome};
use lintel_store::RevisionState;

use super::config_calls::invalid;
use super::core::{Core, Now, Output};

/// netd's first look of a session may have come before it knew which sysctls to read; this is
/// how long a look with them is awaited.
const SYSCTL_WAIT: Duration = Duration::from_millis(500);

impl Core {
    pub(super) fn netd(&mut self, now: Now, message: FromNetd) {
        match message {
            FromNetd::Observed(observed) => {
                self.tell_links(now, &observed.links);
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
            FromNetd::Lacks(lacks) => self.lacks = Some(bounded(lacks)),
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

    /// Has netd look whether the kernel was built without something.
    fn ask_lacks(&mut self) {
        if let Some(table) = self.resolved.kernel.nft.clone() {
            self.say(Output::Netd(ToNetd::Probe { table }));
        }
    }

    /// Refuses a configuration that asks for what the running kernel cannot do. What the kernel
    /// holds it can do: a settled one is asked nothing.
    pub(super) fn refuse_lacking(&self, toml: &str) -> Result<(), Problem> {
        let lacks = self.lacks.as_deref().unwrap_or_default();
        if lacks.is_empty() || self.converge.is_settled() {
            return Ok(());
        }
        match Config::lacking(toml, lacks) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Problem {
                kind: "kernel-cannot".to_owned(),
                title: "The running kernel cannot do what the configuration asks for".to_owned(),
                ..invalid(problems)
            }),
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
    pub(super) fn drive_once(&mut self, now: Now) -> bool {
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
            match event {
                Outcome::Settled => self.settled(now),
                Outcome::Failed {
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
                    if self.step_error.as_ref() != Some(&text) {
                        let error = text.clone();
                        self.tell(now, Event::KernelFailed { error });
                        self.ask_lacks();
                    }
                    self.step_error = Some(text);
                }
                Outcome::RolledBack => {
                    rolled_back = true;
                    self.rolled_back(now);
                }
            }
        }
        rolled_back
    }

    /// The kernel holds what is desired.
    pub(super) fn settled(&mut self, now: Now) {
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
            let revision = self.active.revision;
            self.tell(now, Event::ConfigApplied { revision });
            self.leaving_due = Some(now.mono);
        }
    }

    /// The kernel refused the wish. When a new revision is to blame, the one before is taken.
    pub(super) fn rolled_back(&mut self, now: Now) {
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
        self.keep_leaving(now, &pending.previous.config);
        let refused = self.active.revision;
        self.active = pending.previous.clone();
        self.pending_apply = Some(pending);
        self.end_apply_as_reverted();
        self.refresh(now);
        self.tell_rolled_back(now, refused, "refused");
    }

    /// Tells which links have a carrier now, and which have none any more.
    fn tell_links(&mut self, now: Now, links: &[LinkStatus]) {
        let had = |list: &[LinkStatus], name: &LinkName| {
            list.iter().any(|link| link.name == *name && link.carrier)
        };
        let mut events = Vec::new();
        for link in links {
            if link.carrier && !had(&self.facts.links, &link.name) {
                let link = link.name.clone();
                events.push(Event::LinkUp { link });
            }
        }
        for link in &self.facts.links {
            if link.carrier && !had(links, &link.name) {
                let link = link.name.clone();
                events.push(Event::LinkDown { link });
            }
        }
        for event in events {
            self.tell(now, event);
        }
    }

    /// Another revision is in force than somebody wished.
    pub(super) fn tell_rolled_back(&mut self, now: Now, revision: Option<u64>, why: &str) {
        let rolled_back = Event::ConfigRolledBack {
            revision,
            to: self.active.revision,
            why: why.to_owned(),
        };
        self.tell(now, rolled_back);
    }

    /// From now on each look shall hold these.
    pub(super) fn ask_sysctls(&mut self, now: Now, sysctls: Vec<String>) {
        self.held_until = Some(now.mono + SYSCTL_WAIT);
        self.held_back = false;
        self.sysctls_asked.clone_from(&sysctls);
        self.say(Output::Netd(ToNetd::Observe { sysctls }));
    }

    /// Whether a sysctl that was asked for is not in the look and could be: those of a link that
    /// is yet to be made come with it.
    pub(super) fn lacks_sysctls(&self, observed: &ObservedState) -> bool {
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

    pub(super) fn sysctl_paths(&self) -> Vec<String> {
        let sysctls = self.resolved.kernel.sysctls.iter();
        sysctls.map(|sysctl| sysctl.path.clone()).collect()
    }
}

/// Most features that a kernel can lack, and the longest word of it that is kept, characters.
const LACKS_MAX: usize = 8;
const WHY_CHARS_MAX: usize = 300;

/// As much as netd can have to tell.
fn bounded(mut lacks: Vec<Lack>) -> Vec<Lack> {
    lacks.truncate(LACKS_MAX);
    for lack in &mut lacks {
        let clean = lack.why.chars().filter(|c| !c.is_control());
        lack.why = clean.take(WHY_CHARS_MAX).collect();
    }
    lacks
}
