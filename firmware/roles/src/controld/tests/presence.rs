//! Resets by somebody at the box, over several starts.

use lintel_model::reset::{Reset, ResetBy, ResetKind};
use serde_json::json;

use super::*;

const PASSWORD: &str = "correct horse battery";

fn wanted(boot: &str, kind: ResetKind, by: ResetBy) -> Start {
    Start {
        boot_id: boot.to_owned(),
        reset: Some(Reset { kind, by }),
        ..start()
    }
}

fn begin(start: Start, store: Store) -> Bench {
    let mut bench = Bench::new(start, store);
    bench.join_all();
    bench
}

fn notice(bench: &mut Bench) -> Option<String> {
    let status = bench.local("status", json!({})).unwrap();
    let notices = status["notices"].as_array().unwrap();
    let found = notices.iter().find(|notice| notice["code"] == "reset")?;
    Some(found["text"].as_str().unwrap().to_owned())
}

fn lines(bench: &mut Bench) -> usize {
    let trail = bench.core.store.audit(u64::MAX, 100).unwrap();
    trail
        .iter()
        .filter(|(_, line)| line.who == "presence")
        .count()
}

/// A box with an owner, a token and a configuration of its own.
fn owned() -> Bench {
    let mut bench = Bench::settled();
    let setup = bench.web("auth.setup", json!({ "password": PASSWORD }), None);
    let session = setup.set_session.unwrap();
    let token = json!({ "name": "script", "scope": "write" });
    let made = bench.web("auth.tokens.create", token, Some(&session));
    assert!(made.result.is_ok());
    let nas = json!({ "name": "nas", "type": "A", "value": "192.168.1.5" });
    bench.local("dns.records.add", nas).unwrap();
    bench
}

fn is_open(bench: &mut Bench) -> bool {
    let status = bench.web("auth.status", json!({}), None).result.unwrap();
    status["claimed"] == false && status["may_claim"] == true
}

#[test]
fn the_argument_takes_the_password_once_and_is_told_while_it_stands() {
    let by = |boot: &str| wanted(boot, ResetKind::Password, ResetBy::Argument);
    let mut bench = begin(by("one"), owned().core.store);
    assert!(is_open(&mut bench));
    assert_eq!(bench.core.store.password().unwrap(), None);
    assert!(bench.core.store.tokens().unwrap().is_empty());
    assert!(bench.core.store.sessions().unwrap().is_empty());
    assert_eq!(bench.core.active.config.dns.records.len(), 1);
    assert!(notice(&mut bench).unwrap().contains("Take that out"));
    assert_eq!(lines(&mut bench), 1);
    let new = json!({ "password": "another good one" });
    assert!(bench.web("auth.setup", new.clone(), None).result.is_ok());
    assert!(notice(&mut bench).is_some(), "the word still stands there");

    // controld starts anew in the same boot, then the box with the same word.
    let mut bench = begin(by("one"), bench.core.store);
    assert!(!is_open(&mut bench));
    let mut bench = begin(by("two"), bench.core.store);
    assert!(!is_open(&mut bench));
    assert!(notice(&mut bench).unwrap().contains("is not done again"));
    assert_eq!(lines(&mut bench), 1);

    // Without it, and with it again: that is a new wish.
    let mut bench = begin(start(), bench.core.store);
    assert_eq!(notice(&mut bench), None);
    let mut bench = begin(by("four"), bench.core.store);
    assert!(is_open(&mut bench));
    assert_eq!(lines(&mut bench), 2);
}

#[test]
fn the_button_takes_the_password_whenever_it_is_held() {
    let mut bench = begin(start(), owned().core.store);
    let reset = Reset {
        kind: ResetKind::Password,
        by: ResetBy::Button,
    };
    for times in 1..3 {
        bench.input(Input::Reset(reset));
        assert!(is_open(&mut bench));
        let status = bench.web("auth.status", json!({}), None).result.unwrap();
        assert!(status["reset"].as_str().unwrap().contains("by the button"));
        let new = json!({ "password": PASSWORD });
        assert!(bench.web("auth.setup", new, None).result.is_ok());
        assert_eq!(notice(&mut bench), None, "the owner was told");
        assert_eq!(lines(&mut bench), times);
    }
}

#[test]
fn what_init_removed_is_told_and_audited_once() {
    for by in [ResetBy::Argument, ResetBy::Button] {
        let order = |boot: &str| wanted(boot, ResetKind::Factory, by);
        let mut bench = begin(order("one"), Store::memory().unwrap());
        assert!(notice(&mut bench).unwrap().contains("was removed"));
        let mut bench = begin(order("one"), bench.core.store);
        assert_eq!(lines(&mut bench), 1, "a start of controld is no reset");
        assert!(is_open(&mut bench));
    }
}

#[test]
fn with_a_failed_disk_nothing_is_reset() {
    let mut bench = owned();
    let store = std::mem::replace(&mut bench.core.store, Store::memory().unwrap());
    let failed = DataState::Failed {
        reason: "no disk".to_owned(),
    };
    let start = Start {
        data: failed,
        ..wanted("one", ResetKind::Password, ResetBy::Argument)
    };
    let mut bench = begin(start, store);
    assert!(
        !is_open(&mut bench),
        "nobody claims a box that stores nothing"
    );
    assert_eq!(lines(&mut bench), 0);
}
