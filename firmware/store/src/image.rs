//! The database as octets and back: for simulations that cut the power at chosen moments. The
//! release binary has none of this (feature `image`).

use rusqlite::{Connection, MAIN_DB};

use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Everything that is committed now, as one file.
    pub fn image(&mut self) -> Result<Vec<u8>, StoreError> {
        let data = self
            .db
            .serialize(MAIN_DB)
            .map_err(StoreError::sql("copying the database"))?;
        Ok(data.to_vec())
    }

    /// A database in memory that begins with what [`Store::image`] gave.
    pub fn from_image(image: &[u8]) -> Result<Self, StoreError> {
        let mut db = Connection::open_in_memory().map_err(StoreError::sql("opening memory"))?;
        db.deserialize_read_exact(MAIN_DB, image, image.len(), false)
            .map_err(StoreError::sql("taking in an image"))?;
        Self::ready(db, None, false)
    }

    /// Runs any statements: what a disk that lies, or a firmware after this one, may have left.
    pub fn tamper(&mut self, sql: &str) -> Result<(), StoreError> {
        self.db
            .execute_batch(sql)
            .map_err(StoreError::sql("tampering"))
    }

    /// Rows written with a flush behind them: what was promised. A power cut may take what was
    /// written since then, and nothing before.
    pub fn promised_writes(&self) -> u64 {
        self.writes().saturating_sub(self.unpromised_writes)
    }
}
