//! The wall clock of the box: set, drifting, and run faster or slower by timed.

use embassy_time::Instant;

/// The clock, and the truth.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    /// What the truth was when time began, Unix seconds.
    base_s: u64,
    /// How fast its crystal is wrong, parts per million.
    drift_ppm: f64,
    /// What timed does about it.
    rate_ppm: f64,
    /// What it showed when it was last touched, nanoseconds, and when that was.
    shown_ns: i64,
    touched: Instant,
}

impl Wall {
    /// A clock that is right when time begins.
    pub fn new(base_s: u64, drift_ppm: f64) -> Self {
        let wall = Self {
            base_s,
            drift_ppm,
            rate_ppm: 0.0,
            shown_ns: 0,
            touched: Instant::from_secs(0),
        };
        Self {
            shown_ns: wall.truth_ns(wall.touched),
            ..wall
        }
    }

    /// The truth, Unix nanoseconds.
    pub fn truth_ns(&self, now: Instant) -> i64 {
        let ns = self.base_s as i64 * 1_000_000_000;
        ns.saturating_add(now.as_micros() as i64 * 1_000)
    }

    /// What it shows, Unix nanoseconds.
    pub fn ns(&self, now: Instant) -> i64 {
        let us = now.saturating_duration_since(self.touched).as_micros() as i64;
        let wrong = us as f64 * (self.drift_ppm + self.rate_ppm) / 1_000.0;
        self.shown_ns + us * 1_000 + wrong as i64
    }

    /// What it shows, Unix seconds.
    pub fn unix_s(&self, now: Instant) -> u64 {
        u64::try_from(self.ns(now) / 1_000_000_000).unwrap_or(0)
    }

    /// Sets it.
    pub fn step(&mut self, now: Instant, by_ns: i64) {
        // What the kernel takes: not a box that started before 1970, and nothing after 2200.
        let least = now.as_micros() as i64 * 1_000;
        let most = 7_258_118_400 * 1_000_000_000;
        self.shown_ns = self.ns(now).saturating_add(by_ns).clamp(least, most);
        self.touched = now;
    }

    /// Runs it faster or slower.
    pub fn set_rate(&mut self, now: Instant, ppm: f64) {
        self.shown_ns = self.ns(now);
        self.touched = now;
        self.rate_ppm = ppm;
    }
}
