//! `MCPServer.spec.agent`: tools that are messages to an agent (ADR 86). Who calls one sends the agent a message, and is decided as who sends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::endpoint::{DEFAULT_TIMEOUT_MS, Endpoint, HeaderRules};
use super::field::name;
use super::problem::{At, Fault, Problems};
use super::stale::StaleAfterSpec;
use super::{Meta, Origin};

/// The tool that names no skill.
const SEND_MESSAGE: &str = "send_message";
/// The tool that asks for a task.
const GET_TASK: &str = "get_task";

/// The messages to an agent that are tools, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTools {
    /// `namespace/name` of the agent.
    pub agent: Arc<str>,
    /// The agent has streams: who asks for progress is told what it says meanwhile.
    pub streams: bool,
    /// Tool → what is sent.
    pub tools: BTreeMap<Arc<str>, AgentTool>,
}

/// A message that is a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTool {
    /// As MCP's `tools/list` has it: JSON.
    pub definition: Arc<str>,
    /// What is sent.
    pub sends: Sends,
}

/// What a call of a tool sends to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sends {
    /// A message, that names this skill.
    Message(Option<Arc<str>>),
    /// The question how a task stands.
    GetTask,
}

/// Messages to a registered agent are the tools: send_message, get_task, and one for each skill.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentToolsSpec {
    /// The name of the Agent, which has an endpoint.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; that of the server when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Its skills that are tools, by their ids (Cedar: Skill::"namespace/agent/id"). There are send_message and get_task alone when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub skills: BTreeMap<String, SkillSpec>,
    /// The agent has streams (capabilities.streaming of its card). Who asks for progress is then told what it says. false when it is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub streams: bool,
    /// What becomes of calls once the configuration is older than this; they are decided as before when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfterSpec>,
}

/// A skill, as tools/list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SkillSpec {
    /// What it does, for the model that may call it.
    #[schemars(schema_with = "description_schema")]
    pub description: String,
}

fn description_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 4096})
}

impl AgentToolsSpec {
    /// Where the calls go: to the agent, by its own route.
    pub(super) fn check(&self, meta: &Meta, at: At<'_>, problems: &mut Problems) -> Option<Endpoint> {
        problems.take(at.key("name"), &self.name, name::check_object_name(&self.name));
        let namespace = self.namespace.as_deref().unwrap_or(&meta.namespace);
        problems.take(at.key("namespace"), namespace, name::check_namespace(namespace));
        // Its callers' messages go there in their own name: who writes here could have them say what they may say there, and do not mean to.
        if matches!(meta.origin, Origin::Cluster { .. }) && *namespace != *meta.namespace {
            let fix = "register the server in the namespace of the agent";
            problems.report(
                at.key("namespace"),
                namespace,
                Fault::new("the agent is of another namespace", fix),
            );
        }
        let stale = self.stale_after.as_ref().map(|stale| stale.check(at.key("staleAfter"), problems));
        let agent: Arc<str> = format!("{namespace}/{}", self.name).into();
        let message = format!("Sends a message to the agent {agent}, and gives what it answers.");
        let mut tools = BTreeMap::from([
            (Arc::from(SEND_MESSAGE), tool(SEND_MESSAGE, &message, Sends::Message(None))),
            (Arc::from(GET_TASK), tool(GET_TASK, "Tells how a task of the agent stands.", Sends::GetTask)),
        ]);
        let skills_at = at.key("skills");
        for (skill, spec) in &self.skills {
            let at = skills_at.key(skill);
            problems.take(at, skill, name::check_tool(skill));
            let sends = Sends::Message(Some(skill.as_str().into()));
            let added = tool(skill, &spec.description, sends);
            if tools.insert(skill.as_str().into(), added).is_some() {
                let fault = Fault::new("is a tool that names no skill", "leave it out: it is there");
                problems.report(at, skill, fault);
            }
        }
        let address = format!("agent://{agent}");
        let not_an_address =
            |_: url::ParseError| Fault::new("its name makes no address", "give the name of an Agent");
        let url =
            problems.take(at.key("name"), &self.name, address.parse::<Url>().map_err(not_an_address))?;
        Some(Endpoint {
            audience: url.as_str().into(),
            url,
            ca_file: None,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            headers: HeaderRules::default(),
            card: None,
            rest: None,
            rest_alone: false,
            grpc: None,
            a2a: None,
            tenant: None,
            stale_after: stale.flatten(),
            mcp: None,
            job: None,
            grpc_tools: None,
            openapi: None,
            key: None,
            agent: Some(Arc::new(AgentTools { agent, streams: self.streams, tools })),
        })
    }
}

fn tool(name: &str, description: &str, sends: Sends) -> AgentTool {
    let text = |description: &str| json!({"type": "string", "description": description});
    let input = match sends {
        Sends::GetTask => {
            json!({"properties": {"taskId": text("The task: of an earlier answer.")}, "required": ["taskId"]})
        }
        Sends::Message(_) => json!({
            "properties": {
                "text": text("What the agent is told."),
                "data": {"type": "object", "description": "What it is given beside the text."},
                "taskId": text("The task to go on with: of an earlier answer that asked for more."),
                "contextId": text("The conversation to go on with: of an earlier answer."),
            },
            "required": ["text"],
        }),
    };
    let definition: Value = json!({
        "name": name,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": input.get("properties"),
            "required": input.get("required"),
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "state": text("How the task stands; completed where the agent made none."),
                "taskId": text("The task, to go on with."),
                "contextId": text("The conversation, to go on with."),
                "data": {"type": "array", "description": "What the agent gave as data."},
            },
            "required": ["state"],
        },
    });
    AgentTool { definition: definition.to_string().into(), sends }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Object, Rejection, check};

    fn checked(agent: &Value) -> Result<Endpoint, Vec<Rejection>> {
        checked_of(&Origin::file("a.yaml", 1), agent)
    }

    fn checked_of(origin: &Origin, agent: &Value) -> Result<Endpoint, Vec<Rejection>> {
        let document = json!({
            "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"namespace": "finance", "name": "bots"},
            "spec": {"owner": "first.last@example.com", "team": "finance", "riskLevel": "low", "agent": agent},
        });
        match check(origin, &document)? {
            Object::McpServer(server) => Ok(server.endpoint.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_are_tools_by_their_skills() {
        let endpoint =
            checked(&json!({"name": "bot", "skills": {"pay": {"description": "Pays."}}})).expect("good");
        let tools = endpoint.agent.as_ref().expect("tools");
        assert_eq!((&*tools.agent, endpoint.url.as_str()), ("finance/bot", "agent://finance/bot"));
        let names: Vec<_> = tools.tools.iter().map(|(name, tool)| (&**name, tool.sends.clone())).collect();
        let pay = Sends::Message(Some("pay".into()));
        assert_eq!(
            names,
            [("get_task", Sends::GetTask), ("pay", pay), ("send_message", Sends::Message(None))]
        );
        let definition: Value = serde_json::from_str(&tools.tools["pay"].definition).expect("JSON");
        assert_eq!(
            (&definition["description"], &definition["inputSchema"]["required"]),
            (&json!("Pays."), &json!(["text"]))
        );
        let other = checked(&json!({"name": "bot", "namespace": "bank"})).expect("good");
        assert_eq!(&*other.agent.as_ref().expect("tools").agent, "bank/bot");
        let streams = checked(&json!({"name": "bot", "streams": true})).expect("good");
        assert_eq!((tools.streams, streams.agent.as_ref().expect("tools").streams), (false, true));
    }

    /// Attack: a tenant's tool that is a message to another tenant's agent, in the name of whoever calls it.
    #[test]
    fn in_a_cluster_the_agent_is_of_the_servers_own_namespace() {
        let cluster = Origin::Cluster { cluster: "c".into(), uid: None, resource_version: None };
        for agent in [json!({"name": "bot"}), json!({"name": "bot", "namespace": "finance"})] {
            assert!(checked_of(&cluster, &agent).is_ok(), "{agent}");
        }
        let problems =
            checked_of(&cluster, &json!({"name": "bot", "namespace": "bank"})).expect_err("another's");
        assert_eq!(problems[0].field, "spec.agent.namespace");
    }

    #[test]
    fn what_names_no_agent_is_refused() {
        for (agent, field) in [
            (json!({"name": "Bot"}), "spec.agent.name"),
            (json!({"name": "../bot"}), "spec.agent.name"),
            (json!({"name": "bot", "namespace": "a/b"}), "spec.agent.namespace"),
            (json!({"name": "bot", "url": "http://a"}), "spec.agent.url"),
            (json!({"name": "bot", "skills": {"a b": {"description": "x"}}}), "spec.agent.skills[\"a b\"]"),
            (
                json!({"name": "bot", "skills": {"send_message": {"description": "x"}}}),
                "spec.agent.skills.send_message",
            ),
        ] {
            let problems = checked(&agent).expect_err(field);
            assert_eq!(problems[0].field, field, "{problems:?}");
        }
    }
}
