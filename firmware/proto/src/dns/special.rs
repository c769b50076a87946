//! Names that never leave the box, whoever asks for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::Prefix;

/// What is special about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// `localhost` or below it (RFC 6761, 6.3).
    Localhost,
    /// Below a zone that exists here alone and is empty; the zone's name begins `apex_at` octets
    /// into the name.
    Zone { apex_at: usize },
}

/// What is special about `name` (wire form, lower case)? `networks` are the household's own.
pub(super) fn special(name: &[u8], networks: &[Prefix]) -> Option<Special> {
    let mut at = 0;
    loop {
        let suffix = &name[at..];
        match suffix {
            b"\x09localhost\0" => return Some(Special::Localhost),
            // RFC 6761 6.2 and 6.4; RFC 7686; RFC 9476; RFC 6762 22.1 (names of mDNS); RFC 8375;
            // RFC 9462 6.4 (what it would say is the upstream's, not ours).
            b"\x04test\0"
            | b"\x07invalid\0"
            | b"\x05onion\0"
            | b"\x03alt\0"
            | b"\x05local\0"
            | b"\x04home\x04arpa\0"
            | b"\x08resolver\x04arpa\0" => {
                return Some(Special::Zone { apex_at: at });
            }
            b"\x07in-addr\x04arpa\0" | b"\x03ip6\x04arpa\0" => {
                return reverse_zone(name, at, networks);
            }
            _ => {}
        }
        match suffix.first() {
            Some(&length) if length > 0 && at + 1 + usize::from(length) < name.len() => {
                at += 1 + usize::from(length);
            }
            _ => return None,
        }
    }
}

/// Reverse zones that are answered locally (RFC 6303, 4; RFC 7793 for 100.64/10). Documentation
/// networks are left out: a laboratory may serve them.
const PRIVATE: [Prefix; 14] = [
    v4(0, 0, 8),
    v4(10, 0, 8),
    v4(100, 64, 10),
    v4(127, 0, 8),
    v4(169, 254, 16),
    v4(172, 16, 12),
    v4(192, 168, 16),
    Prefix::new(IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    Prefix::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128),
    Prefix::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    v6(0xfc00, 7),
    v6(0xfe80, 10),
    v6(0xfec0, 10),
    v6(0xff00, 8),
];

const fn v4(a: u8, b: u8, len: u8) -> Prefix {
    Prefix::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), len)
}

const fn v6(first: u16, len: u8) -> Prefix {
    Prefix::new(IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), len)
}

/// The zone that `name` is in, when all addresses below it are private or the household's.
fn reverse_zone(name: &[u8], suffix_at: usize, networks: &[Prefix]) -> Option<Special> {
    let is_v4 = name[suffix_at] == 7;
    let (units_max, bits_per_unit) = if is_v4 { (4, 8) } else { (32, 4) };
    // Where the labels before the suffix begin; only the last `units_max` of them say an address.
    let mut starts: heapless::Vec<usize, 128> = heapless::Vec::new();
    let mut at = 0;
    while at < suffix_at {
        starts.push(at).ok()?;
        at += 1 + usize::from(name[at]);
    }
    let (mut bits, mut address) = (0u32, 0u128);
    for &start in starts.iter().rev().take(units_max) {
        let label = &name[start + 1..start + 1 + usize::from(name[start])];
        let Some(unit) = (if is_v4 { decimal(label) } else { nibble(label) }) else {
            break;
        };
        address = address << bits_per_unit | u128::from(unit);
        bits += bits_per_unit;
    }
    let width = if is_v4 { 32 } else { 128 };
    let address = address.checked_shl(width - bits).unwrap_or(0);
    let address = if is_v4 {
        IpAddr::V4(Ipv4Addr::from_bits(address as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(address))
    };
    let prefix = PRIVATE
        .iter()
        .chain(networks)
        .find(|prefix| u32::from(prefix.len) <= bits && prefix.contains(address))?;
    // The zone is cut where labels are: 172.16/12 is sixteen zones of two labels each.
    let units = u32::from(prefix.len).div_ceil(bits_per_unit) as usize;
    let apex_at = starts
        .len()
        .checked_sub(units)
        .map(|at| starts.get(at).copied().unwrap_or(suffix_at))?;
    Some(Special::Zone { apex_at })
}

fn decimal(label: &[u8]) -> Option<u8> {
    if label.len() > 3 || label.is_empty() || (label.len() > 1 && label[0] == b'0') {
        return None;
    }
    let mut value = 0u16;
    for digit in label {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok()
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [letter @ b'a'..=b'f'] => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lintel_wire::dns::Name;
    use proptest::prelude::*;

    fn zone(text: &str, networks: &[Prefix]) -> Option<String> {
        let name = Name::from_text(text).unwrap();
        match special(name.as_bytes(), networks)? {
            Special::Localhost => Some("localhost".into()),
            Special::Zone { apex_at } => Some(
                Name::from_wire(&name.as_bytes()[apex_at..])
                    .unwrap()
                    .to_string(),
            ),
        }
    }

    #[test]
    fn table() {
        let cases = [
            ("localhost", Some("localhost")),
            ("a.localhost", Some("localhost")),
            ("localhost.example", None),
            ("x.test", Some("test.")),
            ("invalid", Some("invalid.")),
            ("abc.onion", Some("onion.")),
            ("printer.local", Some("local.")),
            ("x.home.arpa", Some("home.arpa.")),
            ("arpa", None),
            ("_dns.resolver.arpa", Some("resolver.arpa.")),
            ("mytest", None),
            ("test.com", None),
            (".", None),
            ("1.1.168.192.in-addr.arpa", Some("168.192.in-addr.arpa.")),
            ("168.192.in-addr.arpa", Some("168.192.in-addr.arpa.")),
            ("192.in-addr.arpa", None),
            ("in-addr.arpa", None),
            ("5.31.172.in-addr.arpa", Some("31.172.in-addr.arpa.")),
            ("5.32.172.in-addr.arpa", None),
            ("64.100.in-addr.arpa", Some("64.100.in-addr.arpa.")),
            ("128.100.in-addr.arpa", None),
            (
                "lb._dns-sd._udp.0.1.0.10.in-addr.arpa",
                Some("10.in-addr.arpa."),
            ),
            ("x.y.9.in-addr.arpa", None),
            ("01.10.in-addr.arpa", Some("10.in-addr.arpa.")),
            ("010.in-addr.arpa", None),
            ("999.10.in-addr.arpa", Some("10.in-addr.arpa.")),
            ("7.7.d.f.ip6.arpa", Some("d.f.ip6.arpa.")),
            ("b.e.f.ip6.arpa", Some("b.e.f.ip6.arpa.")),
            ("8.b.d.0.1.0.0.2.ip6.arpa", None),
            ("ip6.arpa", None),
        ];
        for (name, want) in cases {
            assert_eq!(zone(name, &[]).as_deref(), want, "{name}");
        }
        let whole = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.";
        assert_eq!(zone(whole, &[]).as_deref(), Some(whole));
    }

    #[test]
    fn the_households_own_networks() {
        let networks = [
            Prefix::new("2001:db8:1:200::".parse().unwrap(), 56),
            Prefix::new("203.0.113.0".parse().unwrap(), 24),
        ];
        assert_eq!(
            zone("5.113.0.203.in-addr.arpa", &networks).as_deref(),
            Some("113.0.203.in-addr.arpa.")
        );
        let apex = "2.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";
        assert_eq!(
            zone(&format!("7.0.0.{apex}"), &networks).as_deref(),
            Some(apex)
        );
        assert_eq!(
            zone("3.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", &networks),
            None
        );
    }

    proptest! {
        #[test]
        fn any_reverse_address(address in any::<u32>()) {
            let address = Ipv4Addr::from_bits(address);
            let name = Name::reverse(IpAddr::V4(address));
            let private = PRIVATE.iter().any(|prefix| prefix.contains(IpAddr::V4(address)));
            prop_assert_eq!(special(name.as_bytes(), &[]).is_some(), private);
        }

        #[test]
        fn any_labels(labels in proptest::collection::vec("[a-f0-9]{1,3}", 0..60), v6 in any::<bool>()) {
            let suffix = if v6 { "ip6.arpa" } else { "in-addr.arpa" };
            if let Ok(name) = Name::from_text(&[&labels[..], &[suffix.into()]].concat().join(".")) {
                let _ = special(name.as_bytes(), &[]);
            }
        }
    }
}
