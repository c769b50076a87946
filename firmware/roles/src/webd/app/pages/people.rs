//! Sessions, tokens, the password, and what was done with them.

use lintel_api::types::{
    AuditEntry, PASSWORD_CHARS_MIN, Page, SessionInfo, TOKEN_DAYS_DEFAULT, TOKEN_DAYS_MAX,
    TokenCreated, TokenInfo, TotpState,
};
use minijinja::context;
use serde_json::{Value, json};

use super::{Done, Form, Visit, field, see, sentence, shown};
use crate::webd::app::session_cookie;
use crate::webd::app::view::people::{AuditRow, SessionRow, TokenRow};

/// Lines of what was done.
const AUDIT_LINES: u32 = 30;

const PASSWORD_CHANGED: &str = "The password is changed, and every other session is ended.";

/// What the page says first.
#[derive(Default)]
struct Told {
    status: Option<u16>,
    error: Option<String>,
    done: Option<&'static str>,
    token: Option<String>,
    factor: Option<TotpState>,
}

impl Visit<'_> {
    pub(super) fn people(&self) -> Done {
        let changed = self.asked_for("done").as_deref() == Some("password");
        self.people_with(Told {
            done: changed.then_some(PASSWORD_CHANGED),
            ..Told::default()
        })
    }

    /// A button or a form of the page.
    pub(super) fn change_people(&self, form: &Form) -> Done {
        self.owner()?;
        let number = |name: &str| field(form, name).trim().parse::<u64>().ok();
        let (method, params, done) = match field(form, "do") {
            "end-session" => (
                "auth.sessions.end",
                json!({ "id": field(form, "id") }),
                "The session is ended.",
            ),
            "delete-token" => (
                "auth.tokens.delete",
                json!({ "id": number("id").unwrap_or_default() }),
                "The token is deleted.",
            ),
            "make-token" => (
                "auth.tokens.create",
                json!({
                    "name": field(form, "name").trim(),
                    "scope": field(form, "scope"),
                    "days": number("days"),
                }),
                "The token is made.",
            ),
            "begin-factor" => (
                "auth.totp",
                json!({ "current": field(form, "current") }),
                "The second factor counts when you have confirmed it.",
            ),
            "confirm-factor" => (
                "auth.totp",
                json!({ "code": field(form, "code") }),
                "From now on a login takes a code as well.",
            ),
            "end-factor" => (
                "auth.totp",
                json!({ "current": field(form, "current"), "off": true }),
                "A login takes the password alone.",
            ),
            _ => {
                if field(form, "password") != field(form, "again") {
                    return self.refused(422, "The two passwords differ.".to_owned());
                }
                let params = json!({
                    "current": field(form, "current"),
                    "password": field(form, "password"),
                });
                ("auth.password.change", params, PASSWORD_CHANGED)
            }
        };
        let reply = match self.call(method, params)? {
            Ok(reply) => reply,
            Err(problem) => return self.refused(problem.status, sentence(&problem)),
        };
        if let Some(session) = &reply.set_session {
            // The page is for the new session; this request still has the old one.
            let mut answer = see("/people?done=password");
            answer
                .fields
                .push(session_cookie(session, self.asked.secure));
            return Ok(answer);
        }
        if method == "auth.totp" {
            let state: TotpState = Self::read(method, reply)?;
            return self.people_with(Told {
                done: Some(done),
                factor: Some(state).filter(|state| state.secret.is_some()),
                ..Told::default()
            });
        }
        let made: Option<TokenCreated> = (method == "auth.tokens.create")
            .then(|| Self::read(method, reply))
            .transpose()?;
        self.people_with(Told {
            done: Some(done),
            token: made.map(|made| made.token),
            ..Told::default()
        })
    }

    fn refused(&self, status: u16, error: String) -> Done {
        self.people_with(Told {
            status: Some(status),
            error: Some(error),
            ..Told::default()
        })
    }

    fn people_with(&self, told: Told) -> Done {
        let auth = self.owner()?;
        let now = self.status()?.system.clock.unix_s;
        let limit = |limit: u32| -> Value { json!({ "limit": limit }) };
        let sessions: Page<SessionInfo> = self.result("auth.sessions.list", limit(100))?;
        let tokens: Page<TokenInfo> = self.result("auth.tokens.list", limit(100))?;
        let audit: Page<AuditEntry> = self.result("audit.list", limit(AUDIT_LINES))?;
        let sessions: Vec<_> = sessions
            .items
            .iter()
            .map(|s| SessionRow::new(s, now))
            .collect();
        let tokens: Vec<_> = tokens.items.iter().map(TokenRow::new).collect();
        let audit: Vec<_> = audit.items.iter().map(AuditRow::new).collect();
        let values = context! {
            sessions => shown(&sessions),
            tokens => shown(&tokens),
            audit => shown(&audit),
            error => &told.error,
            done => told.done,
            token => &told.token,
            factor => told.factor.as_ref().map(shown),
            totp => auth.totp,
            chars_min => PASSWORD_CHARS_MIN,
            days => TOKEN_DAYS_DEFAULT,
            days_max => TOKEN_DAYS_MAX,
        };
        self.page(told.status.unwrap_or(200), "people.html", &auth, values)
    }
}
