//! Names of time servers, asked of our own resolver (RFC 1035): one question each, over loopback.
//!
//! ```text
//!   ask ──▶ DUE ──poll──▶ SENT ──reply with addresses──▶ done
//!            ▲              │
//!            └── 1 s, 2 s, 4 s ... 256 s without one ◀──┘
//! ```
//!
//! Only A is asked: the WAN has no IPv6 yet. Nobody outside can answer in dnsd's place, since
//! the kernel drops what comes from outside with a loopback address. Bounded by the number of
//! sources, which the caller bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use embassy_time::{Duration, Instant};
use lintel_model::DomainName;
use lintel_proto::ntp::client::{ADDRESSES_MAX, SourceId};
use lintel_proto::rng::Rng;
use lintel_wire::dns::{Name, Packet, Rcode, Rdata, Repr, RrType};

/// Longest pause between two tries, as a power of two of seconds.
const PAUSE_LOG2_S_MAX: u32 = 8;

/// Names that wait for their addresses.
#[derive(Debug, Default)]
pub struct Names {
    open: BTreeMap<SourceId, Question>,
    /// Whose addresses were found.
    found: BTreeSet<SourceId>,
}

#[derive(Debug)]
struct Question {
    name: Name,
    /// Of the time server.
    port: u16,
    id: u16,
    due: Instant,
    tries: u32,
}

impl Names {
    /// Wants the addresses of `name`.
    pub fn ask(&mut self, now: Instant, source: SourceId, name: &DomainName, port: u16) {
        let Ok(name) = Name::from_text(name.as_str()) else {
            log::warn!("{name} cannot be asked for");
            return;
        };
        let question = Question {
            name,
            port,
            id: 0,
            due: now,
            tries: 0,
        };
        self.open.insert(source, question);
    }

    /// Wants only those of `kept` from now on.
    pub fn retain(&mut self, kept: impl Fn(SourceId) -> bool) {
        self.open.retain(|source, _| kept(*source));
        self.found.retain(|source| kept(*source));
    }

    /// Whether the name was found, or is being asked for.
    pub fn knows(&self, source: SourceId) -> bool {
        self.found.contains(&source) || self.open.contains_key(&source)
    }

    /// There is a way to the internet again: asks everything at once.
    pub fn hurry(&mut self, now: Instant) {
        for question in self.open.values_mut() {
            question.due = now;
            question.tries = 0;
        }
    }

    /// The next question to send.
    pub fn poll(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<Vec<u8>> {
        let question = self.open.values_mut().find(|q| q.due <= now)?;
        let mut id = [0; 2];
        rng.fill(&mut id);
        question.id = u16::from_be_bytes(id);
        let pause = 1 << question.tries.min(PAUSE_LOG2_S_MAX);
        question.tries = question.tries.saturating_add(1);
        question.due = now + Duration::from_secs(pause);
        Repr::query(question.id, question.name.clone(), RrType::A)
            .to_vec()
            .ok()
    }

    /// Takes a reply; the addresses, with the time server's port, when it has some.
    pub fn reply(&mut self, message: &[u8]) -> Option<(SourceId, Vec<SocketAddr>)> {
        let packet = Packet::new_checked(message).ok()?;
        let reply = Repr::parse(&packet).ok()?;
        let asked = reply.question.as_ref()?;
        let (&source, question) = self
            .open
            .iter()
            .find(|(_, q)| q.tries > 0 && q.id == reply.id && q.name.eq_ignore_case(&asked.name))?;
        if !reply.flags.response || reply.rcode != Rcode::NOERROR || asked.rr_type != RrType::A {
            return None;
        }
        // dnsd has followed and checked the chain of names; every address in it is an answer.
        let addresses: Vec<SocketAddr> = reply
            .answers
            .iter()
            .filter_map(|record| match record.rdata {
                Rdata::A(ip) => Some(SocketAddr::new(IpAddr::V4(ip), question.port)),
                _ => None,
            })
            .take(ADDRESSES_MAX)
            .collect();
        if addresses.is_empty() {
            return None;
        }
        self.open.remove(&source);
        self.found.insert(source);
        Some((source, addresses))
    }

    /// When [`Self::poll`] has the next.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|question| question.due).min()
    }
}

#[cfg(test)]
mod tests {
    use lintel_proto::rng::SeededRng;
    use lintel_wire::dns::{Class, RecordRepr};

    use super::*;

    const SOURCE: SourceId = SourceId(3);

    fn asked(names: &mut Names, now: Instant) -> Repr {
        let message = names.poll(now, &mut SeededRng::new(1)).unwrap();
        Repr::parse(&Packet::new_checked(&message).unwrap()).unwrap()
    }

    fn answer(query: &Repr, ips: &[[u8; 4]]) -> Vec<u8> {
        let mut reply = query.clone();
        reply.flags.response = true;
        let name = query.question.as_ref().unwrap().name.clone();
        reply.answers = ips
            .iter()
            .map(|ip| RecordRepr {
                name: name.clone(),
                class: Class::IN,
                ttl: 60,
                rdata: Rdata::A((*ip).into()),
            })
            .collect();
        reply.to_vec().unwrap()
    }

    #[test]
    fn a_name_is_asked_until_it_has_addresses() {
        let mut names = Names::default();
        let start = Instant::from_secs(100);
        names.ask(start, SOURCE, &"ntp.example.net".parse().unwrap(), 1123);
        let mut now = start;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
            let query = asked(&mut names, now);
            assert_eq!(names.reply(&answer(&query, &[])), None);
            assert_eq!(names.deadline(), Some(now + Duration::from_secs(pause)));
            assert!(names.poll(now, &mut SeededRng::new(1)).is_none());
            now += Duration::from_secs(pause);
        }
        names.hurry(now);
        let query = asked(&mut names, now);
        let good = answer(&query, &[[192, 0, 2, 1], [192, 0, 2, 2]]);
        let mut forged = query.clone();
        forged.id ^= 1;
        assert_eq!(names.reply(&answer(&forged, &[[192, 0, 2, 9]])), None);
        assert_eq!(names.reply(b"nonsense"), None);
        let (source, addresses) = names.reply(&good).unwrap();
        assert_eq!(source, SOURCE);
        let want = ["192.0.2.1:1123", "192.0.2.2:1123"].map(|a| a.parse().unwrap());
        assert_eq!(addresses, want);
        assert_eq!(names.deadline(), None);
        assert_eq!(names.reply(&good), None);
    }
}
