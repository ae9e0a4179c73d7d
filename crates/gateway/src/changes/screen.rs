//! What a tool answers, looked at by guards before it reaches the caller (`@guard_answer`, ADR 77): a document when it is whole, a stream event by
//! event. What passed before is not called back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vidimus_core::guard::{Guard, Kinds, OnFinding};
use vidimus_core::json::Json;
use vidimus_core::refusal::Refusal;

use super::answer::Redaction;
use super::pointers::Pointers;
use super::unmet;
use crate::found::{Found, InPlace};
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::sse::EventFilter;

/// The most values of one message that are taken out: each is looked for on the way to every other.
const MOST: usize = 256;

/// The guards that look at an answer.
#[derive(Clone, Debug)]
pub struct Screen {
    guards: Arc<[(Guard, OnFinding)]>,
    /// In how many values something was found.
    pub(super) count: Arc<AtomicU64>,
}

impl Screen {
    /// `None` where none looks.
    pub(super) fn of(mut guards: Vec<(Guard, OnFinding)>) -> Option<Self> {
        guards.sort_unstable();
        guards.dedup();
        (!guards.is_empty()).then(|| Self { guards: guards.into(), count: Arc::default() })
    }

    /// A message without what is redacted of it; `None` where it stays as it is.
    ///
    /// # Errors
    /// `change_impossible` for one in which something is found that is not to pass, or cannot be taken out, and for what cannot be read.
    pub fn message(&self, message: &str) -> Result<Option<String>, Refusal> {
        let unread = || unmet("a guard looks at the answer, and that could not be read");
        let json = Json::parse(message.as_bytes()).map_err(|_| unread())?;
        let (mut pointers, mut values) = (Pointers::default(), 0);
        for (guard, on_finding) in &*self.guards {
            let looked = Found::of(*guard, [(Some(&json), in_what_is_said as InPlace)]);
            let found = looked.map_err(|_| unmet("a guard cannot look at the answer"))?;
            if found.kinds.is_empty() {
                continue;
            }
            values += found.places.len() + usize::from(found.is_elsewhere);
            let can_redact = !found.is_elsewhere && found.places.len() <= MOST;
            match on_finding {
                OnFinding::Record => {}
                OnFinding::Redact if can_redact => found.places.iter().for_each(|place| pointers.add(place)),
                OnFinding::Redact | OnFinding::Refuse => {
                    self.add(values);
                    return Err(refused(*guard, &found.kinds));
                }
            }
        }
        self.add(values);
        if pointers.is_empty() {
            return Ok(None);
        }
        pointers.redacted(message).map(|(redacted, _)| redacted).map_err(|_| unread())
    }

    fn add(&self, values: usize) {
        self.count.fetch_add(u64::try_from(values).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The events of an answer behind those of another filter.
    pub fn after(self, filter: Box<dyn EventFilter>) -> Box<dyn EventFilter> {
        Box::new(ScreenedEvents { filter, screen: self })
    }
}

/// Where a value of a message of JSON-RPC can be taken out: what it says, and not what it is.
fn in_what_is_said(pointer: &str) -> Option<&str> {
    let says = ["/result/", "/params/", "/error/"];
    says.iter().any(|part| pointer.starts_with(part)).then_some(pointer)
}

/// Kinds and counts are told, and nothing of what was found.
fn refused(guard: Guard, kinds: &Kinds) -> Refusal {
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    unmet(format!("the guard {} found something in the answer: {}", guard.as_str(), kinds.join(", ")))
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
        let event = first.as_deref().unwrap_or(event);
        event::bare(event, self).map(Some).map_err(Redaction::without_words)
    }
}

impl Rewrite for ScreenedEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::To(String::new()));
        }
        Ok(self.screen.message(data)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}
