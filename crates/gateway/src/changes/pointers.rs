//! JSON pointers into a document, and what stands where they lead taken out of it.

use serde_json::value::RawValue;
use vidimus_core::json::{Json, segments};
use vidimus_core::obligation::{EVERY, REDACTED};

use crate::protocol::is_same_member;
use crate::protocol::members::{Edits, Members, quoted};

/// The names and places that a pointer leads through.
type Path = Box<[Box<str>]>;

#[derive(Debug, Default)]
pub struct Pointers(Vec<Path>);

impl Pointers {
    pub fn add(&mut self, pointer: &str) {
        // One that leads nowhere would be the whole document; policies have none.
        let path = segments(pointer).map(|names| names.map(|name| Box::from(&*name)).collect());
        self.0.push(path.unwrap_or_default());
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts [`REDACTED`] in the place of each value that some pointer leads to, and gives their number. `null` stays: there is nothing.
    /// A text on the way is taken to hold what the pointer leads to.
    ///
    /// # Errors
    /// For what is no JSON.
    pub fn redact<'d>(&self, value: &'d RawValue, edits: &mut Edits<'d>) -> serde_json::Result<u64> {
        below(value, &self.paths(), edits)
    }

    /// Whether a text stands where some pointer leads further: it may hold what that leads to, and anything else.
    pub fn end_in_text(&self, value: &Json<'_>) -> bool {
        has_text_below(value, &self.paths())
    }

    fn paths(&self) -> Vec<&[Box<str>]> {
        self.0.iter().map(|path| &**path).collect()
    }

    /// A document without those values; `None` where it has none. What it redacts is added to `count`.
    ///
    /// # Errors
    /// For what is no JSON.
    pub fn redacted(&self, document: &str, count: &mut u64) -> serde_json::Result<Option<String>> {
        let value: &RawValue = serde_json::from_str(document)?;
        let mut edits = Edits::of(document);
        *count += self.redact(value, &mut edits)?;
        edits.finish().map_err(|_| serde::de::Error::custom("a value is not of its document"))
    }
}

fn below<'d>(value: &'d RawValue, paths: &[&[Box<str>]], edits: &mut Edits<'d>) -> serde_json::Result<u64> {
    let text = value.get();
    if paths.is_empty() || text == "null" {
        return Ok(0);
    }
    if text.starts_with('"') || paths.iter().any(|path| path.is_empty()) {
        edits.put(value, quoted(REDACTED));
        return Ok(1);
    }
    let mut count = 0;
    if text.starts_with('{') {
        let members: Members<'d> = serde_json::from_str(text)?;
        for (key, value) in members.0 {
            // Also by another spelling: some readers take it for the same.
            count += below(value, &further(paths, |name| is_same_member(&key, name)), edits)?;
        }
    } else if text.starts_with('[') {
        let elements: Vec<&'d RawValue> = serde_json::from_str(text)?;
        for (place, value) in elements.into_iter().enumerate() {
            count += below(value, &further(paths, |name| name.parse() == Ok(place)), edits)?;
        }
    }
    Ok(count)
}

/// [`Pointers::end_in_text`], of the pointers that lead to `value`.
fn has_text_below(value: &Json<'_>, paths: &[&[Box<str>]]) -> bool {
    // Where one ends, all that is there is meant to be hidden.
    if paths.is_empty() || paths.iter().any(|path| path.is_empty()) {
        return false;
    }
    match value {
        Json::String(_) => true,
        Json::Object(members) => members
            .iter()
            .any(|(key, value)| has_text_below(value, &further(paths, |name| is_same_member(key, name)))),
        Json::Array(elements) => elements
            .iter()
            .enumerate()
            .any(|(place, value)| has_text_below(value, &further(paths, |name| name.parse() == Ok(place)))),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::UInt(_) | Json::Float(_) => false,
    }
}

/// What of the pointers leads on from a member, or an element, that is named like this.
fn further<'p>(paths: &[&'p [Box<str>]], is_named: impl Fn(&str) -> bool) -> Vec<&'p [Box<str>]> {
    let steps = paths.iter().filter_map(|path| path.split_first());
    steps.filter(|(name, _)| ***name == *EVERY || is_named(name)).map(|(_, rest)| rest).collect()
}
