//! The resolver as dnsd sees it.

use serde::{Deserialize, Serialize};

/// Counters of the resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DnsCounters {
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
