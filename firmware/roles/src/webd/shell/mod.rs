//! The loop: sockets of clients, lanes, calls and events; every decision is the front's.

mod calls;
mod clients;
mod doors;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use embassy_time::Instant;
use lintel_ipc::call::Reply;
use lintel_ipc::init::ChannelKind;
use lintel_ipc::webd::{FromWebd, TlsIdentity, ToWebd};
use lintel_model::RoleName;
use lintel_model::services::WebSpec;
use lintel_rt::channel::{Channel, ChannelError};
use lintel_rt::poller::{Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};

use super::bridge::Jobs;
use super::front::connection::{Connection, Request};
use super::front::events::History;
use super::front::head::{Hosts, Refusal};
use super::lanes::Lanes;
use super::tls::{self, Tls};
pub(crate) use doors::Doors;
use doors::{Door, Way};

const JOBS: Token = 100;
const HTTP: Token = 101;
const SESSION: Token = 102;
const HTTPS: Token = 103;
const FIRST_CLIENT: Token = 1000;
/// Calls without a reply; workers and streams together stay far below, unless controld hangs.
const CALLS_MAX: usize = 128;

type Session = Channel<FromWebd, ToWebd>;

/// Everything that the loop holds.
pub(crate) struct Shell {
    ctx: RoleContext,
    http: Door,
    https: Option<Door>,
    /// For connections to come; until controld has sent one, nobody is let in at `https`.
    tls: Option<Arc<rustls::ServerConfig>>,
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
    /// Streams of events as controld was told of them.
    streams_told: u32,
}

struct Client {
    socket: TcpStream,
    peer: IpAddr,
    local: IpAddr,
    link: Option<u32>,
    machine: Connection,
    tls: Option<Tls>,
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
    /// The loop around inherited listeners.
    pub(crate) fn new(
        ctx: RoleContext,
        doors: Doors,
        lanes: Lanes,
        jobs: Jobs,
    ) -> Result<Self, RoleError> {
        ctx.poller
            .add(&jobs.wake, JOBS, Interest::READ)
            .map_err(RoleError::io("watching the bridge"))?;
        Ok(Self {
            history: History::default(),
            ctx,
            http: doors.http,
            https: doors.https,
            tls: None,
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
            streams_told: 0,
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
                    HTTP => self.on_door(Way::Http)?,
                    HTTPS => self.on_door(Way::Https)?,
                    token if token < JOBS => self.on_lane(*event)?,
                    token => self.on_client(token, *event),
                }
            }
            self.on_time()?;
            self.dispatch();
            self.tell_streams();
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
        let doors = std::iter::once(&self.http).chain(&self.https);
        let doors = doors.filter_map(|door| door.open_again);
        clients.flatten().chain(doors).min()
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
                InitEvent::Channel { .. }
                | InitEvent::Reply { .. }
                | InitEvent::Services(_)
                | InitEvent::Reset(_)
                | InitEvent::Data(_) => {}
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
        self.streams_told = 0;
        Ok(())
    }

    /// How many listen is controld's to tell.
    fn tell_streams(&mut self) {
        let open = self.clients.values().filter(|c| c.stream.is_some());
        let open = u32::try_from(open.count()).unwrap_or(u32::MAX);
        if open == self.streams_told {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        self.streams_told = open;
        if let Err(error) = session.send(&FromWebd::Streams(open)) {
            return self.lose_session(&error);
        }
        self.watch_session();
    }

    /// Nobody will answer what was asked: workers hear it by their channel's end, streams that
    /// were about to begin are told to come back.
    fn end_session(&mut self) {
        self.session = None;
        let now = self.now();
        for waiter in std::mem::take(&mut self.calls).into_values() {
            if let Waiter::Stream { client: id, .. } = waiter
                && let Some(client) = self.clients.get_mut(&id)
            {
                client.machine.refuse(now, Refusal::Busy, false);
                self.settle(id);
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
                ToWebd::Tls(identity) => self.on_identity(&identity),
                ToWebd::Reply(reply) => self.on_reply(reply),
                ToWebd::History(events) => self.history.begin(&events),
                ToWebd::Events(events) => events.iter().for_each(|event| self.on_event(event)),
            }
        }
        self.watch_session();
    }

    fn lose_session(&mut self, error: &ChannelError) {
        log::warn!("the session with controld ended: {error}");
        self.end_session();
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session
            && let Err(error) = session.watch(&self.ctx.poller, SESSION)
        {
            log::error!("watching the session failed: {error}");
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
        self.open_doors();
    }

    /// For connections from now on; those that are there keep what they began with.
    fn on_identity(&mut self, identity: &TlsIdentity) {
        match tls::config(identity) {
            Ok(config) => {
                self.tls = Some(config);
                self.open_doors();
            }
            Err(error) => log::error!("the certificate cannot be used: {error}"),
        }
    }

    fn on_time(&mut self) -> Result<(), RoleError> {
        let now = self.now();
        let doors = std::iter::once(&mut self.http).chain(&mut self.https);
        let mut again = false;
        for door in doors {
            again |= door.open_again.take_if(|at| *at <= now).is_some();
        }
        if again {
            self.open_doors();
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
}
