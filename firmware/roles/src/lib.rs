//! The roles: thin shells that move bytes between sockets, channels and the pure machines.
//!
//! Each role is a module with `pub fn main(ctx: RoleContext) -> Result<(), RoleError>`: it
//! opens what it needs, calls `lintel_rt::sandbox::enter`, then [`RoleContext::ready`], then
//! loops until `InitEvent::Stop`. What leads to an error ends the process; init starts it anew
//! and its sessions begin again with snapshots.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // shells do the IO

pub mod cli;
pub mod controld;
pub mod dhcpd;
pub mod dnsd;
mod first_visit;
pub mod init;
pub mod netd;
pub mod now;
pub mod standalone;
pub mod timed;
pub mod wand;
pub mod webd;

use lintel_model::RoleName;
use lintel_rt::role::{RoleContext, RoleError};

/// Runs a role to its end.
pub fn run(role: RoleName, ctx: RoleContext) -> Result<(), RoleError> {
    match role {
        RoleName::Netd => netd::main(ctx),
        RoleName::Controld => controld::main(ctx),
        RoleName::Dhcpd => dhcpd::main(ctx),
        RoleName::Dnsd => dnsd::main(ctx),
        RoleName::Wand => wand::main(ctx),
        RoleName::Timed => timed::main(ctx),
        RoleName::Webd => webd::main(ctx),
        // One line per role; init is no role that init spawns.
        RoleName::Init => Err(RoleError::NoStart("this role is not built")),
    }
}
