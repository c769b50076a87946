//! controld and netd; netd and those it hands descriptors to.

use lintel_model::desired::SocketSpec;
use lintel_model::features::Lack;
use lintel_model::nft::Table;
use lintel_model::observed::ObservedState;
use lintel_model::preview::Preview;
use lintel_model::step::Plan;
use serde::{Deserialize, Serialize};

/// From controld to netd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToNetd {
    /// Look again and send `Observed`.
    Observe {
        /// Paths below /proc/sys to read with every look from now on.
        sysctls: Vec<String>,
    },
    /// Do these steps in order, then look again. One at a time.
    Apply {
        /// Repeated in `Applied`.
        id: u64,
        /// What to do.
        plan: Plan,
    },
    /// Say what these steps would send and cut, and do nothing.
    Preview {
        /// Repeated in `Previewed`.
        id: u64,
        /// What might be done.
        plan: Plan,
    },
    /// Say what the kernel lacks for a bridge and for this table, and do nothing.
    Probe {
        /// The table.
        table: Table,
    },
}

/// From netd to controld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromNetd {
    /// A whole look at the kernel: at the start of the session, after each `Apply`, and when
    /// the kernel told of a change.
    Observed(Box<ObservedState>),
    /// The end of a plan. An `Observed` taken afterwards follows.
    Applied {
        /// From `Apply`.
        id: u64,
        /// Steps that were done.
        done: u32,
        /// Why the next one was not, when one was not.
        error: Option<StepError>,
        /// Messages that changed the kernel, counted where they were sent.
        kernel_writes: u64,
    },
    /// What a plan would do.
    Previewed {
        /// From `Preview`.
        id: u64,
        /// What was found.
        preview: Preview,
    },
    /// What the kernel lacks; nothing is good.
    Lacks(Vec<Lack>),
}

/// A step that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Its index in the plan.
    pub step: u32,
    /// The kernel's number, positive.
    pub errno: i32,
    /// The kernel's extended text or ours, with what was attempted.
    pub text: String,
}

/// From netd to wand or dhcpd, one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandOver {
    /// Descriptor: the socket, filter attached and locked.
    Socket {
        /// What it is.
        spec: SocketSpec,
        /// Kernel index of the link.
        index: u32,
    },
    /// Forget the socket.
    Gone {
        /// What it was.
        spec: SocketSpec,
    },
}
