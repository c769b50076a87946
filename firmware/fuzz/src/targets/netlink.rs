//! Netlink datagrams, rtnetlink objects, flows.

use std::net::IpAddr;

use arbitrary::Unstructured;
use lintel_wire::ct::{self, FlowRepr};
use lintel_wire::nl::{Attr, Attrs, Message, Messages, Reply, WriteError, Writer};
use lintel_wire::rtnl::{
    AddressRepr, LinkRepr, LinkStats, NeighbourRepr, RouteRepr, family_of, msg,
};

use crate::Tally;
use crate::entropy::{any, below, number, octets, once_in, pick, text};

/// Messages lie inside the datagram one behind the other, attributes inside their messages;
/// messages written from what was read are read the same.
pub fn nl(data: &[u8]) -> Tally {
    let mut messages = Messages::new(data);
    let (mut end, mut count) = (data.as_ptr() as usize, 0);
    for message in messages.by_ref() {
        count += 1;
        let start = message.payload.as_ptr() as usize;
        assert!(start >= end + 16);
        end = start + message.payload.len();
        assert!(end <= data.as_ptr() as usize + data.len());
        let reply = Reply::of(&message);
        if let Reply::Ack(ack) | Reply::Done(ack) = &reply {
            assert!(ack.errno >= 0, "{ack:?}");
        }
        read_attributes(message.payload, 0);
        write_again(&message);
    }
    assert!(messages.rest().len() <= data.len());
    Tally::one(count > 0)
}

fn write_again(message: &Message<'_>) {
    let mut w = Writer::new(message.seq);
    let _ = w.begin(message.kind, message.flags, &[]);
    let attributes: Vec<_> = Attrs::new(message.payload).collect();
    for attr in &attributes {
        w.attr(attr.kind, attr.data);
    }
    w.end();
    let bytes = w.finish().expect("attributes that were read fit");
    let again = Messages::new(bytes).next().expect("one message");
    assert_eq!((again.kind, again.seq), (message.kind, message.seq));
    assert!(Attrs::new(again.payload).eq(attributes));
}

fn read_attributes(bytes: &[u8], depth: usize) {
    for attr in Attrs::new(bytes) {
        check_attribute(&attr, bytes);
        if depth < 3 {
            read_attributes(attr.data, depth + 1);
        }
    }
}

fn check_attribute(attr: &Attr<'_>, bytes: &[u8]) {
    assert!(attr.kind <= 0x3fff && attr.data.len() + 4 <= bytes.len());
    assert_eq!(attr.u16().map(u16::swap_bytes), attr.be16());
    assert_eq!(attr.u32().map(u32::swap_bytes), attr.be32());
    assert_eq!(attr.u64().map(u64::swap_bytes), attr.be64());
    assert_eq!(attr.u8().is_some(), !attr.data.is_empty());
    assert!(attr.str().is_none_or(|text| !text.contains('\0')));
    assert_eq!(attr.ip().is_some(), matches!(attr.data.len(), 4 | 16));
    assert_eq!(attr.mac().is_some(), attr.data.len() == 6);
}

/// Links, addresses, routes and neighbours: `parse(emit(r)) == r`, but for what is said never to
/// be written (`multipath`) or read (`change`).
pub fn rtnl(data: &[u8]) -> Tally {
    let mut accepted = false;
    if let Ok(link) = LinkRepr::parse(data) {
        accepted = true;
        let written = payload(|w| link.emit(w, msg::NEWLINK, 0));
        assert_eq!(LinkRepr::parse(&written), Ok(link));
    }
    if let Ok(address) = AddressRepr::parse(data) {
        accepted = true;
        let written = payload(|w| address.emit(w, msg::NEWADDR, 0));
        assert_eq!(AddressRepr::parse(&written), Ok(address));
    }
    if let Ok(route) = RouteRepr::parse(data) {
        accepted = true;
        let written = payload(|w| route.emit(w, msg::NEWROUTE, 0));
        let expected = RouteRepr {
            multipath: false,
            ..route
        };
        assert_eq!(RouteRepr::parse(&written), Ok(expected));
    }
    if let Ok(neighbour) = NeighbourRepr::parse(data) {
        accepted = true;
        let written = payload(|w| neighbour.emit(w, msg::NEWNEIGH, 0));
        assert_eq!(NeighbourRepr::parse(&written), Ok(neighbour));
    }
    Tally::one(accepted)
}

/// A flow names the addresses and ports that its deletion names, and its id.
pub fn ct(data: &[u8]) -> Tally {
    let Ok(flow) = FlowRepr::parse(data) else {
        return Tally::REFUSED;
    };
    let deletion = payload(|w| flow.emit_delete(w));
    // A deletion has no reply; the original stands in for it.
    let mut both = deletion.clone();
    let original = Attrs::after(&deletion, 4).find(1).expect("the tuple");
    both.extend(attribute(2, original.data));
    let again = FlowRepr::parse(&both).expect("two tuples");
    assert_eq!((again.original, again.id), (flow.original, flow.id));
    assert_eq!(again.reply, flow.original);
    Tally::ACCEPTED
}

/// The payload of the one message that `fill` writes.
pub fn payload(fill: impl FnOnce(&mut Writer) -> u32) -> Vec<u8> {
    try_payload(fill).expect("what was read fits")
}

/// The same where the message may be too long.
pub fn try_payload(fill: impl FnOnce(&mut Writer) -> u32) -> Result<Vec<u8>, WriteError> {
    let mut w = Writer::new(1);
    fill(&mut w);
    let bytes = w.finish()?;
    let message = Messages::new(bytes).next().expect("one message");
    Ok(message.payload.to_vec())
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    payload(|w| {
        let seq = w.begin(0, 0, &[]);
        w.attr(kind, data);
        w.end();
        seq
    })
}

/// A datagram of several messages, as the kernel answers.
pub fn datagram_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut w = Writer::new(number(u));
    for _ in 0..=below(u, 4) {
        let kind = pick(u, &[2, 3, 1, 4, 16, 20, 24, 0x0a03]);
        let body = if once_in(u, 2) {
            (-(below(u, 134) as i32)).to_ne_bytes().to_vec()
        } else {
            octets(u, 24)
        };
        let _ = w.begin(kind, pick(u, &[0, 2, 0x100, 0x200, 0x300]), &body);
        for _ in 0..below(u, 4) {
            attributes(u, &mut w, 3);
        }
        w.end();
    }
    w.finish().map(<[u8]>::to_vec).unwrap_or_default()
}

fn attributes(u: &mut Unstructured<'_>, w: &mut Writer, depth: usize) {
    let kind = below(u, 60) as u16;
    match below(u, 7) {
        0 | 1 if depth > 0 => {
            let mark = w.open(0x8000 | kind);
            for _ in 0..below(u, 4) {
                attributes(u, w, depth - 1);
            }
            w.close(mark);
        }
        2 => w.u32(kind, number(u)),
        3 => w.be64(kind, any(u)),
        4 => w.str(kind, &text(u, b"abc019-", 15)),
        5 => w.attr(kind, &octets(u, 16)),
        _ => w.u8(kind, any(u)),
    }
}

/// The payload of a link, an address, a route or a neighbour.
pub fn rtnl_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let ip = |u: &mut Unstructured<'_>| -> IpAddr {
        if any(u) {
            any::<[u8; 4]>(u).into()
        } else {
            any::<[u8; 16]>(u).into()
        }
    };
    let address = ip(u);
    let maybe = |u: &mut Unstructured<'_>| any::<bool>(u).then(|| ip(u));
    let (name, kind) = (text(u, b"abc019-", 15), text(u, b"bridgevth", 8));
    match below(u, 4) {
        0 => {
            let link = LinkRepr {
                index: number(u),
                hardware_type: any(u),
                flags: any(u),
                change: 0,
                name: Some(&name),
                kind: any::<bool>(u).then_some(&kind),
                mac: any(u),
                permanent_mac: any(u),
                mtu: any(u),
                master: any(u),
                carrier: any(u),
                parent_device: any::<bool>(u).then_some(&name),
                parent_bus: any::<bool>(u).then_some(&kind),
                stats: any::<bool>(u).then(|| LinkStats {
                    rx_bytes: any(u),
                    ..LinkStats::default()
                }),
            };
            payload(|w| link.emit(w, msg::NEWLINK, 0))
        }
        1 => {
            let address = AddressRepr {
                family: family_of(address),
                prefix_len: any(u),
                scope: any(u),
                index: number(u),
                flags: number(u),
                address: Some(address),
                local: maybe(u),
                broadcast: maybe(u),
                preferred_s: any(u),
                valid_s: any(u),
                protocol: any(u),
            };
            payload(|w| address.emit(w, msg::NEWADDR, 0))
        }
        2 => {
            let route = RouteRepr {
                family: family_of(address),
                destination: Some(address),
                destination_len: any(u),
                table: number(u),
                protocol: any(u),
                scope: any(u),
                kind: any(u),
                flags: any(u),
                gateway: maybe(u),
                source: maybe(u),
                metric: any(u),
                index: any(u),
                multipath: false,
            };
            payload(|w| route.emit(w, msg::NEWROUTE, 0))
        }
        _ => {
            let neighbour = NeighbourRepr {
                family: family_of(address),
                index: number(u),
                state: any(u),
                flags: any(u),
                address: Some(address),
                mac: any(u),
            };
            payload(|w| neighbour.emit(w, msg::NEWNEIGH, 0))
        }
    }
}

/// The payload of a flow.
pub fn flow_octets(u: &mut Unstructured<'_>) -> Vec<u8> {
    let v6 = any::<bool>(u);
    payload(|w| {
        let seq = w.begin(ct::NEW, 0, &[if v6 { 10 } else { 2 }, 0, 0, 0]);
        for tuple in [1, 2] {
            w.nest(tuple, |w| {
                w.nest(1, |w| {
                    for n in [1, 2] {
                        if v6 {
                            w.attr(n + 2, &any::<[u8; 16]>(u))
                        } else {
                            w.attr(n, &any::<[u8; 4]>(u))
                        }
                    }
                });
                w.nest(2, |w| {
                    w.u8(1, pick(u, &[1, 6, 17, 58]));
                    if !once_in(u, 4) {
                        w.be16(2, any(u));
                        w.be16(3, any(u));
                    }
                });
            });
        }
        for kind in [3, 7, 8, 12] {
            if any(u) {
                w.be32(kind, number(u));
            }
        }
        if any(u) {
            for kind in [9, 10] {
                w.nest(kind, |w| {
                    w.be64(1, any(u));
                    w.be64(2, any(u));
                });
            }
        }
        w.end();
        seq
    })
}
