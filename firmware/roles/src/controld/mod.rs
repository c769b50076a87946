//! controld: the state of the box.
//!
//! * [`core`]: a machine without IO but for the store it owns. Inputs are what netd, wand,
//!   dhcpd, dnsd, webd, init and the control socket say; outputs are what they are told. Time
//!   and randomness are arguments.
//! * [`shell`]: sockets, channels and clocks around it.
//!
//! It alone decides: which configuration is in force, what the kernel shall hold, who may call
//! what. What other roles say is checked before it is believed: they parse foreign bytes.

mod audit;
mod auth;
mod backups;
mod bus;
mod calls;
pub(crate) mod certificate;
mod clock;
mod commits;
mod config_calls;
mod confirm;
mod connectivity;
mod control;
pub mod core;
mod entries;
mod kernel;
mod leases;
mod leaving;
mod log_calls;
mod log_export;
mod log_parts;
mod look;
mod machine;
mod metrics;
mod network_tests;
mod once;
mod pace;
mod people_calls;
mod presence;
mod redact;
mod seal_thread;
pub mod sealing;
mod sessions;
mod shell;
mod snapshots;
mod startup;
mod stats;
mod support;
mod tasks;
mod time_calls;
mod totp;
mod views;
mod writes;

#[cfg(test)]
mod tests;

pub(crate) use control::WATCH;
pub use shell::main;
