//! What a guard finds in JSON: in each text, number and name, and where (ADR 77).

use vidimus_core::guard::{Guard, Kinds};
use vidimus_core::json::Json;
use vidimus_guard::{Fault, find};

/// Where a value can be taken out, by its pointer; `None` where it cannot.
pub type InPlace = fn(&str) -> Option<&str>;

/// Places that are remembered of a message, and how long one may be, in bytes: of more, and of longer ones, something is elsewhere.
const MAX_PLACES: usize = 256;
const MAX_PLACE: usize = 4096;

/// How much of the end of a pointer, and of a name, a guard looks at with a value: a list's name stands with each of its values.
const MAX_TAIL: usize = 512;

/// What a guard finds in a message.
#[derive(Debug, Default)]
pub struct Found {
    pub kinds: Kinds,
    /// The values in which something is that can be taken out, by their pointers.
    pub places: Vec<String>,
    /// Something is elsewhere too.
    pub is_elsewhere: bool,
}

impl Found {
    /// In the parts that there are of a message.
    ///
    /// # Errors
    /// Where the guard cannot look.
    pub fn of<'j>(
        guard: &Guard,
        parts: impl IntoIterator<Item = (Option<&'j Json<'j>>, InPlace)>,
    ) -> Result<Self, &'static Fault> {
        let mut found = Self::default();
        for (part, in_place) in parts {
            if let Some(part) = part {
                found.look(guard, part, (in_place, &|_| false))?;
            }
        }
        Ok(found)
    }

    /// Looks at one part more, without the values whose pointers are of those that are looked at elsewhere.
    ///
    /// # Errors
    /// As [`Found::of`].
    pub fn look(
        &mut self,
        guard: &Guard,
        part: &Json<'_>,
        (in_place, elsewhere): (InPlace, &dyn Fn(&str) -> bool),
    ) -> Result<(), &'static Fault> {
        let mut fault = None;
        self.names(guard, part)?;
        part.leaves(&mut |pointer, value| {
            let Some(text) = value.as_text().filter(|_| !elsewhere(pointer)) else { return };
            match find(guard, named(pointer), &text) {
                Ok(kinds) => self.add(kinds, in_place(pointer)),
                Err(error) => fault = Some(error),
            }
        });
        fault.map_or(Ok(()), Err)
    }

    /// Looks at the names of all members: whoever wants to say something can say it there.
    fn names(&mut self, guard: &Guard, value: &Json<'_>) -> Result<(), &'static Fault> {
        match value {
            Json::Object(members) => {
                for (name, value) in members {
                    self.add(find(guard, "", name)?, None);
                    self.names(guard, value)?;
                }
            }
            Json::Array(items) => {
                for item in items {
                    self.names(guard, item)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, kinds: Kinds, place: Option<&str>) {
        if kinds.is_empty() {
            return;
        }
        match place {
            Some(place) if self.places.len() < MAX_PLACES && place.len() <= MAX_PLACE => {
                self.places.push(place.to_owned());
            }
            _ => self.is_elsewhere = true,
        }
        for (kind, count) in kinds {
            let known = self.kinds.entry(kind).or_default();
            *known = known.saturating_add(count);
        }
    }
}

/// The name of the member, or of the list, that has a value: the last step that is no place.
pub fn named(pointer: &str) -> &str {
    let from = pointer.ceil_char_boundary(pointer.len().saturating_sub(MAX_TAIL));
    let tail = pointer.get(from..).unwrap_or_default();
    tail.rsplit('/').find(|step| !step.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_name() {
        for (pointer, name) in [
            ("/params/arguments/password", "password"),
            ("/params/arguments/keys/0", "keys"),
            ("/0/1", ""),
            (&format!("/{}/password/0", "a".repeat(1_000)), "password"),
            // Of a name without end the end is looked at, for each of its values.
            (&format!("/{}", "a".repeat(1_000)), &"a".repeat(MAX_TAIL)),
            ("", ""),
        ] {
            assert_eq!(named(pointer), name, "{pointer}");
        }
    }

    fn everywhere(pointer: &str) -> Option<&str> {
        Some(pointer)
    }

    #[test]
    fn what_is_found_is_found_in_names_too() {
        const CARD: &str = "4111111111111111";
        let text = format!(r#"{{"a": "card {CARD}", "{CARD}": [{CARD}]}}"#);
        let json = Json::parse(text.as_bytes()).expect("JSON");
        let found =
            Found::of(&Guard::PersonalData, [(Some(&json), everywhere as InPlace)]).expect("it looks");
        assert_eq!(found.kinds.get("card"), Some(&3));
        assert_eq!((found.places.len(), found.is_elsewhere), (2, true), "{found:?}");
    }
}
