//! Newtypes for the names that kernel, DNS and Ethernet give to things.
//!
//! Each parses from text and prints the same text back; a value that exists is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest link name the kernel takes, in octets (`IFNAMSIZ` less the terminating zero).
pub const LINK_NAME_OCTETS_MAX: usize = 15;
/// Longest DNS label, in octets (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// Longest domain name in its text form without the final dot, in octets.
pub const DOMAIN_OCTETS_MAX: usize = 253;

/// Why a text is no name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text breaks the rule for link names.
    #[error(
        "{0:?} is no link name: 1 to 15 characters without '/', ':' or blanks, not '.' or '..'"
    )]
    Link(String),
    /// The text breaks the rule for host names.
    #[error("{0:?} is no host name: letters, digits and inner hyphens, 1 to 63 characters")]
    Host(String),
    /// The text breaks the rule for domain names.
    #[error(
        "{0:?} is no domain name: labels of letters, digits, '_' and inner hyphens, joined by dots"
    )]
    Domain(String),
    /// The text is no bus path.
    #[error("{0:?} is no bus path: bus, hyphen and device, as the list of ports shows it")]
    BusPath(String),
    /// The text is no 48-bit address.
    #[error("{0:?} is no MAC address: six pairs of hex digits joined by ':'")]
    Mac(String),
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

/// Name of a network link, as in `ip link` (`eth0`, `br-lan`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);
text_newtype!(LinkName);

impl FromStr for LinkName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=LINK_NAME_OCTETS_MAX).contains(&text.len());
        let clean = text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if fits && clean && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Link(text.to_owned()))
        }
    }
}

/// One DNS label that may name a host (RFC 1123 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);
text_newtype!(HostName);

impl FromStr for HostName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_label(text, false) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Host(text.to_owned()))
        }
    }
}

/// A domain name in text form, lower case, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);
text_newtype!(DomainName);

impl FromStr for DomainName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let fits = (1..=DOMAIN_OCTETS_MAX).contains(&bare.len());
        if fits && bare.split('.').all(|label| is_label(label, true)) {
            Ok(Self(bare.to_ascii_lowercase()))
        } else {
            Err(NameError::Domain(text.to_owned()))
        }
    }
}

fn is_label(text: &str, underscore: bool) -> bool {
    (1..=LABEL_OCTETS_MAX).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || (underscore && b == b'_'))
}

/// A 48-bit Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether the group bit is set; such an address never belongs to one host.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError::Mac(text.to_owned());
        let mut octets = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            Err(bad())
        } else {
            Ok(Self(octets))
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_the_same() {
        assert_eq!("br-lan".parse::<LinkName>().unwrap().to_string(), "br-lan");
        assert_eq!(
            "02:00:5E:00:53:01".parse::<MacAddr>().unwrap().to_string(),
            "02:00:5e:00:53:01"
        );
        assert_eq!(
            "Home.Arpa.".parse::<DomainName>().unwrap().as_str(),
            "home.arpa"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a/b", "sixteen-letters-", "..", "a b"] {
            assert!(text.parse::<LinkName>().is_err(), "{text:?}");
        }
        for text in ["", "-a", "a-", "a.b", "a_b"] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
        for text in [
            "0:1:2:3:4:5",
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "+2:00:5e:00:53:01",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?}");
        }
    }
}
