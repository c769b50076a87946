//! `lintel setup`: questions that lead to a first configuration.
//!
//! Each answer is judged as it comes, by the rules of the configuration. Nothing on the box
//! changes before the last question is answered with yes.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, stdin};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use embassy_time::Duration;
use lintel_api::MethodId;
use lintel_api::types::{AuthStatus, ConfigApplied, ConfigShown, PASSWORD_CHARS_MIN};
use lintel_model::config::Config;
use lintel_rt::clock::Clock;
use lintel_rt::terminal;
use serde_json::{Value, json};

use super::args::Globals;
use super::client::Client;
use super::commands::CommandId;
use super::text::wrap;
use super::{EXIT_USAGE, Failure, complain, mutter, say, show, wrong_use};
use crate::first_visit::{Question, STEPS, answered};

/// Most wrong answers to one question: a program that talks to us ends.
const TRIES_MAX: usize = 20;
/// How long a box that moves is looked for: some of the time that it waits to be confirmed is left
/// for the answer.
const FOLLOW_WAIT: Duration = Duration::from_secs(30);
/// Between two tries.
const FOLLOW_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

pub(super) fn run(rest: &[OsString], globals: &Globals) -> ExitCode {
    if let [word, ..] = rest {
        let reason = format!("{:?} is one word too many", word.to_string_lossy());
        return wrong_use(CommandId::Setup, &reason);
    }
    match Setup::begin(globals).and_then(|mut setup| setup.ask_all()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Stopped(why)) => {
            complain(&format!("{why} Nothing was changed."));
            ExitCode::FAILURE
        }
        Err(End::TooMany) => {
            complain("too many wrong answers. Nothing was changed.");
            ExitCode::from(EXIT_USAGE)
        }
        Err(End::Failed(failure)) => {
            mutter(&failure.text(None));
            ExitCode::from(failure.exit())
        }
    }
}

/// Why the questions ended early.
enum End {
    Stopped(&'static str),
    TooMany,
    Failed(Failure),
}

struct Setup {
    client: Client,
    /// Whether the box has an owner already.
    claimed: bool,
    config: Config,
}

impl Setup {
    fn begin(globals: &Globals) -> Result<Self, End> {
        let client = Client::connect(&globals.target);
        let client = client.map_err(|error| End::Failed(Failure::Unreachable(error)))?;
        let mut setup = Self {
            client,
            claimed: false,
            config: Config::default(),
        };
        let status: AuthStatus = setup.typed(MethodId::AuthStatus, &json!({}))?;
        if status.data_failed {
            return Err(End::Stopped(
                "the box cannot store anything: its storage failed. lintel status says more.",
            ));
        }
        setup.claimed = status.claimed;
        let shown: ConfigShown = setup.typed(MethodId::ConfigShow, &json!({}))?;
        // What no longer loads is no start; the questions then begin with the defaults.
        setup.config = Config::from_json(&shown.config).unwrap_or_default();
        Ok(setup)
    }

    fn ask_all(&mut self) -> Result<(), End> {
        say(&wrap(
            "A few questions about this box. Enter takes what stands in brackets, ? explains, \
             Ctrl-C ends all and changes nothing.",
            0,
        ));
        let password = match self.claimed {
            true => None,
            false => Some(new_password()?),
        };
        for question in STEPS.iter().flat_map(|step| step.questions) {
            self.ask(question)?;
        }

        let toml = self.config.to_toml();
        let params = json!({"toml": toml, "dry_run": true});
        let plan = self.call(MethodId::ConfigApply, &params)?;
        say("\nThis is what would happen:\n");
        say(&show::text(MethodId::ConfigApply, &plan, &params));
        if !yes("\nDo it? [yes] ", true)? {
            return Err(End::Stopped("as you wish."));
        }
        if let Some(password) = password {
            self.call(MethodId::AuthSetup, &json!({"password": password}))?;
            say("The password is set.\n");
        }
        let params = json!({"toml": toml, "reason": "lintel setup"});
        let applied = self.call(MethodId::ConfigApply, &params)?;
        say(&show::text(MethodId::ConfigApply, &applied, &params));
        let waits = serde_json::from_value::<ConfigApplied>(applied);
        if let Some(waits) = waits.ok().and_then(|applied| applied.confirm) {
            let reached = waits.address.is_none_or(|address| self.follow(address));
            let prompt = if reached {
                "Keep it? [yes] "
            } else {
                "Keep it? [no] "
            };
            if yes(prompt, reached)? {
                let kept = self.call(MethodId::ConfigConfirm, &json!({}))?;
                say(&show::text(MethodId::ConfigConfirm, &kept, &json!({})));
            }
        }
        let address = self.config.lan.address.addr();
        say(&wrap(
            &format!("The box's pages are at https://{address}."),
            0,
        ));
        Ok(())
    }

    /// From elsewhere: goes on at the address to which the box moves. Returns whether it was found;
    /// otherwise the way that was used so far stays the way, as long as it leads to the box.
    fn follow(&mut self, address: Ipv4Addr) -> bool {
        let Some(mut there) = self.client.at(address) else {
            return true;
        };
        say(&format!("Looking for the box at {address}.\n"));
        let status = lintel_api::by_id(MethodId::AuthStatus);
        let until = Clock.now() + FOLLOW_WAIT;
        while Clock.now() < until {
            if let Ok(Ok(_)) = there.call(status, &json!({})) {
                say("It answers there.\n");
                self.client = there;
                return true;
            }
            std::thread::sleep(FOLLOW_AGAIN);
        }
        say(&wrap(
            "It does not answer there, so this device has no way to its new address yet. The box \
             answers here as well until every device has moved.",
            0,
        ));
        false
    }

    /// Asks until the answer fits into the configuration.
    fn ask(&mut self, question: &Question) -> Result<(), End> {
        say(&format!("\n{}\n", question.title));
        let current = (question.current)(&self.config);
        for _ in 0..TRIES_MAX {
            let answer = line(&format!("{} [{current}] ", question.prompt))?;
            let answer = match answer.as_str() {
                "" => return Ok(()),
                "?" => {
                    say(&wrap(question.help, 0));
                    continue;
                }
                answer => answer,
            };
            match self.with(question, answer) {
                Ok(config) => {
                    self.config = config;
                    return Ok(());
                }
                Err(problems) => say(&problems),
            }
        }
        Err(End::TooMany)
    }

    /// The configuration with an answer in it; else what is wrong with it, for the terminal.
    fn with(&self, question: &Question, answer: &str) -> Result<Config, String> {
        let mut tree = serde_json::to_value(&self.config).unwrap_or_default();
        (question.put)(&mut tree, answer);
        let read = answered(tree).map(|answered| {
            if answered.pool_moved {
                say("The range of addresses to give moves along.\n");
            }
            answered.config
        });
        read.map_err(|problems| {
            let told = problems.iter().map(|problem| {
                let hint = match problem.hint.as_str() {
                    "" => String::new(),
                    hint => format!(" ({hint})"),
                };
                let place = match problem.path.starts_with(question.path) {
                    true => String::new(),
                    false => format!("{}: ", problem.path),
                };
                wrap(&format!("  {place}{}{hint}", problem.reason), 2)
            });
            told.collect()
        })
    }

    fn call(&mut self, id: MethodId, params: &Value) -> Result<Value, End> {
        let method = lintel_api::by_id(id);
        let reply = self.client.call(method, params);
        let answer = reply.map_err(|error| End::Failed(Failure::Unreachable(error)))?;
        answer.map_err(|problem| End::Failed(Failure::Refused(problem)))
    }

    fn typed<T: serde::de::DeserializeOwned>(
        &mut self,
        id: MethodId,
        params: &Value,
    ) -> Result<T, End> {
        let value = self.call(id, params)?;
        serde_json::from_value(value).map_err(|error| {
            End::Failed(Failure::Unreachable(super::client::ClientError::Json(
                error,
            )))
        })
    }
}

fn new_password() -> Result<String, End> {
    say(&wrap(
        &format!(
            "\nA password for the box's pages, of at least {PASSWORD_CHARS_MIN} characters. A few \
             words in a row are good and easy to remember."
        ),
        0,
    ));
    for _ in 0..TRIES_MAX {
        let first = unseen("password: ")?;
        if first.chars().count() < PASSWORD_CHARS_MIN {
            say(&format!(
                "  that is too short: at least {PASSWORD_CHARS_MIN} characters\n"
            ));
            continue;
        }
        if unseen("once more: ")? == first {
            return Ok(first);
        }
        say("  the two differ: write it twice the same\n");
    }
    Err(End::TooMany)
}

fn yes(prompt: &str, default: bool) -> Result<bool, End> {
    for _ in 0..TRIES_MAX {
        match line(prompt)?.to_ascii_lowercase().as_str() {
            "" => return Ok(default),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => say("  write yes or no\n"),
        }
    }
    Err(End::TooMany)
}

fn unseen(prompt: &str) -> Result<String, End> {
    if !stdin().is_terminal() {
        say(prompt);
        return read_line().map(|line| line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let answer = terminal::read_unseen(|| say(prompt));
    say("\n");
    answer.ok_or(End::Stopped("there was no password."))
}

fn line(prompt: &str) -> Result<String, End> {
    say(prompt);
    read_line().map(|line| line.trim().to_owned())
}

fn read_line() -> Result<String, End> {
    let mut line = String::new();
    match stdin().lock().read_line(&mut line) {
        Ok(1..) => Ok(line),
        _ => {
            say("\n");
            Err(End::Stopped("there was no answer."))
        }
    }
}
