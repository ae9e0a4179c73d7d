//! What is wrong with policies although each is well formed: those that can never matter as things are registered, and those that
//! permit more than their author is likely to mean.

use std::sync::Arc;

use crate::reach::NotSurveyed;
use crate::resource::Policy;
use crate::snapshot::Snapshot;

/// What is found of one Cedar policy.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Its object.
    pub object: &'a Arc<Policy>,
    /// Its number in the text of the object, from 0.
    pub number: usize,
    /// Its id.
    pub policy: Arc<str>,
    /// What is found.
    pub flaw: Flaw,
}

/// What may be wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// As things are registered it is never satisfied.
    Dead(Dead),
    /// A permit: whatever it permits, this forbid forbids, whoever is registered.
    Contradicted {
        /// The forbid.
        by: Arc<str>,
    },
    /// A permit: all that it permits is forbidden, as things are registered.
    Forbidden {
        /// The forbids, sorted.
        by: Vec<Arc<str>>,
    },
    /// Whatever it permits (or forbids), this one of the same effect does too, whoever is registered.
    Implied {
        /// The broader one.
        by: Arc<str>,
    },
    /// Whether something registered satisfies it was not found out: it tells more pairs of principals and resources apart than are tried.
    Untold {
        /// How many.
        pairs: usize,
    },
    /// A permit that says less than two of: who, what is done, to what.
    Broad {
        /// It says nothing of who calls.
        anybody: bool,
        /// It says nothing of what is done.
        any_action: bool,
        /// It says nothing of what is called.
        anything: bool,
    },
}

/// Why a policy is never satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// No registered principal is one that it is about.
    NoPrincipal,
    /// Nothing that is registered is what it is about.
    NoResource,
    /// There are some of both, and no two of them satisfy its conditions.
    NoPair,
}

impl Snapshot {
    /// What is found of the policies in force, in the order of their objects and in these by their number. What is found is so; not all
    /// that is wrong is found: pairs are tried up to a limit, and a policy on a kind of object of which none is registered is not
    /// judged.
    ///
    /// # Errors
    /// See [`NotSurveyed`].
    pub fn review(&self) -> Result<Vec<Found<'_>>, NotSurveyed> {
        let policies: Vec<_> = self.compiled_policies().collect();
        let statements: Vec<_> = policies.iter().map(|(_, _, statement)| *statement).collect();
        let flaws = self.flaws(&statements).map_err(|fault| NotSurveyed::new(&fault))?;
        let found = policies.into_iter().zip(flaws);
        Ok(found
            .flat_map(|((object, number, statement), flaws)| {
                let policy = statement.id.clone();
                flaws.into_iter().map(move |flaw| Found { object, number, policy: policy.clone(), flaw })
            })
            .collect())
    }
}
