//! The REST API from the asking side, over HTTP or HTTPS: a connection a call.
//!
//! A box's certificate is its own and signed by nobody, so that it is known by its fingerprint:
//! what the box shows on its console and pages is compared with what comes over the wire.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use lintel_api::{Content, Method, Param, Place, Verb};
use lintel_ipc::call::Problem;
use lintel_ipc::webd::Happened;
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::{Map, Value, json};

use super::client::{ClientError, REPLY_WAIT};
use super::text::io_words;

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longest quiet of a stream of events; the front sends something every 15 s.
const EVENT_WAIT: Duration = Duration::from_secs(60);
/// Longest line of a stream of events, octets; the front sends a quarter of it at most.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Largest head of an answer, octets.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields in it.
const FIELDS_MAX: usize = 64;
/// Largest answer, octets: a page of a thousand entries is a tenth of it.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// Where a box is, and what to say to it.
#[derive(Clone, Default)]
pub(super) struct Host {
    secure: bool,
    name: String,
    port: u16,
    token: Option<String>,
    fingerprint: Option<Vec<u8>>,
    /// The public key of the certificate that was wanted, once it was shown. The box keeps its key
    /// when it has to write a new certificate, for another address say.
    key: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Host {
    /// From `https://router.lan:8443`; without a scheme it is HTTPS.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("{url:?} is no box's address: write https://192.168.1.1");
        let (secure, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong()),
            None => (true, url),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let default = if secure { 443 } else { 80 };
        // The last colon, unless it stands inside an address in brackets.
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => {
                (name, port.parse::<u16>().map_err(|_| wrong())?)
            }
            _ => (authority, default),
        };
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let six = bare.is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        if !six && (name.is_empty() || !name.bytes().all(plain)) || port == 0 {
            return Err(wrong());
        }
        Ok(Self {
            secure,
            name: name.to_owned(),
            port,
            ..Self::default()
        })
    }

    /// With a token that names the caller.
    pub(super) fn with_token(mut self, token: &str) -> Result<Self, String> {
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the token is not one: it is one word of letters and digits".to_owned());
        }
        self.token = Some(token.to_owned());
        Ok(self)
    }

    /// With the SHA-256 of the only certificate to accept: hex digits, in pairs or not.
    pub(super) fn with_fingerprint(mut self, text: &str) -> Result<Self, String> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b": -".contains(b)).collect();
        let octets: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        match octets {
            Some(octets) if digits.len() == 64 => {
                self.fingerprint = Some(octets);
                Ok(self)
            }
            _ => Err(format!(
                "{text:?} is no fingerprint: it is SHA-256 in 32 pairs of hex digits"
            )),
        }
    }

    /// The same box at another address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Self {
        Self {
            name: address.to_string(),
            ..self.clone()
        }
    }

    /// As it is written.
    pub(super) fn url(&self) -> String {
        let (scheme, default) = if self.secure {
            ("https", 443)
        } else {
            ("http", 80)
        };
        match self.port {
            port if port == default => format!("{scheme}://{}", self.name),
            port => format!("{scheme}://{}:{port}", self.name),
        }
    }

    pub(super) fn call(
        &self,
        method: &Method,
        params: &Value,
    ) -> Result<Result<Value, Problem>, ClientError> {
        let request = self.request(method, params);
        let (status, body) = self
            .exchange(&request)
            .map_err(|reason| ClientError::Http {
                url: self.url(),
                reason,
            })?;
        if status == 200 {
            return Ok(Ok(match method.content() {
                Content::Json => serde_json::from_slice(&body)?,
                Content::Text => Value::String(String::from_utf8_lossy(&body).into_owned()),
                // As the control socket has it; what it is called is the task's to say.
                Content::File => json!({
                    "file_name": "",
                    "content_base64": BASE64.encode(&body),
                }),
            }));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(mut problem) => {
                if problem.status == 401 && self.token.is_none() {
                    problem.detail =
                        "Give a token of the box: --token-file FILE, or LINTEL_TOKEN.".to_owned();
                }
                Ok(Err(problem))
            }
            Err(_) => Err(ClientError::Http {
                url: self.url(),
                reason: format!("it answered with status {status}, as no Lintel box does"),
            }),
        }
    }

    /// The octets of a request.
    pub(super) fn request(&self, method: &Method, params: &Value) -> Vec<u8> {
        let mut target = method.path.to_owned();
        let mut query = String::new();
        let mut body = Map::new();
        let mut fields = String::new();
        let none = Map::new();
        for (name, value) in params.as_object().unwrap_or(&none) {
            let text = match value {
                Value::String(text) => encoded(text),
                other => encoded(&other.to_string()),
            };
            match method.param(name).map(|param| param.place) {
                Some(Place::Path) => target = target.replace(&format!("{{{name}}}"), &text),
                Some(Place::Query) => {
                    query.push(if query.is_empty() { '?' } else { '&' });
                    query.push_str(&format!("{name}={text}"));
                }
                Some(Place::Header) => {
                    let field = method
                        .param(name)
                        .map(Param::field_name)
                        .unwrap_or_default();
                    let value = value.as_str().unwrap_or_default().chars();
                    // What could end the line is not sent.
                    let value: String = value.filter(|c| matches!(c, ' '..='~')).collect();
                    fields.push_str(&format!("{field}: {value}\r\n"));
                }
                _ => {
                    body.insert(name.clone(), value.clone());
                }
            }
        }
        let target = target + &query;
        let mut head = self.head(method.verb.as_str(), &target, "application/json");
        head.push_str(&fields);
        let body = match (body.is_empty(), method.verb) {
            (true, Verb::Get | Verb::Delete) => Vec::new(),
            _ => Value::Object(body).to_string().into_bytes(),
        };
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        [head.into_bytes(), body].concat()
    }

    /// Sends a request and takes the answer: status and body; else why not, in words.
    fn exchange(&self, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
        let (stream, judge) = self.open(REPLY_WAIT)?;
        answer(stream, request).map_err(|error| match judge {
            Some(judge) => judge.words(&error),
            None => io_words(&error),
        })
    }

    /// Listens to the box's events, as [`super::client::listen`] does.
    pub(super) fn listen(
        &self,
        last: Option<u64>,
        heard: &mut dyn FnMut(Option<Happened>) -> bool,
    ) -> Result<(), ClientError> {
        let failed = |reason| ClientError::Http {
            url: self.url(),
            reason,
        };
        let words = |error: io::Error| failed(io_words(&error));
        let (mut stream, _) = self.open(EVENT_WAIT).map_err(failed)?;
        let mut head = self.head("GET", "/api/events", "text/event-stream");
        if let Some(last) = last {
            head.push_str(&format!("Last-Event-ID: {last}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).map_err(words)?;
        stream.flush().map_err(words)?;
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        let mut event = Happened::default();
        loop {
            line.clear();
            let bound = EVENT_BYTES_MAX as u64;
            let read = (&mut lines).take(bound).read_until(b'\n', &mut line);
            if read.map_err(words)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if let Some(status) = text.strip_prefix("HTTP/1.1 ")
                && !status.starts_with("200")
            {
                return Err(failed(format!("it answered {status}")));
            }
            match text.split_once(": ") {
                Some(("id", id)) => event.id = id.parse().unwrap_or(0),
                Some(("event", topic)) => event.topic = topic.to_owned(),
                Some(("data", data)) => {
                    event.data = serde_json::from_str(data).unwrap_or_default();
                }
                None if text.is_empty() => {
                    let event = std::mem::take(&mut event);
                    let go_on = match event.topic.as_str() {
                        // The head, or a sign of life.
                        "" => true,
                        "reset" => heard(None),
                        _ => heard(Some(event)),
                    };
                    if !go_on {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// A stream to the box, and over TLS the judge of its certificate.
    fn open(&self, wait: Duration) -> Result<(Box<dyn Wire>, Judged), String> {
        let stream = self.connect(wait)?;
        if !self.secure {
            return Ok((Box::new(stream), None));
        }
        let judge = Arc::new(Judge {
            wanted: self.fingerprint.clone(),
            key: self.key.clone(),
            shown: Mutex::default(),
            algorithms: crypto::ring::default_provider().signature_verification_algorithms,
        });
        let config = tls_config(judge.clone()).map_err(|error| error.to_string())?;
        let bare = self.name.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok((Box::new(StreamOwned::new(connection, stream)), Some(judge)))
    }

    /// The start of a request, without the empty line that ends its head.
    fn head(&self, verb: &str, target: &str, accept: &str) -> String {
        let default = if self.secure { 443 } else { 80 };
        let port = match self.port {
            port if port == default => String::new(),
            port => format!(":{port}"),
        };
        let mut head = format!(
            "{verb} {target} HTTP/1.1\r\nHost: {}{port}\r\nAccept: {accept}\r\n\
             User-Agent: lintel/{}\r\nConnection: close\r\n",
            self.name,
            env!("CARGO_PKG_VERSION"),
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        head
    }

    fn connect(&self, wait: Duration) -> Result<TcpStream, String> {
        let bare = self.name.trim_start_matches('[').trim_end_matches(']');
        let addresses = (bare, self.port)
            .to_socket_addrs()
            .map_err(|error| format!("the name cannot be resolved: {error}"))?;
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            let connected = TcpStream::connect_timeout(&address, CONNECT_WAIT).and_then(|stream| {
                stream.set_read_timeout(Some(wait))?;
                stream.set_write_timeout(Some(REPLY_WAIT))?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => last = io_words(&error),
            }
        }
        Err(last)
    }
}

/// Who judged the certificate; nobody did without TLS.
type Judged = Option<Arc<Judge>>;

/// Both ways of a connection, with TLS or without.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// Writes the request, reads one answer.
fn answer(mut stream: impl Read + Write, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut octets = Vec::new();
    let head = loop {
        if let Some(head) = head(&octets)? {
            break head;
        }
        if octets.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the answer's head has no end"));
        }
        let mut part = [0; 4096];
        match stream.read(&mut part)? {
            0 => {
                return Err(io::Error::other(
                    "the connection was closed without an answer",
                ));
            }
            n => octets.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
    };
    if head.body_bytes > BODY_BYTES_MAX {
        return Err(io::Error::other("the answer is too long"));
    }
    let mut body = octets.split_off(head.bytes.min(octets.len()));
    let missing = head.body_bytes.saturating_sub(body.len() as u64);
    let read = stream.take(missing).read_to_end(&mut body)?;
    if (read as u64) < missing {
        return Err(io::Error::other("the answer was cut off"));
    }
    Ok((head.status, body))
}

struct Head {
    bytes: usize,
    status: u16,
    body_bytes: u64,
}

/// The head of an answer, once it is there.
fn head(octets: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response
        .parse(octets)
        .map_err(|error| io::Error::other(format!("this is no HTTP answer: {error}")))?;
    let httparse::Status::Complete(bytes) = parsed else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name));
        found.and_then(|f| std::str::from_utf8(f.value).ok())
    };
    // A box always says how long its answer is; what does not is none.
    let length = field("content-length").and_then(|text| text.trim().parse().ok());
    let length = length.ok_or_else(|| io::Error::other("the answer says no length"))?;
    Ok(Some(Head {
        bytes,
        status: response.code.unwrap_or(0),
        body_bytes: length,
    }))
}

/// Percent-encoded (RFC 3986 section 2.1) but for unreserved characters.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

fn tls_config(judge: Arc<Judge>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        // Dangerous is what the library calls every judge but a certificate authority.
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts the one certificate with the fingerprint that is wanted, whatever its name and dates, and
/// then another with its key.
#[derive(Debug)]
struct Judge {
    wanted: Option<Vec<u8>>,
    key: Arc<Mutex<Option<Vec<u8>>>>,
    /// That of the certificate that came.
    shown: Mutex<Option<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    /// Why the exchange failed; most often the certificate.
    fn words(&self, error: &io::Error) -> String {
        let shown = self.shown.lock().ok().and_then(|shown| shown.clone());
        match (shown, &self.wanted) {
            (Some(shown), None) => format!(
                "it has to be recognised first. It shows a certificate with this SHA-256:\n{shown}\n\
                 Compare it with what `lintel system info` prints on the box, then write it\n\
                 after --fingerprint, or into LINTEL_FINGERPRINT"
            ),
            (Some(shown), Some(_)) => format!(
                "its certificate is not the one wanted. It shows\n{shown}\n\
                 Either the box was set up anew, or somebody else answers in its place"
            ),
            (None, _) => io_words(error),
        }
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = digest::digest(&digest::SHA256, end_entity);
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wanted.as_deref() == Some(digest.as_ref()) {
            *known = Some(key.to_vec());
        }
        if known.as_deref() == Some(key.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        let pairs: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        if let Ok(mut shown) = self.shown.lock() {
            *shown = Some(pairs.join(":"));
        }
        Err(rustls::CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
