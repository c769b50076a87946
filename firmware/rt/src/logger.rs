//! Log lines of a role: `<level> text` on standard error, which init reads.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Longest line that leaves a role; init cuts at the same length.
pub const LINE_BYTES_MAX: usize = 1024;

struct StderrLog;

impl Log for StderrLog {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        write_line(record.level(), &record.args().to_string());
    }

    fn flush(&self) {}
}

/// Installs the logger and a hook that makes a panic one line of the log.
pub fn install(level: LevelFilter) {
    // A second install keeps the first: the same logger.
    let _ = log::set_logger(&StderrLog);
    log::set_max_level(level);
    std::panic::set_hook(Box::new(|panic| {
        write_line(Level::Error, &panic.to_string());
    }));
}

/// One write, so that lines of two threads do not mix.
fn write_line(level: Level, text: &str) {
    let mut line = format!("{} ", level_word(level)).into_bytes();
    line.extend(
        text.bytes()
            .take(LINE_BYTES_MAX - 8)
            .map(|octet| if octet == b'\n' { b' ' } else { octet }),
    );
    line.push(b'\n');
    // Nobody is left to tell when standard error is gone.
    let _ = std::io::stderr().write_all(&line);
}

/// The level as in [`lintel_ipc::init::LogLine`].
pub fn level_word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    }
}

/// Lines of init itself wait here until its loop takes them.
static OWN_LINES: std::sync::Mutex<Vec<(Level, String)>> = std::sync::Mutex::new(Vec::new());
/// More would mean that the loop does not run.
const OWN_LINES_MAX: usize = 1024;

struct OwnLog;

impl Log for OwnLog {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        if let Ok(mut lines) = OWN_LINES.lock()
            && lines.len() < OWN_LINES_MAX
        {
            lines.push((record.level(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Installs init's logger: what it says goes through its own ring like everybody's lines.
pub fn install_for_init(level: LevelFilter) {
    // A second install keeps the first: the same logger.
    let _ = log::set_logger(&OwnLog);
    log::set_max_level(level);
}

/// What init said since the last call.
pub fn take_own_lines() -> Vec<(Level, String)> {
    OWN_LINES
        .lock()
        .map(|mut lines| std::mem::take(&mut *lines))
        .unwrap_or_default()
}
