//! Names, leases and time.

use std::net::Ipv4Addr;

use lintel_model::MacAddr;
use lintel_model::lease::BindingState;
use serde::{Deserialize, Serialize};

/// `dhcp.leases.list`: one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lease {
    /// The address.
    pub ip: Ipv4Addr,
    /// The device.
    pub mac: MacAddr,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub state: BindingState,
    /// When it was last acknowledged.
    pub bound_unix_s: u64,
    /// When it ends.
    pub expires_unix_s: u64,
    /// It is over.
    pub expired: bool,
    /// The address is reserved for the device.
    pub reserved: bool,
}

/// `dhcp.leases.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseDeleteParams {
    /// The address.
    pub ip: Ipv4Addr,
}

/// `dhcp.reservations.list`: one fixed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReservationInfo {
    /// The device.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Somebody else has the address until this time, Unix seconds; then the device gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_unix_s: Option<u64>,
}

/// `dhcp.reservations.add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationAddParams {
    /// The device.
    pub mac: String,
    /// Its address; absent: the one that it has a lease of.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its name in DNS.
    #[serde(default)]
    pub name: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dhcp.reservations.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReservationDeleteParams {
    /// The device.
    pub mac: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordAddParams {
    /// Owner name; one without a dot lives under the household's domain.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `TXT` or `PTR`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Address, target or text.
    pub value: String,
    /// Time to live, seconds; absent: the configuration's default.
    #[serde(default)]
    pub ttl: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.delete`: every written record that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordDeleteParams {
    /// Owner name, with or without the household's domain.
    pub name: String,
    /// Only those of this type.
    #[serde(default, rename = "type")]
    pub rtype: Option<String>,
    /// Only those with this value.
    #[serde(default)]
    pub value: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `dns.records.list`: one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DnsRecord {
    /// Owner name.
    pub name: String,
    /// Record type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Address, target or text.
    pub value: String,
    /// Time to live, seconds; absent where the server decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// `config`, `lease`, `box`.
    pub source: String,
}
