//! Rights, sessions, tokens and the trail, walked along the table.

use lintel_api::{METHODS, Method, MethodId, Scope};
use serde_json::json;

use super::*;

const PASSWORD: &str = "correct horse battery";

fn claimed() -> (Bench, String) {
    let mut bench = Bench::settled();
    let reply = bench.web("auth.setup", json!({"password": PASSWORD}), None);
    (bench, reply.set_session.unwrap())
}

fn kind(reply: &Reply) -> &str {
    match &reply.result {
        Ok(_) => "ok",
        Err(problem) => &problem.kind,
    }
}

/// Parameters that get a call past the first look at them, and change little.
fn params(method: &Method) -> Value {
    match method.id {
        MethodId::ServicesRestart | MethodId::LogsServices => json!({"name": "dnsd"}),
        MethodId::AuthTokensCreate => json!({"name": "walk", "scope": "read"}),
        MethodId::AuthTokensDelete | MethodId::AuthRotateKey => json!({"id": 999}),
        MethodId::AuthSessionsEnd => json!({"id": "nobody"}),
        MethodId::DhcpLeasesDelete => json!({"ip": "192.168.1.9"}),
        MethodId::SystemDataReset => json!({"confirm": "no"}),
        _ => json!({}),
    }
}

fn token(bench: &mut Bench, session: &str, name: &str, scope: &str) -> String {
    let made = bench.web(
        "auth.tokens.create",
        json!({"name": name, "scope": scope, "days": 1}),
        Some(session),
    );
    let made = made.result.unwrap();
    made["token"].as_str().unwrap().to_owned()
}

fn trail(bench: &mut Bench) -> Vec<Value> {
    let page = bench.local("audit.list", json!({})).unwrap();
    page["items"].as_array().unwrap().clone()
}

#[test]
fn each_method_takes_its_right_and_no_less() {
    let (mut bench, session) = claimed();
    for scope in [Scope::Read, Scope::Write, Scope::Admin] {
        let token = token(&mut bench, &session, scope.as_str(), scope.as_str());
        for method in METHODS {
            // Ends what the walk stands on.
            if matches!(method.id, MethodId::AuthLogin) {
                continue;
            }
            bench.asked.clear();
            let id = {
                let caller = Caller {
                    token: Some(token.clone()),
                    ..Caller::default()
                };
                bench.send(Via::Web, method.name, params(method), caller)
            };
            bench.pass_ms(10_000);
            let refused = kind(bench.reply(id)) == "scope";
            let open = matches!(
                method.access,
                lintel_api::Access::Open | lintel_api::Access::Setup
            );
            let enough = open || method.scope().is_some_and(|needed| scope >= needed);
            assert_eq!(refused, !enough, "{} with {}", method.name, scope.as_str());
            if refused {
                assert!(bench.asked.iter().all(|a| *a == InitRequest::Services));
            }
        }
    }
}

#[test]
fn each_method_that_changes_something_leaves_a_line_and_no_other_does() {
    let (mut bench, session) = claimed();
    for method in METHODS {
        let session = match method.id {
            // A session of its own, since it ends with the call.
            MethodId::AuthLogout | MethodId::AuthPasswordChange | MethodId::AuthRefresh => {
                let login = bench.web("auth.login", json!({"password": PASSWORD}), None);
                login.set_session.unwrap()
            }
            _ => session.clone(),
        };
        let before = trail(&mut bench).len();
        let caller = Caller {
            address: Some("192.168.1.7".parse().unwrap()),
            token: Some(session),
            ..Caller::default()
        };
        let id = bench.send(Via::Web, method.name, params(method), caller);
        bench.pass_ms(10_000);
        let outcome = match kind(bench.reply(id)) {
            "ok" => "done".to_owned(),
            problem => problem.to_owned(),
        };
        let after = trail(&mut bench);
        let lines = after.len() - before;
        let quiet = outcome == "not-from-lan";
        assert_eq!(
            lines,
            usize::from(method.changes && !quiet),
            "{}: {outcome}",
            method.name
        );
        if lines == 1 {
            assert_eq!(after[0]["method"], method.name);
            assert_eq!(after[0]["outcome"], outcome, "{}", method.name);
            assert_eq!(after[0]["who"], "owner");
            assert_eq!(after[0]["address"], "192.168.1.7");
        }
    }
}

#[test]
fn the_trail_says_who_from_where_why_and_what_came_of_it() {
    let (mut bench, session) = claimed();
    let token = token(&mut bench, &session, "backup", "write");
    let params = json!({"toml": "# a name\n", "reason": "a name\nfor the disk"});
    let done = bench.web("config.apply", params, Some(&token));
    let revision = done.result.unwrap()["revision"].clone();
    let line = &trail(&mut bench)[0];
    assert_eq!(line["who"], "token backup");
    assert_eq!(line["address"], "192.168.1.50");
    assert_eq!(line["method"], "config.apply");
    assert_eq!(line["reason"], "a namefor the disk");
    assert_eq!(line["revision"], revision);
    let stored = format!("{:?}", bench.core.store.audit(u64::MAX, 100).unwrap());
    assert!(!stored.contains(&token) && !stored.contains(PASSWORD));

    // What ends later: begun, then its end.
    bench.init = false;
    let caller = Caller {
        token: Some(session),
        ..Caller::default()
    };
    bench.send(Via::Web, "system.reboot", json!({}), caller);
    assert_eq!(trail(&mut bench)[0]["outcome"], "begun");
    bench.pass_ms(5_000);
    assert_eq!(trail(&mut bench)[0]["outcome"], "refused");
}

#[test]
fn a_token_is_shown_once_kept_as_a_hash_and_ended() {
    let (mut bench, session) = claimed();
    let token = token(&mut bench, &session, "backup", "read");
    assert!(token.starts_with("lintel_") && token.len() == 7 + 64);
    assert_eq!(kind(&bench.web("status", json!({}), Some(&token))), "ok");
    let list = bench.web("auth.tokens.list", json!({}), Some(&session));
    let list = list.result.unwrap();
    assert_eq!(list["items"][0]["name"], "backup");
    assert_eq!(list["items"][0]["scope"], "read");
    assert!(!list.to_string().contains(&token[7..]));
    let rows = bench.core.store.tokens().unwrap();
    assert_eq!(rows.len(), 1);
    // No token makes another, nor changes the password.
    for (method, params) in [
        (
            "auth.tokens.create",
            json!({"name": "two", "scope": "read"}),
        ),
        (
            "auth.password.change",
            json!({"password": "another one", "current": PASSWORD}),
        ),
    ] {
        let admin = self::token(&mut bench, &session, "admin", "admin");
        assert_eq!(kind(&bench.web(method, params, Some(&admin))), "scope");
    }
    let id = list["items"][0]["id"].clone();
    let ended = bench.web("auth.tokens.delete", json!({"id": id}), Some(&session));
    assert_eq!(kind(&ended), "ok");
    let after = bench.web("status", json!({}), Some(&token));
    assert_eq!(kind(&after), "not-logged-in");
    // A day is over.
    let short = self::token(&mut bench, &session, "short", "read");
    bench.leap_s += 24 * 3600 + 1;
    assert_eq!(kind(&bench.web("health", json!({}), Some(&short))), "ok");
    for n in 3..lintel_store::TOKENS_ENTRIES_MAX {
        self::token(&mut bench, &session, &n.to_string(), "read");
    }
    let params = json!({"name": "more", "scope": "read"});
    let full = bench.web("auth.tokens.create", params, Some(&session));
    assert_eq!(kind(&full), "too-many-tokens");
}

#[test]
fn sessions_are_listed_ended_and_end_with_the_password() {
    let (mut bench, session) = claimed();
    bench.pass_ms(2_000);
    let login = bench.web("auth.login", json!({"password": PASSWORD}), None);
    let other = login.set_session.unwrap();
    let list = bench.web("auth.sessions.list", json!({"limit": 1}), Some(&session));
    let list = list.result.unwrap();
    assert_eq!(list["items"][0]["current"], false);
    assert_eq!(list["items"][0]["address"], "192.168.1.50");
    let params = json!({"cursor": list["next"]});
    let rest = bench.web("auth.sessions.list", params, Some(&session));
    let rest = rest.result.unwrap();
    assert_eq!(rest["items"][0]["current"], true);
    assert!(rest.get("next").is_none());
    assert!(!rest.to_string().contains(&session));
    let params = json!({"id": list["items"][0]["id"]});
    assert_eq!(
        kind(&bench.web("auth.sessions.end", params.clone(), Some(&session))),
        "ok"
    );
    assert_eq!(
        kind(&bench.web("status", json!({}), Some(&other))),
        "not-logged-in"
    );
    let again = bench.web("auth.sessions.end", params, Some(&session));
    assert_eq!(kind(&again), "no-such-session");

    let login = bench.web("auth.login", json!({"password": PASSWORD}), None);
    let other = login.set_session.unwrap();
    let change = |bench: &mut Bench, current: &str| {
        let params = json!({"password": "a new and longer one", "current": current});
        bench.web("auth.password.change", params, Some(&session))
    };
    assert_eq!(kind(&change(&mut bench, "wrong")), "wrong-password");
    let changed = change(&mut bench, PASSWORD);
    let fresh = changed.set_session.unwrap();
    for old in [&session, &other] {
        assert_eq!(
            kind(&bench.web("status", json!({}), Some(old))),
            "not-logged-in"
        );
    }
    assert_eq!(kind(&bench.web("status", json!({}), Some(&fresh))), "ok");
    assert_eq!(bench.core.store.sessions().unwrap().len(), 1);
    let old = bench.web("auth.login", json!({"password": PASSWORD}), None);
    assert_eq!(kind(&old), "wrong-password");
    // Root of the box need not know it.
    bench
        .local("auth.password.change", json!({"password": PASSWORD}))
        .unwrap();
    let login = bench.web("auth.login", json!({"password": PASSWORD}), None);
    assert_eq!(kind(&login), "ok");
}

#[test]
fn a_thousand_wrong_passwords_cost_their_source_alone() {
    let (mut bench, session) = claimed();
    let from = |n: u8| Caller {
        address: Some(IpAddr::from([192, 168, 1, n])),
        link_index: None,
        token: None,
        origin: Origin::Web,
    };
    let before = trail(&mut bench).len();
    let mut counted = BTreeMap::new();
    for n in 0..1000 {
        let params = json!({"password": format!("guess {n}")});
        let id = bench.send(Via::Web, "auth.login", params, from(66));
        *counted.entry(kind(bench.reply(id)).to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counted["wrong-password"], 4);
    assert_eq!(counted["too-many-logins"], 996);
    let lines = trail(&mut bench).len() - before;
    assert_eq!(lines, 1, "no stranger fills the trail");
    // The right one is not looked at either, from there; from elsewhere it is.
    let right = json!({"password": PASSWORD});
    let id = bench.send(Via::Web, "auth.login", right.clone(), from(66));
    assert_eq!(kind(bench.reply(id)), "too-many-logins");
    let id = bench.send(Via::Web, "auth.login", right.clone(), from(50));
    assert_eq!(kind(bench.reply(id)), "ok");
    assert_eq!(kind(&bench.web("status", json!({}), Some(&session))), "ok");
    // And from there again when its wait is over, which is never long.
    bench.pass_ms(60_000);
    let id = bench.send(Via::Web, "auth.login", right, from(66));
    assert_eq!(kind(bench.reply(id)), "ok");
}

#[test]
fn a_refreshed_session_keeps_its_end_and_the_store_knows_it() {
    let (mut bench, session) = claimed();
    let before = bench.core.store.sessions().unwrap();
    bench.pass_ms(5_000);
    let reply = bench.web("auth.refresh", json!({}), Some(&session));
    let next = reply.set_session.clone().unwrap();
    assert_eq!(kind(&reply), "ok");
    let gone = bench.web("status", json!({}), Some(&session));
    assert_eq!(kind(&gone), "not-logged-in");
    assert_eq!(kind(&bench.web("status", json!({}), Some(&next))), "ok");
    let after = bench.core.store.sessions().unwrap();
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].token_sha256, before[0].token_sha256);
    assert_eq!(after[0].created_unix_s, before[0].created_unix_s);
    assert!(after[0].used_unix_s > before[0].used_unix_s);
    let root = bench.local("auth.refresh", json!({})).unwrap_err();
    assert_eq!(root.kind, "no-session");
}

#[test]
fn a_factor_outlives_a_start_and_a_wrong_code_slows_down() {
    let (mut bench, session) = claimed();
    let begun = bench.web("auth.totp", json!({"current": PASSWORD}), Some(&session));
    assert_eq!(begun.result.unwrap()["state"], "begun");
    assert_eq!(bench.core.store.totp().unwrap(), None, "not before a code");
    let code = bench.core.auth.totp_begun().as_ref().unwrap().code(UNIX_S);
    let confirmed = bench.local("auth.totp", json!({ "code": code })).unwrap();
    assert_eq!(confirmed["state"], "on");
    let stored = bench.core.store.totp().unwrap().unwrap();
    let twice = bench.web("auth.totp", json!({"current": PASSWORD}), Some(&session));
    assert_eq!(kind(&twice), "already-on");
    let mut kinds = Vec::new();
    for _ in 0..6 {
        let params = json!({"password": PASSWORD, "code": "000000"});
        kinds.push(kind(&bench.web("auth.login", params, None)).to_owned());
    }
    assert_eq!(kinds.last().map(String::as_str), Some("too-many-logins"));
    assert_eq!(kinds[0], "wrong-code");
    // With the password alone nobody learns more than that a code is wanted.
    bench.pass_ms(120_000);
    let alone = bench.web("auth.login", json!({"password": PASSWORD}), None);
    assert_eq!(kind(&alone), "code-wanted");
    assert!(alone.set_session.is_none());
    let used = crate::controld::totp::Totp::from_stored(&stored).unwrap();
    assert_eq!(used, bench.core.auth.totp().clone().unwrap());
    let off = json!({"current": PASSWORD, "off": true});
    assert_eq!(kind(&bench.web("auth.totp", off, Some(&session))), "ok");
    assert_eq!(bench.core.store.totp().unwrap(), None);
    let login = bench.web("auth.login", json!({"password": PASSWORD}), None);
    assert_eq!(kind(&login), "ok");
}
