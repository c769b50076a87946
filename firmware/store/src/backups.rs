//! Backups of the configuration on the box itself, each a text of
//! [`Backup`](lintel_model::backup::Backup).
//!
//! What somebody asked for is never pushed out by what comes by itself: each origin has its own
//! count, and where octets run short, those that came by themselves go first.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Store;
use crate::error::StoreError;
use crate::revisions::{signed, unsigned};

/// Most octets of all backups together, the newest aside: two hundred of a household, and ten of
/// the largest configuration there can be. It is a part of the database's own bound, and of each
/// snapshot.
pub const BACKUPS_BYTES_MAX: u64 = 3 << 20;

/// How a backup came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupOrigin {
    /// Somebody asked for it.
    Asked,
    /// A file that somebody brought.
    Imported,
    /// Before a change.
    Commit,
    /// The time had come.
    Schedule,
}

impl BackupOrigin {
    /// Every one, those that give way first at the front.
    const ALL: [Self; 4] = [Self::Commit, Self::Schedule, Self::Imported, Self::Asked];

    /// As stored and as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Imported => "imported",
            Self::Commit => "commit",
            Self::Schedule => "schedule",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }

    /// Most that are kept.
    pub fn entries_max(self) -> u32 {
        match self {
            // An evening of changes; revisions reach further back.
            Self::Commit => 16,
            // Two weeks in which something changed each day.
            Self::Schedule => 14,
            // What somebody tries until the right file is found.
            Self::Imported => 8,
            // One a month for more than a year.
            Self::Asked => 16,
        }
    }
}

/// A backup that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupDraft<'a> {
    /// How it came about.
    pub origin: BackupOrigin,
    /// When it was made, Unix seconds: of an imported one, on the box that it is from.
    pub made_unix_s: u64,
    /// Why.
    pub reason: &'a str,
    /// Short name of its board.
    pub board: &'a str,
    /// The revision in it, as its box counted.
    pub revision: Option<u64>,
    /// The text.
    pub content: &'a str,
}

/// A stored backup without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHead {
    /// Its number, from 1; no other one ever has it.
    pub id: u64,
    /// How it came about.
    pub origin: BackupOrigin,
    /// When it was made, Unix seconds.
    pub made_unix_s: u64,
    /// Why.
    pub reason: String,
    /// Short name of its board.
    pub board: String,
    /// The revision in it.
    pub revision: Option<u64>,
    /// Octets of the text.
    pub bytes: u64,
}

/// A stored backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// All but the text.
    pub head: BackupHead,
    /// The text.
    pub content: String,
}

/// What [`head`] reads.
const HEAD: &str =
    "id, origin, made_unix_s, reason, board, revision, length(CAST(content AS BLOB))";

impl Store {
    /// Stores a backup and returns its number; the oldest of its origin give way.
    pub fn add_backup(&mut self, draft: &BackupDraft<'_>) -> Result<u64, StoreError> {
        let failed = StoreError::sql("storing a backup");
        let change = self.db.transaction().map_err(&failed)?;
        let id = insert(&change, draft)?;
        change.commit().map_err(&failed)?;
        Ok(id)
    }

    /// Heads of backups below `before`, newest first.
    pub fn backups(&self, before: u64, limit: u32) -> Result<Vec<BackupHead>, StoreError> {
        let what = "listing backups";
        let failed = StoreError::sql(what);
        let mut rows = self
            .db
            .prepare_cached(&format!(
                "SELECT {HEAD} FROM backups WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
            ))
            .map_err(&failed)?;
        let heads = rows
            .query_map(params![signed(before), limit], head)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(&failed)?;
        let heads: Option<Vec<_>> = heads.into_iter().collect();
        heads.ok_or(StoreError::Row { what })
    }

    /// One backup.
    pub fn backup(&self, id: u64) -> Result<Option<BackupRow>, StoreError> {
        self.one_backup("id = ?1", signed(id))
    }

    /// The newest one.
    pub fn newest_backup(&self) -> Result<Option<BackupRow>, StoreError> {
        self.one_backup("id <= ?1 ORDER BY id DESC LIMIT 1", i64::MAX)
    }

    fn one_backup(&self, condition: &str, id: i64) -> Result<Option<BackupRow>, StoreError> {
        let what = "reading a backup";
        let found = self
            .db
            .query_row(
                &format!("SELECT {HEAD}, content FROM backups WHERE {condition}"),
                [id],
                |row| Ok((head(row)?, row.get(7)?)),
            )
            .optional()
            .map_err(StoreError::sql(what))?;
        match found {
            None => Ok(None),
            Some((Some(head), content)) => Ok(Some(BackupRow { head, content })),
            Some((None, _)) => Err(StoreError::Row { what }),
        }
    }
}

/// Within a transaction of the caller's.
pub(crate) fn insert(db: &Connection, draft: &BackupDraft<'_>) -> Result<u64, StoreError> {
    let failed = StoreError::sql("storing a backup");
    db.execute(
        "INSERT INTO backups (origin, made_unix_s, reason, board, revision, content)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            draft.origin.as_str(),
            signed(draft.made_unix_s),
            draft.reason,
            draft.board,
            draft.revision.map(signed),
            draft.content,
        ],
    )
    .map_err(&failed)?;
    let id = db.last_insert_rowid();
    db.execute(
        "DELETE FROM backups WHERE origin = ?1 AND id NOT IN (
             SELECT id FROM backups WHERE origin = ?1 ORDER BY id DESC LIMIT ?2)",
        params![draft.origin.as_str(), draft.origin.entries_max()],
    )
    .map_err(&failed)?;
    bound_bytes(db, id)?;
    Ok(unsigned(id))
}

/// Removes the oldest until all together are within [`BACKUPS_BYTES_MAX`], in the order in which
/// origins give way; never the one that was just stored.
fn bound_bytes(db: &Connection, newest: i64) -> Result<(), StoreError> {
    let failed = StoreError::sql("bounding the backups");
    let mut rows = db
        .prepare_cached("SELECT id, origin, length(CAST(content AS BLOB)) FROM backups ORDER BY id")
        .map_err(&failed)?;
    let held: Vec<(i64, String, i64)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(&failed)?;
    let mut over: i64 = held.iter().map(|(_, _, bytes)| bytes).sum();
    over -= signed(BACKUPS_BYTES_MAX);
    for origin in BackupOrigin::ALL {
        let of = |row: &&(i64, String, i64)| row.1 == origin.as_str() && row.0 != newest;
        for (id, _, bytes) in held.iter().filter(of) {
            if over <= 0 {
                return Ok(());
            }
            db.execute("DELETE FROM backups WHERE id = ?1", [id])
                .map_err(&failed)?;
            over -= bytes;
        }
    }
    Ok(())
}

/// `None` when the origin is a word that this firmware does not know.
fn head(row: &Row<'_>) -> rusqlite::Result<Option<BackupHead>> {
    let origin: String = row.get(1)?;
    let Some(origin) = BackupOrigin::from_text(&origin) else {
        return Ok(None);
    };
    Ok(Some(BackupHead {
        id: unsigned(row.get(0)?),
        origin,
        made_unix_s: unsigned(row.get(2)?),
        reason: row.get(3)?,
        board: row.get(4)?,
        revision: row.get::<_, Option<i64>>(5)?.map(unsigned),
        bytes: unsigned(row.get(6)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(origin: BackupOrigin, content: &str) -> BackupDraft<'_> {
        BackupDraft {
            origin,
            made_unix_s: 1_700_000_000,
            reason: "why",
            board: "x86_64",
            revision: Some(3),
            content,
        }
    }

    fn ids(store: &Store, origin: BackupOrigin) -> Vec<u64> {
        let all = store.backups(u64::MAX, 1000).unwrap();
        let of = all.iter().filter(|head| head.origin == origin);
        of.map(|head| head.id).collect()
    }

    #[test]
    fn a_backup_reads_back_and_its_number_is_never_given_again() {
        let mut store = Store::memory().unwrap();
        assert_eq!(store.newest_backup().unwrap(), None);
        let id = store
            .add_backup(&draft(BackupOrigin::Asked, "text ä"))
            .unwrap();
        let row = store.backup(id).unwrap().unwrap();
        assert_eq!((row.content.as_str(), row.head.bytes), ("text ä", 7));
        assert_eq!(
            (row.head.reason.as_str(), row.head.revision),
            ("why", Some(3))
        );
        assert_eq!(store.newest_backup().unwrap(), Some(row));
        assert_eq!(store.backup(id + 1).unwrap(), None);
        let revision = crate::RevisionDraft {
            toml: "",
            author: "web",
            reason: "",
            unix_s: 1,
            pending: false,
        };
        let before = draft(BackupOrigin::Commit, "before");
        store
            .commit_revision_after(Some(&before), &revision)
            .unwrap();
        assert_eq!(store.newest_backup().unwrap().unwrap().content, "before");
    }

    #[test]
    fn what_comes_by_itself_pushes_out_its_own_kind_alone() {
        let mut store = Store::memory().unwrap();
        let asked = store
            .add_backup(&draft(BackupOrigin::Asked, "mine"))
            .unwrap();
        for n in 0..100 {
            let text = format!("{n}");
            store
                .add_backup(&draft(BackupOrigin::Commit, &text))
                .unwrap();
            store
                .add_backup(&draft(BackupOrigin::Schedule, &text))
                .unwrap();
        }
        assert_eq!(ids(&store, BackupOrigin::Asked), [asked]);
        assert_eq!(ids(&store, BackupOrigin::Commit).len(), 16);
        assert_eq!(ids(&store, BackupOrigin::Schedule).len(), 14);
        assert_eq!(store.backups(u64::MAX, 1).unwrap()[0].id, 201);
    }

    #[test]
    fn octets_are_bounded_and_what_was_asked_for_goes_last() {
        let mut store = Store::memory().unwrap();
        let long = "x".repeat(300 * 1024);
        let sum = |store: &Store| -> u64 {
            let all = store.backups(u64::MAX, 1000).unwrap();
            all.iter().map(|head| head.bytes).sum()
        };
        for _ in 0..5 {
            store
                .add_backup(&draft(BackupOrigin::Asked, &long))
                .unwrap();
        }
        for _ in 0..10 {
            store
                .add_backup(&draft(BackupOrigin::Commit, &long))
                .unwrap();
        }
        assert_eq!(ids(&store, BackupOrigin::Asked).len(), 5);
        assert_eq!(ids(&store, BackupOrigin::Commit), [15, 14, 13, 12, 11]);
        assert!(sum(&store) <= BACKUPS_BYTES_MAX);
        for _ in 0..10 {
            store
                .add_backup(&draft(BackupOrigin::Asked, &long))
                .unwrap();
            assert!(sum(&store) <= BACKUPS_BYTES_MAX);
        }
        assert_eq!(ids(&store, BackupOrigin::Commit), [0; 0]);
        assert_eq!(ids(&store, BackupOrigin::Asked).len(), 10);
        // One that is alone over the bound stays all the same.
        let huge = "x".repeat(4 << 20);
        let id = store
            .add_backup(&draft(BackupOrigin::Imported, &huge))
            .unwrap();
        assert_eq!(store.backups(u64::MAX, 9).unwrap().len(), 1);
        assert_eq!(ids(&store, BackupOrigin::Imported), [id]);
    }
}
