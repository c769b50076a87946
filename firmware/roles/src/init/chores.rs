//! What a box does beside its roles: the watchdog, the clock's floor, the console. Under
//! `lintel run` all of it is absent but the lines on standard error.

use std::io::Write;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::LogLine;
use lintel_model::RoleName;
use lintel_model::facts::DataState;
use lintel_rt::clock::Clock;
use lintel_rt::device::Watchdog;

use super::console::Consoles;
use super::data;

/// Between two feeds of the watchdog: a sixth of its time, so that one slow turn is no reset.
const FEED_EVERY: Duration = Duration::from_secs(5);
/// Between two writes of the clock's floor. Each costs a block of flash; a power cut makes the
/// clock at most this much older.
const KEEP_CLOCK_EVERY: Duration = Duration::from_secs(3600);
/// Between two looks at whether /data still takes writes.
const CHECK_DATA_EVERY: Duration = Duration::from_secs(10);

/// The chores of this process.
#[derive(Debug, Default)]
pub struct Chores {
    /// Fed from the loop and nowhere else.
    pub watchdog: Option<Watchdog>,
    /// Where lines are shown.
    pub screen: Screen,
    /// The prompts on the consoles.
    pub consoles: Option<Consoles>,
    /// /data is mounted here and is good.
    pub data_dir: Option<std::path::PathBuf>,
    feed_at: Option<Instant>,
    /// A write to /data was refused as on a read-only file system. After an error ext4 takes no
    /// writes, and Linux 6.1.192 does not show that in the mount's flags.
    pub refused: bool,
    keep_clock_at: Option<Instant>,
    check_data_at: Option<Instant>,
}

/// Where log lines are shown.
#[derive(Debug, Default)]
pub enum Screen {
    /// Standard error, every line: `lintel run`.
    #[default]
    Stderr,
    /// The box's console: what init says, and warnings of the roles.
    Console(Option<std::fs::File>),
}

impl Chores {
    /// When [`Self::run`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        [
            self.watchdog.as_ref().and(self.feed_at),
            self.data_dir.as_ref().and(self.keep_clock_at),
            self.data_dir.as_ref().and(self.check_data_at),
            self.consoles.as_ref().and_then(Consoles::timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due; says so when /data has become unusable.
    pub fn run(&mut self, now: Instant) -> Option<DataState> {
        let due = |at: &mut Option<Instant>, every: Duration| {
            let due = at.is_none_or(|at| at <= now);
            if due {
                *at = Some(now + every);
            }
            due
        };
        if let Some(watchdog) = &mut self.watchdog
            && due(&mut self.feed_at, FEED_EVERY)
            && let Err(error) = watchdog.feed()
        {
            log::error!("the watchdog takes no food: {error}");
        }
        if let Some(consoles) = &mut self.consoles {
            consoles.run(now);
        }
        let dir = self.data_dir.clone()?;
        let first = self.keep_clock_at.is_none();
        if due(&mut self.keep_clock_at, KEEP_CLOCK_EVERY)
            && !first
            && let Err(error) = data::keep_clock(&dir, Clock.unix_s())
        {
            log::warn!("the time could not be kept: {error}");
            self.refused |= error.kind() == std::io::ErrorKind::ReadOnlyFilesystem;
        }
        let refused = std::mem::take(&mut self.refused);
        if refused || due(&mut self.check_data_at, CHECK_DATA_EVERY) && data::is_read_only(&dir) {
            self.data_dir = None;
            return Some(DataState::Failed {
                reason: "the file system of /data found an error and takes no more writes"
                    .to_owned(),
            });
        }
        None
    }

    /// Whether the process was one of the consoles' prompts.
    pub fn on_exit(&mut self, pid: u32, now: Instant) -> bool {
        self.consoles
            .as_mut()
            .is_some_and(|consoles| consoles.on_exit(pid, now))
    }

    /// Shows a log line.
    pub fn show(&mut self, line: &LogLine) {
        match &mut self.screen {
            Screen::Stderr => {
                // Nobody is left to tell when standard error is gone.
                let _ = writeln!(
                    std::io::stderr(),
                    "{:>6}.{:03} {:<8} {:<5} {}",
                    line.uptime_ms / 1_000,
                    line.uptime_ms % 1_000,
                    line.role.as_str(),
                    line.level,
                    line.text
                );
            }
            Screen::Console(console) => {
                let worth = line.role == RoleName::Init && line.level != "debug"
                    || matches!(line.level.as_str(), "error" | "warn");
                if let Some(console) = console
                    && worth
                {
                    let who = if line.role == RoleName::Init {
                        String::new()
                    } else {
                        format!("{}: ", line.role)
                    };
                    // Non-blocking: a console that takes nothing must not hold PID 1.
                    let _ = write!(console, "lintel: {who}{}\r\n", line.text);
                }
            }
        }
    }

    /// Shows a line that goes nowhere else.
    pub fn say(&mut self, level: &str, text: &str) {
        self.show(&LogLine {
            seq: 0,
            uptime_ms: Clock.now().as_millis(),
            unix_ms: Clock.unix_ms(),
            role: RoleName::Init,
            level: level.to_owned(),
            text: text.to_owned(),
        });
    }
}
