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
