//! Answers as they are kept, and writing them for one asker.

use lintel_wire::dns::{
    Error, Flags, HEADER_LEN, Opcode, Packet, Rcode, Section, UDP_EDNS_LEN, UDP_PLAIN_LEN, Writer,
};

use super::ask::{Ask, AskEdns};
use super::io::Transport;

/// Octets of an OPT record without options.
const OPT_LEN: usize = 11;

/// An answer that can be given to anybody who asks the same: a message without OPT whose
/// question takes as many octets as the asker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Header, question and records.
    pub(super) message: Box<[u8]>,
    /// Where the records' TTLs lie.
    pub(super) ttl_at: Box<[u16]>,
    /// Seconds that it may be kept: no TTL in it is smaller. Zero: for those who wait, not kept.
    pub(super) ttl_s: u32,
    /// Upstream failed; kept by other rules (RFC 9520).
    pub(super) failure: bool,
}

impl Answer {
    /// An answer without records to the question in `question`.
    pub(super) fn empty(question: &[u8], rcode: Rcode, ttl_s: u32, failure: bool) -> Self {
        let mut message = vec![0; HEADER_LEN];
        message[2..4].copy_from_slice(&RESPONSE.to_word(rcode).to_be_bytes());
        message[5] = 1;
        message.extend_from_slice(question);
        Self {
            message: message.into(),
            ttl_at: Box::new([]),
            ttl_s,
            failure,
        }
    }

    /// Writes the answer for `ask`, `elapsed_s` seconds after it was kept. Without room for all of
    /// it the answer is empty and says so by TC (RFC 2181, 9). `None`: not even that fits.
    pub(super) fn write(
        &self,
        elapsed_s: u32,
        ask: &Ask<'_>,
        transport: Transport,
        out: &mut [u8],
    ) -> Option<usize> {
        let limit = message_len_max(ask.edns, transport).min(out.len());
        let opt_len = if ask.edns.is_some() { OPT_LEN } else { 0 };
        let head_len = HEADER_LEN + ask.question.len();
        let whole = self.message.len() + opt_len <= limit;
        let body_len = if whole { self.message.len() } else { head_len };
        let len = body_len + opt_len;
        if len > limit || head_len > self.message.len() {
            return None;
        }
        let out = &mut out[..len];
        out[..body_len].copy_from_slice(&self.message[..body_len]);
        out[HEADER_LEN..head_len].copy_from_slice(ask.question);
        if let Some(edns) = ask.edns {
            out[body_len..].copy_from_slice(&opt(edns, Rcode::NOERROR));
        }
        let mut packet = Packet::new_checked(out).ok()?;
        let (kept, rcode) = (packet.flags(), packet.header_rcode());
        packet.set_id(ask.id);
        packet.set_flags(
            Flags {
                truncated: !whole,
                recursion_desired: ask.flags.recursion_desired,
                checking_disabled: ask.flags.checking_disabled,
                ..kept
            },
            rcode,
        );
        if whole {
            packet.age_ttls(&self.ttl_at, elapsed_s);
        } else {
            packet.set_record_count(Section::Answer, 0);
            packet.set_record_count(Section::Authority, 0);
        }
        packet.set_record_count(Section::Additional, u16::from(ask.edns.is_some()));
        Some(len)
    }
}

/// Flags of every answer that is not from our own names. AD stays clear: nothing here validates,
/// and nothing protects the way to the upstream (RFC 6840, 5.8).
pub(super) const RESPONSE: Flags = Flags {
    response: true,
    opcode: Opcode::QUERY,
    authoritative: false,
    truncated: false,
    recursion_desired: false,
    recursion_available: true,
    authentic_data: false,
    checking_disabled: false,
};

/// The longest message that the asker takes. Over UDP never more than what passes any path whole,
/// whatever the asker offers; below 512 counts as 512 (RFC 6891, 6.2.3).
pub(super) fn message_len_max(edns: Option<AskEdns>, transport: Transport) -> usize {
    match (transport, edns) {
        (Transport::Tcp { .. }, _) => lintel_wire::dns::MESSAGE_LEN_MAX,
        (Transport::Udp, None) => UDP_PLAIN_LEN,
        (Transport::Udp, Some(edns)) => {
            usize::from(edns.udp_len).clamp(UDP_PLAIN_LEN, UDP_EDNS_LEN)
        }
    }
}

/// Our OPT record for an asker that sent one.
pub(super) fn opt(edns: AskEdns, rcode: Rcode) -> [u8; OPT_LEN] {
    let [len_high, len_low] = (UDP_EDNS_LEN as u16).to_be_bytes();
    let dnssec_ok = u8::from(edns.dnssec_ok) << 7;
    [
        0,
        0,
        41,
        len_high,
        len_low,
        rcode.extended_bits(),
        0,
        dnssec_ok,
        0,
        0,
        0,
    ]
}

/// Writes a refusal that holds nothing but a header, and OPT where the code needs it.
pub(super) fn refusal(id: u16, asked: Flags, rcode: Rcode, out: &mut [u8]) -> Result<usize, Error> {
    let flags = Flags {
        opcode: asked.opcode,
        recursion_desired: asked.recursion_desired,
        ..RESPONSE
    };
    let len = Writer::new(out, id, flags, rcode)?.finish();
    if rcode.extended_bits() == 0 {
        return Ok(len);
    }
    let end = len + OPT_LEN;
    let edns = AskEdns {
        udp_len: 0,
        dnssec_ok: false,
    };
    out.get_mut(len..end)
        .ok_or(Error::Full)?
        .copy_from_slice(&opt(edns, rcode));
    Packet::new_checked(&mut out[..end])?.set_record_count(Section::Additional, 1);
    Ok(end)
}

/// Writes an answer without records: the question, `rcode` and OPT if the asker sent one.
pub(super) fn bare(ask: &Ask<'_>, rcode: Rcode, out: &mut [u8]) -> Result<usize, Error> {
    let flags = Flags {
        recursion_desired: ask.flags.recursion_desired,
        checking_disabled: ask.flags.checking_disabled,
        ..RESPONSE
    };
    Writer::new(out, ask.id, flags, rcode)?;
    out[5] = 1;
    let end = HEADER_LEN + ask.question.len();
    out.get_mut(HEADER_LEN..end)
        .ok_or(Error::Full)?
        .copy_from_slice(ask.question);
    let Some(edns) = ask.edns else { return Ok(end) };
    out[11] = 1;
    out.get_mut(end..end + OPT_LEN)
        .ok_or(Error::Full)?
        .copy_from_slice(&opt(edns, rcode));
    Ok(end + OPT_LEN)
}
