//! What changes the configuration: plan, commit, roll back.
//!
//! Every change takes one way: read and check everything, resolve, diff with what the kernel
//! holds, store the revision, make it the one in force, and answer when the kernel holds it. A
//! dry run stops before the store.

use embassy_time::{Duration, Instant};
use lintel_api::types::{
    ConfigApplied, ConfigParams, Event, PatchParams, PendingConfirm, PlannedStep, RollbackParams,
};
use lintel_ipc::call::{Caller, Origin, Problem};
use lintel_ipc::netd::ToNetd;
use lintel_model::RoleName;
use lintel_model::config::Config;
use lintel_model::config::change::{changes, undo};
use lintel_model::facts::{DataState, Facts, Notice, NoticeCode};
use lintel_model::preview::Preview;
use lintel_model::step::{Plan, Step};
use lintel_store::{BackupOrigin, RevisionDraft, RevisionState};
use serde_json::Value;

use super::backups;
use super::calls::{
    Answer, Outcome, at_once, bad_field, cannot_store, data_failed, problem, to_value,
};
use super::config_calls::invalid;
use super::confirm::may_cut_off;
use super::core::{APPLY_WAIT, Core, Now, Output, PendingApply, Waiter};
use super::startup::{self, Active};

/// Plans that wait for netd at a time: each holds an answer, and one caller needs one.
const PREVIEWS_MAX: usize = 8;
/// How long a plan waits for netd; dumping 65,536 flows takes 0.1 s.
const PREVIEW_WAIT: Duration = Duration::from_secs(3);

/// Longest reason kept, characters.
const REASON_CHARS_MAX: usize = 200;

/// A plan that waits for what netd says of it.
#[derive(Debug)]
pub(super) struct PendingPreview {
    waiter: Waiter,
    answer: ConfigApplied,
    messages: bool,
    pub(super) until: Instant,
}

/// What a change would do.
struct Shown {
    answer: ConfigApplied,
    plan: Plan,
    /// How long its author would have to confirm it.
    wait: Option<Duration>,
}

/// A change that somebody wants.
pub(super) struct Wish {
    pub(super) toml: String,
    pub(super) config: Config,
    pub(super) reason: String,
    pub(super) dry_run: bool,
    pub(super) confirm_s: Option<u32>,
    /// What its author should know of it beside the plan.
    pub(super) notices: Vec<Notice>,
}

impl Core {
    /// `config.plan`. The kernel is asked what it would be told and whom that cuts; without an
    /// answer in time the plan comes without.
    pub(super) fn config_plan(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: ConfigParams,
    ) -> Answer {
        let (confirm_s, messages) = (params.confirm_s, params.messages);
        let (toml, config) = self.read_config(params)?;
        self.refuse_lacking(&toml)?;
        let Shown { answer, plan, .. } = self.preview(caller, &config, confirm_s)?;
        if !self.up.contains(&RoleName::Netd) || self.previews.len() >= PREVIEWS_MAX {
            return at_once(&answer);
        }
        self.preview_id += 1;
        let id = self.preview_id;
        let waiting = PendingPreview {
            waiter,
            answer,
            messages,
            until: now.mono + PREVIEW_WAIT,
        };
        self.previews.insert(id, waiting);
        self.say(Output::Netd(ToNetd::Preview { id, plan }));
        Ok(Outcome::Later)
    }

    /// netd's answer.
    pub(super) fn previewed(&mut self, id: u64, preview: Preview) {
        let Some(mut waiting) = self.previews.remove(&id) else {
            return;
        };
        waiting.answer.flows = preview.flows;
        if waiting.messages {
            let steps = waiting.answer.plan.iter_mut();
            for (step, shown) in steps.zip(preview.steps) {
                step.kernel = Some(shown);
            }
        }
        self.reply_value(waiting.waiter, &waiting.answer);
    }

    /// Answers those for whom netd is too slow, or gone.
    pub(super) fn end_previews(&mut self, until: Instant) {
        let over = self
            .previews
            .extract_if(.., |_, waiting| waiting.until <= until);
        let over: Vec<_> = over.map(|(_, waiting)| waiting).collect();
        for waiting in over {
            self.reply_value(waiting.waiter, &waiting.answer);
        }
    }

    /// `config.apply` and `config.commit`.
    pub(super) fn config_commit(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: ConfigParams,
    ) -> Answer {
        let reason = params.reason.clone().unwrap_or_default();
        let (dry_run, confirm_s) = (params.dry_run, params.confirm_s);
        let (toml, config) = self.read_config(params)?;
        let wish = Wish {
            toml,
            config,
            reason,
            dry_run,
            confirm_s,
            notices: Vec::new(),
        };
        self.commit(now, waiter, caller, wish)
    }

    /// `config.patch`: the configuration in force with some values changed.
    pub(super) fn config_patch(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: PatchParams,
    ) -> Answer {
        let mut tree = to_value(&self.active.config)?;
        merge(&mut tree, params.patch);
        let params = ConfigParams {
            config: Some(tree),
            reason: params.reason,
            dry_run: params.dry_run,
            confirm_s: params.confirm_s,
            ..ConfigParams::default()
        };
        self.config_commit(now, waiter, caller, params)
    }

    /// `config.rollback`: ends the open window, or commits what an older revision says.
    pub(super) fn config_rollback(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: RollbackParams,
    ) -> Answer {
        let named = params.revision.is_some() || params.undo.is_some();
        if let Some(window) = self.window.as_ref().filter(|_| !named) {
            let (was, previous) = (window.revision, window.previous.config.clone());
            let mut answer = self.preview(caller, &previous, None)?.answer;
            if !params.dry_run {
                self.take_back(now, "asked");
                answer.outcome = "reverted".to_owned();
                answer.error = Some(format!("Revision {was} was rolled back."));
            }
            answer.confirm = None;
            answer.revision = self.active.revision;
            return at_once(&answer);
        }
        let wish = self.rollback_wish(params)?;
        self.commit(now, waiter, caller, wish)
    }

    fn rollback_wish(&self, params: RollbackParams) -> Result<Wish, Problem> {
        if params.path.is_some() && params.undo.is_none() {
            return Err(bad_field(
                "path",
                "it goes with undo",
                "say in undo which revision's change of this value is meant",
            ));
        }
        let (toml, reason) = match (params.revision, params.undo) {
            (Some(_), Some(_)) => {
                return Err(bad_field(
                    "undo",
                    "one of revision and undo is wanted",
                    "revision goes back to a state; undo takes back one change",
                ));
            }
            (None, Some(number)) => {
                let (_, before) = self.config_before(number)?;
                let mut changed = changes(&before, &self.revision_config(number)?);
                if let Some(path) = &params.path {
                    changed.retain(|change| change.path == *path);
                    if changed.is_empty() {
                        return Err(bad_field(
                            "path",
                            "that revision did not change it",
                            "lintel config diff shows what a revision changed",
                        ));
                    }
                }
                let undone = undo(&self.active.config, &changed).map_err(|error| {
                    problem(
                        409,
                        "cannot-undo",
                        "The change cannot be undone by itself any more",
                        &format!("{error}. Undo the other values one by one with path."),
                    )
                })?;
                let problems = undone.problems();
                if !problems.is_empty() {
                    return Err(invalid(problems));
                }
                let what = params.path.as_deref().unwrap_or("all");
                (
                    undone.to_toml(),
                    format!("undo {what} of revision {number}"),
                )
            }
            (number, None) => {
                let number = number.map_or_else(|| self.number_before(), Ok)?;
                let revision = self.stored_revision(number)?;
                (revision.toml, format!("back to revision {number}"))
            }
        };
        let config = startup::parse(&self.start, &toml).map_err(invalid)?;
        Ok(Wish {
            toml,
            config,
            reason: params.reason.unwrap_or(reason),
            dry_run: params.dry_run,
            confirm_s: params.confirm_s,
            notices: Vec::new(),
        })
    }

    /// The revision before the one in force.
    fn number_before(&self) -> Result<u64, Problem> {
        let active = self.active.revision.unwrap_or(u64::MAX);
        let (before, _) = self.config_before(active)?;
        before.ok_or_else(|| {
            problem(
                404,
                "no-such-revision",
                "There is no revision before this one",
                "lintel config revisions lists what is kept.",
            )
        })
    }

    /// Plan, store, apply. The reply waits for the kernel, but not for ever.
    pub(super) fn commit(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        wish: Wish,
    ) -> Answer {
        self.refuse_lacking(&wish.toml)?;
        let Shown {
            mut answer, wait, ..
        } = self.preview(caller, &wish.config, wish.confirm_s)?;
        answer.notices.extend(wish.notices);
        if wish.dry_run {
            return at_once(&answer);
        }
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        if self.pending_apply.is_some() {
            return Err(problem(
                409,
                "apply-under-way",
                "Another configuration is being applied",
                "Try again when it has come to its end; the status shows it.",
            ));
        }
        self.refuse_while_pending(now)?;
        let previous = self.active.clone();
        let reason = wish.reason.chars().filter(|c| !c.is_control());
        let reason: String = reason.take(REASON_CHARS_MAX).collect();
        answer.confirm = None;
        if wish.toml != self.active.toml {
            let author = match caller.origin {
                Origin::Local => "local",
                Origin::Web => "web",
            };
            let draft = RevisionDraft {
                toml: &wish.toml,
                author,
                reason: &reason,
                unix_s: now.unix_s,
                pending: wait.is_some(),
            };
            let kept = self.backup_if_new(now, &format!("before: {reason}"));
            let before = kept
                .as_ref()
                .map(|(backup, text)| backups::draft(BackupOrigin::Commit, backup, text));
            let number = self.stored("storing a revision", |store| {
                store.commit_revision_after(before.as_ref(), &draft)
            });
            let number = number.ok_or_else(cannot_store)?;
            log::info!("revision {number} by {author}");
            answer.revision = Some(number);
            answer.committed = true;
            self.keep_leaving(now, &wish.config);
            self.active = Active {
                revision: Some(number),
                author: author.to_owned(),
                reason,
                unix_s: now.unix_s,
                toml: wish.toml,
                config: wish.config,
                fail_secure: false,
            };
            if let Some(wait) = wait {
                let token = self.open_window(now, caller, number, previous.clone(), wait);
                answer.confirm = self.pending_confirm(now).map(|pending| PendingConfirm {
                    token: Some(token),
                    ..pending
                });
            }
            let committed = Event::ConfigCommitted {
                revision: number,
                author: self.active.author.clone(),
                reason: self.active.reason.clone(),
                confirm_s: answer.confirm.as_ref().map(|confirm| confirm.seconds_left),
            };
            self.own_notices.remove(&NoticeCode::RevisionFailed);
            self.own_notices.remove(&NoticeCode::NotConfirmed);
            self.restored_is_dealt_with();
            self.want_snapshot(now);
            self.refresh(now);
            // Whoever wrote a name asks for it next; what waits is for the many of leases.
            self.send_dns(now);
            self.drive(now);
            self.tell(now, committed);
        }
        if self.converge.is_settled() && answer.plan.is_empty() {
            answer.outcome = "applied".to_owned();
            self.note_applied();
            if answer.committed {
                let revision = answer.revision;
                self.tell(now, Event::ConfigApplied { revision });
            }
            return at_once(&answer);
        }
        answer.outcome = "waiting".to_owned();
        if !self.up.contains(&RoleName::Netd) {
            return at_once(&answer);
        }
        self.pending_apply = Some(PendingApply {
            waiter,
            deadline: now.mono + APPLY_WAIT,
            answer,
            replied: false,
            previous,
        });
        Ok(Outcome::Later)
    }

    /// What the change would do, and how long its author would have to confirm it.
    fn preview(
        &self,
        caller: &Caller,
        config: &Config,
        confirm_s: Option<u32>,
    ) -> Result<Shown, Problem> {
        let wish = lintel_plan::resolve(config, &self.facts_with(config));
        // Nothing while the kernel has not been looked at.
        let seen = self.observed.as_ref();
        let plan = seen.map_or_else(Plan::default, |seen| lintel_plan::diff(&wish.kernel, seen));
        let hazards: Vec<_> = plan.steps.iter().map(|step| step.hazard).collect();
        let may_cut = may_cut_off(&self.resolved, &wish, &hazards);
        let differs = changes(&self.active.config, config);
        let wait = self.confirm_wait(caller, confirm_s, may_cut)?;
        let wait = wait.filter(|_| confirm_s.is_some() || !differs.is_empty());
        let new = config.lan.address.addr();
        let answer = ConfigApplied {
            revision: self.active.revision,
            committed: false,
            changes: differs,
            plan: plan.steps.iter().map(planned).collect(),
            flows: None,
            outcome: "planned".to_owned(),
            confirm: wait.map(|wait| PendingConfirm {
                seconds_left: u32::try_from(wait.as_secs()).unwrap_or(u32::MAX),
                previous: self.active.revision,
                address: (new != self.active.config.lan.address.addr()).then_some(new),
                ..PendingConfirm::default()
            }),
            error: None,
            notices: wish.notices,
        };
        Ok(Shown { answer, plan, wait })
    }

    /// The facts as they are when this configuration is taken.
    fn facts_with(&self, config: &Config) -> Facts {
        Facts {
            leaving: self.leaving_with(config),
            ..self.facts.clone()
        }
    }

    /// The kernel holds the revision in force. One that waits to be confirmed keeps that mark.
    pub(super) fn note_applied(&mut self) {
        if self.window.is_some() {
            return;
        }
        if let Some(number) = self.active.revision {
            self.stored("noting that the revision is applied", |store| {
                store.mark_revision(number, RevisionState::Applied)
            });
        }
    }

    /// Answers whoever waits for the kernel to take a revision that is no longer wanted.
    pub(super) fn end_apply_as_reverted(&mut self) {
        if let Some(mut pending) = self.pending_apply.take()
            && !pending.replied
        {
            pending.answer.outcome = "reverted".to_owned();
            pending.answer.error = self.step_error.clone();
            pending.answer.confirm = None;
            self.reply_value(pending.waiter, &pending.answer);
        }
    }
}

fn planned(step: &Step) -> PlannedStep {
    PlannedStep {
        reason: step.reason.clone(),
        hazard: step.hazard,
        kernel: None,
    }
}

/// RFC 7396: objects are merged, null takes away, all else replaces. As deep as JSON is read.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Some(into) = into.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            into.remove(&key);
        } else {
            merge(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The cases of RFC 7396, appendix A.
    #[test]
    fn patches_merge_as_the_rfc_says() {
        let table = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ];
        for (mut value, patch, wanted) in table {
            merge(&mut value, patch.clone());
            assert_eq!(value, wanted, "{patch}");
        }
    }
}
