//! The messages of A2A as protobuf has them, and as JSON has them (`a2a.binpb` and `a2a_0_3.binpb` are written by `cargo xtask crds` from
//! `proto/a2a.proto` and `proto/a2a_0_3.proto`).
//!
//! What becomes of a message is many times its bytes, so how much there is in it is counted before anything is made of it.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use vidimus_core::json::{Json, JsonError, MAX_VALUES};
use vidimus_core::refusal::{Code, Refusal};

use super::old::Method;
use super::{OLD_SERVICE, SERVICE};

/// How deep messages nest in each other: an object of JSON is three of them. What reads protobuf goes to 100.
const DEEPEST: u8 = 96;

/// The field that names one of several agents behind an address.
pub const TENANT: &str = "tenant";

static SCHEMA: LazyLock<Option<HashMap<String, Rpc>>> = LazyLock::new(|| {
    let new = DescriptorPool::decode(&include_bytes!("a2a.binpb")[..]).ok()?;
    let new = new.get_service_by_name(SERVICE)?;
    let old = DescriptorPool::decode(&include_bytes!("a2a_0_3.binpb")[..]).ok()?;
    let old = old.get_service_by_name(OLD_SERVICE)?;
    let new = new.methods().map(|method| (method.name().to_owned(), Rpc::of(&method, None)));
    let old = old.methods().map(|method| {
        let said = Method::named(method.name());
        (format!("{OLD_SERVICE}/{}", method.name()), Rpc::of(&method, said))
    });
    Some(new.chain(old).collect())
});

/// One method of the service.
#[derive(Clone, Debug)]
pub struct Rpc {
    input: MessageDescriptor,
    output: MessageDescriptor,
    /// Its answer is any number of messages.
    pub streams: bool,
    /// What it says in JSON-RPC, where it is of 0.3, whose schema does not have the JSON of that.
    old: Option<&'static Method>,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is none of protobuf, or not of this type.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The schema has no such field.
    #[error("field {0} is none of the schema of A2A")]
    Unknown(u32),
    #[error("there are more than {MAX_VALUES} values in it, or they are in each other too deep")]
    TooMuch,
}

impl Rpc {
    fn of(method: &MethodDescriptor, old: Option<&'static Method>) -> Self {
        Self { input: method.input(), output: method.output(), streams: method.is_server_streaming(), old }
    }

    /// The method of 0.3 of this name in JSON-RPC.
    pub fn of_old(method: &str) -> Option<&'static Self> {
        SCHEMA.as_ref()?.values().find(|rpc| rpc.rpc_method() == Some(method))
    }

    /// Its name in JSON-RPC, where that is not its own.
    pub fn rpc_method(&self) -> Option<&'static str> {
        self.old.map(|old| old.rpc)
    }

    /// The method of this name, which for 0.3 has its service before it.
    ///
    /// # Errors
    /// `method_unknown`.
    pub fn named(name: &str) -> Result<&'static Self, Refusal> {
        SCHEMA.as_ref().and_then(|all| all.get(name)).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let message =
                format!("neither {SERVICE} of A2A 1.0 nor {OLD_SERVICE} of 0.3 has a method {shown:?}");
            Refusal::new(Code::MethodUnknown, message)
        })
    }

    /// A request as JSON, without the tenant where it is `own`. What the schema does not have is refused: nobody decided on it.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn asked(&self, message: &[u8], own: Option<&str>) -> Result<String, Fault> {
        let said = json_of(&self.input, message, Unknown::Refused, own)?;
        match self.old {
            None => Ok(said),
            Some(old) => old.asked(&said),
        }
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
        of_json(&self.input, json, Unknown::LeftOut)
    }

    /// The same, where what the schema does not have is refused: in JSON that is of the schema it would be lost.
    ///
    /// # Errors
    /// For what is no such request.
    pub fn exact_request(&self, json: &str) -> Result<Vec<u8>, Fault> {
        of_json(&self.input, json, Unknown::Refused)
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
        match self.old {
            None => of_json(&self.output, json, Unknown::LeftOut),
            Some(old) => {
                check_count(json)?;
                of_json(&self.output, &old.answer(json)?, Unknown::LeftOut)
            }
        }
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

fn of_json(of: &MessageDescriptor, json: &str, unknown: Unknown) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: serde_json::Error| Fault::Unreadable(error.to_string());
    check_count(json)?;
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == Unknown::Refused);
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = DynamicMessage::deserialize_with_options(of.clone(), &mut reader, &options);
    let read = read.map_err(unreadable)?;
    reader.end().map_err(unreadable)?;
    Ok(read.encode_to_vec())
}

/// Counts what is in a text, before anything is made of it.
fn check_count(json: &str) -> Result<(), Fault> {
    // Each value has one of these behind it or before it. Those in texts are counted too, so more than enough is looked at.
    let most = memchr::memchr3_iter(b',', b'{', b'[', json.as_bytes()).count();
    if most > MAX_VALUES && matches!(Json::parse(json.as_bytes()), Err(JsonError::TooMany)) {
        return Err(Fault::TooMuch);
    }
    Ok(())
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
