//! What guards find in the values of a document, taken out of them: nothing else is changed, and a value in which it has no place goes whole.

use serde_json::value::RawValue;
use vidimus_core::guard::Guard;
use vidimus_core::json::{Json, segments};
use vidimus_core::obligation::REDACTED;

use crate::found::named;
use crate::protocol::members::{Edits, Members, quoted};

/// A value, or something in it, could not be taken out for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// The values in which something was found.
#[derive(Debug, Default)]
pub struct TakenOut(Vec<Place>);

#[derive(Debug)]
struct Place {
    pointer: Box<str>,
    path: Box<[Box<str>]>,
    /// What the value is called: a password is told by it.
    name: Box<str>,
    /// The guards that found something in it.
    guards: Vec<Guard>,
}

impl TakenOut {
    /// Something that `guard` finds in the value that `pointer` leads to, below what is called `base`.
    pub fn add(&mut self, guard: &Guard, (base, pointer): (&str, &str)) {
        if let Some(known) = self.0.iter_mut().find(|place| *place.pointer == *pointer) {
            known.guards.push(guard.clone());
            return;
        }
        let path = segments(pointer).map(|names| names.map(|name| Box::from(&*name)).collect());
        self.0.push(Place {
            pointer: pointer.into(),
            path: path.unwrap_or_default(),
            name: named(&format!("{base}{pointer}")).into(),
            guards: vec![guard.clone()],
        });
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In how many values that is.
    pub fn count(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    /// Takes it out of a value of the document that `edits` are of.
    ///
    /// # Errors
    /// [`NotTaken`], also where a value is not there.
    pub fn redact<'d>(&self, value: &'d RawValue, edits: &mut Edits<'d>) -> Result<(), NotTaken> {
        let places: Vec<(&[Box<str>], &Place)> = self.0.iter().map(|place| (&*place.path, place)).collect();
        if below(value, &places, edits)? == self.0.len() { Ok(()) } else { Err(NotTaken) }
    }

    /// The document without it; `None` where nothing is to be taken out.
    ///
    /// # Errors
    /// As [`TakenOut::redact`].
    pub fn of(&self, document: &str) -> Result<Option<String>, NotTaken> {
        if self.is_empty() {
            return Ok(None);
        }
        let value: &RawValue = serde_json::from_str(document).map_err(|_| NotTaken)?;
        let mut edits = Edits::of(document);
        self.redact(value, &mut edits)?;
        edits.finish().map_err(|_| NotTaken)
    }
}

fn below<'d>(
    value: &'d RawValue,
    places: &[(&[Box<str>], &Place)],
    edits: &mut Edits<'d>,
) -> Result<usize, NotTaken> {
    if places.is_empty() {
        return Ok(0);
    }
    if let [(path, place)] = places
        && path.is_empty()
    {
        edits.put(value, quoted(&without(value, place)?));
        return Ok(1);
    }
    let mut changed = 0;
    if value.get().starts_with('{') {
        let members: Members<'d> = serde_json::from_str(value.get()).map_err(|_| NotTaken)?;
        for (name, value) in members.0 {
            changed += below(value, &further(places, &name), edits)?;
        }
    } else if value.get().starts_with('[') {
        let elements: Vec<&'d RawValue> = serde_json::from_str(value.get()).map_err(|_| NotTaken)?;
        let named = |place: usize| {
            places.iter().any(|(path, _)| path.first().is_some_and(|name| name.parse::<usize>() == Ok(place)))
        };
        for (place, value) in elements.into_iter().enumerate().filter(|(place, _)| named(*place)) {
            changed += below(value, &further(places, &place.to_string()), edits)?;
        }
    }
    Ok(changed)
}

/// The places below a member, or an element.
fn further<'p>(places: &[(&'p [Box<str>], &'p Place)], name: &str) -> Vec<(&'p [Box<str>], &'p Place)> {
    let below = places.iter().filter_map(|(path, place)| {
        let (first, rest) = path.split_first()?;
        (**first == *name).then_some((rest, *place))
    });
    below.collect()
}

/// A value, as text, without what was found in it.
fn without(value: &RawValue, place: &Place) -> Result<String, NotTaken> {
    let json = Json::parse(value.get().as_bytes()).map_err(|_| NotTaken)?;
    let text = json.as_text().ok_or(NotTaken)?;
    let guards: Vec<&Guard> = place.guards.iter().collect();
    let left = vidimus_guard::redacted(&guards, &place.name, &text).map_err(|_| NotTaken)?;
    // Something is in it: where that is not found once more, all of it goes.
    Ok(if left == text { REDACTED.to_owned() } else { left })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "4111111111111111";

    fn taken(document: &str, places: &[(&Guard, &str)]) -> Result<Option<String>, NotTaken> {
        let mut out = TakenOut::default();
        places.iter().for_each(|(guard, pointer)| out.add(guard, ("", pointer)));
        out.of(document)
    }

    #[test]
    fn what_is_found_is_taken_out_and_nothing_else() {
        let (personal, secrets) = (&Guard::PersonalData, &Guard::Secrets);
        for (document, places, expected) in [
            (
                format!(r#"{{ "a": ["x", "pay {CARD} now"],  "b":1.50}}"#),
                &[(personal, "/a/1")][..],
                r#"{ "a": ["x", "pay [redacted:card] now"],  "b":1.50}"#,
            ),
            (format!(r#"{{"a":{CARD}}}"#), &[(personal, "/a")], r#"{"a":"[redacted:card]"}"#),
            (
                r#"{"password":"k8Jq2-vT9xLw3Zp"}"#.to_owned(),
                &[(secrets, "/password")],
                r#"{"password":"[redacted:generic-api-key]"}"#,
            ),
            (
                format!(r#"{{"a":"{CARD} glpat-k8Jq2vT9xLw3ZpQ7sD5f"}}"#),
                &[(secrets, "/a"), (personal, "/a")],
                r#"{"a":"[redacted:card] [redacted:gitlab-pat]"}"#,
            ),
            // What is not found once more.
            (r#"{"a":"nothing"}"#.to_owned(), &[(personal, "/a")], r#"{"a":"[redacted]"}"#),
        ] {
            assert_eq!(taken(&document, places), Ok(Some(expected.to_owned())), "{document}");
        }
        assert_eq!(taken("{}", &[]), Ok(None));
        // What is not there, or is no text, cannot be taken out for sure.
        for document in ["{}", r#"{"a":{}}"#, r#"{"a":[]}"#, "[]", ""] {
            assert_eq!(taken(document, &[(personal, "/a")]), Err(NotTaken), "{document}");
        }
    }
}
