//! Pages and REST, without a browser.

use lintel_model::facts::DataState;

use crate::house::{House, TOKEN};
use crate::wire::{curl, form_token};

fn cookie() -> String {
    format!("Cookie: lintel_session={TOKEN}")
}

#[test]
fn the_first_visit_sets_the_password_and_later_ones_log_in() {
    let house = House::new();
    let start = curl(&[&house.url("/")]);
    assert!(start.starts_with("HTTP/1.1 303 "), "{start}");
    assert!(start.contains("location: /setup"), "{start}");
    let token = form_token(&curl(&[&house.url("/setup")]));
    let post = |path: &str, data: &str| {
        let data = format!("form_token={token}&{data}");
        curl(&["--data", &data, &house.url(path)])
    };
    let differ = post("/setup", "password=correct+horse&again=correct+house");
    assert!(
        differ.starts_with("HTTP/1.1 422 ") && differ.contains("differ"),
        "{differ}"
    );
    let short = post("/setup", "password=abc&again=abc");
    assert!(short.starts_with("HTTP/1.1 422 "), "{short}");
    let done = post("/setup", "password=correct+horse&again=correct+horse");
    assert!(done.starts_with("HTTP/1.1 303 "), "{done}");
    assert!(done.contains("HttpOnly; SameSite=Strict"), "{done}");
    house.know(|known| assert_eq!(known.password.as_deref(), Some("correct horse")));

    let again = curl(&[&house.url("/setup")]);
    assert!(again.contains("location: /login"), "{again}");
    let wrong = post("/login", "password=wrong");
    assert!(
        wrong.starts_with("HTTP/1.1 401 ") && wrong.contains("password is wrong"),
        "{wrong}"
    );
    let right = post("/login", "password=correct+horse");
    assert!(
        right.contains(&format!("set-cookie: lintel_session={TOKEN}")),
        "{right}"
    );
    let page = curl(&["-H", &cookie(), &house.url("/")]);
    for text in [
        "Online",
        "203.0.113.57",
        "annes-phone",
        "192.168.1.1",
        "dnsd",
        "0.1.0",
    ] {
        assert!(page.contains(text), "no {text}");
    }
    let logout = format!("form_token={}", form_token(&page));
    let out = curl(&["-H", &cookie(), "--data", &logout, &house.url("/logout")]);
    assert!(out.contains("Max-Age=0"), "{out}");
}

#[test]
fn forms_from_elsewhere_change_nothing() {
    let house = House::new();
    let token = form_token(&curl(&[&house.url("/setup")]));
    let good = format!("form_token={token}&password=correct+horse&again=correct+horse");
    let bare = "password=correct+horse&again=correct+horse";
    let url = house.url("/setup");
    let table: [&[&str]; 5] = [
        &["--data", bare, &url],
        &["--data", &good, "-H", "Origin: http://evil.example", &url],
        &["--data", &good, "-H", "Origin: null", &url],
        &["--data", &good, "-H", "Sec-Fetch-Site: cross-site", &url],
        &["--data", &good, "-H", "Content-Type: text/plain", &url],
    ];
    for args in table {
        let answer = curl(args);
        assert!(answer.starts_with("HTTP/1.1 4"), "{args:?}: {answer}");
    }
    house.know(|known| assert_eq!(known.password, None));
    let own = format!("Origin: {}", house.url(""));
    let done = curl(&[
        "--data",
        &good,
        "-H",
        &own,
        "-H",
        "Sec-Fetch-Site: same-origin",
        &url,
    ]);
    assert!(done.starts_with("HTTP/1.1 303 "), "{done}");
}

#[test]
fn rest_names_every_wrong_field_and_passes_the_rest_on() {
    let house = House::new();
    let url = house.url("/api/config?dry_run=maybe&nonsense=1");
    let json = "Content-Type: application/json";
    let put = |args: &[&str]| {
        let auth = format!("Authorization: Bearer {TOKEN}");
        let mut all = vec!["-X", "PUT", "-H", auth.as_str()];
        all.extend(args);
        curl(&all)
    };
    let bad = put(&["-H", json, "--data", r#"{"tolm":"x"}"#, &url]);
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
    assert!(bad.contains("application/problem+json"), "{bad}");
    for path in ["dry_run", "nonsense", "tolm"] {
        assert!(bad.contains(&format!("\"path\":\"{path}\"")), "{bad}");
    }
    let url = house.url("/api/config?dry_run=1&reason=a%20test");
    let good = put(&["-H", json, "--data", r#"{"toml":"[wan]\n"}"#, &url]);
    assert!(
        good.contains(r#""dry_run":true"#) && good.contains("a test"),
        "{good}"
    );
    let toml = put(&[
        "-H",
        "Content-Type: application/toml",
        "--data-binary",
        "[wan]\n",
        &url,
    ]);
    assert!(toml.contains(r#""toml":"[wan]\n""#), "{toml}");
    let form = put(&["--data", "toml=x", &url]);
    assert!(form.starts_with("HTTP/1.1 415 "), "{form}");
    let cross = put(&["-H", "Origin: http://evil.example", &url]);
    assert!(cross.starts_with("HTTP/1.1 403 "), "{cross}");

    assert!(curl(&[&house.url("/api/nothing")]).starts_with("HTTP/1.1 404 "));
    let verb = curl(&["-X", "DELETE", &house.url("/api/status")]);
    assert!(verb.starts_with("HTTP/1.1 405 "), "{verb}");
    assert!(curl(&[&house.url("/api/status")]).starts_with("HTTP/1.1 401 "));
    let head = curl(&["--head", &house.url("/setup")]);
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    house.know(|known| {
        let call = known
            .calls
            .iter()
            .find(|c| c.method == "config.apply")
            .unwrap();
        assert_eq!(call.caller.token.as_deref(), Some(TOKEN));
        assert_eq!(call.caller.address, Some([127, 0, 0, 1].into()));
        assert_eq!(call.caller.link_index, Some(1));
    });
}

#[test]
fn the_interface_describes_itself() {
    let house = House::new();
    let answer = curl(&[&house.url("/api/openapi.json")]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for method in lintel_api::METHODS {
        let verb = method.verb.as_str().to_lowercase();
        let operation = &document["paths"][method.path][verb];
        assert_eq!(operation["operationId"], method.name);
    }
}

#[test]
fn with_failed_storage_there_is_diagnosis_and_reset_only() {
    let house = House::new();
    house.know(|known| {
        known.data = DataState::Failed {
            reason: "The data partition holds no file system.".to_owned(),
        }
    });
    let page = curl(&[&house.url("/")]);
    assert!(page.contains("holds no file system"), "{page}");
    assert!(
        !page.contains("annes-phone"),
        "leases are nobody's business now"
    );
    for path in ["/setup", "/login"] {
        assert!(
            curl(&[&house.url(path)]).contains("location: /\r\n"),
            "{path}"
        );
    }
    let token = form_token(&page);
    let data = format!("form_token={token}&confirm=erase+everything");
    let reset = curl(&["--data", &data, &house.url("/reset")]);
    assert!(reset.contains("made anew"), "{reset}");
    house.know(|known| {
        let call = known
            .calls
            .iter()
            .find(|c| c.method == "system.data.reset")
            .unwrap();
        assert_eq!(call.params["confirm"], "erase everything");
    });
}
