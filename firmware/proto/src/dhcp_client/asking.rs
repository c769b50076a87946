//! What the client sends when, and how it takes a lease into use.

use super::lease::Lease;
use super::{ANNOUNCE_PAUSE, Client, Event, Output, PROBE_PAUSE, State, backoff, renew_pause};
use crate::rng::Rng;
use embassy_time::Instant;
use lintel_wire::arp;
use lintel_wire::dhcpv4::{MessageType, code};
use lintel_wire::frame::EthernetAddress;
use std::net::Ipv4Addr;

impl Client {
    pub(super) fn begin(&mut self, now: Instant, rng: &mut dyn Rng) {
        self.began = now;
        let kept = self.held.as_ref().is_some_and(|lease| lease.is_live(now));
        if kept && !self.config.detect {
            self.xid = rng.next_u32();
            self.reboot(now, 1, rng);
        } else {
            self.start_selecting(now, rng);
        }
    }

    pub(super) fn start_selecting(&mut self, now: Instant, rng: &mut dyn Rng) {
        self.xid = rng.next_u32();
        self.select(now, 1, rng);
    }

    pub(super) fn select(&mut self, now: Instant, tries: u32, rng: &mut dyn Rng) {
        let mut discover = self.message(now, MessageType::Discover);
        if let Some(lease) = &self.held {
            discover
                .options
                .set_addr(code::REQUESTED_ADDRESS, lease.address);
        }
        self.broadcast(now, discover);
        let next = now + backoff(tries, rng);
        self.enter(State::Selecting { tries, next });
    }

    pub(super) fn request(&mut self, now: Instant, offer: Lease, tries: u32, rng: &mut dyn Rng) {
        let mut request = self.message(now, MessageType::Request);
        request
            .options
            .set_addr(code::REQUESTED_ADDRESS, offer.address);
        request.options.set_addr(code::SERVER_ID, offer.server);
        self.broadcast(now, request);
        let next = now + backoff(tries, rng);
        self.enter(State::Requesting { offer, tries, next });
    }

    pub(super) fn reboot(&mut self, now: Instant, tries: u32, rng: &mut dyn Rng) {
        let Some(address) = self.held.as_ref().map(|lease| lease.address) else {
            return self.start_selecting(now, rng);
        };
        let mut request = self.message(now, MessageType::Request);
        request.options.set_addr(code::REQUESTED_ADDRESS, address);
        self.broadcast(now, request);
        let next = now + backoff(tries, rng);
        self.enter(State::Rebooting { tries, next });
    }

    pub(super) fn renew(&mut self, now: Instant, rng: &mut dyn Rng) {
        let (Some(lease), Some(rebind_at)) = (
            self.held.clone(),
            self.held.as_ref().and_then(Lease::rebind_at),
        ) else {
            return;
        };
        let Some(server_mac) = lease.server_mac else {
            return self.rebind(now, rng);
        };
        if !matches!(self.state, State::Renewing { .. }) {
            self.began = now;
            self.xid = rng.next_u32();
        }
        let mut request = self.message(now, MessageType::Request);
        request.ciaddr = lease.address;
        self.send(now, &request, lease.address, (server_mac, lease.server));
        let next = now + renew_pause(now, rebind_at, lease.lease_s);
        self.enter(State::Renewing { next });
    }

    pub(super) fn rebind(&mut self, now: Instant, rng: &mut dyn Rng) {
        let (Some(lease), Some(expires)) = (
            self.held.clone(),
            self.held.as_ref().and_then(Lease::expires),
        ) else {
            return;
        };
        if !matches!(self.state, State::Rebinding { .. }) {
            self.xid = rng.next_u32();
        }
        let mut request = self.message(now, MessageType::Request);
        request.ciaddr = lease.address;
        let to = (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST);
        self.send(now, &request, lease.address, to);
        let next = now + renew_pause(now, expires, lease.lease_s);
        self.enter(State::Rebinding { next });
    }

    /// No server confirmed the kept lease: it is used until its end all the same, when nobody
    /// else has the address.
    pub(super) fn fall_back(&mut self, now: Instant, rng: &mut dyn Rng) {
        match self.held.clone() {
            Some(lease) if !self.in_use => self.probe(now, lease, false),
            _ => self.start_selecting(now, rng),
        }
    }

    pub(super) fn probe(&mut self, now: Instant, lease: Lease, confirmed: bool) {
        let probe = arp::probe(self.config.mac, lease.address);
        self.outputs.push_back(Output::Transmit(probe));
        self.enter(State::Probing {
            lease,
            confirmed,
            sent: 1,
            next: now + PROBE_PAUSE,
        });
    }

    pub(super) fn finish_probing(&mut self, now: Instant, rng: &mut dyn Rng) {
        let State::Probing {
            lease, confirmed, ..
        } = std::mem::replace(&mut self.state, State::Down)
        else {
            return;
        };
        // The name changed under `enter`'s eyes; put it right before the next change is told.
        self.state = State::Waiting { until: now };
        // The box may have slept through it.
        if !lease.is_live(now) {
            return self.start_selecting(now, rng);
        }
        self.adopt(now, lease, confirmed);
        if !confirmed {
            self.start_selecting(now, rng);
        }
    }

    /// From here on the lease is ours.
    pub(super) fn adopt(&mut self, now: Instant, lease: Lease, confirmed: bool) {
        let another = self
            .held
            .as_ref()
            .is_none_or(|held| held.address != lease.address);
        if another || !self.in_use {
            self.announce = Some(now + ANNOUNCE_PAUSE);
        }
        self.held = Some(lease.clone());
        self.in_use = true;
        self.naks = 0;
        if self.announce.is_some() {
            self.announce();
        }
        self.outputs.push_back(Output::Event(Event::Bound {
            lease: Box::new(lease),
            confirmed,
        }));
        if confirmed {
            self.enter(State::Bound);
        }
    }

    pub(super) fn announce(&mut self) {
        if let Some(lease) = self.lease() {
            let frame = arp::announcement(self.config.mac, lease.address);
            self.outputs.push_back(Output::Transmit(frame));
        }
    }
}
