//! controld and dnsd.

use lintel_model::services::DnsSpec;
use serde::{Deserialize, Serialize};

/// From controld to dnsd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToDnsd {
    /// What to serve, whole: the first message of a session and whenever it changes.
    Spec(DnsSpec),
    /// Empty the cache.
    Flush,
}

/// From dnsd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromDnsd {
    /// Counters since the session began; sent when they changed, at most once a second.
    Statistics(DnsStatistics),
}

/// Counters of dnsd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStatistics {
    /// Questions taken.
    pub queries: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered from local names.
    pub local: u64,
    /// Asked upstream.
    pub forwarded: u64,
    /// Answered SERVFAIL.
    pub failed: u64,
    /// Answers kept.
    pub cache_entries: u64,
    /// Octets they take.
    pub cache_bytes: u64,
    /// Packets dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Upstreams with their state (`good`, `failing`).
    pub upstreams: Vec<(String, String)>,
}
