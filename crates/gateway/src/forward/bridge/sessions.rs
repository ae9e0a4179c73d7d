//! A client without a session, and a server that has one with each client: the gateway is that client, once for each caller.
//!
//! What the server asks becomes a result by which the caller's client is asked, and makes its request again; meanwhile its call waits here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::entity::EntityId;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Era;

use super::super::Body;
use super::beside::Questions;
use super::held::{Held, Parked, Session};
use super::wire::{ALIVE, Messages, Said, event, header};
use super::{Asked, Message, Source, Way, check_id, events, is_response, listening, response_of, whole};
use crate::answer::Ongoing;
use crate::protocol::mcp::bridge::to_sessions::{self, Begun, Client, Wanted, unwritten};
use crate::protocol::mcp::bridge::{self, object};
use crate::protocol::mcp::bridge::{QUESTIONS, unlike};
use crate::protocol::mcp::{LAST_EVENT_HEADER, SESSION_HEADER, VERSION_HEADER, versions};
use crate::protocol::members::{Members, text};

/// How often a stream that broke off before its answer is asked for again.
const MOST_RESUMED: u8 = 16;
/// How long a stream is waited for that may only refuse: which status the client gets is not known before.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Answers one message of a client without a session.
pub(super) async fn answer(way: Way, asked: Asked) -> Result<Response<Body>, Refusal> {
    if asked.method != Method::POST {
        return Ok(super::not_allowed("POST"));
    }
    let (body, message) = Message::of(&asked.body)?;
    let params = message.params()?;
    let Some(client) = Client::of(body, params.as_ref()) else {
        // A notification, which nothing of this era needs, or what the client answers to a question that nobody asked.
        return Ok(whole(StatusCode::ACCEPTED, None));
    };
    // Where a record says the era, that was said before anything was sent.
    let unlike = bridge::without_like(Era::Sessions, &client.method, params.as_ref(), true);
    if let Some(refusal) = unlike.or_else(|| versions::missing_meta(params.as_ref())) {
        return Err(refusal);
    }
    let raw = message.params.map(RawValue::get);
    match client.method.as_str() {
        "server/discover" => {
            let session = session(&way, &client, raw, None).await?;
            let result = session.begun.discovered().ok_or_else(unwritten)?;
            Ok(whole(StatusCode::OK, Some(object::result(&client.id, &result))))
        }
        "subscriptions/listen" => listening::to_sessions(way, client, Wanted::of(params.as_ref()), raw).await,
        _ => match to_sessions::answers(raw) {
            Some(answered) => resumed(way, client, raw, answered).await,
            None => called(way, client, body, raw).await,
        },
    }
}

/// Begins the caller's session with a server that may have sessions.
///
/// # Errors
/// Why it does not; `era_unbridged` for what is no request, for which none is begun.
pub(super) async fn begins(way: &Way, asked: &Asked) -> Result<(), Refusal> {
    let (body, message) = Message::of(&asked.body)?;
    let params = message.params()?;
    let client = Client::of(body, params.as_ref()).filter(|_| asked.method == Method::POST);
    let client = client.ok_or_else(|| bridge::refusal("only a request begins a session"))?;
    session(way, &client, message.params.map(RawValue::get), None).await.map(drop)
}

/// Makes a call in the caller's session with the server.
async fn called(
    way: Way,
    client: Client,
    body: &str,
    params: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let mut former = None;
    loop {
        let session = session(&way, &client, params, former.as_ref()).await?;
        let asked = match client.capabilities.answers_any() {
            true => Some(session.beside.listen(&way.wire, in_session(&way, &session)?).await),
            false => None,
        };
        let id = session.next_request();
        let message = to_sessions::request(body, &id).ok_or_else(unwritten)?;
        let headers = way.wire.of_call(in_session(&way, &session)?);
        let sent = Sent { way: &way, session: &session, id: &id, is_waiting: true };
        let response = sent.answered(way.wire.post(headers, message)).await?;
        // The server has forgotten the session, and so has not looked at the call (2025-11-25, "Session Management").
        if response.status() == StatusCode::NOT_FOUND && session.id.is_some() && former.is_none() {
            former = Some(session);
            continue;
        }
        let messages = Messages::of(response)?;
        let called = called_of(&client.method, params);
        let (resumed, is_done) = (0, false);
        let exchange = Exchange { way, session, messages, asked, id, client, called, resumed, is_done };
        return exchange.answer().await;
    }
}

/// Goes on with a call that waited for this answer.
async fn resumed(
    way: Way,
    client: Client,
    params: Option<&str>,
    (handle, answer): (String, Option<String>),
) -> Result<Response<Body>, Refusal> {
    let answer = answer.ok_or_else(|| {
        let what = "params.inputResponses has no answer to the question that params.requestState is of";
        Refusal::new(Code::MessageInvalid, what)
    })?;
    let called = called_of(&client.method, params);
    let Parked { question, mut exchange, .. } = way.held.parked(&way.holder, &handle, &called)?;
    let message = object::result(&question, &answer);
    // From here on it is the call of now, whose permit it goes on by.
    (exchange.way, exchange.client) = (way, client);
    let headers = in_session(&exchange.way, &exchange.session)?;
    let told = exchange.way.wire.post(headers, message).await?;
    if !told.status().is_success() {
        return Err(unlike("the server did not take the answer to its question"));
    }
    exchange.answer().await
}

/// What a request calls, so that one that is made again is known to be the same: by its method too, since what is decided of a prompt is not
/// what is decided of the tool of that name.
fn called_of(method: &str, params: Option<&str>) -> Value {
    let mut called: Value = params.and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
    if let Some(members) = called.as_object_mut() {
        members.retain(|name, _| !matches!(&**name, "_meta" | "inputResponses" | "requestState"));
    }
    Value::Array(vec![method.into(), called])
}

/// The caller's session with the server, which is begun where there is none, or none but the `former` one.
async fn session(
    way: &Way,
    client: &Client,
    params: Option<&str>,
    former: Option<&Arc<Session>>,
) -> Result<Arc<Session>, Refusal> {
    let slot = way.held.session(&way.holder, client.capabilities);
    // Who waits for another call to begin it does not wait for longer than that may take.
    let mut kept = way.wire.soon(async { Ok(slot.lock().await) }).await?;
    if let Some(session) = &*kept
        && former.is_none_or(|former| !Arc::ptr_eq(former, session))
    {
        return Ok(session.clone());
    }
    *kept = None;
    let session = Arc::new(begin(way, client, params).await?);
    *kept = Some(session.clone());
    Ok(session)
}

/// Begins a session with the server.
pub(super) async fn begin(way: &Way, client: &Client, params: Option<&str>) -> Result<Session, Refusal> {
    let hello = to_sessions::initialize(client.capabilities, params);
    let response = way.wire.post(way.wire.headers()?, hello).await?;
    let id = header(response.headers(), SESSION_HEADER).map(str::to_owned);
    let mut messages = Messages::of(response)?;
    let answer = way.wire.soon(response_of(&mut messages)).await?;
    let answer: Members<'_> = serde_json::from_str(&answer)
        .map_err(|_| unlike("the server's answer to initialize could not be read"))?;
    let result = answer.get("result").ok_or_else(|| {
        let error = answer.get("error").map(RawValue::get).unwrap_or_default();
        let shown: String = error.chars().take(200).collect();
        unlike("the server begins no session: it refuses initialize").with_detail(shown)
    })?;
    let session = Session::new(id, Begun::of(result.get())?);
    let begun = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let told = way.wire.post(in_session(way, &session)?, begun).await?;
    if !told.status().is_success() {
        return Err(unlike("the server did not take that its session has begun"));
    }
    Ok(session)
}

/// The headers of a message in a session.
pub(super) fn in_session(way: &Way, session: &Session) -> Result<HeaderMap, Refusal> {
    let mut headers = way.wire.headers()?;
    headers.insert(VERSION_HEADER, HeaderValue::from_static(session.begun.version));
    if let Some(Ok(id)) = session.id.as_deref().map(HeaderValue::from_str) {
        headers.insert(SESSION_HEADER, id);
    }
    Ok(headers)
}

/// A call under way in a session. Where nobody reads its answer any more, the server is told.
pub(super) struct Exchange {
    way: Way,
    session: Arc<Session>,
    messages: Messages,
    /// What the server asks beside them, of a client that answers.
    asked: Option<Questions>,
    /// Of the request at the server, as JSON.
    id: String,
    client: Client,
    called: Value,
    resumed: u8,
    is_done: bool,
}

/// What comes of it next.
enum Next {
    /// For the client.
    Message(String),
    /// The answer, for the client.
    Answer(String),
    /// The server asks for something: its id of it, and what it asks.
    Asks {
        id: String,
        method: String,
        params: String,
    },
    Alive,
    End,
}

impl Exchange {
    /// What is to be known of its call while that waits.
    pub(super) fn ongoing(&self) -> Option<&Arc<Ongoing>> {
        self.way.ongoing.as_ref()
    }

    /// Who makes it.
    pub(super) fn principal(&self) -> &EntityId {
        self.way.wire.principal()
    }

    /// A short answer as it is, and a stream of events otherwise.
    async fn answer(mut self) -> Result<Response<Body>, Refusal> {
        if self.messages.is_stream {
            return match self.refused().await? {
                Some(refused) => Ok(refused),
                None => Ok(events(Answering { exchange: Some(self), asked: None })),
            };
        }
        let status = self.messages.status;
        let said = self.way.wire.read(self.messages.next()).await?;
        self.is_done = true;
        match said {
            Said::Message(message) if is_response(&message) => {
                let members = Members::unique(&message).map_err(|_| not_read())?;
                check_id(&members, &self.id)?;
                let answer = to_sessions::answered(&members, &self.client).ok_or_else(not_read)?;
                Ok(whole(to_sessions::status(&members).unwrap_or(status), Some(answer)))
            }
            // What is no answer is judged as that of any upstream.
            Said::Message(message) => Ok(whole(status, Some(message))),
            Said::Alive | Said::End => Ok(whole(status, None)),
        }
    }

    /// The error that is all there is of a stream, where it has a status of its own in the client's era: one that has begun has that of success.
    async fn refused(&mut self) -> Result<Option<Response<Body>>, Refusal> {
        let first = tokio::select! {
            biased;
            first = self.messages.first() => first?,
            Some(question) = next_of(&mut self.asked) => Some(question),
            () = tokio::time::sleep(AT_ONCE) => None,
        };
        let Some(first) = first else { return Ok(None) };
        let refused = self.refused_by(&first)?;
        if refused.is_some() {
            self.is_done = true;
        } else {
            self.messages.say(first);
        }
        Ok(refused)
    }

    fn refused_by(&self, message: &str) -> Result<Option<Response<Body>>, Refusal> {
        // What cannot be read is found out where it is the answer.
        let Some(members) = Members::unique(message).ok().filter(|_| is_response(message)) else {
            return Ok(None);
        };
        let Some(status) = to_sessions::status(&members) else { return Ok(None) };
        check_id(&members, &self.id)?;
        let answer = to_sessions::answered(&members, &self.client).ok_or_else(not_read)?;
        Ok(Some(whole(status, Some(answer))))
    }

    async fn next(&mut self) -> Result<Next, Refusal> {
        let said = tokio::select! {
            biased;
            said = self.messages.next() => said?,
            Some(question) = next_of(&mut self.asked) => Said::Message(question),
        };
        let message = match said {
            Said::Message(message) => message,
            Said::Alive => return Ok(Next::Alive),
            Said::End => return self.resume().await,
        };
        let members = Members::unique(&message).map_err(|_| not_read())?;
        let method = members.get("method").and_then(text);
        Ok(match (method, members.get("id")) {
            (Some(method), Some(id)) => {
                let id = id.get().to_owned();
                let params = members.get("params").map_or("{}", RawValue::get);
                if QUESTIONS.contains(&&*method) && self.client.capabilities.answers(&method, params) {
                    return Ok(Next::Asks { id, method, params: object::line(params) });
                }
                self.tell(answer_of_ours(&id, &method)).await?;
                Next::Alive
            }
            (Some(_), None) => {
                to_sessions::notified(&message, &members, &self.client).map_or(Next::Alive, Next::Message)
            }
            (None, _) => {
                check_id(&members, &self.id)?;
                self.is_done = true;
                Next::Answer(to_sessions::answered(&members, &self.client).ok_or_else(not_read)?)
            }
        })
    }

    /// Asks for the rest of a stream that ended before its answer, as a client of that era does.
    async fn resume(&mut self) -> Result<Next, Refusal> {
        let Some((last, wait)) = self.messages.resumes().filter(|_| self.resumed < MOST_RESUMED) else {
            return Ok(Next::End);
        };
        self.resumed += 1;
        tokio::time::sleep(wait).await;
        let mut headers = in_session(&self.way, &self.session)?;
        headers.insert(LAST_EVENT_HEADER, last);
        let response = self.way.wire.ask(Method::GET, headers).await?;
        let messages = Messages::of(response)?;
        if !messages.status.is_success() || !messages.is_stream {
            return Ok(Next::End);
        }
        self.messages = messages;
        Ok(Next::Alive)
    }

    async fn tell(&mut self, message: String) -> Result<(), Refusal> {
        self.way.wire.post(in_session(&self.way, &self.session)?, message).await.map(drop)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_done {
            take_back(&self.way, &self.session, &self.id);
        }
    }
}

/// A call that was sent, and of whose answer nothing has come: a server that answers by documents says nothing before its end. Where nobody waits for
/// that any more, it is told as of an [`Exchange`].
struct Sent<'a> {
    way: &'a Way,
    session: &'a Session,
    id: &'a str,
    is_waiting: bool,
}

impl Sent<'_> {
    /// How its answer begins.
    async fn answered(
        mut self,
        answer: impl Future<Output = Result<Response<Body>, Refusal>>,
    ) -> Result<Response<Body>, Refusal> {
        let answer = answer.await;
        // Who was waited for too long goes on with it; what else failed is under way nowhere.
        self.is_waiting = answer.as_ref().is_err_and(|refusal| refusal.code == Code::UpstreamTimeout);
        answer
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if self.is_waiting {
            take_back(self.way, self.session, self.id);
        }
    }
}

/// Tells the server that nobody waits for the answer to this request. In that era a stream that ends takes nothing back (2025-11-25, "Cancellation").
fn take_back(way: &Way, session: &Session, id: &str) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let message = cancelled(id);
    let Ok(headers) = in_session(way, session) else { return };
    let wire = way.wire.clone();
    runtime.spawn(async move {
        if let Err(refusal) = wire.post(headers, message).await {
            tracing::debug!(%refusal, "a server was not told that nobody waits for its answer");
        }
    });
}

/// That nobody waits for the answer to the request of this id (JSON).
pub(super) fn cancelled(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"nobody waits for it any more"}}}}"#
    )
}

/// The next question; of a client that answers none there never is one.
async fn next_of(asked: &mut Option<Questions>) -> Option<String> {
    match asked {
        Some(asked) => asked.next().await,
        None => std::future::pending().await,
    }
}

/// The events of a call's answer.
struct Answering {
    exchange: Option<Exchange>,
    /// The question that came last, until it has passed.
    asked: Option<Asks>,
}

/// A question to the client. Where it does not pass on, such as by what policies change of answers, its call does not wait for the answer.
struct Asks {
    held: Held,
    handle: String,
    has_passed: bool,
}

impl Drop for Asks {
    fn drop(&mut self) {
        if !self.has_passed {
            self.held.give_up(&self.handle);
        }
    }
}

impl Source for Answering {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        // Who asks for more has taken what there was.
        if let Some(asked) = &mut self.asked {
            asked.has_passed = true;
        }
        let Some(exchange) = &mut self.exchange else { return Ok(None) };
        match exchange.next().await? {
            Next::Message(message) => Ok(Some(event(&message))),
            Next::Alive => Ok(Some(ALIVE)),
            Next::End => {
                self.exchange = None;
                Ok(None)
            }
            Next::Answer(message) => {
                self.exchange = None;
                Ok(Some(event(&message)))
            }
            Next::Asks { id, method, params } => {
                let Some(exchange) = self.exchange.take() else { return Ok(None) };
                let (held, client) = (exchange.way.held.clone(), exchange.client.id.clone());
                let (holder, called) = (exchange.way.holder.clone(), exchange.called.clone());
                let handle = held.park(Parked { holder, called, question: id, exchange })?;
                let asked = to_sessions::input_required(&client, (&method, &params), &handle);
                self.asked = Some(Asks { held, handle, has_passed: false });
                Ok(Some(event(&asked.ok_or_else(unwritten)?)))
            }
        }
    }
}

/// What the gateway answers in place of a client that cannot.
pub(super) fn answer_of_ours(id: &str, method: &str) -> String {
    match method {
        "ping" => object::result(id, "{}"),
        _ => object::error(id, -32601, "the client does not do this"),
    }
}

fn not_read() -> Refusal {
    unlike("what the server answered could not be read")
}
