//! A revision as a line of the history.

use lintel_api::types::RevisionInfo;
use serde::Serialize;

use super::date;
use super::plan::author_in_words;

/// One revision.
#[derive(Debug, Serialize)]
pub(crate) struct RevisionView {
    number: u64,
    when: String,
    author: String,
    reason: String,
    active: bool,
    state: &'static str,
    tone: &'static str,
}

impl RevisionView {
    /// From the list.
    pub(crate) fn new(info: &RevisionInfo) -> Self {
        let (state, tone) = match (info.active, info.state.as_str()) {
            (_, "pending") => ("waits to be confirmed", "warn"),
            (true, _) => ("in force", "good"),
            (false, "reverted") => ("taken back", "plain"),
            (false, "failed") => ("failed", "bad"),
            (false, _) => ("was in force", "plain"),
        };
        Self {
            number: info.revision,
            when: date(info.unix_s),
            author: author_in_words(&info.author),
            reason: info.reason.clone(),
            active: info.active,
            state,
            tone,
        }
    }
}
