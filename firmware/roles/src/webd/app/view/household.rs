//! Devices and names as rows.

use lintel_api::types::{DnsRecord, Lease};
use lintel_model::lease::BindingState;
use serde::Serialize;
use serde_json::Value;

use super::ahead;

/// One lease.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseRow {
    name: Option<String>,
    ip: String,
    mac: String,
    until: String,
    mark: &'static str,
    live: bool,
}

impl LeaseRow {
    /// As it stands at this time.
    pub(crate) fn new(lease: &Lease, now: u64) -> Self {
        let bound = lease.state == BindingState::Bound;
        let live = bound && !lease.expired;
        let until = match lease.state {
            BindingState::Released => "given back".to_owned(),
            BindingState::Declined => "in use by another device".to_owned(),
            BindingState::Bound if lease.expired => "over".to_owned(),
            BindingState::Bound => format!("ends {}", ahead(lease.expires_unix_s, now)),
        };
        Self {
            name: lease.name.clone(),
            ip: lease.ip.to_string(),
            mac: lease.mac.to_string(),
            until,
            mark: if lease.reserved { "fixed" } else { "" },
            live,
        }
    }
}

/// One record.
#[derive(Debug, Serialize)]
pub(crate) struct RecordRow {
    name: String,
    /// As the configuration has the name.
    written: String,
    #[serde(rename = "type")]
    kind: String,
    value: String,
    source: &'static str,
    deletable: bool,
}

impl RecordRow {
    /// From the list; `written` are the configuration's own records.
    pub(crate) fn new(record: &DnsRecord, written: &[Value], domain: &str) -> Self {
        let own = (record.source == "config")
            .then(|| written.iter().find(|entry| is(record, entry, domain)))
            .flatten();
        let name = own.and_then(|entry| entry.get("name")?.as_str());
        let value = own.and_then(|entry| entry.get("value")?.as_str());
        Self {
            name: record.name.clone(),
            written: name.unwrap_or(&record.name).to_owned(),
            kind: record.rtype.clone(),
            value: value.unwrap_or(&record.value).to_owned(),
            source: match record.source.as_str() {
                "config" => "settings",
                "lease" => "its lease",
                _ => "the box",
            },
            deletable: own.is_some(),
        }
    }
}

/// Whether the configuration's entry is this record: a name without a dot lives under the domain.
fn is(record: &DnsRecord, entry: &Value, domain: &str) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (name, found) = (bare(text("name")), bare(&record.name));
    let same_name = name == found || format!("{name}.{}", bare(domain)) == found;
    let same_value = bare(text("value")) == bare(&record.value)
        || format!("{}.{}", bare(text("value")), bare(domain)) == bare(&record.value);
    same_name && text("type") == record.rtype && same_value
}
