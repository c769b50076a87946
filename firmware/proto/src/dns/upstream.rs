//! What is known about each upstream resolver, and the choice among them.
//!
//! The round-trip time is estimated as TCP does (RFC 6298, 2). Who does not answer is left alone
//! for a while that doubles, unless nobody else is there: with a single resolver, or with all of
//! them silent, questions go on trying, so that the first answer after an outage is not delayed.

use std::net::SocketAddr;

use embassy_time::{Duration, Instant};

use crate::rng::Rng;

/// More are never looked at: a question does not live long enough to try them.
pub(super) const UPSTREAMS_MAX: usize = 16;

/// Failures in a row after which an upstream is left alone.
const FAILURES_MAX: u8 = 3;

const BACKOFF_S_MIN: u64 = 1;
const BACKOFF_S_MAX: u64 = 60;

/// Time to wait for a first answer while nothing is known: far satellites answer in less.
const WAIT_MS_UNKNOWN: u64 = 700;
const WAIT_MS_MIN: u64 = 200;
const WAIT_MS_MAX: u64 = 1_500;

/// Time to wait for an answer over TCP: a connection, then the question.
pub(super) const WAIT_TCP_MS: u64 = 2_000;

/// How long a server's peculiarities are believed before they are tried again.
const HABITS_S_MAX: u64 = 3_600;

/// One question in so many goes to another upstream than the fastest, to keep estimates fresh.
const EXPLORE_ONE_IN: u32 = 32;

#[derive(Debug, Clone)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    srtt_us: Option<u64>,
    rttvar_us: u64,
    failures: u8,
    backoff_s: u64,
    down_until: Option<Instant>,
    no_case_until: Option<Instant>,
    no_edns_until: Option<Instant>,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            srtt_us: None,
            rttvar_us: 0,
            failures: 0,
            backoff_s: BACKOFF_S_MIN,
            down_until: None,
            no_case_until: None,
            no_edns_until: None,
        }
    }

    /// How long to wait for its answer over UDP before somebody is asked again.
    pub(super) fn wait(&self) -> Duration {
        let Some(srtt_us) = self.srtt_us else {
            return Duration::from_millis(WAIT_MS_UNKNOWN);
        };
        let wait_us = srtt_us + 4 * self.rttvar_us;
        Duration::from_micros(wait_us.clamp(WAIT_MS_MIN * 1_000, WAIT_MS_MAX * 1_000))
    }

    /// It answered. Returns whether it was thought to be down.
    pub(super) fn answered(&mut self, rtt: Duration) -> bool {
        let rtt_us = rtt.as_micros();
        match self.srtt_us {
            None => (self.srtt_us, self.rttvar_us) = (Some(rtt_us), rtt_us / 2),
            Some(srtt_us) => {
                self.rttvar_us = (3 * self.rttvar_us + srtt_us.abs_diff(rtt_us)) / 4;
                self.srtt_us = Some((7 * srtt_us + rtt_us) / 8);
            }
        }
        self.failures = 0;
        self.backoff_s = BACKOFF_S_MIN;
        self.down_until.take().is_some()
    }

    /// It did not answer, or would not. Returns whether it is thought to be down from now on.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        // Silence says "slower than I waited": the estimate follows, so that others look better.
        self.srtt_us = Some((self.srtt_us.unwrap_or(0) * 2).clamp(WAIT_MS_MIN * 1_000, 5_000_000));
        if self.failures < FAILURES_MAX || self.down_until.is_some_and(|until| until > now) {
            return false;
        }
        let was_good = self.down_until.is_none();
        self.down_until = Some(now.saturating_add(Duration::from_secs(self.backoff_s)));
        self.backoff_s = (self.backoff_s * 2).min(BACKOFF_S_MAX);
        was_good
    }

    /// Is it thought to answer?
    pub(super) fn is_good(&self) -> bool {
        self.down_until.is_none()
    }

    /// The estimate of its round-trip time.
    pub(super) fn srtt(&self) -> Option<Duration> {
        self.srtt_us.map(Duration::from_micros)
    }

    fn is_left_alone(&self, now: Instant) -> bool {
        self.down_until.is_some_and(|until| until > now)
    }

    /// Does it repeat the question in the letters that it was asked in?
    pub(super) fn keeps_case(&self, now: Instant) -> bool {
        self.no_case_until.is_none_or(|until| until <= now)
    }

    /// It was seen to change letters.
    pub(super) fn changes_case(&mut self, now: Instant) {
        self.no_case_until = Some(now.saturating_add(Duration::from_secs(HABITS_S_MAX)));
    }

    /// Does it take EDNS?
    pub(super) fn takes_edns(&self, now: Instant) -> bool {
        self.no_edns_until.is_none_or(|until| until <= now)
    }

    /// It refused EDNS (RFC 6891, 7).
    pub(super) fn refuses_edns(&mut self, now: Instant) {
        self.no_edns_until = Some(now.saturating_add(Duration::from_secs(HABITS_S_MAX)));
    }
}

/// The upstream to ask next; `tried` has the bit of each that was asked already.
///
/// Good ones that were not tried go first, then good ones again, then whoever is due soonest.
pub(super) fn choose(
    list: &[Upstream],
    now: Instant,
    tried: u32,
    rng: &mut dyn Rng,
) -> Option<usize> {
    let is_tried = |at: usize| tried >> at & 1 == 1;
    let score = |at: usize, upstream: &Upstream| {
        // While nothing is known the order of the configuration decides.
        let srtt_us = upstream.srtt_us.unwrap_or(1 + at as u64);
        (
            upstream.is_left_alone(now),
            is_tried(at),
            upstream.down_until,
            srtt_us,
        )
    };
    let fresh = list
        .iter()
        .enumerate()
        .filter(|(at, upstream)| !upstream.is_left_alone(now) && !is_tried(*at));
    let count = fresh.clone().count() as u32;
    if count > 1 && rng.below(EXPLORE_ONE_IN) == 0 {
        return fresh.map(|(at, _)| at).nth(rng.below(count) as usize);
    }
    (0..list.len())
        .zip(list)
        .min_by_key(|(at, upstream)| score(*at, upstream))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn list(count: u16) -> Vec<Upstream> {
        (0..count)
            .map(|n| Upstream::new(SocketAddr::from(([192, 0, 2, n as u8], 53))))
            .collect()
    }

    fn usual(list: &[Upstream], now: Instant, tried: u32) -> usize {
        let mut counts = vec![0; list.len()];
        let mut rng = SeededRng::new(3);
        for _ in 0..200 {
            counts[choose(list, now, tried, &mut rng).unwrap()] += 1;
        }
        (0..list.len()).max_by_key(|at| counts[*at]).unwrap()
    }

    #[test]
    fn the_fastest_that_answers() {
        let now = Instant::from_secs(100);
        let mut list = list(3);
        assert_eq!(usual(&list, now, 0), 0);
        assert_eq!(usual(&list, now, 1), 1);
        list[0].answered(Duration::from_millis(50));
        list[1].answered(Duration::from_millis(40));
        list[2].answered(Duration::from_millis(10));
        assert_eq!(usual(&list, now, 0), 2);
        for _ in 0..FAILURES_MAX {
            list[2].failed(now);
        }
        assert!(!list[2].is_good());
        assert_eq!(usual(&list, now, 0), 1);
        // Everybody tried: the good ones again, not the silent one.
        assert_eq!(usual(&list, now, 0b111), 1);
        assert!(list[2].answered(Duration::from_millis(10)));
    }

    #[test]
    fn with_all_silent_somebody_is_still_asked() {
        let now = Instant::from_secs(100);
        let mut list = list(2);
        for upstream in &mut list {
            for _ in 0..10 {
                upstream.failed(now);
            }
        }
        assert!(choose(&list, now, 0b11, &mut SeededRng::new(1)).is_some());
        assert_eq!(choose(&[], now, 0, &mut SeededRng::new(1)), None);
    }

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let mut upstream = list(1).remove(0);
        let mut now = Instant::from_secs(100);
        for _ in 1..FAILURES_MAX {
            assert!(!upstream.failed(now));
        }
        assert!(upstream.failed(now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(
                upstream.down_until,
                Some(now + Duration::from_secs(seconds))
            );
            now += Duration::from_secs(seconds);
            assert!(!upstream.is_left_alone(now));
            assert!(!upstream.failed(now), "reported once");
        }
    }

    #[test]
    fn waits_follow_the_estimate_within_bounds() {
        let mut upstream = list(1).remove(0);
        assert_eq!(upstream.wait().as_millis(), WAIT_MS_UNKNOWN);
        upstream.answered(Duration::from_millis(1));
        assert_eq!(upstream.wait().as_millis(), WAIT_MS_MIN);
        upstream.answered(Duration::from_secs(30));
        assert_eq!(upstream.wait().as_millis(), WAIT_MS_MAX);
    }
}
