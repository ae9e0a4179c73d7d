//! Maps, and the values of JSON that the schema lets be any (`google.protobuf.Value`, `Struct` and `ListValue`).

use std::fmt;

use prost::encoding::WireType;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Writer, other};

/// The name of an entry of a map: what begins it.
pub(super) struct Entry<'w, 't> {
    /// That of the map.
    pub(super) number: u32,
    pub(super) writer: &'w mut Writer<'t>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Entry<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let from = self.writer.open(self.number);
        self.writer.bytes(1, name.as_bytes());
        Ok(from)
    }
}

/// What is in a `google.protobuf.Value`.
pub(super) struct Any<'w, 't> {
    pub(super) writer: &'w mut Writer<'t>,
    pub(super) levels: u8,
}

impl<'w, 't> Any<'w, 't> {
    fn inner(self) -> Option<Self> {
        Some(Self { writer: self.writer, levels: self.levels.checked_sub(1)? })
    }

    /// What is in a `google.protobuf.Struct`.
    pub(super) fn structure<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { writer, levels } = self.inner().ok_or_else(other)?;
        while let Some(from) = map.next_key_seed(Entry { number: 1, writer: &mut *writer })? {
            map.next_value_seed(Within { number: 2, any: Any { writer: &mut *writer, levels } })?;
            writer.close(from);
        }
        Ok(())
    }

    /// What is in a `google.protobuf.ListValue`.
    fn values<'de, A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { writer, levels } = self.inner().ok_or_else(other)?;
        let mut go_on = true;
        while go_on {
            let value = Within { number: 1, any: Any { writer: &mut *writer, levels } };
            go_on = seq.next_element_seed(value)?.is_some();
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Any<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.writer.varint(1, 0);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of protobuf's JSON are doubles")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of protobuf's JSON are doubles")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.writer.key(2, WireType::SixtyFourBit);
        self.writer.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.writer.bytes(3, text.as_bytes());
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.writer.varint(4, value.into());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let levels = self.levels;
        self.writer.sized(5, |writer| Any { writer, levels }.structure(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let levels = self.levels;
        self.writer.sized(6, |writer| Any { writer, levels }.values(seq))
    }
}

/// A `google.protobuf.Value` as the field of this number.
struct Within<'w, 't> {
    number: u32,
    any: Any<'w, 't>,
}

impl<'de> DeserializeSeed<'de> for Within<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Any { writer, levels } = self.any;
        writer.sized(self.number, |writer| deserializer.deserialize_any(Any { writer, levels }))
    }
}
