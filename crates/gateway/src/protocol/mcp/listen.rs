//! `subscriptions/listen`: one resource or one task is what its call is about; of several each is decided by itself ([`Followed`]).

use std::sync::Arc;

use vidimus_core::call::{Action, Ask, Target};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::McpServer;

use super::resource_uri::normal;
use super::{bounded, connect, passed, tasks};
use crate::followed::Followed;
use crate::part::Part;
use crate::protocol::{Answer, Expected, MAX_URI, Message, Parsed, check_spelling};
use crate::seal::{Kind, MAX_SEALED};

const METHOD: &str = "subscriptions/listen";
/// Where the resources stand.
pub const RESOURCES: &[&str] = &["params", "notifications", "resourceSubscriptions"];
/// Where the tasks do.
pub const TASKS: &[&str] = &["params", "notifications", "taskIds"];
/// How many one stream may be of: each is decided, and again with each change of the configuration.
const MOST: usize = 64;

/// What a request listens to.
///
/// # Errors
/// `message_invalid` for what names no resources or tasks, or more than [`MOST`]; `task_foreign` where all are tasks that are not the caller's.
pub fn listen<'a>(
    message: &Message<'a>,
    server: &'a Arc<McpServer>,
    params: Option<&'a Json<'a>>,
) -> Result<Parsed<'a>, Refusal> {
    let notifications = params.and_then(|params| params.get("notifications"));
    notifications.map_or(Ok(()), |given| check_spelling(given, &["resourceSubscriptions", "taskIds"]))?;
    let mut parsed = match (named(notifications, RESOURCES)?, named(notifications, TASKS)?) {
        ([], []) => connect(server, METHOD),
        ([uri], []) => {
            let target = Target::Resource { server, uri: resource(uri, 0)? };
            Parsed::new(Ask::about(METHOD, Action::ReadResource, target), passed())
        }
        ([], [id]) => tasks::listened(message, server, METHOD, task(id, 0)?)?,
        (uris, ids) if uris.len() + ids.len() > MOST => {
            let message = format!("a stream is of at most {MOST} resources and tasks; open another one");
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
        (uris, ids) => {
            let mut followed = Vec::with_capacity(uris.len() + ids.len());
            for (at, uri) in uris.iter().enumerate() {
                followed.push(Followed::Resource(Part::Resource(resource(uri, at)?.into())));
            }
            for (at, id) in ids.iter().enumerate() {
                // One that is not the caller's is nothing that it may follow, as one that policies refuse.
                if let Some(opened) = message.holder.open(Kind::Task, task(id, at)?)
                    && matches!(opened.part, Part::Tool(_))
                {
                    followed.push(Followed::Task { id: opened.id.into(), made_by: opened.part });
                }
            }
            if followed.is_empty() {
                return Err(tasks::foreign());
            }
            Parsed { followed, ..connect(server, METHOD) }
        }
    };
    parsed.ask.streaming = true;
    parsed.expected = Expected::Upstream(Answer { open_ended: true, ..passed() });
    Ok(parsed)
}

/// What a list names; nothing where it is not there.
fn named<'a>(notifications: Option<&'a Json<'a>>, path: &[&str]) -> Result<&'a [Json<'a>], Refusal> {
    let member = path.last().copied().unwrap_or_default();
    match notifications.and_then(|notifications| notifications.get(member)).map(Json::as_array) {
        None => Ok(&[]),
        Some(Some(named)) => Ok(named),
        Some(None) => Err(no_text(member)),
    }
}

fn resource<'a>(uri: &'a Json<'a>, at: usize) -> Result<&'a str, Refusal> {
    let uri = uri.as_str().ok_or_else(|| no_text("resourceSubscriptions"))?;
    normal(bounded(uri, &format!("notifications.resourceSubscriptions[{at}]"), MAX_URI)?)
}

fn task<'a>(id: &'a Json<'a>, at: usize) -> Result<&'a str, Refusal> {
    let id = id.as_str().ok_or_else(|| no_text("taskIds"))?;
    bounded(id, &format!("notifications.taskIds[{at}]"), MAX_SEALED)
}

fn no_text(member: &str) -> Refusal {
    Refusal::new(Code::MessageInvalid, format!("params.notifications.{member} is a list of strings"))
}
