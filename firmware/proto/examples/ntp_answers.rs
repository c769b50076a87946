//! How many answers a second the pure NTP server gives on one core.
//!
//! `cargo run --release -p lintel-proto --example ntp_answers`
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a bench reads the clock

use std::alloc::System as Heap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use embassy_time::Instant;
use lintel_proto::ntp::server::{RateLimit, Server, Verdict};
use lintel_proto::ntp::{Leap, System, UnixNs};
use lintel_proto::rng::SeededRng;
use lintel_wire::ntp::{NtpTimestamp, Packet};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

const CLIENTS: u32 = 250;
const ROUNDS: u32 = 80_000;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<Heap> = &INSTRUMENTED_SYSTEM;

fn main() {
    measure("without a rate limit", None);
    measure("with it", Some(RateLimit::LAN));
}

fn measure(what: &str, limit: Option<RateLimit>) {
    let start = Instant::from_secs(1);
    let mut server = Server::new(start, limit, &mut SeededRng::new(1));
    server.set_system(System {
        leap: Leap::None,
        stratum: 3,
        ..System::unsynchronised(start, -24)
    });
    let request = Packet::request(NtpTimestamp(0x1234_5678_9abc_def0)).emit();
    let wall = UnixNs::from_secs(1_782_000_000);
    let region = Region::new(ALLOCATOR);
    let began = std::time::Instant::now();
    for round in 0..ROUNDS {
        // A second a round, so that nobody is beyond the limit.
        let now = Instant::from_secs(u64::from(round) + 1);
        for client in 0..CLIENTS {
            let from = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + client));
            match server.handle_request(now, from, black_box(&request), wall) {
                Verdict::Reply(reply) => black_box(reply.stamped(wall)),
                Verdict::Silence(_) => return,
            };
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let allocations = region.change().allocations;
    let count = f64::from(CLIENTS) * f64::from(ROUNDS);
    println!(
        "{what}: {:.2} million answers a second, {:.0} ns each, {allocations} allocations",
        count / seconds / 1e6,
        seconds / count * 1e9
    );
    assert_eq!(allocations, 0);
}
