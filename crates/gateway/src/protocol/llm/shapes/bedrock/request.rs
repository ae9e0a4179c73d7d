//! The request.

use serde_json::{Map, Number, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Choice, Part, Request, Side, Tool, ToolCall, ToolResult};
use super::super::effort::{Effort, members_of_anthropic};
use super::super::format::{Format, closed};
use super::super::taken::{invalid, no_equivalent};
use super::super::thoughts::bare;
use super::super::with;

/// Writes a request. The model, and whether the answer is a stream, stand in the path; whose model it is says what can be asked of it beside.
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
        streams: _,
    } = request;
    let is_given = |penalty: &Option<Number>| penalty.as_ref().is_some_and(|one| one.as_f64() != Some(0.0));
    // Some models know some of these by names of their own, and which do, nobody here knows.
    let unsaid = [
        ("seed", seed.is_some()),
        ("presence_penalty", is_given(&presence_penalty)),
        ("frequency_penalty", is_given(&frequency_penalty)),
        ("one tool call at a time", one_at_a_time),
    ];
    if let Some((name, _)) = unsaid.iter().find(|(_, is_said)| *is_said) {
        return Err(no_equivalent("the request", name));
    }
    let mut messages = Vec::new();
    for turn in turns {
        let blocks = turn.parts.into_iter().map(|part| write_part(part, turn.side));
        let blocks = blocks.collect::<Result<Vec<Value>, Refusal>>()?;
        let role = if turn.side == Side::User { "user" } else { "assistant" };
        messages.push(json!({"role": role, "content": blocks}));
    }
    let config = [
        ("maxTokens", most.map(Value::from)),
        ("temperature", temperature.map(Value::Number)),
        ("topP", top_p.map(Value::Number)),
        ("stopSequences", (!stop.is_empty()).then(|| stop.into())),
    ];
    let config: Map<String, Value> =
        config.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let system: Vec<Value> = system.into_iter().map(|text| json!({"text": text})).collect();
    let body = json!({"messages": messages});
    Ok(with(
        body,
        [
            ("system", (!system.is_empty()).then(|| system.into())),
            ("inferenceConfig", (!config.is_empty()).then(|| config.into())),
            ("toolConfig", write_tools(tools, choice)?),
            ("outputConfig", format.map(write_format).transpose()?),
            ("additionalModelRequestFields", write_added(model, top_k, effort)?),
            ("requestMetadata", user.filter(|user| is_of_metadata(user)).map(|user| json!({"user": user}))),
        ],
    ))
}

/// What only the models of some makers know, in the words of these.
fn write_added(model: &str, top_k: Option<u64>, effort: Option<Effort>) -> Result<Option<Value>, Refusal> {
    let is_of = |maker: &str| model.split(['.', '/', ':']).any(|part| part == maker);
    let (mut top, mut thinks) = (None, Vec::new());
    if is_of("anthropic") {
        let (thinking, effort) = members_of_anthropic(effort);
        thinks.extend([
            ("thinking", thinking),
            ("output_config", effort.map(|effort| json!({"effort": effort}))),
        ]);
        top = top_k.map(|top_k| ("top_k", top_k.into()));
    } else {
        match effort {
            None => {}
            Some(effort) if is_of("openai") => thinks.push(("reasoning_effort", Some(effort.word().into()))),
            Some(_) => return Err(no_equivalent("the request", "how much to think")),
        }
        match top_k {
            None => {}
            Some(top_k) if is_of("amazon") => top = Some(("inferenceConfig", json!({"topK": top_k}))),
            Some(_) => return Err(no_equivalent("the request", "top_k")),
        }
    }
    let thinks = thinks.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let added: Map<String, Value> = thinks.chain(top).map(|(name, value)| (name.to_owned(), value)).collect();
    Ok((!added.is_empty()).then(|| added.into()))
}

/// Whether this can be a value of the metadata of a request (API reference, "Converse"). What cannot is left out as it is elsewhere.
fn is_of_metadata(user: &str) -> bool {
    let is_of = |char: char| char.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(char);
    (1..=256).contains(&user.len()) && user.chars().all(is_of)
}

/// The schema is a text in it.
fn write_format(format: Format) -> Result<Value, Refusal> {
    let Format::Schema(described) = format else {
        return Err(no_equivalent("the form of the answer", "JSON without a schema"));
    };
    let name = described.called();
    let schema = closed(described.annotated()?).to_string();
    let structure = json!({"jsonSchema": {"name": name, "schema": schema}});
    Ok(json!({"textFormat": {"type": "json_schema", "structure": structure}}))
}

fn write_part(part: Part, side: Side) -> Result<Value, Refusal> {
    Ok(match (part, side) {
        (Part::Text(text), _) => json!({"text": text}),
        (Part::Image(kind, data), Side::User) => {
            json!({"image": {"format": format_of(&kind)?, "source": {"bytes": data}}})
        }
        (Part::ImageAt(_), Side::User) => return Err(no_equivalent("an image", "url")),
        (Part::Call(ToolCall { id, name, arguments }), Side::Model) => {
            json!({"toolUse": {"toolUseId": bare(&id), "name": name, "input": arguments}})
        }
        (Part::Result(ToolResult { id, name: _, parts, is_error }), Side::User) => {
            let parts = parts.into_iter().map(|part| write_part(part, side));
            let parts = parts.collect::<Result<Vec<Value>, Refusal>>()?;
            let result = json!({"toolUseId": bare(&id), "content": parts});
            json!({"toolResult": with(result, [("status", is_error.then(|| "error".into()))])})
        }
        (Part::Image(..) | Part::ImageAt(_), Side::Model) => {
            return Err(no_equivalent("a turn of the model", "image"));
        }
        (Part::Call(_), Side::User) | (Part::Result(_), Side::Model) => {
            return Err(invalid("a turn", "has a part of the other side"));
        }
    })
}

/// What Bedrock calls a media type (`ImageFormat`).
fn format_of(kind: &str) -> Result<&'static str, Refusal> {
    match kind {
        "image/png" => Ok("png"),
        "image/jpeg" => Ok("jpeg"),
        "image/gif" => Ok("gif"),
        "image/webp" => Ok("webp"),
        other => Err(no_equivalent("an image", other)),
    }
}

fn write_tools(tools: Vec<Tool>, choice: Option<Choice>) -> Result<Option<Value>, Refusal> {
    if tools.is_empty() && matches!(choice, None | Some(Choice::Auto | Choice::None)) {
        return Ok(None);
    }
    let choice = match choice {
        None => None,
        Some(Choice::Auto) => Some(json!({"auto": {}})),
        Some(Choice::Any) => Some(json!({"any": {}})),
        Some(Choice::Named(name)) => Some(json!({"tool": {"name": name}})),
        Some(Choice::None) => return Err(no_equivalent("tool_choice", "none")),
    };
    let tool = |Tool { name, description, schema, strict }| {
        let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let schema = if strict { closed(schema) } else { schema };
        let spec = json!({"name": name, "inputSchema": {"json": schema}});
        // It may not be empty.
        let description = description.filter(|text| !text.is_empty()).map(Value::String);
        let members = [("description", description), ("strict", strict.then(|| true.into()))];
        json!({"toolSpec": with(spec, members)})
    };
    let tools: Vec<Value> = tools.into_iter().map(tool).collect();
    Ok(Some(with(json!({"tools": tools}), [("toolChoice", choice)])))
}
