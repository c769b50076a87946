//! Which configuration is in force when the role begins.
//!
//! A revision that still waits to be confirmed is taken back first.
//!
//! The newest revision that has not failed; one that no longer loads is marked and the one
//! before it is tried; when none loads, the factory's. Under `lintel run` the file is a revision
//! of its own, made when it was not given before.

use std::error::Error as _;

use lintel_ipc::init::Start;
use lintel_model::Ipv4Net;
use lintel_model::config::{Config, PortSelector, Problem};
use lintel_model::facts::{DataState, Notice, NoticeCode, Severity};
use lintel_model::lease::{Binding, WanLease};
use lintel_store::{
    ClockNote, Revision, RevisionDraft, RevisionState, SessionRow, Store, StoreError, TokenRow,
};

use super::confirm::not_confirmed;

/// Author of the revision that `lintel run` was given as a file.
const RUN_AUTHOR: &str = "run";

/// The configuration in force.
#[derive(Debug, Clone)]
pub(super) struct Active {
    /// Its revision; `None` when it is in no store.
    pub(super) revision: Option<u64>,
    pub(super) author: String,
    pub(super) reason: String,
    pub(super) unix_s: u64,
    pub(super) toml: String,
    pub(super) config: Config,
    /// Taken because nothing else could be.
    pub(super) fail_secure: bool,
}

/// What the start found.
pub(super) struct Loaded {
    pub(super) active: Active,
    pub(super) notices: Vec<Notice>,
}

/// What else the store keeps.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) wan_lease: Option<WanLease>,
    pub(super) detected_wan: Option<PortSelector>,
    pub(super) password: Option<String>,
    pub(super) totp: Option<String>,
    pub(super) sessions: Vec<SessionRow>,
    pub(super) tokens: Vec<TokenRow>,
    pub(super) bindings: Vec<Binding>,
    pub(super) drift: Option<i64>,
    pub(super) clock: Option<ClockNote>,
    pub(super) leaving: Vec<Ipv4Net>,
}

impl Kept {
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            wan_lease: store.wan_lease()?,
            detected_wan: store.detected_wan()?,
            password: store.password()?,
            totp: store.totp()?,
            sessions: store.sessions()?,
            tokens: store.tokens()?,
            bindings: store.bindings()?,
            drift: store.drift()?,
            clock: store.clock_note()?,
            leaving: store.leaving()?,
        })
    }
}

pub(super) fn load(
    store: &mut Store,
    start: &Start,
    unix_s: u64,
    data: &DataState,
) -> Result<Loaded, StoreError> {
    if *data != DataState::Good {
        return Ok(Loaded {
            active: fail_secure(start, unix_s),
            notices: Vec::new(),
        });
    }
    let mut notices = Vec::new();
    match &start.run {
        Some(run) => commit_when_new(store, &run.config, unix_s)?,
        None => {
            if store.revisions(u64::MAX, 1)?.is_empty() {
                let draft = draft(&start.factory_config, "factory", "first start", unix_s);
                store.commit_revision(&draft)?;
            }
        }
    }
    for number in store.revert_pending()? {
        let text = format!(
            "Revision {number} of the configuration was not confirmed before the box started again, so the one before is in force."
        );
        log::warn!("{text}");
        notices.push(not_confirmed(text));
    }
    let mut before = u64::MAX;
    while let Some(revision) = store.good_revision_before(before)? {
        match parse(start, &revision.toml) {
            Ok(config) => {
                return Ok(Loaded {
                    active: active(revision, config),
                    notices,
                });
            }
            Err(problems) => {
                before = revision.head.number;
                let first = problems
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let text = format!(
                    "Revision {before} of the configuration does not load ({first}). An older one is in force."
                );
                log::error!("{text}");
                store.mark_revision(before, RevisionState::Failed)?;
                notices.push(revision_failed(text));
            }
        }
    }
    notices.push(revision_failed(
        "No stored configuration loads. The box runs with its factory settings.".to_owned(),
    ));
    Ok(Loaded {
        active: fail_secure(start, unix_s),
        notices,
    })
}

/// Reads a text as this start demands: `[run]` stands only in what `lintel run` was given.
pub(super) fn parse(start: &Start, text: &str) -> Result<Config, Vec<Problem>> {
    match &start.run {
        None => Config::parse_for_box(text),
        Some(run) => Config::parse(text).map(|mut config| {
            // The sockets are open already, where the file wanted them.
            config.run = Config::parse(&run.config).map_or_else(
                |_| Some(Default::default()),
                |given| given.run.or_else(|| Some(Default::default())),
            );
            config
        }),
    }
}

/// An error with its causes, in one line.
pub(super) fn sentence(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Commits what `lintel run` was given, unless it was given the same the last time: what was
/// applied since then outlives a start of this process, and an edited file takes effect.
fn commit_when_new(store: &mut Store, toml: &str, unix_s: u64) -> Result<(), StoreError> {
    let heads = store.revisions(u64::MAX, u32::MAX)?;
    let given = heads
        .iter()
        .find(|head| head.author == RUN_AUTHOR && head.state != RevisionState::Failed);
    let given = match given {
        Some(head) => store.revision(head.number)?,
        None => None,
    };
    if given.is_none_or(|revision| revision.toml != toml) {
        store.commit_revision(&draft(toml, RUN_AUTHOR, "given to lintel run", unix_s))?;
    }
    Ok(())
}

fn draft<'a>(toml: &'a str, author: &'a str, reason: &'a str, unix_s: u64) -> RevisionDraft<'a> {
    RevisionDraft {
        toml,
        author,
        reason,
        unix_s,
        pending: false,
    }
}

pub(super) fn active(revision: Revision, config: Config) -> Active {
    Active {
        revision: Some(revision.head.number),
        author: revision.head.author,
        reason: revision.head.reason,
        unix_s: revision.head.unix_s,
        toml: revision.toml,
        config,
        fail_secure: false,
    }
}

fn fail_secure(start: &Start, unix_s: u64) -> Active {
    let text = match &start.run {
        Some(run) => &run.config,
        None => &start.factory_config,
    };
    let config = parse(start, text).unwrap_or_default();
    Active {
        revision: None,
        author: "factory".to_owned(),
        reason: "fail-secure".to_owned(),
        unix_s,
        toml: config.to_toml(),
        config,
        fail_secure: true,
    }
}

fn revision_failed(text: String) -> Notice {
    Notice {
        code: NoticeCode::RevisionFailed,
        severity: Severity::Error,
        text,
        link: None,
    }
}
