//! The disk under the store: what a power cut leaves.
//!
//! The store is the real one, over SQLite in memory; the disk holds images of it. A commit that
//! was promised is on its way until its flush ends; a cut before that leaves the state before or
//! after it, whole, as SQLite's log does. What was written without a promise may be lost with
//! everything behind it. The store's own way over a torn file is its crate's and the appliance
//! tests' concern.

use lintel_store::{Store, StoreError};

use crate::dice::Dice;

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// What is safe.
    durable: Option<Vec<u8>>,
    /// What is being flushed.
    in_flight: Option<Vec<u8>>,
    /// What the page cache holds: survives a process, not a power cut.
    cached: Option<Vec<u8>>,
    /// Planted: what nobody flushed.
    dirty: Option<Vec<u8>>,
}

impl Disk {
    /// A commit begins its way to the disk.
    pub fn begin_flush(&mut self, image: Vec<u8>) {
        self.in_flight = Some(image);
    }

    /// The flush has ended.
    pub fn end_flush(&mut self) {
        if let Some(image) = self.in_flight.take() {
            self.durable = Some(image);
        }
    }

    /// Planted: nobody flushes. The kernel writes back what came before, some time later.
    pub fn write_back_later(&mut self) {
        let newer = self.in_flight.take();
        self.durable = std::mem::replace(&mut self.dirty, newer).or(self.durable.take());
    }

    /// The process that has the store ends.
    pub fn process_ends(&mut self, image: Vec<u8>) {
        self.cached = Some(image);
    }

    /// The power goes; the page cache held `cached`.
    pub fn cut(&mut self, cached: Option<Vec<u8>>, dice: &mut Dice) {
        let last = cached.or(self.cached.take());
        let on_its_way = self.in_flight.take();
        // The log is written in order: with the last, everything before it is there.
        if dice.per_mille(300) && last.is_some() {
            self.durable = last;
        } else if dice.per_mille(500) && on_its_way.is_some() {
            self.durable = on_its_way;
        }
        self.cached = None;
        self.dirty = None;
    }

    /// The store as a new process finds it.
    pub fn open(&mut self) -> Result<Store, StoreError> {
        // What it reads is flushed first, as `Store::open` does with a log that it finds.
        self.in_flight = None;
        if let Some(cached) = self.cached.take() {
            self.durable = Some(cached);
        }
        match &self.durable {
            Some(image) => Store::from_image(image),
            None => Store::memory(),
        }
    }

    /// Octets of the largest image that it holds.
    pub fn bytes(&self) -> usize {
        let images = [&self.durable, &self.in_flight, &self.cached, &self.dirty];
        let lengths = images.into_iter().flatten().map(Vec::len);
        lengths.max().unwrap_or(0)
    }

    /// What a power cut would surely leave.
    pub fn durable(&self) -> Result<Option<Store>, StoreError> {
        self.durable.as_deref().map(Store::from_image).transpose()
    }
}
