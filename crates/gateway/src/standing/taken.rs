//! What one call takes of the state of its chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use vidimus_core::call::{Collected, Destination};
use vidimus_core::caller::{Chain, UnixMillis};
use vidimus_core::entity::EntityId;

/// What of a chain's state a call takes, and so is to be known of it before the decision. What nothing looks at is not among it.
#[derive(Clone, Debug)]
pub struct Taken {
    pub transaction: Arc<str>,
    /// Who began the chain.
    pub began_by: EntityId,
    /// When the chain began.
    pub started: UnixMillis,
    /// The call continues a chain: others called before it.
    pub continues: bool,
    /// The chain began with the token of an issuer other than the gateway, which may live long.
    pub began_elsewhere: bool,
    /// It is one of the chain's calls, and uses so much of models, by its estimate.
    pub counted: Option<Used>,
    /// It reaches a destination.
    pub fan_out: Option<FanOut>,
    /// It moves information.
    pub flow: Option<Flow>,
}

/// Of models: tokens, and millionths of the currency unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub tokens: i64,
    pub spend: i64,
}

/// A destination of one agent in one chain.
#[derive(Clone, Debug)]
pub struct FanOut {
    /// Of the agent: its `namespace/name`.
    pub agent: Arc<str>,
    pub destination: EntityId,
    /// One beyond so many gets no place.
    pub limit: usize,
}

/// What a call does with information.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Who calls, as `Kind/namespace/name`, and everybody who called before it in the chain: what it learns comes back to them.
    pub callers: Vec<Arc<str>>,
    /// The agent that is called, and is told what the caller knows; what it knows comes back with its answer ([`super::returning`]).
    pub callee: Option<Arc<str>>,
    /// For whom: `issuer#subject`.
    pub person: Option<Arc<str>>,
    /// What the call brings if it is permitted.
    pub brings: Vec<Collected>,
}

impl Flow {
    /// Who calls.
    pub fn caller(&self) -> &str {
        self.callers.first().map_or("", |caller| caller)
    }

    /// What becomes known to whom by the call, given what its caller knew: the agents, each with all that is new to it.
    pub fn spread(&self, known: &[Collected]) -> Vec<(Arc<str>, Vec<Collected>)> {
        let mut told: Vec<(Arc<str>, Vec<Collected>)> = Vec::new();
        if !self.brings.is_empty() {
            told.extend(self.callers.iter().map(|caller| (caller.clone(), self.brings.clone())));
        }
        let to_callee = self.of_chain(known);
        if let Some(callee) = self.callee.as_ref().filter(|_| !to_callee.is_empty()) {
            told.push((callee.clone(), to_callee));
        }
        told
    }

    /// What the chain has by the call: what it brings, and where an agent is called, what its caller knew.
    pub fn of_chain(&self, known: &[Collected]) -> Vec<Collected> {
        let mut labels: Vec<Collected> = if self.callee.is_some() { known.to_vec() } else { Vec::new() };
        let had: BTreeSet<Arc<str>> = labels.iter().map(|one| one.label.clone()).collect();
        labels.extend(self.brings.iter().filter(|one| !had.contains(&one.label)).cloned());
        labels
    }
}

impl Taken {
    /// Of a call of this chain by `caller`, nothing yet.
    pub fn of(chain: &Chain, caller: &EntityId) -> Self {
        Self {
            transaction: chain.transaction.clone(),
            began_by: chain.began_by(caller).clone(),
            started: chain.started,
            continues: !chain.actors.is_empty(),
            began_elsewhere: chain.began_elsewhere(),
            counted: None,
            fan_out: None,
            flow: None,
        }
    }

    /// Whether it is nothing.
    pub const fn is_nothing(&self) -> bool {
        self.counted.is_none() && self.fan_out.is_none() && self.flow.is_none()
    }

    /// Whether the chain itself has a state: somebody may go on with it.
    pub fn has_chain(&self) -> bool {
        self.continues
            || self.counted.is_some()
            || self.flow.as_ref().is_some_and(|flow| flow.callee.is_some())
    }
}

/// The agent that a call goes to, if it goes to one.
pub fn callee(destination: &Destination) -> Option<&EntityId> {
    match destination {
        Destination::Agent(agent) => Some(&agent.id),
        Destination::Server(_) | Destination::Provider(_) => None,
    }
}
