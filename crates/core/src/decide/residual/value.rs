//! Values of residual expressions: what a Cedar value can be over a call's context, mostly borrowed from the call.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::call::Collected;
use crate::caller::User;
use crate::entity::{EntityId, EntityKind};

/// The Cedar id of the entities that hold a call's arguments.
pub(crate) const OF_CALL: &str = "call";

/// A constant of a policy.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    Bool(bool),
    Long(i64),
    Text(Box<str>),
    /// Type and id.
    Entity(Box<str>, Box<str>),
    /// Milliseconds since the Unix epoch.
    Datetime(i64),
    /// Milliseconds.
    Duration(i64),
    Ip(Net),
    Set(Box<[Constant]>),
}

impl Constant {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Long(value) => Value::Long(*value),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Entity(ty, id) => Value::Entity(Entity::Named(ty, id)),
            Self::Datetime(at) => Value::Datetime(*at),
            Self::Duration(length) => Value::Duration(*length),
            Self::Ip(net) => Value::Ip(*net),
            Self::Set(elements) => Value::Set(Set::Constants(elements)),
        }
    }
}

/// An address, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Net {
    /// One address. IPv4 in IPv6 (`::ffff:a.b.c.d`) is IPv4, so that a policy on `10.0.0.0/8` sees it.
    pub(crate) fn single(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: full(address) }
    }

    /// `address/prefix`, Cedar's canonical text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= full(address)).then_some(Self { address, prefix })
    }

    pub(crate) fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    pub(crate) fn is_loopback(self) -> bool {
        self.address.is_loopback() && self.prefix >= if self.is_ipv4() { 8 } else { 128 }
    }

    pub(crate) fn is_multicast(self) -> bool {
        self.address.is_multicast() && self.prefix >= if self.is_ipv4() { 4 } else { 8 }
    }

    /// Whether every address of this range is in `other`; never across IPv4 and IPv6.
    pub(crate) fn is_in(self, other: Self) -> bool {
        self.is_ipv4() == other.is_ipv4()
            && self.prefix >= other.prefix
            && masked(self.address, other.prefix) == masked(other.address, other.prefix)
    }
}

const fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4).checked_shr(32 - u32::from(prefix)).unwrap_or(0)),
        IpAddr::V6(v6) => u128::from(v6).checked_shr(128 - u32::from(prefix)).unwrap_or(0),
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.prefix == full(self.address) {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Entity<'a> {
    /// Type and id.
    Named(&'a str, &'a str),
    User(&'a User),
    Arguments,
    Numbers,
    Limits,
}

impl Entity<'_> {
    pub(crate) fn is(self, ty: &str, id: &str) -> bool {
        match self {
            Self::Named(own_type, own_id) => own_type == ty && own_id == id,
            Self::User(user) => ty == "User" && is_user(user, id),
            Self::Arguments => ty == "Arguments" && id == OF_CALL,
            Self::Numbers => ty == "Numbers" && id == OF_CALL,
            Self::Limits => ty == "Limits" && id == OF_CALL,
        }
    }

    /// Whether it is a person in this group. Nothing else that is looked at here is in anything.
    pub(crate) fn is_in(self, group: &Self) -> bool {
        let (Self::User(user), Self::Named("UserGroup", id)) = (self, *group) else { return false };
        of_issuer(user, id).is_some_and(|name| user.groups.iter().any(|group| **group == *name))
    }
}

/// Whether `id` is [`User::id`], without building it.
fn is_user(user: &User, id: &str) -> bool {
    of_issuer(user, id) == Some(&*user.subject)
}

/// What is the issuer's own of an id that begins with the user's issuer.
fn of_issuer<'i>(user: &User, id: &'i str) -> Option<&'i str> {
    id.strip_prefix(&*user.issuer)?.strip_prefix('#')
}

impl PartialEq for Entity<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Named(ty, id), entity) | (entity, Self::Named(ty, id)) => entity.is(ty, id),
            // By the id that Cedar sees: two pairs could be written alike.
            (Self::User(one), Self::User(two)) => one.id() == two.id(),
            (Self::Arguments, Self::Arguments)
            | (Self::Numbers, Self::Numbers)
            | (Self::Limits, Self::Limits) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Set<'a> {
    Constants(&'a [Constant]),
    /// The agents among these.
    Agents(&'a [EntityId]),
    /// Their labels, each once.
    Labels(&'a [Collected]),
    Values(Vec<Value<'a>>),
}

impl Set<'_> {
    /// Whether some element fits.
    pub(crate) fn any(&self, mut fits: impl FnMut(&Value<'_>) -> bool) -> bool {
        match self {
            Self::Constants(constants) => constants.iter().any(|constant| fits(&constant.value())),
            Self::Agents(actors) => agents(actors).any(|agent| fits(&agent)),
            Self::Labels(labels) => labels.iter().any(|one| fits(&Value::Text(Cow::Borrowed(&one.label)))),
            Self::Values(values) => values.iter().any(fits),
        }
    }

    pub(crate) fn all(&self, mut fits: impl FnMut(&Value<'_>) -> bool) -> bool {
        !self.any(|element| !fits(element))
    }

    pub(crate) fn contains(&self, value: &Value<'_>) -> bool {
        self.any(|element| element == value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any(|_| true)
    }
}

fn agents<'a>(actors: &'a [EntityId]) -> impl Iterator<Item = Value<'a>> {
    actors
        .iter()
        .filter(|actor| actor.kind == EntityKind::Agent)
        .map(|agent| Value::Entity(Entity::Named(EntityKind::Agent.as_str(), &agent.id)))
}

impl PartialEq for Set<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.all(|element| other.contains(element)) && other.all(|element| self.contains(element))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Long(i64),
    Text(Cow<'a, str>),
    Entity(Entity<'a>),
    Datetime(i64),
    Duration(i64),
    Ip(Net),
    Set(Set<'a>),
}

/// As it stands in a decision's facts.
impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Entity(Entity::Named(ty, id)) => write!(f, "{ty}/{id}"),
            Self::Entity(Entity::User(user)) => write!(f, "User/{}#{}", user.issuer, user.subject),
            Self::Entity(Entity::Arguments) => f.write_str("Arguments"),
            Self::Entity(Entity::Numbers) => f.write_str("Numbers"),
            Self::Entity(Entity::Limits) => f.write_str("Limits"),
            Self::Datetime(at) => match jiff::Timestamp::from_millisecond(*at) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{at}ms"),
            },
            Self::Duration(length) => write!(f, "{length}ms"),
            Self::Ip(net) => write!(f, "{net}"),
            Self::Set(set) => {
                let mut texts = Vec::new();
                set.any(|element| {
                    texts.push(element.to_string());
                    false
                });
                texts.sort_unstable();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}
