//! What the upstream answers.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Stands as a JSON string in a whole body for the id of the request that is answered, whatever that is.
pub const ANSWERED: &str = "the id of the request that is answered";

/// One answer.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Stream(Receiver<Piece>),
    Hang,
    Reset,
}

/// What a test puts into a stream.
type Piece = Result<Frame<Bytes>, io::Error>;

/// That the connection is to be reset. See [`AnswerStream::reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the test resets the connection")]
pub struct Reset;

impl Answer {
    fn new(content: Content) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content }
    }

    /// 200 with this JSON and its `Content-Length`.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::whole("application/json", value.to_string())
    }

    /// 200 with this body, its type and its `Content-Length`.
    pub fn whole(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(Content::Whole(body.into())).with_header(CONTENT_TYPE.as_str(), content_type)
    }

    /// 200, and a chunked body of what the test sends, when it sends it. The body ends when the [`AnswerStream`] is dropped.
    pub fn stream(content_type: &str) -> (Self, AnswerStream) {
        let (sender, receiver) = channel(1);
        let answer = Self::new(Content::Stream(receiver)).with_header(CONTENT_TYPE.as_str(), content_type);
        (answer, AnswerStream { sender })
    }

    /// 307 to `location`.
    pub fn redirect(location: &str) -> Self {
        let answer = Self::new(Content::Whole(Bytes::new())).with_header(LOCATION.as_str(), location);
        answer.with_status(StatusCode::TEMPORARY_REDIRECT)
    }

    /// No answer, and the connection stays open.
    pub fn hang() -> Self {
        Self::new(Content::Hang)
    }

    /// No answer: the connection is reset (TCP RST) when the request has been received.
    pub fn reset() -> Self {
        Self::new(Content::Reset)
    }

    /// The same as an answer to this request.
    pub(super) fn to(mut self, request: &super::Received) -> Self {
        let stands = serde_json::Value::from(ANSWERED).to_string();
        if let Content::Whole(body) = &mut self.content
            && let Ok(text) = std::str::from_utf8(body)
            && text.contains(&stands)
        {
            let id = request.json().get("id").cloned().unwrap_or_default();
            *body = text.replace(&stands, &id.to_string()).into();
        }
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with a header field, in place of those of that name.
    ///
    /// # Panics
    /// When name or value cannot stand in a header.
    #[must_use]
    #[expect(clippy::expect_used, reason = "test support: a test writes its own headers")]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name of a header field");
        self.headers.insert(name, HeaderValue::from_str(value).expect("a value of a header field"));
        self
    }

    pub(super) async fn response(self) -> Result<Response<AnswerBody>, io::Error> {
        let body = match self.content {
            Content::Whole(bytes) => AnswerBody::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            Content::Stream(receiver) => AnswerBody::Stream(receiver),
            Content::Hang => pending().await,
            Content::Reset => return Err(io::Error::other(Reset)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}

/// The test's end of a streamed answer. Dropping it ends the body as it should end.
#[derive(Debug)]
pub struct AnswerStream {
    sender: Sender<Piece>,
}

impl AnswerStream {
    /// Sends a chunk. Waits until the one before was taken, so that a caller that does not read is felt. False where the
    /// connection is gone.
    pub async fn send(&self, chunk: impl Into<Bytes>) -> bool {
        self.sender.send(Ok(Frame::data(chunk.into()))).await.is_ok()
    }

    /// Sends an event of Server-Sent Events whose data is `data`, which is one line. False where the connection is gone.
    pub async fn event(&self, data: &str) -> bool {
        self.send(format!("data: {data}\n\n")).await
    }

    /// Resets the connection (TCP RST) in the midst of the body.
    pub async fn reset(self) {
        let _ = self.sender.send(Err(io::Error::other(Reset))).await;
    }

    /// Waits until the other side has closed the connection, or the upstream is gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    Stream(Receiver<Piece>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        Poll::Ready(match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Stream(receiver) => ready!(receiver.poll_recv(cx)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
