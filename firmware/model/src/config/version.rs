//! The version of a configuration text's form, and the way forward from older ones.
//!
//! A form that changes so that old texts would be wrong or mean something else gets the next
//! number, a [`Migration`] from the one before, and a fixture of the one before in
//! `tests/fixtures/config`. Keys that are merely added need none of it.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::Reader;

/// The form that this source reads and writes.
pub const VERSION: u32 = 1;

/// Migrations in order; the first leads from version 1 to 2.
const MIGRATIONS: &[Migration] = &[];
const _: () = assert!(MIGRATIONS.len() + 1 == VERSION as usize);

/// Changes a text of one version to the next. Values keep their places, so that problems are
/// shown where the old text has them. What it does not know it leaves for the reader to judge.
type Migration = fn(&mut DeTable<'_>);

/// The version of a tree in memory: always [`VERSION`], since older texts are brought forward
/// before they become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ConfigVersion(());

/// The number is another version's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is not {VERSION}")]
pub struct OtherVersion(u32);

impl From<ConfigVersion> for u32 {
    fn from(_: ConfigVersion) -> u32 {
        VERSION
    }
}

impl TryFrom<u32> for ConfigVersion {
    type Error = OtherVersion;
    fn try_from(version: u32) -> Result<Self, OtherVersion> {
        if version == VERSION {
            Ok(Self(()))
        } else {
            Err(OtherVersion(version))
        }
    }
}

/// Brings a text's tree to [`VERSION`]. `false`: its version cannot be read here, which is a
/// problem of its own, and nothing else in it means anything.
pub(super) fn bring_forward(table: &mut DeTable<'_>, reader: &mut Reader<'_>) -> bool {
    bring_forward_by(MIGRATIONS, table, reader)
}

fn bring_forward_by(
    migrations: &[Migration],
    table: &mut DeTable<'_>,
    reader: &mut Reader<'_>,
) -> bool {
    let current = migrations.len().saturating_add(1);
    let Some(from) = written(table, current, reader) else {
        return false;
    };
    for migration in migrations.iter().skip(from.saturating_sub(1)) {
        migration(table);
    }
    true
}

/// The version that the text names, from 1 to `current`.
fn written(table: &DeTable<'_>, current: usize, reader: &mut Reader<'_>) -> Option<usize> {
    let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == "version") else {
        return Some(1);
    };
    let start = value.span().start;
    let number = number(value);
    match number {
        Some(number) if (1..=current).contains(&number) => Some(number),
        Some(number) if number > current => {
            let reason =
                format!("the text is of version {number}, and this box reads up to {current}");
            let hint = "it was written by a newer Lintel: update this box, or take an older text";
            reader.problem_at(start, "version", reason, hint.to_owned());
            None
        }
        _ => {
            let hint = format!("write a whole number from 1 to {current}, or leave it out");
            let reason = "this is no version of a configuration".to_owned();
            reader.problem_at(start, "version", reason, hint);
            None
        }
    }
}

fn number(value: &Spanned<DeValue<'_>>) -> Option<usize> {
    match value.get_ref() {
        DeValue::Integer(integer) => usize::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 2 calls `old` `new`; version 3 wants it in a list.
    const PRETENDED: &[Migration] = &[
        |table| {
            let old = table.keys().find(|key| key.get_ref() == "old").cloned();
            if let Some(value) = old.as_ref().and_then(|key| table.remove(key)) {
                let key = Spanned::new(value.span(), "new".into());
                table.insert(key, value);
            }
        },
        |table| {
            for (key, value) in table.iter_mut() {
                if key.get_ref() == "new" {
                    let one = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
                    let mut list = toml::de::DeArray::new();
                    list.push(Spanned::new(value.span(), one));
                    *value.get_mut() = DeValue::Array(list);
                }
            }
        },
    ];

    fn forward(text: &str) -> Result<String, String> {
        let (mut table, _) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(text);
        if bring_forward_by(PRETENDED, table.get_mut(), &mut reader) {
            let keys = table.get_ref().iter();
            let keys = keys.filter(|(key, _)| key.get_ref() != "version");
            Ok(keys
                .map(|(key, value)| {
                    let kind = match value.get_ref() {
                        DeValue::Array(_) => "list",
                        _ => "one",
                    };
                    format!("{} {kind} at {}", key.get_ref(), value.span().start)
                })
                .collect())
        } else {
            Err(reader.into_problems()[0].to_string())
        }
    }

    #[test]
    fn a_text_takes_every_step_that_its_version_is_behind() {
        for (text, now) in [
            ("old = 5", "new list at 6"),
            ("version = 1\nold = 5", "new list at 18"),
            ("version = 2\nnew = 5", "new list at 18"),
            // Nothing is done to what is of today already.
            ("version = 3\nnew = [5]", "new list at 18"),
            ("version = 3\nold = 5", "old one at 18"),
            ("version = 0x2\nold = 5", "old one at 20"),
        ] {
            assert_eq!(forward(text), Ok(now.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_version_that_cannot_be_read_is_the_only_problem() {
        let newer = forward("version = 4").unwrap_err();
        assert!(newer.starts_with("1:11: version: "), "{newer}");
        assert!(newer.contains("reads up to 3") && newer.contains("newer"));
        for text in [
            "version = 0",
            "version = -1",
            "version = \"1\"",
            "version = 1.0",
            "version = 99999999999999999999999",
        ] {
            assert!(forward(text).unwrap_err().contains("no version"), "{text}");
        }
    }
}
