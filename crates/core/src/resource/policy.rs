//! `Policy`.

use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Document;
use super::crd::Status;
use super::problem::{Fault, Problems};
use super::*;

/// How far a policy reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Scope {
    /// It governs resources of its own namespace only.
    #[default]
    Namespace,
    /// It governs everything, and says so.
    Cluster,
}

/// A policy object: Cedar text not yet compiled. [`crate::snapshot::Snapshot::build`] compiles it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its metadata and origin.
    pub meta: Meta,
    /// What it does, in a sentence that an auditor understands.
    pub description: Arc<str>,
    /// How far it reaches.
    pub scope: Scope,
    /// One or more Cedar policies. The id of the only one is `namespace/name`; of several `namespace/name#N` (from 0) or `namespace/name#<@id>`.
    pub cedar: Arc<str>,
}

/// One or more Cedar policies, and a sentence that says what they do.
#[derive(Clone, CustomResource, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "vidimus.dev",
    version = "v1alpha1",
    kind = "Policy",
    root = "PolicyResource",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "One or more Cedar policies, and a sentence that says what they do.",
    shortname = "vpol",
    category = "vidimus",
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// What it does, in a sentence that an auditor understands.
    #[schemars(length(min = 1, max = 1024))]
    pub description: String,
    /// How far it reaches: resources of its own namespace (Namespace, when it is left out), or everything (Cluster).
    #[serde(default)]
    pub scope: Scope,
    /// The Cedar policies.
    #[schemars(length(min = 1, max = 65_536))]
    pub cedar: String,
}

impl PolicySpec {
    pub(super) fn check(self, meta: Meta, document: Document<'_>, problems: &mut Problems) -> Option<Policy> {
        if self.cedar.trim().is_empty() {
            let fault = Fault::new(
                "there is no policy in it",
                "write Cedar: permit (principal, action, resource) when { … };",
            );
            problems.report(document.spec().key("cedar"), "", fault);
        }
        Some(Policy {
            meta,
            description: self.description.into(),
            scope: self.scope,
            cedar: self.cedar.into(),
        })
    }
}
