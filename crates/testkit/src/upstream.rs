//! An upstream for tests: real HTTP/1.1 on loopback. A test says what it answers, and reads what it received.
//!
//! ```
//! # use vidimus_testkit::upstream::{Answer, Upstream};
//! let upstream = Upstream::start();
//! upstream.next(Answer::json(&serde_json::json!({ "result": "first" })));
//! let (answer, stream) = Answer::stream("text/event-stream");
//! upstream.next(answer); // The second answer is what the test sends to `stream`, when it sends it.
//! assert_eq!(upstream.received().len(), 0);
//! # drop(stream);
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, oneshot};

pub use self::answer::{ANSWERED, Answer, AnswerStream, Reset};

use self::answer::AnswerBody;

mod answer;
pub mod raw;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The upstream. Its server ends, and its connections close, when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    state: Arc<State>,
    /// Dropped with the upstream, which ends the server.
    _stop: oneshot::Sender<()>,
}

/// One request that the upstream received, with its whole body.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: Method,
    /// Path and query, as they were sent.
    pub uri: Uri,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Received {
    /// The value of a header field that is text and came once; `None` otherwise.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

type Otherwise = Box<dyn Fn(&Received) -> Answer + Send>;

struct State {
    address: SocketAddr,
    script: Mutex<Script>,
    /// Notified of each request.
    arrived: Notify,
    connections: AtomicUsize,
}

struct Script {
    /// What the next requests are answered with.
    next: VecDeque<Answer>,
    /// What requests after those are answered with.
    otherwise: Otherwise,
    received: Vec<Received>,
    /// The tools that it lists when a gateway asks by itself; `None` where it answers that as any other request.
    tools: Option<serde_json::Value>,
    /// Such questions.
    asked: Vec<Received>,
}

impl State {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Starts an upstream that answers every request well: an empty JSON-RPC response, or an empty answer of a model. It has a thread
    /// and a runtime of its own, so any test can use it, also one that pauses its own runtime's time.
    #[expect(clippy::expect_used, reason = "test support: no loopback means no test")]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("non-blocking accept");
        let script = Script {
            next: VecDeque::new(),
            otherwise: Box::new(|received| Answer::json(&answered(&received.json()))),
            received: Vec::new(),
            tools: Some(serde_json::Value::Array(Vec::new())),
            asked: Vec::new(),
        };
        let state = Arc::new(State {
            address: listener.local_addr().expect("the bound address"),
            script: Mutex::new(script),
            arrived: Notify::new(),
            connections: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = state.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { state, _stop: stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// The address of `path`, which begins with a slash: `http://127.0.0.1:PORT/path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.state.address)
    }

    /// Answers one request with this, after those that were given before.
    pub fn next(&self, answer: Answer) {
        self.state.script().next.push_back(answer);
    }

    /// Answers with this whenever nothing was given with [`Upstream::next`].
    pub fn otherwise(&self, answer: impl Fn(&Received) -> Answer + Send + 'static) {
        self.state.script().otherwise = Box::new(answer);
    }

    /// Lists these tools when a gateway asks by itself what they are (of a call that people approve), which is not among what it received;
    /// at first none. With `None` that is a request like any other.
    pub fn lists(&self, tools: Option<serde_json::Value>) {
        self.state.script().tools = tools;
    }

    /// What a gateway asked by itself so far, in order.
    pub fn asked(&self) -> Vec<Received> {
        self.state.script().asked.clone()
    }

    /// What it received so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.state.script().received.clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until it has received `count` requests, and gives all it received.
    ///
    /// # Panics
    /// When they do not come for 10 s.
    #[expect(clippy::panic, reason = "test support: this is an assertion")]
    pub async fn until_received(&self, count: usize) -> Vec<Received> {
        let reached = async {
            loop {
                // Registered before looking, so that no request is missed.
                let arrived = self.state.arrived.notified();
                let received = self.received();
                if received.len() >= count {
                    return received;
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(received) => received,
            Err(_) => panic!("{} requests, {count} expected", self.received().len()),
        }
    }
}

/// The id of a message by which a gateway asks by itself which tools there are: a UUID, as no caller has in these tests.
fn own_question(received: &Received) -> Option<String> {
    let message = received.json();
    let is_uuid = |id: &&str| id.len() == 36 && id.bytes().filter(|byte| *byte == b'-').count() == 4;
    let id = message.get("id")?.as_str().filter(is_uuid)?;
    (message.get("method")?.as_str()? == "tools/list").then(|| id.to_owned())
}

/// An answer to a message, by OpenAI's and Anthropic's APIs where it is none of JSON-RPC.
fn answered(message: &serde_json::Value) -> serde_json::Value {
    match message.get("id") {
        Some(id) => serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        None => serde_json::json!({"choices": [], "content": []}),
    }
}

#[expect(clippy::expect_used, reason = "test support: no listener means no test")]
async fn serve(listener: TcpListener, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener in this runtime");
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = state.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| answer(&state, request));
            let mut connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if (&mut connection).await.is_err() {
                // An answer that is a reset, or a client that went away: closing with this option set sends RST.
                let _ = connection.into_parts().io.into_inner().set_zero_linger();
            }
        });
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<AnswerBody>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let received = Received { method: head.method, uri: head.uri, headers: head.headers, body };
    let answer = next_answer(state, received);
    state.arrived.notify_waiters();
    answer.response().await
}

/// What is answered, and that it was received.
fn next_answer(state: &State, received: Received) -> Answer {
    let mut script = state.script();
    if let (Some(tools), Some(id)) = (&script.tools, own_question(&received)) {
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}});
        script.asked.push(received);
        return Answer::json(&answer);
    }
    let answer = script.next.pop_front().unwrap_or_else(|| (script.otherwise)(&received)).to(&received);
    script.received.push(received);
    answer
}
