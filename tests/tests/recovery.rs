//! A database that was damaged while the box lay still: its newest snapshot is used, what did
//! not read is kept, and everybody who asks is told.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::told::{notice, status, status_when};
use netns_tests::until;
use netns_tests::wires::{CONFIG, Wires, http, page_after, wires};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const PASSWORD: &str = "a good pass phrase";

fn claim(host: &Host) -> (u32, String) {
    let password = json!({ "password": PASSWORD }).to_string();
    http(host, "POST", "/api/auth/setup", Some(&password))
}

fn apply(wires: &Wires, name: &str) {
    let text = format!("[system]\nhostname = \"{name}\"\n\n{CONFIG}");
    let file = wires.router.dir.write("applied.toml", &text);
    wires
        .router
        .cli_ok(&["config", "apply", file.to_str().unwrap()]);
}

/// Files of `state` whose names begin so.
fn files(wires: &Wires, prefix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(wires.router.dir.path("data/state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix)
        })
        .collect();
    files.sort();
    files
}

fn sqlite3(file: &std::path::Path, script: &str) -> String {
    let output = Command::new("sqlite3").arg(file).arg(script).output();
    let output = output.unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A box that was claimed, gave a lease, was configured, has a snapshot of all that, and lies
/// still.
fn with_snapshot(wires: &mut Wires) -> String {
    wires.router.launch();
    apply(wires, "kept");
    let host = &wires.hosts[0];
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(SOON).address;
    let (code, said) = claim(host);
    assert!(code < 300, "{code} {said}");
    drop(client);
    until("a snapshot is taken", Duration::from_secs(40), || {
        !files(wires, "snapshot-").is_empty()
    });
    wires.router.proc = None;
    let newest = files(wires, "snapshot-").pop().unwrap();
    assert_eq!(sqlite3(&newest, "PRAGMA integrity_check"), "ok");
    assert_eq!(sqlite3(&newest, "SELECT count(*) FROM bindings"), "1");
    lease
}

#[test]
fn a_damaged_database_gives_way_to_its_snapshot_and_everybody_is_told() {
    let mut wires = wires(1);
    let lease = with_snapshot(&mut wires);
    let database = wires.router.dir.path("data/state/lintel.db");
    let mut octets = std::fs::read(&database).unwrap();
    octets[4096..].iter_mut().for_each(|octet| *octet ^= 0xa5);
    std::fs::write(&database, &octets).unwrap();
    assert_ne!(sqlite3(&database, "PRAGMA integrity_check"), "ok");

    wires.router.launch();
    let told = status(&wires.router);
    let text = notice(&told, "data-restored").expect("the status tells");
    println!("{text}");
    assert_eq!(told["data"]["state"], "good");
    assert_eq!(told["config"]["fail_secure"], false);
    assert_eq!(told["system"]["hostname"], "kept");
    let shown = wires.router.cli_ok(&["status"]);
    assert!(shown.contains("database could not be used"), "{shown}");
    let log = wires.router.proc.as_ref().unwrap().printed();
    assert!(log.contains("database could not be used"), "{log}");

    let host = &wires.hosts[0];
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(host.lease(SOON).address, lease, "it is remembered");
    let (code, said) = claim(host);
    assert!((400..500).contains(&code), "it is nobody's: {code} {said}");
    let page = page_after(host, "login", PASSWORD);
    assert!(page.contains("database could not be used"), "{page}");

    let mut aside = files(&wires, "damaged-");
    // The judge leaves a file of its own beside it.
    aside.retain(|path| path.extension().is_some_and(|ext| ext == "db"));
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(std::fs::read(&aside[0]).unwrap() == octets);
    apply(&wires, "seen");
    status_when(&wires.router, "the notice is gone", SOON, |status| {
        notice(status, "data-restored").is_none()
    });
    wires.router.proc = None;
    assert_eq!(sqlite3(&database, "PRAGMA integrity_check"), "ok");
    wires.router.launch();
    let told = status(&wires.router);
    assert_eq!(notice(&told, "data-restored"), None);
    assert_eq!(told["system"]["hostname"], "seen");
}

#[test]
fn a_database_that_is_gone_newer_or_cut_off_gives_way_too() {
    let mut wires = wires(1);
    with_snapshot(&mut wires);
    let database = wires.router.dir.path("data/state/lintel.db");
    for (kind, why) in [
        ("gone", "gone"),
        ("empty", "gone"),
        ("truncated", "damaged"),
        ("newer", "schema 99"),
    ] {
        match kind {
            "gone" => std::fs::remove_file(&database).unwrap(),
            "empty" => std::fs::write(&database, b"").unwrap(),
            "truncated" => {
                let file = std::fs::File::options().write(true).open(&database);
                file.unwrap().set_len(5000).unwrap();
            }
            _ => {
                sqlite3(&database, "PRAGMA user_version = 99");
            }
        }
        wires.router.launch();
        let told = status(&wires.router);
        let text = notice(&told, "data-restored").expect("the status tells");
        println!("{kind}: {text}");
        assert!(text.contains(why), "{kind}: {text}");
        assert_eq!(told["system"]["hostname"], "kept");
        wires.router.proc = None;
    }
}

#[test]
fn without_a_sound_snapshot_the_box_is_nobodys_and_changes_nothing() {
    let mut wires = wires(1);
    with_snapshot(&mut wires);
    for file in files(&wires, "") {
        std::fs::write(file, [0x5a; 9000]).unwrap();
    }
    let before = files(&wires, "");
    wires.router.launch();
    let told = status(&wires.router);
    assert_eq!(told["data"]["state"], "failed");
    assert_eq!(told["config"]["fail_secure"], true);
    println!("{}", notice(&told, "data-failed").expect("it is told"));
    let _client = wires.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    wires.hosts[0].lease(SOON);
    let setup = claim(&wires.hosts[0]);
    assert!(setup.0 >= 400, "{setup:?}");
    wires.router.proc = None;
    assert_eq!(files(&wires, ""), before);
}
