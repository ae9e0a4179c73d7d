//! A JSON object by its members, so that one of them can be replaced and every other byte stays as it came.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use vidimus_core::json::folded;

use super::is_same_member;

/// The members of an object in their order, values unparsed.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(key)) = map.next_key()? {
                    members.push((key, map.next_value::<&'de RawValue>()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A member's name, copied only where it is written with escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Name<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// That an object has no member twice, also not by names that differ only by case: which one counts depends on the reader.
pub fn check_unique<'n, E: Error>(names: impl Iterator<Item = &'n Cow<'n, str>>) -> Result<(), E> {
    let mut names: Vec<Cow<'_, str>> = names.map(|name| folded(Cow::Borrowed(name))).collect();
    names.sort_unstable();
    match names.windows(2).any(|pair| pair.first() == pair.get(1)) {
        true => Err(E::custom("a key is there twice")),
        false => Ok(()),
    }
}

/// A value in a JSON document, and what stands in its place where the document goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The members that lead to it.
    pub path: &'static [&'static str],
    /// JSON.
    pub with: String,
}

/// A document with some of its values replaced, and otherwise byte for byte as it was. `None` where it has no such value.
pub fn replace(document: &str, values: &[Replaced]) -> Option<String> {
    let mut edits = Edits::of(document);
    for Replaced { path, with } in values {
        let mut at = 0..document.len();
        for name in *path {
            let found = member(document.get(at.clone())?, name)??;
            at = at.start + found.start..at.start + found.end;
        }
        edits.places.push((at, with.clone()));
    }
    edits.written()
}

/// Values of a document that others stand for; all else stays byte for byte.
#[derive(Debug)]
pub struct Edits<'d> {
    document: &'d str,
    places: Vec<(Range<usize>, String)>,
}

/// A value is not of the document, or two overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced;

impl<'d> Edits<'d> {
    pub const fn of(document: &'d str) -> Self {
        Self { document, places: Vec::new() }
    }

    /// `with`, which is JSON, stands for a value that was read from the document.
    pub fn put(&mut self, value: &'d RawValue, with: String) {
        // What is not of the document stands beyond its end, which is found when it is written.
        let at = place(self.document, value.get()).unwrap_or(usize::MAX..usize::MAX);
        self.places.push((at, with));
    }

    /// The document with them; `None` where there are none.
    ///
    /// # Errors
    /// [`Misplaced`].
    pub fn finish(self) -> Result<Option<String>, Misplaced> {
        if self.places.is_empty() {
            return Ok(None);
        }
        self.written().map(Some).ok_or(Misplaced)
    }

    fn written(mut self) -> Option<String> {
        self.places.sort_unstable_by_key(|(at, _)| at.start);
        let longer: usize = self.places.iter().map(|(_, with)| with.len()).sum();
        let (mut out, mut from) = (String::with_capacity(self.document.len() + longer), 0);
        for (at, with) in &self.places {
            out.push_str(self.document.get(from..at.start)?);
            out.push_str(with);
            from = at.end;
        }
        out.push_str(self.document.get(from..)?);
        Some(out)
    }
}

/// A document without these members, where it has them. All else stays byte for byte, but for space in the objects that had them.
/// `None` where something on the way to one is no object.
pub fn without(document: &str, paths: &[&[&str]]) -> Option<String> {
    let mut text = document.to_owned();
    for path in paths {
        let Some((name, parents)) = path.split_last() else { continue };
        let mut at = 0..text.len();
        for parent in parents {
            let found = member(text.get(at.clone())?, parent)??;
            at = at.start + found.start..at.start + found.end;
        }
        let object: Members<'_> = serde_json::from_str(text.get(at.clone())?).ok()?;
        if object.get(name).is_some() {
            let kept = object.write_without(name);
            text.replace_range(at, &kept);
        }
    }
    Some(text)
}

/// Where a part stands in a text that it was borrowed from.
pub fn place(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(start..start + part.len())
}

/// Where the value of a member stands in an object; `None` inside when there is none.
pub fn member(object: &str, name: &str) -> Option<Option<Range<usize>>> {
    let members: Members<'_> = serde_json::from_str(object).ok()?;
    let Some(value) = members.get(name) else { return Some(None) };
    Some(Some(place(object, value.get())?))
}

/// Where a member is inserted into an object before all others, and what.
pub fn first_member(object: &str, member: String) -> (Range<usize>, Cow<'static, str>) {
    let inside = object.find('{').map_or(0, |brace| brace + 1);
    let empty = object.get(inside..).is_some_and(|rest| rest.trim_start().starts_with('}'));
    (inside..inside, if empty { member } else { member + "," }.into())
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// The text of a value that is one.
pub fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Members of an object that have another value.
#[derive(Debug, Default)]
pub struct Changed(Vec<(&'static str, String)>);

impl Changed {
    /// `value` is JSON.
    pub fn put(&mut self, member: &'static str, value: String) {
        self.0.push((member, value));
    }

    /// `value` is JSON, if there is another.
    pub fn put_some(&mut self, member: &'static str, value: Option<String>) {
        self.0.extend(value.map(|value| (member, value)));
    }

    /// The object with them; `None` where there are none.
    pub fn of(&self, object: &Members<'_>) -> Option<String> {
        let other = |key: &str| self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str());
        (!self.0.is_empty()).then(|| object.write_all(other))
    }
}

impl<'a> Members<'a> {
    /// The members of an object that has none twice.
    ///
    /// # Errors
    /// For what is no object, and for one with a member twice: which one counts depends on the reader.
    pub fn unique(json: &'a str) -> serde_json::Result<Self> {
        let members: Self = serde_json::from_str(json)?;
        check_unique(members.0.iter().map(|(key, _)| key))?;
        Ok(members)
    }

    /// The members of a member that is an object; `None` for one that is none, and where there is none.
    ///
    /// # Errors
    /// As [`Members::unique`].
    pub fn object(&self, member: &str) -> serde_json::Result<Option<Members<'a>>> {
        let value = self.0.iter().find(|(key, _)| key == member).map(|(_, value)| value.get());
        value.filter(|value| value.starts_with('{')).map(Members::unique).transpose()
    }
}

impl<'a> Members<'a> {
    /// The value of the first member of this name.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| *v)
    }
}

impl Members<'_> {
    /// The object with the value of one member replaced.
    pub fn write(&self, replace: &str, with: &str) -> String {
        self.write_all(|key| (key == replace).then_some(with))
    }

    /// The object with the values of those members replaced for which `with` has another.
    pub fn write_all<'w>(&self, with: impl Fn(&str) -> Option<&'w str>) -> String {
        Self::written(self.0.iter(), with)
    }

    /// The object without a member.
    pub fn write_without(&self, name: &str) -> String {
        Self::written(self.0.iter().filter(|(key, _)| key != name), |_| None)
    }

    fn written<'m, 'w>(
        members: impl Iterator<Item = &'m (Cow<'m, str>, &'m RawValue)>,
        with: impl Fn(&str) -> Option<&'w str>,
    ) -> String {
        let mut out = String::from("{");
        for (key, value) in members {
            if out.len() > 1 {
                out.push(',');
            }
            push_string(&mut out, key);
            out.push(':');
            out.push_str(with(key).unwrap_or_else(|| value.get()));
        }
        out.push('}');
        out
    }

    /// Whether some member is spelled otherwise than one of these, so that some reader takes it for that.
    pub fn misspells(&self, names: &[&str]) -> bool {
        let mut others = self.0.iter().map(|(key, _)| key.as_ref()).filter(|key| !names.contains(key));
        others.any(|key| names.iter().any(|name| is_same_member(key, name)))
    }
}

fn push_string(out: &mut String, text: &str) {
    // Serializing a str cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_there_once_in_any_case() {
        for (object, unique) in [
            (r#"{"a":1,"b":2}"#, true),
            (r#"{"taskId":1,"task_id":2}"#, true),
            (r#"{"a":1,"a":2}"#, false),
            (r#"{"a":1,"\u0061":2}"#, false),
            (r#"{"taskId":1,"TaskId":2}"#, false),
            (r#"{"result":1,"x":2,"RESULT":3}"#, false),
            (r#"{"tasks":1,"ta\u017fks":2}"#, false),
            ("{\"key\":1,\"\u{212a}ey\":2}", false),
        ] {
            assert_eq!(Members::unique(object).is_ok(), unique, "{object}");
        }
    }

    #[test]
    fn what_is_left_out_is_left_out_and_nothing_else() {
        let document = r#"{ "a" : {"\u0062": "x" , "c":[1.50, {"b":"x"}]} ,"d":"x"}"#;
        for (paths, expected) in [
            (&[][..], Some(document.to_owned())),
            (&[&["a", "z"][..]][..], Some(document.to_owned())),
            (&[&["a", "b"][..]][..], Some(r#"{ "a" : {"c":[1.50, {"b":"x"}]} ,"d":"x"}"#.to_owned())),
            (&[&["a", "b"][..], &["a", "c"], &["d"]][..], Some(r#"{"a":{}}"#.to_owned())),
            (&[&["d", "b"][..]][..], None),
        ] {
            assert_eq!(without(document, paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_replaced_and_nothing_else() {
        let document = r#"{ "a" : {"\u0062": "x" , "c":[1.50, {"b":"x"}]} ,"d":"x"}"#;
        let of = |path, with: &str| Replaced { path, with: with.to_owned() };
        for (values, expected) in [
            (vec![], Some(document.to_owned())),
            (vec![of(&["a", "b"], "1")], Some(document.replacen("\"x\"", "1", 1))),
            (
                vec![of(&["d"], "\"long\""), of(&["a", "b"], "[]")],
                Some(document.replacen("\"x\"", "[]", 1).replace("\"d\":\"x\"", "\"d\":\"long\"")),
            ),
            (vec![of(&["a", "z"], "1")], None),
            (vec![of(&["d", "b"], "1")], None),
        ] {
            assert_eq!(replace(document, &values), expected, "{values:?}");
        }
    }
}
