//! Ctrl-C in a terminal, while the command line waits for long work: on the box and from a laptop.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests do IO"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use netns_tests::home::{BASE, Home, PATIENCE};
use netns_tests::{router, until, until_some};
use serde_json::Value;

/// What a terminal makes SIGINT of.
const CTRL_C: &[u8] = b"\x03";

/// A command in a terminal that the program `script` makes.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: PathBuf,
}

impl Terminal {
    /// `place` is a command that runs others where they are to be run.
    fn start(mut place: Command, words: &str, screen: PathBuf) -> Self {
        // A run of tests in the background passes on that it ignores Ctrl-C.
        let words = format!("exec env --default-signal=INT,QUIT {words}");
        let shown = File::create(&screen).unwrap();
        let mut script = place
            .args(["script", "--quiet", "--return", "--flush"])
            .args(["--command", &words, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(shown))
            .spawn()
            .unwrap();
        let keyboard = script.stdin.take().unwrap();
        Self {
            script,
            keyboard,
            screen,
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn shows(&self) -> String {
        fs::read_to_string(&self.screen).unwrap_or_default()
    }

    fn end(&mut self) -> ExitStatus {
        until_some("the command ends", PATIENCE, || {
            self.script.try_wait().unwrap()
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn ctrl_c_ends_the_work_on_the_box_too() {
    let home = Home::claimed(1);
    let host = home.host();
    let token = home.dir.write("token", &home.token("write"));
    let (lintel, socket) = (router::binary(), home.router().dir.path("run/control.sock"));
    let lintel = lintel.display();
    let supervisor = home.router().proc.as_ref().unwrap();
    let newest = || -> Value {
        let list = home.owner().get("/api/tasks").json();
        list.get(0).cloned().unwrap_or_default()
    };

    let here = || Command::new("env");
    let laptop = || host.ns.command(["env"]);
    let places: [(&str, &dyn Fn() -> Command, String, &str); 3] = [
        (
            "on the box",
            &here,
            format!("{lintel} --socket {} support collect", socket.display()),
            "support.collect",
        ),
        (
            "its log",
            &here,
            format!("{lintel} --socket {} logs export", socket.display()),
            "logs.export",
        ),
        (
            "from a laptop",
            &laptop,
            format!(
                "{lintel} --host {BASE} --token-file {} support collect",
                token.display()
            ),
            "support.collect",
        ),
    ];
    for (n, (place, command, words, method)) in places.iter().enumerate() {
        let file = home.dir.path(&format!("file-{n}"));
        let words = format!("{words} --to {}", file.display());
        let before = newest()["id"].clone();
        // The box's log is init's, who says nothing for now: the work has to wait for it.
        supervisor.signal("STOP");
        let mut terminal =
            Terminal::start(command(), &words, home.dir.path(&format!("screen-{n}")));
        let task = until_some("the box is at it", PATIENCE, || {
            let task = newest();
            let begun = task["id"] != before && task["method"] == *method;
            assert!(
                terminal.script.try_wait().unwrap().is_none(),
                "{place}: {}",
                terminal.shows()
            );
            begun.then_some(task)
        });
        assert_eq!(task["state"], "running", "{place}");
        until("the terminal shows how far it is", PATIENCE, || {
            terminal.shows().contains(" %  ")
        });
        terminal.press(CTRL_C);
        let status = terminal.end();
        let task = newest();
        let shown = terminal.shows();
        supervisor.signal("CONT");
        assert_eq!(status.code(), Some(1), "{place}: {shown}");
        assert_eq!(task["state"], "cancelled", "{place}: {task}");
        assert!(
            shown.contains("cancelled: Somebody ended it."),
            "{place}: {shown}"
        );
        assert!(!exists(&file), "{place}");

        // Nothing of it is left in the way: the same again ends well.
        let mut terminal = Terminal::start(command(), &words, home.dir.path(&format!("again-{n}")));
        let status = terminal.end();
        assert_eq!(status.code(), Some(0), "{place}: {}", terminal.shows());
        assert!(exists(&file), "{place}");
        assert_eq!(newest()["state"], "done", "{place}");
    }
}

fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}
