//! Choices made out of entropy, for samples and for the steps that machines are fed.
//!
//! `arbitrary` gives zeros when its bytes are used up; these functions do so without a `Result`,
//! so that a sequence ends where [`Unstructured::is_empty`] says and never half-way.

use std::net::Ipv4Addr;

use arbitrary::{Arbitrary, Unstructured};

/// Any value of `T`.
pub fn any<'a, T: Arbitrary<'a> + Default>(u: &mut Unstructured<'a>) -> T {
    u.arbitrary().unwrap_or_default()
}

/// A number below `bound`, which is not zero.
pub fn below(u: &mut Unstructured<'_>, bound: usize) -> usize {
    u.int_in_range(0..=bound - 1).unwrap_or(0)
}

/// One of `choices`, which are not none.
pub fn pick<T: Copy>(u: &mut Unstructured<'_>, choices: &[T]) -> T {
    choices[below(u, choices.len())]
}

/// True once in `of` times.
pub fn once_in(u: &mut Unstructured<'_>, of: usize) -> bool {
    below(u, of) == of - 1
}

/// Up to `len_max` octets.
pub fn octets(u: &mut Unstructured<'_>, len_max: usize) -> Vec<u8> {
    let len = below(u, len_max + 1);
    (0..len).map(|_| any(u)).collect()
}

/// Up to `len_max` of the characters in `alphabet`.
pub fn text(u: &mut Unstructured<'_>, alphabet: &[u8], len_max: usize) -> String {
    let len = below(u, len_max + 1);
    (0..len).map(|_| char::from(pick(u, alphabet))).collect()
}

/// An address: often of a home network, sometimes any.
pub fn ipv4(u: &mut Unstructured<'_>) -> Ipv4Addr {
    match below(u, 5) {
        0 => Ipv4Addr::from(any::<u32>(u)),
        1 => pick(
            u,
            &[
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::BROADCAST,
                Ipv4Addr::LOCALHOST,
                Ipv4Addr::new(224, 0, 0, 1),
            ],
        ),
        _ => Ipv4Addr::new(192, 168, 1, any(u)),
    }
}

/// Numbers where arithmetic goes wrong.
pub const EDGES: [u32; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// A number, often one of [`EDGES`].
pub fn number(u: &mut Unstructured<'_>) -> u32 {
    if once_in(u, 3) {
        pick(u, &EDGES)
    } else {
        any(u)
    }
}
