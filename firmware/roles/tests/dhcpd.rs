//! dhcpd judged by udhcpc and dhclient, with this test as its controld and its disk.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests run programs and wait
#![allow(clippy::unwrap_used, clippy::panic)] // outside #[test] functions clippy asks for it

mod stage;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::init::SocketName;
use lintel_model::RoleName;
use lintel_model::desired::SocketKind;
use lintel_model::lease::{Binding, BindingState};
use lintel_model::services::{DhcpSpec, DhcpSubnet};
use lintel_roles::now::Now;
use lintel_rt::channel::{Channel, pair};
use lintel_rt::clock::Clock;
use lintel_rt::sockets::{Addresses, open};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::{Namespace, Proc, Workdir, until};
use stage::{PATIENCE, Stage, index, inside, mac, name};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

type Disk = Arc<Mutex<BTreeMap<Ipv4Addr, Binding>>>;

/// A router's LAN: a bridge with dhcpd, and two hosts.
struct Lan {
    router: Namespace,
    hosts: Vec<Host>,
    disk: Disk,
    disk_works: Arc<AtomicBool>,
    dhcpd: Option<Dhcpd>,
    lease_s: u32,
}

/// dhcpd and the thread that plays controld.
struct Dhcpd {
    _stage: Stage,
    over: Arc<AtomicBool>,
    controld: Option<JoinHandle<()>>,
}

impl Lan {
    fn new(lease_s: u32) -> Self {
        let router = Namespace::new("router");
        router.ok(["ip", "link", "add", "br-lan", "type", "bridge"]);
        router.ok(["ip", "addr", "add", "192.168.1.1/24", "dev", "br-lan"]);
        router.ok(["ip", "link", "set", "br-lan", "up"]);
        let hosts = ["lan0", "lan1"].map(|port| {
            let host = Namespace::new("host");
            router.join(port, &host, "eth0");
            router.ok(["ip", "link", "set", port, "master", "br-lan"]);
            Host::new(host, "eth0")
        });
        let mut lan = Self {
            router,
            hosts: hosts.into(),
            disk: Disk::default(),
            disk_works: Arc::new(AtomicBool::new(true)),
            dhcpd: None,
            lease_s,
        };
        lan.start();
        lan
    }

    fn spec(&self) -> DhcpSpec {
        DhcpSpec {
            subnets: vec![DhcpSubnet {
                link: name("br-lan"),
                index: index(&self.router, "br-lan"),
                mac: mac(&self.router, "br-lan"),
                address: "192.168.1.1/24".parse().unwrap(),
                first: Ipv4Addr::new(192, 168, 1, 100),
                last: Ipv4Addr::new(192, 168, 1, 199),
                lease_s: self.lease_s,
                routers: vec![ROUTER],
                dns: vec![ROUTER],
                ntp: Vec::new(),
                domain: "lan".parse().unwrap(),
                mtu: None,
                reservations: Vec::new(),
                port: 67,
            }],
            durable: true,
        }
    }

    /// Starts dhcpd with what the disk holds.
    fn start(&mut self) {
        let (ours, theirs) = pair().unwrap();
        let udp = inside(&self.router, || {
            let addresses = Addresses {
                address: Ipv4Addr::UNSPECIFIED.into(),
                dns_port: 53,
                dhcp_port: 67,
                http_port: 80,
                https_port: 443,
                ntp_port: 123,
                run_dir: Default::default(),
            };
            open(SocketName::DhcpUdp, &addresses).unwrap()
        });
        let sockets = vec![(SocketName::DhcpUdp, udp)];
        let mut stage = Stage::start(&self.router, RoleName::Dhcpd, sockets, theirs);
        stage.hand_over(&self.router, "br-lan", SocketKind::DhcpServer);
        let mut session: Channel<ToDhcpd, FromDhcpd> = Channel::new(ours).unwrap();
        let bindings = self.disk.lock().unwrap().values().cloned().collect();
        session
            .send(&ToDhcpd::Snapshot {
                spec: self.spec(),
                bindings,
                start_unix_s: Now {
                    mono: Clock.now(),
                    unix_s: Clock.unix_s(),
                }
                .start_unix_s(),
            })
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (disk, works, until) = (self.disk.clone(), self.disk_works.clone(), over.clone());
        let controld = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                while let Ok(Some((message, _))) = session.recv() {
                    let FromDhcpd::Bind { token, binding, .. } = message else {
                        continue;
                    };
                    let answer = if works.load(Ordering::Relaxed) {
                        disk.lock().unwrap().insert(binding.address, binding);
                        ToDhcpd::Durable { token }
                    } else {
                        ToDhcpd::NotDurable { token }
                    };
                    let _ = session.send(&answer);
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        self.dhcpd = Some(Dhcpd {
            _stage: stage,
            over,
            controld: Some(controld),
        });
    }

    fn binding(&self, host: usize) -> Option<Binding> {
        let mac = mac(&self.hosts[host].ns, "eth0");
        let disk = self.disk.lock().unwrap();
        disk.values().find(|binding| binding.mac == mac).cloned()
    }
}

impl Drop for Dhcpd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(controld) = self.controld.take() {
            let _ = controld.join();
        }
    }
}

#[test]
fn udhcpc_and_dhclient_get_leases() {
    let lan = Lan::new(3600);
    for (at, client) in [DhcpClient::Udhcpc, DhcpClient::Dhclient]
        .into_iter()
        .enumerate()
    {
        let host = &lan.hosts[at];
        let _client = host.dhcp(client, "Laptop");
        let lease = host.lease(PATIENCE);
        let binding = lan.binding(at).unwrap();
        assert_eq!(
            lease.address.split('/').next().unwrap(),
            binding.address.to_string()
        );
        assert_eq!(lease.router, ROUTER.to_string());
        assert_eq!(lease.dns, ROUTER.to_string());
        assert_eq!(lease.domain, "lan");
        assert_eq!(
            binding.host_name.as_deref(),
            Some(["laptop", "laptop-2"][at])
        );
        host.ns.ok(["ping", "-c1", "-W5", "192.168.1.1"]);
    }
    let distinct = lan.binding(0).unwrap().address != lan.binding(1).unwrap().address;
    assert!(distinct);
}

#[test]
fn nothing_is_acknowledged_that_is_not_on_disk() {
    let lan = Lan::new(3600);
    lan.disk_works.store(false, Ordering::Relaxed);
    let client = lan.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    until("the client asked twice in vain", PATIENCE, || {
        client.printed().matches("broadcasting select").count() >= 2
    });
    assert!(!client.printed().contains("obtained"));
    lan.disk_works.store(true, Ordering::Relaxed);
    lan.hosts[0].lease(PATIENCE);
}

#[test]
fn a_short_lease_is_renewed_also_by_a_server_that_died_and_came_back() {
    let mut lan = Lan::new(12);
    let client = lan.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    lan.hosts[0].lease(PATIENCE);
    let first = lan.binding(0).unwrap();
    until("the lease was renewed", PATIENCE, || {
        lan.binding(0).unwrap().expires_unix_s > first.expires_unix_s + 3
    });
    lan.dhcpd = None;
    lan.start();
    let before = lan.binding(0).unwrap();
    until("the new server renews it", PATIENCE, || {
        lan.binding(0).unwrap().expires_unix_s > before.expires_unix_s + 3
    });
    assert_eq!(lan.binding(0).unwrap().address, first.address);
    assert!(client.printed().matches("broadcasting discover").count() <= 1);
}

#[test]
fn an_address_that_somebody_uses_is_not_given() {
    let lan = Lan::new(3600);
    lan.hosts[1]
        .ns
        .ok(["ip", "addr", "add", "192.168.1.150/24", "dev", "eth0"]);
    let log = std::env::temp_dir().join(format!("lintel-conflict-{}.log", std::process::id()));
    let client = lan.hosts[0].ns.spawn(
        &log,
        [
            "udhcpc",
            "-f",
            "-n",
            "-q",
            "-i",
            "eth0",
            "-s",
            "/bin/true",
            "-r",
            "192.168.1.150",
        ],
    );
    until("the client has an address", PATIENCE, || {
        client.printed().contains("obtained")
    });
    let printed = client.printed();
    assert!(
        !printed.contains("lease of 192.168.1.150 obtained"),
        "{printed}"
    );
    drop(client);
    let _ = std::fs::remove_file(log);
}

/// dhclient on the first host with its leases and its log in `dir`.
fn dhclient(lan: &Lan, dir: &Workdir, script: &str) -> Proc {
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    let (leases, pid) = (path("leases"), path("pid"));
    let mut args = vec!["dhclient", "-d", "-sf", script, "-cf", "/dev/null"];
    args.extend(["-lf", &leases, "-pf", &pid, "eth0"]);
    lan.hosts[0].ns.spawn(&dir.path("dhclient.log"), args)
}

#[test]
fn a_client_from_another_network_is_told_so_at_once() {
    let lan = Lan::new(3600);
    let dir = Workdir::new("moved");
    dir.write(
        "leases",
        "lease {\n  interface \"eth0\";\n  fixed-address 10.9.9.9;\n  \
         option subnet-mask 255.255.255.0;\n  option dhcp-lease-time 36000;\n  \
         option dhcp-server-identifier 10.9.9.1;\n  renew 0 2037/01/04 00:00:00;\n  \
         rebind 0 2037/01/04 00:00:00;\n  expire 0 2037/01/04 00:00:00;\n}\n",
    );
    let client = dhclient(&lan, &dir, "/bin/true");
    until("the client is refused and bound", PATIENCE, || {
        let printed = client.printed();
        printed.contains("DHCPNAK from 192.168.1.1") && printed.contains("bound to 192.168.1.")
    });
    assert_eq!(lan.binding(0).unwrap().state, BindingState::Bound);
}

#[test]
fn a_client_that_hears_a_conflict_declines_and_gets_another_address() {
    let lan = Lan::new(3600);
    // dhclient's script says that the address is in use: exit status 1 on BOUND.
    let dir = Workdir::new("decline");
    let mark = dir.path("declined");
    let script = dir.script(
        "script.sh",
        &format!(
            "#!/bin/sh\ncase $reason in BOUND) [ -e {m} ] || {{ touch {m}; exit 1; }};; esac\nexit 0\n",
            m = mark.display()
        ),
    );
    let client = dhclient(&lan, &dir, script.to_str().unwrap());
    until(
        "the client declined and is bound elsewhere",
        PATIENCE,
        || {
            let printed = client.printed();
            printed.contains("DHCPDECLINE") && printed.contains("bound to 192.168.1.")
        },
    );
    let disk = lan.disk.lock().unwrap();
    let states: Vec<BindingState> = disk.values().map(|binding| binding.state).collect();
    assert!(states.contains(&BindingState::Declined), "{states:?}");
    assert!(states.contains(&BindingState::Bound), "{states:?}");
}
