//! Power cuts: at random moments, on one disk, while clients take leases and somebody changes
//! the configuration without a pause. After each the box boots, every acknowledged lease is its
//! client's, and the configuration is exactly the old or the new: of a change that waited to be
//! confirmed the old, with a notice.
//!
//! `LINTEL_POWER_CUTS` says how many fall into that (10; those that fall into a start come on top),
//! `LINTEL_POWER_SEED` repeats the same chances.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs judges, reads disks"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use appliance_tests::machine::{Boot, READY, WRITE_LOG};
use appliance_tests::street::HOST_LINK;
use appliance_tests::write_log::{self, Chance, Cut};
use appliance_tests::{Street, step};
use netns_tests::client::Host;
use netns_tests::isp::DhcpServer;
use netns_tests::told::notice;
use netns_tests::{until, until_some};
use serde_json::Value;

/// A boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
/// The box before and after its LAN became a /20.
const OLD_BOX: &str = "192.168.1.1";
const BOX: &str = "192.168.0.1";
/// New clients a cut, at most.
const CLIENTS: usize = 30;
/// The longest time under load.
const LOAD_MS: u64 = 3_000;
/// How long what a cut may fall on goes on.
const MORE: Duration = Duration::from_millis(300);

/// What the LAN was told, and may rely on.
#[derive(Debug, Default)]
struct Promises {
    /// Acknowledged addresses by hardware address.
    leases: BTreeMap<String, String>,
    /// Whose each address is.
    owners: BTreeMap<String, String>,
    /// The configuration that was acknowledged last, and one that may be in force since.
    config: u64,
    config_sent: u64,
    /// The configuration that was put last, and the one that last waited to be confirmed.
    put: u64,
    waits: u64,
    acknowledged: u64,
    changed: u64,
    /// Cuts that fell into a commit, into the time in which one waits, and those of the latter
    /// whose change was taken back.
    in_commits: u64,
    in_windows: u64,
    taken_back: u64,
}

impl Promises {
    fn hear_leases(&mut self, printed: &str) {
        for line in whole_lines(printed) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["ack", mac, address] => {
                    self.acknowledged += 1;
                    let was = self.leases.insert((*mac).into(), (*address).into());
                    assert!(
                        was.as_deref().is_none_or(|was| was == *address),
                        "{mac} had {was:?} and was given {address}"
                    );
                    let owner = self.owners.insert((*address).into(), (*mac).into());
                    assert!(
                        owner.as_deref().is_none_or(|owner| owner == *mac),
                        "{address} belongs to {owner:?} and was given to {mac}"
                    );
                }
                ["nak", mac, address] => panic!("{mac} was refused its {address}"),
                _ => panic!("the clients broke: {printed}"),
            }
        }
    }

    fn hear_config(&mut self, printed: &str) {
        for line in whole_lines(printed) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["put", n] => self.put = n.parse().unwrap(),
                ["open", n] => self.waits = n.parse().unwrap(),
                ["sent", n] => {
                    self.config_sent = n.parse().unwrap();
                    self.put = self.config_sent;
                }
                ["done", n] => {
                    self.changed += 1;
                    self.config = n.parse().unwrap();
                }
                ["no", "answer", ..] => {}
                _ => panic!("a change was refused: {line}"),
            }
        }
    }
}

/// A line that is only half written is none.
fn whole_lines(printed: &str) -> impl Iterator<Item = &str> {
    let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines()
}

/// The box over a host with a fixed address, as somebody who has logged in.
struct Owner {
    host: Host,
    jar: PathBuf,
}

impl Owner {
    fn ask(&self, server: &str, more: &[&str], path: &str) -> Option<Value> {
        let (url, origin) = (
            format!("http://{server}{path}"),
            format!("Origin: http://{server}"),
        );
        let cookie = fs::read_to_string(&self.jar).unwrap_or_default();
        let cookie = format!("Cookie: {}", cookie.trim());
        let mut args = vec![
            "curl",
            "-sS",
            "-f",
            "-m",
            "10",
            "-H",
            &origin,
            "-H",
            &cookie,
            "-H",
            "Content-Type: application/json",
        ];
        args.extend(more);
        args.push(&url);
        serde_json::from_slice(&self.host.ns.run(args).stdout).ok()
    }

    /// Claims the box and makes its LAN large; from here on it is at [`BOX`].
    fn begin(&self, text: &str) {
        let address = |address: &str| {
            self.host
                .ns
                .ok(["ip", "address", "flush", "dev", HOST_LINK]);
            let add = ["ip", "address", "add", address, "dev", HOST_LINK];
            self.host.ns.ok(add);
        };
        address("192.168.1.2/24");
        let headers = self.jar.with_extension("headers");
        let setup = ["-D", headers.to_str().unwrap(), "-d"];
        let password = r#"{"password":"a good pass phrase"}"#;
        until_some("the box is claimed", SOON, || {
            let more = [setup.as_slice(), &[password]].concat();
            self.ask(OLD_BOX, &more, "/api/auth/setup")
        });
        let headers = fs::read_to_string(headers).unwrap();
        let cookie = headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
            .and_then(|(_, cookie)| cookie.split(';').next())
            .expect("a session");
        fs::write(&self.jar, cookie).unwrap();
        let body = serde_json::json!({ "toml": text }).to_string();
        // The answer may be lost with the old address.
        let _ = self.ask(OLD_BOX, &["-X", "PUT", "-d", &body], "/api/config");
        address("192.168.0.2/20");
        until_some("the box is at its new address", SOON, || {
            self.ask(BOX, &[], "/api/config")
        });
        // What moves its author waits for this, and a cut would take it back.
        until_some("the move is confirmed", SOON, || {
            self.ask(BOX, &["-d", "{}"], "/api/config/confirm")
        });
    }

    /// What the box keeps is what was promised.
    fn check(&self, promises: &mut Promises) {
        // The same session since the first start: it is promised too.
        let config = until_some("the box tells its configuration", SOON, || {
            self.ask(BOX, &[], "/api/config")
        });
        let text = config["toml"].as_str().unwrap();
        let mut candidates = promises.config..=promises.config_sent;
        let found = candidates.find(|n| config_text(*n) == text);
        promises.config = found.unwrap_or_else(|| {
            let (old, new) = (promises.config, promises.config_sent);
            panic!("none from {old} to {new}: {text}")
        });
        promises.config_sent = promises.config;
        let status = self.ask(BOX, &[], "/api/status").unwrap();
        assert!(status["config"]["pending"].is_null(), "{status}");
        // It waited to be confirmed, that much is sure, and was not.
        if promises.waits > promises.config {
            let text = notice(&status, "not-confirmed");
            assert!(text.is_some(), "{} is forgotten: {status}", promises.waits);
            promises.taken_back += 1;
        }
        (promises.put, promises.waits) = (promises.config, promises.config);
        assert_eq!(status["data"]["state"], "good", "{status}");
        let notices = status["notices"].to_string();
        assert!(!notices.contains("data-"), "{notices}");
        assert!(!notices.contains("revision-failed"), "{notices}");
        let mut kept = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let page = self.ask(BOX, &[], &format!("/api/dhcp/leases?limit=500{cursor}"));
            let page = page.expect("a page of leases");
            for lease in page["items"].as_array().unwrap() {
                let mac = lease["mac"].as_str().unwrap().replace(':', "");
                let ip = lease["ip"].as_str().unwrap().to_owned();
                if lease["state"] == "bound" && lease["expired"] == false {
                    kept.insert(ip, mac);
                }
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        for (mac, address) in &promises.leases {
            assert_eq!(
                kept.get(address),
                Some(mac),
                "{address} was promised to {mac}"
            );
        }
    }
}

/// The text of crowd.py's change `n`.
fn config_text(n: u64) -> String {
    let script = include_str!("../../tests/fixtures/hostile/crowd.py");
    let (_, rest) = script.split_once("TEXT = \"\"\"").unwrap();
    let (text, _) = rest.split_once("\"\"\"").unwrap();
    text.replace("%d", &n.to_string())
}

#[test]
fn no_power_cut_breaks_a_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let cuts = number("LINTEL_POWER_CUTS").unwrap_or(10);
    let seed = number("LINTEL_POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("power: {cuts} cuts; again with LINTEL_POWER_SEED={seed}");
    let mut chance = Chance(seed);
    let begun = Instant::now();

    let mut boot = Boot::from_env();
    boot.write_log = true;
    boot.disk_mib = 256;
    let mut street = Street::new(boot, DhcpServer::Dnsmasq);
    let crowd = street.host();
    let owner = Owner {
        host: street.host(),
        jar: street.dir.path("jar"),
    };
    let mut promises = Promises::default();
    let mut boots = Vec::new();
    let mut total = Cut::default();
    let mut torn = 0;
    step("the box is claimed and its LAN made large", || {
        power_on(&mut street).line(READY, BOOT);
        owner.begin(&config_text(0));
        owner.check(&mut promises);
    });
    let (mut n, mut under_load) = (0, 0);
    while under_load < cuts {
        n += 1;
        // Every fifth cut falls somewhere into a start.
        let (place, from) = if n > 1 && chance.below(5) == 0 {
            street.machine().cut_power();
            after_cut(&mut street, usize::MAX, &mut chance);
            power_on(&mut street).line(READY, BOOT);
            street.machine().cut_power();
            ("a start", 0)
        } else {
            under_load += 1;
            let load = Load::begin(&street, &crowd, &owner, n, &promises);
            std::thread::park_timeout(Duration::from_millis(chance.below(LOAD_MS)));
            // What was acknowledged by now is promised: the cut falls on one of the writes from
            // here on, of which some more are awaited.
            load.hear(&mut promises);
            let from = write_log::count(&street.dir.path(WRITE_LOG));
            std::thread::park_timeout(MORE);
            street.machine().cut_power();
            load.end(&mut promises);
            ("load", from)
        };
        let cut = after_cut(&mut street, from, &mut chance);
        if let Some(cut) = cut {
            total.writes += cut.writes;
            total.bytes += cut.bytes;
            total.flushes += cut.flushes;
            total.unflushed += cut.unflushed;
            total.lost += cut.lost;
            torn += u64::from(cut.unflushed > 0);
            println!(
                "power: cut {n} in {place}: {} writes, {} flushes, {} sectors unflushed, {} lost",
                cut.writes, cut.flushes, cut.unflushed, cut.lost
            );
        }
        step(&format!("after cut {n} all is as promised"), || {
            boots.push(power_on(&mut street).line(READY, BOOT));
            owner.check(&mut promises);
        });
    }
    let (fast, slow) = (boots.iter().min().unwrap(), boots.iter().max().unwrap());
    println!(
        "power: {n} cuts in {} s, booted in {} to {} ms; {} acknowledgements to {} clients, {} changes of the configuration",
        begun.elapsed().as_secs(),
        fast.as_millis(),
        slow.as_millis(),
        promises.acknowledged,
        promises.leases.len(),
        promises.changed
    );
    println!(
        "power: {} writes, {} KiB, {} flushes; in {torn} cuts {} sectors were not flushed, {} of them lost",
        total.writes,
        total.bytes >> 10,
        total.flushes,
        total.unflushed,
        total.lost
    );
    println!(
        "power: {} cuts fell into a commit, {} into the time to confirm one; {} changes were taken back",
        promises.in_commits, promises.in_windows, promises.taken_back
    );
    assert!(promises.acknowledged > cuts, "too little happened");
    assert!(
        promises.in_commits + promises.in_windows > 0,
        "no commit was cut"
    );
    assert!(total.flushes > 0 && total.unflushed > 0, "{total:?}");
}

/// Switches the box on, with its disk kept as it is now.
fn power_on(street: &mut Street) -> &mut appliance_tests::Machine {
    let before = street.dir.path("before.img");
    let status = std::process::Command::new("cp")
        .args(["--sparse=always", "--"])
        .args([street.disk(), &before])
        .status();
    assert!(status.unwrap().success());
    street.power_on()
}

/// Makes of the disk what a cut at or after write `from` left of it.
fn after_cut(street: &mut Street, from: usize, chance: &mut Chance) -> Option<Cut> {
    street.machine = None;
    let before = street.dir.path("before.img");
    let log = street.dir.path(WRITE_LOG);
    let from = from.min(write_log::count(&log));
    // By hand, to see this test fail: a disk that flushes nothing.
    let lying = std::env::var_os("LINTEL_POWER_LYING").is_some();
    let cut = write_log::cut(&before, &log, from, lying, chance);
    match cut {
        Some(_) => fs::rename(&before, street.disk()).unwrap(),
        None => println!("power: QEMU was killed over its log; the disk is as at that moment"),
    }
    cut
}

/// Clients that take leases and somebody who changes the configuration.
struct Load {
    leases: netns_tests::Proc,
    config: netns_tests::Proc,
}

impl Load {
    fn begin(street: &Street, crowd: &Host, owner: &Owner, n: u64, promises: &Promises) -> Self {
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hostile/crowd.py");
        let script = script.to_str().unwrap();
        let known: String = promises
            .leases
            .iter()
            .map(|(mac, address)| format!("{mac} {address}\n"))
            .collect();
        let known = street.dir.write("known", &known);
        let first = (n * CLIENTS as u64).to_string();
        let leases = crowd.ns.spawn(
            &street.dir.path("leases.log"),
            [
                "python3",
                "-B",
                script,
                "leases",
                HOST_LINK,
                &first,
                &CLIENTS.to_string(),
                known.to_str().unwrap(),
            ],
        );
        let next = (promises.config + 1).to_string();
        let jar = owner.jar.to_str().unwrap();
        let config = owner.host.ns.spawn(
            &street.dir.path("config.log"),
            ["python3", "-B", script, "config", BOX, jar, &next],
        );
        // Every cut is to fall into a commit.
        until("somebody changes the configuration", SOON, || {
            !config.printed().is_empty()
        });
        Self { leases, config }
    }

    /// What was promised so far.
    fn hear(&self, promises: &mut Promises) {
        promises.hear_leases(&self.leases.printed());
        promises.hear_config(&self.config.printed());
    }

    /// The power is gone. Whatever configuration was sent since may be in force.
    fn end(mut self, promises: &mut Promises) {
        self.leases.kill();
        self.config.kill();
        let (acknowledged, changed) = (promises.config, promises.changed);
        let waits = promises.waits;
        promises.hear_config(&self.config.printed());
        let unconfirmed = promises.waits > promises.config_sent;
        promises.in_windows += u64::from(unconfirmed);
        promises.in_commits += u64::from(!unconfirmed && promises.put > promises.config);
        (promises.config, promises.changed) = (acknowledged, changed);
        promises.waits = waits;
    }
}
