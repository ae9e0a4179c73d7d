//! What a tool, an agent or a model answers, looked at by guards before it reaches the caller (`@guard_answer`, ADRs 77 and 87): a document when it is
//! whole, a stream event by event, and the texts in it that come in pieces in windows over what has come. What passed before is not called back.

mod cuts;
mod held;
mod held_to_schemas;
mod noted;
mod pieces;
mod window;

use std::sync::Arc;

use vidimus_core::call::Destination;
use vidimus_core::guard::{Came, Guard, Kinds, OnFinding};
use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use super::answer::Redaction;
use super::taken_out::TakenOut;
use super::unmet;
use crate::found::{Found, InPlace};
use crate::protocol::event::{self, Change, Parts, Rewrite};
use crate::protocol::sse::EventFilter;
use held::Held;
use held_to_schemas::UnheldEvents;
pub use noted::Noted;
pub use pieces::Speech;

/// The most values of one message that are taken out: each is looked for on the way to every other.
const MOST: usize = 256;

/// The guards that look at an answer.
#[derive(Clone, Debug)]
pub struct Screen {
    guards: Arc<[(Guard, OnFinding)]>,
    /// Those that hold it to a schema.
    schemas: Arc<[(Guard, OnFinding)]>,
    speech: Speech,
    /// What they find.
    pub(super) noted: Arc<Noted>,
}

impl Screen {
    /// `None` where none looks.
    pub(super) fn of(mut guards: Vec<(Guard, OnFinding)>) -> Option<Self> {
        guards.sort_unstable();
        guards.dedup();
        (!guards.is_empty()).then(|| Self {
            schemas: guards.extract_if(.., |(guard, _)| guard.schema().is_some()).collect(),
            guards: guards.into(),
            speech: Speech::default(),
            noted: Arc::default(),
        })
    }

    /// What looks at a stream that is no call's own: guards come and go with the policies while it is open.
    pub fn beside(demanded: Option<Self>) -> Self {
        let none = || Self {
            schemas: Arc::default(),
            guards: Arc::default(),
            speech: Speech::default(),
            noted: Arc::default(),
        };
        demanded.unwrap_or_else(none)
    }

    /// The same with these guards too; `None` where none looks.
    pub fn with(&self, guards: &[(Guard, OnFinding)]) -> Option<Self> {
        let own = self.guards.iter().chain(&*self.schemas);
        let all = Self::of(own.chain(guards).cloned().collect())?;
        Some(Self { speech: self.speech, noted: self.noted.clone(), ..all })
    }

    /// What is noted of what the guards find.
    pub fn noted(&self) -> Arc<Noted> {
        self.noted.clone()
    }

    /// The same, of what this one answers.
    #[must_use]
    pub fn of_answers_by(self, destination: &Destination) -> Self {
        let speech = match destination {
            Destination::Server(_) => Speech::Server,
            Destination::Agent(_) => Speech::Agent,
            Destination::Provider(_) => Speech::Model,
        };
        Self { speech, ..self }
    }

    /// A whole answer without what is redacted of it; `None` where it stays as it is.
    ///
    /// # Errors
    /// As [`Screen::message`].
    pub fn document(&self, text: &str) -> Result<Option<String>, Refusal> {
        match self.speech {
            Speech::Server => self.message(text),
            Speech::Agent | Speech::Model => {
                self.hold(text)?;
                if self.guards.is_empty() { Ok(None) } else { Held::new(self.clone()).document(text) }
            }
        }
    }

    /// A message without what is redacted of it; `None` where it stays as it is.
    ///
    /// # Errors
    /// `change_impossible` for one in which something is found that is not to pass, or cannot be taken out, and for what cannot be read.
    pub fn message(&self, message: &str) -> Result<Option<String>, Refusal> {
        self.hold(message)?;
        self.values(message, &|_| false)
    }

    /// The same, without a look at the values whose pointers are of those that are looked at elsewhere.
    fn values(&self, message: &str, elsewhere: &dyn Fn(&str) -> bool) -> Result<Option<String>, Refusal> {
        let json = Json::parse(message.as_bytes()).map_err(|_| unread())?;
        let (mut taken_out, mut values) = (TakenOut::default(), 0);
        for (guard, on_finding) in &*self.guards {
            let mut found = Found::default();
            found.look(guard, &json, (self.in_place(), elsewhere)).map_err(|_| cannot_look())?;
            if found.kinds.is_empty() {
                continue;
            }
            values += found.places.len() + usize::from(found.is_elsewhere);
            let can_redact = !found.is_elsewhere && found.places.len() <= MOST;
            match on_finding {
                OnFinding::Record => self.noted.found(guard, Came::Recorded, &found.kinds, 0),
                OnFinding::Redact if can_redact => {
                    self.noted.found(guard, Came::Redacted, &found.kinds, 0);
                    found.places.iter().for_each(|place| taken_out.add(guard, ("", place)));
                }
                OnFinding::Redact | OnFinding::Refuse => {
                    let came =
                        if *on_finding == OnFinding::Refuse { Came::Found } else { Came::Unredactable };
                    self.noted.found(guard, came, &found.kinds, 0);
                    self.noted.add(values);
                    return Err(refused(guard, &found.kinds));
                }
            }
        }
        self.noted.add(values);
        taken_out.of(message).map_err(|_| unread())
    }

    /// Looks at words that are no value of a message: nothing of them can be taken out.
    fn words(&self, text: &str) -> Result<(), Refusal> {
        for (guard, on_finding) in &*self.guards {
            let kinds = vidimus_guard::find(guard, "", text).map_err(|_| cannot_look())?;
            if kinds.is_empty() {
                continue;
            }
            self.noted.add(1);
            if *on_finding != OnFinding::Record {
                self.noted.found(guard, Came::Found, &kinds, 0);
                return Err(refused(guard, &kinds));
            }
            self.noted.found(guard, Came::Recorded, &kinds, 0);
        }
        Ok(())
    }

    fn in_place(&self) -> InPlace {
        match self.speech {
            Speech::Server => in_what_is_said,
            Speech::Agent | Speech::Model => in_what_is_no_label,
        }
    }

    /// One event of a server's, of which nothing else is known.
    ///
    /// # Errors
    /// As [`Screen::message`]; what the server said is not told.
    pub fn event(&self, event: &[u8]) -> Result<Vec<u8>, Refusal> {
        event::bare(event, &mut Looking(self)).map_err(Redaction::without_words)
    }

    /// The events of an answer behind those of another filter.
    pub fn after(self, filter: Box<dyn EventFilter>) -> Box<dyn EventFilter> {
        match self.speech {
            Speech::Server => Box::new(ScreenedEvents { filter, screen: self }),
            Speech::Agent | Speech::Model if !self.schemas.is_empty() => Box::new(UnheldEvents),
            Speech::Agent | Speech::Model => Box::new(HeldEvents { filter, held: Held::new(self) }),
        }
    }
}

fn unread() -> Refusal {
    unmet("a guard looks at the answer, and that could not be read")
}

fn cannot_look() -> Refusal {
    unmet("a guard cannot look at the answer")
}

/// Where a value of a message of JSON-RPC can be taken out: what it says, and not what it is. Nor can anything be taken out of bytes (the Base64 of an
/// image, or of a resource that is no text): the rest would be of no form.
fn in_what_is_said(pointer: &str) -> Option<&str> {
    let says = ["/result/", "/params/", "/error/"];
    let is_said = says.iter().any(|part| pointer.starts_with(part));
    (is_said && !is_of_bytes(pointer)).then_some(pointer)
}

/// Whether a value of a result is Base64: of a block of content, of a resource, or of one within a block.
fn is_of_bytes(pointer: &str) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
    let parent = parent.trim_end_matches(|one: char| one.is_ascii_digit()).trim_end_matches('/');
    let is_in_contents = ["/contents", "/content", "/resource"].iter().any(|list| parent.ends_with(list));
    let is_structured = parent.starts_with("/result/structuredContent/");
    is_in_contents && !is_structured && matches!(name, "blob" | "data")
}

/// Where a value of an agent's or a model's answer can be: not what the answer is, and by which a reader knows its parts.
fn in_what_is_no_label(pointer: &str) -> Option<&str> {
    const LABELS: [&str; 12] = [
        "/jsonrpc",
        "/id",
        "/type",
        "/kind",
        "/role",
        "/object",
        "/model",
        "/index",
        "/state",
        "/status",
        "/taskId",
        "/contextId",
    ];
    (!pointer.is_empty() && !LABELS.iter().any(|label| pointer.ends_with(label))).then_some(pointer)
}

/// What to do where a guard found something in an answer.
const FOUND: &str = "The answer has what a guard of this policy looks for, and was withheld; the call was carried out. Ask for something else, or ask the policy's owner.";

/// Kinds and counts are told, and nothing of what was found.
fn refused(guard: &Guard, kinds: &Kinds) -> Refusal {
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    unmet(format!("the guard {} found something in the answer: {}", guard.as_str(), kinds.join(", ")))
        .with_next(FOUND)
}

/// Only the data of an event is looked at, so nothing else of it passes.
#[derive(Debug)]
struct ScreenedEvents {
    filter: Box<dyn EventFilter>,
    screen: Screen,
}

impl EventFilter for ScreenedEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event).map_err(Redaction::without_words)?;
        self.screen.event(first.as_deref().unwrap_or(event)).map(Some)
    }
}

/// The guards while they look at an event.
struct Looking<'s>(&'s Screen);

impl Rewrite for Looking<'_> {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::To(String::new()));
        }
        Ok(self.0.message(data)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

/// Events of which texts come in pieces: one leaves once its pieces may. Of what stands beside its data its name and its id pass, once they were looked
/// at too.
#[derive(Debug)]
struct HeldEvents {
    filter: Box<dyn EventFilter>,
    held: Held,
}

impl HeldEvents {
    fn take(&mut self, event: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Some(parts) = Parts::of(event)? else { return Ok(Vec::new()) };
        if parts.are_none() {
            // It keeps the connection alive, and waits for nothing.
            return Ok(b":\n\n".to_vec());
        }
        self.held.take(parts)?;
        Ok(self.held.leaving())
    }
}

impl EventFilter for HeldEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event).map_err(Redaction::without_words)?;
        let event = first.as_deref().unwrap_or(event);
        self.take(event).map(Some).map_err(Redaction::without_words)
    }

    fn passed(&mut self) {
        self.held.passed();
    }

    fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        let rest = self.filter.finish().map_err(Redaction::without_words)?;
        let mut left = self.take(&rest).map_err(Redaction::without_words)?;
        self.held.end().map_err(Redaction::without_words)?;
        left.append(&mut self.held.leaving());
        Ok(left)
    }
}

#[cfg(test)]
mod tests;
