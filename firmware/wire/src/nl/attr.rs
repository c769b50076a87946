//! Reading attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ATTR_HEADER_LEN, NLA_TYPE_MASK, align4, array_at, u16_at};

/// One attribute: its type without flags, and its payload without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// `nla_type` without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    pub kind: u16,
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The first byte.
    #[must_use]
    pub fn u8(&self) -> Option<u8> {
        self.data.first().copied()
    }

    /// 16 bits in host order.
    #[must_use]
    pub fn u16(&self) -> Option<u16> {
        array_at(self.data, 0).map(u16::from_ne_bytes)
    }

    /// 32 bits in host order.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        array_at(self.data, 0).map(u32::from_ne_bytes)
    }

    /// 64 bits in host order.
    #[must_use]
    pub fn u64(&self) -> Option<u64> {
        array_at(self.data, 0).map(u64::from_ne_bytes)
    }

    /// 16 bits in network order.
    #[must_use]
    pub fn be16(&self) -> Option<u16> {
        array_at(self.data, 0).map(u16::from_be_bytes)
    }

    /// 32 bits in network order.
    #[must_use]
    pub fn be32(&self) -> Option<u32> {
        array_at(self.data, 0).map(u32::from_be_bytes)
    }

    /// 64 bits in network order.
    #[must_use]
    pub fn be64(&self) -> Option<u64> {
        array_at(self.data, 0).map(u64::from_be_bytes)
    }

    /// Text up to the first zero; `None` when it is not UTF-8.
    #[must_use]
    pub fn str(&self) -> Option<&'a str> {
        let text = self.data.split(|b| *b == 0).next().unwrap_or_default();
        std::str::from_utf8(text).ok()
    }

    /// An IPv4 or IPv6 address, told apart by its length.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self.data.len() {
            4 => array_at::<4>(self.data, 0).map(|b| Ipv4Addr::from(b).into()),
            16 => array_at::<16>(self.data, 0).map(|b| Ipv6Addr::from(b).into()),
            _ => None,
        }
    }

    /// A link-layer address of Ethernet's length.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.data.try_into().ok()
    }

    /// The attributes inside.
    #[must_use]
    pub fn nested(&self) -> Attrs<'a> {
        Attrs::new(self.data)
    }
}

/// Attributes in their order; stops at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Reads the attributes in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Skips the family's fixed structure of `header` bytes, then reads attributes.
    #[must_use]
    pub fn after(payload: &'a [u8], header: usize) -> Self {
        Self::new(payload.get(align4(header)..).unwrap_or_default())
    }

    /// The first attribute of this type.
    #[must_use]
    pub fn find(&self, kind: u16) -> Option<Attr<'a>> {
        self.clone().find_by(kind)
    }

    fn find_by(mut self, kind: u16) -> Option<Attr<'a>> {
        Iterator::find(&mut self, |attr| attr.kind == kind)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let len = usize::from(u16_at(self.rest, 0)?);
        let attr = Attr {
            kind: u16_at(self.rest, 2)? & NLA_TYPE_MASK,
            data: self.rest.get(ATTR_HEADER_LEN..len)?,
        };
        self.rest = self.rest.get(align4(len)..).unwrap_or_default();
        Some(attr)
    }
}
