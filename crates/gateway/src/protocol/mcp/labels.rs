//! What the headers of a message say of its body. A server, or whatever stands before it, may read either, so they say the same, and
//! headers say nothing of what is not there (2026-07-28, transports, "Standard headers" and "Custom headers").

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::{METHOD_HEADER, NAME_HEADER, decode, single};

/// Headers that repeat an argument of a tool call; behind it stands the name by which the tool's schema marks the argument.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// That a message which asks for nothing is not labelled as one that does: an answer to the server, or a request without a body.
///
/// # Errors
/// `header_mismatch`.
pub fn check_none(headers: &HeaderMap) -> Result<(), Refusal> {
    let label = headers.keys().map(HeaderName::as_str);
    let mut label =
        label.filter(|name| [METHOD_HEADER, NAME_HEADER].contains(name) || name.starts_with(PARAM_PREFIX));
    label
        .next()
        .map_or(Ok(()), |name| Err(mismatch(format!("header {name} labels a message that asks nothing"))))
}

/// What the body names, by which `Mcp-Name` has to be the same; `required` of the methods that 2026-07-28 lists.
struct Named<'a> {
    name: Option<&'a str>,
    required: bool,
}

fn named<'a>(method: &str, params: Option<&'a Json<'a>>) -> Named<'a> {
    let of =
        |path: &[&str]| path.iter().try_fold(params?, |json, name| json.get(name)).and_then(Json::as_str);
    let (name, required) = match method {
        "tools/call" | "prompts/get" => (of(&["name"]), true),
        "resources/read" => (of(&["uri"]), true),
        "tasks/get" | "tasks/update" | "tasks/cancel" => (of(&["taskId"]), true),
        "resources/subscribe" | "resources/unsubscribe" => (of(&["uri"]), false),
        "tasks/result" => (of(&["taskId"]), false),
        "completion/complete" => (of(&["ref", "name"]).or_else(|| of(&["ref", "uri"])), false),
        _ => (None, false),
    };
    Named { name, required }
}

/// That the headers name the method, the name and the arguments of the body, and nothing else.
///
/// # Errors
/// `header_mismatch`.
pub fn check(
    headers: &HeaderMap,
    method: &str,
    params: Option<&Json<'_>>,
    modern: bool,
) -> Result<(), Refusal> {
    let method_header = single(headers, METHOD_HEADER)?;
    if (modern || method_header.is_some()) && method_header != Some(method) {
        return Err(mismatch(format!("header {METHOD_HEADER} does not name the method of the body")));
    }
    let Named { name, required } = named(method, params);
    let differs = match single(headers, NAME_HEADER)? {
        Some(label) => name.is_none() || decode(label).as_deref() != name,
        None => modern && required && name.is_some(),
    };
    if differs {
        return Err(mismatch(format!("header {NAME_HEADER} does not name what the body names")));
    }
    check_arguments(headers, method, params)
}

/// Each header that repeats an argument stands once, and what it says is an argument of this tool call. Which one it has to be says
/// the tool's schema, which the server has.
fn check_arguments(headers: &HeaderMap, method: &str, params: Option<&Json<'_>>) -> Result<(), Refusal> {
    let arguments = params.filter(|_| method == "tools/call").and_then(|params| params.get("arguments"));
    let repeated = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with(PARAM_PREFIX));
    for name in repeated {
        let said = said(headers, name)?;
        if !arguments.zip(said).is_some_and(|(arguments, said)| has(arguments, &said)) {
            return Err(mismatch(format!("header {name} says what is no argument of the body")));
        }
    }
    Ok(())
}

/// What a header says, decoded; `None` where it is not there.
///
/// # Errors
/// `header_mismatch` where it is there twice, or cannot be read.
pub fn said<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<Cow<'h, str>>, Refusal> {
    let unreadable = || mismatch(format!("header {name} is no text that can be read"));
    single(headers, name)?.map(|text| decode(text).ok_or_else(unreadable)).transpose()
}

/// Whether some argument is what a header says.
fn has(arguments: &Json<'_>, said: &str) -> bool {
    let mut found = false;
    arguments.leaves(&mut |_, leaf| found |= is(leaf, said));
    found
}

/// Whether a value is what a header says: numbers are compared as such, and `null` and what holds others have no place in a header.
pub fn is(value: &Json<'_>, said: &str) -> bool {
    match value {
        Json::Null | Json::Array(_) | Json::Object(_) => false,
        Json::Int(_) | Json::UInt(_) | Json::Float(_) => Json::parse(said.as_bytes())
            .is_ok_and(|number| !matches!(number, Json::String(_)) && number.as_text() == value.as_text()),
        value => value.as_text().as_deref() == Some(said),
    }
}

fn mismatch(what: String) -> Refusal {
    Refusal::new(Code::HeaderMismatch, what)
}
