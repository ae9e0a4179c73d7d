//! A body that is written anew as it comes: what the upstream says in its own form is read from here on in another one.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};
use vidimus_core::refusal::{Code, Refusal};

use super::{Body, Broken};
use crate::answer::encoding::Encoding;
use crate::protocol::sse::{EventFilter, EventStream, TooLong, is_events};

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

/// What becomes of an agent's answer, each response of which is written anew: of an event as its filter, of a document by this.
pub(super) trait Anew: EventFilter + 'static {
    /// What becomes of a document that came with this status.
    ///
    /// # Errors
    /// `upstream_invalid`.
    fn document(&self, said: String, status: StatusCode) -> Result<Bytes, Refusal>;
}

/// An agent's answer, written anew; what its head says by `head`, which is told whether events follow. No document or event may be longer than `limit`
/// bytes.
///
/// # Errors
/// `upstream_invalid` for what is in an encoding: none was asked for.
pub(super) fn anew(
    response: Response<Body>,
    form: impl Anew,
    limit: usize,
    head: impl FnOnce(&mut Parts, bool),
) -> Result<Response<Body>, Refusal> {
    let (mut parts, body) = response.into_parts();
    let status = parts.status;
    if status.is_informational() || status.is_redirection() {
        // It is refused as of any upstream.
        return Ok(Response::from_parts(parts, body));
    }
    if Encoding::of(&parts.headers) != Encoding::Identity {
        let message = "the agent's answer is in an encoding, and none was asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    let has_events = status.is_success() && is_events(&parts.headers);
    parts.headers.remove(CONTENT_LENGTH);
    head(&mut parts, has_events);
    let held = match has_events {
        true => Held::Events(Box::new(EventStream::new(Box::new(form), limit, TooLong::EndsStream))),
        false => Held::Document { held: Vec::new(), limit, status, form },
    };
    Ok(Response::from_parts(parts, body.rewritten(held)))
}

/// What is held of an agent's answer until it can be read: all of a document, or an event.
#[derive(Debug)]
enum Held<A> {
    Document { held: Vec<u8>, limit: usize, status: StatusCode, form: A },
    Events(Box<EventStream>),
}

impl<A: Anew> Rewrite for Held<A> {
    fn push(&mut self, data: &Bytes) -> Result<Bytes, Refusal> {
        match self {
            Self::Events(events) => events.push(data),
            Self::Document { held, limit, .. } => {
                held.extend_from_slice(data);
                if held.len() > *limit {
                    let message = format!("the agent's answer is larger than {limit} bytes");
                    return Err(Refusal::new(Code::UpstreamInvalid, message));
                }
                Ok(Bytes::new())
            }
        }
    }

    /// An event whose empty line never came is none (HTML, section 9.2.6).
    fn finish(&mut self) -> Result<Bytes, Refusal> {
        let Self::Document { held, status, form, .. } = self else { return Ok(Bytes::new()) };
        let said = String::from_utf8(std::mem::take(held))
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the agent's answer is not UTF-8"))?;
        form.document(said, *status)
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
