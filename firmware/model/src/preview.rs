//! What a plan would do, seen before it is done: the messages for the kernel, and the flows that
//! would be cut.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Messages shown of one plan; of the rest only the number. A whole table of a household is about
/// a hundred messages.
pub const PREVIEW_MESSAGES_MAX: usize = 500;
/// Flows named of those that are cut.
pub const PREVIEW_FLOWS_MAX: usize = 20;

/// A plan, step by step, as the kernel would hear it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// One for each step of the plan, in order.
    pub steps: Vec<StepPreview>,
    /// What it cuts; absent when the kernel could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowsCut>,
}

/// What one step sends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepPreview {
    /// Netlink messages, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<MessagePreview>,
    /// Messages beyond those that are shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// What is not said by netlink, or cannot be said yet, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One netlink message. Its sequence number is not known before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessagePreview {
    /// The kernel's name of its type (`RTM_NEWADDR`).
    pub kind: String,
    /// `nlmsg_type`.
    pub number: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// What follows the header, hexadecimal.
    pub payload: String,
}

/// Live flows that a plan cuts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowsCut {
    /// Flows that the kernel tracks now.
    pub tracked: u64,
    /// Those of them that would be cut, or may be.
    pub cut: u64,
    /// The first of these in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
}

/// A flow as far as it matters whether it is cut: addresses as its packets have them, before and
/// behind translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// Where answers come from.
    pub reply_source: IpAddr,
    /// Where answers go to.
    pub reply_destination: IpAddr,
}
