//! What every role stands on: the poll loop, the clock, channels, the start of a role.
//!
//! * [`clock`]: the only place that reads a clock.
//! * [`poller`]: one epoll per role; one thread.
//! * [`channel`]: typed messages and descriptors over SOCK_SEQPACKET.
//! * [`role`]: how a role comes to life and talks to init.
#![allow(unsafe_code)] // descriptors from messages and the few calls nix has no safe form for
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this crate does the IO

pub mod channel;
pub mod clock;
pub mod poller;
pub mod role;
