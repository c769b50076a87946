//! What a server promised us, checked.

use std::net::Ipv4Addr;

use embassy_time::{Duration, Instant};
use lintel_wire::dhcpv4::{ClasslessRoute, Repr, code, domain_search};
use lintel_wire::frame::{EthernetAddress, is_host_address};

/// Most servers of one kind taken from a lease.
const SERVERS_MAX: usize = 8;
/// Most routes taken from a lease.
const ROUTES_MAX: usize = 16;
/// Smallest MTU that is taken seriously: below it IPv4 hosts need not reassemble (RFC 791).
const MTU_MIN: u16 = 576;
/// Shortest lease believed, seconds; a shorter one would have us ask all the time.
const LEASE_S_MIN: u32 = 10;

/// A lease (RFC 2131 section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Our address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, bits.
    pub prefix_len: u8,
    /// Default routers, in order of preference.
    pub routers: Vec<Ipv4Addr>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain of the provider's network.
    pub domain: Option<String>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Interface MTU, octets.
    pub mtu: Option<u16>,
    /// Classless routes; when there are any, `routers` is not to be used (RFC 3442).
    pub routes: Vec<ClasslessRoute>,
    /// Server identifier.
    pub server: Ipv4Addr,
    /// Who sent the ACK on the link: the server or the router before it. Not kept on disk.
    pub server_mac: Option<EthernetAddress>,
    /// When we asked for it: all times count from here.
    pub asked: Instant,
    /// Lease time, seconds; `u32::MAX` never ends.
    pub lease_s: u32,
    /// T1, seconds.
    pub renew_s: u32,
    /// T2, seconds.
    pub rebind_s: u32,
    /// What is odd about it, though it can be used.
    pub oddities: Vec<Oddity>,
}

/// Something a sane server does not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// No subnet mask; that of the address's old class is assumed.
    NoMask,
    /// A router outside our subnet: reachable only by a route to the link.
    RouterOffLink(Ipv4Addr),
    /// No router at all.
    NoRouter,
    /// No resolver.
    NoDns,
    /// A malformed option was ignored.
    BadOption(u8),
    /// T1 and T2 are not in order; half and seven eighths are used.
    BadTimers,
    /// A lease of less than ten seconds, taken as ten.
    ShortLease,
}

/// Why an offer or ACK is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No server identifier.
    #[error("it names no server")]
    NoServer,
    /// The address cannot be a host's.
    #[error("{0} cannot be a host's address")]
    BadAddress(Ipv4Addr),
    /// The mask is no prefix, or leaves no room for a host.
    #[error("{0} is no subnet mask")]
    BadMask(Ipv4Addr),
    /// No lease time.
    #[error("it has no lease time")]
    NoLeaseTime,
}

impl Lease {
    /// Reads an OFFER or ACK to a message sent at `asked`.
    pub fn from_message(message: &Repr, asked: Instant) -> Result<Self, LeaseError> {
        let options = &message.options;
        let mut oddities = Vec::new();
        let server = match options.addr(code::SERVER_ID) {
            Ok(Some(server)) if is_host_address(server) => server,
            _ => return Err(LeaseError::NoServer),
        };
        let address = message.yiaddr;
        if !is_host_address(address) {
            return Err(LeaseError::BadAddress(address));
        }
        let prefix_len = match options.addr(code::SUBNET_MASK) {
            Ok(Some(mask)) => prefix_len(mask).ok_or(LeaseError::BadMask(mask))?,
            _ => {
                oddities.push(Oddity::NoMask);
                class_prefix_len(address)
            }
        };
        let host_bits = !mask_of(prefix_len);
        let host = u32::from(address) & host_bits;
        if prefix_len < 31 && (host == 0 || host == host_bits) {
            return Err(LeaseError::BadAddress(address));
        }
        let lease_s = match options.u32(code::LEASE_TIME) {
            Ok(Some(0)) | Ok(None) | Err(_) => return Err(LeaseError::NoLeaseTime),
            Ok(Some(lease_s)) if lease_s < LEASE_S_MIN => {
                oddities.push(Oddity::ShortLease);
                LEASE_S_MIN
            }
            Ok(Some(lease_s)) => lease_s,
        };
        let timer = |code| options.u32(code).ok().flatten();
        let renew_s = timer(code::RENEWAL_TIME).unwrap_or(lease_s / 2);
        let rebind_s = timer(code::REBINDING_TIME).unwrap_or(lease_s - lease_s / 8);
        let (renew_s, rebind_s) = if 0 < renew_s && renew_s < rebind_s && rebind_s < lease_s {
            (renew_s, rebind_s)
        } else {
            oddities.push(Oddity::BadTimers);
            (lease_s / 2, lease_s - lease_s / 8)
        };
        let mut addrs = |code| match options.addrs(code, SERVERS_MAX) {
            Ok(list) => list,
            Err(error) => {
                oddities.push(Oddity::BadOption(error.code));
                Vec::new()
            }
        };
        let mut routers = addrs(code::ROUTER);
        let mut dns = addrs(code::DNS_SERVERS);
        let mut ntp = addrs(code::NTP_SERVERS);
        let usable = |a: &Ipv4Addr| is_host_address(*a) && *a != address;
        routers.retain(usable);
        dns.retain(|a| is_host_address(*a));
        ntp.retain(|a| is_host_address(*a));
        let mut routes = options.routes(ROUTES_MAX).unwrap_or_else(|error| {
            oddities.push(Oddity::BadOption(error.code));
            Vec::new()
        });
        routes.retain(|route| route.router.is_unspecified() || usable(&route.router));
        for router in &routers {
            if u32::from(*router) & !host_bits != u32::from(address) & !host_bits {
                oddities.push(Oddity::RouterOffLink(*router));
            }
        }
        if routers.is_empty() && routes.is_empty() {
            oddities.push(Oddity::NoRouter);
        }
        if dns.is_empty() {
            oddities.push(Oddity::NoDns);
        }
        let mtu = options.u16(code::INTERFACE_MTU).ok().flatten();
        if mtu.is_some_and(|mtu| mtu < MTU_MIN) {
            oddities.push(Oddity::BadOption(code::INTERFACE_MTU));
        }
        let search = options.get(code::DOMAIN_SEARCH).unwrap_or_default();
        Ok(Self {
            address,
            prefix_len,
            routers,
            dns,
            ntp,
            domain: options.text(code::DOMAIN_NAME).ok().flatten(),
            search: domain_search(search).unwrap_or_default(),
            mtu: mtu.filter(|mtu| *mtu >= MTU_MIN),
            routes,
            server,
            server_mac: None,
            asked,
            lease_s,
            renew_s,
            rebind_s,
            oddities,
        })
    }

    /// When it ends; `None` never.
    pub fn expires(&self) -> Option<Instant> {
        self.after(self.lease_s)
    }

    /// T1 as an instant.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.after(self.renew_s)
    }

    /// T2 as an instant.
    pub(super) fn rebind_at(&self) -> Option<Instant> {
        self.after(self.rebind_s)
    }

    /// Whether it may still be used.
    pub fn is_live(&self, now: Instant) -> bool {
        self.expires().is_none_or(|end| end > now)
    }

    fn after(&self, seconds: u32) -> Option<Instant> {
        (self.lease_s != u32::MAX).then(|| self.asked + Duration::from_secs(u64::from(seconds)))
    }
}

fn mask_of(prefix_len: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix_len))
        .unwrap_or(0)
}

/// The length of a mask that is a prefix of 1 to 32 bits.
fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let len = bits.leading_ones();
    (len > 0 && bits.count_ones() == len).then_some(len as u8)
}

/// RFC 950's default, for servers older than it.
fn class_prefix_len(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        ..128 => 8,
        128..192 => 16,
        192.. => 24,
    }
}
