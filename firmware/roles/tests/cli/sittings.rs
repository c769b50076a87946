//! Many commands in one process: a batch, the shell, the monitor.

use super::*;

pub(super) fn a_batch_stops_or_goes_on() {
    let house = House::start();
    let objects = |out: &Out| -> Vec<Value> {
        let lines = out.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    // From standard input; dnsd is not there, so its line fails when it is run.
    let text = "# what follows fails at its second line\nhealth\n\ndns flush\nlintel auth status\n";
    let stopped = house.cli_with(&["--json", "batch"], text);
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    let lines = objects(&stopped);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        (&lines[0]["line"], &lines[0]["result"]["status"]),
        (&2.into(), &"up".into())
    );
    assert_eq!(lines[1]["command"], "dns flush");
    assert!(lines[1]["problem"]["title"].is_string(), "{lines:?}");
    assert!(
        stopped.err.contains("stopped at line 4; 1 more"),
        "{}",
        stopped.err
    );

    let went_on = house.cli_with(&["--json", "batch", "--go-on", "--file", "-"], text);
    assert_eq!(went_on.code, 1);
    assert_eq!(objects(&went_on).len(), 3);
    assert!(
        went_on.err.contains("1 of 3 lines failed: 4"),
        "{}",
        went_on.err
    );

    // A line that is wrong stops all before the first is run, unless told to go on.
    let file = house.file(&format!("{CONFIG}# by a batch\n"));
    let apply = format!("config apply '{file}' --reason 'by a batch'");
    for (args, code, applied) in [
        (&["batch", &apply, "frobnicate"][..], 2, false),
        (&["batch", &apply, "health \"x"], 2, false),
        (&["batch", &apply, "auth login"], 2, false),
        (&["batch", &apply, "logs -f"], 2, false),
        (&["batch", "--go-on", &apply, "frobnicate"], 2, true),
    ] {
        let out = house.cli(args);
        assert_eq!(out.code, code, "{args:?}: {}", out.err);
        let shown = house.cli(&["config", "show"]).out;
        assert_eq!(shown.contains("by a batch"), applied, "{args:?}: {shown}");
    }
    // Many changes as one: a single revision, or none.
    let lines = "config patch '{\"lan\": {\"address\": \"10.9.8.1/24\"}}' --reason 'moves'\n\
                 config patch '{\"dhcp\": {\"lease_s\": 7200}}' --reason 'and lasts'\n\
                 config patch '{\"dhcp\": {\"pool\": {\"first\": \"10.9.8.9\", \"last\": \"10.9.8.99\"}}}'\n";
    let wrong = format!("{lines}config patch '{{\"lan\": {{\"adress\": 1}}}}'\n");
    for (input, code) in [
        (format!("{lines}health\n"), 2),
        (wrong, 2),
        (lines.to_owned(), 0),
    ] {
        let shown = house.cli(&["config", "show"]).out;
        assert!(!shown.contains("10.9.8.1"), "{shown}");
        let out = house.cli_with(&["batch", "--as-one"], &input);
        assert_eq!(out.code, code, "{}", out.err);
    }
    let revision = house.cli(&["--json", "config", "show"]).out;
    let revision: Value = serde_json::from_str(&revision).unwrap();
    assert_eq!(
        (&revision["revision"], &revision["reason"]),
        (&3.into(), &"moves; and lasts".into())
    );
    assert_eq!(revision["config"]["dhcp"]["lease_s"], 7200);
    assert_eq!(revision["config"]["dhcp"]["pool"]["last"], "10.9.8.99");
    let both = house.cli(&["batch", "--file", &file, "health"]);
    assert!(
        both.code == 2 && both.err.contains("not both"),
        "{}",
        both.err
    );
    let good = house.cli(&["batch", "health", "config revisions"]);
    assert_eq!(good.code, 0, "{}", good.err);
    assert!(good.out.starts_with("up\nREVISION"), "{}", good.out);
    assert!(good.out.contains("by a batch"), "{}", good.out);
}

pub(super) fn the_shell_is_a_shell() {
    let house = House::start();
    let state = house.dir.path("state");
    let mut pty = house.pty(100, &["lintel", "shell"]);
    pty.expect("attic> ");
    pty.send("serv\tstat\t\r");
    pty.expect("controld  ready");
    pty.expect("attic> ");
    // A list, with what each is about.
    pty.send("config \t\t");
    pty.expect("JSON Schema of the configuration");
    pty.send("\x15frobnicate\r");
    pty.expect("there is no command \"frobnicate\"");
    pty.expect("attic> ");
    // What never ends by itself ends with Ctrl-C, and the shell does not.
    pty.send("logs controld -f\r");
    pty.expect("a new certificate");
    pty.send("\x03");
    pty.expect("attic> ");
    pty.send("auth setup password=\"long enough words\"\r");
    pty.expect("password is set");
    pty.expect("attic> ");
    // The arrow key brings the line before the one with the password.
    pty.send("\x1b[A\r");
    pty.expect("a new certificate");
    pty.send("\x03");
    pty.expect("attic> ");
    pty.send("help\r");
    pty.expect("Exit status");
    pty.expect("attic> ");
    pty.send("exit\r");
    assert_eq!(pty.end(), 0);
    let history = std::fs::read_to_string(state.join("lintel/history")).unwrap();
    assert!(history.contains("services status"), "{history}");
    assert!(!history.contains("enough"), "{history}");
}

pub(super) fn monitor_shows_what_happens() {
    let house = House::start();
    let mut pty = house.pty(90, &["lintel", "monitor", "--every", "1"]);
    pty.expect("revision 1 by run");
    let file = house.file(&format!("{CONFIG}# watched\n"));
    assert_eq!(house.cli(&["config", "apply", &file]).code, 0);
    pty.expect("revision 2 by");
    pty.expect("q ends");
    pty.send("q");
    assert_eq!(pty.end(), 0);
    let away = cli(&house.dir.path("nothing.sock"), &["monitor"]);
    assert_eq!(away.code, 1, "{}", away.err);

    // For programs: a line each time, until the reader has enough.
    let script = "lintel --json monitor --every 1 | head -n 2";
    let mut pty = house.pty(90, &["sh", "-c", script]);
    for _ in 0..2 {
        pty.expect("\"revision\":2");
    }
    assert_eq!(pty.end(), 0);
}
