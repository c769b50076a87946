//! Channels between controld and the other roles: in order, and gone with either end.

use std::collections::BTreeMap;

use embassy_time::Duration;
use lintel_model::RoleName;

/// The sessions there are.
#[derive(Debug, Default)]
pub struct Sessions {
    current: BTreeMap<RoleName, (u64, Duration)>,
    last: u64,
}

impl Sessions {
    /// None, with numbers that were not used before.
    pub fn after(before: &Self) -> Self {
        Self {
            current: BTreeMap::new(),
            last: before.last,
        }
    }

    /// A new one, in place of an old one.
    pub fn begin(&mut self, role: RoleName, latency: Duration) {
        self.last += 1;
        self.current.insert(role, (self.last, latency));
    }

    /// It ends; tells whether there was one.
    pub fn end(&mut self, role: RoleName) -> bool {
        self.current.remove(&role).is_some()
    }

    /// Number and latency of the one with a role.
    pub fn of(&self, role: RoleName) -> Option<(u64, Duration)> {
        self.current.get(&role).copied()
    }

    /// Whether this one is still there.
    pub fn is(&self, role: RoleName, session: u64) -> bool {
        self.of(role).is_some_and(|(current, _)| current == session)
    }
}
