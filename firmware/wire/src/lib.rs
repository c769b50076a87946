//! Packet formats: what is on the wire, without sockets, clock or state.

pub mod arp;
pub mod bpf;
pub mod ct;
pub mod dhcpv4;
pub mod dns;
pub mod frame;
pub mod icmp;
pub mod nft;
pub mod nl;
pub mod ntp;
pub mod rtnl;
