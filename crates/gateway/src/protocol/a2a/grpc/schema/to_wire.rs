//! From JSON to protobuf in one pass, with no tree between.
//!
//! It reads what programs write: each member once, of a oneof one, values in the form that ProtoJSON writes them in
//! (<https://protobuf.dev/programming-guides/json/>). Anything else, and all that is to be refused, is `None`, and reflection says what is true of it
//! ([`reflected`](super::reflected)). Where it does say something, its bytes say what that one's say.

mod values;

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::prost_types::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::values::{Any, Entry};
use super::Unknown;
use super::table::{Field, Kind, Label, Message, Table};
use super::to_json::SECONDS;

/// How deep JSON nests, where this reads it: three messages for an object, of which what reads protobuf takes 100.
const DEEPEST: u8 = 24;

/// As ProtoJSON wants it read: with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The message of this place in the table that JSON says.
pub(super) fn of((table, place): (&Table, usize), json: &str, unknown: Unknown) -> Option<Vec<u8>> {
    let mut writer = Writer { table, unknown, out: Vec::with_capacity(json.len()), fields: Vec::new() };
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = Members { of: table.message(place)?, writer: &mut writer, levels: DEEPEST };
    members.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(writer.out)
}

struct Writer<'t> {
    table: &'t Table,
    unknown: Unknown,
    out: Vec<u8>,
    /// By their numbers, where those of the messages that are being written begin and end.
    fields: Vec<(u32, Range<usize>)>,
}

impl Writer<'_> {
    fn key(&mut self, number: u32, kind: WireType) {
        encode_key(number, kind, &mut self.out);
    }

    fn varint(&mut self, number: u32, value: u64) {
        self.key(number, WireType::Varint);
        encode_varint(value, &mut self.out);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, WireType::LengthDelimited);
        encode_varint(bytes.len() as u64, &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Begins a field that says how long it is, which is known at its end: most are short enough that one byte says it.
    fn open(&mut self, number: u32) -> usize {
        self.key(number, WireType::LengthDelimited);
        self.out.push(0);
        self.out.len()
    }

    /// Ends the one that begins there.
    fn close(&mut self, from: usize) {
        let length = self.out.len().saturating_sub(from);
        let at = from.saturating_sub(1);
        match (u8::try_from(length), self.out.get_mut(at)) {
            (Ok(short @ ..0x80), Some(said)) => *said = short,
            _ => {
                let mut said = Vec::with_capacity(10);
                encode_varint(length as u64, &mut said);
                self.out.splice(at..from, said);
            }
        }
    }

    /// A field that says how long it is.
    fn sized<E>(&mut self, number: u32, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let from = self.open(number);
        write(self)?;
        self.close(from);
        Ok(())
    }

    /// Puts the fields of a message, of which that at `first` is the first, in the order of their numbers, as nearly everybody writes them.
    fn order(&mut self, first: usize) -> Option<()> {
        let fields = self.fields.get_mut(first..)?;
        if !fields.is_sorted_by_key(|(number, _)| *number) {
            let from = fields.first()?.1.start;
            fields.sort_unstable_by_key(|(number, _)| *number);
            let mut ordered = Vec::with_capacity(self.out.len().saturating_sub(from));
            for (_, field) in &*fields {
                ordered.extend_from_slice(self.out.get(field.clone())?);
            }
            self.out.truncate(from);
            self.out.append(&mut ordered);
        }
        self.fields.truncate(first);
        Some(())
    }

    fn timestamp<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let at = time(text).ok_or_else(other)?;
        if at.seconds != 0 {
            self.varint(1, at.seconds.cast_unsigned());
        }
        if at.nanos != 0 {
            self.varint(2, int32(at.nanos));
        }
        Ok(())
    }
}

/// What is not read here. It is told nobody.
fn other<E: Error>() -> E {
    E::custom("otherwise")
}

/// A time of UTC.
fn time(text: &str) -> Option<Timestamp> {
    let (second, fraction) = text.strip_suffix('Z')?.split_at_checked(19)?;
    let is_plain = second.bytes().zip(b"0000-00-00T00:00:00").all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *shape,
    });
    let digits = fraction.strip_prefix('.');
    let is_whole = fraction.is_empty()
        || digits
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let at: Timestamp = (is_plain && is_whole).then(|| text.parse().ok())??;
    SECONDS.contains(&at.seconds).then_some(at)
}

/// Less than nothing has all bits before it set.
fn int32(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

/// The members of an object as the fields of a message.
struct Members<'w, 't> {
    of: &'t Message,
    writer: &'w mut Writer<'t>,
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for Members<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let levels = self.levels.checked_sub(1).ok_or_else(other)?;
        let (mut seen, first) = (0, self.writer.fields.len());
        while let Some(field) = map.next_key_seed(Name(self.of))? {
            let Some(field) = field else {
                if self.of.is_nothing || self.writer.unknown == Unknown::Refused {
                    return Err(other());
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (label, from) = (Some(field.label), self.writer.out.len());
            let writer = &mut *self.writer;
            let is_said =
                map.next_value_seed(Said { kind: &field.kind, number: field.number, label, writer, levels })?;
            if is_said {
                if seen & field.bit != 0 {
                    return Err(other());
                }
                seen |= field.bit;
                self.writer.fields.push((field.number, from..self.writer.out.len()));
            }
        }
        self.writer.order(first).ok_or_else(other)
    }
}

/// The name of a member, as the field that it is.
struct Name<'t>(&'t Message);

impl<'de, 't> DeserializeSeed<'de> for Name<'t> {
    type Value = Option<&'t Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Name<'t> {
    type Value = Option<&'t Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.named(name))
    }
}

/// A value, as a field; of a member, whether it says anything.
struct Said<'w, 't> {
    kind: &'t Kind,
    number: u32,
    /// `None`: one of several, of which none is left out.
    label: Option<Label>,
    writer: &'w mut Writer<'t>,
    levels: u8,
}

impl Said<'_, '_> {
    fn is_one(&self) -> bool {
        matches!(self.label, None | Some(Label::Implicit | Label::Explicit))
    }

    fn leaves_out(&self, is_zero: bool) -> bool {
        is_zero && self.label == Some(Label::Implicit)
    }

    fn int32<E: Error>(self, value: Option<i32>) -> Result<bool, E> {
        let value = value.ok_or_else(other)?;
        if !self.leaves_out(value == 0) {
            self.writer.varint(self.number, int32(value));
        }
        Ok(true)
    }

    /// `google.protobuf.Value`.
    fn any<E>(self, write: impl FnOnce(Any<'_, '_>) -> Result<(), E>) -> Result<bool, E> {
        let levels = self.levels;
        self.writer.sized(self.number, |writer| write(Any { writer, levels }))?;
        Ok(true)
    }

    fn map<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { kind, number, writer, .. } = self;
        let levels = self.levels.checked_sub(1).ok_or_else(other)?;
        while let Some(from) = map.next_key_seed(Entry { number, writer: &mut *writer })? {
            map.next_value_seed(Said { kind, number: 2, label: None, writer: &mut *writer, levels })?;
            writer.close(from);
        }
        Ok(true)
    }
}

impl<'de> DeserializeSeed<'de> for Said<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Said<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    /// Of a member it is as if it were not there.
    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match self.kind {
            Kind::Value if self.is_one() => self.any(|Any { writer, .. }| {
                writer.varint(1, 0);
                Ok(())
            }),
            Kind::Value | Kind::Other => Err(other()),
            _ if self.label.is_some() => Ok(false),
            _ => Err(other()),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        match self.kind {
            _ if !self.is_one() => Err(other()),
            Kind::Value => self.any(|any| any.visit_bool(value)),
            Kind::Bool if self.leaves_out(!value) => Ok(true),
            Kind::Bool => {
                self.writer.varint(self.number, value.into());
                Ok(true)
            }
            _ => Err(other()),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        match self.kind {
            _ if !self.is_one() => Err(other()),
            Kind::Value => self.any(|any| any.visit_i64(value)),
            Kind::Int32 | Kind::Enum(_) => self.int32(value.try_into().ok()),
            _ => Err(other()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        match self.kind {
            _ if !self.is_one() => Err(other()),
            Kind::Value => self.any(|any| any.visit_u64(value)),
            Kind::Int32 | Kind::Enum(_) => self.int32(value.try_into().ok()),
            _ => Err(other()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        match self.kind {
            Kind::Value if self.is_one() => self.any(|any| any.visit_f64(value)),
            _ => Err(other()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        match self.kind {
            _ if !self.is_one() => return Err(other()),
            Kind::Text if self.leaves_out(text.is_empty()) => {}
            Kind::Text => self.writer.bytes(self.number, text.as_bytes()),
            Kind::Bytes => {
                let bytes = BASE64.decode(text).map_err(|_| other())?;
                if !self.leaves_out(bytes.is_empty()) {
                    self.writer.bytes(self.number, &bytes);
                }
            }
            Kind::Enum(names) => {
                let known = names.iter().find(|(_, name)| **name == *text);
                return self.int32(known.map(|(value, _)| *value));
            }
            Kind::Timestamp => self.writer.sized(self.number, |writer| writer.timestamp(text))?,
            Kind::Value => return self.any(|any| any.visit_str(text)),
            _ => return Err(other()),
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        if self.label != Some(Label::List) {
            return match self.kind {
                Kind::Value if self.is_one() => self.any(|any| any.visit_seq(seq)),
                _ => Err(other()),
            };
        }
        let Self { kind, number, writer, levels, .. } = self;
        let levels = levels.checked_sub(1).ok_or_else(other)?;
        let mut go_on = true;
        while go_on {
            let element = Said { kind, number, label: None, writer: &mut *writer, levels };
            go_on = seq.next_element_seed(element)?.is_some();
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        if self.label == Some(Label::Map) {
            return self.map(map);
        }
        let levels = self.levels;
        match self.kind {
            _ if !self.is_one() => return Err(other()),
            Kind::Message(place) => {
                let of = self.writer.table.message(*place).ok_or_else(other)?;
                self.writer.sized(self.number, |writer| Members { of, writer, levels }.visit_map(map))?;
            }
            Kind::Struct => self.writer.sized(self.number, |writer| Any { writer, levels }.structure(map))?,
            Kind::Value => return self.any(|any| any.visit_map(map)),
            _ => return Err(other()),
        }
        Ok(true)
    }
}
