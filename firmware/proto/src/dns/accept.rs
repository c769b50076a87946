//! From an upstream's reply to an answer that can be kept and given to others.
//!
//! Whether a message is the reply to what was asked is decided by [`question_match`] and the
//! caller (RFC 5452, 9.1); what it says is judged here.

use lintel_wire::dns::{Error, HEADER_LEN, Name, Packet, Rcode, Record, RrType, Section};

use super::answer::{Answer, RESPONSE};
use super::config::{Config, Prefix};
use super::counters::Reason;
use super::rebind::names_private;

/// No TTL that leaves us is longer, whatever upstream says.
const TTL_S_MAX: u32 = 86_400;

/// Longest time for which a negative answer is believed (RFC 2308, 5 suggests one to three hours).
const NEGATIVE_TTL_S_MAX: u32 = 3_600;

/// How long a failure that upstream reports is kept at least (RFC 9520, 3.2).
const SERVFAIL_TTL_S: u32 = 5;

/// How long it is remembered that an answer was dropped for its private addresses.
const REBIND_TTL_S: u32 = 60;

/// Aliases on the way to an answer; longer chains are a loop or an attack.
const ALIASES_MAX: usize = 16;

/// Does a reply repeat the question that was sent?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuestionMatch {
    /// Octet by octet.
    Exact,
    /// But for the case of letters.
    OtherCase,
    /// It has no question at all.
    Missing,
    /// No.
    No,
}

/// Compares the question section of `packet` with the octets of the question that was `sent`.
pub(super) fn question_match(packet: &Packet<&[u8]>, sent: &[u8]) -> QuestionMatch {
    match packet.question_count() {
        0 => return QuestionMatch::Missing,
        1 => {}
        _ => return QuestionMatch::No,
    }
    let Some(theirs) = packet.as_bytes().get(HEADER_LEN..HEADER_LEN + sent.len()) else {
        return QuestionMatch::No;
    };
    if theirs == sent {
        return QuestionMatch::Exact;
    }
    // Type and class must be the same; their octets can look like letters.
    let name_len = sent.len().saturating_sub(4);
    let same_but_case = theirs[..name_len].eq_ignore_ascii_case(&sent[..name_len])
        && theirs[name_len..] == sent[name_len..];
    if same_but_case {
        QuestionMatch::OtherCase
    } else {
        QuestionMatch::No
    }
}

/// What a reply that matches says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer, positive or negative.
    Answer(Answer),
    /// The upstream would not or could not; another one may.
    Failed(Rcode),
    /// The upstream does not take EDNS (RFC 6891, 7).
    NoEdns,
    /// Not to be believed.
    Dropped(Reason),
    /// The answer named private addresses; this is what the household hears instead.
    Rebind(Answer),
}

/// Judges `packet`, the reply to `question` (its octets in lower case), which did not say TC.
pub(super) fn judge(
    packet: &Packet<&[u8]>,
    question: &[u8],
    dnssec_ok: bool,
    edns_sent: bool,
    config: &Config,
) -> Verdict {
    match read(packet, question, dnssec_ok, edns_sent, config) {
        Ok(verdict) => verdict,
        Err(_) => Verdict::Dropped(Reason::ReplyMalformed),
    }
}

fn read(
    packet: &Packet<&[u8]>,
    question: &[u8],
    dnssec_ok: bool,
    edns_sent: bool,
    config: &Config,
) -> Result<Verdict, Error> {
    let (name, _) = Name::parse(question, 0)?;
    let rr_type = question_type(question);
    let chain = alias_chain(packet, &name)?;
    let rebind_networks = (config.rebind_protection
        && !config
            .rebind_allowed
            .iter()
            .any(|domain| name.is_within(domain)))
    .then_some(config.networks.as_slice());

    let mut kept = Kept {
        end: HEADER_LEN + question.len(),
        ..Kept::default()
    };
    let (mut answered, mut negative_ttl_s, mut delegated, mut extended_rcode, mut opt) =
        (false, None, false, 0, false);
    for record in packet.records() {
        let record = record?;
        check_data(&record)?;
        match record.section {
            Section::Answer => {
                let owner = record.name()?;
                if !belongs(&owner, record.rr_type, &chain) {
                    return Ok(Verdict::Dropped(Reason::ReplyUnrelated));
                }
                if rebind_networks
                    .is_some_and(|networks: &[Prefix]| names_private(&record, networks))
                {
                    let answer = Answer::empty(question, Rcode::NOERROR, REBIND_TTL_S, false);
                    return Ok(Verdict::Rebind(answer));
                }
                answered |= record.rr_type == rr_type || rr_type == RrType::ANY;
                kept.add(&record);
            }
            Section::Authority => match record.rr_type {
                RrType::SOA if chain.last().unwrap_or(&name).is_within(&record.name()?) => {
                    let minimum = record
                        .rdata()
                        .last_chunk()
                        .map_or(0, |word| u32::from_be_bytes(*word));
                    negative_ttl_s =
                        Some(sane_ttl(record.ttl).min(minimum).min(NEGATIVE_TTL_S_MAX));
                }
                RrType::NS => delegated = true,
                _ => {}
            },
            Section::Additional if record.rr_type == RrType::OPT => {
                opt = true;
                extended_rcode = record.ttl.to_be_bytes()[0];
            }
            Section::Additional => {}
        }
    }
    let rcode = Rcode::new(u16::from(extended_rcode) << 4 | packet.header_rcode().value());
    match rcode {
        Rcode::NOERROR | Rcode::NXDOMAIN => {}
        Rcode::FORMERR | Rcode::NOTIMP if edns_sent && !opt => return Ok(Verdict::NoEdns),
        Rcode::BADVERS if edns_sent => return Ok(Verdict::NoEdns),
        other => return Ok(Verdict::Failed(other)),
    }
    let positive = answered && rcode == Rcode::NOERROR;
    if !positive && rcode == Rcode::NOERROR && delegated && negative_ttl_s.is_none() {
        // A referral: this server does not recurse for us.
        return Ok(Verdict::Failed(Rcode::REFUSED));
    }
    // Positive answers go without the sections that nobody asked for, but with DO their proofs
    // (a wildcard's NSEC) are in the authority section. Negative ones need their SOA there.
    if !positive || dnssec_ok {
        for record in packet.records() {
            let record = record?;
            if record.section == Section::Authority {
                kept.add(&record);
            }
        }
    }
    let ttl_s = match (positive, negative_ttl_s) {
        (true, _) => kept.ttl_s,
        (false, Some(negative_ttl_s)) => kept.ttl_s.min(negative_ttl_s),
        // Without SOA a negative answer is not kept (RFC 2308, 5).
        (false, None) => 0,
    };
    let ceiling_s = if positive { TTL_S_MAX } else { ttl_s };
    Ok(Verdict::Answer(kept.into_answer(
        packet.as_bytes(),
        question,
        rcode,
        ttl_s,
        ceiling_s,
    )))
}

/// An answer for when every upstream failed.
pub(super) fn failure(question: &[u8], said_so: bool) -> Answer {
    Answer::empty(
        question,
        Rcode::SERVFAIL,
        if said_so { SERVFAIL_TTL_S } else { 0 },
        true,
    )
}

/// The part of a reply that is kept: answer section, perhaps authority section.
struct Kept {
    end: usize,
    answers: u16,
    authorities: u16,
    ttls: Vec<(u16, u32)>,
    ttl_s: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            end: HEADER_LEN,
            answers: 0,
            authorities: 0,
            ttls: Vec::new(),
            ttl_s: TTL_S_MAX,
        }
    }
}

impl Kept {
    fn add(&mut self, record: &Record<'_>) {
        match record.section {
            Section::Answer => self.answers += 1,
            _ => self.authorities += 1,
        }
        self.end = record.end();
        let ttl = sane_ttl(record.ttl);
        self.ttl_s = self.ttl_s.min(ttl);
        // A message has at most 65,535 octets.
        self.ttls.push((record.ttl_at() as u16, ttl));
    }

    fn into_answer(
        self,
        message: &[u8],
        question: &[u8],
        rcode: Rcode,
        ttl_s: u32,
        ceiling_s: u32,
    ) -> Answer {
        let mut kept = message[..self.end].to_vec();
        kept[0..2].fill(0);
        kept[2..4].copy_from_slice(&RESPONSE.to_word(rcode).to_be_bytes());
        kept[6..8].copy_from_slice(&self.answers.to_be_bytes());
        kept[8..10].copy_from_slice(&self.authorities.to_be_bytes());
        kept[10..12].fill(0);
        kept[HEADER_LEN..HEADER_LEN + question.len()].copy_from_slice(question);
        for &(at, ttl) in &self.ttls {
            let at = usize::from(at);
            kept[at..at + 4].copy_from_slice(&ttl.min(ceiling_s).to_be_bytes());
        }
        let ttl_at = self.ttls.iter().map(|(at, _)| *at).collect();
        Answer {
            message: kept.into(),
            ttl_at,
            ttl_s,
            failure: false,
        }
    }
}

/// A TTL with its top bit set counts as zero (RFC 2181, 8).
fn sane_ttl(ttl: u32) -> u32 {
    if ttl >> 31 == 1 {
        0
    } else {
        ttl.min(TTL_S_MAX)
    }
}

fn question_type(question: &[u8]) -> RrType {
    match question {
        [.., high, low, _, _] => RrType(u16::from_be_bytes([*high, *low])),
        _ => RrType(0),
    }
}

/// The name asked for and those that aliases of the answer section lead to, in that order.
fn alias_chain(packet: &Packet<&[u8]>, name: &Name) -> Result<Vec<Name>, Error> {
    let mut chain = vec![name.clone()];
    while chain.len() <= ALIASES_MAX {
        let mut next = None;
        for record in packet.records() {
            let record = record?;
            if record.section != Section::Answer {
                break;
            }
            let is_last =
                |owner: &Name| chain.last().is_some_and(|last| last.eq_ignore_case(owner));
            if record.rr_type == RrType::CNAME && is_last(&record.name()?) {
                next = Some(record.rdata_name(0)?.0);
                break;
            }
        }
        match next {
            Some(next) if !chain.iter().any(|seen| seen.eq_ignore_case(&next)) => chain.push(next),
            _ => break,
        }
    }
    Ok(chain)
}

/// Has a record of `owner` in the answer section to do with the question? DNAME and what signs it
/// stand above the names that they redirect (RFC 6672, 3.1).
fn belongs(owner: &Name, rr_type: RrType, chain: &[Name]) -> bool {
    chain.iter().any(|name| {
        name.eq_ignore_case(owner)
            || (matches!(rr_type, RrType::DNAME | RrType::RRSIG) && name.is_within(owner))
    })
}

/// Refuses data that cannot be of its type, and names that point outside the message, so that
/// nobody behind us meets them.
fn check_data(record: &Record<'_>) -> Result<(), Error> {
    record.name()?;
    let bad = Err(Error::Rdata(record.rr_type));
    let ends = |skip| -> Result<(), Error> {
        let (_, end) = record.rdata_name(skip)?;
        if end == record.end() {
            Ok(())
        } else {
            Err(Error::Rdata(record.rr_type))
        }
    };
    match record.rr_type {
        RrType::A if record.rdata().len() != 4 => bad,
        RrType::AAAA if record.rdata().len() != 16 => bad,
        RrType::NS | RrType::CNAME | RrType::PTR | RrType::DNAME => ends(0),
        RrType::MX => ends(2),
        RrType::SRV => ends(6),
        RrType::SOA => {
            let (_, at) = record.rdata_name(0)?;
            let (_, at) = record.rdata_name(at - record.rdata_at())?;
            if at + 20 == record.end() { Ok(()) } else { bad }
        }
        // The owner of OPT is the root and it stands in the additional section.
        RrType::OPT
            if record.section != Section::Additional || record.rdata_at() - record.at() != 11 =>
        {
            bad
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lintel_wire::dns::{Class, Flags, QuestionRepr, Rdata, RecordRepr, Repr, SoaRepr};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn record(owner: &str, ttl: u32, rdata: Rdata) -> RecordRepr {
        RecordRepr {
            name: name(owner),
            class: Class::IN,
            ttl,
            rdata,
        }
    }

    fn a(octets: [u8; 4]) -> Rdata {
        Rdata::A(octets.into())
    }

    fn soa(minimum: u32) -> Rdata {
        Rdata::Soa(Box::new(SoaRepr {
            mname: name("ns.example"),
            rname: name("host.example"),
            serial: 1,
            refresh: 2,
            retry: 3,
            expire: 4,
            minimum,
        }))
    }

    fn reply(rcode: Rcode, answers: Vec<RecordRepr>, authorities: Vec<RecordRepr>) -> Repr {
        Repr {
            flags: Flags {
                response: true,
                recursion_available: true,
                ..Flags::QUERY
            },
            rcode,
            answers,
            authorities,
            ..Repr::query(9, name("www.example"), RrType::A)
        }
    }

    fn judged(repr: &Repr) -> Verdict {
        let bytes = repr.to_vec().unwrap();
        let question = b"\x03www\x07example\0\0\x01\0\x01";
        judge(
            &Packet::new_checked(&bytes[..]).unwrap(),
            question,
            false,
            true,
            &Config::default(),
        )
    }

    fn kept(repr: &Repr) -> (Answer, Repr) {
        match judged(repr) {
            Verdict::Answer(answer) => {
                let repr = Repr::parse(&Packet::new_checked(&answer.message[..]).unwrap()).unwrap();
                (answer, repr)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_positive_answer_keeps_its_answer_section_and_smallest_ttl() {
        let (answer, repr) = kept(&reply(
            Rcode::NOERROR,
            vec![
                record("www.EXAMPLE", 300, Rdata::Cname(name("cdn.example"))),
                record("cdn.example", 20, a([203, 0, 113, 1])),
                record("cdn.example", 1 << 31, a([203, 0, 113, 2])),
            ],
            vec![record("example", 1, Rdata::Ns(name("ns.example")))],
        ));
        assert_eq!(answer.ttl_s, 0, "a TTL with the top bit is zero");
        assert_eq!((repr.answers.len(), repr.authorities.len()), (3, 0));
        let (answer, repr) = kept(&reply(
            Rcode::NOERROR,
            vec![record("www.example", 700_000, a([203, 0, 113, 1]))],
            vec![],
        ));
        assert_eq!((answer.ttl_s, repr.answers[0].ttl), (86_400, 86_400));
    }

    #[test]
    fn negative_answers_follow_their_soa() {
        for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN] {
            let (answer, repr) = kept(&reply(rcode, vec![], vec![record("example", 900, soa(60))]));
            assert_eq!(
                (answer.ttl_s, repr.rcode, repr.authorities[0].ttl),
                (60, rcode, 60)
            );
            let (answer, _) = kept(&reply(
                rcode,
                vec![],
                vec![record("example", 90_000, soa(90_000))],
            ));
            assert_eq!(answer.ttl_s, 3_600);
            let (answer, _) = kept(&reply(rcode, vec![], vec![]));
            assert_eq!(answer.ttl_s, 0, "no SOA, not kept");
            let (answer, _) = kept(&reply(rcode, vec![], vec![record("other", 900, soa(60))]));
            assert_eq!(answer.ttl_s, 0, "the SOA of another zone");
        }
        let alias = vec![record("www.example", 30, Rdata::Cname(name("x.example")))];
        let (answer, _) = kept(&reply(
            Rcode::NXDOMAIN,
            alias,
            vec![record("example", 900, soa(60))],
        ));
        assert_eq!(answer.ttl_s, 30);
    }

    #[test]
    fn what_is_not_believed() {
        let other = reply(
            Rcode::NOERROR,
            vec![record("evil.test", 9, a([203, 0, 113, 1]))],
            vec![],
        );
        assert_eq!(judged(&other), Verdict::Dropped(Reason::ReplyUnrelated));
        let private = reply(
            Rcode::NOERROR,
            vec![record("www.example", 9, a([192, 168, 1, 1]))],
            vec![],
        );
        assert!(matches!(judged(&private), Verdict::Rebind(_)));
        let referral = reply(
            Rcode::NOERROR,
            vec![],
            vec![record("example", 9, Rdata::Ns(name("ns.example")))],
        );
        assert_eq!(judged(&referral), Verdict::Failed(Rcode::REFUSED));
        assert_eq!(
            judged(&reply(Rcode::SERVFAIL, vec![], vec![])),
            Verdict::Failed(Rcode::SERVFAIL)
        );
        assert_eq!(
            judged(&reply(Rcode::FORMERR, vec![], vec![])),
            Verdict::NoEdns
        );
        let raw = RecordRepr {
            name: name("www.example"),
            class: Class::IN,
            ttl: 1,
            rdata: Rdata::Raw {
                rr_type: RrType::A,
                data: vec![1],
            },
        };
        assert_eq!(
            judged(&reply(Rcode::NOERROR, vec![raw], vec![])),
            Verdict::Dropped(Reason::ReplyMalformed)
        );
    }

    #[test]
    fn a_loop_of_aliases_ends() {
        let (_, repr) = kept(&reply(
            Rcode::NOERROR,
            vec![
                record("www.example", 9, Rdata::Cname(name("a.example"))),
                record("a.example", 9, Rdata::Cname(name("www.example"))),
            ],
            vec![record("example", 9, soa(9))],
        ));
        assert_eq!(repr.answers.len(), 2);
    }

    #[test]
    fn questions_compare_by_octets_then_by_letters() {
        let ask = |text: &str, rr_type| {
            let mut repr = reply(Rcode::NOERROR, vec![], vec![]);
            repr.question = Some(QuestionRepr {
                name: name(text),
                rr_type: RrType(rr_type),
                class: Class::IN,
            });
            repr.to_vec().unwrap()
        };
        let sent = &ask("wWw.example", 0x41)[HEADER_LEN..];
        let cases = [
            (ask("wWw.example", 0x41), QuestionMatch::Exact),
            (ask("www.example", 0x41), QuestionMatch::OtherCase),
            (ask("wWw.example", 0x61), QuestionMatch::No),
            (ask("wWx.example", 0x41), QuestionMatch::No),
            (ask("a.wWw.example", 0x41), QuestionMatch::No),
            (vec![0; HEADER_LEN], QuestionMatch::Missing),
        ];
        for (bytes, want) in cases {
            assert_eq!(
                question_match(&Packet::new_checked(&bytes[..]).unwrap(), sent),
                want
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes(tail in proptest::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 3]>()) {
            let question = b"\x03www\x07example\0\0\x01\0\x01";
            let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, counts[0] & 3, 0, counts[1] & 3, 0, counts[2] & 3];
            bytes.extend_from_slice(question);
            bytes.extend(tail);
            let packet = Packet::new_checked(&bytes[..]).unwrap();
            if let Verdict::Answer(answer) = judge(&packet, question, false, true, &Config::default()) {
                // What is kept can be read again, whatever came.
                let kept = Packet::new_checked(&answer.message[..]).unwrap();
                for record in kept.records() {
                    prop_assert!(record.unwrap().name().is_ok());
                }
            }
        }
    }
}
