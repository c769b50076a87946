//! How many cached answers a second the pure DNS machine gives on one core.
//!
//! `cargo run --release -p lintel-proto --example dns_cached`
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a bench reads the clock

use std::alloc::System;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_time::Instant;
use lintel_proto::dns::{Asker, Config, Forwarder, Input, Output, Transport, Verdict};
use lintel_proto::rng::SeededRng;
use lintel_wire::dns::{Class, Flags, Name, Packet, Rdata, RecordRepr, Repr, RrType};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

const NAMES: u32 = 1_000;
const ROUNDS: u32 = 2_000;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let now = Instant::from_secs(1);
    let mut rng = SeededRng::new(1);
    let upstream = SocketAddr::from(([9, 9, 9, 9], 53));
    let local = Name::from_text("box.lan").unwrap_or_else(|_| Name::root());
    let config = Config {
        upstreams: vec![upstream],
        hosts: vec![(local.clone(), IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)))],
        ..Config::default()
    };
    let mut forwarder = Forwarder::new(config, &mut rng);
    let asker = Asker {
        peer: SocketAddr::from(([192, 168, 1, 9], 4_000)),
        local: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)),
        link: 1,
        transport: Transport::Udp,
    };
    let mut reply = [0; 1_232];
    let mut queries = Vec::new();
    for n in 0..NAMES {
        let name =
            Name::from_text(&format!("host{n}.example.com")).unwrap_or_else(|_| Name::root());
        let query = Repr::query(n as u16, name, RrType::A)
            .to_vec()
            .unwrap_or_default();
        forwarder.handle_query(now, asker, &query, &mut reply, &mut rng);
        while let Output::SendDatagram { slot, to, message } = forwarder.poll_output() {
            let Some(message) = answered(&message) else {
                return;
            };
            let input = Input::UpstreamDatagram {
                slot,
                from: to,
                message: &message,
            };
            forwarder.handle_input(now, input, &mut rng);
        }
        while !matches!(forwarder.poll_output(), Output::Timeout(_)) {}
        queries.push(query);
    }
    measure("cached", &queries, &mut forwarder, asker, &mut rng);
    let query = Repr::query(7, local, RrType::A)
        .to_vec()
        .unwrap_or_default();
    measure(
        "local",
        &vec![query; NAMES as usize],
        &mut forwarder,
        asker,
        &mut rng,
    );
}

fn measure(
    what: &str,
    queries: &[Vec<u8>],
    forwarder: &mut Forwarder,
    asker: Asker,
    rng: &mut SeededRng,
) {
    let now = Instant::from_secs(5);
    let mut reply = [0; 1_232];
    let region = Region::new(ALLOCATOR);
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        for query in queries {
            let verdict = forwarder.handle_query(now, asker, black_box(query), &mut reply, rng);
            assert!(matches!(black_box(verdict), Verdict::Reply(_)));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let allocations = region.change().allocations;
    let count = f64::from(NAMES) * f64::from(ROUNDS);
    println!(
        "{what}: {:.2} million answers a second, {:.0} ns each, {allocations} allocations",
        count / seconds / 1e6,
        seconds / count * 1e9
    );
    assert_eq!(allocations, 0);
}

/// What an upstream would answer.
fn answered(query: &[u8]) -> Option<Vec<u8>> {
    let mut repr = Repr::parse(&Packet::new_checked(query).ok()?).ok()?;
    repr.flags = Flags {
        response: true,
        recursion_available: true,
        ..Flags::QUERY
    };
    let name = repr.question.clone()?.name;
    let rdata = Rdata::A(Ipv4Addr::new(203, 0, 113, 1));
    repr.answers = vec![RecordRepr {
        name,
        class: Class::IN,
        ttl: 3_600,
        rdata,
    }];
    repr.to_vec().ok()
}
