//! nf_tables messages (`linux/netfilter/nf_tables.h`, `nfnetlink.h`): batches, tables, chains,
//! rules, sets and their elements; expressions are in [`expr`], rule and set annotations that the
//! `nft` tool reads back in [`userdata`].
//!
//! Contract: `emit` functions append one whole message to a [`Writer`]; `parse` functions take the
//! payload of one message (behind `nlmsghdr`), never panic, and borrow from it. nfnetlink integers
//! are big-endian; the octets of registers, keys and values are passed through untouched.

pub mod expr;
mod set;
pub mod userdata;

pub use expr::{Data, Expr, Verdict};
pub use set::{
    DATA_VERDICT, ElementRepr, SetRepr, emit_elements, flags as set_flags, parse_elements,
};

use crate::nl::{Attrs, Malformed, Writer, flags};

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of `nlmsg_type`.
pub const SUBSYSTEM: u16 = 10 << 8;
/// `NFNL_MSG_BATCH_BEGIN`.
pub const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
pub const BATCH_END: u16 = 0x11;
/// Bytes of `struct nfgenmsg`.
pub const NFGENMSG_LEN: usize = 4;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub const FAMILY_INET: u8 = 1;

/// `NFT_MSG_*` with the subsystem.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod msg {
    use super::SUBSYSTEM;
    pub const NEWTABLE: u16 = SUBSYSTEM;
    pub const GETTABLE: u16 = SUBSYSTEM | 1;
    pub const DELTABLE: u16 = SUBSYSTEM | 2;
    pub const NEWCHAIN: u16 = SUBSYSTEM | 3;
    pub const GETCHAIN: u16 = SUBSYSTEM | 4;
    pub const DELCHAIN: u16 = SUBSYSTEM | 5;
    pub const NEWRULE: u16 = SUBSYSTEM | 6;
    pub const GETRULE: u16 = SUBSYSTEM | 7;
    pub const DELRULE: u16 = SUBSYSTEM | 8;
    pub const NEWSET: u16 = SUBSYSTEM | 9;
    pub const GETSET: u16 = SUBSYSTEM | 10;
    pub const DELSET: u16 = SUBSYSTEM | 11;
    pub const NEWSETELEM: u16 = SUBSYSTEM | 12;
    pub const GETSETELEM: u16 = SUBSYSTEM | 13;
    pub const DELSETELEM: u16 = SUBSYSTEM | 14;
    pub const NEWGEN: u16 = SUBSYSTEM | 15;
    pub const GETGEN: u16 = SUBSYSTEM | 16;
}

/// The kernel's name of a type that changes something, and of a batch's ends.
#[must_use]
pub const fn kind_name(kind: u16) -> &'static str {
    match kind {
        BATCH_BEGIN => "NFNL_MSG_BATCH_BEGIN",
        BATCH_END => "NFNL_MSG_BATCH_END",
        msg::NEWTABLE => "NFT_MSG_NEWTABLE",
        msg::DELTABLE => "NFT_MSG_DELTABLE",
        msg::NEWCHAIN => "NFT_MSG_NEWCHAIN",
        msg::DELCHAIN => "NFT_MSG_DELCHAIN",
        msg::NEWRULE => "NFT_MSG_NEWRULE",
        msg::DELRULE => "NFT_MSG_DELRULE",
        msg::NEWSET => "NFT_MSG_NEWSET",
        msg::DELSET => "NFT_MSG_DELSET",
        msg::NEWSETELEM => "NFT_MSG_NEWSETELEM",
        msg::DELSETELEM => "NFT_MSG_DELSETELEM",
        _ => "NFT_MSG",
    }
}

/// `struct nfgenmsg`; `res_id` is big-endian and names the subsystem in batch markers.
#[must_use]
pub fn nfgenmsg(family: u8, res_id: u16) -> [u8; NFGENMSG_LEN] {
    let [high, low] = res_id.to_be_bytes();
    [family, 0, high, low]
}

/// Opens a batch. With `generation` the kernel refuses it with `ERESTART` when anybody has changed
/// the ruleset since that generation was read.
pub fn emit_batch_begin(w: &mut Writer, generation: Option<u32>) -> u32 {
    const NFNL_BATCH_GENID: u16 = 1;
    let seq = w.begin(BATCH_BEGIN, 0, &nfgenmsg(0, SUBSYSTEM >> 8));
    if let Some(generation) = generation {
        w.be32(NFNL_BATCH_GENID, generation);
    }
    w.end();
    seq
}

/// Closes a batch, which commits it.
pub fn emit_batch_end(w: &mut Writer) -> u32 {
    let seq = w.begin(BATCH_END, 0, &nfgenmsg(0, SUBSYSTEM >> 8));
    w.end();
    seq
}

/// Asks for the ruleset's generation.
pub fn emit_get_generation(w: &mut Writer) -> u32 {
    let seq = w.begin(msg::GETGEN, 0, &nfgenmsg(0, 0));
    w.end();
    seq
}

/// Reads the generation from a `NEWGEN` payload.
///
/// # Errors
/// [`Malformed`] when it is not there.
pub fn parse_generation(payload: &[u8]) -> Result<u32, Malformed> {
    Attrs::after(payload, NFGENMSG_LEN)
        .find(1)
        .and_then(|attr| attr.be32())
        .ok_or(Malformed("NFTA_GEN_ID"))
}

/// A dump request for a kind of object. `table` and `set` limit it where the kernel can.
pub fn emit_dump(
    w: &mut Writer,
    kind: u16,
    family: u8,
    table: Option<&str>,
    set: Option<&str>,
) -> u32 {
    let seq = w.begin(kind, flags::DUMP, &nfgenmsg(family, 0));
    // Attribute 1 is the table and 2 the set or chain in every message of the subsystem.
    if let Some(table) = table {
        w.str(1, table);
    }
    if let Some(set) = set {
        w.str(2, set);
    }
    w.end();
    seq
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRepr<'a> {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Its name.
    pub name: &'a str,
}

impl<'a> TableRepr<'a> {
    /// Reads a `NEWTABLE` or `DELTABLE` payload.
    ///
    /// # Errors
    /// [`Malformed`] without a name.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self {
            family: *payload.first().ok_or(Malformed("nfgenmsg"))?,
            name: text(&Attrs::after(payload, NFGENMSG_LEN), 1, "NFTA_TABLE_NAME")?,
        })
    }

    /// `NEWTABLE`; idempotent.
    pub fn emit_new(&self, w: &mut Writer) -> u32 {
        self.emit(w, msg::NEWTABLE, flags::CREATE)
    }

    /// `DELTABLE` with all that is in it.
    pub fn emit_delete(&self, w: &mut Writer) -> u32 {
        self.emit(w, msg::DELTABLE, 0)
    }

    fn emit(&self, w: &mut Writer, kind: u16, message_flags: u16) -> u32 {
        let seq = w.begin(kind, message_flags, &nfgenmsg(self.family, 0));
        w.str(1, self.name);
        w.end();
        seq
    }
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookRepr<'a> {
    /// `NF_INET_*`.
    pub number: u32,
    /// Lower runs first.
    pub priority: i32,
    /// `filter`, `nat` or `route`.
    pub kind: &'a str,
    /// `NF_DROP` (0) or `NF_ACCEPT` (1).
    pub policy: u32,
}

/// A chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRepr<'a> {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Its table.
    pub table: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `None` for a chain that is jumped to.
    pub hook: Option<HookRepr<'a>>,
}

mod chain_attr {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const POLICY: u16 = 5;
    pub(super) const TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
}

impl<'a> ChainRepr<'a> {
    /// Reads a `NEWCHAIN` or `DELCHAIN` payload.
    ///
    /// # Errors
    /// [`Malformed`] without table or name, or with a hook that lacks its parts.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let attrs = Attrs::after(payload, NFGENMSG_LEN);
        let hook = match attrs.find(chain_attr::HOOK) {
            None => None,
            Some(hook) => Some(HookRepr {
                number: hook
                    .nested()
                    .find(chain_attr::HOOK_NUMBER)
                    .and_then(|a| a.be32())
                    .ok_or(Malformed("NFTA_HOOK_HOOKNUM"))?,
                priority: hook
                    .nested()
                    .find(chain_attr::HOOK_PRIORITY)
                    .and_then(|a| a.be32())
                    .ok_or(Malformed("NFTA_HOOK_PRIORITY"))?
                    .cast_signed(),
                kind: text(&attrs, chain_attr::TYPE, "NFTA_CHAIN_TYPE")?,
                policy: attrs
                    .find(chain_attr::POLICY)
                    .and_then(|a| a.be32())
                    .ok_or(Malformed("NFTA_CHAIN_POLICY"))?,
            }),
        };
        Ok(Self {
            family: *payload.first().ok_or(Malformed("nfgenmsg"))?,
            table: text(&attrs, chain_attr::TABLE, "NFTA_CHAIN_TABLE")?,
            name: text(&attrs, chain_attr::NAME, "NFTA_CHAIN_NAME")?,
            hook,
        })
    }

    /// `NEWCHAIN`; changes the policy when the chain exists with this hook.
    pub fn emit_new(&self, w: &mut Writer) -> u32 {
        let seq = w.begin(msg::NEWCHAIN, flags::CREATE, &nfgenmsg(self.family, 0));
        w.str(chain_attr::TABLE, self.table);
        w.str(chain_attr::NAME, self.name);
        if let Some(hook) = &self.hook {
            w.str(chain_attr::TYPE, hook.kind);
            w.be32(chain_attr::POLICY, hook.policy);
            w.nest(chain_attr::HOOK, |w| {
                w.be32(chain_attr::HOOK_NUMBER, hook.number);
                w.be32(chain_attr::HOOK_PRIORITY, hook.priority.cast_unsigned());
            });
        }
        w.end();
        seq
    }

    /// `DELCHAIN`; the chain must be empty and unused.
    pub fn emit_delete(&self, w: &mut Writer) -> u32 {
        let seq = w.begin(msg::DELCHAIN, 0, &nfgenmsg(self.family, 0));
        w.str(chain_attr::TABLE, self.table);
        w.str(chain_attr::NAME, self.name);
        w.end();
        seq
    }

    /// `DELRULE` without a handle: every rule of the chain.
    pub fn emit_flush(&self, w: &mut Writer) -> u32 {
        let seq = w.begin(msg::DELRULE, 0, &nfgenmsg(self.family, 0));
        w.str(rule_attr::TABLE, self.table);
        w.str(rule_attr::CHAIN, self.name);
        w.end();
        seq
    }
}

mod rule_attr {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const EXPRESSIONS: u16 = 4;
    pub(super) const USERDATA: u16 = 7;
}

/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;

/// A rule as it is dumped.
#[derive(Clone, Debug)]
pub struct RuleRepr<'a> {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Its table.
    pub table: &'a str,
    /// Its chain.
    pub chain: &'a str,
    /// Expressions in their order.
    pub exprs: Vec<Expr<'a>>,
    /// The comment in the userdata; empty for none.
    pub comment: &'a str,
}

impl<'a> RuleRepr<'a> {
    /// Reads a `NEWRULE` or `DELRULE` payload.
    ///
    /// # Errors
    /// [`Malformed`] without table or chain. An expression that cannot be read becomes
    /// [`Expr::Unknown`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let attrs = Attrs::after(payload, NFGENMSG_LEN);
        Ok(Self {
            family: *payload.first().ok_or(Malformed("nfgenmsg"))?,
            table: text(&attrs, rule_attr::TABLE, "NFTA_RULE_TABLE")?,
            chain: text(&attrs, rule_attr::CHAIN, "NFTA_RULE_CHAIN")?,
            exprs: attrs
                .find(rule_attr::EXPRESSIONS)
                .map(|list| list.nested().map(|e| Expr::parse(e.data)).collect())
                .unwrap_or_default(),
            comment: attrs
                .find(rule_attr::USERDATA)
                .and_then(|data| userdata::rule_comment(data.data))
                .unwrap_or_default(),
        })
    }
}

/// `NEWRULE` at the end of a chain.
pub fn emit_rule<'e>(
    w: &mut Writer,
    family: u8,
    table: &str,
    chain: &str,
    exprs: impl IntoIterator<Item = Expr<'e>>,
    comment: &str,
) -> u32 {
    let seq = w.begin(
        msg::NEWRULE,
        flags::CREATE | flags::APPEND,
        &nfgenmsg(family, 0),
    );
    w.str(rule_attr::TABLE, table);
    w.str(rule_attr::CHAIN, chain);
    w.nest(rule_attr::EXPRESSIONS, |w| {
        for expr in exprs {
            w.nest(LIST_ELEM, |w| expr.emit(w));
        }
    });
    if !comment.is_empty() {
        let mark = w.open(rule_attr::USERDATA);
        userdata::emit_rule_comment(w, comment);
        w.close(mark);
    }
    w.end();
    seq
}

fn text<'a>(attrs: &Attrs<'a>, kind: u16, what: &'static str) -> Result<&'a str, Malformed> {
    attrs
        .find(kind)
        .and_then(|attr| attr.str())
        .ok_or(Malformed(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nl::Messages;

    fn payload(fill: impl FnOnce(&mut Writer) -> u32) -> Vec<u8> {
        let mut w = Writer::new(1);
        fill(&mut w);
        let bytes = w.finish().unwrap();
        Messages::new(bytes).next().unwrap().payload.to_vec()
    }

    #[test]
    fn chains_survive_the_trip() {
        for hook in [
            None,
            Some(HookRepr {
                number: 1,
                priority: -100,
                kind: "nat",
                policy: 1,
            }),
        ] {
            let chain = ChainRepr {
                family: FAMILY_INET,
                table: "lintel",
                name: "input",
                hook,
            };
            let bytes = payload(|w| chain.emit_new(w));
            assert_eq!(ChainRepr::parse(&bytes), Ok(chain));
        }
    }

    #[test]
    fn rules_keep_order_and_comment() {
        let exprs = [Expr::Counter, Expr::Meta { key: 6, dreg: 1 }];
        let bytes = payload(|w| emit_rule(w, 1, "t", "c", exprs.clone(), "why not"));
        let rule = RuleRepr::parse(&bytes).unwrap();
        assert_eq!(rule.exprs, exprs);
        assert_eq!(
            (rule.table, rule.chain, rule.comment),
            ("t", "c", "why not")
        );
    }

    #[test]
    fn a_generation_is_sent_and_read_big_endian() {
        let bytes = payload(|w| emit_batch_begin(w, Some(7)));
        assert_eq!(bytes, [0, 0, 0, 10, 8, 0, 1, 0, 0, 0, 0, 7]);
        assert_eq!(parse_generation(&bytes), Ok(7));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TableRepr::parse(&bytes);
            let _ = ChainRepr::parse(&bytes);
            let _ = RuleRepr::parse(&bytes);
            let _ = SetRepr::parse(&bytes);
            let _ = parse_elements(&bytes);
            let _ = parse_generation(&bytes);
            let _ = userdata::rule_comment(&bytes);
            let _ = Expr::parse(&bytes);
        }
    }
}
