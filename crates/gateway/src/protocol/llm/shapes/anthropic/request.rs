//! The request. Members that the API has and that have no equivalent (`container`, `context_management`, `mcp_servers` …) are those that are read by
//! nobody here. Marks of what is to be kept for the next question (`cache_control`) are hints.

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Choice, Part, Request, Side, Tool, ToolCall, ToolResult, image_at};
use super::super::effort::{Effort, members_of_anthropic, of_thinking};
use super::super::format::{Described, Format, closed};
use super::super::taken::{Taken, invalid, no_equivalent};
use super::super::thoughts::bare;
use super::super::with;
use crate::protocol::llm::UNSAID;

/// Reads a request.
///
/// # Errors
/// `no_equivalent`, `message_invalid`.
pub(in super::super) fn read(body: Value) -> Result<Request, Refusal> {
    let mut body = Taken::of(body, "the request")?;
    body.take("model");
    let mut request = Request::default();
    match body.take("system") {
        None => {}
        Some(Value::String(text)) => request.instruct(text),
        Some(Value::Array(blocks)) => {
            for block in blocks {
                match read_block(block, &request)? {
                    Some(Part::Text(text)) => request.instruct(text),
                    _ => return Err(invalid("system", "must be texts")),
                }
            }
        }
        Some(_) => return Err(invalid("system", "must be a text or a list of blocks")),
    }
    for message in body.list("messages")? {
        let mut message = Taken::of(message, "a message")?;
        let role = message.needed("role")?;
        let side = match &*role {
            "user" => Side::User,
            "assistant" => Side::Model,
            _ => return Err(no_equivalent("a message's role", &role)),
        };
        let content = message.take("content");
        let has_blocks = content.as_ref().and_then(Value::as_array).is_some_and(|blocks| !blocks.is_empty());
        let parts = read_content(content, &request)?;
        message.done()?;
        // A turn of thoughts alone says nothing, and providers refuse one that is empty.
        if !(has_blocks && parts.is_empty()) {
            request.say(side, parts);
        }
    }
    for tool in body.list("tools")? {
        request.tools.push(read_tool(tool)?);
    }
    if let Some(choice) = body.object("tool_choice", "tool_choice")? {
        read_choice(choice, &mut request)?;
    }
    request.most = body.whole("max_tokens")?;
    request.temperature = body.number("temperature")?;
    request.top_p = body.number("top_p")?;
    request.top_k = body.whole("top_k")?;
    for text in body.list("stop_sequences")? {
        match text {
            Value::String(text) => request.stop.push(text),
            _ => return Err(invalid("stop_sequences", "must be texts")),
        }
    }
    if let Some(mut metadata) = body.object("metadata", "metadata")? {
        request.user = metadata.text("user_id")?;
        metadata.done()?;
    }
    request.streams = body.flag("stream")?.unwrap_or(false);
    read_form(&mut body, &mut request)?;
    body.says_nothing("service_tier", &[json!("auto")])?;
    body.pass_over("cache_control");
    body.done()?;
    Ok(request)
}

/// How much it is to think, and the form of its answer. `output_format` is the older place of that.
fn read_form(body: &mut Taken, request: &mut Request) -> Result<(), Refusal> {
    let mut format = body.object("output_format", "output_format")?;
    let thinking = body.object("thinking", "thinking")?.map(of_thinking).transpose()?.flatten();
    if let Some(mut config) = body.object("output_config", "output_config")? {
        let said = config.text("effort")?.map(|word| Effort::of(&word, "effort")).transpose()?;
        request.effort = said;
        match (config.object("format", "output_config.format")?, &format) {
            (Some(_), Some(_)) => return Err(invalid("the request", "says the form of its answer twice")),
            (said, None) => format = said,
            (None, Some(_)) => {}
        }
        config.done()?;
    }
    request.effort = request.effort.or(thinking);
    let Some(mut format) = format else { return Ok(()) };
    let kind = format.needed("type")?;
    if kind != "json_schema" {
        return Err(no_equivalent("the form of the answer", &kind));
    }
    let schema = format.take("schema").ok_or_else(|| invalid("the form of the answer", "has no schema"))?;
    format.done()?;
    let described = Described { name: None, description: None, schema, strict: Some(true) };
    request.format = Some(Format::Schema(described));
    Ok(())
}

fn read_content(content: Option<Value>, before: &Request) -> Result<Vec<Part>, Refusal> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(blocks)) => {
            blocks.into_iter().filter_map(|block| read_block(block, before).transpose()).collect()
        }
        Some(_) => Err(invalid("content", "must be a text or a list of blocks")),
    }
}

/// `None` of thoughts, which are their model's own: it signed them, and no other reads them.
fn read_block(block: Value, before: &Request) -> Result<Option<Part>, Refusal> {
    let mut block = Taken::of(block, "a block of the content")?;
    let kind = block.needed("type")?;
    if matches!(&*kind, "thinking" | "redacted_thinking") {
        return Ok(None);
    }
    block.pass_over("cache_control");
    let read = match &*kind {
        "text" => {
            block.says_nothing("citations", &[json!([])])?;
            Part::Text(block.needed("text")?)
        }
        "image" => {
            let source = block
                .object("source", "the source of an image")?
                .ok_or_else(|| invalid("an image", "has no source"))?;
            read_image(source)?
        }
        "tool_use" => Part::Call(ToolCall {
            id: block.needed("id")?,
            name: block.needed("name")?,
            arguments: match block.take("input") {
                Some(input @ Value::Object(_)) => input,
                _ => return Err(invalid("a tool_use", "must have an input that is an object")),
            },
        }),
        "tool_result" => {
            let id = block.needed("tool_use_id")?;
            let parts = read_content(block.take("content"), before)?;
            if parts.iter().any(|part| matches!(part, Part::Call(_) | Part::Result(_))) {
                return Err(invalid("a tool_result", "must have texts and images"));
            }
            let is_error = block.flag("is_error")?.unwrap_or(false);
            Part::Result(ToolResult { name: before.called(&id), id, parts, is_error })
        }
        _ => return Err(no_equivalent("a block of the content", &kind)),
    };
    block.done()?;
    Ok(Some(read))
}

fn read_image(mut source: Taken) -> Result<Part, Refusal> {
    let kind = source.needed("type")?;
    let read = match &*kind {
        "base64" => Part::Image(source.needed("media_type")?, source.needed("data")?),
        "url" => image_at(source.needed("url")?)?,
        _ => return Err(no_equivalent("the source of an image", &kind)),
    };
    source.done()?;
    Ok(read)
}

fn read_tool(tool: Value) -> Result<Tool, Refusal> {
    let mut tool = Taken::of(tool, "a tool")?;
    // What has another type is a tool that the provider runs.
    tool.says_nothing("type", &[json!("custom")])?;
    for hint in ["cache_control", "eager_input_streaming"] {
        tool.pass_over(hint);
    }
    let read = Tool {
        name: tool.needed("name")?,
        description: tool.text("description")?,
        schema: tool.take("input_schema"),
        strict: tool.flag("strict")?.unwrap_or(false),
    };
    tool.done()?;
    Ok(read)
}

fn read_choice(mut choice: Taken, request: &mut Request) -> Result<(), Refusal> {
    let kind = choice.needed("type")?;
    request.choice = Some(match &*kind {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        "none" => Choice::None,
        "tool" => Choice::Named(choice.needed("name")?),
        _ => return Err(no_equivalent("tool_choice", &kind)),
    });
    request.one_at_a_time = choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    choice.done()
}

/// Writes a request for this model.
///
/// # Errors
/// `no_equivalent`.
pub(in super::super) fn write(request: Request, model: &str) -> Result<Value, Refusal> {
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
    check_none(&[
        ("seed", seed.is_some()),
        ("presence_penalty", is_given(presence_penalty.as_ref())),
        ("frequency_penalty", is_given(frequency_penalty.as_ref())),
    ])?;
    let mut messages = Vec::new();
    for turn in turns {
        let blocks = turn.parts.into_iter().map(|part| write_part(part, turn.side));
        let blocks = blocks.collect::<Result<Vec<Value>, Refusal>>()?;
        let role = if turn.side == Side::User { "user" } else { "assistant" };
        messages.push(json!({"role": role, "content": blocks}));
    }
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    // It has to be said here; where the caller does not, this many were reserved.
    put("max_tokens", Some(most.map_or_else(|| UNSAID.into(), Value::from)));
    put("messages", Some(messages.into()));
    let block = |text: String| json!({"type": "text", "text": text});
    put("system", (!system.is_empty()).then(|| system.into_iter().map(block).collect()));
    put("tools", (!tools.is_empty()).then(|| tools.into_iter().map(write_tool).collect()));
    put("tool_choice", write_choice(choice, one_at_a_time));
    put("temperature", temperature.map(Value::Number));
    put("top_p", top_p.map(Value::Number));
    put("top_k", top_k.map(Value::from));
    put("stop_sequences", (!stop.is_empty()).then(|| stop.into()));
    put("metadata", user.map(|user| json!({"user_id": user})));
    let (thinking, effort) = members_of_anthropic(effort);
    put("thinking", thinking);
    put("output_config", write_form(format, effort)?);
    put("stream", streams.then(|| true.into()));
    Ok(Value::Object(body))
}

fn write_form(format: Option<Format>, effort: Option<&str>) -> Result<Option<Value>, Refusal> {
    let format = match format {
        None => None,
        Some(Format::Json) => return Err(no_equivalent("the form of the answer", "JSON without a schema")),
        Some(Format::Schema(described)) => {
            Some(json!({"type": "json_schema", "schema": closed(described.annotated()?)}))
        }
    };
    let is_there = format.is_some() || effort.is_some();
    let config = with(json!({}), [("format", format), ("effort", effort.map(Value::from))]);
    Ok(is_there.then_some(config))
}

/// Whether a penalty is one: by 0 nothing is changed.
fn is_given(penalty: Option<&serde_json::Number>) -> bool {
    penalty.is_some_and(|penalty| penalty.as_f64() != Some(0.0))
}

/// # Errors
/// `no_equivalent` for the first member that is there.
fn check_none(members: &[(&str, bool)]) -> Result<(), Refusal> {
    let there = members.iter().find(|(_, is_there)| *is_there);
    there.map_or(Ok(()), |(name, _)| Err(no_equivalent("the request", name)))
}

fn write_part(part: Part, side: Side) -> Result<Value, Refusal> {
    Ok(match (part, side) {
        (Part::Text(text), _) => json!({"type": "text", "text": text}),
        (Part::Image(kind, data), Side::User) => {
            json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}})
        }
        (Part::ImageAt(url), Side::User) => {
            json!({"type": "image", "source": {"type": "url", "url": url}})
        }
        (Part::Call(ToolCall { id, name, arguments }), Side::Model) => {
            json!({"type": "tool_use", "id": bare(&id), "name": name, "input": arguments})
        }
        (Part::Result(ToolResult { id, name: _, parts, is_error }), Side::User) => {
            let parts = parts.into_iter().map(|part| write_part(part, side));
            let parts = parts.collect::<Result<Vec<Value>, Refusal>>()?;
            let block = json!({"type": "tool_result", "tool_use_id": bare(&id), "content": parts});
            with(block, [("is_error", is_error.then(|| true.into()))])
        }
        (Part::Image(..) | Part::ImageAt(_), Side::Model) => {
            return Err(no_equivalent("a turn of the model", "image"));
        }
        (Part::Call(_), Side::User) | (Part::Result(_), Side::Model) => {
            return Err(invalid("a turn", "has a part of the other side"));
        }
    })
}

fn write_tool(tool: Tool) -> Value {
    let Tool { name, description, schema, strict } = tool;
    let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let schema = if strict { closed(schema) } else { schema };
    let members = [("description", description.map(Value::String)), ("strict", strict.then(|| true.into()))];
    with(json!({"name": name, "input_schema": schema}), members)
}

fn write_choice(choice: Option<Choice>, one_at_a_time: bool) -> Option<Value> {
    let written = match choice {
        None if one_at_a_time => json!({"type": "auto"}),
        None => return None,
        Some(Choice::Auto) => json!({"type": "auto"}),
        // It calls none, and so not two at once.
        Some(Choice::None) => return Some(json!({"type": "none"})),
        Some(Choice::Any) => json!({"type": "any"}),
        Some(Choice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    Some(with(written, [("disable_parallel_tool_use", one_at_a_time.then(|| true.into()))]))
}
