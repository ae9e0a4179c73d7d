//! What an MCP tool answers, without what is redacted of it. It is read as the protocol has it: `structuredContent`, and each text of
//! `content`, which has to be a JSON object or list. What is of another form may hold anything, and so does not pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::value::RawValue;
use vidimus_core::refusal::Refusal;

use super::pointers::Pointers;
use super::unmet;
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Edits, Members, quoted, text};
use crate::protocol::sse::EventFilter;

/// The members of a message that are read.
const OF_MESSAGE: [&str; 4] = ["jsonrpc", "id", "result", "error"];
/// Of a result, and of the task that it may be: what holds no data of the tool's. Each is a number, a text or the like.
const OF_RESULT: [&str; 13] = [
    "isError",
    "resultType",
    "taskId",
    "status",
    "statusMessage",
    "createdAt",
    "lastUpdatedAt",
    "ttl",
    "ttlMs",
    "ttlSeconds",
    "pollInterval",
    "pollIntervalMs",
    "pollFrequency",
];
/// How deep results are in tasks.
const MAX_DEPTH: u8 = 2;

/// What of an answer does not reach the caller.
#[derive(Clone, Debug)]
pub struct Redaction {
    pointers: Arc<Pointers>,
    /// How many values did not.
    pub(super) count: Arc<AtomicU64>,
}

impl Redaction {
    pub(super) fn new(pointers: Pointers) -> Self {
        Self { pointers: Arc::new(pointers), count: Arc::default() }
    }

    /// A message without what is redacted; `None` where it stays as it is.
    ///
    /// # Errors
    /// `change_impossible` for what cannot be read.
    pub fn message(&self, message: &str) -> Result<Option<String>, Refusal> {
        let mut reading = Reading { pointers: &self.pointers, edits: Edits::of(message), count: 0 };
        reading.message(Members::unique(message).map_err(unread)?)?;
        self.count.fetch_add(reading.count, Ordering::Relaxed);
        reading.edits.finish().map_err(|_| unmet("what a policy redacts could not be replaced in the answer"))
    }

    /// The events of an answer behind those of another filter.
    pub fn after(self, filter: Box<dyn EventFilter>) -> Box<dyn EventFilter> {
        Box::new(RedactedEvents { filter, redaction: self })
    }
}

fn unread(error: serde_json::Error) -> Refusal {
    unmet("a policy redacts what is in the answer, and that could not be read").with_detail(error)
}

/// A message while it is read.
struct Reading<'p, 'd> {
    pointers: &'p Pointers,
    edits: Edits<'d>,
    count: u64,
}

impl<'d> Reading<'_, 'd> {
    fn message(&mut self, message: Members<'d>) -> Result<(), Refusal> {
        for (name, value) in message.0 {
            match &*name {
                "result" => self.result(value, 0)?,
                "error" => self.error(value)?,
                name if OF_MESSAGE.contains(&name) => {}
                _ => return Err(unmet("a policy redacts what is in the answer, and this is no answer")),
            }
        }
        Ok(())
    }

    /// An error of the protocol: its code and its words pass.
    fn error(&mut self, error: &'d RawValue) -> Result<(), Refusal> {
        for (name, value) in Members::unique(error.get()).map_err(unread)?.0 {
            match &*name {
                "data" => self.data(value)?,
                "code" | "message" => {}
                _ => return Err(not_of_form(&name)),
            }
        }
        Ok(())
    }

    fn result(&mut self, result: &'d RawValue, depth: u8) -> Result<(), Refusal> {
        for (name, value) in Members::unique(result.get()).map_err(unread)?.0 {
            match &*name {
                "structuredContent" | "_meta" => self.data(value)?,
                "content" => {
                    let items: Vec<&'d RawValue> = serde_json::from_str(value.get()).map_err(unread)?;
                    items.into_iter().try_for_each(|item| self.item(item))?;
                }
                "result" | "task" if depth < MAX_DEPTH => self.result(value, depth + 1)?,
                name if OF_RESULT.contains(&name) && !holds_others(value) => {}
                name => return Err(not_of_form(name)),
            }
        }
        Ok(())
    }

    /// One item of `content`.
    fn item(&mut self, item: &'d RawValue) -> Result<(), Refusal> {
        let mut kind = None;
        for (name, value) in Members::unique(item.get()).map_err(unread)?.0 {
            match &*name {
                "type" => kind = text(value),
                "text" => self.text(value)?,
                "annotations" | "_meta" => self.data(value)?,
                name => return Err(not_of_form(name)),
            }
        }
        if kind.as_deref() == Some("text") { Ok(()) } else { Err(not_of_form("content")) }
    }

    /// A text that is a JSON document itself.
    fn text(&mut self, value: &'d RawValue) -> Result<(), Refusal> {
        let document = text(value).filter(|text| text.trim_start().starts_with(['{', '[']));
        let document = document.ok_or_else(|| not_of_form("text"))?;
        if let Some(redacted) = self.pointers.redacted(&document, &mut self.count).map_err(unread)? {
            self.edits.put(value, quoted(&redacted));
        }
        Ok(())
    }

    /// What the tool says, as JSON.
    fn data(&mut self, value: &'d RawValue) -> Result<(), Refusal> {
        if !holds_others(value) && value.get() != "null" {
            return Err(not_of_form("data"));
        }
        self.count += self.pointers.redact(value, &mut self.edits).map_err(unread)?;
        Ok(())
    }
}

fn holds_others(value: &RawValue) -> bool {
    value.get().starts_with(['{', '['])
}

fn not_of_form(member: &str) -> Refusal {
    let shown: String = member.chars().take(64).collect();
    unmet(format!(
        "a policy redacts what is in the answer, and its member {shown:?} is not JSON that can be redacted"
    ))
}

/// The events of an answer: of what the server says beside it nothing passes, for it may say the same.
#[derive(Debug)]
struct RedactedEvents {
    filter: Box<dyn EventFilter>,
    redaction: Redaction,
}

impl EventFilter for RedactedEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event)?;
        let then = event::rewrite(first.as_deref().unwrap_or(event), self)?;
        Ok(then.or(first))
    }
}

impl Rewrite for RedactedEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::Same);
        }
        let message = Members::unique(data).map_err(unread)?;
        if message.get("method").is_some() {
            // What asks waits for an answer, so it cannot be left out.
            return match message.get("id") {
                None => Ok(Change::Drop),
                Some(_) => {
                    Err(unmet("a policy redacts what is in the answer, and the server asks something in it"))
                }
            };
        }
        Ok(self.redaction.message(data)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}
