//! The wall clock, as the role that disciplines it sees it: the kernel's on a box, a pretended
//! one everywhere else, so that a test or `lintel run` never turns the host's clock.
//!
//! Times are nanoseconds of Unix time in an `i64`, which lasts until 2262.

use std::io;

use nix::time::{ClockId, clock_gettime};

const NS_PER_S: i64 = 1_000_000_000;

/// `tick` of an uncorrected clock, microseconds (USER_HZ is 100).
const TICK_US: i64 = 10_000;

/// What the kernel is told of the clock's quality; it hands it to programs that ask (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// Whether the clock follows a source.
    pub synchronised: bool,
    /// Seconds that today's last minute has more than sixty: 1, 0 or -1.
    pub leap: i8,
    /// Largest error, microseconds; the kernel lets it grow by 500 a second.
    pub error_us_max: i64,
    /// Expected error, microseconds.
    pub error_us: i64,
}

/// A clock that can be disciplined.
pub trait WallClock {
    /// What it shows.
    fn now_ns(&self) -> i64;
    /// What it showed when the kernel's clock showed `kernel_ns`: for the kernel's stamps of
    /// datagrams, which are not older than a few seconds.
    fn at_kernel_ns(&self, kernel_ns: i64) -> i64;
    /// Moves it at once.
    fn step(&mut self, by_ns: i64) -> io::Result<()>;
    /// Runs it at this rate: `tick` of adjtimex(2), 10000 being the hardware's own and each one
    /// more 100 ppm faster, and `freq`, 2^-16 ppm, at most 500 ppm each way.
    fn set_rate(&mut self, tick_us: i64, freq: i64) -> io::Result<()>;
    /// Tells the kernel how good it is.
    fn set_quality(&mut self, quality: Quality) -> io::Result<()>;
}

/// The kernel's clock. Needs CAP_SYS_TIME.
#[derive(Debug, Clone, Copy)]
pub struct KernelClock(());

impl KernelClock {
    /// Takes the clock over: no loop of the kernel's own turns it any more, and times are exact
    /// to the nanosecond.
    pub fn take() -> io::Result<Self> {
        adjust(|timex| {
            timex.modes = libc::ADJ_STATUS | libc::ADJ_NANO;
            timex.status = libc::STA_UNSYNC;
        })?;
        Ok(Self(()))
    }
}

impl WallClock for KernelClock {
    fn now_ns(&self) -> i64 {
        kernel_ns(ClockId::CLOCK_REALTIME)
    }

    fn at_kernel_ns(&self, kernel_ns: i64) -> i64 {
        kernel_ns
    }

    fn step(&mut self, by_ns: i64) -> io::Result<()> {
        adjust(|timex| {
            timex.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
            // With ADJ_NANO the field counts nanoseconds; it must not be negative.
            timex.time.tv_sec = by_ns.div_euclid(NS_PER_S) as _;
            timex.time.tv_usec = by_ns.rem_euclid(NS_PER_S) as _;
        })
    }

    fn set_rate(&mut self, tick_us: i64, freq: i64) -> io::Result<()> {
        adjust(|timex| {
            timex.modes = libc::ADJ_TICK | libc::ADJ_FREQUENCY;
            timex.tick = tick_us as _;
            timex.freq = freq as _;
        })
    }

    fn set_quality(&mut self, quality: Quality) -> io::Result<()> {
        adjust(|timex| {
            timex.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
            timex.status = if quality.synchronised {
                0
            } else {
                libc::STA_UNSYNC
            };
            timex.status |= match quality.leap {
                0 => 0,
                1.. => libc::STA_INS,
                _ => libc::STA_DEL,
            };
            timex.maxerror = quality.error_us_max.clamp(0, ERROR_US_MAX) as _;
            timex.esterror = quality.error_us.clamp(0, ERROR_US_MAX) as _;
        })
    }
}

/// The kernel counts no error beyond this (NTP_PHASE_LIMIT).
const ERROR_US_MAX: i64 = 16_000_000;

/// A clock that runs on the raw monotonic one, which nobody disciplines, begins with an error, and takes every
/// correction: the host's clock is read and never turned.
#[derive(Debug, Clone, Copy)]
pub struct PretendClock {
    /// What it showed at `since_ns` of CLOCK_MONOTONIC_RAW.
    shown_ns: i64,
    since_ns: i64,
    /// How much faster than the host's it runs, 2^-16 ppm.
    rate: i64,
}

impl PretendClock {
    /// The host's time of now and `error_ns`.
    pub fn new(error_ns: i64) -> Self {
        Self {
            shown_ns: kernel_ns(ClockId::CLOCK_REALTIME).saturating_add(error_ns),
            since_ns: kernel_ns(ClockId::CLOCK_MONOTONIC_RAW),
            rate: 0,
        }
    }

    /// The clock at `now_ns` of CLOCK_MONOTONIC_RAW.
    fn at(&self, now_ns: i64) -> i64 {
        let passed = now_ns.saturating_sub(self.since_ns);
        // Does not fit into 64 bits on the way.
        let more = (i128::from(passed) * i128::from(self.rate) / 1_000_000) >> 16;
        let more = i64::try_from(more).unwrap_or(0);
        self.shown_ns.saturating_add(passed).saturating_add(more)
    }

    /// Counts from now on.
    fn rebase(&mut self) {
        let now_ns = kernel_ns(ClockId::CLOCK_MONOTONIC_RAW);
        self.shown_ns = self.at(now_ns);
        self.since_ns = now_ns;
    }
}

impl WallClock for PretendClock {
    fn now_ns(&self) -> i64 {
        self.at(kernel_ns(ClockId::CLOCK_MONOTONIC_RAW))
    }

    fn at_kernel_ns(&self, kernel: i64) -> i64 {
        // The host's two clocks drift apart too slowly to matter over the age of a stamp.
        let age = kernel_ns(ClockId::CLOCK_REALTIME).saturating_sub(kernel);
        self.now_ns().saturating_sub(age)
    }

    fn step(&mut self, by_ns: i64) -> io::Result<()> {
        self.rebase();
        self.shown_ns = self.shown_ns.saturating_add(by_ns);
        Ok(())
    }

    fn set_rate(&mut self, tick_us: i64, freq: i64) -> io::Result<()> {
        self.rebase();
        self.rate = (((tick_us - TICK_US) * 100) << 16) + freq;
        Ok(())
    }

    fn set_quality(&mut self, _: Quality) -> io::Result<()> {
        Ok(())
    }
}

/// Zero should the kernel refuse, which it does only for unknown clocks.
fn kernel_ns(id: ClockId) -> i64 {
    clock_gettime(id).map_or(0, |ts| {
        // Not every architecture's field is an i64.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        let (seconds, ns) = (i64::from(ts.tv_sec()), i64::from(ts.tv_nsec()));
        seconds.saturating_mul(NS_PER_S).saturating_add(ns)
    })
}

fn adjust(fill: impl FnOnce(&mut libc::timex)) -> io::Result<()> {
    // SAFETY: all fields are integers, for which zeros are a valid value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    fill(&mut timex);
    // SAFETY: the pointer is to a live struct of the right type.
    if unsafe { libc::adjtimex(&raw mut timex) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(clock: &PretendClock, seconds: i64) -> i64 {
        clock.at(clock.since_ns + seconds * NS_PER_S)
    }

    #[test]
    fn a_pretended_clock_runs_steps_and_changes_its_rate() {
        let mut clock = PretendClock::new(0);
        clock.shown_ns = 0;
        assert_eq!(at(&clock, 10), 10 * NS_PER_S);
        clock.set_rate(TICK_US, 1 << 16).unwrap();
        clock.shown_ns = 0;
        assert_eq!(at(&clock, 10), 10 * NS_PER_S + 10_000);
        clock.set_rate(TICK_US - 2, 1 << 16).unwrap();
        clock.shown_ns = 0;
        assert_eq!(at(&clock, 10), 10 * NS_PER_S - 1_990_000);
        clock.step(-3 * NS_PER_S).unwrap();
        assert!(clock.shown_ns < -2 * NS_PER_S);
    }

    #[test]
    fn the_hosts_clock_is_read_and_stamps_are_carried_over() {
        let clock = PretendClock::new(86_400 * NS_PER_S);
        let host = kernel_ns(ClockId::CLOCK_REALTIME);
        let ahead = clock.now_ns() - host - 86_400 * NS_PER_S;
        assert!(ahead.abs() < NS_PER_S, "{ahead}");
        let carried = clock.at_kernel_ns(host) - host - 86_400 * NS_PER_S;
        assert!(carried.abs() < NS_PER_S / 100, "{carried}");
    }
}
