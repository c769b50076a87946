//! Starts workers, sees what they cannot say, keeps the guilty input, prints the table.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::input::Inputs;
use crate::worker::{Report, unhex};
use crate::{Target, corpus};

/// Processor time without a word after which an input hangs, clock ticks of 10 ms: 4 s, where the
/// slowest honest call takes milliseconds.
const SILENT_TICKS_MAX: u64 = 400;

/// Silence by the clock after which an input waits for something that does not come. Long,
/// because a busy host may leave a worker without a processor.
const SILENT_SECONDS_MAX: u64 = 120;

/// Octets that may stay allocated between the first eighth and the end. A leak of one octet an
/// input is eight times as much.
const LIVE_GROWTH_BYTES_MAX: i64 = 100_000;

/// Growth of resident memory in the same time, KiB; the allocator's own fragments are in it.
const RSS_GROWTH_KIB_MAX: u64 = 8 * 1024;

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The targets.
    pub targets: Vec<&'static Target>,
    /// Inputs for each.
    pub inputs: u64,
    /// Their seed.
    pub seed: u64,
    /// Workers at a time.
    pub jobs: usize,
    /// Where the corpus is.
    pub corpus: PathBuf,
}

/// How a target's run ended.
#[derive(Debug)]
enum End {
    Done(Report),
    Finding {
        what: &'static str,
        words: String,
        input: Vec<u8>,
    },
    Grew {
        report: Report,
        words: String,
    },
}

/// Runs every target, prints a table and what was found; true when nothing was.
///
/// # Errors
/// When a worker cannot be started or the corpus cannot be read or written.
pub fn run(plan: &Plan) -> io::Result<bool> {
    println!(
        "seed {}, {} inputs a target, {} at a time",
        plan.seed, plan.inputs, plan.jobs
    );
    println!("{}", heading());
    let queue = Mutex::new(plan.targets.iter());
    let clean = Mutex::new(true);
    let work = || -> io::Result<()> {
        loop {
            let Some(target) = queue.lock().map_err(poisoned)?.next() else {
                return Ok(());
            };
            let kept = corpus::load(&plan.corpus, target.name)?;
            let end = run_target(plan, target, &kept)?;
            // The lock keeps the lines of two findings apart.
            let mut clean = clean.lock().map_err(poisoned)?;
            *clean &= say(plan, target, kept.len(), end)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(poisoned(()))))
    })?;
    clean.into_inner().map_err(poisoned)
}

fn poisoned<E>(_: E) -> io::Error {
    io::Error::other("a thread of the supervisor panicked")
}

fn heading() -> String {
    format!(
        "{:<24} {:>11} {:>9} {:>11} {:>7} {:>7} {:>16} {:>9} {:>10}",
        "target",
        "inputs",
        "accepted",
        "inputs/s",
        "s",
        "corpus",
        "RSS KiB",
        "peak KiB",
        "live bytes"
    )
}

fn row(target: &Target, kept: usize, report: &Report) -> String {
    let tally = report.tally;
    let share = tally.accepted as f64 * 100.0 / tally.inputs.max(1) as f64;
    let seconds = report.ms as f64 / 1000.0;
    format!(
        "{:<24} {:>11} {:>8.1}% {:>11.0} {:>7.1} {:>7} {:>7} -> {:>5} {:>9} {:>+10}",
        target.name,
        tally.inputs,
        share,
        tally.inputs as f64 / seconds.max(0.001),
        seconds,
        kept,
        report.rss_warm_kib,
        report.rss_end_kib,
        report.rss_peak_kib,
        report.live_growth_bytes
    )
}

/// Prints how a target ended; true when nothing was found.
fn say(plan: &Plan, target: &Target, kept: usize, end: End) -> io::Result<bool> {
    match end {
        End::Done(report) => {
            println!("{}", row(target, kept, &report));
            Ok(true)
        }
        End::Grew { report, words } => {
            println!("{}", row(target, kept, &report));
            println!("FOUND leak in {}: {words}", target.name);
            println!(
                "  run it again: cargo run --profile fuzz -p lintel-fuzz -- run --seed {} --inputs {} --only {}",
                plan.seed, plan.inputs, target.name
            );
            Ok(false)
        }
        End::Finding { what, words, input } => {
            let path = corpus::keep(&plan.corpus, target.name, what, &input)?;
            println!("FOUND {what} in {}: {words}", target.name);
            println!(
                "  replay it: cargo run --profile fuzz -p lintel-fuzz -- replay {} {}",
                target.name,
                path.display()
            );
            Ok(false)
        }
    }
}

fn run_target(plan: &Plan, target: &'static Target, kept: &[Vec<u8>]) -> io::Result<End> {
    let made = |number| {
        let mut input = Vec::new();
        Inputs::new(target, kept, plan.seed).make(number, &mut input);
        input
    };
    // The second time from the last word on, and a word before each input.
    let again = |at| watch(spawn(plan, target, at, true)?);
    Ok(match watch(spawn(plan, target, 0, false)?)? {
        Watched::Done(report) => grown(report),
        Watched::Crash {
            number,
            shrunk,
            words,
        } => End::Finding {
            what: "panic",
            words: format!("input {number}: {words}"),
            input: shrunk.unwrap_or_else(|| made(number)),
        },
        Watched::Died { at, status } => match again(at)? {
            Watched::Died { at, .. } => End::Finding {
                what: "death",
                words: format!("input {at}: the process ended with {status}"),
                input: made(at),
            },
            other => {
                return Err(io::Error::other(format!(
                    "{status} at {at}, then {other:?}"
                )));
            }
        },
        Watched::Hung { at } => match again(at)? {
            Watched::Hung { at } => End::Finding {
                what: "hang",
                words: format!("input {at}: no end after {} s", SILENT_TICKS_MAX / 100),
                input: made(at),
            },
            other => return Err(io::Error::other(format!("hung at {at}, then {other:?}"))),
        },
    })
}

fn grown(report: Report) -> End {
    let rss = report.rss_end_kib.saturating_sub(report.rss_warm_kib);
    if report.live_growth_bytes > LIVE_GROWTH_BYTES_MAX || rss > RSS_GROWTH_KIB_MAX {
        let words = format!(
            "{} bytes more are allocated at the end than after an eighth, {rss} KiB more resident",
            report.live_growth_bytes
        );
        return End::Grew { report, words };
    }
    End::Done(report)
}

fn spawn(plan: &Plan, target: &Target, from: u64, each: bool) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["worker", target.name])
        .args(["--seed", &plan.seed.to_string()])
        .args(["--inputs", &plan.inputs.to_string()])
        .args(["--from", &from.to_string()])
        .arg("--corpus")
        .arg(&plan.corpus);
    if each {
        command.arg("--each");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// What was seen of a worker.
#[derive(Debug)]
enum Watched {
    Done(Report),
    Crash {
        number: u64,
        shrunk: Option<Vec<u8>>,
        words: String,
    },
    Died {
        at: u64,
        status: ExitStatus,
    },
    Hung {
        at: u64,
    },
}

fn watch(mut child: Child) -> io::Result<Watched> {
    let out = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no pipe"))?;
    let (to_here, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if to_here.send(line).is_err() {
                break;
            }
        }
    });
    let seen = listen(&child, &lines);
    if matches!(seen, Some(Watched::Hung { .. })) {
        child.kill()?;
    }
    drop(lines);
    let status = child.wait()?;
    let _ = reader.join();
    Ok(match seen {
        Some(Watched::Died { at, .. }) => Watched::Died { at, status },
        Some(other) => other,
        None => Watched::Died { at: 0, status },
    })
}

/// Follows a worker's words to its last or to a silence that is too long.
fn listen(child: &Child, lines: &mpsc::Receiver<String>) -> Option<Watched> {
    let (mut at, mut silent_s) = (0, 0);
    let mut ticks = processor_ticks(child.id());
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                (silent_s, ticks) = (0, processor_ticks(child.id()));
                if let Some(number) = line.strip_prefix("at ") {
                    at = number.parse().unwrap_or(at);
                } else if let Some(report) = Report::parse(&line) {
                    return Some(Watched::Done(report));
                } else if let Some(crash) = line.strip_prefix("crash ") {
                    let mut parts = crash.splitn(3, ' ');
                    return Some(Watched::Crash {
                        number: parts.next()?.parse().ok()?,
                        shrunk: unhex(parts.next()?),
                        words: parts.next()?.to_owned(),
                    });
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Watched::Died {
                    at,
                    status: ExitStatus::default(),
                });
            }
            Err(RecvTimeoutError::Timeout) => {
                silent_s += 1;
                let spun = processor_ticks(child.id()).saturating_sub(ticks);
                if spun > SILENT_TICKS_MAX || silent_s > SILENT_SECONDS_MAX {
                    return Some(Watched::Hung { at });
                }
            }
        }
    }
}

/// Processor time that a process used, in ticks of 10 ms (proc_pid_stat(5), fields 14 and 15).
fn processor_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    // The name in field 2 may hold anything but ends with the last parenthesis.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum()
}
