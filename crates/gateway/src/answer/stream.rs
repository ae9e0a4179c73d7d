//! An answer on its way to the caller: one stream that observes it, changes it, and ends it in time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::{Body, Frame};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_ledger::Closed;

use super::Upstream;
use super::asking::{Asking, Deciding};
use super::bounds::Bounds;
use super::encoding::Decoder;
use super::gathered::Gathered;
use super::judge;
use super::tail::Tail;
use crate::accounts::Reservation;
use crate::effect::{Effect, Ending};
use crate::forward::Broken;
use crate::protocol::Binding;
use crate::protocol::mcp::questions;
use crate::protocol::observe::{Observe, Observer, Sought};
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
    /// Decodes it, where it is encoded and must be read.
    decoder: Option<Decoder>,
    /// Reads what the record needs.
    observer: Observer,
    /// What happens to its events.
    pub events: Option<EventStream>,
    /// What it is judged by when its first byte comes that is no white space; `None` once it was, or where it need not be.
    unjudged: Option<Sought>,
}

impl Content {
    pub fn new(upstream: Upstream, observer: Observer) -> Self {
        Self { upstream, begun: None, length: None, decoder: None, observer, events: None, unjudged: None }
    }

    /// What was `begun` to be read comes first.
    pub fn after(self, begun: Bytes) -> Self {
        Self { begun: (!begun.is_empty()).then_some(begun), ..self }
    }

    /// Nothing of it was seen yet: it is judged when it begins.
    pub fn judged_by(self, sought: Sought) -> Self {
        Self { unjudged: Some(sought), ..self }
    }

    /// It is decoded first, where there is a decoder.
    pub fn decoded_by(self, decoder: Option<Decoder>) -> Self {
        Self { decoder, ..self }
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
    pub(super) content: Content,
    pub(super) gathered: Gathered,
    /// The head, or the last frame, was taken just before the stream ends by a fault: it has to be written before the connection is cut.
    unwritten: bool,
    /// How what was passed on ends.
    tail: Tail,
    pub(super) bounds: Bounds,
    last_words: LastWords,
    /// Taken when the end is reached, or on drop.
    pub(super) effect: Option<Box<Effect>>,
    /// So many tokens were reserved for it, where a limit counts them.
    most: Option<u64>,
    closing: Closing,
    /// What decides what the upstream asks in it; `None` of one that does not ask.
    pub(super) asking: Option<Asking>,
    /// That is being decided, and nothing is read meanwhile.
    pub(super) deciding: Option<Deciding>,
    /// It ends by what was asked: that is refused.
    pub(super) asks_refused: bool,
}

/// Who is told of a fault of the upstream's within a stream of events that has begun, and how.
#[derive(Debug)]
pub struct LastWords {
    /// What the caller speaks.
    pub binding: &'static dyn Binding,
    /// The id of the message that is to be answered, if it has one.
    pub id: Option<Arc<str>>,
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

impl ResponseStream {
    pub fn new(
        mut content: Content,
        effect: Box<Effect>,
        (bounds, asking): (Bounds, Option<Asking>),
        last_words: LastWords,
    ) -> Self {
        effect.shared.meter.streams().inc();
        let most = effect.reservation.as_ref().and_then(Reservation::most_written);
        if effect.is_told() {
            content.observer.tell();
        }
        Self {
            content,
            gathered: Gathered::default(),
            unwritten: true,
            tail: Tail::default(),
            bounds,
            last_words,
            most,
            effect: Some(effect),
            closing: Closing::No,
            asking,
            deciding: None,
            asks_refused: false,
        }
    }

    /// What of the upstream's next bytes goes to the caller now; it may be nothing.
    fn passed(&mut self, data: Bytes) -> Result<Bytes, Refusal> {
        self.bounds.heard().map_err(|code| self.bounds.refusal(code))?;
        let data = match &mut self.content.decoder {
            Some(decoder) => decoder.push(&data)?,
            None => data,
        };
        self.read(data)
    }

    /// What of the next bytes of the answer, as they can be read, goes to the caller.
    fn read(&mut self, data: Bytes) -> Result<Bytes, Refusal> {
        if let Some(sought) = &self.content.unjudged
            && !data.trim_ascii_start().is_empty()
        {
            if !judge::may_begin(sought, &data) {
                return Err(judge::not_begun_so(&data));
            }
            self.content.unjudged = None;
        }
        self.content.observer.push(&data);
        if self.asking.is_some() && self.content.observer.asks() {
            return Err(questions::unheld());
        }
        if let Some(most) = self.most.filter(|most| self.content.observer.written_at_least() > *most) {
            let message = format!("the answer is longer than the {most} tokens that a limit reserved for it");
            return Err(Refusal::new(Code::UpstreamInvalid, message));
        }
        let data = match &mut self.content.events {
            Some(events) => events.push(&data)?,
            None => data,
        };
        self.count(&data);
        self.stopped()?;
        Ok(data)
    }

    /// These bytes go to the caller.
    pub(super) fn count(&mut self, data: &[u8]) {
        self.tail.push(data);
        if let Some(effect) = &mut self.effect {
            effect.passed(data, self.content.observer.has_token());
        }
    }

    /// What was held back of an answer that has ended.
    fn rest(&mut self) -> Result<(), Refusal> {
        if let Some(mut decoder) = self.content.decoder.take() {
            let decoded = decoder.finish()?;
            let read = self.read(decoded)?;
            self.gather(read);
        }
        if let Some(mut events) = self.content.events.take() {
            let rest = events.finish()?;
            self.count(&rest);
            self.gather(rest);
        }
        Ok(())
    }

    pub(super) fn gather(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.gathered.push(data);
        }
    }

    /// The upstream has said all. What of it was not passed on yet is the last that is, once the end is on record.
    fn ended(&mut self) {
        match self.rest().and_then(|()| self.answered()) {
            Ok(()) => self.close(Ending::Ok, false),
            Err(refusal) => {
                let told = self.tell(&refusal);
                self.fail(&refusal, !told);
            }
        }
    }

    /// That a stream of events which has come to its end has answered, where somebody can be told that it has not. Nobody is whose client
    /// may come back for the rest; and nobody of a model's stream that said something, since some servers say no end.
    fn answered(&mut self) -> Result<(), Refusal> {
        let observer = &mut self.content.observer;
        let found = observer.finish();
        let is_done = found.answered || found.is_error || observer.is_resumable();
        let is_model = observer.sought().observe == Observe::Model;
        if !observer.is_of_events() || is_done || is_model && observer.has_messages() || !self.can_tell() {
            return Ok(());
        }
        let message = "the upstream's events ended without an answer to what was asked";
        Err(Refusal::new(Code::UpstreamInvalid, message).with_detail("the events ended in order"))
    }

    /// Whether something can be added to what passed.
    fn can_tell(&self) -> bool {
        self.content.length.is_none() && self.content.observer.is_of_events()
    }

    /// Adds a fault of the upstream's as the last event, where somebody waits for one. An event that has begun would become a broken one,
    /// which is worse than a connection that breaks, unless the upstream has ended its stream itself.
    fn tell(&mut self, refusal: &Refusal) -> bool {
        let is_whole = self.tail.ends_event();
        let comes_back = self.content.observer.is_resumable();
        let tells = match refusal.code {
            Code::UpstreamInvalid | Code::ChangeImpossible | Code::ResultInvalid => true,
            Code::UpstreamInterrupted | Code::UpstreamTimeout | Code::Overloaded => is_whole && !comes_back,
            _ => self.asks_refused,
        };
        let found = self.content.observer.finish();
        let LastWords { binding, id } = &self.last_words;
        let Some(effect) = self.effect.as_ref().filter(|_| tells && self.can_tell()) else { return false };
        // What is not to pass has come, and has not passed.
        let is_kept =
            self.asks_refused || matches!(refusal.code, Code::ChangeImpossible | Code::ResultInvalid);
        if !binding.ends_streams(!is_kept && (found.answered || found.is_error), id.as_deref()) {
            return false;
        }
        let error = binding.refused(refusal, effect.call(), id.as_deref()).into_body();
        let event = binding.last_event(&error);
        let event: Bytes = if is_whole { event.into() } else { format!("\n\n{event}").into() };
        self.count(&event);
        self.gathered.push(event);
        true
    }

    /// Begins to record that no full answer came. `cut`: the answer then ends as one that is not whole.
    fn fail(&mut self, refusal: &Refusal, cut: bool) {
        if let Some(effect) = &mut self.effect {
            effect.explain(refusal);
        }
        self.close(Ending::Failed(refusal.code), cut);
    }

    /// The next of the upstream's bytes, the ones that were read before first.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.content.begun.take() {
            Some(begun) => Poll::Ready(Some(Ok(Frame::data(begun)))),
            None => Pin::new(&mut self.content.upstream).poll_frame(cx),
        }
    }

    /// Begins to record the end; the answer's end is passed on when the record is durable. `cut`: one that it fails by is how it ends.
    fn close(&mut self, mut ending: Ending, cut: bool) {
        let Some(mut effect) = self.effect.take() else { return };
        effect.shared.meter.streams().dec();
        effect.observed(self.content.observer.finish());
        effect.telling(|told| *told = self.content.observer.told());
        if ending == Ending::Ok {
            ending = effect.of_whole_answer();
        }
        let failed = match ending {
            Ending::Failed(code) if cut => Some(code),
            Ending::Failed(_) | Ending::Ok | Ending::Error | Ending::Unknown | Ending::Cancelled => None,
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
        if !matches!(code, Code::Revoked | Code::ChainEnded) && !is_last {
            return Some(gathered);
        }
        if let Some(effect) = &mut self.effect {
            effect.taken_back(gathered.len());
        }
        None
    }

    /// What is left to be said once the end is on record: the last of the answer, or that it is not whole.
    fn poll_recorded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        if let Closing::Recording(recording, failed) = &mut self.closing {
            let recorded = ready!(recording.as_mut().poll(cx));
            let failed = failed.take();
            let code = if recorded.is_err() { Some(Code::LedgerClosed) } else { failed };
            // The record took its time: what is left of an answer that was cut meanwhile does not pass.
            let code = code.or_else(|| self.bounds.cut().filter(|_| !self.gathered.is_empty()));
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
            if self.deciding.is_some() {
                match ready!(self.poll_decided(cx)) {
                    Ok(None) => continue,
                    Ok(Some(before)) => return Poll::Ready(Some(before)),
                    Err(refusal) => return Poll::Ready(self.failed(&refusal)),
                }
            }
            match self.poll_upstream(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not part of any of the bindings that are served.
                    let Ok(data) = frame.into_data() else { continue };
                    match self.passed(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => self.gathered.push(data),
                        Err(refusal) => return Poll::Ready(self.failed(&refusal)),
                    }
                    if self.deciding.is_some() {
                        continue;
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
                Poll::Ready(Some(Err(error))) => {
                    let refusal = error.refusal("the upstream's answer broke off");
                    return Poll::Ready(self.failed(&refusal));
                }
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
                    let refusal = self.bounds.refusal(code);
                    return Poll::Ready(self.failed(&refusal));
                }
            }
        }
    }

    /// Whether the events that passed are the answer to what was asked: what comes after, or not, changes nothing of that.
    fn has_answered(&mut self) -> bool {
        let LastWords { binding, id } = &self.last_words;
        let observer = &mut self.content.observer;
        observer.is_of_events() && {
            let found = observer.finish();
            // Of an agent's stream each event answers, and so does the next.
            (found.answered || found.is_error) && !binding.ends_streams(true, id.as_deref())
        }
    }

    /// Ends the stream by a fault; what came before it is written first. An upstream that breaks off behind its answer has answered.
    fn failed(&mut self, refusal: &Refusal) -> Option<Bytes> {
        if refusal.code == Code::UpstreamInterrupted && self.tail.ends_event() && self.has_answered() {
            self.close(Ending::Ok, false);
            return None;
        }
        if self.tell(refusal) {
            self.fail(refusal, false);
            return None;
        }
        let last = self.last(refusal.code);
        self.fail(refusal, true);
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
        if self.has_answered() {
            self.content.upstream.get_mut().has_answered();
        }
        if matches!(self.closing, Closing::No)
            && let Some(dropped) = self.effect.as_ref().map(|effect| effect.of_dropped())
        {
            self.effect.iter_mut().for_each(|effect| effect.left = true);
            // The caller had its answer, where nothing of that is left here, and did not wait for what it does not need.
            let left = dropped != Ending::Cancelled || !self.gathered.is_empty() || !self.has_answered();
            self.close(if left { dropped } else { Ending::Ok }, true);
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
