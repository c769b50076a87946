//! The image puts real clients online, and the WAN side gets no answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use appliance_tests::capture::Capture;
use appliance_tests::machine::{Boot, READY};
use appliance_tests::street::LINE;
use appliance_tests::{Street, step};
use netns_tests::client::DhcpClient;
use netns_tests::isp::{self, DhcpServer};
use netns_tests::until;

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);

/// The box boots, routes and serves its page with that.
const RAM_MIB_BUDGET: u32 = 64;

#[test]
fn real_clients_go_online_and_the_wan_hears_nothing() {
    let mut boot = Boot::from_env();
    boot.memory_mib = RAM_MIB_BUDGET;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let line = Capture::start(street.isp_ns(), LINE, &street.dir);
    let hosts = [
        (street.host(), DhcpClient::Dhclient, "laptop"),
        (street.host(), DhcpClient::Udhcpc, "kettle"),
    ];
    step("the box boots and every role is ready", || {
        street.power_on().line(READY, BOOT);
    });
    let clients = hosts.map(|(host, client, name)| {
        step(&format!("{client:?} gets a lease"), || {
            let proc = host.dhcp(client, name);
            let lease = host.lease(Duration::from_secs(60));
            assert_eq!(lease.router, "192.168.1.1");
            assert_eq!(lease.dns, "192.168.1.1");
            (host, proc, lease)
        })
    });
    for (host, _, lease) in &clients {
        step("a name that only the provider knows is resolved", || {
            until("dig gets the address", Duration::from_secs(60), || {
                host.dig(&lease.dns, &[isp::NAME]) == [isp::WEB]
            });
        });
        step("a page comes through NAT", || {
            let url = format!("http://{}/", isp::WEB);
            assert_eq!(host.fetch(&url).as_deref(), Some(isp::PAGE));
        });
    }
    step("the box's own page answers on the LAN", || {
        let (host, _, _) = &clients[0];
        assert!(host.fetch("http://192.168.1.1/health").is_some());
    });
    the_wan_hears_nothing(&street, line);
}

/// nmap from the provider's side, and what tcpdump saw of it.
fn the_wan_hears_nothing(street: &Street, mut line: Capture) {
    let wan = step("the provider knows which address it gave", || {
        let ns = street.isp_ns();
        let neighbours = ns.json(["ip", "-j", "neighbour", "show", "dev", LINE]);
        let entries = neighbours.as_array().cloned().unwrap_or_default();
        let of_box = entries
            .iter()
            .find(|e| e["lladdr"].as_str() == Some("52:54:00:12:34:04"));
        let address = of_box.and_then(|e| e["dst"].as_str());
        address
            .expect("the box is a neighbour of its provider")
            .to_owned()
    });
    // From an address and ports that no connection of the box uses: what the box
    // sends there is an answer to the scan.
    let scanner = "198.51.100.66";
    let ns = street.isp_ns();
    ns.ok([
        "ip",
        "address",
        "add",
        &format!("{scanner}/24"),
        "dev",
        LINE,
    ]);
    let finds_nothing = |scan: &str, ports: &str| {
        let mut nmap = vec!["nmap", "-n", "-Pn", scan, "-S", scanner, "-e", LINE];
        nmap.extend(["-p", ports, "--max-retries", "1", "-T5", "-oG", "-", &wan]);
        let found = ns.ok(nmap);
        assert!(
            !found.contains("/open/") && !found.contains("/closed/"),
            "{found}"
        );
    };
    step("nmap finds no open or closed TCP port on the WAN", || {
        finds_nothing("-sS", "1-1024,2222,5060,7547,8080,8443,51820");
    });
    step("nmap gets no answer from a UDP port of the WAN", || {
        let ports = "53,67,68,69,80,123,161,443,500,546,547,1900,5351,5353,51820";
        finds_nothing("-sU", ports);
    });
    step("an echo request gets no reply", || {
        let pinged = ns.run([
            "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", scanner, &wan,
        ]);
        assert!(
            !pinged.status.success(),
            "{}",
            String::from_utf8_lossy(&pinged.stdout)
        );
    });
    step("the capture holds the scan and no answer to it", || {
        let asked = line.matching(&format!("src host {scanner} and dst host {wan}"));
        assert!(
            asked.len() > 1000,
            "the capture missed the scan: {} packets",
            asked.len()
        );
        let answered = line.matching(&format!(
            "src host {wan} and dst host {scanner} and not arp"
        ));
        assert!(answered.is_empty(), "{answered:#?}");
    });
}
