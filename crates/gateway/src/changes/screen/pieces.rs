//! Where the texts stand that come in pieces: what a model says token by token, what an agent appends to an artifact. Of all else in an event each value
//! is whole.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::json::folded;

use crate::protocol::is_same_member;
use crate::protocol::members::{Members, quoted, text};

/// Whose words an answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// An MCP server's: each of its messages is whole.
    #[default]
    Server,
    /// An agent's, in either version and binding of A2A.
    Agent,
    /// A model's, in the members of OpenAI, of Anthropic, of Gemini or of Bedrock.
    Model,
}

/// What one event has of texts that come in pieces.
#[derive(Debug, Default)]
pub struct Said<'d> {
    pub pieces: Vec<Piece<'d>>,
    /// What the names begin with of the texts that end with it.
    pub ended: Vec<String>,
    /// All do.
    pub is_last: bool,
    /// A member that says which text is which is spelled in another way: some readers take it for that, and some do not.
    pub misspells: bool,
}

/// More of a text.
#[derive(Debug)]
pub struct Piece<'d> {
    /// Which one: what one reader would put together has one name.
    pub text: String,
    /// Where it stands.
    pub pointer: String,
    pub value: &'d RawValue,
}

/// Members of what comes in pieces that are whole: what something is, and which.
const WHOLE: [&str; 9] =
    ["role", "type", "id", "name", "call_id", "object", "index", "stop_reason", "stop_sequence"];

/// Members that say which text is which, of agents.
const OF_AGENTS: [&str; 9] = [
    "result",
    "artifactUpdate",
    "statusUpdate",
    "artifact",
    "artifactId",
    "parts",
    "text",
    "final",
    "lastChunk",
];

/// What ends an answer.
const LAST: [&str; 6] = [
    "message_stop",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "error",
];
const OF_MODELS: [&str; 13] = [
    "type",
    "choices",
    "candidates",
    "delta",
    "index",
    "output_index",
    "content_index",
    "summary_index",
    "content_block",
    "contentBlockIndex",
    "content",
    "parts",
    "text",
];

/// Which block it is, in Bedrock's words.
const BLOCK: &str = "contentBlockIndex";

/// The longest name of a text, in bytes.
const MAX_NAME: usize = 256;

impl<'d> Said<'d> {
    /// What the data of an event has, a JSON document.
    pub fn of(speech: Speech, data: &'d str) -> Self {
        let mut said = Self::default();
        let members = match serde_json::from_str::<&'d RawValue>(data) {
            Ok(value) => object(value),
            Err(_) => return said,
        };
        match speech {
            Speech::Server => {}
            Speech::Agent => said.agent(&members),
            Speech::Model => said.model(&members),
        }
        said
    }

    fn model(&mut self, event: &Object<'d>) {
        let kind = member(event, "type").and_then(text).unwrap_or_default();
        self.misspells |= misspells(event, &OF_MODELS);
        for (name, value) in event {
            match &**name {
                "choices" => each(value, "/choices", |value, pointer| self.choice(value, pointer)),
                "candidates" => each(value, "/candidates", |value, pointer| self.candidate(value, pointer)),
                "delta" if value.get().starts_with('"') => {
                    let [item, part, summary] =
                        ["output_index", "content_index", "summary_index"].map(|index| key(event, index));
                    self.push(format!("item {item}/{part}/{summary}/{kind}"), "/delta".to_owned(), value);
                }
                "delta" => self.strings(value, &format!("block {}", block_of(event)), "/delta"),
                "content_block" => {
                    let block = key(event, "index");
                    for (name, value) in object(value) {
                        if matches!(&*name, "text" | "thinking") && value.get().starts_with('"') {
                            self.push(
                                format!("block {block}/{name}"),
                                format!("/content_block/{name}"),
                                value,
                            );
                        }
                    }
                }
                _ => {}
            }
        }
        if kind == "content_block_stop" {
            self.ended.push(format!("block {}/", key(event, "index")));
        }
        let has = |name| member(event, name).is_some();
        if has(BLOCK) && !has("delta") && !has("start") {
            self.ended.push(format!("block {}/", block_of(event)));
        }
        if kind.ends_with(".done") {
            self.ended.push(format!("item {}/", key(event, "output_index")));
        }
        // Some servers write a null until there is a reason.
        let has_stopped = member(event, "stopReason").is_some_and(|reason| reason.get() != "null");
        self.is_last = LAST.contains(&&*kind) || has_stopped;
    }

    /// One of several answers, in OpenAI's words.
    fn choice(&mut self, choice: &'d RawValue, pointer: &str) {
        let choice = object(choice);
        self.misspells |= misspells(&choice, &OF_MODELS);
        let of = format!("choice {}", key(&choice, "index"));
        for (name, value) in &choice {
            match &**name {
                "delta" => self.strings(value, &of, &format!("{pointer}/delta")),
                "text" if value.get().starts_with('"') => {
                    self.push(format!("{of}/text"), format!("{pointer}/text"), value);
                }
                // A reason to finish ends nothing: some servers say one with each piece.
                _ => {}
            }
        }
    }

    /// One of several answers, in Gemini's words: the texts of its parts are one, but for its thoughts.
    fn candidate(&mut self, candidate: &'d RawValue, pointer: &str) {
        let candidate = object(candidate);
        self.misspells |= misspells(&candidate, &OF_MODELS);
        let of = format!("candidate {}", key(&candidate, "index"));
        let Some(content) = member(&candidate, "content").map(object) else { return };
        self.misspells |= misspells(&content, &OF_MODELS);
        let Some(parts) = member(&content, "parts") else { return };
        each(parts, &format!("{pointer}/content/parts"), |part, pointer| {
            let part = object(part);
            self.misspells |= misspells(&part, &OF_MODELS);
            let is_thought = member(&part, "thought").is_some_and(|one| one.get() == "true");
            let which = if is_thought { "thought" } else { "text" };
            self.text_of(&part, format!("{of}/{which}"), pointer);
        });
    }

    fn agent(&mut self, message: &Object<'d>) {
        let (result, pointer) = match spelled(message, "result") {
            Some((name, result)) => (object(result), format!("/{name}")),
            None => (message.clone(), String::new()),
        };
        self.misspells |= misspells(message, &OF_AGENTS) || misspells(&result, &OF_AGENTS);
        self.update(&result, &pointer);
        for name in ["artifactUpdate", "statusUpdate"] {
            if let Some((name, update)) = spelled(&result, name) {
                self.update(&object(update), &format!("{pointer}/{name}"));
            }
        }
    }

    /// News of a task: more of an artifact, or that there are no more.
    fn update(&mut self, update: &Object<'d>, pointer: &str) {
        let is = |name: &str| spelled(update, name).is_some_and(|(_, value)| value.get() == "true");
        self.is_last |= is("final");
        self.misspells |= misspells(update, &OF_AGENTS);
        let Some((at, artifact)) = spelled(update, "artifact") else { return };
        let artifact = object(artifact);
        self.misspells |= misspells(&artifact, &OF_AGENTS);
        let id = spelled(&artifact, "artifactId").map_or("artifactId", |(name, _)| name);
        let of = format!("artifact {}/", key(&artifact, id));
        if let Some((name, parts)) = spelled(&artifact, "parts") {
            each(parts, &format!("{pointer}/{at}/{name}"), |part, pointer| {
                let part = object(part);
                self.misspells |= misspells(&part, &OF_AGENTS);
                self.text_of(&part, of.clone(), pointer);
            });
        }
        if is("lastChunk") {
            self.ended.push(of);
        }
    }

    /// The text of a part.
    fn text_of(&mut self, part: &Object<'d>, of: String, pointer: &str) {
        if let Some(value) = member(part, "text").filter(|value| value.get().starts_with('"')) {
            self.push(of, format!("{pointer}/text"), value);
        }
    }

    /// Every text below a value.
    fn strings(&mut self, value: &'d RawValue, of: &str, pointer: &str) {
        // A name that a pointer would have to escape is none that somebody puts together.
        let is_plain = |name: &str| !WHOLE.contains(&name) && !name.contains(['/', '~']);
        for (name, value) in object(value).into_iter().filter(|(name, _)| is_plain(name)) {
            // Some readers know names in any case.
            let (of, pointer) = (format!("{of}/{}", folded(name.clone())), format!("{pointer}/{name}"));
            match value.get().bytes().next() {
                Some(b'"') => self.push(of, pointer, value),
                Some(b'{') => self.strings(value, &of, &pointer),
                Some(b'[') => each(value, &pointer, |item, pointer| {
                    let members = object(item);
                    self.strings(item, &format!("{of}/{}", key(&members, "index")), pointer);
                }),
                _ => {}
            }
        }
    }

    fn push(&mut self, mut text: String, pointer: String, value: &'d RawValue) {
        text.truncate(text.floor_char_boundary(MAX_NAME));
        self.pieces.push(Piece { text, pointer, value });
    }
}

/// The members of an object.
type Object<'d> = Vec<(Cow<'d, str>, &'d RawValue)>;

/// None where it is no object.
fn object(value: &RawValue) -> Object<'_> {
    serde_json::from_str::<Members<'_>>(value.get()).map(|members| members.0).unwrap_or_default()
}

fn member<'d>(object: &Object<'d>, name: &str) -> Option<&'d RawValue> {
    object.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
}

/// The same by any spelling that some reader takes for the name, as those of protobuf's JSON take `artifact_id`: with the one that is there.
fn spelled<'o, 'd>(object: &'o Object<'d>, name: &str) -> Option<(&'o str, &'d RawValue)> {
    object.iter().find(|(other, _)| is_same_member(other, name)).map(|(other, value)| (&**other, *value))
}

/// Whether a member is one of these in another spelling.
fn misspells(object: &Object<'_>, names: &[&str]) -> bool {
    let mut others = object.iter().map(|(name, _)| &**name).filter(|name| !names.contains(name));
    others.any(|other| names.iter().any(|name| is_same_member(other, name)))
}

/// What a member says which one is by, however it is written; `0` where it does not say.
fn key(object: &Object<'_>, name: &str) -> String {
    match member(object, name).and_then(|value| serde_json::from_str::<Value>(value.get()).ok()) {
        None | Some(Value::Null) => "0".to_owned(),
        // To some readers "0" and 0 are one, and to most 0, 0.0 and -0.
        Some(Value::String(text)) => {
            text.parse::<f64>().map_or_else(|_| quoted(&text), |number| (number + 0.0).to_string())
        }
        Some(Value::Number(number)) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| (number + 0.0).to_string())
        }
        Some(other) => other.to_string(),
    }
}

/// Which block an event is of, in Anthropic's or in Bedrock's words.
fn block_of(event: &Object<'_>) -> String {
    key(event, if member(event, BLOCK).is_some() { BLOCK } else { "index" })
}

/// Every element of a list, with its pointer.
fn each<'d>(value: &'d RawValue, pointer: &str, mut on: impl FnMut(&'d RawValue, &str)) {
    let items: Vec<&'d RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    let mut at = String::new();
    for (place, item) in items.into_iter().enumerate() {
        at.clear();
        // Writing to a string cannot fail.
        let _ = write!(at, "{pointer}/{place}");
        on(item, &at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_reader_puts_together_has_one_name() {
        for (speech, data, pieces, ended) in [
            (
                Speech::Model,
                r#"{"id":"chatcmpl-1","model":"m","choices":[{"index":1,"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}"#,
                &["choice 1/content /choices/0/delta/content=a"][..],
                "",
            ),
            (
                Speech::Model,
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"id":"c","function":{"name":"f","arguments":"a"}}],"reasoning_content":"b"},"finish_reason":"stop"}]}"#,
                &[
                    "choice 0/tool_calls/2/function/arguments /choices/0/delta/tool_calls/0/function/arguments=a",
                    "choice 0/reasoning_content /choices/0/delta/reasoning_content=b",
                ],
                "",
            ),
            (
                Speech::Model,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}"#,
                &["block 1/text /content_block/text=a"],
                "",
            ),
            (
                Speech::Model,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}"#,
                &["block 1/text /delta/text=b"],
                "",
            ),
            (Speech::Model, r#"{"type":"content_block_stop","index":1}"#, &[], "block 1/"),
            (Speech::Model, r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#, &[], ""),
            (Speech::Model, r#"{"type":"message_stop"}"#, &[], "all"),
            (
                Speech::Model,
                r#"{"type":"response.output_text.delta","item_id":"x","output_index":3,"content_index":1,"delta":"a"}"#,
                &["item 3/1/0/response.output_text.delta /delta=a"],
                "",
            ),
            (
                Speech::Model,
                r#"{"type":"response.output_text.done","output_index":3,"text":"a"}"#,
                &[],
                "item 3/",
            ),
            (
                Speech::Model,
                r#"{"contentBlockIndex":1,"delta":{"text":"a"},"p":"abc"}"#,
                &["block 1/text /delta/text=a"],
                "",
            ),
            (
                Speech::Model,
                r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"a"},"reasoningContent":{"text":"b"}}}"#,
                &[
                    "block 2/tooluse/input /delta/toolUse/input=a",
                    "block 2/reasoningcontent/text /delta/reasoningContent/text=b",
                ],
                "",
            ),
            (Speech::Model, r#"{"contentBlockIndex":2,"start":{"toolUse":{"name":"f"}}}"#, &[], ""),
            (Speech::Model, r#"{"contentBlockIndex":2,"p":"abc"}"#, &[], "block 2/"),
            (Speech::Model, r#"{"stopReason":"end_turn"}"#, &[], "all"),
            (
                Speech::Model,
                r#"{"choices":[{"delta":{"content":"a"}}],"stopReason":null}"#,
                &["choice 0/content /choices/0/delta/content=a"],
                "",
            ),
            (
                Speech::Model,
                r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"t","thought":true},{"functionCall":{"name":"f"}},{"text":"b"}]},"finishReason":"STOP"}]}"#,
                &[
                    "candidate 0/text /candidates/0/content/parts/0/text=a",
                    "candidate 0/thought /candidates/0/content/parts/1/text=t",
                    "candidate 0/text /candidates/0/content/parts/3/text=b",
                ],
                "",
            ),
            (
                Speech::Model,
                r#"{"choices":[{"index":-0.0,"delta":{"content":"a"}},{"index":1e0,"delta":{"content":"b"}},{"index":null,"delta":{"content":"c"}}]}"#,
                &[
                    "choice 0/content /choices/0/delta/content=a",
                    "choice 1/content /choices/1/delta/content=b",
                    "choice 0/content /choices/2/delta/content=c",
                ],
                "",
            ),
            (
                Speech::Agent,
                r#"{"artifactUpdate":{"artifact":{"artifactId":"\u0078","parts":[{"text":"a"}]}}}"#,
                &["artifact \"x\"/ /artifactUpdate/artifact/parts/0/text=a"],
                "",
            ),
            (
                Speech::Agent,
                r#"{"jsonrpc":"2.0","id":1,"result":{"kind":"artifact-update","append":true,"lastChunk":true,"artifact":{"artifactId":"x","parts":[{"kind":"text","text":"a"},{"kind":"data","data":{"text":"b"}}]}}}"#,
                &["artifact \"x\"/ /result/artifact/parts/0/text=a"],
                "artifact \"x\"/",
            ),
            (
                Speech::Agent,
                r#"{"artifact_update":{"artifact":{"artifact_id":"x","parts":[{"text":"a"}]},"last_chunk":true}}"#,
                &["artifact \"x\"/ /artifact_update/artifact/parts/0/text=a"],
                "artifact \"x\"/",
            ),
            (
                Speech::Agent,
                r#"{"artifactUpdate":{"artifact":{"artifactId":"x","parts":[{"text":"a"}]}}}"#,
                &["artifact \"x\"/ /artifactUpdate/artifact/parts/0/text=a"],
                "",
            ),
            (
                Speech::Agent,
                r#"{"result":{"kind":"status-update","final":true,"status":{"state":"completed"}}}"#,
                &[],
                "all",
            ),
            (Speech::Server, r#"{"choices":[{"delta":{"content":"a"}}]}"#, &[], ""),
            (Speech::Model, r#"[{"choices":[{"delta":{"content":"a"}}]}]"#, &[], ""),
            (Speech::Model, "7", &[], ""),
        ] {
            let said = Said::of(speech, data);
            let found: Vec<String> = (said.pieces.iter())
                .map(|piece| {
                    format!("{} {}={}", piece.text, piece.pointer, text(piece.value).unwrap_or_default())
                })
                .collect();
            assert_eq!(found, pieces, "{data}");
            let over = if said.is_last { "all".to_owned() } else { said.ended.join(",") };
            assert_eq!(over, ended, "{data}");
            // A pointer leads where the piece is.
            let json = vidimus_core::json::Json::parse(data.as_bytes()).expect("JSON");
            for piece in &said.pieces {
                assert_eq!(
                    json.pointer(&piece.pointer).and_then(|one| one.as_str()).map(str::to_owned),
                    text(piece.value)
                );
            }
        }
    }
}
