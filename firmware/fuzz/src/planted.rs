//! Targets with a bug that was put there: they show that the runner finds each kind. They are in
//! no run but one that names them.

use std::cell::RefCell;

use crate::{Tally, Target, entropy};

/// One of each kind.
pub const PLANTED: &[Target] = &[
    plant("planted_panic", panics),
    plant("planted_hang", hangs),
    plant("planted_leak", leaks),
    plant("planted_recursion", recurses),
    plant("planted_hunger", hungers),
];

const fn plant(name: &'static str, run: fn(&[u8]) -> Tally) -> Target {
    Target {
        name,
        run,
        sample: |u| entropy::octets(u, 8),
        len_typical: 8,
    }
}

/// Does the input begin with the octets that wake the bug? One input in 2^16 does by chance.
fn wakes(data: &[u8]) -> bool {
    matches!(data, [0x4c, 0x69, ..])
}

fn panics(data: &[u8]) -> Tally {
    assert!(!wakes(data), "planted");
    Tally::ACCEPTED
}

fn hangs(data: &[u8]) -> Tally {
    while wakes(data) {
        std::hint::spin_loop();
    }
    Tally::ACCEPTED
}

fn leaks(data: &[u8]) -> Tally {
    thread_local!(static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });
    KEPT.with_borrow_mut(|kept| kept.push(data.to_vec()));
    Tally::ACCEPTED
}

/// As a parser does that descends into what it reads.
fn recurses(data: &[u8]) -> Tally {
    fn descend(depth: u64) -> u64 {
        if depth == 0 {
            return 0;
        }
        std::hint::black_box(descend(std::hint::black_box(depth - 1)) + 1)
    }
    if wakes(data) {
        std::hint::black_box(descend(u64::MAX));
    }
    Tally::ACCEPTED
}

/// As a parser does that believes a length field.
fn hungers(data: &[u8]) -> Tally {
    if wakes(data) {
        std::hint::black_box(vec![1_u8; 8 << 30]);
    }
    Tally::ACCEPTED
}
