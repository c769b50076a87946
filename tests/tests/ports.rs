//! Which port leads to the provider: found, remembered, named, missing, colliding.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::told::{notice, status, status_when};
use netns_tests::{Namespace, Proc, Workdir, until};

const AUTO: &str = "[wan]\nport = \"auto\"\n\n[run]\n";
/// The search for a provider takes 8 s; then the box has something else to say.
const SEARCH: Duration = Duration::from_secs(20);

/// What the router sends as a DHCP server towards the provider.
struct Watch(Proc);

impl Watch {
    fn at(ns: &Namespace, link: &str, dir: &Workdir) -> Self {
        let log = dir.path("watch.log");
        let args = [
            "tcpdump", "-Z", "root", "-l", "-n", "-Q", "in", "-i", link, "udp", "src", "port", "67",
        ];
        let proc = ns.spawn(&log, args);
        until("tcpdump listens", Duration::from_secs(10), || {
            proc.printed().contains("listening on")
        });
        Self(proc)
    }

    fn saw(&self) -> Vec<String> {
        let printed = self.0.printed();
        let lines = printed.lines().filter(|line| line.contains("BOOTP"));
        lines.map(str::to_owned).collect()
    }
}

/// A client at the provider's end that asks twice and goes.
fn neighbour_asks(ns: &Namespace, link: &str) -> String {
    let output = ns.run([
        "udhcpc",
        "-f",
        "-n",
        "-q",
        "-i",
        link,
        "-t",
        "2",
        "-T",
        "1",
        "-s",
        "/bin/true",
    ]);
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    said
}

fn is_online(host: &Host) {
    until("a page comes from beyond", Duration::from_secs(20), || {
        host.fetch(&format!("http://{}/", isp::WEB)).as_deref() == Some(isp::PAGE)
    });
}

fn masters(router: &Router, link: &str) -> Option<String> {
    let links = router.ns.json(["ip", "-j", "link", "show", "dev", link]);
    links[0]["master"].as_str().map(str::to_owned)
}

fn finds(provider: &'static str, household: &'static str) {
    let (isp, router, host) = places();
    isp.join("cust0", &router, provider);
    router.join(household, &host, "eth0");
    let mut isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    let dir = Workdir::new("watch");
    let watch = Watch::at(&isp.ns, "cust0", &dir);
    let mut router = Router::start(router, AUTO);
    status_when(&router, "the provider's port is found", SEARCH, |status| {
        status["wan"]["link"] == provider && status["wan"]["lease"].is_object()
    });
    let host = Host::new(host, "eth0");
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(Duration::from_secs(20));
    is_online(&host);
    assert_eq!(masters(&router, provider), None);
    assert_eq!(masters(&router, household).as_deref(), Some("br-lan"));
    assert_eq!(watch.saw(), Vec::<String>::new());

    // Started again while nobody answers: neither the port nor the lease is forgotten.
    isp.dhcp = None;
    router.proc = None;
    router.launch();
    let again = status_when(
        &router,
        "the kept port and lease are in use",
        SEARCH,
        |status| {
            assert_ne!(status["wan"]["mode"], "detect", "the port was forgotten");
            status["wan"]["lease"].is_object()
        },
    );
    assert_eq!(again["wan"]["link"], provider);
    is_online(&host);
    isp.start_dhcp(DhcpServer::Dnsmasq);
    drop(client);

    // The householder says otherwise.
    let text = AUTO.replace("auto", household);
    let other = router.dir.write("other.toml", &text);
    router.cli_ok(&["config", "apply", other.to_str().unwrap()]);
    status_when(&router, "the named port is the WAN", SEARCH, |status| {
        status["wan"]["link"] == household && masters(&router, household).is_none()
    });
    until(
        "the other port joins the household",
        Duration::from_secs(10),
        || masters(&router, provider).as_deref() == Some("br-lan"),
    );
}

/// A provider, a router and a host that nothing joins yet.
fn places() -> (Namespace, Namespace, Namespace) {
    (
        Namespace::new("isp"),
        Namespace::new("router"),
        Namespace::new("host"),
    )
}

#[test]
fn the_provider_is_found_on_the_first_port() {
    finds("p0", "p1");
}

#[test]
fn the_provider_is_found_on_the_second_port() {
    finds("p1", "p0");
}

#[test]
fn one_port_serves_the_household_and_says_what_to_do() {
    let (router, host) = (Namespace::new("router"), Namespace::new("host"));
    router.join("p0", &host, "eth0");
    let router = Router::start(router, AUTO);
    let told = status_when(&router, "the box says it has one port", SEARCH, |status| {
        notice(status, "one-port").is_some()
    });
    let text = notice(&told, "one-port").unwrap();
    assert!(text.contains("p0") && text.contains("plug in"), "{text}");
    assert_eq!(told["wan"]["mode"], "off");
    // The command line breaks its lines between words.
    let printed = router.cli_ok(&["status"]);
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert!(words.join(" ").contains(&text), "{printed}");
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(host.lease(Duration::from_secs(20)).router, "192.168.1.1");
    assert_eq!(host.dig("192.168.1.1", &["lintel.lan"]), ["192.168.1.1"]);

    // An adapter is plugged in, with the provider behind it.
    let isp = Namespace::new("isp");
    isp.join("cust0", &router.ns, "p1");
    let _isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    let told = status_when(&router, "the new port is the WAN", SEARCH, |status| {
        status["wan"]["link"] == "p1" && status["wan"]["online"] == true
    });
    assert_eq!(notice(&told, "one-port"), None);
    is_online(&host);
}

#[test]
fn while_it_searches_the_box_serves_nobody_and_it_finds_a_late_provider() {
    let (isp, router, host) = places();
    isp.join("cust0", &router, "p0");
    router.join("p1", &host, "eth0");
    let mut isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    isp.dhcp = None;
    let dir = Workdir::new("watch");
    let watch = Watch::at(&isp.ns, "cust0", &dir);
    let router = Router::start(router, AUTO);
    let told = status(&router);
    assert_eq!(told["wan"]["mode"], "detect", "{told:#}");
    // The provider's other customers ask on that wire; we are not the ones to answer.
    let said = neighbour_asks(&isp.ns, "cust0");
    assert!(said.contains("no lease"), "{said}");
    let told = status(&router);
    let text = notice(&told, "wan-unknown").unwrap();
    assert!(
        text.contains("looks for"),
        "the search ended too early: {text}"
    );
    assert_eq!(watch.saw(), Vec::<String>::new());

    // Nobody answered: the household is served and told.
    let told = status_when(&router, "the search is over", SEARCH, |status| {
        notice(status, "wan-unknown").is_some_and(|text| text.contains("No port has shown"))
    });
    println!("{}", notice(&told, "wan-unknown").unwrap());
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(Duration::from_secs(20));

    // The modem comes up late.
    isp.start_dhcp(DhcpServer::Dnsmasq);
    status_when(
        &router,
        "the late provider is found",
        Duration::from_secs(80),
        |status| status["wan"]["link"] == "p0" && status["wan"]["online"] == true,
    );
    is_online(&host);
}

#[test]
fn a_named_port_that_is_missing_is_told_and_taken_when_it_comes() {
    let (isp, router, host) = places();
    router.join("p0", &host, "eth0");
    let router = Router::start(router, "[wan]\nport = \"wan0\"\n\n[run]\n");
    let told = status_when(&router, "the missing port is told", SEARCH, |status| {
        notice(status, "port-missing").is_some()
    });
    let text = notice(&told, "port-missing").unwrap();
    assert!(text.contains("wan0"), "{text}");
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(DhcpClient::Dhclient, "desk");
    host.lease(Duration::from_secs(20));

    isp.join("cust0", &router.ns, "wan0");
    let isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    let told = status_when(&router, "the port is in use", SEARCH, |status| {
        status["wan"]["link"] == "wan0" && status["wan"]["online"] == true
    });
    assert_eq!(notice(&told, "port-missing"), None);
    is_online(&host);

    // And it goes again, cable and adapter.
    isp.ns.ok(["ip", "link", "delete", "cust0"]);
    status_when(&router, "the lost port is told", SEARCH, |status| {
        notice(status, "port-missing").is_some()
    });
    assert_eq!(host.dig("192.168.1.1", &["lintel.lan"]), ["192.168.1.1"]);
}

#[test]
fn a_provider_with_the_households_network_is_noticed_and_another_proposed() {
    let (isp, router, host) = places();
    isp.join("cust0", &router, "wan0");
    router.join("p0", &host, "eth0");
    let dir = Workdir::new("modem");
    isp.ok(["ip", "address", "add", "192.168.1.254/24", "dev", "cust0"]);
    let modem = isp.spawn(
        &dir.path("dnsmasq.log"),
        [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--log-facility=-",
            "--no-ping",
            "--interface=cust0",
            "--bind-interfaces",
            "--dhcp-authoritative",
            "--dhcp-range=192.168.1.20,192.168.1.30,255.255.255.0,2m",
            &format!("--dhcp-leasefile={}", dir.path("leases").display()),
            "--pid-file=",
        ],
    );
    until("the modem serves DHCP", Duration::from_secs(10), || {
        modem.printed().contains("DHCP, IP range")
    });
    let router = Router::start(router, "[wan]\nport = \"wan0\"\n\n[run]\n");
    let told = status_when(&router, "the collision is told", SEARCH, |status| {
        notice(status, "wan-overlaps-lan").is_some()
    });
    let text = notice(&told, "wan-overlaps-lan").unwrap();
    assert!(text.contains("192.168.1.0/24"), "{text}");
    let free = text
        .split('"')
        .nth(1)
        .expect("the proposal stands in quotes")
        .to_owned();
    println!("{text}");
    let wan = router
        .ns
        .json(["ip", "-j", "-4", "address", "show", "dev", "wan0"]);
    assert_eq!(
        wan[0]["addr_info"]
            .as_array()
            .map_or(0, |addresses| addresses.len()),
        0,
        "the colliding address is not used: {wan}"
    );
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(host.lease(Duration::from_secs(20)).router, "192.168.1.1");
    assert!(host.fetch("http://192.168.1.1/health").is_some());

    // The householder takes the proposal.
    let text = format!("[wan]\nport = \"wan0\"\n\n[lan]\naddress = \"{free}\"\n\n[run]\n");
    let moved = router.dir.write("moved.toml", &text);
    router.cli_ok(&["config", "apply", moved.to_str().unwrap()]);
    status_when(
        &router,
        "the provider's address is in use",
        SEARCH,
        |status| {
            let wan = router
                .ns
                .json(["ip", "-j", "-4", "address", "show", "dev", "wan0"]);
            notice(status, "wan-overlaps-lan").is_none()
                && wan[0]["addr_info"][0]["local"]
                    .as_str()
                    .is_some_and(|address| address.starts_with("192.168.1."))
        },
    );
}

#[test]
fn a_pulled_cable_is_told_and_forgiven() {
    let (isp, router, host) = places();
    isp.join("cust0", &router, "wan0");
    router.join("p0", &host, "eth0");
    let isp = Isp::start(isp, "cust0", DhcpServer::Dnsmasq);
    let router = Router::start(router, "[wan]\nport = \"wan0\"\n\n[run]\n");
    let host = Host::new(host, "eth0");
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(Duration::from_secs(20));
    is_online(&host);

    isp.ns.ok(["ip", "link", "set", "cust0", "down"]);
    let told = status_when(&router, "the pulled cable is told", SEARCH, |status| {
        status["wan"]["carrier"] == false && status["wan"]["online"] == false
    });
    assert!(
        told["wan"]["text"].as_str().unwrap().contains("cable"),
        "{told:#}"
    );
    isp.ns.ok(["ip", "link", "set", "cust0", "up"]);
    status_when(&router, "the WAN is back", SEARCH, |status| {
        status["wan"]["online"] == true && status["wan"]["state"] == "bound"
    });
    is_online(&host);

    // The same on the household's side: same address afterwards.
    drop(client);
    host.ns.ok(["ip", "link", "set", "eth0", "down"]);
    status_when(&router, "the LAN port has no carrier", SEARCH, |status| {
        status["lan"]["ports"][0]["carrier"] == false
    });
    host.ns.ok(["ip", "link", "set", "eth0", "up"]);
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(host.lease(Duration::from_secs(20)), lease);
    is_online(&host);
}
