//! The operations of the HTTP+JSON binding: what each has in its path and its query, read to know what is asked, and written where it goes on.

use http::Method;
use vidimus_core::refusal::{Code, Refusal};

use super::super::{CREATE_PUSH, DELETE_PUSH, EXTENDED_CARD, METHODS};

/// What stands in one segment of a path.
#[derive(Clone, Copy, Debug)]
pub enum Segment {
    Word(&'static str),
    /// The parameter of this name, and what stands behind it.
    Id(&'static str, &'static str),
}

use Segment::{Id, Word};

/// How the value of a parameter is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Text,
    Number,
    Truth,
}

type Path = &'static [Segment];

/// One operation.
#[derive(Debug)]
pub struct Row {
    /// Its newest name in JSON-RPC.
    method: &'static str,
    /// The HTTP methods by which it is asked for.
    by: &'static [&'static str],
    /// All by which something is asked for at its path.
    allow: &'static str,
    /// Its path as 1.0 has it.
    new: Path,
    /// The same of 0.3, below /v1; `None` where that is not served.
    old: Option<Path>,
    /// The parameters that may stand in its query.
    pub query: &'static [(&'static str, Written)],
}

const SEND: Path = &[Word("message:send")];
const STREAM: Path = &[Word("message:stream")];
const TASK: Path = &[Word("tasks"), Id("id", "")];
const TASKS: Path = &[Word("tasks")];
const CANCEL: Path = &[Word("tasks"), Id("id", ":cancel")];
const SUBSCRIBE: Path = &[Word("tasks"), Id("id", ":subscribe")];
const CONFIGS: Path = &[Word("tasks"), Id("taskId", ""), Word("pushNotificationConfigs")];
const CONFIG: Path = &[Word("tasks"), Id("taskId", ""), Word("pushNotificationConfigs"), Id("id", "")];
/// What they are called in the parameters of 0.3, which names a task and a configuration otherwise.
const OLD_CONFIGS: Path = &[Word("tasks"), Id("id", ""), Word("pushNotificationConfigs")];
const OLD_CONFIG: Path =
    &[Word("tasks"), Id("id", ""), Word("pushNotificationConfigs"), Id("pushNotificationConfigId", "")];
const CARD: Path = &[Word("extendedAgentCard")];
const OLD_CARD: Path = &[Word("card")];

const fn row(method: &'static str, by: &'static [&'static str], allow: &'static str, new: Path) -> Row {
    Row { method, by, allow, new, old: Some(new), query: &[] }
}

/// 0.3 has no list of tasks.
static ROWS: [Row; 11] = [
    row("SendMessage", &["POST"], "POST", SEND),
    row("SendStreamingMessage", &["POST"], "POST", STREAM),
    Row { query: &[("historyLength", Written::Number)], ..row("GetTask", &["GET"], "GET", TASK) },
    Row {
        old: None,
        query: &[
            ("contextId", Written::Text),
            ("status", Written::Text),
            ("pageSize", Written::Number),
            ("pageToken", Written::Text),
            ("historyLength", Written::Number),
            ("statusTimestampAfter", Written::Text),
            ("includeArtifacts", Written::Truth),
        ],
        ..row("ListTasks", &["GET"], "GET", TASKS)
    },
    row("CancelTask", &["POST"], "POST", CANCEL),
    // The annotations say GET, the prose says POST (a2aproject/A2A issue 1574).
    row("SubscribeToTask", &["POST", "GET"], "POST, GET", SUBSCRIBE),
    row(CREATE_PUSH, &["POST"], "GET, POST", CONFIGS),
    Row {
        old: Some(OLD_CONFIGS),
        query: &[("pageSize", Written::Number), ("pageToken", Written::Text)],
        ..row("ListTaskPushNotificationConfigs", &["GET"], "GET, POST", CONFIGS)
    },
    Row { old: Some(OLD_CONFIG), ..row("GetTaskPushNotificationConfig", &["GET"], "GET, DELETE", CONFIG) },
    Row { old: Some(OLD_CONFIG), ..row(DELETE_PUSH, &["DELETE"], "GET, DELETE", CONFIG) },
    Row { old: Some(OLD_CARD), ..row(EXTENDED_CARD, &["GET"], "GET", CARD) },
];

impl Row {
    /// The operation of a method of JSON-RPC.
    pub fn of(method: &str, old: bool) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.rpc_method(old) == method)
    }

    /// Its name in JSON-RPC.
    pub fn rpc_method(&self, old: bool) -> &'static str {
        let known = METHODS.into_iter().find(|(_, new, _)| *new == self.method);
        known.filter(|_| old).map_or(self.method, |(name, ..)| name)
    }

    /// Whether it is about configurations of push notifications. Those of 0.3 have their task's id in their names, so they are said through its JSON-RPC.
    pub fn is_of_configs(&self) -> bool {
        self.new.iter().any(|segment| matches!(segment, Word("pushNotificationConfigs")))
    }

    /// Whether it makes one.
    pub fn makes_config(&self) -> bool {
        self.method == CREATE_PUSH
    }

    /// What may stand in its query: 0.3 has no pages of configurations.
    pub fn query(&self, old: bool) -> &'static [(&'static str, Written)] {
        if old && self.is_of_configs() { &[] } else { self.query }
    }

    /// By what it is asked for where nobody has asked over HTTP yet.
    pub fn verb(&self) -> Method {
        match self.by.first() {
            Some(&"GET") => Method::GET,
            Some(&"DELETE") => Method::DELETE,
            Some(_) | None => Method::POST,
        }
    }

    /// Its path, in 0.3 below /v1.
    pub fn path(&self, old: bool) -> Option<Path> {
        if old { self.old } else { Some(self.new) }
    }
}

/// What a request asks by its HTTP method and its path.
#[derive(Debug)]
pub struct Asked<'p> {
    pub row: &'static Row,
    /// As in 0.3.
    pub old: bool,
    /// The first segment of the path, where the operation begins behind it (1.0).
    pub tenant: Option<&'p str>,
    /// The parameters that stand in the path.
    pub ids: Vec<(&'static str, &'p str)>,
}

impl<'p> Asked<'p> {
    /// Reads the path below the object's route; a slash at its end says nothing. An id is what any reader takes for the same id: an escape or a
    /// dot segment is none.
    ///
    /// # Errors
    /// `route_unknown`, `method_not_allowed`.
    pub fn of(method: &Method, path: &'p str) -> Result<Self, Refusal> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (old, segments) = match segments.as_slice() {
            ["v1", below @ ..] => (true, below),
            all => (false, all),
        };
        let here = Self::among(method, (old, None), segments);
        match (here, segments) {
            (Some(found), _) => found,
            (None, [tenant, below @ ..]) if !old => {
                Self::among(method, (old, Some(*tenant)), below).unwrap_or_else(|| Err(nothing()))
            }
            (None, _) => Err(nothing()),
        }
    }

    /// The operation at these segments; `None` where there is none by whatever HTTP method.
    fn among(
        method: &Method,
        (old, tenant): (bool, Option<&'p str>),
        segments: &[&'p str],
    ) -> Option<Result<Self, Refusal>> {
        let mut allow = None;
        for row in &ROWS {
            let Some(ids) = row.path(old).and_then(|path| ids(path, segments)) else { continue };
            if row.by.contains(&method.as_str()) {
                return Some(Ok(Self { row, old, tenant, ids }));
            }
            allow = Some(row.allow);
        }
        allow.map(|allow| Err(Refusal::method_not_allowed("this operation of A2A", allow)))
    }
}

/// What stands in the segments of a path; `None` for those of another.
fn ids<'p>(path: Path, segments: &[&'p str]) -> Option<Vec<(&'static str, &'p str)>> {
    if path.len() != segments.len() {
        return None;
    }
    let mut ids = Vec::new();
    for (segment, given) in path.iter().zip(segments) {
        match segment {
            Word(word) if word == given => {}
            Word(_) => return None,
            Id(name, behind) => ids.push((*name, given.strip_suffix(*behind).filter(|id| is_id(id))?)),
        }
    }
    Some(ids)
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_unreserved) && !matches!(text, "." | "..")
}

/// Whether a byte is written as it is everywhere in an address (RFC 3986 section 2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn nothing() -> Refusal {
    const NEXT: &str = "Use a path of A2A over HTTP+JSON, with ids as they were given: /message:send, /message:stream, /tasks, /tasks/{id}, :cancel and \
        :subscribe behind it, its pushNotificationConfigs, /extendedAgentCard; of 0.3 what is below /v1. JSON-RPC is POSTed to the route itself.";
    Refusal::new(Code::RouteUnknown, "nothing is served at this path below the object's route")
        .with_next(NEXT)
}
