//! When the database is copied, and what is said when a copy had to take its place.

use embassy_time::{Duration, Instant};
use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};

use super::core::{Core, Now};
use crate::cli::date;

/// Between a change that must not be lost with the database and its snapshot: a householder who
/// changes three things in a row costs the flash one copy.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(10);
/// Least time between two snapshots: an evening of trying things out is a few copies.
const SNAPSHOT_EVERY_MIN: Duration = Duration::from_secs(600);
/// Between two snapshots when only leases and times change. A household's database has about a
/// hundred kilobytes.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Core {
    /// Sets the first time, and tells when the database is a snapshot itself.
    pub(super) fn begin_snapshots(&mut self, now: Now) {
        if self.facts.data != DataState::Good {
            return;
        }
        // Of a snapshot from the future nothing is known: the clock has jumped.
        let age_s = self
            .store
            .newest_snapshot()
            .and_then(|newest| now.unix_s.checked_sub(newest.unix_s));
        let due = match age_s {
            Some(age_s) => SNAPSHOT_EVERY.as_secs().saturating_sub(age_s),
            None => 0,
        };
        self.snapshot_at = Some(now.mono + SNAPSHOT_AFTER.max(Duration::from_secs(due)));
        match self.store.restored() {
            Ok(Some(restored)) => {
                let kept = restored.aside.map_or_else(String::new, |name| {
                    format!(" What did not read is kept as state/{name}.")
                });
                let text = format!(
                    "The box's database could not be used ({}). A copy from {} took its place; \
                     look whether the configuration, the password and the leases are as they \
                     should be. The next change of the configuration ends this notice.{kept}",
                    restored.why,
                    date(restored.snapshot_unix_s),
                );
                log::error!("{text}");
                self.own_notices.insert(
                    NoticeCode::DataRestored,
                    Notice {
                        code: NoticeCode::DataRestored,
                        severity: Severity::Error,
                        text,
                        link: None,
                    },
                );
            }
            Ok(None) => {}
            Err(error) => self.store_failed("reading what was restored", &error),
        }
    }

    /// Something was stored that must outlive the database.
    pub(super) fn want_snapshot(&mut self, now: Now) {
        let rested = self.snapshot_last.map(|last| last + SNAPSHOT_EVERY_MIN);
        let wanted = (now.mono + SNAPSHOT_AFTER).max(rested.unwrap_or(Instant::MIN));
        self.snapshot_at = Some(self.snapshot_at.map_or(wanted, |at| at.min(wanted)));
    }

    pub(super) fn take_snapshot(&mut self, now: Now) {
        self.snapshot_last = Some(now.mono);
        self.snapshot_at = Some(now.mono + SNAPSHOT_EVERY);
        if self.facts.data != DataState::Good {
            self.snapshot_at = None;
            return;
        }
        match self.store.take_snapshot(now.unix_s) {
            Ok(Some(snapshot)) => log::info!("snapshot {} of the database", snapshot.number),
            Ok(None) => self.snapshot_at = None,
            Err(error) => self.store_failed("taking a snapshot", &error),
        }
    }

    /// Somebody has looked at the configuration and changed it.
    pub(super) fn restored_is_dealt_with(&mut self) {
        if self.own_notices.remove(&NoticeCode::DataRestored).is_some() {
            self.stored("noting that the copy is known", |store| {
                store.forget_restored()
            });
        }
    }
}
