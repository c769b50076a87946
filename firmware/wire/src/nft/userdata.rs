//! Annotations that the kernel stores without reading and that the `nft` tool interprets
//! (libnftnl's `udata`): type, length, value, one octet each for type and length.

use crate::nl::Writer;

/// `NFTNL_UDATA_RULE_COMMENT`.
const RULE_COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`.
const SET_KEYBYTEORDER: u8 = 0;
/// `NFTNL_UDATA_SET_DATABYTEORDER`.
const SET_DATABYTEORDER: u8 = 1;

/// Longest comment, in octets: nft allows 128 with the terminating zero.
pub const COMMENT_OCTETS_MAX: usize = 127;

/// In which order the octets of a set's key or value stand; `nft list` prints host-order keys
/// as nothing when this is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// `BYTEORDER_INVALID`: concatenations and verdicts have none of their own.
    Unspecified,
    /// `BYTEORDER_HOST_ENDIAN`.
    Host,
    /// `BYTEORDER_BIG_ENDIAN`.
    Big,
}

/// Appends a rule's comment inside the open userdata attribute; cut at [`COMMENT_OCTETS_MAX`] on a
/// character's border.
pub fn emit_rule_comment(w: &mut Writer, comment: &str) {
    let mut end = comment.len().min(COMMENT_OCTETS_MAX);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    let text = comment.get(..end).unwrap_or_default();
    // At most 127 + 1: always fits.
    let len = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    w.raw(&[RULE_COMMENT, len]);
    w.raw(text.as_bytes());
    w.raw(&[0]);
}

/// The comment in a rule's userdata.
#[must_use]
pub fn rule_comment(mut data: &[u8]) -> Option<&str> {
    while let [kind, len, rest @ ..] = data {
        let value = rest.get(..usize::from(*len))?;
        if *kind == RULE_COMMENT {
            let text = value.split(|b| *b == 0).next().unwrap_or_default();
            return std::str::from_utf8(text).ok();
        }
        data = rest.get(usize::from(*len)..)?;
    }
    None
}

/// Appends the byte order of a set's key, and of its value when it has one.
pub fn emit_set_byte_order(w: &mut Writer, key: ByteOrder, value: Option<ByteOrder>) {
    emit_order(w, SET_KEYBYTEORDER, key);
    if let Some(value) = value {
        emit_order(w, SET_DATABYTEORDER, value);
    }
}

fn emit_order(w: &mut Writer, kind: u8, order: ByteOrder) {
    let number: u32 = match order {
        ByteOrder::Unspecified => 0,
        ByteOrder::Host => 1,
        ByteOrder::Big => 2,
    };
    w.raw(&[kind, 4]);
    w.raw(&number.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_comment_is_cut_at_a_character() {
        let mut w = Writer::new(1);
        let _ = w.begin(1, 0, &[]);
        let mark = w.open(7);
        emit_rule_comment(&mut w, &"ü".repeat(100));
        w.close(mark);
        w.end();
        let bytes = w.finish().unwrap();
        assert_eq!(rule_comment(&bytes[20..]), Some("ü".repeat(63).as_str()));
    }
}
