//! What differs between two configurations, value by value, and how to undo it in a third.
//!
//! The identity of a value is its path. An entry of a list of tables (`dns.records`,
//! `dhcp.reservations`) has no key of its own: it is identified by all of itself, so that an
//! edited entry is one that went and one that came. A list of plain values (`dns.upstreams`) has
//! an order that matters and is one value.
//!
//! Nothing here decides whether a result makes sense: that is [`Config::problems`].

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Config;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// Where (`lan.address`); for an entry of a list of tables, the list's path.
    pub path: String,
    /// What stands there before; absent for what was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What stands there after; absent for what was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, "{path}: {} -> {}", Plain(from), Plain(to)),
            (None, Some(to)) => write!(f, "{path}: + {}", Plain(to)),
            (Some(from), None) => write!(f, "{path}: - {}", Plain(from)),
            (None, None) => f.write_str(path),
        }
    }
}

/// A value on one line; texts without quotes.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => f.write_str(text),
            Value::Object(entry) => {
                for (at, (key, value)) in entry.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{key} {}", Plain(value))?;
                }
                Ok(())
            }
            Value::Array(list) if list.is_empty() => f.write_str("none"),
            Value::Array(list) => {
                for (at, value) in list.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Plain(value))?;
                }
                Ok(())
            }
            other => other.fmt(f),
        }
    }
}

/// Why a change cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// Somebody changed the value again since.
    #[error("{path} has been changed again since")]
    ChangedSince {
        /// Which.
        path: String,
    },
    /// The result is no configuration.
    #[error("without this change the configuration has no sense")]
    Senseless(#[source] serde_json::Error),
}

/// What leads from `before` to `after`, by path.
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(&tree(before)), Some(&tree(after)), &mut found);
    found
}

/// `current` without `changes`: each value as it stood before them. All or nothing: a value that
/// was changed again since refuses the whole.
pub fn undo(current: &Config, changes: &[Change]) -> Result<Config, UndoError> {
    let mut root = tree(current);
    for change in changes {
        undo_one(&mut root, change).ok_or_else(|| UndoError::ChangedSince {
            path: change.path.clone(),
        })?;
    }
    serde_json::from_value(root).map_err(UndoError::Senseless)
}

/// Every value of a configuration with its path. A configuration always serialises: its keys are
/// texts and its numbers whole.
fn tree(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or(Value::Null)
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(_)) | None, Some(Value::Object(_)) | None) => {
            let map = |value: Option<&Value>| {
                let map = value.and_then(Value::as_object);
                map.cloned().unwrap_or_default()
            };
            let (old, new) = (map(before), map(after));
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(&below, old.get(key), new.get(key), found);
            }
        }
        _ if is_table_list(before) && is_table_list(after) => {
            let (old, new) = (entries(before), entries(after));
            for (from, to) in [(&old, &new), (&new, &old)] {
                let mut left = to.to_vec();
                for entry in from.iter() {
                    if let Some(at) = left.iter().position(|other| other == entry) {
                        left.swap_remove(at);
                        continue;
                    }
                    let gone = std::ptr::eq(from, &old);
                    found.push(Change {
                        path: path.to_owned(),
                        from: gone.then(|| entry.clone()),
                        to: (!gone).then(|| entry.clone()),
                    });
                }
            }
        }
        _ => found.push(Change {
            path: path.to_owned(),
            from: before.cloned(),
            to: after.cloned(),
        }),
    }
}

/// A list whose entries are tables; one that is absent or empty may be one.
fn is_table_list(value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::Array(list)) => list.iter().all(Value::is_object),
        Some(_) => false,
    }
}

fn entries(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// `None` when the value is not what the change left.
fn undo_one(root: &mut Value, change: &Change) -> Option<()> {
    let is_entry = |value: &Option<Value>| matches!(value, None | Some(Value::Object(_)));
    let mut keys: Vec<&str> = change.path.split('.').collect();
    let last = keys.pop()?;
    let mut table = root.as_object_mut()?;
    for key in keys {
        table = table
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()?;
    }
    let is_list = table.get(last).is_none_or(Value::is_array);
    if is_list && is_entry(&change.from) && is_entry(&change.to) {
        let mut list = entries(table.get(last));
        if let Some(added) = &change.to {
            let at = list.iter().position(|entry| entry == added)?;
            list.remove(at);
        }
        if let Some(gone) = &change.from {
            if list.contains(gone) {
                return None;
            }
            list.push(gone.clone());
        }
        table.insert(last.to_owned(), Value::Array(list));
        return Some(());
    }
    if table.get(last) != change.to.as_ref() {
        return None;
    }
    match &change.from {
        Some(value) => table.insert(last.to_owned(), value.clone()),
        None => table.remove(last),
    };
    prune(root);
    Some(())
}

/// Takes out tables without values: one that came with its first value goes with its last.
fn prune(value: &mut Value) {
    if let Value::Object(table) = value {
        table.values_mut().for_each(prune);
        table.retain(|_, below| below.as_object().is_none_or(|table| !table.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(toml: &str) -> Config {
        Config::parse(toml).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let changes = changes(&config(before), &config(after));
        changes.iter().map(ToString::to_string).collect()
    }

    const NAS: &str = "[[dns.records]]\nname = \"nas\"\ntype = \"A\"\nvalue = \"192.168.1.5\"\n";
    const TV: &str = "[[dns.records]]\nname = \"tv\"\ntype = \"A\"\nvalue = \"192.168.1.6\"\n";

    #[test]
    fn what_is_equal_differs_in_nothing() {
        assert!(told("", "").is_empty());
        assert!(told("", "[lan]\naddress = \"192.168.1.1/24\"\n").is_empty());
        assert!(told(&format!("{NAS}{TV}"), &format!("{TV}{NAS}")).is_empty());
    }

    #[test]
    fn each_value_that_differs_is_told_with_its_path() {
        let after = format!(
            "[lan]\naddress = \"10.9.8.1/24\"\n\
             [dns]\nrebind_protection = false\nupstreams = [\"9.9.9.9\"]\n{NAS}"
        );
        assert_eq!(
            told("", &after),
            [
                "dns.rebind_protection: true -> false",
                "dns.records: + name nas, ttl 300, type A, value 192.168.1.5",
                "dns.upstreams: none -> 9.9.9.9",
                "lan.address: 192.168.1.1/24 -> 10.9.8.1/24",
            ]
        );
        assert_eq!(told(NAS, TV).len(), 2);
    }

    #[test]
    fn one_change_is_undone_and_what_came_after_it_stays() {
        let first = config("");
        let second = config(&format!("[lan]\ndomain = \"home\"\n{NAS}"));
        let now = config(&format!(
            "[lan]\ndomain = \"home\"\n[system]\nhostname = \"box\"\n{NAS}{TV}"
        ));
        let undone = undo(&now, &changes(&first, &second)).unwrap();
        let wanted = config(&format!("[system]\nhostname = \"box\"\n{TV}"));
        assert_eq!(undone, wanted);
    }

    #[test]
    fn a_table_that_came_with_a_change_goes_with_it() {
        let pool = "[dhcp.pool]\nfirst = \"192.168.1.50\"\nlast = \"192.168.1.60\"\n";
        let changes = changes(&config(""), &config(pool));
        assert_eq!(changes.len(), 2);
        assert_eq!(undo(&config(pool), &changes).unwrap(), config(""));
    }

    #[test]
    fn what_was_changed_again_is_left_alone() {
        let changes = changes(&config(""), &config("[lan]\ndomain = \"home\"\n"));
        let now = config("[lan]\ndomain = \"house\"\n");
        let refused = undo(&now, &changes).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "lan.domain has been changed again since"
        );
        let added = super::changes(&config(""), &config(NAS));
        assert!(undo(&config(TV), &added).is_err());
        let removed = super::changes(&config(NAS), &config(""));
        assert_eq!(undo(&config(""), &removed).unwrap(), config(NAS));
        assert!(undo(&config(NAS), &removed).is_err());
    }

    fn any_config() -> impl Strategy<Value = Config> {
        let names = prop::collection::btree_set("[a-d]", 0..4);
        (names, 0_u8..4, any::<bool>(), 0_u8..3).prop_map(|(names, third, rebind, upstreams)| {
            let mut text = format!("[lan]\naddress = \"10.0.{third}.1/24\"\n");
            let list: Vec<String> = (0..upstreams).map(|n| format!("\"9.9.9.{n}\"")).collect();
            text += &format!(
                "[dns]\nrebind_protection = {rebind}\nupstreams = [{}]\n",
                list.join(", ")
            );
            for name in names {
                text += &format!(
                    "[[dns.records]]\nname = \"{name}\"\ntype = \"A\"\nvalue = \"10.0.9.9\"\n"
                );
            }
            config(&text)
        })
    }

    fn sorted(mut config: Config) -> Config {
        config
            .dns
            .records
            .sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        config
    }

    proptest! {
        #[test]
        fn undoing_all_that_was_changed_leads_back(a in any_config(), b in any_config()) {
            let back = undo(&b, &changes(&a, &b)).unwrap();
            prop_assert_eq!(sorted(back), sorted(a));
        }
    }
}
