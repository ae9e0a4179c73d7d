//! Gateway, upstream and issuer together, and what attackers have in their hands: tokens, sessions, tasks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::gateway::Gateway;
use crate::http2::{self, Part};
use crate::issuer::Issuer;
use crate::probe::{Message, Request};
use crate::probes::{INITIALIZE, INITIALIZED, MESSAGE, a2a, mcp};
use crate::reply::Reply;
use crate::upstream::Upstream;
use crate::wire::{self, Answer};

/// All that a probe is tried on.
#[derive(Debug)]
pub struct Stage {
    pub gateway: Gateway,
    pub upstream: Upstream,
    issuer: Issuer,
    values: BTreeMap<String, String>,
}

impl Stage {
    /// Starts everything. `times` are further flags of the gateway.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(binary: &Path, times: &[&str]) -> anyhow::Result<Self> {
        let (upstream, issuer) = (Upstream::start()?, Issuer::start()?);
        let gateway = Gateway::start(binary, upstream.address(), &issuer.url(), times)?;
        Ok(Self { gateway, upstream, issuer, values: BTreeMap::new() })
    }

    /// What a name stands for in requests:
    /// `host`, `admin`, `upstream`; the token of a registered subject (`alice`); `short/alice`, one that has ended; `for/alice`, with a
    /// person; `aud/alice`, for somebody else; `forged/CASE`, of the other issuer; `hop/alice`, the token of a hop that alice made to the
    /// callee; `hop-to/shallow`, of one that alice made to shallow; `session/alice`, `task/alice`, `context/alice`, `mcp-task/alice`;
    /// each with `flipped/` before it, one letter changed, and tokens with `unsigned/`, the signature taken away.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn value(&mut self, name: &str) -> anyhow::Result<String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let value = self.made(name).with_context(|| name.to_owned())?;
        self.values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn made(&mut self, name: &str) -> anyhow::Result<String> {
        let Some((kind, who)) = name.split_once('/') else {
            return match name {
                "host" => Ok(self.gateway.listen.to_string()),
                "admin" => Ok(self.gateway.admin.to_string()),
                "upstream" => Ok(self.upstream.address().to_string()),
                subject => self.gateway.token(subject, &[]),
            };
        };
        match kind {
            "for" => self.gateway.token(who, &["--user", "grace@example.com"]),
            "aud" => self.gateway.token(who, &["--audience", "somebody-else"]),
            "short" => {
                let token = self.gateway.command(&["identity", "token", "--subject", who, "--ttl", "1s"])?;
                // Nothing else ends a token.
                std::thread::sleep(Duration::from_millis(2_100));
                Ok(token.trim().to_owned())
            }
            "forged" => self.issuer.token(who),
            "flipped" => self.value(who).map(|value| flipped(&value)),
            "unsigned" => Ok(unsigned(&self.value(who)?)),
            "hop" => self.hop(&a2a("SendMessage", MESSAGE).by(who)),
            "hop-to" => self.hop(&a2a("SendMessage", MESSAGE).at(&format!("/a2a/r/{who}"))),
            "session" => self.session(who),
            "task" => self.task(who, "/result/task/id"),
            "context" => self.task(who, "/result/task/contextId"),
            "mcp-task" => self.mcp_task(who),
            _ => Err(anyhow!("nothing has that name")),
        }
    }

    fn hop(&mut self, message: &Message) -> anyhow::Result<String> {
        let mark = self.upstream.count();
        self.prepare(message, Reply::Proper)?;
        let sent = self.upstream.since(mark);
        let token =
            sent.first().and_then(|request| request.field("authorization")).context("no token went up")?;
        Ok(token.strip_prefix("Bearer ").unwrap_or(&token).to_owned())
    }

    fn session(&mut self, who: &str) -> anyhow::Result<String> {
        let reply = Reply::json_with("mcp-session-id: RAW-SESSION\r\n", INITIALIZED);
        let answer = self.prepare(&mcp(INITIALIZE).by(who), reply)?;
        Ok(answer.field("mcp-session-id").context(answer.summary())?.to_owned())
    }

    fn task(&mut self, who: &str, pointer: &str) -> anyhow::Result<String> {
        let told = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"RAW-TASK","contextId":"RAW-CONTEXT","status":{"state":"TASK_STATE_WORKING"}}}}"#;
        let answer = self.prepare(&a2a("SendMessage", MESSAGE).by(who), Reply::json(told))?;
        let id = answer.json().pointer(pointer).and_then(|id| id.as_str().map(str::to_owned));
        id.context(answer.summary())
    }

    fn mcp_task(&mut self, who: &str) -> anyhow::Result<String> {
        let asked = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","arguments":{},"task":{"ttl":60000}}}"#;
        let told = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"RAW-TASK","status":"working","createdAt":"2026-11-27T00:00:00Z","lastUpdatedAt":"2026-11-27T00:00:00Z","ttl":60000}}}"#;
        let answer = self.prepare(&mcp(asked).by(who), Reply::json(told))?;
        let id = answer.json().pointer("/result/task/taskId").and_then(|id| id.as_str().map(str::to_owned));
        id.context(answer.summary())
    }

    /// One exchange that is not a probe.
    fn prepare(&mut self, message: &Message, reply: Reply) -> anyhow::Result<Answer> {
        let bytes = self.bytes(&Request::Message(message.clone()))?;
        self.upstream.answer(reply);
        Ok(wire::exchange(self.gateway.listen, &[&bytes], false))
    }

    /// A request as it goes on the wire.
    ///
    /// # Errors
    /// When it names what cannot be had.
    pub fn bytes(&mut self, request: &Request) -> anyhow::Result<Vec<u8>> {
        let message = match request {
            Request::Raw(bytes) => return self.filled(bytes),
            Request::Streams(parts) => return self.streams(parts),
            Request::Message(message) => message,
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", message.method, message.target).into_bytes();
        for (name, value) in &message.fields {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let body = message.body.as_deref().map(|body| self.filled(body)).transpose()?;
        let framed = message.fields.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if let (Some(body), false) = (&body, framed) {
            head.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        head.extend(b"\r\n");
        let mut bytes = self.filled(&head)?;
        bytes.extend(body.unwrap_or_default());
        Ok(bytes)
    }

    fn streams(&mut self, parts: &[Part]) -> anyhow::Result<Vec<u8>> {
        let mut bytes = http2::preface();
        for part in parts {
            let mut part = part.clone();
            match &mut part {
                Part::Fields { fields, .. } => {
                    for (_, value) in fields {
                        *value = self.filled(value)?;
                    }
                }
                Part::Frame { payload, .. } => *payload = self.filled(payload)?,
            }
            bytes.extend(http2::encoded(&part));
        }
        Ok(bytes)
    }

    /// Each `{{name}}` replaced.
    fn filled(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut filled = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some(at) = find(rest, b"{{") {
            let (before, after) = rest.split_at(at);
            let name = find(after, b"}}").and_then(|end| after.get(2..end));
            let name = name.and_then(|name| std::str::from_utf8(name).ok()).filter(|name| is_name(name));
            filled.extend_from_slice(before);
            match name {
                Some(name) => {
                    filled.extend(self.value(name)?.into_bytes());
                    rest = after.get(name.len() + 4..).unwrap_or_default();
                }
                // Braces of a body that stand for themselves.
                None => {
                    filled.push(b'{');
                    rest = after.get(1..).unwrap_or_default();
                }
            }
        }
        filled.extend_from_slice(rest);
        Ok(filled)
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-/".contains(letter))
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// A token whose signature is empty.
fn unsigned(token: &str) -> String {
    token.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).unwrap_or_default()
}

/// With the letter in the middle changed.
fn flipped(value: &str) -> String {
    let middle = value.len() / 2;
    let change = |(at, letter): (usize, char)| match (at == middle, letter) {
        (true, 'A') => 'B',
        (true, _) => 'A',
        (false, letter) => letter,
    };
    value.char_indices().map(change).collect()
}
