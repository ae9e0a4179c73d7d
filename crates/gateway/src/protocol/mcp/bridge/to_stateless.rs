//! What a client with a session says, to a server without: each request says all by itself. And what such a server says, to that
//! client.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::super::{META_VERSION, METHOD_HEADER, MODERN, NAME_HEADER, VERSION_HEADER, encoded};
use super::object::{self, with};
use super::session::Session;
use super::{QUESTIONS, unlike};
use crate::protocol::members::{Members, quoted, text};

const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// How many questions one result may ask.
const MOST_QUESTIONS: usize = 16;

/// A further round of a request, once the client has answered what the server asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Of the request, which is another one: JSON.
    pub id: String,
    /// The answers by the server's keys, where it asked something: a JSON object.
    pub responses: Option<String>,
    /// What the server wants to have again, where it wants something: JSON.
    pub state: Option<String>,
}

/// What a server asks its client, by which it makes the request again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions {
    /// The server's key of each, its method, and its parameters as JSON.
    pub asked: Vec<(String, String, String)>,
    pub state: Option<String>,
}

/// A request as a stateless server takes it. `None` for what is no request.
pub fn request(
    message: &str,
    session: &Session,
    level: Option<&str>,
    round: Option<&Round>,
) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(message).ok()?;
    let params = members.get("params").map_or("{}", RawValue::get);
    let own: Members<'_> = serde_json::from_str(params).ok()?;
    let meta = own.get("_meta").map(RawValue::get).filter(|meta| meta.starts_with('{')).unwrap_or("{}");
    let meta = said(meta, session, level)?;
    let mut set = vec![("_meta", meta.as_str())];
    if let Some(round) = round {
        set.extend(round.responses.as_deref().map(|responses| ("inputResponses", responses)));
        set.extend(round.state.as_deref().map(|state| ("requestState", state)));
    }
    // A client of that era knows nothing of these: what it sent by such a name would be taken for an answer.
    let params = with(params, &["inputResponses", "requestState"], &set)?;
    let mut set = vec![("params", params.as_str())];
    set.extend(round.map(|round| ("id", round.id.as_str())));
    with(message, &[], &set)
}

/// `server/discover`, by which a session begins.
pub fn discover(session: &Session) -> Option<String> {
    let meta = said("{}", session, None)?;
    Some(format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{meta}}}}}"#))
}

/// `subscriptions/listen` for all that a stream of a session may tell.
pub fn listen(session: &Session, id: &str, uris: &[String]) -> Option<String> {
    let meta = said("{}", session, None)?;
    let uris = serde_json::to_string(uris).ok()?;
    let wanted = format!(
        r#"{{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":{uris}}}"#
    );
    Some(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"_meta":{meta},"notifications":{wanted}}}}}"#
    ))
}

/// `_meta` with what a stateless request says of its client.
fn said(meta: &str, session: &Session, level: Option<&str>) -> Option<String> {
    let (version, capabilities) = (quoted(MODERN), session.capabilities.json(MODERN));
    let (client, level) = (serde_json::to_string(&session.client).ok()?, level.map(quoted));
    let mut set = vec![(META_VERSION, &*version), (META_CLIENT, &client), (META_CAPABILITIES, &capabilities)];
    set.extend(level.as_deref().map(|level| (META_LEVEL, level)));
    with(meta, &[META_LEVEL], &set)
}

/// The headers that say the same (2026-07-28, "Standard Request Headers").
pub fn label(headers: &mut HeaderMap, method: &str, params: Option<&Json<'_>>) {
    headers.insert(VERSION_HEADER, HeaderValue::from_static(MODERN));
    if let Ok(method) = HeaderValue::from_str(method) {
        headers.insert(METHOD_HEADER, method);
    }
    let named = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return,
    };
    let name = params.and_then(|params| params.get(named)).and_then(Json::as_str);
    if let Some(Ok(name)) = name.map(|name| HeaderValue::from_str(&encoded(name))) {
        headers.insert(HeaderName::from_static(NAME_HEADER), name);
    }
}

/// The result of `initialize`, by that of `server/discover`; both are JSON.
///
/// # Errors
/// `upstream_invalid` for a server that does not say that it speaks the stateless version.
pub fn initialized(discovered: &str, version: &str) -> Result<String, Refusal> {
    let unread = |_| unlike("the server's answer to server/discover could not be read");
    let members = Members::unique(discovered).map_err(unread)?;
    let versions = members.get("supportedVersions").map(RawValue::get);
    let versions: Vec<String> = versions.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    if !versions.iter().any(|version| version == MODERN) {
        return Err(unlike("the server does not speak 2026-07-28"));
    }
    let none = r#"{"name":"unknown","version":"0"}"#;
    let meta = members.object("_meta").map_err(unread)?;
    let server = meta.as_ref().and_then(|meta| meta.get(META_SERVER)).map_or(none, RawValue::get);
    let capabilities = members.get("capabilities").map_or("{}", RawValue::get);
    // What else it has are extensions of its era.
    let capabilities = with(capabilities, &["extensions", "experimental", "tasks"], &[]);
    let capabilities = capabilities.ok_or_else(|| unlike("the server's capabilities are no object"))?;
    let version = quoted(version);
    let mut set =
        vec![("protocolVersion", &*version), ("capabilities", &capabilities), ("serverInfo", server)];
    set.extend(members.get("instructions").map(|text| ("instructions", text.get())));
    with("{}", &[], &set).ok_or_else(|| Refusal::new(Code::Internal, "an answer could not be written"))
}

/// What a result asks; `None` for one that is the answer.
///
/// # Errors
/// `upstream_invalid` for questions that are none.
pub fn questions(result: &str) -> Result<Option<Questions>, Refusal> {
    let unread = |_| unlike("what the server asks its client could not be read");
    let members = Members::unique(result).map_err(unread)?;
    if members.get("resultType").and_then(text).as_deref() != Some("input_required") {
        return Ok(None);
    }
    let state = members.get("requestState").map(|state| state.get().to_owned());
    let mut asked = Vec::new();
    if let Some(all) = members.object("inputRequests").map_err(unread)? {
        for (key, question) in &all.0 {
            let question = Members::unique(question.get()).map_err(unread)?;
            let method = question.get("method").and_then(text).unwrap_or_default();
            if !QUESTIONS.contains(&&*method) || asked.len() == MOST_QUESTIONS {
                return Err(unlike("the server asks its client what no client answers, or too much at once"));
            }
            let params = question.get("params").map_or("{}", RawValue::get);
            asked.push((key.clone().into_owned(), method, object::line(params)));
        }
    }
    Ok(Some(Questions { asked, state }))
}

/// One of them, as the request that a client with a session answers. `id` is no JSON.
pub fn question(method: &str, params: &str, id: &str) -> Option<String> {
    let own = quoted(id);
    let members: Members<'_> = serde_json::from_str(params).ok()?;
    let is_url = members.get("mode").and_then(text).as_deref() == Some("url");
    // There a question that leads to an address has an id (2025-11-25, "URL Mode Elicitation Requests").
    let params = match method == "elicitation/create" && is_url {
        true => with(params, &[], &[("elicitationId", &own)])?,
        false => params.to_owned(),
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{own},"method":{},"params":{params}}}"#, quoted(method)))
}
