//! Sessions of the eras that have them (MCP 2025-11-25 and before): who has the id has the session, so nobody can guess it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::channel::{Channel, Reader};
use crate::fault::Fault;
use crate::process::Process;

/// Streams that have ended and that a session remembers, for a client that lost one and comes again.
const REMEMBERED: usize = 8;
/// How long a session may take from `initialize` to the next message.
const SETTLING: Duration = Duration::from_secs(60);

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) process: Arc<Process>,
    /// What the server says of itself.
    pub(crate) listening: Arc<Channel>,
    /// Whether the process is this session's alone.
    owns: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: VecDeque<Arc<Channel>>,
    used: Instant,
    is_settled: bool,
}

impl Session {
    pub(crate) fn new(number: u64, process: Arc<Process>, listening: Arc<Channel>, owns: bool) -> Arc<Self> {
        let state = State { streams: VecDeque::new(), used: Instant::now(), is_settled: false };
        Arc::new(Self { number, process, listening, owns, state: Mutex::new(state) })
    }

    /// The client said something.
    pub(crate) fn touch(&self) {
        let mut state = self.state();
        (state.used, state.is_settled) = (Instant::now(), true);
    }

    /// One more stream of an answer.
    pub(crate) fn remember(&self, stream: &Arc<Channel>) {
        let mut state = self.state();
        state.forget();
        state.streams.push_back(stream.clone());
        // What has no answer is known to the process, and told there.
        while state.streams.len() > 16 * REMEMBERED {
            state.streams.pop_front();
        }
    }

    /// Reads on behind the event that a client had last, on the stream that it is of. `None` where that is not known any more.
    pub(crate) fn resume(&self, last: &str) -> Option<Reader> {
        let (stream, behind) = last.split_once('-')?;
        let (stream, behind) = (stream.parse::<u64>().ok()?, behind.parse::<u64>().ok()?);
        let state = self.state();
        let known = state.streams.iter().chain([&self.listening]).find(|known| known.number == stream)?;
        known.has_all_behind(behind).then(|| known.read(Some(behind)))
    }

    /// Whether nobody has used it, or listened to it, for too long.
    fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        let mut state = self.state();
        state.forget();
        // As long as somebody listens, also to an answer to `initialize` that takes its time.
        if self.listening.is_read() || state.streams.iter().any(|stream| stream.is_read()) {
            state.used = now;
        }
        let idle = if state.is_settled { idle } else { idle.min(SETTLING) };
        now.duration_since(state.used) >= idle
    }

    /// Ends it, and its process where that has no other session.
    pub(crate) fn end(&self) {
        self.listening.end();
        if self.owns {
            self.process.stop();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the oldest streams that have ended and that nobody reads.
    fn forget(&mut self) {
        let is_over = |stream: &Arc<Channel>| stream.has_ended() && !stream.is_read();
        let over = self.streams.iter().filter(|stream| is_over(stream)).count();
        let mut surplus = over.saturating_sub(REMEMBERED);
        self.streams.retain(|stream| {
            let goes = surplus > 0 && is_over(stream);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// All sessions, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// Begins one, unless there are `most`. `None` where there are.
    ///
    /// # Errors
    /// Those of `begin`.
    pub(crate) fn begin(
        &self,
        most: usize,
        begin: impl FnOnce() -> Result<Arc<Session>, Fault>,
    ) -> Result<Option<(String, Arc<Session>)>, Fault> {
        let mut sessions = self.all();
        sessions.retain(|_, session| session.process.is_over().is_none());
        if sessions.len() >= most {
            return Ok(None);
        }
        let session = begin()?;
        // 122 bits of the operating system's randomness.
        let id = uuid::Uuid::new_v4().to_string();
        sessions.insert(id.clone(), session.clone());
        Ok(Some((id, session)))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.all().get(id).cloned()
    }

    /// Ends one; whether it was there.
    pub(crate) fn end(&self, id: &str) -> bool {
        let ended = self.all().remove(id);
        ended.inspect(|session| session.end()).is_some()
    }

    /// Ends those that nobody has used for so long.
    pub(crate) fn end_idle(&self, now: Instant, idle: Duration) {
        self.all().retain(|_, session| {
            let is_idle = session.is_idle(now, idle);
            if is_idle {
                tracing::info!("[session {}] nobody uses it", session.number);
                session.end();
            }
            !is_idle
        });
    }

    /// Ends all.
    pub(crate) fn end_all(&self) {
        self.all().drain().for_each(|(_, session)| session.end());
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Program, Use};

    #[tokio::test]
    async fn eight_streams_that_have_ended_are_remembered() {
        let program =
            Program { command: "/bin/sleep".into(), arguments: vec!["60".into()], environment: vec![] };
        let process = Process::start(&program, "silent".to_owned(), Use::Requests, 1024).expect("started");
        let session = Session::new(1, process, Channel::new(1, true, 1024), true);
        let streams: Vec<_> = (2..62).map(|number| Channel::new(number, true, 1024)).collect();
        streams.iter().for_each(|stream| session.remember(stream));
        assert_eq!(session.state().streams.len(), 60, "what has no answer is not forgotten");
        let _reader = streams[0].read(None);
        streams.iter().for_each(|stream| stream.end());
        assert!(!session.is_idle(Instant::now(), Duration::from_secs(1800)));
        let numbers: Vec<_> = session.state().streams.iter().map(|stream| stream.number).collect();
        assert_eq!(numbers, [2, 54, 55, 56, 57, 58, 59, 60, 61], "the newest, and what is read");
        session.end();
    }
}
