//! The client's conversations with servers good, bad and absent.

use std::net::SocketAddrV4;

use lintel_wire::arp::ArpClaim;
use lintel_wire::dhcpv4::{ClasslessRoute, HardwareAddress, MessageType, OpCode, Repr};
use lintel_wire::frame::{self, Payload};
use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const SERVER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

struct Line {
    client: Client,
    now: Instant,
    rng: SeededRng,
    sent: Vec<Repr>,
    arps: Vec<ArpClaim>,
    events: Vec<Event>,
    deadline: Option<Instant>,
}

impl Line {
    fn new(detect: bool, kept: Option<Lease>) -> Self {
        let now = Instant::from_secs(1000);
        let config = ClientConfig {
            mac: MAC,
            host_name: Some("lintel".into()),
            detect,
        };
        let mut line = Self {
            client: Client::new(now, config, kept),
            now,
            rng: SeededRng::new(1),
            sent: Vec::new(),
            arps: Vec::new(),
            events: Vec::new(),
            deadline: None,
        };
        line.input(Input::LinkUp);
        line
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                Output::Event(event) => self.events.push(event),
                Output::Transmit(octets) => match Frame::parse(&octets).unwrap().payload {
                    Payload::Arp(claim) => self.arps.push(claim),
                    Payload::Udp { data, .. } => self.sent.push(Repr::parse(data).unwrap()),
                },
            }
        }
    }

    /// Lets time pass to the next deadline.
    fn step(&mut self) {
        self.now = self.deadline.expect("nothing more to happen");
        self.client.handle_timeout(self.now, &mut self.rng);
        self.drain();
    }

    fn step_until(&mut self, state: StateName) {
        for _ in 0..100 {
            if self.client.state() == state {
                return;
            }
            self.step();
        }
        panic!("{:?} and never {state:?}", self.client.state());
    }

    fn reply(&self, kind: MessageType) -> Repr {
        let asked = self.sent.last().unwrap();
        let mut reply = Repr::new(OpCode::Reply, asked.xid, asked.chaddr);
        reply.options.set(code::MESSAGE_TYPE, &[kind.into()]);
        reply.options.set_addr(code::SERVER_ID, SERVER);
        if kind != MessageType::Nak {
            reply.yiaddr = ADDRESS;
            reply.options.set_u32(code::LEASE_TIME, 3600);
            reply
                .options
                .set_addr(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
            reply.options.set_addr(code::ROUTER, SERVER);
            reply.options.set_addr(code::DNS_SERVERS, SERVER);
        }
        reply
    }

    fn hear(&mut self, message: &Repr) {
        let octets = frame::udp(
            (SERVER_MAC, SocketAddrV4::new(SERVER, 67)),
            (MAC, SocketAddrV4::new(message.yiaddr, 68)),
            &message.emit(1400).unwrap(),
        );
        self.input(Input::Frame(&octets));
    }

    fn answer(&mut self, kind: MessageType) {
        let reply = self.reply(kind);
        self.hear(&reply);
    }

    fn bind(&mut self) -> Lease {
        self.answer(MessageType::Offer);
        self.answer(MessageType::Ack);
        self.step_until(StateName::Bound);
        self.client.lease().unwrap().clone()
    }

    fn last(&self) -> MessageType {
        self.sent.last().unwrap().message_type().unwrap()
    }
}

fn kept(now: Instant) -> Lease {
    let mut message = Repr::new(OpCode::Reply, 0, HardwareAddress::ethernet(MAC));
    message.yiaddr = ADDRESS;
    message.options.set_addr(code::SERVER_ID, SERVER);
    message.options.set_u32(code::LEASE_TIME, 3600);
    message
        .options
        .set_addr(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    Lease::from_message(&message, now).unwrap()
}

#[test]
fn the_first_message_leaves_at_once_and_a_lease_takes_300_ms() {
    let mut line = Line::new(false, None);
    assert_eq!(line.last(), MessageType::Discover);
    let began = line.now;
    let lease = line.bind();
    assert_eq!((line.now - began).as_millis(), 300);
    assert_eq!((lease.address, lease.prefix_len), (ADDRESS, 24));
    assert_eq!(lease.server_mac, Some(SERVER_MAC));
    assert!(line.arps[..3].iter().all(|a| a.address.is_unspecified()));
    assert_eq!(line.arps[3].address, ADDRESS, "announced");
    assert!(lease.oddities.is_empty());
}

#[test]
fn silence_is_met_with_growing_pauses() {
    let mut line = Line::new(false, None);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let before = line.now;
        line.step();
        pauses.push((line.now - before).as_millis());
    }
    for (pause, base) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 64, 64, 64]) {
        assert!((base * 875..=base * 1125).contains(pause), "{pauses:?}");
    }
    assert!(line.sent.iter().all(|m| m.xid == line.sent[0].xid));
}

#[test]
fn a_lease_is_renewed_rebound_and_at_last_lost() {
    let mut line = Line::new(false, None);
    let lease = line.bind();
    line.events.clear();
    line.step_until(StateName::Renewing);
    assert_eq!((line.now - lease.asked).as_secs(), 1800);
    let renewal = line.sent.last().unwrap();
    assert_eq!(renewal.ciaddr, ADDRESS);
    assert!(!renewal.options.contains(code::SERVER_ID));
    assert!(!renewal.options.contains(code::REQUESTED_ADDRESS));
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Bound);
    assert!(
        line.events.iter().any(
            |e| matches!(e, Event::Bound { confirmed: true, lease } if lease.asked == line.now)
        )
    );
    // The next time nobody answers.
    line.step_until(StateName::Rebinding);
    line.events.clear();
    line.step_until(StateName::Selecting);
    assert!(line.events.contains(&Event::Lost(LostReason::Expired)));
    let tries = line.sent.iter().filter(|m| m.ciaddr == ADDRESS).count();
    assert!((4..30).contains(&tries), "{tries}");
    // The server is back.
    line.bind();
}

#[test]
fn a_nak_starts_over_at_once_and_then_more_slowly() {
    let mut line = Line::new(false, None);
    line.bind();
    line.step_until(StateName::Renewing);
    line.answer(MessageType::Nak);
    assert!(line.events.contains(&Event::Lost(LostReason::Nak)));
    let before = line.now;
    line.step();
    assert_eq!(line.last(), MessageType::Discover);
    assert_eq!(line.now, before);
    line.answer(MessageType::Offer);
    line.answer(MessageType::Nak);
    line.step();
    assert_eq!((line.now - before).as_secs(), 1);
}

#[test]
fn a_kept_lease_is_confirmed_without_probe() {
    let now = Instant::from_secs(1000);
    let mut line = Line::new(false, Some(kept(now)));
    assert_eq!(line.client.state(), StateName::Rebooting);
    let request = line.sent.last().unwrap();
    assert_eq!(
        request.options.addr(code::REQUESTED_ADDRESS),
        Ok(Some(ADDRESS))
    );
    assert!(request.ciaddr.is_unspecified() && !request.options.contains(code::SERVER_ID));
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Bound);
    // A cable pulled and put back asks again, without losing the lease meanwhile.
    line.input(Input::LinkDown);
    assert_eq!(line.deadline, None);
    line.input(Input::LinkUp);
    assert_eq!(line.client.state(), StateName::Rebooting);
    assert!(!line.events.iter().any(|e| matches!(e, Event::Lost(_))));
}

#[test]
fn a_kept_lease_is_used_while_the_server_is_away() {
    let now = Instant::from_secs(1000);
    let mut line = Line::new(false, Some(kept(now)));
    line.step_until(StateName::Selecting);
    assert!((line.now - now).as_secs() < 9);
    assert!(line.events.iter().any(|e| matches!(
        e,
        Event::Bound { confirmed: false, lease } if lease.address == ADDRESS
    )));
    // The server returns and gives the same address: no probe, no gap.
    line.step();
    let asked = line.sent.last().unwrap();
    assert_eq!(
        asked.options.addr(code::REQUESTED_ADDRESS),
        Ok(Some(ADDRESS))
    );
    line.answer(MessageType::Offer);
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Bound);
    assert!(!line.events.iter().any(|e| matches!(e, Event::Lost(_))));

    // If it stays away, the lease ends when it ends.
    let mut line = Line::new(false, Some(kept(now)));
    while !line.events.contains(&Event::Lost(LostReason::Expired)) {
        line.step();
    }
    assert_eq!(line.now, now + Duration::from_secs(3600));
    assert_eq!(line.client.state(), StateName::Selecting);
}

#[test]
fn a_kept_lease_of_another_network_goes_with_its_nak() {
    let mut line = Line::new(false, Some(kept(Instant::from_secs(1000))));
    line.answer(MessageType::Nak);
    line.step();
    assert_eq!(line.last(), MessageType::Discover);
    let discover = line.sent.last().unwrap();
    assert!(!discover.options.contains(code::REQUESTED_ADDRESS));
}

#[test]
fn an_address_in_use_is_declined() {
    let mut line = Line::new(false, None);
    line.answer(MessageType::Offer);
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Probing);
    // Somebody else probes for it too.
    line.input(Input::Frame(&arp::probe(SERVER_MAC, ADDRESS)));
    assert_eq!(line.last(), MessageType::Decline);
    let decline = line.sent.last().unwrap();
    assert_eq!(
        decline.options.addr(code::REQUESTED_ADDRESS),
        Ok(Some(ADDRESS))
    );
    assert_eq!(decline.options.addr(code::SERVER_ID), Ok(Some(SERVER)));
    let before = line.now;
    line.step();
    assert_eq!((line.now - before).as_secs(), 10);
    assert_eq!(line.last(), MessageType::Discover);
}

#[test]
fn an_address_is_defended_once() {
    let mut line = Line::new(false, None);
    line.bind();
    line.step();
    let announced = line.arps.len();
    line.input(Input::Frame(&arp::announcement(SERVER_MAC, ADDRESS)));
    assert_eq!(line.arps.len(), announced + 1);
    line.now += Duration::from_secs(1);
    line.input(Input::Frame(&arp::announcement(SERVER_MAC, ADDRESS)));
    assert!(line.events.contains(&Event::Lost(LostReason::Conflict)));
    assert_eq!(line.last(), MessageType::Decline);
    // Our own echo is no conflict.
    let mut line = Line::new(false, None);
    line.bind();
    for _ in 0..3 {
        line.input(Input::Frame(&arp::announcement(MAC, ADDRESS)));
    }
    assert_eq!(line.client.state(), StateName::Bound);
}

#[test]
fn detection_asks_for_nothing_until_told() {
    let mut line = Line::new(true, Some(kept(Instant::from_secs(1000))));
    assert_eq!(line.last(), MessageType::Discover);
    line.answer(MessageType::Offer);
    assert!(line.events.contains(&Event::ServerSeen {
        server: SERVER,
        address: ADDRESS
    }));
    assert_eq!(line.deadline, None);
    assert_eq!(line.sent.len(), 1);
    line.input(Input::Claim);
    assert_eq!(line.last(), MessageType::Request);
}

#[test]
fn forged_and_senseless_replies_change_nothing() {
    let change: [fn(&mut Repr); 11] = [
        |r| r.xid ^= 1,
        |r| r.chaddr = HardwareAddress::ethernet(SERVER_MAC),
        |r| r.opcode = OpCode::Request,
        |r| r.options.set(code::SERVER_ID, &[0, 0, 0, 0]),
        |r| r.options.set(code::SUBNET_MASK, &[255, 0, 255, 0]),
        |r| r.options.set(code::SUBNET_MASK, &[0, 0, 0, 0]),
        |r| r.options.set(code::LEASE_TIME, &[0]),
        |r| r.yiaddr = Ipv4Addr::LOCALHOST,
        |r| r.yiaddr = Ipv4Addr::new(10, 0, 0, 255),
        |r| r.yiaddr = Ipv4Addr::UNSPECIFIED,
        |r| r.options.set(code::MESSAGE_TYPE, &[5]),
    ];
    for (n, change) in change.into_iter().enumerate() {
        let mut line = Line::new(false, None);
        let mut offer = line.reply(MessageType::Offer);
        change(&mut offer);
        line.hear(&offer);
        assert_eq!(line.client.state(), StateName::Selecting, "change {n}");
        let drops = line.client.drops();
        assert_eq!(drops.unexpected + drops.refused, 1, "change {n}");
    }
    // A NAK or ACK of a server that we did not choose.
    let mut line = Line::new(false, None);
    line.answer(MessageType::Offer);
    for kind in [MessageType::Nak, MessageType::Ack] {
        let mut reply = line.reply(kind);
        reply
            .options
            .set_addr(code::SERVER_ID, Ipv4Addr::new(10, 0, 0, 66));
        line.hear(&reply);
    }
    assert_eq!(line.client.state(), StateName::Requesting);
}

#[test]
fn what_is_odd_is_said_and_used() {
    let line = Line::new(false, None);
    let mut offer = line.reply(MessageType::Offer);
    offer.options.take(code::SUBNET_MASK);
    offer
        .options
        .set_addr(code::ROUTER, Ipv4Addr::new(192, 0, 2, 1));
    offer.options.set(code::DNS_SERVERS, &[1, 2, 3]);
    offer.options.set(code::INTERFACE_MTU, &[0, 68]);
    offer.options.set_u32(code::RENEWAL_TIME, 9999);
    let lease = Lease::from_message(&offer, line.now).unwrap();
    assert_eq!(
        (lease.prefix_len, lease.renew_s, lease.mtu),
        (8, 1800, None)
    );
    assert_eq!(
        lease.oddities,
        [
            Oddity::NoMask,
            Oddity::BadTimers,
            Oddity::BadOption(code::DNS_SERVERS),
            Oddity::RouterOffLink(Ipv4Addr::new(192, 0, 2, 1)),
            Oddity::NoDns,
            Oddity::BadOption(code::INTERFACE_MTU),
        ]
    );
    offer.options.set_routes(&[ClasslessRoute {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix_len: 0,
        router: SERVER,
    }]);
    let lease = Lease::from_message(&offer, line.now).unwrap();
    assert_eq!(lease.routes.len(), 1);
}

#[test]
fn a_release_is_sent_to_the_server_and_ends_all() {
    let mut line = Line::new(false, None);
    line.bind();
    line.input(Input::Release);
    assert_eq!(line.last(), MessageType::Release);
    assert_eq!(line.sent.last().unwrap().ciaddr, ADDRESS);
    assert_eq!(
        (line.client.state(), line.deadline),
        (StateName::Down, None)
    );
}

#[test]
fn an_endless_lease_asks_no_more() {
    let mut line = Line::new(false, None);
    line.answer(MessageType::Offer);
    let mut ack = line.reply(MessageType::Ack);
    ack.options.set_u32(code::LEASE_TIME, u32::MAX);
    line.hear(&ack);
    line.step_until(StateName::Bound);
    while line.deadline.is_some() {
        line.step();
    }
    assert_eq!(line.client.state(), StateName::Bound);
}

/// Found by fuzzing: the box slept between ACK and the end of the conflict probe.
#[test]
fn a_lease_that_ended_while_it_was_probed_is_not_used() {
    let mut line = Line::new(false, None);
    line.answer(MessageType::Offer);
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Probing);
    line.now += Duration::from_secs(7200);
    for _ in 0..4 {
        line.client.handle_timeout(line.now, &mut line.rng);
        line.drain();
        line.now += Duration::from_millis(200);
    }
    assert_eq!(line.client.state(), StateName::Selecting);
    let bound = |event: &Event| matches!(event, Event::Bound { .. });
    assert!(!line.events.iter().any(bound), "{:?}", line.events);
}

/// Found by fuzzing: a lease counts from the request, not from the ACK.
#[test]
fn an_ack_that_comes_after_its_lease_ended_is_not_taken() {
    let mut line = Line::new(false, None);
    line.answer(MessageType::Offer);
    line.now += Duration::from_secs(7200);
    line.answer(MessageType::Ack);
    assert_eq!(line.client.state(), StateName::Requesting);
    assert_eq!(line.client.drops().unexpected, 1);
}

proptest! {
    /// Whatever is heard and whenever: no panic, a deadline whenever there is something to
    /// wait for, and no address in use that no server gave.
    #[test]
    fn any_conversation_goes_on(
        seed: u64,
        steps in proptest::collection::vec((0u8..9, any::<u8>()), 0..60),
    ) {
        let mut line = Line::new(seed % 5 == 0, (seed % 3 == 0).then(|| kept(Instant::from_secs(999))));
        for (what, odd) in steps {
            let mutate = |mut reply: Repr| {
                if odd % 4 == 0 {
                    reply.options.set(odd, &[odd; 4]);
                }
                reply
            };
            match what {
                0 => { let r = mutate(line.reply(MessageType::Offer)); line.hear(&r); }
                1 => { let r = mutate(line.reply(MessageType::Ack)); line.hear(&r); }
                2 => { let r = mutate(line.reply(MessageType::Nak)); line.hear(&r); }
                3 => line.input(Input::Frame(&arp::announcement(SERVER_MAC, ADDRESS))),
                4 => line.input(Input::Frame(&[odd; 60])),
                5 if odd % 8 == 0 => { line.input(Input::LinkDown); line.input(Input::LinkUp); }
                6 if odd % 8 == 0 => line.input(Input::Claim),
                _ => if line.deadline.is_some() { line.step() },
            }
            let silent = matches!(line.client.state(), StateName::Down | StateName::Detected);
            prop_assert!(line.deadline.is_some() || silent || line.client.state() == StateName::Bound);
            if let Some(lease) = line.client.lease() {
                prop_assert!(lease.is_live(line.now) || line.deadline <= Some(line.now));
            }
        }
    }
}
