//! The few members that a record needs, read out of JSON of any length as it passes, whatever the chunks it comes in.
//!
//! Held is only the name or the scalar being read. It is no validator: of a text that is not JSON it finds that it begins as no
//! object and no array, has brackets too many or values side by side, or does not end; the rest is its reader's to refuse.

mod choices;
mod counted;
mod name;
mod told;
mod unheld;

use std::borrow::Cow;
use std::sync::Arc;

pub use self::choices::Choices;
use self::counted::Counted;
use self::name::Name;
pub use self::told::Told;
pub use self::unheld::Unheld;
use super::observe::Usage;

/// The longest name, scalar or id that is looked at, as it is written, in bytes. It may be written all in escapes.
const MAX_WORD: usize = 1_024;

/// The deepest member that is looked for: `result.task.status.state`.
const MAX_DEPTH: usize = 4;

/// What was found in one JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skimmed {
    /// `usage`, `message.usage` of Anthropic's streams, `response.usage` of OpenAI's responses or `usageMetadata` of Gemini, in the members
    /// of any of these or of Bedrock.
    pub usage: Usage,
    /// Whether there is a member `error` that is not `null`, or `result.isError` is `true`, and it is about the request whose id is
    /// looked for, if one is: it has that id, or an error has none. In a batch, of any of its messages.
    pub is_error: bool,
    /// Whether it is an error of JSON-RPC: it has `jsonrpc`, an `error` that is an object, and no `result`.
    pub is_rpc_error: bool,
    /// Whether it tells that an agent's task has failed or was rejected, in the words of either version.
    pub is_failed_task: bool,
    /// Whether it has the id that is looked for, no `method`, and is no batch.
    pub names_id: bool,
    /// Whether it is the response to the request whose id is looked for: it names that, and has a `result`.
    pub is_response: bool,
    /// Whether it is a model's answer: it has `choices`, `output` or `data` (OpenAI), `content` or a count of tokens (Anthropic), `candidates`,
    /// `promptFeedback`, embeddings or a count (Gemini); or it is a list of Gemini's.
    pub is_completion: bool,
    /// Whether it ends a model's stream: `[DONE]`, `message_stop`, the last of a response's events, why Gemini answers nothing, or `stopReason` of
    /// Bedrock.
    pub ends_stream: bool,
    /// What it says of the choices of a model's stream.
    pub choices: Choices,
}

/// The choice being read.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    /// How many stood before it: its number, where it does not say another.
    place: u32,
    index: Option<u32>,
    finished: bool,
}

/// An object or array that is open, as far as its members are looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    is_object: bool,
    /// The member being read.
    name: Name,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two values.
    #[default]
    Between,
    /// In a string, which is a name or not; the last byte may have been a backslash.
    String { is_name: bool, escaped: bool },
    /// In a number, `true`, `false` or `null`.
    Scalar,
}

/// One JSON text, being read.
#[derive(Debug, Default)]
pub struct Skimmer {
    /// The id of the request that the text may answer, as JSON.
    id: Option<Arc<str>>,
    /// The texts are the result of that response themselves, or an error in its place.
    is_bare: bool,
    state: State,
    /// How many objects and arrays are open.
    depth: usize,
    levels: [Level; MAX_DEPTH],
    /// The next string of an object is a name.
    name_next: bool,
    word: Vec<u8>,
    /// Something other than white space has come.
    begun: bool,
    /// A value has ended, and neither a comma nor what it stands in.
    complete: bool,
    broken: bool,
    /// The whole text is an array: of messages (a batch), or of nothing that is known here.
    in_batch: bool,
    in_message: Counted,
    of_all: Counted,
    /// Some message has what answers of Gemini's have.
    is_of_list: bool,
    names_id: bool,
    /// It has an id that is not the one that is looked for, and not `null`.
    names_other: bool,
    has_result: bool,
    has_error: bool,
    has_error_object: bool,
    has_version: bool,
    has_method: bool,
    /// A result or an error asks something of the client (MCP).
    asks: bool,
    is_tool_error: bool,
    choice: Choice,
    /// What a model says of its answer, where somebody wants to know.
    told: Option<Box<Told>>,
    /// What is not found by counting or comparing.
    found: Skimmed,
}

impl Skimmer {
    /// Of texts that may be the response to the request `id`, which is JSON.
    pub fn of(id: Option<Arc<str>>) -> Self {
        Self { id, ..Self::default() }
    }

    /// Of texts that are the result of such a response themselves, or an error in its place (A2A over HTTP+JSON). They are read within the
    /// response that they would stand in.
    pub fn bare(id: Option<Arc<str>>) -> Self {
        let before = format!(r#"{{"jsonrpc":"2.0","id":{},"result":"#, id.as_deref().unwrap_or("null"));
        let mut skimmer = Self::of(id);
        skimmer.push(before.as_bytes());
        skimmer.is_bare = true;
        skimmer
    }

    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.broken
            && let Some(first) = bytes.first().copied()
        {
            let taken = match self.state {
                State::Between => self.between(first),
                State::String { is_name, escaped } => self.string(bytes, is_name, escaped),
                State::Scalar => self.scalar(bytes),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// What was found, and whether the text was read whole. It is then as new.
    pub fn finish(&mut self) -> (Skimmed, bool) {
        if self.is_bare {
            self.push(b"}");
        }
        let next = if self.is_bare { Self::bare(self.id.clone()) } else { Self::of(self.id.clone()) };
        let told = self.told.take();
        let done = std::mem::replace(self, next);
        self.told = told;
        let (of_all, in_message) = (done.of_all.usage(), done.in_message.usage());
        let usage = of_all.or(in_message);
        let is_whole = !done.broken && done.depth == 0 && done.state == State::Between;
        // A request that has a result too is neither.
        let names_id = done.names_id && !done.has_method && !done.in_batch;
        let is_response = names_id && done.has_result && !(done.is_bare && done.has_error);
        let is_completion = done.found.is_completion && (!done.in_batch || done.is_of_list);
        // Where no id is looked for, or the messages of a batch have several, an error of any is one.
        let is_ours = done.id.is_none() || done.in_batch || !done.names_other;
        let is_error = is_ours && (done.has_error || done.is_tool_error);
        let is_failed_task = is_ours && done.found.is_failed_task;
        let is_rpc_error = done.has_version && !done.in_batch && done.has_error_object;
        let is_rpc_error = is_rpc_error && (done.is_bare || !done.has_result);
        let found = Skimmed {
            usage,
            is_error,
            is_rpc_error,
            is_failed_task,
            names_id,
            is_response,
            is_completion,
            ..done.found
        };
        (found, is_whole)
    }

    /// Whether what was read so far may ask something of who gets it: it is a request or a notification, or asks within a result or an error (MCP).
    pub const fn asks(&self) -> bool {
        self.has_method || self.asks
    }

    /// Whether it is no JSON, so that nothing was read behind where it is none.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// How deep in a message: the array of a batch does not count.
    fn depth_in_message(&self) -> usize {
        self.depth.saturating_sub(usize::from(self.in_batch))
    }

    /// One byte between values; how many of it are done with.
    fn between(&mut self, byte: u8) -> usize {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => return 1,
            // What is before it was a name, also where names are not looked at any more.
            b':' => {
                self.complete = false;
                return 1;
            }
            // A byte order mark may come before all else.
            0xef | 0xbb | 0xbf if !self.begun => return 1,
            b'}' | b']' => self.close(),
            // Beside what stands for the result nothing stands.
            b',' if self.is_bare && self.depth == 1 => self.broken = true,
            b',' if self.depth > 0 => {
                self.complete = false;
                self.name_next = self.level().is_some_and(|level| level.is_object);
            }
            // Two values stand side by side.
            _ if self.complete => self.broken = true,
            b'{' | b'[' => self.open(byte == b'{'),
            _ if self.depth == 0 => self.broken = true,
            b'"' => {
                let is_name = std::mem::take(&mut self.name_next);
                self.value(!is_name, None);
                self.word.clear();
                self.word.push(b'"');
                self.state = State::String { is_name, escaped: false };
            }
            // No scalar begins otherwise, but for Python's NaN and Infinity, and the word that ends a model's stream.
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I' => return self.scalar_begins(),
            b'D' if self.in_batch && self.depth == 1 => return self.scalar_begins(),
            _ => self.broken = true,
        }
        self.begun = true;
        1
    }

    /// A scalar that is no string begins, with a byte that is read as one of its own.
    fn scalar_begins(&mut self) -> usize {
        self.word.clear();
        self.state = State::Scalar;
        self.begun = true;
        0
    }

    fn open(&mut self, is_object: bool) {
        self.value(true, None);
        let depth = self.depth_in_message();
        self.has_error_object |= is_object && self.is_at_error(depth);
        if self.depth == 0 && !is_object {
            self.in_batch = true;
        } else if let Some(level) = self.levels.get_mut(depth) {
            *level = Level { is_object, name: Name::Other };
        }
        self.depth += 1;
        self.name_next = is_object;
    }

    fn close(&mut self) {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => self.broken = true,
        }
        if self.depth_in_message() == 2 && self.is_in_choices() {
            let Choice { place, index, finished } = self.choice;
            self.found.choices.add(index.unwrap_or(place), finished);
            self.choice = Choice { place: place.saturating_add(1), ..Choice::default() };
        }
        self.name_next = false;
        self.complete = true;
    }

    /// The innermost open object or array, where it is looked at.
    fn level(&mut self) -> Option<&mut Level> {
        let outer = self.depth_in_message().checked_sub(1)?;
        self.levels.get_mut(outer)
    }

    fn string(&mut self, bytes: &[u8], is_name: bool, escaped: bool) -> usize {
        let keeps = if is_name { self.depth_in_message() <= MAX_DEPTH } else { self.is_compared() };
        if escaped {
            self.keep(keeps, bytes.get(..1).unwrap_or_default());
            self.state = State::String { is_name, escaped: false };
            return 1;
        }
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            self.keep(keeps, bytes);
            return bytes.len();
        };
        let is_whole = bytes.get(end) == Some(&b'"');
        // A name that is here whole is read where it is, as nearly all are: nothing was kept of it but its beginning.
        if keeps && is_name && is_whole && self.word == b"\"" {
            self.named_by(Name::of(bytes.get(..end).unwrap_or_default()));
            return end + 1;
        }
        self.keep(keeps, bytes.get(..=end).unwrap_or_default());
        if !is_whole {
            self.state = State::String { is_name, escaped: true };
        } else {
            self.state = State::Between;
            self.complete = !is_name;
            if keeps && is_name {
                self.named_by(self.name());
            } else if keeps {
                self.compare();
            }
        }
        end + 1
    }

    /// The name of a member has ended.
    fn named_by(&mut self, name: Name) {
        self.state = State::Between;
        self.complete = false;
        if let Some(level) = self.level() {
            level.name = name;
        }
    }

    fn scalar(&mut self, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|byte| {
            matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'{' | b'[' | b':')
        });
        self.keep(
            self.depth_in_message() <= MAX_DEPTH,
            bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default(),
        );
        let Some(end) = end else { return bytes.len() };
        self.state = State::Between;
        self.complete = true;
        let word = std::mem::take(&mut self.word);
        self.value(true, Some(&word));
        self.word = word;
        end
    }

    fn keep(&mut self, keeps: bool, bytes: &[u8]) {
        if keeps && self.word.len() <= MAX_WORD {
            let room = MAX_WORD + 1 - self.word.len();
            self.word.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// The name that was read.
    fn name(&self) -> Name {
        if self.word.contains(&b'\\') {
            return serde_json::from_slice::<Cow<'_, str>>(&self.word)
                .map_or(Name::Other, |name| Name::of(name.as_bytes()));
        }
        let name = self.word.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
        name.map_or(Name::Other, Name::of)
    }

    /// Whether the text of the member being read is compared with something.
    fn is_compared(&mut self) -> bool {
        let name = self.level().map(|level| level.name);
        match (self.depth_in_message(), self.levels.map(|level| level.name)) {
            (1, _) => matches!(name, Some(Name::Id | Name::Type)) || self.is_told(),
            (3, [Name::Result, Name::Status, Name::State, _])
            | (4, [Name::Result, Name::Task | Name::StatusUpdate, Name::Status, Name::State]) => true,
            (3, [_, _, Name::FinishReason, _]) => self.is_in_choices(),
            _ => self.is_told(),
        }
    }

    /// Whether it is in the choices of a model's answer that is read. Only an array has choices.
    fn is_in_choices(&self) -> bool {
        let [outer, inner, ..] = self.levels;
        matches!(outer.name, Name::Choices | Name::Candidates)
            && inner.name == Name::Other
            && !inner.is_object
    }

    /// The name of the member that is read at one of the levels.
    fn name_at(&self, level: usize) -> Name {
        self.levels.get(level).map_or(Name::Other, |level| level.name)
    }

    /// Whether the member that is read, so deep in a message, is the error in place of a result.
    fn is_at_error(&self, depth: usize) -> bool {
        match (depth, self.name_at(0)) {
            (1, Name::Error) => true,
            (2, Name::Result) => self.is_bare && self.name_at(1) == Name::Error,
            _ => false,
        }
    }

    /// The text that was read.
    fn compare(&mut self) {
        self.tell();
        match self.level().map(|level| level.name) {
            // That of a model's answer within an event is told, and is none of a message.
            Some(Name::Id) if self.depth_in_message() > 1 => {}
            Some(Name::Id) => self.named(is_same(self.id.as_deref(), &self.word)),
            Some(Name::Type) => match &*self.word {
                b"\"message_stop\"" | b"\"response.completed\"" | b"\"response.incomplete\"" => {
                    self.found.ends_stream = true;
                }
                // An event of OpenAI's responses that is an error has no member for it.
                b"\"response.failed\"" | b"\"error\"" => self.has_error |= !self.is_bare,
                _ => {}
            },
            // Some servers write an empty one until there is one.
            Some(Name::FinishReason) => self.choice.finished |= self.word != b"\"\"",
            // 0.3 and 1.0.
            Some(Name::State) => {
                // What is too long to be kept is no state of either version, and not one of success.
                let state = serde_json::from_slice::<Cow<'_, str>>(&self.word);
                self.found.is_failed_task |= state.map_or(true, |state| {
                    matches!(&*state, "failed" | "rejected" | "TASK_STATE_FAILED" | "TASK_STATE_REJECTED")
                });
            }
            _ => {}
        }
    }

    /// It has an id.
    fn named(&mut self, is_same: bool) {
        self.names_id = is_same;
        self.names_other = !is_same;
    }

    /// A value begins, or is known, where it is a `scalar`.
    fn value(&mut self, is_value: bool, scalar: Option<&[u8]>) {
        if !is_value {
            return;
        }
        let path = self.levels.map(|level| level.name);
        let is_null = scalar == Some(b"null".as_slice());
        match (self.depth_in_message(), path) {
            (0, _) => self.found.ends_stream |= self.in_batch && scalar == Some(b"DONE".as_slice()),
            (1, [Name::Error, ..]) => self.has_error |= !is_null,
            (2, [Name::Result, Name::Error, ..]) if self.is_bare => self.has_error |= !is_null,
            (1, [Name::JsonRpc, ..]) => self.has_version = true,
            (1, [Name::Method, ..]) => self.has_method = true,
            (1, [Name::Result, ..]) => self.has_result = true,
            (1, [Name::Id, ..]) if is_null => {}
            (1, [Name::Id, ..]) => {
                self.named(scalar.is_some_and(|number| is_same(self.id.as_deref(), number)));
            }
            (1, [Name::Choices | Name::Content | Name::Question | Name::Fresh | Name::Made, ..]) => {
                self.found.is_completion |= !is_null;
            }
            (1, [Name::Candidates | Name::Feedback, ..]) if !is_null => {
                (self.found.is_completion, self.is_of_list) = (true, true);
            }
            (1, [Name::StopReason, ..]) => {
                self.found.is_completion |= !is_null;
                self.found.ends_stream |= !is_null;
            }
            (2, [Name::Feedback, Name::BlockReason, ..]) => self.found.ends_stream |= !is_null,
            (2, [Name::Result | Name::LikeResult, Name::InputRequests, ..])
            | (3, [Name::Error | Name::LikeError, Name::Made | Name::LikeData, Name::Elicitations, _]) => {
                self.asks |= !is_null;
            }
            (2, [Name::Result, Name::IsError, ..]) => {
                self.is_tool_error |= scalar == Some(b"true".as_slice());
            }
            (2, [Name::Usage, member, ..]) => self.of_all.add(member, scalar),
            (3, [Name::Message, Name::Usage, member, _]) => self.in_message.add(member, scalar),
            (3, [Name::Usage, Name::UsageDetails, member @ (Name::Cached | Name::Reasoning), _]) => {
                self.of_all.add(member, scalar);
            }
            (
                4,
                [Name::Message, Name::Usage, Name::UsageDetails, member @ (Name::Cached | Name::Reasoning)],
            ) => {
                self.in_message.add(member, scalar);
            }
            (3, [_, _, Name::Index, _]) if self.is_in_choices() => {
                let number = scalar.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                self.choice.index = number.or(self.choice.index);
            }
            _ => {}
        }
    }
}

/// Whether a value is the id that is looked for, however it is written.
fn is_same(id: Option<&str>, written: &[u8]) -> bool {
    let text = |json: &[u8]| serde_json::from_slice::<String>(json).ok();
    id.is_some_and(|id| {
        let escaped =
            || written.contains(&b'\\') && text(written).is_some_and(|it| text(id.as_bytes()) == Some(it));
        id.as_bytes() == written || escaped()
    })
}

#[cfg(test)]
mod tests;
