//! What a cluster's API server asks before it takes an object: who registers it ([`Registering`]), and whether a pod may run in a governed
//! namespace ([`pod`]). One table of rules for the webhook, the manifests that say the same without it, and the scan (ADR 60).

pub mod pod;
pub mod workloads;

use std::sync::Arc;

use crate::caller::UnixMillis;
use crate::person::Person;
use crate::resource::Object;

/// The label of a namespace whose pods are looked at; its values are those of [`Enforcement`].
pub const NAMESPACE_LABEL: &str = "vidimus.dev/admission";

/// What becomes of a pod that breaks a rule, as its namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Enforcement {
    /// Whoever creates it is told.
    Warn,
    /// It is in the API server's audit log.
    Audit,
    /// It is refused.
    Enforce,
}

impl Enforcement {
    /// All of them, mildest first.
    pub const ALL: [Self; 3] = [Self::Warn, Self::Audit, Self::Enforce];

    /// The value of the label, and the end of the webhook's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }

    /// The one of this name.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// Somebody asks to change what is registered.
#[derive(Clone, Copy, Debug)]
pub struct Registering<'a> {
    /// Whom the API server names.
    pub person: &'a Person,
    /// What is to be done.
    pub change: Change<'a>,
    /// When.
    pub now: UnixMillis,
}

/// What is done to one object.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// It was not there.
    Create(&'a Object),
    /// It is there. What was before may not be readable as one: then it is about what will be.
    Update { before: Option<&'a Object>, after: &'a Object },
    /// It will not be there.
    Delete(&'a Object),
}

impl Change<'_> {
    /// `create`, `update` or `delete`: `context.operation`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update { .. } => "update",
            Self::Delete(_) => "delete",
        }
    }
}

/// By what something may be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permitted {
    /// These policies permit it.
    By(Vec<Arc<str>>),
    /// No policy speaks of who registers what: whoever Kubernetes lets.
    Unsaid,
}

impl Permitted {
    /// By both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::By(mut some), Self::By(more)) => {
                some.extend(more);
                some.sort();
                some.dedup();
                Self::By(some)
            }
            (Self::By(some), Self::Unsaid) | (Self::Unsaid, Self::By(some)) => Self::By(some),
            (Self::Unsaid, Self::Unsaid) => Self::Unsaid,
        }
    }
}
