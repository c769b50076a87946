//! From inside every role, what a hijacked one would try is refused by our kernel.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use appliance_tests::machine::{Boot, READY};
use appliance_tests::{Street, step};
use netns_tests::isp::DhcpServer;
use netns_tests::until;

/// What each role may by design; everything else must be refused. Kept apart from the role
/// table, so that widening the table fails here.
const BY_DESIGN: [(&str, &[&str]); 7] = [
    (
        "netd",
        &[
            "netlink-write",
            "socket-inet",
            "socket-netlink",
            "socket-packet",
        ],
    ),
    ("controld", &["open-state"]),
    ("wand", &[]),
    ("dhcpd", &[]),
    ("dnsd", &["socket-inet"]),
    ("timed", &["clock-adjust"]),
    ("webd", &[]),
];

/// Fewer attempts than this, and the test does not test.
const ATTEMPTS_MIN: usize = 40;

#[test]
fn a_hijacked_role_is_refused_everything_but_its_work() {
    let mut boot = Boot::from_env();
    boot.append = "lintel.test=1 lintel.escape=1".to_owned();
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    step("the box boots and every role is ready", || {
        street.power_on().line(READY, Duration::from_secs(120));
    });
    let machine = street.machine();
    step("every role has tried everything", || {
        until("every role is done", Duration::from_secs(60), || {
            let printed = machine.printed();
            BY_DESIGN
                .iter()
                .all(|(role, _)| printed.contains(&format!("escape {role} done")))
        });
    });
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in machine.printed().lines() {
        let Some((_, said)) = line.split_once("escape ") else {
            continue;
        };
        let words: Vec<&str> = said.split_whitespace().collect();
        let [role, probe, result, ..] = words[..] else {
            continue;
        };
        *tried.entry(role.to_owned()).or_default() += 1;
        if result == "ALLOWED" {
            allowed
                .entry(role.to_owned())
                .or_default()
                .insert(probe.to_owned());
        }
    }
    for (role, expected) in BY_DESIGN {
        step(&format!("{role} is held"), || {
            let attempts = tried.get(role).copied().unwrap_or(0);
            assert!(attempts >= ATTEMPTS_MIN, "{role} tried {attempts} things");
            let got = allowed.remove(role).unwrap_or_default();
            let got: Vec<&str> = got.iter().map(String::as_str).collect();
            assert_eq!(got, expected, "what {role} was let through with");
        });
        println!("{role}: {} attempts, allowed: {expected:?}", tried[role]);
    }
}
