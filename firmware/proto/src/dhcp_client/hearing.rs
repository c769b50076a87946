//! What the client makes of replies and of ARP.

use super::lease::Lease;
use super::{BACKOFF_S_MAX, Client, DECLINE_PAUSE, DEFEND_PAUSE, Event, LostReason, Output, State};
use crate::rng::Rng;
use embassy_time::{Duration, Instant};
use lintel_wire::arp::{ArpClaim, ArpOperation};
use lintel_wire::dhcpv4::{CLIENT_PORT, HardwareAddress, MessageType, OpCode, Repr, code};
use lintel_wire::frame::{EthernetAddress, Frame, Payload};

impl Client {
    pub(super) fn on_frame(&mut self, now: Instant, frame: &Frame<'_>, rng: &mut dyn Rng) {
        match frame.payload {
            Payload::Arp(claim) => self.on_arp(now, &claim, rng),
            Payload::Udp {
                destination, data, ..
            } if destination.port() == CLIENT_PORT => match Repr::parse(data) {
                Ok(message) => self.on_message(now, frame.source, &message, rng),
                Err(_) => self.drops.malformed += 1,
            },
            Payload::Udp { .. } => self.drops.malformed += 1,
        }
    }

    pub(super) fn on_message(
        &mut self,
        now: Instant,
        from: EthernetAddress,
        message: &Repr,
        rng: &mut dyn Rng,
    ) {
        let ours = message.opcode == OpCode::Reply
            && message.xid == self.xid
            && message.chaddr == HardwareAddress::ethernet(self.config.mac)
            && self.awaits_messages();
        let kind = message.message_type();
        if !ours {
            self.drops.unexpected += 1;
            return;
        }
        match (&self.state, kind) {
            (State::Selecting { .. }, Some(MessageType::Offer)) => {
                self.on_offer(now, message, rng);
            }
            (
                State::Requesting { .. }
                | State::Rebooting { .. }
                | State::Renewing { .. }
                | State::Rebinding { .. },
                Some(MessageType::Ack),
            ) => self.on_ack(now, from, message),
            (State::Requesting { offer, .. }, Some(MessageType::Nak)) => {
                if message.options.addr(code::SERVER_ID) == Ok(Some(offer.server)) {
                    self.on_nak(now);
                } else {
                    self.drops.unexpected += 1;
                }
            }
            (
                State::Rebooting { .. } | State::Renewing { .. } | State::Rebinding { .. },
                Some(MessageType::Nak),
            ) => self.on_nak(now),
            _ => self.drops.unexpected += 1,
        }
    }

    pub(super) fn on_offer(&mut self, now: Instant, message: &Repr, rng: &mut dyn Rng) {
        let Some(offer) = self.checked(message) else {
            return;
        };
        if self.config.detect {
            self.outputs.push_back(Output::Event(Event::ServerSeen {
                server: offer.server,
                address: offer.address,
            }));
            self.enter(State::Detected);
        } else {
            self.request(now, offer, 1, rng);
        }
    }

    pub(super) fn on_ack(&mut self, now: Instant, from: EthernetAddress, message: &Repr) {
        let Some(mut lease) = self.checked(message) else {
            return;
        };
        // It counts from when we asked, and the box may have slept since.
        if !lease.is_live(now) {
            self.drops.unexpected += 1;
            return;
        }
        let expected = match &self.state {
            State::Requesting { offer, .. } => {
                offer.address == lease.address && offer.server == lease.server
            }
            _ => self
                .held
                .as_ref()
                .is_some_and(|held| held.address == lease.address),
        };
        if !expected {
            self.drops.unexpected += 1;
            return;
        }
        lease.server_mac = from.is_unicast().then_some(from);
        let known = self
            .held
            .as_ref()
            .is_some_and(|held| held.address == lease.address);
        let fresh = matches!(self.state, State::Requesting { .. });
        if fresh && !(known && self.in_use) {
            self.probe(now, lease, true);
        } else {
            self.adopt(now, lease, true);
        }
    }

    pub(super) fn on_nak(&mut self, now: Instant) {
        self.lose(LostReason::Nak);
        // The first one is met at once; a server that keeps on refusing is not hammered.
        let pause = match self.naks {
            0 => 0,
            n => 1u32
                .checked_shl(n - 1)
                .unwrap_or(BACKOFF_S_MAX)
                .min(BACKOFF_S_MAX),
        };
        self.naks = (self.naks + 1).min(32);
        self.enter(State::Waiting {
            until: now + Duration::from_secs(u64::from(pause)),
        });
    }

    pub(super) fn on_expired(&mut self, now: Instant, rng: &mut dyn Rng) {
        let asking = matches!(
            self.state,
            State::Selecting { .. } | State::Requesting { .. }
        );
        self.lose(LostReason::Expired);
        if !asking
            && !matches!(
                self.state,
                State::Down | State::Detected | State::Waiting { .. }
            )
        {
            self.began = now;
            self.start_selecting(now, rng);
        }
    }

    pub(super) fn on_arp(&mut self, now: Instant, claim: &ArpClaim, rng: &mut dyn Rng) {
        if claim.hardware == self.config.mac {
            return;
        }
        if let State::Probing {
            lease, confirmed, ..
        } = &self.state
        {
            let probes_too = claim.operation == ArpOperation::Request
                && claim.address.is_unspecified()
                && claim.target == lease.address;
            if claim.address == lease.address || probes_too {
                let (lease, confirmed) = (lease.clone(), *confirmed);
                self.on_conflict(now, &lease, confirmed, rng);
            }
            return;
        }
        let Some(lease) = self.lease().filter(|lease| lease.address == claim.address) else {
            return;
        };
        let lease = lease.clone();
        if self.defended.is_none_or(|at| at + DEFEND_PAUSE <= now) {
            self.defended = Some(now);
            self.announce();
        } else {
            self.on_conflict(now, &lease, true, rng);
        }
    }

    pub(super) fn on_conflict(
        &mut self,
        now: Instant,
        lease: &Lease,
        confirmed: bool,
        rng: &mut dyn Rng,
    ) {
        if confirmed {
            self.xid = rng.next_u32();
            let mut decline = self.message(now, MessageType::Decline);
            for absent in [code::PARAMETER_LIST, code::MESSAGE_LEN_MAX, code::HOST_NAME] {
                decline.options.take(absent);
            }
            decline
                .options
                .set_addr(code::REQUESTED_ADDRESS, lease.address);
            decline.options.set_addr(code::SERVER_ID, lease.server);
            self.broadcast(now, decline);
        }
        self.defended = None;
        self.lose(LostReason::Conflict);
        self.enter(State::Waiting {
            until: now + DECLINE_PAUSE,
        });
    }

    /// Forgets the lease and says so if it was in use.
    pub(super) fn lose(&mut self, reason: LostReason) {
        self.held = None;
        self.announce = None;
        if std::mem::take(&mut self.in_use) || reason == LostReason::Conflict {
            self.outputs.push_back(Output::Event(Event::Lost(reason)));
        }
    }

    pub(super) fn checked(&mut self, message: &Repr) -> Option<Lease> {
        match Lease::from_message(message, self.asked) {
            Ok(lease) => Some(lease),
            Err(error) => {
                self.drops.refused += 1;
                self.outputs.push_back(Output::Event(Event::Refused(error)));
                None
            }
        }
    }
}
