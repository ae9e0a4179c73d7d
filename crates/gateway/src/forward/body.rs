//! The body of an upstream's answer, whichever kind of upstream it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use vidimus_core::refusal::{Code, Refusal};

use super::bridge::{Bridged, InSession};
use super::grpc::Messages;
use super::job::Events;
use super::rewritten::Rewritten;

/// The body of an upstream's answer.
#[derive(Debug)]
pub enum Body {
    /// It comes over HTTP.
    Http(Incoming),
    /// It is there as a whole: of a job, which has ended or was not needed.
    Whole(Option<Bytes>),
    /// Of a job that still runs. It ends with whoever reads this.
    Events(Box<Events>),
    /// Of who speaks another binding or API than the caller's, or another form of it than the others do, as it is read from here on.
    Rewritten(Box<Rewritten>),
    /// It comes over gRPC, and is read as JSON-RPC.
    Grpc(Box<Messages>),
    /// Of a server of another era. What it says ends with whoever reads this.
    Bridged(Bridged),
    /// The same in a session of caller and server: what is under way in it is taken back with whoever reads this.
    InSession(Box<InSession>),
}

/// Why an answer ended before its end.
#[derive(Debug)]
pub enum Broken {
    /// The connection broke.
    Http(hyper::Error),
    /// There is no answer, and it is known why.
    Refused(Box<Refusal>),
}

impl Broken {
    /// In the words of a refusal; `message` where nothing better is known.
    pub fn refusal(self, message: &'static str) -> Refusal {
        match self {
            Self::Http(error) => Refusal::new(Code::UpstreamInterrupted, message).with_detail(error),
            Self::Refused(refusal) => *refusal,
        }
    }
}

impl Body {
    /// What was asked is answered by what was read: what is left of it is for nobody.
    pub(crate) fn has_answered(&mut self) {
        if let Self::InSession(answer) = self {
            answer.has_answered();
        }
    }

    /// All of it, of at most so many bytes.
    ///
    /// # Errors
    /// `upstream_invalid` for more, in the words of `too_long`; as it broke off, in those of `broke` where nothing better is known.
    pub(crate) async fn whole(
        mut self,
        most: usize,
        broke: &'static str,
        too_long: impl FnOnce() -> String,
    ) -> Result<Bytes, Refusal> {
        let mut read = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|broken| broken.refusal(broke))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > most {
                return Err(Refusal::new(Code::UpstreamInvalid, too_long()));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Http(body) => Pin::new(body).poll_frame(cx).map_err(Broken::Http),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events.poll_next(cx).map(framed),
            Self::Bridged(events) => events.poll_next(cx).map(framed),
            Self::InSession(answer) => answer.poll_next(cx),
            Self::Rewritten(rewritten) => rewritten.poll_next(cx),
            Self::Grpc(messages) => messages.poll_next(cx).map(|next| next.map(|said| said.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events(_) | Self::Bridged(_) => false,
            Self::InSession(answer) => answer.body().is_end_stream(),
            Self::Rewritten(rewritten) => rewritten.has_ended(),
            Self::Grpc(messages) => messages.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::InSession(answer) => answer.body().size_hint(),
            Self::Events(_) | Self::Bridged(_) | Self::Rewritten(_) | Self::Grpc(_) => SizeHint::default(),
        }
    }
}

fn framed(next: Option<Result<Bytes, Refusal>>) -> Option<Result<Frame<Bytes>, Broken>> {
    next.map(|event| event.map(Frame::data).map_err(|why| Broken::Refused(Box::new(why))))
}
