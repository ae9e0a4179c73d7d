//! What a person, or the gateway itself, does to what stands: one record each. What stands is the fold of these ([`crate::standing`]).
//!
//! A new act is a variant of [`Act`] with a struct of its own, whose fields are in alphabetical order (RFC 8785), and an arm in
//! [`crate::standing::Standing::apply`].

mod export;
mod grant;
mod pinned;
mod prune;
mod register;
mod rotate;
mod run;
mod shred;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::approval::pending::{Approve, Came, Deed, OfApproval, Question, Use, Voided};
use crate::caller::Chain;
use crate::entity::{EntityId, EntityKind};
use crate::standing::agreed::Agreed;

pub use export::Export;
pub use grant::{BadTerms, Granted, MOST_RESOURCES, OfGrant, Requested, Terms, Thing, Used};
pub use pinned::{LONGEST_PINNED, MOST_PINNED, Pinned};
pub use prune::Prune;
pub use register::{Registered, RegisteredFile, Registration};
pub use rotate::RotateKey;
pub use run::{LastRun, Start, Stop};
pub use shred::{KeepsNone, MOST_KEYS, Shred};

/// The actor of what the gateway does by itself, such as an expiry.
pub const BY_ITSELF: &str = "vidimus";

/// What was done. As JSON an object with one member, which is named as the act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Nothing of the subject is carried out until it is lifted.
    Quarantine(OfSubject),
    /// The quarantine of the subject is over. What its own record says (`spec.quarantined`) stays.
    Lift(Lifted),
    /// A label is taken away from what the subject, an agent or a chain, has read.
    Declassify(Declassified),
    /// A call is held, and people are asked.
    Ask(Box<Question>),
    /// A person approves a call.
    Approve(Approve),
    /// A person denies a call.
    Deny(OfApproval),
    /// Nobody answered in time, or the approved call was not made in time.
    Expire(OfApproval),
    /// What asked for an approval, or where its call goes, is not what it was: the question, and what was answered, is over.
    Void(Voided),
    /// The approved call is made.
    Use(Use),
    /// It came to an end.
    Came(Came),
    /// Somebody asks for a grant.
    RequestGrant(Requested),
    /// An agent is granted something.
    Grant(Granted),
    /// A grant is over before its time; or a request for one is declined.
    Revoke(OfGrant),
    /// A call is made that only the grant permits.
    UseGrant(Used),
    /// A grant's time is over; or that of a request for one.
    EndGrant(OfGrant),
    /// A gateway takes up what others agree on.
    Agree(Agreed),
    /// Records that were kept long enough go from the front of the ledger.
    Prune(Prune),
    /// Another key signs for the ledger.
    RotateKey(RotateKey),
    /// Somebody takes evidence of the ledger along.
    Export(Export),
    /// The keys of somebody's kept payloads are destroyed.
    Shred(Shred),
    /// A gateway begins to serve.
    Start(Start),
    /// A gateway ends.
    Stop(Stop),
    /// An object is registered, changed or deleted: the API server of a cluster was told that it may be.
    Register(Registration),
    /// Tools are held to what they were when they were first seen.
    Pin(Pinned),
}

impl Act {
    /// The names of all that this program knows, as a record has them.
    pub const NAMES: [&str; 24] = [
        "quarantine",
        "lift",
        "declassify",
        "ask",
        "approve",
        "deny",
        "expire",
        "void",
        "use",
        "came",
        "requestGrant",
        "grant",
        "revoke",
        "useGrant",
        "endGrant",
        "agree",
        "prune",
        "rotateKey",
        "export",
        "shred",
        "register",
        "pin",
        "start",
        "stop",
    ];

    /// Whether it only tells something: what stands, and what was counted, is the same with it and without it. Its record says so
    /// ([`crate::record::ActRecord::note`]), for who does not know the act.
    pub const fn is_note(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Stop(_) | Self::Register(_))
    }

    /// Its name, as in tables and searches; a record has it as the name of a member (`useGrant`).
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Quarantine(_) => "quarantine",
            Self::Lift(_) => "lift",
            Self::Declassify(_) => "declassify",
            Self::Ask(_) => "ask",
            Self::Approve(_) => "approve",
            Self::Deny(_) => "deny",
            Self::Expire(_) => "expire",
            Self::Void(_) => "void",
            Self::Use(_) => "use",
            Self::Came(_) => "came",
            Self::RequestGrant(_) => "request-grant",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::UseGrant(_) => "use-grant",
            Self::EndGrant(_) => "end-grant",
            Self::Agree(_) => "agree",
            Self::Prune(_) => "prune",
            Self::RotateKey(_) => "rotate-key",
            Self::Export(_) => "export",
            Self::Shred(_) => "shred",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Register(_) => "register",
            Self::Pin(_) => "pin",
        }
    }

    /// What is done about an approval, where it is about one. No decision is made by what stands of approvals: they are facts of calls.
    pub fn about_approval(&self) -> Option<Deed<'_>> {
        Some(match self {
            Self::Ask(question) => Deed::Ask(question),
            Self::Approve(approve) => Deed::Approve(approve),
            Self::Deny(of) => Deed::Deny(of),
            Self::Expire(of) => Deed::Expire(of),
            Self::Void(voided) => Deed::Void(voided),
            Self::Use(used) => Deed::Use(used),
            Self::Came(came) => Deed::Came(came),
            Self::Quarantine(_)
            | Self::Lift(_)
            | Self::Declassify(_)
            | Self::RequestGrant(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::UseGrant(_)
            | Self::EndGrant(_)
            | Self::Agree(_)
            | Self::Prune(_)
            | Self::RotateKey(_)
            | Self::Export(_)
            | Self::Shred(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Register(_)
            | Self::Pin(_) => return None,
        })
    }

    /// The approval that it is about, where it is about one.
    pub fn approval(&self) -> Option<&str> {
        Some(match self.about_approval()? {
            Deed::Ask(question) => &question.approval,
            Deed::Approve(approve) => &approve.approval,
            Deed::Deny(of) | Deed::Expire(of) => &of.approval,
            Deed::Void(voided) => &voided.approval,
            Deed::Use(used) => &used.approval,
            Deed::Came(came) => &came.approval,
        })
    }

    /// Whether it may be done by a gateway alone, where the store that several share does not answer: it opens nothing, and is told to the
    /// others later.
    pub const fn is_done_alone(&self) -> bool {
        matches!(
            self,
            Self::Quarantine(_)
                | Self::Deny(_)
                | Self::Void(_)
                | Self::Revoke(_)
                | Self::Came(_)
                | Self::Shred(_)
        )
    }

    /// What it is about, for tables and searches.
    pub fn subject(&self) -> String {
        match self {
            Self::Quarantine(of) => of.subject.to_string(),
            Self::Lift(lifted) => lifted.subject.to_string(),
            Self::Declassify(of) => of.subject.to_string(),
            Self::Ask(question) => format!("Approval/{}", question.approval),
            Self::Approve(Approve { approval, .. })
            | Self::Deny(OfApproval { approval })
            | Self::Expire(OfApproval { approval })
            | Self::Void(Voided { approval, .. })
            | Self::Use(Use { approval, .. })
            | Self::Came(Came { approval, .. }) => format!("Approval/{approval}"),
            Self::RequestGrant(Requested { terms, .. }) | Self::Grant(Granted { terms, .. }) => {
                terms.agent.to_string()
            }
            Self::Revoke(OfGrant { of })
            | Self::EndGrant(OfGrant { of })
            | Self::UseGrant(Used { of, .. }) => {
                format!("Grant/{of}")
            }
            Self::Agree(Agreed { era, .. }) => format!("Era/{era}"),
            Self::Prune(Prune { from, minimum, .. }) => {
                format!("Records/{from}-{}", minimum.saturating_sub(1))
            }
            Self::RotateKey(RotateKey { to, .. }) => format!("Key/{to}"),
            Self::Export(_) => "View/records".to_owned(),
            Self::Shred(shred) => shred.subject.to_string(),
            Self::Start(start) => format!("Gateway/{}", start.version),
            Self::Stop(stop) => format!("Start/{}", stop.of),
            Self::Register(registration) => registration.object.clone(),
            Self::Pin(pinned) => pinned.server.to_string(),
        }
    }
}

/// An act that says nothing but what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfSubject {
    /// What is quarantined.
    pub subject: Subject,
}

/// A label that is taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Declassified {
    /// The label.
    pub label: Box<str>,
    /// `issuer#subject` of the person for whom it was read; of everybody where it is absent. A chain has its labels for one person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Box<str>>,
    /// An agent or a chain.
    pub subject: Subject,
}

/// The end of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lifted {
    /// The id of the act that it undoes: one that was undone already, or in whose place another stands, is not undone again.
    pub of: String,
    /// What is no longer quarantined.
    pub subject: Subject,
}

/// What can be quarantined. Its text form is `Agent/namespace/name` and the like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A registered agent, service, MCP server or provider, by its id.
    Object(EntityId),
    /// One copy of a principal, by the identity that it uses: `Identity/spiffe://…`, as records have it.
    Identity(Arc<str>),
    /// One copy of a principal, by the id that records have of it: `Instance/6d1f2c4e-…`, the UID of a pod.
    Instance(Arc<str>),
    /// A person for whom is called: `User/issuer#subject`.
    User(Arc<str>),
    /// A chain, by its transaction: `Chain/…`.
    Chain(Arc<str>),
}

/// The text names nothing that can be quarantined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is nothing that can be quarantined; write Agent/namespace/name, Service/namespace/name, MCPServer/namespace/name, \
     LLMProvider/namespace/name, Identity/identity, Instance/id, User/issuer#subject or Chain/transaction"
)]
pub struct NoSubject(pub String);

/// The text can be nothing that records name so: a mistake in it, and an act about it would be about nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Formless {
    #[error(
        "'{0}' is no identity: write it as records have it, spiffe://TRUST-DOMAIN/… or oidc:ISSUER#SUBJECT"
    )]
    Identity(Arc<str>),
    #[error(
        "'{0}' is no copy of an agent: write the UID of its pod, as in 6d1f2c4e-9b3a-4c0d-8e5f-1a2b3c4d5e6f, or the serial number of its certificate in lower-case hex"
    )]
    Instance(Arc<str>),
    #[error("'{0}' is nobody: write issuer#subject, as records have it, as in https://login.example#ada")]
    User(Arc<str>),
    #[error(
        "'{0}' is no transaction: write it as records have it, a UUID such as 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10, or ext-…"
    )]
    Transaction(Arc<str>),
}

/// Nothing that it has read is kept, and so no label can be taken away from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} collects no labels: write Agent/namespace/name, Service/namespace/name or Chain/transaction")]
pub struct CollectsNone(pub Subject);

impl Subject {
    /// That it collects labels, which can be taken away from it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check_collects(&self) -> Result<(), CollectsNone> {
        match self {
            Self::Chain(_) => Ok(()),
            Self::Object(entity) if matches!(entity.kind, EntityKind::Agent | EntityKind::Service) => Ok(()),
            Self::Object(_) | Self::Identity(_) | Self::Instance(_) | Self::User(_) => {
                Err(CollectsNone(self.clone()))
            }
        }
    }

    /// That what nobody registers has the form in which records have it: who mistypes it would take nothing out of use, and be told that it is
    /// done. What stands already may be read and lifted whatever its form is, so reading a subject does not ask for it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check(&self) -> Result<(), Formless> {
        // What was copied with blanks around it is something else than was meant.
        let is_bare = |text: &str| !text.is_empty() && text.trim() == text;
        let is_named = |text: &str, separator| {
            text.split_once(separator).is_some_and(|(one, other)| is_bare(one) && is_bare(other))
        };
        match self {
            Self::Object(_) => Ok(()),
            Self::Identity(text) => match (text.strip_prefix("spiffe://"), text.strip_prefix("oidc:")) {
                (Some(rest), _) if is_named(rest, '/') => Ok(()),
                (None, Some(rest)) if is_named(rest, '#') => Ok(()),
                _ => Err(Formless::Identity(text.clone())),
            },
            Self::Instance(text) => match is_instance(text) {
                true => Ok(()),
                false => Err(Formless::Instance(text.clone())),
            },
            Self::User(text) if is_named(text, '#') => Ok(()),
            Self::User(text) => Err(Formless::User(text.clone())),
            Self::Chain(text) => {
                let began_elsewhere = text.strip_prefix(Chain::ELSEWHERE).is_some_and(is_bare);
                match began_elsewhere || uuid::Uuid::try_parse(text).is_ok() {
                    true => Ok(()),
                    false => Err(Formless::Transaction(text.clone())),
                }
            }
        }
    }
}

/// Whether it is the UID of a pod or the serial number of a certificate, as records have them.
fn is_instance(text: &str) -> bool {
    let is_serial = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    is_serial || uuid::Uuid::try_parse(text).is_ok_and(|uid| uid.hyphenated().to_string() == text)
}

/// Longest text of a subject, in bytes.
const LONGEST: usize = 2048;

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || NoSubject(text.chars().take(256).collect());
        let (kind, id) = text.split_once('/').ok_or_else(fault)?;
        if id.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(fault());
        }
        match kind {
            "Identity" => return Ok(Self::Identity(id.into())),
            "Instance" => return Ok(Self::Instance(id.into())),
            "Chain" => return Ok(Self::Chain(id.into())),
            "User" if id.contains('#') => return Ok(Self::User(id.into())),
            "User" => return Err(fault()),
            _ => {}
        }
        let entity: EntityId = text.parse().map_err(|_| fault())?;
        let registered = matches!(
            entity.kind,
            EntityKind::Agent | EntityKind::Service | EntityKind::McpServer | EntityKind::LlmProvider
        );
        let parts = || id.split('/').all(|part| !part.is_empty());
        if registered && id.matches('/').count() == 1 && parts() {
            Ok(Self::Object(entity))
        } else {
            Err(fault())
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(entity) => entity.fmt(f),
            Self::Identity(id) => write!(f, "Identity/{id}"),
            Self::Instance(id) => write!(f, "Instance/{id}"),
            Self::User(id) => write!(f, "User/{id}"),
            Self::Chain(id) => write!(f, "Chain/{id}"),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Subject {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Subject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_written() {
        for good in [
            "Agent/finance/invoice-bot",
            "Service/finance/reporting",
            "MCPServer/finance/ledger",
            "LLMProvider/platform/openai",
            "Identity/spiffe://corp.example/ns/finance/sa/bot",
            "Identity/oidc:https://login.example#6f0c",
            "Instance/6d1f2c4e-9b3a-4c0d-8e5f-1a2b3c4d5e6f",
            "User/https://login.example#alice",
            "Chain/0190f2d0-0000-7000-8000-000000000000",
        ] {
            assert_eq!(good.parse::<Subject>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "Agent",
            "Agent/",
            "Agent/a",
            "Agent/a/b/c",
            "Agent//b",
            "Tool/a/b/c",
            "Model/a/b/c",
            "User/alice",
            "Chain/",
            "agent/a/b",
            "Identity/a\nb",
        ] {
            let said = bad.parse::<Subject>().expect_err(bad).to_string();
            assert!(said.contains("Agent/namespace/name"), "{said}");
        }
    }

    #[test]
    fn what_can_be_nothing_is_told_from_what_may_be_something() {
        for (bad, says) in [
            ("Identity/garbage", "spiffe://TRUST-DOMAIN/… or oidc:ISSUER#SUBJECT"),
            ("Identity/spiffe://", "spiffe://TRUST-DOMAIN/…"),
            ("Identity/spiffe://corp.example", "spiffe://TRUST-DOMAIN/…"),
            ("Identity/oidc:https://login.example", "oidc:ISSUER#SUBJECT"),
            ("User/#", "write issuer#subject"),
            ("User/https://login.example#", "write issuer#subject"),
            ("User/https://login.example#ada ", "write issuer#subject"),
            ("User/ https://login.example#ada", "write issuer#subject"),
            ("Identity/oidc:https://login.example#6f\u{a0}", "oidc:ISSUER#SUBJECT"),
            ("Chain/ext-6f ", "or ext-…"),
            ("Chain/not-a-uuid", "a UUID such as"),
            ("Chain/ext-", "or ext-…"),
        ] {
            let said = bad.parse::<Subject>().expect(bad).check().expect_err(bad).to_string();
            assert!(said.contains(says), "{bad}: {said}");
        }
        for good in [
            "Agent/finance/invoice-bot",
            "Identity/spiffe://corp.example/ns/a/sa/b",
            "Identity/oidc:https://login.example#6f",
            "User/https://login.example#ada",
            "Chain/ext-6f0c",
            "Chain/019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10",
        ] {
            assert_eq!(good.parse::<Subject>().expect(good).check(), Ok(()), "{good}");
        }
    }
}
