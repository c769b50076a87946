//! Each role of the running box is killed in turn, and a household that asks for everything
//! every 50 ms says what it noticed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests run judges and read their logs"
)]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use appliance_tests::machine::{Boot, Machine, READY};
use appliance_tests::prober::{JOINED, RENEWED, unix_ms};
use appliance_tests::{Street, step};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer};
use netns_tests::wires::BOX;
use netns_tests::{Proc, until};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// The household notices what takes longer. What the same loops miss while nobody is killed is the
/// test machine's own and comes on top.
const GAP_MS_MAX: u128 = 1_000;
/// Watched after each kill: longer than any gap that is allowed.
const WATCHED_MS: u128 = 4_000;

/// A busy test machine may hold everybody up at the wrong moment; a box does so each time.
const TRIES: usize = 3;

const ROLES: [&str; 7] = ["netd", "controld", "wand", "dhcpd", "dnsd", "timed", "webd"];

/// A program that prints a word and the time in milliseconds each time that it was served.
struct Watch {
    what: &'static str,
    word: &'static str,
    proc: Proc,
}

impl Watch {
    /// A shell that starts `command` every 50 ms; its success is the service's. None waits for the
    /// one before: else the time that a client takes to give up would count as the box's.
    fn shell(street: &Street, host: &Host, what: &'static str, command: &str) -> Self {
        let script = format!(
            "while :; do ({command} && echo served ${{EPOCHREALTIME%???}}) & sleep 0.05; done"
        );
        let log = street.dir.path(&format!("{}.log", what.replace(' ', "-")));
        let proc = host
            .ns
            .spawn(&log, ["bash", "-c", &script.replace("{}", BOX)]);
        Self {
            what,
            word: "served",
            proc,
        }
    }

    /// When it was served, Unix milliseconds.
    fn times(&self) -> Vec<u128> {
        let printed = self.proc.printed();
        let lines = printed
            .lines()
            .filter_map(|line| line.strip_prefix(self.word));
        let time = |rest: &str| {
            let digits = rest.split_whitespace().next()?.replace(['.', ','], "");
            digits.parse().ok()
        };
        let mut times: Vec<u128> = lines.filter_map(time).collect();
        times.sort_unstable();
        times
    }

    /// The longest time without service that touches the window, milliseconds.
    fn gap(&self, (from, to): (u128, u128)) -> u128 {
        let mut last = from;
        let mut longest = 0;
        for time in self.times().into_iter().chain([to]) {
            if time >= from && time <= to {
                longest = longest.max(time - last);
                last = time;
            }
        }
        longest
    }
}

#[test]
fn whoever_is_killed_the_household_goes_on() {
    go_first();
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let (host, other) = (street.host(), street.host());
    step("the box boots and puts a client online", || {
        street.power_on().line(READY, BOOT);
    });
    let lease = step("a client has a lease and is online", || {
        let mut client = host.dhcp(DhcpClient::Udhcpc, "laptop");
        let lease = host.lease(SOON);
        until("a page comes through NAT", SOON, || {
            host.fetch(&format!("http://{}/", isp::WEB)).as_deref() == Some(isp::PAGE)
        });
        // Its address stays; whoever renews from now on does it every 50 ms.
        client.kill();
        lease
    });
    let address = lease.address.trim_end_matches("/24").to_owned();
    let check = env!("CARGO_BIN_EXE_check");
    let server = street.isp_ns().spawn(
        &street.dir.path("iperf3-server.log"),
        [
            "iperf3",
            "--server",
            "--one-off",
            "--forceflush",
            "--bind",
            isp::WEB,
        ],
    );
    let page = isp::WEB;
    let watches = [
        Watch::shell(
            &street,
            &host,
            "dig",
            &format!(
                "dig +short +tries=1 +time=1 @{{}} {} | grep -q {page}",
                isp::NAME
            ),
        ),
        Watch {
            what: "DHCP renewal",
            word: RENEWED,
            proc: host.ns.spawn(
                &street.dir.path("renew.log"),
                [check, "renew", &address, BOX],
            ),
        },
        Watch::shell(
            &street,
            &host,
            "curl box",
            "curl -sf -o /dev/null -m 1 http://{}/health",
        ),
        Watch::shell(
            &street,
            &host,
            "curl NAT",
            &format!("curl -sf -o /dev/null -m 1 http://{page}/"),
        ),
    ];
    let newcomers = other
        .ns
        .spawn(&street.dir.path("newcomers.log"), [check, "newcomers"]);
    let ping = host.ns.spawn(
        &street.dir.path("ping.log"),
        ["ping", "-n", "-i", "0.05", "-W", "2", page],
    );
    let mut iperf = host.ns.spawn(
        &street.dir.path("iperf3.log"),
        [
            "iperf3",
            "--client",
            page,
            "--udp",
            "--bitrate",
            "1M",
            "--length",
            "1200",
            "--time",
            "600",
            "--interval",
            "1",
        ],
    );
    step("everything is served", || {
        until("each program was served", SOON, || {
            watches.iter().all(|watch| watch.times().len() > 20)
        });
    });
    println!("longest time without service, ms");
    let names = watches.iter().map(|watch| watch.what).chain(["new device"]);
    println!("{:<10}{}", "killed", cells(names));
    let gaps = |window| -> Vec<u128> {
        let gaps = watches.iter().map(|watch| watch.gap(window));
        gaps.chain([joined(&newcomers.printed(), window)]).collect()
    };
    let mut late = Vec::new();
    for role in ROLES {
        for left in (0..TRIES).rev() {
            let quiet = gaps(watch_for_a_while());
            let (window, ready_ms) = step(&format!("{role} is killed and comes back"), || {
                kill(street.machine(), role)
            });
            let gaps = gaps(window);
            println!("{:<10}{}", "nobody", cells(&quiet));
            println!("{role:<10}{}   ready after {ready_ms} ms", cells(&gaps));
            let mut pairs = gaps.iter().zip(&quiet);
            if pairs.all(|(gap, quiet)| *gap < GAP_MS_MAX + quiet) {
                break;
            }
            if left == 0 {
                late.push(role);
            }
        }
    }
    iperf.signal("INT");
    iperf.wait(SOON);
    let (lost, sent) = lost_pings(&ping.printed());
    println!("ping: {lost} of {sent} lost");
    let (lost_datagrams, datagrams) = lost_datagrams(&server.printed());
    println!("iperf3: {lost_datagrams} of {datagrams} datagrams lost");
    assert!(late.is_empty(), "some service was away too long: {late:?}");
    assert!((lost, lost_datagrams) == (0, 0) && datagrams > 0);
}

/// Whatever else this machine does comes after this thread and its children, where we may say so:
/// the gaps are to be the box's.
fn go_first() {
    let thread = nix::unistd::gettid().to_string();
    let mut renice = Command::new("renice");
    renice.args(["-n", "-15", "-p", &thread]);
    let _ = renice.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Kills the role and waits until it serves again; gives the time that was watched, and how long
/// it took until the role said that it is ready, as the serial line tells.
fn kill(machine: &mut Machine, role: &str) -> ((u128, u128), u128) {
    machine.forget();
    let begun = unix_ms();
    machine.type_line(&format!("test kill {role}"));
    let killed = machine.line(&format!("SIGKILL to {role}"), SOON);
    let ready = machine.line(&format!("{role} is ready"), SOON);
    let (_, end) = watch_for_a_while();
    ((begun, end), ready.saturating_sub(killed).as_millis())
}

fn cells(values: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    values
        .into_iter()
        .map(|value| format!("{value:>14}"))
        .collect()
}

/// Echoes missing before the last that came, and how many were sent until then.
fn lost_pings(printed: &str) -> (usize, usize) {
    let numbers = printed.lines().filter_map(|line| {
        let (_, rest) = line.split_once("icmp_seq=")?;
        rest.split_whitespace().next()?.parse::<usize>().ok()
    });
    let came: BTreeSet<usize> = numbers.collect();
    let sent = came.last().copied().unwrap_or_default();
    (sent - came.len(), sent)
}

/// Sums what iperf3's server says about each second: `0/104 (0%)`.
fn lost_datagrams(printed: &str) -> (u64, u64) {
    let seconds = printed.lines().filter(|line| !line.contains("receiver"));
    let counts = seconds.filter_map(|line| {
        let (_, rest) = line.split_once(" ms ")?;
        let (lost, sent) = rest.split_whitespace().next()?.split_once('/')?;
        Some((lost.parse::<u64>().ok()?, sent.parse::<u64>().ok()?))
    });
    counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// The time that passes meanwhile, as a window.
fn watch_for_a_while() -> (u128, u128) {
    let from = unix_ms();
    until("the window is over", SOON, || {
        unix_ms() >= from + WATCHED_MS
    });
    (from, unix_ms())
}

/// The longest that a new device waited which got its lease in the window, milliseconds; the
/// whole window when none did.
fn joined(printed: &str, (from, to): (u128, u128)) -> u128 {
    let mut longest = None;
    for line in printed.lines().filter_map(|line| line.strip_prefix(JOINED)) {
        let mut words = line
            .split_whitespace()
            .map(|word| word.parse::<u128>().unwrap());
        let (at, waited) = (words.next().unwrap(), words.next().unwrap());
        if at >= from && at <= to {
            longest = longest.max(Some(waited));
        }
    }
    longest.unwrap_or(to - from)
}
