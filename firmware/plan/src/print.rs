//! The table in the words of `nft`: what `nft list table inet lintel` shows for it, but for the
//! layout of sets. People read it before a change, and golden files hold it.
//!
//! An instruction loads a register, the next ones compare it; the printer keeps in mind what the
//! register holds and says both together. What no rule of ours contains is printed by its name
//! in angle brackets.

use std::fmt::Write as _;

use lintel_model::nft::{
    BaseChain, ChainKind, CmpOp, CtKey, DataType, Element, ElementValue, Expr, Hook, MetaKey,
    PayloadBase, Policy, RejectKind, RtKey, Rule, Set, TABLE, Table, Verdict,
};

/// The whole table.
pub fn table(table: &Table) -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for set in &table.sets {
        set_text(&mut text, set);
    }
    for chain in &table.chains {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\tchain {} {{", chain.name);
        if let Some(base) = &chain.base {
            let _ = writeln!(text, "\t\t{}", hook(base));
        }
        for rule in &chain.rules {
            let _ = writeln!(text, "\t\t{}", self::rule(rule));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

fn set_text(text: &mut String, set: &Set) {
    let word = if set.value.is_some() { "map" } else { "set" };
    let _ = writeln!(text, "\t{word} {} {{", set.name);
    let _ = write!(text, "\t\ttype {}", data_type(&set.key));
    if let Some(value) = &set.value {
        let _ = write!(text, " : {}", data_type(value));
    }
    text.push('\n');
    if set.interval {
        text.push_str("\t\tflags interval\n");
    }
    if !set.elements.is_empty() {
        let elements: Vec<String> = set.elements.iter().map(|e| element(set, e)).collect();
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

fn element(set: &Set, element: &Element) -> String {
    let mut text = match &element.key_end {
        Some(end) => match prefix(&element.key, end) {
            Some(len) if usize::from(len) < element.key.len() * 8 => {
                format!("{}/{len}", value(&set.key, &element.key))
            }
            Some(_) => value(&set.key, &element.key),
            None => format!("{}-{}", value(&set.key, &element.key), value(&set.key, end)),
        },
        None => value(&set.key, &element.key),
    };
    match (&element.value, &set.value) {
        (Some(ElementValue::Verdict(v)), _) => text.push_str(&format!(" : {}", verdict(v))),
        (Some(ElementValue::Data(data)), Some(kind)) => {
            text.push_str(&format!(" : {}", value(kind, data)));
        }
        _ => {}
    }
    text
}

/// The length of the network that a range is, if it is one.
fn prefix(first: &[u8], last: &[u8]) -> Option<u8> {
    let bits = |octets: &[u8]| -> Option<u128> {
        let mut wide = [0; 16];
        let start = 16usize.checked_sub(octets.len())?;
        wide[start..].copy_from_slice(octets);
        Some(u128::from_be_bytes(wide))
    };
    let (first_bits, last_bits) = (bits(first)?, bits(last)?);
    let hosts = first_bits ^ last_bits;
    let is_network =
        hosts.checked_add(1).is_none_or(u128::is_power_of_two) && first_bits & hosts == 0;
    let length = first.len() * 8 - usize::try_from(hosts.count_ones()).ok()?;
    u8::try_from(length).ok().filter(|_| is_network)
}

fn data_type(kind: &DataType) -> String {
    match kind {
        DataType::Ipv4Addr => "ipv4_addr".to_owned(),
        DataType::Ipv6Addr => "ipv6_addr".to_owned(),
        DataType::EtherAddr => "ether_addr".to_owned(),
        DataType::InetProto => "inet_proto".to_owned(),
        DataType::InetService => "inet_service".to_owned(),
        DataType::Ifname => "ifname".to_owned(),
        DataType::Mark => "mark".to_owned(),
        DataType::CtState => "ct_state".to_owned(),
        DataType::IcmpType => "icmp_type".to_owned(),
        DataType::Icmpv6Type => "icmpv6_type".to_owned(),
        DataType::Other { number, .. } => format!("<type {number}>"),
        DataType::Verdict => "verdict".to_owned(),
        DataType::Concat(parts) => {
            let parts: Vec<String> = parts.iter().map(data_type).collect();
            parts.join(" . ")
        }
    }
}

fn value(kind: &DataType, data: &[u8]) -> String {
    match (kind, data) {
        (DataType::Ipv4Addr, [a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        (DataType::InetService, [a, b]) => u16::from_be_bytes([*a, *b]).to_string(),
        (DataType::InetProto, [proto]) => proto_name(*proto),
        (DataType::Ifname, name) => format!("\"{}\"", link_name(name)),
        _ => hex(data),
    }
}

fn link_name(octets: &[u8]) -> String {
    let end = octets.iter().position(|b| *b == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

fn hex(data: &[u8]) -> String {
    let digits: String = data.iter().map(|b| format!("{b:02x}")).collect();
    format!("0x{digits}")
}

fn proto_name(proto: u8) -> String {
    match proto {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        other => other.to_string(),
    }
}

fn hook(base: &BaseChain) -> String {
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    };
    let hook = match base.hook {
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
    };
    let priority = match (base.priority, base.hook) {
        (-150, _) => "mangle",
        (-100, Hook::Prerouting) => "dstnat",
        (0, _) => "filter",
        (100, Hook::Postrouting) => "srcnat",
        (other, _) => {
            return format!(
                "type {kind} hook {hook} priority {other}; policy {};",
                policy(base)
            );
        }
    };
    format!(
        "type {kind} hook {hook} priority {priority}; policy {};",
        policy(base)
    )
}

fn policy(base: &BaseChain) -> &'static str {
    match base.policy {
        Policy::Accept => "accept",
        Policy::Drop => "drop",
    }
}

/// What the register holds.
#[derive(Clone, Default)]
enum Held {
    #[default]
    Nothing,
    /// A value named as `nft` does, and how to print what it is compared with.
    Named(String, Kind),
    /// A value with a mask over it.
    Masked(String, Kind, Vec<u8>),
}

/// How a value is printed.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Ipv4,
    Ipv6,
    Link,
    Proto,
    Family,
    CtState,
    IcmpType,
    Icmpv6Type,
    TcpFlags,
}

/// One rule on one line.
pub fn rule(rule: &Rule) -> String {
    let mut line = Line::default();
    for expr in &rule.exprs {
        line.expr(expr);
    }
    line.flush_bound();
    let mut text = line.words.join(" ");
    if !rule.comment.is_empty() {
        let _ = write!(text, " comment \"{}\"", rule.comment);
    }
    text
}

#[derive(Default)]
struct Line {
    words: Vec<String>,
    held: Held,
    /// Set while the protocol named before is enough to say which header is meant.
    family: Option<u8>,
    proto: Option<u8>,
    /// A `>=` that waits for its `<=`.
    bound: Option<(String, String)>,
}

impl Line {
    fn say(&mut self, words: impl Into<String>) {
        self.words.push(words.into());
    }

    fn flush_bound(&mut self) {
        if let Some((name, from)) = self.bound.take() {
            self.say(format!("{name} >= {from}"));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if !matches!(expr, Expr::Cmp { op: CmpOp::Lte, .. }) {
            self.flush_bound();
        }
        match expr {
            Expr::Meta { key, .. } => self.held = meta(*key),
            Expr::Ct { key, .. } => {
                self.held = match key {
                    CtKey::State => Held::Named("ct state".to_owned(), Kind::CtState),
                    CtKey::Direction => Held::Named("ct direction".to_owned(), Kind::Number),
                    CtKey::Status => Held::Named("ct status".to_owned(), Kind::Number),
                    CtKey::Mark => Held::Named("ct mark".to_owned(), Kind::Number),
                };
            }
            Expr::Payload {
                base, offset, len, ..
            } => {
                self.held = self.payload(*base, *offset, *len);
                self.leave_out_implied();
            }
            Expr::Rt {
                key: RtKey::Tcpmss, ..
            } => self.held = Held::Named("rt mtu".to_owned(), Kind::Number),
            Expr::Bitwise { mask, .. } => {
                if let Held::Named(name, kind) = self.held.clone() {
                    self.held = Held::Masked(name, kind, mask.clone());
                }
            }
            Expr::Cmp { op, data, .. } => self.cmp(*op, data),
            Expr::Lookup { set, invert, .. } => {
                let not = if *invert { "!= " } else { "" };
                if let Held::Named(name, _) = &self.held {
                    let words = format!("{name} {not}@{set}");
                    self.say(words);
                }
            }
            Expr::Range {
                invert, from, to, ..
            } => {
                if let Held::Named(name, kind) = &self.held {
                    let not = if *invert { "!= " } else { "" };
                    let words = format!(
                        "{name} {not}{}-{}",
                        constant(*kind, from),
                        constant(*kind, to)
                    );
                    self.say(words);
                }
            }
            Expr::Byteorder { .. } => {}
            Expr::TcpOptionSet { kind, .. } => {
                let option = if *kind == 2 {
                    "maxseg size".to_owned()
                } else {
                    kind.to_string()
                };
                if let Held::Named(name, _) = &self.held {
                    let words = format!("tcp option {option} set {name}");
                    self.say(words);
                }
            }
            Expr::Counter => self.say("counter"),
            Expr::Limit {
                rate,
                unit_s,
                burst,
                over,
            } => {
                let unit = match unit_s {
                    1 => "second",
                    60 => "minute",
                    3600 => "hour",
                    _ => "day",
                };
                let over = if *over { "over " } else { "" };
                self.say(format!(
                    "limit rate {over}{rate}/{unit} burst {burst} packets"
                ));
            }
            Expr::Verdict(v) => self.say(verdict(v)),
            Expr::Masq => self.say("masquerade"),
            Expr::Reject(RejectKind::TcpReset) => self.say("reject with tcp reset"),
            Expr::Reject(RejectKind::Icmpx(code)) => self.say(format!("reject with icmpx {code}")),
            Expr::Log { prefix, .. } => self.say(format!("log prefix \"{prefix}\"")),
            Expr::Unknown { name } => self.say(format!("<{name}>")),
            Expr::MetaSet { .. } => self.say("<meta set>"),
            Expr::Immediate { .. } => self.say("<immediate>"),
            Expr::Fib { .. } => self.say("<fib>"),
            Expr::Nat { .. } => self.say("<nat>"),
            Expr::TcpOption { .. } => self.say("<tcp option>"),
        }
    }

    /// `nft` says `udp dport 53`, not `meta l4proto udp udp dport 53`.
    fn leave_out_implied(&mut self) {
        let Held::Named(name, _) = &self.held else {
            return;
        };
        let implied: &[&str] = match name.split(' ').next().unwrap_or_default() {
            "ip" => &["meta nfproto ipv4"],
            "ip6" => &["meta nfproto ipv6"],
            "tcp" => &["meta l4proto tcp"],
            "udp" => &["meta l4proto udp"],
            "icmp" => &["meta l4proto icmp", "meta nfproto ipv4"],
            "icmpv6" => &["meta l4proto ipv6-icmp", "meta nfproto ipv6"],
            _ => &[],
        };
        for words in implied {
            if self.words.last().is_some_and(|last| last == words) {
                self.words.pop();
            }
        }
    }

    fn cmp(&mut self, op: CmpOp, data: &[u8]) {
        match (self.held.clone(), op) {
            (Held::Named(name, kind), CmpOp::Eq) => {
                match (kind, data) {
                    (Kind::Family, [family]) => self.family = Some(*family),
                    (Kind::Proto, [proto]) => self.proto = Some(*proto),
                    _ => {}
                }
                self.say(format!("{name} {}", constant(kind, data)));
            }
            (Held::Named(name, kind), CmpOp::Gte) => {
                self.bound = Some((name, constant(kind, data)));
            }
            (Held::Named(name, kind), CmpOp::Lte) => {
                let to = constant(kind, data);
                match self.bound.take() {
                    Some((name, from)) => self.say(format!("{name} {from}-{to}")),
                    None => self.say(format!("{name} <= {to}")),
                }
            }
            (Held::Named(name, kind), op) => {
                let sign = match op {
                    CmpOp::Neq => "!=",
                    CmpOp::Lt => "<",
                    _ => ">",
                };
                self.say(format!("{name} {sign} {}", constant(kind, data)));
            }
            // A test of bits: any of them set.
            (Held::Masked(name, kind, mask), CmpOp::Neq) if data.iter().all(|b| *b == 0) => {
                self.say(format!("{name} {}", constant(kind, &mask)));
            }
            (Held::Masked(name, Kind::Ipv6, mask), CmpOp::Eq) => {
                let len: u32 = mask.iter().map(|b| b.count_ones()).sum();
                self.say(format!("{name} {}/{len}", constant(Kind::Ipv6, data)));
            }
            (Held::Masked(name, kind, mask), _) => {
                let words = format!(
                    "{name} & ({}) == {}",
                    constant(kind, &mask),
                    constant(kind, data)
                );
                self.say(words);
            }
            (Held::Nothing, _) => self.say("<compare>"),
        }
    }

    fn payload(&self, base: PayloadBase, offset: u32, len: u32) -> Held {
        let (name, kind) = match (base, self.family, self.proto, offset, len) {
            (PayloadBase::Network, Some(2), _, 12, 4) => ("ip saddr", Kind::Ipv4),
            (PayloadBase::Network, Some(2), _, 16, 4) => ("ip daddr", Kind::Ipv4),
            (PayloadBase::Network, Some(10), _, 8, _) => ("ip6 saddr", Kind::Ipv6),
            (PayloadBase::Network, Some(10), _, 7, 1) => ("ip6 hoplimit", Kind::Number),
            (PayloadBase::Transport, _, Some(6), 2, 2) => ("tcp dport", Kind::Number),
            (PayloadBase::Transport, _, Some(6), 13, 1) => ("tcp flags", Kind::TcpFlags),
            (PayloadBase::Transport, _, Some(17), 2, 2) => ("udp dport", Kind::Number),
            (PayloadBase::Transport, _, Some(1), 0, 1) => ("icmp type", Kind::IcmpType),
            (PayloadBase::Transport, _, Some(58), 0, 1) => ("icmpv6 type", Kind::Icmpv6Type),
            _ => {
                let base = match base {
                    PayloadBase::Link => "ll",
                    PayloadBase::Network => "nh",
                    PayloadBase::Transport => "th",
                };
                let name = format!("@{base},{},{}", offset * 8, len * 8);
                return Held::Named(name, Kind::Number);
            }
        };
        Held::Named(name.to_owned(), kind)
    }
}

fn meta(key: MetaKey) -> Held {
    let (name, kind) = match key {
        MetaKey::Iifname => ("iifname", Kind::Link),
        MetaKey::Oifname => ("oifname", Kind::Link),
        MetaKey::L4proto => ("meta l4proto", Kind::Proto),
        MetaKey::Nfproto => ("meta nfproto", Kind::Family),
        MetaKey::Len => ("meta length", Kind::Number),
        MetaKey::Protocol => ("meta protocol", Kind::Number),
        MetaKey::Mark => ("meta mark", Kind::Number),
        MetaKey::Iif => ("iif", Kind::Number),
        MetaKey::Oif => ("oif", Kind::Number),
        MetaKey::Pkttype => ("meta pkttype", Kind::Number),
    };
    Held::Named(name.to_owned(), kind)
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

fn constant(kind: Kind, data: &[u8]) -> String {
    match (kind, data) {
        (Kind::Ipv4, [a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        (Kind::Ipv6, data) => {
            let mut octets = [0; 16];
            let len = data.len().min(16);
            octets[..len].copy_from_slice(&data[..len]);
            std::net::Ipv6Addr::from(octets).to_string()
        }
        (Kind::Link, name) => format!("\"{}\"", link_name(name)),
        (Kind::Proto, [proto]) => proto_name(*proto),
        (Kind::Family, [2]) => "ipv4".to_owned(),
        (Kind::Family, [10]) => "ipv6".to_owned(),
        (Kind::IcmpType, [8]) => "echo-request".to_owned(),
        (Kind::Icmpv6Type, [128]) => "echo-request".to_owned(),
        (Kind::CtState, [a, b, c, d]) => {
            let bits = u32::from_ne_bytes([*a, *b, *c, *d]);
            let names = [
                (1, "invalid"),
                (2, "established"),
                (4, "related"),
                (8, "new"),
            ];
            let set = names.iter().filter(|(bit, _)| bits & bit != 0);
            let set: Vec<&str> = set.map(|(_, name)| *name).collect();
            set.join(",")
        }
        (Kind::TcpFlags, [bits]) => {
            let names = [(1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack")];
            let set = names.iter().filter(|(bit, _)| bits & bit != 0);
            let set: Vec<&str> = set.map(|(_, name)| *name).collect();
            set.join(" | ")
        }
        (_, [number]) => number.to_string(),
        (Kind::Number, [a, b]) => u16::from_be_bytes([*a, *b]).to_string(),
        (_, other) => hex(other),
    }
}
