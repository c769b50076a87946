//! A whole message with meaning.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Error;
use super::name::Name;
use super::packet::{Packet, Record, Section};
use super::types::{Class, Flags, Rcode, RrType};
use super::writer::Writer;

/// A message. OPT is not among the additional records but in [`Repr::edns`], and the response
/// code is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repr {
    /// The id.
    pub id: u16,
    /// The flags.
    pub flags: Flags,
    /// The response code; above 15 it needs `edns`.
    pub rcode: Rcode,
    /// The question, if there is one. Several are refused: nobody defined what they mean
    /// (RFC 9619).
    pub question: Option<QuestionRepr>,
    /// Answer section.
    pub answers: Vec<RecordRepr>,
    /// Authority section.
    pub authorities: Vec<RecordRepr>,
    /// Additional section without OPT.
    pub additionals: Vec<RecordRepr>,
    /// What OPT says.
    pub edns: Option<EdnsRepr>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionRepr {
    /// The name.
    pub name: Name,
    /// The type.
    pub rr_type: RrType,
    /// The class.
    pub class: Class,
}

/// A resource record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRepr {
    /// The owner.
    pub name: Name,
    /// The class.
    pub class: Class,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Type and data.
    pub rdata: Rdata,
}

/// Type and data of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rdata {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name server.
    Ns(Name),
    /// The name that this one stands for.
    Cname(Name),
    /// The name of an address.
    Ptr(Name),
    /// Start of authority.
    Soa(Box<SoaRepr>),
    /// Strings of at most 255 octets each, at least one.
    Txt(Vec<Vec<u8>>),
    /// Mail exchange.
    Mx {
        /// Lower is tried first.
        preference: u16,
        /// The host.
        exchange: Name,
    },
    /// Service (RFC 2782).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// Port.
        port: u16,
        /// The host.
        target: Name,
    },
    /// Any other type, as it is on the wire (RFC 3597).
    Raw {
        /// The type; none of the above and not OPT.
        rr_type: RrType,
        /// The data.
        data: Vec<u8>,
    },
}

/// Data of SOA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoaRepr {
    /// Primary server.
    pub mname: Name,
    /// Mailbox of who is responsible.
    pub rname: Name,
    /// Version of the zone.
    pub serial: u32,
    /// Seconds between refreshes.
    pub refresh: u32,
    /// Seconds between retries.
    pub retry: u32,
    /// Seconds until the zone is given up.
    pub expire: u32,
    /// Upper limit for the TTL of negative answers (RFC 2308, 4).
    pub minimum: u32,
}

/// What OPT says (RFC 6891, 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdnsRepr {
    /// The sender's UDP payload size.
    pub udp_len: u16,
    /// EDNS version.
    pub version: u8,
    /// DO: send DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The options, as they are on the wire.
    pub options: Vec<u8>,
}

impl EdnsRepr {
    /// Reads an OPT record: what it says and the high bits of the response code.
    pub fn parse(record: &Record<'_>) -> Result<(Self, u8), Error> {
        // The owner must be the root, which is one octet and no pointer (RFC 6891, 6.1.2).
        if record.rr_type != RrType::OPT || record.rdata_at() - record.at() != 11 {
            return Err(Error::Rdata(RrType::OPT));
        }
        let [extended_rcode, version, high, _] = record.ttl.to_be_bytes();
        let edns = Self {
            udp_len: record.class.0,
            version,
            dnssec_ok: high & 0x80 != 0,
            options: record.rdata().to_vec(),
        };
        Ok((edns, extended_rcode))
    }

    /// Writes the OPT record with the high bits of `rcode`.
    pub fn emit(&self, writer: &mut Writer<'_>, rcode: Rcode) -> Result<(), Error> {
        let ttl = u32::from_be_bytes([
            rcode.extended_bits(),
            self.version,
            u8::from(self.dnssec_ok) << 7,
            0,
        ]);
        writer.record(
            Section::Additional,
            &Name::root(),
            RrType::OPT,
            Class(self.udp_len),
            ttl,
            |writer| writer.bytes(&self.options),
        )
    }
}

impl Rdata {
    /// The record's type.
    pub fn rr_type(&self) -> RrType {
        match self {
            Self::A(_) => RrType::A,
            Self::Aaaa(_) => RrType::AAAA,
            Self::Ns(_) => RrType::NS,
            Self::Cname(_) => RrType::CNAME,
            Self::Ptr(_) => RrType::PTR,
            Self::Soa(_) => RrType::SOA,
            Self::Txt(_) => RrType::TXT,
            Self::Mx { .. } => RrType::MX,
            Self::Srv { .. } => RrType::SRV,
            Self::Raw { rr_type, .. } => *rr_type,
        }
    }

    /// Reads the data of `record`.
    pub fn parse(record: &Record<'_>) -> Result<Self, Error> {
        let bytes = record.rdata();
        let bad = Error::Rdata(record.rr_type);
        let end = record.end();
        let lone_name = |skip| match record.rdata_name(skip) {
            Ok((name, at)) if at == end => Ok(name),
            Ok(_) => Err(bad),
            Err(error) => Err(error),
        };
        let word = |at: usize| match bytes.get(at..at + 2) {
            Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
            _ => Err(bad),
        };
        Ok(match record.rr_type {
            RrType::A => Self::A(<[u8; 4]>::try_from(bytes).map_err(|_| bad)?.into()),
            RrType::AAAA => Self::Aaaa(<[u8; 16]>::try_from(bytes).map_err(|_| bad)?.into()),
            RrType::NS => Self::Ns(lone_name(0)?),
            RrType::CNAME => Self::Cname(lone_name(0)?),
            RrType::PTR => Self::Ptr(lone_name(0)?),
            RrType::SOA => {
                let (mname, at) = record.rdata_name(0)?;
                let (rname, at) = record.rdata_name(at - record.rdata_at())?;
                let numbers = bytes.get(at - record.rdata_at()..).ok_or(bad)?;
                let numbers: [u8; 20] = numbers.try_into().map_err(|_| bad)?;
                let mut chunks = numbers.chunks_exact(4);
                let mut next = || {
                    chunks
                        .next()
                        .map_or(0, |c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
                };
                Self::Soa(Box::new(SoaRepr {
                    mname,
                    rname,
                    serial: next(),
                    refresh: next(),
                    retry: next(),
                    expire: next(),
                    minimum: next(),
                }))
            }
            RrType::TXT => {
                let (mut strings, mut rest) = (Vec::new(), bytes);
                while let Some((&length, tail)) = rest.split_first() {
                    let (string, tail) = tail.split_at_checked(usize::from(length)).ok_or(bad)?;
                    strings.push(string.to_vec());
                    rest = tail;
                }
                if strings.is_empty() {
                    return Err(bad);
                }
                Self::Txt(strings)
            }
            RrType::MX => Self::Mx {
                preference: word(0)?,
                exchange: lone_name(2)?,
            },
            RrType::SRV => Self::Srv {
                priority: word(0)?,
                weight: word(2)?,
                port: word(4)?,
                target: lone_name(6)?,
            },
            rr_type => Self::Raw {
                rr_type,
                data: bytes.to_vec(),
            },
        })
    }

    /// Writes the data.
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        match self {
            Self::A(address) => writer.bytes(&address.octets()),
            Self::Aaaa(address) => writer.bytes(&address.octets()),
            Self::Ns(name) | Self::Cname(name) | Self::Ptr(name) => writer.name(name),
            Self::Soa(soa) => {
                writer.name(&soa.mname)?;
                writer.name(&soa.rname)?;
                for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
                    writer.u32(number)?;
                }
                Ok(())
            }
            Self::Txt(strings) => {
                for string in strings {
                    let length =
                        u8::try_from(string.len()).map_err(|_| Error::Rdata(RrType::TXT))?;
                    writer.u8(length)?;
                    writer.bytes(string)?;
                }
                Ok(())
            }
            Self::Mx {
                preference,
                exchange,
            } => {
                writer.u16(*preference)?;
                writer.name(exchange)
            }
            Self::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                writer.u16(*priority)?;
                writer.u16(*weight)?;
                writer.u16(*port)?;
                // RFC 2782 forbids compression here.
                writer.plain_name(target)
            }
            Self::Raw { data, .. } => writer.bytes(data),
        }
    }
}

impl RecordRepr {
    /// Reads a record other than OPT.
    pub fn parse(record: &Record<'_>) -> Result<Self, Error> {
        Ok(Self {
            name: record.name()?,
            class: record.class,
            ttl: record.ttl,
            rdata: Rdata::parse(record)?,
        })
    }

    /// Writes the record.
    pub fn emit(&self, writer: &mut Writer<'_>, section: Section) -> Result<(), Error> {
        writer.record(
            section,
            &self.name,
            self.rdata.rr_type(),
            self.class,
            self.ttl,
            |writer| self.rdata.emit(writer),
        )
    }
}

impl Repr {
    /// A recursive query for `name` without EDNS.
    pub fn query(id: u16, name: Name, rr_type: RrType) -> Self {
        Self {
            id,
            flags: Flags::QUERY,
            rcode: Rcode::NOERROR,
            question: Some(QuestionRepr {
                name,
                rr_type,
                class: Class::IN,
            }),
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            edns: None,
        }
    }

    /// Reads a whole message.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Error> {
        let question = match packet.question()? {
            Some(question) => Some(QuestionRepr {
                name: question.name()?,
                rr_type: question.rr_type,
                class: question.class,
            }),
            None => None,
        };
        let mut repr = Self {
            id: packet.id(),
            flags: packet.flags(),
            rcode: packet.header_rcode(),
            question,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            edns: None,
        };
        let mut records = packet.records();
        for record in records.by_ref() {
            let record = record?;
            if record.rr_type == RrType::OPT {
                if repr.edns.is_some() {
                    return Err(Error::Repeated);
                }
                if record.section != Section::Additional {
                    return Err(Error::Rdata(RrType::OPT));
                }
                let (edns, extended) = EdnsRepr::parse(&record)?;
                repr.rcode = Rcode::new(u16::from(extended) << 4 | repr.rcode.value());
                repr.edns = Some(edns);
                continue;
            }
            let section = match record.section {
                Section::Answer => &mut repr.answers,
                Section::Authority => &mut repr.authorities,
                Section::Additional => &mut repr.additionals,
            };
            section.push(RecordRepr::parse(&record)?);
        }
        if records.end()? != packet.as_bytes().len() {
            return Err(Error::Trailing);
        }
        Ok(repr)
    }

    /// Writes the message into `buffer` and returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut writer = Writer::new(buffer, self.id, self.flags, self.rcode)?;
        if let Some(question) = &self.question {
            writer.question(&question.name, question.rr_type, question.class)?;
        }
        let sections = [
            (Section::Answer, &self.answers),
            (Section::Authority, &self.authorities),
            (Section::Additional, &self.additionals),
        ];
        for (section, records) in sections {
            for record in records {
                record.emit(&mut writer, section)?;
            }
        }
        if let Some(edns) = &self.edns {
            edns.emit(&mut writer, self.rcode)?;
        }
        Ok(writer.finish())
    }

    /// Writes the message into a new vector of at most 65,535 octets.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0; super::MESSAGE_LEN_MAX];
        let len = self.emit(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Opcode;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Name> {
        vec("[a-cA-C]{1,3}", 0..5).prop_map(|labels| {
            if labels.is_empty() {
                Name::root()
            } else {
                Name::from_text(&labels.join(".")).unwrap()
            }
        })
    }

    fn rdata() -> impl Strategy<Value = Rdata> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| Rdata::A(octets.into())),
            any::<[u8; 16]>().prop_map(|octets| Rdata::Aaaa(octets.into())),
            name().prop_map(Rdata::Ns),
            name().prop_map(Rdata::Cname),
            name().prop_map(Rdata::Ptr),
            (name(), name(), any::<[u32; 5]>()).prop_map(
                |(mname, rname, [serial, refresh, retry, expire, minimum])| Rdata::Soa(Box::new(
                    SoaRepr {
                        mname,
                        rname,
                        serial,
                        refresh,
                        retry,
                        expire,
                        minimum,
                    }
                ))
            ),
            vec(vec(any::<u8>(), 0..20), 1..3).prop_map(Rdata::Txt),
            (any::<u16>(), name()).prop_map(|(preference, exchange)| Rdata::Mx {
                preference,
                exchange
            }),
            (any::<[u16; 3]>(), name()).prop_map(|([priority, weight, port], target)| Rdata::Srv {
                priority,
                weight,
                port,
                target
            }),
            (256u16.., vec(any::<u8>(), 0..30)).prop_map(|(rr_type, data)| Rdata::Raw {
                rr_type: RrType(rr_type),
                data
            }),
        ]
    }

    fn record() -> impl Strategy<Value = RecordRepr> {
        (name(), any::<u16>(), any::<u32>(), rdata()).prop_map(|(name, class, ttl, rdata)| {
            RecordRepr {
                name,
                class: Class(class),
                ttl,
                rdata,
            }
        })
    }

    fn message() -> impl Strategy<Value = Repr> {
        let question = proptest::option::of((name(), any::<u16>(), any::<u16>()).prop_map(
            |(name, t, c)| QuestionRepr {
                name,
                rr_type: RrType(t),
                class: Class(c),
            },
        ));
        let edns = proptest::option::of(
            (
                any::<u16>(),
                any::<u8>(),
                any::<bool>(),
                vec(any::<u8>(), 0..20),
            )
                .prop_map(|(udp_len, version, dnssec_ok, options)| EdnsRepr {
                    udp_len,
                    version,
                    dnssec_ok,
                    options,
                }),
        );
        (
            (any::<u16>(), any::<u16>(), 0u16..4096),
            question,
            (
                vec(record(), 0..5),
                vec(record(), 0..3),
                vec(record(), 0..3),
            ),
            edns,
        )
            .prop_map(
                |((id, word, rcode), question, (answers, authorities, additionals), edns)| Repr {
                    id,
                    flags: Flags::from_word(word),
                    rcode: Rcode::new(if edns.is_some() { rcode } else { rcode & 0x0f }),
                    question,
                    answers,
                    authorities,
                    additionals,
                    edns,
                },
            )
    }

    proptest! {
        #[test]
        fn parse_of_emit_is_the_same(repr in message()) {
            let bytes = repr.to_vec().unwrap();
            prop_assert_eq!(Repr::parse(&Packet::new_checked(&bytes[..]).unwrap()).unwrap(), repr);
        }

        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 12..300)) {
            if let Ok(repr) = Repr::parse(&Packet::new_checked(&bytes[..]).unwrap()) {
                let again = repr.to_vec().unwrap();
                prop_assert_eq!(Repr::parse(&Packet::new_checked(&again[..]).unwrap()).unwrap(), repr);
            }
        }

        #[test]
        fn a_flipped_octet(repr in message(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = repr.to_vec().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = Repr::parse(&Packet::new_checked(&bytes[..]).unwrap());
        }

        #[test]
        fn a_small_buffer_is_an_error(repr in message(), cut in 1usize..40) {
            let len = repr.to_vec().unwrap().len();
            let mut small = vec![0; len.saturating_sub(cut)];
            prop_assert_eq!(repr.emit(&mut small), Err(Error::Full));
        }
    }

    #[test]
    fn a_negative_answer() {
        let bytes = b"\xab\xcd\x81\x83\0\x01\0\0\0\x01\0\0\x02no\x04test\0\0\x1c\0\x01\
            \xc0\x0f\0\x06\0\x01\0\0\x01\x2c\0\x20\x02ns\xc0\x0f\x04host\xc0\x0f\
            \0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
        let repr = Repr::parse(&Packet::new_checked(&bytes[..]).unwrap()).unwrap();
        assert_eq!(repr.rcode, Rcode::NXDOMAIN);
        assert_eq!(repr.flags.opcode, Opcode::QUERY);
        let Rdata::Soa(soa) = &repr.authorities[0].rdata else {
            panic!("no SOA")
        };
        assert_eq!(
            (soa.mname.to_string().as_str(), soa.minimum),
            ("ns.test.", 5)
        );
        // Our own writer compresses the same way.
        assert_eq!(repr.to_vec().unwrap(), bytes);
    }

    #[test]
    fn refusals() {
        let two_opts =
            b"\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\x29\x02\0\0\0\0\0\0\0\0\0\x29\x02\0\0\0\0\0\0\0";
        let parse = |bytes: &[u8]| Repr::parse(&Packet::new_checked(bytes).unwrap());
        assert_eq!(parse(two_opts), Err(Error::Repeated));
        assert_eq!(parse(b"\0\0\0\0\0\x02\0\0\0\0\0\0"), Err(Error::Repeated));
        assert_eq!(parse(b"\0\0\0\0\0\0\0\0\0\0\0\0x"), Err(Error::Trailing));
        assert_eq!(
            parse(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\0\x01\0\0\0\0\0\x03abc"),
            Err(Error::Rdata(RrType::A))
        );
    }
}
