//! What the record needs of an answer, read from it as it passes: token usage, whether it is an error, whether what was asked was
//! answered, and whether all of it could be read.

mod written;

use std::sync::Arc;

pub use super::skim::Told;
use super::skim::{Choices, Skimmed, Skimmer};
use super::sse::{Piece, Reader};
use super::words::{self, Glance};
pub use written::Written;

/// Tokens as the provider counted them; `None` where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the question, all of them.
    pub input: Option<u64>,
    /// Of the answer, all of them.
    pub output: Option<u64>,
    /// Of the question, those that the provider read from what it keeps.
    pub cached: Option<u64>,
    /// Of the question, those that it keeps from now on.
    pub cache_written: Option<u64>,
    /// Of the answer, those that the model thought.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// What is said later counts, but of the question what is the most: a later event may count less of it, without what is kept, which was told before.
    fn and(self, later: Self) -> Self {
        Self {
            input: later.input.max(self.input),
            output: later.output.or(self.output),
            cached: later.cached.max(self.cached),
            cache_written: later.cache_written.max(self.cache_written),
            reasoning: later.reasoning.or(self.reasoning),
        }
    }

    /// What is said by these, or where they say nothing by others.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            cached: self.cached.or(other.cached),
            cache_written: self.cache_written.or(other.cache_written),
            reasoning: self.reasoning.or(other.reasoning),
        }
    }
}

/// Whose words an answer, or the data of its events, is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// A model's, in the members of OpenAI, of Anthropic or of Gemini: token usage, whether it is an error, and whether it came to its end.
    Model,
    /// JSON-RPC: whether some message is an error, and whether the response to the request came.
    Rpc,
    /// The same, where a response without a result is an answer too.
    RpcOrNone,
    /// As [`Observe::Rpc`], of an agent that was asked to do something: that its task failed is an error too.
    Agent,
    /// As [`Observe::Rpc`], where the result stands by itself, or an error in its place (A2A over HTTP+JSON).
    Bare,
    /// The same, where nothing is an answer too.
    BareOrNone,
    /// As [`Observe::Agent`], where the result stands by itself.
    BareAgent,
}

impl Observe {
    /// Whether the result stands by itself, and not in a response.
    const fn is_bare(self) -> bool {
        matches!(self, Self::Bare | Self::BareOrNone | Self::BareAgent)
    }
}

/// What is looked for in one answer.
#[derive(Clone, Debug)]
pub struct Sought {
    pub observe: Observe,
    /// The id of the JSON-RPC request that is to be answered, as JSON; `None` where no response is due.
    pub id: Option<Arc<str>>,
}

impl Sought {
    /// Whether an answer is due. A model always owes one.
    pub fn is_due(&self) -> bool {
        match self.observe {
            Observe::Model => true,
            Observe::BareOrNone => false,
            Observe::Rpc | Observe::RpcOrNone | Observe::Agent | Observe::Bare | Observe::BareAgent => {
                self.id.is_some()
            }
        }
    }

    fn skimmer(&self) -> Skimmer {
        let id = self.id.clone();
        if self.observe.is_bare() { Skimmer::bare(id) } else { Skimmer::of(id) }
    }

    /// Whether one text answers, where that can be told without reading it, and it has nothing to count and no error.
    /// `in_events`: it is the data of an event. `answered`: something before it did.
    fn is_plainly_in(&self, json: &[u8], in_events: bool, answered: bool) -> Option<bool> {
        // A model's document is read: it says what it cost.
        if self.observe == Observe::Model && !in_events {
            return None;
        }
        let glance = match self.observe {
            Observe::Model => words::model(json),
            Observe::Rpc => words::rpc(json),
            Observe::Agent => words::agent(json),
            // There is no word by which a result shows that stands by itself, or that is not there.
            Observe::RpcOrNone | Observe::Bare | Observe::BareOrNone | Observe::BareAgent => return None,
        };
        match (glance, self.observe) {
            (Glance::Tells, _) => None,
            _ if answered => Some(true),
            (_, Observe::Model) if json == b"[DONE]" => Some(true),
            (Glance::Nothing, _) => Some(false),
            (Glance::Answers, _) => None,
        }
    }

    /// Whether a text that was read answers.
    fn is_in(&self, found: Skimmed, in_events: bool) -> bool {
        match self.observe {
            Observe::Rpc | Observe::Agent | Observe::Bare | Observe::BareOrNone | Observe::BareAgent => {
                found.is_response
            }
            Observe::RpcOrNone => found.names_id,
            Observe::Model if in_events => found.ends_stream,
            Observe::Model => found.is_completion,
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub usage: Usage,
    /// Whether some message was an error.
    pub is_error: bool,
    /// Whether what was asked was answered: the response to the request came, or a model's answer to its end. True where no
    /// response is due.
    pub answered: bool,
    /// Something of the answer could not be read, so what was found may not be all.
    pub unread: bool,
    /// Whether some message was an error of JSON-RPC and nothing else, whatever its id.
    pub is_rpc_error: bool,
    /// Of a model's stream.
    choices: Choices,
    /// The same: how much it wrote.
    pub written: Option<Written>,
}

impl Observation {
    /// Before anything of the answer was read.
    fn before(sought: &Sought) -> Self {
        Self { answered: !sought.is_due(), ..Self::default() }
    }

    /// What is found in a whole document.
    #[cfg(any(test, fuzzing))]
    pub fn of(sought: &Sought, document: &[u8]) -> Self {
        Self::telling(sought, document, &mut None)
    }

    /// What is found in a whole document; what a model says of its answer is `told` too, where that is something.
    pub fn telling(sought: &Sought, document: &[u8], told: &mut Option<Box<Told>>) -> Self {
        let mut found = Self::before(sought);
        found.read(sought, document, (false, told));
        found
    }

    /// Looks at a whole text: a document, or the data of an event. One that is no JSON object or array is unread.
    fn read(&mut self, sought: &Sought, text: &[u8], (in_events, told): (bool, &mut Option<Box<Told>>)) {
        let text = text.trim_ascii();
        let is_json =
            matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
        if text.is_empty() {
            return;
        }
        if is_json && let Some(answered) = sought.is_plainly_in(text, in_events, self.answered) {
            self.answered = answered;
            if in_events && sought.observe == Observe::Model {
                self.choices = self.choices.and(Choices::FIRST);
            }
            return;
        }
        let mut skimmer = sought.skimmer();
        *skimmer.told() = told.take();
        skimmer.push(text);
        self.skimmed(sought, skimmer.finish(), in_events);
        *told = skimmer.told().take();
    }

    fn skimmed(&mut self, sought: &Sought, (found, is_whole): (Skimmed, bool), in_events: bool) {
        self.usage = self.usage.and(found.usage);
        let is_of_agent = matches!(sought.observe, Observe::Agent | Observe::BareAgent);
        self.is_error |= found.is_error || is_of_agent && found.is_failed_task;
        self.is_rpc_error |= is_whole && found.is_rpc_error;
        self.answered |= is_whole && sought.is_in(found, in_events);
        self.unread |= !is_whole;
        if in_events {
            self.choices = self.choices.and(found.choices);
        }
    }

    /// What was found in an answer that has ended: a model's stream is answered as well where each choice has come to its end.
    fn ended(self) -> Self {
        Self { answered: self.answered || self.choices.have_finished(), ..self }
    }
}

/// Reads an answer as it passes, whatever the chunks it comes in and however long it is.
#[derive(Debug)]
pub struct Observer {
    sought: Sought,
    form: Form,
    /// The document, or the data of the event, being read.
    skimmer: Skimmer,
    /// How the data of the event begins.
    begins: Begins,
    found: Observation,
    /// Some event had a message.
    has_messages: bool,
    /// Some event had something of a model's answer.
    has_token: bool,
    /// Reads how much a model's stream has written.
    texts: written::Reader,
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
    pub fn document(sought: Sought) -> Self {
        Self::new(sought, Form::Document)
    }

    pub fn events(sought: Sought) -> Self {
        let written = (sought.observe == Observe::Model).then(Written::default);
        let mut observer = Self::new(sought, Form::Events(Reader::default()));
        observer.found.written = written;
        observer
    }

    /// Of an answer that is in an encoding.
    pub fn encoded(sought: Sought) -> Self {
        Self::new(sought, Form::Encoded)
    }

    fn new(sought: Sought, form: Form) -> Self {
        let (skimmer, found) = (sought.skimmer(), Observation::before(&sought));
        Self {
            sought,
            form,
            skimmer,
            begins: Begins::default(),
            found,
            has_messages: false,
            has_token: false,
            texts: written::Reader::default(),
        }
    }

    /// What was found in the answer, which has ended.
    pub fn finish(&mut self) -> Observation {
        match self.form {
            Form::Document => {
                let skimmed = self.skimmer.finish();
                self.found.skimmed(&self.sought, skimmed, false);
            }
            // An event whose empty line never came is dropped by those who conform, and read by others: it may be an error, and
            // is no answer.
            Form::Events(_) => {
                let answered = self.found.answered;
                self.event_ended(None);
                self.found.answered = answered;
            }
            Form::Encoded => self.found.unread = true,
        }
        self.found.ended()
    }

    /// Whether a document of JSON-RPC, as far as it has come, may ask something of who gets it.
    pub fn asks(&self) -> bool {
        matches!(self.form, Form::Document) && self.sought.observe == Observe::Rpc && self.skimmer.asks()
    }

    /// What is looked for.
    pub fn sought(&self) -> &Sought {
        &self.sought
    }

    /// From here on it is told too what a model says of its answer.
    pub fn tell(&mut self) {
        if self.sought.observe == Observe::Model {
            *self.skimmer.told() = Some(Box::default());
        }
    }

    /// What a model said of its answer, where that was to be told.
    pub fn told(&mut self) -> Option<Box<Told>> {
        self.skimmer.told().take()
    }

    /// Whether it reads events.
    pub fn is_of_events(&self) -> bool {
        matches!(self.form, Form::Events(_))
    }

    /// Whether some event had a message, or what began as one.
    pub fn has_messages(&self) -> bool {
        self.has_messages
    }

    /// Whether some event had something of a model's answer. Of what came in pieces it is known of choices alone.
    pub fn has_token(&self) -> bool {
        self.has_token
    }

    /// How many tokens a model's stream has written so far, at least.
    pub fn written_at_least(&self) -> u64 {
        self.found.written.map_or(0, Written::at_least)
    }

    /// Whether some event has an id, so that a client may come back for those after it.
    pub fn is_resumable(&self) -> bool {
        matches!(&self.form, Form::Events(reader) if reader.has_ids())
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
                if self.found.written.is_some() {
                    self.texts.push(text);
                }
            }
        }
    }

    /// The event has ended. `whole` is its data where nothing of it was read before.
    fn event_ended(&mut self, whole: Option<&[u8]>) {
        let begins = std::mem::take(&mut self.begins);
        if let Some(whole) = whole {
            if matches!(whole.trim_ascii_start().first(), Some(b'{' | b'[')) {
                self.has_messages = true;
                self.found.read(&self.sought, whole, (true, self.skimmer.told()));
                if self.found.written.is_some() {
                    self.texts.push(whole);
                }
                self.has_token |=
                    self.sought.observe == Observe::Model && !self.has_token && words::has_token(whole);
            }
        } else if begins == Begins::Json {
            self.has_messages = true;
            let skimmed = self.skimmer.finish();
            self.found.skimmed(&self.sought, skimmed, true);
            self.has_token |=
                self.sought.observe == Observe::Model && self.found.choices != Choices::default();
        }
        if let Some(written) = &mut self.found.written {
            self.texts.ended(written);
        }
    }
}

#[cfg(test)]
mod tests;
