//! What is known of a call so far, so that it can be refused, answered and recorded from any point of its way.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Response;
use vidimus_core::call::Call;
use vidimus_core::caller::Proven;
use vidimus_core::decision::Decision;
use vidimus_core::json::Json;
use vidimus_core::record::{Record, RefusalKind, RefusalRecord};
use vidimus_core::refusal::{Code, Refusal};

use super::Peer;
use crate::door::public;
use crate::flood::{self, Fate};
use crate::gate::{Gate, rfc3339};
use crate::protocol::jsonrpc;
use crate::reply::{self, Dialect, ReplyBody, Shape};
use crate::route::{Protocol, Route};
use crate::telemetry::Span;
use crate::trace::TraceContext;

/// One call under way.
#[derive(Debug)]
pub(super) struct Journey {
    /// The call's id (UUIDv7).
    pub call: Arc<str>,
    pub trace: TraceContext,
    pub started: Instant,
    pub wall: SystemTime,
    pub peer: Peer,
    pub caller: Option<Arc<Proven>>,
    pub span: Option<Span>,
    shape: Shape,
    protocol: Option<Protocol>,
    /// The decision is on record, so a refusal that follows from it needs no record of its own.
    decided: bool,
}

impl Journey {
    pub fn begin(gate: &Gate, parts: &http::request::Parts, peer: &Peer) -> Self {
        let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let route = Route::parse(parts.uri.path());
        let shape = match route {
            Some(Route { protocol: Protocol::Mcp, .. }) => Shape::JsonRpc { dialect: Dialect::Mcp, id: None },
            Some(Route { protocol: Protocol::A2a, .. }) => Shape::JsonRpc { dialect: Dialect::A2a, id: None },
            Some(Route { protocol: Protocol::Llm, rest, .. }) if rest.starts_with("/v1/messages") => {
                Shape::Anthropic
            }
            Some(_) => Shape::OpenAi,
            None => Shape::Plain,
        };
        let trace = TraceContext::from_header(traceparent);
        Self {
            call: uuid::Uuid::now_v7().hyphenated().to_string().into(),
            trace,
            started: Instant::now(),
            wall: gate.now(),
            peer: peer.clone(),
            caller: None,
            span: gate.telemetry.span(&trace),
            shape,
            protocol: route.map(|route| route.protocol),
            decided: false,
        }
    }

    /// From here on a refusal answers this message.
    pub fn answer_to(&mut self, body: Option<&Json<'_>>) {
        if let Shape::JsonRpc { id, .. } = &mut self.shape {
            *id = body.and_then(jsonrpc::id_text);
        }
    }

    /// The decision is on record.
    pub fn decided(&mut self, call: &Call<'_>, decision: &Decision) {
        self.decided = true;
        if let Some(span) = &mut self.span {
            span.decided(call, decision, &self.call);
        }
    }

    /// Records the refusal, unless the decision already did, and answers it.
    pub async fn refuse(
        &mut self,
        gate: &Gate,
        parts: &http::request::Parts,
        refusal: Refusal,
    ) -> Response<ReplyBody> {
        let mut refusal = refusal;
        if !self.decided {
            gate.meter.decided(self.protocol, Some(refusal.code));
            // A path that is no route concerns nobody's record; everything else does, as far as the ledger can take it.
            let concerns = refusal.code != Code::RouteUnknown || self.caller.is_some();
            if concerns && self.has_record(gate, refusal.code) {
                let written = gate.ledger.record(&self.call, &self.record(parts, &refusal)).await;
                if let Err(closed) = written
                    && refusal.code != Code::LedgerClosed
                {
                    refusal = super::closed(closed);
                }
            }
        }
        tracing::debug!(call = %self.call, code = refusal.code.as_str(), detail = refusal.detail, "{}", refusal.message);
        let metadata = public::metadata_url(&gate.public_url, parts.uri.path());
        let response = reply::refused(&self.shape, &refusal, &self.call, Some(&metadata));
        if let Some(span) = self.span.take() {
            span.end(refusal.code.as_str(), Some(refusal.code.as_str()), response.status().as_u16());
        }
        response
    }

    /// Whether a refusal has a record of its own. Of callers that proved nobody, a flood has not: it would fill the disk.
    fn has_record(&self, gate: &Gate, code: Code) -> bool {
        if self.caller.is_some() {
            return true;
        }
        let fate = gate.flood.meet(self.peer.address.ip(), code, self.started, self.wall);
        let Fate::Counted { first } = fate else { return true };
        gate.meter.unrecorded(code);
        if first {
            flood::tell_later(gate.shared.clone());
        }
        false
    }

    fn record<'r>(&'r self, parts: &'r http::request::Parts, refusal: &'r Refusal) -> Record<'r> {
        const LONGEST: usize = 256;
        let shorten = |text: &'r str| match text.char_indices().nth(LONGEST) {
            Some((end, _)) => Cow::Owned(text.chars().take(end.min(LONGEST)).collect()),
            None => Cow::Borrowed(text),
        };
        let verified = refusal.proven.as_deref();
        let identity = self.caller.as_ref().map(|proven| &*proven.identity);
        let identity = identity.or(verified.map(|verified| &*verified.identity));
        let user = self.caller.as_ref().and_then(|proven| proven.user.as_ref());
        let user = user.map(|user| Cow::Owned(user.id()));
        Record::Refusal(RefusalRecord {
            code: refusal.code.as_str(),
            detail: refusal.detail.as_deref().map(shorten),
            id: &self.call,
            identity: identity.map(Cow::Borrowed),
            kind: RefusalKind,
            message: shorten(&refusal.message),
            outcome: "deny",
            path: shorten(parts.uri.path()),
            principal: self.caller.as_ref().map(|proven| Cow::Owned(proven.principal.entity().to_string())),
            source: Some(Cow::Owned(self.peer.address.ip().to_string())),
            time: Cow::Owned(rfc3339(self.wall)),
            trace: Cow::Owned(self.trace.to_string()),
            user: user.or(verified.and_then(|it| it.user.as_deref()).map(Cow::Borrowed)),
            version: 1,
        })
    }
}
