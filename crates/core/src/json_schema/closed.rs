//! A schema with no more members than it names (`spec.integrity.arguments: closed`). A validator lets any other pass where the schema does not say that there
//! is none, and then a policy that looks at `/to` does not see `To`, which a lenient server may take for it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What has subschemas by name.
const BY_NAME: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// What has a subschema, or a list of them.
const HELD: [&str; 9] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
];
/// What says which members an object has.
const NAMING: [&str; 6] = ["properties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"];
/// Of what is said in a list there, one is the object.
const CHOICES: [&str; 2] = ["anyOf", "oneOf"];
/// What says what members are that are not named.
const OTHERS: &str = "additionalProperties";
/// What may say more of an object that is closed already.
const MORE: [&str; 4] = ["then", "else", "dependentSchemas", "dependencies"];

/// The schema in which each object that has members named has no others, unless the schema says itself what others are; and the whole has none where it
/// names none. It may let be what the schema does not (a choice of one that was of several), so what is held to it is held to the schema too.
///
/// # Errors
/// Why it cannot be closed, in words that go on from "it cannot be held to: ".
pub fn closed(text: &str) -> Result<String, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    close_all(&mut schema)
        .map_err(|why| format!("it cannot be closed, since {why}: write arguments: schema"))?;
    Ok(schema.to_string())
}

fn close_all(schema: &mut Value) -> Result<(), String> {
    let draft = schema.get("$schema").and_then(Value::as_str);
    let is_old = draft.is_some_and(|draft| draft.contains("/draft-0"));
    let mut references = Vec::new();
    close(schema, is_old, &mut references)?;
    if !references.iter().all(|pointer| is_gone_to(schema, pointer)) {
        return Err(NO_SUBSCHEMA.to_owned());
    }
    close_whole(schema, is_old)
}

const NO_SUBSCHEMA: &str = "it has a reference to what is no subschema";

/// Closes each object of which a schema names members, and takes down where its references lead.
fn close(schema: &mut Value, is_old: bool, references: &mut Vec<String>) -> Result<(), String> {
    let Value::Object(members) = schema else { return Ok(()) };
    if let Some(word) = MORE.into_iter().find(|word| members.contains_key(*word)) {
        return Err(format!("it has {word}"));
    }
    let reference = members.get("$ref").and_then(Value::as_str);
    if let Some(reference) = reference {
        references.push(reference.strip_prefix('#').ok_or(NO_SUBSCHEMA)?.to_owned());
    }
    let is_named = members.contains_key("properties") || members.contains_key("patternProperties");
    let of_choices = CHOICES.into_iter().filter(|word| list(members, word).iter().any(may_name)).count();
    let of_all = list(members, "allOf").iter().filter(|one| may_name(one)).count();
    if usize::from(is_named) + usize::from(reference.is_some()) + of_choices + of_all > 1 {
        return Err("it says in several places which members one object has".to_owned());
    }
    for (word, value) in members.iter_mut() {
        match value {
            Value::Object(all) if BY_NAME.contains(&word.as_str()) => {
                for one in all.values_mut() {
                    close(one, is_old, references)?;
                }
            }
            Value::Array(all) if HELD.contains(&word.as_str()) => {
                for one in all {
                    close(one, is_old, references)?;
                }
            }
            one if HELD.contains(&word.as_str()) => close(one, is_old, references)?,
            _ => {}
        }
    }
    if is_named && !is_said(members, is_old) {
        members.insert(OTHERS.to_owned(), Value::Bool(false));
    }
    Ok(())
}

/// Closes the whole where nothing names its members, by whatever it is said what the whole is: a reference, a choice.
fn close_whole(schema: &mut Value, is_old: bool) -> Result<(), String> {
    let (mut left, mut known) = (vec![String::new()], BTreeSet::new());
    while let Some(at) = left.pop() {
        let members = match schema.pointer_mut(&at) {
            Some(Value::Object(members)) => members,
            // A choice that nothing is.
            Some(Value::Bool(false)) => continue,
            _ => return Err("it is no object".to_owned()),
        };
        if is_said(members, is_old) || !known.insert(at.clone()) {
            continue;
        }
        let before = left.len();
        let reference = members.get("$ref").and_then(Value::as_str);
        left.extend(reference.and_then(|reference| reference.strip_prefix('#')).map(str::to_owned));
        for word in CHOICES {
            let all = list(members, word);
            let all = if all.iter().any(may_name) { all } else { &[] };
            left.extend((0..all.len()).map(|number| format!("{at}/{word}/{number}")));
        }
        let of_all = list(members, "allOf").iter().enumerate().filter(|(_, one)| may_name(one));
        left.extend(of_all.map(|(number, _)| format!("{at}/allOf/{number}")));
        if left.len() == before {
            members.insert(OTHERS.to_owned(), Value::Bool(false));
        }
    }
    Ok(())
}

fn list<'m>(members: &'m Map<String, Value>, word: &str) -> &'m [Value] {
    members.get(word).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a part of a schema says which members the object has of which it is said.
fn may_name(part: &Value) -> bool {
    NAMING.iter().any(|word| part.get(*word).is_some())
}

/// Whether a schema says itself what members there are that it does not name.
fn is_said(members: &Map<String, Value>, is_old: bool) -> bool {
    let has = |word: &str| members.contains_key(word);
    if is_old {
        // The drafts 6 and 7 have no other word for it, and pass over what stands beside a reference.
        has(OTHERS) && !has("$ref")
    } else {
        has(OTHERS) || has("unevaluatedProperties")
    }
}

/// Whether a pointer leads to a place that is closed as well: by the words there, and by what stands there. A member of `items` named `0` is no subschema.
fn is_gone_to(schema: &Value, pointer: &str) -> bool {
    let (mut at, mut steps) = (schema, pointer.split('/'));
    if steps.next().is_none_or(|anchor| !anchor.is_empty()) {
        return false;
    }
    while let Some(word) = steps.next() {
        let next = match at.get(word) {
            Some(Value::Object(all)) if BY_NAME.contains(&word) => {
                steps.next().and_then(|name| all.get(&name.replace("~1", "/").replace("~0", "~")))
            }
            Some(Value::Array(all)) if HELD.contains(&word) => {
                steps.next().and_then(|number| all.get(number.parse::<usize>().ok()?))
            }
            Some(one) if HELD.contains(&word) => Some(one),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json_schema::compile;

    fn lets(schema: &Value, value: &Value) -> bool {
        let closed = closed(&schema.to_string()).expect("closed");
        compile(&closed).expect("a schema").lets(value)
    }

    #[test]
    fn what_a_schema_does_not_name_is_refused_wherever_it_stands() {
        let pet = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let draft = |draft: &str| {
            json!({"$schema": draft, "type": "object", "required": ["to"], "properties": {
                "to": {"type": "string"}, "pet": {"$ref": "#/$defs/pet"}, "pets": {"type": "array", "items": pet},
                "maybe": {"anyOf": [pet, {"type": "null"}]}, "free": {"type": "object"},
                "more": {"properties": {"a": {}}, "additionalProperties": true}}, "$defs": {"pet": pet}})
        };
        let (seven, newest) =
            ("http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema");
        for schema in [draft(seven), draft(newest)] {
            for (value, expected) in [
                (json!({"to": "a"}), true),
                (json!({"to": "a", "To": "b"}), false),
                (json!({"recipient": "b"}), false),
                (json!({"to": "a", "pet": {"name": "b"}, "pets": [{"name": "c"}], "maybe": null}), true),
                (json!({"to": "a", "pet": {"name": "b", "Name": "c"}}), false),
                (json!({"to": "a", "pets": [{"nam": "c"}]}), false),
                (json!({"to": "a", "maybe": {"nam": "c"}}), false),
                // What it says itself that there may be.
                (json!({"to": "a", "free": {"x": 1}, "more": {"x": 1}}), true),
            ] {
                assert_eq!(lets(&schema, &value), expected, "{schema} {value}");
            }
        }
        for (schema, value, expected) in [
            (json!({"type": "object"}), json!({}), true),
            (json!({"type": "object"}), json!({"x": 1}), false),
            (json!({"$ref": "#/definitions/p", "definitions": {"p": pet}}), json!({"x": 1}), false),
            (
                json!({"properties": {"p": {"allOf": [{"$ref": "#/$defs/p"}]}}, "$defs": {"p": pet}}),
                json!({"p": {"x": 1}}),
                false,
            ),
            (json!({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}), json!({"a": 1}), true),
        ] {
            assert_eq!(lets(&schema, &value), expected, "{schema} {value}");
        }
    }

    /// Attack: a schema that says by way of something else what the whole is, and there names nothing; and one that says in words which its draft does not know
    /// that there is no more.
    #[test]
    fn the_whole_is_closed_whatever_says_what_it_is() {
        let pet = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let seven = "http://json-schema.org/draft-07/schema#";
        for (schema, value, expected) in [
            (json!({"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}}), json!({}), true),
            (json!({"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}}), json!({"x": 1}), false),
            (
                json!({"allOf": [{"$ref": "#/$defs/p"}], "$defs": {"p": {"type": "object"}}}),
                json!({"x": 1}),
                false,
            ),
            (json!({"anyOf": [pet, {"required": ["id"]}]}), json!({"name": "a"}), true),
            (json!({"anyOf": [pet, {"required": ["id"]}]}), json!({"id": 1, "Name": "a"}), false),
            // What the older drafts do not know says nothing in them.
            (
                json!({"$schema": seven, "properties": {"a": {}}, "unevaluatedProperties": false}),
                json!({"A": 1}),
                false,
            ),
            (
                json!({"$schema": seven, "$ref": "#/definitions/p", "additionalProperties": false,
                    "definitions": {"p": {"type": "object"}}}),
                json!({"x": 1}),
                false,
            ),
        ] {
            assert_eq!(lets(&schema, &value), expected, "{schema} {value}");
        }
    }

    #[test]
    fn what_cannot_be_closed_is_said() {
        for schema in [
            json!(true),
            json!({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]}),
            json!({"anyOf": [{"properties": {"a": {}}}], "oneOf": [{"properties": {"b": {}}}]}),
            json!({"properties": {"a": {}}, "if": {"required": ["a"]}, "then": {"properties": {"b": {}}}}),
            // Attack: members named where nobody closes them.
            json!({"properties": {"a": {"$ref": "#/components/a"}}, "components": {"a": {"properties": {"b": {}}}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/a/not"}}, "$defs": {"a": {"not": {"properties": {}}}}}),
            json!({"properties": {"a": {"$ref": "#/items/0"}}, "items": {"0": {"properties": {"b": {}}}}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"$ref": "#/$defs/0"}},
                "$defs": [{"properties": {"b": {}}}]}),
            json!({"properties": {"a": {"$ref": "#a"}}, "not": {"$anchor": "a", "properties": {"b": {}}}}),
            json!({"anyOf": [{"properties": {"a": {}}}, true]}),
        ] {
            let why = closed(&schema.to_string()).expect_err("not closed");
            assert!(why.starts_with("it cannot be closed, since it "), "{schema}: {why}");
        }
    }
}
