//! One moment on both clocks: the machine's, which only runs on, and the wall's, which is set.

use embassy_time::{Duration, Instant};

/// A hundred years: nothing of ours lasts longer, and microseconds do not overflow.
const SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// The time of an input: monotonic, and the wall clock's.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Since boot.
    pub mono: Instant,
    /// Unix seconds.
    pub unix_s: u64,
}

impl Now {
    /// A moment by the clock of somebody who tells when, by it, the box started.
    pub fn since_start(mono: Instant, start_unix_s: i64) -> Self {
        let unix_s = start_unix_s.saturating_add(signed(mono.as_secs()));
        Self {
            mono,
            unix_s: u64::try_from(unix_s).unwrap_or(0),
        }
    }

    /// When the box started by this clock, Unix seconds: what two clocks differ by, whatever they
    /// show.
    pub fn start_unix_s(self) -> i64 {
        signed(self.unix_s).saturating_sub(signed(self.mono.as_secs()))
    }

    /// When it is, or was, that second.
    pub fn instant(self, unix_s: u64) -> Instant {
        let ahead = Duration::from_secs(unix_s.saturating_sub(self.unix_s).min(SECONDS_MAX));
        let behind = Duration::from_secs(self.unix_s.saturating_sub(unix_s).min(SECONDS_MAX));
        (self.mono.saturating_add(ahead)).saturating_sub(behind)
    }

    /// What this clock shows then, or did.
    pub fn unix_s_at(self, at: Instant) -> u64 {
        let ahead = at.saturating_duration_since(self.mono).as_secs();
        let behind = self.mono.saturating_duration_since(at).as_secs();
        (self.unix_s.saturating_add(ahead)).saturating_sub(behind)
    }
}

/// Unix seconds to reckon with; beyond the year 292 billion they stay there.
pub(crate) fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_known_by_when_it_says_the_box_started() {
        let now = Now {
            mono: Instant::from_secs(100),
            unix_s: 1_800_000_000,
        };
        assert_eq!(now.start_unix_s(), 1_799_999_900);
        let later = Now::since_start(Instant::from_secs(160), now.start_unix_s());
        assert_eq!(later.unix_s, 1_800_000_060);
        assert_eq!(later.instant(now.unix_s), now.mono);
        assert_eq!(later.unix_s_at(now.mono), now.unix_s);
    }

    #[test]
    fn any_clock_is_taken_without_a_panic() {
        for unix_s in [0, 1, u64::MAX] {
            for at in [0, u64::MAX] {
                let now = Now {
                    mono: Instant::from_micros(7),
                    unix_s,
                };
                let _ = now.unix_s_at(now.instant(at));
                let _ = Now::since_start(now.mono, now.start_unix_s());
            }
        }
    }
}
