//! The binary: argv -> PID 1, a role, `lintel run`, the console's prompt, or the CLI.
#![allow(clippy::disallowed_methods)] // the edge of the process

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;
use lintel_model::RoleName;
use lintel_roles::init::{self, RunArgs};
use lintel_roles::standalone;
use lintel_rt::logger;
use lintel_rt::role::RoleContext;

const RUN_HELP: &str = "\
lintel run: the router in the network namespace you are in, without being PID 1

usage: lintel run [ROLE] --config FILE --data DIR [--run-dir DIR]
  ROLE           one role alone, for debugging: it is told what the file and the
                 links say, changes nothing in the kernel, and what it says is
                 printed; the household's link is one named br-lan
  --config FILE  the configuration; its [run] section chooses ports
  --data DIR     where it keeps its state; made when it is missing
  --run-dir DIR  where its control socket is (default: run in the data directory)

It takes every Ethernet port of the namespace that you are in, so give it one of
its own, and root's rights in it: sudo ip netns exec NAME, or unshare -Urmn.
Ask it from elsewhere: lintel --socket DIR/run/control.sock status
";

/// What the user wrote on the command line was wrong.
const USAGE_EXIT: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let _name = args.next();
    let args: Vec<OsString> = args.collect();
    // The kernel hands PID 1 the words of its command line that it does not know.
    if std::process::id() == 1 && args.first().is_none_or(|first| first != "role") {
        init::boot();
    }
    let first = args.first().and_then(|first| first.to_str());
    match first {
        Some("role") => role(args.get(1)),
        Some("console") => init::prompt::main(),
        Some("run") => run(args.get(1..).unwrap_or_default()),
        _ => lintel_roles::cli::main(&args),
    }
}

/// What init executes; of no use by hand, since descriptor 3 must lead to init.
fn role(name: Option<&OsString>) -> ExitCode {
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    let Ok(role) = name.parse::<RoleName>() else {
        return usage("`role` is for init alone");
    };
    logger::install(log::LevelFilter::Info);
    let result = RoleContext::from_init().and_then(|ctx| {
        if ctx.start.test || ctx.start.run.is_some() {
            log::set_max_level(log::LevelFilter::Debug);
        }
        lintel_roles::run(role, ctx)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", init::shell::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> ExitCode {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        // A reader that closed the pipe has what it wanted.
        let _ = std::io::stdout().write_all(RUN_HELP.as_bytes());
        return ExitCode::SUCCESS;
    }
    let (run_args, role) = match parse_run(args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error.to_string()),
    };
    let result = match role {
        None => init::run(&run_args).map(|()| true),
        Some(role) => standalone::run(role, &run_args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&init::shell::chain(&error));
            ExitCode::from(error.exit_status())
        }
    }
}

fn parse_run(args: &[OsString]) -> Result<(RunArgs, Option<RoleName>), lexopt::Error> {
    let (mut config, mut data, mut run_dir, mut role) = (None, None, None, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("run-dir") => run_dir = Some(PathBuf::from(parser.value()?)),
            Value(name) if role.is_none() => {
                let parsed = name.string()?.parse::<RoleName>();
                role = Some(parsed.map_err(|error| error.to_string())?);
            }
            arg => return Err(arg.unexpected()),
        }
    }
    let args = RunArgs {
        config: config.ok_or("--config FILE is missing")?,
        data: data.ok_or("--data DIR is missing")?,
        run_dir,
        exe: None,
        roles: None,
    };
    Ok((args, role))
}

fn usage(problem: &str) -> ExitCode {
    say(&format!("{problem}\ntry: lintel run --help"));
    ExitCode::from(USAGE_EXIT)
}

fn say(text: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "lintel: {text}");
}
