//! Which replies are believed.

use lintel_wire::ntp::{Mode, NtpShort, NtpTimestamp, Packet, ReferenceId};

use super::world::*;
use super::*;

/// A client that has just asked one server, silently.
fn asking() -> World {
    let silent = ServerModel {
        silent: true,
        ..honest()
    };
    World::new(1, 0, 0.0, &[silent])
}

impl World {
    fn request(&self) -> (AssociationId, SocketAddr, Packet) {
        self.last_request.unwrap()
    }

    fn hear(&mut self, from: SocketAddr, octets: &[u8]) {
        let (association, ..) = self.request();
        self.hear_on(association, from, octets, None);
    }

    fn hear_on(
        &mut self,
        association: AssociationId,
        from: SocketAddr,
        octets: &[u8],
        local: Option<std::net::IpAddr>,
    ) {
        let received = self.now().wall;
        self.input(Input::Datagram {
            association,
            from,
            local,
            octets,
            received,
        });
    }

    /// A good reply to the last request, come after 10 ms.
    fn good_reply(&mut self) -> Packet {
        self.run(0.010);
        let (.., request) = self.request();
        reply_to(&request, self.now().wall.plus_ns(-5 * MS), 20_000)
    }

    fn received(&self) -> u64 {
        self.client.associations().map(|one| one.received).sum()
    }

    fn only_drop(&self) -> Option<DropReason> {
        let mut drops = self.client.drops().iter().collect::<Vec<_>>();
        match drops.pop() {
            Some((reason, 1)) if drops.is_empty() => Some(reason),
            _ => None,
        }
    }
}

#[test]
fn requests_say_nothing_of_us_and_never_the_same() {
    let mut world = asking();
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (.., request) = world.request();
        assert_eq!(request, Packet::request(request.transmit));
        nonces.insert(request.transmit.0);
        let asked = world.transmitted.len();
        while world.transmitted.len() == asked {
            world.run(1.0);
        }
    }
    assert_eq!(nonces.len(), 20);
    // Not our time: they differ in their first octets.
    let first: std::collections::BTreeSet<u64> = nonces.iter().map(|nonce| nonce >> 48).collect();
    assert!(first.len() > 10);
}

#[test]
fn a_good_reply_is_believed_once() {
    let mut world = asking();
    let reply = world.good_reply().emit();
    world.hear(address(0), &reply);
    assert_eq!((world.received(), world.client.drops().total()), (1, 0));
    world.hear(address(0), &reply);
    assert_eq!(world.received(), 1);
    assert_eq!(world.only_drop(), Some(DropReason::Duplicate));
}

#[test]
fn each_fault_of_a_reply_has_its_reason() {
    type Fault = fn(&mut Packet);
    let faults: [(DropReason, Fault); 17] = [
        (DropReason::NotServer, |reply| reply.mode = Mode::Client),
        (DropReason::NotServer, |reply| reply.mode = Mode::Broadcast),
        (DropReason::NotServer, |reply| {
            reply.mode = Mode::SymmetricPassive
        }),
        (DropReason::Bogus, |reply| reply.origin.0 ^= 1),
        (DropReason::Bogus, |reply| reply.origin = NtpTimestamp::ZERO),
        (DropReason::Inconsistent, |reply| {
            reply.receive = NtpTimestamp::ZERO
        }),
        (DropReason::Inconsistent, |reply| {
            reply.transmit = NtpTimestamp::ZERO
        }),
        // It left before it came, and it was inside for longer than it was away.
        (DropReason::Inconsistent, |reply| {
            reply.transmit.0 -= 1 << 32
        }),
        (DropReason::Inconsistent, |reply| {
            reply.transmit.0 += 1 << 32
        }),
        (DropReason::Unsynchronised, |reply| {
            reply.leap = Leap::Unsynchronised
        }),
        (DropReason::Unsynchronised, |reply| reply.stratum = 16),
        (DropReason::Distant, |reply| {
            reply.root_delay = NtpShort::from_ns(4_000 * MS)
        }),
        (DropReason::Distant, |reply| {
            reply.root_dispersion = NtpShort(u32::MAX)
        }),
        (DropReason::Distant, |reply| reply.reference.0 += 1 << 40),
        (DropReason::BelowFloor, |reply| {
            reply.receive.0 -= 2_000 << 32;
            reply.transmit.0 -= 2_000 << 32;
            reply.reference.0 -= 2_000 << 32;
        }),
        (DropReason::KissRate, |reply| {
            (reply.stratum, reply.reference_id) = (0, ReferenceId(*b"RATE"));
        }),
        (DropReason::KissOther, |reply| reply.stratum = 0),
    ];
    for (n, (reason, fault)) in faults.into_iter().enumerate() {
        let mut world = asking();
        let mut reply = world.good_reply();
        fault(&mut reply);
        world.hear(address(0), &reply.emit());
        assert_eq!(world.only_drop(), Some(reason), "fault {n}");
        assert_eq!(world.received(), 0, "fault {n}");
        assert_eq!(
            world
                .client
                .associations()
                .map(|one| one.dropped)
                .sum::<u64>(),
            1
        );
    }
}

#[test]
fn malformed_late_and_strange_replies_are_dropped() {
    let mut world = asking();
    let reply = world.good_reply().emit();
    world.hear(address(0), &reply[..47]);
    assert_eq!(world.only_drop(), Some(DropReason::Malformed));

    let mut world = asking();
    let reply = world.good_reply().emit();
    world.hear(address(1), &reply);
    assert_eq!(world.only_drop(), Some(DropReason::Stranger));
    world.hear_on(AssociationId(99), address(0), &reply, None);
    assert_eq!(world.client.drops().get(DropReason::Stranger), 2);

    // The next request of the burst has left since.
    let mut world = asking();
    let reply = world.good_reply().emit();
    world.run(2.5);
    assert_eq!(world.transmitted.len(), 2);
    world.hear(address(0), &reply);
    assert_eq!(world.only_drop(), Some(DropReason::Late));

    // The burst is over, and nothing was asked for a while.
    let mut world = asking();
    world.run(30.0);
    let asked = world.transmitted.len();
    while world.transmitted.len() == asked {
        world.run(0.1);
    }
    world.run(3.2);
    let (.., request) = world.request();
    let reply = reply_to(&request, world.now().wall.plus_ns(-1_500 * MS), 20_000);
    world.hear(address(0), &reply.emit());
    assert_eq!(world.only_drop(), Some(DropReason::Late));
}

#[test]
fn a_server_that_follows_us_is_no_source() {
    let mut world = asking();
    let local = std::net::IpAddr::from([198, 51, 100, 7]);
    let mut reply = world.good_reply();
    reply.stratum = 2;
    reply.reference_id = ReferenceId::of(local);
    let (association, ..) = world.request();
    world.hear_on(association, address(0), &reply.emit(), Some(local));
    assert_eq!(world.only_drop(), Some(DropReason::Loop));
}

#[test]
fn a_forged_reply_does_not_keep_the_good_one_out() {
    let mut world = asking();
    let good = world.good_reply();
    let mut forged = good;
    forged.origin = NtpTimestamp(1);
    forged.receive.0 += 1 << 40;
    forged.transmit.0 += 1 << 40;
    for _ in 0..100 {
        world.hear(address(0), &forged.emit());
    }
    let mut kiss = forged;
    (kiss.stratum, kiss.reference_id) = (0, ReferenceId(*b"DENY"));
    world.hear(address(0), &kiss.emit());
    assert_eq!(world.client.drops().get(DropReason::Bogus), 101);
    world.hear(address(0), &good.emit());
    assert_eq!(world.received(), 1);
}

#[test]
fn deny_and_restrict_end_an_association_for_good() {
    for code in [b"DENY", b"RSTR"] {
        let mut world = asking();
        let mut reply = world.good_reply();
        (reply.stratum, reply.reference_id) = (0, ReferenceId(*code));
        world.hear(address(0), &reply.emit());
        let closed = |event: &Event| {
            matches!(
                event,
                Event::Closed {
                    reason: ClosedReason::Denied,
                    ..
                }
            )
        };
        assert_eq!(world.count(closed), 1);
        assert_eq!(world.only_drop(), Some(DropReason::KissDeny));
        let asked = world.transmitted.len();
        world.run(300.0);
        // The name may stand for somebody else by now; the same address is not asked again.
        assert!(world.count(|event| matches!(event, Event::ResolveAgain { .. })) >= 1);
        world.resolve(SourceId(0), &[address(0)]);
        world.run(3_600.0);
        assert_eq!(world.transmitted.len(), asked);
        world.resolve(SourceId(0), &[address(0), address(1)]);
        world.run(1.0);
        assert_eq!(world.transmitted.last().unwrap().1, address(1));
    }
}

#[test]
fn rate_ends_the_burst_and_slows_every_poll_down() {
    let mut world = asking();
    let mut reply = world.good_reply();
    (reply.stratum, reply.reference_id) = (0, ReferenceId(*b"RATE"));
    world.hear(address(0), &reply.emit());
    let asked = world.transmitted.len();
    world.run(31.0);
    assert_eq!(world.transmitted.len(), asked);
    world.run(3.0);
    assert_eq!(world.transmitted.len(), asked + 1);
    assert_eq!(world.client.associations().next().unwrap().poll, 5);
    // Being online anew starts no burst against its will.
    world.input(Input::Online(false));
    world.input(Input::Online(true));
    world.run(10.0);
    assert_eq!(world.transmitted.len(), asked + 1);
    // Each kiss doubles the interval, up to a bound, also beyond the configured longest.
    for _ in 0..12 {
        let asked = world.transmitted.len();
        while world.transmitted.len() == asked {
            world.run(1.0);
        }
        let mut reply = world.good_reply();
        (reply.stratum, reply.reference_id) = (0, ReferenceId(*b"RATE"));
        world.hear(address(0), &reply.emit());
    }
    assert_eq!(world.client.associations().next().unwrap().poll, 10);
}

#[test]
fn the_kernels_send_time_counts() {
    let mut world = asking();
    let (association, _, request) = world.request();
    // The request waited for 4 ms in our own queue.
    let at = world.now().wall.plus_ns(4 * MS);
    world.input(Input::Sent { association, at });
    world.run(0.010);
    let reply = reply_to(&request, world.now().wall.plus_ns(-3 * MS), 0);
    world.hear(address(0), &reply.emit());
    let status = world.client.associations().next().unwrap();
    assert!(
        (status.delay_ns - 6 * MS).abs() < 10_000,
        "{}",
        status.delay_ns
    );
    assert!(status.offset_ns.abs() < 10_000, "{}", status.offset_ns);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_or_move_the_clock(
        octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
        datagrams in 1usize..20,
    ) {
        let mut world = asking();
        for _ in 0..datagrams {
            world.hear(address(0), &octets);
        }
        proptest::prop_assert_eq!(world.received(), 0);
        proptest::prop_assert_eq!(world.client.drops().total(), datagrams as u64);
        let moves = |event: &Event| matches!(event, Event::Step { .. } | Event::State(_));
        proptest::prop_assert_eq!(world.count(moves), 0);
    }

    /// Anything in the fields of a reply with the right number is only ever one sample.
    #[test]
    fn no_fields_panic(
        mut header in proptest::prelude::any::<[u8; 48]>(),
        wall in proptest::prelude::any::<i64>(),
    ) {
        let mut world = asking();
        header[0] = header[0] & 0xc0 | 0x24;
        let (association, to, request) = world.request();
        header[24..32].copy_from_slice(&request.transmit.0.to_be_bytes());
        for received in [UnixNs(wall), world.now().wall.plus_ns(10 * MS)] {
            world.input(Input::Datagram {
                association,
                from: to,
                local: None,
                octets: &header,
                received,
            });
        }
        world.run(20.0);
        proptest::prop_assert!(!world.is_synchronised());
    }
}
