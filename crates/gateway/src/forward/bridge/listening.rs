//! What a server tells by itself: `subscriptions/listen` of one era, and the stream of a session with `resources/subscribe` of the other.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use tokio::sync::watch;
use vidimus_core::refusal::Refusal;

use super::super::Body;
use super::held::Session as OfServer;
use super::sessions::{answer_of_ours, begin, in_session};
use super::wire::{ALIVE, Messages, Said, event};
use super::{Source, Way, events, is_response, not_allowed, response_of};
use crate::protocol::mcp::bridge::session::Session;
use crate::protocol::mcp::bridge::to_sessions::{Client, Wanted, listened, unwritten};
use crate::protocol::mcp::bridge::{to_stateless, unlike};
use crate::protocol::members::{Members, quoted, text};

/// The id of the gateway's own request to listen.
const LISTENING: &str = r#""vidimus-listens""#;

/// A client without a session listens. It has a session of its own for that, whose stream tells it alone, and which ends with it.
pub(super) async fn to_sessions(
    way: Way,
    client: Client,
    wanted: Wanted,
    params: Option<&str>,
) -> Result<Response<Body>, Refusal> {
    let session = begin(&way, &client, params).await?;
    let wanted = wanted.of_what_is_told(&session.begun);
    let mut listener =
        Listener { way, session, messages: None, client, wanted, is_acknowledged: false, has_ended: false };
    for uri in std::mem::take(&mut listener.wanted.uris) {
        if follows(&listener.way, &listener.session, &uri).await? {
            listener.wanted.uris.push(uri);
        }
    }
    let headers = in_session(&listener.way, &listener.session)?;
    let messages = Messages::of(listener.way.wire.ask(Method::GET, headers).await?)?;
    // One that has no such stream tells nothing, which is what it is acknowledged as.
    match messages.status.is_success() && messages.is_stream {
        true => listener.messages = Some(messages),
        false => listener.wanted = Wanted::default(),
    }
    Ok(events(listener))
}

/// One that listens in a session of its own.
struct Listener {
    way: Way,
    session: OfServer,
    /// The server's own stream, where it has one.
    messages: Option<Messages>,
    client: Client,
    wanted: Wanted,
    is_acknowledged: bool,
    has_ended: bool,
}

/// Asks the server to tell of a resource; whether it does.
async fn follows(way: &Way, session: &OfServer, uri: &str) -> Result<bool, Refusal> {
    let (id, uri) = (session.next_request(), quoted(uri));
    let message =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/subscribe","params":{{"uri":{uri}}}}}"#);
    let mut messages = Messages::of(way.wire.post(in_session(way, session)?, message).await?)?;
    let answer = way.wire.soon(response_of(&mut messages)).await?;
    let answer: Members<'_> =
        serde_json::from_str(&answer).map_err(|_| unlike("what the server answered could not be read"))?;
    Ok(answer.get("result").is_some())
}

impl Source for Listener {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let id = self.client.id.as_str();
        if !std::mem::replace(&mut self.is_acknowledged, true) {
            return Ok(Some(event(&self.wanted.acknowledged(id))));
        }
        let Some(messages) = &mut self.messages else {
            let has_ended = std::mem::replace(&mut self.has_ended, true);
            return Ok((!has_ended).then(|| event(&listened(id))));
        };
        let message = match messages.next().await? {
            Said::Message(message) => message,
            Said::Alive => return Ok(Some(ALIVE)),
            Said::End => {
                (self.messages, self.has_ended) = (None, true);
                return Ok(Some(event(&listened(id))));
            }
        };
        let members =
            Members::unique(&message).map_err(|_| unlike("what the server tells could not be read"))?;
        if let (Some(method), Some(asks)) = (members.get("method").and_then(text), members.get("id")) {
            // Who listens answers nothing.
            let answer = answer_of_ours(asks.get(), &method);
            self.way.wire.post(in_session(&self.way, &self.session)?, answer).await?;
            return Ok(Some(ALIVE));
        }
        Ok(Some(self.wanted.told(&message, &members, id).map_or(ALIVE, |told| event(&told))))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.session.id.is_none() {
            return;
        }
        let Ok(headers) = in_session(&self.way, &self.session) else { return };
        let wire = self.way.wire.clone();
        runtime.spawn(async move {
            if let Err(refusal) = wire.ask(Method::DELETE, headers).await {
                tracing::debug!(%refusal, "a server was not told that a session has ended");
            }
        });
    }
}

/// The stream of a client's session: the server is asked to tell what such a stream tells, and asked anew when the client wants to be
/// told of other resources.
pub(super) async fn to_stateless(way: Way, session: Session) -> Result<Response<Body>, Refusal> {
    let followed = way.held.followed(&way.holder, &session.number);
    let mut stream = Stream { way, session, followed, messages: None };
    let messages = stream.listen().await?;
    if !messages.status.is_success() || !messages.is_stream {
        // It does not serve that: a client goes on without.
        return Ok(not_allowed("POST, DELETE"));
    }
    stream.messages = Some(messages);
    Ok(events(stream))
}

struct Stream {
    way: Way,
    session: Session,
    followed: watch::Receiver<BTreeSet<String>>,
    messages: Option<Messages>,
}

impl Stream {
    async fn listen(&mut self) -> Result<Messages, Refusal> {
        let uris: Vec<String> = self.followed.borrow_and_update().iter().cloned().collect();
        let mut headers = self.way.wire.headers()?;
        to_stateless::label(&mut headers, "subscriptions/listen", None);
        let message = to_stateless::listen(&self.session, LISTENING, &uris).ok_or_else(unwritten)?;
        Messages::of(self.way.wire.post(headers, message).await?)
    }
}

impl Source for Stream {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        let said = tokio::select! {
            biased;
            // Where nobody can want anything else any more, the stream goes on as it is.
            Ok(()) = self.followed.changed() => None,
            said = messages.next() => Some(said?),
        };
        match said {
            None => {
                let messages = self.listen().await?;
                let goes_on = messages.status == StatusCode::OK && messages.is_stream;
                self.messages = goes_on.then_some(messages);
                Ok(goes_on.then_some(ALIVE))
            }
            Some(Said::Message(message)) if is_response(&message) => {
                self.messages = None;
                Ok(None)
            }
            Some(Said::Message(message)) => Ok(Some(told(&message).map_or(ALIVE, |told| event(&told)))),
            Some(Said::Alive) => Ok(Some(ALIVE)),
            Some(Said::End) => {
                self.messages = None;
                Ok(None)
            }
        }
    }
}

/// What a client with a session is told; `None` of what it does not know, and of what asks.
fn told(message: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(message).ok()?;
    let method = members.get("method").and_then(text)?;
    let is_known = method != "notifications/subscriptions/acknowledged" && members.get("id").is_none();
    is_known.then(|| message.to_owned())
}
