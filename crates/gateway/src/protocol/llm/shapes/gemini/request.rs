//! The request. Members that the API has and that have no equivalent (`safetySettings`, `responseLogprobs`, `speechConfig` …) are those that
//! are read by nobody here. Calls of tools have no ids in it, or none that have to be there: where they have none they have their name's.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::conversation::{Choice, Part, Request, Side, Tool, ToolCall, ToolResult};
use super::super::effort::of_config;
use super::super::format::{Described, Format};
use super::super::taken::{Taken, invalid, no_equivalent};
use super::super::thoughts::{FOREIGN, signature_in, wants_signatures};
use super::super::with;
use super::schema::json_schema;

/// Reads a request; whether it `streams` its path says.
///
/// # Errors
/// `no_equivalent`, `message_invalid`.
pub(in super::super) fn read(body: Value, streams: bool) -> Result<Request, Refusal> {
    let mut body = Taken::of(body, "the request")?;
    body.take("model");
    let mut request = Request { streams, ..Request::default() };
    if let Some(mut system) = body.object("systemInstruction", "systemInstruction")? {
        system.says_nothing("role", &[json!("user"), json!("system")])?;
        for part in system.list("parts")? {
            match read_part(part, &mut Ids::default())? {
                Part::Text(text) => request.instruct(text),
                _ => return Err(invalid("systemInstruction", "must be texts")),
            }
        }
        system.done()?;
    }
    let mut ids = Ids::default();
    for content in body.list("contents")? {
        let mut content = Taken::of(content, "a content")?;
        let side = match content.text("role")?.as_deref() {
            None | Some("user" | "function") => Side::User,
            Some("model") => Side::Model,
            Some(role) => return Err(no_equivalent("a content's role", role)),
        };
        let parts = content.list("parts")?;
        content.done()?;
        let parts = parts.into_iter().map(|part| read_part(part, &mut ids));
        let parts = parts.collect::<Result<Vec<Part>, Refusal>>()?;
        check_names(&parts, &request)?;
        request.say(side, parts);
    }
    for tool in body.list("tools")? {
        let mut tool = Taken::of(tool, "a tool")?;
        for function in tool.list("functionDeclarations")? {
            request.tools.push(read_tool(function)?);
        }
        tool.done()?;
    }
    if let Some(mut config) = body.object("toolConfig", "toolConfig")? {
        if let Some(calling) = config.object("functionCallingConfig", "functionCallingConfig")? {
            read_choice(calling, &mut request)?;
        }
        config.done()?;
    }
    if let Some(config) = body.object("generationConfig", "generationConfig")? {
        read_config(config, &mut request)?;
    }
    body.says_nothing("safetySettings", &[json!([])])?;
    body.done()?;
    Ok(request)
}

/// That results are of calls that were made: elsewhere they have no name but that of their call.
fn check_names(parts: &[Part], before: &Request) -> Result<(), Refusal> {
    let of_no_call = |part: &&Part| match part {
        Part::Result(result) => before.called(&result.id) != result.name,
        _ => false,
    };
    match parts.iter().find(of_no_call) {
        Some(_) => Err(no_equivalent("functionResponse", "the name of what was not called")),
        None => Ok(()),
    }
}

fn read_config(mut config: Taken, request: &mut Request) -> Result<(), Refusal> {
    request.most = config.whole("maxOutputTokens")?;
    request.temperature = config.number("temperature")?;
    request.top_p = config.number("topP")?;
    // It is written as a number with a point by some (`40.0`).
    request.top_k = match config.number("topK")? {
        None => None,
        Some(number) => Some(whole(&number).ok_or_else(|| invalid("topK", "must be a whole number"))?),
    };
    request.seed = config.number("seed")?;
    request.presence_penalty = config.number("presencePenalty")?;
    request.frequency_penalty = config.number("frequencyPenalty")?;
    for text in config.list("stopSequences")? {
        match text {
            Value::String(text) => request.stop.push(text),
            _ => return Err(invalid("stopSequences", "must be texts")),
        }
    }
    config.says_nothing("candidateCount", &[json!(1)])?;
    request.format = read_format(&mut config)?;
    request.effort = config.object("thinkingConfig", "thinkingConfig")?.map(of_config).transpose()?.flatten();
    // How closely images are looked at, for how many tokens.
    config.pass_over("mediaResolution");
    config.says_nothing("responseModalities", &[json!(["TEXT"])])?;
    config.done()
}

fn read_format(config: &mut Taken) -> Result<Option<Format>, Refusal> {
    let kind = config.text("responseMimeType")?;
    let own = config.take("responseSchema").map(json_schema).transpose()?;
    let schemas = [own, config.take("responseJsonSchema"), config.take("_responseJsonSchema")];
    let mut schemas = schemas.into_iter().flatten();
    let schema = schemas.next();
    if schemas.next().is_some() {
        return Err(invalid("generationConfig", "has the schema of its answer twice"));
    }
    match (kind.as_deref(), schema) {
        (None | Some("text/plain"), None) => Ok(None),
        (Some("application/json"), None) => Ok(Some(Format::Json)),
        (Some("application/json"), Some(schema)) => {
            let described = Described { name: None, description: None, schema, strict: None };
            Ok(Some(Format::Schema(described)))
        }
        (None | Some("text/plain"), Some(_)) => {
            Err(invalid("generationConfig", "must have responseMimeType application/json beside a schema"))
        }
        (Some(other), _) => Err(no_equivalent("responseMimeType", other)),
    }
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let text = number.to_string();
        text.strip_suffix(".0")?.parse().ok()
    })
}

/// The ids of calls that have none: the name, and which of that name it is. Results have them in the same order.
#[derive(Debug, Default)]
struct Ids {
    called: HashMap<String, usize>,
    answered: HashMap<String, usize>,
}

impl Ids {
    fn of(said: Option<String>, name: &str, earlier: &mut HashMap<String, usize>) -> String {
        said.unwrap_or_else(|| {
            let which = earlier.entry(name.to_owned()).or_default();
            *which += 1;
            format!("{name}-{which}")
        })
    }
}

fn read_part(part: Value, ids: &mut Ids) -> Result<Part, Refusal> {
    let mut part = Taken::of(part, "a part of a content")?;
    part.says_nothing("thought", &[json!(false)])?;
    // It is good for the model alone that signed it.
    part.pass_over("thoughtSignature");
    let read = if part.has("text") {
        Part::Text(part.needed("text")?)
    } else if let Some(mut blob) = part.object("inlineData", "inlineData")? {
        let (kind, data) = (blob.needed("mimeType")?, blob.needed("data")?);
        blob.done()?;
        if !kind.starts_with("image/") {
            return Err(no_equivalent("inlineData", &kind));
        }
        Part::Image(kind, data)
    } else if let Some(mut call) = part.object("functionCall", "functionCall")? {
        let name = call.needed("name")?;
        let arguments = call.take("args").unwrap_or_else(|| json!({}));
        if !arguments.is_object() {
            return Err(invalid("functionCall", "must have args that are an object"));
        }
        let id = Ids::of(call.text("id")?, &name, &mut ids.called);
        call.done()?;
        Part::Call(ToolCall { id, name, arguments })
    } else if let Some(mut response) = part.object("functionResponse", "functionResponse")? {
        let name = response.needed("name")?;
        let id = Ids::of(response.text("id")?, &name, &mut ids.answered);
        let (text, is_error) = read_response(response.take("response"))?;
        response.done()?;
        Part::Result(ToolResult { id, name: Some(name), parts: vec![Part::Text(text)], is_error })
    } else {
        part.done()?;
        return Err(invalid("a part of a content", "says nothing"));
    };
    part.done()?;
    Ok(read)
}

/// What a function answered: one text, or the text of the object; and whether it failed. Gemini has `output` and `error` for that.
fn read_response(response: Option<Value>) -> Result<(String, bool), Refusal> {
    let Some(Value::Object(members)) = response else {
        return Err(invalid("functionResponse", "must have a response that is an object"));
    };
    let mut all = members.iter();
    match (all.next(), all.next()) {
        (Some((name, Value::String(text))), None) if matches!(&**name, "output" | "error") => {
            Ok((text.clone(), name == "error"))
        }
        _ => Ok((Value::Object(members).to_string(), false)),
    }
}

fn read_tool(function: Value) -> Result<Tool, Refusal> {
    let mut function = Taken::of(function, "a functionDeclaration")?;
    let (own, schema) = (function.take("parameters"), function.take("parametersJsonSchema"));
    let schema = match (own, schema) {
        (Some(_), Some(_)) => return Err(invalid("a functionDeclaration", "has its parameters twice")),
        (Some(own), None) => Some(json_schema(own)?),
        (None, schema) => schema,
    };
    let read = Tool {
        name: function.needed("name")?,
        description: function.text("description")?,
        schema,
        strict: false,
    };
    function.says_nothing("behavior", &[json!("BLOCKING"), json!("UNSPECIFIED")])?;
    function.done()?;
    Ok(read)
}

fn read_choice(mut calling: Taken, request: &mut Request) -> Result<(), Refusal> {
    let mode = calling.text("mode")?;
    let names = calling.list("allowedFunctionNames")?;
    calling.done()?;
    request.choice = match (mode.as_deref(), names.as_slice()) {
        (None | Some("MODE_UNSPECIFIED"), []) => None,
        (Some("AUTO"), []) => Some(Choice::Auto),
        // It may call, and what it calls is as the schemas say.
        (Some("VALIDATED"), []) => {
            request.tools.iter_mut().for_each(|tool| tool.strict = true);
            Some(Choice::Auto)
        }
        (Some("NONE"), []) => Some(Choice::None),
        (Some("ANY"), []) => Some(Choice::Any),
        (Some("ANY"), [Value::String(name)]) => Some(Choice::Named(name.clone())),
        (mode, names) => {
            let what = if names.is_empty() { mode.unwrap_or_default() } else { "allowedFunctionNames" };
            return Err(no_equivalent("functionCallingConfig", what));
        }
    };
    Ok(())
}

/// Writes a request for this model, which stands in its path. That one tool is called at a time is seen to in the answer
/// ([`super::super::Answered::one_at_a_time`]).
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
        one_at_a_time: _,
        most,
        temperature,
        top_p,
        top_k,
        seed,
        presence_penalty,
        frequency_penalty,
        stop,
        // It has no place for whom is asked.
        user: _,
        format,
        effort,
        streams: _,
    } = request;
    let mut contents = Vec::new();
    for turn in turns {
        let parts = turn.parts.into_iter().map(|part| write_part(part, turn.side));
        let mut parts = parts.collect::<Result<Vec<Value>, Refusal>>()?;
        if wants_signatures(model) {
            sign_first(&mut parts);
        }
        let role = if turn.side == Side::User { "user" } else { "model" };
        contents.push(json!({"role": role, "parts": parts}));
    }
    let mut config = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    put("maxOutputTokens", most.map(Value::from));
    put("temperature", temperature.map(Value::Number));
    put("topP", top_p.map(Value::Number));
    put("topK", top_k.map(Value::from));
    put("seed", seed.map(Value::Number));
    put("presencePenalty", presence_penalty.map(Value::Number));
    put("frequencyPenalty", frequency_penalty.map(Value::Number));
    put("stopSequences", (!stop.is_empty()).then(|| stop.into()));
    put("thinkingConfig", effort.map(|effort| json!({"thinkingBudget": effort.budget()})));
    match format {
        None => {}
        Some(Format::Json) => put("responseMimeType", Some("application/json".into())),
        Some(Format::Schema(described)) => {
            put("responseMimeType", Some("application/json".into()));
            put("responseJsonSchema", Some(described.annotated()?));
        }
    }
    let strict = tools.iter().any(|tool| tool.strict);
    let parts: Vec<Value> = system.into_iter().map(|text| json!({"text": text})).collect();
    let tools: Vec<Value> = tools.into_iter().map(write_tool).collect();
    let choice = match choice {
        // Calls by any other mode are as the schemas say in any case.
        None | Some(Choice::Auto) if strict => Some(json!({"mode": "VALIDATED"})),
        choice => choice.map(write_choice),
    };
    let choice = choice.map(|choice| json!({"functionCallingConfig": choice}));
    Ok(with(
        json!({"contents": contents}),
        [
            ("generationConfig", (!config.is_empty()).then(|| config.into())),
            ("systemInstruction", (!parts.is_empty()).then(|| json!({"parts": parts}))),
            ("tools", (!tools.is_empty()).then(|| json!([{"functionDeclarations": tools}]))),
            ("toolConfig", choice),
        ],
    ))
}

fn write_part(part: Part, side: Side) -> Result<Value, Refusal> {
    Ok(match (part, side) {
        (Part::Text(text), _) => json!({"text": text}),
        (Part::Image(kind, data), Side::User) => json!({"inlineData": {"mimeType": kind, "data": data}}),
        // It takes files that it keeps, and none of elsewhere.
        (Part::ImageAt(_), Side::User) => return Err(no_equivalent("an image", "its address")),
        (Part::Call(ToolCall { id, name, arguments }), Side::Model) => {
            let (id, signature) = signature_in(&id);
            let call = json!({"functionCall": {"id": id, "name": name, "args": arguments}});
            with(call, [("thoughtSignature", signature.map(Value::String))])
        }
        (Part::Result(ToolResult { id, name, parts, is_error }), Side::User) => {
            let name = name
                .ok_or_else(|| no_equivalent("the result of a tool", "an id that nothing was called by"))?;
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(more) => text.push_str(&more),
                    _ => return Err(no_equivalent("the result of a tool", "image")),
                }
            }
            let said = if is_error { json!({"error": text}) } else { json!({"output": text}) };
            let (id, _) = signature_in(&id);
            json!({"functionResponse": {"id": id, "name": name, "response": said}})
        }
        (Part::Image(..) | Part::ImageAt(_), Side::Model) => {
            return Err(no_equivalent("a turn of the model", "image"));
        }
        (Part::Call(_), Side::User) | (Part::Result(_), Side::Model) => {
            return Err(invalid("a turn", "has a part of the other side"));
        }
    })
}

/// Of the calls of one turn the first has to be signed, also where another model made it.
fn sign_first(parts: &mut [Value]) {
    let first = parts.iter_mut().find(|part| part.get("functionCall").is_some());
    if let Some(Value::Object(part)) = first {
        part.entry("thoughtSignature").or_insert_with(|| FOREIGN.into());
    }
}

fn write_tool(tool: Tool) -> Value {
    let Tool { name, description, schema, strict: _ } = tool;
    let description = description.map(Value::String);
    with(json!({"name": name}), [("description", description), ("parametersJsonSchema", schema)])
}

fn write_choice(choice: Choice) -> Value {
    match choice {
        Choice::Auto => json!({"mode": "AUTO"}),
        Choice::None => json!({"mode": "NONE"}),
        Choice::Any => json!({"mode": "ANY"}),
        Choice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}
