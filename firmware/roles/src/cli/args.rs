//! argv to a call. What may be written is read from the table: a method's words, then its
//! parameters as `key=value`, as `--key value`, or, where they are required, in their order.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use lexopt::Arg;
use lintel_api::types::CONFIG_BYTES_MAX;
use lintel_api::{Method, MethodId, ParamKind};
use lintel_model::config::nearest;
use serde_json::{Map, Value, json};

use super::backups;
use super::client::Target;
use super::commands::{self, Command};
use super::complete;
use super::http::Host;
use super::tasks;
use super::text::io_words;

/// Where the box listens.
const SOCKET: &str = "/run/lintel/control.sock";

/// What the arguments mean.
pub(super) enum Parsed {
    /// A call.
    Call(Box<Invocation>),
    /// A command of the command line itself, with what follows its name.
    Command(&'static Command, Vec<OsString>, Globals),
    /// The words of a line of which the last is to be completed.
    Complete(Vec<String>),
    /// Help, of all, of one method or of one command.
    Help(Topic),
    /// The version.
    Version,
}

/// What help is wanted about.
pub(super) enum Topic {
    All,
    Method(&'static Method),
    Command(&'static Command),
    /// The methods whose names begin with these words.
    Group(Vec<String>),
}

/// One call.
pub(super) struct Invocation {
    pub(super) method: &'static Method,
    pub(super) params: Value,
    pub(super) json: bool,
    pub(super) target: Target,
    /// The file that a parameter was read from, for the places of problems.
    pub(super) file: Option<String>,
    /// `logs -f`.
    pub(super) follow: bool,
    /// Where a file that the call leads to is written.
    pub(super) to: Option<PathBuf>,
}

/// The arguments are wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    #[error("there is no command {words:?}{hint}")]
    Unknown { words: String, hint: String },
    #[error("{0}")]
    Option(#[from] lexopt::Error),
    #[error("{name}: {hint}")]
    Value { name: &'static str, hint: String },
    #[error("{0} is missing")]
    Missing(String),
    #[error("{word:?} is one word too many{hint}")]
    Surplus { word: String, hint: String },
    #[error("there is no option {name}{hint}")]
    NoOption { name: String, hint: String },
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    Target(String),
}

pub(super) fn parse(args: &[OsString]) -> Result<Parsed, UsageError> {
    if let Some(words) = to_complete(args) {
        return Ok(Parsed::Complete(words));
    }
    let (globals, rest) = Globals::split(args)?;
    if globals.version {
        return Ok(Parsed::Version);
    }
    let texts: Vec<&str> = rest
        .iter()
        .map(|arg| arg.to_str().unwrap_or_default())
        .collect();
    let words: Vec<&str> = texts
        .iter()
        .copied()
        .take_while(|word| !word.starts_with('-'))
        .collect();
    if let Some(command) = words.first().and_then(|word| commands::by_name(word)) {
        return Ok(match globals.help {
            true => Parsed::Help(Topic::Command(command)),
            false => Parsed::Command(command, rest.into_iter().skip(1).collect(), globals),
        });
    }
    let Some((method, taken)) = lintel_api::by_words(&words) else {
        let known = known_start(&words);
        return match globals.help {
            _ if rest.is_empty() => Ok(Parsed::Help(Topic::All)),
            true if known == words.len() && known > 0 => {
                let words = words.into_iter().map(str::to_owned).collect();
                Ok(Parsed::Help(Topic::Group(words)))
            }
            true if words.is_empty() => Ok(Parsed::Help(Topic::All)),
            _ => Err(unknown(&texts, &words, known)),
        };
    };
    if globals.help {
        return Ok(Parsed::Help(Topic::Method(method)));
    }
    let mut builder = Builder {
        method,
        params: Map::new(),
        file: None,
        follow: false,
        to: None,
    };
    builder.read(rest.get(taken..).unwrap_or_default())?;
    Ok(Parsed::Call(Box::new(Invocation {
        method,
        params: Value::Object(builder.params),
        json: globals.json,
        target: globals.target,
        file: builder.file,
        follow: builder.follow,
        to: builder.to,
    })))
}

/// How many words, from the first, are the start of a command.
fn known_start(words: &[&str]) -> usize {
    let known = |end: &usize| !complete::next(words.get(..*end).unwrap_or_default()).is_empty();
    (0..=words.len()).rev().find(known).unwrap_or(0)
}

/// What was most likely meant, else what may stand there.
fn unknown(texts: &[&str], words: &[&str], known: usize) -> UsageError {
    let next = complete::next(words.get(..known).unwrap_or_default());
    let next: Vec<&str> = next.iter().map(String::as_str).collect();
    let start = words.get(..known).unwrap_or_default();
    let near = words.get(known).and_then(|word| nearest(word, &next));
    let hint = match near {
        Some(near) => {
            let meant = [start, &[near]].concat().join(" ");
            format!(": did you mean {meant:?}?")
        }
        None if known > 0 => format!(": {} goes on with {}", start.join(" "), next.join(", ")),
        None => String::new(),
    };
    let words = if words.is_empty() { texts } else { words };
    UsageError::Unknown {
        words: words.join(" "),
        hint,
    }
}

/// The words after `completion words --`, as the scripts of the shells ask.
fn to_complete(args: &[OsString]) -> Option<Vec<String>> {
    let [completion, words, hyphens, line @ ..] = args else {
        return None;
    };
    let asked = completion == "completion" && words == "words" && hyphens == "--";
    let line = line.iter().map(|word| word.to_string_lossy().into_owned());
    asked.then(|| line.collect())
}

/// Options that every command has, wherever they stand.
pub(super) struct Globals {
    pub(super) json: bool,
    help: bool,
    version: bool,
    pub(super) target: Target,
    /// Those that were written, for a process that does a part of the work.
    pub(super) written: Vec<OsString>,
}

impl Globals {
    fn split(args: &[OsString]) -> Result<(Self, Vec<OsString>), UsageError> {
        let (mut json, mut help, mut version) = (false, false, false);
        let mut places = Places::default();
        let (mut written, mut rest) = (Vec::new(), Vec::new());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let text = arg.to_str().unwrap_or_default();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (text, None),
            };
            if let Some(place) = places.option(name) {
                written.push(arg.clone());
                *place = Some(match value {
                    Some(value) => value.into(),
                    None => {
                        let next = args.next();
                        let missing = || UsageError::Missing(format!("what follows {name}"));
                        let next = next.ok_or_else(missing)?;
                        written.push(next.clone());
                        next.clone()
                    }
                });
                continue;
            }
            match text {
                "--json" => {
                    json = true;
                    written.push(arg.clone());
                }
                "--help" | "-h" | "help" => help = true,
                "--version" | "-V" => version = true,
                _ => rest.push(arg.clone()),
            }
        }
        // Help and the version need no box, so a wrong address does not stand in their way.
        let target = match help || version {
            true => Target::Socket(SOCKET.into()),
            false => places.target()?,
        };
        let globals = Self {
            json,
            help,
            version,
            target,
            written,
        };
        Ok((globals, rest))
    }
}

/// What the options say about where the box is.
#[derive(Default)]
struct Places {
    socket: Option<OsString>,
    host: Option<OsString>,
    token_file: Option<OsString>,
    fingerprint: Option<OsString>,
}

impl Places {
    fn option(&mut self, name: &str) -> Option<&mut Option<OsString>> {
        match name {
            "--socket" => Some(&mut self.socket),
            "--host" => Some(&mut self.host),
            "--token-file" => Some(&mut self.token_file),
            "--fingerprint" => Some(&mut self.fingerprint),
            _ => None,
        }
    }

    /// What is written counts more than the environment, and a host more than the socket.
    fn target(self) -> Result<Target, UsageError> {
        let told = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if self.socket.is_some() && self.host.is_some() {
            let reason = "write --socket or --host, not both";
            return Err(UsageError::Target(reason.to_owned()));
        }
        let host = self.host.or_else(|| match self.socket {
            Some(_) => None,
            None => told("LINTEL_HOST"),
        });
        let Some(host) = host else {
            if self.token_file.is_some() || self.fingerprint.is_some() {
                let reason = "--token-file and --fingerprint go with --host URL";
                return Err(UsageError::Target(reason.to_owned()));
            }
            let socket = self.socket.or_else(|| told("LINTEL_SOCKET"));
            return Ok(Target::Socket(
                socket.map_or_else(|| SOCKET.into(), PathBuf::from),
            ));
        };
        let mut host = Host::parse(&host.to_string_lossy()).map_err(UsageError::Target)?;
        let token = match self.token_file {
            Some(file) => {
                let text = read_token(Path::new(&file));
                Some(text.map_err(|error| {
                    let file = file.to_string_lossy();
                    UsageError::File(format!("{file} cannot be read: {}", io_words(&error)))
                })?)
            }
            None => told("LINTEL_TOKEN").map(|token| token.to_string_lossy().into_owned()),
        };
        if let Some(token) = token {
            host = host.with_token(&token).map_err(UsageError::Target)?;
        }
        let fingerprint = self.fingerprint.or_else(|| told("LINTEL_FINGERPRINT"));
        if let Some(text) = fingerprint {
            let pinned = host.with_fingerprint(&text.to_string_lossy());
            host = pinned.map_err(UsageError::Target)?;
        }
        Ok(Target::Host(host))
    }
}

/// Largest file with a token, octets.
const TOKEN_BYTES_MAX: u64 = 4096;

fn read_token(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(file)?;
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

struct Builder {
    method: &'static Method,
    params: Map<String, Value>,
    file: Option<String>,
    follow: bool,
    to: Option<PathBuf>,
}

impl Builder {
    fn read(&mut self, args: &[OsString]) -> Result<(), UsageError> {
        let logs = self.method.id == MethodId::LogsServices;
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('n') if logs => {
                    let lines = parser.value()?;
                    self.set("lines", &lines.to_string_lossy())?;
                }
                Arg::Short('f') | Arg::Long("follow") if logs => self.follow = true,
                Arg::Long("to") if tasks::makes_file(self.method.id) => {
                    self.to = Some(parser.value()?.into());
                }
                Arg::Long(name) => {
                    let key = name.replace('-', "_");
                    match self.method.param(&key) {
                        Some(param) if param.kind == ParamKind::Flag => {
                            let text = parser.optional_value().unwrap_or_default();
                            self.set(&key, &text.to_string_lossy())?;
                        }
                        Some(_) => {
                            let text = parser.value()?;
                            self.set(&key, &text.to_string_lossy())?;
                        }
                        None => return Err(self.no_option(name)),
                    }
                }
                Arg::Value(word) => self.word(&word.to_string_lossy())?,
                arg => return Err(arg.unexpected().into()),
            }
        }
        self.complete()
    }

    fn word(&mut self, word: &str) -> Result<(), UsageError> {
        if let Some((key, text)) = word.split_once('=')
            && self.method.param(key).is_some()
        {
            return self.set(key, text);
        }
        if self.takes_file() && self.file.is_none() {
            self.file = Some(word.to_owned());
            let text = read_file(word)?;
            if word.ends_with(".json") {
                return self.set("config", &text);
            }
            self.params.insert("toml".to_owned(), json!(text));
            return Ok(());
        }
        if self.takes_backup() {
            self.file = Some(word.to_owned());
            let text = backups::read_file(word).map_err(UsageError::File)?;
            self.params.insert("content".to_owned(), json!(text));
            return Ok(());
        }
        let open = self
            .method
            .params
            .iter()
            .find(|param| param.required && !self.params.contains_key(param.name));
        match open {
            Some(param) => self.set(param.name, word),
            None => Err(self.surplus(word)),
        }
    }

    /// A word that stands for nothing, though some may be named.
    fn surplus(&self, word: &str) -> UsageError {
        let options = complete::options_of(self.method);
        let hint = match options.as_slice() {
            [] => String::new(),
            options => format!(": write what it is before it ({})", options.join(", ")),
        };
        UsageError::Surplus {
            word: word.to_owned(),
            hint,
        }
    }

    fn no_option(&self, name: &str) -> UsageError {
        let name = format!("--{name}");
        let known = complete::options_of(self.method);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest(&name, &known) {
            Some(near) => format!(": did you mean {near}?"),
            None => String::new(),
        };
        UsageError::NoOption { name, hint }
    }

    fn takes_file(&self) -> bool {
        self.method.param("toml").is_some()
    }

    fn takes_backup(&self) -> bool {
        self.method.param("content").is_some() && !self.params.contains_key("content")
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), UsageError> {
        let Some(param) = self.method.param(key) else {
            return Err(self.surplus(key));
        };
        let value = param.parse(text).map_err(|hint| UsageError::Value {
            name: param.name,
            hint: hint.to_owned(),
        })?;
        self.params.insert(param.name.to_owned(), value);
        Ok(())
    }

    fn complete(&mut self) -> Result<(), UsageError> {
        if self.method.id == MethodId::LogsServices {
            self.params.entry("name").or_insert_with(|| json!("all"));
        }
        if self.takes_file()
            && !["toml", "config"]
                .iter()
                .any(|k| self.params.contains_key(*k))
        {
            return Err(UsageError::Missing(
                "the FILE with the configuration (- is standard input)".to_owned(),
            ));
        }
        if self.takes_backup() {
            return Err(UsageError::Missing(
                "the FILE with the backup (- is standard input)".to_owned(),
            ));
        }
        let open = self.method.params.iter().find(|param| {
            // A password is asked for, so that it need not stand in a list of processes.
            param.required && param.name != "password" && !self.params.contains_key(param.name)
        });
        match open {
            Some(param) => Err(UsageError::Missing(format!(
                "{} ({})",
                param.name, param.summary
            ))),
            None => Ok(()),
        }
    }
}

fn read_file(name: &str) -> Result<String, UsageError> {
    let bound = u64::try_from(CONFIG_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin().take(bound).read_to_string(&mut text)
    } else {
        std::fs::File::open(Path::new(name))
            .and_then(|file| file.take(bound).read_to_string(&mut text))
    };
    match read {
        Err(error) => Err(UsageError::File(format!(
            "{name} cannot be read: {}",
            io_words(&error)
        ))),
        Ok(_) if text.len() > CONFIG_BYTES_MAX => Err(UsageError::File(format!(
            "{name} is no configuration: it is longer than {CONFIG_BYTES_MAX} octets"
        ))),
        Ok(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests;
