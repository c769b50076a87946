//! Builds a rule from words of `nft`'s own language. Each method adds the instructions that
//! `nft` would send for the same words, so that a dump reads back as written.

use lintel_model::nft::{CmpOp, CtKey, Expr, MetaKey, PayloadBase, Register, RtKey, Rule, Verdict};

/// The register of every comparison: rules here need one value at a time.
const R: Register = 1;

/// `IPPROTO_ICMP`.
pub(crate) const ICMP: u8 = 1;
/// `IPPROTO_TCP`.
pub(crate) const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub(crate) const UDP: u8 = 17;
/// `IPPROTO_ICMPV6`.
pub(crate) const ICMPV6: u8 = 58;

/// States of conntrack as bits of `ct state`.
pub(crate) mod state {
    pub(crate) const INVALID: u32 = 1;
    pub(crate) const ESTABLISHED: u32 = 2;
    pub(crate) const RELATED: u32 = 4;
}

/// Begins a rule with its comment.
pub(crate) fn rule(comment: &str) -> Builder {
    Builder(Rule {
        comment: comment.to_owned(),
        exprs: Vec::new(),
    })
}

/// A rule in the making.
pub(crate) struct Builder(Rule);

impl Builder {
    /// `iifname "NAME"`
    pub(crate) fn entering_by(self, name: &str) -> Self {
        self.meta(MetaKey::Iifname).eq(ifname(name))
    }

    /// `iifname @SET`
    pub(crate) fn entering(self, set: &str) -> Self {
        self.meta(MetaKey::Iifname).in_set(set)
    }

    /// `oifname @SET`
    pub(crate) fn leaving(self, set: &str) -> Self {
        self.meta(MetaKey::Oifname).in_set(set)
    }

    /// `ct state A,B` with the bits of [`state`].
    pub(crate) fn ct_state(self, bits: u32) -> Self {
        self.add(Expr::Ct {
            key: CtKey::State,
            dreg: R,
        })
        .mask(bits.to_ne_bytes().to_vec())
        .add(Expr::Cmp {
            op: CmpOp::Neq,
            sreg: R,
            data: vec![0; 4],
        })
    }

    /// `meta nfproto ipv4`
    pub(crate) fn ipv4(self) -> Self {
        self.meta(MetaKey::Nfproto).eq(vec![2])
    }

    /// `meta nfproto ipv6`
    pub(crate) fn ipv6(self) -> Self {
        self.meta(MetaKey::Nfproto).eq(vec![10])
    }

    /// `meta l4proto N`
    pub(crate) fn l4proto(self, proto: u8) -> Self {
        self.meta(MetaKey::L4proto).eq(vec![proto])
    }

    /// `tcp dport @SET` or `udp dport @SET`
    pub(crate) fn dport_in(self, proto: u8, set: &str) -> Self {
        self.l4proto(proto).transport(2, 2).in_set(set)
    }

    /// `udp dport N`
    pub(crate) fn udp_dport(self, port: u16) -> Self {
        self.l4proto(UDP)
            .transport(2, 2)
            .eq(port.to_be_bytes().to_vec())
    }

    /// `ip saddr @SET`
    pub(crate) fn ip_saddr_in(self, set: &str) -> Self {
        self.ipv4().network(12, 4).in_set(set)
    }

    /// `ip daddr @SET`
    pub(crate) fn ip_daddr_in(self, set: &str) -> Self {
        self.ipv4().network(16, 4).in_set(set)
    }

    /// `ip saddr 0.0.0.0`
    pub(crate) fn ip_saddr_none(self) -> Self {
        self.ipv4().network(12, 4).eq(vec![0; 4])
    }

    /// `ip6 saddr fe80::/10`
    pub(crate) fn ip6_saddr_link_local(self) -> Self {
        self.ipv6()
            .network(8, 2)
            .mask(vec![0xff, 0xc0])
            .eq(vec![0xfe, 0x80])
    }

    /// `ip6 saddr ::`
    pub(crate) fn ip6_saddr_none(self) -> Self {
        self.ipv6().network(8, 16).eq(vec![0; 16])
    }

    /// `ip6 hoplimit 255`: sent on this link, not routed to it.
    pub(crate) fn ip6_hoplimit_255(self) -> Self {
        self.ipv6().network(7, 1).eq(vec![255])
    }

    /// `icmp type N`
    pub(crate) fn icmp_type(self, kind: u8) -> Self {
        self.ipv4().l4proto(ICMP).transport(0, 1).eq(vec![kind])
    }

    /// `icmpv6 type N`
    pub(crate) fn icmpv6_type(self, kind: u8) -> Self {
        self.ipv6().l4proto(ICMPV6).transport(0, 1).eq(vec![kind])
    }

    /// `icmpv6 type FIRST-LAST`
    pub(crate) fn icmpv6_types(self, first: u8, last: u8) -> Self {
        self.ipv6()
            .l4proto(ICMPV6)
            .transport(0, 1)
            .cmp(CmpOp::Gte, vec![first])
            .cmp(CmpOp::Lte, vec![last])
    }

    /// `tcp flags & (syn|rst) == syn`
    pub(crate) fn tcp_syn(self) -> Self {
        self.l4proto(TCP)
            .transport(13, 1)
            .mask(vec![0x06])
            .eq(vec![0x02])
    }

    /// `limit rate N/second burst M packets`
    pub(crate) fn limit(self, per_second: u64, burst: u32) -> Self {
        self.add(Expr::Limit {
            rate: per_second,
            unit_s: 1,
            burst,
            over: false,
        })
    }

    /// `counter`
    pub(crate) fn counter(self) -> Self {
        self.add(Expr::Counter)
    }

    /// `tcp option maxseg size set rt mtu`: the kernel lowers the option only, to what fits the
    /// smaller MTU of the routes there and back.
    pub(crate) fn clamp_mss(self) -> Rule {
        self.add(Expr::Rt {
            key: RtKey::Tcpmss,
            dreg: R,
        })
        .add(Expr::Byteorder {
            sreg: R,
            dreg: R,
            hton: true,
            len: 2,
            size: 2,
        })
        .add(Expr::TcpOptionSet {
            kind: 2,
            offset: 2,
            len: 2,
            sreg: R,
        })
        .0
    }

    /// `accept`
    pub(crate) fn accept(self) -> Rule {
        self.verdict(Verdict::Accept)
    }

    /// `drop`
    pub(crate) fn drop(self) -> Rule {
        self.verdict(Verdict::Drop)
    }

    /// `goto CHAIN`
    pub(crate) fn goto(self, chain: &str) -> Rule {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }

    /// `masquerade`
    pub(crate) fn masquerade(self) -> Rule {
        self.add(Expr::Masq).0
    }

    /// A rule that decides nothing.
    pub(crate) fn go_on(self) -> Rule {
        self.0
    }

    fn verdict(self, verdict: Verdict) -> Rule {
        self.add(Expr::Verdict(verdict)).0
    }

    fn meta(self, key: MetaKey) -> Self {
        // The same test twice in one rule says nothing new (`ipv6` by several words).
        self.add(Expr::Meta { key, dreg: R })
    }

    fn network(self, offset: u32, len: u32) -> Self {
        self.payload(PayloadBase::Network, offset, len)
    }

    fn transport(self, offset: u32, len: u32) -> Self {
        self.payload(PayloadBase::Transport, offset, len)
    }

    fn payload(self, base: PayloadBase, offset: u32, len: u32) -> Self {
        self.add(Expr::Payload {
            base,
            offset,
            len,
            dreg: R,
        })
    }

    fn mask(self, mask: Vec<u8>) -> Self {
        let xor = vec![0; mask.len()];
        self.add(Expr::Bitwise {
            sreg: R,
            dreg: R,
            mask,
            xor,
        })
    }

    fn eq(mut self, data: Vec<u8>) -> Self {
        // Words that name the family or protocol again add nothing: leave the second test out.
        if let Some(load @ Expr::Meta { .. }) = self.0.exprs.last().cloned() {
            let compare = Expr::Cmp {
                op: CmpOp::Eq,
                sreg: R,
                data: data.clone(),
            };
            let before = self.0.exprs.len() - 1;
            let known = self.0.exprs[..before]
                .windows(2)
                .any(|pair| pair[0] == load && pair[1] == compare);
            if known {
                self.0.exprs.truncate(before);
                return self;
            }
        }
        self.cmp(CmpOp::Eq, data)
    }

    fn cmp(self, op: CmpOp, data: Vec<u8>) -> Self {
        self.add(Expr::Cmp { op, sreg: R, data })
    }

    fn in_set(self, set: &str) -> Self {
        self.add(Expr::Lookup {
            set: set.to_owned(),
            sreg: R,
            dreg: None,
            invert: false,
        })
    }

    fn add(mut self, expr: Expr) -> Self {
        self.0.exprs.push(expr);
        self
    }
}

/// A link name as the kernel compares it: 16 octets, padded with zeros.
pub(crate) fn ifname(name: &str) -> Vec<u8> {
    let mut octets = name.as_bytes().to_vec();
    octets.resize(16, 0);
    octets
}
