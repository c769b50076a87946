//! Answers for people: short lines, tables, sentences.

use lintel_api::MethodId;
use lintel_api::types::{
    ConfigApplied, ConfigDiff, ConfigShown, ConfigValid, DnsRecord, Interface, Lease, LogEntry,
    LogsFound, NetworkInfo, Page, ReservationInfo, RevisionInfo, SelfTest, Service, Status,
    SystemInfo, Task, TokenCreated, WanStatus,
};
use lintel_model::clock::{ClockReport, TimeSource};
use lintel_model::config::change::Change;
use lintel_model::facts::{DataState, Notice, Severity};
use lintel_model::lease::BindingState;
use lintel_model::preview::{FlowsCut, StepPreview};
use lintel_model::resolver::DnsCounters;
use lintel_model::step::Hazard;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::text::{clean, dash, date, more, optional, row, span, table, wrap};
use super::{backups, people, upkeep};

/// The text for a method's result. A result of a shape that is not known is shown as JSON.
pub(super) fn text(id: MethodId, value: &Value, params: &Value) -> String {
    shaped(id, value, params).unwrap_or_else(|| {
        let json = serde_json::to_string_pretty(value).unwrap_or_default();
        json + "\n"
    })
}

fn shaped(id: MethodId, value: &Value, params: &Value) -> Option<String> {
    Some(match id {
        MethodId::Status => status(&typed(value)?),
        MethodId::SystemInfo => system(&typed(value)?),
        MethodId::ServicesStatus => services(&typed::<Vec<Service>>(value)?),
        MethodId::SystemStats => upkeep::stats(&typed(value)?),
        MethodId::Metrics => typed::<String>(value)?,
        MethodId::LogsSearch => {
            let found: LogsFound = typed(value)?;
            let lines: String = found.items.iter().rev().map(log_line).collect();
            lines + &more(&found.next)
        }
        MethodId::LogsRotate => "A new file is begun.\n".to_owned(),
        MethodId::LogsStatistics => upkeep::logs(&typed(value)?),
        MethodId::TasksList => upkeep::tasks(&typed::<Vec<Task>>(value)?),
        MethodId::TasksShow | MethodId::TasksCancel => upkeep::tasks(&[typed(value)?]),
        // They lead to files.
        MethodId::LogsExport
        | MethodId::SupportCollect
        | MethodId::TasksResult
        | MethodId::NetworkTest => return None,
        MethodId::ServicesBusStatus => upkeep::bus(&typed(value)?),
        MethodId::ServicesBusEvents => upkeep::events(&typed(value)?),
        MethodId::NetworkInfo => {
            let info: NetworkInfo = typed(value)?;
            let foreign = info.kernel.foreign.iter();
            let foreign = foreign
                .map(|object| format!("foreign   {} {}\n", object.kind, clean(&object.text)));
            wan(&info.wan)
                + &format!("LAN       {}\n", info.lan.address)
                + &foreign.collect::<String>()
        }
        MethodId::NetworkInterfaces => interfaces(&typed::<Vec<Interface>>(value)?),
        MethodId::ConfigShow => typed::<ConfigShown>(value)?.toml,
        MethodId::ConfigValidate => {
            let valid: ConfigValid = typed(value)?;
            format!("The configuration is good.\n{}", notices(&valid.notices))
        }
        MethodId::ConfigApply
        | MethodId::ConfigPatch
        | MethodId::ConfigPlan
        | MethodId::ConfigCommit
        | MethodId::ConfigRollback
        | MethodId::DhcpReservationsAdd
        | MethodId::DhcpReservationsDelete
        | MethodId::DnsRecordsAdd
        | MethodId::DnsRecordsDelete
        | MethodId::ConfigRestore => applied(&typed(value)?),
        MethodId::ConfigConfirm => "The change is confirmed and stays.\n".to_owned(),
        MethodId::ConfigRevisionsShow => typed::<ConfigShown>(value)?.toml,
        MethodId::ConfigExport => backups::exported(typed(value)?),
        MethodId::ConfigImport | MethodId::ConfigBackup => backups::made(&typed(value)?),
        MethodId::ConfigBackups => backups::list(&typed(value)?),
        MethodId::ConfigDiff => diff(&typed(value)?),
        MethodId::ConfigRevisions => revisions(&typed(value)?),
        MethodId::DhcpLeasesList => leases(&typed(value)?),
        MethodId::DhcpReservationsList => reservations(&typed(value)?),
        MethodId::DnsRecordsList => records(&typed(value)?),
        MethodId::DnsStatistics => statistics(&typed(value)?),
        MethodId::NtpStatus => clock(&typed(value)?),
        MethodId::NtpSources => sources(&typed::<Vec<TimeSource>>(value)?),
        MethodId::LogsServices => typed::<Vec<LogEntry>>(value)?
            .iter()
            .map(log_line)
            .collect(),
        MethodId::Health => "up\n".to_owned(),
        MethodId::ServicesConnectivity => upkeep::tests(&typed::<Vec<SelfTest>>(value)?),
        MethodId::ServicesStop => "It ends, and stays away until it is started.\n".to_owned(),
        MethodId::ServicesRestart | MethodId::ServicesStart => {
            let name = params
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or("the role");
            format!("{name} is starting anew.\n")
        }
        MethodId::SystemTimeShow => upkeep::time(&typed(value)?),
        MethodId::SystemTimeSet => "The clock is set.\n".to_owned() + &upkeep::time(&typed(value)?),
        MethodId::SystemReboot => "The box restarts.\n".to_owned(),
        MethodId::SystemPoweroff => "The box switches itself off.\n".to_owned(),
        MethodId::SystemDataReset => "The data partition is made anew.\n".to_owned(),
        MethodId::DhcpLeasesDelete => "The lease has ended.\n".to_owned(),
        MethodId::DnsFlush => "The cache is empty.\n".to_owned(),
        MethodId::AuthSetup => "The password is set.\n".to_owned(),
        MethodId::AuthLogin => "The password is right.\n".to_owned(),
        MethodId::AuthLogout => "Done.\n".to_owned(),
        MethodId::AuthRefresh => "The session goes on with a new secret.\n".to_owned(),
        MethodId::AuthRotateKey => typed::<TokenCreated>(value)?.token + "\n",
        MethodId::AuthTotp => people::totp(&typed(value)?),
        MethodId::AuthUsersList => people::users(&typed(value)?),
        MethodId::AuthPasswordChange => "The password is changed.\n".to_owned(),
        MethodId::AuthSessionsEnd => "The session has ended.\n".to_owned(),
        MethodId::AuthTokensDelete => "The token has ended.\n".to_owned(),
        MethodId::AuthTokensCreate => typed::<TokenCreated>(value)?.token + "\n",
        MethodId::AuthStatus => people::auth(&typed(value)?),
        MethodId::AuthSessionsList => people::sessions(&typed(value)?),
        MethodId::AuthTokensList => people::tokens(&typed(value)?),
        MethodId::AuditList => people::audit(&typed(value)?),
        MethodId::ConfigSchema | MethodId::Openapi => return None,
    })
}

fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

fn status(status: &Status) -> String {
    let mut text = system(&status.system);
    if let DataState::Failed { reason } = &status.data {
        text.push_str(&format!("storage   FAILED: {}\n", clean(reason)));
    }
    text.push_str(&wan(&status.wan));
    let ports: Vec<String> = status
        .lan
        .ports
        .iter()
        .map(|port| {
            let link = &port.link;
            if port.carrier {
                link.to_string()
            } else {
                format!("{link} (no cable)")
            }
        })
        .collect();
    text.push_str(&format!(
        "LAN       {}, domain {}, ports: {}\n",
        status.lan.address,
        clean(&status.lan.domain),
        if ports.is_empty() {
            "none".to_owned()
        } else {
            ports.join(", ")
        },
    ));
    text.push_str(&format!(
        "leases    {} in use of {}, {} reserved\n",
        status.leases.active, status.leases.pool, status.leases.reserved
    ));
    let revision = match (status.config.revision, status.config.fail_secure) {
        (Some(number), _) => format!("revision {number} by {}", clean(&status.config.author)),
        (None, _) => "fail-secure, in no store".to_owned(),
    };
    text.push_str(&format!("config    {revision}\n"));
    if let Some(pending) = &status.config.pending {
        text.push_str(&wrap(
            &format!(
                "          revision {} by {} is taken back in {} s unless somebody says: lintel \
                 config confirm",
                pending.revision,
                clean(&pending.author),
                pending.seconds_left
            ),
            10,
        ));
    }
    let kernel = match (&status.kernel.error, status.kernel.converged) {
        (Some(error), _) => format!("a step failed: {}", clean(error)),
        (None, true) => "as planned".to_owned(),
        (None, false) => "being changed".to_owned(),
    };
    text.push_str(&format!("kernel    {kernel}\n"));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&services(&status.services));
    }
    if !status.notices.is_empty() {
        text.push('\n');
        text.push_str(&notices(&status.notices));
    }
    text
}

fn system(info: &SystemInfo) -> String {
    let board = match (info.board_title.as_str(), info.board.as_str()) {
        ("", "") => String::new(),
        ("", name) | (name, _) => format!(" on {}", clean(name)),
    };
    let mut text = format!(
        "{}    lintel {}{board}, up {}\n",
        clean(&info.hostname),
        clean(&info.version),
        span(info.uptime_s)
    );
    if let Some(memory) = info.memory {
        text.push_str(&format!(
            "memory    {} MiB free of {} MiB\n",
            memory.available_kib / 1024,
            memory.total_kib / 1024
        ));
    }
    let sure = match (info.clock.synchronised, info.clock.agreed) {
        (true, true) => format!(" (synchronised, {} sources agree)", info.clock.sources),
        (true, false) => " (synchronised with one source alone)".to_owned(),
        (false, true) => " (not confirmed by a time source now)".to_owned(),
        (false, false) => " (not confirmed by a time source)".to_owned(),
    };
    text.push_str(&format!("clock     {}{sure}\n", date(info.clock.unix_s)));
    if let Some(fingerprint) = &info.tls_sha256 {
        // Two lines of 80 columns, as certificate viewers break it.
        let fingerprint = clean(fingerprint);
        let (first, rest) = fingerprint
            .split_at_checked(48)
            .unwrap_or((&fingerprint, ""));
        text.push_str(&format!(
            "https     SHA-256 {first}\n                  {rest}\n"
        ));
    }
    text
}

fn clock(report: &ClockReport) -> String {
    let state = match (report.synchronised, report.reference) {
        (true, Some(reference)) => format!("synchronised, follows {reference}"),
        (true, None) => "synchronised, goes on by itself".to_owned(),
        (false, _) => "not synchronised: nobody on the LAN is told the time".to_owned(),
    };
    let strict = if report.agreed {
        "several sources agreed: certificates are judged by this clock"
    } else {
        "several sources have not agreed yet: certificates are not judged strictly"
    };
    let mut text = format!("clock     {state}\n          {strict}\n");
    if report.synchronised {
        text.push_str(&format!(
            "offset    {}, scatter {}\nstratum   {}, leap second: {}\n",
            duration(report.offset_ns),
            duration(report.jitter_ns),
            report.stratum,
            clean(&report.leap)
        ));
        text.push_str(&format!(
            "root      delay {}, dispersion {}\n",
            duration(report.root_delay_ns),
            duration(report.root_dispersion_ns)
        ));
    }
    text.push_str(&format!(
        "frequency {:.3} ppm\nserved    {} requests\n\n",
        report.frequency_ppb as f64 / 1e3,
        report.served
    ));
    text + &sources(&report.sources)
}

fn sources(list: &[TimeSource]) -> String {
    if list.is_empty() {
        return "No time source is asked.\n".to_owned();
    }
    let mut rows = vec![row([
        "SOURCE", "STATE", "STRATUM", "REACH", "POLL", "OFFSET", "DELAY", "FROM",
    ])];
    for source in list {
        rows.push(row([
            &source.address.to_string(),
            &clean(&source.state),
            &source.stratum.to_string(),
            &format!("{:03o}", source.reach),
            &format!("{} s", source.poll_s),
            &duration(source.offset_ns),
            &duration(source.delay_ns),
            &clean(&source.origin),
        ]));
    }
    table(&rows)
}

/// Nanoseconds in the unit that reads best.
pub(super) fn duration(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let (unit, per) = match size {
        0..10_000 => return format!("{ns} ns"),
        10_000..10_000_000 => ("us", 1_000),
        10_000_000..10_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    format!("{} {unit}", ns / per)
}

fn wan(wan: &WanStatus) -> String {
    let line = match (&wan.link, &wan.lease) {
        (Some(link), Some(lease)) => {
            let router = lease
                .router
                .map_or_else(|| "no router".to_owned(), |router| format!("via {router}"));
            let cable = if wan.carrier { "" } else { ", no cable" };
            format!(
                "{link} {}/{} {router}{cable}",
                lease.address, lease.prefix_len
            )
        }
        (Some(link), None) => format!("{link} without a lease"),
        (None, _) => clean(&wan.mode),
    };
    let online = if wan.online { "online" } else { "offline" };
    format!("WAN       {online}: {line}\n") + &wrap(&format!("          {}", clean(&wan.text)), 10)
}

fn services(list: &[Service]) -> String {
    let mut rows = vec![row([
        "ROLE", "STATE", "PID", "SINCE", "RESTARTS", "PSS KiB", "LAST END",
    ])];
    for service in list {
        rows.push(row([
            service.name.as_str(),
            &service.state,
            &optional(service.pid),
            &service.ready_ms.map_or_else(dash, |ms| span(ms / 1000)),
            &service.restarts.to_string(),
            &optional(service.pss_kib),
            service.last_exit.as_deref().unwrap_or("-"),
        ]));
    }
    table(&rows)
}

fn interfaces(list: &[Interface]) -> String {
    let mut rows = vec![row(["LINK", "FOR", "STATE", "MTU", "MAC", "ADDRESSES"])];
    for interface in list {
        let link = &interface.link;
        let state = match (link.up, link.carrier) {
            (true, true) => "up",
            (true, false) => "no cable",
            (false, _) => "down",
        };
        rows.push(row([
            link.name.as_str(),
            interface.role.as_deref().unwrap_or("-"),
            state,
            &link.mtu.to_string(),
            &optional(link.mac),
            &interface.addresses.join(" "),
        ]));
    }
    table(&rows)
}

fn leases(page: &Page<Lease>) -> String {
    if page.items.is_empty() {
        return "No device has a lease.\n".to_owned();
    }
    let mut rows = vec![row(["ADDRESS", "MAC", "NAME", "STATE", "ENDS"])];
    for lease in &page.items {
        let state = match (lease.state, lease.expired, lease.reserved) {
            (BindingState::Released, _, _) => "released",
            (BindingState::Declined, _, _) => "declined",
            (BindingState::Bound, true, _) => "over",
            (BindingState::Bound, false, true) => "reserved",
            (BindingState::Bound, false, false) => "in use",
        };
        rows.push(row([
            &lease.ip.to_string(),
            &lease.mac.to_string(),
            lease.name.as_deref().unwrap_or("-"),
            state,
            &date(lease.expires_unix_s),
        ]));
    }
    table(&rows) + &more(&page.next)
}

fn reservations(page: &Page<ReservationInfo>) -> String {
    if page.items.is_empty() {
        return "No device has a fixed address.\n".to_owned();
    }
    let mut rows = vec![row(["ADDRESS", "MAC", "NAME"])];
    for entry in &page.items {
        rows.push(row([
            &entry.address.to_string(),
            &entry.mac.to_string(),
            entry.name.as_deref().unwrap_or("-"),
        ]));
    }
    table(&rows) + &more(&page.next)
}

fn records(page: &Page<DnsRecord>) -> String {
    let mut rows = vec![row(["NAME", "TYPE", "VALUE", "FROM"])];
    for record in &page.items {
        rows.push(row([
            &record.name,
            &record.rtype,
            &record.value,
            &record.source,
        ]));
    }
    table(&rows) + &more(&page.next)
}

fn revisions(page: &Page<RevisionInfo>) -> String {
    let mut rows = vec![row(["REVISION", "WHEN", "BY", "STATE", "REASON"])];
    for revision in &page.items {
        let mark = if revision.active { " *" } else { "" };
        rows.push(row([
            &format!("{}{mark}", revision.revision),
            &date(revision.unix_s),
            &revision.author,
            &revision.state,
            &revision.reason,
        ]));
    }
    table(&rows) + &more(&page.next)
}

fn statistics(counters: &DnsCounters) -> String {
    let mut rows: Vec<Vec<String>> = [
        ("questions", counters.queries),
        ("from the cache", counters.cache_hits),
        ("from local names", counters.local),
        ("asked upstream", counters.forwarded),
        ("failed", counters.failed),
        ("answers kept", counters.cache_entries),
        ("octets they take", counters.cache_bytes),
    ]
    .into_iter()
    .map(|(name, n)| row([name, &n.to_string()]))
    .collect();
    for (reason, n) in &counters.dropped {
        rows.push(row([&format!("dropped: {reason}"), &n.to_string()]));
    }
    for (upstream, state) in &counters.upstreams {
        rows.push(row([&format!("upstream {upstream}"), state]));
    }
    table(&rows)
}

fn diff(diff: &ConfigDiff) -> String {
    if diff.changes.is_empty() {
        return "Nothing differs.\n".to_owned();
    }
    changes(&diff.changes)
}

/// One line a value.
fn changes(list: &[Change]) -> String {
    let lines = list.iter();
    lines
        .map(|change| wrap(&clean(&change.to_string()), 4))
        .collect()
}

/// What the kernel is told in one step.
fn told(step: &StepPreview) -> String {
    let mut text = String::new();
    for message in &step.messages {
        let line = format!(
            "     {} flags {:#x} {}\n",
            clean(&message.kind),
            message.flags,
            clean(&message.payload)
        );
        text.push_str(&line);
    }
    if step.omitted > 0 {
        text.push_str(&format!("     and {} more messages\n", step.omitted));
    }
    if let Some(note) = &step.note {
        text.push_str(&format!("     {}\n", clean(note)));
    }
    text
}

fn cut(flows: &FlowsCut) -> String {
    let mut text = format!(
        "{} connections affected, of {}.\n",
        flows.cut, flows.tracked
    );
    for name in &flows.named {
        text.push_str(&wrap(&format!("     {}", clean(name)), 7));
    }
    let named = u64::try_from(flows.named.len()).unwrap_or(u64::MAX);
    if flows.cut > named {
        text.push_str(&format!("     and {} more\n", flows.cut - named));
    }
    text
}

fn applied(answer: &ConfigApplied) -> String {
    let mut text = changes(&answer.changes);
    if answer.plan.is_empty() {
        text.push_str("The kernel already holds what this asks for: nothing is written to it.\n");
    }
    for (n, step) in answer.plan.iter().enumerate() {
        let hazard = match step.hazard {
            Hazard::None => "",
            Hazard::CutsFlows => " (cuts connections)",
            Hazard::CutsManagement => " (cuts the way to the box)",
        };
        let line = format!("{:3}. {}{hazard}", n + 1, clean(&step.reason));
        text.push_str(&wrap(&line, 5));
        if let Some(kernel) = &step.kernel {
            text.push_str(&told(kernel));
        }
    }
    if let Some(flows) = &answer.flows {
        text.push_str(&cut(flows));
    }
    text.push_str(&notices(&answer.notices));
    let revision = answer.revision.unwrap_or(0);
    text.push_str(&match answer.outcome.as_str() {
        "planned" => "Nothing was changed: this is only what would happen.\n".to_owned(),
        "applied" if answer.confirm.is_some() => {
            format!("Revision {revision} is in force until it is confirmed or taken back.\n")
        }
        "applied" if answer.committed => format!("Revision {revision} is in force.\n"),
        "applied" => format!("Nothing new: revision {revision} stays in force.\n"),
        "reverted" if answer.committed => format!(
            "The kernel refused revision {revision}; the one before is in force again. {}\n",
            clean(answer.error.as_deref().unwrap_or_default())
        ),
        "reverted" => format!(
            "{} Revision {revision} is in force.\n",
            clean(answer.error.as_deref().unwrap_or_default())
        ),
        _ => format!(
            "Revision {revision} is stored; it is still being applied. lintel status shows it.\n"
        ),
    });
    if let Some(confirm) = &answer.confirm {
        let what = if answer.outcome == "planned" {
            "It would be taken back"
        } else {
            "It is taken back"
        };
        text.push_str(&wrap(
            &format!(
                "{what} after {} s unless somebody says: lintel config confirm",
                confirm.seconds_left
            ),
            0,
        ));
    }
    text
}

fn notices(list: &[Notice]) -> String {
    list.iter()
        .map(|notice| {
            let word = match notice.severity {
                Severity::Info => "note",
                Severity::Warning => "warning",
                Severity::Error => "ERROR",
            };
            wrap(&format!("{word}: {}", clean(&notice.text)), 0)
        })
        .collect()
}

pub(super) fn log_line(line: &LogEntry) -> String {
    format!(
        "{} {:8} {:5} {}\n",
        date(line.unix_ms / 1000),
        line.role.as_str(),
        clean(&line.level),
        clean(&line.text)
    )
}
