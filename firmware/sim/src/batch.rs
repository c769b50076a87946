//! Many seeds on all cores, and the report of those that break something.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plant::Plant;
use crate::properties::{Property, Violation};
use crate::scenario::Scenario;
use crate::street::{Outcome, run};
use crate::trace::Mode;

/// Failing seeds after which a batch ends: more say nothing new.
const FAILURES_MAX: usize = 5;

/// Seeds between two words about how far a batch is.
const TOLD_EVERY: u64 = 5000;

/// What is played.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One alone, with its trace.
    pub seed: Option<u64>,
    /// How many.
    pub seeds: u64,
    /// The first.
    pub from: u64,
    /// One scenario; without it all the quick ones in turn.
    pub scenario: Option<Scenario>,
    /// A bug.
    pub plant: Option<Plant>,
    /// Threads; zero: as many as there are cores.
    pub threads: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            seed: None,
            seeds: 1000,
            from: 0,
            scenario: None,
            plant: None,
            threads: 0,
        }
    }
}

/// A seed that broke something.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// The bug planted.
    pub plant: Option<Plant>,
    /// What broke.
    pub violation: Violation,
}

impl Failure {
    /// The one command that shows it again.
    pub fn command(&self) -> String {
        let plant = self.plant.map_or(String::new(), |plant| {
            format!(" --plant {}", plant.as_str())
        });
        format!(
            "cargo run -q -p lintel-sim -- --seed {:#x} --scenario {}{plant}",
            self.seed,
            self.scenario.as_str()
        )
    }
}

/// What seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Seeds played.
    pub seeds: u64,
    /// Events in them.
    pub events: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// Longest time from calm to all being well, seconds.
    pub well_after_s_max: u64,
    /// What broke.
    pub failures: Vec<Failure>,
}

/// Plays what was asked for and prints what came of it.
pub fn play(batch: &Batch) -> ExitCode {
    if let Some(seed) = batch.seed {
        return replay(batch, seed);
    }
    let sum = watched(batch, &|sum, failure| {
        if let Some(failure) = failure {
            println!("FAILED seed {:#x}: {}", failure.seed, failure.violation);
            println!("  replay: {}", failure.command());
        }
        if sum.seeds.is_multiple_of(TOLD_EVERY) {
            println!("{} of {} seeds", sum.seeds, batch.seeds);
        }
    });
    println!(
        "{} seeds, {} events, {} virtual hours; well again after {} s at most",
        sum.seeds,
        sum.events,
        sum.seconds / 3600,
        sum.well_after_s_max
    );
    if sum.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn replay(batch: &Batch, seed: u64) -> ExitCode {
    let scenario = batch.scenario.unwrap_or_else(|| scenario_of(seed));
    let outcome = run(scenario, seed, batch.plant, Mode::Print);
    match outcome.broken {
        Some(violation) => {
            println!("FAILED seed {seed:#x}: {violation}");
            ExitCode::FAILURE
        }
        None => {
            println!(
                "nothing broke in {} s and {} events; well again after {} s",
                outcome.seconds, outcome.events, outcome.well_after_s
            );
            ExitCode::SUCCESS
        }
    }
}

/// The scenario of a seed when none was named: each in turn.
pub fn scenario_of(seed: u64) -> Scenario {
    let quick = Scenario::QUICK;
    let at = (seed % quick.len() as u64) as usize;
    quick.get(at).copied().unwrap_or(Scenario::Household)
}

/// Plays many, on several threads.
pub fn all(batch: &Batch) -> Sum {
    watched(batch, &|_, _| {})
}

/// The same, and tells of each seed's end what it came to so far, and how it broke.
fn watched(batch: &Batch, tell: &(dyn Fn(&Sum, Option<&Failure>) + Sync)) -> Sum {
    let threads = match batch.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let next = AtomicU64::new(batch.from);
    let end = batch.from.saturating_add(batch.seeds);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let scenario = batch.scenario.unwrap_or_else(|| scenario_of(seed));
                    let outcome = guarded(scenario, seed, batch.plant);
                    let Ok(mut sum) = sum.lock() else { return };
                    sum.seeds += 1;
                    sum.events += outcome.events;
                    sum.seconds += outcome.seconds;
                    sum.well_after_s_max = sum.well_after_s_max.max(outcome.well_after_s);
                    let failure = outcome.broken.map(|violation| Failure {
                        scenario,
                        seed,
                        plant: batch.plant,
                        violation,
                    });
                    tell(&sum, failure.as_ref());
                    if let Some(failure) = failure {
                        sum.failures.push(failure);
                        if sum.failures.len() >= FAILURES_MAX {
                            next.store(end, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_default()
}

/// Plays one; a panic is a broken promise like any other.
pub fn guarded(scenario: Scenario, seed: u64, plant: Option<Plant>) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(scenario, seed, plant, Mode::Off))).unwrap_or_else(|why| {
        let text = why
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            broken: Some(Violation {
                property: Property::Panics,
                text: text.unwrap_or_default(),
            }),
            fingerprint: 0,
            events: 0,
            seconds: 0,
            well_after_s: 0,
            lines: Vec::new(),
        }
    })
}
