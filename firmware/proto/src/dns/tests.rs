//! The machine as a whole, driven with virtual time and scripted upstreams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_time::{Duration, Instant};
use lintel_wire::dns::{
    Class, EdnsRepr, Flags, Name, Packet, Rcode, Rdata, RecordRepr, Repr, RrType, SoaRepr,
};
use proptest::prelude::*;

use super::*;
use crate::rng::SeededRng;

const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 53);
const SECOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 53);

/// A message on its way to an upstream.
#[derive(Debug, Clone)]
struct Sent {
    slot: SocketSlot,
    to: SocketAddr,
    tcp: bool,
    query: Repr,
}

struct House {
    forwarder: Forwarder,
    rng: SeededRng,
    now: Instant,
    sent: Vec<Sent>,
    closed: Vec<SocketSlot>,
    replies: Vec<(Asker, Repr)>,
    events: Vec<Event>,
    wake_at: Option<Instant>,
}

impl House {
    fn new(config: Config) -> Self {
        let mut rng = SeededRng::new(42);
        Self {
            forwarder: Forwarder::new(config, &mut rng),
            rng,
            now: Instant::from_secs(1_000),
            sent: Vec::new(),
            closed: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            wake_at: None,
        }
    }

    fn drain(&mut self) {
        loop {
            match self.forwarder.poll_output() {
                Output::Reply { asker, message } => self.replies.push((asker, read(&message))),
                Output::SendDatagram { slot, to, message } => {
                    self.sent.push(Sent {
                        slot,
                        to,
                        tcp: false,
                        query: read(&message),
                    });
                }
                Output::SendStream { slot, to, message } => {
                    self.sent.push(Sent {
                        slot,
                        to,
                        tcp: true,
                        query: read(&message),
                    });
                }
                Output::Close { slot } => self.closed.push(slot),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => {
                    self.wake_at = at;
                    return;
                }
            }
        }
    }

    /// A question over UDP; the answer when it is there at once.
    fn ask(&mut self, text: &str, rr_type: RrType) -> Option<Repr> {
        self.ask_as(asker(1), query(text, rr_type))
    }

    fn ask_as(&mut self, asker: Asker, query: Repr) -> Option<Repr> {
        let mut out = [0; 65_535];
        let bytes = query.to_vec().unwrap();
        let verdict = self
            .forwarder
            .handle_query(self.now, asker, &bytes, &mut out, &mut self.rng);
        self.drain();
        match verdict {
            Verdict::Reply(len) => Some(read(&out[..len])),
            Verdict::Waiting => None,
            Verdict::Dropped => panic!("dropped"),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.forwarder.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    /// The upstream answers what was sent to it.
    fn answer(&mut self, sent: &Sent, reply: &Repr) {
        self.answer_from(sent, sent.to, reply);
    }

    fn answer_from(&mut self, sent: &Sent, from: SocketAddr, reply: &Repr) {
        let message = reply.to_vec().unwrap();
        let slot = sent.slot;
        if sent.tcp {
            self.input(Input::UpstreamMessage {
                slot,
                message: &message,
            });
        } else {
            self.input(Input::UpstreamDatagram {
                slot,
                from,
                message: &message,
            });
        }
    }

    fn last(&self) -> Sent {
        self.sent.last().unwrap().clone()
    }

    /// Lets `ms` pass, waking the machine whenever it wants to be woken.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.forwarder.handle_timeout(self.now, &mut self.rng);
            self.drain();
        }
        self.now = end;
    }

    /// The only reply so far; forgets it.
    fn reply(&mut self) -> Repr {
        assert_eq!(self.replies.len(), 1);
        self.replies.remove(0).1
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.forwarder.counters().of(reason)
    }
}

fn read(message: &[u8]) -> Repr {
    Repr::parse(&Packet::new_checked(message).unwrap()).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn query(text: &str, rr_type: RrType) -> Repr {
    Repr::query(77, name(text), rr_type)
}

fn asker(n: u8) -> Asker {
    Asker {
        peer: SocketAddr::from(([192, 168, 1, n], 40_000)),
        local: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)),
        link: 3,
        transport: Transport::Udp,
    }
}

fn config() -> Config {
    Config {
        upstreams: vec![UPSTREAM],
        own_name: name("lintel.lan"),
        ..Config::default()
    }
}

fn two() -> Config {
    Config {
        upstreams: vec![UPSTREAM, SECOND],
        ..config()
    }
}

fn record(owner: Name, ttl: u32, rdata: Rdata) -> RecordRepr {
    RecordRepr {
        name: owner,
        class: Class::IN,
        ttl,
        rdata,
    }
}

fn soa(owner: &str, minimum: u32) -> RecordRepr {
    let soa = SoaRepr {
        mname: name("ns.example"),
        rname: name("host.example"),
        serial: 1,
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum,
    };
    record(name(owner), 3_600, Rdata::Soa(Box::new(soa)))
}

/// The reply to `sent` with one A record.
fn good(sent: &Sent, last_octet: u8, ttl: u32) -> Repr {
    let question = sent.query.question.clone().unwrap();
    let mut reply = empty(sent, Rcode::NOERROR);
    reply.answers = vec![record(
        question.name,
        ttl,
        Rdata::A([203, 0, 113, last_octet].into()),
    )];
    reply
}

fn empty(sent: &Sent, rcode: Rcode) -> Repr {
    let mut reply = sent.query.clone();
    reply.flags = Flags {
        response: true,
        recursion_available: true,
        ..Flags::QUERY
    };
    reply.rcode = rcode;
    reply
}

fn address(repr: &Repr) -> Option<u8> {
    match repr.answers.first()?.rdata {
        Rdata::A(address) => Some(address.octets()[3]),
        _ => None,
    }
}

#[test]
fn asked_once_then_from_the_cache_until_the_ttl_ends() {
    let mut house = House::new(config());
    assert_eq!(house.ask("WWW.example", RrType::A), None);
    let sent = house.last();
    assert_eq!(sent.to, UPSTREAM);
    assert_eq!(sent.query.edns.as_ref().unwrap().udp_len, 1232);
    house.answer(&sent, &good(&sent, 5, 300));
    let reply = house.reply();
    assert_eq!(
        (reply.id, address(&reply), reply.answers[0].ttl),
        (77, Some(5), 300)
    );
    assert_eq!(
        reply.question.unwrap().name,
        name("WWW.example"),
        "in the asker's letters"
    );
    assert!(reply.edns.is_none(), "the asker sent no OPT");
    assert_eq!(house.closed, [sent.slot]);

    house.pass_ms(100_000);
    let cached = house.ask("www.EXAMPLE", RrType::A).unwrap();
    assert_eq!((address(&cached), cached.answers[0].ttl), (Some(5), 200));
    assert_eq!(cached.question.unwrap().name, name("www.EXAMPLE"));
    house.pass_ms(200_000);
    assert_eq!(house.ask("www.example", RrType::A), None, "expired");
    assert_eq!(house.sent.len(), 2);
    assert_eq!(house.forwarder.counters().cache_hits, 1);
}

#[test]
fn negative_answers_are_kept_as_long_as_their_soa_says() {
    let mut house = House::new(config());
    house.ask("no.example", RrType::A);
    let sent = house.last();
    let mut reply = empty(&sent, Rcode::NXDOMAIN);
    reply.authorities = vec![soa("example", 30)];
    house.answer(&sent, &reply);
    assert_eq!(house.reply().rcode, Rcode::NXDOMAIN);
    house.pass_ms(29_000);
    let cached = house.ask("no.example", RrType::A).unwrap();
    assert_eq!(
        (cached.rcode, cached.authorities[0].ttl),
        (Rcode::NXDOMAIN, 1)
    );
    house.pass_ms(1_000);
    assert_eq!(house.ask("no.example", RrType::A), None);
}

#[test]
fn equal_questions_go_out_once() {
    let mut house = House::new(config());
    for n in 1..=5 {
        let mut query = query("www.example", RrType::A);
        query.id = u16::from(n);
        query.edns = Some(EdnsRepr {
            udp_len: 1232,
            version: 0,
            dnssec_ok: false,
            options: vec![],
        });
        assert_eq!(house.ask_as(asker(n), query), None);
    }
    house.ask("www.example", RrType::A);
    house.ask("www.example", RrType::A);
    assert_eq!(house.sent.len(), 1);
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 0));
    // Asker 1 sent two different questions and repeated one of them.
    assert_eq!(house.replies.len(), 6);
    for (asker, reply) in &house.replies[..5] {
        assert_eq!(
            (asker.peer.ip(), reply.id),
            (self::asker(reply.id as u8).peer.ip(), reply.id)
        );
        assert!(reply.edns.is_some());
    }
    assert_eq!(
        house.ask("www.example", RrType::A),
        None,
        "a TTL of zero is not kept"
    );
}

#[test]
fn forged_replies_are_dropped_and_counted() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    let real = good(&sent, 5, 300);
    let forged = |change: &dyn Fn(&mut Repr)| {
        let mut forged = good(&sent, 66, 300);
        change(&mut forged);
        forged
    };
    let other_port = SocketAddr::new(UPSTREAM.ip(), 5353);
    house.answer_from(&sent, SECOND, &forged(&|_| {}));
    house.answer_from(&sent, other_port, &forged(&|_| {}));
    assert_eq!(house.dropped(Reason::ReplySource), 2);
    house.answer(&sent, &forged(&|repr| repr.id ^= 1));
    assert_eq!(house.dropped(Reason::ReplyId), 1);
    house.answer(&sent, &forged(&|repr| repr.flags.response = false));
    assert_eq!(house.dropped(Reason::ReplyMalformed), 1);
    house.answer(
        &sent,
        &forged(&|repr| repr.question.as_mut().unwrap().name = name("evil.example")),
    );
    house.answer(
        &sent,
        &forged(&|repr| repr.question.as_mut().unwrap().rr_type = RrType::MX),
    );
    assert_eq!(house.dropped(Reason::ReplyQuestion), 2);
    let stale = SocketSlot {
        index: sent.slot.index,
        generation: sent.slot.generation.wrapping_sub(1),
    };
    let message = forged(&|_| {}).to_vec().unwrap();
    house.input(Input::UpstreamDatagram {
        slot: stale,
        from: UPSTREAM,
        message: &message,
    });
    assert_eq!(house.dropped(Reason::ReplyStale), 1);
    assert!(house.replies.is_empty());
    house.answer(&sent, &real);
    assert_eq!(address(&house.reply()), Some(5));
}

#[test]
fn after_many_misses_the_question_goes_over_tcp() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    for n in 1..=8 {
        let mut forged = good(&sent, 66, 300);
        forged.id = forged.id.wrapping_add(n);
        house.answer(&sent, &forged);
    }
    let again = house.last();
    assert!(again.tcp);
    house.answer(&sent, &good(&sent, 66, 300));
    assert!(house.replies.is_empty(), "the guessed socket is closed");
    house.answer(&again, &good(&again, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
}

#[test]
fn letters_in_another_case_lead_to_tcp_and_are_remembered() {
    let mut house = House::new(config());
    house.ask("www.example", RrType::A);
    let sent = house.last();
    let asked = sent.query.question.clone().unwrap().name;
    assert!(asked != name("www.example") && asked.eq_ignore_case(&name("www.example")));
    let folded = |sent: &Sent, n| {
        let mut reply = good(sent, n, 300);
        reply.question.as_mut().unwrap().name = name("www.example");
        reply
    };
    house.answer(&sent, &folded(&sent, 66));
    assert!(house.replies.is_empty());
    assert_eq!(house.dropped(Reason::ReplyCase), 1);
    let tcp = house.last();
    assert!(tcp.tcp);
    house.answer(&tcp, &folded(&tcp, 5));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.events, [Event::UpstreamChangesCase(UPSTREAM)]);
    house.ask("mail.example", RrType::A);
    let next = house.last();
    assert!(!next.tcp);
    assert_eq!(
        next.query.question.unwrap().name,
        name("mail.example"),
        "no more random letters"
    );
}

#[test]
fn truncated_replies_are_asked_again_over_tcp() {
    let mut house = House::new(config());
    house.ask("big.example", RrType::TXT);
    let sent = house.last();
    let mut cut = empty(&sent, Rcode::NOERROR);
    cut.flags.truncated = true;
    house.answer(&sent, &cut);
    let tcp = house.last();
    assert!(tcp.tcp && tcp.to == UPSTREAM);
    let mut whole = empty(&tcp, Rcode::NOERROR);
    let owner = tcp.query.question.clone().unwrap().name;
    whole.answers = (0..10)
        .map(|n| record(owner.clone(), 60, Rdata::Txt(vec![vec![n; 200]])))
        .collect();
    house.answer(&tcp, &whole);
    // The asker takes 512 octets over UDP: it hears TC, comes over TCP and gets all of it.
    let reply = house.reply();
    assert!(reply.flags.truncated && reply.answers.is_empty());
    let over_tcp = Asker {
        transport: Transport::Tcp { connection: 9 },
        ..asker(1)
    };
    let reply = house
        .ask_as(over_tcp, query("big.example", RrType::TXT))
        .unwrap();
    assert_eq!((reply.flags.truncated, reply.answers.len()), (false, 10));
}

#[test]
fn silence_fails_over_and_the_first_may_still_answer() {
    let mut house = House::new(two());
    house.ask("www.example", RrType::A);
    let first = house.last();
    house.pass_ms(1_000);
    let second = house.last();
    assert_ne!(second.to, first.to);
    assert_ne!(second.slot, first.slot);
    house.answer(&first, &good(&first, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.closed.len(), 2);
}

#[test]
fn a_silent_upstream_ends_in_servfail_in_time_and_recovers_at_once() {
    let mut house = House::new(config());
    for round in 0..3 {
        house.ask("www.example", RrType::A);
        house.pass_ms(4_499);
        assert!(house.replies.is_empty());
        house.pass_ms(1);
        assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
        assert_eq!(house.forwarder.open_questions(), 0);
        // Kept for 1, 2, 4 seconds: whoever asks meanwhile hears it without a packet.
        let before = house.sent.len();
        assert_eq!(
            house.ask("www.example", RrType::A).unwrap().rcode,
            Rcode::SERVFAIL
        );
        assert_eq!(house.sent.len(), before);
        assert!(before <= (round + 1) * 8);
        house.pass_ms(1_000 << round);
    }
    assert_eq!(house.events, [Event::UpstreamDown(UPSTREAM)]);
    assert!(!house.forwarder.upstream_status().next().unwrap().good);
    house.ask("www.example", RrType::A);
    house.pass_ms(4_500);
    house.reply();
    // It returns: another name is answered, and the failure is not believed any more.
    house.ask("mail.example", RrType::A);
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    assert_eq!(house.events.last(), Some(&Event::UpstreamBack(UPSTREAM)));
    assert_eq!(house.ask("www.example", RrType::A), None);
}

#[test]
fn a_failing_upstream_is_followed_by_the_next_at_once() {
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
        let mut house = House::new(two());
        house.ask("www.example", RrType::A);
        let first = house.last();
        house.answer(&first, &empty(&first, rcode));
        let second = house.last();
        assert_ne!(second.to, first.to);
        house.answer(&second, &empty(&second, rcode));
        assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
        assert_eq!(
            house.ask("www.example", RrType::A).unwrap().rcode,
            Rcode::SERVFAIL
        );
        house.pass_ms(5_000);
        assert_eq!(house.ask("www.example", RrType::A), None);
    }
    let mut house = House::new(two());
    house.ask("www.example", RrType::A);
    let first = house.last();
    house.input(Input::UpstreamFailed { slot: first.slot });
    assert_ne!(house.last().to, first.to);
    house.input(Input::UpstreamFailed {
        slot: house.last().slot,
    });
    assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
}

#[test]
fn servers_without_edns_are_asked_without() {
    for header_only in [false, true] {
        let mut house = House::new(config());
        house.ask("www.example", RrType::A);
        let sent = house.last();
        let mut refused = empty(&sent, Rcode::FORMERR);
        refused.edns = None;
        if header_only {
            refused.question = None;
        }
        house.answer(&sent, &refused);
        let again = house.last();
        assert!(again.query.edns.is_none());
        assert_ne!((again.slot, again.query.id), (sent.slot, sent.query.id));
        house.answer(&again, &good(&again, 5, 300));
        assert_eq!(address(&house.reply()), Some(5));
        assert_eq!(house.events, [Event::UpstreamRefusesEdns(UPSTREAM)]);
    }
}

#[test]
fn private_addresses_from_outside_are_dropped_unless_allowed() {
    let private = |house: &mut House, text: &str| {
        house.ask(text, RrType::A);
        let sent = house.last();
        let mut reply = good(&sent, 1, 300);
        reply.answers[0].rdata = Rdata::A([192, 168, 1, 1].into());
        house.answer(&sent, &reply);
        house.reply().answers.len()
    };
    let mut house = House::new(Config {
        rebind_allowed: vec![name("work.example")],
        ..config()
    });
    assert_eq!(private(&mut house, "evil.example"), 0);
    assert_eq!(house.dropped(Reason::ReplyRebind), 1);
    assert_eq!(private(&mut house, "vpn.work.example"), 1);
    let mut house = House::new(Config {
        rebind_protection: false,
        ..config()
    });
    assert_eq!(private(&mut house, "evil.example"), 1);
}

fn local() -> Config {
    Config {
        hosts: vec![
            (name("lintel.lan"), "192.168.1.1".parse().unwrap()),
            (name("laptop.lan"), "192.168.1.20".parse().unwrap()),
            (name("laptop.lan"), "fd00::20".parse().unwrap()),
        ],
        records: vec![
            record(name("files.lan"), 300, Rdata::Cname(name("laptop.lan"))),
            record(name("a.deep.lan"), 300, Rdata::A([192, 168, 1, 30].into())),
            record(
                name("Printer.example.com"),
                300,
                Rdata::A([192, 168, 1, 31].into()),
            ),
            record(name("loop.lan"), 300, Rdata::Cname(name("loop.lan"))),
        ],
        ..config()
    }
}

#[test]
fn local_names() {
    let mut house = House::new(local());
    let mut ask = |text: &str, rr_type| {
        let reply = house
            .ask(text, rr_type)
            .unwrap_or_else(|| panic!("{text} was forwarded"));
        assert!(reply.flags.authoritative && reply.flags.recursion_available);
        let data = |record: &RecordRepr| match &record.rdata {
            Rdata::A(a) => a.to_string(),
            Rdata::Aaaa(a) => a.to_string(),
            Rdata::Ptr(n) | Rdata::Cname(n) => n.to_string(),
            other => other.rr_type().to_string(),
        };
        let soa = reply
            .authorities
            .first()
            .map(|record| record.name.to_string())
            .unwrap_or_default();
        let answers: Vec<_> = reply.answers.iter().map(data).collect();
        (reply.rcode, answers.join(" "), soa)
    };
    let ok = |answers: &str, soa: &str| (Rcode::NOERROR, answers.to_owned(), soa.to_owned());
    let no = |soa: &str| (Rcode::NXDOMAIN, String::new(), soa.to_owned());
    let (a, aaaa, ptr) = (RrType::A, RrType::AAAA, RrType::PTR);
    assert_eq!(ask("Lintel.LAN", a), ok("192.168.1.1", ""));
    assert_eq!(ask("lintel.lan", aaaa), ok("", "lan."));
    assert_eq!(ask("laptop.lan", aaaa), ok("fd00::20", ""));
    assert_eq!(ask("laptop", a), ok("192.168.1.20", ""));
    assert_eq!(ask("nobody", a), no(""));
    assert_eq!(ask("nobody.lan", a), no("lan."));
    assert_eq!(ask("x.nobody.lan", RrType::HTTPS), no("lan."));
    assert_eq!(ask("files.lan", a), ok("laptop.lan. 192.168.1.20", ""));
    assert_eq!(ask("files.lan", RrType::CNAME), ok("laptop.lan.", ""));
    assert_eq!(
        ask("deep.lan", a),
        ok("", "lan."),
        "a name with names below it exists"
    );
    assert_eq!(ask("lan", RrType::SOA), ok("SOA", ""));
    assert_eq!(ask("lan", a), ok("", "lan."));
    assert_eq!(ask("printer.EXAMPLE.com", a), ok("192.168.1.31", ""));
    assert_eq!(ask("1.1.168.192.in-addr.arpa", ptr), ok("lintel.lan.", ""));
    assert_eq!(
        ask("9.1.168.192.in-addr.arpa", ptr),
        no("168.192.in-addr.arpa.")
    );
    assert_eq!(
        ask("1.168.192.in-addr.arpa", ptr),
        ok("", "168.192.in-addr.arpa.")
    );
    assert_eq!(ask("1.0.0.127.in-addr.arpa", ptr), ok("localhost.", ""));
    assert_eq!(ask("x.localhost", a), ok("127.0.0.1", ""));
    assert_eq!(ask("localhost", aaaa), ok("::1", ""));
    assert_eq!(ask("abc.onion", a), no("onion."));
    assert_eq!(ask("x.home.arpa", a), no("home.arpa."));
    assert_eq!(ask("home.arpa", a), ok("", "home.arpa."));
    assert_eq!(ask("example.com", RrType::ANY), ok("HINFO", ""), "RFC 8482");
    assert_eq!(ask("loop.lan", a).0, Rcode::NOERROR);
    assert!(house.sent.is_empty());
    assert_eq!(
        house.ask("com", RrType::DS),
        None,
        "zones at the top are public"
    );
    assert_eq!(house.ask("8.8.8.8.in-addr.arpa", ptr), None);
}

#[test]
fn a_new_snapshot_replaces_names_and_moves_open_questions() {
    let mut house = House::new(local());
    assert_eq!(house.ask("www.example", RrType::A), None);
    let old = house.last();
    let config = Config {
        upstreams: vec![SECOND],
        hosts: vec![],
        ..local()
    };
    house.forwarder.configure(house.now, config, &mut house.rng);
    house.drain();
    assert_eq!(
        house.ask("laptop.lan", RrType::A).unwrap().rcode,
        Rcode::NXDOMAIN
    );
    let new = house.last();
    assert_eq!((new.to, house.closed.clone()), (SECOND, vec![old.slot]));
    house.answer(&new, &good(&new, 5, 300));
    assert_eq!(address(&house.reply()), Some(5));
    house.ask("other.example", RrType::A);
    house.forwarder.configure(
        house.now,
        Config {
            upstreams: vec![],
            ..config_of(&house)
        },
        &mut house.rng,
    );
    house.drain();
    assert_eq!(house.reply().rcode, Rcode::SERVFAIL);
    assert_eq!(
        house.ask("third.example", RrType::A).unwrap().rcode,
        Rcode::SERVFAIL
    );
}

fn config_of(_: &House) -> Config {
    local()
}

#[test]
fn an_asker_and_the_table_have_bounds() {
    let mut house = House::new(config());
    let mut refused = 0;
    for n in 0..150 {
        let reply = house.ask(&format!("n{n}.example"), RrType::A);
        refused += usize::from(reply.is_some_and(|reply| reply.rcode == Rcode::REFUSED));
    }
    assert_eq!((refused, house.forwarder.open_questions()), (50, 100));
    for n in 0..1_000 {
        house.ask_as(
            asker(2 + (n % 200) as u8),
            query(&format!("m{n}.example"), RrType::A),
        );
    }
    assert_eq!(house.forwarder.open_questions(), 256);
    assert!(house.dropped(Reason::TableFull) > 0);
    assert!(house.sent.iter().all(|sent| sent.slot.index < 512));
    house.pass_ms(5_000);
    assert_eq!(house.forwarder.open_questions(), 0);
    assert_eq!(house.ask("again.example", RrType::A), None);
}

#[test]
fn askers_that_hang_up_are_forgotten() {
    let mut house = House::new(config());
    let over_tcp = Asker {
        transport: Transport::Tcp { connection: 4 },
        ..asker(1)
    };
    house.ask_as(over_tcp, query("www.example", RrType::A));
    house.input(Input::AskerGone { connection: 4 });
    let sent = house.last();
    house.answer(&sent, &good(&sent, 5, 300));
    assert!(house.replies.is_empty());
    assert!(
        house.ask("www.example", RrType::A).is_some(),
        "kept for others all the same"
    );
}

#[test]
fn a_hundred_thousand_names_stay_within_the_bounds() {
    let mut house = House::new(Config {
        cache_bytes_max: 1 << 20,
        ..config()
    });
    for n in 0..100_000u32 {
        house.ask(&format!("n{n}.example"), RrType::A);
        let sent = house.sent.pop().unwrap();
        house.answer(&sent, &good(&sent, n as u8, 3_600));
        house.replies.clear();
        house.closed.clear();
    }
    let (entries, bytes) = house.forwarder.cache_size();
    assert!(
        bytes <= 1 << 20 && entries > 1_000,
        "{entries} entries, {bytes} octets"
    );
    assert_eq!(house.forwarder.open_questions(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A forger who knows everything but the id, or everything but the letters, gets nothing in,
    /// whatever it sends and however often.
    #[test]
    fn forgers_who_guess_wrong_get_nothing_in(
        seed in any::<u64>(),
        guesses in proptest::collection::vec((any::<u16>(), any::<[u8; 4]>(), any::<bool>()), 1..40),
    ) {
        let mut house = House::new(config());
        house.rng = SeededRng::new(seed);
        house.ask("www.example.com", RrType::A);
        for (id, bits, keep_id) in guesses {
            let sent = house.last();
            if sent.tcp {
                break;
            }
            let mut forged = good(&sent, 66, 300);
            let truth = sent.query.question.clone().unwrap().name;
            let guess = truth.with_case_bits(&bits);
            if keep_id && guess != truth {
                forged.question.as_mut().unwrap().name = guess;
            } else if id != sent.query.id {
                forged.id = id;
            } else {
                continue;
            }
            house.answer(&sent, &forged);
            prop_assert!(house.replies.is_empty());
        }
        let sent = house.last();
        house.answer(&sent, &good(&sent, 5, 300));
        prop_assert_eq!(address(&house.reply()), Some(5));
    }

    /// Any octets on any socket leave the machine alive and the question open.
    #[test]
    fn any_bytes_from_anywhere(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let mut house = House::new(config());
        house.ask("www.example", RrType::A);
        let mut out = [0; 1232];
        for message in &messages {
            let slot = house.last().slot;
            house.input(Input::UpstreamDatagram { slot, from: UPSTREAM, message });
            let now = house.now;
            house.forwarder.handle_query(now, asker(9), message, &mut out, &mut house.rng);
            house.drain();
        }
        let sent = house.last();
        house.answer(&sent, &good(&sent, 5, 300));
        prop_assert!(!house.replies.is_empty());
    }
}
