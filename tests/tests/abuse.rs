//! The box's own interface under people who mean ill: guessed passwords, replayed forms, names
//! that are rebound, requests that two readers could read differently, bodies that are no bodies.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO and take the time"
)]

use std::time::{Duration, Instant};

use netns_tests::caller::JSON;
use netns_tests::home::{BASE, Home, PASSWORD};
use netns_tests::told::{compare, roles};
use netns_tests::until;
use serde_json::json;

/// A claimed box and hosts that all have an address.
fn home(hosts: usize) -> Home {
    let mut home = Home::new(hosts);
    for host in 1..hosts {
        home.join(host, "device");
    }
    home.claim(PASSWORD);
    home
}

/// Logs in on this host.
fn login(home: &Home, host: usize) -> u16 {
    let body = json!({ "password": PASSWORD });
    home.caller(host)
        .send("POST", "/api/auth/login", &body)
        .status
}

/// The owner is still logged in, and answered.
fn is_served(home: &Home) {
    assert_eq!(home.owner().get("/api/status").status, 200);
}

/// What raw octets are answered, each on a connection of its own.
fn raw(home: &Home, requests: &[&[u8]]) -> Vec<String> {
    let script = home.dir.write("raw.py", RAW);
    let mut args = vec!["python3".to_owned(), "-B".to_owned()];
    args.push(script.to_str().unwrap().to_owned());
    args.extend(requests.iter().map(|request| {
        let hex = request.iter().map(|byte| format!("{byte:02x}"));
        hex.collect::<String>()
    }));
    let said = home.street.hosts[1].ns.ok(args);
    said.lines().map(str::to_owned).collect()
}

/// Prints the status lines that came back on each connection, joined by `|`.
const RAW: &str = r#"
import socket, sys, re
for text in sys.argv[1:]:
    s = socket.create_connection(("192.168.1.1", 80), 15)
    s.sendall(bytes.fromhex(text))
    got = b""
    try:
        while True:
            part = s.recv(65536)
            if not part:
                break
            got += part
    except OSError:
        pass
    print("|".join(m.decode() for m in re.findall(rb"HTTP/1.1 (\d+)", got)))
"#;

#[test]
fn a_thousand_wrong_passwords_open_nothing_and_keep_nobody_out() {
    let home = home(3);
    let before = roles(home.router());
    let script = home.dir.write("guess.py", GUESS);
    let begun = Instant::now();
    let args = ["python3", "-B", script.to_str().unwrap()];
    let mut guesses = home.street.hosts[1]
        .ns
        .spawn(&home.dir.path("guess.log"), args);
    let (mut times, mut slowest) = (0, Duration::ZERO);
    while guesses.runs() {
        // The owner from where they were before, and from a device that is new.
        let at = Instant::now();
        is_served(&home);
        assert_eq!(login(&home, 0), 200, "the owner stays welcome");
        assert_eq!(login(&home, 2), 200, "and on a new device");
        slowest = slowest.max(at.elapsed());
        times += 1;
    }
    let took = begun.elapsed();
    let said = guesses.printed();
    println!(
        "guesses by status: {}, in {} ms",
        said.trim(),
        took.as_millis()
    );
    println!(
        "the owner asked once and logged in twice, {times} times meanwhile, the slowest in {} ms",
        slowest.as_millis()
    );
    assert!(times > 0);
    let count = |status: &str| -> u32 {
        let mut words = said.split_whitespace();
        let found = words.find(|word| word.starts_with(status));
        found.map_or(0, |word| word.split('=').nth(1).unwrap().parse().unwrap())
    };
    assert_eq!(count("401") + count("429"), 1000, "{said}");
    // Four at once, then as the waits allow.
    let allowed = 4 + took.as_secs().checked_ilog2().unwrap_or(0) + 2;
    assert!(count("401") <= allowed, "{said}");
    let growth = compare("a thousand guesses", &before, &roles(home.router()));
    assert!(growth < 4096, "a role grew by {growth} KiB");
    // Who guessed is welcome again when the wait is over, with the right password.
    until(
        "the guesser's device may log in",
        Duration::from_secs(90),
        || login(&home, 1) == 200,
    );
}

const GUESS: &str = r#"
import collections, http.client, json
count = collections.Counter()
c = http.client.HTTPConnection("192.168.1.1", 80, timeout=20)
for n in range(1000):
    c.request("POST", "/api/auth/login", json.dumps({"password": f"guess {n}"}),
              {"Content-Type": "application/json"})
    r = c.getresponse(); r.read()
    count[r.status] += 1
print(" ".join(f"{k}={v}" for k, v in sorted(count.items())))
"#;

#[test]
fn a_replayed_form_and_another_sites_page_change_nothing() {
    let home = home(2);
    let page = home.owner().get("/").body;
    let token = page
        .split("name=\"form_token\"")
        .nth(1)
        .and_then(|rest| rest.split("value=\"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .to_owned();
    let form = format!("form_token={token}");
    let own = format!("Origin: {BASE}");
    // The form as another site's page would send it, with the browser's cookie.
    for field in [
        "Origin: http://evil.example",
        "Origin: https://192.168.1.1",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        for path in ["/logout", "/reboot"] {
            let sent = home
                .owner()
                .ask("POST", path, &["-H", field, "--data", &form]);
            assert_eq!(sent.status, 403, "{field} {path}");
        }
        let patch = json!({ "patch": {} });
        let sent = home
            .owner()
            .send_with("PATCH", "/api/config", &patch, &["-H", field]);
        assert_eq!(sent.status, 403, "{field}");
    }
    // Another device that has a session of its own, and one that has none.
    assert_eq!(login(&home, 1), 200);
    let sends = |host: usize, path: &str| {
        let form = ["-H", &own, "--data", &form];
        home.caller(host).ask("POST", path, &form).status
    };
    assert_eq!(sends(1, "/logout"), 403, "the token is of another session");
    is_served(&home);
    assert_eq!(sends(0, "/logout"), 303, "its own page may");
    // The same once more: the session it was for is over.
    std::fs::remove_file(home.sessions[0].jar()).unwrap();
    assert_eq!(sends(0, "/reboot"), 403, "replayed");
    let trail = home.router().cli_json(&["audit"]);
    let items = trail["items"].as_array().unwrap();
    assert!(items.iter().all(|line| line["method"] != "system.reboot"));
}

#[test]
fn what_two_readers_could_read_differently_is_read_by_none() {
    let home = home(2);
    let get = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\n{fields}\r\n").into_bytes();
    let host = "Host: 192.168.1.1\r\n";
    let post = |fields: &str, body: &str| {
        let head = format!("POST /api/auth/login HTTP/1.1\r\n{host}{fields}\r\n{body}");
        head.into_bytes()
    };
    let inner = "GET /api/status HTTP/1.1\r\nHost: 192.168.1.1\r\n\r\n";
    let chunked = format!("0\r\n\r\n{inner}");
    let table: Vec<(&str, Vec<u8>, &[&str])> = vec![
        // Request smuggling: one answer, and the connection ends.
        (
            "two lengths",
            post("Content-Length: 0\r\nContent-Length: 5\r\n", inner),
            &["400"],
        ),
        (
            "length and chunks",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                &chunked,
            ),
            &["400"],
        ),
        (
            "chunks",
            post("Transfer-Encoding: chunked\r\n", &chunked),
            &["411"],
        ),
        (
            "a coding twice",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                &chunked,
            ),
            &["501"],
        ),
        (
            "a length with a sign",
            post("Content-Length: +5\r\n", inner),
            &["400"],
        ),
        (
            "a list of lengths",
            post("Content-Length: 5, 5\r\n", inner),
            &["400"],
        ),
        (
            "a folded line",
            post("X: a\r\n b\r\nContent-Length: 0\r\n", ""),
            &["400"],
        ),
        (
            "a bare line feed",
            post("X: a\nContent-Length: 0\r\n", ""),
            &["400"],
        ),
        (
            "a blank before the colon",
            post("Content-Length : 5\r\n", inner),
            &["400"],
        ),
        (
            "a body of a GET",
            get("GET /api/status", &format!("{host}Content-Length: 5\r\n")),
            &["400"],
        ),
        (
            "NUL",
            get("GET /api/status", &format!("{host}X: a\0b\r\n")),
            &["400"],
        ),
        // Names that are not ours.
        (
            "a rebound name",
            get(
                "GET /api/status",
                "Host: evil.example\r\nConnection: close\r\n",
            ),
            &["421"],
        ),
        (
            "a rebound name with our port",
            get("GET /", "Host: evil.example:80\r\n"),
            &["421"],
        ),
        (
            "two names",
            get("GET /", &format!("{host}Host: evil.example\r\n")),
            &["400"],
        ),
        ("no name", get("GET /", ""), &["400"]),
        (
            "another name in the target",
            get("GET http://evil.example/", host),
            &["421"],
        ),
        (
            "our name as a part",
            get("GET /", "Host: 192.168.1.1.evil.example\r\n"),
            &["421"],
        ),
        (
            "our name as a user",
            get("GET /", "Host: 192.168.1.1@evil.example\r\n"),
            &["400"],
        ),
        // Paths.
        (
            "up",
            get(
                "GET /api/../api/status",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "up, encoded",
            get(
                "GET /api/%2e%2e/api/status",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "out of the files",
            get(
                "GET /static/../../etc/passwd",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "encoded slashes",
            get(
                "GET /static/..%2f..%2fetc%2fpasswd",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "two slashes",
            get("GET //api/status", &format!("{host}Connection: close\r\n")),
            &["404"],
        ),
        (
            "a slash at the end",
            get("GET /api/status/", &format!("{host}Connection: close\r\n")),
            &["404"],
        ),
        (
            "capitals",
            get("GET /API/status", &format!("{host}Connection: close\r\n")),
            &["404"],
        ),
        (
            "NUL, encoded",
            get(
                "GET /api/status%00",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "a parameter of the path",
            get(
                "GET /api/status;x=1",
                &format!("{host}Connection: close\r\n"),
            ),
            &["404"],
        ),
        (
            "no UTF-8 in the query",
            get(
                "GET /api/dns/records?limit=%ff",
                &format!("{host}Connection: close\r\n"),
            ),
            &["400"],
        ),
    ];
    let requests: Vec<&[u8]> = table
        .iter()
        .map(|(_, octets, _)| octets.as_slice())
        .collect();
    let answers = raw(&home, &requests);
    assert_eq!(answers.len(), table.len());
    for ((what, _, wanted), answer) in table.iter().zip(&answers) {
        assert_eq!(answer.split('|').collect::<Vec<_>>(), *wanted, "{what}");
    }
    println!("{} forms refused, each with one answer", table.len());
    is_served(&home);
}

#[test]
fn bodies_that_are_none_are_named_and_cost_little() {
    let home = home(2);
    let before = roles(home.router());
    let deep = [
        "{\"config\":".repeat(20_000),
        "1".to_owned(),
        "}".repeat(20_000),
    ]
    .concat();
    let long = format!("{{\"toml\":\"{}\"}}", "#".repeat(300_000));
    let table: [(&str, &[u8], u16, &str); 9] = [
        ("deep nesting", deep.as_bytes(), 400, "recursion"),
        (
            "a key twice",
            br#"{"toml":"","toml":"[lan]"}"#,
            400,
            "stands twice",
        ),
        (
            "a key twice, inside",
            br#"{"config":{"lan":{},"lan":{}}}"#,
            400,
            "stands twice",
        ),
        ("no UTF-8", b"{\"toml\":\"\xff\xfe\"}", 400, "column"),
        ("half a surrogate", br#"{"toml":"\ud800"}"#, 400, "column"),
        ("a list", b"[1]", 400, "object"),
        ("a wrong type", br#"{"toml":7}"#, 400, "write a text"),
        (
            "nothing known",
            br#"{"colour":"red"}"#,
            400,
            "no such parameter",
        ),
        ("over the limit", long.as_bytes(), 413, "too large"),
    ];
    let mut slowest = Duration::ZERO;
    for (what, body, wanted, words) in table {
        let file = home.dir.path("body");
        std::fs::write(&file, body).unwrap();
        let data = format!("@{}", file.display());
        let at = Instant::now();
        let args = ["-H", JSON, "-H", "Expect:", "--data-binary", &data];
        let answer = home.owner().ask("POST", "/api/config/validate", &args);
        slowest = slowest.max(at.elapsed());
        assert_eq!(answer.status, wanted, "{what}: {}", answer.body);
        assert!(answer.body.contains(words), "{what}: {}", answer.body);
        answer.problem();
    }
    println!("the slowest refusal took {} ms", slowest.as_millis());
    let growth = compare("bodies that are none", &before, &roles(home.router()));
    assert!(growth < 4096, "a role grew by {growth} KiB");
    is_served(&home);
}
