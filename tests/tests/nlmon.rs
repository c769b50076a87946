//! What is really sent to the kernel, counted on a netlink monitor. Kernels without nlmon skip
//! this; the lab guest's has it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::fmt;
use std::path::Path;
use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::told::status_when;
use netns_tests::{Namespace, Proc, until};
use serde_json::Value;

const CONFIG: &str = "[wan]\nport = \"wan0\"\n\n[run]\n";
const SOON: Duration = Duration::from_secs(60);
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;

/// A router with a provider and one host online; its second port has nobody.
struct Home {
    router: Router,
    _isp: Isp,
    _host: Host,
    _client: Proc,
}

/// `None` where the kernel has no nlmon.
fn home(test: &str) -> Option<Home> {
    let (provider, router, host) = (
        Namespace::new("isp"),
        Namespace::new("router"),
        Namespace::new("host"),
    );
    let monitor = router.run(["ip", "link", "add", "nlmon0", "type", "nlmon"]);
    if !monitor.status.success() {
        println!("SKIPPED {test}: this kernel has no nlmon");
        return None;
    }
    router.ok(["ip", "link", "set", "nlmon0", "up"]);
    provider.join("cust0", &router, "wan0");
    router.join("lan0", &host, "eth0");
    router.join("lan1", &host, "spare");
    let isp = Isp::start(provider, "cust0", DhcpServer::Dnsmasq);
    let router = Router::start(router, CONFIG);
    let host = Host::new(host, "eth0");
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(SOON);
    until("the host is online", SOON, || {
        host.dig(&lease.dns, &[isp::NAME]) == [isp::WEB]
    });
    Some(Home {
        router,
        _isp: isp,
        _host: host,
        _client: client,
    })
}

#[test]
fn an_unchanged_configuration_sends_no_write_to_the_kernel() {
    let Some(home) = home("an_unchanged_configuration_sends_no_write_to_the_kernel") else {
        return;
    };
    let router = &home.router;
    let file = router.dir.path("config.toml");
    let apply = |path: &Path| router.cli_ok(&["config", "apply", path.to_str().unwrap()]);
    let mut capture = Capture::start(router, "same.pcap");
    for _ in 0..5 {
        apply(&file);
    }
    let same = capture.stop();
    assert_eq!(same, [], "an unchanged configuration wrote");
    // Nor do a record and a reservation that somebody enters.
    let mut capture = Capture::start(router, "entries.pcap");
    router.cli_ok(&["dns", "records", "add", "nas", "A", "192.168.1.5"]);
    let reservation = ["dhcp", "reservations", "add", "02:00:5e:00:53:01"];
    router.cli_ok(&[&reservation[..], &["--address", "192.168.1.9"]].concat());
    router.cli_ok(&["dns", "records", "delete", "nas"]);
    assert_eq!(capture.stop(), [], "an entry wrote");

    // The monitor can count: a change that the kernel must hear of is seen.
    let other = router.dir.write(
        "other.toml",
        &CONFIG.replace("[run]", "[lan]\naddress = \"192.168.2.1/24\"\n\n[run]"),
    );
    let mut capture = Capture::start(router, "other.pcap");
    apply(&other);
    until("the new address is there", Duration::from_secs(10), || {
        router
            .ns
            .ok(["ip", "-4", "address", "show", "br-lan"])
            .contains("192.168.2.1/24")
    });
    assert_ne!(capture.stop(), []);
    println!("kernel writes of an unchanged apply: 0");
}

/// A change of the configuration, and the kernel's names of what it sends.
struct Change {
    what: &'static str,
    /// What follows the provider's port.
    toml: &'static str,
    kinds: &'static [&'static str],
}

const CHANGES: [Change; 9] = [
    Change {
        what: "a DNS record",
        toml: "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n",
        kinds: &[],
    },
    Change {
        what: "another pool, another lease time and a reservation",
        toml: "[dhcp]\nlease_s = 7200\npool = { first = \"192.168.1.50\", last = \"192.168.1.250\" }\n\
               [[dhcp.reservations]]\nmac = \"02:00:5e:00:53:01\"\naddress = \"192.168.1.9\"\n",
        kinds: &[],
    },
    Change {
        what: "the names of the box and of the household",
        toml: "[system]\nhostname = \"box\"\n[lan]\ndomain = \"home\"\n",
        kinds: &[],
    },
    Change {
        what: "another address in the same network, while a device knows the old one",
        toml: "[lan]\naddress = \"192.168.1.2/24\"\n",
        kinds: &["RTM_NEWADDR"],
    },
    Change {
        what: "a port less in the household's network",
        toml: "[lan]\naddress = \"192.168.1.2/24\"\nports = [\"lan0\"]\n",
        kinds: &["RTM_NEWLINK"],
    },
    Change {
        what: "and again every port",
        toml: "[lan]\naddress = \"192.168.1.2/24\"\n",
        kinds: &["RTM_NEWLINK"],
    },
    Change {
        what: "another network, while a device has its address in the old one",
        toml: "[lan]\naddress = \"10.9.8.1/24\"\n",
        kinds: &[
            "NFNL_MSG_BATCH_BEGIN",
            "NFT_MSG_NEWSETELEM",
            "NFNL_MSG_BATCH_END",
            "RTM_NEWADDR",
        ],
    },
    Change {
        what: "no addresses from this box any more",
        toml: "[lan]\naddress = \"10.9.8.1/24\"\n[dhcp]\nenabled = false\n",
        kinds: &[],
    },
    Change {
        what: "no provider any more",
        toml: "kind = \"none\"\n[lan]\naddress = \"10.9.8.1/24\"\n[dhcp]\nenabled = false\n",
        // Its port is the household's from now on.
        kinds: &[
            "NFNL_MSG_BATCH_BEGIN",
            "NFT_MSG_DELSETELEM",
            "NFT_MSG_DELSETELEM",
            "NFNL_MSG_BATCH_END",
            "RTM_NEWLINK",
            "RTM_DELROUTE",
            "RTM_DELADDR",
        ],
    },
];

#[test]
fn the_kernel_hears_what_the_plan_said_and_nothing_else() {
    let Some(home) = home("the_kernel_hears_what_the_plan_said_and_nothing_else") else {
        return;
    };
    let router = &home.router;
    an_address_that_went_missing_is_put_back_by_one_message(router);
    let mut messages = 0;
    for (n, change) in CHANGES.iter().enumerate() {
        let what = change.what;
        let toml = format!("[wan]\nport = \"wan0\"\n{}[run]\n", change.toml);
        let file = router.dir.write(&format!("{n}.toml"), &toml);
        let file = file.to_str().unwrap();
        let plan = router.cli_json(&["config", "plan", file, "--messages"]);
        let planned = planned(&plan);
        let mut capture = Capture::start(router, &format!("{n}.pcap"));
        let applied = router.cli_json(&["config", "apply", file]);
        assert_eq!(applied["outcome"], "applied", "{what}: {applied}");
        status_when(router, "the kernel holds it", SOON, |status| {
            status["kernel"]["converged"] == true
        });
        assert_eq!(capture.stop(), planned, "{what}: {plan:#}");
        assert_eq!(kinds(&plan), change.kinds, "{what}: {plan:#}");
        println!("{what}: {:?}", change.kinds);
        messages += planned.len();
    }
    println!(
        "{} changes sent the {messages} messages that their plans said",
        CHANGES.len()
    );
}

/// What somebody else took away is put back, and nothing beside it is touched.
fn an_address_that_went_missing_is_put_back_by_one_message(router: &Router) {
    let address = ["192.168.1.1/24", "dev", "br-lan"];
    let mut capture = Capture::start(router, "missing.pcap");
    let take = ["ip", "address", "delete"];
    router.ns.ok(take.into_iter().chain(address));
    until("it is there again", SOON, || {
        let shown = router.ns.ok(["ip", "-4", "address", "show", "br-lan"]);
        shown.contains(address[0])
    });
    let sent = capture.stop();
    let numbers: Vec<u16> = sent.iter().map(|message| message.number).collect();
    assert_eq!(numbers, [RTM_DELADDR, RTM_NEWADDR], "{sent:?}");
}

/// The messages that a plan names, in order.
fn planned(plan: &Value) -> Vec<Sent> {
    let mut planned = Vec::new();
    for step in plan["plan"].as_array().unwrap() {
        let kernel = &step["kernel"];
        assert!(kernel["omitted"].is_null(), "{step}");
        let note = kernel["note"].as_str().unwrap_or_default();
        assert!(!note.contains("Not known"), "{step}");
        let messages = kernel["messages"].as_array();
        planned.extend(messages.into_iter().flatten().map(|message| Sent {
            number: u16::try_from(message["number"].as_u64().unwrap()).unwrap(),
            flags: u16::try_from(message["flags"].as_u64().unwrap()).unwrap(),
            payload: message["payload"].as_str().unwrap().to_owned(),
        }));
    }
    planned
}

/// The kernel's names of the messages of a plan.
fn kinds(plan: &Value) -> Vec<&str> {
    let steps = plan["plan"].as_array().unwrap().iter();
    let messages = steps.filter_map(|step| step["kernel"]["messages"].as_array());
    messages
        .flatten()
        .filter_map(|message| message["kind"].as_str())
        .collect()
}

/// A message towards the kernel.
#[derive(PartialEq, Eq)]
struct Sent {
    number: u16,
    flags: u16,
    payload: String,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            flags,
            payload,
        } = self;
        write!(f, "type {number:#x} flags {flags:#x} payload {payload}")
    }
}

/// tcpdump on the monitor.
struct Capture<'a> {
    router: &'a Router,
    file: std::path::PathBuf,
    tcpdump: Proc,
}

impl<'a> Capture<'a> {
    fn start(router: &'a Router, name: &str) -> Self {
        let file = router.dir.path(name);
        let log = router.dir.path("tcpdump.log");
        let path = file.to_str().unwrap();
        let tcpdump = router.ns.spawn(
            &log,
            ["tcpdump", "-Z", "root", "-U", "-i", "nlmon0", "-w", path],
        );
        until("tcpdump listens", Duration::from_secs(20), || {
            tcpdump.printed().contains("listening on")
        });
        Self {
            router,
            file,
            tcpdump,
        }
    }

    /// Ends it and lists the writes that it saw.
    fn stop(&mut self) -> Vec<Sent> {
        // A look of our own that must be in the file: when it is, so is all before it.
        let before = std::fs::metadata(&self.file).map_or(0, |m| m.len());
        // (`ip link` would ask whether the kernel knows RTM_NEWLINK, by sending one.)
        self.router.ns.ok(["ip", "route", "show"]);
        until("the capture has caught up", Duration::from_secs(10), || {
            std::fs::metadata(&self.file).map_or(0, |m| m.len()) > before
        });
        self.tcpdump.signal("INT");
        self.tcpdump.wait(Duration::from_secs(10));
        writes(&std::fs::read(&self.file).unwrap())
    }
}

/// Messages towards the kernel that ask for a change.
fn writes(pcap: &[u8]) -> Vec<Sent> {
    // Only requests go to the kernel; libpcap does not say the direction of netlink packets.
    const NLM_F_REQUEST: u16 = 1;
    let mut found = Vec::new();
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some(head) = rest.get(..16) {
        let len = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let packet = &rest[16..16 + len];
        rest = &rest[16 + len..];
        let family = u16::from_be_bytes(packet[14..16].try_into().unwrap());
        let mut messages = &packet[16..];
        while messages.len() >= 16 {
            let len = u32::from_le_bytes(messages[0..4].try_into().unwrap()) as usize;
            let kind = u16::from_le_bytes(messages[4..6].try_into().unwrap());
            let flags = u16::from_le_bytes(messages[6..8].try_into().unwrap());
            if flags & NLM_F_REQUEST != 0 && is_write(family, kind) {
                let payload = messages.get(16..len).unwrap_or_default();
                found.push(Sent {
                    number: kind,
                    flags,
                    payload: payload.iter().map(|octet| format!("{octet:02x}")).collect(),
                });
            }
            messages = messages
                .get(len.next_multiple_of(4).max(16)..)
                .unwrap_or_default();
        }
    }
    found
}

fn is_write(family: u16, kind: u16) -> bool {
    const ROUTE: u16 = 0;
    const NETFILTER: u16 = 12;
    match family {
        ROUTE => kind >= 16 && (kind - 16) % 4 != 2,
        NETFILTER => match (kind >> 8, kind & 0xff) {
            (0, message) => message == 0x10 || message == 0x11, // a batch
            (1, message) => message == 0 || message == 2,       // conntrack
            (10, message) => !matches!(message, 1 | 4 | 7 | 10 | 13 | 16 | 19 | 21 | 23),
            _ => true,
        },
        _ => false,
    }
}
