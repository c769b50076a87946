//! The CLI: words of the table, parameters, one call, and the answer for people or programs.
//!
//! Exit status: 0 done; 1 the box refused, failed or cannot be reached; 2 what was written is
//! wrong (arguments, parameters, a configuration). It holds no state and decides nothing.

mod args;
mod client;
mod commands;
mod complete;
mod help;
mod show;
mod text;

pub(crate) use text::date;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use lintel_api::types::LogEntry;
use lintel_ipc::call::Problem;
use lintel_rt::terminal::Keys;
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
        Err(error) => return complain_usage(&error),
    };
    match call(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// A command of the command line itself.
fn own(id: CommandId, rest: &[OsString], globals: &Globals) -> ExitCode {
    match id {
        CommandId::Completion => completion(rest, globals),
    }
}

fn completion(rest: &[OsString], _globals: &Globals) -> ExitCode {
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
        invocation.params["password"] = json!(read_password()?);
    }
    let unreachable = |error: client::ClientError| {
        complain(&error.to_string());
        ExitCode::FAILURE
    };
    let mut client = Client::connect(&invocation.socket).map_err(unreachable)?;
    let reply = client
        .call(invocation.method.name, &invocation.params)
        .map_err(unreachable)?;
    match reply {
        Ok(value) if invocation.json => say(&pretty(&value)),
        Ok(value) => say(&show::text(
            invocation.method.id,
            &value,
            &invocation.params,
        )),
        Err(problem) => return Err(refused(&invocation, &problem)),
    }
    if invocation.follow {
        follow(&mut client, &invocation)?;
    }
    Ok(())
}

/// Prints new lines as they come, until the box or the reader goes away.
fn follow(client: &mut Client, invocation: &Invocation) -> Result<(), ExitCode> {
    let mut params = invocation.params.clone();
    let mut seen: Option<u64> = None;
    loop {
        params["lines"] = json!(lintel_api::types::LOG_LINES_MAX);
        let reply = client.call(invocation.method.name, &params);
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

/// Says why not; the status tells what the user wrote from what the box could not do.
fn refused(invocation: &Invocation, problem: &Problem) -> ExitCode {
    if invocation.json {
        say(&pretty(&json!(problem)));
    }
    let mut text = String::new();
    for error in &problem.errors {
        let mut place = invocation.file.clone().unwrap_or_default();
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
    if !text.is_empty() {
        let _ = std::io::stderr().write_all(text::clean_lines(&text).as_bytes());
    }
    let dot = if problem.title.ends_with('.') {
        ""
    } else {
        "."
    };
    complain(format!("{}{dot} {}", problem.title, problem.detail).trim_end());
    if problem.status == 422 {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::FAILURE
    }
}

fn read_password() -> Result<String, ExitCode> {
    let stdin = std::io::stdin();
    let hidden = stdin.is_terminal().then(|| {
        let _ = std::io::stderr().write_all(b"password: ");
        Keys::unseen()
    });
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    if hidden.is_some() {
        let _ = std::io::stderr().write_all(b"\n");
    }
    match read {
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

fn complain_usage(error: &UsageError) -> ExitCode {
    complain(&format!("{error}\ntry: lintel --help"));
    ExitCode::from(EXIT_USAGE)
}

fn say(text: &str) {
    // A reader that closed the pipe has what it wanted.
    let mut stdout = std::io::stdout();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

fn complain(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "lintel: {}", text::clean_lines(text));
}
