//! The provider: a DHCP server with its moods, resolvers that are slow, lie or die, and somebody
//! on the street who forges. Written against the RFCs, not with the machines of the box.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use embassy_time::Duration;
use lintel_proto::dns::SocketSlot;
use lintel_wire::dhcpv4::{MessageType, OpCode, Repr, code};
use lintel_wire::dns::{Class, Name, Packet, Rcode, Rdata, RecordRepr, Repr as DnsRepr, RrType};
use lintel_wire::frame::{self, EthernetAddress, Frame, Payload};

use crate::world::{Event, Octets, Outside};

const SERVER_MAC: EthernetAddress = EthernetAddress([0x02, 0x20, 0, 0, 0, 1]);
const FORGER_MAC: EthernetAddress = EthernetAddress([0x02, 0x66, 0, 0, 0, 6]);
/// Everything that a forger says lies in this network.
const FORGED: [u8; 3] = [203, 0, 113];
/// Replies that the forger keeps to say again.
const HEARD_MAX: usize = 64;
/// Packets of which a conversation remembers the transaction.
const PACKETS_MAX: usize = 512;

/// Whether an address can only come from the forger.
pub fn is_forged(address: Ipv4Addr) -> bool {
    address.octets().starts_with(&FORGED)
}

/// What a client on the WAN asked in which transaction, by what it sends: the truth beside its
/// transaction ids.
#[derive(Debug, Default)]
pub struct Conversation {
    transaction: u64,
    last: Option<Step>,
    packets: BTreeMap<u64, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Discover,
    Select,
    Reboot,
    Renew,
    Rebind,
    Other,
}

impl Conversation {
    /// The client sends a frame.
    pub fn sent(&mut self, packet: u64, octets: &[u8]) {
        let Some(frame) = Frame::parse(octets) else {
            return;
        };
        let Payload::Udp { data, .. } = frame.payload else {
            return;
        };
        let Ok(message) = Repr::parse(data) else {
            return;
        };
        let step = match message.message_type() {
            Some(MessageType::Discover) => Step::Discover,
            Some(MessageType::Request) if message.options.contains(code::SERVER_ID) => Step::Select,
            Some(MessageType::Request) if message.ciaddr.is_unspecified() => Step::Reboot,
            Some(MessageType::Request) if frame.destination.is_broadcast() => Step::Rebind,
            Some(MessageType::Request) => Step::Renew,
            _ => Step::Other,
        };
        // An OFFER's answer goes on with its DISCOVER; the same again is a retransmission.
        if step != Step::Select && self.last != Some(step) {
            self.transaction += 1;
        }
        self.last = Some(step);
        self.packets.insert(packet, self.transaction);
        if self.packets.len() > PACKETS_MAX {
            self.packets.pop_first();
        }
    }

    /// The client believed a frame; tells what was wrong with that.
    pub fn believed(&mut self, octets: &[u8], answers: Option<u64>) -> Option<String> {
        let Payload::Udp { data, .. } = Frame::parse(octets)?.payload else {
            return None;
        };
        let kind = Repr::parse(data).ok()?.message_type()?;
        let Some(packet) = answers else {
            return Some(format!("a forged {kind:?}"));
        };
        let of = self.packets.get(&packet).copied();
        if of != Some(self.transaction) {
            return Some(format!(
                "a late {kind:?} to packet {packet} of transaction {of:?}, in transaction {}",
                self.transaction
            ));
        }
        if matches!(kind, MessageType::Ack | MessageType::Nak) {
            self.last = None;
        }
        None
    }
}

/// How the DHCP server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Well,
    /// Not there.
    Silent,
    /// Refuses every request.
    Refuses,
}

/// The provider.
#[derive(Debug)]
pub struct Isp {
    /// The DHCP server's mood.
    pub mood: Mood,
    /// Lease time, seconds.
    pub lease_s: u32,
    /// Third octet of the network that it gives now.
    pub network: u8,
    /// Address last given, by client.
    given: BTreeMap<[u8; 6], Ipv4Addr>,
    /// Next host number.
    next: u8,
    /// Frames heard on the street, for the forger.
    heard: Vec<(Octets, u64)>,
    /// Forged frames after each request, in a thousand.
    pub forged: u32,
    /// The resolvers.
    pub resolvers: Resolvers,
}

impl Isp {
    /// A provider that works.
    pub fn new(lease_s: u32, forged: u32) -> Self {
        Self {
            mood: Mood::Well,
            lease_s,
            network: 1,
            given: BTreeMap::new(),
            next: 10,
            heard: Vec::new(),
            forged,
            resolvers: Resolvers::default(),
        }
    }

    /// Forgets whom it gave what.
    pub fn restart(&mut self) {
        self.given.clear();
        self.next = 10;
    }

    fn router(&self) -> Ipv4Addr {
        Ipv4Addr::new(100, 64, self.network, 1)
    }

    /// A frame of the box.
    pub fn on_frame(&mut self, out: &mut Outside, octets: &[u8], packet: u64) {
        let Some(frame) = Frame::parse(octets) else {
            return;
        };
        let Payload::Udp {
            destination, data, ..
        } = frame.payload
        else {
            return;
        };
        let Ok(message) = Repr::parse(data) else {
            return;
        };
        if destination.port() != 67 || message.opcode != OpCode::Request {
            return;
        }
        if out.dice.per_mille(self.forged) {
            self.forge(out, &message);
        }
        if self.mood == Mood::Silent {
            return;
        }
        let Some(reply) = self.answer(&message) else {
            return;
        };
        out.note("isp", || crate::host::in_words("says", &reply));
        let Ok(payload) = reply.emit(1400) else {
            return;
        };
        let octets = frame::udp(
            (SERVER_MAC, SocketAddrV4::new(self.router(), 67)),
            (frame.source, SocketAddrV4::new(reply.yiaddr, 68)),
            &payload,
        );
        let octets: Octets = octets.into();
        if self.heard.len() == HEARD_MAX {
            self.heard.remove(0);
        }
        self.heard.push((octets.clone(), packet));
        for delay in out.wan.deliveries(&mut out.dice) {
            let frame = octets.clone();
            let answers = Some(packet);
            out.after(delay, Event::FromIsp { frame, answers });
        }
    }

    fn answer(&mut self, message: &Repr) -> Option<Repr> {
        let mac = message.chaddr.as_ethernet()?.0;
        let kind = message.message_type()?;
        let requested = message.options.addr(code::REQUESTED_ADDRESS).ok().flatten();
        let server = message.options.addr(code::SERVER_ID).ok().flatten();
        let own = self.given.get(&mac).copied();
        let own = own.filter(|own| own.octets().starts_with(&[100, 64, self.network]));
        let (router, lease_s) = (self.router(), self.lease_s);
        let reply = |kind: MessageType| {
            let mut reply = Repr::new(OpCode::Reply, message.xid, message.chaddr);
            reply.options.set(code::MESSAGE_TYPE, &[kind.into()]);
            reply.options.set_addr(code::SERVER_ID, router);
            reply
        };
        let grant = |kind: MessageType, address: Ipv4Addr| {
            let mut reply = reply(kind);
            reply.yiaddr = address;
            reply.options.set_u32(code::LEASE_TIME, lease_s);
            reply
                .options
                .set_addr(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
            reply.options.set_addr(code::ROUTER, router);
            reply
                .options
                .set_addrs(code::DNS_SERVERS, &[RESOLVERS[0], RESOLVERS[1]]);
            reply
        };
        match kind {
            MessageType::Discover => {
                let address = match own {
                    Some(own) => own,
                    None => {
                        self.next = self.next.checked_add(1).unwrap_or(10);
                        Ipv4Addr::new(100, 64, self.network, self.next)
                    }
                };
                let offer = grant(MessageType::Offer, address);
                self.given.insert(mac, address);
                Some(offer)
            }
            MessageType::Request => {
                if server.is_some_and(|server| server != router) {
                    return None;
                }
                let wanted = requested.unwrap_or(message.ciaddr);
                if self.mood == Mood::Refuses || own != Some(wanted) {
                    return Some(reply(MessageType::Nak));
                }
                Some(grant(MessageType::Ack, wanted))
            }
            MessageType::Release => {
                self.given.remove(&mac);
                None
            }
            MessageType::Decline => {
                self.given.remove(&mac);
                None
            }
            _ => None,
        }
    }

    /// The forger hears that somebody asks, and says something: he does not see the
    /// transaction id, but what was said before he has seen.
    fn forge(&mut self, out: &mut Outside, message: &Repr) {
        let wait = Duration::from_micros(out.dice.range(10, 4_000));
        if let Some(old) = out.dice.one(&(0..self.heard.len()).collect::<Vec<_>>())
            && out.dice.per_mille(500)
            && let Some((frame, packet)) = self.heard.get(old).cloned()
        {
            // As if the network had kept a copy: as good as the first while it is timely.
            let answers = Some(packet);
            return out.after(wait, Event::FromIsp { frame, answers });
        }
        let kinds = [MessageType::Offer, MessageType::Ack, MessageType::Nak];
        let Some(kind) = out.dice.one(&kinds) else {
            return;
        };
        let xid = u32::try_from(out.dice.range(0, u64::from(u32::MAX))).unwrap_or(0);
        let mut reply = Repr::new(OpCode::Reply, xid, message.chaddr);
        let [a, b, c] = FORGED;
        reply.options.set(code::MESSAGE_TYPE, &[kind.into()]);
        let server = Ipv4Addr::new(a, b, c, 1);
        reply.options.set_addr(code::SERVER_ID, server);
        if kind != MessageType::Nak {
            reply.yiaddr = Ipv4Addr::new(a, b, c, 66);
            reply.options.set_u32(code::LEASE_TIME, 86_400);
            reply
                .options
                .set_addr(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
            reply.options.set_addr(code::ROUTER, server);
            reply.options.set_addr(code::DNS_SERVERS, server);
        }
        let (Some(to), Ok(payload)) = (message.chaddr.as_ethernet(), reply.emit(1400)) else {
            return;
        };
        let frame = frame::udp(
            (FORGER_MAC, SocketAddrV4::new(server, 67)),
            (to, SocketAddrV4::new(reply.yiaddr, 68)),
            &payload,
        );
        let (frame, answers) = (frame.into(), None);
        out.after(wait, Event::FromIsp { frame, answers });
    }
}

/// The provider's resolvers.
pub const RESOLVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 64, 0, 53), Ipv4Addr::new(100, 64, 0, 54)];

/// A question of dnsd on its way.
#[derive(Debug)]
pub struct Question {
    /// Its number: the truth beside its id.
    pub number: u64,
    /// The socket it was sent from.
    pub slot: SocketSlot,
    /// To whom.
    pub to: SocketAddr,
    /// Over a connection.
    pub tcp: bool,
    /// The message.
    pub message: Octets,
}

/// What comes to a socket of dnsd.
#[derive(Debug)]
pub struct Answer {
    /// The question that it answers; `None` when it is forged.
    pub number: Option<u64>,
    /// The socket.
    pub slot: SocketSlot,
    /// Who sent it, or is said to have.
    pub from: SocketAddr,
    /// Over a connection.
    pub tcp: bool,
    /// The message; `None`: the connection broke.
    pub message: Option<Octets>,
}

/// How resolvers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// As it should.
    Well,
    /// Says nothing.
    Dead,
    /// Answers after seconds.
    Slow,
    /// Private addresses for public names.
    Rebinds,
    /// Answers something else than was asked.
    Babbles,
    /// SERVFAIL.
    Fails,
    /// Half answers: the whole needs TCP.
    Truncates,
}

/// All of them.
pub const TEMPERS: [Temper; 7] = [
    Temper::Well,
    Temper::Dead,
    Temper::Slow,
    Temper::Rebinds,
    Temper::Babbles,
    Temper::Fails,
    Temper::Truncates,
];

/// The resolvers, and who forges their answers.
#[derive(Debug)]
pub struct Resolvers {
    /// How each behaves.
    pub tempers: [Temper; 2],
    /// Forged answers to a question, in a thousand.
    pub forged: u32,
    /// Questions that the forger saw: number, id, the case of the letters. Copies of one question
    /// teach him nothing, so he goes by the one before.
    seen: [Option<(u64, u16, Vec<bool>)>; 2],
}

impl Default for Resolvers {
    fn default() -> Self {
        Self {
            tempers: [Temper::Well; 2],
            forged: 0,
            seen: [None, None],
        }
    }
}

/// The true address of a name: made from the number in its first label.
pub fn true_address(name: &Name) -> Option<Ipv4Addr> {
    let text = name.to_string().to_ascii_lowercase();
    let number = text.strip_prefix("host-")?.split('-').next()?;
    let number: u32 = number.parse().ok()?;
    let [_, b, c, d] = number.to_be_bytes();
    Some(Ipv4Addr::new(198, 18 + (b & 1), c, d))
}

impl Resolvers {
    /// A question arrives.
    pub fn on_question(&mut self, out: &mut Outside, question: Question) {
        let Ok(packet) = Packet::new_checked(&question.message[..]) else {
            return;
        };
        let Ok(asked) = DnsRepr::parse(&packet) else {
            return;
        };
        out.note("resolver", || {
            let name = asked.question.as_ref().map(|q| q.name.to_string());
            format!("{} hears {:04x} {name:?}", question.number, asked.id)
        });
        if !question.tcp {
            self.forge(out, &question, &asked);
        }
        let IpAddr::V4(to) = question.to.ip() else {
            return;
        };
        let at = RESOLVERS.iter().position(|own| *own == to);
        let temper = at.and_then(|at| self.tempers.get(at).copied());
        let temper = temper.unwrap_or(Temper::Dead);
        let Some(reply) = reply(&asked, temper, question.tcp) else {
            return;
        };
        let Ok(message) = reply.to_vec() else { return };
        let message: Octets = message.into();
        let slow = match temper {
            Temper::Slow => Duration::from_millis(out.dice.range(300, 8_000)),
            _ => Duration::from_millis(out.dice.range(2, 40)),
        };
        let deliveries = if question.tcp {
            vec![Duration::from_millis(20)]
        } else {
            out.wan.deliveries(&mut out.dice)
        };
        for delay in deliveries {
            let answer = Answer {
                number: Some(question.number),
                slot: question.slot,
                from: question.to,
                tcp: question.tcp,
                message: Some(message.clone()),
            };
            out.after(slow + delay, Event::FromResolver(answer));
        }
    }

    /// The forger knows the question and, for once, the port; he has to guess the id and the
    /// case of the letters. He tries what he saw the last time.
    fn forge(&mut self, out: &mut Outside, question: &Question, asked: &DnsRepr) {
        let Some(wanted) = &asked.question else {
            return;
        };
        let text = wanted.name.to_string();
        let [last, before] = &mut self.seen;
        if last.as_ref().map(|(number, ..)| *number) != Some(question.number) {
            *before = last.replace((question.number, asked.id, case_of(&text)));
        }
        if !out.dice.per_mille(self.forged) {
            return;
        }
        let guess = u16::try_from(out.dice.range(0, 0xffff)).unwrap_or(0);
        // A question asked later may still be open: its id he would know from the wire itself.
        let known = before
            .clone()
            .filter(|(number, ..)| *number < question.number);
        let (_, id, case) = known.unwrap_or((0, guess, Vec::new()));
        let cased = with_case(&text, &case);
        let Ok(name) = Name::from_text(&cased) else {
            return;
        };
        let mut reply = DnsRepr::query(id, name.clone(), wanted.rr_type);
        reply.flags.response = true;
        reply.flags.recursion_available = true;
        let [a, b, c] = FORGED;
        reply.answers.push(RecordRepr {
            name,
            class: Class::IN,
            ttl: 3600,
            rdata: Rdata::A(Ipv4Addr::new(a, b, c, 66)),
        });
        let Ok(message) = reply.to_vec() else { return };
        let answer = Answer {
            number: None,
            slot: question.slot,
            from: question.to,
            tcp: false,
            message: Some(message.into()),
        };
        let wait = Duration::from_micros(out.dice.range(10, 1_000));
        out.note("forger", || format!("{} {id:04x} {cased}", question.number));
        out.after(wait, Event::FromResolver(answer));
    }
}

fn reply(asked: &DnsRepr, temper: Temper, tcp: bool) -> Option<DnsRepr> {
    let wanted = asked.question.clone()?;
    let mut reply = asked.clone();
    reply.flags.response = true;
    reply.flags.recursion_available = true;
    if let Some(edns) = &mut reply.edns {
        edns.options.clear();
    }
    let a = |address: Ipv4Addr| RecordRepr {
        name: wanted.name.clone(),
        class: Class::IN,
        ttl: 30,
        rdata: Rdata::A(address),
    };
    let truth = true_address(&wanted.name).filter(|_| wanted.rr_type == RrType::A);
    match temper {
        Temper::Dead => return None,
        Temper::Fails => reply.rcode = Rcode::SERVFAIL,
        Temper::Truncates if !tcp => reply.flags.truncated = true,
        Temper::Rebinds => reply.answers.push(a(Ipv4Addr::new(192, 168, 1, 1))),
        Temper::Babbles => {
            let other = Name::from_text("something.else.example").ok()?;
            reply.question.as_mut()?.name = other.clone();
            let mut record = a(Ipv4Addr::new(203, 0, 113, 66));
            record.name = other;
            reply.answers.push(record);
        }
        Temper::Well | Temper::Slow | Temper::Truncates => match truth {
            Some(address) => reply.answers.push(a(address)),
            None => reply.rcode = Rcode::NXDOMAIN,
        },
    }
    Some(reply)
}

fn case_of(text: &str) -> Vec<bool> {
    let letters = text.chars().filter(char::is_ascii_alphabetic);
    letters.map(|letter| letter.is_ascii_uppercase()).collect()
}

fn with_case(text: &str, case: &[bool]) -> String {
    let mut case = case.iter();
    text.chars()
        .map(
            |letter| match letter.is_ascii_alphabetic().then(|| case.next()) {
                Some(Some(true)) => letter.to_ascii_uppercase(),
                Some(_) => letter.to_ascii_lowercase(),
                None => letter,
            },
        )
        .collect()
}
