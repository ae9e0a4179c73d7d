//! What a server asks on the stream of its session, and not on that of the call which it asks for: the official TypeScript SDK does, where a
//! tool does not say otherwise. While a call is under way whose client answers questions, that stream is read. The session is one caller's, so
//! what is asked there is asked of the right one, in the call that began last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Response};
use tokio::sync::{Mutex as Turn, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::Body;
use super::sessions::answer_of_ours;
use super::wire::{Messages, Said, Wire};
use crate::protocol::members::{Members, text};

/// How long a server may take to begin its stream: a call waits for it, since what is asked before it is there is lost.
const BEGINS: Duration = Duration::from_secs(1);
/// For how long the stream is read when no call is under way.
const QUIET: Duration = Duration::from_secs(60);
/// How many questions of one call wait to be read.
const MOST: usize = 4;

/// The stream of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stream: Turn<Stream>,
    calls: Mutex<Calls>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    Unread,
    Read,
    /// The server has none.
    None,
}

/// Those under way, in their order.
#[derive(Debug, Default)]
struct Calls {
    numbers: u64,
    waiting: Vec<(u64, mpsc::Sender<String>)>,
}

/// The questions to one call.
#[derive(Debug)]
pub(super) struct Questions {
    beside: Beside,
    number: u64,
    heard: mpsc::Receiver<String>,
}

impl Questions {
    /// The next of them, as the server wrote it. There may never be one.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.heard.recv().await
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let number = self.number;
        self.beside.calls(|calls| calls.waiting.retain(|(other, _)| *other != number));
    }
}

impl Beside {
    fn calls<T>(&self, with: impl FnOnce(&mut Calls) -> T) -> T {
        with(&mut self.0.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the stream, where nobody does yet, for a call that begins.
    pub(super) async fn listen(&self, wire: &Wire, headers: HeaderMap) -> Questions {
        let (tell, heard) = mpsc::channel(MOST);
        let number = self.calls(|calls| {
            calls.numbers += 1;
            calls.waiting.push((calls.numbers, tell));
            calls.numbers
        });
        let questions = Questions { beside: self.clone(), number, heard };
        let mut stream = self.0.stream.lock().await;
        if *stream == Stream::Unread {
            let begun = timeout(BEGINS, wire.ask(Method::GET, headers.clone())).await;
            let messages = begun.ok().and_then(Result::ok).and_then(stream_of);
            *stream = if messages.is_some() { Stream::Read } else { Stream::None };
            if let Some(messages) = messages {
                tokio::spawn(self.clone().read(wire.clone(), headers, messages));
            }
        }
        questions
    }

    /// Reads it until it ends, or has long been for nobody.
    async fn read(self, wire: Wire, headers: HeaderMap, mut messages: Messages) {
        let mut until = Instant::now() + QUIET;
        loop {
            if !self.is_quiet() {
                until = Instant::now() + QUIET;
            }
            let message = match timeout_at(until, messages.next()).await {
                Ok(Ok(Said::Message(message))) => message,
                Ok(Ok(Said::Alive)) => continue,
                Ok(_) => break,
                Err(_) => {
                    // A call that begins is among those under way before it looks whether anybody reads.
                    let mut stream = self.0.stream.lock().await;
                    if self.is_quiet() {
                        *stream = Stream::Unread;
                        return;
                    }
                    continue;
                }
            };
            let Some((id, method)) = asked(&message) else { continue };
            if !self.give(message) {
                // There is no call that it could be for. The credential of the one that began to read may have ended since.
                let mut headers = headers.clone();
                if let Some(token) = wire.headers().ok().and_then(|now| now.get(AUTHORIZATION).cloned()) {
                    headers.insert(AUTHORIZATION, token);
                }
                if let Err(refusal) = wire.post(headers, answer_of_ours(&id, &method)).await {
                    tracing::debug!(%refusal, "a server got no answer to what it asked of nobody");
                }
            }
        }
        *self.0.stream.lock().await = Stream::Unread;
    }

    fn is_quiet(&self) -> bool {
        self.calls(|calls| calls.waiting.is_empty())
    }

    /// Gives a question to the call that began last; whether there is one, and it reads them.
    fn give(&self, question: String) -> bool {
        self.calls(|calls| calls.waiting.last().is_some_and(|(_, call)| call.try_send(question).is_ok()))
    }
}

/// The messages of a stream that has begun.
fn stream_of(response: Response<Body>) -> Option<Messages> {
    let messages = Messages::of(response).ok()?;
    (messages.status.is_success() && messages.is_stream).then_some(messages)
}

/// The id (JSON) and the method of a request.
fn asked(message: &str) -> Option<(String, String)> {
    let members = Members::unique(message).ok()?;
    Some((members.get("id")?.get().to_owned(), members.get("method").and_then(text)?))
}
