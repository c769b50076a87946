//! What must hold whatever clients, the network and the disk do.

use super::lan::*;
use super::*;

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
