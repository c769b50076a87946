//! Long work on the running router: a bundle for support that foreign tar unpacks and in which grep
//! finds no secret of the box, and the log, exported and begun anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::path::Path;
use std::process::Command;

use netns_tests::home::{BASE, Home, PATIENCE};
use netns_tests::street::CONFIG;
use netns_tests::{until, until_some};
use serde_json::{Value, json};

const PASSWORD: &str = "planted-seven-green-bottles";

fn home() -> Home {
    let home = Home::new(1);
    home.claim(PASSWORD);
    home
}

fn shell(command: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text + &wrong)
}

/// Everything in the box's database that is worth something to a thief, as it stands there and as
/// other programs might write it.
fn stored_secrets(home: &Home) -> Vec<String> {
    let state = home.router().dir.path("data/state");
    let copy = home.dir.path("copy");
    let command = format!(
        "mkdir -p {0} && cp {1}/lintel.db* {0}/ && sqlite3 {0}/lintel.db \
         \"select value from facts where name in ('password', 'totp', 'tls')\"",
        copy.display(),
        state.display()
    );
    let (done, text) = shell(&command);
    assert!(done, "{text}");
    let mut secrets = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line).unwrap() {
            Value::String(inner) => match serde_json::from_str::<Value>(&inner) {
                Ok(totp) if totp["secret"].is_string() => {
                    secrets.push(totp["secret"].as_str().unwrap().to_owned());
                }
                _ => secrets.push(inner),
            },
            Value::Object(fields) => {
                if let Some(Value::Array(key)) = fields.get("key_der") {
                    let key: Vec<u8> = key.iter().map(|n| n.as_u64().unwrap() as u8).collect();
                    secrets.push(key.iter().map(|b| format!("{b:02x}")).collect());
                    let list: Vec<String> = key.iter().map(u8::to_string).collect();
                    secrets.push(list[..16].join(","));
                } else if let Some(Value::String(key)) = fields.get("key_der") {
                    secrets.push(key.clone());
                } else if let Some(Value::String(secret)) = fields.get("secret") {
                    secrets.push(secret.clone());
                }
            }
            other => panic!("{other}"),
        }
    }
    secrets
}

fn is_in(directory: &Path, text: &str) -> bool {
    let mut grep = Command::new("grep");
    grep.args(["-r", "-q", "-F", "-e", text]).arg(directory);
    match grep.status().unwrap().code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("grep ended with {code:?}"),
    }
}

#[test]
fn a_bundle_unpacks_with_tar_and_holds_no_secret() {
    let home = home();
    let router = home.router();
    let mut secrets = vec![PASSWORD.to_owned(), home.token("read"), home.token("write")];
    let jar = home.sessions[0].cookies();
    secrets.push(jar.split_whitespace().last().unwrap().to_owned());
    // A second factor that counts, a wrong password, comments and reasons.
    let current = json!({ "current": PASSWORD });
    let begun = home.owner().send("POST", "/api/auth/totp", &current);
    println!("a second factor was begun: {}", begun.status);
    if let Some(secret) = begun.value()["secret"].as_str() {
        secrets.push(secret.to_owned());
    }
    let wrong = json!({ "password": "planted-wrong-password" });
    home.owner().send("POST", "/api/auth/login", &wrong);
    secrets.push("planted-wrong-password".to_owned());
    let toml = format!("{CONFIG}\n# planted-comment\n[system]\nhostname = \"attic\"\n");
    let file = home.dir.write("attic.toml", &toml);
    let applied = router.cli(&[
        "config",
        "apply",
        file.to_str().unwrap(),
        "--reason",
        "planted-reason",
    ]);
    assert!(applied.status.success(), "{applied:?}");
    secrets.extend(["planted-comment".to_owned(), "planted-reason".to_owned()]);
    secrets.extend(stored_secrets(&home));
    assert!(secrets.len() >= 9, "{}", secrets.len());

    let bundle = home.dir.path("bundle.tar.gz");
    let collected = router.cli(&["support", "collect", "--to", bundle.to_str().unwrap()]);
    assert!(collected.status.success(), "{collected:?}");
    let tree = home.dir.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let (done, said) = shell(&format!(
        "tar -xzvf {} -C {}",
        bundle.display(),
        tree.display()
    ));
    assert!(done, "{said}");
    let names: Vec<&str> = said.lines().collect();
    println!(
        "{} files, {} octets",
        names.len(),
        bundle.metadata().unwrap().len()
    );
    for name in [
        "config.toml",
        "plan/steps.json",
        "logs/memory.jsonl",
        "system-stats.json",
    ] {
        assert!(
            names.contains(&format!("lintel-support/{name}").as_str()),
            "{said}"
        );
    }
    // The judge sees what is there.
    for there in ["annes-laptop", "attic", "br-lan"] {
        assert!(is_in(&tree, there), "{there}");
    }
    for secret in &secrets {
        assert!(!is_in(&tree, secret), "{secret}");
    }
    // Nor has any of it come into the log on the storage.
    for secret in &secrets[..4] {
        assert!(!is_in(&router.dir.path("data/log"), secret), "{secret}");
    }
}

#[test]
fn over_http_the_bundle_is_a_file_and_needs_the_right() {
    let home = home();
    let (read, write) = (home.token("read"), home.token("write"));
    let collect = |token: &str| {
        let program = home.program(token);
        program.send("POST", "/api/support/collect", &json!({}))
    };
    assert_eq!(collect("nonsense").status, 401);
    assert_eq!(collect(&read).status, 403);
    let begun = collect(&write);
    assert_eq!(begun.status, 200, "{}", begun.body);
    let path = format!("/api/tasks/{}", begun.json()["task"]);
    until_some("the work is done", PATIENCE, || {
        let task = home.program(&read).get(&path).json();
        (task["state"] == "done").then_some(task)
    });
    let file = home.dir.path("bundle");
    let head = home.host().ns.ok([
        "curl",
        "-s",
        "-f",
        "-D",
        "-",
        "-o",
        file.to_str().unwrap(),
        "-H",
        &format!("Authorization: Bearer {read}"),
        &format!("{BASE}{path}/result"),
    ]);
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/gzip"), "{head}");
    assert!(
        head.contains("content-disposition: attachment; filename=\"lintel-support-"),
        "{head}"
    );
    let (done, said) = shell(&format!("tar -tzf {}", file.display()));
    assert!(done && said.contains("lintel-support/README.txt"), "{said}");
    // From afar the command line does the same.
    let audit = home.router().cli_json(&["audit"]);
    let lines = audit["items"].as_array().unwrap().iter();
    let collects =
        lines.filter(|line| line["method"] == "support.collect" && line["outcome"] == "done");
    assert_eq!(collects.count(), 1, "{audit}");
    let deleted = home.program(&write).send("DELETE", &path, &json!({}));
    assert_eq!(deleted.status, 200);
    let result = home.program(&read).get(&format!("{path}/result"));
    assert_eq!(result.status, 404);
}

#[test]
fn the_log_is_searched_exported_and_begun_anew() {
    let home = home();
    let router = home.router();
    let found = router.cli_json(&["logs", "search", "find=IS READY", "name=init"]);
    let items = found["items"].as_array().unwrap();
    assert!(items.len() >= 5, "{found}");
    assert!(items.iter().all(|line| line["role"] == "init"));
    let before = router.cli_json(&["logs", "statistics"]);
    assert!(before["waiting_bytes"].as_u64() > Some(0), "{before}");
    assert_eq!(
        before["written_bytes"], 0,
        "nothing was written so far: {before}"
    );
    assert!(router.cli(&["logs", "rotate"]).status.success());
    let after = router.cli_json(&["logs", "statistics"]);
    let names: Vec<&str> = after["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["log/lintel.log.1"], "{after}");
    let again = router.cli(&["logs", "rotate"]);
    assert!(!again.status.success(), "at once again");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("Try again in "), "{said}");
    // What is on the storage and in memory comes once; jq and zcat judge.
    let file = home.dir.path("log.gz");
    let exported = router.cli(&["logs", "export", "--to", file.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    let command = format!(
        "zcat {} | jq -r '[.unix_ms, .role, .text] | @tsv' | sort | uniq -c | awk '{{print $1}}' | sort -n | uniq -c",
        file.display()
    );
    let (done, counts) = shell(&command);
    assert!(done, "{counts}");
    println!("lines by how often they stand there:\n{counts}");
    let (_, lines) = shell(&format!("zcat {} | jq -s length", file.display()));
    let lines: u64 = lines.trim().parse().unwrap();
    assert!(lines >= after["lines"].as_u64().unwrap(), "{lines} {after}");
    until("the trail has it", PATIENCE, || {
        let audit = router.cli_json(&["audit"]);
        audit["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["method"] == "logs.rotate")
    });
}

#[test]
fn the_pages_lead_to_the_same_files() {
    let home = home();
    let page = |path: &str, more: &[&str]| {
        let url = format!("{BASE}{path}");
        let all = [&["-L", "-H", "Accept: text/html"], more, &[&url]].concat();
        home.sessions[0].curl(home.host(), 20, &all).unwrap().body
    };
    for (from, to, word) in [
        ("/services", "/support", "lintel-support-"),
        ("/logs?level=debug", "/logs", "lintel-logs-"),
    ] {
        let form = page(from, &[]);
        let (_, rest) = form.split_once("name=\"form_token\" value=\"").unwrap();
        let token = format!("form_token={}", rest.split('"').next().unwrap());
        let first = page(to, &["--data-urlencode", &token]);
        let (_, rest) = first.split_once("/api/tasks/").unwrap_or_else(|| {
            // Still at work: the page says which it is, and looks again by itself.
            assert!(first.contains("http-equiv=\"refresh\""), "{first}");
            first.split_once("name=\"id\" value=\"").unwrap()
        });
        let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let done = until_some("the file is there", PATIENCE, || {
            let shown = page(&format!("/work?id={id}"), &[]);
            shown.contains("Download").then_some(shown)
        });
        assert!(done.contains(word), "{done}");
        assert!(!done.contains("http-equiv=\"refresh\""), "{done}");
    }
    let shown = page("/logs?find=is+ready&role=init", &[]);
    assert!(
        shown.contains("netd is ready") && shown.contains("lines in memory"),
        "{shown}"
    );
    let missing = page("/work?id=1", &[]);
    assert!(missing.contains("There is no such task"), "{missing}");
}
