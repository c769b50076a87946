//! A server, its clock and its disk, and what clients of its network send.

use super::*;

pub(super) const LINK: u32 = 3;
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

pub(super) fn addr(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, last)
}

pub(super) fn mac(n: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, n])
}

pub(super) fn subnet_config() -> SubnetConfig {
    SubnetConfig {
        link: LINK,
        mac: mac(255),
        address: ROUTER,
        network: "192.168.1.0/24".parse().unwrap(),
        first: addr(100),
        last: addr(103),
        lease_s: 3600,
        routers: vec![ROUTER],
        dns: vec![ROUTER],
        ntp: vec![],
        domain: Some("lan".into()),
        search: vec!["lan".into()],
        mtu: None,
        routes: vec![],
        reservations: vec![Reservation {
            client: ReservedFor::Mac(mac(50)),
            address: addr(50),
            name: Some("nas".into()),
        }],
        authoritative: true,
        port: 67,
    }
}

pub(super) fn config() -> ServerConfig {
    ServerConfig {
        subnets: vec![subnet_config()],
        durable: true,
        names_refused: vec!["wpad".into()],
    }
}

/// A server, its clock and its disk.
pub(super) struct Lan {
    pub(super) server: Server,
    pub(super) now: Instant,
    pub(super) disk: BTreeMap<Ipv4Addr, Binding>,
    /// The disk answers at once.
    pub(super) disk_works: bool,
    pub(super) events: Vec<Event>,
    pub(super) probes: Vec<Ipv4Addr>,
}

impl Lan {
    pub(super) fn new(config: ServerConfig) -> Self {
        let now = Instant::from_secs(1000);
        Self {
            server: Server::new(now, config, []).unwrap(),
            now,
            disk: BTreeMap::new(),
            disk_works: true,
            events: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Gives the server a message and returns its replies, those after the probe's time too.
    pub(super) fn send(&mut self, message: &Repr) -> Vec<(Repr, Destination)> {
        self.give(message);
        let replies = self.drain();
        if replies.is_empty() {
            return self.wait_for_probes();
        }
        replies
    }

    /// Nobody is there to write the last binding.
    pub(super) fn away(&mut self) {
        let Some(Event::Bind { token, .. }) = self.events.pop() else {
            panic!("nothing to store");
        };
        self.server
            .handle_input(self.now, Input::Away(token.unwrap()));
    }

    /// What is sent now and until no probe is under way.
    pub(super) fn wait_for_probes(&mut self) -> Vec<(Repr, Destination)> {
        let mut replies = self.drain();
        while !self.server.probes.is_empty() {
            let Output::Timeout(Some(at)) = self.server.poll_output() else {
                break;
            };
            self.now = at;
            self.server.handle_timeout(at);
            replies.extend(self.drain());
        }
        replies
    }

    pub(super) fn give(&mut self, message: &Repr) {
        let payload = message.emit(1400).unwrap();
        self.server.handle_input(
            self.now,
            Input::Datagram {
                link: LINK,
                payload: &payload,
            },
        );
    }

    pub(super) fn one(&mut self, message: &Repr) -> Repr {
        let mut replies = self.send(message);
        assert_eq!(replies.len(), 1, "{:?}", self.server.drops());
        replies.remove(0).0
    }

    pub(super) fn drain(&mut self) -> Vec<(Repr, Destination)> {
        let mut replies = Vec::new();
        loop {
            match self.server.poll_output() {
                Output::Timeout(_) => return replies,
                Output::Transmit(Transmit::Datagram { to, payload, .. }) => {
                    replies.push((Repr::parse(&payload).unwrap(), to));
                }
                Output::Transmit(Transmit::Frame { octets, .. }) => {
                    let Payload::Arp(claim) = Frame::parse(&octets).unwrap().payload else {
                        panic!("a frame that is no probe");
                    };
                    assert!(claim.address.is_unspecified());
                    self.probes.push(claim.target);
                }
                Output::Event(event) => {
                    if let Event::Bind { token, binding } = &event
                        && self.disk_works
                    {
                        self.disk.insert(binding.address, binding.clone());
                        if let Some(token) = token {
                            self.server.handle_input(self.now, Input::Durable(*token));
                        }
                    }
                    self.events.push(event);
                }
            }
        }
    }

    pub(super) fn answer_probe(&mut self, address: Ipv4Addr, from: EthernetAddress) {
        let octets = arp_reply(address, from);
        self.server.handle_input(
            self.now,
            Input::Frame {
                link: LINK,
                octets: &octets,
            },
        );
    }

    /// DISCOVER and REQUEST.
    pub(super) fn join(&mut self, client: EthernetAddress, name: &str) -> Binding {
        let mut discover = message(MessageType::Discover, client);
        discover.options.set(code::HOST_NAME, name.as_bytes());
        let offer = self.one(&discover);
        assert_eq!(offer.message_type(), Some(MessageType::Offer));
        let mut request = selecting(client, offer.yiaddr);
        request.options.set(code::HOST_NAME, name.as_bytes());
        let ack = self.one(&request);
        assert_eq!(ack.message_type(), Some(MessageType::Ack));
        self.disk[&ack.yiaddr].clone()
    }

    pub(super) fn crash(&mut self) {
        let config = self.server.config.clone();
        self.server = Server::new(self.now, config, self.disk.values().cloned()).unwrap();
    }

    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.server.drops().get(reason)
    }
}

pub(super) fn arp_reply(address: Ipv4Addr, from: EthernetAddress) -> Vec<u8> {
    let mut octets = vec![0; 42];
    let mut frame = EthernetFrame::new_unchecked(&mut octets[..]);
    frame.set_src_addr(from);
    frame.set_dst_addr(mac(255));
    frame.set_ethertype(smoltcp::wire::EthernetProtocol::Arp);
    ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: from,
        source_protocol_addr: address,
        target_hardware_addr: mac(255),
        target_protocol_addr: Ipv4Addr::UNSPECIFIED,
    }
    .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    octets
}

pub(super) fn message(kind: MessageType, client: EthernetAddress) -> Repr {
    let mut message = Repr::new(OpCode::Request, 7, HardwareAddress::ethernet(client));
    message.options.set(code::MESSAGE_TYPE, &[kind.into()]);
    message
}

pub(super) fn selecting(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = reboot(client, address);
    request.options.set_addr(code::SERVER_ID, ROUTER);
    request
}

pub(super) fn reboot(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = message(MessageType::Request, client);
    request.options.set_addr(code::REQUESTED_ADDRESS, address);
    request
}

pub(super) fn renewing(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = message(MessageType::Request, client);
    request.ciaddr = address;
    request
}
