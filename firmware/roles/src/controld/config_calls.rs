//! `config.*`: show, check, apply, list.

use lintel_api::types::{
    CONFIG_BYTES_MAX, ConfigApplied, ConfigParams, ConfigShowParams, ConfigShown, ConfigValid,
    PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX, Page, PageParams, PlannedStep, RevisionInfo,
};
use lintel_ipc::call::{Caller, FieldError, Origin, Problem};
use lintel_model::RoleName;
use lintel_model::config::{self, Config};
use lintel_model::facts::DataState;
use lintel_store::RevisionDraft;
use serde_json::Value;

use super::calls::{Outcome, bad_field, cannot_store, data_failed, problem, to_value};
use super::core::{APPLY_WAIT, Core, Now, PendingApply, Waiter};
use super::startup::{self, Active};

/// Longest reason kept, characters.
const REASON_CHARS_MAX: usize = 200;

impl Core {
    pub(super) fn config_show(&self, params: ConfigShowParams) -> Result<ConfigShown, Problem> {
        let active = &self.active;
        match params.revision {
            Some(number) if active.revision != Some(number) => {
                let revision = self
                    .store
                    .revision(number)
                    .map_err(|error| {
                        problem(
                            500,
                            "cannot-read",
                            "The revision cannot be read",
                            &startup::sentence(&error),
                        )
                    })?
                    .ok_or_else(|| {
                        problem(
                            404,
                            "no-such-revision",
                            "There is no such revision",
                            "lintel config revisions lists them.",
                        )
                    })?;
                let config = startup::parse(&self.start, &revision.toml).ok();
                Ok(ConfigShown {
                    revision: Some(number),
                    author: revision.head.author,
                    reason: revision.head.reason,
                    unix_s: revision.head.unix_s,
                    config: config.map_or(Ok(Value::Null), |config| to_value(&config))?,
                    toml: revision.toml,
                })
            }
            _ => Ok(ConfigShown {
                revision: active.revision,
                author: active.author.clone(),
                reason: active.reason.clone(),
                unix_s: active.unix_s,
                toml: active.toml.clone(),
                config: to_value(&active.config)?,
            }),
        }
    }

    pub(super) fn config_validate(&self, params: ConfigParams) -> Result<ConfigValid, Problem> {
        let (_, config) = self.read_config(params)?;
        Ok(ConfigValid {
            notices: lintel_plan::resolve(&config, &self.facts).notices,
        })
    }

    /// Check, plan, store, apply. The reply waits for the kernel, but not for ever.
    pub(super) fn config_apply(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: ConfigParams,
    ) -> Outcome {
        let dry_run = params.dry_run;
        let reason: String = params
            .reason
            .iter()
            .flat_map(|reason| reason.chars())
            .filter(|c| !c.is_control())
            .take(REASON_CHARS_MAX)
            .collect();
        let (toml, config) = match self.read_config(params) {
            Ok(read) => read,
            Err(problem) => return Outcome::Now(Err(problem)),
        };
        let wish = lintel_plan::resolve(&config, &self.facts);
        let mut answer = ConfigApplied {
            revision: self.active.revision,
            committed: false,
            plan: self.planned(&wish.kernel),
            outcome: "planned".to_owned(),
            error: None,
            notices: wish.notices,
        };
        if dry_run {
            return Ok(answer).into();
        }
        if self.facts.data != DataState::Good {
            return Outcome::Now(Err(data_failed()));
        }
        if self.pending_apply.is_some() {
            return Outcome::Now(Err(problem(
                409,
                "apply-under-way",
                "Another configuration is being applied",
                "Try again when it has come to its end; the status shows it.",
            )));
        }
        let previous = self.active.clone();
        if toml != self.active.toml {
            let author = match caller.origin {
                Origin::Local => "local",
                Origin::Web => "web",
            };
            let draft = RevisionDraft {
                toml: &toml,
                author,
                reason: &reason,
                unix_s: now.unix_s,
            };
            let number = self.stored("storing a revision", |store| store.commit_revision(&draft));
            let Some(number) = number else {
                return Outcome::Now(Err(cannot_store()));
            };
            log::info!("revision {number} by {author}: {reason}");
            answer.revision = Some(number);
            answer.committed = true;
            self.active = Active {
                revision: Some(number),
                author: author.to_owned(),
                reason,
                unix_s: now.unix_s,
                toml,
                config,
                fail_secure: false,
            };
            self.own_notices
                .remove(&lintel_model::facts::NoticeCode::RevisionFailed);
            self.restored_is_dealt_with();
            self.want_snapshot(now);
            self.refresh(now);
            self.drive(now);
            self.dirty("config", now);
        }
        if self.converge.is_settled() && answer.plan.is_empty() {
            answer.outcome = "applied".to_owned();
            if let Some(number) = answer.revision.filter(|_| answer.committed) {
                self.stored("noting that the revision is applied", |store| {
                    store.mark_revision(number, lintel_store::RevisionState::Applied)
                });
            }
            return Ok(answer).into();
        }
        answer.outcome = "waiting".to_owned();
        if !self.up.contains(&RoleName::Netd) {
            return Ok(answer).into();
        }
        self.pending_apply = Some(PendingApply {
            waiter,
            deadline: now.mono + APPLY_WAIT,
            answer,
            replied: false,
            previous,
        });
        Outcome::Later
    }

    pub(super) fn config_revisions(
        &self,
        params: &PageParams,
    ) -> Result<Page<RevisionInfo>, Problem> {
        let limit = page_limit(params);
        let before = match &params.cursor {
            None => u64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let heads = self.store.revisions(before, limit).map_err(|error| {
            problem(
                500,
                "cannot-read",
                "The revisions cannot be read",
                &startup::sentence(&error),
            )
        })?;
        let full = heads.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = heads
            .last()
            .filter(|_| full)
            .map(|head| head.number.to_string());
        let items = heads.into_iter().map(|head| RevisionInfo {
            revision: head.number,
            active: self.active.revision == Some(head.number),
            author: head.author,
            reason: head.reason,
            unix_s: head.unix_s,
            state: head.state.as_str().to_owned(),
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    /// What the kernel would be told; nothing while it has not been looked at.
    fn planned(&self, wish: &lintel_model::desired::DesiredState) -> Vec<PlannedStep> {
        let Some(observed) = &self.observed else {
            return Vec::new();
        };
        let steps = lintel_plan::diff(wish, observed).steps.into_iter();
        steps
            .map(|step| PlannedStep {
                reason: step.reason,
                hazard: step.hazard,
            })
            .collect()
    }

    fn read_config(&self, params: ConfigParams) -> Result<(String, Config), Problem> {
        let text = match (params.toml, params.config) {
            (Some(toml), None) => toml,
            (None, Some(tree)) => {
                let config = Config::from_json(&tree).map_err(invalid)?;
                config.to_toml()
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(bad_field(
                    "toml",
                    "one of toml and config is wanted",
                    "send the configuration as TOML text in toml, or as a tree in config",
                ));
            }
        };
        if text.len() > CONFIG_BYTES_MAX {
            return Err(bad_field(
                "toml",
                "it is too long",
                &format!("at most {CONFIG_BYTES_MAX} octets are taken"),
            ));
        }
        let config = startup::parse(&self.start, &text).map_err(invalid)?;
        Ok((text, config))
    }
}

fn invalid(problems: Vec<config::Problem>) -> Problem {
    Problem {
        errors: problems
            .into_iter()
            .map(|p| FieldError {
                path: p.path,
                line: (p.line > 0).then_some(p.line),
                reason: p.reason,
                hint: p.hint,
            })
            .collect(),
        ..problem(
            422,
            "invalid-configuration",
            "The configuration has problems",
            "Nothing was changed.",
        )
    }
}

pub(super) fn page_limit(params: &PageParams) -> u32 {
    params
        .limit
        .unwrap_or(PAGE_ENTRIES_DEFAULT)
        .clamp(1, PAGE_ENTRIES_MAX)
}

pub(super) fn bad_cursor() -> Problem {
    bad_field(
        "cursor",
        "it is not from an answer of ours",
        "take `next` of the answer before",
    )
}
