//! What another set of policies would have decided of the calls that were made: each with the facts that its record has, and by the
//! objects that were in force.

mod call;
mod run;
mod settled;
mod tally;
mod worlds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vidimus_core::snapshot::Snapshot;

pub(crate) use call::{Parts, principal, target};
pub use run::{Progress, compare, replay};
pub(crate) use run::{each_decision, was_allowed};

/// Which recorded calls are decided again, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayQuestion {
    /// Directory of the proposed resources. Where there is none, each call is decided again by the very configuration that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<PathBuf>,
    /// Whose agents, servers and providers count.
    pub objects: Objects,
    /// Who called: an Agent or ServiceIdentity, as in `search`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What was asked for, as in `search`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Before this time (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// Whose agents, servers and providers a replay is of. The policies are the proposed ones in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objects {
    /// Those that were in force when the call was made.
    #[default]
    InForce,
    /// The proposed ones.
    Proposed,
}

/// What becomes of recorded calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayAnswer {
    /// Calls in all.
    pub calls: Counts,
    /// The calls of each agent and tool that change or are not known, most first.
    pub edges: Vec<ReplayedEdge>,
    /// How many more edges there are of which calls change or are not known; those that are listed come before them.
    #[serde(default)]
    pub edges_left_out: usize,
    /// How many more edges there are of which all calls stay as they were.
    pub edges_that_stay: usize,
    /// The facts that records lack, each with the number of calls that depend on it, by their names in policies.
    pub lacking: BTreeMap<String, u64>,
    /// Configurations that decided and cannot be used, each with why.
    pub unusable: BTreeMap<String, String>,
    /// Configurations that another version of Vidimus kept, so that their digest cannot be compared.
    pub unverified: Vec<String>,
    /// Digest of the proposed configuration; `None` where there is none.
    pub proposed: Option<String>,
    /// What of the log could not be read: what it says was not replayed.
    pub damage: Vec<String>,
}

/// What becomes of some calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Allowed, and allowed again.
    pub stays_allowed: u64,
    /// Not allowed, and not allowed again, for whatever reason.
    pub stays_denied: u64,
    /// Allowed, and not any more.
    pub allow_to_deny: u64,
    /// Not allowed, and now allowed.
    pub deny_to_allow: u64,
    /// What it would be depends on what the record does not say.
    pub unknown: u64,
}

/// The calls of one principal to one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayedEdge {
    /// Who called.
    pub principal: String,
    /// The Cedar action.
    pub action: String,
    /// What was called.
    pub resource: String,
    /// What becomes of the calls.
    pub calls: Counts,
    /// The policies that decide where an outcome changes.
    pub policies: Vec<String>,
    /// Why calls are unknown: the facts that lack, or that the configuration is not kept.
    pub lacking: Vec<String>,
    /// A call whose outcome changes, or is not known, by its id.
    pub example: String,
}

impl Counts {
    /// All of them.
    pub const fn all(&self) -> u64 {
        self.stays() + self.flips() + self.unknown
    }

    /// Those that are decided as they were.
    pub const fn stays(&self) -> u64 {
        self.stays_allowed + self.stays_denied
    }

    /// Those that are decided otherwise.
    pub const fn flips(&self) -> u64 {
        self.allow_to_deny + self.deny_to_allow
    }

    fn add(&mut self, other: &Self) {
        let Self { stays_allowed, stays_denied, allow_to_deny, deny_to_allow, unknown } = other;
        self.stays_allowed += stays_allowed;
        self.stays_denied += stays_denied;
        self.allow_to_deny += allow_to_deny;
        self.deny_to_allow += deny_to_allow;
        self.unknown += unknown;
    }
}

impl ReplayAnswer {
    /// Whether every call is known to be decided as it was, and all were read.
    pub fn holds(&self) -> bool {
        self.calls.flips() == 0 && self.calls.unknown == 0 && self.damage.is_empty()
    }
}

/// By what recorded calls are decided again.
#[derive(Clone, Debug)]
pub enum By {
    /// By the configuration that decided each.
    Itself,
    /// By the policies of this one.
    Proposed(Arc<Snapshot>, Objects),
}

#[cfg(test)]
mod tests;
