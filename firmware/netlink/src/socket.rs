//! A netlink socket for requests: one dialogue at a time, never a blocking wait.
//!
//! The kernel works on a request inside the sender's system call and has queued its answer when
//! `send` returns; of a dump each `recv` makes the kernel produce the next part. So everything is
//! read with `MSG_DONTWAIT`, and an empty queue before the end is an error instead of a hang.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use lintel_wire::nl::{Ack, Message, Messages, Reply, Writer, flags};
use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use nix::errno::Errno;
use nix::sys::socket::{SetSockOpt, setsockopt, sockopt};

use crate::error::{NetlinkError, Refusal};

/// Room for one batch: 1,000 rules and 10,000 elements take 1.04 MB, and the kernel refuses a send
/// that does not fit as a whole (`EMSGSIZE`).
const SEND_BYTES_MAX: usize = 16 << 20;
/// Room for the errors of a batch, one for each message that failed.
const RECEIVE_BYTES_MAX: usize = 4 << 20;
/// The largest datagram: the kernel never builds a dump part above 32 KiB, but echoes a failed
/// message (at most one attribute list, 64 KiB) where `NETLINK_CAP_ACK` does not hold it back.
const DATAGRAM_BYTES_MAX: usize = 256 << 10;
/// A dump larger than this is not held in memory: 200,000 routes take 24 MB.
pub const DUMP_BYTES_MAX: usize = 32 << 20;
/// Tries to get a consistent dump before giving up; each takes milliseconds.
pub const DUMP_TRIES_MAX: u32 = 8;

/// A netlink socket for requests and dumps.
pub struct Socket {
    inner: NlSocket,
    seq_next: u32,
    datagram: Vec<u8>,
    /// What would have been sent to change something, while that is only recorded.
    recorded: Option<Vec<u8>>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("fd", &self.inner.as_raw_fd())
            .finish_non_exhaustive()
    }
}

impl Socket {
    /// Opens a socket of this family with extended acknowledgements and strict checking.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open(family: NlFamily) -> Result<Self, NetlinkError> {
        let inner = NlSocket::connect(family, None, Groups::empty())
            .map_err(NetlinkError::socket("opening a netlink socket"))?;
        inner
            .enable_ext_ack(true)
            .map_err(NetlinkError::socket("asking for the kernel's error texts"))?;
        // Makes dump filters work and unknown attributes errors. nfnetlink takes and ignores it.
        inner
            .enable_strict_checking(true)
            .map_err(NetlinkError::socket("asking for strict checking"))?;
        cap_acknowledgements(&inner)
            .map_err(NetlinkError::socket("asking for short error messages"))?;
        let socket = Self {
            inner,
            seq_next: 1,
            datagram: vec![0; DATAGRAM_BYTES_MAX],
            recorded: None,
        };
        force_or_ask(
            &socket,
            sockopt::SndBufForce,
            sockopt::SndBuf,
            SEND_BYTES_MAX,
        )
        .map_err(NetlinkError::socket("sizing the send buffer"))?;
        force_or_ask(
            &socket,
            sockopt::RcvBufForce,
            sockopt::RcvBuf,
            RECEIVE_BYTES_MAX,
        )
        .map_err(NetlinkError::socket("sizing the receive buffer"))?;
        Ok(socket)
    }

    /// A writer whose sequence numbers follow the last request's.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(self.seq_next)
    }

    /// Runs `work` with requests written down instead of sent, as if the kernel had
    /// agreed; looks at the kernel are still taken. Returns the messages one behind the other.
    pub fn recording<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, Vec<u8>) {
        self.recorded = Some(Vec::new());
        let result = work(self);
        (result, self.recorded.take().unwrap_or_default())
    }

    /// Whether it was only recorded.
    fn record(&mut self, w: &Writer) -> Result<bool, NetlinkError> {
        let Some(recorded) = &mut self.recorded else {
            return Ok(false);
        };
        recorded.extend_from_slice(w.finish()?);
        Ok(true)
    }

    /// Sends one request that carries `NLM_F_ACK` and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] about `subject` when the kernel says no.
    pub fn request(&mut self, w: &Writer, subject: &str) -> Result<(), NetlinkError> {
        if self.record(w)? {
            return Ok(());
        }
        let first = self.send(w)?;
        let mut answer = None;
        while let Some(len) = self.receive()? {
            for message in Messages::new(self.datagram.get(..len).unwrap_or_default()) {
                if let (true, Reply::Ack(ack)) = (message.seq == first, Reply::of(&message)) {
                    answer.get_or_insert(ack);
                }
            }
        }
        match answer {
            None => Err(NetlinkError::NoAnswer),
            Some(ack) if ack.errno == 0 => Ok(()),
            Some(ack) => Err(NetlinkError::Refused(Refusal::new(subject, ack))),
        }
    }

    /// Sends one request and returns the payload of the object that answers it.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] about `subject` when the kernel says no.
    pub fn query(&mut self, w: &Writer, subject: &str) -> Result<Vec<u8>, NetlinkError> {
        let first = self.send(w)?;
        let mut answer = None;
        while let Some(len) = self.receive()? {
            for message in Messages::new(self.datagram.get(..len).unwrap_or_default()) {
                if message.seq != first || answer.is_some() {
                    continue;
                }
                answer = match Reply::of(&message) {
                    Reply::Object => Some(Ok(message.payload.to_vec())),
                    Reply::Ack(ack) if ack.errno != 0 => {
                        Some(Err(NetlinkError::Refused(Refusal::new(subject, ack))))
                    }
                    _ => None,
                };
            }
        }
        answer.unwrap_or(Err(NetlinkError::NoAnswer))
    }

    /// Sends a batch in one piece and returns the errors by sequence number; none means that it is
    /// committed. A batch acknowledges nothing, since acknowledging its end works only when all went
    /// well.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`]; more errors than the receive buffer holds are cut, never lost as a
    /// whole.
    pub fn batch(&mut self, w: &Writer) -> Result<BTreeMap<u32, Ack>, NetlinkError> {
        self.send(w)?;
        let mut errors = BTreeMap::new();
        loop {
            match self.receive() {
                Ok(None) => return Ok(errors),
                Ok(Some(len)) => {
                    for message in Messages::new(self.datagram.get(..len).unwrap_or_default()) {
                        if let Reply::Ack(ack) = Reply::of(&message)
                            && ack.errno != 0
                        {
                            errors.entry(message.seq).or_insert(ack);
                        }
                    }
                }
                Err(error) if error.errno() == libc::ENOBUFS => {
                    errors.entry(0).or_insert(Ack {
                        errno: libc::ENOBUFS,
                        ..Ack::default()
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a whole dump, again when it was interrupted by a change. `build` writes the request;
    /// the objects come back one behind the other, to be read with [`Messages`].
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] also when the dump failed half-way; [`NetlinkError::Interrupted`]
    /// after [`DUMP_TRIES_MAX`].
    pub fn dump(
        &mut self,
        subject: &str,
        build: impl Fn(&mut Writer) -> u32,
    ) -> Result<Vec<u8>, NetlinkError> {
        for _ in 0..DUMP_TRIES_MAX {
            let mut w = self.writer();
            build(&mut w);
            let first = self.send(&w)?;
            if let Some(objects) = self.collect(first, subject)? {
                return Ok(objects);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// `None` when the dump was interrupted.
    fn collect(&mut self, seq: u32, subject: &str) -> Result<Option<Vec<u8>>, NetlinkError> {
        let mut objects = Vec::new();
        let mut interrupted = false;
        loop {
            let len = self.receive()?.ok_or(NetlinkError::NoAnswer)?;
            for message in Messages::new(self.datagram.get(..len).unwrap_or_default()) {
                if message.seq != seq {
                    continue;
                }
                interrupted |= message.flags & flags::DUMP_INTR != 0;
                match Reply::of(&message) {
                    Reply::Object => keep(&mut objects, &message)?,
                    Reply::Ack(ack) | Reply::Done(ack) if ack.errno != 0 => {
                        return Err(NetlinkError::Refused(Refusal::new(subject, ack)));
                    }
                    Reply::Ack(_) | Reply::Done(_) => {
                        return Ok((!interrupted).then_some(objects));
                    }
                    Reply::Ignore => {}
                }
            }
        }
    }

    /// Sends the buffer after throwing away what an earlier dialogue left behind, and returns the
    /// first message's sequence number.
    fn send(&mut self, w: &Writer) -> Result<u32, NetlinkError> {
        while self.receive().unwrap_or(Some(0)).is_some() {}
        let bytes = w.finish()?;
        let sent = self
            .inner
            .send(bytes, Msg::empty())
            .map_err(NetlinkError::socket("sending to the kernel"))?;
        if sent != bytes.len() {
            return Err(NetlinkError::socket("sending to the kernel")(
                io::ErrorKind::WriteZero.into(),
            ));
        }
        let first = self.seq_next;
        self.seq_next = w.seq_next();
        Ok(first)
    }

    /// Length of the next datagram, now in `self.datagram`; `None` when there is none.
    fn receive(&mut self) -> Result<Option<usize>, NetlinkError> {
        loop {
            match self
                .inner
                .recv(&mut self.datagram[..], Msg::DONTWAIT | Msg::TRUNC)
            {
                Ok((len, _)) if len > self.datagram.len() => {
                    return Err(NetlinkError::socket("receiving a datagram")(
                        io::Error::from_raw_os_error(libc::EMSGSIZE),
                    ));
                }
                Ok((len, _)) => return Ok(Some(len)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(NetlinkError::socket("receiving from the kernel")(e)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(&self.inner)
    }
}

/// Sizes a buffer beyond the system's limit, or up to it where that is not allowed: the box's own
/// netd may, one inside a user namespace may not, and then large batches fail with `EMSGSIZE`.
pub(crate) fn force_or_ask(
    socket: &impl AsFd,
    force: impl SetSockOpt<Val = usize>,
    ask: impl SetSockOpt<Val = usize>,
    bytes: usize,
) -> io::Result<()> {
    match setsockopt(socket, force, &bytes) {
        Err(Errno::EPERM) => Ok(setsockopt(socket, ask, &bytes)?),
        other => Ok(other?),
    }
}

/// Borrows the descriptor that neli owns.
pub(crate) fn borrow(socket: &NlSocket) -> BorrowedFd<'_> {
    // SAFETY: `NlSocket` owns an open descriptor until it is dropped, and the returned borrow
    // cannot outlive the reference to it.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// `NETLINK_CAP_ACK`: errors carry the failed message's header, not the whole of it.
fn cap_acknowledgements(socket: &NlSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value is a live int of the length that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_CAP_ACK,
            (&raw const on).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn keep(objects: &mut Vec<u8>, message: &Message<'_>) -> Result<(), NetlinkError> {
    let len = lintel_wire::nl::HEADER_LEN + message.payload.len();
    if objects.len() + len > DUMP_BYTES_MAX {
        return Err(NetlinkError::DumpTooLarge);
    }
    // At most DUMP_BYTES_MAX: fits.
    objects.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    objects.extend_from_slice(&message.kind.to_ne_bytes());
    objects.extend_from_slice(&message.flags.to_ne_bytes());
    objects.extend_from_slice(&message.seq.to_ne_bytes());
    objects.extend_from_slice(&message.port.to_ne_bytes());
    objects.extend_from_slice(message.payload);
    objects.resize(lintel_wire::nl::align4(objects.len()), 0);
    Ok(())
}
