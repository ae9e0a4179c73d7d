//! What is asked of people, and what is done about it: the acts, as records have them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who else may approve for a policy, and from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Escalates {
    /// From when on: milliseconds since the Unix epoch.
    pub at: i64,
    /// People of this role, as if they were of the role that is asked.
    pub role: String,
}

/// What one policy asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// SHA-256 of the policy in hex; absent where an earlier version asked. Under another text the policy has not asked for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who else may approve later on; absent where nobody else ever may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalates>,
    /// The id of the policy.
    pub policy: String,
    /// How many different people have to approve.
    pub quorum: u32,
    /// In the words of the policy's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In which role.
    pub role: String,
}

impl Wanted {
    /// Whether people of another role than the one that is asked may approve by now.
    pub fn is_open_to(&self, role: &str, now: i64) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| escalation.role == role && escalation.at <= now)
    }
}

/// What a server says of a tool of its own: it is asked when a call of the tool is held, and again when the approved call is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// How the server describes the tool, in its own words, at most [`Definition::MAX_DESCRIPTION`] bytes of them; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Digest of all that its listing says of the tool but `_meta` and `icons` (name, description, schemas, annotations), in canonical JSON
    /// (RFC 8785), `sha256:` and hex; absent where it lists no tool of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Definition {
    /// How much of a description is kept, in bytes.
    pub const MAX_DESCRIPTION: usize = 1_024;
}

/// A question to people: may this very call be made?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The Cedar action.
    pub action: String,
    /// Of the approval that is asked for (UUIDv7).
    pub approval: String,
    /// Digest of the arguments of a tool, or of what else the message says, in canonical JSON (RFC 8785), `sha256:` and hex, as they are shown
    /// to the approver: without what is redacted. Payloads are not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What the policies ask for, sorted by policy.
    pub asking: Vec<Wanted>,
    /// An earlier approval of the same call that was used, also where other policies held it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The call that was held.
    pub call: String,
    /// Principals that acted before the caller, oldest first.
    pub chain: Vec<String>,
    /// The people who answer for these, each once: they have a part in the call as its caller's owner has. Absent where nobody acted before,
    /// or an earlier version asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain_owners: Vec<String>,
    /// What the server says of the tool that is called. Where it says something else when the approved call is made, the approval is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Definition>,
    /// Digest of what is to be approved: the exact call, where it goes, and the policies that hold it.
    pub digest: String,
    /// Where it goes.
    pub endpoint: String,
    /// The identity that asked first, as records have it; absent where an earlier version asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The id of the copy that asked first, where its credential named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The protocol's method.
    pub method: String,
    /// The person who answers for the caller.
    pub owner: String,
    /// Who calls.
    pub principal: String,
    /// Values of the arguments that are not shown to who is asked, by JSON pointer: `[redacted]` stands in their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// What is called.
    pub resource: String,
    /// Digest of the call itself, whatever policies hold it and wherever it goes: by it the same call before is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<String>,
    /// Until when the question stands, and after it the answer: milliseconds since the Unix epoch.
    pub until: i64,
    /// `issuer#subject` of the person on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The verified e-mail address of that person, where the token has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
    /// How long the call may be made again once it is approved, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
}

/// What is known of the same call before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// The earlier approval.
    pub approval: String,
    /// The call that was made with it.
    pub call: String,
    /// What came of it, as in the record of its effect; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// Somebody approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approve {
    /// Which approval.
    pub approval: String,
    /// The verified e-mail address of the person, where the token has one: the same person may be known to two issuers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The role of the person, where it is not the one that is asked, and the question went on to it (`@escalation`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// In which of the roles that are asked.
    pub role: String,
    /// Digest of the text that was shown.
    pub shown: String,
    /// The e-mail address of the person that its issuer says is not verified: by it too somebody is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified_email: Option<String>,
}

/// An act that says nothing but which approval it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfApproval {
    /// Which approval.
    pub approval: String,
}

/// An approval is good for nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Voided {
    /// Which approval.
    pub approval: String,
    /// What is not what it was: the id of the policy that asks, the destination of the call, or the tool that is called.
    pub changed: String,
}

/// A call is made with an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Which approval.
    pub approval: String,
    /// Which call.
    pub call: String,
}

/// What came of a call that was made with an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Came {
    /// Which approval.
    pub approval: String,
    /// Which call.
    pub call: String,
    /// As in the record of its effect.
    pub result: String,
}

/// An act about approvals.
#[derive(Clone, Copy, Debug)]
pub enum Deed<'a> {
    /// A call is held.
    Ask(&'a Question),
    /// Somebody approves.
    Approve(&'a Approve),
    /// Somebody says no.
    Deny(&'a OfApproval),
    /// The time is over.
    Expire(&'a OfApproval),
    /// What asks was changed.
    Void(&'a Voided),
    /// The call is made.
    Use(&'a Use),
    /// It was.
    Came(&'a Came),
}
