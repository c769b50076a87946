//! A household, its forwarder and the upstreams that a test speaks for.

use super::*;

pub(super) const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 53);
pub(super) const SECOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 53);

/// A message on its way to an upstream.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) slot: SocketSlot,
    pub(super) to: SocketAddr,
    pub(super) tcp: bool,
    pub(super) query: Repr,
}

pub(super) struct House {
    pub(super) forwarder: Forwarder,
    pub(super) rng: SeededRng,
    pub(super) now: Instant,
    pub(super) sent: Vec<Sent>,
    pub(super) closed: Vec<SocketSlot>,
    pub(super) replies: Vec<(Asker, Repr)>,
    pub(super) events: Vec<Event>,
    pub(super) wake_at: Option<Instant>,
}

impl House {
    pub(super) fn new(config: Config) -> Self {
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

    pub(super) fn drain(&mut self) {
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
    pub(super) fn ask(&mut self, text: &str, rr_type: RrType) -> Option<Repr> {
        self.ask_as(asker(1), query(text, rr_type))
    }

    pub(super) fn ask_as(&mut self, asker: Asker, query: Repr) -> Option<Repr> {
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

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.forwarder.handle_input(self.now, input, &mut self.rng);
        self.drain();
    }

    /// The upstream answers what was sent to it.
    pub(super) fn answer(&mut self, sent: &Sent, reply: &Repr) {
        self.answer_from(sent, sent.to, reply);
    }

    pub(super) fn answer_from(&mut self, sent: &Sent, from: SocketAddr, reply: &Repr) {
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

    pub(super) fn last(&self) -> Sent {
        self.sent.last().unwrap().clone()
    }

    /// Lets `ms` pass, waking the machine whenever it wants to be woken.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.forwarder.handle_timeout(self.now, &mut self.rng);
            self.drain();
        }
        self.now = end;
    }

    /// The only reply so far; forgets it.
    pub(super) fn reply(&mut self) -> Repr {
        assert_eq!(self.replies.len(), 1);
        self.replies.remove(0).1
    }

    pub(super) fn dropped(&self, reason: Reason) -> u64 {
        self.forwarder.counters().of(reason)
    }
}

pub(super) fn read(message: &[u8]) -> Repr {
    Repr::parse(&Packet::new_checked(message).unwrap()).unwrap()
}

pub(super) fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

pub(super) fn query(text: &str, rr_type: RrType) -> Repr {
    Repr::query(77, name(text), rr_type)
}

pub(super) fn asker(n: u8) -> Asker {
    Asker {
        peer: SocketAddr::from(([192, 168, 1, n], 40_000)),
        local: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)),
        link: 3,
        transport: Transport::Udp,
    }
}

pub(super) fn config() -> Config {
    Config {
        upstreams: vec![UPSTREAM],
        own_name: name("lintel.lan"),
        ..Config::default()
    }
}

pub(super) fn two() -> Config {
    Config {
        upstreams: vec![UPSTREAM, SECOND],
        ..config()
    }
}

pub(super) fn record(owner: Name, ttl: u32, rdata: Rdata) -> RecordRepr {
    RecordRepr {
        name: owner,
        class: Class::IN,
        ttl,
        rdata,
    }
}

pub(super) fn soa(owner: &str, minimum: u32) -> RecordRepr {
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
pub(super) fn good(sent: &Sent, last_octet: u8, ttl: u32) -> Repr {
    let question = sent.query.question.clone().unwrap();
    let mut reply = empty(sent, Rcode::NOERROR);
    reply.answers = vec![record(
        question.name,
        ttl,
        Rdata::A([203, 0, 113, last_octet].into()),
    )];
    reply
}

pub(super) fn empty(sent: &Sent, rcode: Rcode) -> Repr {
    let mut reply = sent.query.clone();
    reply.flags = Flags {
        response: true,
        recursion_available: true,
        ..Flags::QUERY
    };
    reply.rcode = rcode;
    reply
}

pub(super) fn address(repr: &Repr) -> Option<u8> {
    match repr.answers.first()?.rdata {
        Rdata::A(address) => Some(address.octets()[3]),
        _ => None,
    }
}
