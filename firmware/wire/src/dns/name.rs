//! Domain names in wire form: length-prefixed labels and a final zero octet (RFC 1035, 3.1).

use core::fmt;
use std::net::IpAddr;

use super::HEADER_LEN;

/// Longest name in wire form, its final zero included (RFC 1035, 2.3.4).
const NAME_LEN_MAX: usize = 255;

/// Longest label (RFC 1035, 2.3.4).
const LABEL_LEN_MAX: usize = 63;

/// A domain name of at most 255 octets, uncompressed, in the letter case it came with.
///
/// `==` compares octets, case included; [`Name::eq_ignore_case`] compares as the DNS does.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(heapless::Vec<u8, NAME_LEN_MAX, u8>);

/// Why octets or text are not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The message ends inside the name.
    #[error("the message ends inside the name")]
    Truncated,
    /// More than 255 octets.
    #[error("longer than 255 octets")]
    TooLong,
    /// A label of more than 63 octets, or an empty one in text.
    #[error("a label is empty or longer than 63 octets")]
    Label,
    /// A pointer that does not point backwards (it could loop), or a reserved label type.
    #[error("a compression pointer does not point backwards")]
    Pointer,
    /// A backslash that introduces no valid escape (RFC 4343, 2.1).
    #[error("bad escape in the text of a name")]
    Escape,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        let mut octets = heapless::Vec::new();
        // One octet always fits into 255.
        let _ = octets.push(0);
        Self(octets)
    }

    /// Reads the name at `at`, following compression pointers.
    ///
    /// Returns the name and the offset behind its last octet at the place where it was read.
    pub fn parse(message: &[u8], at: usize) -> Result<(Self, usize), NameError> {
        let mut octets = heapless::Vec::new();
        let end = walk(message, at, |part| {
            octets
                .extend_from_slice(part)
                .map_err(|_| NameError::TooLong)
        })?;
        Ok((Self(octets), end))
    }

    /// The offset behind the name at `at`, without following its pointer.
    pub fn skip(message: &[u8], at: usize) -> Result<usize, NameError> {
        let mut at = at;
        loop {
            let length = *message.get(at).ok_or(NameError::Truncated)?;
            match length {
                0 => return Ok(at + 1),
                1..=63 => at += 1 + usize::from(length),
                0xc0..=0xff => {
                    return if at + 2 <= message.len() {
                        Ok(at + 2)
                    } else {
                        Err(NameError::Truncated)
                    };
                }
                _ => return Err(NameError::Pointer),
            }
        }
    }

    /// Reads a name that must be uncompressed and fill `octets` exactly.
    pub fn from_wire(octets: &[u8]) -> Result<Self, NameError> {
        let (name, end) = Self::parse(octets, 0)?;
        if end != octets.len() || name.0.len() != octets.len() {
            return Err(NameError::Pointer);
        }
        Ok(name)
    }

    /// Reads a name in presentation form (RFC 1035, 5.1; escapes `\.` and `\123`). A final dot is
    /// optional: the result is always absolute.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Label);
        }
        if text == "." {
            return Ok(Self::root());
        }
        let mut octets: heapless::Vec<u8, NAME_LEN_MAX, u8> = heapless::Vec::new();
        let mut label: heapless::Vec<u8, LABEL_LEN_MAX> = heapless::Vec::new();
        let mut bytes = text.bytes();
        loop {
            let byte = bytes.next();
            match byte {
                Some(b'.') | None => {
                    if label.is_empty() {
                        // The dot that ends an absolute name leaves nothing behind it.
                        if byte.is_none() && text.ends_with('.') {
                            break;
                        }
                        return Err(NameError::Label);
                    }
                    octets
                        .push(label.len() as u8)
                        .map_err(|_| NameError::TooLong)?;
                    octets
                        .extend_from_slice(&label)
                        .map_err(|_| NameError::TooLong)?;
                    label.clear();
                    if byte.is_none() {
                        break;
                    }
                }
                Some(b'\\') => {
                    let octet = unescape(&mut bytes)?;
                    label.push(octet).map_err(|_| NameError::Label)?;
                }
                Some(octet) => label.push(octet).map_err(|_| NameError::Label)?,
            }
        }
        octets.push(0).map_err(|_| NameError::TooLong)?;
        Ok(Self(octets))
    }

    /// The name under which the PTR of `address` is found (RFC 1035, 3.5; RFC 3596, 2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let mut octets = heapless::Vec::new();
        let mut push = |label: &[u8]| {
            // At most 32 labels of two octets and two suffix labels: 74 octets, which always fit.
            let _ = octets.push(label.len() as u8);
            let _ = octets.extend_from_slice(label);
        };
        match address {
            IpAddr::V4(v4) => {
                for octet in v4.octets().into_iter().rev() {
                    let (digits, from) = decimal(octet);
                    push(&digits[from..]);
                }
                push(b"in-addr");
            }
            IpAddr::V6(v6) => {
                for octet in v6.octets().into_iter().rev() {
                    push(&[HEX[usize::from(octet & 0x0f)]]);
                    push(&[HEX[usize::from(octet >> 4)]]);
                }
                push(b"ip6");
            }
        }
        push(b"arpa");
        push(b"");
        Self(octets)
    }

    /// The octets in wire form, the final zero included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Octets in wire form.
    pub fn wire_len(&self) -> usize {
        self.0.len()
    }

    /// Is this the root?
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The labels from the left, without the root's empty one.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.0 }
    }

    /// Do the names mean the same (RFC 4343)?
    pub fn eq_ignore_case(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// The same name in lower case. Length octets are below `A`, so they survive.
    pub fn to_lowercase(&self) -> Self {
        let mut lower = self.clone();
        lower.0.make_ascii_lowercase();
        lower
    }

    /// Is this name `zone` or below it?
    pub fn is_within(&self, zone: &Self) -> bool {
        let mut rest: &[u8] = &self.0;
        while rest.len() >= zone.0.len() {
            if rest.eq_ignore_ascii_case(&zone.0) {
                return true;
            }
            match rest.first() {
                Some(&length) if length > 0 => {
                    rest = rest.get(1 + usize::from(length)..).unwrap_or(&[])
                }
                _ => return false,
            }
        }
        false
    }

    /// This name's labels followed by those of `suffix`.
    pub fn join(&self, suffix: &Self) -> Result<Self, NameError> {
        let mut octets = heapless::Vec::new();
        let stem = self.0.split_last().map_or(&[][..], |(_, stem)| stem);
        octets
            .extend_from_slice(stem)
            .map_err(|_| NameError::TooLong)?;
        octets
            .extend_from_slice(&suffix.0)
            .map_err(|_| NameError::TooLong)?;
        Ok(Self(octets))
    }

    /// The name with each letter in upper or lower case as the next bit of `bits` says, cycling
    /// (draft-vixie-dnsext-dns0x20).
    pub fn with_case_bits(&self, bits: &[u8]) -> Self {
        let mut name = self.clone();
        let letters = name
            .0
            .iter_mut()
            .filter(|octet| octet.is_ascii_alphabetic());
        for (at, octet) in letters.enumerate() {
            let byte = if bits.is_empty() {
                0
            } else {
                bits[(at / 8) % bits.len()]
            };
            *octet = if byte >> (at % 8) & 1 == 1 {
                octet.to_ascii_uppercase()
            } else {
                octet.to_ascii_lowercase()
            };
        }
        name
    }
}

/// Follows a name through `message`, handing each label (with its length octet) and the final
/// zero to `take`. Returns the offset behind the name at its first place.
///
/// Every pointer must lie before the start of the labels that led to it, so each jump goes
/// strictly backwards and the walk ends; 255 octets of name end it earlier. No name lies in the
/// header, so no pointer may go there: forwarders change what stands in it.
pub(super) fn walk(
    message: &[u8],
    at: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), NameError>,
) -> Result<usize, NameError> {
    let (mut at, mut start, mut end, mut total) = (at, at, None, 0usize);
    loop {
        let length = *message.get(at).ok_or(NameError::Truncated)?;
        match length {
            0 => {
                take(&[0])?;
                return Ok(end.unwrap_or(at + 1));
            }
            1..=63 => {
                let next = at + 1 + usize::from(length);
                let label = message.get(at..next).ok_or(NameError::Truncated)?;
                total += label.len();
                if total >= NAME_LEN_MAX {
                    return Err(NameError::TooLong);
                }
                take(label)?;
                at = next;
            }
            0xc0..=0xff => {
                let low = *message.get(at + 1).ok_or(NameError::Truncated)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= start || target < HEADER_LEN {
                    return Err(NameError::Pointer);
                }
                end = end.or(Some(at + 2));
                (at, start) = (target, target);
            }
            _ => return Err(NameError::Pointer),
        }
    }
}

/// The labels of a [`Name`].
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

/// Presentation form with a final dot; octets that are not plain print as escapes.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl core::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_text(text)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The decimal digits of `octet` and where they begin.
fn decimal(octet: u8) -> ([u8; 3], usize) {
    let digits = [
        b'0' + octet / 100,
        b'0' + octet / 10 % 10,
        b'0' + octet % 10,
    ];
    (
        digits,
        if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        },
    )
}

fn unescape(bytes: &mut core::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes
            .next()
            .filter(u8::is_ascii_digit)
            .ok_or(NameError::Escape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn text_and_wire() {
        assert_eq!(name("Ab.c").as_bytes(), b"\x02Ab\x01c\0");
        assert_eq!(name("Ab.c."), name("Ab.c"));
        assert_eq!(name(".").as_bytes(), b"\0");
        assert_eq!(name(r"a\.b.\000x").to_string(), r"a\.b.\000x.");
        assert_eq!(Name::from_text("a..b"), Err(NameError::Label));
        assert_eq!(Name::from_text(".a"), Err(NameError::Label));
        assert_eq!(Name::from_text(""), Err(NameError::Label));
        assert_eq!(Name::from_text(r"a\256"), Err(NameError::Escape));
        assert_eq!(Name::from_text(&"a".repeat(64)), Err(NameError::Label));
        assert_eq!(
            Name::from_text(&["a".repeat(63).as_str(); 4].join(".")),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn pointers_go_backwards_only() {
        let behind_header = |octets: &[u8]| [&[1; HEADER_LEN][..], octets].concat();
        // "a" at 12, a pointer to it at 16.
        let message = behind_header(b"\x01a\0\x01b\xc0\x0c");
        assert_eq!(Name::parse(&message, 15).unwrap(), (name("b.a"), 19));
        // To itself, forwards, two that point at each other, and into the header.
        for bad in [
            &b"\xc0\x0c"[..],
            b"\x01a\xc0\x0c",
            b"\xc0\x0e\x00",
            b"\xc0\x0e\xc0\x0c",
            b"\xc0\x0b",
        ] {
            let message = behind_header(bad);
            assert_eq!(Name::parse(&message, 12).unwrap_err(), NameError::Pointer);
        }
        assert_eq!(Name::parse(b"\x40a", 0).unwrap_err(), NameError::Pointer);
        assert_eq!(Name::parse(b"\xc0", 0).unwrap_err(), NameError::Truncated);
        assert_eq!(Name::parse(b"\x02a", 0).unwrap_err(), NameError::Truncated);
    }

    #[test]
    fn at_most_255_octets() {
        // Two labels of 63, one of 63 and one of 61: 64 * 3 + 62 + 1 = 255.
        let text = [63, 63, 63, 61].map(|n| "x".repeat(n)).join(".");
        assert_eq!(name(&text).wire_len(), 255);
        let text = [63, 63, 63, 62].map(|n| "x".repeat(n)).join(".");
        assert_eq!(Name::from_text(&text), Err(NameError::TooLong));
        // A pointer must not stretch a name either.
        let mut message = vec![0; HEADER_LEN];
        for _ in 0..3 {
            message.push(63);
            message.extend([b'x'; 63]);
        }
        message.push(0);
        let at = message.len();
        message.push(62);
        message.extend([b'y'; 62]);
        message.extend([0xc0, 12]);
        assert_eq!(Name::parse(&message, at).unwrap_err(), NameError::TooLong);
    }

    #[test]
    fn zones() {
        assert!(name("a.LAN").is_within(&name("lan")));
        assert!(name("lan").is_within(&name("lan")));
        assert!(name("lan").is_within(&Name::root()));
        assert!(!name("alan").is_within(&name("lan")));
        assert!(!name("lan").is_within(&name("a.lan")));
        assert_eq!(name("nas").join(&name("lan")).unwrap(), name("nas.lan"));
    }

    #[test]
    fn reverse_names() {
        assert_eq!(
            Name::reverse("192.168.7.10".parse().unwrap()),
            name("10.7.168.192.in-addr.arpa")
        );
        assert_eq!(
            Name::reverse("2001:db8::1".parse().unwrap()).to_string(),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."
        );
    }

    #[test]
    fn case_bits_touch_letters_only() {
        assert_eq!(name("ab-c1.d").with_case_bits(&[0b1010]), name("aB-c1.D"));
        assert!(name("ab").with_case_bits(&[]).eq_ignore_case(&name("AB")));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..420) {
            if let Ok((name, end)) = Name::parse(&bytes, at) {
                prop_assert!(end <= bytes.len());
                prop_assert_eq!(Name::skip(&bytes, at), Ok(end));
                prop_assert_eq!(Name::from_wire(name.as_bytes()), Ok(name.clone()));
                prop_assert_eq!(Name::from_text(&name.to_string()), Ok(name));
            }
        }

        #[test]
        fn any_text(text in ".{0,300}") {
            if let Ok(name) = Name::from_text(&text) {
                prop_assert_eq!(Name::from_text(&name.to_string()), Ok(name));
            }
        }
    }
}
