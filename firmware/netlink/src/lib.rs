//! Between the model and the kernel: netlink dialogues, packet sockets, sysctls.
//!
//! * [`socket`]: requests, batches and dumps on one netlink socket; [`error`] is what they say.
//! * [`nft`]: the table `inet lintel`, encoded and decoded.
#![allow(unsafe_code)] // borrowing neli's descriptors, and socket options that nix lacks
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this crate does the IO

pub mod error;
pub mod nft;
pub mod socket;

pub use error::{NetlinkError, Refusal};
