//! The kernel as the planner sees it: one look, one step.
//!
//! Identity everywhere is the kernel's own key: a link's name, an address with its length on its
//! link, a route's destination, metric and table. Steps are not undone here: a plan that fails ends,
//! and the planner makes a new one from a fresh look.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;

use lintel_model::desired::SocketSpec;
use lintel_model::nft::{
    BaseChain, Chain, ChainKind, CmpOp, Expr, Hook, MetaKey, Policy, Rule, TABLE, Table,
    Transaction, Verdict,
};
use lintel_model::observed::{ForeignObject, ObservedState};
use lintel_model::preview::{MessagePreview, StepPreview};
use lintel_model::step::Action;
use lintel_wire::ct::FlowRepr;
use lintel_wire::nl::{Message, Messages};
use neli::consts::socket::NlFamily;

use crate::error::{NetlinkError, Refusal};
use crate::nft::{self, EncodeError};
use crate::route::{self, LinkChange};
use crate::socket::Socket;
use crate::{flows, packet, sysctl};

/// Why a step was not done. Its text is meant for the log and for `StepError`.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    /// The kernel refused, or could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The batch has no form in the kernel.
    #[error("the ruleset cannot be said to the kernel")]
    Encode(#[from] EncodeError),
    /// The ruleset changed since it was last looked at; another look will show how.
    #[error("somebody else changed the ruleset: {0}")]
    Stale(Refusal),
    /// Parts of the batch were refused; nothing of it was done. The first is named.
    #[error("{first}{}", others(*.more))]
    Batch {
        /// The first message that was refused.
        first: Refusal,
        /// How many others were.
        more: usize,
    },
    /// A sysctl could not be written.
    #[error("writing {path}")]
    Sysctl {
        /// Below /proc/sys.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A packet socket could not be opened.
    #[error("opening a socket on {link}")]
    Packet {
        /// The link.
        link: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

impl StepFailure {
    /// The kernel's number, positive.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Netlink(error) => error.errno(),
            Self::Encode(_) => libc::EINVAL,
            Self::Stale(refusal) | Self::Batch { first: refusal, .. } => refusal.errno,
            Self::Sysctl { source, .. } | Self::Packet { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
        }
    }
}

/// What a step left to be done outside of the kernel.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    Done,
    /// A socket to hand over.
    Opened {
        /// What it is.
        spec: SocketSpec,
        /// Kernel index of its link.
        index: u32,
        /// The socket.
        fd: OwnedFd,
    },
    /// A socket to close and to tell its user about.
    Close(SocketSpec),
}

/// The way to the kernel: one socket for routing, one for nf_tables.
#[derive(Debug)]
pub struct Kernel {
    route: Socket,
    nft: Socket,
    /// The ruleset's generation when it was last looked at or changed by us.
    generation: Option<u32>,
    writes: u64,
}

impl Kernel {
    /// Opens the sockets in this thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`]; needs `CAP_NET_ADMIN`.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            route: Socket::open(NlFamily::Route)?,
            nft: Socket::open(NlFamily::Netfilter)?,
            generation: None,
            writes: 0,
        })
    }

    /// Messages and values sent so far to change something, refused ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Looks at everything; `sysctls` are the paths to read. `sockets` is left empty: whoever holds
    /// them knows.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn observe(&mut self, sysctls: &[String]) -> Result<ObservedState, NetlinkError> {
        let network = route::observe(&mut self.route)?;
        let ruleset = nft::observe(&mut self.nft)?;
        self.generation = Some(ruleset.generation);
        let mut foreign = network.foreign;
        foreign.extend(ruleset.foreign.iter().map(|(family, name)| ForeignObject {
            kind: "nft table".to_owned(),
            text: format!("{} {name}", family_name(*family)),
        }));
        foreign.sort();
        Ok(ObservedState {
            links: network.links,
            addresses: network.addresses,
            routes: network.routes,
            sysctls: sysctl::read_all(sysctls),
            nft: ruleset.table,
            sockets: Vec::new(),
            foreign,
        })
    }

    /// Does one step.
    ///
    /// # Errors
    /// [`StepFailure`]; the step was then not done, or for a link perhaps in part.
    pub fn execute(&mut self, action: &Action) -> Result<Effect, StepFailure> {
        match action {
            Action::Nft(transaction) => self.transact(transaction)?,
            Action::OpenSocket(spec) => return self.open_socket(spec),
            Action::CloseSocket(spec) => return Ok(Effect::Close(spec.clone())),
            Action::SetSysctl(spec) => {
                self.writes += 1;
                sysctl::write(spec).map_err(|source| StepFailure::Sysctl {
                    path: spec.path.clone(),
                    source,
                })?;
            }
            action => {
                self.writes += 1;
                change_network(&mut self.route, action)?;
            }
        }
        Ok(Effect::Done)
    }

    /// What a step would send, without sending it.
    pub fn preview(&mut self, action: &Action) -> StepPreview {
        let (failure, sent) = match action {
            Action::OpenSocket(spec) => {
                return note(format!("A packet socket is opened on {}.", spec.link));
            }
            Action::CloseSocket(spec) => {
                return note(format!("The packet socket on {} is closed.", spec.link));
            }
            Action::SetSysctl(spec) => {
                return note(format!("/proc/sys/{} = {}", spec.path, spec.value));
            }
            Action::Nft(transaction) => {
                let batch = nft::encode(self.nft.writer(), self.generation, transaction);
                match batch.map(|batch| batch.writer().finish().map(<[u8]>::to_vec)) {
                    Ok(Ok(bytes)) => (None, bytes),
                    Ok(Err(error)) => (Some(NetlinkError::from(error).into()), Vec::new()),
                    Err(error) => (Some(error.into()), Vec::new()),
                }
            }
            action => {
                let recorded = self.route.recording(|route| change_network(route, action));
                (recorded.0.err().map(StepFailure::from), recorded.1)
            }
        };
        let name = match action {
            Action::Nft(_) => lintel_wire::nft::kind_name,
            _ => lintel_wire::rtnl::kind_name,
        };
        let messages = Messages::new(&sent).map(|message| shown(&message, name(message.kind)));
        StepPreview {
            messages: messages.collect(),
            omitted: 0,
            note: failure
                .map(|failure| format!("Not known before the steps before it are done: {failure}")),
        }
    }

    /// Every flow that the kernel tracks.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn flows(&mut self) -> Result<Vec<FlowRepr>, NetlinkError> {
        flows::observe(&mut self.nft)
    }

    /// Whether the kernel would take this table: judged by it, and forgotten again.
    ///
    /// # Errors
    /// [`StepFailure`], the kernel's refusal among them.
    pub fn try_table(&mut self, table: &Table) -> Result<(), StepFailure> {
        let transaction = Transaction::ReplaceTable(table.clone());
        let batch = nft::encode_open(self.nft.writer(), None, &transaction)?;
        let errors = self.nft.batch(batch.writer())?;
        let more = errors.len().saturating_sub(1);
        match errors.into_iter().next() {
            None => Ok(()),
            Some((seq, ack)) => {
                let first = Refusal::new(format!("{TABLE}: {}", batch.subject(seq)), ack);
                Err(StepFailure::Batch { first, more })
            }
        }
    }

    /// Whether the kernel knows links of this kind: it is asked for one that cannot be.
    ///
    /// # Errors
    /// [`StepFailure`], the kernel's refusal among them.
    pub fn try_link_kind(&mut self, kind: &str) -> Result<(), StepFailure> {
        Ok(route::try_link_kind(&mut self.route, kind)?)
    }

    /// Closes the box when it has no table of ours yet: nothing comes in or through until the
    /// planner's table replaces this one. Returns whether that was so.
    ///
    /// # Errors
    /// [`StepFailure`].
    pub fn close_unless_ruled(&mut self) -> Result<bool, StepFailure> {
        let ruleset = nft::observe(&mut self.nft)?;
        self.generation = Some(ruleset.generation);
        if ruleset.table.is_some() {
            return Ok(false);
        }
        self.transact(&Transaction::ReplaceTable(closed_table()))?;
        Ok(true)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<(), StepFailure> {
        let batch = nft::encode(self.nft.writer(), self.generation, transaction)?;
        self.writes += batch.writes();
        let errors = self.nft.batch(batch.writer())?;
        let more = errors.len().saturating_sub(1);
        let Some((seq, ack)) = errors.into_iter().next() else {
            // The kernel counts one for each batch and leaves 0 out.
            self.generation = self.generation.map(|g| g.wrapping_add(1).max(1));
            return Ok(());
        };
        let first = Refusal::new(format!("{TABLE}: {}", batch.subject(seq)), ack);
        if first.errno == libc::ERESTART {
            return Err(StepFailure::Stale(first));
        }
        Err(StepFailure::Batch { first, more })
    }

    fn open_socket(&mut self, spec: &SocketSpec) -> Result<Effect, StepFailure> {
        let index = route::index_of(&mut self.route, &spec.link)?;
        let fd = packet::open(spec.kind, index).map_err(|source| StepFailure::Packet {
            link: spec.link.to_string(),
            source,
        })?;
        Ok(Effect::Opened {
            spec: spec.clone(),
            index,
            fd,
        })
    }
}

fn change_network(socket: &mut Socket, action: &Action) -> Result<(), NetlinkError> {
    match action {
        Action::CreateBridge { name, mac } => route::create_bridge(socket, name, *mac),
        Action::DeleteLink { name } => route::delete_link(socket, name),
        Action::SetLink {
            name,
            up,
            master,
            mtu,
            mac,
        } => {
            let change = LinkChange {
                up: *up,
                master: master.as_ref().map(Option::as_ref),
                mtu: *mtu,
                mac: *mac,
            };
            route::set_link(socket, name, &change)
        }
        Action::AddAddress(spec) => route::add_address(socket, spec),
        Action::DeleteAddress(spec) => route::delete_address(socket, spec),
        Action::ReplaceRoute(spec) => route::replace_route(socket, spec),
        Action::DeleteRoute(spec) => route::delete_route(socket, spec),
        // `execute` does these itself.
        Action::Nft(_) | Action::OpenSocket(_) | Action::CloseSocket(_) | Action::SetSysctl(_) => {
            Ok(())
        }
    }
}

/// A step that says nothing by netlink.
fn note(note: String) -> StepPreview {
    StepPreview {
        note: Some(note),
        ..StepPreview::default()
    }
}

fn shown(message: &Message<'_>, kind: &str) -> MessagePreview {
    let mut payload = String::with_capacity(2 * message.payload.len());
    for octet in message.payload {
        // Writing into a text does not fail.
        let _ = write!(payload, "{octet:02x}");
    }
    MessagePreview {
        kind: kind.to_owned(),
        number: message.kind,
        flags: message.flags,
        payload,
    }
}

/// Nothing in but from this box itself, nothing through.
#[must_use]
pub fn closed_table() -> Table {
    let closed = |name: &str, hook, rules| Chain {
        name: name.to_owned(),
        base: Some(BaseChain {
            kind: ChainKind::Filter,
            hook,
            priority: 0,
            policy: Policy::Drop,
        }),
        rules,
    };
    let mut lo = b"lo".to_vec();
    lo.resize(16, 0);
    let loopback = Rule {
        comment: "this box itself".to_owned(),
        exprs: vec![
            Expr::Meta {
                key: MetaKey::Iifname,
                dreg: 1,
            },
            Expr::Cmp {
                op: CmpOp::Eq,
                sreg: 1,
                data: lo,
            },
            Expr::Verdict(Verdict::Accept),
        ],
    };
    Table {
        chains: vec![
            closed("forward", Hook::Forward, Vec::new()),
            closed("input", Hook::Input, vec![loopback]),
        ],
        sets: Vec::new(),
    }
}

/// `NFPROTO_*` as nft names it.
fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}
