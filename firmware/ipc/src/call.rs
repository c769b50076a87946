//! A call of a method of `lintel-api`, from webd or the CLI to controld.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Repeated in the reply.
    pub id: u64,
    /// `domain.noun.verb` of `lintel-api`.
    pub method: String,
    /// Parameters as one object: path, query and body merged.
    #[serde(default)]
    pub params: Value,
    /// Who asks, as far as the carrier knows.
    #[serde(default)]
    pub caller: Caller,
}

/// Who asks. controld decides what that allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// By which way the call came; set by the end that accepted it.
    pub origin: Origin,
    /// Peer address, over HTTP.
    pub address: Option<IpAddr>,
    /// Kernel index of the link it arrived on, over HTTP.
    pub link_index: Option<u32>,
    /// Session token from the cookie or the Authorization header, over HTTP.
    pub token: Option<String>,
}

/// By which way a call came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Through webd.
    #[default]
    Web,
    /// Through the control socket, by root of this box.
    Local,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// From the call.
    pub id: u64,
    /// The result, or what was wrong.
    pub result: Result<Value, Problem>,
    /// A session began: webd puts this into a cookie. Empty text: the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_session: Option<String>,
}

/// What was wrong, in the shape of RFC 9457.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable short name (`unknown-method`, `not-logged-in`).
    #[serde(rename = "type")]
    pub kind: String,
    /// One line.
    pub title: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When to try again, seconds; webd says it in Retry-After (RFC 9110 section 10.2.3), too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Every bad field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One bad field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Path of the field (`dhcp.pool.first`).
    pub path: String,
    /// Line in the text that was sent, from 1, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}
