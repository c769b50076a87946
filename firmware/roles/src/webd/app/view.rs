//! What the status page shows, in words: from the API's types to texts for the templates.

pub(crate) mod backups;
pub(crate) mod history;
pub(crate) mod household;
pub(crate) mod people;
pub(crate) mod plan;
pub(crate) mod upkeep;

use lintel_api::types::{Lease, Service, Status, WanStatus};
use lintel_model::facts::{DataState, NoticeCode, Severity};
use lintel_model::lease::BindingState;
use serde::Serialize;

/// Everything on the status page.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    headline: Headline,
    notices: Vec<NoticeView>,
    wan: Vec<Row>,
    lan: Vec<Row>,
    ports: Vec<PortView>,
    box_rows: Vec<Row>,
    leases: Vec<LeaseView>,
    leases_summary: String,
    leases_more: bool,
    services: Vec<ServiceView>,
    services_summary: String,
    failed: Option<String>,
}

/// The first thing to read. `tone` is `good`, `warn`, `bad` or `plain`, in all of these.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Headline {
    tone: &'static str,
    title: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct NoticeView {
    tone: &'static str,
    label: &'static str,
    text: String,
}

/// A name with its value; a value in `code` is something to copy.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    value: String,
    code: bool,
    tone: &'static str,
}

#[derive(Debug, Serialize)]
struct PortView {
    name: String,
    up: bool,
}

#[derive(Debug, Serialize)]
struct LeaseView {
    name: Option<String>,
    ip: String,
    mac: String,
    until: String,
    mark: &'static str,
}

#[derive(Debug, Serialize)]
struct ServiceView {
    name: &'static str,
    purpose: &'static str,
    state: String,
    tone: &'static str,
    restarts: u32,
    memory: String,
    last_exit: Option<String>,
}

impl StatusView {
    /// From what controld said. `more` tells that the list of leases goes on.
    pub(crate) fn new(status: &Status, leases: &[Lease], more: bool) -> Self {
        let now = status.system.clock.unix_s;
        let live = |lease: &&Lease| !lease.expired && lease.state == BindingState::Bound;
        let failed = match &status.data {
            DataState::Good => None,
            DataState::Failed { reason } => Some(reason.clone()),
        };
        Self {
            headline: headline(&status.wan),
            notices: notices(status),
            wan: wan(&status.wan, now),
            lan: lan(status),
            ports: ports(status),
            box_rows: box_rows(status),
            leases: leases
                .iter()
                .filter(live)
                .map(|lease| lease_view(lease, now))
                .collect(),
            leases_summary: format!("{} of {}", status.leases.active, status.leases.pool),
            leases_more: more,
            services: status.services.iter().map(service).collect(),
            services_summary: services_summary(&status.services),
            failed,
        }
    }
}

fn headline(wan: &WanStatus) -> Headline {
    let (tone, title, text) = if wan.online {
        ("good", "Online", wan.text.clone())
    } else if wan.mode == "off" {
        let text = "No way to the internet is configured. The home network works by itself.";
        ("plain", "Home network only", text.to_owned())
    } else if wan.mode == "detect" {
        ("warn", "Looking for the internet port", wan.text.clone())
    } else if !wan.carrier {
        let port = wan.link.as_ref().map_or("", |link| link.as_str());
        let text = format!("Plug the cable from your modem into port {port}.");
        ("bad", "No cable in the internet port", text)
    } else {
        ("bad", "Not online", wan.text.clone())
    };
    Headline {
        tone,
        title: title.to_owned(),
        text,
    }
}

fn notices(status: &Status) -> Vec<NoticeView> {
    let notices = status.notices.iter();
    // The banner above says the other.
    let notices = notices.filter(|notice| notice.code != NoticeCode::NotConfirmed);
    notices
        .map(|notice| notice_view(notice.severity, &notice.text))
        .collect()
}

fn notice_view(severity: Severity, text: &str) -> NoticeView {
    let (tone, label) = match severity {
        Severity::Info => ("plain", "Note"),
        Severity::Warning => ("warn", "Warning"),
        Severity::Error => ("bad", "Problem"),
    };
    NoticeView {
        tone,
        label,
        text: text.to_owned(),
    }
}

fn wan(wan: &WanStatus, now: u64) -> Vec<Row> {
    let state = wan.state.as_deref().unwrap_or(&wan.mode);
    let state = state_in_words(state);
    let tone = if wan.online { "good" } else { "warn" };
    let mut rows = vec![row("State", state).tone(tone)];
    if let Some(link) = &wan.link {
        let cable = if wan.carrier { "" } else { ", no cable" };
        rows.push(row("Port", format!("{link}{cable}")));
    }
    let Some(lease) = &wan.lease else {
        return rows;
    };
    let address = format!("{}/{}", lease.address, lease.prefix_len);
    rows.push(row("Address", address).code());
    if let Some(router) = lease.router {
        rows.push(row("Gateway", router.to_string()).code());
    }
    if !lease.dns.is_empty() {
        let dns: Vec<String> = lease.dns.iter().map(ToString::to_string).collect();
        rows.push(row("DNS", dns.join(", ")).code());
    }
    let ago = now.saturating_sub(lease.bound_unix_s);
    let until = if lease.lease_s == u32::MAX {
        "does not end".to_owned()
    } else {
        let end = lease.bound_unix_s.saturating_add(lease.lease_s.into());
        format!("ends {}", ahead(end, now))
    };
    rows.push(row(
        "Lease",
        format!("confirmed {} ago, {until}", span(ago)),
    ));
    rows
}

/// RFC 2131 figure 5 for people; what is not in it is shown as it came.
fn state_in_words(state: &str) -> &str {
    match state {
        "bound" => "connected",
        "init" | "selecting" => "asking for an address",
        "requesting" => "taking the address offered",
        "init-reboot" | "rebooting" => "confirming its last address",
        "renewing" => "connected, renewing its address",
        "rebinding" => "connected, but the server it got its address from is silent",
        "detect" => "looking for the port",
        "off" => "not configured",
        "dhcp" => "starting",
        other => other,
    }
}

fn lan(status: &Status) -> Vec<Row> {
    let lan = &status.lan;
    let link = lan.link.as_ref();
    let link = link.map_or("not up yet".to_owned(), ToString::to_string);
    vec![
        row("Address", lan.address.to_string()).code(),
        row("Domain", lan.domain.clone()).code(),
        row("Link", link),
    ]
}

fn ports(status: &Status) -> Vec<PortView> {
    let view = |port: &lintel_api::types::PortStatus| PortView {
        name: port.link.to_string(),
        up: port.carrier,
    };
    status.lan.ports.iter().map(view).collect()
}

fn box_rows(status: &Status) -> Vec<Row> {
    let system = &status.system;
    let mut rows = vec![row("Version", system.version.clone())];
    if !system.board_title.is_empty() {
        rows.push(row("Board", system.board_title.clone()));
    }
    rows.push(row("Running for", span(system.uptime_s)));
    let (clock, tone) = match (system.clock.synchronised, system.clock.agreed) {
        (true, true) => (", synchronised", "plain"),
        (true, false) => (", confirmed by one time server alone", "plain"),
        (false, _) => (", not confirmed by a time server", "warn"),
    };
    let clock = format!("{} UTC{clock}", date(system.clock.unix_s));
    rows.push(row("Clock", clock).tone(tone));
    if let Some(memory) = system.memory {
        let used = memory.total_kib.saturating_sub(memory.available_kib);
        let text = format!("{} of {} in use", kib(used), kib(memory.total_kib));
        rows.push(row("Memory", text));
    }
    if let Some(fingerprint) = &system.tls_sha256 {
        rows.push(row("Certificate, SHA-256", fingerprint.clone()).code());
    }
    let revision = match (status.config.fail_secure, status.config.revision) {
        (true, _) => "fail-secure configuration".to_owned(),
        (false, Some(n)) => format!("revision {n}"),
        (false, None) => "factory configuration".to_owned(),
    };
    let (applied, tone) = if status.kernel.converged {
        ("in force", "plain")
    } else {
        ("being applied", "warn")
    };
    rows.push(row("Settings", format!("{revision}, {applied}")).tone(tone));
    rows
}

fn lease_view(lease: &Lease, now: u64) -> LeaseView {
    LeaseView {
        name: lease.name.clone(),
        ip: lease.ip.to_string(),
        mac: lease.mac.to_string(),
        until: ahead(lease.expires_unix_s, now),
        mark: if lease.reserved { "fixed" } else { "" },
    }
}

fn service(service: &Service) -> ServiceView {
    let (state, tone) = match service.state.as_str() {
        "ready" => ("running", "good"),
        "starting" => ("starting", "warn"),
        "stopping" => ("stopping", "warn"),
        "backing-off" => ("waits before it starts again", "bad"),
        "stopped" => ("stopped", "plain"),
        other => (other, "warn"),
    };
    ServiceView {
        name: service.name.as_str(),
        purpose: purpose(service.name.as_str()),
        state: state.to_owned(),
        tone,
        restarts: service.restarts,
        memory: service.pss_kib.map_or(String::new(), kib),
        last_exit: service.last_exit.clone(),
    }
}

fn purpose(role: &str) -> &'static str {
    match role {
        "init" => "Supervision",
        "netd" => "Network and firewall",
        "controld" => "Settings and state",
        "timed" => "Clock and time",
        "wand" => "Internet connection",
        "dhcpd" => "Addresses",
        "dnsd" => "Names",
        "webd" => "This page",
        _ => "",
    }
}

fn services_summary(services: &[Service]) -> String {
    let down = services.iter().filter(|s| s.state != "ready").count();
    if down == 0 {
        "all running".to_owned()
    } else {
        format!("{down} not running")
    }
}

fn row(name: &'static str, value: impl Into<String>) -> Row {
    Row {
        name,
        value: value.into(),
        code: false,
        tone: "plain",
    }
}

impl Row {
    fn code(self) -> Self {
        Self { code: true, ..self }
    }

    fn tone(self, tone: &'static str) -> Self {
        Self { tone, ..self }
    }
}

/// A length of time in its two largest units.
fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size);
    let Some(first) = first else {
        return "0 s".to_owned();
    };
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        let count = left / size;
        left %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
    }
    parts.join(" ")
}

/// A moment that is to come, from `now`.
fn ahead(unix_s: u64, now: u64) -> String {
    match unix_s.checked_sub(now) {
        Some(left) if left > 0 => format!("in {}", span(left)),
        _ => "now".to_owned(),
    }
}

fn kib(kib: u64) -> String {
    if kib < 10 * 1024 {
        format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
    } else {
        format!("{} MiB", kib / 1024)
    }
}

/// Year, month, day, hour and minute of a Unix time, by the civil calendar (days are counted
/// from 1 March of the year 0, so that the leap day is a year's last).
fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (40_920, "11 h 22 min"),
            (90_000, "1 d 1 h"),
            (86_460, "1 d"),
        ];
        for (seconds, text) in table {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(ahead(5, 5), "now");
        assert_eq!(kib(2_560), "2.5 MiB");
        assert_eq!(kib(65_536), "64 MiB");
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_795_257_900), "2026-11-21 10:45");
    }

    #[test]
    fn the_headline_says_what_to_do() {
        let mut wan = WanStatus {
            mode: "dhcp".to_owned(),
            link: Some("eth0".parse().unwrap()),
            ..WanStatus::default()
        };
        assert!(headline(&wan).text.contains("eth0"));
        wan.carrier = true;
        wan.text = "No DHCP server answers.".to_owned();
        assert_eq!(headline(&wan).text, wan.text);
        wan.online = true;
        assert_eq!(headline(&wan).tone, "good");
    }
}
