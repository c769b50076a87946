//! What tiny_http's workers do with a whole request: route it, guard it, ask controld, answer.
//!
//! Whoever comes here has passed the front: the framing is plain, `Host` is ours, every field
//! stands once. What is left to check is who may do what: that a change was asked for by our
//! own pages ([`guard`]) and what controld says about the caller.

mod api;
mod assets;
mod guard;
mod json;
mod pages;
pub mod urls;
mod view;

use std::io::{self, Cursor};
use std::net::IpAddr;

use lintel_ipc::call::{Caller, FieldError, Origin, Problem, Reply};
use serde_json::Value;

use super::bridge::{Away, Control};
use super::front::answer::Answer;
use super::front::head::PASSED_ON;
use super::front::limits::IMPORT_BODY_BYTES_MAX;
use super::lanes::{LINK_FIELD, PEER_FIELD, SECURE_FIELD};

/// The cookie that carries a session made over HTTP.
const COOKIE: &str = "lintel_session";
/// The one for TLS. The prefix binds it to Secure, to this host and to the whole path; of
/// another name, since a browser lets no plain cookie replace a Secure one, so that a login over
/// HTTP would fail after one over TLS; and never read from the other, which whoever sits on
/// the wire can set.
const SECURE_COOKIE: &str = "__Host-lintel_session";

/// When to try again where nobody knows better, seconds: a role is back by then.
const RETRY_AFTER_S: u64 = 3;

/// The application.
pub(crate) struct App {
    control: Box<dyn Control>,
    pages: pages::Pages,
    guard: guard::Guard,
    version: String,
    ports: Option<(u16, u16)>,
}

/// A request as the application sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Upper case.
    pub(crate) method: String,
    /// Percent-encoded.
    pub(crate) path: String,
    /// Percent-encoded.
    pub(crate) query: String,
    /// As sent.
    pub(crate) host: String,
    /// Fields of `PASSED_ON`.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The content.
    pub(crate) body: Vec<u8>,
    /// The client's address.
    pub(crate) peer: Option<IpAddr>,
    /// The link of its connection.
    pub(crate) link: Option<u32>,
    /// It came over TLS.
    pub(crate) secure: bool,
}

impl Asked {
    /// The value of a field.
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Type of the content, without parameters.
    fn content_type(&self) -> &str {
        let value = self.field("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    fn caller(&self) -> Caller {
        Caller {
            origin: Origin::Web,
            address: self.peer,
            link_index: self.link,
            token: token_of(&self.fields, self.secure),
        }
    }
}

/// The session token of a request: from the Authorization field, else from the cookie.
pub(crate) fn token_of(fields: &[(&'static str, String)], secure: bool) -> Option<String> {
    let value = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
    let bearer = value("authorization").and_then(|v| v.strip_prefix("Bearer "));
    let cookie = value("cookie").and_then(|v| {
        v.split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == cookie_name(secure))
            .map(|(_, value)| value)
    });
    let token = bearer.or(cookie)?.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

fn cookie_name(secure: bool) -> &'static str {
    if secure { SECURE_COOKIE } else { COOKIE }
}

impl App {
    /// Loads the pages; `version` is the firmware's, `ports` those of HTTP and of HTTPS.
    pub(crate) fn new(
        control: Box<dyn Control>,
        version: &str,
        ports: Option<(u16, u16)>,
    ) -> io::Result<Self> {
        Ok(Self {
            control,
            pages: pages::Pages::new().map_err(io::Error::other)?,
            guard: guard::Guard::new()?,
            version: version.to_owned(),
            ports,
        })
    }

    /// Answers a request of tiny_http.
    pub(crate) fn respond(&self, mut request: tiny_http::Request) {
        let answer = match take(&mut request) {
            Ok(asked) => self.answer(&asked),
            Err(error) => {
                log::error!("reading a request from its lane failed: {error}");
                Answer {
                    status: 500,
                    ..Answer::default()
                }
            }
        };
        let length = answer.body.len();
        let fields = answer.fields.iter().filter_map(|(name, value)| {
            tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
        });
        let response = tiny_http::Response::new(
            tiny_http::StatusCode(answer.status),
            fields.collect(),
            Cursor::new(answer.body),
            Some(length),
            None,
        )
        // The front reads lengths, not chunks.
        .with_chunked_threshold(usize::MAX);
        if let Err(error) = request.respond(response) {
            log::error!("answering on a lane failed: {error}");
        }
    }

    /// The answer to a request.
    pub(crate) fn answer(&self, asked: &Asked) -> Answer {
        if asked.path.starts_with("/api/") || asked.path == "/metrics" {
            return api::answer(self, asked);
        }
        if let Some(asset) = assets::find(&asked.path) {
            return match asked.method.as_str() {
                "GET" => asset.answer(),
                _ => problem_answer(&wrong_method("GET")),
            };
        }
        pages::answer(self, asked)
    }

    /// Calls a method as the client that asked.
    fn call(&self, asked: &Asked, method: &'static str, params: Value) -> Result<Reply, Away> {
        self.control.call(method, params, asked.caller())
    }
}

/// The whole request, out of tiny_http's hands.
fn take(request: &mut tiny_http::Request) -> io::Result<Asked> {
    let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
    let mut asked = Asked {
        method: request.method().as_str().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Asked::default()
    };
    for header in request.headers() {
        let value = header.value.as_str();
        let name = header.field.as_str().as_str().to_ascii_lowercase();
        match name.as_str() {
            "host" => asked.host = value.to_owned(),
            PEER_FIELD => asked.peer = value.parse().ok(),
            LINK_FIELD => asked.link = value.parse().ok(),
            SECURE_FIELD => asked.secure = true,
            _ => {
                if let Some(name) = PASSED_ON.into_iter().find(|known| *known == name) {
                    asked.fields.push((name, value.to_owned()));
                }
            }
        }
    }
    // The front has bounded it; this is the second lock on the same door.
    let mut body = io::Read::take(request.as_reader(), IMPORT_BODY_BYTES_MAX as u64);
    io::Read::read_to_end(&mut body, &mut asked.body)?;
    Ok(asked)
}

/// When the client may try again (RFC 9110 section 10.2.3).
fn retry_after(problem: &Problem) -> (&'static str, String) {
    let seconds = problem.retry_after_s.unwrap_or(RETRY_AFTER_S);
    ("retry-after", seconds.to_string())
}

/// A problem document (RFC 9457).
fn problem_answer(problem: &Problem) -> Answer {
    let mut fields = vec![
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
    ];
    match (problem.status, problem.errors.as_slice()) {
        (429 | 503, _) => fields.push(retry_after(problem)),
        // RFC 9110 section 15.5.6 wants the list.
        (405, [method]) => fields.push(("allow", method.hint.clone())),
        _ => {}
    }
    Answer {
        status: problem.status,
        fields,
        body: serde_json::to_vec(problem).unwrap_or_default(),
    }
}

fn problem(status: u16, kind: &str, title: &str, detail: &str) -> Problem {
    Problem {
        status,
        kind: kind.to_owned(),
        title: title.to_owned(),
        detail: detail.to_owned(),
        retry_after_s: None,
        errors: Vec::new(),
    }
}

fn wrong_method(allowed: &str) -> Problem {
    Problem {
        errors: vec![FieldError {
            path: "method".to_owned(),
            reason: "it is not one of this path's".to_owned(),
            hint: allowed.to_owned(),
            ..FieldError::default()
        }],
        ..problem(
            405,
            "wrong-method",
            "This path does not take that method",
            &format!("It takes {allowed}."),
        )
    }
}

fn away() -> Problem {
    problem(
        503,
        "control-away",
        "The control service does not answer",
        "It is starting or busy; traffic is not affected. Try again in a few seconds.",
    )
}

/// The field that begins a session at the client, or ends it when the token is empty.
fn session_cookie(token: &str, secure: bool) -> (&'static str, String) {
    let name = cookie_name(secure);
    let mark = if secure { "; Secure" } else { "" };
    let attributes = format!("Path=/; HttpOnly; SameSite=Strict{mark}");
    let value = if token.is_empty() {
        format!("{name}=; {attributes}; Max-Age=0")
    } else {
        format!("{name}={token}; {attributes}")
    };
    ("set-cookie", value)
}
