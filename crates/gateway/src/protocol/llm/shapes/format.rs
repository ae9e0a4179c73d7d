//! The form that an answer is to have: JSON, or JSON that a schema describes.

use serde_json::{Map, Value};
use vidimus_core::refusal::Refusal;

use super::taken::no_equivalent;

/// What an answer is to be.
#[derive(Debug, PartialEq)]
pub(super) enum Format {
    /// An object of JSON, whatever is in it.
    Json,
    Schema(Described),
}

/// JSON that a schema describes.
#[derive(Debug, PartialEq)]
pub(super) struct Described {
    /// What the caller calls it.
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    /// JSON Schema.
    pub(super) schema: Value,
    /// Whether the answer has to be so, or is only to try; `None` where the caller's API leaves no choice and its schemas are wider than OpenAI's strict ones.
    pub(super) strict: Option<bool>,
}

impl Described {
    /// The schema with name and description in it, for an API that has no other place for them. A title that is there says what it is, and stays.
    ///
    /// # Errors
    /// `no_equivalent` for a description beside another one.
    pub(super) fn annotated(self) -> Result<Value, Refusal> {
        let Self { name, description, mut schema, strict: _ } = self;
        let Value::Object(members) = &mut schema else { return Ok(schema) };
        if let Some(name) = name {
            members.entry("title").or_insert_with(|| name.into());
        }
        if let Some(description) = description.map(Value::String) {
            let said = members.entry("description").or_insert_with(|| description.clone());
            if *said != description {
                return Err(no_equivalent("the format of the answer", "description"));
            }
        }
        Ok(schema)
    }

    /// What it is called where it has to be called something: by its name or its title, where that is a name.
    pub(super) fn called(&self) -> String {
        const MOST: usize = 64;
        let is_name = |name: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            (1..=MOST).contains(&name.len()) && name.bytes().all(is_part)
        };
        let title = self.schema.get("title").and_then(Value::as_str);
        self.name.as_deref().or_else(|| title.filter(is_name)).unwrap_or("answer").to_owned()
    }
}

/// The same schema for who refuses objects that do not say whether they may have further members (Anthropic, Bedrock, OpenAI's strict ones): they may not.
/// Whatever is so by it is so by the schema as it was. Anthropic's own SDKs do the same (`transform_schema`).
pub(super) fn closed(mut schema: Value) -> Value {
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    const OPEN: [&str; 4] = ["additionalProperties", "patternProperties", "unevaluatedProperties", "allOf"];
    let Value::Object(members) = schema else { return };
    let has_properties = members.contains_key("properties");
    if has_properties && !OPEN.iter().any(|name| members.contains_key(*name)) {
        // What stands beside its properties would be closed twice.
        if !["anyOf", "oneOf", "$ref"].iter().any(|name| members.contains_key(*name)) {
            members.insert("additionalProperties".to_owned(), false.into());
        }
    }
    for (name, value) in members.iter_mut() {
        match (&**name, value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => close_each(named),
            ("items", value) => close(value),
            ("anyOf" | "oneOf", Value::Array(any)) if !has_properties => any.iter_mut().for_each(close),
            _ => {}
        }
    }
}

fn close_each(named: &mut Map<String, Value>) {
    named.values_mut().for_each(close);
}
