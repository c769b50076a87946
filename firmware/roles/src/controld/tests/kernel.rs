//! The way to the kernel, and which configuration leads it.

use lintel_model::facts::NoticeCode;
use lintel_model::features::Feature;
use lintel_store::{RevisionDraft, RevisionState};
use serde_json::json;

use super::*;

#[test]
fn a_bare_kernel_becomes_a_router_and_then_there_is_peace() {
    let mut bench = Bench::settled();
    assert!(
        bench.kernel.violations.is_empty(),
        "{:?}",
        bench.kernel.violations
    );
    assert!(bench.kernel.state.nft.is_some());
    let plans = bench.plans;
    bench.pass_ms(120_000);
    assert_eq!(bench.plans, plans);
    let status = bench.status();
    assert!(status.kernel.converged);
    assert_eq!(status.wan.link.unwrap().as_str(), "eth1");
    assert_eq!(status.lan.link.unwrap().as_str(), "br-lan");
    assert_eq!(status.config.revision, Some(1));
    let first = bench.core.store.revision(1).unwrap().unwrap();
    assert_eq!(first.head.author, "factory");
    assert_eq!(first.head.state, RevisionState::Applied);
}

#[test]
fn applying_what_is_in_force_writes_nothing_to_the_kernel() {
    let mut bench = Bench::settled();
    let (writes, plans) = (bench.kernel.writes, bench.plans);
    let answer = bench.apply("").unwrap();
    assert_eq!(answer.outcome, "applied");
    assert!(!answer.committed && answer.plan.is_empty());
    // Another text with the same meaning is a revision and still no write.
    let answer = bench.apply("# a comment\n").unwrap();
    assert_eq!((answer.revision, answer.committed), (Some(2), true));
    assert_eq!((bench.kernel.writes, bench.plans), (writes, plans));
}

#[test]
fn a_dry_run_and_a_dns_name_touch_nothing_of_the_kernel() {
    let mut bench = Bench::settled();
    let writes = bench.kernel.writes;
    let toml = "[lan]\naddress = \"10.1.1.1/24\"\n";
    let answer = bench
        .local("config.apply", json!({"toml": toml, "dry_run": true}))
        .unwrap();
    assert_eq!(answer["outcome"], "planned");
    assert!(!answer["plan"].as_array().unwrap().is_empty());
    assert_eq!(bench.core.active.revision, Some(1));
    let record = "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
    let answer = bench.apply(record).unwrap();
    assert_eq!(answer.outcome, "applied");
    assert_eq!(bench.kernel.writes, writes);
    bench.pass_ms(1000);
    assert!(matches!(bench.dns.last(), Some(ToDnsd::Spec(spec)) if spec.records.len() == 1));
}

#[test]
fn a_change_is_answered_when_the_kernel_holds_it() {
    let mut bench = Bench::settled();
    let answer = bench.apply("[lan]\naddress = \"10.1.1.1/24\"\n").unwrap();
    assert_eq!(answer.outcome, "applied");
    assert_eq!(answer.revision, Some(2));
    let text = format!("{:?}", bench.kernel.state.addresses);
    assert!(
        text.contains("10.1.1.1") && !text.contains("192.168.1.1"),
        "{text}"
    );
}

#[test]
fn a_netd_that_starts_anew_finds_nothing_to_do() {
    let mut bench = Bench::settled();
    let (writes, plans) = (bench.kernel.writes, bench.plans);
    bench.input(Input::SessionEnded(RoleName::Netd));
    bench.input(Input::Session(RoleName::Netd));
    bench.pass_ms(5_000);
    assert_eq!((bench.kernel.writes, bench.plans), (writes, plans));
    assert!(bench.core.converge.is_settled());
}

#[test]
fn a_look_without_sysctls_is_no_ground_for_writing() {
    let mut bench = Bench::settled();
    let plans = bench.plans;
    let mut blind = bench.kernel.state.clone();
    blind.sysctls.clear();
    bench.input(Input::SessionEnded(RoleName::Netd));
    // As netd's first look of a session: before it knows what to read.
    let now = bench.now();
    bench.core.handle(now, Input::Session(RoleName::Netd));
    bench
        .core
        .handle(now, Input::Netd(FromNetd::Observed(Box::new(blind))));
    bench.drain();
    bench.pass_ms(5_000);
    assert_eq!(bench.plans, plans);
}

#[test]
fn what_others_change_is_put_right() {
    let mut bench = Bench::settled();
    bench.kernel.state.nft = None;
    let look = bench.look();
    bench.input(Input::Netd(FromNetd::Observed(look)));
    assert!(bench.kernel.state.nft.is_some());
}

#[test]
fn a_revision_that_the_kernel_refuses_gives_way_to_the_one_before() {
    let mut bench = Bench::settled();
    bench.refuse = true;
    let params = json!({"toml": "[lan]\naddress = \"10.1.1.1/24\"\n"});
    let id = bench.send(Via::Control(1), "config.apply", params, Caller::default());
    assert!(!bench.replies.contains_key(&id), "it waits for the kernel");
    assert_eq!(
        bench
            .apply("[lan]\naddress = \"10.2.2.1/24\"\n")
            .unwrap_err()
            .kind,
        "apply-under-way"
    );
    bench.pass_ms(5_000);
    let answer: ConfigApplied =
        serde_json::from_value(bench.reply(id).result.clone().unwrap()).unwrap();
    assert_eq!(answer.outcome, "reverted");
    assert!(answer.error.unwrap().contains("EPERM"));
    bench.refuse = false;
    bench.pass_ms(60_000);
    assert!(bench.core.converge.is_settled());
    assert_eq!(bench.core.active.revision, Some(1));
    let failed = bench.core.store.revision(2).unwrap().unwrap();
    assert_eq!(failed.head.state, RevisionState::Failed);
    assert_eq!(bench.status().lan.address.to_string(), "192.168.1.1/24");
}

#[test]
fn a_broken_text_names_every_problem_and_leaves_the_running_one() {
    let mut bench = Bench::settled();
    let problem = bench
        .apply("[lan]\nadress = \"x\"\n[dhcp]\nlease_s = \"long\"\n")
        .unwrap_err();
    assert_eq!(problem.status, 422);
    assert_eq!(problem.errors.len(), 2);
    assert!(
        problem
            .errors
            .iter()
            .all(|e| e.line.is_some() && !e.path.is_empty())
    );
    assert_eq!(bench.core.active.revision, Some(1));
    assert_eq!(
        bench.apply("[run]\n").unwrap_err().status,
        422,
        "not on a box"
    );
}

/// A box that finds these revisions in its store.
fn stored(revisions: &[&str]) -> Bench {
    let mut store = Store::memory().unwrap();
    for toml in revisions {
        let draft = RevisionDraft {
            toml,
            author: "test",
            reason: "",
            unix_s: 0,
            pending: false,
        };
        store.commit_revision(&draft).unwrap();
    }
    let mut bench = Bench::new(start(), store);
    bench.join_all();
    bench
}

#[test]
fn a_revision_that_no_longer_loads_gives_way_to_the_last_good_one() {
    let mut bench = stored(&["[lan]\naddress = \"10.1.1.1/24\"\n", "[from.the.future]\n"]);
    assert_eq!(bench.core.active.revision, Some(1));
    let status = bench.status();
    assert_eq!(status.lan.address.to_string(), "10.1.1.1/24");
    let codes: Vec<_> = status.notices.iter().map(|n| n.code).collect();
    assert!(codes.contains(&NoticeCode::RevisionFailed), "{codes:?}");
}

#[test]
fn with_no_revision_that_loads_the_box_is_as_from_the_factory() {
    let mut bench = stored(&["[from.the.future]\n"]);
    let status = bench.status();
    assert!(status.config.fail_secure);
    assert_eq!(status.lan.address.to_string(), "192.168.1.1/24");
    // And it can be led out of there.
    assert_eq!(
        bench
            .apply("[system]\nhostname = \"again\"\n")
            .unwrap()
            .revision,
        Some(2)
    );
    assert!(!bench.status().config.fail_secure);
}

#[test]
fn lintel_run_takes_its_file_as_the_configuration() {
    let run = |config: &str| Start {
        run: Some(lintel_ipc::init::RunStart {
            config: config.to_owned(),
            sandbox: false,
        }),
        ..start()
    };
    let first = "[wan]\nport = \"eth1\"\n[run]\ndns_port = 5353\n";
    let mut bench = Bench::new(run(first), Store::memory().unwrap());
    bench.join_all();
    assert_eq!(bench.core.active.toml, first);
    // Ports stand where the sockets are, whatever is applied later.
    bench.apply("[wan]\nport = \"eth1\"\n").unwrap();
    assert_eq!(
        bench.core.active.config.run.as_ref().unwrap().dns_port,
        5353
    );
}

#[test]
fn a_new_start_says_nothing_to_those_who_serve_before_it_knows_the_links() {
    let before = Bench::settled();
    let (dns, wan) = (before.dns.last().unwrap(), before.wan.last().unwrap());
    let (dns, wan) = (format!("{dns:?}"), format!("{wan:?}"));
    let mut again = Bench::new(start(), before.core.store);
    again.kernel = before.kernel;
    for role in [RoleName::Wand, RoleName::Dhcpd, RoleName::Dnsd] {
        again.input(Input::Session(role));
    }
    again.pass_ms(60_000);
    assert!(again.wan.is_empty() && again.dhcp.is_empty() && again.dns.is_empty());
    again.input(Input::Session(RoleName::Netd));
    // The first word of each is the whole snapshot, as it was before.
    assert_eq!(format!("{:?}", again.dns.first().unwrap()), dns);
    assert_eq!(format!("{:?}", again.wan.first().unwrap()), wan);
    assert!(matches!(
        again.dhcp.first(),
        Some(ToDhcpd::Snapshot { spec, .. }) if !spec.subnets.is_empty()
    ));
    assert_eq!(
        (again.dns.len(), again.wan.len(), again.dhcp.len()),
        (1, 1, 1)
    );
}

#[test]
fn what_the_kernel_lacks_is_told_before_anything_is_stored() {
    let mut bench = Bench::new(start(), Store::memory().unwrap());
    bench.refuse = true;
    bench.lacks = vec![Lack {
        feature: Feature::Nat,
        why: "ENOENT: masquerade\n".to_owned(),
    }];
    bench.join_all();
    bench.pass_ms(1_000);
    assert!(!bench.core.converge.is_settled());
    let toml = "[lan]\naddress = \"10.9.8.1/24\"\n[wan]\nkind = \"dhcp\"\n";
    let revisions = bench.core.store.revisions(u64::MAX, 100).unwrap().len();
    for method in ["config.validate", "config.plan", "config.commit"] {
        let params = serde_json::json!({ "toml": toml });
        let refused = bench.local(method, params).unwrap_err();
        assert_eq!(
            (refused.status, refused.kind.as_str()),
            (422, "kernel-cannot"),
            "{method}"
        );
        let [error] = &refused.errors[..] else {
            panic!("{refused:?}");
        };
        assert_eq!((error.path.as_str(), error.line), ("wan.kind", Some(4)));
        assert!(
            error.reason.contains("cannot do that: ENOENT: masquerade"),
            "{error:?}"
        );
        assert!(!error.reason.contains('\n') && error.hint.contains("CONFIG_NFT_MASQ"));
    }
    let after = bench.core.store.revisions(u64::MAX, 100).unwrap().len();
    assert_eq!(after, revisions, "nothing was stored");

    // A kernel that holds what is wanted can do it, whatever was thought before.
    bench.refuse = false;
    bench.pass_ms(120_000);
    assert!(bench.core.converge.is_settled());
    bench
        .local("config.validate", serde_json::json!({ "toml": toml }))
        .unwrap();
}
