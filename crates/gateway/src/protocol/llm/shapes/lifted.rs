//! The body of an answer, lifted as it comes: a document when all of it is there, events one by one.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response};
use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

use super::conversation::{Event, Reply};
use super::taken::unreadable;
use super::{Answered, Shape, anthropic, bedrock, gemini, openai};
use crate::answer::encoding::Encoding;
use crate::forward::{Body, Rewrite};
use crate::protocol::sse::{self, EventFilter, EventStream, TooLong, is_events};

/// An answer in the caller's API. `limit`: a document, or an event, may have so many bytes.
pub fn lifted(response: Response<Body>, answered: Answered, limit: usize) -> Response<Body> {
    let (mut parts, upstream) = response.into_parts();
    if parts.status.is_informational() || parts.status.is_redirection() {
        return Response::from_parts(parts, upstream);
    }
    let answered = Answered { again: again(&parts.headers), ..answered };
    let streams = parts.status.is_success() && is_events(&parts.headers);
    let form = match (Encoding::of(&parts.headers), streams) {
        (Encoding::Identity, true) => {
            let filter = Box::new(Translator::new(answered));
            Form::Events(EventStream::new(filter, limit, TooLong::EndsStream))
        }
        (Encoding::Identity, false) => {
            Form::Document { read: Vec::new(), limit, status: parts.status.as_u16(), answered }
        }
        (Encoding::Gzip | Encoding::Other, _) => Form::Encoded,
    };
    let kind = if streams { "text/event-stream" } else { "application/json" };
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, upstream.rewritten(form))
}

fn again(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// A body that is lifted.
#[derive(Debug)]
enum Form {
    Document {
        read: Vec<u8>,
        limit: usize,
        status: u16,
        answered: Answered,
    },
    Events(EventStream),
    /// The gateway asked for no encoding.
    Encoded,
}

impl Rewrite for Form {
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        match self {
            Self::Events(events) => events.push(data),
            Self::Document { read, limit, .. } => {
                if read.len() + data.len() > *limit {
                    let message = format!("the upstream's answer is larger than {limit} bytes");
                    return Err(Refusal::new(Code::UpstreamInvalid, message));
                }
                read.extend_from_slice(data);
                Ok(Bytes::new())
            }
            Self::Encoded => Err(unreadable("it is in an encoding, and none was asked for")),
        }
    }

    fn finish(&mut self) -> Result<Bytes, Refusal> {
        match self {
            Self::Events(events) => events.finish(),
            Self::Document { read, status, answered, .. } => {
                let read = std::mem::take(read);
                Ok(document(&read, *status, answered)?.unwrap_or_else(|| read.into()))
            }
            Self::Encoded => Ok(Bytes::new()),
        }
    }
}

/// A whole answer in the caller's API. `None` of an error status that is no error of the provider's API: it is judged as it is.
pub(super) fn document(text: &[u8], status: u16, answered: &Answered) -> Result<Option<Bytes>, Refusal> {
    let value = serde_json::from_slice::<Value>(text);
    if status >= 400 {
        let Ok(value) = value else { return Ok(None) };
        let fault = match answered.provider {
            Shape::OpenAi => openai::fault(&value, status),
            Shape::Anthropic => anthropic::fault(&value, status),
            Shape::Gemini => gemini::fault(&value, status),
            Shape::Bedrock => bedrock::fault(&value, status),
        };
        let Some(fault) = fault else { return Ok(None) };
        let written = match answered.client {
            Shape::OpenAi => openai::write_fault(&fault),
            Shape::Anthropic => anthropic::write_fault(&fault),
            Shape::Gemini => gemini::write_fault(&fault, answered.again),
            Shape::Bedrock => return Err(nobody()),
        };
        return Ok(Some(written.to_string().into()));
    }
    let value = value.map_err(|_| unreadable("no JSON"))?;
    let reply: Reply = match answered.provider {
        Shape::OpenAi => openai::read_reply(&value)?,
        Shape::Anthropic => anthropic::read_reply(&value)?,
        Shape::Gemini => gemini::read_reply(&value, answered)?,
        Shape::Bedrock => bedrock::read_reply(&value)?,
    };
    let written = match answered.client {
        Shape::OpenAi => openai::write_reply(reply, answered),
        Shape::Anthropic => anthropic::write_reply(reply, answered),
        Shape::Gemini => gemini::write_reply(reply, answered),
        Shape::Bedrock => return Err(nobody()),
    };
    Ok(Some(written.to_string().into()))
}

/// Who asks in Bedrock's API is answered by no other.
fn nobody() -> Refusal {
    unreadable("nobody who asks so is answered by another API")
}

/// Lifts events.
#[derive(Debug)]
pub(super) struct Translator {
    answered: Answered,
    reader: Reader,
    writer: Writer,
    has_begun: bool,
    /// It ended, by its end or by an error: what comes behind that is not of the answer.
    has_ended: bool,
}

#[derive(Debug)]
enum Reader {
    OpenAi(openai::Reader),
    Anthropic(anthropic::Reader),
    Gemini(gemini::Reader),
    Bedrock(bedrock::Reader),
}

#[derive(Debug)]
enum Writer {
    OpenAi(openai::Writer),
    Anthropic(anthropic::Writer),
    Gemini(gemini::Writer),
    Nobody,
}

impl Translator {
    pub(super) fn new(answered: Answered) -> Self {
        let reader = match answered.provider {
            Shape::OpenAi => Reader::OpenAi(openai::Reader::default()),
            Shape::Anthropic => Reader::Anthropic(anthropic::Reader::default()),
            Shape::Gemini => Reader::Gemini(gemini::Reader::default()),
            Shape::Bedrock => Reader::Bedrock(bedrock::Reader::default()),
        };
        let writer = match answered.client {
            Shape::OpenAi => Writer::OpenAi(openai::Writer::default()),
            Shape::Anthropic => Writer::Anthropic(anthropic::Writer::default()),
            Shape::Gemini => Writer::Gemini(gemini::Writer::default()),
            Shape::Bedrock => Writer::Nobody,
        };
        Self { answered, reader, writer, has_begun: false, has_ended: false }
    }

    fn write(&mut self, events: Vec<Event>) -> Result<Vec<u8>, Refusal> {
        let mut out = String::new();
        for event in events {
            if self.has_ended {
                break;
            }
            let begins = matches!(event, Event::Begin(..));
            let is_error = matches!(event, Event::Error(_));
            if begins == self.has_begun && !is_error {
                return Err(unreadable("its events are not in their order"));
            }
            self.has_begun |= begins;
            self.has_ended = is_error || event == Event::End;
            match &mut self.writer {
                Writer::OpenAi(writer) => writer.write(event, &self.answered, &mut out),
                Writer::Anthropic(writer) => writer.write(event, &self.answered, &mut out),
                Writer::Gemini(writer) => writer.write(event, &self.answered, &mut out)?,
                Writer::Nobody => return Err(nobody()),
            }
        }
        Ok(out.into_bytes())
    }
}

impl EventFilter for Translator {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let text = std::str::from_utf8(event).map_err(|_| unreadable("an event that is not UTF-8"))?;
        let data: Vec<&str> = sse::lines(text).filter_map(|line| sse::value_of(line, "data")).collect();
        let (data, mut events) = (data.join("\n"), Vec::new());
        if !data.is_empty() && !self.has_ended {
            match &mut self.reader {
                Reader::OpenAi(reader) => reader.read(&data, &mut events)?,
                Reader::Anthropic(reader) => reader.read(&data, &mut events)?,
                Reader::Gemini(reader) => reader.read(&data, &self.answered, &mut events)?,
                Reader::Bedrock(reader) => {
                    let name = sse::lines(text).find_map(|line| sse::value_of(line, "event"));
                    reader.read(name.unwrap_or_default(), &data, &mut events)?;
                }
            }
        }
        let out = self.write(events)?;
        // That it is alive goes on, in whatever words it says it; but Google's SDK (google-genai 3.6) takes each line for data.
        let is_told = !matches!(self.writer, Writer::Gemini(_));
        let alive = is_told && out.is_empty() && !text.trim().is_empty() && !self.has_ended;
        Ok(Some(if alive { b":\n\n".to_vec() } else { out }))
    }

    fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut events = Vec::new();
        match &mut self.reader {
            Reader::OpenAi(reader) => reader.finish(&mut events),
            // It says its end itself.
            Reader::Anthropic(_) => {}
            Reader::Gemini(reader) => reader.finish(&mut events),
            Reader::Bedrock(reader) => reader.finish(&mut events),
        }
        self.write(events)
    }
}
