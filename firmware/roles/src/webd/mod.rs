//! webd: pages, REST and server-sent events; presentation only.
//!
//! ```text
//!  clients --TCP--> loop: front::Connection --lanes--> tiny_http workers: app
//!                    |   ^                                   |
//!     /health, events|   |replies, events                    |bridge: calls
//!                    v   |                                   v
//!                   session with controld <------------------+
//! ```
//!
//! One loop owns every socket; the workers of tiny_http see whole requests alone and reach
//! controld through the loop. What the role knows it has from controld; what it keeps is the
//! last snapshot of where it may be reached and under which names. While controld is away pages
//! and calls are answered 503, and `/health` says that the role is up.
//!
//! Served are connections whose local address is one of the snapshot's links (under
//! `lintel run` any). That a packet for the LAN's address may arrive on another link is the
//! firewall's to prevent: TCP does not tell a process where its packets came in.
//!
//! Port 443 speaks TLS ([`tls`]) with the box's own certificate, which controld makes and keeps;
//! port 80 stays, and what it costs is in ADR 0007.

mod app;
mod bridge;
pub mod front;
mod lanes;
mod shell;
mod tls;

pub use app::urls;

use std::sync::Arc;

use lintel_ipc::init::SocketName;
use lintel_rt::role::{RoleContext, RoleError};

/// The role, from its start to its end.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let http = ctx
        .take_socket(SocketName::Http)
        .ok_or(RoleError::NoStart("webd got no listener"))?;
    let https = ctx.take_socket(SocketName::Https);
    let doors = shell::Doors::new(http, https).map_err(RoleError::io("preparing the listeners"))?;
    let lanes = lanes::prepare().map_err(RoleError::io("making the lanes"))?;
    let (bridge, jobs) = bridge::bridge().map_err(RoleError::io("making the bridge"))?;
    lintel_rt::sandbox::enter(&ctx)?;
    // Threads after the sandbox: those that were there before would stand outside of it.
    let app = app::App::new(Box::new(bridge), &ctx.start.version, doors.ports())
        .map_err(RoleError::io("loading the pages"))?;
    let lanes = lanes
        .start(&Arc::new(app), &ctx.poller)
        .map_err(RoleError::io("starting tiny_http"))?;
    shell::Shell::new(ctx, doors, lanes, jobs)?.run()
}
