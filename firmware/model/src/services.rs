//! What each role shall serve: the part of a resolved configuration that is not the kernel's.
//! controld sends these whole, at the start of a session and after each change.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::config::{RecordConfig, ReservationConfig, TimeServer};
use crate::desired::DesiredState;
use crate::facts::Notice;
use crate::names::{DomainName, HostName, LinkName, MacAddr};

/// Everything that the planner resolves from configuration and facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// For netd.
    pub kernel: DesiredState,
    /// For wand.
    pub wan: WanSpec,
    /// For dhcpd.
    pub dhcp: DhcpSpec,
    /// For dnsd; names from leases are added by controld.
    pub dns: DnsSpec,
    /// For timed.
    pub ntp: NtpSpec,
    /// For webd.
    pub web: WebSpec,
    /// What the householder should know.
    pub notices: Vec<Notice>,
}

/// What wand does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum WanSpec {
    /// Nothing.
    #[default]
    Off,
    /// Ask on each of these links whether a DHCP server is there; take no lease.
    Detect {
        /// Candidates.
        links: Vec<WanLink>,
    },
    /// Hold a lease on this link.
    Dhcp {
        /// The link.
        link: WanLink,
        /// Name to send as option 12.
        hostname: HostName,
    },
}

/// A link as wand needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WanLink {
    /// Its name.
    pub name: LinkName,
    /// Kernel index.
    pub index: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Lower layer up; a change from down to up means: confirm the lease (INIT-REBOOT).
    pub carrier: bool,
    /// MTU, octets.
    pub mtu: u32,
}

/// What dhcpd serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpSpec {
    /// One per link; requests from elsewhere are not answered.
    pub subnets: Vec<DhcpSubnet>,
    /// Whether an ACK must wait until controld says that the binding is on disk. When false
    /// the box is in its fail-secure state: ten-minute leases from memory, after a probe.
    pub durable: bool,
}

/// The service on one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpSubnet {
    /// The link.
    pub link: LinkName,
    /// Its kernel index, as packet info tells it.
    pub index: u32,
    /// The link's hardware address (source of frames).
    pub mac: MacAddr,
    /// Our address there and the network.
    pub address: Ipv4Net,
    /// First address of the pool.
    pub first: Ipv4Addr,
    /// Last address of the pool.
    pub last: Ipv4Addr,
    /// Lease time, seconds.
    pub lease_s: u32,
    /// Routers to announce.
    pub routers: Vec<Ipv4Addr>,
    /// Resolvers to announce.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers to announce.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain to announce.
    pub domain: DomainName,
    /// MTU to announce, when it is not the link's usual one.
    pub mtu: Option<u16>,
    /// Fixed addresses.
    pub reservations: Vec<ReservationConfig>,
    /// UDP port that we serve on: 67, but for `lintel run`.
    pub port: u16,
}

/// What dnsd serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSpec {
    /// Links whose hosts may ask; `lo` is always allowed.
    pub links: Vec<DnsLink>,
    /// Resolvers to ask, in order of preference.
    pub upstreams: Vec<SocketAddr>,
    /// Networks whose addresses must not come from upstream for public names; empty: no check.
    pub rebind_private: bool,
    /// The household's domain.
    pub domain: Option<DomainName>,
    /// The box's own names and addresses.
    pub own: Vec<HostRecord>,
    /// Local records.
    pub records: Vec<RecordConfig>,
    /// Names from leases and reservations, without domain.
    pub hosts: Vec<HostRecord>,
    /// Networks whose reverse zones are ours.
    pub networks: Vec<Ipv4Net>,
    /// Most octets of answers kept.
    pub cache_bytes_max: u32,
}

/// A link on which DNS is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsLink {
    /// Name.
    pub name: LinkName,
    /// Kernel index.
    pub index: u32,
    /// Our address there.
    pub address: IpAddr,
}

/// A name with its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// One label; it lives under the household's domain.
    pub name: HostName,
    /// Its address.
    pub address: IpAddr,
}

/// What timed asks and serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NtpSpec {
    /// Links whose hosts are told the time; `lo` always is. Empty: nobody else.
    pub links: Vec<DnsLink>,
    /// Servers to ask, in the order written; a name is one server.
    pub servers: Vec<TimeServer>,
    /// Names of which a few servers each are asked.
    pub pools: Vec<TimeServer>,
    /// Servers that the WAN's lease named (DHCP option 42).
    pub provider: Vec<Ipv4Addr>,
    /// Who resolves the names: our own dnsd.
    pub resolver: Option<SocketAddr>,
    /// Whether there is a way to the internet; without, nothing is asked.
    pub online: bool,
}

/// What webd serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSpec {
    /// Links from which the UI may be reached, each with every address of the box there.
    pub links: Vec<DnsLink>,
    /// Names and addresses that a `Host` header may carry.
    pub hosts: Vec<String>,
}
