//! controld and wand.

use lintel_model::LinkName;
use lintel_model::lease::WanLease;
use lintel_model::probe::{ProbeNews, ProbeSpec};
use lintel_model::services::WanSpec;
use serde::{Deserialize, Serialize};

/// From controld to wand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWand {
    /// What to do; the first message of a session and whenever it changes.
    Spec {
        /// What to do.
        spec: WanSpec,
        /// The lease kept from before, when it may still be good.
        lease: Option<WanLease>,
    },
    /// Test the network, and tell of it with [`FromWand::Probe`]; whatever test ran ends.
    Probe {
        /// Repeated in what is told.
        id: u64,
        /// What.
        spec: ProbeSpec,
    },
    /// End that test without a word.
    EndProbe {
        /// Its number.
        id: u64,
    },
}

/// From wand to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWand {
    /// A lease was taken, renewed or confirmed.
    Lease(WanLease),
    /// There is no lease any more.
    Lost {
        /// The link.
        link: LinkName,
        /// Why, as a sentence.
        reason: String,
    },
    /// Where the client is in its life.
    State {
        /// The link.
        link: LinkName,
        /// RFC 2131 figure 5, lower case (`selecting`, `bound`, ...).
        state: String,
        /// A sentence for the householder.
        text: String,
    },
    /// A DHCP server answered on this link.
    ServerSeen {
        /// The link.
        link: LinkName,
    },
    /// Frames dropped, by reason, since the session began.
    Dropped(Vec<(String, u64)>),
    /// How far a test is, or what came of it.
    Probe {
        /// Its number.
        id: u64,
        /// It.
        news: Box<ProbeNews>,
    },
}
