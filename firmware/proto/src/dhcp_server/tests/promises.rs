//! What is promised, and the disk that it has to be on before.

use super::lan::*;
use super::*;

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

/// What the property of `random` found while the machine was written, by name.
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
fn a_client_with_a_live_binding_keeps_to_it() {
    let mut lan = Lan::new(config());
    lan.give(&renewing(mac(7), addr(102)));
    lan.drain();
    let nak = lan.one(&renewing(mac(7), addr(100)));
    assert_eq!(nak.message_type(), Some(MessageType::Nak));
    lan.crash();
    assert!(lan.server.bindings().any(|b| b.address == addr(102)));
}
