//! What can go wrong with the disk, in words that lead to what to do.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why an operation did not happen. Nothing of it is on disk then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or reached.
    #[error("the directory {} cannot be used", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The disk has no room.
    #[error("{what}: the disk is full")]
    Full {
        /// What was attempted.
        what: &'static str,
    },
    /// The disk takes no writes.
    #[error("{what}: the disk is read-only")]
    ReadOnly {
        /// What was attempted.
        what: &'static str,
    },
    /// The file is no database, or its check failed.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// What the check said.
        what: String,
    },
    /// A newer firmware wrote the database.
    #[error("the database has schema {found}, and this firmware knows up to {known}")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Version of this firmware.
        known: i64,
    },
    /// A row holds what this firmware would not have written.
    #[error("{what}: a row does not read back")]
    Row {
        /// What was attempted.
        what: &'static str,
    },
    /// A bound is reached.
    #[error("{what}: {bound} entries are the most that is kept")]
    Bound {
        /// What was attempted.
        what: &'static str,
        /// The bound.
        bound: usize,
    },
    /// A file beside the database could not be made, renamed or removed.
    #[error("{what}")]
    File {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that SQLite refused.
    #[error("{what}")]
    Sql {
        /// What was attempted.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// For `map_err`: says what was attempted and sorts the causes that have their own words.
    pub(crate) fn sql(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { what },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { what },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                what: format!("{what}: {source}"),
            },
            _ => Self::Sql { what, source },
        }
    }

    /// The same for files beside the database.
    pub(crate) fn file(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull => Self::Full { what },
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { what },
            _ => Self::File { what, source },
        }
    }

    /// Whether the disk gave an error of its own: it tells each lost write once, at the next flush,
    /// which need not be that of whom it concerns ([`crate::Store::renew_log`]).
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Sql { source, .. }
            if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }

    /// Whether the whole database is to be given up, rather than one write.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Newer { .. } | Self::Directory { .. }
        )
    }
}
