//! Private addresses that a public name must not have (DNS rebinding): a web page from outside
//! could else point its own name at the router or the printer and talk to them as itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lintel_wire::dns::{Record, RrType};

use super::config::Prefix;

/// Does `record` name an address that is private or in one of `networks`?
///
/// Looks into A, AAAA and the address hints of SVCB and HTTPS (RFC 9460, 7.3), which browsers
/// connect to as well. Hints that cannot be read count as private.
pub(super) fn names_private(record: &Record<'_>, networks: &[Prefix]) -> bool {
    let rdata = record.rdata();
    match record.rr_type {
        RrType::A => rdata
            .first_chunk()
            .is_some_and(|octets| is_private(IpAddr::V4((*octets).into()), networks)),
        RrType::AAAA => rdata
            .first_chunk()
            .is_some_and(|octets| is_private(IpAddr::V6((*octets).into()), networks)),
        RrType::SVCB | RrType::HTTPS => hints_private(record, networks).unwrap_or(true),
        _ => false,
    }
}

/// Is `address` of no use outside a household or a host?
fn is_private(address: IpAddr, networks: &[Prefix]) -> bool {
    let by_kind = match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    };
    by_kind || networks.iter().any(|network| network.contains(address))
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.octets()[0] == 0
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let embedded = || {
        let [a, b, c, d] = (v6.to_bits() as u32).to_be_bytes();
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // Unspecified, loopback, IPv4-compatible and IPv4-mapped; NAT64 (RFC 6052, 2.1).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embedded(),
        // Unique local (RFC 4193), link-local, and the site-local that preceded them.
        [first, ..] => first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80,
    }
}

/// Do the address hints of an SVCB record name something private? `None`: not readable.
fn hints_private(record: &Record<'_>, networks: &[Prefix]) -> Option<bool> {
    const IPV4_HINT: u16 = 4;
    const IPV6_HINT: u16 = 6;
    let (_, params_at) = record.rdata_name(2).ok()?;
    let mut rest = record.rdata().get(params_at - record.rdata_at()..)?;
    while !rest.is_empty() {
        let (&[key_high, key_low, len_high, len_low], tail) = rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let (value, tail) = tail.split_at_checked(len)?;
        let private = match u16::from_be_bytes([key_high, key_low]) {
            IPV4_HINT => any_private::<4>(value, networks)?,
            IPV6_HINT => any_private::<16>(value, networks)?,
            _ => false,
        };
        if private {
            return Some(true);
        }
        rest = tail;
    }
    Some(false)
}

fn any_private<const N: usize>(value: &[u8], networks: &[Prefix]) -> Option<bool>
where
    IpAddr: From<[u8; N]>,
{
    let (addresses, rest) = value.as_chunks::<N>();
    rest.is_empty().then(|| {
        addresses
            .iter()
            .any(|octets| is_private(IpAddr::from(*octets), networks))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lintel_wire::dns::{Class, Flags, Name, Packet, Rcode, Section, Writer};

    #[test]
    fn kinds_of_addresses() {
        let networks = [Prefix::new("2001:db8:1::".parse().unwrap(), 64)];
        let cases = [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("127.0.0.53", true),
            ("169.254.1.1", true),
            ("0.0.0.0", true),
            ("9.9.9.9", false),
            ("100.64.0.1", false),
            ("::", true),
            ("::1", true),
            ("::ffff:192.168.1.1", true),
            ("::ffff:9.9.9.9", false),
            ("64:ff9b::a00:1", true),
            ("64:ff9b::909:909", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8:1::5", true),
            ("2001:db8:2::5", false),
        ];
        for (text, private) in cases {
            assert_eq!(
                is_private(text.parse().unwrap(), &networks),
                private,
                "{text}"
            );
        }
    }

    #[test]
    fn hints_of_https_records() {
        let private = |params: &[u8]| {
            let mut buffer = [0; 200];
            let mut writer = Writer::new(&mut buffer, 0, Flags::QUERY, Rcode::NOERROR).unwrap();
            let root = Name::root();
            writer
                .record(Section::Answer, &root, RrType::HTTPS, Class::IN, 1, |w| {
                    w.u16(1)?;
                    w.name(&root)?;
                    w.bytes(params)
                })
                .unwrap();
            let len = writer.finish();
            let packet = Packet::new_checked(&buffer[..len]).unwrap();
            let record = packet.records().next().unwrap().unwrap();
            names_private(&record, &[])
        };
        assert!(!private(b""));
        assert!(!private(b"\0\x01\0\x03\x02h2"));
        assert!(!private(b"\0\x04\0\x04\x09\x09\x09\x09"));
        assert!(private(b"\0\x04\0\x08\x09\x09\x09\x09\x0a\0\0\x01"));
        assert!(private(b"\0\x06\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"));
        // Unreadable: a length that is no multiple, and one behind the end.
        assert!(private(b"\0\x04\0\x03\x09\x09\x09"));
        assert!(private(b"\0\x04\0\x09\x09"));
    }
}
