//! A body that is written anew as it comes: what the upstream says in its own form is read from here on in another one.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use vidimus_core::refusal::{Code, Refusal};

use super::{Body, Broken};
use crate::protocol::sse::{EventFilter, EventStream, TooLong};

/// What becomes of a body.
pub trait Rewrite: Debug + Send {
    /// What becomes of more of it; nothing, as long as that has to wait for what follows.
    ///
    /// # Errors
    /// Why it is not passed on any further.
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal>;

    /// What is left when all of it has come.
    ///
    /// # Errors
    /// As [`Self::push`].
    fn finish(&mut self) -> Result<Bytes, Refusal>;
}

/// What is held of an agent's answer until it can be read: all of a document, or an event.
#[derive(Debug)]
pub(super) enum Held {
    Document { held: Vec<u8>, limit: usize },
    Events(Box<EventStream>),
}

impl Held {
    /// A document of at most `limit` bytes.
    pub(super) const fn document(limit: usize) -> Self {
        Self::Document { held: Vec::new(), limit }
    }

    /// Events of at most `limit` bytes each, which become what a filter makes of them.
    pub(super) fn events(filter: Box<dyn EventFilter>, limit: usize) -> Self {
        Self::Events(Box::new(EventStream::new(filter, limit, TooLong::EndsStream)))
    }

    /// More of it, and what of it can go on.
    ///
    /// # Errors
    /// `upstream_invalid` for what is longer, and as the filter's.
    pub(super) fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        match self {
            Self::Events(events) => events.push(data),
            Self::Document { held, limit } => {
                held.extend_from_slice(data);
                if held.len() > *limit {
                    let message = format!("the agent's answer is larger than {limit} bytes");
                    return Err(Refusal::new(Code::UpstreamInvalid, message));
                }
                Ok(Bytes::new())
            }
        }
    }

    /// The document, when all has come. An event whose empty line never came is none (HTML, section 9.2.6).
    ///
    /// # Errors
    /// `upstream_invalid` for what is no text.
    pub(super) fn whole(&mut self) -> Result<Option<String>, Refusal> {
        let Self::Document { held, .. } = self else { return Ok(None) };
        String::from_utf8(std::mem::take(held))
            .map(Some)
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the agent's answer is not UTF-8"))
    }
}

/// The body of an upstream's answer with what becomes of it.
#[derive(Debug)]
pub struct Rewritten {
    upstream: Body,
    form: Box<dyn Rewrite>,
    ended: bool,
}

impl Body {
    /// The same, written anew.
    pub fn rewritten(self, form: impl Rewrite + 'static) -> Self {
        Self::Rewritten(Box::new(Rewritten { upstream: self, form: Box::new(form), ended: false }))
    }
}

impl Rewritten {
    /// Whether nothing comes any more.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next of it.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while !self.ended {
            let written = match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.form.push(&data),
                    // Trailers are not part of any of the bindings that are served.
                    Err(_) => continue,
                },
                Some(Err(broken)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(broken)));
                }
                None => {
                    self.ended = true;
                    self.form.finish()
                }
            };
            match written {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(refusal) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(Broken::Refused(Box::new(refusal)))));
                }
            }
        }
        Poll::Ready(None)
    }
}
