//! The loop.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use embassy_time::{Duration, Instant};
use lintel_ipc::dnsd::{FromDnsd, ToDnsd};
use lintel_ipc::init::ChannelKind;
use lintel_model::RoleName;
use lintel_model::resolver::DnsCounters;
use lintel_proto::dns::{
    Asker, Counters, Event, Forwarder, Input, Output, Reason, SocketSlot, Transport, Verdict,
};
use lintel_rt::channel::Channel;
use lintel_rt::datagrams::{BATCH_MAX, Batch, Meta, send_one};
use lintel_rt::poller::{self, Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_wire::dns::{MESSAGE_LEN_MAX, UDP_EDNS_LEN};
use ring::rand::SystemRandom;

use super::KernelRng;
use super::clients::Clients;
use super::spec::{self, Links};
use super::upstream::{Heard, Sockets};

const UDP_TOKEN: Token = 1;
const TCP_TOKEN: Token = 2;
const SESSION_TOKEN: Token = 3;
/// Tokens of upstream sockets and of TCP clients begin here; both leave room for all numbers.
const UPSTREAM_TOKENS: Token = 1 << 32;
const CLIENT_TOKENS: Token = 1 << 48;

/// Batches taken from the UDP socket before others have their turn.
const BATCHES_PER_TURN_MAX: usize = 8;

/// Longest question over UDP that is read whole. Real ones have a hundred octets.
const QUESTION_LEN_MAX: usize = 1_500;

/// Statistics go out at most this often.
const STATISTICS_MS_MIN: u64 = 1_000;

/// What the shell itself drops, by name.
const OWN_DROPS: [&str; 3] = ["link-foreign", "tcp-over-limit", "udp-unsent"];

/// The role's state.
pub(super) struct Server {
    ctx: RoleContext,
    udp: OwnedFd,
    tcp: TcpListener,
    batch: Batch,
    /// Room for a reply over TCP.
    reply: Vec<u8>,
    forwarder: Forwarder,
    rng: KernelRng,
    links: Links,
    clients: Clients,
    upstream: Sockets,
    heard: Vec<Heard>,
    session: Option<Channel<FromDnsd, ToDnsd>>,
    /// What the session was told last, and when; `None`: nothing yet.
    reported: Option<(Counters, [u64; 3])>,
    reported_at: Instant,
    /// Questions over UDP dropped for their link, replies that the kernel did not take.
    udp_foreign: u64,
    udp_unsent: u64,
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Stop,
}

impl Server {
    pub(super) fn new(ctx: RoleContext, udp: OwnedFd, tcp: OwnedFd) -> Result<Self, RoleError> {
        let watch = RoleError::io("watching the sockets of port 53");
        ctx.poller
            .add(&udp, UDP_TOKEN, Interest::READ)
            .and_then(|()| ctx.poller.add(&tcp, TCP_TOKEN, Interest::READ))
            .map_err(watch)?;
        let mut rng = KernelRng(SystemRandom::new());
        let (config, links) = initial(&ctx);
        let forwarder = Forwarder::new(config, &mut rng);
        Ok(Self {
            udp,
            tcp: TcpListener::from(tcp),
            batch: Batch::new(QUESTION_LEN_MAX.max(UDP_EDNS_LEN)),
            reply: vec![0; MESSAGE_LEN_MAX],
            forwarder,
            rng,
            links,
            clients: Clients::default(),
            upstream: Sockets::default(),
            heard: Vec::new(),
            session: None,
            reported: None,
            reported_at: ctx.clock.now(),
            udp_foreign: 0,
            udp_unsent: 0,
            ctx,
        })
    }

    pub(super) fn run(&mut self) -> Result<(), RoleError> {
        self.ctx.ready()?;
        let mut events = Vec::new();
        let mut deadline = None;
        loop {
            self.ctx
                .poller
                .wait(deadline, &mut events)
                .map_err(RoleError::io("waiting for events"))?;
            let now = self.ctx.clock.now();
            for event in events.drain(..) {
                if self.on_event(now, event)? == Flow::Stop {
                    return Ok(());
                }
            }
            self.forwarder.handle_timeout(now, &mut self.rng);
            let machine = self.drain(now);
            for connection in self.clients.overdue(now) {
                self.close_client(now, connection);
            }
            let statistics = self.report(now);
            deadline = [machine, self.clients.deadline(), statistics]
                .into_iter()
                .flatten()
                .min();
        }
    }

    fn on_event(&mut self, now: Instant, event: poller::Event) -> Result<Flow, RoleError> {
        match event.token {
            INIT_TOKEN => {
                while let Some(event) = self.ctx.on_init()? {
                    if self.on_init(event)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
            }
            UDP_TOKEN => self.serve_udp(now),
            TCP_TOKEN => {
                let token_of = |connection| CLIENT_TOKENS + connection;
                self.clients
                    .accept(now, &self.tcp, &self.links, &self.ctx.poller, token_of);
            }
            SESSION_TOKEN => self.on_session(now),
            token if token >= CLIENT_TOKENS => {
                let connection = token - CLIENT_TOKENS;
                if event.hangup || !self.clients.read(connection) {
                    self.close_client(now, connection);
                } else {
                    self.serve_client(now, connection);
                }
            }
            token => {
                let index =
                    usize::try_from(token - UPSTREAM_TOKENS.min(token)).unwrap_or(usize::MAX);
                self.upstream
                    .turn(&self.ctx.poller, token, index, &mut self.heard);
                self.pass_on(now);
            }
        }
        Ok(Flow::Go)
    }

    fn on_init(&mut self, event: InitEvent) -> Result<Flow, RoleError> {
        match event {
            InitEvent::Stop => return Ok(Flow::Stop),
            InitEvent::Channel {
                with: RoleName::Controld,
                kind: ChannelKind::Session,
                fd,
            } => {
                let session =
                    Channel::new(fd).map_err(RoleError::io("taking controld's channel"))?;
                self.ctx
                    .poller
                    .add(&session, SESSION_TOKEN, Interest::READ)
                    .map_err(RoleError::io("watching controld's channel"))?;
                self.session = Some(session);
                // The first statistics of a session go out at once.
                self.reported = None;
                if self.links == Links::Any {
                    self.links = Links::These(Vec::new());
                }
            }
            _ => {}
        }
        Ok(Flow::Go)
    }

    fn on_session(&mut self, now: Instant) {
        while let Some(session) = &mut self.session {
            let message = session.flush().and_then(|()| session.recv());
            match message {
                Ok(Some((ToDnsd::Spec(spec), _))) => {
                    let (config, links) = spec::from_spec(&spec);
                    self.links = links;
                    self.forwarder.configure(now, config, &mut self.rng);
                    self.reported = None;
                }
                Ok(Some((ToDnsd::Flush, _))) => {
                    self.forwarder.flush();
                    self.reported = None;
                }
                Ok(None) => {
                    self.watch_session();
                    return;
                }
                Err(error) => {
                    log::warn!(
                        "the session with controld is over, the last snapshot stays: {error}"
                    );
                    self.session = None;
                }
            }
        }
    }

    /// Answers what waits at the UDP socket.
    fn serve_udp(&mut self, now: Instant) {
        for _ in 0..BATCHES_PER_TURN_MAX {
            let Ok(received) = self.batch.receive(&self.udp) else {
                return;
            };
            for at in 0..received {
                let Some(datagram) = self.batch.datagram(at) else {
                    continue;
                };
                let meta = datagram.meta;
                if !self.links.allow(meta.link) || datagram.bytes.is_empty() {
                    self.udp_foreign += 1;
                    continue;
                }
                let asker = Asker {
                    peer: meta.peer,
                    local: meta.local,
                    link: meta.link,
                    transport: Transport::Udp,
                };
                let verdict = self.forwarder.handle_query(
                    now,
                    asker,
                    datagram.bytes,
                    datagram.reply,
                    &mut self.rng,
                );
                if let Verdict::Reply(len) = verdict {
                    self.batch.queue(at, len);
                }
            }
            self.udp_unsent += self.batch.send(&self.udp) as u64;
            if received < BATCH_MAX {
                return;
            }
        }
    }

    /// Answers the questions that a TCP client has sent.
    fn serve_client(&mut self, now: Instant, connection: u64) {
        while let Some((asker, message)) = self.clients.question(connection) {
            let verdict =
                self.forwarder
                    .handle_query(now, asker, message, &mut self.reply, &mut self.rng);
            match verdict {
                Verdict::Reply(len) => {
                    self.clients
                        .taken(now, connection, self.reply.get(..len), false);
                }
                Verdict::Waiting => self.clients.taken(now, connection, None, true),
                // What is no question on a connection ends it: nothing sane would follow.
                Verdict::Dropped => return self.close_client(now, connection),
            }
        }
        self.settle_client(now, connection);
    }

    fn settle_client(&mut self, now: Instant, connection: u64) {
        if !self
            .clients
            .settle(connection, &self.ctx.poller, CLIENT_TOKENS + connection)
        {
            self.close_client(now, connection);
        }
    }

    fn close_client(&mut self, now: Instant, connection: u64) {
        if self.clients.close(connection) {
            self.forwarder
                .handle_input(now, Input::AskerGone { connection }, &mut self.rng);
        }
    }

    /// Hands what upstreams sent to the machine.
    fn pass_on(&mut self, now: Instant) {
        for heard in std::mem::take(&mut self.heard) {
            let input = match &heard {
                Heard::Datagram {
                    slot,
                    from,
                    message,
                } => Input::UpstreamDatagram {
                    slot: *slot,
                    from: *from,
                    message,
                },
                Heard::Message { slot, message } => Input::UpstreamMessage {
                    slot: *slot,
                    message,
                },
                Heard::Failed { slot } => Input::UpstreamFailed { slot: *slot },
            };
            self.forwarder.handle_input(now, input, &mut self.rng);
        }
    }

    /// Does what the machine wants done; returns when it wants to be woken.
    fn drain(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.forwarder.poll_output() {
                Output::Reply { asker, message } => self.send_reply(now, asker, message),
                Output::SendDatagram { slot, to, message } => {
                    let token = upstream_token(slot);
                    let sent = self.upstream.send_datagram(
                        &self.ctx.poller,
                        token,
                        slot,
                        to,
                        &message,
                        &mut self.rng,
                    );
                    self.check_sent(now, slot, sent);
                }
                Output::SendStream { slot, to, message } => {
                    let token = upstream_token(slot);
                    let sent =
                        self.upstream
                            .send_stream(&self.ctx.poller, token, slot, to, &message);
                    self.check_sent(now, slot, sent);
                }
                Output::Close { slot } => self.upstream.close(slot),
                Output::Event(event) => log_event(event),
                Output::Timeout(at) => return at,
            }
        }
    }

    fn check_sent(&mut self, now: Instant, slot: SocketSlot, sent: std::io::Result<()>) {
        if let Err(error) = sent {
            log::debug!("a question cannot be sent: {error}");
            self.forwarder
                .handle_input(now, Input::UpstreamFailed { slot }, &mut self.rng);
        }
    }

    fn send_reply(&mut self, now: Instant, asker: Asker, mut message: Vec<u8>) {
        match asker.transport {
            Transport::Udp => {
                let meta = Meta {
                    peer: asker.peer,
                    local: asker.local,
                    link: asker.link,
                };
                if send_one(&self.udp, &meta, &mut message).is_err() {
                    self.udp_unsent += 1;
                }
            }
            Transport::Tcp { connection } => {
                self.clients.reply(now, connection, &message);
                // Room for the next question that it has sent already.
                self.serve_client(now, connection);
            }
        }
    }

    /// Sends statistics when they changed and it is time; returns when it will be. The counters
    /// alone tell whether anything changed: this runs after every batch.
    fn report(&mut self, now: Instant) -> Option<Instant> {
        self.session.as_ref()?;
        let own = self.own_drops();
        let is_old = |(counters, drops): &(Counters, [u64; 3])| {
            counters == self.forwarder.counters() && *drops == own
        };
        if self.reported.as_ref().is_some_and(is_old) {
            return None;
        }
        let due = self
            .reported_at
            .saturating_add(Duration::from_millis(STATISTICS_MS_MIN));
        if due > now && self.reported.is_some() {
            return Some(due);
        }
        self.reported_at = now;
        self.reported = Some((self.forwarder.counters().clone(), own));
        let statistics = FromDnsd::Statistics(self.statistics());
        if let Err(error) = self.session.as_mut()?.send(&statistics) {
            log::warn!("the session with controld is over, the last snapshot stays: {error}");
            self.session = None;
        }
        self.watch_session();
        None
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session {
            // A descriptor that cannot be watched is one whose end will be noticed on sending.
            let _ = session.watch(&self.ctx.poller, SESSION_TOKEN);
        }
    }

    fn own_drops(&self) -> [u64; 3] {
        let foreign = self.udp_foreign + self.clients.foreign;
        [foreign, self.clients.refused, self.udp_unsent]
    }

    fn statistics(&self) -> DnsCounters {
        let counters = self.forwarder.counters();
        let (cache_entries, cache_bytes) = self.forwarder.cache_size();
        let own = OWN_DROPS.into_iter().zip(self.own_drops());
        let machine = Reason::ALL
            .into_iter()
            .map(|reason| (reason.name(), counters.of(reason)));
        let dropped = machine.chain(own).filter(|(_, count)| *count > 0);
        let state = |good| if good { "good" } else { "failing" };
        DnsCounters {
            queries: counters.queries,
            cache_hits: counters.cache_hits,
            local: counters.local,
            forwarded: counters.forwarded,
            failed: counters.failed,
            cache_entries: cache_entries as u64,
            cache_bytes: cache_bytes as u64,
            dropped: dropped
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            upstreams: self
                .forwarder
                .upstream_status()
                .map(|upstream| {
                    (
                        upstream.address.to_string(),
                        state(upstream.good).to_owned(),
                    )
                })
                .collect(),
        }
    }
}

/// Before the first snapshot: nothing but our own names, towards nobody but this host. A role that
/// was started alone takes the configuration file at its word.
fn initial(ctx: &RoleContext) -> (lintel_proto::dns::Config, Links) {
    let nothing = || {
        (
            lintel_proto::dns::Config::default(),
            Links::These(Vec::new()),
        )
    };
    let Some(run) = &ctx.start.run else {
        return nothing();
    };
    match toml::from_str(&run.config) {
        Ok(config) => (
            spec::from_spec(&spec::from_user_config(&config)).0,
            Links::Any,
        ),
        Err(error) => {
            log::error!("the configuration file cannot be read: {error}");
            nothing()
        }
    }
}

fn upstream_token(slot: SocketSlot) -> Token {
    UPSTREAM_TOKENS + Token::from(slot.index)
}

fn log_event(event: Event) {
    match event {
        Event::UpstreamDown(address) => log::warn!("the resolver {address} does not answer"),
        Event::UpstreamBack(address) => log::info!("the resolver {address} answers again"),
        Event::UpstreamChangesCase(address) => {
            log::info!(
                "the resolver {address} changes the letters of questions: asked in lower case"
            );
        }
        Event::UpstreamRefusesEdns(address) => {
            log::info!("the resolver {address} does not take EDNS: asked without");
        }
    }
}
