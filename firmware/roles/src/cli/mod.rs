//! The CLI: words of the table, parameters, one call, and the answer for people or programs.
//!
//! Exit status: 0 done; 1 the box refused, failed or cannot be reached; 2 what was written is
//! wrong (arguments, parameters, a configuration). It holds no state and decides nothing.

mod args;
mod backups;
mod batch;
mod client;
mod commands;
mod complete;
mod help;
mod http;
mod monitor;
mod network;
mod people;
mod setup;
mod shell;
mod show;
mod tasks;
mod text;
mod upkeep;

pub(crate) use backups::origin as backup_origin;
pub(crate) use text::date;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use lintel_api::types::LogEntry;
use lintel_api::{Method, MethodId};
use lintel_ipc::call::Problem;
use lintel_rt::terminal;
use serde_json::{Value, json};

use args::{Globals, Invocation, UsageError};
use client::Client;
use commands::CommandId;

/// What the user wrote is wrong.
const EXIT_USAGE: u8 = 2;
/// Between two looks of `logs -f`.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Runs the CLI with the arguments after the program's name.
pub fn main(args: &[OsString]) -> ExitCode {
    shell::hear_interrupts();
    let invocation = match args::parse(args) {
        Ok(args::Parsed::Call(invocation)) => *invocation,
        Ok(args::Parsed::Command(command, rest, globals)) => {
            return own(command.id, &rest, &globals);
        }
        Ok(args::Parsed::Complete(line)) => {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            say(&complete::candidates(&line).to_lines());
            return ExitCode::SUCCESS;
        }
        Ok(args::Parsed::Help(topic)) => {
            say(&help::text(&topic));
            return ExitCode::SUCCESS;
        }
        Ok(args::Parsed::Version) => {
            say(&format!("lintel {}\n", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        Err(error) => return complain_usage(&error, args),
    };
    match call(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// What arguments lead to, without asking a box: a call's method with its parameters, or a text for
/// the terminal, or why they mean nothing. Files that they name are read.
pub fn understood(args: &[OsString]) -> Result<Understood, String> {
    match args::parse(args) {
        Ok(args::Parsed::Call(call)) => Ok(Understood::Call(call.method, call.params)),
        Ok(args::Parsed::Command(command, ..)) => Ok(Understood::Text(command.name.to_owned())),
        Ok(args::Parsed::Complete(line)) => {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            Ok(Understood::Text(complete::candidates(&line).to_lines()))
        }
        Ok(args::Parsed::Help(topic)) => Ok(Understood::Text(help::text(&topic))),
        Ok(args::Parsed::Version) => Ok(Understood::Text(env!("CARGO_PKG_VERSION").to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

/// What arguments lead to.
#[derive(Debug, Clone)]
pub enum Understood {
    /// A call of the box.
    Call(&'static Method, Value),
    /// What is printed, or the name of a command of the command line itself.
    Text(String),
}

/// A command of the command line itself.
fn own(id: CommandId, rest: &[OsString], globals: &Globals) -> ExitCode {
    match id {
        CommandId::Batch => batch::run(rest, globals),
        CommandId::Completion => completion(rest),
        CommandId::Monitor => monitor::run(rest, globals),
        CommandId::Setup => setup::run(rest, globals),
        CommandId::Shell => shell::run(rest, globals),
    }
}

fn completion(rest: &[OsString]) -> ExitCode {
    let script = match rest {
        [shell] if shell == "bash" => complete::BASH,
        [shell] if shell == "zsh" => complete::ZSH,
        [shell] if shell == "fish" => complete::FISH,
        [] => return wrong_use(CommandId::Completion, "name the shell: bash, zsh or fish"),
        _ => {
            let words: Vec<_> = rest.iter().map(|word| word.to_string_lossy()).collect();
            let reason = format!(
                "there is no completion for {:?}: write bash, zsh or fish",
                words.join(" ")
            );
            return wrong_use(CommandId::Completion, &reason);
        }
    };
    say(script);
    ExitCode::SUCCESS
}

/// A command of our own was written wrongly.
fn wrong_use(id: CommandId, reason: &str) -> ExitCode {
    let name = commands::by_id(id).map_or("", |command| command.name);
    complain(&format!("{reason}\ntry: lintel {name} --help"));
    ExitCode::from(EXIT_USAGE)
}

fn call(mut invocation: Invocation) -> Result<(), ExitCode> {
    let password = invocation.method.param("password").is_some();
    if password && invocation.params.get("password").is_none() {
        // A slip in a new password would lock its owner out.
        let new = invocation.method.id != MethodId::AuthLogin;
        invocation.params["password"] = json!(read_password(new)?);
    }
    backups::ask_passphrase(&mut invocation)?;
    let mut client = Client::connect(&invocation.target).map_err(|error| {
        let failure = Failure::Unreachable(error);
        failed(&invocation, &failure)
    })?;
    match ask(&mut client, &invocation) {
        Ok(value) if invocation.json => say(&pretty(&value)),
        Ok(value) if tasks::makes_file(invocation.method.id) => {
            return tasks::fetch(&mut client, &invocation, &value);
        }
        Ok(value) if invocation.method.id == MethodId::NetworkTest => {
            return tasks::test(&mut client, &invocation, &value);
        }
        Ok(value) => say(&show::text(
            invocation.method.id,
            &value,
            &invocation.params,
        )),
        Err(failure) => return Err(failed(&invocation, &failure)),
    }
    if invocation.follow {
        follow(&mut client, &invocation)?;
    }
    Ok(())
}

/// Why a call has no result.
enum Failure {
    Unreachable(client::ClientError),
    Refused(Problem),
}

impl Failure {
    /// In the shape of REST's problems, whoever it comes from.
    fn to_problem(&self) -> Problem {
        match self {
            Self::Refused(problem) => problem.clone(),
            Self::Unreachable(error) => Problem {
                status: 503,
                kind: "unreachable".to_owned(),
                title: "The box cannot be reached".to_owned(),
                detail: error.to_string(),
                retry_after_s: None,
                errors: Vec::new(),
            },
        }
    }

    /// Tells what the user wrote from what the box could not do.
    fn exit(&self) -> u8 {
        match self {
            Self::Refused(problem) if problem.status == 422 => EXIT_USAGE,
            _ => 1,
        }
    }

    /// As lines for people.
    fn text(&self, file: Option<&str>) -> String {
        match self {
            Self::Unreachable(error) => format!("lintel: {error}\n"),
            Self::Refused(problem) => refusal(problem, file),
        }
    }
}

fn ask(client: &mut Client, invocation: &Invocation) -> Result<Value, Failure> {
    let reply = client.call(invocation.method, &invocation.params);
    reply
        .map_err(Failure::Unreachable)?
        .map_err(Failure::Refused)
}

/// Says why not.
fn failed(invocation: &Invocation, failure: &Failure) -> ExitCode {
    if invocation.json {
        say(&pretty(&json!(failure.to_problem())));
    }
    mutter(&failure.text(invocation.file.as_deref()));
    ExitCode::from(failure.exit())
}

/// Prints new lines as they come, until the box or the reader goes away.
fn follow(client: &mut Client, invocation: &Invocation) -> Result<(), ExitCode> {
    let mut params = invocation.params.clone();
    let mut seen: Option<u64> = None;
    loop {
        params["lines"] = json!(lintel_api::types::LOG_LINES_MAX);
        let reply = client.call(invocation.method, &params);
        let Ok(Ok(value)) = reply else {
            complain("the box went away");
            return Err(ExitCode::FAILURE);
        };
        let lines: Vec<LogEntry> = serde_json::from_value(value).unwrap_or_default();
        let newest = lines.iter().map(|line| line.uptime_ms).max();
        if let Some(seen) = seen {
            let new = lines.iter().filter(|line| line.uptime_ms > seen);
            let text: String = new.map(show::log_line).collect();
            if std::io::stdout().write_all(text.as_bytes()).is_err() {
                return Ok(());
            }
        }
        seen = newest.max(seen);
        // The one wait of the CLI: init has no way to push lines yet.
        std::thread::sleep(FOLLOW_EVERY);
    }
}

fn refusal(problem: &Problem, file: Option<&str>) -> String {
    let mut text = String::new();
    for error in &problem.errors {
        let mut place = file.unwrap_or_default().to_owned();
        if let Some(line) = error.line {
            place.push_str(&format!(":{line}"));
        }
        for part in [&error.path, &error.reason] {
            if !place.is_empty() && !part.is_empty() {
                place.push_str(": ");
            }
            place.push_str(part);
        }
        text.push_str(&format!("error: {place}\n"));
        if !error.hint.is_empty() {
            text.push_str(&format!("  hint: {}\n", error.hint));
        }
    }
    let dot = if problem.title.ends_with('.') {
        ""
    } else {
        "."
    };
    let last = format!("lintel: {}{dot} {}", problem.title, problem.detail);
    text + last.trim_end() + "\n"
}

/// From the terminal, unseen, and twice when it is a new one; else the first line there is.
fn read_password(new: bool) -> Result<String, ExitCode> {
    let password = read_unseen("password: ")?;
    if new && std::io::stdin().is_terminal() && read_unseen("once more: ")? != password {
        complain("the two differ; nothing was changed");
        return Err(ExitCode::from(EXIT_USAGE));
    }
    Ok(password)
}

fn read_unseen(prompt: &str) -> Result<String, ExitCode> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let line = terminal::read_unseen(|| mutter(prompt));
        mutter("\n");
        return line.ok_or_else(|| {
            complain("there is no password; nothing was changed");
            ExitCode::FAILURE
        });
    }
    let mut line = String::new();
    match stdin.read_line(&mut line) {
        Ok(_) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            complain(&format!("the password cannot be read: {error}"));
            Err(ExitCode::FAILURE)
        }
    }
}

fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    text + "\n"
}

fn complain_usage(error: &UsageError, args: &[OsString]) -> ExitCode {
    if args.iter().any(|arg| arg == "--json") {
        say(&pretty(&json!(wrong_line(error))));
    }
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    // Options may stand before the words, and have words of their own: then the general help.
    let about = match lintel_api::by_words(&words) {
        Some((method, _)) => method.name.replace('.', " ") + " ",
        None => String::new(),
    };
    complain(&format!("{error}\ntry: lintel {about}--help"));
    ExitCode::from(EXIT_USAGE)
}

/// What was written is wrong, in the shape of REST's problems.
fn wrong_line(error: &impl std::fmt::Display) -> Problem {
    Problem {
        status: 422,
        kind: "wrong-command".to_owned(),
        title: "The command is written wrongly".to_owned(),
        detail: error.to_string(),
        retry_after_s: None,
        errors: Vec::new(),
    }
}

fn say(text: &str) {
    // A reader that closed the pipe has what it wanted.
    let mut stdout = std::io::stdout();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

fn complain(text: &str) {
    mutter(&format!("lintel: {text}\n"));
}

fn mutter(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = std::io::stderr().write_all(text::clean_lines(text).as_bytes());
}
