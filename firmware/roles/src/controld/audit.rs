//! The audit trail: a line for every call that changes something.
//!
//! A call whose end comes later leaves its line when it begins, so that a crash on the way is
//! seen, and the end is written into it.

use embassy_time::{Duration, Instant};
use lintel_api::Method;
use lintel_api::types::{AuditEntry, Page, PageParams};
use lintel_ipc::call::{Caller, Origin, Problem};
use lintel_store::AuditLine;
use serde_json::Value;

use super::auth::Bearer;
use super::calls::{Answer, Outcome, problem};
use super::config_calls::{bad_cursor, page_limit};
use super::core::{Core, Now, Waiter};
use super::startup;

/// Longest reason kept, characters.
const REASON_CHARS_MAX: usize = 200;
/// Calls whose end is awaited; beyond it the oldest keeps its `begun`.
const OPEN_ENTRIES_MAX: usize = 64;
/// What strangers are refused leaves one line in this time, or they would wear the flash at their
/// own pace. The log counts the rest.
const STRANGERS_EVERY: Duration = Duration::from_secs(60);

/// What the trail still waits for.
#[derive(Debug, Default)]
pub(super) struct Audit {
    open: Vec<(Waiter, u64)>,
    strangers_after: Option<Instant>,
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "what a line says, each once")]
    pub(super) fn audit(
        &mut self,
        now: Now,
        waiter: Waiter,
        method: &Method,
        caller: &Caller,
        bearer: &Bearer,
        reason: String,
        answer: &Answer,
    ) {
        let (result, revision) = match answer {
            Ok(Outcome::Later) => ("begun", None),
            Ok(Outcome::Now(value) | Outcome::Session(value, _)) => ("done", revision(value)),
            Err(problem) => (problem.kind.as_str(), None),
        };
        // What nobody was allowed to do says nothing of the box.
        if matches!(result, "not-logged-in" | "too-many-logins" | "not-from-lan") {
            return;
        }
        let who = match (caller.origin, bearer, answer) {
            (Origin::Local, ..) => "local".to_owned(),
            // A login or the first password: now it is known who that was.
            (_, Bearer::Session(_), _) | (_, _, Ok(Outcome::Session(..))) => "owner".to_owned(),
            (_, Bearer::Token { name, .. }, _) => format!("token {name}"),
            (_, Bearer::Nobody, _) => "anyone".to_owned(),
        };
        if who == "anyone" {
            if self.audit.strangers_after.is_some_and(|at| now.mono < at) {
                return;
            }
            self.audit.strangers_after = Some(now.mono + STRANGERS_EVERY);
        }
        let line = AuditLine {
            unix_s: now.unix_s,
            who,
            address: caller.address.map(|address| address.to_canonical()),
            method: method.name.to_owned(),
            outcome: result.to_owned(),
            reason,
            revision,
        };
        let id = self.stored("writing the audit trail", |store| store.add_audit(&line));
        if let (Ok(Outcome::Later), Some(id)) = (answer, id) {
            if self.audit.open.len() >= OPEN_ENTRIES_MAX {
                self.audit.open.remove(0);
            }
            self.audit.open.push((waiter, id));
        }
    }

    /// A reply is on its way: writes the end of its line, when that was open.
    pub(super) fn end_audit(&mut self, waiter: Waiter, result: &Result<Value, Problem>) {
        let same = |(open, _): &(Waiter, u64)| open.via == waiter.via && open.id == waiter.id;
        let Some(at) = self.audit.open.iter().position(same) else {
            return;
        };
        let (_, id) = self.audit.open.remove(at);
        let (outcome, revision) = match result {
            Ok(value) => ("done", revision(value)),
            Err(problem) => (problem.kind.as_str(), None),
        };
        self.stored("writing the audit trail", |store| {
            store.end_audit(id, outcome, revision)
        });
    }

    pub(super) fn audit_list(&self, params: &PageParams) -> Result<Page<AuditEntry>, Problem> {
        let limit = page_limit(params);
        let before = match &params.cursor {
            None => u64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let lines = self.store.audit(before, limit).map_err(|error| {
            let sentence = startup::sentence(&error);
            problem(500, "cannot-read", "The trail cannot be read", &sentence)
        })?;
        let full = lines.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = lines.last().filter(|_| full).map(|(id, _)| id.to_string());
        let items = lines.into_iter().map(|(_, line)| AuditEntry {
            unix_s: line.unix_s,
            who: line.who,
            address: line.address,
            method: line.method,
            outcome: line.outcome,
            reason: line.reason,
            revision: line.revision,
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }
}

/// Why, in the caller's words, as far as it is kept.
pub(super) fn reason(params: &Value) -> String {
    let text = params.get("reason").and_then(Value::as_str);
    text.unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(REASON_CHARS_MAX)
        .collect()
}

/// The revision that an answer says was made.
fn revision(value: &Value) -> Option<u64> {
    let made = value.get("committed").and_then(Value::as_bool) == Some(true);
    value
        .get("revision")
        .and_then(Value::as_u64)
        .filter(|_| made)
}
