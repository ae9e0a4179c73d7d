//! Schemas of arguments, which Gemini writes in words of its own: those of OpenAPI 3.0, with types in capitals.

use serde_json::{Map, Value, json};
use vidimus_core::refusal::Refusal;

use super::super::taken::{Taken, invalid, no_equivalent};

/// How deep a schema may be.
const DEPTH: usize = 32;

/// Members that JSON Schema has by the same name and in the same sense.
const SAME: [&str; 14] = [
    "title",
    "description",
    "format",
    "default",
    "enum",
    "example",
    "pattern",
    "minimum",
    "maximum",
    "required",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
];

/// The same as JSON Schema.
///
/// # Errors
/// `no_equivalent` for a member that is not known, and for a schema that is too deep.
pub(super) fn json_schema(schema: Value) -> Result<Value, Refusal> {
    at(schema, 0)
}

fn at(schema: Value, depth: usize) -> Result<Value, Refusal> {
    if depth > DEPTH {
        return Err(no_equivalent("a schema", "that is so deep"));
    }
    let mut schema = Taken::of(schema, "a schema")?;
    let mut out = Map::new();
    let nullable = schema.flag("nullable")?.unwrap_or(false);
    if let Some(kind) = schema.text("type")?.filter(|kind| kind != "TYPE_UNSPECIFIED") {
        let kind = kind.to_ascii_lowercase();
        let kind = if nullable { json!([kind, "null"]) } else { kind.into() };
        out.insert("type".to_owned(), kind);
    } else if nullable {
        return Err(no_equivalent("a schema", "nullable"));
    }
    for name in SAME {
        if let Some(value) = schema.take(name) {
            out.insert(name.to_owned(), value);
        }
    }
    // In which order an object has its members says nothing of it.
    schema.pass_over("propertyOrdering");
    if let Some(items) = schema.take("items") {
        out.insert("items".to_owned(), at(items, depth + 1)?);
    }
    let any = schema.list("anyOf")?;
    if !any.is_empty() {
        let any = any.into_iter().map(|one| at(one, depth + 1)).collect::<Result<Vec<Value>, Refusal>>()?;
        out.insert("anyOf".to_owned(), any.into());
    }
    if let Some(properties) = schema.take("properties") {
        let Value::Object(properties) = properties else {
            return Err(invalid("properties", "must be an object"));
        };
        let mut read = Map::new();
        for (name, property) in properties {
            read.insert(name, at(property, depth + 1)?);
        }
        out.insert("properties".to_owned(), read.into());
    }
    schema.done()?;
    Ok(Value::Object(out))
}
