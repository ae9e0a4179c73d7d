//! What is known of a request so far, so that it can be refused, answered and recorded from any point of its lifecycle.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use vidimus_core::caller::{Proven, UnixMillis};
use vidimus_core::clock::Moment;
use vidimus_core::decision::Decision;
use vidimus_core::entity::EntityId;
use vidimus_core::json::Json;
use vidimus_core::record::{AskedFor, Record, RefusalKind, RefusalRecord, VERSION};
use vidimus_core::refusal::{Code, Refusal};

use crate::data_plane::Carried;
use crate::gate::{Gate, millis, rfc3339};
use crate::handle::Peer;
use crate::listener::public;
use crate::payloads::Keeping;
use crate::protocol::{self, Binding};
use crate::refusal_sampler::Refused;
use crate::reply::{self, ReplyBody};
use crate::route::{Protocol, Route};
use crate::telemetry::Span;
use crate::trace::{TRACEPARENT, TraceContext};
use crate::unrecorded::closed;

/// One request on its way.
#[derive(Debug)]
pub struct RequestContext {
    /// The call's id (UUIDv7).
    pub(crate) call: Arc<str>,
    pub(crate) trace: TraceContext,
    pub(crate) started: Moment,
    /// How long its body was on its way.
    pub(crate) arriving: Duration,
    pub(crate) peer: Peer,
    pub(crate) span: Option<Span>,
    /// What the call is answered, where that is kept: from its decision to its effect.
    pub(crate) keeping: Option<Box<Keeping>>,
    /// How the call is carried, where a data plane does that and only asks here.
    pub(crate) carried: Option<Carried>,
    /// The address at which the credential was presented, where that is not the one of this call: it is made in the course of another.
    pub(crate) presented_at: Option<Box<str>>,
    /// The server by whose tool it is made, where it is a message to an agent.
    pub(crate) via: Option<EntityId>,
    protocol: Option<Protocol>,
    /// Whose errors a refusal is answered in; `None` outside the protocols.
    binding: Option<&'static dyn Binding>,
    /// What identifies the message to its sender, as that binding wants it.
    message_id: Option<Arc<str>>,
    caller: Option<Arc<Proven>>,
    /// The decision is on record, so a refusal that follows from it needs no record of its own.
    decided: bool,
    /// And allowed it: what becomes of the call is said with its effect.
    allowed: bool,
    /// What it asked for, where it is held: for the refusal that is none of a policy.
    asked_for: Option<Box<AskedFor<'static>>>,
    /// How the caller of a held call is told, where not by the refusal.
    told: Option<Box<Response<String>>>,
}

impl RequestContext {
    pub fn begin(gate: &Gate, parts: &Parts, peer: &Peer) -> Self {
        let traceparent = parts.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let route = Route::parse(parts.uri.path());
        let trace = TraceContext::from_header(traceparent);
        let started = gate.clock.now();
        Self {
            call: uuid::Uuid::now_v7().hyphenated().to_string().into(),
            trace,
            started,
            arriving: Duration::ZERO,
            peer: peer.clone(),
            span: gate.telemetry.span(&trace, started),
            keeping: None,
            carried: None,
            presented_at: None,
            via: None,
            protocol: route.map(|route| route.protocol),
            binding: route.as_ref().map(|route| protocol::binding_by_path(route, &parts.headers)),
            message_id: None,
            caller: None,
            decided: false,
            allowed: false,
            asked_for: None,
            told: None,
        }
    }

    /// The wall clock at the beginning.
    pub(crate) fn now(&self) -> UnixMillis {
        millis(self.started.wall)
    }

    /// Whether the ids of sessions are the upstream's own.
    pub(crate) fn raw_sessions(&self) -> bool {
        self.carried.is_some_and(|carried| carried.raw_sessions)
    }

    /// The caller is known.
    pub(crate) fn proven(&mut self, caller: &Arc<Proven>) {
        self.caller = Some(caller.clone());
    }

    /// What was known of the caller is not of the present configuration; who it is is asked again.
    pub(crate) fn unproven(&mut self) {
        self.caller = None;
    }

    /// The object is known, and with it how it is spoken to.
    pub(crate) fn speaks(&mut self, binding: &'static dyn Binding) {
        self.binding = Some(binding);
    }

    /// From here on a refusal answers this message.
    pub(crate) fn answers(&mut self, message: Option<&Json<'_>>) {
        self.message_id =
            self.binding.zip(message).and_then(|(binding, message)| binding.message_id(message));
    }

    /// What identifies the message to its sender; `None` where it has no such thing, or wants no answer.
    pub(crate) fn message_id(&self) -> Option<Arc<str>> {
        self.message_id.clone()
    }

    /// Whether the caller of a held call is told so by an answer.
    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// The caller of a held call is told so, if by anything but the refusal.
    pub(crate) fn told(&mut self, answer: Option<Response<String>>) {
        self.told = answer.map(Box::new);
    }

    /// What the message is known by to its caller, for the span of this call.
    pub(crate) fn said(&mut self, parts: &Parts, message: Option<&Json<'_>>) {
        let has_session = !self.raw_sessions();
        if let (Some(span), Some(protocol)) = (&mut self.span, self.protocol) {
            span.said(protocol, (&parts.headers, has_session), (message, self.message_id.as_deref()));
        }
    }

    /// Who, what and why, for the span of this call.
    pub(crate) fn describe(&mut self, decision: &Decision<'_>) {
        if let Some(span) = &mut self.span {
            span.decided(decision, &self.call);
        }
    }

    /// Policies hold the call, which waits for this approval: where a person has denied it, the record of that says what it was about. So does that
    /// of one which is refused for its pinned tool.
    pub(crate) fn held(&mut self, decision: &Decision<'_>, approval: Option<String>) {
        let call = decision.call();
        self.asked_for = Some(Box::new(AskedFor {
            action: call.ask.action.as_str().into(),
            approval: approval.map(Cow::Owned),
            method: call.ask.method.to_owned().into(),
            policies: decision.asking().iter().map(|one| one.policy.clone()).collect::<Vec<_>>().into(),
            resource: call.ask.target.entity().to_string().into(),
            transaction: call.chain().transaction.to_string().into(),
        }));
    }

    /// The decision is on record. `code` is that of a denial.
    pub(crate) fn decided(&mut self, gate: &Gate, code: Option<Code>) {
        (self.decided, self.allowed) = (true, code.is_none());
        gate.meter.decided(self.protocol, code);
    }

    /// Records the refusal, unless the decision already did, and answers it.
    pub(crate) async fn refuse(
        &mut self,
        gate: &Gate,
        parts: &Parts,
        mut refusal: Refusal,
    ) -> Response<ReplyBody> {
        if !self.decided {
            gate.meter.decided(self.protocol, Some(refusal.code));
            if self.has_record(gate, refusal.code) {
                let written = gate.ledger.record(&self.record(parts, &refusal)).await;
                if let Err(error) = written
                    && refusal.code != Code::LedgerClosed
                {
                    refusal = closed(error);
                }
            }
        }
        if !self.allowed {
            let caller = self.caller.as_deref();
            gate.access_log.refused(
                &self.call,
                caller,
                parts.uri.path(),
                refusal.code,
                self.started.monotonic,
            );
        }
        tracing::debug!(call = %self.call, code = refusal.code.as_str(), detail = refusal.detail, "{}", refusal.message);
        let told = self.told.take().filter(|_| refusal.awaited.is_some());
        let shape = match (told, self.binding) {
            (Some(told), _) => *told,
            (None, Some(binding)) => binding.refused(&refusal, &self.call, self.message_id.as_deref()),
            (None, None) => reply::plain(&refusal, &self.call),
        };
        let metadata = public::metadata_url(&gate.public_url, parts.uri.path());
        let response = reply::refused(shape, &refusal, &self.call, Some(&metadata));
        if let Some(span) = self.span.take() {
            let code = refusal.code.as_str();
            span.end(code, Some(code), response.status().as_u16(), gate.clock.now().wall);
        }
        response
    }

    /// Whether a refusal has a record of its own. One of a flood has not: it would fill the disk.
    pub(crate) fn has_record(&self, gate: &Gate, code: Code) -> bool {
        let who = match &self.caller {
            Some(proven) => Refused::Principal(proven.principal.entity()),
            None => Refused::Unproven(self.peer.address.ip()),
        };
        let has = gate.refusals.has_record(who, code, self.started);
        if !has {
            gate.meter.unrecorded(code);
        }
        has
    }

    fn record<'r>(&'r self, parts: &'r Parts, refusal: &'r Refusal) -> Record<'r> {
        const MAX_TEXT: usize = 256;
        let shorten = |text: &'r str| match text.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => Cow::Owned(text.chars().take(end.min(MAX_TEXT)).collect()),
            None => Cow::Borrowed(text),
        };
        let verified = refusal.proven.as_deref();
        let identity = self.caller.as_ref().map(|proven| &*proven.identity);
        let identity = identity.or(verified.map(|verified| &*verified.identity));
        let instance = self.caller.as_ref().and_then(|proven| proven.instance.as_deref());
        let instance = instance.or(verified.and_then(|verified| verified.instance.as_deref()));
        let user = self.caller.as_ref().and_then(|proven| proven.user.as_ref());
        let user = user.map(|user| Cow::Owned(user.id()));
        let delegated = self.caller.as_ref().and_then(|proven| proven.delegated.as_ref());
        let chain = delegated.into_iter().flat_map(|chain| &chain.actors);
        Record::Refusal(RefusalRecord {
            asked: self.asked_for.clone(),
            chain: chain.map(|actor| Cow::Owned(actor.to_string())).collect(),
            code: Cow::Borrowed(refusal.code.as_str()),
            detail: refusal.detail.as_deref().map(shorten),
            id: Cow::Borrowed(&self.call),
            identity: identity.map(Cow::Borrowed),
            instance: instance.map(Cow::Borrowed),
            kind: RefusalKind,
            message: shorten(&refusal.message),
            outcome: Cow::Borrowed("deny"),
            parent: self.trace.parent().map(Cow::Owned),
            path: shorten(parts.uri.path()),
            principal: self.caller.as_ref().map(|proven| Cow::Owned(proven.principal.entity().to_string())),
            source: Some(Cow::Owned(self.peer.address.ip().to_canonical().to_string())),
            time: Cow::Owned(rfc3339(self.started.wall)),
            trace: Cow::Owned(self.trace.ids()),
            user: user.or(verified.and_then(|it| it.user.as_deref()).map(Cow::Borrowed)),
            version: VERSION,
        })
    }
}
