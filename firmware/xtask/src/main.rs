//! Building chores: cross builds, the initramfs, the disk image, the size report, the benches.
//!
//! Runs on the build host as `cargo xtask COMMAND`. What it makes lies in
//! `target/image/<board>/`; toolchains and kernels lie in the cache directory
//! (`$LINTEL_CACHE`, else `~/.cache/lintel`), keyed by what they are made from.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a host program: files and processes are its work

mod bench;
mod board;
mod cpio;
mod cross;
mod disk;
mod error;
mod initramfs;
mod size;
mod uki;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, ValueExt};

use crate::cross::{Build, Profile, Target};
use crate::error::XtaskError;

const USAGE: &str = "\
cargo xtask build      [--target x86_64|aarch64|armv7] [--profile release|fast] [--package NAME] [--bin NAME]
                       static musl binary of the router; prints its path
cargo xtask kernel     [--board NAME]     the board's kernel; prints its path
cargo xtask initramfs  [--board NAME] [--profile P] [--init FILE] [--out FILE]
                       the initramfs with the router (or FILE) as /init; prints its path
cargo xtask image      [--board NAME] [--profile P]   unified kernel image and disk image; prints the disk's path
cargo xtask size       [--board NAME]     release sizes against their budgets; fails when over
cargo xtask bench      dns|dhcp|ntp|plan|boot [--profile P] [--rounds N] [--seconds N] [--real-time yes]
                       ours beside the programs of the field; needs root's rights";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {}", error.chain());
            match error {
                XtaskError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What the command line asks for.
struct Request {
    command: String,
    board: String,
    target: Option<Target>,
    profile: Profile,
    package: String,
    bin: String,
    init: Option<PathBuf>,
    out: Option<PathBuf>,
    /// What `bench` hands on.
    words: Vec<OsString>,
}

fn run() -> Result<(), XtaskError> {
    let request = parse()?;
    let board = || board::Board::load(&request.board);
    match request.command.as_str() {
        "build" => {
            let target = request.target.unwrap_or(Target::X86_64);
            let build = Build {
                target,
                profile: request.profile,
                package: &request.package,
                bin: &request.bin,
            };
            println!("{}", build.run()?.display());
        }
        "kernel" => println!("{}", board()?.kernel()?.display()),
        "initramfs" => {
            let board = board()?;
            let program = match request.init {
                Some(file) => file,
                None => router(&board, request.profile)?,
            };
            let out = request
                .out
                .unwrap_or(board.out()?.join("initramfs.cpio.zst"));
            let _lock = board.lock()?;
            initramfs::write(&board, &program, &out)?;
            println!("{}", out.display());
        }
        "image" => println!("{}", image(&board()?, request.profile)?.display()),
        "size" => {
            let board = board()?;
            let program = router(&board, Profile::Release)?;
            image(&board, Profile::Release)?;
            size::report(&program, &board.out()?)?;
        }
        "bench" if bench::begins(&request.words, "boot") => bench::boot(request.profile)?,
        // Before a build that takes minutes.
        "bench" if !bench::known(&request.words) => {
            return Err(XtaskError::Usage(format!("no such bench\n{USAGE}")));
        }
        // The plan is the executor's, which lintel-bench has in itself.
        "bench" if bench::begins(&request.words, "plan") => {
            bench::bench(Path::new("lintel"), &request.words)?;
        }
        "bench" => bench::bench(&router(&board()?, request.profile)?, &request.words)?,
        other => {
            return Err(XtaskError::Usage(format!("no command {other:?}\n{USAGE}")));
        }
    }
    Ok(())
}

/// The router's binary for a board.
fn router(board: &board::Board, profile: Profile) -> Result<PathBuf, XtaskError> {
    Build {
        target: board.target()?,
        profile,
        package: "lintel",
        bin: "lintel",
    }
    .run()
}

/// Builds everything that a disk holds, then the disk.
fn image(board: &board::Board, profile: Profile) -> Result<PathBuf, XtaskError> {
    let program = router(board, profile)?;
    let kernel = board.kernel()?;
    let out = board.out()?;
    let _lock = board.lock()?;
    let initramfs = out.join("initramfs.cpio.zst");
    initramfs::write(board, &program, &initramfs)?;
    let bundle = out.join("lintel.efi");
    uki::write(board, &kernel, &initramfs, &bundle)?;
    let image = out.join("lintel.img");
    disk::write(board, &bundle, &image)?;
    Ok(image)
}

fn parse() -> Result<Request, XtaskError> {
    let mut request = Request {
        command: String::new(),
        board: "x86_64".to_owned(),
        target: None,
        profile: Profile::Release,
        package: "lintel".to_owned(),
        bin: "lintel".to_owned(),
        init: None,
        out: None,
        words: Vec::new(),
    };
    let mut args = lexopt::Parser::from_env();
    let usage = |error: lexopt::Error| XtaskError::Usage(format!("{error}\n{USAGE}"));
    while let Some(arg) = args.next().map_err(usage)? {
        match arg {
            Arg::Value(value) if request.command.is_empty() => {
                request.command = value.string().map_err(usage)?;
            }
            Arg::Value(word) if request.command == "bench" => request.words.push(word),
            Arg::Long(name @ ("rounds" | "seconds" | "real-time")) => {
                let option = OsString::from(format!("--{name}"));
                let value = args.value().map_err(usage)?;
                request.words.extend([option, value]);
            }
            Arg::Long("board") => {
                request.board = args.value().and_then(|v| v.string()).map_err(usage)?
            }
            Arg::Long("target") => {
                let name = args.value().and_then(|v| v.string()).map_err(usage)?;
                request.target = Some(Target::named(&name)?);
            }
            Arg::Long("profile") => {
                let name = args.value().and_then(|v| v.string()).map_err(usage)?;
                request.profile = Profile::named(&name)?;
            }
            Arg::Long("package") => {
                request.package = args.value().and_then(|v| v.string()).map_err(usage)?
            }
            Arg::Long("bin") => {
                request.bin = args.value().and_then(|v| v.string()).map_err(usage)?
            }
            Arg::Long("init") => request.init = Some(args.value().map_err(usage)?.into()),
            Arg::Long("out") => request.out = Some(args.value().map_err(usage)?.into()),
            Arg::Short('h') | Arg::Long("help") => request.command = "help".to_owned(),
            other => return Err(usage(other.unexpected())),
        }
    }
    if request.command.is_empty() || request.command == "help" {
        return Err(XtaskError::Usage(USAGE.to_owned()));
    }
    Ok(request)
}
