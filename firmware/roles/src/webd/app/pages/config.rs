//! The editor of the configuration, what a change would do, and what becomes of it.

use lintel_api::types::{ConfigApplied, ConfigShown};
use lintel_ipc::call::{FieldError, Problem};
use minijinja::context;
use serde_json::{Map, Value, json};

use super::{Done, Form, Stop, Visit, field, see, sentence, shown};
use crate::webd::app::view::plan::{PlanView, problem_views};
use crate::webd::app::{problem, problem_answer};

/// What the editor offers for `confirm_s`.
const CONFIRM_CHOICES: [(&str, &str); 4] = [
    ("", "only if it may cut me off"),
    ("90", "in 90 seconds"),
    ("600", "in 10 minutes"),
    ("3600", "in an hour"),
];

/// What the editor shows.
#[derive(Default)]
struct Draft<'a> {
    toml: &'a str,
    reason: &'a str,
    confirm_s: &'a str,
    /// The revision that the text was begun from.
    base: Option<u64>,
    error: Option<String>,
    problems: &'a [FieldError],
    plan: Option<PlanView>,
}

impl Visit<'_> {
    pub(super) fn editor(&self) -> Done {
        self.owner()?;
        let now: ConfigShown = self.result("config.show", json!({}))?;
        let draft = Draft {
            toml: &now.toml,
            base: now.revision,
            ..Draft::default()
        };
        self.edit(200, &draft)
    }

    /// The editor's form: a preview or the change itself.
    pub(super) fn change(&self, form: &Form) -> Done {
        self.owner()?;
        // A form's lines end with CR LF (WHATWG HTML, "constructing the entry list").
        let toml = field(form, "toml").replace("\r\n", "\n");
        let mut draft = Draft {
            toml: &toml,
            reason: field(form, "reason").trim(),
            confirm_s: field(form, "confirm_s"),
            base: field(form, "base").parse().ok(),
            ..Draft::default()
        };
        let plan = field(form, "do") != "commit";
        let mut params = Map::from_iter([("toml".to_owned(), Value::from(toml.as_str()))]);
        if let Ok(seconds) = draft.confirm_s.parse::<u32>() {
            params.insert("confirm_s".to_owned(), seconds.into());
        }
        let method = if plan { "config.plan" } else { "config.commit" };
        if !plan {
            params.insert("reason".to_owned(), draft.reason.into());
            let base = draft.base.map(|base| base.to_string());
            params.extend(base.map(|base| ("if_match".to_owned(), base.into())));
        }
        let part = !field(form, "part").is_empty();
        match self.call(method, Value::Object(params))? {
            Err(problem) if part => Ok(problem_answer(&problem)),
            Err(problem) => {
                let revision = self.status()?.config.revision;
                if problem.status == 412 {
                    // Who has read this and commits again means it.
                    draft.error = Some(overtaken(draft.base, revision));
                    draft.base = revision;
                    return self.edit(412, &draft);
                }
                draft.problems = &problem.errors;
                let title = Problem {
                    errors: Vec::new(),
                    ..problem.clone()
                };
                draft.error = Some(sentence(&title));
                self.edit(problem.status, &draft)
            }
            Ok(reply) if plan => {
                let applied: ConfigApplied = Self::read(method, reply)?;
                let view = PlanView::new(&applied);
                if part {
                    let values = context! { plan => shown(&view) };
                    return Ok(self.render(200, "plan.html", None, values)?);
                }
                draft.plan = Some(view);
                self.edit(200, &draft)
            }
            Ok(reply) => {
                let applied: ConfigApplied = Self::read(method, reply)?;
                self.committed(applied, "/history", |error| {
                    draft.error = Some(error);
                    self.edit(422, &draft)
                })
            }
        }
    }

    fn edit(&self, status: u16, draft: &Draft<'_>) -> Done {
        let auth = self.owner()?;
        let choices = CONFIRM_CHOICES.map(|(value, name)| context! { value, name });
        let values = context! {
            toml => draft.toml,
            reason => draft.reason,
            confirm_s => draft.confirm_s,
            confirm_choices => choices.to_vec(),
            error => &draft.error,
            problems => shown(&problem_views(draft.problems)),
            plan => draft.plan.as_ref().map(shown),
            revision => self.status()?.config.revision,
            base => draft.base,
        };
        self.page(status, "config.html", &auth, values)
    }

    /// Where a change leads: to a page that shows it, or with the box to its new address.
    pub(super) fn committed(
        &self,
        applied: ConfigApplied,
        then: &'static str,
        failed: impl FnOnce(String) -> Done,
    ) -> Done {
        if applied.outcome == "reverted" {
            let why = applied.error.unwrap_or_default();
            return failed(format!(
                "The change failed, and what was before is in force again. {why}"
            ));
        }
        let moves = applied.confirm.as_ref().and_then(|pending| {
            let (address, token) = (pending.address?, pending.token.as_deref()?);
            Some((address.to_string(), token, pending))
        });
        let Some((address, token, pending)) = moves else {
            return Ok(see(then));
        };
        let scheme = if self.asked.secure { "https" } else { "http" };
        let port = self.port().map_or(String::new(), |port| format!(":{port}"));
        let values = context! {
            // Behind the #, so that neither a log nor a Referer ever holds the token.
            target => format!("{scheme}://{address}{port}/moved#{token}"),
            address,
            revision => pending.revision,
            seconds => pending.seconds_left,
        };
        let auth = self.auth()?;
        self.page(200, "moving.html", &auth, values)
    }

    /// The first page at a new address. Whoever comes has no session here; the token that its
    /// script reads from the address line begins one.
    pub(super) fn moved(&self) -> Done {
        let auth = self.auth()?;
        self.page(200, "moved.html", &auth, context! {})
    }

    /// The banner's two buttons.
    pub(super) fn confirm(&self, form: &Form) -> Done {
        self.owner()?;
        let done = if field(form, "do") == "rollback" {
            self.call("config.rollback", json!({}))?
        } else {
            let revision: Option<u64> = field(form, "revision").parse().ok();
            self.call("config.confirm", json!({ "revision": revision }))?
        };
        match done {
            Ok(_) => Err(Stop::Elsewhere("/")),
            Err(problem) => Err(problem.into()),
        }
    }

    /// The banner alone.
    pub(super) fn pending(&self) -> Done {
        let auth = self.auth()?;
        if !auth.logged_in {
            return Err(problem(401, "not-logged-in", "A session is needed", "").into());
        }
        self.page(200, "pending.html", &auth, context! {})
    }
}

/// Somebody else was faster.
fn overtaken(base: Option<u64>, now: Option<u64>) -> String {
    let number = |revision: Option<u64>| revision.map_or("none".to_owned(), |n| n.to_string());
    format!(
        "Somebody changed the settings while you wrote: revision {} came, and your text began \
         from {}. Preview shows what your text would change of theirs; commit again to do it.",
        number(now),
        number(base)
    )
}
