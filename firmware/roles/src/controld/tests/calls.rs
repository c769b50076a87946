//! Who may call what.

use lintel_api::{Access, METHODS};
use lintel_ipc::init::InitRequest;
use serde_json::json;

use super::*;

const PASSWORD: &str = "correct horse battery";

fn claim(bench: &mut Bench) -> String {
    let reply = bench.web("auth.setup", json!({"password": PASSWORD}), None);
    assert!(reply.result.is_ok(), "{reply:?}");
    reply.set_session.unwrap()
}

fn kind(reply: &Reply) -> &str {
    match &reply.result {
        Ok(_) => "ok",
        Err(problem) => &problem.kind,
    }
}

#[test]
fn the_first_visit_from_the_lan_sets_the_password_once() {
    let mut bench = Bench::settled();
    let before = bench.web("auth.status", json!({}), None).result.unwrap();
    assert_eq!(before["may_claim"], true);
    let short = bench.web("auth.setup", json!({"password": "short"}), None);
    assert_eq!(kind(&short), "bad-parameters");
    let caller = Caller {
        link_index: Some(3),
        ..Caller::default()
    };
    let id = bench.send(
        Via::Web,
        "auth.setup",
        json!({"password": PASSWORD}),
        caller,
    );
    assert_eq!(kind(bench.reply(id)), "not-from-lan");
    let token = claim(&mut bench);
    let again = bench.web("auth.setup", json!({"password": "another one"}), None);
    assert_eq!(kind(&again), "already-claimed");
    assert_eq!(kind(&bench.web("status", json!({}), Some(&token))), "ok");
    assert_eq!(kind(&bench.web("status", json!({}), None)), "not-logged-in");
    let stored = bench.core.store.password().unwrap().unwrap();
    assert!(stored.starts_with("$argon2id$") && !stored.contains(PASSWORD));
}

#[test]
fn login_and_logout_begin_and_end_a_session() {
    let mut bench = Bench::settled();
    claim(&mut bench);
    let wrong = bench.web("auth.login", json!({"password": "wrong password"}), None);
    assert_eq!(kind(&wrong), "wrong-password");
    let right = bench.web("auth.login", json!({"password": PASSWORD}), None);
    let token = right.set_session.unwrap();
    assert_eq!(kind(&bench.web("status", json!({}), Some(&token))), "ok");
    let out = bench.web("auth.logout", json!({}), Some(&token));
    assert_eq!(out.set_session.as_deref(), Some(""));
    assert_eq!(
        kind(&bench.web("status", json!({}), Some(&token))),
        "not-logged-in"
    );
}

#[test]
fn without_a_session_only_open_methods_answer() {
    let mut bench = Bench::settled();
    claim(&mut bench);
    for method in METHODS {
        let reply = bench.web(method.name, json!({}), None);
        let refused = kind(&reply) == "not-logged-in";
        let guarded = !matches!(method.access, Access::Open | Access::Setup);
        assert_eq!(refused, guarded, "{}", method.name);
    }
    assert!(
        !bench.asked.contains(&InitRequest::Reboot)
            && !bench.asked.contains(&InitRequest::PowerOff)
    );
}

#[test]
fn every_method_answers_root_once() {
    let mut bench = Bench::settled();
    for method in METHODS {
        let id = bench.send(Via::Control(1), method.name, json!({}), Caller::default());
        bench.pass_ms(10_000);
        assert_eq!(
            bench.replies.get(&id).map(Vec::len),
            Some(1),
            "{}",
            method.name
        );
    }
    assert_eq!(
        bench.local("no.such.method", json!({})).unwrap_err().status,
        404
    );
}

#[test]
fn an_init_that_is_silent_costs_a_caller_time_and_nobody_else_anything() {
    let mut bench = Bench::settled();
    bench.init = false;
    let mut calls = Vec::new();
    for _ in 0..100 {
        calls.push(bench.send(
            Via::Control(1),
            "logs.services",
            json!({"name": "all"}),
            Caller::default(),
        ));
    }
    let status = bench.send(Via::Control(2), "status", json!({}), Caller::default());
    bench.pass_ms(4_000);
    for id in calls {
        assert_eq!(bench.reply(id).result.as_ref().unwrap_err().status, 503);
    }
    assert_eq!(bench.replies.get(&status).map(Vec::len), Some(1));
    assert!(bench.core.init_uses.len() <= 1);
}

#[test]
fn with_failed_storage_nobody_claims_the_box_and_the_lan_sees_why() {
    let failed = Start {
        data: DataState::Failed {
            reason: "no such partition".to_owned(),
        },
        ..start()
    };
    let mut bench = Bench::new(failed, Store::memory().unwrap());
    bench.join_all();
    assert!(bench.core.converge.is_settled(), "it routes all the same");
    let setup = bench.web("auth.setup", json!({"password": PASSWORD}), None);
    assert_eq!(kind(&setup), "data-failed");
    let status = bench.web("status", json!({}), None).result.unwrap();
    assert_eq!(status["data"]["reason"], "no such partition");
    assert_eq!(status["config"]["fail_secure"], true);
    assert_eq!(
        kind(&bench.web("config.show", json!({}), None)),
        "not-logged-in"
    );
    let apply = bench.apply("[system]\nhostname = \"x\"\n").unwrap_err();
    assert_eq!(apply.kind, "data-failed");
    // From elsewhere not even that.
    let id = bench.send(Via::Web, "status", json!({}), Caller::default());
    assert_eq!(kind(bench.reply(id)), "not-logged-in");
    assert!(matches!(
        bench.dhcp.last(),
        Some(ToDhcpd::Snapshot { spec, .. }) if !spec.durable
    ));
    // Reset is the way out, and only in so many words.
    let hasty = bench.web("system.data.reset", json!({"confirm": "yes"}), None);
    assert_eq!(kind(&hasty), "bad-parameters");
    let reset = bench.web(
        "system.data.reset",
        json!({"confirm": "erase everything"}),
        None,
    );
    assert_eq!(kind(&reset), "ok");
    assert!(bench.asked.contains(&InitRequest::ResetData));
    bench.input(Input::Data(DataState::Good));
    assert!(bench.restart);
}

#[test]
fn storage_that_fails_later_ends_sessions_and_keeps_the_house_online() {
    let mut bench = Bench::settled();
    let token = claim(&mut bench);
    bench.input(Input::Data(DataState::Failed {
        reason: "EIO".to_owned(),
    }));
    assert_eq!(
        kind(&bench.web("config.show", json!({}), Some(&token))),
        "not-logged-in"
    );
    assert_eq!(
        kind(&bench.web("auth.setup", json!({"password": PASSWORD}), None)),
        "data-failed"
    );
    assert!(bench.core.converge.is_settled());
    assert!(bench.status().wan.link.is_some());
}

#[test]
fn a_database_that_does_not_open_is_failed_storage() {
    let now = Now {
        mono: Instant::from_secs(1),
        unix_s: UNIX_S,
    };
    let broken = Err(lintel_store::StoreError::Damaged {
        what: "page 7".to_owned(),
    });
    let core = Core::new(now, start(), broken, Box::new(CountingRng::default())).unwrap();
    assert!(matches!(&core.facts.data, DataState::Failed { reason } if reason.contains("page 7")));
}

#[test]
fn changes_leave_a_trail_and_strangers_do_not() {
    let mut bench = Bench::settled();
    claim(&mut bench);
    bench.apply("# one\n").unwrap();
    let before = bench.core.store.audit(u64::MAX, 100).unwrap().len();
    assert_eq!(before, 2);
    for _ in 0..50 {
        bench.web("config.apply", json!({"toml": ""}), None);
        bench.web("status", json!({}), None);
    }
    assert_eq!(bench.core.store.audit(u64::MAX, 100).unwrap().len(), before);
    let trail = bench.core.store.audit(u64::MAX, 1).unwrap();
    assert_eq!(
        (trail[0].1.who.as_str(), trail[0].1.method.as_str()),
        ("local", "config.apply")
    );
    assert_eq!(trail[0].1.revision, Some(2));
}

#[test]
fn pages_of_a_list_join_up() {
    let mut bench = Bench::settled();
    for n in 0..7 {
        bench.apply(&format!("# {n}\n")).unwrap();
    }
    let mut numbers = Vec::new();
    let mut cursor = None;
    loop {
        let mut params = json!({"limit": 3});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor;
        }
        let page = bench.local("config.revisions", params).unwrap();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        numbers.extend(items.iter().map(|item| item["revision"].as_u64().unwrap()));
        match page.get("next") {
            Some(next) => cursor = Some(next.clone()),
            None => break,
        }
    }
    assert_eq!(numbers, [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_log_that_is_rotated_too_often_says_when_again() {
    let mut bench = Bench::settled();
    bench.init = false;
    let call = bench.send(
        Via::Control(1),
        "logs.rotate",
        Value::Null,
        Caller::default(),
    );
    let (id, _) = bench.unanswered.pop().unwrap();
    let reply = InitReply::TooSoon { wait_s: 42 };
    bench.input(Input::Init { id, reply });
    let problem = bench.reply(call).result.clone().unwrap_err();
    assert_eq!((problem.status, problem.retry_after_s), (429, Some(42)));
}
