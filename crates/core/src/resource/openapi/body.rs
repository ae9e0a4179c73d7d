//! The body of an operation: in which of its media types a tool sends it, and what the argument is of which it is made.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::document::Document;
use super::parameter::{self, LEAVE_OUT, Parameter, Place, unsupported};
use super::schema::resolved;
use super::{Body, BodyKind};
use crate::resource::problem::Fault;

/// How a form is sent (WHATWG URL section 5).
const FORM: &str = "application/x-www-form-urlencoded";
/// How many members a form may have.
const MOST_MEMBERS: usize = 128;
/// Keywords by which a form may have members beside those that it lists.
const CHOICES: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// The body that an operation takes, with the schema of its argument: JSON where it may be that, else a form, text, or bytes.
///
/// # Errors
/// A body that is none of these, also where it may be left out: it is not dropped without a word.
pub(super) fn of<'d>(
    document: &Document<'d>,
    operation: &'d Value,
) -> Result<Option<(Body, Cow<'d, Value>)>, Fault> {
    let Some(body) = operation.get("requestBody") else { return Ok(None) };
    let body = document.resolved(body)?;
    let required = body.get("required").and_then(Value::as_bool).unwrap_or(false);
    let content = body.get("content").and_then(Value::as_object);
    let kinds = || content.into_iter().flatten().map(|(kind, media)| (without_parameters(kind), media));
    if kinds().next().is_none() && !required {
        return Ok(None);
    }
    let ends_json = |kind: &str| kind.ends_with("+json") && is_type(kind);
    let json = kinds()
        .find(|(kind, _)| kind == "application/json")
        .or_else(|| kinds().find(|(kind, _)| ends_json(kind)))
        .or_else(|| kinds().find(|(kind, _)| kind == "*/*"));
    if let Some((kind, media)) = json {
        let media_type = if kind == "*/*" { "application/json".into() } else { kind.into() };
        let schema = media.get("schema").map_or_else(|| Cow::Owned(json!({})), Cow::Borrowed);
        return Ok(Some((Body { required, media: media_type, kind: BodyKind::Json }, schema)));
    }
    if let Some((_, media)) = kinds().find(|(kind, _)| kind == FORM) {
        let (members, schema) = form(document, media)?;
        let body = Body { required, media: FORM.into(), kind: BodyKind::Form(members) };
        return Ok(Some((body, Cow::Borrowed(schema))));
    }
    if let Some((kind, media)) = kinds().find(|(kind, _)| is_text(kind)) {
        let charset = if kind.starts_with("text/") { "; charset=utf-8" } else { "" };
        let body = Body { required, media: format!("{kind}{charset}").into(), kind: BodyKind::Text };
        return Ok(Some((body, text(document, media))));
    }
    if let Some((kind, _)) = kinds().find(|(kind, _)| is_type(kind) && !kind.starts_with("multipart/")) {
        let what = format!("The body: bytes of type {kind}, in base64.");
        let schema = json!({"type": "string", "contentEncoding": "base64", "description": what});
        return Ok(Some((Body { required, media: kind.into(), kind: BodyKind::Bytes }, Cow::Owned(schema))));
    }
    let reason = match kinds().next() {
        Some((kind, _)) => {
            format!(
                "its body is of type {:?}, which no tool sends",
                kind.chars().take(64).collect::<String>()
            )
        }
        None => "it must have a body, and nothing says of which type".to_owned(),
    };
    Err(Fault::new(reason, LEAVE_OUT))
}

/// A media type, in lower case.
fn without_parameters(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether it is one media type, and no range of them.
fn is_type(kind: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
    };
    kind.split_once('/').is_some_and(|(of, subtype)| is_token(of) && is_token(subtype))
}

/// Whether what is sent by it can be read as text, which is in UTF-8.
fn is_text(kind: &str) -> bool {
    is_type(kind) && (kind.starts_with("text/") || kind == "application/xml" || kind.ends_with("+xml"))
}

/// The schema of a text: what the document says of it, where that is of a text. Of XML it may be of what the text stands for, to which no text is held.
fn text<'d>(document: &Document<'d>, media: &'d Value) -> Cow<'d, Value> {
    let said = media.get("schema").filter(|schema| {
        let schema = resolved(document, schema);
        schema.is_ok_and(|schema| schema.get("type").and_then(Value::as_str) == Some("string"))
    });
    said.map_or_else(|| Cow::Owned(json!({"type": "string"})), Cow::Borrowed)
}

/// The members of a form, each of which is written as a parameter in the query is, and its schema.
fn form<'d>(document: &Document<'d>, media: &'d Value) -> Result<(Vec<Parameter>, &'d Value), Fault> {
    let unlisted = |why: &str| Fault::new(format!("its body is a form whose schema {why}"), LEAVE_OUT);
    let schema = media.get("schema").ok_or_else(|| unlisted("is missing"))?;
    let object = resolved(document, schema).map_err(|fault| unlisted(&fault.reason))?;
    if CHOICES.iter().any(|key| object.get(*key).is_some()) {
        return Err(unlisted("has parts (allOf) or choices (anyOf, oneOf), which are not supported"));
    }
    let members = object.get("properties").and_then(Value::as_object);
    let members = members.ok_or_else(|| unlisted("does not list its members (properties)"))?;
    if members.len() > MOST_MEMBERS {
        return Err(unlisted(&format!("has more than {MOST_MEMBERS} members")));
    }
    let listed = members.iter().map(|(name, of)| {
        let encoding = media.get("encoding").and_then(|encoding| encoding.get(name));
        member(document, (name, of), encoding)
    });
    Ok((listed.collect::<Result<_, _>>()?, schema))
}

/// One member of a form. Whether there has to be one, the schema says.
fn member(
    document: &Document<'_>,
    (name, schema): (&str, &Value),
    encoding: Option<&Value>,
) -> Result<Parameter, Fault> {
    let said = |key: &str| encoding.and_then(|encoding| encoding.get(key));
    if said("contentType").is_some() || said("allowReserved") == Some(&Value::Bool(true)) {
        return Err(unsupported(
            name,
            "is written otherwise than forms are (encoding), which is not supported",
        ));
    }
    if said("style").is_some_and(|style| style != "form") {
        return Err(unsupported(name, "has a style other than form, which is not supported in a form"));
    }
    let explode = said("explode").and_then(Value::as_bool).unwrap_or(true);
    let form = parameter::form(document, schema, explode).map_err(|why| unsupported(name, why))?;
    Ok(Parameter { argument: name.into(), name: name.into(), place: Place::Form, required: false, form })
}
