//! Backups: made on request, before every change and once a day where something changed; taken
//! along as a file, brought back, and put in force as a change like any other.
//!
//! What is in one says `docs/adr/0010-backups.md`.

use std::collections::BTreeMap;

use embassy_time::Duration;
use lintel_api::types::{
    BackupInfo, BackupParams, ConfigExported, ExportParams, IMPORT_BYTES_MAX, ImportParams, Memory,
    PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN, Page, PageParams, RestoreParams,
    passphrase_problem,
};
use lintel_ipc::call::{Caller, FieldError, Problem};
use lintel_model::backup::{Backup, BackupError};
use lintel_model::config::PortSelector;
use lintel_model::facts::DataState;
use lintel_plan::restore::{PortQuestion, match_ports, record_ports};
use lintel_seal::{Sealed, armor};
use lintel_store::{BackupDraft, BackupHead, BackupOrigin, BackupRow};

use super::calls::{Answer, at_once, bad_field, cannot_store, data_failed, problem};
use super::commits::Wish;
use super::config_calls::{bad_cursor, cannot_read, invalid, page_limit};
use super::core::{Core, Now, Waiter};
use super::sealing::{Asked, SealJob, SealUse, cannot_open};
use super::startup;
use crate::cli::date;

/// Between two looks whether something changed since the newest backup.
const BACKUP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// From the start to the first look: a box that is switched on for an hour a day has its backup.
pub(super) const BACKUP_AFTER: Duration = Duration::from_secs(900);
/// Longest reason kept, characters.
const REASON_CHARS_MAX: usize = 200;

impl Core {
    /// What is in force, as a backup.
    fn backup_now(&self, now: Now, reason: &str) -> Backup {
        let kept = reason.chars().filter(|c| !c.is_control());
        Backup {
            made_unix_s: now.unix_s,
            firmware: self.start.version.clone(),
            board: self.start.board.name.clone(),
            revision: self.active.revision,
            reason: kept.take(REASON_CHARS_MAX).collect(),
            ports: record_ports(&self.active.config, &self.facts),
            config: self.active.toml.clone(),
        }
    }

    /// The same, unless the newest backup would restore no other state, or it would be too long
    /// to be read.
    pub(super) fn backup_if_new(&self, now: Now, reason: &str) -> Option<(Backup, String)> {
        let backup = self.backup_now(now, reason);
        let newest = self.store.newest_backup().ok().flatten();
        let held = newest.and_then(|row| Backup::parse(&row.content).ok());
        if held.is_some_and(|held| held.restores_as(&backup)) {
            return None;
        }
        let text = backup.to_text();
        if let Err(error) = Backup::parse(&text) {
            log::warn!("no backup is made: {error}");
            return None;
        }
        Some((backup, text))
    }

    /// Once a day; nothing where nothing changed, and not what may still be taken back.
    pub(super) fn back_up_by_schedule(&mut self, now: Now) {
        self.backup_at = now.mono + BACKUP_EVERY;
        if self.facts.data != DataState::Good {
            return;
        }
        if self.window.is_some() {
            self.backup_at = now.mono + BACKUP_AFTER;
            return;
        }
        if let Some((backup, text)) = self.backup_if_new(now, "daily") {
            let draft = draft(BackupOrigin::Schedule, &backup, &text);
            let id = self.stored("storing a backup", |store| store.add_backup(&draft));
            if let Some(id) = id {
                log::info!("backup {id} of what changed since the last one");
            }
        }
    }

    /// `config.backup`.
    pub(super) fn config_backup(
        &mut self,
        now: Now,
        params: &BackupParams,
    ) -> Result<BackupInfo, Problem> {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        let backup = self.backup_now(now, params.reason.as_deref().unwrap_or_default());
        let text = backup.to_text();
        Backup::parse(&text).map_err(|error| no_backup(&error))?;
        self.keep_backup(now, BackupOrigin::Asked, &backup, &text)
    }

    /// `config.backups`.
    pub(super) fn config_backups(&self, params: &PageParams) -> Result<Page<BackupInfo>, Problem> {
        let limit = page_limit(params);
        let before = match &params.cursor {
            None => u64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let heads = self.store.backups(before, limit);
        let heads = heads.map_err(|error| cannot_read(&error))?;
        let full = heads.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = heads
            .last()
            .filter(|_| full)
            .map(|head| head.id.to_string());
        Ok(Page {
            items: heads.into_iter().map(info).collect(),
            next,
        })
    }

    /// `config.export`.
    pub(super) fn config_export(
        &mut self,
        now: Now,
        waiter: Waiter,
        memory: Option<Memory>,
        params: ExportParams,
    ) -> Answer {
        if let Some(wrong) = params.passphrase.as_deref().and_then(passphrase_problem) {
            let hint = format!(
                "use {PASSPHRASE_CHARS_MIN} to {PASSPHRASE_BYTES_MAX} characters of ASCII; \
                 four words make a good one"
            );
            return Err(bad_field("passphrase", wrong, &hint));
        }
        let asked = params.passphrase.as_deref().map(|passphrase| {
            let backup = params.backup.map(|id| id.to_string());
            Asked::by(&["export", &backup.unwrap_or_default(), passphrase])
        });
        let again = asked.and_then(|asked| self.sealing_again(now, waiter, asked));
        if let Some(outcome) = again {
            return outcome;
        }
        let (made_unix_s, plain) = match params.backup {
            Some(id) => {
                let row = self.backup_row(id)?;
                (row.head.made_unix_s, row.content)
            }
            None => (now.unix_s, self.backup_now(now, "export").to_text()),
        };
        let name = format!(
            "lintel-{}-{}",
            self.active.config.system.hostname,
            day(made_unix_s)
        );
        match params.passphrase.zip(asked) {
            None => at_once(&ConfigExported {
                file_name: name + ".toml",
                sealed: false,
                content: plain,
            }),
            Some((passphrase, asked)) => {
                let mut random = Box::new([0; 48]);
                self.rng.fill(random.as_mut_slice());
                let job = SealJob::Seal {
                    plain,
                    passphrase,
                    random,
                };
                let use_ = SealUse::Export(name + ".toml.age");
                self.begin_sealing(now, waiter, memory, (job, asked, use_))
            }
        }
    }

    /// `config.import`: nothing is stored before all of it is read and found right.
    pub(super) fn config_import(
        &mut self,
        now: Now,
        waiter: Waiter,
        memory: Option<Memory>,
        params: ImportParams,
    ) -> Answer {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        if params.content.len() > IMPORT_BYTES_MAX {
            let hint = format!("a backup has at most {IMPORT_BYTES_MAX} octets");
            return Err(bad_field("content", "it is too long", &hint));
        }
        if !armor::looks_like(&params.content) {
            return at_once(&self.import_text(now, &params.content)?);
        }
        let Some(passphrase) = params
            .passphrase
            .filter(|passphrase| !passphrase.is_empty())
        else {
            let hint = "give the passphrase that the file was sealed with";
            return Err(bad_field("passphrase", "the file is sealed", hint));
        };
        if passphrase.len() > PASSPHRASE_BYTES_MAX {
            let hint = format!("at most {PASSPHRASE_BYTES_MAX} octets are taken");
            return Err(bad_field("passphrase", "it is too long", &hint));
        }
        let asked = Asked::by(&["import", &params.content, &passphrase]);
        if let Some(outcome) = self.sealing_again(now, waiter, asked) {
            return outcome;
        }
        let file = armor::decode(&params.content).ok_or(lintel_seal::OpenError::Damaged);
        // What can be refused without the work is.
        let file = file.and_then(|file| Sealed::parse(&file).map(drop).map(|()| file));
        let file = file.map_err(cannot_open)?;
        let job = SealJob::Open { file, passphrase };
        self.begin_sealing(now, waiter, memory, (job, asked, SealUse::Import))
    }

    /// A file that is open.
    pub(super) fn import_text(&mut self, now: Now, text: &str) -> Result<BackupInfo, Problem> {
        let backup = Backup::parse(text).map_err(|error| no_backup(&error))?;
        startup::parse(&self.start, &backup.config).map_err(invalid)?;
        // The same file again, by somebody whose first answer was lost.
        if let Some(head) = self.imported(text) {
            return Ok(info(head));
        }
        self.keep_backup(now, BackupOrigin::Imported, &backup, text)
    }

    fn imported(&self, text: &str) -> Option<BackupHead> {
        let heads = self.store.backups(u64::MAX, u32::MAX).ok()?;
        let same = |head: &BackupHead| {
            head.origin == BackupOrigin::Imported
                && usize::try_from(head.bytes) == Ok(text.len())
                && matches!(self.store.backup(head.id), Ok(Some(row)) if row.content == text)
        };
        heads.into_iter().find(same)
    }

    /// `config.restore`: a commit of what the backup holds.
    pub(super) fn config_restore(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        params: RestoreParams,
    ) -> Answer {
        let wish = self.restore_wish(params)?;
        self.commit(now, waiter, caller, wish)
    }

    fn restore_wish(&self, params: RestoreParams) -> Result<Wish, Problem> {
        let row = self.backup_row(params.id)?;
        let backup = Backup::parse(&row.content).map_err(|error| no_backup(&error))?;
        let config = startup::parse(&self.start, &backup.config).map_err(invalid)?;
        let mut chosen = BTreeMap::new();
        for (from, to) in params.ports.unwrap_or_default() {
            let read = |text: &str| {
                let wrong = |_| {
                    let hint = "write a port as in the configuration, such as eth0 or \
                                mac:02:00:5e:00:53:01";
                    bad_field(
                        &format!("ports.{}", shortened(&from)),
                        "it names no port",
                        hint,
                    )
                };
                text.parse::<PortSelector>().map_err(wrong)
            };
            chosen.insert(read(&from)?, read(&to)?);
        }
        let same_board = backup.board == self.start.board.name;
        let matched = match_ports(&config, &backup.ports, same_board, &self.facts, &chosen);
        let matched = matched.map_err(|open| ports_open(&open))?;
        let toml = match matched == config {
            true => backup.config,
            false => matched.to_toml(),
        };
        let reason = format!("backup {} of {}", row.head.id, date(row.head.made_unix_s));
        Ok(Wish {
            toml,
            config: matched,
            reason: params.reason.unwrap_or(reason),
            dry_run: params.dry_run,
            confirm_s: params.confirm_s,
            notices: Vec::new(),
        })
    }

    fn backup_row(&self, id: u64) -> Result<BackupRow, Problem> {
        let found = self.store.backup(id).map_err(|error| cannot_read(&error))?;
        found.ok_or_else(|| {
            problem(
                404,
                "no-such-backup",
                "There is no such backup",
                "lintel config backups lists them.",
            )
        })
    }

    fn keep_backup(
        &mut self,
        now: Now,
        origin: BackupOrigin,
        backup: &Backup,
        text: &str,
    ) -> Result<BackupInfo, Problem> {
        let draft = draft(origin, backup, text);
        let id = self
            .stored("storing a backup", |store| store.add_backup(&draft))
            .ok_or_else(cannot_store)?;
        self.want_snapshot(now);
        let row = self.backup_row(id)?;
        Ok(info(row.head))
    }
}

pub(super) fn draft<'a>(
    origin: BackupOrigin,
    backup: &'a Backup,
    text: &'a str,
) -> BackupDraft<'a> {
    BackupDraft {
        origin,
        made_unix_s: backup.made_unix_s,
        reason: &backup.reason,
        board: &backup.board,
        revision: backup.revision,
        content: text,
    }
}

fn info(head: BackupHead) -> BackupInfo {
    BackupInfo {
        id: head.id,
        origin: head.origin.as_str().to_owned(),
        made_unix_s: head.made_unix_s,
        reason: head.reason,
        board: head.board,
        revision: head.revision,
        bytes: head.bytes,
    }
}

/// `2026-11-21`, for a file's name.
fn day(unix_s: u64) -> String {
    date(unix_s).chars().take(10).collect()
}

pub(super) fn no_backup(error: &BackupError) -> Problem {
    let kind = match error {
        BackupError::NoBackup => "no-backup",
        BackupError::Newer { .. } => "newer-backup",
        BackupError::Damaged { .. } => "damaged-backup",
        BackupError::TooLong => "too-long",
    };
    let detail = format!("Nothing was changed: {error}.");
    problem(422, kind, "The file cannot be used as a backup", &detail)
}

fn ports_open(open: &[PortQuestion]) -> Problem {
    let errors = open.iter().map(|question| {
        let candidates: Vec<String> = question
            .candidates
            .iter()
            .map(ToString::to_string)
            .collect();
        FieldError {
            path: format!("ports.{}", question.selector),
            line: None,
            reason: question.reason.clone(),
            hint: match candidates.as_slice() {
                [] => "no port is free for it".to_owned(),
                some => format!("one of {}", some.join(", ")),
            },
        }
    });
    Problem {
        errors: errors.collect(),
        ..problem(
            422,
            "ports-unmatched",
            "It is not clear which ports of this box take the places of the backup's",
            "Nothing was changed. Say it in ports, by the name in the backup; the same name on \
             both sides keeps it as it is.",
        )
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
