//! Who asks the box over HTTP: curl on a host of the household, with a session, with a token, or
//! with nothing to show.

use serde_json::Value;

use crate::client::Host;
use crate::session::Session;
use crate::wires::BOX;

/// The field of a JSON body.
pub const JSON: &str = "Content-Type: application/json";

/// What came over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the fields, in small letters.
    pub head: String,
    /// What followed.
    pub body: String,
}

impl Answer {
    /// The body, which must be JSON and say so.
    pub fn json(&self) -> Value {
        assert!(self.head.contains("application/json"), "{self:?}");
        self.value()
    }

    /// The body, which must be JSON under whatever name.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, which must have the fields of RFC 9457.
    pub fn problem(&self) -> Value {
        let named = self.head.contains("application/problem+json");
        assert!(named, "{self:?}");
        let problem = self.value();
        assert_eq!(problem["status"], self.status);
        for field in ["type", "title"] {
            assert!(problem[field].as_str().is_some_and(|s| !s.is_empty()));
        }
        problem
    }
}

/// A host and what it shows for its right.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'h> {
    host: &'h Host,
    right: Right<'h>,
}

#[derive(Debug, Clone, Copy)]
enum Right<'h> {
    None,
    Session(&'h Session),
    Token(&'h str),
}

impl<'h> Caller<'h> {
    /// Shows nothing.
    pub fn nobody(host: &'h Host) -> Self {
        let right = Right::None;
        Self { host, right }
    }

    /// Shows a session's cookies, and keeps those that it is given.
    pub fn session(host: &'h Host, session: &'h Session) -> Self {
        let right = Right::Session(session);
        Self { host, right }
    }

    /// Shows a token.
    pub fn token(host: &'h Host, token: &'h str) -> Self {
        let right = Right::Token(token);
        Self { host, right }
    }

    /// A request with these more arguments of curl; an answer must come.
    pub fn ask(&self, verb: &str, path: &str, more: &[&str]) -> Answer {
        let url = format!("http://{BOX}{path}");
        let mut args = [&["--path-as-is", "-X", verb], more].concat();
        let answer = match self.right {
            Right::None => curl(self.host, 20, &[&args[..], &[&url]].concat()),
            Right::Session(session) => {
                args.push(&url);
                session.curl(self.host, 20, &args)
            }
            Right::Token(token) => {
                let bearer = format!("Authorization: Bearer {token}");
                args.extend(["-H", &bearer, &url]);
                curl(self.host, 20, &args)
            }
        };
        answer.unwrap_or_else(|error| panic!("{verb} {path}: {error}"))
    }

    /// Asks for what stands there.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// A request with a JSON body, which goes by a file since it may be long.
    pub fn send(&self, verb: &str, path: &str, body: &Value) -> Answer {
        self.send_with(verb, path, body, &[])
    }

    /// The same with these more arguments of curl.
    pub fn send_with(&self, verb: &str, path: &str, body: &Value, more: &[&str]) -> Answer {
        let file = self.host.dir.write("body.json", &body.to_string());
        let data = format!("@{}", file.display());
        let body = ["-H", JSON, "--data-binary", &data];
        self.ask(verb, path, &[&body[..], more].concat())
    }
}

/// A request with these arguments of curl, of which the last is the URL; its last answer.
///
/// # Errors
/// What curl says when none came within `max_s` seconds.
pub(crate) fn curl(host: &Host, max_s: u32, args: &[&str]) -> Result<Answer, String> {
    let max_s = max_s.to_string();
    let curl = ["curl", "-sS", "-i", "-m", &max_s];
    let output = host.ns.run(curl.iter().chain(args));
    let text = String::from_utf8_lossy(&output.stdout);
    parsed(&text)
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("{}{text}", String::from_utf8_lossy(&output.stderr)))
}

/// The last answer of those that curl prints when it is led on.
fn parsed(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    if body.starts_with("HTTP/") {
        return parsed(body);
    }
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}
