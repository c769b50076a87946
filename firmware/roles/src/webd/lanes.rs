//! The way to tiny_http and back: a fixed number of connections over its Unix listener.
//!
//! tiny_http has no timeouts and starts a thread for each connection. So it gets [`LANES`]
//! connections, which are made before the sandbox closes and never end; each carries one whole
//! request at a time, written by the front in a form that cannot be misread, and is free again
//! when its answer is whole. Once they are accepted the listener is shut down: no other process
//! can reach the application past the front.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use lintel_rt::poller::{Event, Interest, Poller};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, shutdown, socket,
};

use super::app::App;
use super::front::answer::{self, Answer};
use super::front::connection::Request;
use super::front::limits::{LANES, READ_BYTES_MAX};

/// Stack of a worker: templates and JSON need a tenth of it.
const WORKER_STACK_BYTES: usize = 512 * 1024;

/// The ends that exist before the sandbox closes.
#[derive(Debug)]
pub(crate) struct Prepared {
    listener: UnixListener,
    ends: Vec<UnixStream>,
}

/// The lanes, open.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    socket: UnixStream,
    /// The connection whose request is in work, even when that connection is gone.
    client: Option<u64>,
    broken: bool,
    out: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
}

/// How a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The client's address.
    pub(crate) peer: IpAddr,
    /// The link of its connection.
    pub(crate) link: Option<u32>,
    /// Over TLS.
    pub(crate) secure: bool,
}

/// What came of an event.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Nothing whole yet.
    Nothing,
    /// The answer for this connection.
    Answer(u64, Answer),
    /// The lane broke; the connection gets no answer.
    Broken(Option<u64>),
}

/// Makes the listener and the connections, which wait in its backlog.
pub(crate) fn prepare() -> io::Result<Prepared> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // No name asked for: the kernel picks one in the abstract namespace (unix(7), autobind).
    bind(fd.as_raw_fd(), &UnixAddr::new_unnamed())?;
    listen(&fd, Backlog::new(i32::try_from(LANES).unwrap_or(1))?)?;
    let listener = UnixListener::from(fd);
    let address = listener.local_addr()?;
    let ends = (0..LANES).map(|_| UnixStream::connect_addr(&address));
    Ok(Prepared {
        ends: ends.collect::<io::Result<_>>()?,
        listener,
    })
}

impl Prepared {
    /// Starts tiny_http and its workers; to be called when the sandbox is closed, since threads
    /// do not get it afterwards. Watches the lanes under the tokens from 0 to `LANES` - 1.
    pub(crate) fn start(self, app: &Arc<App>, poller: &Poller) -> io::Result<Lanes> {
        let accepted = self.listener.try_clone()?;
        let server = tiny_http::Server::from_listener(self.listener, None);
        let server = Arc::new(server.map_err(io::Error::other)?);
        // Its destructor wants a path, which this listener has not; and it is never to end.
        std::mem::forget(Arc::clone(&server));
        let mut lanes = Vec::new();
        for (token, socket) in (0..).zip(self.ends) {
            prove(&socket, &server, app)?;
            socket.set_nonblocking(true)?;
            poller.add(&socket, token, Interest::READ)?;
            lanes.push(Lane {
                socket,
                client: None,
                broken: false,
                out: Vec::new(),
                sent: 0,
                inbox: Vec::new(),
            });
        }
        close_behind(&accepted, &server)?;
        for n in 0..LANES {
            let (server, app) = (Arc::clone(&server), Arc::clone(app));
            std::thread::Builder::new()
                .name(format!("web-{n}"))
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || work(&server, &app))?;
        }
        Ok(Lanes { lanes })
    }
}

/// One request there and back: then the connection is accepted and its thread runs.
fn prove(socket: &UnixStream, server: &tiny_http::Server, app: &App) -> io::Result<()> {
    (&mut &*socket).write_all(b"GET /static/icon.svg HTTP/1.1\r\nHost: lane\r\n\r\n")?;
    app.respond(server.recv()?);
    let mut got = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let n = (&mut &*socket).read(&mut chunk)?;
        got.extend_from_slice(chunk.get(..n).unwrap_or_default());
        match answer::take(&mut got) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if n > 0 => {}
            _ => return Err(io::Error::other("a lane does not answer")),
        }
    }
}

/// Ends the listener. tiny_http's accepting thread tells that as an error, to its log and to
/// whoever receives next; it is neither news nor an error, so it is heard here, with the log off.
fn close_behind(listener: &UnixListener, server: &tiny_http::Server) -> io::Result<()> {
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    let done = shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    let heard = done.map(|()| server.recv().is_err());
    log::set_max_level(level);
    match heard? {
        true => Ok(()),
        false => Err(io::Error::other("the listener did not end")),
    }
}

fn work(server: &tiny_http::Server, app: &App) {
    loop {
        match server.recv() {
            Ok(request) => app.respond(request),
            Err(error) => log::error!("tiny_http failed: {error}"),
        }
    }
}

impl Lanes {
    /// Whether a request can be handed on now.
    pub(crate) fn has_room(&self) -> bool {
        self.lanes.iter().any(Lane::is_free)
    }

    /// Hands a request on; to be called when there is room.
    pub(crate) fn send(
        &mut self,
        client: u64,
        arrival: Arrival,
        request: &Request,
        poller: &Poller,
    ) -> io::Result<()> {
        let mut lanes = (0..).zip(&mut self.lanes);
        let Some((token, lane)) = lanes.find(|(_, lane)| lane.is_free()) else {
            return Err(io::Error::other("no lane is free"));
        };
        lane.client = Some(client);
        lane.out = write_request(arrival, request);
        lane.sent = 0;
        lane.flush()?;
        lane.watch(token, poller)
    }

    /// Whether no lane is left, so that the role is of no use any more.
    pub(crate) fn all_broken(&self) -> bool {
        self.lanes.iter().all(|lane| lane.broken)
    }

    /// Takes an event under a lane's token.
    pub(crate) fn on_event(&mut self, event: Event, poller: &Poller) -> Delivery {
        let token = usize::try_from(event.token).unwrap_or(usize::MAX);
        let Some(lane) = self.lanes.get_mut(token) else {
            return Delivery::Nothing;
        };
        match lane.on_event(event, poller) {
            Ok(Some(answer)) => match lane.client.take() {
                Some(client) => Delivery::Answer(client, answer),
                None => Delivery::Nothing,
            },
            Ok(None) => Delivery::Nothing,
            Err(error) => {
                log::error!("a lane to the application broke: {error}");
                lane.broken = true;
                let _ = poller.remove(&lane.socket);
                Delivery::Broken(lane.client.take())
            }
        }
    }
}

impl Lane {
    fn is_free(&self) -> bool {
        self.client.is_none() && !self.broken
    }

    fn on_event(&mut self, event: Event, poller: &Poller) -> io::Result<Option<Answer>> {
        if event.writable && self.sent < self.out.len() {
            self.flush()?;
            self.watch(event.token, poller)?;
        }
        if !event.readable {
            return Ok(None);
        }
        let mut chunk = [0; READ_BYTES_MAX];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self
                    .inbox
                    .extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let answer = answer::take(&mut self.inbox).map_err(io::Error::other)?;
        if answer.is_some() {
            self.inbox = Vec::new();
        }
        Ok(answer)
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        Ok(())
    }

    fn watch(&self, token: u64, poller: &Poller) -> io::Result<()> {
        let interest = if self.out.is_empty() {
            Interest::READ
        } else {
            Interest::BOTH
        };
        poller.modify(&self.socket, token, interest)
    }
}

/// Name of the field that carries the client's address to the application; the front passes no
/// field of this name on, so a client cannot set it.
pub(crate) const PEER_FIELD: &str = "x-lintel-peer";
/// The same for the kernel index of the link on which the connection arrived.
pub(crate) const LINK_FIELD: &str = "x-lintel-link";

/// Present when the request came over TLS.
pub(crate) const SECURE_FIELD: &str = "x-lintel-secure";

/// The request anew, in the one form that tiny_http cannot read otherwise.
fn write_request(arrival: Arrival, request: &Request) -> Vec<u8> {
    let Arrival { peer, link, secure } = arrival;
    let head = &request.head;
    // The front drops the body of the answer itself.
    let method = match head.method {
        "HEAD" => "GET",
        method => method,
    };
    let mark = if head.query.is_empty() { "" } else { "?" };
    let mut text = format!(
        "{method} {}{mark}{} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{PEER_FIELD}: {peer}\r\n",
        head.path,
        head.query,
        head.host,
        request.body.len()
    );
    if let Some(link) = link {
        text.push_str(&format!("{LINK_FIELD}: {link}\r\n"));
    }
    if secure {
        text.push_str(&format!("{SECURE_FIELD}: yes\r\n"));
    }
    for (name, value) in &head.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}
