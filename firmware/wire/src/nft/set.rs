//! Sets, maps and their elements.

use super::{
    Data, LIST_ELEM, NFGENMSG_LEN, Verdict, msg, nfgenmsg, text,
    userdata::{self, ByteOrder},
};
use crate::nl::{Attr, Attrs, Malformed, Writer, flags as nl_flags};

/// `NFT_SET_*`.
#[expect(missing_docs, reason = "the names are the kernel's")]
pub mod flags {
    pub const ANONYMOUS: u32 = 0x1;
    pub const CONSTANT: u32 = 0x2;
    pub const INTERVAL: u32 = 0x4;
    pub const MAP: u32 = 0x8;
    pub const TIMEOUT: u32 = 0x10;
    pub const EVAL: u32 = 0x20;
    pub const OBJECT: u32 = 0x40;
    pub const CONCAT: u32 = 0x80;
}

/// `NFT_DATA_VERDICT`: the data type of verdict maps.
pub const DATA_VERDICT: u32 = 0xffff_ff00;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `NFT_SET_ELEM_CATCHALL`.
const CATCHALL: u32 = 2;

/// Payload bytes of one list of elements before the next message begins. `nla_len` is 16 bits;
/// an element with 64-octet key, key end and value stays below 300 bytes.
const ELEMENT_LIST_BYTES_MAX: usize = 60_000;

mod attr {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const KEY_LEN: u16 = 5;
    pub(super) const DATA_TYPE: u16 = 6;
    pub(super) const DATA_LEN: u16 = 7;
    pub(super) const DESC: u16 = 9;
    pub(super) const ID: u16 = 10;
    pub(super) const USERDATA: u16 = 13;
    pub(super) const DESC_SIZE: u16 = 1;
    pub(super) const DESC_CONCAT: u16 = 2;
    pub(super) const FIELD_LEN: u16 = 1;
    pub(super) const LIST_TABLE: u16 = 1;
    pub(super) const LIST_SET: u16 = 2;
    pub(super) const LIST_ELEMENTS: u16 = 3;
    pub(super) const LIST_SET_ID: u16 = 4;
    pub(super) const ELEM_KEY: u16 = 1;
    pub(super) const ELEM_DATA: u16 = 2;
    pub(super) const ELEM_FLAGS: u16 = 3;
    pub(super) const ELEM_KEY_END: u16 = 10;
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRepr<'a> {
    /// `NFPROTO_*`.
    pub family: u8,
    /// Its table.
    pub table: &'a str,
    /// Its name.
    pub name: &'a str,
    /// [`flags`].
    pub flags: u32,
    /// nft's number for the key's type; concatenations shift each part in by six bits.
    pub key_type: u32,
    /// Octets of the key.
    pub key_len: u32,
    /// Octets of each field of a concatenation.
    pub fields: Vec<u32>,
    /// nft's number for the value's type, or [`DATA_VERDICT`].
    pub data_type: Option<u32>,
    /// Octets of the value.
    pub data_len: u32,
    /// The most elements the set may hold; 0 for no limit.
    pub size: u32,
    /// How `nft list` shall read keys and values; not parsed back.
    pub orders: Option<(ByteOrder, Option<ByteOrder>)>,
}

impl<'a> SetRepr<'a> {
    /// Reads a `NEWSET` or `DELSET` payload.
    ///
    /// # Errors
    /// [`Malformed`] without table or name.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let attrs = Attrs::after(payload, NFGENMSG_LEN);
        let number = |kind| attrs.find(kind).and_then(|a| a.be32());
        let desc = attrs.find(attr::DESC);
        let data_type = number(attr::DATA_TYPE);
        Ok(Self {
            family: *payload.first().ok_or(Malformed("nfgenmsg"))?,
            table: text(&attrs, attr::TABLE, "NFTA_SET_TABLE")?,
            name: text(&attrs, attr::NAME, "NFTA_SET_NAME")?,
            flags: number(attr::FLAGS).unwrap_or(0),
            key_type: number(attr::KEY_TYPE).unwrap_or(0),
            key_len: number(attr::KEY_LEN).unwrap_or(0),
            fields: desc
                .and_then(|d| d.nested().find(attr::DESC_CONCAT))
                .map(|list| {
                    list.nested()
                        .filter_map(|f| f.nested().find(attr::FIELD_LEN)?.be32())
                        .collect()
                })
                .unwrap_or_default(),
            data_type,
            // Without a type there is no value that could have a length.
            data_len: data_type.and(number(attr::DATA_LEN)).unwrap_or(0),
            size: desc
                .and_then(|d| d.nested().find(attr::DESC_SIZE)?.be32())
                .unwrap_or(0),
            orders: None,
        })
    }

    /// `NEWSET`. `id` names the set inside its batch and must be different for each.
    pub fn emit_new(&self, w: &mut Writer, id: u32) -> u32 {
        let seq = w.begin(msg::NEWSET, nl_flags::CREATE, &nfgenmsg(self.family, 0));
        w.str(attr::TABLE, self.table);
        w.str(attr::NAME, self.name);
        w.be32(attr::FLAGS, self.flags);
        w.be32(attr::KEY_TYPE, self.key_type);
        w.be32(attr::KEY_LEN, self.key_len);
        if let Some(data_type) = self.data_type {
            w.be32(attr::DATA_TYPE, data_type);
            if self.data_len != 0 {
                w.be32(attr::DATA_LEN, self.data_len);
            }
        }
        if self.size != 0 || !self.fields.is_empty() {
            w.nest(attr::DESC, |w| self.emit_desc(w));
        }
        w.be32(attr::ID, id);
        if let Some((key, value)) = self.orders {
            let mark = w.open(attr::USERDATA);
            userdata::emit_set_byte_order(w, key, value);
            w.close(mark);
        }
        w.end();
        seq
    }

    fn emit_desc(&self, w: &mut Writer) {
        if self.size != 0 {
            w.be32(attr::DESC_SIZE, self.size);
        }
        if !self.fields.is_empty() {
            w.nest(attr::DESC_CONCAT, |w| {
                for len in &self.fields {
                    w.nest(LIST_ELEM, |w| w.be32(attr::FIELD_LEN, *len));
                }
            });
        }
    }

    /// `DELSET`; no rule may use it.
    pub fn emit_delete(&self, w: &mut Writer) -> u32 {
        let seq = w.begin(msg::DELSET, 0, &nfgenmsg(self.family, 0));
        w.str(attr::TABLE, self.table);
        w.str(attr::NAME, self.name);
        w.end();
        seq
    }
}

/// One element, or one border of an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementRepr<'a> {
    /// The key; empty for the catch-all element.
    pub key: &'a [u8],
    /// Last key of a range in a set of concatenations.
    pub key_end: Option<&'a [u8]>,
    /// A map's value.
    pub data: Option<Data<'a>>,
    /// This is the first key behind an interval of a set without concatenation.
    pub interval_end: bool,
    /// Matches what nothing else does.
    pub catchall: bool,
}

impl<'a> ElementRepr<'a> {
    fn parse(element: Attr<'a>) -> Option<Self> {
        let attrs = element.nested();
        let bits = attrs
            .find(attr::ELEM_FLAGS)
            .and_then(|a| a.be32())
            .unwrap_or(0);
        let value = |kind| match Data::parse(attrs.find(kind)?.data)? {
            Data::Value(bytes) => Some(bytes),
            Data::Verdict(_) => None,
        };
        let catchall = bits & CATCHALL != 0;
        Some(Self {
            // The catch-all element stands for every key; one beside it says nothing.
            key: if catchall {
                &[]
            } else {
                value(attr::ELEM_KEY)?
            },
            key_end: value(attr::ELEM_KEY_END),
            data: attrs
                .find(attr::ELEM_DATA)
                .and_then(|a| Data::parse(a.data)),
            interval_end: bits & INTERVAL_END != 0,
            catchall,
        })
    }

    fn emit(&self, w: &mut Writer) {
        let bits =
            u32::from(self.interval_end) * INTERVAL_END + u32::from(self.catchall) * CATCHALL;
        if bits != 0 {
            w.be32(attr::ELEM_FLAGS, bits);
        }
        if !self.catchall {
            w.nest(attr::ELEM_KEY, |w| Data::Value(self.key).emit(w));
        }
        if let Some(end) = self.key_end {
            w.nest(attr::ELEM_KEY_END, |w| Data::Value(end).emit(w));
        }
        if let Some(data) = &self.data {
            w.nest(attr::ELEM_DATA, |w| data.emit(w));
        }
    }
}

/// `NEWSETELEM` or `DELSETELEM`, split over as many messages as the length field demands. `set_id`
/// names a set made earlier in the same batch. Calls `on_message` with each sequence number.
pub fn emit_elements<'e>(
    w: &mut Writer,
    set: &SetRepr<'_>,
    set_id: Option<u32>,
    delete: bool,
    elements: impl IntoIterator<Item = ElementRepr<'e>>,
    mut on_message: impl FnMut(u32),
) {
    let (kind, message_flags) = if delete {
        (msg::DELSETELEM, 0)
    } else {
        (msg::NEWSETELEM, nl_flags::CREATE)
    };
    let mut elements = elements.into_iter().peekable();
    while elements.peek().is_some() {
        on_message(w.begin(kind, message_flags, &nfgenmsg(set.family, 0)));
        w.str(attr::LIST_TABLE, set.table);
        w.str(attr::LIST_SET, set.name);
        if let Some(id) = set_id {
            w.be32(attr::LIST_SET_ID, id);
        }
        let list = w.open(crate::nl::NLA_F_NESTED | attr::LIST_ELEMENTS);
        while w.len_since(&list) < ELEMENT_LIST_BYTES_MAX {
            let Some(element) = elements.next() else {
                break;
            };
            w.nest(LIST_ELEM, |w| element.emit(w));
        }
        w.close(list);
        w.end();
    }
}

/// Reads the elements of one `NEWSETELEM` payload.
///
/// # Errors
/// [`Malformed`] when an element has no key.
pub fn parse_elements(payload: &[u8]) -> Result<Vec<ElementRepr<'_>>, Malformed> {
    let Some(list) = Attrs::after(payload, NFGENMSG_LEN).find(attr::LIST_ELEMENTS) else {
        return Ok(Vec::new());
    };
    list.nested()
        .map(|e| ElementRepr::parse(e).ok_or(Malformed("NFTA_SET_ELEM_KEY")))
        .collect()
}

impl<'a> Data<'a> {
    /// Reads the attributes inside `NFTA_*_DATA`.
    pub(super) fn parse(nested: &'a [u8]) -> Option<Self> {
        let attrs = Attrs::new(nested);
        if let Some(value) = attrs.find(1) {
            return Some(Self::Value(value.data));
        }
        let verdict = attrs.find(2)?.nested();
        let code = verdict.find(1)?.be32()?.cast_signed();
        Some(Self::Verdict(Verdict {
            code,
            chain: verdict.find(2).and_then(|a| a.str()),
        }))
    }

    pub(super) fn emit(&self, w: &mut Writer) {
        match self {
            Self::Value(bytes) => w.attr(1, bytes),
            Self::Verdict(verdict) => w.nest(2, |w| {
                w.be32(1, verdict.code.cast_unsigned());
                if let Some(chain) = verdict.chain {
                    w.str(2, chain);
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nl::Messages;

    #[test]
    fn a_set_survives_the_trip() {
        let set = SetRepr {
            family: 1,
            table: "lintel",
            name: "devices",
            flags: flags::INTERVAL | flags::CONCAT | flags::MAP,
            key_type: 9 << 6 | 7,
            key_len: 12,
            fields: vec![6, 4],
            data_type: Some(DATA_VERDICT),
            data_len: 0,
            size: 64,
            orders: None,
        };
        let mut w = Writer::new(1);
        set.emit_new(&mut w, 3);
        let bytes = w.finish().unwrap();
        let message = Messages::new(bytes).next().unwrap();
        assert_eq!(SetRepr::parse(message.payload), Ok(set));
    }

    #[test]
    fn a_length_of_values_without_their_type_is_no_part_of_a_set() {
        let mut w = Writer::new(1);
        let _ = w.begin(msg::NEWSET, 0, &nfgenmsg(1, 0));
        w.str(attr::TABLE, "t");
        w.str(attr::NAME, "s");
        w.be32(attr::DATA_LEN, 4);
        w.end();
        let message = Messages::new(w.finish().unwrap()).next().unwrap();
        let set = SetRepr::parse(message.payload).unwrap();
        assert_eq!((set.data_type, set.data_len), (None, 0));
    }

    #[test]
    fn a_catchall_element_has_no_key() {
        let mut w = Writer::new(1);
        let _ = w.begin(msg::NEWSETELEM, 0, &nfgenmsg(1, 0));
        w.nest(attr::LIST_ELEMENTS, |w| {
            w.nest(LIST_ELEM, |w| {
                w.be32(attr::ELEM_FLAGS, CATCHALL);
                w.nest(attr::ELEM_KEY, |w| Data::Value(&[1, 2]).emit(w));
            });
        });
        w.end();
        let message = Messages::new(w.finish().unwrap()).next().unwrap();
        let elements = parse_elements(message.payload).unwrap();
        assert!(elements[0].catchall && elements[0].key.is_empty());
    }

    #[test]
    fn ten_thousand_elements_are_split_and_none_is_lost() {
        let keys: Vec<[u8; 4]> = (0u32..10_000).map(u32::to_be_bytes).collect();
        let element = |key| ElementRepr {
            key,
            key_end: None,
            data: Some(Data::Verdict(Verdict {
                code: -3,
                chain: Some("a_rather_long_chain_name"),
            })),
            interval_end: false,
            catchall: false,
        };
        let set = SetRepr::parse(&[
            1, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0, 6, 0, 2, 0, b's', 0, 0, 0,
        ])
        .unwrap();
        let mut w = Writer::new(1);
        let mut messages = 0;
        emit_elements(
            &mut w,
            &set,
            None,
            false,
            keys.iter().map(|k| element(k)),
            |_| messages += 1,
        );
        let bytes = w.finish().unwrap();
        let read: Vec<_> = Messages::new(bytes)
            .flat_map(|m| parse_elements(m.payload).unwrap())
            .collect();
        assert!(messages > 5);
        assert_eq!(read.len(), 10_000);
        assert!(read.iter().zip(&keys).all(|(r, k)| *r == element(k)));
    }
}
