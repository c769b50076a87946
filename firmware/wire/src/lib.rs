//! Packet formats: what is on the wire, without sockets, clock or state.

pub mod nl;
