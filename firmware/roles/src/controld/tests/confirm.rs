//! Changes that wait to be confirmed, and networks that are left.

use lintel_api::types::PendingConfirm;
use lintel_model::facts::NoticeCode;
use lintel_store::RevisionState;
use serde_json::json;

use super::leases::binding;
use super::snapshots::Dir;
use super::*;

const MOVED: &str = "[lan]\naddress = \"10.9.8.1/24\"\n";

/// A box with an owner who is logged in.
fn owned() -> (Bench, String) {
    let mut bench = Bench::settled();
    let reply = bench.web("auth.setup", json!({"password": "correct horse"}), None);
    (bench, reply.set_session.unwrap())
}

fn commit(bench: &mut Bench, token: &str, toml: &str) -> ConfigApplied {
    let reply = bench.web("config.commit", json!({"toml": toml}), Some(token));
    serde_json::from_value(reply.result.unwrap()).unwrap()
}

fn pending(bench: &mut Bench) -> Option<PendingConfirm> {
    bench.status().config.pending
}

fn state(bench: &Bench, number: u64) -> RevisionState {
    let revision = bench.core.store.revision(number).unwrap();
    revision.unwrap().head.state
}

fn lan(bench: &Bench) -> Vec<String> {
    let mine = bench.kernel.state.addresses.iter();
    mine.filter(|address| address.link.as_str() == "br-lan")
        .map(|address| address.address.to_string())
        .collect()
}

/// Where the pages are served.
fn pages(bench: &Bench) -> Vec<String> {
    let links = bench.core.resolved.web.links.iter();
    links.map(|link| link.address.to_string()).collect()
}

/// A device that has an address from the box.
fn device(bench: &mut Bench, n: u8) {
    let binding = binding(n, Some("laptop"));
    bench.input(Input::Dhcpd(vec![super::leases::bind(1, binding)]));
}

#[test]
fn a_change_that_may_cut_its_author_off_comes_back_by_itself() {
    let (mut bench, token) = owned();
    let answer = commit(&mut bench, &token, MOVED);
    assert_eq!(
        (answer.outcome.as_str(), answer.committed),
        ("applied", true)
    );
    let confirm = answer.confirm.unwrap();
    assert_eq!((confirm.revision, confirm.seconds_left), (2, 90));
    assert_eq!(confirm.address, Some(Ipv4Addr::new(10, 9, 8, 1)));
    assert_eq!(state(&bench, 2), RevisionState::Pending);
    assert_eq!(lan(&bench), ["10.9.8.1/24", "192.168.1.1/24"]);
    // The commit's own answer goes out from the old one.
    assert_eq!(pages(&bench), ["10.9.8.1", "192.168.1.1"]);
    bench.pass_ms(89_000);
    assert_eq!(pending(&mut bench).unwrap().seconds_left, 1);
    assert!(pending(&mut bench).unwrap().token.is_none());
    bench.pass_ms(1_000);
    assert!(pending(&mut bench).is_none());
    assert_eq!(state(&bench, 2), RevisionState::Reverted);
    assert_eq!(lan(&bench), ["192.168.1.1/24"]);
    assert_eq!(pages(&bench), ["192.168.1.1"]);
    assert!(
        bench
            .core
            .own_notices
            .contains_key(&NoticeCode::NotConfirmed)
    );
    assert_eq!(bench.status().config.revision, Some(1));
}

#[test]
fn a_confirmed_change_stays() {
    let (mut bench, token) = owned();
    commit(&mut bench, &token, MOVED);
    let wrong = bench.web("config.confirm", json!({"revision": 1}), Some(&token));
    assert_eq!(wrong.result.unwrap_err().kind, "other-revision");
    let done = bench.web("config.confirm", json!({"revision": 2}), Some(&token));
    assert!(done.result.is_ok());
    bench.pass_ms(600_000);
    assert_eq!(state(&bench, 2), RevisionState::Applied);
    assert_eq!(lan(&bench), ["10.9.8.1/24"]);
    let again = bench.web("config.confirm", json!({}), Some(&token));
    assert_eq!(again.result.unwrap_err().kind, "nothing-pending");
}

#[test]
fn what_cuts_nobody_off_needs_no_confirmation_unless_it_is_asked_for() {
    let (mut bench, token) = owned();
    let record = "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
    assert_eq!(commit(&mut bench, &token, record).confirm, None);
    assert_eq!(state(&bench, 2), RevisionState::Applied);
    let params = json!({"toml": "", "confirm_s": 30});
    let reply = bench.web("config.commit", params, Some(&token));
    let answer: ConfigApplied = serde_json::from_value(reply.result.unwrap()).unwrap();
    assert_eq!(answer.confirm.unwrap().seconds_left, 30);
    bench.pass_ms(30_000);
    assert_eq!(state(&bench, 3), RevisionState::Reverted);
    assert_eq!(bench.core.active.revision, Some(2));
    let params = json!({"toml": "", "confirm_s": 5});
    let reply = bench.web("config.commit", params, Some(&token));
    assert_eq!(reply.result.unwrap_err().errors[0].path, "confirm_s");
    // The console is not cut off by any change of the network.
    assert_eq!(bench.apply(MOVED).unwrap().confirm, None);
}

#[test]
fn one_waits_at_a_time_and_others_are_told_for_how_long() {
    let (mut bench, token) = owned();
    commit(&mut bench, &token, MOVED);
    bench.pass_ms(30_000);
    let refused = bench.apply("[lan]\ndomain = \"home\"\n").unwrap_err();
    assert_eq!(
        (refused.status, refused.kind.as_str()),
        (409, "confirm-pending")
    );
    assert!(refused.detail.contains("60 s"), "{}", refused.detail);
    let answer = bench.local("config.rollback", json!({})).unwrap();
    assert_eq!(answer["outcome"], "reverted");
    assert_eq!(answer["revision"], 1);
    assert_eq!(state(&bench, 2), RevisionState::Reverted);
    assert_eq!(
        bench.apply("[lan]\ndomain = \"home\"\n").unwrap().revision,
        Some(3)
    );
}

#[test]
fn a_start_in_the_window_takes_the_revision_before() {
    let directory = Dir::new();
    {
        let mut bench = directory.bench();
        let params = json!({"toml": MOVED, "confirm_s": 60});
        let answer = bench.local("config.commit", params).unwrap();
        assert_eq!(answer["outcome"], "applied");
    }
    let mut bench = directory.bench();
    assert_eq!(bench.core.active.revision, Some(1));
    assert_eq!(state(&bench, 2), RevisionState::Reverted);
    assert!(
        bench
            .core
            .own_notices
            .contains_key(&NoticeCode::NotConfirmed)
    );
    assert!(lan(&bench).contains(&"192.168.1.1/24".to_owned()));
    bench.pass_ms(1_000);
    assert_eq!(lan(&bench), ["192.168.1.1/24"]);
}

#[test]
fn the_token_of_the_answer_confirms_once_and_only_while_its_session_lasts() {
    let (mut bench, token) = owned();
    let answer = commit(&mut bench, &token, MOVED);
    let key = answer.confirm.unwrap().token.unwrap();
    for wrong in ["", "00", &"0".repeat(64)] {
        let reply = bench.web("config.confirm", json!({"token": wrong}), None);
        assert_eq!(reply.result.unwrap_err().status, 401, "{wrong}");
    }
    assert!(bench.web("config.confirm", json!({}), None).result.is_err());
    let reply = bench.web("config.confirm", json!({"token": key}), None);
    // A browser has no cookie for the new address yet: it gets a session there.
    let there = reply.set_session.unwrap();
    assert!(reply.result.is_ok());
    assert!(
        bench
            .web("config.show", Value::Null, Some(&there))
            .result
            .is_ok()
    );
    assert_eq!(state(&bench, 2), RevisionState::Applied);
    let again = bench.web("config.confirm", json!({"token": key}), None);
    assert_eq!(again.result.unwrap_err().status, 401);

    let answer = commit(&mut bench, &token, "");
    let key = answer.confirm.unwrap().token.unwrap();
    bench.web("auth.logout", json!({}), Some(&token));
    let reply = bench.web("config.confirm", json!({"token": key}), None);
    assert_eq!(reply.result.unwrap_err().status, 401);
}

#[test]
fn the_network_before_is_served_until_its_last_lease_ends() {
    let (mut bench, token) = owned();
    device(&mut bench, 1);
    commit(&mut bench, &token, MOVED);
    bench.web("config.confirm", json!({}), Some(&token));
    bench.pass_ms(600_000);
    let mut both = lan(&bench);
    both.sort();
    assert_eq!(both, ["10.9.8.1/24", "192.168.1.1/24"]);
    let served = |bench: &Bench, network: &str| {
        let table = format!("{:?}", bench.kernel.state.nft);
        table.contains(&format!("Element {{ key: [{network}]"))
    };
    assert!(served(&bench, "192, 168, 1, 0") && served(&bench, "10, 9, 8, 0"));
    // Its lease of an hour is over.
    bench.pass_ms(3_600_000);
    assert_eq!(lan(&bench), ["10.9.8.1/24"]);
    assert!(!served(&bench, "192, 168, 1, 0"));
}

#[test]
fn a_device_that_has_moved_holds_nothing_back() {
    let (mut bench, token) = owned();
    device(&mut bench, 1);
    commit(&mut bench, &token, MOVED);
    bench.web("config.confirm", json!({}), Some(&token));
    let mut moved = binding(1, Some("laptop"));
    moved.address = Ipv4Addr::new(10, 9, 8, 101);
    bench.input(Input::Dhcpd(vec![super::leases::bind(2, moved)]));
    bench.pass_ms(1_000);
    assert_eq!(lan(&bench), ["10.9.8.1/24"]);
    assert_eq!(bench.core.store.bindings().unwrap().len(), 1);
}

#[test]
fn an_address_that_was_left_in_the_same_network_stays_for_those_who_were_told_of_it() {
    let (mut bench, token) = owned();
    let renewed = |bench: &mut Bench, n: u8| {
        let mut binding = binding(n, Some("laptop"));
        binding.bound_unix_s = bench.now().unix_s;
        bench.input(Input::Dhcpd(vec![super::leases::bind(1, binding)]));
    };
    renewed(&mut bench, 1);
    renewed(&mut bench, 2);
    bench.pass_ms(10_000);
    let beside = "[lan]\naddress = \"192.168.1.254/24\"\n";
    let answer = commit(&mut bench, &token, beside);
    assert!(answer.confirm.is_some());
    let both = ["192.168.1.1/24", "192.168.1.254/24"];
    assert_eq!(lan(&bench), both);
    assert_eq!(pages(&bench), ["192.168.1.254", "192.168.1.1"]);
    bench.web("config.confirm", json!({}), Some(&token));
    bench.pass_ms(1_000);
    renewed(&mut bench, 1);
    bench.pass_ms(1_000);
    assert_eq!(lan(&bench), both, "the second has not asked again");
    renewed(&mut bench, 2);
    bench.pass_ms(1_000);
    assert_eq!(lan(&bench), ["192.168.1.254/24"]);
    // And back, while the window is open.
    commit(&mut bench, &token, "");
    assert_eq!(lan(&bench), both);
    bench.pass_ms(90_000);
    assert_eq!(lan(&bench)[1], both[1]);
    assert_eq!(pages(&bench)[0], "192.168.1.254");
}

#[test]
fn the_network_that_is_left_outlives_a_start() {
    let directory = Dir::new();
    {
        let mut bench = directory.bench();
        device(&mut bench, 1);
        assert_eq!(bench.apply(MOVED).unwrap().outcome, "applied");
    }
    let mut bench = directory.bench();
    bench.pass_ms(1_000);
    assert_eq!(lan(&bench).len(), 2);
}

#[test]
fn going_back_takes_a_whole_revision_or_one_change_of_it() {
    let mut bench = Bench::settled();
    let home = "[lan]\ndomain = \"home\"\n";
    bench.apply(home).unwrap();
    bench
        .apply(&format!("{home}[system]\nhostname = \"box\"\n"))
        .unwrap();
    let diff = bench.local("config.diff", json!({})).unwrap();
    assert_eq!((&diff["from"], &diff["to"]), (&json!(2), &json!(3)));
    assert_eq!(
        diff["changes"],
        json!([{"path": "system.hostname", "from": "lintel", "to": "box"}])
    );
    // The second change goes, the third stays.
    bench.local("config.rollback", json!({"undo": 2})).unwrap();
    let config = &bench.core.active.config;
    assert_eq!(config.lan.domain.as_str(), "lan");
    assert_eq!(config.system.hostname.as_str(), "box");
    let again = bench.local("config.rollback", json!({"undo": 2}));
    assert_eq!(again.unwrap_err().kind, "cannot-undo");
    bench
        .local("config.rollback", json!({"revision": 2}))
        .unwrap();
    assert_eq!(bench.core.active.toml, home);
    assert_eq!(bench.core.active.revision, Some(5));
    assert_eq!(bench.core.active.reason, "back to revision 2");
    let missing = bench.local("config.rollback", json!({"revision": 77}));
    assert_eq!(missing.unwrap_err().status, 404);
    let shown = bench.local("config.revisions.show", json!({"revision": 2}));
    assert_eq!(shown.unwrap()["toml"], home);
}

#[test]
fn a_plan_says_what_would_change_and_whether_it_must_be_confirmed() {
    let (mut bench, token) = owned();
    let writes = bench.kernel.writes;
    let reply = bench.web("config.plan", json!({"toml": MOVED}), Some(&token));
    let plan: ConfigApplied = serde_json::from_value(reply.result.unwrap()).unwrap();
    assert_eq!(plan.outcome, "planned");
    assert_eq!(plan.changes.len(), 1);
    assert!(
        plan.plan
            .iter()
            .any(|step| step.reason.contains("10.9.8.1"))
    );
    let confirm = plan.confirm.unwrap();
    assert!(confirm.token.is_none() && confirm.seconds_left == 90);
    assert_eq!(bench.kernel.writes, writes);
    assert_eq!(bench.core.active.revision, Some(1));
}
