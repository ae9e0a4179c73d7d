//! An upstream that is an API: the MCP server whose tools are its operations (ADR 85). A call of one is one request to it.
//!
//! It answers as a job does, by messages of the protocol; what the API answered beside the text of it is on the answer ([`Came`]).

mod request;

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Api, Endpoint};

use super::body::Body;
use super::job::{self, Asked, Params, Reply, Understood};
use super::{Client, Upstream, send};
use crate::protocol::rest::Came;
use request::Made;
pub(crate) use request::makes_request;

/// How messages of the protocol come.
static POST: Method = Method::POST;

/// Answers one permitted message.
///
/// # Errors
/// Those of any upstream, `upstream_invalid` also for a redirect, for what is longer than its record says and for what is no text;
/// `arguments_invalid` for what makes no request of the operation.
pub(super) async fn answer(
    upstream: &Upstream,
    to: (&Endpoint, Client),
    api: &Api,
    asked: Asked<'_>,
) -> Result<Response<Body>, Refusal> {
    // What was lifted is a message by whatever method it came; nothing else has one by another than POST.
    let method = if asked.body.is_empty() { asked.method } else { &POST };
    let definitions = || -> Vec<Value> {
        let tools = api.tools.values();
        tools.filter_map(|tool| serde_json::from_str(&tool.definition).ok()).collect()
    };
    match job::understood(Asked { method, ..asked }, definitions)? {
        Understood::Answered(response) => Ok(response),
        Understood::Call(params, reply) => call(upstream, to, api, (params, reply, asked.headers)).await,
    }
}

/// Makes the one request of a call.
async fn call(
    upstream: &Upstream,
    (endpoint, client): (&Endpoint, Client),
    api: &Api,
    (params, reply, headers): (Params<'_>, Reply, &HeaderMap),
) -> Result<Response<Body>, Refusal> {
    let name = params.name.unwrap_or_default();
    let Some(operation) = api.tools.get(&*name) else {
        return Ok(reply.error(
            job::INVALID_PARAMS,
            "this server has no tool of this name; tools/list has those that it has",
        ));
    };
    let arguments = params.arguments.map_or("{}", RawValue::get);
    let Made { method, uri, headers, body } =
        request::of((endpoint, api), (&name, operation), arguments, headers.clone())?;
    let until = Instant::now() + Duration::from_millis(u64::from(endpoint.timeout_ms));
    let response = send(upstream, (endpoint, client), method, uri, headers, body).await?;
    let (parts, body) = response.into_parts();
    check_head(&parts)?;
    let text = timeout_at(until, text(body, api.max_answer)).await.map_err(|_| {
        let message = format!("the API's answer did not end within {} ms", endpoint.timeout_ms);
        Refusal::new(Code::UpstreamTimeout, message)
    })??;
    let kind = kind(&parts.headers);
    let mut response = reply.result(result(parts.status.as_u16(), &text), false);
    for (header, value) in &parts.headers {
        if !header.as_str().starts_with("content-") && !header.as_str().starts_with("mcp-") {
            response.headers_mut().append(header, value.clone());
        }
    }
    response.extensions_mut().insert(Came { status: parts.status, kind });
    Ok(response)
}

/// That what comes is an answer to the request, in bytes that can be read.
fn check_head(parts: &http::response::Parts) -> Result<(), Refusal> {
    const NEXT: &str = "Have the API's document and its URL (spec.openapi) name the address that serves the operation: a call goes there and nowhere else.";
    let status = parts.status;
    if !status.is_success() && !status.is_client_error() && !status.is_server_error() {
        let message = format!(
            "the API answered {}, which is no answer to the request and is not followed",
            status.as_u16()
        );
        return Err(Refusal::new(Code::UpstreamInvalid, message).with_next(NEXT));
    }
    let encoding = parts.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "the API's answer is in an encoding that is not read, and none was asked for";
        return Err(Refusal::new(Code::UpstreamInvalid, message));
    }
    Ok(())
}

/// The whole text of an answer.
async fn text(body: Body, most: u32) -> Result<String, Refusal> {
    const BROKE: &str = "the connection to the API broke off before the end of its answer";
    let too_long = || format!("the API's answer is longer than {most} bytes (spec.openapi.maxAnswer)");
    let bytes = body.whole(most as usize, BROKE, too_long).await?;
    String::from_utf8(bytes.into()).map_err(|_| {
        Refusal::new(Code::UpstreamInvalid, "the API's answer is no text in UTF-8, which no tool gives")
    })
}

/// What a body is, in words of ours: whatever a browser would run is text.
fn kind(headers: &HeaderMap) -> HeaderValue {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    HeaderValue::from_static(match &*kind {
        "application/problem+json" => "application/problem+json",
        json if json == "application/json" || json.ends_with("+json") => "application/json",
        _ => "text/plain; charset=utf-8",
    })
}

/// The result of the tool: the body, which is the last part. A model is told the status of an error before it, as JSON, so that it can be redacted.
fn result(status: u16, text: &str) -> Value {
    let body = json!({"type": "text", "text": text});
    if status >= 400 {
        let said = json!({"type": "text", "text": json!({"status": status}).to_string()});
        return json!({"content": [said, body], "isError": true});
    }
    let mut result = json!({"content": [body], "isError": false});
    if let (Some(structured), Some(members)) = (job::structured(text), result.as_object_mut()) {
        members.insert("structuredContent".to_owned(), structured);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_or_plain_text_and_never_what_a_browser_runs() {
        for (given, expected) in [
            ("application/json", "application/json"),
            ("Application/JSON; charset=utf-8", "application/json"),
            ("application/problem+json", "application/problem+json"),
            ("application/vnd.api+json", "application/json"),
            ("text/html", "text/plain; charset=utf-8"),
            ("image/svg+xml", "text/plain; charset=utf-8"),
            ("", "text/plain; charset=utf-8"),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(given))]);
            assert_eq!(kind(&headers), expected, "{given}");
        }
    }

    #[test]
    fn an_object_is_structure_and_an_error_says_its_status() {
        assert_eq!(result(200, r#"{"a":1}"#)["structuredContent"], json!({"a": 1}));
        assert_eq!(result(200, r#"{"a":0.1}"#)["structuredContent"], json!({"a": 0.1}));
        // Neither does one that would say something else than the text.
        for text in ["[1]", "1", "no", "", r#"{"a":12345678901234567890123}"#, r#"{"a":1,"a":2}"#] {
            assert_eq!(result(200, text).get("structuredContent"), None, "{text}");
        }
        let wrong = result(404, r#"{"detail":"no"}"#);
        assert_eq!((&wrong["isError"], wrong.get("structuredContent")), (&json!(true), None));
        assert_eq!(wrong["content"][0]["text"], r#"{"status":404}"#);
        assert_eq!(wrong["content"][1]["text"], r#"{"detail":"no"}"#);
    }
}
