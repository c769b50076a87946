//! The model's instructions and the kernel's.

use lintel_model::nft::{
    CmpOp, CtKey, Expr, MetaKey, PayloadBase, Register, RejectKind, RtKey, Verdict,
};
use lintel_wire::nft::{self as wire, Data, expr::canonical_register};

/// `NFT_EXTHDR_OP_TCPOPT`.
const TCP_OPTION: u32 = 1;
/// `NFT_REJECT_TCP_RST`.
const REJECT_TCP_RESET: u32 = 1;
/// `NFT_REJECT_ICMPX_UNREACH`.
const REJECT_ICMPX: u32 = 2;
/// Syslog's `warning`, the kernel's default level.
const LOG_LEVEL: u32 = 4;
/// `NF_NAT_RANGE_MAP_IPS`, which the kernel sets by itself when there is an address.
const NAT_MAP_IPS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`, which the kernel sets by itself when there is a port.
const NAT_PROTO_SPECIFIED: u32 = 2;

/// The kernel's form of an instruction.
#[expect(clippy::too_many_lines, reason = "one arm for each instruction")]
pub(super) fn encode(expr: &Expr) -> wire::Expr<'_> {
    match expr {
        Expr::Meta { key, dreg } => wire::Expr::Meta {
            key: meta_number(*key),
            dreg: (*dreg).into(),
        },
        Expr::MetaSet { key, sreg } => wire::Expr::MetaSet {
            key: meta_number(*key),
            sreg: (*sreg).into(),
        },
        Expr::Ct { key, dreg } => wire::Expr::Ct {
            key: ct_number(*key),
            direction: None,
            dreg: (*dreg).into(),
        },
        Expr::Payload {
            base,
            offset,
            len,
            dreg,
        } => wire::Expr::Payload {
            base: match base {
                PayloadBase::Link => 0,
                PayloadBase::Network => 1,
                PayloadBase::Transport => 2,
            },
            offset: *offset,
            len: *len,
            dreg: (*dreg).into(),
        },
        Expr::Bitwise {
            sreg,
            dreg,
            mask,
            xor,
        } => wire::Expr::Bitwise {
            sreg: (*sreg).into(),
            dreg: (*dreg).into(),
            mask,
            xor,
        },
        Expr::Byteorder {
            sreg,
            dreg,
            hton,
            len,
            size,
        } => wire::Expr::Byteorder {
            sreg: (*sreg).into(),
            dreg: (*dreg).into(),
            op: u32::from(*hton),
            len: *len,
            size: *size,
        },
        Expr::Cmp { op, sreg, data } => wire::Expr::Cmp {
            op: cmp_number(*op),
            sreg: (*sreg).into(),
            data,
        },
        Expr::Range {
            invert,
            sreg,
            from,
            to,
        } => wire::Expr::Range {
            op: u32::from(*invert),
            sreg: (*sreg).into(),
            from,
            to,
        },
        Expr::Lookup {
            set,
            sreg,
            dreg,
            invert,
        } => wire::Expr::Lookup {
            set,
            sreg: (*sreg).into(),
            dreg: dreg.map(u32::from),
            flags: u32::from(*invert),
        },
        Expr::Immediate { dreg, data } => wire::Expr::Immediate {
            dreg: (*dreg).into(),
            data: Data::Value(data),
        },
        Expr::Verdict(verdict) => wire::Expr::Immediate {
            dreg: 0,
            data: Data::Verdict(encode_verdict(verdict)),
        },
        Expr::Counter => wire::Expr::Counter,
        Expr::Log { group, prefix } => wire::Expr::Log {
            group: *group,
            prefix,
            level: LOG_LEVEL,
            snaplen: 0,
            threshold: 0,
            flags: 0,
        },
        Expr::Reject(kind) => match kind {
            RejectKind::TcpReset => wire::Expr::Reject {
                kind: REJECT_TCP_RESET,
                code: 0,
            },
            RejectKind::Icmpx(code) => wire::Expr::Reject {
                kind: REJECT_ICMPX,
                code: *code,
            },
        },
        Expr::Limit {
            rate,
            unit_s,
            burst,
            over,
        } => wire::Expr::Limit {
            rate: *rate,
            unit_s: *unit_s,
            burst: *burst,
            kind: 0,
            flags: u32::from(*over),
        },
        Expr::Fib {
            flags,
            result,
            dreg,
        } => wire::Expr::Fib {
            flags: *flags,
            result: *result,
            dreg: (*dreg).into(),
        },
        Expr::Nat {
            destination,
            family,
            addr,
            proto,
            flags,
        } => wire::Expr::Nat {
            kind: u32::from(*destination),
            family: *family,
            addr_min: addr.map(u32::from),
            addr_max: None,
            proto_min: proto.map(u32::from),
            proto_max: None,
            flags: *flags | nat_implied(addr.is_some(), proto.is_some()),
        },
        Expr::Masq => wire::Expr::Masq {
            flags: 0,
            proto_min: None,
            proto_max: None,
        },
        Expr::Rt { key, dreg } => wire::Expr::Rt {
            key: match key {
                RtKey::Tcpmss => 3,
            },
            dreg: (*dreg).into(),
        },
        Expr::TcpOption {
            kind,
            offset,
            len,
            dreg,
        } => wire::Expr::Exthdr {
            op: TCP_OPTION,
            kind: *kind,
            offset: *offset,
            len: *len,
            flags: 0,
            dreg: (*dreg).into(),
        },
        Expr::TcpOptionSet {
            kind,
            offset,
            len,
            sreg,
        } => wire::Expr::ExthdrSet {
            op: TCP_OPTION,
            kind: *kind,
            offset: *offset,
            len: *len,
            sreg: (*sreg).into(),
        },
        Expr::Unknown { name } => wire::Expr::Unknown { name },
    }
}

/// The model's form of an instruction as the kernel dumps it. What the model cannot say in full
/// becomes [`Expr::Unknown`].
pub(super) fn decode(expr: &wire::Expr<'_>) -> Expr {
    known(expr).unwrap_or_else(|| Expr::Unknown {
        name: expr.name().to_owned(),
    })
}

#[expect(clippy::too_many_lines, reason = "one arm for each instruction")]
fn known(expr: &wire::Expr<'_>) -> Option<Expr> {
    Some(match *expr {
        wire::Expr::Meta { key, dreg } => Expr::Meta {
            key: meta_key(key)?,
            dreg: register(dreg)?,
        },
        wire::Expr::MetaSet { key, sreg } => Expr::MetaSet {
            key: meta_key(key)?,
            sreg: register(sreg)?,
        },
        wire::Expr::Ct {
            key,
            direction: None,
            dreg,
        } => Expr::Ct {
            key: ct_key(key)?,
            dreg: register(dreg)?,
        },
        wire::Expr::Payload {
            base,
            offset,
            len,
            dreg,
        } => Expr::Payload {
            base: match base {
                0 => PayloadBase::Link,
                1 => PayloadBase::Network,
                2 => PayloadBase::Transport,
                _ => return None,
            },
            offset,
            len,
            dreg: register(dreg)?,
        },
        wire::Expr::Bitwise {
            sreg,
            dreg,
            mask,
            xor,
        } => Expr::Bitwise {
            sreg: register(sreg)?,
            dreg: register(dreg)?,
            mask: mask.to_vec(),
            xor: xor.to_vec(),
        },
        wire::Expr::Byteorder {
            sreg,
            dreg,
            op,
            len,
            size,
        } => Expr::Byteorder {
            sreg: register(sreg)?,
            dreg: register(dreg)?,
            hton: flag(op)?,
            len,
            size,
        },
        wire::Expr::Cmp { op, sreg, data } => Expr::Cmp {
            op: cmp_op(op)?,
            sreg: register(sreg)?,
            data: data.to_vec(),
        },
        wire::Expr::Range { op, sreg, from, to } => Expr::Range {
            invert: flag(op)?,
            sreg: register(sreg)?,
            from: from.to_vec(),
            to: to.to_vec(),
        },
        wire::Expr::Lookup {
            set,
            sreg,
            dreg,
            flags,
        } => Expr::Lookup {
            set: set.to_owned(),
            sreg: register(sreg)?,
            dreg: match dreg {
                Some(dreg) => Some(register(dreg)?),
                None => None,
            },
            invert: flag(flags)?,
        },
        wire::Expr::Immediate {
            dreg: 0,
            data: Data::Verdict(verdict),
        } => Expr::Verdict(decode_verdict(&verdict)?),
        wire::Expr::Immediate {
            dreg,
            data: Data::Value(data),
        } => Expr::Immediate {
            dreg: register(dreg)?,
            data: data.to_vec(),
        },
        wire::Expr::Counter => Expr::Counter,
        wire::Expr::Log {
            group,
            prefix,
            level: LOG_LEVEL,
            snaplen: 0,
            threshold: 0,
            flags: 0,
        } => Expr::Log {
            group,
            prefix: prefix.to_owned(),
        },
        wire::Expr::Reject {
            kind: REJECT_TCP_RESET,
            ..
        } => Expr::Reject(RejectKind::TcpReset),
        wire::Expr::Reject {
            kind: REJECT_ICMPX,
            code,
        } => Expr::Reject(RejectKind::Icmpx(code)),
        wire::Expr::Limit {
            rate,
            unit_s,
            burst,
            kind: 0,
            flags,
        } => Expr::Limit {
            rate,
            unit_s,
            burst,
            over: flag(flags)?,
        },
        wire::Expr::Fib {
            flags,
            result,
            dreg,
        } => Expr::Fib {
            flags,
            result,
            dreg: register(dreg)?,
        },
        wire::Expr::Nat {
            kind,
            family,
            addr_min,
            addr_max,
            proto_min,
            proto_max,
            flags,
        } if addr_max.is_none_or(|max| Some(max) == addr_min)
            && proto_max.is_none_or(|max| Some(max) == proto_min) =>
        {
            Expr::Nat {
                destination: flag(kind)?,
                family,
                addr: optional_register(addr_min)?,
                proto: optional_register(proto_min)?,
                flags: flags & !nat_implied(addr_min.is_some(), proto_min.is_some()),
            }
        }
        wire::Expr::Masq {
            flags: 0,
            proto_min: None,
            proto_max: None,
        } => Expr::Masq,
        wire::Expr::Rt { key: 3, dreg } => Expr::Rt {
            key: RtKey::Tcpmss,
            dreg: register(dreg)?,
        },
        wire::Expr::Exthdr {
            op: TCP_OPTION,
            kind,
            offset,
            len,
            flags: 0,
            dreg,
        } => Expr::TcpOption {
            kind,
            offset,
            len,
            dreg: register(dreg)?,
        },
        wire::Expr::ExthdrSet {
            op: TCP_OPTION,
            kind,
            offset,
            len,
            sreg,
        } => Expr::TcpOptionSet {
            kind,
            offset,
            len,
            sreg: register(sreg)?,
        },
        _ => return None,
    })
}

/// The kernel's form of a verdict.
pub(super) fn encode_verdict(verdict: &Verdict) -> wire::Verdict<'_> {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Continue => (-1, None),
        Verdict::Jump(chain) => (-3, Some(chain.as_str())),
        Verdict::Goto(chain) => (-4, Some(chain.as_str())),
        Verdict::Return => (-5, None),
    };
    wire::Verdict { code, chain }
}

/// The model's form of a verdict; `None` for one that it does not know.
pub(super) fn decode_verdict(verdict: &wire::Verdict<'_>) -> Option<Verdict> {
    Some(match (verdict.code, verdict.chain) {
        (0, None) => Verdict::Drop,
        (1, None) => Verdict::Accept,
        (-1, None) => Verdict::Continue,
        (-3, Some(chain)) => Verdict::Jump(chain.to_owned()),
        (-4, Some(chain)) => Verdict::Goto(chain.to_owned()),
        (-5, None) => Verdict::Return,
        _ => return None,
    })
}

fn nat_implied(address: bool, port: bool) -> u32 {
    u32::from(address) * NAT_MAP_IPS + u32::from(port) * NAT_PROTO_SPECIFIED
}

fn register(number: u32) -> Option<Register> {
    Register::try_from(canonical_register(number)).ok()
}

/// The outer `None` is a register that does not fit.
#[expect(clippy::option_option, reason = "the two mean different things")]
fn optional_register(number: Option<u32>) -> Option<Option<Register>> {
    match number {
        None => Some(None),
        Some(number) => register(number).map(Some),
    }
}

fn flag(number: u32) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn meta_number(key: MetaKey) -> u32 {
    match key {
        MetaKey::Len => 0,
        MetaKey::Protocol => 1,
        MetaKey::Mark => 3,
        MetaKey::Iif => 4,
        MetaKey::Oif => 5,
        MetaKey::Iifname => 6,
        MetaKey::Oifname => 7,
        MetaKey::Nfproto => 15,
        MetaKey::L4proto => 16,
        MetaKey::Pkttype => 19,
    }
}

fn meta_key(number: u32) -> Option<MetaKey> {
    [
        MetaKey::Len,
        MetaKey::Protocol,
        MetaKey::Mark,
        MetaKey::Iif,
        MetaKey::Oif,
        MetaKey::Iifname,
        MetaKey::Oifname,
        MetaKey::Nfproto,
        MetaKey::L4proto,
        MetaKey::Pkttype,
    ]
    .into_iter()
    .find(|key| meta_number(*key) == number)
}

fn ct_number(key: CtKey) -> u32 {
    match key {
        CtKey::State => 0,
        CtKey::Direction => 1,
        CtKey::Status => 2,
        CtKey::Mark => 3,
    }
}

fn ct_key(number: u32) -> Option<CtKey> {
    [CtKey::State, CtKey::Direction, CtKey::Status, CtKey::Mark]
        .into_iter()
        .find(|key| ct_number(*key) == number)
}

fn cmp_number(op: CmpOp) -> u32 {
    match op {
        CmpOp::Eq => 0,
        CmpOp::Neq => 1,
        CmpOp::Lt => 2,
        CmpOp::Lte => 3,
        CmpOp::Gt => 4,
        CmpOp::Gte => 5,
    }
}

fn cmp_op(number: u32) -> Option<CmpOp> {
    [
        CmpOp::Eq,
        CmpOp::Neq,
        CmpOp::Lt,
        CmpOp::Lte,
        CmpOp::Gt,
        CmpOp::Gte,
    ]
    .into_iter()
    .find(|op| cmp_number(*op) == number)
}
