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

use crate::channel::{Channel, Event, Reader};
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
    /// Its stream, where a client that lost it may come again.
    pub(crate) resumed: Option<Resumed>,
}

/// A stream that a client may come again for.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) channel: Arc<Channel>,
    /// For how long it is waited for, each time that it leaves.
    pub(crate) within: Duration,
}

impl Resumed {
    /// Waits until nobody has read the stream for so long; false where it ends before.
    async fn is_given_up(&self) -> bool {
        const LOOKS: u32 = 10;
        let mut unread = 0;
        while unread < LOOKS {
            sleep(self.within / LOOKS).await;
            if self.channel.has_ended() {
                return false;
            }
            unread = if self.channel.is_read() { 0 } else { unread + 1 };
        }
        true
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(resumed) = self.resumed.take() else { return self.process.cancel(&self.key) };
        if resumed.channel.has_ended() {
            return;
        }
        // Without a runtime all processes end.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (process, key) = (self.process.clone(), std::mem::take(&mut self.key));
        runtime.spawn(async move {
            if resumed.is_given_up().await {
                process.cancel(&key);
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use crate::message::Message;
    use crate::process::Use;

    const WITHIN: Duration = Duration::from_millis(100);

    /// A process that repeats what it is told to cancel. Where no request's stream is read that goes to `log`.
    fn process(log: &Arc<Channel>) -> Arc<Process> {
        let script =
            r#"while read -r line; do case "$line" in *notifications/cancelled*) echo "$line";; esac; done"#;
        let program = Program {
            command: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![],
        };
        Process::start(&program, "test".to_owned(), Use::Session(log.clone()), 4096).expect("started")
    }

    async fn asked(process: &Arc<Process>, id: &str, number: u64) -> (Cancel, Arc<Channel>) {
        let channel = Channel::new(number, true, 4096);
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/call","params":{{"name":"a"}}}}"#);
        let message = Message::read(text.as_bytes()).expect("a message");
        let key = process.ask(&message, &channel, 1).await.expect("asked");
        let resumed = Some(Resumed { channel: channel.clone(), within: WITHIN });
        (Cancel { process: process.clone(), key, resumed }, channel)
    }

    /// In a session too: a stream that nobody comes again for is one whose request nobody waits for.
    #[tokio::test]
    async fn who_leaves_a_session_s_request_cancels_it_unless_it_comes_again() {
        let log = Channel::new(1, true, 4096);
        let mut told = log.read(None);
        let process = process(&log);
        let (back, again) = asked(&process, "back", 2).await;
        let (gone, lost) = asked(&process, "gone", 3).await;
        let mut reader = again.read(None);
        drop((back, gone));
        // What the process says of itself goes on the one stream of a request that is read.
        let event = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.expect("in time");
        let text = String::from_utf8(event.expect("a message").message.to_vec()).expect("text");
        assert!(text.contains(r#""requestId":"gone""#), "{text}");
        assert!(lost.has_ended() && !again.has_ended());
        // It is gone on with, and left for good.
        drop(reader);
        let event = tokio::time::timeout(Duration::from_secs(10), told.next()).await.expect("in time");
        let text = String::from_utf8(event.expect("a message").message.to_vec()).expect("text");
        assert!(text.contains(r#""requestId":"back""#), "{text}");
        process.stop();
        process.ended().await;
    }
}
