//! The loop: what comes in goes to the machine, what it wants is done.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use embassy_time::Instant;
use lintel_ipc::dhcpd::{FromDhcpd, ToDhcpd};
use lintel_ipc::init::ChannelKind;
use lintel_ipc::netd::HandOver;
use lintel_model::desired::SocketSpec;
use lintel_model::services::DhcpSpec;
use lintel_proto::dhcp_server::{
    Destination, Drops, Event, Input, Output, Server, ServerConfig, Token, Transmit,
};
use lintel_rt::channel::Channel;
use lintel_rt::datagrams::{Batch, Meta};
use lintel_rt::poller::{Interest, Token as PollToken};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_wire::dhcpv4::MESSAGE_LEN_MAX;
use lintel_wire::frame::{self, EthernetAddress};
use nix::errno::Errno;

use super::convert::{from_disk, to_disk};
use crate::now::Now;

const UDP: PollToken = 0;
const SESSION: PollToken = 1;
const HAND_OVER: PollToken = 2;
/// Packet sockets: this plus the link's index.
const LINKS: PollToken = 1 << 32;

/// Longest frame taken from a packet socket, octets: an ARP reply with padding.
const FRAME_LEN_MAX: usize = 128;
/// Most frames taken from one socket before the others have their turn.
const FRAMES_MAX: usize = 64;
/// A binding that nobody waits for goes to controld under this token.
const NOBODY_WAITS: u64 = u64::MAX;
/// Shortest time between two reports of drop counters, seconds.
const REPORT_S: u64 = 10;
/// Shortest time between two lines about a full pool.
const EXHAUSTED_EVERY: embassy_time::Duration = embassy_time::Duration::from_secs(600);

type Session = Channel<FromDhcpd, ToDhcpd>;

pub(super) struct Shell {
    ctx: RoleContext,
    udp: OwnedFd,
    batch: Batch,
    server: Server,
    /// `None` until controld spoke: nothing is served before its bindings are known.
    spec: Option<DhcpSpec>,
    session: Option<Session>,
    /// The session began with its snapshot: from then on controld takes bindings.
    begun: bool,
    hand_over: Option<Channel<(), HandOver>>,
    /// By kernel index of the link.
    packet: BTreeMap<u32, (SocketSpec, OwnedFd)>,
    reported: Drops,
    report_at: Instant,
    exhausted_at: Option<Instant>,
    deadline: Option<Instant>,
}

impl Shell {
    pub(super) fn new(ctx: RoleContext, udp: OwnedFd) -> Result<Self, RoleError> {
        ctx.poller
            .add(&udp, UDP, Interest::READ)
            .map_err(RoleError::io("watching UDP 67"))?;
        Ok(Self {
            report_at: ctx.clock.now(),
            ctx,
            udp,
            batch: Batch::new(MESSAGE_LEN_MAX),
            server: Server::default(),
            spec: None,
            session: None,
            begun: false,
            hand_over: None,
            packet: BTreeMap::new(),
            reported: Drops::default(),
            exhausted_at: None,
            deadline: None,
        })
    }

    pub(super) fn run(&mut self) -> Result<(), RoleError> {
        self.ctx.ready()?;
        let mut events = Vec::new();
        loop {
            self.ctx
                .poller
                .wait(self.deadline, &mut events)
                .map_err(RoleError::io("waiting for events"))?;
            for event in &events {
                match event.token {
                    INIT_TOKEN => {
                        while let Some(told) = self.ctx.on_init()? {
                            if matches!(told, InitEvent::Stop) {
                                return Ok(());
                            }
                            self.on_init(told)?;
                        }
                    }
                    UDP => self.on_udp(),
                    SESSION => self.on_session(),
                    HAND_OVER => self.on_hand_over()?,
                    token => self.on_frames(token),
                }
            }
            self.server.handle_timeout(self.ctx.clock.now());
            self.drain();
            self.flush();
            self.report();
            self.wake_to_report();
        }
    }

    fn on_init(&mut self, told: InitEvent) -> Result<(), RoleError> {
        let InitEvent::Channel { kind, fd, .. } = told else {
            return Ok(());
        };
        let poller = &self.ctx.poller;
        match kind {
            ChannelKind::Session => {
                let session = Session::new(fd).map_err(RoleError::io("taking a session"))?;
                poller
                    .add(&session, SESSION, Interest::READ)
                    .map_err(RoleError::io("watching the session"))?;
                self.session = Some(session);
                // What the old session was asked to write may be on disk or not: the snapshot
                // tells, and who waits for it is served then.
                self.begun = false;
                self.reported = Drops::default();
            }
            ChannelKind::HandOver => {
                let channel = Channel::new(fd).map_err(RoleError::io("taking a hand-over"))?;
                poller
                    .add(&channel, HAND_OVER, Interest::READ)
                    .map_err(RoleError::io("watching the hand-over"))?;
                self.hand_over = Some(channel);
            }
        }
        Ok(())
    }

    fn on_session(&mut self) {
        loop {
            let Some(session) = &mut self.session else {
                return;
            };
            let message = session.flush().and_then(|()| session.recv());
            match message {
                Ok(Some((message, _))) => self.on_message(message),
                Ok(None) => break,
                Err(error) => {
                    log::warn!("the session with controld ended: {error}");
                    self.session = None;
                    return;
                }
            }
        }
        self.watch_session();
    }

    fn on_message(&mut self, message: ToDhcpd) {
        let now = self.ctx.clock.now();
        match message {
            ToDhcpd::Snapshot {
                spec,
                bindings,
                start_unix_s,
            } => {
                let bindings = from_disk(Now::since_start(now, start_unix_s), bindings);
                self.begun = true;
                match self
                    .server
                    .restart(now, ServerConfig::from(&spec), bindings)
                {
                    Ok(()) => self.told(spec),
                    Err(error) => return log::error!("the service cannot start: {error}"),
                }
                self.drain();
            }
            ToDhcpd::Durable { token } => {
                self.server.handle_input(now, Input::Durable(Token(token)));
                self.drain();
            }
            ToDhcpd::NotDurable { token } => {
                self.server
                    .handle_input(now, Input::NotDurable(Token(token)));
                self.drain();
            }
            ToDhcpd::Forget { address } => {
                self.server.handle_input(now, Input::Forget(address));
                self.drain();
            }
        }
    }

    fn told(&mut self, spec: DhcpSpec) {
        for subnet in &spec.subnets {
            log::info!(
                "serving {} to {} on {}{}",
                subnet.first,
                subnet.last,
                subnet.link,
                if spec.durable { "" } else { " from memory" }
            );
        }
        self.spec = Some(spec);
    }

    fn on_udp(&mut self) {
        self.flush(); // What comes in takes the place of what waits to go out.
        // One batch a turn: the poller is level-triggered, so what is left wakes us again.
        let taken = match self.batch.receive(&self.udp) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return log::warn!("receiving on UDP 67 failed: {error}"),
        };
        if self.spec.is_none() {
            return; // Better silent than wrong: the client asks again.
        }
        let now = self.ctx.clock.now();
        for at in 0..taken {
            if let Some(datagram) = self.batch.datagram(at) {
                let (link, payload) = (datagram.meta.link, datagram.bytes);
                self.server
                    .handle_input(now, Input::Datagram { link, payload });
            }
        }
        self.drain();
    }

    fn on_hand_over(&mut self) -> Result<(), RoleError> {
        while let Some(channel) = &mut self.hand_over {
            match channel.recv() {
                Ok(Some((HandOver::Socket { spec, index }, mut fds))) => {
                    let Some(fd) = fds.pop() else { continue };
                    self.ctx
                        .poller
                        .add(&fd, LINKS + u64::from(index), Interest::READ)
                        .map_err(RoleError::io("watching a packet socket"))?;
                    log::info!("reaching hosts without address on {}", spec.link);
                    self.packet.insert(index, (spec, fd));
                }
                Ok(Some((HandOver::Gone { spec }, _))) => {
                    self.packet.retain(|_, held| held.0 != spec)
                }
                Ok(None) => break,
                Err(error) => {
                    // The sockets we have go on working; netd hands all over again.
                    log::warn!("the hand-over from netd ended: {error}");
                    self.hand_over = None;
                }
            }
        }
        Ok(())
    }

    fn on_frames(&mut self, token: PollToken) {
        let Ok(link) = u32::try_from(token.wrapping_sub(LINKS)) else {
            return;
        };
        let now = self.ctx.clock.now();
        let mut octets = [0; FRAME_LEN_MAX];
        for _ in 0..FRAMES_MAX {
            let Some((_, fd)) = self.packet.get(&link) else {
                return;
            };
            match nix::unistd::read(fd, &mut octets) {
                Ok(len) => {
                    let octets = octets.get(..len).unwrap_or_default();
                    self.server.handle_input(now, Input::Frame { link, octets });
                }
                Err(Errno::EINTR) => {}
                // ENETDOWN is told once when the link goes down; the socket stays good.
                Err(_) => break,
            }
        }
        self.drain();
    }

    /// Does everything the machine wants and notes when it wants to be called.
    fn drain(&mut self) {
        loop {
            match self.server.poll_output() {
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Event(event) => self.on_event(event),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        self.watch_session();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Bind { token, binding } => {
                let now = self.now();
                let message = FromDhcpd::Bind {
                    token: token.map_or(NOBODY_WAITS, |token| token.0),
                    binding: to_disk(now, binding),
                    start_unix_s: now.start_unix_s(),
                };
                if !self.tell(&message)
                    && let Some(token) = token
                {
                    self.server.handle_input(now.mono, Input::Away(token));
                }
            }
            Event::Conflict { address, mac, .. } => {
                let who = mac.map_or_else(|| "somebody".to_owned(), |mac| mac.to_string());
                log::warn!("{who} uses {address} without a lease; it is left alone for a while");
            }
            Event::Exhausted { .. } => self.exhausted(),
        }
    }

    /// A flood of clients must not become a flood of lines; the drop counter has each.
    fn exhausted(&mut self) {
        let now = self.ctx.clock.now();
        if self
            .exhausted_at
            .is_none_or(|at| at + EXHAUSTED_EVERY <= now)
        {
            self.exhausted_at = Some(now);
            log::warn!("the pool has no free address; new devices get none until a lease ends");
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let sent = match transmit {
            Transmit::Frame { link, octets } => self.send_frame(link, &octets),
            Transmit::Datagram {
                link,
                source,
                to,
                payload,
            } => self.send_datagram(link, source, to, &payload),
        };
        if let Err(error) = sent {
            log::debug!("a reply was not sent: {error}");
        }
    }

    fn send_datagram(
        &mut self,
        link: u32,
        source: SocketAddrV4,
        to: Destination,
        payload: &[u8],
    ) -> io::Result<()> {
        let peer = match to {
            Destination::Hardware { mac, address } => {
                if let Some(own) = self.hardware_address(link)
                    && self.packet.contains_key(&link)
                {
                    let octets = frame::udp((own, source), (mac, address), payload);
                    return self.send_frame(link, &octets);
                }
                SocketAddrV4::new(Ipv4Addr::BROADCAST, address.port())
            }
            Destination::Broadcast { port } => SocketAddrV4::new(Ipv4Addr::BROADCAST, port),
            Destination::Unicast(peer) => peer,
        };
        let meta = Meta {
            peer: SocketAddr::V4(peer),
            local: IpAddr::V4(*source.ip()),
            // A relay agent may live behind another link than the client's.
            link: if matches!(to, Destination::Unicast(_)) {
                0
            } else {
                link
            },
        };
        if !self.batch.push(&meta, payload) {
            self.flush();
            if !self.batch.push(&meta, payload) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(())
    }

    /// Sends the replies of a turn together: ACKs that waited for one sync leave in one call.
    fn flush(&mut self) {
        let lost = self.batch.send(&self.udp);
        if lost > 0 {
            log::debug!("{lost} replies were not sent");
        }
    }

    fn send_frame(&self, link: u32, octets: &[u8]) -> io::Result<()> {
        let (_, fd) = self
            .packet
            .get(&link)
            .ok_or_else(|| io::Error::other("the packet socket has not come yet"))?;
        nix::unistd::write(fd, octets)?;
        Ok(())
    }

    fn hardware_address(&self, link: u32) -> Option<EthernetAddress> {
        let subnets = &self.spec.as_ref()?.subnets;
        let subnet = subnets.iter().find(|subnet| subnet.index == link)?;
        Some(EthernetAddress(subnet.mac.0))
    }

    /// Sends to controld; false when there is no session that takes it.
    fn tell(&mut self, message: &FromDhcpd) -> bool {
        let Some(session) = self.session.as_mut().filter(|_| self.begun) else {
            return false;
        };
        match session.send(message) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("the session with controld ended: {error}");
                self.session = None;
                false
            }
        }
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session
            && let Err(error) = session.watch(&self.ctx.poller, SESSION)
        {
            log::error!("watching the session failed: {error}");
        }
    }

    fn report(&mut self) {
        let now = self.ctx.clock.now();
        if now < self.report_at || *self.server.drops() == self.reported {
            return;
        }
        self.report_at = now + embassy_time::Duration::from_secs(REPORT_S);
        self.reported = self.server.drops().clone();
        let counters = self
            .reported
            .iter()
            .map(|(reason, count)| (reason.as_str().to_owned(), count))
            .collect();
        self.tell(&FromDhcpd::Dropped(counters));
    }

    /// The last drops of a burst are told too, though nothing else may ever happen.
    fn wake_to_report(&mut self) {
        if self.session.is_some() && *self.server.drops() != self.reported {
            let deadline = self
                .deadline
                .map_or(self.report_at, |at| at.min(self.report_at));
            self.deadline = Some(deadline);
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.ctx.clock.now(),
            unix_s: self.ctx.clock.unix_s(),
        }
    }
}
