//! A DHCPv4 server (RFC 2131 section 4.3) for the links of one box.
//!
//! ```text
//!            DISCOVER                 no answer          REQUEST
//!   free ──────────────▶ probing ───── in time ──▶ offered ──────▶ pending
//!    ▲   unknown client     │                      ▲   │              │ Durable: ACK leaves
//!    │                      │ ARP reply   DISCOVER │   │ 30 s         ▼
//!    │                      ▼            known one │   ▼            bound ──▶ released,
//!    └── ten minutes ── quarantined ◀── DECLINE ───┴── free           │       expired
//!                           ▲                                         │         │
//!                           └──────────────── DECLINE ────────────────┘         │
//!   bound, released and expired addresses stay their client's; the longest      │
//!   expired one goes to a new client when the pool has nothing else ◀───────────┘
//! ```
//!
//! What a REQUEST means depends on three fields (section 4.3.2): a server id is SELECTING, a
//! requested address without it INIT-REBOOT, `ciaddr` RENEWING or REBINDING.
//!
//! The promise: **no ACK leaves before its binding is on disk**. [`Event::Bind`] carries a
//! token; the ACK waits for [`Input::Durable`] with it. Without a good disk
//! ([`ServerConfig::durable`] is false) leases last ten minutes, live in memory, and every
//! address that is new to its client is probed first.
//!
//! Departures from RFC 2131, each for a reason:
//! * Known clients are not probed for (section 4.3.1 has a "should"): their own address
//!   answers, and a boot waits for it.
//! * We are authoritative for the networks we route: a claim we cannot confirm is granted when
//!   the address is free and refused with a NAK when not, instead of silence that costs the
//!   client a minute.
//! * A client that asks again soon after an ACK gets what is left of its lease (15/16 of it at
//!   least) instead of a new one: what is on disk covers that, so nothing is written.
//!
//! Nothing panics on any bytes. Every table is bounded ([`PENDING_MAX`], [`PROBES_MAX`],
//! [`BINDINGS_MAX`], [`HOLDS_MAX`], [`POOL_ADDRESSES_MAX`]); one input makes a bounded number
//! of outputs, which the caller drains at once.

mod config;
mod drops;
mod names;
mod pool;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use embassy_time::{Duration, Instant};
use lintel_wire::arp;
use lintel_wire::dhcpv4::{MessageType, OpCode, Repr, SERVER_PORT};
use lintel_wire::frame::{EthernetAddress, Frame, Payload};

pub use config::{
    ConfigError, POOL_ADDRESSES_MAX, Reservation, ReservedFor, ServerConfig, SubnetConfig,
};
pub use drops::{DropReason, Drops};
pub use pool::{BINDINGS_MAX, Binding, BindingState, ClientKey, HOLDS_MAX};

use names::Names;
use pool::{HoldKind, Pool};
use reply::{Grant, Request};

/// Most bindings on their way to the disk: a second's worth of a fast disk. A message kept
/// for its ACK is at most 1.5 kB.
pub const PENDING_MAX: usize = 1024;
/// Most conflict probes under way; a flood of strangers beyond that is dropped while known
/// clients, who need no probe, go on.
pub const PROBES_MAX: usize = 512;
/// How long an answer to a conflict probe is awaited.
pub const PROBE_WAIT: Duration = Duration::from_millis(250);
/// When the probe is sent a second time.
const PROBE_AGAIN: Duration = Duration::from_millis(100);
/// Addresses tried for one message before the client has to ask again.
const PROBE_TRIES_MAX: u8 = 4;
/// How long an offer is kept for its client.
const OFFER_KEPT: Duration = Duration::from_secs(30);
/// How long the disk may take. Bindings end that much later than their clients believe, since
/// a client counts from an ACK that waited for the disk.
const PENDING_WAIT: Duration = Duration::from_secs(5);
/// How long an address stays unused after a conflict.
const QUARANTINE: Duration = Duration::from_secs(600);
/// Shortest lease given, seconds: below it renewals are a load.
const LEASE_S_MIN: u32 = 120;
/// Lease time from memory alone, and for strangers while addresses are scarce, seconds.
pub const LEASE_S_SHORT: u32 = 600;

/// Names a binding on its way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What can happen to the server.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram to our port.
    Datagram {
        /// Kernel index of the link it came in on.
        link: u32,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A frame from the probe socket of a link; only ARP means something.
    Frame {
        /// Kernel index of the link.
        link: u32,
        /// With Ethernet header.
        octets: &'a [u8],
    },
    /// The binding with this token is on disk.
    Durable(Token),
    /// It is not and will not be.
    NotDurable(Token),
    /// The householder ended a binding.
    Forget(Ipv4Addr),
}

/// What the server wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Note this.
    Event(Event),
    /// Nothing more now; call `handle_timeout` at this time, if at any.
    Timeout(Option<Instant>),
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// A datagram.
    Datagram {
        /// Link to send it on.
        link: u32,
        /// Our address and port.
        source: SocketAddrV4,
        /// To whom.
        to: Destination,
        /// Payload.
        payload: Vec<u8>,
    },
    /// A conflict probe, with Ethernet header.
    Frame {
        /// Link to send it on.
        link: u32,
        /// The frame.
        octets: Vec<u8>,
    },
}

/// Who gets a reply (RFC 2131 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A relay agent, or a client that has its address: route it.
    Unicast(SocketAddrV4),
    /// 255.255.255.255 on the link.
    Broadcast {
        /// The client's port.
        port: u16,
    },
    /// A client that does not answer ARP for its address yet. Broadcast where the shell has
    /// no packet socket.
    Hardware {
        /// Its hardware address.
        mac: EthernetAddress,
        /// The address it is about to get, and its port.
        address: SocketAddrV4,
    },
}

/// Something to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Store this, in place of whatever was stored for its address, and in the order of
    /// these events. With a token an ACK waits for [`Input::Durable`].
    Bind {
        /// What to answer with; `None` awaits no answer.
        token: Option<Token>,
        /// What to store.
        binding: Binding,
    },
    /// Somebody unknown uses an address of ours.
    Conflict {
        /// Kernel index of the link.
        link: u32,
        /// The address.
        address: Ipv4Addr,
        /// Who answered for it, when we saw it ourselves.
        mac: Option<EthernetAddress>,
    },
    /// A client found the pool empty.
    Exhausted {
        /// Kernel index of the link.
        link: u32,
    },
}

/// The server.
#[derive(Debug, Default)]
pub struct Server {
    config: ServerConfig,
    /// One per subnet, in the configuration's order.
    pools: Vec<Pool>,
    names: Names,
    probes: BTreeMap<Ipv4Addr, Probe>,
    pending: BTreeMap<Token, Pending>,
    next_token: u64,
    outputs: VecDeque<Output>,
    drops: Drops,
}

/// A question on the link whether anybody has an address.
#[derive(Debug)]
struct Probe {
    request: Request,
    then: After,
    tries: u8,
    again: Option<Instant>,
    until: Instant,
}

/// What to do when nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Offer,
    Bind,
}

/// A binding on its way to the disk, with the message that its ACK answers.
#[derive(Debug)]
struct Pending {
    request: Request,
    client: ClientKey,
    binding: Binding,
    lease_s: u32,
    until: Instant,
}

impl Server {
    /// A server with these bindings, in any order. Bindings outside the configured networks
    /// are kept out; two of one client are settled in favour of the later.
    pub fn new(
        now: Instant,
        config: ServerConfig,
        bindings: impl IntoIterator<Item = Binding>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut server = Self {
            pools: config.subnets.iter().map(Pool::new).collect(),
            names: Names::new(&config),
            config,
            ..Self::default()
        };
        let mut bindings: Vec<Binding> = bindings.into_iter().collect();
        bindings.sort_by_key(|binding| binding.bound);
        for binding in bindings {
            server.restore(now, binding);
        }
        Ok(server)
    }

    /// Serves by another configuration; bindings inside its networks stay. What was being
    /// probed or written is dropped: its client asks again. On an error nothing changes.
    pub fn configure(&mut self, now: Instant, config: ServerConfig) -> Result<(), ConfigError> {
        if config == self.config {
            return Ok(());
        }
        let bindings: Vec<Binding> = self.bindings().cloned().collect();
        let mut next = Self::new(now, config, bindings)?;
        next.next_token = self.next_token;
        next.drops = std::mem::take(&mut self.drops);
        *self = next;
        Ok(())
    }

    /// Every binding remembered, expired ones included.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.pools.iter().flat_map(Pool::bindings)
    }

    /// Packets dropped, by reason.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Takes in what happened; drain [`Server::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.expire(now);
        let outcome = match input {
            Input::Datagram { link, payload } => self.on_datagram(now, link, payload),
            Input::Frame { link, octets } => self.on_frame(now, link, octets),
            Input::Durable(token) => self.on_durable(now, token),
            Input::NotDurable(token) => self.on_not_durable(now, token),
            Input::Forget(address) => {
                self.on_forget(address);
                Ok(())
            }
        };
        if let Err(reason) = outcome {
            self.drops.count(reason);
        }
    }

    /// To be called at the time of the last [`Output::Timeout`]; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        let due = |probe: &Probe| probe.until <= now || probe.again.is_some_and(|t| t <= now);
        let due: Vec<Ipv4Addr> = self
            .probes
            .iter()
            .filter(|(_, probe)| due(probe))
            .map(|(address, _)| *address)
            .collect();
        for address in due {
            self.on_probe_due(now, address);
        }
        let late: Vec<Token> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.until <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in late {
            if let Err(reason) = self.on_not_durable(now, token) {
                self.drops.count(reason);
            }
        }
    }

    /// The next thing to do. [`Output::Timeout`] is the last one.
    pub fn poll_output(&mut self) -> Output {
        self.outputs
            .pop_front()
            .unwrap_or_else(|| Output::Timeout(self.next_deadline()))
    }

    fn next_deadline(&self) -> Option<Instant> {
        let probes = self
            .probes
            .values()
            .map(|probe| probe.again.unwrap_or(probe.until));
        let pending = self.pending.values().map(|pending| pending.until);
        probes.chain(pending).min()
    }

    fn expire(&mut self, now: Instant) {
        for pool in &mut self.pools {
            pool.expire_holds(now);
        }
    }

    fn restore(&mut self, now: Instant, binding: Binding) {
        let in_network =
            |s: &SubnetConfig| s.is_host(binding.address) && s.address != binding.address;
        let Some(subnet) = self.config.subnets.iter().position(in_network) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(subnet) else {
            return;
        };
        if binding.state == BindingState::Declined {
            if binding.expires > now {
                pool.quarantine(binding.address, binding.expires);
            }
            return;
        }
        let key = pool.key(binding.mac, binding.client_id.as_deref());
        self.names.claim(&binding);
        if let Some(moved) = pool.bind(key, binding) {
            self.names.release(moved.address);
        }
    }

    fn on_datagram(&mut self, now: Instant, link: u32, payload: &[u8]) -> Result<(), DropReason> {
        let message = Repr::parse(payload).map_err(|_| DropReason::Malformed)?;
        if message.opcode != OpCode::Request {
            return Err(DropReason::NotARequest);
        }
        let kind = message.message_type().ok_or(DropReason::Malformed)?;
        let mac = message
            .chaddr
            .as_ethernet()
            .ok_or(DropReason::BadHardware)?;
        let subnet = self.subnet_of(link, message.giaddr)?;
        let pool = self.pools.get(subnet).ok_or(DropReason::UnknownLink)?;
        let client = pool.key(mac, reply::client_id(&message));
        let request = Request {
            message,
            mac,
            client,
            subnet,
            link,
        };
        match kind {
            MessageType::Discover => self.on_discover(now, request),
            MessageType::Request => self.on_request(now, request),
            MessageType::Decline => self.on_decline(now, &request),
            MessageType::Release => self.on_release(now, &request),
            MessageType::Inform => self.on_inform(&request),
            _ => Err(DropReason::NotARequest),
        }
    }

    /// The subnet a message is about: that of its link, or its relay agent's.
    fn subnet_of(&self, link: u32, giaddr: Ipv4Addr) -> Result<usize, DropReason> {
        let subnets = &self.config.subnets;
        let of_link = subnets
            .iter()
            .position(|s| s.link == link)
            .ok_or(DropReason::UnknownLink)?;
        if giaddr.is_unspecified() {
            return Ok(of_link);
        }
        subnets
            .iter()
            .position(|s| s.is_host(giaddr) && s.address != giaddr)
            .ok_or(DropReason::UnknownRelay)
    }

    fn on_discover(&mut self, now: Instant, request: Request) -> Result<(), DropReason> {
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

    fn offer(
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

    fn on_request(&mut self, now: Instant, request: Request) -> Result<(), DropReason> {
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

    /// Promises the address: to the disk first, then to the client.
    fn bind(
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

    fn on_durable(&mut self, now: Instant, token: Token) -> Result<(), DropReason> {
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

    fn on_not_durable(&mut self, now: Instant, token: Token) -> Result<(), DropReason> {
        let Some(pending) = self.pending.remove(&token) else {
            return Ok(());
        };
        let pool = pool(&mut self.pools, &pending.request)?;
        let address = pending.binding.address;
        if pool.hold(address, &pending.client) == Some(HoldKind::Pending) {
            let until = now + OFFER_KEPT;
            pool.hold_for(address, &pending.client, HoldKind::Offered, until);
        }
        self.names.release(address);
        if let Some(before) = pool.binding(address) {
            self.names.claim(before);
        }
        Err(DropReason::NotDurable)
    }

    fn acknowledge(
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

    fn on_decline(&mut self, now: Instant, request: &Request) -> Result<(), DropReason> {
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

    fn on_release(&mut self, now: Instant, request: &Request) -> Result<(), DropReason> {
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
    fn on_inform(&mut self, request: &Request) -> Result<(), DropReason> {
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

    fn on_forget(&mut self, address: Ipv4Addr) {
        for pool in &mut self.pools {
            if pool.unbind(address).is_some() {
                self.names.release(address);
            }
        }
    }

    fn must_be_addressed_to_us(&self, request: &Request) -> Result<(), DropReason> {
        match request.server_id() {
            Some(server) if self.config.subnets.iter().any(|s| s.address == server) => Ok(()),
            None => Ok(()),
            Some(_) => Err(DropReason::OtherServer),
        }
    }

    /// Seconds to grant, and whether the lease on disk covers them.
    fn lease_s(&self, now: Instant, request: &Request, address: Ipv4Addr) -> (u32, bool) {
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
        if let Some(binding) = binding
            && binding.state == BindingState::Bound
        {
            let covered = seconds_left(binding, now).min(lease_s);
            if lease_s - covered <= lease_s / 16 {
                return (covered, true);
            }
        }
        (lease_s, false)
    }

    /// Whether the client still waits for that address; it may have gone on to another.
    fn is_probing(&self, request: &Request, address: Ipv4Addr) -> bool {
        let pool = self.pools.get(request.subnet);
        pool.and_then(|pool| pool.hold(address, &request.client)) == Some(HoldKind::Probing)
    }

    /// Behind a relay nobody hears our ARP.
    fn can_probe(&self, request: &Request) -> bool {
        subnet(&self.config, request)
            .is_ok_and(|subnet| !request.is_relayed() && subnet.link == request.link)
    }

    fn probe(
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
    fn probe_again(&mut self, address: Ipv4Addr, request: Request, then: After) {
        if let Some(probe) = self.probes.get_mut(&address) {
            probe.request = request;
            probe.then = then;
        }
    }

    fn send_probe(&mut self, request: &Request, address: Ipv4Addr) {
        if let Ok(subnet) = subnet(&self.config, request) {
            self.outputs.push_back(Output::Transmit(Transmit::Frame {
                link: subnet.link,
                octets: arp::probe(subnet.mac, address),
            }));
        }
    }

    fn on_probe_due(&mut self, now: Instant, address: Ipv4Addr) {
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

    fn on_frame(&mut self, now: Instant, link: u32, octets: &[u8]) -> Result<(), DropReason> {
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

    fn store_ended(&mut self, mut binding: Binding, expires: Instant, state: BindingState) {
        binding.expires = expires;
        binding.state = state;
        binding.name = None;
        self.outputs.push_back(Output::Event(Event::Bind {
            token: None,
            binding,
        }));
    }

    fn refuse(&mut self, request: &Request, why: &str) -> Result<(), DropReason> {
        let reply = reply::refusal(subnet(&self.config, request)?, request, why);
        self.send(request, reply)
    }

    fn send_grant(
        &mut self,
        request: &Request,
        kind: MessageType,
        address: Ipv4Addr,
        lease_s: u32,
        name: Option<&str>,
    ) -> Result<(), DropReason> {
        let grant = Grant {
            address,
            lease_s: Some(lease_s),
            name,
        };
        let reply = reply::grant(subnet(&self.config, request)?, request, kind, &grant);
        self.send(request, reply)
    }

    fn send(&mut self, request: &Request, reply: Repr) -> Result<(), DropReason> {
        let subnet = subnet(&self.config, request)?;
        let source = SocketAddrV4::new(subnet.address, subnet.port);
        let to = destination(subnet, request, &reply);
        let payload = reply::encode(reply, request.len_max()).ok_or(DropReason::TooLong)?;
        self.outputs.push_back(Output::Transmit(Transmit::Datagram {
            link: request.link,
            source,
            to,
            payload,
        }));
        Ok(())
    }
}

fn seconds_left(binding: &Binding, now: Instant) -> u32 {
    let left = binding.expires.checked_duration_since(now);
    left.map_or(0, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
}

/// RFC 2131 section 4.1.
fn destination(subnet: &SubnetConfig, request: &Request, reply: &Repr) -> Destination {
    let message = &request.message;
    let port = if subnet.port == SERVER_PORT {
        lintel_wire::dhcpv4::CLIENT_PORT
    } else {
        subnet.port.saturating_add(1)
    };
    let nak = reply.message_type() == Some(MessageType::Nak);
    if request.is_relayed() {
        Destination::Unicast(SocketAddrV4::new(message.giaddr, subnet.port))
    } else if nak {
        Destination::Broadcast { port }
    } else if subnet.is_host(message.ciaddr) {
        Destination::Unicast(SocketAddrV4::new(message.ciaddr, port))
    } else if message.broadcast {
        Destination::Broadcast { port }
    } else {
        Destination::Hardware {
            mac: request.mac,
            address: SocketAddrV4::new(reply.yiaddr, port),
        }
    }
}

fn subnet<'a>(config: &'a ServerConfig, request: &Request) -> Result<&'a SubnetConfig, DropReason> {
    config
        .subnets
        .get(request.subnet)
        .ok_or(DropReason::UnknownLink)
}

fn pool<'a>(pools: &'a mut [Pool], request: &Request) -> Result<&'a mut Pool, DropReason> {
    pools.get_mut(request.subnet).ok_or(DropReason::UnknownLink)
}
