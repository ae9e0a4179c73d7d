//! `Agent`.

use std::sync::Arc;

use super::*;

/// A registered agent, checked.
#[derive(Clone, Debug)]
pub struct Agent {
    pub meta: Meta,
    pub id: EntityId,
    /// A person (an e-mail address), never a team alias.
    pub owner: Arc<str>,
    pub team: Arc<str>,
    pub purpose: Arc<str>,
    pub version: Option<Arc<str>>,
    pub capabilities: Names,
    pub risk_level: RiskLevel,
    pub environment: Arc<str>,
    pub groups: Names,
    pub authority_class: AuthorityClass,
    /// Cedar: `principal in AgentClass::"…"`.
    pub sandbox_class: Option<Arc<str>>,
    pub delegation: DelegationLimits,
    pub identities: Vec<Identity>,
    pub acts_for: Vec<ActsFor>,
    /// Where others may call it over A2A.
    pub endpoint: Option<Endpoint>,
    /// Refused everywhere by a forbid on `principal.quarantined`.
    pub quarantined: bool,
}
