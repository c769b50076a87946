//! The CLI in processes of its own against a real controld, over its socket.
//!
//! The test is its own binary for the supervisor, for controld and for the CLI, so it has no
//! libtest harness. Only controld runs: nothing here touches the network.
#![allow(clippy::unwrap_used, clippy::panic)] // a test
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // of real processes

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lintel_model::RoleName;
use lintel_roles::init::{RunArgs, run};
use lintel_rt::logger;
use lintel_rt::role::RoleContext;
use netns_tests::{until, until_some};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty::Pty;
use serde_json::Value;

/// A loaded machine of two cores does nothing in less.
const PATIENCE: Duration = Duration::from_secs(30);

#[path = "cli/backups.rs"]
mod backups;
#[path = "pty/mod.rs"]
mod pty;

const CONFIG: &str = "[system]\nhostname = \"attic\"\n[wan]\nport = \"eth9\"\n";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    // The CLI starts itself anew, with nothing before its own arguments.
    if std::env::var_os("LINTEL_TEST_CLI").is_some() {
        return lintel_roles::cli::main(&args);
    }
    match args.first().and_then(|first| first.to_str()) {
        Some("role") => {
            logger::install(log::LevelFilter::Debug);
            let role: RoleName = rest[0].to_str().unwrap().parse().unwrap();
            lintel_roles::run(role, RoleContext::from_init().unwrap()).unwrap();
            ExitCode::SUCCESS
        }
        Some("supervise") => supervise(Path::new(&rest[0])),
        Some("cli") => lintel_roles::cli::main(rest),
        filter => all_tests(filter.filter(|arg| !arg.starts_with('-'))),
    }
}

fn supervise(dir: &Path) -> ExitCode {
    let args = RunArgs {
        config: dir.join("config.toml"),
        data: dir.join("data"),
        run_dir: None,
        exe: None,
        roles: Some(vec![RoleName::Controld]),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error}"),
    }
}

fn all_tests(filter: Option<&str>) -> ExitCode {
    let tests: &[(&str, fn())] = &[
        (
            "a_box_that_is_not_there_is_told",
            a_box_that_is_not_there_is_told,
        ),
        ("help_and_usage", help_and_usage),
        ("status_and_json", status_and_json),
        (
            "a_broken_configuration_is_told_whole",
            a_broken_configuration_is_told_whole,
        ),
        (
            "what_is_applied_outlives_a_crash",
            what_is_applied_outlives_a_crash,
        ),
        ("logs_and_services", logs_and_services),
        (
            "the_password_comes_from_standard_input",
            the_password_comes_from_standard_input,
        ),
        (
            "noise_on_the_socket_disturbs_nobody",
            noise_on_the_socket_disturbs_nobody,
        ),
        ("bash_and_zsh_complete", bash_and_zsh_complete),
        ("fish_completes", fish_completes),
        ("tables_fit_the_terminal", tables_fit_the_terminal),
        ("a_batch_stops_or_goes_on", a_batch_stops_or_goes_on),
        ("the_shell_is_a_shell", the_shell_is_a_shell),
        (
            "json_is_printed_for_failures_too",
            json_is_printed_for_failures_too,
        ),
        ("setup_judges_each_answer", setup_judges_each_answer),
        (
            "setup_changes_nothing_before_the_end",
            setup_changes_nothing_before_the_end,
        ),
        ("monitor_shows_what_happens", monitor_shows_what_happens),
        (
            "what_is_exported_opens_with_age",
            backups::what_is_exported_opens_with_age,
        ),
        (
            "what_age_sealed_is_taken_in_and_restored",
            backups::what_age_sealed_is_taken_in_and_restored,
        ),
        (
            "the_password_is_asked_for_in_a_terminal",
            the_password_is_asked_for_in_a_terminal,
        ),
    ];
    let threads: Vec<_> = tests
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)))
        .map(|(name, test)| (name, std::thread::spawn(*test)))
        .collect();
    let mut failed = false;
    for (name, thread) in threads {
        let ok = thread.join().is_ok();
        failed |= !ok;
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn a_box_that_is_not_there_is_told() {
    let dir = Dir::new();
    let out = cli(&dir.0.join("nothing.sock"), &["status"]);
    assert_eq!(out.code, 1);
    assert!(out.err.contains("no box can be reached"), "{}", out.err);
    assert!(out.out.is_empty());
}

fn help_and_usage() {
    let dir = Dir::new();
    let socket = dir.0.join("nothing.sock");
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

fn status_and_json() {
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

fn a_broken_configuration_is_told_whole() {
    let house = House::start();
    let file = house.file("[lan]\nadress = \"x\"\n[dhcp]\nlease_s = \"long\"\n");
    for verb in ["validate", "apply"] {
        let out = house.cli(&["config", verb, &file]);
        assert_eq!(out.code, 2, "{}", out.err);
        assert!(
            out.err.contains(&format!("error: {file}:2: lan.adress: ")),
            "{}",
            out.err
        );
        assert!(
            out.err
                .contains(&format!("error: {file}:4: dhcp.lease_s: ")),
            "{}",
            out.err
        );
        assert!(out.err.contains("hint: "), "{}", out.err);
    }
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    // The same as a tree in JSON.
    let file = house.dir.0.join("new.json");
    std::fs::write(
        &file,
        "{\"lan\": {\"adress\": 1}, \"dhcp\": {\"lease_s\": \"long\"}}",
    )
    .unwrap();
    let out = house.cli(&["config", "validate", file.to_str().unwrap()]);
    assert_eq!(out.code, 2, "{}", out.err);
    assert!(
        out.err.contains("lan.adress: there is no setting"),
        "{}",
        out.err
    );
    assert!(out.err.contains("dhcp.lease_s: "), "{}", out.err);
    std::fs::write(&file, "{\"system\": {\"hostname\": \"attic\"}}").unwrap();
    let out = house.cli(&["config", "validate", file.to_str().unwrap()]);
    assert_eq!(out.code, 0, "{}", out.err);
    let missing = house.cli(&["config", "apply", "/nonexistent/file"]);
    assert_eq!(missing.code, 2);
}

fn what_is_applied_outlives_a_crash() {
    let house = House::start();
    let text = format!("{CONFIG}# and a comment\n");
    let file = house.file(&text);
    let dry = house.cli(&["config", "apply", &file, "--dry-run"]);
    assert!(dry.out.contains("what would happen"), "{}", dry.out);
    assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
    let applied = house.cli(&["config", "apply", &file, "--reason", "for the test"]);
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert!(applied.out.contains("Revision 2"), "{}", applied.out);
    let pid = house.controld();
    kill(pid, Signal::SIGKILL).unwrap();
    until("controld comes back", PATIENCE, || {
        house.cli(&["health"]).code == 0 && house.controld() != pid
    });
    assert_eq!(house.cli(&["config", "show"]).out, text);
    let revisions = house.cli(&["config", "revisions"]).out;
    assert!(
        revisions.contains("2 *") && revisions.contains("for the test"),
        "{revisions}"
    );
    assert_eq!(house.cli(&["config", "show", "revision=1"]).out, CONFIG);
}

fn logs_and_services() {
    let house = House::start();
    let services = house.cli(&["services"]);
    assert!(services.out.contains("controld") && services.out.contains("ready"));
    let logs = house.cli(&["logs", "controld", "-n", "5"]);
    assert_eq!(logs.code, 0, "{}", logs.err);
    assert!(logs.out.lines().count() <= 5 && logs.out.contains("controld"));
    let none = house.cli(&["logs", "nobody"]);
    assert_eq!(none.code, 2, "{}", none.err);
    let away = house.cli(&["dns", "flush"]);
    assert_eq!(away.code, 1);
    assert!(away.err.contains("dnsd is not running"), "{}", away.err);
}

fn the_password_comes_from_standard_input() {
    let house = House::start();
    assert_eq!(house.cli_with(&["auth", "setup"], "short\n").code, 2);
    assert_eq!(
        house
            .cli_with(&["auth", "setup"], "long enough words\n")
            .code,
        0
    );
    let status = house.cli(&["--json", "auth", "status"]).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["claimed"], true);
    assert_eq!(
        house
            .cli_with(&["auth", "setup"], "another password\n")
            .code,
        1
    );
}

/// Unseen, and a new one twice.
fn the_password_is_asked_for_in_a_terminal() {
    let house = House::start();
    for (second, status) in [("long enough wrods", 2), ("long enough words", 0)] {
        let mut pty = house.pty(80, &["lintel", "auth", "setup"]);
        pty.expect("password: ");
        pty.send("long enough words\r");
        let seen = pty.expect("once more: ");
        assert!(!seen.contains("enough"), "{seen}");
        pty.send(&format!("{second}\r"));
        assert_eq!(pty.end(), status);
    }
    // Ctrl-C leaves the terminal with its echo, and a slip is taken back unseen.
    let script = "lintel auth password change; stty -a";
    let mut pty = house.pty(80, &["sh", "-c", script]);
    pty.expect("password: ");
    pty.send("half a pass\x03");
    pty.expect("nothing was changed");
    let modes = pty.expect("echoke");
    assert!(
        modes.contains(" echo ") && modes.contains("isig icanon"),
        "{modes}"
    );
    let mut pty = house.pty(80, &["lintel", "auth", "login"]);
    pty.expect("password: ");
    pty.send("nonsense\x15long enough wo\u{e9}\x7frds\r");
    pty.expect("The password is right.");
    let mut pty = house.pty(80, &["lintel", "auth", "status"]);
    pty.expect("A password is set.");
}

fn noise_on_the_socket_disturbs_nobody() {
    let house = House::start();
    // Ends that say nothing, one that says nonsense, one that never ends its line.
    let mut held: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(house.socket()).unwrap())
        .collect();
    held[0].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    held[0].set_read_timeout(Some(PATIENCE)).unwrap();
    // A close, with or without the kernel's reset for what was left unread.
    let _ = held[0].read_to_end(&mut answer);
    assert!(answer.is_empty());
    let flood = vec![b'x'; 4 << 20];
    held[1].set_write_timeout(Some(PATIENCE)).unwrap();
    assert!(
        held[1].write_all(&flood).is_err(),
        "an endless line is cut off"
    );
    assert_eq!(house.cli(&["health"]).out, "up\n");
    // More than the bound: refused, and room again once they are gone.
    held.extend((0..20).filter_map(|_| UnixStream::connect(house.socket()).ok()));
    drop(held);
    until("the socket serves again", PATIENCE, || {
        house.cli(&["health"]).code == 0
    });
}

/// In a terminal, with the Tab key.
fn bash_and_zsh_complete() {
    for (shell, begin) in [
        (
            &["bash", "--norc", "--noprofile", "-i"][..],
            "source <(lintel completion bash)",
        ),
        (
            &["zsh", "-f", "-i"],
            "autoload -U compinit && compinit -u -D && source <(lintel completion zsh)",
        ),
    ] {
        let dir = Dir::new();
        let path = dir.with_lintel();
        std::fs::write(dir.0.join("new.toml"), "").unwrap();
        let mut pty = Pty::start(100, shell, &[("PATH", &path)]);
        pty.expect("ready> ");
        pty.send(&format!("cd {}\n", dir.0.display()));
        pty.expect("ready> ");
        pty.send(&format!("{begin}; echo done$?\n"));
        pty.expect("done0");
        pty.expect("ready> ");
        // Each word is asked for by its start. The line is echoed in place of being run: on the
        // screen it stands in pieces, as each shell redraws it.
        pty.send("lintel serv\tre\tdn\t\x01echo \n");
        pty.expect("\nlintel services restart dnsd\n");
        pty.send("lintel config app\tnew\t--dr\t\x01echo \n");
        pty.expect("\nlintel config apply new.toml --dry-run\n");
        pty.send("lintel dns \t\t");
        let list = pty.expect("statistics");
        assert!(list.contains("flush") && list.contains("records"), "{list}");
        pty.send("\x15lintel completion f\t | head -1\n");
        pty.expect("# fish completion");
        pty.send("exit\n");
        assert_eq!(pty.end(), 0);
    }
}

fn fish_completes() {
    let dir = Dir::new();
    std::fs::write(dir.0.join("new.toml"), "").unwrap();
    let complete = |line: &str| {
        let script = format!("lintel completion fish | source; complete -C '{line}'");
        let out = Command::new("fish")
            .args(["--no-config", "-c", &script])
            .env("PATH", dir.with_lintel())
            .current_dir(&dir.0)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(
        complete("lintel services re"),
        "restart\tStop and start a role\n"
    );
    assert_eq!(complete("lintel logs dn"), "dnsd\n");
    assert_eq!(complete("lintel config apply ne"), "new.toml\n");
    assert_eq!(
        complete("lintel --sock"),
        "--socket\tthe control socket of a box here (also: LINTEL_SOCKET)\n"
    );
}

fn tables_fit_the_terminal() {
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

fn a_batch_stops_or_goes_on() {
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

fn the_shell_is_a_shell() {
    let house = House::start();
    let state = house.dir.0.join("state");
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

fn json_is_printed_for_failures_too() {
    let dir = Dir::new();
    let socket = dir.0.join("nothing.sock");
    let problem = |args: &[&str]| -> (i32, Value) {
        let out = cli(&socket, args);
        (out.code, serde_json::from_str(&out.out).unwrap())
    };
    let (code, away) = problem(&["--json", "status"]);
    assert_eq!((code, &away["type"]), (1, &"unreachable".into()), "{away}");
    let (code, wrong) = problem(&["logs", "nobody", "--json"]);
    assert_eq!((code, &wrong["status"]), (2, &422.into()), "{wrong}");
}

fn setup_judges_each_answer() {
    let house = House::start();
    let mut pty = house.pty(80, &["lintel", "setup"]);
    pty.expect("password: ");
    pty.send("short\r");
    pty.expect("too short");
    for second in ["other long words", "long enough words"] {
        pty.expect("password: ");
        pty.send("long enough words\r");
        pty.expect("once more: ");
        pty.send(&format!("{second}\r"));
    }
    let seen = pty.expect("none [dhcp] ");
    assert!(!seen.contains("enough"), "a password is not echoed: {seen}");
    // A wrong answer, an explanation, a right answer.
    for (prompt, answer, then) in [
        ("", "pppoe", "write \"dhcp\" or \"none\""),
        ("none [dhcp] ", "none", "household's network?"),
        ("[192.168.1.1/24] ", "192.168.1.0", "first or last address"),
        ("[192.168.1.1/24] ", "10.9.8.1", "names live under?"),
        ("domain [lan] ", "local", "multicast DNS"),
        ("domain [lan] ", "home.arpa", "box called?"),
        ("name [attic] ", "two words", "no host name"),
        ("name [attic] ", "?", "reached as attic.lan"),
        ("name [attic] ", "cellar", "time from?"),
        (
            "[pool.ntp.org] ",
            "192.0.2.999",
            "neither an address nor a name",
        ),
        (
            "[pool.ntp.org] ",
            "192.0.2.1, ntp.example.net",
            "what would happen",
        ),
        ("Do it? [yes] ", "perhaps", "write yes or no"),
        ("Do it? [yes] ", "", "The password is set."),
    ] {
        pty.expect(prompt);
        pty.send(&format!("{answer}\r"));
        pty.expect(then);
    }
    pty.expect("https://10.9.8.1.");
    assert_eq!(pty.end(), 0);
    let shown = house.cli(&["--json", "config", "show"]).out;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let config = &shown["config"];
    assert_eq!(shown["reason"], "lintel setup");
    assert_eq!(config["system"]["hostname"], "cellar");
    assert_eq!(config["wan"]["kind"], "none");
    // What was not asked about stays.
    assert_eq!(config["wan"]["port"], "eth9");
    assert_eq!(config["lan"]["address"], "10.9.8.1/24");
    assert_eq!(config["lan"]["domain"], "home.arpa");
    assert_eq!(config["ntp"]["servers"][0], "192.0.2.1");
    assert_eq!(config["ntp"]["pools"][0], "ntp.example.net");
    let auth: Value = serde_json::from_str(&house.cli(&["--json", "auth", "status"]).out).unwrap();
    assert_eq!(auth["claimed"], true);
}

fn setup_changes_nothing_before_the_end() {
    let house = House::start();
    let password = "long enough words\nlong enough words\n";
    let wrong = "a b\n".repeat(30);
    for (answers, code) in [
        (String::new(), 1),
        (format!("{password}none\n"), 1),
        (format!("{password}{wrong}"), 2),
        (format!("{password}none\n\n\n\n\nno\n"), 1),
    ] {
        let out = house.cli_with(&["setup"], &answers);
        assert_eq!(out.code, code, "{}", out.err);
        assert!(out.err.contains("Nothing was changed"), "{}", out.err);
        assert_eq!(house.cli(&["config", "show"]).out, CONFIG);
        let auth = house.cli(&["--json", "auth", "status"]).out;
        let auth: Value = serde_json::from_str(&auth).unwrap();
        assert_eq!(auth["claimed"], false);
    }
}

fn monitor_shows_what_happens() {
    let house = House::start();
    let mut pty = house.pty(90, &["lintel", "monitor", "--every", "1"]);
    pty.expect("revision 1 by run");
    let file = house.file(&format!("{CONFIG}# watched\n"));
    assert_eq!(house.cli(&["config", "apply", &file]).code, 0);
    pty.expect("revision 2 by");
    pty.expect("q ends");
    pty.send("q");
    assert_eq!(pty.end(), 0);
    let away = cli(&house.dir.0.join("nothing.sock"), &["monitor"]);
    assert_eq!(away.code, 1, "{}", away.err);

    // For programs: a line each time, until the reader has enough.
    let script = "lintel --json monitor --every 1 | head -n 2";
    let mut pty = house.pty(90, &["sh", "-c", script]);
    for _ in 0..2 {
        pty.expect("\"revision\":2");
    }
    assert_eq!(pty.end(), 0);
}

struct Out {
    code: i32,
    out: String,
    err: String,
}

fn cli(socket: &Path, args: &[&str]) -> Out {
    cli_with(socket, args, "")
}

fn cli_with(socket: &Path, args: &[&str], input: &str) -> Out {
    let mut child = Command::new("/proc/self/exe")
        .arg("cli")
        .args(args)
        .env("LINTEL_SOCKET", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Most commands read nothing and may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    Out {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

/// A directory that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lintel-cli-{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Dir {
    /// A search path on which the CLI is found as `lintel`.
    fn with_lintel(&self) -> String {
        use std::os::unix::fs::PermissionsExt;
        let script = self.0.join("lintel");
        if !script.exists() {
            let exe = std::env::current_exe().unwrap();
            let text = format!(
                "#!/bin/sh\nLINTEL_TEST_CLI=1 exec {} \"$@\"\n",
                exe.display()
            );
            std::fs::write(&script, text).unwrap();
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        }
        format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A supervisor with a controld.
struct House {
    process: Child,
    dir: Dir,
}

impl House {
    fn start() -> Self {
        let dir = Dir::new();
        std::fs::write(dir.0.join("config.toml"), CONFIG).unwrap();
        let process = Command::new("/proc/self/exe")
            .args(["supervise".as_ref(), dir.0.as_os_str()])
            .stderr(std::fs::File::create(dir.0.join("log")).unwrap())
            .spawn()
            .unwrap();
        let house = Self { process, dir };
        until("controld answers", PATIENCE, || {
            house.cli(&["health"]).code == 0
        });
        house
    }

    fn socket(&self) -> PathBuf {
        self.dir.0.join("data/run/control.sock")
    }

    fn file(&self, text: &str) -> String {
        let path = self.dir.0.join("new.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn cli(&self, args: &[&str]) -> Out {
        cli(&self.socket(), args)
    }

    fn cli_with(&self, args: &[&str], input: &str) -> Out {
        cli_with(&self.socket(), args, input)
    }

    /// A command in a terminal, with `lintel` on the search path.
    fn pty(&self, columns: u16, command: &[&str]) -> Pty {
        let (socket, state) = (self.socket(), self.dir.0.join("state"));
        let env = [
            ("PATH", self.dir.with_lintel()),
            ("LINTEL_SOCKET", socket.to_str().unwrap().to_owned()),
            // The CLI starts itself for each command, so it must begin as one.
            ("LINTEL_TEST_CLI", "1".to_owned()),
            ("XDG_STATE_HOME", state.to_str().unwrap().to_owned()),
        ];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        Pty::start(columns, command, &env)
    }

    /// controld's process number, as the box itself says it.
    fn controld(&self) -> Pid {
        until_some("the box names controld's process", PATIENCE, || {
            let out = self.cli(&["--json", "services"]).out;
            let list: Value = serde_json::from_str(&out).ok()?;
            let pid = list[0]["pid"].as_i64()?;
            Some(Pid::from_raw(i32::try_from(pid).ok()?))
        })
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.0.join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
