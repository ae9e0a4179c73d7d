//! What the record needs of an answer, read from it as it passes: token usage, whether it is an error, and whether it could be
//! read at all.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::skim::{Skimmed, Skimmer};
use super::sse::{Piece, Reader};

/// Tokens as the provider counted them; `None` where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
}

/// A word that is looked for in each event: preparing the search costs as much as it does.
type Word = LazyLock<Finder<'static>>;

static USAGE: Word = LazyLock::new(|| Finder::new("\"usage\""));
static ERROR: Word = LazyLock::new(|| Finder::new("\"error\""));
/// The end of `error` and of `isError`.
static SOME_ERROR: Word = LazyLock::new(|| Finder::new("rror\""));
static ESCAPE: Word = LazyLock::new(|| Finder::new("\\u"));

/// Whether `json` may have a usage that is not `null`. Most chunks of a stream have none, or `null`; looking for the word is far
/// cheaper than parsing.
pub fn has_usage(json: &[u8]) -> bool {
    has_member(json, &USAGE)
}

fn has_member(json: &[u8], quoted: &Finder<'_>) -> bool {
    quoted.find_iter(json).any(|at| {
        let value = json.get(at + quoted.needle().len()..).unwrap_or_default();
        !value.starts_with(b":null") && !value.starts_with(b": null")
    })
}

/// What is looked for in an answer, or in the data of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// Token usage, in the members of OpenAI or of Anthropic, and whether a model's answer is an error.
    Usage,
    /// Whether some JSON-RPC message is an error.
    RpcError,
}

impl Observe {
    /// Whether one text may have what is looked for. Looking for words is far cheaper than reading, and most texts have none of
    /// them; a name that is written in escapes is not found so, and escapes are read.
    fn may_be_in(self, json: &[u8]) -> bool {
        let named = match self {
            Self::Usage => has_usage(json) || has_member(json, &ERROR),
            Self::RpcError => SOME_ERROR.find(json).is_some(),
        };
        named || ESCAPE.find(json).is_some()
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub usage: Usage,
    /// Whether some message was an error.
    pub is_error: bool,
    /// Something of the answer could not be read, so what was found may not be all.
    pub unread: bool,
}

impl Observation {
    /// What is found in a whole document.
    pub fn of(observe: Observe, document: &[u8]) -> Self {
        let mut found = Self::default();
        found.read(observe, document, true);
        found
    }

    /// Looks at a whole text. One that is no JSON object or array is unread where it `must_be` one.
    fn read(&mut self, observe: Observe, text: &[u8], must_be: bool) {
        let text = text.trim_ascii();
        let is_json =
            matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
        if text.is_empty() || (is_json && !observe.may_be_in(text)) {
            return;
        }
        let mut skimmer = Skimmer::default();
        skimmer.push(text);
        self.skimmed(skimmer.finish(), must_be || is_json);
    }

    fn skimmed(&mut self, (found, is_whole): (Skimmed, bool), must_be: bool) {
        let Skimmed { usage, is_error } = found;
        self.usage =
            Usage { input: usage.input.or(self.usage.input), output: usage.output.or(self.usage.output) };
        self.is_error |= is_error;
        self.unread |= !is_whole && must_be;
    }
}

/// Reads an answer as it passes, whatever the chunks it comes in and however long it is.
#[derive(Debug)]
pub struct Observer {
    observe: Observe,
    form: Form,
    /// The document, or the data of the event, being read.
    skimmer: Skimmer,
    /// How the data of the event begins.
    begins: Begins,
    found: Observation,
}

/// How an answer carries what is looked for.
#[derive(Debug)]
enum Form {
    /// It is one document.
    Document,
    /// In the data of server-sent events.
    Events(Reader),
    /// In an encoding that is not read here.
    Encoded,
}

/// What the data of an event is so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Begins {
    #[default]
    Nothing,
    /// A message.
    Json,
    /// A keep-alive of the upstream's own making.
    Text,
}

impl Observer {
    pub fn document(observe: Observe) -> Self {
        Self::new(observe, Form::Document)
    }

    pub fn events(observe: Observe) -> Self {
        Self::new(observe, Form::Events(Reader::default()))
    }

    /// Of an answer that is in an encoding.
    pub fn encoded(observe: Observe) -> Self {
        Self::new(observe, Form::Encoded)
    }

    fn new(observe: Observe, form: Form) -> Self {
        let (skimmer, begins) = (Skimmer::default(), Begins::default());
        Self { observe, form, skimmer, begins, found: Observation::default() }
    }

    /// What was found in the answer, which has ended.
    pub fn finish(&mut self) -> Observation {
        match self.form {
            Form::Document => {
                let skimmed = self.skimmer.finish();
                self.found.skimmed(skimmed, true);
            }
            // An event whose empty line never came is dropped by those who conform, and read by others.
            Form::Events(_) => self.event_ended(None),
            Form::Encoded => self.found.unread = true,
        }
        self.found
    }

    pub fn push(&mut self, chunk: &[u8]) {
        match &mut self.form {
            Form::Document => self.skimmer.push(chunk),
            Form::Events(reader) => {
                let mut reader = std::mem::take(reader);
                self.read_events(&mut reader, chunk);
                self.form = Form::Events(reader);
            }
            Form::Encoded => {}
        }
    }

    fn read_events(&mut self, reader: &mut Reader, chunk: &[u8]) {
        // Data that came whole and in one line is read where it is.
        let mut whole: Option<&[u8]> = None;
        reader.push(chunk, &mut |piece| match piece {
            Piece::Line if self.begins == Begins::Nothing && whole.is_none() => {}
            Piece::Line => self.data(whole.take(), b"\n"),
            Piece::Text(text) if self.begins == Begins::Nothing && whole.is_none() => whole = Some(text),
            Piece::Text(text) => self.data(whole.take(), text),
            Piece::End => self.event_ended(whole.take()),
        });
        if let Some(begun) = whole {
            self.data(None, begun);
        }
    }

    /// More of an event's data.
    fn data(&mut self, before: Option<&[u8]>, text: &[u8]) {
        for text in before.into_iter().chain([text]) {
            if self.begins == Begins::Nothing {
                self.begins = match text.trim_ascii_start().first() {
                    None => Begins::Nothing,
                    Some(b'{' | b'[') => Begins::Json,
                    Some(_) => Begins::Text,
                };
            }
            if self.begins == Begins::Json {
                self.skimmer.push(text);
            }
        }
    }

    /// The event has ended. `whole` is its data where nothing of it was read before.
    fn event_ended(&mut self, whole: Option<&[u8]>) {
        let begins = std::mem::take(&mut self.begins);
        if let Some(whole) = whole {
            if matches!(whole.trim_ascii_start().first(), Some(b'{' | b'[')) {
                self.found.read(self.observe, whole, true);
            }
        } else if begins == Begins::Json {
            let skimmed = self.skimmer.finish();
            self.found.skimmed(skimmed, true);
        }
    }
}

#[cfg(test)]
mod tests;
