//! rtnetlink messages, beside netlink-packet-route.

use std::net::IpAddr;

use lintel_wire::rtnl::{AddressRepr, LinkRepr, NeighbourRepr, RouteRepr, msg};
use netlink_packet_core::ParseableParametrized;
use netlink_packet_route::RouteNetlinkMessage as Theirs;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use netlink_packet_route::route::{RouteAddress, RouteAttribute};

use crate::Tally;

/// What netlink-packet-route makes of hardware types that it does not know (`ARPHRD_VOID`).
const UNKNOWN_HARDWARE: u16 = 0xffff;

/// netlink-packet-route and we read the same. Allowed differences:
/// - it refuses a whole message for one attribute that it cannot read, of any kind; we leave
///   that attribute out, since the kernel adds kinds with every release;
/// - an attribute that stands there twice counts the last time with us, the first time for
///   neighbours; it lists both;
/// - an address whose length is not its family's: it goes by the family, we by the length;
/// - text that is no UTF-8, or has octets behind its zero.
pub fn diff_rtnl(data: &[u8]) -> Tally {
    let mut tally = Tally {
        inputs: 1,
        accepted: 0,
    };
    for kind in [msg::NEWLINK, msg::NEWADDR, msg::NEWROUTE, msg::NEWNEIGH] {
        if let Ok(theirs) = Theirs::parse_with_param(data, kind) {
            tally.accepted = 1;
            compare(data, &theirs);
        }
    }
    tally
}

fn compare(data: &[u8], theirs: &Theirs) {
    match theirs {
        Theirs::NewLink(theirs) => {
            let ours = LinkRepr::parse(data).expect("they read it");
            assert_eq!(ours.index, theirs.header.index);
            let hardware = u16::from(theirs.header.link_layer_type);
            assert!(hardware == ours.hardware_type || hardware == UNKNOWN_HARDWARE);
            assert_eq!(ours.flags, theirs.header.flags.bits());
            let last =
                |of: fn(&LinkAttribute) -> Option<u32>| theirs.attributes.iter().rev().find_map(of);
            let mtu = last(|a| {
                if let LinkAttribute::Mtu(mtu) = a {
                    Some(*mtu)
                } else {
                    None
                }
            });
            assert_eq!(ours.mtu, mtu);
            let master = last(|a| {
                if let LinkAttribute::Controller(n) = a {
                    Some(*n)
                } else {
                    None
                }
            });
            assert_eq!(ours.master, master);
            let carrier = last(|a| {
                if let LinkAttribute::Carrier(n) = a {
                    Some(u32::from(*n))
                } else {
                    None
                }
            });
            assert_eq!(ours.carrier.map(u32::from), carrier.map(|n| n.min(1)));
            for attribute in theirs.attributes.iter().rev() {
                if let LinkAttribute::IfName(name) = attribute {
                    if !name.contains(['\0', '\u{fffd}']) {
                        assert_eq!(ours.name, Some(&name[..]));
                    }
                    break;
                }
            }
            let mac = theirs.attributes.iter().rev().find_map(|a| {
                if let LinkAttribute::Address(mac) = a {
                    Some(&mac[..])
                } else {
                    None
                }
            });
            assert_eq!(ours.mac, mac.and_then(|mac| mac.try_into().ok()));
        }
        Theirs::NewAddress(theirs) => {
            let ours = AddressRepr::parse(data).expect("they read it");
            assert_eq!(
                (ours.index, ours.prefix_len),
                (theirs.header.index, theirs.header.prefix_len)
            );
            assert_eq!(
                (ours.family, ours.scope),
                (
                    u8::from(theirs.header.family),
                    u8::from(theirs.header.scope)
                )
            );
            let mut expected = AddressRepr {
                flags: theirs.header.flags.bits().into(),
                ..AddressRepr::default()
            };
            for attribute in &theirs.attributes {
                match attribute {
                    AddressAttribute::Address(ip) => expected.address = Some(*ip),
                    AddressAttribute::Local(ip) => expected.local = Some(*ip),
                    AddressAttribute::Broadcast(ip) => expected.broadcast = Some((*ip).into()),
                    AddressAttribute::Flags(flags) => expected.flags = flags.bits(),
                    AddressAttribute::CacheInfo(info) => {
                        expected.preferred_s = Some(info.ifa_preferred);
                        expected.valid_s = Some(info.ifa_valid);
                    }
                    _ => {}
                }
            }
            assert_eq!(ours.flags, expected.flags);
            assert_eq!(
                (ours.address, ours.local),
                (expected.address, expected.local)
            );
            assert_eq!(ours.broadcast, expected.broadcast);
            assert_eq!(
                (ours.preferred_s, ours.valid_s),
                (expected.preferred_s, expected.valid_s)
            );
        }
        Theirs::NewRoute(theirs) => {
            let ours = RouteRepr::parse(data).expect("they read it");
            let header = &theirs.header;
            assert_eq!(
                (ours.destination_len, ours.flags),
                (header.destination_prefix_length, header.flags.bits())
            );
            assert_eq!(
                (ours.protocol, ours.scope, ours.kind),
                (
                    header.protocol.into(),
                    header.scope.into(),
                    header.kind.into()
                )
            );
            let mut expected = RouteRepr {
                table: header.table.into(),
                ..RouteRepr::default()
            };
            for attribute in &theirs.attributes {
                match attribute {
                    RouteAttribute::Destination(address) => expected.destination = ip_of(address),
                    RouteAttribute::Gateway(address) => expected.gateway = ip_of(address),
                    RouteAttribute::PrefSource(address) => expected.source = ip_of(address),
                    RouteAttribute::Oif(index) => expected.index = Some(*index),
                    RouteAttribute::Priority(metric) => expected.metric = Some(*metric),
                    RouteAttribute::Table(table) => expected.table = *table,
                    _ => {}
                }
            }
            assert_eq!(
                (ours.destination, ours.gateway),
                (expected.destination, expected.gateway)
            );
            assert_eq!((ours.source, ours.index), (expected.source, expected.index));
            assert_eq!((ours.metric, ours.table), (expected.metric, expected.table));
        }
        Theirs::NewNeighbour(theirs) => {
            let ours = NeighbourRepr::parse(data).expect("they read it");
            assert_eq!(
                (ours.index, ours.state),
                (theirs.header.ifindex, theirs.header.state.into())
            );
            assert_eq!(ours.flags, theirs.header.flags.bits());
            let address = theirs.attributes.iter().find_map(|a| match a {
                NeighbourAttribute::Destination(address) => Some(address),
                _ => None,
            });
            match address {
                Some(NeighbourAddress::Inet(ip)) => assert_eq!(ours.address, Some((*ip).into())),
                Some(NeighbourAddress::Inet6(ip)) => assert_eq!(ours.address, Some((*ip).into())),
                Some(_) => {}
                None => assert_eq!(ours.address, None),
            }
        }
        other => panic!("{other:?} was not asked for"),
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        RouteAddress::Other(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(&octets[..]).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(&octets[..]).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    }
}
