//! DNS messages, beside hickory-proto.

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name as TheirName, RData, Record as TheirRecord};
use hickory_proto::serialize::binary::DecodeError;
use lintel_wire::dns::{Error, Name, NameError, Packet, Rdata, RecordRepr, Repr, RrType};

use crate::Tally;

/// hickory and we take the same messages and read the same in them. Allowed differences:
/// - hickory reads types that we carry as octets, and refuses what is malformed inside;
/// - we read one question at most, nothing behind the last record, no pointer into the header
///   (forwarders change what stands there), OPT with the root's own octet as its owner;
/// - hickory wants the labels behind a pointer to end before the labels that led to it; we only
///   want each pointer to lead further back;
/// - hickory takes records without data in updates (RFC 2136), which we answer with NOTIMP;
/// - an A or AAAA record of another class is data of its own there.
pub fn diff_dns(data: &[u8]) -> Tally {
    let ours = Packet::new_checked(data).and_then(|packet| Repr::parse(&packet));
    let theirs = Message::from_vec(data);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            compare(&ours, &theirs);
            // And what we write they read.
            let mut buffer = vec![0; 65_535];
            if let Ok(len) = ours.emit(&mut buffer) {
                let again = Message::from_vec(&buffer[..len]).expect("they read what we write");
                compare(&ours, &again);
            }
            Tally::ACCEPTED
        }
        (Ok(_), Err(DecodeError::LabelOverlapsWithOther { .. })) => Tally::REFUSED,
        (Ok(ours), Err(error)) => {
            assert!(has_foreign_types(&ours), "they refuse: {error}\n{ours:?}");
            Tally::REFUSED
        }
        (Err(error), Ok(theirs)) => {
            assert!(
                is_our_strictness(&error) || has_empty_data(&theirs),
                "we refuse: {error:?}\n{theirs:?}"
            );
            Tally::REFUSED
        }
        (Err(_), Err(_)) => Tally::REFUSED,
    }
}

/// Records without data are how updates name what shall go.
fn has_empty_data(theirs: &Message) -> bool {
    let sections = [&theirs.answers, &theirs.authorities, &theirs.additionals];
    let empty = |record: &TheirRecord| matches!(record.data, RData::Update0(_));
    sections.into_iter().flatten().any(empty)
}

/// Is there anything that hickory looks into and we do not?
fn has_foreign_types(ours: &Repr) -> bool {
    let sections = [&ours.answers, &ours.authorities, &ours.additionals];
    let raw = |record: &RecordRepr| matches!(record.rdata, Rdata::Raw { .. });
    let options = ours
        .edns
        .as_ref()
        .is_some_and(|edns| !edns.options.is_empty());
    options || sections.into_iter().flatten().any(raw)
}

fn is_our_strictness(error: &Error) -> bool {
    matches!(
        error,
        Error::Repeated
            | Error::Trailing
            | Error::Name(NameError::Pointer)
            | Error::Rdata(RrType::OPT)
    )
}

fn compare(ours: &Repr, theirs: &Message) {
    let metadata = &theirs.metadata;
    assert_eq!(ours.id, metadata.id);
    assert_eq!(
        ours.flags.response,
        metadata.message_type == MessageType::Response
    );
    assert_eq!(ours.flags.authoritative, metadata.authoritative);
    assert_eq!(ours.flags.truncated, metadata.truncation);
    assert_eq!(ours.flags.recursion_desired, metadata.recursion_desired);
    assert_eq!(ours.flags.recursion_available, metadata.recursion_available);
    assert_eq!(ours.flags.opcode.value(), u8::from(metadata.op_code));
    assert_eq!(ours.question.is_some(), !theirs.queries.is_empty());
    if let (Some(ours), Some(theirs)) = (&ours.question, theirs.queries.first()) {
        same_name(&ours.name, &theirs.name);
        assert_eq!(ours.rr_type.0, u16::from(theirs.query_type));
    }
    assert_eq!(ours.edns.is_some(), theirs.edns.is_some());
    if let (Some(ours), Some(theirs)) = (&ours.edns, &theirs.edns) {
        // RFC 6891, 6.2.3: they raise what is below 512.
        assert_eq!(ours.udp_len.max(512), theirs.max_payload().max(512));
        assert_eq!(ours.version, theirs.version());
        assert_eq!(ours.dnssec_ok, theirs.flags().dnssec_ok);
    }
    for (ours, theirs) in [
        (&ours.answers, &theirs.answers),
        (&ours.authorities, &theirs.authorities),
        (&ours.additionals, &theirs.additionals),
    ] {
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            same_record(ours, theirs);
        }
    }
}

fn same_record(ours: &RecordRepr, theirs: &TheirRecord) {
    same_name(&ours.name, &theirs.name);
    assert_eq!(ours.rdata.rr_type().0, u16::from(theirs.record_type()));
    assert_eq!(ours.ttl, theirs.ttl);
    match (&ours.rdata, &theirs.data) {
        (Rdata::A(ours), RData::A(theirs)) => assert_eq!(*ours, theirs.0),
        (Rdata::Aaaa(ours), RData::AAAA(theirs)) => assert_eq!(*ours, theirs.0),
        (Rdata::Ns(ours), RData::NS(theirs)) => same_name(ours, &theirs.0),
        (Rdata::Cname(ours), RData::CNAME(theirs)) => same_name(ours, &theirs.0),
        (Rdata::Ptr(ours), RData::PTR(theirs)) => same_name(ours, &theirs.0),
        (Rdata::Soa(ours), RData::SOA(theirs)) => {
            same_name(&ours.mname, &theirs.mname);
            same_name(&ours.rname, &theirs.rname);
            assert_eq!((ours.serial, ours.minimum), (theirs.serial, theirs.minimum));
            let timers = [ours.refresh, ours.retry, ours.expire].map(u32::cast_signed);
            assert_eq!(timers, [theirs.refresh, theirs.retry, theirs.expire]);
        }
        (Rdata::Txt(ours), RData::TXT(theirs)) => {
            assert!(
                ours.iter()
                    .map(Vec::as_slice)
                    .eq(theirs.txt_data.iter().map(|s| &**s))
            );
        }
        (
            Rdata::Mx {
                preference,
                exchange,
            },
            RData::MX(theirs),
        ) => {
            assert_eq!(*preference, theirs.preference);
            same_name(exchange, &theirs.exchange);
        }
        (
            Rdata::Srv {
                priority,
                weight,
                port,
                target,
            },
            RData::SRV(theirs),
        ) => {
            let numbers = (theirs.priority, theirs.weight, theirs.port);
            assert_eq!((*priority, *weight, *port), numbers);
            same_name(target, &theirs.target);
        }
        (Rdata::Raw { .. }, _) => {}
        (ours, theirs) => panic!("{ours:?} is {theirs:?} to them"),
    }
}

fn same_name(ours: &Name, theirs: &TheirName) {
    assert!(
        ours.labels().eq(theirs.iter()),
        "{ours} is {theirs} to them"
    );
}
