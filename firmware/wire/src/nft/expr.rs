//! The instructions of nf_tables' virtual machine, one attribute nest each.
//!
//! Registers are the numbers that the kernel prints: 0 the verdict, 1 to 4 of 16 octets, 8 to 23 of
//! four. A 4-octet register that begins a 16-octet one is dumped under the latter's number:
//! [`canonical_register`] says which. What [`Expr::parse`] does not know, or knows with an
//! attribute set that it would lose, becomes [`Expr::Unknown`]; it is never read as something
//! simpler than it is.

mod emit;
mod parse;

use crate::nl::{Attrs, Writer};

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
        parse::known(name, &parse::Fields(Attrs::new(data))).unwrap_or(Self::Unknown { name })
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

    #[test]
    fn a_log_expression_that_mixes_its_two_forms_is_unknown() {
        for (group, other) in [(true, 5), (true, 6), (false, 3), (false, 4)] {
            let mut w = Writer::new(1);
            let _ = w.begin(1, 0, &[]);
            w.str(NAME, "log");
            w.nest(DATA, |w| {
                if group {
                    w.be16(1, 7);
                }
                w.be32(other, 1);
            });
            w.end();
            let message = Messages::new(w.finish().unwrap()).next().unwrap();
            assert_eq!(Expr::parse(message.payload), Expr::Unknown { name: "log" });
        }
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
