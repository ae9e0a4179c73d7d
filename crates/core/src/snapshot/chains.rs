//! What a snapshot knows of chains, for who counts them.

use std::sync::Arc;

use super::Snapshot;
use crate::decide::chain_reads::ChainReads;
use crate::decide::statement::Statement;
use crate::keep::Keep;

/// What of the state of chains a snapshot looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    all: ChainReads,
    /// Without what is only tried.
    binding: ChainReads,
}

impl Snapshot {
    /// What of the state of chains anything in it looks at: nothing else needs to be counted.
    pub const fn chain_reads(&self) -> ChainReads {
        self.chain_reads.all
    }

    /// What of it something looks at that is not only tried. What else cannot be counted refuses no call.
    pub const fn binding_chain_reads(&self) -> ChainReads {
        self.chain_reads.binding
    }

    /// Whether a call that this policy refuses ends its chain.
    pub(crate) fn is_ending(&self, policy: &str) -> bool {
        self.ending.contains(policy)
    }

    /// What records keep of a call that these policies permit.
    pub(crate) fn kept_by(&self, policies: &[Arc<str>]) -> Keep {
        if self.keeping.is_empty() {
            return Keep::default();
        }
        let of_each = policies.iter().filter_map(|policy| self.keeping.get(policy).copied());
        of_each.fold(Keep::default(), Keep::and)
    }

    /// Takes up what policies and the limits of objects look at of chains, and which of them end one.
    pub(super) fn look_at_chains(&mut self, statements: &[Arc<Statement>]) {
        let (mut all, mut binding) = (ChainReads::default(), ChainReads::default());
        for statement in statements {
            // What is only tried ends nothing.
            let ends = statement.chain_reads.ends && !statement.observes;
            all = all.and(ChainReads { ends, ..statement.chain_reads });
            if !statement.observes {
                binding = binding.and(statement.chain_reads);
            }
        }
        self.chain_reads =
            Reads { all: all.with_objects(&self.objects), binding: binding.with_objects(&self.objects) };
        // What is only tried ends nothing.
        let ending = statements.iter().filter(|statement| statement.ends_chain && !statement.observes);
        self.ending = ending.map(|statement| statement.id.clone()).collect();
        // What is only tried permits nothing, and so keeps nothing.
        let keeping =
            statements.iter().filter(|statement| !statement.keeps.is_nothing() && !statement.observes);
        self.keeping = keeping.map(|statement| (statement.id.clone(), statement.keeps)).collect();
    }
}
