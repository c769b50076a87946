//! What is really sent to the kernel, counted on a netlink monitor. Kernels without nlmon skip
//! this; the lab guest's has it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::path::Path;
use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::{Namespace, Proc, until};

const CONFIG: &str = "[wan]\nport = \"wan0\"\n\n[run]\n";

#[test]
fn an_unchanged_configuration_sends_no_write_to_the_kernel() {
    let (provider, router, host) = (
        Namespace::new("isp"),
        Namespace::new("router"),
        Namespace::new("host"),
    );
    if !router
        .run(["ip", "link", "add", "nlmon0", "type", "nlmon"])
        .status
        .success()
    {
        println!(
            "SKIPPED an_unchanged_configuration_sends_no_write_to_the_kernel: this kernel has no nlmon"
        );
        return;
    }
    router.ok(["ip", "link", "set", "nlmon0", "up"]);
    provider.join("cust0", &router, "wan0");
    router.join("lan0", &host, "eth0");
    let _isp = Isp::start(provider, "cust0", DhcpServer::Dnsmasq);
    let router = Router::start(router, CONFIG);
    let host = Host::new(host, "eth0");
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(Duration::from_secs(60));
    until("the host is online", Duration::from_secs(60), || {
        host.dig(&lease.dns, &[isp::NAME]) == [isp::WEB]
    });

    let file = router.dir.path("config.toml");
    let apply = |path: &Path| router.cli_ok(&["config", "apply", path.to_str().unwrap()]);
    let mut capture = Capture::start(&router, "same.pcap");
    for _ in 0..5 {
        apply(&file);
    }
    let same = capture.stop();
    assert_eq!(
        same,
        Vec::<String>::new(),
        "an unchanged configuration wrote"
    );

    // The monitor can count: a change that the kernel must hear of is seen.
    let other = router.dir.write(
        "other.toml",
        &CONFIG.replace("[run]", "[lan]\naddress = \"192.168.2.1/24\"\n\n[run]"),
    );
    let mut capture = Capture::start(&router, "other.pcap");
    apply(&other);
    until("the new address is there", Duration::from_secs(10), || {
        router
            .ns
            .ok(["ip", "-4", "address", "show", "br-lan"])
            .contains("192.168.2.1/24")
    });
    assert!(!capture.stop().is_empty());
    println!("kernel writes of an unchanged apply: 0");
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
    fn stop(&mut self) -> Vec<String> {
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

/// Messages towards the kernel that ask for a change, in words.
fn writes(pcap: &[u8]) -> Vec<String> {
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
                found.push(format!("netlink family {family}, message type {kind:#x}"));
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
