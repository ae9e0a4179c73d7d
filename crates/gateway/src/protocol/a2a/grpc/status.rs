//! How an error is told: `google.rpc.Status` in the trailers of gRPC (A2A 1.0, section 10.6) and in a document of HTTP+JSON (11.6), and the error of
//! JSON-RPC that says the same. What says more than one of them can is left out: a trailer is short.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use prost::Message;
use serde_json::{Value, json};
use vidimus_core::refusal::{Class, Code};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Who names A2A's own errors.
pub const OF_A2A: &str = "a2a-protocol.org";
/// Who names the gateway's.
const OF_VIDIMUS: &str = "vidimus.dev";
/// Who names a status that nobody says more about.
const OF_GRPC: &str = "grpc.io";

const INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// The longest message, and text of metadata, in characters: clients take 8 KiB of trailers.
const LONGEST: usize = 512;
/// The most entries of metadata.
const MOST: usize = 8;
/// The longest details, as they are sent.
const LONGEST_DETAILS: usize = 4 * 1024;

/// A binary trailer is base64, with padding or without (gRPC over HTTP/2, "Custom-Metadata").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands in `grpc-message` as an escape: all that is not printable ASCII, and the sign of escapes.
const ESCAPED: AsciiSet = CONTROLS.add(b'%');

/// The errors of A2A: number in JSON-RPC, reason, status of gRPC (1.0, section 5.4).
const ERRORS: [(i64, &str, u8); 9] = [
    (-32001, "TASK_NOT_FOUND", 5),
    (-32002, "TASK_NOT_CANCELABLE", 9),
    (-32003, "PUSH_NOTIFICATION_NOT_SUPPORTED", 9),
    (-32004, "UNSUPPORTED_OPERATION", 9),
    (-32005, "CONTENT_TYPE_NOT_SUPPORTED", 3),
    (-32006, "INVALID_AGENT_RESPONSE", 13),
    (-32007, "EXTENDED_AGENT_CARD_NOT_CONFIGURED", 9),
    (-32008, "EXTENSION_SUPPORT_REQUIRED", 9),
    (-32009, "VERSION_NOT_SUPPORTED", 9),
];

/// What SDKs call JSON-RPC's own errors in the other bindings, and their numbers: their statuses are those of several.
const OF_RPC: [(&str, i64); 5] = [
    ("PARSE_ERROR", -32700),
    ("INVALID_REQUEST", -32600),
    ("METHOD_NOT_FOUND", -32601),
    ("INVALID_PARAMS", -32602),
    ("INTERNAL_ERROR", -32603),
];

/// The statuses of gRPC, by their numbers (google.rpc.Code).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// An error, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// google.rpc.Code.
    pub code: u8,
    pub message: String,
    pub infos: Vec<Info>,
}

/// What it is about, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub reason: String,
    pub domain: String,
    pub metadata: BTreeMap<String, String>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Wire {
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
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct WireInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// The status of gRPC for a kind of refusal, as HTTP+JSON names it.
pub const fn of_class(class: Class) -> u8 {
    match class {
        Class::Invalid => 3,
        Class::Unauthenticated => 16,
        Class::Forbidden => 7,
        Class::NotFound => 5,
        Class::MethodNotAllowed => 12,
        Class::Conflict => 10,
        Class::TooLarge | Class::HeadersTooLarge | Class::TooMany => 8,
        Class::TooSlow | Class::UpstreamTimeout => 4,
        Class::Unavailable | Class::BadUpstream => 14,
    }
}

/// The same for what HTTP says (gRPC, "HTTP to gRPC Status Code Mapping").
pub const fn of_http(status: u16) -> u8 {
    match status {
        200..=299 => 0,
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        405 => 12,
        408 | 504 => 4,
        409 => 10,
        413 | 429 | 431 => 8,
        502 | 503 => 14,
        _ => 2,
    }
}

/// What HTTP says for a status (google/rpc/code.proto, and A2A 1.0, section 5.4).
pub const fn in_http(code: u8) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// What a status of gRPC is called.
pub fn name(code: u8) -> &'static str {
    NAMES.get(usize::from(code)).copied().unwrap_or("UNKNOWN")
}

/// What a code is called for programs, and who calls it so.
pub fn reason(code: Code) -> (String, &'static str) {
    match code {
        Code::TaskForeign => ("TASK_NOT_FOUND".to_owned(), OF_A2A),
        Code::ProtocolVersionUnsupported => ("VERSION_NOT_SUPPORTED".to_owned(), OF_A2A),
        _ => (code.as_str().to_ascii_uppercase(), OF_VIDIMUS),
    }
}

/// What programs call the error of a number in JSON-RPC, where the protocol has it.
pub fn reason_of(number: i64) -> Option<&'static str> {
    let of_a2a = ERRORS.iter().map(|(known, reason, _)| (*known, *reason));
    let of_rpc = OF_RPC.iter().map(|(reason, known)| (*known, *reason));
    of_a2a.chain(of_rpc).find(|(known, _)| *known == number).map(|(_, reason)| reason)
}

/// What the SDKs of 0.3 call an error of A2A, or of JSON-RPC, over HTTP+JSON: the class that its reason names.
pub fn old_type(reason: &str) -> String {
    if reason == "PARSE_ERROR" {
        return "JSONParseError".to_owned();
    }
    let mut class = String::new();
    for word in reason.strip_suffix("_ERROR").unwrap_or(reason).split('_') {
        let mut letters = word.chars();
        class.extend(letters.next());
        class.push_str(&letters.as_str().to_ascii_lowercase());
    }
    class.push_str("Error");
    class
}

/// An object as the metadata of google.rpc.ErrorInfo, which is of texts alone: a list has its elements behind each other, and what says nothing is left out.
pub fn texts(about: &Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = about.as_object().into_iter().flatten().map(|(name, value)| match value {
        Value::Array(list) => (name, list.iter().map(text).collect::<Vec<_>>().join(", ")),
        value => (name, text(value)),
    });
    members.filter(|(_, said)| !said.is_empty()).map(|(name, said)| (name.clone(), said)).collect()
}

/// What is added to an error of JSON-RPC so that gRPC can say the same.
pub fn info(reason: &str, domain: &str, metadata: &Value) -> Value {
    json!({"@type": INFO, "reason": reason, "domain": domain, "metadata": metadata})
}

impl Status {
    pub const OK: Self = Self { code: 0, message: String::new(), infos: Vec::new() };

    /// One of the gateway's own, that nothing is on record of.
    pub fn of_code(code: Code, message: &str) -> Self {
        let (reason, domain) = reason(code);
        let metadata = BTreeMap::from([
            ("code".to_owned(), code.as_str().to_owned()),
            ("next".to_owned(), code.next().to_owned()),
        ]);
        let info = Info { reason, domain: domain.to_owned(), metadata };
        Self { code: of_class(code.class()), message: message.to_owned(), infos: vec![info] }
    }

    /// What trailers, or headers in their place, say; `None` where they say nothing.
    pub fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        let text = |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let code =
            text(STATUS)?.parse::<u8>().ok().filter(|code| usize::from(*code) < NAMES.len()).unwrap_or(2);
        let message = percent_decode_str(text(MESSAGE).unwrap_or_default()).decode_utf8_lossy().into_owned();
        let details = text(DETAILS).and_then(|details| Wire::decode(&*BASE64.decode(details).ok()?).ok());
        let infos =
            details.into_iter().flat_map(|details| details.details).filter(|any| any.type_url == INFO);
        let infos = infos.filter_map(|any| WireInfo::decode(any.value).ok()).map(|wire| Info {
            reason: wire.reason,
            domain: wire.domain,
            metadata: wire.metadata,
        });
        Some(Self { code, message, infos: infos.take(MOST).collect() })
    }

    /// The trailers that say it.
    pub fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, HeaderValue::from(u16::from(self.code)));
        if self.code == 0 {
            return trailers;
        }
        let message = short(&self.message);
        if let Ok(said) = HeaderValue::try_from(utf8_percent_encode(message, &ESCAPED).to_string()) {
            trailers.insert(MESSAGE, said);
        }
        let details = self
            .infos
            .iter()
            .map(|info| Any { type_url: INFO.to_owned(), value: info.wire().encode_to_vec().into() });
        let wire = Wire { code: self.code.into(), message: message.to_owned(), details: details.collect() };
        let details = BASE64.encode(wire.encode_to_vec());
        if details.len() <= LONGEST_DETAILS
            && let Ok(details) = HeaderValue::try_from(details)
        {
            trailers.insert(DETAILS, details);
        }
        trailers
    }

    /// What the `error` of a document of HTTP+JSON says.
    pub fn of_document(error: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let named = text("status").and_then(|name| NAMES.iter().position(|known| *known == name));
        let named = named.and_then(|code| u8::try_from(code).ok());
        let http = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        // An error is one whatever it says that it is.
        let code = named.or(http.map(of_http)).filter(|code| *code != 0).unwrap_or(2);
        let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let infos = details.iter().filter_map(Info::of).take(MOST).collect();
        Self { code, message: text("message").unwrap_or_default().to_owned(), infos }
    }

    /// The document of HTTP+JSON that says it, and its status of HTTP.
    pub fn document(&self) -> (u16, Value) {
        let http = in_http(self.code);
        let details: Vec<Value> =
            self.infos.iter().map(|one| info(&one.reason, &one.domain, &json!(one.metadata))).collect();
        let error =
            json!({"code": http, "status": name(self.code), "message": self.message, "details": details});
        (http, json!({"error": error}))
    }

    /// The same in 0.3, which has no form of its own for it: beside it stands what the SDKs read, `type` and `message`.
    pub fn old_document(&self) -> (u16, Value) {
        let (http, mut document) = self.document();
        let number = self.error().get("code").and_then(Value::as_i64);
        // What is none of the protocol's errors, its status of HTTP tells.
        let number = number.filter(|number| *number != -32603 || self.code == 13);
        if let (Some(reason), Value::Object(members)) = (number.and_then(reason_of), &mut document) {
            members.insert("type".to_owned(), old_type(reason).into());
            members.insert("message".to_owned(), self.message.clone().into());
        }
        (http, document)
    }

    /// The error of JSON-RPC that says it.
    pub fn error(&self) -> Value {
        let named = self.infos.iter().find(|info| info.domain == OF_A2A);
        let own = named.and_then(|own| ERRORS.iter().find(|(_, reason, _)| *reason == own.reason));
        let of_rpc = named.and_then(|own| OF_RPC.iter().find(|(reason, _)| *reason == own.reason));
        let number = match (own, of_rpc, self.code) {
            (Some((number, ..)), ..) | (None, Some((_, number)), _) => *number,
            (None, None, 3) => -32602,
            (None, None, 5) => -32001,
            (None, None, 12) => -32601,
            (None, None, _) => -32603,
        };
        // What the number does not tell.
        let bare = Info {
            reason: name(self.code).to_owned(),
            domain: OF_GRPC.to_owned(),
            metadata: BTreeMap::new(),
        };
        let said = self.infos.iter().chain(own.is_none().then_some(&bare));
        let data: Vec<Value> = said.map(|one| info(&one.reason, &one.domain, &json!(one.metadata))).collect();
        json!({"code": number, "message": self.message, "data": data})
    }

    /// What an error of JSON-RPC says.
    pub fn of_error(error: &Value) -> Self {
        let number = error.get("code").and_then(Value::as_i64).unwrap_or(-32603);
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        let data = error.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (bare, mut infos): (Vec<Info>, Vec<Info>) =
            data.iter().filter_map(Info::of).take(MOST).partition(|info| info.domain == OF_GRPC);
        let of_a2a = ERRORS.iter().find(|(known, ..)| *known == number);
        let named = bare.first().and_then(|bare| NAMES.iter().position(|name| *name == bare.reason));
        let named = named.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
        if let Some((_, reason, _)) = of_a2a
            && named.is_none()
            && !infos.iter().any(|info| info.domain == OF_A2A)
        {
            let info = Info { reason: (*reason).to_owned(), domain: OF_A2A.to_owned(), ..Info::default() };
            infos.insert(0, info);
        }
        let code = named.or(of_a2a.map(|(.., code)| *code)).unwrap_or_else(|| of_number(number));
        Self { code, message: message.to_owned(), infos }
    }
}

/// The status for the number of an error in JSON-RPC: its own, and those that the gateway has for the status of HTTP.
fn of_number(number: i64) -> u8 {
    match number {
        -32700 | -32600 | -32602 => 3,
        -32601 => 12,
        -32603 => 13,
        -31599..=-31400 => u16::try_from(-31_000 - number).map_or(2, of_http),
        _ => 2,
    }
}

/// No more of a text than a trailer has room for.
fn short(text: &str) -> &str {
    text.char_indices().nth(LONGEST).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

impl Info {
    /// Of a detail as JSON has it.
    fn of(detail: &Value) -> Option<Self> {
        let text = |name: &str| Some(detail.get(name)?.as_str()?.to_owned());
        if text("@type")? != INFO {
            return None;
        }
        let metadata = detail.get("metadata").and_then(Value::as_object);
        let metadata = metadata.into_iter().flatten();
        let metadata = metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Some(Self { reason: text("reason")?, domain: text("domain")?, metadata: metadata.collect() })
    }

    fn wire(&self) -> WireInfo {
        let text = |text: &String| short(text).to_owned();
        let metadata = self.metadata.iter().take(MOST).map(|(name, value)| (text(name), text(value)));
        WireInfo { reason: text(&self.reason), domain: text(&self.domain), metadata: metadata.collect() }
    }
}

#[cfg(test)]
mod tests;
