//! `lintel run`: the whole router in the current network namespace, without being PID 1.

use std::fs;
use std::io;
use std::path::PathBuf;

use lintel_ipc::init::{RunStart, Start};
use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_model::config::{Config, RunConfig};
use lintel_model::facts::DataState;
use lintel_rt::logger;
use lintel_rt::sockets::{Addresses, SocketError};
use lintel_rt::spawn::Isolation;

use super::chores::Chores;
use super::data;
use super::log_files::LogFiles;
use super::shell::{End, Setup, Shell};

/// Arguments of `lintel run`.
#[derive(Debug, Clone)]
pub struct RunArgs {
    /// The configuration file.
    pub config: PathBuf,
    /// Where state is kept; made when it is missing.
    pub data: PathBuf,
    /// For sockets; `DATA/run` when not given.
    pub run_dir: Option<PathBuf>,
    /// The binary to execute; the running one when not given.
    pub exe: Option<PathBuf>,
    /// The roles to start; all when not given.
    pub roles: Option<Vec<RoleName>>,
}

/// Why `lintel run` did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or directory is not as it should be.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The configuration is wrong; every problem, one a line.
    #[error("the configuration has problems:\n{0}")]
    Config(String),
    /// A socket could not be opened.
    #[error("{}", socket_words(.0))]
    Sockets(Vec<SocketError>),
}

impl RunError {
    /// Exit status: 2 for what the user wrote, 1 for the rest.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Io { .. } | Self::Sockets(_) => 1,
        }
    }
}

/// What both ways of `lintel run` begin with.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration file's text.
    pub text: String,
    /// The same, understood.
    pub config: Config,
    /// Where state is kept; exists.
    pub data_dir: PathBuf,
    /// Where sockets are bound; the directory exists.
    pub addresses: Addresses,
}

/// Reads the file and makes the directories.
pub fn prepare(args: &RunArgs) -> Result<Prepared, RunError> {
    let io = |what: String| move |source| RunError::Io { what, source };
    let place = args.config.display();
    let text = fs::read_to_string(&args.config)
        .map_err(|error| RunError::Config(format!("{place}: it cannot be read: {error}")))?;
    let config = read_config(&place.to_string(), &text)?;
    let run = config.run.clone().unwrap_or_default();
    let data_dir = absolute(&args.data)?;
    let run_dir = match &args.run_dir {
        Some(dir) => absolute(dir)?,
        None => data_dir.join("run"),
    };
    for dir in [&data_dir, &run_dir] {
        fs::create_dir_all(dir)
            .map_err(io(format!("cannot make the directory {}", dir.display())))?;
    }
    Ok(Prepared {
        addresses: addresses(&run, run_dir),
        text,
        config,
        data_dir,
    })
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<(), RunError> {
    let io = |what: String| move |source| RunError::Io { what, source };
    let Prepared {
        text,
        config,
        data_dir,
        addresses,
    } = prepare(args)?;
    let run = config.run.unwrap_or_default();
    logger::install_for_init(log::LevelFilter::Debug);
    let data = match data::lay_out(&data_dir, false) {
        Ok(()) => DataState::Good,
        Err(error) => DataState::Failed {
            reason: format!("{} takes no directories: {error}", data_dir.display()),
        },
    };
    let good = data == DataState::Good;
    if !nix::unistd::geteuid().is_root() {
        log::warn!("not root: roles have no capabilities, and low ports may be refused");
    }
    log::info!("roles keep the caller's uid; on a box each has its own");
    let setup = Setup {
        exe: args.exe.clone().unwrap_or_else(super::exe),
        roles: args
            .roles
            .clone()
            .unwrap_or_else(|| RoleName::SPAWNED.to_vec()),
        isolation: if run.sandbox {
            Isolation::Run
        } else {
            Isolation::Off
        },
        addresses: addresses.clone(),
        files: good.then(|| LogFiles::new(&data_dir)),
        escape_test: false,
        groups: None,
        button: None,
        chores: Chores::default(),
        start: Start {
            role: RoleName::Init,
            run: Some(RunStart {
                config: text,
                sandbox: run.sandbox,
            }),
            data_dir,
            run_dir: addresses.run_dir,
            data,
            board: BoardSpec::default(),
            factory_config: String::new(),
            version: super::version(),
            boot_id: super::boot_id(),
            sockets: Vec::new(),
            test: false,
            reset: None,
        },
    };
    let mut shell = Shell::new(setup).map_err(io("starting the supervisor".to_owned()))?;
    let errors = shell.open_sockets();
    if !errors.is_empty() {
        return Err(RunError::Sockets(errors));
    }
    let end = shell.run();
    debug_assert_eq!(end, End::Stop);
    Ok(())
}

/// Parses the text; says every problem, each with `place` before it, one below the other.
pub fn read_config(place: &str, text: &str) -> Result<Config, RunError> {
    Config::parse(text).map_err(|problems| {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| format!("{place}:{problem}"))
            .collect();
        RunError::Config(lines.join("\n"))
    })
}

/// Where `[run]` wants the sockets.
pub fn addresses(run: &RunConfig, run_dir: PathBuf) -> Addresses {
    Addresses {
        address: run.address,
        dns_port: run.dns_port,
        dhcp_port: run.dhcp_port,
        http_port: run.http_port,
        https_port: run.https_port,
        ntp_port: run.ntp_port,
        run_dir,
    }
}

/// Roles run in the root directory, so that a relative path would mean another place there.
fn absolute(path: &PathBuf) -> Result<PathBuf, RunError> {
    std::path::absolute(path).map_err(|source| RunError::Io {
        what: format!("finding {}", path.display()),
        source,
    })
}

fn socket_words(errors: &[SocketError]) -> String {
    let mut text = "sockets could not be opened:".to_owned();
    for error in errors {
        text.push_str(&format!("\n  {error}: {}", error.source));
        if error.in_use() {
            text.push_str(" (another program has the port: choose one in [run])");
        }
        if error.source.kind() == io::ErrorKind::PermissionDenied {
            text.push_str(" (run it as root, or choose a port above 1023 in [run])");
        }
    }
    text
}
