//! What is answered to which request, where to, and with which options.

use super::lan::*;
use super::*;

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
