//! From a request to a binding on disk to its ACK.

use super::drops::DropReason;
use super::pool::{Binding, BindingState, ClientKey, HoldKind};
use super::reply::Request;
use super::{
    Event, LEASE_S_MIN, LEASE_S_SHORT, OFFER_KEPT, Output, PENDING_MAX, PENDING_WAIT, Pending,
    Server, Token, pool, seconds_left, subnet,
};
use embassy_time::{Duration, Instant};
use lintel_wire::dhcpv4::MessageType;
use std::net::Ipv4Addr;

impl Server {
    /// Promises the address: to the disk first, then to the client.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        request: Request,
        address: Ipv4Addr,
    ) -> Result<(), DropReason> {
        let (lease_s, kept) = self.lease_s(now, &request, address);
        let name = self.names.choose(now, &request, address, &self.pools);
        let pool = pool(&mut self.pools, &request)?;
        if kept
            && let Some(binding) = pool.binding(address)
            && binding.name == name
            && binding.mac == request.mac
        {
            return self.send_grant(
                &request,
                MessageType::Ack,
                address,
                lease_s,
                name.as_deref(),
            );
        }
        // Later than what the client had, by the second in which disks count: after a crash
        // in between, the later one is the one it has.
        let bound = pool
            .binding_of(&request.client)
            .filter(|had| had.address != address)
            .map_or(now, |had| now.max(had.bound + Duration::from_secs(1)));
        let binding = Binding {
            address,
            mac: request.mac,
            client_id: request.client_id().map(<[u8]>::to_vec),
            name,
            bound,
            expires: now + Duration::from_secs(u64::from(lease_s)) + PENDING_WAIT,
            state: BindingState::Bound,
        };
        let client = request.client.clone();
        if !self.config.durable {
            self.outputs.push_back(Output::Event(Event::Bind {
                token: None,
                binding: binding.clone(),
            }));
            return self.acknowledge(now, request, client, binding, lease_s);
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(DropReason::PendingFull);
        }
        if let Some(probed) = pool.held_by(&client) {
            self.probes.remove(&probed);
        }
        let until = now + PENDING_WAIT;
        pool.hold_for(address, &client, HoldKind::Pending, until);
        // Taken already, so that the next client does not choose it meanwhile.
        self.names.claim(&binding);
        let token = Token(self.next_token);
        self.next_token += 1;
        self.outputs.push_back(Output::Event(Event::Bind {
            token: Some(token),
            binding: binding.clone(),
        }));
        self.pending.insert(
            token,
            Pending {
                request,
                client,
                binding,
                lease_s,
                until,
            },
        );
        Ok(())
    }

    pub(super) fn on_durable(&mut self, now: Instant, token: Token) -> Result<(), DropReason> {
        // Unknown: too late, or of an earlier configuration. The client asks again.
        let Some(pending) = self.pending.remove(&token) else {
            return Ok(());
        };
        let Pending {
            request,
            client,
            binding,
            lease_s,
            ..
        } = pending;
        self.acknowledge(now, request, client, binding, lease_s)
    }

    pub(super) fn on_not_durable(&mut self, now: Instant, token: Token) -> Result<(), DropReason> {
        let Some(pending) = self.pending.remove(&token) else {
            return Ok(());
        };
        let pool = pool(&mut self.pools, &pending.request)?;
        let address = pending.binding.address;
        let before = pool.binding(address).cloned();
        // The disk holds an older promise of the same address to the same client: what is left
        // of that may be said again.
        let left = before
            .as_ref()
            .filter(|before| covers(before, &pending, now));
        if pool.hold(address, &pending.client) == Some(HoldKind::Pending) {
            match left {
                Some(_) => pool.let_go(address),
                None => {
                    let until = now + OFFER_KEPT;
                    pool.hold_for(address, &pending.client, HoldKind::Offered, until);
                }
            }
        }
        self.names.release(address);
        if let Some(before) = &before {
            self.names.claim(before);
        }
        let Some(left) = left else {
            return Err(DropReason::NotDurable);
        };
        let lease_s = pending.lease_s.min(seconds_left(left, now));
        let name = left.name.as_deref();
        self.send_grant(&pending.request, MessageType::Ack, address, lease_s, name)
    }

    pub(super) fn on_away(&mut self, now: Instant, token: Token) -> Result<(), DropReason> {
        let Some(pending) = self.pending.get(&token) else {
            return Ok(());
        };
        let before = self
            .pools
            .get(pending.request.subnet)
            .and_then(|pool| pool.binding(pending.binding.address));
        // Of a lease from before the start nobody knows how much is left: when the clock is set, its
        // end stays where it is, and a promise made by it would be lost. The client waits.
        let of_this_start = |before: &&Binding| before.bound > Instant::MIN;
        let before = before.filter(of_this_start);
        if before.is_some_and(|before| covers(before, pending, now)) {
            return self.on_not_durable(now, token);
        }
        Ok(())
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        request: Request,
        client: ClientKey,
        binding: Binding,
        lease_s: u32,
    ) -> Result<(), DropReason> {
        let pool = pool(&mut self.pools, &request)?;
        let lease_s = lease_s.min(seconds_left(&binding, now));
        let (address, name) = (binding.address, binding.name.clone());
        let bound = binding.bound;
        self.names.claim(&binding);
        if let Some(moved) = pool.bind(client, binding) {
            // Unless its next owner's binding is on the way to the disk already.
            if !pool.is_live(moved.address, now) {
                self.names.release(moved.address);
                self.store_ended(moved, bound, BindingState::Released);
            }
        }
        self.send_grant(
            &request,
            MessageType::Ack,
            address,
            lease_s,
            name.as_deref(),
        )
    }

    pub(super) fn store_ended(
        &mut self,
        mut binding: Binding,
        expires: Instant,
        state: BindingState,
    ) {
        binding.expires = expires;
        binding.state = state;
        binding.name = None;
        self.outputs.push_back(Output::Event(Event::Bind {
            token: None,
            binding,
        }));
    }

    /// Seconds to grant, and whether the lease on disk covers them.
    pub(super) fn lease_s(
        &self,
        now: Instant,
        request: &Request,
        address: Ipv4Addr,
    ) -> (u32, bool) {
        let (Ok(subnet), Some(pool)) = (
            subnet(&self.config, request),
            self.pools.get(request.subnet),
        ) else {
            return (LEASE_S_SHORT, false);
        };
        let binding = pool
            .binding_of(&request.client)
            .filter(|binding| binding.address == address);
        let most = match (self.config.durable, binding) {
            (true, Some(_)) => subnet.lease_s,
            (true, None) if !pool.is_scarce(now) => subnet.lease_s,
            _ => subnet.lease_s.min(LEASE_S_SHORT),
        };
        let asked = request
            .message
            .options
            .u32(lintel_wire::dhcpv4::code::LEASE_TIME);
        let lease_s = match asked {
            Ok(Some(asked)) => asked.clamp(LEASE_S_MIN.min(most), most),
            _ => most,
        };
        // What was bound before the start was timed by a clock that nobody vouches for: it is
        // written anew.
        if let Some(binding) = binding
            && binding.state == BindingState::Bound
            && binding.bound > Instant::MIN
        {
            let covered = seconds_left(binding, now).min(lease_s);
            if lease_s - covered <= lease_s / 16 {
                return (covered, true);
            }
        }
        (lease_s, false)
    }
}

/// Whether a binding on disk promises what a request wants, for a while yet.
fn covers(before: &Binding, pending: &Pending, now: Instant) -> bool {
    before.state == BindingState::Bound
        && before.address == pending.binding.address
        && before.mac == pending.binding.mac
        && before.client_id == pending.binding.client_id
        && seconds_left(before, now) >= LEASE_S_MIN
}
