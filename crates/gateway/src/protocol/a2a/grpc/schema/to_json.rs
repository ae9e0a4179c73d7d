//! From protobuf to JSON in one pass, with no tree between.
//!
//! It reads what programs write: fields in the order of their numbers, each that is no list once, and of a oneof one. Anything else, and all that is to
//! be refused, is `None`, and reflection says what is true of it ([`reflected`](super::reflected)). Where it does say something, it is what that would say.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::prost_types::Timestamp;
use serde::Serialize;
use vidimus_core::json::MAX_VALUES;

use super::table::{Field, Kind, Label, Message, Table};
use super::wire::{self, Held};
use super::{DEEPEST, Unknown};

/// What a timestamp of JSON can say, in seconds: the years 1 to 9999.
pub(super) const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A message of this place in the table, without the tenant where it is `own`.
pub(super) fn of(
    (table, place): (&Table, usize),
    message: &[u8],
    unknown: Unknown,
    own: Option<&str>,
) -> Option<String> {
    // Names and quotes are about as much as what they are of.
    let out = Vec::with_capacity(message.len().saturating_mul(2));
    let mut writer = Writer { table, unknown, left: MAX_VALUES, out, entries: Vec::new() };
    writer.message(table.message(place)?, message, DEEPEST, own)?;
    String::from_utf8(writer.out).ok()
}

struct Writer<'t, 'm> {
    table: &'t Table,
    unknown: Unknown,
    /// How many fields may still come.
    left: usize,
    out: Vec<u8>,
    /// Those of the maps that are being written.
    entries: Vec<(&'m str, &'m [u8])>,
}

impl<'t, 'm> Writer<'t, 'm> {
    fn message(
        &mut self,
        of: &'t Message,
        mut message: &'m [u8],
        levels: u8,
        own: Option<&str>,
    ) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let (mut rest, mut seen) = (&*of.fields, 0);
        let mut between = b'{';
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            let Some(at) = rest.iter().position(|field| field.number == come.number) else {
                // One that has been is here again.
                if of.fields.iter().any(|field| field.number == come.number) {
                    return None;
                }
                self.pass_over()?;
                continue;
            };
            let (field, behind) = rest.get(at..)?.split_first()?;
            rest = behind;
            if seen & field.bit != 0 {
                return None;
            }
            seen |= field.bit;
            let is_own = field.is_tenant && own.is_some_and(|own| come.inside() == Some(own.as_bytes()));
            if is_own || field.label == Label::Implicit && is_zero(&field.kind, come.held) {
                continue;
            }
            self.out.push(between);
            between = b',';
            self.out.extend_from_slice(field.name.as_bytes());
            match field.label {
                Label::Implicit | Label::Explicit => self.value(&field.kind, come.held, levels)?,
                Label::List => self.list(field, come.held, &mut message, levels)?,
                Label::Map => self.map(field, come.held, &mut message, levels)?,
            }
        }
        if between == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Some(())
    }

    fn list(&mut self, field: &'t Field, held: Held<'m>, message: &mut &'m [u8], levels: u8) -> Option<()> {
        let mut between = b'[';
        self.each(field, held, message, |writer, held| {
            writer.out.push(between);
            between = b',';
            writer.value(&field.kind, held, levels)
        })?;
        self.out.push(b']');
        Some(())
    }

    fn map(&mut self, field: &'t Field, held: Held<'m>, message: &mut &'m [u8], levels: u8) -> Option<()> {
        let first = self.entries.len();
        self.each(field, held, message, |writer, held| writer.entry(held, levels))?;
        self.object(first, |writer, value| {
            writer.value(&field.kind, Held::Inside(value), levels.checked_sub(1)?)
        })
    }

    /// Gives `put` what is in a field that may be there several times: this once, and those that stand behind it.
    fn each(
        &mut self,
        field: &Field,
        held: Held<'m>,
        message: &mut &'m [u8],
        mut put: impl FnMut(&mut Self, Held<'m>) -> Option<()>,
    ) -> Option<()> {
        put(self, held)?;
        while !message.is_empty() {
            let mut behind = *message;
            let come = wire::Field::next(&mut behind).ok()?;
            if come.number != field.number {
                break;
            }
            self.left = self.left.checked_sub(1)?;
            *message = behind;
            put(self, come.held)?;
        }
        Some(())
    }

    fn value(&mut self, kind: &'t Kind, held: Held<'m>, levels: u8) -> Option<()> {
        match (kind, held) {
            (Kind::Text, Held::Inside(text)) => self.text(std::str::from_utf8(text).ok()?),
            (Kind::Bytes, Held::Inside(bytes)) => self.text(&BASE64_STANDARD.encode(bytes)),
            (Kind::Bool, Held::Varint(value)) => self.put(&(value != 0)),
            (Kind::Int32, Held::Varint(value)) => self.put(&int32(value)),
            (Kind::Enum(names), Held::Varint(value)) => {
                let value = int32(value);
                match names.iter().find(|(number, _)| *number == value) {
                    Some((_, name)) => self.text(name),
                    None => self.put(&value),
                }
            }
            (Kind::Message(place), Held::Inside(message)) => {
                self.message(self.table.message(*place)?, message, levels, None)
            }
            (Kind::Struct, Held::Inside(message)) => self.structure(message, levels),
            (Kind::Value, Held::Inside(message)) => self.any(message, levels),
            (Kind::Timestamp, Held::Inside(message)) => self.timestamp(message, levels),
            _ => None,
        }
    }

    /// `google.protobuf.Struct`.
    fn structure(&mut self, mut message: &'m [u8], levels: u8) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let first = self.entries.len();
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            match come.number {
                1 => self.entry(come.held, levels)?,
                _ => self.pass_over()?,
            }
        }
        self.object(first, |writer, value| writer.any(value, levels.checked_sub(1)?))
    }

    /// One entry of a map, which is a message of a key and a value.
    fn entry(&mut self, held: Held<'m>, levels: u8) -> Option<()> {
        levels.checked_sub(1)?;
        let Held::Inside(mut message) = held else { return None };
        let (mut key, mut value) = ("", None);
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            match (come.number, come.held) {
                (1, Held::Inside(text)) => key = std::str::from_utf8(text).ok()?,
                (2, Held::Inside(inside)) if value.is_none() => value = Some(inside),
                (1 | 2, _) => return None,
                _ => self.pass_over()?,
            }
        }
        self.entries.push((key, value.unwrap_or_default()));
        Some(())
    }

    /// The entries from `first` on, by their keys.
    fn object(&mut self, first: usize, mut put: impl FnMut(&mut Self, &'m [u8]) -> Option<()>) -> Option<()> {
        let entries = self.entries.get_mut(first..)?;
        entries.sort_unstable_by_key(|(key, _)| *key);
        let last = self.entries.len();
        let (mut between, mut before) = (b'{', None);
        for at in first..last {
            let (key, value) = *self.entries.get(at)?;
            if before.replace(key) == Some(key) {
                return None;
            }
            self.out.push(between);
            between = b',';
            self.text(key)?;
            self.out.push(b':');
            put(self, value)?;
        }
        if between == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        self.entries.truncate(first);
        Some(())
    }

    /// `google.protobuf.Value`.
    fn any(&mut self, mut message: &'m [u8], levels: u8) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let mut kind = None;
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            if !(1..=6).contains(&come.number) {
                self.pass_over()?;
            } else if kind.replace((come.number, come.held)).is_some() {
                return None;
            }
        }
        match kind {
            None | Some((1, Held::Varint(_))) => self.put(&()),
            Some((2, Held::Fixed64(bits))) => {
                self.put(&Some(f64::from_bits(bits)).filter(|value| value.is_finite())?)
            }
            Some((3, Held::Inside(text))) => self.text(std::str::from_utf8(text).ok()?),
            Some((4, Held::Varint(value))) => self.put(&(value != 0)),
            Some((5, Held::Inside(message))) => self.structure(message, levels),
            Some((6, Held::Inside(message))) => self.values(message, levels),
            Some(_) => None,
        }
    }

    /// `google.protobuf.ListValue`.
    fn values(&mut self, mut message: &'m [u8], levels: u8) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let mut between = b'[';
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            match (come.number, come.held) {
                (1, Held::Inside(value)) => {
                    self.out.push(between);
                    between = b',';
                    self.any(value, levels)?;
                }
                (1, _) => return None,
                _ => self.pass_over()?,
            }
        }
        if between == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
        Some(())
    }

    fn timestamp(&mut self, mut message: &'m [u8], levels: u8) -> Option<()> {
        levels.checked_sub(1)?;
        let mut at = Timestamp::default();
        while !message.is_empty() {
            let come = self.next(&mut message)?;
            match (come.number, come.held) {
                (1, Held::Varint(value)) => at.seconds = value.cast_signed(),
                (2, Held::Varint(value)) => at.nanos = int32(value),
                (1 | 2, _) => return None,
                _ => self.pass_over()?,
            }
        }
        if !SECONDS.contains(&at.seconds) {
            return None;
        }
        write!(self.out, "\"{at}\"").ok()
    }

    fn next(&mut self, message: &mut &'m [u8]) -> Option<wire::Field<'m>> {
        self.left = self.left.checked_sub(1)?;
        wire::Field::next(message).ok()
    }

    /// What the schema does not have.
    fn pass_over(&self) -> Option<()> {
        (self.unknown == Unknown::LeftOut).then_some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        self.put(text)
    }

    fn put(&mut self, value: &(impl Serialize + ?Sized)) -> Option<()> {
        serde_json::to_writer(&mut self.out, value).ok()
    }
}

fn is_zero(kind: &Kind, held: Held<'_>) -> bool {
    match (kind, held) {
        (Kind::Text | Kind::Bytes, Held::Inside(inside)) => inside.is_empty(),
        (Kind::Bool, Held::Varint(value)) => value == 0,
        (Kind::Int32 | Kind::Enum(_), Held::Varint(value)) => int32(value) == 0,
        _ => false,
    }
}

/// The low half is what counts.
#[expect(clippy::cast_possible_truncation, reason = "protobuf has it cut off")]
fn int32(value: u64) -> i32 {
    value as i32
}
