//! The cache: bounded in entries and in octets, the least recently used goes first.
//!
//! A look-up allocates nothing: it hashes the asker's key where it lies and moves the entry to the
//! front of a list that is threaded through the entries. The hash is keyed with random numbers, so
//! that nobody can choose names that collide.

use embassy_time::Instant;
use hashbrown::HashTable;

use super::answer::Answer;
use crate::rng::Rng;

/// Nothing is kept for longer, whatever upstream says: a household wants yesterday's mistakes gone.
const TTL_S_MAX: u32 = 86_400;

/// Largest answer worth keeping: with fewer than a hundred of these the cache would be full.
const ENTRY_BYTES_MAX: usize = 32 * 1024;

/// What an entry costs beside its octets: itself, its slot in the table, three allocations.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<Entry>() + 8 + 3 * 16;

/// Failures are kept this long the first time; twice as long each time they come again.
const FAILURE_S_MIN: u32 = 1;

/// Longest time that a failure is kept. RFC 9520, 3.2 allows five minutes; people press reload.
const FAILURE_S_MAX: u32 = 30;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    answer: Answer,
    stored_at_s: u64,
    ttl_s: u32,
    /// How often in a row upstream failed on this key, and in which epoch.
    failures: u8,
    epoch: u32,
    newer: u32,
    older: u32,
}

/// Answers by key.
pub(super) struct Cache {
    table: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    hasher: KeyedHash,
    /// Failures of an earlier epoch are not believed any more.
    epoch: u32,
}

impl Cache {
    pub(super) fn new(entries_max: usize, bytes_max: usize, rng: &mut dyn Rng) -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            bytes: 0,
            entries_max,
            bytes_max,
            hasher: KeyedHash::new(rng),
            epoch: 0,
        }
    }

    /// Changes the bounds; what is over them goes.
    pub(super) fn set_bounds(&mut self, entries_max: usize, bytes_max: usize) {
        (self.entries_max, self.bytes_max) = (entries_max, bytes_max);
        self.shrink();
    }

    /// The answer kept under `key` and its age in seconds.
    pub(super) fn get(&mut self, now: Instant, key: &[u8]) -> Option<(&Answer, u32)> {
        let at = self.find(self.hasher.hash(key), key)?;
        let entry = self.entry(at)?;
        if entry.answer.failure && entry.epoch != self.epoch {
            return None;
        }
        // Whole seconds of one clock on both sides: an entry of TTL n is served in n of them.
        let age_s = now.as_secs().saturating_sub(entry.stored_at_s);
        if age_s >= u64::from(entry.ttl_s) {
            return None;
        }
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
        self.entry(at).map(|entry| (&entry.answer, age_s as u32))
    }

    /// Keeps `answer` under `key`, in the place of what was there.
    pub(super) fn insert(&mut self, now: Instant, key: &[u8], mut answer: Answer) {
        let hash = self.hasher.hash(key);
        let previous = self.find(hash, key);
        let mut failures = 0;
        let ttl_s = if answer.failure {
            let before = previous
                .and_then(|at| self.entry(at))
                .filter(|entry| entry.epoch == self.epoch);
            failures = before.map_or(0, |entry| entry.failures).saturating_add(1);
            (FAILURE_S_MIN << (failures - 1).min(5))
                .max(answer.ttl_s)
                .min(FAILURE_S_MAX)
        } else {
            answer.ttl_s.min(TTL_S_MAX)
        };
        if let Some(at) = previous {
            self.remove(at);
        }
        let bytes = cost(key, &answer);
        if ttl_s == 0 || bytes > ENTRY_BYTES_MAX.min(self.bytes_max) || self.entries_max == 0 {
            return;
        }
        answer.ttl_s = ttl_s;
        let entry = Entry {
            hash,
            key: key.into(),
            answer,
            stored_at_s: now.as_secs(),
            ttl_s,
            failures,
            epoch: self.epoch,
            newer: NONE,
            older: NONE,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(None);
                (self.entries.len() - 1) as u32
            }
        };
        self.entries[at as usize] = Some(entry);
        self.bytes += bytes;
        let entries = &self.entries;
        self.table.insert_unique(hash, at, |&at| {
            entries
                .get(at as usize)
                .and_then(Option::as_ref)
                .map_or(0, |entry| entry.hash)
        });
        self.link_newest(at);
        self.shrink();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.entries.clear();
        self.free.clear();
        (self.newest, self.oldest) = (NONE, NONE);
        self.bytes = 0;
    }

    /// Stops believing failures: an upstream has come back.
    pub(super) fn forget_failures(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Entries kept, expired ones included.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Octets they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hash of a key, for tables that are searched by the same one.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)?.as_ref()
    }

    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |&at: &u32| self.entry(at).is_some_and(|entry| *entry.key == *key);
        self.table.find(hash, same).copied()
    }

    fn shrink(&mut self) {
        while self.table.len() > self.entries_max || self.bytes > self.bytes_max {
            if self.oldest == NONE {
                return;
            }
            self.remove(self.oldest);
        }
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let Some(entry) = self.entries.get_mut(at as usize).and_then(Option::take) else {
            return;
        };
        self.bytes -= cost(&entry.key, &entry.answer);
        if let Ok(found) = self.table.find_entry(entry.hash, |&other| other == at) {
            found.remove();
        }
        self.free.push(at);
    }

    fn unlink(&mut self, at: u32) {
        let Some(entry) = self.entry_mut(at) else {
            return;
        };
        let (newer, older) = (entry.newer, entry.older);
        (entry.newer, entry.older) = (NONE, NONE);
        match self.entry_mut(newer) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
        match self.entry_mut(older) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let newest = self.newest;
        if let Some(entry) = self.entry_mut(at) {
            entry.older = newest;
        }
        match self.entry_mut(newest) {
            Some(neighbour) => neighbour.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

fn cost(key: &[u8], answer: &Answer) -> usize {
    key.len() + answer.message.len() + 2 * answer.ttl_at.len() + ENTRY_OVERHEAD_BYTES
}

/// A multiply-and-fold hash over eight octets at a time with two secret numbers.
#[derive(Debug, Clone)]
struct KeyedHash {
    start: u64,
    factor: u64,
}

impl KeyedHash {
    fn new(rng: &mut dyn Rng) -> Self {
        Self {
            start: rng.next_u64(),
            factor: rng.next_u64() | 1,
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut state = self.start ^ key.len() as u64;
        let mut chunks = key.chunks_exact(8);
        for chunk in &mut chunks {
            state = self.fold(
                state
                    ^ chunk
                        .first_chunk()
                        .map_or(0, |word| u64::from_le_bytes(*word)),
            );
        }
        let rest = chunks.remainder();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(self.fold(state ^ u64::from_le_bytes(last)) ^ self.start)
    }

    fn fold(&self, word: u64) -> u64 {
        let product = u128::from(word) * u128::from(self.factor);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;
    use lintel_wire::dns::Rcode;
    use proptest::prelude::*;

    fn cache(entries_max: usize, bytes_max: usize) -> Cache {
        Cache::new(entries_max, bytes_max, &mut SeededRng::new(1))
    }

    fn answer(ttl_s: u32, failure: bool) -> Answer {
        Answer::empty(b"\0\0\x01\0\x01", Rcode::NOERROR, ttl_s, failure)
    }

    #[test]
    fn served_until_its_ttl_and_no_longer() {
        let mut cache = cache(10, 10_000);
        cache.insert(Instant::from_millis(1_900), b"a", answer(10, false));
        assert_eq!(cache.get(Instant::from_millis(1_950), b"a").unwrap().1, 0);
        assert_eq!(cache.get(Instant::from_secs(10), b"a").unwrap().1, 9);
        assert!(cache.get(Instant::from_secs(11), b"a").is_none());
        assert!(cache.get(Instant::from_secs(2), b"b").is_none());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = cache(2, 10_000);
        let now = Instant::from_secs(0);
        cache.insert(now, b"a", answer(10, false));
        cache.insert(now, b"b", answer(10, false));
        assert!(cache.get(now, b"a").is_some());
        cache.insert(now, b"c", answer(10, false));
        assert!(cache.get(now, b"b").is_none());
        assert!(cache.get(now, b"a").is_some() && cache.get(now, b"c").is_some());
    }

    #[test]
    fn failures_double_and_are_forgotten_when_upstream_returns() {
        let mut cache = cache(2, 10_000);
        let mut now = Instant::from_secs(0);
        for kept_s in [1, 2, 4, 8, 16, 30, 30] {
            cache.insert(now, b"a", answer(0, true));
            now += embassy_time::Duration::from_secs(kept_s - 1);
            assert!(cache.get(now, b"a").is_some(), "{kept_s}");
            now += embassy_time::Duration::from_secs(1);
            assert!(cache.get(now, b"a").is_none(), "{kept_s}");
        }
        cache.insert(now, b"a", answer(0, true));
        assert!(cache.get(now, b"a").is_some());
        cache.forget_failures();
        assert!(cache.get(now, b"a").is_none());
    }

    #[test]
    fn nothing_is_kept_for_more_than_a_day() {
        let mut cache = cache(2, 10_000);
        cache.insert(Instant::from_secs(0), b"a", answer(u32::MAX, false));
        assert!(cache.get(Instant::from_secs(86_399), b"a").is_some());
        assert!(cache.get(Instant::from_secs(86_400), b"a").is_none());
    }

    #[test]
    fn a_hundred_thousand_names_stay_within_the_bounds() {
        let (entries_max, bytes_max) = (5_000, 1 << 20);
        let mut cache = cache(entries_max, bytes_max);
        let now = Instant::from_secs(0);
        for n in 0u32..100_000 {
            cache.insert(now, &n.to_be_bytes(), answer(1 + n % 50, false));
            assert!(cache.len() <= entries_max && cache.bytes() <= bytes_max);
        }
        assert!(cache.len() > 3_000);
        assert!(cache.entries.len() <= entries_max + 1);
        cache.set_bounds(10, bytes_max);
        assert_eq!(cache.len(), 10);
        cache.clear();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u8, u32),
        Get(u8),
        Wait(u64),
        Clear,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..12, 0u32..20).prop_map(|(key, ttl_s)| Op::Insert(key, ttl_s)),
            6 => (0u8..12).prop_map(Op::Get),
            3 => (0u64..5_000).prop_map(Op::Wait),
            1 => Just(Op::Clear),
        ]
    }

    proptest! {
        /// Whatever happens, an answer is never served after its TTL, and what is served is what
        /// was kept last.
        #[test]
        fn never_beyond_the_ttl(ops in proptest::collection::vec(op(), 1..200), entries_max in 1usize..10) {
            let mut cache = cache(entries_max, 100_000);
            let mut model = std::collections::BTreeMap::new();
            let mut now_ms = 0;
            for op in ops {
                let now = Instant::from_millis(now_ms);
                match op {
                    Op::Insert(key, ttl_s) => {
                        cache.insert(now, &[key], answer(ttl_s, false));
                        model.insert(key, (now_ms, ttl_s));
                    }
                    Op::Get(key) => {
                        if let Some((found, age_s)) = cache.get(now, &[key]) {
                            let (stored_ms, ttl_s) = model[&key];
                            prop_assert_eq!(found.ttl_s, ttl_s);
                            prop_assert!(age_s < ttl_s);
                            prop_assert!(now_ms < stored_ms + u64::from(ttl_s) * 1000);
                        }
                    }
                    Op::Wait(ms) => now_ms += ms,
                    Op::Clear => cache.clear(),
                }
                prop_assert!(cache.len() <= entries_max);
                let bytes: usize = cache.entries.iter().flatten().map(|e| cost(&e.key, &e.answer)).sum();
                prop_assert_eq!(bytes, cache.bytes());
            }
        }
    }
}
