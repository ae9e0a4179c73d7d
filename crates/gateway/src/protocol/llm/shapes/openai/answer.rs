//! The answer as one document, and errors.

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Fault, Reply, Said, Stop, ToolCall, Usage, arguments_of};
use super::super::taken::unreadable;
use super::super::{Answered, text_at, value_at, with};

/// Reads an answer.
///
/// # Errors
/// `upstream_invalid`.
pub(in super::super) fn read_reply(reply: &Value) -> Result<Reply, Refusal> {
    let [choice] = reply["choices"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(unreadable("not one choice"));
    };
    let message = &choice["message"];
    let mut said = Vec::new();
    for name in ["content", "refusal"] {
        match &message[name] {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => said.push(Said::Text(text.clone())),
            _ => return Err(unreadable(format_args!("{name} is no text"))),
        }
    }
    for call in message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
        said.push(Said::Call(read_call(call)?));
    }
    if !message["function_call"].is_null() || !message["audio"].is_null() {
        return Err(unreadable("a function call, or sound"));
    }
    let has_called = said.iter().any(|said| matches!(said, Said::Call(_)));
    let stop = stop_of(text_at(choice, "finish_reason"), has_called)?;
    let stop = if message["refusal"].is_string() { Stop::Filtered } else { stop };
    Ok(Reply { id: text_at(reply, "id").to_owned(), said, stop, usage: usage_of(&reply["usage"]) })
}

fn read_call(call: &Value) -> Result<ToolCall, Refusal> {
    let function = &call["function"];
    let arguments = arguments_of(text_at(function, "arguments")).map_err(unreadable)?;
    Ok(ToolCall { id: text_at(call, "id").to_owned(), name: text_at(function, "name").to_owned(), arguments })
}

/// By the words of OpenAI, and of servers that resemble it. Who was told to call one tool says `stop` when it `has_called`, and so do some always.
///
/// # Errors
/// `upstream_invalid` where it does not say why.
pub(super) fn stop_of(reason: &str, has_called: bool) -> Result<Stop, Refusal> {
    match reason {
        "" => Err(unreadable("it does not say why it stopped")),
        "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" if has_called => Ok(Stop::Tools),
        "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" => Ok(Stop::End),
        "tool_calls" | "function_call" | "tool_use" => Ok(Stop::Tools),
        "content_filter" | "safety" | "recitation" | "refusal" => Ok(Stop::Filtered),
        // `length`; `model_length` of Mistral's, `abort` of vLLM's, `error` of OpenRouter's.
        _ => Ok(Stop::Length),
    }
}

pub(super) fn usage_of(usage: &Value) -> Usage {
    Usage {
        input: usage["prompt_tokens"].as_u64(),
        output: usage["completion_tokens"].as_u64(),
        cached: value_at(usage, "/prompt_tokens_details/cached_tokens").as_u64(),
        thought: value_at(usage, "/completion_tokens_details/reasoning_tokens").as_u64(),
    }
}

/// Writes an answer.
pub(in super::super) fn write_reply(reply: Reply, answered: &Answered) -> Value {
    let Reply { id, said, stop, usage } = reply;
    let (mut text, mut calls) = (None::<String>, Vec::new());
    for said in said {
        match said {
            Said::Text(more) => text.get_or_insert_default().push_str(&more),
            Said::Call(ToolCall { id, name, arguments }) => calls.push(json!({
                "id": id,
                "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()},
            })),
        }
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), text.map_or(Value::Null, Value::String));
    message.insert("refusal".to_owned(), Value::Null);
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    let body = json!({
        "id": answered.id_or(id),
        "object": "chat.completion",
        "created": answered.seconds,
        "model": &*answered.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason(stop)}],
    });
    with(body, [("usage", write_usage(usage))])
}

pub(super) const fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "stop",
        Stop::Length => "length",
        Stop::Tools => "tool_calls",
        Stop::Filtered => "content_filter",
    }
}

/// `None` where the provider did not say it.
pub(super) fn write_usage(usage: Usage) -> Option<Value> {
    let written = json!({
        "prompt_tokens": usage.input?,
        "completion_tokens": usage.output?,
        "total_tokens": usage.total()?,
    });
    let cached = usage.cached.map(|cached| json!({"cached_tokens": cached}));
    let thought = usage.thought.map(|thought| json!({"reasoning_tokens": thought}));
    Some(with(written, [("prompt_tokens_details", cached), ("completion_tokens_details", thought)]))
}

/// Reads an error; `None` of what is none.
pub(in super::super) fn fault(body: &Value, status: u16) -> Option<Fault> {
    let error = body.get("error").filter(|error| !error.is_null())?;
    let message = error["message"].as_str().or_else(|| error.as_str()).unwrap_or("the provider failed");
    Some(Fault { message: message.to_owned(), status })
}

/// Writes an error.
pub(in super::super) fn write_fault(fault: &Fault) -> Value {
    let kind = match fault.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": fault.message, "type": kind, "param": null, "code": null}})
}
