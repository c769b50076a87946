//! A large ruleset into the kernel: ours and `nft -f`, each as a program of its own.
//!
//! What is timed is the whole way from the table in memory (for nft: its text in a file) to the
//! kernel that holds it. Ours looks at all kernel state, plans and sends; nft reads, looks at the
//! tables and sends. A third line is what the router does: ours, and a second look that finds the
//! plan empty.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use lintel_model::desired::DesiredState;
use lintel_netlink::kernel::Kernel;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::Request;
use crate::error::BenchError;
use crate::place::{LINK, Place};
use crate::report::median;

#[path = "../../netlink/tests/ruleset/mod.rs"]
mod ruleset;

const RULES: u32 = 1_000;
const ELEMENTS: u32 = 10_000;
/// Looks at the kernel before an apply that does not converge is given up.
const LOOKS_MAX: usize = 3;

/// The whole bench.
pub(crate) fn bench(request: &Request) -> Result<(), BenchError> {
    let place = Place::with_link(LINK, request.real_time);
    let file = place.dir.path("large.nft").display().to_string();
    let rounds = request.rounds.to_string();
    let me = std::env::current_exe().map_err(BenchError::io("finding this program"))?;
    let me = me.display().to_string();
    let text = place.judge(&[&me, "rounds", &file, "--rounds", &rounds])?;
    print!("{text}");
    Ok(())
}

/// What one apply took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall_ms: f64,
    cpu_ms: f64,
}

/// The rounds, in the namespace that is theirs.
pub(crate) fn rounds(file: &str, rounds: usize) -> Result<(), BenchError> {
    apply(true)?;
    let listing = nft(&["list", "table", "inet", "lintel"])?;
    // As people write files for nft: what was there goes in the same transaction.
    let whole = format!("table inet lintel\ndelete table inet lintel\n{listing}");
    std::fs::write(file, whole).map_err(BenchError::io("writing the ruleset"))?;
    let me = std::env::current_exe().map_err(BenchError::io("finding this program"))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut looked, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (program, args, all) in [
            (me.as_path(), ["apply", "once"], &mut ours),
            (Path::new("nft"), ["-f", file], &mut theirs),
            (me.as_path(), ["apply", "and-look"], &mut looked),
        ] {
            nft(&["delete", "table", "inet", "lintel"])?;
            all.push(timed(program, &args)?);
            if nft(&["list", "table", "inet", "lintel"])? != listing {
                let program = program.display();
                return Err(BenchError::Wrong(format!("{program} left another table")));
            }
        }
        again.push(timed(&me, &["apply", "nothing"])?);
    }
    println!(
        "{RULES} rules and {ELEMENTS} elements into an empty kernel, programs started and all; medians of {rounds} rounds"
    );
    println!("{:<24} {:>10} {:>10}", "", "wall ms", "CPU ms");
    for (name, all) in [
        ("lintel", &ours),
        ("nft -f", &theirs),
        ("lintel, looking again", &looked),
        ("lintel, nothing new", &again),
    ] {
        println!(
            "{name:<24} {:>10.1} {:>10.1}",
            median(all.iter().map(|took| took.wall_ms)),
            median(all.iter().map(|took| took.cpu_ms))
        );
    }
    let ratio = |of: &dyn Fn(&Took) -> f64| {
        median(
            ours.iter()
                .zip(&theirs)
                .map(|(ours, theirs)| of(ours) / of(theirs)),
        )
    };
    println!(
        "lintel beside nft -f: {:.2} x its wall time (goal 0.50), {:.2} x its CPU",
        ratio(&|took| took.wall_ms),
        ratio(&|took| took.cpu_ms)
    );
    Ok(())
}

/// One apply of ours, with a second look if asked for; returns what it sent.
pub(crate) fn apply(look: bool) -> Result<u64, BenchError> {
    let wrong = |what: &str| BenchError::Wrong(what.to_owned());
    let mut kernel = Kernel::open().map_err(|error| wrong(&error.to_string()))?;
    let desired = DesiredState {
        nft: Some(ruleset::large(RULES, ELEMENTS)),
        ..DesiredState::default()
    };
    for _ in 0..LOOKS_MAX {
        let observed = kernel
            .observe(&[])
            .map_err(|error| wrong(&error.to_string()))?;
        let plan = lintel_plan::diff(&desired, &observed);
        if plan.is_empty() {
            return Ok(kernel.writes());
        }
        for step in plan.steps {
            kernel
                .execute(&step.action)
                .map_err(|error| wrong(&error.to_string()))?;
        }
        if !look {
            return Ok(kernel.writes());
        }
    }
    Err(wrong("our plan does not become empty"))
}

/// Runs a program to its good end.
fn timed(program: &Path, args: &[&str]) -> Result<Took, BenchError> {
    let cpu_us = || {
        let usage =
            getrusage(UsageWho::RUSAGE_CHILDREN).map_err(BenchError::io("asking for CPU time"))?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64)
    };
    let before = cpu_us()?;
    let begin = Instant::now();
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status()
        .map_err(BenchError::io("starting a program"))?;
    let wall_ms = begin.elapsed().as_secs_f64() * 1e3;
    if !status.success() {
        let program = program.display();
        return Err(BenchError::Wrong(format!("{program} {args:?} failed")));
    }
    Ok(Took {
        wall_ms,
        cpu_ms: (cpu_us()? - before) / 1e3,
    })
}

fn nft(args: &[&str]) -> Result<String, BenchError> {
    let output = Command::new("nft")
        .args(args)
        .output()
        .map_err(BenchError::io("starting nft"))?;
    if !output.status.success() {
        return Err(BenchError::Output {
            program: format!("nft {}", args.join(" ")),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
