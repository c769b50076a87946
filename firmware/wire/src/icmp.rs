//! ICMP for IPv4 (RFC 792) as far as a test of the network needs it: echo requests out, and what
//! answers them or is said about them in.
//!
//! Nothing panics on any bytes. Buffers are new and belong to the caller.

use std::net::Ipv4Addr;

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};

/// Octets of the headers before the data of an echo: IPv4's without options, and ICMP's.
pub const HEADERS_LEN: usize = 28;

const ECHO_LEN: usize = 8;
const IPV4_LEN_MIN: usize = 20;
/// Next-hop MTU of "fragmentation needed" (RFC 1191 section 4).
const NEXT_MTU: std::ops::Range<usize> = 6..8;

/// Something that was said about an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who said it.
    pub from: Ipv4Addr,
    /// What was left of the packet's time to live.
    pub ttl: u8,
    /// Where the request went.
    pub to: Ipv4Addr,
    /// The request's identifier.
    pub id: u16,
    /// The request's sequence number.
    pub seq: u16,
    /// What was said.
    pub says: Says,
}

/// What can be said about an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It arrived: this is the answer.
    Reply,
    /// It lived too short to get there (type 11 code 0).
    TimeExceeded,
    /// It is too long for the next link (type 3 code 4).
    TooLong {
        /// What that link takes, octets with the IPv4 header; `None` from routers that do not say.
        mtu: Option<u16>,
    },
    /// It cannot be delivered (type 3), with the code of RFC 792 and RFC 1812 section 5.2.7.1.
    Unreachable {
        /// Which.
        code: u8,
    },
}

/// An echo request with so many octets of data, to be put behind an IPv4 header.
pub fn echo_request(id: u16, seq: u16, data_len: usize) -> Vec<u8> {
    let mut octets = vec![0; ECHO_LEN + data_len];
    let mut packet = Icmpv4Packet::new_unchecked(&mut octets[..]);
    packet.set_msg_type(Icmpv4Message::EchoRequest);
    packet.set_msg_code(0);
    packet.set_echo_ident(id);
    packet.set_echo_seq_no(seq);
    for (at, octet) in packet.data_mut().iter_mut().enumerate() {
        *octet = at as u8;
    }
    packet.fill_checksum();
    octets
}

impl Heard {
    /// Reads an IPv4 packet as a raw socket gives it; `None` for what says nothing about an echo
    /// request.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(octets).ok()?;
        if ip.next_header() != IpProtocol::Icmp || ip.more_frags() || ip.frag_offset() != 0 {
            return None;
        }
        let icmp = Icmpv4Packet::new_checked(ip.payload()).ok()?;
        if !icmp.verify_checksum() {
            return None;
        }
        let from = ip.src_addr();
        let (to, id, seq, says) = match (icmp.msg_type(), icmp.msg_code()) {
            (Icmpv4Message::EchoReply, _) => {
                (from, icmp.echo_ident(), icmp.echo_seq_no(), Says::Reply)
            }
            (Icmpv4Message::TimeExceeded, 0) => quoted(ip.payload(), Says::TimeExceeded)?,
            (Icmpv4Message::DstUnreachable, 4) => {
                let mtu = ip.payload().get(NEXT_MTU)?.try_into().ok()?;
                let mtu = Some(u16::from_be_bytes(mtu)).filter(|mtu| *mtu > 0);
                quoted(ip.payload(), Says::TooLong { mtu })?
            }
            (Icmpv4Message::DstUnreachable, code) => {
                quoted(ip.payload(), Says::Unreachable { code })?
            }
            _ => return None,
        };
        Some(Self {
            from,
            ttl: ip.hop_limit(),
            to,
            id,
            seq,
            says,
        })
    }
}

/// The echo request that an error quotes: its IPv4 header and at least eight octets more.
fn quoted(error: &[u8], says: Says) -> Option<(Ipv4Addr, u16, u16, Says)> {
    let quote = error.get(ECHO_LEN..)?;
    let first = *quote.first()?;
    let header_len = usize::from(first & 0x0f) * 4;
    let echo = quote.get(header_len..)?;
    let is_echo = first >> 4 == 4
        && header_len >= IPV4_LEN_MIN
        && quote.get(9) == Some(&IpProtocol::Icmp.into())
        && echo.first() == Some(&Icmpv4Message::EchoRequest.into());
    if !is_echo {
        return None;
    }
    let to: [u8; 4] = quote.get(16..20)?.try_into().ok()?;
    let id = echo.get(4..6)?.try_into().ok()?;
    let seq = echo.get(6..8)?.try_into().ok()?;
    Some((
        to.into(),
        u16::from_be_bytes(id),
        u16::from_be_bytes(seq),
        says,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: [u8; 4] = [192, 0, 2, 1];
    const THERE: [u8; 4] = [198, 51, 100, 7];

    fn packet(from: [u8; 4], to: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len()) as u16;
        let mut octets = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, 1, 0, 0];
        octets[2..4].copy_from_slice(&len.to_be_bytes());
        octets.extend(from);
        octets.extend(to);
        octets.extend(payload);
        Ipv4Packet::new_unchecked(&mut octets[..]).fill_checksum();
        octets
    }

    fn error(kind: u8, code: u8, rest: [u8; 4], about: &[u8]) -> Vec<u8> {
        let mut octets = vec![kind, code, 0, 0];
        octets.extend(rest);
        octets.extend(about);
        Icmpv4Packet::new_unchecked(&mut octets[..]).fill_checksum();
        octets
    }

    #[test]
    fn a_request_is_written_as_the_rfc_draws_it() {
        // The sum by hand: 0800 + 1234 + 0001 + 0001 + 0203 = 1c39, and its complement.
        let octets = echo_request(0x1234, 1, 4);
        assert_eq!(octets, [8, 0, 0xe3, 0xc6, 0x12, 0x34, 0, 1, 0, 1, 2, 3]);
    }

    #[test]
    fn replies_and_errors_are_about_a_request() {
        let mut reply = echo_request(7, 9, 56);
        reply[0] = 0;
        Icmpv4Packet::new_unchecked(&mut reply[..]).fill_checksum();
        let heard = Heard::parse(&packet(THERE, HERE, 60, &reply)).unwrap();
        assert_eq!((heard.from, heard.to), (THERE.into(), THERE.into()));
        assert_eq!(
            (heard.id, heard.seq, heard.ttl, heard.says),
            (7, 9, 60, Says::Reply)
        );

        let asked = packet(HERE, THERE, 1, &echo_request(7, 9, 56));
        let router = [203, 0, 113, 1];
        for (kind, code, rest, says) in [
            (11, 0, [0; 4], Says::TimeExceeded),
            (3, 4, [0, 0, 5, 120], Says::TooLong { mtu: Some(1400) }),
            (3, 4, [0; 4], Says::TooLong { mtu: None }),
            (3, 1, [0; 4], Says::Unreachable { code: 1 }),
        ] {
            // RFC 792: the header and eight octets are all that must be quoted.
            let said = error(kind, code, rest, &asked[..28]);
            let heard = Heard::parse(&packet(router, HERE, 64, &said)).unwrap();
            assert_eq!((heard.from, heard.to), (router.into(), THERE.into()));
            assert_eq!((heard.id, heard.seq, heard.says), (7, 9, says));
            let short = error(kind, code, rest, &asked[..27]);
            assert_eq!(Heard::parse(&packet(router, HERE, 64, &short)), None);
        }
        // A request of somebody else, fragments reassembled elsewhere, a bad sum.
        assert_eq!(Heard::parse(&asked), None);
        let mut bad = packet(THERE, HERE, 60, &reply);
        bad[27] ^= 1;
        assert_eq!(Heard::parse(&bad), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = Heard::parse(&octets);
            let _ = Heard::parse(&packet(THERE, HERE, 1, &octets));
        }

        #[test]
        fn quotes_of_any_bytes_do_not_either(
            octets in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..16u8, code in 0..6u8,
        ) {
            let said = error(kind, code, [0; 4], &octets);
            let _ = Heard::parse(&packet(THERE, HERE, 1, &said));
        }
    }
}
