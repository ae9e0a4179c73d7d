//! JSON pointers into a document, and what stands where they lead taken out of it.

use serde::de::Error as _;
use serde_json::value::RawValue;
use vidimus_core::json::segments;
use vidimus_core::obligation::{EVERY, REDACTED};

use crate::protocol::is_same_member;
use crate::protocol::members::{Edits, Members, quoted};

/// The most lists that a pointer is followed through without naming them, on one way. Each is read for itself, by a call of its own: a
/// server that nests thousands would have all of the stack, and a core for seconds.
const MOST_LISTS: usize = 16;

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

    /// Puts [`REDACTED`] in the place of each value that some pointer leads to. `null` stays: there is nothing. A text on the way is taken
    /// to hold what the pointer leads to, and a list where the pointer has none to be several of what it leads through.
    ///
    /// # Errors
    /// For what is no JSON, and for more than [`MOST_LISTS`] lists within each other.
    pub fn redact<'d>(&self, value: &'d RawValue, edits: &mut Edits<'d>) -> serde_json::Result<Found> {
        let paths: Vec<&[Box<str>]> = self.0.iter().map(|path| &**path).collect();
        let mut found = Found::default();
        below(value, (&paths, MOST_LISTS), (edits, &mut found))?;
        Ok(found)
    }

    /// A document without those values, and what was found; `None` where it has none.
    ///
    /// # Errors
    /// As [`Pointers::redact`].
    pub fn redacted(&self, document: &str) -> serde_json::Result<(Option<String>, Found)> {
        let value: &RawValue = serde_json::from_str(document)?;
        let mut edits = Edits::of(document);
        let found = self.redact(value, &mut edits)?;
        let redacted = edits.finish();
        let misplaced = |_| serde_json::Error::custom("a value is not of its document");
        Ok((redacted.map_err(misplaced)?, found))
    }
}

/// What was taken out of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many values.
    pub values: u64,
    /// How many of them are texts on the way of a pointer, of which the pointer names only a part.
    pub texts: u64,
}

/// `lists`: through so many the pointers may be followed yet without naming them.
fn below<'d>(
    value: &'d RawValue,
    (paths, lists): (&[&[Box<str>]], usize),
    (edits, found): (&mut Edits<'d>, &mut Found),
) -> serde_json::Result<()> {
    let text = value.get();
    if paths.is_empty() || text == "null" {
        return Ok(());
    }
    let ends_here = paths.iter().any(|path| path.is_empty());
    if text.starts_with('"') || ends_here {
        edits.put(value, quoted(REDACTED));
        found.values += 1;
        found.texts += u64::from(!ends_here);
        return Ok(());
    }
    if text.starts_with('{') {
        let members: Members<'d> = serde_json::from_str(text)?;
        for (key, value) in members.0 {
            let steps = paths.iter().filter_map(|path| path.split_first());
            // Also by another spelling: some readers take it for the same.
            let further = steps.filter(|(name, _)| ***name == *EVERY || is_same_member(&key, name));
            let further: Vec<&[Box<str>]> = further.map(|(_, rest)| rest).collect();
            below(value, (&further, lists), (&mut *edits, &mut *found))?;
        }
    } else if text.starts_with('[') {
        let lists = match paths.iter().all(|path| path.first().is_some_and(|name| is_place(name))) {
            true => lists,
            false => {
                lists.checked_sub(1).ok_or_else(|| serde_json::Error::custom("lists in lists in lists"))?
            }
        };
        let elements: Vec<&'d RawValue> = serde_json::from_str(text)?;
        for (place, value) in elements.into_iter().enumerate() {
            let further: Vec<&[Box<str>]> = paths.iter().filter_map(|path| in_list(path, place)).collect();
            below(value, (&further, lists), (&mut *edits, &mut *found))?;
        }
    }
    Ok(())
}

/// Whether a name of a pointer is of an element, where it leads into a list.
fn is_place(name: &str) -> bool {
    *name == *EVERY || name.parse::<usize>().is_ok()
}

/// Where a pointer leads from an element of a list: an index and `*` name it, and every other name is of a member of each element.
fn in_list(path: &[Box<str>], place: usize) -> Option<&[Box<str>]> {
    let (name, rest) = path.split_first()?;
    if **name == *EVERY {
        return Some(rest);
    }
    match name.parse::<usize>() {
        Ok(index) => (index == place).then_some(rest),
        Err(_) => Some(path),
    }
}
