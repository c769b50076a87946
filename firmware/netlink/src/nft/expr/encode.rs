//! From the model to the kernel.

use lintel_model::nft::{Expr, PayloadBase, RejectKind, RtKey};
use lintel_wire::nft::{self as wire, Data};

use super::{
    LOG_LEVEL, REJECT_ICMPX, REJECT_TCP_RESET, TCP_OPTION, cmp_number, ct_number, encode_verdict,
    meta_number, nat_implied,
};

/// The kernel's form of an instruction.
#[expect(clippy::too_many_lines, reason = "one arm for each instruction")]
pub(crate) fn encode(expr: &Expr) -> wire::Expr<'_> {
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
