//! Revisions of the configuration: written once, never changed; only what became of them is.

use rusqlite::{OptionalExtension, Row, params};

use crate::Store;
use crate::backups::{self, BackupDraft};
use crate::error::StoreError;

/// Most revisions kept; the oldest go first. A household's text is a few kilobytes.
pub const REVISIONS_ENTRIES_MAX: u64 = 200;

/// A revision that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionDraft<'a> {
    /// The configuration as written.
    pub toml: &'a str,
    /// Who makes it.
    pub author: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When, Unix seconds.
    pub unix_s: u64,
    /// Whether it waits to be confirmed; else it counts at once.
    pub pending: bool,
}

/// A stored revision without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionHead {
    /// Its number, from 1.
    pub number: u64,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When, Unix seconds.
    pub unix_s: u64,
    /// What became of it.
    pub state: RevisionState,
}

/// A stored revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// All but the text.
    pub head: RevisionHead,
    /// The text.
    pub toml: String,
}

/// What became of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionState {
    /// Written, and not yet seen in the kernel.
    Stored,
    /// Waits for a confirmation; a boot before that applies the one before it.
    Pending,
    /// Was in the kernel, whole.
    Applied,
    /// Was not confirmed, or rolled back; the one before it was taken.
    Reverted,
    /// Could not be applied or loaded; the one before it was taken.
    Failed,
}

impl RevisionState {
    /// As stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [
            Self::Stored,
            Self::Pending,
            Self::Applied,
            Self::Reverted,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

impl Store {
    /// Writes a revision and returns its number.
    pub fn commit_revision(&mut self, draft: &RevisionDraft<'_>) -> Result<u64, StoreError> {
        self.commit_revision_after(None, draft)
    }

    /// The same, with a backup of what is in force before it, in one transaction.
    pub fn commit_revision_after(
        &mut self,
        backup: Option<&BackupDraft<'_>>,
        draft: &RevisionDraft<'_>,
    ) -> Result<u64, StoreError> {
        let failed = StoreError::sql("storing a revision");
        let state = if draft.pending {
            RevisionState::Pending
        } else {
            RevisionState::Stored
        };
        let change = self.db.transaction().map_err(&failed)?;
        if let Some(backup) = backup {
            backups::insert(&change, backup)?;
        }
        change
            .execute(
                "INSERT INTO revisions (toml, author, reason, unix_s, state)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    draft.toml,
                    draft.author,
                    draft.reason,
                    signed(draft.unix_s),
                    state.as_str()
                ],
            )
            .map_err(&failed)?;
        let number = change.last_insert_rowid();
        let oldest = number.saturating_sub(signed(REVISIONS_ENTRIES_MAX));
        change
            .execute("DELETE FROM revisions WHERE number <= ?1", [oldest])
            .map_err(&failed)?;
        change.commit().map_err(&failed)?;
        Ok(unsigned(number))
    }

    /// Notes what became of a revision.
    pub fn mark_revision(&mut self, number: u64, state: RevisionState) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE revisions SET state = ?2 WHERE number = ?1 AND state <> ?2",
                params![signed(number), state.as_str()],
            )
            .map_err(StoreError::sql("marking a revision"))?;
        Ok(())
    }

    /// Whatever still waits to be confirmed is taken back, in one go; tells which.
    pub fn revert_pending(&mut self) -> Result<Vec<u64>, StoreError> {
        let failed = StoreError::sql("taking back what was not confirmed");
        let mut rows = self
            .db
            .prepare_cached(
                "UPDATE revisions SET state = 'reverted' WHERE state = 'pending' RETURNING number",
            )
            .map_err(&failed)?;
        let numbers = rows
            .query_map([], |row| row.get(0).map(unsigned))
            .and_then(Iterator::collect)
            .map_err(&failed)?;
        Ok(numbers)
    }

    /// One revision.
    pub fn revision(&self, number: u64) -> Result<Option<Revision>, StoreError> {
        self.one_revision("number = ?1", signed(number))
    }

    /// The newest revision below `number` that has not failed and does not wait; with
    /// `u64::MAX` the newest such.
    pub fn good_revision_before(&self, number: u64) -> Result<Option<Revision>, StoreError> {
        self.one_revision(
            "number < ?1 AND state IN ('stored', 'applied') ORDER BY number DESC LIMIT 1",
            signed(number),
        )
    }

    /// Heads of revisions below `before`, newest first.
    pub fn revisions(&self, before: u64, limit: u32) -> Result<Vec<RevisionHead>, StoreError> {
        let failed = StoreError::sql("listing revisions");
        let mut rows = self
            .db
            .prepare_cached(
                "SELECT number, author, reason, unix_s, state FROM revisions
                 WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
            )
            .map_err(&failed)?;
        let heads = rows
            .query_map(params![signed(before), limit], head)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(&failed)?;
        heads
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(StoreError::Row {
                what: "listing revisions",
            })
    }

    fn one_revision(&self, condition: &str, number: i64) -> Result<Option<Revision>, StoreError> {
        let what = "reading a revision";
        let found = self
            .db
            .query_row(
                &format!(
                    "SELECT number, author, reason, unix_s, state, toml FROM revisions
                     WHERE {condition}"
                ),
                [number],
                |row| Ok((head(row)?, row.get(5)?)),
            )
            .optional()
            .map_err(StoreError::sql(what))?;
        match found {
            None => Ok(None),
            Some((Some(head), toml)) => Ok(Some(Revision { head, toml })),
            Some((None, _)) => Err(StoreError::Row { what }),
        }
    }
}

/// `None` when the state is a word that this firmware does not know.
fn head(row: &Row<'_>) -> rusqlite::Result<Option<RevisionHead>> {
    let state: String = row.get(4)?;
    let Some(state) = RevisionState::from_text(&state) else {
        return Ok(None);
    };
    Ok(Some(RevisionHead {
        number: unsigned(row.get(0)?),
        author: row.get(1)?,
        reason: row.get(2)?,
        unix_s: unsigned(row.get(3)?),
        state,
    }))
}

/// SQLite's integers are signed; a time or number beyond that is the largest there is.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The way back; what we wrote is never negative.
pub(crate) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
