//! `cargo xtask bench`: builds both sides, then `lintel-bench` does the work.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::cross::{run, tree};
use crate::error::XtaskError;

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
