//! The way back. What becomes of an upstream's answer is a [`Plan`], chosen once from what was asked and how the answer begins,
//! and carried out as it stands there.

mod asking;
mod begin;
mod bounds;
mod collect;
mod cooperative;
pub(crate) mod encoding;
mod gathered;
mod judge;
mod kept;
mod listings;
mod lowered;
mod member;
mod passage;
mod plan;
mod redacted;
mod revocation;
mod stream;
mod tagged;
mod tail;
mod taken_back;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::Body as _;
use tokio::time::Instant;
use vidimus_core::call::Destination;
use vidimus_core::caller::Caller;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Endpoint, HeaderRules};
use vidimus_core::snapshot::Snapshot;

use crate::changes::{Redaction, Screen};
use crate::effect::Effect;
use crate::forward::{Body, headers};
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::event::Change;
use crate::protocol::handles::Handles;
use crate::protocol::llm::added_usage::WithoutUsage;
use crate::protocol::mcp::listing_filter::{Beside, ServerEvents};
use crate::protocol::mcp::results::{HeldResults, OutputSchema};
use crate::protocol::observe::{Observation, Observer, Sought};
use crate::protocol::rest::Came;
use crate::protocol::sse::{EventFilter, EventStream, TooLong};
use crate::protocol::{Answer, Binding, DocumentChange, EventChange, a2a, mcp};
use crate::reply::ReplyBody;
use crate::seal;
use crate::trace::TraceContext;
use crate::unrecorded::closed;

use begin::Begin;
use collect::{Collected, collect, longer_than, shows_something_within};
use cooperative::Cooperative;
use encoding::{Decoder, Encoding};
pub use listings::{filtered, looked_at};
use plan::Plan;
pub use revocation::{Asked, found, rebound, taken_back_before};
pub use stream::ResponseStream;
use stream::{Content, LastWords};
pub use taken_back::Ongoing;

/// What an answer is treated by.
#[derive(Debug)]
pub struct Answering<'a> {
    pub gate: &'a Gate,
    /// The configuration that decided.
    pub world: Arc<Snapshot>,
    pub caller: Caller,
    pub destination: Destination,
    /// What the caller speaks.
    pub binding: &'static dyn Binding,
    pub answer: Answer,
    /// The id of the message, where one is to be answered that has one, as the caller wrote it.
    pub id: Option<Arc<str>>,
    pub asked: Asked,
    /// What of it policies keep from the caller.
    pub redaction: Option<Redaction>,
    /// The guards that look at it.
    pub screen: Option<Screen>,
    /// Where it is no call's own: those that look at it whatever the policies in force say.
    pub beside: Option<Screen>,
    /// What the result of a pinned tool is held to.
    pub results: Option<Arc<OutputSchema>>,
    /// The name of the member that answers, where the call came by a server with members.
    pub member: Option<Arc<str>>,
    /// The entity tags of what the caller has already.
    pub had: Vec<HeaderValue>,
    /// The ids of the gateway's span.
    pub trace: TraceContext,
}

impl Answering<'_> {
    /// Passes the upstream's answer on and records the effect.
    ///
    /// # Errors
    /// The refusal to answer with instead, once its effect is on record.
    pub async fn pass(
        mut self: Box<Self>,
        response: Response<Body>,
        mut effect: Box<Effect>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (binding, limit) = (self.binding, self.gate.limits.held_answer);
        let (parts, body) = response.into_parts();
        let body = Cooperative::new(body);
        effect.status = parts.extensions.get().map_or(parts.status, |came: &Came| came.status).as_u16();
        let (mut head, dropped) = headers::to_caller(&parts.headers, body.size_hint().exact(), self.rules());
        dropped.report(&self.gate.meter, effect.call());
        let is_bare = self.screen_beside(&mut effect);
        let without_words = self.is_read() || !matches!(is_bare, Ok(false));
        if without_words {
            head = headers::bare(&head);
        }
        let planned = is_bare.and_then(|is_bare| {
            self.seal(&parts.headers, &mut head)?;
            let plan = Plan::of(self.answer, &parts, body.size_hint().exact(), &self.gate.limits)?;
            Ok((self.reading(plan, is_bare), is_bare))
        });
        let handles = planned.as_ref().ok().and_then(|(plan, _)| self.handles(*plan));
        effect.task = handles.as_ref().map(Handles::first_task);
        let done = match planned {
            Ok((plan, is_bare)) => {
                let begin = Begin::of(&parts, &mut head);
                let done = {
                    let work = pin!(self.execute(plan, body, begin, (&mut *effect, handles)));
                    self.unless_taken_back(work).await.unwrap_or_else(Err)
                };
                // Of an answer that has not begun to pass, a refusal can still tell why it does not.
                let done = done
                    .and_then(|done| if is_bare { self.bare(done) } else { self.changed_for_caller(done) });
                match done.and_then(|done| self.of_member(done)) {
                    Ok(done) => self.asked(done, &effect).await,
                    Err(refusal) => Err(refusal),
                }
            }
            Err(refusal) => Err(refusal),
        };
        let done = done.and_then(|done| self.check_still_allowed().map(|()| done));
        let mut status = parts.status;
        let done = done.and_then(|done| self.lowered(done, &parts, (&mut head, &mut status)));
        let done = done.map(|done| self.tagged(done, (&mut head, &mut status)));
        let body = match done {
            Ok(Done::Whole(bytes)) => {
                effect.passed(&bytes, false);
                let ending = effect.of_whole_answer();
                effect.record(ending).await.map_err(closed)?;
                // The record took its time, and who cut the call meanwhile was told that it is cut. That it ended is so all the same.
                self.check_still_allowed()?;
                ReplyBody::whole(bytes)
            }
            Ok(Done::Stream(content)) => {
                let last_words = LastWords { binding: self.binding, id: self.id.clone() };
                let asking = self.asking(&parts);
                let bounds = self.bounds(millis(effect.started.wall));
                ReplyBody::stream(ResponseStream::new(*content, effect, (bounds, asking), last_words))
            }
            Err(refusal) => {
                let told = judge::with_answer(refusal, &parts);
                let refusal = if without_words { Redaction::without_words(told) } else { told };
                Box::pin(effect.record_refused(&refusal)).await.map_err(closed)?;
                return Err(refusal);
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        Ok(binding.sent(response, limit))
    }

    /// Carries out the plan as far as the answer is read here.
    async fn execute(
        &self,
        plan: Plan,
        body: Upstream,
        mut begin: Begin<'_>,
        (effect, handles): (&mut Effect, Option<Handles>),
    ) -> Result<Done, Refusal> {
        let limits = &self.gate.limits;
        self.readable(plan, &mut begin)?;
        let until = |most: Duration| Instant::now() + limits.idle_stream.min(most);
        match plan {
            // What is encoded and need not be read passes as it says.
            Plan::Pass if begin.encoding != Encoding::Identity => {
                Ok(self.encoded(Bytes::new(), body, &mut begin))
            }
            Plan::Pass => {
                match collect(body, shows_something_within(plan::SMALL), until(plan::LOOK)).await? {
                    Collected::Whole(bytes) => self.whole(bytes, begin, effect).map(Done::Whole),
                    Collected::Begun(begun, rest) | Collected::Late(begun, rest) => {
                        self.begun(begun, rest, &mut begin)
                    }
                }
            }
            Plan::Collect { limit } => match collect(body, longer_than(limit), until(plan::LOOK)).await? {
                Collected::Whole(bytes) => self.whole(bytes, begin, effect).map(Done::Whole),
                // Nothing needs it whole, so one that is slow is passed on as well.
                Collected::Begun(begun, rest) | Collected::Late(begun, rest) => {
                    self.begun(begun, rest, &mut begin)
                }
            },
            Plan::Error { limit } => match collect(body, longer_than(limit), until(plan::ERROR)).await? {
                Collected::Whole(bytes) => self.error(bytes, begin, effect).map(Done::Whole),
                // It may be a result all the same, so what would have to be filtered does not pass unread.
                Collected::Begun(begun, rest) | Collected::Late(begun, rest)
                    if begun.trim_ascii_start().starts_with(b"{") && !self.has_to_be_read() =>
                {
                    Ok(self.document(begun, rest, &begin))
                }
                Collected::Begun(begun, _) | Collected::Late(begun, _) => Err(begin.not_of_protocol(&begun)),
            },
            Plan::Change { limit, change } => {
                // It has this time in all, not from chunk to chunk: nothing of it passes before its end.
                let bytes = match collect(body, longer_than(limit), until(Duration::MAX)).await? {
                    // Nothing of it passes, and it may be the only event of a stream.
                    Collected::Whole(bytes)
                        if change == DocumentChange::McpVersions && begin.status < 400 =>
                    {
                        begin.decoded(bytes, limits.held_answer)?
                    }
                    Collected::Whole(bytes) => self.whole(bytes, begin, effect)?,
                    Collected::Late(..) => return Err(did_not_end()),
                    Collected::Begun(begun, rest) if change.too_long() == TooLong::Passes => {
                        return self.begun(begun, rest, &mut begin);
                    }
                    Collected::Begun(..) => {
                        let message = format!("the upstream's answer is larger than {limit} bytes");
                        return Err(Refusal::new(Code::UpstreamInvalid, message));
                    }
                };
                self.changed(change, &bytes, handles.as_ref()).await.map(Done::Whole)
            }
            // A stream of nothing has ended: HTTP would not ask for its end.
            Plan::Events { .. } if body.is_end_stream() => {
                self.whole(Bytes::new(), begin, effect).map(Done::Whole)
            }
            Plan::Events { change } => {
                if self.screen.is_some() || self.results.is_some() {
                    plan::readable(begin.said)?;
                }
                let events = change
                    .map(|change| self.filtered(change, handles, effect.instructions.clone()))
                    .transpose()?;
                Ok(self.events(body, events.or_else(|| self.screened()), &mut begin))
            }
        }
    }

    /// An answer that is passed on as it comes, where it may begin like this.
    fn begun(&self, begun: Bytes, rest: Upstream, begin: &mut Begin<'_>) -> Result<Done, Refusal> {
        if begin.encoding != Encoding::Identity {
            return Ok(self.encoded(begun, rest, begin));
        }
        if begun.trim_ascii().is_empty() {
            // What it begins with comes later, and is looked at then.
            let content = self.content(begun, rest, begin).judged_by(self.sought());
            return Ok(Done::Stream(Box::new(content)));
        }
        if !judge::may_begin(&self.sought(), &begun) {
            return Err(begin.not_of_protocol(&begun));
        }
        Ok(self.document(begun, rest, begin))
    }

    /// A document that is passed on as it comes.
    fn document(&self, begun: Bytes, rest: Upstream, begin: &Begin<'_>) -> Done {
        Done::Stream(Box::new(self.content(begun, rest, begin)))
    }

    fn content(&self, begun: Bytes, rest: Upstream, begin: &Begin<'_>) -> Content {
        let sought = self.sought();
        let observer = match begin.encoding {
            Encoding::Identity => Observer::document(sought),
            Encoding::Gzip | Encoding::Other => Observer::encoded(sought),
        };
        Content::new(rest, observer).after(begun).of_length(begin.head)
    }

    /// Events that are passed on as they come, or each through a filter.
    fn events(&self, body: Upstream, filter: Option<EventStream>, begin: &mut Begin<'_>) -> Done {
        // A proxy in front of the gateway must not hold back events (MCP 2026-07-28, transports).
        begin.head.insert("x-accel-buffering", HeaderValue::from_static("no"));
        let decoder = (begin.encoding == Encoding::Gzip && filter.is_some()).then(|| {
            begin.head.remove(CONTENT_ENCODING);
            Decoder::new(self.gate.limits.held_answer)
        });
        if filter.is_some() {
            begin.head.remove(CONTENT_LENGTH);
        }
        let is_read = begin.encoding == Encoding::Identity || decoder.is_some();
        let sought = self.sought();
        let observer = if is_read { Observer::events(sought) } else { Observer::encoded(sought) };
        let content = Content::new(body, observer).decoded_by(decoder).through(filter);
        Done::Stream(Box::new(content.of_length(begin.head)))
    }

    /// An answer that was read whole, decoded, which has to be one, or where its status is an error the protocol's own error.
    fn whole(&self, bytes: Bytes, mut begin: Begin<'_>, effect: &mut Effect) -> Result<Bytes, Refusal> {
        effect.heard();
        let bytes = begin.decoded(bytes, self.gate.limits.held_answer)?;
        let (sought, found) = self.observed(&bytes, begin.encoding, effect);
        let is_answer = begin.encoding == Encoding::Other || judge::is_answer(&sought, found, &bytes);
        if is_answer || begin.status >= 400 && judge::is_error(&sought, found, &bytes) {
            return Ok(bytes);
        }
        Err(begin.not_of_protocol(&bytes))
    }

    /// The answer of an error status that was read whole, decoded, which has to be the protocol's own error.
    fn error(&self, bytes: Bytes, mut begin: Begin<'_>, effect: &mut Effect) -> Result<Bytes, Refusal> {
        effect.heard();
        let bytes = begin.decoded(bytes, self.gate.limits.held_answer)?;
        let (sought, found) = self.observed(&bytes, begin.encoding, effect);
        if judge::is_error(&sought, found, &bytes) {
            return Ok(bytes);
        }
        Err(begin.not_of_protocol(&bytes))
    }

    /// What the record needs of an answer that was read whole.
    fn observed(&self, bytes: &[u8], encoding: Encoding, effect: &mut Effect) -> (Sought, Observation) {
        let sought = self.sought();
        let mut found = effect.telling(|told| Observation::telling(&sought, bytes, told));
        found.unread |= encoding == Encoding::Other;
        effect.instructions.iter().for_each(|said| said.look(bytes, self.destination.id()));
        effect.observed(found);
        (sought, found)
    }

    /// Whether an answer that is a document may not pass unless it was read whole.
    fn has_to_be_read(&self) -> bool {
        self.answer.document.is_some_and(|change| change.too_long() == TooLong::EndsStream)
    }

    /// Who answers: the destination, or who does in its place.
    pub(crate) fn answers(&self) -> &Destination {
        self.asked.by().map_or(&self.destination, |(by, _)| by)
    }

    /// What the destination's record says of header fields.
    fn rules(&self) -> Option<&HeaderRules> {
        self.answers().endpoint().map(|endpoint| &endpoint.headers)
    }

    fn sought(&self) -> Sought {
        // The upstream answers by the id that the request went out with.
        let asked = self.redaction.as_ref().map(|redaction| &redaction.id);
        Sought { observe: self.answer.observe, id: self.id.as_ref().map(|id| asked.unwrap_or(id).clone()) }
    }

    /// That the call may be made still, when its answer is about to pass: the configuration may have changed, or its chain have ended.
    fn check_still_allowed(&self) -> Result<(), Refusal> {
        let (shared, world) = (&self.gate.shared, &self.world);
        let code = self.asked.taken_back(shared, world, &self.caller, &self.destination);
        code.map_or(Ok(()), |code| Err(self.taken_back(code)))
    }

    /// Who holds the ids in an answer, where it is planned that ids in it are changed. Most answers have none.
    fn handles(&self, plan: Plan) -> Option<Handles> {
        let changes = match plan {
            Plan::Change { change, .. } => {
                matches!(change, DocumentChange::McpTasks(_) | DocumentChange::A2aTasks(..))
            }
            Plan::Events { change } => {
                matches!(change, Some(EventChange::Listings(_) | EventChange::A2aTasks(..)))
            }
            Plan::Pass | Plan::Collect { .. } | Plan::Error { .. } => false,
        };
        changes.then(|| {
            let (shared, destination) = (self.gate.shared.clone(), self.destination.clone());
            Handles::new(shared, destination, self.caller.clone(), self.asked.clone())
        })
    }

    async fn changed(
        &self,
        change: DocumentChange,
        bytes: &Bytes,
        handles: Option<&Handles>,
    ) -> Result<Bytes, Refusal> {
        let handles = || handles.ok_or_else(no_handles);
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8"))?;
        let changed = match change {
            DocumentChange::Listing(listing) => self.listing(bytes.clone(), listing).await,
            DocumentChange::Card { rpc } => self.card(text, rpc),
            // That is done last, whatever else is changed.
            DocumentChange::Redacted
            | DocumentChange::OfMember
            | DocumentChange::Asks
            | DocumentChange::Introduction => {
                return Ok(bytes.clone());
            }
            DocumentChange::McpVersions => Err(mcp::versions::learned(self.gate, &self.destination, text)),
            DocumentChange::McpTasks(_) => match mcp::sealed::message(text, handles()?)? {
                Change::To(changed) => Ok(changed),
                Change::Same => return Ok(bytes.clone()),
                Change::Drop => Err(Refusal::new(
                    Code::UpstreamInvalid,
                    "the upstream answered with news of a task, which is no answer",
                )),
            },
            DocumentChange::A2aTasks(shape, framing) => {
                match a2a::sealed::framed(text, (shape, framing), handles()?)? {
                    Some(changed) => Ok(changed),
                    None => return Ok(bytes.clone()),
                }
            }
        };
        changed.map(Bytes::from)
    }

    fn card(&self, text: &str, rpc: bool) -> Result<String, Refusal> {
        let Destination::Agent(agent) = &self.destination else {
            return Err(Refusal::new(Code::Internal, "a card is that of an agent"));
        };
        let passing = a2a::card::Passing::of(agent, &self.gate.public_url, &self.gate.mint);
        a2a::card::rewrite(text, &passing, rpc)
    }

    fn filtered(
        &self,
        change: EventChange,
        handles: Option<Handles>,
        instructions: Option<mcp::introduction::Instructions>,
    ) -> Result<EventStream, Refusal> {
        let held = self.gate.limits.held_answer;
        Ok(match change {
            EventChange::Listings(too_long) => {
                let (listings, handles) = (self.listing_filter()?, handles.ok_or_else(no_handles)?);
                let (is_redacted, is_beside) = (self.redaction.is_some(), self.is_beside());
                let beside = self.beside.clone().map(|screen| Beside { own: self.own(), screen });
                let mut filter: Box<dyn EventFilter> =
                    Box::new(ServerEvents::new((listings, handles), is_redacted, beside, instructions));
                if let Some(schema) = self.results.clone() {
                    filter = Box::new(HeldResults { filter, schema });
                }
                if let Some(redaction) = self.redaction.clone() {
                    filter = redaction.after(filter, self.own());
                }
                // On a stream of no call those look that have to at the time.
                if let Some(screen) = self.screen.clone().filter(|_| !is_beside) {
                    filter = screen.after(filter);
                }
                if let Some(member) = self.member.clone() {
                    filter = Box::new(mcp::multiplex::back::MemberEvents { filter, member });
                }
                let ends = is_beside || self.is_read() || self.results.is_some();
                EventStream::new(filter, held, if ends { TooLong::EndsStream } else { too_long })
            }
            EventChange::A2aTasks(shape, framing) => {
                let handles = handles.ok_or_else(no_handles)?;
                let filter = Box::new(a2a::sealed::AgentEvents { shape, framing, handles });
                self.looked_at(filter, (held, shape.too_long()))
            }
            EventChange::WithoutUsage => {
                self.looked_at(Box::new(WithoutUsage), (WithoutUsage::MAX_EVENT, TooLong::Passes))
            }
        })
    }

    /// The upstream's session id stays here; the caller gets one that only it can use.
    fn seal(&self, from: &HeaderMap, to: &mut HeaderMap) -> Result<(), Refusal> {
        to.remove(const { HeaderName::from_static(mcp::SESSION_HEADER) });
        let sealed = self.answer.seals.and_then(|(name, kind)| Some((name, kind, from.get(name)?)));
        let Some((name, kind, id)) = sealed else { return Ok(()) };
        let unusable = || Refusal::new(Code::UpstreamInvalid, "the upstream's session id is not usable");
        let binding = seal::binding(&self.destination, &self.caller);
        let is_of_members = self.destination.endpoint().is_some_and(Endpoint::is_of_members);
        let longest = if is_of_members { mcp::multiplex::MAX_SESSION } else { seal::MAX_ID };
        let id = id.to_str().ok().filter(|id| id.len() <= longest).ok_or_else(unusable)?;
        let sealed = self.gate.seal.seal(kind, &binding, &Part::Whole, id);
        let sealed = sealed.map_err(|_| unusable())?;
        to.insert(name, HeaderValue::from_str(&sealed).map_err(|_| unusable())?);
        Ok(())
    }
}

/// The body of an upstream's answer.
type Upstream = Cooperative<Body>;

/// An answer as far as it is read here.
enum Done {
    Whole(Bytes),
    Stream(Box<Content>),
}

fn no_handles() -> Refusal {
    Refusal::new(Code::Internal, "nobody holds the ids in this answer")
}

fn did_not_end() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the upstream's answer did not end")
}
