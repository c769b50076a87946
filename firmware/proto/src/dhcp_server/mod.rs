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
//!   least) instead of a new one: what is on disk covers that, so nothing is written. When the
//!   disk does not take the new one, it gets what is left if that is two minutes at least.
//!
//! Nothing panics on any bytes. Every table is bounded ([`PENDING_MAX`], [`PROBES_MAX`],
//! [`BINDINGS_MAX`], [`HOLDS_MAX`], [`POOL_ADDRESSES_MAX`]); one input makes a bounded number
//! of outputs, which the caller drains at once.

mod config;
mod drops;
mod names;
mod pool;
mod probing;
mod promises;
mod reply;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use embassy_time::{Duration, Instant};
use lintel_wire::dhcpv4::{MessageType, OpCode, Repr, SERVER_PORT};
use lintel_wire::frame::EthernetAddress;

pub use config::{
    ConfigError, POOL_ADDRESSES_MAX, Reservation, ReservedFor, ServerConfig, SubnetConfig,
};
pub use drops::{DropReason, Drops};
pub use pool::{BINDINGS_MAX, Binding, BindingState, ClientKey, HOLDS_MAX};

use names::Names;
use pool::Pool;
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
    /// Nobody is there to put it on disk. What the disk holds already covers a client that
    /// only wants more time; the others wait for [`Server::restart`].
    Away(Token),
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

    /// Serves by another configuration; bindings inside its networks stay, and those
    /// outside are forgotten ([`Server::restart`] brings them back). What was being
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

    /// Begins anew with the bindings that the disk has, as [`Server::new`] does. Whose binding was
    /// on its way to the disk is served now, as if it had just asked. On an error nothing changes.
    pub fn restart(
        &mut self,
        now: Instant,
        config: ServerConfig,
        bindings: impl IntoIterator<Item = Binding>,
    ) -> Result<(), ConfigError> {
        // What was given back while these bindings were on their way stays given back: the disk
        // hears of it, or has heard of it, after it told them.
        let released: Vec<Binding> = self
            .bindings()
            .filter(|binding| binding.state == BindingState::Released)
            .cloned()
            .collect();
        let bindings = bindings.into_iter().map(|binding| {
            let mut known = released.iter();
            let same = known.find(|known| {
                known.address == binding.address
                    && known.mac == binding.mac
                    && known.client_id == binding.client_id
            });
            same.cloned().unwrap_or(binding)
        });
        let mut next = Self::new(now, config, bindings)?;
        // Tokens are never used twice: an answer about an old one must not count for a new one.
        next.next_token = self.next_token;
        next.drops = std::mem::take(&mut self.drops);
        let waiting = std::mem::replace(self, next).pending;
        for pending in waiting.into_values() {
            if let Err(reason) = self.ask_again(now, pending) {
                self.drops.count(reason);
            }
        }
        Ok(())
    }

    /// Answers a client that waited when the bindings were told anew.
    fn ask_again(&mut self, now: Instant, pending: Pending) -> Result<(), DropReason> {
        let mut request = pending.request;
        let promised = pending.binding.address;
        let subnet = self.subnet_of(request.link, request.message.giaddr)?;
        let pool = self.pools.get_mut(subnet).ok_or(DropReason::UnknownLink)?;
        request.client = pool.key(request.mac, reply::client_id(&request.message));
        // It gave up what these bindings say when it asked for another, and the disk will know
        // that one as the later.
        if let Some(had) = pool.binding_of(&request.client)
            && had.address != promised
        {
            let given_up = had.address;
            pool.unbind(given_up);
            self.names.release(given_up);
        }
        request.subnet = subnet;
        self.on_request(now, request)
    }

    /// Every binding remembered, expired ones included.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.pools.iter().flat_map(Pool::bindings)
    }

    /// Bindings on their way to the disk, at most [`PENDING_MAX`].
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Conflict probes under way, at most [`PROBES_MAX`].
    pub fn probes(&self) -> usize {
        self.probes.len()
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
            Input::Away(token) => self.on_away(now, token),
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

    fn on_forget(&mut self, address: Ipv4Addr) {
        for pool in &mut self.pools {
            if pool.unbind(address).is_some() {
                self.names.release(address);
            }
        }
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
