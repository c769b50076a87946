//! Two programs that differ in the schema take turns at one database, as an update and the way
//! back from it would have them.
#![allow(clippy::unwrap_used)] // tests
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // of real processes

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the keeper of the database with these features, and copies it to where the next build
/// leaves it alone.
fn keeper(name: &str, more: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--package", "lintel-store"])
        .args(["--example", "keeper"])
        .args(more)
        .status();
    assert!(built.unwrap().success());
    // The folder of temporary files lies in the target directory.
    let target = folder.parent().unwrap();
    let copy = folder.join(name);
    std::fs::copy(target.join("debug/examples/keeper"), &copy).unwrap();
    copy
}

/// What it found: the newest revision, and why it took a copy, if it did.
fn run(program: &Path, dir: &Path, commit: &[&str]) -> (String, String) {
    let out = Command::new(program)
        .arg(dir)
        .args(commit)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let (newest, why) = text.split_once('\n').unwrap();
    (newest.to_owned(), why.trim_end().to_owned())
}

#[test]
fn an_update_takes_the_database_along_and_the_way_back_takes_its_copy() {
    let before = keeper("keeper-before", &["--features", "firmware-before"]);
    let after = keeper("keeper-after", &[]);
    let dir = std::env::temp_dir().join(format!("lintel-two-firmwares-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let none = String::new;
    assert_eq!(run(&before, &dir, &["# one"]), (none(), none()));
    assert_eq!(run(&after, &dir, &["# two"]), ("# one".to_owned(), none()));
    assert_eq!(run(&after, &dir, &[]), ("# two".to_owned(), none()));
    // The older one finds what it had left, and says why.
    let (newest, why) = run(&before, &dir, &["# three"]);
    assert_eq!(newest, "# one");
    assert!(
        why.contains("has schema") && why.contains("knows up to"),
        "{why}"
    );
    // Forward again, from there.
    let (newest, _) = run(&after, &dir, &[]);
    assert_eq!(newest, "# three");
    std::fs::remove_dir_all(&dir).unwrap();
}
