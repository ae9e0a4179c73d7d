//! What is registered: the five kinds, checked. The raw forms, which are also the CRDs, are in the files below.
//!
//! A document becomes an [`Object`] in three steps: its shape is held against the CRD's schema (`shape`), it is read
//! into the raw type (`AgentSpec`…), and each value is checked ([`field`]). [`check()`] reports all that is wrong, not
//! only the first.

#![expect(
    clippy::duplicated_attributes,
    reason = "clippy takes the parts of several `printcolumn(…)` for one list of attributes"
)]

pub mod agent;
pub mod check;
pub mod crd;
pub mod endpoint;
pub mod field;
pub mod identity;
pub mod llm_provider;
pub mod mcp_server;
pub mod policy;
mod problem;
pub mod service_identity;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entity::{EntityId, EntityKind};
use problem::{At, Problems};

pub use agent::Agent;
pub use check::check;
pub use crd::crds;
pub use endpoint::Endpoint;
pub use field::web_url::why_not_called;
pub use identity::{ActsFor, Identity};
pub use llm_provider::LlmProvider;
pub use mcp_server::McpServer;
pub use policy::Policy;
pub use service_identity::Service;

/// The API group and version of the five kinds.
pub const API_VERSION: &str = "vidimus.dev/v1alpha1";

/// Where an object came from, for messages. All parts are for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// A file path, or the name of a cluster.
    pub source: Arc<str>,
    /// Line in the file at which the object's document begins, 1-based; 0 when it has none.
    pub line: u32,
}

/// The identity of an object: `metadata.namespace` and `metadata.name`, with its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `metadata.labels`; Cedar tags on the entity.
    pub labels: BTreeMap<String, String>,
    pub origin: Origin,
}

impl Meta {
    /// `namespace/name`, the Cedar id of the object.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Ordered: `Low < Medium < High < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RiskLevel {
    Low,
    Medium,
    High,
    Critical,
}

impl RiskLevel {
    /// The text in resources and in Cedar (`principal.risk_level`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The level of what nobody assessed and need not: neither trusted as low nor let through as high.
    const fn unassessed() -> Self {
        Self::Medium
    }

    /// The number for comparison in Cedar (`principal.risk`), 1 to 4.
    pub const fn rank(self) -> i64 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
            Self::Critical => 4,
        }
    }
}

/// Which level of autonomous decision an agent may exercise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityClass {
    Advise,
    ActWithApproval,
    Act,
    SelfModify,
}

impl AuthorityClass {
    const fn least() -> Self {
        Self::Advise
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advise => "advise",
            Self::ActWithApproval => "act-with-approval",
            Self::Act => "act",
            Self::SelfModify => "self-modify",
        }
    }
}

/// Limits on chains that an agent takes part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelegationLimits {
    /// The deepest hop (1 = a call nobody delegated) this agent may make.
    pub max_depth: Option<u32>,
    /// How many distinct destinations (registered objects) this agent may reach in one chain that it continues.
    pub max_fan_out: Option<u32>,
}

/// A registered principal: what a caller can be.
#[derive(Clone)]
pub enum Principal {
    Agent(Arc<Agent>),
    Service(Arc<Service>),
}

impl Principal {
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Agent(agent) => &agent.meta,
            Self::Service(service) => &service.meta,
        }
    }

    pub fn id(&self) -> EntityId {
        match self {
            Self::Agent(agent) => agent.id.clone(),
            Self::Service(service) => service.id.clone(),
        }
    }

    pub fn entity(&self) -> &EntityId {
        match self {
            Self::Agent(agent) => &agent.id,
            Self::Service(service) => &service.id,
        }
    }

    pub fn acts_for(&self) -> &[ActsFor] {
        match self {
            Self::Agent(agent) => &agent.acts_for,
            Self::Service(service) => &service.acts_for,
        }
    }

    pub fn identities(&self) -> &[Identity] {
        match self {
            Self::Agent(agent) => &agent.identities,
            Self::Service(service) => &service.identities,
        }
    }

    pub fn kind(&self) -> EntityKind {
        self.entity().kind
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.entity())
    }
}

/// One checked object of any kind.
#[derive(Clone, Debug)]
pub enum Object {
    Agent(Arc<Agent>),
    McpServer(Arc<McpServer>),
    LlmProvider(Arc<LlmProvider>),
    Service(Arc<Service>),
    Policy(Arc<Policy>),
}

/// One object, or one document, that was left out, and why. Everything else stays live.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// File (or cluster) of the object.
    pub source: String,
    /// Line of the document in the file, 1-based; 0 when unknown.
    pub line: u32,
    /// `Kind namespace/name` as far as it could be read.
    pub object: String,
    /// Path of the field in the object: `spec.identities[1].oidc.issuer`. Empty for the object itself.
    pub field: String,
    /// The value found, shortened to 120 characters; never the value of a secret.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: String,
}

/// Names a set, group, class or team: plain, without a namespace.
pub type Names = BTreeSet<Arc<str>>;

/// The environment of an object that names none: the one in which most care is due.
fn production() -> String {
    "production".to_owned()
}

/// Reports a text that is not a plain name.
fn plain(at: At<'_>, text: &str, problems: &mut Problems) {
    problems.take(at, text, field::name::check_plain(text));
}

/// The set of plain names; what is not one is reported.
fn names(at: At<'_>, list: &[String], problems: &mut Problems) -> Names {
    for (index, text) in list.iter().enumerate() {
        plain(at.index(index), text, problems);
    }
    list.iter().map(|text| text.as_str().into()).collect()
}

#[cfg(test)]
mod tests;
