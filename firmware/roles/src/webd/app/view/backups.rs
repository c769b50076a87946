//! A backup as a line of the list, and a port that is asked for.

use lintel_api::types::{BackupInfo, Interface};
use lintel_ipc::call::FieldError;
use serde::Serialize;

use super::date;
use crate::cli::backup_origin;

/// One backup.
#[derive(Debug, Serialize)]
pub(crate) struct BackupView {
    id: u64,
    when: String,
    why: String,
    reason: String,
    board: String,
    revision: Option<u64>,
}

impl BackupView {
    /// From the list.
    pub(crate) fn new(info: &BackupInfo) -> Self {
        Self {
            id: info.id,
            when: date(info.made_unix_s),
            why: backup_origin(&info.origin).to_owned(),
            reason: info.reason.clone(),
            board: info.board.clone(),
            revision: info.revision,
        }
    }
}

/// A port that a backup names, and what may take its place.
#[derive(Debug, Serialize)]
pub(crate) struct PortChoice {
    selector: String,
    reason: String,
    options: Vec<PortOption>,
}

/// One port of this box.
#[derive(Debug, Serialize)]
struct PortOption {
    value: String,
    label: String,
}

impl PortChoice {
    /// From the problem that asks, and the links there are.
    pub(crate) fn all(errors: &[FieldError], here: &[Interface]) -> Vec<Self> {
        let options = || {
            let ports = here.iter().filter(|interface| {
                let link = &interface.link;
                link.ethernet && matches!(link.kind.as_str(), "" | "veth" | "tun")
            });
            ports.map(|interface| {
                let link = &interface.link;
                let work = interface.role.as_deref().unwrap_or("no work yet");
                let cable = if link.carrier { "" } else { ", no cable" };
                PortOption {
                    value: link.name.to_string(),
                    label: format!("{} ({work}{cable})", link.name),
                }
            })
        };
        let asked = errors.iter().filter_map(|error| {
            let selector = error.path.strip_prefix("ports.")?;
            let keep = PortOption {
                value: selector.to_owned(),
                label: format!("{selector}, as in the backup"),
            };
            Some(Self {
                selector: selector.to_owned(),
                reason: error.reason.clone(),
                options: options().chain(std::iter::once(keep)).collect(),
            })
        });
        asked.collect()
    }

    /// How the backup names it.
    pub(crate) fn selector(&self) -> &str {
        &self.selector
    }
}
