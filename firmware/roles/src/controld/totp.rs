//! The second factor: codes of RFC 6238 that a phone shows, six digits of 30 seconds each.
//!
//! ```text
//!   none --begin--> offered --a right code--> on --off--> none
//!                      \---begin again---^ (a new secret)
//! ```
//!
//! Only `on` is stored and counts. A code counts once (RFC 6238 section 5.2), in its own half
//! minute and the one on either side of it. Whoever lost the phone has the box itself: the console,
//! or a reset of the password by hand, takes the factor away.

use data_encoding::BASE32_NOPAD;
use lintel_proto::rng::Rng;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Length of the secret, octets (RFC 4226 section 4, R6 recommends 160 bits).
const SECRET_BYTES: usize = 20;
/// How long a code is shown, seconds.
const STEP_S: u64 = 30;
/// Steps before and after the present one that count: phones' clocks differ.
const SLACK_STEPS: u64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;

/// A secret that counts, and what was used of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totp {
    secret: String,
    /// Newest step of which a code was taken; no older one is.
    used_step: u64,
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Totp({})", self.used_step)
    }
}

impl Totp {
    /// A new secret.
    pub(super) fn new(rng: &mut dyn Rng) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        rng.fill(&mut bytes);
        Self {
            secret: BASE32_NOPAD.encode(&bytes),
            used_step: 0,
        }
    }

    /// What stands in the store; `None` when it is no secret.
    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let totp: Self = serde_json::from_str(text).ok()?;
        BASE32_NOPAD.decode(totp.secret.as_bytes()).ok()?;
        Some(totp)
    }

    /// For the store.
    pub(super) fn to_stored(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As people type it into a phone: base32.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// As a phone reads it from a link or a picture (the key URI that authenticators share).
    pub(super) fn uri(&self, hostname: &str) -> String {
        format!(
            "otpauth://totp/Lintel:{hostname}?secret={}&issuer=Lintel&algorithm=SHA1&digits={DIGITS}&period={STEP_S}",
            self.secret
        )
    }

    /// Whether the code counts now; then it does not count again, nor one before it.
    pub(super) fn take(&mut self, unix_s: u64, code: &str) -> bool {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let Ok(secret) = BASE32_NOPAD.decode(self.secret.as_bytes()) else {
            return false;
        };
        let now = unix_s / STEP_S;
        let steps = now.saturating_sub(SLACK_STEPS)..=now.saturating_add(SLACK_STEPS);
        let mut found = None;
        for step in steps.filter(|step| *step > self.used_step) {
            // The code was typed by somebody over a network: how long this takes tells nothing
            // that six digits and the pace of guessing do not hide.
            if hotp(&secret, step) == code {
                found = Some(step);
            }
        }
        if let Some(step) = found {
            self.used_step = step;
        }
        found.is_some()
    }

    /// The clock leapt back: steps of the time before would shut the owner out until they return.
    pub(super) fn leap(&mut self, unix_s: u64) {
        self.used_step = self.used_step.min(unix_s / STEP_S);
    }
}

/// RFC 4226 section 5.3.
fn hotp(secret: &[u8], counter: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &counter.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last().copied().unwrap_or(0) & 0x0f);
    let four = tag.get(offset..offset + 4).unwrap_or_default();
    let number = four
        .iter()
        .fold(0u32, |n, octet| n << 8 | u32::from(*octet))
        & 0x7fff_ffff;
    format!("{:0DIGITS$}", number % 10u32.pow(DIGITS as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controld::tests::CountingRng;

    /// RFC 6238, appendix B, the column of SHA-1, of which six digits are shown.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        for (unix_s, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let mut totp = Totp {
                secret: secret.clone(),
                used_step: 0,
            };
            assert!(totp.take(unix_s, code), "{unix_s}");
        }
    }

    #[test]
    fn a_code_counts_once_and_around_its_time_only() {
        let mut totp = Totp::new(&mut CountingRng::default());
        let secret = BASE32_NOPAD.decode(totp.secret().as_bytes()).unwrap();
        let at = 1_700_000_010;
        let code = |s: u64| hotp(&secret, s / STEP_S);
        assert!(!totp.take(at, &code(at + 90)) && !totp.take(at, &code(at - 90)));
        assert!(!totp.take(at, "") && !totp.take(at, "12345"));
        assert!(totp.take(at, &code(at - 30)), "a phone that is behind");
        let spaced = format!("{} {}", &code(at)[..3], &code(at)[3..]);
        assert!(totp.take(at, &spaced));
        assert!(!totp.take(at, &code(at)), "once");
        assert!(!totp.take(at, &code(at - 30)), "nor an older one");
        let back = Totp::from_stored(&totp.to_stored()).unwrap();
        assert_eq!(back, totp);
        // The clock was years ahead, and is right again.
        totp.leap(at - 1_000_000);
        assert!(totp.take(at - 1_000_000 + 30, &code(at - 1_000_000 + 30)));
    }

    impl Totp {
        /// What a phone shows.
        pub(in crate::controld) fn code(&self, unix_s: u64) -> String {
            let secret = BASE32_NOPAD.decode(self.secret.as_bytes()).unwrap();
            hotp(&secret, unix_s / STEP_S)
        }
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for text in ["", "{}", "{\"secret\":\"!\",\"used_step\":0}", "null"] {
            assert_eq!(Totp::from_stored(text), None, "{text}");
        }
    }
}
