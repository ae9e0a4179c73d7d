//! Who calls, from the one credential of a request.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use url::form_urlencoded;
use vidimus_core::caller::{Caller, Chain, Proven};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::Evidence;

use crate::gate::{Gate, millis};
use crate::protocol;
use crate::request_context::RequestContext;
use crate::route::Route;

/// What to do about a request that an SDK of AWS's has signed.
const SIGNED: &str = "Send your token as a bearer, which SDKs of AWS's take from AWS_BEARER_TOKEN_BEDROCK; the gateway signs for AWS itself.";

/// Who calls, on a route or, where there is none, only for the record. The credential is returned as well, only so that it can be
/// kept from going further.
pub(crate) async fn authenticate<'p>(
    gate: &Gate,
    world: &Snapshot,
    context: &mut RequestContext,
    route: Option<&Route<'_>>,
    parts: &'p Parts,
) -> Result<(Caller, Option<&'p str>), Refusal> {
    let key_headers =
        |route: &Route<'_>| protocol::binding_by_path(route, &parts.headers).key_headers(route.rest);
    let key_headers = route.map(key_headers).unwrap_or_default();
    let bearer = credential(key_headers, parts)?;
    let path = parts.uri.path();
    let address = route.and_then(|route| path.strip_suffix(route.rest)).unwrap_or_default();
    let evidence = Evidence {
        bearer,
        peer: context.peer.svid.as_deref(),
        route: context.presented_at.as_deref().unwrap_or(address),
        now: millis(gate.clock.now().wall),
    };
    let proven = gate.authenticator.authenticate(world, evidence).await;
    let proven = proven.map_err(|refusal| not_in_address(refusal, parts))?;
    let chain = Arc::new(chain(&proven, context));
    context.proven(&proven);
    Ok((Caller { proven, chain }, bearer))
}

/// The one credential of a request: a bearer token, or the key that SDKs of the protocol send in headers of their own. Two are one too
/// many, also where they are the same; and one that is there and cannot be read is not absent.
pub(crate) fn credential<'p>(key_headers: &[&str], parts: &'p Parts) -> Result<Option<&'p str>, Refusal> {
    let mut lines = parts.headers.get_all(AUTHORIZATION).iter();
    let mut keys = key_headers.iter().flat_map(|name| parts.headers.get_all(*name));
    match (lines.next(), keys.next()) {
        (None, None) => Ok(None),
        (Some(line), None) if lines.next().is_none() => {
            let said = str::from_utf8(line.as_bytes()).ok().and_then(|said| said.split_once(' '));
            if said.is_some_and(|(scheme, _)| scheme.starts_with("AWS4-")) {
                return Err(malformed("a signature of AWS's proves nothing here").with_next(SIGNED));
            }
            let token = said.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = token.and_then(|(_, token)| one_token(token));
            token.map(Some).ok_or_else(|| malformed("Authorization must be \"Bearer\" and one token"))
        }
        (None, Some(key)) if keys.next().is_none() => {
            let key = str::from_utf8(key.as_bytes()).ok().and_then(one_token);
            key.map(Some).ok_or_else(|| malformed("the header for the key must hold one token"))
        }
        _ => Err(Refusal::new(Code::CredentialAmbiguous, "the request carries more than one credential")),
    }
}

/// A token without white space or control characters, which no token has (RFC 6750 section 2.1).
fn one_token(text: &str) -> Option<&str> {
    let token = text.trim_matches(' ');
    // No early end: a loop without one is vectorized, and nearly every token is well formed.
    let odd = token.bytes().fold(false, |odd, byte| odd | !byte.is_ascii_graphic());
    (!token.is_empty() && !odd).then_some(token)
}

/// The refusal of a request without a credential, with that one in its address is none: some SDKs put their key there.
fn not_in_address(refusal: Refusal, parts: &Parts) -> Refusal {
    const NEXT: &str = "A key in the address is not looked at, since addresses stand in logs: present your token as a bearer token, or in the header for keys of your SDK (x-goog-api-key, x-api-key).";
    let query = parts.uri.query().unwrap_or_default();
    let is_key = |name: &str| matches!(name, "key" | "api_key" | "access_token" | "oauth_token");
    let has_key = || form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is_key(&name));
    if refusal.code == Code::CredentialMissing && has_key() { refusal.with_next(NEXT) } else { refusal }
}

fn malformed(message: &'static str) -> Refusal {
    Refusal::new(Code::TokenMalformed, message)
}

/// The chain that the credential continues, or a new one that begins with this call.
fn chain(proven: &Proven, context: &RequestContext) -> Chain {
    proven.delegated.clone().unwrap_or_else(|| Chain {
        transaction: context.call.clone(),
        started: context.now(),
        actors: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn a_key_in_the_address_is_told_not_to_be_looked_at() {
        for (target, code, says) in [
            ("/llm/t/g/v1beta/models/m:generateContent?key=secret", Code::CredentialMissing, true),
            (
                "/llm/t/g/v1beta/models/m:generateContent?alt=sse&access_token=s",
                Code::CredentialMissing,
                true,
            ),
            ("/llm/t/g/v1beta/models/m:generateContent?alt=sse", Code::CredentialMissing, false),
            ("/llm/t/g/v1beta/models/m:generateContent?key=secret", Code::TokenExpired, false),
        ] {
            let (parts, ()) = Request::get(target).body(()).expect("a request").into_parts();
            let told = not_in_address(Refusal::new(code, "no"), &parts);
            assert_eq!(told.next().contains("not looked at"), says, "{target}");
            assert!(!told.next().contains("secret"));
        }
    }

    #[test]
    fn exactly_one_credential_holds_for_every_way_to_give_one() {
        const KEY: &str = "x-api-key";
        const KEYS: &[&str] = &[KEY, "x-goog-api-key"];
        const NONE: &[&str] = &[];
        let ambiguous = Err(Code::CredentialAmbiguous);
        let malformed = Err(Code::TokenMalformed);
        for (lines, key_headers, expected) in [
            (&[][..], KEYS, Ok(None)),
            (&[("authorization", "Bearer a")], KEYS, Ok(Some("a"))),
            (&[("authorization", "bearer  a ")], KEYS, Ok(Some("a"))),
            (&[(KEY, "a")], KEYS, Ok(Some("a"))),
            (&[("x-goog-api-key", "a")], KEYS, Ok(Some("a"))),
            // No way to give one on this route.
            (&[(KEY, "a")], NONE, Ok(None)),
            (&[("authorization", "Bearer a"), (KEY, "b")], NONE, Ok(Some("a"))),
            // Twice.
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], KEYS, ambiguous),
            (&[("authorization", "Bearer a"), ("authorization", "")], KEYS, ambiguous),
            (&[(KEY, "a"), (KEY, "a")], KEYS, ambiguous),
            (&[(KEY, "a"), (KEY, "")], KEYS, ambiguous),
            (&[(KEY, "a"), ("x-goog-api-key", "a")], KEYS, ambiguous),
            (&[("authorization", "Bearer a"), ("x-goog-api-key", "b")], KEYS, ambiguous),
            (&[("authorization", "Bearer a"), (KEY, "a")], KEYS, ambiguous),
            (&[("authorization", "Bearer a"), (KEY, "")], KEYS, ambiguous),
            (&[("authorization", ""), (KEY, "a")], KEYS, ambiguous),
            // Empty, of another kind, or in odd bytes.
            (&[("authorization", "")], KEYS, malformed),
            (&[("authorization", "Bearer")], KEYS, malformed),
            (&[("authorization", "Bearer ")], KEYS, malformed),
            (&[("authorization", "Bearer a b")], KEYS, malformed),
            (&[("authorization", "Bearer a\tb")], KEYS, malformed),
            (&[("authorization", "Bearer \u{e9}")], KEYS, malformed),
            (&[("authorization", "Basic YTpi")], KEYS, malformed),
            (
                &[(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=AKID/20261128/x/bedrock/aws4_request, SignedHeaders=host, Signature=0",
                )],
                KEYS,
                malformed,
            ),
            (&[("authorization", "a")], KEYS, malformed),
            (&[(KEY, "")], KEYS, malformed),
            (&[(KEY, "a b")], KEYS, malformed),
            (&[(KEY, "\u{e9}")], KEYS, malformed),
        ] {
            let mut request = Request::new(());
            for (name, value) in lines {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                request.headers_mut().append(*name, value);
            }
            let (parts, ()) = request.into_parts();
            let found = credential(key_headers, &parts).map_err(|refusal| refusal.code);
            assert_eq!(found, expected, "{lines:?} {key_headers:?}");
        }
    }
}
