//! The clock as timed sees it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How the clock stands. Times are nanoseconds, frequencies parts per billion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockReport {
    /// What the clock showed at the report, milliseconds of Unix time. Under `lintel run` it is a
    /// pretended one, and not the machine's.
    #[serde(default)]
    pub unix_ms: u64,
    /// Whether the clock follows time sources.
    pub synchronised: bool,
    /// Whether several sources agreed since boot: from then on the date is good enough to judge
    /// certificates by. One source alone can be wrong or lie.
    pub agreed: bool,
    /// Distance to a primary source; 16 while not synchronised (RFC 5905 section 7.3).
    pub stratum: u8,
    /// `none`, `insert`, `delete`, or `unsynchronised`.
    pub leap: String,
    /// The source that is followed, address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<SocketAddr>,
    /// How far the sources said the clock was off when they were last heard; positive: it was
    /// behind.
    pub offset_ns: i64,
    /// How much the sources' opinions scatter.
    pub jitter_ns: i64,
    /// Round trip to the primary source.
    pub root_delay_ns: i64,
    /// Largest error relative to it.
    pub root_dispersion_ns: i64,
    /// By how much the hardware's clock is made to run faster.
    pub frequency_ppb: i64,
    /// When the sources were last combined, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_unix_s: Option<u64>,
    /// Every source that is asked.
    pub sources: Vec<TimeSource>,
    /// Requests of the household that were answered.
    pub served: u64,
    /// Packets that were not, by reason.
    pub dropped: Vec<(String, u64)>,
}

/// One time source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeSource {
    /// Address and port.
    pub address: SocketAddr,
    /// How it is written in the configuration: a server, a pool's name, or `provider`.
    pub origin: String,
    /// `followed`, `agrees`, `candidate`, `falseticker`, `unreachable`, `unfit`, or `refused`.
    pub state: String,
    /// Its stratum; 0 while nothing was heard.
    pub stratum: u8,
    /// One bit a poll, the newest lowest: whether it was answered.
    pub reach: u8,
    /// Seconds between polls.
    pub poll_s: u32,
    /// How far the clock is off in its eyes.
    pub offset_ns: i64,
    /// Round trip to it.
    pub delay_ns: i64,
    /// How much its answers scatter.
    pub jitter_ns: i64,
}

/// Most sources that a report of timed is believed to have.
pub const TIME_SOURCES_MAX: usize = 32;
