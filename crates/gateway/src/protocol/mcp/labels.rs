//! What the headers of a message say of its body. A server, or whatever stands before it, may read either, so they say the same, and
//! headers say nothing of what is not there (2026-07-28, transports, "Standard headers" and "Custom headers").

use std::borrow::Cow;
use std::collections::HashMap;

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

/// How many headers may repeat arguments: what a tool may mark, and more than one does.
const MAX_REPEATED: usize = 64;

/// Each header that repeats an argument stands once, and what it says is an argument of this tool call. Which one it has to be says
/// the tool's schema, which the server has. The arguments are walked once, however many headers there are.
fn check_arguments(headers: &HeaderMap, method: &str, params: Option<&Json<'_>>) -> Result<(), Refusal> {
    let repeated = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with(PARAM_PREFIX));
    let repeated: Vec<&str> = repeated.take(MAX_REPEATED + 1).collect();
    if repeated.is_empty() {
        return Ok(());
    }
    if repeated.len() > MAX_REPEATED {
        return Err(mismatch(format!("more than {MAX_REPEATED} headers {PARAM_PREFIX}… repeat arguments")));
    }
    let said = repeated.iter().map(|name| Ok(said(headers, name)?.unwrap_or_default()));
    let said = said.collect::<Result<Vec<_>, Refusal>>()?;
    let numbers: Vec<Option<String>> = said.iter().map(|said| number_text(said)).collect();
    // What is looked for, as text or as a number, and whether it was found.
    let mut texts: HashMap<&str, bool> = said.iter().map(|text| (&**text, false)).collect();
    let mut values: HashMap<&str, bool> = numbers.iter().flatten().map(|text| (&**text, false)).collect();
    let arguments = params.filter(|_| method == "tools/call").and_then(|params| params.get("arguments"));
    if let Some(arguments) = arguments {
        arguments.leaves(&mut |_, leaf| {
            let Some(text) = label(leaf) else { return };
            let wanted = if is_number(leaf) { &mut values } else { &mut texts };
            if let Some(found) = wanted.get_mut::<str>(&text) {
                *found = true;
            }
        });
    }
    let is_found = |found: &HashMap<&str, bool>, text: &str| found.get(text).copied().unwrap_or_default();
    for ((name, said), number) in repeated.iter().zip(&said).zip(&numbers) {
        if !is_found(&texts, said) && !number.as_ref().is_some_and(|number| is_found(&values, number)) {
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

/// What a header may say of a value: `null`, and what holds others, have no place in one.
pub fn label<'j>(value: &'j Json<'_>) -> Option<Cow<'j, str>> {
    match value {
        Json::Null | Json::Array(_) | Json::Object(_) => None,
        value => value.as_text(),
    }
}

const fn is_number(value: &Json<'_>) -> bool {
    matches!(value, Json::Int(_) | Json::UInt(_) | Json::Float(_))
}

/// The one text of a number that a header says, if it says one.
fn number_text(said: &str) -> Option<String> {
    let number = Json::parse(said.as_bytes()).ok().filter(is_number)?;
    number.as_text().map(Cow::into_owned)
}

/// Whether a value is what a header says: numbers are compared as such.
pub fn is(value: &Json<'_>, said: &str) -> bool {
    let text = label(value);
    match is_number(value) {
        true => text.is_some() && text.as_deref() == number_text(said).as_deref(),
        false => text.as_deref() == Some(said),
    }
}

fn mismatch(what: String) -> Refusal {
    Refusal::new(Code::HeaderMismatch, what)
}
