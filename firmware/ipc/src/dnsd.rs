//! controld and dnsd.

use lintel_model::resolver::DnsCounters;
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
    Statistics(DnsCounters),
}
