//! Whether a document has the shape that the CRD's schema states. The same schema answers in a cluster, so both agree.
//!
//! Patterns and CEL rules of the schema are not evaluated here: the checks of the single fields say the same in better
//! words. The table of bad objects (`cases/refused.yaml`) is run against both.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::field::timeout;
use super::problem::{At, Fault, Problems};

/// Reports what does not fit, and makes it fit: unknown fields are removed, missing and misshapen ones replaced by an
/// empty value, so that the remaining fields can still be looked at.
pub(super) fn fit(schema: &JSONSchemaProps, value: &mut Value, at: At<'_>, problems: &mut Problems) {
    if let Some(fault) = misfit(schema, value) {
        problems.report_shape(at, &text(value), fault, &[at.to_string()]);
        *value = blank(schema);
        return;
    }
    match value {
        Value::Object(members) => fit_object(schema, members, at, problems),
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(each)) = &schema.items {
                for (index, item) in items.iter_mut().enumerate() {
                    fit(each, item, at.index(index), problems);
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with the value itself, leaving aside what is inside it.
fn misfit(schema: &JSONSchemaProps, value: &Value) -> Option<Fault> {
    let expected = schema.type_.as_deref().unwrap_or_default();
    if !has_type(expected, value) {
        return Some(match value {
            Value::Number(number) if number.is_u64() && timeout::is_duration(schema) => {
                timeout::without_unit(&number.to_string())
            }
            Value::Null => wrong_type(expected, value),
            _ if expected == "object" => {
                let fix = format!("write a mapping: {}", sketch(schema));
                Fault { fix, ..wrong_type(expected, value) }
            }
            _ => wrong_type(expected, value),
        });
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|allowed| allowed.0 == *value)
    {
        let allowed: Vec<_> = allowed.iter().map(|allowed| written(&allowed.0)).collect();
        return Some(Fault::new(
            "not one of the allowed values",
            format!("write one of: {}", allowed.join(", ")),
        ));
    }
    match value {
        Value::String(text) => size(text.chars().count(), schema.min_length, schema.max_length, "characters"),
        Value::Array(items) => size(items.len(), schema.min_items, schema.max_items, "entries"),
        Value::Object(members) => {
            size(members.len(), schema.min_properties, schema.max_properties, "entries")
        }
        Value::Number(number) => {
            let number = number.as_f64()?;
            let (min, max) = (schema.minimum.unwrap_or(f64::MIN), schema.maximum.unwrap_or(f64::MAX));
            (!(min..=max).contains(&number)).then(|| {
                Fault::new("the number is out of range", format!("write a number from {min} to {max}"))
            })
        }
        _ => None,
    }
}

fn size(found: usize, min: Option<i64>, max: Option<i64>, unit: &str) -> Option<Fault> {
    let found = i64::try_from(found).unwrap_or(i64::MAX);
    match (min, max) {
        (Some(min), _) if found < min && found == 0 => {
            Some(Fault::new("must not be empty", "write a value, or remove the field if it is optional"))
        }
        (Some(min), _) if found < min => {
            Some(Fault::new(format!("has {found} {unit}"), format!("write at least {min} {unit}")))
        }
        (_, Some(max)) if found > max => {
            Some(Fault::new(format!("has {found} {unit}"), format!("keep it to {max} {unit}")))
        }
        _ => None,
    }
}

fn has_type(expected: &str, value: &Value) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

pub(super) fn wrong_type(expected: &str, value: &Value) -> Fault {
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    let (wanted, fix) = match (expected, value) {
        (_, Value::Null) => (words(expected), "write a value, or remove the field if it is optional"),
        ("string", Value::Number(_) | Value::Bool(_)) => ("text", "put it in quotes"),
        ("boolean", _) => (words(expected), "write true or false, without quotes"),
        ("integer", _) => (words(expected), "write a whole number, without quotes"),
        ("array", _) => (words(expected), "write a list: [a, b], or one `- entry` a line"),
        ("object", _) => (words(expected), "write a mapping"),
        _ => (words(expected), "write plain text"),
    };
    Fault::new(format!("expected {wanted}, found {found}"), fix)
}

fn words(expected: &str) -> &'static str {
    match expected {
        "object" => "a mapping",
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "text",
    }
}

fn fit_object(
    schema: &JSONSchemaProps,
    members: &mut Map<String, Value>,
    at: At<'_>,
    problems: &mut Problems,
) {
    let Some(properties) = &schema.properties else {
        if let Some(JSONSchemaPropsOrBool::Schema(each)) = &schema.additional_properties {
            for (key, member) in members {
                fit(each, member, at.key(key), problems);
            }
        }
        return;
    };
    // In an order that does not hang on how the document, or the JSON library, orders its keys.
    let mut unknown: Vec<_> = members.keys().filter(|key| !properties.contains_key(*key)).cloned().collect();
    unknown.sort();
    for key in unknown {
        let is_given = |name: &str| members.contains_key(name);
        report_unknown((properties.keys().map(String::as_str), &is_given), &key, at, problems);
        members.remove(&key);
    }
    for required in schema.required.iter().flatten() {
        let Some(property) = properties.get(required).filter(|_| !members.contains_key(required)) else {
            continue;
        };
        let at = at.key(required);
        problems.report_shape(
            at,
            "",
            Fault::new("the field is missing", format!("add {at}: {}", describe(property))),
            &[at.to_string()],
        );
        members.insert(required.clone(), blank(property));
    }
    for (key, property) in properties {
        if let Some(member) = members.get_mut(key) {
            fit(property, member, at.key(key), problems);
        }
    }
}

/// What a JSON Web Key has that is secret (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The value of an unknown field is never shown: it may be a secret in a place that we do not know. What `is_given` beside it was not meant by it.
pub(super) fn report_unknown<'a>(
    (known, is_given): (impl Iterator<Item = &'a str> + Clone, &dyn Fn(&str) -> bool),
    found: &str,
    at: At<'_>,
    problems: &mut Problems,
) {
    let near = nearest(known.clone().filter(|name| !is_given(name)), found);
    let is_private = PRIVATE.contains(&found) && known.clone().any(|name| name == "kty");
    let reason = if is_private { "unknown field, the private half of a key" } else { "unknown field" };
    let fix = match near {
        // Whoever reads the record has it.
        _ if is_private => {
            "remove it, and have the key replaced; the record has public keys alone".to_owned()
        }
        Some(near) => format!("did you mean {near}?"),
        None => format!("remove it; known here: {}", known.collect::<Vec<_>>().join(", ")),
    };
    // The field that was meant is not missing on top of being misspelt.
    let consequences: Vec<_> = near.iter().map(|near| at.key(near).to_string()).collect();
    problems.report_shape(at.key(found), "", Fault::new(reason, fix), &consequences);
}

/// The known name that was probably meant: the closest, at most a third of its letters away, case aside.
pub fn nearest<'a>(known: impl Iterator<Item = &'a str>, found: &str) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    known
        .map(|name| (distance(&plain(name), &plain(found)), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// Damerau-Levenshtein, restricted to adjacent transpositions. Names are short, so three rows are not worth saving on.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best =
                (cell(&row, j) + usize::from(x != y)).min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(cell(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// The first sentence of the field's description.
fn describe(schema: &JSONSchemaProps) -> String {
    let description = schema.description.as_deref().unwrap_or_default();
    let sentence = description.split_inclusive(['.', ':']).next().unwrap_or_default();
    let sentence = sentence.trim_end_matches(['.', ':']).replace('\n', " ");
    match &schema.enum_ {
        Some(allowed) => {
            let allowed: Vec<_> = allowed.iter().map(|allowed| written(&allowed.0)).collect();
            format!("one of {}", allowed.join(", "))
        }
        None if sentence.is_empty() => "…".to_owned(),
        None => sentence,
    }
}

/// What a value of the shape looks like, by the fields that it must have, or the first that it may.
fn sketch(schema: &JSONSchemaProps) -> String {
    const MOST: usize = 4;
    let field = |name: &str, of: &JSONSchemaProps| format!("{name}: {}", sketch(of));
    match (schema.type_.as_deref(), &schema.properties, &schema.items, &schema.additional_properties) {
        (Some("object"), Some(properties), ..) => {
            let first = || properties.keys().next().into_iter();
            let required = schema.required.as_ref().filter(|required| !required.is_empty());
            let names: Vec<&String> = required.map_or_else(|| first().collect(), |all| all.iter().collect());
            let fields =
                names.into_iter().take(MOST).filter_map(|name| Some(field(name, properties.get(name)?)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        (Some("object"), None, _, Some(JSONSchemaPropsOrBool::Schema(each))) => {
            format!("{{{}}}", field("name", each))
        }
        (Some("object"), ..) => "{field: value}".to_owned(),
        (Some("array"), _, Some(JSONSchemaPropsOrArray::Schema(each)), _) => format!("[{}]", sketch(each)),
        _ => "…".to_owned(),
    }
}

/// The emptiest value that has the shape.
fn blank(schema: &JSONSchemaProps) -> Value {
    if let Some(first) = schema.enum_.as_ref().and_then(|allowed| allowed.first()) {
        return first.0.clone();
    }
    match schema.type_.as_deref() {
        Some("array") => Value::Array(Vec::new()),
        Some("boolean") => Value::Bool(false),
        Some("integer" | "number") => Value::from(0),
        Some("string") => Value::String(String::new()),
        _ => {
            let member = |name: &String| {
                let property = schema.properties.as_ref()?.get(name)?;
                Some((name.clone(), blank(property)))
            };
            Value::Object(schema.required.iter().flatten().filter_map(member).collect())
        }
    }
}

/// As it is to be written: what would be a number without quotes has them.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if text.parse::<f64>().is_ok() => format!("{text:?}"),
        other => text(other),
    }
}

/// A value as a message shows it. What is inside a list or a mapping stays there: it may be a secret in a wrong place.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) | Value::Null => String::new(),
        other => other.to_string(),
    }
}
