//! The disk image: UEFI starts it, /data grows to its disk, and a power cut costs nothing.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs judges"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, judge, step};
use netns_tests::client::DhcpClient;
use netns_tests::isp::DhcpServer;

/// A boot by UEFI under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(180);
/// Ten times the data partition of the image.
const DISK_MIB: u64 = 512;
/// What the boot partition and the slots leave of it, roughly.
const DATA_MIB_MIN: u64 = 300;
const SECTORS_PER_MIB: u64 = 2048;

#[test]
fn uefi_boots_the_disk_data_grows_and_a_power_cut_costs_nothing() {
    let mut boot = Boot::from_env();
    boot.uefi = true;
    boot.disk_mib = DISK_MIB;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let host = street.host();
    let address = step("UEFI starts the box, and a client gets a lease", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        host.lease(Duration::from_secs(60)).address
    });
    step("the power is cut", || street.machine().cut_power());
    step(
        "the partition table is whole and /data reaches to the disk's end",
        || {
            let table = judge(Command::new("sgdisk").arg("-v").arg(street.disk()));
            assert!(table.contains("No problems found"), "{table}");
            let (first, last) = data_partition(street.disk());
            let mib = (last - first) / SECTORS_PER_MIB;
            assert!(mib > DATA_MIB_MIN, "/data has {mib} MiB of {DISK_MIB}");
        },
    );
    step(
        "e2fsck finds nothing that the journal does not mend",
        || {
            let (first, last) = data_partition(street.disk());
            let copy = street.dir.path("data.ext4");
            judge(
                Command::new("dd")
                    .args(["bs=512", "conv=sparse", "status=none"])
                    .args([
                        format!("if={}", street.disk().display()),
                        format!("of={}", copy.display()),
                        format!("skip={first}"),
                        format!("count={}", last - first + 1),
                    ]),
            );
            // The first pass plays the journal back, the second must find nothing.
            let played = Command::new("/sbin/e2fsck")
                .arg("-fp")
                .arg(&copy)
                .output()
                .unwrap();
            assert!(
                played.status.code().is_some_and(|code| code <= 1),
                "{played:?}"
            );
            judge(Command::new("/sbin/e2fsck").arg("-fn").arg(&copy));
        },
    );
    step("the box boots again and knows its client", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        let again = host.lease(Duration::from_secs(60)).address;
        assert_eq!(again, address);
    });
}

/// First and last sector of /data.
fn data_partition(disk: &Path) -> (u64, u64) {
    let text = judge(Command::new("sgdisk").args(["-i", "4"]).arg(disk));
    assert!(text.contains("lintel-data"), "{text}");
    let sector = |label: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (sector("First sector: "), sector("Last sector: "))
}
