//! The box's clock beside chronyd's: two machines with the same kernel and the same wrong clock
//! ask the same four servers, of which one lies, and a prober asks both how late it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests")]

use std::process::Command;
use std::thread;
use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::client::DhcpClient;
use netns_tests::isp::{self, DhcpServer};
use netns_tests::session::Session;
use netns_tests::{Namespace, Workdir, sky, until};
use serde_json::{Value, json};

const BOOT: Duration = Duration::from_secs(180);
/// Long after both have the first answers of all four.
const SYNCHRONISED: Duration = Duration::from_secs(120);
const BOX: &str = "192.168.1.1";
const YARDSTICK: &str = "198.51.100.60";
/// Where both clocks begin: before our source was written, so that the box first has its floor.
const WRONG: &str = "2025-01-01T00:00:00";
/// A year later than any boot of this test.
const SET: &str = "2034-05-06T07:08:09Z";
/// Probes of one look, a second apart, of which the quicker half counts.
const PROBES: &str = "30";
/// Looks of which the median counts: a single one may be luck, on either side.
const LOOKS_MIN: usize = 3;
/// Looks until the medians have to be good: under emulation both clocks wander.
const LOOKS_MAX: usize = 10;
/// Errors below this are equal, ns. The quickest answers of both machines take about a
/// millisecond, and the box's 0.2 ms more than chronyd's; what is more on one way alone reads as
/// an error of half of it, and no prober can tell.
const PROBER_NS: i64 = 100_000;

#[test]
fn the_boxs_clock_is_as_good_as_chronyds() {
    let mut boot = Boot::from_env();
    boot.rtc = Some(WRONG.to_owned());
    let mut street = Street::new(boot.clone(), DhcpServer::Dnsmasq);
    let dir = Workdir::new("time");
    let [second, third, liar] = isp::POOL;
    let _servers = [isp::TIME, second, third].map(|at| sky::chronyd(&street.isp.ns, &dir, at));
    let _liar = sky::faulty(&street.isp.ns, &dir, liar, "lie");
    let host = street.host();
    boot.initramfs = yardstick(&dir);
    boot.image = None;
    let mut chronyd = street.neighbour(&boot, &dir);
    step("the box boots and every role is ready", || {
        street.power_on().line(READY, BOOT);
        let printed = street.machine().printed();
        assert!(printed.contains("the clock was behind its floor"));
    });
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    step("a host has a lease", || {
        host.lease(Duration::from_secs(60));
    });
    step("chronyd runs in its machine", || {
        chronyd.line("yardstick: started", BOOT);
    });
    step("the box has heard all four, and believes three", || {
        until("it says so", SYNCHRONISED, || {
            let machine = street.machine();
            machine.forget();
            machine.type_line("ntp status --json");
            machine.line("\"synchronised\"", SYNCHRONISED);
            let said = machine.printed();
            let liar = format!("\"address\": \"{liar}:123\"");
            said.contains("\"agreed\": true")
                && said.contains(&liar)
                && said.matches("\"state\": \"falseticker\"").count() == 1
                && said.matches("\"address\"").count() == 4
        });
    });
    step("the box tells its LAN the time", || {
        until("the box answers", SYNCHRONISED, || {
            sky::ask(&host.ns, &dir, BOX, &["once", "4", "3"]).contains("leap 0")
        });
    });
    step("chronyd is synchronised", || {
        until("chronyd answers", SYNCHRONISED, || {
            let answer = sky::ask(&street.isp.ns, &dir, YARDSTICK, &["once", "4", "3"]);
            answer.contains("leap 0")
        });
    });
    step("our error is within twice chronyd's", || {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        loop {
            thread::scope(|scope| {
                let look = scope.spawn(|| error_ns(&host.ns, &dir, BOX));
                theirs.push(error_ns(&street.isp.ns, &dir, YARDSTICK));
                ours.push(look.join().unwrap());
            });
            let (box_ns, chronyd_ns) = (median(&ours), median(&theirs));
            println!(
                "error of the clock: box {} us, chronyd {} us; medians of {} looks {} and {} us, ratio {:.2}",
                ours[ours.len() - 1] / 1_000,
                theirs[theirs.len() - 1] / 1_000,
                ours.len(),
                box_ns / 1_000,
                chronyd_ns / 1_000,
                box_ns as f64 / chronyd_ns.max(1) as f64
            );
            if ours.len() >= LOOKS_MIN && box_ns <= (2 * chronyd_ns).max(PROBER_NS) {
                return;
            }
            assert!(
                ours.len() < LOOKS_MAX,
                "{box_ns} ns beside chronyd's {chronyd_ns} ns"
            );
        }
    });
}

#[test]
fn a_box_without_time_servers_is_told_the_time_by_hand() {
    let mut boot = Boot::from_env();
    boot.rtc = Some(WRONG.to_owned());
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let dir = Workdir::new("by-hand");
    let host = street.host();
    step("the box boots and every role is ready", || {
        street.power_on().line(READY, BOOT);
    });
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    step("a host has a lease", || {
        host.lease(Duration::from_secs(60));
    });
    let session = Session::new();
    let owner = json!({ "password": "seven green bottles" });
    step("it has an owner", || {
        for path in ["/api/auth/setup", "/api/auth/login"] {
            let url = format!("http://{BOX}{path}");
            // Hashing a password takes an emulated machine seconds; what is done already is in the
            // way of its repetition.
            until(&format!("{path} is done"), BOOT, || {
                let answer = session.ask(&host, 20, "POST", &url, &owner);
                answer.is_ok_and(|answer| matches!(answer.status, 200 | 409))
            });
        }
    });
    // What the box tells its owner, in seconds after `set` as date(1) reads that.
    let after = |set: &str| {
        let url = format!("http://{BOX}/api/system/time");
        let mut told = None;
        until("the box tells the time", BOOT, || {
            let answer = session.ask(&host, 20, "GET", &url, &Value::Null).ok();
            told = answer.and_then(|answer| answer.json()["unix_s"].as_i64());
            told.is_some()
        });
        let set_s = host.ns.ok(["date", "-u", "-d", set, "+%s"]);
        told.unwrap() - set_s.trim().parse::<i64>().unwrap()
    };
    step(
        "the clock is set years ahead at the serial line, and the interface follows",
        || {
            assert!(!(0..=600).contains(&after(SET)));
            let machine = street.machine();
            machine.forget();
            machine.type_line(&format!("system time set {SET}"));
            machine.line("The clock is set.", BOOT);
            assert!((0..=600).contains(&after(SET)));
        },
    );
    step("a time before the software was written is refused", || {
        let machine = street.machine();
        machine.forget();
        machine.type_line("system time set 2020-01-01T00:00:00Z");
        machine.line("no time before 20", BOOT);
        assert!((0..=600).contains(&after(SET)));
    });
    step(
        "nobody on the LAN is told a time that somebody wrote",
        || {
            assert_eq!(
                sky::ask(&host.ns, &dir, BOX, &["once", "4", "3"]),
                "silence"
            );
        },
    );
    step("the lease went with the clock", || {
        let machine = street.machine();
        machine.forget();
        machine.type_line("leases");
        machine.line("laptop", BOOT);
    });
}

fn median(of: &[i64]) -> i64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// How wrong the clock at `address` is, by a prober beside the servers' own clock.
fn error_ns(ns: &Namespace, dir: &Workdir, address: &str) -> i64 {
    let said = sky::ask(ns, dir, address, &["offsets", PROBES]);
    println!("{address}: {said}");
    let error = said.rsplit(' ').next().and_then(|word| word.parse().ok());
    error.unwrap_or_else(|| panic!("{address}: {said}"))
}

/// A root file system of Debian's chronyd and a shell.
fn yardstick(dir: &Workdir) -> std::path::PathBuf {
    let servers: String = [isp::TIME]
        .iter()
        .chain(&isp::POOL)
        .map(|server| format!("server {server} iburst\n"))
        .collect();
    dir.write(
        "chrony.conf",
        &format!("{servers}makestep 0.1 3\nallow all\ncmdport 0\npidfile /run/chronyd.pid\n"),
    );
    dir.script(
        "init",
        &format!(
            "#!/bin/busybox sh\nexport PATH=/bin\nfor mount in 'devtmpfs /dev' 'proc /proc' 'sysfs /sys' 'tmpfs /run'; do\n\
             busybox mount -t ${{mount% *}} none ${{mount#* }}\ndone\n\
             busybox ip link set lo up\nbusybox ip link set eth0 up\n\
             busybox ip address add {YARDSTICK}/24 dev eth0\nbusybox ip route add default via {}\n\
             echo yardstick: started\nchronyd -d -u root -f /chrony.conf\nbusybox sleep 100000\n",
            isp::GATEWAY
        ),
    );
    let script = format!(
        "set -e\ncd {0}\nmkdir -p root/bin root/dev root/proc root/sys root/run root/etc root/var/lib/chrony\n\
         cp init chrony.conf root/\ngrep ^root: /etc/passwd > root/etc/passwd\ngrep ^root: /etc/group > root/etc/group\n\
         for program in chronyd busybox; do\n\
         path=$(command -v $program)\ncp -L $path root/bin/$program\n\
         ldd $path | grep -o '/[^ ]*' | while read lib; do mkdir -p root$(dirname $lib); cp -L $lib root$lib; done\ndone\n\
         cd root\nfind . | cpio --quiet -o -H newc > ../yardstick.cpio\n",
        dir.path("").display()
    );
    let mut sh = Command::new("sh");
    let built = sh.args(["-c", &script]).output().expect("there is a shell");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{errors}");
    dir.path("yardstick.cpio")
}
