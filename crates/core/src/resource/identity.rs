//! How a principal proves itself, and for whose people it may act.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::field::{issuer, name, spiffe_id};
use super::problem::{At, Fault, Problems};
use crate::interned;

/// One way in which a principal may prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A SPIFFE ID, proven by an X.509-SVID or a JWT-SVID.
    Spiffe(Arc<str>),
    /// A subject of an OIDC issuer; `claims` must all be present with these values.
    Oidc { issuer: Arc<str>, subject: Arc<str>, claims: BTreeMap<String, String> },
    /// A Kubernetes ServiceAccount; the issuer is the cluster's.
    ServiceAccount { namespace: Arc<str>, name: Arc<str> },
}

/// The issuers whose people a principal may act for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActsFor {
    /// The issuer (`iss`) of the people's tokens.
    pub issuer: Arc<str>,
}

/// One identity: exactly one of spiffe, oidc and serviceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.spiffe), has(self.oidc), has(self.serviceAccount)].filter(given, given).size() == 1",
    "message": "give exactly one of spiffe, oidc and serviceAccount",
}]))]
pub struct IdentitySpec {
    /// A SPIFFE ID, as in spiffe://corp.example/ns/finance/sa/invoice-bot: proven by an X.509-SVID or a JWT-SVID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "spiffe_id::schema")]
    pub spiffe: Option<String>,
    /// A subject of an OpenID Connect issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcSpec>,
    /// A Kubernetes ServiceAccount: proven by its projected token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountSpec>,
}

/// A subject of an OpenID Connect issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcSpec {
    /// The issuer exactly as it stands in its tokens (iss): an https URL, http on loopback, or urn:vidimus:local.
    #[schemars(schema_with = "issuer::schema")]
    pub issuer: String,
    /// The subject (sub) exactly as it stands in the tokens.
    #[schemars(length(min = 1, max = 255))]
    pub subject: String,
    /// Claims that must be present with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "claims_schema")]
    pub claims: BTreeMap<String, String>,
}

fn claims_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

/// A Kubernetes ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountSpec {
    /// The name of the ServiceAccount.
    #[schemars(length(min = 1, max = 253), pattern("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Its namespace; that of the object when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "namespace_schema")]
    pub namespace: Option<String>,
}

fn namespace_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
    })
}

/// An issuer whose people the principal may act for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActsForSpec {
    /// The issuer of the people's tokens.
    #[schemars(schema_with = "issuer::schema")]
    pub issuer: String,
}

/// The checked identities; a faulty one is reported and left out.
pub(crate) fn check_identities(
    specs: &[IdentitySpec],
    namespace: &str,
    at: At<'_>,
    problems: &mut Problems,
) -> Vec<Identity> {
    let mut identities: Vec<Identity> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = at.index(index);
        let Some(identity) = check_identity(spec, namespace, at, problems) else { continue };
        if let Some(first) = identities.iter().position(|earlier| earlier.is_same_credential(&identity)) {
            let reason = format!("the same credential as identity {first} of this object");
            problems.report(at, "", Fault::new(reason, "list every identity once"));
        } else {
            identities.push(identity);
        }
    }
    identities
}

impl Identity {
    /// Claims do not tell two identities apart: the same token would prove both.
    pub(crate) fn is_same_credential(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Oidc { issuer, subject, .. }, Self::Oidc { issuer: i, subject: s, .. }) => {
                issuer == i && subject == s
            }
            _ => self == other,
        }
    }
}

fn check_identity(
    spec: &IdentitySpec,
    namespace: &str,
    at: At<'_>,
    problems: &mut Problems,
) -> Option<Identity> {
    match (&spec.spiffe, &spec.oidc, &spec.service_account) {
        (Some(id), None, None) => {
            problems.take(at.key("spiffe"), id, spiffe_id::check(id))?;
            Some(Identity::Spiffe(id.as_str().into()))
        }
        (None, Some(oidc), None) => check_oidc(oidc, at.key("oidc"), problems),
        (None, None, Some(account)) => {
            check_service_account(account, namespace, at.key("serviceAccount"), problems)
        }
        (None, None, None) => {
            problems.report(
                at,
                "",
                Fault::new("names no identity", "give one of spiffe, oidc and serviceAccount"),
            );
            None
        }
        _ => {
            let fault = Fault::new(
                "names more than one identity",
                "make each of spiffe, oidc and serviceAccount an entry of its own",
            );
            problems.report(at, "", fault);
            None
        }
    }
}

fn check_oidc(spec: &OidcSpec, at: At<'_>, problems: &mut Problems) -> Option<Identity> {
    problems.take(at.key("issuer"), &spec.issuer, issuer::check(&spec.issuer))?;
    Some(Identity::Oidc {
        issuer: interned::text(&spec.issuer),
        subject: spec.subject.as_str().into(),
        claims: spec.claims.clone(),
    })
}

fn check_service_account(
    spec: &ServiceAccountSpec,
    own_namespace: &str,
    at: At<'_>,
    problems: &mut Problems,
) -> Option<Identity> {
    let namespace = spec.namespace.as_deref().unwrap_or(own_namespace);
    let name = problems.take(at.key("name"), &spec.name, name::check_object_name(&spec.name));
    if spec.namespace.is_some() {
        problems.take(at.key("namespace"), namespace, name::check_namespace(namespace))?;
    }
    name.map(|()| Identity::ServiceAccount {
        namespace: interned::text(namespace),
        name: spec.name.as_str().into(),
    })
}

/// The checked issuers; a faulty or repeated one is reported and left out.
pub(crate) fn check_acts_for(specs: &[ActsForSpec], at: At<'_>, problems: &mut Problems) -> Vec<ActsFor> {
    let mut issuers: Vec<ActsFor> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = at.index(index);
        let acts_for = ActsFor { issuer: interned::text(&spec.issuer) };
        if issuers.contains(&acts_for) {
            problems.report(
                at.key("issuer"),
                &spec.issuer,
                Fault::new("the issuer is listed twice", "list every issuer once"),
            );
        } else if problems.take(at.key("issuer"), &spec.issuer, issuer::check(&spec.issuer)).is_some() {
            issuers.push(acts_for);
        }
    }
    issuers
}
