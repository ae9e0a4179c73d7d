//! What a server asks of its client, in what it says: sampling, elicitation, roots and whatever else a client answers (ADR 97).
//!
//! A server of sessions asks by a request of its own, on whatever stream there is. A stateless one asks within a result (2026-07-28, "Multi
//! Round-Trip Requests"), or in what it says of a task. And the error -32042 leads the client's user to addresses (2025-11-25, "URL
//! Elicitation Required Error").

use serde_json::value::RawValue;
use vidimus_core::json::same_key;
use vidimus_core::refusal::{Code, Refusal};

use super::bridge::QUESTIONS;
use crate::protocol::MAX_NAME;
use crate::protocol::members::{Members, text};
use crate::protocol::question::Question;

/// What asks whether somebody is there, and nothing else.
const PING: &str = "ping";
/// How a server asks the client's user for something.
const ELICITATION: &str = "elicitation/create";
/// The member of a result, or of what is said of a task, that has the questions by the server's keys.
const IN_RESULT: &str = "inputRequests";
/// The member of an error's `data` that has the addresses to which it leads.
const IN_ERROR: &str = "elicitations";
/// How many questions one message may ask.
const MOST: usize = 64;

/// Whether a document has what is in every one that asks something: the end of a name, an escape, or the one letter that is no ASCII and is read as
/// one of these names' (U+017F). Whatever their case: some readers do not care for it.
fn may_ask(document: &[u8]) -> bool {
    const LETTER: [u8; 2] = [0xc5, 0xbf];
    let is_name_before = |at: usize| {
        let before = document.get(..at).unwrap_or_default();
        ["method", IN_RESULT, IN_ERROR].iter().any(|name| {
            let end = before.len().checked_sub(name.len()).and_then(|from| before.get(from..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    memchr::memchr3_iter(b'"', b'\\', LETTER[0], document).any(|at| match document.get(at) {
        Some(b'"') => is_name_before(at),
        Some(b'\\') => document.get(at + 1) == Some(&b'u'),
        _ => document.get(at + 1) == Some(&LETTER[1]),
    })
}

/// What a whole document asks.
///
/// # Errors
/// `upstream_invalid` for what may ask something and cannot be read.
pub fn in_document(document: &[u8]) -> Result<Vec<Question>, Refusal> {
    // That is far cheaper than parsing, and each answer is looked at.
    if !may_ask(document) {
        return Ok(Vec::new());
    }
    let unread = |error: &dyn std::fmt::Display| unread().with_detail(error);
    let document = std::str::from_utf8(document).map_err(|error| unread(&error))?;
    let document = document.strip_prefix('\u{feff}').unwrap_or(document).trim_ascii();
    let messages: Vec<&str> = match document.as_bytes().first() {
        Some(b'{') => vec![document],
        Some(b'[') => {
            let batch: Vec<&RawValue> = serde_json::from_str(document).map_err(|error| unread(&error))?;
            batch.into_iter().map(RawValue::get).filter(|message| message.starts_with('{')).collect()
        }
        _ => return Ok(Vec::new()),
    };
    let mut asked = Vec::new();
    for message in messages {
        let whole = Members::unique(message).map_err(|error| unread(&error))?;
        let result = whole.object("result").map_err(|error| unread(&error))?;
        asked.append(&mut in_message(message, &whole, result.as_ref())?);
    }
    Ok(asked)
}

/// What one message asks, of which the members are read already: its own, and those of its result.
///
/// # Errors
/// `upstream_invalid` for what asks something and cannot be read, and for too many questions at once.
pub fn in_message(
    message: &str,
    whole: &Members<'_>,
    result: Option<&Members<'_>>,
) -> Result<Vec<Question>, Refusal> {
    if whole.misspells(&["method", "result", "error"]) {
        return Err(unread());
    }
    if let Some(method) = whole.get("method") {
        if whole.misspells(&["id", "params"]) {
            return Err(unread());
        }
        return match whole.get("id") {
            Some(id) => request(message, method, id),
            None => of_task(whole, method),
        };
    }
    let mut asked = result.map_or(Ok(Vec::new()), listed)?;
    if let Some(error) = whole.object("error").map_err(|_| unread())? {
        asked.append(&mut led(&error)?);
    }
    Ok(asked)
}

/// A request of the server's own.
fn request(message: &str, method: &RawValue, id: &RawValue) -> Result<Vec<Question>, Refusal> {
    let method = known(method)?;
    if &*method == PING {
        return Ok(Vec::new());
    }
    Ok(vec![Question { method, id: Some(id.get().into()), text: message.into() }])
}

/// News of a task, which may wait for the client.
fn of_task(whole: &Members<'_>, method: &RawValue) -> Result<Vec<Question>, Refusal> {
    if !text(method).is_some_and(|method| method.starts_with("notifications/tasks")) {
        return Ok(Vec::new());
    }
    match whole.object("params").map_err(|_| unread())? {
        Some(params) => listed(&params),
        None => Ok(Vec::new()),
    }
}

/// What stands in a result by the server's keys.
fn listed(of: &Members<'_>) -> Result<Vec<Question>, Refusal> {
    if of.misspells(&[IN_RESULT]) {
        return Err(unread());
    }
    let Some(all) = of.get(IN_RESULT).filter(|all| all.get() != "null") else { return Ok(Vec::new()) };
    let all = Members::unique(all.get()).map_err(|_| unread())?;
    check_count(all.0.len())?;
    let mut asked = Vec::with_capacity(all.0.len());
    for (_, question) in &all.0 {
        let members = Members::unique(question.get()).map_err(|_| unread())?;
        let method = members.get("method").filter(|_| !members.misspells(&["method"])).ok_or_else(unread)?;
        asked.push(Question { method: known(method)?, id: None, text: question.get().into() });
    }
    Ok(asked)
}

/// The addresses to which an error leads.
fn led(error: &Members<'_>) -> Result<Vec<Question>, Refusal> {
    if error.misspells(&["data"]) {
        return Err(unread());
    }
    let Some(data) = error.object("data").map_err(|_| unread())? else { return Ok(Vec::new()) };
    if data.misspells(&[IN_ERROR]) {
        return Err(unread());
    }
    let Some(all) = data.get(IN_ERROR).filter(|all| all.get() != "null") else { return Ok(Vec::new()) };
    let all: Vec<&RawValue> = serde_json::from_str(all.get()).map_err(|_| unread())?;
    check_count(all.len())?;
    let one = |asked: &RawValue| Question { method: ELICITATION.into(), id: None, text: asked.get().into() };
    Ok(all.into_iter().map(one).collect())
}

/// The method, by the protocol's own spelling where some reader takes it for one of the protocol's.
fn known(method: &RawValue) -> Result<Box<str>, Refusal> {
    let method = text(method).filter(|method| (1..=MAX_NAME).contains(&method.len())).ok_or_else(unread)?;
    let own = QUESTIONS.into_iter().find(|own| same_key(own, &method));
    Ok(own.map_or_else(|| method.into(), Into::into))
}

/// That something is asked where it cannot be read whole, and so is not decided.
pub fn unheld() -> Refusal {
    let message =
        "the server may ask its client something in an answer that is too long, or too slow, to be read";
    Refusal::new(Code::UpstreamInvalid, message)
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if count <= MOST {
        return Ok(());
    }
    let message = format!("the server asks its client more than {MOST} things at once");
    Err(Refusal::new(Code::UpstreamInvalid, message))
}

/// That something may be asked in what cannot be read.
pub fn unread() -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "what the server asks its client, or may ask it, could not be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::skim::Unheld;

    /// What is asked, by its methods and ids; `None` where the document is refused.
    fn asked(document: &str) -> Option<Vec<(String, Option<String>)>> {
        let asked = in_document(document.as_bytes()).ok()?;
        let shown = |one: Question| (one.method.into_string(), one.id.map(str::into_string));
        Some(asked.into_iter().map(shown).collect())
    }

    fn of(all: &[(&str, Option<&str>)]) -> Option<Vec<(String, Option<String>)>> {
        let owned = |(method, id): &(&str, Option<&str>)| ((*method).to_owned(), id.map(str::to_owned));
        Some(all.iter().map(owned).collect())
    }

    #[test]
    fn nothing_that_asks_is_passed_over() {
        for (document, expected) in [
            (r#"{"method":1}"#, true),
            (r#"{"METHod" :1}"#, true),
            (r#"{"InputRequests":1}"#, true),
            (r#"{"xelicitations":1}"#, true),
            ("{\"inputReque\u{17f}t\u{17f}\":1}", true),
            (r#"{"\u006dethod":1}"#, true),
            (r#"method""#, true),
            (r#"ethod""#, false),
            (r#"{"methods":"a method.","b":"\n \"method\" é \\"}"#, false),
            ("\u{17e}\\", false),
            ("", false),
        ] {
            assert_eq!(may_ask(document.as_bytes()), expected, "{document}");
        }
    }

    #[test]
    fn what_is_asked_is_found_wherever_it_stands() {
        const SAMPLING: &str = "sampling/createMessage";
        for (document, expected) in [
            (r#"{"id":1,"result":{"content":[{"type":"text","text":"the method \"x\""}]}}"#, of(&[])),
            (r#"{"method":"notifications/progress","params":{"id":1,"progress":1}}"#, of(&[])),
            (r#"{"id":1,"method":"ping"}"#, of(&[])),
            ("<html>method\"</html>", of(&[])),
            (r#"{"id":7,"method":"roots/list"}"#, of(&[("roots/list", Some("7"))])),
            (r#"{"id":"a","method":"x/y","params":{}}"#, of(&[("x/y", Some(r#""a""#))])),
            // It is no answer, whatever else is in it.
            (r#"{"id":7,"result":{},"method":"roots/list"}"#, of(&[("roots/list", Some("7"))])),
            (r#"{"id":null,"method":"roots/list"}"#, of(&[("roots/list", Some("null"))])),
            // Attack: the same in other letters.
            (r#"{"id":1,"method":"sampling\/createMessage"}"#, of(&[(SAMPLING, Some("1"))])),
            (r#"{"id":1,"\u006dethod":"\u0073ampling/createMessage"}"#, of(&[(SAMPLING, Some("1"))])),
            (r#"{"id":1,"method":"Sampling/CREATEmessage"}"#, of(&[(SAMPLING, Some("1"))])),
            (r#"{"ID":1,"method":"roots/list"}"#, None),
            (r#"{"id":1,"Method":"roots/list"}"#, None),
            (r#"{"id":1,"method":"ping","method":"roots/list"}"#, None),
            (r#"{"id":1,"method":["roots/list"]}"#, None),
            // A batch.
            (
                "\u{feff} [{\"id\":1,\"result\":{}},7,{\"id\":2,\"method\":\"roots/list\"}]",
                of(&[("roots/list", Some("2"))]),
            ),
            // Within a result, whatever its type says, and what is said of a task.
            (
                r#"{"id":1,"result":{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{}}}}}"#,
                of(&[("roots/list", None), (ELICITATION, None)]),
            ),
            (r#"{"id":1,"result":{"resultType":"input_required","inputRequests":null}}"#, of(&[])),
            (r#"{"id":1,"result":{"InputRequests":{}}}"#, None),
            (r#"{"id":1,"result":{"inputReque\u017fts":{}}}"#, None),
            (r#"{"id":1,"result":{"inputRequests":[{"method":"roots/list"}]}}"#, None),
            (r#"{"id":1,"result":{"inputRequests":{"a":{}}}}"#, None),
            (
                r#"{"method":"notifications/tasks","params":{"inputRequests":{"a":{"method":"roots/list"}}}}"#,
                of(&[("roots/list", None)]),
            ),
            // An error that leads to addresses.
            (
                r#"{"id":1,"error":{"code":-32042,"message":"x","data":{"elicitations":[{"mode":"url"}]}}}"#,
                of(&[(ELICITATION, None)]),
            ),
            (r#"{"id":1,"error":{"code":-32042,"message":"x","data":{"elicitations":{}}}}"#, None),
            (r#"{"id":1,"error":{"code":-32042,"message":"x","Data":{"elicitations":[]}}}"#, None),
            (r#"{"id":1,"error":{"code":1,"message":"the \"method\"","data":[1]}}"#, of(&[])),
        ] {
            assert_eq!(asked(document), expected, "{document}");
        }
        let read = |document: &str, size: usize| {
            let (event, mut unheld) = (format!("id: 1\ndata: {document}\n\n"), Unheld::default());
            event.as_bytes().chunks(size).any(|piece| unheld.asks(piece))
        };
        for (document, asks) in [
            (
                r#"{"id":1,"result":{"content":[{"method":"x","inputRequests":{}}],"inputRequests":null}}"#,
                false,
            ),
            (r#"{"id":1,"error":{"code":1,"data":{"x":{"elicitations":[]}}}}"#, false),
            (r#"{"id":1,"\u006dethod":"roots/list"}"#, true),
            (r#"{"id":1,"METHOD":"roots/list"}"#, true),
            (r#"[{"id":1,"method":"roots/list"}]"#, true),
            (r#"{"id":1,"result":{"x":[{}],"inputRequests":{}}}"#, true),
            (r#"{"id":1,"error":{"data":{"elicitations":[]}}}"#, true),
            (r#"{"id":1,"ERROR":{"Data":{"elicitation\u017f":[]}}}"#, true),
            (r#"{"id":1,"Result":{"input_requests":{}}}"#, true),
            ("{\"id\":1,\"re\u{17f}ult\":{\"inputReque\u{17f}t\u{17f}\":{}}}", true),
            (r#"{"id":1,"Result":{},"Data":{"elicitations":[]}}"#, false),
            // What is no JSON to this reader, and where a line ends for others.
            (r#"/*[[[[*/{"id":1,"method":"roots/list"}"#, true),
            ("{\"id\":1,\"result\":{\"a\":\"b\u{2028}\"}}", true),
            ("{\"id\":1,\"result\":{\"a\":\"\u{2027}\u{e9}\"}}", false),
        ] {
            assert!((1..=document.len()).all(|size| read(document, size) == asks), "{document}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#)).collect();
        assert_eq!(
            asked(&format!(r#"{{"id":1,"result":{{"inputRequests":{{{}}}}}}}"#, many.join(","))),
            None
        );
    }
}
