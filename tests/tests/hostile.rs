//! Malformed, forged and too many packets, from the household and from the provider's side:
//! nothing ends, nothing grows, and whoever behaves is served meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::time::{Duration, Instant};

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::street::{self, CONFIG};
use netns_tests::told::{compare, roles, rss_kib, status};
use netns_tests::{Namespace, Proc, Workdir, until};

/// Embedded: in the lab guest there is no source tree.
const SCRIPT: &str = include_str!("../fixtures/hostile/hostile.py");
const SOON: Duration = Duration::from_secs(20);
const BOX: &str = "192.168.1.1";
/// How much a role may grow under attack, KiB: its bounded queues and caches, in a debug build.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

/// A provider, the router, and on its LAN one that behaves and one that does not.
struct Street {
    isp: Isp,
    router: Router,
    good: Host,
    bad: Host,
    dir: Workdir,
}

fn street() -> Street {
    let street::Street { isp, router, hosts } = street::Street::new(DhcpServer::Dnsmasq, CONFIG, 2);
    let Ok([good, bad]) = <[Host; 2]>::try_from(hosts) else {
        unreachable!("two were asked for")
    };
    bad.ns
        .ok(["ip", "address", "add", "192.168.1.66/24", "dev", "eth0"]);
    let dir = Workdir::new("hostile");
    Street {
        isp,
        router,
        good,
        bad,
        dir,
    }
}

impl Street {
    fn attack(&self, from: &Namespace, args: &[&str]) -> Proc {
        let script = self.dir.write("hostile.py", SCRIPT);
        let mut all = vec!["python3", "-B", script.to_str().unwrap()];
        all.extend(args);
        from.spawn(&self.dir.path(&format!("{}.log", args[0])), all)
    }

    /// The one that behaves: a name that only the provider knows, one of the household's, a page
    /// from beyond and one of the box.
    fn is_served(&self) {
        let good = &self.good;
        until("names resolve", SOON, || {
            good.dig(BOX, &[isp::NAME]) == [isp::WEB] && good.dig(BOX, &["good.lan"]).len() == 1
        });
        until("pages come", SOON, || {
            good.fetch(&format!("http://{}/", isp::WEB)).is_some()
                && good.fetch(&format!("http://{BOX}/health")).is_some()
        });
    }

    /// Serves the good one as long as the bad ones go on; says how often.
    fn serves_until_over(&self, mut attacks: Vec<Proc>) -> (usize, Duration) {
        let end = Instant::now() + Duration::from_secs(150);
        let (mut times, mut longest) = (0, Duration::ZERO);
        while attacks.iter_mut().any(Proc::runs) {
            assert!(Instant::now() < end, "the attacks do not end");
            let begun = Instant::now();
            self.is_served();
            longest = longest.max(begun.elapsed());
            times += 1;
        }
        for attack in &mut attacks {
            let status = attack.wait(SOON);
            let said = attack.printed();
            assert!(status.success(), "{said}");
            println!("{}", said.trim());
        }
        (times, longest)
    }

    /// Waits until the box tells of so many drops; it counts at once and tells every ten seconds.
    fn has_dropped(&self, dns_min: u64, dhcp_min: u64, wan_min: u64) {
        let mut last = String::new();
        let end = Instant::now() + SOON;
        loop {
            let told = status(&self.router);
            let dns = self.router.cli_json(&["dns", "statistics"]);
            let counters = [
                ("dns", &dns["dropped"], dns_min),
                ("dhcp", &told["leases"]["dropped"], dhcp_min),
                ("wan", &told["wan"]["dropped"], wan_min),
            ];
            last.clear();
            for (name, dropped, _) in &counters {
                last.push_str(&format!("{name}:{} ", words(dropped)));
            }
            if counters
                .iter()
                .all(|(_, dropped, min)| sum(dropped) >= *min)
            {
                break println!("drops: {last}");
            }
            assert!(Instant::now() < end, "too few drops are told: {last}");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

fn pairs(dropped: &serde_json::Value) -> impl Iterator<Item = (&str, u64)> {
    let pairs = dropped.as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_u64()?)))
}

/// The counters that are not zero.
fn words(dropped: &serde_json::Value) -> String {
    let counted = pairs(dropped).filter(|(_, count)| *count > 0);
    counted
        .map(|(reason, count)| format!(" {reason} {count}"))
        .collect()
}

fn sum(dropped: &serde_json::Value) -> u64 {
    pairs(dropped).map(|(_, count)| count).sum()
}

#[test]
fn garbage_from_the_household_is_dropped_and_counted() {
    let street = street();
    let _client = street.good.dhcp(DhcpClient::Udhcpc, "good");
    let lease = street.good.lease(SOON);
    street.is_served();
    let before = roles(&street.router);
    let bad = &street.bad.ns;
    let attacks = vec![
        street.attack(bad, &["dns-udp", BOX, "20000"]),
        street.attack(bad, &["dns-tcp", BOX, "300"]),
        street.attack(bad, &["dhcp", "eth0", "8000"]),
        street.attack(bad, &["arp", "eth0", "4000"]),
        street.attack(bad, &["http", BOX, "400"]),
    ];
    let (times, longest) = street.serves_until_over(attacks);
    println!(
        "the good one was served {times} times meanwhile, the slowest in {} ms",
        longest.as_millis()
    );
    assert!(times > 0);
    let after = roles(&street.router);
    let growth = compare("garbage from the household", &before, &after);
    assert!(growth < GROWTH_KIB_MAX, "a role grew by {growth} KiB");
    street.has_dropped(5_000, 1_000, 0);
    // What was given stays given.
    street.good.ns.ok(["ping", "-n", "-c", "1", "-W", "2", BOX]);
    assert_eq!(
        street.good.dig(BOX, &["good.lan"]),
        [lease.address.trim_end_matches("/24")]
    );
}

#[test]
fn forgeries_from_the_providers_side_change_nothing() {
    let street = street();
    let _client = street.good.dhcp(DhcpClient::Udhcpc, "good");
    street.good.lease(SOON);
    street.is_served();
    let lease = status(&street.router)["wan"]["lease"].clone();
    let wan = lease["address"].as_str().unwrap().to_owned();
    let links = street
        .router
        .ns
        .json(["ip", "-j", "link", "show", "dev", "wan0"]);
    let mac = links[0]["address"].as_str().unwrap().to_owned();
    let before = roles(&street.router);
    let isp = &street.isp.ns;
    let attacks = vec![
        street.attack(isp, &["wan-dns", "cust0", "8"]),
        street.attack(isp, &["wan-dhcp", "cust0", &mac, "8000"]),
        street.attack(isp, &["wan-noise", "cust0", &mac, &wan, "12000"]),
    ];
    // Each name is new to the cache, so that each answer is one of the provider's.
    let mut asked = 0_u64;
    let mut attacks = attacks;
    while attacks[0].runs() && asked < 200 {
        let name = format!("n{asked}.example.net");
        let answer = street.good.dig(BOX, &[&name]);
        assert_eq!(answer, Vec::<String>::new(), "a lie was believed: {name}");
        asked += 1;
    }
    let (times, longest) = street.serves_until_over(attacks);
    println!(
        "{asked} names asked under lies; served {times} times, the slowest in {} ms",
        longest.as_millis()
    );
    street.is_served();
    let now = status(&street.router);
    assert_eq!(now["wan"]["lease"]["address"], lease["address"]);
    assert_eq!(now["wan"]["lease"]["router"], lease["router"]);
    assert_eq!(now["wan"]["online"], true);
    let after = roles(&street.router);
    let growth = compare("forgeries from the provider's side", &before, &after);
    assert!(growth < GROWTH_KIB_MAX, "a role grew by {growth} KiB");
    // Nine lies came with each question; a slow machine asks fewer.
    street.has_dropped(asked, 0, 1_000);
}

#[test]
fn a_thousand_half_open_requests_hold_nobody_up() {
    let street = street();
    let _client = street.good.dhcp(DhcpClient::Udhcpc, "good");
    street.good.lease(SOON);
    street.is_served();
    for n in 20..60 {
        let address = format!("192.168.1.{n}/24");
        street
            .bad
            .ns
            .ok(["ip", "address", "add", &address, "dev", "eth0"]);
    }
    let webd = roles(&street.router)["webd"];
    let mut attack = street.attack(&street.bad.ns, &["half-open", BOX, "1000", "12"]);
    until("the half-open requests are held", SOON, || {
        attack.printed().contains("connecting")
    });
    let (mut slowest, mut pages, mut most) = (Duration::ZERO, 0, 0);
    while attack.runs() {
        let begun = Instant::now();
        let page = street.good.ns.run([
            "curl",
            "-sS",
            "-L",
            "-m",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("http://{BOX}/"),
        ]);
        slowest = slowest.max(begun.elapsed());
        assert_eq!(
            String::from_utf8_lossy(&page.stdout),
            "200",
            "{}",
            String::from_utf8_lossy(&page.stderr)
        );
        pages += 1;
        most = most.max(rss_kib(webd.pid).expect("webd lives"));
    }
    println!("{}", attack.printed().trim());
    println!(
        "{pages} pages meanwhile, the slowest in {} ms; webd {} KiB before, {most} KiB at most",
        slowest.as_millis(),
        webd.rss_kib
    );
    // One lost handshake costs a second by itself (RFC 6298, 2.1); more than one is our doing.
    assert!(pages > 5 && slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(most < webd.rss_kib + 4096, "webd grew to {most} KiB");
    assert_eq!(roles(&street.router)["webd"].pid, webd.pid);
}

#[test]
fn a_flood_of_clients_fills_the_pool_and_nothing_else() {
    let street = street();
    let client = street.good.dhcp(DhcpClient::Udhcpc, "good");
    let lease = street.good.lease(SOON);
    street.is_served();
    let before = roles(&street.router);
    let flood = street.attack(&street.bad.ns, &["dhcp-flood", "eth0", "5000"]);
    let (times, longest) = street.serves_until_over(vec![flood]);
    println!(
        "the good one was served {times} times meanwhile, the slowest in {} ms",
        longest.as_millis()
    );
    let after = roles(&street.router);
    let growth = compare("5,000 clients", &before, &after);
    assert!(growth < GROWTH_KIB_MAX, "a role grew by {growth} KiB");
    let told = status(&street.router);
    street.has_dropped(0, 4_000, 0);
    assert!(told["leases"]["active"].as_u64() <= told["leases"]["pool"].as_u64());

    // The binding from before is renewed, and nobody else has its address.
    client.signal("USR1");
    until("the lease is renewed", SOON, || {
        client.printed().matches("obtained").count() >= 2
    });
    assert_eq!(street.good.lease(SOON), lease);
    let log = street.router.proc.as_ref().unwrap().printed();
    let full: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("dhcpd") && line.contains("pool"))
        .collect();
    println!("{}", full.join("\n"));
    assert!(
        (1..=3).contains(&full.len()),
        "the full pool is told {} times",
        full.len()
    );
    let lines = log.lines().filter(|line| line.contains(" dhcpd ")).count();
    assert!(lines < 600, "the flood wrote {lines} lines of log");
}

#[test]
fn a_hundred_thousand_clients_and_names_fit_the_same_memory() {
    let street = street();
    let client = street.good.dhcp(DhcpClient::Udhcpc, "good");
    let lease = street.good.lease(SOON);
    street.is_served();
    let bad = &street.bad.ns;
    // What the caches may hold is filled first: the bound is what more of the same costs.
    let some = vec![
        street.attack(bad, &["dhcp-flood", "eth0", "5000"]),
        street.attack(bad, &["dns-names", BOX, "20000"]),
    ];
    street.serves_until_over(some);
    let before = roles(&street.router);
    let all = vec![
        street.attack(bad, &["dhcp-flood", "eth0", "100000", "4000"]),
        street.attack(bad, &["dns-names", BOX, "100000", "4000"]),
    ];
    let (times, longest) = street.serves_until_over(all);
    println!(
        "the good one was served {times} times meanwhile, the slowest in {} ms",
        longest.as_millis()
    );
    let after = roles(&street.router);
    let growth = compare("100,000 clients and names", &before, &after);
    // On a busy machine the first round fills less of a cache. Kept one by one, a hundred
    // thousand of either would be tens of megabytes.
    assert!(growth < 4096, "a role grew by {growth} KiB");
    client.signal("USR1");
    until("the lease is renewed", SOON, || {
        client.printed().matches("obtained").count() >= 2
    });
    assert_eq!(street.good.lease(SOON), lease);
}
