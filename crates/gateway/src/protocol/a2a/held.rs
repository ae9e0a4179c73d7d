//! A message that waits for a person, in the words of A2A: a task of the gateway's own that waits for authorization, and is asked for and gone on
//! with as any task. It is no task of the agent's: once it is approved, its caller sends the message again, and gets the agent's own.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use vidimus_core::approval::pending::{Approvals, Pending, State};
use vidimus_core::refusal::{Code, Refusal};

use super::Framing;
use crate::protocol::carrier::Waiting;
use crate::reply;

/// In which words such a task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Of 0.3.
    pub old: bool,
    pub framing: Framing,
}

impl Form {
    /// Whether they are those of 0.3's JSON-RPC. Over HTTP+JSON 0.3 has the words of its protobuf schema, which are nearly 1.0's.
    fn has_kinds(self) -> bool {
        self.old && self.framing == Framing::Rpc
    }

    /// What is said, as it is sent. `id` is that of the message, as JSON.
    fn framed(self, id: &str, result: &Value) -> String {
        match self.framing {
            Framing::Rpc => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            Framing::Bare => result.to_string(),
        }
    }
}

/// How the message is written that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    pub form: Form,
    /// Its answer is a stream.
    pub streams: bool,
    /// The context that it names.
    pub context: Option<&'a str>,
}

/// Such a task, asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub form: Form,
    /// The task, as its caller has it.
    pub handle: &'a str,
    /// The approval that it waits for.
    pub approval: &'a str,
}

/// Where such a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Nobody has answered.
    Waits,
    /// It is approved: the message is to be sent again.
    Approved,
    /// It was sent, and is not answered.
    Made,
    Done,
    Failed,
    Denied,
}

impl Stands {
    const fn name(self, old: bool) -> &'static str {
        match (self, old) {
            (Self::Waits, false) => "TASK_STATE_AUTH_REQUIRED",
            (Self::Waits, true) => "auth-required",
            (Self::Approved, false) => "TASK_STATE_INPUT_REQUIRED",
            (Self::Approved, true) => "input-required",
            (Self::Made, false) => "TASK_STATE_WORKING",
            (Self::Made, true) => "working",
            (Self::Done, false) => "TASK_STATE_COMPLETED",
            (Self::Done, true) => "completed",
            (Self::Failed, false) => "TASK_STATE_FAILED",
            (Self::Failed, true) => "failed",
            (Self::Denied, false) => "TASK_STATE_REJECTED",
            (Self::Denied, true) => "rejected",
        }
    }

    /// Where it stands at a time, and what its caller is told.
    fn of(pending: &Pending, now: i64) -> (Self, String) {
        let approval = &pending.question.approval;
        let (stands, what) = match pending.state_at(now) {
            State::Asked => (Self::Waits, "waits for people"),
            State::Approved => {
                (Self::Approved, "is approved; send the same message again, with the id of this task")
            }
            State::Denied => (Self::Denied, "was denied"),
            State::Expired if pending.changed.is_some() => {
                (Self::Failed, "is void: what asked for it has changed; send the message again to ask anew")
            }
            State::Expired => (Self::Failed, "has expired; send the message again to ask anew"),
            State::Used => match pending.uses.last().map(|made| made.result.as_deref()) {
                Some(None) | None => (
                    Self::Made,
                    "is used: the message was sent to the agent, and nothing is known of its answer yet",
                ),
                Some(Some("ok")) => (
                    Self::Done,
                    "is used: the message was sent, and answered by a task or message of the agent's own",
                ),
                Some(Some(_)) => (Self::Failed, "is used: the message was sent, and not answered well"),
            },
        };
        (stands, format!("Approval {approval} {what}."))
    }
}

/// The answer to a message that waits.
pub fn waits(waiting: &Waiting<'_>, sent: Sent<'_>) -> Response<String> {
    let mut about = reply::about(waiting.refusal, waiting.call);
    if let (Some(url), Some(about)) = (waiting.url, about.as_object_mut()) {
        about.insert("url".to_owned(), json!(url));
    }
    let at = waiting.url.map(|url| format!(" People see it at {url}.")).unwrap_or_default();
    let text = format!(
        "{} It waits for approval {}.{at} Ask for this task to know how it stands.",
        reply::sentence(waiting.refusal),
        waiting.approval,
    );
    let task = task(sent.form, (waiting.handle, sent.context), Stands::Waits, &text, &about);
    let result = if sent.form.has_kinds() { task } else { json!({"task": task}) };
    let body = sent.form.framed(waiting.id, &result);
    if !sent.streams {
        return reply::json(200, body);
    }
    let mut stream = reply::json(200, format!("data: {body}\n\n"));
    stream.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    stream
}

impl Asked<'_> {
    /// The answer to whoever asks for it, as a document. `id` is that of the message, as JSON.
    ///
    /// # Errors
    /// `task_foreign` where nothing is known of it any more.
    pub fn answer(&self, approvals: &Approvals, now: i64, id: &str) -> Result<String, Refusal> {
        let over = || {
            Refusal::new(Code::TaskForeign, "nothing is known of this approval any more: its time is over")
        };
        let pending = approvals.get(self.approval).ok_or_else(over)?;
        let (stands, text) = Stands::of(pending, now);
        let about = json!({"approval": self.approval, "state": pending.state_at(now).as_str()});
        Ok(self.form.framed(id, &task(self.form, (self.handle, None), stands, &text, &about)))
    }
}

/// That such a task cannot be asked what is asked.
pub fn only_waits() -> Refusal {
    let what =
        "this task is a message that waits for a person: ask for it, or send the message again with its id";
    Refusal::new(Code::TaskForeign, what)
}

fn task(form: Form, (id, context): (&str, Option<&str>), stands: Stands, text: &str, about: &Value) -> Value {
    let old = form.has_kinds();
    let part = if old { json!({"kind": "text", "text": text}) } else { json!({"text": text}) };
    let role = if old { "agent" } else { "ROLE_AGENT" };
    let parts = if form.old && !old { "content" } else { "parts" };
    let mut message = json!({"messageId": id, "taskId": id, "role": role, parts: [part]});
    let mut task = json!({"id": id, "metadata": {"vidimus": about}});
    // 0.3 wants one. It is good for this task alone.
    let context = context.or(old.then_some(id));
    for (object, kind) in [(&mut message, "message"), (&mut task, "task")] {
        let Some(object) = object.as_object_mut() else { continue };
        object.extend(context.map(|context| ("contextId".to_owned(), json!(context))));
        object.extend(old.then(|| ("kind".to_owned(), json!(kind))));
    }
    if let Some(task) = task.as_object_mut() {
        task.insert("status".to_owned(), json!({"state": stands.name(old), "message": message}));
    }
    task
}
