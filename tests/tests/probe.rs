//! Tests of the network that the box makes, judged by ping, busybox' traceroute and dig from the same
//! place: a way with a narrow link, ports open, closed and filtered, hosts that are not there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::time::Duration;

use netns_tests::isp::{self, DhcpServer};
use netns_tests::router::Router;
use netns_tests::street::{CONFIG, Street};
use netns_tests::{Namespace, until, until_some};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// A host behind a link of the provider that is narrower than all others.
const FAR: &str = "192.0.2.2";
const NARROW_MTU: u64 = 1400;
/// Packets to it vanish.
const DEAD: &str = "203.0.113.200";
/// The provider says that it is not there.
const GONE: &str = "192.0.2.77";

struct Scene {
    street: Street,
    _far: Namespace,
}

fn scene() -> Scene {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let far = Namespace::new("far");
    let isp = &street.isp.ns;
    isp.join("down0", &far, "up0");
    let mtu = NARROW_MTU.to_string();
    for (ns, link, address) in [
        (isp, "down0", "192.0.2.1/24"),
        (&far, "up0", "192.0.2.2/24"),
    ] {
        ns.ok(["ip", "address", "add", address, "dev", link]);
        ns.ok(["ip", "link", "set", link, "mtu", &mtu, "up"]);
    }
    far.ok(["ip", "route", "add", "default", "via", "192.0.2.1"]);
    isp.ok(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    // Several programs ask one after the other, and Linux says the same to a host once a second.
    isp.ok(["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"]);
    isp.ok(["ip", "route", "add", "blackhole", DEAD]);
    let rule = format!("add rule ip gone pass ip daddr {GONE} reject with icmp host-unreachable");
    isp.ok(["nft", "add table ip gone"]);
    isp.ok([
        "nft",
        "add chain ip gone pass { type filter hook forward priority 0; }",
    ]);
    isp.ok(["nft", &rule]);
    until("the box is online", PATIENCE, || {
        let ping = ["ping", "-c", "1", "-W", "1", isp::GATEWAY];
        let dig = ["dig", "+short", "+time=1", "@127.0.0.1", isp::NAME];
        street.router.ns.run(ping).status.success()
            && street
                .router
                .ns
                .run(dig)
                .stdout
                .starts_with(isp::WEB.as_bytes())
    });
    Scene { street, _far: far }
}

/// Begins one; the task's number.
fn begin(router: &Router, words: &[&str]) -> String {
    let begun = router.cli_json(&[&["network", "test"], words].concat());
    begun["task"].as_u64().unwrap().to_string()
}

/// Does one to its end.
fn done(router: &Router, words: &[&str]) -> Value {
    let task = begin(router, words);
    until_some("the test ends", Duration::from_secs(90), || {
        let shown = router.cli_json(&["tasks", "show", &task]);
        (shown["state"] != "running").then_some(shown)
    })
}

#[test]
fn ping_and_ports_are_what_other_programs_say() {
    let scene = scene();
    let router = &scene.street.router;

    let judge = router.ns.ok(["ping", "-c", "4", "-i", "0.2", "-q", FAR]);
    assert!(judge.contains("4 received"), "{judge}");
    let said = router.cli_ok(&["network", "test", "ping", FAR]);
    println!("{judge}\nours:\n{said}");
    assert!(said.contains("4 packets, 4 answers, 0 % lost"), "{said}");
    let task = done(router, &["ping", FAR, "count=2", "size=1400"]);
    let report = &task["report"];
    assert_eq!(report["received"], 0, "too long for the way: {task}");
    let first = &report["packets"][0];
    assert_eq!(first["refused_by"], isp::GATEWAY, "{task}");
    assert!(
        first["error"]
            .as_str()
            .unwrap()
            .contains("takes 1400 octets"),
        "{task}"
    );

    // By its name, which the box's own resolver knows.
    let task = done(router, &["ping", isp::NAME, "count=1"]);
    assert_eq!(task["report"]["address"], isp::WEB, "{task}");
    assert_eq!(task["report"]["received"], 1, "{task}");

    let dead = router.cli(&["network", "test", "ping", DEAD, "count=2"]);
    let said = String::from_utf8_lossy(&dead.stdout).into_owned();
    assert!(
        !dead.status.success() && said.contains("100 % lost"),
        "{said}"
    );
    let task = done(router, &["ping", GONE, "count=1"]);
    assert_eq!(
        task["report"]["packets"][0]["refused_by"],
        isp::GATEWAY,
        "{task}"
    );

    // curl finds the one port, and nobody the other.
    for (target, port, state) in [
        (isp::WEB, "80", "open"),
        (isp::WEB, "81", "closed"),
        (DEAD, "80", "filtered"),
        (GONE, "80", "unreachable"),
        (isp::NAME, "80", "open"),
    ] {
        let port_word = format!("port={port}");
        let task = done(router, &["port", target, &port_word]);
        assert_eq!(task["report"]["state"], state, "{target}:{port}: {task}");
        let url = format!("http://{target}:{port}/");
        if target != isp::NAME {
            let judge = router
                .ns
                .run(["curl", "-s", "-m", "2", "-o", "/dev/null", &url]);
            assert_eq!(judge.status.success(), state == "open", "{url}");
        }
    }
    // Nothing of it stays open.
    let left = router.ns.ok(["ss", "-Htn", "dst", isp::WEB]);
    assert!(!left.contains("ESTAB"), "{left}");
}

#[test]
fn ways_and_their_widths_are_what_other_programs_say() {
    let scene = scene();
    let router = &scene.street.router;

    let judge = router
        .ns
        .ok(["busybox", "traceroute", "-n", "-q", "1", "-w", "2", FAR]);
    let said = router.cli_ok(&["network", "test", "traceroute", FAR]);
    println!("{judge}\nours:\n{said}");
    let task = done(router, &["traceroute", FAR]);
    let hops = task["report"]["hops"].as_array().unwrap();
    let ours: Vec<&str> = hops
        .iter()
        .map(|hop| hop["address"].as_str().unwrap())
        .collect();
    let theirs: Vec<&str> = judge
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(task["report"]["reached"], true, "{task}");
    assert!(said.contains(&format!("{FAR} is reached")), "{said}");
    let task = done(router, &["traceroute", DEAD, "hops=3"]);
    assert_eq!(task["report"]["reached"], false, "{task}");
    assert_eq!(
        task["report"]["hops"].as_array().unwrap().len(),
        3,
        "{task}"
    );

    // The longest that passes, and one octet more, by ping.
    let passes = |data: u64| {
        let data = data.to_string();
        let ping = ["ping", "-M", "do", "-c", "1", "-W", "2", "-s", &data, FAR];
        router.ns.run(ping).status.success()
    };
    let task = done(router, &["path-mtu", FAR]);
    let mtu = task["report"]["mtu"].as_u64().unwrap();
    assert_eq!(mtu, NARROW_MTU, "{task}");
    assert!(passes(mtu - 28) && !passes(mtu - 27));
    assert_eq!(task["report"]["narrowed_by"], isp::GATEWAY, "{task}");
    assert_eq!(task["report"]["silent"], false, "{task}");
    let task = done(router, &["path-mtu", isp::GATEWAY]);
    assert_eq!(task["report"]["mtu"], 1500, "{task}");
    // A provider that tells nobody.
    let rule = "add rule ip mute out icmp type destination-unreachable drop";
    let isp = &scene.street.isp.ns;
    isp.ok(["nft", "add table ip mute"]);
    isp.ok([
        "nft",
        "add chain ip mute out { type filter hook output priority 0; }",
    ]);
    isp.ok(["nft", rule]);
    let task = done(router, &["path-mtu", FAR]);
    println!("a black hole: {}", task["report"]);
    assert_eq!(task["report"]["mtu"], NARROW_MTU, "{task}");
    assert_eq!(task["report"]["silent"], true, "{task}");
}

#[test]
fn names_are_what_dig_says_and_tests_have_bounds_and_an_end() {
    let scene = scene();
    let router = &scene.street.router;

    let judge = router.ns.ok(["dig", "+short", "@127.0.0.1", isp::NAME]);
    let task = done(router, &["resolve", isp::NAME]);
    assert_eq!(
        task["report"]["records"][0]["value"],
        judge.trim(),
        "{task}"
    );
    let server = format!("server={}", isp::GATEWAY);
    let task = done(router, &["resolve", isp::NAME, &server]);
    assert_eq!(
        task["report"]["server"],
        format!("{}:53", isp::GATEWAY),
        "{task}"
    );
    assert_eq!(
        task["report"]["records"][0]["value"],
        judge.trim(),
        "{task}"
    );
    let task = done(router, &["resolve", "nobody.example.net"]);
    let status = router.ns.ok(["dig", "@127.0.0.1", "nobody.example.net"]);
    let code = task["report"]["code"].as_str().unwrap();
    assert!(
        status.contains(&format!("status: {code}")),
        "{task} {status}"
    );
    let server = format!("server={DEAD}");
    let task = done(router, &["resolve", isp::NAME, &server]);
    assert_eq!(task["report"]["code"], "TIMEOUT", "{task}");
    let task = done(router, &["ping", "nobody.example.net"]);
    assert_eq!(task["state"], "failed", "{task}");

    // One at a time, and it ends when it is told to.
    let task = begin(router, &["ping", DEAD, "count=20"]);
    let second = router.cli(&["network", "test", "ping", FAR]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && said.contains("Another test"),
        "{said}"
    );
    let ended = router.cli_json(&["tasks", "cancel", &task]);
    assert_eq!(ended["state"], "cancelled", "{ended}");
    let task = done(router, &["ping", FAR, "count=1"]);
    assert_eq!(task["report"]["received"], 1, "{task}");
    let sent = || {
        let counter = router.ns.ok(["nstat", "-asz", "IcmpOutEchos"]);
        let line = counter
            .lines()
            .find(|line| line.starts_with("IcmpOutEchos"));
        line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
    };
    let before = sent();
    done(router, &["resolve", isp::NAME]);
    assert_eq!(sent(), before, "what was ended sends no more");

    for words in [
        &["ping", "224.0.0.1"][..],
        &["ping", "255.255.255.255"],
        &["ping", "127.0.0.1"],
        &["ping", "2001:db8::1"],
        &["ping", "two words"],
        &["ping", FAR, "count=21"],
        &["ping", FAR, "size=1473"],
        &["port", FAR],
        &["port", FAR, "port=65536"],
        &["resolve", isp::NAME, "type=AXFR"],
        &["jump", FAR],
    ] {
        let refused = router.cli(&[&["network", "test"], words].concat());
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {refused:?}");
    }
}
