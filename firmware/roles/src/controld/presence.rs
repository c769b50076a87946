//! Resets by somebody who stands at the box: the password goes, and with it whatever else opens
//! the box; the configuration stays. A factory reset is done by init before this begins, and told
//! here.
//!
//! The word on the kernel's command line does its work once. The store notes it in the transaction
//! of the reset; as long as the word stands there, later starts tell of it and do nothing, and a
//! start without it forgets the note.

use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use lintel_model::reset::{Reset, ResetBy, ResetKind};
use lintel_store::{AuditLine, ResetNote};

use super::core::{Core, Now};

impl Core {
    /// What init says of resets, when this process begins.
    pub(super) fn presence(&mut self, now: Now) {
        if self.facts.data != DataState::Good {
            return;
        }
        let noted = match self.store.reset_note() {
            Ok(noted) => noted,
            Err(error) => {
                log::error!("the note of a reset does not read: {error}");
                return;
            }
        };
        let Some(reset) = self.start.reset else {
            if noted.is_some() {
                self.stored("forgetting a reset", |store| store.set_reset_note(None));
            }
            return;
        };
        let same = noted.filter(|noted| noted.reset == reset);
        match same {
            // This process started anew.
            Some(noted) if noted.boot_id == self.start.boot_id => self.tell_reset(reset, true),
            Some(_) if reset.by == ResetBy::Argument => self.tell_reset(reset, false),
            _ => self.reset(now, reset),
        }
    }

    /// Somebody at the box wants a reset, or had one.
    pub(super) fn reset(&mut self, now: Now, reset: Reset) {
        let note = ResetNote {
            reset,
            boot_id: self.start.boot_id.clone(),
        };
        let kept = match reset.kind {
            ResetKind::Password => self.stored("taking the password away", |store| {
                store.forget_people(&note)
            }),
            ResetKind::Factory => {
                self.stored("noting a reset", |store| store.set_reset_note(Some(&note)))
            }
        };
        if kept.is_none() {
            log::error!("the reset cannot be stored, so nothing is reset");
            return;
        }
        if reset.kind == ResetKind::Password {
            self.auth.forget_people();
            self.want_snapshot(now);
        }
        let line = AuditLine {
            unix_s: now.unix_s,
            who: "presence".to_owned(),
            method: format!("system.reset.{}", reset.kind.as_str()),
            outcome: "done".to_owned(),
            reason: match reset.by {
                ResetBy::Argument => format!("lintel.reset={}", reset.kind.as_str()),
                ResetBy::Button => "the button of the box".to_owned(),
            },
            ..AuditLine::default()
        };
        self.stored("writing the audit trail", |store| store.add_audit(&line));
        self.tell_reset(reset, true);
    }

    /// What somebody who did not do it should know. `now`: at this start.
    fn tell_reset(&mut self, reset: Reset, now: bool) {
        let what = match reset.kind {
            ResetKind::Password => "The password was taken away, with every session and token",
            ResetKind::Factory => "Everything that was stored on the box was removed",
        };
        let word = reset.kind.as_str();
        let text = match (reset.by, now) {
            (ResetBy::Button, _) => format!("{what}, by the button of the box."),
            (ResetBy::Argument, true) => format!(
                "{what}, since the kernel's command line says lintel.reset={word}. Take that out: \
                 it is not done again while it stands there."
            ),
            (ResetBy::Argument, false) => format!(
                "The kernel's command line still says lintel.reset={word}. That was done at an \
                 earlier start and is not done again; take it out."
            ),
        };
        log::warn!("{text}");
        let notice = Notice {
            code: NoticeCode::Reset,
            severity: Severity::Warning,
            text,
            link: None,
        };
        self.own_notices.insert(NoticeCode::Reset, notice);
    }

    /// The box has an owner again; what is left to do is on the command line.
    pub(super) fn reset_is_dealt_with(&mut self) {
        let argument = |reset: Reset| reset.by == ResetBy::Argument;
        if !self.start.reset.is_some_and(argument) {
            self.own_notices.remove(&NoticeCode::Reset);
        }
    }

    /// What a visitor of a box without a password should know.
    pub(super) fn reset_text(&self) -> Option<String> {
        let notice = self.own_notices.get(&NoticeCode::Reset);
        notice.map(|notice| notice.text.clone())
    }
}
