//! A call that waits for a person, in the words of MCP: its client leads its user to where people see the approval, and makes the request
//! again. 2026-07-28: "Multi Round-Trip Requests" and "URL Mode Elicitation Requests"; 2025-11-25: "URL Elicitation Required Error".
//!
//! That its user went there says nothing of an approval: who approves is asked there for a token of their own, and is never the caller.

use http::{HeaderMap, Response};
use serde_json::json;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::{HANDSHAKE, VERSION_HEADER, single};
use crate::part::Part;
use crate::protocol::carrier::{Carrier, Waiting};
use crate::protocol::{Message, Parsed};
use crate::reply;
use crate::seal::{Holder, Kind, Opened};

/// The gateway's own among the input requests of a result.
const QUESTION: &str = "vidimus-approval";

/// What a `requestState` of the gateway's own begins with; the rest is the approval, sealed to the caller. All others are an upstream's.
const STATE: &str = "vidimus-approval.";

/// The requests to which a result may be `input_required`.
pub(super) const INTERACTIVE: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];

/// What answers the gateway's own question, and so does not go on.
const OWN: &[&[&str]] = &[&["params", "requestState"], &["params", "inputResponses"]];

/// `URLElicitationRequiredError`.
const URL_ELICITATION_REQUIRED: i64 = -32042;

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// What else a request says, where it is made again after the gateway's own question, and how it may be answered if it waits (still).
///
/// # Errors
/// `task_foreign` for a state of the gateway's own that this caller was not given for this.
pub fn read<'a>(
    mut parsed: Parsed<'a>,
    message: &Message<'a>,
    (method, params): (&str, Option<&Json<'_>>),
    modern: bool,
) -> Result<Parsed<'a>, Refusal> {
    let leads = match own_state(params) {
        Some(sealed) => {
            let opened = message.holder.open(Kind::Approval, sealed);
            if opened.is_none_or(|opened| opened.part != Part::from(parsed.ask.target)) {
                let what = "params.requestState is not one that this caller was given for this request";
                return Err(Refusal::new(Code::TaskForeign, what));
            }
            parsed.dropped = OWN;
            accepts(params)
        }
        // What answers a server's question would be lost on the way to ours and back.
        None => !brings(params, "requestState") && !brings(params, "inputResponses"),
    };
    if modern && leads && INTERACTIVE.contains(&method) {
        let capabilities = params.and_then(|params| params.get("_meta")?.get(CAPABILITIES));
        if leads_to_urls(capabilities) {
            parsed.carrier = Carrier::InputRequired;
        }
    }
    Ok(parsed)
}

/// The approval that a request waits for which is made again; `None` also where its client's user did not want to go there.
pub fn waits_for(message: Option<&Json<'_>>, holder: &Holder<'_>) -> Option<String> {
    let params = message?.get("params");
    let sealed = own_state(params).filter(|_| accepts(params))?;
    holder.open(Kind::Approval, sealed).map(|opened| opened.id)
}

/// The sealed part of a state that the gateway gave out.
fn own_state<'a>(params: Option<&'a Json<'_>>) -> Option<&'a str> {
    params?.get("requestState")?.as_str()?.strip_prefix(STATE)
}

/// Whether the client's user agreed to go to the address.
fn accepts(params: Option<&Json<'_>>) -> bool {
    let answer = params.and_then(|params| params.get("inputResponses")?.get(QUESTION));
    answer.is_none_or(|answer| answer.get("action").and_then(Json::as_str) == Some("accept"))
}

fn brings(params: Option<&Json<'_>>, member: &str) -> bool {
    params.and_then(|params| params.get(member)).is_some_and(|value| *value != Json::Null)
}

/// Whether a client's capabilities say that it leads its user to addresses.
fn leads_to_urls(capabilities: Option<&Json<'_>>) -> bool {
    let url = capabilities.and_then(|capabilities| capabilities.get("elicitation")?.get("url"));
    matches!(url, Some(Json::Object(_)))
}

/// As what the id of a session is sealed that such an `initialize` begins. Its requests do not say any more what their client can do, so
/// the id does.
pub fn kind_of_session(params: Option<&Json<'_>>) -> Kind {
    match leads_to_urls(params.and_then(|params| params.get("capabilities"))) {
        true => Kind::ElicitingSession,
        false => Kind::Session,
    }
}

/// The session of this id, and how a held request in it may be answered.
///
/// # Errors
/// `header_mismatch` where the version is given twice.
pub fn session(
    holder: &Holder<'_>,
    headers: &HeaderMap,
    sealed: &str,
) -> Result<Option<(Opened, Carrier<'static>)>, Refusal> {
    if let Some(opened) = holder.open(Kind::Session, sealed) {
        return Ok(Some((opened, Carrier::Refusal)));
    }
    let Some(opened) = holder.open(Kind::ElicitingSession, sealed) else { return Ok(None) };
    // Those before it have no such error.
    let has_error = single(headers, VERSION_HEADER)? == Some(HANDSHAKE[0]);
    Ok(Some((opened, if has_error { Carrier::UrlElicitation } else { Carrier::Refusal })))
}

/// A result that leads the client's user to the approval; `None` without an address.
pub fn input_required(waiting: &Waiting<'_>) -> Option<Response<String>> {
    let asked = json!({"mode": "url", "message": reply::sentence(waiting.refusal), "url": waiting.url?});
    let result = json!({
        "resultType": "input_required",
        "inputRequests": {QUESTION: {"method": "elicitation/create", "params": asked}},
        "requestState": format!("{STATE}{}", waiting.handle),
        "_meta": {"dev.vidimus/refusal": reply::about(waiting.refusal, waiting.call)},
    });
    Some(reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, waiting.id)))
}

/// The error that leads the client's user there; `None` without an address.
pub fn url_elicitation(waiting: &Waiting<'_>) -> Option<Response<String>> {
    let message = reply::sentence(waiting.refusal);
    let asked =
        json!({"mode": "url", "elicitationId": waiting.approval, "message": message, "url": waiting.url?});
    let mut data = reply::about(waiting.refusal, waiting.call);
    data.as_object_mut()?.insert("elicitations".to_owned(), json!([asked]));
    let error = json!({"code": URL_ELICITATION_REQUIRED, "message": message, "data": data});
    Some(reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, waiting.id)))
}

#[cfg(test)]
mod tests {
    use vidimus_core::refusal::Awaited;

    use super::*;

    #[test]
    fn without_an_address_there_is_the_error() {
        let awaited = Awaited { approval: "a-1".into(), retry_after: 10 };
        let refusal = Refusal {
            awaited: Some(Box::new(awaited)),
            ..Refusal::new(Code::ApprovalRequired, "a policy asks for it")
        };
        let waiting =
            Waiting { refusal: &refusal, approval: "a-1", handle: "h", url: None, call: "c", id: "1" };
        for carrier in [Carrier::Refusal, Carrier::InputRequired, Carrier::UrlElicitation] {
            assert!(carrier.answer(&waiting).is_none(), "{carrier:?}");
            let led =
                carrier.answer(&Waiting { url: Some("https://admin.example/approvals/a-1"), ..waiting });
            assert_eq!(led.is_some(), carrier != Carrier::Refusal);
        }
    }
}
