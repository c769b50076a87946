//! Who may: the householder's password, sessions, and the pace of guessing.
//!
//! No default password: the first visit from the LAN sets one, while /data is good. A session
//! is a random token that only the browser has; the box keeps its SHA-256.

use std::collections::HashMap;
use std::net::IpAddr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use embassy_time::{Duration, Instant};
use lintel_proto::rng::Rng;
use lintel_store::{SESSIONS_ENTRIES_MAX, SessionRow};
use ring::digest::{SHA256, digest};

use super::core::Now;

/// Memory of one password check, KiB: the second choice of RFC 9106 cut to what a box with 64
/// MiB can spare, as OWASP's list has it with two passes. One check runs at a time.
const ARGON2_KIB: u32 = 19 * 1024;
/// Passes of one password check.
const ARGON2_PASSES: u32 = 2;
/// A session that nobody uses ends after this.
const SESSION_IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends after this, seconds of the wall clock.
const SESSION_S_MAX: u64 = 30 * 24 * 3600;
/// Octets of a token.
const TOKEN_BYTES: usize = 32;
/// Sources whose failures are remembered; the one quiet longest goes first.
const SOURCES_ENTRIES_MAX: usize = 256;
/// Failures that cost nothing: fingers slip.
const FREE_FAILURES: u32 = 3;
/// Longest wait after a failure.
const WAIT_S_MAX: u64 = 60;
/// After this much quiet a source is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Why a login did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginError {
    /// Wrong password.
    Wrong,
    /// Too many failures: wait so many seconds.
    Wait(u64),
    /// No password is set yet.
    Unclaimed,
}

/// The state of it.
#[derive(Debug)]
pub(super) struct Auth {
    hash: Option<String>,
    sessions: HashMap<[u8; 32], Session>,
    sources: HashMap<Source, Failures>,
}

#[derive(Debug)]
struct Session {
    created_unix_s: u64,
    used: Instant,
}

/// Whose failures are counted: each address, and all together, so that many addresses do not
/// mean many guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(IpAddr),
    Unknown,
    All,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
    last: Instant,
}

impl Auth {
    pub(super) fn new(hash: Option<String>, sessions: Vec<SessionRow>, now: Now) -> Self {
        let sessions = sessions.into_iter().map(|row| {
            let session = Session {
                created_unix_s: row.created_unix_s,
                used: now.mono,
            };
            (row.token_sha256, session)
        });
        Self {
            hash,
            sessions: sessions.collect(),
            sources: HashMap::new(),
        }
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

    /// Whether the token belongs to a session; using it keeps it alive.
    pub(super) fn is_session(&mut self, now: Now, token: Option<&str>) -> bool {
        token
            .and_then(key_of)
            .is_some_and(|key| self.is_session_key(now, &key))
    }

    /// The same, for a token of which the SHA-256 is known.
    pub(super) fn is_session_key(&mut self, now: Now, key: &[u8; 32]) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        let age_s = now.unix_s.saturating_sub(session.created_unix_s);
        if session.used + SESSION_IDLE <= now.mono || age_s > SESSION_S_MAX {
            self.sessions.remove(key);
            return false;
        }
        session.used = now.mono;
        true
    }

    /// Checks a password at the pace that failures leave.
    pub(super) fn login(
        &mut self,
        now: Now,
        address: Option<IpAddr>,
        password: &str,
    ) -> Result<(), LoginError> {
        let source = address.map_or(Source::Unknown, Source::Address);
        let wait = [source, Source::All]
            .iter()
            .filter_map(|source| self.sources.get(source))
            .map(|failures| seconds_until(now.mono, failures.until))
            .max()
            .unwrap_or(0);
        if wait > 0 {
            return Err(LoginError::Wait(wait));
        }
        let hash = self.hash.as_deref().ok_or(LoginError::Unclaimed)?;
        if verify(password, hash) {
            self.sources.remove(&source);
            return Ok(());
        }
        self.failed(now.mono, source, FREE_FAILURES, WAIT_S_MAX);
        // All together: a short wait that keeps the processor free for the household.
        self.failed(now.mono, Source::All, 4 * FREE_FAILURES, 2);
        Err(LoginError::Wrong)
    }

    /// A new session: the token for the browser, and what is to be stored.
    pub(super) fn begin_session(&mut self, now: Now, rng: &mut dyn Rng) -> (String, SessionRow) {
        let mut bytes = [0; TOKEN_BYTES];
        rng.fill(&mut bytes);
        let token = hex(&bytes);
        let row = SessionRow {
            token_sha256: sha256(token.as_bytes()),
            created_unix_s: now.unix_s,
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
        };
        self.sessions.insert(row.token_sha256, session);
        (token, row)
    }

    /// Ends a session; what is to be removed from the store, if there was one.
    pub(super) fn end_session(&mut self, token: &str) -> Option<[u8; 32]> {
        let key = key_of(token)?;
        self.sessions.remove(&key).map(|_| key)
    }

    fn failed(&mut self, now: Instant, source: Source, free: u32, wait_s_max: u64) {
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES_ENTRIES_MAX {
            let quiet = self.sources.iter().min_by_key(|(_, f)| f.last);
            if let Some(key) = quiet.map(|(key, _)| *key) {
                self.sources.remove(&key);
            }
        }
        let failures = self.sources.entry(source).or_insert(Failures {
            count: 0,
            until: now,
            last: now,
        });
        if failures.last + FORGIVEN_AFTER <= now {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        let over = failures.count.saturating_sub(free);
        if over > 0 {
            let wait_s = 1u64
                .checked_shl(over - 1)
                .map_or(wait_s_max, |wait| wait.min(wait_s_max));
            failures.until = now + Duration::from_secs(wait_s);
        }
    }
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

fn seconds_until(now: Instant, until: Instant) -> u64 {
    until
        .checked_duration_since(now)
        .map_or(0, |left| left.as_millis().div_ceil(1_000))
}

/// The map's key; a text that no token looks like has none, so that nothing long is hashed.
pub(super) fn key_of(token: &str) -> Option<[u8; 32]> {
    (token.len() == 2 * TOKEN_BYTES).then(|| sha256(token.as_bytes()))
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
mod tests {
    use super::*;
    use crate::controld::tests::CountingRng;

    fn at(s: u64) -> Now {
        Now {
            mono: Instant::from_secs(1000 + s),
            unix_s: 1_700_000_000 + s,
        }
    }

    fn claimed() -> Auth {
        let hash = hash("correct horse", &mut CountingRng::default()).unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        Auth::new(Some(hash), Vec::new(), at(0))
    }

    fn from(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 168, 1, n]))
    }

    #[test]
    fn the_password_opens_and_others_do_not() {
        let mut auth = claimed();
        assert_eq!(auth.login(at(0), from(2), "correct horse"), Ok(()));
        assert_eq!(auth.login(at(0), from(2), "wrong"), Err(LoginError::Wrong));
        assert_eq!(auth.login(at(0), from(2), ""), Err(LoginError::Wrong));
    }

    #[test]
    fn guessing_slows_down_and_others_may_still_try() {
        let mut auth = claimed();
        for _ in 0..FREE_FAILURES {
            assert_eq!(auth.login(at(0), from(2), "wrong"), Err(LoginError::Wrong));
        }
        assert_eq!(auth.login(at(0), from(2), "wrong"), Err(LoginError::Wrong));
        assert_eq!(
            auth.login(at(0), from(2), "wrong"),
            Err(LoginError::Wait(1))
        );
        assert_eq!(
            auth.login(at(0), from(2), "correct horse"),
            Err(LoginError::Wait(1)),
            "also with the right one, or the wait would tell it"
        );
        assert_eq!(auth.login(at(0), from(3), "correct horse"), Ok(()));
        assert_eq!(auth.login(at(1), from(2), "wrong"), Err(LoginError::Wrong));
        assert_eq!(
            auth.login(at(1), from(2), "wrong"),
            Err(LoginError::Wait(2))
        );
        assert_eq!(auth.login(at(3), from(2), "correct horse"), Ok(()));
    }

    #[test]
    fn sessions_end_by_idleness_by_age_and_by_wish() {
        let mut auth = claimed();
        let mut rng = CountingRng::default();
        let (token, row) = auth.begin_session(at(0), &mut rng);
        let (other, _) = auth.begin_session(at(0), &mut rng);
        assert_ne!(token, other);
        assert!(auth.is_session(at(1), Some(&token)));
        assert!(!auth.is_session(at(1), Some("nonsense")));
        assert!(!auth.is_session(at(1), None));
        let mut later = Auth::new(None, vec![row.clone()], at(2));
        assert!(
            later.is_session(at(3), Some(&token)),
            "it outlives the process"
        );
        assert_eq!(auth.end_session(&token), Some(row.token_sha256));
        assert!(!auth.is_session(at(1), Some(&token)));
        assert!(!auth.is_session(at(SESSION_IDLE.as_secs() + 1), Some(&other)));
        let (long, _) = auth.begin_session(at(0), &mut rng);
        let mut t = 0;
        while t < SESSION_S_MAX {
            assert!(auth.is_session(at(t), Some(&long)));
            t += SESSION_IDLE.as_secs() / 2;
        }
        assert!(!auth.is_session(at(SESSION_S_MAX + 1), Some(&long)));
    }

    #[test]
    fn sessions_and_sources_are_bounded() {
        let mut auth = claimed();
        let mut rng = CountingRng::default();
        for s in 0..200 {
            let _ = auth.begin_session(at(s), &mut rng);
        }
        assert_eq!(auth.sessions.len(), SESSIONS_ENTRIES_MAX as usize);
        for n in 0..2000u32 {
            let address = Source::Address(IpAddr::from(n.to_be_bytes()));
            auth.failed(at(0).mono, address, FREE_FAILURES, WAIT_S_MAX);
        }
        assert_eq!(auth.sources.len(), SOURCES_ENTRIES_MAX);
    }
}
