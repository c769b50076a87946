//! The machine with fakes around it.

use lintel_proto::rng::Rng;

/// Not random at all: each byte is the next number.
#[derive(Debug, Default)]
pub(super) struct CountingRng(u8);

impl Rng for CountingRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}
