//! The load: many exchanges at once over one connected socket, each reply judged.
//!
//! One loop for every protocol; what is asked and what a right answer is comes from an
//! [`Exchange`]. System calls are batched, so that the load costs less than what it measures.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, connect,
    recvmmsg, sendmmsg, setsockopt, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// Most exchanges under way at once; what waits at a server's socket stays inside its default
/// receive buffer.
pub(crate) const WINDOW_MAX: usize = 128;
/// Most exchanges under way at a fixed rate, when a server does not keep up; a power of two.
pub(crate) const SLOTS_MAX: usize = 4096;
/// Most datagrams a system call takes.
const BATCH_MAX: usize = 64;
/// An exchange without an answer for that long is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Longest reply of any of the protocols.
const REPLY_LEN_MAX: usize = 1500;

/// How fast to ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// This many exchanges are always under way.
    Window(usize),
    /// This many begin each second, whatever the server does.
    Rate(u32),
    /// Until the exchange has nothing more to ask, a few at a time.
    Once,
}

/// One protocol's questions and answers. A slot is the number of an exchange under way.
pub(crate) trait Exchange {
    /// Writes the next message of `slot` into `out`; false when there is nothing more to ask.
    fn ask(&mut self, slot: usize, begins: bool, out: &mut Vec<u8>) -> bool;
    /// Whether messages are whole IP packets, from any address; replies come without headers.
    fn spoofs(&self) -> bool {
        false
    }
    /// Judges a reply.
    fn hear(&mut self, reply: &[u8]) -> Heard;
}

/// What a reply was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The right end of an exchange.
    Done(usize),
    /// Right, and the exchange goes on with another question.
    GoOn(usize),
    /// To an exchange that was given up.
    Late,
    /// Not what was to be answered.
    Wrong(String),
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Exchanges that ended right.
    pub(crate) done: u64,
    /// Exchanges without an end.
    pub(crate) lost: u64,
    /// Wrong replies, and the first of them.
    pub(crate) wrong: u64,
    pub(crate) first_wrong: Option<String>,
    /// Answers a second, while there was more to ask: what is lost at the end takes seconds to be
    /// known as lost.
    pub(crate) a_second: f64,
    /// From a question to its answer, microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Asks for `how_long` and prints the outcome as JSON.
pub(crate) fn run(
    from: SocketAddrV4,
    to: SocketAddrV4,
    pace: &Pace,
    how_long: Duration,
    exchange: &mut dyn Exchange,
) -> Result<(), BenchError> {
    let binding = BenchError::io("binding the load's socket");

    let (socket, sender) = if exchange.spoofs() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, from.port())).map_err(binding)?;
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let sender = nix::sys::socket::socket(AddressFamily::Inet, kind, flags, SockProtocol::Raw)
            .map_err(BenchError::io("opening a raw socket"))?;
        connect(sender.as_raw_fd(), &SockaddrIn::from(to))
            .map_err(BenchError::io("connecting a raw socket"))?;
        (socket, sender)
    } else {
        let socket = UdpSocket::bind(from).map_err(binding)?;
        socket
            .connect(to)
            .map_err(BenchError::io("connecting the load's socket"))?;
        let sender = socket
            .try_clone()
            .map_err(BenchError::io("a second handle"))?;
        (socket, sender.into())
    };
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)))
        .map_err(BenchError::io("sizing the load's socket"))?;
    let outcome = Load::new(socket, sender, *pace).run(how_long, exchange)?;
    let text = serde_json::to_string(&outcome).map_err(BenchError::io("writing the outcome"))?;
    println!("{text}");
    Ok(())
}

struct Load {
    socket: UdpSocket,
    /// Where questions leave.
    sender: OwnedFd,
    pace: Pace,
    /// Per slot: when its exchange began; `None`: free.
    began: Vec<Option<Instant>>,
    free: Vec<usize>,
    /// Slots in the order in which they began, to find what is lost.
    order: VecDeque<(Instant, usize)>,
    outbox: Vec<Vec<u8>>,
    inbox: Vec<[u8; REPLY_LEN_MAX]>,
    waits_us: Vec<f32>,
    begun: u64,
    dry: bool,
    outcome: Outcome,
}

impl Load {
    fn new(socket: UdpSocket, sender: OwnedFd, pace: Pace) -> Self {
        let slots = match pace {
            Pace::Window(slots) => slots.clamp(1, SLOTS_MAX),
            Pace::Rate(_) => SLOTS_MAX,
            Pace::Once => 16,
        };
        Self {
            socket,
            sender,
            pace,
            began: vec![None; slots],
            free: (0..slots).rev().collect(),
            order: VecDeque::new(),
            outbox: Vec::new(),
            inbox: vec![[0; REPLY_LEN_MAX]; BATCH_MAX],
            waits_us: Vec::new(),
            begun: 0,
            dry: false,
            outcome: Outcome::default(),
        }
    }

    fn run(
        mut self,
        how_long: Duration,
        exchange: &mut dyn Exchange,
    ) -> Result<Outcome, BenchError> {
        let start = Instant::now();
        let end = start + how_long;
        let mut measured = None;
        loop {
            let now = Instant::now();
            let over = now >= end && self.pace != Pace::Once || self.dry;
            if !over {
                self.begin(now, now - start, exchange);
            }
            self.flush()?;
            self.take(exchange)?;
            self.flush()?;
            self.give_up(Instant::now());
            if over && measured.is_none() {
                measured = Some(self.outcome.done as f64 / start.elapsed().as_secs_f64());
            }
            let idle = self.order.is_empty();
            if over && (idle || now >= end + LOST_AFTER) {
                break;
            }
        }
        self.outcome.a_second = measured.unwrap_or_default();
        self.waits_us.sort_by(f32::total_cmp);
        self.outcome.p50_us = self.quantile(0.50);
        self.outcome.p99_us = self.quantile(0.99);
        Ok(self.outcome)
    }

    /// Begins as many exchanges as the pace asks for.
    fn begin(&mut self, now: Instant, since_start: Duration, exchange: &mut dyn Exchange) {
        let due = match self.pace {
            Pace::Rate(rate) => {
                let due = (since_start.as_secs_f64() * f64::from(rate)) as u64;
                due.saturating_sub(self.begun)
            }
            Pace::Window(_) | Pace::Once => u64::MAX,
        };
        for _ in 0..due.min(BATCH_MAX as u64) {
            let Some(slot) = self.free.pop() else { return };
            let mut message = Vec::with_capacity(64);
            if !exchange.ask(slot, true, &mut message) {
                self.free.push(slot);
                self.dry = true;
                return;
            }
            self.outbox.push(message);
            self.began[slot] = Some(now);
            self.order.push_back((now, slot));
            self.begun += 1;
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        while !self.outbox.is_empty() {
            let count = self.outbox.len().min(BATCH_MAX);
            let slices: Vec<[IoSlice<'_>; 1]> = self.outbox[..count]
                .iter()
                .map(|message| [IoSlice::new(message)])
                .collect();
            let mut headers = MultiHeaders::<()>::preallocate(count, None);
            let fd = self.sender.as_raw_fd();
            let none = vec![None::<()>; count];
            let sent = sendmmsg(fd, &mut headers, &slices, &none, [], MsgFlags::MSG_DONTWAIT)
                .map(Iterator::count);
            let sent = match sent {
                Ok(sent) => sent,
                Err(Errno::EAGAIN | Errno::ECONNREFUSED) => 0,
                Err(errno) => return Err(BenchError::io("sending the load")(errno)),
            };
            self.outbox.drain(..sent);
            if sent == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what has come; waits for it when nothing else is to be done.
    fn take(&mut self, exchange: &mut dyn Exchange) -> Result<(), BenchError> {
        // At a fixed rate the loop spins: a sleep would add the scheduler's time to each answer's.
        if !matches!(self.pace, Pace::Rate(_)) {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(50u8)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(BenchError::io("waiting for replies")(errno)),
            }
        }
        let mut lens = [0; BATCH_MAX];
        let mut heard = 0;
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
                .inbox
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let mut headers = MultiHeaders::<()>::preallocate(BATCH_MAX, None);
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            match recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None) {
                Ok(messages) => {
                    for (at, message) in messages.enumerate() {
                        lens[at] = message.bytes;
                        heard = at + 1;
                    }
                }
                // Refused: a server that is not there yet, or no more.
                Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR) => {}
                Err(errno) => return Err(BenchError::io("receiving replies")(errno)),
            }
        }
        let now = Instant::now();
        for (at, len) in lens.into_iter().enumerate().take(heard) {
            match exchange.hear(&self.inbox[at][..len]) {
                Heard::Done(slot) => self.done(now, slot),
                Heard::GoOn(slot) => {
                    let mut message = Vec::with_capacity(64);
                    if self.began[slot].is_some() && exchange.ask(slot, false, &mut message) {
                        self.outbox.push(message);
                    }
                }
                Heard::Late => {}
                Heard::Wrong(why) => {
                    self.outcome.wrong += 1;
                    self.outcome.first_wrong.get_or_insert(why);
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, now: Instant, slot: usize) {
        if let Some(began) = self.began[slot].take() {
            self.outcome.done += 1;
            self.waits_us.push((now - began).as_secs_f32() * 1e6);
            self.free.push(slot);
        }
    }

    fn give_up(&mut self, now: Instant) {
        while let Some((began, slot)) = self.order.front().copied() {
            let open = self.began[slot] == Some(began);
            if open && now - began < LOST_AFTER {
                return;
            }
            self.order.pop_front();
            if open {
                self.began[slot] = None;
                self.free.push(slot);
                self.outcome.lost += 1;
            }
        }
    }

    fn quantile(&self, part: f64) -> f64 {
        let at = (self.waits_us.len() as f64 * part) as usize;
        let wait = self.waits_us.get(at).or(self.waits_us.last());
        wait.copied().map_or(f64::NAN, f64::from)
    }
}
