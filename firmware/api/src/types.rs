//! Parameters and results, as JSON has them.
//!
//! Times named `unix_s` are seconds of the wall clock, `_ms` are milliseconds, `_bytes` octets,
//! `_kib` kibibytes. A field that is absent was not known or not given.

mod bus;
mod config;
mod household;
mod logs;
mod people;
mod state;
mod stats;
mod tasks;

use serde::{Deserialize, Serialize};

pub use bus::{BusStatus, Event, EventEntry, EventsParams, TOPICS};
pub use config::*;
pub use household::*;
pub use logs::{FIND_CHARS_MAX, LEVELS, LogCount, LogFile, LogSearchParams, LogStats, LogsFound};
pub use people::*;
pub use state::*;
pub use stats::{CpuStats, DiskStats, MemoryStats, RoleStats, SelfTest, SystemStats, Temperature};
pub use tasks::{
    NetworkTestParams, TESTS, Task, TaskBegun, TaskFile, TaskParams, TaskResult, TaskState,
};

/// Entries of a list unless the caller says otherwise.
pub const PAGE_ENTRIES_DEFAULT: u32 = 100;

/// Most entries in one answer: about 200 KB of leases.
pub const PAGE_ENTRIES_MAX: u32 = 1000;

/// No parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// A done thing that has nothing to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {}

/// Part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// Most entries wanted.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Cursor for the next part, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
