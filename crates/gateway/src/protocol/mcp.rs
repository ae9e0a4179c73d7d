//! MCP over streamable HTTP: 2025-06-18 and 2025-11-25 (sessions), 2026-07-28 (stateless), on one endpoint.
//!
//! Every method of every era is listed here. One that is not is refused: what cannot be understood cannot be governed.

pub mod listing;
pub mod listing_filter;
pub mod session;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Method, Response};
use vidimus_core::call::{Action, Arguments, Ask, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::resource::McpServer;

use super::jsonrpc::{self, Envelope};
use super::observe::Observe;
use super::sse::TooLong;
use super::{
    Answer, Binding, DocumentChange, EventChange, MAX_NAME, MAX_URI, Message, Operation, Parsed,
    check_spelling,
};
use listing::Listing;

/// The stateless version.
pub const MODERN: &str = "2026-07-28";
/// The versions with a handshake that are served, newest first.
pub const HANDSHAKE: [&str; 2] = ["2025-11-25", "2025-06-18"];

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const VERSION_HEADER: &str = "mcp-protocol-version";
const METHOD_HEADER: &str = "mcp-method";
const NAME_HEADER: &str = "mcp-name";

const PASSED_HEADERS: [&str; 9] = [
    "accept",
    "accept-language",
    "user-agent",
    "mcp-",
    "last-event-id",
    "tracestate",
    "baggage",
    "x-request-id",
    "idempotency-key",
];

/// The streamable HTTP transport: POST of a message; GET and DELETE of a session in the handshake eras.
#[derive(Debug)]
pub struct StreamableHttp;

impl Binding for StreamableHttp {
    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        if !matches!(path, "" | "/") {
            return Err(Refusal::new(
                Code::RouteUnknown,
                "nothing is served at this path below the object's route",
            ));
        }
        match *method {
            Method::POST | Method::GET | Method::DELETE => {
                Ok(Operation { has_body: *method == Method::POST, path: "".into() })
            }
            _ => Err(Refusal::method_not_allowed("MCP", "POST, GET, DELETE")),
        }
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        let Destination::Server(server) = message.destination else {
            return Err(Refusal::new(Code::Internal, "this binding is not the destination's"));
        };
        let mut parsed = match message.json {
            Some(json) => posted(server, message.headers, json)?,
            None => of_session(server, message.method),
        };
        let sealed = message.headers.get(session::HEADER);
        parsed.sealed = sealed.map(|value| (HeaderName::from_static(session::HEADER), value));
        Ok(parsed)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Box<str>> {
        jsonrpc::id_text(message)
    }

    fn refused(&self, refusal: &Refusal, call: &str, id: Option<&str>) -> Response<String> {
        let supported = [MODERN].into_iter().chain(HANDSHAKE).collect();
        let error = jsonrpc::Error { number: number(refusal.code), supported, refusal, call };
        // A decided refusal of a request is a JSON-RPC answer: SDKs hand its text to the agent's developer, and keep the
        // session. Everything else has the status that says it to HTTP.
        let answered = refusal.code.class() == Class::Forbidden || refusal.code == Code::ResourceUnknown;
        error.response(id, answered && id.is_some())
    }
}

/// The number of a code in a JSON-RPC error.
fn number(code: Code) -> i64 {
    match code {
        Code::HeaderMismatch => -32020,
        Code::ProtocolVersionUnsupported => -32022,
        _ => jsonrpc::number(code),
    }
}

/// A POSTed message.
fn posted<'a>(
    server: &'a Arc<McpServer>,
    headers: &HeaderMap,
    body: &'a Json<'a>,
) -> Result<Parsed<'a>, Refusal> {
    match Envelope::of(body)? {
        Envelope::Request { method, params } => {
            agree(headers, method, params)?;
            request(server, method, params)
        }
        Envelope::Notification { method, params } => {
            agree(headers, method, params)?;
            notification(server, method)
        }
        Envelope::Response => Ok(connect(server, "response")),
    }
}

/// The server's own stream of the handshake eras (GET), and the end of a session (DELETE).
fn of_session<'a>(server: &'a Arc<McpServer>, method: &Method) -> Parsed<'a> {
    if *method == Method::DELETE {
        return connect(server, "session/end");
    }
    let stream = connect(server, "session/stream");
    // It replays what an earlier answer held (`Last-Event-ID`), so listings in it are filtered.
    let answer =
        Answer { events: Some(EventChange::Listings(TooLong::EndsStream)), open_ended: true, ..passed() };
    Parsed::new(Ask { streaming: true, ..stream.ask }, answer)
}

/// The members of `params` that are read here.
const READ: [&str; 7] = ["name", "uri", "arguments", "ref", "notifications", "protocolVersion", "_meta"];

/// Whether a message belongs to the stateless era.
pub fn is_modern(headers: &HeaderMap, params: Option<&Json<'_>>) -> bool {
    body_version(params).is_some() || single(headers, VERSION_HEADER).ok().flatten() == Some(MODERN)
}

fn request<'a>(
    server: &'a Arc<McpServer>,
    method: &'a str,
    params: Option<&'a Json<'a>>,
) -> Result<Parsed<'a>, Refusal> {
    if let Some(params) = params {
        check_spelling(params, &READ)?;
    }
    let about = |action, target| Parsed::new(Ask::about(method, action, target), passed());
    let listing = |listing| {
        let events = Some(EventChange::Listings(TooLong::EndsStream));
        let document = Some(DocumentChange::Listing(listing));
        Parsed::new(connect(server, method).ask, Answer { document, events, ..passed() })
    };
    Ok(match method {
        "tools/call" => {
            let target = Target::Tool { server, name: name(params)? };
            let arguments = params.and_then(|p| p.get("arguments")).map_or(Arguments::None, Arguments::Known);
            Parsed::new(Ask { arguments, ..Ask::about(method, Action::InvokeTool, target) }, passed())
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            about(Action::ReadResource, Target::Resource { server, uri: uri(params)? })
        }
        "prompts/get" => about(Action::GetPrompt, Target::Prompt { server, name: name(params)? }),
        "completion/complete" => completion(server, params)?,
        "subscriptions/listen" => listen(server, params)?,
        "tools/list" => listing(Listing::Tools),
        "resources/list" => listing(Listing::Resources),
        "resources/templates/list" => listing(Listing::ResourceTemplates),
        "prompts/list" => listing(Listing::Prompts),
        "initialize" => {
            let wanted = text(params, "protocolVersion", MAX_NAME)?;
            // A client may offer any handshake version; the server answers with one it has. A stateless one has no handshake.
            if wanted == MODERN {
                return Err(Refusal::new(
                    Code::ProtocolVersionUnsupported,
                    "protocol version 2026-07-28 has no initialize; send server/discover",
                ));
            }
            let answer = Answer { seals: Some(session::HEADER), ..passed() };
            Parsed::new(connect(server, method).ask, answer)
        }
        "server/discover" | "ping" | "logging/setLevel" | "tasks/get" | "tasks/list" | "tasks/cancel"
        | "tasks/result" | "tasks/update" => connect(server, method),
        _ => return Err(unknown(method)),
    })
}

fn notification<'a>(server: &'a Arc<McpServer>, method: &'a str) -> Result<Parsed<'a>, Refusal> {
    match method {
        "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed"
        | "notifications/tasks/status"
        | "notifications/elicitation/complete" => Ok(connect(server, method)),
        _ => Err(unknown(method)),
    }
}

/// What is about the server as a whole.
fn connect<'a>(server: &'a Arc<McpServer>, method: &'a str) -> Parsed<'a> {
    Parsed::new(Ask::about(method, Action::ConnectServer, Target::Server(server)), passed())
}

/// An answer that passes as it comes. Any of an MCP server's streams may come to carry the answer to another request: one that
/// is resumed replays it, and two requests of one id may get each other's. So listings are taken out of every stream; events
/// too long to be looked at are passed on where the stream was not asked for a listing.
fn passed() -> Answer {
    Answer { events: Some(EventChange::Listings(TooLong::Passes)), ..Answer::pass(Observe::RpcError) }
}

/// `completion/complete` is about the prompt or the resource that it completes.
fn completion<'a>(server: &'a Arc<McpServer>, params: Option<&'a Json<'a>>) -> Result<Parsed<'a>, Refusal> {
    let reference = params.and_then(|p| p.get("ref"));
    reference.map_or(Ok(()), |reference| check_spelling(reference, &["type", "name", "uri"]))?;
    let (action, target) = match reference.and_then(|r| r.get("type")).and_then(Json::as_str) {
        Some("ref/prompt") => (Action::GetPrompt, Target::Prompt { server, name: name(reference)? }),
        Some("ref/resource") => (Action::ReadResource, Target::Resource { server, uri: uri(reference)? }),
        _ => {
            return Err(Refusal::new(
                Code::MessageInvalid,
                "params.ref.type must be \"ref/prompt\" or \"ref/resource\"",
            ));
        }
    };
    Ok(Parsed::new(Ask::about("completion/complete", action, target), passed()))
}

/// `subscriptions/listen` names resources; one decision covers one resource, so more than one is refused, not guessed at.
fn listen<'a>(server: &'a Arc<McpServer>, params: Option<&'a Json<'a>>) -> Result<Parsed<'a>, Refusal> {
    let notifications = params.and_then(|p| p.get("notifications"));
    notifications.map_or(Ok(()), |given| check_spelling(given, &["resourceSubscriptions"]))?;
    let uris = notifications.and_then(|n| n.get("resourceSubscriptions"));
    let (action, target) = match uris.map(|uris| uris.as_array()) {
        None | Some(Some([])) => (Action::ConnectServer, Target::Server(server)),
        Some(Some([Json::String(uri)])) => {
            let uri = bounded(uri, "notifications.resourceSubscriptions[0]", MAX_URI)?;
            (Action::ReadResource, Target::Resource { server, uri })
        }
        Some(_) => {
            return Err(Refusal::new(
                Code::MessageInvalid,
                "params.notifications.resourceSubscriptions may name one resource; open one stream per resource",
            ));
        }
    };
    let ask = Ask { streaming: true, ..Ask::about("subscriptions/listen", action, target) };
    Ok(Parsed::new(ask, Answer { open_ended: true, ..passed() }))
}

fn name<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    text(params, "name", MAX_NAME)
}

fn uri<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    text(params, "uri", MAX_URI)
}

/// A required text member of 1 to `maximum` bytes.
fn text<'a>(params: Option<&'a Json<'a>>, member: &str, maximum: usize) -> Result<&'a str, Refusal> {
    let Some(text) = params.and_then(|p| p.get(member)).and_then(Json::as_str) else {
        let message = format!("params.{member} is missing or not a string");
        return Err(Refusal::new(Code::MessageInvalid, message));
    };
    bounded(text, member, maximum)
}

fn bounded<'a>(text: &'a str, member: &str, maximum: usize) -> Result<&'a str, Refusal> {
    if (1..=maximum).contains(&text.len()) {
        return Ok(text);
    }
    Err(Refusal::new(Code::MessageInvalid, format!("params.{member} must have 1 to {maximum} bytes")))
}

fn unknown(method: &str) -> Refusal {
    let shown: String = method.chars().take(64).collect();
    Refusal::new(Code::MethodUnknown, format!("method {shown:?} is not a method of a served MCP version"))
}

fn body_version<'a>(params: Option<&'a Json<'a>>) -> Option<&'a Json<'a>> {
    params?.get("_meta")?.get(META_VERSION)
}

/// Header and body must agree (2026-07-28, transports, "Custom headers"): two readers of one request must see one request.
fn agree(headers: &HeaderMap, method: &str, params: Option<&Json<'_>>) -> Result<(), Refusal> {
    let mismatch = |what: String| Err(Refusal::new(Code::HeaderMismatch, what));
    let version = single(headers, VERSION_HEADER)?;
    let in_body = body_version(params);
    if let Some(value) = in_body {
        let value = value.as_str();
        if value.is_none() || version != value {
            return mismatch(format!("header {VERSION_HEADER} and params._meta[{META_VERSION:?}] differ"));
        }
    }
    match version {
        None | Some(MODERN) => {}
        Some(version) if HANDSHAKE.contains(&version) => {}
        Some(version) => {
            let shown: String = version.chars().take(32).collect();
            return Err(Refusal::new(
                Code::ProtocolVersionUnsupported,
                format!(
                    "protocol version {shown:?} is not served; served: {MODERN}, {}",
                    HANDSHAKE.join(", ")
                ),
            ));
        }
    }
    let modern = is_modern(headers, params);
    let method_header = single(headers, METHOD_HEADER)?;
    if (modern || method_header.is_some()) && method_header != Some(method) {
        return mismatch(format!("header {METHOD_HEADER} does not name the method of the body"));
    }
    let name = match method {
        "tools/call" | "prompts/get" => params.and_then(|p| p.get("name")),
        "resources/read" => params.and_then(|p| p.get("uri")),
        _ => None,
    };
    let name_header = single(headers, NAME_HEADER)?;
    if let Some(name) = name.and_then(Json::as_str)
        && (modern || name_header.is_some())
        && name_header.and_then(decode).as_deref() != Some(name)
    {
        return mismatch(format!("header {NAME_HEADER} does not name what the body names"));
    }
    Ok(())
}

/// The only value of a header. Two lines of one routing header would let two readers see two requests.
fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::new(Code::HeaderMismatch, format!("header {name} is given twice")));
    }
    first
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Refusal::new(Code::HeaderMismatch, format!("header {name} is not ASCII")))
        })
        .transpose()
}

/// Header text, or what `=?base64?…?=` holds; `None` for a malformed or non-canonical encoding, so that it matches nothing.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(payload) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    // STANDARD refuses non-canonical trailing bits and missing padding.
    String::from_utf8(STANDARD.decode(payload).ok()?).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
