//! Backups: files that are read, passphrases that are asked for, and what is said of them.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use lintel_api::MethodId;
use lintel_api::types::{BackupInfo, ConfigExported, IMPORT_BYTES_MAX, Page, passphrase_problem};
use lintel_seal::{INTRO, armor};
use serde_json::json;

use super::args::Invocation;
use super::text::{clean, dash, date, io_words, more, optional, row, table};
use super::{EXIT_USAGE, complain, read_unseen};

/// The file of `config import`, as a text: age's own form is put into letters.
pub(super) fn read_file(name: &str) -> Result<String, String> {
    let bound = IMPORT_BYTES_MAX as u64 + 1;
    let mut octets = Vec::new();
    let read = if name == "-" {
        std::io::stdin().take(bound).read_to_end(&mut octets)
    } else {
        std::fs::File::open(name).and_then(|file| file.take(bound).read_to_end(&mut octets))
    };
    if let Err(error) = read {
        return Err(format!("{name} cannot be read: {}", io_words(&error)));
    }
    let text = match octets.starts_with(INTRO.as_bytes()) {
        true => armor::encode(&octets),
        false => String::from_utf8(octets)
            .map_err(|_| format!("{name} is no backup: it is neither text nor an age file"))?,
    };
    match text.len() > IMPORT_BYTES_MAX {
        true => Err(format!(
            "{name} is no backup: it is longer than {IMPORT_BYTES_MAX} octets"
        )),
        false => Ok(text),
    }
}

/// Whether the call needs a passphrase that was not written.
pub(super) fn wants_passphrase(invocation: &Invocation) -> bool {
    let text = |name: &str| invocation.params.get(name).and_then(|value| value.as_str());
    text("passphrase").is_none()
        && match invocation.method.id {
            MethodId::ConfigExport => true,
            MethodId::ConfigImport => text("content").is_some_and(armor::looks_like),
            _ => false,
        }
}

/// Asks for the passphrase, twice for a new file; an export without one is not sealed.
pub(super) fn ask_passphrase(invocation: &mut Invocation) -> Result<(), ExitCode> {
    let export = invocation.method.id == MethodId::ConfigExport;
    if wants_passphrase(invocation) {
        if invocation.file.as_deref() == Some("-") {
            complain("standard input holds the file: write passphrase=, or name the file");
            return Err(ExitCode::from(EXIT_USAGE));
        }
        let prompt = match export {
            true => "passphrase (none: the file can be read by anybody): ",
            false => "passphrase of the file: ",
        };
        let passphrase = read_unseen(prompt)?;
        if passphrase.is_empty() {
            return Ok(());
        }
        let new = export && std::io::stdin().is_terminal();
        if new && read_unseen("once more: ")? != passphrase {
            complain("the two differ; nothing was written");
            return Err(ExitCode::from(EXIT_USAGE));
        }
        invocation.params["passphrase"] = json!(passphrase);
    }
    // Over HTTP it goes as a field, which cannot carry everything that a terminal can.
    let given = invocation.params.get("passphrase").and_then(|v| v.as_str());
    match given.and_then(passphrase_problem).filter(|_| export) {
        Some(problem) => {
            complain(&format!(
                "the passphrase cannot be used: {problem}\n\
                 use 12 characters or more of ASCII; four words make a good one"
            ));
            Err(ExitCode::from(EXIT_USAGE))
        }
        None => Ok(()),
    }
}

/// The file itself, so that `> FILE` makes it.
pub(super) fn exported(exported: ConfigExported) -> String {
    exported.content
}

pub(super) fn made(info: &BackupInfo) -> String {
    let id = info.id;
    format!(
        "Backup {id} of {}, {} octets.\n\
         lintel config restore {id} puts it in force; with --dry-run it says what that changes.\n",
        date(info.made_unix_s),
        info.bytes
    )
}

pub(super) fn list(page: &Page<BackupInfo>) -> String {
    if page.items.is_empty() {
        return "There is no backup yet.\n".to_owned();
    }
    let mut rows = vec![row([
        "BACKUP",
        "MADE",
        "WHY IT IS THERE",
        "BOARD",
        "REVISION",
        "OCTETS",
        "REASON",
    ])];
    for info in &page.items {
        rows.push(row([
            &info.id.to_string(),
            &date(info.made_unix_s),
            origin(&info.origin),
            &clean(&info.board),
            &optional(info.revision),
            &info.bytes.to_string(),
            &match info.reason.as_str() {
                "" => dash(),
                reason => clean(reason),
            },
        ]));
    }
    table(&rows) + &more(&page.next)
}

/// How a backup came about, in words.
pub(crate) fn origin(word: &str) -> &str {
    match word {
        "asked" => "asked for",
        "imported" => "from a file",
        "commit" => "before a change",
        "schedule" => "daily",
        other => other,
    }
}
