//! init and the roles it spawned; the channel is descriptor 3 of the role.

use std::path::PathBuf;

use lintel_model::RoleName;
use lintel_model::board::BoardSpec;
use lintel_model::facts::DataState;
use lintel_model::reset::Reset;
use serde::{Deserialize, Serialize};

/// From init to a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromInit {
    /// The first message. Descriptors: one per entry of `Start::sockets`, in that order.
    Start(Box<Start>),
    /// A new session with another role. Descriptor: our end.
    Channel {
        /// The role at the other end.
        with: RoleName,
        /// What the pair is for.
        kind: ChannelKind,
    },
    /// Answer with `Pong` from the role's own loop; silence means that it hangs.
    Ping {
        /// Repeated in the answer.
        n: u64,
    },
    /// Answer to a request of controld.
    Reply {
        /// The request's number.
        id: u64,
        /// The answer.
        reply: InitReply,
    },
    /// To controld alone: some role is elsewhere in its life. All of them, without the memory they
    /// take; the first comes soon after controld is ready.
    Services(Vec<ServiceStatus>),
    /// To controld alone: somebody at the box wants this.
    Reset(Reset),
    /// /data changed its state after the start.
    Data(DataState),
    /// Try what a hijacked role would and tell what was refused. Sent only while the kernel
    /// command line says `lintel.test=1`; a role whose `Start::test` is false drops it.
    Probe,
    /// Take memory until somebody ends it. Under the same condition.
    Leak,
    /// Finish what was promised and end within two seconds.
    Stop,
}

/// What a pair of descriptors is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelKind {
    /// Messages both ways between controld and the role.
    Session,
    /// Descriptors one way, from netd to the role: messages are `netd::HandOver`.
    HandOver,
}

/// What a role needs to know before its sandbox closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Which role this is.
    pub role: RoleName,
    /// `lintel run`: not PID 1, no mounts; the configuration file given there.
    pub run: Option<RunStart>,
    /// Directory for what must be kept (`/data`).
    pub data_dir: PathBuf,
    /// Directory for sockets and the like that need not be kept (`/run/lintel`).
    pub run_dir: PathBuf,
    /// Whether `data_dir` is good.
    pub data: DataState,
    /// The board.
    pub board: BoardSpec,
    /// Factory configuration, TOML.
    pub factory_config: String,
    /// Version of the binary, with the source's commit where known.
    pub version: String,
    /// Random identity of this boot, hexadecimal.
    pub boot_id: String,
    /// The sockets that travel with this message.
    pub sockets: Vec<SocketName>,
    /// A reset that somebody at the box wants, or had before this boot.
    #[serde(default)]
    pub reset: Option<Reset>,
    /// `lintel.test=1` on the kernel command line.
    pub test: bool,
}

impl Start {
    /// For a role that needs to know no more than which it is.
    pub fn of(role: RoleName) -> Self {
        Self {
            role,
            run: None,
            data_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            data: DataState::Good,
            board: BoardSpec::default(),
            factory_config: String::new(),
            version: String::new(),
            boot_id: String::new(),
            sockets: Vec::new(),
            reset: None,
            test: false,
        }
    }
}

/// Under `lintel run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStart {
    /// Text of the configuration file.
    pub config: String,
    /// Whether the role closes its sandbox (`[run] sandbox`).
    pub sandbox: bool,
}

/// Sockets that init opens for roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketName {
    /// UDP 53, IPv6 wildcard that also takes IPv4 (or IPv4 alone where there is no IPv6),
    /// with packet info for both.
    DnsUdp,
    /// TCP 53, listening, same family.
    DnsTcp,
    /// UDP 67, IPv4, broadcast allowed, with packet info.
    DhcpUdp,
    /// UDP 123, IPv6 wildcard that also takes IPv4, with packet info and times of arrival.
    NtpUdp,
    /// UDP on a random port, the same otherwise, with times of departure too: from here we ask.
    NtpClientUdp,
    /// Raw ICMP for IPv4 without fragments, that hears answers and errors alone: for tests.
    ProbeIcmp,
    /// UDP for IPv4 on a random port: for tests, to ask name servers.
    ProbeUdp,
    /// TCP for IPv4, not connected: for tests.
    ProbeTcp,
    /// TCP 80, listening.
    Http,
    /// TCP 443, listening.
    Https,
    /// `run_dir/control.sock`, SOCK_STREAM, listening, mode 0600 root: the CLI's way in.
    Control,
}

/// From a role to init.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToInit {
    /// The role serves: its sockets are polled and its sandbox is closed.
    Ready,
    /// Answer to `Ping`.
    Pong {
        /// From the ping.
        n: u64,
    },
    /// Answer to `Probe`, one per attempt.
    Probed {
        /// What was attempted (`open-passwd`, `socket-packet`, ...).
        probe: String,
        /// Whether the kernel let it through.
        allowed: bool,
    },
    /// From controld alone; others' requests are dropped and counted.
    Request {
        /// Repeated in the reply.
        id: u64,
        /// What is wanted.
        request: InitRequest,
    },
}

/// What controld may ask of init.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitRequest {
    /// State of every role.
    Services,
    /// Log lines.
    Logs {
        /// Of one role; `None` is all.
        role: Option<RoleName>,
        /// At most this many, the newest.
        lines_max: u32,
    },
    /// What is held of the log.
    LogStatistics,
    /// Part of a file of [`LogStatistics::files`].
    LogFile {
        /// Its name there.
        name: String,
        /// Octets to pass over.
        offset: u64,
    },
    /// Write what waits, and begin a new file.
    RotateLogs,
    /// Stop and start a role; one that was halted is started.
    Restart {
        /// Which.
        role: RoleName,
    },
    /// Stop a role, until somebody wants it again or the box starts anew.
    Halt {
        /// Which.
        role: RoleName,
    },
    /// Restart the box in order.
    Reboot,
    /// Switch the box off in order.
    PowerOff,
    /// Make /data anew; only in answer to the householder's explicit wish.
    ResetData,
}

/// init's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitReply {
    /// State of every role, in the table's order.
    Services(Vec<ServiceStatus>),
    /// Lines, oldest first.
    Logs(Vec<LogLine>),
    /// What is held of the log.
    LogStatistics(LogStatistics),
    /// Part of a file, without control characters but for line breaks.
    LogFile {
        /// At most [`LOG_PART_BYTES_MAX`].
        text: String,
        /// Octets to pass over for the next part; `None` at the end.
        next: Option<u64>,
    },
    /// Done or begun.
    Done,
    /// Not so soon after the last time.
    TooSoon {
        /// Until it would be done, seconds.
        wait_s: u64,
    },
    /// Refused or failed: a sentence.
    Failed(String),
}

/// A role as init sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The role.
    pub name: RoleName,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Process number, while it runs.
    pub pid: Option<u32>,
    /// Milliseconds since it became ready.
    pub ready_ms: Option<u64>,
    /// Starts since boot, less the first.
    pub restarts: u32,
    /// Proportional set size, kibibytes, while it runs.
    pub pss_kib: Option<u64>,
    /// Time of the processor that it has had, milliseconds, while it runs.
    #[serde(default)]
    pub cpu_ms: Option<u64>,
    /// How it last ended, in words.
    pub last_exit: Option<String>,
}

/// Where a role is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Spawned, not ready yet.
    Starting,
    /// Serves.
    Ready,
    /// Asked to end.
    Stopping,
    /// Ended too often too fast; the next try comes after a pause.
    BackingOff,
    /// Not wanted.
    Stopped,
}

/// Longest part of a file in one answer, octets: what init reads between two looks at its roles.
pub const LOG_PART_BYTES_MAX: usize = 32 << 10;

/// What init holds of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatistics {
    /// Lines in memory.
    pub lines: u64,
    /// Octets of their text.
    pub text_bytes: u64,
    /// When the oldest was said, Unix milliseconds.
    pub oldest_unix_ms: Option<u64>,
    /// Lines since boot, by role and level.
    pub said: Vec<(RoleName, String, u64)>,
    /// Octets that wait to be written to the storage.
    pub waiting_bytes: u64,
    /// Octets of lines written to the storage since boot.
    pub written_bytes: u64,
    /// Files on the storage: the log's, the newest first, then records of crashes.
    pub files: Vec<LogFileStatus>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFileStatus {
    /// `log/lintel.log`, `crash/….txt`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// One line of log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts the lines of this boot; 0 before it is in init's ring.
    #[serde(default)]
    pub seq: u64,
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Wall clock, Unix milliseconds; wrong while the clock is.
    pub unix_ms: u64,
    /// Who said it.
    pub role: RoleName,
    /// `error`, `warn`, `info`, `debug`.
    pub level: String,
    /// The text, without control characters.
    pub text: String,
}
