//! What is asked: principal, action, resource, context. Every protocol's message becomes one of these.

use std::net::IpAddr;
use std::sync::Arc;

use crate::caller::{Chain, UnixMillis, User};
use crate::entity::{EntityId, EntityKind};
use crate::json::Json;
use crate::resource::{Agent, LlmProvider, McpServer, Principal};

/// The governed actions of the three protocols. Their Cedar names are [`Action::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    InvokeTool,
    ReadResource,
    GetPrompt,
    /// Everything on an MCP server that is not about one tool, resource or prompt: initialize, discover, list, subscribe.
    ConnectServer,
    CallAgent,
    CallModel,
}

impl Action {
    pub const ALL: [Self; 6] = [
        Self::InvokeTool,
        Self::ReadResource,
        Self::GetPrompt,
        Self::ConnectServer,
        Self::CallAgent,
        Self::CallModel,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvokeTool => "invokeTool",
            Self::ReadResource => "readResource",
            Self::GetPrompt => "getPrompt",
            Self::ConnectServer => "connectServer",
            Self::CallAgent => "callAgent",
            Self::CallModel => "callModel",
        }
    }
}

/// What a call is about. Tools, resources, prompts and skills are named by the caller and need not be registered one by one;
/// they take their attributes from the registered object they belong to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Tool { server: &'a Arc<McpServer>, name: &'a str },
    Resource { server: &'a Arc<McpServer>, uri: &'a str },
    Prompt { server: &'a Arc<McpServer>, name: &'a str },
    Server(&'a Arc<McpServer>),
    Agent(&'a Arc<Agent>),
    Skill { agent: &'a Arc<Agent>, name: &'a str },
    Model { provider: &'a Arc<LlmProvider>, name: &'a str },
}

impl Target<'_> {
    /// The entity: `Tool/namespace/server/tool` and so on.
    pub fn entity(&self) -> EntityId {
        match self {
            Self::Tool { server, name } => {
                EntityId::new(EntityKind::Tool, format!("{}/{name}", server.id.id))
            }
            Self::Resource { server, uri } => {
                EntityId::new(EntityKind::Resource, format!("{}/{uri}", server.id.id))
            }
            Self::Prompt { server, name } => {
                EntityId::new(EntityKind::Prompt, format!("{}/{name}", server.id.id))
            }
            Self::Server(server) => server.id.clone(),
            Self::Agent(agent) => agent.id.clone(),
            Self::Skill { agent, name } => {
                EntityId::new(EntityKind::Skill, format!("{}/{name}", agent.id.id))
            }
            Self::Model { provider, name } => {
                EntityId::new(EntityKind::Model, format!("{}/{name}", provider.id.id))
            }
        }
    }
}

/// The context of a call, typed and borrowed: what may differ between two calls on the same edge.
/// The Cedar `context` record is these fields under the same names.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The protocol's method, by its newest name: `tools/call`, `SendMessage`, `chat.completions`.
    pub method: &'a str,
    pub user: Option<&'a User>,
    pub chain: &'a Chain,
    pub now: UnixMillis,
    pub source_ip: Option<IpAddr>,
    /// Which identity was used, as in [`crate::caller::Proven::identity`].
    pub identity: &'a str,
    /// The arguments of a tool call; `None` on other actions, and unknown when a listing is filtered.
    pub arguments: Arguments<'a>,
    /// Estimate for a model call: request bytes ÷ 4.
    pub tokens_estimated: i64,
    pub streaming: bool,
    /// How many distinct destinations the principal reaches in this transaction, with this one. Counted for an agent that has
    /// `spec.delegation.maxFanOut` and continues a chain; 1 for everybody else. Not part of the Cedar `context`.
    pub fan_out: i64,
}

/// The arguments of a tool call.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'a> {
    /// Not a tool call, or a tool call without arguments.
    None,
    Known(&'a Json<'a>),
    /// Not known yet: a listing asks whether some call could be allowed.
    Unknown,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub principal: &'a Principal,
    pub action: Action,
    pub target: Target<'a>,
    pub context: Context<'a>,
}
