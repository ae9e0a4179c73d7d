//! The answer as one document, and errors.

use serde_json::{Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Fault, Reply, Said, Stop, ToolCall, Usage};
use super::super::taken::unreadable;
use super::super::thoughts::signed;
use super::super::{Answered, text_at, value_at, with};

/// Reads an answer.
///
/// # Errors
/// `upstream_invalid`.
pub(in super::super) fn read_reply(reply: &Value, answered: &Answered) -> Result<Reply, Refusal> {
    let (mut said, mut calls) = (Vec::new(), 0);
    let stop = read_candidate(reply, answered, &mut said, &mut calls)?;
    let stop = stop.ok_or_else(|| unreadable("no answer"))?;
    Ok(Reply { id: text_at(reply, "responseId").to_owned(), said, stop, usage: usage_of(reply) })
}

/// Reads what a document, or an event, says: and why the model stopped, where it says that. `calls`: how many tools were called.
pub(super) fn read_candidate(
    reply: &Value,
    answered: &Answered,
    said: &mut Vec<Said>,
    calls: &mut usize,
) -> Result<Option<Stop>, Refusal> {
    let candidates = reply["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let candidate = match candidates {
        [] if !value_at(reply, "/promptFeedback/blockReason").is_null() => return Ok(Some(Stop::Filtered)),
        [] => return Ok(None),
        [only] => only,
        _ => return Err(unreadable("more than one candidate")),
    };
    for part in value_at(candidate, "/content/parts").as_array().map(Vec::as_slice).unwrap_or_default() {
        let signature = part["thoughtSignature"].as_str();
        if let Some(call) = part.get("functionCall") {
            *calls += 1;
            // Who wants one call at a time gets the first, which is the one that is signed; what else the model wants it asks for in its next turn.
            if *calls == 1 || !answered.one_at_a_time {
                said.push(Said::Call(read_call((call, signature), answered, *calls)?));
            }
        } else if let Some(text) = part["text"].as_str() {
            // Its thoughts are not said: nobody can ask for them here.
            if part["thought"] != true && !text.is_empty() {
                said.push(Said::Text(text.to_owned()));
            }
        } else if !is_signature(part) {
            return Err(unreadable("a part that is neither text nor a call"));
        }
    }
    let Some(reason) = candidate["finishReason"].as_str() else { return Ok(None) };
    Ok(Some(match stop_of(reason) {
        Stop::End if *calls > 0 => Stop::Tools,
        stop => stop,
    }))
}

/// Whether a part has a signature of what was said before, and nothing else: a picture, or code that was run, may be signed too.
fn is_signature(part: &Value) -> bool {
    let mut names = part.as_object().into_iter().flatten().map(|(name, _)| &**name);
    part["thoughtSignature"].is_string() && names.all(|name| matches!(name, "thoughtSignature" | "thought"))
}

/// The n-th call, with what is signed of it.
fn read_call(
    (call, signature): (&Value, Option<&str>),
    answered: &Answered,
    n: usize,
) -> Result<ToolCall, Refusal> {
    let id = match call["id"].as_str() {
        Some(id) if !id.is_empty() => id.to_owned(),
        // One that no other call has, also in a long conversation.
        _ => format!("call_{}_{n}", answered.call.replace('-', "")),
    };
    let arguments = match &call["args"] {
        Value::Null => json!({}),
        arguments @ Value::Object(_) => arguments.clone(),
        _ => return Err(unreadable("the arguments of a function are no object")),
    };
    let id = signed(&id, signature)?;
    Ok(ToolCall { id, name: text_at(call, "name").to_owned(), arguments })
}

fn stop_of(reason: &str) -> Stop {
    match reason {
        "STOP" => Stop::End,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE"
        | "MODEL_ARMOR" => Stop::Filtered,
        // `MAX_TOKENS`; a call that it could not write, or of what is no tool (`MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`); `OTHER`.
        _ => Stop::Length,
    }
}

pub(super) fn usage_of(reply: &Value) -> Usage {
    let usage = &reply["usageMetadata"];
    let number = |name: &str| usage[name].as_u64();
    let sum = |one: Option<u64>, more: Option<u64>| match (one, more) {
        (None, None) => None,
        (one, more) => Some(one.unwrap_or_default().saturating_add(more.unwrap_or_default())),
    };
    let thought = number("thoughtsTokenCount");
    Usage {
        input: sum(number("promptTokenCount"), number("toolUsePromptTokenCount")),
        output: sum(number("candidatesTokenCount"), thought),
        cached: number("cachedContentTokenCount"),
        thought,
    }
}

/// Writes an answer.
pub(in super::super) fn write_reply(reply: Reply, answered: &Answered) -> Value {
    let Reply { id, said, stop, usage } = reply;
    let parts: Vec<Value> = said.into_iter().map(part).collect();
    let body = document(&parts, Some(stop), &answered.id_or(id), answered);
    with(body, [("usageMetadata", write_usage(usage))])
}

pub(super) fn part(said: Said) -> Value {
    match said {
        Said::Text(text) => json!({"text": text}),
        Said::Call(ToolCall { id, name, arguments }) => {
            json!({"functionCall": {"id": id, "name": name, "args": arguments}})
        }
    }
}

pub(super) fn document(parts: &[Value], stop: Option<Stop>, id: &str, answered: &Answered) -> Value {
    let reason = |stop| match stop {
        Stop::End | Stop::Tools => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Filtered => "SAFETY",
    };
    let candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    let candidate = with(candidate, [("finishReason", stop.map(|stop| reason(stop).into()))]);
    json!({"candidates": [candidate], "modelVersion": &*answered.model, "responseId": id})
}

/// `None` where the provider did not say it.
pub(super) fn write_usage(usage: Usage) -> Option<Value> {
    let (input, output) = (usage.input?, usage.output?);
    let thought = usage.thought.unwrap_or_default().min(output);
    let written = json!({
        "promptTokenCount": input,
        "candidatesTokenCount": output - thought,
        "totalTokenCount": usage.total()?,
    });
    let thought = usage.thought.map(|_| thought.into());
    let cached = usage.cached.map(Value::from);
    Some(with(written, [("thoughtsTokenCount", thought), ("cachedContentTokenCount", cached)]))
}

/// Reads an error; `None` of what is none.
pub(in super::super) fn fault(body: &Value, status: u16) -> Option<Fault> {
    // One that comes in a stream may stand in a list.
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
    let error = body.get("error").filter(|error| error.is_object())?;
    let said = error["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let status = said.filter(|code| (400..600).contains(code)).unwrap_or(status);
    Some(Fault { message: text_at(error, "message").to_owned(), status })
}

/// Writes an error. In it Google's clients look for when to come again (AIP-193, `google.rpc.RetryInfo`), in seconds.
pub(in super::super) fn write_fault(fault: &Fault, again: Option<u32>) -> Value {
    let kind = match fault.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let error = json!({"code": fault.status, "message": fault.message, "status": kind});
    let info = |seconds: u32| json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}]);
    json!({"error": with(error, [("details", again.map(info))])})
}
