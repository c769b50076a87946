//! Why packets are dropped, counted.

/// Why the server did not answer a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// No DHCP message, or one without a known type.
    Malformed,
    /// A reply, or a message type that only servers send.
    NotARequest,
    /// `chaddr` is no Ethernet unicast address.
    BadHardware,
    /// It came in on a link we do not serve.
    UnknownLink,
    /// A relay agent from a network that is not ours.
    UnknownRelay,
    /// The client chose another server.
    OtherServer,
    /// A release or decline of an address that the sender does not have.
    NotTheirs,
    /// An INFORM from outside the network.
    InformOutside,
    /// A claim that we can neither confirm nor deny, where we are not authoritative.
    Unconfirmed,
    /// No address is left.
    Exhausted,
    /// Too many conflict probes under way.
    ProbesFull,
    /// Too many bindings wait for the disk, or another one of the same client does.
    PendingFull,
    /// The binding could not be made durable.
    NotDurable,
    /// The reply does not fit what the client takes.
    TooLong,
    /// Every address probed had an owner already.
    Conflicts,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::NotARequest,
        Self::BadHardware,
        Self::UnknownLink,
        Self::UnknownRelay,
        Self::OtherServer,
        Self::NotTheirs,
        Self::InformOutside,
        Self::Unconfirmed,
        Self::Exhausted,
        Self::ProbesFull,
        Self::PendingFull,
        Self::NotDurable,
        Self::TooLong,
        Self::Conflicts,
    ];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotARequest => "not-a-request",
            Self::BadHardware => "bad-hardware",
            Self::UnknownLink => "unknown-link",
            Self::UnknownRelay => "unknown-relay",
            Self::OtherServer => "other-server",
            Self::NotTheirs => "not-theirs",
            Self::InformOutside => "inform-outside",
            Self::Unconfirmed => "unconfirmed",
            Self::Exhausted => "exhausted",
            Self::ProbesFull => "probes-full",
            Self::PendingFull => "pending-full",
            Self::NotDurable => "not-durable",
            Self::TooLong => "too-long",
            Self::Conflicts => "conflicts",
        }
    }
}

/// Drops since the machine was made, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
