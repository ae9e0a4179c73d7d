//! People who operate an installation: what they do and look at is decided by the same policies as calls
//! ([`crate::snapshot::Snapshot::authorize_person`]).

mod names;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::act::Subject;
use crate::caller::{UnixMillis, User};
use crate::entity::EntityId;

pub use names::Names;

/// Somebody whose own credential was verified. Never a workload, also not one that acts for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub user: User,
    /// The groups that the credential names. In policies each is `UserGroup::"name"` and `UserGroup::"issuer#name"`.
    pub groups: Box<[Arc<str>]>,
    /// The address that its issuer says is not verified. It permits nothing, and what nobody does for himself is refused by it.
    pub unverified_email: Option<Arc<str>>,
}

impl Person {
    /// All that it is known by.
    pub fn names(&self) -> Names {
        Names::of(&self.user.id()).and(self.user.email.as_deref()).and(self.unverified_email.as_deref())
    }

    /// As in records: `User/issuer#subject`.
    pub fn actor(&self) -> String {
        format!("User/{}", self.user.id())
    }

    /// The Cedar ids of its groups, each by its name alone and as one of its issuer. A name that looks as one of an issuer is not taken
    /// alone: another issuer could write it.
    pub fn group_ids(&self) -> Vec<String> {
        let of_issuer = self.groups.iter().map(|group| self.user.group_id(group));
        let alone = self.groups.iter().filter(|group| !group.contains('#')).map(ToString::to_string);
        of_issuer.chain(alone).collect()
    }
}

/// What is shown to people: [`About::View`].
pub const VIEWS: [&str; 5] = ["registry", "ledger", "records", "standing", "approvals"];

/// What people do, as Cedar's actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Quarantine,
    Lift,
    /// Takes a label away from what an agent, or a chain, has read.
    Declassify,
    Grant,
    Revoke,
    /// Approves a held call, or denies it.
    Approve,
    /// Looks at something: [`About::View`].
    Read,
    /// Takes evidence along: records, with what proves them.
    Export,
    /// Destroys the keys of somebody's kept payloads.
    Shred,
    /// Asks whether somebody may make a call of a resource: what another enforcement point does ([`About::Resource`]).
    Evaluate,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Quarantine,
        Self::Lift,
        Self::Declassify,
        Self::Grant,
        Self::Revoke,
        Self::Approve,
        Self::Read,
        Self::Export,
        Self::Shred,
        Self::Evaluate,
    ];

    /// The id of the Cedar action.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Lift => "lift",
            Self::Declassify => "declassify",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Approve => "approve",
            Self::Read => "read",
            Self::Export => "export",
            Self::Shred => "shred",
            Self::Evaluate => "evaluate",
        }
    }

    /// The action group that it is in.
    pub(crate) const fn group(self) -> Option<&'static str> {
        match self {
            Self::Quarantine | Self::Lift | Self::Declassify | Self::Grant | Self::Revoke | Self::Approve => {
                Some("operate")
            }
            // Not in `operate`: who may take something out of use need not have what everybody did, nor destroy anything of it, and is no
            // enforcement point.
            Self::Read | Self::Export | Self::Shred | Self::Evaluate => None,
        }
    }
}

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// To be quarantined, or lifted.
    Subject(&'a Subject),
    /// Something that is shown, by its name: `registry`.
    View(&'a str),
    /// A grant, of one of its resources.
    Grant(GrantOf<'a>),
    /// A held call.
    Approval(ApprovalOf<'a>),
    /// What somebody would call.
    Resource(&'a EntityId),
}

/// A held call, as policies see it that say who may approve it.
#[derive(Clone, Copy, Debug)]
pub struct ApprovalOf<'a> {
    /// What is called.
    pub resource: &'a EntityId,
    /// Who calls, `Kind/namespace/name`.
    pub caller: &'a str,
    /// In which role it is approved.
    pub role: &'a str,
}

/// One resource of a grant, as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct GrantOf<'a> {
    /// What may be used.
    pub resource: &'a EntityId,
    /// Who may use it: an agent.
    pub agent: &'a EntityId,
    /// Until when.
    pub until: UnixMillis,
    /// How often; `None` where that is not limited.
    pub uses: Option<u32>,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(subject) => subject.fmt(f),
            Self::View(name) => write!(f, "View/{name}"),
            Self::Grant(of) => of.resource.fmt(f),
            Self::Resource(resource) => resource.fmt(f),
            Self::Approval(of) => write!(f, "a call of {} as {}", of.resource, of.role),
        }
    }
}

/// What a person asks to do.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub person: &'a Person,
    /// What for.
    pub operation: Operation,
    /// About what.
    pub about: About<'a>,
    /// When.
    pub now: UnixMillis,
    /// From where, where that is known.
    pub source_ip: Option<IpAddr>,
}
