//! dnsd: the real forwarder; the sockets that its shell would open.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use embassy_time::Duration;
use lintel_ipc::dnsd::ToDnsd;
use lintel_model::RoleName;
use lintel_proto::dns::{
    ATTEMPTS_LIVE_MAX, Asker, Config, Forwarder, Input, Output, SocketSlot, Transport, Verdict,
};
use lintel_proto::rng::SeededRng;
use lintel_roles::dnsd::spec::{Links, from_spec};
use lintel_wire::dns::{Packet, Rcode, Repr};
use lintel_wire::frame::{self, EthernetAddress};

use super::{Router, WAN_PORT};
use crate::isp::{Answer, Question};
use crate::plant::{Plant, RoleRng};
use crate::properties::{Property, Violation};
use crate::world::{Alarm, Event, Outside, Who, host_mac};

/// Longest reply over UDP.
const REPLY_LEN_MAX: usize = 65_535;

/// The role.
pub struct Dnsd {
    lives: u64,
    alive: bool,
    /// The machine.
    pub forwarder: Option<Forwarder>,
    /// The bound that its cache was given, octets.
    pub cache_bytes_max: usize,
    links: Links,
    /// What each open socket was opened for.
    sockets: BTreeMap<u16, Socket>,
    questions: u64,
    rng: RoleRng,
    alarm: Alarm,
}

/// A socket with a question.
struct Socket {
    slot: SocketSlot,
    /// Number of the question: the truth beside its id.
    number: u64,
    tcp: bool,
    /// Name and type, whatever the case of the letters.
    asked: String,
}

impl Default for Dnsd {
    fn default() -> Self {
        Self {
            lives: 0,
            alive: false,
            forwarder: None,
            cache_bytes_max: 0,
            links: Links::These(Vec::new()),
            sockets: BTreeMap::new(),
            questions: 0,
            rng: RoleRng::new(SeededRng::new(0), None),
            alarm: Alarm::default(),
        }
    }
}

impl Dnsd {
    /// Its life, when it runs.
    pub fn life(&self) -> Option<u64> {
        self.alive.then_some(self.lives)
    }

    /// Sockets towards resolvers.
    pub fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn end(&mut self) {
        *self = Self {
            lives: self.lives,
            questions: self.questions,
            ..Self::default()
        };
    }

    pub(super) fn start(&mut self, out: &mut Outside) {
        self.lives += 1;
        self.alive = true;
        self.rng = RoleRng::new(out.dice.rng(), out.plant);
    }
}

impl Router {
    pub(super) fn dnsd_told(&mut self, out: &mut Outside, message: ToDnsd) {
        let now = self.clocks(out.now).mono;
        match message {
            ToDnsd::Spec(spec) => {
                let (config, links) = from_spec(&spec);
                self.dnsd.cache_bytes_max = config.cache_bytes_max;
                let config = bounded(config, out.plant);
                self.dnsd.links = links;
                match &mut self.dnsd.forwarder {
                    Some(forwarder) => forwarder.configure(now, config, &mut self.dnsd.rng),
                    None => {
                        let forwarder = Forwarder::new(config, &mut self.dnsd.rng);
                        self.dnsd.forwarder = Some(forwarder);
                    }
                }
            }
            ToDnsd::Flush => {}
        }
        self.dnsd_drains(out, None);
    }

    /// A question from the house.
    pub(super) fn dnsd_asked(
        &mut self,
        out: &mut Outside,
        link: u32,
        peer: SocketAddrV4,
        local: Ipv4Addr,
        message: &[u8],
    ) {
        if !self.dnsd.alive || !self.is_open() || !self.dnsd.links.allow(link) {
            return;
        }
        let now = self.clocks(out.now).mono;
        let Some(forwarder) = &mut self.dnsd.forwarder else {
            return;
        };
        let asker = Asker {
            peer: SocketAddr::V4(peer),
            local: IpAddr::V4(local),
            link,
            transport: Transport::Udp,
        };
        let mut reply = vec![0; REPLY_LEN_MAX];
        let verdict = forwarder.handle_query(now, asker, message, &mut reply, &mut self.dnsd.rng);
        if let Verdict::Reply(len) = verdict {
            self.dnsd_replies(out, asker, reply.get(..len).unwrap_or_default());
        }
        self.dnsd_drains(out, None);
    }

    /// Something comes to one of its sockets.
    pub fn dnsd_hears(&mut self, out: &mut Outside, answer: Answer) {
        let now = self.clocks(out.now).mono;
        // A closed port is used again some time: what was meant for the old socket comes to the
        // new one.
        let socket = self.dnsd.sockets.get(&answer.slot.index);
        let Some(socket) = socket.filter(|socket| socket.tcp == answer.tcp) else {
            return;
        };
        let (slot, number) = (socket.slot, socket.number);
        let Some(forwarder) = &mut self.dnsd.forwarder else {
            return;
        };
        let genuine = answer.number == Some(number);
        if !genuine && (answer.tcp || answer.message.is_none()) {
            return;
        }
        let input = match &answer.message {
            None => Input::UpstreamFailed { slot },
            Some(message) if answer.tcp => Input::UpstreamMessage { slot, message },
            Some(message) => Input::UpstreamDatagram {
                slot,
                from: answer.from,
                message,
            },
        };
        forwarder.handle_input(now, input, &mut self.dnsd.rng);
        let said = match answer.number {
            _ if genuine => None,
            None => Some("forged".to_owned()),
            Some(other) => Some(format!("late: it answers question {other}, not {number}")),
        };
        self.dnsd_drains(out, said);
    }

    /// dnsd's deadline has come.
    pub fn dnsd_wakes(&mut self, out: &mut Outside) {
        self.dnsd.alarm.rang(out.now);
        let now = self.clocks(out.now).mono;
        if let Some(forwarder) = &mut self.dnsd.forwarder {
            forwarder.handle_timeout(now, &mut self.dnsd.rng);
        }
        self.dnsd_drains(out, None);
    }

    /// Does what the machine wants; `not_genuine` tells why what it just heard must not count.
    fn dnsd_drains(&mut self, out: &mut Outside, not_genuine: Option<String>) {
        let clocks = self.clocks(out.now);
        while let Some(forwarder) = &mut self.dnsd.forwarder {
            match forwarder.poll_output() {
                Output::Reply { asker, message } => {
                    if let Some(why) = &not_genuine
                        && let Some(reply) = parse(&message)
                        && reply.rcode == Rcode::NOERROR
                        && !reply.answers.is_empty()
                    {
                        let answers = &reply.answers;
                        let text = format!("dnsd answers {answers:?} by a reply that is {why}");
                        let property = Property::Genuine;
                        out.breaks(Violation { property, text });
                    }
                    self.dnsd_replies(out, asker, &message);
                }
                Output::SendDatagram { slot, to, message } => {
                    self.dnsd_asks(out, slot, to, false, message);
                }
                Output::SendStream { slot, to, message } => {
                    self.dnsd_asks(out, slot, to, true, message);
                }
                Output::Close { slot } => {
                    self.dnsd.sockets.retain(|_, socket| socket.slot != slot);
                }
                Output::Event(event) => out.note("dnsd", || format!("{event:?}")),
                Output::Timeout(at) => {
                    let at = clocks.true_time(at);
                    self.dnsd.alarm.set(out, Who::Role(RoleName::Dnsd), at);
                    return;
                }
            }
        }
    }

    fn dnsd_asks(
        &mut self,
        out: &mut Outside,
        slot: SocketSlot,
        to: SocketAddr,
        tcp: bool,
        message: Vec<u8>,
    ) {
        self.dnsd.questions += 1;
        let number = self.dnsd.questions;
        let asked = parse(&message).and_then(|asked| asked.question);
        let asked = asked.map_or(String::new(), |asked| {
            format!("{} {:?}", asked.name, asked.rr_type).to_ascii_lowercase()
        });
        let socket = Socket {
            slot,
            number,
            tcp,
            asked: asked.clone(),
        };
        self.dnsd.sockets.insert(slot.index, socket);
        let same = |socket: &&Socket| socket.asked == asked;
        let same = self.dnsd.sockets.values().filter(same).count();
        if same > ATTEMPTS_LIVE_MAX {
            let text = format!("{same} questions for {asked} are open, for the forger to hit");
            let property = Property::Once;
            out.breaks(Violation { property, text });
        }
        let routed = self
            .kernel
            .state
            .routes
            .iter()
            .any(|route| route.link.as_str() == WAN_PORT && route.gateway.is_some());
        let reached = routed && (!tcp || out.wan.carrier);
        if !reached {
            // No route, or a connection that is refused.
            let answer = Answer {
                number: Some(number),
                slot,
                from: to,
                tcp,
                message: None,
            };
            return out.after(Duration::from_micros(50), Event::FromResolver(answer));
        }
        let message: crate::world::Octets = message.into();
        let deliveries = if tcp {
            vec![Duration::from_millis(30)]
        } else {
            out.wan.deliveries(&mut out.dice)
        };
        for delay in deliveries {
            let question = Question {
                number,
                slot,
                to,
                tcp,
                message: message.clone(),
            };
            out.after(delay, Event::ToResolver(question));
        }
    }

    fn dnsd_replies(&mut self, out: &mut Outside, asker: Asker, message: &[u8]) {
        let (SocketAddr::V4(peer), IpAddr::V4(local)) = (asker.peer, asker.local) else {
            return;
        };
        let (Some(_), Some(own)) = (self.bridged(), self.lan_mac()) else {
            return;
        };
        let Some(host) = out.neighbour(*peer.ip()) else {
            return;
        };
        let octets = frame::udp(
            (own, SocketAddrV4::new(local, 53)),
            (EthernetAddress(host_mac(host)), peer),
            message,
        );
        out.send_lan(None, &octets);
    }
}

fn parse(message: &[u8]) -> Option<Repr> {
    Repr::parse(&Packet::new_checked(message).ok()?).ok()
}

/// What the machine is told of bounds.
fn bounded(config: Config, plant: Option<Plant>) -> Config {
    match plant {
        Some(Plant::MissingBound) => Config {
            cache_entries_max: usize::MAX,
            cache_bytes_max: usize::MAX,
            ..config
        },
        _ => config,
    }
}
