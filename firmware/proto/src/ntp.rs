//! The Network Time Protocol (RFC 5905): a client that disciplines the clock and a server.
//!
//! ```text
//!   servers ◀──Transmit── client ──Event──▶ shell ──adjtimex──▶ kernel's clock
//!           ──Datagram──▶   │
//!                           │ Event::System
//!                           ▼
//!   LAN ──request──▶ server ──reply, stamped by the shell──▶ LAN
//! ```
//!
//! Two clocks come in as arguments: the monotonic one for deadlines, and the wall clock that is
//! being disciplined ([`Now`]). What the client decides goes out as events that the shell hands to
//! the kernel; the server is told how good our clock is ([`System`]) and says nothing while it is
//! not good.

pub mod client;
pub mod server;

use embassy_time::Instant;
pub use lintel_wire::ntp::{Leap, ReferenceId, UnixNs};

/// How fast an undisciplined or held-over clock may go astray, parts per billion: 15 ppm
/// (RFC 5905's PHI).
pub const TOLERANCE_PPB: i64 = 15_000;

/// Both clocks, read one right after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: never steps.
    pub mono: Instant,
    /// The clock that is disciplined (`CLOCK_REALTIME`).
    pub wall: UnixNs,
}

/// How good our clock is: what a server says of itself (RFC 5905's system variables).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// Leap warning, or [`Leap::Unsynchronised`].
    pub leap: Leap,
    /// Ours: one more than our source's; 16 when not synchronised.
    pub stratum: u8,
    /// Whom we follow.
    pub reference_id: ReferenceId,
    /// When the clock was last corrected.
    pub reference: UnixNs,
    /// Round trip to the primary source, nanoseconds.
    pub root_delay_ns: i64,
    /// Largest error besides half the root delay at `as_of`, nanoseconds; it grows by
    /// [`TOLERANCE_PPB`] from then on.
    pub root_dispersion_ns: i64,
    /// When the dispersion held.
    pub as_of: Instant,
    /// Of the wall clock, log2 seconds.
    pub precision: i8,
}

impl System {
    /// A clock nobody may trust.
    pub const fn unsynchronised(as_of: Instant, precision: i8) -> Self {
        Self {
            leap: Leap::Unsynchronised,
            stratum: lintel_wire::ntp::STRATUM_MAX,
            reference_id: ReferenceId::NONE,
            reference: UnixNs(0),
            root_delay_ns: 0,
            root_dispersion_ns: 0,
            as_of,
            precision,
        }
    }

    /// Whether the clock may be given to others.
    pub fn is_synchronised(&self) -> bool {
        self.leap != Leap::Unsynchronised && self.stratum < lintel_wire::ntp::STRATUM_MAX
    }

    /// The dispersion at `now`, nanoseconds.
    pub fn root_dispersion_ns_at(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.as_of).as_micros();
        let since_us = i64::try_from(since).unwrap_or(i64::MAX);
        let grown_ns = since_us.saturating_mul(TOLERANCE_PPB / 1_000) / 1_000;
        self.root_dispersion_ns.saturating_add(grown_ns)
    }

    /// The largest error of the clock at `now`, nanoseconds (RFC 5905's root distance).
    pub fn root_distance_ns_at(&self, now: Instant) -> i64 {
        self.root_dispersion_ns_at(now)
            .saturating_add(self.root_delay_ns / 2)
    }
}

/// A frequency correction in the kernel's unit, 2^-16 parts per million; positive makes the clock
/// run faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ScaledPpm(pub i64);

/// The kernel's `freq` beyond one of its `tick` steps: 1 microsecond of 10000 is 100 ppm.
const TICK_STEP_PPM: i64 = 100;
/// `tick` of an uncorrected clock, microseconds, at the kernel's USER_HZ of 100.
const TICK_US: i64 = 10_000;

impl ScaledPpm {
    /// From parts per million; what is beyond ten percent stays there, which is also the most
    /// that the kernel takes.
    pub fn from_ppm(ppm: f64) -> Self {
        Self((ppm.clamp(-100_000.0, 100_000.0) * 65_536.0).round() as i64)
    }

    /// In parts per million.
    pub fn ppm(self) -> f64 {
        self.0 as f64 / 65_536.0
    }

    /// As the fields `tick` and `freq` of adjtimex(2), to be set in one call with
    /// `ADJ_TICK | ADJ_FREQUENCY`: the kernel limits `freq` to 500 ppm, and `tick` does the rest
    /// in steps of 100 ppm.
    pub fn tick_and_freq(self) -> (i64, i64) {
        let step = TICK_STEP_PPM << 16;
        let half = if self.0 < 0 { -step / 2 } else { step / 2 };
        let ticks = (self.0 + half) / step;
        (TICK_US + ticks, self.0 - ticks * step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_split_into_ticks_and_a_small_rest() {
        for (ppm, tick, rest) in [
            (0.0, 10_000, 0.0),
            (12.5, 10_000, 12.5),
            (-49.0, 10_000, -49.0),
            (151.0, 10_002, -49.0),
            (-151.0, 9_998, 49.0),
            (5_000.0, 10_050, 0.0),
            (1e9, 11_000, 0.0),
        ] {
            let (got_tick, freq) = ScaledPpm::from_ppm(ppm).tick_and_freq();
            assert_eq!((got_tick, ScaledPpm(freq).ppm()), (tick, rest), "{ppm}");
        }
    }

    #[test]
    fn dispersion_grows_with_time() {
        let then = Instant::from_secs(10);
        let system = System {
            root_delay_ns: 2_000,
            root_dispersion_ns: 500,
            ..System::unsynchronised(then, -20)
        };
        assert!(!system.is_synchronised());
        let later = Instant::from_secs(110);
        assert_eq!(system.root_dispersion_ns_at(later), 500 + 1_500_000);
        assert_eq!(system.root_distance_ns_at(later), 1_501_500);
        assert_eq!(system.root_dispersion_ns_at(Instant::from_secs(0)), 500);
    }
}
