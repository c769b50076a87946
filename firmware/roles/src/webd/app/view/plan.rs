//! A change in words: what differs, what the kernel is told, whom it cuts, who has to confirm.

use lintel_api::types::{ConfigApplied, PendingConfirm};
use lintel_ipc::call::FieldError;
use lintel_model::config::change::Change;
use lintel_model::facts::{Notice, NoticeCode};
use lintel_model::preview::FlowsCut;
use lintel_model::step::Hazard;
use serde::Serialize;
use serde_json::Value;

use super::{NoticeView, notice_view};

/// What a change does.
#[derive(Debug, Serialize)]
pub(crate) struct PlanView {
    changes: Vec<ChangeView>,
    steps: Vec<StepView>,
    notices: Vec<NoticeView>,
    flows: Option<String>,
    cut: bool,
    named: Vec<String>,
    confirm: Option<String>,
}

/// One value that differs.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeView {
    path: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Serialize)]
struct StepView {
    reason: String,
    hazard: &'static str,
    tone: &'static str,
}

/// The banner.
#[derive(Debug, Serialize)]
pub(crate) struct PendingView {
    revision: u64,
    author: String,
    reason: String,
    before: String,
    seconds: u32,
    address: Option<String>,
}

/// Something wrong in the text.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemView {
    line: Option<u32>,
    path: String,
    reason: String,
    hint: String,
}

impl PlanView {
    /// From the answer to `config.plan`.
    pub(crate) fn new(applied: &ConfigApplied) -> Self {
        let flows = applied.flows.as_ref();
        let step = |step: &lintel_api::types::PlannedStep| {
            let (hazard, tone) = match step.hazard {
                Hazard::None => ("", "plain"),
                Hazard::CutsFlows => ("cuts connections", "warn"),
                Hazard::CutsManagement => ("may cut you off", "bad"),
            };
            StepView {
                reason: step.reason.clone(),
                hazard,
                tone,
            }
        };
        Self {
            changes: change_views(&applied.changes),
            steps: applied.plan.iter().map(step).collect(),
            notices: applied
                .notices
                .iter()
                .map(|notice| notice_view(notice.severity, &notice.text))
                .collect(),
            flows: flows.map(flows_in_words),
            cut: flows.is_some_and(|flows| flows.cut > 0),
            named: flows.map(|flows| flows.named.clone()).unwrap_or_default(),
            confirm: applied.confirm.as_ref().map(confirm_in_words),
        }
    }
}

fn flows_in_words(flows: &FlowsCut) -> String {
    match (flows.cut, flows.tracked) {
        (0, all) => format!("0 connections affected, of {all} alive now."),
        (1, all) => format!("1 connection affected, of {all} alive now:"),
        (cut, all) => format!("{cut} connections affected, of {all} alive now:"),
    }
}

fn confirm_in_words(pending: &PendingConfirm) -> String {
    let seconds = pending.seconds_left;
    match pending.address {
        Some(address) => format!(
            "The box moves to {address}. Your browser is led there and confirms the change by \
             itself; if nobody confirms it in {seconds} seconds, the box comes back."
        ),
        None => format!(
            "You have {seconds} seconds to confirm it on any page; otherwise it is taken back."
        ),
    }
}

/// Values that differ.
pub(crate) fn change_views(changes: &[Change]) -> Vec<ChangeView> {
    let view = |change: &Change| ChangeView {
        path: change.path.clone(),
        from: change.from.as_ref().map(plain),
        to: change.to.as_ref().map(plain),
    };
    changes.iter().map(view).collect()
}

/// A value for people: texts without quotes, an entry with its keys.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(entry) => {
            let pairs = entry.iter().map(|(key, v)| format!("{key} {}", plain(v)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

impl PendingView {
    /// From the status.
    pub(crate) fn new(pending: &PendingConfirm) -> Self {
        Self {
            revision: pending.revision,
            author: author_in_words(&pending.author),
            reason: pending.reason.clone(),
            before: pending.previous.map_or_else(
                || "what was before".to_owned(),
                |number| format!("revision {number}"),
            ),
            seconds: pending.seconds_left,
            address: pending.address.map(|address| address.to_string()),
        }
    }
}

/// What the banner says when nobody confirmed the last change.
pub(crate) fn taken_back(notices: &[Notice]) -> Option<String> {
    let said = notices.iter();
    let mut said = said.filter(|notice| notice.code == NoticeCode::NotConfirmed);
    said.next().map(|notice| notice.text.clone())
}

/// Who made a revision.
pub(crate) fn author_in_words(author: &str) -> String {
    match author {
        "web" => "over the network".to_owned(),
        "local" => "at the box itself".to_owned(),
        "run" => "at its start".to_owned(),
        "factory" => "when the box was made".to_owned(),
        other => format!("by {other}"),
    }
}

/// What is wrong in a text, in its order.
pub(crate) fn problem_views(errors: &[FieldError]) -> Vec<ProblemView> {
    let view = |error: &FieldError| ProblemView {
        line: error.line,
        path: error.path.clone(),
        reason: error.reason.clone(),
        hint: error.hint.clone(),
    };
    errors.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_flows_read_well() {
        assert_eq!(plain(&json!("lan")), "lan");
        assert_eq!(plain(&json!([])), "none");
        assert_eq!(plain(&json!({"a": "b", "c": [1, 2]})), "a b, c 1, 2");
        let flows = FlowsCut {
            tracked: 7,
            ..FlowsCut::default()
        };
        assert_eq!(
            flows_in_words(&flows),
            "0 connections affected, of 7 alive now."
        );
    }
}
