//! Who calls, from the one credential of a request.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use vidimus_core::caller::{Caller, Chain, Proven};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::Evidence;

use crate::gate::{Gate, millis};
use crate::protocol;
use crate::request_context::RequestContext;
use crate::route::Route;

/// Who calls. The credential is returned as well, only so that it can be kept from going further.
pub(super) async fn authenticate<'p>(
    gate: &Gate,
    world: &Snapshot,
    context: &mut RequestContext,
    route: &Route<'_>,
    parts: &'p Parts,
) -> Result<(Caller, Option<&'p str>), Refusal> {
    let bearer = credential(protocol::binding_by_path(route).key_header(), parts)?;
    let path = parts.uri.path();
    let evidence = Evidence {
        bearer,
        peer: context.peer.svid.as_deref(),
        route: path.strip_suffix(route.rest).unwrap_or(path),
        now: millis(gate.clock.now().wall),
    };
    let proven = gate.authenticator.authenticate(world, evidence).await?;
    let chain = Arc::new(chain(&proven, context));
    context.proven(&proven);
    Ok((Caller { proven, chain }, bearer))
}

/// The one credential of a request: a bearer token, or the key that the protocol's SDKs send in a header of their own. Two
/// different ones are one too many.
fn credential<'p>(key_header: Option<&str>, parts: &'p Parts) -> Result<Option<&'p str>, Refusal> {
    let ambiguous =
        || Refusal::new(Code::CredentialAmbiguous, "the request carries more than one credential");
    let mut lines = parts.headers.get_all(AUTHORIZATION).iter();
    let bearer = match (lines.next(), lines.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err(ambiguous()),
        (Some(line), None) => {
            let text = line.to_str().ok().and_then(|text| text.split_once(' '));
            match text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
                Some((_, token)) => Some(token.trim()),
                None => {
                    return Err(Refusal::new(
                        Code::TokenMalformed,
                        "Authorization must be \"Bearer\" and one token",
                    ));
                }
            }
        }
    };
    let key = key_header.and_then(|name| parts.headers.get(name)).and_then(|key| key.to_str().ok());
    match (bearer, key) {
        (Some(a), Some(b)) if a != b => Err(ambiguous()),
        (bearer, key) => Ok(bearer.or(key)),
    }
}

/// The chain that the credential continues, or a new one that begins with this call.
fn chain(proven: &Proven, context: &RequestContext) -> Chain {
    proven.delegated.clone().unwrap_or_else(|| Chain {
        transaction: context.call.clone(),
        started: context.now(),
        actors: Vec::new(),
    })
}
