//! A server whose tools are messages to an agent (ADR 86): from the call of a tool to the message of A2A 1.0, and from what the agent answers to the
//! result of the call. What is sent goes the way of every message (`handle/agent_tool.rs`); nothing here reaches an upstream.

mod result;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{AgentTools, Sends};

use self::result::{Followed, of_answer};
use super::Outbound;
use super::body::Body;
use super::called::{Called, Heard, heard};
use super::job;
use crate::protocol::sse::{Piece, Reader, is_events};
use crate::reply::ReplyBody;
use crate::runner::{News, Output};

/// The method that answers when there is something to answer.
const SEND: &str = "SendMessage";
/// The one that tells what happens until then.
const STREAM: &str = "SendStreamingMessage";
/// The one that tells how a task stands.
const GET_TASK: &str = "GetTask";

/// What a message to the server comes to.
pub(crate) enum Asked {
    /// This is its answer.
    Answered(Response<Body>),
    /// The agent is sent this.
    Message(Box<Message>),
}

/// What is to be sent to an agent, and who is to be answered.
pub(crate) struct Message {
    called: Called,
    sent: Sent,
}

enum Sent {
    Message(Option<Arc<str>>, Arguments),
    GetTask(OfTask),
}

/// The arguments of a tool that asks for a task.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfTask {
    task_id: String,
}

/// The arguments of a tool that is a message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    text: String,
    /// As it was written, and decided on.
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    context_id: Option<String>,
}

/// Reads what was permitted on the server.
///
/// # Errors
/// `internal` for what was read before, and cannot be read again.
pub(crate) fn asked(agent: &AgentTools, outbound: &Outbound) -> Result<Asked, Refusal> {
    let Outbound { method, headers, body, .. } = outbound;
    let called = match heard(job::Asked { method, headers, body }, || definitions(agent))? {
        Heard::Answered(response) => return Ok(Asked::Answered(response)),
        Heard::Called(called) => called,
    };
    let Some(tool) = agent.tools.get(&*called.name) else {
        return Ok(Asked::Answered(called.unknown()));
    };
    let sent = match &tool.sends {
        Sends::Message(skill) => {
            let arguments = serde_json::from_str(&called.arguments);
            arguments.map(|arguments| Sent::Message(skill.clone(), arguments))
        }
        Sends::GetTask => serde_json::from_str(&called.arguments).map(Sent::GetTask),
    };
    match sent {
        Ok(sent) => Ok(Asked::Message(Box::new(Message { called, sent }))),
        Err(error) => {
            let text = format!("the arguments are not those of this tool: {error}; nothing was sent");
            Ok(Asked::Answered(called.output(&Output { text, exit: 1 })))
        }
    }
}

/// Answers what calls no tool, where that is all that is asked.
///
/// # Errors
/// `internal` where a tool is called.
pub(super) fn no_message(agent: &AgentTools, asked: job::Asked<'_>) -> Result<Response<Body>, Refusal> {
    match heard(asked, || definitions(agent))? {
        Heard::Answered(response) => Ok(response),
        Heard::Called(_) => Err(Refusal::new(Code::Internal, "a message to an agent goes by its own route")),
    }
}

/// What `tools/list` has; which of it this caller sees is decided where the answer passes.
fn definitions(agent: &AgentTools) -> Vec<Value> {
    // It was written by us, as JSON.
    agent.tools.values().filter_map(|tool| serde_json::from_str(&tool.definition).ok()).collect()
}

impl Message {
    /// Whether the client wants to know what happens.
    pub(crate) fn is_followed(&self) -> bool {
        self.called.is_followed() && matches!(self.sent, Sent::Message(..))
    }

    /// The message of A2A; whether its answer is to be a stream.
    pub(crate) fn text(&self, streams: bool) -> Bytes {
        let id = || Uuid::new_v4().hyphenated().to_string();
        let (skill, arguments) = match &self.sent {
            Sent::Message(skill, arguments) => (skill, arguments),
            Sent::GetTask(OfTask { task_id }) => {
                let asked =
                    json!({"jsonrpc": "2.0", "id": id(), "method": GET_TASK, "params": {"id": task_id}});
                return Bytes::from(asked.to_string());
            }
        };
        let Arguments { text, data, task_id, context_id } = arguments;
        let mut message = BTreeMap::from([("messageId", json!(id())), ("role", json!("ROLE_USER"))]);
        message.extend(task_id.as_ref().map(|id| ("taskId", json!(id))));
        message.extend(context_id.as_ref().map(|id| ("contextId", json!(id))));
        message.extend(skill.as_ref().map(|skill| ("metadata", json!({"skill": &**skill}))));
        let data = data.as_ref().map(|data| format!(r#",{{"data":{}}}"#, data.get())).unwrap_or_default();
        let parts = format!(r#"[{{"text":{}}}{data}]"#, json!(text));
        let members: Vec<String> =
            message.iter().map(|(name, value)| format!("{}:{value},", json!(name))).collect();
        let message = format!(r#"{{{}"parts":{parts}}}"#, members.concat());
        let (id, method) = (json!(id()), json!(if streams { STREAM } else { SEND }));
        let whole =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{{"message":{message}}}}}"#);
        Bytes::from(whole)
    }

    /// The result of the call, once the agent has answered.
    pub(crate) fn answered(&self, answer: &Whole) -> Response<Body> {
        self.called.result(of_answer(&answer.0))
    }

    /// The same of an answer that is a stream: what happens is told while it happens.
    ///
    /// # Errors
    /// What the stream ends by, where nothing of it was told.
    pub(crate) async fn followed(
        self: Box<Self>,
        body: ReplyBody,
        most: usize,
    ) -> Result<Response<Body>, Refusal> {
        let (tell, news) = mpsc::channel(8);
        tokio::spawn(async move {
            let ended = tokio::select! {
                // Nobody waits for it any more: the message ends with its stream, which is dropped.
                () = tell.closed() => return,
                ended = follow(body, most, &tell) => ended,
            };
            let ended = ended
                .map_or_else(|refusal| News::Ended(Err(refusal)), |result| News::Result(Box::new(result)));
            let _ = tell.send(ended).await;
        });
        self.called.told(news).await
    }
}

/// An answer of the agent's own route.
pub(crate) enum Read {
    /// It is there.
    Whole(Whole),
    /// It is a stream.
    Events(ReplyBody),
}

/// A response of JSON-RPC.
pub(crate) struct Whole(Value);

impl Read {
    /// # Errors
    /// `upstream_interrupted` or `upstream_invalid` for what is no such answer, or longer than may be held.
    pub(crate) async fn of(response: Response<ReplyBody>, most: usize) -> Result<Self, Refusal> {
        let (parts, body) = response.into_parts();
        if is_events(&parts.headers) {
            return Ok(Self::Events(body));
        }
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            Refusal::new(Code::UpstreamInterrupted, "the agent's answer broke off, or is too long")
                .with_detail(error)
        })?;
        let answer = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            Refusal::new(Code::UpstreamInvalid, "the agent's answer is not JSON").with_detail(error)
        })?;
        Ok(Self::Whole(Whole(answer)))
    }
}

/// Tells what happens until there is a result.
async fn follow(mut body: ReplyBody, most: usize, tell: &mpsc::Sender<News>) -> Result<Value, Refusal> {
    let (mut reader, mut data, mut read) = (Reader::default(), Vec::new(), 0_usize);
    let mut followed = Followed::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::new(Code::UpstreamInterrupted, "the agent's answer broke off").with_detail(error)
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        read = read.saturating_add(chunk.len());
        if read > most {
            let message = format!("the agent's answer is longer than {most} bytes");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        let mut events = Vec::new();
        reader.push(&chunk, &mut |piece| match piece {
            Piece::Line if data.is_empty() => {}
            Piece::Line => data.push(b'\n'),
            Piece::Text(text) => data.extend_from_slice(text),
            Piece::End => events.push(std::mem::take(&mut data)),
        });
        for event in events.into_iter().filter(|event| !event.is_empty()) {
            let event = serde_json::from_slice(&event).map_err(|error| {
                Refusal::new(Code::UpstreamInvalid, "an event of the agent's is not JSON").with_detail(error)
            })?;
            if let Some(words) = followed.take(event) {
                let _ = tell.send(News::Progress(words.into())).await;
            }
        }
    }
    followed.result().ok_or_else(|| {
        Refusal::new(Code::UpstreamInterrupted, "the agent's answer ended without a message or a task")
    })
}

#[cfg(test)]
mod tests;
