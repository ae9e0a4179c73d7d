//! Schemas of an OpenAPI document as the JSON Schema (2020-12) of a tool's arguments.
//!
//! What is written for people or for code generators is left out. A reference leads to a schema of the same document and to nothing else; those stay
//! references, so that one which leads back to itself is no larger than it is written. What only answers have (`readOnly`) no request has to have.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::document::Document;
use super::parameter::LEAVE_OUT;
use crate::resource::problem::Fault;

/// Where the schemas are to which references lead.
const COMPONENTS: &str = "/components/schemas/";
/// How deep schemas may be in one another, and how many one tool may have.
const DEEPEST: usize = 48;
const MOST: usize = 10_000;
/// How deep parts of a schema (`allOf`) are looked at for members that only answers have.
const DEEPEST_PARTS: usize = 4;

/// Keywords whose value is a schema.
const SCHEMA: [&str; 11] = [
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is schemas by names.
const NAMED: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];
/// Keywords that stay as they are.
const PLAIN: [&str; 26] = [
    "const",
    "contentEncoding",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "title",
    "type",
    "uniqueItems",
];
/// By these a reference would lead elsewhere than it says.
const BASES: [&str; 6] =
    ["$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef"];

/// What is wrong within an operation.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) value: String,
    pub(super) fault: Fault,
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self { value: String::new(), fault }
    }
}

/// Where in a schema: a pointer.
#[derive(Clone, Copy)]
struct Within<'a> {
    before: Option<&'a Within<'a>>,
    step: &'a str,
    /// The schema of which this one is a part (`allOf`): of one object both speak.
    whole: Option<&'a Value>,
}

impl<'a> Within<'a> {
    const fn begin(step: &'a str) -> Self {
        Self { before: None, step, whole: None }
    }

    fn wrong(&self, what: &str, value: &str) -> Wrong {
        Wrong {
            value: value.to_owned(),
            fault: Fault::new(format!("its schema {what} (at {self})"), LEAVE_OUT),
        }
    }
}

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.before {
            Some(before) => write!(f, "{before}/{}", self.step.chars().take(64).collect::<String>()),
            None => f.write_str(self.step),
        }
    }
}

/// The schema that a reference leads to, or the schema itself.
///
/// # Errors
/// A reference that leads out of the document, to nothing, or in a circle.
pub(super) fn resolved<'v, 'd: 'v>(document: &Document<'d>, schema: &'v Value) -> Result<&'v Value, Fault> {
    let mut schema = schema;
    for _ in 0..8 {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return Ok(schema) };
        let found = document.at(reference);
        schema = found.map_err(|why| Fault::new(format!("has a reference that {why}"), LEAVE_OUT))?.1;
    }
    Err(Fault::new("has references that do not end", LEAVE_OUT))
}

/// Whether a member of objects of a schema is one that only answers have (OpenAPI 3.0.4 section 4.7.24.2, 3.1.1 section 4.8.24.4).
fn is_read_only(document: &Document<'_>, schema: &Value, name: &str, depth: usize) -> bool {
    let Ok(schema) = resolved(document, schema) else { return false };
    if depth > DEEPEST_PARTS || !document.takes(1 + parts(schema).len()) {
        return false;
    }
    let says = |member: &Value| member.get("readOnly") == Some(&Value::Bool(true));
    let own = schema.get("properties").and_then(|members| members.get(name)).is_some_and(|member| {
        let meant = resolved(document, member).unwrap_or(member);
        let of_part = |part: &Value| resolved(document, part).is_ok_and(says);
        // Of 3.0 nothing stands beside a reference, so it is put into a list of one.
        says(member) || says(meant) || document.takes(parts(meant).len()) && parts(meant).iter().any(of_part)
    });
    own || parts(schema).iter().any(|part| is_read_only(document, part, name, depth + 1))
}

/// The schemas that all are to be true of what a schema is.
fn parts(schema: &Value) -> &[Value] {
    schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The schemas of one tool.
pub(super) struct Schemas<'a, 'd> {
    document: &'a Document<'d>,
    /// Those that references lead to, by their names here: the pointer to each, and `None` until it is copied.
    referred: BTreeMap<String, (String, Option<Value>)>,
    /// The names, by the pointers.
    names: BTreeMap<String, String>,
    /// What is written for people is in them too.
    has_words: bool,
    count: usize,
}

impl<'a, 'd> Schemas<'a, 'd> {
    pub(super) fn of(document: &'a Document<'d>, has_words: bool) -> Self {
        Self { document, referred: BTreeMap::new(), names: BTreeMap::new(), has_words, count: 0 }
    }

    /// A schema as the tool has it.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn copied(&mut self, schema: &Value, named: &str) -> Result<Value, Wrong> {
        self.copy(schema, Within::begin(named), 0)
    }

    /// All that references lead to, by their names.
    ///
    /// # Errors
    /// As [`Schemas::copied`].
    pub(super) fn finish(mut self) -> Result<Map<String, Value>, Wrong> {
        loop {
            let next = self.referred.iter().find(|(_, (_, copied))| copied.is_none());
            let Some((name, (pointer, _))) = next else { break };
            let (name, at) = (name.clone(), format!("#{pointer}"));
            let schema = self.document.at_pointer(pointer).ok().cloned().unwrap_or_default();
            let copied = self.copy(&schema, Within::begin(&at), 0)?;
            if let Some((_, done)) = self.referred.get_mut(&name) {
                *done = Some(copied);
            }
        }
        Ok(self.referred.into_iter().filter_map(|(name, (_, copied))| Some((name, copied?))).collect())
    }

    fn copy(&mut self, schema: &Value, at: Within<'_>, depth: usize) -> Result<Value, Wrong> {
        self.count += 1;
        if depth > DEEPEST || self.count > MOST {
            return Err(at.wrong(&format!("is deeper than {DEEPEST}, or has more than {MOST} parts"), ""));
        }
        if !self.document.takes(1) {
            return Err(
                at.wrong("is not looked at: those before it have all parts that a document may have", "")
            );
        }
        let members = match schema {
            Value::Bool(true) => return Ok(json!({})),
            Value::Bool(false) => return Ok(json!({"not": {}})),
            Value::Object(members) => members,
            _ => return Err(at.wrong("is none", "")),
        };
        if let Some(base) = BASES.iter().find(|base| members.contains_key(**base)) {
            return Err(at.wrong("has a keyword by which references would lead elsewhere", base));
        }
        let mut copied = Map::new();
        if let Some(reference) = members.get("$ref") {
            copied.insert("$ref".to_owned(), self.reference(reference, at)?);
            if self.document.is_old {
                // Of 3.0 what stands beside a reference is ignored.
                return Ok(Value::Object(copied));
            }
        }
        for (key, value) in members {
            let whole = (key == "allOf").then_some(at.whole.unwrap_or(schema));
            let within = Within { before: Some(&at), step: key, whole };
            let made = match &**key {
                "description" | "title" if !self.has_words => None,
                "required" => Some(self.required(value, at.whole.unwrap_or(schema))),
                key if PLAIN.contains(&key) => Some(value.clone()),
                key if SCHEMA.contains(&key) => Some(self.copy(value, within, depth + 1)?),
                key if LIST.contains(&key) => Some(self.list(value, within, depth)?),
                key if NAMED.contains(&key) => Some(self.named(value, within, depth)?),
                _ => None,
            };
            copied.extend(made.map(|made| (key.clone(), made)));
        }
        check_type(&copied, at)?;
        Ok(if self.document.is_old { of_3_0(copied, members) } else { Value::Object(copied) })
    }

    fn reference(&mut self, reference: &Value, at: Within<'_>) -> Result<Value, Wrong> {
        let text = reference.as_str().ok_or_else(|| at.wrong("has a reference that is no text", ""))?;
        let found = self.document.at(text);
        let (pointer, _) = found.map_err(|why| at.wrong(&format!("has a reference that {why}"), text))?;
        let name = match self.names.get(&pointer) {
            Some(known) => known.clone(),
            None => self.named_for(pointer),
        };
        Ok(Value::from(format!("#/$defs/{name}")))
    }

    /// The name of a schema here: a component's own, and of another the way to it, in characters that a reference has as they stand.
    fn named_for(&mut self, pointer: String) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let component = pointer.strip_prefix(COMPONENTS).filter(|name| name.chars().all(plain));
        let mut name = match component {
            Some(name) => name.to_owned(),
            // No component has a colon.
            None => pointer.chars().map(|c| if plain(c) { c } else { ':' }).collect(),
        };
        while self.referred.contains_key(&name) {
            name.push(':');
        }
        self.referred.insert(name.clone(), (pointer.clone(), None));
        self.names.insert(pointer, name.clone());
        name
    }

    /// The members that a request has to have.
    fn required(&self, names: &Value, whole: &Value) -> Value {
        let Some(names) = names.as_array() else { return names.clone() };
        let is_asked =
            |name: &&Value| !name.as_str().is_some_and(|name| is_read_only(self.document, whole, name, 0));
        names.iter().filter(is_asked).cloned().collect()
    }

    fn list(&mut self, value: &Value, at: Within<'_>, depth: usize) -> Result<Value, Wrong> {
        let Value::Array(schemas) = value else {
            return Err(at.wrong("has a list of schemas that is none", ""));
        };
        schemas
            .iter()
            .map(|one| self.copy(one, at, depth + 1))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    }

    fn named(&mut self, value: &Value, at: Within<'_>, depth: usize) -> Result<Value, Wrong> {
        let Value::Object(schemas) = value else {
            return Err(at.wrong("has schemas by names that are none", ""));
        };
        let mut copied = Map::new();
        for (name, schema) in schemas {
            let within = Within { before: Some(&at), step: name, whole: None };
            copied.insert(name.clone(), self.copy(schema, within, depth + 1)?);
        }
        Ok(Value::Object(copied))
    }
}

fn check_type(schema: &Map<String, Value>, at: Within<'_>) -> Result<(), Wrong> {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let is_one = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    match schema.get("type") {
        None => Ok(()),
        Some(Value::Array(types)) if !types.is_empty() && types.iter().all(is_one) => Ok(()),
        Some(one) if is_one(one) => Ok(()),
        Some(other) => {
            Err(at.wrong("is of a type that JSON Schema does not have", other.as_str().unwrap_or_default()))
        }
    }
}

/// What 3.0 says by keywords of its own.
fn of_3_0(mut schema: Map<String, Value>, said: &Map<String, Value>) -> Value {
    for (exclusive, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(Value::Bool(is_exclusive)) = said.get(exclusive) else { continue };
        schema.remove(exclusive);
        let value = if *is_exclusive { schema.remove(limit) } else { None };
        schema.extend(value.map(|value| (exclusive.to_owned(), value)));
    }
    if said.get("nullable") != Some(&Value::Bool(true)) {
        return Value::Object(schema);
    }
    let is_plain =
        ["$ref", "allOf", "anyOf", "enum", "not", "oneOf"].iter().all(|key| !schema.contains_key(*key));
    match schema.get("type").and_then(Value::as_str).filter(|_| is_plain).map(str::to_owned) {
        Some(of) => {
            schema.insert("type".to_owned(), json!([of, "null"]));
            Value::Object(schema)
        }
        None => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}
