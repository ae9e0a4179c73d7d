//! The messages of A2A 1.0 as protobuf has them, and as JSON has them (`a2a.binpb` is written by `cargo xtask crds` from `proto/a2a.proto`).
//!
//! What becomes of a message is many times its bytes, so how much there is in it is counted before anything is made of it.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions,
};
use vidimus_core::json::{Json, JsonError, MAX_VALUES};
use vidimus_core::refusal::{Code, Refusal};

use super::SERVICE;

/// How deep messages nest in each other: an object of JSON is three of them. What reads protobuf goes to 100.
const DEEPEST: u8 = 96;

/// The field that names one of several agents behind an address.
pub const TENANT: &str = "tenant";

static SCHEMA: LazyLock<Option<HashMap<String, Rpc>>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(&include_bytes!("a2a.binpb")[..]).ok()?;
    let service = pool.get_service_by_name(SERVICE)?;
    let rpcs = service.methods().map(|method| {
        let rpc =
            Rpc { input: method.input(), output: method.output(), streams: method.is_server_streaming() };
        (method.name().to_owned(), rpc)
    });
    Some(rpcs.collect())
});

/// One method of the service.
#[derive(Clone, Debug)]
pub struct Rpc {
    input: MessageDescriptor,
    output: MessageDescriptor,
    /// Its answer is any number of messages.
    pub streams: bool,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is none of protobuf, or not of this type.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The schema has no such field.
    #[error("field {0} is none of A2A 1.0")]
    Unknown(u32),
    #[error("there are more than {MAX_VALUES} values in it, or they are in each other too deep")]
    TooMuch,
}

impl Rpc {
    /// The method of this name.
    ///
    /// # Errors
    /// `method_unknown`.
    pub fn named(name: &str) -> Result<&'static Self, Refusal> {
        SCHEMA.as_ref().and_then(|all| all.get(name)).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            Refusal::new(Code::MethodUnknown, format!("{SERVICE} of A2A 1.0 has no method {shown:?}"))
        })
    }

    /// A request as JSON, without the tenant where it is `own`. What the schema does not have is refused: nobody decided on it.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn asked(&self, message: &[u8], own: Option<&str>) -> Result<String, Fault> {
        json_of(&self.input, message, Unknown::Refused, own)
    }

    /// The tenant that a request names, which is read no further for that.
    pub fn tenant<'m>(&self, message: &'m [u8]) -> Option<&'m str> {
        let number = self.input.get_field_by_name(TENANT)?.number();
        let (mut rest, mut found) = (message, None);
        while !rest.is_empty() {
            let field = Field::next(&mut rest).ok()?;
            // Of several the last one counts.
            if field.number == number {
                found = field.inside;
            }
        }
        found.and_then(|name| std::str::from_utf8(name).ok())
    }

    /// The request that JSON says; what protobuf has no field for is left out, as A2A wants what is unknown passed over.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn request(&self, json: &str) -> Result<Vec<u8>, Fault> {
        of_json(&self.input, json)
    }

    /// An answer, or one of several, as JSON. What the schema does not have is left out: it is of a later minor version.
    ///
    /// # Errors
    /// For what is no such answer.
    pub fn answered(&self, message: &[u8]) -> Result<String, Fault> {
        json_of(&self.output, message, Unknown::LeftOut, None)
    }

    /// The answer that JSON says; what protobuf has no field for is left out.
    ///
    /// # Errors
    /// For what is no such answer.
    pub fn answer(&self, json: &str) -> Result<Vec<u8>, Fault> {
        of_json(&self.output, json)
    }
}

/// What becomes of what the schema does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    Refused,
    LeftOut,
}

fn json_of(
    of: &MessageDescriptor,
    message: &[u8],
    unknown: Unknown,
    own: Option<&str>,
) -> Result<String, Fault> {
    let mut left = MAX_VALUES;
    count(of, message, unknown, (DEEPEST, &mut left))?;
    let unreadable = |error: &dyn ToString| Fault::Unreadable(error.to_string());
    let mut read = DynamicMessage::decode(of.clone(), message).map_err(|error| unreadable(&error))?;
    if own
        .is_some_and(|own| read.get_field_by_name(TENANT).is_some_and(|tenant| tenant.as_str() == Some(own)))
    {
        read.clear_field_by_name(TENANT);
    }
    let mut written = serde_json::Serializer::new(Vec::with_capacity(message.len()));
    let done = read.serialize_with_options(&mut written, &SerializeOptions::new());
    done.map_err(|error| unreadable(&error))?;
    String::from_utf8(written.into_inner()).map_err(|error| unreadable(&error))
}

fn of_json(of: &MessageDescriptor, json: &str) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: serde_json::Error| Fault::Unreadable(error.to_string());
    // Each value has one of these behind it or before it. Those in texts are counted too, so more than enough is looked at.
    let most = memchr::memchr3_iter(b',', b'{', b'[', json.as_bytes()).count();
    if most > MAX_VALUES && matches!(Json::parse(json.as_bytes()), Err(JsonError::TooMany)) {
        return Err(Fault::TooMuch);
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = DynamicMessage::deserialize_with_options(of.clone(), &mut reader, &options);
    let read = read.map_err(unreadable)?;
    reader.end().map_err(unreadable)?;
    Ok(read.encode_to_vec())
}

/// Counts what is in a message.
fn count(
    of: &MessageDescriptor,
    mut message: &[u8],
    unknown: Unknown,
    (levels, left): (u8, &mut usize),
) -> Result<(), Fault> {
    let levels = levels.checked_sub(1).ok_or(Fault::TooMuch)?;
    while !message.is_empty() {
        let field = Field::next(&mut message)?;
        *left = left.checked_sub(1).ok_or(Fault::TooMuch)?;
        match of.get_field(field.number).map(|known| known.kind()) {
            None if unknown == Unknown::Refused => return Err(Fault::Unknown(field.number)),
            Some(Kind::Message(inner)) => {
                if let Some(inside) = field.inside {
                    count(&inner, inside, unknown, (levels, &mut *left))?;
                }
            }
            // No list of A2A's is packed.
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// One field, as it comes.
struct Field<'m> {
    number: u32,
    /// What a field that says how long it is has in it.
    inside: Option<&'m [u8]>,
}

impl<'m> Field<'m> {
    fn next(message: &mut &'m [u8]) -> Result<Self, Fault> {
        let unreadable = |error: prost::DecodeError| Fault::Unreadable(error.to_string());
        let cut = || Fault::Unreadable("it ends within a field".to_owned());
        let (number, kind) = decode_key(message).map_err(unreadable)?;
        let length = match kind {
            WireType::Varint => decode_varint(message).map(|_| 0).map_err(unreadable)?,
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                usize::try_from(decode_varint(message).map_err(unreadable)?).map_err(|_| cut())?
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(Fault::Unreadable("it has a group in it".to_owned()));
            }
        };
        let (inside, rest) = message.split_at_checked(length).ok_or_else(cut)?;
        *message = rest;
        Ok(Self { number, inside: (kind == WireType::LengthDelimited).then_some(inside) })
    }
}

#[cfg(test)]
mod tests;
