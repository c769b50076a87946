//! What happens to a database that does not read: it is set aside under another name, and the
//! newest snapshot that reads takes its place.
//!
//! ```text
//!   lintel.db sound ───────────────────────────────► it is used
//!   damaged, newer or gone ─► a sound snapshot? ─no─► left as it is, the error is returned
//!                               │ yes
//!          copied, synced ─► old files renamed ─► copy renamed ─► used, and marked as restored
//! ```
//!
//! Each arrow may be the last before a power cut: a database that is gone beside snapshots counts
//! as damaged, so the next start comes to the same end. Nothing is overwritten: the names of what
//! was set aside count up and hold the time.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::facts::{Fact, set};
use crate::snapshots::{self, Snapshot, remove_if_there, sync_directory};
use crate::{DATABASE, Store};

/// Most databases kept aside: enough for somebody who wants to know what happened, and so few
/// that a disk which damages one each week does not fill up with them. The oldest go.
pub const ASIDE_MAX: usize = 3;

/// The copy of a snapshot that is to become the database.
const INCOMING: &str = "lintel.db.new";
/// Begins the names of what was set aside.
const ASIDE: &str = "damaged-";
/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-wal", "-journal", "-shm"];

/// The database was replaced by a snapshot; kept in it until somebody has dealt with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When, Unix seconds.
    pub unix_s: u64,
    /// What was wrong, for the householder.
    pub why: String,
    /// When the snapshot was taken, Unix seconds.
    pub snapshot_unix_s: u64,
    /// Name of the file that holds what did not read; `None` when there was none.
    pub aside: Option<String>,
}

impl Store {
    /// Opens the database as [`Store::open`] does. One that is damaged, gone, or of a newer
    /// firmware is set aside, and the newest sound snapshot used: [`Store::restored`] tells of it.
    /// Without a sound snapshot everything is left as it is, and the error says why.
    ///
    /// Sessions and API tokens do not come back with a snapshot: one of them may have been ended
    /// since.
    pub fn open_or_restore(data_dir: &Path, now_unix_s: u64) -> Result<Self, StoreError> {
        let directory = data_dir.join("state");
        let snapshots = match snapshots::list(&directory) {
            Ok(snapshots) => snapshots,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(StoreError::Directory {
                    path: directory,
                    source,
                });
            }
        };
        let opened = if gone(&directory, !snapshots.is_empty()) {
            Err(StoreError::Damaged {
                what: "its file is gone or empty".to_owned(),
            })
        } else {
            Self::open_with(data_dir, !snapshots.is_empty())
        };
        let error = match opened {
            Err(error @ (StoreError::Damaged { .. } | StoreError::Newer { .. })) => error,
            done => return done,
        };
        let Some(snapshot) = snapshots.iter().find(|s| is_sound(s)) else {
            return Err(error);
        };
        let aside = take_place(&directory, snapshot, now_unix_s)
            .map_err(StoreError::file("setting a damaged database aside"))?;
        let mut store = Self::open_with(data_dir, true)?;
        let restored = Restored {
            unix_s: now_unix_s,
            why: error.to_string(),
            snapshot_unix_s: snapshot.unix_s,
            aside,
        };
        let failed = StoreError::sql("noting that a snapshot is used");
        let change = store.db.transaction().map_err(&failed)?;
        change
            .execute_batch("DELETE FROM sessions; DELETE FROM tokens")
            .map_err(&failed)?;
        set(&change, Fact::Restored, Some(&restored))?;
        change.commit().map_err(&failed)?;
        Ok(store)
    }

    /// That this database was a snapshot, until [`Store::forget_restored`].
    pub fn restored(&self) -> Result<Option<Restored>, StoreError> {
        self.fact(Fact::Restored)
    }

    /// Somebody has dealt with it.
    pub fn forget_restored(&mut self) -> Result<(), StoreError> {
        set::<Restored>(&self.db, Fact::Restored, None)
    }
}

/// Whether a database was here once and is not now. An empty file beside no snapshot is a first
/// start that lost its power.
fn gone(directory: &Path, has_snapshots: bool) -> bool {
    let database = directory.join(DATABASE);
    match fs::metadata(&database) {
        Ok(meta) => meta.len() == 0 && has_snapshots,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            has_snapshots || directory.join(format!("{DATABASE}-wal")).exists()
        }
        // It will say why when it is opened.
        Err(_) => false,
    }
}

fn is_sound(snapshot: &Snapshot) -> bool {
    snapshots::verify(&snapshot.path).is_ok()
}

/// Puts a copy of the snapshot where the database was; returns the name of what was there.
fn take_place(directory: &Path, snapshot: &Snapshot, unix_s: u64) -> io::Result<Option<String>> {
    let incoming = directory.join(INCOMING);
    remove_if_there(&incoming)?;
    let copied = fs::copy(&snapshot.path, &incoming)
        .and_then(|_| File::open(&incoming)?.sync_all())
        .and_then(|()| snapshots::verify(&incoming).map_err(io::Error::other));
    let source = match copied {
        Ok(()) => &incoming,
        // No room for a copy: then the snapshot itself, which takes none.
        Err(_) => {
            remove_if_there(&incoming)?;
            &snapshot.path
        }
    };
    let aside = set_aside(directory, unix_s)?;
    sync_directory(directory)?;
    fs::rename(source, directory.join(DATABASE))?;
    sync_directory(directory)?;
    // That there are too many is no reason to stand still.
    let _ = remove_oldest_aside(directory);
    Ok(aside)
}

/// The database first: a journal without it is known for what it is, while a database without
/// its journal would be taken for a whole one.
fn set_aside(directory: &Path, unix_s: u64) -> io::Result<Option<String>> {
    let last = snapshots::numbered(directory, ASIDE)?
        .first()
        .map_or(0, |aside| aside.number);
    let is_free = |name: &String| {
        let taken = |suffix: &str| directory.join(format!("{name}{suffix}")).exists();
        !taken("") && !COMPANIONS.into_iter().any(taken)
    };
    let name = (last.saturating_add(1)..u64::MAX)
        .map(|number| format!("{ASIDE}{number:010}-{unix_s}.db"))
        .find(is_free)
        .ok_or_else(|| io::Error::other("no name is free"))?;
    let mut moved = false;
    for suffix in std::iter::once("").chain(COMPANIONS) {
        let from = directory.join(format!("{DATABASE}{suffix}"));
        match fs::rename(from, directory.join(format!("{name}{suffix}"))) {
            Ok(()) => moved = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved.then_some(name))
}

fn remove_oldest_aside(directory: &Path) -> io::Result<()> {
    for old in snapshots::numbered(directory, ASIDE)?
        .iter()
        .skip(ASIDE_MAX)
    {
        remove_if_there(&old.path)?;
        for suffix in COMPANIONS {
            let mut companion = old.path.clone().into_os_string();
            companion.push(suffix);
            remove_if_there(Path::new(&companion))?;
        }
    }
    Ok(())
}
