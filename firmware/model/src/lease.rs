//! Leases: those we give on the LAN and the one we hold on the WAN.
//!
//! Times are Unix seconds of the wall clock, since they outlive a boot; roles convert to
//! monotonic instants when a session starts.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::names::{LinkName, MacAddr};

/// A promise to a LAN client: this address is yours until then (RFC 2131 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The address bound. Unique among live bindings.
    pub address: Ipv4Addr,
    /// Hardware address of the client (`chaddr`).
    pub mac: MacAddr,
    /// Option 61 as received, empty when the client sent none.
    #[serde(default)]
    pub client_id: Vec<u8>,
    /// Name the client gave itself, sanitised to one DNS label.
    #[serde(default)]
    pub host_name: Option<String>,
    /// When the binding was last acknowledged, Unix seconds.
    pub bound_unix_s: u64,
    /// When it ends, Unix seconds.
    pub expires_unix_s: u64,
    /// What became of it.
    #[serde(default)]
    pub state: BindingState,
}

/// The life of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BindingState {
    /// Acknowledged and, until its end, the client's own.
    #[default]
    Bound,
    /// Given back by the client; the address is kept for it while the pool has others.
    Released,
    /// Another host answered for the address; not offered until its end.
    Declined,
}

/// The lease of the WAN link (RFC 2131 section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WanLease {
    /// Link it was taken on.
    pub link: LinkName,
    /// Our address there.
    pub address: Ipv4Addr,
    /// Length of the network prefix, bits.
    pub prefix_len: u8,
    /// Default router, when the server named one.
    pub router: Option<Ipv4Addr>,
    /// Resolvers that the server named, at most eight.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Time servers that the server named (option 42), at most eight.
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name of the provider's network.
    #[serde(default)]
    pub domain: Option<String>,
    /// Interface MTU (option 26), octets.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Classless routes (option 121): destination and router.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<(String, Ipv4Addr)>"))]
    pub routes: Vec<(crate::Ipv4Net, Ipv4Addr)>,
    /// Server identifier (option 54).
    pub server: Ipv4Addr,
    /// When the lease was acknowledged, Unix seconds.
    pub bound_unix_s: u64,
    /// Lease time, seconds; `u32::MAX` never ends.
    pub lease_s: u32,
    /// T1, seconds after `bound_unix_s`.
    pub renew_s: u32,
    /// T2, seconds after `bound_unix_s`.
    pub rebind_s: u32,
}
