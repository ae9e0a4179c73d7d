//! MCP over streamable HTTP: 2024-11-05 to 2025-11-25 (sessions), 2026-07-28 (stateless), on one endpoint.
//!
//! Every method of every era is listed here. One that is not is refused: what cannot be understood cannot be governed.

pub mod bridge;
pub mod definition;
pub mod held;
pub mod introduction;
pub mod labels;
pub mod listen;
pub mod listing;
pub mod listing_filter;
pub mod mirrored;
pub mod multiplex;
mod named;
pub mod pinned;
pub mod questions;
mod resource_uri;
pub mod results;
pub mod schema;
pub mod sealed;
mod tasks;
pub mod versions;

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use vidimus_core::call::{Action, Arguments, Ask, Destination, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::resource::McpServer;

use self::resource_uri::normal;
use super::carrier::Carrier;
use super::jsonrpc::{self, Envelope};
use super::observe::Observe;
use super::sse::TooLong;
use super::{
    Answer, Binding, DocumentChange, EventChange, Expected, MAX_NAME, MAX_URI, Message, Operation, Parsed,
    check_spelling,
};
use crate::part::Part;
use crate::seal::Kind;
use listing::Listing;
use named::{READ, names_no_other, only};
use tasks::Sender;

/// The stateless version.
pub const MODERN: &str = "2026-07-28";
/// The versions with a handshake that are served, newest first.
pub const HANDSHAKE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The header that says which version is spoken.
pub const VERSION_HEADER: &str = "mcp-protocol-version";
/// The header that says which method a request is of.
pub const METHOD_HEADER: &str = "mcp-method";
/// The header that says what a request names.
pub const NAME_HEADER: &str = "mcp-name";
/// The session header of the handshake eras.
pub const SESSION_HEADER: &str = "mcp-session-id";
/// The server's own stream (GET), as it is asked for.
pub const STREAM: &str = "session/stream";
/// How a tool is called.
pub const CALL: &str = "tools/call";
/// How a client takes back a request, by its id.
pub const CANCELLED: &str = "notifications/cancelled";
/// After which event a stream is resumed (handshake eras).
pub const LAST_EVENT_HEADER: &str = "last-event-id";
/// The member of `_meta` that names the task which a message belongs to (2025-11-25).
const RELATED: &str = "io.modelcontextprotocol/related-task";

const PASSED_HEADERS: [&str; 8] = [
    "accept",
    "accept-language",
    "user-agent",
    "mcp-",
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
            Some(json) => posted(message, server, json)?,
            None => without_body(message, server)?,
        };
        if let Some(sealed) = single(message.headers, SESSION_HEADER)? {
            let foreign = || Refusal::new(Code::SessionForeign, "no such session of this caller");
            let session = held::session(message.holder, message.headers, sealed)?;
            let (opened, carrier) = session.ok_or_else(foreign)?;
            if parsed.carrier == Carrier::Refusal {
                parsed.carrier = carrier;
            }
            let value = HeaderValue::from_str(&opened.id).map_err(|_| foreign())?;
            parsed.headers.push((HeaderName::from_static(SESSION_HEADER), value));
        }
        Ok(parsed)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Arc<str>> {
        jsonrpc::id_text(message)
    }

    fn refused(&self, refusal: &Refusal, call: &str, id: Option<&str>) -> Response<String> {
        let supported = [MODERN].into_iter().chain(HANDSHAKE).collect();
        let error = jsonrpc::Error { number: number(refusal.code), supported, refusal, call };
        // A decided refusal of a request is a JSON-RPC answer: SDKs hand its text to the agent's developer, and keep the
        // session. Everything else has the status that says it to HTTP.
        let answered = matches!(refusal.code.class(), Class::Forbidden | Class::TooMany)
            || matches!(
                refusal.code,
                Code::ResourceUnknown | Code::NameContested | Code::TaskForeign | Code::EraUnbridged
            );
        error.response(id, answered && id.is_some())
    }

    fn ends_streams(&self, answered: bool, id: Option<&str>) -> bool {
        !answered && id.is_some()
    }
}

/// The number of a code in a JSON-RPC error.
fn number(code: Code) -> i64 {
    match code {
        Code::HeaderMismatch => -32020,
        Code::ProtocolVersionUnsupported => -32022,
        // "Invalid or nonexistent taskId" (2025-11-25 and the tasks extension); invalid params (2026-07-28, SEP-2575).
        Code::TaskForeign | Code::ParamsInvalid => -32602,
        _ => jsonrpc::number(code),
    }
}

/// The end of a session, or its stream.
fn without_body<'a>(message: &Message<'a>, server: &'a Arc<McpServer>) -> Result<Parsed<'a>, Refusal> {
    labels::check_none(message.headers)?;
    match *message.method {
        Method::DELETE => Ok(connect(server, "session/end")),
        _ => stream_of_session(message, server),
    }
}

/// A POSTed message.
fn posted<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    body: &'a Json<'a>,
) -> Result<Parsed<'a>, Refusal> {
    let headers = message.headers;
    let (mut parsed, related) = match Envelope::of(body)? {
        Envelope::Request { method, params } => {
            if let Some(wanted) = versions::not_served(headers, params)? {
                return versions::asked(server, body, wanted);
            }
            agree(headers, method, params)?;
            let related = tasks::related(message, "params", params, Sender::Asks)?;
            let parsed = request(message, server, method, params)?;
            params.map_or(Ok(()), |params| names_no_other(method, params))?;
            (parsed, related)
        }
        Envelope::Notification { method, params } => {
            agree(headers, method, params)?;
            versions::check_method(headers, method, is_modern(headers, params))?;
            let related = tasks::related(message, "params", params, Sender::Tells)?;
            (notification(server, method)?, related)
        }
        Envelope::Response => {
            labels::check_none(headers)?;
            let related = tasks::related(message, "result", body.get("result"), Sender::Tells)?;
            (connect(server, "response"), related)
        }
    };
    parsed.replaced.extend(related);
    Ok(parsed)
}

/// The server's own stream of the handshake eras (GET). One that is resumed replays what an earlier stream held, so it is asked
/// for as what that one answered.
fn stream_of_session<'a>(message: &Message<'a>, server: &'a Arc<McpServer>) -> Result<Parsed<'a>, Refusal> {
    // Listings may be in it, whatever it replays.
    let answer =
        Answer { events: Some(EventChange::Listings(TooLong::EndsStream)), open_ended: true, ..passed() };
    let Some(sealed) = message.headers.get(LAST_EVENT_HEADER) else {
        return Ok(Parsed::new(Ask { streaming: true, ..connect(server, STREAM).ask }, answer));
    };
    let foreign = || Refusal::new(Code::SessionForeign, "no such event of a stream of this caller");
    let sealed = sealed.to_str().map_err(|_| foreign())?;
    let opened = message.holder.decisive(Kind::Event, sealed).ok_or_else(foreign)?;
    let (action, target, arguments) = match &opened.part {
        Part::Whole => (Action::ConnectServer, Target::Server(server), Arguments::None),
        Part::Tool(name) => (Action::InvokeTool, Target::Tool { server, name }, Arguments::Unknown),
        Part::Resource(uri) => (Action::ReadResource, Target::Resource { server, uri }, Arguments::None),
        Part::Prompt(name) => (Action::GetPrompt, Target::Prompt { server, name }, Arguments::None),
        Part::Skill(_) | Part::Model(_) => return Err(foreign()),
    };
    let ask = Ask { streaming: true, arguments, ..Ask::about(STREAM, action, target) };
    let mut parsed = Parsed::new(ask, answer);
    let value = HeaderValue::from_str(&opened.id).map_err(|_| foreign())?;
    parsed.headers.push((HeaderName::from_static(LAST_EVENT_HEADER), value));
    Ok(parsed)
}

/// Whether a message belongs to the stateless era.
pub fn is_modern(headers: &HeaderMap, params: Option<&Json<'_>>) -> bool {
    body_version(params).is_some() || single(headers, VERSION_HEADER).ok().flatten() == Some(MODERN)
}

fn request<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    method: &'a str,
    params: Option<&'a Json<'a>>,
) -> Result<Parsed<'a>, Refusal> {
    if let Some(params) = params {
        check_spelling(params, &READ)?;
    }
    let modern = is_modern(message.headers, params);
    versions::check_method(message.headers, method, modern)?;
    // What is marked stands in the tool's schema, which is for who may use the tool.
    let fault = mirrored::check(message, server, method, params).err();
    let fault = fault.or_else(|| bridge::unbridged(server, method, params, modern));
    let fault = fault.or_else(|| versions::without_meta(server, params, modern));
    let about = |action, target| Parsed::new(Ask::about(method, action, target), passed());
    let listing = |listing| {
        let events = Some(EventChange::Listings(TooLong::EndsStream));
        let document = Some(DocumentChange::Listing(listing));
        Parsed::new(connect(server, method).ask, Answer { document, events, ..passed() })
    };
    let parsed = match method {
        CALL => {
            let target = Target::Tool { server, name: name(params)? };
            let ask = Ask { arguments: arguments(params), ..Ask::about(method, Action::InvokeTool, target) };
            Parsed::new(ask, tasks::answer_of_tool(params))
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            about(Action::ReadResource, Target::Resource { server, uri: uri(params)? })
        }
        "prompts/get" => about(Action::GetPrompt, Target::Prompt { server, name: name(params)? }),
        "completion/complete" => completion(server, params)?,
        "subscriptions/listen" => listen::listen(message, server, params)?,
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
            let seals = Some((SESSION_HEADER, held::kind_of_session(params)));
            let answer = Answer { seals, ..introducing() };
            Parsed::new(connect(server, method).ask, answer)
        }
        "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => {
            tasks::about_one(message, server, method, params)?
        }
        "tasks/list" => tasks::list(message, server, method, params)?,
        versions::DISCOVER => Parsed::new(connect(server, method).ask, introducing()),
        "ping" | "logging/setLevel" => connect(server, method),
        _ => return Err(unknown(method)),
    };
    let parsed =
        Parsed { fault: fault.map(Box::new), expected: asking(parsed.expected, method, modern), ..parsed };
    held::read(parsed, message, (method, params), modern)
}

/// How a request is answered by whose result a server may ask something: that is decided before it passes, and so the result is read whole.
fn asking(expected: Expected, method: &str, modern: bool) -> Expected {
    match expected {
        Expected::Upstream(answer) if modern && held::INTERACTIVE.contains(&method) => {
            Expected::Upstream(Answer { document: answer.document.or(Some(DocumentChange::Asks)), ..answer })
        }
        expected => expected,
    }
}

/// The arguments of a `tools/call`. Nothing is what every server takes `null` for here.
pub fn arguments<'a>(params: Option<&'a Json<'a>>) -> Arguments<'a> {
    let given = params.and_then(|params| params.get("arguments")).filter(|given| **given != Json::Null);
    given.map_or(Arguments::None, Arguments::Known)
}

fn notification<'a>(server: &'a Arc<McpServer>, method: &'a str) -> Result<Parsed<'a>, Refusal> {
    match method {
        "notifications/initialized"
        | CANCELLED
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
    Answer { events: Some(EventChange::Listings(TooLong::Passes)), ..Answer::pass(Observe::Rpc) }
}

/// The same of an answer in which a server says what it is: that is looked at.
fn introducing() -> Answer {
    Answer { document: Some(DocumentChange::Introduction), ..passed() }
}

/// `completion/complete` is about the prompt or the resource that it completes.
fn completion<'a>(server: &'a Arc<McpServer>, params: Option<&'a Json<'a>>) -> Result<Parsed<'a>, Refusal> {
    let reference = params.and_then(|p| p.get("ref"));
    reference.map_or(Ok(()), |reference| check_spelling(reference, &["type", "name", "uri"]))?;
    let (action, target) = match reference.and_then(|r| r.get("type")).and_then(Json::as_str) {
        Some("ref/prompt") => {
            only(reference, "name")?;
            (Action::GetPrompt, Target::Prompt { server, name: name(reference)? })
        }
        Some("ref/resource") => {
            only(reference, "uri")?;
            (Action::ReadResource, Target::Resource { server, uri: uri(reference)? })
        }
        _ => {
            return Err(Refusal::new(
                Code::MessageInvalid,
                "params.ref.type must be \"ref/prompt\" or \"ref/resource\"",
            ));
        }
    };
    Ok(Parsed::new(Ask::about("completion/complete", action, target), passed()))
}

fn name<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    text(params, "name", MAX_NAME)
}

fn uri<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    normal(text(params, "uri", MAX_URI)?)
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

/// The version that a message names, in its headers, in `_meta` or in its handshake.
pub fn version_named<'a>(headers: &'a HeaderMap, message: Option<&'a Json<'a>>) -> Option<&'a str> {
    let params = message.and_then(|message| message.get("params"));
    let in_handshake = || params?.get("protocolVersion")?.as_str();
    let in_header = single(headers, VERSION_HEADER).ok().flatten();
    in_header.or_else(|| body_version(params)?.as_str()).or_else(in_handshake)
}

/// Header and body must agree (2026-07-28, transports, "Custom headers"): two readers of one request must see one request.
fn agree(headers: &HeaderMap, method: &str, params: Option<&Json<'_>>) -> Result<(), Refusal> {
    if let Some(version) = versions::not_served(headers, params)? {
        return Err(versions::refusal(version, versions::SERVED.to_vec()));
    }
    labels::check(headers, method, params, is_modern(headers, params))
}

/// The only value of a header. Two lines of one routing header would let two readers see two requests.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
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

/// The text of a header that says `text`, which need not be one that a header can have.
pub fn encoded(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ';
    match text.bytes().all(plain) && text.trim() == text && !text.starts_with("=?") {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(text))),
    }
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
