//! `RTM_*ADDR`.

use std::net::IpAddr;

use super::emit_ip;
use crate::nl::{Attrs, Malformed, Writer, u8_at, u32_at};

/// Bytes of `struct ifaddrmsg`.
const HEADER_LEN: usize = 8;

/// A lifetime that never ends.
pub const FOREVER: u32 = u32::MAX;

mod attr {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const CACHEINFO: u16 = 6;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const PROTO: u16 = 11;
}

/// `IFA_F_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod address_flags {
    pub const NODAD: u32 = 0x02;
    pub const DADFAILED: u32 = 0x08;
    pub const DEPRECATED: u32 = 0x20;
    pub const TENTATIVE: u32 = 0x40;
    pub const PERMANENT: u32 = 0x80;
    pub const NOPREFIXROUTE: u32 = 0x200;
}

/// `IFAPROT_*`: who put the address there; 0 when nobody said.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod address_protocol {
    pub const KERNEL_LO: u8 = 1;
    pub const KERNEL_RA: u8 = 2;
    pub const KERNEL_LL: u8 = 3;
}

/// An address on a link. `local` differs from `address` only on point-to-point links, where the
/// latter is the peer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRepr {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Bits of the prefix.
    pub prefix_len: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// Kernel index of the link.
    pub index: u32,
    /// `IFA_F_*`, all 32 bits.
    pub flags: u32,
    /// `IFA_ADDRESS`.
    pub address: Option<IpAddr>,
    /// `IFA_LOCAL`; IPv6 has none.
    pub local: Option<IpAddr>,
    /// `IFA_BROADCAST`.
    pub broadcast: Option<IpAddr>,
    /// Seconds left as a preferred source; [`FOREVER`].
    pub preferred_s: Option<u32>,
    /// Seconds left at all; [`FOREVER`].
    pub valid_s: Option<u32>,
    /// [`address_protocol`].
    pub protocol: Option<u8>,
}

impl AddressRepr {
    /// The address of this host.
    #[must_use]
    pub fn own(&self) -> Option<IpAddr> {
        self.local.or(self.address)
    }

    /// Reads the payload of a `NEWADDR` or `DELADDR`.
    ///
    /// # Errors
    /// [`Malformed`] when it is shorter than `ifaddrmsg`.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let short = || Malformed("ifaddrmsg");
        let mut address = Self {
            family: u8_at(payload, 0).ok_or_else(short)?,
            prefix_len: u8_at(payload, 1).ok_or_else(short)?,
            flags: u8_at(payload, 2).ok_or_else(short)?.into(),
            scope: u8_at(payload, 3).ok_or_else(short)?,
            index: u32_at(payload, 4).ok_or_else(short)?,
            ..Self::default()
        };
        for a in Attrs::after(payload, HEADER_LEN) {
            match a.kind {
                attr::ADDRESS => address.address = a.ip(),
                attr::LOCAL => address.local = a.ip(),
                attr::BROADCAST => address.broadcast = a.ip(),
                attr::FLAGS => address.flags = a.u32().unwrap_or(address.flags),
                attr::PROTO => address.protocol = a.u8(),
                attr::CACHEINFO => {
                    // Both or none: half a structure says nothing.
                    let lifetimes = u32_at(a.data, 0).zip(u32_at(a.data, 4));
                    (address.preferred_s, address.valid_s) = lifetimes.unzip();
                }
                _ => {}
            }
        }
        Ok(address)
    }

    /// Appends a message of this type.
    pub fn emit(&self, w: &mut Writer, kind: u16, message_flags: u16) -> u32 {
        let [low_flags, ..] = self.flags.to_le_bytes();
        let [a, b, c, d] = self.index.to_ne_bytes();
        let header = [
            self.family,
            self.prefix_len,
            low_flags,
            self.scope,
            a,
            b,
            c,
            d,
        ];
        let seq = w.begin(kind, message_flags, &header);
        for (kind, ip) in [
            (attr::ADDRESS, self.address),
            (attr::LOCAL, self.local),
            (attr::BROADCAST, self.broadcast),
        ] {
            if let Some(ip) = ip {
                emit_ip(w, kind, ip);
            }
        }
        if self.flags > 0xff {
            w.u32(attr::FLAGS, self.flags);
        }
        if self.preferred_s.is_some() || self.valid_s.is_some() {
            let mut cacheinfo = [0; 16];
            cacheinfo[..4].copy_from_slice(&self.preferred_s.unwrap_or(FOREVER).to_ne_bytes());
            cacheinfo[4..8].copy_from_slice(&self.valid_s.unwrap_or(FOREVER).to_ne_bytes());
            w.attr(attr::CACHEINFO, &cacheinfo);
        }
        if let Some(protocol) = self.protocol {
            w.u8(attr::PROTO, protocol);
        }
        w.end();
        seq
    }
}
