//! The pages over TLS as a household meets them: curl and openssl on a host of the LAN, against
//! the whole router with its sandbox closed.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use netns_tests::client::{DhcpClient, Host};
use netns_tests::isp::DhcpServer;
use netns_tests::street::{CONFIG, Street};
use netns_tests::{Workdir, told, until, until_some};

const SOON: Duration = Duration::from_secs(20);

/// The certificate that the box shows a host, in PEM.
fn shown(host: &Host) -> String {
    until_some("the box shows a certificate", SOON, || {
        let script = "openssl s_client -connect 192.168.1.1:443 </dev/null 2>/dev/null | openssl x509 2>/dev/null";
        let output = host.ns.run(["sh", "-c", script]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("BEGIN CERTIFICATE").then_some(text)
    })
}

/// What `openssl x509` says about it.
fn said(host: &Host, dir: &Workdir, pem: &str, option: &[&str]) -> String {
    let path = dir.write("shown.pem", pem);
    let mut args = vec!["openssl", "x509", "-noout", "-in", path.to_str().unwrap()];
    args.extend(option);
    host.ns.ok(args)
}

#[test]
fn the_household_meets_one_key_over_restarts_and_changes_of_name() {
    let mut street = Street::new(DhcpServer::Dnsmasq, CONFIG, 1);
    let dir = Workdir::new("tls");
    let _client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "annes-laptop");
    assert_eq!(street.hosts[0].lease(SOON).router, "192.168.1.1");

    // What a person compares is what the box says of itself.
    let first = shown(&street.hosts[0]);
    let fingerprint = said(&street.hosts[0], &dir, &first, &["-fingerprint", "-sha256"]);
    let status = told::status(&street.router);
    let told = status["system"]["tls_sha256"].as_str().unwrap();
    assert_eq!(fingerprint.trim().split_once('=').unwrap().1, told);
    // Broken over two lines.
    let words: String = street
        .router
        .cli_ok(&["status"])
        .split_whitespace()
        .collect();
    assert!(words.contains(told), "{words}");
    let login = street.hosts[0].fetch("http://192.168.1.1/setup").unwrap();
    assert!(login.contains(told) && login.contains("https:"), "{login}");

    // Who takes it is served, by each of the names.
    let pinned = dir.write("pinned.pem", &first);
    let get = |host: &Host, url: &str| {
        let pinned = pinned.to_str().unwrap();
        let curl = ["curl", "-sSf", "-m", "10", "--cacert", pinned];
        // The name server of a namespace's processes is the build host's.
        let name = ["--resolve", "lintel.lan:443:192.168.1.1", url];
        host.ns.ok([&curl[..], &name].concat())
    };
    for name in ["192.168.1.1", "lintel.lan"] {
        let answer = get(&street.hosts[0], &format!("https://{name}/health"));
        assert_eq!(answer, r#"{"status":"up"}"#);
    }

    // The provider's side is not.
    let lease = told::status_when(&street.router, "the box is online", SOON, |status| {
        status["wan"]["online"] == true
    });
    let wan = lease["wan"]["lease"]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let outside = street
        .isp
        .ns
        .run(["curl", "-sk", "-m", "3", &format!("https://{wan}/health")]);
    assert!(!outside.status.success() && outside.stdout.is_empty());

    // The key is in a directory that is closed to others.
    let state = std::fs::metadata(street.router.dir.path("data/state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);

    // A new process shows the same; a new name is a new certificate of the same key.
    let mut proc = street.router.proc.take().unwrap();
    proc.signal("TERM");
    proc.wait(SOON);
    street.router.launch();
    assert_eq!(shown(&street.hosts[0]), first);
    let renamed = dir.write(
        "attic.toml",
        &format!("[system]\nhostname = \"attic\"\n\n{CONFIG}"),
    );
    street
        .router
        .cli_ok(&["config", "apply", renamed.to_str().unwrap()]);
    until("the certificate has the new name", SOON, || {
        let next = shown(&street.hosts[0]);
        said(&street.hosts[0], &dir, &next, &["-ext", "subjectAltName"]).contains("DNS:attic.lan")
    });
    let next = shown(&street.hosts[0]);
    let key = |pem: &str| said(&street.hosts[0], &dir, pem, &["-pubkey"]);
    assert_eq!(key(&next), key(&first));
}
