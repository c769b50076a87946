//! Reading a question of the household.
//!
//! Strict on purpose: exactly one question, its name uncompressed, no records beside OPT and
//! signatures, nothing behind the last record. What stub resolvers send looks like that.

use lintel_wire::dns::{Class, Error, Flags, HEADER_LEN, Opcode, Packet, Rcode, RrType, Section};

use super::counters::Reason;

/// Room for a lower-case name, a type and one octet of flags.
pub(super) const KEY_LEN_MAX: usize = 255 + 3;

/// What the cache and the table of open questions are searched by: the name in lower case, the
/// type, and the two flags that change what upstream answers (DO and CD).
#[derive(Clone)]
pub(super) struct Key {
    octets: [u8; KEY_LEN_MAX],
    len: usize,
}

impl Key {
    /// A key that was kept as octets.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut octets = [0; KEY_LEN_MAX];
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (bytes.len() > 3).then_some(Self {
            octets,
            len: bytes.len(),
        })
    }

    /// All octets.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// The name in lower case, in wire form.
    pub(super) fn name(&self) -> &[u8] {
        &self.octets[..self.len - 3]
    }
}

/// A question with all that its answer depends on.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) id: u16,
    pub(super) flags: Flags,
    /// Name, type and class as the asker wrote them.
    pub(super) question: &'a [u8],
    pub(super) rr_type: RrType,
    pub(super) edns: Option<AskEdns>,
    pub(super) key: Key,
}

/// What the asker's OPT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AskEdns {
    pub(super) udp_len: u16,
    pub(super) dnssec_ok: bool,
}

/// A message that is no question for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAnAsk {
    /// Say nothing.
    Silent(Reason),
    /// Answer with this code and nothing but the header (and, for BADVERS, OPT).
    Refuse {
        id: u16,
        flags: Flags,
        rcode: Rcode,
        reason: Reason,
    },
}

impl<'a> Ask<'a> {
    /// Reads `message`.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, NotAnAsk> {
        let silent = NotAnAsk::Silent(Reason::AskNotAQuestion);
        let packet = Packet::new_checked(message).map_err(|_| silent)?;
        let (id, flags) = (packet.id(), packet.flags());
        if flags.response {
            return Err(silent);
        }
        let refuse = |rcode, reason| NotAnAsk::Refuse {
            id,
            flags,
            rcode,
            reason,
        };
        if flags.opcode != Opcode::QUERY {
            return Err(refuse(Rcode::NOTIMP, Reason::AskOpcode));
        }
        let malformed = refuse(Rcode::FORMERR, Reason::AskMalformed);
        if packet.question_count() != 1
            || packet.record_count(Section::Answer) != 0
            || packet.record_count(Section::Authority) != 0
        {
            // An IXFR question carries the asker's SOA (RFC 1995, 3): we transfer nothing.
            return Err(malformed);
        }
        let (mut key, question_end) = lower_name(message).ok_or(malformed)?;
        let question = &message[HEADER_LEN..question_end];
        let [type_high, type_low, class_high, class_low] =
            *question.last_chunk::<4>().ok_or(malformed)?;
        let rr_type = RrType(u16::from_be_bytes([type_high, type_low]));
        let edns = match read_edns(&packet, question_end) {
            Ok(edns) => edns,
            Err(OptError::Version) => return Err(refuse(Rcode::BADVERS, Reason::AskVersion)),
            Err(OptError::Malformed) => return Err(malformed),
        };
        let class = Class(u16::from_be_bytes([class_high, class_low]));
        if class != Class::IN
            || matches!(
                rr_type,
                RrType::AXFR | RrType::IXFR | RrType::OPT | RrType::TSIG
            )
        {
            return Err(refuse(Rcode::REFUSED, Reason::AskRefused));
        }
        let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
        key.octets[key.len..key.len + 3].copy_from_slice(&[
            type_high,
            type_low,
            u8::from(dnssec_ok) | u8::from(flags.checking_disabled) << 1,
        ]);
        key.len += 3;
        Ok(Self {
            id,
            flags,
            question,
            rr_type,
            edns,
            key,
        })
    }
}

/// Copies the question's name in lower case; returns it and the offset behind the question.
fn lower_name(message: &[u8]) -> Option<(Key, usize)> {
    let mut key = Key {
        octets: [0; KEY_LEN_MAX],
        len: 0,
    };
    let mut at = HEADER_LEN;
    loop {
        let length = *message.get(at)?;
        if length > 63 {
            return None;
        }
        at += 1 + usize::from(length);
        if at - HEADER_LEN > 255 {
            return None;
        }
        if length == 0 {
            break;
        }
    }
    key.len = at - HEADER_LEN;
    let name = message.get(HEADER_LEN..at)?;
    message.get(at..at + 4)?;
    for (to, from) in key.octets.iter_mut().zip(name) {
        // Length octets are at most 63, below the capital letters.
        *to = from.to_ascii_lowercase();
    }
    Some((key, at + 4))
}

enum OptError {
    Malformed,
    Version,
}

impl From<Error> for OptError {
    fn from(_: Error) -> Self {
        Self::Malformed
    }
}

fn read_edns(packet: &Packet<&[u8]>, question_end: usize) -> Result<Option<AskEdns>, OptError> {
    let mut edns = None;
    let mut version = 0;
    let mut end = question_end;
    for record in packet.records() {
        let record = record?;
        end = record.end();
        if record.rr_type != RrType::OPT {
            continue;
        }
        // The owner is the root, one octet (RFC 6891, 6.1.2), and there is one OPT (6.1.1).
        if edns.is_some() || record.rdata_at() - record.at() != 11 {
            return Err(OptError::Malformed);
        }
        let [_, this_version, high, _] = record.ttl.to_be_bytes();
        version = this_version;
        edns = Some(AskEdns {
            udp_len: record.class.0,
            dnssec_ok: high & 0x80 != 0,
        });
    }
    if end != packet.as_bytes().len() {
        return Err(OptError::Malformed);
    }
    if version > 0 {
        Err(OptError::Version)
    } else {
        Ok(edns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lintel_wire::dns::{EdnsRepr, Name, QuestionRepr, Repr};
    use proptest::prelude::*;

    fn query() -> Repr {
        let mut query = Repr::query(7, Name::from_text("WWW.Example").unwrap(), RrType::AAAA);
        query.edns = Some(EdnsRepr {
            udp_len: 4096,
            version: 0,
            dnssec_ok: true,
            options: vec![0, 10, 0, 0],
        });
        query
    }

    #[test]
    fn reads_what_stubs_send() {
        let bytes = query().to_vec().unwrap();
        let ask = Ask::read(&bytes).ok().unwrap();
        assert_eq!((ask.id, ask.rr_type), (7, RrType::AAAA));
        assert_eq!(ask.key.name(), b"\x03www\x07example\0");
        assert_eq!(ask.key.as_bytes(), b"\x03www\x07example\0\0\x1c\x01");
        assert_eq!(ask.question, b"\x03WWW\x07Example\0\0\x1c\0\x01");
        assert_eq!(
            ask.edns,
            Some(AskEdns {
                udp_len: 4096,
                dnssec_ok: true
            })
        );
    }

    #[test]
    fn turns_away() {
        let reason = |change: &dyn Fn(&mut Repr)| {
            let mut repr = query();
            change(&mut repr);
            match Ask::read(&repr.to_vec().unwrap()).err().unwrap() {
                NotAnAsk::Silent(reason) => (None, reason),
                NotAnAsk::Refuse { rcode, reason, .. } => (Some(rcode), reason),
            }
        };
        assert_eq!(
            reason(&|q| q.flags.response = true),
            (None, Reason::AskNotAQuestion)
        );
        assert_eq!(
            reason(&|q| q.flags.opcode = Opcode::UPDATE),
            (Some(Rcode::NOTIMP), Reason::AskOpcode)
        );
        assert_eq!(
            reason(&|q| q.question = None),
            (Some(Rcode::FORMERR), Reason::AskMalformed)
        );
        assert_eq!(
            reason(&|q| q.edns.as_mut().unwrap().version = 1),
            (Some(Rcode::BADVERS), Reason::AskVersion)
        );
        let ask = |rr_type, class| {
            move |q: &mut Repr| {
                q.question = Some(QuestionRepr {
                    name: Name::root(),
                    rr_type,
                    class,
                });
            }
        };
        assert_eq!(
            reason(&ask(RrType::TXT, Class::CH)),
            (Some(Rcode::REFUSED), Reason::AskRefused)
        );
        assert_eq!(
            reason(&ask(RrType::AXFR, Class::IN)),
            (Some(Rcode::REFUSED), Reason::AskRefused)
        );
        let mut trailing = query().to_vec().unwrap();
        trailing.push(0);
        assert!(matches!(
            Ask::read(&trailing).err().unwrap(),
            NotAnAsk::Refuse {
                rcode: Rcode::FORMERR,
                ..
            }
        ));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ask::read(&bytes);
        }

        #[test]
        fn any_bytes_behind_a_good_header(tail in proptest::collection::vec(any::<u8>(), 0..300), extra in 0u8..3) {
            let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, extra];
            bytes.extend(tail);
            if let Ok(ask) = Ask::read(&bytes) {
                prop_assert!(Name::from_wire(ask.key.name()).is_ok());
            }
        }
    }
}
