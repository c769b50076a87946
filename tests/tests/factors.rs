//! The owner's ways in, on the running router: a second factor with oathtool as the phone, a
//! session and a token that get another secret, and when to try again after wrong passwords.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use netns_tests::client::DhcpClient;
use netns_tests::isp::DhcpServer;
use netns_tests::session::{Answer, Session};
use netns_tests::street::{CONFIG, Street};
use netns_tests::{Proc, until};
use serde_json::{Value, json};

const BASE: &str = "http://192.168.1.1";
const PASSWORD: &str = "seven green bottles";
const PATIENCE: Duration = Duration::from_secs(30);

struct Home {
    _client: Proc,
    street: Street,
}

fn home() -> Home {
    let street = Street::new(DhcpServer::Dnsmasq, CONFIG, 2);
    let client = street.hosts[0].dhcp(DhcpClient::Udhcpc, "annes-laptop");
    street.hosts[0].lease(PATIENCE);
    Home {
        _client: client,
        street,
    }
}

impl Home {
    fn send(&self, session: &Session, path: &str, body: &Value) -> Answer {
        let url = format!("{BASE}{path}");
        session.send(&self.street.hosts[0], "POST", &url, body)
    }

    fn status(&self, session: &Session) -> u16 {
        let url = format!("{BASE}/api/status");
        let host = &self.street.hosts[0];
        session.send(host, "GET", &url, &Value::Null).status
    }
}

/// The code that a phone shows, or will show in `ahead_s` seconds.
fn phone(secret: &str, ahead_s: u32) -> String {
    let at = format!("now + {ahead_s} sec");
    let mut oathtool = Command::new("oathtool");
    oathtool.args(["--totp", "--base32", "--now", &at, secret]);
    let said = oathtool.output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_login_takes_the_code_that_oathtool_shows_and_takes_it_once() {
    let home = home();
    let owner = Session::new();
    let password = json!({ "password": PASSWORD });
    assert_eq!(home.send(&owner, "/api/auth/setup", &password).status, 200);
    let totp = |body: Value| home.send(&owner, "/api/auth/totp", &body);
    let wrong = totp(json!({ "current": "not that one" }));
    assert_eq!(wrong.json()["errors"][0]["path"], "current");
    assert_eq!(
        totp(json!({ "code": "123456" })).json()["type"],
        "not-begun"
    );
    let begun = totp(json!({ "current": PASSWORD })).json();
    let secret = begun["secret"].as_str().unwrap();
    let uri = begun["uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Lintel:lintel?secret=") && uri.contains(secret));
    // Begun and not confirmed: the password is enough.
    assert_eq!(
        home.send(&Session::new(), "/api/auth/login", &password)
            .status,
        200
    );
    let confirmed = totp(json!({ "code": phone(secret, 0) }));
    assert_eq!(confirmed.json()["state"], "on", "{}", confirmed.body);

    let login = |code: Option<&str>| {
        let body = json!({ "password": PASSWORD, "code": code });
        home.send(&Session::new(), "/api/auth/login", &body)
    };
    assert_eq!(login(None).json()["type"], "code-wanted");
    let next = phone(secret, 30);
    let entered = login(Some(&next));
    assert_eq!(entered.status, 200, "{}", entered.body);
    assert_eq!(login(Some(&next)).json()["type"], "wrong-code", "once");
    let users = home.street.router.cli_json(&["auth", "users"]);
    assert_eq!(
        users["items"],
        json!([{ "name": "owner", "role": "admin", "claimed": true, "totp": true }])
    );
    // The page asks for it.
    let host = &home.street.hosts[0];
    let page = host.fetch(&format!("{BASE}/login")).unwrap();
    assert!(page.contains("one-time-code"), "{page}");
    // Root of the box takes it away for who lost the phone.
    home.street.router.cli_ok(&["auth", "totp", "--off"]);
    assert_eq!(login(None).status, 200);
}

#[test]
fn whoever_is_slowed_down_is_told_for_how_long() {
    let home = home();
    let owner = Session::new();
    let password = json!({ "password": PASSWORD });
    assert_eq!(home.send(&owner, "/api/auth/setup", &password).status, 200);
    let told = |answer: &Answer| -> u64 {
        let mut lines = answer.head.lines();
        let line = lines.find_map(|line| line.strip_prefix("retry-after: "));
        line.unwrap_or_else(|| panic!("no Retry-After: {}", answer.head))
            .trim()
            .parse()
            .unwrap()
    };
    let guess = || {
        let wrong = json!({ "password": "not that one" });
        home.send(&Session::new(), "/api/auth/login", &wrong)
    };
    let mut waits = Vec::new();
    let end = Instant::now() + PATIENCE;
    while waits.len() < 3 && Instant::now() < end {
        let answer = guess();
        match answer.status {
            401 => {}
            429 => {
                let wait_s = told(&answer);
                assert_eq!(answer.json()["retry_after_s"], wait_s);
                waits.push(wait_s);
                // Earlier it is no use; at that time it is.
                let at = Instant::now() + Duration::from_secs(wait_s);
                until("the wait is over", PATIENCE, || Instant::now() >= at);
                assert_eq!(guess().status, 401, "after {wait_s} s");
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    println!("waits told: {waits:?} s");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    // Every row of the table, whichever way the owner's password is asked for.
    for (path, body) in [
        (
            "/api/auth/password",
            json!({ "current": "x", "password": PASSWORD }),
        ),
        ("/api/auth/totp", json!({ "current": "x" })),
        ("/api/auth/login", json!({ "password": "x" })),
    ] {
        let answer = home.send(&owner, path, &body);
        assert_eq!(answer.status, 429, "{path}: {}", answer.body);
        assert!(told(&answer) > 0, "{path}");
    }
}

#[test]
fn a_session_and_a_token_go_on_with_another_secret() {
    let home = home();
    let owner = Session::new();
    let password = json!({ "password": PASSWORD });
    assert_eq!(home.send(&owner, "/api/auth/setup", &password).status, 200);
    let old = owner.cookies();
    let refreshed = home.send(&owner, "/api/auth/refresh", &json!({}));
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert!(
        refreshed.json()["ends_unix_s"].as_u64() > refreshed.json()["idle_ends_unix_s"].as_u64()
    );
    assert_eq!(home.status(&owner), 200);
    let thief = Session::new();
    thief.set_cookies(&old);
    assert_eq!(home.status(&thief), 401, "the old secret is worth nothing");

    let host = &home.street.hosts[0];
    let with = |token: &str, path: &str, verb: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        let url = format!("{BASE}{path}");
        let json = "Content-Type: application/json";
        let args = ["-X", verb, "-H", &bearer, "-H", json, "--data", "{}", &url];
        let args = if verb == "GET" {
            vec!["-H", &bearer, &url]
        } else {
            args.to_vec()
        };
        Session::new().curl(host, 20, &args).unwrap()
    };
    let words = ["auth", "tokens", "create", "judge", "write"];
    let made = home.street.router.cli_json(&words);
    let first = made["token"].as_str().unwrap();
    let rotated = with(first, "/api/auth/rotate-key", "POST");
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let rotated = rotated.json();
    assert_eq!(rotated["id"], made["id"]);
    assert_eq!(
        rotated["expires_unix_s"], made["expires_unix_s"],
        "it lasts no longer"
    );
    let second = rotated["token"].as_str().unwrap();
    assert_eq!(with(first, "/api/status", "GET").status, 401);
    assert_eq!(with(second, "/api/status", "GET").status, 200);
    // By hand at the box, and for another than its own not at all.
    let id = made["id"].to_string();
    let third = home
        .street
        .router
        .cli_ok(&["auth", "rotate-key", "--id", &id]);
    assert_eq!(with(second, "/api/status", "GET").status, 401);
    assert_eq!(with(third.trim(), "/api/status", "GET").status, 200);
    // The box has one account: more cannot be made.
    let more = home.send(&owner, "/api/auth/users", &json!({ "name": "bert" }));
    assert_eq!(more.status, 405);
    assert!(more.head.contains("allow: get"), "{}", more.head);
}
