//! What the running kernel cannot do of that which configurations ask for.

use serde::{Deserialize, Serialize};

/// Something that a kernel may have been built without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Links of kind `bridge`.
    Bridge,
    /// The table's sets, conditions and filter chains.
    Firewall,
    /// Changing the segment size that passing connections announce.
    Clamp,
    /// Another source address for what leaves.
    Nat,
}

impl Feature {
    /// The key of the configuration that asks for it, what for, and the kernel's options.
    pub const fn asked_by(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Bridge => (
                "lan.ports",
                "the household's ports are joined by a bridge",
                "CONFIG_BRIDGE",
            ),
            Self::Firewall => (
                "lan.address",
                "rules keep strangers away from the household's network",
                "CONFIG_NF_TABLES_INET, CONFIG_NF_CONNTRACK, CONFIG_NFT_CT and CONFIG_NFT_LIMIT",
            ),
            Self::Clamp => (
                "wan.kind",
                "connections are fitted to the provider's link",
                "CONFIG_NFT_CT and CONFIG_NF_TABLES_INET",
            ),
            Self::Nat => (
                "wan.kind",
                "the household shares the address that the provider gives",
                "CONFIG_NFT_NAT and CONFIG_NFT_MASQ",
            ),
        }
    }
}

/// A feature that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Which.
    pub feature: Feature,
    /// What the kernel said.
    pub why: String,
}
