//! What breaks around the box and inside it: each fault is told, none takes more than its own
//! part down, and when it is over nobody has to start anything again. Faults of the disk:
//! `storage.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::{self, DhcpServer, Isp};
use netns_tests::told::{notice, roles, status, status_when};
use netns_tests::wires::{BOX, http, is_online, page_after, query, wires};
use netns_tests::{Namespace, Proc, Workdir, until, until_some};

const SOON: Duration = Duration::from_secs(20);

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
    let page = page_after(host, "setup", "a good pass phrase");
    let word = text.split(',').next().unwrap().split('.').next().unwrap();
    assert!(page.contains(word), "{word:?} is not on the page:\n{page}");

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

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
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
    for name in ["netd", "controld", "wand", "dhcpd", "dnsd", "timed", "webd"] {
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
fn who_asks_while_controld_hangs_has_a_lease_when_it_is_back() {
    let mut wires = wires(2);
    let _isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    wires.router.launch();
    let (router, host, other) = (&wires.router, &wires.hosts[0], &wires.hosts[1]);
    let client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    let lease = host.lease(SOON);
    is_online(host);
    // Names go to dnsd in runs: its own is there before controld hangs.
    until("the host has its name", SOON, || {
        host.dig(BOX, &["laptop.lan"]).len() == 1
    });
    let before = roles(router);
    send("STOP", before["controld"].pid);
    let newcomer = other.dhcp(DhcpClient::Udhcpc, "phone");
    until("the newcomer asks again and again", SOON, || {
        let said = newcomer.printed();
        said.matches("broadcasting discover").count() + said.matches("broadcasting select").count()
            > 2
    });
    // Nothing is promised that is not on disk; all else goes on.
    assert!(
        !newcomer.printed().contains("obtained"),
        "{}",
        newcomer.printed()
    );
    assert_eq!(host.dig(BOX, &["laptop.lan"]).len(), 1);
    assert_eq!(host.dig(BOX, &["second.example.net"]), [isp::WEB]);
    is_online(host);
    send("KILL", before["controld"].pid);
    let theirs = other.lease(Duration::from_secs(60));
    assert_ne!(theirs.address, lease.address);
    drop(client);
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    assert_eq!(host.lease(SOON), lease);
    let after = roles(router);
    for (name, role) in before.iter().filter(|(name, _)| *name != "controld") {
        assert_eq!(after[name].pid, role.pid, "{name}");
    }
}

#[test]
fn what_changed_while_netd_hung_is_seen_and_put_right() {
    let mut wires = wires(1);
    let isp = Isp::start(wires.isp, "cust0", DhcpServer::Dnsmasq);
    wires.router.launch();
    let (router, host) = (&wires.router, &wires.hosts[0]);
    let _client = host.dhcp(DhcpClient::Udhcpc, "laptop");
    host.lease(SOON);
    is_online(host);
    let netd = roles(router)["netd"];
    send("STOP", netd.pid);
    // No notice of this is ever heard: the sockets that would have got it die with the process.
    router.ns.ok(["ip", "link", "set", "p0", "nomaster"]);
    router
        .ns
        .ok(["ip", "address", "del", "192.168.1.1/24", "dev", "br-lan"]);
    isp.ns.ok(["ip", "link", "set", "cust0", "down"]);
    send("KILL", netd.pid);
    until("the port is the household's again", SOON, || {
        router.ns.json(["ip", "-j", "link", "show", "dev", "p0"])[0]["master"] == "br-lan"
    });
    until("the box has its address again", SOON, || {
        let printed = router
            .ns
            .ok(["ip", "-4", "address", "show", "dev", "br-lan"]);
        printed.contains("inet 192.168.1.1/24")
    });
    status_when(router, "the line is down", SOON, |status| {
        status["wan"]["carrier"] == false
    });
    isp.ns.ok(["ip", "link", "set", "cust0", "up"]);
    isp.ns
        .ok(["ip", "route", "replace", "198.51.100.0/24", "dev", "cust0"]);
    status_when(router, "the box is as it was", SOON, |status| {
        status["kernel"]["converged"] == true && status["wan"]["online"] == true
    });
    is_online(host);
    until("the box tells of one death", SOON, || {
        let now = roles(router).get("netd").copied();
        now.is_some_and(|now| now.pid != netd.pid && now.restarts == netd.restarts + 1)
    });
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
    let rows = query(
        &database,
        "print([str(ipaddress.ip_address(a)) for (a,) in d.execute('SELECT address FROM bindings')])",
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
