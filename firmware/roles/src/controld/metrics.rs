//! `metrics`: what Prometheus reads (text format 0.0.4). Names are `lintel_*`, units are base units.
//!
//! What a household's devices are called is in none of them: counts alone.

use std::fmt::{Display, Write as _};

use lintel_api::types::SystemStats;
use lintel_model::facts::Severity;

use super::core::{Core, Now};

/// The text as it grows.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        // Writing to a text cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP lintel_{name} {help}\n# TYPE lintel_{name} {kind}"
        );
        Family {
            text: &mut self.0,
            name: name.to_owned(),
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help).sample(&[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help).sample(&[], value);
    }
}

struct Family<'p> {
    text: &'p mut String,
    name: String,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "lintel_{}{labels} {value}", self.name);
    }
}

/// Inside of quotes: no line ends there, and no quote.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

impl Core {
    pub(super) fn metrics(&self, now: Now, stats: &SystemStats) -> String {
        let mut page = Page::default();
        let info = &self.start;
        page.family("build_info", "gauge", "The firmware and its board")
            .sample(
                &[("version", &info.version), ("board", &info.board.name)],
                1,
            );
        page.gauge("uptime_seconds", "Since boot", now.mono.as_secs());
        machine(&mut page, stats);
        roles(&mut page, stats);
        self.network_metrics(&mut page, now);
        self.box_metrics(&mut page);
        page.0
    }

    fn network_metrics(&self, page: &mut Page, now: Now) {
        let status = self.status(now, None);
        let flag = u8::from;
        page.gauge(
            "wan_online",
            "Whether there is a way to the internet",
            flag(status.wan.online),
        );
        page.gauge(
            "wan_carrier",
            "Whether the port to the provider has a carrier",
            flag(status.wan.carrier),
        );
        let mut family = page.family("link_up", "gauge", "Whether a link has a carrier");
        for link in &self.facts.links {
            family.sample(&[("link", link.name.as_str())], flag(link.carrier));
        }
        page.gauge(
            "leases_active",
            "Addresses in use by devices",
            status.leases.active,
        );
        page.gauge(
            "leases_pool",
            "Addresses there are for devices",
            status.leases.pool,
        );
        dropped(
            page,
            "dhcp_dropped_packets_total",
            "Packets that the DHCP server dropped",
            &self.dhcp_dropped,
        );
        let dns = &self.dns_statistics;
        page.counter(
            "dns_queries_total",
            "Questions to the resolver",
            dns.queries,
        );
        let mut family = page.family("dns_answers_total", "counter", "Where answers came from");
        for (from, count) in [
            ("cache", dns.cache_hits),
            ("local", dns.local),
            ("upstream", dns.forwarded),
            ("failed", dns.failed),
        ] {
            family.sample(&[("from", from)], count);
        }
        page.gauge("dns_cache_entries", "Answers kept", dns.cache_entries);
        page.gauge("dns_cache_bytes", "Memory of answers kept", dns.cache_bytes);
        dropped(
            page,
            "dns_dropped_packets_total",
            "Questions that the resolver dropped",
            &dns.dropped,
        );
        let clock = &status.system.clock;
        page.gauge(
            "clock_synchronised",
            "Whether a time source confirms the clock",
            flag(clock.synchronised),
        );
        if let Some(offset_ns) = clock.offset_ns {
            page.gauge(
                "clock_offset_seconds",
                "How far the clock was off; positive: behind",
                offset_ns as f64 / 1e9,
            );
        }
    }

    fn box_metrics(&self, page: &mut Page) {
        page.gauge(
            "kernel_converged",
            "Whether the kernel holds what the configuration wants",
            u8::from(self.converge.is_settled()),
        );
        page.counter(
            "kernel_writes_total",
            "Messages that changed the kernel since the control service began",
            self.kernel_writes,
        );
        if let Some(revision) = self.active.revision {
            page.gauge("config_revision", "The revision in force", revision);
        }
        let mut family = page.family("notices", "gauge", "What the householder should know");
        let notices = self.notices();
        for (word, severity) in [
            ("info", Severity::Info),
            ("warning", Severity::Warning),
            ("error", Severity::Error),
        ] {
            let count = notices.iter().filter(|n| n.severity == severity).count();
            family.sample(&[("severity", word)], count);
        }
        let bus = self.bus_status();
        let mut family = page.family(
            "events_total",
            "counter",
            "Events told since the control service began",
        );
        for (topic, count) in &bus.told {
            family.sample(&[("topic", topic)], count);
        }
        page.counter(
            "events_skipped_total",
            "Events that were counted and not told one by one",
            bus.skipped,
        );
    }
}

fn dropped(page: &mut Page, name: &str, help: &str, dropped: &[(String, u64)]) {
    let mut family = page.family(name, "counter", help);
    for (reason, count) in dropped {
        family.sample(&[("reason", reason)], count);
    }
}

fn machine(page: &mut Page, stats: &SystemStats) {
    if let Some(cpu) = &stats.cpu {
        page.gauge("cpu_cores", "Cores of the processor", cpu.cores);
        let mut family = page.family(
            "cpu_seconds_total",
            "counter",
            "Time of all cores since boot",
        );
        family.sample(&[("mode", "busy")], seconds(cpu.busy_ms));
        family.sample(&[("mode", "idle")], seconds(cpu.idle_ms));
    }
    if let Some([one, five, fifteen]) = stats.load {
        page.gauge("load1", "Processes that want to run, over a minute", one);
        page.gauge("load5", "The same over five minutes", five);
        page.gauge("load15", "The same over fifteen minutes", fifteen);
    }
    if let Some(memory) = &stats.memory {
        let mut family = page.family("memory_bytes", "gauge", "Main memory");
        for (kind, kib) in [
            ("total", memory.total_kib),
            ("available", memory.available_kib),
            ("free", memory.free_kib),
            ("cached", memory.cached_kib),
            ("slab", memory.slab_kib),
        ] {
            family.sample(&[("kind", kind)], kib << 10);
        }
    }
    if let Some(disk) = &stats.disk {
        let mut family = page.family("disk_bytes", "gauge", "The storage for what is kept");
        family.sample(&[("kind", "total")], disk.total_bytes);
        family.sample(&[("kind", "available")], disk.available_bytes);
    }
    if !stats.temperatures.is_empty() {
        let mut family = page.family("temperature_celsius", "gauge", "What sensors say");
        for (n, sensor) in stats.temperatures.iter().enumerate() {
            // Two sensors may have one name.
            let labels = [("sensor", sensor.name.as_str()), ("zone", &n.to_string())];
            family.sample(&labels, sensor.celsius);
        }
    }
}

fn roles(page: &mut Page, stats: &SystemStats) {
    let each = || stats.roles.iter().map(|role| (role.name.as_str(), role));
    let mut family = page.family("role_up", "gauge", "Whether a role serves");
    for (name, role) in each() {
        family.sample(&[("role", name)], u8::from(role.state == "ready"));
    }
    let mut family = page.family(
        "role_restarts_total",
        "counter",
        "How often a role started anew since boot",
    );
    for (name, role) in each() {
        family.sample(&[("role", name)], role.restarts);
    }
    let mut family = page.family(
        "role_cpu_seconds_total",
        "counter",
        "Time of the processor that a role's process has had",
    );
    for (name, role) in each() {
        if let Some(ms) = role.cpu_ms {
            family.sample(&[("role", name)], seconds(ms));
        }
    }
    let mut family = page.family(
        "role_memory_bytes",
        "gauge",
        "Proportional set size of a role",
    );
    for (name, role) in each() {
        if let Some(kib) = role.pss_kib {
            family.sample(&[("role", name)], kib << 10);
        }
    }
}
