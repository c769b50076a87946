//! Every command of the table against the running router: what it prints, and what foreign
//! programs see of what it did.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::process::Output;

use netns_tests::client::Lease;
use netns_tests::home::{Home, PATIENCE};
use netns_tests::router::Router;
use netns_tests::street::CONFIG;
use netns_tests::{isp, told, until};
use serde_json::Value;

const ROLES: [&str; 7] = ["netd", "controld", "wand", "dhcpd", "dnsd", "timed", "webd"];

/// A household whose host is online.
struct Asked {
    home: Home,
    lease: Lease,
}

fn home() -> Asked {
    let home = Home::new(1);
    let lease = home.host().lease(PATIENCE);
    until("the host resolves", PATIENCE, || {
        home.host().dig(&lease.dns, &[isp::NAME]) == [isp::WEB]
    });
    Asked { home, lease }
}

impl Asked {
    fn router(&self) -> &Router {
        self.home.router()
    }

    fn says(&self, args: &[&str]) -> String {
        self.router().cli_ok(args)
    }

    fn dig(&self, args: &[&str]) -> Vec<String> {
        self.home.host().dig(&self.lease.dns, args)
    }

    fn address(&self) -> &str {
        self.lease.address.trim_end_matches("/24")
    }
}

/// What was refused: the status and the words.
fn refusal(output: &Output) -> (i32, String) {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("panicked"), "{words}");
    (output.status.code().unwrap(), words)
}

#[test]
fn what_only_looks_tells_what_foreign_programs_see() {
    let home = home();
    let router = &home.router().ns;
    assert_eq!(home.says(&["health"]), "up\n");

    let text = home.says(&["status"]);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
    let links = router.json(["ip", "-j", "-4", "address", "show", "dev", "wan0"]);
    let wan = links[0]["addr_info"][0]["local"].as_str().unwrap();
    assert!(text.contains("online") && text.contains(wan), "{text}");
    for role in ROLES {
        assert!(text.contains(role), "{role}: {text}");
    }

    let status = home.router().cli_json(&["status"]);
    for pointer in [
        "/system/hostname",
        "/system/version",
        "/system/uptime_s",
        "/system/clock/synchronised",
        "/system/memory/available_kib",
        "/wan/link",
        "/wan/text",
        "/lan/ports/0/link",
        "/leases/active",
        "/services/5/pss_kib",
        "/config/revision",
        "/kernel/converged",
        "/notices",
    ] {
        assert!(status.pointer(pointer).is_some(), "no {pointer}: {status}");
    }
    assert_eq!(status["wan"]["lease"]["address"], wan);
    assert_eq!(status["lan"]["address"], "192.168.1.1/24");

    let interfaces = home.says(&["network", "interfaces"]);
    for part in ["wan0", "br-lan", "lan0", "192.168.1.1/24", wan] {
        assert!(interfaces.contains(part), "{part}: {interfaces}");
    }
    let of_kernel = router.json(["ip", "-j", "link"]);
    let ours = home.router().cli_json(&["network", "interfaces"]);
    for link in ours.as_array().unwrap() {
        let same = |other: &&Value| other["ifname"] == link["name"];
        let other = of_kernel.as_array().unwrap().iter().find(same);
        assert_eq!(other.unwrap()["mtu"], link["mtu"], "{link}");
        assert_eq!(other.unwrap()["address"], link["mac"], "{link}");
    }
    assert!(home.says(&["network", "info"]).contains(wan));
    assert!(home.says(&["system", "info"]).contains("lintel"));

    let services = told::roles(home.router());
    for role in ROLES {
        let name = std::fs::read_link(format!("/proc/{}/exe", services[role].pid)).unwrap();
        assert!(name.to_string_lossy().contains("lintel") || name.exists());
    }

    let leases = home.says(&["leases"]);
    assert!(leases.contains(home.address()) && leases.contains("annes-laptop"));
    assert_eq!(leases, home.says(&["dhcp", "leases", "list"]));
    let records = home.says(&["dns", "records", "list"]);
    for name in ["annes-laptop.lan", "lintel.lan"] {
        assert!(records.contains(name), "{name}: {records}");
    }
    assert!(home.says(&["auth", "status"]).contains("password is set"));

    assert!(home.says(&["logs", "wand"]).contains(wan));
    assert_eq!(home.says(&["logs", "wand", "-n", "2"]).lines().count(), 2);
    let all = home.says(&["logs"]);
    assert!(all.contains("wand") && all.contains("netd"), "{all}");
}

#[test]
fn what_acts_is_seen_by_foreign_programs() {
    let home = home();

    // The cache: a question is answered from it, until it is emptied.
    let counters = || home.router().cli_json(&["dns", "statistics"]);
    until("the answer is kept", PATIENCE, || {
        home.dig(&[isp::NAME]);
        counters()["cache_entries"].as_u64().unwrap() > 0
    });
    let asked = counters()["forwarded"].as_u64().unwrap();
    assert_eq!(home.dig(&[isp::NAME]), [isp::WEB]);
    assert_eq!(home.says(&["dns", "flush"]), "The cache is empty.\n");
    until("the cache is empty", PATIENCE, || {
        counters()["cache_entries"] == 0
    });
    assert_eq!(home.dig(&[isp::NAME]), [isp::WEB]);
    until("the question went upstream again", PATIENCE, || {
        counters()["forwarded"].as_u64().unwrap() > asked
    });

    // A role: another process, the same service.
    let before = told::roles(home.router())["dnsd"];
    assert!(home.says(&["services", "restart", "dnsd"]).contains("dnsd"));
    until("dnsd is another process", PATIENCE, || {
        let now = told::roles(home.router());
        now.get("dnsd").is_some_and(|now| now.pid != before.pid)
    });
    until("names resolve again", PATIENCE, || {
        home.dig(&[isp::NAME]) == [isp::WEB]
    });
    until("the lease's name too", PATIENCE, || {
        home.dig(&["annes-laptop.lan"]) == [home.address()]
    });

    // A lease: gone from the list and from DNS, and not to be ended twice.
    home.says(&["dhcp", "leases", "delete", home.address()]);
    until("the name is gone", PATIENCE, || {
        home.dig(&["annes-laptop.lan"]).is_empty()
    });
    assert!(!home.says(&["leases"]).contains("in use"));
    let again = home
        .router()
        .cli(&["dhcp", "leases", "delete", home.address()]);
    let (code, words) = refusal(&again);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("no such lease"), "{words}");

    // The password: once.
    let mut setup = home.router().ns.command([netns_tests::router::binary()]);
    setup
        .args(["auth", "setup", "password=seven green bottles"])
        .env("LINTEL_SOCKET", home.router().dir.path("run/control.sock"));
    assert!(setup.output().unwrap().status.success());
    let (code, words) = refusal(&setup.output().unwrap());
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("set already"), "{words}");
    let wrong = ["auth", "login", "password=seven brown bottles"];
    let (code, words) = refusal(&home.router().cli(&wrong));
    assert_eq!((code, words.contains("wrong")), (1, true), "{words}");
}

#[test]
fn a_configuration_is_shown_checked_planned_and_applied() {
    let home = home();
    let router = home.router();
    let shown = home.says(&["config", "show"]);
    assert!(shown.contains("wan0"), "{shown}");
    let file = router.dir.write(
        "new.toml",
        &format!("{CONFIG}\n[[dns.records]]\nname = \"nas.lan\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n\n[lan]\naddress = \"192.168.1.1/23\"\n"),
    );
    let file = file.to_str().unwrap();
    assert!(home.says(&["config", "validate", file]).contains("good"));

    // The plan is printed and nothing happens.
    let ruleset = router.ns.ok(["nft", "-s", "list", "ruleset"]);
    let addresses = || router.ns.ok(["ip", "-br", "address"]);
    let before = addresses();
    let planned = home.says(&["config", "apply", file, "--dry-run"]);
    assert!(
        planned.contains("192.168.1.1") && planned.contains("Nothing was changed"),
        "{planned}"
    );
    assert_eq!(home.says(&["config", "show"]), shown);
    assert_eq!(addresses(), before);
    assert_eq!(router.ns.ok(["nft", "-s", "list", "ruleset"]), ruleset);

    // It is applied: the kernel has the new network, the list has the reason.
    let applied = home.says(&["config", "apply", file, "--reason", "a larger network"]);
    assert!(applied.contains("in force"), "{applied}");
    until("the kernel has the new length", PATIENCE, || {
        addresses().contains("192.168.1.1/23")
    });
    until("the new record answers", PATIENCE, || {
        home.dig(&["nas.lan"]) == ["192.168.1.5"]
    });
    let revisions = home.says(&["config", "revisions"]);
    assert!(revisions.contains("a larger network"), "{revisions}");
    let list = router.cli_json(&["config", "revisions"]);
    let newest = list["items"][0]["revision"].as_u64().unwrap();
    let first = (newest - 1).to_string();
    assert_eq!(home.says(&["config", "show", "--revision", &first]), shown);
}

#[test]
fn what_is_wrong_is_told_in_sentences_with_a_status() {
    let home = home();
    let router = home.router();
    let table: [(&[&str], i32, &str); 11] = [
        (&["frobnicate"], 2, "there is no command"),
        (&["services", "restart"], 2, "is missing"),
        (&["services", "restart", "cupsd"], 2, "cupsd"),
        (&["status", "now"], 2, "one word too many"),
        (&["status", "--colour"], 2, "--colour"),
        (&["config", "apply"], 2, "FILE"),
        (
            &["config", "apply", "/nonexistent.toml"],
            2,
            "cannot be read",
        ),
        (&["dhcp", "leases", "delete", "300.1.1.1"], 2, "IPv4"),
        (&["logs", "cupsd"], 2, "cupsd"),
        (
            &["config", "show", "--revision", "999"],
            1,
            "no such revision",
        ),
        (
            &["--socket", "/nonexistent", "status"],
            1,
            "Is lintel running",
        ),
    ];
    for (args, code, part) in table {
        let (got, words) = refusal(&router.cli(args));
        assert_eq!(got, code, "{args:?}: {words}");
        assert!(
            words.contains(part),
            "{args:?} does not say {part:?}: {words}"
        );
    }
    let broken = router.dir.write("broken.toml", "[lan\n");
    let (code, words) = refusal(&router.cli(&["config", "validate", broken.to_str().unwrap()]));
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("broken.toml:1"), "{words}");
    for help in [
        &["--help"][..],
        &["config", "apply", "--help"],
        &["run", "--help"],
    ] {
        assert!(home.says(help).contains("usage:"));
    }

    // A second router on the same ports says which, and what to do.
    let second = |config: &str, data: &str| {
        let config = router.dir.write("second.toml", config);
        let data = router.dir.path(data);
        router.cli(&[
            "run",
            "--config",
            config.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ])
    };
    let (code, words) = refusal(&second(CONFIG, "second"));
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("another program has the port") && words.contains("53"),
        "{words}"
    );
    let (code, words) = refusal(&second("[run]\ncolour = 1\n", "third"));
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("second.toml:2"), "{words}");
}
