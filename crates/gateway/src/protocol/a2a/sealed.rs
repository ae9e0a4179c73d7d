//! Tasks and contexts in what an agent says, in both versions: their ids are sealed to who made them, and of a list of tasks only
//! the caller's own stay.

use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::handles::Handles;
use crate::protocol::is_same_member;
use crate::protocol::members::{Changed, Edits, Members, Misplaced, quoted, text};
use crate::protocol::page;
use crate::protocol::sse::{EventFilter, TooLong};

use super::places::{self, Id, Place};
use super::{Framing, webhook};

/// What the `result` of an answer is, as far as the method tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A task, a message or an update of either version, or an object with one of them (1.0). The call may have made the task.
    Sent,
    /// The same, about a task that was named.
    Task,
    /// An object with tasks.
    Tasks,
    /// A configuration of push notifications, a list of them, or an object with such a list. Its `id` is its own.
    PushConfig,
    /// That one of them is no more: the same, nothing, or no result at all.
    Deleted,
}

impl Shape {
    /// What becomes of an answer, or an event, that is too long to be read whole.
    pub fn too_long(self) -> TooLong {
        // A list has to be read; of the rest an id that is not sealed opens nothing.
        if self == Self::Tasks { TooLong::EndsStream } else { TooLong::Passes }
    }
}

/// An answer of the agent's, or one event of it; `None` where it stays as it came.
///
/// # Errors
/// As [`message`].
pub fn framed(
    json: &str,
    (shape, framing): (Shape, Framing),
    handles: &Handles,
) -> Result<Option<String>, Refusal> {
    match framing {
        Framing::Rpc => message(json, shape, handles),
        Framing::Bare => bare(json, shape, handles),
    }
}

/// The same of a result that stands by itself, or of an error in its place: it is read within the response that it would stand in.
fn bare(json: &str, shape: Shape, handles: &Handles) -> Result<Option<String>, Refusal> {
    const BEFORE: &str = r#"{"result":"#;
    if json.trim().is_empty() {
        return Ok(None);
    }
    let value = by_itself(json)?;
    let response = format!("{BEFORE}{}}}", value.get());
    let Some(changed) = message(&response, shape, handles)? else { return Ok(None) };
    let result = changed.strip_prefix(BEFORE).and_then(|changed| changed.strip_suffix('}'));
    let lost = || Refusal::new(Code::Internal, "the result is not where it was found");
    result.map(|result| Some(result.to_owned())).ok_or_else(lost)
}

/// A value that is a result, or an error in its place.
///
/// # Errors
/// `upstream_invalid` for what is not exactly one value, and for a list or a response, in which ids stand where they are not looked for.
pub fn by_itself(json: &str) -> Result<&RawValue, Refusal> {
    // Exactly one value: beside the result nothing stands.
    let value: &RawValue = serde_json::from_str(json).map_err(unreadable)?;
    if value.get().starts_with(['{', '['])
        && Members::unique(value.get()).map_err(unreadable)?.0.iter().any(|(name, _)| is_of_response(name))
    {
        let message = "the agent answers over HTTP+JSON with a response of JSON-RPC";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    Ok(value)
}

/// Whether a member is one of a response, and of nothing that stands by itself.
fn is_of_response(name: &str) -> bool {
    ["jsonrpc", "result"].iter().any(|known| is_same_member(name, known))
}

/// One JSON-RPC response of the agent's; `None` where it stays as it came.
///
/// # Errors
/// `upstream_invalid` when it cannot be read.
pub fn message(json: &str, shape: Shape, handles: &Handles) -> Result<Option<String>, Refusal> {
    if shape == Shape::Tasks {
        return list(json, handles);
    }
    let of_config = matches!(shape, Shape::PushConfig | Shape::Deleted);
    let own = if of_config { Id::Config } else { Id::Task };
    let places = places::of_response(json, own).map_err(unreadable)?;
    let changed = sealed(json, &places, shape == Shape::Sent, handles)?;
    if !of_config {
        return Ok(changed);
    }
    let restored = webhook::restored(changed.as_deref().unwrap_or(json), handles)?;
    let changed = restored.or(changed);
    if shape != Shape::Deleted {
        return Ok(changed);
    }
    Ok(with_result(changed.as_deref().unwrap_or(json))?.or(changed))
}

/// A response that has neither a result nor an error, with the result that says nothing: every other reader wants one of them (JSON-RPC 2.0, section 5).
/// `None` where it has one.
fn with_result(json: &str) -> Result<Option<String>, Refusal> {
    let members = Members::unique(json).map_err(unreadable)?;
    if members.get("result").or(members.get("error")).is_some() {
        return Ok(None);
    }
    let inside = json.trim_end().strip_suffix('}').filter(|_| !members.0.is_empty());
    Ok(inside.map(|inside| format!(r#"{inside},"result":null}}"#)))
}

/// A text with the ids at these places sealed. `made`: the call may have made the tasks.
fn sealed(
    json: &str,
    places: &[Place<'_>],
    made: bool,
    handles: &Handles,
) -> Result<Option<String>, Refusal> {
    /// One task and one context stand in most answers, several times.
    const KNOWN: usize = 4;
    let mut known: Vec<(Id, &str, String)> = Vec::new();
    let mut edits = Edits::of(json);
    for (id, value) in places {
        let (id, raw) = (*id, value.get());
        if let Some((_, _, with)) = known.iter().find(|(of, given, _)| (*of, *given) == (id, raw)) {
            edits.put(value, with.clone());
            continue;
        }
        let with = match id {
            Id::Task => text(value).map(|id| handles.task(&id, made)).transpose()?.flatten(),
            // Agents that were given no id for a configuration take that of the task.
            Id::Config => {
                let id = text(value).filter(|id| handles.asks_of(id));
                id.map(|id| handles.task(&id, false)).transpose()?.flatten()
            }
            Id::Page => {
                let next = page::sealed(value, handles)?;
                edits.put(value, next.unwrap_or_else(|| value.get().to_owned()));
                continue;
            }
            Id::Context => text(value).map(|id| handles.context(&id)).transpose()?.flatten(),
            Id::References => {
                references(value, handles)?.into_iter().for_each(|(value, with)| edits.put(value, with));
                continue;
            }
        };
        let Some(with) = with.map(|with| quoted(&with)) else { continue };
        if known.len() < KNOWN {
            known.push((id, raw, with.clone()));
        }
        edits.put(value, with);
    }
    edits.finish().map_err(|Misplaced| Refusal::new(Code::Internal, "an id is not where it was found"))
}

/// The tasks that a message refers to, with what stands for those that are the caller's.
fn references<'d>(value: &'d RawValue, handles: &Handles) -> Result<Vec<(&'d RawValue, String)>, Refusal> {
    let ids: Option<Vec<&RawValue>> = serde_json::from_str(value.get()).map_err(unreadable)?;
    let mut sealed = Vec::new();
    for value in ids.into_iter().flatten() {
        let id: String = serde_json::from_str(value.get()).map_err(unreadable)?;
        sealed.extend(handles.task(&id, false)?.map(|with| (value, quoted(&with))));
    }
    Ok(sealed)
}

/// The token of the next page of a list.
const NEXT_PAGE: &str = "nextPageToken";

/// A list of tasks, of which the caller's own stay. It has to have the one shape in which it can be told whose its tasks are: an object,
/// in which nothing but `tasks` holds any.
fn list(json: &str, handles: &Handles) -> Result<Option<String>, Refusal> {
    let refusal = page::no_list;
    let whole = Members::unique(json).map_err(unreadable)?;
    if whole.misspells(&["result", "error"]) {
        return Err(refusal());
    }
    let Some(result) = whole.get("result") else {
        let places = places::of_response(json, Id::Task).map_err(unreadable)?;
        return sealed(json, &places, false, handles);
    };
    if !result.get().starts_with('{') {
        return Err(refusal());
    }
    let result = Members::unique(result.get()).map_err(unreadable)?;
    let holds_tasks = |key: &str| places::NESTED.iter().any(|name| is_same_member(key, name));
    let others = result.0.iter().any(|(key, _)| holds_tasks(key));
    if others || result.misspells(&["tasks", "totalSize", NEXT_PAGE]) {
        return Err(refusal());
    }
    let mut changed = Changed::default();
    if let Some(next) = result.get(NEXT_PAGE) {
        changed.put_some(NEXT_PAGE, page::sealed(next, handles)?);
    }
    // An empty list may be left out.
    let tasks = result.get("tasks");
    let own = tasks.map(|tasks| listed(tasks, handles)).transpose()?.unwrap_or_default();
    // How many others have is not the caller's to know.
    if result.get("totalSize").is_some() {
        changed.put("totalSize", own.len().to_string());
    }
    changed.put_some("tasks", tasks.map(|_| format!("[{}]", own.join(","))));
    Ok(changed.of(&result).map(|changed| whole.write("result", &changed)))
}

/// The caller's own tasks of a list.
fn listed(value: &RawValue, handles: &Handles) -> Result<Vec<String>, Refusal> {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(unreadable)?;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let id = Members::unique(item.get()).map_err(unreadable)?.get("id").and_then(text);
        if id.is_some_and(|id| handles.lists(&id)) {
            let places = places::of_object(item.get()).map_err(unreadable)?;
            let sealed = sealed(item.get(), &places, false, handles)?;
            kept.push(sealed.unwrap_or_else(|| item.get().to_owned()));
        }
    }
    Ok(kept)
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the agent's answer could not be read").with_detail(error)
}

/// The events of an agent's stream.
#[derive(Debug)]
pub struct AgentEvents {
    pub shape: Shape,
    pub framing: Framing,
    pub handles: Handles,
}

impl EventFilter for AgentEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for AgentEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        // Words of the agent's own making, such as a keep-alive, are no message.
        if !data.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']).starts_with(['{', '[']) {
            return Ok(Change::Same);
        }
        Ok(framed(data, (self.shape, self.framing), &self.handles)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, id: &str) -> Result<Option<String>, Refusal> {
        self.handles.event(id).map(Some)
    }
}
