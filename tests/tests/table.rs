//! The one table of methods, walked on the running router: each is reached over REST and from
//! the command line, leaves its line in the trail, and is refused without its right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests do IO"
)]

use lintel_api::{Access, Content, METHODS, Method, MethodId, Place, Scope, Verb};
use netns_tests::caller::Caller;
use netns_tests::home::{BASE, Home, PASSWORD, PATIENCE};
use netns_tests::street::CONFIG;
use netns_tests::until;
use serde_json::{Map, Value, json};

/// What a call came to: the status and the problem's short name.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    status: u16,
    kind: String,
    body: Value,
}

/// Calls a method with these parameters.
fn call(caller: Caller<'_>, method: &Method, params: &Map<String, Value>) -> Came {
    let mut path = method.path.to_owned();
    let mut query = Vec::new();
    let mut body = Map::new();
    for (name, value) in params {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        match method.param(name).unwrap().place {
            Place::Path => path = path.replace(&format!("{{{name}}}"), &text),
            Place::Query => query.push(format!("{name}={text}")),
            Place::Header => {}
            Place::Body => drop(body.insert(name.clone(), value.clone())),
        }
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("{path}{mark}{}", query.join("&"));
    let answer = match method.verb {
        Verb::Get => caller.get(&path),
        verb => caller.send(verb.as_str(), &path, &Value::Object(body)),
    };
    let body = match (method.content(), answer.status) {
        (Content::Text, 200) => Value::from(answer.body),
        _ => answer.value(),
    };
    let kind = if answer.status == 200 {
        "ok"
    } else {
        body["type"].as_str().unwrap()
    };
    Came {
        status: answer.status,
        kind: kind.to_owned(),
        body,
    }
}

/// What the box has written down of calls.
fn trail(home: &Home) -> Vec<Value> {
    let page = home.router().cli_json(&["audit", "--limit", "1000"]);
    page["items"].as_array().unwrap().clone()
}

/// Parameters with which the call does something, or says why not.
fn params(id: MethodId) -> Map<String, Value> {
    let value = match id {
        MethodId::ServicesRestart
        | MethodId::ServicesStart
        | MethodId::ServicesStop
        | MethodId::LogsServices => json!({ "name": "timed" }),
        MethodId::NetworkTest => json!({ "kind": "resolve", "target": "lintel.lan" }),
        MethodId::SystemTimeSet => json!({ "time": "2026-11-22T00:30:00Z" }),
        MethodId::SystemDataReset => json!({ "confirm": "no" }),
        MethodId::TasksShow | MethodId::TasksCancel | MethodId::TasksResult => json!({ "id": 7 }),
        MethodId::ConfigApply | MethodId::ConfigCommit | MethodId::ConfigPlan => {
            json!({ "toml": CONFIG })
        }
        MethodId::ConfigPatch => json!({ "patch": {} }),
        MethodId::ConfigValidate => json!({ "toml": CONFIG }),
        MethodId::ConfigImport => json!({ "content": "no backup" }),
        MethodId::ConfigRestore => json!({ "id": 1 }),
        MethodId::ConfigRevisionsShow => json!({ "revision": 1 }),
        MethodId::DhcpLeasesDelete => json!({ "ip": "192.168.1.9" }),
        MethodId::DhcpReservationsAdd => {
            json!({ "mac": "02:00:00:00:07:01", "address": "192.168.1.7" })
        }
        MethodId::DhcpReservationsDelete => json!({ "mac": "02:00:00:00:07:01" }),
        MethodId::DnsRecordsAdd => json!({ "name": "walk", "type": "A", "value": "192.168.1.8" }),
        MethodId::DnsRecordsDelete => json!({ "name": "walk" }),
        MethodId::AuthRotateKey => json!({ "id": 999 }),
        MethodId::AuthTotp => json!({ "current": PASSWORD }),
        MethodId::AuthSetup | MethodId::AuthLogin => json!({ "password": PASSWORD }),
        MethodId::AuthPasswordChange => json!({ "password": PASSWORD, "current": PASSWORD }),
        MethodId::AuthSessionsEnd => json!({ "id": "nobody" }),
        MethodId::AuthTokensCreate => json!({ "name": "walk", "scope": "read" }),
        MethodId::AuthTokensDelete => json!({ "id": 999 }),
        _ => json!({}),
    };
    value.as_object().unwrap().clone()
}

#[test]
fn every_method_is_reached_audited_and_refused_without_its_right() {
    let home = Home::new(1);
    let setup = METHODS
        .iter()
        .find(|m| m.id == MethodId::AuthSetup)
        .unwrap();
    assert_eq!(call(home.owner(), setup, &params(setup.id)).status, 200);
    let tokens = [Scope::Read, Scope::Write].map(|scope| (scope, home.token(scope.as_str())));
    let (mut changes, mut refused) = (0, 0);

    // Without its right, first: nothing of this leaves a trace but in the trail.
    for method in METHODS {
        let open = matches!(method.access, Access::Open | Access::Setup);
        let nobody = call(home.program("nonsense"), method, &params(method.id));
        assert_eq!(
            nobody.kind == "not-logged-in",
            !open,
            "{}: {nobody:?}",
            method.name
        );
        for (scope, token) in &tokens {
            let enough = open || method.scope().is_some_and(|needed| *scope >= needed);
            if enough {
                continue;
            }
            let came = call(home.program(token), method, &params(method.id));
            assert_eq!(
                (came.status, came.kind.as_str()),
                (403, "scope"),
                "{}",
                method.name
            );
            refused += 1;
        }
    }
    until("nothing was ended", PATIENCE, || {
        home.host().fetch(&format!("{BASE}/health")).is_some()
    });

    let login = METHODS
        .iter()
        .find(|m| m.id == MethodId::AuthLogin)
        .unwrap();
    let mut ended = false;
    // Reboot and power-off are refused here: this is no box.
    for method in METHODS {
        // Over REST, with what the household's browser has.
        if ended {
            assert_eq!(call(home.owner(), login, &params(login.id)).status, 200);
        }
        // Both end the session that the walk goes on with.
        ended = matches!(
            method.id,
            MethodId::AuthLogout | MethodId::AuthPasswordChange
        );
        let before = trail(&home).len();
        let came = call(home.owner(), method, &params(method.id));
        assert!(
            !matches!(came.status, 400 | 405) && came.kind != "unknown-path",
            "{}: {came:?}",
            method.name
        );
        let after = trail(&home);
        let lines = after.len() - before;
        assert_eq!(
            lines,
            usize::from(method.changes),
            "{}: {came:?}",
            method.name
        );
        if method.changes {
            changes += 1;
            assert_eq!(after[0]["method"], method.name);
            assert!(
                after[0]["address"]
                    .as_str()
                    .unwrap()
                    .starts_with("192.168.1.")
            );
            let outcome = after[0]["outcome"].as_str().unwrap();
            let same = if came.status == 200 {
                "done"
            } else {
                &came.kind
            };
            assert_eq!(outcome, same, "{}", method.name);
        }
        // And from the command line, by its words.
        let mut words: Vec<String> = method.name.split('.').map(str::to_owned).collect();
        for (name, value) in params(method.id) {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            words.push(match name.as_str() {
                "toml" => {
                    let file = home.router().dir.write("walk.toml", &text);
                    file.to_str().unwrap().to_owned()
                }
                _ => format!("{name}={text}"),
            });
        }
        words.push("--json".to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = home.router().cli(&words);
        // What the command line itself does not understand ends with this advice.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("try: lintel"), "{words:?}: {said}");
        // A role that was just restarted, webd not among them, is waited for by nobody here.
        let help = home
            .street
            .router
            .cli(&[&words[..method.name.split('.').count()], &["--help"]].concat());
        assert!(help.status.success(), "{}", method.name);
    }
    println!(
        "{} methods walked: {changes} changes in the trail, {refused} refused for their scope",
        METHODS.len()
    );
}
