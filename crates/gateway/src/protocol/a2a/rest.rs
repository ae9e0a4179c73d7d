//! A2A over HTTP+JSON: 1.0 by its section 11 and the `google.api.http` annotations of its schema, 0.3 below /v1.
//!
//! A request is *lifted* into the message of JSON-RPC that asks the same. As that it is read, decided, held, changed and recorded; nothing else
//! knows of this binding. Where it goes on it is *lowered*, by the same table: of path and query nothing is sent that was not in the message.
//!
//! Where an agent is not served in it, the message goes on as what the agent speaks, and what it answers, which is JSON-RPC until then, leaves
//! as what stands by itself ([`translated`]). Where an agent is served in nothing else, it is the other way round.

mod exact;
mod paths;
pub mod translated;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXUPPER;
use http::request::Parts;
use http::{Method, Response};
use serde_json::json;
use serde_json::value::RawValue;
use url::form_urlencoded;
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{A2aVersion, Agent};

use self::paths::{Asked, Row, Segment, Written};
use super::{
    Framings, METHODS, PASSED_HEADERS, VERSION_HEADER, Wrote, check_version, grpc, is_old, posted, spelling,
    tell_version, tenant, version,
};
use crate::protocol::members::{Members, first_member, quoted, text};
use crate::protocol::{Below, Binding, Lowered, Message, Operation, Parsed, jsonrpc, parse};
use crate::reply;

/// What a request that has no id in its binding has in the message that it is lifted to.
const ID: u8 = 1;

/// What stands for the path of a request over HTTP+JSON that goes on as a message of JSON-RPC.
pub const TO_RPC: &str = "/:rpc";

/// The same in 0.3, whose HTTP+JSON has other JSON.
pub const TO_OLD_RPC: &str = "/:rpc-0.3";

/// What stands for the path of a message that goes on over HTTP+JSON, until all that is in its path is known.
pub const TO_REST: &str = "/:rest";

/// How deep the objects nest whose members the schema of 0.3 names: the request, its message or configuration, and where news go.
const LEVELS: u8 = 3;

/// The HTTP+JSON binding.
#[derive(Debug)]
pub struct Rest;

impl Binding for Rest {
    fn passed_headers(&self) -> &'static [&'static str] {
        &PASSED_HEADERS
    }

    fn operation(&self, method: &Method, path: &str) -> Result<Operation, Refusal> {
        Asked::of(method, path).map(|_| Operation { has_body: true, path: "".into() })
    }

    fn lifted(&self, _: &Destination, parts: &Parts, rest: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        let asked = Asked::of(&parts.method, rest)?;
        let object = match parts.method {
            Method::POST => object(body, asked.old)?,
            // Bytes that nobody read must not go on: to a server that expects none they are the next request.
            _ if !body.is_empty() => return Err(invalid("this request must not have a body".to_owned())),
            _ => "{}".into(),
        };
        let object = match (asked.old && asked.row.makes_config(), asked.ids.first()) {
            (true, Some((_, task))) => translated::old_config(&object, task)?.into(),
            _ => object,
        };
        let members = Members::unique(&object).map_err(|error| {
            let message = format!("the body is not acceptable JSON: {error}");
            Refusal::new(Code::DuplicateKey, message)
        })?;
        let mut added = Vec::new();
        for (name, value) in asked.tenant.map(|tenant| ("tenant", tenant)).into_iter().chain(asked.ids) {
            match members.get(name) {
                None => added.push((name, quoted(value))),
                Some(said) if text(said).as_deref() == Some(value) => {}
                Some(_) => {
                    return Err(invalid(format!("member {name:?} of the body is not what the path says")));
                }
            }
        }
        added.extend(queried(asked.row, asked.old, parts.uri.query().unwrap_or_default())?);
        let added: Vec<String> =
            added.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        let params =
            if added.is_empty() { object.into_owned() } else { with_first(&object, added.join(","))? };
        let method = quoted(asked.row.rpc_method(asked.old));
        Ok(format!(r#"{{"jsonrpc":"2.0","id":{ID},"method":{method},"params":{params}}}"#).into())
    }

    fn lowered(
        &self,
        method: &Method,
        path: Cow<'static, str>,
        message: Bytes,
        tenant: Option<&str>,
    ) -> Result<Lowered, Refusal> {
        match path.is_empty() {
            true => written(&tenant::named(message, tenant)?, Some(method)),
            false => super::lowered(path, message, tenant),
        }
    }

    fn parse<'a>(&self, message: &Message<'a>) -> Result<Parsed<'a>, Refusal> {
        let Destination::Agent(agent) = message.destination else {
            return Err(Refusal::new(Code::Internal, "this binding is not the destination's"));
        };
        let json = message.body()?;
        let old = is_old(json);
        let wrote = Wrote { old, of_schema: old };
        let is_its = version::declared(agent).is_none_or(|spoken| spoken == version::of_message(wrote.old));
        // Those of 0.3 are read as its JSON-RPC has them, and so they go on.
        let is_its = is_its && !(wrote.old && is_of_configs(json));
        let speaks = is_its && agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.rest.is_some());
        let framings = if speaks { Framings::BARE } else { Framings::TRANSLATED };
        let mut parsed = posted(message, agent, json, framings)?;
        parsed.lifted = true;
        if speaks {
            // The path says it, and perhaps the query, which goes no further.
            tell_version(message, old, &mut parsed);
        } else {
            goes_elsewhere(agent, wrote, &mut parsed);
        }
        Ok(parsed)
    }

    fn message_id(&self, message: &Json<'_>) -> Option<Arc<str>> {
        jsonrpc::id_text(message)
    }

    /// `google.rpc.Status` as JSON (A2A 1.0 section 11.6, AIP-193).
    fn refused(&self, refusal: &Refusal, call: &str, _id: Option<&str>) -> Response<String> {
        let (status, code) = (refusal.http_status(), refusal.code.as_str());
        let (reason, domain) = grpc::status::reason(refusal.code);
        let name = match refusal.code {
            // A2A's own status (section 5.4).
            Code::ProtocolVersionUnsupported => "FAILED_PRECONDITION",
            code => grpc::status::name(grpc::status::of_class(code.class())),
        };
        let about = json!({"code": code, "call": call, "next": refusal.next()});
        let info = grpc::status::info(&reason, domain, &about);
        let error = json!({
            "code": status,
            "status": name,
            "message": reply::sentence(refusal),
            "details": [info],
        });
        let mut body = json!({"error": error, "vidimus": reply::about(refusal, call)});
        if domain == grpc::status::OF_A2A
            && let Some(members) = body.as_object_mut()
        {
            // What SDKs of 0.3 read; no refusal knows of which version its request was.
            members.insert("type".to_owned(), grpc::status::old_type(&reason).into());
            members.insert("message".to_owned(), reply::sentence(refusal).into());
        }
        reply::json(status, body.to_string())
    }

    fn ends_streams(&self, _answered: bool, id: Option<&str>) -> bool {
        id.is_some()
    }

    fn last_event(&self, error: &str) -> String {
        format!("event: error\ndata: {error}\n\n")
    }
}

/// A request that went out over HTTP+JSON in place of one of another binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method of HTTP.
    pub by: Method,
    /// The id of the message that it stands for, as JSON.
    pub id: Box<str>,
}

/// Whether an agent is called over HTTP+JSON whatever its caller speaks.
pub fn is_alone(agent: &Agent) -> bool {
    agent.endpoint.as_ref().is_some_and(|endpoint| endpoint.rest_alone && endpoint.rest.is_some())
}

/// Has a message of JSON-RPC go on over HTTP+JSON of 1.0.
pub(super) fn goes_on(agent: &Agent, wrote: Wrote, parsed: &mut Parsed<'_>) {
    if version::declared(agent) == Some(A2aVersion::V0_3) {
        let message = "the agent is served over HTTP+JSON of 0.3 alone, to which nothing is translated";
        parsed.fault = Some(Box::new(Refusal::new(Code::BindingUnserved, message)));
    } else if wrote.old {
        version::goes_on(wrote, TO_REST, parsed);
    } else {
        parsed.path = Some(TO_REST.into());
        parsed.headers.push(grpc::version(false));
    }
}

/// Has a request over HTTP+JSON go on to an agent that is not served in it, or in another version.
fn goes_elsewhere(agent: &Agent, wrote: Wrote, parsed: &mut Parsed<'_>) {
    if is_alone(agent) && !grpc::is_alone(agent) && version::declared(agent).is_none() {
        let message =
            "the agent is served over HTTP+JSON alone, where configurations of 0.3 are not translated";
        parsed.fault = Some(Box::new(Refusal::new(Code::BindingUnserved, message)));
    } else if !super::goes_elsewhere(agent, wrote, parsed) {
        parsed.path = Some(if wrote.old { TO_OLD_RPC } else { TO_RPC }.into());
        parsed.headers.extend(grpc::of_rpc(wrote.old));
    }
}

/// Whether a message of 0.3 is about configurations of push notifications.
fn is_of_configs(json: &Json<'_>) -> bool {
    let method = json.get("method").and_then(Json::as_str);
    method.and_then(|method| Row::of(method, true)).is_some_and(Row::is_of_configs)
}

/// A message of another binding as the request over HTTP+JSON that asks the same.
///
/// # Errors
/// As [`Binding::lowered`]; `message_invalid` for what names nothing where a path has to name it.
pub fn lowered(message: &[u8]) -> Result<Lowered, Refusal> {
    written(message, None)
}

/// A message as the request that asks the same, by the method of HTTP by which it was asked, where it was.
fn written(message: &[u8], asked_by: Option<&Method>) -> Result<Lowered, Refusal> {
    let lost = || Refusal::new(Code::Internal, "what is to be sent is no message of the HTTP+JSON binding");
    let message = std::str::from_utf8(message).map_err(|_| lost())?;
    let envelope = Members::unique(message).map_err(|error| lost().with_detail(error))?;
    let name = envelope.get("method").and_then(text).ok_or_else(lost)?;
    let (old, _, _) =
        METHODS.into_iter().find(|(old, new, _)| *old == name || *new == name).ok_or_else(lost)?;
    let is_old = old == name;
    let row = Row::of(&name, is_old).ok_or_else(lost)?;
    let params = envelope.get("params").map_or("{}", RawValue::get);
    let params = if params == "null" { "{}" } else { params };
    let members = Members::unique(params).map_err(|error| lost().with_detail(error))?;
    let segments = row.path(is_old).ok_or_else(lost)?;
    let sent = match asked_by {
        Some(_) => None,
        None => {
            names_all(segments, &members)?;
            let id = envelope.get("id").ok_or_else(lost)?.get().into();
            Some(Sent { by: row.verb(), id })
        }
    };
    let tenant = members.get(tenant::NAME).and_then(text).filter(|tenant| !tenant.is_empty());
    let mut path = path_of(segments, is_old, &members)?;
    if let Some(tenant) = &tenant {
        let mut before = "/".to_owned();
        encode(tenant, &mut before);
        path.insert_str(0, &before);
    }
    let by = asked_by.or(sent.as_ref().map(|sent| &sent.by));
    let body = if by == Some(&Method::POST) {
        body_of((segments, tenant.is_some()), params, members)
    } else {
        let query = query_of(row, &members);
        if !query.is_empty() {
            path = format!("{path}?{query}");
        }
        Bytes::new()
    };
    Ok(Lowered { path: path.into(), body, below: Below::Rest(sent), crossed: None })
}

/// That a message of another binding names what its path has to.
fn names_all(segments: &[Segment], params: &Members<'_>) -> Result<(), Refusal> {
    let mut named = segments.iter().filter_map(|segment| match segment {
        Segment::Id(name, _) => Some(*name),
        Segment::Word(_) => None,
    });
    let missing = named.find(|name| params.get(name).and_then(text).is_none_or(|id| id.is_empty()));
    missing.map_or(Ok(()), |name| {
        const NEXT: &str =
            "Write each member as the schema of A2A 1.0 has it: the agent is served over HTTP+JSON.";
        let message = format!("what is asked cannot be said over HTTP+JSON: member {name:?} names nothing");
        Err(invalid(message).with_next(NEXT))
    })
}

/// The object that a body is, by the names that JSON has; nothing is the empty one. `old`: as 0.3 has it, whose schema has other names too.
fn object(body: &[u8], old: bool) -> Result<Cow<'_, str>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok("{}".into());
    }
    // Exactly one value: it is to stand within another.
    let unreadable = |error: serde_json::Error| {
        let message = format!("the body is not acceptable JSON: {error}");
        parse(body).err().unwrap_or_else(|| Refusal::new(Code::BodyNotJson, message))
    };
    let value: &RawValue = serde_json::from_slice(body).map_err(unreadable)?;
    if !value.get().starts_with('{') {
        return Err(invalid("the body must be an object".to_owned()));
    }
    match old {
        true => as_in_json(value.get(), LEVELS).map(Cow::Owned).map_err(unreadable),
        false => spelling::members(spelling::Place::Params, value.get()).map_err(unreadable),
    }
}

/// An object of 0.3 by the names that its schema has in JSON, where it is written by the schema's own: readers of protobuf's JSON take both, and
/// the official SDK writes the latter. What parts and metadata say is the caller's.
fn as_in_json(object: &str, levels: u8) -> serde_json::Result<String> {
    let mut written = Vec::new();
    for (name, value) in &Members::unique(object)?.0 {
        let name = match &**name {
            "request" if levels == LEVELS => Cow::Borrowed("message"),
            name => in_camel_case(name),
        };
        let is_named = matches!(&*name, "message" | "configuration" | "pushNotification");
        let value = match levels.checked_sub(1) {
            Some(below @ 1..) if is_named && value.get().starts_with('{') => {
                as_in_json(value.get(), below)?.into()
            }
            _ => Cow::Borrowed(value.get()),
        };
        written.push(format!("{}:{value}", quoted(&name)));
    }
    Ok(format!("{{{}}}", written.join(",")))
}

/// `task_id` as `taskId`.
fn in_camel_case(name: &str) -> Cow<'_, str> {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default();
    if first.is_empty() || first.len() == name.len() {
        return name.into();
    }
    let mut camel = first.to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel.into()
}

/// An object with members before its own.
fn with_first(object: &str, members: String) -> Result<String, Refusal> {
    let (at, members) = first_member(object, members);
    let parts = object.get(..at.start).zip(object.get(at.end..));
    let lost = || Refusal::new(Code::Internal, "the body could not be read twice");
    parts.map(|(before, behind)| [before, &*members, behind].concat()).ok_or_else(lost)
}

/// What a query says: parameters of the operation, each once and as JSON. The version of the protocol may stand there too (1.0, section 3.6.1), and has to
/// be that of the path.
fn queried(row: &Row, old: bool, query: &str) -> Result<Vec<(&'static str, String)>, Refusal> {
    let mut said: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name.eq_ignore_ascii_case(VERSION_HEADER) {
            check_version(value.as_bytes(), old)?;
            continue;
        }
        let in_json = spelling::name_in_json(&name).unwrap_or(&name);
        let Some((known, written)) = row.query(old).iter().find(|(known, _)| *known == in_json) else {
            let shown: String = name.chars().take(64).collect();
            return Err(invalid(format!("{shown:?} is no parameter of this operation's query")));
        };
        if said.iter().any(|(other, _)| other == known) {
            return Err(invalid(format!("{known:?} is there twice in the query")));
        }
        let json = match written {
            Written::Text => Some(quoted(&value)),
            Written::Number => value.parse::<i32>().ok().map(|number| number.to_string()),
            Written::Truth => matches!(&*value, "true" | "false").then(|| value.into_owned()),
        };
        let json = json.ok_or_else(|| invalid(format!("{known:?} in the query is not of its type")))?;
        said.push((*known, json));
    }
    Ok(said)
}

/// The path of what is asked, with the ids that the message has by now.
fn path_of(segments: &[Segment], old: bool, params: &Members<'_>) -> Result<String, Refusal> {
    let mut path = if old { "/v1".to_owned() } else { String::new() };
    for segment in segments {
        path.push('/');
        match segment {
            Segment::Word(word) => path.push_str(word),
            Segment::Id(name, behind) => {
                let id = params.get(name).and_then(text);
                let id = id.filter(|id| !matches!(&**id, "" | "." | "..")).ok_or_else(|| {
                    let message = "the agent has given an id that no path can have; use JSON-RPC for it";
                    Refusal::new(Code::UpstreamInvalid, message)
                })?;
                encode(&id, &mut path);
                path.push_str(behind);
            }
        }
    }
    Ok(path)
}

/// The body of what is asked: the parameters that are not in its path, in which a tenant may stand too.
fn body_of((segments, has_tenant): (&[Segment], bool), params: &str, members: Members<'_>) -> Bytes {
    let is_there = |name: &str| {
        has_tenant && name == tenant::NAME
            || segments.iter().any(|one| matches!(one, Segment::Id(id, _) if *id == name))
    };
    if !members.0.iter().any(|(name, _)| is_there(name)) {
        return Bytes::copy_from_slice(params.as_bytes());
    }
    let rest = members.0.into_iter().filter(|(name, _)| !is_there(name)).collect();
    Members(rest).write_all(|_| None).into()
}

/// The query of what is asked: those of its parameters that stand there.
fn query_of(row: &Row, params: &Members<'_>) -> String {
    let mut query = String::new();
    for (name, _) in row.query {
        let Some(value) = params.get(name).filter(|value| value.get() != "null") else { continue };
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        encode(&text(value).unwrap_or_else(|| value.get().to_owned()), &mut query);
    }
    query
}

/// Writes a text so that it is one segment of a path, or one value of a query, to every reader (RFC 3986 section 2.3).
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if paths::is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            HEXUPPER.encode_append(&[byte], out);
        }
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::MessageInvalid, message)
}

#[cfg(test)]
mod tests;
