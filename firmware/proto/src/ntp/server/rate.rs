//! Who asks how often: a token bucket per address in a table of fixed size.
//!
//! The table is rows of eight entries; an address has one row, chosen with a secret so that
//! nobody can aim at a neighbour's. A bucket is kept as the time at which it will be full again
//! (the generic cell rate algorithm): refused requests do not move it, so that a client that
//! asks too often gets its share and not nothing. A full row loses the entry that has been
//! full the longest. Whoever forges that many addresses gets answers at each of them, which is
//! what they got anyway: a reply is no longer than its request.

use std::net::IpAddr;

use embassy_time::Instant;

use super::RateLimit;
use crate::rng::Rng;

/// Most addresses whose rate is known at a time. A house has a hundred hosts; the rest is room
/// for forgers to tire themselves in. 4096 entries of 16 octets are 64 KiB.
pub const CLIENTS_MAX: usize = ROWS * ROW_LEN;
const ROWS: usize = 512;
const ROW_LEN: usize = 8;
/// One address gets a kiss at most this often, seconds: the ones that heed it need one, and to
/// the others it is traffic.
const KISS_PAUSE_S: u32 = 64;

/// What the table says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Answer it.
    Within,
    /// Too often, and not told yet.
    FirstBeyond,
    /// Too often.
    Beyond,
}

/// An address, by its hash; `full_us` of 0 is an empty place.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// When the bucket is full again, microseconds.
    full_us: u64,
    tag: u32,
    /// When the next kiss may go out, seconds.
    kiss_s: u32,
}

#[derive(Debug)]
pub(super) struct RateTable {
    rows: Box<[[Entry; ROW_LEN]]>,
    secret: [u64; 2],
    interval_us: u64,
    burst_us: u64,
}

impl RateTable {
    pub(super) fn new(limit: RateLimit, rng: &mut dyn Rng) -> Self {
        let interval_us = limit.interval.as_micros();
        Self {
            rows: vec![[Entry::default(); ROW_LEN]; ROWS].into_boxed_slice(),
            secret: [rng.next_u64(), rng.next_u64()],
            interval_us,
            burst_us: interval_us.saturating_mul(u64::from(limit.burst.max(1))),
        }
    }

    pub(super) fn ask(&mut self, now: Instant, from: IpAddr) -> Asked {
        let hash = self.hash(from);
        let tag = (hash >> 32) as u32;
        let row = &mut self.rows[hash as usize % ROWS];
        let place = place_of(row, tag);
        let entry = &mut row[place];
        let now_us = now.as_micros();
        let full_us = entry.full_us.max(now_us).saturating_add(self.interval_us);
        if full_us - now_us <= self.burst_us {
            entry.full_us = full_us;
            return Asked::Within;
        }
        // Seconds of 32 bits last for 136 years of uptime.
        let now_s = now.as_secs() as u32;
        if entry.kiss_s > now_s {
            return Asked::Beyond;
        }
        entry.kiss_s = now_s.saturating_add(KISS_PAUSE_S);
        Asked::FirstBeyond
    }

    /// Two rounds of multiply and fold with the secret: enough against aiming, and fast.
    fn hash(&self, from: IpAddr) -> u64 {
        let key = match from {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            // A host has its /64 to itself as far as addresses go.
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let folded = |word: u64, secret: u64| {
            let wide = u128::from(word ^ secret) * 0x9e37_79b9_7f4a_7c15;
            (wide >> 64) as u64 ^ wide as u64
        };
        folded(folded(key, self.secret[0]), self.secret[1])
    }
}

/// The place of `tag` in its row, made when there is none.
fn place_of(row: &mut [Entry; ROW_LEN], tag: u32) -> usize {
    let mut oldest = 0;
    for place in 0..ROW_LEN {
        if row[place].tag == tag && row[place].full_us != 0 {
            return place;
        }
        if row[place].full_us < row[oldest].full_us {
            oldest = place;
        }
    }
    row[oldest] = Entry {
        tag,
        ..Entry::default()
    };
    oldest
}
