//! Hears of changes that anybody makes. What is heard is only that something changed: the answer
//! is always a whole dump, so a lost notice costs nothing but the knowledge that one was lost.

use std::io;
use std::os::fd::BorrowedFd;

use lintel_wire::rtnl::group;
use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use nix::sys::socket::sockopt;

use crate::error::NetlinkError;
use crate::socket::{borrow, force_or_ask};

/// Room for notices: at the default size a burst of 3,000 changes overran it.
const RECEIVE_BYTES: usize = 4 << 20;
/// A notice longer than this is cut, which does not matter: none is parsed.
const NOTICE_BYTES: usize = 4096;
/// Notices taken at once before the caller gets its turn.
const NOTICES_MAX: u32 = 4096;

/// `NFNLGRP_NFTABLES`.
const GROUP_NFTABLES: u32 = 7;
/// `RTNLGRP_IPV4_NETCONF`: forwarding, rp_filter and the like of a link changed.
const GROUP_IPV4_NETCONF: u32 = 24;
/// `RTNLGRP_IPV6_NETCONF`.
const GROUP_IPV6_NETCONF: u32 = 25;

/// What was heard since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Something changed.
    pub changed: bool,
    /// Notices were lost (`ENOBUFS`).
    pub lost: bool,
}

/// Two sockets in the multicast groups of routing and nf_tables.
pub struct Watch {
    route: NlSocket,
    nft: NlSocket,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins to listen. A dump taken afterwards misses nothing.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Self::open_sized(RECEIVE_BYTES)
    }

    /// The same with buffers of another size, for tests of what happens when they overrun.
    ///
    /// # Errors
    /// As [`Watch::open`].
    pub fn open_sized(bytes: usize) -> Result<Self, NetlinkError> {
        let route_groups = [
            group::LINK,
            group::IPV4_IFADDR,
            group::IPV6_IFADDR,
            group::IPV4_ROUTE,
            group::IPV6_ROUTE,
            GROUP_IPV4_NETCONF,
            GROUP_IPV6_NETCONF,
        ];
        Ok(Self {
            route: listen(NlFamily::Route, &route_groups, bytes)?,
            nft: listen(NlFamily::Netfilter, &[GROUP_NFTABLES], bytes)?,
        })
    }

    /// What to poll for reading.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [borrow(&self.route), borrow(&self.nft)]
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`] when a socket is broken; lost notices are no error.
    pub fn drain(&mut self) -> Result<Heard, NetlinkError> {
        let mut heard = Heard::default();
        for socket in [&self.route, &self.nft] {
            drain(socket, &mut heard)?;
        }
        Ok(heard)
    }
}

fn listen(family: NlFamily, groups: &[u32], bytes: usize) -> Result<NlSocket, NetlinkError> {
    let socket = NlSocket::connect(family, None, Groups::empty())
        .map_err(NetlinkError::socket("opening a netlink socket"))?;
    force_or_ask(
        &borrow(&socket),
        sockopt::RcvBufForce,
        sockopt::RcvBuf,
        bytes,
    )
    .map_err(NetlinkError::socket("sizing the receive buffer"))?;
    // After the size, so that the first burst already finds it.
    socket
        .add_mcast_membership(Groups::new_groups(groups))
        .map_err(NetlinkError::socket("joining the groups of changes"))?;
    Ok(socket)
}

fn drain(socket: &NlSocket, heard: &mut Heard) -> Result<(), NetlinkError> {
    let mut notice = [0; NOTICE_BYTES];
    for _ in 0..NOTICES_MAX {
        match socket.recv(&mut notice[..], Msg::DONTWAIT) {
            Ok(_) => heard.changed = true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                heard.changed = true;
                heard.lost = true;
            }
            Err(e) => return Err(NetlinkError::socket("hearing of changes")(e)),
        }
    }
    Ok(())
}
