//! Takes secrets out of what leaves the box in a file for others.
//!
//! Twice: what stands under a key that names a secret goes whatever it is, and what is known to be
//! a secret goes wherever it stands. The box knows passwords and tokens by their digests alone, so
//! that these cannot be searched for; no text of ours holds them.

use serde_json::Value;

/// In place of a secret.
pub(super) const REMOVED: &str = "(removed)";
/// A shorter text is no secret, and would be found everywhere.
const SECRET_CHARS_MIN: usize = 8;
/// What a key is called that names a secret: it is one of these, or ends with one after a `_`.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "psk",
    "pin",
    "private_key",
    "preshared_key",
    "secret_key",
    "api_key",
    "credentials",
    "cookie",
];

/// Whether a key of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|secret| {
        let rest = name.strip_suffix(secret);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}

/// What is to be taken out.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    pub(super) fn new(secrets: Vec<String>) -> Self {
        let long = |secret: &String| secret.len() >= SECRET_CHARS_MIN;
        Self {
            secrets: secrets.into_iter().filter(long).collect(),
        }
    }

    /// A text without the secrets that are known.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, REMOVED);
            }
        }
        text
    }

    /// A tree without what stands under keys that name secrets.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    if is_secret(name) && !value.is_null() {
                        *value = Value::from(REMOVED);
                    } else {
                        self.value(value);
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value)),
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_under_a_secrets_name_goes_and_everything_else_stays() {
        let mut tree = json!({
            "hostname": "attic",
            "wan": {"username": "anne", "password": "s3cret-one", "pppoe_password": 17},
            "wireguard": {"private_key": "abc", "public_key": "stays", "peers": [
                {"preshared-key": "def", "name": "phone"},
            ]},
            "wifi": {"psk": "12345678", "ssid": "home"},
            "confirm": {"token": {"deep": "s3cret"}, "tokens": 3, "pinned": true},
        });
        Redactor::default().value(&mut tree);
        assert_eq!(
            tree,
            json!({
                "hostname": "attic",
                "wan": {"username": "anne", "password": REMOVED, "pppoe_password": REMOVED},
                "wireguard": {"private_key": REMOVED, "public_key": "stays", "peers": [
                    {"preshared-key": REMOVED, "name": "phone"},
                ]},
                "wifi": {"psk": REMOVED, "ssid": "home"},
                "confirm": {"token": REMOVED, "tokens": 3, "pinned": true},
            })
        );
    }

    #[test]
    fn what_is_known_to_be_a_secret_goes_wherever_it_stands() {
        let redactor = Redactor::new(vec!["JBSWY3DPEHPK3PXP".to_owned(), "short".to_owned()]);
        let text = redactor.text("it is JBSWY3DPEHPK3PXP, short of JBSWY3DPEHPK3PXP");
        assert_eq!(text, format!("it is {REMOVED}, short of {REMOVED}"));
        let mut tree = json!([{"note": "xJBSWY3DPEHPK3PXPx"}]);
        redactor.value(&mut tree);
        assert_eq!(tree, json!([{"note": format!("x{REMOVED}x")}]));
    }
}
