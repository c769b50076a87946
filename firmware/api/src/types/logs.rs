//! The log: searched, exported, counted.

use lintel_model::RoleName;
use serde::{Deserialize, Serialize};

use super::LogEntry;

/// Longest text that is searched for, characters.
pub const FIND_CHARS_MAX: usize = 200;
/// Levels of log lines, from the worst down.
pub const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Which lines are meant: `logs.search`, `logs.export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogSearchParams {
    /// Only lines that hold this, in small letters or capitals.
    #[serde(default)]
    pub find: Option<String>,
    /// Only of this role; absent or `all`: of all.
    #[serde(default)]
    pub name: Option<String>,
    /// Only at least as bad as this.
    #[serde(default)]
    pub level: Option<String>,
    /// Most entries wanted.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// `logs.search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogsFound {
    /// The newest first.
    pub items: Vec<LogEntry>,
    /// Cursor for the next part, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Lines that were looked at: all that are in memory.
    pub searched: u64,
}

/// `logs.statistics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogStats {
    /// Lines in memory.
    pub lines: u64,
    /// Octets of their text.
    pub text_bytes: u64,
    /// When the oldest was said, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unix_ms: Option<u64>,
    /// Lines since boot.
    pub said: Vec<LogCount>,
    /// Octets that wait to be written to the storage: for the full hour, or an error.
    pub waiting_bytes: u64,
    /// Octets of lines written to the storage since boot.
    pub written_bytes: u64,
    /// Files on the storage: the log's, the newest first, then records of crashes.
    pub files: Vec<LogFile>,
}

/// Lines of one role and one level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogCount {
    /// Who said them.
    pub role: RoleName,
    /// `error`, `warn`, `info`, `debug`.
    pub level: String,
    /// How many.
    pub lines: u64,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}
