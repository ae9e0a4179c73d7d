//! A client with a session, and a server without: each request says by itself what the session is. What the server asks within a result, the
//! client is asked by a request of its own; then the call is made again with what it answered.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::super::Body;
use super::held::{Call, Waiting};
use super::wire::{ALIVE, Messages, Said, event, header};
use super::{Asked, Message, Source, Way, check_id, events, is_response, listening, response_of, whole};
use crate::protocol::mcp::bridge::object;
use crate::protocol::mcp::bridge::session::Session;
use crate::protocol::mcp::bridge::to_sessions::unwritten;
use crate::protocol::mcp::bridge::to_stateless::{self, Questions, Round};
use crate::protocol::mcp::bridge::{refusal, unlike};
use crate::protocol::mcp::mirrored;
use crate::protocol::mcp::{CALL, CANCELLED, SESSION_HEADER};
use crate::protocol::members::{Members, quoted, text};

/// How often a server may ask in one call.
const MOST_ROUNDS: u8 = 16;
/// For how long a client, and whoever sits before it, may take to answer.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is said meanwhile that somebody is still there.
const TICK: Duration = Duration::from_secs(15);
/// How long a server is left alone that only wants to be asked again; each time by so much longer.
const BACK_OFF: Duration = Duration::from_millis(50);
/// JSON-RPC's number for parameters.
const INVALID_PARAMS: i64 = -32602;
/// The levels of a log (RFC 5424).
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Answers one message of a client with a session.
pub(super) async fn answer(way: Way, asked: Asked) -> Result<Response<Body>, Refusal> {
    let goes_on = |session: &Session| !way.held.ended().has(&session.number);
    let session = header(&asked.headers, SESSION_HEADER).map(|id| Session::of(id).filter(goes_on));
    let has_id = session.is_some();
    match asked.method {
        Method::GET if asked.headers.contains_key("last-event-id") => {
            return Ok(super::not_allowed("POST, DELETE"));
        }
        Method::GET => {
            return match session {
                Some(Some(session)) => listening::to_stateless(way, session).await,
                _ => Ok(whole(no_session(has_id), None)),
            };
        }
        Method::DELETE => {
            let Some(Some(session)) = session else { return Ok(whole(no_session(has_id), None)) };
            way.held.ended().note(&session.number);
            return Ok(whole(StatusCode::OK, None));
        }
        _ => {}
    }
    let (body, message) = Message::of(&asked.body)?;
    let params = message.params()?;
    let (Some(method), id) = (message.method.as_deref(), message.id.map(RawValue::get)) else {
        return answered(&way, session.flatten().as_ref(), body, message.id);
    };
    if let (Some(id), "initialize") = (id, method) {
        return initialize(&way, id, params.as_ref()).await;
    }
    let Some(Some(session)) = session else {
        return Ok(not_of_session(id, has_id));
    };
    let Some(id) = id else {
        let taken_back = message.params.and_then(|params| requested(params.get()));
        if let (CANCELLED, Some(id)) = (method, taken_back) {
            way.held.take_back(&owner(&way, &session), &id);
        }
        return Ok(whole(StatusCode::ACCEPTED, None));
    };
    let text = |name| params.as_ref().and_then(|params| params.get(name)).and_then(Json::as_str);
    match method {
        "ping" => {}
        "logging/setLevel" => match text("level").filter(|level| LEVELS.contains(level)) {
            Some(level) => way.held.log(&way.holder, &session.number, level),
            None => return Ok(wrong(id, "there is no such level")),
        },
        "resources/subscribe" | "resources/unsubscribe" => {
            let uri = text("uri").unwrap_or_default();
            let of = (&*way.holder, &*session.number);
            way.held.follow(of, uri, method == "resources/subscribe")?;
        }
        _ => return call(way, session, (method, id, body), params.as_ref()).await,
    }
    Ok(whole(StatusCode::OK, Some(object::result(id, "{}"))))
}

/// Whose calls and questions are told apart: those of a caller in one session.
fn owner(way: &Way, session: &Session) -> String {
    format!("{}|{}", way.holder, session.number)
}

/// The id (JSON) of the request that a notification takes back.
fn requested(params: &str) -> Option<String> {
    let params: Members<'_> = serde_json::from_str(params).ok()?;
    params.get("requestId").map(|id| id.get().to_owned())
}

/// A client that gets 404 begins anew; without the id of a session it is 400 (2025-11-25, "Session Management").
const fn no_session(has_id: bool) -> StatusCode {
    if has_id { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST }
}

fn not_of_session(id: Option<&str>, has_id: bool) -> Response<Body> {
    let message = "there is no such session; send initialize";
    whole(no_session(has_id), Some(object::error(id.unwrap_or("null"), -32600, message)))
}

fn wrong(id: &str, what: &str) -> Response<Body> {
    whole(StatusCode::OK, Some(object::error(id, INVALID_PARAMS, what)))
}

/// A client's answer to a question, for the call that waits for it.
fn answered(
    way: &Way,
    session: Option<&Session>,
    body: &str,
    id: Option<&RawValue>,
) -> Result<Response<Body>, Refusal> {
    let Some(session) = session else { return Ok(not_of_session(None, true)) };
    let id = id.and_then(text).unwrap_or_default();
    way.held.answer(&owner(way, session), &id, body.to_owned())?;
    Ok(whole(StatusCode::ACCEPTED, None))
}

/// Begins a session: the server is asked what it is, and the session's id says what the client is.
async fn initialize(way: &Way, id: &str, params: Option<&Json<'_>>) -> Result<Response<Body>, Refusal> {
    let session = Session::begun(params);
    let mut headers = way.wire.headers()?;
    to_stateless::label(&mut headers, "server/discover", None);
    let question = to_stateless::discover(&session).ok_or_else(unwritten)?;
    let mut messages = Messages::of(way.wire.post(headers, question).await?)?;
    let answer = way.wire.soon(response_of(&mut messages)).await?;
    let answer: Members<'_> = serde_json::from_str(&answer)
        .map_err(|_| unlike("the server's answer to server/discover could not be read"))?;
    let Some(result) = answer.get("result") else {
        return Err(unlike("the server does not answer server/discover: it may not be of that era"));
    };
    let result = to_stateless::initialized(result.get(), session.version)?;
    let mut response = whole(StatusCode::OK, Some(object::result(id, &object::line(&result))));
    if let Ok(id) = HeaderValue::from_str(&session.id()) {
        response.headers_mut().insert(SESSION_HEADER, id);
    }
    Ok(response)
}

/// Makes a call.
async fn call(
    way: Way,
    session: Session,
    (method, id, body): (&str, &str, &str),
    params: Option<&Json<'_>>,
) -> Result<Response<Body>, Refusal> {
    // Where its record says the era, that was said before anything was sent.
    if method.starts_with("tasks/") || params.is_some_and(|params| params.get("task").is_some()) {
        return Err(refusal(
            "this server speaks 2026-07-28 alone, where tasks are another thing: they are not bridged",
        ));
    }
    let mut labels = HeaderMap::new();
    to_stateless::label(&mut labels, method, params);
    if method == CALL {
        mirrored::label(&mut labels, way.wire.mirrored().as_deref(), params);
    }
    let owner = owner(&way, &session);
    let mut calling = Calling {
        under_way: way.held.call(&owner, id),
        owner,
        way,
        session,
        labels,
        message: body.to_owned(),
        id: id.to_owned(),
        sent: id.to_owned(),
        rounds: 0,
        now: Now::Ended,
        ready: VecDeque::new(),
    };
    let messages = calling.send(None).await?;
    if messages.is_stream {
        calling.now = Now::Reads(messages);
        return Ok(events(calling));
    }
    calling.document(messages).await
}

/// A call under way.
struct Calling {
    way: Way,
    session: Session,
    owner: String,
    /// The headers that say what the message says.
    labels: HeaderMap,
    /// The client's own.
    message: String,
    /// Of it, as JSON.
    id: String,
    /// Of the request that was sent last, which is another one where it was made again.
    sent: String,
    under_way: Call,
    rounds: u8,
    now: Now,
    ready: VecDeque<Bytes>,
}

/// Where it is.
enum Now {
    Reads(Messages),
    Waits {
        questions: Vec<(String, Waiting)>,
        responses: Vec<(String, String)>,
        state: Option<String>,
        until: Instant,
    },
    Ended,
}

impl Calling {
    /// Sends it, or sends it again with what the client answered.
    async fn send(&mut self, round: Option<&Round>) -> Result<Messages, Refusal> {
        let level = self.way.held.level(&self.way.holder, &self.session.number);
        let message = to_stateless::request(&self.message, &self.session, level.as_deref(), round);
        let mut headers = self.way.wire.headers()?;
        headers.extend(self.labels.clone());
        if round.is_none() {
            headers = self.way.wire.of_call(headers);
        }
        let sent = self.way.wire.post(headers, message.ok_or_else(unwritten)?);
        tokio::select! {
            biased;
            () = self.under_way.taken_back() => Err(taken_back()),
            response = sent => Messages::of(response?),
        }
    }

    /// A short answer. One by which the server asks something becomes a stream.
    async fn document(mut self, mut messages: Messages) -> Result<Response<Body>, Refusal> {
        let status = messages.status;
        match self.way.wire.read(messages.next()).await? {
            Said::Message(message) if is_response(&message) => match self.answer(&message)? {
                // An error has the status of one there; 404 would say to this client that its session is gone.
                Some(answer) => Ok(whole(StatusCode::OK, Some(answer))),
                None => Ok(events(self)),
            },
            // What is no answer is judged as that of any upstream.
            Said::Message(message) => Ok(whole(status, Some(message))),
            Said::Alive | Said::End => Ok(whole(status, None)),
        }
    }

    /// The response as the client gets it; `None` where the server asks something first.
    fn answer(&mut self, message: &str) -> Result<Option<String>, Refusal> {
        let members =
            Members::unique(message).map_err(|_| unlike("what the server answered could not be read"))?;
        check_id(&members, &self.sent)?;
        if let Some(result) = members.get("result")
            && let Some(questions) = to_stateless::questions(result.get())?
        {
            self.ask(questions)?;
            return Ok(None);
        }
        let answer = object::with(message, &[], &[("id", &self.id)]).ok_or_else(unwritten)?;
        Ok(Some(object::line(&answer)))
    }

    /// Asks the client what the server asks.
    fn ask(&mut self, Questions { asked, state }: Questions) -> Result<(), Refusal> {
        self.rounds += 1;
        if self.rounds > MOST_ROUNDS {
            return Err(unlike("the server asks its client again and again"));
        }
        let mut questions = Vec::with_capacity(asked.len());
        for (key, method, params) in asked {
            // It was told what the client can do, and asks for something else (2026-07-28, "Multi Round-Trip Requests").
            if !self.session.capabilities.answers(&method, &params) {
                return Err(unlike("the server asks its client for what the client said that it cannot do"));
            }
            let waiting = self.way.held.ask(&self.owner);
            let question = to_stateless::question(&method, &params, &waiting.id);
            self.ready.push_back(event(&question.ok_or_else(unwritten)?));
            questions.push((key, waiting));
        }
        let until = Instant::now() + PATIENCE;
        self.now = Now::Waits { questions, responses: Vec::new(), state, until };
        Ok(())
    }

    /// What is read next of the answer, or that the client took the call back.
    async fn read(&mut self) -> Result<Option<Said>, Refusal> {
        let Now::Reads(messages) = &mut self.now else { return Ok(None) };
        tokio::select! {
            biased;
            () = self.under_way.taken_back() => Ok(None),
            said = messages.next() => said.map(Some),
        }
    }

    /// Waits for a next answer of the client's; whether there is one.
    async fn wait(&mut self) -> Result<bool, Refusal> {
        let Now::Waits { questions, responses, until, .. } = &mut self.now else { return Ok(false) };
        let Some((key, waiting)) = questions.last_mut() else { return Ok(false) };
        if Instant::now() >= *until {
            return Err(Refusal::new(
                Code::UpstreamTimeout,
                "the client did not answer what the server asks",
            ));
        }
        let answer = tokio::select! {
            biased;
            () = self.under_way.taken_back() => return Err(taken_back()),
            answer = timeout_at(Instant::now() + TICK, &mut waiting.answered) => answer,
        };
        // Whoever asks is still there.
        let Ok(answer) = answer else { return Ok(true) };
        let lost = || Refusal::new(Code::Internal, "an answer of a client's was lost");
        let answer = answer.map_err(|_| lost())?;
        let members: Members<'_> = serde_json::from_str(&answer).map_err(|_| lost())?;
        let Some(result) = members.get("result") else {
            return Err(refusal(
                "the client answered the server's question with an error, for which a server without sessions has no place: the call ends",
            ));
        };
        responses.push((std::mem::take(key), object::line(result.get())));
        questions.pop();
        Ok(true)
    }

    /// Makes the call again, once the client has answered everything.
    async fn again(&mut self) -> Result<(), Refusal> {
        let Now::Waits { responses, state, .. } = std::mem::replace(&mut self.now, Now::Ended) else {
            return Ok(());
        };
        if responses.is_empty() {
            // It asks nothing, and wants to be asked again (2026-07-28, "Multi Round-Trip Requests").
            tokio::time::sleep(BACK_OFF * u32::from(self.rounds)).await;
        }
        let responses: Vec<String> =
            responses.iter().map(|(key, answer)| format!("{}:{answer}", quoted(key))).collect();
        let responses = (!responses.is_empty()).then(|| format!("{{{}}}", responses.join(",")));
        let round = Round { id: quoted(&Uuid::new_v4().simple().to_string()), responses, state };
        self.sent.clone_from(&round.id);
        let messages = self.send(Some(&round)).await?;
        self.now = Now::Reads(messages);
        Ok(())
    }
}

impl Source for Calling {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            match &self.now {
                Now::Ended => return Ok(None),
                Now::Waits { questions, .. } if questions.is_empty() => self.again().await?,
                Now::Waits { questions, .. } => {
                    let before = questions.len();
                    self.wait().await?;
                    if matches!(&self.now, Now::Waits { questions, .. } if questions.len() == before) {
                        return Ok(Some(ALIVE));
                    }
                }
                Now::Reads(_) => match self.read().await? {
                    Some(Said::Message(message)) if is_response(&message) => {
                        self.now = Now::Ended;
                        if let Some(answer) = self.answer(&message)? {
                            return Ok(Some(event(&answer)));
                        }
                    }
                    // Progress, and what is for the client's log. That era has no requests of a server's.
                    Some(Said::Message(message)) if !is_request(&message) => {
                        return Ok(Some(event(&message)));
                    }
                    Some(Said::Message(_) | Said::Alive) => return Ok(Some(ALIVE)),
                    Some(Said::End) | None => {
                        self.now = Now::Ended;
                        return Ok(None);
                    }
                },
            }
        }
    }
}

fn is_request(message: &str) -> bool {
    let members: Result<Members<'_>, _> = serde_json::from_str(message);
    members.is_ok_and(|members| members.get("id").is_some())
}

fn taken_back() -> Refusal {
    Refusal::new(Code::UpstreamInterrupted, "the client took the call back")
}
