//! A body that is written anew as it comes: what the upstream says in its own form is read from here on in another one.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use vidimus_core::refusal::Refusal;

use super::{Body, Broken};

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
