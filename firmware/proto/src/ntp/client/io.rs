//! What goes into the client, and what comes out.

use std::net::{IpAddr, SocketAddr};

use embassy_time::Instant;
use lintel_wire::ntp::HEADER_LEN;

use super::{AssociationId, Leap, ScaledPpm, SourceConfig, SourceId, System, UnixNs};

/// What can happen to the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The configuration changed; associations of sources that stay as they were go on.
    Sources(&'a [SourceConfig]),
    /// A name was resolved, or a literal read. Replaces what was known; associations with
    /// addresses that are gone go on as long as they answer. Those beyond [`ADDRESSES_MAX`] are
    /// not looked at.
    Addresses {
        /// Whose.
        source: SourceId,
        /// With port, usually 123.
        addresses: &'a [SocketAddr],
    },
    /// The request of an association has left, at this time of the wall clock, as the kernel saw
    /// it. Optional: without it the time of the output counts. One that comes after the reply is
    /// ignored.
    Sent {
        /// From [`Output::Transmit`].
        association: AssociationId,
        /// Kernel's transmit timestamp.
        at: UnixNs,
    },
    /// A datagram came in on the socket of an association.
    Datagram {
        /// Whose socket.
        association: AssociationId,
        /// Who sent it.
        from: SocketAddr,
        /// Our address on that way, when known: a server that follows us is no source.
        local: Option<IpAddr>,
        /// The payload.
        octets: &'a [u8],
        /// Kernel's receive timestamp, of the wall clock.
        received: UnixNs,
    },
    /// There is a way to the servers again (true: all are asked at once), or none (false: nothing
    /// is sent). The machine begins with true.
    Online(bool),
}

/// What the client wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this request, from a socket of its own with a random port (RFC 9109).
    Transmit {
        /// For which association.
        association: AssociationId,
        /// To whom.
        to: SocketAddr,
        /// The packet.
        octets: [u8; HEADER_LEN],
    },
    /// Do or note this.
    Event(Event),
    /// Nothing more now; call `handle_timeout` at this time, if at any.
    Timeout(Option<Instant>),
}

/// Something to do or note.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Set the wall clock forward (or back, when negative) by this at once. The next [`Now`] has
    /// it; when it could not be done, the machine notices and tries again.
    Step {
        /// Nanoseconds.
        by_ns: i64,
    },
    /// Run the clock at this frequency correction from now on ([`ScaledPpm::tick_and_freq`]). An
    /// offset is slewed by a rate that ends in time at a later event of this kind; should the
    /// shell die in between, the next one begins with [`ClientConfig::drift`].
    SetRate {
        /// The correction, absolute.
        rate: ScaledPpm,
        /// What is being slewed away with it, nanoseconds; for the log.
        slewing_ns: i64,
    },
    /// Tell the kernel how good the clock is (`ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR`): it
    /// also arms or disarms the leap second (`STA_INS`, `STA_DEL`) and is what other programs
    /// see (`STA_UNSYNC`).
    SetStatus {
        /// [`Leap::Insert`] and [`Leap::Delete`] only on the day they are due.
        leap: Leap,
        /// Largest error, nanoseconds.
        max_error_ns: i64,
        /// Expected error, nanoseconds.
        est_error_ns: i64,
        /// Whether `STA_UNSYNC` is to be clear.
        synchronised: bool,
    },
    /// Store this frequency correction for the next start; comes at most once an hour.
    KeepDrift(ScaledPpm),
    /// The state changed.
    State(State),
    /// How good our clock is changed: for the server.
    System(System),
    /// The association that our reference id names changed.
    SystemPeer(Option<AssociationId>),
    /// Ask this server; a socket will be needed.
    Opened {
        /// Name of the association.
        association: AssociationId,
        /// Its source.
        source: SourceId,
        /// Whom it asks.
        to: SocketAddr,
    },
    /// Ask this server no more; its socket is of no use.
    Closed {
        /// Name of the association.
        association: AssociationId,
        /// Its source.
        source: SourceId,
        /// Why.
        reason: ClosedReason,
    },
    /// The addresses of this source are used up or silent: resolve its name again, and hand in
    /// [`Input::Addresses`]. Comes with back-off, not before a minute has passed.
    ResolveAgain {
        /// The source.
        source: SourceId,
    },
    /// Somebody else stepped the wall clock.
    Jumped {
        /// Nanoseconds, against the monotonic clock.
        by_ns: i64,
    },
    /// The majority is more than 1000 s away from a clock that it had set itself, for five
    /// minutes: the clock is not synchronised any more, and begins anew.
    Panic {
        /// Their time minus ours, nanoseconds.
        offset_ns: i64,
    },
}

/// Whether the clock is worth anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not enough sources agree, or did for too long.
    NotSynchronised {
        /// How many agree now.
        agreeing: usize,
    },
    /// A majority of the sources agrees with each other and with the clock.
    Synchronised {
        /// How many; 0 while none can be reached and the clock goes on by its kept frequency.
        agreeing: usize,
    },
}

/// Why an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedReason {
    /// The server said DENY or RSTR.
    Denied,
    /// It was silent, and another address takes its place.
    Silent,
    /// The source is gone from the configuration or was changed.
    Removed,
}

/// How a server stands in the selection (RFC 5905 section 11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not answered yet, or not lately.
    Unreachable,
    /// It answers, but says that it is not synchronised, is too far from its root, or has not
    /// given enough samples.
    Unfit,
    /// Its time is outside of what the majority allows.
    Falseticker,
    /// It tells the truth, and others tell it better.
    Outlier,
    /// It has a say in the clock.
    Survivor,
    /// It is the one that our reference id names.
    SystemPeer,
}

/// A server, for status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AssociationStatus {
    /// Name of the association.
    pub association: AssociationId,
    /// Its source.
    pub source: SourceId,
    /// Whom it asks.
    pub to: SocketAddr,
    /// Its place in the selection.
    pub standing: Standing,
    /// As the server says; 0 before the first reply.
    pub stratum: u8,
    /// The last eight requests, newest in the lowest bit: 1 was answered.
    pub reach: u8,
    /// Interval, log2 seconds.
    pub poll: u8,
    /// When the last good reply came.
    pub heard: Option<Instant>,
    /// Their time minus ours, nanoseconds; positive means that our clock is behind.
    pub offset_ns: i64,
    /// Round trip, nanoseconds.
    pub delay_ns: i64,
    /// Largest error of the offset besides half the delay, nanoseconds.
    pub dispersion_ns: i64,
    /// How far offsets differ from each other, nanoseconds.
    pub jitter_ns: i64,
    /// Requests sent.
    pub sent: u64,
    /// Replies believed.
    pub received: u64,
    /// Replies not believed.
    pub dropped: u64,
}
