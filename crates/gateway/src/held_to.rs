//! What of a message is held to the JSON Schema of a policy's guard (`spec.guards[].schema`, ADR 87): each thing that it says, as a value. A text that is
//! JSON is that, and any other text a string. What some readers take for another message than this does is none that can be held to anything.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use vidimus_core::call::{Action, Ask};
use vidimus_core::guard::Kinds;
use vidimus_core::json::Json;
use vidimus_core::json_schema::HeldSchema;

use crate::changes::Speech;
use crate::protocol::is_same_member;

/// A member that says what is held is spelled in another way, or a text is JSON that not all read alike: some readers take it for that, and some do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misspelt;

/// What a record calls what is not as a schema lets it be.
const INVALID: &str = "invalid";

/// How many of these values a schema does not let be, as records have it.
pub fn invalid(schema: &HeldSchema, values: &[Value]) -> Kinds {
    let count = match schema.is_too_much(values) {
        true => values.len(),
        false => values.iter().filter(|value| !schema.lets(value)).count(),
    };
    match u32::try_from(count).unwrap_or(u32::MAX) {
        0 => Kinds::new(),
        count => Kinds::from([(INVALID.into(), count)]),
    }
}

/// What a call says: the arguments of a tool or a prompt, the parts of a message to an agent, the request of a model. Of another message nothing is
/// held, as of one that asks for a task.
///
/// # Errors
/// [`Misspelt`], also for what is no JSON.
pub fn asked(ask: &Ask<'_>) -> Result<Vec<Value>, Misspelt> {
    if ask.body.is_empty() {
        return Ok(Vec::new());
    }
    let message: Value = serde_json::from_slice(ask.body).map_err(|_| Misspelt)?;
    match ask.action {
        Action::CallModel => Ok(vec![message]),
        Action::CallAgent => {
            let mut said = Vec::new();
            parts(&message, "", Whose::Callers, &mut said)?;
            Ok(said)
        }
        _ if matches!(ask.method, "tools/call" | "prompts/get") => {
            let given = message.pointer("/params/arguments").filter(|given| !given.is_null());
            Ok(vec![given.cloned().unwrap_or_else(|| Value::Object(Map::new()))])
        }
        _ => Ok(Vec::new()),
    }
}

/// What an answer says: the structured content of a tool and each block beside it; the contents of a resource, and the messages of a prompt; the parts of an
/// agent's messages and artifacts, but for what its caller said by its history; the texts of a model. An error is what it is. A list has what each of its members says.
///
/// # Errors
/// [`Misspelt`].
pub fn answered(speech: Speech, message: &Value) -> Result<Vec<Value>, Misspelt> {
    let mut said = Vec::new();
    let each = match message {
        Value::Array(messages) => messages.as_slice(),
        message => std::slice::from_ref(message),
    };
    for message in each {
        if let Some(error) = member(message, "error")? {
            said.push(error.clone());
        }
        match speech {
            Speech::Server => of_server(message, &mut said)?,
            Speech::Agent => parts(message, "", Whose::Agents, &mut said)?,
            Speech::Model => of_model(message, &mut said)?,
        }
    }
    Ok(said)
}

/// What a text says. By its grammar it is JSON or words; JSON in which a member stands twice, or a number or half a character that not every reader
/// has, is no words for it: some reader has the value.
fn text(text: &str) -> Result<Value, Misspelt> {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Ok(Value::String(text.to_owned()));
    }
    Json::parse(text.as_bytes()).map_err(|_| Misspelt)?;
    serde_json::from_str(text).map_err(|_| Misspelt)
}

/// Whether an object has members of these names alone.
fn has_only(value: &Value, names: &[&str]) -> bool {
    value.as_object().is_some_and(|members| members.keys().all(|name| names.contains(&name.as_str())))
}

/// A member of an object, if it is one and has it; null is as if it were not there.
fn member<'v>(value: &'v Value, name: &str) -> Result<Option<&'v Value>, Misspelt> {
    let Value::Object(members) = value else { return Ok(None) };
    if members.keys().any(|other| other != name && is_same_member(other, name)) {
        return Err(Misspelt);
    }
    Ok(members.get(name).filter(|value| !value.is_null()))
}

/// The elements of a member that is a list; a single one is as a list of it.
fn list<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], Misspelt> {
    Ok(match member(value, name)? {
        Some(Value::Array(elements)) => elements,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    })
}

fn of_server(message: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    if let Some(result) = member(message, "result")? {
        of_result(result, said)?;
    }
    // News of a task that has ended.
    match member(message, "params")? {
        Some(params) => of_task(params, said),
        None => Ok(()),
    }
}

/// What came of a task that a tool made, where it says so: what the tool would have answered.
fn of_task(task: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    said.extend(member(task, "error")?.cloned());
    member(task, "result")?.map_or(Ok(()), |result| of_result(result, said))
}

fn of_result(result: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    of_task(result, said)?;
    said.extend(member(result, "structuredContent")?.cloned());
    list(result, "content")?.iter().try_for_each(|one| block(one, said))?;
    for content in list(result, "contents")? {
        let words = member(content, "text")?.and_then(Value::as_str);
        said.extend(words.map(text).transpose()?);
        if words.is_none() || !has_only(content, &["uri", "mimeType", "text", "annotations", "_meta"]) {
            said.push(content.clone());
        }
    }
    let messages = list(result, "messages")?;
    for message in messages {
        list(message, "content")?.iter().try_for_each(|one| block(one, said))?;
        if !has_only(message, &["role", "content", "_meta"]) {
            said.push(message.clone());
        }
    }
    let description = member(result, "description")?.filter(|_| !messages.is_empty());
    said.extend(description.and_then(Value::as_str).map(text).transpose()?);
    Ok(())
}

/// A block of what a tool says, or a prompt: its text, and all that it is where it is something else, or more than that.
fn block(block: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    let words = member(block, "text")?.and_then(Value::as_str);
    said.extend(words.map(text).transpose()?);
    // What it is besides, some reader takes it for.
    let is_words = words.is_some() && member(block, "type")?.and_then(Value::as_str) == Some("text");
    if !is_words || !has_only(block, &["type", "text", "annotations", "_meta"]) {
        said.push(block.clone());
    }
    Ok(())
}

/// Whose words are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Callers,
    Agents,
    /// An agent's, where it tells what was said before: what its caller said is no answer. Elsewhere what an agent says is its own, whatever role it has.
    History,
}

/// Every part below a value, wherever it stands; nothing below a part. `at` is the name that it has, or the list that it is in. Over HTTP+JSON 0.3 has the
/// parts of a message in its `content`.
fn parts(value: &Value, at: &str, whose: Whose, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    match value {
        Value::Array(values) => values.iter().try_for_each(|value| parts(value, at, whose, said)),
        Value::Object(members) => {
            let role = member(value, "role")?.and_then(Value::as_str);
            if whose == Whose::History && matches!(role, Some("user" | "ROLE_USER")) {
                return Ok(());
            }
            list(value, "parts")?.iter().try_for_each(|one| part(one, said))?;
            let is_message = is_message(at, members);
            if is_message {
                list(value, "content")?.iter().try_for_each(|one| old_part(one, said))?;
            }
            let is_read = |name: &str| name == "parts" || is_message && name == "content";
            let mut others = members.iter().filter(|(name, _)| !is_read(name));
            others.try_for_each(|(name, value)| {
                let is_history = whose == Whose::Agents && name == "history";
                parts(value, name, if is_history { Whose::History } else { whose }, said)
            })
        }
        _ => Ok(()),
    }
}

/// Whether an object may be a message to an agent, or of one: by what only messages have, and by where it stands.
fn is_message(at: &str, members: &Map<String, Value>) -> bool {
    let is_one_of = |name: &str, known: &[&str]| known.iter().any(|known| is_same_member(name, known));
    is_one_of(at, &["message", "request", "msg", "history", "update"])
        || members.keys().any(|name| is_one_of(name, &["role", "messageId"]))
}

/// A part as the schema of 0.3 has it: its data stands in an object.
fn old_part(one: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    let Some(data) = member(one, "data")? else { return part(one, said) };
    let Some(within) = member(data, "data")? else { return part(one, said) };
    said.push(within.clone());
    // Nothing stands beside it.
    let is_alone = data.as_object().is_some_and(|members| members.len() == 1);
    if !is_alone || member(one, "text")?.is_some() {
        part(one, said)?;
    }
    Ok(())
}

/// One part: its data, its text, and where it is something else, or more than that, all that it is.
fn part(part: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    let (data, words) = (member(part, "data")?, member(part, "text")?);
    let kind = member(part, "kind")?;
    if let Some(Value::String(words)) = words {
        said.push(text(words)?);
    }
    said.extend(data.cloned());
    let is_of_kind = match kind.map(Value::as_str) {
        None => data.is_some() || words.is_some(),
        Some(Some("text")) => words.is_some(),
        Some(Some("data")) => data.is_some(),
        Some(_) => false,
    };
    let is_text = words.is_none_or(Value::is_string);
    if !is_of_kind
        || !is_text
        || !has_only(part, &["data", "text", "kind", "metadata", "filename", "mediaType"])
    {
        said.push(part.clone());
    }
    Ok(())
}

/// The texts of a model's answers, in the members of OpenAI, of Anthropic, of Gemini or of Bedrock, without what it thinks and the tools that it calls. What has none of
/// their members is held as a whole.
fn of_model(answer: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    let known = ["choices", "output", "content", "candidates", "error"];
    let mut is_known = false;
    for name in known {
        is_known |= member(answer, name)?.is_some();
    }
    if !is_known {
        said.push(answer.clone());
        return Ok(());
    }
    for choice in list(answer, "choices")? {
        words(choice, said)?;
        if let Some(message) = member(choice, "message")? {
            words(message, said)?;
            blocks(message, said)?;
        }
    }
    for item in list(answer, "output")? {
        if member(item, "type")?.and_then(Value::as_str) != Some("reasoning") {
            blocks(item, said)?;
        }
        if let Some(message) = member(item, "message")? {
            blocks(message, said)?;
        }
    }
    blocks(answer, said)?;
    for candidate in list(answer, "candidates")? {
        let Some(content) = member(candidate, "content")? else { continue };
        // A client puts the parts of one answer together.
        let mut whole = String::new();
        for part in list(content, "parts")? {
            let is_thought = member(part, "thought")?.and_then(Value::as_bool) == Some(true);
            let words = member(part, "text")?.and_then(Value::as_str);
            whole.push_str(words.filter(|_| !is_thought).unwrap_or_default());
        }
        if !whole.is_empty() {
            said.push(text(&whole)?);
        }
    }
    Ok(())
}

/// The content of a message: a text, or blocks of which some are texts.
fn blocks(message: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    for block in list(message, "content")? {
        match block {
            Value::String(block) => said.push(text(block)?),
            block => {
                words(block, said)?;
                // Bedrock has texts with what they are taken from.
                if let Some(cited) = member(block, "citationsContent")? {
                    blocks(cited, said)?;
                }
            }
        }
    }
    Ok(())
}

/// The text that an object has, and why it has none.
fn words(value: &Value, said: &mut Vec<Value>) -> Result<(), Misspelt> {
    for name in ["text", "refusal"] {
        match member(value, name)? {
            Some(Value::String(words)) => said.push(text(words)?),
            other => said.extend(other.cloned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(speech: Speech, cases: &[(Value, Result<Value, Misspelt>)]) {
        for (message, expected) in cases {
            assert_eq!(answered(speech, message).map(Value::Array), *expected, "{message}");
        }
    }

    #[test]
    fn a_text_that_is_json_is_that() {
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        let words = |words: &str| Ok(json!(words));
        for (said, expected) in [
            (r#" {"a": 1} "#, Ok(json!({"a": 1}))),
            ("7", Ok(json!(7))),
            ("hello", words("hello")),
            ("```json\n{}\n```", words("```json\n{}\n```")),
            (r#"{"a": 1} x"#, words(r#"{"a": 1} x"#)),
            ("", words("")),
            // Attack: one reader takes the first, another the last, or has a number, or half a character, that this one has not.
            (r#"{"a": 1, "a": "x"}"#, Err(Misspelt)),
            (r#"{"a": 1, "A": "x"}"#, Err(Misspelt)),
            (r#"{"a": 1e999}"#, Err(Misspelt)),
            (r#"{"a": "\ud800"}"#, Err(Misspelt)),
            (&*deep, Err(Misspelt)),
        ] {
            assert_eq!(text(said), expected, "{said}");
        }
    }

    #[test]
    fn what_a_server_says_is_its_structured_content_and_each_block() {
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
        let image = json!({"type": "image", "data": "AA=="});
        check(
            Speech::Server,
            &[
                (result(json!({"structuredContent": {"a": 1}})), Ok(json!([{"a": 1}]))),
                (
                    result(
                        json!({"content": [{"type": "text", "text": "{\"a\":1}"}, {"type": "text", "text": "b"}, image]}),
                    ),
                    Ok(json!([{"a": 1}, "b", image])),
                ),
                (
                    result(json!({"isError": true, "content": [{"type": "text", "text": "no"}]})),
                    Ok(json!(["no"])),
                ),
                (result(json!({"task": {"taskId": "1"}})), Ok(json!([]))),
                // Attack: a tool that answers by a task, whose end says what it answers.
                (
                    result(
                        json!({"taskId": "1", "status": "completed", "result": {"content": [{"type": "text", "text": "b"}], "structuredContent": {}}}),
                    ),
                    Ok(json!([{}, "b"])),
                ),
                (
                    result(json!({"taskId": "1", "status": "failed", "error": {"code": 1, "message": "no"}})),
                    Ok(json!([{"code": 1, "message": "no"}])),
                ),
                (
                    json!({"method": "notifications/tasks", "params": {"taskId": "1", "result": {"content": [{"type": "text", "text": "b"}]}}}),
                    Ok(json!(["b"])),
                ),
                (
                    json!({"id": 1, "error": {"code": 1, "message": "no"}}),
                    Ok(json!([{"code": 1, "message": "no"}])),
                ),
                (json!({"method": "notifications/progress", "params": {}}), Ok(json!([]))),
                // Attack: a text beside what a reader takes the block for.
                (
                    result(
                        json!({"content": [{"type": "resource", "text": "{}", "resource": {"text": "b"}}]}),
                    ),
                    Ok(json!([{}, {"type": "resource", "text": "{}", "resource": {"text": "b"}}])),
                ),
                (
                    result(
                        json!({"content": [{"type": "text", "text": "{}", "_meta": {"a": 1}, "annotations": {}}]}),
                    ),
                    Ok(json!([{}])),
                ),
                // Attack: a reader that ignores case.
                (result(json!({"Content": [{"type": "text", "text": "b"}]})), Err(Misspelt)),
                (result(json!({"structured_content": {}})), Err(Misspelt)),
                (result(json!({"content": [{"type": "text", "text": "{}", "Text": "b"}]})), Err(Misspelt)),
            ],
        );
    }

    #[test]
    fn what_an_agent_says_is_its_parts() {
        let task = json!({"result": {"artifacts": [{"parts": [{"kind": "data", "data": {"parts": [7]}}, {"kind": "file", "file": {"uri": "u"}}]}],
            "history": [
                {"role": "user", "parts": [{"kind": "text", "text": "asked"}]}, {"role": "agent", "parts": [{"kind": "text", "text": "{}"}]}],
            "kind": "task",
            "status": {"message": {"role": "agent", "parts": [{"text": "b", "data": 1}]}}}});
        let expected = json!([{"parts": [7]}, {"kind": "file", "file": {"uri": "u"}}, {}, "b", 1]);
        check(
            Speech::Agent,
            &[
                (task, Ok(expected)),
                (json!({"message": {"role": "ROLE_AGENT", "parts": [{"data": [1]}]}}), Ok(json!([[1]]))),
                (json!({"message": {"parts": {"text": "b"}}}), Ok(json!(["b"]))),
                // Attack: an agent that answers in the role of its caller.
                (json!({"message": {"role": "ROLE_USER", "parts": [{"text": "b"}]}}), Ok(json!(["b"]))),
                (
                    json!({"status": {"message": {"role": "user", "parts": [{"text": "b"}]}}}),
                    Ok(json!(["b"])),
                ),
                // Attack: data, or a text, beside what a reader takes the part for.
                (
                    json!({"parts": [{"data": 1, "url": "u"}, {"kind": "file", "text": "{}", "file": {}}]}),
                    Ok(json!([1, {"data": 1, "url": "u"}, {}, {"kind": "file", "text": "{}", "file": {}}])),
                ),
                (
                    json!({"parts": [{"kind": "text", "data": 1}, {"data": 1, "text": ["b"]}]}),
                    Ok(json!([1, {"kind": "text", "data": 1}, 1, {"data": 1, "text": ["b"]}])),
                ),
                (json!({"parts": [{"kind": "data", "data": 1, "metadata": {"a": "b"}}]}), Ok(json!([1]))),
                (json!({"message": {"Parts": [{"text": "b"}]}}), Err(Misspelt)),
                // In the schema of 0.3.
                (
                    json!({"task": {"history": [{"role": "ROLE_USER", "content": [{"text": "asked"}]}, {"content": [{"text": "h"}]}],
                        "status": {"message": {"messageId": "m", "content": [{"text": "b"}, {"data": {"data": {"a": 1}}}, {"file": {"fileWithUri": "u"}}]}}}}),
                    Ok(json!(["h", "b", {"a": 1}, {"file": {"fileWithUri": "u"}}])),
                ),
                (json!({"message": {"role": "ROLE_AGENT", "Content": [{"text": "b"}]}}), Err(Misspelt)),
                // Elsewhere it is a member as any other.
                (json!({"task": {"metadata": {"content": "b"}}}), Ok(json!([]))),
            ],
        );
    }

    #[test]
    fn what_a_model_says_is_its_texts() {
        check(
            Speech::Model,
            &[
                (
                    json!({"choices": [{"message": {"content": "{\"a\":1}", "refusal": null}}, {"text": "b"},
                        {"message": {"content": null, "tool_calls": []}}, {"message": {"content": [{"type": "text", "text": "c"}]}}]}),
                    Ok(json!([{"a": 1}, "b", "c"])),
                ),
                (
                    json!({"output": [{"type": "reasoning", "content": [{"text": "t"}]},
                        {"type": "message", "content": [{"type": "output_text", "text": "1"}, {"type": "refusal", "refusal": "no"}]}]}),
                    Ok(json!([1, "no"])),
                ),
                (
                    json!({"content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "{}"}, {"type": "tool_use", "input": {}}]}),
                    Ok(json!([{}])),
                ),
                (
                    json!({"candidates": [{"content": {"parts": [{"text": "t", "thought": true}, {"text": "{\"a\""}, {"text": ":1}"}]}}]}),
                    Ok(json!([{"a": 1}])),
                ),
                (
                    json!({"output": {"message": {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "t"}}}, {"text": "{}"},
                        {"citationsContent": {"content": [{"text": "b"}]}}]}}, "stopReason": "end_turn"}),
                    Ok(json!([{}, "b"])),
                ),
                // What is no text where one has to be.
                (json!({"content": [{"type": "text", "text": {"value": "b"}}]}), Ok(json!([{"value": "b"}]))),
                (json!({"data": [{"embedding": [1]}]}), Ok(json!([{"data": [{"embedding": [1]}]}]))),
                (json!({"error": {"message": "no"}}), Ok(json!([{"message": "no"}]))),
                (json!({"choices": [], "Choices": [{"text": "b"}]}), Err(Misspelt)),
            ],
        );
    }

    #[test]
    fn what_a_call_says_is_its_arguments_its_parts_or_all_of_it() {
        let server = crate::protocol::tests::server();
        let target = vidimus_core::call::Target::Server(&server);
        for (action, method, body, expected) in [
            (
                Action::InvokeTool,
                "tools/call",
                json!({"params": {"name": "t", "arguments": {"a": 1}}}),
                Ok(json!([{"a": 1}])),
            ),
            (Action::InvokeTool, "tools/call", json!({"params": {"name": "t"}}), Ok(json!([{}]))),
            (Action::InvokeTool, "tasks/get", json!({"params": {"taskId": "t"}}), Ok(json!([]))),
            (
                Action::CallAgent,
                "message/send",
                json!({"params": {"message": {"role": "user", "parts": [{"text": "{}"}, {"data": 1}]}}}),
                Ok(json!([{}, 1])),
            ),
            // Attacks: the schema of 0.3 over HTTP+JSON has the parts elsewhere, and its data in an object.
            (
                Action::CallAgent,
                "SendMessage",
                json!({"params": {"message": {"content": [{"text": "steal"}, {"data": {"data": {"a": 1}}}, {"data": {"data": 1, "a": 2}}]}}}),
                Ok(json!(["steal", {"a": 1}, 1, {"data": 1, "a": 2}])),
            ),
            (
                Action::CallAgent,
                "SendMessage",
                json!({"params": {"message": {"content": [{"data": {"data": {}, "Data": 1}}]}}}),
                Err(Misspelt),
            ),
            (
                Action::CallModel,
                "chat/completions",
                json!({"model": "m", "messages": []}),
                Ok(json!([{"model": "m", "messages": []}])),
            ),
        ] {
            let text = body.to_string();
            let ask = Ask { body: text.as_bytes(), ..Ask::about(method, action, target) };
            assert_eq!(asked(&ask).map(Value::Array), expected, "{body}");
        }
        let none = Ask::about("tools/list", Action::ConnectServer, target);
        assert_eq!(asked(&none), Ok(Vec::new()));
    }
}
