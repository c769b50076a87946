//! The instructions of nf_tables' virtual machine, one attribute nest each.
//!
//! Registers are the numbers that the kernel prints: 0 the verdict, 1 to 4 of 16 octets, 8 to 23 of
//! four. A 4-octet register that begins a 16-octet one is dumped under the latter's number:
//! [`canonical_register`] says which. What [`Expr::parse`] does not know, or knows with an
//! attribute set that it would lose, becomes [`Expr::Unknown`]; it is never read as something
//! simpler than it is.

use crate::nl::{Attrs, Malformed, Writer};

/// `NFTA_EXPR_NAME`.
const NAME: u16 = 1;
/// `NFTA_EXPR_DATA`.
const DATA: u16 = 2;

/// A constant: octets, or a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Octets as the register holds them.
    Value(&'a [u8]),
    /// What becomes of the packet.
    Verdict(Verdict<'a>),
}

/// `NF_DROP` 0, `NF_ACCEPT` 1, `NFT_CONTINUE` -1, `NFT_BREAK` -2, `NFT_JUMP` -3, `NFT_GOTO` -4,
/// `NFT_RETURN` -5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The number.
    pub code: i32,
    /// Where a jump or goto leads.
    pub chain: Option<&'a str>,
}

/// One instruction. Numbers are the kernel's own (`NFT_META_*`, `NFT_CT_*`, ...).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "fields are named after the kernel's attributes"
)]
pub enum Expr<'a> {
    /// `meta`: load.
    Meta { key: u32, dreg: u32 },
    /// `meta`: store.
    MetaSet { key: u32, sreg: u32 },
    /// `ct`: load; direction 0 is original, 1 reply.
    Ct {
        key: u32,
        direction: Option<u8>,
        dreg: u32,
    },
    /// `ct`: store.
    CtSet { key: u32, sreg: u32 },
    /// `payload`: load.
    Payload {
        base: u32,
        offset: u32,
        len: u32,
        dreg: u32,
    },
    /// `bitwise` mask and xor.
    Bitwise {
        sreg: u32,
        dreg: u32,
        mask: &'a [u8],
        xor: &'a [u8],
    },
    /// `byteorder`; op 1 is host to network.
    Byteorder {
        sreg: u32,
        dreg: u32,
        op: u32,
        len: u32,
        size: u32,
    },
    /// `cmp`.
    Cmp { op: u32, sreg: u32, data: &'a [u8] },
    /// `range`; op 1 is outside.
    Range {
        op: u32,
        sreg: u32,
        from: &'a [u8],
        to: &'a [u8],
    },
    /// `lookup`; flag 1 inverts.
    Lookup {
        set: &'a str,
        sreg: u32,
        dreg: Option<u32>,
        flags: u32,
    },
    /// `immediate`.
    Immediate { dreg: u32, data: Data<'a> },
    /// `counter`; the counts are not read.
    Counter,
    /// `log` to the kernel's log, level 4 being the kernel's default, or to an nflog group.
    Log {
        group: Option<u16>,
        prefix: &'a str,
        level: u32,
        snaplen: u32,
        threshold: u16,
        flags: u32,
    },
    /// `reject`.
    Reject { kind: u32, code: u8 },
    /// `limit`; kind 0 counts packets, 1 bytes; flag 1 matches above the rate.
    Limit {
        rate: u64,
        unit_s: u64,
        burst: u32,
        kind: u32,
        flags: u32,
    },
    /// `quota`; flag 1 matches above; what is consumed is not read.
    Quota { bytes: u64, flags: u32 },
    /// `connlimit`; flag 1 matches above.
    Connlimit { count: u32, flags: u32 },
    /// `fib`.
    Fib { flags: u32, result: u32, dreg: u32 },
    /// `nat`; kind 0 changes the source, 1 the destination.
    Nat {
        kind: u32,
        family: u32,
        addr_min: Option<u32>,
        addr_max: Option<u32>,
        proto_min: Option<u32>,
        proto_max: Option<u32>,
        flags: u32,
    },
    /// `masq`.
    Masq {
        flags: u32,
        proto_min: Option<u32>,
        proto_max: Option<u32>,
    },
    /// `redir`.
    Redir {
        flags: u32,
        proto_min: Option<u32>,
        proto_max: Option<u32>,
    },
    /// `rt`: load.
    Rt { key: u32, dreg: u32 },
    /// `exthdr`: load; op 0 is IPv6 extension headers, 1 TCP options.
    Exthdr {
        op: u32,
        kind: u8,
        offset: u32,
        len: u32,
        flags: u32,
        dreg: u32,
    },
    /// `exthdr`: store.
    ExthdrSet {
        op: u32,
        kind: u8,
        offset: u32,
        len: u32,
        sreg: u32,
    },
    /// Anything else.
    Unknown { name: &'a str },
}

/// The number under which the kernel dumps a register.
#[must_use]
pub fn canonical_register(register: u32) -> u32 {
    match register {
        8 | 12 | 16 | 20 => register / 4 - 1,
        other => other,
    }
}

impl<'a> Expr<'a> {
    /// Reads the attributes inside one `NFTA_LIST_ELEM`.
    #[must_use]
    pub fn parse(nested: &'a [u8]) -> Self {
        let attrs = Attrs::new(nested);
        let name = attrs.find(NAME).and_then(|a| a.str()).unwrap_or_default();
        let data = attrs.find(DATA).map_or(&[][..], |a| a.data);
        parse_known(name, &Fields(Attrs::new(data))).unwrap_or(Self::Unknown { name })
    }

    /// Appends name and data inside the open `NFTA_LIST_ELEM`. [`Expr::Unknown`] is written without
    /// data, which the kernel refuses.
    pub fn emit(&self, w: &mut Writer) {
        w.str(NAME, self.name());
        w.nest(DATA, |w| self.emit_data(w));
    }

    /// The kernel's name of the instruction.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            Self::Meta { .. } | Self::MetaSet { .. } => "meta",
            Self::Ct { .. } | Self::CtSet { .. } => "ct",
            Self::Payload { .. } => "payload",
            Self::Bitwise { .. } => "bitwise",
            Self::Byteorder { .. } => "byteorder",
            Self::Cmp { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Lookup { .. } => "lookup",
            Self::Immediate { .. } => "immediate",
            Self::Counter => "counter",
            Self::Log { .. } => "log",
            Self::Reject { .. } => "reject",
            Self::Limit { .. } => "limit",
            Self::Quota { .. } => "quota",
            Self::Connlimit { .. } => "connlimit",
            Self::Fib { .. } => "fib",
            Self::Nat { .. } => "nat",
            Self::Masq { .. } => "masq",
            Self::Redir { .. } => "redir",
            Self::Rt { .. } => "rt",
            Self::Exthdr { .. } | Self::ExthdrSet { .. } => "exthdr",
            Self::Unknown { name } => name,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each instruction")]
    fn emit_data(&self, w: &mut Writer) {
        match *self {
            Self::Meta { key, dreg } => {
                w.be32(2, key);
                w.be32(1, dreg);
            }
            Self::MetaSet { key, sreg } => {
                w.be32(2, key);
                w.be32(3, sreg);
            }
            Self::Ct {
                key,
                direction,
                dreg,
            } => {
                w.be32(2, key);
                w.be32(1, dreg);
                if let Some(direction) = direction {
                    w.u8(3, direction);
                }
            }
            Self::CtSet { key, sreg } => {
                w.be32(2, key);
                w.be32(4, sreg);
            }
            Self::Payload {
                base,
                offset,
                len,
                dreg,
            } => {
                w.be32(1, dreg);
                w.be32(2, base);
                w.be32(3, offset);
                w.be32(4, len);
            }
            Self::Bitwise {
                sreg,
                dreg,
                mask,
                xor,
            } => {
                w.be32(1, sreg);
                w.be32(2, dreg);
                w.be32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                w.be32(6, 0);
                w.nest(4, |w| Data::Value(mask).emit(w));
                w.nest(5, |w| Data::Value(xor).emit(w));
            }
            Self::Byteorder {
                sreg,
                dreg,
                op,
                len,
                size,
            } => {
                w.be32(1, sreg);
                w.be32(2, dreg);
                w.be32(3, op);
                w.be32(4, len);
                w.be32(5, size);
            }
            Self::Cmp { op, sreg, data } => {
                w.be32(1, sreg);
                w.be32(2, op);
                w.nest(3, |w| Data::Value(data).emit(w));
            }
            Self::Range { op, sreg, from, to } => {
                w.be32(1, sreg);
                w.be32(2, op);
                w.nest(3, |w| Data::Value(from).emit(w));
                w.nest(4, |w| Data::Value(to).emit(w));
            }
            Self::Lookup {
                set,
                sreg,
                dreg,
                flags,
            } => {
                w.str(1, set);
                w.be32(2, sreg);
                if let Some(dreg) = dreg {
                    w.be32(3, dreg);
                }
                if flags != 0 {
                    w.be32(5, flags);
                }
            }
            Self::Immediate { dreg, ref data } => {
                w.be32(1, dreg);
                w.nest(2, |w| data.emit(w));
            }
            Self::Counter => {
                w.be64(1, 0);
                w.be64(2, 0);
            }
            Self::Log {
                group,
                prefix,
                level,
                snaplen,
                threshold,
                flags,
            } => {
                if !prefix.is_empty() {
                    w.str(2, prefix);
                }
                match group {
                    // The kernel refuses a level together with a group.
                    Some(group) => {
                        w.be16(1, group);
                        if snaplen != 0 {
                            w.be32(3, snaplen);
                        }
                        if threshold != 0 {
                            w.be16(4, threshold);
                        }
                    }
                    None => {
                        w.be32(5, level);
                        if flags != 0 {
                            w.be32(6, flags);
                        }
                    }
                }
            }
            Self::Reject { kind, code } => {
                w.be32(1, kind);
                w.u8(2, code);
            }
            Self::Limit {
                rate,
                unit_s,
                burst,
                kind,
                flags,
            } => {
                w.be64(1, rate);
                w.be64(2, unit_s);
                w.be32(3, burst);
                w.be32(4, kind);
                w.be32(5, flags);
            }
            Self::Quota { bytes, flags } => {
                w.be64(1, bytes);
                w.be32(2, flags);
            }
            Self::Connlimit { count, flags } => {
                w.be32(1, count);
                w.be32(2, flags);
            }
            Self::Fib {
                flags,
                result,
                dreg,
            } => {
                w.be32(1, dreg);
                w.be32(2, result);
                w.be32(3, flags);
            }
            Self::Nat {
                kind,
                family,
                addr_min,
                addr_max,
                proto_min,
                proto_max,
                flags,
            } => {
                w.be32(1, kind);
                w.be32(2, family);
                for (attr, register) in
                    [(3, addr_min), (4, addr_max), (5, proto_min), (6, proto_max)]
                {
                    if let Some(register) = register {
                        w.be32(attr, register);
                    }
                }
                if flags != 0 {
                    w.be32(7, flags);
                }
            }
            Self::Masq {
                flags,
                proto_min,
                proto_max,
            } => {
                if flags != 0 {
                    w.be32(1, flags);
                }
                emit_ports(w, 2, proto_min, proto_max);
            }
            Self::Redir {
                flags,
                proto_min,
                proto_max,
            } => {
                emit_ports(w, 1, proto_min, proto_max);
                if flags != 0 {
                    w.be32(3, flags);
                }
            }
            Self::Rt { key, dreg } => {
                w.be32(2, key);
                w.be32(1, dreg);
            }
            Self::Exthdr {
                op,
                kind,
                offset,
                len,
                flags,
                dreg,
            } => {
                w.be32(1, dreg);
                w.u8(2, kind);
                w.be32(3, offset);
                w.be32(4, len);
                if flags != 0 {
                    w.be32(5, flags);
                }
                w.be32(6, op);
            }
            Self::ExthdrSet {
                op,
                kind,
                offset,
                len,
                sreg,
            } => {
                w.be32(7, sreg);
                w.u8(2, kind);
                w.be32(3, offset);
                w.be32(4, len);
                w.be32(6, op);
            }
            Self::Unknown { .. } => {}
        }
    }
}

fn emit_ports(w: &mut Writer, first: u16, min: Option<u32>, max: Option<u32>) {
    if let Some(min) = min {
        w.be32(first, min);
    }
    if let Some(max) = max {
        w.be32(first + 1, max);
    }
}

fn parse_known<'a>(name: &'a str, f: &Fields<'a>) -> Result<Expr<'a>, Malformed> {
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
        "log" => Expr::Log {
            group: f.0.find(1).and_then(|a| a.be16()),
            prefix: f.0.find(2).and_then(|a| a.str()).unwrap_or_default(),
            level: f.find(5).unwrap_or(4),
            snaplen: f.find(3).unwrap_or(0),
            threshold: f.0.find(4).and_then(|a| a.be16()).unwrap_or(0),
            flags: f.find(6).unwrap_or(0),
        },
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
struct Fields<'a>(Attrs<'a>);

impl<'a> Fields<'a> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nl::Messages;

    fn survives(expr: &Expr<'_>) -> bool {
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        expr.emit(&mut w);
        w.end();
        let bytes = w.finish().unwrap();
        Expr::parse(Messages::new(bytes).next().unwrap().payload) == *expr
    }

    /// Every instruction once, from a handful of arbitrary numbers and octets.
    fn each<'a>(n: [u32; 5], bytes: &'a [u8], text: &'a str, some: bool) -> Vec<Expr<'a>> {
        let [a, b, c, d, e] = n;
        let maybe = |v| some.then_some(v);
        let kind = (a & 0xff) as u8;
        vec![
            Expr::Meta { key: a, dreg: b },
            Expr::MetaSet { key: a, sreg: b },
            Expr::Ct {
                key: a,
                direction: some.then_some(kind),
                dreg: b,
            },
            Expr::CtSet { key: a, sreg: b },
            Expr::Payload {
                base: a,
                offset: b,
                len: c,
                dreg: d,
            },
            Expr::Bitwise {
                sreg: a,
                dreg: b,
                mask: bytes,
                xor: bytes,
            },
            Expr::Byteorder {
                sreg: a,
                dreg: b,
                op: c,
                len: d,
                size: e,
            },
            Expr::Cmp {
                op: a,
                sreg: b,
                data: bytes,
            },
            Expr::Range {
                op: a,
                sreg: b,
                from: bytes,
                to: bytes,
            },
            Expr::Lookup {
                set: text,
                sreg: a,
                dreg: maybe(b),
                flags: c,
            },
            Expr::Immediate {
                dreg: a,
                data: Data::Value(bytes),
            },
            Expr::Immediate {
                dreg: a,
                data: Data::Verdict(Verdict {
                    code: b.cast_signed(),
                    chain: some.then_some(text),
                }),
            },
            Expr::Counter,
            Expr::Log {
                group: None,
                prefix: text,
                level: a,
                snaplen: 0,
                threshold: 0,
                flags: b,
            },
            Expr::Log {
                group: Some(7),
                prefix: text,
                level: 4,
                snaplen: a,
                threshold: 9,
                flags: 0,
            },
            Expr::Reject {
                kind: a,
                code: kind,
            },
            Expr::Limit {
                rate: u64::from(a) << 20,
                unit_s: b.into(),
                burst: c,
                kind: d,
                flags: e,
            },
            Expr::Quota {
                bytes: u64::from(a) << 20,
                flags: b & 1,
            },
            Expr::Connlimit { count: a, flags: b },
            Expr::Fib {
                flags: a,
                result: b,
                dreg: c,
            },
            Expr::Nat {
                kind: a,
                family: b,
                addr_min: maybe(c),
                addr_max: maybe(d),
                proto_min: maybe(e),
                proto_max: maybe(a),
                flags: b,
            },
            Expr::Masq {
                flags: a,
                proto_min: maybe(b),
                proto_max: maybe(c),
            },
            Expr::Redir {
                flags: a,
                proto_min: maybe(b),
                proto_max: maybe(c),
            },
            Expr::Rt { key: a, dreg: b },
            Expr::Exthdr {
                op: a,
                kind,
                offset: b,
                len: c,
                flags: d,
                dreg: e,
            },
            Expr::ExthdrSet {
                op: a,
                kind,
                offset: b,
                len: c,
                sreg: d,
            },
            Expr::Unknown { name: "synproxy" },
        ]
    }

    proptest! {
        #[test]
        fn every_expression_survives_the_trip(
            n in any::<[u32; 5]>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            text in "[a-z_]{0,20}",
            some in any::<bool>(),
        ) {
            for expr in each(n, &bytes, &text, some) {
                prop_assert!(survives(&expr), "{:?}", expr);
            }
        }
    }

    #[test]
    fn registers_are_dumped_as_the_larger_kind() {
        let dumped: Vec<u32> = [0, 1, 4, 8, 9, 12, 16, 20, 23]
            .map(canonical_register)
            .into();
        assert_eq!(dumped, [0, 1, 4, 1, 9, 2, 3, 4, 23]);
    }

    #[test]
    fn a_shift_is_not_read_as_a_mask() {
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        w.str(NAME, "bitwise");
        w.nest(DATA, |w| {
            for attr in [1, 2, 3] {
                w.be32(attr, 4);
            }
            w.be32(6, 1);
        });
        w.end();
        let bytes = w.finish().unwrap();
        assert_eq!(
            Expr::parse(Messages::new(bytes).next().unwrap().payload),
            Expr::Unknown { name: "bitwise" }
        );
    }
}
