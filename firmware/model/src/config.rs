//! `Config`: the one tree that people write, as TOML.
//!
//! Unknown keys are errors. A missing key has the default that the type names. Values that a
//! type cannot rule out (a pool outside its network) are found by validation, all at
//! once, each with its path.

pub mod change;
mod check;
pub mod description;
pub mod entries;
mod parse;
mod problem;
mod schema;
mod tree;
mod version;
mod write;

pub use parse::UnknownWord;
pub use problem::{Problem, nearest};
pub use schema::json_schema;
pub use version::{ConfigVersion, OtherVersion, VERSION};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::names::{DomainName, HostName, LinkName, MacAddr, NameError};

/// The whole configuration of a box.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The version of the form that this is written in.
    pub version: ConfigVersion,
    /// The box itself.
    pub system: SystemConfig,
    /// The way to the internet.
    pub wan: WanConfig,
    /// The household's network.
    pub lan: LanConfig,
    /// Addresses for the household's devices.
    pub dhcp: DhcpConfig,
    /// Names for the household's devices.
    pub dns: DnsConfig,
    /// The clock, and time for the household's devices.
    pub ntp: NtpConfig,
    /// Only for `lintel run`: where the roles listen when the box is not the whole machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunConfig>,
}

/// The box itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemConfig {
    /// The box's own name; it answers to it in DNS.
    pub hostname: HostName,
}

impl Default for SystemConfig {
    fn default() -> Self {
        Self {
            hostname: constant("lintel"),
        }
    }
}

/// The way to the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WanConfig {
    /// Which port leads there.
    pub port: WanPort,
    /// How the address there comes about.
    pub kind: WanKind,
}

/// How the WAN address comes about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WanKind {
    /// DHCPv4 from the provider or the modem.
    #[default]
    Dhcp,
    /// No WAN at all: the box serves its LAN alone.
    None,
}

/// Which port is the WAN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WanPort {
    /// The board's labelled port, else the one on which a DHCP server answers.
    #[default]
    Auto,
    /// This one.
    Port(PortSelector),
}

impl TryFrom<String> for WanPort {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            text.parse().map(Self::Port)
        }
    }
}

impl From<WanPort> for String {
    fn from(port: WanPort) -> String {
        match port {
            WanPort::Auto => "auto".to_owned(),
            WanPort::Port(selector) => selector.to_string(),
        }
    }
}

/// Names a physical port by something that survives reboots: `mac:02:00:5e:00:53:01`,
/// `path:pci-0000:00:03.0`, or the link's name where nothing better is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PortSelector {
    /// By permanent hardware address.
    Mac(MacAddr),
    /// By bus path: bus, hyphen, device name there.
    Path(String),
    /// By link name.
    Name(LinkName),
}

impl FromStr for PortSelector {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(mac) = text.strip_prefix("mac:") {
            mac.parse().map(Self::Mac)
        } else if let Some(path) = text.strip_prefix("path:") {
            // Bus paths are printable: what is not was never copied from a list of ports.
            let clean = !path.is_empty() && path.bytes().all(|b| b.is_ascii_graphic());
            if clean {
                Ok(Self::Path(path.to_owned()))
            } else {
                Err(NameError::BusPath(path.to_owned()))
            }
        } else {
            text.parse().map(Self::Name)
        }
    }
}

impl std::fmt::Display for PortSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "mac:{mac}"),
            Self::Path(path) => write!(f, "path:{path}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl TryFrom<String> for PortSelector {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<PortSelector> for String {
    fn from(selector: PortSelector) -> String {
        selector.to_string()
    }
}

/// The household's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanConfig {
    /// The box's address there and the network's length (`192.168.1.1/24`).
    pub address: Ipv4Net,
    /// Ports of the LAN bridge; empty means every port that is not the WAN.
    pub ports: Vec<PortSelector>,
    /// Domain under which the household's names live.
    pub domain: DomainName,
}

impl Default for LanConfig {
    fn default() -> Self {
        Self {
            address: constant("192.168.1.1/24"),
            ports: Vec::new(),
            domain: constant("lan"),
        }
    }
}

/// Addresses for the household's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DhcpConfig {
    /// Whether the box gives addresses at all.
    pub enabled: bool,
    /// First and last address of the pool; absent means the network's upper half or
    /// `.100` to `.249` of a /24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolConfig>,
    /// Lease time, seconds.
    pub lease_s: u32,
    /// Fixed addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<ReservationConfig>,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            pool: None,
            lease_s: 12 * 3600,
            reservations: Vec::new(),
        }
    }
}

/// A range of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// First address given.
    pub first: Ipv4Addr,
    /// Last address given.
    pub last: Ipv4Addr,
}

/// A fixed address for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationConfig {
    /// The device's hardware address.
    pub mac: MacAddr,
    /// Its address, inside the LAN network.
    pub address: Ipv4Addr,
    /// Its name in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<HostName>,
}

/// Names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// Resolvers to ask; empty means those that the WAN's lease names.
    pub upstreams: Vec<UpstreamAddr>,
    /// Drop answers for public names that point into private networks.
    pub rebind_protection: bool,
    /// Most octets of answers kept in memory.
    pub cache_bytes_max: u32,
    /// The household's own records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordConfig>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            rebind_protection: true,
            cache_bytes_max: 4 << 20,
            records: Vec::new(),
        }
    }
}

/// A resolver's address, with port 53 unless one is written (`9.9.9.9`, `127.0.0.1:5353`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamAddr(pub SocketAddr);

/// The text is no resolver's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no resolver's address")]
pub struct NoResolver(pub String);

impl FromStr for UpstreamAddr {
    type Err = NoResolver;
    fn from_str(text: &str) -> Result<Self, NoResolver> {
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self(SocketAddr::new(ip, 53))),
            Err(_) => text
                .parse()
                .map(Self)
                .map_err(|_| NoResolver(text.to_owned())),
        }
    }
}

impl TryFrom<String> for UpstreamAddr {
    type Error = NoResolver;
    fn try_from(text: String) -> Result<Self, NoResolver> {
        text.parse()
    }
}

impl From<UpstreamAddr> for String {
    fn from(upstream: UpstreamAddr) -> String {
        if upstream.0.port() == 53 {
            upstream.0.ip().to_string()
        } else {
            upstream.0.to_string()
        }
    }
}

/// One local DNS record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordConfig {
    /// Owner name; a name without a dot lives under the LAN's domain.
    pub name: DomainName,
    /// Record type.
    #[serde(rename = "type")]
    pub rtype: RecordType,
    /// Address, target name or text, by type.
    pub value: String,
    /// Time to live, seconds.
    #[serde(default = "record_ttl_s")]
    pub ttl: u32,
}

fn record_ttl_s() -> u32 {
    300
}

/// Types of local records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    AAAA,
    /// Alias.
    CNAME,
    /// Free text.
    TXT,
    /// Name of an address.
    PTR,
}

/// The clock, and time for the household's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NtpConfig {
    /// Time servers to ask, by address or name.
    pub servers: Vec<TimeServer>,
    /// Names that stand for many servers, of which a few are asked.
    pub pools: Vec<TimeServer>,
    /// Ask the time servers that the WAN's lease names, too (DHCP option 42, RFC 2132).
    pub provider: bool,
    /// Answer the household's devices, and name the box to them as their time server.
    pub serve: bool,
}

impl Default for NtpConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            pools: vec![constant("pool.ntp.org")],
            provider: true,
            serve: true,
        }
    }
}

/// A time server, with port 123 unless one is written (`192.0.2.1`, `[2001:db8::1]:1123`,
/// `ntp.example.net`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TimeServer {
    /// By address.
    Address(SocketAddr),
    /// By name, and the port.
    Name(DomainName, u16),
}

/// UDP port of NTP (RFC 5905 section 7.2).
pub const NTP_PORT: u16 = 123;

/// The text is no time server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a name of a time server")]
pub struct NoTimeServer(pub String);

impl FromStr for TimeServer {
    type Err = NoTimeServer;
    fn from_str(text: &str) -> Result<Self, NoTimeServer> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Address(SocketAddr::new(ip, NTP_PORT)));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self::Address(socket));
        }
        let no_server = || NoTimeServer(text.to_owned());
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| no_server())?),
            None => (text, NTP_PORT),
        };
        // A name of digits alone is an address that somebody mistyped.
        if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(no_server());
        }
        let name = name.parse().map_err(|_| no_server())?;
        Ok(Self::Name(name, port))
    }
}

impl std::fmt::Display for TimeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(socket) if socket.port() == NTP_PORT => write!(f, "{}", socket.ip()),
            Self::Address(socket) => write!(f, "{socket}"),
            Self::Name(name, NTP_PORT) => write!(f, "{name}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl TryFrom<String> for TimeServer {
    type Error = NoTimeServer;
    fn try_from(text: String) -> Result<Self, NoTimeServer> {
        text.parse()
    }
}

impl From<TimeServer> for String {
    fn from(server: TimeServer) -> String {
        server.to_string()
    }
}

/// Where roles listen under `lintel run`; refused on a box, where these are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Address of the listening sockets; unspecified means every local address.
    pub address: IpAddr,
    /// DNS over UDP and TCP.
    pub dns_port: u16,
    /// DHCP server.
    pub dhcp_port: u16,
    /// The web front.
    pub http_port: u16,
    /// The web front over TLS.
    pub https_port: u16,
    /// NTP.
    pub ntp_port: u16,
    /// Milliseconds by which the clock that `timed` keeps begins ahead (or, negative, behind):
    /// the host's clock is not touched, so a wrong one has to be pretended.
    pub clock_error_ms: i64,
    /// Keep the roles' uid and sandbox off, so that debuggers and profilers work.
    pub sandbox: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            dns_port: 53,
            dhcp_port: 67,
            http_port: 80,
            https_port: 443,
            ntp_port: NTP_PORT,
            clock_error_ms: 0,
            sandbox: true,
        }
    }
}

/// Parses a text that stands in this source and is known to be well-formed.
fn constant<T: FromStr>(text: &'static str) -> T
where
    T::Err: std::fmt::Debug,
{
    #[expect(
        clippy::expect_used,
        reason = "constants of this file; the default test parses each"
    )]
    text.parse().expect("constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn a_time_server_is_an_address_or_a_name() {
        for (text, back) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:123", "192.0.2.1"),
            ("[2001:db8::1]:1123", "[2001:db8::1]:1123"),
            ("ntp.example.net", "ntp.example.net"),
            ("ntp.example.net:1123", "ntp.example.net:1123"),
        ] {
            assert_eq!(text.parse::<TimeServer>().unwrap().to_string(), back);
        }
        for text in ["", "192.0.2.256", "1.2.3", "a b", "name:port", "::1:x"] {
            assert!(text.parse::<TimeServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = "[wan]\nport = \"mac:02:00:5e:00:53:01\"\n[dns]\nupstreams = [\"9.9.9.9\", \"127.0.0.1:5353\"]\n[[dns.records]]\nname = \"nas.lan\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(
            toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(),
            config
        );
        assert!(toml::from_str::<Config>("[wan]\nprot = \"auto\"\n").is_err());
    }
}
