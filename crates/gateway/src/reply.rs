//! Answers: an upstream's, passed on, or a refusal, whose shape is the protocol's own (`Binding::refused`).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde_json::{Value, json};
use vidimus_core::refusal::{Class, Code, Refusal, Served};

use crate::answer::ResponseStream;
use crate::listener::grpc::Lowering;
use crate::protocol::llm::bedrock::frames::InFrames;

/// The call id, on every answer: what to search the audit for.
pub const CALL_HEADER: HeaderName = HeaderName::from_static("vidimus-call");
/// The stable code, on every refusal.
pub const CODE_HEADER: HeaderName = HeaderName::from_static("vidimus-code");

/// The body of an answer.
#[derive(Debug)]
pub struct ReplyBody(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    /// A message, and what is said behind it.
    Framed(std::vec::IntoIter<Frame<Bytes>>),
    Stream(Box<ResponseStream>),
    /// Over gRPC.
    Lowered(Box<Lowering>),
    /// In frames of AWS's.
    InFrames(Box<InFrames>),
}

impl ReplyBody {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Full::new(bytes.into())))
    }

    /// A body with trailers.
    pub(crate) fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> Self {
        Self::framed(vec![Frame::data(bytes), Frame::trailers(trailers)])
    }

    /// A body in these pieces.
    pub(crate) fn framed(frames: Vec<Frame<Bytes>>) -> Self {
        Self(Kind::Framed(frames.into_iter()))
    }

    pub(crate) fn stream(stream: ResponseStream) -> Self {
        Self(Kind::Stream(Box::new(stream)))
    }

    pub(crate) fn lowered(lowering: Lowering) -> Self {
        Self(Kind::Lowered(Box::new(lowering)))
    }

    pub(crate) fn in_frames(frames: InFrames) -> Self {
        Self(Kind::InFrames(Box::new(frames)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Kind::Framed(frames) => Poll::Ready(frames.next().map(Ok)),
            Kind::Stream(stream) => Pin::new(&mut **stream).poll_frame(cx),
            Kind::Lowered(lowering) => lowering.poll_frame(cx),
            Kind::InFrames(frames) => frames.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(full) => full.is_end_stream(),
            Kind::Framed(frames) => frames.as_slice().is_empty(),
            Kind::Stream(_) | Kind::Lowered(_) | Kind::InFrames(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(full) => full.size_hint(),
            Kind::Framed(_) | Kind::Stream(_) | Kind::Lowered(_) | Kind::InFrames(_) => SizeHint::default(),
        }
    }
}

/// What a refusal is about, for programs: the part of its answer that is the same in every protocol.
pub fn about(refusal: &Refusal, call: &str) -> Value {
    let mut about = json!({
        "code": refusal.code.as_str(),
        "reason": refusal.message,
        "next": refusal.next(),
        "policies": refusal.policies,
        "call": call,
    });
    if let (Some(upstream), Some(about)) = (&refusal.upstream, about.as_object_mut()) {
        about.insert("upstream_status".to_owned(), json!(upstream.status));
    }
    if let (Some(awaited), Some(about)) = (&refusal.awaited, about.as_object_mut()) {
        about.insert("approval".to_owned(), json!(awaited.approval));
    }
    if let (Some(limited), Some(about)) = (&refusal.limited, about.as_object_mut()) {
        about.insert("limit".to_owned(), json!(limited.limit));
        about.extend(limited.retry_after.map(|seconds| ("retry_after".to_owned(), json!(seconds))));
    }
    about
}

/// What a refusal says to people.
pub fn sentence(refusal: &Refusal) -> String {
    format!("{} ({}). {}", refusal.message, refusal.code.as_str(), refusal.next())
}

/// A JSON body with its status.
pub fn json(status: u16, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A refusal outside the governed protocols.
pub fn plain(refusal: &Refusal, call: &str) -> Response<String> {
    let body = json!({
        "error": refusal.code.as_str(),
        "error_description": sentence(refusal),
        "vidimus": about(refusal, call),
    });
    json(refusal.code.class().http_status(), body.to_string())
}

/// The answer to a refused call, in its protocol's `shape`, with what HTTP has to say of it in every protocol. `metadata` is the
/// URL of the RFC 9728 document, sent with 401.
pub fn refused(
    shape: Response<String>,
    refusal: &Refusal,
    call: &str,
    metadata: Option<&str>,
) -> Response<ReplyBody> {
    let mut response = shape.map(ReplyBody::whole);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CODE_HEADER, HeaderValue::from_static(refusal.code.as_str()));
    if let Some(Served::Methods(allow)) = refusal.served.as_deref()
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, allow);
    }
    if let Ok(call) = HeaderValue::from_str(call) {
        headers.insert(CALL_HEADER, call);
    }
    let retry_after = refusal.upstream.as_ref().and_then(|upstream| upstream.retry_after.as_deref());
    if let Some(Ok(after)) = retry_after.map(HeaderValue::from_str) {
        headers.insert(RETRY_AFTER, after);
    }
    if let Some(awaited) = &refusal.awaited {
        headers.insert(RETRY_AFTER, awaited.retry_after.into());
    }
    if let Some(seconds) = refusal.limited.as_ref().and_then(|limited| limited.retry_after) {
        headers.insert(RETRY_AFTER, seconds.into());
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
    use vidimus_core::refusal::{Limited, Room};
    use vidimus_core::resource::limit::Measure;

    use super::*;
    use crate::protocol::{Binding, a2a, llm, mcp};

    const SHAPES: [Option<&dyn Binding>; 10] = [
        Some(&mcp::StreamableHttp),
        Some(&a2a::JsonRpc::OLD),
        Some(&a2a::Rest),
        Some(&a2a::Grpc),
        Some(&llm::OpenAi),
        Some(&llm::Anthropic),
        Some(&llm::Gemini),
        Some(&llm::Azure),
        Some(&llm::Bedrock),
        None,
    ];

    fn check(binding: Option<&dyn Binding>, id: Option<&str>, code: Code) -> (u16, Value) {
        let refusal = Refusal { policies: ["f/p".into()].into(), ..Refusal::new(code, "because") };
        let shape = match binding {
            Some(binding) => binding.refused(&refusal, "call-1", id),
            None => plain(&refusal, "call-1"),
        };
        let body = serde_json::from_str(shape.body()).expect("JSON");
        let response = refused(shape, &refusal, "call-1", None);
        let said = response.headers().get(CODE_HEADER).map(HeaderValue::as_bytes);
        assert_eq!(said, Some(code.as_str().as_bytes()));
        (response.status().as_u16(), body)
    }

    #[test]
    fn every_code_has_a_reason_a_next_step_and_a_call_in_every_shape() {
        for (binding, id) in SHAPES.into_iter().flat_map(|binding| [(binding, None), (binding, Some("7"))]) {
            for code in Code::ALL {
                let (status, body) = check(binding, id, *code);
                let about = body
                    .get("vidimus")
                    .or_else(|| body.pointer("/error/vidimus"))
                    .or_else(|| body.pointer("/error/data"));
                let about = about.expect("what it is about");
                assert_eq!(about["code"], code.as_str());
                assert_eq!(about["policies"][0], "f/p");
                assert_eq!(about["call"], "call-1");
                assert!(about["next"].as_str().is_some_and(|next| next.len() > 20), "{code:?}");
                let answered = body.get("jsonrpc").is_some() && id.is_some() && status == 200;
                assert!(answered || status == code.class().http_status(), "{code:?} {status}");
            }
        }
    }

    #[test]
    fn a_method_that_is_not_served_is_told_those_that_are() {
        let refusal = Refusal::method_not_allowed("MCP", "POST, GET, DELETE");
        let response = refused(plain(&refusal, "call-1"), &refusal, "call-1", None);
        let allow = response.headers().get(ALLOW).map(HeaderValue::as_bytes);
        assert_eq!((response.status().as_u16(), allow), (405, Some(&b"POST, GET, DELETE"[..])));
        assert_eq!(refusal.message, "MCP is served by POST, GET, DELETE");
    }

    /// Each protocol's own way to say it; when to come again stands in the header of all.
    #[test]
    fn a_limit_is_told_in_each_protocols_own_way() {
        let room = Some(Room { of: Measure::Requests, amount: 60, left: 0 });
        let limited = Limited { limit: "f/p/calls".into(), retry_after: Some(7), room };
        let refusal =
            Refusal { limited: Some(Box::new(limited)), ..Refusal::new(Code::LimitExceeded, "no room") };
        let said = |binding: &dyn Binding| {
            let response = refused(binding.refused(&refusal, "call-1", Some("7")), &refusal, "call-1", None);
            let after = response.headers().get(RETRY_AFTER).cloned();
            assert_eq!(after, Some(HeaderValue::from(7_u32)), "{binding:?}");
            let shape = binding.refused(&refusal, "call-1", Some("7"));
            (shape.status().as_u16(), serde_json::from_str::<Value>(shape.body()).expect("JSON"))
        };
        for binding in [&mcp::StreamableHttp as &dyn Binding, &a2a::JsonRpc::OLD] {
            let (status, body) = said(binding);
            assert_eq!((status, &body["error"]["code"]), (200, &json!(-31_429)), "{binding:?}");
            let data = &body["error"]["data"];
            assert_eq!((&data["limit"], &data["retry_after"]), (&json!("f/p/calls"), &json!(7)));
        }
        for binding in [&llm::OpenAi as &dyn Binding, &llm::Anthropic] {
            let (status, body) = said(binding);
            assert_eq!((status, &body["error"]["type"]), (429, &json!("rate_limit_error")), "{binding:?}");
        }
        let (status, body) = said(&llm::Gemini);
        assert_eq!((status, &body["error"]["details"][0]["retryDelay"]), (429, &json!("7s")));
        let headers = llm::OpenAi.refused(&refusal, "call-1", None).headers().clone();
        for (name, expected) in [("limit", "60"), ("remaining", "0"), ("reset", "7s")] {
            let header = headers.get(format!("x-ratelimit-{name}-requests"));
            assert_eq!(header.map(HeaderValue::as_bytes), Some(expected.as_bytes()), "{name}");
        }
        let never = Limited { limit: "f/p/calls".into(), retry_after: None, room: None };
        let refusal =
            Refusal { limited: Some(Box::new(never)), ..Refusal::new(Code::LimitExceeded, "no room") };
        let response = refused(plain(&refusal, "call-1"), &refusal, "call-1", None);
        assert_eq!((response.status().as_u16(), response.headers().get(RETRY_AFTER)), (429, None));
    }

    #[test]
    fn a_decided_denial_of_a_request_is_an_answer_to_it() {
        let mcp: Option<&dyn Binding> = Some(&mcp::StreamableHttp);
        let (status, body) = check(mcp, Some("\"a\""), Code::NoPermit);
        assert_eq!((status, &body["id"], &body["error"]["code"]), (200, &json!("a"), &json!(-31_403)));
        let (status, body) = check(mcp, None, Code::NoPermit);
        assert_eq!((status, &body["id"]), (403, &json!(null)));
        let (status, body) = check(Some(&llm::Anthropic), None, Code::NoPermit);
        assert_eq!((status, &body["error"]["type"]), (403, &json!("permission_error")));
    }

    #[test]
    fn each_protocol_has_its_own_codes_and_statuses() {
        let (mcp, a2a): (&dyn Binding, &dyn Binding) = (&mcp::StreamableHttp, &a2a::JsonRpc::OLD);
        for (binding, code, status, number) in [
            (mcp, Code::ProtocolVersionUnsupported, 400, -32_022),
            (a2a, Code::ProtocolVersionUnsupported, 200, -32_009),
            (mcp, Code::HeaderMismatch, 400, -32_020),
            (a2a, Code::HeaderMismatch, 200, -32_600),
            (mcp, Code::MethodUnknown, 404, -32_601),
            (a2a, Code::MethodUnknown, 200, -32_601),
            (a2a, Code::UpstreamUnreachable, 200, -31_502),
            (a2a, Code::TokenExpired, 401, -31_401),
        ] {
            let (got, body) = check(Some(binding), Some("7"), code);
            assert_eq!((got, &body["error"]["code"]), (status, &json!(number)), "{binding:?} {code:?}");
        }
        let (status, body) = check(Some(a2a), Some("7"), Code::ProtocolVersionUnsupported);
        assert_eq!((status, &body["error"]["data"]["supported"]), (200, &json!(["1.0", "0.3"])));
        assert_eq!(check(Some(a2a), None, Code::MethodUnknown).0, 404);
    }
}
