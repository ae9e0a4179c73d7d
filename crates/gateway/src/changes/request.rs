//! A request as it goes on: without what is redacted of a tool's arguments, by an id of its own where its answer is redacted, and with a
//! limit of the tokens of a model's answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::obligation::{Changed, REDACTED};
use vidimus_core::refusal::Refusal;

use super::{Demands, cap, unmet};
use crate::protocol::llm;
use crate::protocol::mcp::labels::{self, PARAM_PREFIX};
use crate::protocol::members::{self, Edits, Members, Replaced};

impl Demands {
    /// The caller's message as it goes on, with headers that say no more than it does; and what was changed.
    ///
    /// # Errors
    /// `change_impossible`.
    pub fn request(
        &self,
        body: Bytes,
        headers: &mut HeaderMap,
        (method, destination): (&str, &Destination),
    ) -> Result<(Bytes, Changed), Refusal> {
        let mut changed = Changed::default();
        let mut body = body;
        // What asks for an earlier answer has none.
        if !self.arguments.is_empty() && !body.is_empty() {
            let (redacted, count) = self.without_redacted(text(&body)?)?;
            if let Some(redacted) = redacted {
                relabel(headers, &redacted)?;
                body = redacted.into();
            }
            changed.redact = count;
        }
        if let Some(redaction) = self.answer.as_ref().filter(|_| !body.is_empty()) {
            let id = Replaced { path: &["id"], with: redaction.id.to_string() };
            let named = members::replace(text(&body)?, &[id]);
            body =
                named.ok_or_else(|| unmet("a policy redacts the answer, and the request has no id"))?.into();
        }
        if let (Some(most), Destination::Provider(provider)) = (self.tokens, destination)
            && llm::writes(method)
            && let Some((capped, count)) = cap::of(provider.provider, method, text(&body)?, most)?
        {
            body = capped.into();
            changed.cap_tokens = count;
        }
        Ok((body, changed))
    }

    /// A message without what is redacted of `params.arguments`, and how many values that are.
    fn without_redacted(&self, message: &str) -> Result<(Option<String>, u64), Refusal> {
        let unread = |_| unmet("what a policy redacts could not be found in the arguments");
        let params = Members::unique(message).and_then(|message| message.object("params")).map_err(unread)?;
        let Some(params) = params else { return Ok((None, 0)) };
        let mut edits = Edits::of(message);
        // `get` borrows of the members, and what is edited of the message.
        let arguments = params.0.iter().find(|(name, _)| name == "arguments").map(|(_, value)| *value);
        let Some(arguments) = arguments else { return Ok((None, 0)) };
        let found = self.arguments.redact(arguments, &mut edits).map_err(unread)?;
        let misplaced = |_| unmet("what a policy redacts could not be replaced in the arguments");
        Ok((edits.finish().map_err(misplaced)?, found.values))
    }
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| unmet("the request is not UTF-8"))
}

/// Has the headers that repeat arguments (MCP 2026-07-28, "Custom headers") say nothing that no argument says any more.
fn relabel(headers: &mut HeaderMap, message: &str) -> Result<(), Refusal> {
    let repeated: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with(PARAM_PREFIX)).cloned().collect();
    if repeated.is_empty() {
        return Ok(());
    }
    let message =
        Json::parse(message.as_bytes()).map_err(|_| unmet("the redacted request could not be read"))?;
    let arguments = message.get("params").and_then(|params| params.get("arguments"));
    for name in repeated {
        let said = labels::said(headers, name.as_str())?.unwrap_or_default();
        let mut is_said = false;
        if let Some(arguments) = arguments {
            arguments.leaves(&mut |_, leaf| is_said |= labels::is(leaf, &said));
        }
        if !is_said {
            headers.insert(name, HeaderValue::from_static(REDACTED));
        }
    }
    Ok(())
}
