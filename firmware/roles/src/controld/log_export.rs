//! `logs.export`: every line there is, as JSON lines, compressed (RFC 1952).
//!
//! The files on the storage come first, the oldest line first; then what is in memory. The newest
//! lines stand in both: those of a file that are in memory too are left to it.

use std::collections::HashSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use lintel_ipc::init::{InitReply, InitRequest, LogLine};
use lintel_model::RoleName;
use serde_json::json;

use super::log_calls::{LogFilter, all_lines};
use super::log_parts::LogParts;
use super::tasks::{FILE_BYTES_MAX, Heard, Progress, Step};

/// Lines of memory written in one step.
const LINES_A_STEP: usize = 512;

/// The work.
#[derive(Debug)]
pub(super) struct LogExport {
    filter: LogFilter,
    file_name: String,
    stage: Stage,
    files: LogParts,
    memory: Vec<LogLine>,
    in_memory: HashSet<Said>,
    out: GzEncoder<Vec<u8>>,
    done: u64,
    total: u64,
}

/// What makes a line the same line.
type Said = (u64, RoleName, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Begin,
    Memory,
    Statistics,
    /// With the beginning of a line, whose end is in the next part.
    File {
        rest: String,
    },
    Lines {
        from: usize,
    },
}

impl LogExport {
    pub(super) fn new(filter: LogFilter, host: &str, unix_s: u64) -> Self {
        Self {
            filter,
            file_name: format!("lintel-logs-{host}-{unix_s}.jsonl.gz"),
            stage: Stage::Begin,
            files: LogParts::default(),
            memory: Vec::new(),
            in_memory: HashSet::new(),
            out: GzEncoder::new(Vec::new(), Compression::fast()),
            done: 0,
            total: 1,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let text = match (&self.stage, self.files.file()) {
            (Stage::File { .. }, Some(file)) => format!("Reading {}.", file.name),
            _ => "Reading the lines in memory.".to_owned(),
        };
        (self.done, self.total, text)
    }

    pub(super) fn step(&mut self, heard: Heard) -> Step {
        match (self.stage.clone(), heard) {
            (Stage::Begin, _) => {
                self.stage = Stage::Memory;
                Step::Ask(all_lines())
            }
            (Stage::Memory, Heard::Init(InitReply::Logs(lines))) => {
                let said = |line: &LogLine| (line.unix_ms, line.role, line.text.clone());
                self.in_memory = lines.iter().map(said).collect();
                self.memory = lines;
                self.stage = Stage::Statistics;
                Step::Ask(InitRequest::LogStatistics)
            }
            (Stage::Statistics, Heard::Init(InitReply::LogStatistics(statistics))) => {
                let mut files = statistics.files;
                files.retain(|file| file.name.starts_with("log/"));
                let stored: u64 = files.iter().map(|file| file.bytes).sum();
                self.total = stored + statistics.text_bytes;
                self.files = LogParts::new(files);
                self.ask_file(String::new())
            }
            (Stage::File { rest }, Heard::Init(InitReply::LogFile { text, next })) => {
                self.done += text.len() as u64;
                let goes_on = self.files.goes_on(next);
                let text = rest + &text;
                let whole = match goes_on {
                    true => text.rfind('\n').map_or(0, |at| at + 1),
                    false => text.len(),
                };
                let (whole, rest) = text.split_at(whole);
                for line in whole.lines() {
                    self.stored_line(line);
                }
                // A line of a whole part is none of ours.
                if goes_on && rest.len() < FILE_BYTES_MAX {
                    return self.ask_file(rest.to_owned());
                }
                self.files.next_file();
                self.ask_file(String::new())
            }
            // Turned over meanwhile, or taken away: the others are still there.
            (Stage::File { .. }, Heard::Init(InitReply::Failed(_))) => {
                self.files.next_file();
                self.ask_file(String::new())
            }
            (Stage::Lines { from }, _) => self.lines(from),
            (_, Heard::Init(InitReply::Failed(why))) => {
                Step::Failed(format!("The supervisor did not answer: {why}."))
            }
            (_, Heard::Nothing | Heard::Init(_) | Heard::Figures(_) | Heard::Probe(_)) => {
                Step::Failed("The supervisor answered another question.".to_owned())
            }
        }
    }

    fn ask_file(&mut self, rest: String) -> Step {
        match self.files.request() {
            Some(request) => {
                self.stage = Stage::File { rest };
                Step::Ask(request)
            }
            None => {
                self.stage = Stage::Lines { from: 0 };
                Step::More
            }
        }
    }

    fn lines(&mut self, from: usize) -> Step {
        let part: Vec<LogLine> = self
            .memory
            .iter()
            .skip(from)
            .take(LINES_A_STEP)
            .cloned()
            .collect();
        for line in &part {
            self.done += line.text.len() as u64;
            if self.filter.fits(line.role, &line.level, &line.text) {
                self.write(json!({
                    "unix_ms": line.unix_ms,
                    "uptime_ms": line.uptime_ms,
                    "role": line.role,
                    "level": line.level,
                    "text": line.text,
                }));
            }
        }
        if self.out.get_ref().len() > FILE_BYTES_MAX {
            return Step::Failed(
                "The file would be too large: look for less, by role, level or text.".to_owned(),
            );
        }
        if part.len() == LINES_A_STEP {
            self.stage = Stage::Lines {
                from: from + LINES_A_STEP,
            };
            return Step::More;
        }
        let empty = GzEncoder::new(Vec::new(), Compression::fast());
        match std::mem::replace(&mut self.out, empty).finish() {
            Ok(content) => Step::Done {
                file_name: self.file_name.clone(),
                content,
            },
            Err(error) => Step::Failed(format!("It could not be compressed: {error}.")),
        }
    }

    fn stored_line(&mut self, line: &str) {
        let Some((unix_ms, role, level, text)) = parse(line) else {
            return;
        };
        let said = (unix_ms, role, text.to_owned());
        if !self.in_memory.contains(&said) && self.filter.fits(role, level, text) {
            self.write(json!({
                "unix_ms": unix_ms,
                "role": role,
                "level": level,
                "text": text,
            }));
        }
    }

    fn write(&mut self, line: serde_json::Value) {
        // Into memory, which takes everything; its size is looked at after each part.
        let _ = writeln!(self.out, "{line}");
    }
}

/// A line of a file: `1700000000.123 netd info text`.
fn parse(line: &str) -> Option<(u64, RoleName, &str, &str)> {
    let mut words = line.splitn(4, ' ');
    let (seconds, thousandths) = words.next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let thousandths: u64 = thousandths.parse().ok()?;
    let unix_ms = seconds.checked_mul(1_000)?.checked_add(thousandths)?;
    let role = words.next()?.parse().ok()?;
    Some((
        unix_ms,
        role,
        words.next()?,
        words.next().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file_are_read_and_what_is_none_is_left_out() {
        let (unix_ms, role, level, text) = parse("1700000000.042 netd warn two words").unwrap();
        assert_eq!(unix_ms, 1_700_000_000_042);
        assert_eq!((role, level, text), (RoleName::Netd, "warn", "two words"));
        assert_eq!(parse("1.000 init info").unwrap().3, "");
        for line in [
            "",
            "x",
            "1 netd info x",
            "1.0 nobody info x",
            "18446744073709551615.0 init info x",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
