//! The schema, as the list of migrations that lead to it. A migration that was released is
//! never edited; what changes is the next one.

use rusqlite::Connection;

use crate::error::StoreError;

/// The version that this firmware keeps.
pub(crate) const VERSION: usize = ALL.len() - cfg!(feature = "firmware-before") as usize;

/// The migrations that lead there.
const MIGRATIONS: &[&str] = ALL.split_at(VERSION).0;

/// Migration `n` leads from version `n` to `n + 1`.
const ALL: &[&str] = &[
    "
    CREATE TABLE revisions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        toml TEXT NOT NULL,
        author TEXT NOT NULL,
        reason TEXT NOT NULL,
        unix_s INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'stored'
    ) STRICT;
    CREATE TABLE bindings (
        address INTEGER PRIMARY KEY,
        mac BLOB NOT NULL,
        client_id BLOB NOT NULL,
        host_name TEXT,
        bound_unix_s INTEGER NOT NULL,
        expires_unix_s INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT;
    CREATE TABLE facts (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (
        token_sha256 BLOB PRIMARY KEY,
        created_unix_s INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        unix_s INTEGER NOT NULL,
        who TEXT NOT NULL,
        method TEXT NOT NULL,
        outcome TEXT NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE sessions ADD COLUMN used_unix_s INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN address TEXT;
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token_sha256 BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        scope TEXT NOT NULL,
        created_unix_s INTEGER NOT NULL,
        expires_unix_s INTEGER NOT NULL
    ) STRICT;
    ALTER TABLE audit ADD COLUMN address TEXT;
    ALTER TABLE audit ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE audit ADD COLUMN revision INTEGER;
",
    "
    CREATE TABLE backups (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        origin TEXT NOT NULL,
        made_unix_s INTEGER NOT NULL,
        reason TEXT NOT NULL,
        board TEXT NOT NULL,
        revision INTEGER,
        content TEXT NOT NULL
    ) STRICT;
",
];

/// The schema's version; 0 before the first migration.
pub(crate) fn version(db: &Connection) -> Result<i64, StoreError> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(StoreError::sql("reading the schema's version"))
}

/// Whether a firmware before this one left the database.
pub(crate) fn is_older(db: &Connection) -> Result<bool, StoreError> {
    let found = version(db)?;
    Ok(found > 0 && usize::try_from(found).is_ok_and(|found| found < MIGRATIONS.len()))
}

/// Whether the tables are those that the migrations up to `version` make.
pub(crate) fn verify(db: &Connection, version: i64) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let Some(steps) = usize::try_from(version)
        .ok()
        .and_then(|n| MIGRATIONS.get(..n))
    else {
        return Err(StoreError::Newer {
            found: version,
            known,
        });
    };
    let what = "comparing the schema";
    let wanted = Connection::open_in_memory().map_err(StoreError::sql(what))?;
    for step in steps {
        wanted.execute_batch(step).map_err(StoreError::sql(what))?;
    }
    if tables(db)? == tables(&wanted)? {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            what: format!("its tables are not those of schema {version}"),
        })
    }
}

fn tables(db: &Connection) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let failed = StoreError::sql("comparing the schema");
    let mut rows = db
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY type, name")
        .map_err(&failed)?;
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(&failed)
}

/// Brings the schema up to date, one transaction a step, so that a power cut leaves a version
/// that some firmware knows.
pub(crate) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let found = version(db)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let Ok(done) = usize::try_from(found) else {
        return Err(StoreError::Newer { found, known });
    };
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (at, step) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1);
        let failed = StoreError::sql("changing the schema");
        let change = db.transaction().map_err(&failed)?;
        change.execute_batch(step).map_err(&failed)?;
        change
            .pragma_update(None, "user_version", version)
            .map_err(&failed)?;
        change.commit().map_err(&failed)?;
    }
    Ok(())
}
