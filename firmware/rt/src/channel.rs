//! Typed messages and descriptors over a SOCK_SEQPACKET pair.
//!
//! A message is one datagram: an octet that says where the JSON is (`I` inline, `M` in the
//! sealed memfd that is the first descriptor), then the JSON. The reader checks every bound
//! before it allocates. Sending never blocks: what the socket does not take waits in a bounded
//! queue, and a peer that lets that queue fill has lost its session.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use lintel_ipc::{INLINE_BYTES_MAX, MESSAGE_BYTES_MAX, MESSAGE_FDS_MAX};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::poller::{Interest, Poller, Token};

/// Most messages that wait for a slow reader. A role that is this far behind hangs; its session
/// ends and the next one begins with a snapshot.
pub const QUEUE_MESSAGES_MAX: usize = 256;
/// Send buffer asked of the kernel: room for a few of the largest inline messages.
const SEND_BUFFER_BYTES: usize = 4 * INLINE_BYTES_MAX;

const INLINE: u8 = b'I';
const MEMFD: u8 = b'M';

/// Why a channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed.
    #[error("the other end closed the channel")]
    Closed,
    /// The reader lets `QUEUE_MESSAGES_MAX` messages wait.
    #[error("the other end does not read: {QUEUE_MESSAGES_MAX} messages wait")]
    Full,
    /// A message over the bound, by our own hand.
    #[error("a message of {0} octets is over the bound of {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// The peer sent what is no message.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The peer sent JSON that is not of the expected type.
    #[error("unexpected message")]
    Json(#[from] serde_json::Error),
    /// The kernel refused.
    #[error("channel input or output failed")]
    Io(#[from] io::Error),
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            _ => Self::Io(errno.into()),
        }
    }
}

/// One end: sends `Tx`, receives `Rx`. Non-blocking.
#[derive(Debug)]
pub struct Channel<Tx, Rx> {
    socket: OwnedFd,
    queue: VecDeque<Datagram>,
    buffer: Vec<u8>,
    /// Whether the poller was told last to watch for room.
    watched_for_room: Cell<bool>,
    types: PhantomData<fn(Tx) -> Rx>,
}

#[derive(Debug)]
struct Datagram {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// Two ends that are joined, to be given to two processes.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

impl<Tx: Serialize, Rx: DeserializeOwned> Channel<Tx, Rx> {
    /// Takes one end of a [`pair`].
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        nix::fcntl::fcntl(&socket, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        // Best effort: the queue covers what a small kernel buffer does not take.
        let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER_BYTES);
        Ok(Self {
            socket,
            queue: VecDeque::new(),
            buffer: vec![0; INLINE_BYTES_MAX + 1],
            watched_for_room: Cell::new(false),
            types: PhantomData,
        })
    }

    /// Sends a message, or queues it while the socket is full.
    pub fn send(&mut self, message: &Tx) -> Result<(), ChannelError> {
        self.send_with(message, Vec::new())
    }

    /// Sends a message with descriptors; ours are closed once they are sent.
    pub fn send_with(&mut self, message: &Tx, fds: Vec<OwnedFd>) -> Result<(), ChannelError> {
        if self.queue.len() >= QUEUE_MESSAGES_MAX {
            return Err(ChannelError::Full);
        }
        self.queue.push_back(encode(message, fds)?);
        self.flush()
    }

    /// Sends what waits; call when the descriptor is writable.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some(datagram) = self.queue.front() {
            let fds: Vec<RawFd> = datagram.fds.iter().map(AsRawFd::as_raw_fd).collect();
            let control = [ControlMessage::ScmRights(&fds)];
            let control = if fds.is_empty() {
                &control[..0]
            } else {
                &control[..]
            };
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let io = [IoSlice::new(&datagram.bytes)];
            match sendmsg::<()>(self.socket.as_raw_fd(), &io, control, flags, None) {
                Ok(_) => {
                    self.queue.pop_front();
                }
                // ETOOMANYREFS: too many descriptors in flight until the peer reads.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether something waits, so that the descriptor is to be watched for writing.
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Has `poller`, where this was added for reading as `token`, watch for room too exactly as
    /// long as something waits. Without a change it costs nothing, so it may follow every turn.
    pub fn watch(&self, poller: &Poller, token: Token) -> io::Result<()> {
        let write = self.wants_write();
        if self.watched_for_room.replace(write) == write {
            return Ok(());
        }
        poller.modify(self, token, Interest { read: true, write })
    }

    /// The next message with its descriptors, or `None` when there is none now.
    pub fn recv(&mut self) -> Result<Option<(Rx, Vec<OwnedFd>)>, ChannelError> {
        let mut control = cmsg_space!([RawFd; MESSAGE_FDS_MAX + 1]);
        let (len, fds, cut) = loop {
            let mut io = [IoSliceMut::new(&mut self.buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut io, Some(&mut control), flags) {
                Ok(message) => {
                    let mut fds = Vec::new();
                    for part in message.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(raw) = part {
                            // SAFETY: the kernel made these descriptors for this message and
                            // nothing else in the process knows them.
                            fds.extend(
                                raw.into_iter()
                                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                            );
                        }
                    }
                    let cut = message
                        .flags
                        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                    break (message.bytes, fds, cut);
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        if cut {
            return Err(ChannelError::Malformed("it was cut"));
        }
        match self.buffer.get(..len).and_then(|bytes| bytes.split_first()) {
            None => Err(ChannelError::Closed),
            Some((&INLINE, json)) => Ok(Some((serde_json::from_slice(json)?, fds))),
            Some((&MEMFD, _)) => {
                let mut fds = fds.into_iter();
                let memfd = fds
                    .next()
                    .ok_or(ChannelError::Malformed("its memfd is missing"))?;
                Ok(Some((
                    serde_json::from_slice(&read_sealed(memfd)?)?,
                    fds.collect(),
                )))
            }
            Some(_) => Err(ChannelError::Malformed("unknown first octet")),
        }
    }
}

impl<Tx, Rx> AsFd for Channel<Tx, Rx> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn encode<Tx: Serialize>(message: &Tx, fds: Vec<OwnedFd>) -> Result<Datagram, ChannelError> {
    let mut bytes = vec![INLINE];
    serde_json::to_writer(&mut bytes, message)?;
    if bytes.len() <= INLINE_BYTES_MAX {
        return Ok(Datagram { bytes, fds });
    }
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ChannelError::TooLong(bytes.len()));
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create(c"message", flags)?);
    file.write_all(bytes.get(1..).unwrap_or_default())?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    let mut all = vec![OwnedFd::from(file)];
    all.extend(fds);
    Ok(Datagram {
        bytes: vec![MEMFD],
        fds: all,
    })
}

/// Sealed, so that the writer cannot change it while we read, nor shrink it under our feet.
fn read_sealed(memfd: OwnedFd) -> Result<Vec<u8>, ChannelError> {
    let held = SealFlag::from_bits_truncate(fcntl(&memfd, FcntlArg::F_GET_SEALS)?);
    if !held.contains(seals()) {
        return Err(ChannelError::Malformed("its memfd is not sealed"));
    }
    let file = std::fs::File::from(memfd);
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if len > MESSAGE_BYTES_MAX {
        return Err(ChannelError::Malformed("its memfd is over the bound"));
    }
    let mut bytes = vec![0; len];
    // Read by position: the description is shared, and its offset stands where the writer left it.
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Ok(bytes)
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn ends() -> (Channel<String, String>, Channel<String, String>) {
        let (a, b) = pair().unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    #[test]
    fn short_and_long_messages_arrive_whole_and_in_order() {
        let (mut a, mut b) = ends();
        let long = "x".repeat(3 * INLINE_BYTES_MAX);
        a.send(&"short".to_owned()).unwrap();
        a.send(&long).unwrap();
        assert_eq!(b.recv().unwrap().unwrap().0, "short");
        assert_eq!(b.recv().unwrap().unwrap().0, long);
        assert!(b.recv().unwrap().is_none());
    }

    #[test]
    fn descriptors_travel() {
        let (mut a, mut b) = ends();
        let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
        a.send_with(&"take".to_owned(), vec![left.into()]).unwrap();
        let (_, mut fds) = b.recv().unwrap().unwrap();
        let mut left = std::os::unix::net::UnixStream::from(fds.remove(0));
        left.write_all(b"hi").unwrap();
        let mut got = [0; 2];
        (&right).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hi");
    }

    #[test]
    fn a_reader_that_sleeps_costs_a_bounded_queue() {
        let (mut a, _b) = ends();
        let message = "x".repeat(INLINE_BYTES_MAX / 2);
        let refused = (0..100 * QUEUE_MESSAGES_MAX).find_map(|_| a.send(&message).err());
        assert!(matches!(refused, Some(ChannelError::Full)));
    }

    #[test]
    fn room_is_watched_for_while_something_waits() {
        let (mut a, mut b) = ends();
        let (poller, mut events) = (Poller::new().unwrap(), Vec::new());
        poller.add(&a, 7, Interest::READ).unwrap();
        let mut writable = |a: &Channel<String, String>| {
            a.watch(&poller, 7).unwrap();
            let soon = crate::clock::Clock.now();
            poller.wait(Some(soon), &mut events).unwrap();
            events.iter().any(|event| event.writable)
        };
        assert!(!writable(&a));
        let message = "x".repeat(INLINE_BYTES_MAX / 2);
        while !a.wants_write() {
            a.send(&message).unwrap();
        }
        assert!(!writable(&a), "the kernel's buffer is full");
        while b.recv().unwrap().is_some() {}
        assert!(writable(&a));
        a.flush().unwrap();
        assert!(!writable(&a));
    }

    #[test]
    fn a_closed_end_is_told() {
        let (mut a, b) = ends();
        drop(b);
        assert!(matches!(a.recv(), Err(ChannelError::Closed)));
        assert!(matches!(a.send(&String::new()), Err(ChannelError::Closed)));
    }

    #[test]
    fn an_unsealed_memfd_is_refused() {
        let (a, mut b) = ends();
        let memfd = memfd_create(c"loose", MFdFlags::MFD_CLOEXEC).unwrap();
        let fds = [memfd.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        let io = [IoSlice::new(b"M")];
        sendmsg::<()>(
            a.as_fd().as_raw_fd(),
            &io,
            &control,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        assert!(matches!(b.recv(), Err(ChannelError::Malformed(_))));
    }
}
