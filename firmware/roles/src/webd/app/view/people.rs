//! Sessions, tokens and deeds as rows.

use lintel_api::types::{AuditEntry, SessionInfo, TokenInfo};
use serde::Serialize;

use super::{ahead, date, span};

/// One session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionRow {
    id: String,
    address: String,
    since: String,
    used: String,
    ends: String,
    current: bool,
}

impl SessionRow {
    /// As it stands at this time.
    pub(crate) fn new(session: &SessionInfo, now: u64) -> Self {
        let ago = now.saturating_sub(session.used_unix_s);
        let ends = session.idle_ends_unix_s.min(session.ends_unix_s);
        Self {
            id: session.id.clone(),
            address: session
                .address
                .map_or_else(|| "unknown".to_owned(), |address| address.to_string()),
            since: date(session.created_unix_s),
            used: format!("{} ago", span(ago)),
            ends: ahead(ends, now),
            current: session.current,
        }
    }
}

/// One token.
#[derive(Debug, Serialize)]
pub(crate) struct TokenRow {
    id: u64,
    name: String,
    scope: String,
    made: String,
    ends: String,
    expired: bool,
}

impl TokenRow {
    /// From the list.
    pub(crate) fn new(token: &TokenInfo) -> Self {
        Self {
            id: token.id,
            name: token.name.clone(),
            scope: token.scope.clone(),
            made: date(token.created_unix_s),
            ends: date(token.expires_unix_s),
            expired: token.expired,
        }
    }
}

/// One deed.
#[derive(Debug, Serialize)]
pub(crate) struct AuditRow {
    when: String,
    who: String,
    method: String,
    reason: String,
    outcome: String,
    tone: &'static str,
    revision: Option<u64>,
}

impl AuditRow {
    /// From the list.
    pub(crate) fn new(entry: &AuditEntry) -> Self {
        let from = entry.address;
        let from = from.map_or(String::new(), |address| format!(", {address}"));
        Self {
            when: date(entry.unix_s),
            who: format!("{}{from}", entry.who),
            method: entry.method.clone(),
            reason: entry.reason.clone(),
            outcome: entry.outcome.clone(),
            tone: match entry.outcome.as_str() {
                "done" => "plain",
                "begun" => "warn",
                _ => "bad",
            },
            revision: entry.revision,
        }
    }
}
