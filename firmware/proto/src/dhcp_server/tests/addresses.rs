//! Who gets which address, and which is left alone.

use super::lan::*;
use super::*;

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
