//! Classic BPF programs for packet sockets, as data.
//!
//! netd attaches one before the socket is bound and locks it (`SO_LOCK_FILTER`), so that the
//! role that gets the socket can bind it elsewhere and still sees nothing else. The programs
//! count on a link-layer header (`SOCK_RAW`).

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

// linux/bpf_common.h, put together to the operations used here.
const LD_W_ABS: u16 = 0x20;
const LD_H_ABS: u16 = 0x28;
const LD_B_ABS: u16 = 0x30;
const LD_H_IND: u16 = 0x48;
/// X = 4 * (octet & 15): the length of the IPv4 header.
const LDX_MSH: u16 = 0xb1;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the packet's direction instead of its octets.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const PACKET_OUTGOING: u32 = 4;

const ETHERTYPE: u32 = 12;
const IPV4_PROTOCOL: u32 = 14 + 9;
const IPV4_FRAGMENT: u32 = 14 + 6;
const ARP_OPERATION: u32 = 14 + 6;
/// Destination port behind an IPv4 header of X octets.
const UDP_DESTINATION: u32 = 14 + 2;

/// Octets handed on of an accepted frame: all.
const WHOLE: u32 = 0x0004_0000;

/// Accepts nothing: the socket can only send.
pub const SEND_ONLY: &[Instruction] = &[op(RET, 0)];

/// ARP replies that come in: answers to dhcpd's conflict probes.
pub const ARP_REPLIES: &[Instruction] = &[
    op(LD_W_ABS, PACKET_TYPE),
    jump(JEQ, PACKET_OUTGOING, 5, 0),
    op(LD_H_ABS, ETHERTYPE),
    jump(JEQ, 0x0806, 0, 3),
    op(LD_H_ABS, ARP_OPERATION),
    jump(JEQ, 2, 0, 1),
    op(RET, WHOLE),
    op(RET, 0),
];

/// What a DHCP client on a link without an address must see: unfragmented UDP to port 68,
/// and all ARP.
pub const DHCP_CLIENT: &[Instruction] = &[
    op(LD_W_ABS, PACKET_TYPE),
    jump(JEQ, PACKET_OUTGOING, 11, 0),
    op(LD_H_ABS, ETHERTYPE),
    jump(JEQ, 0x0806, 8, 0),
    jump(JEQ, 0x0800, 0, 8),
    op(LD_B_ABS, IPV4_PROTOCOL),
    jump(JEQ, 17, 0, 6),
    op(LD_H_ABS, IPV4_FRAGMENT),
    jump(JSET, 0x3fff, 4, 0),
    op(LDX_MSH, 14),
    op(LD_H_IND, UDP_DESTINATION),
    jump(JEQ, 68, 0, 1),
    op(RET, WHOLE),
    op(RET, 0),
];

const fn op(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arp;
    use crate::frame::{self, EthernetAddress};
    use std::net::{Ipv4Addr, SocketAddrV4};

    /// The kernel's interpreter, as far as these programs need it.
    fn accepts(program: &[Instruction], outgoing: bool, frame: &[u8]) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0usize, 0);
        let half = |at: usize| {
            frame
                .get(at..at + 2)
                .map(|o| u32::from(u16::from_be_bytes([o[0], o[1]])))
        };
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let loaded = match code {
                LD_W_ABS if k == PACKET_TYPE => Some(if outgoing { PACKET_OUTGOING } else { 0 }),
                LD_H_ABS => half(k as usize),
                LD_B_ABS => frame.get(k as usize).map(|&o| u32::from(o)),
                LD_H_IND => half(x + k as usize),
                LDX_MSH => match frame.get(k as usize) {
                    Some(o) => {
                        x = usize::from(o & 15) * 4;
                        Some(a)
                    }
                    None => None,
                },
                JEQ | JSET => {
                    let holds = if code == JEQ { a == k } else { a & k != 0 };
                    at += usize::from(if holds { jt } else { jf });
                    Some(a)
                }
                RET => return k != 0,
                _ => panic!("{code:#x}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    fn datagram(port: u16) -> Vec<u8> {
        let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 67);
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), port);
        frame::udp((MAC, from), (MAC, to), &[0; 300])
    }

    #[test]
    fn each_filter_lets_through_what_it_names() {
        let probe = arp::probe(MAC, Ipv4Addr::new(192, 0, 2, 2));
        let mut reply = probe.clone();
        reply[21] = 2;
        let mut fragment = datagram(68);
        fragment[20] |= 0x20;
        let cases = [
            (datagram(68), true, false),
            (datagram(67), false, false),
            (fragment, false, false),
            (probe, true, false),
            (reply, true, true),
            (vec![0; 14], false, false),
            (Vec::new(), false, false),
        ];
        for (octets, client, replies) in cases {
            assert_eq!(accepts(DHCP_CLIENT, false, &octets), client, "{octets:x?}");
            assert_eq!(accepts(ARP_REPLIES, false, &octets), replies, "{octets:x?}");
            for program in [DHCP_CLIENT, ARP_REPLIES] {
                assert!(!accepts(program, true, &octets), "outgoing {octets:x?}");
            }
            assert!(!accepts(SEND_ONLY, false, &octets));
        }
    }
}
