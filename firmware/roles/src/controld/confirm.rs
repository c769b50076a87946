//! The window in which a change is confirmed, or taken back by itself.
//!
//! ```text
//!             commit that may cut its author off, or on request
//!   closed ────────────────────────────────────────────────────► open
//!     ▲                                                            │
//!     ├── confirm: a session, the console, the answer's token ─────┤  revision: applied
//!     ├── rollback, or the kernel refuses ─────────────────────────┤  revision: reverted, failed
//!     └── until ───────────────────────────────────────────────────┘  revision: reverted
//! ```
//!
//! The revision is stored as pending in the same transaction that makes it. A start of this
//! process finds the mark and takes the revision before (`startup`): a box that was switched off
//! because nobody could reach it comes back as it was.

use embassy_time::{Duration, Instant};
use lintel_api::types::{
    CONFIRM_S_DEFAULT, CONFIRM_S_MAX, CONFIRM_S_MIN, ConfirmParams, Done, Event, PendingConfirm,
};
use lintel_ipc::call::{Caller, Origin, Problem};
use lintel_model::facts::{Notice, NoticeCode, Severity};
use lintel_model::services::Resolved;
use lintel_model::step::Hazard;
use lintel_store::RevisionState;

use super::auth::{self, Bearer};
use super::calls::{Answer, at_once, bad_field, cannot_store, problem};
use super::core::{Core, Now};
use super::startup::Active;

/// An open window.
#[derive(Debug)]
pub(super) struct Window {
    /// Which revision waits. It is the one in force.
    pub(super) revision: u64,
    /// When it is taken back.
    pub(super) until: Instant,
    /// What is taken then.
    pub(super) previous: Active,
    /// SHA-256 of the token in the commit's answer.
    token_sha256: [u8; 32],
    /// The session that committed; the token is worth nothing without it.
    session: Option<[u8; 32]>,
}

impl Core {
    /// How long the author has, when this change needs confirming.
    pub(super) fn confirm_wait(
        &self,
        caller: &Caller,
        asked_s: Option<u32>,
        may_cut_off: bool,
    ) -> Result<Option<Duration>, Problem> {
        match asked_s {
            Some(s) if !(CONFIRM_S_MIN..=CONFIRM_S_MAX).contains(&s) => Err(bad_field(
                "confirm_s",
                "the time to confirm is out of range",
                &format!("{CONFIRM_S_MIN} to {CONFIRM_S_MAX} seconds"),
            )),
            Some(s) => Ok(Some(Duration::from_secs(s.into()))),
            // Whoever sits at the console keeps it, whatever becomes of the network.
            None if may_cut_off && caller.origin == Origin::Web => {
                Ok(Some(Duration::from_secs(CONFIRM_S_DEFAULT.into())))
            }
            None => Ok(None),
        }
    }

    /// Opens the window; the token is for the author alone.
    pub(super) fn open_window(
        &mut self,
        now: Now,
        caller: &Caller,
        revision: u64,
        previous: Active,
        wait: Duration,
    ) -> String {
        let token = auth::random(self.rng.as_mut());
        self.window = Some(Window {
            revision,
            until: now.mono + wait,
            previous,
            token_sha256: auth::sha256(token.as_bytes()),
            session: caller.token.as_deref().and_then(auth::key_of),
        });
        token
    }

    /// What the status and other writers are told of it.
    pub(super) fn pending_confirm(&self, now: Now) -> Option<PendingConfirm> {
        let window = self.window.as_ref()?;
        let left = window.until.saturating_duration_since(now.mono).as_millis();
        Some(PendingConfirm {
            revision: window.revision,
            author: self.active.author.clone(),
            reason: self.active.reason.clone(),
            seconds_left: u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX),
            previous: window.previous.revision,
            address: (self.active.config.lan.address.addr()
                != window.previous.config.lan.address.addr())
            .then(|| self.active.config.lan.address.addr()),
            token: None,
        })
    }

    /// A writer meets an open window.
    pub(super) fn refuse_while_pending(&self, now: Now) -> Result<(), Problem> {
        match self.pending_confirm(now) {
            None => Ok(()),
            Some(pending) => Err(problem(
                409,
                "confirm-pending",
                "Another change waits to be confirmed",
                &format!(
                    "Revision {} by {} is taken back in {} s unless somebody confirms it. \
                     Confirm it or roll it back first.",
                    pending.revision, pending.author, pending.seconds_left
                ),
            )),
        }
    }

    /// `config.confirm`. Open to callers without a session, because at a new address the browser
    /// has none: the token of the commit's answer stands for it, once.
    pub(super) fn config_confirm(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &ConfirmParams,
    ) -> Answer {
        let token = params.token.as_deref();
        let logged_in = caller.origin == Origin::Local
            || self.auth.bearer(now, caller.token.as_deref()) != Bearer::Nobody;
        let by_token = !logged_in && token.is_some_and(|token| self.is_windows_token(now, token));
        if !logged_in && !by_token {
            return Err(problem(
                401,
                "not-logged-in",
                "This needs a login",
                "Log in, or give the token that the commit answered with; it counts once, and \
                 only while its session lasts.",
            ));
        }
        let Some(window) = &self.window else {
            return Err(nothing_pending());
        };
        if let Some(wrong) = params.revision.filter(|r| *r != window.revision) {
            return Err(problem(
                409,
                "other-revision",
                "Another revision waits to be confirmed",
                &format!("Revision {} waits, not {wrong}.", window.revision),
            ));
        }
        let number = window.revision;
        // The mark goes first: a power cut after this answer must find the revision confirmed.
        self.stored("confirming a revision", |store| {
            store.mark_revision(number, RevisionState::Applied)
        })
        .ok_or_else(cannot_store)?;
        self.window = None;
        self.leaving_due = Some(now.mono);
        log::info!("revision {number} is confirmed");
        self.want_snapshot(now);
        self.tell(now, Event::ConfigConfirmed { revision: number });
        if by_token {
            return self.new_session(now, caller);
        }
        at_once(&Done {})
    }

    fn is_windows_token(&mut self, now: Now, token: &str) -> bool {
        let Some(window) = &self.window else {
            return false;
        };
        // Both are digests: how long comparing them takes tells nothing of the token.
        let (session, right) = (
            window.session,
            window.token_sha256 == auth::sha256(token.as_bytes()),
        );
        right && session.is_some_and(|key| self.auth.is_session_key(now, &key))
    }

    /// The time is over.
    pub(super) fn window_over(&mut self, now: Now) {
        let Some(number) = self.window.as_ref().map(|window| window.revision) else {
            return;
        };
        self.take_back(now, "not-confirmed");
        let text = format!(
            "Revision {number} of the configuration was not confirmed in time, so the one before is in force again."
        );
        log::warn!("{text}");
        self.own_notices
            .insert(NoticeCode::NotConfirmed, not_confirmed(text));
    }

    /// Closes the window, if one is open, and takes the configuration before.
    pub(super) fn take_back(&mut self, now: Now, why: &str) {
        let Some(window) = self.window.take() else {
            return;
        };
        // Should the disk refuse the mark, pending is as good: a start takes the one before.
        self.stored("noting that the revision is taken back", |store| {
            store.mark_revision(window.revision, RevisionState::Reverted)
        });
        log::info!("revision {} is taken back", window.revision);
        self.keep_leaving(now, &window.previous.config);
        self.active = window.previous;
        self.leaving_due = Some(now.mono);
        self.end_apply_as_reverted();
        self.refresh(now);
        self.drive(now);
        self.tell_rolled_back(now, Some(window.revision), why);
    }
}

/// Whether the change may cut off whoever came over the household's network: its link, its
/// address, the rules for it, or the names and ports under which the pages answer.
pub(super) fn may_cut_off(old: &Resolved, new: &Resolved, hazards: &[Hazard]) -> bool {
    hazards.contains(&Hazard::CutsManagement) || old.web != new.web
}

pub(super) fn not_confirmed(text: String) -> Notice {
    Notice {
        code: NoticeCode::NotConfirmed,
        severity: Severity::Warning,
        text,
        link: None,
    }
}

fn nothing_pending() -> Problem {
    problem(
        409,
        "nothing-pending",
        "No change waits to be confirmed",
        "lintel config revisions shows what became of each.",
    )
}
