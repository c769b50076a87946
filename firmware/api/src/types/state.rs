//! The box itself: status, services, logs, the bus.

use lintel_model::facts::{DataState, Notice};
use lintel_model::lease::WanLease;
use lintel_model::observed::{ForeignObject, LinkStatus};
use lintel_model::{Ipv4Net, LinkName, RoleName};
use serde::{Deserialize, Serialize};

use super::ConfigStatus;

/// Most log lines in one answer; init keeps a ring of about this size.
pub const LOG_LINES_MAX: u32 = 1000;

/// What `system.data.reset` wants to read in `confirm`.
pub const RESET_CONFIRM: &str = "erase everything";

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

/// `system.time`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeStatus {
    /// What the clock says, Unix seconds.
    pub unix_s: u64,
    /// The same as people write it, in UTC (RFC 3339).
    pub rfc3339: String,
    /// Whether the clock follows time servers.
    pub synchronised: bool,
    /// Whether several of them agreed since boot: dates of certificates are judged strictly.
    pub agreed: bool,
    /// How far it was off when they were last heard, nanoseconds; positive: behind. `None` while
    /// none is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ns: Option<i64>,
    /// When they were last heard, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_unix_s: Option<u64>,
    /// How many time servers are asked.
    pub sources_asked: u32,
    /// How many of them agree.
    pub sources_agreeing: u32,
    /// Since boot, seconds; no setting of the clock changes it.
    pub uptime_s: u64,
    /// Whether `system.time.set` would be done: not while time servers are followed.
    pub can_be_set: bool,
}

/// `system.time.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeParams {
    /// RFC 3339, or Unix seconds in digits.
    pub time: String,
    /// For the audit trail.
    #[serde(default)]
    pub reason: Option<String>,
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

/// `system.data.reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetParams {
    /// [`RESET_CONFIRM`], letter by letter.
    pub confirm: String,
}
