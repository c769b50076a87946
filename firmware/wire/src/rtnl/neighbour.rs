//! `RTM_*NEIGH`.

use std::net::IpAddr;

use super::emit_ip;
use crate::nl::{Attrs, Malformed, Writer, u8_at, u16_at, u32_at};

/// Bytes of `struct ndmsg`.
const HEADER_LEN: usize = 12;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourRepr {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Kernel index of the link.
    pub index: u32,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`.
    pub flags: u8,
    /// Its network address.
    pub address: Option<IpAddr>,
    /// Its Ethernet address, once known.
    pub mac: Option<[u8; 6]>,
}

impl NeighbourRepr {
    /// Reads the payload of a `NEWNEIGH` or `DELNEIGH`.
    ///
    /// # Errors
    /// [`Malformed`] when it is shorter than `ndmsg`.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let short = || Malformed("ndmsg");
        payload.get(..HEADER_LEN).ok_or_else(short)?;
        let attrs = Attrs::after(payload, HEADER_LEN);
        Ok(Self {
            family: u8_at(payload, 0).ok_or_else(short)?,
            index: u32_at(payload, 4).ok_or_else(short)?,
            state: u16_at(payload, 8).ok_or_else(short)?,
            flags: u8_at(payload, 10).ok_or_else(short)?,
            address: attrs.find(NDA_DST).and_then(|a| a.ip()),
            mac: attrs.find(NDA_LLADDR).and_then(|a| a.mac()),
        })
    }

    /// Appends a message of this type.
    pub fn emit(&self, w: &mut Writer, kind: u16, message_flags: u16) -> u32 {
        let [a, b, c, d] = self.index.to_ne_bytes();
        let [e, f] = self.state.to_ne_bytes();
        let header = [self.family, 0, 0, 0, a, b, c, d, e, f, self.flags, 0];
        let seq = w.begin(kind, message_flags, &header);
        if let Some(address) = self.address {
            emit_ip(w, NDA_DST, address);
        }
        if let Some(mac) = self.mac {
            w.attr(NDA_LLADDR, &mac);
        }
        w.end();
        seq
    }
}
