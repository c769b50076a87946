//! Log lines and crash records on /data: bounded in size, and gentle to flash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embassy_time::{Duration, Instant};
use lintel_ipc::init::{LOG_PART_BYTES_MAX, LogFileStatus, LogLine, LogStatistics};
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

/// Between two files that are begun on request.
pub const ROTATE_EVERY: Duration = Duration::from_secs(60);
/// Most files that are told of.
const FILES_MAX: usize = CRASH_RECORDS_MAX + OLD_FILES_MAX as usize + 1;
/// The file that is written.
const CURRENT: &str = "lintel.log";
/// The directories, as they are told.
const LOG: &str = "log";
const CRASH: &str = "crash";

/// What became of a wish for a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// What waited is written, and a new file is begun.
    Done,
    /// Nothing was done: the last one is too young.
    TooSoon {
        /// Until it is not, seconds.
        wait_s: u64,
    },
}

/// The files below a data directory.
#[derive(Debug)]
pub struct LogFiles {
    log_dir: PathBuf,
    crash_dir: PathBuf,
    waiting: Vec<u8>,
    flush_at: Option<Instant>,
    written_bytes: u64,
    rotated_at: Option<Instant>,
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
            written_bytes: 0,
            rotated_at: None,
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
        let path = self.log_dir.join(CURRENT);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > FILE_BYTES_MAX) {
            self.turn_over(&path)?;
        }
        open_append(&path)?.write_all(&waiting)?;
        self.written_bytes += waiting.len() as u64;
        Ok(())
    }

    /// Writes what waits, and begins a new file; not oftener than the flash likes.
    pub fn rotate(&mut self, now: Instant) -> io::Result<Rotated> {
        let again = self.rotated_at.map(|at| at + ROTATE_EVERY);
        if let Some(left) = again.and_then(|again| again.checked_duration_since(now))
            && left.as_ticks() > 0
        {
            return Ok(Rotated::TooSoon {
                wait_s: left.as_millis().div_ceil(1000),
            });
        }
        self.flush()?;
        let path = self.log_dir.join(CURRENT);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > 0) {
            self.rotated_at = Some(now);
            self.turn_over(&path)?;
        }
        Ok(Rotated::Done)
    }

    /// Adds what lies on the storage to what the ring says of itself.
    pub fn add_statistics(&self, statistics: &mut LogStatistics) {
        statistics.waiting_bytes = self.waiting.len() as u64;
        statistics.written_bytes = self.written_bytes;
        statistics.files = self.files();
    }

    /// The log's files, the newest first, then the records of crashes.
    fn files(&self) -> Vec<LogFileStatus> {
        let logs = std::iter::once(CURRENT.to_owned())
            .chain((1..=OLD_FILES_MAX).map(|n| format!("{CURRENT}.{n}")))
            .map(|name| (format!("{LOG}/{name}"), self.log_dir.join(name)));
        let mut crashes: Vec<_> = fs::read_dir(&self.crash_dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                Some((format!("{CRASH}/{name}"), entry.path()))
            })
            .collect();
        crashes.sort();
        logs.chain(crashes)
            .filter_map(|(name, path)| {
                let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
                let bytes = meta.len();
                Some(LogFileStatus { name, bytes })
            })
            .take(FILES_MAX)
            .collect()
    }

    /// Part of a file that [`Self::files`] names, and where the next begins.
    pub fn read(&self, name: &str, offset: u64) -> io::Result<(String, Option<u64>)> {
        // Only what is there by our own list: a name is no path.
        if !self.files().iter().any(|file| file.name == name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = match name.split_once('/') {
            Some((LOG, name)) => self.log_dir.join(name),
            Some((CRASH, name)) => self.crash_dir.join(name),
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        let mut octets = vec![0; LOG_PART_BYTES_MAX];
        let n = File::open(path)?.read_at(&mut octets, offset)?;
        octets.truncate(n);
        let next = (n == LOG_PART_BYTES_MAX).then(|| offset + n as u64);
        // A letter that the part's end cuts in two is lost; everything else is as it was said.
        let text = String::from_utf8_lossy(&octets);
        let plain = |c: &char| *c == '\n' || !c.is_control();
        Ok((text.chars().filter(plain).collect(), next))
    }

    /// `lintel.log` becomes `lintel.log.1`, that one `.2`, and the last goes.
    fn turn_over(&self, path: &Path) -> io::Result<()> {
        let old = |n: u32| self.log_dir.join(format!("{CURRENT}.{n}"));
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
            seq: 0,
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
    fn a_new_file_is_begun_on_request_and_parts_are_read_by_name() {
        let dir = dir("rotate");
        let mut files = LogFiles::new(&dir);
        let now = Instant::from_secs(1_000);
        files.push(now, &line("info", "x".repeat(LOG_PART_BYTES_MAX)));
        files.push(now, &line("info", "the end".to_owned()));
        assert_eq!(files.rotate(now).unwrap(), Rotated::Done);
        let soon = files.rotate(now + ROTATE_EVERY - Duration::from_millis(1));
        assert_eq!(soon.unwrap(), Rotated::TooSoon { wait_s: 1 });
        files.push(now, &line("info", "new\x1b".to_owned()));
        files.flush().unwrap();
        files
            .crash(now, RoleName::Netd, "1-netd.txt", "signal 9", &[])
            .unwrap();
        let mut statistics = LogStatistics::default();
        files.add_statistics(&mut statistics);
        let names: Vec<&str> = statistics.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(
            names,
            ["log/lintel.log", "log/lintel.log.1", "crash/1-netd.txt"]
        );
        let written = statistics.files[0].bytes + statistics.files[1].bytes;
        assert_eq!(statistics.written_bytes, written);
        let (first, next) = files.read("log/lintel.log.1", 0).unwrap();
        let (rest, end) = files.read("log/lintel.log.1", next.unwrap()).unwrap();
        assert_eq!(end, None);
        assert!((first + &rest).ends_with("netd info the end\n"));
        assert_eq!(
            files.read("log/lintel.log", 0).unwrap().0,
            "0.000 netd info new\n"
        );
        for name in [
            "log/../clock",
            "clock",
            "/etc/passwd",
            "log/lintel.log.9",
            "",
        ] {
            assert!(files.read(name, 0).is_err(), "{name}");
        }
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
