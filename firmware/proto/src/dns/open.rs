//! Questions that upstream has not answered yet, who waits for them, and what was sent.

use embassy_time::Instant;
use hashbrown::HashTable;
use lintel_wire::dns::{Class, EdnsRepr, Error, Flags, Name, Rcode, RrType, UDP_EDNS_LEN, Writer};

use super::ask::{Ask, AskEdns};
use super::io::{Asker, SocketSlot};

/// Questions open at a time. A household's burst is some dozens; each costs a socket.
pub const OPEN_QUESTIONS_MAX: usize = 256;

/// Messages on their way at a time, each with its own socket or stream: two for each question,
/// since a slow upstream may still answer while another is asked.
pub const ATTEMPTS_MAX: usize = 2 * OPEN_QUESTIONS_MAX;

/// Messages of one question that may still be answered. More would help a forger more than us
/// (RFC 5452, 5: equal questions in flight multiply the chances).
pub const ATTEMPTS_LIVE_MAX: usize = 3;

/// Askers that may wait for one question; a further one is told to ask later.
pub(super) const WAITERS_MAX: usize = 64;

/// Somebody who waits for an answer.
pub(super) struct Waiter {
    pub(super) asker: Asker,
    pub(super) id: u16,
    pub(super) flags: Flags,
    pub(super) question: Box<[u8]>,
    pub(super) edns: Option<AskEdns>,
}

impl Waiter {
    pub(super) fn new(asker: Asker, ask: &Ask<'_>) -> Self {
        Self {
            asker,
            id: ask.id,
            flags: ask.flags,
            question: ask.question.into(),
            edns: ask.edns,
        }
    }
}

/// A question that is open.
pub(super) struct OpenQuestion {
    pub(super) hash: u64,
    pub(super) key: Box<[u8]>,
    /// Name (lower case), type and class.
    pub(super) question: Box<[u8]>,
    pub(super) name: Name,
    pub(super) rr_type: RrType,
    pub(super) dnssec_ok: bool,
    pub(super) checking_disabled: bool,
    pub(super) waiters: Vec<Waiter>,
    pub(super) attempts: heapless::Vec<SocketSlot, ATTEMPTS_LIVE_MAX>,
    /// Upstreams that were asked, a bit each.
    pub(super) tried: u32,
    /// Messages sent so far.
    pub(super) sent: u8,
    /// An upstream said that it failed, rather than nothing.
    pub(super) said_failed: bool,
    /// When somebody else is asked.
    pub(super) next_at: Instant,
    /// When it is given up.
    pub(super) deadline: Instant,
}

/// How a message went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Udp,
    Tcp,
}

/// A message on its way to an upstream.
pub(super) struct Attempt {
    pub(super) open: usize,
    pub(super) upstream: usize,
    pub(super) via: Via,
    pub(super) id: u16,
    /// The question as it was sent, letters in their random case.
    pub(super) question: Box<[u8]>,
    pub(super) cased: bool,
    pub(super) edns: bool,
    pub(super) sent_at: Instant,
    /// Its upstream was already blamed for silence.
    pub(super) blamed: bool,
    /// Replies that came to its socket and were not its own.
    pub(super) misses: u8,
}

/// The table of open questions: by index, and by key.
#[derive(Default)]
pub(super) struct OpenTable {
    list: Vec<Option<OpenQuestion>>,
    by_key: HashTable<usize>,
}

impl OpenTable {
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same = |at: &usize| self.get(*at).is_some_and(|open| *open.key == *key);
        self.by_key.find(hash, same).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Takes a question in; `None` when the table is full.
    pub(super) fn insert(&mut self, open: OpenQuestion) -> Option<usize> {
        if self.len() >= OPEN_QUESTIONS_MAX {
            return None;
        }
        let at = self
            .list
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.list.push(None);
                self.list.len() - 1
            });
        let hash = open.hash;
        self.list[at] = Some(open);
        let list = &self.list;
        self.by_key.insert_unique(hash, at, |at| {
            list[*at].as_ref().map_or(0, |open| open.hash)
        });
        Some(at)
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<OpenQuestion> {
        let open = self.list.get_mut(at)?.take()?;
        if let Ok(found) = self.by_key.find_entry(open.hash, |other| *other == at) {
            found.remove();
        }
        Some(open)
    }

    pub(super) fn get(&self, at: usize) -> Option<&OpenQuestion> {
        self.list.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut OpenQuestion> {
        self.list.get_mut(at)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &OpenQuestion)> {
        self.list
            .iter()
            .enumerate()
            .filter_map(|(at, open)| Some((at, open.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenQuestion> {
        self.list.iter_mut().flatten()
    }
}

/// Messages on their way, by slot. A slot that is used again has another generation.
#[derive(Default)]
pub(super) struct AttemptTable {
    list: Vec<(u16, Option<Attempt>)>,
}

impl AttemptTable {
    pub(super) fn insert(&mut self, attempt: Attempt) -> Option<SocketSlot> {
        let index = match self.list.iter().position(|(_, attempt)| attempt.is_none()) {
            Some(index) => index,
            None if self.list.len() < ATTEMPTS_MAX => {
                self.list.push((0, None));
                self.list.len() - 1
            }
            None => return None,
        };
        let (generation, place) = &mut self.list[index];
        *generation = generation.wrapping_add(1);
        *place = Some(attempt);
        Some(SocketSlot {
            index: index as u16,
            generation: *generation,
        })
    }

    pub(super) fn get_mut(&mut self, slot: SocketSlot) -> Option<&mut Attempt> {
        match self.list.get_mut(usize::from(slot.index))? {
            (generation, attempt) if *generation == slot.generation => attempt.as_mut(),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, slot: SocketSlot) -> Option<Attempt> {
        match self.list.get_mut(usize::from(slot.index))? {
            (generation, attempt) if *generation == slot.generation => attempt.take(),
            _ => None,
        }
    }
}

/// The message that asks an upstream. No option of the asker goes along: what it says about
/// itself (RFC 7871) stays in the house.
pub(super) fn query_message(
    open: &OpenQuestion,
    id: u16,
    name: &Name,
    edns: bool,
) -> Result<Vec<u8>, Error> {
    let flags = Flags {
        checking_disabled: open.checking_disabled,
        ..Flags::QUERY
    };
    let mut buffer = [0; lintel_wire::dns::UDP_PLAIN_LEN];
    let mut writer = Writer::new(&mut buffer, id, flags, Rcode::NOERROR)?;
    writer.question(name, open.rr_type, Class::IN)?;
    if edns {
        let edns = EdnsRepr {
            udp_len: UDP_EDNS_LEN as u16,
            version: 0,
            dnssec_ok: open.dnssec_ok,
            options: Vec::new(),
        };
        edns.emit(&mut writer, Rcode::NOERROR)?;
    }
    let len = writer.finish();
    Ok(buffer[..len].to_vec())
}
