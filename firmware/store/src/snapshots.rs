//! Whole copies of the database beside it, for the day on which it does not read.
//!
//! A snapshot is written by `VACUUM INTO` to a name that nobody looks for, read back, synced and
//! then renamed: what carries a snapshot's name is whole. Names are
//! `snapshot-<number>-<unix_s>.db`; the number orders them, since a box's clock may jump.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::{Store, schema};

/// Most snapshots kept: the newest may hold what made the database fail, and the one before it
/// may lie on the same worn block of flash.
pub const SNAPSHOTS_MAX: usize = 3;

/// Where SQLite's file has `user_version`, four octets, the highest first (fileformat2.html,
/// section 1.3).
const VERSION_OFFSET: u64 = 60;

/// A snapshot that is written and not renamed yet.
const UNFINISHED: &str = "snapshot.new";

/// One snapshot, whole as far as its name says; [`verify`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts up over the box's life.
    pub number: u64,
    /// The clock when it was taken, Unix seconds.
    pub unix_s: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Store {
    /// Copies the database as it is now, durably, and removes what is older than the newest
    /// [`SNAPSHOTS_MAX`]. The newest that a firmware before this one left stays beside them, however
    /// old it is: that firmware reads no other, should somebody go back to it. `None` for a database
    /// in memory.
    pub fn take_snapshot(&mut self, now_unix_s: u64) -> Result<Option<Snapshot>, StoreError> {
        let Some(directory) = self.directory.clone() else {
            return Ok(None);
        };
        let what = "taking a snapshot";
        let failed = StoreError::file(what);
        let unfinished = directory.join(UNFINISHED);
        remove_if_there(&unfinished).map_err(&failed)?;
        let written = self
            .db
            .execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])
            .map_err(StoreError::sql(what))
            // What the disk made of it says nothing about the database.
            .and_then(|_| verify(&unfinished).map_err(|_| StoreError::Row { what }))
            .and_then(|()| {
                File::open(&unfinished)
                    .and_then(|f| f.sync_all())
                    .map_err(&failed)
            });
        if let Err(error) = written {
            // Its room is wanted; that it is there harms nothing else.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        let before = list(&directory).map_err(&failed)?;
        let number = before.first().map_or(1, |s| s.number.saturating_add(1));
        let path = directory.join(format!("snapshot-{number:010}-{now_unix_s}.db"));
        fs::rename(&unfinished, &path).map_err(&failed)?;
        sync_directory(&directory).map_err(&failed)?;
        let own = schema::version(&self.db)?;
        let mut older_kept = false;
        for old in before.iter().skip(SNAPSHOTS_MAX.saturating_sub(1)) {
            let is_older = version_in(&old.path).is_some_and(|version| version < own);
            if is_older && !std::mem::replace(&mut older_kept, true) {
                continue;
            }
            fs::remove_file(&old.path).map_err(&failed)?;
        }
        Ok(Some(Snapshot {
            number,
            unix_s: now_unix_s,
            path,
        }))
    }

    /// The newest snapshot by its name; `None` when there is none or the database is in memory.
    pub fn newest_snapshot(&self) -> Option<Snapshot> {
        let all = list(self.directory.as_deref()?).ok()?;
        all.into_iter().next()
    }
}

/// Every snapshot, newest first.
pub(crate) fn list(directory: &Path) -> std::io::Result<Vec<Snapshot>> {
    numbered(directory, "snapshot-")
}

/// Files `<prefix><number>-<unix_s>.db`, highest number first.
pub(crate) fn numbered(directory: &Path, prefix: &str) -> std::io::Result<Vec<Snapshot>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let numbers = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(".db"))
            .and_then(|numbers| numbers.split_once('-'));
        let Some((Ok(number), Ok(unix_s))) = numbers.map(|(n, t)| (n.parse(), t.parse())) else {
            continue;
        };
        found.push(Snapshot {
            number,
            unix_s,
            path: entry.path(),
        });
    }
    found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.number));
    Ok(found)
}

/// The schema of a snapshot, as its file says without being opened.
fn version_in(path: &Path) -> Option<i64> {
    let mut octets = [0; 4];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut octets, VERSION_OFFSET).ok()?;
    Some(i32::from_be_bytes(octets).into())
}

/// Reads a snapshot whole, without writing: it must be sound, and of a schema that we know.
pub(crate) fn verify(path: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db =
        Connection::open_with_flags(path, flags).map_err(StoreError::sql("opening a snapshot"))?;
    crate::check(&db)?;
    match schema::version(&db)? {
        0 => Err(StoreError::Damaged {
            what: "the snapshot is empty".to_owned(),
        }),
        version => schema::verify(&db, version),
    }
}

/// Names in a directory are durable only when the directory was synced.
pub(crate) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

pub(crate) fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
