//! Ethernet frames with UDP over IPv4 or ARP inside: all that a packet socket of wand or dhcpd
//! sends or takes.
//!
//! Nothing panics on any bytes. Buffers are new and belong to the caller.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
pub use smoltcp::wire::EthernetAddress;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use crate::arp::ArpClaim;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// A frame we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Sender on the link.
    pub source: EthernetAddress,
    /// Receiver on the link.
    pub destination: EthernetAddress,
    /// What it carries.
    pub payload: Payload<'a>,
}

/// What a [`Frame`] carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A claim about an address.
    Arp(ArpClaim),
    /// A UDP datagram.
    Udp {
        /// Sender.
        source: SocketAddrV4,
        /// Receiver.
        destination: SocketAddrV4,
        /// Payload.
        data: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Reads a frame; `None` for anything but ARP and unfragmented UDP over IPv4.
    ///
    /// The IPv4 checksum is verified, UDP's is not: on a link that stays inside one machine
    /// (veth, virtio) the sender leaves it to hardware that is not there, and a packet socket
    /// sees the unfinished sum.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(octets).ok()?;
        let payload = match frame.ethertype() {
            EthernetProtocol::Arp => Payload::Arp(ArpClaim::parse(frame.payload())?),
            EthernetProtocol::Ipv4 => parse_udp(frame.payload())?,
            _ => return None,
        };
        Some(Self {
            source: frame.src_addr(),
            destination: frame.dst_addr(),
            payload,
        })
    }
}

fn parse_udp(octets: &[u8]) -> Option<Payload<'_>> {
    let ip = Ipv4Packet::new_checked(octets).ok()?;
    if ip.version() != 4
        || ip.next_header() != IpProtocol::Udp
        || ip.more_frags()
        || ip.frag_offset() != 0
        || !ip.verify_checksum()
    {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    Some(Payload::Udp {
        source: SocketAddrV4::new(ip.src_addr(), udp.src_port()),
        destination: SocketAddrV4::new(ip.dst_addr(), udp.dst_port()),
        data: udp.payload(),
    })
}

/// A whole frame with one UDP datagram.
///
/// `data` must fit an unfragmented datagram (65,507 octets), which DHCP messages do.
pub fn udp(
    source: (EthernetAddress, SocketAddrV4),
    destination: (EthernetAddress, SocketAddrV4),
    data: &[u8],
) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let mut octets = vec![0; ETHERNET_LEN + IPV4_LEN + UDP_LEN + data.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut octets[..]);
    frame.set_src_addr(source.0);
    frame.set_dst_addr(destination.0);
    frame.set_ethertype(EthernetProtocol::Ipv4);

    let (source, destination) = (source.1, destination.1);
    let mut ip = Ipv4Packet::new_unchecked(frame.payload_mut());
    Ipv4Repr {
        src_addr: *source.ip(),
        dst_addr: *destination.ip(),
        next_header: IpProtocol::Udp,
        payload_len: UDP_LEN + data.len(),
        hop_limit: 64,
    }
    .emit(&mut ip, &checksums);
    UdpRepr {
        src_port: source.port(),
        dst_port: destination.port(),
    }
    .emit(
        &mut UdpPacket::new_unchecked(ip.payload_mut()),
        &IpAddress::Ipv4(*source.ip()),
        &IpAddress::Ipv4(*destination.ip()),
        data.len(),
        |payload| payload.copy_from_slice(data),
        &checksums,
    );
    octets
}

/// Whether a host may have this address: not zero-net, loopback, multicast, reserved or
/// broadcast.
pub fn is_host_address(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_datagram_reads_back(
            macs: [[u8; 6]; 2], ips: [[u8; 4]; 2], ports: [u16; 2],
            data in proptest::collection::vec(any::<u8>(), 0..1400),
        ) {
            let [source, destination] = [0, 1].map(|n| (
                EthernetAddress(macs[n]),
                SocketAddrV4::new(ips[n].into(), ports[n].max(1)),
            ));
            let octets = udp(source, destination, &data);
            prop_assert_eq!(Frame::parse(&octets), Some(Frame {
                source: source.0,
                destination: destination.0,
                payload: Payload::Udp { source: source.1, destination: destination.1, data: &data },
            }));
        }

        #[test]
        fn parse_never_panics(kind in 0usize..3, octets in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut octets = octets;
            if octets.len() > 14 {
                octets[12..14].copy_from_slice(&[[8, 0], [8, 6], [0, 0]][kind]);
            }
            let _ = Frame::parse(&octets);
        }
    }
}
