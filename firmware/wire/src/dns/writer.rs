//! Puts a message together in a buffer of the caller, without allocating.
//!
//! Names are compressed against what was written before (RFC 1035, 4.1.4), only where the letter
//! case is the same, so that every name reads back as it was given.

use super::name::{self, Name};
use super::packet::{Packet, Section};
use super::types::{Class, Flags, Rcode, RrType};
use super::{Error, HEADER_LEN};

/// Places where a label starts that later names may point to. What finds no room is merely not
/// pointed to.
const POINTER_TARGETS_MAX: usize = 64;

/// Highest offset that a pointer's fourteen bits can name.
const POINTER_OFFSET_MAX: usize = 0x3fff;

/// Writes one message.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    counts: [u16; 4],
    targets: heapless::Vec<u16, POINTER_TARGETS_MAX>,
}

impl<'a> Writer<'a> {
    /// Starts a message in `buffer`, whose length is the message's limit.
    pub fn new(buffer: &'a mut [u8], id: u16, flags: Flags, rcode: Rcode) -> Result<Self, Error> {
        let header = buffer.first_chunk_mut::<HEADER_LEN>().ok_or(Error::Full)?;
        *header = [0; HEADER_LEN];
        header[0..2].copy_from_slice(&id.to_be_bytes());
        header[2..4].copy_from_slice(&flags.to_word(rcode).to_be_bytes());
        Ok(Self {
            buffer,
            len: HEADER_LEN,
            counts: [0; 4],
            targets: heapless::Vec::new(),
        })
    }

    /// Adds a question.
    pub fn question(&mut self, name: &Name, rr_type: RrType, class: Class) -> Result<(), Error> {
        self.name(name)?;
        self.u16(rr_type.0)?;
        self.u16(class.0)?;
        self.counts[0] = self.counts[0].saturating_add(1);
        Ok(())
    }

    /// Adds a record whose data `data` writes; its length is filled in afterwards. When anything
    /// does not fit, the message is left as it was before the record.
    pub fn record(
        &mut self,
        section: Section,
        name: &Name,
        rr_type: RrType,
        class: Class,
        ttl: u32,
        data: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (len, targets) = (self.len, self.targets.len());
        let result = self.try_record(name, rr_type, class, ttl, data);
        if result.is_ok() {
            let count = &mut self.counts[1 + section as usize];
            *count = count.saturating_add(1);
        } else {
            self.len = len;
            self.targets.truncate(targets);
        }
        result
    }

    fn try_record(
        &mut self,
        name: &Name,
        rr_type: RrType,
        class: Class,
        ttl: u32,
        data: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.name(name)?;
        self.u16(rr_type.0)?;
        self.u16(class.0)?;
        self.u32(ttl)?;
        self.u16(0)?;
        let at = self.len;
        data(self)?;
        let length = u16::try_from(self.len - at).map_err(|_| Error::Full)?;
        self.buffer[at - 2..at].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Writes a name, pointing to an earlier one where its tail is there already.
    pub fn name(&mut self, name: &Name) -> Result<(), Error> {
        let octets = name.as_bytes();
        let mut at = 0;
        while let Some(&length) = octets.get(at).filter(|length| **length > 0) {
            let tail = &octets[at..];
            if let Some(&target) = self
                .targets
                .iter()
                .find(|target| self.is_at(tail, **target))
            {
                return self.u16(0xc000 | target);
            }
            if self.len <= POINTER_OFFSET_MAX {
                // Full is fine: the place is then not pointed to.
                let _ = self.targets.push(self.len as u16);
            }
            let next = at + 1 + usize::from(length);
            self.bytes(&octets[at..next])?;
            at = next;
        }
        self.bytes(&[0])
    }

    /// Writes a name without compression (RFC 3597, 4 for types newer than RFC 1035's).
    pub fn plain_name(&mut self, name: &Name) -> Result<(), Error> {
        self.bytes(name.as_bytes())
    }

    /// Writes octets.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len + bytes.len();
        self.buffer
            .get_mut(self.len..end)
            .ok_or(Error::Full)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Writes one octet.
    pub fn u8(&mut self, value: u8) -> Result<(), Error> {
        self.bytes(&[value])
    }

    /// Writes two octets.
    pub fn u16(&mut self, value: u16) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes four octets.
    pub fn u32(&mut self, value: u32) -> Result<(), Error> {
        self.bytes(&value.to_be_bytes())
    }

    /// Fills in the counts and returns the message's length.
    pub fn finish(self) -> usize {
        for (at, count) in self.counts.iter().enumerate() {
            self.buffer[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
        }
        debug_assert!(Packet::new_checked(&self.buffer[..self.len]).is_ok());
        self.len
    }

    /// Does the message hold exactly the name `tail` at `target`?
    fn is_at(&self, tail: &[u8], target: u16) -> bool {
        let mut rest = tail;
        name::walk(&self.buffer[..self.len], usize::from(target), |part| {
            rest = rest.strip_prefix(part).ok_or(name::NameError::Label)?;
            Ok(())
        })
        .is_ok()
            && rest.is_empty()
    }
}
