//! An upstream that speaks gRPC: the MCP server that its descriptors describe (ADR 86). As of a job, its answers are messages of the protocol, so
//! what becomes of any upstream's answer becomes of these.
//!
//! A call is one request over HTTP/2 (gRPC, "gRPC over HTTP2"), without compression in either direction, until the time that the record gives it is
//! over. What comes back is bounded before it is read.

mod answer;
mod arguments;
mod frames;
mod json;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::MethodDescriptor;
use serde_json::Value;
use tokio::sync::mpsc;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::api_key::ApiKey;
use vidimus_core::resource::{Grpc, HeaderRules};

use self::answer::Status;
use self::frames::Frames;
use super::body::{Body, Broken};
use super::called::{Called, Heard, heard};
use super::connect::{self, Client};
use super::job::{Asked, Exit};
use super::{Upstream, address};
use crate::protocol::a2a::grpc::status::in_http;
use crate::protocol::rest::Came;
use crate::runner::{News, Output};
use crate::trace::TRACEPARENT;

/// The status of a call that is not made, for what its arguments are (gRPC, "Status codes").
const INVALID_ARGUMENT: u32 = 3;

/// Answers one permitted message.
///
/// # Errors
/// Those of `forward`: `upstream_timeout` where the answer has no end in time, `upstream_invalid` for what is no answer to what was asked.
pub(super) async fn answer(
    upstream: &Upstream,
    permit: Permit,
    grpc: &Grpc,
    asked: Asked<'_>,
) -> Result<Response<Body>, Refusal> {
    let mut called = match heard(asked, || definitions(grpc))? {
        Heard::Answered(response) => return Ok(response),
        Heard::Called(called) => called,
    };
    let Some(tool) = grpc.tools.get(&*called.name) else { return Ok(called.unknown()) };
    let message = match arguments::encoded(&tool.method.input(), &called.arguments) {
        Ok(message) => message,
        // In a way that a model reads, and makes better.
        Err(why) => return Ok(came(not_sent(&called, &why))),
    };
    called.structured(tool.is_structured);
    let endpoint = permit.endpoint()?;
    let path = format!("/{}/{}", tool.method.parent_service().full_name(), tool.method.name());
    let uri: Uri = address(&endpoint.url, &path).parse().map_err(|error: http::uri::InvalidUri| {
        Refusal::new(Code::Internal, "the method has no usable address").with_detail(error)
    })?;
    if let Some(host) = uri.host() {
        upstream.guard().check_literal(host)?;
    }
    let held = (&endpoint.headers, endpoint.key.as_ref());
    let exchange = Exchange {
        client: upstream.http2_client(endpoint)?,
        request: request(uri, metadata(asked.headers, held, endpoint.timeout_ms), &message),
        method: tool.method.clone(),
        max_answer: grpc.max_answer,
        timeout_ms: endpoint.timeout_ms,
        is_followed: called.is_followed(),
        permit,
    };
    let (tell, news) = mpsc::channel(8);
    tokio::spawn(async move {
        let ended = tokio::select! {
            // Nobody waits for it any more.
            () = tell.closed() => return,
            ended = exchange.carried_out(&tell) => ended,
        };
        let _ = tell.send(News::Ended(ended)).await;
    });
    called.told(news).await.map(came)
}

/// The answer with what it is to who asked by a request (`/rest`): the status of HTTP for that of gRPC, and what the text is.
fn came(mut response: Response<Body>) -> Response<Body> {
    let Some(Exit(code)) = response.extensions().get::<Exit>().copied() else { return response };
    let status = u8::try_from(code).map_or(500, in_http);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if code == 0 { "application/json" } else { "text/plain; charset=utf-8" };
    response.extensions_mut().insert(Came { status, kind: HeaderValue::from_static(kind) });
    response
}

/// What `tools/list` has; which of it this caller sees is decided where the answer passes.
fn definitions(grpc: &Grpc) -> Vec<Value> {
    // It was written by us, as JSON.
    grpc.tools.values().filter_map(|tool| serde_json::from_str(&tool.definition).ok()).collect()
}

fn not_sent(called: &Called, why: &str) -> Response<Body> {
    let text = format!("gRPC status INVALID_ARGUMENT ({INVALID_ARGUMENT}): {why}; nothing was sent");
    called.output(&Output { text, exit: INVALID_ARGUMENT })
}

/// The metadata of a call: this hop's credential, the trace, and what the record lets pass or sets. Nothing of MCP goes on.
fn metadata(sent: &HeaderMap, (rules, key): (&HeaderRules, Option<&ApiKey>), timeout_ms: u32) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in sent {
        let is_set = || rules.set.iter().any(|(set, _)| **set == *name.as_str());
        let is_key = || key.is_some_and(|key| *key.header == *name.as_str());
        let is_ours = *name == AUTHORIZATION || name.as_str() == TRACEPARENT || is_key();
        // What begins so is the protocol's own.
        let is_reserved = name.as_str().starts_with("grpc-") || *name == CONTENT_TYPE;
        if !is_reserved && (is_ours || rules.passes(name.as_str()) || is_set()) {
            out.append(name, value.clone());
        }
    }
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    // Servers of gRPC look for it: proxies that lose trailers take it out.
    out.insert(TE, HeaderValue::from_static("trailers"));
    out.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    if let Ok(value) = HeaderValue::try_from(format!("{timeout_ms}m")) {
        out.insert("grpc-timeout", value);
    }
    out
}

fn request(uri: Uri, headers: HeaderMap, message: &[u8]) -> Request<Full<Bytes>> {
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(message);
    let mut request = Request::new(Full::new(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// One call of a method.
struct Exchange {
    client: Client,
    request: Request<Full<Bytes>>,
    method: MethodDescriptor,
    /// Bytes of all messages of the answer.
    max_answer: u32,
    timeout_ms: u32,
    /// Whether somebody wants to know of each message as it comes.
    is_followed: bool,
    #[expect(dead_code, reason = "by whose right it is made")]
    permit: Permit,
}

impl Exchange {
    async fn carried_out(self, tell: &mpsc::Sender<News>) -> Result<Output, Refusal> {
        let timeout_ms = self.timeout_ms;
        let limit = Duration::from_millis(u64::from(timeout_ms));
        tokio::time::timeout(limit, self.exchanged(tell)).await.unwrap_or_else(|_| {
            let message = format!("the upstream did not end its answer within {timeout_ms} ms");
            Err(Refusal::new(Code::UpstreamTimeout, message))
        })
    }

    async fn exchanged(self, tell: &mpsc::Sender<News>) -> Result<Output, Refusal> {
        let response = self.client.request(self.request).await.map_err(|error| connect::refusal(&error))?;
        let (parts, mut body) = response.into_parts();
        answer::check_head(&parts)?;
        let is_stream = self.method.is_server_streaming();
        let most = usize::try_from(self.max_answer).unwrap_or(usize::MAX);
        let (mut frames, mut texts, mut trailers) = (Frames::new(most), Texts::default(), None);
        while let Some(frame) = body.frame().await {
            let broke = "the connection to the upstream broke in its answer";
            let frame = frame.map_err(|error| Broken::Http(error).refusal(broke))?;
            match frame.into_data() {
                Ok(data) => frames.push(&data)?,
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            while let Some(message) = frames.message()? {
                if !is_stream && !texts.all.is_empty() {
                    return Err(invalid("the upstream answered with more than one message"));
                }
                let text = answer::text(self.method.output(), &message, texts.room())?;
                if is_stream && self.is_followed {
                    let _ = tell.send(News::Progress(text.as_str().into())).await;
                }
                texts.push(text);
            }
        }
        // A call that is refused at once has all that it says in its head.
        let status = Status::of(trailers.as_ref().unwrap_or(&parts.headers))?;
        if status.code != 0 {
            return Ok(Output { text: status.words(), exit: status.code });
        }
        if !frames.is_whole() {
            return Err(invalid("the upstream's answer ends within a message"));
        }
        texts.whole(is_stream).map(|text| Output { text, exit: 0 })
    }
}

/// What was answered so far, in JSON.
#[derive(Debug, Default)]
struct Texts {
    all: Vec<String>,
    bytes: usize,
}

impl Texts {
    /// The most that an answer may be in JSON: names are written anew in each message.
    const MOST: usize = 4 << 20;

    fn room(&self) -> usize {
        Self::MOST.saturating_sub(self.bytes)
    }

    fn push(&mut self, text: String) {
        self.bytes = self.bytes.saturating_add(text.len() + 1);
        self.all.push(text);
    }

    fn whole(mut self, is_stream: bool) -> Result<String, Refusal> {
        if is_stream {
            return Ok(format!(r#"{{"messages":[{}]}}"#, self.all.join(",")));
        }
        self.all.pop().ok_or_else(|| invalid("the upstream answered without a message"))
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, message)
}

#[cfg(test)]
mod tests;
