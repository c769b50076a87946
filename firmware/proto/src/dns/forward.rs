//! The machine. See [`Forwarder`].

mod reply;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use embassy_time::{Duration, Instant};
use lintel_wire::dns::{HEADER_LEN, Name, Rcode};

use super::accept;
use super::answer::{self, Answer};
use super::ask::{Ask, Key, NotAnAsk};
use super::cache::Cache;
use super::config::Config;
use super::counters::{Counters, Reason};
use super::io::{Asker, Input, Output, SocketSlot, Transport, UpstreamStatus, Verdict};
use super::open::{
    ATTEMPTS_LIVE_MAX, Attempt, AttemptTable, OpenQuestion, OpenTable, Via, WAITERS_MAX, Waiter,
    query_message,
};
use super::upstream::{self, UPSTREAMS_MAX, Upstream, WAIT_TCP_MS};
use super::zone::Zones;
use crate::rng::Rng;

/// Questions that one address may have open. A browser that restores its tabs has about fifty.
const ASKER_OPEN_MAX: u16 = 100;

/// A question is given up after this long: stub resolvers give up after five seconds and would
/// not hear a later answer.
const QUESTION_MS_MAX: u64 = 4_500;

/// Messages sent for one question at most, over UDP and TCP, whatever upstreams do.
const ATTEMPTS_PER_QUESTION_MAX: u8 = 8;

/// A forwarding DNS server.
///
/// One question goes through these states:
///
/// ```text
///            local name or cached                     (RFC 1034 4.3.2, RFC 1035 7.4)
///  question ------------------------------> answered
///     |  same question open: wait with it
///     v
///   asked over UDP --- reply matches (RFC 5452 9.1) -----------> answered, kept, all told
///     |   |   |  \---- TC=1 (RFC 7766 5), letters in another
///     |   |   |        case, or too many misses --> asked over TCP --> answered
///     |   |   \------- FORMERR without OPT (RFC 6891 7) --> asked without EDNS
///     |   \----------- SERVFAIL, REFUSED, unreachable --> next upstream
///     \--------------- silence --> next upstream; the first may still answer
///   deadline, or nobody left to ask --> SERVFAIL, kept briefly (RFC 9520 3.2)
/// ```
///
/// A reply counts only if it came to the right socket from the address and port that was asked,
/// repeats the id and the question, and the question's letters in the case they were sent in. A
/// server that changes letters is found out over TCP, where nobody can forge blindly, and is then
/// asked in lower case for an hour.
pub struct Forwarder {
    config: Config,
    zones: Zones,
    cache: Cache,
    upstreams: Vec<Upstream>,
    open: OpenTable,
    attempts: AttemptTable,
    per_asker: BTreeMap<IpAddr, u16>,
    outputs: VecDeque<Output>,
    counters: Counters,
    /// No deadline is earlier than this.
    wake_at: Option<Instant>,
}

impl Forwarder {
    /// A forwarder with an empty cache.
    pub fn new(config: Config, rng: &mut dyn Rng) -> Self {
        Self {
            zones: Zones::new(&config),
            cache: Cache::new(config.cache_entries_max, config.cache_bytes_max, rng),
            upstreams: config
                .upstreams
                .iter()
                .take(UPSTREAMS_MAX)
                .copied()
                .map(Upstream::new)
                .collect(),
            config,
            open: OpenTable::default(),
            attempts: AttemptTable::default(),
            per_asker: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            wake_at: None,
        }
    }

    /// Serves `config` from now on. The cache stays unless what fills it changed; what was learned
    /// about upstreams that remain stays too; open questions go to the new ones.
    pub fn configure(&mut self, now: Instant, config: Config, rng: &mut dyn Rng) {
        if self.config == config {
            return;
        }
        let same_upstreams = self.config.upstreams == config.upstreams;
        let same_filter = self.config.rebind_protection == config.rebind_protection
            && self.config.rebind_allowed == config.rebind_allowed
            && self.config.networks == config.networks;
        if !same_upstreams || !same_filter {
            self.cache.clear();
        }
        self.cache
            .set_bounds(config.cache_entries_max, config.cache_bytes_max);
        self.zones = Zones::new(&config);
        self.config = config;
        if same_upstreams {
            return;
        }
        let known = std::mem::take(&mut self.upstreams);
        let wanted = self.config.upstreams.iter().take(UPSTREAMS_MAX);
        self.upstreams = wanted
            .map(|address| {
                known
                    .iter()
                    .find(|old| old.address == *address)
                    .cloned()
                    .unwrap_or_else(|| Upstream::new(*address))
            })
            .collect();
        let open: Vec<usize> = self.open.iter().map(|(at, _)| at).collect();
        for at in open {
            self.close_attempts(at);
            if let Some(question) = self.open.get_mut(at) {
                question.tried = 0;
            }
            self.ask_next(now, at, rng);
        }
    }

    /// Forgets every answer that is kept.
    pub fn flush(&mut self) {
        self.cache.clear();
    }

    /// Counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Answers that are kept and the octets they take.
    pub fn cache_size(&self) -> (usize, usize) {
        (self.cache.len(), self.cache.bytes())
    }

    /// Questions that are open.
    pub fn open_questions(&self) -> usize {
        self.open.len()
    }

    /// What is known about each upstream.
    pub fn upstream_status(&self) -> impl Iterator<Item = UpstreamStatus> {
        self.upstreams.iter().map(|upstream| UpstreamStatus {
            address: upstream.address,
            good: upstream.is_good(),
            srtt: upstream.srtt(),
        })
    }

    /// Takes the question `message` of `asker`; a reply that can be had at once is written into
    /// `reply`, which should have room for 65,535 octets over TCP and 1,232 over UDP.
    ///
    /// Allocates nothing when the cache or a local name answers.
    pub fn handle_query(
        &mut self,
        now: Instant,
        asker: Asker,
        message: &[u8],
        reply: &mut [u8],
        rng: &mut dyn Rng,
    ) -> Verdict {
        let ask = match Ask::read(message) {
            Ok(ask) => ask,
            Err(NotAnAsk::Silent(reason)) => {
                self.counters.drop(reason);
                return Verdict::Dropped;
            }
            Err(NotAnAsk::Refuse {
                id,
                flags,
                rcode,
                reason,
            }) => {
                self.counters.drop(reason);
                return verdict(answer::refusal(id, flags, rcode, reply).ok());
            }
        };
        self.counters.queries += 1;
        if let Some((answer, age_s)) = self.cache.get(now, ask.key.as_bytes()) {
            self.counters.cache_hits += 1;
            return verdict(answer.write(age_s, &ask, asker.transport, reply));
        }
        if let Some(len) = self.zones.answer(&ask, asker.transport, reply) {
            self.counters.local += 1;
            return Verdict::Reply(len);
        }
        match self.forward(now, asker, &ask, rng) {
            Ok(()) => Verdict::Waiting,
            Err((rcode, reason)) => {
                if let Some(reason) = reason {
                    self.counters.drop(reason);
                }
                if rcode == Rcode::SERVFAIL {
                    self.counters.failed += 1;
                }
                verdict(answer::bare(&ask, rcode, reply).ok())
            }
        }
    }

    /// Takes what came from upstream, or the end of an asker's connection.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>, rng: &mut dyn Rng) {
        match input {
            Input::UpstreamDatagram {
                slot,
                from,
                message,
            } => {
                self.reply(now, slot, Some(from), message, rng);
            }
            Input::UpstreamMessage { slot, message } => self.reply(now, slot, None, message, rng),
            Input::UpstreamFailed { slot } => {
                let Some(attempt) = self.close(slot) else {
                    return;
                };
                self.blame(now, attempt.upstream, attempt.blamed);
                self.ask_next(now, attempt.open, rng);
            }
            Input::AskerGone { connection } => {
                let gone = Transport::Tcp { connection };
                for question in self.open.iter_mut() {
                    question.waiters.retain(|waiter| {
                        if waiter.asker.transport == gone {
                            forget_asker(&mut self.per_asker, waiter.asker.peer.ip());
                        }
                        waiter.asker.transport != gone
                    });
                }
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        if self.wake_at.is_none_or(|at| at > now) {
            return;
        }
        let due: Vec<(usize, bool)> = self
            .open
            .iter()
            .filter(|(_, question)| question.next_at.min(question.deadline) <= now)
            .map(|(at, question)| (at, question.deadline <= now))
            .collect();
        for (at, is_over) in due {
            self.blame_silent(now, at);
            if is_over {
                self.fail(now, at);
            } else {
                self.ask_next(now, at, rng);
            }
        }
        self.wake_at = self
            .open
            .iter()
            .map(|(_, question)| question.next_at.min(question.deadline))
            .min();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        Output::Timeout(self.wake_at.filter(|_| self.open.len() > 0))
    }

    /// Opens a question, or joins one that is open.
    fn forward(
        &mut self,
        now: Instant,
        asker: Asker,
        ask: &Ask<'_>,
        rng: &mut dyn Rng,
    ) -> Result<(), (Rcode, Option<Reason>)> {
        if !ask.flags.recursion_desired {
            return Err((Rcode::REFUSED, Some(Reason::AskRefused)));
        }
        let hash = self.cache.hash(ask.key.as_bytes());
        let found = self.open.find(hash, ask.key.as_bytes());
        if let Some(question) = found.and_then(|at| self.open.get(at)) {
            // Stub resolvers repeat themselves every second or so.
            if question
                .waiters
                .iter()
                .any(|waiter| waiter.asker == asker && waiter.id == ask.id)
            {
                self.counters.coalesced += 1;
                return Ok(());
            }
            if question.waiters.len() >= WAITERS_MAX {
                return Err((Rcode::SERVFAIL, Some(Reason::TableFull)));
            }
        } else if self.upstreams.is_empty() {
            return Err((Rcode::SERVFAIL, None));
        }
        let asker_open = self.per_asker.entry(asker.peer.ip()).or_insert(0);
        if *asker_open >= ASKER_OPEN_MAX {
            return Err((Rcode::REFUSED, Some(Reason::AskerOverLimit)));
        }
        *asker_open += 1;
        if let Some(question) = found.and_then(|at| self.open.get_mut(at)) {
            question.waiters.push(Waiter::new(asker, ask));
            self.counters.coalesced += 1;
            return Ok(());
        }
        let opened =
            open_question(now, hash, asker, ask).and_then(|question| self.open.insert(question));
        let Some(at) = opened else {
            forget_asker(&mut self.per_asker, asker.peer.ip());
            return Err((Rcode::SERVFAIL, Some(Reason::TableFull)));
        };
        self.counters.forwarded += 1;
        self.ask_next(now, at, rng);
        Ok(())
    }

    /// Asks the next upstream, or gives up when there is nobody to ask and nothing to wait for.
    fn ask_next(&mut self, now: Instant, at: usize, rng: &mut dyn Rng) {
        let Some(question) = self.open.get(at) else {
            return;
        };
        let (waiting, sent, tried) = (!question.attempts.is_empty(), question.sent, question.tried);
        let chosen = upstream::choose(&self.upstreams, now, tried, rng);
        let is_again = chosen.is_some_and(|chosen| tried >> chosen & 1 == 1);
        // While one may still answer it is asked again; one that has just failed is not.
        match chosen {
            Some(chosen) if sent < ATTEMPTS_PER_QUESTION_MAX && (waiting || !is_again) => {
                self.send(now, at, chosen, Via::Udp, rng);
            }
            _ if waiting => {
                if let Some(question) = self.open.get_mut(at) {
                    question.next_at = question.deadline;
                }
            }
            _ => self.fail(now, at),
        }
    }

    /// Sends the question to one upstream, from a new port with a new id.
    fn send(&mut self, now: Instant, at: usize, chosen: usize, via: Via, rng: &mut dyn Rng) {
        let (Some(question), Some(upstream)) = (self.open.get_mut(at), self.upstreams.get(chosen))
        else {
            return;
        };
        let (cased, edns) = (upstream.keeps_case(now), upstream.takes_edns(now));
        let name = if cased {
            let mut bits = [0; 32];
            rng.fill(&mut bits);
            question.name.with_case_bits(&bits)
        } else {
            question.name.clone()
        };
        let mut id = [0; 2];
        rng.fill(&mut id);
        let id = u16::from_ne_bytes(id);
        let wait = match via {
            Via::Udp => upstream.wait(),
            Via::Tcp => Duration::from_millis(WAIT_TCP_MS),
        };
        let to = upstream.address;
        // A name of 255 octets, a header and OPT are 286 octets: they fit into 512.
        let Ok(message) = query_message(question, id, &name, edns) else {
            return;
        };
        let question_end = HEADER_LEN + question.question.len();
        let attempt = Attempt {
            open: at,
            upstream: chosen,
            via,
            id,
            question: message.get(HEADER_LEN..question_end).unwrap_or(&[]).into(),
            cased,
            edns,
            sent_at: now,
            blamed: false,
            misses: 0,
        };
        question.tried |= 1 << chosen;
        question.sent += 1;
        // Each message that goes unanswered doubles the patience.
        let doublings = u32::from(question.sent.saturating_sub(1).min(3));
        question.next_at = now.saturating_add(wait * (1 << doublings) / 2 + wait / 2);
        let wake_at = question.next_at.min(question.deadline);
        self.wake_at = Some(self.wake_at.map_or(wake_at, |at| at.min(wake_at)));
        if question.attempts.len() == ATTEMPTS_LIVE_MAX {
            let oldest = question.attempts.remove(0);
            self.close_slot(oldest);
        }
        let Some(slot) = self.attempts.insert(attempt) else {
            return;
        };
        if let Some(question) = self.open.get_mut(at) {
            // Room was made above.
            let _ = question.attempts.push(slot);
        }
        self.counters.attempts += 1;
        self.outputs.push_back(match via {
            Via::Udp => Output::SendDatagram { slot, to, message },
            Via::Tcp => {
                self.counters.tcp_attempts += 1;
                Output::SendStream { slot, to, message }
            }
        });
    }

    /// Gives a question up.
    fn fail(&mut self, now: Instant, at: usize) {
        let Some(question) = self.open.get(at) else {
            return;
        };
        let answer = accept::failure(&question.question, question.said_failed);
        self.counters.failed += 1;
        self.finish(now, at, answer);
    }

    /// Keeps the answer and tells everybody who waits.
    fn finish(&mut self, now: Instant, at: usize, answer: Answer) {
        self.close_attempts(at);
        let Some(question) = self.open.remove(at) else {
            return;
        };
        for waiter in &question.waiters {
            forget_asker(&mut self.per_asker, waiter.asker.peer.ip());
            let limit = answer::message_len_max(waiter.edns, waiter.asker.transport);
            let mut message = vec![0; limit.min(answer.message.len() + 64)];
            let Some(key) = Key::from_bytes(&question.key) else {
                continue;
            };
            let ask = Ask {
                id: waiter.id,
                flags: waiter.flags,
                question: &waiter.question,
                rr_type: question.rr_type,
                edns: waiter.edns,
                key,
            };
            if let Some(len) = answer.write(0, &ask, waiter.asker.transport, &mut message) {
                message.truncate(len);
                self.outputs.push_back(Output::Reply {
                    asker: waiter.asker,
                    message,
                });
            }
        }
        self.cache.insert(now, &question.key, answer);
    }

    fn close(&mut self, slot: SocketSlot) -> Option<Attempt> {
        let attempt = self.close_slot(slot)?;
        if let Some(question) = self.open.get_mut(attempt.open) {
            question.attempts.retain(|other| *other != slot);
        }
        Some(attempt)
    }

    fn close_slot(&mut self, slot: SocketSlot) -> Option<Attempt> {
        let attempt = self.attempts.remove(slot)?;
        self.outputs.push_back(Output::Close { slot });
        Some(attempt)
    }

    fn close_attempts(&mut self, at: usize) {
        let slots = self
            .open
            .get_mut(at)
            .map(|question| std::mem::take(&mut question.attempts));
        for slot in slots.unwrap_or_default() {
            self.close_slot(slot);
        }
    }
}

fn open_question(now: Instant, hash: u64, asker: Asker, ask: &Ask<'_>) -> Option<OpenQuestion> {
    let name = Name::from_wire(ask.key.name()).ok()?;
    let mut question = ask.question.to_vec();
    question
        .get_mut(..name.wire_len())?
        .copy_from_slice(name.as_bytes());
    Some(OpenQuestion {
        hash,
        key: ask.key.as_bytes().into(),
        question: question.into(),
        name,
        rr_type: ask.rr_type,
        dnssec_ok: ask.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: ask.flags.checking_disabled,
        waiters: vec![Waiter::new(asker, ask)],
        attempts: heapless::Vec::new(),
        tried: 0,
        sent: 0,
        said_failed: false,
        next_at: now,
        deadline: now.saturating_add(Duration::from_millis(QUESTION_MS_MAX)),
    })
}

fn forget_asker(per_asker: &mut BTreeMap<IpAddr, u16>, address: IpAddr) {
    if let Some(count) = per_asker.get_mut(&address) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            per_asker.remove(&address);
        }
    }
}

fn verdict(len: Option<usize>) -> Verdict {
    len.map_or(Verdict::Dropped, Verdict::Reply)
}
