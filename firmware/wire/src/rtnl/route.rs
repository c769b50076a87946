//! `RTM_*ROUTE`.

use std::net::IpAddr;

use super::emit_ip;
use crate::nl::{Attrs, Malformed, Writer, u8_at, u32_at};

/// Bytes of `struct rtmsg`.
const HEADER_LEN: usize = 12;

mod attr {
    pub(super) const DST: u16 = 1;
    pub(super) const OIF: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const PREFSRC: u16 = 7;
    pub(super) const MULTIPATH: u16 = 9;
    pub(super) const TABLE: u16 = 15;
    pub(super) const VIA: u16 = 18;
    pub(super) const NH_ID: u16 = 30;
}

/// `RTPROT_*`: who put the route there.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod protocol {
    pub const UNSPEC: u8 = 0;
    pub const REDIRECT: u8 = 1;
    pub const KERNEL: u8 = 2;
    pub const BOOT: u8 = 3;
    pub const STATIC: u8 = 4;
    pub const RA: u8 = 9;
}

/// `RTN_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod route_type {
    pub const UNSPEC: u8 = 0;
    pub const UNICAST: u8 = 1;
    pub const LOCAL: u8 = 2;
    pub const BROADCAST: u8 = 3;
    pub const ANYCAST: u8 = 4;
    pub const MULTICAST: u8 = 5;
}

/// `RT_SCOPE_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod scope {
    pub const UNIVERSE: u8 = 0;
    pub const LINK: u8 = 253;
    pub const HOST: u8 = 254;
    pub const NOWHERE: u8 = 255;
}

/// `RT_TABLE_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod table {
    pub const MAIN: u32 = 254;
    pub const LOCAL: u32 = 255;
}

/// A route with one next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteRepr {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Absent for the default route.
    pub destination: Option<IpAddr>,
    /// Bits of the destination's prefix.
    pub destination_len: u8,
    /// `RT_TABLE_*`, all 32 bits.
    pub table: u32,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// `RT_SCOPE_*`; IPv6 has none and reports 0.
    pub scope: u8,
    /// `RTN_*`.
    pub kind: u8,
    /// `RTNH_F_*`.
    pub flags: u32,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Lower wins. The kernel leaves 0 out, and reports 1024 for an IPv6 route made without one.
    pub metric: Option<u32>,
    /// Kernel index of the outgoing link.
    pub index: Option<u32>,
    /// It has several next hops, a next-hop object, or one of another family: more than this type
    /// can say. Never written.
    pub multipath: bool,
}

impl RouteRepr {
    /// `RTNH_F_ONLINK`: the gateway is on the link although no address there covers it.
    pub const ONLINK: u32 = 4;

    /// Reads the payload of a `NEWROUTE` or `DELROUTE`.
    ///
    /// # Errors
    /// [`Malformed`] when it is shorter than `rtmsg`.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let byte = |at| u8_at(payload, at).ok_or(Malformed("rtmsg"));
        let mut route = Self {
            family: byte(0)?,
            destination_len: byte(1)?,
            table: byte(4)?.into(),
            protocol: byte(5)?,
            scope: byte(6)?,
            kind: byte(7)?,
            flags: u32_at(payload, 8).ok_or(Malformed("rtmsg"))?,
            ..Self::default()
        };
        for a in Attrs::after(payload, HEADER_LEN) {
            match a.kind {
                attr::DST => route.destination = a.ip(),
                attr::OIF => route.index = a.u32(),
                attr::GATEWAY => route.gateway = a.ip(),
                attr::PRIORITY => route.metric = a.u32(),
                attr::PREFSRC => route.source = a.ip(),
                attr::TABLE => route.table = a.u32().unwrap_or(route.table),
                attr::MULTIPATH | attr::NH_ID | attr::VIA => route.multipath = true,
                _ => {}
            }
        }
        Ok(route)
    }

    /// Appends a message of this type.
    pub fn emit(&self, w: &mut Writer, kind: u16, message_flags: u16) -> u32 {
        // A table above 255 goes into the attribute alone.
        let low_table = u8::try_from(self.table).unwrap_or(0);
        let [a, b, c, d] = self.flags.to_ne_bytes();
        let header = [
            self.family,
            self.destination_len,
            0,
            0,
            low_table,
            self.protocol,
            self.scope,
            self.kind,
            a,
            b,
            c,
            d,
        ];
        let seq = w.begin(kind, message_flags, &header);
        for (kind, ip) in [
            (attr::DST, self.destination),
            (attr::GATEWAY, self.gateway),
            (attr::PREFSRC, self.source),
        ] {
            if let Some(ip) = ip {
                emit_ip(w, kind, ip);
            }
        }
        for (kind, number) in [
            (attr::OIF, self.index),
            (attr::PRIORITY, self.metric),
            (attr::TABLE, (self.table > 255).then_some(self.table)),
        ] {
            if let Some(number) = number {
                w.u32(kind, number);
            }
        }
        w.end();
        seq
    }
}
