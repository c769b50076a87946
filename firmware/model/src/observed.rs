//! What the kernel holds, in the words of [`crate::desired`], normalised so that equal means
//! equal: what the kernel adds by itself is left out or named.

use serde::{Deserialize, Serialize};

use crate::desired::{AddressSpec, RouteSpec, SocketSpec, SysctlSpec};
use crate::names::{LinkName, MacAddr};
use crate::nft;

/// One whole look at the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObservedState {
    /// Every link of the namespace but `lo`, by name.
    pub links: Vec<LinkStatus>,
    /// Every address but those of `lo` and the kernel's own link-local ones, sorted.
    pub addresses: Vec<AddressSpec>,
    /// Routes with our protocol number, sorted.
    pub routes: Vec<RouteSpec>,
    /// The sysctls that were asked for, sorted by path; what could not be read is absent.
    pub sysctls: Vec<SysctlSpec>,
    /// The table `inet lintel`, when there is one.
    pub nft: Option<nft::Table>,
    /// Sockets that netd holds open and has handed over.
    pub sockets: Vec<SocketSpec>,
    /// What others put there: reported, never touched.
    pub foreign: Vec<ForeignObject>,
}

/// A link as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LinkStatus {
    /// Its name.
    pub name: LinkName,
    /// Kernel index, 1 or more.
    pub index: u32,
    /// `bridge`, `veth`, `tun`, ...; empty for hardware.
    pub kind: String,
    /// Current hardware address; absent for links without one.
    pub mac: Option<MacAddr>,
    /// Permanent hardware address, when the driver knows one.
    pub permanent_mac: Option<MacAddr>,
    /// Bus and device there, joined by a hyphen (`pci-0000:00:03.0`, `virtio-virtio1`).
    pub bus_path: Option<String>,
    /// Administratively up.
    pub up: bool,
    /// Lower layer up.
    pub carrier: bool,
    /// MTU, octets.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub master: Option<LinkName>,
    /// Whether it is Ethernet (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Octets received and sent since the link exists.
    pub rx_bytes: u64,
    /// Octets sent since the link exists.
    pub tx_bytes: u64,
}

/// Something that stands in the kernel's network state and is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForeignObject {
    /// `nft table`, `route`, `address`.
    pub kind: String,
    /// The object as the usual tool would print it (`ip filter`, `10.0.0.0/8 via ...`).
    pub text: String,
}
