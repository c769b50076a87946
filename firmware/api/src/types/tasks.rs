//! Long work: begun by one call, looked at and ended by others.

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
