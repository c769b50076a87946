//! /data over many boots: what was promised is there, and nothing is used twice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs judges, reads disks"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY};
use appliance_tests::street::HOST_LINK;
use appliance_tests::{Street, judge, step};
use netns_tests::client::DhcpClient;
use netns_tests::isp::{self, DhcpServer};
use netns_tests::{Workdir, until};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// /data as the next boot would find it: copied out of the disk, its journal played back.
struct Data {
    dir: Workdir,
    image: PathBuf,
}

impl Data {
    fn of(disk: &Path) -> Self {
        let dir = Workdir::new("data");
        let image = dir.path("data.ext4");
        let table = judge(Command::new("sgdisk").args(["-i", "4"]).arg(disk));
        let sector = |label: &str| -> u64 {
            let line = table.lines().find_map(|line| line.strip_prefix(label));
            let number = line.unwrap().split_whitespace().next().unwrap();
            number.parse().unwrap()
        };
        let (first, last) = (sector("First sector: "), sector("Last sector: "));
        judge(
            Command::new("dd")
                .args(["bs=512", "conv=sparse", "status=none"])
                .args([
                    format!("if={}", disk.display()),
                    format!("of={}", image.display()),
                    format!("skip={first}"),
                    format!("count={}", last - first + 1),
                ]),
        );
        let played = Command::new("/sbin/e2fsck").arg("-fp").arg(&image).output();
        let played = played.unwrap();
        assert!(
            played.status.code().is_some_and(|code| code <= 1),
            "{played:?}"
        );
        Self { dir, image }
    }

    fn file(&self, path: &str) -> Option<PathBuf> {
        let out = self.dir.path(&path.replace('/', "_"));
        judge(
            Command::new("/sbin/debugfs")
                .arg("-R")
                .arg(format!("dump {path} {}", out.display()))
                .arg(&self.image),
        );
        out.exists().then_some(out)
    }

    fn size_mib(&self) -> u64 {
        let text = judge(Command::new("/sbin/dumpe2fs").arg("-h").arg(&self.image));
        let number = |label: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.unwrap().trim().parse().unwrap()
        };
        number("Block count:") * number("Block size:") / MIB
    }

    /// The bindings in the database, as `mac address` lines.
    fn bindings(&self) -> String {
        let database = self.file("/state/lintel.db").expect("the database");
        if let Some(wal) = self.file("/state/lintel.db-wal") {
            std::fs::rename(wal, format!("{}-wal", database.display())).unwrap();
        }
        let script = "import sqlite3,sys,ipaddress\nd=sqlite3.connect(sys.argv[1])\n\
             for mac,a in d.execute('SELECT mac,address FROM bindings'):\n \
             print(bytes(mac).hex(),ipaddress.ip_address(a))";
        judge(Command::new("python3").arg("-c").arg(script).arg(&database))
    }
}

#[test]
fn what_was_acknowledged_before_a_power_cut_is_on_disk() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let (crowd, host) = (street.host(), street.host());
    step("the box boots", || {
        street.power_on().line(READY, BOOT);
    });
    let acks = step("the power is cut while addresses are given", || {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hostile/hostile.py");
        let script = script.to_str().unwrap();
        let flood = crowd.ns.spawn(
            &street.dir.path("flood.log"),
            [
                "python3",
                "-B",
                script,
                "dhcp-flood",
                HOST_LINK,
                "140",
                "40",
                "each",
            ],
        );
        until("twenty have an address", SOON, || {
            flood.printed().matches("ack ").count() >= 20
        });
        street.machine().cut_power();
        let printed = flood.printed();
        // A line that is only half written is none.
        let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let acks: Vec<String> = whole
            .lines()
            .filter_map(|line| line.strip_prefix("ack "))
            .map(str::to_owned)
            .collect();
        acks
    });
    step("each acknowledged binding is in the database", || {
        let data = Data::of(street.disk());
        let bindings = data.bindings();
        for ack in &acks {
            assert!(
                bindings.contains(ack.as_str()),
                "{ack} is not in\n{bindings}"
            );
        }
        println!(
            "{} acknowledged, {} on disk",
            acks.len(),
            bindings.lines().count()
        );
    });
    step("nobody else gets one of them after the next boot", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "late");
        let lease = host.lease(SOON);
        let address = lease.address.trim_end_matches("/24");
        assert!(
            acks.iter()
                .all(|ack| !ack.ends_with(&format!(" {address}"))),
            "{address} was given already"
        );
    });
}

#[test]
fn a_seed_is_never_used_twice_and_the_providers_lease_outlives_a_boot() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let disk_mib = street.boot.disk_mib;
    let host = street.host();
    step("the box boots and goes online", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        host.lease(SOON);
        until("a page comes through NAT", SOON, || {
            host.fetch(&format!("http://{}/", isp::WEB)).is_some()
        });
    });
    let seed = |street: &mut Street| {
        street.machine().cut_power();
        let data = Data::of(street.disk());
        let size = data.size_mib();
        assert!(
            size + 256 > disk_mib,
            "/data has {size} MiB of a disk of {disk_mib}"
        );
        println!("/data has {size} MiB of a disk of {disk_mib}");
        std::fs::read(data.file("/seed").expect("a seed")).unwrap()
    };
    let first = step("a seed for the next boot is on disk", || seed(&mut street));
    assert!(first.len() >= 32 && first.iter().any(|octet| *octet != first[0]));

    step(
        "the next boot goes online with the provider's server away",
        || {
            street.isp.dhcp = None;
            street.power_on().line(READY, BOOT);
            let begun = Instant::now();
            let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
            host.lease(SOON);
            until("a page comes through NAT", SOON, || {
                host.fetch(&format!("http://{}/", isp::WEB)).is_some()
            });
            println!(
                "online {} ms after ready, by the kept lease",
                begun.elapsed().as_millis()
            );
        },
    );
    let second = step("it left another seed", || seed(&mut street));
    assert_eq!(second.len(), first.len());
    assert_ne!(second, first, "two boots would start from one seed");
}
