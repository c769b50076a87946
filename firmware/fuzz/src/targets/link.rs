//! Ethernet frames, ARP, and the socket filters that stand before them.

use std::net::SocketAddrV4;

use arbitrary::Unstructured;
use lintel_wire::arp::{self, ArpClaim};
use lintel_wire::bpf::{ARP_REPLIES, DHCP_CLIENT, Instruction, SEND_ONLY};
use lintel_wire::frame::{self as wire, EthernetAddress, Frame, Payload};

use crate::Tally;
use crate::entropy::{any, ipv4, octets, once_in, pick};

/// What is read lies inside the frame, and a datagram written with the same parts reads the same.
pub fn frame(data: &[u8]) -> Tally {
    let Some(frame) = Frame::parse(data) else {
        return Tally::REFUSED;
    };
    match frame.payload {
        Payload::Arp(claim) => assert!(claim.hardware.is_unicast()),
        Payload::Udp {
            source,
            destination,
            data: payload,
        } => {
            assert!(payload.len() + 42 <= data.len());
            // smoltcp, which writes frames, has no port 0.
            if source.port() != 0 && destination.port() != 0 {
                let again = wire::udp(
                    (frame.source, source),
                    (frame.destination, destination),
                    payload,
                );
                assert_eq!(Frame::parse(&again), Some(frame));
            }
        }
    }
    Tally::ACCEPTED
}

/// Who speaks is one station; a question written with the same parts is read the same.
pub fn arp(data: &[u8]) -> Tally {
    let Some(claim) = ArpClaim::parse(data) else {
        return Tally::REFUSED;
    };
    assert!(data.len() >= 28 && claim.hardware.is_unicast());
    let again = arp::request(claim.hardware, claim.address, claim.target);
    let Some(Frame {
        payload: Payload::Arp(asked),
        ..
    }) = Frame::parse(&again)
    else {
        panic!("our own question is not read");
    };
    let operation = asked.operation;
    assert_eq!(asked, ArpClaim { operation, ..claim });
    Tally::ACCEPTED
}

/// The filter of the DHCP client's socket lets through what the client reads, and nothing that
/// goes to another port; nothing passes the sending socket; replies pass dhcpd's.
pub fn bpf(data: &[u8]) -> Tally {
    assert!(!passes(SEND_ONLY, false, data));
    let passed = passes(DHCP_CLIENT, false, data);
    assert!(!passes(DHCP_CLIENT, true, data) && !passes(ARP_REPLIES, true, data));
    match Frame::parse(data).map(|frame| frame.payload) {
        Some(Payload::Udp { destination, .. }) => assert_eq!(passed, destination.port() == 68),
        Some(Payload::Arp(claim)) => {
            assert!(passed);
            let reply = claim.operation == arp::ArpOperation::Reply;
            assert_eq!(passes(ARP_REPLIES, false, data), reply);
        }
        None => {}
    }
    Tally::one(passed)
}

/// The kernel's interpreter as far as these programs need it (`linux/filter.h`): a load outside
/// the frame ends the program, and the frame is dropped.
fn passes(program: &[Instruction], outgoing: bool, frame: &[u8]) -> bool {
    const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    let octet = |at: u32| frame.get(at as usize).map(|&octet| u32::from(octet));
    let half = |at: u32| Some(octet(at)? << 8 | octet(at.checked_add(1)?)?);
    let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let loaded = match code {
            0x20 if k == PACKET_TYPE => Some(if outgoing { 4 } else { 0 }),
            0x28 => half(k),
            0x30 => octet(k),
            0x48 => half(x + k),
            0xb1 => octet(k).map(|octet| {
                x = 4 * (octet & 15);
                a
            }),
            0x15 | 0x45 => {
                let holds = if code == 0x15 { a == k } else { a & k != 0 };
                at += usize::from(if holds { jt } else { jf });
                Some(a)
            }
            0x06 => return k != 0,
            other => panic!("operation {other:#x} is not in these programs"),
        };
        match loaded {
            Some(value) => a = value,
            None => return false,
        }
    }
}

/// A frame with ARP or UDP.
pub fn frame_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mac = |u: &mut Unstructured<'_>| EthernetAddress([2, 0, 0, 0, 0, any(u)]);
    if once_in(u, 3) {
        let mut frame = arp::request(mac(u), ipv4(u), ipv4(u));
        frame[21] = pick(u, &[1, 2, 2, 3]);
        return frame;
    }
    let socket = |u: &mut Unstructured<'_>| {
        let port = pick(u, &[67, 68, 68, 53, 1, 0xffff]);
        SocketAddrV4::new(ipv4(u), port)
    };
    let ends = ((mac(u), socket(u)), (mac(u), socket(u)));
    wire::udp(ends.0, ends.1, &octets(u, 60))
}

/// An ARP packet.
pub fn arp_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mac = EthernetAddress([2, 0, 0, 0, 0, any(u)]);
    let mut packet = arp::request(mac, ipv4(u), ipv4(u))[14..].to_vec();
    packet[7] = pick(u, &[1, 2, 3]);
    packet
}
