//! Calls on a condition.

use serde_json::json;

use super::*;

fn commit(bench: &mut Bench, params: Value) -> Result<Value, Problem> {
    bench.local("config.commit", params)
}

#[test]
fn a_call_with_a_key_is_done_once_and_answers_the_same() {
    let mut bench = Bench::settled();
    let params = json!({"toml": "# one\n", "idempotency_key": "7f2c"});
    let first = commit(&mut bench, params.clone()).unwrap();
    assert_eq!(first["committed"], true);
    // Somebody else's change stands in between: the answer is that of the first time.
    bench.apply("# two\n").unwrap();
    let trail = |bench: &Bench| bench.core.store.audit(u64::MAX, 100).unwrap().len();
    let before = trail(&bench);
    assert_eq!(commit(&mut bench, params.clone()).unwrap(), first);
    assert_eq!(bench.core.active.toml, "# two\n");
    assert_eq!(trail(&bench), before, "nothing was changed");

    let other = json!({"toml": "# three\n", "idempotency_key": "7f2c"});
    assert_eq!(commit(&mut bench, other).unwrap_err().kind, "key-reused");
    let long = json!({"toml": "# three\n", "idempotency_key": "x".repeat(129)});
    assert_eq!(commit(&mut bench, long).unwrap_err().status, 422);
    // What was refused is tried anew.
    let refused = json!({"toml": "nonsense", "idempotency_key": "8"});
    assert_eq!(commit(&mut bench, refused.clone()).unwrap_err().status, 422);
    assert_eq!(commit(&mut bench, refused).unwrap_err().status, 422);
    // After an hour the key is a new one.
    bench.pass_ms(3_600_001);
    let again = commit(&mut bench, params).unwrap();
    assert_ne!(again["revision"], first["revision"]);
}

#[test]
fn keys_are_bounded_and_belong_to_their_caller() {
    let mut bench = Bench::settled();
    for n in 0..200 {
        let params = json!({"toml": "# one\n", "idempotency_key": n.to_string()});
        commit(&mut bench, params).unwrap();
    }
    let params = json!({"name": "a", "scope": "read", "idempotency_key": "199"});
    // The same key of another method is another key.
    let made = bench.local("auth.tokens.create", params.clone()).unwrap();
    let again = bench.local("auth.tokens.create", params).unwrap();
    assert_eq!(made, again);
    assert_eq!(bench.core.store.tokens().unwrap().len(), 1);
}

#[test]
fn a_change_on_a_condition_is_made_while_it_holds() {
    let mut bench = Bench::settled();
    let with = |tag: &str, n: u8| json!({"toml": format!("# {n}\n"), "if_match": tag});
    let done = commit(&mut bench, with("\"1\"", 1)).unwrap();
    assert_eq!(done["revision"], 2);
    let refused = commit(&mut bench, with("\"1\"", 2)).unwrap_err();
    assert_eq!(
        (refused.status, refused.kind.as_str()),
        (412, "changed-since")
    );
    assert!(refused.detail.contains("In force: 2"), "{}", refused.detail);
    commit(&mut bench, with("2", 3)).unwrap();
    commit(&mut bench, with("*", 4)).unwrap();
    commit(&mut bench, with("\"9\", \"4\"", 5)).unwrap();
    for wrong in ["", "W/\"5\"", "five", "\"4\""] {
        let refused = commit(&mut bench, with(wrong, 6)).unwrap_err();
        assert_eq!(refused.status, 412, "{wrong}");
    }
    assert_eq!(bench.core.active.toml, "# 5\n");
}

#[test]
fn a_patch_changes_what_it_names() {
    let mut bench = Bench::settled();
    let params = json!({"patch": {"lan": {"domain": "home.arpa"}}, "reason": "a name"});
    let done = bench.local("config.patch", params).unwrap();
    assert_eq!(done["committed"], true);
    assert_eq!(bench.core.active.config.lan.domain.as_str(), "home.arpa");
    let shown = bench.local("config.show", json!({})).unwrap();
    assert_eq!(shown["reason"], "a name");
    let away = json!({"patch": {"lan": {"domain": null}}});
    bench.local("config.patch", away).unwrap();
    assert_ne!(bench.core.active.config.lan.domain.as_str(), "home.arpa");
    let wrong = json!({"patch": {"lan": {"colour": 1}}});
    let problem = bench.local("config.patch", wrong).unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.errors[0].path.contains("colour"), "{problem:?}");
}
