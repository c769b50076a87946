//! Single entries of the lists of tables (`dns.records`, `dhcp.reservations`): put into a text or
//! taken out of it so that the rest stays as its author wrote it, comments and order included.

use serde_json::{Map, Value};

/// A list of tables in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryList {
    section: &'static str,
    key: &'static str,
}

/// `dhcp.reservations`.
pub const RESERVATIONS: EntryList = EntryList {
    section: "dhcp",
    key: "reservations",
};
/// `dns.records`.
pub const RECORDS: EntryList = EntryList {
    section: "dns",
    key: "records",
};

impl EntryList {
    /// Its path (`dns.records`).
    pub fn path(self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The entries in the JSON form of a configuration.
    pub fn of(self, tree: &Value) -> Vec<Value> {
        let list = tree.get(self.section).and_then(|s| s.get(self.key));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// The JSON form with other entries.
    pub fn put(self, mut tree: Value, entries: Vec<Value>) -> Value {
        if let Some(section) = tree.get_mut(self.section).and_then(Value::as_object_mut) {
            section.insert(self.key.to_owned(), entries.into());
        }
        tree
    }

    /// The text with an entry at its end. JSON's strings and numbers are TOML's as well. Where
    /// the list is written in another way, the result is no configuration.
    pub fn appended(self, toml: &str, entry: &Map<String, Value>) -> String {
        let mut text = toml.trim_end().to_owned();
        text.push_str(&format!("\n\n[[{}.{}]]\n", self.section, self.key));
        for (key, value) in entry {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    /// The text without the table of this entry, its comments included; `None` when it is not
    /// written as a table of its own.
    pub fn without(self, toml: &str, entry: &Value) -> Option<String> {
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
            let mut written = written.map(|(key, value)| same(entry.get(key), value));
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

/// Names and hardware addresses are read in either case and written in lower.
fn same(held: Option<&Value>, written: &Value) -> bool {
    match (held, written) {
        (Some(Value::String(held)), Value::String(written)) => held.eq_ignore_ascii_case(written),
        (held, written) => held == Some(written),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_at_the_end_of_a_text_reads_back() {
        let entry = |value: Value| value.as_object().cloned().unwrap();
        let record = entry(json!({ "name": "a\"b\\c", "type": "TXT", "value": "ü\n" }));
        let text = RECORDS.appended("# mine\n[lan]\n", &record);
        assert!(
            text.starts_with("# mine\n[lan]\n\n[[dns.records]]\n"),
            "{text}"
        );
        let tree: toml::Table = text.parse().unwrap();
        let read = &tree["dns"]["records"][0];
        assert_eq!(read["name"].as_str(), Some("a\"b\\c"));
        assert_eq!(read["value"].as_str(), Some("ü\n"));
        let mut record = record;
        record.insert("ttl".to_owned(), json!(300));
        let without = RECORDS.without(&text, &Value::Object(record)).unwrap();
        assert_eq!(without.trim_end(), "# mine\n[lan]");
        assert_eq!(RECORDS.without("[dns]\nrecords = []\n", &json!({})), None);
    }

    #[test]
    fn only_the_entry_that_is_meant_goes() {
        let text = "[[dns.records]]\nname = \"a\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n\
                    # of the cellar\n\n[[dns.records]]\nname = \"B\"\ntype = \"A\"\n\
                    value = \"192.168.1.6\"\n";
        let b = json!({ "name": "b", "type": "A", "value": "192.168.1.6", "ttl": 300 });
        let left = RECORDS.without(text, &b).unwrap();
        assert!(left.contains("192.168.1.5") && left.contains("# of the cellar"));
        assert!(!left.contains("192.168.1.6"), "{left}");
        assert_eq!(RECORDS.without(&left, &b), None);
    }
}
