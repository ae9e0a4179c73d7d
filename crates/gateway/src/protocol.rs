//! The governed protocols. Each has a folder that owns its wire: paths, methods, messages, errors, what passes of its headers,
//! and what becomes of its answers. Everything else knows a protocol only as a [`Binding`].
//!
//! An adapter is pure: a message in, what it asks out; no I/O and no policy.

pub mod a2a;
pub mod beside;
pub mod carrier;
pub mod event;
pub mod handles;
pub mod jsonrpc;
pub mod llm;
pub mod mcp;
pub mod members;
pub mod observe;
pub mod page;
pub mod question;
pub mod rest;
pub mod skim;
pub mod sse;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use vidimus_core::call::{Ask, Call, Destination};
use vidimus_core::json::{Json, JsonError, same_key};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Kind;
use vidimus_core::snapshot::Snapshot;

use crate::followed::Followed;
use crate::gate::Limits;
use crate::reply::ReplyBody;
use crate::route::{Protocol, Route};
use crate::seal::{self, Holder};
use crate::standing::StandingState;
use carrier::Carrier;
use members::Replaced;
use observe::Observe;

/// The longest name of a tool, prompt or skill, in bytes. MCP 2025-11-25 ("Tool names") wants at most 128 characters.
pub const MAX_NAME: usize = 256;

/// The longest URI of a resource, in bytes. Neither protocol has a limit; entity ids, records and log fields need one.
pub const MAX_URI: usize = 2_048;

/// One way in which a governed protocol is spoken: all that is on the wire between a caller, the gateway and an upstream.
pub trait Binding: fmt::Debug + Sync {
    /// The headers, besides `Authorization`, in which SDKs that ask by a path send their key.
    fn key_headers(&self, _path: &str) -> &'static [&'static str] {
        &[]
    }

    /// The longest body of a request, in bytes.
    fn body_limit(&self, limits: &Limits) -> usize {
        limits.message_body
    }

    /// The headers of a caller that go on, by name, or by prefix where one ends in `-`. An allow-list: there is no end of
    /// headers by which one or the other server lets itself be told another method, path or user.
    fn passed_headers(&self) -> &'static [&'static str];

    /// The names of the query that go on. None of the protocols has a query of its own; some SDKs add one.
    fn passed_query(&self) -> &'static [&'static str] {
        &[]
    }

    /// The operation that a method and the path below the object's route name.
    ///
    /// # Errors
    /// `route_unknown` or `method_not_allowed`: a path that is not understood is not passed on.
    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal>;

    /// A request as the message that [`Binding::parse`] reads, where that is not its body as it stands. `rest` is the path below the
    /// object's route.
    ///
    /// # Errors
    /// A refusal for what says something that the message cannot say, or the same thing twice.
    fn lifted(
        &self,
        _destination: &Destination,
        _parts: &Parts,
        _rest: &str,
        body: &Bytes,
    ) -> Result<Bytes, Refusal> {
        Ok(body.clone())
    }

    /// A message as the request that goes on: the other way. `path` is that of its operation, `tenant` that of the agent's record.
    ///
    /// # Errors
    /// `internal` for what is no message that was lifted; `upstream_invalid` for an id of the upstream's that no path can have.
    fn lowered(
        &self,
        _method: &Method,
        path: Cow<'static, str>,
        message: Bytes,
        _tenant: Option<&str>,
    ) -> Result<Lowered, Refusal> {
        Ok(Lowered { path, body: message, below: Below::Url, crossed: None })
    }

    /// The body of the answer to a request that was lifted, of the whole answer to its message; `None` where that passes as it is. Status and
    /// type of the body are the upstream's ([`rest::Came`]).
    ///
    /// # Errors
    /// `upstream_invalid` for an answer that says nothing to the request.
    fn answered(&self, _answer: &[u8]) -> Result<Option<Bytes>, Refusal> {
        Ok(None)
    }

    /// What a message asks, and what is to become of it and of its answer.
    ///
    /// # Errors
    /// A refusal for anything that is not one message of a served version whose headers agree with its body.
    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal>;

    /// The body that goes upstream: the caller's own bytes, unless [`Parsed::amends`].
    ///
    /// # Errors
    /// `internal` for a body that is not the message that was parsed before.
    fn amended(&self, body: &Bytes) -> Result<Bytes, Refusal> {
        Ok(body.clone())
    }

    /// The answer to a call that the gateway answers itself ([`Expected::Own`]).
    /// `model`: it is about this one alone.
    fn own_answer(&self, _call: &Call<'_>, _world: &Snapshot, _model: Option<&str>) -> Option<String> {
        None
    }

    /// What identifies a message to its sender, as the text that [`Binding::refused`] answers with, and that an upstream's answer
    /// has to name. None of a message that is not to be answered.
    fn message_id(&self, _message: &Json<'_>) -> Option<Arc<str>> {
        None
    }

    /// A refusal as this protocol says it: status, content type and body. `id` is what [`Binding::message_id`] found.
    fn refused(&self, refusal: &Refusal, call: &str, id: Option<&str>) -> Response<String>;

    /// Whether somebody waits for more of a stream that a fault of the upstream's ends, and so is to be told of it. `answered`: what was
    /// asked had been answered before.
    fn ends_streams(&self, answered: bool, _id: Option<&str>) -> bool {
        !answered
    }

    /// An answer as it leaves, where its streams are something else on the wire than events. `limit`: an event may have so many bytes.
    fn sent(&self, answer: Response<ReplyBody>, _limit: usize) -> Response<ReplyBody> {
        answer
    }

    /// A refusal as the last event of a stream; `error` is the body of [`Binding::refused`], which has no line feed.
    fn last_event(&self, error: &str) -> String {
        format!("data: {error}\n\n")
    }
}

/// What a request's method and path name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whether it has a message, which is JSON: its body, or what is lifted of it.
    pub has_body: bool,
    /// The path below the upstream's registered address; empty for that address itself.
    pub path: Cow<'static, str>,
}

impl Operation {
    /// The same by another path, where there is one.
    pub fn by(self, path: Option<Cow<'static, str>>) -> Self {
        Self { path: path.unwrap_or(self.path), ..self }
    }
}

/// A request as it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The path below the upstream's address, and the query behind it.
    pub path: Cow<'static, str>,
    pub body: Bytes,
    pub below: Below,
    /// How its answer is read, where it goes on in another version of its protocol than its caller's.
    pub crossed: Option<a2a::version::Crossed>,
}

/// Which of an upstream's addresses a request goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// The registered one.
    Url,
    /// The same, as a message of JSON-RPC is sent, by whatever method of HTTP it was asked.
    Rpc,
    /// That below which an agent is served over HTTP+JSON; by what its caller asked, where that was asked in another binding.
    Rest(Option<a2a::rest::Sent>),
    /// That at which an agent is served over gRPC.
    Grpc(a2a::grpc::Sent),
}

/// A request, as its adapter reads it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub destination: &'a Destination,
    pub method: &'a Method,
    /// The path below the object's route.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    /// Who sends it, as the holder of the ids that the gateway sealed.
    pub holder: &'a Holder<'a>,
    pub json: Option<&'a Json<'a>>,
    /// Length of the body.
    pub bytes: usize,
    /// What was learned of the object from its answers.
    pub standing: Option<&'a StandingState>,
}

/// Members of a body that do not go on, each by the path that leads to it: what the gateway had given its sender, who gives it back.
pub type Dropped = &'static [&'static [&'static str]];

/// A message, understood.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    pub ask: Ask<'a>,
    pub expected: Expected,
    /// How its sender is told that the call waits for a person, where it does.
    pub carrier: Carrier<'a>,
    /// The task of the gateway's own that it asks for.
    pub held: Option<a2a::held::Asked<'a>>,
    /// What of the body does not go on. It is no part of what is approved either.
    pub dropped: Dropped,
    /// The body is changed on its way ([`Binding::amended`]).
    pub amends: bool,
    /// It was lifted ([`Binding::lifted`]), or is for a provider of another API ([`llm::shapes`]): what goes on is written anew.
    pub lifted: bool,
    /// What it says of where news of a task go.
    pub webhook: Option<Box<a2a::webhook::Said>>,
    /// What of the body goes on with another value: ids that the gateway sealed earlier, opened.
    pub replaced: Vec<Replaced>,
    /// Headers that go on with another value than the caller's, if with any: the same.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The path that it goes on by, where that is not its operation's: another name of the model stands in it.
    pub path: Option<Cow<'static, str>>,
    /// What it is about beside what is asked, of which only what is permitted goes on.
    pub followed: Vec<Followed>,
    /// What goes on in place of the message, where it is the gateway that has to ask.
    pub instead: Option<Box<Instead>>,
    /// The model that a listing is asked for alone, by the name that the caller has for it.
    pub model: Option<&'a str>,
    /// Why it is not carried out, where that tells something of the destination: only who may make the call learns it.
    pub fault: Option<Box<Refusal>>,
}

/// A request of the gateway's own, in place of a caller's that cannot be answered without it. It is decided and recorded as what it is.
#[derive(Clone, Debug)]
pub struct Instead {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The version of the protocol that the caller asked for.
    pub requested: Box<str>,
}

/// How a call is answered, as far as the request tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// By the upstream.
    Upstream(Answer),
    /// By the gateway: nothing goes upstream.
    Own,
}

/// What becomes of an upstream's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the record needs to learn from it.
    pub observe: Observe,
    /// How it changes where it succeeded and is one document.
    pub document: Option<DocumentChange>,
    /// How it changes where it is a stream of events.
    pub events: Option<EventChange>,
    /// A header of it that is sealed to the caller and route, and as what.
    pub seals: Option<(&'static str, seal::Kind)>,
    /// It has no end of its own, so it ends with the caller's credential.
    pub open_ended: bool,
    pub leaves: Leaves,
}

/// As what an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    AsItComes,
    /// It comes as responses of JSON-RPC (A2A 1.0), and leaves as what HTTP+JSON has in their place.
    Bare,
    /// The same of 0.3, whose HTTP+JSON has the JSON of its schema, to a method of JSON-RPC.
    OldBare(&'static str),
}

/// A change of an answer that has to be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentChange {
    /// Entries that the caller may not use are taken out.
    Listing(mcp::listing::Listing),
    /// Addresses in an agent card become the gateway's. `rpc`: the card is the result of a JSON-RPC response.
    Card { rpc: bool },
    /// The ids of an MCP server's tasks are sealed, and of a list of tasks only the caller's own stay.
    McpTasks(sse::TooLong),
    /// The ids of an agent's tasks and contexts are sealed, and of a list of tasks only the caller's own stay.
    A2aTasks(a2a::sealed::Shape, a2a::Framing),
    /// Nothing but what policies demand that is redacted.
    Redacted,
    /// Nothing but what it names of a member of the server that was asked.
    OfMember,
    /// Nothing, but what a server asks in it of its client is decided, and so it is read whole.
    Asks,
    /// Nothing: what an MCP server says of itself is looked at.
    Introduction,
    /// The versions that an MCP server serves are learned from it; the caller gets the fault of having asked for another one.
    McpVersions,
}

/// A change of events on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventChange {
    /// Of whatever listing is in one, only what the caller may use stays; ids of tasks and of the events themselves are sealed.
    Listings(sse::TooLong),
    /// As [`DocumentChange::A2aTasks`], and the ids of the events themselves are sealed.
    A2aTasks(a2a::sealed::Shape, a2a::Framing),
    /// The token usage that the gateway, not the caller, asked for is taken out.
    WithoutUsage,
}

/// The binding to answer in before the object is known: what the path and the headers look like.
pub fn binding_by_path(route: &Route<'_>, headers: &HeaderMap) -> &'static dyn Binding {
    match route.protocol {
        Protocol::Mcp => &mcp::StreamableHttp,
        Protocol::A2a => a2a::binding_at(route.rest, headers),
        Protocol::Llm => llm::binding_by_path(route.rest),
        Protocol::Rest => &rest::Rest,
    }
}

/// The binding that the registered object speaks.
pub fn binding_of(destination: &Destination) -> &'static dyn Binding {
    match destination {
        Destination::Server(_) => &mcp::StreamableHttp,
        Destination::Agent(_) => &a2a::JsonRpc::OLD,
        Destination::Provider(provider) => llm::binding_of(provider),
    }
}

/// The binding that the registered object speaks below this route, to who sends these headers.
pub fn binding_at(destination: &Destination, route: &Route<'_>, headers: &HeaderMap) -> &'static dyn Binding {
    match destination {
        Destination::Agent(_) => a2a::binding_at(route.rest, headers),
        Destination::Provider(provider) => llm::binding_at(provider, route.rest),
        Destination::Server(_) if route.protocol == Protocol::Rest => &rest::Rest,
        Destination::Server(_) => binding_of(destination),
    }
}

/// The registered object that a route addresses.
///
/// # Errors
/// `resource_unknown`, `name_contested`.
pub fn destination(world: &Snapshot, route: &Route<'_>) -> Result<Destination, Refusal> {
    let (found, kind) = match route.protocol {
        Protocol::Mcp | Protocol::Rest => {
            (world.mcp_server(route.key).cloned().map(Destination::Server), Kind::McpServer)
        }
        Protocol::A2a => (world.agent(route.key).cloned().map(Destination::Agent), Kind::Agent),
        Protocol::Llm => {
            (world.llm_provider(route.key).cloned().map(Destination::Provider), Kind::LlmProvider)
        }
    };
    found.ok_or_else(|| world.absent(kind, route.key, Code::ResourceUnknown))
}

impl<'a> Message<'a> {
    /// The body, which this operation has.
    ///
    /// # Errors
    /// `message_invalid` without one.
    pub fn body(&self) -> Result<&'a Json<'a>, Refusal> {
        self.json.ok_or_else(|| Refusal::new(Code::MessageInvalid, "the request has no body"))
    }
}

impl<'a> Parsed<'a> {
    /// The message goes on as it is.
    pub fn new(ask: Ask<'a>, answer: Answer) -> Self {
        Self::expecting(ask, Expected::Upstream(answer))
    }

    /// The message goes on as it is, if it goes on.
    pub fn expecting(ask: Ask<'a>, expected: Expected) -> Self {
        Self {
            ask,
            expected,
            carrier: Carrier::Refusal,
            held: None,
            dropped: &[],
            amends: false,
            lifted: false,
            webhook: None,
            replaced: Vec::new(),
            headers: Vec::new(),
            path: None,
            followed: Vec::new(),
            instead: None,
            model: None,
            fault: None,
        }
    }
}

impl Answer {
    /// Passed on as it comes.
    pub const fn pass(observe: Observe) -> Self {
        Self {
            observe,
            document: None,
            events: None,
            seals: None,
            open_ended: false,
            leaves: Leaves::AsItComes,
        }
    }
}

impl DocumentChange {
    /// What becomes of an answer that is too long to be read whole. What only seals passes: an id that is not sealed opens nothing.
    pub fn too_long(self) -> sse::TooLong {
        match self {
            Self::McpTasks(too_long) => too_long,
            Self::A2aTasks(shape, _) => shape.too_long(),
            Self::OfMember | Self::Asks | Self::Introduction => sse::TooLong::Passes,
            Self::Listing(_) | Self::Card { .. } | Self::McpVersions | Self::Redacted => {
                sse::TooLong::EndsStream
            }
        }
    }

    /// Whether it is made whatever the answer's status: a listing is one with an error status as well, and a server that does not know
    /// what the gateway asked says so by one.
    pub const fn is_of_any_status(self) -> bool {
        matches!(self, Self::Listing(_) | Self::McpVersions)
    }
}

/// Refuses an object that spells a member that is read here in another way: some servers would read it all the same. Those that
/// read protobuf's JSON take `task_id` for `taskId`, others do not care for case.
pub fn check_spelling(object: &Json<'_>, read: &[&str]) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default();
    let mut others = members.iter().map(|(key, _)| &**key).filter(|key| !read.contains(key));
    let misspelled = others.find_map(|key| read.iter().find(|name| is_same_member(key, name)));
    misspelled.map_or(Ok(()), |name| {
        let message = format!("member {name:?} is spelled in another way; write it as the protocol does");
        Err(Refusal::new(Code::MessageInvalid, message))
    })
}

/// Whether some reader takes `key` for the member `name`.
pub fn is_same_member(key: &str, name: &str) -> bool {
    let has_words = || name.bytes().any(|byte| byte.is_ascii_uppercase());
    same_key(key, name) || key.contains('_') && has_words() && same_key(&key.replace('_', ""), name)
}

/// Parses a body strictly, in the words of a refusal.
pub fn parse(body: &[u8]) -> Result<Json<'_>, Refusal> {
    Json::parse(body).map_err(|error| {
        let code = match &error {
            JsonError::NotUtf8 { .. } => Code::BodyNotUtf8,
            JsonError::DuplicateKey { .. } => Code::DuplicateKey,
            JsonError::Syntax { .. } => Code::BodyNotJson,
            JsonError::TooMany => Code::BodyTooLarge,
        };
        Refusal::new(code, format!("the body is not acceptable JSON: {error}"))
    })
}

#[cfg(test)]
pub(crate) mod tests;
