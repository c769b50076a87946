//! Parameters and results, as JSON has them.
//!
//! Times named `unix_s` are seconds of the wall clock, `_ms` are milliseconds, `_bytes` octets,
//! `_kib` kibibytes. A field that is absent was not known or not given.

mod bus;
mod logs;
mod stats;
mod tasks;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use lintel_model::config::change::Change;
use lintel_model::facts::{DataState, Notice};
use lintel_model::lease::{BindingState, WanLease};
use lintel_model::observed::{ForeignObject, LinkStatus};
use lintel_model::preview::{FlowsCut, StepPreview};
use lintel_model::step::Hazard;
use lintel_model::{HostName, Ipv4Net, LinkName, MacAddr, RoleName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bus::{BusStatus, Event, EventEntry, EventsParams, TOPICS};
pub use logs::{FIND_CHARS_MAX, LEVELS, LogCount, LogFile, LogSearchParams, LogStats, LogsFound};
pub use stats::{CpuStats, DiskStats, MemoryStats, RoleStats, SelfTest, SystemStats, Temperature};
pub use tasks::{Task, TaskBegun, TaskFile, TaskParams, TaskResult, TaskState};

/// Entries of a list unless the caller says otherwise.
pub const PAGE_ENTRIES_DEFAULT: u32 = 100;
/// Most entries in one answer: about 200 KB of leases.
pub const PAGE_ENTRIES_MAX: u32 = 1000;
/// Most log lines in one answer; init keeps a ring of about this size.
pub const LOG_LINES_MAX: u32 = 1000;
/// Longest configuration text taken, octets: 1,000 reservations are about 100 KB.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;
/// Shortest password taken, characters (NIST SP 800-63B section 3.1.1.2).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password taken, octets.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Shortest passphrase that seals a file, characters: the file is guessed at wherever it lies, at
/// any pace, so it is longer than a password.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
/// Longest passphrase taken, octets.
pub const PASSPHRASE_BYTES_MAX: usize = 512;
/// Longest file taken by `config.import`, octets: the largest backup, sealed, in letters.
pub const IMPORT_BYTES_MAX: usize = 448 * 1024;
/// Time to confirm a change that may cut its author off, seconds: long enough for a device to
/// find the box at its new address, short enough to wait for.
pub const CONFIRM_S_DEFAULT: u32 = 90;
/// Shortest time to confirm, seconds.
pub const CONFIRM_S_MIN: u32 = 10;
/// Longest time to confirm, seconds: who goes away for longer will not confirm either.
pub const CONFIRM_S_MAX: u32 = 3600;
/// Longest name of a token, characters.
pub const TOKEN_NAME_CHARS_MAX: usize = 64;
/// Days a token lasts unless its maker says otherwise.
pub const TOKEN_DAYS_DEFAULT: u32 = 365;
/// Most days a token lasts: ten years.
pub const TOKEN_DAYS_MAX: u32 = 3650;
/// What `system.data.reset` wants to read in `confirm`.
pub const RESET_CONFIRM: &str = "erase everything";

/// No parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// A done thing that has nothing to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {}

/// Part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// Most entries wanted.
    #[serde(default)]
    pub limit: Option<u32>,
    /// `next` of the answer before.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Cursor for the next part, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// `up`.
    pub status: String,
}

/// `status`: what the first page and `lintel status` show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The box.
    pub system: SystemInfo,
    /// Whether promises can be kept on disk.
    pub data: DataState,
    /// The way to the internet.
    pub wan: WanStatus,
    /// The household's network.
    pub lan: LanStatus,
    /// Leases.
    pub leases: LeaseCounts,
    /// Every role.
    pub services: Vec<Service>,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// How the kernel stands to the plan.
    pub kernel: KernelStatus,
    /// What the householder should know, worst first.
    pub notices: Vec<Notice>,
}

/// `system.info`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SystemInfo {
    /// The box's own name.
    pub hostname: String,
    /// Version of the firmware, with the source's commit.
    pub version: String,
    /// Short name of the board.
    pub board: String,
    /// The board's name for people.
    pub board_title: String,
    /// Identity of this boot.
    pub boot_id: String,
    /// Since boot.
    pub uptime_s: u64,
    /// The wall clock.
    pub clock: ClockStatus,
    /// Main memory, when the kernel told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// `lintel run`: not the whole machine.
    pub run: bool,
    /// SHA-256 of the certificate on port 443, as browsers show it (`AB:CD:...`): to be compared
    /// by who is warned of it. `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_sha256: Option<String>,
}

/// The wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockStatus {
    /// What it says.
    pub unix_s: u64,
    /// Whether a time source has confirmed it since boot.
    pub synchronised: bool,
    /// Whether several sources agreed since boot: dates of certificates are judged strictly.
    #[serde(default)]
    pub agreed: bool,
    /// How far it was off when the sources were last combined, nanoseconds; positive: behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ns: Option<i64>,
    /// Sources that agree.
    #[serde(default)]
    pub sources: u32,
}

/// Main memory, as in /proc/meminfo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// `MemTotal`.
    pub total_kib: u64,
    /// `MemAvailable`.
    pub available_kib: u64,
}

/// The way to the internet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WanStatus {
    /// `off`, `detect` or `dhcp`.
    pub mode: String,
    /// The link, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Whether its lower layer is up.
    pub carrier: bool,
    /// Whether there is an address and a way out.
    pub online: bool,
    /// Where the DHCP client is in its life (RFC 2131 figure 5, lower case).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The state as a sentence.
    pub text: String,
    /// The lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<WanLease>,
    /// Frames dropped, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<(String, u64)>,
}

/// The household's network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LanStatus {
    /// The box's address and the network.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub address: Ipv4Net,
    /// The household's domain.
    pub domain: String,
    /// The link that carries the address, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// Its ports.
    pub ports: Vec<PortStatus>,
}

/// A port of the LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortStatus {
    /// The link.
    pub link: LinkName,
    /// Whether its lower layer is up.
    pub carrier: bool,
}

/// Leases in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeaseCounts {
    /// Bound and not over.
    pub active: u32,
    /// Addresses in the pool.
    pub pool: u32,
    /// Fixed addresses in the configuration.
    pub reserved: u32,
    /// Packets that the DHCP server dropped, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<(String, u64)>,
}

/// `services.status`: one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Service {
    /// The role.
    pub name: RoleName,
    /// `starting`, `ready`, `stopping`, `backing-off`, `stopped`.
    pub state: String,
    /// Process number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since it became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// Starts since boot, less the first.
    pub restarts: u32,
    /// Proportional set size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss_kib: Option<u64>,
    /// How it last ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
}

/// The configuration in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigStatus {
    /// Its revision; absent while the box runs without its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Who made it.
    pub author: String,
    /// A revision that is being applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applying: Option<u64>,
    /// A revision that waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingConfirm>,
    /// The configuration in force is the fail-secure one.
    pub fail_secure: bool,
}

/// How the kernel stands to the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KernelStatus {
    /// It holds what is desired.
    pub converged: bool,
    /// Messages that changed the kernel since controld began.
    pub writes: u64,
    /// The last step that failed, in words, until a later plan ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What others put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<ForeignObject>,
}

/// `network.info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkInfo {
    /// The way to the internet.
    pub wan: WanStatus,
    /// The household's network.
    pub lan: LanStatus,
    /// How the kernel stands to the plan.
    pub kernel: KernelStatus,
}

/// `network.interfaces`: one link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interface {
    /// The link.
    #[serde(flatten)]
    pub link: LinkStatus,
    /// Its addresses with their lengths.
    pub addresses: Vec<String>,
    /// `wan`, `lan`, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// `services.restart`, and the role part of `logs.services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceParams {
    /// The role.
    pub name: String,
}

/// `logs.services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    /// The role, or `all`.
    pub name: String,
    /// Most lines.
    #[serde(default)]
    pub lines: Option<u32>,
}

/// `logs.services`: one line, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogEntry {
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Wall clock, milliseconds.
    pub unix_ms: u64,
    /// Who said it.
    pub role: RoleName,
    /// `error`, `warn`, `info`, `debug`.
    pub level: String,
    /// The text.
    pub text: String,
}

/// `config.show`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigShowParams {
    /// A stored revision in place of the one in force.
    #[serde(default)]
    pub revision: Option<u64>,
}

/// `config.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigShown {
    /// Its revision; absent for the fail-secure configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub unix_s: u64,
    /// As it was written.
    pub toml: String,
    /// The same with every default filled in; null when the text no longer loads.
    pub config: Value,
}

/// A revision in force that is taken back by itself unless somebody confirms it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingConfirm {
    /// Its number.
    pub revision: u64,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Time left, seconds.
    pub seconds_left: u32,
    /// The revision that is taken otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The box's new address in the household, when the change moves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Only in the answer to the commit: confirms it without a login, once, as long as the
    /// author's session lasts. For the page at the new address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `config.validate`, `config.plan`, `config.apply` and `config.commit`: exactly one of `toml`
/// and `config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigParams {
    /// As TOML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toml: Option<String>,
    /// As JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// `config.plan`: show each step's netlink messages.
    #[serde(default)]
    pub messages: bool,
    /// Take the change back after so many seconds unless it is confirmed; without this, only a
    /// change that may cut its author off is, after [`CONFIRM_S_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u32>,
}

/// `config.patch`: the configuration in force with these values in place of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PatchParams {
    /// A merge patch (RFC 7396) of the JSON form.
    pub patch: Value,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// As in [`ConfigParams`].
    #[serde(default)]
    pub confirm_s: Option<u32>,
}

/// `config.validate`, when nothing is wrong. What is wrong comes as a problem with `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigValid {
    /// What the householder should know about it all the same.
    pub notices: Vec<Notice>,
}

/// `config.plan`, `config.apply`, `config.commit` and `config.rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigApplied {
    /// The revision made; with `dry_run` and for an unchanged text, the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether a revision was made.
    pub committed: bool,
    /// What differs from the configuration in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// What the kernel is told, in order.
    pub plan: Vec<PlannedStep>,
    /// Live connections that it cuts; absent when the kernel could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowsCut>,
    /// How it went: `planned` (dry run), `applied`, `waiting` (netd is not there or slow),
    /// `reverted` (a step failed, or it was not confirmed; the revision before is in force).
    pub outcome: String,
    /// It waits to be confirmed; in a plan, that it would (then without a token).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<PendingConfirm>,
    /// The step that failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the householder should know about it.
    pub notices: Vec<Notice>,
}

/// One step in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedStep {
    /// Why, for the householder.
    pub reason: String,
    /// What it may cut.
    pub hazard: Hazard,
    /// What the kernel is told; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<StepPreview>,
}

/// `config.confirm`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfirmParams {
    /// The revision that is meant; absent: the one that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// [`PendingConfirm::token`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for ConfirmParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfirmParams {{ revision: {:?} }}", self.revision)
    }
}

/// `config.rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackParams {
    /// Take this revision's configuration again, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Undo only what this revision changed, and keep what came after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<u64>,
    /// With `undo`: only the change of this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// As in [`ConfigParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u32>,
}

/// `config.revisions.show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RevisionParams {
    /// Its number.
    pub revision: u64,
}

/// `config.diff`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DiffParams {
    /// A revision; absent: the one before `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// A revision; absent: the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// `config.diff`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigDiff {
    /// Compared with; absent for the built-in defaults, when there is no revision before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// This one; absent for a configuration that is no revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// What differs, by path.
    pub changes: Vec<Change>,
}

/// `config.revisions`: one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RevisionInfo {
    /// Its number, from 1.
    pub revision: u64,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub unix_s: u64,
    /// It is in force.
    pub active: bool,
    /// What became of it: `stored`, `pending`, `applied`, `reverted`, `failed`.
    pub state: String,
}

/// `config.export`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// Seals it; see [`passphrase_problem`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// A backup on the box; absent: what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<u64>,
}

impl std::fmt::Debug for ExportParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExportParams {{ backup: {:?} }}", self.backup)
    }
}

/// What is wrong with a passphrase that is to seal a file. Only ASCII is taken, so that every
/// keyboard, program and HTTP field writes the same octets.
pub fn passphrase_problem(passphrase: &str) -> Option<&'static str> {
    if !passphrase.bytes().all(|b| matches!(b, b' '..=b'~')) {
        Some("it holds characters that not every keyboard and program writes alike")
    } else if passphrase.trim() != passphrase {
        Some("it begins or ends with a blank")
    } else if passphrase.len() < PASSPHRASE_CHARS_MIN {
        Some("it is too short")
    } else if passphrase.len() > PASSPHRASE_BYTES_MAX {
        Some("it is too long")
    } else {
        None
    }
}

/// `config.export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigExported {
    /// How to call the file.
    pub file_name: String,
    /// Whether it takes the passphrase to open it.
    pub sealed: bool,
    /// The file's text: TOML, or an age file in letters.
    pub content: String,
}

/// `config.import`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportParams {
    /// The file's text.
    pub content: String,
    /// Opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

impl std::fmt::Debug for ImportParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportParams({} octets)", self.content.len())
    }
}

/// `config.backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BackupParams {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `config.backups`: one backup on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupInfo {
    /// Its number.
    pub id: u64,
    /// How it came about: `asked`, `imported`, `commit` (before a change), `schedule`.
    pub origin: String,
    /// When it was made; of an imported one, on the box that it is from.
    pub made_unix_s: u64,
    /// Why.
    pub reason: String,
    /// Short name of the board that it was made on.
    pub board: String,
    /// The configuration's revision there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Octets it takes.
    pub bytes: u64,
}

/// `config.restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreParams {
    /// From the list.
    pub id: u64,
    /// By the port that the backup names, the one here that takes its place. The same on both
    /// sides keeps it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<BTreeMap<String, String>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// As in [`ConfigParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u32>,
}

/// `dhcp.leases.list`: one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// The device.
    pub mac: MacAddr,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub state: BindingState,
    /// When it was last acknowledged.
    pub bound_unix_s: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// It is over.
    pub expired: bool,
    /// The address is reserved for the device.
    pub reserved: bool,
}

/// `dhcp.leases.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseDeleteParams {
    /// The address.
    pub ip: Ipv4Addr,
}

/// `dhcp.reservations.list`: one fixed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReservationInfo {
    /// The device.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Somebody else has the address until this time, Unix seconds; then the device gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_unix_s: Option<u64>,
}

/// `dhcp.reservations.add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationAddParams {
    /// The device.
    pub mac: String,
    /// Its address; absent: the one that it has a lease of.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its name in DNS.
    #[serde(default)]
    pub name: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dhcp.reservations.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationDeleteParams {
    /// The device.
    pub mac: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordAddParams {
    /// Owner name; one without a dot lives under the household's domain.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT` or `PTR`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Address, target or text.
    pub value: String,
    /// Time to live, seconds; absent: the configuration's default.
    #[serde(default)]
    pub ttl: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.delete`: every written record that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordDeleteParams {
    /// Owner name, with or without the household's domain.
    pub name: String,
    /// Only those of this type.
    #[serde(default, rename = "type")]
    pub rtype: Option<String>,
    /// Only those with this value.
    #[serde(default)]
    pub value: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.list`: one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DnsRecord {
    /// Owner name.
    pub name: String,
    /// Record type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Address, target or text.
    pub value: String,
    /// Time to live, seconds; absent where the server decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// `config`, `lease`, `box`.
    pub source: String,
}

/// `dns.statistics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DnsCounters {
    /// Questions taken.
    pub queries: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered from local names.
    pub local: u64,
    /// Asked upstream.
    pub forwarded: u64,
    /// Answered SERVFAIL.
    pub failed: u64,
    /// Answers kept.
    pub cache_entries: u64,
    /// Octets they take.
    pub cache_bytes: u64,
    /// Packets dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Upstreams with their state (`good`, `failing`).
    pub upstreams: Vec<(String, String)>,
}

/// `system.data.reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetParams {
    /// [`RESET_CONFIRM`], letter by letter.
    pub confirm: String,
}

/// `auth.login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginParams {
    /// The password.
    pub password: String,
    /// Six digits of the second factor, when one is on.
    #[serde(default)]
    pub code: Option<String>,
}

impl std::fmt::Debug for LoginParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginParams")
    }
}

/// `auth.refresh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionRefreshed {
    /// When the session ends, however much it is used: as before.
    pub ends_unix_s: u64,
    /// When it ends if nobody uses it.
    pub idle_ends_unix_s: u64,
}

/// `auth.rotate-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKeyParams {
    /// The token; absent: the caller's own.
    #[serde(default)]
    pub id: Option<u64>,
}

/// `auth.totp`: without `code` and `off`, a new secret is begun.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TotpParams {
    /// The password; root of the box need not know it.
    #[serde(default)]
    pub current: Option<String>,
    /// Six digits that confirm the secret which was begun.
    #[serde(default)]
    pub code: Option<String>,
    /// Take it away.
    #[serde(default)]
    pub off: bool,
}

impl std::fmt::Debug for TotpParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TotpParams {{ off: {} }}", self.off)
    }
}

/// `auth.totp`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TotpState {
    /// `off`; `begun`: a code is wanted before it counts; `on`.
    pub state: String,
    /// The secret in base32, when it was begun; shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The same as a link that authenticators open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

impl std::fmt::Debug for TotpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TotpState({})", self.state)
    }
}

/// `auth.users.list`: one who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserInfo {
    /// `owner`.
    pub name: String,
    /// `admin`.
    pub role: String,
    /// A password is set.
    pub claimed: bool,
    /// A second factor is wanted at the login.
    pub totp: bool,
}

/// `auth.setup`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordParams {
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for PasswordParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordParams")
    }
}

/// `auth.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuthStatus {
    /// A password is set.
    pub claimed: bool,
    /// This caller has a session, or an API token.
    pub logged_in: bool,
    /// This caller may set the password now.
    pub may_claim: bool,
    /// /data is failed: only diagnosis and reset are left.
    pub data_failed: bool,
    /// A second factor is wanted at the login.
    #[serde(default)]
    pub totp: bool,
    /// While no password is set: that somebody at the box took it away, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// The box's name, for the page's title.
    pub hostname: HostName,
    /// As in [`SystemInfo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_sha256: Option<String>,
}

/// `auth.password.change`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordChangeParams {
    /// The new password.
    pub password: String,
    /// The one that counts now; root of the box need not know it.
    #[serde(default)]
    pub current: Option<String>,
}

impl std::fmt::Debug for PasswordChangeParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordChangeParams")
    }
}

/// `auth.sessions.list`: one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionInfo {
    /// Names it to `auth.sessions.end`; not the session's token.
    pub id: String,
    /// When it began.
    pub created_unix_s: u64,
    /// When it was last used.
    pub used_unix_s: u64,
    /// When it ends, however much it is used.
    pub ends_unix_s: u64,
    /// When it ends if nobody uses it.
    pub idle_ends_unix_s: u64,
    /// Where it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// It is the caller's own.
    pub current: bool,
}

/// `auth.sessions.end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionEndParams {
    /// From the list.
    pub id: String,
}

/// `auth.tokens.list`: one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenInfo {
    /// Its number.
    pub id: u64,
    /// What its maker calls it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub scope: String,
    /// When it was made.
    pub created_unix_s: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// It is over.
    pub expired: bool,
}

/// `auth.tokens.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenCreateParams {
    /// What to call it.
    pub name: String,
    /// `read`, `write` or `admin`.
    pub scope: String,
    /// How long it lasts.
    #[serde(default)]
    pub days: Option<u32>,
}

/// `auth.tokens.create`, the only time that the token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenCreated {
    /// Its number.
    pub id: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// The token, for `Authorization: Bearer`; the box keeps its hash alone.
    pub token: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCreated({})", self.id)
    }
}

/// `auth.tokens.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenDeleteParams {
    /// From the list.
    pub id: u64,
}

/// `audit.list`: one change that somebody made or tried to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// When.
    pub unix_s: u64,
    /// `owner` (a session), `token NAME`, `local` (root of the box), `anyone`.
    pub who: String,
    /// From where, over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The method.
    pub method: String,
    /// `done`, `begun` when its end was not seen, or the short name of the problem.
    pub outcome: String,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The configuration's revision that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}
