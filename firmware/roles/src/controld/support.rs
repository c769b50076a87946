//! `support.collect`: what helps to find a fault, as one archive (tar, POSIX.1-2001, compressed by
//! RFC 1952), without secrets.
//!
//! In it: the configuration as the box reads it, without comments; what it leads to, what the kernel
//! holds and what differs; the state of everything in the words of the API; the figures; events and
//! logs. Not in it: people's words (reasons, comments), the trail, sessions, and every secret
//! ([`super::redact`]). Names and addresses of the household's devices are in it, and the first file
//! says so.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lintel_api::types::{EventsParams, PAGE_ENTRIES_MAX, PageParams};
use lintel_ipc::init::{InitReply, InitRequest};
use serde::Serialize;
use serde_json::{Value, json};

use super::core::{Core, Now};
use super::log_calls::all_lines;
use super::log_parts::LogParts;
use super::redact::Redactor;
use super::tasks::{FILE_BYTES_MAX, Heard, Progress, Step};

/// The directory that the archive makes.
const ROOT: &str = "lintel-support";
/// Longest file, octets: a file of the log is half of it.
const PART_BYTES_MAX: usize = 1 << 20;
/// Blocks of an archive (POSIX.1-2001, pax, ustar).
const BLOCK_BYTES: usize = 512;
/// What the first file says.
const README: &str = "\
What a Lintel box said of itself, for who helps to find a fault.

Passwords, keys, tokens and codes are not in here, nor reasons and comments that people wrote.
Names and addresses of the household's devices are: give it only to whom you would tell them.
";

/// The work.
pub(super) struct Support {
    file_name: String,
    unix_s: u64,
    stage: Stage,
    redactor: Redactor,
    files: LogParts,
    out: GzEncoder<Vec<u8>>,
    done: u64,
    total: u64,
}

impl std::fmt::Debug for Support {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Support({}, {:?})", self.done, self.stage)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    State(usize),
    Services,
    Figures,
    Memory,
    Statistics,
    File { text: String },
}

/// A file of the box's state: its name, and what it holds.
type StateFile = (&'static str, fn(&Core, Now) -> Option<Value>);

/// In this order.
const STATE: [StateFile; 15] = [
    ("status.json", |core, now| value(&core.status(now, None))),
    ("system-info.json", |core, now| {
        value(&core.system_info(now, None))
    }),
    ("config.json", |core, _| value(&core.active.config)),
    ("revisions.json", |core, _| {
        let mut page = value(&core.config_revisions(&all()).ok()?)?;
        // What people wrote is theirs.
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            item.as_object_mut().map(|item| item.remove("reason"));
        }
        Some(page)
    }),
    ("plan/desired.json", |core, _| value(&core.resolved.kernel)),
    ("plan/observed.json", |core, _| value(&core.observed)),
    ("plan/steps.json", |core, _| {
        let observed = core.observed.as_ref()?;
        let plan = lintel_plan::diff(&core.resolved.kernel, observed);
        let steps = plan.steps.iter().map(|step| &step.reason);
        value(&steps.collect::<Vec<_>>())
    }),
    ("network/info.json", |core, _| value(&core.network_info())),
    ("network/interfaces.json", |core, _| {
        value(&core.interfaces())
    }),
    ("dhcp-leases.json", |core, now| {
        value(&core.leases(now, &all()).ok()?)
    }),
    ("dns-records.json", |core, _| {
        value(&core.records(&all()).ok()?)
    }),
    ("dns-statistics.json", |core, _| value(&core.dns_statistics)),
    ("ntp.json", |core, _| value(&core.clock_report())),
    ("bus.json", |core, _| value(&core.bus_status())),
    ("events.json", |core, _| {
        let params = EventsParams {
            limit: Some(PAGE_ENTRIES_MAX),
            ..EventsParams::default()
        };
        let mut page = value(&core.bus_events(params).ok()?)?;
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            item.as_object_mut().map(|item| item.remove("reason"));
        }
        Some(page)
    }),
];

fn all() -> PageParams {
    PageParams {
        limit: Some(PAGE_ENTRIES_MAX),
        cursor: None,
    }
}

fn value<T: Serialize>(of: &T) -> Option<Value> {
    serde_json::to_value(of).ok()
}

impl Support {
    pub(super) fn new(core: &Core, now: Now) -> Self {
        let host = &core.active.config.system.hostname;
        Self {
            file_name: format!("{ROOT}-{host}-{}.tar.gz", now.unix_s),
            unix_s: now.unix_s,
            stage: Stage::State(0),
            redactor: Redactor::new(core.known_secrets()),
            files: LogParts::default(),
            out: GzEncoder::new(Vec::new(), Compression::fast()),
            done: 0,
            // Beside the files of the log, which are counted when they are known.
            total: STATE.len() as u64 + 6,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let text = match (&self.stage, self.files.file()) {
            (Stage::State(at), _) => {
                let name = STATE.get(*at).map_or("the state", |(name, _)| *name);
                format!("Writing {name}.")
            }
            (Stage::File { .. }, Some(file)) => format!("Reading {}.", file.name),
            (Stage::Services | Stage::Figures, _) => "Measuring the machine.".to_owned(),
            _ => "Reading the log.".to_owned(),
        };
        (self.done, self.total, text)
    }

    pub(super) fn step(&mut self, core: &mut Core, now: Now, heard: Heard) -> Step {
        if self.out.get_ref().len() > FILE_BYTES_MAX {
            return Step::Failed("There is more than fits into one file.".to_owned());
        }
        self.done += 1;
        match (self.stage.clone(), heard) {
            (Stage::State(at), _) => self.state(core, now, at),
            (Stage::Services, _) => {
                self.stage = Stage::Figures;
                Step::Measure
            }
            (Stage::Figures, Heard::Figures(figures)) => {
                let stats = core.stats(now, figures);
                self.json("system-stats.json", value(&stats));
                let metrics = core.metrics(now, &stats);
                self.text("metrics.txt", &metrics);
                self.stage = Stage::Memory;
                Step::Ask(all_lines())
            }
            (Stage::Memory, heard) => {
                if let Heard::Init(InitReply::Logs(lines)) = heard {
                    let line = |line| {
                        let line = serde_json::to_string(&super::calls::entry(line));
                        line.unwrap_or_default() + "\n"
                    };
                    let lines: String = lines.into_iter().map(line).collect();
                    self.text("logs/memory.jsonl", &lines);
                }
                self.stage = Stage::Statistics;
                Step::Ask(InitRequest::LogStatistics)
            }
            (Stage::Statistics, heard) => {
                if let Heard::Init(InitReply::LogStatistics(statistics)) = heard {
                    self.total += statistics.files.len() as u64;
                    self.files = LogParts::new(statistics.files.clone());
                    let shown = super::log_calls::shown(statistics);
                    self.json("logs/statistics.json", value(&shown));
                }
                self.ask_file(String::new())
            }
            (Stage::File { text }, Heard::Init(InitReply::LogFile { text: part, next })) => {
                let text = text + &part;
                if self.files.goes_on(next) && text.len() < PART_BYTES_MAX {
                    // Counted when it is whole.
                    self.done -= 1;
                    return self.ask_file(text);
                }
                if let Some(file) = self.files.next_file() {
                    self.text(&format!("logs/{}", file.name), &text);
                }
                self.ask_file(String::new())
            }
            // What cannot be had is left out: a box that is ill has the more to tell.
            (Stage::File { .. }, _) => {
                self.files.next_file();
                self.ask_file(String::new())
            }
            (Stage::Figures, _) => {
                self.stage = Stage::Memory;
                Step::Ask(all_lines())
            }
        }
    }

    fn state(&mut self, core: &mut Core, now: Now, at: usize) -> Step {
        if at == 0 {
            self.text("README.txt", README);
            let toml = redacted_toml(&self.redactor, &core.active.config);
            self.text("config.toml", &toml);
        }
        match STATE.get(at) {
            Some((name, file)) => {
                let value = file(core, now);
                self.json(name, value);
                self.stage = Stage::State(at + 1);
                Step::More
            }
            None => {
                self.stage = Stage::Services;
                Step::Ask(InitRequest::Services)
            }
        }
    }

    fn ask_file(&mut self, text: String) -> Step {
        match self.files.request() {
            Some(request) => {
                self.stage = Stage::File { text };
                Step::Ask(request)
            }
            None => self.finish(),
        }
    }

    fn json(&mut self, name: &str, value: Option<Value>) {
        let mut value = value.unwrap_or_else(|| json!({ "error": "it could not be written" }));
        self.redactor.value(&mut value);
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.file(name, text.as_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        let text = self.redactor.text(text);
        self.file(name, text.as_bytes());
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        let named = header.set_path(format!("{ROOT}/{name}"));
        if named.is_err() {
            // Longer than a name may be, as none of ours is.
            return;
        }
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.unix_s);
        header.set_cksum();
        let padding = vec![0; content.len().next_multiple_of(BLOCK_BYTES) - content.len()];
        for part in [header.as_bytes().as_slice(), content, &padding] {
            // Into memory, which takes everything; its size is looked at before each step.
            let _ = self.out.write_all(part);
        }
    }

    fn finish(&mut self) -> Step {
        let end = [0; 2 * BLOCK_BYTES];
        let empty = GzEncoder::new(Vec::new(), Compression::fast());
        let mut out = std::mem::replace(&mut self.out, empty);
        match out.write_all(&end).and_then(|()| out.finish()) {
            Ok(content) => Step::Done {
                file_name: self.file_name.clone(),
                content,
            },
            Err(error) => Step::Failed(format!("It could not be compressed: {error}.")),
        }
    }
}

/// As the box reads it, which leaves comments out; what is secret is not in it.
fn redacted_toml(redactor: &Redactor, config: &lintel_model::config::Config) -> String {
    let Some(whole) = value(config) else {
        return String::new();
    };
    let mut clean = whole.clone();
    redactor.value(&mut clean);
    if clean == whole {
        return config.to_toml();
    }
    toml::to_string(&clean).unwrap_or_default()
}
