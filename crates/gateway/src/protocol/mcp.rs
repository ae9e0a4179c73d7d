//! MCP over streamable HTTP: 2025-06-18 and 2025-11-25 (sessions), 2026-07-28 (stateless), on one endpoint.
//!
//! Every method of every era is listed here. One that is not is refused: what cannot be understood cannot be governed.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use vidimus_core::call::{Action, Arguments, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use super::jsonrpc::Envelope;
use super::{Answer, Ask, LONGEST_NAME, LONGEST_URI, Listing, check_spelling};

/// The stateless version.
pub const MODERN: &str = "2026-07-28";
/// The versions with a handshake that are served, newest first.
pub const HANDSHAKE: [&str; 2] = ["2025-11-25", "2025-06-18"];

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const VERSION_HEADER: &str = "mcp-protocol-version";
const METHOD_HEADER: &str = "mcp-method";
const NAME_HEADER: &str = "mcp-name";

/// Reads one POSTed message.
///
/// # Errors
/// A refusal for anything that is not one message of a served era whose headers agree with its body.
pub fn ask<'a>(
    server: &'a Arc<McpServer>,
    headers: &HeaderMap,
    body: &'a Json<'a>,
) -> Result<Ask<'a>, Refusal> {
    match Envelope::of(body)? {
        Envelope::Request { method, params } => {
            agree(headers, method, params)?;
            request(server, method, params)
        }
        Envelope::Notification { method, params } => {
            agree(headers, method, params)?;
            notification(server, method)
        }
        Envelope::Response => Ok(connect(server, "response", Answer::Pass)),
    }
}

/// The server's own stream of the handshake eras (GET), and the end of a session (DELETE).
pub fn ask_without_body<'a>(server: &'a Arc<McpServer>, method: &http::Method) -> Result<Ask<'a>, Refusal> {
    match *method {
        http::Method::GET => Ok(Ask { streaming: true, ..connect(server, "session/stream", Answer::Stream) }),
        http::Method::DELETE => Ok(connect(server, "session/end", Answer::Pass)),
        _ => Err(Refusal::method_not_allowed("MCP", "POST, GET, DELETE")),
    }
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
) -> Result<Ask<'a>, Refusal> {
    if let Some(params) = params {
        check_spelling(params, &READ)?;
    }
    let ask = |action, target| Ask { action, target, method, ..connect(server, method, Answer::Pass) };
    let listing = |listing| connect(server, method, Answer::Listing(listing));
    Ok(match method {
        "tools/call" => Ask {
            arguments: params.and_then(|p| p.get("arguments")).map_or(Arguments::None, Arguments::Known),
            ..ask(Action::InvokeTool, Target::Tool { server, name: name(params)? })
        },
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            ask(Action::ReadResource, Target::Resource { server, uri: uri(params)? })
        }
        "prompts/get" => ask(Action::GetPrompt, Target::Prompt { server, name: name(params)? }),
        "completion/complete" => completion(server, params)?,
        "subscriptions/listen" => listen(server, params)?,
        "tools/list" => listing(Listing::Tools),
        "resources/list" => listing(Listing::Resources),
        "resources/templates/list" => listing(Listing::ResourceTemplates),
        "prompts/list" => listing(Listing::Prompts),
        "initialize" => {
            let wanted = text(params, "protocolVersion", LONGEST_NAME)?;
            // A client may offer any handshake version; the server answers with one it has. A stateless one has no handshake.
            if wanted == MODERN {
                return Err(Refusal::new(
                    Code::ProtocolVersionUnsupported,
                    "protocol version 2026-07-28 has no initialize; send server/discover",
                ));
            }
            connect(server, method, Answer::Session)
        }
        "server/discover" | "ping" | "logging/setLevel" | "tasks/get" | "tasks/list" | "tasks/cancel"
        | "tasks/result" | "tasks/update" => connect(server, method, Answer::Pass),
        _ => return Err(unknown(method)),
    })
}

fn notification<'a>(server: &'a Arc<McpServer>, method: &'a str) -> Result<Ask<'a>, Refusal> {
    match method {
        "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed"
        | "notifications/tasks/status"
        | "notifications/elicitation/complete" => Ok(connect(server, method, Answer::Pass)),
        _ => Err(unknown(method)),
    }
}

fn connect<'a>(server: &'a Arc<McpServer>, method: &'a str, answer: Answer) -> Ask<'a> {
    Ask {
        method,
        action: Action::ConnectServer,
        target: Target::Server(server),
        arguments: Arguments::None,
        tokens_estimated: 0,
        streaming: false,
        answer,
    }
}

/// `completion/complete` is about the prompt or the resource that it completes.
fn completion<'a>(server: &'a Arc<McpServer>, params: Option<&'a Json<'a>>) -> Result<Ask<'a>, Refusal> {
    let reference = params.and_then(|p| p.get("ref"));
    reference.map_or(Ok(()), |reference| check_spelling(reference, &["type", "name", "uri"]))?;
    let base = connect(server, "completion/complete", Answer::Pass);
    match reference.and_then(|r| r.get("type")).and_then(Json::as_str) {
        Some("ref/prompt") => Ok(Ask {
            action: Action::GetPrompt,
            target: Target::Prompt { server, name: name(reference)? },
            ..base
        }),
        Some("ref/resource") => Ok(Ask {
            action: Action::ReadResource,
            target: Target::Resource { server, uri: uri(reference)? },
            ..base
        }),
        _ => Err(Refusal::new(
            Code::MessageInvalid,
            "params.ref.type must be \"ref/prompt\" or \"ref/resource\"",
        )),
    }
}

/// `subscriptions/listen` names resources; one decision covers one resource, so more than one is refused, not guessed at.
fn listen<'a>(server: &'a Arc<McpServer>, params: Option<&'a Json<'a>>) -> Result<Ask<'a>, Refusal> {
    let base = Ask { streaming: true, ..connect(server, "subscriptions/listen", Answer::Pass) };
    let notifications = params.and_then(|p| p.get("notifications"));
    notifications.map_or(Ok(()), |given| check_spelling(given, &["resourceSubscriptions"]))?;
    let uris = notifications.and_then(|n| n.get("resourceSubscriptions"));
    match uris.map(|uris| uris.as_array()) {
        None | Some(Some([])) => Ok(base),
        Some(Some([Json::String(uri)])) => {
            let uri = bounded(uri, "notifications.resourceSubscriptions[0]", LONGEST_URI)?;
            Ok(Ask { action: Action::ReadResource, target: Target::Resource { server, uri }, ..base })
        }
        Some(_) => Err(Refusal::new(
            Code::MessageInvalid,
            "params.notifications.resourceSubscriptions may name one resource; open one stream per resource",
        )),
    }
}

fn name<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    text(params, "name", LONGEST_NAME)
}

fn uri<'a>(params: Option<&'a Json<'a>>) -> Result<&'a str, Refusal> {
    text(params, "uri", LONGEST_URI)
}

/// A required text member of 1 to `longest` bytes.
fn text<'a>(params: Option<&'a Json<'a>>, member: &str, longest: usize) -> Result<&'a str, Refusal> {
    let Some(text) = params.and_then(|p| p.get(member)).and_then(Json::as_str) else {
        let message = format!("params.{member} is missing or not a string");
        return Err(Refusal::new(Code::MessageInvalid, message));
    };
    bounded(text, member, longest)
}

fn bounded<'a>(text: &'a str, member: &str, longest: usize) -> Result<&'a str, Refusal> {
    if (1..=longest).contains(&text.len()) {
        return Ok(text);
    }
    Err(Refusal::new(Code::MessageInvalid, format!("params.{member} must have 1 to {longest} bytes")))
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
