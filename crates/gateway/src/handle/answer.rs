//! The way back: the upstream's answer, passed on as it is, or read whole where it must be changed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use vidimus_core::call::Call;
use vidimus_core::caller::Caller;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::object::Object;
use super::viewer::Viewer;
use crate::effect::{Effect, Ending, Passing};
use crate::forward::headers;
use crate::gate::Gate;
use crate::protocol::events::{Events, Shows as _, TooLong};
use crate::protocol::usage::{Reader, Usage, Watch};
use crate::protocol::{Answer, Ask, a2a, card, listing};
use crate::reply::ReplyBody;
use crate::session;

/// An answer up to this size is read whole: one record, one write, no stream.
const SMALL: usize = 64 * 1024;

/// What an answer is treated by.
#[derive(Clone, Copy)]
pub(super) struct Answering<'a> {
    pub gate: &'a Gate,
    pub world: &'a Arc<Snapshot>,
    pub caller: &'a Caller,
    pub call: &'a Call<'a>,
    pub object: &'a Object<'a>,
}

impl Answering<'_> {
    /// Passes the upstream's answer on and records the effect.
    pub async fn pass(
        self,
        ask: &Ask<'_>,
        response: Response<Incoming>,
        mut effect: Effect,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (parts, body) = response.into_parts();
        effect.status = parts.status.as_u16();
        let mut headers = headers::to_caller(&parts.headers);
        if let Err(refusal) = self.seal_session(ask, &parts.headers, &mut headers) {
            return self.fail(effect, refusal).await;
        }

        let events = is_type(&parts.headers, "text/event-stream");
        let change = parts.status.is_success()
            && match ask.answer {
                Answer::Listing(_) => !events,
                Answer::Card => true,
                _ => false,
            };
        let most = if change { self.gate.limits.held_answer } else { SMALL };
        // What says beforehand that it is longer is passed on from its first byte; so is every event.
        let at_once = !change && (events || body.size_hint().lower() > SMALL as u64);
        let (bytes, rest) =
            match if at_once { Ok((Bytes::new(), Some(body))) } else { self.read(body, most).await } {
                Ok(read) => read,
                Err(refusal) => return self.fail(effect, refusal).await,
            };
        let Some(rest) = rest else {
            return self.whole(ask, parts.status, headers, bytes, change, effect).await;
        };
        if change {
            let message = format!("the upstream's answer is larger than {most} bytes");
            return self.fail(effect, Refusal::new(Code::UpstreamInvalid, message)).await;
        }
        let watch = watch(ask);
        let (reader, changed) = if events {
            // A proxy in front of the gateway must not hold back events (MCP 2026-07-28, transports).
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            (Reader::events(watch), self.on_their_way(ask))
        } else {
            (Reader::document(watch), None)
        };
        if changed.is_some() {
            if let Err(refusal) = readable(&parts.headers) {
                return self.fail(effect, refusal).await;
            }
            headers.remove(CONTENT_LENGTH);
        }
        let passing = Passing::new(bytes, rest, effect, reader, changed);
        Ok(reply(parts.status, headers, ReplyBody::Passing(Box::new(passing))))
    }

    /// Reads an answer to its end, or until it is longer than `most` bytes; then the rest is still to come.
    async fn read(self, mut body: Incoming, most: usize) -> Result<(Bytes, Option<Incoming>), Refusal> {
        let mut read = BytesMut::new();
        loop {
            match tokio::time::timeout(self.gate.limits.idle_stream, body.frame()).await {
                Ok(None) => return Ok((read.freeze(), None)),
                Ok(Some(Ok(frame))) => {
                    // Trailers are not part of any of the three protocols.
                    read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    if read.len() > most {
                        return Ok((read.freeze(), Some(body)));
                    }
                }
                Ok(Some(Err(error))) => {
                    let message = "the upstream's answer broke off";
                    return Err(Refusal::new(Code::UpstreamInvalid, message).with_detail(error));
                }
                Err(_) => {
                    return Err(Refusal::new(Code::UpstreamTimeout, "the upstream's answer did not end"));
                }
            }
        }
    }

    /// Passes on an answer that was read to its end.
    async fn whole(
        self,
        ask: &Ask<'_>,
        status: StatusCode,
        mut headers: HeaderMap,
        bytes: Bytes,
        change: bool,
        mut effect: Effect,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let mut watch = watch(ask);
        watch.read(&bytes);
        if let Watch::Usage(usage) = watch {
            effect.usage = usage;
        }
        let error = status.as_u16() >= 400 || watch == Watch::Rpc { error: true };
        let bytes = match if change { self.change(ask, &bytes) } else { Ok(bytes) } {
            Ok(bytes) => bytes,
            Err(refusal) => return self.fail(effect, refusal).await,
        };
        headers.remove(CONTENT_LENGTH);
        effect.bytes_out = bytes.len() as u64;
        effect.record(if error { Ending::Error } else { Ending::Ok }).await.map_err(super::closed)?;
        Ok(reply(status, headers, ReplyBody::Whole(Full::new(bytes))))
    }

    /// What happens to the events of an answer.
    ///
    /// Any of an MCP server's streams may come to carry the answer to another request: one that is resumed replays it, and two
    /// requests of one id may get each other's. The answers to other requests may be long, and are then passed on.
    fn on_their_way(self, ask: &Ask<'_>) -> Option<Events> {
        if ask.answer == Answer::AddedUsage {
            return Some(Events::without_usage());
        }
        let too_long = match ask.answer {
            Answer::Stream | Answer::Listing(_) => TooLong::EndsStream,
            _ => TooLong::Passes,
        };
        let to = Box::new(self.viewer()?);
        Some(Events::listings(to, self.gate.limits.held_answer, too_long))
    }

    /// Whoever calls an MCP server.
    fn viewer(self) -> Option<Viewer> {
        let Object::Server(server) = *self.object else { return None };
        Some(Viewer::new(self.world, server, self.caller, self.call))
    }

    async fn fail(self, effect: Effect, refusal: Refusal) -> Result<Response<ReplyBody>, Refusal> {
        effect.record(Ending::Failed(refusal.code)).await.map_err(super::closed)?;
        Err(refusal)
    }

    /// The upstream's session id stays here; the caller gets one that only it can use.
    fn seal_session(self, ask: &Ask<'_>, from: &HeaderMap, to: &mut HeaderMap) -> Result<(), Refusal> {
        to.remove(session::HEADER);
        let (Answer::Session, Some(id)) = (ask.answer, from.get(session::HEADER)) else { return Ok(()) };
        let unusable = || Refusal::new(Code::UpstreamInvalid, "the upstream's session id is not usable");
        let binding = self.object.binding(self.call);
        let sealed = self
            .gate
            .sessions
            .seal(id.to_str().map_err(|_| unusable())?, &binding)
            .map_err(|_| unusable())?;
        to.insert(session::HEADER, HeaderValue::from_str(&sealed).map_err(|_| unusable())?);
        Ok(())
    }

    fn change(self, ask: &Ask<'_>, bytes: &Bytes) -> Result<Bytes, Refusal> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8"))?;
        let changed = match ask.answer {
            Answer::Listing(listing) => {
                let viewer = self.viewer();
                let shows = |name: &str| viewer.as_ref().is_some_and(|viewer| viewer.shows(listing, name));
                listing::filter(text, listing, &mut { shows })
            }
            Answer::Card => {
                let address = format!("{}/a2a/{}", self.gate.public_url, self.object.id().id);
                card::rewrite(text, &address, ask.method == a2a::EXTENDED_CARD)
            }
            _ => return Ok(bytes.clone()),
        };
        changed.map(Bytes::from)
    }
}

/// What of an answer the record needs.
fn watch(ask: &Ask<'_>) -> Watch {
    match ask.answer {
        Answer::Usage(_) | Answer::AddedUsage => Watch::Usage(Usage::default()),
        _ => Watch::Rpc { error: false },
    }
}

/// What must change on its way must be what it looks like; the gateway asked for no encoding.
fn readable(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Refusal::new(
            Code::UpstreamInvalid,
            "the upstream's answer is encoded, which was not asked for",
        )),
        _ => Ok(()),
    }
}

fn reply(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// `GET /v1/models`: the registered models that the caller may call, in the provider's shape. Nothing goes upstream.
pub(super) async fn models(
    gate: &Gate,
    journey: &mut super::Journey,
    world: &Snapshot,
    caller: &Caller,
    route: &crate::route::Route<'_>,
    provider: &Arc<vidimus_core::resource::LlmProvider>,
) -> Result<Response<ReplyBody>, Refusal> {
    let mut shown = Vec::new();
    let mut first = None;
    for model in &provider.models {
        let ask = crate::protocol::llm::ask_listed(provider, &model.name);
        let call = super::call(&ask, caller, journey);
        if world.could_allow(&call) {
            shown.push(
                json!({"id": &*model.name, "object": "model", "type": "model", "display_name": &*model.name,
                "created": 0, "created_at": "1970-01-01T00:00:00Z", "owned_by": &*provider.id.id}),
            );
            first = first.or(Some(model.name.clone()));
        }
    }
    // The listing is on record as the decision on the first model it shows, or on the first that it hides.
    let name = first.or_else(|| provider.models.first().map(|model| model.name.clone()));
    let Some(name) = name else {
        return Err(Refusal::new(Code::ResourceUnknown, "the provider's record lists no models"));
    };
    let ask = crate::protocol::llm::ask_listed(provider, &name);
    let call = super::call(&ask, caller, journey);
    let decision = world.authorize(&call);
    super::record(gate, journey, world, &call, &decision, route, b"").await?;
    decision.permit()?;
    let has_more = false;
    Ok(crate::reply::document(json!({"object": "list", "data": shown, "has_more": has_more}).to_string()))
}
