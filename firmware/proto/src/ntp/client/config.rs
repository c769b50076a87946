//! What the client has to know.

use super::{ScaledPpm, UnixNs};

/// Names a source; chosen by the caller and kept when sources are set anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// Names an association; chosen by the machine and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

/// What the client has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Whom to ask; those beyond [`SOURCES_MAX`] are not looked at.
    pub sources: Vec<SourceConfig>,
    /// No server that says an earlier time is believed: the commit time of this software. Not the
    /// last time that was stored: servers told it, and one lie into the future would keep the
    /// honest ones out for ever. Times are read within 68 years of it.
    pub floor: UnixNs,
    /// The frequency correction kept from the last run ([`Event::KeepDrift`]).
    pub drift: Option<ScaledPpm>,
    /// Of the wall clock, log2 seconds; -24 is a good guess for Linux.
    pub precision: i8,
    /// Sources that must agree before the clock counts as synchronised; 0 asks for two as soon as
    /// three servers are known, and one below that.
    pub agreeing_min: usize,
}

/// A server or pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its name to the caller.
    pub id: SourceId,
    /// How many of its addresses are asked.
    pub kind: SourceKind,
    /// Shortest interval, log2 seconds: 6 for other people's servers; not below 0.
    pub poll_min: u8,
    /// Longest interval, log2 seconds: 10 is usual; not above 17.
    pub poll_max: u8,
    /// Whether four requests two seconds apart begin an association, so that the clock is right
    /// within ten seconds.
    pub burst: bool,
}

/// What the addresses of a source are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Ways to the same server: one is asked, the next when it is silent.
    Server,
    /// Servers of a pool: up to [`POOL_ASSOCIATIONS_MAX`] are asked.
    Pool,
}
