//! controld and webd.

use lintel_model::services::WebSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{Call, Reply};

/// From controld to webd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWebd {
    /// What to serve, whole: the first message of a session and whenever it changes.
    Spec(WebSpec),
    /// Answer to a call.
    Reply(Reply),
    /// Something happened: for server-sent events.
    Event {
        /// Grows by one with each event of this boot.
        id: u64,
        /// Stable name (`lease`, `wan`, `services`, `config`).
        kind: String,
        /// Its data.
        data: Value,
    },
}

/// From webd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWebd {
    /// A call of a method.
    Call(Call),
}
