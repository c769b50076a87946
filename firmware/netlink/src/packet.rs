//! Packet sockets for other roles: bound to a link, their filter locked before anybody else gets
//! the descriptor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use lintel_model::desired::SocketKind;
use lintel_wire::bpf::{self, Instruction};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETH_P_ARP`.
const ETH_P_ARP: u16 = 0x0806;
/// `ETH_P_ALL`: the filter does the choosing.
const ETH_P_ALL: u16 = 0x0003;

/// Opens a socket of this kind on the link with this index. It does not block.
///
/// # Errors
/// What the kernel says; `CAP_NET_RAW` is needed.
pub fn open(kind: SocketKind, index: u32) -> io::Result<OwnedFd> {
    let (protocol, filter) = match kind {
        SocketKind::DhcpClient => (ETH_P_ALL, bpf::DHCP_CLIENT),
        SocketKind::DhcpServer => (ETH_P_ARP, bpf::ARP_REPLIES),
    };
    // Without a protocol it receives nothing until it is bound, when the filter is in place.
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    attach_locked(&fd, filter)?;
    bind(&fd, protocol, index)?;
    Ok(fd)
}

/// Attaches the filter and forbids to change it (`SO_LOCK_FILTER`), for ever.
fn attach_locked(fd: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        // `Instruction` is laid out as `sock_filter`; the kernel only reads it.
        filter: filter.as_ptr().cast_mut().cast(),
    };
    set_option(fd, libc::SO_ATTACH_FILTER, &program)?;
    let on: libc::c_int = 1;
    set_option(fd, libc::SO_LOCK_FILTER, &on)
}

fn bind(fd: &OwnedFd, protocol: u16, index: u32) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` is plain numbers, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and the address is live and of the length that is given.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    checked(result)
}

fn set_option<T>(fd: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the value is live and of the length that is given; what
    // it points to (a filter program) outlives the call, which copies it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    checked(result)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_filter_cannot_be_changed() {
        // 1 is always `lo`.
        let fd = match open(SocketKind::DhcpServer, 1) {
            Ok(fd) => fd,
            Err(e) => return println!("SKIPPED a_locked_filter_cannot_be_changed: {e}"),
        };
        let refused = attach_locked(&fd, bpf::DHCP_CLIENT).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let unlock: libc::c_int = 0;
        let refused = set_option(&fd, libc::SO_LOCK_FILTER, &unlock).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
