//! The answer as one document, and errors.

use serde_json::Value;
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Fault, Reply, Said, Stop, ToolCall, Usage};
use super::super::taken::unreadable;
use super::super::{text_at, value_at};

/// Reads an answer. It has no id of its own.
///
/// # Errors
/// `upstream_invalid`.
pub(in super::super) fn read_reply(reply: &Value) -> Result<Reply, Refusal> {
    let content = value_at(reply, "/output/message/content").as_array();
    let blocks = content.ok_or_else(|| unreadable("no content"))?;
    // Some models think unasked, and say so.
    let blocks = blocks.iter().filter(|block| !is_thought(block));
    let said = blocks.map(read_block).collect::<Result<Vec<Said>, Refusal>>()?;
    Ok(Reply {
        id: String::new(),
        said,
        stop: stop_of(text_at(reply, "stopReason"))?,
        usage: usage_of(&reply["usage"]),
    })
}

/// A block has one member, which says what it is.
fn read_block(block: &Value) -> Result<Said, Refusal> {
    let members = block.as_object().ok_or_else(|| unreadable("a block that is no object"))?;
    let mut members = members.iter();
    match (members.next(), members.next()) {
        (Some((name, Value::String(text))), None) if name == "text" => Ok(Said::Text(text.clone())),
        (Some((name, call)), None) if name == "toolUse" => Ok(Said::Call(ToolCall {
            id: text_at(call, "toolUseId").to_owned(),
            name: text_at(call, "name").to_owned(),
            arguments: match &call["input"] {
                input @ Value::Object(_) => input.clone(),
                _ => return Err(unreadable("the input of a tool is no object")),
            },
        })),
        (Some((name, _)), _) => Err(unreadable(format_args!("a block {name:?}"))),
        (None, _) => Err(unreadable("a block without a member")),
    }
}

/// Whether a block, or more of one, is a thought and nothing else.
pub(super) fn is_thought(block: &Value) -> bool {
    let members = block.as_object();
    members.is_some_and(|members| members.len() == 1 && members.contains_key("reasoningContent"))
}

pub(super) fn stop_of(reason: &str) -> Result<Stop, Refusal> {
    match reason {
        "" => Err(unreadable("it does not say why it stopped")),
        "end_turn" | "stop_sequence" => Ok(Stop::End),
        "tool_use" => Ok(Stop::Tools),
        "guardrail_intervened" | "content_filtered" => Ok(Stop::Filtered),
        // `max_tokens`, `model_context_window_exceeded`, `malformed_model_output`.
        _ => Ok(Stop::Length),
    }
}

/// What was read from what Bedrock keeps, and what it keeps from now on, is not among `inputTokens`.
pub(super) fn usage_of(usage: &Value) -> Usage {
    let number = |name: &str| usage[name].as_u64();
    let (read, written) = (number("cacheReadInputTokens"), number("cacheWriteInputTokens"));
    let kept = read.unwrap_or_default().saturating_add(written.unwrap_or_default());
    Usage {
        input: number("inputTokens").map(|input| input.saturating_add(kept)),
        output: number("outputTokens"),
        cached: read,
        thought: None,
    }
}

/// Reads an error, as it stands in a member `error`; `None` of what is none.
pub(in super::super) fn fault(body: &Value, status: u16) -> Option<Fault> {
    let error = body.get("error").filter(|error| error.is_object())?;
    let message = ["message", "Message"].into_iter().find_map(|name| error[name].as_str());
    Some(Fault { message: message.unwrap_or_default().to_owned(), status })
}
