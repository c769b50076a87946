//! Backups: what makes them, how they leave the box and come back, and what is refused.

use lintel_api::types::{BackupInfo, ConfigExported, Page};
use lintel_seal::{INTRO, armor, seal};
use serde_json::json;

use super::*;
use crate::controld::sealing::SealDone;

const RECORD: &str =
    "# mine\n[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
const WORDS: &str = "four words are enough";

fn backups(bench: &mut Bench) -> Vec<BackupInfo> {
    let page = bench.local("config.backups", json!({})).unwrap();
    serde_json::from_value::<Page<_>>(page).unwrap().items
}

fn origins(bench: &mut Bench) -> Vec<String> {
    backups(bench).into_iter().map(|info| info.origin).collect()
}

fn export(bench: &mut Bench) -> String {
    let exported = bench.local("config.export", json!({})).unwrap();
    let exported: ConfigExported = serde_json::from_value(exported).unwrap();
    assert!(!exported.sealed);
    exported.content
}

fn call(bench: &mut Bench, method: &str, params: Value) -> u64 {
    bench.send(Via::Control(1), method, params, Caller::default())
}

/// The thread does what waits.
fn work(bench: &mut Bench) {
    for job in std::mem::take(&mut bench.jobs) {
        let done = job.run();
        bench.input(Input::Sealed(done));
    }
}

fn import(bench: &mut Bench, content: &str, passphrase: &str) -> Result<BackupInfo, Problem> {
    let params = json!({ "content": content, "passphrase": passphrase });
    let id = call(bench, "config.import", params);
    work(bench);
    let result = bench.reply(id).result.clone();
    result.map(|value| serde_json::from_value(value).unwrap())
}

/// Sealed at no cost.
fn cheap(text: &str) -> String {
    armor::encode(&seal(text.as_bytes(), WORDS, 1, &[7; 48]))
}

#[test]
fn one_is_made_before_every_change_and_each_day_that_brought_one() {
    let mut bench = Bench::settled();
    assert_eq!(backups(&mut bench), []);
    bench.apply(RECORD).unwrap();
    assert_eq!(origins(&mut bench), ["commit"]);
    // What is there already is not kept twice, and what only waits not at all.
    bench.apply(RECORD).unwrap();
    assert_eq!(origins(&mut bench), ["commit"]);
    bench.pass_ms(901_000);
    assert_eq!(origins(&mut bench), ["schedule", "commit"]);
    bench.pass_ms(3 * 24 * 3_600_000);
    assert_eq!(origins(&mut bench), ["schedule", "commit"]);
    bench
        .local("config.backup", json!({ "reason": "the\nfair" }))
        .unwrap();
    bench.apply("").unwrap();
    assert_eq!(origins(&mut bench), ["asked", "schedule", "commit"]);
    let asked = &backups(&mut bench)[0];
    assert_eq!(
        (asked.reason.as_str(), asked.revision),
        ("thefair", Some(2))
    );
}

#[test]
fn a_change_that_waits_to_be_confirmed_is_no_daily_backup() {
    let mut bench = Bench::settled();
    let params = json!({ "toml": RECORD, "confirm_s": 3600 });
    bench.local("config.commit", params).unwrap();
    bench.pass_ms(1_800_000);
    assert_eq!(origins(&mut bench), ["commit"]);
}

#[test]
fn a_backup_is_put_in_force_by_a_commit_with_plan_and_window() {
    let mut bench = Bench::settled();
    bench.apply(RECORD).unwrap();
    bench.local("config.backup", json!({})).unwrap();
    bench.apply("[lan]\naddress = \"10.9.8.1/24\"\n").unwrap();
    let setup = bench.web("auth.setup", json!({"password": "correct horse"}), None);
    let token = setup.set_session.unwrap();
    let asked = backups(&mut bench)
        .into_iter()
        .find(|b| b.origin == "asked")
        .unwrap();
    let params = json!({ "id": asked.id, "dry_run": true });
    let reply = bench.web("config.restore", params, Some(&token));
    let plan: ConfigApplied = serde_json::from_value(reply.result.unwrap()).unwrap();
    assert_eq!((plan.outcome.as_str(), plan.committed), ("planned", false));
    assert!(plan.confirm.is_some() && !plan.plan.is_empty());
    let reply = bench.web("config.restore", json!({ "id": asked.id }), Some(&token));
    let done: ConfigApplied = serde_json::from_value(reply.result.unwrap()).unwrap();
    assert_eq!(done.confirm.unwrap().seconds_left, 90);
    // The words as they were written.
    assert_eq!(bench.core.active.toml, RECORD);
    assert!(
        bench
            .core
            .active
            .reason
            .starts_with(&format!("backup {} of 2023-", asked.id))
    );
    bench.pass_ms(90_000);
    assert_ne!(bench.core.active.toml, RECORD);
    let unknown = bench
        .local("config.restore", json!({ "id": 999 }))
        .unwrap_err();
    assert_eq!(
        (unknown.status, unknown.kind.as_str()),
        (404, "no-such-backup")
    );
}

#[test]
fn an_export_comes_back_on_another_box_in_the_open_and_sealed() {
    let mut old = Bench::settled();
    old.apply(RECORD).unwrap();
    let text = export(&mut old);
    let params = json!({ "passphrase": WORDS });
    let id = call(&mut old, "config.export", params);
    // The loop goes on meanwhile, and one job is enough at a time.
    assert!(!old.replies.contains_key(&id));
    let busy = old
        .local("config.export", json!({ "passphrase": WORDS }))
        .unwrap_err();
    assert_eq!((busy.status, busy.kind.as_str()), (503, "busy"));
    work(&mut old);
    let sealed: ConfigExported =
        serde_json::from_value(old.reply(id).result.clone().unwrap()).unwrap();
    assert!(sealed.sealed && sealed.file_name == "lintel-lintel-2023-11-14.toml.age");

    for (content, passphrase) in [(&text, ""), (&sealed.content, WORDS)] {
        let mut new = Bench::settled();
        let info = import(&mut new, content, passphrase).unwrap();
        assert_eq!((info.origin.as_str(), info.revision), ("imported", Some(2)));
        // The answer was lost: the same file is the same backup.
        assert_eq!(import(&mut new, content, passphrase).unwrap().id, info.id);
        let done = new
            .local("config.restore", json!({ "id": info.id }))
            .unwrap();
        assert_eq!(
            (&done["outcome"], &done["committed"]),
            (&json!("applied"), &json!(true))
        );
        assert_eq!(new.core.active.toml, RECORD);
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_nothing_changes() {
    let mut bench = Bench::settled();
    bench.apply(RECORD).unwrap();
    let text = export(&mut bench);
    let sealed = cheap(&text);
    let before = backups(&mut bench);
    let newer = text.replace("backup = 1", "backup = 2");
    let config = text.replace("[[dns.records]]", "[[dns.recods]]");
    let other_version = text.replace("# mine", "version = 99");
    let greedy = {
        let file = seal(text.as_bytes(), WORDS, 1, &[7; 48]);
        let at = INTRO.len() + 1 + "-> scrypt ".len() + 23;
        armor::encode(&[&file[..at], b"24", &file[at + 1..]].concat())
    };
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let cases = [
        (String::new(), "", "no-backup"),
        ("[lan]\n".to_owned(), "", "no-backup"),
        (half(&text), "", "damaged-backup"),
        (newer.clone(), "", "newer-backup"),
        (cheap(&newer), WORDS, "newer-backup"),
        (config, "", "invalid-configuration"),
        (other_version, "", "invalid-configuration"),
        (half(&sealed), WORDS, "damaged-backup"),
        (
            sealed.clone(),
            "five words are one more",
            "wrong-passphrase",
        ),
        (sealed.clone(), "", "bad-parameters"),
        (cheap(&half(&text)), WORDS, "damaged-backup"),
        (greedy, WORDS, "too-much-work"),
        ("x".repeat(500_000), "", "bad-parameters"),
        (
            armor::encode(&seal(&[0xff; 9], WORDS, 1, &[7; 48])),
            WORDS,
            "no-backup",
        ),
    ];
    for (content, passphrase, kind) in cases {
        let refused = import(&mut bench, &content, passphrase).unwrap_err();
        let shown: String = content.chars().take(40).collect();
        assert_eq!(
            (refused.status, refused.kind.as_str()),
            (422, kind),
            "{shown}"
        );
    }
    assert_eq!(backups(&mut bench), before);
    assert_eq!(bench.core.active.revision, Some(2));
    for passphrase in ["short", " four words are enough", "four wörds are enough"] {
        let params = json!({ "passphrase": passphrase });
        let refused = bench.local("config.export", params).unwrap_err();
        assert_eq!(refused.errors[0].path, "passphrase");
    }
}

#[test]
fn who_waits_too_long_is_told_and_the_file_is_taken_in_all_the_same() {
    let mut bench = Bench::settled();
    let text = export(&mut bench);
    let params = json!({ "content": cheap(&text), "passphrase": WORDS });
    let id = call(&mut bench, "config.import", params);
    bench.pass_ms(8_000);
    let slow = bench.reply(id).result.clone().unwrap_err();
    assert_eq!((slow.status, slow.kind.as_str()), (503, "under-way"));
    assert_eq!(origins(&mut bench), [""; 0]);
    work(&mut bench);
    assert_eq!(origins(&mut bench), ["imported"]);
    // Without a thread the next caller is not kept waiting, nor the one after it.
    bench.pass_ms(60_000);
    let params = json!({ "content": cheap(&text), "passphrase": WORDS });
    let id = call(&mut bench, "config.import", params);
    bench.jobs.clear();
    bench.input(Input::Sealed(SealDone::NotBegun));
    assert_eq!(bench.reply(id).result.clone().unwrap_err().status, 503);
    assert!(import(&mut bench, &cheap(&text), WORDS).is_ok());
}

#[test]
fn the_same_call_again_waits_for_the_work_and_finds_what_it_brought() {
    let mut bench = Bench::settled();
    let words = json!({ "passphrase": WORDS });
    let first = call(&mut bench, "config.export", words.clone());
    bench.pass_ms(8_000);
    assert_eq!(bench.reply(first).result.clone().unwrap_err().status, 503);
    // Another's work is not this one's, and not begun either.
    let other = json!({ "passphrase": "other words than those" });
    let busy = bench.local("config.export", other).unwrap_err();
    assert_eq!(busy.kind, "busy");
    let second = call(&mut bench, "config.export", words.clone());
    bench.pass_ms(8_000);
    assert_eq!(bench.reply(second).result.clone().unwrap_err().status, 503);
    assert_eq!(bench.jobs.len(), 1, "it is done once");
    work(&mut bench);
    let found = bench.local("config.export", words.clone()).unwrap();
    let found: ConfigExported = serde_json::from_value(found).unwrap();
    assert!(armor::looks_like(&found.content));
    assert!(bench.jobs.is_empty());
    // Once, and not when a minute has gone.
    let again = call(&mut bench, "config.export", words.clone());
    assert_eq!(bench.jobs.len(), 1);
    bench.pass_ms(8_000);
    work(&mut bench);
    assert_eq!(bench.reply(again).result.clone().unwrap_err().status, 503);
    bench.pass_ms(60_000);
    assert!(bench.core.late_seal.is_none());
    call(&mut bench, "config.export", words);
    assert_eq!(bench.jobs.len(), 1);
    work(&mut bench);
    // Of a wrong passphrase the second try tells, too.
    let wrong = json!({ "content": cheap("no backup"), "passphrase": "four words are wrong" });
    let id = call(&mut bench, "config.import", wrong.clone());
    bench.pass_ms(8_000);
    assert_eq!(bench.reply(id).result.clone().unwrap_err().status, 503);
    work(&mut bench);
    let refused = bench.local("config.import", wrong).unwrap_err();
    assert_eq!(refused.kind, "wrong-passphrase");
}

#[test]
fn ports_that_are_not_clear_are_asked_for_by_name() {
    let mut old = Bench::settled();
    let config = "[wan]\nport = \"eth1\"\n[lan]\nports = [\"eth0\"]\n";
    old.apply(config).unwrap();
    let text = export(&mut old);
    let mut new = Bench::new(
        Start {
            board: BoardSpec {
                name: "other".to_owned(),
                ..BoardSpec::default()
            },
            ..start()
        },
        Store::memory().unwrap(),
    );
    new.kernel.state.links = vec![
        port("lan1".parse().unwrap(), 12),
        port("lan2".parse().unwrap(), 13),
        port("lan3".parse().unwrap(), 14),
    ];
    new.join_all();
    let id = import(&mut new, &text, "").unwrap().id;
    let open = new
        .local("config.restore", json!({ "id": id }))
        .unwrap_err();
    assert_eq!((open.status, open.kind.as_str()), (422, "ports-unmatched"));
    let asked: Vec<_> = open
        .errors
        .iter()
        .map(|error| error.path.as_str())
        .collect();
    assert_eq!(asked, ["ports.eth1", "ports.eth0"]);
    let ports = json!({ "eth1": "lan3", "eth0": "nonsense port" });
    let wrong = new
        .local("config.restore", json!({ "id": id, "ports": ports }))
        .unwrap_err();
    assert_eq!(wrong.errors[0].path, "ports.eth0");
    let ports = json!({ "eth1": "lan3", "eth0": "lan1" });
    let done = new
        .local("config.restore", json!({ "id": id, "ports": ports }))
        .unwrap();
    assert_eq!(done["outcome"], "applied");
    let wan = new.status().wan.link.map(|link| link.to_string());
    assert_eq!(wan.as_deref(), Some("lan3"));
}
