//! A message of protobuf, field by field. Nothing is made of what was sent before it is looked at: an entry of a map is two bytes on the wire, and
//! a hundred in memory.

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};
use vidimus_core::refusal::{Code, Refusal};

/// What one field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    /// A text, bytes, or a message.
    Bytes(Bytes),
    /// Of 4 or 8 bytes: nothing that is read here.
    Fixed,
}

/// Gives each field with its number to `take`.
///
/// # Errors
/// `message_invalid` for what is no message, and those of `take`.
pub(super) fn each(
    mut message: Bytes,
    mut take: impl FnMut(u32, Value) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    while !message.is_empty() {
        let (field, kind) = decode_key(&mut message).map_err(|_| broken())?;
        let (length, is_read) = match kind {
            WireType::Varint => {
                take(field, Value::Number(decode_varint(&mut message).map_err(|_| broken())?))?;
                continue;
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message).map_err(|_| broken())?;
                (usize::try_from(length).map_err(|_| broken())?, true)
            }
            WireType::ThirtyTwoBit => (4, false),
            WireType::SixtyFourBit => (8, false),
            WireType::StartGroup | WireType::EndGroup => return Err(broken()),
        };
        if length > message.len() {
            return Err(broken());
        }
        let inside = message.split_to(length);
        take(field, if is_read { Value::Bytes(inside) } else { Value::Fixed })?;
    }
    Ok(())
}

/// Puts what a field holds that may be there once. Of one that is there twice, two readers may take two.
///
/// # Errors
/// `message_invalid`.
pub(super) fn once(place: &mut Option<Bytes>, value: Value) -> Result<(), Refusal> {
    let Value::Bytes(bytes) = value else { return Err(broken()) };
    if place.replace(bytes).is_some() { Err(broken()) } else { Ok(()) }
}

/// The text and the text of an entry of a map, or of a header: fields 1 and 2, and where it has one, the bytes of field 3.
///
/// # Errors
/// `message_invalid` for one that says something twice, or both a value and a raw value.
pub(super) fn entry(message: Bytes) -> Result<(Bytes, Bytes), Refusal> {
    let (mut key, mut value, mut raw) = (None, None, None);
    each(message, |field, given| match field {
        1 => once(&mut key, given),
        2 => once(&mut value, given),
        3 => once(&mut raw, given),
        _ => Ok(()),
    })?;
    let one = match (value.unwrap_or_default(), raw.unwrap_or_default()) {
        (value, raw) if raw.is_empty() => value,
        (value, raw) if value.is_empty() => raw,
        _ => return Err(broken()),
    };
    Ok((key.unwrap_or_default(), one))
}

pub(super) fn broken() -> Refusal {
    Refusal::new(Code::MessageInvalid, "this is no envoy.service.auth.v3.CheckRequest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &'static [u8]) -> Result<Vec<(u32, Value)>, Code> {
        let mut found = Vec::new();
        let read = each(Bytes::from_static(message), |field, value| {
            found.push((field, value));
            Ok(())
        });
        read.map(|()| found).map_err(|refusal| refusal.code)
    }

    #[test]
    fn fields_are_read_as_they_stand_and_what_is_none_is_refused() {
        let bytes = |text: &'static [u8]| Value::Bytes(Bytes::from_static(text));
        let invalid = Err(Code::MessageInvalid);
        for (message, expected) in [
            (&b""[..], Ok(vec![])),
            (b"\x0a\x02hi", Ok(vec![(1, bytes(b"hi"))])),
            (b"\x0a\x00\x0a\x00", Ok(vec![(1, bytes(b"")), (1, bytes(b""))])),
            (b"\x08\x96\x01", Ok(vec![(1, Value::Number(150))])),
            (b"\x0d1234\x091234567\x38", Ok(vec![(1, Value::Fixed), (1, Value::Fixed)])),
            // Cut, longer than all, with a length that is none, a group, and no key.
            (b"\x0a\x02h", invalid.clone()),
            (b"\x0a\xff\xff\xff\xff\x0fhi", invalid.clone()),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", invalid.clone()),
            (b"\x0b\x0c", invalid.clone()),
            (b"\x0d123", invalid.clone()),
            (b"\x00", invalid.clone()),
            (b"\xff", invalid.clone()),
        ] {
            assert_eq!(all(message), expected, "{message:?}");
        }
    }

    #[test]
    fn an_entry_says_each_thing_once() {
        let entry = |message: &'static [u8]| entry(Bytes::from_static(message)).map_err(|error| error.code);
        let pair = |key: &'static str, value: &'static str| Ok((Bytes::from(key), Bytes::from(value)));
        assert_eq!(entry(b"\x0a\x01a\x12\x01b"), pair("a", "b"));
        assert_eq!(entry(b"\x12\x01b\x0a\x01a"), pair("a", "b"), "in any order");
        assert_eq!(entry(b"\x0a\x01a\x1a\x01c"), pair("a", "c"), "raw");
        assert_eq!(entry(b"\x0a\x01a"), pair("a", ""));
        for twice in
            [&b"\x0a\x01a\x0a\x01b"[..], b"\x0a\x01a\x12\x01b\x12\x01c", b"\x0a\x01a\x12\x01b\x1a\x01c"]
        {
            assert_eq!(entry(twice), Err(Code::MessageInvalid), "{twice:?}");
        }
    }
}
