//! The whole router, its provider and its house in one process, with virtual time and a seed.
//!
//! ```text
//!   hosts ── LAN wire ──▶ dhcpd, dnsd ─┐            ┌─ wand ◀── WAN wire ── provider, forger
//!            (loses, doubles, delays)  ├─ controld ─┤
//!                         disk ◀───────┘            └─ netd ──▶ fake kernel
//! ```
//!
//! Real: the machines of `proto`, the planner, controld's core and the store with its SQLite.
//! Modelled: wires, clocks, processes and their channels, the kernel, the disk, and the thin
//! shells of the roles. `docs/adr/0009-simulation.md` says why.
//!
//! One [`street::run`] plays a seed: some minutes in which things go wrong, then calm, in which
//! all must become well. [`properties`] lists what must hold. A seed and a scenario repeat a run
//! exactly; nothing here reads a clock or draws a number from elsewhere.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // prints, and runs seeds in threads

pub mod attack;
pub mod batch;
pub mod bounds;
pub mod dice;
pub mod durable;
pub mod host;
pub mod isp;
pub mod net;
pub mod plant;
pub mod properties;
pub mod router;
pub mod scenario;
pub mod street;
pub mod timeservers;
pub mod trace;
pub mod wishes;
pub mod world;
