//! `lintel-sim`: plays seeds, and replays one with its trace.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // prints, and runs seeds in threads

use std::process::ExitCode;

use lintel_sim::batch::{self, Batch};
use lintel_sim::plant::Plant;
use lintel_sim::scenario::Scenario;
use lintel_sim::trace;

const USAGE: &str = "\
lintel-sim [--seeds N] [--from N] [--scenario NAME] [--plant NAME] [--threads N]
lintel-sim --seed N --scenario NAME [--plant NAME]     replays one with its trace
";

fn main() -> ExitCode {
    trace::listen();
    match arguments() {
        Ok(batch) => batch::play(&batch),
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Batch, lexopt::Error> {
    use lexopt::prelude::*;
    let mut batch = Batch::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seed") => batch.seed = Some(parser.value()?.parse_with(number)?),
            Long("seeds") => batch.seeds = parser.value()?.parse_with(number)?,
            Long("from") => batch.from = parser.value()?.parse_with(number)?,
            Long("threads") => batch.threads = parser.value()?.parse()?,
            Long("scenario") => {
                batch.scenario = Some(parser.value()?.parse_with(|name| {
                    Scenario::from_name(name).ok_or_else(|| {
                        let names = Scenario::ALL.map(Scenario::as_str);
                        format!("scenarios: {}", names.join(" "))
                    })
                })?);
            }
            Long("plant") => {
                batch.plant = Some(parser.value()?.parse_with(|name| {
                    let mut all = Plant::ALL.into_iter();
                    all.find(|plant| plant.as_str() == name).ok_or_else(|| {
                        let names = Plant::ALL.map(Plant::as_str);
                        format!("plants: {}", names.join(" "))
                    })
                })?);
            }
            Long("help") | Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(batch)
}

fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
}
