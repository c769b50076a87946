//! `cargo xtask bench`: builds both sides, then `lintel-bench` does the work. Booting is measured
//! where the machines are.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::cross::{Profile, run, tree};
use crate::error::XtaskError;

/// Whether `words` ask for this bench.
pub(crate) fn begins(words: &[OsString], bench: &str) -> bool {
    words.first().is_some_and(|word| word == bench)
}

/// Whether `words` ask for a bench that [`bench`] has.
pub(crate) fn known(words: &[OsString]) -> bool {
    let benches = ["dns", "dhcp", "ntp", "plan"];
    benches.into_iter().any(|bench| begins(words, bench))
}

/// Boots the box and a trivial init by turns.
pub(crate) fn boot(profile: Profile) -> Result<(), XtaskError> {
    let mut program = Command::new(tree().join("qemu/run"));
    program.arg("--check");
    if profile == Profile::Fast {
        program.arg("--fast");
    }
    run(
        &mut program,
        "the bench of booting",
        "it is part of this tree",
    )
}

/// Measures `lintel` beside others, as `words` say (`dns --rounds 3`).
pub(crate) fn bench(lintel: &Path, words: &[OsString]) -> Result<(), XtaskError> {
    let hint = "run it with cargo";
    let build = [
        "build",
        "--quiet",
        "--profile",
        "fast",
        "--package",
        "lintel-bench",
    ];
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tree()).args(build);
    run(&mut cargo, "the build of lintel-bench", hint)?;
    let mut program = Command::new(tree().join("target/fast/lintel-bench"));
    program.args(words).arg("--lintel").arg(lintel);
    run(&mut program, "the bench", hint)
}
