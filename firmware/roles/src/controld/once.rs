//! Calls on a condition: once for each key, and only while a revision is in force.
//!
//! A client that lost an answer cannot know whether its call was done. With `Idempotency-Key` it
//! calls again and gets the answer of the first time. What was refused changed nothing, and is
//! tried anew. Kept in memory: a restart of the box forgets the keys, and the hour is longer than
//! any client tries.

use std::collections::VecDeque;

use embassy_time::{Duration, Instant};
use lintel_api::Method;
use lintel_ipc::call::{Caller, Origin, Problem};
use serde_json::Value;

use super::auth;
use super::calls::{bad_field, problem};
use super::core::{Core, Now, Waiter};

/// Keys that are remembered; the oldest goes first. A household's scripts make a few an hour.
const KEYS_ENTRIES_MAX: usize = 64;
/// How long a key is remembered.
const KEY_KEPT: Duration = Duration::from_secs(3600);
/// Longest key, characters.
const KEY_CHARS_MAX: usize = 128;
/// Longest answer that is kept, octets; with the entries above, 4 MiB in the worst case. A plan
/// of a hundred steps has 10 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What became of the calls with keys.
#[derive(Debug, Default)]
pub(super) struct Once {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// SHA-256 of caller, method and key.
    key: [u8; 32],
    /// SHA-256 of the parameters.
    params: [u8; 32],
    made: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay(Waiter),
    Done(Value),
    /// Done, with an answer that was too long.
    DoneUnkept,
}

impl Core {
    /// What a call with a key is answered without being done: `None` when it is to be done.
    pub(super) fn done_before(
        &mut self,
        now: Now,
        waiter: Waiter,
        method: &Method,
        caller: &Caller,
        params: &mut Value,
    ) -> Option<Result<Value, Problem>> {
        let key = taken(method, params, "idempotency_key")?;
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return Some(Err(bad_field(
                "idempotency_key",
                "it is empty or too long",
                &format!("use 1 to {KEY_CHARS_MAX} characters, such as a random UUID"),
            )));
        }
        let who = match (caller.origin, &caller.token) {
            (Origin::Local, _) => "local",
            (Origin::Web, token) => token.as_deref().unwrap_or_default(),
        };
        let key = auth::sha256(format!("{who}\n{}\n{key}", method.name).as_bytes());
        let digest = auth::sha256(params.to_string().as_bytes());
        self.once
            .entries
            .retain(|entry| entry.made + KEY_KEPT > now.mono);
        let Some(entry) = self.once.entries.iter().find(|entry| entry.key == key) else {
            if self.once.entries.len() >= KEYS_ENTRIES_MAX {
                self.once.entries.pop_front();
            }
            self.once.entries.push_back(Entry {
                key,
                params: digest,
                made: now.mono,
                state: State::UnderWay(waiter),
            });
            return None;
        };
        Some(match &entry.state {
            _ if entry.params != digest => Err(problem(
                422,
                "key-reused",
                "That Idempotency-Key belongs to another call",
                "Make a new key for each call that is not the same.",
            )),
            State::Done(answer) => Ok(answer.clone()),
            State::UnderWay(_) => Err(problem(
                409,
                "under-way",
                "The same call is under way",
                "Call again in a moment with the same key.",
            )),
            State::DoneUnkept => Err(problem(
                409,
                "done",
                "The call was done, and its answer was too long to keep",
                "Nothing was done again.",
            )),
        })
    }

    /// A reply is on its way: keeps it for the next time.
    pub(super) fn keep_reply(&mut self, waiter: Waiter, result: &Result<Value, Problem>) {
        let same = |entry: &Entry| matches!(&entry.state, State::UnderWay(at) if at.via == waiter.via && at.id == waiter.id);
        let Some(at) = self.once.entries.iter().position(same) else {
            return;
        };
        let Some(entry) = self.once.entries.get_mut(at) else {
            return;
        };
        match result {
            Ok(answer) if answer.to_string().len() <= ANSWER_BYTES_MAX => {
                entry.state = State::Done(answer.clone());
            }
            Ok(_) => entry.state = State::DoneUnkept,
            Err(_) => drop(self.once.entries.remove(at)),
        }
    }

    /// RFC 9110 section 13.1.1, for the revision in force.
    pub(super) fn precondition(&self, method: &Method, params: &mut Value) -> Result<(), Problem> {
        let Some(wanted) = taken(method, params, "if_match") else {
            return Ok(());
        };
        let held = self.active.revision;
        let fits = |tag: &str| {
            let number = tag.trim().trim_matches('"').parse::<u64>();
            tag.trim() == "*" && held.is_some() || number.is_ok_and(|n| Some(n) == held)
        };
        if wanted.split(',').any(fits) {
            return Ok(());
        }
        let held = held.map_or_else(|| "none".to_owned(), |held| held.to_string());
        Err(problem(
            412,
            "changed-since",
            "Another revision is in force than you expect",
            &format!("In force: {held}. Look at it, and try again with it in If-Match."),
        ))
    }
}

/// Takes a parameter out that is not the method's own business.
fn taken(method: &Method, params: &mut Value, name: &str) -> Option<String> {
    method.param(name)?;
    let value = params.as_object_mut()?.remove(name)?;
    value.as_str().map(str::to_owned)
}
