//! rtnetlink messages (rtnetlink(7), `linux/rtnetlink.h`, `if_link.h`, `if_addr.h`,
//! `neighbour.h`): links, addresses, routes, neighbours.
//!
//! Contract: a `Repr` serves both ways. `emit` appends a whole message and writes only what is
//! `Some`, so that a default with a few fields set is a request; `parse` takes the payload behind
//! `nlmsghdr`, borrows from it and never panics. Attributes that have no field are dropped.
//! All integers are in host order; addresses are octets.

mod address;
mod link;
mod neighbour;
mod route;

pub use address::{AddressRepr, FOREVER, address_flags, address_protocol};
pub use link::{LinkRepr, LinkStats, hardware, link_flags};
pub use neighbour::NeighbourRepr;
pub use route::{RouteRepr, protocol, route_type, scope, table};

/// `RTM_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod msg {
    pub const NEWLINK: u16 = 16;
    pub const DELLINK: u16 = 17;
    pub const GETLINK: u16 = 18;
    pub const SETLINK: u16 = 19;
    pub const NEWADDR: u16 = 20;
    pub const DELADDR: u16 = 21;
    pub const GETADDR: u16 = 22;
    pub const NEWROUTE: u16 = 24;
    pub const DELROUTE: u16 = 25;
    pub const GETROUTE: u16 = 26;
    pub const NEWNEIGH: u16 = 28;
    pub const DELNEIGH: u16 = 29;
    pub const GETNEIGH: u16 = 30;
}

/// The kernel's name of a type that changes something.
#[must_use]
pub const fn kind_name(kind: u16) -> &'static str {
    match kind {
        msg::NEWLINK => "RTM_NEWLINK",
        msg::DELLINK => "RTM_DELLINK",
        msg::SETLINK => "RTM_SETLINK",
        msg::NEWADDR => "RTM_NEWADDR",
        msg::DELADDR => "RTM_DELADDR",
        msg::NEWROUTE => "RTM_NEWROUTE",
        msg::DELROUTE => "RTM_DELROUTE",
        _ => "RTM",
    }
}

/// `RTNLGRP_*`: multicast groups of changes.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod group {
    pub const LINK: u32 = 1;
    pub const IPV4_IFADDR: u32 = 5;
    pub const IPV4_ROUTE: u32 = 7;
    pub const IPV6_IFADDR: u32 = 9;
    pub const IPV6_ROUTE: u32 = 11;
}

/// `AF_INET` as netlink's one octet.
pub const AF_INET: u8 = 2;
/// `AF_INET6` as netlink's one octet.
pub const AF_INET6: u8 = 10;

use std::net::IpAddr;

use crate::nl::Writer;

/// The family of an address.
#[must_use]
pub fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn emit_ip(w: &mut Writer, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => w.attr(kind, &v4.octets()),
        IpAddr::V6(v6) => w.attr(kind, &v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nl::Messages;

    fn payload(fill: impl FnOnce(&mut Writer) -> u32) -> Vec<u8> {
        let mut w = Writer::new(1);
        fill(&mut w);
        let bytes = w.finish().unwrap();
        Messages::new(bytes).next().unwrap().payload.to_vec()
    }

    fn ip(v6: bool) -> impl Strategy<Value = IpAddr> {
        if v6 {
            any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
        } else {
            any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
        }
    }

    #[test]
    fn half_a_structure_of_lifetimes_is_none() {
        let mut bytes = vec![AF_INET, 24, 0, 0, 1, 0, 0, 0];
        // IFA_CACHEINFO with its first number only.
        bytes.extend([8, 0, 6, 0, 9, 0, 0, 0]);
        let address = AddressRepr::parse(&bytes).unwrap();
        assert_eq!((address.preferred_s, address.valid_s), (None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = LinkRepr::parse(&bytes);
            let _ = AddressRepr::parse(&bytes);
            let _ = RouteRepr::parse(&bytes);
            let _ = NeighbourRepr::parse(&bytes);
        }

        #[test]
        fn links_survive_the_trip(
            (index, hardware_type, flags) in any::<(u32, u16, u32)>(),
            name in proptest::option::of("[a-z0-9-]{1,15}"),
            kind in proptest::option::of("[a-z]{1,10}"),
            (mac, permanent_mac) in any::<(Option<[u8; 6]>, Option<[u8; 6]>)>(),
            (mtu, master, carrier) in any::<(Option<u32>, Option<u32>, Option<bool>)>(),
            bytes in any::<Option<(u64, u64)>>(),
        ) {
            let link = LinkRepr {
                index,
                hardware_type,
                flags,
                change: 0,
                name: name.as_deref(),
                kind: kind.as_deref(),
                mac,
                permanent_mac,
                mtu,
                master,
                carrier,
                parent_device: name.as_deref(),
                parent_bus: kind.as_deref(),
                stats: bytes.map(|(rx_bytes, tx_bytes)| LinkStats {
                    rx_packets: 1,
                    tx_packets: 2,
                    rx_bytes,
                    tx_bytes,
                    rx_errors: 3,
                    tx_errors: 4,
                    rx_dropped: 5,
                    tx_dropped: 6,
                }),
            };
            let bytes = payload(|w| link.emit(w, msg::NEWLINK, 0));
            prop_assert_eq!(LinkRepr::parse(&bytes), Ok(link));
        }

        #[test]
        fn addresses_survive_the_trip(
            (address, local) in any::<bool>().prop_flat_map(|v6| (ip(v6), proptest::option::of(ip(v6)))),
            (prefix_len, scope, index, flags) in any::<(u8, u8, u32, u32)>(),
            lifetimes in any::<Option<(u32, u32)>>(),
            protocol in any::<Option<u8>>(),
        ) {
            let address = AddressRepr {
                family: family_of(address),
                prefix_len,
                scope,
                index,
                flags,
                address: Some(address),
                local,
                broadcast: local,
                preferred_s: lifetimes.map(|l| l.0),
                valid_s: lifetimes.map(|l| l.1),
                protocol,
            };
            let bytes = payload(|w| address.emit(w, msg::NEWADDR, 0));
            prop_assert_eq!(AddressRepr::parse(&bytes), Ok(address));
        }

        #[test]
        fn routes_survive_the_trip(
            (destination, gateway, source) in any::<bool>().prop_flat_map(|v6| (ip(v6), proptest::option::of(ip(v6)), proptest::option::of(ip(v6)))),
            (destination_len, table, protocol) in any::<(u8, u32, u8)>(),
            (metric, index, multipath) in any::<(Option<u32>, Option<u32>, bool)>(),
        ) {
            let route = RouteRepr {
                family: family_of(destination),
                destination: (destination_len != 0).then_some(destination),
                destination_len,
                table,
                protocol,
                scope: scope::LINK,
                kind: route_type::UNICAST,
                flags: RouteRepr::ONLINK,
                gateway,
                source,
                metric,
                index,
                multipath,
            };
            let bytes = payload(|w| route.emit(w, msg::NEWROUTE, 0));
            // A list of next hops is only recognised, never written.
            prop_assert_eq!(RouteRepr::parse(&bytes), Ok(RouteRepr { multipath: false, ..route }));
        }

        #[test]
        fn neighbours_survive_the_trip(
            address in any::<bool>().prop_flat_map(ip),
            mac in any::<Option<[u8; 6]>>(),
            (index, state, flags) in any::<(u32, u16, u8)>(),
        ) {
            let neighbour = NeighbourRepr { family: family_of(address), index, state, flags, address: Some(address), mac };
            let bytes = payload(|w| neighbour.emit(w, msg::NEWNEIGH, 0));
            prop_assert_eq!(NeighbourRepr::parse(&bytes), Ok(neighbour));
        }
    }
}
