//! The request.

use serde_json::{Map, Number, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Choice, Part, Request, Side, Tool, ToolCall, ToolResult};
use super::super::taken::{invalid, no_equivalent};
use super::super::with;

/// Writes a request. The model, and whether the answer is a stream, stand in the path.
///
/// # Errors
/// `no_equivalent`.
pub(in super::super) fn write(request: Request) -> Result<Value, Refusal> {
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
        streams: _,
    } = request;
    let is_given = |penalty: &Option<Number>| penalty.as_ref().is_some_and(|one| one.as_f64() != Some(0.0));
    // Some models know some of these by names of their own (additionalModelRequestFields), and which do, nobody here knows.
    let unsaid = [
        ("seed", seed.is_some()),
        ("presence_penalty", is_given(&presence_penalty)),
        ("frequency_penalty", is_given(&frequency_penalty)),
        ("top_k", top_k.is_some()),
        ("user", user.is_some()),
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
        ],
    ))
}

fn write_part(part: Part, side: Side) -> Result<Value, Refusal> {
    Ok(match (part, side) {
        (Part::Text(text), _) => json!({"text": text}),
        (Part::Image(kind, data), Side::User) => {
            json!({"image": {"format": format_of(&kind)?, "source": {"bytes": data}}})
        }
        (Part::ImageAt(_), Side::User) => return Err(no_equivalent("an image", "url")),
        (Part::Call(ToolCall { id, name, arguments }), Side::Model) => {
            json!({"toolUse": {"toolUseId": id, "name": name, "input": arguments}})
        }
        (Part::Result(ToolResult { id, name: _, parts, is_error }), Side::User) => {
            let parts = parts.into_iter().map(|part| write_part(part, side));
            let parts = parts.collect::<Result<Vec<Value>, Refusal>>()?;
            let result = json!({"toolUseId": id, "content": parts});
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
    let tool = |Tool { name, description, schema }| {
        let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let spec = json!({"name": name, "inputSchema": {"json": schema}});
        // It may not be empty.
        let description = description.filter(|text| !text.is_empty()).map(Value::String);
        json!({"toolSpec": with(spec, [("description", description)])})
    };
    let tools: Vec<Value> = tools.into_iter().map(tool).collect();
    Ok(Some(with(json!({"tools": tools}), [("toolChoice", choice)])))
}
