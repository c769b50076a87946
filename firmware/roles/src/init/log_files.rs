//! Log lines and crash records on /data: bounded in size, and gentle to flash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use embassy_time::{Duration, Instant};
use lintel_ipc::init::LogLine;
use lintel_model::RoleName;

/// A file is turned over at this size.
pub const FILE_BYTES_MAX: u64 = 512 << 10;
/// Files kept beside the one that is written.
pub const OLD_FILES_MAX: u32 = 3;
/// Lines wait in memory for the next full hour of the uptime, when the clock's floor is written
/// too: a write costs the file system's journal as much as thirty lines. A power cut loses what
/// waits, unless an error came after it.
pub const FLUSH_EVERY: Duration = Duration::from_secs(3600);
/// An error is written this soon, with what came before it.
pub const FLUSH_AFTER_ERROR: Duration = Duration::from_secs(5);
/// What waits is bounded by this many octets.
pub const WAITING_BYTES_MAX: usize = 64 << 10;
/// Crash records kept; the oldest goes.
pub const CRASH_RECORDS_MAX: usize = 20;
/// Between two crash records of one role: a role that dies at every start tells nothing new.
pub const CRASH_RECORD_EVERY: Duration = Duration::from_secs(60);
/// Log lines in a crash record.
pub const CRASH_LINES: usize = 40;

/// The files below a data directory.
#[derive(Debug)]
pub struct LogFiles {
    log_dir: PathBuf,
    crash_dir: PathBuf,
    waiting: Vec<u8>,
    flush_at: Option<Instant>,
    crashes: Vec<(RoleName, Instant)>,
}

impl LogFiles {
    /// Files in `data_dir/log` and `data_dir/crash`, which exist.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            log_dir: data_dir.join("log"),
            crash_dir: data_dir.join("crash"),
            waiting: Vec::new(),
            flush_at: None,
            crashes: Vec::new(),
        }
    }

    /// Takes a line; debug lines stay in memory.
    pub fn push(&mut self, now: Instant, line: &LogLine) {
        if line.level == "debug" || self.waiting.len() > WAITING_BYTES_MAX {
            return;
        }
        self.waiting.extend(text_of(line).into_bytes());
        let due = if line.level == "error" || self.waiting.len() > WAITING_BYTES_MAX {
            now + FLUSH_AFTER_ERROR
        } else {
            let hours = now.as_secs() / FLUSH_EVERY.as_secs() + 1;
            Instant::from_secs(hours * FLUSH_EVERY.as_secs())
        };
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
    }

    /// When [`Self::flush`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Writes what waits. What cannot be written is dropped: the ring still has it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_at = None;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let path = self.log_dir.join("lintel.log");
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > FILE_BYTES_MAX) {
            self.turn_over(&path)?;
        }
        open_append(&path)?.write_all(&waiting)
    }

    /// `lintel.log` becomes `lintel.log.1`, that one `.2`, and the last goes.
    fn turn_over(&self, path: &Path) -> io::Result<()> {
        let old = |n: u32| self.log_dir.join(format!("lintel.log.{n}"));
        for n in (1..OLD_FILES_MAX).rev() {
            if old(n).exists() {
                fs::rename(old(n), old(n + 1))?;
            }
        }
        fs::rename(path, old(1))
    }

    /// Keeps a record of a crash.
    pub fn crash(
        &mut self,
        now: Instant,
        role: RoleName,
        name: &str,
        how: &str,
        last: &[LogLine],
    ) -> io::Result<()> {
        let recent = |(of, at): &(RoleName, Instant)| *of == role && now < *at + CRASH_RECORD_EVERY;
        if self.crashes.iter().any(recent) {
            return Ok(());
        }
        self.crashes.retain(|(of, _)| *of != role);
        self.crashes.push((role, now));
        let mut text = format!("{role} ended: {how}\n");
        text.extend(last.iter().map(text_of));
        fs::write(self.crash_dir.join(name), text)?;
        self.forget_oldest_crashes()
    }

    fn forget_oldest_crashes(&self) -> io::Result<()> {
        let mut records: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.crash_dir)? {
            let entry = entry?;
            records.push((entry.metadata()?.modified()?, entry.path()));
        }
        records.sort();
        let surplus = records.len().saturating_sub(CRASH_RECORDS_MAX);
        for (_, path) in records.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn text_of(line: &LogLine) -> String {
    format!(
        "{}.{:03} {} {} {}\n",
        line.unix_ms / 1_000,
        line.unix_ms % 1_000,
        line.role,
        line.level,
        line.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: &str, text: String) -> LogLine {
        LogLine {
            uptime_ms: 0,
            unix_ms: 0,
            role: RoleName::Netd,
            level: level.to_owned(),
            text,
        }
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("lintel-logs-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("log")).unwrap();
        fs::create_dir_all(dir.join("crash")).unwrap();
        dir
    }

    #[test]
    fn lines_wait_and_errors_hurry() {
        let dir = dir("wait");
        let mut files = LogFiles::new(&dir);
        let now = Instant::from_secs(1);
        files.push(now, &line("info", "one".to_owned()));
        assert_eq!(files.timeout(), Some(Instant::from_secs(3600)));
        files.push(now, &line("error", "two".to_owned()));
        assert_eq!(files.timeout(), Some(now + FLUSH_AFTER_ERROR));
        files.flush().unwrap();
        let text = fs::read_to_string(dir.join("log/lintel.log")).unwrap();
        assert!(text.ends_with("netd info one\n0.000 netd error two\n"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_and_records_are_bounded() {
        let dir = dir("bound");
        let mut files = LogFiles::new(&dir);
        for n in 0..8 * FILE_BYTES_MAX / 1_000 {
            let now = Instant::from_secs(n);
            files.push(now, &line("info", "x".repeat(1_000)));
            files.flush().unwrap();
        }
        let size: u64 = fs::read_dir(dir.join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= (FILE_BYTES_MAX + 2_000) * u64::from(OLD_FILES_MAX + 1));
        for n in 0..CRASH_RECORDS_MAX as u64 + 5 {
            let now = Instant::from_secs(1_000 * n);
            let name = format!("{n}-netd.txt");
            files
                .crash(now, RoleName::Netd, &name, "signal 9", &[])
                .unwrap();
            // At once after the other: no second record.
            files
                .crash(now, RoleName::Netd, "again.txt", "signal 9", &[])
                .unwrap();
        }
        assert_eq!(
            fs::read_dir(dir.join("crash")).unwrap().count(),
            CRASH_RECORDS_MAX
        );
        assert!(!dir.join("crash/again.txt").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
