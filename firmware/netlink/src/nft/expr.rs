//! The model's instructions and the kernel's.

mod decode;
mod encode;

use lintel_model::nft::{CmpOp, CtKey, MetaKey, Verdict};
use lintel_wire::nft as wire;

pub(super) use decode::decode;
pub(super) use encode::encode;

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

#[cfg(test)]
mod tests {
    use lintel_model::nft::{Expr, PayloadBase, Register, RejectKind};
    use lintel_wire::nl::{Messages, Writer};
    use proptest::prelude::*;

    use super::*;

    fn trip(expr: &Expr) -> Expr {
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        encode(expr).emit(&mut w);
        w.end();
        let message = Messages::new(w.finish().unwrap()).next().unwrap();
        decode(&wire::Expr::parse(message.payload))
    }

    /// Registers by their canonical numbers.
    fn register() -> impl Strategy<Value = Register> {
        prop_oneof![1u8..=4, Just(9), Just(10), Just(11), Just(13), Just(23)]
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 1..=64)
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9_]{0,30}"
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Accept),
            Just(Verdict::Drop),
            Just(Verdict::Continue),
            Just(Verdict::Return),
            name().prop_map(Verdict::Jump),
            name().prop_map(Verdict::Goto),
        ]
    }

    fn expr() -> impl Strategy<Value = Expr> {
        let meta = (0u32..20).prop_filter_map("no such key", meta_key);
        let ct = (0u32..4).prop_filter_map("no such key", ct_key);
        let cmp = (0u32..6).prop_filter_map("no such comparison", cmp_op);
        prop_oneof![
            (meta.clone(), register()).prop_map(|(key, dreg)| Expr::Meta { key, dreg }),
            (meta, register()).prop_map(|(key, sreg)| Expr::MetaSet { key, sreg }),
            (ct, register()).prop_map(|(key, dreg)| Expr::Ct { key, dreg }),
            (any::<[u32; 2]>(), register()).prop_map(|([offset, len], dreg)| Expr::Payload {
                base: PayloadBase::Transport,
                offset,
                len,
                dreg
            }),
            (register(), register(), octets()).prop_map(|(sreg, dreg, mask)| Expr::Bitwise {
                sreg,
                dreg,
                xor: mask.clone(),
                mask
            }),
            (cmp, register(), octets()).prop_map(|(op, sreg, data)| Expr::Cmp { op, sreg, data }),
            (any::<bool>(), register(), octets(), octets()).prop_map(|(invert, sreg, from, to)| {
                Expr::Range {
                    invert,
                    sreg,
                    from,
                    to,
                }
            }),
            (
                name(),
                register(),
                proptest::option::of(register()),
                any::<bool>()
            )
                .prop_map(|(set, sreg, dreg, invert)| Expr::Lookup {
                    set,
                    sreg,
                    dreg,
                    invert
                }),
            (register(), octets()).prop_map(|(dreg, data)| Expr::Immediate { dreg, data }),
            verdict().prop_map(Expr::Verdict),
            Just(Expr::Counter),
            (any::<Option<u16>>(), name()).prop_map(|(group, prefix)| Expr::Log { group, prefix }),
            any::<u8>().prop_map(|code| Expr::Reject(RejectKind::Icmpx(code))),
            Just(Expr::Reject(RejectKind::TcpReset)),
            any::<(u64, u64, u32, bool)>().prop_map(|(rate, unit_s, burst, over)| Expr::Limit {
                rate,
                unit_s,
                burst,
                over
            }),
            (any::<[u32; 2]>(), register()).prop_map(|([flags, result], dreg)| Expr::Fib {
                flags,
                result,
                dreg
            }),
            (
                any::<bool>(),
                proptest::option::of(register()),
                proptest::option::of(register()),
                0u32..64
            )
                .prop_map(|(destination, addr, proto, flags)| Expr::Nat {
                    destination,
                    family: 2,
                    addr,
                    proto,
                    // The kernel's own bits are not part of the value.
                    flags: flags & !3
                }),
            Just(Expr::Masq),
            (any::<u8>(), any::<[u32; 2]>(), register()).prop_map(|(kind, [offset, len], sreg)| {
                Expr::TcpOptionSet {
                    kind,
                    offset,
                    len,
                    sreg,
                }
            }),
            name().prop_map(|name| Expr::Unknown {
                name: format!("x{name}")
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(expr in expr()) {
            prop_assert_eq!(trip(&expr), expr);
        }
    }

    #[test]
    fn what_the_model_cannot_say_is_unknown() {
        let masq_with_ports = wire::Expr::Masq {
            flags: 4,
            proto_min: None,
            proto_max: None,
        };
        assert_eq!(
            decode(&masq_with_ports),
            Expr::Unknown {
                name: "masq".to_owned()
            }
        );
        let bytes_per_second = wire::Expr::Limit {
            rate: 1,
            unit_s: 1,
            burst: 1,
            kind: 1,
            flags: 0,
        };
        assert!(matches!(decode(&bytes_per_second), Expr::Unknown { .. }));
    }
}
