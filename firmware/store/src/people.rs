//! Sessions of the householder, API tokens, and the trail of what was changed.

use std::net::IpAddr;

use rusqlite::{Row, params};

use crate::Store;
use crate::error::StoreError;
use crate::revisions::{signed, unsigned};

/// Most sessions at a time; the oldest ends when another begins. A family with a few browsers
/// each.
pub const SESSIONS_ENTRIES_MAX: u32 = 64;
/// Most API tokens at a time; one more is refused, since each belongs to a program that somebody
/// set up.
pub const TOKENS_ENTRIES_MAX: u32 = 64;
/// Most lines of the audit trail; the oldest go.
pub const AUDIT_LINES_MAX: u64 = 2000;

/// A session; the token itself is nowhere on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// When it began, Unix seconds.
    pub created_unix_s: u64,
    /// When it was last used, Unix seconds; written once an hour, not with each use.
    pub used_unix_s: u64,
    /// Where it began.
    pub address: Option<IpAddr>,
}

/// An API token; the token itself is nowhere on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number; given by [`Store::add_token`].
    pub id: u64,
    /// SHA-256 of the token.
    pub token_sha256: [u8; 32],
    /// What its maker calls it.
    pub name: String,
    /// What it may do, in the API's word.
    pub scope: String,
    /// When it was made, Unix seconds.
    pub created_unix_s: u64,
    /// When it ends, Unix seconds.
    pub expires_unix_s: u64,
}

/// One change that somebody made or tried to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditLine {
    /// When, Unix seconds.
    pub unix_s: u64,
    /// Who: `owner`, `token NAME`, `local`, or `anyone`.
    pub who: String,
    /// From where, over HTTP.
    pub address: Option<IpAddr>,
    /// Name of the method.
    pub method: String,
    /// `done`, `begun` while the end is not known, or the short name of the problem.
    pub outcome: String,
    /// Why, in the caller's words.
    pub reason: String,
    /// The configuration's revision that came of it.
    pub revision: Option<u64>,
}

impl Store {
    /// Stores a session, or what changed of it.
    pub fn put_session(&mut self, session: &SessionRow) -> Result<(), StoreError> {
        let failed = StoreError::sql("storing a session");
        let change = self.db.transaction().map_err(&failed)?;
        change
            .execute(
                "INSERT INTO sessions (token_sha256, created_unix_s, used_unix_s, address)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET created_unix_s = ?2, used_unix_s = ?3",
                params![
                    session.token_sha256,
                    signed(session.created_unix_s),
                    signed(session.used_unix_s),
                    session.address.map(|address| address.to_string()),
                ],
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

    /// Notes that a session was used; without a flush of its own.
    pub fn note_session_used(
        &mut self,
        token_sha256: &[u8; 32],
        unix_s: u64,
    ) -> Result<(), StoreError> {
        self.unpromised(|db| {
            db.execute(
                "UPDATE sessions SET used_unix_s = ?2 WHERE token_sha256 = ?1",
                params![token_sha256, signed(unix_s)],
            )
            .map(drop)
            .map_err(StoreError::sql("noting a session's use"))
        })
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
            .prepare("SELECT token_sha256, created_unix_s, used_unix_s, address FROM sessions")
            .map_err(&failed)?;
        rows.query_map([], |row| {
            Ok(SessionRow {
                token_sha256: row.get(0)?,
                created_unix_s: unsigned(row.get(1)?),
                used_unix_s: unsigned(row.get(2)?),
                address: address(row, 3)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(&failed)
    }

    /// Stores a token and returns its number; the row's own is not read.
    pub fn add_token(&mut self, token: &TokenRow) -> Result<u64, StoreError> {
        self.db
            .execute(
                "INSERT INTO tokens (token_sha256, name, scope, created_unix_s, expires_unix_s)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    token.token_sha256,
                    token.name,
                    token.scope,
                    signed(token.created_unix_s),
                    signed(token.expires_unix_s),
                ],
            )
            .map_err(StoreError::sql("storing a token"))?;
        Ok(unsigned(self.db.last_insert_rowid()))
    }

    /// Stores anew when a token was made and when it ends.
    pub fn set_token_times(&mut self, token: &TokenRow) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE tokens SET created_unix_s = ?2, expires_unix_s = ?3 WHERE id = ?1",
                params![
                    signed(token.id),
                    signed(token.created_unix_s),
                    signed(token.expires_unix_s),
                ],
            )
            .map(drop)
            .map_err(StoreError::sql("moving a token's times"))
    }

    /// Gives a token another secret; the one before opens nothing from then on.
    pub fn set_token_secret(&mut self, id: u64, token_sha256: &[u8; 32]) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE tokens SET token_sha256 = ?2 WHERE id = ?1",
                params![signed(id), token_sha256],
            )
            .map(drop)
            .map_err(StoreError::sql("changing a token's secret"))
    }

    /// One session in another's place: all of it stays but the token.
    pub fn replace_session(
        &mut self,
        old: &[u8; 32],
        session: &SessionRow,
    ) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE sessions SET token_sha256 = ?2, used_unix_s = ?3 WHERE token_sha256 = ?1",
                params![old, session.token_sha256, signed(session.used_unix_s)],
            )
            .map(drop)
            .map_err(StoreError::sql("renewing a session"))
    }

    /// Ends a token.
    pub fn delete_token(&mut self, id: u64) -> Result<(), StoreError> {
        self.db
            .execute("DELETE FROM tokens WHERE id = ?1", [signed(id)])
            .map(drop)
            .map_err(StoreError::sql("ending a token"))
    }

    /// Every token, in the order in which they were made.
    pub fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let failed = StoreError::sql("reading tokens");
        let mut rows = self
            .db
            .prepare(
                "SELECT id, token_sha256, name, scope, created_unix_s, expires_unix_s
                 FROM tokens ORDER BY id",
            )
            .map_err(&failed)?;
        rows.query_map([], |row| {
            Ok(TokenRow {
                id: unsigned(row.get(0)?),
                token_sha256: row.get(1)?,
                name: row.get(2)?,
                scope: row.get(3)?,
                created_unix_s: unsigned(row.get(4)?),
                expires_unix_s: unsigned(row.get(5)?),
            })
        })
        .and_then(Iterator::collect)
        .map_err(&failed)
    }

    /// Adds a line to the audit trail and returns its number; without a flush of its own.
    pub fn add_audit(&mut self, line: &AuditLine) -> Result<u64, StoreError> {
        self.unpromised(|db| {
            let failed = StoreError::sql("writing the audit trail");
            db.execute(
                "INSERT INTO audit (unix_s, who, address, method, outcome, reason, revision)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    signed(line.unix_s),
                    line.who,
                    line.address.map(|address| address.to_string()),
                    line.method,
                    line.outcome,
                    line.reason,
                    line.revision.map(signed),
                ],
            )
            .map_err(&failed)?;
            let id = db.last_insert_rowid();
            let oldest = id.saturating_sub(signed(AUDIT_LINES_MAX));
            db.execute("DELETE FROM audit WHERE id <= ?1", [oldest])
                .map(|_| unsigned(id))
                .map_err(&failed)
        })
    }

    /// Writes how something that was begun has ended.
    pub fn end_audit(
        &mut self,
        id: u64,
        outcome: &str,
        revision: Option<u64>,
    ) -> Result<(), StoreError> {
        self.unpromised(|db| {
            db.execute(
                "UPDATE audit SET outcome = ?2, revision = ?3 WHERE id = ?1",
                params![signed(id), outcome, revision.map(signed)],
            )
            .map(drop)
            .map_err(StoreError::sql("writing the audit trail"))
        })
    }

    /// Lines of the audit trail with their numbers, newest first, from before number `before`.
    pub fn audit(&self, before: u64, limit: u32) -> Result<Vec<(u64, AuditLine)>, StoreError> {
        let failed = StoreError::sql("reading the audit trail");
        let mut rows = self
            .db
            .prepare(
                "SELECT id, unix_s, who, address, method, outcome, reason, revision
                 FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )
            .map_err(&failed)?;
        rows.query_map(params![signed(before), limit], |row| {
            let line = AuditLine {
                unix_s: unsigned(row.get(1)?),
                who: row.get(2)?,
                address: address(row, 3)?,
                method: row.get(4)?,
                outcome: row.get(5)?,
                reason: row.get(6)?,
                revision: row.get::<_, Option<i64>>(7)?.map(unsigned),
            };
            Ok((unsigned(row.get(0)?), line))
        })
        .and_then(Iterator::collect)
        .map_err(&failed)
    }
}

fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<IpAddr>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
