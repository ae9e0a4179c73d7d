//! An upstream that refuses the key which the gateway holds for it. Nothing is wrong with the caller's own token, and its caller is not told that there is.

use http::{Response, StatusCode};
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Answered, Code, Refusal};

use crate::answer::Answering;
use crate::effect::Effect;
use crate::forward::Body;
use crate::protocol::rest::Came;
use crate::provider_credentials::key_of;

/// The answer of an upstream, where it does not refuse the gateway's key. That it does is told to who operates: in the log, by the field that says
/// which key it is, and in the record of the call's end.
///
/// A provider's 403 passes: it may be of the model, or of the account, and says so. Its 401 does not: to SDKs it is the caller's own token that is
/// wrong, and what it says may show a part of the key.
///
/// # Errors
/// `credential_refused`.
pub(super) fn checked(
    (effect, answering): (&mut Effect, &Answering<'_>),
    response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    let status = response.extensions().get::<Came>().map_or(response.status(), |came| came.status);
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(response);
    }
    let destination = answering.asked.by().map_or(&answering.destination, |(by, _)| by);
    let Some((kind, id, field)) = key_of(destination) else { return Ok(response) };
    let said = status.as_u16();
    tracing::warn!(
        call = %effect.call(),
        kind,
        id,
        field,
        status = said,
        "the upstream refuses the key that the gateway holds for it: look whether it is the right one, and what it may do"
    );
    effect.note(&format!("{said} to the gateway's key: look at {field} of {kind} {id}"));
    if !matches!(destination, Destination::Provider(_)) || status != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    effect.status = said;
    let message =
        format!("{kind} {id} refused the key that the gateway holds for it; your own token is good");
    let upstream = Some(Box::new(Answered { status: said, retry_after: None }));
    Err(Refusal { upstream, ..Refusal::new(Code::CredentialRefused, message) })
}
