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

mod rate;

use std::net::IpAddr;

use embassy_time::{Duration, Instant};
use lintel_wire::ntp::{
    self, HEADER_LEN, Kiss, Leap, Mode, NtpShort, NtpTimestamp, Packet, ReferenceId,
};

pub use rate::CLIENTS_MAX;
use rate::{Asked, RateTable};

use super::{System, UnixNs};
use crate::rng::Rng;

/// How often one address may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// On average, one request in this time.
    pub interval: Duration,
    /// Requests at once after silence.
    pub burst: u8,
}

impl RateLimit {
    /// For a LAN: what clients do in a hurry (eight requests two seconds apart, a new start
    /// every minute) stays below it, a loop without a pause does not.
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
    rate: Option<RateTable>,
    counters: Counters,
}

impl Server {
    /// A server that says nothing until it is told how good the clock is. `limit` is `None` to
    /// answer everybody always. The table's places are chosen with a secret from `rng`.
    pub fn new(now: Instant, limit: Option<RateLimit>, rng: &mut dyn Rng) -> Self {
        Self {
            system: System::unsynchronised(now, 0),
            rate: limit.map(|limit| RateTable::new(limit, rng)),
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
        now: Instant,
        from: IpAddr,
        octets: &[u8],
        received: UnixNs,
    ) -> Verdict {
        let Ok(request) = Packet::parse(octets) else {
            self.counters.malformed += 1;
            return Verdict::Silence(DropReason::Malformed);
        };
        if request.mode != Mode::Client {
            self.counters.not_client += 1;
            return Verdict::Silence(DropReason::NotClient);
        }
        if !self.system.is_synchronised() {
            self.counters.unsynchronised += 1;
            return Verdict::Silence(DropReason::Unsynchronised);
        }
        let asked = match &mut self.rate {
            Some(table) => table.ask(now, from),
            None => Asked::Within,
        };
        match asked {
            Asked::Within => {
                self.counters.replies += 1;
                Verdict::Reply(self.reply(now, &request, received))
            }
            Asked::FirstBeyond => {
                self.counters.kisses += 1;
                Verdict::Reply(kiss(&request, received))
            }
            Asked::Beyond => {
                self.counters.rate += 1;
                Verdict::Silence(DropReason::Rate)
            }
        }
    }

    fn reply(&self, now: Instant, request: &Packet, received: UnixNs) -> Reply {
        let system = &self.system;
        let packet = Packet {
            leap: system.leap,
            stratum: system.stratum,
            precision: system.precision,
            root_delay: NtpShort::from_ns(system.root_delay_ns),
            root_dispersion: NtpShort::from_ns(system.root_dispersion_ns_at(now)),
            reference_id: system.reference_id,
            reference: NtpTimestamp::from_unix(system.reference),
            ..answer(request, received)
        };
        Reply {
            octets: packet.emit(),
        }
    }
}

/// Tells a client to slow down (RFC 5905 section 7.4). Nothing in it can be taken for time.
fn kiss(request: &Packet, received: UnixNs) -> Reply {
    let packet = Packet {
        leap: Leap::Unsynchronised,
        stratum: 0,
        reference_id: ReferenceId::from(Kiss::Rate),
        ..answer(request, received)
    };
    Reply {
        octets: packet.emit(),
    }
}

/// What every answer to this request says. The poll field is the client's own; the origin is
/// its transmit field whatever stands in there.
fn answer(request: &Packet, received: UnixNs) -> Packet {
    Packet {
        leap: Leap::Unsynchronised,
        version: request.version,
        mode: Mode::Server,
        stratum: 0,
        poll: request.poll,
        precision: 0,
        root_delay: NtpShort::ZERO,
        root_dispersion: NtpShort::ZERO,
        reference_id: ReferenceId::NONE,
        reference: NtpTimestamp::ZERO,
        origin: request.transmit,
        receive: NtpTimestamp::from_unix(received),
        transmit: NtpTimestamp::ZERO,
    }
}

#[cfg(test)]
mod tests;
