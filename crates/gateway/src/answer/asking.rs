//! What a server asks of its client within an answer (ADR 97): decided before it passes. A stream stops at the event that asks, and goes on
//! once that is decided.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use serde::de::IgnoredAny;
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Code, Refusal};

use super::begin::Begin;
use super::encoding::Decoder;
use super::plan::Plan;
use super::stream::{Content, ResponseStream};
use super::{Answering, Done, Upstream, plan};
use crate::effect::Effect;
use crate::forward::Back;
use crate::gate::Gate;
use crate::handle::question::InCall;
use crate::protocol::Binding as _;
use crate::protocol::mcp::{StreamableHttp, questions};
use crate::protocol::observe::Observer;
use crate::protocol::question::Question;
use crate::protocol::sse::EventStream;
use crate::trace::TraceContext;

/// By what it is decided what a server asks in a stream.
#[derive(Debug)]
pub struct Asking {
    gate: Gate,
    /// That of the call.
    trace: TraceContext,
    /// The way to tell the server, where it asks by requests of its own.
    back: Option<Back>,
}

/// What comes to be decided: what the server was told, where it is refused and the stream goes on.
pub struct Deciding(Pin<Box<dyn Future<Output = Result<Option<String>, Refusal>> + Send>>);

impl fmt::Debug for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deciding")
    }
}

/// Decides what one event asks; what of it is refused, the server is told, where there is a way back to it.
///
/// # Errors
/// What the caller is told in place of the answer, where the server cannot be.
async fn decided(
    gate: &Gate,
    of: &InCall,
    questions: &[Question],
    back: Option<Back>,
) -> Result<Option<String>, Refusal> {
    for question in questions {
        let Err(refusal) = of.check(gate, question).await else { continue };
        let (Some(back), Some(id)) = (&back, &question.id) else { return Err(refused(refusal, question)) };
        // What cannot be recorded is no denial, and nothing goes on.
        if refusal.code == Code::LedgerClosed {
            return Err(refusal);
        }
        back.answer(StreamableHttp.refused(&refusal, &of.call, Some(id)).into_body())?;
        return Ok(Some(format!(
            "refused what the server asks: {} ({})",
            question.method,
            refusal.code.as_str()
        )));
    }
    Ok(None)
}

/// A refusal of what a server asks, in words for its caller.
fn refused(refusal: Refusal, question: &Question) -> Refusal {
    if refusal.code == Code::LedgerClosed {
        return refusal;
    }
    let message =
        format!("the server asks its client for {}, which is refused: {}", question.method, refusal.message);
    Refusal { message: message.into(), ..refusal }
}

impl Answering<'_> {
    /// Whether it is a server that answers, which may ask something in it.
    pub(super) const fn may_ask(&self) -> bool {
        matches!(self.destination, Destination::Server(_))
    }

    /// By what it is decided what is asked in a stream.
    pub(super) fn asking(&self, parts: &Parts) -> Option<Asking> {
        self.may_ask().then(|| Asking {
            gate: self.gate.clone(),
            trace: self.trace,
            back: parts.extensions.get::<Back>().cloned(),
        })
    }

    /// A whole answer, once what it asks of the client is decided.
    ///
    /// # Errors
    /// The refusal of what it asks.
    pub(super) async fn asked(&self, done: Done, effect: &Effect) -> Result<Done, Refusal> {
        let Done::Whole(bytes) = &done else { return Ok(done) };
        if !self.may_ask() {
            return Ok(done);
        }
        self.check_is_no_stream(bytes)?;
        let asked = questions::in_document(bytes)?;
        if !asked.is_empty() {
            let of = InCall::of((&self.asked, &self.caller, &self.destination), effect, self.trace);
            // Few answers ask, and what is kept in place is moved with each.
            Box::pin(decided(self.gate, &of, &asked, None)).await?;
        }
        Ok(done)
    }

    /// A document in an encoding, passed on as it comes: as it says, but that of a server decoded, which may ask something in it.
    pub(super) fn encoded(&self, begun: Bytes, rest: Upstream, begin: &mut Begin<'_>) -> Done {
        if !self.may_ask() {
            return self.document(begun, rest, begin);
        }
        begin.head.remove(CONTENT_ENCODING);
        begin.head.remove(CONTENT_LENGTH);
        let decoder = Decoder::new(self.gate.limits.held_answer);
        let content = Content::new(rest, Observer::document(self.sought())).after(begun);
        Done::Stream(Box::new(content.decoded_by(Some(decoder)).judged_by(self.sought())))
    }

    /// That an answer can be read in which something may be asked, and is said to be what it is read as: told of another type or charset, or of two, its
    /// client would read another answer in the same bytes.
    ///
    /// # Errors
    /// `upstream_invalid` for an encoding that is not read: none was asked for.
    pub(super) fn readable(&self, plan: Plan, begin: &mut Begin<'_>) -> Result<(), Refusal> {
        if !self.may_ask() {
            return Ok(());
        }
        plan::readable(begin.said)?;
        if begin.head.contains_key(CONTENT_TYPE) {
            let is_events = matches!(plan, Plan::Events { .. });
            let kind = if is_events { "text/event-stream" } else { "application/json" };
            begin.head.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(())
    }

    /// Whether it is the stream of a session (GET), or one that is resumed. Some clients read whatever comes there as events, so a document in its place is
    /// read whole, and is one to all: no line of JSON is an event's.
    pub(super) fn is_stream(&self) -> bool {
        self.may_ask() && self.answer.open_ended && self.id.is_none()
    }

    fn check_is_no_stream(&self, document: &[u8]) -> Result<(), Refusal> {
        let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
        let is_json = || serde_json::from_slice::<IgnoredAny>(document).is_ok();
        if !self.is_stream() || document.trim_ascii().is_empty() || is_json() {
            return Ok(());
        }
        let message =
            "what the server answers where the stream of a session was asked for is neither events nor JSON";
        Err(Refusal::new(Code::UpstreamInvalid, message))
    }
}

impl ResponseStream {
    /// Begins to decide what the event asks at which the stream has stopped, if it has.
    ///
    /// # Errors
    /// `internal` where nobody could decide.
    pub(super) fn stopped(&mut self) -> Result<(), Refusal> {
        let Some(questions) = self.content.events.as_ref().and_then(EventStream::asked) else {
            return Ok(());
        };
        let (Some(asking), Some(effect)) = (&self.asking, &self.effect) else {
            return Err(Refusal::new(Code::Internal, "nobody decides what is asked in this answer"));
        };
        let (questions, of) = (questions.to_vec(), self.bounds.in_call(effect, asking.trace));
        let (gate, back) = (asking.gate.clone(), asking.back.clone());
        let deciding = async move { decided(&gate, &of, &questions, back).await };
        self.deciding = Some(Deciding(Box::pin(deciding)));
        Ok(())
    }

    /// Goes on once that is decided. What passed before is written meanwhile, if there is `Some`.
    ///
    /// # Errors
    /// By what the stream ends.
    pub(super) fn poll_decided(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        let Some(Deciding(deciding)) = &mut self.deciding else { return Poll::Ready(Ok(None)) };
        let Poll::Ready(decided) = deciding.as_mut().poll(cx) else {
            if let Some(before) = ready!(self.gathered.poll_take(cx)) {
                return Poll::Ready(Ok(Some(before)));
            }
            let code = ready!(self.bounds.poll_ended(cx));
            return Poll::Ready(Err(Refusal::new(code, "what the server asks was not decided in time")));
        };
        self.deciding = None;
        Poll::Ready(self.went_on(decided).map(|()| None))
    }

    fn went_on(&mut self, decided: Result<Option<String>, Refusal>) -> Result<(), Refusal> {
        let told = decided.inspect_err(|_| self.asks_refused = true)?;
        if let (Some(told), Some(effect)) = (&told, &mut self.effect) {
            effect.note(told);
        }
        // It may have taken its time.
        self.bounds.heard().map_err(|code| Refusal::new(code, ""))?;
        let Some(events) = &mut self.content.events else { return Ok(()) };
        let data = events.go_on(told.is_none())?;
        self.count(&data);
        self.gather(data);
        self.stopped()
    }
}
