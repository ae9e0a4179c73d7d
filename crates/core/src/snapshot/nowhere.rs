//! What records of agents, servers and providers say that leads nowhere: what they name and nobody has registered, or not so that it could be
//! used, and what nothing is done by. It is found out in each call, so whoever writes the record is told before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::borne::mention;
use super::registered::Registered;
use super::reject::{self, some_of};
use crate::resource::llm_provider::{Alternative, Failover, ProviderType};
use crate::resource::{Agent, At, LlmProvider, McpServer, Object, Rejection};

/// What to do about a name that nothing has.
const UNREGISTERED: &str = "correct the name, or register it";

/// So many tools of one object are told of that do not exist: more would cost whoever builds a snapshot, and say nothing else.
pub(super) const MOST_TOLD: usize = 16;

/// A part of a record that leads nowhere.
#[derive(Debug)]
pub(super) struct Nowhere {
    /// Its path in the object.
    pub(super) field: String,
    /// What stands there.
    pub(super) value: String,
    /// Why it does not lead anywhere.
    pub(super) reason: String,
    /// What to write.
    pub(super) fix: String,
}

impl Nowhere {
    fn new(
        field: impl Into<String>,
        value: &str,
        (reason, fix): (impl Into<String>, impl Into<String>),
    ) -> Self {
        Self { field: field.into(), value: value.to_owned(), reason: reason.into(), fix: fix.into() }
    }
}

/// What is to be said of an object, with these registered beside it.
pub(super) fn remarks(object: &Object, registered: &Registered) -> Vec<Rejection> {
    let found: Vec<Nowhere> = match object {
        Object::Agent(agent) => uncalled(agent).into_iter().collect(),
        Object::McpServer(server) => {
            let named = agent_of(server, registered).into_iter().chain(members_of(server, registered));
            named.chain(tools_of(server)).chain(pinned(server)).chain(left_out(server)).collect()
        }
        Object::LlmProvider(provider) => {
            let failover = provider.failover.iter();
            let others = failover.clone().flat_map(|failover| failover.to.iter().enumerate());
            let others = others.filter_map(|one| alternative_of(provider, one, registered));
            others.chain(failover.filter_map(unshared)).chain(doubled(provider)).collect()
        }
        Object::Service(_) | Object::Policy(_) => Vec::new(),
    };
    found.into_iter().map(|one| reject::leads_nowhere(object, one)).collect()
}

/// All names on which it depends what is said of an object, as [`mention`] has them.
pub(super) fn mentions(object: &Object) -> Vec<u64> {
    match object {
        Object::McpServer(server) => {
            let agent = server.endpoint.agent.iter().map(|agent| mention("Agent", &agent.agent));
            let members = server.members.iter().flat_map(|members| members.all.iter());
            agent.chain(members.map(|member| mention("MCPServer", &member.server))).collect()
        }
        Object::LlmProvider(provider) => {
            let others = provider.failover.iter().flat_map(|failover| &failover.to);
            others.map(|other| mention("LLMProvider", &other.provider)).collect()
        }
        Object::Agent(_) | Object::Service(_) | Object::Policy(_) => Vec::new(),
    }
}

/// Whether two objects of one name are the same to those that name them: nothing differs that is looked up for these.
pub(super) fn is_alike(one: &Object, other: &Object) -> bool {
    match (one, other) {
        (Object::Agent(one), Object::Agent(other)) => one.endpoint.is_some() == other.endpoint.is_some(),
        (Object::McpServer(one), Object::McpServer(other)) => {
            one.members == other.members && all_tools(one) == all_tools(other)
        }
        (Object::LlmProvider(one), Object::LlmProvider(other)) => {
            (&one.models, &one.aliases, &one.labels) == (&other.models, &other.aliases, &other.labels)
        }
        (Object::Service(_), Object::Service(_)) => true,
        _ => false,
    }
}

/// All tools of a server, where its record has them.
pub(super) fn all_tools(server: &McpServer) -> Option<Vec<&str>> {
    fn names<T>(tools: &BTreeMap<Arc<str>, T>) -> Vec<&str> {
        tools.keys().map(|name| &**name).collect()
    }
    let endpoint = &server.endpoint;
    let of_grpc = endpoint.grpc_tools.as_ref().map(|grpc| names(&grpc.tools));
    let of_agent = || endpoint.agent.as_ref().map(|agent| names(&agent.tools));
    let of_api = || endpoint.openapi.as_ref().map(|api| names(&api.tools));
    let of_job = || endpoint.job.as_ref().map(|job| names(&job.tools));
    of_grpc.or_else(of_agent).or_else(of_api).or_else(of_job)
}

/// Whether a server cannot have a tool: its record has all that it has, and not this one.
pub(super) fn lacks_tool(server: &McpServer, name: &str) -> bool {
    let endpoint = &server.endpoint;
    if let Some(grpc) = &endpoint.grpc_tools {
        !grpc.tools.contains_key(name)
    } else if let Some(agent) = &endpoint.agent {
        !agent.tools.contains_key(name)
    } else if let Some(api) = &endpoint.openapi {
        !api.tools.contains_key(name)
    } else if let Some(job) = &endpoint.job {
        !job.tools.contains_key(name)
    } else {
        false
    }
}

/// The tool that was meant: the only one that ends so, whatever stands between letters, as a method is written without its service or with its
/// package (`Invoices_GetInvoice`).
pub(super) fn meant<'a>(all: &[&'a str], found: &str) -> Option<&'a str> {
    let mut ending = all.iter().copied().filter(|name| ends_with(name, found) || ends_with(found, name));
    match (ending.next(), ending.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// Whether a name ends as another one does, which has letters.
fn ends_with(name: &str, end: &str) -> bool {
    let (mut of_name, mut of_end) = (letters_from_end(name), letters_from_end(end).peekable());
    of_end.peek().is_some() && of_end.all(|letter| of_name.next() == Some(letter))
}

fn letters_from_end(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().rev().filter(u8::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase())
}

/// Of an agent that nobody calls nobody gets a card.
fn uncalled(agent: &Agent) -> Option<Nowhere> {
    let is_so = agent.card_keys.is_some() && agent.endpoint.is_none();
    let why = "the agent has no endpoint, so no card of it is passed on that these keys could verify";
    is_so.then(|| Nowhere::new("spec.card", "", (why, "remove it, or give the agent spec.endpoint")))
}

fn agent_of(server: &McpServer, registered: &Registered) -> Option<Nowhere> {
    let name = &*server.endpoint.agent.as_ref()?.agent;
    let why = match registered.agents.get(name) {
        None => (format!("no Agent {name} is registered"), UNREGISTERED),
        Some(agent) if agent.endpoint.is_none() => (
            format!("the Agent {name} has no endpoint, so nobody can call it"),
            "give it spec.endpoint, or name another one",
        ),
        Some(_) => return None,
    };
    Some(Nowhere::new("spec.agent.name", name, why))
}

fn members_of<'s>(server: &'s McpServer, registered: &'s Registered) -> impl Iterator<Item = Nowhere> + 's {
    let all = server.members.iter().flat_map(|members| members.all.iter()).enumerate();
    all.filter_map(move |(place, member)| {
        let name = &*member.server;
        let why = match registered.mcp_servers.get(name) {
            None => (format!("no MCPServer {name} is registered"), UNREGISTERED),
            Some(other) if other.members.is_some() => (
                format!("the MCPServer {name} has members itself, and is no member"),
                "name its members one by one",
            ),
            Some(_) => return None,
        };
        Some(Nowhere::new(format!("spec.members[{place}].server"), name, why))
    })
}

/// The tools of which a record says something, and that it does not have although it has all that there are.
fn tools_of(server: &McpServer) -> Vec<Nowhere> {
    let spec = At::Root.key("spec");
    let (tools, sets) = (spec.key("tools"), spec.key("toolSets"));
    let said = server.tools.keys().map(|tool| (None, tool));
    let in_sets =
        server.tool_sets.iter().flat_map(|(set, all)| all.iter().map(move |tool| (Some(set), tool)));
    let unknown = said.chain(in_sets).filter(|(_, tool)| lacks_tool(server, tool));
    let told = unknown.take(MOST_TOLD).map(|(set, tool)| {
        let all = all_tools(server).unwrap_or_default();
        let fix = match meant(&all, tool) {
            Some(meant) => format!("write {meant}"),
            None => format!("write one of its tools: {}", some_names(&all)),
        };
        let field = set.map_or_else(|| tools.key(tool).to_string(), |set| sets.key(set).to_string());
        Nowhere::new(field, tool, ("the server has no tool of this name", fix))
    });
    told.collect()
}

/// The operations of an API's document that are no tools, although its record does not say which are.
fn left_out(server: &McpServer) -> Vec<Nowhere> {
    let Some(api) = &server.endpoint.openapi else { return Vec::new() };
    let told = api.left_out.iter();
    let told = told.map(|one| {
        let reason = match &one.operation {
            Some(operation) => format!("the operation {operation} is no tool: {}", one.reason),
            None => format!("no operation of this path is a tool: {}", one.reason),
        };
        Nowhere::new(&*one.field, &one.value, (reason, &*one.fix))
    });
    let more = (api.more_left_out > 0).then(|| {
        let reason = format!("so it is with {} more of the document", api.more_left_out);
        let fix = "name those that are to be tools in spec.openapi.operations: of one that is named it is told why it cannot be one";
        Nowhere::new("spec.openapi.document.paths", "", (reason, fix))
    });
    told.chain(more).collect()
}

/// What a record has need not be pinned.
fn pinned(server: &McpServer) -> Option<Nowhere> {
    let is_so = server.integrity.is_some() && all_tools(server).is_some();
    let why = "what the tools are stands in this record and changes with it alone; of what is pinned beside it, only that is called";
    is_so.then(|| Nowhere::new("spec.integrity", "", (why, "remove it")))
}

/// Another provider that is never tried.
fn alternative_of(
    provider: &LlmProvider,
    (place, other): (usize, &Alternative),
    registered: &Registered,
) -> Option<Nowhere> {
    let name = &*other.provider;
    let own = || provider.models.iter().map(|model| &*model.name);
    let (reason, fix) = match registered.llm_providers.get(name) {
        None => (format!("no LLMProvider {name} is registered"), UNREGISTERED.to_owned()),
        Some(there) if !own().any(|model| there.meant(model).is_some()) => {
            let models = some_names(&own().collect::<Vec<_>>());
            let reason = format!(
                "LLMProvider {name} has no model or alias by a name of a model here, so it is never tried"
            );
            (
                reason,
                format!(
                    "list one of these under its models, or as a name of one of them under its aliases: {models}"
                ),
            )
        }
        Some(there) if there.labels != provider.labels => (
            format!(
                "LLMProvider {name} does other things with information (spec.labels), so it is never tried"
            ),
            "name one that does the same".to_owned(),
        ),
        Some(_) => return None,
    };
    Some(Nowhere::new(format!("spec.failover.to[{place}].provider"), name, (reason, fix)))
}

/// Nobody has a share.
fn unshared(failover: &Failover) -> Option<Nowhere> {
    let is_so = failover.weight == 0 && failover.to.iter().all(|other| other.weight == 0);
    let why = "nobody has a share of the calls, so this provider is asked, and the others in its place";
    let fix = "leave it out where that is meant, or give another provider a weight";
    is_so.then(|| Nowhere::new("spec.failover.weight", "0", (why, fix)))
}

/// An address that ends in what the API's own paths begin with, as the base URLs of SDKs do.
fn doubled(provider: &LlmProvider) -> Option<Nowhere> {
    let (own, paths): (&[&str], _) = match provider.provider {
        // The record says where the API is.
        _ if provider.api_path.is_some() => return None,
        ProviderType::OpenAi | ProviderType::OpenAiCompatible => (&["v1"], "v1/chat/completions"),
        ProviderType::Anthropic => (&["v1"], "v1/messages"),
        ProviderType::Gemini => (&["v1beta", "v1"], "v1beta/models"),
        ProviderType::Azure => (&["openai/v1", "openai"], "openai/v1/chat/completions"),
        ProviderType::Bedrock => return None,
    };
    let url = provider.endpoint.url.as_str().trim_end_matches('/');
    let path = provider.endpoint.url.path().trim_end_matches('/');
    let is_end = |own: &&&str| path.strip_suffix(**own).is_some_and(|before| before.ends_with('/'));
    let own = *own.iter().find(is_end)?;
    let before = url.strip_suffix(own)?.trim_end_matches('/');
    let reason = format!("it ends in /{own}, which is the API's own: calls go to {url}/{paths}");
    let fix = format!("write {before}");
    Some(Nowhere::new("spec.endpoint.url", url, (reason, fix)))
}

/// The first few.
pub(super) fn some_names(all: &[&str]) -> String {
    some_of(all.iter().map(|name| (*name).to_owned())).join(", ")
}
