//! The netlink envelope (RFC 3549, `linux/netlink.h`): message headers, attributes,
//! acknowledgements.
//!
//! Contract: [`Writer`] only appends and never panics; a message or attribute that outgrows its
//! length field is remembered and reported by [`Writer::finish`], so that building stays a plain
//! sequence of calls. [`Messages`] and [`Attrs`] accept any bytes, never panic, and stop at the
//! first header that does not fit what is left. Buffers belong to the caller.
//!
//! Integers are in host order, as netlink wants, except where a function's name says `be`.

mod ack;
mod attr;
mod writer;

pub use ack::{Ack, Reply};
pub use attr::{Attr, Attrs};
pub use writer::{Mark, WriteError, Writer};

/// Bytes of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;
/// Bytes of `struct nlattr`.
pub const ATTR_HEADER_LEN: usize = 4;
/// The longest payload one attribute can carry: `nla_len` is 16 bits and counts its own header.
pub const ATTR_PAYLOAD_BYTES_MAX: usize = u16::MAX as usize - ATTR_HEADER_LEN;

/// `NLA_F_NESTED`: the payload is attributes.
pub const NLA_F_NESTED: u16 = 0x8000;
/// `NLA_F_NET_BYTEORDER`: the payload is big-endian.
pub const NLA_F_NET_BYTEORDER: u16 = 0x4000;
/// What is left of an attribute's type when the two flags are taken away.
pub const NLA_TYPE_MASK: u16 = 0x3fff;

/// `nlmsg_flags`.
pub mod flags {
    /// Every request carries it.
    pub const REQUEST: u16 = 0x1;
    /// One of several messages of a dump.
    pub const MULTI: u16 = 0x2;
    /// The kernel answers with an error number even on success.
    pub const ACK: u16 = 0x4;
    /// The dump was interrupted by a change and may be inconsistent.
    pub const DUMP_INTR: u16 = 0x10;
    /// The kernel applied the filter that a dump request named.
    pub const DUMP_FILTERED: u16 = 0x20;
    /// Return all entries (`NLM_F_ROOT | NLM_F_MATCH`).
    pub const DUMP: u16 = 0x300;
    /// Replace what exists.
    pub const REPLACE: u16 = 0x100;
    /// Fail when it exists.
    pub const EXCL: u16 = 0x200;
    /// Create when it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Add at the end of the list.
    pub const APPEND: u16 = 0x800;
    /// In an error reply: the request was not echoed.
    pub const CAPPED: u16 = 0x100;
    /// In an error reply: extended-ack attributes follow.
    pub const ACK_TLVS: u16 = 0x200;
}

/// `NLMSG_NOOP`.
pub const NLMSG_NOOP: u16 = 1;
/// `NLMSG_ERROR`: an error, or with errno 0 an acknowledgement.
pub const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump; carries the dump's result.
pub const NLMSG_DONE: u16 = 3;
/// `NLMSG_OVERRUN`.
pub const NLMSG_OVERRUN: u16 = 4;

/// Bytes were shorter than the fixed structure they should hold, or held a value of the wrong size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(
    /// What was being read, in the kernel's name for it.
    pub &'static str,
);

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: the request this answers, 0 for multicast.
    pub seq: u32,
    /// `nlmsg_pid`: port of the requester, not a process.
    pub port: u32,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

/// The messages of one datagram; stops where a header does not fit.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads the messages in `datagram`.
    #[must_use]
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    /// Bytes that the iterator has not consumed; not empty after the last message means that the
    /// datagram was cut or malformed.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::try_from(u32_at(self.rest, 0)?).ok()?;
        let message = Message {
            kind: u16_at(self.rest, 4)?,
            flags: u16_at(self.rest, 6)?,
            seq: u32_at(self.rest, 8)?,
            port: u32_at(self.rest, 12)?,
            payload: self.rest.get(HEADER_LEN..len)?,
        };
        self.rest = self.rest.get(align4(len)..).unwrap_or_default();
        Some(message)
    }
}

/// Rounds up to netlink's alignment of four bytes.
#[must_use]
pub const fn align4(len: usize) -> usize {
    len.saturating_add(3) & !3
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cut_message_ends_the_iteration_and_stays_in_rest() {
        let mut w = Writer::new(7);
        let _ = w.begin(18, flags::REQUEST, &[1, 2, 3, 4]);
        w.str(3, "lan0");
        w.end();
        let bytes = w.finish().unwrap().to_vec();
        let mut messages = Messages::new(&bytes[..bytes.len() - 1]);
        assert_eq!(messages.next(), None);
        assert_eq!(messages.rest().len(), bytes.len() - 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in Messages::new(&bytes) {
                let _ = Reply::of(&message);
                for attr in Attrs::new(message.payload) {
                    let _ = (attr.u8(), attr.u16(), attr.u32(), attr.u64(), attr.be32(), attr.be64(), attr.str());
                    for inner in attr.nested() {
                        let _ = inner.be16();
                    }
                }
            }
        }

        #[test]
        fn what_is_written_is_read(seq in any::<u32>(), items in proptest::collection::vec((0u16..0x3fff, proptest::collection::vec(any::<u8>(), 0..40)), 0..12)) {
            let mut w = Writer::new(seq);
            let first = w.begin(20, 1, &[0; 8]);
            let nest = w.open(NLA_F_NESTED | 5);
            for (kind, data) in &items {
                w.attr(*kind, data);
            }
            w.close(nest);
            w.end();
            let second = w.begin(21, 2, &[]);
            w.end();
            prop_assert_eq!(second, first.wrapping_add(1));
            let bytes = w.finish().unwrap();
            let all: Vec<_> = Messages::new(bytes).collect();
            prop_assert_eq!(all.len(), 2);
            let outer: Vec<_> = Attrs::new(&all[0].payload[8..]).collect();
            prop_assert_eq!(outer.len(), 1);
            let read: Vec<_> = outer[0].nested().map(|a| (a.kind, a.data.to_vec())).collect();
            prop_assert_eq!(read, items);
        }
    }
}
