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
use crate::protocol::mcp;

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

/// In which protocol's shape a refusal is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON-RPC error, with the request's id as JSON text where it is known.
    JsonRpc {
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
    /// session. Everything else has the status that says it to HTTP.
    fn status(&self, code: Code) -> StatusCode {
        let answered = matches!(self, Self::JsonRpc { id: Some(_) })
            && (code.class() == Class::Forbidden || code == Code::ResourceUnknown);
        if answered {
            StatusCode::OK
        } else {
            StatusCode::from_u16(code.class().http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
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
            Self::JsonRpc { id } => {
                let mut data = about;
                if code == Code::ProtocolVersionUnsupported
                    && let Some(data) = data.as_object_mut()
                {
                    let served: Vec<&str> = [mcp::MODERN].into_iter().chain(mcp::HANDSHAKE).collect();
                    data.insert("supported".to_owned(), json!(served));
                }
                let error = json!({"code": rpc_code(code), "message": message, "data": data});
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

/// The codes that the protocols define; otherwise −31000 − HTTP status, which lies outside every reserved range.
fn rpc_code(code: Code) -> i64 {
    match code {
        Code::BodyNotJson | Code::BodyNotUtf8 | Code::DuplicateKey => -32700,
        Code::MessageInvalid | Code::BatchNotSupported => -32600,
        Code::MethodUnknown => -32601,
        Code::HeaderMismatch => -32020,
        Code::ProtocolVersionUnsupported => -32022,
        _ => -31_000 - i64::from(code.class().http_status()),
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
            Shape::JsonRpc { id: Some("7".into()) },
            Shape::JsonRpc { id: None },
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
                let answered = *shape == Shape::JsonRpc { id: Some("7".into()) } && status == 200;
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
        let (status, body) = check(&Shape::JsonRpc { id: Some("\"a\"".into()) }, Code::NoPermit);
        assert_eq!((status, &body["id"], &body["error"]["code"]), (200, &json!("a"), &json!(-31_403)));
        let (status, body) = check(&Shape::JsonRpc { id: None }, Code::NoPermit);
        assert_eq!((status, &body["id"]), (403, &json!(null)));
        let (status, body) = check(&Shape::Anthropic, Code::NoPermit);
        assert_eq!((status, &body["error"]["type"]), (403, &json!("permission_error")));
    }
}
