//! What must survive: one SQLite database, `state/lintel.db` below the data directory.
//!
//! * [`Store`]: opens, checks and migrates the database; every operation is a method.
//! * Revisions of the configuration are immutable and numbered from 1.
//! * A binding, a revision, a session, a password is on disk when its method returns
//!   (WAL, `synchronous=FULL`). Audit lines and the last known time are not promised: they may
//!   miss the last moments before a power cut, and cost the flash no flush of their own.
//! * [`Store::memory`] is the same over nothing, for a box whose disk cannot be used.
//!
//! * [`Store::open_or_restore`] is for a box: a database that does not read is set aside, and the
//!   newest sound snapshot of [`Store::take_snapshot`] used.
//!
//! One process has the database, and it keeps it locked. Nothing here deletes a database that
//! does not open: it is set aside, or the error says why and the owner decides.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // this crate does the disk's IO

mod backups;
mod bindings;
mod error;
mod facts;
#[cfg(feature = "image")]
mod image;
mod people;
mod recovery;
mod revisions;
mod schema;
mod snapshots;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use backups::{BACKUPS_BYTES_MAX, BackupDraft, BackupHead, BackupOrigin, BackupRow};
pub use bindings::BINDINGS_ENTRIES_MAX;
pub use error::StoreError;
pub use facts::{ClockNote, Fact, Notes, ResetNote};
pub use people::{
    AUDIT_LINES_MAX, AuditLine, SESSIONS_ENTRIES_MAX, SessionRow, TOKENS_ENTRIES_MAX, TokenRow,
};
pub use recovery::{ASIDE_MAX, Restored};
pub use revisions::{REVISIONS_ENTRIES_MAX, Revision, RevisionDraft, RevisionHead, RevisionState};
pub use snapshots::{SNAPSHOTS_MAX, Snapshot};
pub use tls::TlsRow;

/// Name of the database's file in `state`.
const DATABASE: &str = "lintel.db";

/// How long to wait for a lock: the process before us may still be ending.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Largest database, pages of 4 KiB: 200 revisions of the longest text and everything else at its
/// bound stay below 64 MiB.
const PAGES_MAX: u32 = 16 * 1024;

/// Up to this many pages every index is compared with its table at start; beyond it, pages are
/// read and indexes taken as they are. Either way each page is read once, and the disk sets the
/// time: 12 MiB take 6 ms from memory, the largest database 3 s at 20 MB/s.
const PAGES_COMPARED_MAX: i64 = 4 * 1024;

/// The open database.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    /// Where its file and its snapshots are; `None` in memory.
    directory: Option<PathBuf>,
    /// Rows in `bindings`, so that its bound costs no count with each write.
    bindings_count: usize,
    /// Rows written without a flush of their own.
    #[cfg(feature = "image")]
    unpromised_writes: u64,
}

impl Store {
    /// Opens `data_dir/state/lintel.db`, makes it when it is not there, checks it and brings its
    /// schema up to date.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, false)
    }

    /// `used`: it was in use before, so that an empty one has lost what was in it.
    fn open_with(data_dir: &Path, used: bool) -> Result<Self, StoreError> {
        let directory = data_dir.join("state");
        let failed = |source| StoreError::Directory {
            path: directory.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let path = directory.join(DATABASE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)
            .map_err(StoreError::sql("opening the database"))?;
        // Exclusive, so that no shared-memory file is needed beside the WAL, and so that two
        // processes cannot both believe that they keep the state.
        db.busy_timeout(LOCK_WAIT)
            .and_then(|()| db.pragma_update(None, "locking_mode", "EXCLUSIVE"))
            .and_then(|()| db.pragma_update(None, "journal_mode", "WAL"))
            .and_then(|()| db.pragma_update(None, "wal_autocheckpoint", 256))
            .and_then(|()| db.pragma_update(None, "journal_size_limit", 1 << 20))
            .map_err(StoreError::sql("preparing the database"))?;
        Self::ready(db, Some(directory), used)
    }

    /// A database that ends with the process.
    pub fn memory() -> Result<Self, StoreError> {
        let db = Connection::open_in_memory().map_err(StoreError::sql("opening memory"))?;
        Self::ready(db, None, false)
    }

    fn ready(db: Connection, directory: Option<PathBuf>, used: bool) -> Result<Self, StoreError> {
        db.pragma_update(None, "temp_store", "MEMORY")
            .and_then(|()| db.pragma_update(None, "cache_size", -1024))
            .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
            .map_err(StoreError::sql("preparing the database"))?;
        if let Some(directory) = &directory {
            flush_log(directory)?;
            check(&db)?;
            match schema::version(&db)? {
                0 if used => {
                    return Err(StoreError::Damaged {
                        what: "it is empty".to_owned(),
                    });
                }
                0 => {}
                version => schema::verify(&db, version)?,
            }
        }
        let mut store = Self {
            db,
            directory,
            bindings_count: 0,
            #[cfg(feature = "image")]
            unpromised_writes: 0,
        };
        if schema::is_older(&store.db)? {
            // The firmware before this one reads it, should this one not last.
            let at = store.last_time()?.unwrap_or(0);
            store.take_snapshot(at)?;
        }
        schema::migrate(&mut store.db)?;
        store.bindings_count = bindings::count(&store.db)?;
        store.set_pages_max(PAGES_MAX)?;
        Ok(store)
    }

    /// Bounds the database's size, in pages of 4 KiB; what would make it larger fails as on a
    /// full disk. Never below what it takes already.
    pub fn set_pages_max(&mut self, pages: u32) -> Result<(), StoreError> {
        self.db
            .pragma_update(None, "max_page_count", pages)
            .map_err(StoreError::sql("bounding the database"))
    }

    /// Writes anew what the log holds, into the database, and begins an empty log.
    ///
    /// For after an error of the disk ([`StoreError::is_of_disk`]). Linux tells a failed write to
    /// one flush and takes the page for clean from then on. When that page held a commit that had
    /// no flush of its own, the log has a hole there once the power is cut, and ends at it: nothing
    /// may be promised behind it.
    pub fn renew_log(&mut self) -> Result<(), StoreError> {
        let what = "renewing the log";
        let pragma = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self
            .db
            .query_row(pragma, [], |row| row.get(0))
            .map_err(StoreError::sql(what))?;
        match busy {
            0 => Ok(()),
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                let source = rusqlite::Error::SqliteFailure(busy, None);
                Err(StoreError::Sql { what, source })
            }
        }
    }

    /// Rows written since the start: a method that leaves it as it was had nothing to write, and
    /// says nothing about the disk.
    pub fn writes(&self) -> u64 {
        self.db.total_changes()
    }

    /// Runs `work` without a flush at its end: for what is not promised.
    fn unpromised<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let set = |db: &Connection, value| {
            db.pragma_update(None, "synchronous", value)
                .map_err(StoreError::sql("setting the promise"))
        };
        #[cfg(feature = "image")]
        let before = self.writes();
        set(&self.db, "NORMAL")?;
        let done = work(&mut self.db);
        #[cfg(feature = "image")]
        {
            self.unpromised_writes += self.writes() - before;
        }
        set(&self.db, "FULL")?;
        done
    }
}

/// Puts on disk what a process before us committed and did not live to flush: it reads as if it
/// were there, and promises will be made on it. No lock is on the log, so that closing it again
/// takes none away.
fn flush_log(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(format!("{DATABASE}-wal"));
    match std::fs::File::open(&path).and_then(|log| log.sync_all()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Directory { path, source }),
    }
}

/// Reads every page once: a database that is damaged in its depth must not be trusted with new
/// promises. A page that the disk does not give back is damage too.
fn check(db: &Connection) -> Result<(), StoreError> {
    let what = "checking the database";
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::SystemIoFailure) => StoreError::Damaged {
            what: format!("the disk does not give it back ({source})"),
        },
        _ => StoreError::sql(what)(source),
    };
    let pages: i64 = db
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .map_err(failed)?;
    let pragma = if pages <= PAGES_COMPARED_MAX {
        "PRAGMA integrity_check(1)"
    } else {
        "PRAGMA quick_check(1)"
    };
    let said: String = db.query_row(pragma, [], |row| row.get(0)).map_err(failed)?;
    if said == "ok" {
        Ok(())
    } else {
        // The first line names the database, which is ours.
        let what = said.lines().last().unwrap_or_default().to_owned();
        Err(StoreError::Damaged { what })
    }
}

#[cfg(test)]
mod tests;
