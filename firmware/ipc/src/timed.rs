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
    /// Somebody sets the clock by hand; answered with [`FromTimed::Set`].
    Set {
        /// Repeated in the answer.
        id: u64,
        /// Milliseconds of Unix time.
        to_unix_ms: u64,
    },
}

/// What became of a clock that was set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSet {
    /// It shows what was wanted.
    Done,
    /// It follows time servers.
    Synchronised {
        /// So many agree.
        agreeing: usize,
    },
    /// Earlier than this software was written.
    TooEarly {
        /// When that was, Unix seconds.
        min_unix_s: u64,
    },
    /// So late that it cannot be meant.
    TooLate {
        /// The latest that is taken, Unix seconds.
        max_unix_s: u64,
    },
    /// The kernel's clock did not obey, or the role has only begun.
    Failed,
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
    /// What became of [`ToTimed::Set`]. A report of the clock as it is then goes before it.
    Set {
        /// Of the message.
        id: u64,
        /// It.
        outcome: ClockSet,
    },
}
