//! People and programs: the password, sessions, API tokens.

use std::cmp::Reverse;

use lintel_api::Scope;
use lintel_api::types::{
    AuthStatus, Done, Event, LoginParams, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, Page, PageParams,
    PasswordChangeParams, PasswordParams, RotateKeyParams, SessionEndParams, SessionInfo,
    SessionRefreshed, TOKEN_DAYS_DEFAULT, TOKEN_DAYS_MAX, TOKEN_NAME_CHARS_MAX, TokenCreateParams,
    TokenCreated, TokenDeleteParams, TokenInfo, TotpParams, TotpState, UserInfo,
};
use lintel_ipc::call::{Caller, Origin, Problem};
use lintel_model::facts::DataState;
use lintel_store::{TOKENS_ENTRIES_MAX, TokenRow};

use super::auth::{self, Bearer, LoginError, SESSION_IDLE, SESSION_S_MAX, SessionView};
use super::calls::{
    Answer, Outcome, at_once, bad_field, cannot_store, data_failed, problem, to_value,
};
use super::config_calls::{bad_cursor, page_limit};
use super::core::{Core, Now};
use super::totp::Totp;

impl Core {
    pub(super) fn auth_status(&mut self, now: Now, caller: &Caller) -> AuthStatus {
        let good = self.facts.data == DataState::Good;
        let local = caller.origin == Origin::Local;
        let claimed = self.auth.is_claimed();
        AuthStatus {
            claimed,
            logged_in: local || self.auth.bearer(now, caller.token.as_deref()) != Bearer::Nobody,
            may_claim: good && !claimed && (local || self.is_on_lan(caller)),
            data_failed: !good,
            totp: good && self.auth.wants_code(),
            hostname: self.active.config.system.hostname.clone(),
            tls_sha256: self.tls_sha256(),
            reset: (!claimed).then(|| self.reset_text()).flatten(),
        }
    }

    pub(super) fn auth_setup(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &PasswordParams,
    ) -> Answer {
        self.set_password(now, &params.password)?;
        self.new_session(now, caller)
    }

    pub(super) fn auth_login(&mut self, now: Now, caller: &Caller, params: &LoginParams) -> Answer {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        let code = params.code.as_deref();
        let password = bounded(&params.password);
        let done = self.auth.login(now, caller.address, password, code);
        if done.is_ok() {
            // A code that was used counts no more, also after a restart.
            self.store_totp();
        }
        self.told(now, caller, done)?;
        self.new_session(now, caller)
    }

    pub(super) fn new_session(&mut self, now: Now, caller: &Caller) -> Answer {
        let (token, row) = self
            .auth
            .begin_session(now, caller.address, self.rng.as_mut());
        // A session that is not stored ends with the process: better than no login.
        self.stored("storing a session", |store| store.put_session(&row));
        let address = caller.address.map(|address| address.to_canonical());
        self.tell(now, Event::LoginDone { address });
        Ok(Outcome::Session(to_value(&Done {})?, token))
    }

    pub(super) fn auth_logout(&mut self, caller: &Caller) -> Answer {
        let ended = caller
            .token
            .as_deref()
            .and_then(|token| self.auth.end_session(token));
        if let Some(key) = ended {
            self.stored("ending a session", |store| store.delete_session(&key));
        }
        Ok(Outcome::Session(to_value(&Done {})?, String::new()))
    }

    /// The new password counts, and every session ends; the caller goes on in a new one.
    pub(super) fn password_change(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &PasswordChangeParams,
    ) -> Answer {
        let local = caller.origin == Origin::Local;
        if !local {
            if !self.auth.is_claimed() {
                return Err(unclaimed());
            }
            let current = params.current.as_deref().unwrap_or_default();
            self.check_password(now, caller, current)?;
        }
        self.set_password(now, &params.password)?;
        match local {
            true => at_once(&Done {}),
            false => self.new_session(now, caller),
        }
    }

    fn set_password(&mut self, now: Now, password: &str) -> Result<(), Problem> {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        fits(password)?;
        let hash = auth::hash(password, self.rng.as_mut())
            .ok_or_else(|| problem(500, "no-hash", "The password could not be hashed", ""))?;
        self.stored("storing the password", |store| store.set_password(&hash))
            .ok_or_else(cannot_store)?;
        self.auth.claimed(hash);
        self.reset_is_dealt_with();
        self.want_snapshot(now);
        log::info!("the householder's password is set");
        Ok(())
    }

    fn check_password(&mut self, now: Now, caller: &Caller, password: &str) -> Result<(), Problem> {
        let done = self.auth.check(now, caller.address, bounded(password));
        self.told(now, caller, done)
    }

    /// How a login went, for the caller and the log.
    fn told(
        &mut self,
        now: Now,
        caller: &Caller,
        done: Result<(), LoginError>,
    ) -> Result<(), Problem> {
        let from = caller.address.map_or_else(
            || "an unknown address".to_owned(),
            |address| address.to_canonical().to_string(),
        );
        match done {
            Ok(()) => Ok(()),
            Err(LoginError::Wrong) => {
                log::warn!("a wrong password came from {from}");
                let address = caller.address.map(|address| address.to_canonical());
                self.tell(now, Event::LoginFailed { address });
                Err(problem(401, "wrong-password", "The password is wrong", ""))
            }
            Err(LoginError::CodeWanted) => Err(problem(
                401,
                "code-wanted",
                "A code is wanted as well",
                "Send the six digits of the second factor in code.",
            )),
            Err(LoginError::WrongCode) => {
                log::warn!("a wrong code came from {from}, with the right password");
                let address = caller.address.map(|address| address.to_canonical());
                self.tell(now, Event::LoginFailed { address });
                Err(problem(
                    401,
                    "wrong-code",
                    "The code is wrong, or was used before",
                    "Take the next one that your phone shows, and look at its clock.",
                ))
            }
            Err(LoginError::Wait(seconds)) => Err(Problem {
                retry_after_s: Some(seconds),
                ..problem(
                    429,
                    "too-many-logins",
                    "Too many logins have failed",
                    &format!("Wait {seconds} s and try again."),
                )
            }),
            Err(LoginError::Unclaimed) => Err(unclaimed()),
        }
    }

    /// `auth.refresh`: the session goes on under another secret.
    pub(super) fn auth_refresh(&mut self, now: Now, caller: &Caller) -> Answer {
        let key = caller.token.as_deref().and_then(auth::key_of);
        let renewed = key.and_then(|key| {
            let renewed = self.auth.renew_session(now, &key, self.rng.as_mut());
            renewed.map(|(token, row)| (key, token, row))
        });
        let Some((old, token, row)) = renewed else {
            // Root of the box, by the control socket.
            return Err(problem(
                409,
                "no-session",
                "There is no session to go on with",
                "The command line on the box needs none.",
            ));
        };
        // One that is not stored ends with the process, as when a session begins.
        self.stored("renewing a session", |store| {
            store.replace_session(&old, &row)
        });
        let answer = SessionRefreshed {
            ends_unix_s: row.created_unix_s.saturating_add(SESSION_S_MAX),
            idle_ends_unix_s: row.used_unix_s.saturating_add(SESSION_IDLE.as_secs()),
        };
        Ok(Outcome::Session(to_value(&answer)?, token))
    }

    /// `auth.rotate-key`: a person says which token; a program may change its own alone.
    pub(super) fn rotate_key(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &RotateKeyParams,
    ) -> Result<TokenCreated, Problem> {
        let own = match caller.origin {
            Origin::Local => None,
            Origin::Web => caller.token.as_deref().and_then(|t| self.auth.token_of(t)),
        };
        let id = match (own, params.id) {
            (Some(own), Some(id)) if own != id => {
                return Err(problem(
                    403,
                    "not-its-own",
                    "A token may change its own secret alone",
                    "Leave id out, or log in.",
                ));
            }
            (Some(own), _) => own,
            (None, Some(id)) => id,
            (None, None) => {
                return Err(bad_field(
                    "id",
                    "it is missing",
                    "say which token; lintel auth tokens lists them",
                ));
            }
        };
        let live = |row: &&TokenRow| row.id == id && row.expires_unix_s > now.unix_s;
        let Some(row) = self.auth.tokens().iter().find(live) else {
            let detail = "lintel auth tokens lists them.";
            return Err(problem(
                404,
                "no-such-token",
                "There is no such token, or it is over",
                detail,
            ));
        };
        let expires_unix_s = row.expires_unix_s;
        let (token, token_sha256) = auth::new_token(self.rng.as_mut());
        self.stored("changing a token's secret", |store| {
            store.set_token_secret(id, &token_sha256)
        })
        .ok_or_else(cannot_store)?;
        self.auth.token_rotated(id, token_sha256);
        Ok(TokenCreated {
            id,
            expires_unix_s,
            token,
        })
    }

    /// `auth.totp`.
    pub(super) fn totp_call(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &TotpParams,
    ) -> Result<TotpState, Problem> {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        let plain = |state: &str| TotpState {
            state: state.to_owned(),
            secret: None,
            uri: None,
        };
        if let (Some(code), false) = (&params.code, params.off) {
            let Some(mut begun) = self.auth.totp_begun().clone() else {
                return Err(problem(
                    409,
                    "not-begun",
                    "No second factor was begun",
                    "Call it with the password first, and give its secret to your phone.",
                ));
            };
            if !begun.take(now.unix_s, code) {
                let hint = "take what your phone shows now, and look at its clock and the box's";
                return Err(bad_field("code", "it is not the one of this time", hint));
            }
            self.stored("storing the second factor", |store| {
                store.set_totp(Some(&begun.to_stored()))
            })
            .ok_or_else(cannot_store)?;
            *self.auth.totp() = Some(begun);
            *self.auth.totp_begun() = None;
            log::info!("a login takes a second factor from now on");
            return Ok(plain("on"));
        }
        if caller.origin != Origin::Local {
            if !self.auth.is_claimed() {
                return Err(unclaimed());
            }
            let current = params.current.as_deref().unwrap_or_default();
            // A session is no stranger: what is wrong is the field.
            self.check_password(now, caller, current).map_err(|wrong| {
                let hint = "write the password that counts now";
                match wrong.status {
                    401 => bad_field("current", "it is not the password", hint),
                    _ => wrong,
                }
            })?;
        }
        if params.off {
            self.forget_totp().ok_or_else(cannot_store)?;
            return Ok(plain("off"));
        }
        if self.auth.wants_code() {
            return Err(problem(
                409,
                "already-on",
                "A second factor is on already",
                "Take it away first.",
            ));
        }
        let begun = Totp::new(self.rng.as_mut());
        let state = TotpState {
            state: "begun".to_owned(),
            secret: Some(begun.secret().to_owned()),
            uri: Some(begun.uri(self.active.config.system.hostname.as_str())),
        };
        *self.auth.totp_begun() = Some(begun);
        Ok(state)
    }

    /// A login takes the password alone from now on; `None` when that could not be stored.
    pub(super) fn forget_totp(&mut self) -> Option<()> {
        if self.auth.wants_code() {
            self.stored("taking the second factor away", |store| {
                store.set_totp(None)
            })?;
            log::info!("a login takes the password alone from now on");
        }
        *self.auth.totp() = None;
        *self.auth.totp_begun() = None;
        Some(())
    }

    fn store_totp(&mut self) {
        if let Some(text) = self.auth.totp().as_ref().map(Totp::to_stored) {
            self.stored("noting a used code", |store| store.set_totp(Some(&text)));
        }
    }

    /// `auth.users.list`: one account, so far.
    pub(super) fn user_list(&self, params: &PageParams) -> Result<Page<UserInfo>, Problem> {
        if params.cursor.is_some() {
            return Err(bad_cursor());
        }
        Ok(Page {
            items: vec![UserInfo {
                name: "owner".to_owned(),
                role: "admin".to_owned(),
                claimed: self.auth.is_claimed(),
                totp: self.auth.wants_code(),
            }],
            next: None,
        })
    }

    pub(super) fn session_list(
        &mut self,
        now: Now,
        caller: &Caller,
        params: &PageParams,
    ) -> Result<Page<SessionInfo>, Problem> {
        let place =
            |view: &SessionView| (Reverse(view.created_unix_s), auth::session_id(&view.key));
        let after = match &params.cursor {
            None => None,
            Some(cursor) => {
                let (at, id) = cursor.split_once('-').ok_or_else(bad_cursor)?;
                let at: u64 = at.parse().map_err(|_| bad_cursor())?;
                Some((Reverse(at), id.to_owned()))
            }
        };
        let own = caller.token.as_deref().and_then(auth::key_of);
        let all = self.auth.sessions(now).into_iter();
        let rest = all.filter(|view| after.as_ref().is_none_or(|after| place(view) > *after));
        let page = page(rest, params, |view| {
            format!("{}-{}", view.created_unix_s, auth::session_id(&view.key))
        });
        Ok(page.map(|view| SessionInfo {
            id: auth::session_id(&view.key),
            created_unix_s: view.created_unix_s,
            used_unix_s: view.used_unix_s,
            ends_unix_s: view.created_unix_s.saturating_add(SESSION_S_MAX),
            idle_ends_unix_s: view.used_unix_s.saturating_add(SESSION_IDLE.as_secs()),
            address: view.address.map(|address| address.to_canonical()),
            current: own == Some(view.key),
        }))
    }

    pub(super) fn session_end(
        &mut self,
        now: Now,
        params: &SessionEndParams,
    ) -> Result<Done, Problem> {
        let all = self.auth.sessions(now).into_iter();
        let found = all
            .map(|view| view.key)
            .find(|key| auth::session_id(key) == params.id)
            .ok_or_else(|| {
                let detail = "lintel auth sessions lists them.";
                problem(404, "no-such-session", "There is no such session", detail)
            })?;
        self.stored("ending a session", |store| store.delete_session(&found))
            .ok_or_else(cannot_store)?;
        self.auth.end_session_key(&found);
        Ok(Done {})
    }

    pub(super) fn token_list(
        &self,
        now: Now,
        params: &PageParams,
    ) -> Result<Page<TokenInfo>, Problem> {
        let after: u64 = match &params.cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
        };
        let rest = self.auth.tokens().iter().filter(|token| token.id > after);
        let page = page(rest, params, |token| token.id.to_string());
        Ok(page.map(|token| TokenInfo {
            id: token.id,
            name: token.name.clone(),
            scope: token.scope.clone(),
            created_unix_s: token.created_unix_s,
            expires_unix_s: token.expires_unix_s,
            expired: token.expires_unix_s <= now.unix_s,
        }))
    }

    pub(super) fn token_create(
        &mut self,
        now: Now,
        params: TokenCreateParams,
    ) -> Result<TokenCreated, Problem> {
        if self.facts.data != DataState::Good {
            return Err(data_failed());
        }
        let name = params.name.trim();
        let chars = name.chars().count();
        if chars == 0 || chars > TOKEN_NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(bad_field(
                "name",
                "it names nothing that fits in a list",
                &format!("use 1 to {TOKEN_NAME_CHARS_MAX} characters, such as a program's name"),
            ));
        }
        let scope = Scope::from_word(&params.scope).ok_or_else(|| {
            let hint = format!("write one of {}", Scope::WORDS.join(", "));
            bad_field("scope", "there is no such scope", &hint)
        })?;
        let days = params.days.unwrap_or(TOKEN_DAYS_DEFAULT);
        if !(1..=TOKEN_DAYS_MAX).contains(&days) {
            let hint = format!("from 1 to {TOKEN_DAYS_MAX} days");
            return Err(bad_field("days", "it is out of range", &hint));
        }
        if self.auth.tokens().len() >= TOKENS_ENTRIES_MAX as usize {
            return Err(problem(
                409,
                "too-many-tokens",
                "There are too many tokens",
                &format!("{TOKENS_ENTRIES_MAX} are kept. Delete one that is not used any more."),
            ));
        }
        let (token, token_sha256) = auth::new_token(self.rng.as_mut());
        let mut row = TokenRow {
            id: 0,
            token_sha256,
            name: name.to_owned(),
            scope: scope.as_str().to_owned(),
            created_unix_s: now.unix_s,
            expires_unix_s: now.unix_s.saturating_add(u64::from(days) * 24 * 3600),
        };
        row.id = self
            .stored("storing a token", |store| store.add_token(&row))
            .ok_or_else(cannot_store)?;
        let made = TokenCreated {
            id: row.id,
            expires_unix_s: row.expires_unix_s,
            token,
        };
        self.auth.token_made(row);
        Ok(made)
    }

    pub(super) fn token_delete(&mut self, params: &TokenDeleteParams) -> Result<Done, Problem> {
        if !self.auth.tokens().iter().any(|token| token.id == params.id) {
            let detail = "lintel auth tokens lists them.";
            return Err(problem(
                404,
                "no-such-token",
                "There is no such token",
                detail,
            ));
        }
        self.stored("ending a token", |store| store.delete_token(params.id))
            .ok_or_else(cannot_store)?;
        self.auth.token_gone(params.id);
        Ok(Done {})
    }

    /// What was noted of people since the start follows a leap of the clock.
    pub(super) fn people_leap(&mut self, from_s: u64, to_s: u64, by_s: i64) {
        let (sessions, tokens) = self.auth.leap(from_s, to_s, by_s);
        self.store_totp();
        for row in sessions {
            self.stored("moving a session's times", |store| store.put_session(&row));
        }
        for row in tokens {
            self.stored("moving a token's times", |store| {
                store.set_token_times(&row)
            });
        }
    }
}

/// The first entries of what is left of a list, and the cursor of the rest.
fn page<T>(
    rest: impl Iterator<Item = T>,
    params: &PageParams,
    cursor: impl Fn(&T) -> String,
) -> Part<T> {
    let limit = usize::try_from(page_limit(params)).unwrap_or(usize::MAX);
    let mut items: Vec<T> = rest.take(limit.saturating_add(1)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Part { items, next }
}

/// A page before its entries have their outer form.
struct Part<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Part<T> {
    fn map<U>(self, shown: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(shown).collect(),
            next: self.next,
        }
    }
}

fn unclaimed() -> Problem {
    problem(
        409,
        "not-claimed",
        "No password is set yet",
        "Set one first, from the household's network.",
    )
}

/// One that is too long is wrong, and costs its sender as much as any other.
fn bounded(password: &str) -> &str {
    match password.len() {
        0..=PASSWORD_BYTES_MAX => password,
        _ => "",
    }
}

fn fits(password: &str) -> Result<(), Problem> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(bad_field(
            "password",
            "it is too short",
            &format!(
                "use {PASSWORD_CHARS_MIN} characters or more; a few words are easy to keep in mind"
            ),
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(bad_field(
            "password",
            "it is too long",
            &format!("use at most {PASSWORD_BYTES_MAX} octets"),
        ));
    }
    Ok(())
}
