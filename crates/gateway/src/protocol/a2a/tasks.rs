//! Tasks and contexts in what a caller says: ids are opened, what is about a task is asked as the call that made it, and where news of it go
//! ([`webhook`]) is part of the call.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use vidimus_core::call::Target;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Agent;

use super::sealed::Shape;
use super::webhook::{self, Webhook};
use crate::part::Part;
use crate::protocol::members::{Replaced, quoted};
use crate::protocol::{Dropped, Message, check_spelling, is_same_member, page};
use crate::seal::{Kind, MAX_ID, MAX_SEALED, Opened};

/// After which event a stream is resumed.
const LAST_EVENT_HEADER: &str = "last-event-id";

/// What one method says of tasks.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// Whether `params.id` is a configuration's own, as 1.0 has it, and not a task's.
    own_id: bool,
    /// The path to the one task that it is about.
    pub task: Option<&'static [&'static str]>,
    /// Whether it must name one.
    pub must: bool,
    /// Whether it lists, page by page.
    pages: bool,
    /// What its answer is.
    pub answer: Option<Shape>,
}

const ID: &[&str] = &["params", "id"];
const TASK_ID: &[&str] = &["params", "taskId"];
/// Where ids of configurations of push notifications may stand, in either version.
const CONFIG_IDS: [&[&str]; 5] = [
    ID,
    &["params", "pushNotificationConfigId"],
    &["params", "pushNotificationConfig", "id"],
    &["params", "configuration", "pushNotificationConfig", "id"],
    &["params", "configuration", "taskPushNotificationConfig", "id"],
];
const OF_MESSAGE: &[&str] = &["params", "message", "taskId"];
/// What of a message that was held names the approval which it waits for.
const HELD: Dropped = &[OF_MESSAGE];
const HELD_WITH_CONTEXT: Dropped = &[OF_MESSAGE, &["params", "message", "contextId"]];

impl Method {
    /// Of a method by its newest name; `old`: it is spelled as in 0.3.
    pub fn of(name: &str, old: bool) -> Self {
        let of_config = Some(if old { ID } else { TASK_ID });
        let (task, must, answer) = match name {
            "SendMessage" | "SendStreamingMessage" => (Some(OF_MESSAGE), false, Some(Shape::Sent)),
            "GetTask" | "CancelTask" | "SubscribeToTask" => (Some(ID), true, Some(Shape::Task)),
            "ListTasks" => (None, false, Some(Shape::Tasks)),
            "CreateTaskPushNotificationConfig" => (Some(TASK_ID), true, Some(Shape::PushConfig)),
            "GetTaskPushNotificationConfig" | "ListTaskPushNotificationConfigs" => {
                (of_config, true, Some(Shape::PushConfig))
            }
            "DeleteTaskPushNotificationConfig" => (of_config, true, Some(Shape::Deleted)),
            _ => (None, false, None),
        };
        let own_id = match name {
            "CreateTaskPushNotificationConfig"
            | "GetTaskPushNotificationConfig"
            | "DeleteTaskPushNotificationConfig" => !old,
            _ => false,
        };
        let pages = matches!(name, "ListTasks" | "ListTaskPushNotificationConfigs");
        Self { own_id, task, must, pages, answer }
    }

    /// Whether a configuration's own id stands at this path.
    fn is_config_id(&self, path: &[&str]) -> bool {
        path != TASK_ID && (path != ID || self.own_id)
    }
}

/// What was found in a message.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// The task that it is about.
    pub task: Option<&'a Opened>,
    /// The approval, in place of a task, that a message waits for which was held.
    pub waits: Option<&'a Opened>,
    /// What of it names that one, and so does not go on.
    pub dropped: Dropped,
    pub push_url: Option<&'a str>,
    /// The same, with how news prove themselves there.
    pub webhook: Option<Webhook>,
    pub replaced: Vec<Replaced>,
}

/// The members of `params` that are read, here and in [`super`].
const OF_PARAMS: [&str; 11] = [
    "message",
    "metadata",
    "configuration",
    "id",
    "taskId",
    "contextId",
    "pageToken",
    "pushNotificationConfig",
    "taskPushNotificationConfig",
    "pushNotificationConfigId",
    "url",
];
const OF_A_MESSAGE: [&str; 6] = ["metadata", "taskId", "contextId", "referenceTaskIds", "parts", "content"];
/// Those of a part, and of the file in it, from which follows what it is to policies.
const OF_A_PART: [&str; 11] = [
    "text",
    "data",
    "raw",
    "url",
    "bytes",
    "uri",
    "file",
    "fileWithBytes",
    "fileWithUri",
    "mediaType",
    "mimeType",
];
/// The second is what 1.0 calls the first, and the third what 0.3 calls it over HTTP+JSON.
pub(super) const PUSH: [&str; 3] =
    ["pushNotificationConfig", "taskPushNotificationConfig", "pushNotification"];

/// Reads what a message says of tasks.
///
/// # Errors
/// `task_foreign` for a task that is not the caller's at this agent, `message_invalid` for what is not as the protocol has it.
pub fn read<'a>(
    message: &Message<'a>,
    method: Method,
    creates_push: bool,
    params: Option<&'a Json<'a>>,
) -> Result<Found<'a>, Refusal> {
    let mut found = Found::default();
    params.map_or(Ok(()), |params| check_spelling(params, &OF_PARAMS))?;
    let said = params.and_then(|params| params.get("message"));
    said.map_or(Ok(()), |said| check_spelling(said, &OF_A_MESSAGE).and_then(|()| check_parts(said)))?;
    if let Some(path) = method.task {
        names_no_other(method, path, params)?;
        about(message, path, method.must, params, &mut found)?;
    }
    if method.pages {
        found.replaced.extend(page::opened(message, &["params", "pageToken"], params)?);
    }
    if let Some(task) = found.task {
        config_ids(message, (method, task), params, &mut found.replaced);
    }
    context(message, &["params", "contextId"], params, &mut found.replaced)?;
    if found.waits.is_some() && names_held(message, said) {
        found.dropped = HELD_WITH_CONTEXT;
    } else {
        context(message, &["params", "message", "contextId"], said, &mut found.replaced)?;
    }
    references(message, said, &mut found.replaced)?;
    (found.push_url, found.webhook) = webhook::named(params, creates_push)?.unzip();
    if creates_push || method.answer == Some(Shape::Sent) {
        params.map_or(Ok(()), |params| no_other_url(params, creates_push))?;
    }
    Ok(found)
}

/// That what policies see of the parts of a message is what any agent sees of them.
fn check_parts(message: &Json<'_>) -> Result<(), Refusal> {
    let lists = ["parts", "content"].into_iter().filter_map(|name| message.get(name)?.as_array());
    let holders = lists.flatten().flat_map(|part| [Some(part), part.get("file")]).flatten();
    for holder in holders {
        check_spelling(holder, &OF_A_PART)?;
        let media = ["mediaType", "mimeType"].into_iter().filter_map(|name| holder.get(name));
        if media.filter(|media| **media != Json::Null).any(|media| media.as_str().is_none()) {
            return Err(invalid("the media type of a part must be a text".to_owned()));
        }
    }
    Ok(())
}

/// The one task that a message is about, or the approval that it waits for where it was held.
fn about<'a>(
    message: &Message<'a>,
    path: &'static [&'static str],
    must: bool,
    params: Option<&'a Json<'a>>,
    found: &mut Found<'a>,
) -> Result<(), Refusal> {
    let Some(sealed) = id_text(value_at(params, path), path)? else {
        return if must { Err(invalid(format!("{} is missing", path.join(".")))) } else { Ok(()) };
    };
    if let Some(opened) = message.holder.decisive(Kind::Task, sealed) {
        found.replaced.push(Replaced { path, with: quoted(&opened.id) });
        found.task = Some(opened);
        return Ok(());
    }
    found.waits = Some(message.holder.decisive(Kind::Approval, sealed).ok_or_else(foreign)?);
    found.dropped = HELD;
    Ok(())
}

/// Whether the context of a message is that of the approval which it waits for: its sender had named none.
fn names_held(message: &Message<'_>, said: Option<&Json<'_>>) -> bool {
    let context = said.and_then(|said| said.get("contextId")?.as_str());
    context.is_some_and(|context| message.holder.open(Kind::Approval, context).is_some())
}

/// That no other task is named beside the one that the message is about: agents of the other version take it from there.
fn names_no_other(
    method: Method,
    path: &'static [&'static str],
    params: Option<&Json<'_>>,
) -> Result<(), Refusal> {
    for other in [ID, TASK_ID].into_iter().filter(|other| *other != path && !method.is_config_id(other)) {
        if id_text(value_at(params, other), other)?.is_some() {
            let message = format!("{} names a task beside {}; name it once", other.join("."), path.join("."));
            return Err(invalid(message));
        }
    }
    Ok(())
}

/// Ids of configurations of push notifications. They are the agent's or the caller's own, but for those that are the id of the task
/// that the message is about, which was sealed on its way to the caller. That of another task stays sealed: nothing was decided
/// about it, and it would come back as it is.
fn config_ids(
    message: &Message<'_>,
    (method, task): (Method, &Opened),
    params: Option<&Json<'_>>,
    replaced: &mut Vec<Replaced>,
) {
    for path in CONFIG_IDS.into_iter().filter(|path| method.is_config_id(path)) {
        let sealed = value_at(params, path).and_then(Json::as_str);
        let opened = sealed.and_then(|sealed| message.holder.open(Kind::Task, sealed));
        if let Some(opened) = opened.filter(|opened| opened.id == task.id) {
            replaced.push(Replaced { path, with: quoted(&opened.id) });
        }
    }
}

/// What stands at a path into a message, whose `params` are given.
pub(super) fn value_at<'a>(params: Option<&'a Json<'a>>, path: &[&str]) -> Option<&'a Json<'a>> {
    path.iter().skip(1).try_fold(params?, |json, name| json.get(name))
}

/// A context that the agent named is opened; one that the caller names is the caller's alone.
fn context(
    message: &Message<'_>,
    path: &'static [&'static str],
    object: Option<&Json<'_>>,
    replaced: &mut Vec<Replaced>,
) -> Result<(), Refusal> {
    let Some(given) = id_text(object.and_then(|object| object.get("contextId")), path)? else {
        return Ok(());
    };
    let with = match message.holder.open(Kind::Context, given) {
        Some(opened) => opened.id,
        None if given.len() <= MAX_ID => {
            let chosen = message.holder.chosen(Kind::ChosenContext, given);
            chosen.map_err(|error| {
                Refusal::new(Code::Internal, "the context could not be sealed").with_detail(error)
            })?
        }
        None => return Err(invalid(format!("{} must have at most {MAX_ID} bytes", path.join(".")))),
    };
    replaced.push(Replaced { path, with: quoted(&with) });
    Ok(())
}

/// Tasks that a message refers to: the agent may answer from them, so each must be the caller's own.
fn references(
    message: &Message<'_>,
    said: Option<&Json<'_>>,
    replaced: &mut Vec<Replaced>,
) -> Result<(), Refusal> {
    const PATH: &[&str] = &["params", "message", "referenceTaskIds"];
    let given = match said.and_then(|said| said.get("referenceTaskIds")) {
        None | Some(Json::Null) => return Ok(()),
        Some(given) => {
            given.as_array().ok_or_else(|| invalid(format!("{} must be a list", PATH.join("."))))?
        }
    };
    let mut with = Vec::with_capacity(given.len());
    for id in given {
        let id = id_text(Some(id), PATH)?.ok_or_else(foreign)?;
        with.push(quoted(&message.holder.open(Kind::Task, id).ok_or_else(foreign)?.id));
    }
    replaced.push(Replaced { path: PATH, with: format!("[{}]", with.join(",")) });
    Ok(())
}

/// What the configuration of a sent message says beside where news go.
const OF_A_SEND: [&str; 4] = ["acceptedOutputModes", "historyLength", "returnImmediately", "blocking"];
/// What of a configuration of push notifications is no further place of an address. `authentication` is how the agent proves itself
/// there.
const OF_A_CONFIG: [&str; 5] = ["url", "id", "token", "taskId", "authentication"];

/// That no address for news stands where no version has one: an agent that reads it there sends to where nobody decided on.
fn no_other_url(params: &Json<'_>, creates: bool) -> Result<(), Refusal> {
    let in_config = |_: &str, config: &Json<'_>| others(config, &OF_A_CONFIG, has_no_url);
    let in_configuration = |name: &str, value: &Json<'_>| match PUSH.contains(&name) {
        true => in_config(name, value),
        false => has_no_url(name, value),
    };
    others(params, &["message", "metadata"], |name, value| match name {
        "configuration" => others(value, &OF_A_SEND, in_configuration),
        // The parameters are the configuration.
        name if creates && OF_A_CONFIG.contains(&name) => Ok(()),
        name => in_configuration(name, value),
    })
}

/// Holds the members of an object against `check`, but for those that are `known`.
fn others(
    object: &Json<'_>,
    known: &[&str],
    check: impl Fn(&str, &Json<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let members = object.as_object().unwrap_or_default().iter();
    let mut others = members.map(|(name, value)| (&**name, value)).filter(|(name, _)| !known.contains(name));
    others.try_for_each(|(name, value)| check(name, value))
}

/// That neither a member is, nor anything in it is, or is called, an address.
fn has_no_url(name: &str, value: &Json<'_>) -> Result<(), Refusal> {
    // As parsers of URLs read it: they drop what is no character at the start, and tabs and line ends anywhere (WHATWG URL, section 4.4).
    let is_address = |text: &str| {
        let mut read =
            text.trim_start_matches(|c: char| c <= ' ').chars().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
        let start: String = read.by_ref().take(8).collect::<String>().to_ascii_lowercase();
        ["http:", "https:", "ws:", "wss:", "ftp:"].iter().any(|scheme| start.starts_with(scheme))
    };
    if is_same_member(name, "url") && *value != Json::Null || value.as_str().is_some_and(is_address) {
        return Err(invalid(format!(
            "member {name:?} may be the address of a push notification, where no version of the protocol has one"
        )));
    }
    others(value, &[], has_no_url)?;
    value.as_array().unwrap_or_default().iter().try_for_each(|value| has_no_url(name, value))
}

/// An id that is given: protobuf's JSON says an empty text for none.
fn id_text<'a>(value: Option<&'a Json<'a>>, path: &[&str]) -> Result<Option<&'a str>, Refusal> {
    match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(id)) if id.is_empty() => Ok(None),
        Some(Json::String(id)) if id.len() <= MAX_SEALED => Ok(Some(id)),
        Some(_) => Err(invalid(format!("{} must be a string of at most {MAX_SEALED} bytes", path.join(".")))),
    }
}

/// What a message is about that names a skill, or a task, or both: a task keeps to what the call was about that made it.
///
/// # Errors
/// `message_invalid` for a task of another skill than the one that is named.
pub fn target<'a>(
    agent: &'a Arc<Agent>,
    skill: Option<&'a str>,
    task: Option<&'a Opened>,
) -> Result<Target<'a>, Refusal> {
    let made = match task.map(|task| &task.part) {
        None => return Ok(skill.map_or(Target::Agent(agent), |name| Target::Skill { agent, name })),
        Some(Part::Skill(name)) => Some(&**name),
        Some(Part::Whole) => None,
        Some(_) => return Err(foreign()),
    };
    if skill.is_some() && skill != made {
        let made = made.map_or("no skill".to_owned(), |made| format!("skill {made:?}"));
        return Err(invalid(format!("the task was made with {made}; go on with it as it was begun")));
    }
    Ok(made.map_or(Target::Agent(agent), |name| Target::Skill { agent, name }))
}

/// The event after which a stream is resumed, where there is one: it must be of a stream of this caller's about the same.
///
/// # Errors
/// `session_foreign`.
pub fn resumed(
    message: &Message<'_>,
    target: Target<'_>,
) -> Result<Option<(HeaderName, HeaderValue)>, Refusal> {
    let Some(sealed) = message.headers.get(LAST_EVENT_HEADER) else { return Ok(None) };
    let foreign = || Refusal::new(Code::SessionForeign, "no such event of a stream of this caller");
    let opened = sealed.to_str().ok().and_then(|sealed| message.holder.open(Kind::Event, sealed));
    let opened = opened.filter(|opened| opened.part == Part::from(target)).ok_or_else(foreign)?;
    let value = HeaderValue::from_str(&opened.id).map_err(|_| foreign())?;
    Ok(Some((HeaderName::from_static(LAST_EVENT_HEADER), value)))
}

fn foreign() -> Refusal {
    Refusal::new(Code::TaskForeign, "no such task of this caller")
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}
