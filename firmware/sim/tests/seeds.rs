//! Seeds that must hold, and bugs that must be found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests

use lintel_sim::batch::{Batch, Failure, all, guarded};
use lintel_sim::plant::Plant;
use lintel_sim::scenario::Scenario;
use lintel_sim::street::run;
use lintel_sim::trace::Mode;

/// Scenario and seed of each line.
fn kept() -> Vec<(Scenario, u64)> {
    let lines = include_str!("../seeds/found.txt").lines();
    lines
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (scenario, seed) = line.split_once(' ').expect("a scenario and a seed");
            let seed = seed.trim().trim_start_matches("0x");
            let scenario = Scenario::from_name(scenario).expect("a scenario");
            (scenario, u64::from_str_radix(seed, 16).expect("a seed"))
        })
        .collect()
}

#[test]
fn what_was_found_once_stays_mended() {
    for (scenario, seed) in kept() {
        let outcome = guarded(scenario, seed, None);
        if let Some(violation) = outcome.broken {
            let plant = None;
            let failure = Failure {
                scenario,
                seed,
                plant,
                violation,
            };
            panic!("{}\nreplay: {}", failure.violation, failure.command());
        }
    }
}

#[test]
fn a_seed_repeats_itself() {
    for (scenario, seed) in kept().into_iter().take(3) {
        let first = run(scenario, seed, None, Mode::Off);
        let second = run(scenario, seed, None, Mode::Keep);
        assert_eq!(first.fingerprint, second.fingerprint, "{seed:#x}");
        assert_eq!(first.events, second.events);
        assert!(!second.lines.is_empty(), "the trace says what happened");
    }
}

/// Plays seeds with a bug until one breaks what is named; that seed holds without the bug.
fn is_found(plant: Plant, scenario: Scenario, promise: &str) {
    let batch = Batch {
        seeds: 200,
        scenario: Some(scenario),
        plant: Some(plant),
        ..Batch::default()
    };
    let sum = all(&batch);
    let failure = sum
        .failures
        .iter()
        .min_by_key(|failure| failure.seed)
        .unwrap_or_else(|| panic!("{} seeds did not find {}", sum.seeds, plant.as_str()));
    println!(
        "{} is found by seed {:#x}: {}\nreplay: {}",
        plant.as_str(),
        failure.seed,
        failure.violation,
        failure.command()
    );
    let text = failure.violation.to_string();
    assert!(text.starts_with(promise), "{text}");
    let without = guarded(scenario, failure.seed, None);
    assert_eq!(without.broken, None, "it holds without the bug");
}

#[test]
fn a_sync_that_is_skipped_is_found() {
    is_found(
        Plant::SkippedSync,
        Scenario::Leases,
        "an acknowledged binding survives",
    );
}

#[test]
fn an_id_that_is_used_again_is_found() {
    let promise = "only genuine replies count";
    is_found(Plant::ReusedId, Scenario::Names, promise);
    is_found(Plant::ReusedId, Scenario::Provider, promise);
}

#[test]
fn a_bound_that_is_missing_is_found() {
    is_found(
        Plant::MissingBound,
        Scenario::Names,
        "everything has a bound",
    );
}
