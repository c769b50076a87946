//! `lintel monitor`: the box at a glance, again and again.

use std::ffi::OsString;
use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::time::Duration;

use lexopt::Arg;
use lintel_api::MethodId;
use lintel_api::types::{LogEntry, Status};
use lintel_ipc::webd::Happened;
use lintel_rt::terminal::{self, Keys};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthChar;

use super::args::Globals;
use super::client::{Client, HELLO, Target, listen};
use super::commands::CommandId;
use super::text::clean_lines;
use super::{Failure, mutter, show, upkeep, wrong_use};

/// Between two looks, unless told otherwise: what happens is told, and looked at at once. This is
/// for what changes quietly, such as the memory in use.
const EVERY: Duration = Duration::from_secs(5);
/// Between two tries to listen to a box that is away.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Shortest and longest that may be told, seconds: the box has better things to do, and a day
/// later nobody looks.
const EVERY_S: std::ops::RangeInclusive<u64> = 1..=86_400;
/// How soon a key is heard.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// Events that wait for the next look, which is about all of them.
const EVENTS_MAX: usize = 1;
/// Most log lines asked for; no terminal has more.
const LOG_LINES_MAX: u32 = 100;

pub(super) fn run(rest: &[OsString], globals: &Globals) -> ExitCode {
    let every = match read(rest) {
        Ok(Wish { events: true, .. }) => return event_lines(globals),
        Ok(wish) => wish.every,
        Err(reason) => return wrong_use(CommandId::Monitor, &reason),
    };
    let mut watch = Watch {
        globals,
        client: None,
    };
    // The first look says in plain words why there is none.
    let first = match watch.look() {
        Ok(look) => look,
        Err(failure) => {
            mutter(&failure.text(None));
            return ExitCode::from(failure.exit());
        }
    };
    if globals.json || !stdout().is_terminal() {
        return lines(&mut watch, first, every);
    }
    let events = events(&globals.target);
    let screen = Screen::open();
    let mut keys = Keys::one_by_one();
    screen.draw(&page(&first));
    loop {
        let mut waited = Duration::ZERO;
        // Something changed on the box: that is worth a look at once.
        while waited < every && !events.try_iter().any(|()| true) {
            match keys.next(KEY_WAIT) {
                // q, Escape, Ctrl-C and the end.
                Some(b'q' | b'Q' | 0x1b | terminal::INTERRUPT | terminal::END) => {
                    return ExitCode::SUCCESS;
                }
                Some(_) => break,
                None => waited += KEY_WAIT,
            }
        }
        let text = match watch.look() {
            Ok(look) => page(&look),
            Err(failure) => format!("{}\nTrying again; q ends.\n", failure.text(None)),
        };
        screen.draw(&text);
    }
}

/// Something comes for each event of the box, also when it was away meanwhile.
fn events(target: &Target) -> Receiver<()> {
    let (sender, receiver) = sync_channel(EVENTS_MAX);
    let target = target.clone();
    // It ends with the process, or when nobody listens to it any more.
    std::thread::spawn(move || {
        let mut last = None;
        loop {
            let mut gone = false;
            let seen = last;
            let mut heard = |event: Option<Happened>| {
                last = event.map(|event| event.id).or(last);
                gone = matches!(sender.try_send(()), Err(TrySendError::Disconnected(())));
                !gone
            };
            // Why it ended says the next look.
            let _ = listen(&target, seen, &mut heard);
            if gone {
                return;
            }
            std::thread::sleep(LISTEN_AGAIN);
        }
    });
    receiver
}

/// `--events`: each as a line, until the reader goes away. A box that starts anew is waited for.
fn event_lines(globals: &Globals) -> ExitCode {
    let mut last = None;
    let mut answered = false;
    loop {
        let mut closed = false;
        let seen = last;
        let mut heard = |event: Option<Happened>| {
            answered = true;
            let text = match event {
                Some(event) => {
                    last = Some(event.id);
                    match event.topic.as_str() {
                        HELLO => String::new(),
                        _ => event_text(&event, globals.json),
                    }
                }
                None => {
                    last = None;
                    mutter("some events are not known any more\n");
                    String::new()
                }
            };
            let mut stdout = stdout();
            let written = stdout.write_all(text.as_bytes());
            closed = written.and_then(|()| stdout.flush()).is_err();
            !closed
        };
        let ended = listen(&globals.target, seen, &mut heard);
        match ended {
            _ if closed => return ExitCode::SUCCESS,
            Err(error) if !answered => {
                mutter(&format!("lintel: {error}\n"));
                return ExitCode::FAILURE;
            }
            _ => std::thread::sleep(LISTEN_AGAIN),
        }
    }
}

fn event_text(event: &Happened, json: bool) -> String {
    match serde_json::from_value(event.data.clone()) {
        Ok(entry) if !json => upkeep::event_line(&entry),
        _ => format!("{}\n", event.data),
    }
}

/// For programs: the status as one line of JSON each time.
fn lines(watch: &mut Watch<'_>, first: Look, every: Duration) -> ExitCode {
    let mut look = first;
    let events = events(&watch.globals.target);
    loop {
        let text = if watch.globals.json {
            format!("{}\n", look.status)
        } else {
            page(&look) + "\n"
        };
        let mut stdout = stdout();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        if written.is_err() {
            // A reader that closed the pipe has what it wanted.
            return ExitCode::SUCCESS;
        }
        if events.recv_timeout(every) == Err(RecvTimeoutError::Disconnected) {
            std::thread::sleep(every);
        }
        look = match watch.look() {
            Ok(look) => look,
            Err(failure) => {
                mutter(&failure.text(None));
                return ExitCode::from(failure.exit());
            }
        };
    }
}

/// What the box said.
struct Look {
    status: Value,
    logs: Vec<LogEntry>,
}

struct Watch<'g> {
    globals: &'g Globals,
    client: Option<Client>,
}

impl Watch<'_> {
    fn look(&mut self) -> Result<Look, Failure> {
        let status = self.call(MethodId::Status, &json!({}))?;
        let params = json!({"name": "all", "lines": LOG_LINES_MAX});
        let logs = match self.globals.json {
            true => Value::Null,
            false => self.call(MethodId::LogsServices, &params)?,
        };
        Ok(Look {
            status,
            logs: serde_json::from_value(logs).unwrap_or_default(),
        })
    }

    fn call(&mut self, id: MethodId, params: &Value) -> Result<Value, Failure> {
        let method = lintel_api::by_id(id);
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.globals.target).map_err(Failure::Unreachable)?,
        };
        let answer = client.call(method, params).map_err(Failure::Unreachable)?;
        self.client = Some(client);
        answer.map_err(Failure::Refused)
    }
}

/// The status, then as many of the newest log lines as there is room for.
fn page(look: &Look) -> String {
    let known = serde_json::from_value::<Status>(look.status.clone()).is_ok();
    let mut text = match known {
        true => show::text(MethodId::Status, &look.status, &Value::Null),
        false => format!("{:#}\n", look.status),
    };
    let size = terminal::size(stdout());
    let rows = size.map_or(usize::MAX, |size| size.rows);
    let room = rows.saturating_sub(text.lines().count() + 3);
    if size.is_some() && room > 0 && !look.logs.is_empty() {
        text.push('\n');
        let newest = look.logs.len().saturating_sub(room);
        text.extend(look.logs.iter().skip(newest).map(show::log_line));
    }
    text
}

/// The terminal's other screen, until dropped: what stood there before comes back.
struct Screen;

impl Screen {
    fn open() -> Self {
        Self::write("\x1b[?1049h\x1b[?25l");
        Self
    }

    /// Shows a text from the top, cut to the size of the screen; the last line says how to end.
    fn draw(&self, text: &str) {
        let size = terminal::size(stdout());
        let (columns, rows) = size.map_or((80, 24), |size| (size.columns, size.rows));
        let clean = clean_lines(text);
        let lines = clean.lines().take(rows.saturating_sub(1));
        let mut all = String::from("\x1b[H");
        for line in lines {
            all.push_str(cut(line, columns));
            all.push_str("\x1b[K\r\n");
        }
        all.push_str("\x1b[J");
        all.push_str(&format!("\x1b[{rows};1H"));
        all.push_str(cut("q ends, any other key looks at once", columns));
        Self::write(&all);
    }

    fn write(text: &str) {
        let mut stdout = stdout();
        // Nobody is left to see it when the terminal is gone.
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Self::write("\x1b[?25h\x1b[?1049l");
    }
}

/// As much of a line as there are columns.
fn cut(line: &str, columns: usize) -> &str {
    let mut width = 0;
    for (at, c) in line.char_indices() {
        width += c.width().unwrap_or(0);
        if width > columns {
            return &line[..at];
        }
    }
    line
}

/// What was asked for.
struct Wish {
    every: Duration,
    events: bool,
}

fn read(rest: &[OsString]) -> Result<Wish, String> {
    let mut every = EVERY;
    let mut events = false;
    let mut parser = lexopt::Parser::from_args(rest);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Long("every") => {
                let text = parser.value().map_err(|error| error.to_string())?;
                let seconds = text.to_string_lossy().parse::<u64>().ok();
                let seconds = seconds.filter(|seconds| EVERY_S.contains(seconds));
                every = seconds.map(Duration::from_secs).ok_or_else(|| {
                    format!(
                        "--every wants a whole number of seconds from {} to {}",
                        EVERY_S.start(),
                        EVERY_S.end()
                    )
                })?;
            }
            Arg::Long("events") => events = true,
            arg => return Err(arg.unexpected().to_string()),
        }
    }
    Ok(Wish { every, events })
}
