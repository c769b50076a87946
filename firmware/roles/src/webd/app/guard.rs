//! Against requests that other sites make in the name of a person who is logged in here.
//!
//! Three locks: the cookie is SameSite=Strict; a browser says by `Sec-Fetch-Site` or `Origin`
//! whose page asks; and each form carries a token that only our own page can have read, which
//! covers browsers that say nothing. API calls need no form token: their content types cannot
//! be sent across sites without asking first.

use std::io;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Asked;

/// Makes and checks the tokens of forms.
pub(crate) struct Guard {
    key: hmac::Key,
}

impl Guard {
    /// With a key of this process's life: a form from before a restart is to be sent again.
    pub(crate) fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// The token for forms in the answer to this request.
    pub(crate) fn form_token(&self, asked: &Asked) -> String {
        let tag = hmac::sign(&self.key, whose(asked).as_bytes());
        tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Whether a form came from a page of ours that this same client was given.
    pub(crate) fn form_holds(&self, asked: &Asked, token: &str) -> bool {
        let Some(bytes) = unhex(token) else {
            return false;
        };
        hmac::verify(&self.key, whose(asked).as_bytes(), &bytes).is_ok()
    }
}

/// Whether the browser says that another site's page asks. Programs say nothing, and pass.
pub(crate) fn is_cross_site(asked: &Asked) -> bool {
    let fetch = asked.field("sec-fetch-site");
    if fetch.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    match asked.field("origin") {
        None => false,
        Some(origin) => {
            // Who sits on the wire can write our HTTP pages, and no form of theirs may count here.
            let scheme = if asked.secure { "https://" } else { "http://" };
            let host = origin.strip_prefix(scheme);
            host.is_none_or(|host| !host.eq_ignore_ascii_case(&asked.host))
        }
    }
}

/// A session's own, or before there is one the client's.
fn whose(asked: &Asked) -> String {
    let caller = asked.caller();
    match (caller.token, caller.address) {
        (Some(token), _) => format!("session {token}"),
        (None, Some(address)) => format!("address {address}"),
        (None, None) => "nobody".to_owned(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
    if text.len() != 64 || !digits {
        return None;
    }
    text.as_bytes().chunks(2).map(pair).collect()
}
