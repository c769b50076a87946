//! `config.*`: show, check, list, compare. What changes it is in `commits` and `confirm`.

use lintel_api::types::{
    CONFIG_BYTES_MAX, ConfigDiff, ConfigParams, ConfigShowParams, ConfigShown, ConfigValid,
    DiffParams, PAGE_ENTRIES_DEFAULT, PAGE_ENTRIES_MAX, Page, PageParams, RevisionInfo,
};
use lintel_ipc::call::{FieldError, Problem};
use lintel_model::config::change::changes;
use lintel_model::config::{self, Config};
use lintel_store::{Revision, StoreError};
use serde_json::Value;

use super::calls::{bad_field, problem, to_value};
use super::core::Core;
use super::startup;

impl Core {
    pub(super) fn config_show(&self, params: ConfigShowParams) -> Result<ConfigShown, Problem> {
        let active = &self.active;
        match params.revision {
            Some(number) if active.revision != Some(number) => self.revision_shown(number),
            _ => Ok(ConfigShown {
                revision: active.revision,
                author: active.author.clone(),
                reason: active.reason.clone(),
                unix_s: active.unix_s,
                toml: active.toml.clone(),
                config: to_value(&active.config)?,
            }),
        }
    }

    pub(super) fn revision_shown(&self, number: u64) -> Result<ConfigShown, Problem> {
        let revision = self.stored_revision(number)?;
        let config = startup::parse(&self.start, &revision.toml).ok();
        Ok(ConfigShown {
            revision: Some(number),
            author: revision.head.author,
            reason: revision.head.reason,
            unix_s: revision.head.unix_s,
            config: config.map_or(Ok(Value::Null), |config| to_value(&config))?,
            toml: revision.toml,
        })
    }

    /// What differs between two revisions; by default what the one in force changed.
    pub(super) fn config_diff(&self, params: &DiffParams) -> Result<ConfigDiff, Problem> {
        let (to, after) = match params.to.or(self.active.revision) {
            Some(number) => (Some(number), self.revision_config(number)?),
            None => (None, self.active.config.clone()),
        };
        let (from, before) = match params.from {
            Some(number) => (Some(number), self.revision_config(number)?),
            None => self.config_before(to.unwrap_or(u64::MAX))?,
        };
        Ok(ConfigDiff {
            from,
            to,
            changes: changes(&before, &after),
        })
    }

    /// The configuration that was in force before revision `number` came: before the first, the
    /// built-in defaults.
    pub(super) fn config_before(&self, number: u64) -> Result<(Option<u64>, Config), Problem> {
        let before = self.store.good_revision_before(number);
        let Some(before) = before.map_err(|error| cannot_read(&error))? else {
            let config = startup::parse(&self.start, "").map_err(invalid)?;
            return Ok((None, config));
        };
        let config = startup::parse(&self.start, &before.toml).map_err(invalid)?;
        Ok((Some(before.head.number), config))
    }

    pub(super) fn revision_config(&self, number: u64) -> Result<Config, Problem> {
        let revision = self.stored_revision(number)?;
        startup::parse(&self.start, &revision.toml).map_err(invalid)
    }

    pub(super) fn stored_revision(&self, number: u64) -> Result<Revision, Problem> {
        let found = self.store.revision(number);
        found.map_err(|error| cannot_read(&error))?.ok_or_else(|| {
            problem(
                404,
                "no-such-revision",
                "There is no such revision",
                "lintel config revisions lists them.",
            )
        })
    }

    pub(super) fn config_validate(&self, params: ConfigParams) -> Result<ConfigValid, Problem> {
        let (toml, config) = self.read_config(params)?;
        self.refuse_lacking(&toml)?;
        Ok(ConfigValid {
            notices: lintel_plan::resolve(&config, &self.facts).notices,
        })
    }

    pub(super) fn config_revisions(
        &self,
        params: &PageParams,
    ) -> Result<Page<RevisionInfo>, Problem> {
        let limit = page_limit(params);
        let before = match &params.cursor {
            None => u64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let heads = self.store.revisions(before, limit);
        let heads = heads.map_err(|error| cannot_read(&error))?;
        let full = heads.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = heads
            .last()
            .filter(|_| full)
            .map(|head| head.number.to_string());
        let items = heads.into_iter().map(|head| RevisionInfo {
            revision: head.number,
            active: self.active.revision == Some(head.number),
            author: head.author,
            reason: head.reason,
            unix_s: head.unix_s,
            state: head.state.as_str().to_owned(),
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    pub(super) fn read_config(&self, params: ConfigParams) -> Result<(String, Config), Problem> {
        let text = match (params.toml, params.config) {
            (Some(toml), None) => toml,
            (None, Some(tree)) => {
                let config = Config::from_json(&tree).map_err(invalid)?;
                config.to_toml()
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(bad_field(
                    "toml",
                    "one of toml and config is wanted",
                    "send the configuration as TOML text in toml, or as a tree in config",
                ));
            }
        };
        if text.len() > CONFIG_BYTES_MAX {
            return Err(bad_field(
                "toml",
                "it is too long",
                &format!("at most {CONFIG_BYTES_MAX} octets are taken"),
            ));
        }
        let config = startup::parse(&self.start, &text).map_err(invalid)?;
        Ok((text, config))
    }
}

pub(super) fn cannot_read(error: &StoreError) -> Problem {
    problem(
        500,
        "cannot-read",
        "The revisions cannot be read",
        &startup::sentence(error),
    )
}

pub(super) fn invalid(problems: Vec<config::Problem>) -> Problem {
    Problem {
        errors: problems
            .into_iter()
            .map(|p| FieldError {
                path: p.path,
                line: (p.line > 0).then_some(p.line),
                reason: p.reason,
                hint: p.hint,
            })
            .collect(),
        ..problem(
            422,
            "invalid-configuration",
            "The configuration has problems",
            "Nothing was changed.",
        )
    }
}

pub(super) fn page_limit(params: &PageParams) -> u32 {
    params
        .limit
        .unwrap_or(PAGE_ENTRIES_DEFAULT)
        .clamp(1, PAGE_ENTRIES_MAX)
}

pub(super) fn bad_cursor() -> Problem {
    bad_field(
        "cursor",
        "it is not from an answer of ours",
        "take `next` of the answer before",
    )
}
