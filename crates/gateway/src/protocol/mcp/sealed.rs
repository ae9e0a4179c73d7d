//! Tasks in what an MCP server says: their ids are sealed to who made them, and of a list only the caller's own stay.
//!
//! Where ids stand: in the task that a `tools/call` became (`result.task`, 2025-11-25; `result` itself, the tasks extension of
//! 2026-07-28), in what is said of one task, in a list and the token of its next page, in notifications, and as the related task in the `_meta` of anything. A
//! client's own tasks, which a server asks for by `tasks/get`, have the client's ids and keep them.

use std::borrow::Cow;

use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use super::RELATED;
use crate::changes::bare_task;
use crate::protocol::event::Change;
use crate::protocol::handles::{Handles, Reads, Told};
use crate::protocol::members::{Changed, Members, quoted, text};
use crate::protocol::page;

/// One JSON-RPC message of the server's.
///
/// # Errors
/// `upstream_invalid` when it names tasks and cannot be read.
pub fn message(json: &str, handles: &Handles) -> Result<Change, Refusal> {
    // Looking for the word is far cheaper than parsing. Where it may be escaped, there is no telling, and a list has pages too.
    let word = |word: &[u8]| memchr::memmem::find(json.as_bytes(), word).is_some();
    if !word(b"task") && !word(b"\\u") && !handles.lists_tasks() {
        return Ok(Change::Same);
    }
    let whole = Members::unique(json).map_err(unreadable)?;
    if handles.lists_tasks() {
        check_list(&whole)?;
    }
    for (part, change) in [("result", result as Part), ("params", params as Part)] {
        let Some(inner) = whole.object(part).map_err(unreadable)? else { continue };
        return Ok(match change(&whole, &inner, handles)? {
            Change::To(changed) => Change::To(whole.write(part, &changed)),
            other => other,
        });
    }
    Ok(Change::Same)
}

/// Whether the result of a list, where there is one, has the one shape in which it can be told whose its tasks are.
fn check_list(whole: &Members<'_>) -> Result<(), Refusal> {
    if whole.misspells(&["result"]) {
        return Err(page::no_list());
    }
    let Some(result) = whole.get("result") else { return Ok(()) };
    if !result.get().starts_with('{') {
        return Err(page::no_list());
    }
    let result = Members::unique(result.get()).map_err(unreadable)?;
    let has_list = result.get("tasks").is_some_and(|tasks| tasks.get().starts_with('['));
    let is_list = has_list && !result.misspells(&["tasks", "nextCursor"]);
    is_list.then_some(()).ok_or_else(page::no_list)
}

type Part = fn(&Members<'_>, &Members<'_>, &Handles) -> Result<Change, Refusal>;

fn result(_whole: &Members<'_>, result: &Members<'_>, handles: &Handles) -> Result<Change, Refusal> {
    let made = handles.makes_tasks();
    let mut changed = Changed::default();
    if let Some(tasks) = result.get("tasks").filter(|tasks| tasks.get().starts_with('[')) {
        changed.put("tasks", listed(tasks, handles)?);
        if let Some(next) = result.get("nextCursor") {
            changed.put_some("nextCursor", page::sealed(next, handles)?);
        }
    }
    // What says how a task is: a tool's own result may have a member of this name that is none.
    if result.get("status").is_some()
        && let Some(sealed) = sealed(result.get("taskId"), handles, made)?
    {
        changed.put("taskId", sealed);
    }
    if let Some(task) = result.object("task").map_err(unreadable)?
        && let Some(sealed) = sealed(task.get("taskId"), handles, made)?
    {
        changed.put("task", task.write("taskId", &sealed));
    }
    related(result, handles, &mut changed)?;
    Ok(changed.of(result).map_or(Change::Same, Change::To))
}

fn params(whole: &Members<'_>, params: &Members<'_>, handles: &Handles) -> Result<Change, Refusal> {
    let mut changed = Changed::default();
    match whole.get("method").and_then(text).as_deref() {
        Some("notifications/tasks" | "notifications/tasks/status") => {
            // News of a task that is not the caller's, or not any more, are not the caller's either.
            let id = params.get("taskId").and_then(text);
            match id.map(|id| handles.news_of(&id)).transpose()?.flatten() {
                Some(Told { id, reads: Reads::All }) => changed.put("taskId", quoted(&id)),
                Some(Told { id, reads: Reads::Redacted }) => return Ok(Change::To(bare_task(params, &id))),
                None => return Ok(Change::Drop),
            }
        }
        Some("notifications/subscriptions/acknowledged") => {
            if let Some(notifications) = params.object("notifications").map_err(unreadable)?
                && let Some(ids) = notifications.get("taskIds")
            {
                let ids: Vec<Cow<'_, str>> = serde_json::from_str(ids.get()).map_err(unreadable)?;
                let mut kept = Vec::with_capacity(ids.len());
                for id in ids {
                    kept.extend(handles.news_of(&id)?.map(|told| told.id));
                }
                let kept = serde_json::to_string(&kept).map_err(unreadable)?;
                changed.put("notifications", notifications.write("taskIds", &kept));
            }
        }
        _ => {}
    }
    related(params, handles, &mut changed)?;
    Ok(changed.of(params).map_or(Change::Same, Change::To))
}

/// The caller's own tasks of a list.
fn listed(tasks: &RawValue, handles: &Handles) -> Result<String, Refusal> {
    let tasks: Vec<&RawValue> = serde_json::from_str(tasks.get()).map_err(unreadable)?;
    let mut kept = Vec::with_capacity(tasks.len());
    for task in tasks {
        let task = Members::unique(task.get()).map_err(unreadable)?;
        let id = task.get("taskId").and_then(text);
        if let Some(Told { id, reads }) = id.map(|id| handles.listed(&id)).transpose()?.flatten() {
            kept.push(match reads {
                Reads::All => task.write("taskId", &quoted(&id)),
                Reads::Redacted => bare_task(&task, &id),
            });
        }
    }
    Ok(format!("[{}]", kept.join(",")))
}

/// The task that a message is related to. That it is mentioned makes it nobody's.
fn related(of: &Members<'_>, handles: &Handles, changed: &mut Changed) -> Result<(), Refusal> {
    let Some(meta) = of.object("_meta").map_err(unreadable)? else { return Ok(()) };
    let Some(task) = meta.object(RELATED).map_err(unreadable)? else { return Ok(()) };
    if let Some(sealed) = sealed(task.get("taskId"), handles, false)? {
        changed.put("_meta", meta.write(RELATED, &task.write("taskId", &sealed)));
    }
    Ok(())
}

/// The sealed form of an id, as JSON.
fn sealed(id: Option<&RawValue>, handles: &Handles, made: bool) -> Result<Option<String>, Refusal> {
    let Some(id) = id.and_then(text) else { return Ok(None) };
    Ok(handles.task(&id, made)?.map(|sealed| quoted(&sealed)))
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "what the upstream says of tasks could not be read")
        .with_detail(error)
}
