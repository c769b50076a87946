//! The server's conversations, and what must hold in every one of them.

use std::collections::BTreeMap;

use lintel_wire::dhcpv4::{ClientFqdn, HardwareAddress, code};
use lintel_wire::frame::{self, Frame, Payload};
use proptest::prelude::*;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetFrame};

use super::*;

const LINK: u32 = 3;
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

fn addr(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, last)
}

fn mac(n: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, n])
}

fn subnet_config() -> SubnetConfig {
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

fn config() -> ServerConfig {
    ServerConfig {
        subnets: vec![subnet_config()],
        durable: true,
        names_refused: vec!["wpad".into()],
    }
}

/// A server, its clock and its disk.
struct Lan {
    server: Server,
    now: Instant,
    disk: BTreeMap<Ipv4Addr, Binding>,
    /// The disk answers at once.
    disk_works: bool,
    events: Vec<Event>,
    probes: Vec<Ipv4Addr>,
}

impl Lan {
    fn new(config: ServerConfig) -> Self {
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
    fn send(&mut self, message: &Repr) -> Vec<(Repr, Destination)> {
        self.give(message);
        let replies = self.drain();
        if replies.is_empty() {
            return self.wait_for_probes();
        }
        replies
    }

    /// Nobody is there to write the last binding.
    fn away(&mut self) {
        let Some(Event::Bind { token, .. }) = self.events.pop() else {
            panic!("nothing to store");
        };
        self.server
            .handle_input(self.now, Input::Away(token.unwrap()));
    }

    /// What is sent now and until no probe is under way.
    fn wait_for_probes(&mut self) -> Vec<(Repr, Destination)> {
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

    fn give(&mut self, message: &Repr) {
        let payload = message.emit(1400).unwrap();
        self.server.handle_input(
            self.now,
            Input::Datagram {
                link: LINK,
                payload: &payload,
            },
        );
    }

    fn one(&mut self, message: &Repr) -> Repr {
        let mut replies = self.send(message);
        assert_eq!(replies.len(), 1, "{:?}", self.server.drops());
        replies.remove(0).0
    }

    fn drain(&mut self) -> Vec<(Repr, Destination)> {
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

    fn answer_probe(&mut self, address: Ipv4Addr, from: EthernetAddress) {
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
    fn join(&mut self, client: EthernetAddress, name: &str) -> Binding {
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

    fn crash(&mut self) {
        let config = self.server.config.clone();
        self.server = Server::new(self.now, config, self.disk.values().cloned()).unwrap();
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.server.drops().get(reason)
    }
}

fn arp_reply(address: Ipv4Addr, from: EthernetAddress) -> Vec<u8> {
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

fn message(kind: MessageType, client: EthernetAddress) -> Repr {
    let mut message = Repr::new(OpCode::Request, 7, HardwareAddress::ethernet(client));
    message.options.set(code::MESSAGE_TYPE, &[kind.into()]);
    message
}

fn selecting(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = reboot(client, address);
    request.options.set_addr(code::SERVER_ID, ROUTER);
    request
}

fn reboot(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = message(MessageType::Request, client);
    request.options.set_addr(code::REQUESTED_ADDRESS, address);
    request
}

fn renewing(client: EthernetAddress, address: Ipv4Addr) -> Repr {
    let mut request = message(MessageType::Request, client);
    request.ciaddr = address;
    request
}

#[test]
fn a_stranger_is_probed_for_and_a_known_client_is_not() {
    let mut lan = Lan::new(config());
    let before = lan.now;
    let binding = lan.join(mac(1), "Laptop");
    assert_eq!(lan.probes, [binding.address; 2]);
    assert_eq!(lan.now - before, PROBE_WAIT);
    assert_eq!(binding.name.as_deref(), Some("laptop"));
    lan.probes.clear();
    assert_eq!(lan.join(mac(1), "Laptop"), binding);
    lan.now += Duration::from_secs(7200);
    assert_eq!(lan.join(mac(1), "Laptop").address, binding.address);
    assert!(lan.probes.is_empty());
}

#[test]
fn the_ack_waits_for_the_disk() {
    let mut lan = Lan::new(config());
    lan.disk_works = false;
    let offer = lan.one(&message(MessageType::Discover, mac(1)));
    assert!(lan.send(&selecting(mac(1), offer.yiaddr)).is_empty());
    let Some(Event::Bind {
        token: Some(token), ..
    }) = lan.events.pop()
    else {
        panic!("no binding to store");
    };
    // A retransmission neither doubles the write nor gets past it.
    assert!(lan.send(&selecting(mac(1), offer.yiaddr)).is_empty());
    assert!(lan.events.is_empty());
    lan.server.handle_input(lan.now, Input::Durable(token));
    let acks = lan.drain();
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].0.message_type(), Some(MessageType::Ack));
    // And once is enough.
    lan.server.handle_input(lan.now, Input::Durable(token));
    assert!(lan.drain().is_empty());
}

#[test]
fn a_failing_disk_means_silence_and_the_next_try_works() {
    let mut lan = Lan::new(config());
    lan.disk_works = false;
    let offer = lan.one(&message(MessageType::Discover, mac(1)));
    assert!(lan.send(&selecting(mac(1), offer.yiaddr)).is_empty());
    lan.server
        .handle_input(lan.now, Input::NotDurable(Token(0)));
    assert!(lan.drain().is_empty());
    assert_eq!(lan.drops(DropReason::NotDurable), 1);
    lan.disk_works = true;
    let ack = lan.one(&selecting(mac(1), offer.yiaddr));
    assert_eq!(ack.yiaddr, offer.yiaddr);

    // A disk that never answers is the same, five seconds later.
    lan.disk_works = false;
    let offer = lan.one(&message(MessageType::Discover, mac(2)));
    assert!(lan.send(&selecting(mac(2), offer.yiaddr)).is_empty());
    lan.now += Duration::from_secs(5);
    lan.server.handle_timeout(lan.now);
    assert_eq!(lan.drops(DropReason::NotDurable), 2);
}

#[test]
fn while_the_disk_is_away_a_client_gets_what_is_left_and_a_stranger_waits_for_it() {
    let mut lan = Lan::new(config());
    let binding = lan.join(mac(1), "laptop");
    lan.now += Duration::from_secs(1800);
    lan.disk_works = false;
    assert!(lan.send(&renewing(mac(1), binding.address)).is_empty());
    lan.away();
    let acks = lan.drain();
    let left = acks[0].0.options.u32(code::LEASE_TIME).unwrap().unwrap();
    assert!(left <= 1800 + 5, "more than the disk promises: {left}");
    assert_eq!(acks[0].0.message_type(), Some(MessageType::Ack));
    assert_eq!(lan.disk[&binding.address], binding);
    // What is hardly worth having is not given, and nothing at all from a lease that is over.
    lan.now += Duration::from_secs(1750);
    assert!(lan.send(&renewing(mac(1), binding.address)).is_empty());
    lan.away();
    assert!(lan.drain().is_empty());

    let offer = lan.one(&message(MessageType::Discover, mac(2)));
    assert!(lan.send(&selecting(mac(2), offer.yiaddr)).is_empty());
    lan.away();
    assert!(lan.drain().is_empty());
    // The disk is back, with what it had: both are served without asking again.
    lan.disk_works = true;
    let disk: Vec<Binding> = lan.disk.values().cloned().collect();
    let mut other = config();
    other.subnets[0].lease_s = 1800;
    lan.server.restart(lan.now, other, disk).unwrap();
    let replies = lan.wait_for_probes();
    let mut given: Vec<_> = replies.iter().map(|(ack, _)| ack.yiaddr).collect();
    given.sort();
    let mut wanted = vec![binding.address, offer.yiaddr];
    wanted.sort();
    assert_eq!(given, wanted);
    assert!(lan.disk.contains_key(&offer.yiaddr));
}

#[test]
fn while_the_disk_is_away_a_lease_from_before_the_start_is_not_promised_again() {
    let mut lan = Lan::new(config());
    let binding = lan.join(mac(1), "laptop");
    let older = Binding {
        bound: Instant::MIN,
        ..binding.clone()
    };
    lan.server.restart(lan.now, config(), [older]).unwrap();
    lan.disk_works = false;
    assert!(lan.send(&renewing(mac(1), binding.address)).is_empty());
    lan.away();
    assert!(
        lan.drain().is_empty(),
        "its end is by a clock that may be wrong"
    );
    lan.disk_works = true;
    let disk: Vec<Binding> = lan.disk.values().cloned().collect();
    lan.server.restart(lan.now, config(), disk).unwrap();
    let acks = lan.drain();
    assert_eq!(acks[0].0.yiaddr, binding.address, "without asking again");
}

#[test]
fn a_promise_that_a_new_configuration_overtakes_is_kept() {
    let mut lan = Lan::new(config());
    let first = lan.join(mac(1), "laptop");
    // The pool leaves the client's address out, and it takes another.
    let mut narrow = config();
    narrow.subnets[0].first = (u32::from(first.address) + 1).into();
    let disk: Vec<Binding> = lan.disk.values().cloned().collect();
    lan.server.restart(lan.now, narrow, disk.clone()).unwrap();
    lan.disk_works = false;
    let offer = lan.one(&message(MessageType::Discover, mac(1)));
    assert_ne!(offer.yiaddr, first.address);
    assert!(lan.send(&selecting(mac(1), offer.yiaddr)).is_empty());
    // The pool is as before, and what the disk says of it was told before it heard of the other.
    lan.disk_works = true;
    lan.server.restart(lan.now, config(), disk).unwrap();
    let replies = lan.wait_for_probes();
    assert_eq!(replies[0].0.yiaddr, offer.yiaddr);
    let disk: Vec<Binding> = lan.disk.values().cloned().collect();
    lan.server.restart(lan.now, config(), disk).unwrap();
    let again = lan.one(&selecting(mac(1), offer.yiaddr));
    assert_eq!(again.yiaddr, offer.yiaddr);
}

#[test]
fn an_address_that_answers_is_left_alone() {
    let mut lan = Lan::new(config());
    lan.give(&message(MessageType::Discover, mac(1)));
    lan.drain();
    let first = lan.probes[0];
    lan.answer_probe(first, mac(9));
    lan.drain();
    assert!(lan.events.contains(&Event::Conflict {
        link: LINK,
        address: first,
        mac: Some(mac(9)),
    }));
    let second = *lan.probes.last().unwrap();
    assert_ne!(first, second);
    // The client's own answer is no conflict.
    lan.answer_probe(second, mac(1));
    lan.now += PROBE_WAIT;
    lan.server.handle_timeout(lan.now);
    assert_eq!(lan.drain()[0].0.yiaddr, second);
    // Nobody gets the first one for ten minutes.
    let mut request = message(MessageType::Discover, mac(2));
    request.options.set_addr(code::REQUESTED_ADDRESS, first);
    assert_ne!(lan.one(&request).yiaddr, first);
    lan.now += QUARANTINE;
    let mut request = message(MessageType::Discover, mac(3));
    request.options.set_addr(code::REQUESTED_ADDRESS, first);
    assert_eq!(lan.one(&request).yiaddr, first);
}

#[test]
fn a_decline_takes_the_address_out_over_a_restart() {
    let mut lan = Lan::new(config());
    let binding = lan.join(mac(1), "");
    let mut decline = message(MessageType::Decline, mac(2));
    decline
        .options
        .set_addr(code::REQUESTED_ADDRESS, binding.address);
    decline.options.set_addr(code::SERVER_ID, ROUTER);
    lan.send(&decline);
    assert_eq!(
        lan.drops(DropReason::NotTheirs),
        1,
        "somebody else's decline"
    );
    decline.chaddr = HardwareAddress::ethernet(mac(1));
    assert!(lan.send(&decline).is_empty());
    assert_eq!(lan.disk[&binding.address].state, BindingState::Declined);
    lan.crash();
    assert_ne!(lan.join(mac(1), "").address, binding.address);
}

#[test]
fn requests_are_told_apart() {
    let mut lan = Lan::new(config());
    let binding = lan.join(mac(1), "");
    lan.now += Duration::from_secs(1800);

    let renewed = lan.send(&renewing(mac(1), binding.address)).remove(0);
    assert_eq!(renewed.0.message_type(), Some(MessageType::Ack));
    assert_eq!(renewed.0.ciaddr, binding.address);
    assert_eq!(
        renewed.1,
        Destination::Unicast(SocketAddrV4::new(binding.address, 68))
    );
    assert!(lan.disk[&binding.address].expires > binding.expires);

    let rebooted = lan.one(&reboot(mac(1), binding.address));
    assert_eq!(rebooted.message_type(), Some(MessageType::Ack));

    let wrong_network = lan
        .send(&reboot(mac(1), Ipv4Addr::new(10, 0, 0, 5)))
        .remove(0);
    assert_eq!(wrong_network.0.message_type(), Some(MessageType::Nak));
    assert_eq!(wrong_network.1, Destination::Broadcast { port: 68 });

    let taken = lan.one(&reboot(mac(2), binding.address));
    assert_eq!(taken.message_type(), Some(MessageType::Nak));

    let unknown_but_free = lan.one(&reboot(mac(3), addr(101)));
    let expected = if binding.address == addr(101) {
        MessageType::Nak
    } else {
        MessageType::Ack
    };
    assert_eq!(unknown_but_free.message_type(), Some(expected));

    let broadcast_address = lan.one(&reboot(mac(4), addr(255)));
    assert_eq!(broadcast_address.message_type(), Some(MessageType::Nak));

    let mut other = selecting(mac(5), addr(102));
    other.options.set_addr(code::SERVER_ID, addr(2));
    assert!(lan.send(&other).is_empty());
    assert_eq!(lan.drops(DropReason::OtherServer), 1);
}

#[test]
fn an_unsure_server_stays_silent_where_it_is_not_alone() {
    let mut config = config();
    config.subnets[0].authoritative = false;
    let mut lan = Lan::new(config);
    assert!(lan.send(&reboot(mac(1), addr(101))).is_empty());
    assert_eq!(lan.drops(DropReason::Unconfirmed), 1);
}

#[test]
fn a_question_asked_again_soon_costs_no_write() {
    let mut lan = Lan::new(config());
    let binding = lan.join(mac(1), "x");
    lan.events.clear();
    lan.now += Duration::from_secs(60);
    let mut again = reboot(mac(1), binding.address);
    again.options.set(code::HOST_NAME, b"x");
    let ack = lan.one(&again);
    assert!(lan.events.is_empty());
    let left = ack.options.u32(code::LEASE_TIME).unwrap().unwrap();
    assert_eq!(left, 3600 - 60 + 5);
    // After a reboot it does: who knows by which clock that lease was timed.
    lan.disk.get_mut(&binding.address).unwrap().bound = Instant::MIN;
    lan.crash();
    lan.one(&again);
    assert!(!lan.events.is_empty());
    lan.events.clear();
    lan.one(&again);
    assert!(lan.events.is_empty(), "and once is enough");
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let mut lan = Lan::new(config());
    let (offer, to) = lan.send(&message(MessageType::Discover, mac(1))).remove(0);
    assert_eq!(
        to,
        Destination::Hardware {
            mac: mac(1),
            address: SocketAddrV4::new(offer.yiaddr, 68),
        }
    );
    let mut deaf = message(MessageType::Discover, mac(1));
    deaf.broadcast = true;
    assert_eq!(lan.send(&deaf)[0].1, Destination::Broadcast { port: 68 });

    let mut relayed = message(MessageType::Discover, mac(2));
    relayed.giaddr = addr(2);
    relayed.options.set(code::RELAY_AGENT, &[1, 2, 3, 4]);
    lan.probes.clear();
    let (offer, to) = lan.send(&relayed).remove(0);
    assert!(lan.probes.is_empty(), "nobody behind a relay hears ARP");
    assert_eq!(to, Destination::Unicast(SocketAddrV4::new(addr(2), 67)));
    let last = offer.options.iter().last().unwrap();
    assert_eq!(last, (code::RELAY_AGENT, &[1, 2, 3, 4][..]));

    relayed.giaddr = Ipv4Addr::new(10, 0, 0, 1);
    assert!(lan.send(&relayed).is_empty());
    assert_eq!(lan.drops(DropReason::UnknownRelay), 1);
}

#[test]
fn options_come_in_the_order_asked_for() {
    let mut lan = Lan::new(config());
    let mut discover = message(MessageType::Discover, mac(1));
    discover.options.set(
        code::PARAMETER_LIST,
        &[119, 6, 200, 3, 1, 15, 6, 53, 54, 51, 52, 0, 255],
    );
    discover.options.set(code::CLIENT_ID, &[1, 9, 9]);
    let fqdn = ClientFqdn {
        server_updates: false,
        overridden: false,
        wire_form: true,
        no_update: false,
        name: "tv.example".into(),
        complete: true,
    };
    discover
        .options
        .set(code::CLIENT_FQDN, &fqdn.emit().unwrap());
    let offer = lan.one(&discover);
    let codes: Vec<u8> = offer.options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 119, 6, 3, 15, 81, 61]);
    let said = ClientFqdn::parse(offer.options.get(code::CLIENT_FQDN).unwrap()).unwrap();
    assert_eq!(said.name, "tv.lan");
    assert!(said.server_updates && said.overridden);
}

#[test]
fn a_small_client_gets_the_options_that_matter() {
    let mut config = config();
    config.subnets[0].search = (0..15).map(|n| format!("{}.{n}", "x".repeat(50))).collect();
    let mut lan = Lan::new(config);
    let mut discover = message(MessageType::Discover, mac(1));
    discover.options.set(code::PARAMETER_LIST, &[119, 3, 6, 15]);
    let offer = lan.one(&discover);
    assert!(!offer.options.contains(code::DOMAIN_SEARCH));
    assert!(offer.options.contains(code::DNS_SERVERS));
}

#[test]
fn reservations_hold_against_everybody() {
    let mut lan = Lan::new(config());
    let mut request = message(MessageType::Discover, mac(1));
    request.options.set_addr(code::REQUESTED_ADDRESS, addr(50));
    assert_ne!(lan.one(&request).yiaddr, addr(50));
    // By hardware address, whatever id the client sends; with its configured name.
    let mut discover = message(MessageType::Discover, mac(50));
    discover.options.set(code::CLIENT_ID, b"\x00boot loader");
    discover.options.set(code::HOST_NAME, b"pxe");
    assert_eq!(lan.one(&discover).yiaddr, addr(50));
    let binding = lan.join(mac(50), "debian");
    assert_eq!(binding.address, addr(50));
    assert_eq!(binding.name.as_deref(), Some("nas"));
    // A reservation made later moves its client at the next renewal.
    let elsewhere = lan.join(mac(2), "");
    let mut config = config();
    config.subnets[0].reservations.push(Reservation {
        client: ReservedFor::Mac(mac(2)),
        address: addr(51),
        name: None,
    });
    lan.server.configure(lan.now, config).unwrap();
    let nak = lan.one(&renewing(mac(2), elsewhere.address));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
    assert_eq!(lan.join(mac(2), "").address, addr(51));
    assert_eq!(lan.disk[&elsewhere.address].state, BindingState::Released);
}

#[test]
fn names_are_unique_and_some_are_refused() {
    let mut lan = Lan::new(config());
    assert_eq!(lan.join(mac(1), "tv").name.as_deref(), Some("tv"));
    assert_eq!(lan.join(mac(2), "tv").name.as_deref(), Some("tv-2"));
    assert_eq!(lan.join(mac(2), "tv").name.as_deref(), Some("tv-2"));
    assert_eq!(lan.join(mac(3), "WPAD").name.as_deref(), Some("wpad-2"));
    assert_eq!(lan.join(mac(4), "nas").name.as_deref(), Some("nas-2"));
    // An expired binding does not keep its name from others.
    lan.now += Duration::from_secs(4000);
    assert_eq!(lan.join(mac(2), "tv").name.as_deref(), Some("tv-2"));
    assert_eq!(lan.join(mac(3), "tv").name.as_deref(), Some("tv"));
}

#[test]
fn an_exhausted_pool_takes_the_longest_expired() {
    let mut lan = Lan::new(config());
    let mut given = Vec::new();
    for n in 1..=4 {
        given.push(lan.join(mac(n), "").address);
        lan.now += Duration::from_secs(10);
    }
    assert!(lan.send(&message(MessageType::Discover, mac(9))).is_empty());
    assert_eq!(lan.drops(DropReason::Exhausted), 1);
    assert!(lan.events.contains(&Event::Exhausted { link: LINK }));
    // The second gives its address back; the others expire later, in their order.
    let mut release = message(MessageType::Release, mac(2));
    release.ciaddr = given[1];
    release.options.set_addr(code::SERVER_ID, ROUTER);
    assert!(lan.send(&release).is_empty());
    assert_eq!(lan.join(mac(9), "").address, given[1]);
    // The last stranger got a short lease, since nothing was left for the next.
    lan.now += Duration::from_secs(3600);
    assert_eq!(lan.join(mac(10), "").address, given[3]);
    lan.now += Duration::from_secs(60);
    assert_eq!(lan.join(mac(11), "").address, given[1]);
    assert_eq!(lan.join(mac(12), "").address, given[0]);
}

#[test]
fn from_memory_alone_leases_are_short_and_kept_over_a_new_configuration() {
    let mut config = config();
    config.durable = false;
    let mut lan = Lan::new(config.clone());
    let binding = lan.join(mac(1), "");
    let kept = Duration::from_secs(u64::from(LEASE_S_SHORT)) + PENDING_WAIT;
    assert_eq!(binding.expires - binding.bound, kept);
    assert!(matches!(
        lan.events.last(),
        Some(Event::Bind { token: None, .. })
    ));
    config.subnets[0].lease_s = 7200;
    lan.server.configure(lan.now, config).unwrap();
    let nak = lan.one(&reboot(mac(2), binding.address));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
}

#[test]
fn inform_gets_parameters_and_no_lease() {
    let mut lan = Lan::new(config());
    let mut inform = message(MessageType::Inform, mac(1));
    inform.ciaddr = addr(20);
    let ack = lan.one(&inform);
    assert!(ack.yiaddr.is_unspecified());
    assert!(!ack.options.contains(code::LEASE_TIME));
    assert!(ack.options.contains(code::DNS_SERVERS));
    inform.ciaddr = Ipv4Addr::new(8, 8, 8, 8);
    assert!(lan.send(&inform).is_empty());
    assert_eq!(lan.drops(DropReason::InformOutside), 1);
}

#[test]
fn what_is_no_request_is_counted() {
    let mut lan = Lan::new(config());
    let good = message(MessageType::Discover, mac(1));
    let mut input = |link, repr: &Repr| {
        let payload = repr.emit(1400).unwrap();
        lan.server.handle_input(
            lan.now,
            Input::Datagram {
                link,
                payload: &payload,
            },
        );
    };
    input(99, &good);
    let mut reply = good.clone();
    reply.opcode = OpCode::Reply;
    input(LINK, &reply);
    let mut odd = good.clone();
    odd.chaddr = HardwareAddress::new(6, &[1, 2, 3]).unwrap();
    input(LINK, &odd);
    let mut group = good.clone();
    group.chaddr = HardwareAddress::ethernet(EthernetAddress::BROADCAST);
    input(LINK, &group);
    let mut bootp = good;
    bootp.options.take(code::MESSAGE_TYPE);
    input(LINK, &bootp);
    lan.server.handle_input(
        lan.now,
        Input::Datagram {
            link: LINK,
            payload: b"hello",
        },
    );
    assert!(lan.drain().is_empty());
    let counted: Vec<_> = lan.server.drops().iter().collect();
    assert_eq!(
        counted,
        [
            (DropReason::Malformed, 2),
            (DropReason::NotARequest, 1),
            (DropReason::BadHardware, 2),
            (DropReason::UnknownLink, 1),
        ]
    );
}

#[test]
fn a_flood_of_strangers_costs_bounded_memory_and_known_clients_go_on() {
    let mut config = config();
    config.subnets[0].network = "10.0.0.0/16".parse().unwrap();
    config.subnets[0].address = Ipv4Addr::new(10, 0, 0, 1);
    config.subnets[0].first = Ipv4Addr::new(10, 0, 1, 0);
    config.subnets[0].last = Ipv4Addr::new(10, 0, 255, 255);
    config.subnets[0].reservations.clear();
    let mut lan = Lan::new(config);
    let discover = |n: u32| {
        let mut octets = [2, 1, 0, 0, 0, 0];
        octets[2..].copy_from_slice(&n.to_be_bytes());
        message(MessageType::Discover, EthernetAddress(octets))
    };
    let offer = lan.one(&discover(0));
    let mut request = discover(0);
    request
        .options
        .set(code::MESSAGE_TYPE, &[MessageType::Request.into()]);
    request
        .options
        .set_addr(code::REQUESTED_ADDRESS, offer.yiaddr);
    let ack = lan.one(&request);
    for n in 1..20_000 {
        lan.give(&discover(n));
        if n % 400 == 0 {
            lan.now += Duration::from_millis(100);
            lan.server.handle_timeout(lan.now);
        }
        lan.drain();
        assert!(lan.server.probes.len() <= PROBES_MAX);
        assert!(lan.server.pools[0].holds_len() <= HOLDS_MAX + PROBES_MAX);
    }
    assert!(lan.drops(DropReason::ProbesFull) > 0);
    assert_eq!(lan.one(&discover(0)).yiaddr, ack.yiaddr);
    lan.server.pools[0].check();
}

#[test]
fn impossible_configurations_are_refused() {
    let with = |change: &dyn Fn(&mut SubnetConfig)| {
        let mut config = config();
        change(&mut config.subnets[0]);
        Server::new(Instant::from_secs(0), config, []).unwrap_err()
    };
    assert!(matches!(
        with(&|s| s.last = addr(99)),
        ConfigError::Pool(..)
    ));
    assert!(matches!(
        with(&|s| s.address = addr(0)),
        ConfigError::OwnAddress(_)
    ));
    assert!(matches!(
        with(&|s| s.reservations[0].address = ROUTER),
        ConfigError::Reservation(_)
    ));
    let mut twice = config();
    twice.subnets.push(subnet_config());
    assert!(matches!(twice.check(), Err(ConfigError::Overlap(_))));
}

/// What the property below found while the machine was written, by name.
#[test]
fn a_promise_under_way_keeps_its_address() {
    let mut lan = Lan::new(config());
    lan.disk_works = false;
    assert!(lan.send(&renewing(mac(3), addr(100))).is_empty());
    // The client changes its mind, others want the address, the old owner declines it.
    assert!(lan.send(&selecting(mac(3), addr(101))).is_empty());
    assert_eq!(lan.drops(DropReason::PendingFull), 1);
    let nak = lan.one(&renewing(mac(4), addr(100)));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
    lan.answer_probe(addr(100), mac(9));
    lan.server.handle_input(lan.now, Input::Durable(Token(0)));
    let acks = lan.drain();
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].0.yiaddr, addr(100));
    lan.server.pools[0].check();
}

#[test]
fn an_old_owner_cannot_decline_what_went_to_another() {
    let mut lan = Lan::new(config());
    lan.give(&renewing(mac(5), addr(102)));
    lan.drain();
    lan.now += Duration::from_secs(3700);
    lan.disk_works = false;
    lan.give(&renewing(mac(1), addr(102)));
    lan.drain();
    let mut decline = message(MessageType::Decline, mac(5));
    decline.options.set_addr(code::REQUESTED_ADDRESS, addr(102));
    lan.give(&decline);
    lan.drain();
    assert_eq!(lan.drops(DropReason::NotTheirs), 1);
}

#[test]
fn a_client_with_a_live_binding_keeps_to_it() {
    let mut lan = Lan::new(config());
    lan.give(&renewing(mac(7), addr(102)));
    lan.drain();
    let nak = lan.one(&renewing(mac(7), addr(100)));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
    lan.crash();
    assert!(lan.server.bindings().any(|b| b.address == addr(102)));
}

/// What a storm of clients, a network and a disk can do.
#[derive(Debug, Clone)]
enum Op {
    Discover { client: u8, wish: u8 },
    Select { client: u8, address: u8 },
    Reboot { client: u8, address: u8 },
    Renew { client: u8, address: u8 },
    Release { client: u8, address: u8 },
    Decline { client: u8, address: u8 },
    ArpReply { address: u8, from: u8 },
    Disk { works: bool },
    Crash,
    Pass { ms: u32 },
}

fn any_op() -> impl Strategy<Value = Op> {
    let client = 1u8..8;
    let address = 99u8..105;
    prop_oneof![
        4 => (client.clone(), address.clone()).prop_map(|(client, wish)| Op::Discover { client, wish }),
        4 => (client.clone(), address.clone()).prop_map(|(client, address)| Op::Select { client, address }),
        2 => (client.clone(), address.clone()).prop_map(|(client, address)| Op::Reboot { client, address }),
        2 => (client.clone(), address.clone()).prop_map(|(client, address)| Op::Renew { client, address }),
        1 => (client.clone(), address.clone()).prop_map(|(client, address)| Op::Release { client, address }),
        1 => (client.clone(), address.clone()).prop_map(|(client, address)| Op::Decline { client, address }),
        1 => (address, client).prop_map(|(address, from)| Op::ArpReply { address, from }),
        1 => any::<bool>().prop_map(|works| Op::Disk { works }),
        1 => Just(Op::Crash),
        3 => (1u32..2_000_000).prop_map(|ms| Op::Pass { ms }),
    ]
}

/// A disk with a queue: writes land in order, the answers follow when the queue is worked off.
#[derive(Default)]
struct World {
    queue: Vec<(Option<Token>, Binding)>,
    /// What clients were promised and have not given back: owner and end.
    promised: BTreeMap<Ipv4Addr, (EthernetAddress, Instant)>,
}

impl World {
    fn write(&mut self, lan: &mut Lan) {
        for (token, binding) in std::mem::take(&mut self.queue) {
            lan.disk.insert(binding.address, binding);
            if let Some(token) = token {
                lan.server.handle_input(lan.now, Input::Durable(token));
            }
        }
    }

    fn drain(&mut self, lan: &mut Lan) -> Result<(), TestCaseError> {
        loop {
            match lan.server.poll_output() {
                Output::Timeout(_) => return Ok(()),
                Output::Event(Event::Bind { token, binding }) => self.queue.push((token, binding)),
                Output::Event(_) | Output::Transmit(Transmit::Frame { .. }) => {}
                Output::Transmit(Transmit::Datagram { payload, .. }) => {
                    let reply = Repr::parse(&payload).unwrap();
                    if reply.message_type() == Some(MessageType::Ack) {
                        self.acknowledged(lan, &reply)?;
                    }
                }
            }
        }
    }

    fn acknowledged(&mut self, lan: &Lan, ack: &Repr) -> Result<(), TestCaseError> {
        let owner = ack.chaddr.as_ethernet().unwrap();
        let lease_s = ack.options.u32(code::LEASE_TIME).unwrap().unwrap();
        let until = lan.now + Duration::from_secs(u64::from(lease_s));
        if let Some((other, end)) = self.promised.get(&ack.yiaddr) {
            prop_assert!(
                *other == owner || *end <= lan.now,
                "{} bound twice",
                ack.yiaddr
            );
        }
        // The promise is on disk, at least to the second.
        let stored = lan.disk.get(&ack.yiaddr);
        prop_assert!(stored.is_some_and(|b| b.mac == owner
            && b.state == BindingState::Bound
            && b.expires + Duration::from_secs(1) > until));
        self.promised.retain(|_, (who, _)| *who != owner);
        self.promised.insert(ack.yiaddr, (owner, until));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// No address is bound twice; no acknowledged binding is lost by a crash that keeps only
    /// what was on disk; the pool's books balance.
    #[test]
    fn promises_are_kept(ops in proptest::collection::vec(any_op(), 1..80)) {
        let mut lan = Lan::new(config());
        let mut world = World::default();
        let mut disk_works = true;
        for op in ops {
            match op {
                Op::Discover { client, wish } => {
                    let mut discover = message(MessageType::Discover, mac(client));
                    discover.options.set_addr(code::REQUESTED_ADDRESS, addr(wish));
                    lan.give(&discover);
                }
                Op::Select { client, address } => lan.give(&selecting(mac(client), addr(address))),
                Op::Reboot { client, address } => lan.give(&reboot(mac(client), addr(address))),
                Op::Renew { client, address } => lan.give(&renewing(mac(client), addr(address))),
                Op::Release { client, address } => {
                    let mut release = message(MessageType::Release, mac(client));
                    release.ciaddr = addr(address);
                    lan.give(&release);
                    if world.promised.get(&addr(address)).is_some_and(|(who, _)| *who == mac(client)) {
                        world.promised.remove(&addr(address));
                    }
                }
                Op::Decline { client, address } => {
                    let mut decline = message(MessageType::Decline, mac(client));
                    decline.options.set_addr(code::REQUESTED_ADDRESS, addr(address));
                    lan.give(&decline);
                    if world.promised.get(&addr(address)).is_some_and(|(who, _)| *who == mac(client)) {
                        world.promised.remove(&addr(address));
                    }
                }
                Op::ArpReply { address, from } => lan.answer_probe(addr(address), mac(from)),
                Op::Disk { works } => disk_works = works,
                Op::Crash => {
                    world.queue.clear();
                    lan.crash();
                    for (address, (owner, until)) in &world.promised {
                        if *until > lan.now {
                            let kept = lan.server.bindings().find(|b| b.address == *address);
                            prop_assert!(kept.is_some_and(|b| b.mac == *owner), "{} lost", address);
                        }
                    }
                }
                Op::Pass { ms } => {
                    lan.now += Duration::from_millis(u64::from(ms));
                    lan.server.handle_timeout(lan.now);
                }
            }
            world.drain(&mut lan)?;
            if disk_works {
                world.write(&mut lan);
                world.drain(&mut lan)?;
            }
            lan.server.pools[0].check();
        }
    }

    #[test]
    fn no_bytes_panic(payload in proptest::collection::vec(any::<u8>(), 0..400), arp: bool) {
        let mut lan = Lan::new(config());
        let input = if arp {
            Input::Frame { link: LINK, octets: &payload }
        } else {
            Input::Datagram { link: LINK, payload: &payload }
        };
        lan.server.handle_input(lan.now, input);
        let _ = lan.drain();
    }

    /// Any options behind a good header.
    #[test]
    fn no_options_panic(
        kind in 1u8..9,
        options in proptest::collection::vec((1u8..=254, proptest::collection::vec(any::<u8>(), 0..20)), 0..10),
        ciaddr: [u8; 4], giaddr: [u8; 4],
    ) {
        let mut lan = Lan::new(config());
        let mut repr = message(MessageType::from(kind), mac(1));
        repr.ciaddr = ciaddr.into();
        repr.giaddr = giaddr.into();
        for (code, value) in options {
            repr.options.set(code, &value);
        }
        let _ = lan.send(&repr);
    }
}

#[test]
fn probes_are_whole_frames() {
    let mut lan = Lan::new(config());
    lan.give(&message(MessageType::Discover, mac(1)));
    let Output::Transmit(Transmit::Frame { link, octets }) = lan.server.poll_output() else {
        panic!("no probe");
    };
    let frame = frame::Frame::parse(&octets).unwrap();
    assert_eq!((link, frame.source), (LINK, mac(255)));
    assert_eq!(frame.destination, EthernetAddress::BROADCAST);
}
