//! The box with a disk that is not what it should be, and a box that is told to start again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs judges, makes disks"
)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::client::DhcpClient;
use netns_tests::isp::{self, DhcpServer};
use netns_tests::until;
use netns_tests::wires::{BOX, http};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const SECTOR_BYTES: u64 = 512;

/// Where /data lies on the disk, in bytes.
fn data_partition(disk: &Path) -> (u64, u64) {
    let output = Command::new("sgdisk").args(["-i", "4"]).arg(disk).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains("lintel-data"), "{text}");
    let sector = |label: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    };
    let first = sector("First sector: ");
    let count = sector("Last sector: ") - first + 1;
    (first * SECTOR_BYTES, count * SECTOR_BYTES)
}

fn read(disk: &Path, (start, length): (u64, u64)) -> Vec<u8> {
    let mut file = File::open(disk).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    let mut octets = vec![0; usize::try_from(length).unwrap()];
    file.read_exact(&mut octets).unwrap();
    octets
}

/// It says on the serial line and over HTTP that it has no storage, belongs to nobody, and puts
/// the household online all the same.
fn is_fail_secure(street: &mut Street, why: &str) {
    let host = street.host();
    step(
        "the box boots, and says on the serial line what is wrong",
        || {
            let machine = street.power_on();
            machine.line(READY, BOOT);
            machine.line(why, SOON);
        },
    );
    step("a client gets ten minutes and goes online", || {
        let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        host.lease(SOON);
        let printed = client.printed();
        assert!(printed.contains("lease time 600"), "{printed}");
        until("a page comes through NAT", SOON, || {
            let url = format!("http://{}/", isp::WEB);
            host.dig(BOX, &[isp::NAME]) == [isp::WEB]
                && host.fetch(&url).as_deref() == Some(isp::PAGE)
        });
    });
    step("nobody can claim it", || {
        let password = r#"{"password":"not to be believed"}"#;
        for path in ["/api/auth/setup", "/api/auth/login"] {
            let (code, said) = http(&host, "POST", path, Some(password));
            assert_eq!(code, 503, "{path}: {said}");
            assert!(said.contains("data-failed"), "{path}: {said}");
        }
    });
    step("its page shows the diagnosis and no way in", || {
        let (code, page) = http(&host, "GET", "/", None);
        assert_eq!(code, 200, "{page}");
        assert!(page.contains("storage"), "{page}");
        assert!(!page.contains("type=\"password\""), "{page}");
    });
    step("the console shows it too", || {
        let machine = street.machine();
        machine.forget();
        machine.type_line("");
        machine.type_line("status");
        machine.line("The box runs with its factory settings", SOON);
    });
}

#[test]
fn a_data_partition_of_garbage_is_left_as_it_is() {
    let mut boot = Boot::from_env();
    // No larger than its partitions: else the table is grown, which is no matter of its bytes.
    boot.disk_mib = File::open(boot.image.as_ref().unwrap())
        .unwrap()
        .metadata()
        .unwrap()
        .len()
        >> 20;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let place = data_partition(street.disk());
    let garbage: Vec<u8> = (0..place.1)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let mut disk = File::options().write(true).open(street.disk()).unwrap();
    disk.seek(SeekFrom::Start(place.0)).unwrap();
    disk.write_all(&garbage).unwrap();
    drop(disk);
    is_fail_secure(&mut street, "does not mount");
    step("its bytes are what they were", || {
        street.machine().cut_power();
        assert_eq!(data_partition(street.disk()), place);
        assert!(
            read(street.disk(), place) == garbage,
            "the partition was touched"
        );
    });
}

#[test]
fn a_disk_without_data_partition_is_left_as_it_is() {
    let mut boot = Boot::from_env();
    boot.disk_mib = 64;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    // Somebody else's disk: no table of ours, and a megabyte of theirs.
    let theirs = vec![0x5a; 1 << 20];
    std::fs::write(street.disk(), &theirs).unwrap();
    let disk = File::options().write(true).open(street.disk()).unwrap();
    disk.set_len(64 << 20).unwrap();
    is_fail_secure(&mut street, "no disk has a partition");
    step("its bytes are what they were", || {
        street.machine().cut_power();
        let now = std::fs::read(street.disk()).unwrap();
        assert!(now[..theirs.len()] == theirs[..] && now[theirs.len()..].iter().all(|b| *b == 0));
    });
}

#[test]
fn told_at_the_console_it_ends_in_order_and_comes_back() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let host = street.host();
    let lease = step("the box boots and a client gets a lease", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Dhclient, "desk");
        host.lease(SOON)
    });
    step("a role is started again at the console", || {
        let machine = street.machine();
        machine.type_line("");
        machine.line("Commands:", SOON);
        machine.forget();
        machine.type_line("services restart dnsd");
        machine.line("dnsd is ready", SOON);
        until("names are answered again", SOON, || {
            host.dig(BOX, &["desk.lan"]) == [lease.address.trim_end_matches("/24")]
        });
    });
    step("told to reboot, it ends in order", || {
        let machine = street.machine();
        machine.forget();
        machine.type_line("reboot");
        machine.line("ended in order", SOON);
        // QEMU runs with -no-reboot: the reset is its end.
        machine.wait(SOON);
    });
    step("the file system was left clean", || {
        let (start, _) = data_partition(street.disk());
        let place = format!("{}?offset={start}", street.disk().display());
        let output = Command::new("dumpe2fs")
            .arg("-h")
            .arg(&place)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let state = text
            .lines()
            .find(|line| line.starts_with("Filesystem state"));
        assert!(
            state.is_some_and(|state| state.ends_with("clean")),
            "{text}"
        );
        assert!(!text.contains("needs_recovery"), "{text}");
    });
    step("it comes back and knows its client", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Dhclient, "desk");
        assert_eq!(host.lease(SOON), lease);
    });
}
