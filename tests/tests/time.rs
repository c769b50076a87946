//! Time: chronyd as our servers and as our client, and servers that lie, forge and refuse.
//!
//! Nobody here sets this machine's clock: chronyd runs with -x or -Q, and timed keeps a pretended
//! clock under `lintel run`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::namespace::{Namespace, Proc, Workdir};
use netns_tests::router::Router;
use netns_tests::sky;
use netns_tests::{until, until_some};
use serde_json::Value;

const BOX: &str = "192.168.1.1";
/// From the first request of a burst of four to an agreement, with much room.
const AGREED: Duration = Duration::from_secs(60);
/// How far our clock may be from the servers', which share this machine and its noise.
const OFFSET_NS_MAX: i64 = 10_000_000;

struct Scene {
    router: Router,
    host: Host,
    isp: Isp,
    dir: Workdir,
    servers: Vec<Proc>,
}

/// A provider, and the namespaces of a router and of a host on its LAN.
fn places() -> (Isp, Namespace, Namespace) {
    let (isp, router, host) = (
        Namespace::new("isp"),
        Namespace::new("router"),
        Namespace::new("host"),
    );
    isp.join("cust0", &router, "wan0");
    router.join("lan0", &host, "eth0");
    (Isp::start(isp, "cust0", DhcpServer::Dnsmasq), router, host)
}

/// Good servers at .11 (which the provider's lease names) to .13 (written, or found by the
/// factory's pool), `faulty` ones beside them, and a router whose clock is five seconds behind.
fn scene(faulty: &[(&str, &str)], good: Good) -> Scene {
    let (isp, router, host) = places();
    let dir = Workdir::new("time");
    let [second, third, _] = isp::POOL;
    let mut servers = [isp::TIME, second, third]
        .map(|address| sky::chronyd(&isp.ns, &dir, address))
        .into_iter()
        .collect::<Vec<_>>();
    let faults = faulty.iter();
    servers.extend(faults.map(|(address, mode)| sky::faulty(&isp.ns, &dir, address, mode)));
    let (known, pools) = match good {
        Good::Written => (vec![second, third], "pools = []"),
        Good::Pool => (Vec::new(), ""),
    };
    let written: Vec<String> = known
        .iter()
        .chain(faulty.iter().map(|(address, _)| address))
        .map(|address| format!("\"{address}\""))
        .collect();
    let config = format!(
        "[wan]\nport = \"wan0\"\n[ntp]\nservers = [{}]\n{pools}\n[run]\nclock_error_ms = -5000\n",
        written.join(", ")
    );
    let host = Host::new(host, "eth0");
    let router = Router::start(router, &config);
    Scene {
        router,
        host,
        isp,
        dir,
        servers,
    }
}

/// How the router comes to know the good servers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Good {
    Written,
    Pool,
}

impl Scene {
    fn ask(&self, what: &[&str]) -> String {
        sky::ask(&self.host.ns, &self.dir, BOX, what)
    }

    fn status(&self) -> Value {
        self.router.cli_json(&["ntp", "status"])
    }

    fn agrees(&self) -> Value {
        until_some("several sources agree", AGREED, || {
            let status = self.status();
            (status["synchronised"] == true && status["agreed"] == true).then_some(status)
        })
    }
}

/// Of the source at `address`, by what `lintel ntp status` says.
fn state_of<'a>(status: &'a Value, address: &str) -> &'a str {
    let sources = status["sources"].as_array().unwrap().iter();
    let address = format!("{address}:123");
    let source = sources.clone().find(|s| s["address"] == address.as_str());
    source.map_or("unknown", |source| source["state"].as_str().unwrap())
}

fn dropped(status: &Value, reason: &str) -> u64 {
    let dropped = status["dropped"].as_array().unwrap().iter();
    let row = dropped.clone().find(|row| row[0] == reason);
    row.map_or(0, |row| row[1].as_u64().unwrap())
}

#[test]
fn three_of_four_are_believed_and_chronyd_believes_us() {
    let scene = scene(&[("203.0.113.14", "lie")], Good::Written);
    let _client = scene.host.dhcp(DhcpClient::Udhcpc, "laptop");
    scene.host.lease(Duration::from_secs(30));

    // Silence rather than a lie, until the sources have agreed.
    let silent = scene.ask(&["once", "4", "3"]);
    if scene.status()["synchronised"] == false {
        assert_eq!(silent, "silence");
    }
    scene.agrees();
    let status = until_some("all four are judged", AGREED, || {
        let status = scene.status();
        (state_of(&status, "203.0.113.14") == "falseticker").then_some(status)
    });
    for good in [isp::TIME, "203.0.113.12", "203.0.113.13"] {
        let state = state_of(&status, good);
        assert!(
            ["followed", "agrees", "candidate"].contains(&state),
            "{good} is {state}"
        );
    }
    assert_eq!(status["stratum"], 3);
    let provider = status["sources"].as_array().unwrap().iter();
    let provider: Vec<&Value> = provider.filter(|s| s["origin"] == "provider").collect();
    assert_eq!(provider.len(), 1, "option 42 of the lease");

    // What people read.
    let text = scene.router.cli_ok(&["ntp", "status"]);
    assert!(text.contains("synchronised, follows 203.0.113."), "{text}");
    let text = scene.router.cli_ok(&["status"]);
    assert!(text.contains("sources agree"), "{text}");
    let sources = scene.router.cli_ok(&["ntp", "sources"]);
    assert!(sources.contains("falseticker"), "{sources}");

    // chronyd as a client, one shot: what would it do to its clock?
    let shot = scene.host.ns.run([
        "chronyd",
        "-Q",
        "-u",
        "root",
        "-t",
        "30",
        &format!("pidfile {}", scene.dir.path("shot.pid").display()),
        "cmdport 0",
        &format!("server {BOX} iburst"),
    ]);
    let said = String::from_utf8_lossy(&shot.stderr) + String::from_utf8_lossy(&shot.stdout);
    let wrong = said
        .split_once("System clock wrong by ")
        .unwrap_or_else(|| panic!("chronyd did not accept us: {said}"));
    let wrong: f64 = wrong.1.split_whitespace().next().unwrap().parse().unwrap();
    println!(
        "chronyd -Q: our clock is {:.0} us from its own",
        wrong * 1e6
    );
    assert!(wrong.abs() < OFFSET_NS_MAX as f64 / 1e9, "{said}");

    // Versions 3 and 4 are answered as they came; control and private modes are not.
    for version in ["3", "4"] {
        let answer = scene.ask(&["once", version, "3"]);
        let want =
            format!("from {BOX} leap 0 version {version} mode 4 stratum 3 origin 7 octets 48");
        assert_eq!(answer, want);
    }
    for mode in ["0", "1", "2", "4", "5", "6", "7"] {
        assert_eq!(scene.ask(&["once", "4", mode]), "silence", "mode {mode}");
    }
    assert_eq!(scene.ask(&["once", "2", "3"]), "silence", "version 2");
    println!("prober on the LAN: {}", scene.ask(&["offsets", "5"]));

    // The provider gets no answer, whatever it asks.
    let wan = scene
        .router
        .ns
        .json(["ip", "-j", "address", "show", "wan0"]);
    let infos = wan[0]["addr_info"].as_array().unwrap();
    let inet = infos.iter().find(|info| info["family"] == "inet").unwrap();
    let wan = inet["local"].as_str().unwrap();
    let outside = sky::ask(&scene.isp.ns, &scene.dir, wan, &["once", "4", "3"]);
    assert_eq!(outside, "silence");

    // Too much is answered with one kiss, and then not.
    let flood = scene.ask(&["flood", "500"]);
    let words: Vec<&str> = flood.split_whitespace().collect();
    let (answers, kisses): (u32, u32) = (words[1].parse().unwrap(), words[3].parse().unwrap());
    assert!(answers <= 20 && kisses == 1, "{flood}");
    until("the flood is forgiven", Duration::from_secs(20), || {
        scene.ask(&["once", "4", "3"]) != "silence"
    });

    // The lease for the LAN names the box.
    let script = scene.dir.script(
        "env.sh",
        &format!("#!/bin/sh\nenv > {}\n", scene.dir.path("env").display()),
    );
    scene.host.ns.ok([
        "busybox",
        "udhcpc",
        "-n",
        "-q",
        "-f",
        "-i",
        "eth0",
        "-O",
        "ntpsrv",
        "-s",
        script.to_str().unwrap(),
    ]);
    let env = std::fs::read_to_string(scene.dir.path("env")).unwrap();
    assert!(env.contains(&format!("ntpsrv={BOX}")), "{env}");
}

#[test]
fn forgeries_and_kisses_do_what_the_rfc_says() {
    let faulty = [
        ("203.0.113.15", "deny"),
        ("203.0.113.16", "rate"),
        ("203.0.113.17", "forge"),
    ];
    let scene = scene(&faulty, Good::Pool);
    scene.agrees();
    let [.., deny, rate, forge] = &scene.servers[..] else {
        panic!("three faulty servers");
    };
    let asked = |server: &Proc| server.printed().matches("asked").count();
    until("the forger has answered a burst", AGREED, || {
        asked(forge) >= 4
    });
    let status = scene.status();
    // Forged: another origin, the same once more. What comes from another port is no reply to
    // the ruleset either, and does not even reach us.
    assert!(dropped(&status, "reply-bogus") >= 4, "{status}");
    assert!(dropped(&status, "reply-duplicate") >= 4, "{status}");
    assert_eq!(dropped(&status, "reply-stranger"), 0, "{status}");
    // The pool's name went through our own resolver to the provider's.
    let pool = status["sources"].as_array().unwrap().iter();
    assert!(
        pool.clone().any(|s| s["origin"] == "pool.ntp.org"),
        "{status}"
    );
    let state = state_of(&status, "203.0.113.17");
    assert!(
        ["followed", "agrees", "candidate"].contains(&state),
        "its true answers count: {state}"
    );
    // DENY: asked once and never again. RATE: the burst ends.
    assert_eq!(asked(deny), 1);
    assert_eq!(dropped(&status, "reply-kiss-deny"), 1);
    assert_eq!(state_of(&status, "203.0.113.15"), "unknown");
    assert_eq!(asked(rate), 1);
    assert_eq!(dropped(&status, "reply-kiss-rate"), 1);
    let sources = status["sources"].as_array().unwrap();
    let rated = sources.iter().find(|s| s["address"] == "203.0.113.16:123");
    assert!(rated.unwrap()["poll_s"].as_u64().unwrap() > 64, "{status}");
    // Nobody was led astray by a thousand seconds.
    let offset = status["offset_ns"].as_i64().unwrap();
    assert!(offset.abs() < OFFSET_NS_MAX, "{offset} ns");
    let _client = scene.host.dhcp(DhcpClient::Udhcpc, "laptop");
    scene.host.lease(Duration::from_secs(30));
    let said = scene.ask(&["offsets", "3"]);
    println!("prober on the LAN: {said}");
    let offset: i64 = said.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(offset.abs() < OFFSET_NS_MAX, "{said}");
}

#[test]
fn a_clock_set_by_hand_stays_until_time_servers_are_reached() {
    let (isp, router, host) = places();
    let dir = Workdir::new("by-hand");
    let [second, third, _] = isp::POOL;
    let config = format!(
        "[wan]\nport = \"wan0\"\n[ntp]\nservers = [\"{second}\", \"{third}\"]\npools = []\n\
         [run]\nclock_error_ms = -5000\n"
    );
    let host = Host::new(host, "eth0");
    let router = Router::start(router, &config);
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(Duration::from_secs(30));
    // In seconds of the machine's own clock, which stays as it is.
    let ahead = || {
        let shown = router.cli_json(&["system", "time", "show"]);
        (shown["unix_s"].as_i64().unwrap() - unix_s(), shown)
    };
    until("the pretended clock is shown", AGREED, || {
        (-7..=-4).contains(&ahead().0)
    });

    // To the next day, as people write it.
    const DAY: i64 = 86_400;
    let tomorrow = host
        .ns
        .ok(["date", "-u", "-d", "+24 hours", "+%Y-%m-%dT%H:%M:%SZ"]);
    let said = router.cli_ok(&["system", "time", "set", tomorrow.trim()]);
    assert!(said.starts_with("The clock is set."), "{said}");
    let (by_s, shown) = ahead();
    assert!((DAY - 3..=DAY + 3).contains(&by_s), "{shown}");
    assert_eq!(
        (&shown["synchronised"], &shown["agreed"]),
        (&Value::from(false), &Value::from(false)),
        "{shown}"
    );
    // The household is told no time that somebody wrote.
    assert_eq!(
        sky::ask(&host.ns, &dir, BOX, &["once", "4", "3"]),
        "silence"
    );
    let absurd = router.cli(&["system", "time", "set", "2262-01-01T00:00:00Z"]);
    assert!(!absurd.status.success());
    assert!((DAY - 3..=DAY + 3).contains(&ahead().0));

    // chronyd measures it: what is put right is what was set.
    let _servers = [isp::TIME, second, third].map(|at| sky::chronyd(&isp.ns, &dir, at));
    until("servers are believed more", AGREED * 2, || {
        let (by_s, shown) = ahead();
        shown["synchronised"] == true && by_s.abs() <= 2
    });
    let events = router.cli_json(&["events", "--topic", "clock", "--limit", "100"]);
    let leaps = events["items"].as_array().unwrap().iter();
    let leaps: Vec<i64> = leaps.filter_map(|event| event["by_ms"].as_i64()).collect();
    println!("the clock leapt by {leaps:?} ms, the newest first");
    let [back, forth] = leaps[..] else {
        panic!("{events}");
    };
    assert!((back + DAY * 1000).abs() < 5_000, "{leaps:?}");
    assert!((forth - DAY * 1000).abs() < 10_000, "{leaps:?}");

    // Now they would undo it.
    let refused = router.cli(&["system", "time", "set", "1795307405"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("follows time servers"), "{said}");
    assert!(ahead().0.abs() <= 2);
}

fn unix_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs().cast_signed()
}
