//! What a snapshot knows of chains, for who counts them.

use std::sync::Arc;

use super::Snapshot;
use crate::decide::chain_reads::ChainReads;
use crate::keep::Keep;

impl Snapshot {
    /// What of the state of chains anything in it looks at: nothing else needs to be counted.
    pub const fn chain_reads(&self) -> ChainReads {
        self.chain_reads.0
    }

    /// What of it something looks at that is not only tried. What else cannot be counted refuses no call.
    pub const fn binding_chain_reads(&self) -> ChainReads {
        self.chain_reads.1
    }

    /// Whether a call that this policy refuses ends its chain.
    pub(crate) fn is_ending(&self, policy: &str) -> bool {
        self.said.is_ending(policy)
    }

    /// What records keep of a call that these policies permit.
    pub(crate) fn kept_by(&self, policies: &[Arc<str>]) -> Keep {
        self.said.kept_by(policies)
    }
}
