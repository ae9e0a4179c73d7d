//! What a schema says by its keywords. A validator passes over a name that it does not know, so that a slip (`typ`) holds nothing, and nobody is told.

use serde_json::{Map, Value};

use crate::resource::nearest;

/// What has no subschema in it.
const PLAIN: &[&str] = &[
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
];
/// What has a subschema, or a list of them.
const SCHEMAS: &[&str] = &[
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "prefixItems",
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "$ref",
];
/// What has a subschema by each name.
const NAMED: &[&str] = &["properties", "patternProperties", "dependentSchemas", "dependencies"];
/// What holds nothing by itself, and has a subschema by each name.
const KEPT: &[&str] = &["$defs", "definitions"];
/// What is said to people, or to who reads the schema.
const SAID: &[&str] = &[
    "$schema",
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "format",
    "contentEncoding",
];
/// The same, of what a text has in it.
const CONTENT: &[&str] = &["contentMediaType", "contentSchema"];

/// That each keyword of a schema is one, and that it holds anything at all. A name that begins with `x-` is its author's own.
///
/// # Errors
/// What is the matter, and what to do.
pub fn check(schema: &Map<String, Value>) -> Result<(), (String, String)> {
    known(schema, "")?;
    let holds = |name: &String| {
        let holding = [PLAIN, SCHEMAS, NAMED];
        holding.iter().any(|names| names.contains(&name.as_str()))
    };
    if schema.keys().any(holds) {
        return Ok(());
    }
    let fix = "say what may be said, as in schema: {type: object, properties: {amount: {maximum: 100}}}";
    Err((
        "it lets everything be, so that its guard lifts each forbid that waits for it".to_owned(),
        fix.to_owned(),
    ))
}

fn known(schema: &Map<String, Value>, at: &str) -> Result<(), (String, String)> {
    for (name, value) in schema {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (name.as_str(), value) {
            (word, Value::Object(one)) if SCHEMAS.contains(&word) => known(one, &at)?,
            (word, Value::Array(all)) if SCHEMAS.contains(&word) => {
                for (index, one) in all.iter().enumerate() {
                    of(one, &format!("{at}/{index}"))?;
                }
            }
            (word, Value::Object(all)) if NAMED.contains(&word) || KEPT.contains(&word) => {
                for (name, one) in all {
                    of(one, &format!("{at}/{name}"))?;
                }
            }
            (word, _) if is_word(word) => {}
            (word, _) => {
                let near = nearest(words(), word).map(|near| format!("did you mean {near}? "));
                let fix = format!(
                    "{}write keywords of JSON Schema; a name that begins with x- is yours",
                    near.unwrap_or_default()
                );
                let at: String = at.chars().take(128).collect();
                return Err((format!("{at} is no keyword, so nothing is held to it"), fix));
            }
        }
    }
    Ok(())
}

/// The same of what may be `true` or `false`, or a list of names (`dependencies`).
fn of(value: &Value, at: &str) -> Result<(), (String, String)> {
    match value {
        Value::Object(schema) => known(schema, at),
        _ => Ok(()),
    }
}

fn words() -> impl Iterator<Item = &'static str> {
    [PLAIN, SCHEMAS, NAMED, KEPT, SAID, CONTENT].into_iter().flatten().copied()
}

fn is_word(name: &str) -> bool {
    // What is not followed is refused where the schema is compiled, with the reason.
    name.starts_with("x-")
        || ["$dynamicRef", "$recursiveRef"].contains(&name)
        || words().any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_keyword_that_is_none_is_told_wherever_it_stands() {
        for (schema, said) in [
            (json!({"typ": "object"}), "/typ is no keyword"),
            (json!({"type": "object", "propertys": {}}), "/propertys is no keyword"),
            (json!({"properties": {"a": {"maximun": 5}}}), "/properties/a/maximun is no keyword"),
            (json!({"items": {"minium": 5}}), "/items/minium is no keyword"),
            (json!({"anyOf": [{"type": "null"}, {"typ": "object"}]}), "/anyOf/1/typ is no keyword"),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"nullable": true}}}), "/$defs/a/nullable"),
            (json!({}), "it lets everything be"),
            (json!({"description": "nothing", "$defs": {"a": {"type": "null"}}}), "it lets everything be"),
        ] {
            let (reason, fix) = check(schema.as_object().unwrap()).expect_err(said);
            assert!(reason.contains(said) && !fix.is_empty(), "{schema}: {reason}");
        }
        let (_, fix) = check(json!({"typ": "object"}).as_object().unwrap()).expect_err("a slip");
        assert!(fix.starts_with("did you mean type?"), "{fix}");
    }

    #[test]
    fn what_is_no_place_of_a_keyword_is_not_taken_for_one() {
        for schema in [
            json!({"properties": {"typ": {"type": "string"}, "a": true}, "x-owner": "payments"}),
            json!({"enum": [{"typ": 1}], "default": {"typ": 1}, "examples": [{"typ": 1}]}),
            json!({"patternProperties": {"^a/b": {"const": {"typ": 1}}}, "dependencies": {"a": ["b"]}}),
            json!({"$defs": {"typ": {"type": "object"}}, "$ref": "#/$defs/typ"}),
        ] {
            assert_eq!(check(schema.as_object().unwrap()), Ok(()), "{schema}");
        }
    }
}
