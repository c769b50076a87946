//! What the server serves: subnets, pools, reservations.

use std::net::Ipv4Addr;

use lintel_model::Ipv4Net;
use lintel_model::services::{DhcpSpec, DhcpSubnet};
use lintel_wire::dhcpv4::ClasslessRoute;
use smoltcp::wire::EthernetAddress;

/// Most addresses of one pool: a /16's worth. The free list is a set in memory, 4 octets each
/// and change.
pub const POOL_ADDRESSES_MAX: u32 = 1 << 16;

/// The whole service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerConfig {
    /// One per link; networks do not overlap.
    pub subnets: Vec<SubnetConfig>,
    /// An ACK waits until its binding is on disk. When false, leases come from memory, last
    /// ten minutes at most, and every address new to its client is probed.
    pub durable: bool,
    /// Labels that no client may take as its name, lower case.
    pub names_refused: Vec<String>,
}

/// The service on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetConfig {
    /// Kernel index of the link.
    pub link: u32,
    /// Our hardware address there, the source of probes.
    pub mac: EthernetAddress,
    /// Our address: server identifier and source of replies.
    pub address: Ipv4Addr,
    /// The network, host bits zero.
    pub network: Ipv4Net,
    /// First address given to anybody.
    pub first: Ipv4Addr,
    /// Last address given to anybody.
    pub last: Ipv4Addr,
    /// Lease time, seconds; clients may ask for less.
    pub lease_s: u32,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 42.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 15, and the domain of names in option 81.
    pub domain: Option<String>,
    /// Option 119.
    pub search: Vec<String>,
    /// Option 26.
    pub mtu: Option<u16>,
    /// Option 121. Clients that take it ignore option 3 (RFC 3442), so a default route belongs
    /// here too.
    pub routes: Vec<ClasslessRoute>,
    /// Fixed addresses.
    pub reservations: Vec<Reservation>,
    /// We alone decide about this network, so a client that claims an address we cannot
    /// confirm gets a NAK instead of the silence of RFC 2131 section 4.3.2.
    pub authoritative: bool,
    /// UDP port we serve on: 67. Clients are on the next one.
    pub port: u16,
}

/// An address kept for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub client: ReservedFor,
    /// Inside the network, inside or outside the pool.
    pub address: Ipv4Addr,
    /// Its name in DNS, one label, lower case.
    pub name: Option<String>,
}

/// How a reservation knows its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservedFor {
    /// By `chaddr`, whatever client id the message carries.
    Mac(EthernetAddress),
    /// By option 61.
    ClientId(Vec<u8>),
}

/// What is wrong with a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Our own address is not a host address of the network.
    #[error("{0} is no host address of its network")]
    OwnAddress(Ipv4Addr),
    /// The pool is reversed or leaves the network.
    #[error("the pool {0} to {1} is not inside its network")]
    Pool(Ipv4Addr, Ipv4Addr),
    /// More than [`POOL_ADDRESSES_MAX`].
    #[error("the pool has {0} addresses, more than {POOL_ADDRESSES_MAX}")]
    PoolTooLarge(u64),
    /// Two subnets overlap or share a link.
    #[error("network {0} meets another one")]
    Overlap(Ipv4Net),
    /// A reservation lies outside the network or on our own address.
    #[error("reserved address {0} cannot be given in its network")]
    Reservation(Ipv4Addr),
}

impl ServerConfig {
    /// Finds the first thing that makes the service impossible.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (n, subnet) in self.subnets.iter().enumerate() {
            subnet.check()?;
            let meets = |other: &SubnetConfig| {
                other.link == subnet.link
                    || other.network.contains(&subnet.network)
                    || subnet.network.contains(&other.network)
            };
            if self.subnets.iter().take(n).any(meets) {
                return Err(ConfigError::Overlap(subnet.network));
            }
        }
        Ok(())
    }
}

impl SubnetConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if !self.is_host(self.address) {
            return Err(ConfigError::OwnAddress(self.address));
        }
        let pool = || ConfigError::Pool(self.first, self.last);
        if self.first > self.last
            || !self.network.contains(&self.first)
            || !self.network.contains(&self.last)
        {
            return Err(pool());
        }
        let size = u64::from(u32::from(self.last)) - u64::from(u32::from(self.first)) + 1;
        if size > u64::from(POOL_ADDRESSES_MAX) {
            return Err(ConfigError::PoolTooLarge(size));
        }
        for reservation in &self.reservations {
            if !self.is_host(reservation.address) || reservation.address == self.address {
                return Err(ConfigError::Reservation(reservation.address));
            }
        }
        Ok(())
    }

    /// Whether a host may have the address: in the network, and neither its first (the
    /// network's own) nor its last (broadcast) unless the network is too small to have these.
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.network.contains(&address)
            && (self.network.prefix_len() >= 31
                || (address != self.network.network() && address != self.network.broadcast()))
    }
}

impl From<&DhcpSpec> for ServerConfig {
    fn from(spec: &DhcpSpec) -> Self {
        Self {
            subnets: spec.subnets.iter().map(SubnetConfig::from).collect(),
            durable: spec.durable,
            // WPAD and ISATAP names hand a LAN's traffic to whoever owns them.
            names_refused: ["localhost", "wpad", "isatap"].map(str::to_owned).into(),
        }
    }
}

impl From<&DhcpSubnet> for SubnetConfig {
    fn from(subnet: &DhcpSubnet) -> Self {
        let domain = subnet.domain.as_str().to_owned();
        Self {
            link: subnet.index,
            mac: EthernetAddress(subnet.mac.0),
            address: subnet.address.addr(),
            network: subnet.address.trunc(),
            first: subnet.first,
            last: subnet.last,
            lease_s: subnet.lease_s,
            routers: subnet.routers.clone(),
            dns: subnet.dns.clone(),
            ntp: subnet.ntp.clone(),
            search: vec![domain.clone()],
            domain: Some(domain),
            mtu: subnet.mtu,
            routes: Vec::new(),
            reservations: subnet
                .reservations
                .iter()
                .map(|reservation| Reservation {
                    client: ReservedFor::Mac(EthernetAddress(reservation.mac.0)),
                    address: reservation.address,
                    name: reservation
                        .name
                        .as_ref()
                        .map(|name| name.as_str().to_ascii_lowercase()),
                })
                .collect(),
            authoritative: true,
            port: subnet.port,
        }
    }
}
