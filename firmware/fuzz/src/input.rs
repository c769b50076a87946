//! Input number N of a target.
//!
//! It depends on the seed, the target's name, N and the kept corpus alone: a worker that died is
//! asked about by number, and the same number gives the same bytes.

use arbitrary::Unstructured;
use lintel_proto::rng::{Rng, SeededRng};

use crate::Target;
use crate::entropy::EDGES;

/// Octets of entropy for one sample.
const ENTROPY_LEN: usize = 1024;

/// Mutations of one input at most.
const MUTATIONS_MAX: u32 = 5;

/// Longest input made by mutation, octets: that of the longest message, TCP's DNS.
const INPUT_LEN_MAX: usize = 65_535;

/// Makes inputs of one target.
#[derive(Debug)]
pub struct Inputs<'c> {
    target: &'static Target,
    corpus: &'c [Vec<u8>],
    seed: u64,
    entropy: Vec<u8>,
}

impl<'c> Inputs<'c> {
    /// Inputs of `target` by `seed`, with mutations of what `corpus` holds.
    #[must_use]
    pub fn new(target: &'static Target, corpus: &'c [Vec<u8>], seed: u64) -> Self {
        let name = target
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
                (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3)
            });
        Self {
            target,
            corpus,
            seed: seed ^ name,
            entropy: vec![0; ENTROPY_LEN],
        }
    }

    /// Input `number`, into `input`. The first ones are the corpus as it is.
    pub fn make(&mut self, number: u64, input: &mut Vec<u8>) {
        input.clear();
        if let Some(kept) = usize::try_from(number)
            .ok()
            .and_then(|n| self.corpus.get(n))
        {
            input.extend_from_slice(kept);
            return;
        }
        // Two rounds of the generator separate the streams of neighbouring numbers.
        let mut rng = SeededRng::new(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
        let mut rng = SeededRng::new(rng.next_u64());
        match rng.below(8) {
            0 => self.random(&mut rng, input),
            1 => self.sample(&mut rng, input),
            2 | 3 => {
                self.sample(&mut rng, input);
                self.mutate(&mut rng, input);
            }
            _ if self.corpus.is_empty() => {
                self.sample(&mut rng, input);
                self.mutate(&mut rng, input);
            }
            _ => {
                input.extend_from_slice(choose::<Vec<u8>>(&mut rng, self.corpus));
                self.mutate(&mut rng, input);
            }
        }
    }

    fn random(&self, rng: &mut SeededRng, input: &mut Vec<u8>) {
        let len = index(rng, 2 * self.target.len_typical + 1);
        input.resize(len, 0);
        rng.fill(input);
    }

    fn sample(&mut self, rng: &mut SeededRng, input: &mut Vec<u8>) {
        rng.fill(&mut self.entropy);
        let mut sample = (self.target.sample)(&mut Unstructured::new(&self.entropy));
        input.append(&mut sample);
    }

    fn mutate(&self, rng: &mut SeededRng, input: &mut Vec<u8>) {
        for _ in 0..=rng.below(MUTATIONS_MAX) {
            self.mutate_once(rng, input);
        }
        input.truncate(INPUT_LEN_MAX);
    }

    fn mutate_once(&self, rng: &mut SeededRng, input: &mut Vec<u8>) {
        if input.is_empty() {
            return self.random(rng, input);
        }
        let at = index(rng, input.len());
        match rng.below(10) {
            0 => input[at] ^= 1 << rng.below(8),
            1 => input[at] = rng.next_u32() as u8,
            // A length or count that is off by a little.
            2 => {
                input[at] =
                    input[at].wrapping_add(choose(rng, &[1, 2, 4, 255, 254, 252]).to_owned())
            }
            3 => write_edge(rng, input, at),
            4 => input.truncate(at),
            5 => {
                let end = (at + 1 + index(rng, 16)).min(input.len());
                input.drain(at..end);
            }
            // Something said twice.
            6 => {
                let end = (at + 1 + index(rng, 32)).min(input.len());
                let part = input[at..end].to_vec();
                let to = index(rng, input.len() + 1);
                input.splice(to..to, part);
            }
            7 => {
                let mut part = vec![0; 1 + index(rng, 16)];
                rng.fill(&mut part);
                input.splice(at..at, part);
            }
            8 => {
                let mut part = vec![0; 1 + index(rng, 64)];
                rng.fill(&mut part);
                input.append(&mut part);
            }
            // The tail of another.
            _ => {
                if !self.corpus.is_empty() {
                    let other = choose(rng, self.corpus);
                    let from = index(rng, other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
    }
}

/// Writes one of the numbers where arithmetic goes wrong, in one of four forms.
fn write_edge(rng: &mut SeededRng, input: &mut [u8], at: usize) {
    let number = *choose(rng, &EDGES);
    let octets: &[u8] = match rng.below(4) {
        0 => &(number as u16).to_be_bytes(),
        1 => &(number as u16).to_le_bytes(),
        2 => &number.to_be_bytes(),
        _ => &number.to_le_bytes(),
    };
    for (to, octet) in input[at..].iter_mut().zip(octets) {
        *to = *octet;
    }
}

fn index(rng: &mut SeededRng, bound: usize) -> usize {
    rng.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize
}

fn choose<'t, T>(rng: &mut SeededRng, of: &'t [T]) -> &'t T {
    &of[index(rng, of.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_the_same_input_again() {
        let target = crate::target("dns_message").unwrap();
        let corpus = [vec![1, 2, 3], vec![9; 40]];
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for number in [0, 1, 2, 77, 1_000_003] {
            Inputs::new(target, &corpus, 5).make(number, &mut one);
            let mut inputs = Inputs::new(target, &corpus, 5);
            inputs.make(number + 1, &mut other);
            inputs.make(number, &mut other);
            assert_eq!(one, other, "input {number}");
        }
    }

    #[test]
    fn seeds_and_targets_get_different_inputs() {
        let make = |name, seed| {
            let mut input = Vec::new();
            Inputs::new(crate::target(name).unwrap(), &[], seed).make(11, &mut input);
            input
        };
        assert_ne!(make("dns_message", 1), make("dns_message", 2));
    }
}
