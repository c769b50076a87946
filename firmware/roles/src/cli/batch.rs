//! `lintel batch`: many commands over one connection.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use lexopt::Arg;
use lintel_api::MethodId;
use lintel_ipc::call::Problem;
use serde_json::{Value, json};

use super::args::{self, Globals, Invocation, Parsed};
use super::backups;
use super::client::Client;
use super::commands::CommandId;
use super::text::io_words;
use super::{EXIT_USAGE, Failure, ask, complain, mutter, say, show, wrong_line, wrong_use};

/// Largest batch read, octets: thousands of lines.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// A line of the batch.
struct Line {
    /// From 1, as editors count.
    number: usize,
    text: String,
    meaning: Result<Box<Invocation>, String>,
}

pub(super) fn run(rest: &[OsString], globals: &Globals) -> ExitCode {
    let Asked {
        lines,
        go_on,
        as_one,
    } = match read(rest) {
        Ok(read) => read,
        Err(reason) => return wrong_use(CommandId::Batch, &reason),
    };
    let mut batch = Batch {
        globals,
        client: None,
        failed: Vec::new(),
        exit: 0,
    };
    let wrong = lines.iter().filter(|line| line.meaning.is_err()).count();
    if wrong > 0 && !go_on {
        for line in &lines {
            if let Err(reason) = &line.meaning {
                batch.refuse(line, reason);
            }
        }
        complain("nothing was run: put the lines right, or run the others with --go-on");
        return ExitCode::from(EXIT_USAGE);
    }
    let lines = match as_one {
        true => match together(lines) {
            Ok(line) => Vec::from_iter(line),
            Err(reason) => {
                complain(&format!("{reason}; nothing was run"));
                return ExitCode::from(EXIT_USAGE);
            }
        },
        false => lines,
    };
    for (done, line) in lines.iter().enumerate() {
        let well = batch.one(line);
        if !well && !go_on {
            let left = lines.len() - done - 1;
            if left > 0 {
                complain(&format!(
                    "stopped at line {}; {left} more were not run (--go-on runs them)",
                    line.number
                ));
            }
            break;
        }
    }
    if go_on && !batch.failed.is_empty() {
        let failed: Vec<String> = batch.failed.iter().map(ToString::to_string).collect();
        let of = lines.len();
        complain(&format!(
            "{} of {of} lines failed: {}",
            failed.len(),
            failed.join(", ")
        ));
    }
    ExitCode::from(batch.exit)
}

struct Batch<'g> {
    globals: &'g Globals,
    /// Opened for the first line, and again when the box closed it.
    client: Option<Client>,
    /// Numbers of lines.
    failed: Vec<usize>,
    /// Of the first line that failed.
    exit: u8,
}

impl Batch<'_> {
    /// Runs a line; whether it went well.
    fn one(&mut self, line: &Line) -> bool {
        let invocation = match &line.meaning {
            Ok(invocation) => invocation,
            Err(reason) => {
                self.refuse(line, reason);
                return false;
            }
        };
        match self.ask(invocation) {
            Ok(value) if self.globals.json => self.print(line, "result", value),
            Ok(value) => say(&show::text(
                invocation.method.id,
                &value,
                &invocation.params,
            )),
            Err(failure) => {
                let text = failure.text(invocation.file.as_deref());
                self.fail(line, failure.exit(), &failure.to_problem(), &text);
                return false;
            }
        }
        true
    }

    fn ask(&mut self, invocation: &Invocation) -> Result<Value, Failure> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.globals.target).map_err(Failure::Unreachable)?,
        };
        let answer = ask(&mut client, invocation);
        if !matches!(answer, Err(Failure::Unreachable(_))) {
            self.client = Some(client);
        }
        answer
    }

    fn refuse(&mut self, line: &Line, reason: &str) {
        let text = format!("lintel: {reason}\n");
        self.fail(line, EXIT_USAGE, &wrong_line(&reason), &text);
    }

    fn fail(&mut self, line: &Line, exit: u8, problem: &Problem, text: &str) {
        self.failed.push(line.number);
        if self.exit == 0 {
            self.exit = exit;
        }
        if self.globals.json {
            self.print(line, "problem", json!(problem));
        }
        mutter(&format!("line {}: {}\n{text}", line.number, line.text));
    }

    /// One object a line, so that what reads needs not wait for the end.
    fn print(&self, line: &Line, what: &str, value: Value) {
        let mut object = json!({"line": line.number, "command": line.text});
        object[what] = value;
        say(&format!("{object}\n"));
    }
}

/// Many changes of the configuration as a single one: a revision, a plan, and all or nothing.
fn together(lines: Vec<Line>) -> Result<Option<Line>, String> {
    let mut whole: Option<Line> = None;
    let mut reasons = Vec::new();
    for line in lines {
        let number = line.number;
        let mut call = line
            .meaning
            .map_err(|reason| format!("line {number}: {reason}"))?;
        if call.method.id != MethodId::ConfigPatch {
            return Err(format!(
                "line {number}: only config patch can be a part of one change"
            ));
        }
        if let Some(reason) = call.params["reason"].as_str() {
            reasons.push(reason.to_owned());
        }
        if let Some(first) = &mut whole
            && let Ok(before) = &mut first.meaning
        {
            let patch = call.params["patch"].take();
            let after = before.params["patch"].take();
            before.params["patch"] = composed(after, patch)
                .map_err(|path| format!("line {number}: {path} was taken away by a line before"))?;
            for (name, value) in call.params.as_object().into_iter().flatten() {
                if name != "patch" {
                    before.params[name] = value.clone();
                }
            }
            first.text = format!("config patch (lines {} to {number})", first.number);
        } else {
            whole = Some(Line {
                meaning: Ok(call),
                ..line
            });
        }
    }
    if let Some(Ok(call)) = whole.as_mut().map(|line| &mut line.meaning)
        && !reasons.is_empty()
    {
        call.params["reason"] = json!(reasons.join("; "));
    }
    Ok(whole)
}

/// The merge patch (RFC 7396) that does what one does and then the other. The error is the path
/// of what the first takes away whole and the second sets in part: no patch says that.
fn composed(first: Value, second: Value) -> Result<Value, String> {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            for (key, second) in second {
                let value = match first.remove(&key) {
                    None => second,
                    Some(Value::Null) if second.is_object() => return Err(key),
                    Some(first) => {
                        composed(first, second).map_err(|path| format!("{key}.{path}"))?
                    }
                };
                first.insert(key, value);
            }
            Ok(Value::Object(first))
        }
        (_, second) => Ok(second),
    }
}

/// What the arguments ask for.
struct Asked {
    lines: Vec<Line>,
    go_on: bool,
    as_one: bool,
}

/// What is asked for; else what is wrong with the arguments.
fn read(rest: &[OsString]) -> Result<Asked, String> {
    let (mut go_on, mut as_one, mut file, mut lines) = (false, false, None, Vec::new());
    let mut parser = lexopt::Parser::from_args(rest);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Long("go-on") => go_on = true,
            Arg::Long("as-one") => as_one = true,
            Arg::Long("file") => {
                let name = parser.value().map_err(|error| error.to_string())?;
                file = Some(name.to_string_lossy().into_owned());
            }
            Arg::Value(line) => lines.push(line.to_string_lossy().into_owned()),
            arg => return Err(arg.unexpected().to_string()),
        }
    }
    if go_on && as_one {
        return Err("what is done as one cannot go on in part".to_owned());
    }
    let from_stdin = lines.is_empty() && file.as_deref().is_none_or(|name| name == "-");
    if !lines.is_empty() && file.is_some() {
        return Err("write the lines as arguments or in a file, not both".to_owned());
    }
    if lines.is_empty() {
        let text = read_text(file.as_deref().unwrap_or("-"))?;
        lines = text.lines().map(str::to_owned).collect();
    }
    let lines = (1..).zip(lines);
    let lines = lines.filter_map(|(number, text)| {
        let text = text.trim().to_owned();
        let words = match shlex::split(&text) {
            Some(words) if words.is_empty() => return None,
            Some(words) => words,
            None => {
                let meaning = Err("a quote is not closed".to_owned());
                return Some(Line {
                    number,
                    text,
                    meaning,
                });
            }
        };
        let meaning = meaning(&words, from_stdin);
        Some(Line {
            number,
            text,
            meaning,
        })
    });
    Ok(Asked {
        lines: lines.collect(),
        go_on,
        as_one,
    })
}

/// The call that a line asks for.
fn meaning(words: &[String], from_stdin: bool) -> Result<Box<Invocation>, String> {
    let words = match words {
        [first, rest @ ..] if first == "lintel" => rest,
        words => words,
    };
    if from_stdin && words.iter().any(|word| word == "-") {
        return Err("standard input holds the batch: name a file in place of -".to_owned());
    }
    let args: Vec<OsString> = words.iter().map(OsString::from).collect();
    match args::parse(&args) {
        Ok(Parsed::Call(call)) if call.follow => Err("--follow never ends".to_owned()),
        Ok(Parsed::Call(call)) => {
            let asks = call.method.param("password").is_some();
            if asks && call.params.get("password").is_none() {
                return Err("nobody can be asked for the password here".to_owned());
            }
            let sealed = call.method.id == MethodId::ConfigImport;
            if sealed && backups::wants_passphrase(&call) {
                return Err("nobody can be asked for the passphrase here".to_owned());
            }
            Ok(call)
        }
        Ok(_) => Err(format!(
            "{:?} is for people, not for a batch",
            words.join(" ")
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn read_text(name: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin()
            .take(BATCH_BYTES_MAX + 1)
            .read_to_string(&mut text)
    } else {
        File::open(name).and_then(|file| file.take(BATCH_BYTES_MAX + 1).read_to_string(&mut text))
    };
    match read {
        Err(error) => Err(format!("{name} cannot be read: {}", io_words(&error))),
        Ok(_) if text.len() as u64 > BATCH_BYTES_MAX => {
            Err(format!("{name} is longer than {BATCH_BYTES_MAX} octets"))
        }
        Ok(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_patches_become_one() {
        let first = json!({"lan": {"domain": "a", "ports": ["eth1"]}, "run": null, "x": 1});
        let second = json!({"lan": {"domain": "b", "address": null}, "dns": {"y": []}, "x": null});
        assert_eq!(
            composed(first, second),
            Ok(json!({
                "lan": {"domain": "b", "ports": ["eth1"], "address": null},
                "run": null, "dns": {"y": []}, "x": null,
            }))
        );
        let taken = json!({"dhcp": {"pool": null}});
        let part = json!({"dhcp": {"pool": {"first": "10.0.0.9"}}});
        assert_eq!(composed(taken.clone(), part), Err("dhcp.pool".to_owned()));
        assert_eq!(composed(taken.clone(), taken.clone()), Ok(taken));
    }
}
