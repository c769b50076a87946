//! What was changed, what differs between two states, and the ways back.

use lintel_api::types::{ConfigApplied, ConfigDiff, ConfigShown, Page, RevisionInfo};
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{Done, Form, Stop, Visit, field, sentence, shown};
use crate::webd::app::view::history::RevisionView;
use crate::webd::app::view::plan::{PlanView, change_views};
use crate::webd::app::{problem, urls};

/// Revisions on one page.
const REVISIONS_PER_PAGE: u32 = 25;

/// Which way back is meant: the fields of `config.rollback`.
struct Back {
    revision: Option<u64>,
    undo: Option<u64>,
    path: Option<String>,
}

impl Back {
    fn read(get: impl Fn(&str) -> String) -> Result<Self, Stop> {
        let number = |name: &str| get(name).parse::<u64>().ok();
        let path = Some(get("path")).filter(|path| !path.is_empty());
        let back = Self {
            revision: number("revision"),
            undo: number("undo"),
            path,
        };
        if back.revision.is_some() == back.undo.is_some() {
            return Err(problem(400, "bad-form", "One revision is wanted", "").into());
        }
        Ok(back)
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        let numbers = [("revision", self.revision), ("undo", self.undo)];
        for (name, number) in numbers {
            params.extend(number.map(|number| (name.to_owned(), number.into())));
        }
        let path = self.path.as_deref();
        params.extend(path.map(|path| ("path".to_owned(), path.into())));
        params
    }

    fn title(&self) -> String {
        match (self.revision, self.undo, &self.path) {
            (_, Some(undo), Some(path)) => format!("Undo what revision {undo} did to {path}"),
            (_, Some(undo), None) => format!("Undo what revision {undo} changed"),
            (Some(number), ..) => format!("Restore revision {number} whole"),
            (None, None, _) => String::new(),
        }
    }
}

impl Visit<'_> {
    pub(super) fn history(&self) -> Done {
        let auth = self.owner()?;
        let mut params = json!({ "limit": REVISIONS_PER_PAGE });
        if let Some(cursor) = self.asked_for("cursor") {
            params["cursor"] = cursor.into();
        }
        let list: Page<RevisionInfo> = self.result("config.revisions", params)?;
        let revisions: Vec<_> = list.items.iter().map(RevisionView::new).collect();
        let values = context! { revisions => shown(&revisions), next => list.next.as_deref().map(urls::encode) };
        self.page(200, "history.html", &auth, values)
    }

    /// What one revision changed, or what differs between two.
    pub(super) fn diff(&self) -> Done {
        let auth = self.owner()?;
        let number = |name| {
            self.asked_for(name)
                .and_then(|text| text.parse::<u64>().ok())
        };
        let (from, to) = (number("from"), number("to"));
        let mut params = Map::new();
        for (name, number) in [("from", from), ("to", to)] {
            params.extend(number.map(|number| (name.to_owned(), number.into())));
        }
        let diff: ConfigDiff = self.result("config.diff", Value::Object(params))?;
        let title = match (from, diff.to) {
            (Some(from), Some(to)) => format!("From revision {from} to revision {to}"),
            (None, Some(to)) => format!("What revision {to} changed"),
            (_, None) => "What differs from the settings in force".to_owned(),
        };
        let told = match diff.to {
            Some(number) => {
                Some(self.result::<ConfigShown>("config.show", json!({ "revision": number }))?)
            }
            None => None,
        };
        let info = match diff.to {
            Some(number) => self.revision(number)?,
            None => None,
        };
        let values = context! {
            title,
            to => diff.to,
            undoable => diff.to.filter(|_| from.is_none()),
            active => info.as_ref().is_none_or(|info| info.active),
            info => info.as_ref().map(|info| shown(&RevisionView::new(info))),
            plan => context! { changes => shown(&change_views(&diff.changes)) },
            toml => told.map(|told| told.toml),
        };
        self.page(200, "diff.html", &auth, values)
    }

    /// A way back, shown before it is gone.
    pub(super) fn back(&self) -> Done {
        self.owner()?;
        let back = Back::read(|name| self.asked_for(name).unwrap_or_default())?;
        self.back_form(&back, None)
    }

    /// `POST /config/rollback`.
    pub(super) fn go_back(&self, form: &Form) -> Done {
        self.owner()?;
        let back = Back::read(|name| field(form, name).to_owned())?;
        let mut params = back.params();
        let reason = field(form, "reason").trim();
        if !reason.is_empty() {
            params.insert("reason".to_owned(), reason.into());
        }
        match self.call("config.rollback", Value::Object(params))? {
            Err(problem) => self.back_form(&back, Some((problem.status, sentence(&problem)))),
            Ok(reply) => {
                let applied: ConfigApplied = Self::read("config.rollback", reply)?;
                self.committed(applied, "/history", |error| {
                    self.back_form(&back, Some((422, error)))
                })
            }
        }
    }

    fn back_form(&self, back: &Back, error: Option<(u16, String)>) -> Done {
        let auth = self.owner()?;
        let mut params = back.params();
        params.insert("dry_run".to_owned(), true.into());
        let (plan, refused) = match self.call("config.rollback", Value::Object(params))? {
            Err(problem) => (None, Some((problem.status, sentence(&problem)))),
            Ok(reply) => {
                let applied: ConfigApplied = Self::read("config.rollback", reply)?;
                (Some(PlanView::new(&applied)), None)
            }
        };
        let error = error.or(refused);
        let values = context! {
            title => back.title(),
            verb => if back.undo.is_some() { "Undo it" } else { "Restore it" },
            revision => back.revision,
            undo => back.undo,
            path => &back.path,
            error => error.as_ref().map(|(_, text)| text),
            plan => plan.as_ref().map(shown),
        };
        let status = error.map_or(200, |(status, _)| status);
        self.page(status, "back.html", &auth, values)
    }

    /// One line of the history.
    fn revision(&self, number: u64) -> Result<Option<RevisionInfo>, Stop> {
        // The list goes down from its cursor, which it leaves out.
        let cursor = number.saturating_add(1).to_string();
        let params = json!({ "limit": 1, "cursor": cursor });
        let list: Page<RevisionInfo> = self.result("config.revisions", params)?;
        let found = list.items.into_iter().next();
        Ok(found.filter(|found| found.revision == number))
    }
}
