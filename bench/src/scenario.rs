//! What is measured: the requests of each call, as an official client would send them, and what their answers must be.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::estate::{
    AGENTS, DESK, GRPC_AGENTS, GUARDED, MEMBERS, MODEL, NAMESPACE, PROVIDER, SERVER, TOOLS, WHOLE, WIDE,
    WIDE_PERMITTED, WIDE_TOOLS, member,
};
use crate::grpc;
use crate::load::{Call, Check, Request};
use crate::upstream::{CHUNKS, WIDE_PATH};
use crate::wire;

/// Requests that differ, per connection.
const VARIANTS: usize = 8;

/// Most that a call may cost in relation to the single-server path, in processor time at concurrency 64.
pub(crate) const WIDER_GOAL: f64 = 1.2;

/// The calls that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    McpCall,
    /// The same by one server that stands for eight.
    McpCallMembers,
    /// The list of a server with 1,000 tools, which the caller may all use.
    McpListWhole,
    /// The same, where the caller may use a quarter of them.
    McpList,
    A2aSend,
    /// The same over gRPC, to agents that speak it.
    A2aGrpc,
    /// The same over gRPC, to agents of JSON-RPC.
    A2aGrpcToRpc,
    LlmChat,
    LlmChatStream,
    /// The same from a provider whose answers a guard reads.
    LlmStreamGuarded,
}

/// What an end offers, and how it is addressed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Surface {
    /// Path of the MCP server.
    mcp: Option<String>,
    /// Path of the MCP server with members; of an end without one that of the server.
    #[serde(default)]
    members: Option<String>,
    /// Path of the MCP server with many tools.
    #[serde(default)]
    wide: Option<String>,
    /// Path of the one of which all may be used.
    #[serde(default)]
    whole: Option<String>,
    /// Path of the A2A agents, to which an agent's name is added.
    a2a: Option<String>,
    /// Path of chat completions.
    chat: Option<String>,
    /// Path of those that a guard reads.
    #[serde(default)]
    guarded: Option<String>,
    /// Names of the tools, where they are not those of the upstream.
    #[serde(default)]
    tools: Vec<String>,
    /// Whether the upstream's answers come through byte for byte.
    exact: bool,
}

impl Surface {
    /// The upstream itself.
    pub(crate) fn direct() -> Self {
        let mcp = ["/mcp", "/mcp", WIDE_PATH, WIDE_PATH].map(str::to_owned);
        Self::exact(mcp, "/a2a/".to_owned(), ["/v1/chat/completions"; 2].map(str::to_owned))
    }

    /// Vidimus.
    pub(crate) fn governed() -> Self {
        Self::exact(
            [SERVER, DESK, WIDE, WHOLE].map(|server| format!("/mcp/{NAMESPACE}/{server}")),
            format!("/a2a/{NAMESPACE}/"),
            [PROVIDER, GUARDED].map(|provider| format!("/llm/{NAMESPACE}/{provider}/v1/chat/completions")),
        )
    }

    fn exact([mcp, members, wide, whole]: [String; 4], a2a: String, [chat, guarded]: [String; 2]) -> Self {
        let [mcp, members, wide, whole] = [mcp, members, wide, whole].map(Some);
        Self {
            mcp,
            members,
            wide,
            whole,
            a2a: Some(a2a),
            chat: Some(chat),
            guarded: Some(guarded),
            tools: Vec::new(),
            exact: true,
        }
    }

    /// The path that a scenario's requests go to; for A2A without the agent. `None` where the scenario is not offered.
    pub(crate) fn path(&self, scenario: Scenario) -> Option<&str> {
        match scenario {
            Scenario::McpCall => self.mcp.as_deref(),
            Scenario::McpCallMembers => self.members.as_deref(),
            Scenario::McpListWhole => self.whole.as_deref(),
            Scenario::McpList => self.wide.as_deref(),
            Scenario::A2aSend | Scenario::A2aGrpc | Scenario::A2aGrpcToRpc => self.a2a.as_deref(),
            Scenario::LlmChat | Scenario::LlmChatStream => self.chat.as_deref(),
            Scenario::LlmStreamGuarded => self.guarded.as_deref(),
        }
    }

    fn tool(&self, variant: usize) -> &str {
        let number = variant % TOOLS.len();
        self.tools.get(number).map_or_else(|| TOOLS.get(number).copied().unwrap_or_default(), String::as_str)
    }

    /// What a tool of a member is called, where the end has members.
    fn tool_of_member(&self, variant: usize) -> String {
        let own = self.tool(variant);
        if self.members == self.mcp {
            own.to_owned()
        } else {
            format!("{}__{own}", member(variant % MEMBERS))
        }
    }

    /// Whether the upstream's answers come through byte for byte.
    pub(crate) const fn is_exact(&self) -> bool {
        self.exact
    }
}

/// One end that requests are sent to, and the callers that send them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) surface: &'a Surface,
    pub(crate) address: SocketAddr,
    /// One token for each caller.
    pub(crate) tokens: &'a [String],
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::McpCall => "mcp_call",
            Self::McpCallMembers => "mcp_call_members",
            Self::McpListWhole => "mcp_list_whole",
            Self::McpList => "mcp_list",
            Self::A2aSend => "a2a_send",
            Self::A2aGrpc => "a2a_grpc",
            Self::A2aGrpcToRpc => "a2a_grpc_to_rpc",
            Self::LlmChat => "llm_chat",
            Self::LlmChatStream => "llm_chat_stream",
            Self::LlmStreamGuarded => "llm_stream_guarded",
        }
    }

    /// The name of its protocol in metrics and records.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::McpCall | Self::McpCallMembers | Self::McpListWhole | Self::McpList => "mcp",
            Self::A2aSend | Self::A2aGrpc | Self::A2aGrpcToRpc => "a2a",
            Self::LlmChat | Self::LlmChatStream | Self::LlmStreamGuarded => "llm",
        }
    }

    /// Most gateway CPU per request at concurrency 64, µs.
    pub(crate) const fn cpu_goal(self) -> Option<f64> {
        match self {
            Self::McpCall => Some(110.0),
            // 1.2 times that.
            Self::McpCallMembers => Some(132.0),
            Self::A2aSend => Some(93.0),
            Self::LlmChat => Some(84.0),
            Self::A2aGrpc
            | Self::A2aGrpcToRpc
            | Self::McpListWhole
            | Self::McpList
            | Self::LlmChatStream
            | Self::LlmStreamGuarded => None,
        }
    }

    /// The scenario that it is a wider form of, and may cost at most [`WIDER_GOAL`] times as much as (issue 15, "Shows" 3).
    pub(crate) const fn single(self) -> Option<Self> {
        match self {
            Self::McpCallMembers => Some(Self::McpCall),
            Self::McpList => Some(Self::McpListWhole),
            Self::A2aGrpc | Self::A2aGrpcToRpc => Some(Self::A2aSend),
            Self::LlmStreamGuarded => Some(Self::LlmChatStream),
            Self::McpCall | Self::McpListWhole | Self::A2aSend | Self::LlmChat | Self::LlmChatStream => None,
        }
    }

    /// Most added p50 at concurrency 1, µs.
    pub(crate) const fn latency_goal(self) -> Option<f64> {
        match self {
            Self::McpCall | Self::McpCallMembers | Self::A2aSend | Self::LlmChat => Some(170.0),
            Self::A2aGrpc
            | Self::A2aGrpcToRpc
            | Self::McpListWhole
            | Self::McpList
            | Self::LlmChatStream
            | Self::LlmStreamGuarded => None,
        }
    }

    /// One list of requests for each connection. Callers take turns, and each goes round tools, agents or texts.
    pub(crate) fn scripts(self, end: End<'_>, connections: usize) -> anyhow::Result<Vec<Vec<Request>>> {
        (0..connections)
            .map(|connection| {
                let token = end.tokens.get(connection % end.tokens.len().max(1)).context("no caller")?;
                let session = match self {
                    Self::McpCall | Self::McpCallMembers | Self::McpListWhole | Self::McpList => {
                        self.open_session(end, token)?
                    }
                    _ => None,
                };
                (0..VARIANTS).map(|variant| self.request(end, token, session.as_deref(), variant)).collect()
            })
            .collect()
    }

    /// The agents that are called over gRPC; `None` where HTTP/1.1 is spoken.
    const fn over_grpc(self) -> Option<&'static [&'static str]> {
        match self {
            Self::A2aGrpc => Some(&GRPC_AGENTS),
            Self::A2aGrpcToRpc => Some(&AGENTS),
            _ => None,
        }
    }

    pub(crate) const fn is_grpc(self) -> bool {
        self.over_grpc().is_some()
    }

    /// As [`Scenario::scripts`], over gRPC.
    pub(crate) fn calls(self, end: End<'_>, at_once: usize) -> anyhow::Result<Vec<Vec<Call>>> {
        let agents = self.over_grpc().context("it is not over gRPC")?;
        let below = end.surface.path(self).with_context(|| format!("{} is not offered", self.name()))?;
        let call = |token: &str, variant: usize| {
            let agent = agents.get(variant % agents.len()).context("no agent")?;
            let path = format!("{below}{agent}{}", grpc::METHOD);
            let message = grpc::request(&message(1_000 + variant))?;
            Call::new((end.address, &path), token, message, self.check())
        };
        let of_caller = |number: usize| {
            let token = end.tokens.get(number % end.tokens.len().max(1)).context("no caller")?;
            (0..VARIANTS).map(|variant| call(token, variant)).collect::<anyhow::Result<Vec<Call>>>()
        };
        (0..at_once).map(of_caller).collect()
    }

    fn request(
        self,
        end: End<'_>,
        token: &str,
        session: Option<&str>,
        variant: usize,
    ) -> anyhow::Result<Request> {
        let id = 1_000 + variant;
        let path = end.surface.path(self).with_context(|| format!("{} is not offered", self.name()))?;
        let (path, own, body) = match self {
            Self::McpCall => {
                let call = tool_call(id, end.surface.tool(variant), variant);
                (path.to_owned(), session_headers(session), call)
            }
            Self::McpCallMembers => {
                let call = tool_call(id, &end.surface.tool_of_member(variant), variant);
                (path.to_owned(), session_headers(session), call)
            }
            Self::McpListWhole | Self::McpList => {
                (path.to_owned(), session_headers(session), rpc(id, "tools/list", &json!({})))
            }
            Self::A2aSend => {
                let agent = AGENTS.get(variant % AGENTS.len()).context("no agent")?;
                let said = rpc(id, "SendMessage", &message(id));
                (format!("{path}{agent}"), vec!["a2a-version: 1.0".to_owned()], said)
            }
            Self::A2aGrpc | Self::A2aGrpcToRpc => bail!("{} is over gRPC", self.name()),
            Self::LlmChat | Self::LlmChatStream | Self::LlmStreamGuarded => {
                (path.to_owned(), Vec::new(), chat(variant, self != Self::LlmChat))
            }
        };
        let bytes = post(end.address, &path, token, &own, &body);
        let exact = end.surface.is_exact();
        let check = if exact { self.check() } else { self.check_changed() };
        Ok(Request { bytes: bytes.into(), check, varies: !exact })
    }

    /// Is the answer right, of an end that may word it in its own way?
    fn check_changed(self) -> Check {
        match self {
            Self::LlmChatStream | Self::LlmStreamGuarded => |body| {
                let text = std::str::from_utf8(body)?;
                let pieces = text.matches(" invoice").count();
                ensure!(pieces == CHUNKS, "{pieces} pieces of text instead of {CHUNKS}");
                ensure!(text.trim_end().ends_with("data: [DONE]"), "the stream does not end with [DONE]");
                Ok(())
            },
            _ => self.check(),
        }
    }

    fn check(self) -> Check {
        match self {
            Self::McpCall | Self::McpCallMembers => |body| {
                let answer = result(body)?;
                ensure!(
                    answer.pointer("/content/0/text").is_some_and(Value::is_string),
                    "not a tool's result"
                );
                ensure!(answer.get("isError") == Some(&json!(false)), "the tool failed");
                Ok(())
            },
            Self::McpListWhole => |body| lists(body, WIDE_TOOLS),
            Self::McpList => |body| lists(body, WIDE_PERMITTED),
            Self::A2aSend => |body| {
                let state = result(body)?.pointer("/task/status/state").cloned();
                ensure!(state == Some(json!("TASK_STATE_COMPLETED")), "the state of the task is {state:?}");
                Ok(())
            },
            Self::A2aGrpc | Self::A2aGrpcToRpc => |body| {
                let state = grpc::answered(body)?.pointer("/task/status/state").cloned();
                ensure!(state == Some(json!("TASK_STATE_COMPLETED")), "the state of the task is {state:?}");
                Ok(())
            },
            Self::LlmChat => |body| {
                let answer: Value = serde_json::from_slice(body)?;
                ensure!(answer.pointer("/usage/total_tokens") == Some(&json!(150)), "not a chat completion");
                Ok(())
            },
            Self::LlmChatStream | Self::LlmStreamGuarded => |body| {
                let text = std::str::from_utf8(body)?;
                let events: Vec<&str> = text.split_terminator("\n\n").collect();
                ensure!(events.len() == CHUNKS + 2, "{} events instead of {}", events.len(), CHUNKS + 2);
                ensure!(events.last() == Some(&"data: [DONE]"), "the stream does not end with [DONE]");
                ensure!(text.contains("total_tokens"), "the stream has no usage");
                Ok(())
            },
        }
    }
}

/// Whether it is a list of so many tools; the upstream itself lists all.
fn lists(body: &[u8], permitted: usize) -> anyhow::Result<()> {
    let answer = result(body)?;
    let tools = answer.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(tools >= permitted, "{tools} tools are listed, of which {permitted} are permitted");
    Ok(())
}

/// The result of a JSON-RPC answer to one of the requests here, which MCP may send as the one event of a stream.
fn result(body: &[u8]) -> anyhow::Result<Value> {
    let event = memchr::memmem::find(body, b"data: ").filter(|_| !body.starts_with(b"{"));
    let body = event.and_then(|at| body.get(at + b"data: ".len()..)).unwrap_or(body);
    let mut answer: Value = serde_json::from_slice(body)?;
    ensure!(answer.get("error").is_none(), "a JSON-RPC error");
    let id = answer.get("id").and_then(Value::as_u64);
    ensure!(
        id.is_some_and(|id| (1_000..1_000 + VARIANTS as u64).contains(&id)),
        "an answer to no request: id {id:?}"
    );
    answer.get_mut("result").map(Value::take).context("neither result nor error")
}

fn session_headers(session: Option<&str>) -> Vec<String> {
    let version = Some("mcp-protocol-version: 2025-11-25".to_owned());
    version.into_iter().chain(session.map(|session| format!("mcp-session-id: {session}"))).collect()
}

fn post(address: SocketAddr, path: &str, token: &str, own: &[String], body: &str) -> Vec<u8> {
    let mut headers = vec![
        format!("authorization: Bearer {token}"),
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        "user-agent: vidimus-bench".to_owned(),
    ];
    headers.extend_from_slice(own);
    wire::request("POST", path, address, &headers, body)
}

impl Scenario {
    /// The handshake of MCP 2025-11-25; the id of the session, unless there are none.
    ///
    /// # Errors
    /// Where the end has no MCP, or refuses.
    pub(crate) fn open_session(self, end: End<'_>, token: &str) -> anyhow::Result<Option<String>> {
        let path = end.surface.path(self).context("no MCP")?;
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "vidimus-bench", "version": "1"}}});
        let reply = wire::exchange(end.address, &post(end.address, path, token, &[], &compact(&hello)))?;
        let reply = reply.expect(&[200]).context("initialize")?;
        let session = reply.header("mcp-session-id").map(str::to_owned);
        ensure!(session.is_some() || !end.surface.is_exact(), "no session id: {}", reply.text());
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let ready = post(end.address, path, token, &session_headers(session.as_deref()), ready);
        wire::exchange(end.address, &ready)?.expect(&[200, 202]).context("notifications/initialized")?;
        Ok(session)
    }
}

/// With `jsonrpc` and `id` first, as clients write them; [`Value`] would sort the members.
fn rpc(id: usize, method: &str, params: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn compact(value: &Value) -> String {
    value.to_string()
}

fn tool_call(id: usize, tool: &str, variant: usize) -> String {
    let arguments = json!({"invoice": format!("INV-{}", 2_041 + variant), "region": "eu-central", "limit": 25, "amount": 1_284,
        "fields": ["id", "amount", "currency", "due", "purchase_order"]});
    rpc(id, "tools/call", &json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}))
}

/// What an agent is sent.
fn message(id: usize) -> Value {
    let message = json!({"messageId": format!("0c7a2f2e-93d1-4a3c-8a54-{id:012}"), "role": "ROLE_USER",
        "parts": [{"text": "Match the invoices of July to their purchase orders and tell me what is open."}],
        "metadata": {"ticket": "AP-1174", "priority": "normal"}});
    json!({"message": message, "configuration": {"acceptedOutputModes": ["text/plain"]}})
}

fn chat(variant: usize, stream: bool) -> String {
    let question =
        format!("Does invoice INV-{} of Brightwater Supplies match its purchase order?", 2_041 + variant);
    let mut body = json!({"model": MODEL, "temperature": 0, "max_tokens": 256, "messages": [
        {"role": "system", "content": "You match invoices to purchase orders. Answer in three sentences, with numbers."},
        {"role": "user", "content": question}]});
    if let (true, Some(body)) = (stream, body.as_object_mut()) {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    compact(&body)
}

#[cfg(test)]
mod tests;
