//! Connection tracking messages (`linux/netfilter/nfnetlink_conntrack.h`): flows in dumps and
//! notices, and the request that deletes one.
//!
//! Contract: as in [`crate::nft`]. A flow has two directions: `original` as the first packet came,
//! `reply` as answers come, which differ by more than their order where addresses are translated.

use std::net::IpAddr;

use crate::nft::{NFGENMSG_LEN, nfgenmsg};
use crate::nl::{Attr, Attrs, Malformed, Writer, flags};

const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_NEW`: a flow, in a dump or a notice.
pub const NEW: u16 = SUBSYSTEM;
/// `IPCTNL_MSG_CT_GET`.
pub const GET: u16 = SUBSYSTEM | 1;
/// `IPCTNL_MSG_CT_DELETE`: a flow that ended, or the request to end one.
pub const DELETE: u16 = SUBSYSTEM | 2;

mod attr {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const TIMEOUT: u16 = 7;
    pub(super) const MARK: u16 = 8;
    pub(super) const COUNTERS_ORIG: u16 = 9;
    pub(super) const COUNTERS_REPLY: u16 = 10;
    pub(super) const ID: u16 = 12;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTO: u16 = 2;
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_SRC_PORT: u16 = 2;
    pub(super) const PROTO_DST_PORT: u16 = 3;
    pub(super) const COUNTERS_PACKETS: u16 = 1;
    pub(super) const COUNTERS_BYTES: u16 = 2;
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleRepr {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them.
    pub ports: Option<(u16, u16)>,
}

/// What went in one direction; only with `net.netfilter.nf_conntrack_acct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Packets.
    pub packets: u64,
    /// Octets of IP.
    pub bytes: u64,
}

/// A flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRepr {
    /// As the first packet came.
    pub original: TupleRepr,
    /// As answers come.
    pub reply: TupleRepr,
    /// `IPS_*` bits.
    pub status: u32,
    /// Seconds until it is forgotten.
    pub timeout_s: u32,
    /// Its mark.
    pub mark: u32,
    /// Tells flows apart that used the same tuples one after the other.
    pub id: u32,
    /// Both directions' counters.
    pub counters: Option<(FlowCounters, FlowCounters)>,
}

impl FlowRepr {
    /// Reads the payload of a `NEW` or `DELETE`.
    ///
    /// # Errors
    /// [`Malformed`] without its two tuples.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let attrs = Attrs::after(payload, NFGENMSG_LEN);
        let tuple = |kind, what| {
            attrs
                .find(kind)
                .and_then(TupleRepr::parse)
                .ok_or(Malformed(what))
        };
        let number = |kind| attrs.find(kind).and_then(|a| a.be32()).unwrap_or(0);
        let counters = |kind| attrs.find(kind).and_then(FlowCounters::parse);
        Ok(Self {
            original: tuple(attr::TUPLE_ORIG, "CTA_TUPLE_ORIG")?,
            reply: tuple(attr::TUPLE_REPLY, "CTA_TUPLE_REPLY")?,
            status: number(attr::STATUS),
            timeout_s: number(attr::TIMEOUT),
            mark: number(attr::MARK),
            id: number(attr::ID),
            counters: counters(attr::COUNTERS_ORIG).zip(counters(attr::COUNTERS_REPLY)),
        })
    }

    /// Deletes this very flow: not another one that has its tuple by now.
    pub fn emit_delete(&self, w: &mut Writer) -> u32 {
        let family = crate::rtnl::family_of(self.original.source);
        let seq = w.begin(DELETE, flags::ACK, &nfgenmsg(family, 0));
        w.nest(attr::TUPLE_ORIG, |w| self.original.emit(w));
        w.be32(attr::ID, self.id);
        w.end();
        seq
    }
}

/// Asks for every flow of both families.
pub fn emit_dump(w: &mut Writer) -> u32 {
    let seq = w.begin(GET, flags::DUMP, &nfgenmsg(0, 0));
    w.end();
    seq
}

impl TupleRepr {
    fn parse(nested: Attr<'_>) -> Option<Self> {
        let ip = nested.nested().find(attr::TUPLE_IP)?.nested();
        let proto = nested.nested().find(attr::TUPLE_PROTO)?.nested();
        // 1 and 2 are IPv4's source and destination, 3 and 4 IPv6's.
        let address = |v4, v6| ip.find(v4).or_else(|| ip.find(v6))?.ip();
        let port = |kind| proto.find(kind)?.be16();
        Some(Self {
            source: address(1, 3)?,
            destination: address(2, 4)?,
            protocol: proto.find(attr::PROTO_NUM)?.u8()?,
            ports: port(attr::PROTO_SRC_PORT).zip(port(attr::PROTO_DST_PORT)),
        })
    }

    fn emit(&self, w: &mut Writer) {
        w.nest(attr::TUPLE_IP, |w| {
            for (address, v4, v6) in [(self.source, 1, 3), (self.destination, 2, 4)] {
                match address {
                    IpAddr::V4(ip) => w.attr(v4, &ip.octets()),
                    IpAddr::V6(ip) => w.attr(v6, &ip.octets()),
                }
            }
        });
        w.nest(attr::TUPLE_PROTO, |w| {
            w.u8(attr::PROTO_NUM, self.protocol);
            if let Some((source, destination)) = self.ports {
                w.be16(attr::PROTO_SRC_PORT, source);
                w.be16(attr::PROTO_DST_PORT, destination);
            }
        });
    }
}

impl FlowCounters {
    fn parse(nested: Attr<'_>) -> Option<Self> {
        let attrs = nested.nested();
        Some(Self {
            packets: attrs.find(attr::COUNTERS_PACKETS)?.be64()?,
            bytes: attrs.find(attr::COUNTERS_BYTES)?.be64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nl::Messages;

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FlowRepr::parse(&bytes);
        }

        #[test]
        fn tuples_survive_the_trip(
            v6 in any::<bool>(),
            (source, destination) in any::<([u8; 16], [u8; 16])>(),
            protocol in any::<u8>(),
            ports in any::<Option<(u16, u16)>>(),
        ) {
            let ip = |octets: [u8; 16]| -> IpAddr {
                if v6 { octets.into() } else { [octets[0], octets[1], octets[2], octets[3]].into() }
            };
            let tuple = TupleRepr { source: ip(source), destination: ip(destination), protocol, ports };
            let mut w = Writer::new(1);
            let _ = w.begin(NEW, 0, &nfgenmsg(2, 0));
            w.nest(attr::TUPLE_ORIG, |w| tuple.emit(w));
            w.nest(attr::TUPLE_REPLY, |w| tuple.emit(w));
            w.end();
            let message = Messages::new(w.finish().unwrap()).next().unwrap();
            let flow = FlowRepr::parse(message.payload).unwrap();
            prop_assert_eq!((flow.original, flow.reply), (tuple, tuple));
        }
    }
}
