//! What every role stands on: the poll loop, the clock, channels, the start of a role.
//!
//! * [`clock`]: the only place that reads a clock.
//! * [`poller`]: one epoll per role; one thread.
//! * [`datagrams`]: many datagrams in one call, with packet info.
//! * [`channel`]: typed messages and descriptors over SOCK_SEQPACKET.
//! * [`role`]: how a role comes to life and talks to init.
//! * [`table`]: what each role is and keeps; [`spawn`], [`sandbox`]: how that is enforced.
//! * [`device`]: devices that init drives by ioctl.
//! * [`escape`]: what the escape test tries from inside a role.
//! * [`sockets`]: the wildcard sockets that init opens for roles.
//! * [`wall`]: the clock that timed disciplines, and a pretended one.
//! * [`terminal`]: the terminal that a person sits at.
//! * [`proc_text`]: numbers in the kernel's texts.
//! * [`logger`]: log lines of a role, for init.
#![allow(unsafe_code)] // descriptors from messages and the few calls nix has no safe form for
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this crate does the IO

pub mod channel;
pub mod clock;
pub mod datagrams;
pub mod device;
pub mod escape;
pub mod logger;
pub mod poller;
pub mod proc_text;
pub mod role;
pub mod sandbox;
pub mod sockets;
pub mod spawn;
pub mod stream;
pub mod table;
pub mod terminal;
pub mod wall;
