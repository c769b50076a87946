//! The clock. Every other crate takes time as an argument.

use embassy_time::Instant;
use nix::time::{ClockId, clock_gettime};

/// Reads the kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Microseconds since boot, running on while the box sleeps (CLOCK_BOOTTIME).
    pub fn now(self) -> Instant {
        let ts = read(ClockId::CLOCK_BOOTTIME);
        Instant::from_micros(ts.0 * 1_000_000 + ts.1 / 1_000)
    }

    /// Wall clock, Unix milliseconds. Wrong until the time is set; may jump.
    pub fn unix_ms(self) -> u64 {
        let ts = read(ClockId::CLOCK_REALTIME);
        ts.0 * 1_000 + ts.1 / 1_000_000
    }

    /// Wall clock, Unix seconds.
    pub fn unix_s(self) -> u64 {
        self.unix_ms() / 1_000
    }
}

/// Seconds and nanoseconds; zero should the kernel refuse, which it does only for unknown
/// clocks, and these two exist since 2.6.39.
fn read(id: ClockId) -> (u64, u64) {
    clock_gettime(id).map_or((0, 0), |ts| {
        (
            ts.tv_sec().try_into().unwrap_or(0),
            ts.tv_nsec().try_into().unwrap_or(0),
        )
    })
}
