//! The command line on a host of the household, which asks the router over HTTP and HTTPS.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use netns_tests::home::{BASE, Home, PATIENCE};
use netns_tests::{router, told, until};
use std::process::Output;

/// A router, claimed on the box itself, and a host with an address.
fn home() -> Home {
    let home = Home::new(1);
    home.router()
        .cli_ok(&["auth", "setup", "password=seven green bottles"]);
    until("the box serves its pages", PATIENCE, || {
        asks(&home, &["--host", BASE, "health"]).status.success()
    });
    home
}

/// The command line on the host.
fn asks(home: &Home, args: &[&str]) -> Output {
    let binary = router::binary();
    let all = [&[binary.to_str().unwrap()], args].concat();
    home.host().ns.run(all)
}

/// A file with a token of this scope.
fn token_file(home: &Home, scope: &str) -> String {
    let create = ["auth", "tokens", "create", "laptop", scope];
    let token = home.router().cli_ok(&create);
    let file = home.dir.write(scope, &token);
    file.to_str().unwrap().to_owned()
}

fn printed(output: &Output) -> (i32, String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_certificate_is_taken_by_its_fingerprint_and_by_nothing_else() {
    let home = home();
    let info = home.router().cli_json(&["system", "info"]);
    let shown = info["tls_sha256"].as_str().unwrap();
    for address in ["192.168.1.1", "https://192.168.1.1/"] {
        let (code, _, words) = printed(&asks(&home, &["--host", address, "health"]));
        assert_eq!(code, 1, "{words}");
        assert!(
            words.contains(shown) && words.contains("--fingerprint"),
            "{words}"
        );
    }
    let other = shown.replace(['A', '1', '7', 'C'], "0");
    let (code, _, words) = printed(&asks(
        &home,
        &["--host", "192.168.1.1", "--fingerprint", &other, "health"],
    ));
    assert!(code == 1 && words.contains("not the one wanted"), "{words}");

    let pinned = ["--host", "192.168.1.1", "--fingerprint", shown];
    let (code, up, words) = printed(&asks(&home, &[&pinned[..], &["health"]].concat()));
    assert_eq!((code, up.as_str()), (0, "up\n"), "{words}");
    let (code, _, words) = printed(&asks(&home, &[&pinned[..], &["leases"]].concat()));
    assert!(code == 1 && words.contains("--token-file"), "{words}");
    // What is no box is told from what refuses.
    let (code, _, words) = printed(&asks(&home, &["--host", "http://192.168.1.1:53", "health"]));
    assert!(code == 1 && words.contains("gave no answer"), "{words}");
}

#[test]
fn from_afar_all_is_as_on_the_box() {
    let home = home();
    let info = home.router().cli_json(&["system", "info"]);
    let shown = info["tls_sha256"].as_str().unwrap().to_owned();
    let token = token_file(&home, "write");
    let secure = [
        "--host",
        "192.168.1.1",
        "--fingerprint",
        &shown,
        "--token-file",
        &token,
    ];
    let plain = ["--host", BASE, "--token-file", &token];
    for args in [
        &["--json", "config", "show"][..],
        &["--json", "config", "schema"],
        &["dns", "records", "list"],
        &["leases"],
        &["batch", "health", "config revisions"],
    ] {
        let here = home.router().cli_ok(args);
        for target in [&secure[..], &plain] {
            let (code, there, words) = printed(&asks(&home, &[target, args].concat()));
            assert_eq!((code, &there), (0, &here), "{args:?}: {words}");
        }
    }

    let shown = home.router().cli_ok(&["config", "show"]);
    let file = home.dir.write("new.toml", &format!("{shown}# from afar\n"));
    let reason = "from \u{e9}lsewhere & back";
    let apply = [
        "config",
        "apply",
        file.to_str().unwrap(),
        "--reason",
        reason,
    ];
    let (code, _, words) = printed(&asks(&home, &[&secure[..], &apply].concat()));
    assert_eq!(code, 0, "{words}");
    let revisions = home.router().cli_ok(&["config", "revisions"]);
    assert!(revisions.contains(reason), "{revisions}");
    // A token may do what its scope allows.
    let reader = token_file(&home, "read");
    let reader = ["--host", BASE, "--token-file", &reader];
    assert!(
        asks(&home, &[&reader[..], &["leases"]].concat())
            .status
            .success()
    );
    let (code, _, words) = printed(&asks(&home, &[&reader[..], &apply].concat()));
    assert_eq!(code, 1, "{words}");
    let broken = home.dir.write("broken.toml", "[lan]\nadress = 1\n");
    let broken = broken.to_str().unwrap();
    let validate = ["config", "validate", broken];
    let (code, _, words) = printed(&asks(&home, &[&plain[..], &validate].concat()));
    assert_eq!(code, 2);
    assert!(
        words.contains(&format!("error: {broken}:2: lan.adress: ")),
        "{words}"
    );
}

#[test]
fn the_questions_follow_a_box_that_moves() {
    let home = home();
    let router = home.router();
    let info = router.cli_json(&["system", "info"]);
    let shown = info["tls_sha256"].as_str().unwrap().to_owned();
    let token = token_file(&home, "write");
    let target = ["--host", "192.168.1.1", "--fingerprint", &shown];
    let answers = home.dir.write("answers", "\n10.9.8.1\n\n\n\nyes\nyes\n");
    let binary = router::binary();
    let mut setup = home.host().ns.command([binary.to_str().unwrap()]);
    setup.args(target).args(["--token-file", &token, "setup"]);
    setup.stdin(std::fs::File::open(answers).unwrap());
    let (code, said, words) = printed(&setup.output().unwrap());
    assert_eq!(code, 0, "{said}{words}");
    for text in [
        "Looking for the box at 10.9.8.1",
        "It answers there",
        "stays",
    ] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let status = told::status(router);
    assert!(status["config"]["pending"].is_null(), "{status}");
    assert_eq!(status["lan"]["address"], "10.9.8.1/24");
}

#[test]
fn a_monitor_from_afar_looks_when_something_happens() {
    let home = home();
    let info = home.router().cli_json(&["system", "info"]);
    let shown = info["tls_sha256"].as_str().unwrap();
    let token = token_file(&home, "read");
    let binary = router::binary();
    let monitor = |target: &[&str], log: &str| {
        let looks = [
            "--json",
            "--token-file",
            &token,
            "monitor",
            "--every",
            "3600",
        ];
        let args = [&[binary.to_str().unwrap()], target, &looks].concat();
        home.host().ns.spawn(&home.dir.path(log), args)
    };
    let monitors = [
        monitor(&["--host", "192.168.1.1", "--fingerprint", shown], "secure"),
        monitor(&["--host", BASE], "plain"),
    ];
    let sees = |revision: u64| {
        let wanted = format!("\"revision\":{revision}");
        monitors
            .iter()
            .all(|monitor| monitor.printed().contains(&wanted))
    };
    until("both have looked", PATIENCE, || sees(1));
    // Nobody is told that they listen: the change is made anew until both have heard of one.
    let text = home.router().cli_ok(&["config", "show"]);
    let mut revision = 1;
    until("both have heard of a change", PATIENCE, || {
        revision += 1;
        let text = format!("{text}# change {revision}\n");
        let file = home.dir.write("watched.toml", &text);
        home.router()
            .cli_ok(&["config", "apply", file.to_str().unwrap()]);
        (2..=revision).any(sees)
    });
}
