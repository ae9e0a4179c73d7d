//! The request. Members that the API has and that have no equivalent (`logprobs`, `prediction`, `web_search_options` …) are those that are read by
//! nobody here.

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{
    Choice, Part, Request, Side, Tool, ToolCall, ToolResult, Turn, arguments_of, image_at,
};
use super::super::effort::Effort;
use super::super::format::{Described, Format, closed};
use super::super::taken::{Taken, invalid, no_equivalent};
use super::super::thoughts::bare;
use super::super::with;

/// Reads a request.
///
/// # Errors
/// `no_equivalent`, `message_invalid`.
pub(in super::super) fn read(body: Value) -> Result<Request, Refusal> {
    let mut body = Taken::of(body, "the request")?;
    body.take("model");
    let mut request = Request::default();
    for message in body.list("messages")? {
        read_message(&mut request, Taken::of(message, "a message")?)?;
    }
    for tool in body.list("tools")? {
        request.tools.push(read_tool(tool)?);
    }
    request.choice = body.take("tool_choice").map(read_choice).transpose()?;
    request.one_at_a_time = body.flag("parallel_tool_calls")? == Some(false);
    request.most = match (body.whole("max_tokens")?, body.whole("max_completion_tokens")?) {
        (Some(one), Some(other)) if one != other => {
            return Err(invalid("the request", "says the most tokens of its answer twice"));
        }
        (one, other) => one.or(other),
    };
    request.temperature = body.number("temperature")?;
    request.top_p = body.number("top_p")?;
    request.seed = body.number("seed")?;
    request.presence_penalty = body.number("presence_penalty")?;
    request.frequency_penalty = body.number("frequency_penalty")?;
    request.stop = read_stop(body.take("stop"))?;
    request.user = body.text("user")?;
    request.format =
        body.object("response_format", "response_format")?.map(read_format).transpose()?.flatten();
    request.effort =
        body.text("reasoning_effort")?.map(|word| Effort::of(&word, "reasoning_effort")).transpose()?;
    request.streams = body.flag("stream")?.unwrap_or(false);
    // Its usage is always asked for; whether the caller gets it, the filter of its stream says.
    if let Some(mut options) = body.object("stream_options", "stream_options")? {
        options.flag("include_usage")?;
        // Bytes that say nothing, so that the length of an event says nothing.
        options.pass_over("include_obfuscation");
        options.done()?;
    }
    // What is kept for later questions and for how long, whom OpenAI knows the asking person by, and labels of what it would store.
    for hint in ["prompt_cache_key", "prompt_cache_retention", "safety_identifier", "metadata"] {
        body.pass_over(hint);
    }
    body.says_nothing("n", &[json!(1)])?;
    body.says_nothing("store", &[json!(false)])?;
    body.says_nothing("logprobs", &[json!(false)])?;
    body.says_nothing("modalities", &[json!(["text"])])?;
    body.says_nothing("service_tier", &[json!("auto")])?;
    body.says_nothing("verbosity", &[json!("medium")])?;
    body.done()?;
    Ok(request)
}

fn read_format(mut format: Taken) -> Result<Option<Format>, Refusal> {
    let kind = format.needed("type")?;
    let read = match &*kind {
        "text" => None,
        "json_object" => Some(Format::Json),
        "json_schema" => {
            let mut described = format
                .object("json_schema", "json_schema")?
                .ok_or_else(|| invalid("response_format", "has no json_schema"))?;
            let read = Described {
                name: Some(described.needed("name")?),
                description: described.text("description")?,
                schema: described.take("schema").unwrap_or_else(|| json!({})),
                strict: Some(described.flag("strict")?.unwrap_or(false)),
            };
            described.done()?;
            Some(Format::Schema(read))
        }
        _ => return Err(no_equivalent("response_format", &kind)),
    };
    format.done()?;
    Ok(read)
}

fn read_stop(stop: Option<Value>) -> Result<Vec<String>, Refusal> {
    let text = |value| match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid("stop", "must be texts")),
    };
    match stop {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.into_iter().map(text).collect(),
        Some(one) => text(one).map(|text| vec![text]),
    }
}

fn read_message(request: &mut Request, mut message: Taken) -> Result<(), Refusal> {
    let role = message.needed("role")?;
    let content = message.take("content");
    match &*role {
        "system" | "developer" => {
            if !request.turns.is_empty() {
                return Err(no_equivalent("instructions after the first turn", &role));
            }
            for part in read_parts(content)? {
                match part {
                    Part::Text(text) => request.instruct(text),
                    _ => return Err(no_equivalent("instructions", "image_url")),
                }
            }
        }
        "user" => {
            let parts = read_parts(content)?;
            request.say(Side::User, parts);
        }
        "tool" => {
            let id = message.needed("tool_call_id")?;
            let (name, parts) = (request.called(&id), read_parts(content)?);
            // What was called is said by the id; some SDKs say it once more.
            if message.text("name")?.is_some_and(|said| name.as_ref() != Some(&said)) {
                return Err(no_equivalent("the result of a tool", "name"));
            }
            request.say(Side::User, vec![Part::Result(ToolResult { id, name, parts, is_error: false })]);
        }
        "assistant" => {
            let mut parts = read_parts(content)?;
            for call in message.list("tool_calls")? {
                parts.push(Part::Call(read_call(call)?));
            }
            message.says_nothing("annotations", &[json!([])])?;
            // Its thoughts are its own, and no other model goes on from them.
            message.pass_over("reasoning_content");
            request.say(Side::Model, parts);
        }
        // `function` is what `tool` was before.
        _ => return Err(no_equivalent("a message's role", &role)),
    }
    message.done()
}

fn read_parts(content: Option<Value>) -> Result<Vec<Part>, Refusal> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(parts)) => parts.into_iter().map(read_part).collect(),
        Some(_) => Err(invalid("content", "must be a text or a list of parts")),
    }
}

fn read_part(part: Value) -> Result<Part, Refusal> {
    let mut part = Taken::of(part, "a part of the content")?;
    let kind = part.needed("type")?;
    let read = match &*kind {
        "text" => Part::Text(part.needed("text")?),
        "image_url" => {
            let mut image = part
                .object("image_url", "image_url")?
                .ok_or_else(|| invalid("a part of the content", "has no image_url"))?;
            let url = image.needed("url")?;
            // How closely it is looked at, for how many tokens.
            image.pass_over("detail");
            image.done()?;
            image_of(url)?
        }
        _ => return Err(no_equivalent("a part of the content", &kind)),
    };
    part.done()?;
    Ok(read)
}

/// An image by its address, which may be its bytes (RFC 2397).
fn image_of(url: String) -> Result<Part, Refusal> {
    let Some(data) = url.strip_prefix("data:") else { return image_at(url) };
    let (kind, data) =
        data.split_once(";base64,").ok_or_else(|| invalid("image_url", "must have its data in Base64"))?;
    if !kind.starts_with("image/") || kind.contains([';', ',']) {
        return Err(no_equivalent("image_url", kind));
    }
    Ok(Part::Image(kind.to_owned(), data.to_owned()))
}

fn read_call(call: Value) -> Result<ToolCall, Refusal> {
    let mut call = Taken::of(call, "a tool call")?;
    let kind = call.text("type")?;
    if kind.as_deref().is_some_and(|kind| kind != "function") {
        return Err(no_equivalent("a tool call", kind.as_deref().unwrap_or_default()));
    }
    let mut function = call
        .object("function", "a function that is called")?
        .ok_or_else(|| invalid("a tool call", "has no function"))?;
    let (name, arguments) = (function.needed("name")?, function.needed("arguments")?);
    let read = ToolCall { id: call.needed("id")?, name, arguments: read_arguments(&arguments)? };
    function.done()?;
    call.done()?;
    Ok(read)
}

/// Arguments as the object that their text is. A text that is none has no equivalent, nor has a number that would become another one.
fn read_arguments(text: &str) -> Result<Value, Refusal> {
    let arguments = arguments_of(text).map_err(|what| no_equivalent("a tool call", what))?;
    if vidimus_core::json::inexact_number(text.as_bytes()).is_some() {
        return Err(no_equivalent("a tool call", "arguments with a number that is not exact"));
    }
    Ok(arguments)
}

fn read_tool(tool: Value) -> Result<Tool, Refusal> {
    let mut tool = Taken::of(tool, "a tool")?;
    let kind = tool.needed("type")?;
    if kind != "function" {
        return Err(no_equivalent("a tool", &kind));
    }
    let mut function =
        tool.object("function", "a function")?.ok_or_else(|| invalid("a tool", "has no function"))?;
    let read = Tool {
        name: function.needed("name")?,
        description: function.text("description")?,
        schema: function.take("parameters"),
        strict: function.flag("strict")?.unwrap_or(false),
    };
    function.done()?;
    tool.done()?;
    Ok(read)
}

fn read_choice(choice: Value) -> Result<Choice, Refusal> {
    if let Value::String(said) = &choice {
        return match &**said {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" => Ok(Choice::Any),
            _ => Err(no_equivalent("tool_choice", said)),
        };
    }
    let mut choice = Taken::of(choice, "tool_choice")?;
    let kind = choice.needed("type")?;
    if kind != "function" {
        return Err(no_equivalent("tool_choice", &kind));
    }
    let mut function = choice
        .object("function", "the function of tool_choice")?
        .ok_or_else(|| invalid("tool_choice", "has no function"))?;
    let name = function.needed("name")?;
    function.done()?;
    choice.done()?;
    Ok(Choice::Named(name))
}

/// What a server that speaks this API takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Takes {
    /// `max_completion_tokens`: OpenAI's newer models refuse `max_tokens`, and servers that resemble it know no other.
    pub(in super::super) completion_tokens: bool,
    /// `stream_options.include_usage`.
    pub(in super::super) stream_usage: bool,
}

/// Writes a request for this model.
///
/// # Errors
/// `no_equivalent`.
pub(in super::super) fn write(request: Request, model: &str, takes: Takes) -> Result<Value, Refusal> {
    let Request {
        system,
        turns,
        // They stand in the turns.
        names: _,
        tools,
        choice,
        one_at_a_time,
        most,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        user,
        format,
        effort,
        streams,
    } = request;
    if top_k.is_some() {
        return Err(no_equivalent("the request", "top_k"));
    }
    let mut messages: Vec<Value> =
        system.into_iter().map(|text| json!({"role": "system", "content": text})).collect();
    for turn in turns {
        write_turn(turn, &mut messages)?;
    }
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("messages", Some(messages.into()));
    put("tools", (!tools.is_empty()).then(|| tools.into_iter().map(write_tool).collect()));
    put("tool_choice", choice.map(write_choice));
    put("parallel_tool_calls", one_at_a_time.then(|| false.into()));
    let name = if takes.completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    put(name, most.map(Value::from));
    put("temperature", temperature.map(Value::Number));
    put("top_p", top_p.map(Value::Number));
    put("seed", seed.map(Value::Number));
    put("presence_penalty", presence_penalty.map(Value::Number));
    put("frequency_penalty", frequency_penalty.map(Value::Number));
    put("stop", (!stop.is_empty()).then(|| stop.into()));
    put("user", user.map(Value::String));
    put("response_format", format.map(write_format));
    put("reasoning_effort", effort.map(|effort| effort.word().into()));
    if streams {
        put("stream", Some(true.into()));
        put("stream_options", takes.stream_usage.then(|| json!({"include_usage": true})));
    }
    Ok(Value::Object(body))
}

fn write_turn(turn: Turn, messages: &mut Vec<Value>) -> Result<(), Refusal> {
    // A message has its texts and its calls apart: nothing comes between them but their order, and of what was called nothing is known before the next turn.
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in turn.parts {
        match (part, turn.side) {
            (Part::Result(result), Side::User) => {
                // Its message stands by itself, after what was said before it.
                push_message("user", &mut content, messages);
                messages.push(write_result(result)?);
            }
            (Part::Call(ToolCall { id, name, arguments }), Side::Model) => calls.push(json!({
                "id": bare(&id),
                "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()},
            })),
            (Part::Text(text), _) => content.push(json!({"type": "text", "text": text})),
            (Part::Image(kind, data), Side::User) => {
                content.push(image(&format!("data:{kind};base64,{data}")));
            }
            (Part::ImageAt(url), Side::User) => content.push(image(&url)),
            (Part::Image(..) | Part::ImageAt(_), Side::Model) => {
                return Err(no_equivalent("a turn of the model", "image"));
            }
            (Part::Call(_), Side::User) | (Part::Result(_), Side::Model) => {
                return Err(invalid("a turn", "has a part of the other side"));
            }
        }
    }
    if turn.side == Side::User {
        push_message("user", &mut content, messages);
        return Ok(());
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), content_of(content));
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    messages.push(message.into());
    Ok(())
}

fn push_message(role: &str, content: &mut Vec<Value>, messages: &mut Vec<Value>) {
    if !content.is_empty() {
        messages.push(json!({"role": role, "content": content_of(std::mem::take(content))}));
    }
}

/// One text is written as such: servers that resemble OpenAI's may know nothing else.
fn content_of(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [] => Value::Null,
        [only] if only.get("text").is_some() => only["text"].take(),
        _ => parts.into(),
    }
}

fn image(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn write_result(result: ToolResult) -> Result<Value, Refusal> {
    let ToolResult { id, name: _, parts, is_error } = result;
    if is_error {
        return Err(no_equivalent("the result of a tool", "is_error"));
    }
    let mut content = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            _ => return Err(no_equivalent("the result of a tool", "image")),
        }
    }
    let content = if content.is_empty() { "".into() } else { content_of(content) };
    Ok(json!({"role": "tool", "tool_call_id": bare(&id), "content": content}))
}

fn write_tool(tool: Tool) -> Value {
    let Tool { name, description, schema, strict } = tool;
    let schema = if strict { schema.map(closed) } else { schema };
    let members = [
        ("description", description.map(Value::String)),
        ("parameters", schema),
        ("strict", strict.then(|| true.into())),
    ];
    json!({"type": "function", "function": with(json!({"name": name}), members)})
}

fn write_format(format: Format) -> Value {
    let described = match format {
        Format::Json => return json!({"type": "json_object"}),
        Format::Schema(described) => described,
    };
    let name = described.called();
    let Described { name: _, description, schema, strict } = described;
    let written = json!({"name": name, "schema": if strict == Some(true) { closed(schema) } else { schema }});
    let members = [("description", description.map(Value::String)), ("strict", strict.map(Value::Bool))];
    json!({"type": "json_schema", "json_schema": with(written, members)})
}

fn write_choice(choice: Choice) -> Value {
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Any => "required".into(),
        Choice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}
