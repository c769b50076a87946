//! controld and dhcpd.

use std::net::Ipv4Addr;

use lintel_model::lease::Binding;
use lintel_model::services::DhcpSpec;
use serde::{Deserialize, Serialize};

/// From controld to dhcpd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToDhcpd {
    /// Whole snapshot: the first message of a session, and again when the service changes. A
    /// network that comes back, or first comes, brings the bindings that were given there.
    Snapshot {
        /// What to serve.
        spec: DhcpSpec,
        /// Every binding on disk.
        bindings: Vec<Binding>,
        /// When the box started, Unix seconds, by the clock of their times: the clock may leap
        /// while the message is on its way.
        start_unix_s: i64,
    },
    /// The binding with this token is on disk: the ACK may leave.
    Durable {
        /// From `FromDhcpd::Bind`.
        token: u64,
    },
    /// It could not be written: no ACK.
    NotDurable {
        /// From `FromDhcpd::Bind`.
        token: u64,
    },
    /// The householder ended this binding.
    Forget {
        /// Its address.
        address: Ipv4Addr,
    },
}

/// From dhcpd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromDhcpd {
    /// Make this durable and answer with its token. Replaces a binding of the same address.
    Bind {
        /// Chosen by dhcpd, unique in the session.
        token: u64,
        /// What to write. `BindingState` tells a release or a decline from a bind.
        binding: Binding,
        /// When the box started, Unix seconds, by the clock of its times.
        start_unix_s: i64,
    },
    /// Packets dropped, by reason, since the session began.
    Dropped(Vec<(String, u64)>),
}
