//! The owner's ways in, on the running router: a second factor with oathtool as the phone, a
//! session and a token that get another secret, and when to try again after wrong passwords.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::time::{Duration, Instant};

use netns_tests::caller::Answer;
use netns_tests::home::{BASE, Home, PASSWORD, PATIENCE};
use netns_tests::session::Session;
use netns_tests::{phone, until};
use serde_json::{Value, json};

/// What the page would be answered in this session.
fn post(home: &Home, session: &Session, path: &str, body: &Value) -> Answer {
    session.send(home.host(), "POST", &format!("{BASE}{path}"), body)
}

/// Whether the box knows it.
fn status(home: &Home, session: &Session) -> u16 {
    let url = format!("{BASE}/api/status");
    session.send(home.host(), "GET", &url, &Value::Null).status
}

/// A box, and the session of its owner.
fn home() -> (Home, Session) {
    let (home, owner) = (Home::new(2), Session::new());
    let password = json!({ "password": PASSWORD });
    let setup = post(&home, &owner, "/api/auth/setup", &password);
    assert_eq!(setup.status, 200);
    (home, owner)
}

#[test]
fn a_login_takes_the_code_that_oathtool_shows_and_takes_it_once() {
    let (home, owner) = home();
    let totp = |body: Value| post(&home, &owner, "/api/auth/totp", &body);
    let wrong = totp(json!({ "current": "not that one" }));
    assert_eq!(wrong.problem()["errors"][0]["path"], "current");
    assert_eq!(
        totp(json!({ "code": "123456" })).problem()["type"],
        "not-begun"
    );
    let begun = totp(json!({ "current": PASSWORD })).json();
    let secret = begun["secret"].as_str().unwrap();
    let uri = begun["uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Lintel:lintel?secret=") && uri.contains(secret));
    // Begun and not confirmed: the password is enough.
    let password = json!({ "password": PASSWORD });
    assert_eq!(
        post(&home, &Session::new(), "/api/auth/login", &password).status,
        200
    );
    let confirmed = totp(json!({ "code": phone::code(secret, 0) }));
    assert_eq!(confirmed.json()["state"], "on", "{}", confirmed.body);

    let login = |code: Option<&str>| {
        let body = json!({ "password": PASSWORD, "code": code });
        post(&home, &Session::new(), "/api/auth/login", &body)
    };
    assert_eq!(login(None).problem()["type"], "code-wanted");
    let next = phone::code(secret, 30);
    let entered = login(Some(&next));
    assert_eq!(entered.status, 200, "{}", entered.body);
    assert_eq!(login(Some(&next)).problem()["type"], "wrong-code", "once");
    let users = home.router().cli_json(&["auth", "users"]);
    assert_eq!(
        users["items"],
        json!([{ "name": "owner", "role": "admin", "claimed": true, "totp": true }])
    );
    // The page asks for it.
    let host = home.host();
    let page = host.fetch(&format!("{BASE}/login")).unwrap();
    assert!(page.contains("one-time-code"), "{page}");
    // Root of the box takes it away for who lost the phone.
    home.router().cli_ok(&["auth", "totp", "--off"]);
    assert_eq!(login(None).status, 200);
}

#[test]
fn whoever_is_slowed_down_is_told_for_how_long() {
    let (home, owner) = home();
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
        post(&home, &Session::new(), "/api/auth/login", &wrong)
    };
    let mut waits = Vec::new();
    let end = Instant::now() + PATIENCE;
    while waits.len() < 3 && Instant::now() < end {
        let answer = guess();
        match answer.status {
            401 => {}
            429 => {
                let wait_s = told(&answer);
                assert_eq!(answer.problem()["retry_after_s"], wait_s);
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
        let answer = post(&home, &owner, path, &body);
        assert_eq!(answer.status, 429, "{path}: {}", answer.body);
        assert!(told(&answer) > 0, "{path}");
    }
}

#[test]
fn a_session_and_a_token_go_on_with_another_secret() {
    let (home, owner) = home();
    let old = owner.cookies();
    let refreshed = post(&home, &owner, "/api/auth/refresh", &json!({}));
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert!(
        refreshed.json()["ends_unix_s"].as_u64() > refreshed.json()["idle_ends_unix_s"].as_u64()
    );
    assert_eq!(status(&home, &owner), 200);
    let thief = Session::new();
    thief.set_cookies(&old);
    assert_eq!(
        status(&home, &thief),
        401,
        "the old secret is worth nothing"
    );

    let knows = |token: &str| home.program(token).get("/api/status").status;
    let words = ["auth", "tokens", "create", "judge", "write"];
    let made = home.router().cli_json(&words);
    let first = made["token"].as_str().unwrap();
    let rotated = home
        .program(first)
        .send("POST", "/api/auth/rotate-key", &json!({}));
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let rotated = rotated.json();
    assert_eq!(rotated["id"], made["id"]);
    assert_eq!(
        rotated["expires_unix_s"], made["expires_unix_s"],
        "it lasts no longer"
    );
    let second = rotated["token"].as_str().unwrap();
    assert_eq!(knows(first), 401);
    assert_eq!(knows(second), 200);
    // By hand at the box, and for another than its own not at all.
    let id = made["id"].to_string();
    let third = home.router().cli_ok(&["auth", "rotate-key", "--id", &id]);
    assert_eq!(knows(second), 401);
    assert_eq!(knows(third.trim()), 200);
    // The box has one account: more cannot be made.
    let more = post(&home, &owner, "/api/auth/users", &json!({ "name": "bert" }));
    assert_eq!(more.status, 405);
    assert!(more.head.contains("allow: get"), "{}", more.head);
}
