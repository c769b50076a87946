//! What happened, in numbers.

/// Why a packet was dropped or a question turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// From an asker: shorter than a header, or a response. Not answered: it may be a reflection.
    AskNotAQuestion,
    /// From an asker: not readable behind its header. Answered FORMERR.
    AskMalformed,
    /// From an asker: an opcode other than QUERY. Answered NOTIMP.
    AskOpcode,
    /// From an asker: a class other than IN, a zone transfer, or a question without the wish for
    /// recursion that the cache cannot answer. Answered REFUSED.
    AskRefused,
    /// From an asker: an EDNS version above 0. Answered BADVERS.
    AskVersion,
    /// From an asker that has too many questions open. Answered REFUSED.
    AskerOverLimit,
    /// No room for another open question. Answered SERVFAIL.
    TableFull,
    /// From upstream: nothing is open on that socket any more.
    ReplyStale,
    /// From upstream: another address or port than asked.
    ReplySource,
    /// From upstream: not a response, or cut inside a field.
    ReplyMalformed,
    /// From upstream: another id.
    ReplyId,
    /// From upstream: another question.
    ReplyQuestion,
    /// From upstream: the letters of the question in another case than sent.
    ReplyCase,
    /// From upstream: answers that have nothing to do with the question.
    ReplyUnrelated,
    /// From upstream: a private address for a public name.
    ReplyRebind,
}

impl Reason {
    /// All reasons, in the order of [`Counters::dropped`].
    pub const ALL: [Self; 15] = [
        Self::AskNotAQuestion,
        Self::AskMalformed,
        Self::AskOpcode,
        Self::AskRefused,
        Self::AskVersion,
        Self::AskerOverLimit,
        Self::TableFull,
        Self::ReplyStale,
        Self::ReplySource,
        Self::ReplyMalformed,
        Self::ReplyId,
        Self::ReplyQuestion,
        Self::ReplyCase,
        Self::ReplyUnrelated,
        Self::ReplyRebind,
    ];

    /// The name under which statistics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AskNotAQuestion => "ask-not-a-question",
            Self::AskMalformed => "ask-malformed",
            Self::AskOpcode => "ask-opcode",
            Self::AskRefused => "ask-refused",
            Self::AskVersion => "ask-version",
            Self::AskerOverLimit => "asker-over-limit",
            Self::TableFull => "table-full",
            Self::ReplyStale => "reply-stale",
            Self::ReplySource => "reply-source",
            Self::ReplyMalformed => "reply-malformed",
            Self::ReplyId => "reply-id",
            Self::ReplyQuestion => "reply-question",
            Self::ReplyCase => "reply-case",
            Self::ReplyUnrelated => "reply-unrelated",
            Self::ReplyRebind => "reply-rebind",
        }
    }
}

/// Counters since the machine was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions taken.
    pub queries: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered from local names and names that never leave the box.
    pub local: u64,
    /// Asked upstream, each open question once.
    pub forwarded: u64,
    /// Joined a question that was open already.
    pub coalesced: u64,
    /// Messages sent upstream.
    pub attempts: u64,
    /// Questions asked again over TCP.
    pub tcp_attempts: u64,
    /// Answered SERVFAIL.
    pub failed: u64,
    /// Packets dropped or turned away, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
}

impl Counters {
    pub(super) fn drop(&mut self, reason: Reason) {
        self.dropped[reason as usize] += 1;
    }

    /// How often packets were dropped for `reason`.
    pub fn of(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reasons_is_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(at, reason as usize);
        }
    }
}
