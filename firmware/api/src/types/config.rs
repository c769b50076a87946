//! The configuration: read, planned, committed, taken back, kept.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lintel_model::config::change::Change;
use lintel_model::facts::Notice;
use lintel_model::preview::{FlowsCut, StepPreview};
use lintel_model::step::Hazard;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest configuration text taken, octets: 1,000 reservations are about 100 KB.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;

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
