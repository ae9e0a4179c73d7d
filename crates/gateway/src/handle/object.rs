//! The registered object that a route addresses, and what a request asks of it.

use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, Method, Uri};
use vidimus_core::call::Call;
use vidimus_core::caller::{Caller, User};
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Agent, Endpoint, LlmProvider, McpServer, Principal};
use vidimus_core::snapshot::Snapshot;

use crate::gate::Gate;
use crate::protocol::{Ask, a2a, llm, mcp};
use crate::route::{Protocol, Route};
use crate::session;

/// What a route addresses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object<'w> {
    Server(&'w Arc<McpServer>),
    Agent(&'w Arc<Agent>),
    Provider(&'w Arc<LlmProvider>),
}

/// Which of an object's doors a request uses.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A message POSTed to an MCP server or an agent.
    Message,
    /// GET or DELETE of an MCP session.
    Session(Method),
    /// The agent's card.
    Card,
    Model(llm::Endpoint),
}

impl Entry {
    pub fn has_body(&self) -> bool {
        match self {
            Self::Message => true,
            Self::Session(_) | Self::Card => false,
            Self::Model(endpoint) => *endpoint != llm::Endpoint::Models,
        }
    }
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    Forward(Ask<'a>),
    /// The registry itself answers.
    ListModels(&'a Arc<LlmProvider>),
}

impl<'w> Object<'w> {
    pub fn find(world: &'w Snapshot, route: &Route<'_>) -> Result<Self, Refusal> {
        let (found, kind) = match route.protocol {
            Protocol::Mcp => (world.mcp_server(route.key).map(Self::Server), "MCPServer"),
            Protocol::A2a => (world.agent(route.key).map(Self::Agent), "Agent"),
            Protocol::Llm => (world.llm_provider(route.key).map(Self::Provider), "LLMProvider"),
        };
        found.ok_or_else(|| {
            Refusal::new(Code::ResourceUnknown, format!("no {kind} {} is registered", route.key))
        })
    }

    pub fn id(&self) -> &'w EntityId {
        match self {
            Self::Server(server) => &server.id,
            Self::Agent(agent) => &agent.id,
            Self::Provider(provider) => &provider.id,
        }
    }

    /// Where it is reached; an agent need not be callable.
    pub fn upstream(&self) -> Option<&'w Endpoint> {
        match self {
            Self::Server(server) => Some(&server.endpoint),
            Self::Agent(agent) => agent.endpoint.as_ref(),
            Self::Provider(provider) => Some(&provider.endpoint),
        }
    }

    pub fn unreachable(&self) -> Refusal {
        Refusal::new(Code::ResourceUnknown, format!("{} has no endpoint, so it cannot be called", self.id()))
    }

    /// Which door a method and the rest of the path lead to.
    pub fn endpoint(&self, method: &Method, route: &Route<'_>) -> Result<Entry, Refusal> {
        let unknown =
            || Refusal::new(Code::RouteUnknown, "nothing is served at this path below the object's route");
        match self {
            Self::Provider(provider) => {
                llm::Endpoint::of(provider.provider, method, route.rest).map(Entry::Model)
            }
            Self::Agent(_) if a2a::CARD_PATHS.contains(&route.rest) => match *method {
                Method::GET => Ok(Entry::Card),
                _ => Err(Refusal::method_not_allowed("the agent card", "GET")),
            },
            _ if !matches!(route.rest, "" | "/") => Err(unknown()),
            Self::Agent(_) if *method == Method::POST => Ok(Entry::Message),
            Self::Agent(_) => Err(Refusal::method_not_allowed("A2A", "POST")),
            Self::Server(_) if *method == Method::POST => Ok(Entry::Message),
            Self::Server(_) => Ok(Entry::Session(method.clone())),
        }
    }

    /// Turns the message into a question. Pure.
    pub fn ask<'a>(
        &self,
        entry: &Entry,
        parts: &http::request::Parts,
        body: Option<&'a Json<'a>>,
        bytes: usize,
    ) -> Result<Asked<'a>, Refusal>
    where
        'w: 'a,
    {
        let missing = || Refusal::new(Code::MessageInvalid, "the request has no body");
        let ask = match (*self, entry) {
            (Self::Provider(provider), Entry::Model(llm::Endpoint::Models)) => {
                return Ok(Asked::ListModels(provider));
            }
            (Self::Provider(provider), Entry::Model(endpoint)) => {
                llm::ask(provider, *endpoint, body.ok_or_else(missing)?, bytes)
            }
            (Self::Agent(agent), Entry::Card) => Ok(a2a::ask_card(agent)),
            (Self::Agent(agent), _) => a2a::ask(agent, &parts.headers, body.ok_or_else(missing)?),
            (Self::Server(server), Entry::Session(method)) => mcp::ask_without_body(server, method),
            (Self::Server(server), _) => mcp::ask(server, &parts.headers, body.ok_or_else(missing)?),
            (Self::Provider(_), _) => Err(missing()),
        };
        ask.map(Asked::Forward)
    }

    /// The upstream's address for this request. The caller's query string is not part of any of the protocols.
    pub fn uri(&self, entry: &Entry) -> Result<Uri, Refusal> {
        let base = self.upstream().ok_or_else(|| self.unreachable())?.url.as_str();
        let below = match entry {
            Entry::Message | Entry::Session(_) => "",
            Entry::Card => a2a::CARD_PATHS[0],
            Entry::Model(endpoint) => endpoint.path(),
        };
        let text =
            if below.is_empty() { base.to_owned() } else { format!("{}{below}", base.trim_end_matches('/')) };
        text.parse().map_err(|error| {
            Refusal::new(Code::Internal, "the registered endpoint is not a usable address").with_detail(error)
        })
    }

    /// What a session of this caller on this route is sealed to.
    pub fn binding(&self, call: &Call<'_>) -> String {
        self.binding_of(call.principal, call.context.user)
    }

    fn binding_of(&self, principal: &Principal, user: Option<&User>) -> String {
        let user = user.map(User::id).unwrap_or_default();
        format!("{}|{}|{user}", self.id(), principal.entity())
    }

    /// The upstream's session id behind the sealed one that the caller sent.
    ///
    /// # Errors
    /// `session_foreign` for an id that was not made here for this caller and route.
    pub fn open_session(
        &self,
        gate: &Gate,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Refusal> {
        let Some(sealed) = headers.get(session::HEADER) else { return Ok(None) };
        let foreign = || Refusal::new(Code::SessionForeign, "no such session of this caller");
        let sealed = sealed.to_str().map_err(|_| foreign())?;
        let upstream = gate
            .sessions
            .open(sealed, &self.binding_of(&caller.proven.principal, caller.proven.user.as_ref()))
            .ok_or_else(foreign)?;
        HeaderValue::from_str(&upstream).map(Some).map_err(|_| foreign())
    }
}
