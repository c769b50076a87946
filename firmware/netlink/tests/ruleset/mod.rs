//! Tables to send: one that uses everything, a large one, one that counts.
#![allow(dead_code)] // each test file uses its part

use lintel_model::nft::*;

fn rule(comment: &str, exprs: impl Into<Vec<Expr>>) -> Rule {
    Rule {
        comment: comment.into(),
        exprs: exprs.into(),
    }
}

fn cmp(data: impl Into<Vec<u8>>) -> Expr {
    Expr::Cmp {
        op: CmpOp::Eq,
        sreg: 1,
        data: data.into(),
    }
}

fn meta(key: MetaKey) -> Expr {
    Expr::Meta { key, dreg: 1 }
}

fn ipv4() -> [Expr; 2] {
    [meta(MetaKey::Nfproto), cmp([2])]
}

fn l4(protocol: u8) -> [Expr; 2] {
    [meta(MetaKey::L4proto), cmp([protocol])]
}

fn payload(base: PayloadBase, offset: u32, len: u32, dreg: Register) -> Expr {
    Expr::Payload {
        base,
        offset,
        len,
        dreg,
    }
}

fn source() -> Expr {
    payload(PayloadBase::Network, 12, 4, 1)
}

fn port() -> Expr {
    payload(PayloadBase::Transport, 2, 2, 1)
}

fn tcp_flags() -> Expr {
    payload(PayloadBase::Transport, 13, 1, 1)
}

fn and(mask: impl Into<Vec<u8>>) -> Expr {
    let mask = mask.into();
    Expr::Bitwise {
        sreg: 1,
        dreg: 1,
        xor: vec![0; mask.len()],
        mask,
    }
}

fn load(dreg: Register, data: impl Into<Vec<u8>>) -> Expr {
    Expr::Immediate {
        dreg,
        data: data.into(),
    }
}

fn limit(rate: u64, unit_s: u64, burst: u32, over: bool) -> Expr {
    Expr::Limit {
        rate,
        unit_s,
        burst,
        over,
    }
}

fn lookup(set: &str, dreg: Option<Register>) -> Expr {
    Expr::Lookup {
        set: set.into(),
        sreg: 1,
        dreg,
        invert: false,
    }
}

fn log(group: Option<u16>, prefix: &str) -> Expr {
    Expr::Log {
        group,
        prefix: prefix.into(),
    }
}

fn dnat(addr: Register, proto: Register) -> Expr {
    Expr::Nat {
        destination: true,
        family: 2,
        addr: Some(addr),
        proto: Some(proto),
        flags: 0,
    }
}

fn ct(key: CtKey) -> Expr {
    Expr::Ct { key, dreg: 1 }
}

fn accept() -> Expr {
    Expr::Verdict(Verdict::Accept)
}

fn discard() -> Expr {
    Expr::Verdict(Verdict::Drop)
}

fn ifname(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, 0);
    key
}

fn single(key: &[u8]) -> Element {
    Element {
        key: key.to_vec(),
        key_end: None,
        value: None,
    }
}

fn range(key: &[u8], key_end: &[u8]) -> Element {
    Element {
        key_end: Some(key_end.to_vec()),
        ..single(key)
    }
}

fn value(key: &[u8], value: ElementValue) -> Element {
    Element {
        value: Some(value),
        ..single(key)
    }
}

fn set(name: &str, key: DataType, interval: bool, mut elements: Vec<Element>) -> Set {
    elements.sort();
    Set {
        name: name.into(),
        key,
        value: None,
        interval,
        elements,
    }
}

fn map(name: &str, key: DataType, data: DataType, elements: Vec<Element>) -> Set {
    Set {
        value: Some(data),
        ..set(name, key, false, elements)
    }
}

fn base(kind: ChainKind, hook: Hook, priority: i32, policy: Policy, rules: Vec<Rule>) -> Chain {
    Chain {
        name: format!("{hook:?}").to_lowercase(),
        base: Some(BaseChain {
            kind,
            hook,
            priority,
            policy,
        }),
        rules,
    }
}

fn counter(name: &str) -> Chain {
    Chain {
        name: name.into(),
        base: None,
        rules: vec![rule("", [Expr::Counter])],
    }
}

fn join<const N: usize>(parts: [&[Expr]; N]) -> Vec<Expr> {
    parts.concat()
}

/// Every kind of set and expression.
pub(crate) fn everything() -> Table {
    Table {
        chains: vec![
            base(ChainKind::Filter, Hook::Forward, 0, Policy::Drop, forward()),
            base(ChainKind::Filter, Hook::Input, 0, Policy::Drop, input()),
            counter("input_lan"),
            counter("input_wan"),
            base(
                ChainKind::Nat,
                Hook::Postrouting,
                100,
                Policy::Accept,
                postrouting(),
            ),
            base(
                ChainKind::Nat,
                Hook::Prerouting,
                -100,
                Policy::Accept,
                prerouting(),
            ),
        ],
        sets: sets(),
    }
}

/// [`everything`] without the rules that nft, reading its own listing, writes differently.
pub(crate) fn judged() -> Table {
    let mut table = everything();
    for chain in &mut table.chains {
        chain
            .rules
            .retain(|rule| !rule.comment.starts_with("ours alone"));
    }
    table
}

fn sets() -> Vec<Set> {
    let service = || DataType::Concat(vec![DataType::Ipv4Addr, DataType::InetService]);
    let jump = |chain: &str| ElementValue::Verdict(Verdict::Jump(chain.into()));
    let goto = |chain: &str| ElementValue::Verdict(Verdict::Goto(chain.into()));
    let state = |bit: u32, verdict| value(&bit.to_ne_bytes(), ElementValue::Verdict(verdict));
    let mut low6 = [0; 16];
    let mut high6 = [0xff; 16];
    (low6[0], high6[0]) = (0xfc, 0xfd);
    vec![
        set(
            "bogons",
            DataType::Ipv4Addr,
            true,
            vec![
                range(&[0, 0, 0, 0], &[0, 255, 255, 255]),
                range(&[10, 0, 0, 0], &[10, 255, 255, 255]),
                range(&[192, 0, 2, 1], &[192, 0, 2, 9]),
                range(&[203, 0, 113, 5], &[203, 0, 113, 5]),
                range(&[240, 0, 0, 0], &[255, 255, 255, 255]),
            ],
        ),
        map(
            "forwards",
            DataType::InetService,
            service(),
            vec![value(
                &[0, 80],
                ElementValue::Data(vec![192, 168, 1, 2, 0x1f, 0x90, 0, 0]),
            )],
        ),
        map(
            "input_links",
            DataType::Ifname,
            DataType::Verdict,
            vec![
                value(&ifname("lan0"), jump("input_lan")),
                value(&ifname("wan0"), goto("input_wan")),
            ],
        ),
        set(
            "known_devices",
            DataType::Concat(vec![DataType::EtherAddr, DataType::Ipv4Addr]),
            false,
            vec![
                single(&[2, 0, 0, 0, 0, 1, 0, 0, 192, 0, 2, 7]),
                single(&[2, 0, 0, 0, 0, 2, 0, 0, 192, 0, 2, 8]),
            ],
        ),
        set(
            "lan_links",
            DataType::Ifname,
            false,
            vec![single(&ifname("br-lan")), single(&ifname("lan0"))],
        ),
        set(
            "networks6",
            DataType::Ipv6Addr,
            true,
            vec![range(&low6, &high6)],
        ),
        set(
            "services",
            service(),
            true,
            vec![
                range(&[192, 0, 2, 0, 0, 80, 0, 0], &[192, 0, 2, 255, 0, 90, 0, 0]),
                range(&[192, 0, 3, 1, 1, 187, 0, 0], &[192, 0, 3, 1, 1, 187, 0, 0]),
            ],
        ),
        map(
            "states",
            DataType::CtState,
            DataType::Verdict,
            vec![
                state(1, Verdict::Drop),
                state(2, Verdict::Accept),
                state(4, Verdict::Accept),
            ],
        ),
    ]
}

fn input() -> Vec<Rule> {
    vec![
        rule("", [ct(CtKey::State), lookup("states", Some(0))]),
        rule(
            "why not",
            [meta(MetaKey::Iifname), cmp(ifname("lo")), accept()],
        ),
        rule("", [meta(MetaKey::Iifname), lookup("input_links", Some(0))]),
        rule(
            "reverse path",
            [
                Expr::Fib {
                    flags: 1 | 8 | 32,
                    result: 1,
                    dreg: 1,
                },
                cmp([0; 4]),
                discard(),
            ],
        ),
        rule(
            "",
            join([
                &[meta(MetaKey::Iifname), lookup("lan_links", None)],
                &ipv4(),
                &[source(), lookup("bogons", None), Expr::Counter, discard()],
            ]),
        ),
        rule(
            "",
            join([
                &l4(6),
                &[tcp_flags(), and([0x17]), cmp([2])],
                &[limit(5, 1, 10, false), log(None, "syn: ")],
            ]),
        ),
        rule(
            "",
            join([
                &ipv4(),
                &l4(6),
                &[source(), payload(PayloadBase::Transport, 2, 2, 9)],
                &[lookup("services", None), log(Some(3), ""), accept()],
            ]),
        ),
        rule(
            "ours alone: registers",
            join([
                &ipv4(),
                &[
                    payload(PayloadBase::Link, 6, 6, 2),
                    payload(PayloadBase::Network, 12, 4, 14),
                    Expr::Lookup {
                        set: "known_devices".into(),
                        sreg: 2,
                        dreg: None,
                        invert: true,
                    },
                    discard(),
                ],
            ]),
        ),
        rule(
            "ours alone: range",
            join([
                &l4(17),
                &[
                    port(),
                    Expr::Range {
                        invert: true,
                        sreg: 1,
                        from: vec![0, 100],
                        to: vec![0, 200],
                    },
                    discard(),
                ],
            ]),
        ),
        rule(
            "",
            join([
                &l4(6),
                &[port(), cmp([0, 22]), limit(3, 60, 5, true)],
                &[Expr::Reject(RejectKind::TcpReset)],
            ]),
        ),
        rule("", [Expr::Reject(RejectKind::Icmpx(3))]),
    ]
}

fn forward() -> Vec<Rule> {
    let maxseg = |sreg| Expr::TcpOptionSet {
        kind: 2,
        offset: 2,
        len: 2,
        sreg,
    };
    vec![
        rule(
            "",
            join([
                &l4(6),
                &[tcp_flags(), and([0x06]), cmp([2])],
                &[
                    Expr::Rt {
                        key: RtKey::Tcpmss,
                        dreg: 1,
                    },
                    Expr::Byteorder {
                        sreg: 1,
                        dreg: 1,
                        hton: true,
                        len: 2,
                        size: 2,
                    },
                    maxseg(1),
                ],
            ]),
        ),
        rule(
            "",
            [
                Expr::TcpOption {
                    kind: 2,
                    offset: 2,
                    len: 2,
                    dreg: 1,
                },
                cmp([5, 0xb4]),
                Expr::Counter,
            ],
        ),
        rule(
            "",
            [
                load(1, 5u32.to_ne_bytes()),
                Expr::MetaSet {
                    key: MetaKey::Mark,
                    sreg: 1,
                },
            ],
        ),
        rule(
            "",
            [
                ct(CtKey::Status),
                and(0x20u32.to_ne_bytes()),
                Expr::Cmp {
                    op: CmpOp::Neq,
                    sreg: 1,
                    data: vec![0; 4],
                },
                accept(),
            ],
        ),
        rule(
            "",
            [
                meta(MetaKey::Nfproto),
                cmp([10]),
                payload(PayloadBase::Network, 8, 16, 1),
                lookup("networks6", None),
                Expr::Verdict(Verdict::Return),
            ],
        ),
    ]
}

fn postrouting() -> Vec<Rule> {
    vec![rule(
        "",
        join([
            &[meta(MetaKey::Oifname), cmp(ifname("wan0"))],
            &ipv4(),
            &[Expr::Masq],
        ]),
    )]
}

fn prerouting() -> Vec<Rule> {
    vec![
        rule(
            "",
            join([
                &ipv4(),
                &l4(6),
                &[port(), lookup("forwards", Some(1)), dnat(1, 9)],
            ]),
        ),
        rule(
            "",
            join([
                &ipv4(),
                &l4(6),
                &[port(), cmp([0, 81])],
                &[load(1, [192, 168, 1, 2]), load(2, [0x1f, 0x90]), dnat(1, 2)],
            ]),
        ),
    ]
}

/// A chain that counts what this host sends, one to change, and a set.
pub(crate) fn counting() -> Table {
    let output = vec![rule("", [Expr::Counter])];
    Table {
        chains: vec![
            counter("changed"),
            base(ChainKind::Filter, Hook::Output, 0, Policy::Accept, output),
        ],
        sets: vec![set(
            "networks",
            DataType::Ipv4Addr,
            true,
            vec![
                range(&[10, 0, 0, 0], &[10, 0, 0, 255]),
                range(&[10, 0, 1, 0], &[10, 0, 1, 255]),
            ],
        )],
    }
}

/// Rules and ranges in bulk.
pub(crate) fn large(rules: u32, elements: u32) -> Table {
    let drop_from = |n: u32| {
        let address = cmp((0x0a00_0000 + n).to_be_bytes());
        let end = [source(), address, Expr::Counter, discard()];
        rule(&format!("rule {n}"), join([&ipv4(), &end]))
    };
    let block = |n: u32| {
        let first = 0x0b00_0000 + n * 16;
        range(&first.to_be_bytes(), &(first + 7).to_be_bytes())
    };
    Table {
        chains: vec![base(
            ChainKind::Filter,
            Hook::Input,
            0,
            Policy::Accept,
            (0..rules).map(drop_from).collect(),
        )],
        sets: vec![set(
            "blocked",
            DataType::Ipv4Addr,
            true,
            (0..elements).map(block).collect(),
        )],
    }
}
