//! A plan: ordered steps, each with its hazard and a reason in words.

use serde::{Deserialize, Serialize};

use crate::desired::{AddressSpec, RouteSpec, SocketSpec, SysctlSpec};
use crate::names::{LinkName, MacAddr};
use crate::nft;

/// Ordered changes that lead from what was observed to what is desired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, to be done in this order; the first failure ends the run.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What it may cut.
    pub hazard: Hazard,
    /// Why, as a sentence for the householder.
    pub reason: String,
}

/// What a step may cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Hazard {
    /// Nothing.
    None,
    /// Connections through one link or address.
    CutsFlows,
    /// The way by which an author on the LAN came.
    CutsManagement,
}

/// What netd does to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Make a bridge, down, without ports.
    CreateBridge {
        /// Its name.
        name: LinkName,
        /// Its hardware address, so that it does not follow its ports.
        mac: Option<MacAddr>,
    },
    /// Delete a link of ours.
    DeleteLink {
        /// Its name.
        name: LinkName,
    },
    /// Change what is `Some` of a link; the rest stays.
    SetLink {
        /// Its name.
        name: LinkName,
        /// Administratively up or down.
        up: Option<bool>,
        /// `Some(None)` takes it out of its bridge; as JSON that is `null`, and no change is no
        /// field at all.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "given"
        )]
        master: Option<Option<LinkName>>,
        /// MTU, octets.
        mtu: Option<u32>,
        /// Hardware address.
        mac: Option<MacAddr>,
    },
    /// Put an address on a link.
    AddAddress(AddressSpec),
    /// Take an address off a link.
    DeleteAddress(AddressSpec),
    /// Add a route or replace the one with the same identity.
    ReplaceRoute(RouteSpec),
    /// Delete a route of ours.
    DeleteRoute(RouteSpec),
    /// Write a value under /proc/sys.
    SetSysctl(SysctlSpec),
    /// One atomic nftables batch.
    Nft(nft::Transaction),
    /// Open a socket, lock its filter, hand it over.
    OpenSocket(SocketSpec),
    /// Close our end of such a socket and tell its user.
    CloseSocket(SocketSpec),
}

/// A field that is there, be it `null`: serde itself reads `null` as an absent one.
fn given<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<LinkName>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_a_bridge_survives_the_way_to_netd() {
        for master in [None, Some(None), Some(Some("br-lan".parse().unwrap()))] {
            let action = Action::SetLink {
                name: "p0".parse().unwrap(),
                up: None,
                master,
                mtu: None,
                mac: None,
            };
            let text = serde_json::to_string(&action).unwrap();
            assert_eq!(
                serde_json::from_str::<Action>(&text).unwrap(),
                action,
                "{text}"
            );
        }
    }
}
