//! Arguments that a tool has in headers as well (2026-07-28, "Custom headers"): what is between caller and server may go by the
//! header, the server by the argument, so both must say the same.
//!
//! Which arguments those are stands in the schema of the tool. The gateway learns it from the listings that pass it; before, it knows
//! only that a header must have the value of some argument.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use serde_json::Value;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use super::labels::{self, PARAM_PREFIX, said};
use super::{encoded, is_modern};
use crate::protocol::Message;
use crate::standing::StandingState;

const ANNOTATION: &str = "x-mcp-header";
/// Of how many tools of one server it is kept, and of how many arguments of one tool.
const MAX_TOOLS: usize = 4096;
const MAX_ARGUMENTS: usize = 16;
/// How long the names may be together that lead to such an argument, and that of a tool, in bytes.
const MAX_PATH: usize = 512;
/// How many properties of one schema are looked at.
const MAX_PROPERTIES: usize = 10_000;

/// The tools of one server that have arguments in headers.
pub type MirroredTools = HashMap<Box<str>, Arc<[Mirrored]>>;

/// An argument that is in a header as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    header: HeaderName,
    /// The members that lead to it.
    path: Box<[Box<str>]>,
}

/// That the headers of a message say what its arguments do.
///
/// # Errors
/// `header_mismatch`.
pub fn check(
    message: &Message<'_>,
    server: &McpServer,
    method: &str,
    params: Option<&Json<'_>>,
) -> Result<(), Refusal> {
    let headers = message.headers;
    if method != "tools/call" || !is_modern(headers, params) {
        return Ok(());
    }
    let Some(tools) = message.standing.and_then(|standing| standing.mirrored(address(server))) else {
        return Ok(());
    };
    let tool = params.and_then(|params| params.get("name")).and_then(Json::as_str);
    let mirrored = tool.and_then(|tool| tools.get(tool));
    let arguments = params.and_then(|params| params.get("arguments"));
    mirrored.into_iter().flat_map(|all| all.iter()).try_for_each(|one| one.check(headers, arguments))
}

impl Mirrored {
    fn check(&self, headers: &HeaderMap, arguments: Option<&Json<'_>>) -> Result<(), Refusal> {
        let mut value = arguments;
        for name in &self.path {
            value = value.and_then(|value| value.get(name));
        }
        let value = value.filter(|value| !matches!(value, Json::Null | Json::Array(_) | Json::Object(_)));
        match (value, said(headers, self.header.as_str())?) {
            (Some(value), Some(said)) if labels::is(value, &said) => Ok(()),
            (None, None) => Ok(()),
            (Some(_), None) => Err(mismatch(&self.header, "is missing, and its argument is there")),
            (_, Some(_)) => Err(mismatch(&self.header, "does not say what its argument says")),
        }
    }
}

/// Says in headers what a call's arguments say, where that is known of its tool: for a caller whose era has no such headers.
pub fn label(headers: &mut HeaderMap, tools: Option<&MirroredTools>, params: Option<&Json<'_>>) {
    let tool = params.and_then(|params| params.get("name")).and_then(Json::as_str);
    let mirrored = tools.zip(tool).and_then(|(tools, tool)| tools.get(tool));
    let arguments = params.and_then(|params| params.get("arguments"));
    for one in mirrored.into_iter().flat_map(|all| all.iter()) {
        let found = one.path.iter().try_fold(arguments, |value, name| Some(value?.get(name)));
        let said = found.flatten().and_then(labels::label);
        if let Some(Ok(said)) = said.map(|said| HeaderValue::from_str(&encoded(&said))) {
            headers.insert(one.header.clone(), said);
        }
    }
}

fn mismatch(name: &HeaderName, what: &str) -> Refusal {
    let name: String = name.as_str().chars().take(64).collect();
    Refusal::new(Code::HeaderMismatch, format!("header {name} {what}"))
}

fn address(server: &McpServer) -> &str {
    server.endpoint.url.as_str()
}

/// Learns from a listing of tools, which may be one page of it. Most servers have nothing of the kind, which costs a look, and so does
/// what is no listing of those that have.
pub fn learn(standing: &StandingState, server: &McpServer, listing: &str) {
    let known = standing.mirrored(address(server));
    let has = |word: &str| memmem::find(listing.as_bytes(), word.as_bytes()).is_some();
    let may_tell = if known.is_some() { has("tools\"") || has("\\u") } else { has(ANNOTATION) };
    if !may_tell {
        return;
    }
    let Ok(listing) = serde_json::from_str::<Value>(listing) else { return };
    let Some(tools) = listing.pointer("/result/tools").and_then(Value::as_array) else { return };
    let mut all = known.as_deref().cloned().unwrap_or_default();
    for tool in tools {
        let Some(name) = tool.get("name").and_then(Value::as_str).filter(|name| name.len() <= MAX_PATH)
        else {
            continue;
        };
        match tool.get("inputSchema").and_then(of_schema) {
            // What is known already is known anew, also where there is room for no more.
            Some(mirrored) if all.len() < MAX_TOOLS || all.contains_key(name) => {
                all.insert(name.into(), mirrored.into());
            }
            _ => {
                all.remove(name);
            }
        }
    }
    if known.as_deref() != Some(&all) {
        standing.mirrors(address(server), all);
    }
}

/// The arguments that a schema has in headers. `None` where it has none, or one as it may not be: no client sends that.
fn of_schema(schema: &Value) -> Option<Vec<Mirrored>> {
    let mut found: Vec<Mirrored> = Vec::new();
    // Each property with the place here of what it is below, so that names are copied only where one is found.
    let mut seen: Vec<(usize, &str)> = Vec::new();
    let mut left: Vec<(Option<usize>, &Value)> = vec![(None, schema)];
    while let Some((at, schema)) = left.pop() {
        if let Some(name) = schema.get(ANNOTATION) {
            let kind = schema.get("type").and_then(Value::as_str)?;
            let name = name.as_str().filter(|name| (1..=MAX_PATH).contains(&name.len()))?;
            let header = HeaderName::try_from(format!("{PARAM_PREFIX}{name}")).ok()?;
            let fits = matches!(kind, "string" | "integer" | "boolean");
            if !fits || found.len() == MAX_ARGUMENTS || found.iter().any(|other| other.header == header) {
                return None;
            }
            found.push(Mirrored { header, path: path(&seen, at?)? });
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if seen.len() == MAX_PROPERTIES {
                return None;
            }
            seen.push((at.unwrap_or(usize::MAX), name));
            left.push((Some(seen.len() - 1), below));
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The names that lead to the property at this place; `None` where they are too long to be kept.
fn path(seen: &[(usize, &str)], mut at: usize) -> Option<Box<[Box<str>]>> {
    let (mut names, mut length) = (Vec::new(), 0);
    while let Some((above, name)) = seen.get(at) {
        length += name.len();
        if length > MAX_PATH {
            return None;
        }
        names.push(Box::from(*name));
        at = *above;
    }
    names.reverse();
    Some(names.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::protocol::mcp::tests::call_of_tool;
    use crate::protocol::tests::server;

    /// The tool of the official suite's `http-custom-header-server-validation`, and one more header.
    fn known() -> Arc<StandingState> {
        let standing = StandingState::alone(1, Duration::from_secs(1), 1);
        let schema = json!({"type": "object", "properties": {
            "text": {"type": "string", "x-mcp-header": "Text"},
            "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
            "plain": {"type": "string"},
        }});
        let listing = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "t", "inputSchema": schema}, {"name": "u"}]}});
        learn(&standing, &server(), &listing.to_string());
        standing
    }

    #[test]
    fn a_header_says_what_its_argument_says() {
        const WRONG: &str = "header_mismatch";
        let standing = known();
        for (arguments, headers, knowing, not_knowing) in [
            (json!({"text": "Hello"}), vec![("mcp-param-text", "Hello")], "", ""),
            (json!({"text": "Hello"}), vec![("mcp-param-text", "=?base64?SGVsbG8=?=")], "", ""),
            (json!({"text": "Hello"}), vec![("mcp-param-text", "=?base64?SGVsbG8?=")], WRONG, WRONG),
            (json!({"text": "Hello"}), vec![("mcp-param-text", "=?base64?SGVs!!!bG8=?=")], WRONG, WRONG),
            (json!({"text": "SGVsbG8="}), vec![("mcp-param-text", "SGVsbG8=")], "", ""),
            (json!({"text": "=?base64?SGVsbG8="}), vec![("mcp-param-text", "=?base64?SGVsbG8=")], "", ""),
            (json!({"text": "test-value"}), vec![], WRONG, ""),
            (json!({"text": "a"}), vec![("mcp-param-text", "b")], WRONG, WRONG),
            (json!({"text": "a"}), vec![("mcp-param-text", "a"), ("mcp-param-text", "a")], WRONG, WRONG),
            (json!({"text": null}), vec![], "", ""),
            (json!({}), vec![], "", ""),
            (json!({}), vec![("mcp-param-text", "a")], WRONG, WRONG),
            (json!({"plain": "a"}), vec![("mcp-param-text", "a")], WRONG, ""),
            (json!({"text": "a", "plain": "b"}), vec![("mcp-param-text", "b")], WRONG, ""),
            (json!({"plain": "a"}), vec![("mcp-param-other", "b")], WRONG, WRONG),
            (json!({"deep": {"count": 42}}), vec![("mcp-param-count", "42")], "", ""),
            (json!({"deep": {"count": 42.0}}), vec![("mcp-param-count", "42")], "", ""),
            (json!({"deep": {"count": 42}}), vec![("mcp-param-count", "43")], WRONG, WRONG),
            (json!({"deep": {"count": true}}), vec![("mcp-param-count", "true")], "", ""),
            (json!({"deep": {"count": [1]}}), vec![], "", ""),
        ] {
            let mut given = HeaderMap::new();
            for (name, value) in headers {
                given.append(name, HeaderValue::from_static(value));
            }
            for (standing, expected) in [(Some(&*standing), knowing), (None, not_knowing)] {
                let code = call_of_tool("t", &arguments, &given, standing)
                    .err()
                    .map_or("", |refusal| refusal.code.as_str());
                assert_eq!(code, expected, "{arguments} {given:?} {}", standing.is_some());
            }
        }
    }

    #[test]
    fn what_a_schema_says_wrongly_it_does_not_say() {
        let one = json!({"type": "string", "x-mcp-header": "A"});
        let of = |properties: Value| of_schema(&json!({"properties": properties})).map_or(0, |all| all.len());
        assert_eq!(of(json!({"a": one})), 1);
        for wrong in [
            json!({"a": one, "b": {"type": "string", "x-mcp-header": "a"}}),
            json!({"a": {"type": "number", "x-mcp-header": "A"}}),
            json!({"a": {"x-mcp-header": "A"}}),
            json!({"a": {"type": "string", "x-mcp-header": ""}}),
            json!({"a": {"type": "string", "x-mcp-header": "A B"}}),
            json!({"a": {"type": "string", "x-mcp-header": 7}}),
            json!({"a": {"type": "string"}}),
        ] {
            assert_eq!(of(wrong.clone()), 0, "{wrong}");
        }
    }
}
