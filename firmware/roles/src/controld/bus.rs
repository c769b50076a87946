//! The bus: what happens on the box, numbered, kept for a while, and told to whoever listens.
//!
//! ```text
//!   tell ──► one by one while they are few ──► history (bounded) ──► webd's streams
//!            counted, and told as one, else                     └──► watchers at the socket
//! ```
//!
//! An event's number never comes again: numbers are set aside in the store in blocks, and a block
//! never begins below the wall clock, so that a database that was restored, or one in memory alone,
//! gives no old ones either. Who says which it saw last is told what came after it, or that this is
//! no longer known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use embassy_time::{Duration, Instant};
use lintel_api::types::{BusStatus, Event, EventEntry, EventsParams, Page, PageParams};
use lintel_ipc::call::{Problem, Reply};
use lintel_ipc::webd::{Happened, ToWebd};
use lintel_model::RoleName;
use lintel_model::facts::Notice;
use serde_json::{Value, json};

use super::calls::problem;
use super::config_calls::{bad_cursor, page_limit};
use super::core::{Core, Now, Output};

/// Events kept: an hour of a busy evening.
const HISTORY_EVENTS_MAX: usize = 512;
/// The same in octets of JSON: texts may be long.
const HISTORY_BYTES_MAX: usize = 256 << 10;
/// Events of one topic that are told one by one in [`WINDOW`]: a whole household that comes back
/// after a power cut, and no flood of a device that asks for address after address.
const TOPIC_EVENTS_MAX: u64 = 64;
/// See there.
const WINDOW: Duration = Duration::from_secs(10);
/// Between two messages to who listens: what happens together is told together.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Numbers set aside in one write: some days' of them. As many as four seconds of the clock, so that
/// only a box that restarts every four seconds runs ahead of it.
const BLOCK_EVENTS: u64 = 1 << 12;
/// Numbers for each second of the wall clock: more than are told in one.
const EVENTS_A_SECOND: u64 = 1 << 10;
/// Connections of the control socket that may listen; half of them all.
const WATCHERS_MAX: usize = 8;

/// What is kept of it.
#[derive(Debug, Default)]
pub(super) struct Bus {
    next: u64,
    /// The first number that is not set aside.
    reserved: u64,
    kept: VecDeque<(EventEntry, usize)>,
    bytes: usize,
    /// Kept, and not told yet.
    untold: usize,
    due: Option<Instant>,
    gates: BTreeMap<&'static str, Gate>,
    told: BTreeMap<&'static str, u64>,
    skipped: u64,
    watchers: BTreeSet<u64>,
    streams: u32,
    /// Notices as they were told.
    notices: Vec<Notice>,
}

/// How many of a topic were told in the window that is open.
#[derive(Debug)]
struct Gate {
    until: Instant,
    events: u64,
}

impl Bus {
    /// When [`Core::send_events`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let skips = self.gates.values().filter(|gate| gate.skipped() > 0);
        skips.map(|gate| gate.until).chain(self.due).min()
    }

    /// Whether an event of this topic is told by itself.
    fn admit(&mut self, now: Instant, topic: &'static str) -> bool {
        let gate = self.gates.entry(topic).or_insert(Gate {
            until: now + WINDOW,
            events: 0,
        });
        if gate.until <= now && gate.skipped() == 0 {
            gate.until = now + WINDOW;
            gate.events = 0;
        }
        gate.events += 1;
        gate.skipped() == 0
    }

    fn keep(&mut self, entry: EventEntry) {
        // An event that cannot be written is none; its fields are texts and numbers.
        let bytes = serde_json::to_vec(&entry).map_or(0, |octets| octets.len());
        *self.told.entry(entry.event.topic()).or_default() += 1;
        self.kept.push_back((entry, bytes));
        self.bytes += bytes;
        self.untold += 1;
        while self.kept.len() > HISTORY_EVENTS_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some((_, bytes)) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
        self.untold = self.untold.min(self.kept.len());
    }

    /// What is kept after the event that was seen last; `None` when that is no longer known.
    fn since(&self, seen: u64) -> Option<Vec<Happened>> {
        let told = self.kept.len() - self.untold;
        let kept = || self.kept.iter().take(told).map(|(entry, _)| entry);
        let known = match (kept().next(), kept().next_back()) {
            (Some(oldest), Some(newest)) => (oldest.id..=newest.id + 1).contains(&(seen + 1)),
            _ => false,
        };
        known.then(|| kept().filter(|e| e.id > seen).map(happened).collect())
    }
}

impl Gate {
    fn skipped(&self) -> u64 {
        self.events.saturating_sub(TOPIC_EVENTS_MAX)
    }
}

fn happened(entry: &EventEntry) -> Happened {
    Happened {
        id: entry.id,
        topic: entry.event.topic().to_owned(),
        data: serde_json::to_value(entry).unwrap_or(Value::Null),
    }
}

impl Core {
    /// Something happened.
    pub(super) fn tell(&mut self, now: Now, event: Event) {
        if self.bus.admit(now.mono, event.topic()) {
            self.put(now, event);
        }
    }

    /// A number that nothing else has had.
    pub(super) fn event_number(&mut self, now: Now) -> u64 {
        if self.bus.next >= self.bus.reserved {
            let floor = now.unix_s.saturating_mul(EVENTS_A_SECOND);
            let floor = floor.max(self.bus.next);
            let first = self.stored("numbering events", |store| {
                store.reserve_events(floor, BLOCK_EVENTS)
            });
            self.bus.next = first.unwrap_or(floor);
            self.bus.reserved = self.bus.next + BLOCK_EVENTS;
        }
        self.bus.next += 1;
        self.bus.next - 1
    }

    fn put(&mut self, now: Now, event: Event) {
        let id = self.event_number(now);
        self.bus.keep(EventEntry {
            id,
            unix_s: now.unix_s,
            uptime_ms: now.mono.as_millis(),
            event,
        });
        self.bus.due.get_or_insert(now.mono + TELL_EVERY);
    }

    /// Tells what has gathered.
    pub(super) fn send_events(&mut self, now: Now) {
        let over = |gate: &Gate| gate.until <= now.mono && gate.skipped() > 0;
        let gates = self.bus.gates.iter_mut().filter(|(_, gate)| over(gate));
        let skips: Vec<(&str, u64)> = gates
            .map(|(topic, gate)| {
                let skipped = gate.skipped();
                gate.events = 0;
                gate.until = now.mono + WINDOW;
                (*topic, skipped)
            })
            .collect();
        for (topic, events) in skips {
            self.bus.skipped += events;
            let topic = topic.to_owned();
            self.put(now, Event::Skipped { topic, events });
        }
        if self.bus.due.is_none_or(|due| due > now.mono) {
            return;
        }
        self.bus.due = None;
        let told = self.bus.kept.len() - std::mem::take(&mut self.bus.untold);
        let new = self.bus.kept.iter().skip(told);
        let new: Vec<Happened> = new.map(|(entry, _)| happened(entry)).collect();
        if self.up.contains(&RoleName::Webd) {
            self.say(Output::Webd(ToWebd::Events(new.clone())));
        }
        if !self.bus.watchers.is_empty() {
            self.say(Output::Events(new));
        }
    }

    /// webd begins with what happened of late.
    pub(super) fn send_history(&mut self) {
        let told = self.bus.kept.len() - self.bus.untold;
        let kept = self.bus.kept.iter().take(told);
        let kept = kept.map(|(entry, _)| happened(entry)).collect();
        self.say(Output::Webd(ToWebd::History(kept)));
    }

    /// A connection of the control socket listens from now on: its answer says what it missed since
    /// the event that it saw last, if it says which.
    pub(super) fn watch(&mut self, connection: u64, id: u64, last: Option<u64>) {
        let full = self.bus.watchers.len() >= WATCHERS_MAX;
        let result = if full && !self.bus.watchers.contains(&connection) {
            Err(problem(
                503,
                "busy",
                "Too many listen already",
                "End one of them, or try again later.",
            ))
        } else {
            self.bus.watchers.insert(connection);
            let missed = last.map(|last| self.bus.since(last));
            Ok(json!({
                "gone": missed == Some(None),
                "newest": self.bus.kept.back().map(|(entry, _)| entry.id),
                "missed": missed.flatten().unwrap_or_default(),
            }))
        };
        let reply = Reply {
            id,
            result,
            set_session: None,
        };
        self.say(Output::Control {
            connection,
            reply: Box::new(reply),
        });
    }

    /// A connection of the control socket is gone.
    pub(super) fn unwatch(&mut self, connection: u64) {
        self.bus.watchers.remove(&connection);
    }

    /// webd says how many listen there.
    pub(super) fn streams(&mut self, streams: u32) {
        self.bus.streams = streams;
    }

    /// Compares the notices with those that were told.
    pub(super) fn announce_notices(&mut self, now: Now) {
        let planned = self.observed.iter().flat_map(|_| &self.resolved.notices);
        let notices = || planned.clone().chain(self.own_notices.values());
        if notices().eq(&self.bus.notices) {
            return;
        }
        let new: Vec<Notice> = notices().cloned().collect();
        let old = std::mem::replace(&mut self.bus.notices, new.clone());
        for notice in new.iter().filter(|notice| !old.contains(notice)) {
            let notice = notice.clone();
            self.tell(
                now,
                Event::NoticeRaised {
                    code: notice.code,
                    severity: notice.severity,
                    text: notice.text,
                },
            );
        }
        for notice in old.into_iter().filter(|notice| !new.contains(notice)) {
            let (code, text) = (notice.code, notice.text);
            self.tell(now, Event::NoticeCleared { code, text });
        }
    }

    pub(super) fn bus_status(&self) -> BusStatus {
        let bus = &self.bus;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        BusStatus {
            newest: bus.kept.back().map(|(entry, _)| entry.id),
            oldest: bus.kept.front().map(|(entry, _)| entry.id),
            kept: count(bus.kept.len()),
            kept_max: count(HISTORY_EVENTS_MAX),
            kept_bytes: bus.bytes as u64,
            kept_bytes_max: HISTORY_BYTES_MAX as u64,
            told: bus
                .told
                .iter()
                .map(|(t, n)| ((*t).to_owned(), *n))
                .collect(),
            skipped: bus.skipped,
            streams: bus.streams,
            watchers: count(bus.watchers.len()),
        }
    }

    /// The newest first.
    pub(super) fn bus_events(&self, params: EventsParams) -> Result<Page<EventEntry>, Problem> {
        let limit = page_limit(&PageParams {
            limit: params.limit,
            cursor: None,
        });
        let before: u64 = match &params.cursor {
            None => u64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let wanted = |entry: &&EventEntry| {
            let topic = entry.event.topic();
            entry.id < before && params.topic.as_ref().is_none_or(|wanted| wanted == topic)
        };
        let kept = self.bus.kept.iter().rev().map(|(entry, _)| entry);
        let mut kept = kept.filter(wanted);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let items: Vec<EventEntry> = kept.by_ref().take(limit).cloned().collect();
        let more = kept.next().is_some();
        let next = items.last().filter(|_| more).map(|e| e.id.to_string());
        Ok(Page { items, next })
    }
}
