//! The loop: sockets of clients, lanes, calls and events; every decision is the front's.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;

use embassy_time::{Duration, Instant};
use lintel_ipc::call::{Call, Caller, Origin, Reply};
use lintel_ipc::init::ChannelKind;
use lintel_ipc::webd::{FromWebd, ToWebd};
use lintel_model::RoleName;
use lintel_model::services::WebSpec;
use lintel_rt::channel::{Channel, ChannelError};
use lintel_rt::poller::{Event, Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use serde_json::Value;

use super::app::token_of;
use super::bridge::Jobs;
use super::front::admission::{self, Resident, Source, Verdict};
use super::front::answer::{self, Answer};
use super::front::connection::{Connection, Input, Output, Request, Standing, Surroundings};
use super::front::events::{HEARTBEAT, History};
use super::front::head::{Hosts, Refusal};
use super::front::limits;
use super::lanes::{Delivery, Lanes};

const JOBS: Token = 100;
const LISTENER: Token = 101;
const SESSION: Token = 102;
const FIRST_CLIENT: Token = 1000;
/// Calls without a reply; workers and streams together stay far below, unless controld hangs.
const CALLS_MAX: usize = 128;
/// Pause after the kernel refused an accept, so that a lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Session = Channel<FromWebd, ToWebd>;

/// Everything that the loop holds.
pub(crate) struct Shell {
    ctx: RoleContext,
    listener: TcpListener,
    listening: bool,
    listen_again: Option<Instant>,
    lanes: Lanes,
    jobs: Jobs,
    session: Option<Session>,
    spec: Option<WebSpec>,
    hosts: Hosts,
    clients: HashMap<Token, Client>,
    next_client: Token,
    queue: VecDeque<(Token, Box<Request>)>,
    calls: BTreeMap<u64, Waiter>,
    next_call: u64,
    history: History,
}

struct Client {
    socket: TcpStream,
    peer: IpAddr,
    local: IpAddr,
    link: Option<u32>,
    machine: Connection,
    interest: Interest,
    stream: Option<Stream>,
}

struct Stream {
    token: Option<String>,
    heartbeat_at: Instant,
    recheck_at: Instant,
}

/// Who waits for a reply.
enum Waiter {
    Worker(SyncSender<Reply>),
    /// A stream may begin when the session behind its token holds.
    Stream {
        client: Token,
        token: Option<String>,
        last_id: Option<String>,
    },
    /// A stream may go on.
    Recheck(Token),
}

impl Shell {
    /// The loop around an inherited listener.
    pub(crate) fn new(
        ctx: RoleContext,
        listener: OwnedFd,
        lanes: Lanes,
        jobs: Jobs,
    ) -> Result<Self, RoleError> {
        let listener = TcpListener::from(listener);
        listener
            .set_nonblocking(true)
            .map_err(RoleError::io("preparing the listener"))?;
        ctx.poller
            .add(&jobs.wake, JOBS, Interest::READ)
            .map_err(RoleError::io("watching the bridge"))?;
        Ok(Self {
            history: History::new(&ctx.start.boot_id),
            ctx,
            listener,
            listening: false,
            listen_again: None,
            lanes,
            jobs,
            session: None,
            spec: None,
            hosts: Hosts::new([]),
            clients: HashMap::new(),
            next_client: FIRST_CLIENT,
            queue: VecDeque::new(),
            calls: BTreeMap::new(),
            next_call: 1,
        })
    }

    /// Serves until init says stop.
    pub(crate) fn run(mut self) -> Result<(), RoleError> {
        self.ctx.ready()?;
        let mut events = Vec::new();
        loop {
            self.ctx
                .poller
                .wait(self.deadline(), &mut events)
                .map_err(RoleError::io("waiting"))?;
            for event in &events {
                match event.token {
                    INIT_TOKEN => {
                        if self.on_init()? {
                            return Ok(());
                        }
                    }
                    SESSION => self.on_session(),
                    JOBS => self.on_jobs(),
                    LISTENER => self.on_listener()?,
                    token if token < JOBS => self.on_lane(*event)?,
                    token => self.on_client(token, *event),
                }
            }
            self.on_time()?;
            self.dispatch();
        }
    }

    fn now(&self) -> Instant {
        self.ctx.clock.now()
    }

    fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.values().flat_map(|client| {
            let stream = client.stream.as_ref();
            let stream = stream.map(|s| s.heartbeat_at.min(s.recheck_at));
            [client.machine.deadline(), stream]
        });
        clients.flatten().chain(self.listen_again).min()
    }

    /// Whether to stop.
    fn on_init(&mut self) -> Result<bool, RoleError> {
        while let Some(event) = self.ctx.on_init()? {
            match event {
                InitEvent::Channel {
                    with: RoleName::Controld,
                    kind: ChannelKind::Session,
                    fd,
                } => self.begin_session(fd)?,
                InitEvent::Stop => return Ok(true),
                // The page asks controld about /data; other channels are not for us.
                InitEvent::Channel { .. } | InitEvent::Reply { .. } | InitEvent::Data(_) => {}
            }
        }
        Ok(false)
    }

    fn begin_session(&mut self, fd: OwnedFd) -> Result<(), RoleError> {
        self.end_session();
        let session = Channel::new(fd).map_err(RoleError::io("taking the session"))?;
        self.ctx
            .poller
            .add(&session, SESSION, Interest::READ)
            .map_err(RoleError::io("watching the session"))?;
        self.session = Some(session);
        Ok(())
    }

    /// Nobody will answer what was asked: workers hear it by their channel's end.
    fn end_session(&mut self) {
        self.session = None;
        let now = self.now();
        for waiter in std::mem::take(&mut self.calls).into_values() {
            if let Waiter::Stream { client, .. } = waiter
                && let Some(client) = self.clients.get_mut(&client)
            {
                client.machine.refuse(now, Refusal::Busy, false);
            }
        }
    }

    fn on_session(&mut self) {
        while let Some(session) = &mut self.session {
            let message = match session.flush().and_then(|()| session.recv()) {
                Ok(Some((message, _))) => message,
                Ok(None) => break,
                Err(error) => return self.lose_session(&error),
            };
            match message {
                ToWebd::Spec(spec) => self.on_spec(spec),
                ToWebd::Reply(reply) => self.on_reply(reply),
                ToWebd::Event { id, kind, data } => self.on_event(id, &kind, &data),
            }
        }
        self.watch_session();
    }

    fn lose_session(&mut self, error: &ChannelError) {
        log::warn!("the session with controld ended: {error}");
        self.end_session();
        let ids: Vec<Token> = self.clients.keys().copied().collect();
        ids.into_iter().for_each(|id| self.settle(id));
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session {
            let interest = Interest {
                read: true,
                write: session.wants_write(),
            };
            if let Err(error) = self.ctx.poller.modify(session, SESSION, interest) {
                log::error!("watching the session failed: {error}");
            }
        }
    }

    fn on_spec(&mut self, spec: WebSpec) {
        self.hosts = Hosts::new(spec.hosts.iter().map(String::as_str));
        self.spec = Some(spec);
        let gone: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, client)| self.link_of(client.local).is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.clients.remove(&id);
        }
        self.listen();
    }

    /// Listens from the first snapshot on: before it nobody could be told from anybody, and
    /// who comes early waits in the backlog.
    fn listen(&mut self) {
        if self.spec.is_none() || self.listening {
            return;
        }
        match self
            .ctx
            .poller
            .add(&self.listener, LISTENER, Interest::READ)
        {
            Ok(()) => {
                self.listening = true;
                self.listen_again = None;
            }
            Err(error) => log::error!("watching the listener failed: {error}"),
        }
    }

    /// The link that carries the local address of a connection: `None` when the UI is not
    /// served there, `Some(None)` for an address without a link of its own.
    fn link_of(&self, local: IpAddr) -> Option<Option<u32>> {
        let links = self.spec.iter().flat_map(|spec| &spec.links);
        let mut at = links.filter(|link| link.address == local);
        match at.next() {
            Some(link) => Some(Some(link.index)),
            None if local.is_loopback() || self.ctx.start.run.is_some() => Some(None),
            None => None,
        }
    }

    fn on_listener(&mut self) -> Result<(), RoleError> {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            match self.listener.accept() {
                Ok((socket, peer)) => self.admit(socket, peer.ip().to_canonical()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log::warn!("accepting a connection failed: {error}");
                    self.ctx
                        .poller
                        .remove(&self.listener)
                        .map_err(RoleError::io("pausing the listener"))?;
                    self.listening = false;
                    self.listen_again = Some(self.now() + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a connection in, or drops it: the client then sees a reset.
    fn admit(&mut self, socket: TcpStream, peer: IpAddr) {
        let Ok(local) = socket.local_addr().map(|a| a.ip().to_canonical()) else {
            return;
        };
        let Some(link) = self.link_of(local) else {
            return;
        };
        let resident = |(id, client): (&Token, &Client)| Resident {
            id: *id,
            source: client.peer.into(),
            standing: client.machine.standing(),
            since: client.machine.since(),
        };
        let residents: Vec<Resident> = self.clients.iter().map(resident).collect();
        match admission::decide(peer.into(), &residents) {
            Verdict::Admit => {}
            Verdict::Replace(id) => {
                self.clients.remove(&id);
            }
            Verdict::Refuse => return,
        }
        let ready = socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_nodelay(true));
        let id = self.next_client;
        let watched = ready.and_then(|()| self.ctx.poller.add(&socket, id, Interest::READ));
        if let Err(error) = watched {
            log::debug!("a connection was gone before it began: {error}");
            return;
        }
        self.next_client += 1;
        let client = Client {
            socket,
            peer,
            local,
            link,
            machine: Connection::new(self.now(), local),
            interest: Interest::READ,
            stream: None,
        };
        self.clients.insert(id, client);
    }

    fn on_client(&mut self, id: Token, event: Event) {
        let now = self.now();
        let held: usize = self.clients.values().map(|c| c.machine.body_bytes()).sum();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: limits::BODIES_BYTES_MAX.saturating_sub(held),
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (reads, _) = client.machine.interest();
        if event.readable && reads {
            let mut chunk = [0; limits::READ_BYTES_MAX];
            match client.socket.read(&mut chunk) {
                Ok(0) => client.machine.handle_input(now, Input::ReadEnd, around),
                Ok(n) => {
                    let bytes = chunk.get(..n).unwrap_or_default();
                    client
                        .machine
                        .handle_input(now, Input::Received(bytes), around);
                }
                Err(e) if is_passing(&e) => {}
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        } else if event.hangup {
            self.clients.remove(&id);
            return;
        }
        self.settle(id);
    }

    /// Does what the machine wants done, until it wants nothing more.
    fn settle(&mut self, id: Token) {
        loop {
            let now = self.now();
            let Some(client) = self.clients.get_mut(&id) else {
                return;
            };
            match client.machine.poll_output() {
                Output::Request(request) => {
                    self.on_request(id, request);
                    continue;
                }
                Output::EndSending => {
                    let _ = client.socket.shutdown(Shutdown::Write);
                    continue;
                }
                Output::Close => {
                    self.clients.remove(&id);
                    return;
                }
                Output::Nothing => {}
            }
            if client.machine.pending().is_empty() {
                break;
            }
            match client.socket.write(client.machine.pending()) {
                Ok(n) => {
                    let around = Surroundings {
                        hosts: &self.hosts,
                        bodies_bytes_left: limits::BODIES_BYTES_MAX,
                    };
                    client.machine.handle_input(now, Input::Sent(n), around);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.clients.remove(&id);
                    return;
                }
            }
        }
        self.watch(id);
    }

    fn watch(&mut self, id: Token) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let (read, write) = client.machine.interest();
        let interest = Interest { read, write };
        if interest == client.interest {
            return;
        }
        client.interest = interest;
        if self
            .ctx
            .poller
            .modify(&client.socket, id, interest)
            .is_err()
        {
            self.clients.remove(&id);
        }
    }

    fn on_request(&mut self, id: Token, request: Box<Request>) {
        let get = matches!(request.head.method, "GET" | "HEAD");
        match request.head.path.as_str() {
            "/health" if get => {
                let up = Answer {
                    status: 200,
                    fields: vec![
                        ("content-type", "application/json".to_owned()),
                        ("cache-control", "no-store".to_owned()),
                    ],
                    body: br#"{"status":"up"}"#.to_vec(),
                };
                self.answer(id, &up);
            }
            "/api/events" if request.head.method == "GET" => self.ask_stream(id, &request),
            _ => self.queue.push_back((id, request)),
        }
    }

    /// Hands the answer to the machine; whoever called settles the connection.
    fn answer(&mut self, id: Token, answer: &Answer) {
        let now = self.now();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: limits::BODIES_BYTES_MAX,
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client
                .machine
                .handle_input(now, Input::Answer(answer), around);
        }
    }

    fn dispatch(&mut self) {
        while !self.queue.is_empty() && self.lanes.has_room() {
            let waiting: usize = self
                .clients
                .values()
                .map(|c| c.machine.answer_bytes())
                .sum();
            if waiting > limits::ANSWERS_BYTES_MAX {
                return;
            }
            let Some((id, request)) = self.queue.pop_front() else {
                return;
            };
            let Some(client) = self.clients.get(&id) else {
                continue;
            };
            if client.machine.standing() != Standing::Busy {
                continue;
            }
            let sent = self
                .lanes
                .send(id, client.peer, client.link, &request, &self.ctx.poller);
            if let Err(error) = sent {
                log::error!("handing a request on failed: {error}");
                self.answer(id, &answer::refusal(Refusal::Busy, false));
                self.settle(id);
            }
        }
    }

    fn on_lane(&mut self, event: Event) -> Result<(), RoleError> {
        match self.lanes.on_event(event, &self.ctx.poller) {
            Delivery::Nothing => {}
            Delivery::Answer(id, answer) => {
                self.answer(id, &answer);
                self.settle(id);
            }
            Delivery::Broken(id) => {
                if let Some(id) = id {
                    self.answer(id, &answer::refusal(Refusal::NoAnswer, false));
                    self.settle(id);
                }
                if self.lanes.all_broken() {
                    let source = io::ErrorKind::BrokenPipe.into();
                    return Err(RoleError::io("talking to tiny_http")(source));
                }
            }
        }
        Ok(())
    }

    fn on_jobs(&mut self) {
        self.jobs.drain_wake();
        while let Some(job) = self.jobs.next() {
            self.call(
                job.method,
                job.params,
                job.caller,
                Waiter::Worker(job.reply),
            );
        }
    }

    /// Sends a call. Without a session the waiter is dropped, which is its answer.
    fn call(&mut self, method: &str, params: Value, caller: Caller, waiter: Waiter) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        let id = self.next_call;
        self.next_call += 1;
        let call = Call {
            id,
            method: method.to_owned(),
            params,
            caller,
        };
        if let Err(error) = session.send(&FromWebd::Call(call)) {
            self.lose_session(&error);
            return false;
        }
        self.calls.insert(id, waiter);
        while self.calls.len() > CALLS_MAX {
            self.calls.pop_first();
        }
        self.watch_session();
        true
    }

    fn on_reply(&mut self, reply: Reply) {
        match self.calls.remove(&reply.id) {
            // A worker that waits no longer has closed its end.
            Some(Waiter::Worker(to)) => {
                let _ = to.try_send(reply);
            }
            Some(Waiter::Stream {
                client,
                token,
                last_id,
            }) => self.begin_stream(client, token, last_id.as_deref(), holds(&reply)),
            Some(Waiter::Recheck(client)) => {
                if !holds(&reply) {
                    self.clients.remove(&client);
                }
            }
            None => {}
        }
    }

    fn ask_stream(&mut self, id: Token, request: &Request) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let source = Source::from(client.peer);
        let open = |(_, c): &(&Token, &Client)| c.stream.is_some();
        let own = |(_, c): &(&Token, &Client)| Source::from(c.peer) == source;
        let all = self.clients.iter().filter(open).count();
        let ours = self.clients.iter().filter(open).filter(own).count();
        if all >= limits::STREAMS_MAX || ours >= limits::STREAMS_PER_SOURCE_MAX {
            return self.answer(id, &answer::refusal(Refusal::Busy, false));
        }
        let token = token_of(&request.head.fields);
        let waiter = Waiter::Stream {
            client: id,
            token: token.clone(),
            last_id: request.head.field("last-event-id").map(str::to_owned),
        };
        let caller = caller(client, token);
        if !self.call("auth.status", serde_json::json!({}), caller, waiter) {
            self.answer(id, &answer::refusal(Refusal::Busy, false));
        }
    }

    fn begin_stream(&mut self, id: Token, token: Option<String>, last: Option<&str>, holds: bool) {
        let now = self.now();
        if !holds {
            let problem = serde_json::json!({
                "status": 401,
                "type": "not-logged-in",
                "title": "A session is needed",
            });
            let refused = Answer {
                status: 401,
                fields: vec![("content-type", "application/problem+json".to_owned())],
                body: problem.to_string().into_bytes(),
            };
            self.answer(id, &refused);
            return self.settle(id);
        }
        let mut first = answer::stream_head();
        first.extend_from_slice(&self.history.resume(last));
        self.stream_input(id, Input::Stream(&first));
        if let Some(client) = self.clients.get_mut(&id) {
            client.stream = Some(Stream {
                token,
                heartbeat_at: now + limits::STREAM_HEARTBEAT,
                recheck_at: now + limits::STREAM_RECHECK,
            });
        }
    }

    fn on_event(&mut self, number: u64, kind: &str, data: &Value) {
        let frame = self.history.push(number, kind, data).to_vec();
        let streams = self.clients.iter().filter(|(_, c)| c.stream.is_some());
        let ids: Vec<Token> = streams.map(|(id, _)| *id).collect();
        for id in ids {
            self.stream_input(id, Input::Event(&frame));
        }
    }

    fn stream_input(&mut self, id: Token, input: Input<'_>) {
        let now = self.now();
        let around = Surroundings {
            hosts: &self.hosts,
            bodies_bytes_left: 0,
        };
        if let Some(client) = self.clients.get_mut(&id) {
            client.machine.handle_input(now, input, around);
            self.settle(id);
        }
    }

    fn on_time(&mut self) -> Result<(), RoleError> {
        let now = self.now();
        if self.listen_again.is_some_and(|at| at <= now) {
            self.listen_again = None;
            self.listen();
        }
        let due = |client: &Client| client.machine.deadline().is_some_and(|at| at <= now);
        let late = self.clients.iter().filter(|(_, c)| due(c));
        let late: Vec<Token> = late.map(|(id, _)| *id).collect();
        for id in late {
            if let Some(client) = self.clients.get_mut(&id) {
                client.machine.handle_timeout(now);
            }
            self.settle(id);
        }
        let streams = self.clients.iter().filter(|(_, c)| c.stream.is_some());
        let streams: Vec<Token> = streams.map(|(id, _)| *id).collect();
        for id in streams {
            self.keep_stream(id, now);
        }
        Ok(())
    }

    fn keep_stream(&mut self, id: Token, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some(stream) = &mut client.stream else {
            return;
        };
        let beat = stream.heartbeat_at <= now;
        if beat {
            stream.heartbeat_at = now + limits::STREAM_HEARTBEAT;
        }
        if stream.recheck_at <= now {
            stream.recheck_at = now + limits::STREAM_RECHECK;
            let token = stream.token.clone();
            let caller = caller(client, token);
            // While controld is away the stream stays: it says nothing new.
            self.call(
                "auth.status",
                serde_json::json!({}),
                caller,
                Waiter::Recheck(id),
            );
        }
        if beat {
            self.stream_input(id, Input::Event(HEARTBEAT));
        }
    }
}

fn caller(client: &Client, token: Option<String>) -> Caller {
    Caller {
        origin: Origin::Web,
        address: Some(client.peer),
        link_index: client.link,
        token,
    }
}

/// Whether `auth.status` says that this caller may watch.
fn holds(reply: &Reply) -> bool {
    let flag = |value: &Value, name: &str| value.get(name).and_then(Value::as_bool) == Some(true);
    reply
        .result
        .as_ref()
        .is_ok_and(|value| flag(value, "logged_in") || flag(value, "data_failed"))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
