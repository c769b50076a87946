//! wand: the protocols of the WAN, and tests of the network. Moves frames between packet sockets and
//! [`lintel_proto::dhcp_client`], one machine per link.
//!
//! ```text
//!  WAN ──UDP 68, ARP──▶ packet socket ─┐            ┌─▶ packet socket: frames
//!  netd ──hand-over: packet sockets ───┼─▶ Client ──┤
//!  controld ──session: Spec, lease ────┘            └─▶ controld: Lease, Lost, State, ServerSeen
//! ```
//!
//! - Tests that somebody asked for run over sockets of init's: see [`probes`].
//! - The packet sockets come from netd when their links exist, with a locked filter. A client
//!   begins when its link has both a carrier and a socket.
//! - The lease kept over a reboot comes from controld with the first message of a session.
//! - Without a session the clients go on by the last one's word; a new session is told again
//!   what they hold.

pub mod convert;
mod port;
mod probes;
mod serve;

use lintel_ipc::init::SocketName;
use lintel_proto::rng::Rng;
use lintel_rt::role::{RoleContext, RoleError};
use probes::Sockets;
use ring::rand::{SecureRandom, SystemRandom};

/// The role, from its start to its end.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let sockets = Sockets {
        icmp: ctx.take_socket(SocketName::ProbeIcmp),
        udp: ctx.take_socket(SocketName::ProbeUdp),
        tcp: ctx.take_socket(SocketName::ProbeTcp),
    };
    lintel_rt::sandbox::enter(&ctx)?;
    serve::Shell::new(ctx, sockets).run()
}

/// The kernel's generator.
#[derive(Debug)]
struct KernelRng(SystemRandom);

impl Rng for KernelRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        if self.0.fill(bytes).is_err() {
            // A transaction id that can be guessed lets anybody answer for the provider; init
            // starts us again.
            log::error!("the kernel gives no random numbers");
            std::process::abort();
        }
    }
}
