//! Many datagrams in one call, each with the address that was asked and the link it came by.
//!
//! For servers on a wildcard socket (IP_PKTINFO, IPV6_RECVPKTINFO): [`Batch::receive`] takes what
//! waits, up to its bound, [`Batch::send`] sends the replies, each from the address that was asked
//! and by the link on which the question arrived. nix has `recvmmsg`, but its `sendmmsg` gives all
//! messages the same packet info. [`stamp`] has the kernel note when a datagram came and went,
//! for NTP: [`Datagram::received_ns`] and [`departure`]. Buffers live as long as the batch; nothing is allocated a call.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Most datagrams taken or sent by one call: beyond this the cost of the call itself is gone.
pub const BATCH_MAX: usize = 32;

/// Room for the packet infos of both families and the times, as the kernel aligns them.
const CONTROL_WORDS: usize = 24;

/// SO_TIMESTAMPING_NEW (asm-generic/socket.h, since 5.1): 64-bit times on every architecture.
const SO_TIMESTAMPING_NEW: libc::c_int = 65;

/// `struct scm_timestamping64`: the first of the three times is the software's.
#[repr(C)]
#[derive(Clone, Copy)]
struct ScmTimestamping {
    times: [[i64; 2]; 3],
}

/// What the kernel notes about datagrams of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// When they came.
    Arrival,
    /// When they came, and when those sent left for the driver.
    ArrivalAndDeparture,
}

/// Where a datagram came from and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The sender.
    pub peer: SocketAddr,
    /// Our address that it was sent to.
    pub local: IpAddr,
    /// Kernel index of the link; 0 when the kernel did not say.
    pub link: u32,
}

/// Buffers for one socket.
pub struct Batch {
    inbound: Vec<Slot>,
    outbound: Vec<Slot>,
    queued: usize,
    /// Receives: everything that the kernel follows or changed is written before it is asked
    /// again, and no more than that, since most wakes bring a single datagram.
    taking: Box<Frame>,
    /// Headers of `taking` that are not as a call to the kernel needs them.
    stale: usize,
    sending: Box<Frame>,
    /// The socket's family, once known.
    is_v6: Option<bool>,
}

struct Slot {
    bytes: Box<[u8]>,
    len: usize,
    meta: Meta,
    received_ns: Option<i64>,
}

/// One datagram of a batch and room for the reply to it.
pub struct Datagram<'a> {
    /// Where it came from.
    pub meta: Meta,
    /// Its octets; longer ones than the batch has room for were dropped.
    pub bytes: &'a [u8],
    /// When it reached the kernel, where [`stamp`] was asked for: nanoseconds of Unix time on
    /// the kernel's wall clock.
    pub received_ns: Option<i64>,
    /// The reply goes here; tell its length to [`Batch::queue`].
    pub reply: &'a mut [u8],
}

impl Batch {
    /// Room for [`BATCH_MAX`] datagrams and replies of `len_max` octets.
    pub fn new(len_max: usize) -> Self {
        let slots = || (0..BATCH_MAX).map(|_| Slot::new(len_max)).collect();
        Self {
            inbound: slots(),
            outbound: slots(),
            queued: 0,
            taking: Frame::new(),
            stale: BATCH_MAX,
            sending: Frame::new(),
            is_v6: None,
        }
    }

    /// Takes what waits at `socket`, which must not block; returns how many datagrams.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let frame = &mut *self.taking;
        for (at, slot) in self.inbound.iter_mut().enumerate().take(self.stale) {
            frame.point_to(at, &mut slot.bytes);
            frame.expect_meta(at);
        }
        // Should the call fail, nothing is known about any of them.
        self.stale = BATCH_MAX;
        // SAFETY: `frame` holds BATCH_MAX headers; each points to a buffer of its slot and to
        // address and control space inside `frame`. Slots and frame live in boxes that this batch
        // keeps from its first call to its end, so pointers of earlier calls hold, and the kernel
        // changes headers only up to the count that it returned.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                frame.headers.as_mut_ptr(),
                BATCH_MAX as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.stale = received;
        for (at, slot) in self.inbound.iter_mut().enumerate().take(received) {
            let cut =
                frame.headers[at].msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
            // A datagram that was cut or whose sender is unknown reads as empty: no protocol
            // answers that.
            let meta = frame.meta(at).filter(|_| !cut);
            slot.len = meta.map_or(0, |_| frame.headers[at].msg_len as usize);
            slot.meta = meta.unwrap_or(UNKNOWN);
            slot.received_ns = software_stamp(&frame.headers[at].msg_hdr);
        }
        self.queued = 0;
        Ok(received)
    }

    /// Datagram number `at` of those that [`Batch::receive`] took, with room for its reply.
    pub fn datagram(&mut self, at: usize) -> Option<Datagram<'_>> {
        let slot = self.inbound.get(at)?;
        let reply = self.outbound.get_mut(self.queued)?;
        Some(Datagram {
            meta: slot.meta,
            bytes: slot.bytes.get(..slot.len).unwrap_or_default(),
            received_ns: slot.received_ns,
            reply: &mut reply.bytes,
        })
    }

    /// The reply to datagram `at` has `len` octets and is to be sent.
    pub fn queue(&mut self, at: usize, len: usize) {
        if let (Some(from), Some(to)) = (self.inbound.get(at), self.outbound.get_mut(self.queued)) {
            to.meta = from.meta;
            to.len = len.min(to.bytes.len());
            self.queued += 1;
        }
    }

    /// Queues a datagram that answers none of those taken last: to `meta.peer` from `meta.local` by
    /// `meta.link`. False when there is no room: send first. One that is too long is not queued
    /// either, and sending will not help.
    pub fn push(&mut self, meta: &Meta, bytes: &[u8]) -> bool {
        let Some(to) = self.outbound.get_mut(self.queued) else {
            return false;
        };
        let Some(room) = to.bytes.get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        (to.meta, to.len) = (*meta, bytes.len());
        self.queued += 1;
        true
    }

    /// Sends the queued replies; returns how many the kernel did not take. Those are lost, as
    /// datagrams may be: their askers ask again.
    pub fn send(&mut self, socket: impl AsFd) -> usize {
        let fd = socket.as_fd().as_raw_fd();
        let queued = mem::take(&mut self.queued);
        if queued == 0 {
            return 0;
        }
        let is_v6 = *self.is_v6.get_or_insert_with(|| is_v6(fd));
        let frame = &mut *self.sending;
        for (at, slot) in self.outbound.iter_mut().enumerate().take(queued) {
            let len = slot.len;
            frame.point_to(at, &mut slot.bytes[..len]);
            frame.address(at, &slot.meta, is_v6);
        }
        let (mut done, mut lost) = (0, 0);
        while done < queued {
            // SAFETY: each header points to a buffer of its slot and into `frame`, written above;
            // `done < queued <= BATCH_MAX`, so the pointer and the count stay inside `frame`. The
            // call goes to the kernel directly, because musl's `sendmmsg` is a loop over
            // `sendmsg`; what that loop is for, padding that must be zero on 64 bits, holds here
            // since the frame began as zeros and nothing writes the padding.
            let sent = unsafe {
                libc::syscall(
                    libc::SYS_sendmmsg,
                    fd,
                    frame.headers.as_mut_ptr().add(done),
                    (queued - done) as libc::c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => done += sent,
                // The first of them cannot be sent (no route, full buffer): go on behind it.
                _ => (done, lost) = (done + 1, lost + 1),
            }
        }
        lost
    }
}

/// Has the kernel stamp what this socket receives and sends.
pub fn stamp(socket: impl AsFd, stamps: Stamps) -> io::Result<()> {
    let arrival = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_RX_SOFTWARE;
    let flags = match stamps {
        Stamps::Arrival => arrival,
        Stamps::ArrivalAndDeparture => arrival | libc::SOF_TIMESTAMPING_TX_SOFTWARE,
    };
    // SAFETY: the pointer is to a live integer of the size given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_TIMESTAMPING_NEW,
            (&raw const flags).cast(),
            mem::size_of_val(&flags) as libc::socklen_t,
        )
    };
    if set == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The next datagram of ours that has left, from the socket's error queue: the whole frame, of
/// which the last octets are what was sent, goes to `bytes`. Returns its length and when it left,
/// nanoseconds of Unix time on the kernel's wall clock; `None` when no more wait.
pub fn departure(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<Option<(usize, i64)>> {
    let mut frame = Frame::new();
    frame.point_to(0, bytes);
    frame.expect_meta(0);
    // SAFETY: the header points to `bytes` and into `frame`, which outlive the call.
    let received = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut frame.headers[0].msg_hdr,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    let Ok(len) = usize::try_from(received) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    };
    let ns = software_stamp(&frame.headers[0].msg_hdr);
    // What is no stamp is an error about a datagram; it is taken off the queue all the same.
    Ok(Some(ns.map_or((0, 0), |ns| (len, ns))))
}

/// Sends one datagram to `meta.peer` from `meta.local` by `meta.link`.
pub fn send_one(socket: impl AsFd, meta: &Meta, bytes: &mut [u8]) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let mut frame = Frame::new();
    frame.point_to(0, bytes);
    frame.address(0, meta, is_v6(fd));
    // SAFETY: the header points to `bytes` and into `frame`, which outlive the call.
    let sent = unsafe {
        libc::sendmsg(
            fd,
            &frame.headers[0].msg_hdr,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The link by which a TCP connection came in: the one of its first packet. `None` when the kernel
/// does not say.
pub fn arrival_link(connection: impl AsFd) -> Option<u32> {
    let fd = connection.as_fd().as_raw_fd();
    let (level, ask, options) = if is_v6(fd) {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            libc::IPV6_2292PKTOPTIONS,
        )
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_PKTOPTIONS)
    };
    let on: libc::c_int = 1;
    let mut control = [0u64; CONTROL_WORDS];
    let mut len = mem::size_of_val(&control) as libc::socklen_t;
    // SAFETY: both calls get pointers to live values of the sizes that they are told.
    let got = unsafe {
        libc::setsockopt(
            fd,
            level,
            ask,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        );
        libc::getsockopt(fd, level, options, control.as_mut_ptr().cast(), &mut len)
    };
    if got != 0 {
        return None;
    }
    // SAFETY: a header of zeros is a valid one without address, data and control.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = len as _;
    packet_info(&header)
        .map(|(_, link)| link)
        .filter(|link| *link != 0)
}

const UNKNOWN: Meta = Meta {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    link: 0,
};

impl Slot {
    fn new(len_max: usize) -> Self {
        Self {
            bytes: vec![0; len_max].into(),
            len: 0,
            meta: UNKNOWN,
            received_ns: None,
        }
    }
}

/// Everything that the kernel wants pointers to. Its methods store pointers into itself, so it
/// lives in a box; each call to the kernel first writes every pointer that the kernel follows.
struct Frame {
    headers: [libc::mmsghdr; BATCH_MAX],
    vectors: [libc::iovec; BATCH_MAX],
    names: [libc::sockaddr_storage; BATCH_MAX],
    controls: [[u64; CONTROL_WORDS]; BATCH_MAX],
}

impl Frame {
    fn new() -> Box<Self> {
        // SAFETY: all fields are plain C structures, for which zeros are a valid value.
        Box::new(unsafe { mem::zeroed() })
    }

    fn point_to(&mut self, at: usize, bytes: &mut [u8]) {
        self.vectors[at] = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
    }

    fn expect_meta(&mut self, at: usize) {
        let header = &mut self.headers[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_control = self.controls[at].as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&self.controls[at]) as _;
    }

    fn meta(&self, at: usize) -> Option<Meta> {
        let peer = from_storage(&self.names[at])?;
        let (local, link) = packet_info(&self.headers[at].msg_hdr)?;
        Some(Meta { peer, local, link })
    }

    /// Fills in where datagram `at` goes to and comes from.
    fn address(&mut self, at: usize, meta: &Meta, is_v6: bool) {
        let header = &mut self.headers[at].msg_hdr;
        header.msg_namelen = to_storage(&mut self.names[at], meta.peer, is_v6);
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_control = self.controls[at].as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&self.controls[at]) as _;
        // SAFETY: the control space is aligned for a header and larger than either info with its
        // header, so CMSG_FIRSTHDR is not null and CMSG_DATA lies inside it.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(header);
            let len = if is_v6 {
                let local = match meta.local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: local.octets(),
                    },
                    ipi6_ifindex: meta.link as _,
                };
                (*control).cmsg_level = libc::IPPROTO_IPV6;
                (*control).cmsg_type = libc::IPV6_PKTINFO;
                libc::CMSG_DATA(control)
                    .cast::<libc::in6_pktinfo>()
                    .write_unaligned(info);
                mem::size_of::<libc::in6_pktinfo>()
            } else {
                let local = match meta.local {
                    IpAddr::V4(v4) => v4,
                    IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
                };
                let info = libc::in_pktinfo {
                    ipi_ifindex: meta.link as _,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from_ne_bytes(local.octets()),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                (*control).cmsg_level = libc::IPPROTO_IP;
                (*control).cmsg_type = libc::IP_PKTINFO;
                libc::CMSG_DATA(control)
                    .cast::<libc::in_pktinfo>()
                    .write_unaligned(info);
                mem::size_of::<libc::in_pktinfo>()
            };
            (*control).cmsg_len = libc::CMSG_LEN(len as u32) as _;
            // Without the padding behind the last header the kernel has room for IPv6's info on
            // its stack (net/socket.c, ____sys_sendmsg), and allocates nothing a datagram.
            header.msg_controllen = (*control).cmsg_len as _;
        }
    }
}

/// Our address and the link in a received header's control messages.
fn packet_info(header: &libc::msghdr) -> Option<(IpAddr, u32)> {
    let mut found = None;
    // SAFETY: the header's control space was filled by the kernel, which set its length; the CMSG
    // functions stay inside it, and the data are read unaligned after their type was checked.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(part) = control.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (part.cmsg_level, part.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // `ipi_addr` is where it was sent to, a broadcast perhaps; we answer from
                    // `ipi_spec_dst`.
                    let local = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    found = Some((IpAddr::V4(local), info.ipi_ifindex as u32));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO | libc::IPV6_2292PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let local = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical();
                    // Should both infos be there for one of IPv4, the other knows better.
                    found = found.or(Some((local, info.ipi6_ifindex as u32)));
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    found
}

/// The software's stamp in a header's control messages.
fn software_stamp(header: &libc::msghdr) -> Option<i64> {
    // SAFETY: as in `packet_info`.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(part) = control.as_ref() {
            if (part.cmsg_level, part.cmsg_type) == (libc::SOL_SOCKET, SO_TIMESTAMPING_NEW) {
                let stamps = libc::CMSG_DATA(control)
                    .cast::<ScmTimestamping>()
                    .read_unaligned();
                let [[seconds, nanoseconds], ..] = stamps.times;
                let ns = seconds
                    .checked_mul(1_000_000_000)?
                    .checked_add(nanoseconds)?;
                return (ns != 0).then_some(ns);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

fn from_storage(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at = (&raw const *storage).cast::<u8>();
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is larger than and aligned for every socket address.
            let v4 = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

fn to_storage(
    storage: &mut libc::sockaddr_storage,
    peer: SocketAddr,
    is_v6: bool,
) -> libc::socklen_t {
    let at = (&raw mut *storage).cast::<u8>();
    let v6 = match peer {
        SocketAddr::V4(v4) if !is_v6 => {
            // SAFETY: zeros are a valid socket address, and `storage` has room for it.
            unsafe {
                let mut address: libc::sockaddr_in = mem::zeroed();
                address.sin_family = libc::AF_INET as libc::sa_family_t;
                address.sin_port = v4.port().to_be();
                address.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                at.cast::<libc::sockaddr_in>().write_unaligned(address);
            }
            return mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => v6,
    };
    // SAFETY: as above.
    unsafe {
        let mut address: libc::sockaddr_in6 = mem::zeroed();
        address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        address.sin6_port = v6.port().to_be();
        address.sin6_addr.s6_addr = v6.ip().octets();
        address.sin6_scope_id = v6.scope_id();
        at.cast::<libc::sockaddr_in6>().write_unaligned(address);
    }
    mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
}

fn is_v6(fd: libc::c_int) -> bool {
    let mut domain: libc::c_int = 0;
    let mut len = mem::size_of_val(&domain) as libc::socklen_t;
    // SAFETY: the pointers are to live values of the sizes given.
    let got = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &mut len,
        )
    };
    got == 0 && domain == libc::AF_INET6
}

#[cfg(test)]
mod tests;
