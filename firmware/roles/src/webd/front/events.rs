//! Server-sent events: a bounded history, so that a page that lost its connection goes on where
//! it stopped (WHATWG HTML section 9.2).
//!
//! An event's id is `epoch-number`. The epoch changes with each boot and whenever controld
//! counts anew; a page that names another epoch, or a number that the history no longer holds,
//! is told to `reset`: to look at everything again.

use std::collections::VecDeque;

use super::limits::{EVENT_BYTES_MAX, HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX};

/// The last events, ready to be written.
#[derive(Debug)]
pub struct History {
    boot: String,
    generation: u32,
    events: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    newest: u64,
}

impl History {
    /// An empty history of the boot that `boot_id` names.
    pub fn new(boot_id: &str) -> Self {
        let letters = boot_id.chars().filter(char::is_ascii_alphanumeric);
        Self {
            boot: letters.take(12).collect(),
            generation: 0,
            events: VecDeque::new(),
            bytes: 0,
            newest: 0,
        }
    }

    /// Takes an event and returns its frame for the streams that are open.
    pub fn push(&mut self, number: u64, kind: &str, data: &serde_json::Value) -> &[u8] {
        if number <= self.newest {
            self.generation = self.generation.wrapping_add(1);
            self.events.clear();
            self.bytes = 0;
        }
        self.newest = number;
        let id = self.id(number);
        let frame = frame(&id, kind, &data.to_string());
        let frame = if frame.len() > EVENT_BYTES_MAX {
            self::frame(&id, "reset", "{}")
        } else {
            frame
        };
        self.bytes += frame.len();
        self.events.push_back((number, frame));
        while self.events.len() > HISTORY_EVENTS_MAX || self.bytes > HISTORY_BYTES_MAX {
            if let Some((_, old)) = self.events.pop_front() {
                self.bytes -= old.len();
            }
        }
        self.events.back().map_or(&[], |(_, frame)| frame)
    }

    /// The first octets of a stream whose page saw `last_id` last, if it said so.
    pub fn resume(&self, last_id: Option<&str>) -> Vec<u8> {
        // The browser's own pause before it comes back, milliseconds.
        let mut out = b"retry: 2000\n\n".to_vec();
        let Some(last_id) = last_id else {
            // Nothing to make up for, but an id to come back with.
            out.extend_from_slice(&frame(&self.id(self.newest), "hello", "{}"));
            return out;
        };
        let seen = last_id
            .strip_prefix(&format!("{}-", self.epoch()))
            .and_then(|number| number.parse::<u64>().ok());
        let oldest = self.events.front().map_or(self.newest + 1, |(n, _)| *n);
        match seen {
            Some(seen) if seen <= self.newest && seen + 1 >= oldest => {
                for (_, frame) in self.events.iter().filter(|(n, _)| *n > seen) {
                    out.extend_from_slice(frame);
                }
            }
            _ => out.extend_from_slice(&frame(&self.id(self.newest), "reset", "{}")),
        }
        out
    }

    fn epoch(&self) -> String {
        format!("{}.{}", self.boot, self.generation)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch())
    }
}

/// A comment that keeps the way open.
pub const HEARTBEAT: &[u8] = b": \n\n";

/// JSON has no line breaks outside of its strings, and escapes them inside; a kind that could
/// break a line is no kind of ours.
fn frame(id: &str, kind: &str, data: &str) -> Vec<u8> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let kind = if kind.bytes().all(plain) {
        kind
    } else {
        "reset"
    };
    format!("id: {id}\nevent: {kind}\ndata: {data}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_page_goes_on_where_it_stopped() {
        let mut history = History::new("abc");
        for n in 1..=3 {
            history.push(n, "lease", &json!({ "n": n }));
        }
        let got = text(&history.resume(Some("abc.0-2")));
        assert!(got.contains("\"n\":3") && !got.contains("\"n\":2"), "{got}");
        assert!(!text(&history.resume(Some("abc.0-3"))).contains("event:"));
        for gone in ["abc.0-9", "abc.1-2", "zzz.0-2", "", "abc.0-x"] {
            assert!(
                text(&history.resume(Some(gone))).contains("event: reset"),
                "{gone}"
            );
        }
        assert!(text(&history.resume(None)).contains("id: abc.0-3"));
    }

    #[test]
    fn a_restarted_count_is_another_epoch() {
        let mut history = History::new("abc");
        history.push(7, "wan", &json!({}));
        history.push(1, "wan", &json!({}));
        assert!(text(&history.resume(Some("abc.0-7"))).contains("reset"));
        assert!(!text(&history.resume(Some("abc.1-1"))).contains("reset"));
    }

    #[test]
    fn the_history_is_bounded_and_says_what_it_lost() {
        let mut history = History::new("abc");
        for n in 1..=2 * HISTORY_EVENTS_MAX as u64 {
            history.push(n, "x", &json!("y".repeat(EVENT_BYTES_MAX / 2)));
        }
        assert!(history.bytes <= HISTORY_BYTES_MAX);
        assert!(text(&history.resume(Some("abc.0-1"))).contains("reset"));
        let big = history.push(9_999, "x", &json!("y".repeat(EVENT_BYTES_MAX)));
        assert!(text(big).contains("event: reset"));
    }
}
