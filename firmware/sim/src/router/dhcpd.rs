//! dhcpd: the real server; what its shell does around it.

use std::net::{Ipv4Addr, SocketAddrV4};

use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::netd::HandOver;
use lintel_model::RoleName;
use lintel_model::services::DhcpSpec;
use lintel_proto::dhcp_server::{
    Destination, Event, Input, Output, Server, ServerConfig, Token, Transmit,
};
use lintel_roles::dhcpd::convert::{from_disk, to_disk};
use lintel_roles::now::Now;
use lintel_wire::arp::ArpOperation;
use lintel_wire::dhcpv4::{Repr, SERVER_PORT};
use lintel_wire::frame::{self, EthernetAddress, Frame, Payload};
use lintel_wire::ntp::PORT as NTP_PORT;

use super::{BRIDGE, LAN_PORT, Router};
use crate::world::{Alarm, Outside, Said, Who, host_mac};

/// A binding that nobody waits for, as the shell says it.
const NOBODY_WAITS: u64 = u64::MAX;

/// The role.
#[derive(Debug, Default)]
pub struct Dhcpd {
    lives: u64,
    alive: bool,
    /// The machine.
    pub server: Server,
    /// What it serves; `None` until controld spoke.
    pub spec: Option<DhcpSpec>,
    /// The session began with its snapshot.
    pub(super) begun: bool,
    /// Link of its packet socket.
    packet: Option<u32>,
    alarm: Alarm,
}

impl Dhcpd {
    /// Its life, when it runs.
    pub fn life(&self) -> Option<u64> {
        self.alive.then_some(self.lives)
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            lives: self.lives,
            ..Self::default()
        };
    }

    pub(super) fn start(&mut self) {
        self.lives += 1;
        self.alive = true;
    }
}

impl Router {
    pub(super) fn dhcpd_told(&mut self, out: &mut Outside, message: ToDhcpd) {
        let clocks = self.clocks(out.now);
        let now = clocks.mono;
        match message {
            ToDhcpd::Snapshot {
                spec,
                bindings,
                start_unix_s,
            } => {
                let stored = bindings.clone();
                let told = Now::since_start(now, start_unix_s);
                let bindings = from_disk(told, bindings);
                out.note("dhcpd", || format!("begins with {} bindings", stored.len()));
                out.ledger.respecified(out.now, &spec);
                let lost = out
                    .ledger
                    .survived(out.now, told.unix_s, &stored, Some(&spec));
                out.breaks(lost);
                self.dhcpd.begun = true;
                let begun = self
                    .dhcpd
                    .server
                    .restart(now, ServerConfig::from(&spec), bindings);
                if let Err(error) = begun {
                    return out.note("dhcpd", || format!("cannot start: {error}"));
                }
                self.dhcpd.spec = Some(spec);
            }
            ToDhcpd::Durable { token } => {
                self.dhcpd
                    .server
                    .handle_input(now, Input::Durable(Token(token)));
            }
            ToDhcpd::NotDurable { token } => {
                self.dhcpd
                    .server
                    .handle_input(now, Input::NotDurable(Token(token)));
            }
            ToDhcpd::Forget { address } => {
                out.ledger.forgotten(address);
                self.dhcpd.server.handle_input(now, Input::Forget(address));
            }
        }
        self.dhcpd_drains(out);
    }

    pub(super) fn dhcpd_socket(&mut self, what: &HandOver) {
        match what {
            HandOver::Socket { index, .. } => self.dhcpd.packet = Some(*index),
            HandOver::Gone { .. } => self.dhcpd.packet = None,
        }
    }

    /// A frame from the house.
    pub fn on_lan(&mut self, out: &mut Outside, octets: &[u8]) {
        if !self.on {
            return;
        }
        self.wand_frame(out, LAN_PORT, octets, None);
        let Some(frame) = Frame::parse(octets) else {
            return;
        };
        let Some(link) = self.bridged() else { return };
        let now = self.clocks(out.now).mono;
        match frame.payload {
            // The filter of the packet socket passes ARP replies alone.
            Payload::Arp(claim) if claim.operation == ArpOperation::Reply => {
                if self.dhcpd.packet == Some(link) {
                    self.dhcpd
                        .server
                        .handle_input(now, Input::Frame { link, octets });
                }
            }
            Payload::Arp(_) => {}
            Payload::Udp {
                destination, data, ..
            } if destination.port() == SERVER_PORT => {
                if self.dhcpd.alive && self.dhcpd.spec.is_some() && self.is_open() {
                    if let Ok(message) = Repr::parse(data) {
                        out.note("dhcpd", || crate::host::in_words("hears", &message));
                        out.ledger.heard(&message);
                    }
                    let payload = data;
                    self.dhcpd
                        .server
                        .handle_input(now, Input::Datagram { link, payload });
                }
            }
            Payload::Udp {
                source,
                destination,
                data,
            } if destination.port() == 53 => {
                self.dnsd_asked(out, link, source, *destination.ip(), data);
            }
            Payload::Udp {
                source,
                destination,
                data,
            } if destination.port() == NTP_PORT => {
                self.timed_asked(out, source, *destination.ip(), data);
            }
            Payload::Udp { .. } => {}
        }
        self.dhcpd_drains(out);
    }

    /// dhcpd's deadline has come.
    pub fn dhcpd_wakes(&mut self, out: &mut Outside) {
        self.dhcpd.alarm.rang(out.now);
        let now = self.clocks(out.now).mono;
        self.dhcpd.server.handle_timeout(now);
        self.dhcpd_drains(out);
    }

    fn dhcpd_drains(&mut self, out: &mut Outside) {
        if !self.dhcpd.alive {
            return;
        }
        let clocks = self.clocks(out.now);
        loop {
            match self.dhcpd.server.poll_output() {
                Output::Transmit(Transmit::Frame { octets, .. }) => {
                    if self.dhcpd.packet.is_some() && self.bridged().is_some() {
                        out.send_lan(None, &octets);
                    }
                }
                Output::Transmit(Transmit::Datagram {
                    source,
                    to,
                    payload,
                    ..
                }) => self.dhcpd_sends(out, source, to, &payload),
                Output::Event(event) => self.dhcpd_event(out, event),
                Output::Timeout(at) => {
                    let at = clocks.true_time(at);
                    self.dhcpd.alarm.set(out, Who::Role(RoleName::Dhcpd), at);
                    return;
                }
            }
        }
    }

    fn dhcpd_event(&mut self, out: &mut Outside, event: Event) {
        match event {
            Event::Bind { token, binding } => {
                let now = self.clocks(out.now).now();
                let message = FromDhcpd::Bind {
                    token: token.map_or(NOBODY_WAITS, |token| token.0),
                    binding: to_disk(now, binding),
                    start_unix_s: now.start_unix_s(),
                };
                let told =
                    self.dhcpd.begun && self.tell(out, RoleName::Dhcpd, Said::FromDhcpd(message));
                if let Some(token) = token.filter(|_| !told) {
                    self.dhcpd.server.handle_input(now.mono, Input::Away(token));
                }
            }
            Event::Conflict { address, .. } => {
                out.note("dhcpd", || format!("{address} is somebody's; set aside"));
            }
            Event::Exhausted { .. } => out.note("dhcpd", || "the pool is empty".to_owned()),
        }
    }

    fn dhcpd_sends(
        &mut self,
        out: &mut Outside,
        source: SocketAddrV4,
        to: Destination,
        payload: &[u8],
    ) {
        if let Ok(message) = Repr::parse(payload) {
            out.note("dhcpd", || crate::host::in_words("says", &message));
            let broken = out.ledger.sent(out.now, &message);
            out.breaks(broken);
        }
        let (Some(_), Some(own)) = (self.bridged(), self.lan_mac()) else {
            return;
        };
        let (mac, peer) = match to {
            Destination::Hardware { mac, address } if self.dhcpd.packet.is_some() => (mac, address),
            Destination::Hardware { address, .. } => (
                EthernetAddress::BROADCAST,
                SocketAddrV4::new(Ipv4Addr::BROADCAST, address.port()),
            ),
            Destination::Broadcast { port } => (
                EthernetAddress::BROADCAST,
                SocketAddrV4::new(Ipv4Addr::BROADCAST, port),
            ),
            Destination::Unicast(peer) => match neighbour(out, *peer.ip(), payload) {
                Some(host) => (EthernetAddress(host_mac(host)), peer),
                None => return,
            },
        };
        let octets = frame::udp((own, source), (mac, peer), payload);
        out.send_lan(None, &octets);
    }

    /// The bridge's index, when the house can be reached through it.
    pub(super) fn bridged(&self) -> Option<u32> {
        let bridge = self.link(BRIDGE).filter(|bridge| bridge.up)?;
        let port = self.link(LAN_PORT)?;
        let in_it = port.master.as_ref().is_some_and(|m| m.as_str() == BRIDGE);
        (in_it && port.up && port.carrier).then_some(bridge.index)
    }

    /// Whether the ruleset lets the house in.
    pub(super) fn is_open(&self) -> bool {
        let table = self.kernel.state.nft.as_ref();
        table.is_some_and(|table| *table != lintel_netlink::kernel::closed_table())
    }

    pub(super) fn lan_mac(&self) -> Option<EthernetAddress> {
        let mac = self.link(BRIDGE)?.mac?;
        Some(EthernetAddress(mac.0))
    }
}

/// Who has an address: of two that believe to, the one that just asked.
fn neighbour(out: &Outside, address: Ipv4Addr, payload: &[u8]) -> Option<usize> {
    let message = Repr::parse(payload).ok();
    let mac = message.and_then(|message| message.chaddr.as_ethernet());
    let asked = (0..out.hosts).find(|host| mac.is_some_and(|mac| mac.0 == host_mac(*host)));
    asked
        .filter(|host| out.addresses.get(*host) == Some(&Some(address)))
        .or_else(|| out.neighbour(address))
}
