//! What happens on the running router is told: over HTTP to curl, over the control socket to the
//! command line, and with numbers that go on when the control service starts anew.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::process::Command;

use netns_tests::client::DhcpClient;
use netns_tests::home::{Home, PATIENCE};
use netns_tests::isp::DhcpServer;
use netns_tests::street::{CONFIG, Street};
use netns_tests::{Workdir, until, until_some};
use serde_json::Value;

fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.ends_with('}'));
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn the_command_line_on_the_box_hears_what_happens() {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let router = &street.router;
    let dir = Workdir::new("events");
    // jq judges each line, and ends at the first that is no JSON.
    let binary = netns_tests::router::binary();
    let socket = router.dir.path("run/control.sock");
    let command = format!(
        "{} --socket {} monitor --events --json | jq --unbuffered -c .",
        binary.display(),
        socket.display()
    );
    let monitor = street.hosts[0]
        .ns
        .spawn(&dir.path("monitor"), ["sh", "-c", &command]);
    until("it listens", PATIENCE, || {
        let status = router.cli_json(&["services", "bus", "status"]);
        status["watchers"] == 1
    });
    let _client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "annes-laptop");
    let lease = street.hosts[0].lease(PATIENCE);
    let given = until_some("the lease is told", PATIENCE, || {
        let mut told = events(&monitor.printed()).into_iter();
        told.find(|event| event["type"] == "lease.given")
    });
    assert_eq!(given["ip"], lease.address.split('/').next().unwrap());
    assert_eq!(given["name"], "annes-laptop");

    // A role that ends is told with how it ended, by init and at once.
    assert!(
        router
            .cli(&["services", "restart", "timed"])
            .status
            .success()
    );
    until("the end of timed is told", PATIENCE, || {
        events(&monitor.printed()).iter().any(|event| {
            event["topic"].is_null() && event["name"] == "timed" && event["state"] == "ready"
        })
    });
    let newest = |text: &str| events(text).iter().filter_map(|e| e["id"].as_u64()).max();
    let before = newest(&monitor.printed()).unwrap();

    // The control service starts anew: the monitor waits for it, and the numbers go on.
    assert!(
        router
            .cli(&["services", "restart", "controld"])
            .status
            .success()
    );
    let text = "[system]\nhostname = \"attic\"\n";
    let config = dir.write("attic.toml", &format!("{CONFIG}\n{text}"));
    until("the monitor is back", PATIENCE, || {
        let output = router.cli(&["services", "bus", "status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["watchers"] == 1
    });
    let applied = router.cli(&["config", "apply", config.to_str().unwrap()]);
    assert!(applied.status.success(), "{applied:?}");
    let committed = until_some("the change is told", PATIENCE, || {
        let mut told = events(&monitor.printed()).into_iter();
        told.find(|event| event["type"] == "config.committed")
    });
    assert!(committed["id"].as_u64().unwrap() > before, "{committed}");
    let page = router.cli_json(&["services", "bus", "events", "--topic", "config"]);
    assert_eq!(
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| **e == committed)
            .count(),
        1
    );
}

/// curl fetches, with a token that may only look; promtool judges, where it is installed.
#[test]
fn prometheus_reads_the_metrics() {
    let home = Home::new(1);
    let router = home.router();
    assert_eq!(home.nobody().get("/metrics").status, 401);
    let token = home.token("read");
    let metrics = home.program(&token).get("/metrics");
    assert_eq!(metrics.status, 200);
    let head = metrics.head;
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let text = metrics.body;
    for sample in [
        "lintel_wan_online 1",
        "lintel_leases_active 1",
        "lintel_role_up{role=\"netd\"} 1",
        "lintel_memory_bytes{kind=\"total\"} ",
    ] {
        assert!(text.contains(sample), "{sample} is not in\n{text}");
    }
    assert!(!text.contains("annes-laptop"), "{text}");
    let dir = Workdir::new("metrics");
    let file = dir.write("metrics.txt", &text);
    let judge = format!("promtool check metrics < {}", file.display());
    match Command::new("sh").args(["-c", &judge]).output() {
        Ok(judged) if judged.status.code() == Some(127) => {
            println!("SKIPPED the judge of prometheus_reads_the_metrics: promtool is not there");
        }
        judged => {
            let judged = judged.unwrap();
            let said = String::from_utf8_lossy(&judged.stderr).into_owned();
            assert!(judged.status.success(), "{said}");
            println!("promtool has read {} lines", text.lines().count());
        }
    }
    // The same for people, and on the box.
    let stats = router.cli_json(&["system", "stats"]);
    assert!(stats["cpu"]["cores"].as_u64() > Some(0), "{stats}");
    assert!(stats["disk"]["total_bytes"].as_u64() > Some(0), "{stats}");
    assert_eq!(stats["roles"].as_array().unwrap().len(), 7, "{stats}");
    assert!(stats["roles"][0]["cpu_ms"].is_u64(), "{stats}");
}

/// dig judges: a service that was stopped answers nobody, is said not to work, and comes back only
/// when somebody wants it.
#[test]
fn a_service_is_stopped_and_started_on_request() {
    let home = Home::new(1);
    let (router, host) = (home.router(), home.host());
    let answers = || {
        let dig = [
            "dig",
            "+short",
            "+tries=1",
            "+time=1",
            "@192.168.1.1",
            "lintel.lan",
        ];
        let output = host.ns.run(dig);
        String::from_utf8_lossy(&output.stdout).trim() == "192.168.1.1"
    };
    let works = |name: &str| {
        let tests = router.cli_json(&["services", "connectivity"]);
        let tests = tests.as_array().unwrap().clone();
        let found = tests.into_iter().find(|test| test["name"] == name);
        found.unwrap()["ok"].as_bool().unwrap()
    };
    until("names are answered", PATIENCE, &answers);
    assert!(works("dnsd") && works("netd") && works("controld"));
    until("the provider's lease is told", PATIENCE, || works("wand"));
    assert!(router.cli(&["services", "stop", "dnsd"]).status.success());
    until("nobody answers", PATIENCE, || !answers());
    assert!(!works("dnsd"));
    let status = router.cli_json(&["services", "status"]);
    let dnsd = status
        .as_array()
        .unwrap()
        .iter()
        .find(|role| role["name"] == "dnsd");
    assert_eq!(dnsd.unwrap()["state"], "stopped");
    // Who would be needed to start it again cannot be stopped.
    for name in ["controld", "netd", "webd"] {
        assert!(
            !router.cli(&["services", "stop", name]).status.success(),
            "{name}"
        );
    }
    assert!(router.cli(&["services", "start", "dnsd"]).status.success());
    until("names are answered again", PATIENCE, &answers);
    assert!(works("dnsd"));
}
