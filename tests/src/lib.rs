//! Real clients and foreign judges in network namespaces of their own.
//!
//! A namespace lives as long as its holder process, and the holder ends when the pipe to the
//! test closes: whatever way a test ends, nothing is left behind. Programs enter by `nsenter`.
//! Everything here panics on failure, with a sentence: it is called from tests alone.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do IO
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed test panics

pub mod browser;
pub mod caller;
pub mod client;
pub mod home;
pub mod isp;
pub mod namespace;
pub mod pages;
pub mod phone;
pub mod router;
pub mod session;
pub mod sky;
pub mod street;
pub mod told;
pub mod wait;
pub mod wires;

pub use namespace::{Namespace, Proc, Workdir};
pub use wait::{until, until_some};
