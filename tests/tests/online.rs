//! The whole router in a namespace: a foreign client goes online through it, by way of a
//! foreign provider.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::time::Duration;

use netns_tests::client::{DhcpClient, Lease};
use netns_tests::isp::{self, DhcpServer};
use netns_tests::street::Street;
use netns_tests::until;

const CONFIG: &str = r#"
[wan]
port = "wan0"

[[dhcp.reservations]]
mac = "02:00:5e:00:53:77"
address = "192.168.1.77"
name = "printer"

[[dns.records]]
name = "nas.lan"
type = "A"
value = "192.168.1.5"

[run]
"#;

fn street(server: DhcpServer) -> Street {
    Street::new(server, CONFIG, 1)
}

fn goes_online(street: &Street, lease: &Lease) {
    assert_eq!(lease.router, "192.168.1.1");
    assert_eq!(lease.dns, "192.168.1.1");
    assert_eq!(lease.domain, "lan");
    assert!(
        lease.address.starts_with("192.168.1.") && lease.address.ends_with("/24"),
        "{lease:?}"
    );
    until(
        "the host resolves a name that only the provider knows",
        Duration::from_secs(20),
        || street.hosts[0].dig(&lease.dns, &[isp::NAME]) == [isp::WEB],
    );
    assert_eq!(
        street.hosts[0]
            .fetch(&format!("http://{}/", isp::WEB))
            .unwrap(),
        isp::PAGE
    );
    until(
        "the web server saw the router's address, not the host's",
        Duration::from_secs(15),
        || {
            street
                .isp
                .web_log()
                .lines()
                .any(|line| line.starts_with("198.51.100.1"))
        },
    );
    assert!(
        !street.isp.web_log().contains("192.168.1."),
        "a private source left the house"
    );
}

#[test]
fn udhcpc_goes_online_through_dnsmasqs_lease() {
    let street = street(DhcpServer::Dnsmasq);
    let _client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = street.hosts[0].lease(Duration::from_secs(30));
    goes_online(&street, &lease);

    // Names: the lease's own, its reverse, a record of the owner, a reservation, the box.
    let address = lease.address.trim_end_matches("/24");
    until("the lease's name is in DNS", Duration::from_secs(5), || {
        street.hosts[0].dig(&lease.dns, &["laptop.lan"]) == [address]
    });
    assert_eq!(
        street.hosts[0].dig(&lease.dns, &["-x", address]),
        ["laptop.lan."]
    );
    assert_eq!(
        street.hosts[0].dig(&lease.dns, &["nas.lan"]),
        ["192.168.1.5"]
    );
    assert_eq!(
        street.hosts[0].dig(&lease.dns, &["printer.lan"]),
        ["192.168.1.77"]
    );
    assert_eq!(
        street.hosts[0].dig(&lease.dns, &["lintel.lan"]),
        ["192.168.1.1"]
    );
    // A public name with a private address does not pass; a long answer comes over TCP.
    assert!(
        street.hosts[0]
            .dig(&lease.dns, &["rebind.example.net"])
            .is_empty()
    );
    assert_eq!(
        street.hosts[0]
            .dig(&lease.dns, &["big.example.net", "TXT"])
            .len(),
        60
    );

    let leases = street.router.cli_ok(&["leases"]);
    assert!(
        leases.contains(address) && leases.contains("laptop"),
        "{leases}"
    );
    let status = street.router.cli_ok(&["status"]);
    assert!(status.contains("198.51.100.1"), "{status}");
}

#[test]
fn dhclient_goes_online_through_keas_lease() {
    let street = street(DhcpServer::Kea);
    let _client = street.hosts[0].dhcp(DhcpClient::Dhclient, "desk");
    let lease = street.hosts[0].lease(Duration::from_secs(30));
    goes_online(&street, &lease);
}

#[test]
fn an_unchanged_configuration_writes_nothing_and_foreign_objects_stay() {
    let street = street(DhcpServer::Dnsmasq);
    let _client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = street.hosts[0].lease(Duration::from_secs(30));
    goes_online(&street, &lease);

    let ns = &street.router.ns;
    ns.ok(["nft", "add table ip stranger { chain c { counter; } ; }"]);
    ns.ok([
        "ip",
        "route",
        "add",
        "10.66.0.0/16",
        "dev",
        "wan0",
        "metric",
        "7",
    ]);
    let ruleset = ns.json(["nft", "-j", "list", "ruleset"]);
    let config = street.router.dir.path("config.toml");
    let config = config.to_str().unwrap();

    // The kernel tells of its own addresses once it knows them to be nobody else's.
    until("every address is settled", Duration::from_secs(10), || {
        let tentative = ns.json(["ip", "-j", "address", "show", "tentative"]);
        let links = tentative.as_array().cloned().unwrap_or_default();
        links
            .iter()
            .all(|link| link["addr_info"].as_array().is_none_or(Vec::is_empty))
    });

    // `nft monitor` and `ip monitor` would print any change of the kernel's state.
    let nft = ns.spawn(
        &street.router.dir.path("nft-monitor.log"),
        ["nft", "monitor"],
    );
    let ip = ns.spawn(
        &street.router.dir.path("ip-monitor.log"),
        ["ip", "monitor", "link", "address", "route"],
    );
    until("both monitors listen", Duration::from_secs(10), || {
        // Each sees a change that we make and take back.
        ns.ok(["nft", "add table ip probe"]);
        ns.ok(["nft", "delete table ip probe"]);
        ns.ok(["ip", "route", "replace", "10.67.0.0/16", "dev", "wan0"]);
        nft.printed().contains("probe") && ip.printed().contains("10.67.0.0/16")
    });
    let (nft_before, ip_before) = (nft.printed(), ip.printed());

    street.router.cli_ok(&["config", "apply", config]);
    // A DNS record is no business of the kernel's: when it answers, the apply is through.
    let renamed = CONFIG.replace("nas.lan", "disk.lan");
    let other = street.router.dir.write("other.toml", &renamed);
    street
        .router
        .cli_ok(&["config", "apply", other.to_str().unwrap()]);
    until("the new record answers", Duration::from_secs(10), || {
        street.hosts[0].dig(&lease.dns, &["disk.lan"]) == ["192.168.1.5"]
    });

    let changed = |before: &str, after: String| {
        after[before.len()..]
            .lines()
            // The neighbour table lives by itself; so does the probe's last echo.
            .filter(|line| {
                !line.contains("probe") && !line.contains("10.67.0.0/16") && !line.starts_with('#')
            })
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(changed(&nft_before, nft.printed()), Vec::<String>::new());
    assert_eq!(changed(&ip_before, ip.printed()), Vec::<String>::new());
    let strip = |v: &serde_json::Value| v.to_string().split("\"handle\"").count();
    assert_eq!(
        strip(&ruleset),
        strip(&ns.json(["nft", "-j", "list", "ruleset"]))
    );

    // The router starts anew and finds the strangers there.
    drop((nft, ip));
    let mut router = street.router;
    router.proc = None;
    router.launch();
    until(
        "names resolve through the new start",
        Duration::from_secs(20),
        || street.hosts[0].dig(&lease.dns, &[isp::NAME]) == [isp::WEB],
    );
    let ns = &router.ns;
    assert!(
        ns.ok(["nft", "list", "table", "ip", "stranger"])
            .contains("counter")
    );
    assert!(
        ns.ok(["ip", "route", "show", "10.66.0.0/16"])
            .contains("metric 7")
    );
    let info = router.cli_ok(&["network", "info"]);
    assert!(
        info.contains("stranger") && info.contains("10.66.0.0/16"),
        "{info}"
    );
}

#[test]
fn a_broken_configuration_names_every_problem_and_changes_nothing() {
    let street = street(DhcpServer::Dnsmasq);
    let before = street.router.cli_ok(&["config", "show"]);
    let broken = street.router.dir.write(
        "broken.toml",
        "[wan]\nprot = \"auto\"\n\n[lan]\naddress = \"192.168.1.300/24\"\n\n[dhcp]\nlease_s = 99999999\n\n[run]\n",
    );
    let output = street
        .router
        .cli(&["config", "apply", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for needle in [
        "wan.prot",
        ":2",
        "port",
        "lan.address",
        ":5",
        "dhcp.lease_s",
        ":8",
    ] {
        assert!(said.contains(needle), "{needle:?} is not in:\n{said}");
    }
    assert_eq!(street.router.cli_ok(&["config", "show"]), before);
}

#[test]
fn the_provider_dies_and_returns() {
    let mut street = street(DhcpServer::Dnsmasq);
    let _client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = street.hosts[0].lease(Duration::from_secs(30));
    goes_online(&street, &lease);

    street.isp.resolver = None;
    let down = street.hosts[0].ns.run([
        "dig",
        "+time=15",
        "+tries=1",
        "@192.168.1.1",
        "other.example.net",
    ]);
    let said = String::from_utf8_lossy(&down.stdout).into_owned();
    assert!(
        said.contains("SERVFAIL"),
        "a silent upstream is told, not waited for:\n{said}"
    );
    street.isp.start_resolver();
    until("names resolve again", Duration::from_secs(30), || {
        street.hosts[0]
            .dig(&lease.dns, &["second.example.net"])
            .contains(&isp::WEB.to_owned())
    });

    // The link to the provider goes and comes: the lease is confirmed, the page loads again.
    street.isp.ns.ok(["ip", "link", "set", "cust0", "down"]);
    assert!(
        street.hosts[0]
            .fetch(&format!("http://{}/", isp::WEB))
            .is_none()
    );
    street.isp.ns.ok(["ip", "link", "set", "cust0", "up"]);
    until("the page loads again", Duration::from_secs(40), || {
        street.hosts[0]
            .fetch(&format!("http://{}/", isp::WEB))
            .is_some()
    });
}
