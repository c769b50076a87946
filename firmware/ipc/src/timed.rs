//! controld and timed.

use lintel_model::clock::ClockReport;
use lintel_model::services::NtpSpec;
use serde::{Deserialize, Serialize};

/// From controld to timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToTimed {
    /// What to ask and to serve, whole: the first message of a session and whenever it changes.
    Spec {
        /// It.
        spec: NtpSpec,
        /// The frequency correction that an earlier boot found right, 2^-16 parts per million.
        drift: Option<i64>,
    },
}

/// From timed to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromTimed {
    /// How the clock stands; at the start of a session, when something of weight changed, and
    /// otherwise now and then.
    Report(Box<ClockReport>),
    /// To be kept for the next start, once an hour: the frequency correction that was found
    /// right, 2^-16 parts per million.
    Drift(i64),
    /// The clock was moved at once: times noted before it are by so much off.
    Stepped {
        /// Milliseconds; positive: the clock was behind.
        by_ms: i64,
    },
}
