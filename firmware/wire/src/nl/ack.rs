//! Errors, acknowledgements and ends of dumps, with the kernel's extended text.

use super::{
    Attrs, HEADER_LEN, Message, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, align4,
    array_at, flags, u32_at,
};

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;

/// What the kernel says about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// A positive errno; 0 is success.
    pub errno: i32,
    /// The extended-ack text; on success a warning.
    pub text: Option<String>,
    /// Byte in the request, counted from its `nlmsghdr`, that displeased the kernel.
    pub offset: Option<u32>,
    /// The attribute type that was missing.
    pub missing: Option<u32>,
}

/// What a message is in the dialogue of request and reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An object: part of a dump, an answer, or a multicast notice.
    Object,
    /// `NLMSG_ERROR`: acknowledgement or error.
    Ack(Ack),
    /// `NLMSG_DONE`. A dump that failed half-way also ends with it, its errno set.
    Done(Ack),
    /// `NLMSG_NOOP` and `NLMSG_OVERRUN`: nothing to do.
    Ignore,
}

impl Reply {
    /// Sorts a message by its type. An error too short for its errno is reported as
    /// `EBADMSG`, never as success.
    #[must_use]
    pub fn of(message: &Message<'_>) -> Self {
        match message.kind {
            NLMSG_ERROR => Self::Ack(error(message)),
            NLMSG_DONE => Self::Done(done(message)),
            NLMSG_NOOP | NLMSG_OVERRUN => Self::Ignore,
            _ => Self::Object,
        }
    }
}

/// `EBADMSG`, for an error message too short to hold an errno.
const EBADMSG: i32 = 74;

fn error(message: &Message<'_>) -> Ack {
    let mut ack = Ack {
        errno: errno(message.payload).unwrap_or(EBADMSG),
        ..Ack::default()
    };
    if message.flags & flags::ACK_TLVS != 0 {
        // The request's header is always echoed; the rest of it only when the reply is not capped.
        let echoed = if message.flags & flags::CAPPED != 0 {
            HEADER_LEN
        } else {
            u32_at(message.payload, 4)
                .and_then(|len| usize::try_from(len).ok())
                .map_or(HEADER_LEN, align4)
        };
        extended(&mut ack, message.payload, echoed.saturating_add(4));
    }
    ack
}

fn done(message: &Message<'_>) -> Ack {
    // The kernel leaves the result out in some old dumps: no result is success.
    let mut ack = Ack {
        errno: errno(message.payload).unwrap_or(0),
        ..Ack::default()
    };
    if message.flags & flags::ACK_TLVS != 0 {
        extended(&mut ack, message.payload, 4);
    }
    ack
}

fn errno(payload: &[u8]) -> Option<i32> {
    let value = i32::from_ne_bytes(array_at(payload, 0)?);
    // A dump's result may be a positive count; only negative numbers are errors.
    Some(value.min(0).saturating_neg())
}

fn extended(ack: &mut Ack, payload: &[u8], skip: usize) {
    for attr in Attrs::after(payload, skip) {
        match attr.kind {
            NLMSGERR_ATTR_MSG => ack.text = attr.str().map(str::to_owned),
            NLMSGERR_ATTR_OFFS => ack.offset = attr.u32(),
            NLMSGERR_ATTR_MISS_TYPE => ack.missing = attr.u32(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nl::{Messages, Writer};

    fn reply(kind: u16, message_flags: u16, payload: &[u8]) -> Reply {
        let mut w = Writer::new(1);
        let _ = w.begin(kind, message_flags, payload);
        w.end();
        let bytes = w.finish().unwrap();
        Reply::of(&Messages::new(bytes).next().unwrap())
    }

    #[test]
    fn a_failed_dump_that_ends_with_done_is_an_error() {
        let payload = (-22i32).to_ne_bytes();
        assert!(matches!(reply(NLMSG_DONE, 0, &payload), Reply::Done(ack) if ack.errno == 22));
        assert!(
            matches!(reply(NLMSG_DONE, 0, &3i32.to_ne_bytes()), Reply::Done(ack) if ack.errno == 0)
        );
    }

    #[test]
    fn the_extended_text_is_found_behind_a_capped_and_a_whole_echo() {
        let text = b"Device is up\0";
        let mut tlv = Vec::new();
        tlv.extend_from_slice(&(4 + text.len() as u16).to_ne_bytes());
        tlv.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        tlv.extend_from_slice(text);
        for (capped, body) in [(flags::CAPPED, 0usize), (0, 8)] {
            let mut payload = (-16i32).to_ne_bytes().to_vec();
            payload.extend_from_slice(&(16 + body as u32).to_ne_bytes());
            payload.extend_from_slice(&[0; 12]);
            payload.extend_from_slice(&vec![0; body]);
            payload.extend_from_slice(&tlv);
            let got = reply(NLMSG_ERROR, flags::ACK_TLVS | capped, &payload);
            let Reply::Ack(ack) = got else {
                panic!("{got:?}")
            };
            assert_eq!((ack.errno, ack.text.as_deref()), (16, Some("Device is up")));
        }
    }

    #[test]
    fn an_error_without_an_errno_is_no_success() {
        assert!(matches!(reply(NLMSG_ERROR, 0, &[]), Reply::Ack(ack) if ack.errno == EBADMSG));
    }
}
