//! `ServiceIdentity`.

use std::sync::Arc;

use super::*;

/// A plain service or a person's client, checked. Cedar type `Service`.
#[derive(Clone, Debug)]
pub struct Service {
    pub meta: Meta,
    pub id: EntityId,
    pub owner: Arc<str>,
    pub team: Arc<str>,
    pub capabilities: Names,
    pub risk_level: RiskLevel,
    pub environment: Arc<str>,
    pub groups: Names,
    pub identities: Vec<Identity>,
    pub acts_for: Vec<ActsFor>,
    pub quarantined: bool,
}
