//! Sockets towards upstreams: one for each message, at the index that the machine gave it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use lintel_proto::dns::SocketSlot;
use lintel_proto::rng::Rng;
use lintel_rt::poller::{Interest, Poller, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, socket, sockopt,
};

use super::frames::{Frames, ReadEnd};

/// Ports tried before the kernel may choose one: with a thousand taken, eight misses in a row are
/// rarer than a failing disk.
const PORT_TRIES: usize = 8;

/// Random ports are these and above: below are those of services.
const PORT_MIN: u16 = 1_024;

/// Datagrams read from one socket before others have their turn. One is right; the rest is noise.
const DATAGRAMS_PER_TURN_MAX: usize = 16;

/// Longest datagram that an upstream may send us: EDNS offers less, old servers ignore it.
const DATAGRAM_LEN_MAX: usize = 4_096;

/// All sockets towards upstreams.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    list: Vec<Option<Socket>>,
}

#[derive(Debug)]
struct Socket {
    slot: SocketSlot,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Datagram(UdpSocket),
    Stream(Frames),
}

/// What a socket gave.
#[derive(Debug)]
pub(super) enum Heard {
    /// A datagram and who sent it.
    Datagram {
        slot: SocketSlot,
        from: SocketAddr,
        message: Vec<u8>,
    },
    /// A message of a connection.
    Message { slot: SocketSlot, message: Vec<u8> },
    /// The socket is of no more use.
    Failed { slot: SocketSlot },
}

impl Sockets {
    /// Opens a datagram socket for `slot` on a random port and sends `message` to `to`.
    pub(super) fn send_datagram(
        &mut self,
        poller: &Poller,
        token: Token,
        slot: SocketSlot,
        to: SocketAddr,
        message: &[u8],
        rng: &mut dyn Rng,
    ) -> io::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family(to), SockType::Datagram, flags, None)?;
        bind_random(fd.as_fd(), to, rng)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
        let socket = UdpSocket::from(fd);
        socket.send(message)?;
        poller.add(&socket, token, Interest::READ)?;
        self.put(slot, Kind::Datagram(socket));
        Ok(())
    }

    /// Opens a connection for `slot` and sends `message` over it as soon as it stands.
    pub(super) fn send_stream(
        &mut self,
        poller: &Poller,
        token: Token,
        slot: SocketSlot,
        to: SocketAddr,
        message: &[u8],
    ) -> io::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family(to), SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut frames = Frames::new(TcpStream::from(fd));
        frames.push(message);
        poller.add(&frames.stream, token, Interest::BOTH)?;
        self.put(slot, Kind::Stream(frames));
        Ok(())
    }

    /// Closes the socket of `slot`.
    pub(super) fn close(&mut self, slot: SocketSlot) {
        if let Some(place) = self.list.get_mut(usize::from(slot.index)) {
            // An older generation was closed when this one was opened.
            place.take_if(|socket| socket.slot == slot);
        }
    }

    /// Something happened to the socket at `index`: reads and writes what it can.
    pub(super) fn turn(
        &mut self,
        poller: &Poller,
        token: Token,
        index: usize,
        heard: &mut Vec<Heard>,
    ) {
        let Some(socket) = self.list.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let slot = socket.slot;
        let result = match &mut socket.kind {
            Kind::Datagram(udp) => read_datagrams(udp, slot, heard),
            Kind::Stream(frames) => turn_stream(frames, poller, token, slot, heard),
        };
        if let Err(error) = result {
            log::debug!("upstream socket {index}: {error}");
            heard.push(Heard::Failed { slot });
        }
    }

    fn put(&mut self, slot: SocketSlot, kind: Kind) {
        let index = usize::from(slot.index);
        if self.list.len() <= index {
            self.list.resize_with(index + 1, || None);
        }
        self.list[index] = Some(Socket { slot, kind });
    }
}

fn read_datagrams(udp: &UdpSocket, slot: SocketSlot, heard: &mut Vec<Heard>) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM_LEN_MAX];
    for _ in 0..DATAGRAMS_PER_TURN_MAX {
        match udp.recv_from(&mut buffer) {
            Ok((len, from)) => {
                heard.push(Heard::Datagram {
                    slot,
                    from,
                    message: buffer[..len].to_vec(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn turn_stream(
    frames: &mut Frames,
    poller: &Poller,
    token: Token,
    slot: SocketSlot,
    heard: &mut Vec<Heard>,
) -> io::Result<()> {
    let failed = getsockopt(&frames.stream, sockopt::SocketError)?;
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let unsent = frames.unsent();
    match frames.flush() {
        // Not connected yet: this turn was for something else.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
        result => result?,
    }
    if unsent > 0 && frames.unsent() == 0 {
        poller.modify(&frames.stream, token, Interest::READ)?;
    }
    let end = frames.fill()?;
    if let Some(message) = frames.message() {
        heard.push(Heard::Message {
            slot,
            message: message.to_vec(),
        });
        frames.consume();
    } else if end == ReadEnd::Closed {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn family(to: SocketAddr) -> AddressFamily {
    if to.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}

/// Binds to a port that nobody can foresee. The kernel's own choice is random too, but among fewer.
fn bind_random(fd: BorrowedFd<'_>, to: SocketAddr, rng: &mut dyn Rng) -> io::Result<()> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    for _ in 0..PORT_TRIES {
        let port = PORT_MIN + rng.below(u32::from(u16::MAX - PORT_MIN) + 1) as u16;
        match bind(
            fd.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(any, port)),
        ) {
            Err(Errno::EADDRINUSE | Errno::EACCES) => {}
            result => return Ok(result?),
        }
    }
    Ok(bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(any, 0)),
    )?)
}
