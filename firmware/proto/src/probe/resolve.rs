//! One question to one name server, over UDP.
//!
//! ```text
//!  asked ──reply──▶ over        again after 2 s, and 2 s more; then over with TIMEOUT
//! ```
//!
//! A reply is known by its id, which is random, and its question; by whom it came is for the caller
//! to judge.

use std::net::{Ipv4Addr, SocketAddrV4};

use embassy_time::{Duration, Instant};
use lintel_model::probe::{
    ProbeReport, RECORD_CHARS_MAX, RECORDS_MAX, ResolveReport, ResolvedRecord,
};
use lintel_wire::dns::{EdnsRepr, Name, Packet, Rcode, Rdata, RecordRepr, Repr, RrType};

use crate::rng::Rng;

/// How long a reply is waited for.
const WAIT: Duration = Duration::from_secs(2);
const TRIES: u8 = 3;
/// What we take in one datagram, octets: what fits unfragmented nearly everywhere.
const UDP_LEN: u16 = 1232;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to the server.
    Transmit(Vec<u8>),
    /// Nothing now; call [`Question::handle_timeout`] then. `None`: it is over.
    Timeout(Option<Instant>),
}

/// The question.
#[derive(Debug)]
pub struct Question {
    server: SocketAddrV4,
    query: Repr,
    began: Instant,
    due: Instant,
    tries: u8,
    out: Option<Vec<u8>>,
    reply: Option<(Repr, Instant)>,
    over: bool,
}

impl Question {
    /// Asks.
    pub fn new(
        now: Instant,
        server: SocketAddrV4,
        name: Name,
        rr_type: RrType,
        rng: &mut dyn Rng,
    ) -> Self {
        let mut id = [0; 2];
        rng.fill(&mut id);
        let mut query = Repr::query(u16::from_be_bytes(id), name, rr_type);
        query.edns = Some(EdnsRepr {
            udp_len: UDP_LEN,
            version: 0,
            dnssec_ok: false,
            options: Vec::new(),
        });
        let mut question = Self {
            server,
            query,
            began: now,
            due: now,
            tries: 0,
            out: None,
            reply: None,
            over: false,
        };
        question.handle_timeout(now);
        question
    }

    /// Whom it asks.
    pub fn server(&self) -> SocketAddrV4 {
        self.server
    }

    /// Something came from the server.
    pub fn handle_datagram(&mut self, now: Instant, octets: &[u8]) {
        let reply = Packet::new_checked(octets)
            .ok()
            .and_then(|packet| Repr::parse(&packet).ok());
        let Some(reply) = reply else {
            return;
        };
        let same = match (&reply.question, &self.query.question) {
            (Some(theirs), Some(ours)) => {
                theirs.rr_type == ours.rr_type && theirs.name.eq_ignore_case(&ours.name)
            }
            // Who cannot read a question may answer without it.
            (None, _) => reply.rcode == Rcode::FORMERR,
            _ => false,
        };
        if self.over || !same || reply.id != self.query.id || !reply.flags.response {
            return;
        }
        // Servers from before EDNS (RFC 6891 section 7).
        if reply.rcode == Rcode::FORMERR && self.query.edns.take().is_some() {
            self.tries = 0;
            self.due = now;
            return self.handle_timeout(now);
        }
        self.reply = Some((reply, now));
        self.over = true;
    }

    /// Asks again, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.over || self.due > now {
            return;
        }
        if self.tries >= TRIES {
            self.over = true;
            return;
        }
        self.tries += 1;
        self.due = now + WAIT;
        self.out = self.query.to_vec().ok();
    }

    /// What is wanted next.
    pub fn poll_output(&mut self) -> Output {
        match self.out.take() {
            Some(octets) if !self.over => Output::Transmit(octets),
            _ => Output::Timeout((!self.over).then_some(self.due)),
        }
    }

    /// Whether it was answered or given up.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The first IPv4 address of the answer.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let (reply, _) = self.reply.as_ref()?;
        reply.answers.iter().find_map(|record| match record.rdata {
            Rdata::A(address) => Some(address),
            _ => None,
        })
    }

    /// What is known.
    pub fn report(&self) -> ProbeReport {
        let took = |at: Instant| at.saturating_duration_since(self.began).as_micros();
        let reply = self.reply.as_ref();
        let answers = reply.iter().flat_map(|(reply, _)| &reply.answers);
        ProbeReport::Resolve(ResolveReport {
            server: self.server,
            code: reply.map_or_else(|| "TIMEOUT".to_owned(), |(reply, _)| code(reply.rcode)),
            took_us: reply.map(|(_, at)| took(*at)),
            truncated: reply.is_some_and(|(reply, _)| reply.flags.truncated),
            records: answers.take(RECORDS_MAX).map(record).collect(),
        })
    }
}

fn code(rcode: Rcode) -> String {
    match rcode {
        Rcode::NOERROR => "NOERROR".to_owned(),
        Rcode::FORMERR => "FORMERR".to_owned(),
        Rcode::SERVFAIL => "SERVFAIL".to_owned(),
        Rcode::NXDOMAIN => "NXDOMAIN".to_owned(),
        Rcode::NOTIMP => "NOTIMP".to_owned(),
        Rcode::REFUSED => "REFUSED".to_owned(),
        other => format!("RCODE{}", other.value()),
    }
}

fn record(record: &RecordRepr) -> ResolvedRecord {
    let value: String = value(&record.rdata)
        .chars()
        .take(RECORD_CHARS_MAX)
        .collect();
    ResolvedRecord {
        name: record.name.to_string(),
        record_type: record.rdata.rr_type().to_string(),
        ttl: record.ttl,
        value,
    }
}

/// As in a zone file (RFC 1035 section 5.1); of unknown types as RFC 3597 section 5 has it.
fn value(rdata: &Rdata) -> String {
    match rdata {
        Rdata::A(address) => address.to_string(),
        Rdata::Aaaa(address) => address.to_string(),
        Rdata::Ns(name) | Rdata::Cname(name) | Rdata::Ptr(name) => name.to_string(),
        Rdata::Soa(soa) => format!(
            "{} {} {} {} {} {} {}",
            soa.mname, soa.rname, soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum
        ),
        Rdata::Txt(texts) => {
            let quoted = texts
                .iter()
                .map(|text| format!("\"{}\"", text.escape_ascii()));
            quoted.collect::<Vec<_>>().join(" ")
        }
        Rdata::Mx {
            preference,
            exchange,
        } => format!("{preference} {exchange}"),
        Rdata::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("{priority} {weight} {port} {target}"),
        Rdata::Raw { data, .. } => {
            let octets: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("\\# {} {octets}", data.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use lintel_wire::dns::Class;

    use super::*;
    use crate::rng::SeededRng;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 53), 53);

    fn question(now: Instant) -> Question {
        let name = Name::from_text("www.example.net").unwrap();
        Question::new(now, SERVER, name, RrType::A, &mut SeededRng::new(3))
    }

    fn asked(question: &mut Question) -> Repr {
        match question.poll_output() {
            Output::Transmit(octets) => {
                Repr::parse(&Packet::new_checked(&octets[..]).unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn reply(query: &Repr) -> Repr {
        let name = query.question.as_ref().unwrap().name.clone();
        let alias = Name::from_text("a.example.net").unwrap();
        let mut reply = query.clone();
        reply.flags.response = true;
        let record = |name: &Name, rdata| RecordRepr {
            name: name.clone(),
            class: Class::IN,
            ttl: 60,
            rdata,
        };
        reply.answers = vec![
            record(&name, Rdata::Cname(alias.clone())),
            record(&alias, Rdata::A([192, 0, 2, 80].into())),
        ];
        reply
    }

    fn told(question: &Question) -> ResolveReport {
        match question.report() {
            ProbeReport::Resolve(report) => report,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_told_record_by_record_and_forgeries_are_not() {
        let mut now = Instant::from_secs(9);
        let mut question = question(now);
        let query = asked(&mut question);
        assert_eq!(question.poll_output(), Output::Timeout(Some(now + WAIT)));
        now += Duration::from_millis(3);
        let good = reply(&query);
        let mut forged = good.clone();
        forged.id ^= 1;
        let mut other = good.clone();
        other.question.as_mut().unwrap().rr_type = RrType::AAAA;
        for wrong in [
            forged.to_vec().unwrap(),
            other.to_vec().unwrap(),
            query.to_vec().unwrap(),
            vec![0; 40],
        ] {
            question.handle_datagram(now, &wrong);
            assert!(!question.is_over());
        }
        question.handle_datagram(now, &good.to_vec().unwrap());
        assert_eq!(question.poll_output(), Output::Timeout(None));
        assert_eq!(question.address(), Some([192, 0, 2, 80].into()));
        let told = told(&question);
        assert_eq!((told.code.as_str(), told.took_us), ("NOERROR", Some(3_000)));
        let lines: Vec<String> = told
            .records
            .iter()
            .map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type, r.value))
            .collect();
        assert_eq!(
            lines,
            [
                "www.example.net. 60 CNAME a.example.net.",
                "a.example.net. 60 A 192.0.2.80"
            ]
        );
    }

    #[test]
    fn silence_is_asked_three_times_and_then_told() {
        let start = Instant::from_secs(9);
        let mut question = question(start);
        let mut now = start;
        let mut sent = 0;
        loop {
            match question.poll_output() {
                Output::Transmit(_) => sent += 1,
                Output::Timeout(Some(at)) => {
                    now = at;
                    question.handle_timeout(now);
                }
                Output::Timeout(None) => break,
            }
        }
        assert_eq!((sent, now - start), (3, Duration::from_secs(6)));
        assert_eq!(told(&question).code, "TIMEOUT");
        assert_eq!(question.address(), None);
    }

    #[test]
    fn an_old_server_is_asked_without_edns() {
        let now = Instant::from_secs(9);
        let mut question = question(now);
        let query = asked(&mut question);
        assert!(query.edns.is_some());
        let mut error = query.clone();
        error.flags.response = true;
        error.rcode = Rcode::FORMERR;
        error.edns = None;
        question.handle_datagram(now, &error.to_vec().unwrap());
        assert_eq!(asked(&mut question).edns, None);
        question.handle_datagram(now, &error.to_vec().unwrap());
        assert_eq!(told(&question).code, "FORMERR");
    }
}
