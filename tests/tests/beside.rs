//! Our NTP client beside chronyd's: the same four servers, of which one lies, over the same way.
//!
//! Both keep a clock of their own, chronyd's without its control over the machine's (-x), ours
//! pretended and five seconds wrong at the start; both serve it on loopback. The servers give
//! this machine's clock, and so does a third chronyd without sources, which is the reference.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::path::Path;
use std::time::Duration;

use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::namespace::{Namespace, Proc, Workdir};
use netns_tests::router::Router;
use netns_tests::{sky, until};

const SERVERS: [&str; 3] = [isp::TIME, "203.0.113.12", "203.0.113.13"];
const LIAR: &str = "203.0.113.14";
const CHRONYD_PORT: u16 = 11_123;
const REFERENCE_PORT: u16 = 11_124;
/// Rounds of comparison, a second each: long enough for two polls of each server.
const ROUNDS: &str = "90";
const BESIDE: &str = include_str!("../fixtures/ntp/beside.py");

#[test]
fn our_clock_is_within_twice_the_offset_of_chronyds() {
    let (isp, router) = (Namespace::new("isp"), Namespace::new("router"));
    isp.join("cust0", &router, "wan0");
    let isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    let dir = Workdir::new("beside");
    let _good = SERVERS.map(|address| sky::chronyd(&isp.ns, &dir, address));
    let _liar = sky::faulty(&isp.ns, &dir, LIAR, "lie");
    let config = format!(
        "[wan]\nport = \"wan0\"\n[ntp]\nservers = [\"{}\", \"{}\", \"{LIAR}\"]\npools = []\n\
         [run]\nclock_error_ms = -5000\n",
        SERVERS[1], SERVERS[2]
    );
    let router = Router::start(router, &config);
    let sources = SERVERS
        .iter()
        .chain([&LIAR])
        .map(|address| format!("server {address} iburst\n"))
        .collect::<String>();
    let _chronyd = serving(&router.ns, &dir, "client", CHRONYD_PORT, &sources);
    let _reference = serving(
        &router.ns,
        &dir,
        "reference",
        REFERENCE_PORT,
        "local stratum 2\n",
    );
    until("our clock is synchronised", Duration::from_secs(60), || {
        router.cli_json(&["ntp", "status"])["agreed"] == true
    });

    let script = dir.write("beside.py", BESIDE);
    let peer = |port: u16| format!("127.0.0.1:{port}");
    let said = router.ns.ok([
        Path::new("python3").as_os_str(),
        script.as_os_str(),
        ROUNDS.as_ref(),
        peer(REFERENCE_PORT).as_ref(),
        peer(123).as_ref(),
        peer(CHRONYD_PORT).as_ref(),
    ]);
    let number = |line: usize, word: usize| {
        let word = said
            .lines()
            .nth(line)
            .and_then(|line| line.split(' ').nth(word));
        word.and_then(|word| word.parse::<i64>().ok())
            .unwrap_or_else(|| panic!("not the comparison: {said}"))
    };
    let (noise, ours, theirs) = (number(0, 1), number(1, 6), number(2, 6));
    println!("lintel {ours} ns, chronyd {theirs} ns, of which the measurement {noise} ns");
    println!("{said}");
    // Below the noise of the measurement nobody is better.
    assert!(ours <= 2 * theirs.max(noise), "{said}");
}

/// A chronyd that serves the clock it keeps at `port` of loopback.
fn serving(ns: &Namespace, dir: &Workdir, name: &str, port: u16, sources: &str) -> Proc {
    let pid = dir.path(&format!("{name}.pid"));
    let config = format!(
        "bindaddress 127.0.0.1\nallow all\ncmdport 0\nport {port}\npidfile {}\n{sources}",
        pid.display()
    );
    let file = dir.write(&format!("{name}.conf"), &config);
    ns.spawn(
        &dir.path(&format!("{name}.log")),
        [
            "chronyd".as_ref(),
            "-x".as_ref(),
            "-d".as_ref(),
            "-u".as_ref(),
            "root".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
        ],
    )
}
