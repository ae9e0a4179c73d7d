//! `Agent`.

use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::card::CardSpec;
use super::check::Document;
use super::crd::RunningStatus;
use super::endpoint::{DEFAULT_TIMEOUT_MS, EndpointSpec, has_nothing_of_servers};
use super::field::{age, name, person};
use super::identity::{ActsForSpec, IdentitySpec, check_acts_for, check_identities};
use super::labels::LabelsSpec;
use super::llm_provider::{micro_units, price_schema};
use super::problem::{At, Fault, Problems};
use super::*;

/// A registered agent, checked.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its metadata and origin.
    pub meta: Meta,
    /// Its entity in Cedar: the kind, and `namespace/name`.
    pub id: EntityId,
    /// A person (an e-mail address), never a team alias.
    pub owner: Arc<str>,
    /// The team it belongs to. Cedar: `.team`, and `in Team::"…"`.
    pub team: Arc<str>,
    /// What it is for, in a sentence.
    pub purpose: Arc<str>,
    /// Version of the software, if one is given.
    pub version: Option<Arc<str>>,
    /// What it can do. Cedar: `.capabilities`.
    pub capabilities: Names,
    /// How much harm it can do.
    pub risk_level: RiskLevel,
    /// Where it runs. Cedar: `.environment`.
    pub environment: Arc<str>,
    /// The groups it belongs to. Cedar: `principal in Group::"…"`.
    pub groups: Names,
    /// Which level of autonomous decision it may exercise.
    pub authority_class: AuthorityClass,
    /// Whether its record says so; where it does not, no built-in policy keeps it to the class.
    pub authority_stated: bool,
    /// Cedar: `principal in AgentClass::"…"`.
    pub sandbox_class: Option<Arc<str>>,
    /// Limits on the chains of calls it takes part in.
    pub delegation: DelegationLimits,
    /// How it may prove itself; one call uses exactly one of them.
    pub identities: Vec<Identity>,
    /// The issuers whose people it may act for.
    pub acts_for: Vec<ActsFor>,
    /// Where others may call it over A2A. It is large, and many only call.
    pub endpoint: Option<Box<Endpoint>>,
    /// The public keys that sign its card, as a JWK Set; `None` where a card passes whoever signed it.
    pub card_keys: Option<Arc<str>>,
    /// What calling it does with information.
    pub labels: Labels,
    /// How far it is trusted, 0 to 100, if somebody assessed that. Cedar: `.trust_score`.
    pub trust_score: Option<u8>,
    /// Refused everywhere by a forbid on `principal.quarantined`.
    pub quarantined: bool,
}

/// An AI agent: who answers for it, what it is for, how it proves itself, and where others may call it.
#[derive(Clone, CustomResource, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "vidimus.dev",
    version = "v1alpha1",
    kind = "Agent",
    root = "AgentResource",
    namespaced,
    status = "RunningStatus",
    derive = "PartialEq",
    doc = "An AI agent: who answers for it, what it is for, how it proves itself, and where others may call it.",
    shortname = "vagent",
    category = "vidimus",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Team", type_ = "string", json_path = ".spec.team"),
    printcolumn(name = "Risk", type_ = "string", json_path = ".spec.riskLevel"),
    printcolumn(name = "Authority", type_ = "string", json_path = ".spec.authorityClass"),
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
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.endpoint) || (has(self.identities) && size(self.identities) > 0)",
    "message": "an agent needs an identity to call, or an endpoint to be called",
}]))]
pub struct AgentSpec {
    /// The e-mail address of the person who answers for the agent. Never a team alias.
    #[schemars(schema_with = "person::schema")]
    pub owner: String,
    /// The team it belongs to. Cedar: principal.team, and principal in Team::"…".
    #[schemars(schema_with = "name::plain_schema")]
    pub team: String,
    /// What it is for, in a sentence that an auditor understands.
    #[schemars(length(min = 1, max = 1024))]
    pub purpose: String,
    /// The version of the agent that is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "version_schema")]
    pub version: Option<String>,
    /// What it can do. Cedar: principal.capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub capabilities: Vec<String>,
    /// How much harm it can do. Has no default, since none is safe: one policy trusts the low, another the high.
    pub risk_level: RiskLevel,
    /// Where it runs. production when it is left out.
    #[serde(default = "production")]
    #[schemars(schema_with = "name::plain_schema")]
    pub environment: String,
    /// Groups it belongs to. Cedar: principal in Group::"…".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub groups: Vec<String>,
    /// Which level of autonomous decision it may exercise. Built-in policies keep an agent to what its class says: advise calls only tools
    /// that the server's record marks readOnly, and a person approves each other tool call of act-with-approval. When it is left
    /// out, policies see advise, the least, and no built-in policy is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_class: Option<AuthorityClass>,
    /// Its class of sandbox. Cedar: principal in AgentClass::"…".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name::plain_schema")]
    pub sandbox_class: Option<String>,
    /// Limits on the chains of calls it takes part in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<DelegationSpec>,
    /// How it may prove itself. Several may be listed; one call uses exactly one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub identities: Vec<IdentitySpec>,
    /// The issuers whose people it may act for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub acts_for: Vec<ActsForSpec>,
    /// Where others may call it over A2A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointSpec>,
    /// Who signs its card. A card that is not signed so, or says something else than was signed, is not passed on. Without it, nobody looks
    /// at who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardSpec>,
    /// What calling it does with information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSpec>,
    /// How far it is trusted, 0 to 100. Policies may only tighten by it. Cedar: principal.trust_score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub trust_score: Option<u8>,
    /// Taken out of service: policies on principal.quarantined refuse it.
    #[serde(default)]
    pub quarantined: bool,
}

/// Limits on chains of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelegationSpec {
    /// The deepest hop it may make; 1 is a call that nobody delegated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub max_depth: Option<u32>,
    /// How many distinct destinations (registered objects) it may reach in one chain that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_fan_out: Option<u32>,
    /// How many calls a chain may have when it makes one. One beyond ends the chain, as does one beyond any of the limits below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_calls: Option<u32>,
    /// How many tokens of models a chain may use in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000000u64))]
    pub max_tokens: Option<u64>,
    /// What the models of a chain may cost in all by the prices of their records, as a decimal in quotes: "5.00".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price_schema")]
    pub max_spend: Option<String>,
    /// How old a chain may be, counted from its first call: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "age::schema")]
    pub max_age: Option<String>,
    /// Whether it may call who acted in the chain before, or act in it again. true when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_cycles: Option<bool>,
}

impl DelegationSpec {
    fn check(&self, at: At<'_>, problems: &mut Problems) -> DelegationLimits {
        let spend = self.max_spend.as_ref();
        let max_spend = spend.and_then(|text| problems.take(at.key("maxSpend"), text, micro_units(text)));
        let age = self.max_age.as_ref();
        let max_age = age.and_then(|text| problems.take(at.key("maxAge"), text, age::check(text)));
        DelegationLimits {
            max_depth: self.max_depth,
            max_fan_out: self.max_fan_out,
            max_calls: self.max_calls,
            max_tokens: self.max_tokens,
            max_spend,
            max_age,
            no_cycles: self.allow_cycles == Some(false),
        }
    }
}

fn version_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 64})
}

impl AgentSpec {
    pub(super) fn check(self, meta: Meta, document: Document<'_>, problems: &mut Problems) -> Option<Agent> {
        let spec = document.spec();
        problems.take(spec.key("owner"), &self.owner, person::check(&self.owner));
        plain(spec.key("team"), &self.team, problems);
        plain(spec.key("environment"), &self.environment, problems);
        if let Some(class) = &self.sandbox_class {
            plain(spec.key("sandboxClass"), class, problems);
        }
        if self.identities.is_empty() && self.endpoint.is_none() {
            let fix = "list at least one of spiffe, oidc and serviceAccount, or give the endpoint where others call it";
            problems.report(
                spec.key("identities"),
                "",
                Fault::new("the agent can neither call nor be called", fix),
            );
        }
        let endpoint = self.endpoint.map(|endpoint| {
            has_nothing_of_servers(&endpoint, spec.key("endpoint"), problems);
            endpoint.check(document, DEFAULT_TIMEOUT_MS, spec.key("endpoint"), problems)
        });
        let delegation = self.delegation.unwrap_or_default().check(spec.key("delegation"), problems);
        let labels = self.labels.unwrap_or_default().check(spec.key("labels"), problems);
        let card_keys = self.card.and_then(|card| card.check(spec.key("card"), problems));
        Some(Agent {
            id: EntityId::new(EntityKind::Agent, meta.key()),
            capabilities: names(spec.key("capabilities"), &self.capabilities, problems),
            groups: names(spec.key("groups"), &self.groups, problems),
            identities: check_identities(&self.identities, &meta.namespace, spec.key("identities"), problems),
            acts_for: check_acts_for(&self.acts_for, spec.key("actsFor"), problems),
            endpoint: endpoint.flatten().map(Box::new),
            card_keys,
            owner: interned::text(&self.owner),
            team: interned::text(&self.team),
            purpose: interned::text(&self.purpose),
            version: self.version.map(Into::into),
            risk_level: self.risk_level,
            environment: interned::text(&self.environment),
            authority_class: self.authority_class.unwrap_or(AuthorityClass::least()),
            authority_stated: self.authority_class.is_some(),
            sandbox_class: self.sandbox_class.as_deref().map(interned::text),
            delegation,
            labels,
            trust_score: self.trust_score,
            quarantined: self.quarantined,
            meta,
        })
    }
}
