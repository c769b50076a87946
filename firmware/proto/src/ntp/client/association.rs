//! One server: when it is asked, and which of its replies are believed (RFC 5905 sections 8, 9
//! and 13).

use std::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, Instant};
use lintel_wire::ntp::{Kiss, Mode, NtpTimestamp, Packet, ReferenceId, STRATUM_MAX};

use super::samples::{Sample, Samples};
use super::select::Candidate;
use super::{
    AssociationId, AssociationStatus, DropReason, Leap, Now, SourceConfig, SourceId, Standing,
    UnixNs,
};
use crate::ntp::TOLERANCE_PPB;
use crate::rng::Rng;

/// Requests of a burst that are to be answered: with four the filter's dispersion is below the
/// distance that selection takes.
const BURST_REPLIES: u8 = 4;
/// Requests of a burst at most.
const BURST_REQUESTS_MAX: u8 = 8;
/// Between requests of a burst (RFC 5905's BTIME).
const BURST_PAUSE: Duration = Duration::from_secs(2);
/// Log2 of the interval after a burst; it doubles with each request until it is the usual one.
/// What a burst of six seconds says of a frequency is little, and an unknown one would go on to
/// drive the clock off until the next poll.
const AFTER_BURST_POLL: u8 = 3;
/// An association begins its bursts no closer than this, whatever happens to the clock or to the
/// link: our troubles are not the server's.
const BURST_AGAIN: Duration = Duration::from_secs(64);
/// A reply that takes longer says less than 1.5 s, which is the most that selection takes.
const REPLY_WAIT: Duration = Duration::from_secs(3);
/// Polls without a reply until another address is tried (RFC 5905's register is empty then).
pub(super) const SILENT_POLLS_MAX: u32 = 8;
/// Largest error of a server's own time, nanoseconds (RFC 5905's MAXDIST).
const ROOT_DISTANCE_NS_MAX: i64 = 1_500_000_000;
/// A server that asks for less gets polls up to this far apart, log2 seconds.
const RATE_POLL_MAX: u8 = 10;
/// Two clocks that run differently can make a short trip look this much shorter than nothing.
const NEGATIVE_DELAY_NS_MAX: i64 = 1_000_000;
/// Smallest distance that is believed, seconds: below it, what differs is the way there and
/// back. RFC 5905 has 5 ms, from a time of slower networks.
const DISTANCE_MIN: f64 = 0.0005;
/// Largest distance of a server that has a say, seconds (RFC 5905's MAXDIST).
const DISTANCE_MAX: f64 = 1.5;

const NS: f64 = 1e-9;

/// A server that is being asked.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) id: AssociationId,
    pub(super) source: SourceId,
    pub(super) to: SocketAddr,
    pub(super) standing: Standing,
    pub(super) samples: Samples,
    /// When the next request is due.
    pub(super) next: Instant,
    /// Requests in a row that were not answered.
    pub(super) silent: u32,
    poll_min: u8,
    poll_max: u8,
    bursts: bool,
    /// Replies that the burst still wants, and requests that it has left.
    burst: Option<(u8, u8)>,
    /// The interval after a burst, log2 seconds, as long as it is shorter than the usual one.
    after_burst: Option<u8>,
    burst_again: Instant,
    /// Log2 of the interval that RATE kisses ask for.
    rate_poll: u8,
    /// Interval that was waited for last, log2 seconds.
    poll: u8,
    pending: Option<Pending>,
    /// The last number that was answered, and the last that was not.
    answered: Option<NtpTimestamp>,
    missed: Option<NtpTimestamp>,
    reach: u8,
    heard: Option<Instant>,
    says: Option<Says>,
    sent: u64,
    received: u64,
    pub(super) dropped: u64,
}

/// A request under way.
#[derive(Debug)]
struct Pending {
    nonce: NtpTimestamp,
    left: UnixNs,
    since: Instant,
}

/// What the server says of itself in its last reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    pub(super) leap: Leap,
    pub(super) stratum: u8,
    pub(super) root_delay_ns: i64,
    pub(super) root_dispersion_ns: i64,
}

/// A reply that passed everything, in nanoseconds.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) offset_ns: i64,
    pub(super) delay_ns: i64,
    /// From sending to receiving, of our clock.
    pub(super) took_ns: i64,
    /// Between the server's reading of the clock for its reply, and ours when it came.
    pub(super) received: UnixNs,
}

/// What surrounds a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) from: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) octets: &'a [u8],
    pub(super) received: UnixNs,
    pub(super) floor: UnixNs,
}

impl Association {
    pub(super) fn new(
        id: AssociationId,
        source: &SourceConfig,
        to: SocketAddr,
        now: Instant,
    ) -> Self {
        let poll_min = source.poll_min.min(super::POLL_MAX);
        let mut association = Self {
            id,
            source: source.id,
            to,
            standing: Standing::Unreachable,
            samples: Samples::default(),
            next: now,
            silent: 0,
            poll_min,
            poll_max: source.poll_max.clamp(poll_min, super::POLL_MAX),
            bursts: source.burst,
            burst: None,
            after_burst: None,
            burst_again: now,
            rate_poll: 0,
            poll: poll_min,
            pending: None,
            answered: None,
            missed: None,
            reach: 0,
            heard: None,
            says: None,
            sent: 0,
            received: 0,
            dropped: 0,
        };
        association.begin(now);
        association
    }

    /// Asks at once, with a burst if that is wanted and was not done lately.
    pub(super) fn begin(&mut self, now: Instant) {
        self.silent = 0;
        if self.bursts && self.burst_again <= now && self.rate_poll == 0 {
            self.burst = Some((BURST_REPLIES, BURST_REQUESTS_MAX));
            self.after_burst = Some(AFTER_BURST_POLL);
            self.burst_again = now + BURST_AGAIN;
            self.next = now;
        } else if self.sent == 0 {
            self.next = now;
        } else {
            let soon = now + Duration::from_secs(1 << self.poll_min.max(self.rate_poll));
            self.next = self.next.min(soon);
        }
    }

    /// The clock was set by other means: what was measured against the old one is void.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
        self.miss();
    }

    /// A request is under way no more.
    pub(super) fn miss(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.missed = Some(pending.nonce);
        }
    }

    /// Makes the next request and sets when the one after is due; `poll` is what the clock can
    /// do with, log2 seconds.
    pub(super) fn ask(&mut self, now: Now, poll: u8, rng: &mut dyn Rng) -> Packet {
        if self.pending.is_some() {
            self.miss();
        }
        self.reach <<= 1;
        self.silent = self.silent.saturating_add(1);
        self.sent += 1;
        self.schedule(now.mono, poll, rng);
        // Zero would read as unknown.
        let nonce = NtpTimestamp(rng.next_u64().max(1));
        self.pending = Some(Pending {
            nonce,
            left: now.wall,
            since: now.mono,
        });
        Packet::request(nonce)
    }

    fn schedule(&mut self, now: Instant, poll: u8, rng: &mut dyn Rng) {
        self.poll = poll.clamp(self.poll_min, self.poll_max).max(self.rate_poll);
        if let Some((replies, requests)) = self.burst {
            self.burst = (requests > 1).then_some((replies, requests.saturating_sub(1)));
            if self.burst.is_some() {
                self.next = now + BURST_PAUSE;
                return;
            }
        }
        // Not answered yet: ask soon, and ever less.
        let of_silence = u8::try_from(self.silent / 4 + 2).unwrap_or(super::POLL_MAX);
        let shift = match (self.heard, self.after_burst) {
            (None, _) => self.poll.min(of_silence.max(self.rate_poll)),
            (Some(_), Some(soon)) if soon < self.poll => {
                self.after_burst = Some(soon + 1);
                soon
            }
            (Some(_), _) => {
                self.after_burst = None;
                self.poll
            }
        };
        let interval_ms = 1_000u64 << shift;
        // Up to a sixteenth more, so that a street does not ask together.
        let fuzz_ms = rng.below(u32::try_from(interval_ms / 16).unwrap_or(u32::MAX));
        self.next = now + Duration::from_millis(interval_ms + u64::from(fuzz_ms));
    }

    /// The kernel says when the request left.
    pub(super) fn left(&mut self, at: UnixNs) {
        if let Some(pending) = &mut self.pending {
            // Anything else belongs to another request, or another clock.
            if at.ns_since(pending.left).unsigned_abs() < 1_000_000_000 {
                pending.left = at;
            }
        }
    }

    /// Looks at a reply; `Err` says why it is not believed. A forged one changes nothing.
    pub(super) fn hear(&mut self, now: Now, arrival: Arrival<'_>) -> Result<Exchange, DropReason> {
        if arrival.from != self.to {
            return Err(DropReason::Stranger);
        }
        let packet = Packet::parse(arrival.octets).map_err(|_| DropReason::Malformed)?;
        if packet.mode != Mode::Server {
            return Err(DropReason::NotServer);
        }
        let Some(pending) = self
            .pending
            .take_if(|pending| pending.nonce == packet.origin)
        else {
            return Err(if self.answered == Some(packet.origin) {
                DropReason::Duplicate
            } else if self.missed == Some(packet.origin) {
                DropReason::Late
            } else {
                DropReason::Bogus
            });
        };
        self.answered = Some(pending.nonce);
        if now.mono.saturating_duration_since(pending.since) > REPLY_WAIT {
            return Err(DropReason::Late);
        }
        if let Some(kiss) = packet.kiss() {
            return Err(self.on_kiss(now.mono, kiss));
        }
        let exchange = self.check(&packet, &pending, arrival)?;
        self.says = Some(Says {
            leap: packet.leap,
            stratum: packet.stratum,
            root_delay_ns: packet.root_delay.to_ns(),
            root_dispersion_ns: packet.root_dispersion.to_ns(),
        });
        self.reach |= 1;
        self.silent = 0;
        self.received += 1;
        self.heard = Some(now.mono);
        if let Some((replies, requests)) = self.burst {
            self.burst = (replies > 1).then_some((replies.saturating_sub(1), requests));
        }
        Ok(exchange)
    }

    fn on_kiss(&mut self, now: Instant, kiss: Kiss) -> DropReason {
        match kiss {
            Kiss::Deny | Kiss::Restrict => DropReason::KissDeny,
            Kiss::Rate => {
                (self.burst, self.after_burst) = (None, None);
                self.rate_poll = (self.poll + 1).min(RATE_POLL_MAX.max(self.poll));
                self.poll = self.rate_poll;
                self.next = now + Duration::from_secs(1 << self.rate_poll);
                DropReason::KissRate
            }
            Kiss::Other(_) => DropReason::KissOther,
        }
    }

    /// The tests of a reply to a request of ours (RFC 5905 figure 23, and section 13's checks).
    fn check(
        &mut self,
        packet: &Packet,
        pending: &Pending,
        arrival: Arrival<'_>,
    ) -> Result<Exchange, DropReason> {
        if packet.leap == Leap::Unsynchronised || !(1..STRATUM_MAX).contains(&packet.stratum) {
            if let Some(says) = &mut self.says {
                says.leap = Leap::Unsynchronised;
            }
            return Err(DropReason::Unsynchronised);
        }
        if packet.receive.is_zero() || packet.transmit.is_zero() {
            return Err(DropReason::Inconsistent);
        }
        let (left, came) = (pending.left, arrival.received);
        let theirs_in = packet.receive.to_unix(arrival.floor);
        let theirs_out = packet.transmit.to_unix(arrival.floor);
        let took_ns = came.ns_since(left);
        let inside_ns = theirs_out.ns_since(theirs_in);
        let delay_ns = took_ns.saturating_sub(inside_ns);
        if took_ns < 0 || inside_ns < 0 || delay_ns < -NEGATIVE_DELAY_NS_MAX {
            return Err(DropReason::Inconsistent);
        }
        if theirs_out < arrival.floor {
            return Err(DropReason::BelowFloor);
        }
        let set = packet.reference.to_unix(arrival.floor);
        let distance_ns = packet.root_delay.to_ns() / 2 + packet.root_dispersion.to_ns();
        let set_later = !packet.reference.is_zero() && set > theirs_out;
        if distance_ns >= ROOT_DISTANCE_NS_MAX || set_later {
            return Err(DropReason::Distant);
        }
        let follows_us = |local| packet.reference_id == ReferenceId::of(local);
        if packet.stratum > 1 && arrival.local.is_some_and(follows_us) {
            return Err(DropReason::Loop);
        }
        // Each difference fits; their sum may not.
        let twice = i128::from(theirs_in.0) - i128::from(left.0) + i128::from(theirs_out.0)
            - i128::from(came.0);
        let offset = (twice / 2).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Ok(Exchange {
            offset_ns: offset as i64,
            delay_ns: delay_ns.max(0),
            took_ns,
            received: came,
        })
    }

    /// Puts an exchange among the samples; `slewing` is what of our clock's error was about to
    /// be slewed away at that time, seconds.
    pub(super) fn take(&mut self, now: Instant, of: &Exchange, slewing: f64, precision: f64) {
        let took = of.took_ns as f64 * NS;
        let sample = Sample {
            at: now,
            offset: of.offset_ns as f64 * NS - slewing,
            delay: (of.delay_ns as f64 * NS).max(precision),
            dispersion: 2.0 * precision + TOLERANCE_PPB as f64 * NS * took,
        };
        self.samples.push(sample, precision);
    }

    /// What it says in the selection, if it is fit for it: it answered lately, is synchronised,
    /// and its time cannot be wrong by more than 1.5 s.
    pub(super) fn candidate(
        &self,
        index: usize,
        now: Instant,
        precision: f64,
        slope_of: impl Fn(&super::samples::Line) -> (f64, f64),
    ) -> Option<Candidate> {
        let says = self
            .says
            .filter(|says| says.leap != Leap::Unsynchronised && self.reach != 0)?;
        let filtered = self.samples.filtered(now, precision)?;
        let line = self.samples.line(now, precision)?;
        let (slope, slope_sd) = slope_of(&line);
        let root_delay = says.root_delay_ns as f64 * NS + filtered.delay;
        let distance = root_delay / 2.0
            + says.root_dispersion_ns as f64 * NS
            + filtered.dispersion
            + filtered.jitter;
        (distance < DISTANCE_MAX).then(|| Candidate {
            index,
            offset: line.offset_now(slope),
            distance: distance.max(DISTANCE_MIN) + line.offset_sd(slope_sd),
            jitter: filtered.jitter,
            stratum: says.stratum,
        })
    }

    /// Shortest and longest interval that it may be asked at, log2 seconds.
    pub(super) fn poll_bounds(&self) -> (u8, u8) {
        (self.poll_min, self.poll_max)
    }

    pub(super) fn says(&self) -> Option<Says> {
        self.says
    }

    /// Whether another address of the source should be asked instead.
    pub(super) fn is_silent(&self) -> bool {
        self.silent >= SILENT_POLLS_MAX
    }

    /// Its standing before selection.
    pub(super) fn unselected(&self) -> Standing {
        if self.reach == 0 {
            Standing::Unreachable
        } else {
            Standing::Unfit
        }
    }

    pub(super) fn status(&self, now: Instant, slewing: f64, precision: f64) -> AssociationStatus {
        let ns = |seconds: f64| (seconds / NS) as i64;
        let filtered = self.samples.filtered(now, precision);
        AssociationStatus {
            association: self.id,
            source: self.source,
            to: self.to,
            standing: self.standing,
            stratum: self.says.map_or(0, |says| says.stratum),
            reach: self.reach,
            poll: self.poll,
            heard: self.heard,
            offset_ns: self
                .samples
                .last()
                .map_or(0, |sample| ns(sample.offset + slewing)),
            delay_ns: filtered.map_or(0, |filtered| ns(filtered.delay)),
            dispersion_ns: filtered.map_or(0, |filtered| ns(filtered.dispersion)),
            jitter_ns: filtered.map_or(0, |filtered| ns(filtered.jitter)),
            sent: self.sent,
            received: self.received,
            dropped: self.dropped,
        }
    }
}
