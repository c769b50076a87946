//! DNS messages and names.

use std::net::IpAddr;

use arbitrary::Unstructured;
use lintel_wire::dns::{
    Class, EdnsRepr, Error, Flags, HEADER_LEN, MESSAGE_LEN_MAX, Name, Packet, QuestionRepr, Rcode,
    Rdata, RecordRepr, Repr, RrType, SoaRepr,
};

use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

/// The view: records lie one behind the other inside the message, names are at most 255 octets,
/// TTLs age in place, and what the view reads without error is as long as the message claims.
pub fn dns_packet(data: &[u8]) -> Tally {
    let Ok(packet) = Packet::new_checked(data) else {
        assert!(data.len() < HEADER_LEN);
        return Tally::REFUSED;
    };
    if let Ok(Some(question)) = packet.question() {
        assert!(question.end <= data.len() && question.as_bytes().len() >= 5);
        if let Ok(name) = question.name() {
            check_name(&name);
        }
    }
    let (mut at, mut ttls, mut whole) = (HEADER_LEN, Vec::new(), true);
    for record in packet.records() {
        let Ok(record) = record else {
            whole = false;
            break;
        };
        assert!(record.at() >= at && record.at() < record.rdata_at());
        assert!(record.rdata_at() <= record.end() && record.end() <= data.len());
        assert_eq!(record.rdata().len(), record.end() - record.rdata_at());
        at = record.end();
        ttls.push((u16::try_from(record.ttl_at()), record.ttl));
        if let Ok(name) = record.name() {
            check_name(&name);
        }
        for skip in [0, 2, 6, usize::from(u16::MAX)] {
            if let Ok((name, end)) = record.rdata_name(skip) {
                check_name(&name);
                assert!(end > record.rdata_at() && end <= record.end());
            }
        }
    }
    if whole && !ttls.is_empty() {
        let offsets: Vec<u16> = ttls.iter().filter_map(|(at, _)| at.ok()).collect();
        let mut aged = Packet::new_checked(data.to_vec()).expect("the header is there");
        aged.age_ttls(&offsets, 7);
        let after: Vec<_> = aged.records().map_while(Result::ok).collect();
        assert_eq!(after.len(), ttls.len());
        for (record, (at, ttl)) in after.iter().zip(&ttls) {
            let expected = if at.is_ok() {
                ttl.saturating_sub(7)
            } else {
                *ttl
            };
            assert_eq!(record.ttl, expected);
        }
    }
    Tally::one(whole)
}

/// `parse(emit(r)) == r`; a message in any smaller buffer is an error, never a shorter message.
pub fn dns_message(data: &[u8]) -> Tally {
    let Some(repr) = Packet::new_checked(data)
        .ok()
        .and_then(|p| Repr::parse(&p).ok())
    else {
        return Tally::REFUSED;
    };
    let counted = |counts: &[usize]| counts.iter().sum::<usize>() * 11 <= data.len();
    assert!(counted(&[
        repr.answers.len(),
        repr.authorities.len(),
        repr.additionals.len()
    ]));
    // What a sender compressed further than we do may outgrow a message.
    let mut buffer = vec![0; (data.len() * 8).clamp(512, MESSAGE_LEN_MAX)];
    match repr.emit(&mut buffer) {
        Ok(len) => {
            let written = Packet::new_checked(&buffer[..len]).expect("a header");
            assert_eq!(Repr::parse(&written).as_ref(), Ok(&repr));
            let mut small = vec![0; len - 1];
            assert_eq!(repr.emit(&mut small), Err(Error::Full));
        }
        Err(error) => assert_eq!(error, Error::Full),
    }
    Tally::ACCEPTED
}

/// A name in wire form and in text: both read back what they write, whatever is done to the name.
pub fn dns_name(data: &[u8]) -> Tally {
    let mut accepted = false;
    if let Ok(name) = Name::from_wire(data) {
        assert_eq!(name.as_bytes(), data);
        check_name(&name);
        accepted = true;
    }
    if let Ok((name, end)) = Name::parse(data, HEADER_LEN.min(data.len())) {
        assert!(end <= data.len());
        assert!(Name::skip(data, HEADER_LEN.min(data.len())) == Ok(end));
        check_name(&name);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = Name::from_text(text)
    {
        check_name(&name);
        accepted = true;
    }
    if let Some(octets) = data.first_chunk::<4>() {
        check_name(&Name::reverse(IpAddr::from(*octets)));
    }
    if let Some(octets) = data.first_chunk::<16>() {
        check_name(&Name::reverse(IpAddr::from(*octets)));
    }
    Tally::one(accepted)
}

fn check_name(name: &Name) {
    let wire = name.as_bytes();
    assert!(wire.len() <= 255 && wire.last() == Some(&0));
    assert_eq!(
        name.labels().map(|l| l.len() + 1).sum::<usize>() + 1,
        wire.len()
    );
    assert!(name.labels().all(|label| (1..=63).contains(&label.len())));
    assert_eq!(Name::from_wire(wire).as_ref(), Ok(name));
    assert_eq!(Name::from_text(&name.to_string()).as_ref(), Ok(name));
    let lower = name.to_lowercase();
    assert!(lower.eq_ignore_case(name) && name.with_case_bits(&[0xa5, 0x3c]).eq_ignore_case(name));
    assert!(name.is_within(name) && name.is_within(&Name::root()));
    assert_eq!(name.join(&Name::root()).as_ref(), Ok(name));
    if let Ok(twice) = name.join(name) {
        assert!(twice.is_within(&lower));
        assert_eq!(twice.wire_len(), 2 * name.wire_len() - 1);
    }
}

/// A message as servers and clients send it.
pub fn message_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let repr = message(u);
    let mut buffer = vec![0; 4096];
    let len = repr.emit(&mut buffer).unwrap_or(0);
    buffer.truncate(len);
    buffer
}

/// Any message, most often an answer to its question.
pub fn message(u: &mut Unstructured<'_>) -> Repr {
    let name = name(u);
    let rr_type = rr_type(u);
    let mut flags = Flags::from_word(any(u));
    if !once_in(u, 8) {
        flags = Flags {
            response: flags.response,
            truncated: flags.truncated,
            ..Flags::QUERY
        };
    }
    let edns = (!once_in(u, 2)).then(|| EdnsRepr {
        udp_len: pick(u, &[512, 1232, 4096, 0, 0xffff]),
        version: if once_in(u, 8) { any(u) } else { 0 },
        dnssec_ok: any(u),
        options: if once_in(u, 4) {
            octets(u, 16)
        } else {
            Vec::new()
        },
    });
    let rcode = match &edns {
        Some(_) => Rcode::new(any::<u16>(u) & 0xfff),
        None => Rcode::new(any::<u16>(u) & 0xf),
    };
    let mut section = |of: usize| {
        let count = below(u, of);
        (0..count).map(|_| record(u, &name)).collect()
    };
    let (answers, authorities, additionals) = (section(5), section(3), section(3));
    Repr {
        id: any(u),
        flags,
        rcode: if once_in(u, 2) { rcode } else { Rcode::NOERROR },
        question: (!once_in(u, 16)).then(|| QuestionRepr {
            name: name.clone(),
            rr_type,
            class: Class::IN,
        }),
        answers,
        authorities,
        additionals,
        edns,
    }
}

/// A name of few labels from few letters, so that names share tails and compress.
pub fn name(u: &mut Unstructured<'_>) -> Name {
    let labels: Vec<String> = (0..below(u, 5))
        .map(|_| match below(u, 6) {
            0 => text(u, b"abcABC-_01", 12),
            1 => pick(u, &["lan", "local", "arpa", "in-addr", "example"]).to_owned(),
            2 => text(u, b"xyz", 63),
            _ => pick(u, &["a", "b", "www", "com"]).to_owned(),
        })
        .filter(|label| !label.is_empty())
        .collect();
    Name::from_text(&labels.join(".")).unwrap_or_else(|_| Name::root())
}

/// A type that records and questions have.
pub fn rr_type(u: &mut Unstructured<'_>) -> RrType {
    match below(u, 12) {
        0 => RrType(any(u)),
        1 => RrType::ANY,
        2 => RrType::PTR,
        3 => RrType::HTTPS,
        4 | 5 => RrType::AAAA,
        _ => RrType::A,
    }
}

fn record(u: &mut Unstructured<'_>, asked: &Name) -> RecordRepr {
    let name = if once_in(u, 3) {
        name(u)
    } else {
        asked.clone()
    };
    RecordRepr {
        name,
        class: if once_in(u, 8) {
            Class(any(u))
        } else {
            Class::IN
        },
        ttl: number(u),
        rdata: rdata(u),
    }
}

fn rdata(u: &mut Unstructured<'_>) -> Rdata {
    match below(u, 10) {
        0 => Rdata::Ns(name(u)),
        1 => Rdata::Cname(name(u)),
        2 => Rdata::Ptr(name(u)),
        3 => Rdata::Soa(Box::new(SoaRepr {
            mname: name(u),
            rname: name(u),
            serial: any(u),
            refresh: any(u),
            retry: any(u),
            expire: any(u),
            minimum: number(u),
        })),
        4 => Rdata::Txt((0..=below(u, 3)).map(|_| octets(u, 20)).collect()),
        5 => Rdata::Mx {
            preference: any(u),
            exchange: name(u),
        },
        6 => Rdata::Srv {
            priority: any(u),
            weight: any(u),
            port: any(u),
            target: name(u),
        },
        7 => match any::<u16>(u) {
            1 | 2 | 5 | 6 | 12 | 15 | 16 | 28 | 33 | 41 => Rdata::A([10, 0, 0, 1].into()),
            other => Rdata::Raw {
                rr_type: RrType(other),
                data: octets(u, 24),
            },
        },
        8 => Rdata::Aaaa(any::<[u8; 16]>(u).into()),
        _ => Rdata::A(any::<[u8; 4]>(u).into()),
    }
}

/// A name in wire form or in text.
pub fn name_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let name = name(u);
    if once_in(u, 2) {
        name.to_string().into_bytes()
    } else {
        name.as_bytes().to_vec()
    }
}
