//! The probes: a file an area, each a table.

use crate::probe::{Message, Probe};

mod admin;
mod agents;
mod browser;
mod credentials;
mod h2;
mod headers;
mod http;
mod ids;
mod listings;
mod messages;
mod models;
mod paths;
mod room;
mod upstreams;
mod values;

/// Times of the gateway that is attacked: short, so that what waits for their end ends soon.
pub const TIMES: &[&str] = &["--header-time", "3s", "--body-time", "3s", "--stream-idle-time", "3s"];

/// Parameters of `SendMessage`.
pub const MESSAGE: &str = r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]}}"#;

/// What begins an MCP session.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;

/// How a server answers that.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}"#;

/// All of them.
pub fn all() -> Vec<Probe> {
    [
        credentials::probes(),
        http::probes(),
        headers::probes(),
        paths::probes(),
        messages::probes(),
        values::probes(),
        ids::probes(),
        listings::probes(),
        agents::probes(),
        models::probes(),
        upstreams::probes(),
        browser::probes(),
        admin::probes(),
        room::probes(),
        h2::probes(),
    ]
    .concat()
}

/// A `POST` of alice to the tool server.
pub fn mcp(body: impl AsRef<[u8]>) -> Message {
    Message::new("POST", "/mcp/r/tools")
        .by("alice")
        .with("Content-Type", "application/json")
        .with("Accept", "application/json, text/event-stream")
        .body(body)
}

/// A JSON-RPC request.
pub fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

/// A `POST` of alice to the agent.
pub fn a2a(method: &str, params: &str) -> Message {
    Message::new("POST", "/a2a/r/callee")
        .by("alice")
        .with("Content-Type", "application/json")
        .with("A2A-Version", "1.0")
        .body(request(method, params))
}

/// A call of a tool.
pub fn tool(name: &str, arguments: &str) -> Message {
    mcp(request("tools/call", &format!(r#"{{"name":"{name}","arguments":{arguments}}}"#)))
}

/// A call of a tool that is permitted.
pub fn good() -> Message {
    tool("ok", "{}")
}

/// The same in 2026-07-28, with the headers it wants.
pub fn modern(method: &str, name: Option<&str>, params: &str) -> Message {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let comma = if params.is_empty() { "" } else { "," };
    let message = mcp(request(method, &format!("{{{params}{comma}{meta}}}")))
        .with("MCP-Protocol-Version", "2026-07-28")
        .with("Mcp-Method", method);
    match name {
        Some(name) => message.with("Mcp-Name", name),
        None => message,
    }
}

/// A `POST` of alice to the OpenAI route.
pub fn openai(body: &str) -> Message {
    Message::new("POST", "/llm/r/openai/v1/chat/completions")
        .by("alice")
        .with("Content-Type", "application/json")
        .body(body)
}

/// A `POST` of alice to the Anthropic route.
pub fn anthropic(body: &str) -> Message {
    openai(body).at("/llm/r/anthropic/v1/messages").with("anthropic-version", "2023-06-01")
}
