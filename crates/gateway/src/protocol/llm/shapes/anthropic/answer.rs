//! The answer as one document, and errors.

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Fault, Reply, Said, Stop, ToolCall, Usage};
use super::super::taken::unreadable;
use super::super::{Answered, text_at};

/// Reads an answer.
///
/// # Errors
/// `upstream_invalid`.
pub(in super::super) fn read_reply(reply: &Value) -> Result<Reply, Refusal> {
    let blocks = reply["content"].as_array().ok_or_else(|| unreadable("no content"))?;
    let mut said = Vec::new();
    for block in blocks {
        said.push(match text_at(block, "type") {
            // Some of its models think unasked, and say so.
            "thinking" | "redacted_thinking" => continue,
            "text" => Said::Text(text_at(block, "text").to_owned()),
            "tool_use" => Said::Call(ToolCall {
                id: text_at(block, "id").to_owned(),
                name: text_at(block, "name").to_owned(),
                arguments: match &block["input"] {
                    input @ Value::Object(_) => input.clone(),
                    _ => return Err(unreadable("the input of a tool is no object")),
                },
            }),
            kind => return Err(unreadable(format_args!("a block {kind:?}"))),
        });
    }
    Ok(Reply {
        id: text_at(reply, "id").to_owned(),
        said,
        stop: stop_of(text_at(reply, "stop_reason"))?,
        usage: usage_of(&reply["usage"]),
    })
}

pub(super) fn stop_of(reason: &str) -> Result<Stop, Refusal> {
    match reason {
        "" => Err(unreadable("it does not say why it stopped")),
        "end_turn" | "stop_sequence" => Ok(Stop::End),
        "tool_use" => Ok(Stop::Tools),
        "refusal" => Ok(Stop::Filtered),
        // `max_tokens`, `model_context_window_exceeded`.
        _ => Ok(Stop::Length),
    }
}

/// What was read from what the provider keeps, and what is kept from now on, is not among `input_tokens`.
pub(super) fn usage_of(usage: &Value) -> Usage {
    let number = |name: &str| usage[name].as_u64();
    let (read, written) = (number("cache_read_input_tokens"), number("cache_creation_input_tokens"));
    let kept = read.unwrap_or_default().saturating_add(written.unwrap_or_default());
    Usage {
        input: number("input_tokens").map(|input| input.saturating_add(kept)),
        output: number("output_tokens"),
        cached: read,
        thought: None,
    }
}

/// Writes an answer.
pub(in super::super) fn write_reply(reply: Reply, answered: &Answered) -> Value {
    let Reply { id, said, stop, usage } = reply;
    let block = |said| match said {
        Said::Text(text) => json!({"type": "text", "text": text}),
        Said::Call(ToolCall { id, name, arguments }) => {
            json!({"type": "tool_use", "id": id, "name": name, "input": arguments})
        }
    };
    json!({
        "id": answered.id_or(id),
        "type": "message",
        "role": "assistant",
        "model": &*answered.model,
        "content": said.into_iter().map(block).collect::<Vec<Value>>(),
        "stop_reason": reason(stop),
        "stop_sequence": null,
        "usage": write_usage(usage),
    })
}

pub(super) const fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Length => "max_tokens",
        Stop::Tools => "tool_use",
        Stop::Filtered => "refusal",
    }
}

/// What the provider did not say is not there. What it had kept is some of the input.
pub(super) fn write_usage(usage: Usage) -> Value {
    let mut written = Map::new();
    for (name, tokens) in [("input_tokens", usage.input), ("output_tokens", usage.output)] {
        if let Some(tokens) = tokens {
            written.insert(name.to_owned(), tokens.into());
        }
    }
    written.into()
}

/// Reads an error; `None` of what is none.
pub(in super::super) fn fault(body: &Value, status: u16) -> Option<Fault> {
    let error = body.get("error").filter(|error| error.is_object())?;
    let status = match text_at(error, "type") {
        "overloaded_error" => 529,
        "rate_limit_error" => 429,
        _ => status,
    };
    Some(Fault { message: text_at(error, "message").to_owned(), status })
}

/// Writes an error.
pub(in super::super) fn write_fault(fault: &Fault) -> Value {
    let kind = match fault.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": fault.message}})
}
