use super::*;
use crate::controld::tests::CountingRng;

impl Auth {
    fn is_session(&mut self, now: Now, token: Option<&str>) -> bool {
        matches!(self.bearer(now, token), Bearer::Session(_))
    }
}

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
    Auth::new(Some(hash), Vec::new(), Vec::new(), at(0))
}

fn from(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 168, 1, n]))
}

#[test]
fn the_password_opens_and_others_do_not() {
    let mut auth = claimed();
    assert_eq!(auth.check(at(0), from(2), "correct horse"), Ok(()));
    assert_eq!(auth.check(at(0), from(2), "wrong"), Err(LoginError::Wrong));
    assert_eq!(auth.check(at(0), from(2), ""), Err(LoginError::Wrong));
}

#[test]
fn guessing_slows_down_and_others_may_still_try() {
    let mut auth = claimed();
    for _ in 0..3 {
        assert_eq!(auth.check(at(0), from(2), "wrong"), Err(LoginError::Wrong));
    }
    assert_eq!(auth.check(at(0), from(2), "wrong"), Err(LoginError::Wrong));
    assert_eq!(
        auth.check(at(0), from(2), "wrong"),
        Err(LoginError::Wait(1))
    );
    assert_eq!(
        auth.check(at(0), from(2), "correct horse"),
        Err(LoginError::Wait(1)),
        "also with the right one, or the wait would tell it"
    );
    assert_eq!(auth.check(at(0), from(3), "correct horse"), Ok(()));
    assert_eq!(auth.check(at(1), from(2), "wrong"), Err(LoginError::Wrong));
    assert_eq!(
        auth.check(at(1), from(2), "wrong"),
        Err(LoginError::Wait(2))
    );
    assert_eq!(auth.check(at(3), from(2), "correct horse"), Ok(()));
}

#[test]
fn sessions_end_by_idleness_by_age_and_by_wish() {
    let mut auth = claimed();
    let mut rng = CountingRng::default();
    let (token, row) = auth.begin_session(at(0), from(2), &mut rng);
    let (other, _) = auth.begin_session(at(0), from(2), &mut rng);
    assert_ne!(token, other);
    assert!(auth.is_session(at(1), Some(&token)));
    assert!(!auth.is_session(at(1), Some("nonsense")));
    assert!(!auth.is_session(at(1), None));
    let mut later = Auth::new(None, vec![row.clone()], Vec::new(), at(2));
    assert!(
        later.is_session(at(3), Some(&token)),
        "it outlives the process"
    );
    assert_eq!(auth.end_session(&token), Some(row.token_sha256));
    assert!(!auth.is_session(at(1), Some(&token)));
    assert!(!auth.is_session(at(SESSION_IDLE.as_secs() + 1), Some(&other)));
    let (long, _) = auth.begin_session(at(0), from(2), &mut rng);
    let mut t = 0;
    while t < SESSION_S_MAX {
        assert!(auth.is_session(at(t), Some(&long)));
        t += SESSION_IDLE.as_secs() / 2;
    }
    assert!(!auth.is_session(at(SESSION_S_MAX + 1), Some(&long)));
}

#[test]
fn sessions_are_bounded() {
    let mut auth = claimed();
    let mut rng = CountingRng::default();
    for s in 0..200 {
        let _ = auth.begin_session(at(s), None, &mut rng);
    }
    assert_eq!(auth.sessions.len(), SESSIONS_ENTRIES_MAX as usize);
}

#[test]
fn a_session_that_was_idle_while_the_box_was_off_does_not_come_back() {
    let mut auth = claimed();
    let (token, row) = auth.begin_session(at(0), None, &mut CountingRng::default());
    let after = |s: u64| {
        let mut auth = Auth::new(None, vec![row.clone()], Vec::new(), at(s));
        auth.is_session(at(s), Some(&token))
    };
    assert!(after(SESSION_IDLE.as_secs()));
    assert!(!after(SESSION_IDLE.as_secs() + USED_LAG_S_MAX));
}

#[test]
fn the_use_of_a_session_is_stored_now_and_then() {
    let mut auth = claimed();
    let (token, row) = auth.begin_session(at(0), None, &mut CountingRng::default());
    let mut stored = 0;
    for s in (0..8 * 3600).step_by(10) {
        assert!(auth.is_session(at(s), Some(&token)));
        stored += u32::from(auth.use_to_store(&row.token_sha256).is_some());
    }
    assert_eq!(stored, 7);
}

fn made(scope: Scope, expires_s: u64) -> (Auth, String) {
    let mut auth = claimed();
    let (token, token_sha256) = new_token(&mut CountingRng::default());
    auth.token_made(TokenRow {
        id: 1,
        token_sha256,
        name: "backup".to_owned(),
        scope: scope.as_str().to_owned(),
        created_unix_s: at(0).unix_s,
        expires_unix_s: at(expires_s).unix_s,
    });
    (auth, token)
}

#[test]
fn a_token_counts_until_its_end_and_is_no_session() {
    let (mut auth, token) = made(Scope::Write, 100);
    let bearer = auth.bearer(at(99), Some(&token));
    assert!(matches!(bearer, Bearer::Token { ref name, scope: Scope::Write } if name == "backup"));
    assert!(!auth.is_session(at(0), Some(&token)));
    assert_eq!(auth.bearer(at(100), Some(&token)), Bearer::Nobody);
    let bare = token.strip_prefix(TOKEN_PREFIX);
    assert_eq!(auth.bearer(at(0), bare), Bearer::Nobody);
    let other = format!("{}f", &token[..token.len() - 1]);
    assert_eq!(auth.bearer(at(0), Some(&other)), Bearer::Nobody);
    auth.token_gone(1);
    assert_eq!(auth.bearer(at(0), Some(&token)), Bearer::Nobody);
}

#[test]
fn what_was_noted_by_a_wrong_clock_leaps_with_it() {
    let (mut auth, token) = made(Scope::Read, 100);
    let (session, _) = auth.begin_session(at(5), None, &mut CountingRng::default());
    let by_s = 90 * 24 * 3600;
    let forward = i64::try_from(by_s).unwrap();
    let (sessions, tokens) = auth.leap(at(0).unix_s, at(10).unix_s, forward);
    assert_eq!((sessions.len(), tokens.len()), (1, 1));
    let later = Now {
        mono: at(20).mono,
        unix_s: at(20 + by_s).unix_s,
    };
    assert!(auth.is_session(later, Some(&session)));
    assert_ne!(auth.bearer(later, Some(&token)), Bearer::Nobody);
}
