//! nf_tables objects and expressions.

use arbitrary::Unstructured;
use lintel_wire::nft::{
    ChainRepr, Data, ElementRepr, Expr, HookRepr, RuleRepr, SetRepr, TableRepr, Verdict,
    emit_elements, emit_rule, parse_elements, parse_generation, userdata,
};
use lintel_wire::nl::{Messages, Writer};

use super::netlink::{payload, try_payload};
use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

/// Tables, chains, rules, sets and single expressions: `parse(emit(r)) == r`, but for a comment,
/// which is cut, and for expressions that are not known, which are not written.
pub fn nft(data: &[u8]) -> Tally {
    let mut accepted = false;
    if let Ok(table) = TableRepr::parse(data) {
        accepted = true;
        assert_eq!(TableRepr::parse(&payload(|w| table.emit_new(w))), Ok(table));
    }
    if let Ok(chain) = ChainRepr::parse(data) {
        assert_eq!(ChainRepr::parse(&payload(|w| chain.emit_new(w))), Ok(chain));
    }
    if let Ok(set) = SetRepr::parse(data)
        && let Ok(written) = try_payload(|w| set.emit_new(w, 3))
    {
        assert_eq!(SetRepr::parse(&written), Ok(set));
    }
    if let Ok(rule) = RuleRepr::parse(data) {
        let known = |expr: &&Expr<'_>| !matches!(expr, Expr::Unknown { .. });
        let exprs: Vec<_> = rule.exprs.iter().filter(known).cloned().collect();
        let (table, chain) = (rule.table, rule.chain);
        if let Ok(written) =
            try_payload(|w| emit_rule(w, rule.family, table, chain, exprs.clone(), rule.comment))
        {
            let again = RuleRepr::parse(&written).expect("a rule");
            assert_eq!(
                (again.table, again.chain, &again.exprs),
                (table, chain, &exprs)
            );
            assert!(rule.comment.starts_with(again.comment));
            assert!(again.comment.len() == rule.comment.len() || again.comment.len() > 120);
        }
    }
    let expr = Expr::parse(data);
    if !matches!(expr, Expr::Unknown { .. }) {
        accepted = true;
        let written = payload(|w| {
            let seq = w.begin(0, 0, &[]);
            expr.emit(w);
            w.end();
            seq
        });
        assert_eq!(Expr::parse(&written), expr);
    }
    let _ = (parse_generation(data), userdata::rule_comment(data));
    Tally::one(accepted)
}

/// A list of elements is written and read the same, however it is split over messages.
pub fn nft_elements(data: &[u8]) -> Tally {
    let Ok(elements) = parse_elements(data) else {
        return Tally::REFUSED;
    };
    let set = SetRepr {
        family: 1,
        table: "lintel",
        name: "devices",
        flags: 0,
        key_type: 0,
        key_len: 4,
        fields: Vec::new(),
        data_type: None,
        data_len: 0,
        size: 0,
        orders: None,
    };
    let mut w = Writer::new(1);
    emit_elements(&mut w, &set, None, false, elements.iter().cloned(), |_| ());
    // Elements of tens of kilobytes do not fit a list.
    if let Ok(bytes) = w.finish() {
        let again: Vec<_> = Messages::new(bytes)
            .flat_map(|message| parse_elements(message.payload).expect("elements"))
            .collect();
        assert_eq!(again, elements);
    }
    Tally::one(!elements.is_empty())
}

/// The payload of a table, a chain, a set or a rule, or one expression.
pub fn object_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let (table, name) = (text(u, b"lintel", 8), text(u, b"abc_", 12));
    let family = pick(u, &[1, 2, 10]);
    let written = match below(u, 6) {
        0 => try_payload(|w| {
            TableRepr {
                family,
                name: &table,
            }
            .emit_new(w)
        }),
        1 => {
            let kind = pick(u, &["filter", "nat", "route", ""]);
            let hook = any::<bool>(u).then(|| HookRepr {
                number: number(u),
                priority: any(u),
                kind,
                policy: number(u),
            });
            try_payload(|w| {
                ChainRepr {
                    family,
                    table: &table,
                    name: &name,
                    hook,
                }
                .emit_new(w)
            })
        }
        2 => {
            let set = SetRepr {
                family,
                table: &table,
                name: &name,
                flags: number(u),
                key_type: number(u),
                key_len: number(u),
                fields: (0..below(u, 4)).map(|_| number(u)).collect(),
                data_type: any(u),
                data_len: number(u),
                size: number(u),
                orders: None,
            };
            try_payload(|w| set.emit_new(w, 1))
        }
        3 => {
            let parts = Parts::new(u);
            let expr = parts.expr(u);
            try_payload(|w| {
                let seq = w.begin(0, 0, &[]);
                expr.emit(w);
                w.end();
                seq
            })
        }
        _ => {
            let parts = Parts::new(u);
            let exprs: Vec<_> = (0..below(u, 6)).map(|_| parts.expr(u)).collect();
            let comment = text(u, b"why not", 140);
            try_payload(|w| emit_rule(w, family, &table, &name, exprs, &comment))
        }
    };
    written.unwrap_or_default()
}

/// What expressions borrow.
struct Parts {
    octets: Vec<u8>,
    text: String,
}

impl Parts {
    fn new(u: &mut Unstructured<'_>) -> Self {
        Self {
            octets: octets(u, 16),
            text: text(u, b"abc_", 12),
        }
    }

    fn data(&self, u: &mut Unstructured<'_>) -> Data<'_> {
        if any(u) {
            Data::Value(&self.octets)
        } else {
            Data::Verdict(Verdict {
                code: any(u),
                chain: any::<bool>(u).then_some(&self.text),
            })
        }
    }

    fn expr(&self, u: &mut Unstructured<'_>) -> Expr<'_> {
        let (octets, text) = (&self.octets[..], &self.text[..]);
        let mut n = || number(u);
        let (a, b, c, d, e) = (n(), n(), n(), n(), n());
        match below(u, 22) {
            0 => Expr::Meta { key: a, dreg: b },
            1 => Expr::MetaSet { key: a, sreg: b },
            2 => Expr::Ct {
                key: a,
                direction: any(u),
                dreg: b,
            },
            3 => Expr::CtSet { key: a, sreg: b },
            4 => Expr::Payload {
                base: a,
                offset: b,
                len: c,
                dreg: d,
            },
            5 => Expr::Bitwise {
                sreg: a,
                dreg: b,
                mask: octets,
                xor: octets,
            },
            6 => Expr::Byteorder {
                sreg: a,
                dreg: b,
                op: c,
                len: d,
                size: e,
            },
            7 => Expr::Cmp {
                op: a,
                sreg: b,
                data: octets,
            },
            8 => Expr::Range {
                op: a,
                sreg: b,
                from: octets,
                to: octets,
            },
            9 => Expr::Lookup {
                set: text,
                sreg: a,
                dreg: any(u),
                flags: c,
            },
            10 => Expr::Immediate {
                dreg: a,
                data: self.data(u),
            },
            11 => Expr::Counter,
            12 => Expr::Log {
                group: any(u),
                prefix: text,
                level: a,
                snaplen: b,
                threshold: any(u),
                flags: c,
            },
            13 => Expr::Reject {
                kind: a,
                code: any(u),
            },
            14 => Expr::Limit {
                rate: any(u),
                unit_s: any(u),
                burst: a,
                kind: b,
                flags: c,
            },
            15 => Expr::Quota {
                bytes: any(u),
                flags: a & 1,
            },
            16 => Expr::Connlimit { count: a, flags: b },
            17 => Expr::Fib {
                flags: a,
                result: b,
                dreg: c,
            },
            18 => Expr::Nat {
                kind: a,
                family: b,
                addr_min: any(u),
                addr_max: any(u),
                proto_min: any(u),
                proto_max: any(u),
                flags: c,
            },
            19 => Expr::Masq {
                flags: a,
                proto_min: any(u),
                proto_max: any(u),
            },
            20 => Expr::Redir {
                flags: a,
                proto_min: any(u),
                proto_max: any(u),
            },
            _ => Expr::Exthdr {
                op: a,
                kind: any(u),
                offset: b,
                len: c,
                flags: d,
                dreg: e,
            },
        }
    }
}

/// The payload of a list of elements.
pub fn element_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let parts = Parts::new(u);
    let end = octets(u, 8);
    let elements: Vec<_> = (0..=below(u, 6))
        .map(|_| {
            let catchall = once_in(u, 6);
            ElementRepr {
                key: if catchall { &[] } else { &parts.octets },
                key_end: any::<bool>(u).then_some(&end),
                data: any::<bool>(u).then(|| parts.data(u)),
                interval_end: any(u),
                catchall,
            }
        })
        .collect();
    let set = SetRepr {
        family: 1,
        table: "lintel",
        name: "m",
        flags: 0,
        key_type: 0,
        key_len: 0,
        fields: Vec::new(),
        data_type: None,
        data_len: 0,
        size: 0,
        orders: None,
    };
    let mut w = Writer::new(1);
    emit_elements(&mut w, &set, None, false, elements, |_| ());
    match w
        .finish()
        .ok()
        .and_then(|bytes| Messages::new(bytes).next())
    {
        Some(message) => message.payload.to_vec(),
        None => Vec::new(),
    }
}
