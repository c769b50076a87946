//! Protocol machines without IO: bytes, time and randomness come in as arguments, bytes and
//! deadlines go out.
//!
//! The contract of every machine here: call `handle_input` or `handle_timeout` (one mutation),
//! then drain `poll_output` until it yields a `Timeout`. Nothing in this crate owns a socket, a
//! file, a thread, a clock or a random source; clippy's disallowed lists enforce it.

pub mod dhcp_client;
pub mod dhcp_server;
pub mod dns;
pub mod ntp;
pub mod probe;
pub mod rng;
