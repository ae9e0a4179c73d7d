//! What each version calls what the other has too: A2A 1.0's schema (`specification/a2a.proto`), and 0.3's types (`types/src/types.ts`).

use serde_json::value::RawValue;
use vidimus_core::resource::A2aVersion;

use super::object::{Fault, Is, Member, Object, Saying, Who, Written, list, object};
use crate::protocol::members::{Members, text};

const ROLES: [(&str, &str); 2] = [("ROLE_USER", "user"), ("ROLE_AGENT", "agent")];
const STATES: [(&str, &str); 9] = [
    ("TASK_STATE_SUBMITTED", "submitted"),
    ("TASK_STATE_WORKING", "working"),
    ("TASK_STATE_COMPLETED", "completed"),
    ("TASK_STATE_FAILED", "failed"),
    ("TASK_STATE_CANCELED", "canceled"),
    ("TASK_STATE_INPUT_REQUIRED", "input-required"),
    ("TASK_STATE_REJECTED", "rejected"),
    ("TASK_STATE_AUTH_REQUIRED", "auth-required"),
    ("TASK_STATE_UNSPECIFIED", "unknown"),
];
/// Those behind which nothing comes.
const ENDED: [&str; 4] =
    ["TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"];

const fn member(new: &'static str, old: &'static str, is: Is) -> Member {
    Member { new, old, is }
}

const fn same(name: &'static str) -> Member {
    member(name, name, Is::Same)
}

/// An id that is none where it is empty.
const fn name(name: &'static str) -> Member {
    member(name, name, Is::Name)
}

static MESSAGE: Object = Object {
    kind: Some("message"),
    members: &[
        same("messageId"),
        name("contextId"),
        name("taskId"),
        member("role", "role", Is::Word(&ROLES)),
        member("parts", "parts", Is::Parts),
        same("metadata"),
        same("extensions"),
        same("referenceTaskIds"),
    ],
    absent: &[("parts", "[]")],
};

static STATUS: Object = Object {
    kind: None,
    members: &[
        member("state", "state", Is::Word(&STATES)),
        member("message", "message", Is::Object(&MESSAGE)),
        member("timestamp", "timestamp", Is::Time),
    ],
    absent: &[("state", "\"unknown\"")],
};

static ARTIFACT: Object = Object {
    kind: None,
    members: &[
        same("artifactId"),
        name("name"),
        name("description"),
        member("parts", "parts", Is::Parts),
        same("metadata"),
        same("extensions"),
    ],
    absent: &[("parts", "[]")],
};

/// What 0.3 has to have of a task, and of an update of one.
const OF_TASK: [(&str, &str); 2] = [("contextId", "\"\""), ("status", r#"{"state":"unknown"}"#)];

static TASK: Object = Object {
    kind: Some("task"),
    members: &[
        same("id"),
        same("contextId"),
        member("status", "status", Is::Object(&STATUS)),
        member("artifacts", "artifacts", Is::List(&ARTIFACT)),
        member("history", "history", Is::List(&MESSAGE)),
        same("metadata"),
    ],
    absent: &OF_TASK,
};

static STATUS_UPDATE: Object = Object {
    kind: Some("status-update"),
    members: &[
        same("taskId"),
        same("contextId"),
        member("status", "status", Is::Object(&STATUS)),
        // That nothing comes behind it is what its state says in 1.0.
        member("", "final", Is::Same),
        same("metadata"),
    ],
    absent: &OF_TASK,
};

static ARTIFACT_UPDATE: Object = Object {
    kind: Some("artifact-update"),
    members: &[
        same("taskId"),
        same("contextId"),
        member("artifact", "artifact", Is::Object(&ARTIFACT)),
        same("append"),
        same("lastChunk"),
        same("metadata"),
    ],
    absent: &[("contextId", "\"\"")],
};

static AUTHENTICATION: Object = Object {
    kind: None,
    members: &[member("scheme", "schemes", Is::Only), name("credentials")],
    absent: &[("schemes", "[]")],
};

/// A configuration of push notifications, without its task.
static CONFIG: Object = Object {
    kind: None,
    members: &[
        name("id"),
        same("url"),
        name("token"),
        member("authentication", "authentication", Is::Object(&AUTHENTICATION)),
        member("taskId", "", Is::Same),
        member("tenant", "", Is::Same),
    ],
    absent: &[],
};

static CONFIGURATION: Object = Object {
    kind: None,
    members: &[
        same("acceptedOutputModes"),
        same("historyLength"),
        member("taskPushNotificationConfig", "pushNotificationConfig", Is::Object(&CONFIG)),
        member("returnImmediately", "blocking", Is::Not),
    ],
    // Who says nothing waits in 1.0; in 0.3 it is the agent's to choose.
    absent: &[("blocking", "true")],
};

const fn asking(members: &'static [Member]) -> Object {
    Object { kind: None, members, absent: &[] }
}

const TENANT: Member = member("tenant", "", Is::Same);
const OLD_METADATA: Member = member("", "metadata", Is::Same);
const OF_CONFIG: Member = member("taskId", "id", Is::Same);

static SEND: Object = asking(&[
    member("message", "message", Is::Object(&MESSAGE)),
    member("configuration", "configuration", Is::Object(&CONFIGURATION)),
    same("metadata"),
    TENANT,
]);
static GET: Object = asking(&[same("id"), same("historyLength"), OLD_METADATA, TENANT]);
static CANCEL: Object = asking(&[same("id"), same("metadata"), TENANT]);
static SUBSCRIBE: Object = asking(&[same("id"), OLD_METADATA, TENANT]);
static ONE_CONFIG: Object =
    asking(&[OF_CONFIG, member("id", "pushNotificationConfigId", Is::Name), OLD_METADATA, TENANT]);
static CONFIGS: Object = asking(&[
    OF_CONFIG,
    member("pageSize", "", Is::Same),
    member("pageToken", "", Is::Same),
    OLD_METADATA,
    TENANT,
]);
static CARD: Object = asking(&[TENANT]);

/// What is asked by a method, and answered.
#[derive(Debug)]
pub struct Row {
    /// Its name in 1.0.
    method: &'static str,
    asks: Asks,
    answers: Answers,
}

#[derive(Clone, Copy, Debug)]
enum Asks {
    Object(&'static Object),
    /// A configuration with its task.
    Config,
}

#[derive(Clone, Copy, Debug)]
enum Answers {
    /// A task, a message or an update.
    Sent,
    Task,
    Config,
    Configs,
    Nothing,
    /// It is made to be read in both where it is made the gateway's.
    Card,
}

const fn row(method: &'static str, asks: &'static Object, answers: Answers) -> Row {
    Row { method, asks: Asks::Object(asks), answers }
}

/// Not `ListTasks`: 0.3 has no such method.
static ROWS: [Row; 10] = [
    row("SendMessage", &SEND, Answers::Sent),
    row("SendStreamingMessage", &SEND, Answers::Sent),
    row("GetTask", &GET, Answers::Task),
    row("CancelTask", &CANCEL, Answers::Task),
    row("SubscribeToTask", &SUBSCRIBE, Answers::Sent),
    Row { method: super::super::CREATE_PUSH, asks: Asks::Config, answers: Answers::Config },
    row("GetTaskPushNotificationConfig", &ONE_CONFIG, Answers::Config),
    row("ListTaskPushNotificationConfigs", &CONFIGS, Answers::Configs),
    row(super::super::DELETE_PUSH, &ONE_CONFIG, Answers::Nothing),
    row(super::super::EXTENDED_CARD, &CARD, Answers::Card),
];

impl Row {
    /// The method of this name in 1.0, where both versions have it.
    pub fn of(method: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.method == method)
    }

    /// The parameters of a request.
    ///
    /// # Errors
    /// For what is none, and for what has no like.
    pub fn asked(&self, saying: Saying, params: &str) -> Result<String, Fault> {
        match self.asks {
            Asks::Object(of) => saying.object(of, params),
            Asks::Config => config(saying, params),
        }
    }

    /// Whether its result says nothing, so that agents leave it out.
    pub fn answers_nothing(&self) -> bool {
        matches!(self.answers, Answers::Nothing)
    }

    /// The result of a response.
    ///
    /// # Errors
    /// For what is none.
    pub fn answered(&self, saying: Saying, result: &str) -> Result<String, Fault> {
        match self.answers {
            Answers::Sent => sent(saying, result),
            Answers::Task => saying.object(&TASK, result),
            Answers::Config => config(saying, result),
            Answers::Configs => configs(saying, result),
            // google.protobuf.Empty.
            Answers::Nothing if saying.to == A2aVersion::V1_0 => Ok("{}".to_owned()),
            Answers::Nothing => Ok("null".to_owned()),
            Answers::Card => Ok(result.to_owned()),
        }
    }
}

/// What may be sent: by the member that it stands in in 1.0.
static SENT: [(&str, &Object); 4] = [
    ("task", &TASK),
    ("message", &MESSAGE),
    ("statusUpdate", &STATUS_UPDATE),
    ("artifactUpdate", &ARTIFACT_UPDATE),
];

/// A task, a message or an update: in 1.0 each in a member of its own, in 0.3 by itself with its kind.
///
/// # Errors
/// For what is none of them, or several.
pub fn sent(saying: Saying, said: &str) -> Result<String, Fault> {
    let members = object(said)?;
    if saying.to == A2aVersion::V1_0 {
        let (member, of) = kind_of(&members)?;
        let mut written = Written::default();
        written.put(member, &saying.object(of, said)?);
        return Ok(written.finish());
    }
    let given = members.0.iter().filter(|(_, value)| value.get() != "null");
    let mut found = given.filter_map(|(name, value)| {
        let known = SENT.iter().find(|(member, _)| member == name)?;
        Some((known.1, *value))
    });
    let (Some((of, value)), None) = (found.next(), found.next()) else {
        return Err(Fault::Unreadable("it is one of a task, a message and an update".to_owned()));
    };
    let mut written = Written::default();
    if std::ptr::eq(of, &STATUS_UPDATE) {
        written.put("final", if has_ended(value)? { "true" } else { "false" });
    }
    saying.write(of, value.get(), &mut written)?;
    Ok(written.finish())
}

/// What something of 0.3 is. Some agents leave out its kind.
fn kind_of(members: &Members<'_>) -> Result<(&'static str, &'static Object), Fault> {
    let has = |name: &str| members.get(name).is_some();
    let kind = match members.get("kind") {
        Some(kind) => text(kind).unwrap_or_default(),
        None if has("messageId") => "message".to_owned(),
        None if has("taskId") && has("artifact") => "artifact-update".to_owned(),
        None if has("taskId") && has("status") => "status-update".to_owned(),
        None => "task".to_owned(),
    };
    let known = SENT.iter().find(|(_, of)| of.kind == Some(&*kind));
    known
        .copied()
        .ok_or_else(|| Fault::Unreadable("it is none of a task, a message and an update".to_owned()))
}

fn has_ended(update: &RawValue) -> Result<bool, Fault> {
    let status = object(update.get())?.object("status")?;
    let state = status.and_then(|status| status.get("state").and_then(text));
    Ok(state.is_some_and(|state| ENDED.contains(&&*state)))
}

/// A configuration of push notifications with its task: in 1.0 the task stands in it, in 0.3 beside it.
fn config(saying: Saying, said: &str) -> Result<String, Fault> {
    const NESTED: &str = "pushNotificationConfig";
    let members = object(said)?;
    let task = members.get("taskId").filter(|task| task.get() != "null");
    let mut written = Written::default();
    if let Some(task) = task {
        written.put("taskId", task.get());
    }
    if saying.to == A2aVersion::V0_3 {
        written.put(NESTED, &saying.object(&CONFIG, &members.write_without("taskId"))?);
        return Ok(written.finish());
    }
    for (name, value) in members.0.iter().filter(|(_, value)| value.get() != "null") {
        match &**name {
            "taskId" => {}
            NESTED => saying.write(&CONFIG, value.get(), &mut written)?,
            other => saying.unknown(other)?,
        }
    }
    Ok(written.finish())
}

/// All of a task: in 1.0 in an object, page by page, in 0.3 a list by itself.
fn configs(saying: Saying, said: &str) -> Result<String, Fault> {
    if saying.to == A2aVersion::V1_0 {
        let mut written = Written::default();
        written.put("configs", &list(said, |one| config(saying, one))?);
        return Ok(written.finish());
    }
    let members = object(said)?;
    if let Some(next) = members.get("nextPageToken") {
        // What is not all of them must not look so.
        Saying { who: Who::Caller, ..saying }.without("nextPageToken", next)?;
    }
    members
        .get("configs")
        .map_or_else(|| Ok("[]".to_owned()), |all| list(all.get(), |one| config(saying, one)))
}
