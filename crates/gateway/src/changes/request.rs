//! A request as it goes on: without what is redacted of a tool's arguments, or of the message to a model or an agent, by an id of its own where its answer is
//! redacted, and with a limit of the tokens of a model's answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;
use vidimus_core::call::Destination;
use vidimus_core::json::Json;
use vidimus_core::obligation::{Changed, REDACTED};
use vidimus_core::refusal::Refusal;

use super::taken_out::NotTaken;
use super::{Demands, cap, unmet};
use crate::protocol::llm;
use crate::protocol::mcp::labels::{self, PARAM_PREFIX};
use crate::protocol::members::{self, Edits, Members, Replaced};

/// Where the arguments of a tool are.
const ARGUMENTS: [&str; 2] = ["params", "arguments"];

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
        // What asks for an earlier answer has no arguments.
        if !body.is_empty() {
            let found = self.without_found(&body, destination)?;
            let whole = self.without_redacted(found.as_deref().map_or_else(|| text(&body), Ok)?)?;
            changed.redact = self.found() + whole.1;
            if let Some(redacted) = whole.0.or(found) {
                relabel(headers, &redacted)?;
                body = redacted.into();
            }
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

    /// In how many values of the message guards found what is taken out.
    pub fn found(&self) -> u64 {
        self.found.count()
    }

    /// A message without what guards found in it; `None` where that is nothing.
    ///
    /// # Errors
    /// `change_impossible`.
    pub fn without_found(
        &self,
        message: &[u8],
        destination: &Destination,
    ) -> Result<Option<String>, Refusal> {
        let not_taken = |_| unmet("what a guard found could not be taken out of the message");
        if self.found.is_empty() {
            return Ok(None);
        }
        let message = text(message)?;
        let below = match destination {
            Destination::Server(_) => ARGUMENTS.as_slice(),
            Destination::Agent(_) | Destination::Provider(_) => &[],
        };
        let mut value: &RawValue = serde_json::from_str(message).map_err(|_| not_taken(NotTaken))?;
        for name in below {
            let members = Members::unique(value.get()).map_err(|_| not_taken(NotTaken))?;
            let found = members.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value);
            value = found.ok_or(NotTaken).map_err(not_taken)?;
        }
        let mut edits = Edits::of(message);
        self.found.redact(value, &mut edits).map_err(not_taken)?;
        edits.finish().map_err(|_| not_taken(NotTaken))
    }

    /// A message without what is redacted of `params.arguments`, and how many values that are.
    fn without_redacted(&self, message: &str) -> Result<(Option<String>, u64), Refusal> {
        if self.arguments.is_empty() {
            return Ok((None, 0));
        }
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
