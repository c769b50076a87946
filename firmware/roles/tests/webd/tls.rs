//! The front over TLS: curl and openssl as clients and judges.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::front::hold_a_thousand;
use crate::house::{FINGERPRINT, House, TOKEN, is_alone};
use crate::wire::{PATIENCE, connect, curl, form_token};

/// `openssl s_client`, which says what was agreed on or why nothing was.
fn s_client(house: &House, args: &[&str], input: &[u8]) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-brief", "-connect"])
        .arg(house.secure_address.to_string())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed (package openssl)");
    client.stdin.take().unwrap().write_all(input).unwrap();
    let out = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

#[test]
fn curl_takes_the_pinned_certificate_and_no_other() {
    let house = House::new();
    let up = house.secure_curl(&[&house.secure_url("/health")]);
    assert!(up.starts_with("HTTP/1.1 200 OK"), "{up}");
    let page = house.secure_curl(&["-L", &house.secure_url("/")]);
    assert!(page.contains("Welcome"), "{page}");
    // A browser that was once at a page with it would take the box's plain pages no more.
    assert!(!page.to_lowercase().contains("strict-transport"), "{page}");
    let by_name = format!("https://localhost:{}/health", house.secure_address.port());
    assert!(house.secure_curl(&[&by_name]).contains("\"up\""));

    let strangers = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--max-time", "20"])
        .arg(house.secure_url("/health"))
        .status();
    assert_eq!(
        strangers.unwrap().code(),
        Some(60),
        "curl(1): CURLE_PEER_FAILED_VERIFICATION"
    );

    house.change_identity();
    // The order and the connection are on two sockets of the loop.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let next = Command::new("curl")
            .args(["--silent", "--noproxy", "*", "--max-time", "20", "--cacert"])
            .arg(&house.certificate)
            .arg(house.secure_url("/health"))
            .output();
        if next.unwrap().status.success() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the new certificate was not taken"
        );
    }
}

#[test]
fn tls_1_3_and_http_1_1_are_spoken_and_nothing_older_or_other() {
    let house = House::new();
    let agreed = s_client(&house, &["-alpn", "h2,http/1.1"], b"");
    assert!(agreed.contains("Protocol version: TLSv1.3"), "{agreed}");
    assert!(agreed.contains("Signature type: ECDSA"), "{agreed}");
    let old = s_client(&house, &["-tls1_2"], b"");
    assert!(old.contains("alert protocol version"), "{old}");
    let other = s_client(&house, &["-alpn", "h2"], b"");
    assert!(other.contains("no application protocol"), "{other}");
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let agreed = s_client(&house, &["-ciphersuites", suite], b"");
        assert!(
            agreed.contains(&format!("Ciphersuite: {suite}")),
            "{agreed}"
        );
    }
}

#[test]
fn a_session_made_over_tls_stays_there() {
    let house = House::new();
    house.know(|known| known.password = Some("correct horse".to_owned()));
    let login = |url: &str, curl: &dyn Fn(&[&str]) -> String| {
        let token = form_token(&curl(&[url]));
        let data = format!("form_token={token}&password=correct+horse");
        curl(&["--data", &data, url])
    };
    let over_tls = |args: &[&str]| house.secure_curl(args);
    let secure = login(&house.secure_url("/login"), &over_tls);
    let cookie = format!(
        "set-cookie: __Host-lintel_session={TOKEN}; Path=/; HttpOnly; SameSite=Strict; Secure\r\n"
    );
    assert!(secure.contains(&cookie), "{secure}");
    let plain = login(&house.url("/login"), &curl);
    let cookie =
        format!("set-cookie: lintel_session={TOKEN}; Path=/; HttpOnly; SameSite=Strict\r\n");
    assert!(plain.contains(&cookie), "{plain}");

    let status = |cookie: &str| {
        let cookie = format!("Cookie: {cookie}={TOKEN}");
        house.secure_curl(&["-H", &cookie, &house.secure_url("/api/status")])
    };
    assert!(status("__Host-lintel_session").starts_with("HTTP/1.1 200 "));
    // Whoever sits on the wire can set this one.
    assert!(status("lintel_session").starts_with("HTTP/1.1 401 "));
    // A form on a page that came over HTTP, which could be theirs as well.
    let origin = format!("Origin: http://{}", house.secure_address);
    let url = house.secure_url("/login");
    let forged = house.secure_curl(&["-H", &origin, "--data", "password=x", &url]);
    assert!(forged.starts_with("HTTP/1.1 403 "), "{forged}");
}

#[test]
fn a_plain_page_shows_the_way_to_the_encrypted_one_and_what_to_compare() {
    let house = House::new();
    for claimed in [false, true] {
        house.know(|known| known.password = claimed.then(|| "correct horse".to_owned()));
        let page = curl(&["-L", &house.url("/")]);
        let path = if claimed { "/login" } else { "/setup" };
        let link = format!("href=\"{}\"", house.secure_url(path).replace('/', "&#x2f;"));
        let plain = format!("href=\"{}\"", house.secure_url(path));
        assert!(
            page.contains(&link) || page.contains(&plain),
            "no {link}\n{page}"
        );
        assert!(page.contains(FINGERPRINT), "{page}");
        assert!(!page.contains("location: https"), "{page}");
        let secure = house.secure_curl(&["-L", &house.secure_url("/")]);
        assert!(!secure.contains("id=\"encrypted\""), "{secure}");
        // Through a tunnel's port nobody knows where the other one ends.
        let tunnel = curl(&["-L", "-H", "Host: localhost:18080", &house.url(path)]);
        assert!(!tunnel.contains("id=\"encrypted\""), "{tunnel}");
    }
}

#[test]
fn long_answers_and_bodies_pass_whole_and_slow_readers_get_theirs() {
    let house = House::new();
    house.know(|known| {
        let one = known.leases[0].clone();
        known.leases = vec![one; 4_000];
    });
    let session = format!("Cookie: __Host-lintel_session={TOKEN}");
    let plain_session = format!("Cookie: lintel_session={TOKEN}");
    // The heads carry their dates, the bodies are the same.
    let body = |answer: String| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let plain = body(curl(&[
        "-H",
        &plain_session,
        &house.url("/api/dhcp/leases"),
    ]));
    assert!(plain.len() > 500_000, "{}", plain.len());
    let url = house.secure_url("/api/dhcp/leases");
    assert_eq!(body(house.secure_curl(&["-H", &session, &url])), plain);
    // Two seconds for half a megabyte: the socket fills and the record waits.
    let slowly = ["--limit-rate", "300K", "-H", &session, &url];
    assert_eq!(body(house.secure_curl(&slowly)), plain);

    let toml = format!("@{}", house.certificate.with_extension("toml").display());
    let text = "# a long remark\n".repeat(12_000);
    std::fs::write(toml.trim_start_matches('@'), &text).unwrap();
    let url = house.secure_url("/api/config");
    let put = [
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/toml",
        "-H",
        &session,
    ];
    let applied = house.secure_curl(&[&put[..], &["--data-binary", &toml, &url]].concat());
    std::fs::remove_file(toml.trim_start_matches('@')).unwrap();
    assert!(applied.contains("HTTP/1.1 200 "), "{:.400}", applied);
    house.know(|known| {
        let call = known
            .calls
            .iter()
            .find(|call| call.method == "config.apply");
        assert_eq!(call.unwrap().params["toml"], text);
    });
}

#[test]
fn events_come_over_tls() {
    let house = House::new();
    house.know(|known| known.password = Some("correct horse".to_owned()));
    let session = format!("Cookie: __Host-lintel_session={TOKEN}");
    let mut curl = Command::new("curl")
        .args([
            "--silent",
            "--no-buffer",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "--cacert",
        ])
        .arg(&house.certificate)
        .args(["-H", &session, &house.secure_url("/api/events")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    read_until(&mut curl, "event: hello");
    house.event(1, "lease", json!({ "n": 1 }));
    read_until(&mut curl, r#"{"n":1}"#);
    curl.kill().unwrap();
    curl.wait().unwrap();
}

fn read_until(child: &mut Child, wanted: &str) {
    let out = child.stdout.as_mut().unwrap();
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&got).contains(wanted) {
        let n = out.read(&mut chunk).unwrap();
        assert!(
            n > 0,
            "the end came before {wanted:?}: {}",
            String::from_utf8_lossy(&got)
        );
        got.extend_from_slice(&chunk[..n]);
    }
}

#[test]
fn what_is_no_client_hello_is_sent_away_at_once() {
    let house = House::new();
    // RFC 8446 section 5.1: type 22, version, length; here followed by a message of 16 MiB.
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 16_380]].concat();
    let table: [(&str, &[u8]); 5] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("noise", &[0xa5; 512]),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        (
            "a record of application data",
            &[23, 3, 3, 0, 4, 1, 2, 3, 4],
        ),
        ("a message without end", &endless),
    ];
    for (name, bytes) in table {
        let mut socket = connect(house.secure_address);
        socket.write_all(bytes).unwrap();
        let begin = Instant::now();
        let mut got = Vec::new();
        // An alert and the end, or a reset when more was sent than was read.
        let _ = socket.read_to_end(&mut got);
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}: it hung");
        assert!(got.len() < 64, "{name}: {got:?}");
    }
    assert!(
        house
            .secure_curl(&[&house.secure_url("/health")])
            .contains("\"up\"")
    );
}

#[test]
fn a_handshake_that_dribbles_ends_at_its_deadline() {
    let house = House::new();
    let mut socket = connect(house.secure_address);
    let begin = Instant::now();
    // The head of a ClientHello of 8 KiB, and then an octet at a time.
    socket
        .write_all(&[22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc])
        .unwrap();
    let mut slow = socket.try_clone().unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut end = [0; 64];
    let took = loop {
        let written = socket.write_all(&[0]).is_ok();
        let read = slow.read(&mut end);
        let over = matches!(&read, Ok(0)) || read.as_ref().is_err_and(|e| !is_timeout(e));
        if !written || over {
            break begin.elapsed();
        }
        assert!(begin.elapsed() < PATIENCE, "it may dribble for ever");
    };
    assert!(took > Duration::from_secs(9), "cut off after {took:?}");
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

#[test]
fn a_thousand_half_handshakes_cost_flat_memory_and_disturb_nobody() {
    if !is_alone("tls::a_thousand_half_handshakes_cost_flat_memory_and_disturb_nobody") {
        return;
    }
    let house = House::new();
    let proper = || {
        let begin = Instant::now();
        assert!(
            house
                .secure_curl(&[&house.secure_url("/health")])
                .contains("\"up\"")
        );
        assert!(curl(&[&house.url("/health")]).contains("\"up\""));
        begin.elapsed()
    };
    proper();
    // A record of 8 KiB, of which 6 KiB come.
    let half = [&[22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc][..], &[0; 6_000]].concat();
    hold_a_thousand("half handshakes", house.secure_address, &half, proper);
}
