//! `ServiceIdentity`.

use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Document;
use super::crd::RunningStatus;
use super::field::{name, person};
use super::identity::{ActsForSpec, IdentitySpec, check_acts_for, check_identities};
use super::problem::{Fault, Problems};
use super::*;

/// A plain service or a person's client, checked. Cedar type `Service`.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its metadata and origin.
    pub meta: Meta,
    /// Its entity in Cedar: the kind, and `namespace/name`.
    pub id: EntityId,
    /// The person who answers for it (an e-mail address).
    pub owner: Arc<str>,
    /// The team it belongs to. Cedar: `.team`, and `in Team::"…"`.
    pub team: Arc<str>,
    /// What it can do. Cedar: `.capabilities`.
    pub capabilities: Names,
    /// How much harm it can do.
    pub risk_level: RiskLevel,
    /// Where it runs. Cedar: `.environment`.
    pub environment: Arc<str>,
    /// The groups it belongs to. Cedar: `principal in Group::"…"`.
    pub groups: Names,
    /// How it may prove itself; one call uses exactly one of them.
    pub identities: Vec<Identity>,
    /// The issuers whose people it may act for.
    pub acts_for: Vec<ActsFor>,
    /// Refused everywhere by a forbid on `principal.quarantined`.
    pub quarantined: bool,
}

/// A plain service, or a person's client: a principal under the same rules as an agent.
#[derive(Clone, CustomResource, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "vidimus.dev",
    version = "v1alpha1",
    kind = "ServiceIdentity",
    plural = "serviceidentities",
    root = "ServiceIdentityResource",
    namespaced,
    status = "RunningStatus",
    derive = "PartialEq",
    doc = "A plain service, or a person's client: a principal under the same rules as an agent.",
    shortname = "vservice",
    category = "vidimus",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Team", type_ = "string", json_path = ".spec.team"),
    printcolumn(name = "Risk", type_ = "string", json_path = ".spec.riskLevel"),
    printcolumn(name = "Quarantined", type_ = "boolean", json_path = ".spec.quarantined"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.instances.count"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceIdentitySpec {
    /// The e-mail address of the person who answers for the service. Never a team alias.
    #[schemars(schema_with = "person::schema")]
    pub owner: String,
    /// The team it belongs to. Cedar: principal.team, and principal in Team::"…".
    #[schemars(schema_with = "name::plain_schema")]
    pub team: String,
    /// What it can do. Cedar: principal.capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub capabilities: Vec<String>,
    /// How much harm it can do. medium when it is left out: neither trusted as low nor let through as high.
    #[serde(default = "RiskLevel::unassessed")]
    pub risk_level: RiskLevel,
    /// Where it runs. production when it is left out.
    #[serde(default = "production")]
    #[schemars(schema_with = "name::plain_schema")]
    pub environment: String,
    /// Groups it belongs to. Cedar: principal in Group::"…".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub groups: Vec<String>,
    /// How it may prove itself. Several may be listed; one call uses exactly one of them.
    #[schemars(length(min = 1, max = 16))]
    pub identities: Vec<IdentitySpec>,
    /// The issuers whose people it may act for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub acts_for: Vec<ActsForSpec>,
    /// Taken out of service: policies on principal.quarantined refuse it.
    #[serde(default)]
    pub quarantined: bool,
}

impl ServiceIdentitySpec {
    pub(super) fn check(
        self,
        meta: Meta,
        document: Document<'_>,
        problems: &mut Problems,
    ) -> Option<Service> {
        let spec = document.spec();
        problems.take(spec.key("owner"), &self.owner, person::check(&self.owner));
        plain(spec.key("team"), &self.team, problems);
        plain(spec.key("environment"), &self.environment, problems);
        if self.identities.is_empty() {
            let fault = Fault::new(
                "the service cannot prove itself",
                "list at least one of spiffe, oidc and serviceAccount",
            );
            problems.report(spec.key("identities"), "", fault);
        }
        Some(Service {
            id: EntityId::new(EntityKind::Service, meta.key()),
            capabilities: names(spec.key("capabilities"), &self.capabilities, problems),
            groups: names(spec.key("groups"), &self.groups, problems),
            identities: check_identities(&self.identities, &meta.namespace, spec.key("identities"), problems),
            acts_for: check_acts_for(&self.acts_for, spec.key("actsFor"), problems),
            owner: interned::text(&self.owner),
            team: interned::text(&self.team),
            risk_level: self.risk_level,
            environment: interned::text(&self.environment),
            quarantined: self.quarantined,
            meta,
        })
    }
}
