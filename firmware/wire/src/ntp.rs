//! NTP packets, versions 3 and 4 (RFC 1305, RFC 5905 section 7.3).
//!
//! [`Packet`] is the header of 48 octets; [`Packet::parse`] never panics on any bytes, and
//! `parse(emit(p)) == p` for every packet. What follows the header (extension fields, RFC 7822; a
//! MAC) is tolerated and not read: we have no keys, and an unauthenticated answer to a client
//! that wants one is ignored by it. Modes 6 and 7 (control and private) are refused here, so no
//! code above ever sees one.

mod time;

pub use time::{NtpShort, NtpTimestamp, UnixNs};

use std::net::IpAddr;

/// UDP port of servers.
pub const PORT: u16 = 123;
/// Length of the header, octets.
pub const HEADER_LEN: usize = 48;
/// Longest datagram that is looked at, octets: a header, extension fields that fill an Ethernet
/// frame, and a MAC. Longer ones are fragments' work and no client's.
pub const DATAGRAM_LEN_MAX: usize = 1_472;
/// Stratum of who is not synchronised (RFC 5905 MAXSTRAT).
pub const STRATUM_MAX: u8 = 16;

/// Where the fields are.
mod field {
    use std::ops::Range;

    pub(super) const FLAGS: usize = 0;
    pub(super) const STRATUM: usize = 1;
    pub(super) const POLL: usize = 2;
    pub(super) const PRECISION: usize = 3;
    pub(super) const ROOT_DELAY: Range<usize> = 4..8;
    pub(super) const ROOT_DISPERSION: Range<usize> = 8..12;
    pub(super) const REFERENCE_ID: Range<usize> = 12..16;
    pub(super) const REFERENCE: Range<usize> = 16..24;
    pub(super) const ORIGIN: Range<usize> = 24..32;
    pub(super) const RECEIVE: Range<usize> = 32..40;
    pub(super) const TRANSMIT: Range<usize> = 40..48;
}

/// The header of an NTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Warns of a leap second, or says that the clock is not synchronised.
    pub leap: Leap,
    /// Version of the protocol.
    pub version: Version,
    /// Who speaks to whom.
    pub mode: Mode,
    /// 0 unspecified or a kiss, 1 a primary server, up to 15; [`STRATUM_MAX`] unsynchronised.
    pub stratum: u8,
    /// Longest interval between messages, log2 seconds.
    pub poll: i8,
    /// Precision of the sender's clock, log2 seconds.
    pub precision: i8,
    /// Round trip to the primary source.
    pub root_delay: NtpShort,
    /// Largest error relative to the primary source.
    pub root_dispersion: NtpShort,
    /// Whom the sender follows, or the kiss code.
    pub reference_id: ReferenceId,
    /// When the sender's clock was last set.
    pub reference: NtpTimestamp,
    /// What stood in the transmit field of the request (T1).
    pub origin: NtpTimestamp,
    /// When the request came in (T2).
    pub receive: NtpTimestamp,
    /// When the reply left (T3); in a request, whatever its sender wants back.
    pub transmit: NtpTimestamp,
}

impl Packet {
    /// A client's request that says nothing of itself: its transmit field is `nonce`, a random
    /// number and not our clock, and every other field is empty.
    pub fn request(nonce: NtpTimestamp) -> Self {
        Self {
            leap: Leap::None,
            version: Version::V4,
            mode: Mode::Client,
            stratum: 0,
            poll: 0,
            precision: 0,
            root_delay: NtpShort::ZERO,
            root_dispersion: NtpShort::ZERO,
            reference_id: ReferenceId::NONE,
            reference: NtpTimestamp::ZERO,
            origin: NtpTimestamp::ZERO,
            receive: NtpTimestamp::ZERO,
            transmit: nonce,
        }
    }

    /// Reads the header of a datagram.
    pub fn parse(octets: &[u8]) -> Result<Self, ParseError> {
        if octets.len() > DATAGRAM_LEN_MAX {
            return Err(ParseError::TooLong { len: octets.len() });
        }
        let Some((header, trailer)) = octets.split_first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::Truncated { len: octets.len() });
        };
        // Extension fields and MACs are whole words (RFC 5905 section 7.3, RFC 7822).
        if trailer.len() % 4 != 0 {
            return Err(ParseError::OddLength { len: octets.len() });
        }
        let flags = header[field::FLAGS];
        Ok(Self {
            leap: Leap::from_bits(flags >> 6),
            version: Version::from_bits(flags >> 3 & 7)?,
            mode: Mode::from_bits(flags & 7)?,
            stratum: header[field::STRATUM],
            poll: header[field::POLL].cast_signed(),
            precision: header[field::PRECISION].cast_signed(),
            root_delay: NtpShort(u32_at(header, field::ROOT_DELAY)),
            root_dispersion: NtpShort(u32_at(header, field::ROOT_DISPERSION)),
            reference_id: ReferenceId(u32_at(header, field::REFERENCE_ID).to_be_bytes()),
            reference: NtpTimestamp(u64_at(header, field::REFERENCE)),
            origin: NtpTimestamp(u64_at(header, field::ORIGIN)),
            receive: NtpTimestamp(u64_at(header, field::RECEIVE)),
            transmit: NtpTimestamp(u64_at(header, field::TRANSMIT)),
        })
    }

    /// The header as it goes on the wire.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[field::FLAGS] = self.leap.bits() << 6 | self.version.bits() << 3 | self.mode.bits();
        header[field::STRATUM] = self.stratum;
        header[field::POLL] = self.poll.cast_unsigned();
        header[field::PRECISION] = self.precision.cast_unsigned();
        header[field::ROOT_DELAY].copy_from_slice(&self.root_delay.0.to_be_bytes());
        header[field::ROOT_DISPERSION].copy_from_slice(&self.root_dispersion.0.to_be_bytes());
        header[field::REFERENCE_ID].copy_from_slice(&self.reference_id.0);
        header[field::REFERENCE].copy_from_slice(&self.reference.0.to_be_bytes());
        header[field::ORIGIN].copy_from_slice(&self.origin.0.to_be_bytes());
        header[field::RECEIVE].copy_from_slice(&self.receive.0.to_be_bytes());
        stamp(&mut header, self.transmit);
        header
    }

    /// The kiss code of a server's reply, when it is a kiss (RFC 5905 section 7.4).
    pub fn kiss(&self) -> Option<Kiss> {
        (self.mode == Mode::Server && self.stratum == 0).then(|| Kiss::from(self.reference_id))
    }
}

/// Writes the transmit field of an emitted header, for senders that read the clock last.
pub fn stamp(header: &mut [u8; HEADER_LEN], transmit: NtpTimestamp) {
    header[field::TRANSMIT].copy_from_slice(&transmit.0.to_be_bytes());
}

/// Why bytes are no NTP packet for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than a header.
    #[error("{len} octets are no NTP header")]
    Truncated {
        /// Length of the datagram, octets.
        len: usize,
    },
    /// Longer than any packet we expect.
    #[error("{len} octets are more than an NTP packet has")]
    TooLong {
        /// Length of the datagram, octets.
        len: usize,
    },
    /// What follows the header is not made of whole words.
    #[error("{len} octets do not divide into words")]
    OddLength {
        /// Length of the datagram, octets.
        len: usize,
    },
    /// A version other than 3 and 4.
    #[error("NTP version {0}")]
    Version(u8),
    /// Mode 0 (reserved), 6 (control) or 7 (private).
    #[error("NTP mode {0}")]
    Mode(u8),
}

/// The leap indicator (RFC 5905 figure 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leap {
    /// No leap second at the end of the month.
    None,
    /// The last minute of the month has 61 seconds.
    Insert,
    /// It has 59.
    Delete,
    /// The clock is not synchronised.
    Unsynchronised,
}

impl Leap {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unsynchronised,
        }
    }

    fn bits(self) -> u8 {
        self as u8
    }
}

/// The versions we speak; they share the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 1305, and RFC 4330 clients that say 3.
    V3,
    /// RFC 5905.
    V4,
}

impl Version {
    fn from_bits(bits: u8) -> Result<Self, ParseError> {
        match bits {
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            other => Err(ParseError::Version(other)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// The association modes (RFC 5905 figure 10) without reserved, control and private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Mode 1.
    SymmetricActive,
    /// Mode 2.
    SymmetricPassive,
    /// Mode 3.
    Client,
    /// Mode 4.
    Server,
    /// Mode 5.
    Broadcast,
}

impl Mode {
    fn from_bits(bits: u8) -> Result<Self, ParseError> {
        match bits {
            1 => Ok(Self::SymmetricActive),
            2 => Ok(Self::SymmetricPassive),
            3 => Ok(Self::Client),
            4 => Ok(Self::Server),
            5 => Ok(Self::Broadcast),
            other => Err(ParseError::Mode(other)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::SymmetricActive => 1,
            Self::SymmetricPassive => 2,
            Self::Client => 3,
            Self::Server => 4,
            Self::Broadcast => 5,
        }
    }
}

/// Whom a server follows: four ASCII letters at stratum 1, an address above, a code in a kiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReferenceId(pub [u8; 4]);

impl ReferenceId {
    /// Nobody.
    pub const NONE: Self = Self([0; 4]);

    /// The id that says that a host follows `address` (RFC 5905 section 7.3): the address itself,
    /// or the first four octets of the MD5 digest of an IPv6 address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.octets()),
            IpAddr::V6(address) => {
                let digest: [u8; 16] = <md5::Md5 as md5::Digest>::digest(address.octets()).into();
                Self([digest[0], digest[1], digest[2], digest[3]])
            }
        }
    }
}

/// What a server that does not serve us says instead (RFC 5905 section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kiss {
    /// Access denied: stop asking.
    Deny,
    /// Access denied by local policy: stop asking.
    Restrict,
    /// Asked too often: slow down.
    Rate,
    /// Any other; no action is due.
    Other(ReferenceId),
}

impl From<ReferenceId> for Kiss {
    fn from(id: ReferenceId) -> Self {
        match &id.0 {
            b"DENY" => Self::Deny,
            b"RSTR" => Self::Restrict,
            b"RATE" => Self::Rate,
            _ => Self::Other(id),
        }
    }
}

impl From<Kiss> for ReferenceId {
    fn from(kiss: Kiss) -> Self {
        match kiss {
            Kiss::Deny => Self(*b"DENY"),
            Kiss::Restrict => Self(*b"RSTR"),
            Kiss::Rate => Self(*b"RATE"),
            Kiss::Other(id) => id,
        }
    }
}

fn u32_at(header: &[u8; HEADER_LEN], at: std::ops::Range<usize>) -> u32 {
    header[at]
        .iter()
        .fold(0, |word, octet| word << 8 | u32::from(*octet))
}

fn u64_at(header: &[u8; HEADER_LEN], at: std::ops::Range<usize>) -> u64 {
    header[at]
        .iter()
        .fold(0, |word, octet| word << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests;
