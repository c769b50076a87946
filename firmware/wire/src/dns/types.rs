//! Code points of the DNS header and of records (IANA "DNS parameters").

use core::fmt;

/// A record type. Unknown ones are carried as they are (RFC 3597).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RrType(pub u16);

macro_rules! rr_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal),+ $(,)?) => {
        impl RrType {
            $($(#[$doc])* pub const $name: Self = Self($value);)+
        }

        impl fmt::Display for RrType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($name)),)+
                    other => write!(f, "TYPE{other}"),
                }
            }
        }

        impl RrType {
            /// The type that `text` names, either by mnemonic or as `TYPE123` (RFC 3597, 5).
            pub fn from_text(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case(stringify!($name)) { return Some(Self($value)); })+
                let (prefix, number) = text.split_at_checked(4)?;
                prefix.eq_ignore_ascii_case("TYPE").then(|| number.parse().ok().map(Self))?
            }
        }
    };
}

rr_types! {
    /// IPv4 address (RFC 1035, 3.4.1).
    A = 1,
    /// Name server (RFC 1035, 3.3.11).
    NS = 2,
    /// Canonical name (RFC 1035, 3.3.1).
    CNAME = 5,
    /// Start of authority (RFC 1035, 3.3.13).
    SOA = 6,
    /// Pointer (RFC 1035, 3.3.12).
    PTR = 12,
    /// Host information (RFC 1035, 3.3.2); what RFC 8482 answers ANY with.
    HINFO = 13,
    /// Mail exchange (RFC 1035, 3.3.9).
    MX = 15,
    /// Text (RFC 1035, 3.3.14).
    TXT = 16,
    /// IPv6 address (RFC 3596).
    AAAA = 28,
    /// Service (RFC 2782).
    SRV = 33,
    /// Non-terminal redirection (RFC 6672).
    DNAME = 39,
    /// EDNS pseudo-record (RFC 6891).
    OPT = 41,
    /// Delegation signer (RFC 4034).
    DS = 43,
    /// Signature (RFC 4034).
    RRSIG = 46,
    /// Denial of existence (RFC 4034).
    NSEC = 47,
    /// Zone key (RFC 4034).
    DNSKEY = 48,
    /// Service binding (RFC 9460).
    SVCB = 64,
    /// Service binding for HTTP (RFC 9460).
    HTTPS = 65,
    /// Transaction signature (RFC 8945).
    TSIG = 250,
    /// Incremental transfer (RFC 1995).
    IXFR = 251,
    /// Zone transfer (RFC 5936).
    AXFR = 252,
    /// Any type (RFC 8482).
    ANY = 255,
}

/// A record class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class(pub u16);

impl Class {
    /// The Internet.
    pub const IN: Self = Self(1);
    /// Chaos: server identification (RFC 4892).
    pub const CH: Self = Self(3);
    /// Any class.
    pub const ANY: Self = Self(255);
}

/// What a message asks for (header bits 1 to 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(u8);

impl Opcode {
    /// A standard query.
    pub const QUERY: Self = Self(0);
    /// A zone change notice (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// A dynamic update (RFC 2136).
    pub const UPDATE: Self = Self(5);

    /// The opcode in the low four bits of `value`.
    pub const fn new(value: u8) -> Self {
        Self(value & 0x0f)
    }

    /// The four bits.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// A response code: four bits of the header, extended to twelve by EDNS (RFC 6891, 6.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server could not read the question.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// The server does not do this.
    pub const NOTIMP: Self = Self(4);
    /// The server does not want to.
    pub const REFUSED: Self = Self(5);
    /// Unknown EDNS version (RFC 6891, 6.1.3).
    pub const BADVERS: Self = Self(16);

    /// The code in the low twelve bits of `value`.
    pub const fn new(value: u16) -> Self {
        Self(value & 0x0fff)
    }

    /// All twelve bits.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The four bits that the header carries.
    pub const fn header_bits(self) -> u8 {
        (self.0 & 0x0f) as u8
    }

    /// The eight bits that OPT carries.
    pub const fn extended_bits(self) -> u8 {
        (self.0 >> 4) as u8
    }
}

/// The second word of the header without its response code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// QR: this is a response.
    pub response: bool,
    /// What is asked for.
    pub opcode: Opcode,
    /// AA: the answer comes from an authority.
    pub authoritative: bool,
    /// TC: the message was cut; ask again over TCP.
    pub truncated: bool,
    /// RD: recursion desired.
    pub recursion_desired: bool,
    /// RA: recursion available.
    pub recursion_available: bool,
    /// AD: the data were validated (RFC 4035, 3.2.3; RFC 6840, 5.7).
    pub authentic_data: bool,
    /// CD: the asker validates by itself (RFC 4035, 3.2.2).
    pub checking_disabled: bool,
}

impl Flags {
    /// A recursive query.
    pub const QUERY: Self = Self {
        response: false,
        opcode: Opcode::QUERY,
        authoritative: false,
        truncated: false,
        recursion_desired: true,
        recursion_available: false,
        authentic_data: false,
        checking_disabled: false,
    };

    /// The flags in a header word; the response code and the reserved Z bit are left out.
    pub const fn from_word(word: u16) -> Self {
        Self {
            response: word & 0x8000 != 0,
            opcode: Opcode::new((word >> 11) as u8),
            authoritative: word & 0x0400 != 0,
            truncated: word & 0x0200 != 0,
            recursion_desired: word & 0x0100 != 0,
            recursion_available: word & 0x0080 != 0,
            authentic_data: word & 0x0020 != 0,
            checking_disabled: word & 0x0010 != 0,
        }
    }

    /// The header word with the low four bits of `rcode`.
    pub const fn to_word(self, rcode: Rcode) -> u16 {
        (self.response as u16) << 15
            | (self.opcode.value() as u16) << 11
            | (self.authoritative as u16) << 10
            | (self.truncated as u16) << 9
            | (self.recursion_desired as u16) << 8
            | (self.recursion_available as u16) << 7
            | (self.authentic_data as u16) << 5
            | (self.checking_disabled as u16) << 4
            | rcode.header_bits() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name_and_number() {
        assert_eq!(RrType::from_text("aaaa"), Some(RrType::AAAA));
        assert_eq!(RrType::from_text("TYPE65"), Some(RrType::HTTPS));
        assert_eq!(RrType::from_text("type70000"), None);
        assert_eq!(RrType::from_text("é€"), None);
        assert_eq!(RrType(999).to_string(), "TYPE999");
        assert_eq!(RrType::MX.to_string(), "MX");
    }

    #[test]
    fn flags_round_trip() {
        for word in 0..=u16::MAX {
            let kept = word & !0x004f;
            assert_eq!(Flags::from_word(word).to_word(Rcode::NOERROR), kept);
        }
    }
}
