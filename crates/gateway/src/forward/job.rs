//! An upstream that is a job: the MCP server that its record describes. It has no session and nothing but tools; a call of one is run.
//!
//! It answers what goes to an upstream, by messages of the protocol, so that everything that becomes of an upstream's answer becomes of its answers
//! too: filtering, redaction, keeping, the record of the effect.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use vidimus_core::json::{Json, inexact_number};
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Job;

use super::body::Body;
use crate::accounts::Place;
use crate::protocol::mcp::versions::SERVED;
use crate::protocol::mcp::{CALL, HANDSHAKE, MODERN, VERSION_HEADER};
use crate::runner::{News, Output, Ran, Run, Runner};

/// What a JSON-RPC error says of parameters (section 5.1).
pub(super) const INVALID_PARAMS: i64 = -32602;
/// What it says of a method.
const NO_METHOD: i64 = -32601;
/// The longest token by which a client knows progress, in bytes of JSON: it is in each event.
const LONGEST_TOKEN: usize = 1_024;
/// Without a runner.
const NO_RUNNER: &str = "This gateway runs no jobs, so nothing was run: start it with --jobs (docs/kubernetes.md), or register an endpoint.";

/// A message, as far as it is read here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(super) struct Params<'a> {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(rename = "protocolVersion", default)]
    version: Option<String>,
    #[serde(rename = "_meta", borrow, default)]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(rename = "progressToken", borrow, default)]
    progress: Option<&'a RawValue>,
}

impl Params<'_> {
    /// What the client calls the progress of the call, as JSON text, where it wants to know of it.
    pub(super) fn progress(&self) -> Option<&str> {
        self.meta.as_ref()?.progress.map(RawValue::get)
    }
}

/// A request to what has nothing but tools.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

/// What a message asks of a server that has nothing but tools.
pub(super) enum Understood<'a> {
    /// Nothing that a tool is needed for: this is the answer.
    Answered(Response<Body>),
    /// A tool is called.
    Call(Params<'a>, Reply),
}

/// Reads one permitted message. `tools` is what `tools/list` has; which of it this caller sees is decided where the answer passes.
///
/// # Errors
/// `internal` for what was no message of the protocol before.
pub(super) fn understood(
    asked: Asked<'_>,
    tools: impl FnOnce() -> Vec<Value>,
) -> Result<Understood<'_>, Refusal> {
    if *asked.method != Method::POST {
        // No session, no stream of its own (MCP 2025-11-25, "Streamable HTTP").
        let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, None);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(Understood::Answered(response));
    }
    let unread = |error: &dyn std::fmt::Display| {
        Refusal::new(Code::Internal, "a message to the tools could not be read again").with_detail(error)
    };
    let text = std::str::from_utf8(asked.body).map_err(|error| unread(&error))?;
    let message: Message<'_> = serde_json::from_str(text).map_err(|error| unread(&error))?;
    let (Some(method), Some(id)) = (&message.method, message.id) else {
        // A notification, or what the client answers to a question that nobody asked.
        return Ok(Understood::Answered(whole(StatusCode::ACCEPTED, None)));
    };
    let is_modern = asked.headers.get(VERSION_HEADER).is_some_and(|version| version == MODERN);
    let reply = Reply { id: id.get().into(), is_modern, is_structured: false };
    let params = message.params.map_or("{}", RawValue::get);
    let Ok(params) = serde_json::from_str::<Params<'_>>(params) else {
        return Ok(Understood::Answered(reply.error(INVALID_PARAMS, "params are not those of this method")));
    };
    Ok(Understood::Answered(match method.as_str() {
        CALL => return Ok(Understood::Call(params, reply)),
        "tools/list" => reply.result(json!({"tools": tools()}), true),
        "initialize" => reply.result(initialized(params.version.as_deref()), false),
        "server/discover" => reply.result(
            json!({
                "supportedVersions": SERVED, "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
            }),
            true,
        ),
        "ping" => reply.result(json!({}), false),
        _ => reply.error(NO_METHOD, "this server has nothing but tools"),
    }))
}

/// Answers one permitted message.
///
/// # Errors
/// What a runner refuses or fails by, and `upstream_unreachable` where there is none.
pub(super) async fn answer(
    runner: Option<&Arc<dyn Runner>>,
    permit: Permit,
    job: &Job,
    asked: Asked<'_>,
    (ran, place): (Ran, Option<Place>),
) -> Result<Response<Body>, Refusal> {
    match understood(asked, || tools(job))? {
        Understood::Answered(response) => Ok(response),
        Understood::Call(params, reply) => call(runner, permit, job, (params, reply), (ran, place)).await,
    }
}

/// Runs what was called, and answers when it has ended; with events meanwhile, where the client wants to know how far it is.
async fn call(
    runner: Option<&Arc<dyn Runner>>,
    permit: Permit,
    job: &Job,
    (params, mut reply): (Params<'_>, Reply),
    (ran, place): (Ran, Option<Place>),
) -> Result<Response<Body>, Refusal> {
    let progress: Option<Box<str>> = params.progress().map(Into::into);
    let name = params.name.unwrap_or_default();
    let Some(tool) = job.tools.get(&*name) else {
        return Ok(reply.error(
            INVALID_PARAMS,
            "this server has no tool of this name; tools/list has those that it has",
        ));
    };
    reply.is_structured = tool.is_structured;
    if progress.as_deref().is_some_and(|token| !is_progress_token(token)) {
        return Ok(reply.no_token());
    }
    let Some(runner) = runner else {
        let refusal = Refusal::new(Code::UpstreamUnreachable, "nothing here runs jobs");
        return Err(refusal.with_next(NO_RUNNER));
    };
    let place = place.ok_or_else(|| Refusal::new(Code::Internal, "no place was taken for the job"))?;
    let arguments = params.arguments.map_or("{}", RawValue::get);
    let run = Run::new(permit, (name.as_str(), arguments), progress.is_some(), (ran, place))?;
    let news = runner.run(run);
    told(news, reply, progress).await
}

/// Answers when what was called has ended; with events meanwhile, where the client wants to know how far it is, by this token.
///
/// # Errors
/// What it failed by.
pub(super) async fn told(
    mut news: mpsc::Receiver<News>,
    reply: Reply,
    progress: Option<Box<str>>,
) -> Result<Response<Body>, Refusal> {
    if let Some(token) = progress {
        let events = Events { news, reply, token, count: 0, ended: false };
        let mut response = Response::new(Body::Events(Box::new(events)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        return Ok(response);
    }
    loop {
        match news.recv().await {
            Some(News::Alive | News::Progress(_)) => {}
            Some(News::Ended(ended)) => return ended.map(|output| reply.output(&output)),
            Some(News::Result(result)) => return Ok(reply.result(*result, false)),
            None => return Err(lost()),
        }
    }
}

/// Whether it is text or a number (MCP, "Progress"), as JSON: of what else there may be, a line could end an event.
pub(super) fn is_progress_token(json: &str) -> bool {
    let begins = |first: u8| matches!(first, b'"' | b'-' | b'0'..=b'9');
    json.len() <= LONGEST_TOKEN && json.bytes().next().is_some_and(begins)
}

/// The runner went away without a word.
fn lost() -> Refusal {
    Refusal::new(Code::UpstreamInterrupted, "what ran the job ended before the job did")
}

fn server_info() -> Value {
    json!({"name": "vidimus", "version": env!("CARGO_PKG_VERSION")})
}

fn initialized(wanted: Option<&str>) -> Value {
    let version = HANDSHAKE.into_iter().find(|version| wanted == Some(*version)).unwrap_or(HANDSHAKE[0]);
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server_info()})
}

/// What `tools/list` has; which of it this caller sees is decided where the answer passes.
fn tools(job: &Job) -> Vec<Value> {
    // It was written by us, as JSON.
    job.tools.values().filter_map(|tool| serde_json::from_str(&tool.definition).ok()).collect()
}

fn whole(status: StatusCode, body: Option<String>) -> Response<Body> {
    let has_body = body.is_some();
    let mut response = Response::new(Body::Whole(body.map(Bytes::from)));
    *response.status_mut() = status;
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// How one request is answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// Of the request, as JSON text.
    id: Box<str>,
    /// In the stateless era each result says that it is one.
    is_modern: bool,
    /// What the tool writes is JSON.
    pub(super) is_structured: bool,
}

impl Reply {
    fn result_text(&self, mut result: Value, is_cached: bool) -> String {
        if let Some(members) = result.as_object_mut().filter(|_| self.is_modern) {
            members.insert("resultType".to_owned(), json!("complete"));
            if is_cached {
                members.insert("cacheScope".to_owned(), json!("private"));
                members.insert("ttlMs".to_owned(), json!(0));
            }
        }
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id)
    }

    pub(super) fn result(&self, result: Value, is_cached: bool) -> Response<Body> {
        whole(StatusCode::OK, Some(self.result_text(result, is_cached)))
    }

    pub(super) fn error(&self, number: i64, message: &str) -> Response<Body> {
        let error = json!({"code": number, "message": message});
        whole(StatusCode::OK, Some(format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, self.id)))
    }

    pub(super) fn no_token(&self) -> Response<Body> {
        self.error(INVALID_PARAMS, "a progress token is a short text or a number")
    }

    pub(super) fn output(&self, output: &Output) -> Response<Body> {
        let mut response = whole(StatusCode::OK, Some(self.output_text(output)));
        response.extensions_mut().insert(Exit(output.exit));
        response
    }

    /// The result of a call: what the tool wrote, and whether it says that it failed.
    fn output_text(&self, output: &Output) -> String {
        let is_error = output.exit != 0;
        let mut result = json!({"content": [{"type": "text", "text": output.text}], "isError": is_error});
        if let (true, false, Some(members)) = (self.is_structured, is_error, result.as_object_mut())
            && let Some(structured) = structured(&output.text)
        {
            members.insert("structuredContent".to_owned(), structured);
        }
        self.result_text(result, false)
    }
}

/// What a call that is answered whole came to, on its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit(pub(super) u32);

/// A call that runs, as the events that its client gets.
#[derive(Debug)]
pub struct Events {
    news: mpsc::Receiver<News>,
    reply: Reply,
    /// What the client calls this progress, as JSON text.
    token: Box<str>,
    /// How often something was told: progress has to grow (MCP, "Progress").
    count: u64,
    ended: bool,
}

impl Events {
    /// The next event.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.news.poll_recv(cx)) {
            Some(News::Alive) => Ok(Bytes::from_static(b": runs\n\n")),
            Some(News::Progress(message)) => {
                self.count += 1;
                let (token, count, message) = (&self.token, self.count, json!(message));
                Ok(event(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{count},"message":{message}}}}}"#
                )))
            }
            Some(News::Ended(ended)) => {
                self.ended = true;
                ended.map(|output| event(&self.reply.output_text(&output)))
            }
            Some(News::Result(result)) => {
                self.ended = true;
                Ok(event(&self.reply.result_text(*result, false)))
            }
            None => {
                self.ended = true;
                Err(lost())
            }
        }))
    }
}

/// It has no line feed: JSON as it is written here has none.
fn event(message: &str) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

/// The structure of a text that is a JSON object; `None` too where it would say something else than the text does: a number that is not held as it is
/// written, a member that is there twice.
pub(super) fn structured(text: &str) -> Option<Value> {
    if Json::parse(text.as_bytes()).is_err() || inexact_number(text.as_bytes()).is_some() {
        return None;
    }
    serde_json::from_str::<Value>(text).ok().filter(Value::is_object)
}
