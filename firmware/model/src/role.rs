//! The fixed table of roles by name; what each may do is in `rt`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A role of the binary. init spawns every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// PID 1: supervises, mounts, reboots.
    Init,
    /// The only writer to the kernel's network state.
    Netd,
    /// Configuration, planner, users, leases: the state.
    Controld,
    /// WAN protocols.
    Wand,
    /// DNS towards the LAN.
    Dnsd,
    /// DHCP towards the LAN.
    Dhcpd,
    /// The box's clock, and time towards the LAN (NTP).
    Timed,
    /// HTTP front: pages, REST, events.
    Webd,
}

impl RoleName {
    /// Every role that init spawns, in the order in which it does.
    pub const SPAWNED: [RoleName; 7] = [
        Self::Netd,
        Self::Controld,
        Self::Wand,
        Self::Dhcpd,
        Self::Dnsd,
        Self::Timed,
        Self::Webd,
    ];

    /// Those of them that have a session with controld, in the same order.
    pub const PEERS_OF_CONTROLD: [RoleName; 6] = [
        Self::Netd,
        Self::Wand,
        Self::Dhcpd,
        Self::Dnsd,
        Self::Timed,
        Self::Webd,
    ];

    /// The name as in argv, logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Netd => "netd",
            Self::Controld => "controld",
            Self::Wand => "wand",
            Self::Dnsd => "dnsd",
            Self::Dhcpd => "dhcpd",
            Self::Timed => "timed",
            Self::Webd => "webd",
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}: use one of netd, controld, wand, dhcpd, dnsd, timed, webd")]
pub struct UnknownRole(pub String);

impl FromStr for RoleName {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::SPAWNED
            .into_iter()
            .chain([Self::Init])
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
