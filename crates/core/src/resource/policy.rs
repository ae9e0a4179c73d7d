//! `Policy`.

use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Document;
use super::crd::Status;
use super::field::name;
use super::limit::{Limit, LimitSpec};
use super::own_guard::{GuardSpec, OwnGuard};
use super::plan::Plan;
use super::problem::{At, Fault, Problems};
use super::window::{Window, WindowSpec};
use super::*;

/// The namespace of built-in policies: an id below it, such as `vidimus/quarantine`, is never that of a `Policy` object.
pub const RESERVED_NAMESPACE: &str = "vidimus";

/// The built-in policies that `spec.replaces` may name: those of the authority classes.
pub const REPLACEABLE: [&str; 2] = ["vidimus/advise", "vidimus/act-with-approval"];

/// How far a policy reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Scope {
    /// It governs resources of its own namespace only.
    #[default]
    Namespace,
    /// It governs everything, and says so.
    Cluster,
}

/// Whether a policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It is only tried: it neither allows nor refuses, and records say what it would have changed.
    Observe,
    /// Its namespace observes: what no other policy permits, and it does, passes until the end of its window, and records say that it would be
    /// refused.
    Rollout,
}

/// The namespaces whose objects may bear the names by which a policy grants something, beside those of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members(BTreeSet<Arc<str>>);

impl Members {
    /// Stands for every namespace.
    pub const ALL: &str = "*";

    /// Whether objects of every namespace may.
    pub fn are_all(&self) -> bool {
        self.0.contains(Self::ALL)
    }

    /// All of them with the policy's own, sorted; `None` when that is every namespace.
    pub(crate) fn with(&self, own: &str) -> Option<Vec<Arc<str>>> {
        let mut all = self.0.clone();
        all.insert(own.into());
        (!self.are_all()).then(|| all.into_iter().collect())
    }

    /// As in `spec.members`, sorted.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl<'a> FromIterator<&'a str> for Members {
    fn from_iter<T: IntoIterator<Item = &'a str>>(namespaces: T) -> Self {
        Self(namespaces.into_iter().map(Arc::from).collect())
    }
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
    /// Whether it decides.
    pub mode: Mode,
    /// The built-in policies that are not in force beside it, by their ids.
    pub replaces: Names,
    /// Whose objects may bear the names that it uses.
    pub members: Members,
    /// When what it permits is permitted; at all times where there is none, as of most.
    pub window: Option<Box<Window>>,
    /// Which calls it permits of those that it would; all of them where there is none.
    pub plan: Option<Plan>,
    /// What calls may take that its forbids with `@limit` are about.
    pub limits: Arc<[Arc<Limit>]>,
    /// The guards that its forbids may wait for, beside those that are built in.
    pub guards: Arc<[Arc<OwnGuard>]>,
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
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.mode) || self.mode != 'rollout' || !has(self.scope) || self.scope == 'Namespace'",
        "message": "a rollout is of its own namespace",
    },
    {
        "rule": "!has(self.mode) || self.mode != 'rollout' || (has(self.window) && has(self.window.until))",
        "message": "a rollout ends by itself: it needs window.until",
    },
    {
        "rule": "!has(self.limits) || self.limits.size() == 0 || !has(self.mode) || self.mode == 'enforce'",
        "message": "only a policy that decides has limits: nothing is counted for one that is tried, or rolled out",
    },
]))]
pub struct PolicySpec {
    /// What it does, in a sentence that an auditor understands.
    #[schemars(length(min = 1, max = 1024))]
    pub description: String,
    /// How far it reaches: resources of its own namespace (Namespace, when it is left out), or everything (Cluster).
    #[serde(default)]
    pub scope: Scope,
    /// Whether it decides (enforce, when it is left out), or is only tried (observe): then it neither allows nor refuses, and the record of
    /// each call says what it would have changed. With rollout its namespace observes until the end of its window: what no other policy permits,
    /// and it does, passes, and the record says would_refuse. It forbids nothing, and opens nothing that something else forbids.
    #[serde(default)]
    pub mode: Mode,
    /// Built-in policies that it takes the place of: vidimus/advise, vidimus/act-with-approval. Only of a policy with scope: Cluster
    /// that decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 64)))]
    pub replaces: Vec<String>,
    /// Namespaces whose objects may bear the names (groups, teams, classes, sets) by which it grants something, beside those of its
    /// own; '*' is every namespace. A name that is written with its namespace, as in Group::"finance/agents", needs no grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::members_schema")]
    pub members: Vec<String>,
    /// When what it permits is permitted (at all times, when it is left out). What it forbids is forbidden at all times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// The steps of a plan, each as `vidimus policy plan` prints it: the digest of one tool with exactly its arguments. Of what it permits, which
    /// has to be invokeTool alone, only these calls are permitted (all, when it is left out). What it forbids is forbidden whatever the
    /// plan is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(max = 71)))]
    pub plan: Option<Vec<String>>,
    /// How much calls may take in a while. Which calls count for a limit is said by a forbid that carries @limit("name"): while there is room, it
    /// lets them pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub limits: Vec<LimitSpec>,
    /// Guards of its own: what is looked for in what calls say. Which calls wait for one is said by a forbid that carries @guard("name").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub guards: Vec<GuardSpec>,
    /// The Cedar policies.
    #[schemars(length(min = 1, max = 65_536))]
    pub cedar: String,
}

impl PolicySpec {
    /// That it replaces what can be replaced, everywhere, by something that is in force.
    fn check_replaces(&self, document: Document<'_>, problems: &mut Problems) {
        let at = document.spec();
        let at = at.key("replaces");
        for (index, id) in self.replaces.iter().enumerate() {
            let fault = if !REPLACEABLE.contains(&id.as_str()) {
                Fault::new(
                    "there is no built-in policy of this id that can be replaced",
                    "write vidimus/advise or vidimus/act-with-approval",
                )
            } else if self.scope != Scope::Cluster || self.mode != Mode::Enforce {
                Fault::new(
                    "a built-in policy is in force everywhere, and this one is not",
                    "only a policy with scope: Cluster that decides (mode: enforce) takes the place of one",
                )
            } else {
                continue;
            };
            problems.report(at.index(index), id, fault);
        }
    }

    /// That what is rolled out is of its own namespace, and has an end.
    fn check_rollout(&self, document: Document<'_>, problems: &mut Problems) {
        if self.mode != Mode::Rollout {
            return;
        }
        let at = document.spec();
        if self.scope != Scope::Namespace {
            let fault = Fault::new(
                "a rollout is of one namespace, and this one would be of all",
                "leave scope out, and write one in each namespace that observes",
            );
            problems.report(at.key("scope"), "Cluster", fault);
        }
        if self.window.as_ref().is_none_or(|window| window.until.is_none()) {
            let fault = Fault::new(
                "a rollout ends by itself, and this one says no end",
                "write window: { until: 2026-12-31T00:00:00Z }, the time from which the namespace enforces",
            );
            problems.report(at.key("window"), "", fault);
        }
    }

    /// That what has limits decides: for what is tried nothing is counted.
    fn check_limits(&self, document: Document<'_>, problems: &mut Problems) {
        if !self.limits.is_empty() && self.mode != Mode::Enforce {
            let fault = Fault::new(
                "only a policy that decides has limits: nothing is counted for one that is tried, or rolled out",
                "leave mode out, or put the limits into another policy",
            );
            problems.report(document.spec().key("limits"), "", fault);
        }
    }

    pub(super) fn check(self, meta: Meta, document: Document<'_>, problems: &mut Problems) -> Option<Policy> {
        if *meta.namespace == *RESERVED_NAMESPACE {
            let reason = "policies of this namespace are built in, and their ids reserved";
            let fix = "put it into another namespace; with scope: Cluster it governs everything from there";
            let at = At::Root;
            let at = at.key("metadata");
            problems.report(at.key("namespace"), RESERVED_NAMESPACE, Fault::new(reason, fix));
        }
        if self.cedar.trim().is_empty() {
            let fault = Fault::new(
                "there is no policy in it",
                "write Cedar: permit (principal, action, resource) when { … };",
            );
            problems.report(document.spec().key("cedar"), "", fault);
        }
        let at = document.spec();
        let at = at.key("members");
        for (index, namespace) in self.members.iter().enumerate().filter(|(_, one)| *one != Members::ALL) {
            problems.take(at.index(index), namespace, name::check_namespace(namespace));
        }
        self.check_replaces(document, problems);
        self.check_rollout(document, problems);
        self.check_limits(document, problems);
        let at = document.spec();
        let window = self.window.as_ref().and_then(|window| window.check(at.key("window"), problems));
        let plan = self.plan.as_deref().map(|steps| Plan::check(steps, at.key("plan"), problems));
        let limits = Limit::check_all(&self.limits, &meta, at.key("limits"), problems);
        let guards = OwnGuard::check_all(&self.guards, (&meta, document), at.key("guards"), problems);
        Some(Policy {
            meta,
            mode: self.mode,
            replaces: self.replaces.iter().map(|id| id.as_str().into()).collect(),
            members: self.members.iter().map(String::as_str).collect(),
            description: self.description.into(),
            scope: self.scope,
            window: window.map(Box::new),
            plan,
            limits,
            guards,
            cedar: self.cedar.into(),
        })
    }
}
