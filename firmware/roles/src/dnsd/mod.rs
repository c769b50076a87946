//! dnsd: DNS for the household. Moves bytes between sockets and [`lintel_proto::dns`].
//!
//! ```text
//!  LAN --UDP 53--> rt::datagrams --\                    /--> upstream::Sockets --UDP, TCP--> resolvers
//!  LAN --TCP 53--> clients ---------> dns::Forwarder --<
//!  controld --session: DnsSpec ----/                    \--> statistics, once a second
//! ```
//!
//! - The wildcard sockets of port 53 came from init. A question counts only if it arrived on a
//!   link of the snapshot or on `lo`; its answer leaves from the address that was asked.
//! - Every message to an upstream has a socket of its own on a random port, connected, so that the
//!   kernel drops what others send (RFC 5452, 9.2). The machine bounds how many there are.
//! - Without a session the last snapshot goes on being served; a new session replaces it.
//! - Nothing here parses a packet beyond the length prefix of TCP (RFC 1035, 4.2.2).

mod clients;
pub mod frames;
mod serve;
pub mod spec;
mod upstream;

use lintel_ipc::init::SocketName;
use lintel_proto::rng::Rng;
use lintel_rt::role::{RoleContext, RoleError};
use ring::rand::{SecureRandom, SystemRandom};

/// The role, from its start to its end.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let udp = ctx
        .take_socket(SocketName::DnsUdp)
        .ok_or(RoleError::NoStart("dnsd got no UDP socket"))?;
    let tcp = ctx
        .take_socket(SocketName::DnsTcp)
        .ok_or(RoleError::NoStart("dnsd got no TCP socket"))?;
    lintel_rt::sandbox::enter(&ctx)?;
    let mut server = serve::Server::new(ctx, udp, tcp)?;
    server.run()
}

/// The kernel's generator.
#[derive(Debug)]
pub(crate) struct KernelRng(pub(crate) SystemRandom);

impl Rng for KernelRng {
    fn fill(&mut self, bytes: &mut [u8]) {
        if self.0.fill(bytes).is_err() {
            // Ids and ports that can be guessed would let anybody answer for the upstream; init
            // starts us again.
            log::error!("the kernel gives no random numbers");
            std::process::abort();
        }
    }
}
