//! What is registered: the five kinds, checked. The raw forms, which are also the CRDs, are in the files below.
//!
//! A document becomes an [`Object`] in three steps: its shape is held against the CRD's schema (`shape`), it is read
//! into the raw type (`AgentSpec`…), and each value is checked ([`field`]). [`check()`] reports all that is wrong, not
//! only the first.

#![expect(
    clippy::duplicated_attributes,
    reason = "clippy takes the parts of several `printcolumn(…)` for one list of attributes"
)]

pub mod a2a_version;
pub mod agent;
pub mod agent_tool;
pub mod api_key;
pub mod card;
pub mod check;
pub mod crd;
mod credential;
mod editor;
pub mod endpoint;
pub mod era;
pub mod field;
pub mod grpc;
pub mod identity;
pub mod integrity;
pub mod job;
pub mod labels;
pub mod limit;
pub mod llm_provider;
pub mod mcp_server;
pub mod members;
pub mod openapi;
pub mod own_guard;
pub mod plan;
pub mod policy;
mod problem;
mod reference;
mod rejection;
pub mod service_identity;
mod shape;
pub mod stale;
pub mod window;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entity::{EntityId, EntityKind};
use crate::interned;
use problem::Problems;

pub use a2a_version::A2aVersion;
pub use agent::Agent;
pub use agent_tool::{AgentTool, AgentTools, Sends};
pub use check::{check, check_again, check_as};
pub use crd::crds;
pub use editor::editor_schema;
pub use endpoint::{Endpoint, HeaderRules};
pub use era::Era;
pub use field::network::{Network, NotANetwork};
pub use field::special_purpose::{may_be_allowed, reached, why_not_called};
pub use grpc::{Grpc, GrpcTool};
pub use identity::{ActsFor, Identity};
pub use integrity::{Integrity, Unpinned};
pub use job::{Egress, Job, JobTool};
pub use labels::{Labels, ServerLabels};
pub use limit::Limit;
pub use llm_provider::LlmProvider;
pub use mcp_server::McpServer;
pub use members::{Member, Members, WhenDown};
pub use openapi::Api;
pub use own_guard::OwnGuard;
pub use policy::Policy;
pub(crate) use problem::At;
pub(crate) use reference::ObjectKey;
pub use reference::{Kind, ObjectRef, Origin};
pub use rejection::{Rejection, Subject};
pub use service_identity::Service;
pub use shape::nearest;

/// The API group and version of the five kinds.
pub const API_VERSION: &str = "vidimus.dev/v1alpha1";

/// What stands in an object's `metadata`, and where the object was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.namespace`; `default` when it is left out.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`; Cedar tags on the entity.
    pub labels: BTreeMap<String, String>,
    /// `metadata.generation`: a cluster counts the versions of an object's spec. `None` for what a person wrote.
    pub generation: Option<i64>,
    /// When a cluster's API server made the object, in s since 1970; nobody else can say that, so it is `None` of what was read elsewhere.
    pub created: Option<i64>,
    /// Where the object was read.
    pub origin: Origin,
    /// What was written of it, as JSON in one form: kind, name, labels and spec, and nothing else that a document may have. Empty where
    /// the object was not read from one.
    pub document: Arc<str>,
    /// Of the names that it gives itself, those that its namespace may not bear.
    pub not_borne: NotBorne,
}

/// Names that an object gives itself and may not bear, by their types in policies: `Group`, `Team`, `AgentClass`, `ToolSet`, `ModelSet`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotBorne(Option<Arc<BTreeSet<Typed>>>);

/// A type, and a name of that type.
type Typed = (&'static str, Arc<str>);

impl NotBorne {
    /// Whether there is one.
    pub const fn has_any(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a name is one of them.
    pub fn has(&self, of: &'static str, name: &Arc<str>) -> bool {
        self.0.as_ref().is_some_and(|all| all.contains(&(of, name.clone())))
    }
}

impl From<BTreeSet<Typed>> for NotBorne {
    fn from(all: BTreeSet<Typed>) -> Self {
        Self((!all.is_empty()).then(|| Arc::new(all)))
    }
}

/// Only what is configured: neither the origin nor how often an object was written makes another configuration, and the digest
/// of a snapshot is made of this form.
impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, labels, generation: _, created: _, origin: _, document: _, not_borne: _ } =
            self;
        f.debug_struct("Meta")
            .field("namespace", namespace)
            .field("name", name)
            .field("labels", labels)
            .finish_non_exhaustive()
    }
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

    /// The text in resources and in Cedar (`principal.authority_class`).
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DelegationLimits {
    /// The deepest hop (1 = a call nobody delegated) this agent may make.
    pub max_depth: Option<u32>,
    /// How many distinct destinations (registered objects) this agent may reach in one chain that it continues.
    pub max_fan_out: Option<u32>,
    /// How many calls a chain may have when this agent makes one, with that one. A call beyond ends the chain, as do the following.
    pub max_calls: Option<u32>,
    /// How many tokens of models a chain may use.
    pub max_tokens: Option<u64>,
    /// What a chain may cost, in millionths of the currency unit.
    pub max_spend: Option<u64>,
    /// How old a chain may be, in milliseconds.
    pub max_age: Option<u64>,
    /// A call by who acted in the chain before, or to such an agent, ends the chain.
    pub no_cycles: bool,
}

impl DelegationLimits {
    /// Whether a call beyond some limit ends its chain.
    pub const fn ends_chains(&self) -> bool {
        self.counts_chains() || self.max_age.is_some() || self.no_cycles
    }

    /// Whether some limit is about what has to be counted of a whole chain.
    pub const fn counts_chains(&self) -> bool {
        self.max_calls.is_some() || self.counts_tokens()
    }

    /// Whether some limit is about what the models of a chain use.
    pub const fn counts_tokens(&self) -> bool {
        self.max_tokens.is_some() || self.max_spend.is_some()
    }
}

/// A registered principal: what a caller can be.
#[derive(Clone)]
pub enum Principal {
    Agent(Arc<Agent>),
    Service(Arc<Service>),
}

impl Principal {
    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Agent(agent) => &agent.meta,
            Self::Service(service) => &service.meta,
        }
    }

    /// The team that it is of.
    pub fn team(&self) -> &Arc<str> {
        match self {
            Self::Agent(agent) => &agent.team,
            Self::Service(service) => &service.team,
        }
    }

    /// What its object is called by.
    pub fn reference(&self) -> ObjectRef {
        let kind = match self {
            Self::Agent(_) => Kind::Agent,
            Self::Service(_) => Kind::ServiceIdentity,
        };
        ObjectRef::new(kind, self.meta())
    }

    /// Its entity in Cedar.
    pub fn id(&self) -> EntityId {
        match self {
            Self::Agent(agent) => agent.id.clone(),
            Self::Service(service) => service.id.clone(),
        }
    }

    /// As [`Principal::id`], borrowed.
    pub fn entity(&self) -> &EntityId {
        match self {
            Self::Agent(agent) => &agent.id,
            Self::Service(service) => &service.id,
        }
    }

    /// The issuers whose people it may act for.
    pub fn acts_for(&self) -> &[ActsFor] {
        match self {
            Self::Agent(agent) => &agent.acts_for,
            Self::Service(service) => &service.acts_for,
        }
    }

    /// Whether it may act for people of an issuer.
    pub fn may_act_for(&self, issuer: &str) -> bool {
        self.acts_for().iter().any(|acts| *acts.issuer == *issuer)
    }

    /// How it may prove itself.
    pub fn identities(&self) -> &[Identity] {
        match self {
            Self::Agent(agent) => &agent.identities,
            Self::Service(service) => &service.identities,
        }
    }

    /// Agent or service.
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

impl Object {
    /// Which of the five it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::Agent,
            Self::McpServer(_) => Kind::McpServer,
            Self::LlmProvider(_) => Kind::LlmProvider,
            Self::Service(_) => Kind::ServiceIdentity,
            Self::Policy(_) => Kind::Policy,
        }
    }

    /// Its metadata and origin.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Agent(agent) => &agent.meta,
            Self::McpServer(server) => &server.meta,
            Self::LlmProvider(provider) => &provider.meta,
            Self::Service(service) => &service.meta,
            Self::Policy(policy) => &policy.meta,
        }
    }

    /// What it is called by.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::new(self.kind(), self.meta())
    }

    /// Whether both are one object in memory, and so the same in every part. Two that are not may still say the same.
    pub fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Agent(one), Self::Agent(other)) => Arc::ptr_eq(one, other),
            (Self::McpServer(one), Self::McpServer(other)) => Arc::ptr_eq(one, other),
            (Self::LlmProvider(one), Self::LlmProvider(other)) => Arc::ptr_eq(one, other),
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other),
            (Self::Policy(one), Self::Policy(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
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
    list.iter().map(|text| interned::text(text)).collect()
}

#[cfg(test)]
mod tests;
