//! scrypt (RFC 7914) with r = 8 and p = 1, in bounded memory.
//!
//! The usual way keeps all N blocks: 256 MiB for a file of `age -p`, which a role of a box has
//! not. Here every k-th block is kept and those between are made again, with k the smallest
//! power of two that fits [`TABLE_BYTES_MAX`]. That is the trade that scrypt makes dear for who
//! guesses: N + N (1 + (k - 1) / 2) steps in place of 2 N, 2.75 times the work at N = 2^18.

use std::num::NonZeroU32;

use ring::pbkdf2;

/// Memory of the table, octets: what the password's argon2 takes, and half as much again.
pub const TABLE_BYTES_MAX: usize = 32 << 20;

/// Words of a block, 128 r octets.
const BLOCK_WORDS: usize = 256;
/// Octets of a block.
const BLOCK_BYTES: usize = 4 * BLOCK_WORDS;
/// Words of what salsa20/8 mixes.
const LANE_WORDS: usize = 16;

type Block = [u32; BLOCK_WORDS];

/// The key for a passphrase, with N = 2^`log_n`. Above 30 it would be no number of blocks of this
/// table: the caller bounds it far below.
pub fn derive(passphrase: &[u8], salt: &[u8], log_n: u8) -> [u8; 32] {
    let mut octets = [0; BLOCK_BYTES];
    stretch(passphrase, salt, &mut octets);
    let mut block = [0; BLOCK_WORDS];
    for (word, four) in block.iter_mut().zip(octets.chunks_exact(4)) {
        *word = four
            .iter()
            .rev()
            .fold(0, |word, b| word << 8 | u32::from(*b));
    }
    mix(&mut block, 1 << log_n.min(30));
    for (four, word) in octets.chunks_exact_mut(4).zip(block) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    let mut key = [0; 32];
    stretch(passphrase, &octets, &mut key);
    key
}

/// PBKDF2-HMAC-SHA-256 with one round.
fn stretch(passphrase: &[u8], salt: &[u8], out: &mut [u8]) {
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        NonZeroU32::MIN,
        salt,
        passphrase,
        out,
    );
}

/// scryptROMix (section 5).
fn mix(x: &mut Block, n: usize) {
    let stride = (n * BLOCK_BYTES)
        .div_ceil(TABLE_BYTES_MAX)
        .next_power_of_two();
    let mut table: Vec<Block> = Vec::with_capacity(n / stride + 1);
    let mut spare = [0; BLOCK_WORDS];
    for at in 0..n {
        if at % stride == 0 {
            table.push(*x);
        }
        mix_block(x, &mut spare);
    }
    for _ in 0..n {
        let at = integerify(x) & (n - 1);
        // Every multiple of the stride below n was kept.
        let mut v = table.get(at / stride).copied().unwrap_or([0; BLOCK_WORDS]);
        for _ in 0..at % stride {
            mix_block(&mut v, &mut spare);
        }
        for (word, with) in x.iter_mut().zip(v) {
            *word ^= with;
        }
        mix_block(x, &mut spare);
    }
}

/// The low word of the last lane; N is below 2^32.
fn integerify(x: &Block) -> usize {
    let word = x.get(BLOCK_WORDS - LANE_WORDS).copied().unwrap_or(0);
    usize::try_from(word).unwrap_or(0)
}

/// scryptBlockMix (section 4): even lanes come first, then odd ones.
fn mix_block(block: &mut Block, spare: &mut Block) {
    let (lanes, _) = block.as_chunks::<LANE_WORDS>();
    let mut x = lanes.last().copied().unwrap_or([0; LANE_WORDS]);
    let (even, odd) = spare.split_at_mut(BLOCK_WORDS / 2);
    let (even, odd) = (
        even.as_chunks_mut::<LANE_WORDS>().0,
        odd.as_chunks_mut::<LANE_WORDS>().0,
    );
    for ((pair, even), odd) in lanes.chunks_exact(2).zip(even).zip(odd) {
        if let [first, second] = pair {
            salsa(&mut x, first);
            *even = x;
            salsa(&mut x, second);
            *odd = x;
        }
    }
    *block = *spare;
}

/// salsa20/8 of `x` xor `with` (section 3).
fn salsa(x: &mut [u32; LANE_WORDS], with: &[u32; LANE_WORDS]) {
    for (word, with) in x.iter_mut().zip(with) {
        *word ^= with;
    }
    let start = *x;
    for _ in 0..4 {
        quarter::<0, 4, 8, 12>(x);
        quarter::<5, 9, 13, 1>(x);
        quarter::<10, 14, 2, 6>(x);
        quarter::<15, 3, 7, 11>(x);
        quarter::<0, 1, 2, 3>(x);
        quarter::<5, 6, 7, 4>(x);
        quarter::<10, 11, 8, 9>(x);
        quarter::<15, 12, 13, 14>(x);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = word.wrapping_add(start);
    }
}

#[inline(always)]
fn quarter<const A: usize, const B: usize, const C: usize, const D: usize>(
    x: &mut [u32; LANE_WORDS],
) {
    x[B] ^= x[A].wrapping_add(x[D]).rotate_left(7);
    x[C] ^= x[B].wrapping_add(x[A]).rotate_left(9);
    x[D] ^= x[C].wrapping_add(x[B]).rotate_left(13);
    x[A] ^= x[D].wrapping_add(x[C]).rotate_left(18);
}
