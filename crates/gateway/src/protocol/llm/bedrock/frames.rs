//! Streams of Bedrock's, which are frames with checksums (`application/vnd.amazon.eventstream`): read as events of text as they come, so that what
//! reads, guards, holds back and ends streams has one form to know, and written as frames again as they leave.
//!
//! An event is its frame's `:event-type` and payload. An exception is one whose data is its payload, as the member `error`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue as Value, Message};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as _, Frame};
use serde_json::json;
use vidimus_core::refusal::{Code, Refusal};

use super::error_in;
use crate::answer::encoding::Encoding;
use crate::forward::{Body, Rewrite};
use crate::protocol::event::Parts;
use crate::protocol::members::Members;
use crate::protocol::rest::Came;
use crate::protocol::sse::{EventFilter, EventStream, TooLong};
use crate::reply::ReplyBody;

/// What a stream is.
pub const FRAMES: &str = "application/vnd.amazon.eventstream";

/// A frame without headers and payload: its lengths and two checksums, in bytes.
const SHORTEST: usize = 16;
/// The longest error that is read, in bytes.
const LONGEST_ERROR: usize = 64 * 1024;
/// The longest name of an event, in bytes.
const LONGEST_NAME: usize = 64;
/// What an event has more than its frame, in bytes.
const MORE: usize = 64 * 1024;

/// An answer of Bedrock's as it is read here: its frames as events, and its errors in a member `error`, as all others of models have it. `limit`: a
/// frame may have so many bytes.
pub fn unframed(response: Response<Body>, limit: usize) -> Response<Body> {
    let (mut parts, upstream) = response.into_parts();
    let form = if parts.status.is_success() && is_frames(&parts.headers) {
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        match Encoding::of(&parts.headers) {
            Encoding::Identity => Form::Frames(Reader::new(limit)),
            Encoding::Gzip | Encoding::Other => Form::Encoded,
        }
    } else if parts.status.is_client_error() || parts.status.is_server_error() {
        // As it leaves, it is what Bedrock said (`Binding::answered`).
        let kind = HeaderValue::from_static("application/json");
        parts.extensions.insert(Came { status: parts.status, kind });
        Form::Error(Vec::new())
    } else {
        return Response::from_parts(parts, upstream);
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, upstream.rewritten(form))
}

fn is_frames(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FRAMES))
}

/// A body of Bedrock's on its way in.
#[derive(Debug)]
enum Form {
    Frames(Reader),
    /// What has come of an error.
    Error(Vec<u8>),
    /// The gateway asked for no encoding.
    Encoded,
}

impl Rewrite for Form {
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        match self {
            Self::Frames(reader) => reader.push(data).map(Bytes::from),
            Self::Error(read) if read.len() + data.len() > LONGEST_ERROR => {
                Err(unreadable(format_args!("its error is longer than {LONGEST_ERROR} bytes")))
            }
            Self::Error(read) => {
                read.extend_from_slice(data);
                Ok(Bytes::new())
            }
            Self::Encoded => Err(unreadable("it is in an encoding, and none was asked for")),
        }
    }

    fn finish(&mut self) -> Result<Bytes, Refusal> {
        match self {
            Self::Frames(reader) => reader.finish().map(|()| Bytes::new()),
            Self::Error(read) => {
                let read = std::mem::take(read);
                let error = std::str::from_utf8(&read).ok().filter(|error| says_why(error));
                let told = error.map(|error| Bytes::from(format!("{{\"error\":{error}}}")));
                Ok(told.unwrap_or_else(|| read.into()))
            }
            Self::Encoded => Ok(Bytes::new()),
        }
    }
}

/// Frames, read as events, whatever the chunks they come in. What is held is what has come of one frame.
#[derive(Debug)]
pub struct Reader {
    held: BytesMut,
    limit: usize,
}

impl Reader {
    /// A frame may have `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { held: BytesMut::new(), limit }
    }

    /// The events of the frames that are whole now.
    ///
    /// # Errors
    /// `upstream_invalid` for what is no frame of a stream of Bedrock's, or one that is too long.
    pub fn push(&mut self, data: &[u8]) -> Result<String, Refusal> {
        self.held.extend_from_slice(data);
        let mut events = String::new();
        while let Some(message) = next_message(&mut self.held, self.limit)? {
            event_of(&message, &mut events)?;
        }
        Ok(events)
    }

    /// That a stream which has ended did not end within a frame.
    ///
    /// # Errors
    /// `upstream_interrupted`.
    pub fn finish(&self) -> Result<(), Refusal> {
        let message = "the provider's answer broke off within a frame";
        if self.held.is_empty() { Ok(()) } else { Err(Refusal::new(Code::UpstreamInterrupted, message)) }
    }
}

/// Whether a document is an error of Bedrock's.
fn says_why(document: &str) -> bool {
    let members = serde_json::from_str::<Members<'_>>(document);
    members.is_ok_and(|members| {
        let mut texts = members.0.iter().filter(|(_, value)| value.get().starts_with('"'));
        texts.any(|(name, _)| matches!(&**name, "message" | "Message"))
    })
}

/// The next frame that has come whole.
fn next_message(held: &mut BytesMut, limit: usize) -> Result<Option<Message>, Refusal> {
    let Some(length) = held.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(SHORTEST..=limit).contains(&length) {
        return Err(unreadable(format_args!("a frame of {length} bytes; {SHORTEST} to {limit} are read")));
    }
    if held.len() < length {
        return Ok(None);
    }
    // Both of its checksums are looked at.
    read_message_from(held.split_to(length).freeze()).map(Some).map_err(unreadable)
}

/// Writes what a frame says as an event.
fn event_of(message: &Message, events: &mut String) -> Result<(), Refusal> {
    let said = |name: &str| {
        let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
        Some(header.value().as_string().ok()?.as_str())
    };
    let payload = std::str::from_utf8(message.payload()).map_err(unreadable)?;
    match said(":message-type") {
        // It would leave as an exception.
        Some("event") if error_in(payload).is_some() => Err(unreadable("an event that is an error")),
        Some("event") => write(said(":event-type"), payload, events),
        Some("exception") => {
            if serde_json::from_str::<Members<'_>>(payload).is_err() {
                return Err(unreadable("an exception that is no object"));
            }
            write(said(":exception-type"), &format!("{{\"error\":{}}}", payload.trim()), events)
        }
        Some("error") => {
            let error = json!({"error": {"message": said(":error-message").unwrap_or_default()}});
            write(said(":error-code"), &error.to_string(), events)
        }
        _ => Err(unreadable("a frame that is no event and no exception")),
    }
}

fn write(name: Option<&str>, data: &str, events: &mut String) -> Result<(), Refusal> {
    let is_name = |name: &str| {
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let name = name.filter(|name| is_name(name)).ok_or_else(|| unreadable("a frame without a name"))?;
    events.push_str("event: ");
    events.push_str(name);
    // Between two tokens of JSON any white space is the same.
    for line in data.split(['\n', '\r']) {
        events.push_str("\ndata: ");
        events.push_str(line);
    }
    events.push_str("\n\n");
    Ok(())
}

fn unreadable(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the provider's answer is no stream of Bedrock's").with_detail(why)
}

/// An answer on its way out, in frames.
#[derive(Debug)]
pub struct InFrames {
    answer: ReplyBody,
    events: EventStream,
    ended: bool,
}

impl InFrames {
    /// Of events, which may be so long that frames of `limit` bytes can be read as some.
    pub fn new(answer: ReplyBody, limit: usize) -> Self {
        let most = limit.saturating_add(MORE);
        Self { answer, events: EventStream::new(Box::new(Framer), most, TooLong::EndsStream), ended: false }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        while !self.ended {
            let framed = match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.events.push(&data),
                    Err(_) => continue,
                },
                Some(Err(cut)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(cut)));
                }
                None => {
                    self.ended = true;
                    self.events.finish()
                }
            };
            match framed {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(refusal) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(io::Error::other(refusal.code.as_str()))));
                }
            }
        }
        Poll::Ready(None)
    }
}

/// Writes each event as a frame.
#[derive(Clone, Copy, Debug)]
pub struct Framer;

impl EventFilter for Framer {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        // What keeps a connection alive has no frame.
        let Some(Parts { name, data: Some(data), .. }) = Parts::of(event)? else {
            return Ok(Some(Vec::new()));
        };
        let name = name.ok_or_else(|| unreadable("an event without a name"))?;
        framed(&name, data).map(Some)
    }
}

/// An event as a frame.
fn framed(name: &str, data: String) -> Result<Vec<u8>, Refusal> {
    let error = error_in(&data).map(str::to_owned);
    let (kind, named, payload) = match error {
        Some(error) => ("exception", ":exception-type", error),
        None => ("event", ":event-type", data),
    };
    let header = |name: &'static str, value: &str| Header::new(name, Value::String(value.to_owned().into()));
    let message = Message::new(payload)
        .add_header(header(named, name))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", kind));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).map_err(unreadable)?;
    Ok(frame)
}

#[cfg(test)]
mod tests;
