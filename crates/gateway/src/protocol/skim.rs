//! The few members that a record needs, read out of JSON of any length as it passes, whatever the chunks it comes in.
//!
//! Held is only the name or the scalar being read. It is no validator: of a text that is not JSON it finds that it begins as no
//! object and no array, has brackets too many or values side by side, or does not end; the rest is its reader's to refuse.

use std::borrow::Cow;

use super::observe::Usage;

/// The longest name or scalar that is looked at, as it is written, in bytes. A name may be written all in escapes.
const MAX_WORD: usize = 128;

/// The deepest member that is looked for: `message.usage.input_tokens`.
const MAX_DEPTH: usize = 3;

/// What was found in one JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skimmed {
    /// `usage`, or `message.usage` of Anthropic's streams, in the members of either API.
    pub usage: Usage,
    /// Whether there is a member `error` that is not `null`, or `result.isError` is `true`.
    pub is_error: bool,
}

/// The names that are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Other,
    Error,
    Result,
    IsError,
    Usage,
    Message,
    Input,
    Output,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            "error" => Self::Error,
            "result" => Self::Result,
            "isError" => Self::IsError,
            "usage" => Self::Usage,
            "message" => Self::Message,
            "input_tokens" | "prompt_tokens" => Self::Input,
            "output_tokens" | "completion_tokens" => Self::Output,
            _ => Self::Other,
        }
    }
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
    in_message: Usage,
    of_all: Usage,
    is_error: bool,
}

impl Skimmer {
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
        let done = std::mem::take(self);
        let usage = Usage {
            input: done.of_all.input.or(done.in_message.input),
            output: done.of_all.output.or(done.in_message.output),
        };
        let is_whole = !done.broken && done.depth == 0 && done.state == State::Between;
        (Skimmed { usage, is_error: done.is_error }, is_whole)
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
            _ => {
                self.word.clear();
                self.state = State::Scalar;
                self.begun = true;
                return 0;
            }
        }
        self.begun = true;
        1
    }

    fn open(&mut self, is_object: bool) {
        self.value(true, None);
        if let Some(level) = self.levels.get_mut(self.depth) {
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
        self.name_next = false;
        self.complete = true;
    }

    /// The innermost open object or array, where it is looked at.
    fn level(&mut self) -> Option<&mut Level> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    fn string(&mut self, bytes: &[u8], is_name: bool, escaped: bool) -> usize {
        let keeps = is_name && self.depth <= MAX_DEPTH;
        if escaped {
            self.keep(keeps, bytes.get(..1).unwrap_or_default());
            self.state = State::String { is_name, escaped: false };
            return 1;
        }
        let Some(end) = memchr::memchr2(b'"', b'\\', bytes) else {
            self.keep(keeps, bytes);
            return bytes.len();
        };
        self.keep(keeps, bytes.get(..=end).unwrap_or_default());
        if bytes.get(end) == Some(&b'\\') {
            self.state = State::String { is_name, escaped: true };
        } else {
            self.state = State::Between;
            self.complete = !is_name;
            if keeps {
                let name = self.name();
                if let Some(level) = self.level() {
                    level.name = name;
                }
            }
        }
        end + 1
    }

    fn scalar(&mut self, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|byte| {
            matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'{' | b'[' | b':')
        });
        self.keep(self.depth <= MAX_DEPTH, bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
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
                .map_or(Name::Other, |name| Name::of(&name));
        }
        let name = self.word.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
        name.and_then(|name| std::str::from_utf8(name).ok()).map_or(Name::Other, Name::of)
    }

    /// A value begins, or is known, where it is a `scalar`.
    fn value(&mut self, is_value: bool, scalar: Option<&[u8]>) {
        if !is_value {
            return;
        }
        let path = self.levels.map(|level| level.name);
        match (self.depth, path) {
            (1, [Name::Error, ..]) => self.is_error |= scalar != Some(b"null".as_slice()),
            (2, [Name::Result, Name::IsError, _]) => self.is_error |= scalar == Some(b"true".as_slice()),
            (2, [Name::Usage, member, _]) => count(&mut self.of_all, member, scalar),
            (3, [Name::Message, Name::Usage, member]) => count(&mut self.in_message, member, scalar),
            _ => {}
        }
    }
}

/// Both APIs' names may stand in one object; where they differ, nobody is to be charged too little.
fn count(usage: &mut Usage, member: Name, scalar: Option<&[u8]>) {
    let counted = match member {
        Name::Input => &mut usage.input,
        Name::Output => &mut usage.output,
        _ => return,
    };
    let number = scalar.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    *counted = (*counted).max(number);
}

#[cfg(test)]
mod tests;
