//! What is measured: the requests of each call, as an official client would send them, and what their answers must be.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::estate::{AGENTS, MODEL, NAMESPACE, PROVIDER, SERVER, TOOLS};
use crate::load::{Check, Request};
use crate::upstream::CHUNKS;
use crate::wire;

/// Requests that differ, per connection.
const VARIANTS: usize = 8;

/// The calls that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    McpCall,
    A2aSend,
    LlmChat,
    LlmChatStream,
}

/// Which way the requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the upstream itself.
    Direct,
    /// Through the gateway.
    Governed,
}

/// One end that requests are sent to, and the callers that send them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) way: Way,
    pub(crate) address: SocketAddr,
    /// One token for each caller.
    pub(crate) tokens: &'a [String],
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::McpCall => "mcp_call",
            Self::A2aSend => "a2a_send",
            Self::LlmChat => "llm_chat",
            Self::LlmChatStream => "llm_chat_stream",
        }
    }

    /// The name of its protocol in metrics and records.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::McpCall => "mcp",
            Self::A2aSend => "a2a",
            Self::LlmChat | Self::LlmChatStream => "llm",
        }
    }

    /// Most gateway CPU per request at concurrency 64, µs.
    pub(crate) const fn cpu_goal(self) -> Option<f64> {
        match self {
            Self::McpCall => Some(110.0),
            Self::A2aSend => Some(93.0),
            Self::LlmChat => Some(84.0),
            Self::LlmChatStream => None,
        }
    }

    /// Most added p50 at concurrency 1, µs.
    pub(crate) const fn latency_goal(self) -> Option<f64> {
        match self {
            Self::McpCall | Self::A2aSend | Self::LlmChat => Some(170.0),
            Self::LlmChatStream => None,
        }
    }

    /// One list of requests for each connection. Callers take turns, and each goes round tools, agents or texts.
    pub(crate) fn scripts(self, end: End<'_>, connections: usize) -> anyhow::Result<Vec<Vec<Request>>> {
        (0..connections)
            .map(|connection| {
                let token = end.tokens.get(connection % end.tokens.len().max(1)).context("no caller")?;
                let session = match self {
                    Self::McpCall => Some(open_session(end, token)?),
                    _ => None,
                };
                (0..VARIANTS).map(|variant| self.request(end, token, session.as_deref(), variant)).collect()
            })
            .collect()
    }

    fn request(
        self,
        end: End<'_>,
        token: &str,
        session: Option<&str>,
        variant: usize,
    ) -> anyhow::Result<Request> {
        let id = 1_000 + variant;
        let (path, own, body) = match self {
            Self::McpCall => {
                let session = session.context("no session")?;
                let own =
                    vec!["mcp-protocol-version: 2025-11-25".to_owned(), format!("mcp-session-id: {session}")];
                (mcp_path(end.way), own, tool_call(id, variant))
            }
            Self::A2aSend => {
                let agent = AGENTS.get(variant % AGENTS.len()).context("no agent")?;
                let path = match end.way {
                    Way::Direct => format!("/a2a/{agent}"),
                    Way::Governed => format!("/a2a/{NAMESPACE}/{agent}"),
                };
                (path, vec!["a2a-version: 1.0".to_owned()], send_message(id))
            }
            Self::LlmChat | Self::LlmChatStream => {
                let path = match end.way {
                    Way::Direct => "/v1/chat/completions".to_owned(),
                    Way::Governed => format!("/llm/{NAMESPACE}/{PROVIDER}/v1/chat/completions"),
                };
                (path, Vec::new(), chat(variant, self == Self::LlmChatStream))
            }
        };
        let bytes = post(end.address, &path, token, &own, &body);
        Ok(Request { bytes: bytes.into(), check: self.check() })
    }

    fn check(self) -> Check {
        match self {
            Self::McpCall => |body| {
                let answer = result(body)?;
                ensure!(
                    answer.pointer("/content/0/text").is_some_and(Value::is_string),
                    "not a tool's result"
                );
                ensure!(answer.get("isError") == Some(&json!(false)), "the tool failed");
                Ok(())
            },
            Self::A2aSend => |body| {
                let state = result(body)?.pointer("/task/status/state").cloned();
                ensure!(state == Some(json!("TASK_STATE_COMPLETED")), "the state of the task is {state:?}");
                Ok(())
            },
            Self::LlmChat => |body| {
                let answer: Value = serde_json::from_slice(body)?;
                ensure!(answer.pointer("/usage/total_tokens") == Some(&json!(150)), "not a chat completion");
                Ok(())
            },
            Self::LlmChatStream => |body| {
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

/// The result of a JSON-RPC answer to one of the requests here.
fn result(body: &[u8]) -> anyhow::Result<Value> {
    let mut answer: Value = serde_json::from_slice(body)?;
    ensure!(answer.get("error").is_none(), "a JSON-RPC error");
    let id = answer.get("id").and_then(Value::as_u64);
    ensure!(
        id.is_some_and(|id| (1_000..1_000 + VARIANTS as u64).contains(&id)),
        "an answer to no request: id {id:?}"
    );
    answer.get_mut("result").map(Value::take).context("neither result nor error")
}

fn mcp_path(way: Way) -> String {
    match way {
        Way::Direct => "/mcp".to_owned(),
        Way::Governed => format!("/mcp/{NAMESPACE}/{SERVER}"),
    }
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

/// The handshake of MCP 2025-11-25; the id of the session.
fn open_session(end: End<'_>, token: &str) -> anyhow::Result<String> {
    let path = mcp_path(end.way);
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "vidimus-bench", "version": "1"}}});
    let reply = wire::exchange(end.address, &post(end.address, &path, token, &[], &compact(&hello)))?;
    let reply = reply.expect(&[200]).context("initialize")?;
    let session =
        reply.header("mcp-session-id").with_context(|| format!("no session id: {}", reply.text()))?;
    let own = ["mcp-protocol-version: 2025-11-25".to_owned(), format!("mcp-session-id: {session}")];
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = wire::exchange(end.address, &post(end.address, &path, token, &own, ready))?;
    answer.expect(&[200, 202]).context("notifications/initialized")?;
    Ok(session.to_owned())
}

/// With `jsonrpc` and `id` first, as clients write them; [`Value`] would sort the members.
fn rpc(id: usize, method: &str, params: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn compact(value: &Value) -> String {
    value.to_string()
}

fn tool_call(id: usize, variant: usize) -> String {
    let tool = TOOLS.get(variant % TOOLS.len()).copied().unwrap_or_default();
    let arguments = json!({"invoice": format!("INV-{}", 2_041 + variant), "region": "eu-central", "limit": 25, "amount": 1_284,
        "fields": ["id", "amount", "currency", "due", "purchase_order"]});
    rpc(id, "tools/call", &json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}))
}

fn send_message(id: usize) -> String {
    let message = json!({"messageId": format!("0c7a2f2e-93d1-4a3c-8a54-{id:012}"), "role": "ROLE_USER",
        "parts": [{"text": "Match the invoices of July to their purchase orders and tell me what is open."}],
        "metadata": {"ticket": "AP-1174", "priority": "normal"}});
    rpc(
        id,
        "SendMessage",
        &json!({"message": message, "configuration": {"acceptedOutputModes": ["text/plain"]}}),
    )
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
