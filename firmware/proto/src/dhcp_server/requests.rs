//! What each message of a client means and gets (RFC 2131 section 4.3).

use super::drops::DropReason;
use super::pool::{BindingState, HoldKind};
use super::reply::{Grant, Request};
use super::{After, Event, OFFER_KEPT, Output, QUARANTINE, Server, pool, subnet};
use embassy_time::Instant;
use lintel_wire::dhcpv4::MessageType;
use std::net::Ipv4Addr;

use super::reply;

impl Server {
    pub(super) fn on_discover(&mut self, now: Instant, request: Request) -> Result<(), DropReason> {
        let pool = pool(&mut self.pools, &request)?;
        // What is on its way to the disk may as well be offered again.
        if let Some(address) = pool.pending_of(&request.client) {
            return self.offer(now, request, address);
        }
        let Some(address) = pool.candidate(&request.client, request.requested(), now) else {
            let link = request.link;
            self.outputs
                .push_back(Output::Event(Event::Exhausted { link }));
            return Err(DropReason::Exhausted);
        };
        match pool.hold(address, &request.client) {
            Some(HoldKind::Probing) => {
                self.probe_again(address, request, After::Offer);
                return Ok(());
            }
            // What is on its way to the disk may as well be offered again.
            Some(HoldKind::Pending | HoldKind::Offered) => {
                return self.offer(now, request, address);
            }
            Some(HoldKind::Quarantined) | None => {}
        }
        let known = pool
            .binding_of(&request.client)
            .is_some_and(|binding| binding.address == address);
        if known || !self.can_probe(&request) {
            return self.offer(now, request, address);
        }
        self.probe(now, request, address, After::Offer, 1)
    }

    pub(super) fn offer(
        &mut self,
        now: Instant,
        request: Request,
        address: Ipv4Addr,
    ) -> Result<(), DropReason> {
        let pool = pool(&mut self.pools, &request)?;
        if pool.hold(address, &request.client) != Some(HoldKind::Pending) {
            pool.hold_for(
                address,
                &request.client,
                HoldKind::Offered,
                now + OFFER_KEPT,
            );
        }
        let (lease_s, _) = self.lease_s(now, &request, address);
        let name = self.names.choose(now, &request, address, &self.pools);
        self.send_grant(
            &request,
            MessageType::Offer,
            address,
            lease_s,
            name.as_deref(),
        )
    }

    pub(super) fn on_request(&mut self, now: Instant, request: Request) -> Result<(), DropReason> {
        let ciaddr = request.message.ciaddr;
        let has_address = !ciaddr.is_unspecified();
        let (wanted, selecting) = match (request.server_id(), request.requested(), has_address) {
            (Some(server), _, _) if !self.config.subnets.iter().any(|s| s.address == server) => {
                // It took somebody else's offer: ours is free again.
                let pool = pool(&mut self.pools, &request)?;
                if let Some(address) = pool.held_by(&request.client)
                    && pool.hold(address, &request.client) == Some(HoldKind::Offered)
                {
                    pool.let_go(address);
                }
                return Err(DropReason::OtherServer);
            }
            (Some(_), Some(requested), false) => (requested, true),
            (None, Some(requested), false) => (requested, false),
            (_, _, true) => (ciaddr, false),
            (_, None, false) => return Err(DropReason::Malformed),
        };
        let subnet = subnet(&self.config, &request)?;
        let authoritative = subnet.authoritative;
        if !subnet.network.contains(&wanted) {
            return self.refuse(&request, "that address is not of this network");
        }
        let is_host = subnet.is_host(wanted);
        let pool = pool(&mut self.pools, &request)?;
        // One at a time: the promise under way is settled before the client gets another.
        if pool
            .pending_of(&request.client)
            .is_some_and(|a| a != wanted)
        {
            return Err(DropReason::PendingFull);
        }
        let ours = pool
            .binding_of(&request.client)
            .is_some_and(|binding| binding.address == wanted);
        let recorded = pool.binding_of(&request.client).is_some();
        let hold = pool.hold(wanted, &request.client);
        if !is_host || !pool.is_available(wanted, &request.client, now) {
            if !authoritative && !recorded && !selecting {
                return Err(DropReason::Unconfirmed);
            }
            return self.refuse(&request, "that address is not yours");
        }
        if !ours && hold.is_none() && !authoritative && !selecting {
            return Err(DropReason::Unconfirmed);
        }
        match hold {
            Some(HoldKind::Pending) => {
                // A retransmission: the ACK answers the latest.
                for pending in self.pending.values_mut() {
                    if pending.binding.address == wanted {
                        pending.request = request;
                        break;
                    }
                }
                Ok(())
            }
            Some(HoldKind::Probing) => {
                self.probe_again(wanted, request, After::Bind);
                Ok(())
            }
            // A client that has the address answers our probe itself, so it is not asked.
            _ if ours || hold.is_some() || has_address || !self.can_probe(&request) => {
                self.bind(now, request, wanted)
            }
            _ => self.probe(now, request, wanted, After::Bind, 1),
        }
    }

    pub(super) fn on_decline(&mut self, now: Instant, request: &Request) -> Result<(), DropReason> {
        let address = request.requested().ok_or(DropReason::Malformed)?;
        self.must_be_addressed_to_us(request)?;
        let pool = pool(&mut self.pools, request)?;
        let hold = pool.hold(address, &request.client);
        let offered = hold == Some(HoldKind::Offered);
        let bound = pool
            .binding_of(&request.client)
            .filter(|had| had.address == address && (had.expires > now || offered))
            .cloned();
        if hold == Some(HoldKind::Pending) || (!offered && bound.is_none()) {
            return Err(DropReason::NotTheirs);
        }
        let until = now + QUARANTINE;
        pool.quarantine(address, until);
        self.names.release(address);
        if let Some(binding) = bound {
            self.store_ended(binding, until, BindingState::Declined);
        }
        let link = request.link;
        self.outputs.push_back(Output::Event(Event::Conflict {
            link,
            address,
            mac: None,
        }));
        Ok(())
    }

    pub(super) fn on_release(&mut self, now: Instant, request: &Request) -> Result<(), DropReason> {
        self.must_be_addressed_to_us(request)?;
        let address = request.message.ciaddr;
        let pool = pool(&mut self.pools, request)?;
        let Some(mut binding) = pool
            .binding_of(&request.client)
            .filter(|binding| binding.address == address && binding.expires > now)
            .cloned()
        else {
            return Err(DropReason::NotTheirs);
        };
        if pool.hold(address, &request.client) == Some(HoldKind::Pending) {
            return Err(DropReason::NotTheirs);
        }
        self.names.release(address);
        binding.name = None;
        binding.expires = now;
        binding.state = BindingState::Released;
        pool.bind(request.client.clone(), binding.clone());
        self.store_ended(binding, now, BindingState::Released);
        Ok(())
    }

    /// RFC 2131 section 4.3.5: parameters for a client that has its address by other means.
    pub(super) fn on_inform(&mut self, request: &Request) -> Result<(), DropReason> {
        let subnet = subnet(&self.config, request)?;
        if !subnet.is_host(request.message.ciaddr) {
            return Err(DropReason::InformOutside);
        }
        let grant = Grant {
            address: Ipv4Addr::UNSPECIFIED,
            lease_s: None,
            name: None,
        };
        let reply = reply::grant(subnet, request, MessageType::Ack, &grant);
        self.send(request, reply)
    }

    pub(super) fn must_be_addressed_to_us(&self, request: &Request) -> Result<(), DropReason> {
        match request.server_id() {
            Some(server) if self.config.subnets.iter().any(|s| s.address == server) => Ok(()),
            None => Ok(()),
            Some(_) => Err(DropReason::OtherServer),
        }
    }
}
