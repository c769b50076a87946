//! A disk that gets slow, and one that takes no write any more, under a box that serves.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "takes the time"
)]

use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY};
use appliance_tests::sick_disk::SickDisk;
use appliance_tests::{Street, step};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer};
use netns_tests::until;
use netns_tests::wires::{BOX, http, is_online};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// What a worn SD card may take for a request while it moves its blocks around.
const SLOW: Duration = Duration::from_millis(400);
/// The longest that dnsd may take while the disk is slow: no disk is on its way.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A box on such a disk, which is well still, and a host that is online.
fn street() -> (Street, SickDisk, Host) {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let disk = SickDisk::serve(street.disk(), &street.dir.path(""));
    street.boot.disk_socket = Some(disk.socket().to_owned());
    let host = street.host();
    (street, disk, host)
}

#[test]
fn a_slow_disk_delays_promises_and_nothing_else() {
    let (mut street, disk, host) = street();
    let newcomer = street.host();
    step("the box boots, and a client is online", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        host.lease(SOON);
        is_online(&host);
    });
    let before = disk.requests().0;
    disk.set_delay(SLOW);
    let (lease, slowest) = step("a newcomer gets an address while others are served", || {
        let begun = Instant::now();
        let client = newcomer.dhcp(DhcpClient::Udhcpc, "phone");
        let mut slowest = Duration::ZERO;
        until("the newcomer is bound", SOON, || {
            let asked = Instant::now();
            assert_eq!(host.dig(BOX, &[isp::NAME]), [isp::WEB]);
            slowest = slowest.max(asked.elapsed());
            client.printed().contains("obtained")
        });
        (begun.elapsed(), slowest)
    });
    println!(
        "slow disk: {} ms for each of {} requests; a lease after {} ms, the slowest answer of DNS {} ms",
        SLOW.as_millis(),
        disk.requests().0 - before,
        lease.as_millis(),
        slowest.as_millis()
    );
    assert!(
        disk.requests().0 > before,
        "the promise did not wait for it"
    );
    assert!(lease >= SLOW, "{lease:?}: the ACK came before the disk");
    assert!(slowest < ANSWER_MAX, "{slowest:?}");
    is_online(&newcomer);
    step("nothing was started again for it", || {
        disk.set_delay(Duration::ZERO);
        let printed = street.machine().printed();
        assert!(!printed.contains("hangs"), "{printed}");
    });
}

#[test]
fn a_disk_that_takes_no_write_is_told_and_keeps_what_was_promised() {
    let (mut street, disk, host) = street();
    let newcomer = street.host();
    let lease = step("the box boots, and a client is online", || {
        street.power_on().line(READY, BOOT);
        let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        let lease = host.lease(SOON);
        is_online(&host);
        lease
    });
    disk.set_writes_fail(true);
    step("it is told, and the household stays online", || {
        // A newcomer is what wants a write.
        let _client = newcomer.dhcp(DhcpClient::Udhcpc, "phone");
        until("the page tells it", SOON, || {
            let (code, page) = http(&host, "GET", "/", None);
            code == 200 && page.contains("storage")
        });
        is_online(&host);
        assert_eq!(http(&host, "GET", "/health", None).0, 200);
    });
    step("a newcomer gets no more than ten minutes", || {
        let client = newcomer.dhcp(DhcpClient::Udhcpc, "phone");
        newcomer.lease(SOON);
        let printed = client.printed();
        assert!(printed.contains("lease time 600"), "{printed}");
    });
    let (requests, failed) = disk.requests();
    println!("bad disk: {failed} of {requests} requests got an error");
    assert!(failed > 0);
    step(
        "with a good disk the next boot has what was promised",
        || {
            street.machine().cut_power();
            disk.set_writes_fail(false);
            street.power_on().line(READY, BOOT);
            let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
            assert_eq!(host.lease(SOON), lease);
            let printed = client.printed();
            assert!(!printed.contains("lease time 600"), "{printed}");
        },
    );
}
