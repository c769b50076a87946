//! timed: the box's clock, and the time for the household.
//!
//! ```text
//!  LAN --UDP 123--> rt::datagrams --> ntp::Server --> one batch of replies
//!  time servers <--UDP, random port--> ntp::Client --> rt::wall (adjtimex, or a pretended clock)
//!  dnsd on loopback <--------------/-- names
//!  controld --session: NtpSpec, kept frequency--> <--report, step, frequency--
//! ```
//!
//! - Both sockets came from init: this role can open none. One port for all that we ask, chosen by
//!   the kernel when the box starts; what keeps strangers' replies out is the random number of 64
//!   bits in each request, and the address (RFC 9109 says why the port is not 123).
//! - The kernel stamps what comes and goes; a stamp of departure is told from others by that random
//!   number, which the kernel hands back with it.
//! - A request counts only if it arrived on a link of the snapshot or on `lo`.
//! - Names are asked of dnsd over loopback, like any host's question: see [`names`].
//! - Under `lintel run` the host's clock is never touched: the role keeps one of its own.
//! - Without a session the last snapshot goes on being served; a new session replaces it.

mod clock;
mod lan;
pub mod names;
mod outside;
mod report;
mod serve;
mod sources;

use lintel_ipc::init::SocketName;
use lintel_rt::role::{RoleContext, RoleError};

/// The role, from its start to its end.
pub fn main(mut ctx: RoleContext) -> Result<(), RoleError> {
    let lan = ctx
        .take_socket(SocketName::NtpUdp)
        .ok_or(RoleError::NoStart("timed got no socket to serve on"))?;
    let out = ctx
        .take_socket(SocketName::NtpClientUdp)
        .ok_or(RoleError::NoStart("timed got no socket to ask from"))?;
    let clock = clock::take(&ctx.start)?;
    lintel_rt::sandbox::enter(&ctx)?;
    serve::Timed::new(ctx, lan, out, clock)?.run()
}
