//! ARP frames for address conflict detection (RFC 826, RFC 5227).
//!
//! smoltcp has the format; here are the four frames that DHCP needs, whole, with their
//! Ethernet header. Nothing panics on any bytes.

use std::net::Ipv4Addr;

pub use smoltcp::wire::{ArpOperation, ArpRepr};
use smoltcp::wire::{ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol};

/// Length of an ARP frame, octets; the driver pads to the medium's minimum.
const FRAME_LEN: usize = 14 + 28;

/// An ARP probe: asks who has `target` without claiming an address (RFC 5227 section 1.1).
pub fn probe(source: EthernetAddress, target: Ipv4Addr) -> Vec<u8> {
    request(source, Ipv4Addr::UNSPECIFIED, target)
}

/// An ARP announcement: tells everybody that `address` is ours (RFC 5227 section 2.3).
pub fn announcement(source: EthernetAddress, address: Ipv4Addr) -> Vec<u8> {
    request(source, address, address)
}

/// A broadcast question for the hardware address of `target`.
pub fn request(source: EthernetAddress, source_ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut octets = vec![0; FRAME_LEN];
    let mut frame = EthernetFrame::new_unchecked(&mut octets[..]);
    frame.set_src_addr(source);
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_ethertype(EthernetProtocol::Arp);
    ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: source,
        source_protocol_addr: source_ip,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    }
    .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    octets
}

/// What an ARP packet says about who has which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpClaim {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Who speaks.
    pub hardware: EthernetAddress,
    /// The address it speaks for; unspecified in a probe.
    pub address: Ipv4Addr,
    /// The address it speaks about.
    pub target: Ipv4Addr,
}

impl ArpClaim {
    /// Reads the payload of an Ethernet frame of type ARP; `None` when it is not Ethernet and
    /// IPv4, or when a group claims to speak.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let packet = ArpPacket::new_checked(payload).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: hardware,
            source_protocol_addr: address,
            target_protocol_addr: target,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        hardware.is_unicast().then_some(Self {
            operation,
            hardware,
            address,
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Payload};
    use proptest::prelude::*;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

    #[test]
    fn probes_claim_nothing_and_announcements_do() {
        let claim = |octets: Vec<u8>| match Frame::parse(&octets).unwrap().payload {
            Payload::Arp(claim) => claim,
            other => panic!("{other:?}"),
        };
        let probe = claim(probe(MAC, ADDRESS));
        assert_eq!(
            (probe.address, probe.target),
            (Ipv4Addr::UNSPECIFIED, ADDRESS)
        );
        let announced = claim(announcement(MAC, ADDRESS));
        assert_eq!((announced.hardware, announced.address), (MAC, ADDRESS));
    }

    proptest! {
        #[test]
        fn parse_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ArpClaim::parse(&octets);
        }
    }
}
