//! Fuzzing: a plain function for each parser and each machine, a table of them, and a runner.
//!
//! - A target is a function over any bytes ([`Target::run`]). It panics when a promise is broken,
//!   and its promises go further than "no panic": what was read is written and read again, lengths
//!   stay inside their buffers, counters add up, tables keep their named bounds.
//! - [`Target::sample`] makes well-formed input out of entropy, for what random bytes do not reach.
//! - [`input`] makes input number N of a target from a seed, N and the kept corpus, and from
//!   nothing else: any input can be made again.
//! - [`worker`] is the process that runs one target; [`supervisor`] starts the workers, sees what
//!   they cannot say of themselves (a hang, an abort, an overflown stack), keeps the guilty input
//!   and prints the table.
//!
//! `cargo-fuzz/` calls the same functions under libFuzzer; it is a package of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a panic is a finding
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the runner keeps files and children

pub mod corpus;
pub mod entropy;
pub mod input;
pub mod memory;
pub mod planted;
pub mod supervisor;
pub mod targets;
pub mod worker;

use arbitrary::Unstructured;

/// What one call of a target did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Inputs that were fed: 1 for a parser, the length of the sequence for a machine.
    pub inputs: u64,
    /// How many of them got past the first refusal.
    pub accepted: u64,
}

impl Tally {
    /// One input that the parser refused.
    pub const REFUSED: Self = Self {
        inputs: 1,
        accepted: 0,
    };
    /// One input that meant something.
    pub const ACCEPTED: Self = Self {
        inputs: 1,
        accepted: 1,
    };

    /// One input, taken or refused.
    #[must_use]
    pub const fn one(accepted: bool) -> Self {
        if accepted {
            Self::ACCEPTED
        } else {
            Self::REFUSED
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.accepted += other.accepted;
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds the bytes; panics when a promise is broken.
    pub run: fn(&[u8]) -> Tally,
    /// Well-formed input made of entropy; for a machine the entropy is the input.
    pub sample: fn(&mut Unstructured<'_>) -> Vec<u8>,
    /// Usual length of an input, octets: random ones are up to twice as long.
    pub len_typical: usize,
}

/// The target of this name, planted ones included.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    targets::TARGETS
        .iter()
        .chain(planted::PLANTED)
        .find(|target| target.name == name)
}
