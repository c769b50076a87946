//! The DHCP server: clients, probes, the disk and the clock in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_proto::dhcp_server::{
    BINDINGS_MAX, Binding, BindingState, Destination, Event, Input, Output, PENDING_MAX,
    PROBES_MAX, Reservation, ReservedFor, Server, ServerConfig, SubnetConfig, Token, Transmit,
};
use lintel_wire::arp::{self, ArpOperation};
use lintel_wire::dhcpv4::{HardwareAddress, MESSAGE_LEN_MAX, MessageType, OpCode, Repr, code};
use lintel_wire::frame::{EthernetAddress, Frame, Payload};

use super::dhcpv4;
use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick};

/// Outputs of one input at most: each probe and each promise under way may end at once, and a
/// restart asks again for all.
const OUTPUTS_MAX: usize = 4 * (PROBES_MAX + PENDING_MAX);

const LINK: u32 = 3;
const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// No address is bound twice, none outside the pool or the reservations is given; no ACK goes out
/// before what it promises is on disk; what is sent is read by a client; tables keep their bounds
/// and no deadline lies in the past.
pub fn dhcp_server(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut lan = Lan::new(&mut u);
    while !u.is_empty() {
        lan.step(&mut u);
        lan.check();
    }
    lan.tally
}

struct Lan {
    server: Server,
    config: ServerConfig,
    now: Instant,
    /// Events on their way to the disk, in their order.
    on_the_way: Vec<(Option<Token>, Binding)>,
    disk: BTreeMap<Ipv4Addr, Binding>,
    probed: Vec<Ipv4Addr>,
    /// What the last OFFER or ACK gave, for clients that do as they are told.
    given: Option<Ipv4Addr>,
    /// The link of the message just handed in.
    tally: Tally,
}

impl Lan {
    fn new(u: &mut Unstructured<'_>) -> Self {
        let config = config(u);
        let now = Instant::from_secs(1_000);
        Self {
            server: Server::new(now, config.clone(), []).expect("the configuration is sound"),
            config,
            now,
            on_the_way: Vec::new(),
            disk: BTreeMap::new(),
            probed: Vec::new(),
            given: None,
            tally: Tally::default(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        self.tally.inputs += 1;
        match below(u, 16) {
            0..=6 => {
                let mut payload = self.client_message(u);
                if once_in(u, 6) {
                    spoil(u, &mut payload);
                }
                let link = if once_in(u, 12) { any(u) } else { LINK };
                self.input(Input::Datagram {
                    link,
                    payload: &payload,
                });
            }
            7 => {
                let mut octets = self.arp(u);
                if once_in(u, 4) {
                    spoil(u, &mut octets);
                }
                self.input(Input::Frame {
                    link: LINK,
                    octets: &octets,
                });
            }
            8..=10 => self.write(u),
            11 => {
                let token = Token(below(u, 20) as u64);
                self.input(match below(u, 2) {
                    0 => Input::NotDurable(token),
                    _ => Input::Away(token),
                });
            }
            12 if once_in(u, 4) => {
                self.config = config(u);
                self.server
                    .configure(self.now, self.config.clone())
                    .expect("sound");
                self.drain();
            }
            12 if once_in(u, 2) => self.crash(u),
            13 if once_in(u, 3) => {
                let address = Ipv4Addr::new(192, 168, 1, 10 + below(u, 16) as u8);
                // controld strikes it out before it says so.
                self.disk.remove(&address);
                self.on_the_way
                    .retain(|(_, binding)| binding.address != address);
                self.input(Input::Forget(address));
            }
            _ => {
                let ms = pick(
                    u,
                    &[0, 1, 100, 250, 1_000, 6_000, 40_000, 3_600_000, 86_400_000],
                );
                self.now += Duration::from_millis(ms);
                self.server.handle_timeout(self.now);
                self.drain();
                if let Output::Timeout(Some(at)) = self.server.poll_output() {
                    assert!(
                        at > self.now,
                        "a deadline that has passed would be met for ever"
                    );
                }
            }
        }
    }

    /// The disk has the next of what it was given.
    fn write(&mut self, u: &mut Unstructured<'_>) {
        if self.on_the_way.is_empty() {
            return;
        }
        let (token, binding) = self.on_the_way.remove(0);
        if once_in(u, 10) {
            if let Some(token) = token {
                self.input(Input::NotDurable(token));
            }
            return;
        }
        self.disk.insert(binding.address, binding);
        if let Some(token) = token {
            self.input(Input::Durable(token));
        }
    }

    /// controld came back: the server begins with what the disk has. Or the server died, and what
    /// was on its way did too.
    fn crash(&mut self, u: &mut Unstructured<'_>) {
        self.on_the_way.clear();
        let disk: Vec<Binding> = self.disk.values().cloned().collect();
        if any(u) {
            self.server
                .restart(self.now, self.config.clone(), disk)
                .expect("sound");
        } else {
            self.server = Server::new(self.now, self.config.clone(), disk).expect("sound");
        }
        self.drain();
    }

    fn client_message(&mut self, u: &mut Unstructured<'_>) -> Vec<u8> {
        if once_in(u, 8) {
            return dhcpv4::message_octets(u);
        }
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1 + below(u, 24) as u8]);
        let mut message = Repr::new(OpCode::Request, any(u), HardwareAddress::ethernet(mac));
        let kinds = [
            MessageType::Discover,
            MessageType::Discover,
            MessageType::Request,
            MessageType::Request,
            MessageType::Request,
            MessageType::Release,
            MessageType::Decline,
            MessageType::Inform,
        ];
        let kind = pick(u, &kinds);
        message.options.set(code::MESSAGE_TYPE, &[kind.into()]);
        let address = match (below(u, 4), self.given) {
            (0 | 1, Some(given)) => given,
            _ => Ipv4Addr::new(192, 168, 1, below(u, 32) as u8),
        };
        match below(u, 4) {
            0 => message.ciaddr = address,
            1 => message.options.set_addr(code::REQUESTED_ADDRESS, address),
            2 => {
                message.options.set_addr(code::REQUESTED_ADDRESS, address);
                message.options.set_addr(code::SERVER_ID, OURS);
            }
            _ => {}
        }
        if once_in(u, 4) {
            message
                .options
                .set(code::CLIENT_ID, &[255, below(u, 4) as u8]);
        }
        if once_in(u, 4) {
            message.options.set(
                code::HOST_NAME,
                pick(u, &[&b"nas"[..], b"phone", b"wpad", b"-"]),
            );
        }
        if once_in(u, 8) {
            message.giaddr = pick(
                u,
                &[
                    OURS,
                    Ipv4Addr::new(192, 168, 1, 30),
                    Ipv4Addr::new(10, 0, 0, 1),
                ],
            );
        }
        if once_in(u, 6) {
            message
                .options
                .set_u32(code::LEASE_TIME, crate::entropy::number(u));
        }
        if once_in(u, 8) {
            message.options.set(code::PARAMETER_LIST, &octets(u, 12));
        }
        message.broadcast = any(u);
        message.emit(MESSAGE_LEN_MAX).unwrap_or_default()
    }

    /// Somebody answers a probe, or claims any address.
    fn arp(&mut self, u: &mut Unstructured<'_>) -> Vec<u8> {
        let address = match self.probed.last() {
            Some(probed) if !once_in(u, 4) => *probed,
            _ => Ipv4Addr::new(192, 168, 1, below(u, 32) as u8),
        };
        let mac = EthernetAddress([2, 0, 0, 0, 0, 1 + below(u, 40) as u8]);
        let mut frame = arp::request(mac, address, OURS);
        frame[21] = pick(u, &[1, 2, 2]);
        frame
    }

    fn input(&mut self, input: Input<'_>) {
        self.server.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.server.poll_output() {
                Output::Transmit(Transmit::Datagram {
                    link, to, payload, ..
                }) => {
                    assert_eq!(link, LINK);
                    self.tally.accepted += 1;
                    self.hear(to, &payload);
                }
                Output::Transmit(Transmit::Frame { link, octets }) => {
                    assert_eq!(link, LINK);
                    match Frame::parse(&octets).map(|frame| frame.payload) {
                        Some(Payload::Arp(claim)) => {
                            assert_eq!(claim.operation, ArpOperation::Request);
                            assert!(claim.address.is_unspecified(), "a probe claims nothing");
                            self.probed.push(claim.target);
                        }
                        other => panic!("{other:?} is no probe"),
                    }
                }
                Output::Event(Event::Bind { token, binding }) => {
                    self.on_the_way.push((token, binding));
                }
                Output::Event(_) => {}
                Output::Timeout(_) => return,
            }
        }
        panic!("outputs without end");
    }

    /// What a client sees.
    fn hear(&mut self, to: Destination, payload: &[u8]) {
        assert!(payload.len() <= MESSAGE_LEN_MAX);
        let message = Repr::parse(payload).expect("we write what can be read");
        assert_eq!(message.opcode, OpCode::Reply);
        assert_eq!(message.options.addr(code::SERVER_ID), Ok(Some(OURS)));
        let address = message.yiaddr;
        match message.message_type() {
            Some(MessageType::Offer) => {
                self.check_given(address);
                self.given = Some(address);
            }
            // The answer to INFORM gives nothing.
            Some(MessageType::Ack) if address.is_unspecified() => {}
            Some(MessageType::Ack) => {
                self.check_given(address);
                self.given = Some(address);
                self.check_promise(&message);
            }
            Some(MessageType::Nak) => assert!(address.is_unspecified()),
            other => panic!("a server sends no {other:?}"),
        }
        if let Destination::Hardware { address: to, .. } = to {
            assert_eq!(*to.ip(), address);
        }
    }

    fn check_given(&self, address: Ipv4Addr) {
        let subnet = &self.config.subnets[0];
        let reserved = subnet.reservations.iter().any(|r| r.address == address);
        let in_pool = (subnet.first..=subnet.last).contains(&address);
        // A binding from before the pool moved may be kept while its network stays.
        let bound = self
            .server
            .bindings()
            .any(|binding| binding.address == address);
        assert!(
            reserved || in_pool || bound,
            "{address} is not ours to give"
        );
        assert!(
            subnet.is_host(address) && address != OURS,
            "{address} is no client's"
        );
    }

    /// What the ACK promises, the disk has: until then and for nobody else.
    fn check_promise(&self, ack: &Repr) {
        let lease_s = ack
            .options
            .u32(code::LEASE_TIME)
            .ok()
            .flatten()
            .expect("a lease has an end");
        if !self.config.durable {
            assert!(lease_s <= 600, "{lease_s} s from memory");
            return;
        }
        let kept = self.disk.get(&ack.yiaddr);
        let kept = kept.unwrap_or_else(|| panic!("{} is not on disk", ack.yiaddr));
        assert_eq!(kept.state, BindingState::Bound);
        let same_id = kept.client_id.is_some()
            && kept.client_id.as_deref() == ack.options.get(code::CLIENT_ID);
        assert!(
            ack.chaddr.as_ethernet() == Some(kept.mac) || same_id,
            "{kept:?}"
        );
        let end = self.now + Duration::from_secs(u64::from(lease_s));
        assert!(
            end <= kept.expires,
            "until {end:?}, on disk until {:?}",
            kept.expires
        );
    }

    fn check(&self) {
        let mut addresses = BTreeSet::new();
        let mut clients = BTreeSet::new();
        for binding in self.server.bindings() {
            assert!(
                addresses.insert(binding.address),
                "{} twice",
                binding.address
            );
            let live = binding.expires > self.now && binding.state == BindingState::Bound;
            let client = (binding.client_id.clone(), binding.mac);
            assert!(
                !live || clients.insert(client),
                "{binding:?} has two addresses"
            );
        }
        assert!(addresses.len() <= BINDINGS_MAX);
        // Two live bindings never share a name: names are addresses in DNS.
        let mut names = BTreeSet::new();
        for binding in self.server.bindings().filter(|b| b.expires > self.now) {
            if let Some(name) = &binding.name {
                assert!(names.insert(name.clone()), "{name} twice");
            }
        }
    }
}

fn spoil(u: &mut Unstructured<'_>, octets: &mut Vec<u8>) {
    for _ in 0..=below(u, 3) {
        if !octets.is_empty() {
            let at = below(u, octets.len());
            octets[at] = any(u);
        }
    }
    if once_in(u, 6) {
        octets.truncate(below(u, octets.len() + 1));
    }
}

fn config(u: &mut Unstructured<'_>) -> ServerConfig {
    let last = pick(u, &[10, 12, 20, 200]);
    let reserved = Reservation {
        client: match below(u, 2) {
            0 => ReservedFor::Mac(EthernetAddress([2, 0, 0, 0, 0, 3])),
            _ => ReservedFor::ClientId(vec![255, 1]),
        },
        address: Ipv4Addr::new(192, 168, 1, pick(u, &[5, 11])),
        name: Some("printer".to_owned()),
    };
    ServerConfig {
        subnets: vec![SubnetConfig {
            link: LINK,
            mac: EthernetAddress([2, 0, 0, 0, 0, 0xff]),
            address: OURS,
            network: "192.168.1.0/24".parse().expect("a network"),
            first: Ipv4Addr::new(192, 168, 1, 10),
            last: Ipv4Addr::new(192, 168, 1, last),
            lease_s: pick(u, &[120, 3_600, 86_400, u32::MAX]),
            routers: vec![OURS],
            dns: vec![OURS],
            ntp: Vec::new(),
            domain: Some("lan".to_owned()),
            search: vec!["lan".to_owned()],
            mtu: None,
            routes: Vec::new(),
            reservations: if any(u) { vec![reserved] } else { Vec::new() },
            authoritative: !once_in(u, 4),
            port: 67,
        }],
        durable: !once_in(u, 4),
        names_refused: vec!["wpad".to_owned()],
    }
}
