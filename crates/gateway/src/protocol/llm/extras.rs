//! What a model request may not ask for beside its model. Providers that resemble another one, and gateways before them, take more
//! members than that one's API has; of these, some name other models, or addresses to call.

use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use crate::protocol::beside::{check_none_of, check_not_both, check_spelled};

/// Members that name something to run, in lower case without separators: models (OpenRouter, LiteLLM, Azure), who serves them, what
/// the provider is to call for the caller (Anthropic's MCP connector, Azure's data sources, OpenRouter's plugins), and members that
/// hold any other.
const BESIDE: [&str; 36] = [
    "agentid",
    "apibase",
    "apikey",
    "assistantid",
    "azureendpoint",
    "baseurl",
    "contentpolicyfallbackdict",
    "contextwindowfallbackdict",
    "customllmprovider",
    "datasources",
    "deployment",
    "deploymentid",
    "deploymentname",
    "draftmodel",
    "engine",
    "extrabody",
    "extraheaders",
    "extraquery",
    "fallback",
    "fallbackmodel",
    "fallbackmodels",
    "fallbacks",
    "mcpservers",
    "modelgroup",
    "modelid",
    "modellist",
    "modelname",
    "models",
    "plugins",
    "preset",
    "provider",
    "providers",
    "route",
    "router",
    "speculativemodel",
    "targetmodel",
];

/// Members of a tool that name a server which the provider is to call.
const OF_TOOL: [&str; 6] =
    ["connectorid", "mcpserver", "mcpservername", "serverlabel", "servername", "serverurl"];

/// Refuses a request that names something to run beside its model.
///
/// # Errors
/// `member_undecided`, or `message_invalid` for a member that is spelled so that only some readers take it for the protocol's.
pub fn check(body: &Json<'_>) -> Result<(), Refusal> {
    check_none_of(body, &BESIDE, "model")?;
    check_spelled(
        body,
        &["model", "stream", "tools", "tool_choice", "functions", "function_call", "container"],
    )?;
    check_not_both(body, ["tools", "functions"])?;
    check_not_both(body, ["tool_choice", "function_call"])?;
    // An id of one that there is says where to go on; an object says what is to be run in a new one.
    if let Some(container) = body.get("container") {
        check_none_of(container, &["skills"], "model")?;
    }
    let tools = body.get("tools").and_then(Json::as_array).unwrap_or_default();
    tools.iter().try_for_each(|tool| check_none_of(tool, &OF_TOOL, "model"))
}
