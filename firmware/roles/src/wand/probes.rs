//! Tests of the network that somebody asked for: one at a time, over three sockets that init opened.
//!
//! ```text
//!  target is a name: Naming ──address──┐
//!  target is an address ───────────────┼─► Echoes      ping, traceroute, path MTU (raw ICMP)
//!                                      ├─► Connecting  port (TCP)
//!  resolve ────────────────────────────┴─► Asking      (UDP)
//! ```
//!
//! What comes in is other people's bytes: read in [`lintel_wire`], judged in [`lintel_proto::probe`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use embassy_time::{Duration, Instant};
use lintel_ipc::wand::FromWand;
use lintel_model::probe::{PortReport, ProbeKind, ProbeNews, ProbeReport, ProbeSpec, ProbeState};
use lintel_proto::probe::echo::{self, Echoes, Purpose, Unsent};
use lintel_proto::probe::resolve::{self, Question};
use lintel_proto::rng::Rng;
use lintel_rt::poller::{Interest, Poller, Token};
use lintel_rt::stream;
use lintel_wire::dns::{Name, RrType};
use lintel_wire::frame::is_host_address;
use lintel_wire::icmp::Heard;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrIn, recvfrom, sendto, setsockopt, sockopt};

pub(super) const ICMP: Token = 2;
pub(super) const UDP: Token = 3;
pub(super) const TCP: Token = 4;

/// UDP port of name servers (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Longest datagram read, octets: a full Ethernet frame's; answers of name servers are shorter.
const DATAGRAM_LEN_MAX: usize = 2048;
/// Datagrams read from a socket before others have their turn.
const DATAGRAMS_MAX: usize = 64;
/// How long a connection is waited for: two repetitions of its first packet.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Between two reports of the same test, but the last.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// The sockets, those that init could open.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) icmp: Option<OwnedFd>,
    pub(super) udp: Option<OwnedFd>,
    pub(super) tcp: Option<OwnedFd>,
}

/// Tests: the one that runs.
#[derive(Debug, Default)]
pub(super) struct Probes {
    sockets: Sockets,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    spec: ProbeSpec,
    stage: Stage,
    tell_at: Instant,
}

#[derive(Debug)]
enum Stage {
    Naming(Question),
    Asking(Question),
    Echoes(Echoes),
    Connecting {
        to: SocketAddrV4,
        began: Instant,
        /// What came of it and when, once it did.
        state: Option<(&'static str, Instant)>,
    },
    /// It cannot be done, and this is why.
    Failed(String),
}

impl Probes {
    pub(super) fn new(sockets: Sockets) -> Self {
        Self {
            sockets,
            running: None,
        }
    }

    /// Begins; whatever ran before is forgotten.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        poller: &Poller,
        id: u64,
        spec: ProbeSpec,
        rng: &mut dyn Rng,
    ) {
        self.end(poller);
        let stage = self.first_stage(now, poller, &spec, rng);
        self.running = Some(Running {
            id,
            spec,
            stage,
            tell_at: now,
        });
    }

    /// Ends what runs, without a word.
    pub(super) fn end(&mut self, poller: &Poller) {
        if self.running.take().is_some() {
            for fd in [&self.sockets.icmp, &self.sockets.udp, &self.sockets.tcp] {
                // One that was not watched needs no end of it.
                let _ = fd.as_ref().map(|fd| poller.remove(fd));
            }
            if let Some(tcp) = &self.sockets.tcp {
                stream::abandon(tcp);
            }
        }
    }

    /// Whether this is the test that runs.
    pub(super) fn is_running(&self, id: u64) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.id == id)
    }

    fn first_stage(
        &mut self,
        now: Instant,
        poller: &Poller,
        spec: &ProbeSpec,
        rng: &mut dyn Rng,
    ) -> Stage {
        if let ProbeKind::Resolve {
            record_type,
            server,
        } = &spec.kind
        {
            let name = match spec.target.parse::<Ipv4Addr>() {
                Ok(address) => Ok(Name::reverse(address.into())),
                Err(_) => Name::from_text(&spec.target),
            };
            let server = server.map_or(spec.resolver, |ip| SocketAddrV4::new(ip, DNS_PORT));
            return match (name, RrType::from_text(record_type)) {
                (Ok(name), Some(rr_type)) => {
                    self.ask(now, poller, (server, name, rr_type), rng, Stage::Asking)
                }
                _ => Stage::Failed("There can be no such name or type.".to_owned()),
            };
        }
        match spec.target.parse::<Ipv4Addr>() {
            Ok(address) => self.second_stage(now, poller, spec, address, rng),
            Err(_) => match Name::from_text(&spec.target) {
                Ok(name) => {
                    let question = (spec.resolver, name, RrType::A);
                    self.ask(now, poller, question, rng, Stage::Naming)
                }
                Err(_) => Stage::Failed("There can be no such name.".to_owned()),
            },
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        poller: &Poller,
        (server, name, rr_type): (SocketAddrV4, Name, RrType),
        rng: &mut dyn Rng,
        stage: impl FnOnce(Question) -> Stage,
    ) -> Stage {
        match watched(poller, self.sockets.udp.as_ref(), UDP, Interest::READ) {
            Ok(()) => stage(Question::new(now, server, name, rr_type, rng)),
            Err(why) => Stage::Failed(why),
        }
    }

    /// The target has an address.
    fn second_stage(
        &mut self,
        now: Instant,
        poller: &Poller,
        spec: &ProbeSpec,
        to: Ipv4Addr,
        rng: &mut dyn Rng,
    ) -> Stage {
        if !is_host_address(to) {
            return Stage::Failed(format!("No host has the address {to}."));
        }
        let purpose = match spec.kind {
            ProbeKind::Ping { count, size } => Purpose::Ping { count, size },
            ProbeKind::Traceroute { hops } => Purpose::Traceroute { hops },
            ProbeKind::PathMtu => Purpose::PathMtu,
            ProbeKind::Port { port } => {
                return self.connect(now, poller, SocketAddrV4::new(to, port));
            }
            ProbeKind::Resolve { .. } => {
                return Stage::Failed("A name is asked for as it is.".to_owned());
            }
        };
        if let Some(icmp) = &self.sockets.icmp {
            // What came since the last test is about others'.
            let mut octets = [0; DATAGRAM_LEN_MAX];
            while nix::unistd::read(icmp, &mut octets).is_ok() {}
        }
        match watched(poller, self.sockets.icmp.as_ref(), ICMP, Interest::READ) {
            Ok(()) => {
                let mut id = [0; 2];
                rng.fill(&mut id);
                Stage::Echoes(Echoes::new(now, to, u16::from_be_bytes(id), purpose))
            }
            Err(why) => Stage::Failed(why),
        }
    }

    fn connect(&mut self, now: Instant, poller: &Poller, to: SocketAddrV4) -> Stage {
        let Some(tcp) = &self.sockets.tcp else {
            return Stage::Failed(NO_SOCKET.to_owned());
        };
        let state = match stream::connect(tcp, to) {
            Ok(()) => None,
            Err(error) => Some((state_of(&error), now)),
        };
        if state.is_none()
            && let Err(why) = watched(poller, Some(tcp), TCP, Interest::BOTH)
        {
            return Stage::Failed(why);
        }
        Stage::Connecting {
            to,
            began: now,
            state,
        }
    }

    /// ICMP came in.
    pub(super) fn on_icmp(&mut self, now: Instant) {
        let Some(socket) = &self.sockets.icmp else {
            return;
        };
        let mut octets = [0; DATAGRAM_LEN_MAX];
        for _ in 0..DATAGRAMS_MAX {
            let Ok(len) = nix::unistd::read(socket, &mut octets) else {
                return;
            };
            let heard = octets.get(..len).and_then(Heard::parse);
            if let (Some(heard), Some(running)) = (heard, &mut self.running)
                && let Stage::Echoes(echoes) = &mut running.stage
            {
                echoes.handle_heard(now, &heard);
            }
        }
    }

    /// A name server answered, or somebody else.
    pub(super) fn on_udp(&mut self, now: Instant) {
        let Some(socket) = &self.sockets.udp else {
            return;
        };
        let mut octets = [0; DATAGRAM_LEN_MAX];
        for _ in 0..DATAGRAMS_MAX {
            let received = recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut octets);
            let (len, from) = match received {
                Ok((len, from)) => (len, from),
                Err(Errno::EAGAIN) => return,
                // A port that nobody listens at is told once.
                Err(_) => continue,
            };
            if let Some(running) = &mut self.running
                && let Stage::Naming(question) | Stage::Asking(question) = &mut running.stage
                && from.is_some_and(|from| SocketAddrV4::from(from) == question.server())
            {
                question.handle_datagram(now, octets.get(..len).unwrap_or_default());
            }
        }
    }

    /// The connection came about, or not.
    pub(super) fn on_tcp(&mut self, now: Instant) {
        if let Some(running) = &mut self.running
            && let Stage::Connecting { state, .. } = &mut running.stage
            && let Some(tcp) = &self.sockets.tcp
        {
            let came = match stream::outcome(tcp) {
                Ok(()) => "open",
                Err(error) => state_of(&error),
            };
            state.get_or_insert((came, now));
        }
    }

    /// Does what is due and what the machines want; what is to be told, and when next.
    pub(super) fn drive(
        &mut self,
        now: Instant,
        poller: &Poller,
        rng: &mut dyn Rng,
    ) -> (Option<FromWand>, Option<Instant>) {
        let Some(mut running) = self.running.take() else {
            return (None, None);
        };
        let next = self.step(now, poller, &mut running, rng);
        let news = running.news();
        let over = news.state != ProbeState::Running;
        let tells = over || running.tell_at <= now;
        let told = tells.then(|| FromWand::Probe {
            id: running.id,
            news: Box::new(news),
        });
        if tells {
            running.tell_at = now + TELL_EVERY;
        }
        let tell_at = running.tell_at;
        self.running = Some(running);
        if over {
            self.end(poller);
            return (told, None);
        }
        (told, [next, Some(tell_at)].into_iter().flatten().min())
    }

    fn step(
        &mut self,
        now: Instant,
        poller: &Poller,
        running: &mut Running,
        rng: &mut dyn Rng,
    ) -> Option<Instant> {
        if let Stage::Naming(question) = &mut running.stage {
            let next = self.put(now, question);
            if !question.is_over() {
                return next;
            }
            running.stage = match question.address() {
                Some(address) => self.second_stage(now, poller, &running.spec, address, rng),
                None => Stage::Failed(unknown(question)),
            };
        }
        match &mut running.stage {
            Stage::Asking(question) => self.put(now, question),
            Stage::Echoes(echoes) => self.echo(now, echoes),
            Stage::Connecting { began, state, .. } => {
                let until = *began + CONNECT_WAIT;
                if state.is_none() && until <= now {
                    *state = Some(("filtered", now));
                }
                Some(until)
            }
            Stage::Naming(_) | Stage::Failed(_) => None,
        }
    }

    fn put(&self, now: Instant, question: &mut Question) -> Option<Instant> {
        question.handle_timeout(now);
        loop {
            match question.poll_output() {
                resolve::Output::Transmit(octets) => {
                    if let Some(udp) = &self.sockets.udp {
                        // What does not leave is not answered, and asked again.
                        let _ = send(udp, question.server(), &octets);
                    }
                }
                resolve::Output::Timeout(next) => return next,
            }
        }
    }

    fn echo(&self, now: Instant, echoes: &mut Echoes) -> Option<Instant> {
        echoes.handle_timeout(now);
        loop {
            match echoes.poll_output() {
                echo::Output::Transmit { seq, ttl, octets } => {
                    let to = SocketAddrV4::new(echoes.target(), 0);
                    let sent = match &self.sockets.icmp {
                        Some(icmp) => setsockopt(icmp, sockopt::Ipv4Ttl, &i32::from(ttl))
                            .and_then(|()| send(icmp, to, &octets)),
                        None => Err(Errno::EBADF),
                    };
                    match sent {
                        Ok(()) => {}
                        Err(Errno::EMSGSIZE) => echoes.handle_unsent(now, seq, Unsent::TooLong),
                        Err(_) => echoes.handle_unsent(now, seq, Unsent::NoWay),
                    }
                }
                echo::Output::Timeout(next) => return next,
            }
        }
    }
}

impl Running {
    fn news(&self) -> ProbeNews {
        let target = &self.spec.target;
        let news = |done, total, text, report, state| ProbeNews {
            done,
            total,
            text,
            report,
            state,
        };
        let life = |over: bool| match over {
            true => ProbeState::Done,
            false => ProbeState::Running,
        };
        match &self.stage {
            Stage::Naming(_) => {
                let text = format!("Asking for the address of {target}.");
                news(0, 1, text, None, ProbeState::Running)
            }
            Stage::Asking(question) => {
                let over = question.is_over();
                let text = format!("Asking {} for {target}.", question.server().ip());
                let done = u32::from(over);
                news(done, 1, text, Some(question.report()), life(over))
            }
            Stage::Echoes(echoes) => {
                let (done, total) = echoes.progress();
                let text = format!("Packets go to {target}.");
                let over = echoes.is_over();
                news(done, total, text, Some(echoes.report()), life(over))
            }
            Stage::Connecting { to, began, state } => {
                let report = state.map(|(state, at)| {
                    ProbeReport::Port(PortReport {
                        address: *to.ip(),
                        port: to.port(),
                        state: state.to_owned(),
                        took_us: at.saturating_duration_since(*began).as_micros(),
                    })
                });
                let text = format!("Connecting to {target}.");
                let over = state.is_some();
                news(u32::from(over), 1, text, report, life(over))
            }
            Stage::Failed(why) => news(0, 1, why.clone(), None, ProbeState::Failed),
        }
    }
}

const NO_SOCKET: &str = "The kernel gives the box no socket for it.";

fn watched(
    poller: &Poller,
    fd: Option<&OwnedFd>,
    token: Token,
    interest: Interest,
) -> Result<(), String> {
    let fd = fd.ok_or_else(|| NO_SOCKET.to_owned())?;
    match poller.add(fd, token, interest) {
        // The question for its address had it watched.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(format!("A socket cannot be watched: {error}.")),
        Ok(()) => Ok(()),
    }
}

fn send(fd: &OwnedFd, to: SocketAddrV4, octets: &[u8]) -> nix::Result<()> {
    sendto(
        fd.as_raw_fd(),
        octets,
        &SockaddrIn::from(to),
        MsgFlags::empty(),
    )
    .map(drop)
}

fn unknown(question: &Question) -> String {
    match question.report() {
        ProbeReport::Resolve(report) if report.code == "NOERROR" => {
            "The name has no IPv4 address.".to_owned()
        }
        ProbeReport::Resolve(report) => {
            format!("The name has no address: {}.", report.code)
        }
        _ => "The name has no address.".to_owned(),
    }
}

/// What an error of connect(2) says of the port.
fn state_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "closed",
        io::ErrorKind::TimedOut => "filtered",
        _ => "unreachable",
    }
}
