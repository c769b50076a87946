//! Single values that outlive a boot.

use lintel_model::Ipv4Net;
use lintel_model::config::PortSelector;
use lintel_model::lease::WanLease;
use lintel_model::reset::Reset;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Store;
use crate::error::StoreError;

/// The values there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The WAN's lease.
    WanLease,
    /// Port on which a DHCP server answered.
    DetectedWan,
    /// Hash of the householder's password, in PHC string format.
    Password,
    /// The second factor of the householder, as controld writes it.
    Totp,
    /// A reset by somebody at the box that was done.
    Reset,
    /// The box's addresses in networks that the LAN has left.
    Leaving,
    /// Wall clock when it was last known to be right or at least running, Unix seconds.
    LastTime,
    /// By which clock the bindings are counted.
    Clock,
    /// Frequency correction with which the clock runs right, 2^-16 parts per million.
    Drift,
    /// Key and certificate of the box's pages.
    Tls,
    /// That the database is a snapshot, and why.
    Restored,
    /// The first number that no event has had.
    NextEvent,
}

/// A reset by somebody at the box that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ResetNote {
    /// Which.
    pub reset: Reset,
    /// Identity of the boot in which it was done.
    pub boot_id: String,
}

/// By which clock the bindings are counted: a process that finds it otherwise knows by how much it
/// was set meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ClockNote {
    /// Identity of the boot that this is of; of another it says nothing.
    pub boot_id: String,
    /// When that clock says the box started, Unix seconds.
    pub start_unix_s: i64,
}

/// What is noted now and then, and never waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notes<'a> {
    /// The wall clock's floor, Unix seconds.
    pub last_time: u64,
    /// The frequency correction with which the clock runs right, 2^-16 parts per million, where
    /// it changed.
    pub drift: Option<i64>,
    /// The WAN's lease, where it only got longer.
    pub wan_lease: Option<&'a WanLease>,
}

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Self::WanLease => "wan-lease",
            Self::DetectedWan => "detected-wan",
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Reset => "reset",
            Self::Leaving => "leaving",
            Self::LastTime => "last-time",
            Self::Clock => "clock",
            Self::Drift => "drift",
            Self::Tls => "tls",
            Self::Restored => "restored",
            Self::NextEvent => "next-event",
        }
    }
}

impl Store {
    /// The WAN's lease as it was last stored.
    pub fn wan_lease(&self) -> Result<Option<WanLease>, StoreError> {
        self.fact(Fact::WanLease)
    }

    /// Stores the WAN's lease, or that there is none.
    pub fn set_wan_lease(&mut self, lease: Option<&WanLease>) -> Result<(), StoreError> {
        set(&self.db, Fact::WanLease, lease)
    }

    /// The port on which a DHCP server once answered.
    pub fn detected_wan(&self) -> Result<Option<PortSelector>, StoreError> {
        self.fact(Fact::DetectedWan)
    }

    /// Stores the port on which a DHCP server answered.
    pub fn set_detected_wan(&mut self, port: Option<&PortSelector>) -> Result<(), StoreError> {
        set(&self.db, Fact::DetectedWan, port)
    }

    /// Hash of the householder's password.
    pub fn password(&self) -> Result<Option<String>, StoreError> {
        self.fact(Fact::Password)
    }

    /// Stores the hash of the householder's password; every session ends in the same moment.
    pub fn set_password(&mut self, hash: &str) -> Result<(), StoreError> {
        let failed = StoreError::sql("storing the password");
        let change = self.db.transaction().map_err(&failed)?;
        set(&change, Fact::Password, Some(hash))?;
        change
            .execute("DELETE FROM sessions", [])
            .map_err(&failed)?;
        change.commit().map_err(&failed)
    }

    /// The reset by somebody at the box that was done, and in which boot.
    pub fn reset_note(&self) -> Result<Option<ResetNote>, StoreError> {
        self.fact(Fact::Reset)
    }

    /// Stores that note, or that there is none.
    pub fn set_reset_note(&mut self, note: Option<&ResetNote>) -> Result<(), StoreError> {
        set(&self.db, Fact::Reset, note)
    }

    /// Nobody owns the box from then on: password, second factor, sessions and tokens go in the
    /// moment in which the reset is noted.
    pub fn forget_people(&mut self, note: &ResetNote) -> Result<(), StoreError> {
        let failed = StoreError::sql("taking the password away");
        let change = self.db.transaction().map_err(&failed)?;
        set::<str>(&change, Fact::Password, None)?;
        set::<str>(&change, Fact::Totp, None)?;
        set(&change, Fact::Reset, Some(note))?;
        change
            .execute_batch("DELETE FROM sessions; DELETE FROM tokens;")
            .map_err(&failed)?;
        change.commit().map_err(&failed)
    }

    /// The second factor, as it was stored.
    pub fn totp(&self) -> Result<Option<String>, StoreError> {
        self.fact(Fact::Totp)
    }

    /// Stores the second factor, or that there is none.
    pub fn set_totp(&mut self, totp: Option<&str>) -> Result<(), StoreError> {
        set(&self.db, Fact::Totp, totp)
    }

    /// The box's addresses in networks that the LAN has left and that are still served.
    pub fn leaving(&self) -> Result<Vec<Ipv4Net>, StoreError> {
        Ok(self.fact(Fact::Leaving)?.unwrap_or_default())
    }

    /// Stores those addresses.
    pub fn set_leaving(&mut self, leaving: &[Ipv4Net]) -> Result<(), StoreError> {
        let some = Some(leaving).filter(|leaving| !leaving.is_empty());
        set(&self.db, Fact::Leaving, some)
    }

    /// The wall clock's floor, Unix seconds.
    pub fn last_time(&self) -> Result<Option<u64>, StoreError> {
        self.fact(Fact::LastTime)
    }

    /// Stores what is known anew of these, in one transaction without a flush of its own: a power
    /// cut may lose the last half minute of it.
    pub fn note(&mut self, notes: &Notes<'_>) -> Result<(), StoreError> {
        self.unpromised(|db| {
            let failed = StoreError::sql("noting the time");
            let change = db.transaction().map_err(&failed)?;
            set(&change, Fact::LastTime, Some(&notes.last_time))?;
            if let Some(drift) = notes.drift {
                set(&change, Fact::Drift, Some(&drift))?;
            }
            if let Some(lease) = notes.wan_lease {
                set(&change, Fact::WanLease, Some(lease))?;
            }
            change.commit().map_err(&failed)
        })
    }

    /// By which clock the bindings are counted.
    pub fn clock_note(&self) -> Result<Option<ClockNote>, StoreError> {
        self.fact(Fact::Clock)
    }

    /// Stores it for a box that has just started. Without a flush of its own: of an earlier boot
    /// it says nothing.
    pub fn note_clock(&mut self, clock: &ClockNote) -> Result<(), StoreError> {
        self.unpromised(|db| set(db, Fact::Clock, Some(clock)))
    }

    /// The frequency correction with which the clock ran right, 2^-16 parts per million.
    pub fn drift(&self) -> Result<Option<i64>, StoreError> {
        self.fact(Fact::Drift)
    }

    /// Sets `count` numbers aside for events, and answers the first: none below `floor`, and none
    /// that was set aside before. Without a flush of its own: a power cut within half a minute may
    /// set the same aside again, unless the floor has risen.
    pub fn reserve_events(&mut self, floor: u64, count: u64) -> Result<u64, StoreError> {
        let next: Option<u64> = self.fact(Fact::NextEvent)?;
        let first = next.unwrap_or(0).max(floor);
        self.unpromised(|db| set(db, Fact::NextEvent, Some(&first.saturating_add(count))))?;
        Ok(first)
    }

    pub(crate) fn fact<T: DeserializeOwned>(&self, fact: Fact) -> Result<Option<T>, StoreError> {
        let what = "reading a fact";
        let text: Option<String> = self
            .db
            .query_row(
                "SELECT value FROM facts WHERE name = ?1",
                [fact.name()],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::sql(what))?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Row { what }))
            .transpose()
    }
}

pub(crate) fn set<T: Serialize + ?Sized>(
    db: &Connection,
    fact: Fact,
    value: Option<&T>,
) -> Result<(), StoreError> {
    let what = "storing a fact";
    let done = match value {
        None => db.execute("DELETE FROM facts WHERE name = ?1", [fact.name()]),
        Some(value) => {
            let text = serde_json::to_string(value).map_err(|_| StoreError::Row { what })?;
            db.execute(
                "INSERT INTO facts VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![fact.name(), text],
            )
        }
    };
    done.map(drop).map_err(StoreError::sql(what))
}
