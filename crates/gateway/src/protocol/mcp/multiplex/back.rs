//! What a member says on its way back to a client that came by a server with members: URIs of resources become full ones, and the ids of what the
//! member asks name the member. All else stays byte for byte.
//!
//! Where such stand is read in the places that the protocol has for them. A URI elsewhere, such as in a text, stays the member's own, and is of no
//! member when it is asked for.

use std::sync::Arc;

use memchr::memmem;
use serde_json::value::RawValue;
use vidimus_core::refusal::{Code, Refusal};

use super::names::{full_uri, tag};
use crate::protocol::event::{self, Change, Rewrite};
use crate::protocol::members::{Changed, Members, quoted, text};
use crate::protocol::question::Question;
use crate::protocol::sse::EventFilter;

/// A message of the member's, as the client has to read it; `None` where it stays as it is.
///
/// # Errors
/// `upstream_invalid` for one that may name something of the member's and cannot be read.
pub fn message(json: &str, member: &str) -> Result<Option<String>, Refusal> {
    // Looking for the words is far cheaper than parsing. Where they may be escaped, there is no telling.
    let word = |word: &str| memmem::find(json.as_bytes(), word.as_bytes()).is_some();
    if !word("\"uri\"") && !word("\"method\"") && !word("\\u") || !json.trim_start().starts_with('{') {
        return Ok(None);
    }
    let whole = Members::unique(json).map_err(unreadable)?;
    let mut changed = Changed::default();
    if let Some(method) = whole.get("method").and_then(text) {
        if let Some(id) = whole.get("id") {
            changed.put("id", tagged(member, id)?);
        }
        if let Some(params) = whole.object("params").map_err(unreadable)? {
            changed.put_some("params", of_params(&method, &params, member)?);
        }
    } else if let Some(result) = whole.object("result").map_err(unreadable)? {
        changed.put_some("result", of_result(&result, member, true)?);
    }
    Ok(changed.of(&whole))
}

/// What a member asks or tells.
fn of_params(method: &str, params: &Members<'_>, member: &str) -> Result<Option<String>, Refusal> {
    let mut changed = Changed::default();
    match method {
        "notifications/cancelled" => {
            let id = params.get("requestId").map(|id| tagged(member, id)).transpose()?;
            changed.put_some("requestId", id);
        }
        "notifications/resources/updated" => changed.put_some("uri", located(params, member)),
        "notifications/subscriptions/acknowledged" => {
            if let Some(asked) = params.object("notifications").map_err(unreadable)?
                && let Some(uris) = asked.get("resourceSubscriptions")
            {
                let uris: Vec<String> = serde_json::from_str(uris.get()).map_err(unreadable)?;
                let uris: Vec<String> = uris.iter().map(|uri| quoted(&full_uri(member, uri))).collect();
                let uris = format!("[{}]", uris.join(","));
                changed.put("notifications", asked.write("resourceSubscriptions", &uris));
            }
        }
        _ => {}
    }
    // By what the client tells how far it is with what the member asked. A notification of progress is of the client's own token.
    if let Some(meta) = params.object("_meta").map_err(unreadable)?
        && let Some(token) = meta.get("progressToken")
    {
        changed.put("_meta", meta.write("progressToken", &tagged(member, token)?));
    }
    Ok(changed.of(params))
}

/// What a member answers. The result of a task may stand in what is said of it.
fn of_result(result: &Members<'_>, member: &str, is_outer: bool) -> Result<Option<String>, Refusal> {
    let mut changed = Changed::default();
    changed.put_some(
        "contents",
        each(result.get("contents"), &|one| Ok(write(one, "uri", located(one, member))))?,
    );
    changed.put_some("content", each(result.get("content"), &|one| block(one, member))?);
    let of_message = |one: &Members<'_>| -> Result<Option<String>, Refusal> {
        let content = one.object("content").map_err(unreadable)?;
        let content = content.map(|content| block(&content, member)).transpose()?.flatten();
        Ok(write(one, "content", content))
    };
    changed.put_some("messages", each(result.get("messages"), &of_message)?);
    if is_outer && let Some(inner) = result.object("result").map_err(unreadable)? {
        changed.put_some("result", of_result(&inner, member, false)?);
    }
    Ok(changed.of(result))
}

/// A part of a content: a link to a resource, or one that stands in it.
fn block(one: &Members<'_>, member: &str) -> Result<Option<String>, Refusal> {
    Ok(match one.get("type").and_then(text).as_deref() {
        Some("resource_link") => write(one, "uri", located(one, member)),
        Some("resource") => {
            let resource = one.object("resource").map_err(unreadable)?;
            let resource = resource.and_then(|resource| write(&resource, "uri", located(&resource, member)));
            write(one, "resource", resource)
        }
        _ => None,
    })
}

type OfOne<'f> = dyn Fn(&Members<'_>) -> Result<Option<String>, Refusal> + 'f;

/// A list of which each object becomes what `of_one` says; `None` where none changes, and of what is no list.
fn each(list: Option<&RawValue>, of_one: &OfOne<'_>) -> Result<Option<String>, Refusal> {
    let Some(list) = list.filter(|list| list.get().starts_with('[')) else { return Ok(None) };
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(unreadable)?;
    let (mut all, mut is_other) = (Vec::with_capacity(list.len()), false);
    for one in list {
        let other = match one.get().starts_with('{') {
            true => of_one(&Members::unique(one.get()).map_err(unreadable)?)?,
            false => None,
        };
        is_other |= other.is_some();
        all.push(other.unwrap_or_else(|| one.get().to_owned()));
    }
    Ok(is_other.then(|| format!("[{}]", all.join(","))))
}

fn write(object: &Members<'_>, name: &str, value: Option<String>) -> Option<String> {
    value.map(|value| object.write(name, &value))
}

/// The full URI of what has one, as JSON.
fn located(object: &Members<'_>, member: &str) -> Option<String> {
    object.get("uri").and_then(text).map(|uri| quoted(&full_uri(member, &uri)))
}

/// What a client answers by, as JSON.
fn tagged(member: &str, id: &RawValue) -> Result<String, Refusal> {
    let too_long = || Refusal::new(Code::UpstreamInvalid, "the id of what the member asks is too long");
    tag(member, id.get()).map(|tagged| quoted(&tagged)).ok_or_else(too_long)
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "what the member says could not be read").with_detail(error)
}

/// The events of a member's answer, behind those of another filter.
#[derive(Debug)]
pub struct MemberEvents {
    pub filter: Box<dyn EventFilter>,
    /// The name of the member.
    pub member: Arc<str>,
}

impl EventFilter for MemberEvents {
    fn filter(&mut self, event: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let first = self.filter.filter(event)?;
        let mut named = Named(&self.member);
        Ok(event::rewrite(first.as_deref().unwrap_or(event), &mut named)?.or(first))
    }

    fn asked(&mut self) -> Vec<Question> {
        self.filter.asked()
    }

    fn unheld(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        self.filter.unheld(piece)
    }
}

/// The words of the member of this name.
struct Named<'m>(&'m str);

impl Rewrite for Named<'_> {
    fn data(&mut self, data: &str) -> Result<Change, Refusal> {
        Ok(message(data, self.0)?.map_or(Change::Same, Change::To))
    }

    fn id(&mut self, _id: &str) -> Result<Option<String>, Refusal> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn back(said: &Value) -> Value {
        let text = said.to_string();
        let changed = message(&text, "crm").expect("readable");
        serde_json::from_str(changed.as_deref().unwrap_or(&text)).expect("JSON")
    }

    #[test]
    fn what_names_something_of_the_member_names_the_member() {
        let link = |uri: &str| json!({"type": "resource_link", "uri": uri, "name": "x"});
        let within = |uri: &str| json!({"type": "resource", "resource": {"uri": uri, "text": "t"}});
        let (own, full) = ("file:///x", "crm+file:///x");
        for (said, expected) in [
            (
                json!({"id": 1, "result": {"contents": [{"uri": own}]}}),
                json!({"id": 1, "result": {"contents": [{"uri": full}]}}),
            ),
            (
                json!({"id": 1, "result": {"content": [link(own), within(own), {"type": "text", "text": "\"uri\""}]}}),
                json!({"id": 1, "result": {"content": [link(full), within(full), {"type": "text", "text": "\"uri\""}]}}),
            ),
            (
                json!({"id": 1, "result": {"messages": [{"role": "user", "content": within(own)}]}}),
                json!({"id": 1, "result": {"messages": [{"role": "user", "content": within(full)}]}}),
            ),
            (
                json!({"id": 1, "result": {"taskId": "t", "status": "completed", "result": {"content": [link(own)]}}}),
                json!({"id": 1, "result": {"taskId": "t", "status": "completed", "result": {"content": [link(full)]}}}),
            ),
            (
                json!({"id": 7, "method": "sampling/createMessage", "params": {"_meta": {"progressToken": "p"}, "maxTokens": 1}}),
                json!({"id": "crm/7", "method": "sampling/createMessage", "params": {"_meta": {"progressToken": "crm/\"p\""}, "maxTokens": 1}}),
            ),
            (
                json!({"method": "notifications/cancelled", "params": {"requestId": "a/b"}}),
                json!({"method": "notifications/cancelled", "params": {"requestId": "crm/\"a/b\""}}),
            ),
            (
                json!({"method": "notifications/resources/updated", "params": {"uri": own}}),
                json!({"method": "notifications/resources/updated", "params": {"uri": full}}),
            ),
            (
                json!({"method": "notifications/subscriptions/acknowledged", "params": {"notifications": {"resourceSubscriptions": [own]}}}),
                json!({"method": "notifications/subscriptions/acknowledged", "params": {"notifications": {"resourceSubscriptions": [full]}}}),
            ),
        ] {
            assert_eq!(back(&said), expected);
        }
    }

    #[test]
    fn all_else_stays_byte_for_byte() {
        for same in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"file:///x"}],"n":1.50}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"uri":"file:///x"}}}"#,
            ": not JSON \"uri\"",
        ] {
            assert_eq!(message(same, "crm"), Ok(None), "{same}");
        }
        let said = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"a:b","n":1.50}],"x":1e2}}"#;
        let expected =
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"crm+a:b","n":1.50}],"x":1e2}}"#;
        assert_eq!(message(said, "crm").as_ref().map(Option::as_deref), Ok(Some(expected)));
    }

    #[test]
    fn what_cannot_be_read_does_not_pass() {
        for bad in [
            r#"{"method":"x","method":"y"}"#,
            r#"{"result":{"contents":[{"uri":"a","URI":"b"}]}}"#,
            r#"{"uri":"#,
        ] {
            assert_eq!(
                message(bad, "crm").map_err(|refusal| refusal.code),
                Err(Code::UpstreamInvalid),
                "{bad}"
            );
        }
        let long = json!({"id": "x".repeat(1_100), "method": "ping"}).to_string();
        assert!(message(&long, "crm").is_err());
    }
}
