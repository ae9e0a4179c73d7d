//! What a server says of its tools to a person who pins them (`vidimus pin`, ADR 76). It is no call of an agent's: who asks does so with what they
//! have, from where they are.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use vidimus_core::refusal::{Code, Refusal};

use crate::beside::chain;
use crate::forward::{AddressGuard, Client, client_beside};
use crate::protocol::mcp::definition::{Answering, LISTING, digest_of};
use crate::protocol::mcp::results;
use crate::protocol::mcp::schema::unheld;
use crate::protocol::mcp::{HANDSHAKE, MODERN, SESSION_HEADER, VERSION_HEADER};
use crate::protocol::members::{Members, text};

/// From the first question to the last answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer to one question, in bytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The most pages of a listing that are asked for.
const MOST_PAGES: usize = 32;
/// Which method a request is about (2026-07-28).
const METHOD: &str = "mcp-method";

/// A tool, as its server describes it.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedTool {
    /// Its name.
    pub name: String,
    /// The digest of its definition, as a record pins it: `sha256:` and hex.
    pub digest: String,
    /// Its entry in the listing.
    pub definition: Value,
    /// Why arguments cannot be held to its input schema; `None` where they can.
    pub unheld: Option<String>,
    /// Why results cannot be held to its output schema; `None` where they can, or it has none.
    pub unheld_results: Option<String>,
}

/// The tools in the result of `tools/list`, and where the next page begins, where there is one.
///
/// # Errors
/// `upstream_invalid` for what is no listing, or could be read in two ways.
pub fn described(result: &str) -> Result<(Vec<DescribedTool>, Option<String>), Refusal> {
    let bad = |error: &dyn std::fmt::Display| {
        Refusal::new(Code::UpstreamInvalid, "the server's answer to tools/list is no listing of tools")
            .with_detail(error)
    };
    let members = Members::unique(result).map_err(|error| bad(&error))?;
    if members.misspells(&["tools", "nextCursor"]) {
        return Err(bad(&"a member is spelled in two ways"));
    }
    let tools = members.get("tools").ok_or_else(|| bad(&"it has no tools"))?;
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).map_err(|error| bad(&error))?;
    let mut all = Vec::new();
    for entry in tools {
        let entry = entry.get();
        let members = Members::unique(entry).map_err(|error| bad(&error))?;
        let name = members.get("name").and_then(text).ok_or_else(|| bad(&"a tool has no name"))?;
        let definition = serde_json::from_str(entry).map_err(|error| bad(&error))?;
        let (unheld, unheld_results) = (unheld(entry), results::unheld(entry));
        all.push(DescribedTool { name, digest: digest_of(entry)?, definition, unheld, unheld_results });
    }
    let next = members.get("nextCursor").and_then(text).filter(|next| !next.is_empty());
    Ok((all, next))
}

/// Asks the MCP server at an address for its tools, in whichever era it speaks; with this credential, where there is one: a header field and its value.
///
/// # Errors
/// Why that is not known.
pub async fn ask_tools(
    address: &str,
    roots: Option<&[u8]>,
    credential: Option<(&str, &str)>,
) -> Result<Vec<DescribedTool>, String> {
    let asking = Conversation::with(address, roots, credential)?.tools();
    tokio::time::timeout(PATIENCE, asking)
        .await
        .map_err(|_| format!("the server did not say it in {} s", PATIENCE.as_secs()))?
}

/// What goes between this and a server.
struct Conversation {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    modern: bool,
}

impl Conversation {
    fn with(address: &str, roots: Option<&[u8]>, credential: Option<(&str, &str)>) -> Result<Self, String> {
        let uri = address.parse::<Uri>().map_err(|error| format!("{address}: {error}"))?;
        let guard = AddressGuard::default();
        guard.check_literal(uri.host().unwrap_or_default()).map_err(|refusal| refusal.message.to_string())?;
        let client = client_beside(guard, roots).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("vidimus/", env!("CARGO_PKG_VERSION"))));
        if let Some((name, value)) = credential {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| "the token has characters that no header has".to_owned())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { client, uri, headers, modern: false })
    }

    /// All tools, page by page.
    async fn tools(mut self) -> Result<Vec<DescribedTool>, String> {
        self.begin().await?;
        let (mut all, mut names, mut cursor) = (Vec::new(), BTreeSet::new(), None::<String>);
        for page in 0..MOST_PAGES {
            let mut params = json!({});
            if self.modern {
                params = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": client_info(), "io.modelcontextprotocol/clientCapabilities": {}}});
            }
            if let (Some(cursor), Some(params)) = (&cursor, params.as_object_mut()) {
                params.insert("cursor".to_owned(), Value::from(cursor.as_str()));
            }
            let (_, result) = self.ask(&format!("list-{page}"), LISTING, &params).await?;
            let (tools, next) = described(&result).map_err(|refusal| refusal.to_string())?;
            for tool in tools {
                if !names.insert(tool.name.clone()) {
                    return Err(format!("the server lists the tool {:?} twice", tool.name));
                }
                all.push(tool);
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
        Err(format!("its listing has more than {MOST_PAGES} pages"))
    }

    /// The handshake; a server that knows none is of the era without one.
    async fn begin(&mut self) -> Result<(), String> {
        let version = HANDSHAKE.first().copied().unwrap_or_default();
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client_info()});
        match self.ask("begin", "initialize", &params).await {
            Ok((headers, result)) => {
                let result: Value = serde_json::from_str(&result).map_err(|error| error.to_string())?;
                let chosen = result.get("protocolVersion").and_then(Value::as_str).unwrap_or(version);
                let chosen = HeaderValue::try_from(chosen).map_err(|error| error.to_string())?;
                self.headers.insert(VERSION_HEADER, chosen);
                if let Some(session) = headers.get(SESSION_HEADER) {
                    self.headers.insert(SESSION_HEADER, session.clone());
                }
                let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                self.send(begun.to_string()).await.map(drop)
            }
            Err(why) if why.starts_with(UNREACHED) => Err(why),
            Err(_) => {
                self.modern = true;
                self.headers.insert(VERSION_HEADER, HeaderValue::from_static(MODERN));
                self.headers.insert(METHOD, HeaderValue::from_static(LISTING));
                Ok(())
            }
        }
    }

    /// The result of one question, as it stands in the answer.
    async fn ask(&self, id: &str, method: &str, params: &Value) -> Result<(HeaderMap, String), String> {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (status, headers, body) = self.send(message.to_string()).await?;
        let answer = read(&headers, body, id).await?;
        let failed = || match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("the server answered {status}: give a token for it in VIDIMUS_PIN_TOKEN")
            }
            _ => format!("the server answered {status} to {method}, and no result"),
        };
        let members = std::str::from_utf8(&answer).ok().and_then(|text| Members::unique(text).ok());
        let members = members.ok_or_else(failed)?;
        if let Some(error) = members.get("error") {
            let shown: String = error.get().chars().take(256).collect();
            return Err(format!("the server answered {method} with {shown}"));
        }
        let is_answer = status.is_success() && members.get("id").and_then(text).as_deref() == Some(id);
        let result = members.get("result").filter(|_| is_answer).ok_or_else(failed)?;
        Ok((headers, result.get().to_owned()))
    }

    async fn send(&self, message: String) -> Result<(StatusCode, HeaderMap, Incoming), String> {
        let mut request = Request::post(self.uri.clone())
            .body(Full::new(Bytes::from(message)))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let response = self.client.request(request).await;
        let (parts, body) =
            response.map_err(|error| format!("{UNREACHED} {}: {}", self.uri, chain(&error)))?.into_parts();
        Ok((parts.status, parts.headers, body))
    }
}

/// How it begins that nothing answers.
const UNREACHED: &str = "nothing answers at";

fn client_info() -> Value {
    json!({"name": "vidimus", "version": env!("CARGO_PKG_VERSION")})
}

/// The answer to the question of this id.
async fn read(headers: &HeaderMap, mut body: Incoming, id: &str) -> Result<Vec<u8>, String> {
    let (mut answering, mut length) = (Answering::of(headers), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| chain(&error))?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > MAX_ANSWER {
            return Err(format!("the server's answer is larger than {MAX_ANSWER} bytes"));
        }
        if answering.push(&data, id) {
            break;
        }
    }
    Ok(answering.finish())
}
