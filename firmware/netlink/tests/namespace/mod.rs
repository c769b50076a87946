//! A network namespace for one test, and the foreign programs that judge in it.
#![allow(dead_code)] // each test file uses its part

use std::process::{Command, Output};

use nix::sched::{CloneFlags, unshare};

/// Runs `test` in a thread with a network namespace of its own; prints a line and passes when the
/// host does not allow one. The namespace ends with the thread.
pub(crate) fn in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    let ran = std::thread::spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {
            test();
            true
        }
        Err(_) => false,
    })
    .join();
    match ran {
        Ok(true) => {}
        Ok(false) => println!("SKIPPED {name}: needs root or `unshare -Ur`"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a program and returns what it printed; panics with its words when it fails.
pub(crate) fn run(line: &str) -> String {
    let output = try_run(line);
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program.
pub(crate) fn try_run(line: &str) -> Output {
    let mut words = line.split_whitespace();
    Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap_or_else(|e| panic!("{line}: {e}"))
}
