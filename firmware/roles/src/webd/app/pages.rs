//! Pages: first visit, login, the status page, and the diagnosis that is left when /data has
//! failed. The pages for what an owner does stand below, by subject.

mod backups;
mod config;
mod history;
mod household;
mod people;
mod upkeep;
mod welcome;

use lintel_api::types::{
    AuthStatus, Lease, PAGE_ENTRIES_MAX, PASSWORD_CHARS_MIN, Page, RESET_CONFIRM, Status,
};
use lintel_ipc::call::{Problem, Reply};
use minijinja::{Environment, context};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::view::StatusView;
use super::view::plan::{PendingView, taken_back};
use super::{
    App, Asked, away, guard, problem, problem_answer, retry_after, session_cookie, urls,
    wrong_method,
};
use crate::webd::front::answer::Answer;

/// The templates, parsed.
pub(crate) struct Pages {
    templates: Environment<'static>,
}

/// A template with its name.
macro_rules! template {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../../web/templates/", $name)),
        )
    };
}

const TEMPLATES: [(&str, &str); 26] = [
    template!("history.html"),
    template!("diff.html"),
    template!("back.html"),
    template!("backups.html"),
    template!("restore.html"),
    template!("devices.html"),
    template!("names.html"),
    template!("services.html"),
    template!("logs.html"),
    template!("work.html"),
    template!("people.html"),
    template!("base.html"),
    template!("setup.html"),
    template!("welcome.html"),
    template!("login.html"),
    template!("status.html"),
    template!("fragment.html"),
    template!("failed.html"),
    template!("error.html"),
    template!("pending.html"),
    template!("config.html"),
    template!("problems.html"),
    template!("plan.html"),
    template!("changes.html"),
    template!("moving.html"),
    template!("moved.html"),
];

/// What an owner finds where, in the order of the navigation.
const PLACES: [(&str, &str); 8] = [
    ("/", "Status"),
    ("/devices", "Devices"),
    ("/names", "Names"),
    ("/config", "Settings"),
    ("/history", "History"),
    ("/services", "Services"),
    ("/logs", "Logs"),
    ("/people", "People"),
];

impl Pages {
    /// Parses every template; that they parse is tested.
    pub(crate) fn new() -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
        for (name, text) in TEMPLATES {
            templates.add_template(name, text)?;
        }
        Ok(Self { templates })
    }

    fn render(
        &self,
        status: u16,
        name: &str,
        values: minijinja::Value,
    ) -> Result<Answer, minijinja::Error> {
        let body = self.templates.get_template(name)?.render(values)?;
        let mut fields = vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        if status == 503 {
            fields.push(("retry-after", "3".to_owned()));
        }
        Ok(Answer {
            status,
            fields,
            body: body.into_bytes(),
        })
    }
}

/// The answer to a request for a page or of a form.
pub(crate) fn answer(app: &App, asked: &Asked) -> Answer {
    let page = Visit { app, asked };
    let done = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/") => page.home(),
        ("GET", "/status/fragment") => page.fragment(),
        ("GET", "/setup") => page.setup_form(None),
        ("POST", "/setup") => page.form().and_then(|form| page.setup(&form)),
        ("GET", "/welcome") => page.welcome(),
        ("POST", "/welcome") => page.form().and_then(|form| page.welcomed(&form)),
        ("GET", "/login") => page.login_form(None),
        ("POST", "/login") => page.form().and_then(|form| page.login(&form)),
        ("POST", "/logout") => page.form().and_then(|_| page.logout()),
        ("POST", "/reset") => page.form().and_then(|form| page.reset(&form)),
        ("POST", "/reboot") => page.form().and_then(|_| page.reboot()),
        ("GET", "/config") => page.editor(),
        ("POST", "/config") => page.form().and_then(|form| page.change(&form)),
        ("POST", "/config/confirm") => page.form().and_then(|form| page.confirm(&form)),
        ("POST", "/config/rollback") => page.form().and_then(|form| page.go_back(&form)),
        ("GET", "/history") => page.history(),
        ("GET", "/history/diff") => page.diff(),
        ("GET", "/history/back") => page.back(),
        ("GET", "/history/backups") => page.backups(),
        ("POST", "/history/backups") => page.form().and_then(|form| page.change_backups(&form)),
        ("GET", "/history/backups/restore") => page.restore(),
        ("POST", "/history/backups/restore") => page.form().and_then(|form| page.restore_it(&form)),
        ("GET", "/devices") => page.devices(),
        ("POST", "/devices") => page.form().and_then(|form| page.change_devices(&form)),
        ("GET", "/names") => page.names(),
        ("POST", "/names") => page.form().and_then(|form| page.change_names(&form)),
        ("GET", "/services") => page.services(),
        ("POST", "/services") => page.form().and_then(|form| page.restart(&form)),
        ("GET", "/logs") => page.logs(),
        ("POST", "/logs") => page.form().and_then(|form| page.export_logs(&form)),
        ("POST", "/support") => page.form().and_then(|_| page.collect()),
        ("GET", "/work") => page.work(),
        ("POST", "/work") => page.form().and_then(|form| page.end_work(&form)),
        ("GET", "/people") => page.people(),
        ("POST", "/people") => page.form().and_then(|form| page.change_people(&form)),
        ("GET", "/pending") => page.pending(),
        ("GET", "/moved") => page.moved(),
        (_, "/" | "/status/fragment" | "/pending" | "/moved") => Err(wrong_method("GET").into()),
        (_, "/history" | "/history/diff" | "/history/back") => Err(wrong_method("GET").into()),
        (_, "/history/backups" | "/history/backups/restore") => {
            Err(wrong_method("GET, POST").into())
        }
        (_, "/devices" | "/names" | "/services" | "/logs" | "/work" | "/people") => {
            Err(wrong_method("GET, POST").into())
        }
        (_, "/setup" | "/welcome" | "/login" | "/config") => Err(wrong_method("GET, POST").into()),
        (_, "/support") => Err(wrong_method("POST").into()),
        (_, "/logout" | "/reset" | "/reboot" | "/config/confirm" | "/config/rollback") => {
            Err(wrong_method("POST").into())
        }
        _ => Err(problem(
            404,
            "unknown-path",
            "There is no such page",
            "The status page leads to everything there is.",
        )
        .into()),
    };
    done.unwrap_or_else(|stop| page.stop(stop))
}

/// Why a page is not what was asked for.
enum Stop {
    Problem(Problem),
    Template(minijinja::Error),
    Elsewhere(&'static str),
    /// To the page of a task.
    Work(u64),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<minijinja::Error> for Stop {
    fn from(error: minijinja::Error) -> Self {
        Self::Template(error)
    }
}

type Done = Result<Answer, Stop>;
type Form = Vec<(String, String)>;

struct Visit<'a> {
    app: &'a App,
    asked: &'a Asked,
}

impl Visit<'_> {
    fn home(&self) -> Done {
        let auth = self.auth()?;
        if auth.data_failed {
            return self.diagnosis(&auth, None);
        }
        if !auth.claimed {
            return Err(Stop::Elsewhere("/setup"));
        }
        if !auth.logged_in {
            return Err(Stop::Elsewhere("/login"));
        }
        let view = self.status_view(true)?;
        self.page(200, "status.html", &auth, context! { view => shown(&view) })
    }

    /// The changing part of the status page, or of the diagnosis.
    fn fragment(&self) -> Done {
        let auth = self.auth()?;
        if !auth.logged_in && !auth.data_failed {
            return Err(problem(401, "not-logged-in", "A session is needed", "").into());
        }
        let view = self.status_view(auth.logged_in && !auth.data_failed)?;
        self.page(
            200,
            "fragment.html",
            &auth,
            context! { view => shown(&view) },
        )
    }

    fn setup_form(&self, error: Option<&Problem>) -> Done {
        let auth = self.auth()?;
        if auth.data_failed {
            return Err(Stop::Elsewhere("/"));
        }
        if auth.claimed {
            return Err(Stop::Elsewhere("/login"));
        }
        if !auth.may_claim {
            return Err(problem(
                403,
                "not-from-here",
                "The first password is set from the home network",
                "Connect a device to a LAN port of the box and open this page there.",
            )
            .into());
        }
        let chars_min = PASSWORD_CHARS_MIN;
        let values = context! { error => error.map(sentence), chars_min, reset => &auth.reset };
        self.page(
            error.map_or(200, |error| error.status),
            "setup.html",
            &auth,
            values,
        )
    }

    fn setup(&self, form: &Form) -> Done {
        let password = field(form, "password");
        if password != field(form, "again") {
            let wrong = problem(422, "differ", "The two passwords differ", "");
            return self.setup_form(Some(&wrong));
        }
        if password.chars().count() < PASSWORD_CHARS_MIN {
            let title = format!("Take at least {PASSWORD_CHARS_MIN} characters");
            return self.setup_form(Some(&problem(422, "short", &title, "")));
        }
        match self.call("auth.setup", json!({ "password": password }))? {
            Ok(reply) => Ok(self.enter(reply, "/welcome")),
            Err(problem) => self.setup_form(Some(&problem)),
        }
    }

    fn login_form(&self, error: Option<&Problem>) -> Done {
        let auth = self.auth()?;
        if auth.data_failed || (auth.logged_in && error.is_none()) {
            return Err(Stop::Elsewhere("/"));
        }
        if !auth.claimed {
            return Err(Stop::Elsewhere("/setup"));
        }
        let status = error.map_or(200, |error| error.status);
        let values = context! { error => error.map(sentence), totp => auth.totp };
        let mut answer = self.page(status, "login.html", &auth, values)?;
        if let Some(problem) = error.filter(|problem| problem.status == 429) {
            answer.fields.push(retry_after(problem));
        }
        Ok(answer)
    }

    fn login(&self, form: &Form) -> Done {
        let password = field(form, "password");
        let code = Some(field(form, "code")).filter(|code| !code.is_empty());
        match self.call("auth.login", json!({ "password": password, "code": code }))? {
            Ok(reply) => Ok(self.enter(reply, "/")),
            Err(problem) => self.login_form(Some(&problem)),
        }
    }

    fn logout(&self) -> Done {
        // Whatever controld says, this browser forgets its session.
        if let Err(problem) = self.call("auth.logout", json!({}))? {
            log::info!("logout: {}", problem.title);
        }
        let mut answer = see("/login");
        answer.fields.push(session_cookie("", self.asked.secure));
        Ok(answer)
    }

    fn reset(&self, form: &Form) -> Done {
        let confirm = field(form, "confirm").trim().to_lowercase();
        match self.call("system.data.reset", json!({ "confirm": confirm }))? {
            Ok(_) => self.message(
                "The data partition is being made anew",
                "The box restarts. In a minute, open this page again and set a new password.",
            ),
            Err(problem) => {
                let auth = self.auth()?;
                self.diagnosis(&auth, Some(&problem))
            }
        }
    }

    fn reboot(&self) -> Done {
        match self.call("system.reboot", json!({}))? {
            Ok(_) => self.message(
                "The box restarts",
                "It is back in about half a minute; then open this page again.",
            ),
            Err(problem) => Err(problem.into()),
        }
    }

    /// Logged in: to a page with the new session.
    fn enter(&self, reply: Reply, then: &str) -> Answer {
        let mut answer = see(then);
        let session = reply.set_session.as_deref();
        let cookie = session.map(|token| session_cookie(token, self.asked.secure));
        answer.fields.extend(cookie);
        answer
    }

    /// Who may see what an owner sees; anybody else is led to where they may become it.
    fn owner(&self) -> Result<AuthStatus, Stop> {
        let auth = self.auth()?;
        if auth.data_failed {
            return Err(Stop::Elsewhere("/"));
        }
        if !auth.claimed {
            return Err(Stop::Elsewhere("/setup"));
        }
        if !auth.logged_in {
            return Err(Stop::Elsewhere("/login"));
        }
        Ok(auth)
    }

    /// Where the navigation says that the visitor is: a page below another belongs to it.
    fn place(&self) -> String {
        let first = self.asked.path.trim_start_matches('/').split('/').next();
        format!("/{}", first.unwrap_or_default())
    }

    /// A value of the query.
    fn asked_for(&self, name: &str) -> Option<String> {
        let pairs = urls::pairs(&self.asked.query)?;
        pairs.into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The port that the visitor named.
    fn port(&self) -> Option<u16> {
        let host = self.asked.host.as_str();
        let after_address = host.rfind(']').map_or(0, |at| at + 1);
        let (_, port) = host.get(after_address..)?.split_once(':')?;
        port.parse().ok()
    }

    /// Where the same page is found over TLS; `None` when it came by it, or when the visitor came
    /// by a port that is not ours (a tunnel's), behind which the other port is unknown.
    fn encrypted_url(&self) -> Option<String> {
        let (http, https) = self.app.ports.filter(|_| !self.asked.secure)?;
        let host = self.asked.host.as_str();
        let after_address = host.rfind(']').map_or(0, |at| at + 1);
        let colon = host.get(after_address..)?.find(':');
        let (name, port) = match colon {
            Some(at) => host.split_at_checked(after_address + at)?,
            None => (host, ""),
        };
        let came_by = port.trim_start_matches(':');
        let ours = match came_by {
            "" => http == 80,
            port => port.parse() == Ok(http),
        };
        let port = match https {
            443 => String::new(),
            port => format!(":{port}"),
        };
        ours.then(|| format!("https://{name}{port}{}", self.asked.path))
    }

    fn diagnosis(&self, auth: &AuthStatus, error: Option<&Problem>) -> Done {
        let view = self.status_view(false)?;
        let status = if error.is_some() { 422 } else { 200 };
        let error = error.map(sentence);
        let values = context! { view => shown(&view), error, confirm => RESET_CONFIRM };
        self.page(status, "failed.html", auth, values)
    }

    fn message(&self, title: &str, text: &str) -> Done {
        let values = context! { title, detail => text, status => 200 };
        Ok(self.render(200, "error.html", None, values)?)
    }

    fn stop(&self, stop: Stop) -> Answer {
        let problem = match stop {
            Stop::Elsewhere(path) => return see(path),
            Stop::Work(id) => return see(&format!("/work?id={id}")),
            Stop::Problem(problem) => problem,
            Stop::Template(error) => {
                log::error!("a template failed: {error:#}");
                problem(
                    500,
                    "template",
                    "This page could not be made",
                    "See the log of webd.",
                )
            }
        };
        let accepts = self.asked.field("accept").unwrap_or_default();
        let part = ["/status/fragment", "/pending"].contains(&self.asked.path.as_str());
        if part || !accepts.contains("text/html") {
            return problem_answer(&problem);
        }
        let detail = sentence_rest(&problem);
        let values = context! { title => &problem.title, detail, status => problem.status };
        self.render(problem.status, "error.html", None, values)
            .unwrap_or_else(|_| problem_answer(&problem))
    }

    fn page(&self, status: u16, name: &str, auth: &AuthStatus, values: minijinja::Value) -> Done {
        let (pending, taken_back) =
            if auth.logged_in && !auth.data_failed && name != "fragment.html" {
                let status = self.status()?;
                (status.config.pending, taken_back(&status.notices))
            } else {
                (None, None)
            };
        let pending = pending.as_ref().map(PendingView::new);
        let places = PLACES.map(|(path, name)| context! { path, name });
        let values = context! {
            pending => pending.as_ref().map(shown),
            taken_back,
            places => places.to_vec(),
            here => self.place(),
            ..values
        };
        Ok(self.render(status, name, Some(auth), values)?)
    }

    fn render(
        &self,
        status: u16,
        name: &str,
        auth: Option<&AuthStatus>,
        values: minijinja::Value,
    ) -> Result<Answer, minijinja::Error> {
        let around = context! {
            version => &self.app.version,
            form_token => self.app.guard.form_token(self.asked),
            hostname => auth.map(|auth| auth.hostname.to_string()),
            logged_in => auth.is_some_and(|auth| auth.logged_in && !auth.data_failed),
            again => status == 503,
            encrypted_url => self.encrypted_url(),
            fingerprint => auth.and_then(|auth| auth.tls_sha256.as_deref()),
            ..values
        };
        self.app.pages.render(status, name, around)
    }

    fn status_view(&self, with_leases: bool) -> Result<StatusView, Stop> {
        let status = self.status()?;
        let leases = if with_leases {
            let wanted = json!({ "limit": PAGE_ENTRIES_MAX });
            self.result("dhcp.leases.list", wanted)?
        } else {
            Page::<Lease> {
                items: Vec::new(),
                next: None,
            }
        };
        Ok(StatusView::new(
            &status,
            &leases.items,
            leases.next.is_some(),
        ))
    }

    fn status(&self) -> Result<Status, Stop> {
        self.result("status", json!({}))
    }

    fn auth(&self) -> Result<AuthStatus, Stop> {
        self.result("auth.status", json!({}))
    }

    fn result<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, Stop> {
        let reply = self.call(method, params)??;
        Self::read(method, reply)
    }

    fn read<T: DeserializeOwned>(method: &'static str, reply: Reply) -> Result<T, Stop> {
        let value = reply.result.map_err(Stop::from)?;
        serde_json::from_value(value).map_err(|error| {
            log::error!("{method} answered in another shape: {error}");
            problem(
                502,
                "shape",
                "The control service answered in a way this page does not understand",
                "The box may be in the middle of an update.",
            )
            .into()
        })
    }

    /// The outer error: no answer. The inner: an answer that says no.
    fn call(&self, method: &'static str, params: Value) -> Result<Result<Reply, Problem>, Stop> {
        let reply = self
            .app
            .call(self.asked, method, params)
            .map_err(|_| Stop::from(away()))?;
        Ok(match reply.result {
            Ok(_) => Ok(reply),
            Err(problem) => Err(problem),
        })
    }

    /// The fields of a form that one of our pages sent.
    fn form(&self) -> Result<Form, Stop> {
        if guard::is_cross_site(self.asked) {
            return Err(
                problem(403, "cross-site", "Another site's page sent this form", "").into(),
            );
        }
        if self.asked.content_type() != "application/x-www-form-urlencoded" {
            return Err(problem(415, "content-type", "This is no form", "").into());
        }
        let text = std::str::from_utf8(&self.asked.body).ok();
        let form = text
            .and_then(urls::pairs)
            .ok_or_else(|| problem(400, "bad-form", "The form is malformed", ""))?;
        if !self
            .app
            .guard
            .form_holds(self.asked, field(&form, "form_token"))
        {
            return Err(problem(
                403,
                "stale-form",
                "This form is too old",
                "The box has restarted or your session changed. Go back to the start and send it \
                 again.",
            )
            .into());
        }
        Ok(form)
    }
}

fn shown<T: serde::Serialize>(view: &T) -> minijinja::Value {
    minijinja::Value::from(minijinja::value::Serde(view))
}

fn field<'f>(form: &'f Form, name: &str) -> &'f str {
    let found = form.iter().find(|(n, _)| n == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// What went wrong, for the head of a form.
fn sentence(problem: &Problem) -> String {
    let rest = sentence_rest(problem);
    if rest.is_empty() {
        format!("{}.", problem.title.trim_end_matches('.'))
    } else {
        format!("{}. {rest}", problem.title.trim_end_matches('.'))
    }
}

fn sentence_rest(problem: &Problem) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !problem.detail.is_empty() {
        parts.push(problem.detail.clone());
    }
    for error in &problem.errors {
        parts.push(format!("{}: {}", error.path, error.reason));
    }
    parts.join(" ")
}

fn see(path: &str) -> Answer {
    Answer {
        status: 303,
        fields: vec![
            ("location", path.to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body: Vec::new(),
    }
}
