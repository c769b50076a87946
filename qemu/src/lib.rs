//! The image in QEMU, between a provider and hosts in network namespaces.
//!
//! A test names a logical topology ([`Street`]): the box, its provider, hosts on its LAN. Each
//! of those is a namespace from `netns-tests`; the box's two ports are taps of QEMU, bridged
//! to them. Everything here panics on failure, with a sentence: it is called from tests and
//! from `check`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests do IO
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed test panics

use std::process::Command;

pub mod capture;
pub mod keyboard;
pub mod machine;
pub mod memory;
pub mod prober;
pub mod sick_disk;
pub mod street;
pub mod write_log;

pub use machine::{Boot, Machine};
pub use street::Street;

/// Runs one step of a test; when it fails, its sentence is printed.
pub fn step<T>(sentence: &str, work: impl FnOnce() -> T) -> T {
    /// Prints the sentence when a panic passes by.
    struct Sentence<'a>(&'a str);
    impl Drop for Sentence<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("step failed: {}", self.0);
            }
        }
    }
    let _sentence = Sentence(sentence);
    eprintln!("step: {sentence}");
    work()
}

/// What a program says that must succeed.
pub fn judge(command: &mut Command) -> String {
    let output = command.output().expect("the judge is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
