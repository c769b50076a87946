//! Who may: the householder's password, sessions, API tokens.
//!
//! No default password: the first visit from the LAN sets one, while /data is good. A session
//! is a random token that only the browser has, an API token one that only a program has; the
//! box keeps their SHA-256. How fast passwords may be guessed is in [`super::pace`].

use std::collections::HashMap;
use std::net::IpAddr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use embassy_time::{Duration, Instant};
use lintel_api::Scope;
use lintel_proto::rng::Rng;
use lintel_store::{SESSIONS_ENTRIES_MAX, SessionRow, TokenRow};
use ring::digest::{SHA256, digest};

use super::core::Now;
use super::pace::Pace;
use super::totp::Totp;

/// Memory of one password check, KiB: the second choice of RFC 9106 cut to what a box with 64
/// MiB can spare, as OWASP's list has it with two passes. One check runs at a time.
const ARGON2_KIB: u32 = 19 * 1024;
/// Passes of one password check.
const ARGON2_PASSES: u32 = 2;
/// A session that nobody uses ends after this.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends after this, seconds of the wall clock.
pub(super) const SESSION_S_MAX: u64 = 30 * 24 * 3600;
/// How far the stored time of a session's last use may lag, so that a page that looks each second
/// does not wear the flash.
const USED_LAG_S_MAX: u64 = 3600;
/// Octets of a token.
const TOKEN_BYTES: usize = 32;
/// Begins an API token, so that people and scanners for lost secrets know one when they see it.
const TOKEN_PREFIX: &str = "lintel_";
/// Octets of a session's hash that name it in the list.
const SESSION_ID_BYTES: usize = 8;

/// Why a login did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginError {
    /// Wrong password.
    Wrong,
    /// The password is right, and a code of the second factor is wanted.
    CodeWanted,
    /// The password is right, and the code is wrong or was used before.
    WrongCode,
    /// Too many failures: wait so many seconds.
    Wait(u64),
    /// No password is set yet.
    Unclaimed,
}

/// Whom a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Nobody.
    Nobody,
    /// The householder, by a session.
    Session([u8; 32]),
    /// A program.
    Token {
        /// What its maker calls it.
        name: String,
        /// What it may do.
        scope: Scope,
    },
}

/// The state of it.
#[derive(Debug)]
pub(super) struct Auth {
    hash: Option<String>,
    sessions: HashMap<[u8; 32], Session>,
    tokens: Vec<TokenRow>,
    pace: Pace,
    totp: Option<Totp>,
    /// A second factor that was begun and not confirmed.
    totp_begun: Option<Totp>,
}

#[derive(Debug, Clone)]
struct Session {
    created_unix_s: u64,
    used: Instant,
    used_unix_s: u64,
    stored_unix_s: u64,
    address: Option<IpAddr>,
}

/// A session, for the list.
#[derive(Debug, Clone)]
pub(super) struct SessionView {
    pub(super) key: [u8; 32],
    pub(super) created_unix_s: u64,
    pub(super) used_unix_s: u64,
    pub(super) address: Option<IpAddr>,
}

impl Auth {
    pub(super) fn new(
        hash: Option<String>,
        sessions: Vec<SessionRow>,
        tokens: Vec<TokenRow>,
        now: Now,
    ) -> Self {
        let mut pace = Pace::default();
        let idle_s = SESSION_IDLE.as_secs() + USED_LAG_S_MAX;
        let sessions = sessions
            .into_iter()
            // Written by a firmware that did not note it: as if used now.
            .filter(|row| row.used_unix_s == 0 || row.used_unix_s + idle_s > now.unix_s)
            .map(|row| {
                pace.succeeded(row.address);
                let session = Session {
                    created_unix_s: row.created_unix_s,
                    used: now.mono,
                    used_unix_s: row.used_unix_s.max(row.created_unix_s),
                    stored_unix_s: row.used_unix_s,
                    address: row.address,
                };
                (row.token_sha256, session)
            })
            .collect();
        Self {
            hash,
            sessions,
            tokens,
            pace,
            totp: None,
            totp_begun: None,
        }
    }

    /// With what the store has of a second factor.
    pub(super) fn with_totp(mut self, stored: Option<String>) -> Self {
        self.totp = stored.as_deref().and_then(|text| {
            let read = Totp::from_stored(text);
            if read.is_none() {
                // Open to the password alone, rather than to nobody.
                log::error!("the second factor does not read; it is not asked for");
            }
            read
        });
        self
    }

    /// The second factor that counts.
    /// What is kept as it is, or as something that can be tried against guesses.
    pub(super) fn known_secrets(&self) -> Vec<String> {
        let factors = self.totp.iter().chain(&self.totp_begun);
        let factors = factors.map(|totp| totp.secret().to_owned());
        self.hash.iter().cloned().chain(factors).collect()
    }

    pub(super) fn totp(&mut self) -> &mut Option<Totp> {
        &mut self.totp
    }

    /// Whether a login takes a code.
    pub(super) fn wants_code(&self) -> bool {
        self.totp.is_some()
    }

    /// The one that was begun and not confirmed.
    pub(super) fn totp_begun(&mut self) -> &mut Option<Totp> {
        &mut self.totp_begun
    }

    /// A password is set.
    pub(super) fn is_claimed(&self) -> bool {
        self.hash.is_some()
    }

    /// The password is stored: from now on it counts, and every session has ended.
    pub(super) fn claimed(&mut self, hash: String) {
        self.hash = Some(hash);
        self.sessions.clear();
    }

    /// Nobody owns the box any more, as the store says already. How fast passwords may be
    /// guessed stays.
    pub(super) fn forget_people(&mut self) {
        self.hash = None;
        self.sessions.clear();
        self.tokens.clear();
        self.totp = None;
        self.totp_begun = None;
    }

    /// Whom the token belongs to; using a session keeps it alive.
    pub(super) fn bearer(&mut self, now: Now, token: Option<&str>) -> Bearer {
        let Some(token) = token else {
            return Bearer::Nobody;
        };
        if let Some(key) = token_key_of(token) {
            let found = self.tokens.iter().find(|row| row.token_sha256 == key);
            let live = found.filter(|row| row.expires_unix_s > now.unix_s);
            return match live.map(|row| (row, Scope::from_word(&row.scope))) {
                Some((row, Some(scope))) => Bearer::Token {
                    name: row.name.clone(),
                    scope,
                },
                _ => Bearer::Nobody,
            };
        }
        match key_of(token) {
            Some(key) if self.is_session_key(now, &key) => Bearer::Session(key),
            _ => Bearer::Nobody,
        }
    }

    /// Whether a session has this key, the SHA-256 of its token; using it keeps it alive.
    pub(super) fn is_session_key(&mut self, now: Now, key: &[u8; 32]) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if session.is_over(now) {
            self.sessions.remove(key);
            return false;
        }
        session.used = now.mono;
        session.used_unix_s = now.unix_s;
        true
    }

    /// A session whose last use should be stored now, and that use.
    pub(super) fn use_to_store(&mut self, key: &[u8; 32]) -> Option<u64> {
        let session = self.sessions.get_mut(key)?;
        if session.used_unix_s < session.stored_unix_s.saturating_add(USED_LAG_S_MAX) {
            return None;
        }
        session.stored_unix_s = session.used_unix_s;
        Some(session.used_unix_s)
    }

    /// Every session that is not over, the newest first.
    pub(super) fn sessions(&mut self, now: Now) -> Vec<SessionView> {
        self.sessions.retain(|_, session| !session.is_over(now));
        let mut all: Vec<SessionView> = self
            .sessions
            .iter()
            .map(|(key, session)| SessionView {
                key: *key,
                created_unix_s: session.created_unix_s,
                used_unix_s: session.used_unix_s,
                address: session.address,
            })
            .collect();
        all.sort_by_key(|view| (std::cmp::Reverse(view.created_unix_s), view.key));
        all
    }

    /// Checks a password at the pace that failures leave.
    pub(super) fn check(
        &mut self,
        now: Now,
        address: Option<IpAddr>,
        password: &str,
    ) -> Result<(), LoginError> {
        self.check_both(now, address, password, |_| Ok(()))
    }

    /// Checks a password, and the code of the second factor when one is on.
    pub(super) fn login(
        &mut self,
        now: Now,
        address: Option<IpAddr>,
        password: &str,
        code: Option<&str>,
    ) -> Result<(), LoginError> {
        self.check_both(now, address, password, |totp| match (totp, code) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(LoginError::CodeWanted),
            (Some(totp), Some(code)) => match totp.take(now.unix_s, code) {
                true => Ok(()),
                false => Err(LoginError::WrongCode),
            },
        })
    }

    fn check_both(
        &mut self,
        now: Now,
        address: Option<IpAddr>,
        password: &str,
        second: impl FnOnce(Option<&mut Totp>) -> Result<(), LoginError>,
    ) -> Result<(), LoginError> {
        let wait_s = self.pace.wait_s(now.mono, address);
        if wait_s > 0 {
            return Err(LoginError::Wait(wait_s));
        }
        let hash = self.hash.as_deref().ok_or(LoginError::Unclaimed)?;
        let done = match verify(password, hash) {
            true => second(self.totp.as_mut()),
            false => Err(LoginError::Wrong),
        };
        match done {
            Ok(()) => self.pace.succeeded(address),
            // Neither a failure nor a success: the page asks for it next.
            Err(LoginError::CodeWanted) => {}
            Err(_) => self.pace.failed(now.mono, address),
        }
        done
    }

    /// A new session: the token for the browser, and what is to be stored.
    pub(super) fn begin_session(
        &mut self,
        now: Now,
        address: Option<IpAddr>,
        rng: &mut dyn Rng,
    ) -> (String, SessionRow) {
        let token = random(rng);
        let row = SessionRow {
            token_sha256: sha256(token.as_bytes()),
            created_unix_s: now.unix_s,
            used_unix_s: now.unix_s,
            address,
        };
        if self.sessions.len() >= SESSIONS_ENTRIES_MAX as usize {
            let oldest = self.sessions.iter().min_by_key(|(_, s)| s.used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.sessions.remove(&key);
            }
        }
        let session = Session {
            created_unix_s: now.unix_s,
            used: now.mono,
            used_unix_s: now.unix_s,
            stored_unix_s: now.unix_s,
            address,
        };
        self.sessions.insert(row.token_sha256, session);
        (token, row)
    }

    /// Goes on with another token for a session, in use from now; its end stays. The token for the
    /// browser, and what is to be stored.
    pub(super) fn renew_session(
        &mut self,
        now: Now,
        key: &[u8; 32],
        rng: &mut dyn Rng,
    ) -> Option<(String, SessionRow)> {
        let mut session = self.sessions.remove(key)?;
        session.used = now.mono;
        session.used_unix_s = now.unix_s;
        session.stored_unix_s = now.unix_s;
        let token = random(rng);
        let row = SessionRow {
            token_sha256: sha256(token.as_bytes()),
            created_unix_s: session.created_unix_s,
            used_unix_s: now.unix_s,
            address: session.address,
        };
        self.sessions.insert(row.token_sha256, session);
        Some((token, row))
    }

    /// Ends a session; what is to be removed from the store, if there was one.
    pub(super) fn end_session(&mut self, token: &str) -> Option<[u8; 32]> {
        self.end_session_key(&key_of(token)?)
    }

    /// The same, by its hash.
    pub(super) fn end_session_key(&mut self, key: &[u8; 32]) -> Option<[u8; 32]> {
        self.sessions.remove(key).map(|_| *key)
    }

    /// Every token, those that are over as well.
    pub(super) fn tokens(&self) -> &[TokenRow] {
        &self.tokens
    }

    /// A token is stored: from now on it counts.
    pub(super) fn token_made(&mut self, token: TokenRow) {
        self.tokens.push(token);
    }

    /// The number of the token that the caller has.
    pub(super) fn token_of(&self, token: &str) -> Option<u64> {
        let key = token_key_of(token)?;
        let found = self.tokens.iter().find(|row| row.token_sha256 == key);
        found.map(|row| row.id)
    }

    /// A token's new secret is stored: from now on it counts, and the one before does not.
    pub(super) fn token_rotated(&mut self, id: u64, token_sha256: [u8; 32]) {
        if let Some(row) = self.tokens.iter_mut().find(|row| row.id == id) {
            row.token_sha256 = token_sha256;
        }
    }

    /// A token is no longer stored.
    pub(super) fn token_gone(&mut self, id: u64) {
        self.tokens.retain(|token| token.id != id);
    }

    /// The wall clock leapt: what was noted between `from_s` and `to_s` by the clock
    /// before leaps along, or it would be over too early or too late. What is to be stored anew.
    pub(super) fn leap(
        &mut self,
        from_s: u64,
        to_s: u64,
        by_s: i64,
    ) -> (Vec<SessionRow>, Vec<TokenRow>) {
        let noted = |at: u64| (from_s..=to_s).contains(&at);
        if let Some(totp) = &mut self.totp {
            totp.leap(to_s.saturating_add_signed(by_s));
        }
        let mut sessions = Vec::new();
        for (key, session) in &mut self.sessions {
            if noted(session.created_unix_s) {
                session.created_unix_s = session.created_unix_s.saturating_add_signed(by_s);
                session.used_unix_s = session.used_unix_s.saturating_add_signed(by_s);
                session.stored_unix_s = session.used_unix_s;
                sessions.push(SessionRow {
                    token_sha256: *key,
                    created_unix_s: session.created_unix_s,
                    used_unix_s: session.used_unix_s,
                    address: session.address,
                });
            }
        }
        let mut tokens = Vec::new();
        for token in &mut self.tokens {
            if noted(token.created_unix_s) {
                token.created_unix_s = token.created_unix_s.saturating_add_signed(by_s);
                token.expires_unix_s = token.expires_unix_s.saturating_add_signed(by_s);
                tokens.push(token.clone());
            }
        }
        (sessions, tokens)
    }
}

impl Session {
    fn is_over(&self, now: Now) -> bool {
        let age_s = now.unix_s.saturating_sub(self.created_unix_s);
        self.used + SESSION_IDLE <= now.mono || age_s > SESSION_S_MAX
    }
}

/// A new API token and its hash.
pub(super) fn new_token(rng: &mut dyn Rng) -> (String, [u8; 32]) {
    let token = format!("{TOKEN_PREFIX}{}", random(rng));
    let key = sha256(token.as_bytes());
    (token, key)
}

/// What the list calls a session: nothing that would open it.
pub(super) fn session_id(key: &[u8; 32]) -> String {
    hex(key.get(..SESSION_ID_BYTES).unwrap_or(key))
}

/// A new secret, as text.
pub(super) fn random(rng: &mut dyn Rng) -> String {
    let mut bytes = [0; TOKEN_BYTES];
    rng.fill(&mut bytes);
    hex(&bytes)
}

/// Hashes a new password; `None` only when the parameters were out of range, which a test rules
/// out.
pub(super) fn hash(password: &str, rng: &mut dyn Rng) -> Option<String> {
    let mut salt = [0; 16];
    rng.fill(&mut salt);
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, 1, None).ok()?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .ok()?;
    Some(hash.to_string())
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// A session's key; a text that no token looks like has none, so that nothing long is hashed.
pub(super) fn key_of(token: &str) -> Option<[u8; 32]> {
    (token.len() == 2 * TOKEN_BYTES).then(|| sha256(token.as_bytes()))
}

/// The same for an API token.
fn token_key_of(token: &str) -> Option<[u8; 32]> {
    let rest = token.strip_prefix(TOKEN_PREFIX)?;
    (rest.len() == 2 * TOKEN_BYTES).then(|| sha256(token.as_bytes()))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
