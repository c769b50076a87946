//! What the user writes, what the planner wants, what the kernel says.
//!
//! * [`backup`]: the configuration as it travels, with the ports of the box it is from.
//! * [`config`]: the one typed tree that people write as TOML.
//! * [`date`]: the calendar.
//! * [`facts`]: what the world told us (links, lease, disk, detected ports).
//! * [`features`]: what kernels may lack.
//! * [`desired`]: what the kernel shall hold; [`services`]: what each role shall serve.
//! * [`observed`]: what the kernel holds, normalised to the words of [`desired`].
//! * [`probe`]: tests of the network, and what comes of them.
//! * [`step`]: one change that leads from observed to desired.
//! * [`nft`]: the ruleset as data, one level above the netlink attributes.
//!
//! This crate is pure: no clock, no file, no socket, no randomness. Nothing in it panics on
//! any value that its types can hold.

pub mod backup;
pub mod board;
pub mod clock;
pub mod config;
pub mod date;
pub mod desired;
pub mod facts;
pub mod features;
pub mod lease;
pub mod names;
pub mod nft;
pub mod observed;
pub mod preview;
pub mod probe;
pub mod reset;
pub mod resolver;
pub mod role;
pub mod services;
pub mod step;
mod step_text;

pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use names::{DomainName, HostName, LinkName, MacAddr, NameError};
pub use role::RoleName;
