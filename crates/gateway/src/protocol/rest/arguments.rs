//! What a request to an operation says, as the arguments of its tool.

use std::borrow::Cow;

use data_encoding::BASE64;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::openapi::parameter::{Form, Parameter, Place, Scalar};
use vidimus_core::resource::openapi::{BODY, BodyKind, Matched, Operation};

use super::escapes::{decode, is_confined};
use crate::protocol::members::quoted;
use crate::protocol::parse;

/// The arguments that a request has, as JSON.
///
/// # Errors
/// `message_invalid` for what the operation does not have, for what is there twice, and for what two servers may read as two things; those of a body that
/// is to be JSON and is none.
pub fn of(matched: &Matched<'_, '_>, parts: &Parts, body: &[u8]) -> Result<String, Refusal> {
    let query = pairs(Place::Query, &matched.operation.parameters, parts.uri.query().unwrap_or_default())?;
    let mut arguments = Vec::new();
    for parameter in &matched.operation.parameters {
        let values = match parameter.place {
            Place::Path => in_path(parameter, matched)?,
            Place::Query => in_query(parameter, &query)?,
            Place::Header => in_header(parameter, parts)?,
            // They are parts of the body.
            Place::Form => None,
        };
        if let Some(values) = values {
            arguments.push(format!("{}:{}", quoted(&parameter.argument), json(parameter, &values)?));
        }
    }
    if let Some(body) = in_body(matched.operation, parts, body)? {
        arguments.push(format!("{}:{body}", quoted(BODY)));
    }
    Ok(format!("{{{}}}", arguments.join(",")))
}

/// The arguments that a message to a method of gRPC is: JSON, as protobuf has it.
///
/// # Errors
/// `message_invalid` for another type, an encoding or a query; those of a body that is no JSON.
pub fn of_message<'b>(parts: &Parts, body: &'b [u8]) -> Result<&'b str, Refusal> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(refused("a method of gRPC has no query".to_owned()));
    }
    if body.is_empty() {
        return Ok("{}");
    }
    check_type(parts, "application/json", true)?;
    in_json(body)
}

/// The texts that are given for one parameter.
type Values<'a> = Vec<Cow<'a, str>>;

fn in_path<'a>(parameter: &Parameter, matched: &Matched<'_, 'a>) -> Result<Option<Values<'a>>, Refusal> {
    let given = matched.given.iter().find(|(name, _)| *name == &*parameter.name);
    let Some((_, written)) = given else { return Ok(None) };
    let values = split(parameter, written, false)?;
    match values.iter().all(|value| is_confined(value)) {
        true => Ok(Some(values)),
        false => Err(invalid(
            parameter,
            "has a slash, an escape within an escape or a control character, which not every server keeps in its place",
        )),
    }
}

/// The pairs of a query, or of a form, each name read.
fn pairs<'q>(
    place: Place,
    parameters: &[Parameter],
    written: &'q str,
) -> Result<Vec<(String, &'q str)>, Refusal> {
    let of = place.as_str();
    let mut pairs = Vec::new();
    for pair in written.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true)
            .ok_or_else(|| refused(format!("a name in the {of} could be read in two ways")))?;
        if !parameters.iter().any(|one| one.place == place && *one.name == *name) {
            let shown: String = name.chars().take(64).collect();
            return Err(refused(format!("{shown:?} is no parameter of this operation's {of}")));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn in_query<'a>(parameter: &Parameter, query: &[(String, &'a str)]) -> Result<Option<Values<'a>>, Refusal> {
    let given: Vec<&'a str> =
        query.iter().filter(|(name, _)| **name == *parameter.name).map(|(_, value)| *value).collect();
    match (given.as_slice(), parameter.form) {
        ([], _) => Ok(None),
        (all, Form::Many { explode: true, .. }) => {
            all.iter().map(|one| read(parameter, one, true)).collect::<Result<_, _>>().map(Some)
        }
        ([one], _) => split(parameter, one, true).map(Some),
        _ => Err(invalid(parameter, "is there twice")),
    }
}

fn in_header<'a>(parameter: &Parameter, parts: &'a Parts) -> Result<Option<Values<'a>>, Refusal> {
    let mut lines = parts.headers.get_all(&*parameter.name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return match parts.headers.contains_key(&*parameter.name) {
            true => Err(invalid(parameter, "is a header field that is there twice")),
            false => Ok(None),
        };
    };
    let text = line
        .to_str()
        .map_err(|_| invalid(parameter, "is a header field with other characters than ASCII has"))?;
    Ok(Some(match parameter.form {
        Form::One(_) => vec![text.into()],
        Form::Many { .. } => text.split(',').map(|one| one.trim().into()).collect(),
    }))
}

/// The texts of one written value: the value itself, or those between its commas.
fn split<'a>(parameter: &Parameter, written: &'a str, plus: bool) -> Result<Values<'a>, Refusal> {
    let Form::Many { .. } = parameter.form else { return Ok(vec![read(parameter, written, plus)?]) };
    let values =
        written.split(',').map(|one| read(parameter, one, plus)).collect::<Result<Values<'a>, _>>()?;
    match values.iter().any(|value| value.contains(',')) {
        true => Err(invalid(
            parameter,
            "has a comma in one of its values, which not every server tells from those between them",
        )),
        false => Ok(values),
    }
}

fn read<'a>(parameter: &Parameter, written: &'a str, plus: bool) -> Result<Cow<'a, str>, Refusal> {
    let text = decode(written, plus);
    text.map(Cow::Owned)
        .ok_or_else(|| invalid(parameter, "has a broken escape, or one of a character that needs none"))
}

/// The values of a parameter as JSON.
fn json(parameter: &Parameter, values: &[Cow<'_, str>]) -> Result<String, Refusal> {
    let (of, is_list) = match parameter.form {
        Form::One(of) => (of, false),
        Form::Many { of, .. } => (of, true),
    };
    let values = values.iter().map(|value| scalar(parameter, of, value)).collect::<Result<Vec<_>, _>>()?;
    Ok(if is_list { format!("[{}]", values.join(",")) } else { values.concat() })
}

/// One text as JSON: what is no number is none, however near it comes.
fn scalar(parameter: &Parameter, of: Scalar, text: &str) -> Result<String, Refusal> {
    let is_number = || {
        text.len() <= 64 && serde_json::from_str::<serde_json::Number>(text).is_ok() && text.trim() == text
    };
    let is_whole = || text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
    match of {
        Scalar::Text => Ok(quoted(text)),
        Scalar::Whole if is_number() && is_whole() => Ok(text.to_owned()),
        Scalar::Whole => Err(invalid(parameter, "is no whole number")),
        Scalar::Number if is_number() => Ok(text.to_owned()),
        Scalar::Number => Err(invalid(parameter, "is no number")),
        Scalar::Truth if matches!(text, "true" | "false") => Ok(text.to_owned()),
        Scalar::Truth => Err(invalid(parameter, "is neither true nor false")),
    }
}

/// The argument that the body is, as JSON.
fn in_body<'b>(
    operation: &Operation,
    parts: &Parts,
    body: &'b [u8],
) -> Result<Option<Cow<'b, str>>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    // Bytes that nobody read must not go on.
    let Some(taken) = &operation.body else { return Err(refused("this operation takes no body".to_owned())) };
    check_type(parts, taken.media.split(';').next().unwrap_or_default(), taken.kind == BodyKind::Json)?;
    let text = || std::str::from_utf8(body).map_err(|_| refused("the body is no text in UTF-8".to_owned()));
    Ok(Some(match &taken.kind {
        BodyKind::Json => in_json(body)?.into(),
        BodyKind::Form(members) => in_form(members, text()?)?.into(),
        BodyKind::Text => quoted(text()?).into(),
        BodyKind::Bytes => quoted(&BASE64.encode(body)).into(),
    }))
}

/// That a body is of a type, in no encoding.
fn check_type(parts: &Parts, media: &str, is_json: bool) -> Result<(), Refusal> {
    let mut kinds = parts.headers.get_all(CONTENT_TYPE).iter().map(|kind| kind.to_str().unwrap_or("?"));
    let kind = kinds.next();
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    // What says nothing of itself is JSON here, and anything else is what it says.
    let is_taken = kind.map_or(is_json, |kind| kind == media || is_json && kind == "application/json");
    // Readers differ in which of two it is.
    match is_taken && kinds.next().is_none() && !parts.headers.contains_key(CONTENT_ENCODING) {
        true => Ok(()),
        false => Err(refused(format!("this operation takes a body of type {media}, in no encoding"))),
    }
}

/// Exactly one JSON value: it is to stand within another.
fn in_json(body: &[u8]) -> Result<&str, Refusal> {
    let value: &RawValue = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not acceptable JSON: {error}");
        parse(body).err().unwrap_or_else(|| Refusal::new(Code::BodyNotJson, message))
    })?;
    Ok(value.get())
}

/// A form as the object that it says.
fn in_form(members: &[Parameter], form: &str) -> Result<String, Refusal> {
    let pairs = pairs(Place::Form, members, form)?;
    let mut object = Vec::new();
    for member in members {
        if let Some(values) = in_query(member, &pairs)? {
            object.push(format!("{}:{}", quoted(&member.name), json(member, &values)?));
        }
    }
    Ok(format!("{{{}}}", object.join(",")))
}

fn invalid(parameter: &Parameter, what: &str) -> Refusal {
    let name: String = parameter.name.chars().take(64).collect();
    refused(format!("{name:?} in the {} {what}", parameter.place.as_str()))
}

fn refused(message: String) -> Refusal {
    const NEXT: &str = "Send the request as the API's OpenAPI document has it: each parameter once, percent-encoded where it has to be, and a body of the type that it has, JSON where there is a choice.";
    Refusal::new(Code::MessageInvalid, message).with_next(NEXT)
}
