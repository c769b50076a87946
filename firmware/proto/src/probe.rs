//! Tests of the network by our own packets: ping, traceroute and path MTU with echo requests, and
//! a question for a name.
//!
//! Each is a machine: time and randomness are arguments, what is to be sent comes out, and
//! [`echo::Echoes::report`] and [`resolve::Question::report`] tell what is known at any moment. Nothing
//! panics on any bytes; each has a bound on what it sends and on how long it takes.

pub mod echo;
pub mod resolve;
