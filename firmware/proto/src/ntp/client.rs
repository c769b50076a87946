//! An NTP client of several servers and pools that disciplines the clock.
//!
//! ```text
//!                     majority agrees, offset > 128 ms: Step
//!                    ┌──────────────┐
//!   new ──▶ NOT SYNCHRONISED ◀──────┘
//!              │  ▲      ▲
//!   majority   │  │      │ clock jumped, offset > 1000 s for five minutes (panic),
//!   agrees,    │  │      │ or nobody agreed for so long that the error may be 1 s
//!   offset     │  │      │
//!   small      ▼  │      │
//!          SYNCHRONISED ─┴── offset > 128 ms for five minutes (stepout): Step
//!              └─▶ else: slew and tune the frequency, each time a survivor answers
//! ```
//!
//! An association per server (RFC 5905 section 9) polls it:
//!
//! ```text
//!   opened ──▶ BURST (4 requests, 2 s apart) ──▶ POLLING every 2^poll s ◀─▶ silent for 8 polls:
//!                 │                                 │    ▲                    ResolveAgain
//!                 └──── RATE: ends the burst ───────┴────┘ RATE: poll + 1
//!                 DENY, RSTR: closed, its address is not used again; ResolveAgain
//! ```
//!
//! What a reply has to pass is in [`DropReason`]. Requests carry a random number instead of our
//! time, so that nobody off the path can answer for a server (RFC 5905 section 8, TEST2) and
//! nobody on it learns our clock.
//!
//! From replies to the clock: the clock filter of eight stages (section 10), the intersection
//! that needs a majority (section 11.2.1), clustering (11.2.2), combining (11.2.3).
//!
//! Nothing panics on any bytes. Sources, addresses, associations and samples are bounded
//! ([`SOURCES_MAX`], [`ADDRESSES_MAX`], [`ASSOCIATIONS_MAX`]); one input makes a bounded number of
//! outputs, which the caller drains at once.

mod drops;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use embassy_time::Instant;
use lintel_wire::ntp::HEADER_LEN;

pub use drops::{DropReason, Drops};

use super::{Leap, Now, ScaledPpm, System, UnixNs};
use crate::rng::Rng;

/// Most sources in a configuration: more than ten add nothing, and option 42 brings a few.
pub const SOURCES_MAX: usize = 16;
/// Most addresses remembered for one source; pools answer with four at a time.
pub const ADDRESSES_MAX: usize = 16;
/// Most servers asked at a time, over all sources.
pub const ASSOCIATIONS_MAX: usize = 16;
/// Servers asked of one pool.
pub const POOL_ASSOCIATIONS_MAX: usize = 4;

/// Names a source; chosen by the caller and kept when sources are set anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// Names an association; chosen by the machine and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

/// What the client has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Whom to ask; those beyond [`SOURCES_MAX`] are not looked at.
    pub sources: Vec<SourceConfig>,
    /// No server that says an earlier time is believed: the commit time of this software, or the
    /// last time that was stored, whichever is later. Times are read within 68 years of it.
    pub floor: UnixNs,
    /// The frequency correction kept from the last run ([`Event::KeepDrift`]).
    pub drift: Option<ScaledPpm>,
    /// Of the wall clock, log2 seconds; -24 is a good guess for Linux.
    pub precision: i8,
    /// Sources that must agree before the clock counts as synchronised; 0 asks for two as soon as
    /// three servers are known, and one below that.
    pub agreeing_min: usize,
}

/// A server or pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its name to the caller.
    pub id: SourceId,
    /// How many of its addresses are asked.
    pub kind: SourceKind,
    /// Shortest interval, log2 seconds: 6 for other people's servers; not below 0.
    pub poll_min: u8,
    /// Longest interval, log2 seconds: 10 is usual; not above 17.
    pub poll_max: u8,
    /// Whether four requests two seconds apart begin an association, so that the clock is right
    /// within ten seconds.
    pub burst: bool,
}

/// What the addresses of a source are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Ways to the same server: one is asked, the next when it is silent.
    Server,
    /// Servers of a pool: up to [`POOL_ASSOCIATIONS_MAX`] are asked.
    Pool,
}

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

/// The client.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    outputs: VecDeque<Output>,
    drops: Drops,
    system: System,
}

impl Client {
    /// A client that knows no addresses yet. The first drain sets the kept frequency.
    pub fn new(now: Now, config: ClientConfig) -> Self {
        let system = System::unsynchronised(now.mono, config.precision);
        Self {
            config,
            outputs: VecDeque::new(),
            drops: Drops::default(),
            system,
        }
    }

    /// Whether the clock is worth anything.
    pub fn state(&self) -> State {
        State::NotSynchronised { agreeing: 0 }
    }

    /// How good the clock is: for the server and for status.
    pub fn system(&self) -> System {
        self.system
    }

    /// The frequency correction without what is being slewed.
    pub fn drift(&self) -> ScaledPpm {
        self.config.drift.unwrap_or_default()
    }

    /// The best guess of the remaining error of the wall clock, nanoseconds: positive means that
    /// the clock is behind.
    pub fn offset_ns(&self, _now: Now) -> i64 {
        0
    }

    /// Every server that is being asked.
    pub fn associations(&self) -> impl Iterator<Item = AssociationStatus> + '_ {
        std::iter::empty()
    }

    /// Replies not believed, by reason.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Takes in what happened; drain [`Client::poll_output`] afterwards.
    pub fn handle_input(&mut self, _now: Now, input: Input<'_>, _rng: &mut dyn Rng) {
        if let Input::Datagram { .. } = input {
            self.drops.count(DropReason::Stranger);
        }
    }

    /// To be called at the time of the last [`Output::Timeout`]; earlier does no harm, and late
    /// by more than a millisecond costs precision.
    pub fn handle_timeout(&mut self, _now: Now, _rng: &mut dyn Rng) {}

    /// The next thing to do. [`Output::Timeout`] is the last one.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(None))
    }
}
