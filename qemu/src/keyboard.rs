//! The machine's keyboard, by QEMU's machine protocol (QMP): a key is down until it is let go, so
//! that a test goes by what the box says and not by how long it takes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// QEMU answers at once, unless the host has no time for it.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// How long a key that is typed is down.
const KEY_MS: u32 = 20;

/// A connection to a QEMU whose keys are pressed.
#[derive(Debug)]
pub struct Keyboard {
    monitor: BufReader<UnixStream>,
}

impl Keyboard {
    /// The keyboard of the QEMU that listens there.
    pub fn of(monitor: &Path) -> Self {
        let stream = UnixStream::connect(monitor).expect("QEMU's monitor");
        stream
            .set_read_timeout(Some(ANSWER_WAIT))
            .expect("a time that is not zero");
        let mut keyboard = Self {
            monitor: BufReader::new(stream),
        };
        keyboard.ask(&json!({ "execute": "qmp_capabilities" }));
        keyboard
    }

    /// Presses a key, named as QEMU's `QKeyCode`.
    pub fn press(&mut self, key: &str) {
        self.turn(key, true);
    }

    /// Lets it go.
    pub fn release(&mut self, key: &str) {
        self.turn(key, false);
    }

    /// Types a line: small letters, digits, blanks, `-` and `=`.
    pub fn type_line(&mut self, line: &str) {
        for at in 0..line.len() {
            self.tap(match line.get(at..=at).expect("ASCII") {
                " " => "spc",
                "-" => "minus",
                "=" => "equal",
                key => key,
            });
        }
        self.tap("ret");
    }

    /// One key after the other: QEMU keeps each until those before it are up again.
    fn tap(&mut self, key: &str) {
        let keys = json!([{ "type": "qcode", "data": key }]);
        let arguments = json!({ "keys": keys, "hold-time": KEY_MS });
        self.ask(&json!({ "execute": "send-key", "arguments": arguments }));
    }

    fn turn(&mut self, key: &str, down: bool) {
        let key = json!({ "type": "qcode", "data": key });
        let event = json!({ "type": "key", "data": { "down": down, "key": key } });
        let arguments = json!({ "events": [event] });
        self.ask(&json!({ "execute": "input-send-event", "arguments": arguments }));
    }

    /// Waits for the answer; the greeting and events come between.
    fn ask(&mut self, command: &Value) {
        writeln!(self.monitor.get_mut(), "{command}").expect("QEMU reads its monitor");
        loop {
            let mut line = String::new();
            let octets = self.monitor.read_line(&mut line).expect("QEMU answers");
            assert!(octets > 0, "QEMU ended before it answered {command}");
            let answer: Value = serde_json::from_str(&line).expect("QMP is JSON");
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                return;
            }
        }
    }
}
