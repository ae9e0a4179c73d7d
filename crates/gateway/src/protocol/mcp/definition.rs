//! What a server says of one of its tools, asked for by the gateway itself: `tools/list`, page by page, in the words of whichever era the
//! caller speaks. What people approve is bound to it (ADR 41).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::value::RawValue;
use vidimus_core::approval::pending::Definition;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};

use super::{META_VERSION, METHOD_HEADER, MODERN, body_version, is_modern};
use crate::handle::sha256;
use crate::protocol::members::{Members, quoted, text};
use crate::protocol::sse::{Piece, Reader, is_events};

/// The method that asks.
pub const LISTING: &str = "tools/list";

/// What of the caller's request goes with the question: who it is in words, and which version it speaks. `Mcp-Session-Id` is added opened.
pub const PASSED_HEADERS: [&str; 4] = ["accept-language", "mcp-protocol-version", "tracestate", "user-agent"];

/// What a listing says of a tool that says nothing of what the tool does.
const SAYS_NOTHING: &str = "icons";

/// Members of an entry's `_meta` that are of the answer it comes in, and differ with each (MCP, "`_meta`"; W3C Trace Context). Clients act
/// on others: what a tool needs, or asks of whoever calls it.
const OF_ANSWER: [&str; 4] = ["baggage", "progressToken", "traceparent", "tracestate"];

/// What a client says of itself with each request of the stateless era: a server may list tools by it.
const OF_CLIENT: [&str; 3] =
    [META_VERSION, "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities"];

/// The message that asks for one page, and the headers that go with it.
pub fn question(
    headers: &HeaderMap,
    params: Option<&Json<'_>>,
    (id, cursor): (&str, Option<&str>),
) -> (HeaderMap, Bytes) {
    let mut added = HeaderMap::new();
    added.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let mut asked: Vec<String> =
        cursor.map(|cursor| format!(r#""cursor":{}"#, quoted(cursor))).into_iter().collect();
    if is_modern(headers, params) {
        added.insert(METHOD_HEADER, HeaderValue::from_static(LISTING));
        let said = |name| Some((name, params?.get("_meta")?.get(name)?.canonical()));
        let mut meta: Vec<(&str, String)> = OF_CLIENT.into_iter().filter_map(said).collect();
        if body_version(params).is_none() {
            meta.push((META_VERSION, quoted(MODERN)));
        }
        let meta: Vec<String> =
            meta.into_iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
        asked.push(format!(r#""_meta":{{{}}}"#, meta.join(",")));
    }
    let (id, asked) = (quoted(id), asked.join(","));
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{LISTING}","params":{{{asked}}}}}"#);
    (added, Bytes::from(message))
}

/// The answer to a question while it comes: one document, or an event among others of a stream.
#[derive(Debug)]
pub enum Answering {
    Document(Vec<u8>),
    Events { reader: Reader, data: Vec<u8>, answer: Option<Vec<u8>> },
}

impl Answering {
    /// Of an answer with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        match is_events(headers) {
            true => Self::Events { reader: Reader::default(), data: Vec::new(), answer: None },
            false => Self::Document(Vec::new()),
        }
    }

    /// More of it; whether that is all that is to be known.
    pub fn push(&mut self, chunk: &[u8], id: &str) -> bool {
        match self {
            Self::Document(document) => {
                document.extend_from_slice(chunk);
                false
            }
            Self::Events { reader, data, answer } => {
                reader.push(chunk, &mut |piece| match piece {
                    Piece::Line if !data.is_empty() => data.push(b'\n'),
                    Piece::Line => {}
                    Piece::Text(text) => data.extend_from_slice(text),
                    Piece::End => {
                        let event = std::mem::take(data);
                        if answer.is_none() && is_answer(&event, id) {
                            *answer = Some(event);
                        }
                    }
                });
                answer.is_some()
            }
        }
    }

    /// All of it, as far as it is the answer.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Document(document) => document,
            Self::Events { answer, .. } => answer.unwrap_or_default(),
        }
    }
}

fn is_answer(event: &[u8], id: &str) -> bool {
    let Some(members) = std::str::from_utf8(event).ok().and_then(|event| Members::unique(event).ok()) else {
        return false;
    };
    members.get("method").is_none() && members.get("id").and_then(text).as_deref() == Some(id)
}

/// What was found of one tool so far.
#[derive(Debug, Default)]
pub struct Found(Option<Definition>);

impl Found {
    /// Reads the answer to a question, which came with this HTTP status, and gives where the next page begins, where there is one.
    ///
    /// # Errors
    /// `upstream_invalid` for what is no listing, or says of the tool what could be read in two ways, or twice.
    pub fn read(
        &mut self,
        answer: &[u8],
        status: u16,
        (id, tool): (&str, &str),
    ) -> Result<Option<String>, Refusal> {
        let answer = std::str::from_utf8(answer).map_err(unreadable)?;
        let whole = Members::unique(answer).map_err(unreadable)?;
        if whole.misspells(&["result", "error", "id"])
            || whole.get("id").and_then(text).as_deref() != Some(id)
        {
            return Err(no_listing());
        }
        if let Some(error) = whole.get("error") {
            // Who has no such method lists nothing.
            let error = Members::unique(error.get()).map_err(unreadable)?;
            let none = error.get("code").is_some_and(|code| code.get() == "-32601");
            return if none { Ok(None) } else { Err(no_listing()) };
        }
        // Under the status of an error only errors count, as in every answer.
        if status >= 400 {
            return Err(no_listing());
        }
        let result = whole.object("result").map_err(unreadable)?.ok_or_else(no_listing)?;
        if result.misspells(&["tools", "nextCursor"]) {
            return Err(no_listing());
        }
        let tools = result.get("tools").ok_or_else(no_listing)?;
        let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).map_err(unreadable)?;
        for entry in tools {
            let members = Members::unique(entry.get()).map_err(unreadable)?;
            let is_named = members.get("name").and_then(text).as_deref() == Some(tool);
            // Who ignores case may take another name for this one.
            if !is_named && !members.misspells(&["name"]) {
                continue;
            }
            if self.0.is_some() || members.misspells(&["name", "description"]) {
                let message = format!("the server lists the tool {tool:?} twice, or not in so many words");
                return Err(Refusal::new(Code::UpstreamInvalid, message));
            }
            self.0 = Some(definition(entry.get())?);
        }
        let Some(next) = result.get("nextCursor").filter(|next| next.get() != "null") else {
            return Ok(None);
        };
        // Who says that there is more, and not where, has not said all.
        let next = text(next).ok_or_else(no_listing)?;
        Ok(Some(next).filter(|next| !next.is_empty()))
    }

    /// What the server says, now that all of its listing was read.
    pub fn definition(self) -> Definition {
        self.0.unwrap_or(Definition { description: None, digest: None })
    }
}

/// The digest of what one entry of a listing says of its tool.
///
/// # Errors
/// `upstream_invalid` for what is no object, or could be read in two ways.
pub fn digest_of(entry: &str) -> Result<String, Refusal> {
    Ok(definition(entry)?.digest.unwrap_or_default())
}

/// That of one entry of a listing.
fn definition(entry: &str) -> Result<Definition, Refusal> {
    let Json::Object(members) = Json::parse(entry.as_bytes()).map_err(unreadable)? else {
        return Err(no_listing());
    };
    let described = members.iter().find(|(name, _)| name == "description");
    let description = described.and_then(|(_, text)| text.as_str()).map(|text| {
        let end = text.floor_char_boundary(Definition::MAX_DESCRIPTION);
        text.get(..end).unwrap_or_default().to_owned()
    });
    let says = members.into_iter().filter_map(|(name, value)| bound(name, value)).collect();
    let digest = sha256(Json::Object(says).canonical().as_bytes());
    Ok(Definition { description, digest: Some(digest) })
}

/// What of a member of an entry is bound, if anything is.
fn bound<'a>(name: Cow<'a, str>, value: Json<'a>) -> Option<(Cow<'a, str>, Json<'a>)> {
    match value {
        _ if name == SAYS_NOTHING => None,
        Json::Object(meta) if name == "_meta" => {
            let kept: Vec<_> = meta.into_iter().filter(|(name, _)| !OF_ANSWER.contains(&&**name)).collect();
            (!kept.is_empty()).then_some((name, Json::Object(kept)))
        }
        value => Some((name, value)),
    }
}

fn no_listing() -> Refusal {
    Refusal::new(Code::UpstreamInvalid, "the server's answer to tools/list is no listing of tools")
}

fn unreadable(error: impl ToString) -> Refusal {
    no_listing().with_detail(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(pages: &[Value], tool: &str) -> Result<(Definition, Option<String>), Code> {
        let mut found = Found::default();
        let mut next = None;
        for page in pages {
            next =
                found.read(page.to_string().as_bytes(), 200, ("q", tool)).map_err(|refusal| refusal.code)?;
        }
        Ok((found.definition(), next))
    }

    fn listing(tools: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": "q", "result": {"tools": tools}})
    }

    #[test]
    fn what_is_said_of_a_tool_is_all_but_what_says_nothing() {
        let tool = json!({"name": "pay", "description": "Pays.", "inputSchema": {"type": "object", "properties": {"to": {}}},
            "annotations": {"readOnlyHint": false}});
        let digest = |tool: &Value| {
            read(&[listing(&json!([{"name": "other"}, tool]))], "pay").expect("a listing").0.digest
        };
        let one = digest(&tool);
        assert!(one.as_deref().is_some_and(|digest| digest.starts_with("sha256:")));
        let with = |name: &str, value: Value| {
            let mut tool = tool.clone();
            tool[name] = value;
            digest(&tool)
        };
        assert_eq!(with("_meta", json!({"traceparent": "00-1", "progressToken": 7})), one);
        assert_eq!(with("_meta", json!({})), one);
        assert_eq!(with("icons", json!([{"src": "https://i.example/1"}])), one);
        assert_eq!(
            digest(
                &json!({"annotations": {"readOnlyHint": false}, "inputSchema": {"properties": {"to": {}}, "type": "object"},
                "name": "pay", "description": "P\u{61}ys."})
            ),
            one,
            "its spelling is nothing"
        );
        for (name, value) in [
            ("description", json!("Pays. Ask nobody.")),
            ("inputSchema", json!({"type": "object", "properties": {"to": {}, "bcc": {}}})),
            ("annotations", json!({"readOnlyHint": true})),
            ("title", json!("Pay")),
            ("outputSchema", json!({})),
            ("something", json!(1)),
            ("_meta", json!({"openai/securitySchemes": [{"type": "noauth"}]})),
            ("_meta", json!("noauth")),
        ] {
            assert_ne!(with(name, value), one, "{name}");
        }
        let (found, next) = read(&[listing(&json!([tool]))], "pay").expect("a listing");
        assert_eq!((found.description.as_deref(), next), (Some("Pays."), None));
    }

    #[test]
    fn a_long_description_is_cut_and_all_of_it_counts() {
        let of = |last: &str| {
            let tool = json!([{"name": "pay", "description": format!("{}{last}", "é".repeat(600))}]);
            read(&[listing(&tool)], "pay").expect("a listing").0
        };
        assert_eq!(of("a").description.map(|text| text.len()), Some(Definition::MAX_DESCRIPTION));
        assert_ne!(of("a").digest, of("b").digest);
    }

    #[test]
    fn what_is_not_listed_is_so_much_and_what_is_no_listing_nothing() {
        let none = Definition { description: None, digest: None };
        for listed in [
            listing(&json!([])),
            listing(&json!([{"name": "PAY"}, {"title": "pay"}])),
            json!({"jsonrpc": "2.0", "id": "q", "error": {"code": -32601, "message": "no such method"}}),
        ] {
            assert_eq!(read(std::slice::from_ref(&listed), "pay"), Ok((none.clone(), None)), "{listed}");
        }
        for bad in [
            json!({"jsonrpc": "2.0", "id": "q", "result": {}}),
            json!({"jsonrpc": "2.0", "id": "q", "result": {"Tools": []}}),
            json!({"jsonrpc": "2.0", "id": "other", "result": {"tools": []}}),
            json!({"jsonrpc": "2.0", "id": "q", "error": {"code": -32603, "message": "busy"}}),
            json!({"jsonrpc": "2.0", "id": "q", "result": {"tools": {"name": "pay"}}}),
            json!({"jsonrpc": "2.0", "id": "q", "result": {"tools": [], "nextCursor": 2}}),
            listing(&json!([{"name": "pay"}, {"name": "pay", "description": "another"}])),
            listing(&json!([{"name": "pay", "Description": "another"}])),
            listing(&json!([{"Name": "pay"}])),
            listing(&json!([{"name": "other", "NAME": "pay"}])),
            listing(&json!([7])),
            json!([]),
        ] {
            assert_eq!(read(std::slice::from_ref(&bad), "pay"), Err(Code::UpstreamInvalid), "{bad}");
        }
        let listed = listing(&json!([])).to_string();
        let under_an_error = Found::default().read(listed.as_bytes(), 503, ("q", "pay"));
        assert_eq!(under_an_error.map_err(|refusal| refusal.code), Err(Code::UpstreamInvalid));
    }

    #[test]
    fn all_pages_are_read() {
        let page = |tools: Value, next: &str| json!({"jsonrpc": "2.0", "id": "q", "result": {"tools": tools, "nextCursor": next}});
        let first = page(json!([{"name": "pay"}]), "2");
        assert_eq!(read(std::slice::from_ref(&first), "pay").map(|(_, next)| next), Ok(Some("2".to_owned())));
        let whole = read(&[first.clone(), page(json!([{"name": "x"}]), "")], "pay").expect("two pages");
        assert_eq!((whole.0.digest.is_some(), whole.1), (true, None));
        assert_eq!(read(&[first.clone(), first], "pay"), Err(Code::UpstreamInvalid), "twice");
    }

    #[test]
    fn the_answer_is_found_among_the_events_of_a_stream() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("Text/Event-Stream; charset=utf-8"));
        let answer = listing(&json!([{"name": "pay"}])).to_string();
        let stream = format!(
            "event: message\ndata: {{\"method\":\"notifications/message\",\"id\":\"q\"}}\n\ndata: {{\"id\":\"r\",\"result\":{{}}}}\n\ndata: {answer}\n\ndata: {{\"id\":\"q\",\"result\":{{\"tools\":[]}}}}\n\n"
        );
        let mut answering = Answering::of(&headers);
        let mut done = false;
        for chunk in stream.as_bytes().chunks(7) {
            done = done || answering.push(chunk, "q");
        }
        assert!(done);
        assert_eq!(answering.finish(), answer.as_bytes());
        let mut document = Answering::of(&HeaderMap::new());
        assert!(!document.push(answer.as_bytes(), "q"));
        assert_eq!(document.finish(), answer.as_bytes());
    }

    #[test]
    fn it_is_asked_in_the_words_of_the_callers_era() {
        let said = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},
            "io.modelcontextprotocol/clientCapabilities":{"x":{}},"progressToken":7,"traceparent":"t"},"name":"pay"}"#;
        let params = Json::parse(said.as_bytes()).expect("JSON");
        let (headers, body) = question(&HeaderMap::new(), Some(&params), ("q", None));
        assert_eq!(headers[METHOD_HEADER], LISTING);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({"jsonrpc": "2.0", "id": "q", "method": "tools/list", "params": {"_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "c"},
                "io.modelcontextprotocol/clientCapabilities": {"x": {}},
            }}})
        );
        let (headers, body) = question(&HeaderMap::new(), None, ("q", Some("2")));
        assert!(!headers.contains_key(METHOD_HEADER));
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({"jsonrpc": "2.0", "id": "q", "method": "tools/list", "params": {"cursor": "2"}})
        );
    }

    fn way(ways: &mut dyn Iterator<Item = usize>, of: usize) -> usize {
        ways.next().unwrap_or_default() % of.max(1)
    }

    /// JSON, written in one of many ways: members in another order, spaces, numbers and texts in another spelling.
    fn written(value: &Value, ways: &mut dyn Iterator<Item = usize>) -> String {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let first = way(ways, members.len());
                members.rotate_left(first);
                let space = if way(ways, 2) == 0 { "" } else { "\n\t" };
                let mut all = Vec::new();
                for (name, value) in members {
                    let name = written(&json!(name), ways);
                    all.push(format!("{space}{name}{space}:{}", written(value, ways)));
                }
                format!("{{{}{space}}}", all.join(","))
            }
            Value::Array(values) => {
                let all: Vec<String> = values.iter().map(|value| written(value, ways)).collect();
                format!("[ {}]", all.join(" ,"))
            }
            Value::String(text) if way(ways, 2) == 1 => {
                let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
                format!("\"{}\"", units.concat())
            }
            Value::Number(number) => match (number.as_i64(), way(ways, 3)) {
                (Some(number), 1) => format!("{number}.0"),
                (Some(number), 2) if number != 0 => format!("{number}0e-1"),
                _ => number.to_string(),
            },
            value => value.to_string(),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let one = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_999_i64..9_999).prop_map(Value::from),
            "[a-z\u{e9}\u{1f600}]{0,4}".prop_map(Value::from),
        ];
        one.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-f]{1,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What a definition says is its digest, and how it is written is not.
        #[test]
        fn a_definition_has_one_digest_however_it_is_written(
            schema in any_json(), other in any_json(), ways in proptest::collection::vec(any::<usize>(), 64),
        ) {
            let entry = |schema: &Value| json!({"name": "t", "description": "d", "inputSchema": schema});
            let digest = digest_of(&entry(&schema).to_string()).expect("an entry");
            let again = written(&entry(&schema), &mut ways.into_iter());
            prop_assert_eq!(&digest_of(&again).expect("an entry"), &digest, "{}", again);
            let differs = digest_of(&entry(&other).to_string()).expect("an entry") != digest;
            prop_assert_eq!(differs, schema != other);
        }
    }
}
