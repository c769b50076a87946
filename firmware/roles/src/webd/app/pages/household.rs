//! Devices and names: what is there, and the changes of the configuration that stand behind
//! their buttons.

use lintel_api::types::{ConfigApplied, ConfigShown, DnsRecord, Lease, Page};
use lintel_ipc::call::Problem;
use lintel_model::config::Config;
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{Done, Form, Stop, Visit, field, sentence, shown};
use crate::webd::app::view::household::{LeaseRow, RecordRow};
use crate::webd::app::{problem, urls};

/// Types of records that a configuration holds.
const RECORD_TYPES: [&str; 5] = ["A", "AAAA", "CNAME", "TXT", "PTR"];

/// A list of tables in the configuration.
#[derive(Clone, Copy)]
struct List {
    section: &'static str,
    key: &'static str,
}

const RESERVATIONS: List = List {
    section: "dhcp",
    key: "reservations",
};
const RECORDS: List = List {
    section: "dns",
    key: "records",
};

impl List {
    fn of(self, tree: &Value) -> Vec<Value> {
        let list = tree.get(self.section).and_then(|s| s.get(self.key));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// The tree with another list.
    fn put(self, mut tree: Value, entries: Vec<Value>) -> Value {
        if let Some(section) = tree.get_mut(self.section).and_then(Value::as_object_mut) {
            section.insert(self.key.to_owned(), entries.into());
        }
        tree
    }

    /// An entry at the end of a text. JSON's strings and numbers are TOML's as well.
    fn appended(self, toml: &str, entry: &Map<String, Value>) -> String {
        let mut text = toml.trim_end().to_owned();
        text.push_str(&format!("\n\n[[{}.{}]]\n", self.section, self.key));
        for (key, value) in entry {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    /// The text without the table of this entry, its comments included; `None` when it is not
    /// written as a table of its own.
    fn without(self, toml: &str, entry: &Value) -> Option<String> {
        let header = format!("[[{}.{}]]", self.section, self.key);
        let lines: Vec<&str> = toml.lines().collect();
        let is_header = |line: &&str| line.trim_start().starts_with('[');
        for (start, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.trim() == header)
        {
            let rest = lines.get(start + 1..)?;
            let length = rest.iter().position(is_header).unwrap_or(rest.len());
            let table: toml::Table = rest.get(..length)?.join("\n").parse().ok()?;
            let table = serde_json::to_value(table).ok()?;
            // What is not written has its default there.
            let written = table.as_object()?.iter();
            let mut written = written.map(|(key, value)| entry.get(key) == Some(value));
            if written.all(|same| same) {
                // A comment behind the last value belongs to what follows.
                let says = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
                let used = rest.get(..length)?.iter().rposition(says)? + 1;
                let kept = lines.get(..start)?.iter().chain(rest.get(used..)?);
                let mut text = kept.copied().collect::<Vec<_>>().join("\n");
                text.push('\n');
                return Some(text);
            }
        }
        None
    }
}

/// Whether the text says what the tree says.
fn same_config(toml: &str, tree: &Value) -> bool {
    let (Ok(text), Ok(tree)) = (Config::parse(toml), Config::from_json(tree)) else {
        return false;
    };
    // Where the roles listen is what they were started with, whatever the text says.
    Config { run: None, ..text } == Config { run: None, ..tree }
}

impl Visit<'_> {
    pub(super) fn devices(&self) -> Done {
        self.devices_with(&Vec::new(), None)
    }

    /// A button or the form of the page of devices.
    pub(super) fn change_devices(&self, form: &Form) -> Done {
        self.owner()?;
        let (mac, address) = (field(form, "mac").trim(), field(form, "address").trim());
        let name = field(form, "name").trim();
        let done = match field(form, "do") {
            "reserve" => {
                let who = if name.is_empty() { mac } else { name };
                let mut entry = entry_of(&[("mac", mac), ("address", address)]);
                if !name.is_empty() {
                    entry.insert("name".to_owned(), name.into());
                }
                self.add(RESERVATIONS, entry, &format!("fixed address for {who}"))?
            }
            "release" => {
                let reason = format!("no fixed address for {mac} any more");
                self.remove(RESERVATIONS, &[("mac", mac)], &reason)?
            }
            _ => {
                return match self.call("dhcp.leases.delete", json!({ "ip": address }))? {
                    Ok(_) => Err(Stop::Elsewhere("/devices")),
                    Err(problem) => {
                        self.devices_with(form, Some((problem.status, sentence(&problem))))
                    }
                };
            }
        };
        match done {
            Err(problem) => self.devices_with(form, Some((problem.status, sentence(&problem)))),
            Ok(applied) => self.committed(applied, "/devices", |error| {
                self.devices_with(form, Some((422, error)))
            }),
        }
    }

    fn devices_with(&self, form: &Form, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let list: Page<Lease> = self.result("dhcp.leases.list", self.page_params())?;
        let now = self.status()?.system.clock.unix_s;
        let config: ConfigShown = self.result("config.show", json!({}))?;
        let leases: Vec<_> = list.items.iter().map(|l| LeaseRow::new(l, now)).collect();
        let values = context! {
            leases => shown(&leases),
            next => list.next.as_deref().map(urls::encode),
            reservations => shown(&RESERVATIONS.of(&config.config)),
            error => error.as_ref().map(|(_, text)| text),
            draft => draft(form, &["mac", "address", "name"], error.is_some()),
        };
        self.page(error.map_or(200, |e| e.0), "devices.html", &auth, values)
    }

    pub(super) fn names(&self) -> Done {
        self.names_with(&Vec::new(), None)
    }

    /// A button or the form of the page of names.
    pub(super) fn change_names(&self, form: &Form) -> Done {
        self.owner()?;
        let (name, value) = (field(form, "name").trim(), field(form, "value").trim());
        let kind = field(form, "type");
        let fields = [("name", name), ("type", kind), ("value", value)];
        let done = if field(form, "do") == "delete" {
            self.remove(RECORDS, &fields, &format!("without the name {name}"))?
        } else {
            let mut entry = entry_of(&fields);
            let ttl = field(form, "ttl").trim();
            if !ttl.is_empty() {
                // What is no number is told by the configuration's own check.
                let ttl = ttl.parse::<u32>().map_or(Value::from(ttl), Value::from);
                entry.insert("ttl".to_owned(), ttl);
            }
            self.add(RECORDS, entry, &format!("the name {name}"))?
        };
        match done {
            Err(problem) => self.names_with(form, Some((problem.status, sentence(&problem)))),
            Ok(applied) => self.committed(applied, "/names", |error| {
                self.names_with(form, Some((422, error)))
            }),
        }
    }

    fn names_with(&self, form: &Form, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let list: Page<DnsRecord> = self.result("dns.records.list", self.page_params())?;
        let config: ConfigShown = self.result("config.show", json!({}))?;
        let domain = self.status()?.lan.domain;
        let written = RECORDS.of(&config.config);
        let rows = list
            .items
            .iter()
            .map(|r| RecordRow::new(r, &written, &domain));
        let values = context! {
            records => shown(&rows.collect::<Vec<_>>()),
            next => list.next.as_deref().map(urls::encode),
            kinds => RECORD_TYPES.to_vec(),
            domain => &domain,
            error => error.as_ref().map(|(_, text)| text),
            draft => draft(form, &["name", "type", "value", "ttl"], error.is_some()),
        };
        self.page(error.map_or(200, |e| e.0), "names.html", &auth, values)
    }

    /// Commits the configuration with one more entry. At the end of the text, so that the rest
    /// stays as its author wrote it; where the text does not bear that, as a tree.
    fn add(
        &self,
        list: List,
        entry: Map<String, Value>,
        reason: &str,
    ) -> Result<Result<ConfigApplied, Problem>, Stop> {
        let now: ConfigShown = self.result("config.show", json!({}))?;
        let text = list.appended(&now.toml, &entry);
        let valid = self.call("config.validate", json!({ "toml": text }))?;
        let params = if valid.is_ok() {
            json!({ "toml": text, "reason": reason })
        } else {
            let mut entries = list.of(&now.config);
            entries.push(Value::Object(entry));
            json!({ "config": list.put(now.config, entries), "reason": reason })
        };
        self.commit(now.revision, params)
    }

    /// Commits the configuration without the entries that have these values.
    fn remove(
        &self,
        list: List,
        fields: &[(&str, &str)],
        reason: &str,
    ) -> Result<Result<ConfigApplied, Problem>, Stop> {
        let now: ConfigShown = self.result("config.show", json!({}))?;
        let mut entries = list.of(&now.config);
        let (before, mut left) = (entries.len(), now.toml.clone());
        entries.retain(|entry| {
            let same = |(key, value): &(&str, &str)| {
                let found = entry.get(*key).and_then(Value::as_str);
                found.is_some_and(|found| found.eq_ignore_ascii_case(value))
            };
            let goes = fields.iter().all(same);
            if goes && let Some(text) = list.without(&left, entry) {
                left = text;
            }
            !goes
        });
        if entries.len() == before {
            return Ok(Err(problem(
                404,
                "no-such-entry",
                "It is not there any more",
                "",
            )));
        }
        let tree = list.put(now.config, entries);
        let params = if same_config(&left, &tree) {
            json!({ "toml": left, "reason": reason })
        } else {
            json!({ "config": tree, "reason": reason })
        };
        self.commit(now.revision, params)
    }

    /// Only while the revision that was looked at is in force.
    fn commit(
        &self,
        base: Option<u64>,
        mut params: Value,
    ) -> Result<Result<ConfigApplied, Problem>, Stop> {
        if let Some(base) = base {
            params["if_match"] = base.to_string().into();
        }
        match self.call("config.commit", params)? {
            Ok(reply) => Ok(Ok(Self::read("config.commit", reply)?)),
            Err(problem) => Ok(Err(problem)),
        }
    }

    fn page_params(&self) -> Value {
        match self.asked_for("cursor") {
            Some(cursor) => json!({ "limit": 100, "cursor": cursor }),
            None => json!({ "limit": 100 }),
        }
    }
}

fn entry_of(fields: &[(&str, &str)]) -> Map<String, Value> {
    let entries = fields.iter();
    entries
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect()
}

/// What a refused form said, to be said again.
fn draft(form: &Form, names: &[&str], again: bool) -> minijinja::Value {
    let value = |name: &&str| if again { field(form, name) } else { "" };
    let pairs = names
        .iter()
        .map(|name| ((*name).to_owned(), Value::from(value(name))));
    shown(&pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_at_the_end_of_a_text_reads_back() {
        let entry = entry_of(&[("name", "a\"b\\c"), ("type", "TXT"), ("value", "ü\n")]);
        let text = RECORDS.appended("# mine\n[lan]\n", &entry);
        assert!(
            text.starts_with("# mine\n[lan]\n\n[[dns.records]]\n"),
            "{text}"
        );
        let tree: toml::Table = text.parse().unwrap();
        let record = &tree["dns"]["records"][0];
        assert_eq!(record["name"].as_str(), Some("a\"b\\c"));
        assert_eq!(record["value"].as_str(), Some("ü\n"));
        let entry = entry_of(&[
            ("name", "a\"b\\c"),
            ("type", "TXT"),
            ("value", "ü\n"),
            ("ttl", "filled in"),
        ]);
        let without = RECORDS.without(&text, &Value::Object(entry)).unwrap();
        assert_eq!(without.trim_end(), "# mine\n[lan]");
        assert_eq!(RECORDS.without("[dns]\nrecords = []\n", &json!({})), None);
    }
}
