//! JSON-RPC 2.0 envelopes, as MCP and A2A use them: one message per request, no batches.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal, Served};

use super::check_spelling;
use crate::reply;

/// Longest id of a message, in bytes. JSON-RPC sets no limit; clients count, or write a UUID.
const LONGEST_ID: usize = 1024;

/// A JSON-RPC message, told apart by its members (JSON-RPC 2.0 sections 4 and 5).
#[derive(Clone, Copy, Debug)]
pub enum Envelope<'a> {
    Request {
        method: &'a str,
        params: Option<&'a Json<'a>>,
    },
    Notification {
        method: &'a str,
        params: Option<&'a Json<'a>>,
    },
    /// The peer answers a request that the other side sent.
    Response,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope.
    ///
    /// # Errors
    /// `batch_not_supported` for an array, `message_invalid` for anything that is not one JSON-RPC 2.0 message.
    pub fn of(body: &'a Json<'a>) -> Result<Self, Refusal> {
        if matches!(body, Json::Array(_)) {
            return Err(Refusal::new(
                Code::BatchNotSupported,
                "the body is a JSON array; batches are not supported",
            ));
        }
        check_spelling(body, &["jsonrpc", "id", "method", "params", "result", "error"])?;
        let invalid = |what: &'static str| Refusal::new(Code::MessageInvalid, what);
        if body.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
            return Err(invalid(
                "the body is not a JSON-RPC 2.0 message: member \"jsonrpc\" must be \"2.0\"",
            ));
        }
        let id = body.get("id");
        if !matches!(id, None | Some(Json::String(_) | Json::Int(_) | Json::UInt(_) | Json::Null)) {
            return Err(invalid("member \"id\" must be a string or an integer"));
        }
        // It is kept as long as the answer lasts.
        if id.and_then(Json::as_str).is_some_and(|id| id.len() > LONGEST_ID) {
            return Err(invalid("member \"id\" is longer than 1024 bytes"));
        }
        let params = body.get("params");
        if !matches!(params, None | Some(Json::Object(_))) {
            return Err(invalid("member \"params\" must be an object"));
        }
        let answers = body.get("result").is_some() || body.get("error").is_some();
        match (body.get("method"), id) {
            (Some(_), _) if answers => Err(invalid("a message cannot be both a request and a response")),
            (Some(Json::String(_)), Some(Json::Null)) => Err(invalid("the id of a request must not be null")),
            (Some(Json::String(method)), Some(_)) => Ok(Self::Request { method, params }),
            (Some(Json::String(method)), None) => Ok(Self::Notification { method, params }),
            (Some(_), _) => Err(invalid("member \"method\" must be a string")),
            (None, Some(_)) if answers => Ok(Self::Response),
            (None, _) => Err(invalid("the message has neither a method nor a result nor an error")),
        }
    }
}

/// The `id` to answer with, as JSON text; `None` for a notification, a response or a body without a usable id.
pub fn id_text(body: &Json<'_>) -> Option<Arc<str>> {
    body.get("method")?;
    match body.get("id")? {
        Json::String(text) => serde_json::to_string(text).ok().map(Into::into),
        Json::Int(number) => Some(number.to_string().into()),
        Json::UInt(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// The number of a code in a JSON-RPC error, where a protocol has none of its own for it: JSON-RPC's, otherwise −31000 − HTTP
/// status, which lies outside every reserved range.
pub fn number(code: Code) -> i64 {
    match code {
        Code::BodyNotJson | Code::BodyNotUtf8 | Code::DuplicateKey => -32700,
        Code::MessageInvalid | Code::BatchNotSupported => -32600,
        Code::MethodUnknown => -32601,
        _ => -31_000 - i64::from(code.class().http_status()),
    }
}

/// A refusal as a JSON-RPC error (JSON-RPC 2.0 section 5.1).
#[derive(Debug)]
pub struct Error<'a> {
    pub number: i64,
    /// The versions that are served, for who asked for another one, where the refusal does not say it better.
    pub supported: Vec<&'static str>,
    pub refusal: &'a Refusal,
    pub call: &'a str,
}

impl Error<'_> {
    /// The response to the message `id` (JSON text). `answered`: HTTP says 200, since the error is the answer.
    pub fn response(self, id: Option<&str>, answered: bool) -> Response<String> {
        let data = self.data();
        self.response_with(&data, id, answered)
    }

    /// The same with this for programs.
    pub fn response_with(self, data: &Value, id: Option<&str>, answered: bool) -> Response<String> {
        let error = json!({"code": self.number, "message": reply::sentence(self.refusal), "data": data});
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.unwrap_or("null"));
        reply::json(if answered { 200 } else { self.refusal.http_status() }, text)
    }

    /// What it has for programs.
    pub fn data(&self) -> Value {
        let code = self.refusal.code;
        let mut data = reply::about(self.refusal, self.call);
        if code == Code::ProtocolVersionUnsupported
            && let Some(data) = data.as_object_mut()
        {
            let known = match self.refusal.served.as_deref() {
                Some(Served::Versions { requested, supported }) => {
                    data.insert("requested".to_owned(), json!(requested));
                    supported
                }
                _ => &self.supported,
            };
            data.insert("supported".to_owned(), json!(known));
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_told_apart_and_the_rest_is_refused() {
        let kind = |text: &str| {
            let body = Json::parse(text.as_bytes()).expect("valid JSON");
            match Envelope::of(&body) {
                Ok(Envelope::Request { method, .. }) => format!("request {method}"),
                Ok(Envelope::Notification { method, .. }) => format!("notification {method}"),
                Ok(Envelope::Response) => "response".to_owned(),
                Err(refusal) => refusal.code.as_str().to_owned(),
            }
        };
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request ping"),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, "request ping"),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                "notification notifications/initialized",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "response"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, "response"),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "batch_not_supported"),
            (r#"{"id":1,"method":"ping"}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}"#, "message_invalid"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#, "message_invalid"),
            (r#""ping""#, "message_invalid"),
            (&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(1024)), "request ping"),
            (
                &format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(1025)),
                "message_invalid",
            ),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
