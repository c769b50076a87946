//! wand judged by dnsmasq and kea as the provider, with this test as its controld.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests run programs and wait
#![allow(clippy::unwrap_used, clippy::panic)] // outside #[test] functions clippy asks for it

mod stage;

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use lintel_ipc::wand::{FromWand, ToWand};
use lintel_model::RoleName;
use lintel_model::desired::SocketKind;
use lintel_model::lease::WanLease;
use lintel_model::services::{WanLink, WanSpec};
use lintel_rt::channel::{Channel, pair};
use netns_tests::namespace::{Proc, Workdir};
use netns_tests::{Namespace, until};
use stage::{PATIENCE, Stage, index, mac, name};

const GATEWAY: &str = "198.51.100.1";

/// A provider, a line, and wand at its other end.
struct Line {
    isp: Namespace,
    router: Namespace,
    dir: Workdir,
    stage: Option<Stage>,
    session: Option<Channel<ToWand, FromWand>>,
    heard: Vec<FromWand>,
}

impl Line {
    fn new() -> Self {
        let (isp, router) = (Namespace::new("isp"), Namespace::new("router"));
        isp.ok(["ip", "link", "add", "cust0", "type", "bridge"]);
        isp.ok(["ip", "link", "set", "cust0", "up"]);
        isp.ok(["ip", "addr", "add", "198.51.100.1/24", "dev", "cust0"]);
        isp.join("port0", &router, "wan0");
        isp.ok(["ip", "link", "set", "port0", "master", "cust0"]);
        Self {
            isp,
            router,
            dir: Workdir::new("wand"),
            stage: None,
            session: None,
            heard: Vec::new(),
        }
    }

    fn link(&self) -> WanLink {
        WanLink {
            name: name("wan0"),
            index: index(&self.router, "wan0"),
            mac: mac(&self.router, "wan0"),
            carrier: true,
            mtu: 1500,
        }
    }

    fn dhcp(&self) -> WanSpec {
        WanSpec::Dhcp {
            link: self.link(),
            hostname: "lintel".parse().unwrap(),
        }
    }

    fn start(&mut self, spec: WanSpec, lease: Option<WanLease>) {
        let (ours, theirs) = pair().unwrap();
        let mut stage = Stage::start(&self.router, RoleName::Wand, Vec::new(), theirs);
        stage.hand_over(&self.router, "wan0", SocketKind::DhcpClient);
        self.stage = Some(stage);
        self.session = Some(Channel::new(ours).unwrap());
        self.heard.clear();
        self.say(spec, lease);
    }

    fn say(&mut self, spec: WanSpec, lease: Option<WanLease>) {
        let session = self.session.as_mut().unwrap();
        session.send(&ToWand::Spec { spec, lease }).unwrap();
    }

    /// Waits for something that wand says; everything before it is kept in `heard`.
    fn hear<T>(&mut self, sentence: &str, mut wanted: impl FnMut(&FromWand) -> Option<T>) -> T {
        let mut found = None;
        let session = self.session.as_mut().unwrap();
        let heard = &mut self.heard;
        until(sentence, PATIENCE, || {
            while found.is_none()
                && let Some((message, _)) = session.recv().unwrap()
            {
                found = wanted(&message);
                heard.push(message);
            }
            found.is_some()
        });
        found.unwrap()
    }

    fn lease(&mut self) -> WanLease {
        self.hear("wand has a lease", |message| match message {
            FromWand::Lease(lease) => Some(lease.clone()),
            _ => None,
        })
    }

    fn dnsmasq(&self, range: &str) -> Proc {
        let proc = self.isp.spawn(
            &self.dir.path("dnsmasq.log"),
            [
                "dnsmasq",
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--log-dhcp",
                "--log-facility=-",
                "--dhcp-authoritative",
                "--no-ping",
                "--interface=cust0",
                "--bind-interfaces",
                &format!("--dhcp-range={range},255.255.255.0,2m"),
                &format!("--dhcp-option=option:router,{GATEWAY}"),
                &format!("--dhcp-option=option:dns-server,{GATEWAY}"),
                "--dhcp-option=option:mtu,1492",
                "--dhcp-option=121,10.1.0.0/16,198.51.100.2,0.0.0.0/0,198.51.100.1",
                &format!("--dhcp-leasefile={}", self.dir.path("leases").display()),
                &format!("--pid-file={}", self.dir.path("pid").display()),
            ],
        );
        until("dnsmasq serves DHCP", PATIENCE, || {
            proc.printed().contains("DHCP, IP range")
        });
        proc
    }

    fn kea(&self, lease_s: u32) -> Proc {
        let config = format!(
            r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["cust0"],"dhcp-socket-type":"raw"}},
            "lease-database":{{"type":"memfile","persist":true,"name":"{leases}"}},
            "valid-lifetime":{lease_s},"authoritative":true,
            "subnet4":[{{"id":1,"subnet":"198.51.100.0/24",
            "pools":[{{"pool":"198.51.100.100 - 198.51.100.150"}}],
            "option-data":[{{"name":"routers","data":"{GATEWAY}"}},
            {{"name":"domain-name-servers","data":"{GATEWAY}"}}]}}],
            "loggers":[{{"name":"kea-dhcp4","output_options":[{{"output":"stdout"}}],
            "severity":"DEBUG","debuglevel":15}}]}}}}"#,
            leases = self.dir.path("kea.leases").display(),
        );
        let file = self.dir.write("kea.json", &config);
        let mut command = self
            .isp
            .command(["kea-dhcp4", "-c", file.to_str().unwrap()]);
        command
            .env("KEA_PIDFILE_DIR", self.dir.path(""))
            .env("KEA_LOCKFILE_DIR", self.dir.path(""));
        let proc = Proc::start(command, &self.dir.path("kea.log"));
        until("kea serves DHCP", PATIENCE, || {
            proc.printed().contains("DHCP4_STARTED")
        });
        proc
    }
}

fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn dnsmasq_gives_a_lease_and_confirms_it_after_a_restart() {
    let mut line = Line::new();
    let dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.150");
    line.start(line.dhcp(), None);
    let lease = line.lease();
    assert_eq!(lease.prefix_len, 24);
    assert_eq!(lease.router, None, "classless routes take its place");
    assert_eq!(lease.routes.len(), 2);
    assert_eq!(lease.dns, [GATEWAY.parse::<Ipv4Addr>().unwrap()]);
    assert_eq!((lease.mtu, lease.lease_s), (Some(1492), 120));
    assert!(lease.bound_unix_s.abs_diff(unix_s()) < 5);
    assert!(dnsmasq.printed().contains("DHCPDISCOVER(cust0)"));
    assert!(dnsmasq.printed().contains("lintel"));

    line.stage = None;
    let asked_before = dnsmasq.printed().matches("DHCPDISCOVER(cust0)").count();
    line.start(line.dhcp(), Some(lease.clone()));
    assert_eq!(line.lease().address, lease.address);
    let asked = dnsmasq.printed().matches("DHCPDISCOVER(cust0)").count();
    assert_eq!(asked, asked_before, "INIT-REBOOT needs no DISCOVER");
}

#[test]
fn a_lease_of_another_network_is_refused_and_replaced() {
    let mut line = Line::new();
    let dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.150");
    let kept = WanLease {
        link: name("wan0"),
        address: [10, 9, 9, 9].into(),
        prefix_len: 24,
        router: Some([10, 9, 9, 1].into()),
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        mtu: None,
        routes: Vec::new(),
        server: [10, 9, 9, 1].into(),
        bound_unix_s: unix_s(),
        lease_s: 36_000,
        renew_s: 18_000,
        rebind_s: 31_500,
    };
    line.start(line.dhcp(), Some(kept));
    let lease = line.lease();
    assert!(lease.address.to_string().starts_with("198.51.100."));
    assert!(dnsmasq.printed().contains("DHCPNAK"));
}

#[test]
fn kea_renews_a_short_lease_dies_and_returns() {
    let mut line = Line::new();
    let mut kea = line.kea(8);
    line.start(line.dhcp(), None);
    let first = line.lease();
    assert_eq!(first.router, Some(GATEWAY.parse().unwrap()));
    let renewed = line.lease();
    assert_eq!(renewed.address, first.address);
    assert!(renewed.bound_unix_s > first.bound_unix_s);
    let states: Vec<&str> = line
        .heard
        .iter()
        .filter_map(|message| match message {
            FromWand::State { state, .. } => Some(state.as_str()),
            _ => None,
        })
        .collect();
    assert!(states.contains(&"renewing"), "{states:?}");
    assert!(!states.contains(&"rebinding"), "by unicast: {states:?}");

    kea.kill();
    line.hear("the lease is rebound in vain and lost", |message| {
        matches!(message, FromWand::Lost { .. }).then_some(())
    });
    let _kea = line.kea(8);
    assert_eq!(line.lease().address, first.address);
}

#[test]
fn a_kept_lease_is_used_while_no_server_answers() {
    let mut line = Line::new();
    {
        let _dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.150");
        line.start(line.dhcp(), None);
        line.lease();
    }
    let kept = line.heard.iter().rev().find_map(|message| match message {
        FromWand::Lease(lease) => Some(lease.clone()),
        _ => None,
    });
    line.stage = None;
    line.start(line.dhcp(), kept.clone());
    assert_eq!(line.lease().address, kept.clone().unwrap().address);
    line.hear(
        "it says that the provider is silent",
        |message| match message {
            FromWand::State { state, text, .. } => {
                (state == "selecting" && text.contains("from before")).then_some(())
            }
            _ => None,
        },
    );
    let _dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.150");
    line.hear("the server is back", |message| match message {
        FromWand::State { state, .. } => (state == "bound").then_some(()),
        _ => None,
    });
    assert!(
        !line
            .heard
            .iter()
            .any(|m| matches!(m, FromWand::Lost { .. }))
    );
}

#[test]
fn an_address_that_somebody_uses_is_declined() {
    let mut line = Line::new();
    let squatter = Namespace::new("squatter");
    line.isp.join("port1", &squatter, "eth0");
    line.isp
        .ok(["ip", "link", "set", "port1", "master", "cust0"]);
    squatter.ok(["ip", "addr", "add", "198.51.100.100/24", "dev", "eth0"]);
    let dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.100");
    line.start(line.dhcp(), None);
    line.hear("wand declines", |message| match message {
        FromWand::State { state, .. } => (state == "waiting").then_some(()),
        _ => None,
    });
    until("dnsmasq heard the decline", PATIENCE, || {
        dnsmasq.printed().contains("DHCPDECLINE(cust0)")
    });
    assert!(!line.heard.iter().any(|m| matches!(m, FromWand::Lease(_))));
}

#[test]
fn detection_finds_a_server_and_asks_for_nothing() {
    let mut line = Line::new();
    let dnsmasq = line.dnsmasq("198.51.100.100,198.51.100.150");
    let links = vec![line.link()];
    line.start(WanSpec::Detect { links }, None);
    line.hear("the server is seen", |message| {
        matches!(message, FromWand::ServerSeen { .. }).then_some(())
    });
    // The next controld knows nothing of it, and no second look will find it.
    let links = vec![line.link()];
    line.say(WanSpec::Detect { links }, None);
    line.hear("the server is told of again", |message| {
        matches!(message, FromWand::ServerSeen { .. }).then_some(())
    });
    assert!(!dnsmasq.printed().contains("DHCPREQUEST(cust0)"));
    line.say(line.dhcp(), None);
    line.lease();
}
