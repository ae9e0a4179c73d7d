//! The CustomResourceDefinitions, generated from the raw types.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::AgentResource;
use super::llm_provider::LlmProviderResource;
use super::mcp_server::McpServerResource;
use super::policy::PolicyResource;
use super::service_identity::ServiceIdentityResource;

/// What the control plane says about an object.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the object that the conditions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted (it is good), Programmed (it is in force) and Ready (both).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What the control plane says about an object that pods may run as.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningStatus {
    /// The generation of the object that the conditions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed, Ready; and Running, where pods are watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The pods that run as it, where pods are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Instances>,
    /// Its last call, where pods are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call: Option<LastCall>,
}

/// The pods that run as an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instances {
    /// How many there are, those among them that do not run yet.
    pub count: i64,
    /// The oldest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<RunningPod>,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningPod {
    /// The images of its containers, with digests where its node says them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Pending, Running or Unknown.
    pub phase: String,
    /// When its node took it up, or it was made where none has yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// What tells it from its siblings, as in context.instance.
    pub uid: String,
    /// Its label app.kubernetes.io/version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The last call of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastCall {
    /// The replica that saw it; another one may have seen a later one.
    pub gateway: String,
    /// Which of its identities it used.
    pub identity: String,
    /// Which copy called, where its credential says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When; it is written once a minute at most.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
}

/// The CRDs of the five kinds, in the order in which the documentation speaks of them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        AgentResource::crd(),
        McpServerResource::crd(),
        LlmProviderResource::crd(),
        ServiceIdentityResource::crd(),
        PolicyResource::crd(),
    ];
    for crd in &mut crds {
        for version in &mut crd.spec.versions {
            if let Some(schema) =
                version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                tighten(schema);
            }
        }
    }
    crds
}

/// The schema of an object of `kind`, or `None` when there is no such kind.
pub(super) fn schema(kind: &str) -> Option<&'static JSONSchemaProps> {
    static CRDS: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(crds);
    let crd = CRDS.iter().find(|crd| crd.spec.names.kind == kind)?;
    crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()
}

/// `field: null` is a mistake more often than a way to leave a field out, and formats such as `uint32` mean nothing to
/// Kubernetes but a warning.
fn tighten(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.format = schema.format.take().filter(|format| !format.starts_with("uint"));
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tighten(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(each)) = &mut schema.items {
        tighten(each);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(each)) = &mut schema.additional_properties {
        tighten(each);
    }
}
