//! The body of an answer: one document, or events as they come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep};

use crate::channel::{Event, Reader};
use crate::process::Process;

/// A stream that says nothing for so long says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Whole(Full<Bytes>),
    Events(Box<Events>),
}

/// Events as they come (Server-Sent Events).
#[derive(Debug)]
pub(crate) struct Events {
    reader: Reader,
    /// Whether they have ids, for a client that comes again.
    have_ids: bool,
    first: VecDeque<Bytes>,
    quiet: Pin<Box<Sleep>>,
    /// What is cancelled when the client leaves.
    _asked: Option<Cancel>,
}

/// A request that the process is told to cancel when this is dropped, unless it has its answer.
#[derive(Debug)]
pub(crate) struct Cancel {
    pub(crate) process: Arc<Process>,
    /// The id that the process has for it.
    pub(crate) key: String,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.process.cancel(&self.key);
    }
}

impl Events {
    pub(crate) fn new(reader: Reader, have_ids: bool, asked: Option<Cancel>) -> Self {
        let quiet = Box::pin(sleep(KEEP_ALIVE));
        Self { reader, have_ids, first: VecDeque::new(), quiet, _asked: asked }
    }

    /// An event without a message, whose id a client that loses the stream at once can come again with.
    pub(crate) fn prime(&mut self) {
        let stream = self.reader.stream();
        self.first.push_back(format!("id: {stream}-0\ndata: \n\n").into());
    }

    /// An event that was read before.
    pub(crate) fn begin_with(&mut self, event: &Event) {
        let frame = self.frame(event);
        self.first.push_back(frame);
    }

    fn frame(&self, event: &Event) -> Bytes {
        let mut head = "event: message\n".to_owned();
        if self.have_ids {
            // Writing to text does not fail.
            let _ = writeln!(head, "id: {}-{}", self.reader.stream(), event.sequence);
        }
        // A message has no line breaks.
        let parts: [&[u8]; 4] = [head.as_bytes(), b"data: ", &event.message, b"\n\n"];
        parts.concat().into()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.pop_front() {
            return Poll::Ready(Some(first));
        }
        if let Poll::Ready(event) = self.reader.poll(cx) {
            self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(event.map(|event| self.frame(&event)));
        }
        ready!(self.quiet.as_mut().poll(cx));
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Bytes::from_static(b":\n\n")))
    }
}

impl Answer {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Events(events) => events.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
