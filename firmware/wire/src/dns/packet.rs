//! A view over the octets of a message that anybody may have sent.
//!
//! After [`Packet::new_checked`] the header accessors cannot panic. The records are reached
//! through [`Packet::records`], which reads only what the octets hold and ends at its first error.

use super::name::{Name, NameError};
use super::types::{Class, Flags, Rcode, RrType};
use super::{Error, HEADER_LEN};

mod field {
    //! Offsets in the fixed header (RFC 1035, 4.1.1).
    pub(super) const ID: usize = 0;
    pub(super) const FLAGS: usize = 2;
    pub(super) const QDCOUNT: usize = 4;
    pub(super) const ANCOUNT: usize = 6;
    pub(super) const NSCOUNT: usize = 8;
    pub(super) const ARCOUNT: usize = 10;
}

/// A message in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Lays the view over `buffer`, which must hold at least a header.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    fn word(&self, at: usize) -> u16 {
        let bytes = self.buffer.as_ref();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// The message's id.
    pub fn id(&self) -> u16 {
        self.word(field::ID)
    }

    /// The flags.
    pub fn flags(&self) -> Flags {
        Flags::from_word(self.word(field::FLAGS))
    }

    /// The response code's low four bits; the rest is in OPT.
    pub fn header_rcode(&self) -> Rcode {
        Rcode::new(self.word(field::FLAGS) & 0x0f)
    }

    /// Entries in the question section, as the header claims.
    pub fn question_count(&self) -> u16 {
        self.word(field::QDCOUNT)
    }

    /// Records in a section, as the header claims.
    pub fn record_count(&self, section: Section) -> u16 {
        self.word(match section {
            Section::Answer => field::ANCOUNT,
            Section::Authority => field::NSCOUNT,
            Section::Additional => field::ARCOUNT,
        })
    }

    /// The only question; none or several are `Ok(None)` and an error.
    pub fn question(&self) -> Result<Option<Question<'_>>, Error> {
        match self.question_count() {
            0 => Ok(None),
            1 => Question::read(self.buffer.as_ref(), HEADER_LEN).map(Some),
            _ => Err(Error::Repeated),
        }
    }

    /// The records of all sections in their order.
    pub fn records(&self) -> Records<'_> {
        let message = self.buffer.as_ref();
        let mut at = Ok(HEADER_LEN);
        for _ in 0..self.question_count() {
            at = at
                .and_then(|at| Question::read(message, at))
                .map(|question| question.end);
            if at.is_err() {
                break;
            }
        }
        Records {
            message,
            at,
            left: [
                self.record_count(Section::Answer),
                self.record_count(Section::Authority),
                self.record_count(Section::Additional),
            ],
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    fn set_word(&mut self, at: usize, value: u16) {
        self.buffer.as_mut()[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Sets the id.
    pub fn set_id(&mut self, id: u16) {
        self.set_word(field::ID, id);
    }

    /// Sets the flags and the low bits of the response code.
    pub fn set_flags(&mut self, flags: Flags, rcode: Rcode) {
        self.set_word(field::FLAGS, flags.to_word(rcode));
    }

    /// Sets the number of records in a section.
    pub fn set_record_count(&mut self, section: Section, count: u16) {
        self.set_word(
            match section {
                Section::Answer => field::ANCOUNT,
                Section::Authority => field::NSCOUNT,
                Section::Additional => field::ARCOUNT,
            },
            count,
        );
    }

    /// Takes `elapsed_s` off the TTLs at `offsets` (each from [`Record::ttl_at`] of the same
    /// message), down to zero; offsets outside the message are ignored.
    pub fn age_ttls(&mut self, offsets: &[u16], elapsed_s: u32) {
        let bytes = self.buffer.as_mut();
        for &offset in offsets {
            let at = usize::from(offset);
            if let Some(field) = bytes
                .get_mut(at..at + 4)
                .and_then(|slice| slice.first_chunk_mut())
            {
                *field = u32::from_be_bytes(*field)
                    .saturating_sub(elapsed_s)
                    .to_be_bytes();
            }
        }
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The answer.
    Answer,
    /// Who is responsible, or the SOA of a negative answer.
    Authority,
    /// What may spare the asker another question; OPT.
    Additional,
}

/// An entry of the question section.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    message: &'a [u8],
    at: usize,
    /// The type asked for.
    pub rr_type: RrType,
    /// The class asked for.
    pub class: Class,
    /// Offset behind the question.
    pub end: usize,
}

impl<'a> Question<'a> {
    fn read(message: &'a [u8], at: usize) -> Result<Self, Error> {
        let name_end = Name::skip(message, at)?;
        let fields: [u8; 4] = array(message, name_end)?;
        Ok(Self {
            message,
            at,
            rr_type: RrType(u16::from_be_bytes([fields[0], fields[1]])),
            class: Class(u16::from_be_bytes([fields[2], fields[3]])),
            end: name_end + 4,
        })
    }

    /// The name asked for.
    pub fn name(&self) -> Result<Name, NameError> {
        Name::parse(self.message, self.at).map(|(name, _)| name)
    }

    /// The question's octets: name, type and class, compressed if the sender did so.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.message.get(self.at..self.end).unwrap_or(&[])
    }
}

/// A resource record in a message.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    message: &'a [u8],
    at: usize,
    rdata_at: usize,
    end: usize,
    /// The section it stands in.
    pub section: Section,
    /// Its type.
    pub rr_type: RrType,
    /// Its class; for OPT the sender's UDP payload size.
    pub class: Class,
    /// Its TTL in seconds, as sent; for OPT other things. RFC 2181, 8 wants the top bit read as 0.
    pub ttl: u32,
}

impl<'a> Record<'a> {
    fn read(message: &'a [u8], at: usize, section: Section) -> Result<Self, Error> {
        let name_end = Name::skip(message, at)?;
        let f: [u8; 10] = array(message, name_end)?;
        let rdata_at = name_end + 10;
        let end = rdata_at + usize::from(u16::from_be_bytes([f[8], f[9]]));
        if end > message.len() {
            return Err(Error::Truncated);
        }
        Ok(Self {
            message,
            at,
            rdata_at,
            end,
            section,
            rr_type: RrType(u16::from_be_bytes([f[0], f[1]])),
            class: Class(u16::from_be_bytes([f[2], f[3]])),
            ttl: u32::from_be_bytes([f[4], f[5], f[6], f[7]]),
        })
    }

    /// The owner's name.
    pub fn name(&self) -> Result<Name, NameError> {
        Name::parse(self.message, self.at).map(|(name, _)| name)
    }

    /// Where the record begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where its TTL lies.
    pub fn ttl_at(&self) -> usize {
        self.rdata_at - 6
    }

    /// Where its data begins.
    pub fn rdata_at(&self) -> usize {
        self.rdata_at
    }

    /// Offset behind the record.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Its data. Names in them may point into the rest of the message.
    pub fn rdata(&self) -> &'a [u8] {
        self.message.get(self.rdata_at..self.end).unwrap_or(&[])
    }

    /// The name that begins `skip` octets into the data and must end inside them, with the offset
    /// behind it in the message.
    pub fn rdata_name(&self, skip: usize) -> Result<(Name, usize), Error> {
        let (name, end) = Name::parse(self.message, self.rdata_at + skip)?;
        if end > self.end {
            Err(Error::Rdata(self.rr_type))
        } else {
            Ok((name, end))
        }
    }
}

/// Iterator over the records of a message. After an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    message: &'a [u8],
    at: Result<usize, Error>,
    left: [u16; 3],
}

impl Records<'_> {
    /// The offset behind the last record read.
    pub fn end(&self) -> Result<usize, Error> {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self
            .left
            .iter_mut()
            .zip(SECTIONS)
            .find(|(left, _)| **left > 0)?;
        *left -= 1;
        let record = self
            .at
            .and_then(|at| Record::read(self.message, at, section));
        match record {
            Ok(record) => self.at = Ok(record.end),
            Err(error) => {
                self.at = Err(error);
                self.left = [0; 3];
            }
        }
        Some(record)
    }
}

fn array<const N: usize>(message: &[u8], at: usize) -> Result<[u8; N], Error> {
    message
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A captured shape: `example.com A` answered with 93.184.216.34, owner compressed, OPT 1232.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\x01\x07example\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x5d\xb8\xd8\x22\
        \0\0\x29\x04\xd0\0\0\0\0\0\0";

    #[test]
    fn reads_an_answer() {
        let packet = Packet::new_checked(ANSWER).unwrap();
        assert_eq!(packet.id(), 0x1234);
        assert!(packet.flags().response && packet.flags().recursion_available);
        let question = packet.question().unwrap().unwrap();
        assert_eq!(question.name().unwrap().to_string(), "example.com.");
        assert_eq!((question.rr_type, question.class), (RrType::A, Class::IN));
        let records: Vec<_> = packet.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].name().unwrap().to_string(), "example.com.");
        assert_eq!(
            (records[0].ttl, records[0].rdata()),
            (3600, &[93, 184, 216, 34][..])
        );
        assert_eq!(
            (records[1].rr_type, records[1].class.0),
            (RrType::OPT, 1232)
        );
        assert_eq!(records[1].section, Section::Additional);
        assert_eq!(records[1].end(), ANSWER.len());
    }

    #[test]
    fn ages_ttls_in_place() {
        let at = Packet::new_checked(ANSWER)
            .unwrap()
            .records()
            .next()
            .unwrap()
            .unwrap()
            .ttl_at();
        let mut packet = Packet::new_checked(ANSWER.to_vec()).unwrap();
        packet.age_ttls(&[at as u16, u16::MAX], 600);
        assert_eq!(packet.records().next().unwrap().unwrap().ttl, 3000);
        packet.age_ttls(&[at as u16], 9000);
        assert_eq!(packet.records().next().unwrap().unwrap().ttl, 0);
    }

    #[test]
    fn cut_anywhere_it_is_an_error_and_no_panic() {
        for cut in 0..ANSWER.len() {
            let Ok(packet) = Packet::new_checked(&ANSWER[..cut]) else {
                assert!(cut < HEADER_LEN);
                continue;
            };
            assert!(
                packet.records().any(|record| record.is_err()),
                "cut at {cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(packet) = Packet::new_checked(&bytes[..]) {
                let _ = packet.question().map(|question| question.map(|q| q.name()));
                for record in packet.records() {
                    let Ok(record) = record else { break };
                    let _ = (record.name(), record.rdata_name(0), record.rdata_name(2));
                    prop_assert!(record.end() <= bytes.len());
                }
            }
        }
    }
}
