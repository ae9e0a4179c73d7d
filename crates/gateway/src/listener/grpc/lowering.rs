//! The answer to a call over gRPC: each response of JSON-RPC in it is a message, or the status that it ends with.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep};
use vidimus_core::refusal::Code;

use crate::protocol::a2a::grpc::frames::framed;
use crate::protocol::a2a::grpc::schema::Rpc;
use crate::protocol::a2a::grpc::status::{self, Status};
use crate::protocol::sse::{Piece, Reader};
use crate::reply::ReplyBody;

/// An answer on its way to a caller over gRPC.
#[derive(Debug)]
pub(crate) struct Lowering {
    answer: ReplyBody,
    /// `None` of a method that nobody knows: its answer is a refusal.
    rpc: Option<&'static Rpc>,
    /// That of HTTP, where nothing says it better.
    status: StatusCode,
    text: Text,
    /// The longest message, in bytes.
    limit: usize,
    /// By when its caller wants it.
    deadline: Option<Pin<Box<Sleep>>>,
    ready: VecDeque<Bytes>,
    /// What it ends with, where that is known before its end.
    ends: Option<Status>,
    ended: bool,
}

/// What is held of the answer until it can be read.
#[derive(Debug)]
enum Text {
    Document(Vec<u8>),
    Events(Box<Reader>, Vec<u8>),
}

/// A response of JSON-RPC, or what a refusal is told by where nobody knows the protocol.
#[derive(Deserialize)]
struct Said<'s> {
    #[serde(borrow)]
    result: Option<&'s RawValue>,
    error: Option<Value>,
    error_description: Option<String>,
}

impl Lowering {
    /// Of an answer to the call of `method`: with a status of HTTP, as a document or events; with the longest message that is read, in bytes.
    pub(super) fn new(
        answer: ReplyBody,
        method: &str,
        (status, has_events): (StatusCode, bool),
        (limit, deadline): (usize, Option<Instant>),
    ) -> Self {
        let text =
            if has_events { Text::Events(Box::default(), Vec::new()) } else { Text::Document(Vec::new()) };
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let rpc = Rpc::named(method).ok();
        Self { answer, rpc, status, text, limit, deadline, ready: VecDeque::new(), ends: None, ended: false }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if self.ended {
                let trailers = self.ends.take().map(|status| Ok(Frame::trailers(status.trailers())));
                return Poll::Ready(trailers);
            }
            if let Some(deadline) = &mut self.deadline
                && deadline.as_mut().poll(cx).is_ready()
            {
                // What is left of the answer ends with it, as where the caller leaves.
                self.answer = ReplyBody::whole("");
                self.end(late());
                continue;
            }
            match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.push(&data);
                    }
                }
                Some(Err(cut)) => self.end(of_cut(&cut.to_string())),
                None => self.finish(),
            }
        }
    }

    fn push(&mut self, data: &[u8]) {
        let mut events: Vec<Vec<u8>> = Vec::new();
        let held = match &mut self.text {
            Text::Document(held) => {
                held.extend_from_slice(data);
                held
            }
            Text::Events(reader, held) => {
                reader.push(data, &mut |piece| match piece {
                    Piece::Line if held.is_empty() => {}
                    Piece::Line => held.push(b'\n'),
                    Piece::Text(text) => held.extend_from_slice(text),
                    Piece::End => events.push(std::mem::take(held)),
                });
                held
            }
        };
        let is_long = held.len() > self.limit;
        if is_long {
            *held = Vec::new();
        }
        for event in events {
            // Words of the agent's own making, such as a keep-alive, are no message.
            if event.trim_ascii_start().starts_with(b"{") {
                self.take(&event);
            }
        }
        if is_long && self.ends.is_none() {
            let message = format!("the agent's answer is larger than {} bytes", self.limit);
            // Nobody gets what is left of it, so that it is not read: it ends as where the caller leaves.
            self.answer = ReplyBody::whole("");
            self.end(Status { code: 8, ..Status::of_code(Code::UpstreamInvalid, &message) });
        }
    }

    /// One response. What comes after an error is nothing any more.
    fn take(&mut self, json: &[u8]) {
        if self.ends.is_some() {
            return;
        }
        let invalid = |message: &str| Status::of_code(Code::UpstreamInvalid, message);
        let ends = match (serde_json::from_slice::<Said<'_>>(json), self.rpc) {
            (Ok(Said { error: Some(error), error_description, .. }), _) => {
                self.of_error(&error, error_description)
            }
            (Ok(Said { result, .. }), Some(rpc)) => match rpc.answer(result.map_or("{}", RawValue::get)) {
                Ok(message) => {
                    self.ready.push_back(framed(&message));
                    return;
                }
                Err(fault) => invalid(&format!("what the agent answered cannot be said over gRPC: {fault}")),
            },
            (Ok(_), None) | (Err(_), _) => invalid("what the agent answered is no response"),
        };
        self.ends = Some(ends);
    }

    fn of_error(&self, error: &Value, said: Option<String>) -> Status {
        let (Some(code), Some(said)) = (error.as_str(), said) else { return Status::of_error(error) };
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        known.map_or_else(
            || Status {
                code: status::of_http(self.status.as_u16()),
                message: said.clone(),
                infos: Vec::new(),
            },
            |known| Status::of_code(*known, &said),
        )
    }

    /// The answer has ended.
    fn finish(&mut self) {
        if let Text::Document(document) = &mut self.text {
            let document = std::mem::take(document);
            if !document.is_empty() {
                self.take(&document);
            } else if self.ends.is_none() {
                let code = status::of_http(self.status.as_u16());
                self.ends = match code {
                    0 if self.rpc.is_some_and(|rpc| rpc.streams) => None,
                    0 => Some(Status::of_code(Code::UpstreamInvalid, "the agent answered with nothing")),
                    4 => Some(late()),
                    code => Some(Status { code, ..Status::OK }),
                };
            }
        }
        let status = self.ends.take().unwrap_or(Status::OK);
        self.end(status);
    }

    fn end(&mut self, status: Status) {
        self.ends = Some(status);
        self.ended = true;
    }
}

fn late() -> Status {
    Status { code: 4, message: "the deadline of the call is over".to_owned(), infos: Vec::new() }
}

/// What cuts an answer that has begun: over gRPC it can be told.
fn of_cut(code: &str) -> Status {
    match Code::ALL.iter().find(|known| known.as_str() == code) {
        Some(code) => {
            Status::of_code(*code, &format!("the answer is cut ({}). {}", code.as_str(), code.next()))
        }
        None => Status::of_code(Code::UpstreamInterrupted, "the answer is cut"),
    }
}

#[cfg(test)]
mod tests;
