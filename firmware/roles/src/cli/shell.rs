//! `lintel shell`: commands at a prompt.
//!
//! Each command runs in a process of its own, as at the prompt of any shell: what ends it, be it
//! Ctrl-C, does not end the shell.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lintel_api::MethodId;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use serde_json::{Value, json};

use super::args::Globals;
use super::client::Client;
use super::commands::CommandId;
use super::{complain, complete, say, wrong_use};

/// Lines remembered: a year of a householder's.
const HISTORY_ENTRIES_MAX: usize = 1000;
/// This binary.
const EXE: &str = "/proc/self/exe";

const HELP: &str = "\
Write a command; Tab completes it. help lists all of them, COMMAND --help tells
a command's parameters, exit or Ctrl-D ends the shell.
";

pub(super) fn run(rest: &[OsString], globals: &Globals) -> ExitCode {
    if let [word, ..] = rest {
        let reason = format!("{:?} is one word too many", word.to_string_lossy());
        return wrong_use(CommandId::Shell, &reason);
    }
    match prompts(globals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("this terminal cannot be used: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn prompts(globals: &Globals) -> Result<(), ReadlineError> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_ENTRIES_MAX)?
        .history_ignore_space(true)
        .build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Words {
        files: FilenameCompleter::new(),
    }));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    let prompt = format!("{}> ", box_name(globals));
    say(HELP);
    loop {
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(words) = shlex::split(&line) else {
            complain("a quote is not closed");
            continue;
        };
        let words = match words.as_slice() {
            [first, rest @ ..] if first == "lintel" => rest,
            words => words,
        };
        let Some(first) = words.first() else { continue };
        if !line.contains("password") && !line.contains("passphrase") {
            editor.add_history_entry(line.as_str())?;
            if let Some(file) = &history {
                // A home that cannot be written to keeps no history.
                let _ = editor.append_history(file);
            }
        }
        match first.as_str() {
            "exit" | "quit" | "logout" => return Ok(()),
            // These belong to the start of a process, or would never come back.
            "role" | "run" | "console" | "shell" => {
                complain(&format!("{first} is no command of this shell"));
            }
            _ => command(globals, words),
        }
    }
}

/// Runs a command to its end. Ctrl-C meanwhile is for the command.
fn command(globals: &Globals, words: &[String]) {
    let interrupt = interrupts();
    // The command inherits this, and begins with `hear_interrupts`.
    let blocked = interrupt.thread_block().is_ok();
    let status = Command::new(EXE)
        .arg0("lintel")
        .args(&globals.written)
        .args(words)
        .status();
    if blocked {
        // What came for the command must not reach us now.
        if let Ok(pending) = SignalFd::with_flags(&interrupt, SfdFlags::SFD_NONBLOCK) {
            while matches!(pending.read_signal(), Ok(Some(_))) {}
        }
        let _ = interrupt.thread_unblock();
    }
    if let Err(error) = status {
        complain(&format!("the command could not be run: {error}"));
    }
}

/// Undoes what a shell around this process did to its own signals.
pub(super) fn hear_interrupts() {
    // Without it Ctrl-C does nothing, and Ctrl-backslash or a hang-up still ends the process.
    let _ = interrupts().thread_unblock();
}

fn interrupts() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set
}

/// What the box calls itself; says so when it does not answer.
fn box_name(globals: &Globals) -> String {
    let method = lintel_api::by_id(MethodId::AuthStatus);
    let asked =
        Client::connect(&globals.target).and_then(|mut client| client.call(method, &json!({})));
    let name = match &asked {
        Ok(Ok(status)) => status.get("hostname").and_then(Value::as_str),
        Ok(Err(_)) => None,
        Err(error) => {
            complain(&error.to_string());
            None
        }
    };
    super::text::clean_lines(name.unwrap_or("lintel"))
}

/// Below the user's home; none on the box's console, which has no home.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let dir = state
        .or(home)
        .filter(|dir| dir.is_absolute())?
        .join("lintel");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

/// Completes words of the table and names of files.
struct Words {
    files: FilenameCompleter,
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(' ').map_or(0, |blank| blank + 1);
        let mut words: Vec<&str> = before.split_whitespace().collect();
        if before.len() == start {
            words.push("");
        }
        if words.first() == Some(&"lintel") {
            words.remove(0);
        }
        let mut found = complete::candidates(&words);
        if words.len() == 1 {
            let own = [("help", "Every command"), ("exit", "End the shell")];
            let own = own
                .into_iter()
                .filter(|(word, _)| word.starts_with(words[0]));
            found
                .words
                .extend(own.map(|(word, about)| (word.to_owned(), about.to_owned())));
        }
        if found.files {
            return self.files.complete_path(line, position);
        }
        let width = found.words.keys().map(String::len).max().unwrap_or(0);
        let pairs = found.words.iter().map(|(word, about)| {
            let display: Cow<'_, str> = match about.as_str() {
                "" => word.into(),
                about => format!("{word:width$}  {about}").into(),
            };
            Pair {
                display: display.into_owned(),
                replacement: format!("{word} "),
            }
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Validator for Words {}

impl Helper for Words {}
