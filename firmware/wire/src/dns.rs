//! DNS messages (RFC 1035, with RFC 2181, 3597 and 6891).
//!
//! Two views of one message, as everywhere in this crate:
//! - [`Packet`] lies over bytes that anybody may have sent. Its constructor checks that a header
//!   is there; everything behind the header is reached through iterators that return an error
//!   instead of reading outside the buffer. No method panics on any bytes.
//! - [`Repr`] is a whole message with meaning. [`Repr::parse`] refuses what it cannot say again,
//!   so `parse(emit(r)) == r`.
//!
//! [`Writer`] puts messages together in a buffer that the caller owns, without allocating; it is
//! what the forwarder answers with, and `Repr::emit` is written on top of it.
//!
//! A [`Name`] keeps the letter case it came with (RFC 4343) and is never longer than 255 octets.
//! Compression pointers (RFC 1035, 4.1.4) must point backwards, before the labels that led to
//! them, so following them ends.

mod name;
mod packet;
mod repr;
mod types;
mod writer;

pub use name::{Labels, Name, NameError};
pub use packet::{Packet, Question, Record, Records, Section};
pub use repr::{EdnsRepr, QuestionRepr, Rdata, RecordRepr, Repr, SoaRepr};
pub use types::{Class, Flags, Opcode, Rcode, RrType};
pub use writer::Writer;

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 12;

/// Longest UDP message to a peer that did not speak EDNS (RFC 1035, 2.3.4).
pub const UDP_PLAIN_LEN: usize = 512;

/// UDP payload that we offer and use: no fragments on any path with IPv6's minimum MTU (1280).
pub const UDP_EDNS_LEN: usize = 1232;

/// Longest message that TCP's length prefix can carry (RFC 1035, 4.2.2).
pub const MESSAGE_LEN_MAX: usize = 65_535;

/// Why bytes are not a DNS message, or a message does not fit its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A name breaks the rules of RFC 1035, 3.1 or 4.1.4.
    #[error("bad name")]
    Name(#[source] NameError),
    /// Record data does not have the shape its type demands.
    #[error("malformed data in a record of type {0}")]
    Rdata(RrType),
    /// More than one question, or a second OPT record (RFC 6891, 6.1.1).
    #[error("a part that must be single is there twice")]
    Repeated,
    /// Octets follow the last record.
    #[error("octets follow the last record")]
    Trailing,
    /// The caller's buffer is too small for what is written.
    #[error("the message does not fit its buffer")]
    Full,
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
