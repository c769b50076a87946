//! Server-sent events: a bounded history, so that a page that lost its connection goes on where
//! it stopped (WHATWG HTML section 9.2).
//!
//! An event's id is its number on the box's bus, which never comes again. A page that names one
//! after which not everything is known any more is told to `reset`: to look at everything again.

use std::collections::VecDeque;

use lintel_ipc::webd::Happened;

use super::limits::{EVENT_BYTES_MAX, HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX};

/// The last events, ready to be written.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
}

impl History {
    /// Forgets what it held: what controld says of late counts.
    pub fn begin(&mut self, events: &[Happened]) {
        *self = Self::default();
        for event in events {
            self.push(event);
        }
    }

    /// Takes an event and returns its frame for the streams that are open.
    pub fn push(&mut self, event: &Happened) -> &[u8] {
        let frame = frame(event.id, &event.topic, &event.data.to_string());
        let frame = if frame.len() > EVENT_BYTES_MAX {
            self::frame(event.id, "reset", "{}")
        } else {
            frame
        };
        self.bytes += frame.len();
        self.events.push_back((event.id, frame));
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
        let oldest = self.events.front().map(|(id, _)| *id);
        let newest = self.events.back().map(|(id, _)| *id);
        let Some(last_id) = last_id else {
            // Nothing to make up for, but an id to come back with.
            out.extend_from_slice(&frame(newest.unwrap_or(0), "hello", "{}"));
            return out;
        };
        // An id was given to one event alone: who saw one of ours knows what came before it.
        let known = |seen: u64| {
            let before = oldest.map(|oldest| oldest.saturating_sub(1));
            before == Some(seen) || self.events.iter().any(|(id, _)| *id == seen)
        };
        match last_id.parse::<u64>().ok().filter(|seen| known(*seen)) {
            Some(seen) => {
                for (_, frame) in self.events.iter().filter(|(id, _)| *id > seen) {
                    out.extend_from_slice(frame);
                }
            }
            None => {
                let gone = serde_json::json!({
                    "type": "reset",
                    "reason": "what came after the event that was named is not known any more",
                    "oldest": oldest,
                    "newest": newest,
                });
                out.extend_from_slice(&frame(newest.unwrap_or(0), "reset", &gone.to_string()));
            }
        }
        out
    }
}

/// A comment that keeps the way open.
pub const HEARTBEAT: &[u8] = b": \n\n";

/// JSON has no line breaks outside of its strings, and escapes them inside; a kind that could
/// break a line is no kind of ours.
fn frame(id: u64, kind: &str, data: &str) -> Vec<u8> {
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

    fn event(id: u64, topic: &str, data: serde_json::Value) -> Happened {
        Happened {
            id,
            topic: topic.to_owned(),
            data,
        }
    }

    #[test]
    fn a_page_goes_on_where_it_stopped() {
        let mut history = History::default();
        assert!(text(&history.resume(None)).contains("event: hello"));
        for n in 71..=73 {
            history.push(&event(n, "lease", json!({ "n": n })));
        }
        let got = text(&history.resume(Some("72")));
        assert!(
            got.contains("\"n\":73") && !got.contains("\"n\":72"),
            "{got}"
        );
        assert!(!text(&history.resume(Some("73"))).contains("event:"));
        assert!(text(&history.resume(Some("70"))).contains("\"n\":71"));
        for gone in ["69", "74", "0", "", "zzz", "-1", "18446744073709551616"] {
            let told = text(&history.resume(Some(gone)));
            assert!(told.contains("id: 73\nevent: reset"), "{gone}: {told}");
            assert!(told.contains("\"oldest\":71"), "{gone}: {told}");
        }
        assert!(text(&history.resume(None)).contains("id: 73"));
    }

    #[test]
    fn a_new_session_brings_what_it_knows_and_nothing_else_counts() {
        let mut history = History::default();
        history.push(&event(7, "wan", json!({})));
        history.begin(&[event(7, "wan", json!({})), event(8, "wan", json!({}))]);
        assert!(text(&history.resume(Some("7"))).contains("id: 8\nevent: wan"));
        // controld was away, and counts on from where its store says.
        history.begin(&[]);
        assert!(text(&history.resume(Some("8"))).contains("reset"));
        history.push(&event(65_536, "wan", json!({})));
        assert!(text(&history.resume(Some("8"))).contains("reset"));
        assert!(!text(&history.resume(Some("65536"))).contains("reset"));
    }

    #[test]
    fn the_history_is_bounded_and_says_what_it_lost() {
        let mut history = History::default();
        for n in 1..=2 * HISTORY_EVENTS_MAX as u64 {
            history.push(&event(n, "x", json!("y".repeat(EVENT_BYTES_MAX / 2))));
        }
        assert!(history.bytes <= HISTORY_BYTES_MAX);
        assert!(text(&history.resume(Some("1"))).contains("reset"));
        let big = history.push(&event(9_999, "x", json!("y".repeat(EVENT_BYTES_MAX))));
        assert!(text(big).contains("event: reset"));
    }
}
