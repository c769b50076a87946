//! Long work: begun by one call, looked at and ended by others.

use std::net::Ipv4Addr;

use lintel_model::probe::ProbeReport;
use serde::{Deserialize, Serialize};

/// Answer of a method whose work goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskBegun {
    /// Its number, for `tasks.show`, `tasks.cancel` and `tasks.result`.
    pub task: u64,
}

/// `tasks.list`, `tasks.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// The method that began it.
    pub method: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// Parts of the work that are done.
    pub done: u64,
    /// Parts that there are, as far as it is known; never less than `done`.
    pub total: u64,
    /// What it does now, or what became of it.
    pub text: String,
    /// When it began.
    pub begun_unix_s: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_s: Option<u64>,
    /// What came of a test of the network, so far or in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ProbeReport>,
    /// What it made: `tasks.result` has it, for ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskFile>,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// At work.
    Running,
    /// It ended well.
    Done,
    /// It ended otherwise.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl TaskState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A file that a task made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskFile {
    /// How to call it.
    pub file_name: String,
    /// Its size.
    pub bytes: u64,
}

/// The number of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskParams {
    /// Its number.
    pub id: u64,
}

/// `tasks.result` at the control socket; over HTTP it is the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskResult {
    /// How to call it.
    pub file_name: String,
    /// The file (RFC 4648 section 4).
    pub content_base64: String,
}

/// Kinds of tests of the network.
pub const TESTS: [&str; 5] = ["ping", "traceroute", "resolve", "port", "path-mtu"];

/// `network.test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkTestParams {
    /// One of [`TESTS`].
    pub kind: String,
    /// A name or an IPv4 address.
    pub target: String,
    /// Packets of a ping.
    #[serde(default)]
    pub count: Option<u32>,
    /// Octets of data in each.
    #[serde(default)]
    pub size: Option<u32>,
    /// Most routers of a traceroute.
    #[serde(default)]
    pub hops: Option<u32>,
    /// TCP port.
    #[serde(default)]
    pub port: Option<u32>,
    /// What to resolve.
    #[serde(default, rename = "type")]
    pub record_type: Option<String>,
    /// The name server to ask.
    #[serde(default)]
    pub server: Option<Ipv4Addr>,
    /// For the audit trail.
    #[serde(default)]
    pub reason: Option<String>,
}
