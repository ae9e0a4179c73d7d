//! What a model request may not ask for beside its model. Providers that resemble another one, and gateways before them, take more
//! members than that one's API has; of these, some name other models, or addresses to call.

use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::{CHOICES, MOST};
use crate::protocol::beside::{
    check_is_other, check_none_of, check_not_both, check_spelled, is_given, plain, undecided,
};

/// Members that are read here, and those by which others are chosen that the provider runs. None of them is one of [`BESIDE`].
const READ: [&str; 8] =
    ["model", "stream", "stream_options", "tools", "tool_choice", "functions", "function_call", "container"];

/// Members that name something to run, in lower case without separators: models (OpenRouter, LiteLLM, Azure), who serves them, what
/// the provider is to call for the caller (Anthropic's MCP connector, Azure's data sources, OpenRouter's plugins), and members that
/// hold any other.
const BESIDE: [&str; 45] = [
    "agentid",
    "apibase",
    "apikey",
    "assistantid",
    "azureendpoint",
    "baseurl",
    "bootstraphost",
    "bootstrapport",
    "bootstraproom",
    "compoundcustom",
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
    "kvtransferparams",
    "litellmparams",
    "lorapath",
    "mcpservers",
    "modelgroup",
    "modelid",
    "modellist",
    "modelname",
    "models",
    "plugins",
    "preset",
    "provider",
    "provideroptions",
    "providers",
    "route",
    "router",
    "speculativemodel",
    "targetmodel",
    "userconfig",
];

/// Members of a tool that name a server which the provider is to call, or a model which it is to ask (Anthropic's advisor); of Gemini's also
/// sources that it is to ask with a key or at an address that the caller gives.
const OF_TOOL: [&str; 13] = [
    "apikey",
    "authconfig",
    "connectorid",
    "filesearch",
    "mcpserver",
    "mcpservername",
    "mcpservers",
    "model",
    "models",
    "retrieval",
    "serverlabel",
    "servername",
    "serverurl",
];

/// What the name of a member has in it that names a model, in whatever words.
const WORDS: [&str; 2] = ["model", "fallback"];

/// Refuses a request that names something to run beside its model.
///
/// # Errors
/// `member_undecided`, or `message_invalid` for a member that is spelled so that only some readers take it for the protocol's.
pub fn check(body: &Json<'_>) -> Result<(), Refusal> {
    let read = [READ.as_slice(), &MOST, &CHOICES];
    let others = body.as_object().unwrap_or_default().iter();
    let others = others.filter(|(name, _)| !read.iter().any(|names| names.contains(&&**name)));
    // In one pass, since it is made for every call of a model.
    for (name, value) in others {
        check_other(name, value, &read)?;
    }
    check_not_both(body, ["tools", "functions"])?;
    check_not_both(body, ["tool_choice", "function_call"])?;
    // One that there is leads to what is kept ([`super::kept`]); an object says what is to be run in a new one.
    if let Some(container) = body.get("container") {
        check_none_of(container, &["skills"], "model")?;
    }
    match body.get("tools") {
        None | Some(Json::Null) => Ok(()),
        Some(Json::Array(tools)) => tools.iter().try_for_each(of_tool),
        Some(_) => Err(Refusal::new(Code::MessageInvalid, "member \"tools\" must be a list")),
    }
}

/// Refuses a member that is none of those that are `read`, where some reader takes it for one of these, or where it names something to run.
///
/// # Errors
/// As [`check`].
pub fn check_other(name: &str, value: &Json<'_>, read: &[&[&str]]) -> Result<(), Refusal> {
    let plain = plain(name);
    read.iter().try_for_each(|names| check_is_other(&plain, names))?;
    let is_beside = || BESIDE.contains(&&*plain) || WORDS.iter().any(|word| plain.contains(word));
    if is_given(value) && is_beside() { Err(undecided(name, "model")) } else { Ok(()) }
}

/// Members of OpenAI's responses that lead to what is kept at the provider: whoever has the gateway's key may go on from it, whoever it was
/// made for; and by `background` an answer comes by a way that is not served.
const KEPT: [&str; 4] = ["background", "conversation", "previousresponseid", "prompt"];

/// Refuses a request for a response that goes on from what is kept at the provider.
///
/// # Errors
/// `member_undecided`.
pub fn check_response(body: &Json<'_>) -> Result<(), Refusal> {
    check_none_of(body, &KEPT, "model")?;
    let items = body.get("input").and_then(Json::as_array).unwrap_or_default();
    // What is sent whole says what it is, or whose words it is.
    let is_reference = |item: &Json<'_>| match item.get("type") {
        None | Some(Json::Null) => item.get("role").is_none(),
        kind => kind.and_then(Json::as_str) == Some("item_reference"),
    };
    match items.iter().any(is_reference) {
        true => Err(undecided("item_reference", "model")),
        false => Ok(()),
    }
}

/// Members of completions by which servers take a prompt as tokens or as what those are to the model (vLLM, SGLang).
const UNREAD: [&str; 5] = ["inputembeds", "inputids", "promptembeds", "prompttokenids", "prompttokens"];

/// Refuses a prompt that is no text: tokens say what no policy sees and no guard reads.
///
/// # Errors
/// `member_undecided`, or `message_invalid` for what is neither, and for one that is spelled so that only some readers take it for the prompt.
pub fn check_completion(body: &Json<'_>) -> Result<(), Refusal> {
    const NEXT: &str = "Send the prompt as a text, or as a list of texts.";
    check_none_of(body, &UNREAD, "model")?;
    check_spelled(body, &["prompt"])?;
    let is_text = |prompt: &Json<'_>| matches!(prompt, Json::String(_));
    match body.get("prompt") {
        None | Some(Json::Null | Json::String(_)) => Ok(()),
        Some(Json::Array(prompts)) if prompts.iter().all(is_text) => Ok(()),
        Some(Json::Array(_)) => {
            let message = "member \"prompt\" has tokens, which no guard reads";
            Err(Refusal::new(Code::MemberUndecided, message).with_next(NEXT))
        }
        Some(_) => {
            Err(Refusal::new(Code::MessageInvalid, "member \"prompt\" must be a text or a list of texts"))
        }
    }
}

/// That a tool is run by who asks for it, or by the provider alone. What it is to be given is a schema, in which names are free.
pub fn of_tool(tool: &Json<'_>) -> Result<(), Refusal> {
    check_none_of(tool, &OF_TOOL, "model")?;
    let members = tool.as_object().unwrap_or_default().iter();
    members
        .filter(|(_, value)| value.as_object().is_some())
        .try_for_each(|(_, value)| check_none_of(value, &OF_TOOL, "model"))
}
