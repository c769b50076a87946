//! A DHCPv4 client (RFC 2131 section 4.4) with address conflict detection (RFC 5227).
//!
//! ```text
//!             ┌────────────── NAK, or the lease ended ───────────────────┐
//!             ▼              conflict: DECLINE, wait 10 s ◀──┐           │
//!  up ──▶ SELECTING ── OFFER ──▶ REQUESTING ── ACK ──▶ PROBING ──▶ BOUND ┤
//!   │         ▲ └── detect only: DETECTED ──claim──▶ SELECTING      ▲ │T1│
//!   │         │                                                     │ ▼  │
//!   └──▶ REBOOTING ── ACK ──────────────────────────────────────────┤ RENEWING (unicast)
//!        a lease kept  └─ no server: probe, use it till its end,    │ │T2
//!                         and go on in SELECTING meanwhile          └ ▼
//!                                                                   REBINDING (broadcast)
//! ```
//!
//! Departures from RFC 2131, each for a reason:
//! * The first message leaves at once, not after 1 to 10 s (section 4.4.1): a router is the one
//!   client of its link, and a house waits for it.
//! * Back-off begins at one second, not four: a modem that comes up together with us loses the
//!   first messages.
//! * The first valid offer is taken: providers have one server, and a second is a neighbour's.
//! * The conflict probe takes 300 ms instead of RFC 5227's six seconds; an address that a
//!   server just confirmed (INIT-REBOOT) is not probed. Conflicts later on are heard anyway:
//!   defended once in ten seconds, then declined (RFC 5227 section 2.4).
//! * A renewal goes to the hardware address that sent the last ACK; when that is gone,
//!   REBINDING finds the server by broadcast.
//!
//! Replies are taken only with our transaction id and hardware address, and in REQUESTING only
//! from the server we chose. Nothing panics on any bytes. One input makes a bounded number of
//! outputs, which the caller drains at once.

mod asking;
mod hearing;
mod lease;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_wire::arp;
use lintel_wire::dhcpv4::code;
use lintel_wire::frame::{EthernetAddress, Frame};

pub use lease::{Lease, LeaseError, Oddity};

use crate::rng::Rng;

/// Longest wait between two tries for a first lease, seconds (RFC 2131 section 4.1).
const BACKOFF_S_MAX: u32 = 64;
/// Tries for an offered address before another offer is looked for.
const REQUEST_TRIES_MAX: u32 = 4;
/// Tries to have a kept lease confirmed: at 0, 1 and 3 s.
const REBOOT_TRIES_MAX: u32 = 3;
/// Conflict probes, and the pause after each.
const PROBES_MAX: u32 = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(100);
/// RFC 2131 section 3.1, step 5: at least ten seconds after a DECLINE.
const DECLINE_PAUSE: Duration = Duration::from_secs(10);
/// RFC 5227's DEFEND_INTERVAL.
const DEFEND_PAUSE: Duration = Duration::from_secs(10);
/// RFC 5227's ANNOUNCE_INTERVAL.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(2);
/// Shortest pause between two tries to renew (RFC 2131 section 4.4.5), of leases that are
/// long enough for it.
const RENEW_PAUSE_MIN: Duration = Duration::from_secs(60);
/// What we ask for. Classless routes before routers, as RFC 3442 wants.
const PARAMETERS: [u8; 10] = [
    code::SUBNET_MASK,
    code::CLASSLESS_ROUTES,
    code::ROUTER,
    code::DNS_SERVERS,
    code::DOMAIN_NAME,
    code::INTERFACE_MTU,
    code::NTP_SERVERS,
    code::DOMAIN_SEARCH,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
];

/// Who we are on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Our hardware address.
    pub mac: EthernetAddress,
    /// Option 12.
    pub host_name: Option<String>,
    /// Only find out whether a server is there; take no lease until told ([`Input::Claim`]).
    pub detect: bool,
}

/// What can happen to the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The link has a carrier.
    LinkUp,
    /// It has none; the lease is kept for the next time.
    LinkDown,
    /// A frame, with Ethernet header: ARP, or UDP to port 68.
    Frame(&'a [u8]),
    /// Take a lease after all.
    Claim,
    /// Give the lease back and stop.
    Release,
}

/// What the client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this frame.
    Transmit(Vec<u8>),
    /// Note this.
    Event(Event),
    /// Nothing more now; call `handle_timeout` at this time, if at any.
    Timeout(Option<Instant>),
}

/// Something to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Use this lease: it is new, renewed or confirmed.
    Bound {
        /// The lease.
        lease: Box<Lease>,
        /// False when no server answered and a lease from before is used until its end.
        confirmed: bool,
    },
    /// Stop using the lease.
    Lost(LostReason),
    /// The state changed.
    State(StateName),
    /// A server answered in detect mode.
    ServerSeen {
        /// Its identifier.
        server: Ipv4Addr,
        /// The address it would give.
        address: Ipv4Addr,
    },
    /// An offer or ACK was of no use.
    Refused(LeaseError),
}

/// Why a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// Its time ended and no server renewed it.
    Expired,
    /// A server said that it is not ours.
    Nak,
    /// Another host uses the address.
    Conflict,
    /// We gave it back.
    Released,
}

/// Where the client is in its life (RFC 2131 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateName {
    /// No carrier, or told to stop.
    Down,
    /// A server was found and we wait to be told.
    Detected,
    /// Looking for a server.
    Selecting,
    /// Asking for an offered address.
    Requesting,
    /// Asking whether a kept lease still holds.
    Rebooting,
    /// Looking whether anybody else uses the address.
    Probing,
    /// Pausing after a conflict or a NAK.
    Waiting,
    /// All is well.
    Bound,
    /// Asking our server for more time.
    Renewing,
    /// Asking any server for more time.
    Rebinding,
}

impl StateName {
    /// As in the RFC, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Detected => "detected",
            Self::Selecting => "selecting",
            Self::Requesting => "requesting",
            Self::Rebooting => "rebooting",
            Self::Probing => "probing",
            Self::Waiting => "waiting",
            Self::Bound => "bound",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
        }
    }
}

/// Why frames were ignored, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// No frame of ours, or no DHCP message.
    pub malformed: u64,
    /// Somebody else's transaction or hardware address, or not asked for now.
    pub unexpected: u64,
    /// Offers and ACKs that make no sense.
    pub refused: u64,
}

/// The client of one link.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    /// The lease we have, in use or kept from before.
    held: Option<Lease>,
    /// The kernel has the address of `held`.
    in_use: bool,
    xid: u32,
    /// When the current acquisition began, for `secs`.
    began: Instant,
    /// When the message went out whose answer counts.
    asked: Instant,
    /// NAKs in a row, which slow the next try down.
    naks: u32,
    defended: Option<Instant>,
    announce: Option<Instant>,
    outputs: VecDeque<Output>,
    drops: Drops,
}

/// Each state owns its deadline; T1, T2 and the end of the lease come from the lease.
#[derive(Debug)]
enum State {
    Down,
    Detected,
    Selecting {
        tries: u32,
        next: Instant,
    },
    Requesting {
        offer: Lease,
        tries: u32,
        next: Instant,
    },
    Rebooting {
        tries: u32,
        next: Instant,
    },
    Probing {
        lease: Lease,
        /// A server stands behind it.
        confirmed: bool,
        sent: u32,
        next: Instant,
    },
    Waiting {
        until: Instant,
    },
    Bound,
    Renewing {
        next: Instant,
    },
    Rebinding {
        next: Instant,
    },
}

impl Client {
    /// A client on a link without carrier, with the lease kept from before.
    pub fn new(now: Instant, config: ClientConfig, kept: Option<Lease>) -> Self {
        Self {
            config,
            state: State::Down,
            held: kept,
            in_use: false,
            xid: 0,
            began: now,
            asked: now,
            naks: 0,
            defended: None,
            announce: None,
            outputs: VecDeque::new(),
            drops: Drops::default(),
        }
    }

    /// Where we are.
    pub fn state(&self) -> StateName {
        match self.state {
            State::Down => StateName::Down,
            State::Detected => StateName::Detected,
            State::Selecting { .. } => StateName::Selecting,
            State::Requesting { .. } => StateName::Requesting,
            State::Rebooting { .. } => StateName::Rebooting,
            State::Probing { .. } => StateName::Probing,
            State::Waiting { .. } => StateName::Waiting,
            State::Bound => StateName::Bound,
            State::Renewing { .. } => StateName::Renewing,
            State::Rebinding { .. } => StateName::Rebinding,
        }
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().filter(|_| self.in_use)
    }

    /// Whether DHCP messages are awaited; when not, ARP alone matters and the shell may spare
    /// the kernel the look at every packet.
    pub fn awaits_messages(&self) -> bool {
        !matches!(
            self.state,
            State::Bound | State::Down | State::Detected | State::Waiting { .. }
        )
    }

    /// Frames ignored, by reason.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Takes in what happened; drain [`Client::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>, rng: &mut dyn Rng) {
        match input {
            Input::LinkUp if matches!(self.state, State::Down) => self.begin(now, rng),
            Input::LinkUp => {}
            Input::LinkDown => self.enter(State::Down),
            Input::Frame(octets) => match Frame::parse(octets) {
                Some(frame) => self.on_frame(now, &frame, rng),
                None => self.drops.malformed += 1,
            },
            Input::Claim => {
                let waits = self.config.detect && !matches!(self.state, State::Down);
                self.config.detect = false;
                if waits {
                    self.begin(now, rng);
                }
            }
            Input::Release => self.release(now, rng),
        }
    }

    /// To be called at the time of the last [`Output::Timeout`]; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        if self.held.as_ref().is_some_and(|lease| !lease.is_live(now)) {
            self.on_expired(now, rng);
        }
        if self.announce.is_some_and(|at| at <= now) {
            self.announce = None;
            self.announce();
        }
        match &mut self.state {
            State::Selecting { tries, next } if *next <= now => {
                let tries = *tries + 1;
                self.select(now, tries, rng);
            }
            State::Requesting { offer, tries, next } if *next <= now => {
                let (offer, tries) = (offer.clone(), *tries + 1);
                if tries > REQUEST_TRIES_MAX {
                    self.start_selecting(now, rng);
                } else {
                    self.request(now, offer, tries, rng);
                }
            }
            State::Rebooting { tries, next } if *next <= now => {
                let tries = *tries + 1;
                if tries > REBOOT_TRIES_MAX {
                    self.fall_back(now, rng);
                } else {
                    self.reboot(now, tries, rng);
                }
            }
            State::Probing {
                lease, sent, next, ..
            } if *next <= now => {
                if *sent < PROBES_MAX {
                    let probe = arp::probe(self.config.mac, lease.address);
                    *sent += 1;
                    *next = now + PROBE_PAUSE;
                    self.outputs.push_back(Output::Transmit(probe));
                } else {
                    self.finish_probing(now, rng);
                }
            }
            State::Waiting { until } if *until <= now => self.begin(now, rng),
            State::Bound => {
                if self.is_past(now, Lease::rebind_at) {
                    self.rebind(now, rng);
                } else if self.is_past(now, Lease::renew_at) {
                    self.renew(now, rng);
                }
            }
            State::Renewing { next } => {
                let due = *next <= now;
                if self.is_past(now, Lease::rebind_at) {
                    self.rebind(now, rng);
                } else if due {
                    self.renew(now, rng);
                }
            }
            State::Rebinding { next } if *next <= now => self.rebind(now, rng),
            _ => {}
        }
    }

    /// The next thing to do. [`Output::Timeout`] is the last one.
    pub fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.next_deadline()))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let held = self.held.as_ref();
        let rebind_at = || held.and_then(Lease::rebind_at);
        let of_state = match &self.state {
            State::Down | State::Detected => return None,
            State::Selecting { next, .. }
            | State::Requesting { next, .. }
            | State::Rebooting { next, .. }
            | State::Probing { next, .. }
            | State::Rebinding { next } => Some(*next),
            State::Waiting { until } => Some(*until),
            State::Bound => held.and_then(Lease::renew_at),
            State::Renewing { next } => Some(rebind_at().map_or(*next, |at| at.min(*next))),
        };
        [of_state, held.and_then(Lease::expires), self.announce]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_past(&self, now: Instant, timer: fn(&Lease) -> Option<Instant>) -> bool {
        self.held
            .as_ref()
            .and_then(timer)
            .is_some_and(|at| at <= now)
    }

    fn enter(&mut self, state: State) {
        let before = self.state();
        self.state = state;
        if self.state() != before {
            self.outputs
                .push_back(Output::Event(Event::State(self.state())));
        }
    }
}

/// 1, 2, 4 ... 64 s, an eighth more or less, so that a street that lost power together does
/// not ask together.
fn backoff(tries: u32, rng: &mut dyn Rng) -> Duration {
    let base_s = 1u32
        .checked_shl(tries.saturating_sub(1))
        .unwrap_or(BACKOFF_S_MAX)
        .min(BACKOFF_S_MAX);
    let base_ms = base_s * 1000;
    Duration::from_millis(u64::from(base_ms - base_ms / 8 + rng.below(base_ms / 4)))
}

/// Half of what is left (RFC 2131 section 4.4.5).
fn renew_pause(now: Instant, end: Instant, lease_s: u32) -> Duration {
    let half = end
        .checked_duration_since(now)
        .map_or(Duration::MIN, |left| left / 2);
    let short = Duration::from_secs(u64::from(lease_s / 16).max(1));
    half.max(RENEW_PAUSE_MIN.min(short))
}
