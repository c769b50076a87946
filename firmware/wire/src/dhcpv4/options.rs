//! The options of a message: an ordered list of codes and octets, with typed readers.
//!
//! Readers return `None` for an absent option and an error for a malformed one, so that the
//! caller decides whether nonsense costs the message or only the option.

use std::net::Ipv4Addr;

use super::ParseError;

/// Option codes (RFC 2132 unless said otherwise).
pub mod code {
    #![allow(missing_docs, reason = "the names are those of the registry")]
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS_SERVERS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN_NAME: u8 = 15;
    pub const INTERFACE_MTU: u8 = 26;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const NTP_SERVERS: u8 = 42;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MESSAGE_LEN_MAX: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    /// RFC 4702.
    pub const CLIENT_FQDN: u8 = 81;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 3397.
    pub const DOMAIN_SEARCH: u8 = 119;
    /// RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}

/// An option whose octets do not have the form of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("option {code} of {len} octets is malformed")]
pub struct OptionError {
    /// Which option.
    pub code: u8,
    /// How long it is, octets.
    pub len: usize,
}

/// One route of option 121 (RFC 3442).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClasslessRoute {
    /// Destination, host bits zero.
    pub destination: Ipv4Addr,
    /// Length of the destination's prefix, 0 to 32 bits.
    pub prefix_len: u8,
    /// Next hop; unspecified means on-link.
    pub router: Ipv4Addr,
}

/// Options in order, each code once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    list: Vec<(u8, Vec<u8>)>,
}

impl Options {
    /// The octets of an option.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|(c, _)| *c == code)
            .map(|(_, value)| value.as_slice())
    }

    /// Whether the option is there.
    pub fn contains(&self, code: u8) -> bool {
        self.get(code).is_some()
    }

    /// All options, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.list
            .iter()
            .map(|(code, value)| (*code, value.as_slice()))
    }

    /// Sets an option, at its old place or at the end. Pad, end and overload are the
    /// message's own business and are ignored.
    pub fn set(&mut self, code: u8, value: &[u8]) {
        if matches!(code, code::PAD | code::END | code::OVERLOAD) {
            return;
        }
        match self.list.iter_mut().find(|(c, _)| *c == code) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.list.push((code, value.to_vec())),
        }
    }

    /// Sets an option to an address.
    pub fn set_addr(&mut self, code: u8, address: Ipv4Addr) {
        self.set(code, &address.octets());
    }

    /// Sets an option to a list of addresses; an empty list sets nothing.
    pub fn set_addrs(&mut self, code: u8, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            let octets: Vec<u8> = addresses.iter().flat_map(|a| a.octets()).collect();
            self.set(code, &octets);
        }
    }

    /// Sets an option to a number.
    pub fn set_u32(&mut self, code: u8, value: u32) {
        self.set(code, &value.to_be_bytes());
    }

    /// Sets option 121; an empty list sets nothing.
    pub fn set_routes(&mut self, routes: &[ClasslessRoute]) {
        let mut octets = Vec::new();
        for route in routes {
            let prefix_len = route.prefix_len.min(32);
            octets.push(prefix_len);
            let significant = usize::from(prefix_len).div_ceil(8);
            octets.extend_from_slice(&route.destination.octets()[..significant]);
            octets.extend_from_slice(&route.router.octets());
        }
        if !octets.is_empty() {
            self.set(code::CLASSLESS_ROUTES, &octets);
        }
    }

    /// Removes an option and returns its octets.
    pub fn take(&mut self, code: u8) -> Option<Vec<u8>> {
        let at = self.list.iter().position(|(c, _)| *c == code)?;
        Some(self.list.remove(at).1)
    }

    /// An option that is one address.
    pub fn addr(&self, code: u8) -> Result<Option<Ipv4Addr>, OptionError> {
        self.fixed(code).map(|o| o.map(|o: [u8; 4]| o.into()))
    }

    /// An option that is a list of at least one address. At most `count_max` are returned.
    pub fn addrs(&self, code: u8, count_max: usize) -> Result<Vec<Ipv4Addr>, OptionError> {
        let Some(value) = self.get(code) else {
            return Ok(Vec::new());
        };
        let (addresses, rest) = value.as_chunks::<4>();
        if addresses.is_empty() || !rest.is_empty() {
            return Err(malformed(code, value));
        }
        Ok(addresses
            .iter()
            .take(count_max)
            .map(|&a| a.into())
            .collect())
    }

    /// An option that is a 32-bit number.
    pub fn u32(&self, code: u8) -> Result<Option<u32>, OptionError> {
        self.fixed(code).map(|o| o.map(u32::from_be_bytes))
    }

    /// An option that is a 16-bit number.
    pub fn u16(&self, code: u8) -> Result<Option<u16>, OptionError> {
        self.fixed(code).map(|o| o.map(u16::from_be_bytes))
    }

    /// An option that is text: printable ASCII, trailing zeros dropped (RFC 2132 section 2).
    pub fn text(&self, code: u8) -> Result<Option<String>, OptionError> {
        let Some(value) = self.get(code) else {
            return Ok(None);
        };
        let end = value.iter().rposition(|&o| o != 0).map_or(0, |at| at + 1);
        let text = &value[..end];
        if text.is_empty() || !text.iter().all(|o| o.is_ascii_graphic() || *o == b' ') {
            return Err(malformed(code, value));
        }
        Ok(String::from_utf8(text.to_vec()).ok())
    }

    /// Option 121. Host bits of a destination are cleared, as the RFC asks for.
    pub fn routes(&self, count_max: usize) -> Result<Vec<ClasslessRoute>, OptionError> {
        let Some(value) = self.get(code::CLASSLESS_ROUTES) else {
            return Ok(Vec::new());
        };
        let mut routes = Vec::new();
        let mut rest = value;
        while let Some((&prefix_len, tail)) = rest.split_first() {
            let significant = usize::from(prefix_len).div_ceil(8);
            if prefix_len > 32 || tail.len() < significant + 4 {
                return Err(malformed(code::CLASSLESS_ROUTES, value));
            }
            let mut destination = [0; 4];
            destination[..significant].copy_from_slice(&tail[..significant]);
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix_len))
                .unwrap_or(0);
            let mut router = [0; 4];
            router.copy_from_slice(&tail[significant..significant + 4]);
            if routes.len() < count_max {
                routes.push(ClasslessRoute {
                    destination: (u32::from_be_bytes(destination) & mask).into(),
                    prefix_len,
                    router: router.into(),
                });
            }
            rest = &tail[significant + 4..];
        }
        Ok(routes)
    }

    /// Adds the options of one field. An option met again is continued (RFC 3396).
    pub(super) fn parse_field(&mut self, field: &[u8]) -> Result<(), ParseError> {
        let mut rest = field;
        loop {
            match rest {
                [] | [code::END, ..] => return Ok(()),
                [code::PAD, tail @ ..] => rest = tail,
                [code] => return Err(ParseError::TruncatedOption(*code)),
                [code, len, tail @ ..] => {
                    let (value, tail) = tail
                        .split_at_checked(usize::from(*len))
                        .ok_or(ParseError::TruncatedOption(*code))?;
                    match self.list.iter_mut().find(|(c, _)| c == code) {
                        Some((_, old)) => old.extend_from_slice(value),
                        None => self.list.push((*code, value.to_vec())),
                    }
                    rest = tail;
                }
            }
        }
    }

    /// Octets that all options take, without the end mark.
    pub(super) fn encoded_len(&self) -> usize {
        self.list.iter().map(|(_, value)| encoded_len(value)).sum()
    }

    fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, OptionError> {
        match self.get(code) {
            None => Ok(None),
            Some(value) => value
                .try_into()
                .map(Some)
                .map_err(|_| malformed(code, value)),
        }
    }
}

fn malformed(code: u8, value: &[u8]) -> OptionError {
    OptionError {
        code,
        len: value.len(),
    }
}

/// Octets that an option takes, split into pieces of 255.
pub(super) fn encoded_len(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}

/// Appends an option, split into pieces of 255.
pub(super) fn encode(code: u8, value: &[u8], to: &mut Vec<u8>) {
    if value.is_empty() {
        to.extend([code, 0]);
    }
    for piece in value.chunks(255) {
        to.push(code);
        // chunks(255) never exceeds a byte.
        to.push(piece.len() as u8);
        to.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn readers_tell_absent_from_malformed() {
        let mut options = Options::default();
        assert_eq!(options.addr(code::SERVER_ID), Ok(None));
        options.set(code::SERVER_ID, &[1, 2, 3]);
        assert_eq!(
            options.addr(code::SERVER_ID),
            Err(OptionError { code: 54, len: 3 })
        );
        options.set(code::DNS_SERVERS, &[1, 1, 1, 1, 9, 9, 9, 9]);
        assert_eq!(
            options.addrs(code::DNS_SERVERS, 1).unwrap(),
            [Ipv4Addr::new(1, 1, 1, 1)]
        );
        options.set(code::DOMAIN_NAME, b"example.org\0\0");
        assert_eq!(
            options.text(code::DOMAIN_NAME).unwrap().as_deref(),
            Some("example.org")
        );
        options.set(code::DOMAIN_NAME, b"a\nnameserver 6.6.6.6");
        assert!(options.text(code::DOMAIN_NAME).is_err());
    }

    #[test]
    fn classless_routes_as_in_rfc_3442() {
        let mut options = Options::default();
        // 10.0.0.0/8, 10.27.129.0/24 and the default route.
        options.set(
            code::CLASSLESS_ROUTES,
            &[
                8, 10, 10, 0, 0, 1, 24, 10, 27, 129, 10, 0, 0, 2, 0, 10, 0, 0, 3,
            ],
        );
        let routes = options.routes(8).unwrap();
        assert_eq!(routes.len(), 3);
        assert_eq!(routes[1].destination, Ipv4Addr::new(10, 27, 129, 0));
        assert_eq!(routes[2].prefix_len, 0);
        let mut again = Options::default();
        again.set_routes(&routes);
        assert_eq!(again, options);
        options.set(code::CLASSLESS_ROUTES, &[33, 1, 2, 3, 4, 5, 1, 2, 3, 4]);
        assert!(options.routes(8).is_err());
    }

    proptest! {
        #[test]
        fn no_reader_panics(code: u8, value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut options = Options::default();
            options.set(code, &value);
            options.set(code::CLASSLESS_ROUTES, &value);
            let _ = (options.addr(code), options.addrs(code, 8), options.u16(code), options.u32(code));
            let _ = (options.text(code), options.routes(8));
        }
    }
}
