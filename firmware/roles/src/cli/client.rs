//! A box from the asking side: over its control socket, one JSON line a call and one a reply, or
//! from elsewhere over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lintel_api::Method;
use lintel_ipc::MESSAGE_BYTES_MAX;
use lintel_ipc::call::{Call, Caller, Problem, Reply};
use lintel_ipc::webd::Happened;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Host;
use super::text::io_words;
use crate::controld::WATCH;

/// Longest wait for a reply: `config.apply` answers within 7 s, argon2 on the slowest board
/// within 2.
pub(super) const REPLY_WAIT: Duration = Duration::from_secs(20);

/// Where the box is.
#[derive(Clone)]
pub(super) enum Target {
    /// Here: its control socket.
    Socket(PathBuf),
    /// Elsewhere.
    Host(Host),
}

/// A way to a box.
pub(super) enum Client {
    Socket(SocketClient),
    Host(Host),
}

impl Client {
    pub(super) fn connect(target: &Target) -> Result<Self, ClientError> {
        match target {
            Target::Socket(path) => SocketClient::connect(path).map(Self::Socket),
            Target::Host(host) => Ok(Self::Host(host.clone())),
        }
    }

    /// The way to the same box at another address of it; a socket leads to it wherever it is.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<Self> {
        match self {
            Self::Socket(_) => None,
            Self::Host(host) => Some(Self::Host(host.at(address))),
        }
    }

    pub(super) fn call(
        &mut self,
        method: &Method,
        params: &Value,
    ) -> Result<Result<Value, Problem>, ClientError> {
        match self {
            Self::Socket(client) => client.call(method.name, params),
            Self::Host(host) => host.call(method, params),
        }
    }
}

/// The topic of what comes first without a `last`: only its id counts, to come back with.
pub(super) const HELLO: &str = "hello";

/// Listens to the box's events until it or the listener goes away. Those after `last` that are
/// still known come first; `None` says that some are not, and that everything may have changed.
/// `heard` says whether to go on.
pub(super) fn listen(
    target: &Target,
    last: Option<u64>,
    heard: &mut dyn FnMut(Option<Happened>) -> bool,
) -> Result<(), ClientError> {
    match target {
        Target::Socket(path) => SocketClient::connect(path)?.listen(last, heard),
        Target::Host(host) => host.listen(last, heard),
    }
}

/// A connection to the control socket.
pub(super) struct SocketClient {
    stream: BufReader<UnixStream>,
    next: u64,
}

/// The answer to who begins to listen.
#[derive(Deserialize)]
struct Begun {
    gone: bool,
    newest: Option<u64>,
    missed: Vec<Happened>,
}

/// What comes after it.
#[derive(Deserialize)]
struct EventLine {
    events: Vec<Happened>,
}

/// The box gives no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no box can be reached at {}: {}", path.display(), words(source))]
    Connect {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the box at {url} gave no answer: {reason}")]
    Http { url: String, reason: String },
    #[error("the box gave no answer: {}", io_words(.0))]
    Io(#[from] std::io::Error),
    #[error("the box closed the connection; its control service may be starting anew")]
    Closed,
    #[error("the box refuses: {0}")]
    Refused(String),
    #[error("the box gave an answer that is none: {0}")]
    Json(#[from] serde_json::Error),
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "nothing is there. Is lintel running on this machine? --host URL asks a box elsewhere"
                .to_owned()
        }
        std::io::ErrorKind::ConnectionRefused => {
            "nobody listens there. Its control service may be starting".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => "only root may ask".to_owned(),
        _ => io_words(error),
    }
}

impl SocketClient {
    fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = || -> std::io::Result<UnixStream> {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(REPLY_WAIT))?;
            stream.set_write_timeout(Some(REPLY_WAIT))?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
            next: 0,
        })
    }

    fn call(
        &mut self,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, Problem>, ClientError> {
        self.next += 1;
        let call = Call {
            id: self.next,
            method: method.to_owned(),
            params: params.clone(),
            caller: Caller::default(),
        };
        let mut line = serde_json::to_vec(&call)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let reply: Reply = serde_json::from_slice(&self.line()?)?;
        Ok(reply.result)
    }

    fn line(&mut self) -> Result<Vec<u8>, ClientError> {
        let bound = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut line = Vec::new();
        (&mut self.stream)
            .take(bound)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(ClientError::Closed);
        }
        Ok(line)
    }

    fn listen(
        mut self,
        last: Option<u64>,
        heard: &mut dyn FnMut(Option<Happened>) -> bool,
    ) -> Result<(), ClientError> {
        let params = match last {
            Some(last) => json!({ "last_event_id": last }),
            None => json!({}),
        };
        let begun: Begun = match self.call(WATCH, &params)? {
            Ok(value) => serde_json::from_value(value)?,
            Err(problem) => return Err(ClientError::Refused(problem.title)),
        };
        // The quiet between two events has no bound.
        self.stream.get_mut().set_read_timeout(None)?;
        let hello = begun.newest.filter(|_| last.is_none()).map(|id| Happened {
            id,
            topic: HELLO.to_owned(),
            data: Value::Null,
        });
        if begun.gone && !heard(None) || hello.is_some_and(|hello| !heard(Some(hello))) {
            return Ok(());
        }
        let mut events = begun.missed;
        loop {
            for event in events {
                if !heard(Some(event)) {
                    return Ok(());
                }
            }
            let line: EventLine = serde_json::from_slice(&self.line()?)?;
            events = line.events;
        }
    }
}
