//! Between the eras of MCP: what a message of one is in the other. Pure: what is sent, and what is kept meanwhile, is in
//! [`crate::forward`], which bridges where a server's record says that it speaks one era alone (`spec.endpoint.mcp`, ADR 81).
//!
//! Decision, record, sealing, pins and guards see the caller's own message, and the answer in the caller's own era.

pub mod capabilities;
pub mod object;
pub mod session;
#[cfg(test)]
mod tests;
pub mod to_sessions;
pub mod to_stateless;

use http::HeaderMap;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Endpoint, Era, McpServer};

use super::{MODERN, VERSION_HEADER, single};

/// What asks the client for something. A server of sessions sends it as a request of its own, a stateless one within its result.
pub const QUESTIONS: [&str; 3] = ["elicitation/create", "sampling/createMessage", "roots/list"];

/// The era of a request, by its header: body and header agree, which was looked at when it was parsed.
pub fn era(headers: &HeaderMap) -> Era {
    match single(headers, VERSION_HEADER) {
        Ok(Some(MODERN)) => Era::Stateless,
        _ => Era::Sessions,
    }
}

/// Whether it is the gateway that answers for a server: it speaks every era, and what is behind it is no MCP.
pub fn is_answered_here(endpoint: &Endpoint) -> bool {
    endpoint.job.is_some()
        || endpoint.agent.is_some()
        || endpoint.openapi.is_some()
        || endpoint.grpc_tools.is_some()
        || endpoint.is_of_members()
}

/// Why a request of one era has no like in the era that its server speaks; `None` where it has, and where nothing is bridged. Who may
/// make the call learns it.
pub fn unbridged(
    server: &McpServer,
    method: &str,
    params: Option<&Json<'_>>,
    is_modern: bool,
) -> Option<Refusal> {
    let caller = if is_modern { Era::Stateless } else { Era::Sessions };
    let speaks = server.endpoint.mcp.filter(|speaks| *speaks != caller)?;
    without_like(speaks, method, params, is_modern)
}

/// The same, of a server that speaks this era alone, and not the request's.
pub fn without_like(
    speaks: Era,
    method: &str,
    params: Option<&Json<'_>>,
    is_modern: bool,
) -> Option<Refusal> {
    let given = |path: &[&str]| {
        let found = path.iter().try_fold(params?, |json, name| json.get(name));
        found.filter(|value| **value != Json::Null && value.as_array().is_none_or(|all| !all.is_empty()))
    };
    // A call of the stateless era has no `task`: one that is there is passed over (SEP-2663).
    let is_of_tasks = method.starts_with("tasks/")
        || method == super::CALL && !is_modern && given(&["task"]).is_some()
        || given(&["notifications", "taskIds"]).is_some();
    is_of_tasks.then(|| {
        let server = match speaks {
            Era::Sessions => "versions with sessions",
            Era::Stateless => "2026-07-28",
        };
        refusal(format!(
            "this server speaks {server} alone, and tasks are other things there: they are not bridged"
        ))
    })
}

/// What is not bridged, and why.
pub fn refusal(why: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::EraUnbridged, why)
}

/// What the server says is not of the era that its record says.
pub fn unlike(what: &'static str) -> Refusal {
    const NEXT: &str = "Look at which versions of MCP the server speaks, and at spec.endpoint.mcp of its record, which says one era alone.";
    Refusal::new(Code::UpstreamInvalid, what).with_next(NEXT)
}
