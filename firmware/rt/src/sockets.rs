//! The wildcard sockets of the role table, opened by init.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use lintel_ipc::init::SocketName;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket,
    sockopt,
};

use crate::datagrams::{self, Stamps};

/// Connections that wait for accept(2). A full queue drops the next handshake, which then waits a
/// second for its repetition: so one host's burst of a thousand must fit, and costs the kernel
/// about 2 MiB.
const BACKLOG: i32 = 1024;

/// Where the sockets are bound.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Unspecified means every local address of both families.
    pub address: IpAddr,
    /// DNS.
    pub dns_port: u16,
    /// DHCP server.
    pub dhcp_port: u16,
    /// Web front.
    pub http_port: u16,
    /// Web front over TLS.
    pub https_port: u16,
    /// NTP server.
    pub ntp_port: u16,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening {name:?} on {place}")]
pub struct SocketError {
    /// Which.
    pub name: SocketName,
    /// Address and port, or path.
    pub place: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Opens one, non-blocking and closed on exec.
pub fn open(name: SocketName, addresses: &Addresses) -> Result<OwnedFd, SocketError> {
    if name == SocketName::Control {
        let path = addresses.run_dir.join("control.sock");
        return control(&path).map_err(|source| SocketError {
            name,
            place: path.display().to_string(),
            source,
        });
    }
    if let Some(opened) = probe(name) {
        return opened.map_err(|source| SocketError {
            name,
            place: "a test's own port".to_owned(),
            source,
        });
    }
    let port = match name {
        SocketName::DnsUdp | SocketName::DnsTcp => addresses.dns_port,
        SocketName::DhcpUdp => addresses.dhcp_port,
        SocketName::Http => addresses.http_port,
        SocketName::NtpUdp => addresses.ntp_port,
        // The kernel chooses (RFC 9109).
        SocketName::NtpClientUdp => 0,
        SocketName::Https
        | SocketName::Control
        | SocketName::ProbeIcmp
        | SocketName::ProbeUdp
        | SocketName::ProbeTcp => addresses.https_port,
    };
    let opened = match name {
        SocketName::DhcpUdp => dhcp(addresses.address, port),
        SocketName::DnsUdp => wildcard(SockType::Datagram, addresses.address, port),
        SocketName::NtpUdp => wildcard(SockType::Datagram, addresses.address, port)
            .map(|fd| stamped(fd, Stamps::Arrival)),
        // Servers stand anywhere, whatever single address we are to be found at.
        SocketName::NtpClientUdp => {
            wildcard(SockType::Datagram, Ipv6Addr::UNSPECIFIED.into(), port)
                .map(|fd| stamped(fd, Stamps::ArrivalAndDeparture))
        }
        _ => wildcard(SockType::Stream, addresses.address, port),
    };
    opened.map_err(|source| SocketError {
        name,
        place: SocketAddr::new(addresses.address, port).to_string(),
        source,
    })
}

/// ICMP's types that a test hears (RFC 792): answers, that there is no way, that it was too long.
const HEARD_TYPES: [u32; 3] = [0, 3, 11];
/// Filters of raw sockets (linux/icmp.h): a bit for each type that is not heard.
const ICMP_FILTER: libc::c_int = 1;

/// A socket of the tests of the network; `None` for all others.
fn probe(name: SocketName) -> Option<io::Result<OwnedFd>> {
    let (kind, protocol) = match name {
        SocketName::ProbeIcmp => (SockType::Raw, Some(SockProtocol::Icmp)),
        SocketName::ProbeUdp => (SockType::Datagram, None),
        SocketName::ProbeTcp => (SockType::Stream, None),
        _ => return None,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || -> io::Result<OwnedFd> {
        let fd = socket(AddressFamily::Inet, kind, flags, protocol)?;
        if kind == SockType::Raw {
            let deaf = HEARD_TYPES
                .iter()
                .fold(u32::MAX, |mask, heard| mask & !(1 << heard));
            set_word(&fd, libc::SOL_RAW, ICMP_FILTER, deaf)?;
            // Never fragmented, and whatever lengths the kernel has heard of do not count: they
            // are what is looked for.
            let probe = libc::IP_PMTUDISC_PROBE as u32;
            set_word(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe)?;
        }
        Ok(fd)
    };
    Some(open())
}

fn set_word(fd: &OwnedFd, level: i32, name: i32, value: u32) -> io::Result<()> {
    // SAFETY: the pointer is to a live word, whose length is told.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One IPv6 socket that takes IPv4 too; an IPv4 one where the kernel has no IPv6, or for a
/// single IPv4 address.
fn wildcard(kind: SockType, address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    if !address.is_unspecified() {
        return bound(kind, SocketAddr::new(address, port));
    }
    match bound(kind, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            bound(kind, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
        }
        result => result,
    }
}

fn bound(kind: SockType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    if kind == SockType::Datagram {
        // IPv6's info tells of IPv4 datagrams too; asking for both would have the kernel write two.
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        }
    } else {
        // After a restart of init under `lintel run`, old connections must not stand in the way.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if kind == SockType::Stream {
        listen(&fd)?;
    }
    Ok(fd)
}

/// nix takes no backlog above the C library's SOMAXCONN, which is 128 with musl whatever the
/// kernel's bound is.
fn listen(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: a plain call on two numbers; the descriptor is open as long as `fd` lives.
    match unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A kernel without stamps leaves the time at which the role reads, which is later and less even.
fn stamped(fd: OwnedFd, stamps: Stamps) -> OwnedFd {
    if let Err(error) = datagrams::stamp(&fd, stamps) {
        log::warn!("the kernel does not stamp datagrams: {error}");
    }
    fd
}

/// Clients without an address send and hear broadcasts, so this one is IPv4 and wildcard even
/// where a single address is wished: packet info tells who was asked.
fn dhcp(address: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let address = match address {
        IpAddr::V4(v4) if v4.is_loopback() => v4,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&fd, sockopt::Broadcast, &true)?;
    setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
    let address = SocketAddr::new(address.into(), port);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd)
}

fn control(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody else can connect between bind and chmod: the mask is the file's mode at once.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

impl SocketError {
    /// Another program has the port.
    pub fn in_use(&self) -> bool {
        self.source.raw_os_error() == Some(Errno::EADDRINUSE as i32)
    }
}
