//! Static musl builds with whichever toolchain the machine has.
//!
//! A rustup toolchain with the musl target is used as it is. Without one,
//! Debian's `rustc-web` builds the standard library from `rust-web-src` and zig
//! (through cargo-zigbuild) compiles C and links. ADR 0005 has the reasons and
//! what was tried to get position-independent static executables.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{XtaskError, file};

/// Pinned, for the cache directory is named after them.
const ZIG_VERSION: &str = "0.17.0";
const ZIGBUILD_VERSION: &str = "0.24.0";

/// An instruction set we ship for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    X86_64,
    Aarch64,
    Armv7,
}

impl Target {
    pub(crate) fn named(name: &str) -> Result<Self, XtaskError> {
        match name {
            "x86_64" | "x86_64-unknown-linux-musl" => Ok(Self::X86_64),
            "aarch64" | "aarch64-unknown-linux-musl" => Ok(Self::Aarch64),
            "armv7" | "armv7-unknown-linux-musleabihf" => Ok(Self::Armv7),
            _ => Err(XtaskError::Usage(format!(
                "no target {name:?}: it is x86_64, aarch64 or armv7"
            ))),
        }
    }

    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::Armv7 => "armv7-unknown-linux-musleabihf",
        }
    }
}

/// A Cargo profile that makes sense for the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What goes into images: small, slow to link.
    Release,
    /// For work: linked in seconds.
    Fast,
}

impl Profile {
    pub(crate) fn named(name: &str) -> Result<Self, XtaskError> {
        match name {
            "release" => Ok(Self::Release),
            "fast" => Ok(Self::Fast),
            _ => Err(XtaskError::Usage(format!(
                "no profile {name:?}: it is release or fast"
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Fast => "fast",
        }
    }
}

/// One binary to build.
pub(crate) struct Build<'a> {
    pub(crate) target: Target,
    pub(crate) profile: Profile,
    pub(crate) package: &'a str,
    pub(crate) bin: &'a str,
}

impl Build<'_> {
    /// Builds and returns the path of the binary.
    pub(crate) fn run(&self) -> Result<PathBuf, XtaskError> {
        let triple = self.target.triple();
        // Not the target directory of host builds: the two would take turns
        // rebuilding what build scripts and macros share.
        let target_dir = tree().join("target/musl");
        let mut command = match rustup_has(triple) {
            true => with_rustup(triple),
            false => with_debian(triple)?,
        };
        command
            .current_dir(tree())
            .arg("--target-dir")
            .arg(&target_dir)
            .args([
                "--target",
                triple,
                "--profile",
                self.profile.name(),
                "--locked",
            ])
            .args(["--package", self.package, "--bin", self.bin])
            .env("LINTEL_SOURCE_TIME", source_time())
            // stdout is for the path of the result.
            .stdout(Stdio::null());
        eprintln!(
            "xtask: building {} for {triple}, profile {}",
            self.bin,
            self.profile.name()
        );
        let step = format!("the build of {} for {triple}", self.bin);
        run(&mut command, &step, "install a Rust toolchain (rustup.rs)")?;
        Ok(target_dir
            .join(triple)
            .join(self.profile.name())
            .join(self.bin))
    }
}

/// The root of the source tree.
pub(crate) fn tree() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Where toolchains and kernels are kept, outside the tree.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    match (env::var_os("LINTEL_CACHE"), env::var_os("XDG_CACHE_HOME")) {
        (Some(cache), _) => cache.into(),
        (None, Some(xdg)) => PathBuf::from(xdg).join("lintel"),
        (None, None) => home().join(".cache/lintel"),
    }
}

/// Runs a command, which may print what it likes to stderr.
pub(crate) fn run(command: &mut Command, step: &str, hint: &'static str) -> Result<(), XtaskError> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(XtaskError::Failed {
            step: step.to_owned(),
            program,
            status,
        }),
        Err(source) => Err(XtaskError::Start {
            program,
            hint,
            source,
        }),
    }
}

/// The first line that a command prints, when it succeeds.
pub(crate) fn line_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_owned())
}

fn rustup_has(triple: &str) -> bool {
    let libdir = line_of(Command::new("rustc").current_dir(tree()).args([
        "--print",
        "target-libdir",
        "--target",
        triple,
    ]));
    let Some(entries) = libdir.and_then(|dir| fs::read_dir(dir).ok()) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn with_rustup(triple: &str) -> Command {
    let mut command = Command::new("cargo");
    clean_environment(&mut command);
    command.arg("build").env(
        "RUSTFLAGS",
        format!("-C target-feature=+crt-static {}", remapped()),
    );
    // ring and SQLite are C: musl-gcc does for the host's own instruction set.
    if triple.starts_with("x86_64") && env::var_os("CC_x86_64_unknown_linux_musl").is_none() {
        command.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    }
    command
}

fn with_debian(triple: &str) -> Result<Command, XtaskError> {
    let venv = zig_venv()?;
    let bin = venv.join("bin");
    let mut command = Command::new(bin.join("cargo-zigbuild"));
    clean_environment(&mut command);
    let mut path = bin.into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    // The three images of the standard library come from one source package, so
    // build-std stands on the command line: in .cargo/config.toml it would also
    // apply to host tools and tests.
    command
        .arg("zigbuild")
        .arg("-Zbuild-std=std,panic_abort")
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", "/usr/bin/rustc");
    // rustc asks for `-static-pie`, which zig ignores for musl; `-pie` it knows,
    // and with a static libc that means the same. On armv7 rustc would not ask.
    let mut flags = format!(
        "-C link-self-contained=no -C target-feature=+crt-static -C link-arg=-pie {}",
        remapped()
    );
    if triple.starts_with("armv7") {
        flags.push_str(" -C relocation-model=pic");
    }
    command.env("RUSTFLAGS", flags);
    Ok(command)
}

/// Keeps the builder's paths out of the binary's panic messages.
fn remapped() -> String {
    let home = env::var("CARGO_HOME")
        .or_else(|_| env::var("HOME").map(|home| home + "/.cargo"))
        .unwrap_or_default();
    format!(
        "--remap-path-prefix={}=. --remap-path-prefix={home}=cargo",
        tree().display()
    )
}

/// The outer `cargo run` leaves variables that would steer the inner build.
fn clean_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let steers = text.starts_with("CARGO_PKG")
            || text.starts_with("CARGO_MANIFEST")
            || text.starts_with("RUSTUP_")
            || [
                "CARGO",
                "RUSTC",
                "RUSTFLAGS",
                "CARGO_ENCODED_RUSTFLAGS",
                "CARGO_TARGET_DIR",
                "LD_LIBRARY_PATH",
                "RUST_RECURSION_COUNT",
            ]
            .contains(&text.as_ref());
        if steers {
            command.env_remove(&name);
        }
    }
}

/// The virtual environment with zig and cargo-zigbuild, made when missing.
fn zig_venv() -> Result<PathBuf, XtaskError> {
    let venv = cache().join(format!("zig-{ZIG_VERSION}-zigbuild-{ZIGBUILD_VERSION}"));
    let done = venv.join(".done");
    if done.exists() {
        return Ok(venv);
    }
    eprintln!(
        "xtask: installing zig {ZIG_VERSION} and cargo-zigbuild {ZIGBUILD_VERSION} into {}",
        venv.display()
    );
    let step = "making the virtual environment of zig";
    run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv)
            .stdout(Stdio::null()),
        step,
        "install the package python3-venv",
    )?;
    run(
        Command::new(venv.join("bin/pip"))
            .args(["--quiet", "--disable-pip-version-check", "install"])
            .arg(format!("ziglang=={ZIG_VERSION}"))
            .arg(format!("cargo-zigbuild=={ZIGBUILD_VERSION}"))
            .stdout(Stdio::null()),
        step,
        "is PyPI reachable?",
    )?;
    fs::write(&done, "").map_err(file("write", &done))?;
    Ok(venv)
}

/// Seconds since 1970 of the newest commit: the floor of the box's clock.
pub(crate) fn source_time() -> String {
    line_of(
        Command::new("git")
            .current_dir(tree())
            .args(["log", "-1", "--format=%ct"]),
    )
    .unwrap_or_else(|| "0".to_owned())
}
