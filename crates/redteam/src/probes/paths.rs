//! Paths: other spellings, other routes, others' objects.

use super::{a2a, good, openai};
use crate::probe::{Message, Probe, Protocol};

/// Targets of a call of a permitted tool.
const MCP: &[(&str, &str)] = &[
    ("below", "/mcp/r/tools/x"),
    ("double-slash-end", "/mcp/r/tools//"),
    ("double-slash-begin", "//mcp/r/tools"),
    ("dot", "/mcp/./r/tools"),
    ("dots", "/mcp/x/../r/tools"),
    ("dots-end", "/mcp/r/tools/.."),
    ("dots-to-another", "/mcp/r/tools/../second"),
    ("dots-out", "/../mcp/r/tools"),
    ("encoded-letter", "/mcp/r/%74ools"),
    ("encoded-dot", "/mcp/%2e/r/tools"),
    ("encoded-dots", "/mcp/r/tools/%2e%2e/second"),
    ("encoded-slash", "/mcp/r%2ftools"),
    ("encoded-slash-end", "/mcp/r/tools%2f"),
    ("encoded-twice", "/mcp/r/%2574ools"),
    ("encoded-nul", "/mcp/r/tools%00"),
    ("encoded-newline", "/mcp/r/tools%0d%0aX:y"),
    ("encoded-broken", "/mcp/r/tools%zz"),
    ("overlong-utf8", "/mcp/r/%c1%b4ools"),
    ("semicolon", "/mcp/r/tools;x=y"),
    ("semicolon-inside", "/mcp;x/r/tools"),
    ("backslash", "/mcp\\r\\tools"),
    ("case-of-route", "/MCP/r/tools"),
    ("case-of-namespace", "/mcp/R/tools"),
    ("case-of-name", "/mcp/r/Tools"),
    ("unknown-name", "/mcp/r/nothing"),
    ("unknown-namespace", "/mcp/other/tools"),
    ("no-name", "/mcp/r"),
    ("empty-name", "/mcp/r/"),
    ("empty-namespace", "/mcp//tools"),
    ("other-kind-agent", "/mcp/r/callee"),
    ("other-kind-provider", "/mcp/r/openai"),
    ("other-protocol", "/a2a/r/tools"),
    ("other-protocol-llm", "/llm/r/tools/v1/chat/completions"),
    ("root", "/"),
    ("admin", "/metrics"),
    ("proxy", "http://{{upstream}}/mcp"),
    ("authority-userinfo", "http://alice@{{host}}/mcp/r/tools"),
    ("well-known", "/.well-known/x/../../mcp/r/tools"),
];

/// Paths below a provider, with their methods.
const LLM: &[(&str, &str, &str)] = &[
    ("llm-moderations", "POST", "/llm/r/openai/v1/moderations"),
    ("llm-files", "POST", "/llm/r/openai/v1/files"),
    ("llm-other-api", "POST", "/llm/r/openai/v1/messages/count_tokens"),
    ("llm-other-api-back", "POST", "/llm/r/anthropic/v1/responses"),
    ("llm-batches", "POST", "/llm/r/anthropic/v1/messages/batches"),
    ("llm-slash", "POST", "/llm/r/openai/v1/chat/completions/"),
    ("llm-dots", "POST", "/llm/r/openai/v1/chat/../chat/completions"),
    ("llm-no-version", "POST", "/llm/r/openai/chat/completions"),
    ("llm-double", "POST", "/llm/r/openai/v1//chat/completions"),
    ("llm-encoded", "POST", "/llm/r/openai/v1/chat%2fcompletions"),
    ("llm-delete-model", "DELETE", "/llm/r/openai/v1/models/small"),
    ("llm-admin", "GET", "/llm/r/openai/v1/organization/admin_api_keys"),
];

/// All of this area.
pub(super) fn probes() -> Vec<Probe> {
    let probe = |name: &str, target: &str, protocol, message: Message| {
        Probe::new(
            format!("paths/{name}"),
            format!("reach something by {target:?}"),
            protocol,
            message.at(target),
        )
    };
    let mut probes: Vec<Probe> =
        MCP.iter().map(|(name, target)| probe(name, target, Protocol::Mcp, good())).collect();
    let chat = || openai(r#"{"model":"small","messages":[]}"#);
    probes.extend(LLM.iter().map(|(name, method, target)| {
        let message = if *method == "POST" { chat() } else { chat().using(method).bodiless() };
        probe(name, target, Protocol::Llm, message)
    }));
    let card = a2a("SendMessage", "{}").using("GET").bodiless();
    for (name, target) in [
        ("a2a-card-dots", "/a2a/r/callee/.well-known/../.well-known/agent-card.json"),
        ("a2a-other-file", "/a2a/r/callee/.well-known/openid-configuration"),
        ("a2a-rest", "/a2a/r/callee/v1/tasks"),
        ("a2a-unknown", "/a2a/r/nothing/.well-known/agent-card.json"),
    ] {
        probes.push(probe(name, target, Protocol::A2a, card.clone()));
    }
    probes
}
