//! The arguments of a tool as the request of its operation. What it is made of is the document's and the arguments: no argument leads out of the place
//! that its parameter has, and the path is read back, so that it is no other operation's.

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::openapi::parameter::{Form, Parameter, Place};
use vidimus_core::resource::openapi::path::Segment;
use vidimus_core::resource::openapi::{BODY, BodyKind, Operation};
use vidimus_core::resource::{Api, Endpoint};

use super::super::address;
use crate::protocol::members::{Members, text};
use crate::protocol::rest::escapes::{encode, is_confined};

/// The media types that are asked for.
const ACCEPTED: &str = "application/json, text/plain;q=0.5, */*;q=0.1";
/// The longest address of a request, in bytes.
const LONGEST: usize = 16 * 1024;

/// A request, ready to be sent.
pub(super) struct Made {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// That the arguments in a message make a request of an operation.
///
/// # Errors
/// `arguments_invalid`, with the parameter for which they do not.
pub(crate) fn makes_request(endpoint: &Endpoint, tool: &str, message: &[u8]) -> Result<(), Refusal> {
    let Some((api, operation)) = endpoint.openapi.as_ref().and_then(|api| Some((api, api.tools.get(tool)?)))
    else {
        return Ok(());
    };
    let unread = || Refusal::new(Code::Internal, "the arguments of the call were not read");
    let message = std::str::from_utf8(message).map_err(|_| unread())?;
    let message = Members::unique(message).map_err(|error| unread().with_detail(error))?;
    let params = message.get("params").map_or("{}", RawValue::get);
    let params = Members::unique(params).map_err(|error| unread().with_detail(error))?;
    let arguments = params.get("arguments").map_or("{}", RawValue::get);
    of((endpoint, api), (tool, operation), arguments, HeaderMap::new()).map(|_| ())
}

/// The request of a call. `headers` are those of its message, with the credential of the hop.
///
/// # Errors
/// `arguments_invalid`.
pub(super) fn of(
    (endpoint, api): (&Endpoint, &Api),
    (tool, operation): (&str, &Operation),
    arguments: &str,
    mut headers: HeaderMap,
) -> Result<Made, Refusal> {
    // Nothing is what every server takes `null` for here.
    let arguments = if arguments == "null" { "{}" } else { arguments };
    let given =
        Members::unique(arguments).map_err(|_| invalid("they are no object with each member once"))?;
    let is_known = |name: &str| {
        operation.parameters.iter().any(|one| *one.argument == *name)
            || operation.body.is_some() && name == BODY
    };
    if given.0.iter().any(|(name, _)| !is_known(name)) {
        return Err(invalid("the operation does not have all of them"));
    }
    let path = path_of(operation, &given)?;
    let query = with_key(query_of(operation, &given)?, endpoint, &mut headers)?;
    let found = api.find(operation.verb.as_str(), &path);
    if !found.is_ok_and(|found| **found.tool == *tool) {
        return Err(invalid("with them the path is another operation's, or none's"));
    }
    let below = if query.is_empty() { path } else { format!("{path}?{query}") };
    let uri = address(&endpoint.url, &below);
    if uri.len() > LONGEST {
        return Err(invalid(&format!("the address of the request would be longer than {LONGEST} bytes")));
    }
    let uri = uri.parse::<Uri>().map_err(|error| invalid("they make no address").with_detail(error))?;
    let method = Method::from_bytes(operation.verb.as_str().as_bytes());
    let method =
        method.map_err(|error| Refusal::new(Code::Internal, "no method of HTTP").with_detail(error))?;
    let body = body_of(operation, &given)?;
    let headers = headers_of((endpoint, operation), &given, headers, body.is_some())?;
    Ok(Made { method, uri, headers, body: body.unwrap_or_default() })
}

/// The texts of one parameter; `None` where it is not given.
fn values(parameter: &Parameter, given: &Members<'_>) -> Result<Option<Vec<String>>, Refusal> {
    let value = given.get(&parameter.argument).map(RawValue::get).filter(|value| *value != "null");
    let Some(value) = value else {
        return match parameter.required {
            true => Err(of_parameter(parameter, "is missing")),
            false => Ok(None),
        };
    };
    let not_so = |_| of_parameter(parameter, "is not of its type");
    let values: Vec<&RawValue> = match parameter.form {
        Form::One(_) => vec![serde_json::from_str(value).map_err(not_so)?],
        Form::Many { .. } => serde_json::from_str(value).map_err(not_so)?,
    };
    let scalar = |value: &RawValue| match value.get().as_bytes().first() {
        Some(b'"') => text(value),
        Some(b'[' | b'{' | b'n') | None => None,
        Some(_) => Some(value.get().to_owned()),
    };
    let texts: Option<Vec<String>> = values.into_iter().map(scalar).collect();
    texts.map(Some).ok_or_else(|| of_parameter(parameter, "is not one text or number, or not a list of such"))
}

/// The values of a parameter that stand in one text, with commas between them.
fn joined(parameter: &Parameter, values: &[String], escaped: bool) -> Result<String, Refusal> {
    if matches!(parameter.form, Form::Many { .. }) && values.iter().any(|value| value.contains(',')) {
        return Err(of_parameter(
            parameter,
            "has a comma in one of its values, which not every server tells from those between them",
        ));
    }
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match escaped {
            true => encode(value, &mut out),
            false => out.push_str(value),
        }
    }
    Ok(out)
}

fn path_of(operation: &Operation, given: &Members<'_>) -> Result<String, Refusal> {
    let mut path = String::new();
    for segment in operation.path.segments() {
        path.push('/');
        match segment {
            Segment::Word(word) => path.push_str(word),
            Segment::Parameter { before, name, behind } => {
                let of_path = |one: &&Parameter| one.place == Place::Path && one.name == *name;
                let parameter = operation.parameters.iter().find(of_path);
                let parameter = parameter.ok_or_else(|| invalid("a parameter of its path is not known"))?;
                let texts = values(parameter, given)?.unwrap_or_default();
                let part = [&**before, &*joined(parameter, &texts, true)?, &**behind].concat();
                let stays = !texts.is_empty() && texts.iter().all(|text| is_confined(text));
                if !stays || matches!(&*part, "." | "..") {
                    return Err(of_parameter(
                        parameter,
                        "would not stay where it stands in the path: it is nothing, . or .., or has a slash, an escape or a control character",
                    ));
                }
                path.push_str(&part);
            }
        }
    }
    Ok(path)
}

fn query_of(operation: &Operation, given: &Members<'_>) -> Result<String, Refusal> {
    pairs_of(operation.parameters.iter().filter(|one| one.place == Place::Query), given)
}

/// The query with the key, of an API whose record has it there. It comes as every key does, in the field in which no caller's own credential goes on.
fn with_key(query: String, endpoint: &Endpoint, headers: &mut HeaderMap) -> Result<String, Refusal> {
    let Some(name) = endpoint.key.as_ref().and_then(|key| key.query.as_deref()) else { return Ok(query) };
    let Some(key) = headers.remove(AUTHORIZATION) else { return Ok(query) };
    let key = key.to_str().map_err(|_| {
        let message = "the key that the gateway holds for the API is no text that a query has";
        Refusal::new(Code::CredentialUnavailable, message)
    })?;
    let pair = format!("{}={}", encoded(name), encoded(key));
    Ok(if query.is_empty() { pair } else { format!("{query}&{pair}") })
}

/// What parameters say as pairs with names, in a query or in a form.
fn pairs_of<'p>(
    parameters: impl Iterator<Item = &'p Parameter>,
    given: &Members<'_>,
) -> Result<String, Refusal> {
    let mut pairs = Vec::new();
    for parameter in parameters {
        let Some(texts) = values(parameter, given)? else { continue };
        let texts = match parameter.form {
            Form::Many { explode: true, .. } => texts.iter().map(|text| encoded(text)).collect(),
            Form::Many { .. } if texts.is_empty() => Vec::new(),
            _ => vec![joined(parameter, &texts, true)?],
        };
        let name = encoded(&parameter.name);
        pairs.extend(texts.into_iter().map(|text| format!("{name}={text}")));
    }
    Ok(pairs.join("&"))
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(text, &mut out);
    out
}

/// The body; `None` where there is none, which is something else than an empty one.
fn body_of(operation: &Operation, given: &Members<'_>) -> Result<Option<Bytes>, Refusal> {
    let (body, value) = match (&operation.body, given.get(BODY)) {
        (Some(body), Some(value)) => (body, value),
        (Some(body), None) if body.required => return Err(invalid("the body is missing")),
        _ => return Ok(None),
    };
    let string = || text(value).ok_or_else(|| invalid("the body is no string"));
    Ok(Some(match &body.kind {
        BodyKind::Json => Bytes::copy_from_slice(value.get().as_bytes()),
        BodyKind::Form(members) => form_of(members, value)?.into(),
        BodyKind::Text => string()?.into(),
        BodyKind::Bytes => {
            let bytes = BASE64.decode(string()?.as_bytes());
            bytes.map_err(|error| invalid("the body is not base64").with_detail(error))?.into()
        }
    }))
}

/// An object as a form, which has only what it lists.
fn form_of(members: &[Parameter], value: &RawValue) -> Result<String, Refusal> {
    let given =
        Members::unique(value.get()).map_err(|_| invalid("the body is no object with each member once"))?;
    let is_known = |name: &str| members.iter().any(|one| *one.name == *name);
    if given.0.iter().any(|(name, _)| !is_known(name)) {
        return Err(invalid("the form that is the body does not have all of its members"));
    }
    pairs_of(members.iter(), &given)
}

/// The headers of the message, without those that are of MCP or of the operation, and with what its parameters say. What the record sets stays.
fn headers_of(
    (endpoint, operation): (&Endpoint, &Operation),
    given: &Members<'_>,
    mut headers: HeaderMap,
    has_body: bool,
) -> Result<HeaderMap, Refusal> {
    let of_mcp = |name: &HeaderName| name.as_str().starts_with("mcp-") || name == "last-event-id";
    let names: Vec<HeaderName> = headers.keys().filter(|name| of_mcp(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers.remove(CONTENT_TYPE);
    if let Some(body) = operation.body.as_ref().filter(|_| has_body) {
        let media = HeaderValue::from_str(&body.media);
        headers.insert(
            CONTENT_TYPE,
            media.map_err(|error| invalid("its media type is none").with_detail(error))?,
        );
    }
    for parameter in operation.parameters.iter().filter(|one| one.place == Place::Header) {
        if endpoint.headers.set.iter().any(|(name, _)| **name == *parameter.name) {
            continue;
        }
        let name = HeaderName::from_bytes(parameter.name.as_bytes());
        let name = name.map_err(|error| invalid("a parameter is no header field").with_detail(error))?;
        headers.remove(&name);
        let Some(texts) = values(parameter, given)? else { continue };
        let value = joined(parameter, &texts, false)?;
        let is_plain =
            value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && value.trim() == value;
        let value = HeaderValue::from_str(&value).ok().filter(|_| is_plain);
        let not_one =
            || of_parameter(parameter, "has characters that no header field has, or space around it");
        headers.insert(name, value.ok_or_else(not_one)?);
    }
    Ok(headers)
}

fn of_parameter(parameter: &Parameter, what: &str) -> Refusal {
    let name: String = parameter.argument.chars().take(64).collect();
    invalid(&format!("{name:?} {what}"))
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::ArgumentsInvalid, format!("the arguments make no request of the operation: {what}"))
}

#[cfg(test)]
mod tests;
