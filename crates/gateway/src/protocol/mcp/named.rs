//! What the parameters of a request name, and that they name nothing beside what is decided.

use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use crate::protocol::beside::check_none_of;

/// The members of `params` that are read here.
pub const READ: [&str; 12] = [
    "cursor",
    "name",
    "uri",
    "arguments",
    "ref",
    "notifications",
    "protocolVersion",
    "_meta",
    "taskId",
    "task",
    "requestState",
    "inputResponses",
];

/// What names something in the `params` of some method, and what servers of other makes read for it.
const NAMING: [&str; 16] = [
    "name",
    "uri",
    "ref",
    "taskid",
    "notifications",
    "names",
    "uris",
    "tool",
    "tools",
    "toolname",
    "toolcalls",
    "calls",
    "prompt",
    "prompts",
    "resource",
    "resources",
];

/// That a reference names nothing beside what it is by its type.
pub fn only(reference: Option<&Json<'_>>, own: &str) -> Result<(), Refusal> {
    let beside: Vec<&str> = NAMING.into_iter().filter(|name| *name != own).collect();
    reference.map_or(Ok(()), |reference| check_none_of(reference, &beside, own))
}

/// That nothing is named beside what the method is about.
pub fn names_no_other(method: &str, params: &Json<'_>) -> Result<(), Refusal> {
    let own = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        "completion/complete" => "ref",
        "subscriptions/listen" => "notifications",
        "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => "taskid",
        _ => "",
    };
    let beside: Vec<&str> = NAMING.into_iter().filter(|name| *name != own).collect();
    check_none_of(params, &beside, method)
}
