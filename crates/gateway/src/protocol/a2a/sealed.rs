//! Tasks and contexts in what an agent says, in both versions: their ids are sealed to who made them, and of a list of tasks only
//! the caller's own stay.
//!
//! Ids stand in fixed members of tasks, messages, updates and configurations of push notifications, which nest in each other; the
//! parts of messages and artifacts are the agent's own words and stay as they are, as does all else.

use std::borrow::Cow;

use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::handles::Handles;
use crate::protocol::members::{Changed, Members, quoted, text};
use crate::protocol::sse::{EventFilter, TooLong};
use crate::protocol::{is_same_member, page};

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
}

impl Shape {
    /// What becomes of an answer, or an event, that is too long to be read whole.
    pub fn too_long(self) -> TooLong {
        // A list has to be read; of the rest an id that is not sealed opens nothing.
        if self == Self::Tasks { TooLong::EndsStream } else { TooLong::Passes }
    }
}

/// One JSON-RPC response of the agent's.
///
/// # Errors
/// `upstream_invalid` when it cannot be read.
pub fn message(json: &str, shape: Shape, handles: &Handles) -> Result<Option<String>, Refusal> {
    let whole = Members::unique(json).map_err(unreadable)?;
    let Some(result) = whole.get("result") else { return Ok(None) };
    if shape == Shape::Tasks {
        check_list(result)?;
    }
    let changed = within(result, (shape, DEEPEST), handles)?;
    Ok(changed.map(|changed| whole.write("result", &changed)))
}

/// Whether the result of a list has the one shape in which it can be told whose its tasks are: an object, in which nothing but `tasks`
/// holds any.
fn check_list(result: &RawValue) -> Result<(), Refusal> {
    let refusal =
        || Refusal::new(Code::UpstreamInvalid, "the upstream's list of tasks is not an object with 'tasks'");
    if !result.get().starts_with('{') {
        return Err(refusal());
    }
    let members = Members::unique(result.get()).map_err(unreadable)?;
    let misspelled = |key: &str| key != NEXT_PAGE && is_same_member(key, NEXT_PAGE);
    let others = members.0.iter().any(|(key, _)| NESTED.contains(&key.as_ref()) || misspelled(key));
    (!others).then_some(()).ok_or_else(refusal)
}

/// The token of the next page of a list.
const NEXT_PAGE: &str = "nextPageToken";

/// How deep such objects nest in each other: a list of tasks, a task, its status, a message. What is deeper is no id's place.
const DEEPEST: u8 = 8;

/// An object that may hold ids, or other such objects, so many levels down.
fn object(json: &str, (shape, levels): (Shape, u8), handles: &Handles) -> Result<Option<String>, Refusal> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(None) };
    let members = Members::unique(json).map_err(unreadable)?;
    let made = shape == Shape::Sent;
    // A message has another id, and no other of these has one that is not a task's.
    let is_message = members.get("messageId").is_some();
    let is_config = members.get("pushNotificationConfig").is_none();
    let mut changed = Changed::default();
    for (key, value) in &members.0 {
        match key.as_ref() {
            // A configuration has an id of its own, which agents that were given none take from the task; beside a configuration
            // stands the task's.
            "id" if shape == Shape::PushConfig
                && is_config
                && !text(value).is_some_and(|id| handles.asks_of(&id)) => {}
            "id" if !is_message => changed.put_some("id", task(value, made, handles)?),
            "taskId" => changed.put_some("taskId", task(value, made, handles)?),
            "contextId" => {
                let sealed = text(value).map(|id| handles.context(&id)).transpose()?.flatten();
                changed.put_some("contextId", sealed.map(|sealed| quoted(&sealed)));
            }
            "referenceTaskIds" => {
                let sealed = list(value, &mut |item| {
                    let id = serde_json::from_str::<String>(item).map_err(unreadable)?;
                    Ok(handles.task(&id, false)?.map(|sealed| quoted(&sealed)))
                });
                changed.put_some("referenceTaskIds", sealed?);
            }
            "tasks" if shape == Shape::Tasks => {
                let own = listed(value, handles)?;
                // How many others have is not the caller's to know.
                if members.get("totalSize").is_some() {
                    changed.put("totalSize", own.len().to_string());
                }
                changed.put("tasks", format!("[{}]", own.join(",")));
            }
            NEXT_PAGE if shape == Shape::Tasks => {
                changed.put_some(NEXT_PAGE, page::sealed(value, handles)?);
            }
            key => {
                if let Some(nested) = NESTED.into_iter().find(|nested| *nested == key) {
                    changed.put_some(nested, within(value, (shape, levels), handles)?);
                }
            }
        }
    }
    Ok(changed.of(&members))
}

/// The members that hold tasks, messages, updates and configurations.
const NESTED: [&str; 8] = [
    "task",
    "message",
    "statusUpdate",
    "artifactUpdate",
    "status",
    "history",
    "configs",
    "pushNotificationConfig",
];

fn within(value: &RawValue, at: (Shape, u8), handles: &Handles) -> Result<Option<String>, Refusal> {
    match value.get().as_bytes().first() {
        Some(b'{') => object(value.get(), at, handles),
        Some(b'[') => list(value, &mut |item| match item.starts_with('{') {
            true => object(item, at, handles),
            false => Ok(None),
        }),
        _ => Ok(None),
    }
}

/// A list with its items changed; `None` where none of them is.
fn list(
    value: &RawValue,
    change: &mut dyn FnMut(&str) -> Result<Option<String>, Refusal>,
) -> Result<Option<String>, Refusal> {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(unreadable)?;
    let mut changed = Vec::with_capacity(items.len());
    let mut any = false;
    for item in items {
        let other = change(item.get())?;
        any |= other.is_some();
        changed.push(other.map_or(Cow::Borrowed(item.get()), Cow::Owned));
    }
    Ok(any.then(|| format!("[{}]", changed.join(","))))
}

/// The caller's own tasks of a list.
fn listed(value: &RawValue, handles: &Handles) -> Result<Vec<String>, Refusal> {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(unreadable)?;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let id = Members::unique(item.get()).map_err(unreadable)?.get("id").and_then(text);
        let own = id.map(|id| handles.listed(&id)).transpose()?.flatten().is_some();
        if own {
            let sealed = object(item.get(), (Shape::Task, DEEPEST), handles)?;
            kept.push(sealed.unwrap_or_else(|| item.get().to_owned()));
        }
    }
    Ok(kept)
}

fn task(value: &RawValue, made: bool, handles: &Handles) -> Result<Option<String>, Refusal> {
    let Some(id) = text(value) else { return Ok(None) };
    Ok(handles.task(&id, made)?.map(|sealed| quoted(&sealed)))
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the agent's answer could not be read").with_detail(error)
}

/// The events of an agent's stream.
#[derive(Debug)]
pub struct AgentEvents {
    pub shape: Shape,
    pub handles: Handles,
}

impl EventFilter for AgentEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for AgentEvents {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        if !data.trim_start().starts_with('{') {
            return Ok(Change::Same);
        }
        Ok(message(data, self.shape, &self.handles)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, id: &str) -> Result<Option<String>, Refusal> {
        self.handles.event(id).map(Some)
    }
}
