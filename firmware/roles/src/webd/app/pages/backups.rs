//! Backups: made, taken along, brought back, put in force.

use lintel_api::types::{
    BackupInfo, ConfigApplied, ConfigExported, Interface, PASSPHRASE_BYTES_MAX,
    PASSPHRASE_CHARS_MIN, Page,
};
use lintel_ipc::call::Problem;
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{Done, Form, Visit, field, see, sentence, shown};
use crate::webd::app::urls;
use crate::webd::app::view::backups::{BackupView, PortChoice};
use crate::webd::app::view::plan::PlanView;
use crate::webd::front::answer::Answer;

/// Backups on one page: all that there can be.
const BACKUPS_PER_PAGE: u32 = 100;
/// Begins the names of the fields that say which port takes another's place.
const PORT_FIELD: &str = "port.";

/// What the page says first.
#[derive(Default)]
struct Told {
    status: Option<u16>,
    error: Option<String>,
    done: Option<String>,
}

impl Visit<'_> {
    pub(super) fn backups(&self) -> Done {
        let done = match self.asked_for("done").as_deref() {
            Some("made") => Some("The backup is made."),
            Some("taken") => Some("The backup is taken in. Restore puts it in force."),
            _ => None,
        };
        self.backups_with(Told {
            done: done.map(str::to_owned),
            ..Told::default()
        })
    }

    /// `POST /history/backups`.
    pub(super) fn change_backups(&self, form: &Form) -> Done {
        self.owner()?;
        match field(form, "do") {
            "export" => self.take_along(form),
            "import" => {
                let mut params = Map::new();
                // A form's lines end with CR LF (WHATWG HTML, "constructing the entry list").
                let content = field(form, "content").replace("\r\n", "\n");
                params.insert("content".to_owned(), content.into());
                let passphrase = field(form, "passphrase");
                if !passphrase.is_empty() {
                    params.insert("passphrase".to_owned(), passphrase.into());
                }
                match self.call("config.import", Value::Object(params))? {
                    Ok(_) => Ok(see("/history/backups?done=taken")),
                    Err(problem) => self.refuse_backup(&problem),
                }
            }
            _ => {
                let reason = field(form, "reason").trim();
                match self.call("config.backup", json!({ "reason": reason }))? {
                    Ok(_) => Ok(see("/history/backups?done=made")),
                    Err(problem) => self.refuse_backup(&problem),
                }
            }
        }
    }

    /// The file itself, for the browser to keep.
    fn take_along(&self, form: &Form) -> Done {
        let mut params = Map::new();
        if let Ok(id) = field(form, "backup").parse::<u64>() {
            params.insert("backup".to_owned(), id.into());
        }
        let passphrase = field(form, "passphrase");
        if passphrase != field(form, "again") {
            let differ = "The two passphrases differ.".to_owned();
            return self.backups_with(Told {
                status: Some(422),
                error: Some(differ),
                ..Told::default()
            });
        }
        if !passphrase.is_empty() {
            params.insert("passphrase".to_owned(), passphrase.into());
        }
        match self.call("config.export", Value::Object(params))? {
            Err(problem) => self.refuse_backup(&problem),
            Ok(reply) => {
                let file: ConfigExported = Self::read("config.export", reply)?;
                Ok(Answer {
                    status: 200,
                    fields: vec![
                        ("content-type", "application/octet-stream".to_owned()),
                        ("cache-control", "no-store".to_owned()),
                        (
                            "content-disposition",
                            // Of a host's name and a date.
                            format!("attachment; filename=\"{}\"", file.file_name),
                        ),
                    ],
                    body: file.content.into_bytes(),
                })
            }
        }
    }

    fn refuse_backup(&self, problem: &Problem) -> Done {
        self.backups_with(Told {
            status: Some(problem.status),
            error: Some(sentence(problem)),
            ..Told::default()
        })
    }

    fn backups_with(&self, told: Told) -> Done {
        let auth = self.owner()?;
        let limit = json!({ "limit": BACKUPS_PER_PAGE });
        let list: Page<BackupInfo> = self.result("config.backups", limit)?;
        let backups: Vec<_> = list.items.iter().map(BackupView::new).collect();
        let values = context! {
            backups => shown(&backups),
            error => &told.error,
            done => &told.done,
            chars_min => PASSPHRASE_CHARS_MIN,
            chars_max => PASSPHRASE_BYTES_MAX,
        };
        self.page(told.status.unwrap_or(200), "backups.html", &auth, values)
    }

    /// What a restore would do, and which ports it asks for.
    pub(super) fn restore(&self) -> Done {
        self.owner()?;
        let pairs = urls::pairs(&self.asked.query).unwrap_or_default();
        self.restore_form(&pairs, None)
    }

    /// `POST /history/backups/restore`.
    pub(super) fn restore_it(&self, form: &Form) -> Done {
        self.owner()?;
        let mut params = restore_params(form);
        let reason = field(form, "reason").trim();
        if !reason.is_empty() {
            params.insert("reason".to_owned(), reason.into());
        }
        match self.call("config.restore", Value::Object(params))? {
            Err(problem) => self.restore_form(form, Some((problem.status, sentence(&problem)))),
            Ok(reply) => {
                let applied: ConfigApplied = Self::read("config.restore", reply)?;
                self.committed(applied, "/history", |error| {
                    self.restore_form(form, Some((422, error)))
                })
            }
        }
    }

    fn restore_form(&self, form: &Form, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let mut params = restore_params(form);
        params.insert("dry_run".to_owned(), true.into());
        let (mut plan, mut choices, mut refused) = (None, Vec::new(), None);
        match self.call("config.restore", Value::Object(params))? {
            Ok(reply) => {
                let applied: ConfigApplied = Self::read("config.restore", reply)?;
                plan = Some(PlanView::new(&applied));
            }
            Err(problem) if problem.kind == "ports-unmatched" => {
                let here: Vec<Interface> = self.result("network.interfaces", json!({}))?;
                choices = PortChoice::all(&problem.errors, &here);
            }
            Err(problem) => refused = Some((problem.status, sentence(&problem))),
        }
        let error = error.filter(|_| choices.is_empty()).or(refused);
        let ports = chosen(form);
        // What is asked for anew stands in its own field.
        let kept = ports.iter().filter(|(from, _)| {
            let asked = |choice: &PortChoice| choice.selector() == *from;
            !choices.iter().any(asked)
        });
        let kept: Vec<_> = kept
            .map(|(from, to)| context! { name => format!("{PORT_FIELD}{from}"), value => *to })
            .collect();
        let values = context! {
            id => field(form, "id"),
            error => error.as_ref().map(|(_, text)| text),
            plan => plan.as_ref().map(shown),
            choices => shown(&choices),
            port_field => PORT_FIELD,
            kept,
        };
        let status = error.map_or(200, |(status, _)| status);
        self.page(status, "restore.html", &auth, values)
    }
}

fn restore_params(form: &Form) -> Map<String, Value> {
    let mut params = Map::new();
    let id = field(form, "id").parse::<u64>().unwrap_or_default();
    params.insert("id".to_owned(), id.into());
    let ports: Map<String, Value> = chosen(form)
        .into_iter()
        .map(|(from, to)| (from.to_owned(), to.into()))
        .collect();
    if !ports.is_empty() {
        params.insert("ports".to_owned(), Value::Object(ports));
    }
    params
}

/// Which port takes whose place, as chosen so far.
fn chosen(form: &Form) -> Vec<(&str, &str)> {
    let pairs = form.iter().filter_map(|(name, value)| {
        let from = name.strip_prefix(PORT_FIELD)?;
        (!value.is_empty()).then_some((from, value.as_str()))
    });
    pairs.collect()
}
