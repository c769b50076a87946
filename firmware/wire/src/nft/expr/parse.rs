//! Reading an instruction.

use super::{Data, Expr};
use crate::nl::{Attrs, Malformed};

/// The instruction of this name; any error makes it unknown.
pub(super) fn known<'a>(name: &'a str, f: &Fields<'a>) -> Result<Expr<'a>, Malformed> {
    Ok(match name {
        "meta" => match f.find(1) {
            Some(dreg) => Expr::Meta {
                key: f.u32(2)?,
                dreg,
            },
            None => Expr::MetaSet {
                key: f.u32(2)?,
                sreg: f.u32(3)?,
            },
        },
        "ct" => match f.find(1) {
            Some(dreg) => Expr::Ct {
                key: f.u32(2)?,
                direction: f.0.find(3).and_then(|a| a.u8()),
                dreg,
            },
            None if f.0.find(3).is_none() => Expr::CtSet {
                key: f.u32(2)?,
                sreg: f.u32(4)?,
            },
            None => return Err(Malformed("NFTA_CT_DIRECTION")),
        },
        "payload" => Expr::Payload {
            dreg: f.u32(1)?,
            base: f.u32(2)?,
            offset: f.u32(3)?,
            len: f.u32(4)?,
        },
        "bitwise" if f.find(6).unwrap_or(0) == 0 => Expr::Bitwise {
            sreg: f.u32(1)?,
            dreg: f.u32(2)?,
            mask: f.value(4)?,
            xor: f.value(5)?,
        },
        "byteorder" => Expr::Byteorder {
            sreg: f.u32(1)?,
            dreg: f.u32(2)?,
            op: f.u32(3)?,
            len: f.u32(4)?,
            size: f.u32(5)?,
        },
        "cmp" => Expr::Cmp {
            sreg: f.u32(1)?,
            op: f.u32(2)?,
            data: f.value(3)?,
        },
        "range" => Expr::Range {
            sreg: f.u32(1)?,
            op: f.u32(2)?,
            from: f.value(3)?,
            to: f.value(4)?,
        },
        "lookup" => Expr::Lookup {
            set: f.str(1)?,
            sreg: f.u32(2)?,
            dreg: f.find(3),
            flags: f.find(5).unwrap_or(0),
        },
        "immediate" => Expr::Immediate {
            dreg: f.u32(1)?,
            data: f
                .0
                .find(2)
                .and_then(|a| Data::parse(a.data))
                .ok_or(Malformed("NFTA_IMMEDIATE_DATA"))?,
        },
        "counter" => Expr::Counter,
        "log" => log(f)?,
        "reject" => Expr::Reject {
            kind: f.u32(1)?,
            code: f.0.find(2).and_then(|a| a.u8()).unwrap_or(0),
        },
        "limit" => Expr::Limit {
            rate: f.u64(1)?,
            unit_s: f.u64(2)?,
            burst: f.find(3).unwrap_or(0),
            kind: f.find(4).unwrap_or(0),
            flags: f.find(5).unwrap_or(0),
        },
        "quota" => Expr::Quota {
            bytes: f.u64(1)?,
            // Bit 2 says that it is used up: state, not rule.
            flags: f.find(2).unwrap_or(0) & 1,
        },
        "connlimit" => Expr::Connlimit {
            count: f.u32(1)?,
            flags: f.find(2).unwrap_or(0),
        },
        "fib" => Expr::Fib {
            dreg: f.u32(1)?,
            result: f.u32(2)?,
            flags: f.u32(3)?,
        },
        "nat" => Expr::Nat {
            kind: f.u32(1)?,
            family: f.u32(2)?,
            addr_min: f.find(3),
            addr_max: f.find(4),
            proto_min: f.find(5),
            proto_max: f.find(6),
            flags: f.find(7).unwrap_or(0),
        },
        "masq" => Expr::Masq {
            flags: f.find(1).unwrap_or(0),
            proto_min: f.find(2),
            proto_max: f.find(3),
        },
        "redir" => Expr::Redir {
            proto_min: f.find(1),
            proto_max: f.find(2),
            flags: f.find(3).unwrap_or(0),
        },
        "rt" => Expr::Rt {
            dreg: f.u32(1)?,
            key: f.u32(2)?,
        },
        "exthdr" => match f.find(1) {
            Some(dreg) => Expr::Exthdr {
                dreg,
                kind: f.u8(2)?,
                offset: f.u32(3)?,
                len: f.u32(4)?,
                flags: f.find(5).unwrap_or(0),
                op: f.find(6).unwrap_or(0),
            },
            None => Expr::ExthdrSet {
                kind: f.u8(2)?,
                offset: f.u32(3)?,
                len: f.u32(4)?,
                op: f.find(6).unwrap_or(0),
                sreg: f.u32(7)?,
            },
        },
        _ => return Err(Malformed("NFTA_EXPR_NAME")),
    })
}

/// The attributes of one expression. The error is never shown: it only makes the expression
/// unknown.
pub(super) struct Fields<'a>(pub(super) Attrs<'a>);

/// The kernel's own log has a level and flags, a group has a length and a threshold; the two
/// forms mixed are neither.
fn log<'a>(f: &Fields<'a>) -> Result<Expr<'a>, Malformed> {
    const GROUP: u16 = 1;
    let foreign = if f.has(GROUP) { [5, 6] } else { [3, 4] };
    if foreign.into_iter().any(|kind| f.has(kind)) {
        return Err(Malformed("NFTA_LOG_GROUP"));
    }
    let group = match f.0.find(GROUP) {
        Some(group) => Some(group.be16().ok_or(Malformed("NFTA_LOG_GROUP"))?),
        None => None,
    };
    Ok(Expr::Log {
        group,
        prefix: f.0.find(2).and_then(|a| a.str()).unwrap_or_default(),
        level: f.find(5).unwrap_or(4),
        snaplen: f.find(3).unwrap_or(0),
        threshold: f.0.find(4).and_then(|a| a.be16()).unwrap_or(0),
        flags: f.find(6).unwrap_or(0),
    })
}

impl<'a> Fields<'a> {
    fn has(&self, kind: u16) -> bool {
        self.0.find(kind).is_some()
    }

    fn find(&self, kind: u16) -> Option<u32> {
        self.0.find(kind)?.be32()
    }

    fn u8(&self, kind: u16) -> Result<u8, Malformed> {
        self.0
            .find(kind)
            .and_then(|a| a.u8())
            .ok_or(Malformed("NFTA_EXPR_DATA"))
    }

    fn u32(&self, kind: u16) -> Result<u32, Malformed> {
        self.find(kind).ok_or(Malformed("NFTA_EXPR_DATA"))
    }

    fn u64(&self, kind: u16) -> Result<u64, Malformed> {
        self.0
            .find(kind)
            .and_then(|a| a.be64())
            .ok_or(Malformed("NFTA_EXPR_DATA"))
    }

    fn str(&self, kind: u16) -> Result<&'a str, Malformed> {
        self.0
            .find(kind)
            .and_then(|a| a.str())
            .ok_or(Malformed("NFTA_EXPR_DATA"))
    }

    fn value(&self, kind: u16) -> Result<&'a [u8], Malformed> {
        match self.0.find(kind).and_then(|a| Data::parse(a.data)) {
            Some(Data::Value(bytes)) => Ok(bytes),
            _ => Err(Malformed("NFTA_DATA_VALUE")),
        }
    }
}
