//! How the clock is put right: its frequency, and what is being slewed.
//!
//! RFC 5905 section 11.3 feeds offsets into a loop filter that needs hours to learn a frequency.
//! Here the frequency is the slope of a line through the samples of all survivors, fitted as one
//! with what was known before (a Gaussian prior): it is as good as the samples allow from the
//! first minute on, which is what chrony showed.
//!
//! An offset is slewed by running the clock at another rate for a while. What is still to be
//! slewed is known at every moment, so samples taken meanwhile count as well as others.

use embassy_time::{Duration, Instant};

use super::samples::{Line, seconds_after};
use crate::ntp::ScaledPpm;

/// An offset is slewed in this time, when the rate allows: short against a poll, and long enough
/// for a late end not to matter.
const SLEW_TIME_S: f64 = 4.0;
/// The fastest slew. 128 ms take 26 s; programs that measure a second are wrong by 5 ms.
const SLEW_RATE_MAX: f64 = 5_000e-6;
/// The largest frequency error of a crystal that we correct: the kernel's own bound.
const FREQUENCY_MAX: f64 = 500e-6;
/// How far a frequency that nobody measured may be off.
const FREQUENCY_SD_UNKNOWN: f64 = 100e-6;
/// How far a kept one may be: the box may have been in another room's temperature.
const FREQUENCY_SD_KEPT: f64 = 2e-6;
/// What a measured frequency may wander within a few hours.
const FREQUENCY_SD_MIN: f64 = 1e-6;

/// The rate of the clock, and what it is for.
#[derive(Debug)]
pub(super) struct Discipline {
    /// Frequency correction without slewing, a fraction.
    frequency: f64,
    /// What is known of it besides the samples at hand, and how well.
    prior: f64,
    prior_sd: f64,
    /// How well it is known with them.
    frequency_sd: f64,
    /// Seconds that were still to be slewed at `since`, at which rate, and until when.
    remaining: f64,
    rate: f64,
    since: Instant,
    until: Option<Instant>,
}

/// What a round of samples says about the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Correction {
    /// Seconds by which the clock is behind.
    pub(super) offset: f64,
    pub(super) offset_sd: f64,
    /// By how much it should run faster, a fraction.
    pub(super) frequency: f64,
    pub(super) frequency_sd: f64,
}

impl Discipline {
    pub(super) fn new(now: Instant, kept: Option<ScaledPpm>) -> Self {
        let frequency = kept.map_or(0.0, |kept| kept.ppm() * 1e-6);
        let frequency = frequency.clamp(-FREQUENCY_MAX, FREQUENCY_MAX);
        let sd = match kept {
            Some(_) => FREQUENCY_SD_KEPT,
            None => FREQUENCY_SD_UNKNOWN,
        };
        Self {
            frequency,
            prior: frequency,
            prior_sd: sd,
            frequency_sd: sd,
            remaining: 0.0,
            rate: 0.0,
            since: now,
            until: None,
        }
    }

    /// The slope that one line, or several of the same clock, have together with what was known
    /// before, and its standard deviation.
    pub(super) fn slope<'a>(&self, lines: impl Iterator<Item = &'a Line>) -> (f64, f64) {
        let known = self.prior_sd.powi(-2);
        let (sxy, sxx) = lines.fold(
            ((self.prior - self.frequency) * known, known),
            |(sxy, sxx), line| {
                (
                    sxy + line.sxy / line.variance,
                    sxx + line.sxx / line.variance,
                )
            },
        );
        (sxy / sxx, sxx.powf(-0.5))
    }

    /// Takes the correction over; it is slewed from now on.
    pub(super) fn correct(&mut self, now: Instant, correction: Correction) {
        self.settle(now);
        self.frequency =
            (self.frequency + correction.frequency).clamp(-FREQUENCY_MAX, FREQUENCY_MAX);
        self.frequency_sd = correction.frequency_sd;
        // The samples at hand will be counted again next time: what they taught becomes prior
        // knowledge only when they know it much better, and then as half as well as they do.
        if correction.frequency_sd * 2.0 <= self.prior_sd.max(FREQUENCY_SD_MIN) {
            self.prior = self.frequency;
            self.prior_sd = (correction.frequency_sd * 2.0).max(FREQUENCY_SD_MIN);
        }
        self.remaining += correction.offset;
        let time_s = SLEW_TIME_S.max(self.remaining.abs() / SLEW_RATE_MAX);
        self.rate = self.remaining / time_s;
        self.until = Some(now + Duration::from_micros((time_s * 1e6) as u64));
    }

    /// Forgets what is being slewed: the clock was stepped.
    pub(super) fn stop(&mut self, now: Instant) {
        self.remaining = 0.0;
        self.rate = 0.0;
        self.since = now;
        self.until = None;
    }

    /// Whether a slew ended, so that the rate is to be set anew.
    pub(super) fn is_slewed(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| until > now) {
            return false;
        }
        self.settle(now);
        self.rate = 0.0;
        self.until = None;
        true
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Seconds still to be slewed `at` some time at the present rate. The kernel changes the
    /// rate of the monotonic clock too, which is why its seconds are not quite seconds.
    pub(super) fn remaining(&self, at: Instant) -> f64 {
        let passed = -seconds_after(at, self.since);
        self.remaining - self.rate * passed / (1.0 + self.frequency + self.rate)
    }

    /// The frequency correction without slewing.
    pub(super) fn frequency(&self) -> ScaledPpm {
        ScaledPpm::from_ppm(self.frequency * 1e6)
    }

    /// How well that is known, a fraction.
    pub(super) fn frequency_sd(&self) -> f64 {
        self.frequency_sd
    }

    /// The rate that the clock is to have now.
    pub(super) fn rate(&self) -> ScaledPpm {
        ScaledPpm::from_ppm((self.frequency + self.rate) * 1e6)
    }

    fn settle(&mut self, now: Instant) {
        self.remaining = self.remaining(now);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correction(offset: f64, frequency: f64) -> Correction {
        Correction {
            offset,
            offset_sd: 1e-5,
            frequency,
            frequency_sd: 1e-7,
        }
    }

    #[test]
    fn an_offset_is_slewed_and_then_the_rate_is_the_frequency() {
        let start = Instant::from_secs(100);
        let mut discipline = Discipline::new(start, Some(ScaledPpm::from_ppm(10.0)));
        discipline.correct(start, correction(0.001, 5e-6));
        assert!((discipline.rate().ppm() - 265.0).abs() < 0.001);
        let half = start + Duration::from_secs(2);
        assert!((discipline.remaining(half) - 0.0005).abs() < 1e-6);
        assert!(!discipline.is_slewed(half));
        let end = discipline.deadline().unwrap();
        assert_eq!(end, start + Duration::from_secs(4));
        // A millisecond late is 0.25 us too far, and known.
        let late = end + Duration::from_millis(1);
        assert!(discipline.is_slewed(late));
        assert!((discipline.remaining(late) + 0.25e-6).abs() < 0.3e-6);
        assert!((discipline.rate().ppm() - 15.0).abs() < 0.001);
        assert_eq!(discipline.deadline(), None);
    }

    #[test]
    fn large_offsets_take_their_time_and_frequencies_have_a_bound() {
        let start = Instant::from_secs(100);
        let mut discipline = Discipline::new(start, None);
        discipline.correct(start, correction(-0.1, 0.01));
        assert_eq!(discipline.deadline(), Some(start + Duration::from_secs(20)));
        assert!((discipline.rate().ppm() - (500.0 - 5_000.0)).abs() < 0.001);
        assert!((discipline.frequency().ppm() - 500.0).abs() < 0.001);
    }
}
