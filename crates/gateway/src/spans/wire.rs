//! How a request of OTLP comes: HTTP with protobuf or JSON, or gRPC.
//!
//! gRPC is one method with one message each way, which is a frame of five bytes and two trailers over HTTP/2
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). It comes in where calls do, so that TLS, limits and authentication are theirs.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use vidimus_core::refusal::{Code, Refusal};

use super::{MOST_BODY, Spans, json};
use crate::answer::encoding::Encoding;
use crate::gate::Gate;

const PATH: &str = "/v1/traces";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The most parts that one request may have in it: spans, attributes, values of lists, events. Each costs its sender two bytes, and some hundred
/// here. A batch of a collector (8,192 spans) has some thirty for each; 4 MiB have no more of any use.
const MOST_ELEMENTS: usize = 262_144;
/// The most objects of JSON: an attribute is two, and any may be a span.
const MOST_OBJECTS: usize = 65_536;
/// The most spans of them. Senders have batches of 512, collectors of 8,192.
const MOST_SPANS: usize = 16_384;
/// What a part is in memory at most, in bytes: of a list that grows there is room for twice as many.
const ELEMENT: usize = 256;
/// What a span is more.
const SPAN: usize = 512;
/// What is in a list of JSON without being a part, such as an empty text; each has a comma behind it.
const ITEM: usize = 48;
/// How deep a value may be in another.
const MOST_DEPTH: usize = 32;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Protobuf,
    Json,
    Grpc,
}

/// How the body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
}

/// How a request brings spans, where it does and they are kept here.
pub(crate) fn asked<'g>(gate: &'g Gate, parts: &Parts) -> Option<(&'g Spans, Wire)> {
    let spans = gate.spans.as_ref()?;
    let kind = parts.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    match parts.uri.path() {
        PATH if is(kind, b"application/json") => Some((spans, Wire::Json)),
        PATH => Some((spans, Wire::Protobuf)),
        GRPC_PATH => Some((spans, Wire::Grpc)),
        _ => None,
    }
}

/// Whether spans come to a path, where they are taken.
pub(crate) fn is_address(path: &str) -> bool {
    matches!(path, PATH | GRPC_PATH)
}

/// Whether a content type is this one, whatever parameters it has.
fn is(kind: &[u8], wanted: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(wanted)
}

impl Wire {
    /// How the body is encoded.
    ///
    /// # Errors
    /// `message_invalid` for a content type or an encoding that is not read.
    pub(super) fn coding(self, headers: &HeaderMap) -> Result<Coding, Refusal> {
        let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        let is_known = match self {
            Self::Json => true,
            Self::Protobuf => is(kind, b"application/x-protobuf"),
            Self::Grpc => is(kind, b"application/grpc") || is(kind, b"application/grpc+proto"),
        };
        if !is_known {
            let message =
                "spans come as application/x-protobuf or application/json, or over gRPC as application/grpc";
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
        let found = match self {
            Self::Json | Self::Protobuf => Encoding::of(headers),
            Self::Grpc => match headers.get(GRPC_ENCODING).map(http::HeaderValue::as_bytes) {
                None | Some(b"identity") => Encoding::Identity,
                Some(b"gzip") => Encoding::Gzip,
                Some(_) => Encoding::Other,
            },
        };
        match found {
            Encoding::Identity => Ok(Coding::Identity),
            Encoding::Gzip => Ok(Coding::Gzip),
            Encoding::Other => {
                Err(Refusal::new(Code::MessageInvalid, "the only encoding of spans that is read is gzip"))
            }
        }
    }

    /// The message in a body.
    ///
    /// # Errors
    /// `message_invalid` for what is no frame or no gzip; `body_too_large` for what becomes too long.
    pub(super) fn message(self, coding: Coding, body: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        let (is_encoded, message) = match self {
            Self::Grpc => unframed(body)?,
            Self::Protobuf | Self::Json => (true, body),
        };
        match coding {
            Coding::Gzip if is_encoded => decoded(message).map(Cow::Owned),
            Coding::Identity if is_encoded && self == Self::Grpc => {
                Err(invalid("the message says that it is encoded, and no encoding is named"))
            }
            Coding::Gzip | Coding::Identity => Ok(Cow::Borrowed(message)),
        }
    }

    /// What a message becomes when it is read, in bytes at most. Nothing is made of it for that.
    ///
    /// # Errors
    /// `message_invalid` for what is no request of OTLP; `body_too_large` for one that has too many parts.
    pub(super) fn weight(self, message: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Json => {
                // Each begins so. Those in texts are counted too, which makes it no less; which are spans is not known.
                let all = memchr::memchr_iter(b'{', message).count();
                if all > MOST_OBJECTS {
                    let message = format!("the request has more than {MOST_OBJECTS} objects of JSON");
                    return Err(Refusal::new(Code::BodyTooLarge, message));
                }
                let items = memchr::memchr_iter(b',', message).count();
                Ok(message.len() + all * (ELEMENT + SPAN) + items * ITEM)
            }
            Self::Protobuf | Self::Grpc => {
                let Some(parts) = parts(message, Part::Request, 0) else {
                    return Err(invalid("this is no request of OTLP"));
                };
                few(parts)?;
                Ok(message.len() + parts.all * ELEMENT + parts.spans * SPAN)
            }
        }
    }

    /// How many spans are in a message, about: in JSON those that say when they began.
    pub(super) fn spans(self, message: &[u8]) -> u64 {
        let count = match self {
            Self::Json => memchr::memmem::find_iter(message, b"\"startTimeUnixNano\"").count(),
            Self::Protobuf | Self::Grpc => parts(message, Part::Request, 0).map_or(0, |parts| parts.spans),
        };
        count as u64
    }

    /// What a message says whose weight was found.
    ///
    /// # Errors
    /// As [`Self::weight`].
    pub(super) fn request(self, message: &[u8]) -> Result<ExportTraceServiceRequest, Refusal> {
        let unreadable =
            |error: &dyn ToString| invalid("this is no request of OTLP").with_detail(error.to_string());
        match self {
            Self::Json => {
                let request = json::request(message).map_err(|error| unreadable(&error))?;
                // What is in each other deeper than protobuf may be could be written, and not read again.
                let Some(parts) = parts(&request.encode_to_vec(), Part::Request, 0) else {
                    return Err(invalid("values of attributes are in each other too deep"));
                };
                few(parts)?;
                Ok(request)
            }
            Self::Protobuf | Self::Grpc => {
                ExportTraceServiceRequest::decode(message).map_err(|error| unreadable(&error))
            }
        }
    }
}

/// Whether they are no more than one request may have.
fn few(parts: PartCount) -> Result<(), Refusal> {
    if parts.spans > MOST_SPANS || parts.all > MOST_ELEMENTS {
        let message = format!(
            "the request has more than {MOST_SPANS} spans, or than {MOST_ELEMENTS} spans, events and attributes"
        );
        return Err(Refusal::new(Code::BodyTooLarge, message));
    }
    Ok(())
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

/// The one message of a call, and whether it is encoded.
pub(crate) fn unframed(body: &[u8]) -> Result<(bool, &[u8]), Refusal> {
    let frame = body.split_first_chunk::<5>();
    let Some(([flag, length @ ..], message)) = frame else {
        return Err(invalid("this is no message of gRPC"));
    };
    let is_whole = u32::from_be_bytes(*length) as usize == message.len();
    match (*flag, is_whole) {
        (0, true) => Ok((false, message)),
        (1, true) => Ok((true, message)),
        _ => Err(invalid("this is not one message of gRPC")),
    }
}

/// What a body becomes, up to so much as one may be.
fn decoded(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut found = Vec::new();
    let mut decoder = MultiGzDecoder::new(body).take(MOST_BODY as u64 + 1);
    let read = decoder.read_to_end(&mut found);
    if found.len() > MOST_BODY {
        let message = format!("the body, decoded, is larger than {MOST_BODY} bytes");
        return Err(Refusal::new(Code::BodyTooLarge, message));
    }
    read.map_err(|error| invalid("the body says that it is gzip, and is not").with_detail(error))?;
    Ok(found)
}

/// A message of OTLP, by what may be in it.
#[derive(Clone, Copy, Debug)]
enum Part {
    Request,
    OfResource,
    Resource,
    OfScope,
    Scope,
    Span,
    Event,
    Link,
    Attribute,
    Value,
    Values,
    Attributes,
    Entity,
    /// A text of a list of them.
    Text,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PartCount {
    /// Messages and texts that may be there more than once, spans among them.
    all: usize,
    spans: usize,
}

impl Part {
    /// What a field of it is, where there may be many of it, or in it.
    const fn of(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::Request, 1) => Self::OfResource,
            (Self::OfResource, 1) => Self::Resource,
            (Self::OfResource, 2) => Self::OfScope,
            (Self::OfScope, 1) => Self::Scope,
            (Self::OfScope, 2) => Self::Span,
            (Self::Span, 11) => Self::Event,
            (Self::Span, 13) => Self::Link,
            (Self::Resource, 1) | (Self::Scope | Self::Event, 3) | (Self::Span, 9) | (Self::Link, 4) => {
                Self::Attribute
            }
            (Self::Attribute, 2) | (Self::Values, 1) => Self::Value,
            (Self::Value, 5) => Self::Values,
            (Self::Value, 6) => Self::Attributes,
            (Self::Attributes, 1) => Self::Attribute,
            (Self::Resource, 3) => Self::Entity,
            (Self::Entity, 3 | 4) => Self::Text,
            _ => return None,
        })
    }
}

/// How many parts are in a message, before any is made; `None` where it cannot be read.
fn parts(mut message: &[u8], part: Part, depth: usize) -> Option<PartCount> {
    let mut count = PartCount::default();
    if depth > MOST_DEPTH {
        return None;
    }
    while !message.is_empty() {
        let (field, kind) = decode_key(&mut message).ok()?;
        let length = match kind {
            WireType::Varint => {
                decode_varint(&mut message).ok()?;
                0
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut message).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (inside, rest) = message.split_at_checked(length)?;
        message = rest;
        if kind == WireType::LengthDelimited
            && let Some(inner) = part.of(field)
        {
            // The value of an attribute, and what a value is a list of, are in it, and no things of their own.
            let is_within = matches!(
                (part, inner),
                (Part::Attribute, Part::Value) | (Part::Value, Part::Values | Part::Attributes)
            );
            count.all += usize::from(!is_within);
            if !matches!(inner, Part::Text) {
                let within = parts(inside, inner, depth + 1)?;
                count.all += within.all;
                count.spans += within.spans + usize::from(matches!(inner, Part::Span));
            }
        }
        // More than enough is not counted to its end.
        if count.all > 16 * MOST_ELEMENTS {
            return Some(count);
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use opentelemetry_proto::tonic::common::v1::{EntityRef, KeyValue};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use vidimus_traces::names;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn request(spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn read(wire: Wire, message: &[u8]) -> Result<ExportTraceServiceRequest, Refusal> {
        wire.weight(message)?;
        wire.request(message)
    }

    fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
        result.err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_bomb_of_gzip_is_refused_before_it_is_all_there() {
        let bomb = gzip(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 100 * 1024, "{}", bomb.len());
        assert_eq!(code(Wire::Protobuf.message(Coding::Gzip, &bomb)), Some(Code::BodyTooLarge));
        let fits = gzip(&vec![0; MOST_BODY]);
        assert_eq!(Wire::Json.message(Coding::Gzip, &fits).expect("it fits").len(), MOST_BODY);
        assert_eq!(code(Wire::Json.message(Coding::Gzip, b"{}")), Some(Code::MessageInvalid));
    }

    #[test]
    fn what_costs_its_sender_two_bytes_and_the_gateway_hundreds_is_counted_before_it_is_made() {
        let spans = |count| vec![Span::default(); count];
        assert!(read(Wire::Protobuf, &request(spans(16_000))).is_ok());
        assert_eq!(code(read(Wire::Protobuf, &request(spans(17_000)))), Some(Code::BodyTooLarge));
        let attributes = vec![names::number("", 0); 270_000];
        let one = request(vec![Span { attributes, ..Span::default() }]);
        assert_eq!(code(read(Wire::Grpc, &one)), Some(Code::BodyTooLarge));
        let keys = vec![String::new(); 270_000];
        let entity_refs = vec![EntityRef { id_keys: keys, ..EntityRef::default() }];
        let resource = Some(Resource { entity_refs, ..Resource::default() });
        let resource_spans = vec![ResourceSpans { resource, ..ResourceSpans::default() }];
        let of_entities = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        assert_eq!(code(read(Wire::Protobuf, &of_entities)), Some(Code::BodyTooLarge));
        let scopes = "{\"spans\":[{},{},{},{}]}";
        let scopes = vec![scopes; 5_000].join(",");
        let json = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{scopes}]}}]}}");
        assert_eq!(code(read(Wire::Json, json.as_bytes())), Some(Code::BodyTooLarge), "20,000 spans");
        let json = format!("{{\"resourceSpans\":[{}{{}}]}}", "{},".repeat(70_000));
        assert_eq!(code(read(Wire::Json, json.as_bytes())), Some(Code::BodyTooLarge));
    }

    /// Of the batch processor's default size, with attributes that are as many as 4 MiB have room for.
    #[test]
    fn a_batch_of_a_collector_passes() {
        let attributes: Vec<_> =
            (0..16).map(|at| names::number(&format!("gen_ai.request.{at:02}"), at)).collect();
        let span = Span { attributes, trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
        let batch = request(vec![span; 8_192]);
        assert!((MOST_BODY * 3 / 4..MOST_BODY).contains(&batch.len()), "{}", batch.len());
        assert!(read(Wire::Protobuf, &batch).is_ok());
        let most = Wire::Protobuf.weight(&batch).expect("a request");
        assert!(batch.len().max(super::super::LEAST) + most <= super::super::ROOM / 2, "{most}");
        // The largest that is read has room too: else it would be told to come again, for ever.
        let full = vec![KeyValue::default(); MOST_ELEMENTS - MOST_SPANS - 2];
        let mut spans = vec![Span::default(); MOST_SPANS];
        spans[0].attributes = full;
        let largest = request(spans);
        let most = Wire::Protobuf.weight(&largest).expect("it fits");
        assert!(MOST_BODY + most <= super::super::ROOM / 2, "{most}");
    }

    #[test]
    fn spans_that_are_refused_are_counted() {
        assert_eq!(Wire::Protobuf.spans(&request(vec![Span::default(); 17_000])), 17_000);
        let json = "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"startTimeUnixNano\":\"1\"},{\"startTimeUnixNano\" : 2}]}]}]}";
        assert_eq!(Wire::Json.spans(json.as_bytes()), 2);
        assert_eq!(Wire::Protobuf.spans(b"\xff"), 0);
    }

    #[test]
    fn what_a_request_weighs_is_more_than_it_takes() {
        let empty = request(vec![Span::default(); 16_000]);
        let weight = Wire::Protobuf.weight(&empty).expect("a request");
        assert!(weight > 16_000 * 2 * size_of::<Span>(), "{weight}");
        let attributes = vec![KeyValue::default(); 60_000];
        let one = request(vec![Span { attributes, ..Span::default() }]);
        let weight = Wire::Protobuf.weight(&one).expect("a request");
        assert!(weight > 60_000 * 2 * size_of::<KeyValue>(), "{weight}");
        let json = format!("{{\"resourceSpans\":[{}{{}}]}}", "{},".repeat(9));
        let weight = Wire::Json.weight(json.as_bytes()).expect("a request");
        assert!(weight > 10 * 2 * size_of::<Span>(), "{weight}");
    }

    #[test]
    fn what_is_no_request_is_refused_and_an_empty_one_is_one() {
        for bad in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\x0b", b"\x0a\x05abc", b"\xff"] {
            assert_eq!(code(read(Wire::Protobuf, bad)), Some(Code::MessageInvalid), "{bad:?}");
        }
        for bad in [
            &b""[..],
            b"[",
            b"[1]",
            b"{\"resourceSpans\":1}",
            b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"xy\"}]}]}]}",
        ] {
            assert_eq!(code(read(Wire::Json, bad)), Some(Code::MessageInvalid), "{}", bad.escape_ascii());
        }
        assert_eq!(read(Wire::Protobuf, b"").ok(), Some(ExportTraceServiceRequest::default()));
        assert_eq!(read(Wire::Json, b"{}").ok(), Some(ExportTraceServiceRequest::default()));
        let deep = |levels: usize| {
            let value = (0..levels).fold("{}".to_owned(), |inner, _| {
                format!("{{\"kvlistValue\":{{\"values\":[{{\"key\":\"k\",\"value\":{inner}}}]}}}}")
            });
            let attributes = format!("{{\"attributes\":[{{\"key\":\"k\",\"value\":{value}}}]}}");
            read(Wire::Json, format!("{{\"resourceSpans\":[{{\"resource\":{attributes}}}]}}").as_bytes())
        };
        assert!(deep(5).is_ok());
        assert_eq!(code(deep(20)), Some(Code::MessageInvalid));
        // A value in a value, and so on.
        let mut nested = Vec::new();
        for _ in 0..100 {
            let mut outer = vec![0x2a];
            let mut values = vec![0x0a];
            prost::encoding::encode_varint(nested.len() as u64, &mut values);
            values.extend_from_slice(&nested);
            prost::encoding::encode_varint(values.len() as u64, &mut outer);
            outer.extend_from_slice(&values);
            nested = outer;
        }
        assert_eq!(parts(&nested, Part::Value, 0), None);
    }

    #[test]
    fn a_message_of_grpc_is_one_frame() {
        let framed = |flag: u8, message: &[u8]| {
            let length = u32::try_from(message.len()).expect("short").to_be_bytes();
            [&[flag][..], &length[..], message].concat()
        };
        let message = |coding, body: &[u8]| Wire::Grpc.message(coding, body).map(Cow::into_owned);
        assert_eq!(message(Coding::Identity, &framed(0, b"abc")).ok(), Some(b"abc".to_vec()));
        assert_eq!(message(Coding::Gzip, &framed(1, &gzip(b"abc"))).ok(), Some(b"abc".to_vec()));
        assert_eq!(message(Coding::Gzip, &framed(0, b"abc")).ok(), Some(b"abc".to_vec()));
        for bad in [&b""[..], &framed(2, b"abc"), &framed(1, b"abc"), &framed(0, b"abc")[..7], b"\0\0\0\0\0x"]
        {
            assert_eq!(code(message(Coding::Identity, bad)), Some(Code::MessageInvalid), "{bad:?}");
        }
    }

    #[test]
    fn ids_of_json_are_hex_and_times_are_numbers_or_texts() {
        let text = br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},"scopeSpans":[{"scope":{"name":"s"},
            "spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"chat","kind":3,"startTimeUnixNano":"1","endTimeUnixNano":2,
            "attributes":[{"key":"gen_ai.usage.input_tokens","value":{"intValue":"7"}}],"status":{"code":1},"unknown":[1]}]}]}]}"#;
        let found = read(Wire::Json, text).expect("a request");
        let span = &found.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.end_time_unix_nano), (16, 8, 2));
        assert_eq!(names::TOKENS_IN.count(&span.attributes), Some(7));
    }
}
