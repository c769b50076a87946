//! dhcpd: DHCP for the household. Moves bytes between sockets and
//! [`lintel_proto::dhcp_server`].
//!
//! ```text
//!  LAN ──UDP 67──▶ rt::datagrams ─┐              ┌─▶ UDP: relays, renewals, broadcast
//!  LAN ──ARP─────▶ packet socket ─┼─▶ Server ────┼─▶ packet socket: hosts without address, probes
//!  controld ──session: Snapshot ──┘              └─▶ Bind ──▶ controld ──▶ disk ──▶ Durable
//! ```
//!
//! - UDP 67 came from init. The packet sockets come from netd when their links exist, with a
//!   locked filter that passes ARP replies alone; until then replies to hosts without an
//!   address are broadcast, and probes stay unanswered.
//! - Without a session nothing can be made durable. A client whose lease on disk still lasts gets
//!   what is left of it at once; the others wait, five seconds at most, for the next session.

pub mod convert;
mod serve;

use lintel_ipc::init::SocketName;
use lintel_rt::role::{RoleContext, RoleError};

/// The role, from its start to its end.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let udp = ctx
        .take_socket(SocketName::DhcpUdp)
        .ok_or(RoleError::NoStart("dhcpd got no UDP socket"))?;
    lintel_rt::sandbox::enter(&ctx)?;
    let mut shell = serve::Shell::new(ctx, udp)?;
    shell.run()
}
