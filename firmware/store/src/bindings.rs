//! DHCP bindings: on disk before the ACK leaves.

use std::net::Ipv4Addr;

use lintel_model::MacAddr;
use lintel_model::lease::{Binding, BindingState};
use rusqlite::{Connection, Row, params};

use crate::Store;
use crate::error::StoreError;
use crate::facts::{ClockNote, Fact, set};
use crate::revisions::{signed, unsigned};

/// Most bindings kept: a /20 full of devices. Beyond it the ones that ended longest ago go.
pub const BINDINGS_ENTRIES_MAX: usize = 4096;

impl Store {
    /// Writes bindings in one transaction and one flush: either all are on disk when this
    /// returns, or none. A binding replaces the one of the same address.
    pub fn put_bindings<'a>(
        &mut self,
        bindings: impl IntoIterator<Item = &'a Binding>,
        now_unix_s: u64,
    ) -> Result<(), StoreError> {
        self.write_bindings(None, bindings, now_unix_s)
    }

    /// The clock was set: writes the bindings that follow it and by which clock they are counted
    /// now, both or none.
    pub fn follow_clock<'a>(
        &mut self,
        clock: &ClockNote,
        bindings: impl IntoIterator<Item = &'a Binding>,
        now_unix_s: u64,
    ) -> Result<(), StoreError> {
        self.write_bindings(Some(clock), bindings, now_unix_s)
    }

    fn write_bindings<'a>(
        &mut self,
        clock: Option<&ClockNote>,
        bindings: impl IntoIterator<Item = &'a Binding>,
        now_unix_s: u64,
    ) -> Result<(), StoreError> {
        let what = "storing bindings";
        let failed = StoreError::sql(what);
        let mut count = self.bindings_count;
        let change = self.db.transaction().map_err(&failed)?;
        {
            let mut update = change
                .prepare_cached(
                    "UPDATE bindings SET mac = ?2, client_id = ?3, host_name = ?4,
                     bound_unix_s = ?5, expires_unix_s = ?6, state = ?7 WHERE address = ?1",
                )
                .map_err(&failed)?;
            let mut insert = change
                .prepare_cached("INSERT INTO bindings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                .map_err(&failed)?;
            for binding in bindings {
                let row = params![
                    u32::from(binding.address),
                    binding.mac.0,
                    binding.client_id,
                    binding.host_name,
                    signed(binding.bound_unix_s),
                    signed(binding.expires_unix_s),
                    word(binding.state),
                ];
                if update.execute(row).map_err(&failed)? == 0 {
                    count += insert.execute(row).map_err(&failed)?;
                }
            }
        }
        if let Some(over) = count.checked_sub(BINDINGS_ENTRIES_MAX).filter(|n| *n > 0) {
            let gone = change
                .execute(
                    "DELETE FROM bindings WHERE address IN (
                         SELECT address FROM bindings WHERE expires_unix_s <= ?1
                         ORDER BY expires_unix_s LIMIT ?2)",
                    params![signed(now_unix_s), i64::try_from(over).unwrap_or(i64::MAX)],
                )
                .map_err(&failed)?;
            count -= gone;
            if gone < over {
                return Err(StoreError::Bound {
                    what,
                    bound: BINDINGS_ENTRIES_MAX,
                });
            }
        }
        if clock.is_some() {
            set(&change, Fact::Clock, clock)?;
        }
        change.commit().map_err(&failed)?;
        self.bindings_count = count;
        Ok(())
    }

    /// Removes a binding; tells whether there was one.
    pub fn delete_binding(&mut self, address: Ipv4Addr) -> Result<bool, StoreError> {
        let gone = self
            .db
            .execute(
                "DELETE FROM bindings WHERE address = ?1",
                [u32::from(address)],
            )
            .map_err(StoreError::sql("deleting a binding"))?;
        self.bindings_count = self.bindings_count.saturating_sub(gone);
        Ok(gone > 0)
    }

    /// Every binding, by address.
    pub fn bindings(&self) -> Result<Vec<Binding>, StoreError> {
        let what = "reading bindings";
        let failed = StoreError::sql(what);
        let mut rows = self
            .db
            .prepare_cached(
                "SELECT address, mac, client_id, host_name, bound_unix_s, expires_unix_s, state
                 FROM bindings ORDER BY address",
            )
            .map_err(&failed)?;
        let bindings = rows
            .query_map([], binding)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(&failed)?;
        bindings
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(StoreError::Row { what })
    }
}

pub(crate) fn count(db: &Connection) -> Result<usize, StoreError> {
    db.query_row("SELECT count(*) FROM bindings", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(|n| usize::try_from(n).unwrap_or(0))
    .map_err(StoreError::sql("counting bindings"))
}

fn binding(row: &Row<'_>) -> rusqlite::Result<Option<Binding>> {
    let state: String = row.get(6)?;
    let state = match state.as_str() {
        "bound" => BindingState::Bound,
        "released" => BindingState::Released,
        "declined" => BindingState::Declined,
        _ => return Ok(None),
    };
    Ok(Some(Binding {
        address: Ipv4Addr::from(row.get::<_, u32>(0)?),
        mac: MacAddr(row.get(1)?),
        client_id: row.get(2)?,
        host_name: row.get(3)?,
        bound_unix_s: unsigned(row.get(4)?),
        expires_unix_s: unsigned(row.get(5)?),
        state,
    }))
}

fn word(state: BindingState) -> &'static str {
    match state {
        BindingState::Bound => "bound",
        BindingState::Released => "released",
        BindingState::Declined => "declined",
    }
}
