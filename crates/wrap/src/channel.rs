//! What a client is to be told on one stream: events in their order, which one reader takes. Whoever writes never waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::StatusCode;

/// One stream.
#[derive(Debug)]
pub(crate) struct Channel {
    /// No other stream has it.
    pub(crate) number: u64,
    /// Whether what was read stays, for a client that comes again with `Last-Event-ID`.
    keeps: bool,
    /// Bytes of events that wait or are kept. One more takes the place of the oldest.
    room: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Bytes>,
    /// How many there were before those.
    gone: u64,
    bytes: usize,
    /// How many were read.
    read: u64,
    /// Nothing is added any more; the status of an answer that consists of the last event alone.
    ended: Option<StatusCode>,
    /// Counts readers: only the newest one is told anything.
    reader: u64,
    attached: bool,
    waker: Option<Waker>,
}

/// An event, and its place in the stream, from 1.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) message: Bytes,
}

impl Channel {
    pub(crate) fn new(number: u64, keeps: bool, room: usize) -> Arc<Self> {
        Arc::new(Self { number, keeps, room, state: Mutex::default() })
    }

    /// Adds an event. Behind the end there is none.
    pub(crate) fn push(&self, message: impl Into<Bytes>) {
        self.add(Some(message.into()), None);
    }

    /// Adds the last event. `status` is that of an answer that has no other.
    pub(crate) fn finish(&self, message: impl Into<Bytes>, status: StatusCode) {
        self.add(Some(message.into()), Some(status));
    }

    /// Nothing comes any more.
    pub(crate) fn end(&self) {
        self.add(None, Some(StatusCode::OK));
    }

    /// In one step: who reads the last event is to know that it is.
    fn add(&self, message: Option<Bytes>, ends: Option<StatusCode>) {
        let mut state = self.state();
        if state.ended.is_some() {
            return;
        }
        state.bytes += message.as_ref().map_or(0, Bytes::len);
        state.events.extend(message);
        while state.bytes > self.room && state.events.len() > 1 {
            state.forget();
        }
        state.ended = ends;
        state.wake();
    }

    /// Whether somebody reads.
    pub(crate) fn is_read(&self) -> bool {
        self.state().attached
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Reads on behind the event of this number, or where the last reader was; that one ends.
    pub(crate) fn read(self: &Arc<Self>, behind: Option<u64>) -> Reader {
        let mut state = self.state();
        state.reader += 1;
        state.attached = true;
        state.wake();
        let (number, next) = (state.reader, behind.unwrap_or(state.read.max(state.gone)));
        drop(state);
        Reader { channel: self.clone(), number, next }
    }

    /// Whether what is behind the event of this number is all there.
    pub(crate) fn has_all_behind(&self, behind: u64) -> bool {
        let state = self.state();
        behind >= state.gone && behind <= state.gone + state.events.len() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.gone += 1;
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Who reads a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    channel: Arc<Channel>,
    number: u64,
    /// How many events are before the next one.
    next: u64,
}

impl Reader {
    /// The next event; `None` at the end, when somebody else reads now, and when it was so slow that events are gone.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.channel.state();
        if state.reader != self.number {
            return Poll::Ready(None);
        }
        let Some(at) = self.next.checked_sub(state.gone) else {
            tracing::warn!(stream = self.channel.number, "a client reads too slowly: its stream is cut");
            return Poll::Ready(None);
        };
        let found = usize::try_from(at).ok().and_then(|at| state.events.get(at)).cloned();
        let Some(message) = found else {
            if state.ended.is_some() {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.next += 1;
        state.read = state.read.max(self.next);
        if !self.channel.keeps {
            while state.gone < self.next {
                state.forget();
            }
        }
        Poll::Ready(Some(Event { sequence: self.next, message }))
    }

    /// The next event, as [`Reader::poll`] has it.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The status of the answer, where all of it was read.
    pub(crate) fn ended(&self) -> Option<StatusCode> {
        let state = self.channel.state();
        state.ended.filter(|_| self.next >= state.gone + state.events.len() as u64)
    }

    pub(crate) fn stream(&self) -> u64 {
        self.channel.number
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.channel.state();
        if state.reader == self.number {
            state.attached = false;
            state.waker = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn texts(reader: &mut Reader, many: usize) -> Vec<(u64, String)> {
        let mut texts = Vec::new();
        while texts.len() < many {
            let Some(Event { sequence, message }) = reader.next().await else { break };
            texts.push((sequence, String::from_utf8(message.to_vec()).expect("text")));
        }
        texts
    }

    fn told(events: &[(u64, &str)]) -> Vec<(u64, String)> {
        events.iter().map(|(sequence, text)| (*sequence, (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn who_comes_again_reads_on_behind_what_it_had() {
        let channel = Channel::new(1, true, 1000);
        channel.push("a");
        channel.push("b");
        let mut first = channel.read(None);
        assert_eq!(texts(&mut first, 2).await, told(&[(1, "a"), (2, "b")]));
        let mut again = channel.read(Some(1));
        assert!(first.next().await.is_none(), "one message goes to one stream");
        channel.push("c");
        channel.end();
        channel.push("d");
        assert_eq!(texts(&mut again, 9).await, told(&[(2, "b"), (3, "c")]));
        assert_eq!(again.ended(), Some(StatusCode::OK));
        drop(first);
        assert!(channel.is_read());
        drop(again);
        assert!(!channel.is_read());
        assert!(channel.has_all_behind(0) && channel.has_all_behind(3) && !channel.has_all_behind(4));
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_cut_and_who_writes_never_waits() {
        let channel = Channel::new(1, false, 10);
        let mut reader = channel.read(None);
        for _ in 0..100 {
            channel.push("12345");
        }
        assert!(reader.next().await.is_none());
        let mut anew = channel.read(None);
        assert_eq!(texts(&mut anew, 2).await, told(&[(99, "12345"), (100, "12345")]));
        assert!(!channel.has_all_behind(50));
        channel.push("longer than there is room");
        assert_eq!(texts(&mut anew, 1).await, told(&[(101, "longer than there is room")]));
    }
}
