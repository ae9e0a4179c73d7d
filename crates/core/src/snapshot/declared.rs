//! What policies declare beside what they say.

use std::sync::Arc;

use super::Snapshot;
use crate::resource::{Limit, Object, OwnGuard, Policy};

impl Snapshot {
    /// The limits that policies in force declare, and those of policies that are not in order, of which what they forbade goes on to: calls count for
    /// these too. One may be there more than once.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        let declared = self.declaring().flat_map(|policy| &*policy.limits);
        declared.chain(self.beside.iter().filter_map(|statement| statement.limits.as_deref()).flatten())
    }

    /// The guards that policies in force declare.
    pub fn own_guards(&self) -> impl Iterator<Item = &Arc<OwnGuard>> {
        self.declaring().flat_map(|policy| &*policy.guards)
    }

    fn declaring(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.objects.iter().filter_map(|object| match object {
            Object::Policy(policy) => Some(policy),
            _ => None,
        })
    }
}
