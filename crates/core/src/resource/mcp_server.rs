//! `MCPServer`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent_tool::AgentToolsSpec;
use super::check::Document;
use super::crd::Status;
use super::endpoint::{DEFAULT_TIMEOUT_MS, EndpointSpec, has_no_card};
use super::field::{name, person};
use super::grpc::GrpcSpec;
use super::integrity::{Integrity, IntegritySpec};
use super::job::JobSpec;
use super::labels::LabelsSpec;
use super::members::{self, MemberSpec, Members, WhenDown};
use super::openapi::OpenApiSpec;
use super::problem::{At, Fault, Problems};
use super::*;

/// A registered MCP server, checked.
#[derive(Clone, Debug)]
pub struct McpServer {
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
    /// Where it is called; a job where each call runs as one, and an address that nothing is reached by where it has members.
    pub endpoint: Endpoint,
    /// The servers that it stands for; `None` where it is one itself.
    pub members: Option<Members>,
    /// Set name → tool names. Cedar: `resource in ToolSet::"…"`.
    pub tool_sets: BTreeMap<Arc<str>, Names>,
    /// What is known of single tools; a tool not listed takes the server's risk and is assumed destructive.
    pub tools: BTreeMap<Arc<str>, Tool>,
    /// What calling it does with information.
    pub labels: ServerLabels,
    /// What its tools are; `None` where they may be anything.
    pub integrity: Option<Integrity>,
}

/// What a registration says of one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// How much harm a call of it can do. Cedar: `resource.risk_level`.
    pub risk_level: RiskLevel,
    /// A call of it changes nothing. Cedar: `resource.read_only`.
    pub read_only: bool,
    /// A call of it may destroy something. Cedar: `resource.destructive`.
    pub destructive: bool,
    /// It may be called with arguments that policies cannot see exactly (ADR 25).
    pub unseen_arguments: bool,
}

impl McpServer {
    /// What is known of `tool`, or the careful default (MCP: `readOnlyHint` false, `destructiveHint` true).
    pub fn tool(&self, tool: &str) -> Tool {
        self.tools.get(tool).copied().unwrap_or(Tool {
            risk_level: self.risk_level,
            read_only: false,
            destructive: true,
            unseen_arguments: false,
        })
    }

    /// The tool sets that list `tool`.
    pub fn sets_of<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        self.tool_sets.iter().filter(move |(_, tools)| tools.contains(tool)).map(|(set, _)| set)
    }
}

/// An MCP server: who answers for it, where it is, and what its tools may do.
#[derive(Clone, CustomResource, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "vidimus.dev",
    version = "v1alpha1",
    kind = "MCPServer",
    root = "McpServerResource",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "An MCP server: who answers for it, where it is, and what its tools may do.",
    shortname = "vmcp",
    category = "vidimus",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Team", type_ = "string", json_path = ".spec.team"),
    printcolumn(name = "Risk", type_ = "string", json_path = ".spec.riskLevel"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.endpoint.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.endpoint), has(self.job), has(self.openapi), has(self.grpc), has(self.agent), has(self.members)].filter(given, given).size() == 1",
    "message": "give exactly one of endpoint, job, openapi, grpc, agent and members",
}, {
    "rule": "has(self.members) ? ![has(self.toolSets), has(self.tools), has(self.labels), has(self.toolSetLabels), has(self.integrity)].exists(given, given) : !has(self.whenDown)",
    "message": "what tools are is said in the records of the members; whenDown is of members",
}]))]
pub struct McpServerSpec {
    /// The e-mail address of the person who answers for the server. Never a team alias.
    #[schemars(schema_with = "person::schema")]
    pub owner: String,
    /// The team it belongs to. Cedar: resource.team, and resource in Team::"…".
    #[schemars(schema_with = "name::plain_schema")]
    pub team: String,
    /// What it can do. Cedar: resource.capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "name::plain_list_schema")]
    pub capabilities: Vec<String>,
    /// How much harm its tools can do. Has no default: an unassessed server is not offered to agents.
    pub risk_level: RiskLevel,
    /// Where it runs. production when it is left out.
    #[serde(default = "production")]
    #[schemars(schema_with = "name::plain_schema")]
    pub environment: String,
    /// Where it is reached: the URL of its MCP endpoint. It, or another of what can be called as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointSpec>,
    /// What runs at each call, where there is no server that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
    /// The gRPC server whose methods are its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcSpec>,
    /// The agent whose messages are its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentToolsSpec>,
    /// An API whose operations are the tools, where there is no MCP server (docs/rest.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openapi: Option<OpenApiSpec>,
    /// Other servers that this one stands for, at one address. What each tool is, and who may call it, is said of the server that has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = [{
        "rule": "self.all(one, self.exists_one(other, other.name == one.name))",
        "message": "another member has this name",
    }]))]
    pub members: Vec<MemberSpec>,
    /// What becomes of what is asked of all members while one of them does not answer: omit (the others answer, and that one is named) or fail.
    /// omit when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_down: Option<WhenDown>,
    /// Named sets of its tools. Cedar: resource in ToolSet::"…".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "name::tool_sets_schema")]
    pub tool_sets: BTreeMap<String, Vec<String>>,
    /// What is known of single tools. One that is not listed has the server's risk and counts as destructive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub tools: BTreeMap<String, ToolSpec>,
    /// What a call of anything on it does with information. What its tool sets and tools say is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSpec>,
    /// What a call of the tools of a set does with information.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub tool_set_labels: BTreeMap<String, LabelsSpec>,
    /// What its tools are (docs/tool-integrity.md). They may be anything, and change at any time, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<IntegritySpec>,
}

/// What is known of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.readOnly) && self.readOnly && has(self.destructive) && self.destructive)",
    "message": "a tool that only reads destroys nothing",
}]))]
pub struct ToolSpec {
    /// How much harm it can do; as much as its server when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<RiskLevel>,
    /// It changes nothing. false when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// It may destroy something. true when it is left out, unless readOnly is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// It may be called with arguments that policies cannot see exactly, such as whole numbers from 2^63 on: to policies these are not
    /// there. false when it is left out: such a call is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_arguments: Option<bool>,
    /// What a call of it does with information, beside what its server and its sets say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSpec>,
}

impl McpServerSpec {
    pub(super) fn check(
        self,
        meta: Meta,
        document: Document<'_>,
        problems: &mut Problems,
    ) -> Option<McpServer> {
        let spec = document.spec();
        problems.take(spec.key("owner"), &self.owner, person::check(&self.owner));
        plain(spec.key("team"), &self.team, problems);
        plain(spec.key("environment"), &self.environment, problems);
        let called = self.check_called(&meta, document, problems);
        let tool_sets = check_tool_sets(&self.tool_sets, spec.key("toolSets"), problems);
        let mut tools = check_tools(&self.tools, self.risk_level, spec.key("tools"), problems);
        if let Some(api) = called.as_ref().and_then(|(endpoint, _)| endpoint.openapi.as_ref()) {
            for (name, known) in api.known_tools(self.risk_level) {
                tools.entry(name).or_insert(known);
            }
        }
        let capabilities = names(spec.key("capabilities"), &self.capabilities, problems);
        let labels = self.check_labels(spec, problems);
        let integrity = self.integrity.as_ref().map(|one| one.check(spec.key("integrity"), problems));
        let (endpoint, members) = called?;
        Some(McpServer {
            id: EntityId::new(EntityKind::McpServer, meta.key()),
            owner: interned::text(&self.owner),
            team: interned::text(&self.team),
            capabilities,
            risk_level: self.risk_level,
            environment: interned::text(&self.environment),
            endpoint,
            members,
            tool_sets,
            tools,
            labels,
            integrity,
            meta,
        })
    }

    /// Where it is called: the one place that it has.
    fn check_called(
        &self,
        meta: &Meta,
        document: Document<'_>,
        problems: &mut Problems,
    ) -> Option<(Endpoint, Option<Members>)> {
        let spec = document.spec();
        let places = [
            ("endpoint", "an endpoint", self.endpoint.is_some()),
            ("job", "a job", self.job.is_some()),
            ("openapi", "an API", self.openapi.is_some()),
            ("grpc", "a gRPC server", self.grpc.is_some()),
            ("agent", "an agent", self.agent.is_some()),
            ("members", "members", !self.members.is_empty()),
        ];
        let mut given = places.into_iter().filter(|(_, _, is_given)| *is_given);
        if let (Some((_, first, _)), Some((second, _, _))) = (given.next(), given.next()) {
            let fault =
                Fault::new(format!("the server has {first} too"), "remove one: a call goes to one place");
            problems.report(spec.key(second), "", fault);
            return None;
        }
        if !self.members.is_empty() {
            let at = spec.key("members");
            let given = [
                ("toolSets", !self.tool_sets.is_empty()),
                ("tools", !self.tools.is_empty()),
                ("labels", self.labels.is_some()),
                ("toolSetLabels", !self.tool_set_labels.is_empty()),
                ("integrity", self.integrity.is_some()),
            ];
            members::has_nothing_of_tools(given, spec, problems);
            let when_down = self.when_down.unwrap_or_default();
            let checked = members::check(&self.members, when_down, meta, at, problems);
            return checked.map(|(endpoint, members)| (endpoint, Some(members)));
        }
        if self.when_down.is_some() {
            let fault = Fault::new("the server has no members", "remove it, or add spec.members");
            problems.report(spec.key("whenDown"), "", fault);
        }
        let endpoint = if let Some(endpoint) = &self.endpoint {
            has_no_card(endpoint, spec.key("endpoint"), problems);
            let key = endpoint.key().check(meta, document, spec.key("endpoint"), problems);
            let checked = endpoint.check(document, DEFAULT_TIMEOUT_MS, spec.key("endpoint"), problems);
            checked.map(|endpoint| Endpoint { key, ..endpoint })
        } else if let Some(job) = &self.job {
            job.check(meta, spec.key("job"), problems)
        } else if let Some(api) = &self.openapi {
            api.check(meta, document, spec.key("openapi"), problems)
        } else if let Some(grpc) = &self.grpc {
            grpc.check(meta, document, spec.key("grpc"), problems)
        } else if let Some(agent) = &self.agent {
            agent.check(meta, spec.key("agent"), problems)
        } else {
            let fix = "add spec.endpoint: the URL of the server; or spec.job, spec.openapi, spec.grpc, spec.agent or spec.members: what is called in its place";
            problems.report(spec.key("endpoint"), "", Fault::new("the field is missing", fix));
            None
        };
        endpoint.map(|endpoint| (endpoint, None))
    }

    fn check_labels(&self, spec: At<'_>, problems: &mut Problems) -> ServerLabels {
        let server = self.labels.as_ref().map(|labels| labels.check(spec.key("labels"), problems));
        let mut labels = ServerLabels { server: server.unwrap_or_default(), ..ServerLabels::default() };
        let at = spec.key("toolSetLabels");
        for (set, of_set) in &self.tool_set_labels {
            let at = at.key(set);
            if !self.tool_sets.contains_key(set) {
                let fault = Fault::new("there is no tool set of this name", "list its tools under toolSets");
                problems.report(at, set, fault);
            }
            labels.sets.insert(set.as_str().into(), of_set.check(at, problems));
        }
        let at = spec.key("tools");
        for (tool, of_tool) in &self.tools {
            if let Some(of_tool) = &of_tool.labels {
                let at = at.key(tool);
                labels.tools.insert(tool.as_str().into(), of_tool.check(at.key("labels"), problems));
            }
        }
        labels
    }
}

fn check_tool_sets(
    sets: &BTreeMap<String, Vec<String>>,
    at: At<'_>,
    problems: &mut Problems,
) -> BTreeMap<Arc<str>, Names> {
    let mut checked = BTreeMap::new();
    for (set, tools) in sets {
        let at = at.key(set);
        plain(at, set, problems);
        for (index, tool) in tools.iter().enumerate() {
            problems.take(at.index(index), tool, name::check_tool(tool));
        }
        checked.insert(set.as_str().into(), tools.iter().map(|tool| tool.as_str().into()).collect());
    }
    checked
}

fn check_tools(
    tools: &BTreeMap<String, ToolSpec>,
    server_risk: RiskLevel,
    at: At<'_>,
    problems: &mut Problems,
) -> BTreeMap<Arc<str>, Tool> {
    let mut checked = BTreeMap::new();
    for (name, tool) in tools {
        let at = at.key(name);
        problems.take(at, name, name::check_tool(name));
        let read_only = tool.read_only.unwrap_or(false);
        let destructive = tool.destructive.unwrap_or(!read_only);
        if read_only && destructive {
            let fault = Fault::new(
                "readOnly and destructive are both true",
                "a tool that only reads destroys nothing: remove one",
            );
            problems.report(at, "", fault);
        }
        let risk_level = tool.risk_level.unwrap_or(server_risk);
        let unseen_arguments = tool.unseen_arguments.unwrap_or(false);
        checked.insert(name.as_str().into(), Tool { risk_level, read_only, destructive, unseen_arguments });
    }
    checked
}
