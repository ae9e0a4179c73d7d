//! A call of a model that goes to another API, or that several providers may answer: the caller's message, written for whoever is asked, and the
//! answer lifted back. Another one is asked only where nothing of an answer has come.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};
use vidimus_core::call::Destination;
use vidimus_core::decision::Candidate;
use vidimus_core::record::Attempt;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{HeaderRules, LlmProvider};

use super::key_refused;
use crate::answer::{Answering, taken_back_before};
use crate::credential;
use crate::effect::Effect;
use crate::failover::{MOST_ATTEMPTS, again_after, is_of_failure};
use crate::forward::{Body, Outbound, attempt, headers};
use crate::gate::{Gate, millis};
use crate::protocol::llm::shapes::{self, Answered, Going, Gone, Shape};
use crate::request_context::RequestContext;

/// Why one that may answer is not asked.
const ASIDE: &str = "it failed lately, and is left alone for a time";
const BEYOND: &str = "no more than three are asked for one call";
const NO_BUDGET: &str = "the budget for further tries is used up";

/// A message of a caller to a model, to be written for any provider that may answer it.
pub(super) struct Elsewhere {
    /// The caller's API, and what it asks for.
    client: Shape,
    method: Box<str>,
    /// The path of its operation.
    path: Cow<'static, str>,
    /// As policies have changed it, and not for any provider yet.
    body: Bytes,
    /// Usage is to be asked for.
    amends: bool,
    /// The provider that was called speaks another API, or has it at another path.
    translates: bool,
    /// The caller's own credential.
    credential: Option<Box<str>>,
    /// Which headers go to the provider that was called: no guard has read any other.
    read: HeaderRules,
    /// As it goes to the provider that was called.
    own: Option<(Box<str>, HeaderMap, Bytes)>,
}

/// A request for one provider: its path with its query, its headers and its body.
pub(super) type Written = (String, HeaderMap, Bytes);

impl Elsewhere {
    /// Of a message that has to be written for whoever is asked: the provider called speaks another API, or others may answer it. `amends`: usage
    /// is to be asked for.
    pub(super) fn of(
        provider: &LlmProvider,
        candidates: &[Candidate],
        (method, path): (&str, &Cow<'static, str>),
        (body, amends): (&Bytes, bool),
        credential: Option<&str>,
    ) -> Option<Self> {
        let client = Shape::asked_by(method)?;
        let translates = !shapes::is_native(provider, path);
        if candidates.is_empty() && !translates {
            return None;
        }
        let (path, body, credential) = (path.clone(), body.clone(), credential.map(Into::into));
        let (method, read) = (method.into(), provider.endpoint.headers.clone());
        Some(Self { client, method, path, body, amends, translates, credential, read, own: None })
    }

    /// Whether it has to be written for the provider that was called as well.
    pub(super) const fn translates(&self) -> bool {
        self.translates
    }

    /// The same, which goes to the provider that was called as this.
    pub(super) fn with_own(self, path: &str, headers: &HeaderMap, body: &Bytes) -> Self {
        Self { own: Some((path.into(), headers.clone(), body.clone())), ..self }
    }

    /// The request for this model of this provider.
    ///
    /// # Errors
    /// `no_equivalent`.
    pub(super) fn written(
        &self,
        context: &RequestContext,
        parts: &Parts,
        provider: &LlmProvider,
        model: &str,
    ) -> Result<Written, Refusal> {
        let going = Going {
            client: self.client,
            method: &self.method,
            path: &self.path,
            query: parts.uri.query(),
            headers: &parts.headers,
            body: &self.body,
            amends: self.amends,
        };
        let Gone { path, body, headers: wanted } = going.to(provider, model)?;
        let rules = &provider.endpoint.headers;
        let (names, credential) = (going.passed_headers(provider), self.credential.as_deref());
        let (read, _dropped) = headers::passed(&parts.headers, names, &self.read, credential);
        // By the rules of the provider that was called it is what is left already.
        let mut headers = match Arc::ptr_eq(&self.read.pass, &rules.pass) {
            true => read,
            false => headers::passed(&read, names, rules, credential).0,
        };
        for (name, value) in wanted {
            headers.insert(name, value);
        }
        headers::finish(&mut headers, rules, &context.trace, &body);
        Ok((path.into_owned(), headers, body))
    }

    /// The answer of whoever was asked, in the caller's API.
    pub(super) fn lifted(
        &self,
        gate: &Gate,
        (effect, answering): (&Effect, &Answering<'_>),
        response: Response<Body>,
    ) -> Response<Body> {
        let asked = (&answering.destination, answering.asked.name());
        let (Destination::Provider(provider), model) = answering.asked.by().unwrap_or(asked) else {
            return response;
        };
        let shape = Shape::of_provider(provider.provider);
        if shape == self.client {
            return response;
        }
        let seconds = u64::try_from(millis(effect.started.wall).0 / 1000).unwrap_or_default();
        let answered = Answered {
            client: self.client,
            provider: shape,
            model: model.into(),
            call: effect.call().clone(),
            seconds,
            one_at_a_time: shape == Shape::Gemini && shapes::one_at_a_time(self.client, &self.body),
            again: None,
        };
        shapes::lifted(response, answered, gate.limits.held_answer)
    }

    /// Asks those that may answer, one after another, until one does: connecting failed, it said 429 or 5xx, or it refused the gateway's key, and
    /// nothing of an answer has passed; or nothing came of it in time or before the connection broke, and the call does nothing but answer. The one that was called is asked although it is left alone, where nobody else can be. Who was asked is on
    /// record with the call's end, which costs nothing where nobody was.
    ///
    /// # Errors
    /// Of the last that was asked.
    pub(super) async fn sent(
        &self,
        gate: &Gate,
        (context, parts): (&RequestContext, &Parts),
        mut outbound: Outbound,
        (effect, answering): (&mut Effect, &mut Answering<'_>),
    ) -> Result<Response<Body>, Refusal> {
        let candidates: Vec<Candidate> = outbound.permit().candidates().to_vec();
        let called = answering.destination.id().id.clone();
        let caller = answering.caller.proven.principal.entity().id.clone();
        let mut order = gate.failovers.order(&candidates, &caller, gate.clock.monotonic());
        let unlisted = if order.len() < MOST_ATTEMPTS { ASIDE } else { BEYOND };
        let (mut came, mut place): (Option<Result<Response<Body>, Refusal>>, _) = (None, 0);
        effect.sent = false;
        loop {
            let is_over = place == order.len() && effect.attempts.len() < MOST_ATTEMPTS;
            if is_over && !effect.sent && !order.contains(&0) {
                order.push(0);
            }
            let Some(which) = order.get(place).copied() else { break };
            place += 1;
            let Some(candidate) = candidates.get(which) else { continue };
            let written = match (&self.own, which) {
                (Some((path, headers, body)), 0) if !shapes::may_be_signed(&self.method, &self.body) => {
                    Ok((path.clone().into_string(), headers.clone(), body.clone()))
                }
                _ => self.written(context, parts, &candidate.provider, &candidate.model),
            };
            // What cannot be said in its API is none of its failures.
            let (path, headers, body) = match written {
                Ok(written) => written,
                Err(refusal) => {
                    effect.does_not_ask(candidate, &refusal.message);
                    came = came.or(Some(Err(refusal)));
                    continue;
                }
            };
            if !effect.attempts.is_empty() && !gate.failovers.may_try_again(&called) {
                let left = order.get(place..).unwrap_or_default().iter();
                let left = left.filter_map(|which| candidates.get(*which));
                let left = std::iter::once(candidate).chain(left);
                left.for_each(|candidate| effect.does_not_ask(candidate, NO_BUDGET));
                break;
            }
            match which {
                0 => answering.asked.answered_itself(),
                _ => answering.asked.answered_by(candidate),
            }
            outbound = outbound.turned_to(which, (&path, headers, body))?;
            check_not_taken_back(gate, answering)?;
            effect.asks(candidate);
            let noted = (&mut *effect, &*answering);
            let answer = asked(gate, &mut outbound, (candidate, &caller), noted).await;
            let is_failure = match &answer {
                Ok(response) => is_of_failure(&candidate.provider, response.status()),
                Err(refusal) => match refusal.code {
                    Code::UpstreamUnreachable | Code::CredentialUnavailable | Code::CredentialRefused => true,
                    Code::UpstreamTimeout | Code::UpstreamInterrupted => shapes::has_no_effect(&self.body),
                    _ => false,
                },
            };
            if !is_failure {
                return answer;
            }
            came = Some(answer);
        }
        // Nobody answered, so whoever was left alone is told of too.
        for (_, candidate) in candidates.iter().enumerate().filter(|(which, _)| !order.contains(which)) {
            effect.does_not_ask(candidate, unlisted);
        }
        came.unwrap_or_else(|| Err(Refusal::new(Code::Internal, "nobody may answer this call")))
    }
}

/// That nothing took the call back while another was asked.
fn check_not_taken_back(gate: &Gate, answering: &Answering<'_>) -> Result<(), Refusal> {
    let Answering { asked, world, caller, destination, .. } = answering;
    match asked.taken_back(&gate.shared, world, caller, destination) {
        Some(code) => Err(taken_back_before("it was carried out", code, &gate.shared, caller)),
        None => Ok(()),
    }
}

/// Asks one candidate for a call of this caller, and notes what came of it. That it is asked is noted before: the caller may leave.
async fn asked(
    gate: &Gate,
    outbound: &mut Outbound,
    (candidate, caller): (&Candidate, &Arc<str>),
    (effect, answering): (&mut Effect, &Answering<'_>),
) -> Result<Response<Body>, Refusal> {
    let (began, was_sent) = (gate.clock.monotonic(), effect.sent);
    effect.attempts.push(Attempt::of(&candidate.entity().id));
    let answer = match credential::apply(gate, outbound) {
        Ok(_) => {
            effect.goes_out();
            let attempt = pin!(attempt(&gate.upstream, outbound));
            answering.unless_taken_back(attempt).await
        }
        Err(refusal) => Ok(Err(refusal)),
    };
    if matches!(&answer, Ok(Err(refusal)) if refusal.code.is_of_unsent()) {
        effect.sent = was_sent;
    }
    let answer = match answer {
        Ok(Ok(response)) => Ok(key_refused::checked((&mut *effect, answering), response).await),
        other => other,
    };
    let ended = gate.clock.monotonic();
    let Some(tried) = effect.attempts.last_mut() else { return answer.unwrap_or_else(Err) };
    tried.duration_us = u64::try_from(ended.saturating_duration_since(began).as_micros()).unwrap_or(u64::MAX);
    let provider = &candidate.provider.id.id;
    let answer = match answer {
        Ok(answer) => answer,
        // That says nothing of the provider.
        Err(taken_back) => {
            tried.code = Some(taken_back.code.as_str().into());
            return Err(taken_back);
        }
    };
    let again = match &answer {
        Ok(response) => {
            tried.status = response.status().as_u16();
            let again = || again_after(response.headers(), gate.clock.now().wall);
            is_of_failure(&candidate.provider, response.status()).then(again)
        }
        Err(refusal) => {
            tried.status = refusal.upstream.as_ref().map_or(0, |upstream| upstream.status);
            tried.code = Some(refusal.code.as_str().into());
            Some(None)
        }
    };
    match again {
        None => {
            gate.failovers.did_well(provider);
            gate.meter.attempts().asked(provider, "answered");
        }
        Some(again) => {
            gate.meter.attempts().asked(provider, "failed");
            if let Some(time) = gate.failovers.failed((provider, caller), again, ended) {
                gate.meter.attempts().asked(provider, "aside");
                tracing::warn!(%provider, seconds = time.as_secs(), "a provider fails, and is not asked for this time where another one may answer");
            }
        }
    }
    answer
}
