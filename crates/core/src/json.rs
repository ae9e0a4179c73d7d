//! A strict, borrowing JSON tree: what the gateway decides on must be the only thing the upstream can read in the same bytes.
//!
//! Stricter than RFC 8259 where it lets parsers differ: a duplicate key is an error (section 4), also one that differs in case
//! only (Go's `encoding/json` takes the last of `name` and `Name`), bytes must be UTF-8 (section 8.1), nesting is at most 128
//! deep, nothing may follow the document.

pub(crate) mod canonical;
mod exact;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

pub use self::exact::{inexact_number, numbers};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Exact in f64, as `i64::MAX` is not.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// How many values one document may have. A value takes 32 bytes and more of memory, and two of the input: without a limit a body of
/// zeros would take 20 times its size.
pub const MAX_VALUES: usize = 1 << 17;

/// One JSON value. Strings borrow from the input unless they contain escapes. Objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    UInt(u64),
    Float(f64),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Why bytes are not acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("object key {key:?} appears twice (upper and lower case are the same to some parsers)")]
    DuplicateKey { key: String },
    #[error("more than {MAX_VALUES} values")]
    TooMany,
    #[error("{reason}")]
    Syntax { reason: String },
}

/// The start of the message by which a duplicate key travels through `serde`'s error type.
const DUPLICATE: &str = "duplicate key ";
/// The same for too many values.
const TOO_MANY: &str = "too many values";

impl<'a> Json<'a> {
    /// Parses one document.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|e| JsonError::NotUtf8 { at: e.valid_up_to() })?;
        serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            if reason.starts_with(TOO_MANY) {
                return JsonError::TooMany;
            }
            match reason.strip_prefix(DUPLICATE) {
                Some(rest) => JsonError::DuplicateKey {
                    key: rest.rsplit_once(" at line ").map_or(rest, |(key, _)| key).to_owned(),
                },
                None => JsonError::Syntax { reason },
            }
        })
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        match self {
            Self::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object, in their order.
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The value as a whole number, also where it is written `1e3` or `5.0`: a policy on an amount must not depend on notation. Of what
    /// the parser had to round, −2^63 may be any of its neighbours, so it is none.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < TWO_TO_63 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "whole and in range, checked above")]
                Some(*value as i64)
            }
            _ => None,
        }
    }

    /// The value as text: strings as they are, `true`, `false`, `null`, and a number as RFC 8785 writes it, so that `7`, `7.0` and `7e0`
    /// are one. A whole number that no double holds is written in full. Arrays and objects have no text of their own; their
    /// elements have.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => Some("null".into()),
            Self::Bool(value) => Some(if *value { "true" } else { "false" }.into()),
            Self::Int(value) => Some(canonical::whole_text(i128::from(*value)).into()),
            Self::UInt(value) => Some(canonical::whole_text(i128::from(*value)).into()),
            Self::Float(value) => Some(canonical::double_text(*value).into()),
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Array(_) | Self::Object(_) => None,
        }
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Json<'a>> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut value = self;
        for segment in segments(pointer)? {
            value = match value {
                Self::Object(_) => value.get(&segment)?,
                Self::Array(items) => items.get(array_index(&segment)?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Calls `visit` with the JSON pointer and value of everything at and below this value that holds nothing else: scalars, and lists
    /// and objects that are empty.
    pub fn leaves(&self, visit: &mut impl FnMut(&str, &Json<'a>)) {
        let mut pointer = String::new();
        self.leaves_below(&mut pointer, visit);
    }

    fn leaves_below(&self, pointer: &mut String, visit: &mut impl FnMut(&str, &Json<'a>)) {
        let length = pointer.len();
        match self {
            Self::Object(members) if !members.is_empty() => {
                for (key, value) in members {
                    push_segment(pointer, key);
                    value.leaves_below(pointer, visit);
                    pointer.truncate(length);
                }
            }
            Self::Array(items) if !items.is_empty() => {
                for (index, value) in items.iter().enumerate() {
                    push_segment(pointer, &index.to_string());
                    value.leaves_below(pointer, visit);
                    pointer.truncate(length);
                }
            }
            leaf => visit(pointer, leaf),
        }
    }
}

/// The names and places that a JSON pointer leads through, unescaped; `None` for one that does not begin with `/`.
pub fn segments(pointer: &str) -> Option<impl Iterator<Item = Cow<'_, str>>> {
    Some(pointer.strip_prefix('/')?.split('/').map(unescaped))
}

fn unescaped(segment: &str) -> Cow<'_, str> {
    match segment.contains('~') {
        true => Cow::Owned(segment.replace("~1", "/").replace("~0", "~")),
        false => Cow::Borrowed(segment),
    }
}

/// One step further in a JSON pointer.
pub(crate) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    match segment.contains(['~', '/']) {
        true => pointer.push_str(&segment.replace('~', "~0").replace('/', "~1")),
        false => pointer.push_str(segment),
    }
}

/// RFC 6901 section 4: digits without a leading zero.
pub(crate) fn array_index(segment: &str) -> Option<usize> {
    let canonical =
        segment == "0" || (!segment.starts_with('0') && segment.bytes().all(|b| b.is_ascii_digit()));
    if canonical { segment.parse().ok() } else { None }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree(&Cell::new(MAX_VALUES)))
    }
}

/// Builds the tree, with the number of values that there may still be.
#[derive(Clone, Copy)]
struct Tree<'c>(&'c Cell<usize>);

impl Tree<'_> {
    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| E::custom(TOO_MANY))?;
        self.0.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Json::UInt(value), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            self.count()?;
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// From here on a hash set beats looking at every earlier key (and cannot be made quadratic by a caller).
        const MANY: usize = 16;
        const LONG: usize = 64;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            self.count()?;
            // Short names of few members are compared faster than they are hashed; what is long is folded once.
            let duplicate = if seen.is_empty() && members.len() < MANY && key.len() <= LONG {
                members.iter().any(|(k, _)| same_key(k, &key))
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(k, _)| folded(k.clone())));
                }
                !seen.insert(folded(key.clone()))
            };
            if duplicate {
                return Err(A::Error::custom(format_args!("{DUPLICATE}{key}")));
            }
            members.push((key, map.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

/// Whether some parser takes the two for one: they are equal but for case (Unicode's simple case folding, as Go has it).
pub fn same_key(a: &str, b: &str) -> bool {
    if a.len() == b.len() && a.eq_ignore_ascii_case(b) {
        return true;
    }
    // Of ASCII alone, texts of different lengths differ.
    if a.is_ascii() && b.is_ascii() {
        return false;
    }
    a.chars().flat_map(fold).eq(b.chars().flat_map(fold))
}

/// The one text of all keys that [`same_key`] takes for one.
pub fn folded(key: Cow<'_, str>) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii() && !b.is_ascii_uppercase();
    if key.bytes().all(plain) { key } else { key.chars().flat_map(fold).collect() }
}

/// Up and down again: `ſ` and the Kelvin sign are letters of their own until then.
fn fold(c: char) -> impl Iterator<Item = char> {
    // Upper case as such, it is one letter with `ß` (Unicode's simple folding), which has none of one letter.
    let c = if c == '\u{1e9e}' { '\u{df}' } else { c };
    c.to_uppercase().flat_map(char::to_lowercase)
}

/// An object key, borrowed where it can be (`Cow`'s own `Deserialize` never borrows).
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object key")
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(value.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Key)
    }
}

#[cfg(test)]
mod tests;
