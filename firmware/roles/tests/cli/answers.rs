//! What is printed: for people, for programs, and where no box is.

use super::*;

pub(super) fn a_box_that_is_not_there_is_told() {
    let dir = Workdir::new("cli");
    let out = cli(&dir.path("nothing.sock"), &["status"]);
    assert_eq!(out.code, 1);
    assert!(out.err.contains("no box can be reached"), "{}", out.err);
    assert!(out.out.is_empty());
}

pub(super) fn help_and_usage() {
    let dir = Workdir::new("cli");
    let socket = dir.path("nothing.sock");
    let help = cli(&socket, &["--help"]);
    assert_eq!(help.code, 0);
    for method in lintel_api::METHODS {
        assert!(help.out.contains(&method.name.replace('.', " ")));
    }
    assert!(
        cli(&socket, &["config", "apply", "--help"])
            .out
            .contains("PUT /api/config")
    );
    assert_eq!(cli(&socket, &["frobnicate"]).code, 2);
    assert_eq!(cli(&socket, &["services", "restart"]).code, 2);
}

pub(super) fn status_and_json() {
    let house = House::start();
    let status = house.cli(&["status"]);
    assert_eq!(status.code, 0, "{}", status.err);
    assert!(status.out.contains("attic") && status.out.contains("revision 1 by run"));
    let json: Value = serde_json::from_str(&house.cli(&["--json", "status"]).out).unwrap();
    assert_eq!(json["system"]["hostname"], "attic");
    assert_eq!(json["services"][0]["name"], "controld");
    assert!(json["system"]["memory"]["total_kib"].as_u64().unwrap() > 0);
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    assert!(house.cli(&["leases"]).out.contains("No device"));
    let records = house.cli(&["dns", "records", "list"]);
    assert!(records.out.contains("attic.lan"), "{}", records.out);
}

pub(super) fn json_is_printed_for_failures_too() {
    let dir = Workdir::new("cli");
    let socket = dir.path("nothing.sock");
    let problem = |args: &[&str]| -> (i32, Value) {
        let out = cli(&socket, args);
        (out.code, serde_json::from_str(&out.out).unwrap())
    };
    let (code, away) = problem(&["--json", "status"]);
    assert_eq!((code, &away["type"]), (1, &"unreachable".into()), "{away}");
    let (code, wrong) = problem(&["logs", "nobody", "--json"]);
    assert_eq!((code, &wrong["status"]), (2, &422.into()), "{wrong}");
}

pub(super) fn tables_fit_the_terminal() {
    let house = House::start();
    let reason = "a reason that is long enough to need more room than such a terminal has";
    let file = house.file(&format!("{CONFIG}# changed\n"));
    assert_eq!(
        house
            .cli(&["config", "apply", &file, "--reason", reason])
            .code,
        0
    );
    for columns in [24, 60, 100] {
        let mut pty = house.pty(columns, &["lintel", "config", "revisions"]);
        let shown = pty.expect("REVISION") + &pty.expect("terminal has");
        let lines = shown.lines().map(|line| line.chars().count());
        assert!(
            lines.max().unwrap() <= usize::from(columns),
            "{columns}:\n{shown}"
        );
        pty.end();
    }
    // A program that reads gets each row on a line.
    let piped = house.cli(&["config", "revisions"]).out;
    assert!(piped.contains(reason), "{piped}");
}
