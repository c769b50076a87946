//! Sessions of the householder, and the trail of what was changed.

use rusqlite::params;

use crate::Store;
use crate::error::StoreError;
use crate::revisions::{signed, unsigned};

/// Most sessions at a time; the oldest ends when another begins. A family with a few browsers
/// each.
pub const SESSIONS_ENTRIES_MAX: u32 = 64;
/// Most lines of the audit trail; the oldest go.
pub const AUDIT_LINES_MAX: u64 = 2000;

/// A session; the token itself is nowhere on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// When it began, Unix seconds.
    pub created_unix_s: u64,
}

/// One change that somebody made or tried to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// When, Unix seconds.
    pub unix_s: u64,
    /// Who: an address, or `local`.
    pub who: String,
    /// Name of the method.
    pub method: String,
    /// `done`, or the short name of the problem.
    pub outcome: String,
}

impl Store {
    /// Stores a session.
    pub fn put_session(&mut self, session: &SessionRow) -> Result<(), StoreError> {
        let failed = StoreError::sql("storing a session");
        let change = self.db.transaction().map_err(&failed)?;
        change
            .execute(
                "INSERT INTO sessions VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![session.token_sha256, signed(session.created_unix_s)],
            )
            .and_then(|_| {
                change.execute(
                    "DELETE FROM sessions WHERE token_sha256 NOT IN (
                         SELECT token_sha256 FROM sessions
                         ORDER BY created_unix_s DESC LIMIT ?1)",
                    [SESSIONS_ENTRIES_MAX],
                )
            })
            .map_err(&failed)?;
        change.commit().map_err(&failed)
    }

    /// Ends a session.
    pub fn delete_session(&mut self, token_sha256: &[u8; 32]) -> Result<(), StoreError> {
        self.db
            .execute(
                "DELETE FROM sessions WHERE token_sha256 = ?1",
                [token_sha256],
            )
            .map(drop)
            .map_err(StoreError::sql("ending a session"))
    }

    /// Every session.
    pub fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        let failed = StoreError::sql("reading sessions");
        let mut rows = self
            .db
            .prepare("SELECT token_sha256, created_unix_s FROM sessions")
            .map_err(&failed)?;
        rows.query_map([], |row| {
            Ok(SessionRow {
                token_sha256: row.get(0)?,
                created_unix_s: unsigned(row.get(1)?),
            })
        })
        .and_then(Iterator::collect)
        .map_err(&failed)
    }

    /// Adds a line to the audit trail; without a flush of its own.
    pub fn add_audit(&mut self, line: &AuditLine) -> Result<(), StoreError> {
        self.unpromised(|db| {
            let failed = StoreError::sql("writing the audit trail");
            db.execute(
                "INSERT INTO audit (unix_s, who, method, outcome) VALUES (?1, ?2, ?3, ?4)",
                params![signed(line.unix_s), line.who, line.method, line.outcome],
            )
            .map_err(&failed)?;
            let oldest = db
                .last_insert_rowid()
                .saturating_sub(signed(AUDIT_LINES_MAX));
            db.execute("DELETE FROM audit WHERE id <= ?1", [oldest])
                .map(drop)
                .map_err(&failed)
        })
    }

    /// The newest lines of the audit trail, newest first.
    pub fn audit(&self, limit: u32) -> Result<Vec<AuditLine>, StoreError> {
        let failed = StoreError::sql("reading the audit trail");
        let mut rows = self
            .db
            .prepare("SELECT unix_s, who, method, outcome FROM audit ORDER BY id DESC LIMIT ?1")
            .map_err(&failed)?;
        rows.query_map([limit], |row| {
            Ok(AuditLine {
                unix_s: unsigned(row.get(0)?),
                who: row.get(1)?,
                method: row.get(2)?,
                outcome: row.get(3)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(&failed)
    }
}
