//! Answers about the box itself for people: its bus of events, what it takes.

use lintel_api::types::{
    BusStatus, Event, EventEntry, LogStats, Page, SelfTest, SystemStats, Task, TimeStatus,
};
use serde_json::Value;

use super::show::duration;
use super::text::{clean, dash, date, more, optional, row, span, table};

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

pub(super) fn time(time: &TimeStatus) -> String {
    let sources = format!(
        "{} of {} time servers agree",
        time.sources_agreeing, time.sources_asked
    );
    let (state, by_hand) = match (time.synchronised, time.can_be_set) {
        (true, _) => {
            let offset = time.offset_ns.map(duration).unwrap_or_default();
            (
                format!("synchronised, {sources}, {offset} off at last"),
                "not while it follows them",
            )
        }
        (false, true) => (
            format!("not synchronised, {sources}"),
            "lintel system time set TIME",
        ),
        (false, false) => (
            format!("not synchronised, {sources}"),
            "not now: timed is not running",
        ),
    };
    format!(
        "time      {} UTC ({})\nclock     {state}\nby hand   {by_hand}\nup        {}\n",
        date(time.unix_s),
        time.unix_s,
        span(time.uptime_s)
    )
}

pub(super) fn stats(stats: &SystemStats) -> String {
    let mut text = format!("up        {}\n", span(stats.uptime_s));
    if let Some(cpu) = &stats.cpu {
        let cores = cpu.cores;
        text.push_str(&format!(
            "processor {} % busy, {cores} cores\n",
            cpu.busy_percent
        ));
    }
    if let Some([one, five, fifteen]) = stats.load {
        text.push_str(&format!("load      {one} {five} {fifteen}\n"));
    }
    if let Some(memory) = &stats.memory {
        let (total, available) = (memory.total_kib >> 10, memory.available_kib >> 10);
        let slab = memory.slab_kib >> 10;
        text.push_str(&format!(
            "memory    {available} of {total} MiB available, {slab} MiB the kernel's\n"
        ));
    }
    if let Some(disk) = &stats.disk {
        let (total, available) = (disk.total_bytes >> 20, disk.available_bytes >> 20);
        text.push_str(&format!("storage   {available} of {total} MiB available\n"));
    }
    for sensor in &stats.temperatures {
        let name = clean(&sensor.name);
        text.push_str(&format!("warmth    {:.1} °C ({name})\n", sensor.celsius));
    }
    let mut rows = vec![row([
        "ROLE",
        "STATE",
        "CPU S",
        "MEMORY KIB",
        "OF",
        "RESTARTS",
    ])];
    for role in &stats.roles {
        let seconds = role.cpu_ms.map(|ms| format!("{:.1}", ms as f64 / 1000.0));
        rows.push(row([
            role.name.as_str(),
            &clean(&role.state),
            &seconds.unwrap_or_else(dash),
            &optional(role.pss_kib),
            &optional(role.memory_kib_max),
            &role.restarts.to_string(),
        ]));
    }
    text + &table(&rows)
}

pub(super) fn tests(tests: &[SelfTest]) -> String {
    let mut rows = vec![row(["SERVICE", "WORKS", ""])];
    for test in tests {
        let works = if test.ok { "yes" } else { "NO" };
        rows.push(row([test.name.as_str(), works, &clean(&test.text)]));
    }
    table(&rows)
}

pub(super) fn logs(stats: &LogStats) -> String {
    let oldest = stats.oldest_unix_ms.map(|ms| date(ms / 1000));
    let mut text = format!(
        "memory    {} lines, {} KiB of text, the oldest of {}\n\
         storage   {} KiB written since boot, {} KiB wait\n",
        stats.lines,
        stats.text_bytes >> 10,
        oldest.unwrap_or_else(dash),
        stats.written_bytes >> 10,
        stats.waiting_bytes >> 10,
    );
    let mut rows = vec![row(["ROLE", "LEVEL", "LINES SINCE BOOT"])];
    for count in &stats.said {
        let level = clean(&count.level);
        rows.push(row([count.role.as_str(), &level, &count.lines.to_string()]));
    }
    text.push_str(&table(&rows));
    if !stats.files.is_empty() {
        let mut rows = vec![row(["FILE", "OCTETS"])];
        let files = stats.files.iter();
        rows.extend(files.map(|file| row([&clean(&file.name), &file.bytes.to_string()])));
        text.push('\n');
        text.push_str(&table(&rows));
    }
    text
}

pub(super) fn tasks(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return "No long work was done of late.\n".to_owned();
    }
    let mut rows = vec![row(["ID", "WHAT", "STATE", "DONE", "", "FILE"])];
    for task in tasks {
        let file = task.result.as_ref();
        let file = file.map(|file| format!("{}, {} KiB", clean(&file.file_name), file.bytes >> 10));
        rows.push(row([
            &task.id.to_string(),
            &clean(&task.method),
            task.state.as_str(),
            &format!("{} %", per_cent(task)),
            &clean(&task.text),
            &file.unwrap_or_else(dash),
        ]));
    }
    table(&rows)
}

/// How far it is.
pub(super) fn per_cent(task: &Task) -> u64 {
    let done = task.done.saturating_mul(100);
    done.checked_div(task.total).unwrap_or(100).min(100)
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
