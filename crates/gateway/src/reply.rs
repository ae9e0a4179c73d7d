//! Answers: an upstream's, passed on, or a refusal in the protocol's own error shape.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde_json::json;
use vidimus_core::refusal::{Class, Code, Refusal};
use vidimus_core::resource::llm_provider::ProviderType;

use crate::effect::Passing;
use crate::protocol::{a2a, mcp};

/// The call id, on every answer: what to search the audit for.
pub const CALL_HEADER: HeaderName = HeaderName::from_static("vidimus-call");
/// The stable code, on every refusal.
pub const CODE_HEADER: HeaderName = HeaderName::from_static("vidimus-code");

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    Whole(Full<Bytes>),
    Passing(Box<Passing>),
}

impl ReplyBody {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Passing(passing) => Pin::new(&mut **passing).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Passing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Passing(_) => SizeHint::default(),
        }
    }
}

/// Which protocol's errors in JSON-RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Mcp,
    A2a,
}

/// In which protocol's shape a refusal is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON-RPC error, with the request's id as JSON text where it is known.
    JsonRpc {
        dialect: Dialect,
        id: Option<Box<str>>,
    },
    OpenAi,
    Anthropic,
    /// Outside the three protocols.
    Plain,
}

impl Shape {
    pub fn of(provider: ProviderType) -> Self {
        match provider {
            ProviderType::Anthropic => Self::Anthropic,
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => Self::OpenAi,
        }
    }

    /// A decided refusal of a JSON-RPC request is a JSON-RPC answer: SDKs hand its text to the agent's developer, and keep the
    /// session. Everything else has the status that says it to HTTP; but A2A's clients lose what comes with one (e2e/WIRE.md), so
    /// there only a challenge has it.
    fn status(&self, code: Code) -> StatusCode {
        let class = code.class();
        let answered = match self {
            Self::JsonRpc { dialect: Dialect::A2a, id: Some(_) } => class != Class::Unauthenticated,
            Self::JsonRpc { dialect: Dialect::Mcp, id: Some(_) } => {
                class == Class::Forbidden || code == Code::ResourceUnknown
            }
            _ => false,
        };
        if answered {
            StatusCode::OK
        } else {
            StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    fn body(&self, refusal: &Refusal, call: &str) -> String {
        let code = refusal.code;
        let class = code.class();
        let about = json!({
            "code": code.as_str(),
            "reason": refusal.message,
            "next": code.next(),
            "policies": refusal.policies,
            "call": call,
        });
        let message = format!("{} ({}). {}", refusal.message, code.as_str(), code.next());
        match self {
            Self::JsonRpc { dialect, id } => {
                let mut data = about;
                if code == Code::ProtocolVersionUnsupported
                    && let Some(data) = data.as_object_mut()
                {
                    data.insert("supported".to_owned(), json!(dialect.served()));
                }
                let error = json!({"code": dialect.code(code), "message": message, "data": data});
                format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.as_deref().unwrap_or("null"))
            }
            Self::OpenAi => {
                json!({"error": {"message": message, "type": openai_type(class), "param": null, "code": code.as_str(), "vidimus": about}})
                    .to_string()
            }
            Self::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(class), "message": message},
                "request_id": call,
                "vidimus": about,
            })
            .to_string(),
            Self::Plain => json!({"error": code.as_str(), "error_description": message, "vidimus": about}).to_string(),
        }
    }
}

impl Dialect {
    /// The codes that the protocol defines; otherwise −31000 − HTTP status, which lies outside every reserved range.
    fn code(self, code: Code) -> i64 {
        match (code, self) {
            (Code::BodyNotJson | Code::BodyNotUtf8 | Code::DuplicateKey, _) => -32700,
            (Code::MessageInvalid | Code::BatchNotSupported, _) => -32600,
            (Code::MethodUnknown, _) => -32601,
            (Code::HeaderMismatch, Self::Mcp) => -32020,
            // A2A has no code of its own for it.
            (Code::HeaderMismatch, Self::A2a) => -32600,
            (Code::ProtocolVersionUnsupported, Self::Mcp) => -32022,
            // VersionNotSupportedError (A2A 1.0, section 5.4).
            (Code::ProtocolVersionUnsupported, Self::A2a) => -32009,
            _ => -31_000 - i64::from(code.class().http_status()),
        }
    }

    fn served(self) -> Vec<&'static str> {
        match self {
            Self::Mcp => [mcp::MODERN].into_iter().chain(mcp::HANDSHAKE).collect(),
            Self::A2a => a2a::SERVED.to_vec(),
        }
    }
}

fn openai_type(class: Class) -> &'static str {
    match class {
        Class::Invalid | Class::NotFound | Class::MethodNotAllowed | Class::TooLarge | Class::TooSlow => {
            "invalid_request_error"
        }
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::Unavailable | Class::BadUpstream | Class::UpstreamTimeout => "server_error",
    }
}

fn anthropic_type(class: Class) -> &'static str {
    match class {
        Class::Invalid | Class::MethodNotAllowed | Class::TooSlow => "invalid_request_error",
        Class::TooLarge => "request_too_large",
        Class::NotFound => "not_found_error",
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::Unavailable => "overloaded_error",
        Class::BadUpstream | Class::UpstreamTimeout => "api_error",
    }
}

/// The answer to a refused call. `metadata` is the URL of the RFC 9728 document, sent with 401.
pub fn refused(shape: &Shape, refusal: &Refusal, call: &str, metadata: Option<&str>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::whole(shape.body(refusal, call)));
    *response.status_mut() = shape.status(refusal.code);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CODE_HEADER, HeaderValue::from_static(refusal.code.as_str()));
    if let Some(allow) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Ok(call) = HeaderValue::from_str(call) {
        headers.insert(CALL_HEADER, call);
    }
    if refusal.code.class() == Class::Unauthenticated {
        let error = if refusal.code == Code::CredentialMissing { "" } else { ", error=\"invalid_token\"" };
        let metadata = metadata.map(|url| format!("resource_metadata=\"{url}\"")).unwrap_or_default();
        let text = format!("Bearer {metadata}{error}").replace("Bearer , ", "Bearer ");
        if let Ok(challenge) = HeaderValue::from_str(text.trim_end()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
    }
    response
}

/// A JSON document of the gateway's own.
pub fn document(json: impl Into<Bytes>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::whole(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(dialect: Dialect, id: Option<&str>) -> Shape {
        Shape::JsonRpc { dialect, id: id.map(Into::into) }
    }

    fn check(shape: &Shape, code: Code) -> (u16, serde_json::Value) {
        let refusal = Refusal { policies: vec!["f/p".into()], ..Refusal::new(code, "because") };
        let response = refused(shape, &refusal, "call-1", None);
        assert_eq!(
            response.headers().get(CODE_HEADER).map(HeaderValue::as_bytes),
            Some(code.as_str().as_bytes())
        );
        (response.status().as_u16(), serde_json::from_str(&shape.body(&refusal, "call-1")).expect("JSON"))
    }

    #[test]
    fn every_code_has_a_reason_a_next_step_and_a_call_in_every_shape() {
        let shapes = [
            rpc(Dialect::Mcp, Some("7")),
            rpc(Dialect::Mcp, None),
            rpc(Dialect::A2a, Some("7")),
            rpc(Dialect::A2a, None),
            Shape::OpenAi,
            Shape::Anthropic,
            Shape::Plain,
        ];
        for shape in &shapes {
            for code in Code::ALL {
                let (status, body) = check(shape, *code);
                let about = body
                    .get("vidimus")
                    .or_else(|| body.pointer("/error/vidimus"))
                    .or_else(|| body.pointer("/error/data"));
                let about = about.expect("what it is about");
                assert_eq!(about["code"], code.as_str());
                assert_eq!(about["policies"][0], "f/p");
                assert_eq!(about["call"], "call-1");
                assert!(about["next"].as_str().is_some_and(|next| next.len() > 20), "{code:?}");
                let answered = matches!(shape, Shape::JsonRpc { id: Some(_), .. }) && status == 200;
                assert!(answered || status == code.class().http_status(), "{code:?} {status}");
            }
        }
    }

    #[test]
    fn a_method_that_is_not_served_is_told_those_that_are() {
        let refusal = Refusal::method_not_allowed("MCP", "POST, GET, DELETE");
        let response = refused(&Shape::Plain, &refusal, "call-1", None);
        let allow = response.headers().get(ALLOW).map(HeaderValue::as_bytes);
        assert_eq!((response.status().as_u16(), allow), (405, Some(&b"POST, GET, DELETE"[..])));
        assert_eq!(refusal.message, "MCP is served by POST, GET, DELETE");
    }

    #[test]
    fn a_decided_denial_of_a_request_is_an_answer_to_it() {
        let (status, body) = check(&rpc(Dialect::Mcp, Some("\"a\"")), Code::NoPermit);
        assert_eq!((status, &body["id"], &body["error"]["code"]), (200, &json!("a"), &json!(-31_403)));
        let (status, body) = check(&rpc(Dialect::Mcp, None), Code::NoPermit);
        assert_eq!((status, &body["id"]), (403, &json!(null)));
        let (status, body) = check(&Shape::Anthropic, Code::NoPermit);
        assert_eq!((status, &body["error"]["type"]), (403, &json!("permission_error")));
    }

    #[test]
    fn each_dialect_has_its_own_codes_and_statuses() {
        for (dialect, code, status, number) in [
            (Dialect::Mcp, Code::ProtocolVersionUnsupported, 400, -32_022),
            (Dialect::A2a, Code::ProtocolVersionUnsupported, 200, -32_009),
            (Dialect::Mcp, Code::HeaderMismatch, 400, -32_020),
            (Dialect::A2a, Code::HeaderMismatch, 200, -32_600),
            (Dialect::Mcp, Code::MethodUnknown, 404, -32_601),
            (Dialect::A2a, Code::MethodUnknown, 200, -32_601),
            (Dialect::A2a, Code::UpstreamUnreachable, 200, -31_502),
            (Dialect::A2a, Code::TokenExpired, 401, -31_401),
        ] {
            let (got, body) = check(&rpc(dialect, Some("7")), code);
            assert_eq!((got, &body["error"]["code"]), (status, &json!(number)), "{dialect:?} {code:?}");
        }
        let (status, body) = check(&rpc(Dialect::A2a, Some("7")), Code::ProtocolVersionUnsupported);
        assert_eq!((status, &body["error"]["data"]["supported"]), (200, &json!(["1.0", "0.3"])));
        assert_eq!(check(&rpc(Dialect::A2a, None), Code::MethodUnknown).0, 404);
    }
}
