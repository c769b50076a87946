//! What breaks around the box and inside it: each fault is told, none takes more than its own
//! part down, and when it is over nobody has to start anything again.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::router::Router;
use netns_tests::told::{notice, roles, status, status_when};
use netns_tests::{Namespace, Proc, Workdir, until, until_some};

const CONFIG: &str = "[wan]\nport = \"wan0\"\n\n[run]\n";
const SOON: Duration = Duration::from_secs(20);
const BOX: &str = "192.168.1.1";

/// A provider's namespace joined to a router that is not started, and hosts on a switch.
struct Wires {
    isp: Namespace,
    router: Router,
    hosts: Vec<Host>,
}

fn wires(hosts: usize) -> Wires {
    let (isp, router) = (Namespace::new("isp"), Namespace::new("router"));
    isp.join("cust0", &router, "wan0");
    let hosts = ["p0", "p1", "p2"].into_iter().take(hosts).map(|port| {
        let host = Namespace::new("host");
        router.join(port, &host, "eth0");
        Host::new(host, "eth0")
    });
    let hosts = hosts.collect();
    Wires {
        isp,
        router: Router::prepared(router, CONFIG),
        hosts,
    }
}

fn is_online(host: &Host) {
    until("a page comes from beyond", SOON, || {
        host.fetch(&format!("http://{}/", isp::WEB)).as_deref() == Some(isp::PAGE)
    });
}

/// A request to the box as a browser would send it: status code and content.
fn http(host: &Host, method: &str, path: &str, json: Option<&str>) -> (u32, String) {
    let (url, origin) = (
        format!("http://{BOX}{path}"),
        format!("Origin: http://{BOX}"),
    );
    let mut args = vec![
        "curl",
        "-sS",
        "-m",
        "10",
        "-L",
        "-X",
        method,
        "-w",
        "\n%{http_code}",
        "-H",
        &origin,
    ];
    if let Some(json) = json {
        args.extend(["-H", "Content-Type: application/json", "-d", json]);
    }
    args.push(&url);
    let text = String::from_utf8_lossy(&host.ns.run(args).stdout).into_owned();
    let (content, code) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (code.parse().unwrap_or(0), content.to_owned())
}

/// Asks the box for a name that only others know; says how the answer ended and when.
fn asked(host: &Host, name: &str) -> (String, Duration) {
    let begun = Instant::now();
    let server = format!("@{BOX}");
    let output = host.ns.run(["dig", "+time=10", "+tries=1", &server, name]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = text.split("status: ").nth(1).unwrap_or("none");
    let word = status.split(',').next().unwrap_or_default().trim();
    (word.chars().take(20).collect(), begun.elapsed())
}

fn python(script: &str, args: &[&str]) -> String {
    let output = Command::new("python3")
        .arg("-c")
        .arg(script)
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_silent_provider_is_told_and_the_household_is_served() {
    let mut wires = wires(1);
    wires.router.launch();
    let (router, host) = (&wires.router, &wires.hosts[0]);
    let _client = host.dhcp(DhcpClient::Dhclient, "desk");
    host.lease(SOON);
    let (word, took) = asked(host, isp::NAME);
    println!(
        "with a silent provider: {word} after {} ms",
        took.as_millis()
    );
    assert_eq!(word, "SERVFAIL");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(host.dig(BOX, &["lintel.lan"]), [BOX]);
    let told = status_when(router, "the silence is told", SOON, |status| {
        status["wan"]["state"] == "selecting"
    });
    assert_eq!(told["wan"]["online"], false);
    let text = notice(&told, "no-lease").unwrap();
    assert!(text.contains("wan0"), "{text}");
    let (code, _) = http(host, "GET", "/health", None);
    assert_eq!(code, 200);

    let _isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    let told = status_when(
        router,
        "the provider is heard",
        Duration::from_secs(70),
        |status| status["wan"]["online"] == true,
    );
    assert_eq!(notice(&told, "no-lease"), None);
    is_online(host);
}

/// kea with a lease of `lease_s` seconds.
fn kea(ns: &Namespace, dir: &Workdir, lease_s: u32) -> Proc {
    let config = format!(
        r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["cust0"],"dhcp-socket-type":"raw"}},
        "lease-database":{{"type":"memfile","persist":true,"name":"{leases}"}},
        "valid-lifetime":{lease_s},"renew-timer":{t1},"rebind-timer":{t2},
        "subnet4":[{{"id":1,"subnet":"198.51.100.0/24",
        "pools":[{{"pool":"198.51.100.100 - 198.51.100.150"}}],
        "option-data":[{{"name":"routers","data":"{gw}"}},{{"name":"domain-name-servers","data":"{gw}"}}]}}],
        "loggers":[{{"name":"kea-dhcp4","output_options":[{{"output":"stdout"}}],"severity":"INFO"}}]}}}}"#,
        leases = dir.path("kea.leases").display(),
        t1 = lease_s / 3,
        t2 = lease_s * 2 / 3,
        gw = isp::GATEWAY,
    );
    let file = dir.write("kea.json", &config);
    let mut command = ns.command(["kea-dhcp4", "-c", file.to_str().unwrap()]);
    command
        .env("KEA_PIDFILE_DIR", dir.path(""))
        .env("KEA_LOCKFILE_DIR", dir.path(""));
    let proc = Proc::start(command, &dir.path("kea.log"));
    until("kea serves DHCP", SOON, || {
        proc.printed().contains("DHCP4_STARTED")
    });
    proc
}

#[test]
fn a_lease_whose_server_died_ends_and_comes_again() {
    let mut wires = wires(1);
    wires
        .isp
        .ok(["ip", "address", "add", "198.51.100.1/24", "dev", "cust0"]);
    let dir = Workdir::new("provider");
    let server = kea(&wires.isp, &dir, 15);
    wires.router.launch();
    let router = &wires.router;
    let told = status_when(router, "the provider gave a lease", SOON, |status| {
        status["wan"]["lease"].is_object()
    });
    let address = told["wan"]["lease"]["address"].clone();
    drop(server);
    for state in ["renewing", "rebinding"] {
        let told = status_when(router, state, SOON, |status| {
            status["wan"]["state"] == state
        });
        assert_eq!(told["wan"]["lease"]["address"], address, "still ours");
    }
    let told = status_when(router, "the lease is over", SOON, |status| {
        status["wan"]["lease"].is_null()
    });
    assert_eq!(told["wan"]["online"], false);
    assert!(notice(&told, "no-lease").is_some());
    let left = router.ns.ok(["ip", "-4", "address", "show", "dev", "wan0"]);
    assert!(
        !left.contains("inet "),
        "an address that is not ours: {left}"
    );

    let _server = kea(&wires.isp, &dir, 600);
    let told = status_when(
        router,
        "the server that returned gives a lease",
        Duration::from_secs(40),
        |status| status["wan"]["lease"].is_object(),
    );
    println!("lost {address}, got {}", told["wan"]["lease"]["address"]);
    assert_eq!(notice(&told, "no-lease"), None);
}

#[test]
fn a_provider_that_says_no_is_believed_and_asked_anew() {
    let mut wires = wires(1);
    wires
        .isp
        .ok(["ip", "address", "add", "198.51.100.1/24", "dev", "cust0"]);
    let dir = Workdir::new("provider");
    let serve = |range: &str| {
        let _ = std::fs::remove_file(dir.path("leases"));
        let range = format!("--dhcp-range={range},255.255.255.0,10m");
        let leases = format!("--dhcp-leasefile={}", dir.path("leases").display());
        let proc = wires.isp.spawn(
            &dir.path("dnsmasq.log"),
            [
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--user=root",
                "--log-dhcp",
                "--log-facility=-",
                "--no-ping",
                "--interface=cust0",
                "--bind-interfaces",
                "--dhcp-authoritative",
                "--pid-file=",
                &range,
                &leases,
            ],
        );
        until("dnsmasq serves DHCP", SOON, || {
            proc.printed().contains("DHCP, IP range")
        });
        proc
    };
    let server = serve("198.51.100.20,198.51.100.29");
    wires.router.launch();
    let router = &wires.router;
    let has = |status: &serde_json::Value, prefix: &str| {
        let address = status["wan"]["lease"]["address"].as_str();
        address.is_some_and(|address| address.starts_with(prefix))
    };
    status_when(router, "the first lease", SOON, |status| {
        has(status, "198.51.100.2")
    });
    drop(server);
    // The provider was rebuilt while the line was down: our address is another's now.
    wires.isp.ok(["ip", "link", "set", "cust0", "down"]);
    status_when(router, "the line is down", SOON, |status| {
        status["wan"]["carrier"] == false
    });
    wires.isp.ok(["ip", "link", "set", "cust0", "up"]);
    let server = serve("198.51.100.200,198.51.100.209");
    let told = status_when(router, "a lease of the new range", SOON, |status| {
        has(status, "198.51.100.20") && status["wan"]["state"] == "bound"
    });
    assert!(server.printed().contains("DHCPNAK"), "{told:#}");
    let held = router.ns.ok(["ip", "-4", "address", "show", "dev", "wan0"]);
    assert!(
        held.contains("198.51.100.20") && !held.contains("198.51.100.2/"),
        "{held}"
    );
    assert_eq!(held.matches("inet ").count(), 1, "{held}");
}

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
    let before = stored(&wires.router);
    wires.router.launch();
    is_fail_secure(&wires.router, &wires.hosts[0]);
    wires.router.proc = None;
    assert!(stored(&wires.router) == before, "the database was touched");
}

#[test]
fn a_database_of_noise_makes_the_box_fail_secure() {
    let mut wires = wires(1);
    used(&mut wires);
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(wires.router.dir.path("data/state/lintel.db"), noise).unwrap();
    let before = stored(&wires.router);
    wires.router.launch();
    is_fail_secure(&wires.router, &wires.hosts[0]);
    wires.router.proc = None;
    assert!(stored(&wires.router) == before, "the database was touched");
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
    python(
        "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1])\n\
         d.execute(\"UPDATE revisions SET toml='[wan\\nport = 7' WHERE number=(SELECT max(number) FROM revisions)\")\n\
         d.commit()\nd.close()",
        &[database.to_str().unwrap()],
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

#[test]
fn every_role_may_be_killed_while_packets_pass() {
    let mut wires = wires(2);
    let _isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    wires.router.launch();
    let (router, host, other) = (&wires.router, &wires.hosts[0], &wires.hosts[1]);
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(SOON);
    is_online(host);
    let dir = Workdir::new("ping");
    let ping = host.ns.spawn(
        &dir.path("ping.log"),
        ["ping", "-n", "-i", "0.02", "-W", "1", "-O", isp::WEB],
    );
    // A name that is not cached, so that each role on its way has to work.
    let serves = |name: &str, begun: Instant| {
        until(&format!("names resolve after {name} died"), SOON, || {
            host.dig(&lease.dns, &["second.example.net"])
                .contains(&isp::WEB.to_owned())
                && host.dig(&lease.dns, &["laptop.lan"]).len() == 1
        });
        let dns = begun.elapsed();
        until(&format!("the page answers after {name} died"), SOON, || {
            http(host, "GET", "/health", None).0 == 200
        });
        let web = begun.elapsed();
        let client = other.dhcp(DhcpClient::Udhcpc, "other");
        other.lease(SOON);
        drop(client);
        println!(
            "{name} killed: DNS after {} ms, HTTP after {} ms, DHCP after {} ms",
            dns.as_millis(),
            web.as_millis(),
            begun.elapsed().as_millis()
        );
    };
    for name in ["netd", "controld", "wand", "dhcpd", "dnsd", "webd"] {
        let before = roles(router)[name];
        let begun = Instant::now();
        let killed = Command::new("kill")
            .args(["-s", "KILL", &before.pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
        until_some(&format!("{name} runs again"), SOON, || {
            let now = roles(router).get(name).copied()?;
            (now.pid != before.pid && now.restarts == before.restarts + 1).then_some(())
        });
        serves(name, begun);
    }
    let told = status_when(router, "every role is ready", SOON, |status| {
        let services = status["services"].as_array().unwrap();
        services.iter().all(|service| service["state"] == "ready")
    });
    assert_eq!(told["wan"]["online"], true, "{told:#}");
    ping.signal("INT");
    let mut ping = ping;
    ping.wait(SOON);
    let printed = ping.printed();
    let summary = printed
        .lines()
        .find(|line| line.contains("transmitted"))
        .unwrap();
    println!("{summary}");
    assert!(summary.contains(" 0% packet loss"), "{printed}");
}

#[test]
fn the_whole_router_may_be_killed_and_started_again() {
    let mut wires = wires(1);
    let _isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    wires.router.launch();
    let host = &wires.hosts[0];
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(SOON);
    is_online(host);
    let pids: Vec<u32> = roles(&wires.router).values().map(|role| role.pid).collect();
    let told = status(&wires.router);
    let wan = told["wan"]["lease"]["address"].clone();
    assert!(told["kernel"]["writes"].as_u64().unwrap() > 0);
    wires.router.proc.as_mut().unwrap().kill();
    until("the roles end with their supervisor", SOON, || {
        pids.iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
    // The kernel goes on by itself.
    assert!(host.fetch(&format!("http://{}/", isp::WEB)).is_some());

    // What was acknowledged is on disk.
    let database = wires.router.dir.path("data/state/lintel.db");
    let rows = python(
        "import sqlite3,sys,ipaddress\nd=sqlite3.connect(sys.argv[1])\n\
         print([str(ipaddress.ip_address(a)) for (a,) in d.execute('SELECT address FROM bindings')])",
        &[database.to_str().unwrap()],
    );
    let address = lease.address.trim_end_matches("/24");
    assert!(rows.contains(address), "{rows}");

    wires.router.launch();
    let told = status_when(&wires.router, "the box is as it was", SOON, |status| {
        status["kernel"]["converged"] == true && status["wan"]["online"] == true
    });
    println!(
        "kernel writes of the second start: {}",
        told["kernel"]["writes"]
    );
    assert_eq!(told["wan"]["lease"]["address"], wan);
    drop(client);
    let _client = wires.hosts[0].dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(
        wires.hosts[0].lease(SOON),
        lease,
        "the same client has the same address"
    );
    is_online(&wires.hosts[0]);
    let log = wires.router.proc.as_ref().unwrap().printed();
    let steps: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" done: "))
        .collect();
    println!("{}", steps.join("\n"));
    assert_eq!(told["kernel"]["writes"], 0, "{}", steps.join("\n"));
}
