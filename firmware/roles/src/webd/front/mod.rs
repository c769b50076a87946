//! The front: what stands between the household's network and tiny_http.
//!
//! # Contract
//! * Nothing here opens a socket, reads a clock or starts a thread, and no octets make it panic.
//! * A request leaves only when it is whole and can be read in one way alone; whoever comes
//!   after need not check framing, `Host`, repeated fields or sizes again.
//! * Whatever a client does, it costs at most what [`limits`] says, and the deadlines of
//!   [`connection`] end it. A source pays for its own greed first ([`admission`]).
//! * An answer leaves with the same security fields whoever made it ([`answer`]).
//!
//! # Parts
//! [`limits`]: every bound with its reason. [`head`]: strict parsing. [`connection`]: the machine
//! of one connection. [`admission`]: room for newcomers. [`answer`]: what is written back.
//! [`events`]: the history behind `/api/events`.
//!
//! Chunked bodies are answered 411: browsers and curl send a length, and the one framing that
//! is left cannot be ambiguous.

pub mod admission;
pub mod answer;
pub mod connection;
pub mod events;
pub mod head;
pub mod limits;
#[cfg(test)]
mod tests;
