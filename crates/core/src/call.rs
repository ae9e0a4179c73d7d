//! What is asked: principal, action, resource, context. Every protocol's message becomes one of these.

mod content;
mod digest;
mod sent_parts;
mod so_far;
mod step;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::approval::Approval;
use crate::caller::{Caller, Chain, Instance, UnixMillis, User};
use crate::entity::{EntityId, EntityKind};
use crate::guard::Guarded;
use crate::json::{Json, inexact_number};
use crate::recorded::Recorded;
use crate::resource::{Agent, Endpoint, Labels, LlmProvider, McpServer, Principal};

pub use self::content::{Content, is_id, is_of_each_try};
pub use self::digest::CallDigest;
pub use self::sent_parts::SentParts;
pub use self::so_far::{Collected, Left, SoFar};
pub use self::step::step_digest;

#[cfg(test)]
pub(crate) use self::step::STEPS_DIGESTED;

/// The governed actions of the three protocols. Their Cedar names are [`Action::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// One tool of an MCP server.
    InvokeTool,
    /// One resource of an MCP server, by its URI.
    ReadResource,
    /// One prompt of an MCP server.
    GetPrompt,
    /// Everything on an MCP server that is not about one tool, resource or prompt: initialize, discover, list, subscribe.
    ConnectServer,
    /// Everything that an A2A agent is asked, its card included.
    CallAgent,
    /// One request to a model.
    CallModel,
    /// The listing of a provider's models, which the gateway answers from the provider's record.
    ListModels,
}

impl Action {
    /// Every action, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::InvokeTool,
        Self::ReadResource,
        Self::GetPrompt,
        Self::ConnectServer,
        Self::CallAgent,
        Self::CallModel,
        Self::ListModels,
    ];

    /// The name in policies, records and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvokeTool => "invokeTool",
            Self::ReadResource => "readResource",
            Self::GetPrompt => "getPrompt",
            Self::ConnectServer => "connectServer",
            Self::CallAgent => "callAgent",
            Self::CallModel => "callModel",
            Self::ListModels => "listModels",
        }
    }
}

/// What a call is about. Tools, resources, prompts and skills are named by the caller and need not be registered one by one;
/// they take their attributes from the registered object they belong to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// By the tool's name.
    Tool { server: &'a Arc<McpServer>, name: &'a str },
    /// By the resource's URI, as the caller writes it.
    Resource { server: &'a Arc<McpServer>, uri: &'a str },
    /// By the prompt's name.
    Prompt { server: &'a Arc<McpServer>, name: &'a str },
    /// The server as a whole.
    Server(&'a Arc<McpServer>),
    /// The agent as a whole.
    Agent(&'a Arc<Agent>),
    /// By the skill's id.
    Skill { agent: &'a Arc<Agent>, name: &'a str },
    /// By the model's name at the provider.
    Model { provider: &'a Arc<LlmProvider>, name: &'a str },
    /// The provider as a whole.
    Provider(&'a Arc<LlmProvider>),
}

impl Target<'_> {
    /// The entity: `Tool/namespace/server/tool` and so on.
    pub fn entity(&self) -> EntityId {
        let part = |kind, whole: &EntityId, name: &str| EntityId::new(kind, [&*whole.id, "/", name].concat());
        match self {
            Self::Tool { server, name } => part(EntityKind::Tool, &server.id, name),
            Self::Resource { server, uri } => part(EntityKind::Resource, &server.id, uri),
            Self::Prompt { server, name } => part(EntityKind::Prompt, &server.id, name),
            Self::Server(server) => server.id.clone(),
            Self::Agent(agent) => agent.id.clone(),
            Self::Skill { agent, name } => part(EntityKind::Skill, &agent.id, name),
            Self::Model { provider, name } => part(EntityKind::Model, &provider.id, name),
            Self::Provider(provider) => provider.id.clone(),
        }
    }

    /// What a call of it does with information.
    pub fn labels(&self) -> Cow<'_, Labels> {
        match self {
            Self::Tool { server, name } => server.labels.of_tool(name, server.sets_of(name)),
            Self::Resource { server, .. } | Self::Prompt { server, .. } | Self::Server(server) => {
                Cow::Borrowed(&server.labels.server)
            }
            Self::Agent(agent) | Self::Skill { agent, .. } => Cow::Borrowed(&agent.labels),
            Self::Model { provider, .. } | Self::Provider(provider) => Cow::Borrowed(&provider.labels),
        }
    }

    /// What so many tokens cost at most by the record's price, in millionths of the currency unit, rounded up; 0 where it has none.
    pub fn cost(&self, input: u64, output: u64) -> i64 {
        let Self::Model { provider, name } = self else { return 0 };
        let price = provider.model(name).and_then(|model| model.price);
        price.map_or(0, |price| price.most(input, output))
    }

    /// The registered object that a call on this target goes to.
    pub fn destination(&self) -> Destination {
        match self {
            Self::Tool { server, .. }
            | Self::Resource { server, .. }
            | Self::Prompt { server, .. }
            | Self::Server(server) => Destination::Server(Arc::clone(server)),
            Self::Agent(agent) | Self::Skill { agent, .. } => Destination::Agent(Arc::clone(agent)),
            Self::Model { provider, .. } | Self::Provider(provider) => {
                Destination::Provider(Arc::clone(provider))
            }
        }
    }
}

/// The registered object that a call goes to, owned.
#[derive(Clone, Debug)]
pub enum Destination {
    /// An MCP server.
    Server(Arc<McpServer>),
    /// An A2A agent.
    Agent(Arc<Agent>),
    /// A provider of models.
    Provider(Arc<LlmProvider>),
}

impl Destination {
    /// The entity of the object itself, also where the call is about a part of it.
    pub fn id(&self) -> &EntityId {
        match self {
            Self::Server(server) => &server.id,
            Self::Agent(agent) => &agent.id,
            Self::Provider(provider) => &provider.id,
        }
    }

    /// Where it is reached; `None` for an agent whose record names no endpoint.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Server(server) => Some(&server.endpoint),
            Self::Agent(agent) => agent.endpoint.as_deref(),
            Self::Provider(provider) => Some(&provider.endpoint),
        }
    }
}

/// The arguments of a tool call.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'a> {
    /// Not a tool call, or a tool call without arguments.
    None,
    /// As the caller sent them.
    Known(&'a Json<'a>),
    /// As far as the record of the call says them: see [`crate::recorded`].
    Recorded(&'a Recorded),
    /// Not known: a listing asks whether some call could be allowed, and the result of an earlier call is asked for by what is
    /// known of that call.
    Unknown,
}

impl Arguments<'_> {
    /// The same with any arguments.
    pub(crate) const fn any(self) -> Self {
        match self {
            Self::Recorded(_) => self,
            Self::None | Self::Known(_) | Self::Unknown => Self::Unknown,
        }
    }
}

/// What a message asks, in the terms of a decision. An adapter makes it from the message, and it goes into the call whole.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The protocol's method, by its newest name: `tools/call`, `SendMessage`, `chat.completions`.
    pub method: &'a str,
    /// What is to be done.
    pub action: Action,
    /// What it is done to.
    pub target: Target<'a>,
    /// With which arguments.
    pub arguments: Arguments<'a>,
    /// Estimate for a model call: bytes of the request ÷ 4, with an estimate for each image, sound and file in place of its bytes. 0 on other actions.
    pub tokens_estimated: i64,
    /// The most tokens that the question of a model call may have: a text has no more than one a byte. 0 on other actions, and where that is not known.
    /// Policies do not see it: it is reserved while the call is under way.
    pub tokens_reserved: i64,
    /// The most tokens that the answer of a model call may have, as the message says, or as is assumed where it does not; 0 on other
    /// actions. Policies do not see it: it is reserved while the call is under way.
    pub tokens_most: i64,
    /// Whether the answer of a model call is to be streamed; false on other actions.
    pub streaming: bool,
    /// The task that the call is about, by the id that the destination has for it; `None` where it is about none yet. Such a call
    /// is decided as the one that made the task: action and target are that call's.
    pub task: Option<&'a str>,
    /// Where an agent is to send news of a task, as the caller says; `None` where it says nowhere.
    pub push_url: Option<&'a str>,
    /// What the message says beside the arguments of a tool: the question to a model, the message to an agent, answers to what a server
    /// asked. No policy sees it; it is part of what a person approves.
    pub content: Content<'a>,
    /// The message byte for byte, in which a number stands as it is written; empty where there is none.
    pub body: &'a [u8],
    /// What the server last said the tool is: the digest of its definition (`sha256:…`), or [`Ask::NOT_LISTED`]. `None` where that is not
    /// known, or not of now, or asked for by nobody.
    pub definition: Option<&'a str>,
    /// What the tool is held to since it was first seen, where its server's record has tools pinned so: the digest of its definition. `None` where nobody
    /// saw it yet, or that is not known.
    pub first_seen: Option<&'a str>,
    /// The guards that looked at the message: `context.guarded` has those that let it pass.
    pub guarded: &'a Guarded,
    /// The server with members by which the call came to the target's, or the one by whose tool a message came to its agent. No policy sees it: the
    /// call is decided as if it had come to the target's own.
    pub via: Option<&'a EntityId>,
}

impl<'a> Ask<'a> {
    /// The definition of a tool that its server does not list, or lists as nobody can read it.
    pub const NOT_LISTED: &'static str = "not listed";

    /// An ask without arguments, of no tokens, not streaming, about no task.
    pub fn about(method: &'a str, action: Action, target: Target<'a>) -> Self {
        Self {
            method,
            action,
            target,
            arguments: Arguments::None,
            tokens_estimated: 0,
            tokens_reserved: 0,
            tokens_most: 0,
            streaming: false,
            task: None,
            push_url: None,
            content: Content::default(),
            body: &[],
            definition: None,
            first_seen: None,
            guarded: Guarded::nothing(),
            via: None,
        }
    }
}

impl Ask<'_> {
    /// What it may come to at most, where it is of a model: tokens, and millionths of the currency unit.
    pub fn reserves(&self) -> (i64, i64) {
        let number = |tokens: i64| u64::try_from(tokens).unwrap_or_default();
        let question = self.tokens_reserved.max(self.tokens_estimated);
        let spend = self.target.cost(number(question), number(self.tokens_most));
        (question.saturating_add(self.tokens_most), spend)
    }
}

/// One call: who asks what, and the circumstances. The Cedar `context` record is made of these, under the names that
/// `docs/policies.md` lists.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls, for whom, and through whom.
    pub caller: &'a Caller,
    /// What is asked.
    pub ask: Ask<'a>,
    /// The gateway's clock when the call was whole.
    pub now: UnixMillis,
    /// The address of the caller's connection, where there is one.
    pub source_ip: Option<IpAddr>,
    /// What its chain has come to so far.
    pub so_far: &'a SoFar,
    /// What people approved of this very call, one for each role; empty where nobody was asked. `context.approval` is the first of
    /// them, and to a policy that asks for approval the one of its role.
    pub approvals: &'a [Approval],
}

impl<'a> Call<'a> {
    /// Who calls.
    pub fn principal(&self) -> &'a Principal {
        &self.caller.proven.principal
    }

    /// The person for whom the principal calls.
    pub fn user(&self) -> Option<&'a User> {
        self.caller.proven.user.as_ref()
    }

    /// The first number of its message that can be taken for another: no digest is of just that one. A plan and an approval know no such call.
    pub fn inexact_number(&self) -> Option<&'a str> {
        inexact_number(self.ask.body)
    }

    /// How the call came here.
    pub fn chain(&self) -> &'a Chain {
        &self.caller.chain
    }

    /// What `context.approval` is.
    pub(crate) fn approval(&self) -> Option<&'a Approval> {
        self.approvals.first()
    }

    /// The call as a policy sees it that asks for an approval in `role`.
    pub(crate) fn seen_by(&self, role: &str) -> Self {
        let at = self.approvals.iter().position(|approval| *approval.role == *role);
        Self { approvals: at.and_then(|at| self.approvals.get(at..)).unwrap_or(self.approvals), ..*self }
    }

    /// The tokens that its chain has used with this call, by its estimate.
    pub fn chain_tokens(&self) -> i64 {
        self.so_far.tokens.saturating_add(self.ask.tokens_estimated)
    }

    /// What its chain has cost with this call, by its estimate, in millionths of the currency unit.
    pub fn chain_spend(&self) -> i64 {
        let estimated = u64::try_from(self.ask.tokens_estimated).unwrap_or_default();
        self.so_far.spend.saturating_add(self.ask.target.cost(estimated, 0))
    }

    /// How long ago its chain began, in milliseconds; negative where the clocks of two gateways disagree.
    pub fn chain_age(&self) -> i64 {
        self.now.0.saturating_sub(self.chain().started.0)
    }

    /// Which identity was used, as in [`crate::caller::Proven::identity`].
    pub fn identity(&self) -> &'a str {
        &self.caller.proven.identity
    }

    /// Which copy of the principal calls, where its credential names one.
    pub fn instance(&self) -> Option<&'a Instance> {
        self.caller.proven.instance.as_deref()
    }
}
