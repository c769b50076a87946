//! The process that runs one target.
//!
//! It says on its standard output, a line each:
//! - `at N` before input N, now and then; with [`Job::each`] before every input;
//! - `crash N SHRUNK MESSAGE` when input N panics; SHRUNK is a smaller input that panics at the
//!   same place, in hexadecimal;
//! - `done` and the figures of [`Report`].
//!
//! What it cannot say is seen by [`crate::supervisor`].

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use embassy_time::Duration;
use lintel_rt::clock::Clock;

use crate::input::Inputs;
use crate::{Tally, Target, memory};

/// Between two words that it is alive.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Between two looks at the clock, calls.
const CALLS_PER_LOOK: u64 = 32;

/// Tries to make a crashing input smaller.
const SHRINK_TRIES_MAX: usize = 4000;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Job {
    /// The target.
    pub target: &'static Target,
    /// Seed of the inputs.
    pub seed: u64,
    /// Numbers of the calls to make.
    pub calls: Range<u64>,
    /// Stop when so many inputs were fed, whatever `calls` says: a machine's call feeds many.
    pub inputs: u64,
    /// Say `at` before each input.
    pub each: bool,
}

/// What a worker that ended says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls of the target.
    pub calls: u64,
    /// Inputs fed and accepted.
    pub tally: Tally,
    /// Milliseconds by the clock.
    pub ms: u64,
    /// Resident memory after the first eighth, KiB.
    pub rss_warm_kib: u64,
    /// Resident memory at the end, KiB.
    pub rss_end_kib: u64,
    /// The most that was resident, KiB.
    pub rss_peak_kib: u64,
    /// Octets allocated and not freed, from the first eighth to the end.
    pub live_growth_bytes: i64,
}

impl Report {
    /// The figures of a `done` line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut numbers = line
            .strip_prefix("done ")?
            .split(' ')
            .map(str::parse::<i64>);
        let mut next = || numbers.next()?.ok();
        let mut unsigned = || next().and_then(|number| u64::try_from(number).ok());
        Some(Self {
            calls: unsigned()?,
            tally: Tally {
                inputs: unsigned()?,
                accepted: unsigned()?,
            },
            ms: unsigned()?,
            rss_warm_kib: unsigned()?,
            rss_end_kib: unsigned()?,
            rss_peak_kib: unsigned()?,
            live_growth_bytes: next()?,
        })
    }

    fn line(&self) -> String {
        format!(
            "done {} {} {} {} {} {} {} {}",
            self.calls,
            self.tally.inputs,
            self.tally.accepted,
            self.ms,
            self.rss_warm_kib,
            self.rss_end_kib,
            self.rss_peak_kib,
            self.live_growth_bytes
        )
    }
}

/// Runs a job to its end or to its first crash; false for a crash.
///
/// # Errors
/// When nobody reads standard output.
pub fn run(job: &Job, corpus: &[Vec<u8>]) -> io::Result<bool> {
    // Said again where it was caught, with the number of the input.
    std::panic::set_hook(Box::new(|info| {
        let at = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        let what = info.payload_as_str().unwrap_or("a panic without words");
        PANIC.with_borrow_mut(|panic| *panic = (at, what.to_owned()));
    }));
    let mut inputs = Inputs::new(job.target, corpus, job.seed);
    let mut input = Vec::with_capacity(1 << 20);
    let mut report = Report::default();
    let begun = Clock.now();
    let mut spoke = begun;
    let mut live_warm = None;
    say(&format!("at {}", job.calls.start))?;
    for number in job.calls.clone() {
        if report.tally.inputs >= job.inputs {
            break;
        }
        if job.each || (report.calls % CALLS_PER_LOOK == 0 && Clock.now() - spoke >= REPORT_EVERY) {
            say(&format!("at {number}"))?;
            spoke = Clock.now();
        }
        if live_warm.is_none() && report.tally.inputs >= job.inputs / 8 {
            report.rss_warm_kib = memory::rss_kib();
            live_warm = Some(memory::live_bytes());
        }
        inputs.make(number, &mut input);
        match call(job.target, &input) {
            Ok(tally) => report.tally += tally,
            Err((at, what)) => {
                say(&format!("at {number}"))?;
                let shrunk = shrink(job.target, &input, &at);
                let what = what.replace('\n', " | ");
                say(&format!("crash {number} {} {at}: {what}", hex(&shrunk)))?;
                return Ok(false);
            }
        }
        report.calls += 1;
    }
    report.ms = (Clock.now() - begun).as_millis();
    report.live_growth_bytes = memory::live_bytes() - live_warm.unwrap_or(0);
    report.rss_end_kib = memory::rss_kib();
    report.rss_peak_kib = memory::rss_peak_kib();
    say(&report.line())?;
    Ok(true)
}

thread_local! {
    /// Place and words of the last panic.
    static PANIC: RefCell<(String, String)> = RefCell::default();
}

fn call(target: &Target, input: &[u8]) -> Result<Tally, (String, String)> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input)))
        .map_err(|_| PANIC.with_borrow(Clone::clone))
}

/// A smaller input that panics at the same place: pieces are left out, then octets made zero.
fn shrink(target: &Target, input: &[u8], at: &str) -> Vec<u8> {
    let still =
        |candidate: &[u8]| matches!(call(target, candidate), Err((place, _)) if place == at);
    let mut best = input.to_vec();
    let mut tries = 0;
    let mut piece = best.len().div_ceil(2);
    while piece > 0 && tries < SHRINK_TRIES_MAX {
        let mut from = 0;
        while from < best.len() && tries < SHRINK_TRIES_MAX {
            tries += 1;
            let mut candidate = best.clone();
            candidate.drain(from..(from + piece).min(best.len()));
            if still(&candidate) {
                best = candidate;
            } else {
                from += piece;
            }
        }
        piece /= 2;
    }
    for at in 0..best.len().min(SHRINK_TRIES_MAX) {
        let octet = std::mem::take(&mut best[at]);
        if octet != 0 && !still(&best) {
            best[at] = octet;
        }
    }
    best
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::from("x"), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Reads what [`hex`] wrote.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    text.strip_prefix('x')?
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
