//! Tests of the network: what is asked for, and what came of it.
//!
//! Addresses are IPv4 as long as the WAN is. Times are microseconds, sizes octets.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

/// Most packets of a ping, and the usual number.
pub const PING_PACKETS_MAX: u32 = 20;
/// Packets of a ping unless the caller says otherwise.
pub const PING_PACKETS: u32 = 4;
/// Largest data of a ping, octets: with its headers a full Ethernet frame.
pub const PING_DATA_BYTES_MAX: u32 = 1472;
/// Data of a ping unless the caller says otherwise: what ping(8) sends.
pub const PING_DATA_BYTES: u32 = 56;
/// Most routers that a way is followed over.
pub const HOPS_MAX: u32 = 30;
/// Requests to each of them.
pub const HOP_TRIES: usize = 3;
/// Most records of an answer that are told.
pub const RECORDS_MAX: usize = 32;
/// Longest text of a record that is told, characters.
pub const RECORD_CHARS_MAX: usize = 512;

/// What shall be tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// A name, or an IPv4 address.
    pub target: String,
    /// In which way.
    pub kind: ProbeKind,
    /// Who resolves names: the box's own resolver.
    pub resolver: SocketAddrV4,
}

/// The ways of testing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// Whether the target answers, and how fast.
    Ping {
        /// Packets.
        count: u32,
        /// Octets of data in each.
        size: u32,
    },
    /// Over which routers packets reach it.
    Traceroute {
        /// Most routers.
        hops: u32,
    },
    /// What a server says about the name.
    Resolve {
        /// The type's mnemonic or `TYPE123`.
        record_type: String,
        /// Whom to ask instead of the box's own resolver.
        server: Option<Ipv4Addr>,
    },
    /// Whether a TCP port takes connections.
    Port {
        /// Which.
        port: u16,
    },
    /// How long packets may be that reach it.
    PathMtu,
}

/// What came of a test, so far or in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProbeReport {
    /// Of a ping.
    Ping(PingReport),
    /// Of a traceroute.
    Traceroute(TraceReport),
    /// Of a question for a name.
    Resolve(ResolveReport),
    /// Of a port.
    Port(PortReport),
    /// Of a path's MTU.
    PathMtu(MtuReport),
}

impl ProbeReport {
    /// Whether what was tested works.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Ping(ping) => ping.received > 0,
            Self::Traceroute(trace) => trace.reached,
            Self::Resolve(resolve) => resolve.code == "NOERROR" && !resolve.records.is_empty(),
            Self::Port(port) => port.state == "open",
            Self::PathMtu(path) => path.mtu.is_some(),
        }
    }
}

/// Of a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PingReport {
    /// Who was asked.
    pub address: Ipv4Addr,
    /// Packets that left.
    pub sent: u32,
    /// Answers.
    pub received: u32,
    /// The quickest answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us_min: Option<u64>,
    /// The mean of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us_mean: Option<u64>,
    /// The slowest answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us_max: Option<u64>,
    /// Each packet, in order.
    pub packets: Vec<PingPacket>,
}

/// One packet of a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PingPacket {
    /// Its number, from 1 on.
    pub seq: u16,
    /// Round trip, when it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// What was left of the answer's time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Who said that it cannot be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<Ipv4Addr>,
    /// Why there is no answer, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Of a traceroute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraceReport {
    /// Whither.
    pub address: Ipv4Addr,
    /// Whether the target itself answered.
    pub reached: bool,
    /// Each router on the way, the nearest first, and the target last.
    pub hops: Vec<Hop>,
}

/// One router on a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hop {
    /// How many routers away, from 1 on.
    pub ttl: u8,
    /// Who answered; `None` for a silent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Round trip of each answer.
    pub rtt_us: Vec<u64>,
    /// When the way ends here: why, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Of a question for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResolveReport {
    /// Who was asked.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub server: SocketAddrV4,
    /// The response code's mnemonic, `NOERROR` or `NXDOMAIN` among them; `TIMEOUT` for silence.
    pub code: String,
    /// From the question to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// The answer was cut to fit a datagram.
    pub truncated: bool,
    /// The answer.
    pub records: Vec<ResolvedRecord>,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResolvedRecord {
    /// Whose.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says, as in a zone file.
    pub value: String,
}

/// Of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortReport {
    /// Whose.
    pub address: Ipv4Addr,
    /// Which.
    pub port: u16,
    /// `open`, `closed` (the host refuses), `filtered` (nobody says anything) or `unreachable`.
    pub state: String,
    /// Until that was known.
    pub took_us: u64,
}

/// Of a path's MTU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MtuReport {
    /// Whither.
    pub address: Ipv4Addr,
    /// The longest packet that got there, octets with its IPv4 header. `None` when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Who said that longer ones do not fit, the last of them; the box itself is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed_by: Option<Ipv4Addr>,
    /// Longer packets vanish without a word: connections may hang that rely on being told.
    pub silent: bool,
    /// Packets that were sent.
    pub sent: u32,
}

/// What a role tells of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeNews {
    /// Parts of the work that are done.
    pub done: u32,
    /// Parts that there are.
    pub total: u32,
    /// What is done now, or what came of it, as a sentence.
    pub text: String,
    /// What is known.
    pub report: Option<ProbeReport>,
    /// Where it is in its life.
    pub state: ProbeState,
}

/// Where a test is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeState {
    /// More will be told.
    Running,
    /// It ended with its report.
    Done,
    /// It ended without: the text says why.
    Failed,
}
