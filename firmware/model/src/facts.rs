//! What the world told us: arguments of the planner beside the configuration.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::board::BoardSpec;
use crate::config::PortSelector;
use crate::lease::WanLease;
use crate::names::LinkName;
use crate::observed::LinkStatus;

/// Everything that decides about the desired state and is not written by the user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The links that exist, from netd.
    pub links: Vec<LinkStatus>,
    /// The board we run on.
    pub board: BoardSpec,
    /// Port on which a DHCP server answered, found by wand and kept by controld.
    pub detected_wan: Option<PortSelector>,
    /// The short search for a WAN port at start has ended, with or without a find. Until then
    /// a port that may lead to the provider is kept out of the LAN bridge, so that we never
    /// serve DHCP into somebody else's network.
    #[serde(default)]
    pub detection_over: bool,
    /// The WAN's lease, live or kept over a reboot and not yet over.
    pub wan_lease: Option<WanLease>,
    /// State of /data.
    pub data: DataState,
    /// The box's addresses that the LAN has left and that are still served with their networks, so
    /// that nobody is cut off before its lease ends. Their networks may overlap each other and the
    /// LAN's own.
    #[serde(default)]
    pub leaving: Vec<Ipv4Net>,
    /// Whether this is `lintel run`: a namespace with links of any make, ports from `[run]`.
    pub run: bool,
}

/// Whether promises can be kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum DataState {
    /// Mounted and the database opened.
    #[default]
    Good,
    /// Not to be used: the box is in its fail-secure state and says why.
    Failed {
        /// A sentence for the householder.
        reason: String,
    },
}

/// Something the householder should know, found while planning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notice {
    /// Stable name, for tests and translations (`wan-overlaps-lan`).
    pub code: NoticeCode,
    /// How bad it is.
    pub severity: Severity,
    /// A plain sentence that says what to do.
    pub text: String,
    /// The link it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NoticeCode {
    /// The provider's network overlaps the LAN's.
    WanOverlapsLan,
    /// The box has a single port and uses it as LAN.
    OnePort,
    /// No port at all.
    NoPort,
    /// It is not known yet which port is the WAN.
    WanUnknown,
    /// A configured port is missing.
    PortMissing,
    /// /data cannot be used.
    DataFailed,
    /// The database was damaged, and a snapshot of it is used.
    DataRestored,
    /// The stored revision did not load.
    RevisionFailed,
    /// A change was not confirmed and is taken back.
    NotConfirmed,
    /// An address that is to be one device's is in use by another.
    AddressHeld,
    /// Somebody at the box reset the password, or everything.
    Reset,
    /// Somebody else's object stands beside ours.
    Foreign,
    /// A step failed and is tried again.
    StepFailed,
    /// The WAN has no lease.
    NoLease,
}

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Something does not work as wished.
    Warning,
    /// The box is not doing its work.
    Error,
}
