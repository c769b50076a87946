//! The rows, by what they are about, and the parameters that many have.

/// The parameters of a method that changes the configuration: its own, then those that all have.
macro_rules! of_a_change {
    ($($own:expr),* $(,)?) => {
        &[$($own,)* super::REASON, super::DRY_RUN, super::IF_MATCH, super::IDEMPOTENCY_KEY]
    };
}

mod config;
mod household;
mod people;
mod state;

use crate::method::{Method, Param, ParamKind, Place};
use crate::types::PAGE_ENTRIES_MAX;

/// Every method, once.
pub const METHODS: &[Method] = &all();

const fn all() -> [Method; COUNT] {
    let parts: [&[Method]; 4] = [&state::ROWS, &config::ROWS, &household::ROWS, &people::ROWS];
    let mut rows = [state::ROWS[0]; COUNT];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            rows[at] = parts[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    rows
}

const COUNT: usize =
    state::ROWS.len() + config::ROWS.len() + household::ROWS.len() + people::ROWS.len();

const fn param(
    name: &'static str,
    kind: ParamKind,
    place: Place,
    required: bool,
    summary: &'static str,
) -> Param {
    Param {
        name,
        kind,
        place,
        required,
        summary,
    }
}

/// Roles that can be stopped: the others are what starts them again.
const CAN_STOP: [&str; 4] = ["wand", "dhcpd", "dnsd", "timed"];
const LIMIT: Param = param(
    "limit",
    ParamKind::Count(PAGE_ENTRIES_MAX),
    Place::Query,
    false,
    "most entries in this answer (default 100, at most 1000)",
);
const CURSOR: Param = param(
    "cursor",
    ParamKind::Text,
    Place::Query,
    false,
    "where the last answer ended",
);
const IF_MATCH: Param = param(
    "if_match",
    ParamKind::Text,
    Place::Header,
    false,
    "only while this revision is in force: a number, or the ETag of config show",
);
const IDEMPOTENCY_KEY: Param = param(
    "idempotency_key",
    ParamKind::Text,
    Place::Header,
    false,
    "a name of this one call: called again with it, it is done once and answers the same",
);
const REASON: Param = param(
    "reason",
    ParamKind::Text,
    Place::Query,
    false,
    "why, for the list of revisions",
);
const DRY_RUN: Param = param(
    "dry_run",
    ParamKind::Flag,
    Place::Query,
    false,
    "only say what would be done",
);
