//! Chance, from a seed.

use lintel_proto::rng::{Rng, SeededRng};

/// A seeded source of decisions.
#[derive(Debug, Clone)]
pub struct Dice(SeededRng);

impl Dice {
    /// The dice that `seed` names.
    pub fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        // Neighbouring seeds begin alike; a few draws part them.
        rng.next_u64();
        Self(rng)
    }

    /// True `n` times in a thousand.
    pub fn per_mille(&mut self, n: u32) -> bool {
        n > 0 && self.0.below(1000) < n
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        let width = high.saturating_sub(low).saturating_add(1);
        low + ((u128::from(self.0.next_u64()) * u128::from(width)) >> 64) as u64
    }

    /// An index below `len`; zero when there is none.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// One of several.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.index(of.len())).copied()
    }

    /// A generator of its own for a machine.
    pub fn rng(&mut self) -> SeededRng {
        SeededRng::new(self.0.next_u64())
    }
}
