//! The runner finds a planted panic, hang, leak, endless recursion and boundless allocation, says
//! how to replay each, and the replay shows it again.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)] // tests

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

#[test]
fn a_panic_is_found_shrunk_and_replayed() {
    let found = Found::of("planted_panic", "panic");
    assert_eq!(found.input, b"\x4c\x69", "not shrunk");
    let replay = found.replay();
    assert!(!replay.status.success());
    assert!(String::from_utf8_lossy(&replay.stderr).contains("planted"));
}

#[test]
fn a_hang_is_found() {
    assert!(
        Found::of("planted_hang", "hang")
            .input
            .starts_with(b"\x4c\x69")
    );
}

#[test]
fn endless_recursion_is_found_and_replayed() {
    let found = Found::of("planted_recursion", "death");
    assert!(found.input.starts_with(b"\x4c\x69"));
    assert!(!found.replay().status.success());
}

#[test]
fn a_believed_length_is_found() {
    assert!(
        Found::of("planted_hunger", "death")
            .input
            .starts_with(b"\x4c\x69")
    );
}

#[test]
fn a_leak_is_found_without_an_input() {
    let folder = Folder::new("planted_leak");
    let output = run(&folder, "planted_leak");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("FOUND leak in planted_leak"),
        "{said}"
    );
}

/// What the runner kept of a planted bug.
struct Found {
    target: &'static str,
    folder: Folder,
    input: Vec<u8>,
}

impl Found {
    fn of(target: &'static str, what: &str) -> Self {
        let folder = Folder::new(target);
        let output = run(&folder, target);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(
            said.contains(&format!("FOUND {what} in {target}")),
            "{said}"
        );
        assert!(said.contains(&format!("replay {target} ")), "{said}");
        let file = folder.file(target);
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        let input = fs::read(file).unwrap();
        Self {
            target,
            folder,
            input,
        }
    }

    fn replay(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lintel-fuzz"))
            .args(["replay", self.target])
            .arg(self.folder.file(self.target))
            .output()
            .unwrap()
    }
}

fn run(folder: &Folder, target: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lintel-fuzz"))
        .args(["run", "--inputs", "300000", "--only", target, "--corpus"])
        .arg(&folder.0)
        .output()
        .unwrap()
}

/// A corpus of this test alone, which ends with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("lintel-fuzz-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, target: &str) -> PathBuf {
        let mut files = fs::read_dir(self.0.join(target)).unwrap();
        files.next().unwrap().unwrap().path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
