//! What a simulation looks at and takes away: the store under the machine, and its wish.

use lintel_model::desired::DesiredState;
use lintel_store::Store;

use super::core::Core;

impl Core {
    /// The store, which outlives a machine that is killed.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// What the kernel shall hold.
    pub fn desired(&self) -> &DesiredState {
        &self.resolved.kernel
    }

    /// Whether the kernel held it at the last look.
    pub fn is_settled(&self) -> bool {
        self.converge.is_settled()
    }

    /// Number of the revision in force, when it has one.
    pub fn revision(&self) -> Option<u64> {
        self.active.revision
    }
}
