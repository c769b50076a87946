//! Asking the link whether anybody has an address before a stranger gets it.

use super::drops::DropReason;
use super::pool::HoldKind;
use super::reply::Request;
use super::{
    After, Event, Output, PROBE_AGAIN, PROBE_TRIES_MAX, PROBE_WAIT, PROBES_MAX, Probe, QUARANTINE,
    Server, Transmit, pool, subnet,
};
use embassy_time::Instant;
use lintel_wire::arp;
use lintel_wire::frame::{Frame, Payload};
use std::net::Ipv4Addr;

impl Server {
    pub(super) fn probe(
        &mut self,
        now: Instant,
        request: Request,
        address: Ipv4Addr,
        then: After,
        tries: u8,
    ) -> Result<(), DropReason> {
        let pool = pool(&mut self.pools, &request)?;
        if let Some(other) = pool.held_by(&request.client) {
            self.probes.remove(&other);
        }
        if self.probes.len() >= PROBES_MAX {
            return Err(DropReason::ProbesFull);
        }
        let until = now + PROBE_WAIT;
        pool.hold_for(address, &request.client, HoldKind::Probing, until);
        self.send_probe(&request, address);
        self.probes.insert(
            address,
            Probe {
                request,
                then,
                tries,
                again: Some(now + PROBE_AGAIN),
                until,
            },
        );
        Ok(())
    }

    /// The client asked again while its address is being probed: the reply answers the latest.
    pub(super) fn probe_again(&mut self, address: Ipv4Addr, request: Request, then: After) {
        if let Some(probe) = self.probes.get_mut(&address) {
            probe.request = request;
            probe.then = then;
        }
    }

    pub(super) fn send_probe(&mut self, request: &Request, address: Ipv4Addr) {
        if let Ok(subnet) = subnet(&self.config, request) {
            self.outputs.push_back(Output::Transmit(Transmit::Frame {
                link: subnet.link,
                octets: arp::probe(subnet.mac, address),
            }));
        }
    }

    pub(super) fn on_probe_due(&mut self, now: Instant, address: Ipv4Addr) {
        let Some(mut probe) = self.probes.remove(&address) else {
            return;
        };
        if probe.until > now {
            probe.again = None;
            self.send_probe(&probe.request, address);
            self.probes.insert(address, probe);
            return;
        }
        if !self.is_probing(&probe.request, address) {
            return;
        }
        let outcome = match probe.then {
            After::Offer => self.offer(now, probe.request, address),
            After::Bind => self.bind(now, probe.request, address),
        };
        if let Err(reason) = outcome {
            self.drops.count(reason);
        }
    }

    pub(super) fn on_frame(
        &mut self,
        now: Instant,
        link: u32,
        octets: &[u8],
    ) -> Result<(), DropReason> {
        let frame = Frame::parse(octets).ok_or(DropReason::Malformed)?;
        let Payload::Arp(claim) = frame.payload else {
            return Err(DropReason::Malformed);
        };
        // Nobody asked, or the client itself still answers for its old address.
        let asked = self.probes.get(&claim.address).is_some_and(|probe| {
            probe.request.link == link
                && probe.request.mac != claim.hardware
                && self.is_probing(&probe.request, claim.address)
        });
        if !asked {
            return Ok(());
        }
        let Some(probe) = self.probes.remove(&claim.address) else {
            return Ok(());
        };
        let pool = pool(&mut self.pools, &probe.request)?;
        pool.quarantine(claim.address, now + QUARANTINE);
        self.names.release(claim.address);
        self.outputs.push_back(Output::Event(Event::Conflict {
            link,
            address: claim.address,
            mac: Some(claim.hardware),
        }));
        if probe.then == After::Bind {
            return self.refuse(&probe.request, "that address is in use");
        }
        if probe.tries >= PROBE_TRIES_MAX {
            return Err(DropReason::Conflicts);
        }
        let next = pool
            .candidate(&probe.request.client, None, now)
            .ok_or(DropReason::Exhausted)?;
        self.probe(now, probe.request, next, After::Offer, probe.tries + 1)
    }

    /// Whether the client still waits for that address; it may have gone on to another.
    pub(super) fn is_probing(&self, request: &Request, address: Ipv4Addr) -> bool {
        let pool = self.pools.get(request.subnet);
        pool.and_then(|pool| pool.hold(address, &request.client)) == Some(HoldKind::Probing)
    }

    /// Behind a relay nobody hears our ARP.
    pub(super) fn can_probe(&self, request: &Request) -> bool {
        subnet(&self.config, request)
            .is_ok_and(|subnet| !request.is_relayed() && subnet.link == request.link)
    }
}
