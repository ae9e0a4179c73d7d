//! Answers between HTTP+JSON and the other bindings. In those each is a response of JSON-RPC; here a result stands by itself, and so does an error,
//! whose status says what the number says there (A2A 1.0, sections 5.4, 11.4, 11.6 and 11.7). In 0.3 HTTP+JSON has the JSON of its schema, as gRPC has
//! its bytes, so what is said there is said through that.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use super::super::grpc::schema::{Fault, Rpc};
use super::super::grpc::status::Status;
use super::super::sealed::by_itself;
use super::exact::through;
use crate::protocol::Leaves;
use crate::protocol::event::{self, Change, Parts, Rewrite};
use crate::protocol::members::{Members, quoted, text};
use crate::protocol::sse::{EventFilter, EventStream, TooLong};

/// The name of an event that is an error.
const ERROR: &str = "error";

/// What an agent said over HTTP+JSON with this status, as the response of JSON-RPC to the message of this id, which is JSON. Nothing is the empty
/// result.
///
/// # Errors
/// `upstream_invalid` for what is no result, and for a status of an error without the protocol's own.
pub fn response(id: &str, said: &str, status: StatusCode) -> Result<String, Refusal> {
    let said = if said.trim().is_empty() { "{}" } else { said };
    let read = by_itself(said).and_then(|value| Ok((value, error_in(value)?)));
    match read {
        Ok((_, Some(error))) => {
            let error = Status::of_document(&error).error();
            Ok(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
        }
        Ok((value, None)) if status.is_success() => {
            Ok(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, value.get()))
        }
        Err(refusal) if status.is_success() => Err(refusal),
        Ok(_) | Err(_) => {
            let status = status.as_u16();
            let message =
                format!("the upstream answered {status}, with an error that is not one of its protocol");
            Err(Refusal::new(Code::UpstreamInvalid, message))
        }
    }
}

/// The error that stands in place of a result.
fn error_in(value: &RawValue) -> Result<Option<Value>, Refusal> {
    if !value.get().starts_with('{') {
        return Ok(None);
    }
    let members = Members::unique(value.get()).map_err(unreadable)?;
    let Some(error) = members.get("error") else { return Ok(None) };
    let error: Value = serde_json::from_str(error.get()).map_err(unreadable)?;
    Ok(Some(error).filter(Value::is_object))
}

/// A message of 0.3 whose parameters are written as its schema has them, as its JSON-RPC has them.
///
/// # Errors
/// `message_invalid` for what the schema does not have; `internal` for what is no message.
pub fn old_message(message: Bytes) -> Result<Bytes, Refusal> {
    let lost = || Refusal::new(Code::Internal, "what is to be sent is no message of JSON-RPC");
    let said = std::str::from_utf8(&message).map_err(|_| lost())?;
    let envelope = Members::unique(said).map_err(|error| lost().with_detail(error))?;
    let method = envelope.get("method").and_then(text).ok_or_else(lost)?;
    // What only names a task names it in the same way.
    if !matches!(&*method, "message/send" | "message/stream") {
        return Ok(message);
    }
    let rpc = Rpc::of_old(&method).ok_or_else(lost)?;
    let params = envelope.get("params").ok_or_else(lost)?.get();
    let asked = |params: &str| rpc.exact_request(params).and_then(|request| rpc.asked(&request, None));
    let params = through(params, asked).map_err(|fault| {
        Refusal::new(Code::MessageInvalid, format!("what is asked is none of A2A 0.3: {fault}"))
    })?;
    Ok(envelope.write("params", &params).into())
}

/// The parameters of 0.3's JSON-RPC that make a configuration of push notifications, of what is POSTed for the task that the path names: a request
/// as the schema has it, which is what the official SDK writes, or its `config` alone, as the annotations of the schema have it.
///
/// # Errors
/// `message_invalid` for what is neither, and for what names another task.
pub fn old_config(body: &str, task: &str) -> Result<String, Refusal> {
    let invalid = |what: String| Refusal::new(Code::MessageInvalid, what);
    let rpc = Rpc::of_old("tasks/pushNotificationConfig/set");
    let rpc = rpc.ok_or_else(|| Refusal::new(Code::Internal, "there is no such method of 0.3"))?;
    let members = Members::unique(body).map_err(|error| {
        Refusal::new(Code::DuplicateKey, format!("the body is not acceptable JSON: {error}"))
    })?;
    let parent = quoted(&format!("tasks/{task}"));
    let request = match (members.get("config"), members.get("parent")) {
        (Some(_), Some(_)) => body.to_owned(),
        (Some(config), None) => {
            let id = members.get("configId").map(|id| format!(r#","configId":{}"#, id.get()));
            let known = members.0.iter().all(|(name, _)| matches!(&**name, "config" | "configId"));
            known
                .then_some(())
                .ok_or_else(|| invalid("the body is no configuration of A2A 0.3".to_owned()))?;
            format!(r#"{{"parent":{parent},"config":{}{}}}"#, config.get(), id.unwrap_or_default())
        }
        (None, _) => format!(r#"{{"parent":{parent},"config":{body}}}"#),
    };
    let params = rpc.exact_request(&request).and_then(|request| rpc.asked(&request, None));
    params.map_err(|fault| invalid(format!("what is asked is none of A2A 0.3: {fault}")))
}

/// A response of JSON-RPC as what stands by itself, with its status of HTTP.
///
/// # Errors
/// `upstream_invalid` for what is no response.
pub fn document(response: &[u8], leaves: Leaves) -> Result<(StatusCode, Bytes), Refusal> {
    let response = std::str::from_utf8(response).map_err(|_| no_response())?;
    Ok(match opened(response, leaves)? {
        Opened::Result(result) => (StatusCode::OK, result.into()),
        Opened::Error(status) => {
            let (http, document) = told(&status, leaves);
            let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (http, document.to_string().into())
        }
    })
}

/// What a response says.
enum Opened {
    /// As JSON.
    Result(String),
    Error(Status),
}

fn opened(response: &str, leaves: Leaves) -> Result<Opened, Refusal> {
    let members = Members::unique(response).map_err(unreadable)?;
    if let Some(error) = members.get("error").filter(|error| error.get() != "null") {
        let error: Value = serde_json::from_str(error.get()).map_err(unreadable)?;
        return Ok(Opened::Error(Status::of_error(&error)));
    }
    let result = members.get("result").ok_or_else(no_response)?.get();
    if let Leaves::OldBare(method) = leaves {
        let rpc = Rpc::of_old(method).ok_or_else(no_response)?;
        let said = |result: &str| rpc.answer(result).and_then(|answer| rpc.answered(&answer));
        return through(result, said).map(Opened::Result).map_err(|fault| unsayable(&fault));
    }
    // google.protobuf.Empty.
    Ok(Opened::Result(if result == "null" { "{}" } else { result }.to_owned()))
}

/// The document that says an error, in the version of who is told, and its status of HTTP.
fn told(status: &Status, leaves: Leaves) -> (u16, Value) {
    match leaves {
        Leaves::OldBare(_) => status.old_document(),
        Leaves::AsItComes | Leaves::Bare => status.document(),
    }
}

/// Events of an agent over HTTP+JSON, each as a response of JSON-RPC.
#[derive(Debug)]
pub struct Enveloped {
    /// The id of the message that they answer, as JSON.
    pub id: Box<str>,
}

impl EventFilter for Enveloped {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        event::rewrite(event, self)
    }
}

impl Rewrite for Enveloped {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        match is_message(data) {
            true => response(&self.id, data, StatusCode::OK).map(Change::To),
            false => Ok(Change::Same),
        }
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

/// Events that leave for a caller over HTTP+JSON: each response in them as what stands by itself.
#[derive(Debug)]
pub struct Bare {
    filter: Box<dyn EventFilter>,
    /// What the filter lets pass: it may be several events at once, and some of them later.
    opening: EventStream,
}

impl Bare {
    /// Of the events that another filter lets pass.
    pub fn behind(filter: Box<dyn EventFilter>, leaves: Leaves) -> Self {
        // No more comes than was held before it.
        let opening = EventStream::new(Box::new(Opening(leaves)), usize::MAX, TooLong::EndsStream);
        Self { filter, opening }
    }
}

impl EventFilter for Bare {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let passes = match self.filter.filter(event)? {
            Some(changed) => changed.into(),
            None => Bytes::copy_from_slice(event),
        };
        Ok(Some(self.opening.push(&passes)?.into()))
    }

    fn passed(&mut self) {
        self.filter.passed();
    }

    fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        let rest = self.filter.finish()?.into();
        let mut out = Vec::from(self.opening.push(&rest)?);
        out.extend_from_slice(&self.opening.finish()?);
        Ok(out)
    }
}

/// What becomes of one of them.
#[derive(Debug)]
struct Opening(Leaves);

impl EventFilter for Opening {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(parts) = Parts::of(event)? else { return Ok(None) };
        let Some(data) = parts.data.as_deref().filter(|data| is_message(data)) else { return Ok(None) };
        let (name, data) = match opened(data, self.0)? {
            Opened::Result(result) => (None, result),
            Opened::Error(status) => (Some(ERROR.to_owned()), told(&status, self.0).1.to_string()),
        };
        Ok(Some(Parts { name, data: Some(data), id: parts.id }.write()))
    }
}

/// Words of the agent's own making, such as a keep-alive, are no message.
pub fn is_message(data: &str) -> bool {
    data.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']).starts_with(['{', '['])
}

fn no_response() -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "what the agent answered is no response")
}

fn unsayable(fault: &Fault) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, format!("what the agent answered is none of A2A 0.3: {fault}"))
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the agent's answer could not be read").with_detail(error)
}

#[cfg(test)]
mod tests;
