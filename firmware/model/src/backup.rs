//! A backup: the configuration as it was written, and what is needed to put it in force on
//! another box.
//!
//! The text is TOML, for people who open it in ten years. It begins with `backup`, the version of
//! this form, and ends with `[end]`: one that was cut off has no end and is refused whole. Keys
//! that a later form adds raise the version, so that no older firmware restores half of it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::config::PortSelector;
use crate::names::{LinkName, MacAddr};

/// The form that this source reads and writes.
pub const VERSION: u32 = 1;
/// Longest text taken, octets: the longest configuration with every character escaped would be
/// twice that, but ours are written as they are.
pub const BACKUP_BYTES_MAX: usize = 320 * 1024;
/// Most ports in one; the largest boards have a dozen.
pub const PORTS_MAX: usize = 64;
/// What stands in `[end]`.
const WHOLE: &str = "whole";

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// When it was made, Unix seconds.
    pub made_unix_s: u64,
    /// Version of the firmware that made it.
    pub firmware: String,
    /// Short name of the board.
    pub board: String,
    /// The configuration's revision on the box that made it.
    pub revision: Option<u64>,
    /// Why it was made.
    pub reason: String,
    /// The ports of that box.
    pub ports: Vec<PortRecord>,
    /// The configuration as it was written.
    pub config: String,
}

/// A port of the box that made the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRecord {
    /// Its name there.
    pub name: LinkName,
    /// Its permanent hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Where it sits (`pci-0000:00:03.0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it was for.
    pub role: PortRole,
}

impl PortRecord {
    /// Whether a configuration that says this meant this port.
    pub fn is_named_by(&self, selector: &PortSelector) -> bool {
        match selector {
            PortSelector::Mac(mac) => self.mac == Some(*mac),
            PortSelector::Path(path) => self.path.as_ref() == Some(path),
            PortSelector::Name(name) => self.name == *name,
        }
    }
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// The way to the internet.
    Wan,
    /// The household's network.
    Lan,
    /// Nothing, or not known yet.
    None,
}

/// Why a text is no backup that can be used. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup of a box")]
    NoBackup,
    /// A newer firmware wrote it.
    #[error(
        "it is a backup of form {found}, and this firmware knows up to {VERSION}: update it first"
    )]
    Newer {
        /// The form that it names.
        found: u64,
    },
    /// It is cut off or was changed.
    #[error("the backup is damaged or cut off ({what})")]
    Damaged {
        /// Where it does not read.
        what: String,
    },
    /// It is longer than any that we write.
    #[error("it is longer than the {BACKUP_BYTES_MAX} octets of the largest backup")]
    TooLong,
}

impl Backup {
    /// Reads one. The configuration in it is taken as text and not judged.
    pub fn parse(text: &str) -> Result<Self, BackupError> {
        if text.len() > BACKUP_BYTES_MAX {
            return Err(BackupError::TooLong);
        }
        // Who reads a later form must hear so, and not that a key is unknown.
        let first = text.lines().find(|line| line.starts_with("backup"));
        let version = first
            .and_then(|line| line.strip_prefix("backup = "))
            .and_then(|number| number.trim().parse::<u64>().ok())
            .ok_or(BackupError::NoBackup)?;
        if version != u64::from(VERSION) {
            return match version {
                0 => Err(BackupError::NoBackup),
                found => Err(BackupError::Newer { found }),
            };
        }
        let form: Form = toml::from_str(text).map_err(|error| damaged(error.message()))?;
        if form.backup != VERSION || form.end.backup != WHOLE {
            return Err(damaged("its end is not that of its beginning"));
        }
        if form.ports.len() > PORTS_MAX {
            return Err(damaged("it names too many ports"));
        }
        Ok(Self {
            made_unix_s: form.made_unix_s,
            firmware: form.firmware,
            board: form.board,
            revision: form.revision,
            reason: form.reason,
            ports: form.ports,
            config: form.config,
        })
    }

    /// The text; [`Backup::parse`] reads it back to an equal value when it is within its bounds.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# A backup of a Lintel box. «lintel config import» and the page of backups take it in.\n\
             # It holds the configuration; no password, no session, no token and no key.\n",
        );
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "backup = {VERSION}");
        let _ = writeln!(
            text,
            "made_unix_s = {}",
            self.made_unix_s.min(i64::MAX as u64)
        );
        let _ = writeln!(text, "firmware = {}", quoted(&self.firmware));
        let _ = writeln!(text, "board = {}", quoted(&self.board));
        if let Some(revision) = self.revision {
            let _ = writeln!(text, "revision = {}", revision.min(i64::MAX as u64));
        }
        let _ = writeln!(text, "reason = {}", quoted(&self.reason));
        text.push_str("\n# The configuration as it was written.\n");
        let _ = writeln!(text, "config = {}", long(&self.config));
        for (at, port) in self.ports.iter().take(PORTS_MAX).enumerate() {
            if at == 0 {
                text.push_str("\n# The ports of that box, so that others can take their places.\n");
            }
            text.push_str("[[ports]]\n");
            let _ = writeln!(text, "name = {}", quoted(port.name.as_str()));
            if let Some(mac) = port.mac {
                let _ = writeln!(text, "mac = {}", quoted(&mac.to_string()));
            }
            if let Some(path) = &port.path {
                let _ = writeln!(text, "path = {}", quoted(path));
            }
            let role = match port.role {
                PortRole::Wan => "wan",
                PortRole::Lan => "lan",
                PortRole::None => "none",
            };
            let _ = writeln!(text, "role = {}", quoted(role));
        }
        let _ = write!(text, "\n[end]\nbackup = {}\n", quoted(WHOLE));
        text
    }

    /// Whether the other would restore the same.
    pub fn restores_as(&self, other: &Self) -> bool {
        self.config == other.config && self.ports == other.ports && self.board == other.board
    }
}

/// The text as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    backup: u32,
    made_unix_s: u64,
    firmware: String,
    board: String,
    #[serde(default)]
    revision: Option<u64>,
    reason: String,
    config: String,
    #[serde(default)]
    ports: Vec<PortRecord>,
    end: End,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    backup: String,
}

fn damaged(what: &str) -> BackupError {
    let line = what.lines().next().unwrap_or_default();
    BackupError::Damaged {
        what: line.chars().take(120).collect(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A text of many lines, readable where it can stand as it is.
fn long(text: &str) -> String {
    let as_it_is = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.contains("'''") || text.ends_with('\'') || !text.chars().all(as_it_is) {
        return quoted(text);
    }
    format!("'''\n{text}'''")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backup(config: &str) -> Backup {
        Backup {
            made_unix_s: 1_700_000_000,
            firmware: "0.1.0".to_owned(),
            board: "x86_64".to_owned(),
            revision: Some(7),
            reason: "before «the» move".to_owned(),
            ports: vec![PortRecord {
                name: "eth0".parse().unwrap(),
                mac: Some("02:00:00:00:00:01".parse().unwrap()),
                path: Some("pci-0000:00:03.0".to_owned()),
                role: PortRole::Wan,
            }],
            config: config.to_owned(),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_people_can_read_it() {
        let text = backup("# mine\n[system]\nhostname = \"attic\"\n").to_text();
        assert!(
            text.contains("\n# mine\n[system]\nhostname = \"attic\"\n"),
            "{text}"
        );
        assert_eq!(Backup::parse(&text).unwrap().to_text(), text);
    }

    #[test]
    fn one_that_is_cut_off_anywhere_is_refused() {
        let text = backup("[system]\n").to_text();
        for len in 0..text.len() - 1 {
            if let Some(cut) = text.get(..len) {
                assert!(Backup::parse(cut).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let text = backup("").to_text();
        let parse = |text: &str| Backup::parse(text).unwrap_err();
        assert_eq!(parse("[system]\n"), BackupError::NoBackup);
        assert_eq!(parse(""), BackupError::NoBackup);
        let newer = text.replace("backup = 1", "backup = 2\nmore = 3");
        assert_eq!(parse(&newer), BackupError::Newer { found: 2 });
        let more = text.replace("backup = 1", "backup = 1\nmore = 3");
        assert!(matches!(parse(&more), BackupError::Damaged { .. }));
        let long = format!("{text}#{}", " ".repeat(BACKUP_BYTES_MAX));
        assert_eq!(parse(&long), BackupError::TooLong);
    }

    proptest! {
        #[test]
        fn any_texts_read_back(
            config in "(?s).{0,80}|'{0,4}[a\\r\\n\\t\"\\\\]{0,20}'{0,4}",
            reason in "(?s).{0,20}",
        ) {
            let wanted = Backup { reason, ..backup(&config) };
            prop_assert_eq!(Backup::parse(&wanted.to_text()), Ok(wanted));
        }
    }
}
