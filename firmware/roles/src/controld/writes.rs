//! Writes to the store: one that fails is told and survived, and tried again until there is room.

use embassy_time::Duration;
use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use lintel_store::{Store, StoreError};

use super::core::{Core, Now, Output};
use super::startup;

/// Between two tries to write while the storage takes nothing. What serves meanwhile may need no
/// write for hours, so nothing else would find out that there is room again.
const WRITE_AGAIN_EVERY: Duration = Duration::from_secs(10);

impl Core {
    /// Runs a write whose failure is told and survived.
    pub(super) fn stored<T>(
        &mut self,
        what: &str,
        write: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Option<T> {
        let writes = self.store.writes();
        let ready = match self.log_doubtful {
            true => self.store.renew_log(),
            false => Ok(()),
        };
        if ready.is_ok() {
            self.log_doubtful = false;
        }
        match ready.and_then(|()| write(&mut self.store)) {
            Ok(value) => {
                // Only a write that took place shows that there is room again.
                if self.facts.data == DataState::Good && self.store.writes() != writes {
                    self.own_notices.remove(&NoticeCode::DataFailed);
                }
                Some(value)
            }
            Err(error) => {
                self.store_failed(what, &error);
                None
            }
        }
    }

    /// While the notice stands that nothing can be written, tries it now and then: with what is
    /// noted anyway, and with what could not be stored then.
    pub(super) fn write_again(&mut self, now: Now) {
        let failed = |core: &Self| {
            core.facts.data == DataState::Good
                && core.own_notices.contains_key(&NoticeCode::DataFailed)
        };
        if failed(self) && self.write_again_at.is_some_and(|at| at <= now.mono) {
            self.write_again_at = None;
            self.note(now);
            if !failed(self) {
                self.store_wan_lease();
                self.want_snapshot(now);
            }
        }
        if failed(self) {
            self.write_again_at
                .get_or_insert(now.mono + WRITE_AGAIN_EVERY);
        } else {
            self.write_again_at = None;
        }
    }

    pub(super) fn store_failed(&mut self, what: &str, error: &StoreError) {
        let reason = startup::sentence(error);
        log::error!("{what}: {reason}");
        self.log_doubtful |= error.is_of_disk();
        if error.is_fatal() && self.facts.data == DataState::Good && !self.giving_up {
            // The next process checks it, and takes a snapshot in its place.
            self.giving_up = true;
            self.say(Output::Restart);
        }
        self.own_notices.insert(
            NoticeCode::DataFailed,
            Notice {
                code: NoticeCode::DataFailed,
                severity: Severity::Error,
                text: format!("The box cannot write to its storage ({reason}). What runs goes on; changes and new devices are refused until there is room."),
                link: None,
            },
        );
    }
}
