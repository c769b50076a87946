//! Typed messages between roles. One module per pair of roles; the transport is `rt::channel`.
//!
//! A channel carries one direction's enum each way (`FromInit` down, `ToInit` up). Descriptors
//! travel beside a message, in the order that the message's documentation names. A new pair of
//! descriptors is a new session: both ends forget what the old one said and begin with a whole
//! snapshot.
//!
//! These types cross a trust boundary upwards: whoever reads a `To...` message treats its
//! content as hostile, since the role that sent it parses other people's bytes.

pub mod call;
pub mod dhcpd;
pub mod dnsd;
pub mod init;
pub mod netd;
pub mod timed;
pub mod wand;
pub mod webd;

pub use call::{Call, Caller, Origin, Problem, Reply};

/// Most octets of a message inside the datagram; a longer one travels as a sealed memfd.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Most octets of a message at all: a plan with 10,000 set elements is about 2 MB of JSON.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Most descriptors beside one message: the wildcard sockets of the largest role and some room.
pub const MESSAGE_FDS_MAX: usize = 16;
