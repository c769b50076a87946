//! The table `inet lintel` between the model and the kernel: one batch out, several dumps in.
//!
//! What holds: decoding the dump of an encoded table gives the table back, when it is in the
//! canonical form that [`lintel_model::nft`] names.

mod expr;
mod set;

use std::collections::BTreeMap;

use lintel_model::nft::{
    BaseChain, Chain, ChainKind, Edit, Element, Hook, Policy, Rule, Set, TABLE, Table, Transaction,
};
use lintel_wire::nft::{
    self as wire, ChainRepr, FAMILY_INET, HookRepr, RuleRepr, SetRepr, TableRepr, msg,
};
use lintel_wire::nl::{Messages, WriteError, Writer};

use crate::error::NetlinkError;
use crate::socket::{DUMP_TRIES_MAX, Socket};

/// Why a transaction has no form in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// An element's key, last key or value does not fit its set.
    #[error("element {key:02x?} does not fit set {set}")]
    Element {
        /// The set.
        set: String,
        /// The element's key.
        key: Vec<u8>,
    },
    /// Longer than netlink can say.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A batch ready to be sent, and what each of its messages is about.
#[derive(Debug)]
pub struct Batch {
    writer: Writer,
    subjects: BTreeMap<u32, String>,
    writes: u64,
    sets: u32,
}

impl Batch {
    /// What the message with this sequence number is about.
    #[must_use]
    pub fn subject(&self, seq: u32) -> &str {
        self.subjects.get(&seq).map_or("batch", String::as_str)
    }

    /// The messages.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Messages that change something.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    fn about(&mut self, seq: u32, subject: String) {
        self.subjects.insert(seq, subject);
        self.writes += 1;
    }
}

/// Writes a transaction as one batch. With `generation` the kernel refuses it when the ruleset is
/// not that old any more.
///
/// # Errors
/// [`EncodeError`]; nothing was sent.
pub fn encode(
    writer: Writer,
    generation: Option<u32>,
    transaction: &Transaction,
) -> Result<Batch, EncodeError> {
    let mut batch = encode_open(writer, generation, transaction)?;
    wire::emit_batch_end(&mut batch.writer);
    batch.writer.finish()?;
    Ok(batch)
}

/// Writes a transaction as a batch without an end: the kernel judges its messages, and then takes
/// them all back (nfnetlink_rcv_batch, `NFNL_ABORT_VALIDATE`; since 5.10, and before it nothing was
/// judged beyond the messages themselves).
///
/// # Errors
/// [`EncodeError`]; nothing was sent.
pub fn encode_open(
    writer: Writer,
    generation: Option<u32>,
    transaction: &Transaction,
) -> Result<Batch, EncodeError> {
    let mut batch = Batch {
        writer,
        subjects: BTreeMap::new(),
        writes: 0,
        sets: 0,
    };
    let seq = wire::emit_batch_begin(&mut batch.writer, generation);
    batch
        .subjects
        .insert(seq, "the batch's generation".to_owned());
    match transaction {
        Transaction::ReplaceTable(table) => replace_table(&mut batch, table)?,
        Transaction::Edit(edits) => {
            for edit in edits {
                emit_edit(&mut batch, edit)?;
            }
        }
        Transaction::DeleteTable => delete_table(&mut batch),
    }
    batch.writer.finish()?;
    Ok(batch)
}

fn table_repr() -> TableRepr<'static> {
    TableRepr {
        family: FAMILY_INET,
        name: TABLE,
    }
}

/// Making the table first lets the deletion succeed whether there was one or not.
fn delete_table(batch: &mut Batch) {
    let seq = table_repr().emit_new(&mut batch.writer);
    batch.about(seq, format!("table {TABLE}"));
    let seq = table_repr().emit_delete(&mut batch.writer);
    batch.about(seq, format!("deleting table {TABLE}"));
}

/// Chains come first, since elements and rules name them; then sets, since rules name those.
fn replace_table(batch: &mut Batch, table: &Table) -> Result<(), EncodeError> {
    delete_table(batch);
    let seq = table_repr().emit_new(&mut batch.writer);
    batch.about(seq, format!("table {TABLE}"));
    for chain in &table.chains {
        add_chain(batch, &chain.name, chain.base);
    }
    for set in &table.sets {
        add_set(batch, set)?;
    }
    for chain in &table.chains {
        add_rules(batch, &chain.name, &chain.rules);
    }
    Ok(())
}

fn emit_edit(batch: &mut Batch, edit: &Edit) -> Result<(), EncodeError> {
    match edit {
        Edit::AddSet(set) => add_set(batch, set)?,
        Edit::DeleteSet { name } => {
            let repr = SetRepr { name, ..bare_set() };
            let seq = repr.emit_delete(&mut batch.writer);
            batch.about(seq, format!("deleting set {name}"));
        }
        Edit::AddElements { set, elements } => emit_elements(batch, set, None, false, elements)?,
        Edit::DeleteElements { set, elements } => emit_elements(batch, set, None, true, elements)?,
        Edit::AddChain { name, base } => add_chain(batch, name, *base),
        Edit::DeleteChain { name } => {
            let chain = chain_repr(name, None);
            let seq = chain.emit_flush(&mut batch.writer);
            batch.about(seq, format!("emptying chain {name}"));
            let seq = chain.emit_delete(&mut batch.writer);
            batch.about(seq, format!("deleting chain {name}"));
        }
        Edit::ReplaceRules { chain, rules } => {
            let seq = chain_repr(chain, None).emit_flush(&mut batch.writer);
            batch.about(seq, format!("emptying chain {chain}"));
            add_rules(batch, chain, rules);
        }
    }
    Ok(())
}

fn add_chain(batch: &mut Batch, name: &str, base: Option<BaseChain>) {
    let seq = chain_repr(name, base).emit_new(&mut batch.writer);
    batch.about(seq, format!("chain {name}"));
}

fn add_rules(batch: &mut Batch, chain: &str, rules: &[Rule]) {
    for (index, rule) in rules.iter().enumerate() {
        let seq = wire::emit_rule(
            &mut batch.writer,
            FAMILY_INET,
            TABLE,
            chain,
            rule.exprs.iter().map(expr::encode),
            &rule.comment,
        );
        let mut subject = format!("rule {index} of chain {chain}");
        if !rule.comment.is_empty() {
            subject = format!("{subject} \"{}\"", rule.comment);
        }
        batch.about(seq, subject);
    }
}

fn add_set(batch: &mut Batch, set: &Set) -> Result<(), EncodeError> {
    batch.sets += 1;
    let id = batch.sets;
    let seq = set::encode(TABLE, set).emit_new(&mut batch.writer, id);
    batch.about(seq, format!("set {}", set.name));
    emit_elements(batch, set, Some(id), false, &set.elements)
}

fn emit_elements(
    batch: &mut Batch,
    set: &Set,
    id: Option<u32>,
    delete: bool,
    elements: &[Element],
) -> Result<(), EncodeError> {
    let borders = set::borders(set, elements)?;
    let mut seqs = Vec::new();
    wire::emit_elements(
        &mut batch.writer,
        &set::encode(TABLE, set),
        id,
        delete,
        borders.iter().flat_map(set::Border::reprs),
        |seq| seqs.push(seq),
    );
    for seq in seqs {
        batch.about(seq, format!("elements of set {}", set.name));
    }
    Ok(())
}

fn bare_set() -> SetRepr<'static> {
    SetRepr {
        family: FAMILY_INET,
        table: TABLE,
        name: "",
        flags: 0,
        key_type: 0,
        key_len: 0,
        fields: Vec::new(),
        data_type: None,
        data_len: 0,
        size: 0,
        orders: None,
    }
}

fn chain_repr(name: &str, base: Option<BaseChain>) -> ChainRepr<'_> {
    ChainRepr {
        family: FAMILY_INET,
        table: TABLE,
        name,
        hook: base.map(|base| HookRepr {
            number: hook_number(base.hook),
            priority: base.priority,
            kind: kind_name(base.kind),
            policy: match base.policy {
                Policy::Drop => 0,
                Policy::Accept => 1,
            },
        }),
    }
}

/// What stands in the kernel's nf_tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Counts every change that anybody makes.
    pub generation: u32,
    /// Ours, when there is one.
    pub table: Option<Table>,
    /// The others: family and name.
    pub foreign: Vec<(u8, String)>,
}

/// Dumps our table and names the others. Read again when the generation moved meanwhile, since
/// chains, sets and rules are separate dumps.
///
/// # Errors
/// [`NetlinkError`]; [`NetlinkError::Interrupted`] after [`DUMP_TRIES_MAX`].
pub fn observe(socket: &mut Socket) -> Result<Ruleset, NetlinkError> {
    for _ in 0..DUMP_TRIES_MAX {
        let generation = generation(socket)?;
        match dump(socket, generation) {
            // An object that vanished between two dumps: the generation tells.
            Err(NetlinkError::Refused(refusal)) if refusal.errno == libc::ENOENT => {}
            Err(error) => return Err(error),
            Ok(ruleset) if self::generation(socket)? == generation => return Ok(ruleset),
            Ok(_) => {}
        }
    }
    Err(NetlinkError::Interrupted)
}

/// The ruleset's generation.
///
/// # Errors
/// [`NetlinkError`].
pub fn generation(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let mut w = socket.writer();
    wire::emit_get_generation(&mut w);
    let payload = socket.query(&w, "asking for the ruleset's generation")?;
    Ok(wire::parse_generation(&payload)?)
}

fn dump(socket: &mut Socket, generation: u32) -> Result<Ruleset, NetlinkError> {
    let mut foreign = Vec::new();
    let mut exists = false;
    let tables = socket.dump("dumping tables", |w| {
        wire::emit_dump(w, msg::GETTABLE, 0, None, None)
    })?;
    for message in Messages::new(&tables) {
        let table = TableRepr::parse(message.payload)?;
        if table == table_repr() {
            exists = true;
        } else {
            foreign.push((table.family, table.name.to_owned()));
        }
    }
    foreign.sort();
    Ok(Ruleset {
        generation,
        table: exists.then(|| dump_table(socket)).transpose()?,
        foreign,
    })
}

fn dump_table(socket: &mut Socket) -> Result<Table, NetlinkError> {
    let mut table = Table {
        chains: dump_chains(socket)?,
        sets: Vec::new(),
    };
    let sets = socket.dump("dumping sets", |w| {
        wire::emit_dump(w, msg::GETSET, FAMILY_INET, Some(TABLE), None)
    })?;
    for message in Messages::new(&sets) {
        let repr = SetRepr::parse(message.payload)?;
        if repr.table != TABLE {
            continue;
        }
        let mut set = set::decode(&repr);
        set.elements = dump_elements(socket, &set)?;
        table.sets.push(set);
    }
    table.sets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(table)
}

fn dump_chains(socket: &mut Socket) -> Result<Vec<Chain>, NetlinkError> {
    let mut chains = BTreeMap::new();
    let objects = socket.dump("dumping chains", |w| {
        wire::emit_dump(w, msg::GETCHAIN, FAMILY_INET, None, None)
    })?;
    for message in Messages::new(&objects) {
        let repr = ChainRepr::parse(message.payload)?;
        if repr.table == TABLE {
            chains.insert(
                repr.name.to_owned(),
                Chain {
                    name: repr.name.to_owned(),
                    base: repr.hook.and_then(|hook| base_chain(&hook)),
                    rules: Vec::new(),
                },
            );
        }
    }
    let objects = socket.dump("dumping rules", |w| {
        wire::emit_dump(w, msg::GETRULE, FAMILY_INET, Some(TABLE), None)
    })?;
    for message in Messages::new(&objects) {
        let repr = RuleRepr::parse(message.payload)?;
        if repr.table != TABLE {
            continue;
        }
        if let Some(chain) = chains.get_mut(repr.chain) {
            chain.rules.push(Rule {
                comment: repr.comment.to_owned(),
                exprs: repr.exprs.iter().map(expr::decode).collect(),
            });
        }
    }
    Ok(chains.into_values().collect())
}

fn dump_elements(socket: &mut Socket, set: &Set) -> Result<Vec<Element>, NetlinkError> {
    let objects = socket.dump("dumping elements", |w| {
        wire::emit_dump(
            w,
            msg::GETSETELEM,
            FAMILY_INET,
            Some(TABLE),
            Some(&set.name),
        )
    })?;
    let mut reprs = Vec::new();
    for message in Messages::new(&objects) {
        reprs.extend(wire::parse_elements(message.payload)?);
    }
    Ok(set::decode_elements(set, reprs))
}

fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

fn kind_name(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
        ChainKind::Route => "route",
    }
}

/// `None` for a hook that the model cannot say; the chain then differs from any of ours.
fn base_chain(hook: &HookRepr<'_>) -> Option<BaseChain> {
    Some(BaseChain {
        kind: [ChainKind::Filter, ChainKind::Nat, ChainKind::Route]
            .into_iter()
            .find(|kind| kind_name(*kind) == hook.kind)?,
        hook: [
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
        ]
        .into_iter()
        .find(|h| hook_number(*h) == hook.number)?,
        priority: hook.priority,
        policy: match hook.policy {
            0 => Policy::Drop,
            1 => Policy::Accept,
            _ => return None,
        },
    })
}
