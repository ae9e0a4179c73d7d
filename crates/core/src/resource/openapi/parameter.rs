//! Parameters of operations: where each stands in a request, and by which text.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::Value;

use super::document::Document;
use super::schema::resolved;
use crate::resource::field::header::why_never;
use crate::resource::problem::Fault;

/// What OpenAPI has ignored among header parameters (section "Parameter Object"): the gateway writes them.
const IGNORED: [&str; 3] = ["accept", "content-type", "authorization"];
/// The longest name of a parameter, in bytes.
const LONGEST: usize = 128;
/// How many schemas, and values of an `enum`, may say what the texts of one parameter stand for: references may branch at each step.
const MOST: usize = 512;
/// What to do about an operation that is not supported.
pub(super) const LEAVE_OUT: &str =
    "leave the operation out: name those that are to be tools in spec.openapi.operations";

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What the tool calls it.
    pub argument: Arc<str>,
    /// What the API calls it; of a header field in lower case.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Place,
    /// Whether a request must have it.
    pub required: bool,
    /// How it is written.
    pub form: Form,
}

/// Where a parameter stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header field of its own.
    Header,
    /// In the form that is the body.
    Form,
}

impl Place {
    /// As a document has it (`in`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Form => "form",
        }
    }
}

/// How a value is written: one text, or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One(Scalar),
    /// A list, by `name=a&name=b` where it is exploded, and else with commas.
    Many {
        /// Of such values.
        of: Scalar,
        /// Each by its own name. Of queries only.
        explode: bool,
    },
}

/// What a text stands for in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A string.
    Text,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// `true` or `false`.
    Truth,
}

/// What becomes of a parameter of a document.
pub(super) enum Read<'d> {
    /// It is one of the tool's.
    Is(Parameter, &'d Value),
    /// It is none of the tool's, which is called without it.
    LeftOut,
}

impl<'d> Read<'d> {
    /// Reads a parameter, references resolved.
    ///
    /// # Errors
    /// What is not supported of it.
    pub(super) fn of(document: &Document<'d>, parameter: &'d Value) -> Result<Self, Fault> {
        let text = |key: &str| parameter.get(key).and_then(Value::as_str);
        let name = text("name").filter(|name| (1..=LONGEST).contains(&name.len())).ok_or_else(|| {
            Fault::new("a parameter has no name, or a very long one", "have its document corrected")
        })?;
        let is_true = |key: &str| parameter.get(key).and_then(Value::as_bool).unwrap_or(false);
        let place = match text("in") {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            Some("header") => Place::Header,
            Some("cookie") if !is_true("required") => return Ok(Self::LeftOut),
            Some("cookie") => return Err(unsupported(name, "is a cookie, which no tool sends")),
            _ => {
                return Err(unsupported(
                    name,
                    "is in no place that OpenAPI has (path, query, header, cookie)",
                ));
            }
        };
        let name = if place == Place::Header {
            match header_name(name, is_true("required"))? {
                Some(name) => name,
                None => return Ok(Self::LeftOut),
            }
        } else {
            name.to_owned()
        };
        if place == Place::Path && !is_true("required") {
            return Err(unsupported(&name, "is in the path and not required: true"));
        }
        if parameter.get("content").is_some() {
            return Err(unsupported(&name, "is written by a media type (content), which is not supported"));
        }
        if is_true("allowReserved") {
            return Err(unsupported(
                &name,
                "is written without escapes (allowReserved), which would lead out of its place",
            ));
        }
        let style = if place == Place::Query { "form" } else { "simple" };
        if text("style").is_some_and(|given| given != style) {
            let reason =
                format!("has a style other than {style}, which is not supported in a {}", place.as_str());
            return Err(unsupported(&name, &reason));
        }
        let schema = parameter.get("schema").ok_or_else(|| unsupported(&name, "has no schema"))?;
        let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(place == Place::Query);
        let form = form(document, schema, explode && place == Place::Query)
            .map_err(|why| unsupported(&name, why))?;
        let required = is_true("required");
        let parameter =
            Parameter { argument: name.as_str().into(), name: name.into(), place, required, form };
        Ok(Self::Is(parameter, schema))
    }
}

pub(super) fn unsupported(name: &str, why: &str) -> Fault {
    let name: String = name.chars().take(64).collect();
    Fault::new(format!("its parameter {name:?} {why}"), LEAVE_OUT)
}

/// The name of a header field in lower case; `None` of one that the operation is called without.
fn header_name(name: &str, required: bool) -> Result<Option<String>, Fault> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(is_token) {
        return Err(unsupported(name, "is not the name of a header field"));
    }
    let name = name.to_ascii_lowercase();
    if IGNORED.contains(&&*name) {
        return Ok(None);
    }
    match why_never(&name) {
        None => Ok(Some(name)),
        Some(_) if !required => Ok(None),
        Some(why) => Err(unsupported(&name, &format!("is a header field that no tool sets: {why}"))),
    }
}

/// How a value of a schema is written.
pub(super) fn form(document: &Document<'_>, schema: &Value, explode: bool) -> Result<Form, &'static str> {
    let left = Cell::new(MOST);
    let kind = kind(document, schema, (0, &left));
    if !document.takes(MOST - left.get()) {
        return Err("is not looked at: those before it have all parts that a document may have");
    }
    match kind? {
        Kind::One(scalar) => Ok(Form::One(scalar)),
        Kind::Many(of) => Ok(Form::Many { of, explode }),
        Kind::Nothing => Err("is always null"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    One(Scalar),
    Many(Scalar),
    /// `null`, which no text stands for.
    Nothing,
}

const OBJECT: &str = "is an object, whose members would be parameters of their own; that is not supported";
const MIXED: &str = "may be of several types whose texts are not told apart";

/// How deep a schema stands, and how many more are looked at.
type Steps<'l> = (usize, &'l Cell<usize>);

fn take(count: usize, left: &Cell<usize>) -> Result<(), &'static str> {
    let rest = left.get().checked_sub(count).ok_or("has a schema of more parts than are looked at (512)")?;
    left.set(rest);
    Ok(())
}

/// What the texts of a schema stand for.
fn kind(document: &Document<'_>, schema: &Value, (depth, left): Steps<'_>) -> Result<Kind, &'static str> {
    if depth > 8 {
        return Err("has a schema whose references do not end");
    }
    take(1, left)?;
    let schema =
        resolved(document, schema).map_err(|_| "has a schema with a reference that leads nowhere")?;
    let several = |schemas: &[Value]| {
        let kinds = schemas
            .iter()
            .map(|one| kind(document, one, (depth + 1, left)))
            .collect::<Result<Vec<_>, _>>()?;
        joined(kinds)
    };
    match schema.get("type") {
        Some(Value::String(one)) => return of_type(document, one, schema, (depth, left)),
        Some(Value::Array(types)) => {
            take(types.len(), left)?;
            let types = types.iter().filter_map(Value::as_str);
            let kinds = types.map(|one| of_type(document, one, schema, (depth, left)));
            let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
            return joined(kinds);
        }
        _ => {}
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(Value::Array(schemas)) = schema.get(choice) {
            return several(schemas);
        }
    }
    if let Some(Value::Array(schemas)) = schema.get("allOf") {
        // The first that says what it is.
        for one in schemas {
            take(1, left)?;
            let one =
                resolved(document, one).map_err(|_| "has a schema with a reference that leads nowhere")?;
            if ["type", "anyOf", "oneOf", "enum", "allOf"].iter().any(|key| one.get(*key).is_some()) {
                return kind(document, one, (depth + 1, left));
            }
        }
    }
    if schema.get("properties").is_some() {
        return Err(OBJECT);
    }
    match (schema.get("enum").and_then(Value::as_array), schema.get("const")) {
        (Some(values), _) => {
            take(values.len(), left)?;
            joined(values.iter().map(of_value).collect::<Result<Vec<_>, _>>()?)
        }
        (None, Some(value)) => of_value(value),
        (None, None) => Ok(Kind::One(Scalar::Text)),
    }
}

fn of_type(
    document: &Document<'_>,
    name: &str,
    schema: &Value,
    (depth, left): Steps<'_>,
) -> Result<Kind, &'static str> {
    Ok(match name {
        "string" => Kind::One(Scalar::Text),
        "integer" => Kind::One(Scalar::Whole),
        "number" => Kind::One(Scalar::Number),
        "boolean" => Kind::One(Scalar::Truth),
        "null" => Kind::Nothing,
        "array" => match schema.get("items").map(|items| kind(document, items, (depth + 1, left))) {
            None => Kind::Many(Scalar::Text),
            Some(Ok(Kind::One(of))) => Kind::Many(of),
            Some(Ok(_)) => return Err("is a list of lists, which is not supported"),
            Some(Err(why)) => return Err(why),
        },
        "object" => return Err(OBJECT),
        _ => return Err("is of a type that JSON Schema does not have"),
    })
}

fn of_value(value: &Value) -> Result<Kind, &'static str> {
    Ok(match value {
        Value::Null => Kind::Nothing,
        Value::Bool(_) => Kind::One(Scalar::Truth),
        Value::Number(number) if number.is_i64() || number.is_u64() => Kind::One(Scalar::Whole),
        Value::Number(_) => Kind::One(Scalar::Number),
        Value::String(_) => Kind::One(Scalar::Text),
        Value::Array(_) => return Err("is a list by its enum, which is not supported"),
        Value::Object(_) => return Err(OBJECT),
    })
}

/// What a text stands for that may be of any of these. Where one of them is a string, all are read as one.
fn joined(kinds: Vec<Kind>) -> Result<Kind, &'static str> {
    use Scalar::{Number, Text, Whole};
    let mut found: Option<Kind> = None;
    for kind in kinds.into_iter().filter(|kind| *kind != Kind::Nothing) {
        found = Some(match (found, kind) {
            (None, kind) => kind,
            (Some(known), kind) if known == kind => known,
            (Some(Kind::One(Text)), Kind::One(_)) | (Some(Kind::One(_)), Kind::One(Text)) => Kind::One(Text),
            (Some(Kind::One(Whole | Number)), Kind::One(Whole | Number)) => Kind::One(Number),
            _ => return Err(MIXED),
        });
    }
    Ok(found.unwrap_or(Kind::Nothing))
}
