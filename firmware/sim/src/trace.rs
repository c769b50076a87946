//! What happened, for people: time, who, what. Costs nothing while nobody reads it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;

use embassy_time::Instant;

/// Lines kept for the report of a failing seed; the replay prints all of them.
const LINES_KEPT_MAX: usize = 60;

/// What is done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// The last ones are kept.
    Keep,
    /// It is printed at once.
    Print,
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    mode: Mode,
    kept: VecDeque<String>,
}

impl Trace {
    /// A trace; with anything but [`Mode::Off`] it hears the log of this thread too.
    pub fn new(mode: Mode) -> Self {
        HEARD.with(|heard| heard.set(mode != Mode::Off));
        Self {
            mode,
            kept: VecDeque::new(),
        }
    }

    /// Notes a line; `what` is only called when somebody reads it.
    pub fn note(&mut self, now: Instant, who: &str, what: impl FnOnce() -> String) {
        if self.mode == Mode::Off {
            return;
        }
        for line in LOGGED.with(RefCell::take) {
            self.line(now, "log", &line);
        }
        self.line(now, who, &what());
    }

    /// Takes over what the roles logged.
    pub fn hear(&mut self, now: Instant) {
        if self.mode != Mode::Off {
            for line in LOGGED.with(RefCell::take) {
                self.line(now, "log", &line);
            }
        }
    }

    /// The last lines.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(String::as_str)
    }

    fn line(&mut self, now: Instant, who: &str, what: &str) {
        let (s, us) = (now.as_secs(), now.as_micros() % 1_000_000);
        let line = format!("{s:>7}.{us:06}  {who:<9} {what}");
        if self.mode == Mode::Print {
            println!("{line}");
        }
        if self.kept.len() == LINES_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }
}

thread_local! {
    static HEARD: Cell<bool> = const { Cell::new(false) };
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Takes the roles' log lines of threads whose trace is read.
struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        HEARD.with(Cell::get)
    }

    fn log(&self, record: &log::Record<'_>) {
        if HEARD.with(Cell::get) {
            let line = format!(
                "{}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            );
            LOGGED.with(|lines| lines.borrow_mut().push(line));
        }
    }

    fn flush(&self) {}
}

/// Makes traces hear the roles' log; once a process.
pub fn listen() {
    if log::set_logger(&Ear).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// Octets as people read them, shortened.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.iter().take(16) {
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}
