//! Bugs planted on purpose, to show that the simulation can fail. They live in wrappers of this
//! crate around the machines; no code that ships knows of them.

use lintel_proto::rng::{Rng, SeededRng};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// controld answers "durable" some seconds before the disk has it.
    SkippedSync,
    /// The random numbers of wand and dnsd repeat: every transaction has the same id.
    ReusedId,
    /// dnsd's cache is told of no bound.
    MissingBound,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SkippedSync, Self::ReusedId, Self::MissingBound];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SkippedSync => "skipped-sync",
            Self::ReusedId => "reused-id",
            Self::MissingBound => "missing-bound",
        }
    }
}

/// The generator of a role: good, or with [`Plant::ReusedId`] one that repeats itself.
#[derive(Debug)]
pub struct RoleRng {
    rng: SeededRng,
    repeats: bool,
}

impl RoleRng {
    /// Around `rng`.
    pub fn new(rng: SeededRng, plant: Option<Plant>) -> Self {
        Self {
            rng,
            repeats: plant == Some(Plant::ReusedId),
        }
    }
}

impl Rng for RoleRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        if self.repeats {
            bytes.fill(0x5a);
        } else {
            self.rng.fill(bytes);
        }
    }
}
