//! Who and what a question names, as text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vidimus_core::act::Subject;
use vidimus_core::caller::User;
use vidimus_core::entity::EntityId;

use crate::explain;

/// Who calls, or does what people do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// An agent or a service.
    Workload(EntityId),
    /// A person.
    User(User),
    /// Somebody of a group: `name`, or `issuer#name`.
    UserGroup(Arc<str>),
}

/// What is called, or what people do something to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something registered, or a part of it.
    Called(EntityId),
    /// A person, an identity or a chain.
    Subject(Subject),
    /// Something that is shown, by its name.
    View(Arc<str>),
}

/// The text names nobody and nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    #[error(
        "write Agent/namespace/name or Service/namespace/name, or of people User/issuer#subject or UserGroup/group"
    )]
    Who,
    #[error(
        "write Kind/namespace/name, as in Tool/finance/ledger/get_invoice, or of what people do also View/name, User/issuer#subject, \
         Identity/identity or Chain/transaction"
    )]
    What,
}

impl FromStr for Who {
    type Err = Unnamed;

    fn from_str(text: &str) -> Result<Self, Unnamed> {
        match text.split_once('/') {
            Some(("User", id)) => User::of_id(id).map(Self::User).ok_or(Unnamed::Who),
            Some(("UserGroup", id)) if !id.is_empty() => Ok(Self::UserGroup(id.into())),
            _ => explain::entity(text).map(Self::Workload).map_err(|_| Unnamed::Who),
        }
    }
}

impl FromStr for What {
    type Err = Unnamed;

    fn from_str(text: &str) -> Result<Self, Unnamed> {
        let subject = |text: &str| text.parse().map(Self::Subject).map_err(|_| Unnamed::What);
        match text.split_once('/') {
            Some(("View", name)) if !name.is_empty() => Ok(Self::View(name.into())),
            Some(("User" | "Identity" | "Instance" | "Chain", _)) => subject(text),
            // As policies call it.
            Some(("Transaction", id)) => subject(&format!("Chain/{id}")),
            _ => explain::entity(text).map(Self::Called).map_err(|_| Unnamed::What),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => id.fmt(f),
            Self::User(user) => write!(f, "User/{}", user.id()),
            Self::UserGroup(group) => write!(f, "UserGroup/{group}"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Called(id) => id.fmt(f),
            Self::Subject(subject) => subject.fmt(f),
            Self::View(name) => write!(f, "View/{name}"),
        }
    }
}

macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string"})
            }
        }
    )+ };
}

as_text!(Who, What);
