//! Answers: what the application said, the front's own refusals, and how both are written.

use super::head::Refusal;
use super::limits::ANSWER_BYTES_MAX;

/// An answer, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Fields, lower-case names; those of [`KEPT`] alone.
    pub fields: Vec<(&'static str, String)>,
    /// The content.
    pub body: Vec<u8>,
}

/// Fields of the application's answer that reach the client; the front writes the rest.
pub const KEPT: [&str; 9] = [
    "allow",
    "cache-control",
    "content-disposition",
    "content-type",
    "date",
    "etag",
    "location",
    "retry-after",
    "set-cookie",
];

/// What every answer carries: nothing from elsewhere runs or is shown in our pages, our pages
/// are shown in nobody else's, and no address of ours leaks to another site.
const ALWAYS: &str = "content-security-policy: default-src 'none'; script-src 'self'; \
     style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'\r\n\
     cross-origin-opener-policy: same-origin\r\n\
     cross-origin-resource-policy: same-origin\r\n\
     permissions-policy: camera=(), geolocation=(), microphone=()\r\n\
     referrer-policy: same-origin\r\n\
     x-content-type-options: nosniff\r\n\
     x-frame-options: DENY\r\n";

/// Writes `answer` as HTTP/1.1 to the end of `to`.
pub fn write(answer: &Answer, keep_alive: bool, head_only: bool, to: &mut Vec<u8>) {
    write_head(answer, to);
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let length = answer.body.len();
    let framing = format!("content-length: {length}\r\nconnection: {connection}\r\n\r\n");
    to.extend_from_slice(framing.as_bytes());
    if !head_only {
        to.extend_from_slice(&answer.body);
    }
}

/// The head of a stream of server-sent events: its end is the end of the connection.
pub fn stream_head() -> Vec<u8> {
    let answer = Answer {
        status: 200,
        fields: vec![
            ("content-type", "text/event-stream".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body: Vec::new(),
    };
    let mut head = Vec::new();
    write_head(&answer, &mut head);
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}

fn write_head(answer: &Answer, to: &mut Vec<u8>) {
    let line = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    to.extend_from_slice(line.as_bytes());
    for (name, value) in &answer.fields {
        // A value that could end its line never leaves, whoever made it.
        if !value.bytes().any(|b| b < 0x20 || b == 0x7f) {
            to.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    to.extend_from_slice(ALWAYS.as_bytes());
}

/// The front's own answer to what it refuses: a page for people, RFC 9457 for programs.
pub fn refusal(refusal: Refusal, html: bool) -> Answer {
    let status = refusal.status();
    let detail = match refusal {
        Refusal::OtherHost => {
            "Open the box by its own address or name, as your device got it from the network."
        }
        Refusal::Busy | Refusal::NoAnswer => "Try again in a few seconds.",
        _ => "",
    };
    if html {
        return page(status, &refusal.to_string(), detail);
    }
    let problem = serde_json::json!({
        "status": status,
        "type": "refused",
        "title": refusal.to_string(),
        "detail": detail,
    });
    Answer {
        status,
        fields: vec![
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body: problem.to_string().into_bytes(),
    }
}

/// A page made without the template engine, so that it can be sent whatever else fails.
fn page(status: u16, title: &str, detail: &str) -> Answer {
    let text = include_str!("../../../../../web/templates/refused.html");
    let status_text = status.to_string();
    let body = text
        .replace("{status}", &status_text)
        .replace("{title}", title)
        .replace("{detail}", detail);
    Answer {
        status,
        fields: vec![
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        body: body.into_bytes(),
    }
}

/// Why the application's answer cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not HTTP, or without a plain length.
    #[error("the application's answer is malformed")]
    Malformed,
    /// Longer than `ANSWER_BYTES_MAX`.
    #[error("the application's answer is over {ANSWER_BYTES_MAX} octets")]
    TooLarge,
}

/// Takes a whole answer from the front of `bytes`, where tiny_http wrote it; `None` while it is
/// not whole.
pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Answer>, AnswerError> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) if bytes.len() <= ANSWER_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(AnswerError::TooLarge),
        Err(_) => return Err(AnswerError::Malformed),
    };
    let mut answer = Answer {
        status: response.code.unwrap_or(500),
        ..Answer::default()
    };
    let mut length = None;
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).map_err(|_| AnswerError::Malformed)?;
        let same = |name: &&str| field.name.eq_ignore_ascii_case(name);
        if let Some(name) = KEPT.into_iter().find(|name| same(name)) {
            answer.fields.push((name, value.to_owned()));
        } else if same(&"content-length") {
            length = value.parse::<usize>().ok();
        }
    }
    let length = length.ok_or(AnswerError::Malformed)?;
    if length > ANSWER_BYTES_MAX {
        return Err(AnswerError::TooLarge);
    }
    if bytes.len() < head_bytes + length {
        return Ok(None);
    }
    let rest = bytes.split_off(head_bytes + length);
    let mut whole = std::mem::replace(bytes, rest);
    answer.body = whole.split_off(head_bytes);
    Ok(Some(answer))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}
