//! The runner's command line; [`USAGE`] says what it takes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // reads and keeps files

use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use lintel_fuzz::supervisor::{self, Plan};
use lintel_fuzz::targets::TARGETS;
use lintel_fuzz::worker::{self, Job};
use lintel_fuzz::{Target, corpus, memory, target};
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = memory::COUNTING;

const USAGE: &str = "\
usage: lintel-fuzz run [--inputs N] [--seed N] [--jobs N] [--corpus DIR] [--only TARGET]...
       lintel-fuzz replay TARGET FILE...
       lintel-fuzz list";

/// Inputs for each target when nobody says a number.
const INPUTS_DEFAULT: u64 = 1_000_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match act() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lintel-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn act() -> Result<bool, Failure> {
    let words = Words::read(Parser::from_env())?;
    let known = |name: &String| target(name).ok_or_else(|| format!("no target {name}"));
    match words.plain.split_first() {
        Some((verb, [])) if verb == "run" => {
            let targets = match &words.only[..] {
                [] => TARGETS.iter().collect(),
                only => only.iter().map(known).collect::<Result<Vec<_>, _>>()?,
            };
            Ok(supervisor::run(&Plan {
                targets,
                inputs: words.inputs,
                seed: words.seed,
                jobs: words.jobs,
                corpus: words.corpus,
            })?)
        }
        Some((verb, [name, files @ ..])) if verb == "replay" => {
            let target = known(name)?;
            for file in files {
                replay(target, file)?;
            }
            Ok(true)
        }
        Some((verb, [])) if verb == "list" => {
            for target in TARGETS {
                println!("{}", target.name);
            }
            Ok(true)
        }
        Some((verb, [name])) if verb == "worker" => {
            let target = known(name)?;
            let kept = corpus::load(&words.corpus, target.name)?;
            memory::limit()?;
            let job = Job {
                target,
                seed: words.seed,
                calls: words.from..u64::MAX,
                inputs: words.inputs,
                each: words.each,
            };
            Ok(worker::run(&job, &kept)?)
        }
        _ => Err(USAGE.into()),
    }
}

/// Runs one kept input as it is; a panic speaks for itself.
fn replay(target: &Target, file: &str) -> Result<(), Failure> {
    let input = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let tally = (target.run)(&input);
    println!("{file}: {} of {} accepted", tally.accepted, tally.inputs);
    Ok(())
}

/// The command line, read.
struct Words {
    plain: Vec<String>,
    only: Vec<String>,
    inputs: u64,
    seed: u64,
    jobs: usize,
    from: u64,
    each: bool,
    corpus: PathBuf,
}

impl Words {
    fn read(mut parser: Parser) -> Result<Self, Failure> {
        let mut words = Self {
            plain: Vec::new(),
            only: Vec::new(),
            inputs: INPUTS_DEFAULT,
            seed: 1,
            jobs: std::thread::available_parallelism().map_or(2, Into::into),
            from: 0,
            each: false,
            corpus: corpus::root(),
        };
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("inputs") => words.inputs = parser.value()?.parse()?,
                Arg::Long("seed") => words.seed = parser.value()?.parse()?,
                Arg::Long("jobs") => words.jobs = parser.value()?.parse()?,
                Arg::Long("from") => words.from = parser.value()?.parse()?,
                Arg::Long("only") => words.only.push(parser.value()?.string()?),
                Arg::Long("corpus") => words.corpus = parser.value()?.into(),
                Arg::Long("each") => words.each = true,
                Arg::Long("help") => return Err(USAGE.into()),
                Arg::Value(value) => words.plain.push(value.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(words)
    }
}
