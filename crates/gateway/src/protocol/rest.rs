//! The tools of a server that is an API (`spec.openapi`), by the requests of that API: at `/rest/{namespace}/{name}/…` (ADR 85). Those of a server that
//! speaks gRPC (`spec.grpc`) by a POST of the message as JSON to the path of the method, `/{package.Service}/{Method}` (ADR 86).
//!
//! A request is *lifted* into the `tools/call` that says the same. As that it is decided, held, changed, recorded and carried out; of its path and
//! query nothing goes on that is not an argument. What the API answered is in the tool's result, from which it is taken at the end.

pub mod arguments;
pub mod escapes;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::openapi::NoMatch;
use vidimus_core::resource::{Api, Grpc, GrpcTool};

use super::members::{Members, quoted, text};
use super::{Binding, DocumentChange, Expected, Message, Operation, Parsed, jsonrpc, mcp};
use crate::reply;

/// What a request, which has no id, has in the message that it is lifted to.
const ID: u8 = 1;
/// What of the caller's goes on beside the parameters of an operation.
const PASSED_HEADERS: [&str; 5] = ["accept-language", "user-agent", "tracestate", "baggage", "x-request-id"];

/// The headers of the message that a request is lifted to.
static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// What an API answered, beside the text of it: on the answer that stands for it ([`http::Extensions`]).
#[derive(Clone, Debug)]
pub struct Came {
    /// Its status.
    pub status: StatusCode,
    /// What its body is, in words of ours.
    pub kind: HeaderValue,
}

/// Requests of the API.
#[derive(Debug)]
pub struct Rest;

impl Binding for Rest {
    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    /// Which operation it is, and which methods its path has, the document of the object says, which is known when the request is lifted.
    fn operation(&self, _method: &Method, _path: &str) -> Result<Operation, Refusal> {
        Ok(Operation { has_body: true, path: "".into() })
    }

    fn lifted(
        &self,
        destination: &Destination,
        parts: &Parts,
        rest: &str,
        body: &Bytes,
    ) -> Result<Bytes, Refusal> {
        let endpoint = destination.endpoint();
        let (name, arguments) = match endpoint.and_then(|endpoint| endpoint.grpc_tools.as_ref()) {
            Some(grpc) => {
                (method_at(grpc, &parts.method, rest)?, arguments::of_message(parts, body)?.to_owned())
            }
            None => {
                let matched = api(destination)?.find(parts.method.as_str(), rest);
                let matched = matched.map_err(|why| no_operation(&why))?;
                (matched.tool, arguments::of(&matched, parts, body)?)
            }
        };
        let (name, method) = (quoted(name), quoted(mcp::CALL));
        let params = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
        Ok(format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":{method},"params":{params}}}"#).into())
    }

    fn answered(&self, answer: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let said = std::str::from_utf8(answer).ok().and_then(|answer| Members::unique(answer).ok());
        let said = said.ok_or_else(unanswered)?;
        let result = said.get("result").and_then(|result| Members::unique(result.get()).ok());
        let content = result.as_ref().and_then(|result| result.get("content")).ok_or_else(unanswered)?;
        // The last part is the body; before it stands what a model is told of an error.
        let parts: Vec<Members<'_>> = serde_json::from_str(content.get()).map_err(|_| unanswered())?;
        let body = parts.last().and_then(|part| part.get("text")).and_then(text).ok_or_else(unanswered)?;
        Ok(Some(body.into()))
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        let mut parsed = mcp::StreamableHttp.parse(&Message { headers: &NO_HEADERS, ..*message })?;
        parsed.lifted = true;
        if let Expected::Upstream(answer) = &mut parsed.expected {
            // It is read whole, whatever policies say: the API's answer is in it.
            answer.document = Some(DocumentChange::Redacted);
        }
        Ok(parsed)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Arc<str>> {
        jsonrpc::id_text(message)
    }

    /// What is forbidden of a tool, since policies have its arguments held to its schema, is of a request the client's slip, as any other in it.
    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        const NEXT: &str = "Send parameters and a body as the API's OpenAPI document has them; the reason names the place in its schema, where it can be told.";
        if refusal.code != Code::ArgumentsInvalid {
            return reply::plain(refusal, call);
        }
        let mut response = reply::plain(&refusal.clone().with_next(NEXT), call);
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response
    }
}

/// The tool that a method of gRPC is, by its path there.
fn method_at<'g>(grpc: &'g Grpc, method: &Method, path: &str) -> Result<&'g Arc<str>, Refusal> {
    const NEXT: &str = "POST to /{package.Service}/{Method} of a method that is a tool of the server (tools/list names it in _meta), with the message as JSON.";
    let is_named = |(service, name): (&str, &str), tool: &GrpcTool| {
        tool.method.parent_service().full_name() == service && tool.method.name() == name
    };
    let named = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let found = named.and_then(|named| grpc.tools.iter().find(|(_, tool)| is_named(named, tool)));
    let (name, _) = found.ok_or_else(|| {
        Refusal::new(Code::RouteUnknown, "no method of the server has this path").with_next(NEXT)
    })?;
    match *method {
        Method::POST => Ok(name),
        _ => Err(Refusal::method_not_allowed("a method of gRPC", "POST").with_next(NEXT)),
    }
}

/// The API that an object is.
fn api(destination: &Destination) -> Result<&Arc<Api>, Refusal> {
    const NEXT: &str = "Call the server at /mcp/{namespace}/{name}; below /rest are those whose record has an OpenAPI document (spec.openapi) or descriptors of gRPC (spec.grpc).";
    let endpoint = destination.endpoint();
    endpoint.and_then(|endpoint| endpoint.openapi.as_ref()).ok_or_else(|| {
        Refusal::new(
            Code::RouteUnknown,
            "the server is no API and does not speak gRPC, and is not served below /rest",
        )
        .with_next(NEXT)
    })
}

/// Why a request is to no operation.
fn no_operation(why: &NoMatch) -> Refusal {
    const NEXT: &str = "Use a path and a method of the API's OpenAPI document, of an operation that is a tool of the server (tools/list); what is no operation is not decided, and does not pass.";
    match why {
        NoMatch::Path => {
            Refusal::new(Code::RouteUnknown, "no operation of the API has this path").with_next(NEXT)
        }
        NoMatch::Method(verbs) => {
            let allow: Vec<&str> = verbs.iter().map(|verb| verb.as_str()).collect();
            Refusal::method_not_allowed("this path of the API", allow.join(", ")).with_next(NEXT)
        }
        NoMatch::Ambiguous => {
            let message =
                "two operations of the API match this path, and servers differ in which of them it is";
            Refusal::new(Code::RouteUnknown, message).with_next("Call the operation as a tool, at /mcp/{namespace}/{name}; or have its path told from the other's.")
        }
    }
}

fn unanswered() -> Refusal {
    Refusal::new(
        Code::UpstreamInvalid,
        "the operation is no tool of the server any more, or answered nothing that is of HTTP",
    )
}

#[cfg(test)]
pub(crate) mod tests;
