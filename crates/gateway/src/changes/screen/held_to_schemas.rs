//! Answers that are held to the JSON Schemas of policies' guards (ADR 87): each when it is whole. A text that comes in pieces is that at its end alone, so
//! the stream of a model or an agent is held to none, and does not pass.

use serde_json::Value;
use vidimus_core::guard::{Came, OnFinding};
use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use super::{Screen, Speech, refused, unmet, unread};
use crate::changes::answer::Redaction;
use crate::held_to::{self, Misspelt};
use crate::protocol::sse::EventFilter;

impl Screen {
    /// Holds a message to the schemas.
    ///
    /// # Errors
    /// `change_impossible` for one that is not as they let it be where it is not to pass then, and for what cannot be read.
    pub(super) fn hold(&self, message: &str) -> Result<(), Refusal> {
        if self.schemas.is_empty() {
            return Ok(());
        }
        // What has a member twice is read in two ways.
        Json::parse(message.as_bytes()).map_err(|_| unread())?;
        let message: Value = serde_json::from_str(message).map_err(|_| unread())?;
        // Gemini's stream may be one list.
        if self.speech == Speech::Model && message.is_array() {
            return Err(streams());
        }
        let said = held_to::answered(self.speech, &message).map_err(|Misspelt| {
            unmet("a guard holds the answer to a schema, and not all read it alike: a member is spelled in another way, or a text is JSON of several meanings")
        })?;
        for (guard, on_finding) in &*self.schemas {
            let Some(schema) = guard.schema() else { continue };
            let kinds = held_to::invalid(schema, &said);
            if kinds.is_empty() {
                continue;
            }
            self.noted.add(1);
            let came = match on_finding {
                OnFinding::Record => Came::Recorded,
                OnFinding::Redact => Came::Unredactable,
                OnFinding::Refuse => Came::Found,
            };
            self.noted.found(guard, came, &kinds, 0);
            if *on_finding != OnFinding::Record {
                return Err(refused(guard, &kinds));
            }
        }
        Ok(())
    }
}

/// That it would have to be whole.
fn streams() -> Refusal {
    let message = "a guard holds the answer to a schema, and it comes as a stream, of which nothing is whole before it has left";
    unmet(message).with_next("Make the call again without streaming.")
}

/// Events of a stream that is held to no schema, and would have to be.
#[derive(Debug)]
pub(super) struct UnheldEvents;

impl EventFilter for UnheldEvents {
    fn filter(&mut self, _event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        Err(Redaction::without_words(streams()))
    }
}
