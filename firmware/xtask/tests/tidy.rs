//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a compiler does not check.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // reads the source tree
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The map is read in one go, or not at all.
const ARCHITECTURE_LINES_MAX: usize = 200;

/// Crates without clock, files, sockets, threads and randomness, with what they may depend on.
const PURE: [(&str, &[&str]); 6] = [
    ("model", &[]),
    ("wire", &[]),
    ("proto", &["lintel-wire", "lintel-model"]),
    ("plan", &["lintel-model"]),
    ("api", &["lintel-model"]),
    ("seal", &[]),
];

#[test]
fn the_map_is_short_and_its_paths_exist() {
    let text = read("firmware/ARCHITECTURE.md");
    assert!(
        text.lines().count() < ARCHITECTURE_LINES_MAX,
        "ARCHITECTURE.md is too long to stay true"
    );
    // Its last section names what does not exist yet.
    let present = text.split("## Where we left the plan").next().unwrap();
    let missing: Vec<&str> = inline_code(present)
        .filter(|code| is_path(code) && !tree().join(code).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md names paths that do not exist: {missing:?}"
    );
}

#[test]
fn documented_commands_exist() {
    let mut wrong = Vec::new();
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = read(document);
        let code = sh_blocks(&text).into_iter().chain(inline_code(&text));
        for command in code {
            if let Err(reason) = command_exists(command) {
                wrong.push(format!("{document}: {command}: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_only_in_rt_and_netlink_and_is_argued() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let name = relative(&file);
        let allowed = name.starts_with("firmware/rt/") || name.starts_with("firmware/netlink/");
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !code.contains("unsafe ") && !code.trim_end().ends_with("unsafe") {
                continue;
            }
            let argued = lines[number.saturating_sub(8)..=number]
                .iter()
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if name.ends_with("tidy.rs") || (allowed && argued) {
                continue;
            }
            wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
        }
    }
    assert!(
        wrong.is_empty(),
        "unsafe elsewhere, or without a SAFETY comment: {wrong:#?}"
    );
}

#[test]
fn only_rt_reads_a_clock() {
    let clocks = ["Instant::now(", "SystemTime::now("];
    found_in(
        |name| {
            name.starts_with("firmware/")
                && !name.starts_with("firmware/rt/")
                && !name.starts_with("firmware/xtask/")
                && !name.starts_with("firmware/bench/")
        },
        Part::Product,
        &clocks,
    );
}

#[test]
fn tests_wait_for_conditions() {
    let sleep = [concat!("thread::", "sleep(")];
    found_in(|_| true, Part::Tests, &sleep);
}

#[test]
fn pure_crates_have_no_world() {
    let world = [
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "std::os::",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "UnixStream",
        "getrandom",
        "rand::",
    ];
    let pure = |name: &str| {
        PURE.iter()
            .any(|(krate, _)| name.starts_with(&format!("firmware/{krate}/src/")))
    };
    found_in(pure, Part::Product, &world);
}

#[test]
fn pure_crates_depend_on_pure_crates() {
    let impure = [
        "nix",
        "libc",
        "neli",
        "rusqlite",
        "ring",
        "tiny_http",
        "landlock",
        "seccompiler",
        "gpt",
    ];
    for (krate, allowed) in PURE {
        let manifest: toml::Table = read(&format!("firmware/{krate}/Cargo.toml"))
            .parse()
            .unwrap();
        let none = toml::Table::new();
        let dependencies = manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .unwrap_or(&none);
        for name in dependencies.keys() {
            let ours = name.starts_with("lintel-");
            assert!(
                !ours || allowed.contains(&name.as_str()),
                "{krate} depends on {name}: dependencies run one way"
            );
            // Its ciphers are functions; its randomness is looked for by name above.
            let ciphers = krate == "seal" && name == "ring";
            assert!(
                ciphers || !impure.contains(&name.as_str()),
                "{krate} depends on {name}, which touches the world"
            );
        }
    }
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let mine = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "lintel/"),
        concat!("/ro", "ot/"),
        concat!("/home/", "user"),
    ];
    let mut wrong = Vec::new();
    for file in files(&tree()) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if mine.iter().any(|path| line.contains(path)) {
                wrong.push(format!(
                    "{}:{}: {}",
                    relative(&file),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_board_is_whole() {
    for entry in fs::read_dir(tree().join("board")).unwrap() {
        let dir = entry.unwrap().path();
        let text = fs::read_to_string(dir.join("board.toml")).unwrap();
        let board: toml::Table = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        assert_eq!(board["name"].as_str(), dir.file_name().unwrap().to_str());
        let fragment = board["kernel"]["fragment"].as_str().unwrap();
        assert!(
            dir.join(fragment).exists(),
            "{} lacks {fragment}",
            dir.display()
        );
    }
}

/// Which half of a Rust file is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Product,
    Tests,
}

/// Fails when one of `words` stands in that part of a file that `of` chooses.
fn found_in(of: impl Fn(&str) -> bool, part: Part, words: &[&str]) {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let name = relative(&file);
        if !of(&name) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let all_tests = ["/tests/", "/benches/", "/examples/"]
            .iter()
            .any(|dir| name.contains(dir))
            || name.starts_with("tests/")
            || name.ends_with("/tests.rs");
        let mut in_tests = all_tests;
        for (number, line) in text.lines().enumerate() {
            // Tests come last in a file (CONTRIBUTING.md).
            in_tests |= line.trim_start().starts_with("#[cfg(test)]");
            let code = line.split("//").next().unwrap();
            let wanted = in_tests == (part == Part::Tests);
            if wanted && words.iter().any(|word| code.contains(word)) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{words:?} must not stand here: {wrong:#?}"
    );
}

/// What is wrong with a documented command, if it is one that we can check.
fn command_exists(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command
        .split('#')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let (Some(program), rest) = (words.first(), words.get(1..).unwrap_or_default()) else {
        return Ok(());
    };
    match *program {
        "cargo" if rest.first() == Some(&"xtask") => {
            let usage = read("firmware/xtask/src/main.rs");
            let chore = rest.get(1).copied().unwrap_or_default();
            let known = usage.contains(&format!("cargo xtask {chore} "));
            known
                .then_some(())
                .ok_or_else(|| format!("xtask has no {chore:?}"))
        }
        "lintel"
            if rest
                .first()
                .is_none_or(|word| *word == "run" || word.starts_with('-')) =>
        {
            Ok(())
        }
        "lintel" => {
            let rows = files(&tree().join("firmware/api/src/table"));
            let rows = rows.iter().map(|file| fs::read_to_string(file).unwrap());
            let table: String = rows.collect();
            let own = read("firmware/roles/src/cli/commands.rs");
            let known = own.contains(&format!("name: \"{}\",", rest[0]));
            let known = known
                || (1..=rest.len()).any(|n| {
                    let dotted = rest[..n].join(".");
                    let spaced = rest[..n].join(" ");
                    table.contains(&format!("\"{dotted}\""))
                        || table.contains(&format!("\"{spaced}\""))
                });
            known
                .then_some(())
                .ok_or_else(|| "no such method".to_owned())
        }
        script
            if [
                "tests/run",
                "qemu/run",
                "./flash.sh",
                "qemu/lab.sh",
                ".ci/run",
            ]
            .contains(&script) =>
        {
            let path = tree().join(script);
            let mode = fs::metadata(&path)
                .map_err(|error| error.to_string())?
                .permissions()
                .mode();
            if mode & 0o111 == 0 {
                return Err("cannot be executed".to_owned());
            }
            let text = fs::read_to_string(path).unwrap();
            let options = rest
                .iter()
                .filter(|word| word.starts_with("--") && word.len() > 2);
            for option in options {
                if !text.contains(option) {
                    return Err(format!("has no option {option}"));
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn sh_blocks(text: &str) -> Vec<&str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix("sh\n"))
        .flat_map(str::lines)
        .collect()
}

/// What stands between single backticks on one line.
fn inline_code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn is_path(code: &str) -> bool {
    let roots = [
        "firmware",
        "board",
        "buildroot",
        "rootfs-overlay",
        "web",
        "qemu",
        "tests",
    ];
    let first = code.split('/').next().unwrap();
    roots.contains(&first) && !code.contains([' ', '<', '*', '{'])
}

fn rust_files() -> Vec<PathBuf> {
    files(&tree())
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"))
        .collect()
}

/// Every file below `dir`, without what was built or belongs to git.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name();
        if ["target", ".git", "node_modules"]
            .iter()
            .any(|skip| name == *skip)
        {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn relative(file: &Path) -> String {
    file.strip_prefix(tree())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(tree().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}
