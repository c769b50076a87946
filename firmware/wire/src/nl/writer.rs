//! The append-only message writer.

use super::{ATTR_HEADER_LEN, NLA_F_NESTED, align4, flags};

/// Why a buffer cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An attribute outgrew the 16 bits of `nla_len`; the kernel would read a shorter one.
    #[error("attribute {kind} holds {bytes} bytes, more than one attribute can")]
    AttributeTooLong {
        /// The attribute's type without flags.
        kind: u16,
        /// Its length with its header.
        bytes: usize,
    },
    /// A message outgrew the 32 bits of `nlmsg_len`.
    #[error("message of type {kind} holds {bytes} bytes, more than one message can")]
    MessageTooLong {
        /// `nlmsg_type`.
        kind: u16,
        /// Its length with its header.
        bytes: usize,
    },
    /// A message was begun inside another or an attribute was written outside of one.
    #[error("message or attribute out of place")]
    OutOfPlace,
}

/// Where an open nest begins; given back to [`Writer::close`].
#[derive(Debug)]
#[must_use]
pub struct Mark(usize);

/// Builds netlink messages one behind the other in one buffer.
///
/// Sequence numbers count up from the one given to [`Writer::new`]; [`Writer::begin`] returns each.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    message: Option<usize>,
    seq_next: u32,
    count: usize,
    error: Option<WriteError>,
}

impl Writer {
    /// An empty buffer whose first message gets `seq`.
    #[must_use]
    pub fn new(seq: u32) -> Self {
        Self {
            bytes: Vec::with_capacity(4096),
            message: None,
            seq_next: seq,
            count: 0,
            error: None,
        }
    }

    /// Opens a message: `nlmsghdr`, then `header`, the family's fixed structure. `NLM_F_REQUEST` is
    /// added to `flags`. Returns the message's sequence number.
    pub fn begin(&mut self, kind: u16, message_flags: u16, header: &[u8]) -> u32 {
        if self.message.is_some() {
            self.fail(WriteError::OutOfPlace);
        }
        let seq = self.seq_next;
        self.seq_next = seq.wrapping_add(1);
        self.count += 1;
        self.message = Some(self.bytes.len());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(message_flags | flags::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(header);
        self.pad();
        seq
    }

    /// Closes the open message.
    pub fn end(&mut self) {
        let Some(start) = self.message.take() else {
            self.fail(WriteError::OutOfPlace);
            return;
        };
        let bytes = self.bytes.len() - start;
        match u32::try_from(bytes) {
            Ok(len) => self.put(start, &len.to_ne_bytes()),
            Err(_) => {
                let kind = super::u16_at(&self.bytes, start + 4).unwrap_or_default();
                self.fail(WriteError::MessageTooLong { kind, bytes });
            }
        }
    }

    /// An attribute with these bytes.
    pub fn attr(&mut self, kind: u16, data: &[u8]) {
        let mark = self.open(kind);
        self.bytes.extend_from_slice(data);
        self.close(mark);
    }

    /// A string attribute with its terminating zero.
    pub fn str(&mut self, kind: u16, text: &str) {
        let mark = self.open(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.close(mark);
    }

    /// A flag: present without payload.
    pub fn flag(&mut self, kind: u16) {
        self.attr(kind, &[]);
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    /// 16 bits in host order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// 32 bits in host order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// 64 bits in host order.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// 16 bits in network order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// 32 bits in network order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// 64 bits in network order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A nest that `fill` fills; sets `NLA_F_NESTED`.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mark = self.open(kind | NLA_F_NESTED);
        fill(self);
        self.close(mark);
    }

    /// Octets inside the open attribute, for payloads with a format of their own.
    pub fn raw(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// Opens an attribute whose payload is written by further calls. `kind` is taken as it is.
    pub fn open(&mut self, kind: u16) -> Mark {
        if self.message.is_none() {
            self.fail(WriteError::OutOfPlace);
        }
        let mark = Mark(self.bytes.len());
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        mark
    }

    /// Closes what [`Writer::open`] opened.
    pub fn close(&mut self, Mark(start): Mark) {
        let bytes = self.bytes.len() - start;
        match u16::try_from(bytes) {
            Ok(len) => self.put(start, &len.to_ne_bytes()),
            Err(_) => {
                let kind = super::u16_at(&self.bytes, start + 2).unwrap_or_default()
                    & super::NLA_TYPE_MASK;
                self.fail(WriteError::AttributeTooLong { kind, bytes });
            }
        }
        self.pad();
    }

    /// Payload bytes so far in an open nest; lets the caller split a list before it overflows.
    #[must_use]
    pub fn len_since(&self, mark: &Mark) -> usize {
        self.bytes.len().saturating_sub(mark.0 + ATTR_HEADER_LEN)
    }

    /// Messages begun so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The sequence number that the next message gets.
    #[must_use]
    pub fn seq_next(&self) -> u32 {
        self.seq_next
    }

    /// Nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished buffer.
    ///
    /// # Errors
    /// The first [`WriteError`] met while writing; such a buffer must not be sent.
    pub fn finish(&self) -> Result<&[u8], WriteError> {
        match (self.error, self.message) {
            (Some(error), _) => Err(error),
            (None, Some(_)) => Err(WriteError::OutOfPlace),
            (None, None) => Ok(&self.bytes),
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(align4(self.bytes.len()), 0);
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + value.len()) {
            slot.copy_from_slice(value);
        }
    }

    fn fail(&mut self, error: WriteError) {
        self.error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nl::ATTR_PAYLOAD_BYTES_MAX;

    #[test]
    fn the_longest_attribute_is_written_and_one_byte_more_is_an_error() {
        for (len, good) in [
            (ATTR_PAYLOAD_BYTES_MAX, true),
            (ATTR_PAYLOAD_BYTES_MAX + 1, false),
        ] {
            let mut w = Writer::new(1);
            let _ = w.begin(1, 0, &[]);
            w.attr(9, &vec![0; len]);
            w.end();
            assert_eq!(w.finish().is_ok(), good);
        }
    }

    #[test]
    fn an_overfull_nest_is_an_error_that_names_it() {
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        w.nest(3, |w| {
            for _ in 0..2 {
                w.attr(1, &[0; 40_000]);
            }
        });
        w.end();
        assert_eq!(
            w.finish(),
            Err(WriteError::AttributeTooLong {
                kind: 3,
                bytes: 80_012
            })
        );
    }

    #[test]
    fn misplaced_calls_are_errors_not_panics() {
        let mut w = Writer::new(1);
        w.end();
        assert_eq!(w.finish(), Err(WriteError::OutOfPlace));
        let mut w = Writer::new(1);
        w.u32(1, 1);
        assert_eq!(w.finish(), Err(WriteError::OutOfPlace));
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        assert_eq!(w.finish(), Err(WriteError::OutOfPlace));
    }
}
