//! The last lines of every role, in memory and bounded.

use std::collections::{BTreeMap, VecDeque};

use lintel_ipc::init::{LogLine, LogStatistics};
use lintel_model::RoleName;
use lintel_rt::logger::LINE_BYTES_MAX;

/// Lines kept in memory: an hour of a busy evening.
pub const LINES_MAX: usize = 4096;
/// From the worst down.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];
/// Octets of text kept in memory, for lines longer than usual.
pub const TEXT_BYTES_MAX: usize = 512 << 10;

/// The ring.
#[derive(Debug, Default)]
pub struct Logs {
    lines: VecDeque<LogLine>,
    text_bytes: usize,
    /// Lines since boot.
    said: u64,
    counts: BTreeMap<(RoleName, &'static str), u64>,
}

impl Logs {
    /// Adds a line and lets the oldest go.
    pub fn push(&mut self, mut line: LogLine) {
        self.said += 1;
        line.seq = self.said;
        let level = LEVELS.into_iter().find(|level| *level == line.level);
        let level = level.unwrap_or("warn");
        *self.counts.entry((line.role, level)).or_default() += 1;
        self.text_bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.text_bytes > TEXT_BYTES_MAX {
            let Some(gone) = self.lines.pop_front() else {
                break;
            };
            self.text_bytes -= gone.text.len();
        }
    }

    /// What is held, and what was said; files are not this one's to know.
    pub fn statistics(&self) -> LogStatistics {
        let said = self.counts.iter();
        LogStatistics {
            lines: self.lines.len() as u64,
            text_bytes: self.text_bytes as u64,
            oldest_unix_ms: self.lines.front().map(|line| line.unix_ms),
            said: said
                .map(|((role, level), count)| (*role, (*level).to_owned(), *count))
                .collect(),
            ..LogStatistics::default()
        }
    }

    /// At most `lines_max` newest lines, of one role or of all, oldest first.
    pub fn newest(&self, role: Option<RoleName>, lines_max: usize) -> Vec<LogLine> {
        let wanted = |line: &&LogLine| role.is_none_or(|role| line.role == role);
        let mut lines: Vec<LogLine> = self
            .lines
            .iter()
            .rev()
            .filter(wanted)
            .take(lines_max)
            .cloned()
            .collect();
        lines.reverse();
        lines
    }
}

/// Makes lines of what comes out of a role's pipe.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// The rest of an overlong line is thrown away up to its end.
    skipping: bool,
}

impl Lines {
    /// Takes octets and gives the lines that are complete: level and text.
    pub fn feed(&mut self, octets: &[u8]) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for &octet in octets {
            if octet == b'\n' {
                if !self.skipping {
                    lines.extend(self.finish());
                }
                self.skipping = false;
            } else if !self.skipping {
                self.partial.push(octet);
                if self.partial.len() >= LINE_BYTES_MAX {
                    lines.extend(self.finish());
                    self.skipping = true;
                }
            }
        }
        lines
    }

    /// What stands there without an end, when the role is gone.
    pub fn finish(&mut self) -> Option<(&'static str, String)> {
        if self.partial.is_empty() {
            return None;
        }
        let text = clean(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        Some(split_level(&text))
    }
}

/// Without control characters, so that a line can neither move a terminal's cursor nor make
/// another line.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// What has no level is something a library or the runtime said by itself.
fn split_level(text: &str) -> (&'static str, String) {
    for level in ["error", "warn", "info", "debug"] {
        if let Some(rest) = text.strip_prefix(level)
            && let Some(rest) = rest.strip_prefix(' ')
        {
            return (level, rest.to_owned());
        }
    }
    ("warn", text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: RoleName, text: &str) -> LogLine {
        LogLine {
            seq: 0,
            uptime_ms: 0,
            unix_ms: 0,
            role,
            level: "info".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_ring_is_bounded_by_lines_and_by_octets() {
        let mut logs = Logs::default();
        for n in 0..2 * LINES_MAX {
            logs.push(line(RoleName::Netd, &n.to_string()));
        }
        assert_eq!(logs.newest(None, usize::MAX).len(), LINES_MAX);
        for _ in 0..2 * TEXT_BYTES_MAX / LINE_BYTES_MAX {
            logs.push(line(RoleName::Netd, &"x".repeat(LINE_BYTES_MAX)));
        }
        assert!(logs.text_bytes <= TEXT_BYTES_MAX);
        let statistics = logs.statistics();
        assert_eq!(statistics.lines, logs.lines.len() as u64);
        let newest = logs.lines.back().unwrap();
        assert_eq!(
            statistics.said,
            [(RoleName::Netd, "info".to_owned(), newest.seq)]
        );
    }

    #[test]
    fn newest_lines_of_a_role_come_oldest_first() {
        let mut logs = Logs::default();
        for n in 0..10 {
            logs.push(line(RoleName::Netd, &n.to_string()));
            logs.push(line(RoleName::Wand, "other"));
        }
        let texts: Vec<String> = logs
            .newest(Some(RoleName::Netd), 2)
            .into_iter()
            .map(|line| line.text)
            .collect();
        assert_eq!(texts, ["8", "9"]);
    }

    #[test]
    fn lines_are_put_together_cleaned_and_cut() {
        let mut lines = Lines::default();
        assert!(lines.feed(b"info hel").is_empty());
        assert_eq!(
            lines.feed(b"lo\x1b[2J\n"),
            [("info", "hello[2J".to_owned())]
        );
        assert_eq!(lines.feed(b"raw\nwarn w\n").len(), 2);
        let long = [b'x'; 3 * LINE_BYTES_MAX];
        assert_eq!(lines.feed(&long).len(), 1);
        assert!(lines.feed(b"still the same line\n").is_empty());
        assert_eq!(lines.feed(b"\n\nerror e\n"), [("error", "e".to_owned())]);
    }
}
