//! Between the model and the kernel: netlink dialogues, packet sockets, sysctls.
//!
//! * [`kernel`]: what netd uses: look at everything, do one step.
//! * [`watch`]: hears that something changed.
//! * [`nft`]: the table `inet lintel`, encoded and decoded.
//! * [`socket`]: requests, batches and dumps on one netlink socket; [`error`] is what they say.
//! * [`flows`]: what the kernel tracks.
//! * [`packet`]: sockets tied to a link, for other roles; [`sysctl`]: values under /proc/sys/net.
//!
//! Everything acts in the network namespace of the thread that opened it.
#![allow(unsafe_code)] // borrowing neli's descriptors, and socket calls that nix lacks
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this crate does the IO

pub mod error;
pub mod flows;
pub mod kernel;
pub mod nft;
pub mod packet;
mod route;
pub mod socket;
pub mod sysctl;
pub mod watch;

pub use error::{NetlinkError, Refusal};
pub use kernel::{Effect, Kernel, StepFailure};
pub use watch::{Heard, Watch};
