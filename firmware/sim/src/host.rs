//! A device of the household: the real DHCP client machine as its operating system has it, with
//! answers to ARP, habits, and questions to DNS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use embassy_time::Instant;
use lintel_proto::dhcp_client::{Client, ClientConfig, Input, Output};
use lintel_proto::rng::SeededRng;
use lintel_wire::arp::{self, ArpOperation};
use lintel_wire::dhcpv4::{MessageType, Repr, code};
use lintel_wire::dns::{Name, Packet, Rcode, Rdata, Repr as DnsRepr, RrType};
use lintel_wire::frame::{self, EthernetAddress, Frame, Payload};
use lintel_wire::ntp::{NtpTimestamp, PORT as NTP_PORT, Packet as NtpPacket};

use crate::properties::{Property, Violation};
use crate::world::{Alarm, Outside, Who, host_mac};

/// Questions of which a host remembers what it asked.
const ASKED_MAX: usize = 64;
/// Where a frame goes that is meant for the box, whatever its hardware address is.
const BOX_MAC: EthernetAddress = EthernetAddress([0x02, 0x30, 0, 0, 0, 0]);

/// A device.
pub struct Host {
    /// Its number.
    pub number: usize,
    /// What it calls itself in option 61, in place of its hardware address.
    pub client_id: Option<Vec<u8>>,
    /// Whether its cable is in.
    pub plugged: bool,
    /// An address that it uses without having asked.
    pub squats: Option<Ipv4Addr>,
    /// Its DHCP client.
    pub client: Client,
    rng: SeededRng,
    alarm: Alarm,
    asked: BTreeMap<u16, Name>,
    /// Questions that were answered with the truth.
    pub answered: u64,
    /// Nonce of the last question for the time.
    asked_time: Option<NtpTimestamp>,
    /// How often it was told the time.
    pub timed: u64,
}

impl Host {
    /// A device with its cable out.
    pub fn new(out: &mut Outside, number: usize) -> Self {
        Self {
            number,
            client_id: None,
            plugged: false,
            squats: None,
            client: new_client(out.now, number),
            rng: out.dice.rng(),
            alarm: Alarm::default(),
            asked: BTreeMap::new(),
            answered: 0,
            asked_time: None,
            timed: 0,
        }
    }

    /// The cable goes in or out.
    pub fn plug(&mut self, out: &mut Outside, plugged: bool) {
        if self.plugged == plugged {
            return;
        }
        self.plugged = plugged;
        let input = if plugged {
            Input::LinkUp
        } else {
            Input::LinkDown
        };
        self.client.handle_input(out.now, input, &mut self.rng);
        self.drain(out);
    }

    /// It gives its lease back, and is off the network.
    pub fn release(&mut self, out: &mut Outside) {
        self.client
            .handle_input(out.now, Input::Release, &mut self.rng);
        self.drain(out);
        self.plugged = false;
    }

    /// Everything it knew is gone.
    pub fn reset(&mut self, out: &mut Outside) {
        let plugged = self.plugged;
        self.client = new_client(out.now, self.number);
        self.alarm = Alarm::default();
        self.plugged = false;
        self.plug(out, plugged);
    }

    /// A frame reaches it.
    pub fn on_frame(&mut self, out: &mut Outside, octets: &[u8]) {
        let Some(frame) = Frame::parse(octets).filter(|_| self.plugged) else {
            return;
        };
        match frame.payload {
            Payload::Arp(claim) => {
                let own = self.address().filter(|own| *own == claim.target);
                if let Some(own) = own
                    && claim.operation == ArpOperation::Request
                    && claim.hardware.0 != host_mac(self.number)
                {
                    let reply = arp_reply(self.mac(), own, claim.hardware);
                    out.send_lan(Some(self.number), &reply);
                }
            }
            Payload::Udp { source, data, .. } if source.port() == 53 => {
                return self.on_answer(out, data);
            }
            Payload::Udp { source, data, .. } if source.port() == NTP_PORT => {
                return self.on_time(data);
            }
            Payload::Udp { .. } => {}
        }
        self.client
            .handle_input(out.now, Input::Frame(octets), &mut self.rng);
        self.drain(out);
    }

    /// Its deadline has come.
    pub fn wakes(&mut self, out: &mut Outside) {
        self.alarm.rang(out.now);
        self.client.handle_timeout(out.now, &mut self.rng);
        self.drain(out);
    }

    /// The address that it uses.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.squats
            .or_else(|| self.client.lease().map(|lease| lease.address))
            .filter(|_| self.plugged)
    }

    /// Asks for the address of a name that the provider's resolvers know.
    pub fn ask(&mut self, out: &mut Outside, about: u64) {
        let (Some(address), Some(lease)) = (self.address(), self.client.lease()) else {
            return;
        };
        let Some(resolver) = lease.dns.first().copied() else {
            return;
        };
        let text = format!("host-{about}-of-the-simulated-street.example.net");
        let Ok(name) = Name::from_text(&text) else {
            return;
        };
        let id = u16::try_from(out.dice.range(0, 0xffff)).unwrap_or(0);
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_first();
        }
        self.asked.insert(id, name.clone());
        let Ok(query) = DnsRepr::query(id, name, RrType::A).to_vec() else {
            return;
        };
        let octets = frame::udp(
            (self.mac(), SocketAddrV4::new(address, 40_000)),
            (BOX_MAC, SocketAddrV4::new(resolver, 53)),
            &query,
        );
        out.note("host", || format!("{} asks for {text}", self.number));
        out.send_lan(Some(self.number), &octets);
    }

    /// Asks the box for the time.
    pub fn ask_time(&mut self, out: &mut Outside) {
        let (Some(address), Some(lease)) = (self.address(), self.client.lease()) else {
            return;
        };
        let Some(router) = lease.dns.first().copied() else {
            return;
        };
        let nonce = NtpTimestamp(out.dice.range(1, u64::MAX));
        self.asked_time = Some(nonce);
        let octets = frame::udp(
            (self.mac(), SocketAddrV4::new(address, 40_123)),
            (BOX_MAC, SocketAddrV4::new(router, NTP_PORT)),
            &NtpPacket::request(nonce).emit(),
        );
        out.note("host", || format!("{} asks for the time", self.number));
        out.send_lan(Some(self.number), &octets);
    }

    /// Whether the time is right was judged where it was told.
    fn on_time(&mut self, data: &[u8]) {
        if let Ok(reply) = NtpPacket::parse(data)
            && reply.kiss().is_none()
            && self.asked_time == Some(reply.origin)
        {
            self.asked_time = None;
            self.timed += 1;
        }
    }

    fn on_answer(&mut self, out: &mut Outside, data: &[u8]) {
        let Some(reply) = Packet::new_checked(data)
            .ok()
            .and_then(|packet| DnsRepr::parse(&packet).ok())
        else {
            return;
        };
        let Some(name) = self.asked.get(&reply.id).cloned() else {
            return;
        };
        // Ids have sixteen bits: a late answer may carry the id of a newer question.
        let same = reply.question.as_ref().is_some_and(|asked| {
            let (ours, theirs) = (name.to_string(), asked.name.to_string());
            ours.eq_ignore_ascii_case(&theirs)
        });
        if !same || reply.rcode != Rcode::NOERROR || reply.answers.is_empty() {
            return;
        }
        self.asked.remove(&reply.id);
        let truth = crate::isp::true_address(&name);
        let told = reply.answers.iter().find_map(|record| match record.rdata {
            Rdata::A(address) => Some(address),
            _ => None,
        });
        if told == truth {
            self.answered += 1;
            return;
        }
        out.breaks(Violation {
            property: Property::Genuine,
            text: format!(
                "host {} is told that {name} is {told:?}, not {truth:?}",
                self.number
            ),
        });
    }

    fn drain(&mut self, out: &mut Outside) {
        loop {
            match self.client.poll_output() {
                Output::Transmit(octets) => {
                    if !self.plugged && !is_release(&octets) {
                        continue;
                    }
                    let octets = self.as_itself(octets);
                    out.note("host", || {
                        let who = self.number.to_string();
                        frame_in_words(&format!("{who} says"), &octets)
                    });
                    out.send_lan(Some(self.number), &octets);
                }
                Output::Event(event) => {
                    out.note("host", || format!("{}: {event:?}", self.number));
                }
                Output::Timeout(at) => {
                    self.alarm.set(out, Who::Host(self.number), at);
                    break;
                }
            }
        }
        let address = self.address();
        if let Some(place) = out.addresses.get_mut(self.number) {
            *place = address;
        }
    }

    fn mac(&self) -> EthernetAddress {
        EthernetAddress(host_mac(self.number))
    }

    /// The frame with the client id that this host has.
    fn as_itself(&self, octets: Vec<u8>) -> Vec<u8> {
        let Some(id) = &self.client_id else {
            return octets;
        };
        let Some(frame) = Frame::parse(&octets) else {
            return octets;
        };
        let Payload::Udp {
            source,
            destination,
            data,
        } = frame.payload
        else {
            return octets;
        };
        let Ok(mut message) = Repr::parse(data) else {
            return octets;
        };
        message.options.set(code::CLIENT_ID, id);
        match message.emit(1400) {
            Ok(payload) => frame::udp(
                (frame.source, source),
                (frame.destination, destination),
                &payload,
            ),
            Err(_) => octets,
        }
    }
}

fn new_client(now: Instant, number: usize) -> Client {
    let config = ClientConfig {
        mac: EthernetAddress(host_mac(number)),
        host_name: Some(format!("device-{}", number % 5)),
        detect: false,
    };
    Client::new(now, config, None)
}

/// That `own` is at `mac`, said to whoever asked.
pub fn arp_reply(mac: EthernetAddress, own: Ipv4Addr, to: EthernetAddress) -> Vec<u8> {
    let mut octets = arp::request(mac, own, own);
    if let Some(destination) = octets.get_mut(..6) {
        destination.copy_from_slice(&to.0);
    }
    // The low octet of the operation: 2 is a reply (RFC 826).
    if let Some(operation) = octets.get_mut(21) {
        *operation = 2;
    }
    octets
}

fn is_release(octets: &[u8]) -> bool {
    let Some(Payload::Udp { data, .. }) = Frame::parse(octets).map(|frame| frame.payload) else {
        return false;
    };
    let message = Repr::parse(data).ok();
    message.and_then(|message| message.message_type()) == Some(MessageType::Release)
}

/// A DHCP message for people.
pub fn in_words(verb: &str, message: &Repr) -> String {
    let options = &message.options;
    let kind = message
        .message_type()
        .map_or_else(|| "?".to_owned(), |kind| format!("{kind:?}"));
    let mut text = format!("{verb} {kind} xid {:08x}", message.xid);
    if let Some(mac) = message.chaddr.as_ethernet() {
        text += &format!(" of {mac}");
    }
    for (what, address) in [
        ("ciaddr", Some(message.ciaddr)),
        ("yiaddr", Some(message.yiaddr)),
        (
            "wants",
            options.addr(code::REQUESTED_ADDRESS).ok().flatten(),
        ),
        ("server", options.addr(code::SERVER_ID).ok().flatten()),
    ] {
        if let Some(address) = address.filter(|address| !address.is_unspecified()) {
            text += &format!(" {what} {address}");
        }
    }
    if let Ok(Some(lease_s)) = options.u32(code::LEASE_TIME) {
        text += &format!(" for {lease_s} s");
    }
    text
}

/// A frame for people.
pub fn frame_in_words(verb: &str, octets: &[u8]) -> String {
    match Frame::parse(octets).map(|frame| frame.payload) {
        Some(Payload::Udp { data, .. }) => match Repr::parse(data) {
            Ok(message) => in_words(verb, &message),
            Err(_) => format!("{verb} {} octets", data.len()),
        },
        Some(Payload::Arp(claim)) => format!(
            "{verb} ARP {:?} {} about {}",
            claim.operation, claim.address, claim.target
        ),
        None => format!("{verb} something"),
    }
}
