//! What the running kernel cannot do, found by asking it for each thing and letting it forget again.

use lintel_model::features::{Feature, Lack};
use lintel_model::nft::{Chain, Table};
use lintel_netlink::{Kernel, StepFailure};

use super::chain;

/// How kernels refuse what they were built without; every other refusal is another trouble.
const UNKNOWN: [nix::errno::Errno; 4] = [
    nix::errno::Errno::ENOENT,
    nix::errno::Errno::EOPNOTSUPP,
    nix::errno::Errno::EAFNOSUPPORT,
    nix::errno::Errno::EPROTONOSUPPORT,
];

/// What is missing for a bridge, and for this table: first for what its base chains lead to, then
/// for each of them.
pub(super) fn lacks(kernel: &mut Kernel, table: &Table) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut note = |feature, tried: Result<(), StepFailure>| match tried {
        Ok(()) => true,
        Err(failure) if UNKNOWN.iter().any(|known| *known as i32 == failure.errno()) => {
            let why = chain(&failure);
            log::error!("the kernel cannot do {feature:?}: {why}");
            lacks.push(Lack { feature, why });
            false
        }
        Err(failure) => {
            log::warn!(
                "whether the kernel can do {feature:?} is unknown: {}",
                chain(&failure)
            );
            true
        }
    };
    note(Feature::Bridge, kernel.try_link_kind("bridge"));
    let part = |of: Option<&Chain>| Table {
        chains: table
            .chains
            .iter()
            .filter(|chain| chain.base.is_none() || of.is_some_and(|of| of.name == chain.name))
            .cloned()
            .collect(),
        sets: table.sets.clone(),
    };
    if !note(Feature::Firewall, kernel.try_table(&part(None))) {
        return lacks;
    }
    for base in table.chains.iter().filter(|chain| chain.base.is_some()) {
        let feature = match base.name.as_str() {
            "srcnat" | "dstnat" => Feature::Nat,
            "clamp" => Feature::Clamp,
            _ => Feature::Firewall,
        };
        note(feature, kernel.try_table(&part(Some(base))));
    }
    lacks.dedup_by_key(|lack| lack.feature);
    lacks
}
