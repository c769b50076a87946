//! Addresses and certificates of boxes, requests of the table, and answers, whole and broken.

use std::io::Cursor;

use serde_json::json;

use super::*;

#[test]
fn addresses_of_boxes() {
    for (url, back) in [
        ("192.168.1.1", "https://192.168.1.1"),
        ("https://router.lan/", "https://router.lan"),
        ("http://router.lan:80", "http://router.lan"),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ("[fd00::1]", "https://[fd00::1]"),
    ] {
        assert_eq!(Host::parse(url).map(|host| host.url()), Ok(back.to_owned()));
    }
    for url in [
        "",
        "https://",
        "ftp://x",
        "a b",
        "x:0",
        "x:y",
        "http://u@x",
        "x/api",
        "fd00::1",
        "x\r\ny",
    ] {
        assert!(Host::parse(url).is_err(), "{url}");
    }
    let host = || Host::parse("x").unwrap();
    let pairs = ["AB"; 32].join(":");
    assert!(host().with_fingerprint(&pairs).is_ok());
    assert!(
        host()
            .with_fingerprint(&pairs.replace(':', "").to_lowercase())
            .is_ok()
    );
    for text in ["", "AB", "zz", &pairs[3..], &pairs.replace('A', "\u{e9}")] {
        assert!(host().with_fingerprint(text).is_err(), "{text}");
    }
    assert!(host().with_token("abc\n").is_ok());
    for token in ["", " ", "a b", "a\r\nX: y"] {
        assert!(host().with_token(token).is_err(), "{token:?}");
    }
}

#[test]
fn a_new_certificate_is_taken_for_its_key_once_the_wanted_one_was_shown() {
    use crate::controld::certificate::ensure;
    let mut rng = lintel_proto::rng::SeededRng::new(7);
    let mut made = |stored, name: &str| {
        let (row, _) = ensure(stored, vec![name.to_owned()], 1_800_000_000, &mut rng).unwrap();
        row
    };
    let first = made(None, "192.168.1.1");
    let moved = made(Some(first.clone()), "10.9.8.1");
    let other = made(None, "10.9.8.1");
    let wanted = digest::digest(&digest::SHA256, &first.certificate_der);
    let judge = Judge {
        wanted: Some(wanted.as_ref().to_vec()),
        key: Arc::default(),
        shown: Mutex::default(),
        algorithms: crypto::ring::default_provider().signature_verification_algorithms,
    };
    let takes = |row: &lintel_store::TlsRow| {
        let certificate = CertificateDer::from(row.certificate_der.as_slice());
        let name = ServerName::try_from("box").unwrap();
        judge
            .verify_server_cert(&certificate, &[], &name, &[], UnixTime::now())
            .is_ok()
    };
    assert!(!takes(&moved), "nobody has shown the wanted one yet");
    assert!(takes(&first) && takes(&moved) && !takes(&other));
}

#[test]
fn parameters_go_where_the_table_puts_them() {
    let host = Host::parse("http://x:81").unwrap().with_token("t").unwrap();
    let request = |name: &str, params: Value| {
        let method = lintel_api::by_name(name).unwrap();
        String::from_utf8(host.request(method, &params)).unwrap()
    };
    let logs = request("logs.services", json!({"name": "dnsd", "lines": 5}));
    assert!(
        logs.starts_with("GET /api/logs/services/dnsd?lines=5 HTTP/1.1\r\nHost: x:81\r\n"),
        "{logs}"
    );
    assert!(
        logs.contains("Authorization: Bearer t\r\n") && logs.ends_with("Content-Length: 0\r\n\r\n")
    );
    let apply = request(
        "config.apply",
        json!({"toml": "x", "reason": "a b/\u{e9}", "dry_run": true}),
    );
    assert!(apply.contains("reason=a%20b%2F%C3%A9"), "{apply}");
    assert!(
        apply.contains("dry_run=true") && apply.ends_with("\r\n\r\n{\"toml\":\"x\"}"),
        "{apply}"
    );
}

/// What comes from a server, and a place for what goes to it.
struct Recorded(Cursor<Vec<u8>>);

impl Read for Recorded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Octet by octet, as the slowest wire does.
        let n = into.len().min(1);
        self.0.read(&mut into[..n])
    }
}

impl Write for Recorded {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_answer_is_whole_or_an_error() {
    let taken = |text: &str| answer(Recorded(Cursor::new(text.as_bytes().to_vec())), b"x");
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}more";
    assert_eq!(taken(good).unwrap(), (200, b"{}".to_vec()));
    for (text, why) in [
        ("", "closed without"),
        ("SSH-2.0-x\r\n\r\n", "no HTTP"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "no length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "cut off"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}",
            "too long",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(40_000)),
            "no end",
        ),
    ] {
        let error = taken(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text:.60}: {error}");
    }
}
