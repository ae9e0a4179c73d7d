//! What a snapshot knows of chains, for who counts them.

use std::sync::Arc;

use super::Snapshot;
use crate::decide::chain_reads::ChainReads;
use crate::decide::statement::Statement;

impl Snapshot {
    /// What of the state of chains anything in it looks at: nothing else needs to be counted.
    pub const fn chain_reads(&self) -> ChainReads {
        self.chain_reads
    }

    /// Whether a call that this policy refuses ends its chain.
    pub(crate) fn is_ending(&self, policy: &str) -> bool {
        self.ending.contains(policy)
    }

    /// Takes up what policies and the limits of objects look at of chains, and which of them end one.
    pub(super) fn look_at_chains(&mut self, statements: &[Arc<Statement>]) {
        let reads = statements.iter().map(|statement| statement.chain_reads);
        self.chain_reads = reads.fold(ChainReads::default(), ChainReads::and).with_objects(&self.objects);
        // What is only tried ends nothing.
        let ending = statements.iter().filter(|statement| statement.ends_chain && !statement.observes);
        self.ending = ending.map(|statement| statement.id.clone()).collect();
    }
}
