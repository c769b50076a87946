//! The CLI in processes of its own against a real controld, over its socket.
//!
//! The test is its own binary for the supervisor, for controld and for the CLI, so it has no
//! libtest harness. Only controld runs: nothing here touches the network.
#![allow(clippy::unwrap_used, clippy::panic)] // a test
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // of real processes

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use house::*;
use lintel_model::RoleName;
use lintel_roles::init::{RunArgs, run};
use lintel_rt::logger;
use lintel_rt::role::RoleContext;
use netns_tests::{Workdir, until, until_some};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty::Pty;
use serde_json::Value;

/// A loaded machine of two cores does nothing in less.
const PATIENCE: Duration = Duration::from_secs(30);

mod answers;
mod applying;
mod backups;
mod completion;
mod house;
mod password;
#[path = "../pty/mod.rs"]
mod pty;
mod setup;
mod sittings;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    // The CLI starts itself anew, with nothing before its own arguments.
    if std::env::var_os("LINTEL_TEST_CLI").is_some() {
        return lintel_roles::cli::main(&args);
    }
    match args.first().and_then(|first| first.to_str()) {
        Some("role") => {
            logger::install(log::LevelFilter::Debug);
            let role: RoleName = rest[0].to_str().unwrap().parse().unwrap();
            lintel_roles::run(role, RoleContext::from_init().unwrap()).unwrap();
            ExitCode::SUCCESS
        }
        Some("supervise") => supervise(Path::new(&rest[0])),
        Some("cli") => lintel_roles::cli::main(rest),
        filter => all_tests(filter.filter(|arg| !arg.starts_with('-'))),
    }
}

fn supervise(dir: &Path) -> ExitCode {
    let args = RunArgs {
        config: dir.join("config.toml"),
        data: dir.join("data"),
        run_dir: None,
        exe: None,
        roles: Some(vec![RoleName::Controld]),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error}"),
    }
}

/// Tests with their names.
macro_rules! named {
    ($($file:ident::$test:ident),+ $(,)?) => {
        &[$((stringify!($test), $file::$test)),+]
    };
}

fn all_tests(filter: Option<&str>) -> ExitCode {
    let tests: &[(&str, fn())] = named![
        answers::a_box_that_is_not_there_is_told,
        answers::help_and_usage,
        answers::status_and_json,
        answers::json_is_printed_for_failures_too,
        answers::tables_fit_the_terminal,
        applying::a_broken_configuration_is_told_whole,
        applying::what_is_applied_outlives_a_crash,
        applying::logs_and_services,
        applying::noise_on_the_socket_disturbs_nobody,
        password::the_password_comes_from_standard_input,
        password::the_password_is_asked_for_in_a_terminal,
        completion::bash_and_zsh_complete,
        completion::fish_completes,
        sittings::a_batch_stops_or_goes_on,
        sittings::the_shell_is_a_shell,
        sittings::monitor_shows_what_happens,
        setup::setup_judges_each_answer,
        setup::setup_changes_nothing_before_the_end,
        backups::what_is_exported_opens_with_age,
        backups::what_age_sealed_is_taken_in_and_restored,
    ];
    let threads: Vec<_> = tests
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)))
        .map(|(name, test)| (name, std::thread::spawn(*test)))
        .collect();
    let mut failed = false;
    for (name, thread) in threads {
        let ok = thread.join().is_ok();
        failed |= !ok;
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
