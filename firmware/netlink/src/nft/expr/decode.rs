//! From the kernel to the model.

use lintel_model::nft::{Expr, PayloadBase, Register, RejectKind, RtKey};
use lintel_wire::nft::{self as wire, Data, expr::canonical_register};

use super::{
    LOG_LEVEL, REJECT_ICMPX, REJECT_TCP_RESET, TCP_OPTION, cmp_op, ct_key, decode_verdict,
    meta_key, nat_implied,
};

/// The model's form of an instruction as the kernel dumps it. What the model cannot say in full
/// becomes [`Expr::Unknown`].
pub(crate) fn decode(expr: &wire::Expr<'_>) -> Expr {
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
