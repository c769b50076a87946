//! The table `inet lintel` as data: one level above netlink attributes, exact enough that a
//! dump decodes to the same value that was sent.
//!
//! Register contents are octets as they stand in the packet or as the kernel stores them:
//! payload and addresses big-endian, `meta` and `ct` values in host order. The crate `netlink`
//! turns this into messages and back; `plan` builds it.
//!
//! Canonical form, in which alone a dump equals what was sent: chains, sets and elements sorted
//! (elements by key); a register that begins one of the four large ones has the large one's number
//! (1, not 8); every element of an interval set has a `key_end`, equal to `key` for a single key;
//! ranges of one set neither overlap nor, without concatenation, touch with equal values; a limit's
//! burst is 1 or more.

use serde::{Deserialize, Serialize};

/// Name of our table; its family is `inet`.
pub const TABLE: &str = "lintel";

/// A whole table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Chains, sorted by name.
    pub chains: Vec<Chain>,
    /// Sets and maps, sorted by name.
    pub sets: Vec<Set>,
}

/// A chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it hangs in the kernel; `None` for a chain that is jumped to.
    pub base: Option<BaseChain>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// The hook of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseChain {
    /// Kind.
    pub kind: ChainKind,
    /// Hook.
    pub hook: Hook,
    /// Priority; lower runs first.
    pub priority: i32,
    /// What happens to a packet that no rule decides.
    pub policy: Policy,
}

/// Kinds of base chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// `type filter`.
    Filter,
    /// `type nat`.
    Nat,
    /// `type route`.
    Route,
}

/// Netfilter hooks of the inet family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// NF_INET_PRE_ROUTING.
    Prerouting,
    /// NF_INET_LOCAL_IN.
    Input,
    /// NF_INET_FORWARD.
    Forward,
    /// NF_INET_LOCAL_OUT.
    Output,
    /// NF_INET_POST_ROUTING.
    Postrouting,
}

/// Policy of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// NF_ACCEPT.
    Accept,
    /// NF_DROP.
    Drop,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Comment shown by `nft list`; at most 127 octets. Empty for none.
    pub comment: String,
    /// Expressions in order.
    pub exprs: Vec<Expr>,
}

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Type of the key.
    pub key: DataType,
    /// `Some` makes it a map to values of this type.
    pub value: Option<DataType>,
    /// Keys are ranges: each element covers `key..=key_end`.
    pub interval: bool,
    /// Elements, sorted by key.
    pub elements: Vec<Element>,
}

/// Types of set keys and map values; concatenations list their parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// 4 octets, big-endian.
    Ipv4Addr,
    /// 16 octets, big-endian.
    Ipv6Addr,
    /// 6 octets.
    EtherAddr,
    /// One octet.
    InetProto,
    /// 2 octets, big-endian.
    InetService,
    /// 16 octets, zero-padded name.
    Ifname,
    /// 4 octets, host order.
    Mark,
    /// 4 octets, host order (`NFT_CT_STATE` bits).
    CtState,
    /// One octet.
    IcmpType,
    /// One octet.
    Icmpv6Type,
    /// Verdicts; only as a map's value.
    Verdict,
    /// Parts in order, each padded to 4 octets.
    Concat(Vec<DataType>),
    /// What the decoder does not know: makes the set unequal to any of ours.
    Other {
        /// nft's number of the type.
        number: u32,
        /// Octets.
        octets: u32,
    },
}

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Element {
    /// The key, or the first key of the range.
    pub key: Vec<u8>,
    /// Last key of the range, in interval sets.
    pub key_end: Option<Vec<u8>>,
    /// Value, in maps.
    pub value: Option<ElementValue>,
}

/// Value of a map's element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementValue {
    /// Octets.
    Data(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// What becomes of the packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// NF_ACCEPT.
    Accept,
    /// NF_DROP.
    Drop,
    /// NFT_CONTINUE.
    Continue,
    /// NFT_RETURN.
    Return,
    /// NFT_JUMP.
    Jump(String),
    /// NFT_GOTO.
    Goto(String),
}

/// Register number as in `NFT_REG_1` (1..=4, 16 octets each) or `NFT_REG32_00` (8..=23).
pub type Register = u8;

/// One instruction of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    /// Load metadata.
    Meta {
        /// What.
        key: MetaKey,
        /// Where to.
        dreg: Register,
    },
    /// Set metadata from a register.
    MetaSet {
        /// What.
        key: MetaKey,
        /// Where from.
        sreg: Register,
    },
    /// Load conntrack data.
    Ct {
        /// What.
        key: CtKey,
        /// Where to.
        dreg: Register,
    },
    /// Load octets of the packet.
    Payload {
        /// Relative to what.
        base: PayloadBase,
        /// Octets from there.
        offset: u32,
        /// How many.
        len: u32,
        /// Where to.
        dreg: Register,
    },
    /// `dreg = (sreg & mask) ^ xor`.
    Bitwise {
        /// Where from.
        sreg: Register,
        /// Where to.
        dreg: Register,
        /// Mask; its length is the operation's.
        mask: Vec<u8>,
        /// Same length.
        xor: Vec<u8>,
    },
    /// Change octet order.
    Byteorder {
        /// Where from.
        sreg: Register,
        /// Where to.
        dreg: Register,
        /// Host to network order; else the other way.
        hton: bool,
        /// Total octets.
        len: u32,
        /// Octets of each word.
        size: u32,
    },
    /// Go on only if the comparison holds.
    Cmp {
        /// How.
        op: CmpOp,
        /// Left side.
        sreg: Register,
        /// Right side.
        data: Vec<u8>,
    },
    /// Go on only if the value is inside (or outside) the range.
    Range {
        /// Outside instead of inside.
        invert: bool,
        /// Value.
        sreg: Register,
        /// First value.
        from: Vec<u8>,
        /// Last value.
        to: Vec<u8>,
    },
    /// Go on only if the set has the key; in maps, load the value or take the verdict.
    Lookup {
        /// Set's name.
        set: String,
        /// Key.
        sreg: Register,
        /// Destination of a map's value; 0 is the verdict.
        dreg: Option<Register>,
        /// Only if the set has not.
        invert: bool,
    },
    /// Load a constant.
    Immediate {
        /// Where to.
        dreg: Register,
        /// What.
        data: Vec<u8>,
    },
    /// Decide.
    Verdict(Verdict),
    /// Count packets and octets; the counts are not part of the value.
    Counter,
    /// Log to nflog or the kernel's log.
    Log {
        /// nflog group; `None` is the kernel's log.
        group: Option<u16>,
        /// Prefix; empty for none.
        prefix: String,
    },
    /// Answer with an error and drop.
    Reject(RejectKind),
    /// Go on while below the rate.
    Limit {
        /// Per unit.
        rate: u64,
        /// Seconds of the unit.
        unit_s: u64,
        /// Burst, packets.
        burst: u32,
        /// Go on while over the rate instead.
        over: bool,
    },
    /// Look the source or destination up in the routing table.
    Fib {
        /// Flags of `NFTA_FIB_FLAGS`.
        flags: u32,
        /// Result of `NFTA_FIB_RESULT`.
        result: u32,
        /// Where to.
        dreg: Register,
    },
    /// Source or destination NAT from registers.
    Nat {
        /// DNAT instead of SNAT.
        destination: bool,
        /// 2 for IPv4, 10 for IPv6.
        family: u32,
        /// Register of the address.
        addr: Option<Register>,
        /// Register of the port.
        proto: Option<Register>,
        /// Flags of `NFTA_NAT_FLAGS`.
        flags: u32,
    },
    /// Source NAT to the outgoing link's address.
    Masq,
    /// Load data of the route taken.
    Rt {
        /// What.
        key: RtKey,
        /// Where to.
        dreg: Register,
    },
    /// Load octets of a TCP option.
    TcpOption {
        /// Option kind.
        kind: u8,
        /// Octets from the option's start.
        offset: u32,
        /// How many.
        len: u32,
        /// Where to.
        dreg: Register,
    },
    /// Write octets of a TCP option.
    TcpOptionSet {
        /// Option kind.
        kind: u8,
        /// Octets from the option's start.
        offset: u32,
        /// How many.
        len: u32,
        /// Where from.
        sreg: Register,
    },
    /// What the decoder does not know: makes the rule unequal to any of ours.
    Unknown {
        /// Name of the expression.
        name: String,
    },
}

/// Metadata of a packet (`NFT_META_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are nft's own")]
pub enum MetaKey {
    Len,
    Protocol,
    Mark,
    Iif,
    Oif,
    Iifname,
    Oifname,
    Nfproto,
    L4proto,
    Pkttype,
}

/// Conntrack data (`NFT_CT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are nft's own")]
pub enum CtKey {
    State,
    Direction,
    Status,
    Mark,
}

/// Route data (`NFT_RT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RtKey {
    /// MSS that fits the route's MTU, host order, 2 octets.
    Tcpmss,
}

/// Where a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadBase {
    /// Link layer header.
    Link,
    /// Network header.
    Network,
    /// Transport header.
    Transport,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CmpOp {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// How a rejected packet is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectKind {
    /// TCP reset.
    TcpReset,
    /// `icmpx` code, as in `NFT_REJECT_ICMPX_*`.
    Icmpx(u8),
}

/// One atomic batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transaction {
    /// Make the table, in place of any there is.
    ReplaceTable(Table),
    /// Change parts of it; counters and elements elsewhere stay.
    Edit(Vec<Edit>),
    /// Remove the table.
    DeleteTable,
}

/// A part of a batch; applied in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// Make a set, with its elements.
    AddSet(Set),
    /// Delete a set.
    DeleteSet {
        /// Its name.
        name: String,
    },
    /// Add elements.
    AddElements {
        /// The set, without elements.
        set: Set,
        /// What to add.
        elements: Vec<Element>,
    },
    /// Delete elements.
    DeleteElements {
        /// The set, without elements.
        set: Set,
        /// What to delete.
        elements: Vec<Element>,
    },
    /// Make a chain, without rules.
    AddChain {
        /// Its name.
        name: String,
        /// Its hook.
        base: Option<BaseChain>,
    },
    /// Flush and delete a chain.
    DeleteChain {
        /// Its name.
        name: String,
    },
    /// Flush a chain and fill it with these rules.
    ReplaceRules {
        /// The chain.
        chain: String,
        /// Its rules.
        rules: Vec<Rule>,
    },
}
