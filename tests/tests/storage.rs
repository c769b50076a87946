//! A disk that is full, takes no writes or holds what nobody can read: what was promised stays
//! promised, nothing is destroyed, the household is online and told.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::time::{Duration, Instant};

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::told::{notice, status, status_when};
use netns_tests::wires::{BOX, CONFIG, Wires, http, is_online, query, wires};
use netns_tests::{Namespace, until};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_full_disk_takes_no_new_bindings_and_nothing_else() {
    let mut wires = wires(2);
    let isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    wires.router.mounts = Some("mount -t tmpfs -o size=3m none \"$DATA\"".to_owned());
    wires.router.launch();
    let (router, old, new) = (&wires.router, &wires.hosts[0], &wires.hosts[1]);
    let _client = old.dhcp(DhcpClient::Udhcpc, "old");
    let lease = old.lease(SOON);
    is_online(old);
    router.in_mounts("cat /dev/zero > \"$DATA/fill\"");
    // What the database had room for already may still be taken: fill that too.
    let mut tries = Vec::new();
    let refused = (0..40).any(|n| {
        let text = format!("{CONFIG}\n# {n} {}\n", "x".repeat(60_000));
        let file = router.dir.write("fill.toml", &text);
        let output = router.cli(&["config", "apply", file.to_str().unwrap()]);
        tries.push(output.status.success());
        if !output.status.success() {
            println!(
                "config apply: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        !output.status.success()
    });
    assert!(refused, "the disk is full and still takes revisions");
    let told = status_when(router, "the full disk is told", SOON, |status| {
        notice(status, "data-failed").is_some()
    });
    println!("{}", notice(&told, "data-failed").unwrap());
    let begun = Instant::now();
    let client = new.dhcp(DhcpClient::Udhcpc, "new");
    until("the newcomer has asked three times", SOON, || {
        client.printed().matches("broadcasting select").count() >= 3
    });
    assert!(
        !client.printed().contains("obtained"),
        "an address that nobody will remember: {}",
        client.printed()
    );
    println!("no lease in {} s", begun.elapsed().as_secs());
    assert_eq!(
        old.dig(BOX, &["old.lan"]),
        [lease.address.trim_end_matches("/24")]
    );
    is_online(old);
    assert_eq!(http(old, "GET", "/health", None).0, 200);

    assert!(router.in_mounts("rm \"$DATA/fill\"").status.success());
    // udhcpc pauses for 20 s after three requests without an answer; a new one does not.
    drop(client);
    let _client = new.dhcp(DhcpClient::Udhcpc, "new");
    let given = new.lease(SOON);
    assert_ne!(given.address, lease.address);
    status_when(router, "the notice is gone", SOON, |status| {
        notice(status, "data-failed").is_none()
    });
    drop(isp);
}

#[test]
fn a_box_that_starts_on_a_full_disk_serves_and_recovers() {
    let mut wires = wires(1);
    used(&mut wires);
    let data = wires.router.dir.path("data");
    std::fs::rename(&data, wires.router.dir.path("data.kept")).unwrap();
    wires.router.mounts = Some(
        "mount -t tmpfs -o size=3m none \"$DATA\"; cp -a \"$DATA.kept/.\" \"$DATA/\"\n\
         cat /dev/zero > \"$DATA/fill\" || true"
            .to_owned(),
    );
    wires.router.launch();
    let isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    let (router, host) = (&wires.router, &wires.hosts[0]);
    let told = status_when(router, "the full disk is told", SOON, |status| {
        notice(status, "data-failed").is_some()
    });
    println!("{}", notice(&told, "data-failed").unwrap());
    status_when(
        router,
        "the box goes online",
        Duration::from_secs(70),
        |status| status["wan"]["online"] == true,
    );
    assert_eq!(http(host, "GET", "/health", None).0, 200);
    assert!(router.in_mounts("rm \"$DATA/fill\"").status.success());
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(SOON);
    is_online(host);
    let told = status_when(router, "the notice is gone", SOON, |status| {
        notice(status, "data-failed").is_none()
    });
    assert_eq!(told["data"]["state"], "good");
    drop(isp);
}

/// The box has lost its data: it routes, remembers nothing, is nobody's, and says so.
fn is_fail_secure(router: &Router, host: &Host) {
    let told = status_when(router, "the box is fail-secure", SOON, |status| {
        status["data"]["state"] == "failed"
    });
    println!("data: {}", told["data"]["reason"]);
    assert_eq!(told["config"]["fail_secure"], true);
    assert!(notice(&told, "data-failed").is_some());
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(SOON);
    let printed = client.printed();
    assert!(printed.contains("lease time 600"), "{printed}");
    assert_eq!(host.dig(BOX, &["lintel.lan"]), [BOX]);

    let password = r#"{"password":"not to be believed"}"#;
    for path in ["/api/auth/setup", "/api/auth/login"] {
        let (code, said) = http(host, "POST", path, Some(password));
        assert!((400..600).contains(&code), "{path}: {code} {said}");
        println!("{path}: {code} {said}");
    }
    let (code, page) = http(host, "GET", "/", None);
    assert_eq!(code, 200, "{page}");
    assert!(
        page.contains("storage") && !page.contains("type=\"password\""),
        "{page}"
    );
    assert_eq!(http(host, "GET", "/api/config", None).0, 401);
}

/// A router that ran, gave a lease and was claimed, and lies still now.
fn used(wires: &mut Wires) {
    wires.router.launch();
    let host = &wires.hosts[0];
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(SOON);
    let (code, said) = http(
        host,
        "POST",
        "/api/auth/setup",
        Some(r#"{"password":"a good pass phrase"}"#),
    );
    assert!(code < 300, "{code} {said}");
    drop(client);
    wires.router.proc = None;
    // As if none had been taken: tests/recovery.rs has those.
    for entry in std::fs::read_dir(wires.router.dir.path("data/state")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snapshot") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// Every file of the database and what is in it.
fn stored(router: &Router) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(router.dir.path("data/state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The box runs on its database and without it: fail-secure, and the files are as they were.
fn is_left_alone(wires: &mut Wires) {
    let before = stored(&wires.router);
    wires.router.launch();
    is_fail_secure(&wires.router, &wires.hosts[0]);
    wires.router.proc = None;
    assert!(stored(&wires.router) == before, "the database was touched");
}

#[test]
fn a_read_only_disk_makes_the_box_fail_secure() {
    let mut wires = wires(1);
    let isp = Isp::start(
        std::mem::replace(&mut wires.isp, Namespace::new("none")),
        "cust0",
        DhcpServer::Dnsmasq,
    );
    used(&mut wires);
    let before = stored(&wires.router);
    wires.router.mounts =
        Some("mount --bind \"$DATA\" \"$DATA\"; mount -o remount,ro,bind \"$DATA\"".to_owned());
    wires.router.launch();
    is_fail_secure(&wires.router, &wires.hosts[0]);
    is_online(&wires.hosts[0]);
    wires.router.proc = None;
    assert!(stored(&wires.router) == before, "the database was touched");

    // Writable again: everything is as it was left.
    wires.router.mounts = None;
    wires.router.launch();
    assert_eq!(status(&wires.router)["data"]["state"], "good");
    let again = http(
        &wires.hosts[0],
        "POST",
        "/api/auth/login",
        Some(r#"{"password":"a good pass phrase"}"#),
    );
    assert!(again.0 < 300, "{again:?}");
    drop(isp);
}

#[test]
fn a_damaged_database_makes_the_box_fail_secure() {
    let mut wires = wires(1);
    used(&mut wires);
    let database = wires.router.dir.path("data/state/lintel.db");
    let mut octets = std::fs::read(&database).unwrap();
    let half = octets.len() / 2;
    octets[4096..]
        .iter_mut()
        .take(half)
        .for_each(|octet| *octet ^= 0xa5);
    std::fs::write(&database, octets).unwrap();
    is_left_alone(&mut wires);
}

#[test]
fn a_database_of_noise_makes_the_box_fail_secure() {
    let mut wires = wires(1);
    used(&mut wires);
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(wires.router.dir.path("data/state/lintel.db"), noise).unwrap();
    is_left_alone(&mut wires);
}

#[test]
fn a_revision_that_no_longer_loads_gives_way_to_the_one_before() {
    let mut wires = wires(1);
    wires.router.launch();
    let apply = |router: &Router, name: &str| {
        let text = format!("[system]\nhostname = \"{name}\"\n\n{CONFIG}");
        let file = router.dir.write("applied.toml", &text);
        router.cli_ok(&["config", "apply", file.to_str().unwrap()]);
    };
    apply(&wires.router, "second");
    apply(&wires.router, "third");
    wires.router.proc = None;
    let database = wires.router.dir.path("data/state/lintel.db");
    query(
        &database,
        "d.execute(\"UPDATE revisions SET toml='[wan\\nport = 7' WHERE number=(SELECT max(number) FROM revisions)\")\n\
         d.commit()",
    );
    wires.router.launch();
    let told = status(&wires.router);
    let text = notice(&told, "revision-failed").expect("the notice");
    println!("{text}");
    assert_eq!(told["system"]["hostname"], "second");
    assert_eq!(told["data"]["state"], "good");
    // A new one is taken, and with it the trouble is over.
    apply(&wires.router, "fourth");
    wires.router.proc = None;
    wires.router.launch();
    let told = status(&wires.router);
    assert_eq!(told["system"]["hostname"], "fourth");
    assert_eq!(notice(&told, "revision-failed"), None);
}
