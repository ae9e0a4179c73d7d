//! The body of an upstream's answer, whichever kind of upstream it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use vidimus_core::refusal::{Code, Refusal};

use super::bridge::Bridged;
use super::grpc::Messages;
use super::job::Events;
use super::rest::Responses;
use crate::protocol::llm::bedrock::frames::Unframed;
use crate::protocol::llm::shapes::Lifted;

/// The body of an upstream's answer.
#[derive(Debug)]
pub enum Body {
    /// It comes over HTTP.
    Http(Incoming),
    /// It is there as a whole: of a job, which has ended or was not needed.
    Whole(Option<Bytes>),
    /// Of a job that still runs. It ends with whoever reads this.
    Events(Box<Events>),
    /// Of a provider of another API than the caller's, in the caller's.
    Lifted(Box<Lifted>),
    /// Of Bedrock, whose frames are read as events.
    Unframed(Box<Unframed>),
    /// It comes over gRPC, and is read as JSON-RPC.
    Grpc(Box<Messages>),
    /// It comes over HTTP+JSON, and is read as JSON-RPC.
    Rest(Box<Responses>),
    /// Of a server of another era. What it says ends with whoever reads this.
    Bridged(Bridged),
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

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Http(body) => Pin::new(body).poll_frame(cx).map_err(Broken::Http),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events.poll_next(cx).map(framed),
            Self::Bridged(events) => events.poll_next(cx).map(framed),
            Self::Lifted(lifted) => lifted.poll_next(cx),
            Self::Unframed(unframed) => unframed.poll_next(cx),
            Self::Grpc(messages) => messages.poll_next(cx).map(|next| next.map(|said| said.map(Frame::data))),
            Self::Rest(responses) => {
                responses.poll_next(cx).map(|next| next.map(|said| said.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events(_) | Self::Bridged(_) => false,
            Self::Lifted(lifted) => lifted.has_ended(),
            Self::Unframed(unframed) => unframed.has_ended(),
            Self::Grpc(messages) => messages.is_end(),
            Self::Rest(responses) => responses.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http(body) => body.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_)
            | Self::Bridged(_)
            | Self::Lifted(_)
            | Self::Unframed(_)
            | Self::Grpc(_)
            | Self::Rest(_) => SizeHint::default(),
        }
    }
}

fn framed(next: Option<Result<Bytes, Refusal>>) -> Option<Result<Frame<Bytes>, Broken>> {
    next.map(|event| event.map(Frame::data).map_err(|why| Broken::Refused(Box::new(why))))
}
