//! The way back. What becomes of an upstream's answer is a [`Plan`], chosen once from what was asked and how the answer begins,
//! and carried out as it stands there.

mod cooperative;
mod gathered;
mod plan;
mod revocation;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;
use vidimus_core::call::Destination;
use vidimus_core::caller::Caller;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::effect::{Effect, Ending};
use crate::forward::headers;
use crate::gate::{Gate, millis};
use crate::part::Part;
use crate::protocol::event::Change;
use crate::protocol::handles::Handles;
use crate::protocol::llm::added_usage::WithoutUsage;
use crate::protocol::mcp::listing_filter::{ListingFilter, ServerEvents};
use crate::protocol::observe::{Observation, Observer, Sought};
use crate::protocol::sse::{EventStream, TooLong};
use crate::protocol::{Answer, DocumentChange, EventChange, a2a, mcp};
use crate::reply::ReplyBody;
use crate::seal::{self, Kind};
use crate::unrecorded::closed;

use cooperative::Cooperative;
use plan::Plan;
use revocation::Revocation;
pub use revocation::{Asked, found, rebound};
pub use stream::ResponseStream;
use stream::{Bounds, Content};

/// What an answer is treated by.
#[derive(Debug)]
pub struct Answering<'a> {
    pub gate: &'a Gate,
    /// The configuration that decided.
    pub world: Arc<Snapshot>,
    pub caller: Caller,
    pub destination: Destination,
    pub answer: Answer,
    /// The id of the message, where one is to be answered that has one.
    pub id: Option<Arc<str>>,
    pub asked: Asked,
}

impl Answering<'_> {
    /// Passes the upstream's answer on and records the effect.
    ///
    /// # Errors
    /// The refusal to answer with instead, once its effect is on record.
    pub async fn pass(
        self,
        response: Response<Incoming>,
        mut effect: Effect,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (parts, body) = response.into_parts();
        let body = Cooperative::new(body);
        effect.status = parts.status.as_u16();
        let mut head = headers::to_caller(&parts.headers);
        let encoded = plan::is_encoded(&parts.headers);
        let planned = self
            .seal(&parts.headers, &mut head)
            .and_then(|()| Plan::of(self.answer, &parts, body.size_hint().lower(), &self.gate.limits));
        let handles = planned.as_ref().ok().and_then(|plan| self.handles(*plan));
        effect.task = handles.as_ref().map(Handles::first_task);
        let done = match planned {
            Ok(plan) => self.execute(plan, body, (&mut head, encoded), (&mut effect, handles)).await,
            Err(refusal) => Err(refusal),
        };
        // Of an answer that has not begun to pass, a refusal can still tell why it does not.
        let done = done.and_then(|done| self.check_still_allowed().map(|()| done));
        let body = match done {
            Ok(Done::Whole(bytes)) => {
                effect.bytes_out = bytes.len() as u64;
                let ending = effect.of_whole_answer();
                effect.record(ending).await.map_err(closed)?;
                ReplyBody::whole(bytes)
            }
            Ok(Done::Stream(content)) => {
                let bounds = self.bounds();
                ReplyBody::stream(ResponseStream::new(*content, effect, bounds))
            }
            Err(refusal) => {
                effect.record(Ending::Failed(refusal.code)).await.map_err(closed)?;
                return Err(refusal);
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        *response.headers_mut() = head;
        Ok(response)
    }

    /// Carries out the plan as far as the answer is read here. `encoded`: it is in an encoding that is not read.
    async fn execute(
        &self,
        plan: Plan,
        body: Upstream,
        (head, encoded): (&mut HeaderMap, bool),
        (effect, handles): (&mut Effect, Option<Handles>),
    ) -> Result<Done, Refusal> {
        let until = Instant::now() + self.gate.limits.idle_stream;
        let document =
            || if encoded { Observer::encoded(self.sought()) } else { Observer::document(self.sought()) };
        match plan {
            Plan::Pass => Ok(Done::Stream(Box::new(Content::new(body, document()).of_length(head)))),
            Plan::Collect { limit } => match collect(body, limit, until).await? {
                // Nothing needs it whole, so one that is slow is passed on as well.
                Collected::Begun(begun, rest) | Collected::Late(begun, rest) => {
                    Ok(Done::Stream(Box::new(Content::new(rest, document()).after(begun).of_length(head))))
                }
                Collected::Whole(bytes) => {
                    head.remove(CONTENT_LENGTH);
                    self.observe(&bytes, encoded, effect);
                    Ok(Done::Whole(bytes))
                }
            },
            Plan::Change { limit, change } => {
                // It has this time in all, not from chunk to chunk: nothing of it passes before its end.
                let bytes = match collect(body, limit, until).await? {
                    Collected::Whole(bytes) => bytes,
                    Collected::Late(..) => return Err(did_not_end()),
                    Collected::Begun(begun, rest) if change.too_long() == TooLong::Passes => {
                        let content = Content::new(rest, document()).after(begun).of_length(head);
                        return Ok(Done::Stream(Box::new(content)));
                    }
                    Collected::Begun(..) => {
                        let message = format!("the upstream's answer is larger than {limit} bytes");
                        return Err(Refusal::new(Code::UpstreamInvalid, message));
                    }
                };
                head.remove(CONTENT_LENGTH);
                self.observe(&bytes, encoded, effect);
                self.changed(change, &bytes, handles.as_ref()).map(Done::Whole)
            }
            // A stream of nothing has ended: HTTP would not ask for its end.
            Plan::Events { .. } if body.is_end_stream() => {
                head.remove(CONTENT_LENGTH);
                self.observe(&[], encoded, effect);
                Ok(Done::Whole(Bytes::new()))
            }
            Plan::Events { change } => {
                // A proxy in front of the gateway must not hold back events (MCP 2026-07-28, transports).
                head.insert("x-accel-buffering", HeaderValue::from_static("no"));
                let events = change.map(|change| self.filtered(change, handles)).transpose()?;
                if events.is_some() {
                    head.remove(CONTENT_LENGTH);
                }
                let sought = self.sought();
                let observer = if encoded { Observer::encoded(sought) } else { Observer::events(sought) };
                Ok(Done::Stream(Box::new(Content::new(body, observer).through(events).of_length(head))))
            }
        }
    }

    /// What the record needs of an answer that was read whole.
    fn observe(&self, bytes: &[u8], encoded: bool, effect: &mut Effect) {
        let mut found = Observation::of(&self.sought(), bytes);
        found.unread |= encoded;
        effect.observed(found);
    }

    fn sought(&self) -> Sought {
        Sought { observe: self.answer.observe, id: self.id.clone() }
    }

    /// That the call may be made still, when its answer is about to pass: the configuration may have changed while it came.
    fn check_still_allowed(&self) -> Result<(), Refusal> {
        if self.asked.is_taken_back(&self.gate.shared, &self.world, &self.caller, &self.destination) {
            let message = "the configuration changed before the answer had come, and does not allow the call any more; \
                it may have been carried out";
            return Err(Refusal::new(Code::Revoked, message));
        }
        Ok(())
    }

    /// Who holds the ids in an answer, where it is planned that ids in it are changed. Most answers have none.
    fn handles(&self, plan: Plan) -> Option<Handles> {
        let changes = match plan {
            Plan::Change { change, .. } => {
                matches!(change, DocumentChange::McpTasks(_) | DocumentChange::A2aTasks(_))
            }
            Plan::Events { change } => {
                matches!(change, Some(EventChange::Listings(_) | EventChange::A2aTasks(_)))
            }
            Plan::Pass | Plan::Collect { .. } => false,
        };
        changes.then(|| {
            let (shared, destination) = (self.gate.shared.clone(), self.destination.clone());
            Handles::new(shared, destination, self.caller.clone(), self.asked.clone())
        })
    }

    fn changed(
        &self,
        change: DocumentChange,
        bytes: &Bytes,
        handles: Option<&Handles>,
    ) -> Result<Bytes, Refusal> {
        let handles = || handles.ok_or_else(no_handles);
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8"))?;
        let changed = match change {
            DocumentChange::Listing(listing) => self.listing_filter()?.document(text, listing),
            DocumentChange::Card { rpc } => {
                let address = format!("{}/a2a/{}", self.gate.public_url, self.destination.id().id);
                a2a::card::rewrite(text, &address, rpc)
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
            DocumentChange::A2aTasks(shape) => match a2a::sealed::message(text, shape, handles()?)? {
                Some(changed) => Ok(changed),
                None => return Ok(bytes.clone()),
            },
        };
        changed.map(Bytes::from)
    }

    fn filtered(&self, change: EventChange, handles: Option<Handles>) -> Result<EventStream, Refusal> {
        let held = self.gate.limits.held_answer;
        Ok(match change {
            EventChange::Listings(too_long) => {
                let (listings, handles) = (self.listing_filter()?, handles.ok_or_else(no_handles)?);
                EventStream::new(Box::new(ServerEvents { listings, handles }), held, too_long)
            }
            EventChange::A2aTasks(shape) => {
                let handles = handles.ok_or_else(no_handles)?;
                let filter = Box::new(a2a::sealed::AgentEvents { shape, handles });
                EventStream::new(filter, held, shape.too_long())
            }
            EventChange::WithoutUsage => {
                EventStream::new(Box::new(WithoutUsage), WithoutUsage::MAX_EVENT, TooLong::Passes)
            }
        })
    }

    fn listing_filter(&self) -> Result<ListingFilter, Refusal> {
        let Destination::Server(server) = &self.destination else {
            return Err(Refusal::new(Code::Internal, "only an MCP server has listings"));
        };
        Ok(ListingFilter {
            shared: self.gate.shared.clone(),
            world: self.world.clone(),
            server: server.clone(),
            caller: self.caller.clone(),
            source_ip: self.asked.source_ip,
            fan_out: self.asked.fan_out,
        })
    }

    /// The upstream's session id stays here; the caller gets one that only it can use.
    fn seal(&self, from: &HeaderMap, to: &mut HeaderMap) -> Result<(), Refusal> {
        to.remove(mcp::SESSION_HEADER);
        let Some((name, id)) = self.answer.seals.and_then(|name| Some((name, from.get(name)?))) else {
            return Ok(());
        };
        let unusable = || Refusal::new(Code::UpstreamInvalid, "the upstream's session id is not usable");
        let binding = seal::binding(&self.destination, &self.caller);
        let id = id.to_str().ok().filter(|id| id.len() <= seal::MAX_ID).ok_or_else(unusable)?;
        let sealed = self.gate.seal.seal(Kind::Session, &binding, &Part::Whole, id);
        let sealed = sealed.map_err(|_| unusable())?;
        to.insert(name, HeaderValue::from_str(&sealed).map_err(|_| unusable())?);
        Ok(())
    }

    fn bounds(self) -> Bounds {
        let shared = &self.gate.shared;
        let expires = self.caller.proven.expires.filter(|_| self.answer.open_ended);
        let deadline = expires.map(|expires| {
            let left = expires.0.saturating_sub(millis(shared.clock.now().wall).0);
            Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or_default())
        });
        let idle = shared.limits.idle_stream;
        let revocation =
            Revocation::new(shared.clone(), self.asked, self.caller, self.destination, self.world);
        Bounds::new(idle, deadline, revocation)
    }
}

/// The body of an upstream's answer.
type Upstream = Cooperative<Incoming>;

/// An answer as far as it is read here.
enum Done {
    Whole(Bytes),
    Stream(Box<Content>),
}

/// An answer as far as it was read, and what is still to come.
enum Collected {
    Whole(Bytes),
    /// It is longer than what is read.
    Begun(Bytes, Upstream),
    /// It had not ended in time.
    Late(Bytes, Upstream),
}

fn no_handles() -> Refusal {
    Refusal::new(Code::Internal, "nobody holds the ids in this answer")
}

fn did_not_end() -> Refusal {
    Refusal::new(Code::UpstreamTimeout, "the upstream's answer did not end")
}

/// Reads an answer to its end, or until it is longer than `limit` bytes, or until a time.
async fn collect(mut body: Upstream, limit: usize, until: Instant) -> Result<Collected, Refusal> {
    let mut read = BytesMut::new();
    loop {
        match tokio::time::timeout_at(until, body.frame()).await {
            Ok(None) => return Ok(Collected::Whole(read.freeze())),
            Ok(Some(Ok(frame))) => {
                // Trailers are not part of any of the bindings that are served.
                read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                if read.len() > limit {
                    return Ok(Collected::Begun(read.freeze(), body));
                }
            }
            Ok(Some(Err(error))) => {
                let message = "the upstream's answer broke off";
                return Err(Refusal::new(Code::UpstreamInterrupted, message).with_detail(error));
            }
            Err(_) => return Ok(Collected::Late(read.freeze(), body)),
        }
    }
}
