//! The digest of what a call does, by which an approval is bound to exactly that.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{Arguments, Call};
use crate::approval::Requirement;
use crate::entity::EntityId;
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

    /// The digest of what a person approves: the same, as the caller asked it, where it goes, the very policies that ask for it, what others
    /// demand that is changed of it, and through whom it comes: who answers for them does not approve it. Whatever of this changes, the
    /// approval is of another call.
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
        let actors = &self.chain().actors;
        if !actors.is_empty() {
            let actor = |actor: &EntityId| Json::String(Cow::Owned(actor.to_string()));
            whole.push(("chain".into(), Json::Array(actors.iter().map(actor).collect())));
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
            ("version".into(), Json::Int(3)),
        ];
        match self.ask.arguments {
            Arguments::None => {}
            Arguments::Known(arguments) => members.push(("arguments".into(), arguments.clone())),
            // Nothing is done with unknown arguments. Should it be digested all the same, it is not the call without arguments.
            Arguments::Unknown | Arguments::Recorded(_) => {
                members.push(("arguments_unknown".into(), Json::Bool(true)));
            }
        }
        members.extend(self.ask.content.said(self.ask.action).map(|said| ("content".into(), said)));
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
