//! The DNS forwarder: askers, upstreams, forgers and the clock in any order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use arbitrary::Unstructured;
use embassy_time::{Duration, Instant};
use lintel_proto::dns::{
    Asker, Config, Counters, Forwarder, Input, Output, Prefix, SocketSlot, Transport, Verdict,
};
use lintel_proto::rng::{Rng, SeededRng};
use lintel_wire::dns::{
    Class, EdnsRepr, Flags, Name, Packet, Rcode, Rdata, RecordRepr, Repr, RrType,
};

use super::dns::name;
use crate::Tally;
use crate::entropy::{any, below, octets, once_in, pick};

/// What forgers put into their answers, and nobody else.
const FORGED: Ipv4Addr = Ipv4Addr::new(66, 66, 66, 66);

/// Questions that wait at most, as `dns::open` has it.
const OPEN_QUESTIONS_MAX: usize = 256;

/// Sockets at most, as `SocketSlot` says.
const SLOTS_MAX: u16 = 512;

/// Each who waits gets one answer to the question asked, in time; nobody else gets any; no
/// forged address is told or kept; cache, sockets and open questions keep their bounds.
pub fn dns_forward(data: &[u8]) -> Tally {
    let mut u = Unstructured::new(data);
    let mut house = House::new(&mut u);
    while !u.is_empty() {
        house.step(&mut u);
    }
    house.end();
    house.tally
}

struct House {
    forwarder: Forwarder,
    config: Config,
    now: Instant,
    rng: SeededRng,
    waiting: Vec<Waiting>,
    /// What was sent upstream and is not closed.
    sent: Vec<Sent>,
    reply: Vec<u8>,
    before: Counters,
    tally: Tally,
}

/// Who waits for what. The same question of the same asker waits once.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    asker: Asker,
    id: u16,
    /// Name in lower case and type.
    question: Option<(Name, RrType)>,
    /// DO and CD, which have their own answers.
    bits: (bool, bool),
}

impl Waiting {
    fn of(asker: Asker, message: &[u8]) -> Self {
        let packet = Packet::new_checked(message).expect("a header");
        let question = packet.question().ok().flatten();
        let question = question
            .and_then(|question| Some((question.name().ok()?.to_lowercase(), question.rr_type)));
        let wants_dnssec = |record: lintel_wire::dns::Record<'_>| {
            record.rr_type == RrType::OPT && record.ttl & 0x8000 != 0
        };
        let dnssec_ok = packet.records().map_while(Result::ok).any(wants_dnssec);
        Self {
            asker,
            id: packet.id(),
            question,
            bits: (dnssec_ok, packet.flags().checking_disabled),
        }
    }

    /// Is this what `told` tells? Its DO and CD are not the question's.
    fn awaits(&self, told: &Self) -> bool {
        (self.asker, self.id, &self.question) == (told.asker, told.id, &told.question)
    }
}

/// A message upstream whose socket or connection is open.
#[derive(Debug, Clone)]
struct Sent {
    slot: SocketSlot,
    to: SocketAddr,
    message: Vec<u8>,
    stream: bool,
}

impl House {
    fn new(u: &mut Unstructured<'_>) -> Self {
        let config = config(u);
        let mut rng = SeededRng::new(any(u));
        Self {
            forwarder: Forwarder::new(config.clone(), &mut rng),
            config,
            now: Instant::from_secs(100),
            rng,
            waiting: Vec::new(),
            sent: Vec::new(),
            reply: vec![0; 65_535],
            before: Counters::default(),
            tally: Tally::default(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) {
        self.tally.inputs += 1;
        match below(u, 16) {
            0..=5 => self.ask(u),
            6..=10 => self.answer(u),
            11 => {
                if let Some(Sent { slot, .. }) = self.some_sent(u) {
                    self.input(Input::UpstreamFailed { slot });
                }
            }
            12 => {
                let connection = below(u, 4) as u64;
                let gone = Transport::Tcp { connection };
                self.input(Input::AskerGone { connection });
                self.waiting
                    .retain(|waiting| waiting.asker.transport != gone);
            }
            13 if once_in(u, 4) => {
                self.config = config(u);
                self.forwarder
                    .configure(self.now, self.config.clone(), &mut self.rng);
                self.drain();
            }
            13 if once_in(u, 4) => self.forwarder.flush(),
            _ => {
                let ms = pick(u, &[0, 1, 50, 400, 1500, 5000, 3_600_000, 31_536_000_000]);
                self.pass(Duration::from_millis(ms));
            }
        }
        self.check();
    }

    fn ask(&mut self, u: &mut Unstructured<'_>) {
        let transport = match below(u, 4) {
            0 => Transport::Tcp {
                connection: below(u, 4) as u64,
            },
            _ => Transport::Udp,
        };
        let asker = Asker {
            peer: SocketAddr::from(([192, 168, 1, below(u, 4) as u8], 1024 + below(u, 3) as u16)),
            local: IpAddr::from([192, 168, 1, 1]),
            link: 3,
            transport,
        };
        let message = match below(u, 8) {
            0 => octets(u, 60),
            1 => mutated(
                u,
                &super::dns::message_octets(&mut Unstructured::new(&[7; 64])),
            ),
            2 => {
                let question = question(u);
                mutated(u, &question)
            }
            _ => question(u),
        };
        let room = match transport {
            Transport::Udp => 1232,
            Transport::Tcp { .. } => self.reply.len(),
        };
        let id = message
            .first_chunk::<2>()
            .map_or(0, |id| u16::from_be_bytes(*id));
        let reply = &mut self.reply[..room];
        match self
            .forwarder
            .handle_query(self.now, asker, &message, reply, &mut self.rng)
        {
            Verdict::Reply(len) => {
                self.tally.accepted += 1;
                assert!(len <= room);
                check_reply(&self.reply[..len], id);
                if transport == Transport::Udp {
                    assert!(len <= udp_room(&message), "{len} octets over UDP");
                }
            }
            Verdict::Waiting => {
                self.tally.accepted += 1;
                let waiting = Waiting::of(asker, &message);
                if !self.waiting.contains(&waiting) {
                    self.waiting.push(waiting);
                }
            }
            Verdict::Dropped => {}
        }
        self.drain();
    }

    /// Something comes to a socket: the upstream's answer, or a forger's.
    fn answer(&mut self, u: &mut Unstructured<'_>) {
        let Some(sent) = self.some_sent(u) else {
            return;
        };
        let Sent { slot, stream, .. } = sent;
        let forgery = below(u, 8);
        let (mut from, mut address) = (sent.to, Ipv4Addr::new(93, 184, 216, 1));
        if forgery == 0 {
            // The right words from another place. Over a connection there is no other place.
            if stream {
                return;
            }
            from.set_port(5353);
            address = FORGED;
        }
        let mut message = reply_to(u, &sent.message, address, forgery == 1);
        if once_in(u, 5) {
            message = mutated(u, &message);
        }
        let message = &message;
        if stream {
            self.input(Input::UpstreamMessage { slot, message });
        } else {
            self.input(Input::UpstreamDatagram {
                slot,
                from,
                message,
            });
        }
    }

    fn some_sent(&self, u: &mut Unstructured<'_>) -> Option<Sent> {
        match self.sent.len() {
            0 => None,
            len => Some(self.sent[below(u, len)].clone()),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.forwarder.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.forwarder.handle_timeout(self.now, &mut self.rng);
        self.drain();
    }

    fn drain(&mut self) {
        // Each open question makes at most an answer to each who waits and a few messages.
        for _ in 0..100_000 {
            match self.forwarder.poll_output() {
                Output::Reply { asker, message } => {
                    let told = Waiting::of(asker, &message);
                    check_reply(&message, told.id);
                    let place = self
                        .waiting
                        .iter()
                        .position(|waiting| waiting.awaits(&told));
                    let place = place.expect("an answer for somebody who does not wait");
                    self.waiting.swap_remove(place);
                }
                Output::SendDatagram { slot, to, message } => self.sent(slot, to, message, false),
                Output::SendStream { slot, to, message } => self.sent(slot, to, message, true),
                Output::Close { slot } => {
                    let place = self.sent.iter().position(|sent| sent.slot == slot);
                    self.sent
                        .swap_remove(place.expect("closed what is not open"));
                }
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    assert!(
                        self.waiting.is_empty() || at.is_some(),
                        "nobody wakes for those who wait"
                    );
                    return;
                }
            }
        }
        panic!("outputs without end");
    }

    fn sent(&mut self, slot: SocketSlot, to: SocketAddr, message: Vec<u8>, stream: bool) {
        assert!(slot.index < SLOTS_MAX && self.config.upstreams.contains(&to));
        let packet = Packet::new_checked(&message[..]).expect("a header");
        assert!(!packet.flags().response && packet.flags().recursion_desired);
        let question = packet.question().expect("a question").expect("one");
        assert_eq!(question.class, Class::IN);
        assert!(message.len() <= 512);
        assert!(
            self.sent.iter().all(|sent| sent.slot.index != slot.index),
            "a slot used twice"
        );
        self.sent.push(Sent {
            slot,
            to,
            message,
            stream,
        });
    }

    fn check(&mut self) {
        let (entries, bytes) = self.forwarder.cache_size();
        assert!(entries <= self.config.cache_entries_max, "{entries} kept");
        assert!(bytes <= self.config.cache_bytes_max, "{bytes} octets kept");
        let open = self.forwarder.open_questions();
        assert!(open <= OPEN_QUESTIONS_MAX && self.sent.len() <= usize::from(SLOTS_MAX));
        let counters = self.forwarder.counters();
        assert!(counters.queries >= counters.cache_hits + counters.local + counters.forwarded);
        assert!(counters.attempts >= counters.tcp_attempts);
        assert!(
            counters.queries >= self.before.queries && counters.attempts >= self.before.attempts
        );
        assert!(
            counters
                .dropped
                .iter()
                .zip(self.before.dropped)
                .all(|(now, then)| *now >= then)
        );
        self.before = counters.clone();
    }

    /// Stub resolvers wait for five seconds: by then each was answered, and no socket is open.
    fn end(&mut self) {
        for _ in 0..50 {
            self.pass(Duration::from_millis(100));
        }
        assert!(self.waiting.is_empty(), "{:?} wait in vain", self.waiting);
        assert_eq!(self.forwarder.open_questions(), 0);
        assert!(self.sent.is_empty(), "{:?} were never closed", self.sent);
    }
}

fn check_reply(message: &[u8], id: u16) {
    let packet = Packet::new_checked(message).expect("a header");
    assert!(packet.flags().response && packet.id() == id);
    for record in packet.records() {
        let record = record.expect("we write whole records");
        assert!(
            record.rdata() != FORGED.octets(),
            "a forged address was told"
        );
    }
}

/// What an asker takes over UDP: 512 octets, or what its OPT says within our own limit.
fn udp_room(query: &[u8]) -> usize {
    let offered = Packet::new_checked(query).ok().and_then(|packet| {
        packet
            .records()
            .map_while(Result::ok)
            .find(|record| record.rr_type == RrType::OPT)
            .map(|record| usize::from(record.class.0))
    });
    offered.unwrap_or(512).clamp(512, 1232)
}

fn question(u: &mut Unstructured<'_>) -> Vec<u8> {
    let asked = match below(u, 6) {
        0 => name(u),
        1 => Name::reverse(IpAddr::from([192, 168, 1, any(u)])),
        n => {
            let names = ["a.example", "www.example", "host.lan", "nas.lan"];
            let text = names[n - 2];
            Name::from_text(text).unwrap_or_else(|_| Name::root())
        }
    };
    let mut repr = Repr::query(any(u), asked, super::dns::rr_type(u));
    if any(u) {
        repr.edns = Some(EdnsRepr {
            udp_len: pick(u, &[0, 512, 1232, 4096]),
            version: u8::from(once_in(u, 12)),
            dnssec_ok: any(u),
            options: Vec::new(),
        });
    }
    repr.to_vec().unwrap_or_default()
}

/// An upstream's answer to `query`: true, or with another id or name and the forged address.
fn reply_to(u: &mut Unstructured<'_>, query: &[u8], address: Ipv4Addr, forge: bool) -> Vec<u8> {
    let parsed = Packet::new_checked(query)
        .ok()
        .and_then(|packet| Repr::parse(&packet).ok());
    let Some(mut repr) = parsed else {
        return query.to_vec();
    };
    let mut address = address;
    if forge {
        address = FORGED;
        if any(u) {
            repr.id ^= 1 + below(u, 0xffff) as u16;
        } else if let Some(question) = &mut repr.question {
            question.name = Name::from_text("victim.example").unwrap_or_else(|_| Name::root());
        }
    }
    repr.flags = Flags {
        response: true,
        truncated: once_in(u, 8),
        recursion_available: true,
        ..repr.flags
    };
    repr.rcode = pick(
        u,
        &[
            Rcode::NOERROR,
            Rcode::NOERROR,
            Rcode::NOERROR,
            Rcode::NXDOMAIN,
            Rcode::SERVFAIL,
            Rcode::FORMERR,
        ],
    );
    if any(u) {
        repr.edns = None;
        repr.rcode = Rcode::new(repr.rcode.value() & 0xf);
    }
    let asked = repr
        .question
        .as_ref()
        .map_or_else(Name::root, |question| question.name.clone());
    let mut owner = asked.clone();
    for _ in 0..below(u, 4) {
        let ttl = pick(u, &[0, 1, 60, 86_400, u32::MAX]);
        let rdata = match below(u, 4) {
            0 => Rdata::Cname(name(u)),
            1 => Rdata::A(Ipv4Addr::new(192, 168, 1, 7)),
            _ => Rdata::A(address),
        };
        let next = match &rdata {
            Rdata::Cname(name) => name.clone(),
            _ => owner.clone(),
        };
        repr.answers.push(RecordRepr {
            name: owner,
            class: Class::IN,
            ttl,
            rdata,
        });
        owner = next;
    }
    repr.to_vec().unwrap_or_default()
}

/// A few octets changed. An id that was wrong is not made right by chance but once in 2^16.
fn mutated(u: &mut Unstructured<'_>, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    for _ in 0..=below(u, 3) {
        if message.len() > 2 {
            let at = 2 + below(u, message.len() - 2);
            message[at] = any(u);
        }
    }
    if once_in(u, 4) {
        message.truncate(below(u, message.len() + 1));
    }
    message
}

fn config(u: &mut Unstructured<'_>) -> Config {
    let upstream = |last: u8| SocketAddr::from(([9, 9, 9, last], 53));
    let host = |text: &str| Name::from_text(text).unwrap_or_else(|_| Name::root());
    Config {
        upstreams: (0..below(u, 4) as u8).map(upstream).collect(),
        hosts: vec![(host("nas.lan"), IpAddr::from([192, 168, 1, 7]))],
        networks: vec![Prefix::new(IpAddr::from([192, 168, 1, 0]), 24)],
        rebind_protection: any(u),
        rebind_allowed: if any(u) {
            vec![host("example")]
        } else {
            Vec::new()
        },
        cache_entries_max: pick(u, &[0, 1, 4, 1000]),
        cache_bytes_max: pick(u, &[0, 300, 4096, 1 << 20]),
        ..Config::default()
    }
}

/// Entropy for some thirty steps.
pub fn steps(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut rng = SeededRng::new(any(u));
    let mut octets = vec![0; 100 + below(u, 700)];
    rng.fill(&mut octets);
    octets
}
