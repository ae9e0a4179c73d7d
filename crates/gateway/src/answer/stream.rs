//! An answer on its way to the caller: one stream that observes it, changes it, and ends it in time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_ledger::Closed;

use super::Upstream;
use super::gathered::Gathered;
use super::revocation::Revocation;
use crate::effect::{Effect, Ending};
use crate::protocol::observe::Observer;
use crate::protocol::sse::EventStream;

type Recording = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send>>;

/// What is passed on, and what is done to it on its way.
#[derive(Debug)]
pub struct Content {
    upstream: Upstream,
    /// What of it was read before it was clear that it is passed on as it comes.
    begun: Option<Bytes>,
    /// How many bytes the caller is told that there are. With the last of them it has all, whatever comes after.
    length: Option<u64>,
    /// Reads what the record needs.
    observer: Observer,
    /// What happens to its events.
    events: Option<EventStream>,
}

impl Content {
    pub fn new(upstream: Upstream, observer: Observer) -> Self {
        Self { upstream, begun: None, length: None, observer, events: None }
    }

    /// What was `begun` to be read comes first.
    pub fn after(self, begun: Bytes) -> Self {
        Self { begun: (!begun.is_empty()).then_some(begun), ..self }
    }

    /// Its events go through a filter, where there is one.
    pub fn through(self, events: Option<EventStream>) -> Self {
        Self { events, ..self }
    }

    /// It is as long as the caller is told in its `head`, where it is.
    pub fn of_length(self, head: &HeaderMap) -> Self {
        let length = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { length, ..self }
    }
}

/// An answer, passed on chunk by chunk as it comes.
#[derive(Debug)]
pub struct ResponseStream {
    content: Content,
    gathered: Gathered,
    /// The last frame was taken just before the stream ends by a fault: it has to be written before the connection is cut.
    unwritten: bool,
    bounds: Bounds,
    /// Taken when the end is reached, or on drop.
    effect: Option<Effect>,
    closing: Closing,
}

/// What ends a stream that does not end by itself.
#[derive(Debug)]
pub struct Bounds {
    /// The longest pause between two chunks.
    idle: Duration,
    /// When the last chunk came.
    heard: Instant,
    /// Fires at the deadline or when the pause may be too long, whichever is first. It is not reset for each chunk: it looks at
    /// `heard` when it fires.
    timer: Pin<Box<Sleep>>,
    /// The end of a stream that has none of its own: that of the caller's credential.
    deadline: Option<Instant>,
    /// Whether a change of the configuration ends it, or of the gateway.
    revocation: Revocation,
}

enum Closing {
    No,
    /// The end is being recorded, and what it failed by, if it did.
    Recording(Recording, Option<Code>),
    /// It is on record, and the answer is not whole.
    Cut(Code),
    Done,
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::Recording(..) => "Recording",
            Self::Cut(_) => "Cut",
            Self::Done => "Done",
        })
    }
}

impl Bounds {
    pub fn new(idle: Duration, deadline: Option<Instant>, revocation: Revocation) -> Self {
        let heard = Instant::now();
        let first = deadline.map_or(heard + idle, |deadline| deadline.min(heard + idle));
        let timer = Box::pin(tokio::time::sleep_until(first));
        Self { idle, heard, timer, deadline, revocation }
    }

    /// A chunk has come. One that comes too late does not pass.
    fn heard(&mut self) -> Result<(), Code> {
        self.heard = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= self.heard) {
            return Err(Code::TokenExpired);
        }
        self.revocation.ended().map_or(Ok(()), Err)
    }

    /// Why the stream ends now, while nothing comes.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Code> {
        if let Poll::Ready(code) = self.revocation.poll_ended(cx) {
            return Poll::Ready(code);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (now, idle_until) = (Instant::now(), self.heard + self.idle);
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Code::TokenExpired);
            }
            if idle_until <= now {
                return Poll::Ready(Code::UpstreamTimeout);
            }
            let next = self.deadline.map_or(idle_until, |deadline| deadline.min(idle_until));
            self.timer.as_mut().reset(next);
        }
    }
}

impl ResponseStream {
    pub fn new(content: Content, effect: Effect, bounds: Bounds) -> Self {
        effect.shared.meter.streams().inc();
        Self {
            content,
            gathered: Gathered::default(),
            unwritten: false,
            bounds,
            effect: Some(effect),
            closing: Closing::No,
        }
    }

    /// What of the upstream's next bytes goes to the caller now; it may be nothing.
    fn passed(&mut self, data: Bytes) -> Result<Bytes, Code> {
        self.bounds.heard()?;
        self.content.observer.push(&data);
        let data = match &mut self.content.events {
            Some(events) => events.push(&data).map_err(|refusal: Refusal| refusal.code)?,
            None => data,
        };
        if let Some(effect) = &mut self.effect {
            effect.bytes_out += data.len() as u64;
        }
        Ok(data)
    }

    /// What was held back of an answer that has ended.
    fn rest(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(mut events) = self.content.events.take() else { return Ok(None) };
        let rest = events.finish()?;
        if let Some(effect) = &mut self.effect {
            effect.bytes_out += rest.len() as u64;
        }
        Ok((!rest.is_empty()).then_some(rest))
    }

    /// The upstream has said all. What of it was not passed on yet is the last that is, once the end is on record.
    fn ended(&mut self) {
        match self.rest() {
            Ok(rest) => {
                rest.into_iter().for_each(|rest| self.gathered.push(rest));
                self.close(Ending::Ok);
            }
            Err(refusal) => self.close(Ending::Failed(refusal.code)),
        }
    }

    /// The next of the upstream's bytes, the ones that were read before first.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match self.content.begun.take() {
            Some(begun) => Poll::Ready(Some(Ok(Frame::data(begun)))),
            None => Pin::new(&mut self.content.upstream).poll_frame(cx),
        }
    }

    /// Begins to record the end; the answer's end is passed on when the record is durable.
    fn close(&mut self, mut ending: Ending) {
        let Some(mut effect) = self.effect.take() else { return };
        effect.shared.meter.streams().dec();
        effect.observed(self.content.observer.finish());
        if ending == Ending::Ok {
            ending = effect.of_whole_answer();
        }
        let failed = match ending {
            Ending::Failed(code) => Some(code),
            Ending::Ok | Ending::Error | Ending::Unknown | Ending::Cancelled => None,
        };
        self.closing = Closing::Recording(Box::pin(effect.record(ending)), failed);
    }

    /// Whether the caller will have all that it was told of with what is gathered. That waits until the end is on record: what
    /// writes it out then asks for no more.
    fn is_last(&self) -> bool {
        let passed = self.effect.as_ref().map_or(0, |effect| effect.bytes_out);
        self.content.length.is_some_and(|length| passed >= length)
    }

    /// What passed already, where a stream ends by a fault in what came next. What is taken back goes no further, and neither does
    /// what would make a faulty answer look whole.
    fn last(&mut self, code: Code) -> Option<Bytes> {
        let is_last = self.is_last();
        let gathered = self.gathered.take()?;
        if code != Code::Revoked && !is_last {
            return Some(gathered);
        }
        if let Some(effect) = &mut self.effect {
            effect.bytes_out = effect.bytes_out.saturating_sub(gathered.len() as u64);
        }
        None
    }

    /// What is left to be said once the end is on record: the last of the answer, or that it is not whole.
    fn poll_recorded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        if let Closing::Recording(recording, failed) = &mut self.closing {
            let recorded = ready!(recording.as_mut().poll(cx));
            let failed = failed.take();
            let code = if recorded.is_err() { Some(Code::LedgerClosed) } else { failed };
            self.closing = code.map_or(Closing::Done, Closing::Cut);
        }
        if let Closing::Cut(code) = self.closing {
            if std::mem::take(&mut self.unwritten) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.closing = Closing::Done;
            self.gathered = Gathered::default();
            // An aborted body is how HTTP says that this is not the whole answer.
            return Poll::Ready(Some(Err(std::io::Error::other(code.as_str()))));
        }
        Poll::Ready(self.gathered.take().map(Ok))
    }

    /// What of the answer goes to the caller next; `None` when it has come to its end, which is then being recorded.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match self.poll_upstream(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not part of any of the bindings that are served.
                    let Ok(data) = frame.into_data() else { continue };
                    match self.passed(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => self.gathered.push(data),
                        Err(code) => return Poll::Ready(self.failed(code)),
                    }
                    if self.content.upstream.is_end_stream() {
                        self.ended();
                        return Poll::Ready(None);
                    }
                    if !self.is_last()
                        && let Some(enough) = self.gathered.take_enough()
                    {
                        return Poll::Ready(Some(enough));
                    }
                }
                // What came before the fault is the caller's all the same.
                Poll::Ready(Some(Err(_))) => return Poll::Ready(self.failed(Code::UpstreamInterrupted)),
                Poll::Ready(None) => {
                    self.ended();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    if !self.is_last()
                        && let Some(all) = ready!(self.gathered.poll_take(cx))
                    {
                        return Poll::Ready(Some(all));
                    }
                    let code = ready!(self.bounds.poll_ended(cx));
                    return Poll::Ready(self.failed(code));
                }
            }
        }
    }

    /// Ends the stream by a fault; what came before it is written first.
    fn failed(&mut self, code: Code) -> Option<Bytes> {
        let last = self.last(code);
        self.unwritten = last.is_some();
        self.close(Ending::Failed(code));
        last
    }
}

impl Body for ResponseStream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if matches!(this.closing, Closing::No)
            && let Some(data) = ready!(this.poll_next(cx))
        {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(ready!(this.poll_recorded(cx)).map(|last| last.map(Frame::data)))
    }
}

impl Drop for ResponseStream {
    /// The caller left: dropping `upstream` cancels the call there, and the record says so.
    fn drop(&mut self) {
        if matches!(self.closing, Closing::No)
            && let Some(effect) = &self.effect
        {
            self.close(effect.of_dropped());
        }
        if let Closing::Recording(recording, _) = &mut self.closing {
            // Polled once, the ledger keeps the record even if nobody waits for it, and needs no runtime, which may be ending.
            let submitted = recording.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(Err(error)) = submitted {
                tracing::error!(%error, "the end of an answer could not be recorded");
            }
        }
    }
}
