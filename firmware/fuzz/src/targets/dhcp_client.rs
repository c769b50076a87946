//! The DHCP client: a provider, its neighbours, forgers and the clock in any order.

use std::net::{Ipv4Addr, SocketAddrV4};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_proto::dhcp_client::{
    Client, ClientConfig, Event, Input, LostReason, Output, StateName,
};
use lintel_proto::rng::SeededRng;
use lintel_wire::arp;
use lintel_wire::dhcpv4::{HardwareAddress, MESSAGE_LEN_MAX, MessageType, OpCode, Repr, code};
use lintel_wire::frame::{self, EthernetAddress, Frame, Payload, is_host_address};

use super::dhcpv4;
use crate::Tally;
use crate::entropy::{any, below, number, once_in, pick};

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xfe]);
const SERVER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 7);
/// What forgers offer, and nobody else.
const FORGED: Ipv4Addr = Ipv4Addr::new(66, 66, 66, 66);

/// Outputs of one input at most.
const OUTPUTS_MAX: usize = 16;

/// The client speaks for itself alone; a lease is sane and never a forger's; it is used from the
/// word `Bound` to the word `Lost`; no deadline lies in the past.
pub fn dhcp_client(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut street = Street::new(&mut u);
    while !u.is_empty() {
        street.step(&mut u);
        street.check();
    }
    street.tally
}

struct Street {
    client: Client,
    now: Instant,
    rng: SeededRng,
    /// What it sent last.
    asked: Option<Repr>,
    in_use: bool,
    tally: Tally,
}

impl Street {
    fn new(u: &mut Unstructured<'_>) -> Self {
        let config = ClientConfig {
            mac: MAC,
            host_name: any::<bool>(u).then(|| "box".to_owned()),
            detect: once_in(u, 4),
        };
        let now = Instant::from_secs(1_000);
        Self {
            client: Client::new(now, config, None),
            now,
            rng: SeededRng::new(any(u)),
            asked: None,
            in_use: false,
            tally: Tally::default(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        self.tally.inputs += 1;
        match below(u, 16) {
            0 => self.input(Input::LinkUp),
            1 if once_in(u, 4) => self.input(Input::LinkDown),
            2 if once_in(u, 4) => self.input(Input::Release),
            2 => self.input(Input::Claim),
            3 => {
                let address = if once_in(u, 3) { dhcp_address(u) } else { OURS };
                let mac = pick(u, &[MAC, SERVER_MAC, EthernetAddress([2, 0, 0, 0, 0, 9])]);
                let mut octets = arp::request(mac, address, pick(u, &[OURS, SERVER]));
                octets[21] = pick(u, &[1, 2]);
                self.input(Input::Frame(&octets));
            }
            4..=8 => {
                let mut octets = self.server_frame(u);
                if once_in(u, 6) {
                    let at = below(u, octets.len());
                    // Not into the header and addresses, or a forgery could become the truth.
                    if at > 42 + 240 {
                        octets[at] = any(u);
                    }
                }
                self.input(Input::Frame(&octets));
            }
            9 => {
                let octets = super::link::frame_octets(u);
                self.input(Input::Frame(&octets));
            }
            _ => {
                let ms = [0, 300, 1_000, 64_000, 600_000, 43_200_000, 864_000_000];
                match self.client.poll_output() {
                    Output::Timeout(Some(at)) if !once_in(u, 4) => self.now = at.max(self.now),
                    _ => self.now += Duration::from_millis(pick(u, &ms)),
                }
                // One timer may wake the next: T2 follows T1 after a long sleep.
                for _ in 0..3 {
                    self.client.handle_timeout(self.now, &mut self.rng);
                    self.drain();
                }
                if let Output::Timeout(Some(at)) = self.client.poll_output() {
                    assert!(
                        at > self.now,
                        "{:?}: {at:?} has passed",
                        self.client.state()
                    );
                }
            }
        }
    }

    /// The server's answer to what was asked last, or a forgery.
    fn server_frame(&mut self, u: &mut Unstructured<'_>) -> Vec<u8> {
        let forged = once_in(u, 5);
        let (xid, chaddr) = match &self.asked {
            Some(asked) => (asked.xid, asked.chaddr),
            None => (0, HardwareAddress::ethernet(MAC)),
        };
        let mut message = Repr::new(OpCode::Reply, xid, chaddr);
        let fitting = match self.asked.as_ref().and_then(Repr::message_type) {
            Some(MessageType::Request) => MessageType::Ack,
            _ => MessageType::Offer,
        };
        let kinds = [MessageType::Offer, MessageType::Ack, MessageType::Nak];
        let kind = if once_in(u, 4) {
            pick(u, &kinds)
        } else {
            fitting
        };
        message.options.set(code::MESSAGE_TYPE, &[kind.into()]);
        message.yiaddr = if once_in(u, 12) {
            dhcp_address(u)
        } else {
            OURS
        };
        message.options.set_addr(code::SERVER_ID, SERVER);
        message.options.set_addr(
            code::SUBNET_MASK,
            (u32::MAX << pick(u, &[8, 8, 8, 8, 0, 1, 16, 31])).into(),
        );
        let lease_s = if once_in(u, 4) { number(u) } else { 3600 };
        message.options.set_u32(code::LEASE_TIME, lease_s);
        message.options.set_addrs(code::ROUTER, &[SERVER]);
        if once_in(u, 5) {
            let extra = dhcpv4::message(u);
            for (option, value) in extra.options.iter() {
                if option != code::MESSAGE_TYPE {
                    message.options.set(option, value);
                }
            }
        }
        if forged {
            message.yiaddr = FORGED;
            if any(u) {
                message.xid ^= 1 + below(u, 0xffff) as u32;
            } else {
                message.chaddr =
                    HardwareAddress::ethernet(EthernetAddress([2, 0, 0, 0, 1, any(u)]));
            }
        }
        let payload = message.emit(MESSAGE_LEN_MAX).unwrap_or_default();
        frame::udp(
            (SERVER_MAC, SocketAddrV4::new(SERVER, 67)),
            (MAC, SocketAddrV4::new(OURS, 68)),
            &payload,
        )
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.client.poll_output() {
                Output::Transmit(octets) => self.hear(&octets),
                Output::Event(Event::Bound { lease, .. }) => {
                    assert!(lease.is_live(self.now), "{lease:?} has ended");
                    self.in_use = true;
                    self.tally.accepted += 1;
                    assert_eq!(
                        self.client.lease().map(|lease| lease.address),
                        Some(lease.address)
                    );
                }
                Output::Event(Event::Lost(reason)) => {
                    // A conflict found before the first use is told too.
                    assert!(
                        self.in_use || reason == LostReason::Conflict,
                        "{reason:?} before its use"
                    );
                    self.in_use = false;
                }
                Output::Event(_) => {}
                Output::Timeout(_) => return,
            }
        }
        panic!("outputs without end");
    }

    fn hear(&mut self, octets: &[u8]) {
        let sent = Frame::parse(octets).expect("we write what can be read");
        assert_eq!(sent.source, MAC);
        match sent.payload {
            Payload::Arp(claim) => assert_eq!(claim.hardware, MAC),
            Payload::Udp {
                source,
                destination,
                data,
            } => {
                assert_eq!((source.port(), destination.port()), (68, 67));
                let message = Repr::parse(data).expect("we write what can be read");
                assert_eq!(message.opcode, OpCode::Request);
                assert_eq!(message.chaddr.as_ethernet(), Some(MAC));
                let held = self.client.lease().map(|lease| lease.address);
                let own = message.ciaddr.is_unspecified() || Some(message.ciaddr) == held;
                let release = message.message_type() == Some(MessageType::Release);
                assert!(own || release, "speaks from {}", message.ciaddr);
                self.asked = Some(message);
            }
        }
    }

    fn check(&self) {
        assert_eq!(
            self.client.lease().is_some(),
            self.in_use,
            "{:?}",
            self.client.state()
        );
        if matches!(
            self.client.state(),
            StateName::Bound | StateName::Renewing | StateName::Rebinding
        ) {
            assert!(self.in_use, "{:?} without a lease", self.client.state());
        }
        if let Some(lease) = self.client.lease() {
            assert_ne!(lease.address, FORGED);
            assert!(is_host_address(lease.address) && is_host_address(lease.server));
            assert!(
                lease.prefix_len <= 32
                    && lease.renew_s < lease.rebind_s
                    && lease.rebind_s < lease.lease_s
            );
            assert!(lease.routers.len() <= 8 && lease.dns.len() <= 8 && lease.ntp.len() <= 8);
            assert!(lease.routes.len() <= 16 && lease.search.len() <= 16);
            assert!(lease.mtu.is_none_or(|mtu| mtu >= 576));
        }
    }
}

/// Any address but the forger's.
fn dhcp_address(u: &mut Unstructured<'_>) -> Ipv4Addr {
    match crate::entropy::ipv4(u) {
        FORGED => OURS,
        address => address,
    }
}
