//! The head of a request: parsed strictly, refused when two readers could read it differently
//! (RFC 9112 sections 2.2, 3.2, 5, 6.3 and 11.2).
//!
//! `httparse` finds the parts; what this module adds is what a lenient reader would let pass:
//! bare line feeds, folded lines, NUL, repeated fields that decide about framing or rights,
//! lengths that are no plain number, a target that names another host than `Host` does. No
//! function here panics, whatever the bytes.

use std::net::IpAddr;

use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX, body_bytes_max};

/// A request's head that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// One of [`METHODS`].
    pub method: &'static str,
    /// Begins with `/`; visible ASCII; still percent-encoded.
    pub path: String,
    /// What follows `?`, without it; still percent-encoded.
    pub query: String,
    /// As sent, port included.
    pub host: String,
    /// The fields of [`PASSED_ON`] that came, by their names there; values are visible ASCII and
    /// blanks.
    pub fields: Vec<(&'static str, String)>,
    /// Octets of body that follow.
    pub body_bytes: usize,
    /// The client means to send another request.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl RequestHead {
    /// The value of a field of [`PASSED_ON`].
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a person's browser asked, which wants pages and not problem documents.
    pub fn wants_html(&self) -> bool {
        self.field("accept")
            .is_some_and(|a| a.contains("text/html"))
    }
}

/// Methods that any resource here has, and those that none has: the application tells which a
/// path does take (RFC 9110 section 15.5.6), while a word that is no method is not implemented.
pub const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
];

/// Fields that the application sees. Each may come once: a second one is somebody's attempt to
/// be read in two ways.
pub const PASSED_ON: [&str; 12] = [
    "accept",
    "authorization",
    "content-type",
    "cookie",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "last-event-id",
    "origin",
    "passphrase",
    "sec-fetch-site",
    "referer",
];

/// Why a request is answered without being looked at further. The connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9110 section 15.5.1.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// `Host` is missing, repeated or none (RFC 9112 section 3.2).
    #[error("the Host field is missing, repeated or malformed")]
    Host,
    /// `Host` names somebody else: a rebound DNS name, or a misdirected request.
    #[error("this box does not answer to that name")]
    OtherHost,
    /// The head is over its bound.
    #[error("the head of the request is too large")]
    HeadTooLarge,
    /// The head did not come in time.
    #[error("the request did not arrive in time")]
    Late,
    /// The body is over its bound.
    #[error("the body is too large: at most {0} octets")]
    BodyTooLarge(usize),
    /// A body without a length, or in chunks.
    #[error("the body needs a Content-Length")]
    LengthRequired,
    /// A transfer coding or a method that is not known here.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// `Expect` with something other than `100-continue`.
    #[error("that expectation cannot be met")]
    Expectation,
    /// HTTP/2 and later without negotiation.
    #[error("this HTTP version is not spoken here")]
    Version,
    /// Too much is being received or in work.
    #[error("the box is busy")]
    Busy,
    /// The application did not answer in time.
    #[error("no answer came in time")]
    NoAnswer,
}

impl Refusal {
    /// The status code for it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Host => 400,
            Self::OtherHost => 421,
            Self::HeadTooLarge => 431,
            Self::Late => 408,
            Self::BodyTooLarge(_) => 413,
            Self::LengthRequired => 411,
            Self::NotImplemented(_) => 501,
            Self::Expectation => 417,
            Self::Version => 505,
            Self::Busy | Self::NoAnswer => 503,
        }
    }
}

/// Names and addresses that `Host` may carry; anything else would let a page of another site
/// reach this one through a name that it rebinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// From the snapshot; entries may carry a port.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        // A browser resolves these itself (RFC 6761 section 6.3), so nobody can rebind them; a
        // forwarded port (QEMU, ssh) makes them the name in the address bar.
        let own = ["localhost", "127.0.0.1", "[::1]"];
        let names = entries.into_iter().chain(own);
        Self {
            names: names
                .filter_map(|entry| host_and_port(entry).map(|(host, _)| host))
                .collect(),
        }
    }

    /// Whether a request for `host` (with or without port) that arrived at `local` is for us.
    pub fn allow(&self, host: &str, local: IpAddr) -> bool {
        let Some((name, _)) = host_and_port(host) else {
            return false;
        };
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        self.names.contains(&name) || literal.parse() == Ok(local)
    }
}

/// Lower-case host without a final dot, and the port; `None` when the text is neither.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':')?),
            };
            (format!("[{address}]"), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let bare = host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if bare.is_empty() || !(bare.starts_with('[') || bare.bytes().all(is_name)) {
        return None;
    }
    let port = match port {
        None => None,
        Some(digits) => Some(plain_number(digits)?.try_into().ok()?),
    };
    Some((bare, port))
}

/// Where the first head in `bytes` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Not whole yet.
    Partial,
    /// Whole: its octets, the empty line included.
    Whole(usize),
}

/// Looks for the end of the head. Refuses at once what no later octet can repair.
pub fn find_end(bytes: &[u8]) -> Result<Found, Refusal> {
    let head = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut line_start = 0;
    let mut previous = 0;
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\n' if previous != b'\r' => return Err(Refusal::Malformed("a bare line feed")),
            b'\n' if at == line_start + 1 => {
                if line_start == 0 {
                    return Err(Refusal::Malformed("an empty line before the request"));
                }
                return Ok(Found::Whole(at + 1));
            }
            b'\n' => line_start = at + 1,
            _ if previous == b'\r' => return Err(Refusal::Malformed("a bare carriage return")),
            b'\r' => {}
            b' ' | b'\t' if at == line_start => {
                return Err(Refusal::Malformed("a folded line"));
            }
            b'\t' => {}
            0..0x20 | 0x7f => return Err(Refusal::Malformed("a control character")),
            _ => {}
        }
        previous = byte;
    }
    if bytes.len() >= HEAD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(Found::Partial)
}

/// Parses a head that [`find_end`] found whole. `local` is the address it arrived at.
pub fn parse(head: &[u8], hosts: &Hosts, local: IpAddr) -> Result<RequestHead, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Refusal::Malformed("its end is not where it seems")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Refusal::Version),
        Err(_) => return Err(Refusal::Malformed("no request line or no header field")),
    }
    let fields = Fields(request.headers);

    let host = fields.once("host").map_err(|_| Refusal::Host)?;
    let host = host.ok_or(Refusal::Host)?;
    host_and_port(host).ok_or(Refusal::Host)?;
    if !hosts.allow(host, local) {
        return Err(Refusal::OtherHost);
    }

    let given = request.method.unwrap_or_default();
    let known = METHODS.into_iter().find(|known| *known == given);
    let method = known.ok_or(Refusal::NotImplemented("the method"))?;
    let (path, query) = target(request.path.unwrap_or_default(), host)?;
    let body_bytes = body_length(&fields)?;
    if body_bytes > 0 && matches!(method, "GET" | "HEAD") {
        return Err(Refusal::Malformed("a body that has no meaning here"));
    }
    let bytes_max = body_bytes_max(&path);
    if body_bytes > bytes_max {
        return Err(Refusal::BodyTooLarge(bytes_max));
    }
    let expects_continue = match fields.once("expect")? {
        None => false,
        Some(value) if value.eq_ignore_ascii_case("100-continue") => body_bytes > 0,
        Some(_) => return Err(Refusal::Expectation),
    };
    let mut passed = Vec::new();
    for name in PASSED_ON {
        if let Some(value) = fields.once(name)? {
            passed.push((name, value.to_owned()));
        }
    }
    Ok(RequestHead {
        method,
        path,
        query,
        host: host.to_owned(),
        fields: passed,
        body_bytes,
        keep_alive: request.version == Some(1) && !fields.list_has("connection", "close"),
        expects_continue,
    })
}

/// RFC 9112 section 3.2: origin-form, or absolute-form for the host that `Host` names too.
fn target(target: &str, host: &str) -> Result<(String, String), Refusal> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Refusal::Malformed("the target holds what must be encoded"));
    }
    let origin = if target.starts_with('/') {
        target
    } else {
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| target.strip_prefix(scheme))
            .ok_or(Refusal::Malformed("the target is no path"))?;
        let (authority, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !authority.eq_ignore_ascii_case(host) {
            return Err(Refusal::OtherHost);
        }
        rest.get(authority.len()..).unwrap_or_default()
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let path = if path.is_empty() { "/" } else { path };
    Ok((path.to_owned(), query.to_owned()))
}

/// RFC 9112 section 6.3, with the choices it leaves to a server taken the strict way.
fn body_length(fields: &Fields<'_>) -> Result<usize, Refusal> {
    let length = fields.once("content-length")?;
    let mut codings = fields.all("transfer-encoding");
    if let Some(coding) = codings.next() {
        return Err(if length.is_some() {
            Refusal::Malformed("both Content-Length and Transfer-Encoding")
        } else if coding == b"chunked" && codings.next().is_none() {
            Refusal::LengthRequired
        } else {
            Refusal::NotImplemented("the transfer coding")
        });
    }
    match length {
        None => Ok(0),
        Some(digits) => {
            plain_number(digits).ok_or(Refusal::Malformed("Content-Length is no number"))
        }
    }
}

/// Digits alone: no sign, no blank, no list, and few enough to fit.
fn plain_number(digits: &str) -> Option<usize> {
    let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let same = move |field: &&httparse::Header<'a>| field.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|field| field.value)
    }

    /// The value of a field that may come once and holds ASCII.
    fn once(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Refusal::Malformed("a field that may come once came twice"));
        }
        let text = std::str::from_utf8(value).ok().filter(|t| t.is_ascii());
        text.map(Some)
            .ok_or(Refusal::Malformed("a field's value is not ASCII"))
    }

    fn list_has(&self, name: &str, item: &str) -> bool {
        self.all(name).any(|value| {
            value
                .split(|b| *b == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
        })
    }
}
