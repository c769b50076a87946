//! What the forwarder is told: everything here comes with one snapshot and is replaced whole.

use std::net::{IpAddr, SocketAddr};

use lintel_wire::dns::{Name, RecordRepr};

/// What to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Resolvers to ask, in order of preference while nothing is known about their speed.
    pub upstreams: Vec<SocketAddr>,
    /// The household's domain: answered here alone, never forwarded.
    pub domain: Name,
    /// The box's own name, absolute: the server that SOA and NS of our zones name.
    pub own_name: Name,
    /// Records of the household with absolute names.
    pub records: Vec<RecordRepr>,
    /// Absolute names with their addresses; the PTR of each address comes with it.
    pub hosts: Vec<(Name, IpAddr)>,
    /// Networks of the household: their reverse zones are answered here alone, and their addresses
    /// count as private in answers from upstream.
    pub networks: Vec<Prefix>,
    /// Drop answers from upstream that name private addresses.
    pub rebind_protection: bool,
    /// Domains whose answers may name private addresses all the same.
    pub rebind_allowed: Vec<Name>,
    /// Most answers kept.
    pub cache_entries_max: usize,
    /// Most octets that kept answers take, our own bookkeeping included.
    pub cache_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let lan = Name::from_text("lan").unwrap_or_else(|_| Name::root());
        Self {
            upstreams: Vec::new(),
            own_name: lan.clone(),
            domain: lan,
            records: Vec::new(),
            hosts: Vec::new(),
            networks: Vec::new(),
            rebind_protection: true,
            rebind_allowed: Vec::new(),
            // About what 4 MiB hold: a busy household asks for some thousand names a day.
            cache_entries_max: 16_384,
            cache_bytes_max: 4 << 20,
        }
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Any address of the network.
    pub address: IpAddr,
    /// Leading bits that count.
    pub len: u8,
}

impl Prefix {
    /// The network of `address` with `len` bits.
    pub const fn new(address: IpAddr, len: u8) -> Self {
        Self { address, len }
    }

    /// Is `address` in this network?
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let host_bits = width - u32::from(self.len).min(width);
        // A shift by the whole width of u128 is what an empty prefix asks for: it covers all.
        (ours ^ theirs)
            .checked_shr(host_bits)
            .is_none_or(|rest| rest == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let prefix = |text: &str, len| Prefix::new(text.parse().unwrap(), len);
        let has = |prefix: Prefix, text: &str| prefix.contains(text.parse().unwrap());
        assert!(has(prefix("172.16.0.0", 12), "172.31.255.255"));
        assert!(!has(prefix("172.16.0.0", 12), "172.32.0.0"));
        assert!(has(prefix("0.0.0.0", 0), "9.9.9.9"));
        assert!(!has(prefix("0.0.0.0", 0), "::1"));
        assert!(has(prefix("::", 0), "2001:db8::1"));
        assert!(has(prefix("::1", 128), "::1"));
        assert!(!has(prefix("::1", 128), "::2"));
    }
}
