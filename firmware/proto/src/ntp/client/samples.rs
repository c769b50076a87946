//! What one server's replies say: its last samples, the clock filter over the last eight of them
//! (RFC 5905 section 10), and a line through them.

use std::collections::VecDeque;

use embassy_time::Instant;

use crate::ntp::TOLERANCE_PPB;

/// Most samples kept of one server: more say nothing new, since a crystal's frequency wanders
/// with the temperature of a room.
pub(super) const SAMPLES_MAX: usize = 64;
/// Stages of the clock filter.
const STAGES: usize = 8;
/// What an empty stage counts, seconds (RFC 5905's MAXDISP).
const EMPTY_DISPERSION: f64 = 16.0;
/// A line has to explain at least this many samples before it is doubted.
const RUNS_SAMPLES_MIN: usize = 8;
/// One-sided five percent of the normal distribution.
const RUNS_DEVIATIONS: f64 = 1.65;
/// So many standard deviations away from the line, a sample is doubted.
const DOUBT_DEVIATIONS: f64 = 6.0;
/// So many doubted samples in a row are the new truth.
const DOUBTED_MAX: usize = 3;
/// How far the line may bend until the next sample, a fraction: what a room's temperature does
/// to a crystal.
const BEND: f64 = 1e-6;
/// How many residuals the first guess of the noise counts as.
const NOISE_PRIOR_SAMPLES: f64 = 2.0;

/// One exchange; all in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Their time minus ours, as it will be when everything decided so far is slewed.
    pub(super) offset: f64,
    pub(super) delay: f64,
    /// Reading errors of both clocks and their tolerance over the exchange.
    pub(super) dispersion: f64,
}

/// The samples of one server, oldest first.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<Sample>,
    /// How many lie on a line; they come before those that are doubted.
    straight: usize,
    /// How many of the newest are far from it.
    doubted: usize,
}

/// What the clock filter makes of the last eight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Filtered {
    /// Of the sample that was least delayed.
    pub(super) delay: f64,
    pub(super) dispersion: f64,
    pub(super) jitter: f64,
}

/// Weighted sums over the samples that lie on a line: enough to fit one, alone or with those of
/// other servers that see the same clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// Sum of weights.
    weight: f64,
    /// Weighted mean of the times, seconds before now (negative or zero).
    mean_at: f64,
    mean_offset: f64,
    /// Weighted sum of squares of times around their mean, and of times by offsets.
    pub(super) sxx: f64,
    pub(super) sxy: f64,
    /// Variance of a sample of weight one.
    pub(super) variance: f64,
}

impl Line {
    /// Its own slope, without what else is known.
    fn slope(&self) -> f64 {
        if self.sxx > 0.0 {
            self.sxy / self.sxx
        } else {
            0.0
        }
    }

    /// The offset now, if it changes by `slope`.
    pub(super) fn offset_now(&self, slope: f64) -> f64 {
        self.mean_offset - slope * self.mean_at
    }

    /// The standard deviation of that, if the slope's is `slope_sd`.
    pub(super) fn offset_sd(&self, slope_sd: f64) -> f64 {
        (self.variance / self.weight + (self.mean_at * slope_sd).powi(2)).sqrt()
    }
}

impl Samples {
    pub(super) fn push(&mut self, sample: Sample, precision: f64) {
        let is_doubtful = self.is_doubtful(&sample, precision);
        if !is_doubtful {
            // They were a spike.
            self.kept.truncate(self.kept.len() - self.doubted);
            self.doubted = 0;
        }
        if self.kept.len() == SAMPLES_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(sample);
        if is_doubtful {
            self.doubted += 1;
            self.straight = self.straight.min(self.kept.len() - self.doubted);
            if self.doubted == DOUBTED_MAX {
                // Our clock, theirs or the way changed; the old samples say nothing of it.
                self.straight = self.doubted;
                self.doubted = 0;
            }
            return;
        }
        self.straight = (self.straight + 1).min(self.kept.len());
        while self.straight > RUNS_SAMPLES_MIN && self.is_bent(sample.at, precision) {
            self.straight -= 1;
        }
    }

    /// Whether a sample is too far from the line to be chance.
    fn is_doubtful(&self, sample: &Sample, precision: f64) -> bool {
        if self.straight < RUNS_SAMPLES_MIN {
            return false;
        }
        let Some((line, last)) = self.line(sample.at, precision).zip(self.kept.back()) else {
            return false;
        };
        let waited = (sample.delay - last.delay).max(0.0) / 2.0;
        let bent = BEND * seconds_after(last.at, sample.at);
        let chance = DOUBT_DEVIATIONS * line.variance.sqrt() + waited + bent;
        (sample.offset - line.offset_now(line.slope())).abs() > chance
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.straight = 0;
        self.doubted = 0;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The clock was set forward by `offset` and runs faster by `slope` from `now` on: as if it
    /// had always been so.
    pub(super) fn shift(&mut self, now: Instant, offset: f64, slope: f64) {
        for sample in &mut self.kept {
            sample.offset -= offset + slope * seconds_after(now, sample.at);
        }
    }

    /// The last offset, for status.
    pub(super) fn last(&self) -> Option<&Sample> {
        self.kept.back()
    }

    /// The clock filter: the last eight by their delay; the less a sample was delayed, the more
    /// it counts, and an empty stage counts as wrong by 16 s.
    pub(super) fn filtered(&self, now: Instant, precision: f64) -> Option<Filtered> {
        let mut stages: heapless::Vec<&Sample, STAGES> =
            self.kept.iter().rev().take(STAGES).collect();
        stages.sort_unstable_by(|a, b| a.delay.total_cmp(&b.delay).then(b.at.cmp(&a.at)));
        let best = *stages.first()?;
        let tolerance = TOLERANCE_PPB as f64 * 1e-9;
        let mut dispersion = 0.0;
        let mut share = 0.5;
        for stage in 0..STAGES {
            dispersion += share
                * stages.get(stage).map_or(EMPTY_DISPERSION, |sample| {
                    sample.dispersion - tolerance * seconds_after(now, sample.at)
                });
            share /= 2.0;
        }
        let squares: f64 = stages
            .iter()
            .map(|sample| (sample.offset - best.offset).powi(2))
            .sum();
        let others = stages.len().saturating_sub(1).max(1);
        Some(Filtered {
            delay: best.delay,
            dispersion,
            jitter: (squares / others as f64).sqrt().max(precision),
        })
    }

    /// The line through the newest samples that lie on one.
    pub(super) fn line(&self, now: Instant, precision: f64) -> Option<Line> {
        self.line_of(self.straight, now, precision)
    }

    fn line_of(&self, count: usize, now: Instant, precision: f64) -> Option<Line> {
        let of = || self.on_line(count);
        let least = of().map(|sample| sample.delay).min_by(f64::total_cmp)?;
        let excess = of().map(|sample| sample.delay - least).sum::<f64>() / count as f64;
        // A packet that waited in a queue is wrong by up to half its wait: what waited long
        // counts little. Half the mean is what simulated networks like best, but a few that waited
        // very long, as in a busy machine, must not lend weight to others that waited long.
        let usual = (excess / 2.0).min(least) + precision;
        let weighed = || {
            of().map(|sample| {
                let weight = (1.0 + (sample.delay - least) / usual).powi(-2);
                (weight, seconds_after(now, sample.at), sample.offset)
            })
        };
        let weight: f64 = weighed().map(|(weight, _, _)| weight).sum();
        let mean_at = weighed().map(|(w, at, _)| w * at).sum::<f64>() / weight;
        let mean_offset = weighed().map(|(w, _, offset)| w * offset).sum::<f64>() / weight;
        let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
        for (weight, at, offset) in weighed() {
            sxx += weight * (at - mean_at).powi(2);
            sxy += weight * (at - mean_at) * (offset - mean_offset);
            syy += weight * (offset - mean_offset).powi(2);
        }
        let unexplained = if sxx > 0.0 {
            syy - sxy * sxy / sxx
        } else {
            0.0
        }
        .max(0.0);
        let guess = (excess / 2.0).max(least / 50.0).max(precision).powi(2);
        let free = (count as f64 - 2.0).max(0.0);
        Some(Line {
            weight,
            mean_at,
            mean_offset,
            sxx,
            sxy,
            variance: (unexplained + NOISE_PRIOR_SAMPLES * guess) / (free + NOISE_PRIOR_SAMPLES),
        })
    }

    fn on_line(&self, count: usize) -> impl Iterator<Item = &Sample> {
        let end = self.kept.len() - self.doubted;
        self.kept.range(end.saturating_sub(count)..end)
    }

    /// Whether the samples stay on one side of their line for too long to lie on it: the number
    /// of runs of equal signs among the residuals is below what chance gives (Wald and Wolfowitz).
    fn is_bent(&self, now: Instant, precision: f64) -> bool {
        let Some(line) = self.line_of(self.straight, now, precision) else {
            return false;
        };
        let slope = line.slope();
        let (mut above, mut below, mut runs) = (0.0f64, 0.0f64, 0.0f64);
        let mut before = None;
        for sample in self.on_line(self.straight) {
            let at = seconds_after(now, sample.at);
            let is_above = sample.offset > line.offset_now(slope) + slope * at;
            if is_above {
                above += 1.0;
            } else {
                below += 1.0;
            }
            if before != Some(is_above) {
                runs += 1.0;
            }
            before = Some(is_above);
        }
        let all = above + below;
        let expected = 2.0 * above * below / all + 1.0;
        let variance = (expected - 1.0) * (expected - 2.0) / (all - 1.0);
        runs < expected - RUNS_DEVIATIONS * variance.max(0.0).sqrt()
    }
}

/// Seconds from `now` to `at`; negative for what was.
pub(super) fn seconds_after(now: Instant, at: Instant) -> f64 {
    if at >= now {
        at.saturating_duration_since(now).as_micros() as f64 * 1e-6
    } else {
        now.saturating_duration_since(at).as_micros() as f64 * -1e-6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, SeededRng};

    const PRECISION: f64 = 1e-7;

    fn sample(at_s: u64, offset: f64, delay: f64) -> Sample {
        Sample {
            at: Instant::from_secs(at_s),
            offset,
            delay,
            dispersion: 1e-6,
        }
    }

    #[test]
    fn the_filter_prefers_what_was_not_delayed() {
        let mut samples = Samples::default();
        let now = Instant::from_secs(8);
        assert_eq!(samples.filtered(now, PRECISION), None);
        samples.push(sample(1, 0.5, 0.010), PRECISION);
        let one = samples.filtered(now, PRECISION).unwrap();
        // Half of one sample, and seven empty stages.
        assert!((one.dispersion - 16.0 * (0.5 - 1.0 / 256.0)).abs() < 0.001);
        for n in 2..=4 {
            samples.push(sample(n, 0.0, 0.020 + n as f64 * 0.001), PRECISION);
        }
        let four = samples.filtered(now, PRECISION).unwrap();
        assert!(four.dispersion < 1.0);
        assert_eq!(four.delay, 0.010);
        assert!((four.jitter - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_line_is_found_in_noise() {
        let mut rng = SeededRng::new(3);
        let mut noise = || (f64::from(rng.below(2_001)) - 1_000.0) * 1e-7;
        let mut samples = Samples::default();
        for n in 0..40 {
            let queued = if n % 5 == 0 { 0.010 } else { 0.0 };
            // 20 ppm and 3 ms; every fifth waited 10 ms in a queue on its way there.
            let offset = 0.003 + (n * 16) as f64 * 20e-6 + noise() + queued / 2.0;
            samples.push(sample(n * 16, offset, 0.005 + queued), PRECISION);
        }
        assert!(samples.straight > 30, "{}", samples.straight);
        let now = Instant::from_secs(39 * 16);
        let line = samples.line(now, PRECISION).unwrap();
        let slope = line.sxy / line.sxx;
        assert!((slope - 20e-6).abs() < 2e-6, "{slope}");
        let offset = line.offset_now(slope);
        assert!((offset - 0.003 - 624.0 * 20e-6).abs() < 300e-6, "{offset}");
        // Put right, nothing is left.
        samples.shift(now, offset, slope);
        let line = samples.line(now, PRECISION).unwrap();
        assert!(line.sxy.abs() / line.sxx < 1e-9 && line.offset_now(0.0).abs() < 1e-9);
    }

    #[test]
    fn a_bend_makes_the_line_shorter() {
        let mut samples = Samples::default();
        for n in 0..30u64 {
            let wiggle = if n % 2 == 0 { 1e-6 } else { -1e-6 };
            let bent = n.saturating_sub(15) as f64 * 1e-3;
            samples.push(sample(n, bent + wiggle, 0.001), PRECISION);
        }
        assert!(samples.straight <= 20, "{}", samples.straight);
        assert_eq!(samples.len(), 30);
    }

    #[test]
    fn a_spike_is_dropped_and_a_step_is_believed_at_the_third_sample() {
        let mut samples = Samples::default();
        let wiggle = |n: u64| if n.is_multiple_of(2) { 1e-5 } else { -1e-5 };
        for n in 0..20 {
            samples.push(sample(n, wiggle(n), 0.001), PRECISION);
        }
        let offset = |samples: &Samples, n| {
            let line = samples.line(Instant::from_secs(n), PRECISION).unwrap();
            line.offset_now(line.slope())
        };
        samples.push(sample(20, 0.010, 0.001), PRECISION);
        samples.push(sample(21, 0.010, 0.001), PRECISION);
        assert!(offset(&samples, 21).abs() < 1e-4);
        samples.push(sample(22, wiggle(22), 0.001), PRECISION);
        assert_eq!(samples.len(), 21);
        for n in 23..=25 {
            samples.push(sample(n, 0.010, 0.001), PRECISION);
        }
        assert!((offset(&samples, 25) - 0.010).abs() < 1e-4);
        assert_eq!(samples.straight, 3);
    }

    #[test]
    fn samples_are_bounded() {
        let mut samples = Samples::default();
        for n in 0..1_000 {
            samples.push(sample(n, 0.0, 0.001), PRECISION);
        }
        assert_eq!(samples.len(), SAMPLES_MAX);
        samples.clear();
        assert_eq!(samples.len(), 0);
        assert!(samples.line(Instant::from_secs(1), PRECISION).is_none());
    }
}
