//! The loop: what comes in goes to the machines, what they want is done.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use embassy_time::{Duration, Instant};
use lintel_ipc::init::ChannelKind;
use lintel_ipc::netd::HandOver;
use lintel_ipc::wand::{FromWand, ToWand};
use lintel_model::LinkName;
use lintel_model::desired::SocketSpec;
use lintel_model::lease::WanLease;
use lintel_model::services::{WanLink, WanSpec};
use lintel_proto::dhcp_client::{
    Client, ClientConfig, Drops, Event, Input, LostReason, Output, StateName,
};
use lintel_rt::channel::Channel;
use lintel_rt::poller::{Interest, Token};
use lintel_rt::role::{INIT_TOKEN, InitEvent, RoleContext, RoleError};
use lintel_wire::frame::EthernetAddress;
use nix::errno::Errno;
use ring::rand::SystemRandom;

use super::KernelRng;
use super::convert::{ends_in, from_disk, to_disk};
use super::port::Port;
use super::probes::{self, Probes, Sockets};
use crate::now::Now;

const SESSION: Token = 0;
const HAND_OVER: Token = 1;
/// Packet sockets: this plus the link's index.
const LINKS: Token = 1 << 32;

/// Longest frame taken, octets: a full Ethernet frame; a longer one holds no DHCP message.
const FRAME_LEN_MAX: usize = 1518;
/// Most frames taken from one socket before the others have their turn.
const FRAMES_MAX: usize = 64;
/// Most links watched at once. The planner names the ports of one box.
const PORTS_MAX: usize = 32;
/// Shortest time between two reports of drop counters.
const REPORT_EVERY: Duration = Duration::from_secs(10);

type Session = Channel<FromWand, ToWand>;

pub(super) struct Shell {
    ctx: RoleContext,
    rng: KernelRng,
    session: Option<Session>,
    hand_over: Option<Channel<(), HandOver>>,
    ports: BTreeMap<LinkName, Port>,
    probes: Probes,
    /// Sockets of links that no message named yet, by kernel index.
    waiting: BTreeMap<u32, (SocketSpec, OwnedFd)>,
    reported: Drops,
    report_at: Instant,
    deadline: Option<Instant>,
}

impl Shell {
    pub(super) fn new(ctx: RoleContext, sockets: Sockets) -> Self {
        Self {
            report_at: ctx.clock.now(),
            ctx,
            rng: KernelRng(SystemRandom::new()),
            session: None,
            hand_over: None,
            ports: BTreeMap::new(),
            probes: Probes::new(sockets),
            waiting: BTreeMap::new(),
            reported: Drops::default(),
            deadline: None,
        }
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
                    SESSION => self.on_session(),
                    HAND_OVER => self.on_hand_over()?,
                    probes::ICMP => self.probes.on_icmp(self.ctx.clock.now()),
                    probes::UDP => self.probes.on_udp(self.ctx.clock.now()),
                    probes::TCP => self.probes.on_tcp(self.ctx.clock.now()),
                    token => self.on_frames(token),
                }
            }
            let now = self.ctx.clock.now();
            for port in self.ports.values_mut() {
                port.client.handle_timeout(now, &mut self.rng);
            }
            self.drain();
            self.probe();
            self.report(now);
            self.wake_to_report();
            self.watch_session();
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
        while let Some(session) = &mut self.session {
            let message = session.flush().and_then(|()| session.recv());
            match message {
                Ok(Some((ToWand::Spec { spec, lease }, _))) => self.on_spec(spec, lease),
                Ok(Some((ToWand::Probe { id, spec }, _))) => {
                    let now = self.ctx.clock.now();
                    let poller = &self.ctx.poller;
                    self.probes.begin(now, poller, id, spec, &mut self.rng);
                }
                Ok(Some((ToWand::EndProbe { id }, _))) => {
                    if self.probes.is_running(id) {
                        self.probes.end(&self.ctx.poller);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    log::warn!("the session with controld ended: {error}");
                    self.session = None;
                    // Nobody waits for it any more.
                    self.probes.end(&self.ctx.poller);
                }
            }
        }
    }

    fn on_spec(&mut self, spec: WanSpec, lease: Option<WanLease>) {
        let (links, detect, host_name) = match spec {
            WanSpec::Off => (Vec::new(), false, None),
            WanSpec::Detect { links } => (links, true, None),
            WanSpec::Dhcp { link, hostname } => {
                (vec![link], false, Some(hostname.as_str().to_owned()))
            }
        };
        let wanted = |name: &LinkName| links.iter().any(|link| link.name == *name);
        let gone: Vec<LinkName> = self
            .ports
            .keys()
            .filter(|name| !wanted(name))
            .cloned()
            .collect();
        for name in gone {
            self.close(&name);
        }
        for link in links.into_iter().take(PORTS_MAX) {
            let kept = lease.clone().filter(|lease| lease.link == link.name);
            self.open(link, detect, host_name.as_deref(), kept);
        }
        self.drain();
        // The first message of a session finds us with a lease that the other end forgot.
        let bound: Vec<LinkName> = self.ports.keys().cloned().collect();
        for name in bound {
            self.tell_lease(&name);
            self.tell_state(&name);
            self.tell_seen(&name);
        }
    }

    /// A link is to be served: by the client it has, or by a new one.
    fn open(
        &mut self,
        link: WanLink,
        detect: bool,
        host_name: Option<&str>,
        kept: Option<WanLease>,
    ) {
        let now = self.ctx.clock.now();
        let name = link.name.clone();
        let fits = self
            .ports
            .get(&name)
            .is_some_and(|port| port.fits(&link, detect));
        if !fits {
            self.close(&name);
            let config = ClientConfig {
                mac: EthernetAddress(link.mac.0),
                host_name: host_name.map(str::to_owned),
                detect,
            };
            let kept = kept.and_then(|lease| from_disk(self.now(), lease));
            let client = Client::new(now, config, kept);
            self.ports
                .insert(name.clone(), Port::new(link.clone(), client, detect));
        }
        if let Some(port) = self.ports.get_mut(&name) {
            if !detect {
                port.detect = false;
                port.client.handle_input(now, Input::Claim, &mut self.rng);
            }
            port.link = link;
            if let Some((_, fd)) = self.waiting.remove(&port.link.index) {
                port.socket = Some(fd);
            }
            port.settle(now, &mut self.rng);
        }
    }

    /// A link is not to be served any more; its socket waits in case it is again.
    fn close(&mut self, name: &LinkName) {
        if let Some(port) = self.ports.remove(name)
            && let Some(fd) = port.socket
        {
            let spec = SocketSpec {
                link: name.clone(),
                kind: lintel_model::desired::SocketKind::DhcpClient,
            };
            self.waiting.insert(port.link.index, (spec, fd));
        }
    }

    fn on_hand_over(&mut self) -> Result<(), RoleError> {
        let now = self.ctx.clock.now();
        while let Some(channel) = &mut self.hand_over {
            match channel.recv() {
                Ok(Some((HandOver::Socket { spec, index }, mut fds))) => {
                    let Some(fd) = fds.pop() else { continue };
                    self.ctx
                        .poller
                        .add(&fd, LINKS + u64::from(index), Interest::READ)
                        .map_err(RoleError::io("watching a packet socket"))?;
                    match self.ports.get_mut(&spec.link) {
                        Some(port) if port.link.index == index => {
                            port.socket = Some(fd);
                            port.settle(now, &mut self.rng);
                        }
                        _ => {
                            if self.waiting.len() < PORTS_MAX {
                                self.waiting.insert(index, (spec, fd));
                            }
                        }
                    }
                }
                Ok(Some((HandOver::Gone { spec }, _))) => {
                    self.waiting.retain(|_, held| held.0 != spec);
                    if let Some(port) = self.ports.get_mut(&spec.link) {
                        port.socket = None;
                        port.settle(now, &mut self.rng);
                    }
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

    fn on_frames(&mut self, token: Token) {
        let Ok(index) = u32::try_from(token.wrapping_sub(LINKS)) else {
            return;
        };
        let now = self.ctx.clock.now();
        let mut octets = [0; FRAME_LEN_MAX];
        let port = self
            .ports
            .values_mut()
            .find(|port| port.link.index == index);
        let Some(port) = port else {
            // Nobody listens: what waits is old when somebody does.
            if let Some((_, fd)) = self.waiting.get(&index) {
                while nix::unistd::read(fd, &mut octets).is_ok() {}
            }
            return;
        };
        for _ in 0..FRAMES_MAX {
            let Some(fd) = &port.socket else { return };
            match nix::unistd::read(fd, &mut octets) {
                Ok(len) => {
                    let frame = octets.get(..len).unwrap_or_default();
                    port.client
                        .handle_input(now, Input::Frame(frame), &mut self.rng);
                }
                Err(Errno::EINTR) => {}
                // ENETDOWN is told once when the link goes down; the socket stays good.
                Err(_) => break,
            }
        }
    }

    /// Does everything the machines want and notes when they want to be called.
    fn drain(&mut self) {
        let mut deadline: Option<Instant> = None;
        let names: Vec<LinkName> = self.ports.keys().cloned().collect();
        for name in names {
            while let Some(port) = self.ports.get_mut(&name) {
                match port.client.poll_output() {
                    Output::Transmit(octets) => port.send(&octets),
                    Output::Event(event) => self.on_event(&name, event),
                    Output::Timeout(at) => {
                        deadline = [deadline, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        self.deadline = deadline;
    }

    /// Goes on with a test, and tells of it.
    fn probe(&mut self) {
        let now = self.ctx.clock.now();
        let poller = &self.ctx.poller;
        let (told, next) = self.probes.drive(now, poller, &mut self.rng);
        self.deadline = [self.deadline, next].into_iter().flatten().min();
        if let Some(told) = told {
            self.tell(&told);
        }
    }

    fn on_event(&mut self, name: &LinkName, event: Event) {
        match event {
            Event::Bound { lease, confirmed } => {
                for oddity in &lease.oddities {
                    log::warn!("the provider's lease on {name} is odd: {oddity:?}");
                }
                log::info!(
                    "{name} has {}/{} {}{}",
                    lease.address,
                    lease.prefix_len,
                    ends_in(self.ctx.clock.now(), &lease),
                    if confirmed {
                        ""
                    } else {
                        ", from before: no server answers"
                    }
                );
                self.tell_lease(name);
            }
            Event::Lost(reason) => self.tell(&FromWand::Lost {
                link: name.clone(),
                reason: match reason {
                    LostReason::Expired => "the lease ended and no server renewed it",
                    LostReason::Nak => "the provider said that the address is not ours",
                    LostReason::Conflict => "another host uses the address",
                    LostReason::Released => "it was given back",
                }
                .to_owned(),
            }),
            Event::State(state) => {
                log::debug!("{name}: {}", state.as_str());
                self.tell_state(name);
            }
            Event::ServerSeen { server, address } => {
                log::info!("{server} on {name} would give us {address}");
                self.tell(&FromWand::ServerSeen { link: name.clone() });
            }
            Event::Refused(why) => log::warn!("an offer on {name} is of no use: {why}"),
        }
    }

    fn tell_lease(&mut self, name: &LinkName) {
        let now = self.now();
        let lease = self
            .ports
            .get(name)
            .and_then(|port| port.client.lease())
            .map(|lease| to_disk(now, name, lease));
        if let Some(lease) = lease {
            self.tell(&FromWand::Lease(lease));
        }
    }

    /// A server that answered while controld was away is found once and not looked for again.
    fn tell_seen(&mut self, name: &LinkName) {
        let port = self.ports.get(name);
        if port.is_some_and(|port| port.client.state() == StateName::Detected) {
            self.tell(&FromWand::ServerSeen { link: name.clone() });
        }
    }

    fn tell_state(&mut self, name: &LinkName) {
        let Some(port) = self.ports.get(name) else {
            return;
        };
        let (state, leased) = (port.client.state(), port.client.lease().is_some());
        let text = match state {
            StateName::Down if !port.link.carrier => "No cable, or the modem is off.",
            StateName::Down => "Not in use.",
            StateName::Detected => "A provider answers here.",
            StateName::Selecting if leased => {
                "The provider does not answer; the address from before is used."
            }
            StateName::Selecting => "Waiting for the provider to answer.",
            StateName::Requesting => "The provider offers an address; asking for it.",
            StateName::Rebooting => "Asking the provider whether the address still holds.",
            StateName::Probing => "Looking whether anybody else uses the address.",
            StateName::Waiting => "The provider refused the address; trying again soon.",
            StateName::Bound => "The provider gave an address.",
            StateName::Renewing => "Asking the provider for more time.",
            StateName::Rebinding => "The provider does not renew the address; asking again.",
        };
        self.tell(&FromWand::State {
            link: name.clone(),
            state: state.as_str().to_owned(),
            text: text.to_owned(),
        });
    }

    fn tell(&mut self, message: &FromWand) {
        let Some(session) = &mut self.session else {
            return;
        };
        if let Err(error) = session.send(message) {
            log::warn!("the session with controld ended: {error}");
            self.session = None;
        }
    }

    fn watch_session(&self) {
        if let Some(session) = &self.session
            && let Err(error) = session.watch(&self.ctx.poller, SESSION)
        {
            log::error!("watching the session failed: {error}");
        }
    }

    /// The last drops of a burst are told too, though nothing else may ever happen.
    fn wake_to_report(&mut self) {
        if self.session.is_some() && self.drops() != self.reported {
            let deadline = self
                .deadline
                .map_or(self.report_at, |at| at.min(self.report_at));
            self.deadline = Some(deadline);
        }
    }

    fn drops(&self) -> Drops {
        let mut sum = Drops::default();
        for port in self.ports.values() {
            let drops = port.client.drops();
            sum.malformed += drops.malformed;
            sum.unexpected += drops.unexpected;
            sum.refused += drops.refused;
        }
        sum
    }

    fn report(&mut self, now: Instant) {
        let sum = self.drops();
        if now < self.report_at || sum == self.reported {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        self.reported = sum;
        let counters = [
            ("malformed", sum.malformed),
            ("unexpected", sum.unexpected),
            ("refused", sum.refused),
        ];
        self.tell(&FromWand::Dropped(
            counters.map(|(reason, n)| (reason.to_owned(), n)).into(),
        ));
    }

    fn now(&self) -> Now {
        Now {
            mono: self.ctx.clock.now(),
            unix_s: self.ctx.clock.unix_s(),
        }
    }
}
