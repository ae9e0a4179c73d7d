//! One message of JSON-RPC, read as far as it takes to know where it goes. All else in it passes as it was written: what has another
//! id on the other side is put in its place, and the bytes around it stay.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The member of `_meta` by which a request is of the stateless era (MCP 2026-07-28).
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` that names the `subscriptions/listen` which a message is of.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Members of an object that is looked into. No message of MCP has more; finding one that is there twice takes their square.
const MOST_MEMBERS: usize = 1024;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    Response,
}

/// An id in a message: what it says, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its JSON in one spelling, so that two are equal when they mean the same.
    pub(crate) key: String,
    at: Range<usize>,
}

/// A message, and what of it decides where it goes.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    text: &'a str,
    pub(crate) kind: Kind,
    /// Empty for a response.
    pub(crate) method: String,
    /// `None` for a notification, and for an error that answers nothing in particular.
    pub(crate) id: Option<Part>,
    /// Of a request: `params._meta.progressToken`. Of a notification of progress: `params.progressToken`.
    pub(crate) token: Option<Part>,
    /// Of `notifications/cancelled`: `params.requestId`.
    pub(crate) subject: Option<Part>,
    /// Of a message of a subscription.
    pub(crate) subscription: Option<Part>,
    /// The version that a request of the stateless era names.
    pub(crate) version: Option<String>,
    /// `params.name`, or `params.uri` where it reads a resource.
    pub(crate) name: Option<String>,
    /// `params.protocolVersion`, which `initialize` has.
    pub(crate) offered: Option<String>,
    /// The code of an error.
    pub(crate) error: Option<i64>,
    /// The JSON of a result.
    pub(crate) result: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// Says why it is none: no JSON, no JSON-RPC 2.0, a batch, an id that is neither text nor a whole number, a member that is there twice.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let members = Members::of(text)?;
        if members.text("jsonrpc").as_deref() != Some("2.0") {
            return Err("it is no message of JSON-RPC 2.0".to_owned());
        }
        let method = members.get("method").map(text_of).transpose()?;
        let id = match members.get("id") {
            Some(raw) if raw == "null" && method.is_none() => None,
            Some(raw) => Some(Part::id(text, raw)?),
            None => None,
        };
        let (result, error) = (members.get("result"), members.get("error"));
        let kind = match (&method, members.get("id"), result, error) {
            (Some(_), Some(_), None, None) => Kind::Request,
            (Some(_), None, None, None) => Kind::Notification,
            (None, Some(_), Some(_), None) if id.is_some() => Kind::Response,
            (None, _, None, Some(_)) => Kind::Response,
            _ => return Err("it is neither request, notification nor response".to_owned()),
        };
        let mut message = Self {
            text,
            kind,
            method: method.unwrap_or_default(),
            id,
            token: None,
            subject: None,
            subscription: None,
            version: None,
            name: None,
            offered: None,
            error: error.and_then(code_of),
            result,
        };
        message.look_into(members.get("params").or(result))?;
        Ok(message)
    }

    /// What is inside of `params`, or of a result.
    fn look_into(&mut self, inner: Option<&'a str>) -> Result<(), String> {
        let Some(inner) = inner.filter(|inner| inner.starts_with('{')) else { return Ok(()) };
        let members = Members::of(inner)?;
        let meta = members.get("_meta").filter(|meta| meta.starts_with('{')).map(Members::of).transpose()?;
        let text = self.text;
        let part = |raw: Option<&str>| {
            let given = raw.filter(|raw| *raw != "null");
            given.map(|raw| Part::id(text, raw)).transpose()
        };
        let in_meta = |name: &str| meta.as_ref().and_then(|meta| meta.get(name));
        self.subscription = part(in_meta(SUBSCRIPTION))?;
        if self.kind == Kind::Response {
            return Ok(());
        }
        self.token = match self.method.as_str() {
            "notifications/progress" => part(members.get("progressToken"))?,
            _ => part(in_meta("progressToken"))?,
        };
        if self.method == "notifications/cancelled" {
            self.subject = part(members.get("requestId"))?;
        }
        self.version = in_meta(VERSION).map(text_of).transpose()?;
        let named = if self.method == "resources/read" { "uri" } else { "name" };
        self.name = members.text(named);
        self.offered = members.text("protocolVersion");
        Ok(())
    }

    /// The bytes of the message on one line, with other text in place of some of its parts.
    pub(crate) fn line(&self, replaced: &[(&Part, &str)]) -> Vec<u8> {
        let mut replaced = replaced.to_vec();
        replaced.sort_by_key(|(part, _)| part.at.start);
        let mut line = Vec::with_capacity(self.text.len() + 64);
        let mut from = 0;
        for (part, by) in replaced {
            line.extend_from_slice(self.text.get(from..part.at.start).unwrap_or_default().as_bytes());
            line.extend_from_slice(by.as_bytes());
            from = part.at.end;
        }
        line.extend_from_slice(self.text.get(from..).unwrap_or_default().as_bytes());
        // Line breaks are nothing but space in JSON: within text they are escaped.
        line.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line
    }

    /// A part as it is written in the message.
    pub(crate) fn written(&self, part: &Part) -> String {
        self.text.get(part.at.clone()).unwrap_or_default().to_owned()
    }
}

impl Part {
    fn id(text: &str, raw: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        if !(value.is_string() || value.is_i64() || value.is_u64()) {
            return Err("an id is neither text nor a whole number".to_owned());
        }
        // What was read borrows from the text, so its place there is known.
        let begins = raw.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        Ok(Self { key: value.to_string(), at: begins..begins + raw.len() })
    }
}

fn text_of(raw: &str) -> Result<String, String> {
    serde_json::from_str(raw).map_err(|_| "a member that is text is something else".to_owned())
}

fn code_of(error: &str) -> Option<i64> {
    serde_json::from_str::<Value>(error).ok()?.get("code")?.as_i64()
}

/// The members of an object, none of them twice.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, raw)| *raw)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|raw| text_of(raw).ok())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de str)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let raw = map.next_value::<&'de RawValue>()?.get();
                    // Two readers of one message must see one.
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    if members.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("it has too many members"));
                    }
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message<'_>, String> {
        Message::read(text.as_bytes())
    }

    #[test]
    fn what_is_not_read_passes_as_it_was_written() {
        let text = "{ \"x\":1e2 ,\"id\": \"\\u0061\",\n\"jsonrpc\":\"2.0\", \"method\":\"new/thing\",\r\n\"params\":{\"_meta\":{\"progressToken\":  7 ,\"z\":[\"{\"]},\"q\":\"id\"}}";
        let message = read(text).expect("a message");
        assert_eq!((message.kind, message.method.as_str()), (Kind::Request, "new/thing"));
        let (id, token) = (message.id.clone().expect("an id"), message.token.clone().expect("a token"));
        assert_eq!((id.key.as_str(), message.written(&id).as_str()), ("\"a\"", "\"\\u0061\""));
        let same = message.line(&[]);
        assert_eq!(String::from_utf8(same).expect("text"), text.replace(['\n', '\r'], " "));
        let other = String::from_utf8(message.line(&[(&token, "12"), (&id, "12")])).expect("text");
        let expected =
            text.replace(['\n', '\r'], " ").replacen("\"\\u0061\"", "12", 1).replacen("  7 ", "  12 ", 1);
        assert_eq!(other, expected);
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        for bad in [
            "",
            "hello",
            "[]",
            "{}",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"initialize"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","method":5}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\nb\",\"method\":\"ping\"}",
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":2,"method":"ping"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Message::read(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_err());
        let many = (0..2000).map(|n| format!("\"m{n}\":0,")).collect::<String>();
        assert!(read(&format!("{{{many}\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}")).is_err());
    }

    #[test]
    fn where_a_message_goes_is_read() {
        let progress = read(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#,
        );
        assert_eq!(progress.expect("read").token.expect("a token").key, "\"t\"");
        let cancelled =
            read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#);
        assert_eq!(cancelled.expect("read").subject.expect("a request").key, "3");
        let of = read(
            r#"{"jsonrpc":"2.0","id":4,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":4}}}"#,
        );
        assert_eq!(of.expect("read").subscription.expect("a subscription").key, "4");
        let modern = read(
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","name":"n","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        )
        .expect("read");
        assert_eq!((modern.version.as_deref(), modern.name.as_deref()), (Some("2026-07-28"), Some("a:b")));
        let error =
            read(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#).expect("read");
        assert_eq!((error.kind, error.id, error.error), (Kind::Response, None, Some(-32700)));
    }
}
