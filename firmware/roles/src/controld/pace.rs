//! The pace of guessing: how long a source of wrong passwords waits.
//!
//! ```text
//!   failure 1 to 3   nothing
//!   failure 4, 5...  1 s, 2 s, 4 s ... 60 s; refused meanwhile, the right password as well
//!   15 quiet minutes forgiven
//! ```
//!
//! Each source has its own wait, and all strangers together a short one, so that many addresses
//! do not mean many guesses. A source from which somebody has logged in waits for its own
//! failures alone: whoever guesses elsewhere cannot keep the owner out. Sessions that exist, and
//! the console, are not slowed at all.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use embassy_time::{Duration, Instant};

/// Sources whose failures are remembered; the one quiet longest goes first.
const SOURCES_ENTRIES_MAX: usize = 256;
/// Sources that are known to be the household's; the one longest ago goes first.
const KNOWN_ENTRIES_MAX: usize = 64;
/// Failures that cost nothing: fingers slip.
const FREE_FAILURES: u32 = 3;
/// Longest wait after a failure.
const WAIT_S_MAX: u64 = 60;
/// Failures of all strangers together that cost nothing.
const STRANGERS_FREE_FAILURES: u32 = 12;
/// Longest wait of all strangers: keeps the processor free for the household.
const STRANGERS_WAIT_S_MAX: u64 = 2;
/// After this much quiet a source is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Whose failures are counted: an IPv4 address, the /64 of an IPv6 address (one host has as many
/// of those as it likes), or all that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    /// The console, and whoever came without an address.
    Unknown,
    Strangers,
}

/// The state of it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: HashMap<Source, Failures>,
    known: VecDeque<Source>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
    last: Instant,
}

impl Pace {
    /// Seconds that this address has to wait before its next password is looked at.
    pub(super) fn wait_s(&self, now: Instant, address: Option<IpAddr>) -> u64 {
        let source = source(address);
        let known = self.known.contains(&source);
        let of = [Some(source), (!known).then_some(Source::Strangers)];
        of.iter()
            .flatten()
            .filter_map(|source| self.failures.get(source))
            .map(|failures| seconds_until(now, failures.until))
            .max()
            .unwrap_or(0)
    }

    /// A password was wrong.
    pub(super) fn failed(&mut self, now: Instant, address: Option<IpAddr>) {
        let source = source(address);
        self.count(now, source, FREE_FAILURES, WAIT_S_MAX);
        if !self.known.contains(&source) {
            self.count(
                now,
                Source::Strangers,
                STRANGERS_FREE_FAILURES,
                STRANGERS_WAIT_S_MAX,
            );
        }
    }

    /// A password was right, or a session from before says that one was.
    pub(super) fn succeeded(&mut self, address: Option<IpAddr>) {
        let source = source(address);
        self.failures.remove(&source);
        self.known.retain(|known| *known != source);
        if self.known.len() >= KNOWN_ENTRIES_MAX {
            self.known.pop_front();
        }
        self.known.push_back(source);
    }

    fn count(&mut self, now: Instant, source: Source, free: u32, wait_s_max: u64) {
        if !self.failures.contains_key(&source) && self.failures.len() >= SOURCES_ENTRIES_MAX {
            let quiet = self
                .failures
                .iter()
                .filter(|(source, _)| **source != Source::Strangers)
                .min_by_key(|(_, failures)| failures.last);
            if let Some(key) = quiet.map(|(key, _)| *key) {
                self.failures.remove(&key);
            }
        }
        let failures = self.failures.entry(source).or_insert(Failures {
            count: 0,
            until: now,
            last: now,
        });
        if failures.last + FORGIVEN_AFTER <= now {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let over = failures.count.saturating_sub(free);
        if over > 0 {
            let wait_s = 1u64
                .checked_shl(over - 1)
                .map_or(wait_s_max, |wait| wait.min(wait_s_max));
            failures.until = now + Duration::from_secs(wait_s);
        }
    }
}

fn source(address: Option<IpAddr>) -> Source {
    match address.map(|address| address.to_canonical()) {
        None => Source::Unknown,
        Some(IpAddr::V6(v6)) => {
            Source::Address(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into())
        }
        Some(v4) => Source::Address(v4),
    }
}

fn seconds_until(now: Instant, until: Instant) -> u64 {
    until
        .checked_duration_since(now)
        .map_or(0, |left| left.as_millis().div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from_secs(1000 + s)
    }

    fn from(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 168, 1, n]))
    }

    #[test]
    fn a_source_waits_longer_with_each_failure_and_not_for_ever() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        let mut s = 0;
        for _ in 0..12 {
            pace.failed(at(s), from(2));
            let wait = pace.wait_s(at(s), from(2));
            waits.push(wait);
            s += wait;
            assert_eq!(pace.wait_s(at(s), from(2)), 0);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        pace.failed(at(s + FORGIVEN_AFTER.as_secs()), from(2));
        assert_eq!(pace.wait_s(at(s + FORGIVEN_AFTER.as_secs()), from(2)), 0);
    }

    #[test]
    fn a_thousand_guesses_take_hours_and_the_owner_waits_for_none_of_them() {
        let mut pace = Pace::default();
        pace.succeeded(from(3));
        let mut s = 0;
        for _ in 0..1000 {
            s += pace.wait_s(at(s), from(2));
            pace.failed(at(s), from(2));
            assert_eq!(pace.wait_s(at(s), from(3)), 0, "where the owner once was");
            assert!(pace.wait_s(at(s), from(4)) <= STRANGERS_WAIT_S_MAX);
        }
        assert!(s > 16 * 3600, "{s} s");
    }

    #[test]
    fn many_addresses_do_not_mean_many_guesses() {
        let mut pace = Pace::default();
        pace.succeeded(from(3));
        let mut s = 0;
        for n in 0..1000u128 {
            let address = Some(IpAddr::from((n << 64).to_be_bytes()));
            s += pace.wait_s(at(s), address);
            pace.failed(at(s), address);
        }
        assert!(s > 1900, "{s} s");
        assert!(pace.failures.len() <= SOURCES_ENTRIES_MAX);
        assert_eq!(pace.wait_s(at(s), from(3)), 0);
        // One host has a whole /64.
        let host = |n: u128| Some(IpAddr::from((0xfe80 << 112 | n).to_be_bytes()));
        for n in 0..10 {
            pace.failed(at(s), host(n));
        }
        assert!(pace.wait_s(at(s), host(99)) > STRANGERS_WAIT_S_MAX);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut pace = Pace::default();
        for n in 0..200 {
            pace.succeeded(from(n));
        }
        assert_eq!(pace.known.len(), KNOWN_ENTRIES_MAX);
    }
}
