//! Answers about the box itself for people: its bus of events.

use lintel_api::types::{BusStatus, Event, EventEntry, Page};
use serde_json::Value;

use super::text::{clean, date, more, row, table};

pub(super) fn bus(bus: &BusStatus) -> String {
    let ids = match (bus.oldest, bus.newest) {
        (Some(oldest), Some(newest)) => format!(", from {oldest} to {newest}"),
        _ => String::new(),
    };
    let mut text = format!(
        "kept      {} of at most {} events, {} of {} KiB{ids}\n\
         skipped   {}\n\
         listening {} over HTTP, {} at the control socket\n",
        bus.kept,
        bus.kept_max,
        bus.kept_bytes >> 10,
        bus.kept_bytes_max >> 10,
        bus.skipped,
        bus.streams,
        bus.watchers
    );
    for (topic, events) in &bus.told {
        text.push_str(&format!("{:<9} {events}\n", clean(topic)));
    }
    text
}

pub(super) fn events(page: &Page<EventEntry>) -> String {
    let mut rows = vec![row(["WHEN (UTC)", "ID", "WHAT", ""])];
    for entry in &page.items {
        let (kind, rest) = words(&entry.event);
        rows.push(row([&when(entry), &entry.id.to_string(), &kind, &rest]));
    }
    table(&rows) + &more(&page.next)
}

/// One event, for who watches.
pub(super) fn event_line(entry: &EventEntry) -> String {
    let (kind, rest) = words(&entry.event);
    format!("{}  {kind:<18} {rest}\n", when(entry))
}

fn when(entry: &EventEntry) -> String {
    format!("{}:{:02}", date(entry.unix_s), entry.unix_s % 60)
}

/// Its type, and what else it says.
fn words(event: &Event) -> (String, String) {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    let Some(fields) = value.as_object_mut() else {
        return (String::new(), String::new());
    };
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => String::new(),
    };
    let rest: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) if text.contains(' ') || text.is_empty() => {
                format!("{name}={text:?}")
            }
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    (kind, clean(&rest.join(" ")))
}
