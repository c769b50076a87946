//! Why replies are dropped, counted.

/// Why a reply was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// No NTP packet, or of a version or mode that none of ours asks for.
    Malformed,
    /// A packet, but no server's reply.
    NotServer,
    /// From another address than the one asked, or of an association that is gone.
    Stranger,
    /// Answers no request of ours (TEST2): forged, or older than the last one.
    Bogus,
    /// The same answer again (TEST1).
    Duplicate,
    /// The answer to the request before, or one that took more than three seconds.
    Late,
    /// Lacks its receive or transmit time, or was on its way for a negative time (TEST3).
    Inconsistent,
    /// The server says that it has no time to give (TEST6).
    Unsynchronised,
    /// The server's own error is too large (TEST7), or its clock was set after it replied.
    Distant,
    /// The server follows us.
    Loop,
    /// It says a time before the floor.
    BelowFloor,
    /// A kiss: DENY or RSTR.
    KissDeny,
    /// A kiss: RATE.
    KissRate,
    /// Any other kiss.
    KissOther,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::NotServer,
        Self::Stranger,
        Self::Bogus,
        Self::Duplicate,
        Self::Late,
        Self::Inconsistent,
        Self::Unsynchronised,
        Self::Distant,
        Self::Loop,
        Self::BelowFloor,
        Self::KissDeny,
        Self::KissRate,
        Self::KissOther,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotServer => "not-server",
            Self::Stranger => "stranger",
            Self::Bogus => "bogus",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::Inconsistent => "inconsistent",
            Self::Unsynchronised => "unsynchronised",
            Self::Distant => "distant",
            Self::Loop => "loop",
            Self::BelowFloor => "below-floor",
            Self::KissDeny => "kiss-deny",
            Self::KissRate => "kiss-rate",
            Self::KissOther => "kiss-other",
        }
    }
}

/// Replies that were not believed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    pub(super) fn count(&mut self, reason: DropReason) {
        if let Some(n) = self.0.get_mut(reason as usize) {
            *n = n.saturating_add(1);
        }
    }

    /// How many for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, n)| *n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_place_and_name() {
        for (n, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
        }
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
