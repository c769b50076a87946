//! Services and log lines as rows.

use lintel_api::types::{LogEntry, Service};
use serde::Serialize;

use super::{ServiceView, date};

/// A service, and whether it can be restarted from a page.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceRow {
    #[serde(flatten)]
    service: ServiceView,
    restartable: bool,
}

impl ServiceRow {
    /// From the status.
    pub(crate) fn new(service: &Service) -> Self {
        Self {
            service: super::service(service),
            // init is the box itself.
            restartable: service.name.as_str() != "init",
        }
    }
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct LogRow {
    when: String,
    role: &'static str,
    label: &'static str,
    tone: &'static str,
    text: String,
}

impl LogRow {
    /// From the log.
    pub(crate) fn new(entry: &LogEntry) -> Self {
        let (label, tone) = match entry.level.as_str() {
            "error" => ("error", "bad"),
            "warn" => ("warning", "warn"),
            "debug" => ("", "faint"),
            _ => ("", "plain"),
        };
        let unix_s = entry.unix_ms / 1000;
        Self {
            when: format!("{}:{:02}", date(unix_s), unix_s % 60),
            role: entry.role.as_str(),
            label,
            tone,
            text: entry.text.clone(),
        }
    }
}
