//! The front against clients that mean harm, and events for clients that come back.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::house::{House, TOKEN, is_alone};
use crate::wire::{PATIENCE, connect, curl, exchange, read_until};

#[test]
fn health_is_up_and_nothing_else() {
    let house = House::new();
    let answer = curl(&[&house.url("/health")]);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"status":"up"}"#), "{answer}");
    house.know(|known| assert!(known.calls.is_empty(), "controld was asked"));
}

#[test]
fn every_answer_carries_the_security_fields() {
    let house = House::new();
    for path in [
        "/health",
        "/",
        "/login",
        "/api/status",
        "/static/lintel.css",
        "/nothing",
    ] {
        let answer = curl(&[&house.url(path)]);
        for field in [
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
        ] {
            assert!(answer.contains(field), "{path}: no {field}\n{answer}");
        }
        if path.starts_with("/api") {
            assert!(answer.contains("cache-control: no-store"), "{answer}");
        }
        assert!(!answer.contains("unsafe-inline"), "{answer}");
    }
}

#[test]
fn ambiguous_and_foreign_requests_are_refused_on_the_wire() {
    let house = House::new();
    let table = [
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\nHost: localhost\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        (
            "PUT /api/config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n",
            "413",
        ),
    ];
    for (text, status) in table {
        let answer = exchange(house.address, text);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{text:?}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{text:?}: {answer}");
    }
    let smuggled = "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nGET GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(house.address, smuggled);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    let page = curl(&[
        "-H",
        "Host: evil.example",
        "-H",
        "Accept: text/html",
        &house.url("/"),
    ]);
    assert!(page.contains("does not answer to that name"), "{page}");
}

#[test]
fn a_thousand_half_open_requests_cost_flat_memory_and_disturb_nobody() {
    if !is_alone("front::a_thousand_half_open_requests_cost_flat_memory_and_disturb_nobody") {
        return;
    }
    let house = House::new();
    let proper = || {
        let begin = Instant::now();
        let answer = curl(&[&house.url("/health")]);
        assert!(answer.contains("\"up\""), "{answer}");
        let page = curl(&["-L", &house.url("/")]);
        assert!(page.contains("Welcome"), "{page}");
        begin.elapsed()
    };
    proper();
    let threads_before = own("Threads:");
    // Each sends what a lenient server would keep: most of a head, without its end.
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(4_000)
    );
    hold_a_thousand("half-open requests", house.address, head.as_bytes(), proper);
    assert!(own("Threads:") <= threads_before + 1, "threads grew");
}

/// A thousand connections send this and stay: memory is flat, and a proper client, which says how
/// long it took, is served meanwhile.
pub(crate) fn hold_a_thousand(
    what: &str,
    address: SocketAddr,
    half: &[u8],
    proper: impl Fn() -> Duration,
) {
    let first = own("VmRSS:");
    let mut held: Vec<TcpStream> = Vec::new();
    let mut flood = |count: usize| {
        for _ in 0..count {
            let mut socket = connect(address);
            // Those that made room for others are reset.
            let _ = socket.write_all(half);
            held.push(socket);
        }
    };
    flood(200);
    proper();
    let before = own("VmRSS:");
    flood(800);
    let took = proper();
    let after = own("VmRSS:");
    assert!(
        took < Duration::from_secs(1),
        "a proper client waited {took:?}"
    );
    assert!(after < before + 2_048, "{before} KiB grew to {after} KiB");
    println!(
        "1,000 {what}: {first} KiB -> {before} KiB -> {after} KiB, two proper ones in {took:?}"
    );
}

/// A line of this process's status: the role runs in it.
pub(crate) fn own(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_slow_client_does_not_hold_the_application() {
    let house = House::new();
    let mut slow: Vec<TcpStream> = (0..16).map(|_| connect(house.address)).collect();
    for socket in &mut slow {
        let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf";
        socket.write_all(head.as_bytes()).unwrap();
    }
    let begin = Instant::now();
    assert!(curl(&["-L", &house.url("/")]).contains("Welcome"));
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn events_need_a_session_and_resume_where_they_stopped() {
    let house = House::new();
    house.know(|known| known.password = Some("correct horse".to_owned()));
    let refused = curl(&[&house.url("/api/events")]);
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");

    let stream = |last: &str| {
        let mut socket = connect(house.address);
        let last = match last {
            "" => String::new(),
            last => format!("Last-Event-ID: {last}\r\n"),
        };
        let head = format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: lintel_session={TOKEN}\r\n{last}\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket
    };
    let mut first = stream("");
    let begin = read_until(&mut first, "event: hello");
    assert!(begin.contains("content-type: text/event-stream"), "{begin}");
    for n in 1..=3 {
        house.event(n, "lease", json!({ "n": n }));
    }
    let seen = read_until(&mut first, r#"{"n":3}"#);
    assert!(seen.contains("id: 3\nevent: lease"), "{seen}");
    drop(first);

    let mut again = stream("1");
    let made_up = read_until(&mut again, r#"{"n":3}"#);
    assert!(
        made_up.contains(r#"{"n":2}"#) && !made_up.contains(r#"{"n":1}"#),
        "{made_up}"
    );
    let mut stranger = stream("elsewhere-9");
    read_until(&mut stranger, "event: reset");
    house.event(4, "wan", json!({}));
    read_until(&mut again, "event: wan");
    read_until(&mut stranger, "event: wan");
}

#[test]
fn without_controld_pages_say_so_and_a_new_session_heals() {
    let house = House::new();
    assert!(curl(&["-L", &house.url("/")]).contains("Welcome"));
    house.lose_session();
    let deadline = Instant::now() + PATIENCE;
    let away = loop {
        let answer = curl(&["-H", "Accept: text/html", &house.url("/")]);
        if answer.starts_with("HTTP/1.1 503 ") || Instant::now() > deadline {
            break answer;
        }
    };
    assert!(away.contains("http-equiv=\"refresh\""), "{away}");
    assert!(curl(&[&house.url("/api/status")]).contains("control-away"));
    assert!(curl(&[&house.url("/health")]).contains("\"up\""));
    house.new_session();
    let deadline = Instant::now() + PATIENCE;
    while !curl(&["-L", &house.url("/")]).contains("Welcome") {
        assert!(Instant::now() < deadline, "the new session was not taken");
    }
}
