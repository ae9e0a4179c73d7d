//! What an MCP tool answers, without what is redacted of it. It is read as the protocol has it: `structuredContent`, and each text of
//! `content`, which has to be a JSON object or list. Every other member is held to the form that it is known by, and words are taken out.
//! What is of another form may hold anything, and so does not pass.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::obligation::REDACTED;
use vidimus_core::refusal::Refusal;

use super::cancelled::{Caller, RedactedCalls, UnderWay};
use super::pointers::Pointers;
use super::unmet;
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Edits, Members, quoted, text};
use crate::protocol::question::Question;
use crate::protocol::sse::EventFilter;

/// The members that a refusal may name: of others the name is the server's, and may say what is redacted.
const NAMED: [&str; 17] = [
    "annotations",
    "code",
    "content",
    "createdAt",
    "data",
    "inputRequests",
    "isError",
    "jsonrpc",
    "lastUpdatedAt",
    "requestState",
    "resource",
    "resultType",
    "status",
    "statusMessage",
    "structuredContent",
    "taskId",
    "text",
];
/// What a result says that it is, as JSON (MCP 2026-07-28 and its tasks). One that asks for input does not pass.
const RESULTS: [&str; 2] = [r#""complete""#, r#""task""#];
/// How a task is, as JSON.
const STATUSES: [&str; 5] =
    [r#""working""#, r#""input_required""#, r#""completed""#, r#""failed""#, r#""cancelled""#];
/// The longest time that a task is kept, or between two questions about it: a year, in milliseconds. A larger number may be of anything.
const LONGEST: u64 = 366 * 24 * 3_600_000;
/// The longest time by RFC 3339, in bytes.
const TIME: usize = 35;
/// What stands in the place of an error's words.
pub(super) const ERROR: &str =
    "the server answered with an error; a policy redacts the tool's answers, so its words are left out";
/// The codes of JSON-RPC's own errors and of those of servers (JSON-RPC 2.0, section 5.1), and the one that stands in the place of others.
const CODES: std::ops::RangeInclusive<i64> = -32768..=SERVER_ERROR;
pub(super) const SERVER_ERROR: i64 = -32000;
/// The code of an error that asks the user something (MCP 2025-11-25, "URL elicitation required").
const ASKS: i64 = -32042;
/// How deep results are in tasks.
const MAX_DEPTH: u8 = 2;
/// How the ids begin that requests go out with of whose answers something is redacted.
const REDACTED_ID: &str = "vidimus-redacted-";

/// An id that no other request has, as JSON. Servers keep what they answer by the id of the request: two of a caller's requests by one id, or
/// by two that are the same as text (`2` and `"2"`), may get each other's answers, and a later one may have an earlier one's replayed.
pub(super) fn fresh_id() -> Arc<str> {
    quoted(&format!("{REDACTED_ID}{}", uuid::Uuid::new_v4().simple())).into()
}

/// Whether a message answers a request of which something is redacted; such an answer passes on that request's own stream alone. What cannot
/// be read is taken for one where it has such an id somewhere.
pub fn answers_redacted(message: &str) -> bool {
    let has = |word: &str| memchr::memmem::find(message.as_bytes(), word.as_bytes()).is_some();
    // Looking for the word is far cheaper than parsing. Where it may be escaped, there is no telling.
    let is_named = has(REDACTED_ID);
    if !is_named && !has("\\u") {
        return false;
    }
    let Ok(Members(members)) = serde_json::from_str(message) else { return is_named };
    let mut ids = members.iter().filter(|(name, _)| name == "id").filter_map(|(_, id)| text(id));
    ids.any(|id| id.starts_with(REDACTED_ID))
}

/// What of an answer does not reach the caller.
#[derive(Clone, Debug)]
pub struct Redaction {
    pointers: Arc<Pointers>,
    /// The id that the request goes out with, as JSON.
    pub id: Arc<str>,
    /// How many values did not.
    pub(super) count: Arc<AtomicU64>,
    /// Its caller can cancel it for as long as somebody has this.
    _under_way: Option<Arc<UnderWay>>,
}

/// What in an answer is not the server's.
#[derive(Clone)]
pub struct Own {
    /// The id of the request that is answered, as its caller wrote it (JSON); `None` where none is due.
    pub id: Option<Arc<str>>,
    /// Whether a text is the id of a task as it was sealed to the caller.
    pub is_task: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether two JSON documents say the same.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<Value>(text).ok();
    value(one).is_some_and(|one| value(other) == Some(one))
}

impl Redaction {
    /// `id` is what the request goes out with.
    pub(super) fn new(pointers: Pointers, id: Arc<str>) -> Self {
        Self { pointers: Arc::new(pointers), id, count: Arc::default(), _under_way: None }
    }

    /// The same, of a call that `caller` can cancel by the id `id` until its answer has been read.
    pub(super) fn cancellable(self, calls: &RedactedCalls, caller: Caller, id: Arc<str>) -> Self {
        let under_way = calls.begin(caller, id, self.id.clone());
        Self { _under_way: Some(Arc::new(under_way)), ..self }
    }

    /// Whether a message answers the request, by the id that it went out with. An error may be of one that could not be read.
    fn is_answered_by(&self, message: &Members<'_>, own: &Own) -> bool {
        match message.get("id").map(RawValue::get) {
            None | Some("null") => message.get("error").is_some() && message.get("result").is_none(),
            Some(id) => own.id.is_some() && (id == &*self.id || is_same(id, &self.id)),
        }
    }

    /// A message without what is redacted, and with the id by which its caller asked; `None` where it stays as it is.
    ///
    /// # Errors
    /// `change_impossible` for what cannot be read, and for what does not answer.
    pub fn message(&self, message: &str, own: &Own) -> Result<Option<String>, Refusal> {
        let members = Members::unique(message).map_err(unread)?;
        if !self.is_answered_by(&members, own) {
            return Err(no_answer());
        }
        let mut reading = Reading { pointers: &self.pointers, own, edits: Edits::of(message), count: 0 };
        reading.message(members)?;
        self.count.fetch_add(reading.count, Ordering::Relaxed);
        reading.edits.finish().map_err(|_| unmet("what a policy redacts could not be replaced in the answer"))
    }

    /// A refusal of an answer of which something is redacted: what the upstream said is neither told nor recorded.
    pub fn without_words(refusal: Refusal) -> Refusal {
        /// The longest number of seconds, in digits.
        const LONGEST: usize = 5;
        let is_seconds = |after: &str| after.len() <= LONGEST && after.bytes().all(|b| b.is_ascii_digit());
        let mut refusal = Refusal { detail: None, ..refusal };
        if let Some(upstream) = &mut refusal.upstream {
            upstream.retry_after = upstream.retry_after.take().filter(|after| is_seconds(after));
        }
        refusal
    }

    /// The events of an answer behind those of another filter, which seals their ids.
    pub fn after(self, filter: Box<dyn EventFilter>, own: Own) -> Box<dyn EventFilter> {
        Box::new(RedactedEvents { filter, redaction: self, own })
    }
}

/// Why something could not be read is told by what was read, so it is not told.
pub(super) fn unread(_: serde_json::Error) -> Refusal {
    unmet("a policy redacts what is in the answer, and that could not be read")
}

fn no_answer() -> Refusal {
    unmet("a policy redacts what is in the answer, and this is no answer")
}

fn asks() -> Refusal {
    unmet("a policy redacts what is in the answer, and the server asks something in it")
}

/// A message while it is read.
struct Reading<'p, 'd> {
    pointers: &'p Pointers,
    own: &'p Own,
    edits: Edits<'d>,
    count: u64,
}

impl<'d> Reading<'_, 'd> {
    fn message(&mut self, message: Members<'d>) -> Result<(), Refusal> {
        for (name, value) in message.0 {
            match &*name {
                "result" => self.result(value, 0)?,
                "error" => self.error(value)?,
                "id" => {
                    if let Some(asked) = self.own.id.as_deref().filter(|_| value.get() != "null") {
                        self.edits.put(value, asked.to_owned());
                    }
                }
                "jsonrpc" if value.get() == r#""2.0""# => {}
                _ => return Err(no_answer()),
            }
        }
        Ok(())
    }

    /// An error of the protocol: what it has beside its words is data.
    fn error(&mut self, error: &'d RawValue) -> Result<(), Refusal> {
        for (name, value) in Members::unique(error.get()).map_err(unread)?.0 {
            match &*name {
                "data" => self.data(value)?,
                "code" if value.get().parse() == Ok(ASKS) => return Err(asks()),
                "code" if value.get().parse::<i64>().is_ok_and(|code| CODES.contains(&code)) => {}
                "code" => self.edits.put(value, SERVER_ERROR.to_string()),
                "message" => self.edits.put(value, quoted(ERROR)),
                name => return Err(not_of_form(name)),
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
                "statusMessage" if value.get().starts_with('"') => self.edits.put(value, quoted(REDACTED)),
                name if self.is_of_form(name, value) => {}
                name => return Err(not_of_form(name)),
            }
        }
        Ok(())
    }

    /// Whether a member of a result, or of the task that it may be, says no more than it is for.
    fn is_of_form(&self, name: &str, value: &RawValue) -> bool {
        let json = value.get();
        match name {
            "isError" => matches!(json, "true" | "false"),
            "resultType" => RESULTS.contains(&json),
            "taskId" => text(value).is_some_and(|id| (self.own.is_task)(&id)),
            name => is_of_task(name, value),
        }
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
        let (redacted, found) = self.pointers.redacted(&document).map_err(unread)?;
        self.count += found.values;
        if let Some(redacted) = redacted {
            self.edits.put(value, quoted(&redacted));
        }
        Ok(())
    }

    /// What the tool says, as JSON.
    fn data(&mut self, value: &'d RawValue) -> Result<(), Refusal> {
        if !holds_others(value) && value.get() != "null" {
            return Err(not_of_form("data"));
        }
        self.count += self.pointers.redact(value, &mut self.edits).map_err(unread)?.values;
        Ok(())
    }
}

fn holds_others(value: &RawValue) -> bool {
    value.get().starts_with(['{', '['])
}

/// Whether a member of a task says no more than how it is and since when.
fn is_of_task(name: &str, value: &RawValue) -> bool {
    let json = value.get();
    match name {
        "status" => STATUSES.contains(&json),
        "statusMessage" => json == "null",
        "createdAt" | "lastUpdatedAt" => text(value).is_some_and(|time| is_time(&time)),
        "ttl" | "ttlMs" | "ttlSeconds" | "pollInterval" | "pollIntervalMs" | "pollFrequency" => {
            json == "null" || json.parse::<u64>().is_ok_and(|time| time <= LONGEST)
        }
        _ => false,
    }
}

/// A task, elsewhere than in its own answers of which something is redacted: how it is and since when, by the id `id` that its caller has. Its
/// message is [`REDACTED`], and what else the server says of it is left out.
pub fn bare_task(task: &Members<'_>, id: &str) -> String {
    let kept = task.0.iter().filter_map(|(name, value)| {
        let said = match &**name {
            "taskId" => quoted(id),
            name if is_of_task(name, value) => value.get().to_owned(),
            "statusMessage" => quoted(REDACTED),
            _ => return None,
        };
        Some(format!("{}:{said}", quoted(name)))
    });
    format!("{{{}}}", kept.collect::<Vec<_>>().join(","))
}

fn is_time(text: &str) -> bool {
    let is_of_time =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'T' | b'Z' | b'.' | b'+');
    text.len() <= TIME && text.bytes().all(is_of_time) && text.parse::<jiff::Timestamp>().is_ok()
}

fn not_of_form(member: &str) -> Refusal {
    let named = NAMED.iter().find(|named| **named == member);
    let shown = named.map_or_else(|| "a member of it".to_owned(), |named| format!("its member {named:?}"));
    unmet(format!(
        "a policy redacts what is in the answer, and {shown} is not of a form that can be redacted"
    ))
}

/// The events of an answer: of what the server says beside it nothing passes, for it may say the same.
#[derive(Debug)]
struct RedactedEvents {
    filter: Box<dyn EventFilter>,
    redaction: Redaction,
    own: Own,
}

impl EventFilter for RedactedEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event).map_err(Redaction::without_words)?;
        let event = first.as_deref().unwrap_or(event);
        event::bare(event, self).map(Some).map_err(Redaction::without_words)
    }

    fn asked(&mut self) -> Vec<Question> {
        self.filter.asked()
    }
}

impl Rewrite for RedactedEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if data.trim().is_empty() {
            return Ok(Change::To(String::new()));
        }
        let message = Members::unique(data).map_err(unread)?;
        if message.get("method").is_some() {
            // What asks waits for an answer, so it cannot be left out.
            return match message.get("id") {
                None => Ok(Change::Drop),
                Some(_) => Err(asks()),
            };
        }
        // What answers something else is of a call that nobody made on this stream.
        if !self.redaction.is_answered_by(&message, &self.own) {
            return Ok(Change::Drop);
        }
        Ok(self.redaction.message(data, &self.own)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}
