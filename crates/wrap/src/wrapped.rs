//! A server that is wrapped: which of its processes a message is for, and that one is started where there is none.

use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::Config;
use crate::channel::Channel;
use crate::fault::{Fault, TRANSPORT};
use crate::message::Message;
use crate::process::{Process, Use};
use crate::session::{Session, Sessions};

/// The first version without sessions. Later ones sort behind it.
pub(crate) const STATELESS: &str = "2026-07-28";
/// How long a server may take to answer what wrap asks of it when it starts: packages may have to be fetched first.
const STARTING: Duration = Duration::from_secs(120);
/// Where the server is silent for so long when it is asked which versions it has, it does not know the question.
const DISCOVERY: Duration = Duration::from_secs(30);

/// The processes of one server.
#[derive(Debug)]
pub(crate) struct Wrapped {
    pub(crate) config: Config,
    pub(crate) sessions: Sessions,
    /// The process that answers requests without a session.
    requests: Mutex<Option<Arc<Process>>>,
    /// When it was asked last.
    requested: StdMutex<Instant>,
    /// Whether the server answers such requests; unset until it was asked.
    is_stateless: OnceLock<bool>,
    /// The process of all sessions.
    shared: Mutex<Option<Shared>>,
    /// All that were started, and have not ended. `None` once wrap stops: then none is started.
    processes: StdMutex<Option<Vec<Weak<Process>>>>,
    numbers: AtomicU64,
}

/// A process that was initialized by wrap.
#[derive(Clone, Debug)]
struct Shared {
    process: Arc<Process>,
    /// The result of its `initialize`.
    initialized: Arc<str>,
}

/// A session that has begun, and what is left to do for its first answer.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) id: String,
    pub(crate) session: Arc<Session>,
    /// The answer, where the process was initialized before.
    pub(crate) answer: Option<Bytes>,
}

/// Stops a process that nobody has taken.
struct Unclaimed(Option<Arc<Process>>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.stop();
        }
    }
}

impl Wrapped {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            sessions: Sessions::default(),
            requests: Mutex::default(),
            requested: StdMutex::new(Instant::now()),
            is_stateless: OnceLock::new(),
            shared: Mutex::default(),
            processes: StdMutex::new(Some(Vec::new())),
            numbers: AtomicU64::new(0),
        }
    }

    /// One more stream.
    pub(crate) fn channel(&self, keeps: bool) -> Arc<Channel> {
        Channel::new(self.number(), keeps, self.config.limits.message.saturating_mul(2))
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn start(&self, name: String, used: Use) -> Result<Arc<Process>, Fault> {
        // Held until it is among them: what a stop does not know of would outlive it.
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(processes) = processes.as_mut() else {
            let what = "vidimus wrap is stopping; try again when it is there again";
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, TRANSPORT, what));
        };
        let program = &self.config.program;
        let started = Process::start(program, name, used, self.config.limits.message);
        let process = started.map_err(|error| {
            let what = format!("the server cannot be started: {}: {error}", program.command.display());
            tracing::error!("{what}");
            Fault::server(what)
        })?;
        processes.retain(|process| process.strong_count() > 0);
        processes.push(Arc::downgrade(&process));
        Ok(process)
    }

    /// Begins a session for `initialize`.
    ///
    /// # Errors
    /// When there are too many, and when the server cannot be started.
    pub(crate) async fn begin(&self, message: &Message<'_>) -> Result<Begun, Fault> {
        let shared = if self.config.shared { Some(self.shared(message).await?) } else { None };
        let begun = self.sessions.begin(self.config.limits.sessions, || {
            let (number, listening) = (self.number(), self.channel(true));
            if let Some(shared) = &shared {
                shared.process.join(number, &listening);
                return Ok(Session::new(number, shared.process.clone(), listening, false));
            }
            let process = self.start(format!("session {number}"), Use::Session(listening.clone()))?;
            Ok(Session::new(number, process, listening, true))
        })?;
        let Some((id, session)) = begun else {
            let what = "there are as many sessions as --max-sessions says; end one, or try again later";
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, TRANSPORT, what));
        };
        let answer = shared.zip(message.id.as_ref()).map(|(shared, asked)| {
            let (id, result) = (message.written(asked), shared.initialized);
            Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        });
        Ok(Begun { id, session, answer })
    }

    /// The process of all sessions, which wrap initializes in its own name: what one client can do, another cannot.
    async fn shared(&self, message: &Message<'_>) -> Result<Shared, Fault> {
        let mut slot = self.shared.lock().await;
        if let Some(shared) = slot.as_ref().filter(|shared| shared.process.is_over().is_none()) {
            return Ok(shared.clone());
        }
        let process = self.start("shared".to_owned(), Use::Sessions(StdMutex::new(HashMap::new())))?;
        let mut unclaimed = Unclaimed(Some(process.clone()));
        let version = message.offered.as_deref().unwrap_or("2025-11-25");
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client()});
        let question = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = self.question(&process, &question.to_string(), STARTING).await?;
        let answer = answer.ok_or_else(|| Fault::server("the server does not answer initialize"))?;
        let read = Message::read(&answer).map_err(Fault::server)?;
        let Some(result) = read.result else {
            let said = String::from_utf8_lossy(&answer).into_owned();
            return Err(Fault::server(format!("the server refuses initialize: {said}")));
        };
        process.greet();
        let shared = Shared { process, initialized: result.into() };
        *slot = Some(shared.clone());
        unclaimed.0 = None;
        Ok(shared)
    }

    /// The process for requests without a session.
    ///
    /// # Errors
    /// When the server knows sessions only, or cannot be started.
    pub(crate) async fn stateless(&self) -> Result<Arc<Process>, Fault> {
        *self.requested.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if self.is_stateless.get() == Some(&false) {
            return Err(sessions_only());
        }
        let mut slot = self.requests.lock().await;
        if let Some(process) = slot.as_ref().filter(|process| process.is_over().is_none()) {
            return Ok(process.clone());
        }
        let process = self.start("requests".to_owned(), Use::Requests)?;
        let mut unclaimed = Unclaimed(Some(process.clone()));
        // A server that has sessions only would take a request for one of a session: it is asked first (stdio, "Backward Compatibility").
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientInfo": client(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let question =
            json!({"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": meta}});
        let answer = self.question(&process, &question.to_string(), DISCOVERY).await?;
        let Some(answer) = answer else { return Err(sessions_only()) };
        let is_stateless = discovered(&Message::read(&answer).map_err(Fault::server)?);
        // What it said once it says always: it is the same program.
        if !self.is_stateless.get_or_init(|| is_stateless) {
            return Err(sessions_only());
        }
        *slot = Some(process.clone());
        unclaimed.0 = None;
        Ok(process)
    }

    /// Asks a process in wrap's own name; `None` where it does not answer in time.
    async fn question(
        &self,
        process: &Arc<Process>,
        text: &str,
        time: Duration,
    ) -> Result<Option<Bytes>, Fault> {
        let message = Message::read(text.as_bytes()).map_err(Fault::server)?;
        let channel = self.channel(false);
        let mut reader = channel.read(None);
        process.ask(&message, &channel, 0).await?;
        let answered = async {
            while let Some(event) = reader.next().await {
                if reader.ended().is_some() {
                    return Some(event.message);
                }
            }
            None
        };
        let answer = tokio::time::timeout(time, answered).await.ok().flatten();
        match process.is_over() {
            Some(why) => Err(Fault::server(why)),
            None => Ok(answer),
        }
    }

    /// Ends what nobody has used for so long as the limits say.
    pub(crate) async fn end_idle(&self) {
        let (now, idle) = (Instant::now(), self.config.limits.idle);
        self.sessions.end_idle(now, idle);
        let requested = *self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(requested) < idle {
            return;
        }
        let mut slot = self.requests.lock().await;
        if let Some(process) = slot.take_if(|process| !process.is_busy()) {
            process.stop();
        }
    }

    /// Ends all processes and waits for that; the status of the one that all sessions share.
    pub(crate) async fn end(&self) -> Option<ExitStatus> {
        // From here on none is started, on whatever connection.
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.sessions.end_all();
        // Also those whose sessions have just ended, and one that is still asked to begin.
        let processes: Vec<_> = processes.iter().flatten().filter_map(Weak::upgrade).collect();
        processes.iter().for_each(|process| process.stop());
        for process in &processes {
            process.ended().await;
        }
        // Who holds it waited for one of those.
        let shared = self.shared.lock().await.take()?;
        shared.process.ended().await
    }
}

fn client() -> Value {
    json!({"name": "vidimus-wrap", "version": env!("CARGO_PKG_VERSION")})
}

/// Whether the answer to `server/discover` is one of the stateless era.
fn discovered(answer: &Message<'_>) -> bool {
    if let Some(code) = answer.error {
        return (-32022..=-32020).contains(&code);
    }
    let result: Option<Value> = answer.result.and_then(|result| serde_json::from_str(result).ok());
    let versions = result.as_ref().and_then(|result| result.get("supportedVersions")?.as_array());
    let mut named = versions.into_iter().flatten().filter_map(Value::as_str);
    named.any(|version| version >= STATELESS)
}

/// Not one of the errors by which a client would take the server for a stateless one: with this it falls back to `initialize`.
fn sessions_only() -> Fault {
    let what = "the server knows MCP with sessions only; begin with initialize";
    Fault::new(StatusCode::BAD_REQUEST, TRANSPORT, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_of_a_server_is_what_it_says() {
        for (answer, is_stateless) in [
            (r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2026-07-28"]}}"#, true),
            (r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2025-11-25","2027-01-01"]}}"#, true),
            (r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2025-11-25"]}}"#, false),
            (r#"{"jsonrpc":"2.0","id":0,"result":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32022,"message":"m"}}"#, true),
            (r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"m"}}"#, false),
            (r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"m"}}"#, false),
        ] {
            let message = Message::read(answer.as_bytes()).expect("a message");
            assert_eq!(discovered(&message), is_stateless, "{answer}");
        }
    }
}
