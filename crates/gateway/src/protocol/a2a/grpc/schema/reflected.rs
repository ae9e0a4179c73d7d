//! Any message, by way of a tree of its values. What becomes of a message is many times its bytes, so how much there is in it is counted before anything
//! is made of it.

use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use vidimus_core::json::MAX_VALUES;

use super::wire::Field;
use super::{DEEPEST, Fault, TENANT, Unknown};

pub(super) fn json_of(
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

pub(super) fn of_json(of: &MessageDescriptor, json: &str, unknown: Unknown) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: serde_json::Error| Fault::Unreadable(error.to_string());
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == Unknown::Refused);
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
                if let Some(inside) = field.inside() {
                    count(&inner, inside, unknown, (levels, &mut *left))?;
                }
            }
            // No list of A2A's is packed.
            Some(_) | None => {}
        }
    }
    Ok(())
}
