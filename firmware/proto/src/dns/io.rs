//! What goes into the machine and what comes out of it.

use std::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, Instant};

/// Who asks, and how the answer finds the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Where the question came from.
    pub peer: SocketAddr,
    /// The address that was asked: the answer comes from it.
    pub local: IpAddr,
    /// Kernel index of the link on which it arrived.
    pub link: u32,
    /// How it came.
    pub transport: Transport,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection, which the shell knows by this number.
    Tcp {
        /// The shell's number; never used again for another connection.
        connection: u64,
    },
}

/// A place for one socket or connection towards an upstream. The shell may use `index` as an index
/// (it stays below 512); the same index comes back with another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketSlot {
    /// Which place.
    pub index: u16,
    /// Which use of it.
    pub generation: u16,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This many octets of the caller's buffer are the reply.
    Reply(usize),
    /// The answer comes later, as [`Output::Reply`].
    Waiting,
    /// Nothing is said.
    Dropped,
}

/// What comes from outside, beside questions.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A datagram on the socket of a slot.
    UpstreamDatagram {
        /// The slot.
        slot: SocketSlot,
        /// Who sent it, as the kernel says.
        from: SocketAddr,
        /// Its octets.
        message: &'a [u8],
    },
    /// A whole message on the connection of a slot, without its length prefix.
    UpstreamMessage {
        /// The slot.
        slot: SocketSlot,
        /// Its octets.
        message: &'a [u8],
    },
    /// The socket or connection of a slot failed: refused, unreachable, closed, no socket to be had.
    UpstreamFailed {
        /// The slot.
        slot: SocketSlot,
    },
    /// A TCP connection of an asker ended: nobody waits for its answers any more.
    AskerGone {
        /// The number given in [`Transport::Tcp`].
        connection: u64,
    },
}

/// What the shell shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a reply to an asker who waited.
    Reply {
        /// To whom.
        asker: Asker,
        /// The message, without length prefix.
        message: Vec<u8>,
    },
    /// Open a new UDP socket on an unpredictable port for `slot`, connect it to `to` and send
    /// (RFC 5452, 9.2: the port is half of what a forger has to guess).
    SendDatagram {
        /// The slot.
        slot: SocketSlot,
        /// The upstream.
        to: SocketAddr,
        /// The message.
        message: Vec<u8>,
    },
    /// Open a TCP connection for `slot` and send the message with its length prefix.
    SendStream {
        /// The slot.
        slot: SocketSlot,
        /// The upstream.
        to: SocketAddr,
        /// The message, without length prefix.
        message: Vec<u8>,
    },
    /// Close the socket or connection of a slot.
    Close {
        /// The slot.
        slot: SocketSlot,
    },
    /// Something worth a line in the log.
    Event(Event),
    /// Nothing more to do until something comes in or this time has come.
    Timeout(Option<Instant>),
}

/// Something worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An upstream stopped answering.
    UpstreamDown(SocketAddr),
    /// It answers again.
    UpstreamBack(SocketAddr),
    /// It changes the case of letters in questions; from now on they are sent to it as they are.
    UpstreamChangesCase(SocketAddr),
    /// It does not take EDNS.
    UpstreamRefusesEdns(SocketAddr),
}

/// What is known about an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its address.
    pub address: SocketAddr,
    /// Is it thought to answer?
    pub good: bool,
    /// Estimate of the time it takes to answer.
    pub srtt: Option<Duration>,
}
