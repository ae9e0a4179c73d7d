//! Tasks in what a caller says: its ids are opened, and what is about a task is asked as the call that made it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use vidimus_core::call::{Action, Arguments, Ask, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use super::{NAME_HEADER, RELATED, connect, encoded, passed, text};
use crate::part::Part;
use crate::protocol::members::{Replaced, quoted};
use crate::protocol::page;
use crate::protocol::sse::TooLong;
use crate::protocol::{Answer, DocumentChange, EventChange, Message, Parsed, check_spelling};
use crate::seal::{Kind, MAX_SEALED, Opened};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// `tasks/get`, `tasks/result`, `tasks/update` and `tasks/cancel`, which name one task.
///
/// # Errors
/// `task_foreign` for a task that is not the caller's at this server.
pub fn about_one<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    method: &'a str,
    params: Option<&'a Json<'a>>,
) -> Result<Parsed<'a>, Refusal> {
    let sealed = text(params, "taskId", MAX_SEALED)?;
    let opened = message.holder.decisive(Kind::Task, sealed).ok_or_else(foreign)?;
    let mut parsed = Parsed::new(as_made(server, method, opened)?, of_tasks());
    parsed.replaced.push(Replaced { path: &["params", "taskId"], with: quoted(&opened.id) });
    if message.headers.contains_key(NAME_HEADER) {
        let value = HeaderValue::from_str(&encoded(&opened.id)).map_err(|_| foreign())?;
        parsed.headers.push((HeaderName::from_static(NAME_HEADER), value));
    }
    Ok(parsed)
}

/// How is answered what is about tasks: whose they are has to be read.
fn of_tasks() -> Answer {
    let document = Some(DocumentChange::McpTasks(TooLong::EndsStream));
    Answer { document, events: Some(EventChange::Listings(TooLong::EndsStream)), ..passed() }
}

/// What is asked of a task: what the call was about that made it, with arguments that are not known any more.
fn as_made<'a>(server: &'a Arc<McpServer>, method: &'a str, opened: &'a Opened) -> Result<Ask<'a>, Refusal> {
    let Part::Tool(name) = &opened.part else { return Err(foreign()) };
    let target = Target::Tool { server, name };
    let ask = Ask::about(method, Action::InvokeTool, target);
    Ok(Ask { arguments: Arguments::Unknown, task: Some(&opened.id), ..ask })
}

/// `tasks/list`.
///
/// # Errors
/// `task_foreign` for a page that the caller was not given.
pub fn list<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    method: &'a str,
    params: Option<&'a Json<'a>>,
) -> Result<Parsed<'a>, Refusal> {
    let mut parsed = Parsed::new(connect(server, method).ask, of_tasks());
    parsed.replaced.extend(page::opened(message, &["params", "cursor"], params)?);
    Ok(parsed)
}

/// How a `tools/call` is answered that may become a task: the caller asks for one (2025-11-25), or says that it takes one (the
/// extension of 2026-07-28).
pub fn answer_of_tool(params: Option<&Json<'_>>) -> Answer {
    let meta = params.and_then(|params| params.get("_meta"));
    let takes = meta.and_then(|meta| meta.get(CAPABILITIES)?.get("extensions")?.get(EXTENSION));
    let asked = params.and_then(|params| params.get("task"));
    let document = takes.or(asked).map(|_| DocumentChange::McpTasks(TooLong::Passes));
    Answer { document, ..passed() }
}

/// The one task that a `subscriptions/listen` names.
///
/// # Errors
/// As [`about_one`].
pub fn listened<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    method: &'a str,
    sealed: &'a str,
) -> Result<Parsed<'a>, Refusal> {
    let opened = message.holder.decisive(Kind::Task, sealed).ok_or_else(foreign)?;
    let mut parsed = Parsed::new(as_made(server, method, opened)?, passed());
    let path = &["params", "notifications", "taskIds"];
    parsed.replaced.push(Replaced { path, with: format!("[{}]", quoted(&opened.id)) });
    Ok(parsed)
}

/// Who sends a message that is related to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// One who asks: the task is one of the server's.
    Asks,
    /// One who answers or tells something: the task may as well be one of the client's, whose ids are the client's own.
    Tells,
}

/// The task that a message is related to, in the `_meta` of its `params` or its `result`.
///
/// # Errors
/// `task_foreign` for a request that is related to a task which is not the caller's at this server.
pub fn related(
    message: &Message<'_>,
    within: &'static str,
    object: Option<&Json<'_>>,
    sender: Sender,
) -> Result<Option<Replaced>, Refusal> {
    let Some(related) = object.and_then(|object| object.get("_meta")?.get(RELATED)) else { return Ok(None) };
    check_spelling(related, &["taskId"])?;
    let Some(id) = related.get("taskId").and_then(Json::as_str) else { return Ok(None) };
    match message.holder.open(Kind::Task, id) {
        Some(opened) => {
            let path: &'static [&'static str] = match within {
                "result" => &["result", "_meta", RELATED, "taskId"],
                _ => &["params", "_meta", RELATED, "taskId"],
            };
            Ok(Some(Replaced { path, with: quoted(&opened.id) }))
        }
        None if sender == Sender::Tells => Ok(None),
        None => Err(foreign()),
    }
}

pub fn foreign() -> Refusal {
    Refusal::new(Code::TaskForeign, "no such task of this caller")
}
