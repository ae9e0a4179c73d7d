//! How a sender of spans is answered, in the words of its protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use vidimus_core::refusal::Refusal;
use vidimus_traces::Taken;

use super::Wire;
use crate::reply::{self, ReplyBody};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// When what cannot be taken now may be sent again, in seconds.
const AGAIN: u32 = 5;

/// `google.rpc.Status`, which is also the body of a refusal over HTTP.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`: without it a sender gives up what was refused as RESOURCE_EXHAUSTED.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The spans were taken, or some of them.
pub(super) fn taken(wire: Wire, taken: &Taken) -> Response<ReplyBody> {
    let rejected = taken.rejected();
    // With none that is rejected it is a warning (OTLP, "Partial Success").
    let partial_success = (rejected > 0 || taken.cut > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: why(taken),
    });
    let answer = ExportTraceServiceResponse { partial_success };
    match wire {
        Wire::Protobuf => response(PROTOBUF, ReplyBody::whole(answer.encode_to_vec())),
        Wire::Json => {
            let partial = answer.partial_success.map(|partial| {
                json!({"rejectedSpans": partial.rejected_spans.to_string(), "errorMessage": partial.error_message})
            });
            let body = partial.map_or(json!({}), |partial| json!({"partialSuccess": partial}));
            response(JSON, ReplyBody::whole(body.to_string()))
        }
        Wire::Grpc => grpc(&answer.encode_to_vec()),
    }
}

/// The one message that a call over gRPC is answered with.
pub(crate) fn grpc(message: &[u8]) -> Response<ReplyBody> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let framed: Bytes = [&[0_u8][..], &length[..], message].concat().into();
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    response(GRPC, ReplyBody::with_trailers(framed, trailers))
}

/// What was not kept, or not as a whole, and why.
fn why(taken: &Taken) -> String {
    let all = [
        (taken.altered, "say something else than they said before by the same ids, and the first stands"),
        (taken.malformed, "have no ids of 16 and 8 bytes, or end before they begin"),
        (
            taken.too_large,
            "are too large without their attributes (64 KiB), have names in their resource or scope that are too long (32 KiB), or are too much together",
        ),
        (
            taken.cut,
            "are kept without the ends of their longest values, or with fewer attributes or events (64 KiB, 128 attributes, 128 events; of a resource 32 KiB)",
        ),
    ];
    let said = all.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
    said.collect::<Vec<_>>().join("; ")
}

/// The request was refused: `plain` is how it is told anybody, with a status and what headers say of it.
pub(crate) fn refused(wire: Wire, plain: Response<ReplyBody>, refusal: &Refusal) -> Response<ReplyBody> {
    let (mut head, _) = plain.into_parts();
    let comes_again = head.status == StatusCode::SERVICE_UNAVAILABLE;
    if comes_again && !head.headers.contains_key(RETRY_AFTER) {
        head.headers.insert(RETRY_AFTER, AGAIN.into());
    }
    let delay = RetryInfo { retry_delay: Some(Delay { seconds: AGAIN.into() }) };
    let details = comes_again.then(|| Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: delay.encode_to_vec(),
    });
    let status = Status {
        code: grpc_code(head.status),
        message: reply::sentence(refusal),
        details: details.into_iter().collect(),
    };
    let (kind, body) = match wire {
        Wire::Protobuf => (PROTOBUF, ReplyBody::whole(status.encode_to_vec())),
        Wire::Json => {
            let body = json!({"code": status.code, "message": status.message, "vidimus": {"code": refusal.code.as_str()}});
            (JSON, ReplyBody::whole(body.to_string()))
        }
        Wire::Grpc => {
            // An answer without a message: the trailers are its headers.
            head.status = StatusCode::OK;
            head.headers.insert(GRPC_STATUS, HeaderValue::from(status.code));
            let text = |text: String| HeaderValue::from_str(&text).ok();
            head.headers.extend(text(percent_encoded(&status.message)).map(|text| (GRPC_MESSAGE, text)));
            let details = text(STANDARD.encode(status.encode_to_vec()));
            head.headers.extend(details.map(|details| (GRPC_DETAILS, details)));
            (GRPC, ReplyBody::whole(Bytes::new()))
        }
    };
    head.headers.insert(CONTENT_TYPE, kind);
    Response::from_parts(head, body)
}

fn response(kind: HeaderValue, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The code of gRPC that tells a sender the same as the status of HTTP, also whether to send again.
fn grpc_code(status: StatusCode) -> i32 {
    match status.as_u16() {
        401 => 16,       // UNAUTHENTICATED
        403 => 7,        // PERMISSION_DENIED
        404 | 405 => 12, // UNIMPLEMENTED
        408 | 504 => 4,  // DEADLINE_EXCEEDED
        503 => 8,        // RESOURCE_EXHAUSTED, with when to come again
        400..=499 => 3,  // INVALID_ARGUMENT
        _ => 14,         // UNAVAILABLE
    }
}

/// As `grpc-message` is written: what is not printable ASCII, and the percent sign, as `%` and two digits.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use vidimus_core::refusal::Code;

    use super::*;

    fn plain(code: Code) -> (Refusal, Response<ReplyBody>) {
        let refusal = Refusal::new(code, "because of 5 % ü");
        let response = reply::refused(reply::plain(&refusal, "call-1"), &refusal, "call-1", None);
        (refusal, response)
    }

    #[test]
    fn each_protocol_is_told_whether_to_come_again() {
        for (code, status, number, again) in [
            (Code::Overloaded, 503, "8", true),
            (Code::TokenExpired, 401, "16", false),
            (Code::ForbiddenByPolicy, 403, "7", false),
            (Code::MessageInvalid, 400, "3", false),
            (Code::BodyTooLarge, 413, "3", false),
            (Code::MethodNotAllowed, 405, "12", false),
        ] {
            for wire in [Wire::Protobuf, Wire::Json, Wire::Grpc] {
                let (refusal, response) = plain(code);
                let response = refused(wire, response, &refusal);
                let (head, _) = response.into_parts();
                let expected = if wire == Wire::Grpc { 200 } else { status };
                assert_eq!(head.status.as_u16(), expected, "{code:?} {wire:?}");
                assert_eq!(head.headers.contains_key(RETRY_AFTER), again);
                assert_eq!(head.headers[reply::CODE_HEADER].as_bytes(), code.as_str().as_bytes());
                if wire == Wire::Grpc {
                    assert_eq!(head.headers[GRPC_STATUS].as_bytes(), number.as_bytes());
                    let details = STANDARD.decode(head.headers[GRPC_DETAILS].as_bytes()).expect("base64");
                    let details = Status::decode(&*details).expect("a status");
                    assert_eq!(details.details.len(), usize::from(again));
                    assert!(
                        head.headers[GRPC_MESSAGE].to_str().is_ok_and(|said| said.contains("5 %25 %C3%BC"))
                    );
                }
            }
        }
    }
}
