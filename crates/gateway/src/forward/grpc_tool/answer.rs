//! What a server of gRPC answers: its head, its messages and its status.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use prost_reflect::prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde_json::Value;
use vidimus_core::refusal::{Code, Refusal};

use super::arguments::is_long;
use super::invalid;
use super::json::json;

/// The longest text of a status, in characters.
const LONGEST: usize = 4_096;
/// The names of the codes, by their numbers (gRPC, "Status codes").
const CODES: [&str; 17] = [
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
/// What a code is that nobody knows.
const UNKNOWN: u32 = 2;

/// That it is an answer of gRPC. A server that could compress names how in the head of each answer, also where no message of it is compressed, as
/// none may be here: each says for itself whether it is ([`super::frames`]).
pub(super) fn check_head(parts: &Parts) -> Result<(), Refusal> {
    if parts.status != StatusCode::OK {
        let message =
            format!("the upstream answered with HTTP status {} and not by gRPC", parts.status.as_u16());
        return Err(invalid(message));
    }
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let rest = kind.strip_prefix(b"application/grpc");
    // Not grpc-web, which has its trailers in the body.
    if !rest.is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'+' | b';'))) {
        return Err(invalid("the upstream's answer is not gRPC (content-type)"));
    }
    Ok(())
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    message: String,
}

impl Status {
    /// # Errors
    /// `upstream_interrupted` where an answer ended without saying how.
    pub(super) fn of(trailers: &HeaderMap) -> Result<Self, Refusal> {
        let mut given = trailers.get_all("grpc-status").iter();
        let (Some(code), None) = (given.next(), given.next()) else {
            let message = "the upstream's answer ended without the status that gRPC wants";
            return Err(Refusal::new(Code::UpstreamInterrupted, message));
        };
        let code = code.to_str().ok().and_then(|text| text.parse::<u32>().ok());
        let code = code.filter(|code| usize::try_from(*code).is_ok_and(|code| code < CODES.len()));
        let message = trailers.get("grpc-message").map_or(&b""[..], |value| value.as_bytes());
        let message = percent_decode(message).decode_utf8_lossy();
        let message = message.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Ok(Self { code: code.unwrap_or(UNKNOWN), message })
    }

    pub(super) fn words(&self) -> String {
        let name = usize::try_from(self.code).ok().and_then(|code| CODES.get(code)).unwrap_or(&"UNKNOWN");
        format!("gRPC status {name} ({}): {}", self.code, self.message)
    }
}

/// Most values of one message: what is made of two bytes takes up to a hundred.
const MOST_VALUES: usize = 131_072;
/// How deep messages nest in each other: what reads them goes no further.
const DEEPEST: u8 = 100;

/// Counts what is in a message, before anything is made of it: how many of `left` are left, `None` where it has more. What cannot be read is found
/// by what reads it.
fn count(of: &MessageDescriptor, mut message: &[u8], (levels, mut left): (u8, usize)) -> Option<usize> {
    let Some(levels) = levels.checked_sub(1) else { return Some(left) };
    let mut has_groups = false;
    while !message.is_empty() {
        let Ok((number, wire)) = decode_key(&mut message) else { break };
        left = left.checked_sub(1)?;
        let length = match wire {
            WireType::Varint => decode_varint(&mut message).map(|_| 0),
            WireType::ThirtyTwoBit => Ok(4),
            WireType::SixtyFourBit => Ok(8),
            WireType::LengthDelimited => decode_varint(&mut message),
            WireType::StartGroup | WireType::EndGroup => {
                has_groups = true;
                Ok(0)
            }
        };
        let Some(length) = length.ok().and_then(|length| usize::try_from(length).ok()) else { break };
        let Some((inside, rest)) = message.split_at_checked(length) else { break };
        message = rest;
        if wire != WireType::LengthDelimited {
            continue;
        }
        left = match of.get_field(number).map(|field| field.kind()) {
            // Whose field it is, is not known within a group; and of which type what an Any has in it.
            _ if has_groups || of.full_name() == "google.protobuf.Any" => left.checked_sub(length)?,
            Some(Kind::Message(inner)) => count(&inner, inside, (levels, left))?,
            Some(Kind::String | Kind::Bytes) | None => left,
            // A list, packed.
            Some(Kind::Double | Kind::Fixed64 | Kind::Sfixed64) => left.checked_sub(length / 8)?,
            Some(Kind::Float | Kind::Fixed32 | Kind::Sfixed32) => left.checked_sub(length / 4)?,
            Some(_) => left.checked_sub(length)?,
        };
    }
    Some(left)
}

/// A message as JSON, of at most `room` bytes.
///
/// # Errors
/// `upstream_invalid` for what is not the message that is described.
pub(super) fn text(kind: MessageDescriptor, message: &Bytes, room: usize) -> Result<String, Refusal> {
    const NEXT: &str = "Let spec.grpc.descriptors be those of the version that the server runs.";
    let name = kind.full_name().to_owned();
    if count(&kind, message, (DEEPEST, MOST_VALUES)).is_none() {
        return Err(invalid(format!("the upstream's answer has more than {MOST_VALUES} values")));
    }
    let read = DynamicMessage::decode(kind, message.clone()).map_err(|error| {
        let message = format!("the upstream's answer is no {name} as its descriptors have it");
        invalid(message).with_detail(error).with_next(NEXT)
    })?;
    let value = json(&read, false, room);
    let value = value.map_err(|error| {
        invalid("the upstream's answer cannot be written as JSON, or is too long as such").with_detail(error)
    })?;
    Ok(portable(value).to_string())
}

/// JSON that every client reads as it is meant: whole numbers that are not exact in all of them are text. Nobody decides by an answer.
fn portable(value: Value) -> Value {
    match value {
        Value::Number(number) if is_long(&number) => Value::String(number.to_string()),
        Value::Array(items) => Value::Array(items.into_iter().map(portable).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, portable(value))).collect())
        }
        other => other,
    }
}
