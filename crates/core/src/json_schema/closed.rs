//! A schema with no more members than it names (`spec.integrity.arguments: closed`). A validator lets any other pass where the schema does not say that there
//! is none, and then a policy that looks at `/to` does not see `To`, which a lenient server may take for it.

use serde_json::Value;

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
/// What may say more of an object that is closed already.
const MORE: [&str; 4] = ["then", "else", "dependentSchemas", "dependencies"];

/// The schema in which each object that has members named has no others, unless the schema says itself what others are; and the whole has none where it
/// names none. It may let be what the schema does not (a choice of one that was of several), so what is held to it is held to the schema too.
///
/// # Errors
/// Why it cannot be closed, in words that go on from "it cannot be held to: ".
pub fn closed(text: &str) -> Result<String, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    close(&mut schema, true)
        .map_err(|why| format!("it cannot be closed, since {why}: write arguments: schema"))?;
    Ok(schema.to_string())
}

fn close(schema: &mut Value, is_root: bool) -> Result<(), String> {
    let Value::Object(members) = schema else {
        return if is_root { Err("it is no object".to_owned()) } else { Ok(()) };
    };
    if let Some(word) = MORE.into_iter().find(|word| members.contains_key(*word)) {
        return Err(format!("it has {word}"));
    }
    let reference = members.get("$ref").and_then(Value::as_str);
    if reference.is_some_and(|reference| !is_gone_to(reference.trim_start_matches('#'))) {
        return Err("it has a reference to what is no subschema".to_owned());
    }
    let is_named = members.contains_key("properties") || members.contains_key("patternProperties");
    let naming = |word: &str| {
        let all = members.get(word).and_then(Value::as_array).into_iter().flatten();
        all.filter(|one| NAMING.iter().any(|word| one.get(*word).is_some())).count()
    };
    let of_choices = naming("anyOf").min(1) + naming("oneOf").min(1);
    let sources = usize::from(is_named) + usize::from(reference.is_some()) + of_choices + naming("allOf");
    if sources > 1 {
        return Err("it says in several places which members one object has".to_owned());
    }
    for (word, value) in members.iter_mut() {
        match value {
            Value::Object(all) if BY_NAME.contains(&word.as_str()) => {
                for one in all.values_mut() {
                    close(one, false)?;
                }
            }
            Value::Array(all) if HELD.contains(&word.as_str()) => {
                for one in all {
                    close(one, false)?;
                }
            }
            one if HELD.contains(&word.as_str()) => close(one, false)?,
            _ => {}
        }
    }
    let is_said =
        ["additionalProperties", "unevaluatedProperties"].iter().any(|word| members.contains_key(*word));
    if !is_said && (is_named || is_root && sources == 0) {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Ok(())
}

/// Whether a pointer leads to a place that is closed as well.
fn is_gone_to(pointer: &str) -> bool {
    let mut steps = pointer.split('/').skip(1).peekable();
    while let Some(word) = steps.next() {
        if BY_NAME.contains(&word) {
            if steps.next().is_none() {
                return false;
            }
        } else if HELD.contains(&word) {
            steps.next_if(|step| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()));
        } else {
            return false;
        }
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
        ] {
            let why = closed(&schema.to_string()).expect_err("not closed");
            assert!(why.starts_with("it cannot be closed, since it "), "{schema}: {why}");
        }
    }
}
