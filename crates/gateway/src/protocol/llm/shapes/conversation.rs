//! A request to a model and its answer, in the words that all APIs have in common. What one of them cannot say is not left out: its writer
//! has to name every field, and refuses what it has no place for.

use std::collections::HashMap;

use serde_json::{Number, Value};
use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use super::effort::Effort;
use super::format::Format;
use super::taken::no_equivalent;

/// What a model is asked. The model itself is none of it: which one is asked was decided.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Request {
    /// Instructions before all turns, in their order. None is empty.
    pub(super) system: Vec<String>,
    pub(super) turns: Vec<Turn>,
    /// The names of the tools that were called in them, by the ids of the calls: the last of an id.
    pub(super) names: HashMap<String, String>,
    pub(super) tools: Vec<Tool>,
    pub(super) choice: Option<Choice>,
    /// At most one tool is called at a time.
    pub(super) one_at_a_time: bool,
    /// The most tokens that the answer may have.
    pub(super) most: Option<u64>,
    pub(super) temperature: Option<Number>,
    pub(super) top_p: Option<Number>,
    pub(super) top_k: Option<u64>,
    pub(super) seed: Option<Number>,
    pub(super) presence_penalty: Option<Number>,
    pub(super) frequency_penalty: Option<Number>,
    /// Texts at which the answer ends.
    pub(super) stop: Vec<String>,
    /// Whom the caller asks for, by a name of its own: by it the provider knows who abuses it, and nothing of the answer is another.
    pub(super) user: Option<String>,
    /// The form that the answer is to have, where that is not a text.
    pub(super) format: Option<Format>,
    pub(super) effort: Option<Effort>,
    pub(super) streams: bool,
}

/// What one side said. Two of one side do not follow each other.
#[derive(Debug, PartialEq)]
pub(super) struct Turn {
    pub(super) side: Side,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    User,
    Model,
}

#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// Its media type, and its bytes in Base64.
    Image(String, String),
    /// Where the provider finds it.
    ImageAt(String),
    Call(ToolCall),
    Result(ToolResult),
}

/// An image by its address, which whoever answers fetches: over the web, and from nothing else that it may reach.
///
/// # Errors
/// `no_equivalent` for an address that is not `https`.
pub(super) fn image_at(url: String) -> Result<Part, Refusal> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(no_equivalent("an image", "an address that is not https"));
    }
    Ok(Part::ImageAt(url))
}

/// The arguments of a call that come as a text, as all who read it find them: an object in which no member is there twice.
///
/// # Errors
/// What else it is.
pub(super) fn arguments_of(text: &str) -> Result<Value, &'static str> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let is_one = Json::parse(text.as_bytes()).is_ok();
    match serde_json::from_str::<Value>(text) {
        Ok(arguments @ Value::Object(_)) if is_one => Ok(arguments),
        Ok(Value::Object(_)) => Err("arguments with a member twice"),
        _ => Err("arguments that are no JSON object"),
    }
}

/// The model wants a tool to be called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// An object.
    pub(super) arguments: Value,
}

/// What came of that.
#[derive(Debug, PartialEq)]
pub(super) struct ToolResult {
    pub(super) id: String,
    /// The tool's name, where the call of this id stands before it.
    pub(super) name: Option<String>,
    /// Texts and images.
    pub(super) parts: Vec<Part>,
    pub(super) is_error: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// JSON Schema of its arguments.
    pub(super) schema: Option<Value>,
    /// Calls of it have to be as the schema says.
    pub(super) strict: bool,
}

/// Which tool is to be called.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    Auto,
    None,
    Any,
    Named(String),
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) said: Vec<Said>,
    pub(super) stop: Stop,
    pub(super) usage: Usage,
}

#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Text(String),
    Call(ToolCall),
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was done, or came to one of the texts at which it ends.
    End,
    /// It had no more tokens, or was cut short by what nobody here knows: an answer is not said to be whole that may not be.
    Length,
    /// It wants a tool to be called.
    Tools,
    /// It, or its provider, refuses.
    Filtered,
}

/// Tokens, as far as the provider says. What it does not say is not made up: who leaves it out would call for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Of the question, those included that the provider had kept.
    pub(super) input: Option<u64>,
    /// Of the answer, its thoughts included.
    pub(super) output: Option<u64>,
    /// Of the question, how many the provider had kept.
    pub(super) cached: Option<u64>,
    /// Of the answer, how many it thought.
    pub(super) thought: Option<u64>,
}

impl Usage {
    /// What is said later counts, but of the question what is the most: later it may be counted without what the provider had kept.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            input: later.input.max(self.input),
            output: later.output.or(self.output),
            cached: later.cached.or(self.cached),
            thought: later.thought.or(self.thought),
        }
    }

    pub(super) fn total(self) -> Option<u64> {
        Some(self.input?.saturating_add(self.output?))
    }
}

/// One step of an answer that comes as a stream. Tools are called one after another.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// It begins: its id, and what is known of its tokens.
    Begin(String, Usage),
    Text(String),
    /// A call of a tool begins: its id and the tool's name.
    Call(String, String),
    /// More of the JSON text of its arguments.
    Arguments(String),
    Stop(Stop),
    Usage(Usage),
    /// The provider ends it by an error.
    Error(Fault),
    /// All of it was said.
    End,
}

/// A provider's own error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    /// HTTP status that goes with it.
    pub(super) status: u16,
}

impl Request {
    /// One more of the instructions before all turns.
    pub(super) fn instruct(&mut self, text: String) {
        if !text.is_empty() {
            self.system.push(text);
        }
    }

    /// Something more that one side said. An empty text beside something else says nothing, and is left out, since some providers refuse it (Anthropic,
    /// Bedrock); one that is all of a turn is theirs to refuse.
    pub(super) fn say(&mut self, side: Side, mut parts: Vec<Part>) {
        for part in &parts {
            if let Part::Call(call) = part {
                self.names.insert(call.id.clone(), call.name.clone());
            }
        }
        let is_empty = |part: &Part| matches!(part, Part::Text(text) if text.is_empty());
        if parts.iter().all(is_empty) {
            parts.truncate(1);
        } else {
            parts.retain(|part| !is_empty(part));
        }
        match self.turns.last_mut().filter(|turn| turn.side == side) {
            // One that is empty stands alone in its turn.
            Some(turn) if turn.parts.first().is_none_or(is_empty) => turn.parts = parts,
            Some(turn) => turn.parts.extend(parts.into_iter().filter(|part| !is_empty(part))),
            None => self.turns.push(Turn { side, parts }),
        }
    }

    /// The name of the tool that was called by this id.
    pub(super) fn called(&self, id: &str) -> Option<String> {
        self.names.get(id).cloned()
    }
}
