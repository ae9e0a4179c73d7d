//! An upstream that refuses the key which the gateway holds for it. Nothing is wrong with the caller's own token, and its caller is not told that there is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Answered, Code, Refusal};
use vidimus_core::resource::llm_provider::ProviderType;
use vidimus_core::resource::{LlmProvider, McpServer};

use crate::answer::Answering;
use crate::effect::Effect;
use crate::forward::Body;
use crate::protocol::rest::Came;
use crate::provider_credentials::key_of;

/// The kind of an error of AWS's.
const KIND: &str = "x-amzn-errortype";
/// Those of the key, or of what is signed with it. It says them with 403, and some say with them what was signed: the session token too.
const KINDS: [&str; 10] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// Google's reason, which it says with 400.
const REASON: &str = "API_KEY_INVALID";

/// The longest error that is read for it, in bytes, and for how long it is waited for.
const LONGEST: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be done where it is a server's: the code's own words are of a provider's.
const NEXT_OF_SERVER: &str = "The server does not take the gateway's key; whoever operates it: look at spec.endpoint.credential of the MCPServer, \
    and put a key there that it takes.";

/// What an upstream says of the key that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// It answers 401 or 403: that may be of the key.
    Perhaps,
    /// That it does not take it.
    Refused,
}

/// The answer of an upstream, where it does not refuse the gateway's key. That it does is told to who operates: in the log, by the field that says
/// which key it is, and in the record of the call's end.
///
/// That of an MCP server is as a provider's. An API's passes, and so does a gRPC server's, which is what its tool answers: it may be of what was asked.
///
/// A provider's 403 passes, unless it says that it is of the key: it may be of the model, or of the account, and says so. Its 401 does not: to SDKs it is
/// the caller's own token that is wrong, and what it says may show a part of the key.
///
/// # Errors
/// `credential_refused`; and as the answer is read, where it has to be.
pub(super) async fn checked(
    (effect, answering): (&mut Effect, &Answering<'_>),
    response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    let destination = answering.answers();
    let Some((kind, id, field)) = key_of(destination) else { return Ok(response) };
    let status = response.extensions().get::<Came>().map_or(response.status(), |came| came.status);
    let (response, said) = match destination {
        Destination::Provider(provider) if is_said_in_body(provider, status) => {
            let (parts, body) = response.into_parts();
            let body = Box::pin(whole(body)).await?;
            let said = if is_of_key(&body) { Said::Refused } else { Said::Nothing };
            (Response::from_parts(parts, Body::Whole(Some(body))), said)
        }
        Destination::Provider(provider) => {
            let said = said_by(provider, status, response.headers());
            (response, said)
        }
        // To a client of MCP a 401 is of its own token, which it would throw away.
        Destination::Server(server) if speaks_mcp(server) && status == StatusCode::UNAUTHORIZED => {
            (response, Said::Refused)
        }
        Destination::Server(_) | Destination::Agent(_) => (response, perhaps(status)),
    };
    if said == Said::Nothing {
        return Ok(response);
    }
    let code = status.as_u16();
    tracing::warn!(
        call = %effect.call(),
        kind,
        id,
        field,
        status = code,
        "the upstream refuses the key that the gateway holds for it: look whether it is the right one, and what it may do"
    );
    effect.note(&format!("{code} to the gateway's key: look at {field} of {kind} {id}"));
    if said == Said::Perhaps {
        return Ok(response);
    }
    effect.status = code;
    let message =
        format!("{kind} {id} refused the key that the gateway holds for it; your own token is good");
    let upstream = Some(Box::new(Answered { status: code, retry_after: None }));
    let refusal = Refusal { upstream, ..Refusal::new(Code::CredentialRefused, message) };
    Err(match destination {
        Destination::Server(_) => refusal.with_next(NEXT_OF_SERVER),
        Destination::Provider(_) | Destination::Agent(_) => refusal,
    })
}

/// Whether its status is of HTTP, as clients of MCP read it, and not of what its tool answers.
fn speaks_mcp(server: &McpServer) -> bool {
    server.endpoint.openapi.is_none() && server.endpoint.grpc_tools.is_none()
}

fn perhaps(status: StatusCode) -> Said {
    let is_of_caller = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if is_of_caller { Said::Perhaps } else { Said::Nothing }
}

/// What a provider says by its status and its headers.
fn said_by(provider: &LlmProvider, status: StatusCode, headers: &HeaderMap) -> Said {
    if status == StatusCode::UNAUTHORIZED {
        return Said::Refused;
    }
    let kind = headers.get(KIND).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Some have a namespace before it, and all may have an address behind it.
    let kind = kind.split(':').next().and_then(|kind| kind.rsplit('#').next()).unwrap_or_default().trim();
    let is_of_aws = provider.provider == ProviderType::Bedrock && status.is_client_error();
    if is_of_aws && KINDS.contains(&kind) { Said::Refused } else { perhaps(status) }
}

/// Whether a provider says in the text of its error alone whether it is of the key.
fn is_said_in_body(provider: &LlmProvider, status: StatusCode) -> bool {
    provider.provider == ProviderType::Gemini && status == StatusCode::BAD_REQUEST
}

/// Whether an error of Google's, which may stand in a list, is of the key.
fn is_of_key(error: &[u8]) -> bool {
    let error: Value = serde_json::from_slice(error).unwrap_or_default();
    let error = error.get(0).unwrap_or(&error);
    let details = error.pointer("/error/details").and_then(Value::as_array);
    details.is_some_and(|details| details.iter().any(|one| one["reason"] == REASON))
}

/// An error, whole.
async fn whole(body: Body) -> Result<Bytes, Refusal> {
    const BROKE_OFF: &str = "the provider's answer broke off";
    let read =
        body.whole(LONGEST, BROKE_OFF, || format!("the provider's error is longer than {LONGEST} bytes"));
    let late = || Refusal::new(Code::UpstreamTimeout, "the provider began an error and did not end it");
    timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::protocol::tests::provider;

    #[test]
    fn what_is_of_the_key_is_told_from_what_is_of_the_model() {
        use ProviderType::{Anthropic, Bedrock, OpenAi};
        for (kind, status, error, expected) in [
            (OpenAi, 401, "", Said::Refused),
            (OpenAi, 403, "", Said::Perhaps),
            (OpenAi, 403, "UnrecognizedClientException", Said::Perhaps),
            (Anthropic, 400, "", Said::Nothing),
            (OpenAi, 200, "", Said::Nothing),
            (Bedrock, 401, "", Said::Refused),
            (Bedrock, 403, "AccessDeniedException", Said::Perhaps),
            (Bedrock, 403, "UnrecognizedClientException", Said::Refused),
            (Bedrock, 403, "InvalidSignatureException:http://internal.amazon.com/coral/", Said::Refused),
            (Bedrock, 403, "com.amazon.coral.service#ExpiredTokenException", Said::Refused),
            (Bedrock, 400, "IncompleteSignatureException", Said::Refused),
            (Bedrock, 400, "ValidationException", Said::Nothing),
            (Bedrock, 200, "UnrecognizedClientException", Said::Nothing),
        ] {
            let provider = LlmProvider { provider: kind, ..(*provider()).clone() };
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(KIND),
                HeaderValue::from_static(error),
            )]);
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(said_by(&provider, status, &headers), expected, "{kind:?} {status} {error}");
        }
    }

    #[test]
    fn what_google_says_of_a_key_is_its_reason() {
        let of = |details: Value| json!({"error": {"code": 400, "message": "API_KEY_INVALID", "details": details}});
        let invalid = of(json!([{"@type": "x"}, {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]));
        for (error, expected) in [
            (invalid.clone(), true),
            (json!([invalid]), true),
            (of(json!([{"reason": "OTHER", "metadata": {"reason": "API_KEY_INVALID"}}])), false),
            (of(json!("API_KEY_INVALID")), false),
            (json!({"reason": "API_KEY_INVALID"}), false),
            (json!([]), false),
        ] {
            assert_eq!(is_of_key(error.to_string().as_bytes()), expected, "{error}");
        }
        assert!(!is_of_key(b"API_KEY_INVALID"));
    }
}
