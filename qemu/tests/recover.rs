//! Roles that hang, leak or die again and again, and an init that hangs: each is replaced within
//! its time, the others do not notice, and what the box tells of it is what the kernel has.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests take the time"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, Machine, READY};
use appliance_tests::{Street, step};
use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer};
use netns_tests::wires::BOX;
use netns_tests::{until, until_some};

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// Which a terminal makes SIGINT of.
const CTRL_C: &str = "\x03";
/// A role that answers nothing is ended after 25 s.
const HANG: Duration = Duration::from_secs(45);
/// The watchdog's 30 s, and an emulated machine's slowness.
const BITE: Duration = Duration::from_secs(90);

#[test]
fn what_hangs_leaks_or_dies_is_replaced_and_told() {
    let mut street = Street::new(Boot::from_env(), DhcpServer::Dnsmasq);
    let host = street.host();
    step("the box boots and puts a client online", || {
        street.power_on().line(READY, BOOT);
        street.machine().type_line("");
    });
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(SOON);
    until("a name is resolved", SOON, || resolves(&host));
    let machine = street.machine();
    let first = step("the box tells of its processes what the kernel has", || {
        agrees(machine, SOON, |_| true)
    });
    step("Ctrl-C at the console ends what runs there", || {
        machine.forget();
        machine.type_line("monitor --events");
        // It runs when it tells of a lease that ends and is given anew.
        until("the console tells of events", SOON, || {
            client.signal("USR2");
            client.signal("USR1");
            machine.find(" lease.").is_some()
        });
        machine.type_line(CTRL_C);
        until("the prompt is back", SOON, || {
            machine.type_line("auth status");
            machine.find("You are logged in").is_some()
        });
    });
    step("a role that hangs is replaced", || {
        machine.forget();
        machine.type_line("test freeze dnsd");
        machine.line("SIGSTOP to dnsd", SOON);
        machine.type_line("test processes");
        let frozen = format!("test: process dnsd {} T", first["dnsd"].pid);
        machine.line(&frozen, SOON);
        let dnsd = started_again(machine, "dnsd", 1, HANG);
        assert_ne!(dnsd.pid, first["dnsd"].pid);
        assert!(dnsd.last_exit.contains("it hangs"), "{dnsd:?}");
        until("names are resolved again", SOON, || resolves(&host));
    });
    step(
        "a role that leaks is ended at its bound and replaced",
        || {
            machine.type_line("test leak dhcpd");
            let dhcpd = started_again(machine, "dhcpd", 1, SOON);
            assert!(dhcpd.last_exit.contains("24 MiB of memory"), "{dhcpd:?}");
            let again = host.dhcp(DhcpClient::Udhcpc, "laptop");
            host.lease(SOON);
            drop(again);
        },
    );
    step("a role that dies again and again is slowed down", || {
        for deaths in 1..8 {
            machine.type_line("test kill wand");
            started_again(machine, "wand", deaths, SOON);
        }
        let begun = Instant::now();
        machine.type_line("test kill wand");
        until("the box tells that it waits", SOON, || {
            machine.forget();
            machine.type_line("services status --json");
            machine.type_line("test processes");
            machine.line("test: that is all", SOON);
            machine.printed().contains("backing-off")
        });
        let wand = started_again(machine, "wand", 8, SOON);
        // None, and then 50 ms doubled with each.
        assert!(begun.elapsed() >= Duration::from_millis(50 << 6));
        assert!(wand.last_exit.contains("SIGKILL"), "{wand:?}");
    });
    step("nobody else was touched", || {
        let now = agrees(machine, SOON, |_| true);
        for role in ["netd", "controld", "webd"] {
            assert_eq!(now[role], first[role]);
        }
        until("a page comes through NAT", SOON, || {
            host.fetch(&format!("http://{}/", isp::WEB)).as_deref() == Some(isp::PAGE)
        });
    });
    step("an init that hangs is reset by the watchdog", || {
        machine.forget();
        machine.type_line("test hang");
        // QEMU runs with -no-reboot: the reset is its end.
        machine.wait(BITE);
        let printed = machine.printed();
        assert!(!printed.contains("panic") && !printed.contains("ended in order"));
    });
}

fn resolves(host: &Host) -> bool {
    host.dig(BOX, &[isp::NAME]) == [isp::WEB]
}

/// A role, as the box tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    pid: u64,
    restarts: u64,
    last_exit: String,
}

/// What `services status` tells, once it is what /proc shows: every role ready, in the process
/// that the box names.
fn agrees(
    machine: &mut Machine,
    within: Duration,
    wanted: impl Fn(&BTreeMap<String, Told>) -> bool,
) -> BTreeMap<String, Told> {
    until_some("the box tells what the kernel has", within, || {
        machine.forget();
        machine.type_line("services status --json");
        machine.type_line("test processes");
        machine.line("test: that is all", SOON);
        let printed = machine.printed();
        let told = told(&printed)?;
        let seen = printed.lines().filter_map(|line| {
            let (_, rest) = line.split_once("test: process ")?;
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        let seen: BTreeMap<String, u64> = seen.collect();
        let pids = told.iter().map(|(name, told)| (name.clone(), told.pid));
        (pids.collect::<BTreeMap<_, _>>() == seen && wanted(&told)).then_some(told)
    })
}

/// The role, once it serves again after so many deaths.
fn started_again(machine: &mut Machine, role: &str, deaths: u64, within: Duration) -> Told {
    let mut now = agrees(machine, within, |told| told[role].restarts == deaths);
    now.remove(role).unwrap()
}

/// The JSON on the serial line, which other lines may surround; `None` when it is not whole or a
/// role is not ready.
fn told(printed: &str) -> Option<BTreeMap<String, Told>> {
    let from = printed.find("[\n").or_else(|| printed.find("[{"))?;
    let to = printed.rfind(']')?;
    let list: serde_json::Value = serde_json::from_str(printed.get(from..=to)?).ok()?;
    let services = list.as_array()?.iter();
    services
        .map(|service| {
            let told = Told {
                pid: service["pid"].as_u64()?,
                restarts: service["restarts"].as_u64()?,
                last_exit: service["last_exit"].as_str().unwrap_or_default().to_owned(),
            };
            let name = service["name"].as_str()?.to_owned();
            (service["state"] == "ready").then_some((name, told))
        })
        .collect()
}
