//! The digest of what a call does, by which an approval is bound to exactly that.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Action, Arguments, Call};
use crate::approval::Requirement;
use crate::json::Json;
use crate::obligation::Obligation;

/// SHA-256 of the exact action of a call. Its text form is `sha256:` and hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallDigest([u8; 32]);

impl CallDigest {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Whether a member of MCP's `_meta` is about the request and not about what is done: which version its client speaks, and by which
/// number it is told of progress.
pub fn is_of_each_try(name: &str, value: &Json<'_>) -> bool {
    const ABOUT_THE_REQUEST: [&str; 6] = [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientInfo",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/logLevel",
        "traceparent",
        "tracestate",
    ];
    match name {
        "progressToken" => is_a_number_or_uuid(value),
        name => ABOUT_THE_REQUEST.contains(&name),
    }
}

/// What has no room for a message to whom it is sent.
fn is_a_number_or_uuid(value: &Json<'_>) -> bool {
    match value {
        Json::Int(_) => true,
        Json::String(text) => uuid::Uuid::try_parse(text).is_ok(),
        _ => false,
    }
}

/// What a message says, without what is another at each try of one call: the id of an A2A message, where it is one that nobody could say
/// anything in, and what MCP says about the request. Elsewhere members of these names are said as any other.
pub(super) fn said<'j>(action: Action, content: &Json<'j>) -> Json<'j> {
    let is_rpc = !matches!(action, Action::CallModel | Action::ListModels);
    let Json::Object(members) = content else { return content.clone() };
    let lasting = members.iter().filter_map(|(name, value)| {
        let value = match (&**name, value) {
            ("_meta", Json::Object(meta)) if is_rpc => {
                let says = meta.iter().filter(|(name, value)| !is_of_each_try(name, value));
                let says: Vec<_> = says.cloned().collect();
                if says.is_empty() {
                    return None;
                }
                Json::Object(says)
            }
            ("message", Json::Object(message)) if action == Action::CallAgent => {
                let is_id = |name: &str, id| name == "messageId" && is_a_number_or_uuid(id);
                Json::Object(message.iter().filter(|(name, id)| !is_id(name, id)).cloned().collect())
            }
            // What goes beside them stands beside them.
            ("params", params) => said(action, params),
            (_, value) => value.clone(),
        };
        Some((name.clone(), value))
    });
    Json::Object(lasting.collect())
}

impl fmt::Display for CallDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CallDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallDigest({self})")
    }
}

impl Call<'_> {
    /// The digest of who does what, for whom, with which arguments: SHA-256 over canonical JSON (RFC 8785).
    ///
    /// It is the same for each try of one action: the message's own id, its spelling, the time, the chain and the connection are
    /// not part of it.
    pub fn digest(&self) -> CallDigest {
        CallDigest(Sha256::digest(self.exact_action().canonical()).into())
    }

    /// The digest of what a person approves: the same, as the caller asked it, where it goes, the very policies that ask for it, and what
    /// others demand that is changed of it. Whatever of this changes, the approval is of another call.
    pub(crate) fn digest_to_approve(
        &self,
        asking: &[Arc<Requirement>],
        obligations: &[Obligation],
    ) -> CallDigest {
        let policy = |one: &Arc<Requirement>| {
            let (id, digest) = (Cow::Owned(one.policy.to_string()), Cow::Owned(HEXLOWER.encode(&one.digest)));
            Json::Object(vec![("digest".into(), Json::String(digest)), ("id".into(), Json::String(id))])
        };
        let destination = self.ask.target.destination();
        let endpoint = destination.endpoint().map(|endpoint| endpoint.url.to_string()).unwrap_or_default();
        let mut whole = vec![
            ("call".into(), self.exact_action()),
            ("endpoint".into(), Json::String(Cow::Owned(endpoint))),
            ("policies".into(), Json::Array(asking.iter().map(policy).collect())),
        ];
        if !obligations.is_empty() {
            let change =
                |one: &Obligation| Json::String(Cow::Owned(format!("{} {}", one.policy, one.change)));
            whole.push(("changes".into(), Json::Array(obligations.iter().map(change).collect())));
        }
        CallDigest(Sha256::digest(Json::Object(whole).canonical()).into())
    }

    fn exact_action(&self) -> Json<'_> {
        let text = |text: String| Json::String(Cow::Owned(text));
        let borrowed = |text| Json::String(Cow::Borrowed(text));
        let mut members: Vec<(Cow<'_, str>, Json<'_>)> = vec![
            ("action".into(), borrowed(self.ask.action.as_str())),
            ("method".into(), borrowed(self.ask.method)),
            ("principal".into(), text(self.principal().entity().to_string())),
            ("target".into(), text(self.ask.target.entity().to_string())),
            // Raised when what is digested changes, so that an old digest fits no new call.
            ("version".into(), Json::Int(2)),
        ];
        match self.ask.arguments {
            Arguments::None => {}
            Arguments::Known(arguments) => members.push(("arguments".into(), arguments.clone())),
            // Nothing is done with unknown arguments. Should it be digested all the same, it is not the call without arguments.
            Arguments::Unknown | Arguments::Recorded(_) => {
                members.push(("arguments_unknown".into(), Json::Bool(true)));
            }
        }
        members.extend(self.ask.content.map(|content| ("content".into(), said(self.ask.action, content))));
        // What becomes of one task is not what becomes of another, and news of it go where the caller says.
        members.extend(self.ask.task.map(|task| ("task".into(), borrowed(task))));
        members.extend(self.ask.push_url.map(|url| ("push_url".into(), borrowed(url))));
        if let Some(user) = self.user() {
            // Not joined into one text: two pairs could be joined to the same.
            let user =
                vec![("issuer".into(), borrowed(&user.issuer)), ("subject".into(), borrowed(&user.subject))];
            members.push(("user".into(), Json::Object(user)));
        }
        Json::Object(members)
    }
}
