//! What the kernel shall hold: exact, with no choice left to whoever applies it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::names::{LinkName, MacAddr};
use crate::nft;

/// Routing protocol number of our routes (`ip route ... proto 76`), so that we touch only ours.
pub const ROUTE_PROTOCOL: u8 = 76;
/// Name of the LAN bridge.
pub const LAN_BRIDGE: &str = "br-lan";

/// The kernel's network state as the planner wants it. Every list is sorted by its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Links we make or set; links not listed are left as they are.
    pub links: Vec<LinkSpec>,
    /// Every address on the links listed.
    pub addresses: Vec<AddressSpec>,
    /// Every route with our protocol number.
    pub routes: Vec<RouteSpec>,
    /// Values under /proc/sys.
    pub sysctls: Vec<SysctlSpec>,
    /// The table `inet lintel`.
    pub nft: Option<nft::Table>,
    /// Sockets tied to a link, opened by netd for another role.
    pub sockets: Vec<SocketSpec>,
}

/// A link we make or set. Identity: the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// Its name.
    pub name: LinkName,
    /// What it is.
    pub kind: LinkKind,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge it is a port of.
    pub master: Option<LinkName>,
    /// MTU, octets; `None` leaves it alone.
    pub mtu: Option<u32>,
    /// Hardware address; `None` leaves it alone.
    pub mac: Option<MacAddr>,
}

/// Kinds of links that the planner speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// A port that exists; never made or deleted by us.
    Port,
    /// A bridge of ours.
    Bridge,
}

/// An address on a link. Identity: link and address with length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AddressSpec {
    /// The link.
    pub link: LinkName,
    /// Address and length (`192.168.1.1/24`).
    pub address: IpNet,
}

/// A route of ours. Identity: destination, metric, table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Destination; `0.0.0.0/0` is the default route.
    pub destination: IpNet,
    /// Next hop, when the destination is not on the link itself.
    pub gateway: Option<IpAddr>,
    /// Outgoing link.
    pub link: LinkName,
    /// The gateway is on the link although no address there covers it.
    pub onlink: bool,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Metric; lower wins.
    pub metric: u32,
    /// Routing table; 254 is `main`.
    pub table: u32,
}

impl std::fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " dev {}", self.link)?;
        if self.onlink {
            f.write_str(" onlink")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        Ok(())
    }
}

/// A value under /proc/sys/net. Identity: the path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SysctlSpec {
    /// Path below /proc/sys (`net/ipv4/ip_forward`).
    pub path: String,
    /// Value as the kernel prints it, without the newline.
    pub value: String,
}

/// A socket tied to a link. Identity: the whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketSpec {
    /// The link it is bound to.
    pub link: LinkName,
    /// What it carries and who gets it.
    pub kind: SocketKind,
}

/// Kinds of sockets that netd opens for others; the filter is attached and locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketKind {
    /// For wand: receives UDP to port 68 and ARP, sends frames.
    DhcpClient,
    /// For dhcpd: sends frames; receives ARP only (the conflict probe).
    DhcpServer,
}

impl std::fmt::Display for SocketKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DhcpClient => "DHCP client",
            Self::DhcpServer => "DHCP server",
        })
    }
}

/// An IPv4 address with its length, as an [`IpNet`] that keeps the host part.
pub fn ipv4_with_len(address: Ipv4Addr, prefix_len: u8) -> Option<IpNet> {
    ipnet::Ipv4Net::new(address, prefix_len).ok().map(IpNet::V4)
}
