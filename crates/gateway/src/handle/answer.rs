//! The way back: the upstream's answer, passed on as it is, or read whole where it must be changed.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use vidimus_core::call::{Action, Arguments, Call, Target};
use vidimus_core::caller::Caller;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::object::Object;
use crate::effect::{Effect, Ending, Passing};
use crate::forward::headers;
use crate::gate::Gate;
use crate::protocol::usage::{Usage, Watch};
use crate::protocol::{Answer, Ask, Listing, a2a, card, jsonrpc, listing};
use crate::reply::ReplyBody;
use crate::session;

/// An answer up to this size is read whole: one record, one write, no stream.
const SMALL: u64 = 64 * 1024;

/// What an answer is treated by.
#[derive(Clone, Copy)]
pub(super) struct Answering<'a> {
    pub gate: &'a Gate,
    pub world: &'a Snapshot,
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
        let change = match ask.answer {
            Answer::Listing(_) | Answer::Card => parts.status.is_success(),
            Answer::Pass | Answer::Session | Answer::Usage(_) | Answer::AddedUsage => false,
        };
        let small = !events && body.size_hint().upper().is_some_and(|size| size <= SMALL);
        if !change && !small {
            if events {
                // A proxy in front of the gateway must not hold back events (MCP 2026-07-28, transports).
                headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            }
            let watch = events.then_some(match ask.answer {
                Answer::Usage(_) | Answer::AddedUsage => Watch::Usage(Usage::default()),
                _ => Watch::Rpc { error: false },
            });
            let mut passing = Passing::new(body, effect, watch);
            if events && ask.answer == Answer::AddedUsage {
                headers.remove(CONTENT_LENGTH);
                passing = passing.without_usage();
            }
            return Ok(reply(parts.status, headers, ReplyBody::Passing(Box::new(passing))));
        }

        let limit = self.gate.limits.held_answer;
        let held =
            tokio::time::timeout(self.gate.limits.idle_stream, Limited::new(body, limit).collect()).await;
        let bytes = match held {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) => return self.fail(effect, unreadable(&*error, limit)).await,
            Err(_) => {
                return self
                    .fail(effect, Refusal::new(Code::UpstreamTimeout, "the upstream's answer did not end"))
                    .await;
            }
        };
        if let Answer::Usage(_) | Answer::AddedUsage = ask.answer {
            effect.usage.read(&bytes);
        }
        let error = parts.status.as_u16() >= 400 || (ask.answer == Answer::Pass && jsonrpc::is_error(&bytes));
        let bytes = match if change { self.change(ask, events, &bytes) } else { Ok(bytes) } {
            Ok(bytes) => bytes,
            Err(refusal) => return self.fail(effect, refusal).await,
        };
        headers.remove(CONTENT_LENGTH);
        effect.bytes_out = bytes.len() as u64;
        effect.record(if error { Ending::Error } else { Ending::Ok }).await.map_err(super::closed)?;
        Ok(reply(parts.status, headers, ReplyBody::Whole(Full::new(bytes))))
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

    fn change(self, ask: &Ask<'_>, events: bool, bytes: &Bytes) -> Result<Bytes, Refusal> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8"))?;
        let changed = match ask.answer {
            Answer::Listing(listing) if events => {
                listing::filter_events(text, listing, &mut |name| self.shows(listing, name))
            }
            Answer::Listing(listing) => listing::filter(text, listing, &mut |name| self.shows(listing, name)),
            Answer::Card => {
                let address = format!("{}/a2a/{}", self.gate.public_url, self.object.id().id);
                card::rewrite(text, &address, ask.method == a2a::EXTENDED_CARD)
            }
            Answer::Pass | Answer::Session | Answer::Usage(_) | Answer::AddedUsage => {
                return Ok(bytes.clone());
            }
        };
        changed.map(Bytes::from)
    }

    /// Whether some call of this entry could be allowed: the same policies, asked without arguments.
    fn shows(self, listing: Listing, name: &str) -> bool {
        let Object::Server(server) = *self.object else { return false };
        let (action, target) = match listing {
            Listing::Tools => (Action::InvokeTool, Target::Tool { server, name }),
            Listing::Prompts => (Action::GetPrompt, Target::Prompt { server, name }),
            Listing::Resources | Listing::ResourceTemplates => {
                (Action::ReadResource, Target::Resource { server, uri: name })
            }
        };
        let context = vidimus_core::call::Context { arguments: Arguments::Unknown, ..self.call.context };
        self.world.could_allow(&Call { principal: self.call.principal, action, target, context })
    }
}

fn reply(status: http::StatusCode, headers: HeaderMap, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

fn unreadable(error: &(dyn std::error::Error + 'static), limit: usize) -> Refusal {
    if error.is::<LengthLimitError>() {
        Refusal::new(Code::UpstreamInvalid, format!("the upstream's answer is larger than {limit} bytes"))
    } else {
        Refusal::new(Code::UpstreamInvalid, "the upstream's answer broke off").with_detail(error)
    }
}

/// `GET /v1/models`: the registered models that the caller may call, in the provider's shape. Nothing goes upstream.
pub(super) async fn models(
    gate: &Gate,
    journey: &mut super::Journey,
    world: &Snapshot,
    caller: &Caller,
    route: &crate::route::Route<'_>,
    provider: &std::sync::Arc<vidimus_core::resource::LlmProvider>,
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
