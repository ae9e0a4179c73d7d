//! What a client without a session says, to a server that has one with the gateway. And what such a server says, to that client.

use http::StatusCode;
use serde_json::value::RawValue;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::super::{HANDSHAKE, META_VERSION, versions};
use super::capabilities::Capabilities;
use super::object::{self, with};
use super::unlike;
use crate::protocol::members::{Members, quoted, text};

const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const PROGRESS_TOKEN: &str = "progressToken";

/// What a `requestState` of the bridge's begins with; the rest names what is held for the caller. All others are an upstream's.
const STATE: &str = "vidimus-bridge.";
/// The longest description of a client that goes on, in bytes.
const LONGEST_CLIENT: usize = 1_024;
/// The longest of what a server says when a session begins, in bytes: it is kept as long as the session.
const LONGEST_BEGINNING: usize = 256 * 1024;
/// `URLElicitationRequiredError` (2025-11-25).
const URL_ELICITATION_REQUIRED: i64 = -32042;
/// The methods whose result says for how long it may be kept (2026-07-28, "Caching").
const CACHED: [&str; 6] = [
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "resources/read",
];

/// What a stateless request says of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Of the request, as JSON.
    pub id: String,
    pub method: String,
    pub capabilities: Capabilities,
    /// What it calls the progress of the request, as JSON.
    pub token: Option<String>,
    /// It takes messages for a log.
    pub logs: bool,
}

impl Client {
    /// Of a request; `None` for what is none.
    pub fn of(message: &str, params: Option<&Json<'_>>) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(message).ok()?;
        let meta = params.and_then(|params| params.get("_meta"));
        Some(Self {
            id: members.get("id")?.get().to_owned(),
            method: members.get("method").and_then(text)?,
            capabilities: Capabilities::of(meta.and_then(|meta| meta.get(META_CAPABILITIES))),
            token: token(&members),
            logs: meta.is_some_and(|meta| meta.get(META_LEVEL).is_some()),
        })
    }
}

/// The token of progress of a request, as JSON, where it is text or a number.
fn token(members: &Members<'_>) -> Option<String> {
    let params: Members<'_> = serde_json::from_str(members.get("params")?.get()).ok()?;
    let meta: Members<'_> = serde_json::from_str(params.get("_meta")?.get()).ok()?;
    let token = meta.get(PROGRESS_TOKEN)?.get();
    token.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9')).then(|| token.to_owned())
}

/// `initialize`, for a client that says this of itself.
pub fn initialize(capabilities: Capabilities, params: Option<&str>) -> String {
    let client = params.and_then(client_info);
    let own = || format!(r#"{{"name":"vidimus","version":{}}}"#, quoted(env!("CARGO_PKG_VERSION")));
    let (version, client) = (HANDSHAKE[0], client.unwrap_or_else(own));
    let capabilities = capabilities.json(version);
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{client}}}}}"#
    )
}

fn client_info(params: &str) -> Option<String> {
    let params: Members<'_> = serde_json::from_str(params).ok()?;
    let meta: Members<'_> = serde_json::from_str(params.get("_meta")?.get()).ok()?;
    let client = meta.get(META_CLIENT)?.get();
    (client.starts_with('{') && client.len() <= LONGEST_CLIENT).then(|| object::line(client))
}

/// What a server said when its session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub version: &'static str,
    /// What it says of itself: the result of `initialize`, JSON.
    pub said: String,
}

impl Begun {
    /// # Errors
    /// `upstream_invalid` for a result that is none, or is of a version that is not served.
    pub fn of(result: &str) -> Result<Self, Refusal> {
        if result.len() > LONGEST_BEGINNING {
            return Err(unlike("the server says too much of itself when a session begins"));
        }
        let members = Members::unique(result)
            .map_err(|_| unlike("the server's answer to initialize could not be read"))?;
        let said = members.get("protocolVersion").and_then(text);
        let version = HANDSHAKE.into_iter().find(|version| said.as_deref() == Some(*version));
        let version =
            version.ok_or_else(|| unlike("the server answers initialize in a version that is not served"))?;
        Ok(Self { version, said: object::line(result) })
    }

    /// The result of `server/discover`, JSON.
    pub fn discovered(&self) -> Option<String> {
        let members: Members<'_> = serde_json::from_str(&self.said).ok()?;
        let versions = serde_json::to_string(&versions::SERVED).ok()?;
        let capabilities = members.get("capabilities").map_or("{}", RawValue::get);
        let capabilities = with(capabilities, &["tasks", "experimental"], &[])?;
        let meta = members.get("serverInfo").map(|server| format!(r#"{{"{META_SERVER}":{}}}"#, server.get()));
        let mut set = vec![("supportedVersions", &*versions), ("capabilities", &capabilities)];
        set.extend(meta.as_deref().map(|meta| ("_meta", meta)));
        set.extend(members.get("instructions").map(|text| ("instructions", text.get())));
        complete(&with("{}", &[], &set)?, "server/discover")
    }
}

/// A request by another id and, where it has one, by that as its token of progress. `None` for what is no request.
pub fn request(message: &str, id: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(message).ok()?;
    let Some(params) = members.get("params").map(RawValue::get) else {
        return with(message, &[], &[("id", id)]);
    };
    let own: Members<'_> = serde_json::from_str(params).ok()?;
    let meta = own.get("_meta").map(RawValue::get).filter(|meta| meta.starts_with('{')).unwrap_or("{}");
    let token = token(&members).map(|_| (PROGRESS_TOKEN, id));
    let without = [META_VERSION, META_CLIENT, META_CAPABILITIES, META_LEVEL, PROGRESS_TOKEN];
    let meta = with(meta, &without, token.as_slice())?;
    let set = if meta == "{}" { None } else { Some(("_meta", meta.as_str())) };
    // Nor has the client's era a `task` of a call, of which a server of sessions would make one.
    let params = with(params, &["_meta", "inputResponses", "requestState", "task"], set.as_slice())?;
    with(message, &[], &[("id", id), ("params", &params)])
}

/// The held question that a request answers, and its answer, JSON; `None` of a request that answers none of the bridge's.
pub fn answers(params: Option<&str>) -> Option<(String, Option<String>)> {
    let members: Members<'_> = serde_json::from_str(params?).ok()?;
    let state = members.get("requestState").and_then(text)?;
    let handle = state.strip_prefix(STATE)?.to_owned();
    let responses: Option<Members<'_>> =
        members.get("inputResponses").and_then(|all| serde_json::from_str(all.get()).ok());
    let answer = responses.and_then(|all| all.get(KEY).map(|answer| object::line(answer.get())));
    Some((handle, answer))
}

/// The bridge's own key among input requests: it asks one thing at once.
const KEY: &str = "1";

/// The result by which a client is asked, and makes its request again.
pub fn input_required(id: &str, (method, params): (&str, &str), handle: &str) -> Option<String> {
    // That era has no ids of them.
    let params = with(params, &["elicitationId", "task"], &[])?;
    let (method, state) = (quoted(method), quoted(&format!("{STATE}{handle}")));
    let result = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"{KEY}":{{"method":{method},"params":{params}}}}},"requestState":{state}}}"#
    );
    Some(object::result(id, &result))
}

/// A response by the client's id, as that client takes it.
pub fn answered(response: &Members<'_>, client: &Client) -> Option<String> {
    if let Some(error) = response.get("error") {
        let leads = client.capabilities.leads_to_urls().then(|| led(error.get())).flatten();
        return Some(match leads {
            Some(result) => object::result(&client.id, &result),
            None => {
                format!(r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#, client.id, object::line(error.get()))
            }
        });
    }
    let result = complete(response.get("result")?.get(), &client.method)?;
    Some(object::result(&client.id, &object::line(&result)))
}

/// The status of HTTP by which the client's era says an error, where it has one for it: there is no such method, the headers say something else,
/// the client cannot do what it takes, or the version is not spoken.
pub fn status(response: &Members<'_>) -> Option<StatusCode> {
    let error: Members<'_> = serde_json::from_str(response.get("error")?.get()).ok()?;
    match error.get("code")?.get() {
        "-32601" => Some(StatusCode::NOT_FOUND),
        "-32020" | "-32021" | "-32022" => Some(StatusCode::BAD_REQUEST),
        _ => None,
    }
}

/// A result that says that it is one.
fn complete(result: &str, method: &str) -> Option<String> {
    let mut set = vec![("resultType", r#""complete""#)];
    if CACHED.contains(&method) {
        set.extend([("ttlMs", "0"), ("cacheScope", r#""private""#)]);
    }
    with(result, &[], &set)
}

/// What stands for the error by which a server leads the client's user to addresses. Who went there makes the request again.
fn led(error: &str) -> Option<String> {
    let error: Members<'_> = serde_json::from_str(error).ok()?;
    if error.get("code")?.get() != URL_ELICITATION_REQUIRED.to_string() {
        return None;
    }
    let data: Members<'_> = serde_json::from_str(error.get("data")?.get()).ok()?;
    let all: Vec<&RawValue> = serde_json::from_str(data.get("elicitations")?.get()).ok()?;
    let mut asked = Vec::new();
    for (number, one) in all.iter().enumerate() {
        let params = with(one.get(), &["elicitationId"], &[("mode", r#""url""#)])?;
        asked.push(format!(r#""{number}":{{"method":"elicitation/create","params":{params}}}"#));
    }
    let asked = asked.join(",");
    (!asked.is_empty()).then(|| format!(r#"{{"resultType":"input_required","inputRequests":{{{asked}}}}}"#))
}

/// What a notification within the answer to a request is to its client; `None` of one that it did not ask for.
pub fn notified(message: &str, members: &Members<'_>, client: &Client) -> Option<String> {
    match members.get("method").and_then(text).as_deref() {
        Some("notifications/progress") => {
            let token = client.token.as_deref()?;
            let params = with(members.get("params")?.get(), &[], &[(PROGRESS_TOKEN, token)])?;
            with(message, &[], &[("params", &params)])
        }
        Some("notifications/message") if client.logs => Some(message.to_owned()),
        _ => None,
    }
}

/// What a client wants to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    tools: bool,
    prompts: bool,
    resources: bool,
    /// Of which resources.
    pub uris: Vec<String>,
}

impl Wanted {
    /// Of the parameters of `subscriptions/listen`.
    pub fn of(params: Option<&Json<'_>>) -> Self {
        let notifications = params.and_then(|params| params.get("notifications"));
        let wants = |name| notifications.and_then(|all| all.get(name)) == Some(&Json::Bool(true));
        let uris = notifications.and_then(|all| all.get("resourceSubscriptions")).and_then(Json::as_array);
        let uris = uris.unwrap_or_default().iter().filter_map(Json::as_str).map(str::to_owned).collect();
        Self {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
            uris,
        }
    }

    /// What the server tells of it, where it can.
    #[must_use]
    pub fn of_what_is_told(mut self, begun: &Begun) -> Self {
        let said: serde_json::Value = serde_json::from_str(&begun.said).unwrap_or_default();
        let can = |path: &str| said.pointer(path) == Some(&serde_json::Value::Bool(true));
        self.tools &= can("/capabilities/tools/listChanged");
        self.prompts &= can("/capabilities/prompts/listChanged");
        self.resources &= can("/capabilities/resources/listChanged");
        if !can("/capabilities/resources/subscribe") {
            self.uris.clear();
        }
        self
    }

    /// That the stream has begun, and what it tells.
    pub fn acknowledged(&self, id: &str) -> String {
        let mut told: Vec<String> = Vec::new();
        for (is_told, name) in [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ] {
            if is_told {
                told.push(format!(r#""{name}":true"#));
            }
        }
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| quoted(uri)).collect();
            told.push(format!(r#""resourceSubscriptions":[{}]"#, uris.join(",")));
        }
        let told = told.join(",");
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{META_SUBSCRIPTION}":{id}}},"notifications":{{{told}}}}}}}"#
        )
    }

    /// A notification of the server's own stream, where it is wanted.
    pub fn told(&self, message: &str, members: &Members<'_>, id: &str) -> Option<String> {
        let params = members.get("params").map_or("{}", RawValue::get);
        let of: Members<'_> = serde_json::from_str(params).ok()?;
        let is_wanted = match members.get("method").and_then(text)?.as_str() {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => {
                of.get("uri").and_then(text).is_some_and(|uri| self.uris.contains(&uri))
            }
            _ => false,
        };
        if !is_wanted {
            return None;
        }
        let meta = of.get("_meta").map(RawValue::get).filter(|meta| meta.starts_with('{')).unwrap_or("{}");
        let meta = with(meta, &[], &[(META_SUBSCRIPTION, id)])?;
        let params = with(params, &[], &[("_meta", &meta)])?;
        with(message, &[], &[("params", &params)])
    }
}

/// That a stream has ended which the server told by.
pub fn listened(id: &str) -> String {
    object::result(id, &format!(r#"{{"resultType":"complete","_meta":{{"{META_SUBSCRIPTION}":{id}}}}}"#))
}

/// That nothing could be written of what was read: a fault of the gateway's own.
pub fn unwritten() -> Refusal {
    Refusal::new(Code::Internal, "a message between the eras of MCP could not be written")
}
